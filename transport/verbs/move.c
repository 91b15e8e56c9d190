/*
 * Owns where a lane goes: the order in which pairs of rails are tried, what happens when its connection is lost, and the way back to its
 * own rail.
 *
 *   lost: the old queue pair goes into error and is drained, so that what it still receives is counted and nothing lands behind that.
 *   Another connection is made (by whoever noticed; where both do, by the active end), over other rails, or where there are none over the
 *   same, until the lane's time is over. On it each end says how many notices it has
 *   received (RESUME); both take up their puts behind the other's count. So notices stay in order and each comes once.
 *
 * A lane has one pair of rails where it belongs (its number decides, so that lanes are spread); when it is away from it, the active end
 * tries to return, at first after a second and then ever more seldom, and moves in the same way when the new connection stands.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

#define RETRY_NS 100000000u

/* ---- candidates ---- */

static unsigned distance(unsigned from, unsigned to, unsigned n) { return (to + n - from % n) % n; }

/* The less the better: a network in common, then the rails that the lane's number names at either end. */
static unsigned cost(const struct tp_lane *l, const struct candidate *c) {
  const struct tp *tp = l->tp;
  unsigned away = distance(l->index, c->own, tp->n_rails) + distance(l->index, c->peer, l->n_peers);
  return away + (verbs_same_network(&tp->rails[c->own].address, &l->peers[c->peer]) ? 0 : 100);
}

void lane_make_candidates(struct tp_lane *l) {
  const struct tp *tp = l->tp;
  for (unsigned own = 0; own < tp->n_rails; own++) {
    for (unsigned peer = 0; peer < l->n_peers; peer++) {
      struct candidate c = {.own = (uint8_t)own, .peer = (uint8_t)peer};
      if (!verbs_may_meet(&tp->rails[own].address, &l->peers[peer])) continue;
      unsigned at = l->n_candidates++;
      for (; at > 0 && cost(l, &l->candidates[at - 1]) > cost(l, &c); at--) l->candidates[at] = l->candidates[at - 1];
      l->candidates[at] = c;
    }
  }
}

/* How far a candidate is from the connection that was lost: 2, both its rails are others; 0, the same. */
static unsigned fresh(const struct tp_lane *l, const struct candidate *c) {
  if (l->conn == NULL) return 2;
  return (unsigned)(c->own != l->conn->rail->index) + (unsigned)(c->peer != l->conn->peer_rail);
}

/* The pair that was lost is tried as well, as the last one. */
static int pick(const struct tp_lane *l) {
  int best = -1;
  unsigned best_fresh = 0;
  for (unsigned i = 0; i < l->n_candidates; i++) {
    const struct candidate *c = &l->candidates[i];
    unsigned f = 2 * fresh(l, c);
    if ((l->tried >> i & 1) || !rail_usable(&l->tp->rails[c->own])) continue;
    f += !l->peers[c->peer].down;
    if (best >= 0 && f <= best_fresh) continue;
    best = (int)i;
    best_fresh = f;
  }
  return best;
}

/* 0: not at all, 1: over the same rails, when they are back, 2: over others. Under iWARP lies TCP, which has done for the same rails what
 * can be done. */
static int ways_on(const struct tp_lane *l) {
  int ways = 0;
  for (unsigned i = 0; i < l->n_candidates; i++) {
    const struct rail *own = &l->tp->rails[l->candidates[i].own];
    int way = fresh(l, &l->candidates[i]) > 0 && rail_usable(own) ? 2 : !own->removed && !own->iwarp;
    ways = MAX_OF(ways, way);
  }
  return ways;
}

static int same_network(const struct tp_lane *l, unsigned candidate) {
  const struct candidate *c = &l->candidates[candidate];
  return verbs_same_network(&l->tp->rails[c->own].address, &l->peers[c->peer]);
}

/* Of pairs in different networks, which may have no route, nothing is expected where others are in one. */
int lane_nobody_listens(const struct tp_lane *l) {
  for (unsigned i = 0; i < l->n_candidates; i++)
    if (!(l->gone >> i & 1) && same_network(l, i) == same_network(l, 0)) return 0;
  return l->n_candidates > 0;
}

/* ---- dialing ---- */

static int dial(struct tp_lane *l, unsigned candidate, enum verbs_hello_kind kind, agg_error_t *err) {
  const struct candidate *c = &l->candidates[candidate];
  l->candidate = candidate;
  l->tried |= 1ull << candidate;
  l->resume_sent = l->resume_seen = 0;
  return conn_dial(l, &l->tp->rails[c->own], &l->peers[c->peer], kind, &l->spare, err);
}

static void retry_later(struct tp_lane *l, uint64_t ns) {
  l->retry_at = clock_now_ns() + ns;
  verbs_timer_by(l->tp, l->retry_at);
}

static void return_home(struct tp_lane *l) {
  agg_error_t err = {0};
  unsigned now = l->candidate;
  if (!rail_usable(&l->tp->rails[l->candidates[0].own]) || dial(l, 0, VERBS_SPARE, &err) != AGG_OK) {
    l->spare = NULL;
    lane_go_home(l);
  }
  l->candidate = now;
}

void lane_dial_next(struct tp_lane *l) {
  agg_error_t err = {0};
  if (l->state == LANE_UP) {
    return_home(l);
    return;
  }
  for (int next; (next = pick(l)) >= 0;) {
    if (dial(l, (unsigned)next, l->state == LANE_MOVING ? VERBS_SPARE : VERBS_LANE, &err) == AGG_OK) return;
    l->spare = NULL;
    str_copy(l->text, sizeof l->text, err.text);
  }
  if (l->n_candidates == 0) {
    lane_lost(l, "no port here has a fabric of the same kind and an address of the same family (IPv4, IPv6) as the peer's");
  } else if (l->state == LANE_MOVING || l->hope) { /* another round, until the time is over */
    l->tried = 0;
    l->hope = 0;
    retry_later(l, RETRY_NS);
  } else {
    lane_lost(l, "%s", l->text[0] != '\0' ? l->text : "its port is down");
  }
}

void lane_go_home(struct tp_lane *l) {
  retry_later(l, l->home_wait_ns);
  l->home_wait_ns = MIN_OF(2 * l->home_wait_ns, VERBS_HOME_MAX_NS);
}

/* ---- a connection was lost, or is to be left ---- */

/* Counts the connections that were lost before any of the puts that waited came through. */
static void count_in_vain(struct tp_lane *l) {
  int waits = l->acked != l->queued, stuck = l->loss.waited && waits && l->loss.acked == l->acked && l->loss.received == l->received;
  l->loss.in_vain = stuck ? l->loss.in_vain + 1 : 0;
  l->loss.acked = l->acked;
  l->loss.received = l->received;
  l->loss.waited = (uint8_t)waits;
}

/* A lane's time begins anew only when something was carried: one that can be made and always fails is lost, too. */
void lane_path_lost(struct tp_lane *l, const char *why) {
  if (l->state != LANE_UP) return;
  lane_move(l, LANE_MOVING);
  count_in_vain(l);
  if (l->loss.in_vain == 0) l->give_up_at = clock_now_ns() + l->tp->limits.move_ns;
  l->tried = l->gone = 0;
  l->retry_at = 0;
  l->asking = 0;
  if (!l->say_connected) l->text[0] = '\0'; /* attempts leave their outcome there */
  verbs_timer_by(l->tp, l->give_up_at);
  conn_fail(l->conn, FAULT_PATH, "%s", why);
}

void lane_move_failed(struct tp_lane *l) {
  char outcome[300];
  const char *last = l->text[0] != '\0' ? l->text : "no answer";
  double s = (double)l->tp->limits.move_ns / 1e9;
  if (lane_nobody_listens(l))
    snprintf(outcome, sizeof outcome, "not made again: %.200s", last);
  else if (l->loss.in_vain > 0)
    snprintf(outcome, sizeof outcome, "made again %u times in %.3g s, and nothing came through", l->loss.in_vain, s);
  else
    snprintf(outcome, sizeof outcome, "not made again within %.3g s, the last attempt: %.200s", s, last);
  lane_lost(l, "%s; lost since: %s: %s", outcome, l->conn->rail->name, l->conn->text);
}

void lane_conn_drained(struct tp_lane *l, struct conn *c) {
  char why[VERBS_TEXT_MAX];
  if (c == l->spare) {
    lane_conn_failed(l, c);
    return;
  }
  if (l->state == LANE_MOVING) {
    lane_resume_when_drained(l);
    return;
  }
  if (l->state != LANE_UP) return;
  int left =
      c->fault == FAULT_LEFT && l->spare != NULL && !l->spare->dialed; /* by a peer that moves: on iWARP it looks as if it had closed */
  if (!left && (c->fault != FAULT_PATH || ways_on(l) == 0)) {
    str_copy(why, sizeof why, c->text); /* c goes with the lane */
    lane_lost(l, "%s", why);
    return;
  }
  str_copy(why, sizeof why, c->text);
  lane_path_lost(l, why);
  if (l->loss.in_vain < 2)
    LOG_WARN(l->tp->log, "verbs: lane to %s: %s: %s; it %s", l->peer, c->rail->name, why,
             ways_on(l) == 2 ? "moves to another rail" : "is made again as soon as that can be");
  if (l->spare != NULL)
    lane_resume_when_drained(l);
  else if (l->loss.in_vain > 0)
    retry_later(l, RETRY_NS);
  else
    lane_dial_next(l);
}

/* ---- going on ---- */

static void switch_over(struct tp_lane *l) {
  char path[VERBS_TEXT_MAX];
  struct conn *old = l->conn;
  uint32_t count = l->peer_count;
  if (count - l->acked > l->posted - l->acked) {
    lane_lost(l, "the peer broke the protocol: it says that it has received %u puts, of %u that were made and %u that it had acknowledged",
              count, l->posted, l->acked);
    return;
  }
  l->conn = l->spare;
  l->spare = NULL;
  l->n_keys = 0;
  l->asking = l->answer_due = 0;
  l->debt = l->received - l->told;
  conn_kill(old);
  post_acked(l, count);
  l->posted = count;
  lane_move(l, LANE_UP);
  conn_peer(l->conn, l->peer, sizeof l->peer);
  if (l->loss.in_vain < 2) LOG_WARN(l->tp->log, "verbs: lane to %s goes on over %s", l->peer, conn_path(l->conn, path, sizeof path));
  lane_dirty(l);
  int home = l->n_candidates > 0 && l->conn->rail->index == l->candidates[0].own && l->conn->peer_rail == l->candidates[0].peer;
  if (home) {
    l->candidate = 0;
    l->home_wait_ns = l->tp->limits.home_ns;
  } else if (l->active) {
    lane_go_home(l);
  }
}

/* Both ends say what they have received, when nothing can come over the old connection any more. */
void lane_resume_when_drained(struct tp_lane *l) {
  struct conn *c = l->spare;
  if (l->state != LANE_MOVING || c == NULL || c->state != CONN_OPEN || l->conn->state != CONN_DRAINED) return;
  if (!l->resume_sent) {
    struct verbs_control m = {.type = VERBS_RESUME, .a = l->received};
    int rc = post_control(c, &m, VERBS_CONTROL_BYTES);
    if (rc != 0) {
      conn_fail_call(c, rc, "a message cannot be posted");
      return;
    }
    l->resume_sent = 1;
  }
  if (l->resume_seen) switch_over(l);
}

void lane_resume(struct tp_lane *l, struct conn *c, uint32_t count) {
  if (c != l->spare || l->resume_seen) {
    conn_fail(c, FAULT_PEER, "the peer broke the protocol: it resumes a lane that was not interrupted");
    return;
  }
  l->resume_seen = 1;
  l->peer_count = count;
  if (l->state == LANE_UP) lane_path_lost(l, "the peer has left this connection");
  lane_resume_when_drained(l);
}

int lane_new_key(struct tp_lane *l, uint8_t rail, uint32_t key, uint32_t most) {
  if (l->n_keys == most) return AGG_ELIMIT;
  if (l->n_keys == l->keys_cap) {
    uint32_t cap = l->keys_cap == 0 ? 16 : 2 * l->keys_cap;
    struct other_key *grown = realloc(l->keys, cap * sizeof *grown);
    if (grown == NULL) return AGG_ENOMEM;
    l->keys = grown;
    l->keys_cap = cap;
  }
  l->keys[l->n_keys++] = (struct other_key){.rail = rail, .key = key};
  return AGG_OK;
}
