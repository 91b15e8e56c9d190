/* agg-perf must see every kind of wrong result: here the operations are done by hand, rightly and wrongly. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/perf.h"

#define RANKS 3u
#define ELEMS 257u

/* One operation on all ranks: their buffers, and a straightforward way to carry it out. */
struct world {
  struct part parts[RANKS];
  unsigned char *base[RANKS][2];
};

static void world_init(struct world *w, enum perf_op op, agg_dtype_t dtype, agg_redop_t redop, int inplace) {
  size_t size = agg_dtype_size(dtype), cap = ELEMS * RANKS * size;
  const struct op_row *row = op_row(op);
  for (uint32_t r = 0; r < RANKS; r++) {
    struct part *p = &w->parts[r];
    *p = (struct part){
        .op = op, .dtype = dtype, .redop = redop, .rank = r, .ranks = RANKS, .root = 1, .count = ELEMS, .round = 5, .inplace = inplace};
    for (int i = 0; i < 2; i++) w->base[r][i] = calloc(1, cap);
    p->send = w->base[r][0];
    p->recv = inplace ? w->base[r][0] : w->base[r][1];
    if (inplace && row->recv_blocks && part_recv_elems(p) > 0) p->send = w->base[r][0] + ELEMS * size * r;
    if (inplace && row->send_blocks && part_send_elems(p) > 0) p->recv = w->base[r][0] + ELEMS * size * r;
    check_fill(p);
  }
}

static void world_fini(struct world *w) {
  for (uint32_t r = 0; r < RANKS; r++) {
    for (int i = 0; i < 2; i++) free(w->base[r][i]);
  }
}

static uint64_t world_wrong(const struct world *w) {
  uint64_t wrong = 0;
  for (uint32_t r = 0; r < RANKS; r++) wrong += check_count_wrong(&w->parts[r]);
  return wrong;
}

static struct number fold(agg_redop_t op, struct number a, struct number b, int is_u64) {
  uint64_t x = (uint64_t)a.i, y = (uint64_t)b.i;
  int less = is_u64 ? x < y : a.i < b.i;
  switch (op) {
    case AGG_PROD:
      return (struct number){a.f * b.f, (int64_t)(x * y)};
    case AGG_MIN:
      return (struct number){fmin(a.f, b.f), less ? a.i : b.i};
    case AGG_MAX:
      return (struct number){fmax(a.f, b.f), less ? b.i : a.i};
    default:
      return (struct number){a.f + b.f, (int64_t)(x + y)};
  }
}

/* Carries the operation out on copies of the inputs; `skip`: a rank whose contribution is left out, or RANKS. */
static void world_run(struct world *w, uint32_t skip) {
  const struct part *any = &w->parts[0];
  size_t size = agg_dtype_size(any->dtype), cap = ELEMS * RANKS * size;
  const struct op_row *row = op_row(any->op);
  unsigned char *in[RANKS];
  for (uint32_t r = 0; r < RANKS; r++) {
    in[r] = calloc(1, cap);
    if (part_send_elems(&w->parts[r]) > 0) memcpy(in[r], w->parts[r].send, part_send_elems(&w->parts[r]) * size);
  }
  for (uint32_t r = 0; r < RANKS; r++) {
    struct part *p = &w->parts[r];
    for (size_t i = 0; i < part_recv_elems(p); i++) {
      unsigned char *out = (unsigned char *)p->recv + i * size;
      size_t at = row->send_blocks ? r * ELEMS + i : row->recv_blocks ? i % ELEMS : i;
      uint32_t from = row->recv_blocks ? (uint32_t)(i / ELEMS) : p->root;
      if (!row->reduces) {
        memcpy(out, in[from] + at * size, size);
        continue;
      }
      uint32_t first = skip == 0 ? 1 : 0;
      struct number sum = number_load(p->dtype, in[first] + at * size);
      for (uint32_t s = first + 1; s < RANKS; s++) {
        if (s != skip) sum = fold(p->redop, sum, number_load(p->dtype, in[s] + at * size), p->dtype == AGG_U64);
      }
      if (p->redop == AGG_AVG) sum = (struct number){sum.f / RANKS, sum.i / (int64_t)RANKS};
      number_store(p->dtype, out, sum);
    }
  }
  for (uint32_t r = 0; r < RANKS; r++) free(in[r]);
}

/* Runs fn over all operations, types, operators and places. */
static void for_all(void (*fn)(struct world *w)) {
  for (int op = 0; op < OP_BARRIER; op++) {
    for (int d = 0; d < AGG_DTYPE_COUNT; d++) {
      for (int redop = 0; redop < (op_row((enum perf_op)op)->reduces ? AGG_REDOP_COUNT : 1); redop++) {
        for (int inplace = 0; inplace < 2; inplace++) {
          struct world w;
          world_init(&w, (enum perf_op)op, (agg_dtype_t)d, (agg_redop_t)redop, inplace);
          fn(&w);
          world_fini(&w);
        }
      }
    }
  }
}

static const char *describe(const struct world *w) {
  static char text[128];
  const struct part *p = &w->parts[0];
  snprintf(text, sizeof(text), "%s %s %s %s", op_row(p->op)->name, agg_dtype_name(p->dtype), agg_redop_name(p->redop),
           p->inplace ? "in" : "out");
  return text;
}

static void expect_right(struct world *w) {
  world_run(w, RANKS);
  ck_assert_msg(world_wrong(w) == 0, "%s: %llu wrong", describe(w), (unsigned long long)world_wrong(w));
}
START_TEST(right_results_pass) { for_all(expect_right); }
END_TEST

/* Out of place every element that should have been written is wrong; in place a rank's own block may be right by itself. */
static void expect_noop_wrong(struct world *w) {
  uint64_t elems = 0;
  for (uint32_t r = 0; r < RANKS; r++) elems += part_recv_elems(&w->parts[r]);
  if (!w->parts[0].inplace) {
    ck_assert_msg(world_wrong(w) == elems, "%s: %llu of %llu wrong", describe(w), (unsigned long long)world_wrong(w),
                  (unsigned long long)elems);
  } else {
    ck_assert_msg(world_wrong(w) > 0, "%s", describe(w));
  }
}
START_TEST(doing_nothing_is_wrong) { for_all(expect_noop_wrong); }
END_TEST

static void expect_lost_contribution_wrong(struct world *w) {
  if (!op_row(w->parts[0].op)->reduces) return;
  for (uint32_t skip = 0; skip < RANKS; skip++) {
    for (uint32_t r = 0; r < RANKS; r++) check_fill(&w->parts[r]);
    world_run(w, skip);
    ck_assert_msg(world_wrong(w) > 0, "%s without rank %u", describe(w), skip);
  }
}
START_TEST(a_lost_contribution_is_wrong) { for_all(expect_lost_contribution_wrong); }
END_TEST

static void expect_stale_wrong(struct world *w) {
  world_run(w, RANKS);
  for (uint32_t r = 0; r < RANKS; r++) w->parts[r].round++;
  ck_assert_msg(world_wrong(w) > 0, "%s", describe(w));
}
START_TEST(the_result_of_another_iteration_is_wrong) { for_all(expect_stale_wrong); }
END_TEST

static void expect_one_element_wrong(struct world *w) {
  struct part *p = &w->parts[1]; /* the root: it receives in every operation */
  size_t size = agg_dtype_size(p->dtype);
  world_run(w, RANKS);
  unsigned char *last = (unsigned char *)p->recv + (part_recv_elems(p) - 1) * size;
  last[size - 1] ^= 0x40;
  ck_assert_msg(world_wrong(w) == 1, "%s", describe(w));
}
START_TEST(one_flipped_bit_is_one_wrong_element) { for_all(expect_one_element_wrong); }
END_TEST

START_TEST(neighbours_exchanged_are_wrong) {
  struct world w;
  world_init(&w, OP_ALLREDUCE, AGG_F32, AGG_SUM, 0);
  world_run(&w, RANKS);
  float *recv = w.parts[0].recv, first = recv[0];
  recv[0] = recv[1];
  recv[1] = first;
  ck_assert_uint_eq(world_wrong(&w), 2);
  world_fini(&w);
}
END_TEST

START_TEST(sums_of_many_ranks_stay_exact) {
  struct part p = {.op = OP_ALLREDUCE, .dtype = AGG_BF16, .redop = AGG_SUM, .ranks = 256, .count = ELEMS};
  uint16_t sum[ELEMS], own[ELEMS], scratch[ELEMS];
  float total[ELEMS] = {0};
  for (uint32_t r = 0; r < p.ranks; r++) {
    p.rank = r;
    p.send = own;
    p.recv = scratch;
    check_fill(&p);
    for (size_t i = 0; i < ELEMS; i++) {
      total[i] = (float)bfloat_to_double(bfloat_from_double((double)total[i] + bfloat_to_double(own[i]))); /* rounded at each hop */
    }
  }
  for (size_t i = 0; i < ELEMS; i++) sum[i] = bfloat_from_double((double)total[i]);
  p.recv = sum;
  ck_assert_uint_eq(check_count_wrong(&p), 0);
}
END_TEST

START_TEST(bus_bandwidth_is_that_of_nccl_tests) {
  ck_assert_double_eq_tol(op_bus_factor(OP_ALLREDUCE, 4), 1.5, 1e-12);
  ck_assert_double_eq_tol(op_bus_factor(OP_REDUCE, 4), 1, 1e-12);
  ck_assert_double_eq_tol(op_bus_factor(OP_BROADCAST, 4), 1, 1e-12);
  ck_assert_double_eq_tol(op_bus_factor(OP_REDUCE_SCATTER, 4), 0.75, 1e-12);
  ck_assert_double_eq_tol(op_bus_factor(OP_ALLGATHER, 4), 0.75, 1e-12);
  ck_assert_double_eq_tol(op_bus_factor(OP_ALLREDUCE, 1), 0, 1e-12);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("perf_check");
  TCase *t = tcase_create("results");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, right_results_pass);
  tcase_add_test(t, doing_nothing_is_wrong);
  tcase_add_test(t, a_lost_contribution_is_wrong);
  tcase_add_test(t, the_result_of_another_iteration_is_wrong);
  tcase_add_test(t, one_flipped_bit_is_one_wrong_element);
  tcase_add_test(t, neighbours_exchanged_are_wrong);
  tcase_add_test(t, sums_of_many_ranks_stay_exact);
  tcase_add_test(t, bus_bandwidth_is_that_of_nccl_tests);
  suite_add_tcase(s, t);
  return s;
}
