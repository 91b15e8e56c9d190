/* No memory: whichever allocation fails, maps, schedules and copies of plans say so, leave their outputs alone and hold nothing back. */
#include <check.h>
#include <stdlib.h>

#include "tests/lib/forestry.h"
#include "topology/plan.h"

/* The linker puts these in place of calls to calloc and malloc (WRAP in the Makefile). */
void *__real_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);

static int left = -1; /* the how-manieth allocation from here fails, and all behind it; -1: none */
static int reached;

static int fails(void) {
  if (left > 0) left--;
  return left == 0;
}
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }

/* Around the call that is tested: Check itself allocates. */
static int end_of_faults(int rc) {
  reached = left == 0;
  left = -1;
  return rc;
}

/* Calls act() with the first, second, .. allocation failing until none does. Returns how many there are. */
static int fail_each(int (*act)(agg_error_t *err)) {
  for (int nth = 1;; nth++) {
    agg_error_t err = {0};
    left = nth;
    int rc = act(&err);
    if (!reached) {
      ck_assert_int_eq(rc, AGG_OK);
      return nth - 1;
    }
    ck_assert_int_eq(rc, AGG_ENOMEM);
    ck_assert_int_lt(nth, 100);
  }
}

static const uint32_t five[] = {0, 1, 2, 3, 4}, sizes[] = {2, 3}, one_rack[] = {2}, in_it[] = {0};
static const struct forest_spec ring = {.kind = FOREST_RING};

static int make_map(agg_error_t *err) {
  struct forest_map *m = NULL;
  int rc = end_of_faults(forest_map_make(5, 1, five, NULL, NULL, &m, err));
  ck_assert((m != NULL) == (rc == AGG_OK));
  forest_map_free(m);
  return rc;
}

static int take_map(agg_error_t *err) {
  struct forest_map *m = NULL;
  int rc = end_of_faults(forest_map_take(5, 1, five, sizes, 2, one_rack, 1, in_it, &m, err));
  ck_assert((m != NULL) == (rc == AGG_OK));
  forest_map_free(m);
  return rc;
}

static int build(agg_error_t *err) {
  const double weights[] = {1, 2, 3, 4, 5};
  struct forest f = {.trees = 77};
  int rc = end_of_faults(forest_build(&f, &ring, 1, 5, 0, NULL, weights, 0, err));
  ck_assert_uint_eq(f.trees, rc == AGG_OK ? 5 : 77);
  forest_fini(&f);
  return rc;
}

static int take_schedule(agg_error_t *err) {
  struct forest f = {.trees = 77};
  int rc = end_of_faults(forest_take(&f, &ring, 1, 5, 0, NULL, five, 5, err));
  ck_assert_uint_eq(f.trees, rc == AGG_OK ? 5 : 77);
  forest_fini(&f);
  return rc;
}

static struct plan plan;

static int copy(agg_error_t *err) {
  struct plan made;
  int rc = end_of_faults(plan_copy(&made, &plan));
  (void)err;
  if (rc != AGG_OK) ck_assert(made.workers == 0 && made.map == NULL && made.n_forests == 0);
  plan_fini(&made);
  return rc;
}

START_TEST(maps_say_that_there_is_no_memory) {
  ck_assert_int_eq(fail_each(make_map), 3);
  ck_assert_int_eq(fail_each(take_map), 1);
}
END_TEST

START_TEST(schedules_say_that_there_is_no_memory) {
  ck_assert_int_eq(fail_each(build), 5);
  ck_assert_int_eq(fail_each(take_schedule), 1);
}
END_TEST

START_TEST(copies_of_plans_say_that_there_is_no_memory) {
  plan = (struct plan){.workers = 5, .servers = 1, .n_forests = 3};
  ck_assert_int_eq(forest_map_take(5, 1, five, sizes, 2, one_rack, 1, in_it, &plan.map, NULL), AGG_OK);
  for (uint32_t i = 0; i < 3; i++) ck_assert_int_eq(forest_take(&plan.forest[i], &ring, 1, 5, 1, plan.map, five, 5, NULL), AGG_OK);
  ck_assert_int_eq(fail_each(copy), 4);
  plan_fini(&plan);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("forest_memory");
  TCase *t = tcase_create("forest_memory");
  tcase_add_test(t, maps_say_that_there_is_no_memory);
  tcase_add_test(t, schedules_say_that_there_is_no_memory);
  tcase_add_test(t, copies_of_plans_say_that_there_is_no_memory);
  suite_add_tcase(s, t);
  return s;
}
