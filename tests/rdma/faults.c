/*
 * Every call that the verbs transport makes fails: the n-th of each kind, for growing n, until the scenario runs through without
 * meeting the fault. Two tps in one process register memory, connect a lane, put both ways, sleep, and close; a second scenario moves
 * the lane to another device on the way. Whatever fails, the outcome is success, an error with words, or TP_LOST with words; it comes in
 * time; and afterwards no verbs object and no descriptor is left. Linked with --wrap for the calls (see the Makefile).
 * bed: -H 0 -t 500
 * builds: asan
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "tests/lib/bed.h"
#include "transport/tps.h"
#include "transport/verbs/internal.h"

Suite *make_suite(void);

#define FIRST 5u
#define STEP 9u
#define MOVE_STEP 13u

/* ---- the fault ---- */

enum point {
  OPEN_DEVICE,
  QUERY_DEVICE,
  QUERY_PORT,
  ALLOC_PD,
  REG_MR,
  COMP_CHANNEL,
  CREATE_CQ,
  CREATE_QP,
  MODIFY_QP,
  POST_SEND,
  POST_RECV,
  REQ_NOTIFY,
  WC_PATH,
  WC_PEER,
  WC_OWN,
  WC_FLUSH,
  EVENT_CHANNEL,
  CREATE_ID,
  BIND_ADDR,
  LISTEN,
  RESOLVE_ADDR,
  RESOLVE_ROUTE,
  CONNECT,
  ACCEPT,
  ESTABLISH,
  INIT_QP_ATTR,
  GET_CM_EVENT,
  CM_ERROR,
  CM_REJECTED,
  CM_GARBAGE,
  CALLOC,
  REALLOC,
  ALIGNED_ALLOC,
  DEVICE_LIST,
  EPOLL_CREATE,
  EPOLL_CTL,
  TIMERFD,
  POINTS
};

static const char *const names[POINTS] = {"ibv_open_device",
                                          "ibv_query_device",
                                          "ibv_query_port",
                                          "ibv_alloc_pd",
                                          "ibv_reg_mr",
                                          "ibv_create_comp_channel",
                                          "ibv_create_cq",
                                          "ibv_create_qp",
                                          "ibv_modify_qp",
                                          "ibv_post_send",
                                          "ibv_post_recv",
                                          "ibv_req_notify_cq",
                                          "retry exceeded",
                                          "remote access",
                                          "local protection",
                                          "flush",
                                          "rdma_create_event_channel",
                                          "rdma_create_id",
                                          "rdma_bind_addr",
                                          "rdma_listen",
                                          "rdma_resolve_addr",
                                          "rdma_resolve_route",
                                          "rdma_connect",
                                          "rdma_accept",
                                          "rdma_establish",
                                          "rdma_init_qp_attr",
                                          "rdma_get_cm_event",
                                          "a CM event says error",
                                          "a CM event says rejected",
                                          "private data changed",
                                          "calloc",
                                          "realloc",
                                          "aligned_alloc",
                                          "ibv_get_device_list",
                                          "epoll_create1",
                                          "epoll_ctl",
                                          "timerfd_create"};

static struct {
  int armed, point, hit;
  unsigned countdown;
} fault;

static int strike(enum point p) {
  if (!fault.armed || fault.hit || fault.point != (int)p || fault.countdown-- != 0) return 0;
  fault.hit = 1;
  return 1;
}

/* ---- objects that live ---- */

enum kind { CONTEXT, PD, MR, CHANNEL, CQ, QP, CM_CHANNEL, CM_ID, KINDS };
static int live[KINDS];

static void *made(enum kind k, void *object) {
  live[k] += object != NULL;
  return object;
}
static int gone(enum kind k, int rc) {
  live[k] -= rc == 0;
  return rc;
}

/* ---- the calls ---- */

#define WRAP(result, name, params) \
  result __real_##name params;     \
  result __wrap_##name params;     \
  result __wrap_##name params
#define FAIL_NULL(point, error) \
  do {                          \
    if (strike(point)) {        \
      errno = error;            \
      return NULL;              \
    }                           \
  } while (0)
#define FAIL_MINUS(point, error) \
  do {                           \
    if (strike(point)) {         \
      errno = error;             \
      return -1;                 \
    }                            \
  } while (0)

/* What is inline in verbs.h goes through the context: there, instead of a wrap. All devices here are of one driver. */
static struct ibv_context_ops real_ops;
static int (*real_query_port)(struct ibv_context *, uint8_t, struct ibv_port_attr *, size_t);

static int fault_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad) {
  if (!strike(POST_SEND)) return real_ops.post_send(qp, wr, bad);
  *bad = wr;
  return ENOMEM;
}

static int fault_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad) {
  if (!strike(POST_RECV)) return real_ops.post_recv(qp, wr, bad);
  *bad = wr;
  return ENOMEM;
}

static int fault_req_notify(struct ibv_cq *cq, int solicited) { return strike(REQ_NOTIFY) ? EIO : real_ops.req_notify_cq(cq, solicited); }

static int fault_poll_cq(struct ibv_cq *cq, int max, struct ibv_wc *wc) {
  static const struct {
    enum point point;
    enum ibv_wc_status status;
  } bad[] = {
      {WC_PATH, IBV_WC_RETRY_EXC_ERR}, {WC_PEER, IBV_WC_REM_ACCESS_ERR}, {WC_OWN, IBV_WC_LOC_PROT_ERR}, {WC_FLUSH, IBV_WC_WR_FLUSH_ERR}};
  int n = real_ops.poll_cq(cq, max, wc);
  if (n == 0) return 0;
  for (int i = 0; i < n; i++) {
    for (size_t k = 0; k < ARRAY_LEN(bad) && wc[i].status == IBV_WC_SUCCESS; k++) {
      if (!strike(bad[k].point)) continue;
      wc[i].status = bad[k].status;
      wc[i].opcode = (enum ibv_wc_opcode)0x5a; /* only status and wr_id hold now */
      wc[i].byte_len = 0x5a5a5a5a;
    }
  }
  return n;
}

static int fault_query_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *attr, size_t len) {
  return strike(QUERY_PORT) ? EIO : real_query_port(ctx, port, attr, len);
}

WRAP(struct ibv_context *, ibv_open_device, (struct ibv_device * device)) {
  FAIL_NULL(OPEN_DEVICE, EACCES);
  struct ibv_context *ctx = made(CONTEXT, __real_ibv_open_device(device));
  if (ctx == NULL) return NULL;
  real_ops = ctx->ops;
  real_query_port = verbs_get_ctx(ctx)->query_port;
  ctx->ops.post_send = fault_post_send;
  ctx->ops.post_recv = fault_post_recv;
  ctx->ops.req_notify_cq = fault_req_notify;
  ctx->ops.poll_cq = fault_poll_cq;
  verbs_get_ctx(ctx)->query_port = fault_query_port;
  return ctx;
}
WRAP(int, ibv_close_device, (struct ibv_context * ctx)) { return gone(CONTEXT, __real_ibv_close_device(ctx)); }
WRAP(struct ibv_device **, ibv_get_device_list, (int *n)) {
  FAIL_NULL(DEVICE_LIST, ENOMEM);
  return __real_ibv_get_device_list(n);
}
WRAP(int, ibv_query_device, (struct ibv_context * ctx, struct ibv_device_attr *attr)) {
  return strike(QUERY_DEVICE) ? EIO : __real_ibv_query_device(ctx, attr);
}
WRAP(struct ibv_pd *, ibv_alloc_pd, (struct ibv_context * ctx)) {
  FAIL_NULL(ALLOC_PD, ENOMEM);
  return made(PD, __real_ibv_alloc_pd(ctx));
}
WRAP(int, ibv_dealloc_pd, (struct ibv_pd * pd)) { return gone(PD, __real_ibv_dealloc_pd(pd)); }
WRAP(struct ibv_mr *, ibv_reg_mr_iova2, (struct ibv_pd * pd, void *addr, size_t len, uint64_t iova, unsigned access)) {
  FAIL_NULL(REG_MR, ENOMEM);
  return made(MR, __real_ibv_reg_mr_iova2(pd, addr, len, iova, access));
}
#undef ibv_reg_mr
WRAP(struct ibv_mr *, ibv_reg_mr, (struct ibv_pd * pd, void *addr, size_t len, int access)) {
  FAIL_NULL(REG_MR, EPERM);
  return made(MR, __real_ibv_reg_mr(pd, addr, len, access));
}
WRAP(int, ibv_dereg_mr, (struct ibv_mr * mr)) { return gone(MR, __real_ibv_dereg_mr(mr)); }
WRAP(struct ibv_comp_channel *, ibv_create_comp_channel, (struct ibv_context * ctx)) {
  FAIL_NULL(COMP_CHANNEL, EMFILE);
  return made(CHANNEL, __real_ibv_create_comp_channel(ctx));
}
WRAP(int, ibv_destroy_comp_channel, (struct ibv_comp_channel * channel)) { return gone(CHANNEL, __real_ibv_destroy_comp_channel(channel)); }
WRAP(struct ibv_cq *, ibv_create_cq, (struct ibv_context * ctx, int cqe, void *context, struct ibv_comp_channel *channel, int vector)) {
  FAIL_NULL(CREATE_CQ, ENOMEM);
  return made(CQ, __real_ibv_create_cq(ctx, cqe, context, channel, vector));
}
WRAP(int, ibv_destroy_cq, (struct ibv_cq * cq)) { return gone(CQ, __real_ibv_destroy_cq(cq)); }
WRAP(struct ibv_qp *, ibv_create_qp, (struct ibv_pd * pd, struct ibv_qp_init_attr *attr)) {
  FAIL_NULL(CREATE_QP, live[QP] & 1 ? ENOMEM : EINVAL);
  return made(QP, __real_ibv_create_qp(pd, attr));
}
WRAP(int, ibv_destroy_qp, (struct ibv_qp * qp)) { return gone(QP, __real_ibv_destroy_qp(qp)); }
WRAP(int, ibv_modify_qp, (struct ibv_qp * qp, struct ibv_qp_attr *attr, int mask)) {
  return strike(MODIFY_QP) ? ETIMEDOUT : __real_ibv_modify_qp(qp, attr, mask);
}

WRAP(struct rdma_event_channel *, rdma_create_event_channel, (void)) {
  FAIL_NULL(EVENT_CHANNEL, ENODEV);
  return made(CM_CHANNEL, __real_rdma_create_event_channel());
}
WRAP(void, rdma_destroy_event_channel, (struct rdma_event_channel * channel)) {
  __real_rdma_destroy_event_channel(channel);
  live[CM_CHANNEL]--;
}
WRAP(int, rdma_create_id, (struct rdma_event_channel * channel, struct rdma_cm_id **id, void *context, enum rdma_port_space ps)) {
  FAIL_MINUS(CREATE_ID, ENOMEM);
  int rc = __real_rdma_create_id(channel, id, context, ps);
  live[CM_ID] += rc == 0;
  return rc;
}
WRAP(int, rdma_destroy_id, (struct rdma_cm_id * id)) { return gone(CM_ID, __real_rdma_destroy_id(id)); }
WRAP(int, rdma_bind_addr, (struct rdma_cm_id * id, struct sockaddr *at)) {
  FAIL_MINUS(BIND_ADDR, EADDRNOTAVAIL);
  return __real_rdma_bind_addr(id, at);
}
WRAP(int, rdma_listen, (struct rdma_cm_id * id, int backlog)) {
  FAIL_MINUS(LISTEN, EADDRINUSE);
  return __real_rdma_listen(id, backlog);
}
WRAP(int, rdma_resolve_addr, (struct rdma_cm_id * id, struct sockaddr *from, struct sockaddr *to, int ms)) {
  FAIL_MINUS(RESOLVE_ADDR, ENETUNREACH);
  return __real_rdma_resolve_addr(id, from, to, ms);
}
WRAP(int, rdma_resolve_route, (struct rdma_cm_id * id, int ms)) {
  FAIL_MINUS(RESOLVE_ROUTE, ENETUNREACH);
  return __real_rdma_resolve_route(id, ms);
}
WRAP(int, rdma_connect, (struct rdma_cm_id * id, struct rdma_conn_param *p)) {
  FAIL_MINUS(CONNECT, EINVAL);
  return __real_rdma_connect(id, p);
}
WRAP(int, rdma_accept, (struct rdma_cm_id * id, struct rdma_conn_param *p)) {
  FAIL_MINUS(ACCEPT, EINVAL);
  return __real_rdma_accept(id, p);
}
WRAP(int, rdma_establish, (struct rdma_cm_id * id)) {
  FAIL_MINUS(ESTABLISH, EINVAL);
  return __real_rdma_establish(id);
}
WRAP(int, rdma_init_qp_attr, (struct rdma_cm_id * id, struct ibv_qp_attr *attr, int *mask)) {
  FAIL_MINUS(INIT_QP_ATTR, EINVAL);
  return __real_rdma_init_qp_attr(id, attr, mask);
}

static void spoil(struct rdma_cm_event *e) {
  int answer = e->event == RDMA_CM_EVENT_CONNECT_RESPONSE;
  if ((answer || e->event == RDMA_CM_EVENT_CONNECT_REQUEST) && strike(CM_GARBAGE)) {
    memset((void *)(uintptr_t)e->param.conn.private_data, 0x41, e->param.conn.private_data_len);
  } else if (answer && strike(CM_REJECTED)) {
    e->event = RDMA_CM_EVENT_REJECTED;
    e->status = 28;
  } else if (e->event != RDMA_CM_EVENT_CONNECT_REQUEST && strike(CM_ERROR)) {
    e->event = e->event == RDMA_CM_EVENT_ADDR_RESOLVED    ? RDMA_CM_EVENT_ADDR_ERROR
               : e->event == RDMA_CM_EVENT_ROUTE_RESOLVED ? RDMA_CM_EVENT_ROUTE_ERROR
               : answer                                   ? RDMA_CM_EVENT_UNREACHABLE
                                                          : RDMA_CM_EVENT_DEVICE_REMOVAL;
    e->status = -ETIMEDOUT;
  }
}
WRAP(int, rdma_get_cm_event, (struct rdma_event_channel * channel, struct rdma_cm_event **e)) {
  struct pollfd there = {.fd = channel->fd, .events = POLLIN};
  if (poll(&there, 1, 0) == 1) FAIL_MINUS(GET_CM_EVENT, ENOMEM); /* and the event stays */
  int rc = __real_rdma_get_cm_event(channel, e);
  if (rc != 0) return rc;
  live[CM_ID] += (*e)->event == RDMA_CM_EVENT_CONNECT_REQUEST;
  spoil(*e);
  return 0;
}

WRAP(void *, calloc, (size_t n, size_t size)) {
  FAIL_NULL(CALLOC, ENOMEM);
  return __real_calloc(n, size);
}
WRAP(void *, realloc, (void *old, size_t size)) {
  FAIL_NULL(REALLOC, ENOMEM);
  return __real_realloc(old, size);
}
WRAP(void *, aligned_alloc, (size_t align, size_t size)) {
  FAIL_NULL(ALIGNED_ALLOC, ENOMEM);
  return __real_aligned_alloc(align, size);
}
WRAP(int, epoll_create1, (int flags)) {
  FAIL_MINUS(EPOLL_CREATE, EMFILE);
  return __real_epoll_create1(flags);
}
WRAP(int, epoll_ctl, (int fd, int op, int what, struct epoll_event *ev)) {
  FAIL_MINUS(EPOLL_CTL, ENOSPC);
  return __real_epoll_ctl(fd, op, what, ev);
}
WRAP(int, timerfd_create, (int clock, int flags)) {
  FAIL_MINUS(TIMERFD, EMFILE);
  return __real_timerfd_create(clock, flags);
}

/* ---- the scenario ---- */

#define BYTES 20000
#define DEPTH 4
#define GUARD_NS 40000000000u
#define HURRY_NS 300000000u

struct side {
  struct tp *tp;
  struct tp_lane *lane;
  struct tp_mr *mr;
  unsigned char mem[2 * BYTES]; /* source, target */
  int connected, lost, notices, sents, rounds;
  struct tp_raddr window;
  agg_error_t err;
};

static struct side a, b;

static int failed(const struct side *s, int rc) {
  if (rc == 0) return 0;
  int was = fault.armed;
  fault.armed = 0;
  ck_assert_int_lt(rc, 0);
  ck_assert_msg(was && fault.hit, "without a fault: %s", s->err.text);
  ck_assert_msg(strlen(s->err.text) >= 10, "%s: the error has no words: \"%s\"", names[fault.point], s->err.text);
  return 1;
}

static void take(struct side *s, const struct tp_event *e) {
  ck_assert_msg(!s->lost, "an event after TP_LOST");
  if (e->kind == TP_CONNECTED) {
    s->connected = 1;
    s->window = e->peer_window;
  } else if (e->kind == TP_NOTICE) {
    ck_assert_uint_eq(e->bytes, BYTES);
    ck_assert_uint_eq(e->notice, (uint32_t)s->notices++);
  } else if (e->kind == TP_SENT) {
    ck_assert_uint_eq(e->token, (uint64_t)++s->sents);
  } else {
    s->lost = 1;
    ck_assert_msg(strlen(e->text) >= 10, "lost without words: \"%s\"", e->text);
    str_copy(s->err.text, sizeof s->err.text, e->text);
  }
}

static void poll_side(struct side *s) {
  struct tp_event events[4];
  int n = tp_verbs.poll(s->tp, events, ARRAY_LEN(events));
  for (int i = 0; i < n; i++) take(s, &events[i]);
}

static int settled(const struct side *s) { return s->lost || (s->connected && s->notices == s->rounds && s->sents == s->rounds); }

/* The other end has been lost: what this one still waits for does not come. The full time is for machines that are slow. */
static void hurry(struct side *s, const struct side *other) {
  struct tp_lane *l = s->lane;
  uint64_t soon = clock_now_ns() + HURRY_NS;
  if (!other->lost || s->lost || l->give_up_at <= soon || (l->state != LANE_DIALING && l->state != LANE_WAITING && l->state != LANE_MOVING))
    return;
  l->give_up_at = soon;
  verbs_timer_by(s->tp, soon);
}

/* Until both ends have come to an end of it; 1: without a loss. */
static int until_settled(void) {
  uint64_t end = clock_now_ns() + GUARD_NS;
  while (!settled(&a) || !settled(&b)) {
    poll_side(&a);
    poll_side(&b);
    hurry(&a, &b);
    hurry(&b, &a);
    ck_assert_msg(clock_now_ns() < end, "%s: it hangs (a: connected %d lost %d, %d of %d; b: connected %d lost %d, %d of %d) %s %s",
                  names[fault.point], a.connected, a.lost, a.notices, a.rounds, b.connected, b.lost, b.notices, b.rounds, a.err.text,
                  b.err.text);
  }
  ck_assert_msg(fault.hit || (!a.lost && !b.lost), "lost without a fault: %s %s", a.err.text, b.err.text);
  return !a.lost && !b.lost;
}

static int side_open(struct side *s) {
  static const struct tp_rdma quick = {
      /* an end whose peer has failed notices soon: 16 ms, three times */
      .devices = "", .gid_index = -1, .traffic_class = -1, .service_level = -1, .ack_timeout = 12, .retry_count = 2};
  struct tp_config config = {.bind_host = "", .peer_host = "", .rdma = &quick};
  if (failed(s, tp_verbs.open(&config, &s->tp, &s->err))) return 0;
  s->tp->limits.stranger_ns = 300000000;
  s->tp->limits.probe_ns = 3000000000;
  s->tp->limits.home_ns = 30000000000;
  struct tp_mem mem = {.addr = s->mem, .len = sizeof s->mem, .fd = -1};
  return !failed(s, tp_verbs.mem_reg(s->tp, &mem, &s->mr, &s->err));
}

static int side_connect(struct side *s, const struct side *peer, int active) {
  unsigned char address[TP_ADDRESS_MAX];
  struct tp_lane_config config = {.active = active, .depth = DEPTH, .window_mr = s->mr, .window_ptr = s->mem + BYTES, .ticket = "a ticket"};
  config.peer_address = address;
  config.peer_address_len = tp_verbs.address(peer->tp, address);
  return !failed(s, tp_verbs.lane_open(s->tp, &config, &s->lane, &s->err));
}

static void side_close(struct side *s) {
  if (s->tp == NULL) return;
  tp_verbs.mem_dereg(s->tp, s->mr);
  tp_verbs.lane_close(s->lane);
  tp_verbs.close(s->tp);
}

static void put(struct side *s) {
  unsigned char head[20];
  for (int i = 0; i < BYTES; i++) s->mem[i] = (unsigned char)(i * 7 + s->rounds + (s == &a));
  memcpy(head, s->mem, sizeof head);
  struct tp_src src[2] = {{.base = head, .len = sizeof head}, {.base = s->mem + sizeof head, .len = BYTES - sizeof head, .mr = s->mr}};
  tp_verbs.put(s->lane, src, 2, s->window, (uint32_t)s->rounds, (uint64_t)s->rounds + 1);
  s->rounds++;
}

/* A put each way, and a look at what sleeping needs. */
static int round_trip(void) {
  put(&a);
  put(&b);
  if (!until_settled()) return 0;
  ck_assert(memcmp(a.mem, b.mem + BYTES, BYTES) == 0 && memcmp(b.mem, a.mem + BYTES, BYTES) == 0);
  (void)tp_verbs.arm(a.tp);
  (void)tp_verbs.arm(b.tp);
  return 1;
}

static void lane_pair(int move) {
  if (!side_connect(&b, &a, 0) || !side_connect(&a, &b, 1)) return;
  if (!until_settled() || !round_trip()) return;
  if (move) {
    fault.armed = 1;
    conn_fail(a.lane->conn, FAULT_PATH, "the test takes the path away");
  }
  if (!round_trip()) return;
  (void)round_trip();
}

static void scenario(int move) {
  memset(&a, 0, sizeof a);
  memset(&b, 0, sizeof b);
  fault.hit = 0;
  fault.armed = !move;
  if (side_open(&a) && side_open(&b)) lane_pair(move);
  side_close(&b);
  side_close(&a);
  fault.armed = 0;
}

/* ---- all of it ---- */

static int count_fds(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  ck_assert_ptr_nonnull(d);
  while (readdir(d) != NULL) n++;
  closedir(d);
  return n;
}

static void nothing_left(int fds, unsigned n) {
  static const char *const kinds[KINDS] = {"contexts",          "domains",     "regions",     "channels",
                                           "completion queues", "queue pairs", "CM channels", "CM ids"};
  for (int k = 0; k < KINDS; k++)
    ck_assert_msg(live[k] == 0, "%s, number %u: %d %s are left (%s; %s)", names[fault.point], n, live[k], kinds[k], a.err.text, b.err.text);
  ck_assert_msg(count_fds() == fds, "%s, number %u: %d descriptors are left", names[fault.point], n, count_fds() - fds);
}

/* The first calls in turn, of the many that follow one in STEP: where one begins differs from point to point. A move takes seconds when its
 * drain does not come to an end, so fewer of its calls fail. TEST_EVERY=1 takes all. */
static unsigned after(unsigned n, unsigned point, int move) {
  if (getenv("TEST_EVERY") != NULL) return n + 1;
  if (move) return n == 0 ? 1 + point % MOVE_STEP : n + MOVE_STEP;
  if (n < FIRST) return n + 1;
  return n == FIRST ? n + 1 + point % STEP : n + STEP;
}

static void fail_each(int point, int move) {
  fault.point = POINTS; /* none: so that what is opened once is open */
  scenario(move);
  int fds = count_fds();
  unsigned n = 0;
  fault.point = point;
  for (;;) {
    fault.countdown = n;
    scenario(move);
    nothing_left(fds, n);
    if (!fault.hit) break;
    n = after(n, (unsigned)point, move);
    ck_assert_uint_lt(n, 400);
  }
  ck_assert_msg(move || n > 0, "%s was never called", names[point]);
}

START_TEST(each_call_fails) {
  bed_links_up();
  fail_each(_i, 0);
}
END_TEST

START_TEST(each_call_fails_in_a_move) {
  bed_links_up();
  fail_each(_i, 1);
}
END_TEST

Suite *make_suite(void) {
  bed_one_process();
  bed_devices(2);
  Suite *s = suite_create("faults");
  TCase *t = tcase_create("faults");
  tcase_set_timeout(t, 200);
  tcase_add_loop_test(t, each_call_fails, 0, POINTS);
  tcase_add_loop_test(t, each_call_fails_in_a_move, 0, POINTS);
  suite_add_tcase(s, t);
  return s;
}
