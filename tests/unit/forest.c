/* Forests: what each shape looks like, drawn; fold order, strangers, what cannot be, and that the proof finds every fault a shape can have.
 */
#include "topology/forest.h"

#include <check.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/forestry.h"
#include "topology/shape.h"

static struct forest make(unsigned kind, uint32_t workers, uint32_t servers) {
  struct forest f;
  agg_error_t err = {0};
  ck_assert_msg(forest_init(&f, kind, workers, servers, &err) == AGG_OK, "%s", err.text);
  return f;
}

/* ---- the shapes without a map ---------------------------------------------------------------------------------------------- */

START_TEST(star_has_a_tree_a_server) {
  struct forest f = make(FOREST_STAR, 3, 2);
  ck_assert_uint_eq(f.trees, 2);
  ck_assert_uint_eq(forest_nodes(&f), 5);
  ck_assert_uint_eq(forest_root(&f, 0), 3);
  ck_assert_uint_eq(forest_root(&f, 1), 4);
  ck_assert_uint_eq(forest_rooted_at(&f, 4), 1);
  ck_assert_uint_eq(forest_rooted_at(&f, 2), FOREST_NONE);
  ck_assert_uint_eq(forest_n_children(&f, 1, 4), 3);
  ck_assert_uint_eq(forest_n_children(&f, 1, 0), 0);
  ck_assert_uint_eq(forest_parent(&f, 1, 2), 4);
  ck_assert_uint_eq(forest_toward(&f, 1, 4, 2), 2);
  ck_assert_uint_eq(forest_toward(&f, 1, 2, 4), FOREST_NONE);
  ck_assert_uint_eq(forest_depth(&f), 1);
}
END_TEST

START_TEST(a_server_is_a_stranger_in_another_servers_tree) {
  struct forest f = make(FOREST_STAR, 3, 2);
  ck_assert(!forest_member(&f, 0, 4));
  ck_assert(forest_member(&f, 1, 4));
  ck_assert_uint_eq(forest_parent(&f, 0, 4), FOREST_NONE);
  ck_assert_uint_eq(forest_n_children(&f, 0, 4), 0);
  ck_assert_uint_eq(forest_child(&f, 0, 4, 0), FOREST_NONE);
  ck_assert_uint_eq(forest_toward(&f, 0, 4, 1), FOREST_NONE);
  ck_assert_uint_eq(forest_toward(&f, 0, 3, 4), FOREST_NONE);
  ck_assert_uint_eq(forest_toward(&f, 0, 4, 4), FOREST_NONE);
}
END_TEST

START_TEST(direct_has_a_tree_a_worker) {
  struct forest f = make(FOREST_DIRECT, 4, 0);
  ck_assert_uint_eq(f.trees, 4);
  for (uint32_t tree = 0; tree < 4; tree++) {
    ck_assert_uint_eq(forest_root(&f, tree), tree);
    ck_assert_uint_eq(forest_rooted_at(&f, tree), tree);
    ck_assert_uint_eq(forest_n_children(&f, tree, tree), 3);
    for (uint32_t node = 0; node < 4; node++) {
      ck_assert_uint_eq(forest_parent(&f, tree, node), node == tree ? FOREST_NONE : tree);
      ck_assert_uint_eq(forest_toward(&f, tree, tree, node), node);
    }
  }
  ck_assert_uint_eq(forest_child(&f, 2, 2, 1), 1);
  ck_assert_uint_eq(forest_child(&f, 2, 2, 2), 3);
  ck_assert_uint_eq(forest_child(&f, 2, 2, 3), FOREST_NONE);
  ck_assert_uint_eq(forest_depth(&f), 1);
}
END_TEST

START_TEST(ring_is_a_chain_to_each_worker) {
  struct forest f = make(FOREST_RING, 4, 0);
  ck_assert_uint_eq(f.trees, 4);
  ck_assert_uint_eq(forest_depth(&f), 3);
  /* tree 1: 2 -> 3 -> 0 -> 1 */
  ck_assert_uint_eq(forest_parent(&f, 1, 2), 3);
  ck_assert_uint_eq(forest_parent(&f, 1, 3), 0);
  ck_assert_uint_eq(forest_parent(&f, 1, 0), 1);
  ck_assert_uint_eq(forest_parent(&f, 1, 1), FOREST_NONE);
  ck_assert_uint_eq(forest_n_children(&f, 1, 2), 0);
  ck_assert_uint_eq(forest_child(&f, 1, 0, 0), 3);
  ck_assert_uint_eq(forest_toward(&f, 1, 1, 2), 0);
  ck_assert_uint_eq(forest_toward(&f, 1, 0, 2), 3);
  ck_assert_uint_eq(forest_toward(&f, 1, 3, 3), 3);
  ck_assert_uint_eq(forest_toward(&f, 1, 3, 0), FOREST_NONE);
}
END_TEST

START_TEST(one_worker_is_a_root_alone) {
  for (unsigned kind = FOREST_DIRECT; kind <= FOREST_RING; kind++) {
    struct forest f = make(kind, 1, 0);
    ck_assert_uint_eq(f.trees, 1);
    ck_assert_uint_eq(forest_depth(&f), 0);
    ck_assert_uint_eq(forest_n_children(&f, 0, 0), 0);
    ck_assert_uint_eq(forest_own_at(&f, 0, 0), 0);
    ck_assert_uint_eq(forest_parent(&f, 0, 0), FOREST_NONE);
    ck_assert_uint_eq(forest_toward(&f, 0, 0, 0), 0);
  }
}
END_TEST

START_TEST(servers_stand_aside_without_a_star) {
  for (unsigned kind = FOREST_DIRECT; kind <= FOREST_RING; kind++) {
    struct forest f = make(kind, 3, 2);
    ck_assert_uint_eq(f.trees, 3);
    for (uint32_t tree = 0; tree < f.trees; tree++) {
      ck_assert(!forest_member(&f, tree, 3));
      ck_assert(!forest_member(&f, tree, 4));
    }
    ck_assert_uint_eq(forest_rooted_at(&f, 3), FOREST_NONE);
  }
}
END_TEST

/* ---- fold order ------------------------------------------------------------------------------------------------------ */

START_TEST(shallow_trees_fold_in_rank_order) {
  for (unsigned kind = FOREST_STAR; kind <= FOREST_DIRECT; kind++) {
    struct forest f = make(kind, 7, 3);
    for (uint32_t tree = 0; tree < f.trees; tree++) {
      uint32_t order[8];
      ck_assert_uint_eq(forest_fold_order(&f, tree, forest_root(&f, tree), order), 7);
      for (uint32_t i = 0; i < 7; i++) ck_assert_uint_eq(order[i], i);
    }
  }
}
END_TEST

START_TEST(ring_folds_from_the_leaf_to_the_root) {
  struct forest f = make(FOREST_RING, 7, 0);
  for (uint32_t tree = 0; tree < f.trees; tree++) {
    uint32_t order[8];
    ck_assert_uint_eq(forest_fold_order(&f, tree, tree, order), 7);
    for (uint32_t i = 0; i < 7; i++) ck_assert_uint_eq(order[i], (tree + 1 + i) % 7);
  }
}
END_TEST

START_TEST(toward_leads_step_by_step_to_every_target_below) {
  for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) {
    struct forest f = make(kind, 9, 2);
    for (uint32_t tree = 0; tree < f.trees; tree++) {
      for (uint32_t target = 0; target < 9; target++) {
        uint32_t at = forest_root(&f, tree), steps = 0;
        for (; at != target; steps++) {
          uint32_t next = forest_toward(&f, tree, at, target);
          ck_assert_uint_eq(forest_parent(&f, tree, next), at);
          at = next;
        }
        ck_assert_uint_le(steps, forest_depth(&f));
      }
    }
  }
}
END_TEST

/* ---- what cannot be ---------------------------------------------------------------------------------------------------- */

static void refuse(unsigned kind, uint32_t workers, uint32_t servers, const char *words) {
  struct forest f = {.trees = 77};
  agg_error_t err = {0};
  ck_assert_int_eq(forest_init(&f, kind, workers, servers, &err), AGG_EINVAL);
  ck_assert_int_eq(err.code, AGG_EINVAL);
  ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" in \"%s\"", words, err.text);
  ck_assert_uint_eq(f.trees, 77); /* outputs only on success */
  ck_assert_int_eq(forest_init(&f, kind, workers, servers, NULL), AGG_EINVAL);
}

START_TEST(impossible_forests_are_refused) {
  refuse(FOREST_KIND_COUNT, 2, 1, "kind 8 is unknown");
  refuse(256 + FOREST_RING, 2, 1, "kind 258 is unknown");
  refuse(UINT32_MAX, 2, 1, "unknown");
  refuse(FOREST_STAR, 2, 0, "at least one server");
  refuse(FOREST_HSTAR, 2, 0, "at least one server");
  refuse(FOREST_RACK, 2, 0, "at least one server");
  refuse(FOREST_STAR, 0, 2, "at least one worker");
  refuse(FOREST_DIRECT, 0, 0, "at least one worker");
  refuse(FOREST_RING, FOREST_MAX_NODES + 1, 0, "too many nodes");
  refuse(FOREST_STAR, FOREST_MAX_NODES, 1, "65536 workers and 1 servers");
  refuse(FOREST_STAR, UINT32_MAX, UINT32_MAX, "too many nodes");
}
END_TEST

START_TEST(largest_forests_answer_at_their_ends) {
  struct forest ring = make(FOREST_RING, FOREST_MAX_NODES, 0);
  ck_assert_uint_eq(forest_parent(&ring, 5, FOREST_MAX_NODES - 1), 0);
  ck_assert_uint_eq(forest_child(&ring, FOREST_MAX_NODES - 1, FOREST_MAX_NODES - 1, 0), FOREST_MAX_NODES - 2);
  ck_assert_uint_eq(forest_n_children(&ring, FOREST_MAX_NODES - 1, 0), 0);
  ck_assert_uint_eq(forest_depth(&ring), FOREST_MAX_NODES - 1);
  struct forest star = make(FOREST_STAR, FOREST_MAX_NODES - 1, 1);
  ck_assert_uint_eq(forest_root(&star, 0), FOREST_MAX_NODES - 1);
  ck_assert_uint_eq(forest_child(&star, 0, FOREST_MAX_NODES - 1, 65000), 65000);
}
END_TEST

START_TEST(questions_outside_the_forest_have_no_answer) {
  const uint32_t wild[] = {5, 6, 1000, FOREST_MAX_NODES, FOREST_NONE};
  for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) {
    struct forest f = make(kind, 3, 2);
    for (size_t i = 0; i < ARRAY_LEN(wild); i++) {
      uint32_t w = wild[i], root = forest_root(&f, 0);
      ck_assert(!forest_member(&f, 0, w) && !forest_member(&f, w, 0));
      ck_assert_uint_eq(forest_root(&f, w), FOREST_NONE);
      ck_assert_uint_eq(forest_rooted_at(&f, w), FOREST_NONE);
      ck_assert_uint_eq(forest_parent(&f, 0, w), FOREST_NONE);
      ck_assert_uint_eq(forest_parent(&f, w, 0), FOREST_NONE);
      ck_assert_uint_eq(forest_n_children(&f, 0, w), 0);
      ck_assert_uint_eq(forest_n_children(&f, w, root), 0);
      ck_assert_uint_eq(forest_child(&f, 0, root, w), FOREST_NONE);
      ck_assert_uint_eq(forest_own_at(&f, 0, w), 0);
      ck_assert_uint_eq(forest_toward(&f, 0, root, w), FOREST_NONE);
      ck_assert_uint_eq(forest_toward(&f, 0, w, 0), FOREST_NONE);
      ck_assert_uint_eq(forest_toward(&f, w, root, 0), FOREST_NONE);
    }
  }
}
END_TEST

START_TEST(names_and_kinds_map_both_ways) {
  for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) ck_assert_int_eq(forest_kind_parse(forest_kind_name(kind)), (int)kind);
  ck_assert_int_eq(forest_kind_parse("auto"), -1);
  ck_assert_int_eq(forest_kind_parse("Star"), -1);
  ck_assert_int_eq(forest_kind_parse("ring "), -1);
  ck_assert_int_eq(forest_kind_parse(""), -1);
  ck_assert_int_eq(forest_kind_parse(NULL), -1);
  ck_assert_str_eq(forest_kind_name(FOREST_KIND_COUNT), "?");
  ck_assert_ptr_null(forest_shape_of(FOREST_KIND_COUNT));
}
END_TEST

/* ---- drawings -------------------------------------------------------------------------------------------------------------- */

static void looks(const struct forest *f, uint32_t tree, const char *want) {
  char drawn[512];
  ck_assert_str_eq(forest_draw(f, tree, drawn, sizeof drawn), want);
}

START_TEST(old_shapes_as_drawn) {
  struct forest star = make(FOREST_STAR, 3, 2), direct = make(FOREST_DIRECT, 4, 1), ring = make(FOREST_RING, 4, 0);
  looks(&star, 1, "s1(0 1 2)");
  looks(&direct, 2, "2(0 1 . 3)");
  looks(&ring, 1, "1(0(3(2 .) .) .)");
}
END_TEST

START_TEST(trees_as_drawn) {
  const struct {
    uint32_t arity, workers;
    const char *want;
  } cases[] = {
      {2, 1, "0"},
      {2, 2, "0(. 1)"},
      {2, 3, "0(. 1 2)"},
      {2, 7, "0(. 1(. 2 3) 4(. 5 6))"},
      {2, 8, "0(. 1(. 2(. 3) 4) 5(. 6 7))"},
      {3, 6, "0(. 1(. 2) 3(. 4) 5)"},
      {1, 4, "0(. 1(. 2(. 3)))"},
      {64, 5, "0(. 1 2 3 4)"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    struct forest f = forest_made(FOREST_TREE, cases[i].arity, cases[i].workers, 1, NULL);
    ck_assert_uint_eq(f.trees, 1);
    looks(&f, 0, cases[i].want);
  }
}
END_TEST

START_TEST(double_binary_trees_as_drawn) {
  const char *const want[][2] = {
      {"0", NULL},
      {"1(0 .)", "0(. 1)"},
      {"1(0 . 2)", "2(0 1 .)"},
      {"3(1(0 . 2) .)", "0(. 2(1 . 3))"},
      {"3(1(0 . 2) . 4)", "4(0 2(1 . 3) .)"},
      {"3(1(0 . 2) . 5(4 .))", "4(0(. 5) 2(1 . 3) .)"},
      {"3(1(0 . 2) . 5(4 . 6))", "4(2(1 . 3) . 6(0 5 .))"},
      {"7(3(1(0 . 2) . 5(4 . 6)) .)", "0(. 4(2(1 . 3) . 6(5 . 7)))"},
  };
  for (uint32_t n = 1; n <= ARRAY_LEN(want); n++) {
    struct forest f = forest_made(FOREST_DTREE, 0, n, 2, NULL);
    ck_assert_uint_eq(f.trees, n == 1 ? 1 : 2);
    for (uint32_t tree = 0; tree < f.trees; tree++) looks(&f, tree, want[n - 1][tree]);
  }
}
END_TEST

/* Hosts of 3, 2 and 2; the last is a rack of its own. Servers 0 and 2 are in the first rack, 1 and 3 in the second. */
static struct forest_map *three_hosts(void) {
  return map_made(4, (uint32_t[]){3, 2, 2}, 3, (uint32_t[]){2, 1}, 2, (uint32_t[]){0, 1, 0, 1});
}

START_TEST(hosts_as_drawn) {
  struct forest_map *m = three_hosts();
  struct forest hier = forest_made(FOREST_HIER, 0, 7, 4, m), hstar = forest_made(FOREST_HSTAR, 0, 7, 4, m);
  looks(&hier, 0, "0(. 1 2 3(. 4) 5(. 6))");
  looks(&hier, 1, "1(0 . 2 4(3 .) 6(5 .))");
  looks(&hier, 2, "2(0 1 . 3(. 4) 5(. 6))");
  looks(&hier, 3, "3(0(. 1 2) . 4 5(. 6))");
  looks(&hier, 6, "6(1(0 . 2) 4(3 .) 5 .)");
  looks(&hstar, 0, "s0(0(. 1 2) 3(. 4) 5(. 6))");
  looks(&hstar, 1, "s1(1(0 . 2) 4(3 .) 6(5 .))");
  looks(&hstar, 2, "s2(2(0 1 .) 3(. 4) 5(. 6))");
  ck_assert_uint_eq(hier.trees, 7);
  ck_assert_uint_eq(hstar.trees, 4);
  forest_map_free(m);
}
END_TEST

START_TEST(racks_as_drawn) {
  struct forest_map *m = three_hosts();
  struct forest f = forest_made(FOREST_RACK, 0, 7, 4, m);
  ck_assert_uint_eq(f.trees, 2);
  looks(&f, 0, "s0(0(. 1 2) 3(. 4) s1(5(. 6)))");
  looks(&f, 1, "s3(s2(1(0 . 2) 4(3 .)) 6(5 .))");
  ck_assert_uint_eq(forest_rooted_at(&f, 7), 0);
  ck_assert_uint_eq(forest_rooted_at(&f, 8), FOREST_NONE);
  ck_assert_uint_eq(forest_rooted_at(&f, 10), 1);
  forest_map_free(m);
  struct forest none = forest_made(FOREST_RACK, 0, 3, 2, NULL);
  looks(&none, 1, "s1(0 1 2)");
}
END_TEST

START_TEST(rings_and_trees_follow_the_map) {
  const uint32_t hosts[] = {7, 3, 7, 3, 9};
  struct forest_map *m = NULL;
  ck_assert_int_eq(forest_map_make(5, 0, hosts, NULL, NULL, &m, NULL), AGG_OK);
  struct forest ring = forest_made(FOREST_RING, 0, 5, 0, m), tree = forest_made(FOREST_TREE, 2, 5, 0, m);
  struct forest dtree = forest_made(FOREST_DTREE, 0, 5, 0, m);
  looks(&ring, 0, "0(4(3(1(2 .) .) .) .)");
  looks(&tree, 0, "0(. 2(. 1) 3(. 4))");
  looks(&dtree, 0, "3(2(0 . 1) . 4)");
  forest_map_free(m);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("forest");
  TCase *t = tcase_create("forest");
  tcase_add_test(t, star_has_a_tree_a_server);
  tcase_add_test(t, a_server_is_a_stranger_in_another_servers_tree);
  tcase_add_test(t, direct_has_a_tree_a_worker);
  tcase_add_test(t, ring_is_a_chain_to_each_worker);
  tcase_add_test(t, one_worker_is_a_root_alone);
  tcase_add_test(t, servers_stand_aside_without_a_star);
  tcase_add_test(t, shallow_trees_fold_in_rank_order);
  tcase_add_test(t, ring_folds_from_the_leaf_to_the_root);
  tcase_add_test(t, toward_leads_step_by_step_to_every_target_below);
  tcase_add_test(t, impossible_forests_are_refused);
  tcase_add_test(t, largest_forests_answer_at_their_ends);
  tcase_add_test(t, questions_outside_the_forest_have_no_answer);
  tcase_add_test(t, names_and_kinds_map_both_ways);
  tcase_add_test(t, old_shapes_as_drawn);
  tcase_add_test(t, trees_as_drawn);
  tcase_add_test(t, double_binary_trees_as_drawn);
  tcase_add_test(t, hosts_as_drawn);
  tcase_add_test(t, racks_as_drawn);
  tcase_add_test(t, rings_and_trees_follow_the_map);
  suite_add_tcase(s, t);
  return s;
}
