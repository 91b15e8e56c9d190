/*
 * Conformance: put with notice, map, and registered memory as long as nothing goes wrong. Bytes exactly in place and nothing around
 * them, order of notices and of TP_SENT, what may be outstanding.
 */
#include <string.h>

#include "conform.h"

#define OPS (conform_current()->ops)
#define MARGIN 256

static const size_t sizes[] = {0, 1, 63, 64, 65, 127, 4095, 4096, 4097, 65536, 1u << 20, (1u << 20) + 13, 8u << 20};
#define N_SIZES ((int)ARRAY_LEN(sizes))

static void check_place(const struct mem *m, size_t off, size_t len, uint32_t seed) {
  pattern_check(m->at + off, len, seed);
  for (size_t i = 0; i < m->len; i++) {
    if (i == off) i += len;
    if (i < m->len && m->at[i] != 0x11) ck_abort_msg("byte %zu was written; the put was %zu bytes at %zu", i, len, off);
  }
  mem_check_guards(m);
}

/* _i: size, plain or backed memory */
START_TEST(bytes_in_place) {
  size_t len = sizes[_i / 2];
  struct pair p;
  pair_open(&p, len + 2 * MARGIN, _i & 1, NULL);
  for (int how = 0; how < 4; how++) { /* one piece, header and rest, all of it in the header, an odd place */
    size_t head = how == 1 ? MIN_OF(len, 64u) : MIN_OF(len, 1u), off = how == 3 ? MARGIN - 1 : MARGIN;
    uint32_t seed = (uint32_t)(how + 1);
    pattern_fill(p.ma.at + off, len, seed);
    memset(p.mb.at, 0x11, p.mb.len);
    uint32_t at = p.lb.notices, sent = p.la.sents;
    if (how == 0 || how == 3)
      put_one(&p.la, &p.ma, off, len, mem_raddr(&p.lb, &p.mb, off), 0xfffffff0u + seed, seed);
    else
      put_two(&p.la, &p.ma, off, head, len, mem_raddr(&p.lb, &p.mb, off), 0xfffffff0u + seed, seed);
    UNTIL(p.lb.notices > at);
    ck_assert_uint_eq(p.lb.notice[at].notice, 0xfffffff0u + seed);
    ck_assert_uint_eq(p.lb.notice[at].bytes, len);
    check_place(&p.mb, off, len, seed);
    UNTIL(p.la.sents > sent);
    ck_assert_uint_eq(p.la.sent[sent], seed);
  }
  pair_close(&p);
}
END_TEST

START_TEST(no_bytes_need_no_place) {
  struct pair p;
  pair_open(&p, 64, MEM_PLAIN, NULL);
  struct tp_src nothing[2] = {{0}, {0}};
  OPS->put(p.la.lane, nothing, 1, (struct tp_raddr){0}, 1, 9);
  OPS->put(p.la.lane, nothing, 2, (struct tp_raddr){.key = 0xdeadbeef, .off = UINT64_MAX}, 2, 10);
  UNTIL(p.lb.notices == 2 && p.la.sents == 2);
  ck_assert_uint_eq(p.lb.notice[1].notice, 2);
  ck_assert_uint_eq(p.lb.notice[1].bytes, 0);
  pair_close(&p);
}
END_TEST

START_TEST(sources_need_no_registration) {
  if (!(OPS->caps & TP_CAP_ANY_SOURCE)) return;
  static unsigned char local[300000];
  struct pair p;
  pair_open(&p, sizeof local, MEM_BACKED, NULL);
  pattern_fill(local, sizeof local, 5);
  struct tp_src src = {.base = local, .len = sizeof local};
  OPS->put(p.la.lane, &src, 1, mem_raddr(&p.lb, &p.mb, 0), 1, 9);
  UNTIL(p.lb.notices == 1 && p.la.sents == 1);
  pattern_check(p.mb.at, sizeof local, 5);
  pair_close(&p);
}
END_TEST

/* ---- order ---- */

#define SLOTS 16
#define SLOT_BYTES 20000

struct stream {
  struct mem *src, *dst;
  struct lane *to;
  uint32_t posted, landed, expect_reported;
};

static size_t stream_len(uint32_t n) { return n % 7 == 0 ? 0 : n % 5 == 0 ? SLOT_BYTES : (n * 977u) % 700; }

/* At the notice all bytes of its put are there. */
static void stream_landed(struct lane *l, uint32_t notice, uint32_t bytes) {
  struct stream *s = l->data;
  ck_assert_uint_eq(notice, s->landed);
  ck_assert_uint_eq(bytes, stream_len(notice));
  pattern_check(s->dst->at + (size_t)(notice % SLOTS) * SLOT_BYTES, bytes, notice);
  s->landed++;
}

/* TP_SENT: the source is ours again, and is overwritten at once. */
static void stream_sent(struct lane *l, uint64_t token) {
  struct stream *s = l->data;
  while (s->expect_reported % 3 == 2) s->expect_reported++; /* those asked for no report */
  ck_assert_uint_eq(token, s->expect_reported + 1);
  s->expect_reported++;
  memset(s->src->at + (size_t)((token - 1) % SLOTS) * SLOT_BYTES, 0xdd, SLOT_BYTES);
}

static void stream_post(struct lane *l, struct stream *s) {
  uint32_t n = s->posted++;
  size_t len = stream_len(n), off = (size_t)(n % SLOTS) * SLOT_BYTES;
  pattern_fill(s->src->at + off, len, n);
  uint64_t token = n % 3 == 2 ? 0 : n + 1;
  if (n % 2 == 0)
    put_one(l, s->src, off, len, mem_raddr(s->to, s->dst, off), n, token);
  else
    put_two(l, s->src, off, MIN_OF(len, 64u), len, mem_raddr(s->to, s->dst, off), n, token);
}

/* Not more than SLOTS are under way, and a slot is free when its notice has come and its report, where one was asked for. */
static int stream_free(const struct stream *s) {
  uint32_t n = s->posted;
  if (n < SLOTS) return 1;
  uint32_t old = n - SLOTS;
  return s->landed > old && s->expect_reported > old - (old % 3 == 2);
}

START_TEST(order_of_notices_and_reports) {
  enum { N = 3000 };
  struct pair p;
  struct stream ab;
  struct lane_options o = {.depth = SLOTS};
  if ((_i & 2) && !conform_current()->no_sleep) turn_sleeping(1);
  pair_open(&p, SLOTS * SLOT_BYTES, _i & 1, &o);
  ab = (struct stream){.src = &p.ma, .dst = &p.mb, .to = &p.lb};
  p.la.data = p.lb.data = &ab;
  p.la.on_sent = stream_sent;
  p.lb.on_notice = stream_landed;
  while (ab.posted < N) {
    while (ab.posted < N && stream_free(&ab)) stream_post(&p.la, &ab);
    UNTIL(ab.posted == N || stream_free(&ab));
  }
  UNTIL(ab.landed == N && ab.expect_reported >= N - 1);
  pair_close(&p);
}
END_TEST

/* ---- depth ---- */

START_TEST(depth_outstanding_both_ways) {
  enum { DEPTH = 32 };
  size_t len = _i & 2 ? 256 << 10 : 48;
  struct pair p;
  struct lane_options o = {.depth = DEPTH};
  pair_open(&p, 2 * DEPTH * len, _i & 1, &o); /* first half: source, second half: target */
  struct mem *ms[2] = {&p.ma, &p.mb};
  struct lane *ls[2] = {&p.la, &p.lb};
  for (int round = 0; round < 3; round++) {
    for (int e = 0; e < 2; e++) {
      pattern_fill(ms[e]->at, DEPTH * len, (uint32_t)(e + 10 * round));
      memset(ms[e]->at + DEPTH * len, 0, DEPTH * len);
    }
    for (size_t i = 0; i < DEPTH; i++) {
      for (int e = 0; e < 2; e++) {
        struct tp_raddr to = e == 0 ? p.la.window : p.lb.window;
        to.off += (DEPTH + i) * len;
        put_one(ls[e], ms[e], i * len, len, to, (uint32_t)i, i + 1);
      }
    }
    uint32_t all = DEPTH * (uint32_t)(round + 1);
    UNTIL(p.la.notices == all && p.lb.notices == all && p.la.sents == all && p.lb.sents == all);
    for (int e = 0; e < 2; e++) {
      pattern_check(ms[1 - e]->at + DEPTH * len, DEPTH * len, (uint32_t)(e + 10 * round));
      for (uint32_t i = 0; i < DEPTH; i++) ck_assert_uint_eq(ls[e]->sent[all - DEPTH + i], i + 1);
      for (uint32_t i = 0; i < DEPTH; i++) ck_assert_uint_eq(ls[e]->notice[all - DEPTH + i].notice, i);
    }
  }
  pair_close(&p);
}
END_TEST

START_TEST(depth_of_one) {
  struct pair p;
  struct lane_options o = {.depth = 1};
  pair_open(&p, 100000, MEM_BACKED, &o);
  for (uint32_t i = 0; i < 200; i++) {
    put_one(&p.la, &p.ma, 0, i % 2 ? 100000 : 10, mem_raddr(&p.lb, &p.mb, 0), i, i + 1);
    UNTIL(p.la.sents == i + 1);
  }
  UNTIL(p.lb.notices == 200);
  pair_close(&p);
}
END_TEST

/* ---- regions ---- */

START_TEST(overlapping_regions) {
  struct pair p;
  pair_open(&p, 8192, _i, NULL);
  struct tp_mr *inner;
  struct tp_mem mem = {.addr = p.mb.at + 1000, .len = 100, .fd = p.mb.fd, .fd_off = 4096 + 1000};
  ck_assert_int_eq(OPS->mem_reg(p.b->tp, &mem, &inner, NULL), 0);
  struct tp_raddr in = OPS->raddr(p.lb.lane, inner, p.mb.at + 1000), out = mem_raddr(&p.lb, &p.mb, 1000);
  ck_assert_uint_ne(in.key, out.key);
  ck_assert_uint_ne(in.key, 0);
  pattern_fill(p.ma.at, 100, 3);
  put_one(&p.la, &p.ma, 0, 100, in, 1, 0);
  UNTIL(p.lb.notices == 1);
  pattern_check(p.mb.at + 1000, 100, 3);
  OPS->mem_dereg(p.b->tp, inner);
  pattern_fill(p.ma.at, 100, 4);
  put_one(&p.la, &p.ma, 0, 100, out, 2, 0);
  UNTIL(p.lb.notices == 2);
  pattern_check(p.mb.at + 1000, 100, 4);
  pair_close(&p);
}
END_TEST

START_TEST(many_regions) {
  enum { N = 300 };
  static struct tp_mr *mr[N];
  static unsigned char target[N * 16];
  struct pair p;
  pair_open(&p, 64, MEM_PLAIN, NULL);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < N; i++) {
      struct tp_mem mem = {.addr = target + i * 16, .len = 16, .fd = -1};
      ck_assert_int_eq(OPS->mem_reg(p.b->tp, &mem, &mr[i], NULL), 0);
    }
    for (uint32_t i = 0; i < N; i++) {
      pattern_fill(p.ma.at, 16, i + 1);
      put_one(&p.la, &p.ma, 0, 16, OPS->raddr(p.lb.lane, mr[i], target + i * 16), i, i + 1);
      uint32_t done = (uint32_t)round * N + i + 1;
      UNTIL(p.lb.notices == done && p.la.sents == done);
    }
    for (uint32_t i = 0; i < N; i++) pattern_check(target + i * 16, 16, i + 1);
    for (int i = 0; i < N; i++) OPS->mem_dereg(p.b->tp, mr[(i * 7) % N]);
  }
  pair_close(&p);
}
END_TEST

START_TEST(own_domain_may_write) {
  struct pair p;
  struct lane_options o = {.domain = 77};
  pair_open(&p, 4096, _i, &o);
  pattern_fill(p.ma.at, 4096, 8);
  put_one(&p.la, &p.ma, 0, 4096, p.la.window, 1, 0);
  UNTIL(p.lb.notices == 1);
  pattern_check(p.mb.at, 4096, 8);
  pair_close(&p);
}
END_TEST

/* Lanes of several domains in one transport: what belongs to no domain, every one of their peers may write; what belongs to one, its own
 * may. Each lane has a name of its own for it. */
START_TEST(several_domains) {
  enum { N = 3 };
  static struct lane la[N], lb[N];
  struct end *a = end_open(), *b = end_open();
  struct mem from, all, own[N];
  mem_open(&from, a, 4096, _i, 0);
  mem_open(&all, b, 4096, _i, 0);
  for (uint32_t i = 0; i < N; i++) {
    struct lane_options o = {.domain = i * 1000, .index = i};
    lanes_connect(&la[i], a, &lb[i], b, 300 + i, &o);
    mem_open(&own[i], b, 4096, _i, i * 1000);
  }
  for (uint32_t i = 0; i < N; i++) {
    pattern_fill(from.at, 4096, i + 1);
    put_one(&la[i], &from, 0, 4096, mem_raddr(&lb[i], &all, 0), 1, 1);
    put_one(&la[i], &from, 0, 4096, mem_raddr(&lb[i], &own[i], 0), 2, 2);
    UNTIL((lb[i].notices == 2 && la[i].sents == 2) || la[i].lost || lb[i].lost);
    ck_assert_msg(!la[i].lost && !lb[i].lost, "domain %u: %s %s", i, la[i].text, lb[i].text);
    pattern_check(all.at, 4096, i + 1);
    pattern_check(own[i].at, 4096, i + 1);
  }
  for (uint32_t i = 0; i < N; i++) lane_close(&la[i]), lane_close(&lb[i]), mem_close(&own[i]);
  mem_close(&from);
  mem_close(&all);
}
END_TEST

/* Every transport says over how many NICs it deals lanes, and connects lanes of any index. */
START_TEST(lanes_of_any_index) {
  struct end *a = end_open(), *b = end_open();
  static const uint32_t index[] = {0, 1, 2, 15, UINT32_MAX};
  struct tp_port ports[2] = {{.name = ""}, {.name = "untouched"}};
  unsigned n = OPS->ports(a->tp, ports, 1);
  ck_assert_uint_eq(OPS->ports(a->tp, NULL, 0), n);
  ck_assert_str_eq(ports[1].name, "untouched");
  ck_assert(n == 0 || (ports[0].name[0] != '\0' && memchr(ports[0].name, '\0', sizeof ports[0].name) != NULL));
  for (uint32_t i = 0; i < ARRAY_LEN(index); i++) {
    struct lane la, lb;
    struct lane_options o = {.index = index[i]};
    lanes_connect(&la, a, &lb, b, 400 + i, &o);
    lanes_alive(&la, &lb);
    lane_close(&la);
    lane_close(&lb);
  }
}
END_TEST

/* ---- map ---- */

START_TEST(mapping) {
  struct pair p;
  pair_open(&p, 65536, MEM_BACKED, NULL);
  struct tp_raddr at = mem_raddr(&p.lb, &p.mb, 100);
  pattern_fill(p.mb.at, 65536, 2);
  lanes_alive(&p.la, &p.lb);
  settle();
  unsigned char *m = OPS->map(p.la.lane, at, 65536 - 100);
  if (!(OPS->caps & TP_CAP_MAP)) {
    ck_assert_ptr_null(m);
  } else {
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(memcmp(m, p.mb.at + 100, 65536 - 100), 0);
    m[5] ^= 0xff;
    ck_assert_uint_eq(p.mb.at[105], m[5]);
    m[5] ^= 0xff;
    ck_assert_ptr_null(OPS->map(p.la.lane, at, 65536 - 99));
    ck_assert_ptr_null(OPS->map(p.la.lane, (struct tp_raddr){.key = at.key, .off = UINT64_MAX}, 2));
    ck_assert_ptr_null(OPS->map(p.la.lane, (struct tp_raddr){.key = at.key, .off = 1}, SIZE_MAX));
    ck_assert_ptr_null(OPS->map(p.la.lane, (struct tp_raddr){.key = 0}, 1));
    ck_assert_ptr_null(OPS->map(p.la.lane, (struct tp_raddr){.key = at.key ^ 0x5a5a5a5a}, 1));
    ck_assert_int_eq(OPS->shut(p.la.lane), 0);
  }
  lanes_alive(&p.la, &p.lb);
  pair_close(&p);
}
END_TEST

/* ---- everything at once ---- */

#define STRESS_LANES 6
#define STRESS_SLOTS 8
#define STRESS_BYTES 70000

struct stress {
  struct lane a, b;
  struct mem src, dst; /* at the ends of a and b */
  struct rng rng;
  uint32_t posted, landed, sent, len[STRESS_SLOTS], seed[STRESS_SLOTS];
};

static void stress_landed(struct lane *l, uint32_t notice, uint32_t bytes) {
  struct stress *s = l->data;
  ck_assert_uint_eq(notice, s->landed);
  uint32_t slot = notice % STRESS_SLOTS;
  ck_assert_uint_eq(bytes, s->len[slot]);
  pattern_check(s->dst.at + (size_t)slot * STRESS_BYTES, bytes, s->seed[slot]);
  s->landed++;
}

static void stress_sent(struct lane *l, uint64_t token) {
  struct stress *s = l->data;
  ck_assert_uint_eq(token, ++s->sent);
}

static void stress_post(struct stress *s) {
  uint32_t n = s->posted++, slot = n % STRESS_SLOTS;
  uint64_t kind = rng_below(&s->rng, 4);
  s->len[slot] = (uint32_t)rng_below(&s->rng, kind == 0 ? STRESS_BYTES : kind == 1 ? 5000 : 200);
  s->seed[slot] = n * 31 + 7;
  size_t off = (size_t)slot * STRESS_BYTES, head = rng_below(&s->rng, 65);
  pattern_fill(s->src.at + off, s->len[slot], s->seed[slot]);
  if (kind & 1)
    put_one(&s->a, &s->src, off, s->len[slot], mem_raddr(&s->b, &s->dst, off), n, n + 1);
  else
    put_two(&s->a, &s->src, off, MIN_OF(head, s->len[slot]), s->len[slot], mem_raddr(&s->b, &s->dst, off), n, n + 1);
}

static uint32_t stress_progress(const struct stress *st) {
  uint32_t n = 0;
  for (int i = 0; i < STRESS_LANES; i++) n += st[i].landed + st[i].sent;
  return n;
}

START_TEST(stress) {
  enum { N = 250 };
  static struct stress st[STRESS_LANES];
  struct end *ends[3] = {end_open(), end_open(), end_open()};
  struct lane_options o = {.depth = STRESS_SLOTS};
  uint32_t done = 0;
  for (uint32_t i = 0; i < STRESS_LANES; i++) {
    struct stress *s = &st[i];
    struct end *from = ends[i % 3], *to = ends[(i + 1 + i / 3) % 3];
    memset(s, 0, sizeof *s);
    s->rng.state = (uint64_t)_i * 1000 + i;
    mem_open(&s->src, from, STRESS_SLOTS * STRESS_BYTES, (int)(i & 1), 0);
    mem_open(&s->dst, to, STRESS_SLOTS * STRESS_BYTES, (int)(i & 1), 0);
    if (i & 1)
      lanes_connect(&s->a, from, &s->b, to, 200 + i, &o);
    else
      lanes_connect(&s->b, to, &s->a, from, 200 + i, &o);
    s->a.data = s->b.data = s;
    s->a.on_sent = stress_sent;
    s->b.on_notice = stress_landed;
  }
  while (done < STRESS_LANES) {
    uint32_t before = stress_progress(st);
    done = 0;
    for (struct stress *s = st; s < st + STRESS_LANES; s++) {
      while (s->posted < N && s->posted < MIN_OF(s->landed, s->sent) + STRESS_SLOTS) stress_post(s);
      done += s->landed == N && s->sent == N;
    }
    if (done == STRESS_LANES) break;
    UNTIL(stress_progress(st) > before);
  }
  for (struct stress *s = st; s < st + STRESS_LANES; s++) {
    lane_close(&s->a);
    lane_close(&s->b);
    mem_close(&s->src);
    mem_close(&s->dst);
  }
}
END_TEST

void conform_add_put(Suite *s) {
  TCase *t = tcase_create("put");
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, bytes_in_place, 0, 2 * N_SIZES);
  tcase_add_test(t, no_bytes_need_no_place);
  tcase_add_test(t, sources_need_no_registration);
  tcase_add_loop_test(t, order_of_notices_and_reports, 0, 4);
  tcase_add_loop_test(t, depth_outstanding_both_ways, 0, 4);
  tcase_add_test(t, depth_of_one);
  tcase_add_loop_test(t, overlapping_regions, 0, 2);
  tcase_add_test(t, many_regions);
  tcase_add_loop_test(t, own_domain_may_write, 0, 2);
  tcase_add_loop_test(t, several_domains, 0, 2);
  tcase_add_test(t, lanes_of_any_index);
  tcase_add_test(t, mapping);
  tcase_add_loop_test(t, stress, 0, 10);
  suite_add_tcase(s, t);
}
