/* Building: schedules against brute force and against what they promise, hybrids, names, schedules from outside. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/forestry.h"

static const struct forest_spec STAR = {.kind = FOREST_STAR}, RING = {.kind = FOREST_RING}, DIRECT = {.kind = FOREST_DIRECT};

/* A ring has a tree a worker: as many as there are weights. */
static struct forest weighted(const double *weights, uint32_t trees, uint32_t period_max) {
  struct forest f;
  agg_error_t err = {0};
  ck_assert_msg(forest_build(&f, &RING, 1, trees, 0, NULL, weights, period_max, &err) == AGG_OK, "%s", err.text);
  return f;
}

static void count_places(const struct forest *f, uint32_t *counts) {
  memset(counts, 0, f->trees * sizeof *counts);
  for (uint32_t i = 0; i < f->period; i++) counts[forest_tree_at(f, i)]++;
}

/* How many times its share the tree that has the most has. */
static double excess_of(const uint32_t *counts, uint32_t period, const double *weights, uint32_t trees) {
  double sum = 0, most = 0;
  for (uint32_t t = 0; t < trees; t++) sum += weights[t];
  for (uint32_t t = 0; t < trees; t++) {
    double share = weights[t] / sum;
    if (counts[t] != 0) most = fmax(most, share > 0 ? counts[t] / (period * share) : INFINITY);
  }
  return most;
}

/* ---- shares ----------------------------------------------------------------------------------------------------------------- */

START_TEST(equal_weights_need_no_schedule) {
  const double same[] = {3, 3, 3, 3, 3};
  const double *const weights[] = {NULL, same};
  for (size_t i = 0; i < ARRAY_LEN(weights); i++) {
    struct forest f = weighted(weights[i], 5, 2);
    ck_assert_ptr_null(f.schedule);
    ck_assert_uint_eq(f.period, 5);
    ck_assert_double_eq(forest_share(&f, 4), 0.2);
    for (uint32_t c = 0; c < 12; c++) ck_assert_uint_eq(forest_tree_at(&f, c), c % 5);
    ck_assert_uint_eq(forest_tree_at(&f, UINT64_MAX), UINT64_MAX % 5);
  }
}
END_TEST

START_TEST(small_ratios_are_met_exactly_by_the_shortest_period) {
  const struct {
    double weight[4];
    uint32_t trees, period, schedule[12];
  } cases[] = {
      {{1, 1, 0}, 3, 2, {0, 1}},
      {{0, 0, 7}, 3, 1, {2}},
      {{2, 1}, 2, 3, {0, 1, 0}},
      {{1, 2}, 2, 3, {1, 0, 1}},
      {{3, 1}, 2, 4, {0, 0, 1, 0}},
      {{0.6, 0.4}, 2, 5, {0, 1, 0, 1, 0}},
      {{2, 1, 1}, 3, 4, {0, 1, 2, 0}},
      {{5, 2, 2}, 3, 9, {0, 0, 1, 2, 0, 0, 1, 2, 0}},
      {{1, 1, 1, 3}, 4, 6, {3, 0, 3, 1, 2, 3}},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    struct forest f = weighted(cases[i].weight, cases[i].trees, 0);
    ck_assert_uint_eq(f.period, cases[i].period);
    uint32_t counts[4], want[4] = {0};
    count_places(&f, counts);
    for (uint32_t p = 0; p < f.period; p++) want[cases[i].schedule[p]]++;
    ck_assert_mem_eq(counts, want, f.trees * sizeof *want);
    for (uint32_t p = 0; p < f.period; p++)
      ck_assert_msg(f.schedule[p] == cases[i].schedule[p], "case %zu place %u: tree %u", i, p, f.schedule[p]);
    forest_fini(&f);
    ck_assert_ptr_null(f.schedule);
  }
}
END_TEST

/* The least excess that any way of giving `period` places to three trees has. */
static double least_excess(const double *weights, uint32_t period) {
  double least = INFINITY;
  for (uint32_t a = 0; a <= period; a++) {
    for (uint32_t b = 0; a + b <= period; b++) {
      uint32_t counts[3] = {a, b, period - a - b};
      least = fmin(least, excess_of(counts, period, weights, 3));
    }
  }
  return least;
}

START_TEST(schedules_are_as_good_as_brute_force) {
  for (uint64_t seed = 1; seed <= 400; seed++) {
    struct rng rng = {seed};
    double weights[3];
    for (int t = 0; t < 3; t++) weights[t] = (double)rng_below(&rng, 1000);
    if (weights[0] + weights[1] + weights[2] == 0) continue;
    uint32_t most = 1 + (uint32_t)rng_below(&rng, 40);
    struct forest f = weighted(weights, 3, most);
    if (f.schedule == NULL) continue;
    uint32_t counts[3];
    count_places(&f, counts);
    double mine = excess_of(counts, f.period, weights, 3), best = INFINITY;
    ck_assert_uint_le(f.period, most);
    for (uint32_t period = 1; period <= most && best > 1.005; period++) {
      double here = least_excess(weights, period);
      if (here <= 1.005) ck_assert_msg(f.period == period, "seed %llu: %u, not %u", (unsigned long long)seed, f.period, period);
      best = fmin(best, here);
    }
    ck_assert_msg(mine <= best * (1 + 1e-9), "seed %llu: excess %g, best %g", (unsigned long long)seed, mine, best);
    forest_fini(&f);
  }
}
END_TEST

/* In every prefix each tree is within one place of its share of the schedule. */
static void evenly_mixed(const struct forest *f, const uint32_t *counts, uint64_t seed) {
  uint32_t *met = calloc(f->trees, sizeof *met);
  for (uint32_t i = 0; i < f->period; i++) {
    uint32_t t = f->schedule[i];
    /* A tree is furthest behind just before its turn and furthest ahead just after it. */
    double behind = (double)i * counts[t] / f->period - met[t], ahead = ++met[t] - (double)(i + 1) * counts[t] / f->period;
    ck_assert_msg(behind < 1 && ahead < 1, "seed %llu: tree %u at %u: %g behind, %g ahead", (unsigned long long)seed, t, i, behind, ahead);
  }
  free(met);
}

START_TEST(trees_alternate_evenly) {
  for (uint64_t seed = 1; seed <= 300; seed++) {
    struct rng rng = {seed};
    uint32_t trees = 2 + (uint32_t)rng_below(&rng, seed % 10 == 0 ? 500 : 12);
    double *weights = calloc(trees, sizeof *weights);
    for (uint32_t t = 0; t < trees; t++) weights[t] = rng_below(&rng, 3) == 0 ? 1 : (double)(1 + rng_below(&rng, 40));
    weights[0] = 100; /* the largest */
    struct forest f = weighted(weights, trees, 0);
    uint32_t *counts = calloc(trees, sizeof *counts), biggest = 0;
    double share = 0;
    count_places(&f, counts);
    for (uint32_t t = 0; t < trees; t++) {
      biggest = MAX_OF(biggest, counts[t]), share += forest_share(&f, t);
      ck_assert_double_eq_tol(forest_share(&f, t), (double)counts[t] / f.period, 1e-12);
    }
    ck_assert_double_eq_tol(share, 1, 1e-9);
    ck_assert_uint_le(f.period, MAX_OF(256u, 4 * trees));
    ck_assert_uint_eq(counts[f.schedule[0]], biggest); /* largest shares first */
    evenly_mixed(&f, counts, seed);
    free(counts);
    free(weights);
    forest_fini(&f);
  }
}
END_TEST

START_TEST(a_star_with_many_small_trees_is_spread_over_them) {
  struct forest_spec spec[] = {STAR, RING};
  double weights[4 + 1000];
  struct forest f;
  for (uint32_t t = 0; t < ARRAY_LEN(weights); t++) weights[t] = t < 4 ? 0.15 : 0.4 / 1000;
  ck_assert_int_eq(forest_build(&f, spec, 2, 1000, 4, NULL, weights, 0, NULL), AGG_OK);
  uint32_t counts[ARRAY_LEN(weights)];
  count_places(&f, counts);
  evenly_mixed(&f, counts, 0);
  ck_assert_double_le(excess_of(counts, f.period, weights, f.trees), 1.005 + 1e-9);
  ck_assert_uint_le(f.period, 4 * f.trees);
  forest_fini(&f);
}
END_TEST

START_TEST(weights_of_any_size_are_shares) {
  const double scales[] = {DBL_MAX / 4, 1e300, 1, 1e-300, DBL_TRUE_MIN};
  for (size_t i = 0; i < ARRAY_LEN(scales); i++) {
    double weights[] = {2 * scales[i], scales[i], 0, 2 * scales[i]};
    struct forest f = weighted(weights, 4, 0);
    ck_assert_uint_eq(f.period, 5);
    ck_assert_double_eq(forest_share(&f, 0), 0.4);
    ck_assert_double_eq(forest_share(&f, 2), 0);
    forest_fini(&f);
  }
  double far[] = {DBL_MAX, DBL_TRUE_MIN, DBL_MAX};
  struct forest f = weighted(far, 3, 0);
  ck_assert_uint_eq(f.period, 2);
  forest_fini(&f);
}
END_TEST

START_TEST(large_forests_get_a_schedule) {
  const uint32_t trees = SLOW ? 4096 : 16384;
  double *weights = calloc(trees, sizeof *weights);
  struct rng rng = {11};
  for (uint32_t t = 0; t < trees; t++) weights[t] = 1 + (double)rng_below(&rng, 1u << 20);
  struct forest f = weighted(weights, trees, 0);
  uint32_t *counts = calloc(trees, sizeof *counts);
  count_places(&f, counts);
  evenly_mixed(&f, counts, 11);
  ck_assert_uint_le(f.period, 4 * trees);
  ck_assert_double_le(excess_of(counts, f.period, weights, trees), 1.25);
  free(counts);
  free(weights);
  forest_fini(&f);
}
END_TEST

START_TEST(impossible_weights_are_refused) {
  const struct {
    double weight[3];
    const char *text;
  } cases[] = {
      {{1, -1, 1}, "tree 1 has the weight -1: expected a number from 0 on"},
      {{1, 1, NAN}, "tree 2 has the weight nan: expected a number from 0 on"},
      {{INFINITY, 1, 1}, "tree 0 has the weight inf: expected a number from 0 on"},
      {{0, 0, 0}, "the weights of all 3 trees are 0: expected one above"},
      {{-0.0, 0, 0}, "the weights of all 3 trees are 0: expected one above"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    struct forest f = {.trees = 77};
    agg_error_t err = {0};
    ck_assert_int_eq(forest_build(&f, &RING, 1, 3, 0, NULL, cases[i].weight, 0, &err), AGG_EINVAL);
    ck_assert(strcmp(err.text, cases[i].text) == 0 || strstr(err.text, "nan") != NULL);
    ck_assert_uint_eq(f.trees, 77);
  }
  struct forest f;
  agg_error_t err = {0};
  const double weights[] = {1, 2, 3};
  ck_assert_int_eq(forest_build(&f, &RING, 1, 3, 0, NULL, weights, FOREST_PERIOD_MAX + 1, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "a schedule of up to 262145 places: expected at most 262144, or 0 to have it chosen");
}
END_TEST

/* ---- parts ------------------------------------------------------------------------------------------------------------------ */

START_TEST(a_hybrid_numbers_trees_through_its_parts) {
  struct forest_spec spec[] = {STAR, RING};
  struct forest f;
  ck_assert_int_eq(forest_build(&f, spec, 2, 5, 2, NULL, NULL, 0, NULL), AGG_OK);
  ck_assert_uint_eq(f.trees, 7);
  ck_assert_uint_eq(f.period, 7);
  ck_assert_uint_eq(forest_depth(&f), 4);
  ck_assert_uint_eq(forest_root(&f, 1), 6);
  ck_assert_uint_eq(forest_root(&f, 2), 0);
  ck_assert_uint_eq(forest_root(&f, 7), FOREST_NONE);
  ck_assert_uint_eq(forest_rooted_at(&f, 6), 1);
  ck_assert_uint_eq(forest_rooted_at(&f, 3), 5);
  ck_assert_uint_eq(forest_rooted_at(&f, 7), FOREST_NONE);
  ck_assert(!forest_member(&f, 3, 5));
  ck_assert_uint_eq(forest_parent(&f, 5, 1), 2);
  ck_assert_uint_eq(forest_level(&f, 5, 4), 4);
  ck_assert_uint_eq(forest_index(&f, 5, 4), 0);
  ck_assert_uint_eq(forest_index(&f, 0, 4), 4);
  ck_assert_int_eq(forest_check(&f, NULL), AGG_OK);
}
END_TEST

START_TEST(names_say_what_a_forest_is) {
  char name[64], small[8];
  struct forest_spec spec[] = {STAR, RING};
  struct forest f = forest_made(FOREST_STAR, 0, 3, 1, NULL);
  ck_assert_str_eq(forest_name(&f, name, sizeof name), "star");
  f = forest_made(FOREST_TREE, 4, 3, 1, NULL);
  ck_assert_str_eq(forest_name(&f, name, sizeof name), "tree of 4");
  const double weights[] = {0.3, 0.3, 0.1, 0.1, 0.1, 0.1};
  ck_assert_int_eq(forest_build(&f, spec, 2, 4, 2, NULL, weights, 0, NULL), AGG_OK);
  ck_assert_str_eq(forest_name(&f, name, sizeof name), "hybrid: star 60 %, ring 40 %");
  ck_assert_str_eq(forest_name(&f, small, sizeof small), "hybrid:");
  ck_assert_ptr_eq(forest_name(&f, NULL, 0), NULL);
  forest_fini(&f);
}
END_TEST

static void no_forest(const struct forest_spec *spec, uint32_t parts, uint32_t workers, uint32_t servers, const struct forest_map *map,
                      const char *text) {
  struct forest f = {.trees = 77};
  agg_error_t err = {0};
  ck_assert_int_eq(forest_build(&f, spec, parts, workers, servers, map, NULL, 0, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, text);
  ck_assert_uint_eq(f.trees, 77);
}

START_TEST(impossible_parts_are_refused) {
  const struct forest_spec two[] = {{.kind = FOREST_STAR}, {.kind = FOREST_RACK}}, tree = {.kind = FOREST_TREE};
  const struct forest_spec wide = {.kind = FOREST_TREE, .arity = 65}, odd = {.kind = FOREST_RING, .arity = 2};
  const struct forest_spec rack = {.kind = FOREST_RACK}, none = {.kind = 200};
  no_forest(two, 2, 4, 2, NULL, "a hybrid of star and rack: only one part may use the servers");
  no_forest(two, 0, 4, 2, NULL, "a forest of 0 parts: expected 1 to 2");
  no_forest(two, 3, 4, 2, NULL, "a forest of 3 parts: expected 1 to 2");
  no_forest(&tree, 1, 4, 2, NULL, "a tree of arity 0: expected 1 to 64 for a tree, 0 for others");
  no_forest(&wide, 1, 4, 2, NULL, "a tree of arity 65: expected 1 to 64 for a tree, 0 for others");
  no_forest(&odd, 1, 4, 2, NULL, "a ring of arity 2: expected 1 to 64 for a tree, 0 for others");
  no_forest(&none, 1, 4, 2, NULL, "forest kind 200 is unknown: expected 0 to 7");
  no_forest(&RING, 1, FOREST_MAX_NODES, 1, NULL, "65536 workers and 1 servers are too many nodes: at most 65536");
  struct forest_map *m = map_made(2, (uint32_t[]){2, 1, 2}, 3, (uint32_t[]){2, 1}, 2, (uint32_t[]){0, FOREST_NONE});
  no_forest(&RING, 1, 4, 2, m, "a map of 5 workers and 2 servers does not fit 4 workers and 2 servers");
  no_forest(&rack, 1, 5, 2, m, "a rack needs a server in every rack with workers: the rack of worker 3 (rack 1 of 2) has none");
  forest_map_free(m);
  m = map_made(0, (uint32_t[]){2, 1, 2}, 3, (uint32_t[]){2, 1}, 2, NULL);
  no_forest(&rack, 1, 5, 0, m, "a rack needs at least one server, there is none");
  forest_map_free(m);
}
END_TEST

/* ---- from outside ------------------------------------------------------------------------------------------------------------ */

START_TEST(a_schedule_is_taken_as_it_is) {
  uint32_t places[] = {2, 0, 2, 1};
  struct forest f;
  ck_assert_int_eq(forest_take(&f, &DIRECT, 1, 3, 0, NULL, places, 4, NULL), AGG_OK);
  places[0] = 99; /* it was copied */
  ck_assert_uint_eq(f.period, 4);
  ck_assert_uint_eq(forest_tree_at(&f, 8), 2);
  ck_assert_double_eq(forest_share(&f, 2), 0.5);
  ck_assert_double_eq(forest_share(&f, 3), 0);
  ck_assert_int_eq(forest_check(&f, NULL), AGG_OK);
  forest_fini(&f);
  ck_assert_int_eq(forest_take(&f, &DIRECT, 1, 3, 0, NULL, NULL, 0, NULL), AGG_OK);
  ck_assert_ptr_null(f.schedule);
  ck_assert_uint_eq(f.period, 3);
}
END_TEST

START_TEST(hostile_schedules_are_refused) {
  const uint32_t places[] = {2, 0, 3, 1}, wild[] = {UINT32_MAX};
  struct forest f = {.trees = 77};
  agg_error_t err = {0};
  ck_assert_int_eq(forest_take(&f, &DIRECT, 1, 3, 0, NULL, places, 4, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "place 2 of the schedule is tree 3: there are 3 trees");
  ck_assert_int_eq(forest_take(&f, &DIRECT, 1, 3, 0, NULL, wild, 1, &err), AGG_EINVAL);
  ck_assert_int_eq(forest_take(&f, &DIRECT, 1, 3, 0, NULL, places, FOREST_PERIOD_MAX + 1, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "a schedule of 262145 places: expected 1 to 262144, or none");
  ck_assert_int_eq(forest_take(&f, &DIRECT, 1, 3, 0, NULL, places, 0, &err), AGG_EINVAL);
  ck_assert_int_eq(forest_take(&f, &DIRECT, 1, 3, 0, NULL, NULL, 4, &err), AGG_EINVAL);
  ck_assert_int_eq(forest_take(&f, &STAR, 1, 3, 0, NULL, places, 2, &err), AGG_EINVAL);
  ck_assert_int_eq(forest_take(&f, &STAR, 1, UINT32_MAX, UINT32_MAX, NULL, places, 2, &err), AGG_EINVAL);
  ck_assert_uint_eq(f.trees, 77);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("forest_build");
  TCase *t = tcase_create("forest_build");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, equal_weights_need_no_schedule);
  tcase_add_test(t, small_ratios_are_met_exactly_by_the_shortest_period);
  tcase_add_test(t, schedules_are_as_good_as_brute_force);
  tcase_add_test(t, trees_alternate_evenly);
  tcase_add_test(t, a_star_with_many_small_trees_is_spread_over_them);
  tcase_add_test(t, weights_of_any_size_are_shares);
  tcase_add_test(t, large_forests_get_a_schedule);
  tcase_add_test(t, impossible_weights_are_refused);
  tcase_add_test(t, a_hybrid_numbers_trees_through_its_parts);
  tcase_add_test(t, names_say_what_a_forest_is);
  tcase_add_test(t, impossible_parts_are_refused);
  tcase_add_test(t, a_schedule_is_taken_as_it_is);
  tcase_add_test(t, hostile_schedules_are_refused);
  suite_add_tcase(s, t);
  return s;
}
