/*
 * The simulator's lanes: connecting, puts and their landing, loss, fences. Owns every byte that moves from one node's memory to another's.
 * It never lets a write land that the contract forbids, and is as late, early and out of order as the contract allows.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "sim_internal.h"

/* ---- puts: their memory and their bytes ----------------------------------------------------------------------------------- */

static struct sim_put *put_new(struct sim_world *w) {
  struct sim_put *put = w->free_puts;
  if (put == NULL)
    put = sim_alloc(sizeof *put);
  else
    w->free_puts = put->next;
  memset(put, 0, offsetof(struct sim_put, header));
  return put;
}

static void put_free(struct sim_world *w, struct sim_put *put) {
  free(put->held);
  put->held = NULL;
  put->next = w->free_puts;
  w->free_puts = put;
}

static uint64_t hash_bytes(uint64_t h, const unsigned char *p, size_t n) {
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    h = (h ^ word) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  while (n-- != 0) h = (h ^ *p++) * 0x100000001b3ull;
  return h;
}

/* Piece 0 of two is a header and was copied at the put; the others are read late. */
static int first_late(const struct sim_put *put) { return put->pieces == 2 ? 1 : 0; }

static uint64_t late_hash(const struct sim_put *put) {
  uint64_t h = 1;
  for (int i = first_late(put); i < put->pieces; i++) h = hash_bytes(h, put->src[i].base, put->src[i].len);
  return h;
}

static void copy_out(const struct sim_put *put, unsigned char *to) {
  if (put->held != NULL) {
    memcpy(to, put->held, put->bytes);
    return;
  }
  for (int i = 0; i < put->pieces; i++) {
    const void *from = i < first_late(put) ? put->header : put->src[i].base;
    if (put->src[i].len != 0) memcpy(to, from, put->src[i].len);
    to += put->src[i].len;
  }
}

/* The sources must be what they were at the put, and registered still. */
static void check_sources(struct sim_put *put) {
  struct tp *tp = put->lane->tp;
  if (put->held != NULL || put->bytes == 0) return;
  for (int i = first_late(put); i < put->pieces; i++)
    if (put->src_key[i] != 0 && tp->mrs[put->src_key[i] - 1] == NULL)
      sim_violate(tp->world, "node %u deregistered the source of a put before its TP_SENT (notice %08x)", tp->node->number, put->notice);
  if (late_hash(put) != put->hash)
    sim_violate(tp->world, "node %u changed the source of a put before its TP_SENT (notice %08x, %zu bytes)", tp->node->number, put->notice,
                put->bytes);
}

/* The sender lets go of its sources: what is under way arrives up to some put, from a copy, and not after. */
static void settle_puts(struct tp_lane *lane) {
  struct sim_world *w = lane->tp->world;
  int arrives = 1;
  for (struct sim_put *put = lane->first; put != NULL; put = put->next) {
    if (put->held != NULL || put->dropped) continue;
    arrives = arrives && sim_draw(w, 2) != 0;
    put->dropped = !arrives;
    if (put->dropped) continue;
    check_sources(put);
    unsigned char *held = sim_alloc(put->bytes + 1);
    copy_out(put, held);
    put->held = held;
  }
}

/* ---- opening and connecting ------------------------------------------------------------------------------------------------- */

static struct tp_lane *find_other_end(struct sim_world *w, const struct tp_lane *lane) {
  for (uint32_t i = 0; i < w->n_tps; i++) {
    if (lane->target != NULL && w->tps[i] != lane->target) continue;
    for (struct tp_lane *l = w->tps[i]->lanes; l != NULL; l = l->next) {
      if (l == lane || l->state != SIM_LANE_WAITING || l->config.active == lane->config.active) continue;
      if (l->target != NULL && l->target != lane->tp) continue;
      if (memcmp(l->config.ticket, lane->config.ticket, TP_TICKET_BYTES) == 0) return l;
    }
  }
  return NULL;
}

/* From here on the lane is to be reported lost, once, some time later. */
static void plan_loss(struct tp_lane *lane, const char *text, uint32_t node) {
  struct sim_world *w = lane->tp->world;
  if (lane->state == SIM_LANE_LOST || lane->state == SIM_LANE_CLOSED || lane->lost_text[0] != '\0') return;
  snprintf(lane->lost_text, sizeof lane->lost_text, "%s (simulated node %u)", text, node);
  uint64_t at = w->now + sim_draw(w, w->config.lost_ns);
  sim_plan(w, MAX_OF(at, lane->connected_at), SIM_LOST, lane);
}

static void start_connecting(struct tp_lane *lane) {
  struct sim_world *w = lane->tp->world;
  lane->state = SIM_LANE_CONNECTING;
  lane->connected_at = w->now + 1 + sim_draw(w, w->config.connect_ns);
  sim_plan(w, lane->connected_at, SIM_CONNECT, lane);
}

int sim_lane_open(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **out, agg_error_t *err) {
  struct tp *target = sim_tp_of_address(tp->world, config->peer_address, config->peer_address_len);
  if (target == NULL && (config->active || config->peer_address_len != 0))
    return err_set(err, AGG_EINVAL, "the peer's address (%zu bytes) is not one of the simulator's", config->peer_address_len);
  if (config->depth == 0) return err_set(err, AGG_EINVAL, "a lane needs a depth of at least 1");
  struct tp_lane *lane = sim_alloc(sizeof *lane);
  *lane = (struct tp_lane){.tp = tp, .next = tp->lanes, .config = *config, .target = config->active ? target : NULL};
  lane->config.peer_address = NULL;
  if (config->window_mr != NULL) lane->window = sim_tp_raddr(lane, config->window_mr, config->window_ptr);
  tp->lanes = lane;
  *out = lane;
  struct tp_lane *other = find_other_end(tp->world, lane);
  if (other != NULL) {
    lane->peer = other;
    other->peer = lane;
    start_connecting(lane);
    start_connecting(other);
  } else if (target != NULL && (target->closed || target->node->killed)) {
    plan_loss(lane, "the peer cannot be reached", target->node->number);
  }
  return AGG_OK;
}

void sim_connected(struct tp_lane *lane) {
  if (lane->state != SIM_LANE_CONNECTING || lane->tp->node->killed) return;
  lane->state = SIM_LANE_UP;
  sim_note(lane->tp->world, lane->tp->node->number, "connected to node %llu", lane->peer->tp->node->number, 0, 0);
  sim_tp_push(
      lane->tp,
      &(struct tp_event){
          .kind = TP_CONNECTED, .lane = lane, .user = lane->config.user, .peer_window = lane->peer->window, .text = "a simulated network"});
}

/* ---- loss and closing ------------------------------------------------------------------------------------------------------- */

void sim_lost(struct tp_lane *lane) {
  if (lane->state == SIM_LANE_CLOSED || lane->state == SIM_LANE_LOST) return;
  lane->state = SIM_LANE_LOST;
  settle_puts(lane);
  sim_note(lane->tp->world, lane->tp->node->number, "lane to node %lld lost",
           lane->peer == NULL ? UINT64_MAX : lane->peer->tp->node->number, 0, 0);
  sim_tp_push(lane->tp, &(struct tp_event){.kind = TP_LOST, .lane = lane, .user = lane->config.user, .text = lane->lost_text});
}

void sim_lane_close(struct tp_lane *lane) {
  if (lane == NULL) return;
  assert(lane->state != SIM_LANE_CLOSED);
  settle_puts(lane);
  lane->state = SIM_LANE_CLOSED;
  if (lane->peer != NULL) plan_loss(lane->peer, "the peer closed the lane", lane->tp->node->number);
}

void sim_lanes_killed(struct tp *tp) {
  struct sim_world *w = tp->world;
  for (struct tp_lane *lane = tp->lanes; lane != NULL; lane = lane->next) {
    settle_puts(lane);
    if (lane->peer != NULL && lane->state != SIM_LANE_CLOSED) plan_loss(lane->peer, "the peer is gone", tp->node->number);
  }
  for (uint32_t i = 0; i < w->n_tps; i++) /* who is still trying to connect to it */
    for (struct tp_lane *lane = w->tps[i]->lanes; lane != NULL; lane = lane->next)
      if (lane->target == tp && lane->peer == NULL) plan_loss(lane, "the peer cannot be reached", tp->node->number);
}

/* ---- put and landing -------------------------------------------------------------------------------------------------------- */

static int fenced(const struct tp_lane *lane) { return lane->fencing && lane->tp->world->now >= lane->fenced_from; }

/* Whether writes of the peer may land in the memory of this end. */
static int open_for_writes(const struct tp_lane *lane) {
  return lane != NULL && lane->state != SIM_LANE_CLOSED && !lane->tp->closed && !lane->tp->node->killed && !fenced(lane);
}

/* Garbage in the destination from the put on: who reads before the notice finds it. */
static void poison(struct tp_lane *to, const struct sim_put *put) {
  unsigned char *at = open_for_writes(to) && put->bytes != 0 ? sim_tp_resolve(to->tp, to->config.domain, put->dst, put->bytes) : NULL;
  if (at != NULL) memset(at, 0xa5 ^ (int)(put->notice & 0x1f), put->bytes);
}

static uint64_t transfer_ns(uint64_t bytes, uint64_t bytes_per_us) { return bytes_per_us == 0 ? 0 : bytes * 1000 / bytes_per_us; }

/* When the put lands: behind what its lane and both NICs have to move already, never before an earlier put of the lane. */
static uint64_t landing_time(struct tp_lane *lane, uint64_t bytes) {
  const struct sim_config *c = &lane->tp->world->config;
  struct sim_world *w = lane->tp->world;
  struct sim_node *from = lane->tp->node, *to = lane->peer->tp->node;
  uint64_t wire = bytes + 64, nic = transfer_ns(wire, c->nic_bytes_per_us);
  uint64_t start = MAX_OF(w->now, MAX_OF(lane->tx_free, from->tx_free));
  lane->tx_free = start + transfer_ns(wire, c->lane_bytes_per_us);
  from->tx_free = start + nic;
  uint64_t at = MAX_OF(lane->tx_free, from->tx_free) + c->latency_ns + sim_draw(w, c->jitter_ns);
  at = MAX_OF(at, to->rx_free + nic);
  to->rx_free = MAX_OF(to->rx_free, at);
  at = MAX_OF(at, MAX_OF(lane->last_land + 1, lane->peer->connected_at + 1));
  lane->last_land = at;
  return at;
}

static void check_put(const struct tp_lane *lane, const struct tp_src *src, int pieces) {
  struct sim_world *w = lane->tp->world;
  uint32_t node = lane->tp->node->number;
  if (pieces < 1 || pieces > TP_IOV_MAX) sim_violate(w, "node %u puts %d pieces", node, pieces);
  if (pieces == 2 && src[0].len > SIM_HEADER_MAX) sim_violate(w, "node %u puts a first piece of %zu bytes", node, src[0].len);
  if (lane->outstanding > lane->config.depth)
    sim_violate(w, "node %u has %u puts outstanding on a lane of depth %u", node, lane->outstanding, lane->config.depth);
  for (int i = 0; i < pieces; i++) {
    const struct tp_mr *mr = src[i].mr;
    if (src[i].len == 0) continue;
    if (mr == NULL) {
      int at_once = pieces == 2 && i == 0;
      if (!at_once && !(lane->tp->caps & TP_CAP_ANY_SOURCE)) sim_violate(w, "node %u puts from memory that is not registered", node);
      continue;
    }
    const char *base = mr->mem.addr, *from = src[i].base;
    if (mr->tp != lane->tp || from < base || from + src[i].len > base + mr->mem.len)
      sim_violate(w, "node %u puts from outside of the registered range that it names", node);
  }
}

static void fill_put(struct sim_put *put, const struct tp_src *src, int pieces) {
  put->pieces = pieces;
  for (int i = 0; i < pieces; i++) {
    put->src[i] = src[i];
    put->src_key[i] = src[i].mr != NULL && src[i].len != 0 ? src[i].mr->key : 0;
    put->bytes += src[i].len;
  }
  if (pieces == 2 && src[0].len != 0) memcpy(put->header, src[0].base, MIN_OF(src[0].len, SIM_HEADER_MAX));
  put->hash = late_hash(put);
}

void sim_lane_put(struct tp_lane *lane, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token) {
  struct sim_world *w = lane->tp->world;
  uint32_t node = lane->tp->node->number;
  if (lane->state == SIM_LANE_CLOSED) sim_violate(w, "node %u puts on a lane that it has closed", node);
  if (lane->state == SIM_LANE_WAITING || lane->state == SIM_LANE_CONNECTING)
    sim_violate(w, "node %u puts on a lane before TP_CONNECTED", node);
  if (lane->state != SIM_LANE_UP || lane->fencing || lane->tp->node->killed) return;
  lane->outstanding++;
  check_put(lane, src, pieces);
  if (sim_violation(w) != NULL) return;
  struct sim_put *put = put_new(w);
  put->lane = lane;
  put->dst = dst;
  put->notice = notice;
  put->token = token;
  fill_put(put, src, pieces);
  sim_note(w, node, "puts %llu bytes to node %llu, notice %llx", put->bytes, lane->peer->tp->node->number, notice);
  poison(lane->peer, put);
  if (lane->last != NULL && lane->first != NULL)
    lane->last->next = put;
  else
    lane->first = put;
  lane->last = put;
  sim_plan(w, landing_time(lane, put->bytes), SIM_LAND, put);
}

/* Writes the bytes: 0 when the peer's memory has no such place, which ends the lane on real networks too. */
static int write_bytes(struct tp_lane *to, struct sim_put *put) {
  if (put->bytes == 0) return 1;
  unsigned char *at = sim_tp_resolve(to->tp, to->config.domain, put->dst, put->bytes);
  if (at == NULL) return 0;
  check_sources(put);
  copy_out(put, at);
  return 1;
}

void sim_land(struct sim_put *put) {
  struct tp_lane *lane = put->lane, *to = lane->peer;
  struct sim_world *w = lane->tp->world;
  assert(lane->first == put); /* puts of a lane land in order */
  lane->first = put->next;
  put->next = NULL;
  if (put->token == 0) lane->outstanding--; /* it has been taken; the others count until they are reported */
  if (put->dropped || !open_for_writes(to)) {
    put_free(w, put);
    return;
  }
  if (!write_bytes(to, put)) {
    sim_note(w, to->tp->node->number, "refuses %llu bytes for key %llu offset %llu", put->bytes, put->dst.key, put->dst.off);
    plan_loss(lane, "a put outside of the peer's registered memory", to->tp->node->number);
    plan_loss(to, "the peer put outside of registered memory", lane->tp->node->number);
    for (struct sim_put *p = lane->first; p != NULL; p = p->next) p->dropped = 1;
    put_free(w, put);
    return;
  }
  if (to->state == SIM_LANE_UP) {
    sim_note(w, to->tp->node->number, "gets notice %llx from node %llu, %llu bytes", put->notice, lane->tp->node->number, put->bytes);
    sim_tp_push(to->tp, &(struct tp_event){
                            .kind = TP_NOTICE, .lane = to, .user = to->config.user, .notice = put->notice, .bytes = (uint32_t)put->bytes});
  }
  uint64_t sent_at = w->now + sim_draw(w, w->config.sent_delay_ns); /* aside: MAX_OF would draw twice */
  lane->last_sent = MAX_OF(sent_at, lane->last_sent);
  sim_plan(w, lane->last_sent, SIM_SENT, put);
}

void sim_sent(struct sim_put *put) {
  struct tp_lane *lane = put->lane;
  if (lane->state == SIM_LANE_UP && put->token != 0)
    sim_tp_push(lane->tp, &(struct tp_event){.kind = TP_SENT, .lane = lane, .user = lane->config.user, .token = put->token});
  put_free(lane->tp->world, put);
}

/* ---- mapping and fences ------------------------------------------------------------------------------------------------------ */

void *sim_lane_map(struct tp_lane *lane, struct tp_raddr at, size_t len) {
  struct sim_world *w = lane->tp->world;
  if (lane->state != SIM_LANE_UP || !(lane->tp->caps & TP_CAP_MAP) || w->config.map == SIM_MAP_NEVER) return NULL;
  const struct tp *peer = lane->peer->tp;
  void *ptr = sim_tp_resolve(peer, lane->peer->config.domain, at, len);
  if (ptr != NULL && w->config.map == SIM_MAP_BACKED && peer->mrs[at.key - 1]->mem.fd < 0) return NULL;
  return ptr;
}

int sim_lane_fence(struct tp_lane *lane) {
  struct sim_world *w = lane->tp->world;
  if (!lane->fencing) {
    sim_note(w, lane->tp->node->number, "fences", 0, 0, 0);
    lane->fencing = 1;
    lane->fenced_from = w->now + sim_draw(w, w->config.fence_ns);
    settle_puts(lane);
    sim_plan(w, lane->fenced_from, SIM_WAKE, lane->tp->node);
  }
  return fenced(lane);
}

int sim_lane_shut(const struct tp_lane *lane) { return lane->peer != NULL && lane->peer->fencing; }
