/*
 * Conformance: fence. After it has returned 1 no write of the peer's lands, whatever was under way; what had landed stays.
 */
#include <stdlib.h>
#include <string.h>

#include "conform.h"

#define OPS (conform_current()->ops)

/* A fence needs the peer to be polled in some transports; a lane that is fenced stays so. */
static void fence(struct lane *l) {
  UNTIL(OPS->fence(l->lane) == 1);
  ck_assert_int_eq(OPS->fence(l->lane), 1);
}

START_TEST(nothing_lands_behind_a_fence) {
  struct pair p;
  size_t len = 4 << 20;
  pair_open(&p, len, _i & 1, NULL);
  memset(p.ma.at, 0x77, len);
  for (uint32_t i = 0; i < 16; i++) put_one(&p.la, &p.ma, 0, len, p.la.window, i, 0);
  for (int i = 0; i < _i / 2; i++) turn();
  fence(&p.lb);
  memset(p.mb.at, 0x22, len); /* in use by others again */
  uint32_t notices = p.lb.notices;
  settle();
  byte_check(p.mb.at, len, 0x22);
  ck_assert_uint_eq(p.lb.notices, notices);
  pair_close(&p);
}
END_TEST

START_TEST(own_puts_do_nothing) {
  struct pair p;
  pair_open(&p, 1 << 16, _i & 1, NULL);
  memset(p.ma.at, 0x22, p.ma.len);
  (void)OPS->fence(p.lb.lane);
  for (uint32_t i = 0; i < 100; i++) put_one(&p.lb, &p.mb, 0, 1 << 16, p.lb.window, i, i + 1);
  fence(&p.lb);
  settle();
  ck_assert_uint_eq(p.la.notices, 0);
  ck_assert_uint_eq(p.lb.sents, 0);
  byte_check(p.ma.at, p.ma.len, 0x22);
  lane_close(&p.lb);
  UNTIL(p.la.lost);
  pair_close(&p);
}
END_TEST

START_TEST(both_ends_fence) {
  struct pair p;
  size_t half = 1 << 20; /* of each region: source, target */
  pair_open(&p, 2 * half, _i & 1, NULL);
  for (uint32_t i = 0; i < 8; i++) {
    put_one(&p.la, &p.ma, 0, half, mem_raddr(&p.lb, &p.mb, half), i, 0);
    put_one(&p.lb, &p.mb, 0, half, mem_raddr(&p.la, &p.ma, half), i, 0);
  }
  for (int i = 0; i < _i / 2; i++) turn();
  int a = 0, b = 0;
  UNTIL((a = OPS->fence(p.la.lane), b = OPS->fence(p.lb.lane), a && b));
  pair_close(&p);
}
END_TEST

START_TEST(lanes_beside_are_open) {
  struct pair p;
  struct lane la, lb;
  pair_open(&p, 1 << 16, _i & 1, NULL);
  lanes_connect(&la, p.a, &lb, p.b, 2, NULL);
  fence(&p.lb);
  lanes_alive(&la, &lb);
  pattern_fill(p.ma.at, 1 << 16, 4);
  put_one(&la, &p.ma, 0, 1 << 16, mem_raddr(&lb, &p.mb, 0), 3, 0); /* the same memory */
  uint32_t at = lb.notices;
  UNTIL(lb.notices > at);
  pattern_check(p.mb.at, 1 << 16, 4);
  pair_close(&p);
}
END_TEST

/* Before it is connected, after its peer has gone, after it was lost. */
START_TEST(fence_at_any_time) {
  if (_i > 0 && conform_current()->slow_to_drop) return;
  struct end *a = end_open(), *b = end_open();
  struct lane active, passive, la, lb;
  lane_open(&active, a, b, 30, 1, NULL);
  lane_open(&passive, a, b, 31, 0, NULL);
  for (int i = 0; i < _i; i++) turn();
  fence(&active);
  fence(&passive);
  lanes_connect(&la, a, &lb, b, 32, NULL);
  lane_close(&lb);
  if (_i & 1) UNTIL(la.lost);
  fence(&la);
  lane_close(&la);
  lane_close(&active);
  lane_close(&passive);
}
END_TEST

/* A writer of mapped memory is told, and stops: the pattern that it writes ends before the fence is done. */
START_TEST(mapped_writer_is_told) {
  if (!(OPS->caps & TP_CAP_MAP)) return;
  struct pair p;
  pair_open(&p, 1 << 16, MEM_BACKED, NULL);
  lanes_alive(&p.la, &p.lb);
  settle();
  unsigned char *m = OPS->map(p.la.lane, mem_raddr(&p.lb, &p.mb, 0), 1 << 16);
  ck_assert_ptr_nonnull(m);
  ck_assert_int_eq(OPS->shut(p.la.lane), 0);
  m[0] = 1;
  fence(&p.lb);
  UNTIL(OPS->shut(p.la.lane) != 0 || p.la.lost);
  pair_close(&p);
}
END_TEST

void conform_add_fence(Suite *s) {
  TCase *t = tcase_create("fence");
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, nothing_lands_behind_a_fence, 0, 12);
  tcase_add_loop_test(t, own_puts_do_nothing, 0, 2);
  tcase_add_loop_test(t, both_ends_fence, 0, 8);
  tcase_add_loop_test(t, lanes_beside_are_open, 0, 2);
  tcase_add_loop_test(t, fence_at_any_time, 0, 4);
  tcase_add_test(t, mapped_writer_is_told);
  suite_add_tcase(s, t);
}
