/* The table of options and how a value is read and written. Touches nothing but the struct it is given. */
#include "options.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/util.h"
#include "control/control.h"
#include "pin.h"
#include "rdma.h"
#include "text.h"
#include "topology/cost.h"
#include "topology/forest.h"

#define FIELD(f) offsetof(struct server_config, f)
#define TEXT(f) OPTION_TEXT, 0, FIELD(f), sizeof(((struct server_config *)0)->f), 0, 0
#define COUNT(f, min, max) OPTION_COUNT, 0, FIELD(f), 0, min, max

#define SYSTEM(f, max) OPTION_SYSTEM, 1, FIELD(f), 0, 0, TP_RDMA_##max##_MAX

#define BYTES_MAX ((double)(1ULL << 50))

const struct option_row option_table[] = {
    {"listen", "HOST:PORT", "where workers connect; port 0: any free one (:7171; without a token 127.0.0.1:7171)", TEXT(listen)},
    {"token-file", "FILE", "the jobs' secrets, one a line, readable by its owner only", TEXT(token_file)},
    {"transport", "NAME", "auto, shm, verbs or tcp (auto)", TEXT(transport)},
    {"bind", "HOST", "address of the data sockets (that of listen, else chosen by route)", TEXT(bind)},
    {"reactors", "N", "threads that move and sum data (auto: one a core)", OPTION_COUNT, 1, FIELD(reactors), 0, 1, CONTROL_REACTORS_MAX},
    {"pin", "auto|off|CORES",
     "bind each reactor to a core of its own: near its NIC, where there are enough, or to these, as in 2,4-6 (auto)", OPTION_PIN, 0,
     FIELD(pin), sizeof(((struct server_config *)0)->pin), 0, 0},
    {"memory-limit", "BYTES", "for the slots of all jobs together; K, M, G (auto: half of the memory)", OPTION_BYTES, 1,
     FIELD(memory_limit), 0, 1 << 20, BYTES_MAX},
    {"job-memory-limit", "BYTES", "for the slots of one job (auto: memory-limit)", OPTION_BYTES, 1, FIELD(job_memory_limit), 0, 1 << 20,
     BYTES_MAX},
    {"max-jobs", "N", "jobs (communicators) served at once (256)", COUNT(max_jobs, 1, 65536)},
    {"max-world", "N", "workers in one job (65536)", COUNT(max_world, 1, FOREST_MAX_NODES)},
    {"max-connections", "N", "control connections at once, strangers' included (auto: 16384, or half of the open files)", OPTION_COUNT, 1,
     FIELD(max_connections), 0, 16, 1000000},
    {"drain-timeout", "SECONDS", "how long running jobs may go on after SIGTERM (30)", OPTION_SECONDS, 0, FIELD(drain_timeout), 0, 0,
     86400},
    {"spin-us", "N", "microseconds that an idle reactor polls before it sleeps (20)", COUNT(spin_us, 0, 1000000)},
    {"devices", "LIST", "RDMA devices or ports to use, as in mlx5_0:1,mlx5_1 (all whose port is active)", OPTION_DEVICES, 0, FIELD(devices),
     sizeof(((struct server_config *)0)->devices), 0, 0},
    {"gid-index", "N", "in the RDMA port's GID table (auto: by the address that the route chooses)", SYSTEM(gid_index, GID_INDEX)},
    {"traffic-class", "N", "of RDMA packets, 0 to 255 (auto: the system's)", SYSTEM(traffic_class, TRAFFIC_CLASS)},
    {"service-level", "N", "of RDMA packets, 0 to 15 (auto: the system's)", SYSTEM(service_level, SERVICE_LEVEL)},
    {"mtu", "BYTES", "of RDMA packets at most: 256, 512, 1024, 2048 or 4096 (auto: what both ports have)", OPTION_MTU, 1, FIELD(mtu), 0, 0,
     0},
    {"ack-timeout", "N", "4.096 us x 2^N without an answer, then an RDMA packet is sent again (auto: 16, 0.27 s)", OPTION_COUNT, 1,
     FIELD(ack_timeout), 0, 1, TP_RDMA_ACK_TIMEOUT_MAX},
    {"retry-count", "N", "how often it is sent again before the peer counts as lost (auto: 6)", OPTION_COUNT, 1, FIELD(retry_count), 0, 1,
     TP_RDMA_RETRY_COUNT_MAX},
    {"topology", "FILE", "hosts and fabric for the plans: docs/topology.md, or Slurm's topology.conf (the hosts' own words only)",
     TEXT(topology)},
    {"cost", "LIST", "constants of the planner, as in hop_tcp=20us,sum=12GB/s (docs/planning.md)", OPTION_COST, 0, FIELD(cost),
     sizeof(((struct server_config *)0)->cost), 0, 0},
    {"log-level", "LEVEL", "off, error, warn, info or debug (info)", OPTION_LEVEL, 0, FIELD(log_level), 0, 0, 0},
};

_Static_assert(ARRAY_LEN(option_table) <= CONFIG_OPTIONS_MAX, "struct server_args has room for every option");

size_t option_count(void) { return ARRAY_LEN(option_table); }
const char *option_name(size_t index) { return option_table[index].name; }

const struct option_row *option_find(const char *name) {
  for (size_t i = 0; i < ARRAY_LEN(option_table); i++) {
    if (strcmp(option_table[i].name, name) == 0) return &option_table[i];
  }
  return NULL;
}

static int set_text(const struct option_row *row, char *field, const char *value, agg_error_t *err) {
  size_t len = strlen(value);
  if (len >= row->cap) return err_set(err, AGG_EINVAL, "%s: %zu characters: at most %zu are allowed", row->name, len, row->cap - 1);
  for (const char *p = value; *p != '\0'; p++) {
    if ((unsigned char)*p < ' ') return err_set(err, AGG_EINVAL, "%s: the value holds a control character", row->name);
  }
  str_copy(field, row->cap, value);
  return 0;
}

static int set_devices(const struct option_row *row, char *field, const char *value, agg_error_t *err) {
  int rc = tp_rdma_check_devices(value, err);
  if (rc == 0) return set_text(row, field, value, err);
  (void)err_prefix(err, "%s", row->name);
  return rc;
}

static int set_cost(const struct option_row *row, char *field, const char *value, agg_error_t *err) {
  struct cost cost;
  cost_init(&cost);
  int rc = cost_parse(&cost, value, err);
  if (rc == 0) return set_text(row, field, value, err);
  (void)err_prefix(err, "%s", row->name);
  return rc;
}

static int set_pin(const struct option_row *row, char *field, const char *value, agg_error_t *err) {
  int rc = value[0] != '\0' ? pin_check(value, err) : err_set(err, AGG_EINVAL, "'': expected off, auto, or cores as in 2,4-6");
  return rc == 0 ? set_text(row, field, value, err) : err_prefix(err, "%s", row->name);
}

/* 0 to max, or auto (or -1, as the library's variables have it). */
static int set_system(const struct option_row *row, int32_t *field, const char *value, agg_error_t *err) {
  uint64_t n;
  int given = parse_u64(value, (uint64_t)row->max, &n) == 0;
  if (!given && strcmp(value, "auto") != 0 && strcmp(value, "-1") != 0)
    return err_set(err, AGG_EINVAL, "%s: '%.80s' is not a whole number from 0 to %.0f, or auto", row->name, value, row->max);
  *field = given ? (int32_t)n : -1;
  return 0;
}

static int set_mtu(const struct option_row *row, uint32_t *field, const char *value, agg_error_t *err) {
  uint64_t n = 0;
  int automatic = strcmp(value, "auto") == 0;
  if (!automatic && (parse_u64(value, UINT32_MAX, &n) != 0 || n == 0 || tp_rdma_check_mtu(n, NULL) != 0))
    return err_set(err, AGG_EINVAL, "%s: '%.80s' is not 256, 512, 1024, 2048 or 4096, or auto", row->name, value);
  *field = (uint32_t)n;
  return 0;
}

static int set_number(const struct option_row *row, void *field, const char *value, agg_error_t *err) {
  const char *or_auto = row->zero_is_auto ? ", or auto" : "";
  uint64_t n = 0;
  double d = 0;
  if (row->zero_is_auto && strcmp(value, "auto") == 0) {
    if (row->kind == OPTION_BYTES) *(uint64_t *)field = 0;
    if (row->kind == OPTION_COUNT) *(uint32_t *)field = 0;
    return 0;
  }
  switch (row->kind) {
    case OPTION_COUNT:
      if (parse_u64(value, (uint64_t)row->max, &n) == 0 && (double)n >= row->min) {
        *(uint32_t *)field = (uint32_t)n;
        return 0;
      }
      return err_set(err, AGG_EINVAL, "%s: '%.80s' is not a whole number from %.0f to %.0f%s", row->name, value, row->min, row->max,
                     or_auto);
    case OPTION_BYTES:
      if (parse_bytes(value, (uint64_t)row->max, &n) == 0 && (double)n >= row->min) {
        *(uint64_t *)field = n;
        return 0;
      }
      return err_set(err, AGG_EINVAL, "%s: '%.80s' is not a number of bytes from 1M up, such as 1073741824, 512M or 8G%s", row->name, value,
                     or_auto);
    default:
      if (parse_double(value, row->min, row->max, &d) == 0) {
        *(double *)field = d;
        return 0;
      }
      return err_set(err, AGG_EINVAL, "%s: '%.80s' is not a number of seconds from %.0f to %.0f", row->name, value, row->min, row->max);
  }
}

static int set_level(const struct option_row *row, uint32_t *field, const char *value, agg_error_t *err) {
  int level = log_level_parse(value);
  if (level < 0) return err_set(err, AGG_EINVAL, "%s: '%.80s' is not off, error, warn, info or debug", row->name, value);
  *field = (uint32_t)level;
  return 0;
}

int option_set(const struct option_row *row, struct server_config *c, const char *value, agg_error_t *err) {
  void *field = (char *)c + row->offset;
  switch (row->kind) {
    case OPTION_TEXT:
      return set_text(row, field, value, err);
    case OPTION_LEVEL:
      return set_level(row, field, value, err);
    case OPTION_PIN:
      return set_pin(row, field, value, err);
    case OPTION_DEVICES:
      return set_devices(row, field, value, err);
    case OPTION_COST:
      return set_cost(row, field, value, err);
    case OPTION_SYSTEM:
      return set_system(row, field, value, err);
    case OPTION_MTU:
      return set_mtu(row, field, value, err);
    default:
      return set_number(row, field, value, err);
  }
}

const char *option_format(const struct option_row *row, const struct server_config *c, char *buf, size_t cap) {
  const void *field = (const char *)c + row->offset;
  uint32_t count = row->cap != 0 ? 0 : *(const uint32_t *)field;
  switch (row->kind) {
    case OPTION_TEXT:
    case OPTION_DEVICES:
    case OPTION_COST:
    case OPTION_PIN:
      str_copy(buf, cap, field);
      return buf;
    case OPTION_BYTES:
      return *(const uint64_t *)field == 0 ? "auto" : text_bytes_exact(*(const uint64_t *)field, buf, cap);
    case OPTION_SECONDS:
      snprintf(buf, cap, "%g", *(const double *)field);
      return buf;
    case OPTION_SYSTEM:
      if (*(const int32_t *)field < 0) return "auto";
      snprintf(buf, cap, "%d", *(const int32_t *)field);
      return buf;
    case OPTION_LEVEL:
      return log_level_name((agg_log_level_t)count);
    default:
      if (count == 0 && row->zero_is_auto) return "auto";
      snprintf(buf, cap, "%u", count);
      return buf;
  }
}
