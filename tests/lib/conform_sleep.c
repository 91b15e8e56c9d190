/*
 * Conformance: arm and fd. A sleeper is woken by every event, by nothing but epoll, and is not woken again and again by none.
 */
#include <poll.h>
#include <string.h>

#include "conform.h"

#define OPS (conform_current()->ops)

static int readable(const struct end *e, int timeout_ms) {
  struct pollfd p = {.fd = OPS->fd(e->tp), .events = POLLIN};
  return poll(&p, 1, timeout_ms);
}

/* Polls until the end says that it may sleep and its descriptor agrees. */
static void doze(struct end *e) {
  (void)e;
  settle();
  UNTIL(turn() == 0 && OPS->arm(e->tp) == 0 && readable(e, 0) == 0);
}

START_TEST(a_put_wakes) {
  struct pair p;
  pair_open(&p, 1 << 20, _i & 1, NULL);
  int fd = OPS->fd(p.b->tp);
  for (uint32_t i = 0; i < 50; i++) {
    struct tp_event ev[4];
    doze(p.b);
    put_one(&p.la, &p.ma, 0, i % 2 ? 1 << 20 : 8, p.la.window, i, 0);
    while (OPS->arm(p.a->tp)) ck_assert_int_eq(OPS->poll(p.a->tp, ev, 1), 0); /* the sender's own work */
    ck_assert_int_eq(readable(p.b, 20000), 1);
    UNTIL(p.lb.notices == i + 1);
    ck_assert_int_eq(OPS->fd(p.b->tp), fd);
  }
  pair_close(&p);
}
END_TEST

/* Everything from connecting to loss, asleep whenever allowed. */
START_TEST(a_life_asleep) {
  struct pair p;
  turn_sleeping(1);
  pair_open(&p, 1 << 20, _i & 1, NULL);
  for (uint32_t i = 0; i < 300; i++) {
    size_t len = i % 10 == 0 ? 1 << 20 : i;
    put_one(&p.la, &p.ma, 0, len, p.la.window, i, i + 1);
    UNTIL(p.lb.notices == i + 1 && p.la.sents == i + 1);
    put_one(&p.lb, &p.mb, 0, len, p.lb.window, i, i + 1);
    UNTIL(p.la.notices == i + 1 && p.lb.sents == i + 1);
  }
  lane_close(&p.lb);
  UNTIL(p.la.lost);
  pair_close(&p);
}
END_TEST

/* All of `depth` puts, large, in both directions, woken only by the transport. */
START_TEST(a_flood_asleep) {
  struct pair p;
  struct lane_options o = {.depth = 16};
  turn_sleeping(1);
  pair_open(&p, 2 << 20, _i & 1, &o);
  for (uint32_t i = 0; i < 16; i++) {
    put_one(&p.la, &p.ma, 0, 1 << 20, (struct tp_raddr){p.la.window.key, p.la.window.off + (1 << 20)}, i, i + 1);
    put_one(&p.lb, &p.mb, 0, 1 << 20, (struct tp_raddr){p.lb.window.key, p.lb.window.off + (1 << 20)}, i, i + 1);
  }
  UNTIL(p.la.notices == 16 && p.lb.notices == 16 && p.la.sents == 16 && p.lb.sents == 16);
  pair_close(&p);
}
END_TEST

START_TEST(idle_sleeps) {
  struct pair p;
  pair_open(&p, 4096, _i & 1, NULL);
  lanes_alive(&p.la, &p.lb);
  doze(p.a);
  doze(p.b);
  for (int i = 0; i < 100; i++) { /* a poll of nothing does not wake, nor does arming */
    struct tp_event ev[4];
    ck_assert_int_eq(OPS->poll(p.a->tp, ev, 4), 0);
    ck_assert_int_eq(OPS->arm(p.a->tp), 0);
    ck_assert_int_eq(readable(p.a, 0), 0);
  }
  pair_close(&p);
}
END_TEST

void conform_add_sleep(Suite *s) {
  TCase *t = tcase_create("sleep");
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, a_put_wakes, 0, 2);
  tcase_add_loop_test(t, a_life_asleep, 0, 2);
  tcase_add_loop_test(t, a_flood_asleep, 0, 2);
  tcase_add_loop_test(t, idle_sleeps, 0, 2);
  suite_add_tcase(s, t);
}
