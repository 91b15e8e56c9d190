/*
 * The configuration: its defaults, and what the environment says. The only place in libagg that reads AGG_* variables, each once, through
 * one table; what launchers set is launcher.c's. Never opens the token file: agg_open reads it, and refuses it when others can read it too.
 *
 * A variable that is set to nothing counts as not set. A launcher's meeting place is used only when neither *config nor AGG_SERVERS or
 * AGG_COORDINATOR name one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/net.h"
#include "base/util.h"
#include "instance.h"
#include "launcher.h"
#include "pin.h"
#include "rdma.h"
#include "topology/choose.h"

#define SECONDS_MIN 0.001
#define SECONDS_MAX 1e9

struct setting;
typedef int (*setting_fn)(const struct setting *s, const char *value, void *field, agg_error_t *err);

/* One variable: how it is read, where it goes, what it may be. */
struct setting {
  const char *name;
  setting_fn read;
  size_t offset;
  uint64_t min, max; /* texts: max is the field's size */
};

static int read_count(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  (void)value;
  return env_u32(s->name, (uint32_t)s->min, (uint32_t)s->max, field, err);
}

static int read_bytes(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  if (parse_bytes(value, s->max, field) == 0) return AGG_OK;
  return err_set(err, AGG_EINVAL, "%s=%.64s: expected bytes, as in 512M or 4G", s->name, value);
}

static int read_chunk(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  uint64_t bytes;
  if (parse_bytes(value, s->max, &bytes) != 0 || (bytes != 0 && bytes < s->min) || bytes % PLAN_CHUNK_UNIT != 0) {
    return err_set(err, AGG_EINVAL, "%s=%.64s: expected bytes from 1K to 16M in multiples of %u, as in 256K, or 0 to have it chosen",
                   s->name, value, PLAN_CHUNK_UNIT);
  }
  *(uint32_t *)field = (uint32_t)bytes;
  return AGG_OK;
}

static int read_seconds(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  if (parse_double(value, SECONDS_MIN, SECONDS_MAX, field) == 0) return AGG_OK;
  return err_set(err, AGG_EINVAL, "%s=%.64s: expected seconds, as in 60 or 0.5, at least %g", s->name, value, SECONDS_MIN);
}

/* The value is not quoted: it may be a secret. */
static int read_text(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  if (strlen(value) >= s->max)
    return err_set(err, AGG_EINVAL, "%s: %zu characters are too many: at most %zu", s->name, strlen(value), (size_t)s->max - 1);
  for (const char *p = value; *p != '\0'; p++) {
    if ((unsigned char)*p < ' ' || *p == 0x7f) return err_set(err, AGG_EINVAL, "%s: expected a text without control characters", s->name);
  }
  str_copy(field, s->max, value);
  return AGG_OK;
}

static int read_address(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  char host[256];
  uint16_t port;
  int rc = read_text(s, value, field, err);
  if (rc != AGG_OK) return rc;
  rc = net_split(value, -1, host, sizeof host, &port, err);
  if (rc == AGG_OK && port == 0) rc = err_set(err, AGG_EINVAL, "\"%s\": port 0 cannot be found by the others: expected 1 to 65535", value);
  if (rc != AGG_OK) (void)err_prefix(err, "%s", s->name);
  return rc;
}

/* One "host" or "host:port" of a list. */
static int check_server(const struct setting *s, const char *item, size_t len, agg_error_t *err) {
  char text[256], host[256];
  uint16_t port;
  if (len >= sizeof text) return err_set(err, AGG_EINVAL, "%s: the address \"%.64s...\" is too long", s->name, item);
  memcpy(text, item, len);
  text[len] = '\0';
  int rc = net_split(text, CONTROL_SERVER_PORT, host, sizeof host, &port, err);
  if (rc == AGG_OK && (host[0] == '\0' || port == 0)) rc = err_set(err, AGG_EINVAL, "\"%s\": expected host:port", text);
  if (rc != AGG_OK) (void)err_prefix(err, "%s", s->name);
  return rc;
}

static int read_servers(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  int rc = read_text(s, value, field, err);
  for (const char *item = value; rc == AGG_OK; item++) {
    size_t len = strcspn(item, ",");
    rc = check_server(s, item, len, err);
    item += len;
    if (*item == '\0') break;
  }
  return rc;
}

static int read_transport(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  if (strcmp(value, "auto") == 0 || tp_find(value) != NULL) return read_text(s, value, field, err);
  return err_set(err, AGG_EINVAL, "%s=%.64s: expected auto, shm, verbs or tcp", s->name, value);
}

/* A whole number, or -1: left to the system. */
static int read_or_system(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  uint64_t number;
  int given = parse_u64(value, s->max, &number) == 0;
  if (!given && strcmp(value, "-1") != 0) {
    return err_set(err, AGG_EINVAL, "%s=%.64s: expected a whole number from 0 to %u, or -1 to leave it to the system", s->name, value,
                   (unsigned)s->max);
  }
  *(int32_t *)field = given ? (int32_t)number : -1;
  return AGG_OK;
}

static int read_mtu(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  uint64_t mtu;
  if (parse_u64(value, UINT32_MAX, &mtu) == 0 && tp_rdma_check_mtu(mtu, NULL) == AGG_OK) {
    *(uint32_t *)field = (uint32_t)mtu;
    return AGG_OK;
  }
  return err_set(err, AGG_EINVAL, "%s=%.64s: expected 256, 512, 1024, 2048 or 4096, or 0 for the largest that both ports have", s->name,
                 value);
}

static int read_devices(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  int rc = read_text(s, value, field, err);
  if (rc == AGG_OK && (rc = tp_rdma_check_devices(value, err)) != AGG_OK) (void)err_prefix(err, "%s", s->name);
  return rc;
}

static int read_plan(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  int rc = plan_text_check(value, err);
  if (rc == AGG_OK) return read_text(s, value, field, err);
  (void)err_prefix(err, "%s=%.64s", s->name, value);
  return rc;
}

static int read_cost(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  struct cost cost;
  cost_init(&cost);
  int rc = cost_parse(&cost, value, err);
  if (rc == AGG_OK) return read_text(s, value, field, err);
  (void)err_prefix(err, "%s", s->name);
  return rc;
}

/* One of two words, the first of which is the default. */
static int read_word(const struct setting *s, const char *value, void *field, const char *one, const char *other, agg_error_t *err) {
  if (strcmp(value, one) == 0 || strcmp(value, other) == 0) return read_text(s, value, field, err);
  return err_set(err, AGG_EINVAL, "%s=%.64s: expected %s or %s", s->name, value, one, other);
}
static int read_strict(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  return read_word(s, value, field, "off", "strict", err);
}
static int read_tune(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  return read_word(s, value, field, "auto", "off", err);
}

static int read_memory(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  return read_word(s, value, field, "registered", "private", err);
}

static int read_pin(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  int rc = pin_check(value, err);
  if (rc == AGG_OK) return read_text(s, value, field, err);
  (void)err_prefix(err, "%s", s->name);
  return rc;
}

static int read_level(const struct setting *s, const char *value, void *field, agg_error_t *err) {
  int level = log_level_parse(value);
  if (level < 0) return err_set(err, AGG_EINVAL, "%s=%.64s: expected off, error, warn, info or debug", s->name, value);
  *(agg_log_level_t *)field = (agg_log_level_t)level;
  return AGG_OK;
}

#define AT(field) offsetof(agg_config_t, field)
#define TEXT(field) AT(field), 0, sizeof(((agg_config_t *)0)->field)

static const struct setting settings[] = {
    {"AGG_JOB", read_text, TEXT(job)},
    {"AGG_SERVERS", read_servers, TEXT(servers)},
    {"AGG_COORDINATOR", read_address, TEXT(coordinator)},
    {"AGG_TOKEN", read_text, TEXT(token)},
    {"AGG_TOKEN_FILE", read_text, TEXT(token_file)},
    {"AGG_BIND", read_text, TEXT(bind_host)},
    {"AGG_TRANSPORT", read_transport, TEXT(transport)},
    {"AGG_PLAN", read_plan, TEXT(plan)},
    {"AGG_REPRODUCIBLE", read_strict, TEXT(reproducible)},
    {"AGG_TOPO", read_text, TEXT(topology)},
    {"AGG_COST", read_cost, TEXT(cost)},
    {"AGG_TUNE", read_tune, TEXT(tune)},
    {"AGG_PIN", read_pin, TEXT(pin)},
    {"AGG_MEMORY", read_memory, TEXT(memory)},
    {"AGG_CHUNK", read_chunk, AT(chunk_bytes), PLAN_CHUNK_MIN, PLAN_CHUNK_MAX},
    {"AGG_WINDOW", read_count, AT(window), 0, PLAN_WINDOW_MAX},
    {"AGG_LANES", read_count, AT(lanes), 0, PLAN_LANES_MAX},
    {"AGG_REACTORS", read_count, AT(reactors), 0, REACTORS_MAX},
    {"AGG_SPIN_US", read_count, AT(spin_us), 0, 1000000},
    {"AGG_MEMORY_LIMIT", read_bytes, AT(memory_limit), 0, 1ull << 60},
    {"AGG_DEVICES", read_devices, TEXT(devices)},
    {"AGG_GID_INDEX", read_or_system, AT(gid_index), 0, TP_RDMA_GID_INDEX_MAX},
    {"AGG_TRAFFIC_CLASS", read_or_system, AT(traffic_class), 0, TP_RDMA_TRAFFIC_CLASS_MAX},
    {"AGG_SERVICE_LEVEL", read_or_system, AT(service_level), 0, TP_RDMA_SERVICE_LEVEL_MAX},
    {"AGG_MTU", read_mtu, AT(mtu), 0, 0},
    {"AGG_ACK_TIMEOUT", read_count, AT(ack_timeout), 0, TP_RDMA_ACK_TIMEOUT_MAX},
    {"AGG_RETRY_COUNT", read_count, AT(retry_count), 0, TP_RDMA_RETRY_COUNT_MAX},
    {"AGG_TIMEOUT", read_seconds, AT(timeout_s), 0, 0},
    {"AGG_JOIN_TIMEOUT", read_seconds, AT(join_timeout_s), 0, 0},
    {"AGG_LOG", read_level, AT(log_level), 0, 0},
};

void agg_config_init(agg_config_t *config) {
  if (config == NULL) return;
  *config = (agg_config_t){
      .size = sizeof *config,
      .version = AGG_VERSION,
      .world = 1,
      .job = LAUNCHER_JOB_DEFAULT,
      .transport = "auto",
      .plan = "auto",
      .reproducible = "off",
      .tune = "auto",
      .pin = "auto",
      .memory = "registered",
      .spin_us = 200,
      .gid_index = -1,
      .traffic_class = -1,
      .service_level = -1,
      .timeout_s = 60,
      .join_timeout_s = 60,
      .log_level = AGG_LOG_WARN,
  };
}

int agg_config_from_env(agg_config_t *config, agg_error_t *err) {
  if (config == NULL) return err_set(err, AGG_EINVAL, "config is NULL");
  if (config->size != sizeof *config) {
    return err_set(err, AGG_EINVAL, "config: its size is %zu, this library expects %zu: fill it with agg_config_init", config->size,
                   sizeof *config);
  }
  agg_config_t c = *config;
  for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
    const char *value = env_text(settings[i].name);
    int rc = value != NULL ? settings[i].read(&settings[i], value, (char *)&c + settings[i].offset, err) : AGG_OK;
    if (rc != AGG_OK) return rc;
  }
  int rc = launcher_read(&c, err);
  if (rc == AGG_OK) *config = c;
  return rc;
}
