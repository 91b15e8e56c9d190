/*
 * Conformance: what a peer does wrong, and peers that go. The lane is lost, with words, once; memory and other lanes are unharmed.
 */
#include <string.h>

#include "conform.h"

#define OPS (conform_current()->ops)

struct rig {
  struct pair p;
  struct lane other_a, other_b; /* a second lane between the same ends */
};

static void rig_open(struct rig *r, int backed, uint64_t domain) {
  struct lane_options o = {.domain = domain};
  pair_open(&r->p, 65536, backed, &o);
  lanes_connect(&r->other_a, r->p.a, &r->other_b, r->p.b, 2, &o);
  memset(r->p.mb.at, 0x33, r->p.mb.len);
}

/* The put that was made is refused: by either end, without a notice, and nothing was written (from `open` on it is of no interest). */
static void refused_below(struct rig *r, size_t open) {
  struct pair *p = &r->p;
  UNTIL(p->la.lost || p->lb.lost);
  settle();
  ck_assert_uint_eq(p->lb.notices, 0);
  byte_check(p->mb.at, open, 0x33);
  lanes_alive(&r->other_a, &r->other_b);
  lane_close(&p->la);
  lane_close(&p->lb);
  lanes_connect(&p->la, p->a, &p->lb, p->b, 3, NULL);
  lanes_alive(&p->la, &p->lb);
  lane_close(&r->other_a);
  lane_close(&r->other_b);
  pair_close(p);
}
static void refused(struct rig *r) { refused_below(r, r->p.mb.len); }

/* ---- places that are not the peer's to write ---- */

START_TEST(bad_places) {
  struct rig r;
  rig_open(&r, _i & 1, 0);
  struct tp_raddr at = mem_raddr(&r.p.lb, &r.p.mb, 0);
  size_t len = _i & 2 ? 40000 : 20, untouched = 65536;
  switch (_i / 4) {
    case 0:
      at.off += 65536;
      break; /* begins behind the end */
    case 1:
      at.off += 65536 - len + 1;
      if (conform_current()->by_segment) untouched = 65536 - len + 1;
      break; /* ends behind the end */
    case 2:
      at.off = UINT64_MAX - 5;
      break; /* the sum overflows */
    case 3:
      at.key = 0;
      break;
    case 4:
      at.key = UINT32_MAX;
      break;
    case 5:
      at.key ^= 1u << 20;
      break;
    case 6:
      at.key ^= 1u << 31;
      break;
    case 7:
      at.off = UINT64_MAX - len + 1;
      break; /* the sum is zero */
    case 8:
      at.key += 1000;
      break;
    default:
      break;
  }
  put_one(&r.p.la, &r.p.ma, 0, len, at, 66, 0);
  refused_below(&r, untouched);
}
END_TEST

START_TEST(deregistered_key) {
  struct rig r;
  rig_open(&r, _i & 1, 0);
  struct mem gone;
  mem_open(&gone, r.p.b, 40000, _i & 1, 0);
  struct tp_raddr at = mem_raddr(&r.p.lb, &gone, 0);
  if (_i & 4) { /* it has been used before: nothing may be remembered */
    put_one(&r.other_a, &r.p.ma, 0, 40000, mem_raddr(&r.other_b, &gone, 0), 1, 0);
    UNTIL(r.other_b.notices == 1);
  }
  memset(gone.at, 0x44, gone.len);
  OPS->mem_dereg(r.p.b->tp, gone.mr);
  put_one(&r.p.la, &r.p.ma, 0, _i & 2 ? 40000 : 20, at, 66, 0);
  UNTIL(r.p.la.lost || r.p.lb.lost);
  settle();
  byte_check(gone.at, gone.len, 0x44);
  mem_forget(&gone);
  refused(&r);
}
END_TEST

/* The next regions take the place of the one that went: the old key must not open them. */
START_TEST(stale_key) {
  enum { N = 100 };
  struct rig r;
  struct mem m, again[N];
  rig_open(&r, _i, 0);
  mem_open(&m, r.p.b, 4096, _i, 0);
  struct tp_raddr old = mem_raddr(&r.p.lb, &m, 0);
  mem_close(&m);
  for (int i = 0; i < N; i++) {
    mem_open(&again[i], r.p.b, 4096, _i, 0);
    memset(again[i].at, 0x44, 4096);
    ck_assert_uint_ne(mem_raddr(&r.p.lb, &again[i], 0).key, old.key);
  }
  put_one(&r.p.la, &r.p.ma, 0, 4096, old, 66, 0);
  UNTIL(r.p.la.lost || r.p.lb.lost);
  settle();
  for (int i = 0; i < N; i++) {
    byte_check(again[i].at, 4096, 0x44);
    mem_close(&again[i]);
  }
  refused(&r);
}
END_TEST

START_TEST(other_domain) {
  struct rig r;
  rig_open(&r, _i & 1, 5);
  struct mem theirs;
  mem_open(&theirs, r.p.b, 4096, _i & 1, 6);
  memset(theirs.at, 0x44, 4096);
  struct tp_raddr at = mem_raddr(&r.p.lb, &theirs, 0);
  ck_assert_ptr_null(OPS->map(r.p.la.lane, at, 16));
  put_one(&r.p.la, &r.p.ma, 0, _i & 2 ? 4096 : 16, at, 66, 0);
  UNTIL(r.p.la.lost || r.p.lb.lost);
  settle();
  byte_check(theirs.at, 4096, 0x44);
  mem_close(&theirs);
  refused(&r);
}
END_TEST

/* A region of a domain is closed to lanes of no domain. */
START_TEST(no_domain) {
  struct rig r;
  rig_open(&r, _i & 1, 0);
  struct mem theirs;
  mem_open(&theirs, r.p.b, 4096, _i & 1, 6);
  memset(theirs.at, 0x44, 4096);
  put_one(&r.p.la, &r.p.ma, 0, 64, mem_raddr(&r.p.lb, &theirs, 0), 66, 0);
  UNTIL(r.p.la.lost || r.p.lb.lost);
  settle();
  byte_check(theirs.at, 4096, 0x44);
  mem_close(&theirs);
  refused(&r);
}
END_TEST

/* What came before the bad put is delivered, what comes behind it is not. */
START_TEST(bad_put_in_a_stream) {
  struct rig r;
  rig_open(&r, _i, 0);
  for (uint32_t i = 0; i < 5; i++) put_one(&r.p.la, &r.p.ma, 0, 16, mem_raddr(&r.p.lb, &r.p.mb, i * 16), i, 0);
  put_one(&r.p.la, &r.p.ma, 0, 16, (struct tp_raddr){.key = 0x7fffffff}, 66, 0);
  for (uint32_t i = 0; i < 5; i++) put_one(&r.p.la, &r.p.ma, 0, 16, mem_raddr(&r.p.lb, &r.p.mb, 4096 + i * 16), 100 + i, 0);
  UNTIL(r.p.la.lost || r.p.lb.lost);
  settle();
  ck_assert_uint_le(r.p.lb.notices, 5);
  for (uint32_t i = 0; i < r.p.lb.notices; i++) ck_assert_uint_eq(r.p.lb.notice[i].notice, i);
  lanes_alive(&r.other_a, &r.other_b);
  pair_close(&r.p);
}
END_TEST

/* ---- peers that go ---- */

START_TEST(peer_closes) {
  struct pair p;
  if ((_i & 4) && !conform_current()->no_sleep) turn_sleeping(1);
  pair_open(&p, 1 << 20, _i & 1, NULL);
  if (_i & 2)
    end_close(p.b), p.lb.lane = NULL;
  else
    lane_close(&p.lb);
  UNTIL(p.la.lost);
  ck_assert(OPS->fence(p.la.lane) >= 0);
  turn_sleeping(0);
  for (uint32_t i = 0; i < 100; i++) put_one(&p.la, &p.ma, 0, 1 << 20, p.la.window, i, i + 1); /* harmless, and none outstanding */
  settle();
  ck_assert_uint_eq(p.la.sents, 0);
  if (p.b->tp == NULL) mem_forget(&p.mb);
  pair_close(&p);
}
END_TEST

START_TEST(peer_closes_under_load) {
  struct pair p;
  size_t half = 4 << 20; /* of each region: source, target */
  pair_open(&p, 2 * half, _i & 1, NULL);
  for (uint32_t i = 0; i < 8; i++) {
    put_one(&p.la, &p.ma, 0, half, mem_raddr(&p.lb, &p.mb, half), i, i + 1);
    put_one(&p.lb, &p.mb, 0, half, mem_raddr(&p.la, &p.ma, half), i, i + 1);
  }
  for (int i = 0; i < _i; i++) turn();
  lane_close(&p.lb);
  UNTIL(p.la.lost);
  pair_close(&p);
}
END_TEST

/* Both ends close with puts outstanding; the sources are ours again as soon as the lane is closed. */
START_TEST(closing_gives_memory_back) {
  struct pair p;
  pair_open(&p, 1 << 20, _i & 1, NULL);
  put_one(&p.la, &p.ma, 0, 1 << 20, p.la.window, 1, 1);
  for (int i = 0; i < _i / 2; i++) turn();
  lane_close(&p.la);
  mem_close(&p.ma); /* unmapped: a read of it would be seen */
  UNTIL(p.lb.lost);
  pair_close(&p);
}
END_TEST

/* A put that was reported sent arrives, whatever its sender does next. */
START_TEST(reported_puts_arrive) {
  struct pair p;
  size_t len = _i & 2 ? 1 << 20 : 100;
  pair_open(&p, 2 << 20, _i & 1, NULL);
  pattern_fill(p.ma.at, len, 3);
  if (_i & 4)
    put_one(&p.lb, &p.mb, 1 << 20, 1000, mem_raddr(&p.la, &p.ma, 1 << 20), 9, 0); /* and the closing end has not read everything */
  put_one(&p.la, &p.ma, 0, len, p.la.window, 1, 1);
  UNTIL(p.la.sents == 1);
  lane_close(&p.la);
  UNTIL(p.lb.lost);
  ck_assert_uint_eq(p.lb.notices, 1);
  pattern_check(p.mb.at, len, 3);
  pair_close(&p);
}
END_TEST

/* Deregistering while a peer writes into the memory: the lane may be lost, but nothing is written afterwards. */
START_TEST(dereg_under_load) {
  struct rig r;
  rig_open(&r, _i & 1, 0);
  struct mem m;
  size_t len = 8 << 20;
  struct mem big;
  mem_open(&m, r.p.b, len, _i & 1, 0);
  mem_open(&big, r.p.a, len, _i & 1, 0);
  put_one(&r.p.la, &big, 0, len, mem_raddr(&r.p.lb, &m, 0), 1, 0);
  for (int i = 0; i < _i / 2; i++) turn();
  OPS->mem_dereg(r.p.b->tp, m.mr);
  memset(m.at, 0x44, len);
  UNTIL(r.p.lb.notices == 1 || r.p.la.lost || r.p.lb.lost);
  settle();
  byte_check(m.at, len, 0x44);
  mem_forget(&m);
  mem_close(&big);
  lanes_alive(&r.other_a, &r.other_b);
  pair_close(&r.p);
}
END_TEST

void conform_add_lost(Suite *s) {
  TCase *t = tcase_create("lost");
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, bad_places, 0, 36);
  tcase_add_loop_test(t, deregistered_key, 0, 8);
  tcase_add_loop_test(t, stale_key, 0, 2);
  tcase_add_loop_test(t, other_domain, 0, 4);
  tcase_add_loop_test(t, no_domain, 0, 2);
  tcase_add_loop_test(t, bad_put_in_a_stream, 0, 2);
  tcase_add_loop_test(t, peer_closes, 0, 8);
  tcase_add_loop_test(t, peer_closes_under_load, 0, 8);
  tcase_add_loop_test(t, closing_gives_memory_back, 0, 8);
  tcase_add_loop_test(t, reported_puts_arrive, 0, 8);
  tcase_add_loop_test(t, dereg_under_load, 0, 12);
  suite_add_tcase(s, t);
}
