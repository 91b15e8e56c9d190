/*
 * Owns a connection from its first CM call until its queue pair is gone: the states, the probe, draining. Never chooses where to connect to
 * and never decides whether its lane is lost: it tells the lane what became of it.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/state.h"
#include "base/util.h"
#include "internal.h"

#define ADDR_MS 2000
#define ROUTE_MS 2000

static const struct state_row rows[CONN_STATES] = {
    [CONN_RESOLVING] = {"resolving", STATE_TO(CONN_ROUTING)},
    [CONN_ROUTING] = {"routing", STATE_TO(CONN_DIALING)},
    [CONN_DIALING] = {"dialing", STATE_TO(CONN_PROBING)},
    [CONN_ACCEPTED] = {"accepted", STATE_TO(CONN_PROBING)},
    [CONN_PROBING] = {"probing", STATE_TO(CONN_OPEN) | STATE_TO(CONN_DRAINING)},
    [CONN_OPEN] = {"open", STATE_TO(CONN_DRAINING)},
    [CONN_DRAINING] = {"draining", STATE_TO(CONN_DRAINED)},
    [CONN_DRAINED] = {"drained", 0},
};
static const struct state_table states = {"verbs connection", rows, CONN_STATES};

static void move(struct conn *c, enum conn_state next, uint64_t ns) {
  state_move(&states, &c->state, next);
  c->until_ns = ns == 0 ? UINT64_MAX : clock_now_ns() + ns;
  if (ns != 0) verbs_timer_by(c->tp, c->until_ns);
}

const char *conn_peer(const struct conn *c, char *buf, size_t cap) { return explain_host(rdma_get_peer_addr(c->id), 1, buf, cap); }

const char *conn_path(const struct conn *c, char *buf, size_t cap) {
  char own[64], peer[64];
  const struct rail *r = c->rail;
  static const char *const kinds[VERBS_FABRICS] = {"RoCE", "InfiniBand", "iWARP"};
  int n = snprintf(buf, cap, "%s (%s) to %s, %s", r->name, explain_host(rdma_get_local_addr(c->id), 0, own, sizeof own),
                   explain_host(rdma_get_peer_addr(c->id), 0, peer, sizeof peer), kinds[r->address.fabric]);
  if (!r->iwarp && n > 0 && (size_t)n < cap) snprintf(buf + n, cap - (size_t)n, ", MTU %u", c->mtu_bytes);
  return buf;
}

/* ---- made and gone ---- */

static int conn_new(struct tp_lane *lane, struct rail *rail, enum verbs_hello_kind kind, struct conn **out, agg_error_t *err) {
  if (rail->removed) return err_set(err, AGG_ESYS, "%s was removed", rail->name);
  struct conn *c = calloc(1, sizeof *c);
  if (c == NULL) return err_set(err, AGG_ENOMEM, "no memory for a connection");
  struct conn *other = lane->conn != NULL ? lane->conn : lane->spare;
  *c = (struct conn){.tp = lane->tp, .lane = lane, .rail = rail, .kind = (uint8_t)kind, .recv_cap = lane->recv_cap};
  c->area = other != NULL && other->area == 0;
  c->use_imm = !rail->iwarp;
  int rc = verbs_conn_add(lane->tp, c);
  if (rc == AGG_OK) {
    *out = c;
    return AGG_OK;
  }
  free(c);
  return err_set(err, rc, "too many RDMA connections in one process");
}

void conn_kill(struct conn *c) {
  if (c == NULL) return;
  qp_to_error(c);
  qp_destroy(c, 1);
  if (c->id != NULL) rdma_destroy_id(c->id);
  verbs_conn_remove(c->tp, c);
  free(c);
}

/* ---- what the CM is told ---- */

static void fill_hello(const struct conn *c, enum verbs_hello_kind kind, unsigned char out[VERBS_HELLO_BYTES]) {
  const struct tp_lane *l = c->lane;
  struct verbs_hello h = {.kind = kind, .rail = (uint8_t)c->rail->index, .mtu = rail_mtu(c->rail), .imm = c->use_imm};
  if (kind != VERBS_WELCOME) memcpy(h.ticket, l->ticket, sizeof h.ticket);
  struct ibv_mr *mr = l->window_mr != NULL ? verbs_mr_on(l->window_mr, l->domain, c->rail->index) : NULL;
  if (mr != NULL) h.window = (struct tp_raddr){.key = mr->rkey, .off = (uint64_t)c->rail->index << 56 | (uint64_t)(uintptr_t)l->window_ptr};
  verbs_hello_encode(&h, out);
}

static void set_options(const struct conn *c) {
  uint8_t tos = (uint8_t)c->tp->set.traffic_class, ack = c->tp->set.ack_timeout;
  if (c->tp->set.traffic_class >= 0) rdma_set_option(c->id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos, sizeof tos);
  rdma_set_option(c->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &ack, sizeof ack); /* iWARP has none */
}

/* ---- dialing ---- */

/* An address of the link is reached through the own port's interface. */
static void scope_like(struct net_addr *to, const struct net_addr *own) {
  struct sockaddr_in6 a, b;
  if (to->ss.ss_family != AF_INET6 || own->ss.ss_family != AF_INET6) return;
  memcpy(&a, &to->ss, sizeof a);
  memcpy(&b, &own->ss, sizeof b);
  if (IN6_IS_ADDR_LINKLOCAL(&a.sin6_addr)) a.sin6_scope_id = b.sin6_scope_id;
  memcpy(&to->ss, &a, sizeof a);
}

/* Where there is another way, or a lane waits for its rail to come back, the next attempt is soon better than this one. */
static uint64_t attempt_ns(const struct tp_lane *l) {
  return l->n_candidates > 1 || l->state == LANE_MOVING ? l->tp->limits.try_ns : l->tp->limits.dial_ns;
}

int conn_dial(struct tp_lane *lane, struct rail *rail, const struct verbs_address *peer, enum verbs_hello_kind kind, struct conn **out,
              agg_error_t *err) {
  struct conn *c;
  struct net_addr own = rail->address.at, to = peer->at;
  uint16_t any = 0;
  int rc = conn_new(lane, rail, kind, &c, err);
  if (rc != AGG_OK) return rc;
  c->dialed = 1;
  c->state = CONN_RESOLVING;
  size_t port_at = own.ss.ss_family == AF_INET ? offsetof(struct sockaddr_in, sin_port) : offsetof(struct sockaddr_in6, sin6_port);
  memcpy((char *)&own.ss + port_at, &any, sizeof any);
  scope_like(&to, &own);
  if (rdma_create_id(lane->tp->channel, &c->id, c, RDMA_PS_TCP) != 0) {
    c->id = NULL;
    rc = err_sys(err, AGG_ESYS, errno, "%s: no CM identifier", rail->name);
    goto kill;
  }
  set_options(c);
  if (rdma_resolve_addr(c->id, (struct sockaddr *)&own.ss, (struct sockaddr *)&to.ss, ADDR_MS) != 0) {
    char text[64];
    rc = err_sys(err, AGG_ESYS, errno, "no route from %s to %s", rail->name, explain_host((struct sockaddr *)&to.ss, 0, text, sizeof text));
    goto kill;
  }
  c->until_ns = clock_now_ns() + attempt_ns(lane);
  verbs_timer_by(c->tp, c->until_ns);
  *out = c;
  return AGG_OK;

kill:
  conn_kill(c);
  return rc;
}

static void failed_early(struct conn *c, enum verbs_fault fault, const char *text) {
  c->fault = fault;
  str_copy(c->text, sizeof c->text, text);
  lane_conn_failed(c->lane, c);
}

static void address_resolved(struct conn *c) {
  char text[200];
  const char *got = c->id->verbs != NULL ? ibv_get_device_name(c->id->verbs->device) : "no RDMA device";
  if (c->id->verbs == NULL || strcmp(got, ibv_get_device_name(c->rail->ctx->device)) != 0 || c->id->port_num != c->rail->port_num) {
    snprintf(text, sizeof text, "the route to it leaves by %s port %d, not by %s", got, c->id->port_num, c->rail->name);
    failed_early(c, FAULT_PATH, text);
    return;
  }
  move(c, CONN_ROUTING, c->tp->limits.dial_ns);
  if (rdma_resolve_route(c->id, ROUTE_MS) != 0) {
    snprintf(text, sizeof text, "its route cannot be resolved: %s", strerror(errno));
    failed_early(c, FAULT_PATH, text);
  }
}

static void route_resolved(struct conn *c) {
  unsigned char hello[VERBS_HELLO_BYTES];
  struct rdma_conn_param param;
  agg_error_t err = {0};
  move(c, CONN_DIALING, attempt_ns(c->lane));
  int rc = qp_prepare(c, &err);
  if (rc == AGG_OK) {
    fill_hello(c, (enum verbs_hello_kind)c->kind, hello);
    qp_param(c, hello, &param);
    if (rdma_connect(c->id, &param) != 0) rc = err_sys(&err, AGG_ESYS, errno, "%s: the request cannot be sent", c->rail->name);
  }
  if (rc != AGG_OK) failed_early(c, FAULT_LOCAL, err.text);
}

static void send_probe(struct conn *c) {
  struct verbs_control m = {.type = VERBS_PROBE};
  if (c->probe_sent) return;
  c->probe_sent = 1;
  int rc = post_control(c, &m, MAX_OF(c->mtu_bytes, VERBS_CONTROL_BYTES));
  if (rc != 0) conn_fail_call(c, rc, "the first message cannot be posted");
}

/* The peer has accepted. establish: the last step is ours (not on iWARP, where the kernel has done it). */
static void answered(struct conn *c, const void *private_data, size_t len, int establish) {
  struct verbs_hello h;
  agg_error_t err = {0};
  int rc = verbs_hello_decode(&h, private_data, len, &err);
  if (rc == AGG_OK && h.kind != VERBS_WELCOME) rc = err_set(&err, AGG_EPROTO, "its answer is malformed");
  if (rc == AGG_OK && h.imm != c->use_imm) rc = err_set(&err, AGG_EPROTO, "one end is iWARP and the other is not");
  if (rc == AGG_OK) {
    c->peer_rail = h.rail;
    c->peer_mtu = h.mtu;
    c->peer_window = h.window;
    rc = qp_up(c, &err);
  }
  if (rc == AGG_OK && establish && rdma_establish(c->id) != 0) rc = err_sys(&err, AGG_ESYS, errno, "the connection cannot be established");
  if (rc != AGG_OK) {
    failed_early(c, FAULT_LOCAL, err.text);
    return;
  }
  move(c, CONN_PROBING, c->tp->limits.probe_ns);
  send_probe(c);
}

/* ---- accepting ---- */

int conn_accept(struct tp_lane *lane, struct rail *rail, struct rdma_cm_id *id, const struct verbs_hello *h, struct conn **out,
                agg_error_t *err) {
  unsigned char hello[VERBS_HELLO_BYTES];
  struct rdma_conn_param param;
  struct conn *c;
  int rc = conn_new(lane, rail, h->kind, &c, err);
  if (rc != AGG_OK) {
    cm_reject(id, VERBS_NO_ROOM);
    return rc;
  }
  c->state = CONN_ACCEPTED;
  c->id = id;
  id->context = c;
  c->peer_rail = h->rail;
  c->peer_mtu = h->mtu;
  c->peer_window = h->window;
  set_options(c);
  rc = h->imm == c->use_imm ? qp_prepare(c, err) : err_set(err, AGG_EPROTO, "one end is iWARP and the other is not");
  if (rc == AGG_OK) rc = qp_up(c, err);
  if (rc == AGG_OK) {
    fill_hello(c, VERBS_WELCOME, hello);
    qp_param(c, hello, &param);
    if (rdma_accept(id, &param) != 0) rc = explain_cm_call(err, errno, c->rail, "the request cannot be accepted");
  }
  if (rc != AGG_OK) {
    c->id = NULL;
    cm_reject(id, VERBS_NO_ROOM);
    conn_kill(c);
    return rc;
  }
  c->until_ns = clock_now_ns() + c->tp->limits.probe_ns;
  verbs_timer_by(c->tp, c->until_ns);
  *out = c;
  return AGG_OK;
}

/* ---- what the CM says ---- */

static void rejected(struct conn *c, int status, const void *private_data, size_t len) {
  char text[VERBS_TEXT_MAX];
  int reason = verbs_reject_decode(private_data, len);
  c->reject = (uint8_t)reason;
  c->nobody = reason == 0 && (status == VERBS_REJ_SERVICE || status == -ECONNREFUSED);
  if (!c->dialed) {
    failed_early(c, FAULT_PEER, "the peer gave the connection up while it was made");
    return;
  }
  int stale = reason == 0 && status == VERBS_REJ_STALE; /* another attempt gets another number */
  failed_early(c, stale ? FAULT_PATH : FAULT_PEER,
               reason != 0 ? explain_reject(reason) : explain_cm(RDMA_CM_EVENT_REJECTED, status, text, sizeof text));
}

void conn_cm(struct conn *c, enum rdma_cm_event_type event, int status, const void *private_data, size_t len) {
  char text[VERBS_TEXT_MAX];
  int early = c->state < CONN_PROBING;
  switch (event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      if (c->state == CONN_RESOLVING) address_resolved(c);
      break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      if (c->state == CONN_ROUTING) route_resolved(c);
      break;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
      if (c->state == CONN_DIALING) answered(c, private_data, len, 1);
      break;
    case RDMA_CM_EVENT_ESTABLISHED:
      if (c->state == CONN_DIALING)
        answered(c, private_data, len, 0); /* which may be the end of c */
      else if (c->state == CONN_ACCEPTED)
        move(c, CONN_PROBING, c->tp->limits.probe_ns);
      break;
    case RDMA_CM_EVENT_REJECTED: /* later: the peer closed before it had heard that the connection stands */
    case RDMA_CM_EVENT_DISCONNECTED:
      if (early && event == RDMA_CM_EVENT_REJECTED)
        rejected(c, status, private_data, len);
      else if (early)
        failed_early(c, FAULT_PEER, "the peer closed the connection while it was made");
      else
        conn_fail(c, FAULT_LEFT, "the peer closed the connection, or its process ended");
      break;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      explain_cm(event, status, text, sizeof text);
      if (early)
        failed_early(c, FAULT_PATH, text);
      else
        conn_fail(c, FAULT_PATH, "%s", text);
      break;
    default: /* time-wait is over, an address has changed */
      break;
  }
}

/* ---- open ---- */

static void open_when_probed(struct conn *c) {
  if (!c->probe_acked || !c->probe_seen || c->state != CONN_PROBING) return;
  move(c, CONN_OPEN, 0);
  lane_conn_open(c->lane, c);
}

/* The peer goes on behind its first message, so it has ours: the acknowledgement was lost, or comes later than this. */
static void goes_on(struct conn *c) {
  if (c->state != CONN_PROBING || !c->probe_seen) return;
  c->probe_acked = 1;
  open_when_probed(c);
}

void conn_probe_seen(struct conn *c) {
  c->probe_seen = 1;
  send_probe(c);
  open_when_probed(c);
}

/* ---- failing and draining ---- */

static void finish_draining(struct conn *c, int stale) {
  qp_destroy(c, stale);
  move(c, CONN_DRAINED, 0);
  lane_conn_drained(c->lane, c);
}

static void when_drained(struct conn *c) {
  if (c->state != CONN_DRAINING || c->recv_posted != 0 || c->drain_posted) return;
  finish_draining(c, c->rail->iwarp);
}

/* Behind everything that was posted: when it comes back, all has. siw takes a request on a queue pair in error and never gives it back; on
 * iWARP the receives tell, which come back behind the sends. */
static void mark_end(struct conn *c) {
  if (c->rail->iwarp) return;
  struct ibv_send_wr wr = {.wr_id = wr_id(c, WR_DRAIN, 0), .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED}, *bad;
  c->drain_posted = ibv_post_send(c->qp, &wr, &bad) == 0;
}

void conn_fail(struct conn *c, enum verbs_fault fault, const char *fmt, ...) {
  va_list args;
  char text[VERBS_TEXT_MAX];
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (c->state < CONN_PROBING) {
    failed_early(c, fault, text);
    return;
  }
  if (c->state == CONN_DRAINING || c->state == CONN_DRAINED) return;
  c->fault = fault;
  str_copy(c->text, sizeof c->text, text);
  LOG_DEBUG(c->tp->log, "verbs: connection of lane to %s over %s fails: %s", c->lane->peer, c->rail->name, text);
  qp_to_error(c);
  mark_end(c);
  move(c, CONN_DRAINING, VERBS_DRAIN_NS);
}

/* A device that was taken away says EIO. */
void conn_fail_call(struct conn *c, int rc, const char *what) {
  conn_fail(c, rc == EIO || rc == ENODEV ? FAULT_PATH : FAULT_LOCAL, "%s: %s", what, strerror(rc));
}

static void probe_failed(struct conn *c) {
  conn_fail(c, FAULT_PATH,
            "connected, but a first message of %u bytes did not get through both ways: the MTU differs on the way (jumbo frames), or "
            "packets are lost",
            c->mtu_bytes);
}

void conn_time(struct conn *c, uint64_t now_ns) {
  if (now_ns < c->until_ns) {
    if (c->until_ns != UINT64_MAX) verbs_timer_by(c->tp, c->until_ns);
    return;
  }
  switch (c->state) {
    case CONN_PROBING:
      probe_failed(c);
      break;
    case CONN_DRAINING: /* the NIC keeps something: destroying the queue pair takes it */
      finish_draining(c, 1);
      break;
    case CONN_OPEN:
    case CONN_DRAINED:
      break;
    case CONN_ACCEPTED:
      failed_early(c, FAULT_PATH, "the peer asked for a connection, was answered, and did not go on in time");
      break;
    default:
      failed_early(c, FAULT_PATH, "no answer in time: its host is down, unreachable from this port, or a firewall drops UDP port 4791");
  }
}

/* ---- completions ---- */

/* A flush tells less than the reason that comes with or after it. */
static void bad_completion(struct conn *c, const struct ibv_wc *wc, int receiving) {
  char text[VERBS_TEXT_MAX];
  if (c->state == CONN_DRAINING && wc->status != IBV_WC_WR_FLUSH_ERR && c->flushed) {
    c->fault = explain_fault(wc->status);
    explain_wc(wc, receiving, c->text, sizeof c->text);
    c->flushed = 0;
  }
  if (c->state != CONN_OPEN && c->state != CONN_PROBING && c->state != CONN_ACCEPTED) return;
  if (c->state == CONN_ACCEPTED) move(c, CONN_PROBING, c->tp->limits.probe_ns);
  c->flushed = wc->status == IBV_WC_WR_FLUSH_ERR;
  if (c->state == CONN_PROBING && wc->status == IBV_WC_RETRY_EXC_ERR)
    probe_failed(c);
  else
    conn_fail(c, explain_fault(wc->status), "%s", explain_wc(wc, receiving, text, sizeof text));
}

void conn_arrived(struct conn *c, uint32_t notice, uint32_t bytes) {
  struct tp_lane *l = c->lane;
  if (c != l->conn || l->received - l->told > l->recv_mask) {
    conn_fail(c, FAULT_PEER, "the peer broke the protocol: a put on a connection that the lane does not go over");
    return;
  }
  l->arrivals[l->received++ & l->recv_mask] = (struct arrival){.notice = notice, .bytes = bytes};
  verbs_ready(l);
}

static void received(struct conn *c, const struct ibv_wc *wc, uint32_t arg) {
  uint32_t len;
  c->recv_posted--;
  if (wc->status != IBV_WC_SUCCESS) {
    bad_completion(c, wc, 1);
    return;
  }
  if (wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM && c->use_imm) {
    goes_on(c);
    conn_arrived(c, ntohl(wc->imm_data), wc->byte_len);
    return; /* its receive is posted again when the notice has been told: a lane that is not polled holds its peer up */
  }
  if (c->state == CONN_ACCEPTED) move(c, CONN_PROBING, c->tp->limits.probe_ns); /* the first message overtook the CM's */
  if (wc->opcode != IBV_WC_RECV || (wc->wc_flags & IBV_WC_WITH_IMM)) {
    conn_fail(c, FAULT_PEER, "the peer broke the protocol: immediate data where it has no meaning");
    return;
  }
  unsigned char copy[VERBS_CONTROL_BYTES] = {0};
  const unsigned char *at = post_recv_buffer(c, arg, &len);
  memcpy(copy, at, MIN_OF(wc->byte_len, (uint32_t)sizeof copy));
  if (copy[0] != VERBS_NOTICE) c->unposted++;
  if (copy[0] != VERBS_PROBE) goes_on(c);
  post_control_arrived(c, copy, wc->byte_len);
}

static void sent(struct conn *c, const struct ibv_wc *wc, unsigned kind, uint32_t arg) {
  struct tp_lane *l = c->lane;
  if (kind == WR_DRAIN) c->drain_posted = 0;
  if (kind == WR_CONTROL) c->control_busy &= ~(1u << (arg & 0xff));
  if (wc->status != IBV_WC_SUCCESS) {
    bad_completion(c, wc, 0);
    return;
  }
  if (kind == WR_PUT && c == l->conn) {
    uint32_t upto = l->acked + ((arg + 1 - l->acked) & WR_ARG_MASK);
    if (upto - l->acked <= l->posted - l->acked) post_acked(l, upto);
  } else if (kind == WR_CONTROL) {
    if (arg & 0x100) c->probe_acked = 1;
    open_when_probed(c);
    if (c == l->conn) post_answer(l);
  }
}

void conn_completed(struct conn *c, const struct ibv_wc *wc, unsigned kind, uint32_t arg) {
  struct tp *tp = c->tp;
  uint64_t own = wc->wr_id;
  if (c->state == CONN_DRAINED) return; /* too late: the peer has been told what came, or will be */
  if (kind == WR_RECV)
    received(c, wc, arg);
  else
    sent(c, wc, kind, arg);
  if (verbs_conn_of(tp, own) != c) return; /* gone meanwhile */
  if (c->state == CONN_DRAINING)
    when_drained(c);
  else if (c->unposted >= VERBS_CHAIN / 2 || (c->unposted > 0 && kind == WR_RECV && c->state <= CONN_OPEN && c != c->lane->conn))
    conn_refill(c);
}

void conn_refill(struct conn *c) {
  if (c->unposted == 0 || c->qp == NULL || (c->state != CONN_OPEN && c->state != CONN_PROBING)) return;
  int rc = post_receives(c);
  if (rc != 0) conn_fail_call(c, rc, "receives cannot be posted");
}
