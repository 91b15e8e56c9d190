/* Plans: which forest an operation takes, copies that stand alone, and the proof before use. */
#include "topology/plan.h"

#include <check.h>
#include <string.h>

#include "tests/lib/forestry.h"

/* Three hosts in two racks with a server each; star, a hybrid with a schedule, and ring. */
static struct plan make(void) {
  struct plan p = {.workers = 5, .servers = 2, .lanes = 2, .window = 8, .chunk_bytes = 64u << 10, .n_forests = 3};
  const struct forest_spec hybrid[] = {{.kind = FOREST_STAR}, {.kind = FOREST_DTREE}}, star = {.kind = FOREST_STAR};
  const double weights[] = {3, 3, 2, 2};
  p.map = map_made(2, (uint32_t[]){2, 1, 2}, 3, (uint32_t[]){2, 1}, 2, (uint32_t[]){0, 1});
  ck_assert_int_eq(forest_build(&p.forest[0], &star, 1, 5, 2, p.map, NULL, 0, NULL), AGG_OK);
  ck_assert_int_eq(forest_build(&p.forest[1], hybrid, 2, 5, 2, p.map, weights, 0, NULL), AGG_OK);
  ck_assert_int_eq(forest_init(&p.forest[2], FOREST_RING, 5, 2, NULL), AGG_OK);
  p.table[OP_ALLREDUCE] = (struct plan_table){.n = 3, .rule = {{0, 0}, {4096, 2}, {1u << 20, 1}}};
  p.table[OP_BROADCAST] = (struct plan_table){.n = 1, .rule = {{0, 2}}};
  return p;
}

START_TEST(an_operation_takes_the_forest_of_its_size) {
  struct plan p = make();
  ck_assert_uint_eq(plan_nodes(&p), 7);
  ck_assert_uint_eq(plan_forest(&p, OP_ALLREDUCE, 0), 0);
  ck_assert_uint_eq(plan_forest(&p, OP_ALLREDUCE, 4095), 0);
  ck_assert_uint_eq(plan_forest(&p, OP_ALLREDUCE, 4096), 2);
  ck_assert_uint_eq(plan_forest(&p, OP_ALLREDUCE, (1u << 20) - 1), 2);
  ck_assert_uint_eq(plan_forest(&p, OP_ALLREDUCE, 1u << 20), 1);
  ck_assert_uint_eq(plan_forest(&p, OP_ALLREDUCE, UINT64_MAX), 1);
  ck_assert_uint_eq(plan_forest(&p, OP_BROADCAST, 7), 2);
  ck_assert_uint_eq(plan_forest(&p, OP_BARRIER, UINT64_MAX), 0); /* no table */
  plan_fini(&p);
}
END_TEST

START_TEST(a_sound_plan_is_proven_by_every_node) {
  struct plan p = make();
  for (uint32_t self = 0; self < 7; self++) {
    agg_error_t err = {0};
    ck_assert_msg(plan_check(&p, self, &err) == AGG_OK, "%s", err.text);
  }
  plan_fini(&p);
}
END_TEST

START_TEST(a_copy_stands_alone) {
  struct plan p = make(), copy;
  ck_assert_int_eq(plan_copy(&copy, &p), AGG_OK);
  ck_assert_ptr_ne(copy.map, p.map);
  ck_assert_ptr_eq(copy.forest[1].part[1].map, copy.map);
  ck_assert_ptr_null(copy.forest[2].part[0].map);
  ck_assert_uint_eq(copy.forest[1].period, 10);
  ck_assert_mem_eq(copy.forest[1].schedule, p.forest[1].schedule, 10 * sizeof(uint32_t));
  plan_fini(&p);
  ck_assert_ptr_null(p.map);
  ck_assert_uint_eq(p.n_forests, 0);
  for (uint32_t self = 0; self < 7; self++) ck_assert_int_eq(plan_check(&copy, self, NULL), AGG_OK);
  struct plan moved = copy;
  plan_fini(&moved);
  plan_fini(&moved); /* a zeroed one */
  struct plan empty = {0};
  ck_assert_int_eq(plan_copy(&copy, &empty), AGG_OK);
  plan_fini(&copy);
}
END_TEST

static void refused(const struct plan *p, uint32_t self, const char *text) {
  agg_error_t err = {0};
  ck_assert_int_eq(plan_check(p, self, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, text);
}

START_TEST(a_plan_out_of_limits_is_refused) {
  struct plan sound = make(), p;
  p = sound, p.n_forests = 0, refused(&p, 0, "a plan of 0 forests: expected 1 to 8");
  p = sound, p.n_forests = 9, refused(&p, 0, "a plan of 9 forests: expected 1 to 8");
  p = sound, p.lanes = 0, refused(&p, 0, "a plan of 0 lanes: expected 1 to 16");
  p = sound, p.lanes = 17, refused(&p, 0, "a plan of 17 lanes: expected 1 to 16");
  p = sound, p.window = 0, refused(&p, 0, "a plan with windows of 0 chunks: expected 1 to 1024");
  p = sound, p.window = 1025, refused(&p, 0, "a plan with windows of 1025 chunks: expected 1 to 1024");
  p = sound, p.forest_window[2] = 9, refused(&p, 0, "forest 2 has a window of 9 chunks: expected at most the plan's, 8");
  const uint32_t chunks[] = {0, 960, 1025, (16u << 20) + 64, UINT32_MAX};
  for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
    agg_error_t err = {0};
    p = sound, p.chunk_bytes = chunks[i];
    ck_assert_int_eq(plan_check(&p, 0, &err), AGG_EINVAL);
    ck_assert_msg(strstr(err.text, "expected a multiple of 64 from 1024 to 16777216") != NULL, "%s", err.text);
  }
  plan_fini(&sound);
}
END_TEST

START_TEST(a_table_without_sense_is_refused) {
  struct plan sound = make(), p;
  p = sound, p.table[OP_ALLREDUCE].n = 9, refused(&p, 0, "operations of kind 0 have 9 rules: expected at most 8");
  p = sound, p.table[OP_BROADCAST].rule[0].from_bytes = 1;
  refused(&p, 0, "operations of kind 2: rule 0 is from 1 bytes on: expected 0 for the first, more for each next");
  p = sound, p.table[OP_ALLREDUCE].rule[2].from_bytes = 4096;
  refused(&p, 0, "operations of kind 0: rule 2 is from 4096 bytes on: expected 0 for the first, more for each next");
  p = sound, p.table[OP_ALLREDUCE].rule[1].forest = 3;
  refused(&p, 0, "operations of kind 0: rule 1 takes forest 3: there are 3");
  plan_fini(&sound);
}
END_TEST

START_TEST(a_plan_with_a_foreign_forest_is_refused) {
  struct plan sound = make(), p;
  p = sound, p.workers = 6, refused(&p, 0, "forest 0 is of 5 workers and 2 servers, the plan of 6 and 2");
  p = sound, p.forest[2].servers = 3, refused(&p, 0, "forest 2 is of 5 workers and 3 servers, the plan of 5 and 2");
  p = sound, p.map = NULL, refused(&p, 0, "forest 0 has a map that is not the plan's");
  p = sound, p.forest[2].trees = 6, refused(&p, 0, "forest 2: 6 trees: expected 5, those of its parts");
  refused(&sound, 7, "forest 0: node 7: there are 7 nodes");
  plan_fini(&sound);
}
END_TEST

/* A server's slots have the same numbers at all its children, so they cannot be others in another forest. */
START_TEST(a_server_has_the_same_children_in_all_forests) {
  struct plan p = make();
  const struct forest_spec rack = {.kind = FOREST_RACK};
  ck_assert_int_eq(forest_build(&p.forest[p.n_forests++], &rack, 1, 5, 2, p.map, NULL, 0, NULL), AGG_OK);
  refused(&p, 5, "server 5 has other children in forest 3 than in forest 0");
  for (uint32_t self = 0; self < 5; self++) ck_assert_int_eq(plan_check(&p, self, NULL), AGG_OK); /* servers say no */
  plan_fini(&p);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("plan");
  TCase *t = tcase_create("plan");
  tcase_add_test(t, an_operation_takes_the_forest_of_its_size);
  tcase_add_test(t, a_sound_plan_is_proven_by_every_node);
  tcase_add_test(t, a_copy_stands_alone);
  tcase_add_test(t, a_plan_out_of_limits_is_refused);
  tcase_add_test(t, a_table_without_sense_is_refused);
  tcase_add_test(t, a_plan_with_a_foreign_forest_is_refused);
  tcase_add_test(t, a_server_has_the_same_children_in_all_forests);
  suite_add_tcase(s, t);
  return s;
}
