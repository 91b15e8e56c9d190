/*
 * A plane's life: memory, lanes, events in. What the engine asks for is carried out in plane_exec.c. It reads no clock and starts no
 * thread.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "plane_internal.h"
#include "topology/bind.h"

#define SLOT_ALIGN 64u
#define LANE_DEPTH(window) (3 * (window) + 1) /* results of two windows of open chunks, contributions of one: the engine opens no more */
/* Slots at a whole number of pages from one another would share cache sets in the fold; one more line moves them apart. */
static size_t slot_stride(const struct plan *plan) { return round_up_u64(WIRE_HEADER_BYTES + plan->chunk_bytes, SLOT_ALIGN) + SLOT_ALIGN; }
static size_t scratch_stride(const struct plan *plan) { return round_up_u64(plan->chunk_bytes, SLOT_ALIGN) + SLOT_ALIGN; }

static uint64_t with_role(const uint8_t *roles, uint32_t nodes, uint8_t role) {
  uint64_t n = 0;
  for (uint32_t peer = 0; peer < nodes; peer++) n += (roles[peer] & role) != 0;
  return n;
}

static uint64_t block_bytes(const struct plan *plan, uint32_t self, const uint8_t *roles) {
  uint64_t children = with_role(roles, plan_nodes(plan), NODE_CHILD);
  return children * plan->window * slot_stride(plan) + (uint64_t)node_scratch_wanted(plan, self) * scratch_stride(plan);
}

uint64_t plane_memory(const struct plan *plan, uint32_t self, const struct plane_tp *tps, unsigned n_tps) {
  uint8_t *roles = malloc(plan_nodes(plan));
  int bounces = 0;
  if (roles == NULL) return UINT64_MAX;
  node_roles(plan, self, roles);
  for (unsigned i = 0; i < n_tps; i++) bounces |= plane_bounces(tps[i].ops);
  uint64_t parents = bounces ? with_role(roles, plan_nodes(plan), NODE_PARENT) : 0;
  uint64_t bytes = block_bytes(plan, self, roles) + parents * plan->window * scratch_stride(plan);
  free(roles);
  return bytes;
}

/* ---- names and faults ------------------------------------------------------------------------------------------------------- */

int plane_name(struct plane *p, uint32_t node, const char *name) {
  assert(node < p->nodes);
  char *copy = strdup(name);
  if (copy == NULL) return AGG_ENOMEM;
  free(p->names[node]);
  p->names[node] = copy;
  return AGG_OK;
}

const char *plane_node_name(const struct plane *p, uint32_t node, char *buf, size_t cap) {
  uint32_t workers = p->config.plan->workers;
  if (node < p->nodes && p->names[node] != NULL)
    snprintf(buf, cap, "%s", p->names[node]);
  else if (node < workers)
    snprintf(buf, cap, "rank %u", node);
  else
    snprintf(buf, cap, "server %u", node - workers);
  return buf;
}

void plane_fault(struct plane *p, enum plane_fault fault, int code, uint32_t peer, uint32_t op, const char *fmt, ...) {
  char text[AGG_ERROR_TEXT_MAX];
  va_list args;
  if (p->stopped) return;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (fault != PLANE_LATE) p->stopped = 1;
  p->config.hooks.fault(p->config.hooks.user, fault, code, peer, op, text);
}

/* ---- making and unmaking ------------------------------------------------------------------------------------------------------ */

/* A block of `bytes` near the reactor. It is bound before a transport registers it, which takes its pages. */
static int take_block(struct plane *p, uint64_t bytes, struct mem_block *block, agg_error_t *err) {
  struct plane_where *w = &p->where;
  agg_error_t why = {0};
  int rc = mem_block_alloc(bytes, 1, block, err);
  if (rc != AGG_OK) return rc;
  w->bytes += block->len;
  if (block->huge) w->huge_bytes += block->len;
  if (bytes < MEM_HUGE_FROM_BYTES) w->small_bytes += block->len;
  if (w->node < 0 || bind_memory(p->config.bind, block->addr, block->len, (uint32_t)w->node, &why) == AGG_OK) return AGG_OK;
  w->node = -1;
  str_copy(w->why, sizeof w->why, why.text);
  return AGG_OK;
}

/* With the transports that lanes go over, and no others: registering may pin the memory. */
static int register_block(struct plane *p, unsigned tp, agg_error_t *err) {
  struct tp_mem mem = {.addr = p->block.addr, .len = p->block.len, .fd = p->block.fd, .domain = p->config.comm};
  if (mem.addr == NULL || p->block_mr[tp] != NULL) return AGG_OK;
  return p->config.tps[tp].ops->mem_reg(p->config.tps[tp].tp, &mem, &p->block_mr[tp], err);
}

/* One lane entry a neighbour; children get their window in the block. */
static int lay_out(struct plane *p, agg_error_t *err) {
  const struct plan *plan = p->config.plan;
  uint32_t self = p->config.self, w = plan->window;
  node_roles(plan, self, p->roles);
  uint64_t bytes = block_bytes(plan, self, p->roles);
  if (bytes != 0) {
    int rc = take_block(p, bytes, &p->block, err);
    if (rc != AGG_OK) return rc;
  }
  unsigned char *at = p->block.addr;
  for (uint32_t peer = 0; peer < p->nodes; peer++) {
    p->lane_of[peer] = FOREST_NONE;
    if (p->roles[peer] == 0) continue;
    struct plane_lane *l = &p->lanes[p->n_neighbours];
    p->lane_of[peer] = p->n_neighbours++;
    l->plane = p;
    l->peer = peer;
    if (!(p->roles[peer] & NODE_CHILD)) continue;
    l->slots = at;
    at += (size_t)w * p->stride;
    l->landed = calloc(w, sizeof *l->landed);
    if (l->landed == NULL) return err_set(err, AGG_ENOMEM, "no memory for a communicator's windows");
  }
  p->scratch = at;
  return AGG_OK;
}

int plane_create(const struct plane_config *config, struct plane **out, agg_error_t *err) {
  struct plane *p = calloc(1, sizeof *p);
  if (p == NULL) return err_set(err, AGG_ENOMEM, "no memory for a communicator");
  p->config = *config;
  p->where.node = config->bind != NULL ? config->node : -1;
  p->nodes = plan_nodes(config->plan);
  p->stride = slot_stride(config->plan);
  p->scratch_stride = scratch_stride(config->plan);
  p->roles = calloc(p->nodes, sizeof *p->roles);
  p->names = calloc(p->nodes, sizeof *p->names);
  p->lanes = calloc(p->nodes, sizeof *p->lanes);
  p->lane_of = calloc(p->nodes, sizeof *p->lane_of);
  p->inputs = calloc(p->nodes + 1, sizeof *p->inputs);
  p->shifted = calloc(p->nodes + 1, sizeof *p->shifted);
  p->targets = calloc(p->nodes + 1, sizeof *p->targets);
  p->target_lanes = calloc(p->nodes + 1, sizeof *p->target_lanes);
  int all = p->roles && p->names && p->lanes && p->lane_of && p->inputs && p->shifted && p->targets && p->target_lanes;
  int rc = all ? AGG_OK : err_set(err, AGG_ENOMEM, "no memory for a communicator of %u nodes", p->nodes);
  if (rc == AGG_OK) rc = lay_out(p, err);
  struct node_config nc = {
      .self = config->self, .plan = config->plan, .lane = config->lane, .scratch = node_scratch_wanted(config->plan, config->self)};
  if (rc == AGG_OK) rc = node_create(&nc, &p->node, err);
  if (rc != AGG_OK) {
    plane_destroy(p);
    return rc;
  }
  *out = p;
  return AGG_OK;
}

static void release_op(struct plane *p, struct plane_slot_op *so) {
  for (unsigned i = 0; i < p->config.n_tps; i++) {
    if (so->own_mr[i] != NULL) p->config.tps[i].ops->mem_dereg(p->config.tps[i].tp, so->own_mr[i]);
    so->own_mr[i] = NULL;
  }
  so->op = NULL;
}

void plane_destroy(struct plane *p) {
  if (p == NULL) return;
  for (uint32_t i = 0; p->lanes != NULL && i < p->n_neighbours; i++) {
    struct plane_lane *l = &p->lanes[i];
    if (l->lane != NULL) l->ops->lane_close(l->lane);
    if (l->bounce_mr != NULL) l->ops->mem_dereg(p->config.tps[l->tp].tp, l->bounce_mr);
    mem_block_free(&l->bounce);
    free(l->landed);
    free(l->why);
  }
  for (unsigned i = 0; i < NODE_OPS_MAX; i++)
    if (p->ops[i].op != NULL) release_op(p, &p->ops[i]);
  for (unsigned i = 0; i < p->config.n_tps; i++)
    if (p->block_mr[i] != NULL) p->config.tps[i].ops->mem_dereg(p->config.tps[i].tp, p->block_mr[i]);
  mem_block_free(&p->block);
  node_destroy(p->node);
  for (uint32_t i = 0; p->names != NULL && i < p->nodes; i++) free(p->names[i]);
  free(p->names);
  free(p->roles);
  free(p->lanes);
  free(p->lane_of);
  free(p->inputs);
  free(p->shifted);
  free(p->targets);
  free(p->target_lanes);
  free(p);
}

/* Memory that was not announced cannot be used over this lane as it is: contributions from it, and results for it, pass through here. */
static int make_bounce(struct plane *p, struct plane_lane *l, agg_error_t *err) {
  const struct plan *plan = p->config.plan;
  const struct plane_tp *tp = &p->config.tps[l->tp];
  int rc = take_block(p, plan->window * p->scratch_stride, &l->bounce, err);
  if (rc != AGG_OK) return rc;
  struct tp_mem mem = {.addr = l->bounce.addr, .len = l->bounce.len, .fd = l->bounce.fd, .domain = p->config.comm};
  return tp->ops->mem_reg(tp->tp, &mem, &l->bounce_mr, err);
}

int plane_connect(struct plane *p, uint32_t peer, unsigned tp, const void *address, size_t len, const unsigned char *ticket,
                  agg_error_t *err) {
  struct plane_lane *l = plane_lane_to(p, peer);
  assert(l != NULL && l->lane == NULL && tp < p->config.n_tps);
  struct tp_lane_config lc = {.peer_address = address,
                              .peer_address_len = len,
                              .active = p->config.self < peer,
                              .depth = LANE_DEPTH(p->config.plan->window),
                              .domain = p->config.comm,
                              .index = p->config.lane,
                              .user = l};
  memcpy(lc.ticket, ticket, TP_TICKET_BYTES);
  l->tp = tp;
  l->ops = p->config.tps[tp].ops;
  int rc = register_block(p, tp, err);
  if (rc != AGG_OK) return rc;
  if (l->slots != NULL) {
    lc.window_mr = p->block_mr[tp];
    lc.window_ptr = l->slots;
  }
  if (plane_bounces(l->ops) && (p->roles[peer] & NODE_PARENT)) {
    rc = make_bounce(p, l, err);
    if (rc != AGG_OK) return rc;
  }
  return l->ops->lane_open(p->config.tps[tp].tp, &lc, &l->lane, err);
}

uint32_t plane_neighbours(const struct plane *p) { return p->n_neighbours; }

int plane_is_neighbour(const struct plane *p, uint32_t peer) { return peer < p->nodes && p->roles[peer] != 0; }

struct plane *plane_of_event(const struct tp_event *event) {
  return ((struct plane_lane *)event->user)->plane;
}

/* ---- events ------------------------------------------------------------------------------------------------------------------- */

static void mismatch(struct plane *p, const struct node_action *a) {
  char one[NODE_NAME_MAX], two[NODE_NAME_MAX], ours[128], theirs[128], skipped[64] = "";
  if (a->their_op != a->op) snprintf(skipped, sizeof skipped, " something else: its next call seen here, operation %u, is", a->their_op);
  plane_fault(p, PLANE_MISMATCH, AGG_EMISMATCH, a->peer, a->op, "operation %u: %s called %s, but %s called%s %s", a->op,
              plane_node_name(p, a->other, one, sizeof one), op_desc_format(&a->ours, ours, sizeof ours),
              plane_node_name(p, a->peer, two, sizeof two), skipped, op_desc_format(&a->theirs, theirs, sizeof theirs));
}

static void run_action(struct plane *p, const struct node_action *a) {
  char one[NODE_NAME_MAX];
  const struct plane_lane *l;
  switch (a->kind) {
    case ACT_FOLD:
      plane_fold(p, a->ctx);
      break;
    case ACT_SEND_UP:
      plane_send_up(p, a);
      break;
    case ACT_SEND_DOWN:
      plane_send_down(p, a);
      break;
    case ACT_OP_DONE: {
      struct plane_slot_op *so = &p->ops[a->op % NODE_OPS_MAX];
      struct plane_op *op = so->op;
      release_op(p, so);
      p->config.hooks.done(p->config.hooks.user, op);
      break;
    }
    case ACT_MISMATCH:
      mismatch(p, a);
      break;
    case ACT_PROTOCOL:
      plane_fault(p, PLANE_PROTOCOL, AGG_EPROTO, a->peer, a->op, "%s broke the protocol: %s", plane_node_name(p, a->peer, one, sizeof one),
                  a->text);
      break;
    case ACT_LOST:
      l = plane_lane_to(p, a->peer);
      plane_fault(p, PLANE_LOST, AGG_EPEER, a->peer, a->op, "operation %u: the connection to %s is lost: %s", a->op,
                  plane_node_name(p, a->peer, one, sizeof one), l != NULL && l->why != NULL ? l->why : "closed");
      break;
    case ACT_LATE: {
      char text[256];
      uint32_t peer = plane_explain(p, a->op, text, sizeof text);
      plane_fault(p, PLANE_LATE, AGG_ETIMEDOUT, peer, a->op, "operation %u: %s", a->op, text);
      break;
    }
  }
}

void plane_run(struct plane *p) {
  struct node_action a;
  while (!p->stopped && node_next_action(p->node, &a)) run_action(p, &a);
}

static void broke_protocol(struct plane *p, const struct plane_lane *l, const char *text) {
  char name[NODE_NAME_MAX];
  plane_fault(p, PLANE_PROTOCOL, AGG_EPROTO, l->peer, 0, "%s broke the protocol: %s", plane_node_name(p, l->peer, name, sizeof name), text);
}

/* A contribution: everything that the header says is checked before anything of it is used. */
static void landed_up(struct plane *p, struct plane_lane *l, uint32_t slot, uint32_t bytes) {
  struct wire_header h;
  agg_error_t err;
  if (l->slots == NULL || slot >= p->config.plan->window) {
    broke_protocol(p, l, "it named a slot that it does not have");
    return;
  }
  unsigned char *at = l->slots + (size_t)slot * p->stride;
  if (bytes < WIRE_HEADER_BYTES) {
    broke_protocol(p, l, "its contribution is shorter than the header");
    return;
  }
  if (wire_header_decode(at, p->config.plan->chunk_bytes, &h, &err) != AGG_OK) {
    broke_protocol(p, l, err.text);
    return;
  }
  if (h.comm != p->config.comm || h.epoch != p->config.epoch) {
    broke_protocol(p, l, "it belongs to another communicator or epoch");
    return;
  }
  int in_place = (h.flags & WIRE_IN_PLACE) != 0;
  if (bytes - WIRE_HEADER_BYTES != (in_place ? 0 : h.payload)) {
    broke_protocol(p, l, "its contribution and its header differ in length");
    return;
  }
  struct tp_raddr payload_at = {.key = h.payload_key, .off = h.payload_off};
  const void *payload = in_place ? l->ops->map(l->lane, payload_at, h.payload) : at + WIRE_HEADER_BYTES;
  if (payload == NULL) {
    broke_protocol(p, l, "it offered memory that cannot be read here");
    return;
  }
  l->landed[slot] = (struct plane_slot){.payload = payload, .result = {.key = h.result_key, .off = h.result_off}};
  node_up(p->node, l->peer, slot, &h);
}

static void landed_down(struct plane *p, struct plane_lane *l, uint32_t notice, uint32_t bytes) {
  if (notice & WIRE_NOTICE_MAPPED) {
    if (bytes != 0 || l->ops->map == NULL || !(l->ops->caps & TP_CAP_MAP)) {
      broke_protocol(p, l, "it claims to have written memory that it cannot reach");
      return;
    }
    bytes = node_expected_result(p->node, l->peer, wire_notice_slot(notice));
  }
  plane_result_landed(p, l, wire_notice_slot(notice), bytes);
  node_down(p->node, l->peer, wire_notice_slot(notice), bytes);
}

static void lost(struct plane *p, struct plane_lane *l, const char *text) {
  char name[NODE_NAME_MAX];
  l->lost = 1;
  free(l->why);
  l->why = strdup(text != NULL ? text : "closed");
  if (!l->connected || l->unsent != 0) {
    plane_fault(p, PLANE_LOST, AGG_EPEER, l->peer, 0, "the connection to %s %s: %s", plane_node_name(p, l->peer, name, sizeof name),
                l->connected ? "is lost" : "could not be made", l->why != NULL ? l->why : "closed");
    return;
  }
  node_lost(p->node, l->peer);
}

static void say_up(struct plane *p, const struct plane_lane *l, const char *over) {
  char name[NODE_NAME_MAX];
  if (p->config.hooks.up == NULL) return;
  p->config.hooks.up(p->config.hooks.user, l->peer, plane_node_name(p, l->peer, name, sizeof name), l->ops->name, over);
}

void plane_event(struct plane *p, const struct tp_event *e) {
  struct plane_lane *l = e->user;
  if (p->stopped) return;
  switch (e->kind) {
    case TP_CONNECTED:
      l->connected = 1;
      l->window = e->peer_window;
      say_up(p, l, e->text);
      if (++p->n_connected == p->n_neighbours) p->config.hooks.connected(p->config.hooks.user);
      return;
    case TP_NOTICE:
      if (e->notice & WIRE_NOTICE_DOWN)
        landed_down(p, l, e->notice, e->bytes);
      else
        landed_up(p, l, e->notice, e->bytes);
      break;
    case TP_SENT:
      if (e->token & TOKEN_UP) {
        l->up_unsent--;
        node_up_sent(p->node, l->peer, (uint32_t)e->token);
      } else {
        l->unsent--;
        node_sent(p->node, (uint32_t)(e->token - 1));
      }
      break;
    case TP_LOST:
      lost(p, l, e->text);
      break;
  }
  plane_run(p);
}

/* ---- operations ------------------------------------------------------------------------------------------------------------------ */

/* Results can be put only into registered memory: what the caller has not registered is, for the length of the operation, where that costs
 * little. Elsewhere they land in the lane's bounce area. */
static int register_recv(struct plane *p, struct plane_slot_op *so, struct plane_op *op) {
  if (op->recv == NULL || op->recv_bytes == 0) return AGG_OK;
  for (unsigned i = 0; i < p->config.n_tps; i++) {
    const struct plane_tp *tp = &p->config.tps[i];
    if (op->recv_mr[i] != NULL || !(tp->ops->caps & TP_CAP_CHEAP_REG)) continue;
    struct tp_mem mem = {.addr = op->recv, .len = op->recv_bytes, .fd = -1, .domain = p->config.comm};
    int rc = tp->ops->mem_reg(tp->tp, &mem, &so->own_mr[i], NULL);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}

int plane_post(struct plane *p, struct plane_op *op) {
  struct plane_slot_op *so = &p->ops[op->seq % NODE_OPS_MAX];
  if (p->stopped) return AGG_ECLOSED;
  if (so->op != NULL) return AGG_ELIMIT;
  so->op = op;
  int rc = register_recv(p, so, op);
  if (rc == AGG_OK) rc = node_post(p->node, op->seq, &op->desc, op->deadline);
  if (rc != AGG_OK) {
    release_op(p, so);
    return rc;
  }
  plane_run(p);
  return AGG_OK;
}

void plane_time(struct plane *p, uint64_t now_ns) {
  if (p->stopped) return;
  node_time(p->node, now_ns);
  plane_run(p);
}

void plane_stop(struct plane *p) { p->stopped = 1; }

int plane_fenced(struct plane *p) {
  int all = 1;
  for (uint32_t i = 0; i < p->n_neighbours; i++) {
    struct plane_lane *l = &p->lanes[i];
    if (l->lane != NULL) all &= l->ops->fence(l->lane);
  }
  return all;
}

uint32_t plane_unfenced_peer(const struct plane *p) {
  for (uint32_t i = 0; i < p->n_neighbours; i++) {
    const struct plane_lane *l = &p->lanes[i];
    if (l->lane != NULL && !l->ops->fence(l->lane)) return l->peer;
  }
  return FOREST_NONE;
}

uint32_t plane_explain(const struct plane *p, uint32_t seq, char *text, size_t cap) {
  char name[NODE_NAME_MAX];
  struct node_reason r = node_explain(p->node, seq);
  plane_node_name(p, r.peer, name, sizeof name);
  switch (r.wait) {
    case WAIT_NOTHING:
      snprintf(text, cap, "nothing is waited for here");
      break;
    case WAIT_NOT_POSTED:
      snprintf(text, cap, "it has not been called here");
      break;
    case WAIT_CONTRIBUTION:
      snprintf(text, cap, "waits for the contribution of %s to chunk %u", name, r.chunk);
      break;
    case WAIT_RESULT:
      snprintf(text, cap, "waits for the result of chunk %u from %s", r.chunk, name);
      break;
    case WAIT_SEND:
      snprintf(text, cap, "waits until the result of chunk %u has been sent", r.chunk);
      break;
  }
  return r.peer;
}

void plane_get_stats(const struct plane *p, struct plane_stats *stats) {
  *stats = p->stats;
  stats->chunks = node_chunks_done(p->node);
}

void plane_get_where(const struct plane *p, struct plane_where *where) { *where = p->where; }

int plane_idle(const struct plane *p) {
  for (uint32_t i = 0; i < p->n_neighbours; i++)
    if (!p->lanes[i].lost && (p->lanes[i].unsent != 0 || p->lanes[i].up_unsent != 0)) return 0;
  return node_idle(p->node);
}
