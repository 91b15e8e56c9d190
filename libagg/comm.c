/*
 * Making and unmaking communicators: join the group, make the planes, connect their lanes, say ready. What happens in between is in
 * comm_run.c, operations are in op.c.
 */
#include "comm.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/net.h"
#include "base/util.h"
#include "describe.h"
#include "pages.h"

#define FLUSH_LIMIT_NS 2000000000ull /* for the last notices to be on their way when a communicator is destroyed */
#define REQUESTS_A_SLAB 64u

struct request_slab {
  struct request_slab *next;
};

int comm_keep_error(struct agg_comm *c, const agg_error_t *err) {
  pthread_mutex_lock(&c->error_lock);
  if (atomic_load(&c->status) == AGG_OK) c->error = *err; /* the text that ended it stays */
  pthread_mutex_unlock(&c->error_lock);
  return err->code;
}

static size_t request_bytes(const struct agg_comm *c) {
  return round_up_u64(sizeof(struct agg_request) + c->setup.plan.lanes * sizeof(struct plane_op), CACHE_LINE);
}

int comm_reserve_requests(struct agg_comm *c) {
  size_t one = request_bytes(c);
  char *mem = aligned_alloc(CACHE_LINE, CACHE_LINE + REQUESTS_A_SLAB * one);
  if (mem == NULL) return AGG_ENOMEM;
  struct request_slab *slab = (struct request_slab *)(void *)mem;
  slab->next = c->slabs;
  c->slabs = slab;
  for (uint32_t i = 0; i < REQUESTS_A_SLAB; i++) {
    struct agg_request *r = (struct agg_request *)(void *)(mem + CACHE_LINE + i * one);
    memset(r, 0, one);
    r->comm = c;
    r->next_free = c->free_requests;
    c->free_requests = r;
  }
  if (atomic_load(&c->operations) != 0) atomic_fetch_add(&c->late_allocs, 1);
  return AGG_OK;
}

/* ---- joining -------------------------------------------------------------------------------------------------------------------- */

static int describe_self(struct agg *a, struct control_node *self, agg_error_t *err) {
  *self = (struct control_node){.pid = (uint32_t)getpid(), .reactors = a->n_reactors};
  describe_node(self, a->reactors[0], &a->here, &a->calibration, a->config.memory_limit);
  str_copy(self->host, sizeof self->host, a->host);
  self->place = net_place();
  self->addresses = calloc((size_t)a->n_reactors * PLANE_TPS_MAX, sizeof *self->addresses);
  if (self->addresses == NULL) return err_set(err, AGG_ENOMEM, "no memory for addresses");
  for (unsigned r = 0; r < a->n_reactors; r++) {
    struct plane_tp tps[PLANE_TPS_MAX];
    unsigned n = reactor_tps(a->reactors[r], tps);
    for (unsigned i = 0; i < n; i++) {
      struct control_address *at = &self->addresses[self->n_addresses++];
      str_copy(at->transport, sizeof at->transport, tps[i].ops->name);
      at->reactor = r;
      at->len = (uint32_t)tps[i].ops->address(tps[i].tp, at->bytes);
    }
  }
  return AGG_OK;
}

static int join(struct agg_comm *c, const char *host, uint16_t port, const unsigned char *group, agg_error_t *err) {
  const agg_config_t *cfg = &c->agg->config;
  struct control_node self;
  int rc = describe_self(c->agg, &self, err);
  if (rc != AGG_OK) return rc;
  struct member_config mc = {.port = port,
                             .rank = c->rank,
                             .size = c->size,
                             .servers = cfg->servers,
                             .plan = cfg->plan,
                             .strict = strcmp(cfg->reproducible, "strict") == 0,
                             .tune = strcmp(cfg->tune, "off") != 0,
                             .private_memory = strcmp(cfg->memory, "private") == 0,
                             .lanes = cfg->lanes,
                             .window = cfg->window,
                             .chunk_bytes = cfg->chunk_bytes,
                             .timeout_s = cfg->timeout_s,
                             .join_timeout_s = cfg->join_timeout_s,
                             .self = &self};
  str_copy(mc.host, sizeof mc.host, host);
  str_copy(mc.job, sizeof mc.job, cfg->job);
  memcpy(mc.group, group, sizeof mc.group);
  comm_member_hooks(c, &mc.hooks);
  rc = member_join(c->agg->control, &mc, &c->member, &c->setup, err);
  free(self.addresses);
  return rc;
}

/* ---- planes ----------------------------------------------------------------------------------------------------------------------- */

static int take_memory(struct agg_comm *c, agg_error_t *err) {
  struct agg *a = c->agg;
  struct plane_tp tps[PLANE_TPS_MAX];
  unsigned n_tps = reactor_tps(a->reactors[0], tps); /* all reactors have the same */
  uint64_t want = plane_memory(&c->setup.plan, c->rank, tps, n_tps) * c->n_planes, limit = a->config.memory_limit;
  uint64_t held = atomic_fetch_add(&a->buffer_bytes, want);
  c->buffer_bytes = want;
  if (held + want <= limit) return AGG_OK;
  return err_set(err, AGG_ELIMIT,
                 "a communicator of %u ranks needs %llu bytes of buffers here, %llu are in use and the limit is %llu: raise "
                 "AGG_MEMORY_LIMIT, or lower "
                 "AGG_CHUNK, AGG_WINDOW or AGG_LANES",
                 c->size, (unsigned long long)want, (unsigned long long)held, (unsigned long long)limit);
}

static void note_transport(struct agg_comm *c, const char *name) {
  size_t len = strlen(c->transports);
  if (strstr(c->transports, name) != NULL) return;
  snprintf(c->transports + len, sizeof c->transports - len, "%s%s", len != 0 ? "+" : "", name);
}

static int connect_lane(struct comm_plane *cp, const struct way_here *here, uint32_t peer, const char *name, agg_error_t *err) {
  struct agg_comm *c = cp->comm;
  const struct control_node *node = &c->setup.nodes[peer];
  uint32_t reactor = (uint32_t)(cp - c->planes) % node->reactors; /* where the peer has this plane */
  unsigned char ticket[TP_TICKET_BYTES];
  struct way way;
  int rc = way_choose(here, node, reactor, name, &way, err);
  if (rc != AGG_OK) return rc;
  if (cp == c->planes) { /* what goes for the first lane goes for all */
    char why[WAY_TEXT_MAX];
    ways_chosen(c->ways, peer, way_why(here, node, reactor, &way, why, sizeof why));
  }
  control_lane_ticket(&c->setup, c->rank, peer, cp->priority, cp->lane, ticket);
  rc = plane_connect(cp->plane, peer, way.tp, way.address->bytes, way.address->len, ticket, err);
  if (rc != AGG_OK) return rc;
  note_transport(c, here->tps[way.tp].ops->name);
  return AGG_OK;
}

static int connect_lanes(struct comm_plane *cp, agg_error_t *err) {
  struct agg_comm *c = cp->comm;
  struct way_here here;
  way_here_init(&here, c->agg->reactors[cp->reactor]);
  for (uint32_t peer = 0; peer < c->setup.n_nodes; peer++) {
    char name[CONTROL_NODE_NAME_MAX];
    if (plane_name(cp->plane, peer, control_node_name(&c->setup, peer, name, sizeof name)) != AGG_OK)
      return err_set(err, AGG_ENOMEM, "no memory for names");
    if (!plane_is_neighbour(cp->plane, peer)) continue;
    int rc = connect_lane(cp, &here, peer, name, err);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}

struct plane_call {
  struct comm_plane *cp;
  int rc;
  agg_error_t err;
};

static void open_plane_on_reactor(void *arg) {
  struct plane_call *call = arg;
  struct comm_plane *cp = call->cp;
  struct agg_comm *c = cp->comm;
  struct plane_config pc = {.log = &c->agg->log,
                            .comm = c->setup.comm,
                            .epoch = c->setup.epoch,
                            .self = c->rank,
                            .lane = cp->lane,
                            .priority = cp->priority,
                            .plan = &c->setup.plan,
                            .reduce = reduce_best()};
  pc.bind = c->agg->pinning.bind;
  pc.node = pinning_node(&c->agg->pinning, cp->reactor);
  pc.n_tps = reactor_tps(c->agg->reactors[cp->reactor], pc.tps);
  comm_plane_hooks(cp, &pc.hooks);
  call->rc = plane_create(&pc, &cp->plane, &call->err);
  if (call->rc != AGG_OK) return;
  comm_client_init(cp);
  reactor_add(c->agg->reactors[cp->reactor], &cp->client);
  call->rc = connect_lanes(cp, &call->err);
  if (call->rc == AGG_OK && plane_neighbours(cp->plane) == 0) pc.hooks.connected(cp);
}

static int open_planes(struct agg_comm *c, agg_error_t *err) {
  uint32_t lanes = c->setup.plan.lanes;
  for (uint32_t i = 0; i < c->n_planes; i++) {
    struct comm_plane *cp = &c->planes[i];
    *cp = (struct comm_plane){.comm = c, .priority = i / lanes, .lane = i % lanes, .reactor = i % c->agg->n_reactors};
  }
  for (uint32_t i = 0; i < c->n_planes; i++) {
    struct plane_call call = {.cp = &c->planes[i]};
    reactor_call(c->agg->reactors[c->planes[i].reactor], open_plane_on_reactor, &call);
    if (call.rc == AGG_OK) continue;
    if (err != NULL) *err = call.err;
    return call.rc;
  }
  return AGG_OK;
}

struct where_call {
  const struct comm_plane *cp;
  struct pages *pages;
};

static void where_on_reactor(void *arg) {
  struct where_call *call = arg;
  struct plane_where where;
  plane_get_where(call->cp->plane, &where);
  pages_add(call->pages, &where);
}

static void say_pages(struct agg_comm *c, const char *prefix) {
  struct pages pages = {0};
  for (uint32_t i = 0; i < c->n_planes; i++) {
    struct where_call call = {.cp = &c->planes[i], .pages = &pages};
    reactor_call(c->agg->reactors[c->planes[i].reactor], where_on_reactor, &call);
  }
  pages_say(&pages, &c->agg->log, prefix);
}

static int why_ended(struct agg_comm *c, agg_error_t *err) {
  pthread_mutex_lock(&c->error_lock);
  *err = c->error;
  pthread_mutex_unlock(&c->error_lock);
  return err->code;
}

/* Until all lanes are up, or something ends the communicator. */
static int await_lanes(struct agg_comm *c, agg_error_t *err) {
  uint64_t deadline = clock_now_ns() + (uint64_t)(c->agg->config.join_timeout_s * 1e9);
  for (;;) {
    uint32_t seen = atomic_load(&c->progress);
    if (atomic_load(&c->status) != AGG_OK) break;
    if (atomic_load(&c->connected) == c->n_planes) return AGG_OK;
    if (!reactor_wait(comm_reactor(c, 0), &c->progress, seen, deadline) && clock_now_ns() >= deadline)
      return err_set(err, AGG_ETIMEDOUT, "%u of %u planes have connected to all their peers within %.0f s (AGG_JOIN_TIMEOUT)",
                     atomic_load(&c->connected), c->n_planes, c->agg->config.join_timeout_s);
  }
  return why_ended(c, err);
}

struct close_call {
  struct comm_plane *cp;
  int idle;
};

static void idle_on_reactor(void *arg) {
  struct close_call *call = arg;
  call->idle = plane_idle(call->cp->plane);
}

static void close_plane_on_reactor(void *arg) {
  struct close_call *call = arg;
  struct comm_plane *cp = call->cp;
  reactor_remove(cp->comm->agg->reactors[cp->reactor], &cp->client);
  plane_destroy(cp->plane);
  cp->plane = NULL;
}

static void close_planes(struct agg_comm *c) {
  for (uint32_t i = 0; i < c->n_planes; i++) {
    struct close_call call = {.cp = &c->planes[i]};
    if (call.cp->plane != NULL) reactor_call(c->agg->reactors[call.cp->reactor], close_plane_on_reactor, &call);
  }
}

/* ---- life ---------------------------------------------------------------------------------------------------------------------------- */

static struct agg_comm *comm_new(struct agg *a, uint32_t rank, uint32_t size) {
  struct agg_comm *c = calloc(1, sizeof *c);
  if (c == NULL) return NULL;
  c->agg = a;
  c->rank = rank;
  c->size = size;
  pthread_mutex_init(&c->post_lock, NULL);
  pthread_mutex_init(&c->error_lock, NULL);
  atomic_init(&c->refs, 1);
  c->left = calloc(size, 1);
  for (unsigned p = 0; p < AGG_PRIORITY_COUNT; p++) c->queues[p].ring = calloc(COMM_OPS_MAX, sizeof *c->queues[p].ring);
  if (c->left != NULL && c->queues[0].ring != NULL && c->queues[AGG_PRIORITY_COUNT - 1].ring != NULL) return c;
  comm_unref(c);
  return NULL;
}

void comm_unref(struct agg_comm *c) {
  if (atomic_fetch_sub(&c->refs, 1) != 1) return;
  while (c->slabs != NULL) {
    struct request_slab *next = c->slabs->next;
    free(c->slabs);
    c->slabs = next;
  }
  for (unsigned p = 0; p < AGG_PRIORITY_COUNT; p++) free(c->queues[p].ring);
  free(c->tune);
  free(c->round);
  free(c->left);
  pthread_mutex_destroy(&c->post_lock);
  pthread_mutex_destroy(&c->error_lock);
  free(c);
}

static void nothing_on_reactor(void *arg) { (void)arg; }

/* Whatever the reactors were at is done when it returns. */
static void reactors_pass(struct agg_comm *c) {
  for (unsigned i = 0; i < c->agg->n_reactors; i++) reactor_call(c->agg->reactors[i], nothing_on_reactor, NULL);
}

/* After this no hook of a plane is on its way to the control plane any more. */
static void quiesce(struct agg_comm *c) {
  atomic_store(&c->running, 0);
  reactors_pass(c);
}

/* Closes whatever part of it exists; the struct stays until the last reference goes. */
static void take_down(struct agg_comm *c) {
  quiesce(c);
  member_leave(c->member);
  c->member = NULL;
  close_planes(c);
  ways_destroy(c->ways);
  c->ways = NULL;
  free(c->planes);
  c->planes = NULL;
  c->n_planes = 0;
  control_setup_free(&c->setup);
  atomic_fetch_sub(&c->agg->buffer_bytes, c->buffer_bytes);
}

/* From here on faults are told to the coordinator. Those before it end creation: none is on its way any more when it is looked for. */
static int start_running(struct agg_comm *c, agg_error_t *err) {
  atomic_store(&c->running, 1);
  reactors_pass(c);
  return atomic_load(&c->status) == AGG_OK ? AGG_OK : why_ended(c, err);
}

/* Where measured times may change the plan. */
static int make_tune(struct agg_comm *c, agg_error_t *err) {
  if (!c->setup.plan.tunable) return AGG_OK;
  c->tune = malloc(sizeof *c->tune);
  c->round = aligned_alloc(CACHE_LINE, request_bytes(c));
  if (c->tune == NULL || c->round == NULL) return err_set(err, AGG_ENOMEM, "no memory for a communicator");
  tune_init(c->tune, &c->setup.plan, &c->agg->log, c->setup.comm, c->rank);
  memset(c->round, 0, request_bytes(c));
  c->round->comm = c;
  return AGG_OK;
}

static int bring_up(struct agg_comm *c, agg_error_t *err) {
  char prefix[64];
  snprintf(prefix, sizeof prefix, "communicator %u", c->setup.comm);
  int sound = plan_check(&c->setup.plan, c->rank, err);
  if (sound != AGG_OK) {
    (void)err_prefix(err, "the coordinator's plan");
    return sound;
  }
  c->ways = ways_create(&c->agg->log, prefix, c->setup.n_nodes);
  if (c->ways == NULL) return err_set(err, AGG_ENOMEM, "no memory for a communicator");
  c->planes = calloc((size_t)AGG_PRIORITY_COUNT * c->setup.plan.lanes, sizeof *c->planes);
  if (c->planes == NULL) return err_set(err, AGG_ENOMEM, "no memory for a communicator");
  c->n_planes = AGG_PRIORITY_COUNT * c->setup.plan.lanes;
  int rc = take_memory(c, err);
  if (rc == AGG_OK) rc = comm_reserve_requests(c);
  if (rc == AGG_OK) rc = make_tune(c, err);
  if (rc == AGG_OK) rc = open_planes(c, err);
  if (rc == AGG_OK) say_pages(c, prefix);
  if (rc == AGG_OK) rc = await_lanes(c, err);
  return rc == AGG_OK ? start_running(c, err) : rc;
}

int comm_create(struct agg *a, const char *host, uint16_t port, const unsigned char *group, uint32_t rank, uint32_t size,
                struct agg_comm **out, agg_error_t *err) {
  struct agg_comm *c = comm_new(a, rank, size);
  if (c == NULL) return err_set(err, AGG_ENOMEM, "no memory for a communicator");
  agg_error_t why = {0};
  int rc = join(c, host, port, group, &why);
  if (rc == AGG_OK) {
    rc = bring_up(c, &why);
    if (rc == AGG_OK)
      rc = member_ready(c->member, &why);
    else
      member_fail(c->member, rc, why.text);
  }
  if (rc != AGG_OK) {
    take_down(c);
    comm_unref(c);
    return err_set(err, rc, "%s", why.text);
  }
  if (c->transports[0] == '\0') str_copy(c->transports, sizeof c->transports, "none");
  pthread_mutex_lock(&a->lock);
  c->next = a->comms;
  a->comms = c;
  pthread_mutex_unlock(&a->lock);
  *out = c;
  return AGG_OK;
}

/* The last results and notices must be on their way before the lanes close: the peers still wait for them. */
static void flush(struct agg_comm *c) {
  uint64_t limit = clock_now_ns() + FLUSH_LIMIT_NS;
  for (uint32_t i = 0; i < c->n_planes && atomic_load(&c->status) == AGG_OK; i++) {
    struct close_call call = {.cp = &c->planes[i]};
    struct reactor *r = c->agg->reactors[call.cp->reactor];
    for (;;) {
      reactor_call(r, idle_on_reactor, &call);
      if (call.idle || atomic_load(&c->status) != AGG_OK || clock_now_ns() >= limit) break;
      reactor_kick(r);
      uint32_t seen = atomic_load(&c->progress);
      reactor_wait(r, &c->progress, seen, clock_now_ns() + 1000000);
    }
  }
}

/* Operations of the caller's. A round of times is none: it is flushed with the last results, for the peers take part in it. */
static int has_outstanding(struct agg_comm *c) {
  for (unsigned p = 0; p < AGG_PRIORITY_COUNT; p++)
    for (uint32_t i = 0; i < COMM_OPS_MAX; i++) {
      const struct agg_request *r = atomic_load(&c->queues[p].ring[i]);
      if (r != NULL && !r->internal) return 1;
    }
  return 0;
}

void comm_destroy(struct agg_comm *c) {
  pthread_mutex_lock(&c->agg->lock);
  struct agg_comm **at = &c->agg->comms;
  while (*at != c) at = &(*at)->next;
  *at = c->next;
  pthread_mutex_unlock(&c->agg->lock);
  if (!has_outstanding(c)) flush(c);
  comm_abort(c, AGG_ECLOSED, "the communicator was destroyed");
  while (!atomic_load(&c->over)) reactor_wait(comm_reactor(c, 0), &c->over, 0, clock_now_ns() + 100000000);
  take_down(c);
  comm_unref(c);
}
