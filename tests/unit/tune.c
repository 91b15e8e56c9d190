/* Changes of plan by measured times: several ranks that see different times, and a round that carries the minimum between them. */
#include "tune.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define RANKS 3u
#define BYTES 1000000u /* of every operation */

static struct plan plan;
static struct tune *rank[RANKS];
static uint32_t seq; /* next operation */

/* star, direct and ring; star for all sizes; predicted as given, in milliseconds. */
static void begin(float star, float direct, float ring) {
  const float ms[] = {star, direct, ring};
  static const unsigned kinds[] = {FOREST_STAR, FOREST_DIRECT, FOREST_RING};
  plan = (struct plan){.workers = RANKS, .servers = 1, .lanes = 1, .window = 4, .chunk_bytes = 65536, .n_forests = 3, .tunable = 1};
  for (uint32_t f = 0; f < plan.n_forests; f++) {
    ck_assert_int_eq(forest_init(&plan.forest[f], kinds[f], RANKS, 1, NULL), AGG_OK);
    for (uint32_t s = 0; s < PLAN_SIZES; s++) plan.predicted[s][f] = ms[f] / 1e3f;
  }
  seq = 0;
  for (uint32_t r = 0; r < RANKS; r++) {
    rank[r] = malloc(sizeof *rank[r]);
    tune_init(rank[r], &plan, NULL, 1, r);
  }
}

static void end(void) {
  for (uint32_t r = 0; r < RANKS; r++) free(rank[r]);
}

/* What the library's own allreduce does. */
static void agree(void) {
  for (uint32_t i = 0; i < TUNE_VALUES; i++) {
    float least = INFINITY;
    for (uint32_t r = 0; r < RANKS; r++) least = fminf(least, rank[r]->give[i]);
    for (uint32_t r = 0; r < RANKS; r++) rank[r]->agreed[i] = least;
  }
}

/* One operation on all ranks, whose true time over each forest is ms[forest]; rank 0 called last, the others have waited for it. Returns
 * its forest, which must be the same everywhere. */
static uint32_t run_one(const float *ms, int overlapped) {
  uint32_t forest = 0, sample;
  for (uint32_t r = 0; r < RANKS; r++) {
    tune_settle(rank[r], seq);
    uint32_t f = tune_forest(rank[r], BYTES, &sample), generation = atomic_load(&rank[r]->generation);
    if (r == 0) forest = f;
    ck_assert_uint_eq(f, forest);
    if (sample != TUNE_NONE && !(overlapped && r == 1)) tune_sample(rank[r], generation, sample, ((double)ms[f] + 5.0 * r) / 1e3);
  }
  seq++;
  uint32_t due = 0;
  for (uint32_t r = 0; r < RANKS; r++) due += (uint32_t)tune_round_due(rank[r], seq);
  ck_assert(due == 0 || due == RANKS);
  if (due == RANKS) agree(), seq++;
  return forest;
}

static uint32_t run(uint32_t n, const float *ms, int overlapped) {
  uint32_t forest = 0;
  while (n-- > 0) forest = run_one(ms, overlapped);
  return forest;
}

#define CYCLE (TUNE_SAMPLE_OPS + TUNE_LAG)

START_TEST(a_plan_that_keeps_its_promise_stays) {
  const float ms[] = {10, 1, 1}; /* others would be faster; nobody knows */
  begin(10, 9.5f, 12);
  ck_assert_uint_eq(run(6 * CYCLE, ms, 0), 0);
  end();
}
END_TEST

START_TEST(one_that_is_slower_than_predicted_is_left) {
  const float ms[] = {30, 16, 12};
  begin(10, 12, 13);
  ck_assert_uint_eq(run(CYCLE - 2, ms, 0), 0); /* a round is an operation too */
  ck_assert_uint_eq(run(2, ms, 0), 1);         /* direct promises the most: 12 against 30 measured */
  ck_assert_uint_eq(run(8 * CYCLE, ms, 0), 2); /* direct took 16 for 12, so ring, which promises 13 and takes 12, is tried, and stays */
  end();
}
END_TEST

START_TEST(a_worse_one_is_left_again) {
  const float ms[] = {15, 40, 90};
  begin(10, 9, 16);
  ck_assert_uint_eq(run(CYCLE + 1, ms, 0), 1);
  ck_assert_uint_eq(run(CYCLE, ms, 0), 0); /* 15 was shown, 40 is worse */
  ck_assert_uint_eq(run(8 * CYCLE, ms, 0), 0);
  end();
}
END_TEST

START_TEST(a_rank_that_waits_for_others_does_not_count) {
  const float ms[] = {10, 1, 1}; /* rank 2 sees 20 ms, and still the plan keeps its promise */
  begin(10, 2, 2);
  ck_assert_uint_eq(run(3 * CYCLE, ms, 0), 0);
  end();
}
END_TEST

START_TEST(overlapped_operations_say_nothing_at_that_rank) {
  const float ms[] = {30, 5, 5};
  begin(10, 5, 5);
  ck_assert_uint_eq(run(CYCLE + 1, ms, 1), 1); /* rank 1 has no times; the others' do */
  end();
}
END_TEST

START_TEST(late_samples_of_an_earlier_round_are_dropped) {
  begin(10, 5, 5);
  uint32_t sample, generation = atomic_load(&rank[0]->generation);
  const float ms[] = {10, 10, 10};
  (void)tune_forest(rank[0], BYTES, &sample);
  for (uint32_t r = 1; r < RANKS; r++) (void)tune_forest(rank[r], BYTES, &(uint32_t){0});
  run(CYCLE + 1, ms, 0);
  tune_sample(rank[0], generation, sample, 1e-6);
  ck_assert(isinf(rank[0]->agreed[sample]) || rank[0]->agreed[sample] > 1e-3f);
  uint32_t bits = atomic_load(&rank[0]->sample[sample]);
  float f;
  memcpy(&f, &bits, sizeof f);
  ck_assert(f > 1e-3f);
  end();
}
END_TEST

/* The plan's own limit within a size keeps its place as long as nothing was changed there. */
START_TEST(limits_within_a_size_stay) {
  begin(10, 10, 10);
  plan.table[OP_ALLREDUCE] = (struct plan_table){.n = 2, .rule = {{0, 2}, {700000, 0}}};
  for (uint32_t r = 0; r < RANKS; r++) tune_init(rank[r], &plan, NULL, 1, r);
  uint32_t sample;
  ck_assert_uint_eq(tune_forest(rank[0], 699999, &sample), 2);
  ck_assert_uint_eq(sample, TUNE_NONE); /* it is not what this size stands for */
  ck_assert_uint_eq(tune_forest(rank[0], 700000, &sample), 0);
  ck_assert_uint_ne(sample, TUNE_NONE);
  end();
}
END_TEST

START_TEST(sizes_cover_all_bytes) {
  uint32_t last = 0;
  for (uint64_t b = 0; b < (1ull << 40); b = b * 5 / 4 + 1) {
    uint32_t s = plan_size_of(b);
    ck_assert_uint_ge(s, last);
    ck_assert_uint_lt(s, PLAN_SIZES);
    last = s;
  }
  ck_assert_uint_eq(plan_size_of(UINT64_MAX), PLAN_SIZES - 1);
  for (uint32_t s = 0; s < PLAN_SIZES; s++) ck_assert_uint_eq(plan_size_of(plan_size_bytes(s)), s);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("tune");
  TCase *tc = tcase_create("tune");
  tcase_add_test(tc, a_plan_that_keeps_its_promise_stays);
  tcase_add_test(tc, one_that_is_slower_than_predicted_is_left);
  tcase_add_test(tc, a_worse_one_is_left_again);
  tcase_add_test(tc, a_rank_that_waits_for_others_does_not_count);
  tcase_add_test(tc, overlapped_operations_say_nothing_at_that_rank);
  tcase_add_test(tc, late_samples_of_an_earlier_round_are_dropped);
  tcase_add_test(tc, limits_within_a_size_stay);
  tcase_add_test(tc, sizes_cover_all_bytes);
  suite_add_tcase(suite, tc);
  return suite;
}
