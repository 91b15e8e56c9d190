/*
 * Lanes over two devices: how they are spread, and that a lane moves when its port or its connection fails, under load, in both directions:
 * every notice comes once, in order, with its bytes, and every token is reported.
 * bed: -H 0 -t 400
 * builds: asan
 */
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/bed.h"
#include "tests/lib/conform.h"
#include "tests/lib/stream.h"
#include "transport/tps.h"
#include "transport/verbs/internal.h"

#define OPS (&tp_verbs)

static const struct tp_rdma usual = {.devices = "", .gid_index = -1, .traffic_class = -1, .service_level = -1};
static struct tp_rdma rdma;
static void config(struct tp_config *c) { c->rdma = &rdma; }
static const struct conform conform = {.ops = &tp_verbs, .config = config};

static void setup(void) {
  rdma = usual;
  bed_links_up();
  conform_setup();
}

/* ---- streams: one direction each of a lane under load ---- */

/* So many puts more on every stream. */
static void run(struct stream *s, unsigned n, uint32_t more) {
  uint64_t end = clock_now_ns() + 40000000000ull;
  unsigned done = 0;
  for (unsigned i = 0; i < n; i++) s[i].total += more;
  while (done < n) {
    done = 0;
    for (unsigned i = 0; i < n; i++) {
      stream_step(&s[i]);
      done += (unsigned)stream_done(&s[i]);
      ck_assert_msg(!s[i].from->lost, "stream %u lost: %s", i, s[i].from->text);
    }
    turn();
    ck_assert_msg(clock_now_ns() < end, "the streams have stopped");
  }
}

/* Starts more, but returns while they are under way. */
static void start(struct stream *s, unsigned n, uint32_t more, int turns) {
  for (unsigned i = 0; i < n; i++) s[i].total += more;
  for (int t = 0; t < turns; t++) {
    for (unsigned i = 0; i < n; i++) stream_step(&s[i]);
    turn();
  }
}

static const char *rail_of(const struct lane *l) { return l->lane->conn->rail->name; }
static int at_rail(const struct lane *l, const char *rail) { return l->lane->state == LANE_UP && strcmp(rail_of(l), rail) == 0; }

/* ---- the rig: two ends, a lane on each rail, a stream each way on each ---- */

struct rig {
  struct end *a, *b;
  struct lane la[2], lb[2];
  struct stream s[4];
};

static void rig_open(struct rig *r, unsigned lanes, const char *devices) {
  rdma.devices = devices;
  r->a = end_open();
  r->b = end_open();
  r->a->tp->limits.port_ns = r->b->tp->limits.port_ns = 200000000;
  r->a->tp->limits.move_ns = r->b->tp->limits.move_ns = 20000000000;
  for (uint32_t i = 0; i < lanes; i++) {
    struct lane_options o = {.index = i, .depth = STREAM_DEPTH};
    lanes_connect(&r->la[i], r->a, &r->lb[i], r->b, i + 1, &o);
    stream_open(&r->s[2 * i], &r->la[i], &r->lb[i]);
    stream_open(&r->s[2 * i + 1], &r->lb[i], &r->la[i]);
  }
}

static void rig_close(struct rig *r, unsigned lanes) {
  for (unsigned i = 0; i < lanes; i++) {
    lane_close(&r->la[i]);
    lane_close(&r->lb[i]);
  }
  for (unsigned i = 0; i < 2 * lanes; i++) {
    mem_close(&r->s[i].source);
    mem_close(&r->s[i].target);
  }
}

/* ---- spread ---- */

START_TEST(lanes_are_dealt_over_rails) {
  struct lane la[4], lb[4];
  rdma.devices = "";
  struct end *a = end_open(), *b = end_open();
  ck_assert_uint_eq(OPS->ports(a->tp, NULL, 0), 2);
  for (uint32_t i = 0; i < ARRAY_LEN(la); i++) {
    struct lane_options o = {.index = i};
    const char *rail = i % 2 == 0 ? "rxe0:1" : "rxe1:1", *address = i % 2 == 0 ? "10.0.0.1" : "10.0.1.1";
    lanes_connect(&la[i], a, &lb[i], b, i + 1, &o);
    ck_assert_msg(strstr(la[i].over, rail) != NULL && strstr(lb[i].over, rail) != NULL, "%u: %s, %s", i, la[i].over, lb[i].over);
    ck_assert_ptr_nonnull(strstr(la[i].over, address));
    ck_assert_ptr_nonnull(strstr(la[i].over, "RoCE"));
    ck_assert_ptr_nonnull(strstr(la[i].over, "MTU 4096"));
  }
  for (unsigned i = 0; i < ARRAY_LEN(la); i++) {
    lanes_alive(&la[i], &lb[i]);
    lane_close(&la[i]);
    lane_close(&lb[i]);
  }
}
END_TEST

START_TEST(one_device_is_one_rail) {
  struct lane la, lb;
  struct lane_options o = {.index = 7};
  rdma.devices = "rxe1:1";
  struct end *a = end_open();
  rdma.devices = "";
  struct end *b = end_open();
  ck_assert_uint_eq(OPS->ports(a->tp, NULL, 0), 1);
  lanes_connect(&la, a, &lb, b, 1, &o);
  ck_assert_ptr_nonnull(strstr(la.over, "rxe1:1"));
  lanes_alive(&la, &lb);
  lane_close(&la);
  lane_close(&lb);
}
END_TEST

/* ---- a port goes down, and comes back ---- */

START_TEST(port_down_under_load) {
  struct rig r;
  rig_open(&r, 2, "");
  run(r.s, 4, 20);
  start(r.s, 4, 100, 3);
  bed_link(_i, 0);
  run(r.s, 4, 0);
  const char *home = _i == 0 ? "rxe0:1" : "rxe1:1", *other = _i == 0 ? "rxe1:1" : "rxe0:1";
  UNTIL(at_rail(&r.la[_i], other) && at_rail(&r.lb[_i], other));
  run(r.s, 4, 40);
  bed_link(_i, 1);
  start(r.s, 4, 60, 3);
  run(r.s, 4, 0);
  UNTIL(at_rail(&r.la[_i], home) && at_rail(&r.lb[_i], home));
  run(r.s, 4, 40);
  ck_assert(at_rail(&r.la[!_i], other) && at_rail(&r.lb[!_i], other)); /* the other lane has stayed where it was */
  rig_close(&r, 2);
}
END_TEST

START_TEST(port_down_while_quiet) {
  struct rig r;
  rig_open(&r, 1, "");
  bed_link(0, 0);
  UNTIL(at_rail(&r.la[0], "rxe1:1") && at_rail(&r.lb[0], "rxe1:1"));
  run(r.s, 2, 20);
  bed_link(0, 1);
  UNTIL(at_rail(&r.la[0], "rxe0:1") && at_rail(&r.lb[0], "rxe0:1"));
  run(r.s, 2, 20);
  rig_close(&r, 1);
}
END_TEST

/* A lane that was opened while its rail was down goes home later. */
START_TEST(opened_away_from_home) {
  rdma.devices = "";
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb;
  a->tp->limits.port_ns = b->tp->limits.port_ns = 1000000;
  bed_link(0, 0);
  lanes_connect(&la, a, &lb, b, 1, NULL);
  ck_assert_ptr_nonnull(strstr(la.over, "rxe1:1"));
  bed_link(0, 1);
  UNTIL(at_rail(&la, "rxe0:1") && at_rail(&lb, "rxe0:1"));
  lanes_alive(&la, &lb);
  lane_close(&la);
  lane_close(&lb);
}
END_TEST

/* A port that is down at the start is a rail all the same: lanes go there when it is up. */
START_TEST(down_at_the_start) {
  struct lane la, lb;
  struct lane_options o = {.index = 1};
  rdma.devices = "";
  bed_link(1, 0);
  struct end *a = end_open(), *b = end_open();
  ck_assert_uint_eq(OPS->ports(a->tp, NULL, 0), 2);
  ck_assert(OPS->reach(a->tp, b->address, b->address_len));
  lanes_connect(&la, a, &lb, b, 1, &o);
  ck_assert_ptr_nonnull(strstr(la.over, "rxe0:1"));
  bed_link(1, 1);
  UNTIL(at_rail(&la, "rxe1:1") && at_rail(&lb, "rxe1:1"));
  lanes_alive(&la, &lb);
  lane_close(&la);
  lane_close(&lb);
}
END_TEST

/* A flap is shorter than what the port is given: nothing is lost, and the queue pair's retries bridge it. */
START_TEST(flap_is_bridged) {
  struct rig r;
  rdma.ack_timeout = 17; /* 0.5 s: a slow machine takes the link down and up in time */
  rdma.retry_count = 6;
  rig_open(&r, 1, "rxe0");
  r.a->tp->limits.port_ns = r.b->tp->limits.port_ns = 20000000000;
  run(r.s, 2, 10);
  start(r.s, 2, 40, 2);
  bed_link(0, 0);
  start(r.s, 2, 0, 3);
  bed_link(0, 1);
  run(r.s, 2, 20);
  rig_close(&r, 1);
}
END_TEST

/* The port's state tells: both ends are in one namespace here, so what they send needs no cable. tests/rdma/faults.job has two hosts. */
START_TEST(only_port_down) {
  struct rig r;
  rdma.ack_timeout = 18; /* 1 s */
  rig_open(&r, 1, "rxe0:1");
  r.a->tp->limits.move_ns = r.b->tp->limits.move_ns = 1000000000;
  run(r.s, 2, 10);
  bed_link(0, 0);
  start(r.s, 2, 10, 2);
  UNTIL(r.la[0].lost && r.lb[0].lost);
  ck_assert_msg(strstr(r.la[0].text, "rxe0:1") != NULL && strstr(r.la[0].text, "its link has been lost") != NULL, "\"%s\"", r.la[0].text);
  ck_assert_msg(strstr(r.lb[0].text, "rxe0:1") != NULL && strstr(r.lb[0].text, "not made again within 1 s") != NULL, "\"%s\"",
                r.lb[0].text);
  rig_close(&r, 1);
}
END_TEST

/* A loss that is longer than a port is given: on the only rail the connections are made again when it is back. */
START_TEST(only_port_comes_back) {
  struct rig r;
  rdma.ack_timeout = 18;
  rig_open(&r, 1, "rxe0:1");
  run(r.s, 2, 10);
  for (int round = 0; round < 2; round++) {
    bed_link(0, 0);
    start(r.s, 2, 40, 2);
    UNTIL(r.la[0].lane->state == LANE_MOVING && r.lb[0].lane->state == LANE_MOVING);
    bed_link(0, 1);
    run(r.s, 2, 20);
  }
  rig_close(&r, 1);
}
END_TEST

/* ---- a connection fails, the ports do not ---- */

static void break_path(const struct lane *l) {
  if (l->lane->state == LANE_UP) conn_fail(l->lane->conn, FAULT_PATH, "the test takes the path away");
}

/* 0: the active end notices, 1: the passive one, 2: both at once; from 3 on with one rail only */
START_TEST(connection_fails_under_load) {
  struct rig r;
  rig_open(&r, 1, _i < 3 ? "" : "rxe0");
  for (int round = 0; round < 4; round++) {
    start(r.s, 2, 40, round);
    if (_i % 3 != 1) break_path(&r.la[0]);
    if (_i % 3 != 0) break_path(&r.lb[0]);
    run(r.s, 2, 10);
  }
  rig_close(&r, 1);
}
END_TEST

/* It can be made again, and fails before anything is carried: its time passes all the same. */
START_TEST(fails_each_time) {
  struct pair p;
  rdma.devices = "rxe0";
  pair_open(&p, 4096, MEM_PLAIN, NULL);
  p.a->tp->limits.move_ns = p.b->tp->limits.move_ns = 2000000000;
  break_path(&p.la);
  put_one(&p.la, &p.ma, 0, 1000, p.la.window, 1, 1);
  UNTIL((break_path(&p.la), p.la.lost));
  ck_assert_msg(strstr(p.la.text, "times in 2 s, and nothing came through") != NULL, "\"%s\"", p.la.text);
  UNTIL(p.lb.lost);
  pair_close(&p);
}
END_TEST

/* A process that ends while a lane of its is made again is not waited for. */
START_TEST(peer_ends_in_a_move) {
  struct pair p;
  rdma.devices = _i ? "" : "rxe0";
  pair_open(&p, 4096, MEM_PLAIN, NULL);
  p.a->tp->limits.move_ns = 3600000000000;
  break_path(&p.la);
  end_close(p.b);
  p.lb.lane = NULL;
  UNTIL(p.la.lost);
  ck_assert_msg(strstr(p.la.text, "not made again: over rxe") != NULL && strstr(p.la.text, "nobody listens") != NULL, "\"%s\"", p.la.text);
  mem_forget(&p.mb);
  pair_close(&p);
}
END_TEST

/* While the way back is being made, the connection in use fails. */
START_TEST(fails_on_the_way_home) {
  struct rig r;
  rig_open(&r, 1, "");
  break_path(&r.la[0]);
  UNTIL(at_rail(&r.la[0], "rxe1:1"));
  UNTIL(r.la[0].lane->spare != NULL);
  break_path(_i ? &r.la[0] : &r.lb[0]);
  run(r.s, 2, 30);
  rig_close(&r, 1);
}
END_TEST

/* A peer that goes home puts its queue pair into error. On iWARP that closes the connection, which may be seen before its RESUME is. */
START_TEST(left_before_it_is_said) {
  struct rig r;
  rig_open(&r, 1, "");
  break_path(&r.la[0]);
  UNTIL(at_rail(&r.la[0], "rxe1:1") && at_rail(&r.lb[0], "rxe1:1"));
  UNTIL(r.lb[0].lane->spare != NULL && r.lb[0].lane->state == LANE_UP);
  conn_cm(r.lb[0].lane->conn, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, 0);
  run(r.s, 2, 30);
  UNTIL(at_rail(&r.la[0], "rxe0:1") && at_rail(&r.lb[0], "rxe0:1"));
  rig_close(&r, 1);
}
END_TEST

/* The queue pair is put into error behind the transport's back, as a NIC does it. */
START_TEST(queue_pair_in_error) {
  struct rig r;
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
  rig_open(&r, 1, "");
  start(r.s, 2, 20, 1);
  ck_assert_int_eq(ibv_modify_qp((_i ? &r.la[0] : &r.lb[0])->lane->conn->qp, &attr, IBV_QP_STATE), 0);
  UNTIL(r.la[0].lost && r.lb[0].lost);
  rig_close(&r, 1);
}
END_TEST

/* ---- an acknowledgement that comes late ---- */

static struct {
  int (*real)(struct ibv_cq *cq, int max, struct ibv_wc *wc);
  struct ibv_cq *cq; /* whose completion is held back */
  struct ibv_wc wc;
  int open;
} dam;

/* Keeps the completion of a connection's first message until the dam is opened. */
static int dammed_poll(struct ibv_cq *cq, int max, struct ibv_wc *wc) {
  int n = dam.real(cq, max, wc), kept = 0;
  if (dam.open && dam.cq == cq && n < max) {
    wc[n] = dam.wc;
    dam.cq = NULL;
    return n + 1;
  }
  for (int i = 0; i < n; i++) {
    if (!dam.open && wc[i].wr_id >> 56 == WR_CONTROL && (wc[i].wr_id & 0x100) != 0) {
      dam.cq = cq;
      dam.wc = wc[i];
    } else {
      wc[kept++] = wc[i];
    }
  }
  return kept;
}

/* Where the acknowledgement of an end's first message is lost, the other end is connected before it, and puts. 0: the passive end's */
START_TEST(put_before_an_acknowledgement) {
  struct lane l[2]; /* the active one is the first */
  struct end *e[2];
  const struct tp_src nothing = {0};
  int late = !_i;
  rdma.devices = "rxe0";
  for (int i = 0; i < 2; i++) e[i] = end_open();
  struct ibv_context *ctx = e[late]->tp->rails[0].ctx;
  memset(&dam, 0, sizeof dam); /* all tests are one process */
  dam.real = ctx->ops.poll_cq;
  ctx->ops.poll_cq = dammed_poll;
  for (int i = 1; i >= 0; i--) lane_open(&l[i], e[i], e[!i], 1, i == 0, NULL);
  UNTIL(dam.cq != NULL && l[!late].connected);
  ck_assert(!l[late].connected);
  OPS->put(l[!late].lane, &nothing, 1, (struct tp_raddr){0}, 0, 1);
  UNTIL(l[late].notices == 1 || l[late].lost);
  ck_assert_msg(l[late].connected && !l[late].lost, "%s", l[late].text);
  dam.open = 1;
  UNTIL(dam.cq == NULL);
  lanes_alive(&l[0], &l[1]);
  for (int i = 0; i < 2; i++) lane_close(&l[i]);
}
END_TEST

/* The peer's CM has not forgotten the last connection of this queue pair number: the next attempt has another one. */
START_TEST(stale_queue_pair_number) {
  struct lane la, lb;
  rdma.devices = "rxe0";
  struct end *a = end_open(), *b = end_open();
  lane_open(&la, a, b, 1, 1, NULL);
  UNTIL(la.lane->spare->state == CONN_DIALING);
  conn_cm(la.lane->spare, RDMA_CM_EVENT_REJECTED, VERBS_REJ_STALE, NULL, 0);
  lane_open(&lb, b, a, 1, 0, NULL);
  UNTIL((la.connected && lb.connected) || la.lost || lb.lost);
  lanes_alive(&la, &lb);
  lane_close(&la);
  lane_close(&lb);
}
END_TEST

/* ---- memory and moves ---- */

static void move_away(struct rig *r) {
  r->a->tp->limits.home_ns = r->b->tp->limits.home_ns = 60000000000;
  r->la[0].lane->home_wait_ns = r->lb[0].lane->home_wait_ns = 60000000000;
  break_path(&r->la[0]);
  UNTIL(at_rail(&r->la[0], "rxe1:1") && at_rail(&r->lb[0], "rxe1:1"));
}

START_TEST(old_names_hold) {
  struct pair p;
  rdma.devices = "";
  pair_open(&p, 65536, MEM_PLAIN, NULL);
  struct tp_raddr old = mem_raddr(&p.lb, &p.mb, 40000), window = p.la.window;
  p.a->tp->limits.home_ns = p.b->tp->limits.home_ns = 60000000000;
  break_path(&p.la);
  UNTIL(at_rail(&p.la, "rxe1:1") && at_rail(&p.lb, "rxe1:1"));
  struct tp_raddr now = mem_raddr(&p.lb, &p.mb, 50000);
  pattern_fill(p.ma.at, 3000, 9);
  put_one(&p.la, &p.ma, 0, 1000, window, 1, 1);
  put_one(&p.la, &p.ma, 1000, 1000, old, 2, 2);
  put_one(&p.la, &p.ma, 2000, 1000, now, 3, 3);
  UNTIL((p.lb.notices == 3 && p.la.sents == 3) || p.la.lost || p.lb.lost);
  ck_assert_msg(!p.la.lost && !p.lb.lost, "%s %s", p.la.text, p.lb.text);
  ck_assert_mem_eq(p.mb.at, p.ma.at, 1000);
  ck_assert_mem_eq(p.mb.at + 40000, p.ma.at + 1000, 1000);
  ck_assert_mem_eq(p.mb.at + 50000, p.ma.at + 2000, 1000);
  pair_close(&p);
}
END_TEST

START_TEST(asked_about_memory_that_went) {
  struct rig r;
  struct mem m, next;
  rig_open(&r, 1, "");
  mem_open(&m, r.b, 5000, MEM_PLAIN, 0);
  struct tp_raddr old = mem_raddr(&r.lb[0], &m, 0);
  move_away(&r);
  mem_close(&m);
  mem_open(&next, r.b, 5000, MEM_PLAIN, 0);
  memset(next.at, 0x44, 5000);
  put_one(&r.la[0], &r.s[0].source, 0, 100, old, 66, 0);
  UNTIL(r.la[0].lost && r.lb[0].lost);
  ck_assert_msg(strstr(r.la[0].text, "not registered any more") != NULL, "%s", r.la[0].text);
  byte_check(next.at, 5000, 0x44);
  mem_close(&next);
  rig_close(&r, 1);
}
END_TEST

/* The window's region goes before the lane, and then the lane moves. */
START_TEST(window_went_before_a_move) {
  struct pair p;
  rdma.devices = "";
  pair_open(&p, 4096, MEM_PLAIN, NULL);
  mem_close(&p.ma);
  mem_close(&p.mb);
  p.a->tp->limits.home_ns = 60000000000;
  break_path(_i ? &p.la : &p.lb);
  UNTIL(at_rail(&p.la, "rxe1:1") && at_rail(&p.lb, "rxe1:1"));
  lanes_alive(&p.la, &p.lb);
  pair_close(&p);
}
END_TEST

/* A place on a rail that the peer does not have. */
START_TEST(names_of_no_rail) {
  struct rig r;
  rig_open(&r, 1, "");
  struct tp_raddr at = r.s[0].at;
  at.off |= (uint64_t)(_i == 0 ? 5 : 200) << 56;
  put_one(&r.la[0], &r.s[0].source, 0, 100, at, 66, 0);
  UNTIL(r.la[0].lost && r.lb[0].lost);
  rig_close(&r, 1);
}
END_TEST

START_TEST(closing_in_a_move) {
  struct rig r;
  rig_open(&r, 1, "");
  start(r.s, 2, 40, 1);
  break_path(&r.la[0]);
  for (int i = 0; i < _i * 3; i++) turn();
  rig_close(&r, 1);
}
END_TEST

/* The other end closes while this one moves: it is told. */
START_TEST(peer_closes_in_a_move) {
  struct rig r;
  rig_open(&r, 1, "");
  r.a->tp->limits.move_ns = r.b->tp->limits.move_ns = 3000000000;
  break_path(&r.la[0]);
  for (int i = 0; i < _i * 3; i++) turn();
  lane_close(&r.lb[0]);
  UNTIL(r.la[0].lost);
  rig_close(&r, 1);
}
END_TEST

/* ---- a machine that does not let it ---- */

#define RDMA_CM "/dev/infiniband/rdma_cm"

/* Who may not use the kernel's connection manager has no verbs, as if it were not there: auto takes another transport. */
START_TEST(no_permission) {
  struct tp_config c = {.bind_host = "", .peer_host = ""};
  struct tp *tp = NULL;
  agg_error_t err = {0};
  ck_assert(chmod(RDMA_CM, 0600) == 0 && seteuid(65534) == 0);
  int rc = OPS->open(&c, &tp, &err);
  ck_assert(seteuid(0) == 0 && chmod(RDMA_CM, 0666) == 0);
  ck_assert_int_eq(rc, AGG_ENOTSUP);
  ck_assert_msg(strstr(err.text, "Permission denied") != NULL, "%s", err.text);
}
END_TEST

/* RoCE and iWARP do not meet, whatever their addresses: a pair of such nodes takes another transport. */
START_TEST(fabrics_of_two_kinds) {
  struct lane l;
  rdma.devices = "rxe0";
  struct end *a = end_open(), *b = end_open();
  ck_assert(OPS->reach(a->tp, b->address, b->address_len) && OPS->reach(b->tp, a->address, a->address_len));
  b->tp->rails[0].address.fabric = VERBS_IWARP;
  b->address_len = OPS->address(b->tp, b->address);
  ck_assert(!OPS->reach(a->tp, b->address, b->address_len) && !OPS->reach(b->tp, a->address, a->address_len));
  lane_open(&l, a, b, 1, 1, NULL);
  UNTIL(l.lost);
  ck_assert_msg(strstr(l.text, "of the same kind") != NULL, "%s", l.text);
  lane_close(&l);
}
END_TEST

/* ---- a device is taken away ---- */

static int rings(const struct end *e) {
  struct pollfd fd = {.fd = OPS->fd(e->tp), .events = POLLIN};
  return OPS->arm(e->tp) || poll(&fd, 1, 0) != 0;
}

START_TEST(device_removed) {
  struct rig r;
  struct mem later;
  rig_open(&r, 2, "");
  for (int i = 0; i < 2; i++) r.la[i].lane->home_wait_ns = 60000000000;
  start(r.s, 4, 60, 2);
  ck_assert_int_eq(bed_run("rdma link del rxe1"), 0);
  run(r.s, 4, 20);
  UNTIL(r.a->tp->rails[1].removed && r.b->tp->rails[1].removed);
  ck_assert(at_rail(&r.la[1], "rxe0:1") && at_rail(&r.lb[1], "rxe0:1"));
  mem_open(&later, r.b, 1000, MEM_PLAIN, 0); /* is registered where it can be */
  r.s[2].to->on_notice = NULL;
  pattern_fill(r.s[2].source.at, 1000, 5);
  put_one(&r.la[1], &r.s[2].source, 0, 1000, mem_raddr(&r.lb[1], &later, 0), 77, 0);
  uint32_t before = r.lb[1].notices;
  UNTIL(r.lb[1].notices > before);
  pattern_check(later.at, 1000, 5);
  settle();
  UNTIL(!rings(r.a) && !rings(r.b)); /* what the kernel has closed wakes nobody */
  mem_close(&later);
  rig_close(&r, 2);
  ck_assert_int_eq(bed_run("rdma link add rxe1 type rxe netdev d1"), 0);
}
END_TEST

Suite *make_suite(void) {
  bed_one_process();
  bed_devices(2);
  struct tp *tp = NULL;
  struct tp_config c = {.bind_host = "", .peer_host = ""};
  if (tp_verbs.open(&c, &tp, NULL) == 0) tp_verbs.close(tp); /* librdmacm keeps what it opened first */
  Suite *s = suite_create("lanes");
  TCase *t = tcase_create("lanes");
  conform_use(&conform);
  tcase_add_checked_fixture(t, setup, conform_teardown);
  tcase_set_timeout(t, 90);
  tcase_add_test(t, lanes_are_dealt_over_rails);
  tcase_add_test(t, one_device_is_one_rail);
  tcase_add_loop_test(t, port_down_under_load, 0, 2);
  tcase_add_test(t, port_down_while_quiet);
  tcase_add_test(t, opened_away_from_home);
  tcase_add_test(t, down_at_the_start);
  tcase_add_test(t, flap_is_bridged);
  tcase_add_test(t, only_port_down);
  tcase_add_test(t, only_port_comes_back);
  tcase_add_loop_test(t, connection_fails_under_load, 0, 6);
  tcase_add_test(t, fails_each_time);
  tcase_add_loop_test(t, peer_ends_in_a_move, 0, 2);
  tcase_add_loop_test(t, fails_on_the_way_home, 0, 2);
  tcase_add_test(t, left_before_it_is_said);
  tcase_add_loop_test(t, queue_pair_in_error, 0, 2);
  tcase_add_loop_test(t, put_before_an_acknowledgement, 0, 2);
  tcase_add_test(t, stale_queue_pair_number);
  tcase_add_test(t, old_names_hold);
  tcase_add_test(t, asked_about_memory_that_went);
  tcase_add_loop_test(t, window_went_before_a_move, 0, 2);
  tcase_add_loop_test(t, names_of_no_rail, 0, 2);
  tcase_add_loop_test(t, closing_in_a_move, 0, 6);
  tcase_add_loop_test(t, peer_closes_in_a_move, 0, 6);
  tcase_add_test(t, no_permission);
  tcase_add_test(t, fabrics_of_two_kinds);
  tcase_add_test(t, device_removed);
  suite_add_tcase(s, t);
  return s;
}
