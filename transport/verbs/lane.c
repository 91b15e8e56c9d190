/*
 * Owns a lane from open to close: its states, rings and registered block, its events in their order, and the first connection. What happens
 * when a connection is lost is in move.c. Never touches a queue pair.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/state.h"
#include "base/util.h"
#include "internal.h"

#define DEPTH_MAX (1u << 20)
#define BLOCK_ALIGN 4096u
#define RETRY_NS 100000000u

static const struct state_row rows[LANE_STATES] = {
    [LANE_DIALING] = {"dialing", STATE_TO(LANE_UP) | STATE_TO(LANE_LOST) | STATE_TO(LANE_FENCED)},
    [LANE_WAITING] = {"waiting", STATE_TO(LANE_UP) | STATE_TO(LANE_LOST) | STATE_TO(LANE_FENCED)},
    [LANE_UP] = {"up", STATE_TO(LANE_MOVING) | STATE_TO(LANE_LOST) | STATE_TO(LANE_FENCED)},
    [LANE_MOVING] = {"moving", STATE_TO(LANE_UP) | STATE_TO(LANE_LOST) | STATE_TO(LANE_FENCED)},
    [LANE_LOST] = {"lost", STATE_TO(LANE_FENCED)},
    [LANE_FENCED] = {"fenced", 0},
};
static const struct state_table states = {"verbs lane", rows, LANE_STATES};

static int is_busy(unsigned state) { return state == LANE_DIALING || state == LANE_WAITING || state == LANE_MOVING; }

void lane_move(struct tp_lane *l, enum lane_state next) {
  l->tp->n_busy -= (uint32_t)is_busy(l->state);
  state_move(&states, &l->state, next);
  l->tp->n_busy += (uint32_t)is_busy(l->state);
}

/* ---- open ---- */

static uint32_t pow2_at_least(uint32_t n) {
  uint32_t p = 1;
  while (p < n) p *= 2;
  return p;
}

/* Headers, then what two connections need. */
static int make_block(struct tp_lane *l, agg_error_t *err) {
  size_t heads = (size_t)round_up_u64((uint64_t)(l->mask + 1) * VERBS_HEAD_MAX, CACHE_LINE);
  l->area_len = (size_t)round_up_u64(post_area_bytes(l->recv_cap), CACHE_LINE);
  l->area_at[0] = heads;
  l->area_at[1] = heads + l->area_len;
  l->block_len = (size_t)round_up_u64(heads + 2 * l->area_len, BLOCK_ALIGN);
  l->block = aligned_alloc(BLOCK_ALIGN, l->block_len);
  if (l->block == NULL) return err_set(err, AGG_ENOMEM, "no memory for a lane's buffers (%zu bytes)", l->block_len);
  memset(l->block, 0, l->block_len);
  return verbs_mem_reg_local(l->tp, l->block, l->block_len, l->domain->id, &l->block_mr, err);
}

static int make_rings(struct tp_lane *l, agg_error_t *err) {
  l->puts = calloc(l->mask + 1, sizeof *l->puts);
  l->tokens = calloc(l->mask + 1, sizeof *l->tokens);
  l->arrivals = calloc(l->recv_mask + 1, sizeof *l->arrivals);
  if (l->puts != NULL && l->tokens != NULL && l->arrivals != NULL) return AGG_OK;
  return err_set(err, AGG_ENOMEM, "no memory for a lane with %u puts in flight", l->depth);
}

static void lane_free(struct tp_lane *l) {
  verbs_mem_dereg(l->tp, l->block_mr);
  verbs_domain_put(l->tp, l->domain);
  free(l->block);
  free(l->keys);
  free(l->arrivals);
  free(l->tokens);
  free(l->puts);
  free(l);
}

static void link_lane(struct tp_lane *l) {
  struct tp *tp = l->tp;
  l->next = tp->lanes;
  if (l->next != NULL) l->next->prev = l;
  tp->lanes = l;
  tp->n_busy++;
}

static int lane_make(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **out, agg_error_t *err) {
  struct tp_lane *l = calloc(1, sizeof *l);
  if (l == NULL) return err_set(err, AGG_ENOMEM, "no memory for a lane");
  l->tp = tp;
  l->active = config->active != 0;
  l->depth = config->depth;
  l->mask = pow2_at_least(2 * config->depth) - 1;
  l->recv_cap = config->depth + VERBS_CONTROL_DEPTH + VERBS_RECV_SLACK;
  l->recv_mask = pow2_at_least(2 * l->recv_cap) - 1;
  l->index = config->index;
  l->user = config->user;
  l->window_mr = config->window_mr;
  l->window_ptr = config->window_ptr;
  memcpy(l->ticket, config->ticket, sizeof l->ticket);
  int rc = make_rings(l, err);
  if (rc == AGG_OK) rc = verbs_domain_get(tp, config->domain, &l->domain, err);
  if (rc == AGG_OK) rc = make_block(l, err);
  if (rc == AGG_OK)
    *out = l;
  else
    lane_free(l);
  return rc;
}

int verbs_lane_open(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err) {
  struct tp_lane *l = NULL;
  if (config->depth == 0 || config->depth > DEPTH_MAX)
    return err_set(err, AGG_EINVAL, "a lane takes 1 to %u puts in flight, not %u", DEPTH_MAX, config->depth);
  struct verbs_address peers[VERBS_RAILS_MAX];
  unsigned n_peers = verbs_address_decode(config->peer_address, config->peer_address_len, peers);
  if (n_peers == 0 && config->active)
    return err_set(err, AGG_EINVAL, "the peer's verbs address (%zu bytes) is malformed", config->peer_address_len);
  int rc = lane_make(tp, config, &l, err);
  if (rc != AGG_OK) return rc;
  memcpy(l->peers, peers, n_peers * sizeof peers[0]);
  l->n_peers = n_peers;
  lane_make_candidates(l);
  if (n_peers > 0)
    explain_host((const struct sockaddr *)&peers[0].at.ss, 1, l->peer, sizeof l->peer);
  else
    str_copy(l->peer, sizeof l->peer, "the peer");
  link_lane(l);
  l->state = config->active ? LANE_DIALING : LANE_WAITING;
  l->give_up_at = clock_now_ns() + (config->active ? tp->limits.dial_ns : tp->limits.wait_ns);
  verbs_timer_by(tp, l->give_up_at);
  *lane = l;
  if (config->active)
    lane_dial_next(l);
  else
    cm_claim(l);
  return AGG_OK;
}

/* ---- events ---- */

static void say(struct tp_lane *l, enum tp_event_kind kind, struct tp_event *e) {
  *e = (struct tp_event){.kind = kind, .lane = l, .user = l->user};
  if (kind == TP_CONNECTED) e->peer_window = l->peer_window;
  if (kind == TP_CONNECTED || kind == TP_LOST) e->text = l->text;
}

static void tell_notices(struct tp_lane *l, struct tp_event *events, int max, int *n) {
  for (; l->told != l->received && *n < max; l->told++) {
    const struct arrival *a = &l->arrivals[l->told & l->recv_mask];
    struct tp_event *e = &events[(*n)++];
    say(l, TP_NOTICE, e);
    e->notice = a->notice;
    e->bytes = a->bytes;
    if (l->debt > 0)
      l->debt--;
    else if (l->conn != NULL)
      l->conn->unposted++;
  }
  if (l->conn != NULL) conn_refill(l->conn);
}

static void tell_sent(struct tp_lane *l, struct tp_event *events, int max, int *n) {
  for (; l->told_tokens != l->n_tokens && *n < max; l->told_tokens++) {
    struct tp_event *e = &events[(*n)++];
    say(l, TP_SENT, e);
    e->token = l->tokens[l->told_tokens & l->mask];
  }
}

void lane_tell(struct tp_lane *l, struct tp_event *events, int max, int *n) {
  if (l->state == LANE_FENCED) return;
  if (l->say_connected && *n < max) {
    say(l, TP_CONNECTED, &events[(*n)++]);
    l->say_connected = 0;
  }
  if (!l->say_connected) {
    tell_notices(l, events, max, n);
    tell_sent(l, events, max, n);
  }
  int rest = l->say_connected || l->told != l->received || l->told_tokens != l->n_tokens;
  if (l->say_lost && !rest && *n < max) {
    say(l, TP_LOST, &events[(*n)++]);
    l->say_lost = 0;
  }
  if (rest || l->say_lost) verbs_ready(l);
}

/* ---- up ---- */

void lane_conn_open(struct tp_lane *l, struct conn *c) {
  assert(c == l->spare);
  if (l->state == LANE_DIALING || l->state == LANE_WAITING) {
    l->conn = c;
    l->spare = NULL;
    l->peer_window = c->peer_window;
    l->say_connected = 1;
    l->home_wait_ns = l->tp->limits.home_ns;
    conn_path(c, l->text, sizeof l->text);
    conn_peer(c, l->peer, sizeof l->peer);
    lane_move(l, LANE_UP);
    verbs_ready(l);
    lane_dirty(l);
    if (l->active && l->candidate != 0) lane_go_home(l);
    return;
  }
  if (l->state == LANE_UP && c->dialed) lane_path_lost(l, "it goes back to its own rail"); /* the spare takes over */
  lane_resume_when_drained(l);
}

void lane_conn_failed(struct tp_lane *l, struct conn *c) {
  char why[VERBS_TEXT_MAX];
  const char *rail = c->rail->name;
  int wait = c->reject == VERBS_NO_TICKET || c->reject == VERBS_BUSY, dialed = c->dialed, nobody = c->nobody;
  str_copy(why, sizeof why, c->text);
  l->hope |= wait || c->fault == FAULT_PATH;
  if (l->spare == c) l->spare = NULL;
  conn_kill(c);
  if (l->state == LANE_UP) {
    if (!dialed) return;
    LOG_DEBUG(l->tp->log, "verbs: lane to %s: its own rail %s cannot be used yet: %s", l->peer, rail, why);
    lane_go_home(l);
    return;
  }
  (void)snprintf(l->text, sizeof l->text, "over %s: %s", rail, why);
  if (!dialed || (l->state != LANE_DIALING && l->state != LANE_MOVING)) return; /* the peer tries again */
  if (nobody) l->gone |= 1ull << l->candidate;
  if (l->state == LANE_MOVING && lane_nobody_listens(l)) { /* the peer's process has ended */
    lane_move_failed(l);
  } else if (wait) {
    l->tried = 0;
    l->retry_at = clock_now_ns() + RETRY_NS;
    verbs_timer_by(l->tp, l->retry_at);
  } else {
    lane_dial_next(l);
  }
}

void lane_request(struct tp_lane *l, struct rail *rail, struct rdma_cm_id *id, const struct verbs_hello *h) {
  agg_error_t err = {0};
  int first = h->kind == VERBS_LANE;
  int fits = first ? l->state == LANE_WAITING : l->state == LANE_UP || l->state == LANE_MOVING;
  if (!fits || (l->spare != NULL && l->spare->dialed && l->active)) { /* both ends dial: the active one's counts */
    cm_reject(id, fits ? VERBS_BUSY : VERBS_NO_TICKET);
    return;
  }
  struct conn *old = l->spare; /* an attempt that the peer has given up, or the own one */
  l->spare = NULL;
  conn_kill(old);
  l->resume_sent = l->resume_seen = 0;
  int rc = conn_accept(l, rail, id, h, &l->spare, &err);
  if (rc == AGG_OK) return;
  l->spare = NULL;
  if (first && l->tp->n_rails == 1 && rc != AGG_EPEER)
    lane_lost(l, "over %s: %s", rail->name, err.text);
  else if (first) /* the peer tries another rail, or again */
    (void)snprintf(l->text, sizeof l->text, "over %s: %.380s", rail->name, err.text);
  else
    LOG_WARN(l->tp->log, "verbs: lane to %s cannot move to %s: %s", l->peer, rail->name, err.text);
}

/* ---- time ---- */

void lane_time(struct tp_lane *l, uint64_t now_ns) {
  if (is_busy(l->state) && now_ns >= l->give_up_at) {
    if (l->state == LANE_MOVING)
      lane_move_failed(l);
    else if (l->state == LANE_WAITING && l->text[0] == '\0')
      lane_lost(l, "no peer with this lane's ticket connected within %.3g s", (double)l->tp->limits.wait_ns / 1e9);
    else
      lane_lost(l, "not connected in time; the last attempt: %s", l->text[0] != '\0' ? l->text : "no answer");
    return;
  }
  if (l->retry_at != 0 && now_ns >= l->retry_at) {
    l->retry_at = 0;
    if (l->spare == NULL) lane_dial_next(l);
  }
  if (is_busy(l->state)) verbs_timer_by(l->tp, l->give_up_at);
  if (l->retry_at != 0) verbs_timer_by(l->tp, l->retry_at);
}

/* ---- the end ---- */

/* After it no write of the peer's lands and no memory is read through this lane. What has arrived is still told. */
static void cut(struct tp_lane *l) {
  struct conn *conn = l->conn, *spare = l->spare;
  l->conn = l->spare = NULL;
  conn_kill(conn);
  conn_kill(spare);
  for (uint32_t s = l->acked; s != l->queued; s++) {
    const struct put *p = &l->puts[s & l->mask];
    if (p->mr != NULL) p->mr->in_flight--;
  }
  l->posted = l->queued = l->acked;
  l->asking = l->answer_due = 0;
}

void lane_lost(struct tp_lane *l, const char *fmt, ...) {
  char text[sizeof l->text];
  va_list args;
  if (l->state == LANE_LOST || l->state == LANE_FENCED) return;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  str_copy(l->text, sizeof l->text, text);
  l->say_connected = 0;
  l->say_lost = 1;
  lane_move(l, LANE_LOST);
  cut(l);
  LOG_DEBUG(l->tp->log, "verbs: lane to %s lost: %s", l->peer, l->text);
  verbs_ready(l);
}

int verbs_lane_fence(struct tp_lane *l) {
  /* The queue pair is destroyed: the NIC has no way left into memory through it. The peer is told by the CM. */
  if (l->state != LANE_FENCED) {
    lane_move(l, LANE_FENCED);
    cut(l);
    l->say_connected = l->say_lost = 0;
    verbs_unready(l);
  }
  return 1;
}

int verbs_lane_shut(const struct tp_lane *l) { return l->state == LANE_LOST || l->state == LANE_FENCED; }

void verbs_lane_close(struct tp_lane *l) {
  if (l == NULL) return;
  struct tp *tp = l->tp;
  (void)verbs_lane_fence(l);
  for (struct tp_lane **at = &tp->dirty; l->dirty && *at != NULL; at = &(*at)->dirty_next) {
    if (*at != l) continue;
    *at = l->dirty_next;
    break;
  }
  if (l->prev != NULL)
    l->prev->next = l->next;
  else
    tp->lanes = l->next;
  if (l->next != NULL) l->next->prev = l->prev;
  lane_free(l);
}

void lane_dirty(struct tp_lane *l) {
  if (l->dirty) return;
  l->dirty = 1;
  l->dirty_next = l->tp->dirty;
  l->tp->dirty = l;
}
