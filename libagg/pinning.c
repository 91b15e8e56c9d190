/*
 * Where this process's reactors go, carried out. A core is taken by binding a socket to a name in the abstract namespace, which the kernel
 * keeps unique and gives back however the process ends: launchers bind several processes to the same cores, jobs share machines, and ranks
 * need not know their local rank. Processes in other network namespaces do not see it; there the local rank alone keeps them apart.
 */
#include "pinning.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/discover.h"

/* ---- what is there ------------------------------------------------------------------------------------------------------------------- */

static void read_allowed(struct topo_cpus *allowed) {
  size_t size = CPU_ALLOC_SIZE(TOPO_CPUS_MAX);
  cpu_set_t *set = CPU_ALLOC(TOPO_CPUS_MAX);
  *allowed = (struct topo_cpus){{0}};
  if (set != NULL && sched_getaffinity(0, size, set) == 0) {
    for (uint32_t cpu = 0; cpu < TOPO_CPUS_MAX; cpu++)
      if (CPU_ISSET_S(cpu, size, set)) topo_cpus_add(allowed, cpu);
  }
  CPU_FREE(set);
}

/* ---- taking cores -------------------------------------------------------------------------------------------------------------------- */

/* 1: the core is this process's, *fd says so to others; 0: another's. Where nothing can be said it counts as free, with *fd -1. */
static int claim(int core, int *fd) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  *fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (*fd < 0) return 1;
  int len = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "libagg/core/%d", core);
  if (bind(*fd, (const struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) == 0) return 1;
  int taken = errno == EADDRINUSE;
  close(*fd);
  *fd = -1;
  return !taken;
}

static void give_back(struct pinning *p) {
  for (unsigned i = 0; i < p->n; i++) {
    if (p->claims[i] >= 0) close(p->claims[i]);
    p->claims[i] = -1;
  }
}

/* 1: all cores are had; 0: some are taken, and are in r->taken now. A list is the user's word: there it is only said. */
static int claim_all(struct pinning *p, struct pin_request *r, const struct log *log) {
  int all = 1;
  for (unsigned i = 0; i < p->n; i++) {
    int core = p->places[i].core;
    if (core < 0 || claim(core, &p->claims[i])) continue;
    if (r->setting.mode == PIN_LIST) {
      LOG_WARN(log, "core %d has a reactor of another process already: give each process cores of its own", core);
    } else {
      topo_cpus_add(&r->taken, (uint32_t)core);
      all = 0;
    }
  }
  if (!all) give_back(p);
  return all;
}

/* Chooses and takes, until nothing is taken already: it ends, since after each turn there are fewer cores to choose from. */
static int choose(struct pinning *p, struct pin_request *r, const struct log *log, agg_error_t *err) {
  int rc;
  do rc = pin_choose(r, p->places, err);
  while (rc == AGG_OK && !claim_all(p, r, log));
  return rc;
}

/* ---- starting ------------------------------------------------------------------------------------------------------------------------ */

/* Memory is bound where some reactor is near some of several nodes. */
static void open_bind(struct pinning *p, const struct pin_request *r, const struct log *log) {
  agg_error_t err = {0};
  int wanted = 0;
  for (unsigned i = 0; i < p->n; i++) wanted |= p->places[i].numa != TOPO_NONE;
  if (!wanted || r->nodes < 2) return;
  if (bind_open(&p->bind, &err) != AGG_OK) LOG_WARN(log, "windows are not bound to NUMA nodes: %s", err.text);
}

static int prepare(struct pinning *p, const struct pinning_config *config, struct pin_request *r, agg_error_t *err) {
  int rc = pin_parse(config->setting, &r->setting, err);
  if (rc != AGG_OK) return rc;
  r->server = config->server;
  r->reactors = config->reactors;
  r->local_rank = config->local_rank;
  r->devices = config->devices;
  r->transport = config->transport;
  r->nodes = MAX_OF(discover_numa_nodes(), 1u);
  read_allowed(&r->allowed);
  if (discover_online(&r->online) != 0) r->online = (struct topo_cpus){{0}};
  p->places = calloc(r->reactors, sizeof *p->places);
  p->claims = malloc(r->reactors * sizeof *p->claims);
  if (p->places == NULL || p->claims == NULL) return err_set(err, AGG_ENOMEM, "no memory for %u reactors", r->reactors);
  for (unsigned i = 0; i < r->reactors; i++) p->claims[i] = -1;
  p->n = r->reactors;
  return AGG_OK;
}

int pinning_start(struct pinning *p, const struct pinning_config *config, agg_error_t *err) {
  struct topo topo;
  struct pin_request r = {0};
  agg_error_t why = {0};
  *p = (struct pinning){0};
  int rc = prepare(p, config, &r, err);
  int looked = rc == AGG_OK && pin_needs_machine(&r);
  if (looked && discover_host(&(struct discover_options){0}, &topo, &why) != AGG_OK) {
    LOG_WARN(config->log, "reactors are not placed by what is in this machine: %s", why.text);
    looked = 0;
  }
  if (looked) r.machine = topo_machine_of(&topo, 0);
  if (rc == AGG_OK) rc = choose(p, &r, config->log, err);
  if (rc == AGG_OK) open_bind(p, &r, config->log);
  if (looked) topo_fini(&topo);
  if (rc != AGG_OK) pinning_stop(p);
  return rc;
}

void pinning_stop(struct pinning *p) {
  if (p->n > 0) give_back(p);
  bind_close(p->bind);
  free(p->claims);
  free(p->places);
  *p = (struct pinning){0};
}

void pinning_failed(struct pinning *p, unsigned reactor) {
  struct pin_place *place = &p->places[reactor];
  place->core = -1;
  place->numa = TOPO_NONE;
  (void)snprintf(place->note, sizeof place->note, "the kernel refused");
}

void pinning_say(const struct pinning *p, const struct log *log) {
  char text[PIN_TEXT_MAX];
  int same = p->n > 0;
  for (unsigned i = 0; i < p->n; i++) same &= p->places[i].core < 0 && strcmp(p->places[i].note, p->places[0].note) == 0;
  if (same) {
    LOG_INFO(log, "reactors are %s", pin_text(&p->places[0], text));
    return;
  }
  for (unsigned i = 0; i < p->n; i++) LOG_INFO(log, "reactor %u: %s", i, pin_text(&p->places[i], text));
}
