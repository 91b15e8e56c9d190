/*
 * Reads what launchers set, as one table: the first row whose marks are all set counts, and no other is looked at.
 *
 * The job's name is the configured one (AGG_JOB), or else the launcher's name, with the launcher's own name of this run behind it: a
 * restarted torchrun and the next step of a Slurm job are other jobs. Where the ranks meet, when neither servers nor a coordinator are
 * given: torchrun   MASTER_ADDR, port MASTER_PORT + 1 (MASTER_PORT itself is held by torchrun's own store) others     when all ranks are on
 * this host: 127.0.0.1 and a port made from the job's name, in 20000 .. 31999 (below the ports that Linux gives to outgoing connections).
 * Otherwise nothing: making the world communicator then asks for AGG_COORDINATOR.
 */
#include "launcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/net.h"
#include "base/util.h"
#include "topology/forest.h"

#define DERIVED_PORT_FIRST 20000u
#define DERIVED_PORTS 12000u

struct launcher {
  const char *name;
  const char *marks[2]; /* all of them set: this launcher started the process */
  const char *rank;
  const char *size[2]; /* the first that is set */
  const char *local_rank;
  const char *run[2];     /* this run's name: the first that is set */
  const char *attempt;    /* what distinguishes attempts and steps of a run */
  const char *local_size; /* ranks on this host */
  const char *hosts;      /* or: how many hosts there are */
  const char *meet_host, *meet_port;
};

static const struct launcher launchers[] = {
    {.marks = {"AGG_RANK"}, .rank = "AGG_RANK", .size = {"AGG_SIZE"}, .local_rank = "AGG_LOCAL_RANK"},
    {.marks = {"AGG_SIZE"}, .rank = "AGG_RANK", .size = {"AGG_SIZE"}, .local_rank = "AGG_LOCAL_RANK"},
    {.name = "torchrun",
     .marks = {"RANK", "LOCAL_RANK"},
     .rank = "RANK",
     .size = {"WORLD_SIZE"},
     .local_rank = "LOCAL_RANK",
     .run = {"TORCHELASTIC_RUN_ID"},
     .attempt = "TORCHELASTIC_RESTART_COUNT",
     .meet_host = "MASTER_ADDR",
     .meet_port = "MASTER_PORT"},
    {.name = "openmpi",
     .marks = {"OMPI_COMM_WORLD_RANK"},
     .rank = "OMPI_COMM_WORLD_RANK",
     .size = {"OMPI_COMM_WORLD_SIZE"},
     .local_rank = "OMPI_COMM_WORLD_LOCAL_RANK",
     .run = {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"},
     .local_size = "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {.name = "pmi",
     .marks = {"PMI_RANK"},
     .rank = "PMI_RANK",
     .size = {"PMI_SIZE"},
     .local_rank = "MPI_LOCALRANKID",
     .run = {"PMI_JOBID"},
     .local_size = "MPI_LOCALNRANKS"},
    {.name = "slurm",
     .marks = {"SLURM_STEP_ID", "SLURM_PROCID"},
     .rank = "SLURM_PROCID",
     .size = {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"},
     .local_rank = "SLURM_LOCALID",
     .run = {"SLURM_JOB_ID"},
     .attempt = "SLURM_STEP_ID",
     .hosts = "SLURM_STEP_NUM_NODES"},
};

const char *env_text(const char *name) {
  const char *value = name != NULL ? getenv(name) : NULL;
  return value != NULL && value[0] != '\0' ? value : NULL;
}

int env_u32(const char *name, uint32_t min, uint32_t max, uint32_t *out, agg_error_t *err) {
  const char *value = env_text(name);
  uint64_t number;
  if (value == NULL) return err_set(err, AGG_EINVAL, "%s is not set: expected a whole number from %u to %u", name, min, max);
  if (parse_u64(value, max, &number) != 0 || number < min) {
    return err_set(err, AGG_EINVAL, "%s=%.64s: expected a whole number from %u to %u", name, value, min, max);
  }
  *out = (uint32_t)number;
  return AGG_OK;
}

static const struct launcher *find_launcher(void) {
  for (size_t i = 0; i < ARRAY_LEN(launchers); i++) {
    const struct launcher *l = &launchers[i];
    if (env_text(l->marks[0]) != NULL && (l->marks[1] == NULL || env_text(l->marks[1]) != NULL)) return l;
  }
  return NULL;
}

static const char *first_set(const char *const names[2]) { return env_text(names[0]) != NULL || names[1] == NULL ? names[0] : names[1]; }

static int read_ranks(const struct launcher *l, agg_config_t *c, agg_error_t *err) {
  const char *size = first_set(l->size);
  int rc = env_u32(size, 1, FOREST_MAX_NODES, &c->world, err);
  if (rc == AGG_OK) rc = env_u32(l->rank, 0, UINT32_MAX, &c->rank, err);
  if (rc != AGG_OK) return rc;
  if (c->rank >= c->world) {
    return err_set(err, AGG_EINVAL, "%s=%u: expected less than %s=%u, ranks count from 0", l->rank, c->rank, size, c->world);
  }
  return env_text(l->local_rank) != NULL ? env_u32(l->local_rank, 0, c->world - 1, &c->local_rank, err) : AGG_OK;
}

static int append_name(agg_config_t *c, const char *variable, agg_error_t *err) {
  const char *value = env_text(variable);
  if (value == NULL) return AGG_OK;
  for (const char *p = value; *p != '\0'; p++) {
    if ((unsigned char)*p < ' ' || *p == 0x7f) return err_set(err, AGG_EINVAL, "%s: expected a name without control characters", variable);
  }
  size_t used = strlen(c->job);
  if (used + 1 + strlen(value) >= sizeof c->job) {
    return err_set(err, AGG_EINVAL, "%s=%.64s: too long: with \"%.64s-\" before it the job's name may have %zu characters", variable, value,
                   c->job, sizeof c->job - 1);
  }
  c->job[used] = '-';
  str_copy(c->job + used + 1, sizeof c->job - used - 1, value);
  return AGG_OK;
}

static int name_job(const struct launcher *l, agg_config_t *c, agg_error_t *err) {
  if (l->name == NULL) return AGG_OK; /* AGG_JOB and nothing else */
  if (c->job[0] == '\0' || strcmp(c->job, LAUNCHER_JOB_DEFAULT) == 0) str_copy(c->job, sizeof c->job, l->name);
  int rc = append_name(c, first_set(l->run), err);
  return rc == AGG_OK ? append_name(c, l->attempt, err) : rc;
}

static int meet_at_master(const struct launcher *l, const char *host, agg_config_t *c, agg_error_t *err) {
  uint32_t port;
  int rc = env_u32(l->meet_port, 1, UINT16_MAX - 1, &port, err);
  if (rc != AGG_OK) return rc;
  const char *form = strchr(host, ':') != NULL && host[0] != '[' ? "[%s]:%u" : "%s:%u";
  int n = snprintf(c->coordinator, sizeof c->coordinator, form, host, port + 1);
  if (n < 0 || (size_t)n >= sizeof c->coordinator) {
    return err_set(err, AGG_EINVAL, "%s=%.64s...: expected at most %zu characters", l->meet_host, host, sizeof c->coordinator - 9);
  }
  char name[sizeof c->coordinator];
  uint16_t number;
  rc = net_split(c->coordinator, -1, name, sizeof name, &number, err);
  if (rc != AGG_OK) (void)err_prefix(err, "%s=%.64s", l->meet_host, host);
  return rc;
}

static int on_one_host(const struct launcher *l, uint32_t world) {
  uint64_t number;
  if (l->hosts != NULL) return parse_u64(env_text(l->hosts), UINT32_MAX, &number) == 0 && number == 1;
  return l->local_size != NULL && parse_u64(env_text(l->local_size), UINT32_MAX, &number) == 0 && number == world;
}

/* FNV-1a: the same port on all ranks, another one for most other jobs on the host. */
static uint32_t port_of(const char *job) {
  uint32_t h = 2166136261u;
  for (; *job != '\0'; job++) h = (h ^ (unsigned char)*job) * 16777619u;
  return DERIVED_PORT_FIRST + h % DERIVED_PORTS;
}

static int find_meeting(const struct launcher *l, agg_config_t *c, agg_error_t *err) {
  if (c->world == 1 || c->servers[0] != '\0' || c->coordinator[0] != '\0') return AGG_OK;
  const char *host = env_text(l->meet_host);
  if (host != NULL) return meet_at_master(l, host, c, err);
  if (on_one_host(l, c->world) && env_text(first_set(l->run)) != NULL) {
    snprintf(c->coordinator, sizeof c->coordinator, "127.0.0.1:%u", port_of(c->job));
  }
  return AGG_OK;
}

int launcher_read(agg_config_t *config, agg_error_t *err) {
  const struct launcher *l = find_launcher();
  if (l == NULL) return AGG_OK;
  int rc = read_ranks(l, config, err);
  if (rc == AGG_OK) rc = name_job(l, config, err);
  if (rc == AGG_OK) rc = find_meeting(l, config, err);
  return rc;
}
