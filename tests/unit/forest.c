/* Forests: the three shapes for all small sizes, their fold order, strangers, and that forest_check finds every fault a shape can have. */
#include "topology/forest.h"

#include <check.h>
#include <string.h>

#include "base/util.h"
#include "topology/shape.h"

static struct forest make(unsigned kind, uint32_t workers, uint32_t servers) {
  struct forest f;
  agg_error_t err = {0};
  ck_assert_msg(forest_init(&f, kind, workers, servers, &err) == AGG_OK, "%s", err.text);
  return f;
}

/* ---- sound forests -------------------------------------------------------------------------------------------------- */

START_TEST(every_small_forest_is_sound) {
  for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) {
    for (uint32_t workers = 1; workers <= 12; workers++) {
      for (uint32_t servers = kind == FOREST_STAR; servers <= 4; servers++) {
        struct forest f = make(kind, workers, servers);
        agg_error_t err = {0};
        ck_assert_msg(forest_check(&f, &err) == AGG_OK, "%s %u+%u: %s", forest_kind_name(kind), workers, servers, err.text);
      }
    }
  }
}
END_TEST

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

static uint32_t fold_order(const struct forest *f, uint32_t tree, uint32_t node, uint32_t *out, uint32_t n) {
  uint32_t children = forest_n_children(f, tree, node), own_at = forest_own_at(f, tree, node);
  for (uint32_t i = 0; i <= children; i++) {
    if (i == own_at && node < f->workers) out[n++] = node;
    if (i < children) n = fold_order(f, tree, forest_child(f, tree, node, i), out, n);
  }
  return n;
}

START_TEST(shallow_trees_fold_in_rank_order) {
  for (unsigned kind = FOREST_STAR; kind <= FOREST_DIRECT; kind++) {
    struct forest f = make(kind, 7, 3);
    for (uint32_t tree = 0; tree < f.trees; tree++) {
      uint32_t order[8];
      ck_assert_uint_eq(fold_order(&f, tree, forest_root(&f, tree), order, 0), 7);
      for (uint32_t i = 0; i < 7; i++) ck_assert_uint_eq(order[i], i);
    }
  }
}
END_TEST

START_TEST(ring_folds_from_the_leaf_to_the_root) {
  struct forest f = make(FOREST_RING, 7, 0);
  for (uint32_t tree = 0; tree < f.trees; tree++) {
    uint32_t order[8];
    ck_assert_uint_eq(fold_order(&f, tree, tree, order, 0), 7);
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
  refuse(FOREST_KIND_COUNT, 2, 1, "kind 3 is unknown");
  refuse(UINT32_MAX, 2, 1, "unknown");
  refuse(FOREST_STAR, 2, 0, "at least one server");
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

/* ---- forest_check finds broken shapes ------------------------------------------------------------------------------------ */

static uint32_t none_1(const struct forest *f, uint32_t a) { return (void)f, (void)a, FOREST_NONE; }
static uint32_t none_2(const struct forest *f, uint32_t a, uint32_t b) { return (void)f, (void)a, (void)b, FOREST_NONE; }
static uint32_t same_child(const struct forest *f, uint32_t a, uint32_t node, uint32_t i) { return (void)f, (void)a, (void)i, node == 0; }
static uint32_t two(const struct forest *f) { return (void)f, 2; }
static uint32_t huge(const struct forest *f, uint32_t a, uint32_t b) { return (void)f, (void)a, (void)b, 1u << 30; }
static int but_worker_1(const struct forest *f, uint32_t tree, uint32_t node) { return (void)tree, node < f->workers && node != 1; }
static int everyone(const struct forest *f, uint32_t tree, uint32_t node) { return (void)f, (void)tree, (void)node, 1; }
static uint32_t always_up(const struct forest *f, uint32_t tree, uint32_t node) { return (void)tree, (node + 1) % f->workers; }
static uint32_t root_outside(const struct forest *f, uint32_t tree) { return (void)tree, f->workers + f->servers; }
static uint32_t target_itself(const struct forest *f, uint32_t a, uint32_t b, uint32_t target) { return (void)f, (void)a, (void)b, target; }
static uint32_t tree_as_rooted(const struct forest *f, uint32_t node) { return (void)f, (node + 1) % 4; }
/* direct's tree 0, but workers 1 and 2 hang on each other */
static uint32_t pair_parent(const struct forest *f, uint32_t tree, uint32_t node) {
  (void)f;
  if (tree == 0 && (node == 1 || node == 2)) return 3 - node;
  return node == tree ? FOREST_NONE : tree;
}
static uint32_t pair_count(const struct forest *f, uint32_t tree, uint32_t node) {
  if (tree == 0) return node != 3;
  return node == tree ? f->workers - 1 : 0;
}
static uint32_t pair_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i) {
  if (tree == 0) return 3 - node;
  return shape_direct.child(f, tree, node, i);
}

static uint32_t pair_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target) {
  if (tree == 0) return 3 - node;
  return shape_direct.toward(f, tree, node, target);
}

static void find(struct forest_shape shape, const struct forest *f, const char *words) {
  agg_error_t err = {0};
  ck_assert_msg(forest_check_shape(f, &shape, &err) == AGG_EINVAL, "not found: %s", words);
  ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" in \"%s\"", words, err.text);
}

START_TEST(check_finds_every_fault) {
  struct forest f = make(FOREST_DIRECT, 4, 0);
  struct forest_shape s;
  s = shape_direct, s.root = root_outside, find(s, &f, "is not a member");
  s = shape_direct, s.parent = always_up, find(s, &f, "has a parent");
  s = shape_direct, s.rooted_at = none_1, find(s, &f, "is not known to be one");
  s = shape_direct, s.rooted_at = tree_as_rooted, find(s, &f, "is not known to be one");
  s = shape_direct, s.parent = none_2, find(s, &f, "which has another parent");
  s = shape_direct, s.parent = huge, find(s, &f, "has a parent");
  s = shape_direct, s.member = but_worker_1, find(s, &f, "worker 1 is not a member");
  s = shape_direct, s.child = same_child, find(s, &f, "times among the children");
  s = shape_direct, s.n_children = huge, find(s, &f, "more than there are nodes");
  s = shape_direct, s.own_at = huge, find(s, &f, "folds its own part");
  s = shape_direct, s.depth = two, find(s, &f, "longest way");
  s = shape_direct, s.parent = pair_parent, s.n_children = pair_count, s.child = pair_child, s.toward = pair_toward,
  find(s, &f, "is a cycle");
}
END_TEST

START_TEST(check_finds_a_wrong_way) {
  struct forest f = make(FOREST_RING, 4, 0);
  struct forest_shape s = shape_ring;
  s.toward = target_itself, find(s, &f, "the way to node");
  s = shape_direct, s.toward = target_itself;
  struct forest d = make(FOREST_DIRECT, 4, 0);
  find(s, &d, "is not below node");
}
END_TEST

START_TEST(check_finds_strangers_taken_for_members) {
  struct forest f = make(FOREST_STAR, 3, 2);
  struct forest_shape s = shape_star;
  s.member = everyone, find(s, &f, "no parent and is not the root");
}
END_TEST

/* Every server is in every tree: as root in its own, above one worker in the others; the children differ, which no lane can serve. */
static int all_in(const struct forest *f, uint32_t tree, uint32_t node) { return (void)tree, node < f->workers + f->servers; }
static uint32_t twisted_parent(const struct forest *f, uint32_t tree, uint32_t node) {
  uint32_t root = f->workers + tree, other = f->workers + 1 - tree;
  return node == root ? FOREST_NONE : node == 0 ? other : root;
}
static uint32_t twisted_count(const struct forest *f, uint32_t tree, uint32_t node) {
  return node < f->workers ? 0 : node == f->workers + tree ? f->workers : 1;
}
static uint32_t twisted_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i) {
  uint32_t other = f->workers + 1 - tree;
  if (node == other) return 0;
  return i + 1 < f->workers ? i + 1 : other;
}
static uint32_t twisted_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target) {
  uint32_t root = f->workers + tree, other = f->workers + 1 - tree;
  if (node == other) return target == 0 ? 0 : FOREST_NONE;
  return node != root ? FOREST_NONE : target == 0 ? other : target;
}

START_TEST(check_finds_a_server_with_changing_children) {
  struct forest f = make(FOREST_STAR, 3, 2);
  struct forest_shape s = shape_star;
  s.member = all_in, s.parent = twisted_parent, s.n_children = twisted_count, s.child = twisted_child, s.toward = twisted_toward;
  s.own_at = twisted_count, s.depth = two;
  find(s, &f, "has other children in tree");
}
END_TEST

START_TEST(check_finds_a_forest_that_was_tampered_with) {
  struct forest f = make(FOREST_DIRECT, 4, 0);
  agg_error_t err;
  f.trees = 5;
  ck_assert_int_eq(forest_check(&f, &err), AGG_EINVAL);
  f.trees = 0;
  ck_assert_int_eq(forest_check(&f, &err), AGG_EINVAL);
  f = (struct forest){.kind = FOREST_RING, .workers = UINT32_MAX, .servers = 2, .trees = 1};
  ck_assert_int_eq(forest_check(&f, &err), AGG_EINVAL);
  f = (struct forest){.kind = 9, .workers = 2, .trees = 2};
  ck_assert_int_eq(forest_check(&f, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "forest kind 9 is unknown");
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("forest");
  TCase *t = tcase_create("forest");
  tcase_add_test(t, every_small_forest_is_sound);
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
  tcase_add_test(t, check_finds_every_fault);
  tcase_add_test(t, check_finds_a_wrong_way);
  tcase_add_test(t, check_finds_strangers_taken_for_members);
  tcase_add_test(t, check_finds_a_server_with_changing_children);
  tcase_add_test(t, check_finds_a_forest_that_was_tampered_with);
  suite_add_tcase(s, t);
  return s;
}
