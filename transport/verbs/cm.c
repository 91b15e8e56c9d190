/*
 * Owns what the CM says: events to their connections, requests of peers to the lanes that their tickets name. A request whose lane is not
 * open here yet waits in one of VERBS_STRANGERS_MAX places for a while, then it is rejected. Never lets a stranger near a queue pair.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

#define EVENTS_A_TURN 64
#define PRIVATE_MAX 256

void cm_reject(struct rdma_cm_id *id, enum verbs_reject reason) {
  unsigned char bytes[VERBS_REJECT_BYTES];
  verbs_reject_encode(reason, bytes);
  rdma_reject(id, bytes, sizeof bytes);
  rdma_destroy_id(id);
}

/* ---- strangers ---- */

static void say_rejected(struct tp *tp, struct rdma_cm_id *id, const char *why) {
  uint64_t hidden = 0;
  char peer[80];
  if (!log_gate_pass(&tp->gate, clock_now_ns(), &hidden)) return;
  LOG_WARN(tp->log, "verbs: rejected a connection from %s: %s (%llu such lines withheld)",
           explain_host(rdma_get_peer_addr(id), 1, peer, sizeof peer), why, (unsigned long long)hidden);
}

static void drop(struct tp *tp, struct stranger *s, const char *why) {
  struct rdma_cm_id *id = s->id;
  s->id = NULL;
  tp->n_strangers--;
  say_rejected(tp, id, why);
  cm_reject(id, VERBS_NO_TICKET);
}

static struct stranger *free_place(struct tp *tp) {
  struct stranger *old = NULL;
  for (struct stranger *s = tp->strangers; s < tp->strangers + VERBS_STRANGERS_MAX; s++) {
    if (s->id == NULL) return s;
    if (old == NULL || s->since < old->since) old = s;
  }
  drop(tp, old, "too many requests that named no lane; the oldest goes");
  return old;
}

static struct tp_lane *lane_of(struct tp *tp, const struct verbs_hello *h) {
  struct tp_lane *found = NULL;
  for (struct tp_lane *l = tp->lanes; l != NULL; l = l->next) {
    int fits = h->kind == VERBS_LANE ? l->state == LANE_WAITING : l->state == LANE_UP || l->state == LANE_MOVING;
    if (fits && verbs_ticket_equal(l->ticket, h->ticket)) found = l;
  }
  return found;
}

static void requested(struct rail *r, struct rdma_cm_id *id, const void *private_data, size_t len) {
  struct tp *tp = r->tp;
  struct verbs_hello h;
  agg_error_t err = {0};
  if (verbs_hello_decode(&h, private_data, len, &err) != AGG_OK || h.kind == VERBS_WELCOME) {
    say_rejected(tp, id, err.code != 0 ? err.text : "it is malformed");
    cm_reject(id, VERBS_MALFORMED);
    return;
  }
  struct tp_lane *l = lane_of(tp, &h);
  if (l != NULL) {
    lane_request(l, r, id, &h);
    return;
  }
  struct stranger *s = free_place(tp);
  *s = (struct stranger){.id = id, .rail = r, .hello = h, .since = clock_now_ns()};
  id->context = s;
  tp->n_strangers++;
  verbs_timer_by(tp, s->since + tp->limits.stranger_ns);
}

void cm_claim(struct tp_lane *l) {
  struct tp *tp = l->tp;
  for (struct stranger *s = tp->strangers; s < tp->strangers + VERBS_STRANGERS_MAX && l->state == LANE_WAITING && l->spare == NULL; s++) {
    if (s->id == NULL || s->hello.kind != VERBS_LANE || !verbs_ticket_equal(l->ticket, s->hello.ticket)) continue;
    struct rdma_cm_id *id = s->id;
    s->id = NULL;
    tp->n_strangers--;
    lane_request(l, s->rail, id, &s->hello);
  }
}

void cm_time(struct tp *tp, uint64_t now_ns) {
  for (struct stranger *s = tp->strangers; s < tp->strangers + VERBS_STRANGERS_MAX; s++) {
    if (s->id == NULL) continue;
    if (now_ns >= s->since + tp->limits.stranger_ns)
      drop(tp, s, "it named no lane that is expected here");
    else
      verbs_timer_by(tp, s->since + tp->limits.stranger_ns);
  }
}

void cm_fini(struct tp *tp) {
  for (struct stranger *s = tp->strangers; s < tp->strangers + VERBS_STRANGERS_MAX; s++) {
    if (s->id == NULL) continue;
    cm_reject(s->id, VERBS_NO_TICKET);
    s->id = NULL;
    tp->n_strangers--;
  }
}

/* ---- events ---- */

static struct stranger *stranger_of(struct tp *tp, const struct rdma_cm_id *id) {
  for (struct stranger *s = tp->strangers; s < tp->strangers + VERBS_STRANGERS_MAX; s++)
    if (s->id == id) return s;
  return NULL;
}

static struct conn *conn_of(struct tp *tp, const struct rdma_cm_id *id) {
  for (uint32_t i = 0; i < tp->conns_cap; i++)
    if (tp->conns[i].conn != NULL && tp->conns[i].conn->id == id) return tp->conns[i].conn;
  return NULL;
}

static void stranger_event(struct tp *tp, struct stranger *s, enum rdma_cm_event_type event) {
  if (event != RDMA_CM_EVENT_DISCONNECTED && event != RDMA_CM_EVENT_DEVICE_REMOVAL && event != RDMA_CM_EVENT_CONNECT_ERROR &&
      event != RDMA_CM_EVENT_UNREACHABLE && event != RDMA_CM_EVENT_REJECTED)
    return;
  struct rdma_cm_id *id = s->id;
  s->id = NULL;
  tp->n_strangers--;
  rdma_destroy_id(id);
}

static void listener_gone(struct tp *tp, const struct rdma_cm_id *id) {
  for (unsigned i = 0; i < tp->n_rails; i++)
    if (tp->rails[i].listener == id) rail_removed(&tp->rails[i]);
}

/* The event is acknowledged before it is acted on, since acting may destroy the identifier, which waits for that. */
static int one_event(struct tp *tp) {
  struct rdma_cm_event *e;
  unsigned char private_data[PRIVATE_MAX];
  if (rdma_get_cm_event(tp->channel, &e) != 0) return 0;
  enum rdma_cm_event_type event = e->event;
  struct rdma_cm_id *id = e->id;
  struct rail *rail = e->listen_id != NULL ? e->listen_id->context : NULL;
  int status = e->status;
  size_t len = e->param.conn.private_data != NULL ? MIN_OF((size_t)e->param.conn.private_data_len, sizeof private_data) : 0;
  if (len > 0) memcpy(private_data, e->param.conn.private_data, len);
  rdma_ack_cm_event(e);
  if (event == RDMA_CM_EVENT_CONNECT_REQUEST) {
    requested(rail, id, private_data, len);
    return 1;
  }
  struct conn *c = conn_of(tp, id);
  struct stranger *s = c == NULL ? stranger_of(tp, id) : NULL;
  if (event == RDMA_CM_EVENT_DEVICE_REMOVAL) listener_gone(tp, id);
  if (c != NULL)
    conn_cm(c, event, status, private_data, len);
  else if (s != NULL)
    stranger_event(tp, s, event);
  return 1;
}

void cm_events(struct tp *tp) {
  for (int i = 0; i < EVENTS_A_TURN && one_event(tp); i++) continue;
}
