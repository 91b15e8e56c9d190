/*
 * The simulator's transports: opening, registered memory, the inbox of events, and the ops tables. Never moves a payload: that is in
 * lane.c. Transports and lanes are kept until the world ends, so that what is still under way to a closed one finds it closed and not
 * freed.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "sim_internal.h"
#include "tps.h"

#define SIM_MAGIC 0x73696d31u

struct sim_address {
  uint32_t magic, tp;
};

static int tp_open(const struct tp_config *config, uint32_t caps, struct tp **out, agg_error_t *err) {
  struct sim_world *w = config->sim;
  if (w == NULL) return err_set(err, AGG_EINVAL, "the simulator's transport needs a world in tp_config.sim");
  uint32_t node = sim_node_add(w, NULL, NULL);
  struct tp *tp = sim_alloc(sizeof *tp);
  *tp = (struct tp){.world = w, .node = w->nodes[node], .number = w->n_tps, .caps = caps, .efd = -1};
  tp->node->tps = tp;
  w->tps = sim_grow(w->tps, (w->n_tps + 1) * sizeof(struct tp *));
  w->tps[w->n_tps++] = tp;
  *out = tp;
  return AGG_OK;
}

static void close_tp(struct tp *tp) {
  if (tp == NULL) return;
  assert(!tp->closed);
  for (struct tp_lane *lane = tp->lanes; lane != NULL; lane = lane->next)
    if (lane->state != SIM_LANE_CLOSED) sim_lane_close(lane);
  for (uint32_t i = 0; i < tp->n_mrs; i++) {
    free(tp->mrs[i]);
    tp->mrs[i] = NULL;
  }
  if (tp->efd >= 0) close(tp->efd);
  tp->efd = -1;
  tp->inbox_len = 0;
  tp->closed = 1;
}

void sim_tp_free(struct tp *tp) {
  for (struct tp_lane *lane = tp->lanes; lane != NULL;) {
    struct tp_lane *next = lane->next;
    free(lane);
    lane = next;
  }
  free(tp->mrs);
  free(tp->inbox);
  free(tp);
}

static size_t address(struct tp *tp, void *buf) {
  struct sim_address a = {.magic = SIM_MAGIC, .tp = tp->number};
  memcpy(buf, &a, sizeof a);
  return sizeof a;
}

struct tp *sim_tp_of_address(struct sim_world *w, const void *addr, size_t len) {
  struct sim_address a;
  if (len != sizeof a) return NULL;
  memcpy(&a, addr, sizeof a);
  return a.magic == SIM_MAGIC && a.tp < w->n_tps ? w->tps[a.tp] : NULL;
}

static int reach(struct tp *tp, const void *addr, size_t len) { return sim_tp_of_address(tp->world, addr, len) != NULL; }

/* ---- memory ------------------------------------------------------------------------------------------------------------- */

static int mem_reg(struct tp *tp, const struct tp_mem *mem, struct tp_mr **out, agg_error_t *err) {
  if (mem->addr == NULL || mem->len == 0) return err_set(err, AGG_EINVAL, "an empty range cannot be registered");
  if (tp->n_mrs == tp->cap_mrs) {
    tp->cap_mrs = tp->cap_mrs == 0 ? 16 : tp->cap_mrs * 2;
    tp->mrs = sim_grow(tp->mrs, tp->cap_mrs * sizeof(struct tp_mr *));
  }
  struct tp_mr *mr = sim_alloc(sizeof *mr);
  *mr = (struct tp_mr){.tp = tp, .mem = *mem, .key = tp->n_mrs + 1};
  tp->mrs[tp->n_mrs++] = mr;
  *out = mr;
  return AGG_OK;
}

static void mem_dereg(struct tp *tp, struct tp_mr *mr) {
  if (mr == NULL) return;
  assert(mr->tp == tp && tp->mrs[mr->key - 1] == mr);
  tp->mrs[mr->key - 1] = NULL;
  free(mr);
}

struct tp_raddr sim_tp_raddr(struct tp_lane *lane, const struct tp_mr *mr, const void *ptr) {
  if (lane->tp != mr->tp) sim_violate(mr->tp->world, "node %u: raddr of a range for a lane of another transport", mr->tp->node->number);
  uint64_t off = (uint64_t)((const char *)ptr - (const char *)mr->mem.addr);
  if (off > mr->mem.len) sim_violate(mr->tp->world, "node %u: raddr of a pointer outside of its range", mr->tp->node->number);
  return (struct tp_raddr){.key = mr->key, .off = off};
}

void *sim_tp_resolve(const struct tp *tp, uint64_t domain, struct tp_raddr at, size_t len) {
  const struct tp_mr *mr = at.key != 0 && at.key <= tp->n_mrs ? tp->mrs[at.key - 1] : NULL;
  if (mr == NULL || (mr->mem.domain != 0 && mr->mem.domain != domain)) return NULL;
  if (at.off > mr->mem.len || len > mr->mem.len - at.off) return NULL;
  return (char *)mr->mem.addr + at.off;
}

/* ---- events ------------------------------------------------------------------------------------------------------------- */

void sim_tp_push(struct tp *tp, const struct tp_event *event) {
  if (tp->closed || tp->node->killed) return;
  if (tp->inbox_len == tp->inbox_cap) {
    uint32_t cap = tp->inbox_cap == 0 ? 32 : tp->inbox_cap * 2;
    struct tp_event *ring = sim_alloc(cap * sizeof *ring);
    for (uint32_t i = 0; i < tp->inbox_len; i++) ring[i] = tp->inbox[(tp->inbox_head + i) % tp->inbox_cap];
    free(tp->inbox);
    tp->inbox = ring;
    tp->inbox_cap = cap;
    tp->inbox_head = 0;
  }
  tp->inbox[(tp->inbox_head + tp->inbox_len++) % tp->inbox_cap] = *event;
  if (tp->efd >= 0) eventfd_write(tp->efd, 1);
  sim_wake_node(tp->node);
}

int sim_tp_pending(const struct tp *tp) { return tp->inbox_len != 0; }

static int poll_tp(struct tp *tp, struct tp_event *events, int max) {
  if (tp->inbox_len == 0 && tp->world->config.self_driven) sim_step(tp->world);
  int n = 0;
  while (n < max && tp->inbox_len != 0) {
    const struct tp_event *event = &tp->inbox[tp->inbox_head];
    tp->inbox_head = (tp->inbox_head + 1) % tp->inbox_cap;
    tp->inbox_len--;
    if (event->lane->state == SIM_LANE_CLOSED) continue;
    if (event->kind == TP_SENT) event->lane->outstanding--;
    events[n++] = *event;
  }
  return n;
}

static int arm(struct tp *tp) {
  if (tp->inbox_len != 0 || (tp->world->config.self_driven && tp->world->heap_len != 0)) return 1;
  eventfd_t drained;
  if (tp->efd >= 0) eventfd_read(tp->efd, &drained);
  return 0;
}

static int wake_fd(struct tp *tp) {
  if (tp->efd < 0) tp->efd = eventfd(tp->inbox_len != 0, EFD_CLOEXEC | EFD_NONBLOCK);
  return tp->efd;
}

/* ---- tables ------------------------------------------------------------------------------------------------------------- */

#define SIM_OPS(caps_)                                                                                                            \
  {                                                                                                                               \
    .name = "sim", .caps = (caps_), .open = open_##caps_, .close = close_tp, .address = address, .reach = reach,                  \
    .ports = tp_unsupported_ports, .mem_reg = mem_reg, .mem_dereg = mem_dereg, .raddr = sim_tp_raddr, .lane_open = sim_lane_open, \
    .lane_close = sim_lane_close, .put = sim_lane_put, .poll = poll_tp, .arm = arm, .fd = wake_fd, .map = sim_lane_map,           \
    .fence = sim_lane_fence, .shut = sim_lane_shut,                                                                               \
  }
#define SIM_OPEN(caps_) \
  static int open_##caps_(const struct tp_config *config, struct tp **tp, agg_error_t *err) { return tp_open(config, caps_, tp, err); }

_Static_assert((TP_CAP_ANY_SOURCE | TP_CAP_MAP | TP_CAP_CHEAP_REG) == 7, "the tables below are indexed by these three");
SIM_OPEN(0)
SIM_OPEN(1)
SIM_OPEN(2)
SIM_OPEN(3)
SIM_OPEN(4)
SIM_OPEN(5)
SIM_OPEN(6)
SIM_OPEN(7)

static const struct tp_ops tables[] = {SIM_OPS(0), SIM_OPS(1), SIM_OPS(2), SIM_OPS(3), SIM_OPS(4), SIM_OPS(5), SIM_OPS(6)};
const struct tp_ops tp_sim = SIM_OPS(7);

const struct tp_ops *sim_ops(uint32_t caps) {
  assert(caps <= 7);
  return caps == 7 ? &tp_sim : &tables[caps];
}
