/*
 * What is particular to the shared-memory transport and not in the conformance suite: each path of a put, announced regions and their
 * mappings, meeting late, addresses, and what it costs (descriptors, allocations).
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/conform.h"
#include "transport/shm/shm.h"

static const struct conform shm = {.ops = &tp_shm};

static uint32_t count_maps(const struct end *e) {
  uint32_t n = 0;
  for (const struct shm_map *m = e->tp->maps; m != NULL; m = m->next) n++;
  return n;
}

static uint32_t count_guests(const struct end *e) {
  uint32_t n = 0;
  for (const struct shm_guest *g = e->tp->guests; g != NULL; g = g->next) n += !g->gone;
  return n;
}

/* ---- paths ---- */

static const size_t sizes[] = {0, 1, 8, 63, 88, 89, 4096, 8192, 8193, 16384, 16385, 32769, 100000, 300000, 1 << 20};
static const enum shm_path paths[] = {SHM_PATH_AUTO, SHM_PATH_INLINE, SHM_PATH_DIRECT, SHM_PATH_REGION, SHM_PATH_PRIVATE, SHM_PATH_BOUNCE};

/* Every forced path brings every size into place, in one piece and with a header, from and to any memory. */
START_TEST(every_path) {
  struct pair p;
  enum shm_path path = paths[_i / 4];
  int backed = _i & 1, pieces = 1 + (_i >> 1 & 1);
  pair_open(&p, (1 << 20) + 200, backed, NULL);
  shm_force_path(p.a->tp, path);
  for (uint32_t i = 0; i < ARRAY_LEN(sizes); i++) {
    size_t len = sizes[i] + (pieces == 2 ? 64 : 0);
    struct tp_raddr dst = p.la.window;
    dst.off += 5;
    pattern_fill(p.ma.at, p.ma.len, i);
    memset(p.mb.at, 0, p.mb.len);
    if (pieces == 2)
      put_two(&p.la, &p.ma, 3, 64, len, mem_raddr(&p.lb, &p.mb, 5), i, i + 1);
    else
      put_one(&p.la, &p.ma, 3, len, mem_raddr(&p.lb, &p.mb, 5), i, i + 1);
    UNTIL(p.lb.notices == i + 1 && p.la.sents == i + 1);
    ck_assert_uint_eq(p.lb.notice[i].bytes, len);
    ck_assert_int_eq(memcmp(p.mb.at + 5, p.ma.at + 3, len), 0);
    ck_assert_uint_eq(p.mb.at[4], 0);
    ck_assert_uint_eq(p.mb.at[5 + len], 0);
  }
  pair_close(&p);
}
END_TEST

static uint8_t kind_of_last(const struct lane *l) {
  const struct shm_mem *m = &l->lane->mem;
  return m->out[(l->lane->out_pos - 1) & (m->ring - 1)].kind;
}

/* The path that is taken when nobody forces one. */
START_TEST(choice_of_path) {
  struct pair p;
  pair_open(&p, 100000, MEM_BACKED, NULL);
  settle();
  struct mem plain_a, plain_b;
  mem_open(&plain_a, p.a, 100000, MEM_PLAIN, 0);
  mem_open(&plain_b, p.b, 100000, MEM_PLAIN, 0);
  const struct {
    const struct mem *from, *to;
    size_t len;
    uint8_t kind;
  } rows[] = {
      {&p.ma, &p.mb, 88, SHM_ENTRY_INLINE},
      {&plain_a, &plain_b, 72, SHM_ENTRY_INLINE},
      {&p.ma, &p.mb, 89, SHM_ENTRY_PLACED},
      {&plain_a, &p.mb, 100000, SHM_ENTRY_PLACED},
      {&p.ma, &plain_b, 89, SHM_ENTRY_REGION},
      {&plain_a, &plain_b, SHM_SMALL, SHM_ENTRY_BOUNCE},
      {&plain_a, &plain_b, SHM_SMALL + 1, SHM_ENTRY_PRIVATE},
  };
  for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
    put_one(&p.la, rows[i].from, 0, rows[i].len, mem_raddr(&p.lb, rows[i].to, 0), i, 0);
    ck_assert_msg(kind_of_last(&p.la) == rows[i].kind, "row %u: kind %u", i, kind_of_last(&p.la));
    UNTIL(p.lb.notices == i + 1);
  }
  /* where the peer cannot read this process, everything goes through the lane */
  atomic_store(&p.lb.lane->mem.own->reads_private, 0);
  pattern_fill(plain_a.at, 100000, 9);
  put_one(&p.la, &plain_a, 0, 100000, mem_raddr(&p.lb, &plain_b, 0), 99, 1);
  ck_assert_uint_eq(kind_of_last(&p.la), SHM_ENTRY_BOUNCE);
  UNTIL(p.la.sents == 1 && p.lb.notices == ARRAY_LEN(rows) + 1);
  pattern_check(plain_b.at, 100000, 9);
  mem_close(&plain_a);
  mem_close(&plain_b);
  pair_close(&p);
}
END_TEST

/* More parts than the bounce area and the ring hold, while the other end does not poll: nothing blocks, all arrives in order. */
START_TEST(bounce_flow) {
  struct pair p;
  struct lane_options o = {.depth = 64};
  pair_open(&p, 64 * 50000, MEM_PLAIN, &o);
  shm_force_path(p.a->tp, SHM_PATH_BOUNCE);
  pattern_fill(p.ma.at, p.ma.len, 1);
  for (uint32_t i = 0; i < 64; i++) put_one(&p.la, &p.ma, i * 50000, 50000, mem_raddr(&p.lb, &p.mb, i * 50000), i, i + 1);
  UNTIL(p.la.sents == 64 && p.lb.notices == 64);
  for (uint32_t i = 0; i < 64; i++) ck_assert_uint_eq(p.lb.notice[i].notice, i);
  pattern_check(p.mb.at, p.mb.len, 1);
  pair_close(&p);
}
END_TEST

/* Direct writes are complete when put returns, and reported sent although the peer sleeps; the ring does not overflow. */
START_TEST(peer_does_not_poll) {
  struct pair p;
  struct lane_options o = {.depth = 4};
  pair_open(&p, 4096, MEM_BACKED, &o);
  settle();
  for (uint32_t i = 0; i < 100; i++) {
    struct tp_event ev[4];
    pattern_fill(p.ma.at, 4096, i);
    put_one(&p.la, &p.ma, 0, 4096, mem_raddr(&p.lb, &p.mb, 0), i, 0);
    if (i < 16) pattern_check(p.mb.at, 4096, i); /* the ring has 16 entries */
    if (i >= 19) break;                          /* and 4 puts may wait */
    ck_assert_int_eq(tp_shm.poll(p.a->tp, ev, 4), 0);
  }
  UNTIL(p.lb.notices == 20);
  pattern_check(p.mb.at, 4096, 19);
  pair_close(&p);
}
END_TEST

/* Puts before TP_CONNECTED wait for it. */
START_TEST(put_while_connecting) {
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb;
  struct mem ma, mb;
  mem_open(&ma, a, 50000, MEM_PLAIN, 0);
  mem_open(&mb, b, 50000, MEM_BACKED, 0);
  pattern_fill(ma.at, 50000, 2);
  lane_open(&la, a, b, 1, 1, NULL);
  put_one(&la, &ma, 0, 50000, tp_shm.raddr(NULL, mb.mr, mb.at), 1, 1);
  lane_open(&lb, b, a, 1, 0, NULL);
  UNTIL(la.sents == 1 && lb.notices == 1);
  pattern_check(mb.at, 50000, 2);
  lane_close(&la);
  lane_close(&lb);
  mem_close(&ma);
  mem_close(&mb);
}
END_TEST

/* ---- regions ---- */

START_TEST(mapped_once) {
  struct pair p;
  struct lane la, lb;
  pair_open(&p, 10000, MEM_BACKED, NULL);
  lanes_connect(&la, p.a, &lb, p.b, 2, NULL);
  settle();
  ck_assert_uint_eq(count_maps(p.a), 1);
  unsigned char *x = tp_shm.map(p.la.lane, mem_raddr(&p.lb, &p.mb, 7), 100);
  ck_assert_ptr_nonnull(x);
  ck_assert_ptr_eq(tp_shm.map(la.lane, mem_raddr(&p.lb, &p.mb, 7), 100), x);
  p.mb.at[7] = 0x5a;
  ck_assert_uint_eq(x[0], 0x5a);
  ck_assert_ptr_null(tp_shm.map(la.lane, mem_raddr(&p.lb, &p.mb, 7), 10000));
  lane_close(&p.la);
  ck_assert_uint_eq(x[0], 0x5a); /* the other lane still shows it */
  lane_close(&la);
  ck_assert_uint_eq(count_maps(p.a), 0);
  lane_close(&lb);
  pair_close(&p);
}
END_TEST

/* Regions come and go while the lane lives; what map() gave stays readable, what it did not give is unmapped. */
START_TEST(announce_and_withdraw) {
  struct pair p;
  struct mem m;
  pair_open(&p, 4096, MEM_PLAIN, NULL);
  ck_assert_uint_eq(count_maps(p.a), 0);
  mem_open(&m, p.b, 10000, MEM_BACKED, 0);
  m.at[9] = 1;
  struct tp_raddr at = mem_raddr(&p.lb, &m, 9);
  if (_i) {
    unsigned char *x = tp_shm.map(p.la.lane, at, 1); /* without a poll in between */
    ck_assert_ptr_nonnull(x);
    mem_close(&m);
    settle();
    ck_assert_uint_eq(x[0], 1);
  } else {
    settle();
    ck_assert_uint_eq(count_maps(p.a), 1);
    mem_close(&m);
    settle();
    ck_assert_uint_eq(count_maps(p.a), 0);
  }
  ck_assert_ptr_null(tp_shm.map(p.la.lane, at, 1));
  lanes_alive(&p.la, &p.lb);
  pair_close(&p);
}
END_TEST

/* Many withdrawn regions that were handed out: their number is bounded. */
START_TEST(kept_mappings_are_bounded) {
  struct pair p;
  pair_open(&p, 4096, MEM_PLAIN, NULL);
  for (uint32_t i = 0; i < SHM_KEPT_MAX + 50; i++) {
    struct mem m;
    mem_open(&m, p.b, 100, MEM_BACKED, 0);
    ck_assert_ptr_nonnull(tp_shm.map(p.la.lane, mem_raddr(&p.lb, &m, 0), 1));
    mem_close(&m);
  }
  settle();
  ck_assert_uint_eq(count_maps(p.a), SHM_KEPT_MAX);
  pair_close(&p);
}
END_TEST

/* A withdrawn region is not written any more, even by a writer that has not polled since. */
START_TEST(withdrawn_is_not_written) {
  struct pair p;
  pair_open(&p, 50000, MEM_BACKED, NULL);
  settle();
  struct tp_raddr at = mem_raddr(&p.lb, &p.mb, 0);
  memset(p.ma.at, 0x77, 50000);
  memset(p.mb.at, 0x22, 50000);
  tp_shm.mem_dereg(p.b->tp, p.mb.mr);
  put_one(&p.la, &p.ma, 0, 50000, at, 1, 0);
  UNTIL(p.lb.lost && p.la.lost);
  ck_assert_uint_eq(p.mb.at[0], 0x22);
  ck_assert_uint_eq(p.mb.at[49999], 0x22);
  ck_assert_ptr_nonnull(strstr(p.lb.text, "not inside memory that is registered"));
  mem_forget(&p.mb);
  pair_close(&p);
}
END_TEST

/* Announcements beyond what the socket holds wait for room; the lane works meanwhile. */
START_TEST(more_announcements_than_the_socket_holds) {
  enum { MANY = 1500 };
  struct pair p;
  struct tp_mr *mrs[MANY];
  pair_open(&p, MANY * 16, MEM_BACKED, NULL);
  for (uint32_t i = 0; i < MANY; i++) {
    struct tp_mem mem = {.addr = p.mb.at + i * 16, .len = 16, .fd = p.mb.fd, .fd_off = 4096 + i * 16};
    ck_assert_int_eq(tp_shm.mem_reg(p.b->tp, &mem, &mrs[i], NULL), 0);
  }
  ck_assert_uint_eq(p.lb.lane->wants_out, 1);
  memset(p.ma.at, 0x31, 16);
  put_one(&p.la, &p.ma, 0, 16, tp_shm.raddr(p.lb.lane, mrs[MANY - 1], p.mb.at + (MANY - 1) * 16), 1, 0);
  UNTIL(p.lb.notices == 1);
  ck_assert_uint_eq(p.mb.at[MANY * 16 - 1], 0x31);
  UNTIL(p.la.lane->views_n == MANY + 1);
  for (uint32_t i = 0; i < MANY; i++) tp_shm.mem_dereg(p.b->tp, mrs[i]);
  UNTIL(p.la.lane->views_n == 1);
  /* slots of withdrawn regions come back */
  uint32_t slots = p.b->tp->n_mr;
  for (uint32_t i = 0; i < MANY; i++) {
    struct tp_mem mem = {.addr = p.mb.at, .len = 16, .fd = -1};
    ck_assert_int_eq(tp_shm.mem_reg(p.b->tp, &mem, &mrs[i], NULL), 0);
    tp_shm.mem_dereg(p.b->tp, mrs[i]);
  }
  ck_assert_uint_eq(p.b->tp->n_mr, slots);
  pair_close(&p);
}
END_TEST

/* A region of one domain is told to lanes of that domain only. */
START_TEST(domains_do_not_see_each_other) {
  struct end *a = end_open(), *b = end_open();
  struct lane la[2], lb[2];
  struct mem m;
  mem_open(&m, b, 4096, MEM_BACKED, 7);
  for (uint32_t i = 0; i < 2; i++) {
    struct lane_options o = {.domain = i == 0 ? 7 : 8};
    lanes_connect(&la[i], a, &lb[i], b, 10 + i, &o);
  }
  settle();
  ck_assert_ptr_nonnull(tp_shm.map(la[0].lane, mem_raddr(&lb[0], &m, 0), 4096));
  ck_assert_ptr_null(tp_shm.map(la[1].lane, mem_raddr(&lb[1], &m, 0), 4096));
  for (int i = 0; i < 2; i++) lane_close(&la[i]), lane_close(&lb[i]);
  mem_close(&m);
}
END_TEST

START_TEST(bad_regions) {
  struct end *a = end_open();
  struct tp_mr *mr = NULL;
  agg_error_t err = {0};
  unsigned char bytes[64];
  int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ck_assert_int_eq(ftruncate(fd, 4096), 0);
  struct tp_mem mem = {.addr = bytes, .len = 4096, .fd = fd, .fd_off = 1};
  ck_assert_int_eq(tp_shm.mem_reg(a->tp, &mem, &mr, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "4096 bytes at 1"));
  mem.fd_off = UINT64_MAX;
  ck_assert_int_eq(tp_shm.mem_reg(a->tp, &mem, &mr, &err), AGG_EINVAL);
  mem.fd = 1000000;
  ck_assert_int_eq(tp_shm.mem_reg(a->tp, &mem, &mr, &err), AGG_EINVAL);
  ck_assert_ptr_null(mr);
  mem.fd = fd;
  mem.fd_off = 0;
  ck_assert_int_eq(tp_shm.mem_reg(a->tp, &mem, &mr, &err), 0);
  ck_assert_int_lt(ftruncate(fd, 100), 0); /* sealed by now */
  close(fd);
}
END_TEST

START_TEST(regions_run_out) {
  struct end *a = end_open();
  struct tp_mr *mr = NULL;
  agg_error_t err = {0};
  unsigned char bytes[64];
  struct tp_mem mem = {.addr = bytes, .len = sizeof bytes, .fd = -1};
  uint32_t n = 0;
  int rc;
  while ((rc = tp_shm.mem_reg(a->tp, &mem, &mr, &err)) == 0) n++;
  ck_assert_int_eq(rc, AGG_ELIMIT);
  ck_assert_uint_gt(n, 60000);
  tp_shm.mem_dereg(a->tp, mr);
  ck_assert_int_eq(tp_shm.mem_reg(a->tp, &mem, &mr, &err), 0);
}
END_TEST

/* ---- meeting ---- */

/* The active end is told to come again while nobody has opened its lane, and gets through later. */
START_TEST(comes_again) {
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb;
  lane_open(&la, a, b, 1, 1, NULL);
  for (int i = 0; i < 3; i++) {
    uint32_t dials = la.lane->dials;
    UNTIL(b->tp->guests != NULL && b->tp->guests->greeted);
    b->tp->guests->until_ns = 0;
    UNTIL(la.lane->dials > dials);
  }
  UNTIL(b->tp->guests != NULL && b->tp->guests->greeted);
  lane_open(&lb, b, a, 1, 0, NULL);
  UNTIL(la.connected && lb.connected);
  lanes_alive(&la, &lb);
  ck_assert_uint_eq(count_guests(b), 0);
  lane_close(&la);
  lane_close(&lb);
}
END_TEST

/* A lane whose other end never comes is given up, with words. */
START_TEST(given_up) {
  struct end *a = end_open(), *b = end_open();
  struct lane l;
  lane_open(&l, a, b, 1, _i, NULL);
  l.lane->until_ns = 0;
  UNTIL(l.lost);
  ck_assert_ptr_nonnull(strstr(l.text, _i ? "did not take the lane" : "did not come"));
  lane_close(&l);
}
END_TEST

START_TEST(listener_is_gone) {
  struct end *a = end_open(), *b = end_open();
  struct end gone = *b;
  struct lane l;
  ck_assert_int_eq(tp_shm.reach(a->tp, gone.address, gone.address_len), 1);
  end_close(b);
  ck_assert_int_eq(tp_shm.reach(a->tp, gone.address, gone.address_len), 0);
  lane_open(&l, a, &gone, 1, 1, NULL);
  UNTIL(l.lost);
  ck_assert_ptr_nonnull(strstr(l.text, "does not listen"));
  lane_close(&l);
}
END_TEST

START_TEST(who_is_reached) {
  struct end *a = end_open(), *b = end_open();
  struct shm_address x;
  memcpy(&x, b->address, sizeof x);
  ck_assert_int_eq(tp_shm.reach(a->tp, &x, sizeof x), 1);
  ck_assert_int_eq(tp_shm.reach(a->tp, a->address, a->address_len), 1); /* itself */
  ck_assert_int_eq(tp_shm.reach(a->tp, &x, sizeof x - 1), 0);
  ck_assert_int_eq(tp_shm.reach(a->tp, NULL, 0), 0);
  x.boot[3] ^= 1; /* another machine */
  ck_assert_int_eq(tp_shm.reach(a->tp, &x, sizeof x), 0);
  memcpy(&x, b->address, sizeof x);
  x.netns_ino ^= 1; /* another container */
  ck_assert_int_eq(tp_shm.reach(a->tp, &x, sizeof x), 0);
  memcpy(&x, b->address, sizeof x);
  x.name[10] ^= 1; /* a copy of this machine: same boot id, other sockets */
  ck_assert_int_eq(tp_shm.reach(a->tp, &x, sizeof x), 0);
  memcpy(&x, b->address, sizeof x);
  x.version++;
  ck_assert_int_eq(tp_shm.reach(a->tp, &x, sizeof x), 0);
  settle(); /* the knocks leave nothing behind */
  ck_assert_uint_eq(count_guests(b), 0);
}
END_TEST

/* Both ends of a lane in one transport. */
START_TEST(with_itself) {
  struct end *a = end_open();
  struct lane x, y;
  struct mem m, n;
  lanes_connect(&x, a, &y, a, 3, NULL);
  mem_open(&m, a, 70000, _i, 0);
  mem_open(&n, a, 70000, _i, 0);
  pattern_fill(m.at, 70000, 5);
  put_one(&x, &m, 0, 70000, mem_raddr(&y, &n, 0), 1, 1);
  UNTIL(x.sents == 1 && y.notices == 1);
  pattern_check(n.at, 70000, 5);
  lane_close(&x);
  UNTIL(y.lost);
  lane_close(&y);
  mem_close(&m);
  mem_close(&n);
}
END_TEST

/* ---- what it costs ---- */

static int count_fds(void) {
  int n = 0;
  for (int fd = 0; fd < 4096; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

/* One descriptor a lane and end: 100 communicators of 8 ranks and 4 lanes stay far below the usual limits. */
START_TEST(descriptors) {
  enum { LANES = 100 };
  struct end *a = end_open(), *b = end_open();
  struct lane *l = calloc(2 * LANES, sizeof *l);
  int before = count_fds();
  for (uint32_t i = 0; i < LANES; i++) lanes_connect(&l[2 * i], a, &l[2 * i + 1], b, i, NULL);
  settle();
  ck_assert_int_eq(count_fds() - before, 2 * LANES);
  for (uint32_t i = 0; i < 2 * LANES; i++) lane_close(&l[i]);
  ck_assert_int_eq(count_fds(), before);
  free(l);
}
END_TEST

/* Nothing is allocated by puts and polls. */
START_TEST(no_allocation) {
  struct pair p;
  pair_open(&p, 200000, MEM_BACKED, NULL);
  shm_force_path(p.a->tp, paths[_i]);
  settle();
  size_t before = mallinfo2().uordblks;
  for (uint32_t i = 0; i < 500; i++) {
    put_two(&p.la, &p.ma, 0, 64, 64 + 400 * (size_t)i, mem_raddr(&p.lb, &p.mb, 0), i, i + 1);
    UNTIL(p.la.sents == i + 1 && p.lb.notices == i + 1);
  }
  ck_assert_uint_eq(mallinfo2().uordblks, before);
  pair_close(&p);
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("shm");
  TCase *t = tcase_create("shm");
  conform_use(&shm);
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, every_path, 0, 4 * (int)ARRAY_LEN(paths));
  tcase_add_test(t, choice_of_path);
  tcase_add_test(t, bounce_flow);
  tcase_add_test(t, peer_does_not_poll);
  tcase_add_test(t, put_while_connecting);
  tcase_add_test(t, mapped_once);
  tcase_add_loop_test(t, announce_and_withdraw, 0, 2);
  tcase_add_test(t, kept_mappings_are_bounded);
  tcase_add_test(t, withdrawn_is_not_written);
  tcase_add_test(t, more_announcements_than_the_socket_holds);
  tcase_add_test(t, domains_do_not_see_each_other);
  tcase_add_test(t, bad_regions);
  tcase_add_test(t, regions_run_out);
  tcase_add_test(t, comes_again);
  tcase_add_loop_test(t, given_up, 0, 2);
  tcase_add_test(t, listener_is_gone);
  tcase_add_test(t, who_is_reached);
  tcase_add_loop_test(t, with_itself, 0, 2);
  tcase_add_test(t, descriptors);
  tcase_add_loop_test(t, no_allocation, 0, (int)ARRAY_LEN(paths));
  suite_add_tcase(s, t);
  return s;
}
