/*
 * The instance's life: configuration in, threads and transports up, and all of it down again. Also where the world communicator and tickets
 * find their coordinator.
 */
#include "instance.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/net.h"
#include "base/util.h"
#include "comm.h"
#include "control/planning.h"
#include "describe.h"
#include "rdma.h"
#include "topology/choose.h"

int agg_keep_error(struct agg *a, const agg_error_t *err) {
  pthread_mutex_lock(&a->lock);
  a->error = *err;
  pthread_mutex_unlock(&a->lock);
  return err->code;
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------------ */

#define SECONDS_MAX 1e9

static int check_word(const char *name, const char *value, const char *one, const char *other, agg_error_t *err) {
  if (value[0] == '\0' || strcmp(value, one) == 0 || strcmp(value, other) == 0) return AGG_OK;
  return err_set(err, AGG_EINVAL, "%s: '%s' is unknown: %s or %s", name, value, one, other);
}

/* Texts set by hand need not end. */
static int check_texts(const agg_config_t *c, agg_error_t *err) {
#define FIELD(name) \
  { #name, c->name, sizeof c->name }
  const struct {
    const char *name, *text;
    size_t cap;
  } fields[] = {FIELD(job),       FIELD(servers),   FIELD(coordinator), FIELD(token),   FIELD(token_file),
                FIELD(bind_host), FIELD(transport), FIELD(plan),        FIELD(devices), FIELD(reproducible),
                FIELD(topology),  FIELD(cost),      FIELD(tune),        FIELD(pin),     FIELD(memory)};
#undef FIELD
  for (size_t i = 0; i < ARRAY_LEN(fields); i++)
    if (strnlen(fields[i].text, fields[i].cap) == fields[i].cap)
      return err_set(err, AGG_EINVAL, "%s: its %zu bytes have no terminating zero", fields[i].name, fields[i].cap);
  int rc = plan_text_check(c->plan, err);
  if (rc != AGG_OK) {
    (void)err_prefix(err, "plan");
    return rc;
  }
  rc = check_word("reproducible", c->reproducible, "off", "strict", err);
  if (rc == AGG_OK) rc = check_word("tune", c->tune, "auto", "off", err);
  return rc == AGG_OK ? check_word("memory", c->memory, "registered", "private", err) : rc;
}

struct tp_rdma instance_rdma(const agg_config_t *c) {
  return (struct tp_rdma){.devices = c->devices,
                          .gid_index = c->gid_index,
                          .traffic_class = c->traffic_class,
                          .service_level = c->service_level,
                          .mtu = c->mtu,
                          .ack_timeout = c->ack_timeout,
                          .retry_count = c->retry_count};
}

static int check_config(const agg_config_t *c, agg_error_t *err) {
  if (c->size != sizeof *c)
    return err_set(err, AGG_EINVAL, "config: its size is %zu, this library expects %zu: fill it with agg_config_init", c->size, sizeof *c);
  if (c->version / 10000 != AGG_VERSION_MAJOR)
    return err_set(err, AGG_EINVAL, "config: compiled for version %u, this library is %u", c->version, (unsigned)AGG_VERSION);
  if (c->world == 0 || c->rank >= c->world) return err_set(err, AGG_EINVAL, "rank: %u of %u ranks", c->rank, c->world);
  if (c->reactors > REACTORS_MAX) return err_set(err, AGG_EINVAL, "reactors: %u, at most %u", c->reactors, REACTORS_MAX);
  if (!(c->timeout_s > 0 && c->timeout_s <= SECONDS_MAX))
    return err_set(err, AGG_EINVAL, "timeout_s: must be more than 0 seconds, at most %g", SECONDS_MAX);
  if (!(c->join_timeout_s > 0 && c->join_timeout_s <= SECONDS_MAX))
    return err_set(err, AGG_EINVAL, "join_timeout_s: must be more than 0 seconds, at most %g", SECONDS_MAX);
  int rc = check_texts(c, err);
  struct tp_rdma rdma = instance_rdma(c);
  return rc == AGG_OK ? tp_rdma_check(&rdma, err) : rc;
}

static int map_alive_page(struct agg *a, agg_error_t *err) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  a->alive = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (a->alive == MAP_FAILED) {
    a->alive = NULL;
    return err_set(err, AGG_ENOMEM, "no memory for an instance");
  }
  if (madvise(a->alive, page, MADV_WIPEONFORK) != 0)
    LOG_DEBUG(&a->log, "this kernel cannot wipe memory at fork: forked children are not recognised");
  *a->alive = 1;
  return AGG_OK;
}

/* For the groups that this process coordinates: with servers, the first of them plans, with what it was given. */
static int read_planning(struct agg *a, agg_error_t *err) {
  const agg_config_t *c = &a->config;
  cost_init(&a->cost);
  int rc = cost_parse(&a->cost, c->cost, err);
  if (rc != AGG_OK) {
    (void)err_prefix(err, "cost");
    return rc;
  }
  if (c->servers[0] != '\0' && (c->topology[0] != '\0' || c->cost[0] != '\0'))
    LOG_WARN(&a->log, "AGG_TOPO and AGG_COST do not count here: with servers the first of them plans; start it with --topology and --cost");
  if (c->topology[0] == '\0') return AGG_OK;
  rc = planning_topology_load(c->topology, &a->topo, err);
  if (rc != AGG_OK) (void)err_prefix(err, "topology");
  return rc;
}

static int start_control(struct agg *a, agg_error_t *err) {
  char token[CONTROL_TOKEN_MAX] = "";
  if (a->config.token_file[0] != '\0') {
    int rc = control_token_read(a->config.token_file, token, sizeof token, err);
    if (rc != AGG_OK) return rc;
  } else {
    str_copy(token, sizeof token, a->config.token);
  }
  struct control_config cc = {.log = &a->log, .token = token, .topo = a->topo, .topo_name = a->config.topology, .cost = &a->cost};
  return control_start(&cc, &a->control, err);
}

/* Where peers are to be expected: towards the servers or the coordinator. */
static void first_peer_host(const agg_config_t *c, char *host, size_t cap) {
  char first[256];
  uint16_t port;
  str_copy(first, sizeof first, c->servers[0] != '\0' ? c->servers : c->coordinator);
  first[strcspn(first, ",")] = '\0';
  host[0] = '\0';
  if (first[0] != '\0') (void)net_split(first, 0, host, cap, &port, NULL);
}

static int start_reactors(struct agg *a, agg_error_t *err) {
  char peer[256];
  unsigned want = a->config.reactors != 0 ? a->config.reactors : 1;
  struct tp_rdma rdma = instance_rdma(&a->config);
  struct pinning_config pin = {.log = &a->log,
                               .setting = a->config.pin,
                               .reactors = want,
                               .local_rank = a->config.local_rank,
                               .devices = a->config.devices,
                               .transport = a->config.transport};
  int code = pinning_start(&a->pinning, &pin, err);
  if (code != AGG_OK) return err_prefix(err, "pin");
  first_peer_host(&a->config, peer, sizeof peer);
  for (unsigned i = 0; i < want; i++) {
    struct reactor_config rc = {.log = &a->log,
                                .index = i,
                                .transports = a->config.transport,
                                .bind_host = a->config.bind_host,
                                .peer_host = peer,
                                .rdma = &rdma,
                                .spin_us = a->config.spin_us,
                                .lazy = 1,
                                .cpu = pinning_core(&a->pinning, i)};
    code = reactor_start(&rc, &a->reactors[i], err);
    if (code != AGG_OK) return code;
    a->n_reactors++;
    if (reactor_cpu(a->reactors[i]) != rc.cpu) pinning_failed(&a->pinning, i);
  }
  pinning_say(&a->pinning, &a->log);
  describe_here(&a->here, a->reactors[0], &a->log);
  return AGG_OK;
}

static void say_config(const struct agg *a) {
  const agg_config_t *c = &a->config;
  LOG_INFO(&a->log, "libagg %d.%d.%d: rank %u of %u, job '%s', servers '%s', coordinator '%s', transport %s, plan %s", AGG_VERSION_MAJOR,
           AGG_VERSION_MINOR, AGG_VERSION_PATCH, c->rank, c->world, c->job, c->servers, c->coordinator, c->transport, c->plan);
  LOG_INFO(&a->log,
           "chunk %u, window %u, lanes %u, reactors %u (0: chosen), spin %u us, memory limit %llu, timeout %.1f s, join timeout %.1f s, "
           "sums: %s",
           c->chunk_bytes, c->window, c->lanes, c->reactors, c->spin_us, (unsigned long long)c->memory_limit, c->timeout_s,
           c->join_timeout_s, reduce_best()->name);
  LOG_INFO(&a->log, "reproducible '%s', topology '%s', cost '%s', tune '%s', pin '%s', memory '%s'", c->reproducible, c->topology, c->cost,
           c->tune, c->pin, c->memory);
  LOG_INFO(
      &a->log,
      "devices '%s' (empty: all), GID index %d, traffic class %d, service level %d (-1: the system's), MTU %u, ack timeout %u, retries %u "
      "(0: default)",
      c->devices, c->gid_index, c->traffic_class, c->service_level, c->mtu, c->ack_timeout, c->retry_count);
}

int agg_open(const agg_config_t *config, agg_t **out, agg_error_t *err) {
  agg_config_t from_env;
  if (out == NULL) return err_set(err, AGG_EINVAL, "agg: NULL");
  if (config == NULL) {
    agg_config_init(&from_env);
    int rc = agg_config_from_env(&from_env, err);
    if (rc != AGG_OK) return rc;
    config = &from_env;
  }
  int rc = check_config(config, err);
  if (rc != AGG_OK) return rc;
  struct agg *a = calloc(1, sizeof *a);
  if (a == NULL) return err_set(err, AGG_ENOMEM, "no memory for an instance");
  a->config = *config;
  if (a->config.memory_limit == 0) a->config.memory_limit = 4ull << 30;
  log_init(&a->log, config->log_level, config->log_fn, config->log_user);
  if (gethostname(a->host, sizeof a->host - 1) != 0) str_copy(a->host, sizeof a->host, "unknown");
  pthread_mutex_init(&a->lock, NULL);
  mem_registry_init(&a->memory);
  say_config(a);
  calibrate(&a->log, &a->calibration);
  rc = map_alive_page(a, err);
  if (rc == AGG_OK) rc = read_planning(a, err);
  if (rc == AGG_OK) rc = callbacks_create(&a->callbacks, err);
  if (rc == AGG_OK) rc = start_control(a, err);
  if (rc == AGG_OK) rc = start_reactors(a, err);
  if (rc != AGG_OK) {
    agg_close(a);
    return rc;
  }
  *out = a;
  return AGG_OK;
}

void agg_close(agg_t *a) {
  if (a == NULL || (a->alive != NULL && agg_usable(a) != AGG_OK)) return; /* a forked child owns none of it */
  while (a->comms != NULL) comm_destroy(a->comms);
  callbacks_destroy(a->callbacks);
  memory_close(a);
  control_stop(a->control);
  for (unsigned i = 0; i < a->n_reactors; i++) reactor_stop(a->reactors[i]);
  pinning_stop(&a->pinning);
  planning_topology_free(a->topo);
  topo_fini(&a->here);
  if (a->alive != NULL) munmap(a->alive, (size_t)sysconf(_SC_PAGESIZE));
  pthread_mutex_destroy(&a->lock);
  free(a);
}

/* ---- finding the coordinator ------------------------------------------------------------ */

static int first_server(const struct agg *a, char *host, size_t cap, uint16_t *port, agg_error_t *err) {
  char first[256];
  str_copy(first, sizeof first, a->config.servers);
  first[strcspn(first, ",")] = '\0';
  return net_split(first, CONTROL_SERVER_PORT, host, cap, port, err);
}

static int has_token(const struct agg *a) { return a->config.token[0] != '\0' || a->config.token_file[0] != '\0'; }

/* Where rank 0 listens when it is to be reached as `host`. Hosts often map their own name to a loopback address, so with a token it listens
 * on all addresses; without one only loopback is served. */
static const char *listen_host(const struct agg *a, const char *host) {
  int loopback = strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
  return has_token(a) && !loopback ? "" : host;
}

int instance_world(struct agg *a, char *host, size_t cap, uint16_t *port, unsigned char *group, agg_error_t *err) {
  const agg_config_t *c = &a->config;
  unsigned char digest[EVP_MAX_MD_SIZE];
  char text[AGG_NAME_MAX + 16];
  int n = snprintf(text, sizeof text, "agg world|%s", c->job);
  if (EVP_Digest(text, (size_t)n, digest, NULL, EVP_sha256(), NULL) != 1) return err_set(err, AGG_ESYS, "the hash function does not work");
  memcpy(group, digest, CONTROL_GROUP_BYTES);
  if (c->servers[0] != '\0') return first_server(a, host, cap, port, err);
  if (c->coordinator[0] == '\0') {
    if (c->world != 1)
      return err_set(err, AGG_EINVAL,
                     "coordinator: not set; with %u ranks and no servers set AGG_COORDINATOR=host:port, where rank 0 is to listen",
                     c->world);
    str_copy(host, cap, "127.0.0.1");
    return control_serve(a->control, host, 0, port, err);
  }
  int rc = net_split(c->coordinator, -1, host, cap, port, err);
  if (rc == AGG_OK && c->rank == 0) {
    uint16_t asked = *port;
    rc = control_serve(a->control, listen_host(a, host), asked, port, err);
    if (rc == AGG_OK && asked != 0 && *port != asked)
      rc = err_set(err, AGG_EINVAL, "coordinator: this process coordinates on port %u already, not on %u", *port, asked);
  }
  return rc;
}

/* ---- tickets: magic, port (little-endian), group, host with a terminating zero; the rest is zero
 * ------------------------------------------------------------ */

#define TICKET_MAGIC "AGT1"
#define TICKET_PORT 4
#define TICKET_GROUP 6
#define TICKET_HOST (TICKET_GROUP + CONTROL_GROUP_BYTES)

int instance_ticket_make(struct agg *a, agg_ticket_t *ticket, agg_error_t *err) {
  char host[256] = "";
  uint16_t port = 0;
  int rc;
  if (a->config.servers[0] != '\0') {
    rc = first_server(a, host, sizeof host, &port, err);
  } else if (a->config.rank == 0 && a->config.coordinator[0] != '\0') { /* one process coordinates in one place */
    rc = net_split(a->config.coordinator, -1, host, sizeof host, &port, err);
    if (rc == AGG_OK) rc = control_serve(a->control, host, port, &port, err);
  } else {
    str_copy(host, sizeof host, !has_token(a) ? "127.0.0.1" : a->config.bind_host[0] != '\0' ? a->config.bind_host : a->host);
    rc = control_serve(a->control, listen_host(a, host), 0, &port, err);
  }
  if (rc != AGG_OK) return rc;
  if (strlen(host) >= AGG_TICKET_BYTES - TICKET_HOST)
    return err_set(err, AGG_EINVAL, "the coordinator's host name '%s' is longer than the %d characters that a ticket has", host,
                   (int)(AGG_TICKET_BYTES - TICKET_HOST - 1));
  agg_ticket_t made = {{0}};
  memcpy(made.bytes, TICKET_MAGIC, 4);
  made.bytes[TICKET_PORT] = (unsigned char)(port & 255);
  made.bytes[TICKET_PORT + 1] = (unsigned char)(port >> 8);
  if (RAND_bytes(made.bytes + TICKET_GROUP, CONTROL_GROUP_BYTES) != 1) return err_set(err, AGG_ESYS, "no random numbers can be had");
  memcpy(made.bytes + TICKET_HOST, host, strlen(host));
  *ticket = made;
  return AGG_OK;
}

int instance_ticket_read(const agg_ticket_t *ticket, char *host, size_t cap, uint16_t *port, unsigned char *group, agg_error_t *err) {
  const unsigned char *b = ticket->bytes;
  if (memcmp(b, TICKET_MAGIC, 4) != 0 || b[AGG_TICKET_BYTES - 1] != 0 || b[TICKET_HOST] == 0)
    return err_set(err, AGG_EINVAL, "ticket: these are not the bytes of a ticket that agg_ticket_create made");
  *port = (uint16_t)(b[TICKET_PORT] | b[TICKET_PORT + 1] << 8);
  memcpy(group, b + TICKET_GROUP, CONTROL_GROUP_BYTES);
  str_copy(host, cap, (const char *)b + TICKET_HOST);
  return AGG_OK;
}
