/* The proof: every single wrong answer of every shape is found, known faults are named, and the frame of a forest is checked first. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/forestry.h"
#include "topology/shape.h"

static struct forest make(unsigned kind, uint32_t workers, uint32_t servers) {
  return forest_made(kind, kind == FOREST_TREE ? 2 : 0, workers, servers, NULL);
}

/* ---- shapes with a fault that is known ------------------------------------------------------------------------------------- */

static uint32_t none_1(const struct forest_part *f, uint32_t a) { return (void)f, (void)a, FOREST_NONE; }
static uint32_t none_2(const struct forest_part *f, uint32_t a, uint32_t b) { return (void)f, (void)a, (void)b, FOREST_NONE; }
static uint32_t same_child(const struct forest_part *f, uint32_t a, uint32_t node, uint32_t i) {
  return (void)f, (void)a, (void)i, node == 0;
}
static uint32_t two(const struct forest_part *f) { return (void)f, 2; }
static uint32_t huge(const struct forest_part *f, uint32_t a, uint32_t b) { return (void)f, (void)a, (void)b, 1u << 30; }
static int but_worker_1(const struct forest_part *f, uint32_t tree, uint32_t node) { return (void)tree, node < f->workers && node != 1; }
static int not_0_in_3(const struct forest_part *f, uint32_t tree, uint32_t node) { return node < f->workers && (tree != 3 || node != 0); }
static int nobody(const struct forest_part *f, uint32_t tree, uint32_t node) { return (void)f, (void)tree, (void)node, 0; }
static int everyone(const struct forest_part *f, uint32_t tree, uint32_t node) { return (void)f, (void)tree, (void)node, 1; }
static uint32_t huge_1(const struct forest_part *f, uint32_t a) { return (void)f, (void)a, 1u << 30; }
static uint32_t zero(const struct forest_part *f, uint32_t a, uint32_t b) { return (void)f, (void)a, (void)b, 0; }
static uint32_t step_level(const struct forest_part *f, uint32_t a, uint32_t b) { return shape_ring.level(f, a, b) == 0 ? 0 : 1; }
static uint32_t always_up(const struct forest_part *f, uint32_t tree, uint32_t node) { return (void)tree, (node + 1) % f->workers; }
static uint32_t root_outside(const struct forest_part *f, uint32_t tree) { return (void)tree, f->workers + f->servers; }
static uint32_t target_itself(const struct forest_part *f, uint32_t a, uint32_t b, uint32_t target) {
  return (void)f, (void)a, (void)b, target;
}
static uint32_t leap(const struct forest_part *f, uint32_t a, uint32_t b, uint32_t target) {
  return shape_ring.toward(f, a, b, target) == FOREST_NONE ? FOREST_NONE : target;
}
static uint32_t tree_as_rooted(const struct forest_part *f, uint32_t node) { return (void)f, (node + 1) % 4; }
/* direct's tree 0, but workers 1 and 2 hang on each other */
static uint32_t pair_parent(const struct forest_part *f, uint32_t tree, uint32_t node) {
  (void)f;
  if (tree == 0 && (node == 1 || node == 2)) return 3 - node;
  return node == tree ? FOREST_NONE : tree;
}
static uint32_t pair_count(const struct forest_part *f, uint32_t tree, uint32_t node) {
  if (tree == 0) return node != 3;
  return node == tree ? f->workers - 1 : 0;
}
static uint32_t pair_child(const struct forest_part *f, uint32_t tree, uint32_t node, uint32_t i) {
  if (tree == 0) return 3 - node;
  return shape_direct.child(f, tree, node, i);
}

static uint32_t pair_toward(const struct forest_part *f, uint32_t tree, uint32_t node, uint32_t target) {
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
  s = shape_direct, s.root = root_outside, find(s, &f, "node 0 says it is the root of tree 0, which is 4");
  s.rooted_at = none_1, find(s, &f, "its root 4 is not a member");
  s = shape_direct, s.parent = always_up, find(s, &f, "has a parent");
  s = shape_direct, s.rooted_at = none_1, find(s, &f, "does not know that it is one");
  s = shape_direct, s.rooted_at = tree_as_rooted, find(s, &f, "says it is the root of tree 1, which is 1");
  s = shape_direct, s.rooted_at = huge_1, find(s, &f, "says it is the root of tree");
  s = shape_direct, s.parent = none_2, find(s, &f, "which has another parent");
  s = shape_direct, s.parent = huge, find(s, &f, "has a parent");
  s = shape_direct, s.member = but_worker_1, find(s, &f, "child 1 of node 0 is not a member");
  s = shape_direct, s.member = not_0_in_3, find(s, &f, "tree 3: worker 0 is not a member");
  s = shape_direct, s.child = same_child, find(s, &f, "has child 1 at 1, which says 0");
  s = shape_direct, s.n_children = huge, find(s, &f, "more than there are nodes");
  s = shape_direct, s.own_at = huge, find(s, &f, "folds its own part");
  s = shape_direct, s.depth = two, find(s, &f, "longest way");
  s = shape_direct, s.parent = pair_parent, s.n_children = pair_count, s.child = pair_child, s.toward = pair_toward, s.index = zero,
  find(s, &f, "is at level");
  s = shape_direct, s.level = zero, find(s, &f, "node 0 is at level 0, its child 1 at level 0");
  s = shape_direct, s.level = huge, find(s, &f, "its root 0 is at level 1073741824");
  s = shape_ring, s.level = step_level, find(s, &f, "at level");
  s = shape_direct, s.index = huge, find(s, &f, "which says 1073741824");
  s = shape_direct, s.index = zero, find(s, &f, "which says 0");
  s = shape_direct, s.trees = two, find(s, &f, "4 trees are not what a direct has");
}
END_TEST

START_TEST(check_finds_a_wrong_way) {
  struct forest f = make(FOREST_RING, 4, 0);
  struct forest_shape s = shape_ring;
  s.toward = leap, find(s, &f, "tree 0: at node 3 the way to node 1 is 1, not 2");
  s.toward = target_itself, find(s, &f, "is not below node");
  s = shape_direct, s.toward = target_itself;
  struct forest d = make(FOREST_DIRECT, 4, 0);
  find(s, &d, "is not below node");
}
END_TEST

START_TEST(check_finds_strangers_taken_for_members) {
  struct forest f = make(FOREST_STAR, 3, 2);
  struct forest_shape s = shape_star;
  s.member = everyone, find(s, &f, "no parent and is not the root");
  s = shape_star, s.member = nobody, find(s, &f, "is not a member");
}
END_TEST

/* Every server is in every tree: as root in its own, above one worker in the others; the children differ, which no lane can serve. */
static int all_in(const struct forest_part *f, uint32_t tree, uint32_t node) { return (void)tree, node < f->workers + f->servers; }
static uint32_t twisted_parent(const struct forest_part *f, uint32_t tree, uint32_t node) {
  uint32_t root = f->workers + tree, other = f->workers + 1 - tree;
  return node == root ? FOREST_NONE : node == 0 ? other : root;
}
static uint32_t twisted_count(const struct forest_part *f, uint32_t tree, uint32_t node) {
  return node < f->workers ? 0 : node == f->workers + tree ? f->workers : 1;
}
static uint32_t twisted_child(const struct forest_part *f, uint32_t tree, uint32_t node, uint32_t i) {
  uint32_t other = f->workers + 1 - tree;
  if (node == other) return 0;
  return i + 1 < f->workers ? i + 1 : other;
}
static uint32_t twisted_index(const struct forest_part *f, uint32_t tree, uint32_t node) {
  (void)tree;
  return node == 0 ? 0 : node < f->workers ? node - 1 : f->workers - 1;
}
static uint32_t twisted_level(const struct forest_part *f, uint32_t tree, uint32_t node) {
  return node == f->workers + tree ? 0 : node == 0 ? 2 : 1;
}
static uint32_t twisted_toward(const struct forest_part *f, uint32_t tree, uint32_t node, uint32_t target) {
  uint32_t root = f->workers + tree, other = f->workers + 1 - tree;
  if (node == other) return target == 0 ? 0 : FOREST_NONE;
  return node != root ? FOREST_NONE : target == 0 ? other : target;
}

START_TEST(check_finds_a_server_with_changing_children) {
  struct forest f = make(FOREST_STAR, 3, 2);
  struct forest_shape s = shape_star;
  s.member = all_in, s.parent = twisted_parent, s.n_children = twisted_count, s.child = twisted_child, s.toward = twisted_toward;
  s.own_at = twisted_count, s.depth = two, s.index = twisted_index, s.level = twisted_level;
  find(s, &f, "has other children in tree");
}
END_TEST

/* ---- one answer wrong ------------------------------------------------------------------------------------------------------ */

enum answer { ROOT, ROOTED_AT, MEMBER, PARENT, N_CHILDREN, CHILD, INDEX, LEVEL, OWN_AT, TOWARD, DEPTH, ANSWERS };

/* The shape of `base`, but to one question it answers `value`. */
static struct {
  const struct forest_shape *base;
  enum answer answer;
  uint32_t tree, node, at, value;
} lie;

static int lies(enum answer answer, uint32_t tree, uint32_t node, uint32_t at) {
  return lie.answer == answer && lie.tree == tree && lie.node == node && lie.at == at;
}
static int in(const struct forest_part *p, uint32_t tree, uint32_t node) { return lie.base->member(p, tree, node); }

static uint32_t l_trees(const struct forest_part *p) { return lie.base->trees(p); }
static uint32_t l_root(const struct forest_part *p, uint32_t tree) { return lies(ROOT, tree, 0, 0) ? lie.value : lie.base->root(p, tree); }
static uint32_t l_rooted_at(const struct forest_part *p, uint32_t node) {
  return lies(ROOTED_AT, 0, node, 0) ? lie.value : lie.base->rooted_at(p, node);
}
static int l_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return lies(MEMBER, tree, node, 0) ? !in(p, tree, node) : in(p, tree, node);
}
/* Shapes are not asked about strangers, nor about children that a node has not, so these are nobody's. */
static uint32_t l_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return lies(PARENT, tree, node, 0) ? lie.value : in(p, tree, node) ? lie.base->parent(p, tree, node) : 0;
}
static uint32_t l_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return lies(N_CHILDREN, tree, node, 0) ? lie.value : in(p, tree, node) ? lie.base->n_children(p, tree, node) : 0;
}
static uint32_t l_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  if (lies(CHILD, tree, node, i)) return lie.value;
  return in(p, tree, node) && i < lie.base->n_children(p, tree, node) ? lie.base->child(p, tree, node, i) : FOREST_NONE;
}
static uint32_t l_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  int asked = in(p, tree, node) && node != lie.base->root(p, tree);
  return lies(INDEX, tree, node, 0) ? lie.value : asked ? lie.base->index(p, tree, node) : 0;
}
static uint32_t l_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return lies(LEVEL, tree, node, 0) ? lie.value : in(p, tree, node) ? lie.base->level(p, tree, node) : 0;
}
static uint32_t l_own_at(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return lies(OWN_AT, tree, node, 0) ? lie.value : in(p, tree, node) ? lie.base->own_at(p, tree, node) : 0;
}
static uint32_t l_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  return lies(TOWARD, tree, node, target) ? lie.value : lie.base->toward(p, tree, node, target);
}
static uint32_t l_depth(const struct forest_part *p) { return lies(DEPTH, 0, 0, 0) ? lie.value : lie.base->depth(p); }

static const struct forest_shape liar = {.name = "liar",
                                         .trees = l_trees,
                                         .root = l_root,
                                         .rooted_at = l_rooted_at,
                                         .member = l_member,
                                         .parent = l_parent,
                                         .n_children = l_n_children,
                                         .child = l_child,
                                         .index = l_index,
                                         .level = l_level,
                                         .own_at = l_own_at,
                                         .toward = l_toward,
                                         .depth = l_depth};

/* Picks a question that the shape has to answer, and its true answer. 0: there is none of this kind here. */
static int pick(const struct forest *f, struct rng *rng, uint32_t *truth) {
  const struct forest_part *p = &f->part[0];
  lie.tree = (uint32_t)rng_below(rng, f->trees), lie.node = (uint32_t)rng_below(rng, forest_nodes(f)), lie.at = 0;
  uint32_t children = forest_n_children(f, lie.tree, lie.node);
  if (lie.answer == ROOT || lie.answer == DEPTH) lie.node = 0;
  if (lie.answer == ROOTED_AT || lie.answer == DEPTH) lie.tree = 0;
  if (lie.answer == CHILD && children > 0) lie.at = (uint32_t)rng_below(rng, children);
  if (lie.answer == TOWARD) lie.at = (uint32_t)rng_below(rng, forest_nodes(f));
  int member = in(p, lie.tree, lie.node), root = lie.node == lie.base->root(p, lie.tree);
  switch (lie.answer) {
    case ROOT:
      return *truth = lie.base->root(p, lie.tree), 1;
    case ROOTED_AT:
      return *truth = lie.base->rooted_at(p, lie.node), 1;
    case MEMBER:
      return *truth = (uint32_t)member, 1;
    case PARENT:
      return *truth = forest_parent(f, lie.tree, lie.node), member;
    case N_CHILDREN:
      return *truth = children, member;
    case CHILD:
      return *truth = forest_child(f, lie.tree, lie.node, lie.at), children > 0;
    case INDEX:
      return *truth = forest_index(f, lie.tree, lie.node), member && !root;
    case LEVEL:
      return *truth = forest_level(f, lie.tree, lie.node), member;
    case OWN_AT:
      return *truth = children, member; /* up to here all is legal */
    case TOWARD:
      return *truth = forest_toward(f, lie.tree, lie.node, lie.at), member && in(p, lie.tree, lie.at) && lie.at != lie.node;
    default:
      return *truth = lie.base->depth(p), 1;
  }
}

static uint32_t wrong(const struct forest *f, struct rng *rng, uint32_t truth) {
  const uint32_t wild[] = {FOREST_NONE, truth + 1, truth - 1, 1u << 31, forest_nodes(f), FOREST_NONE - 1};
  uint32_t value = truth;
  if (lie.answer == OWN_AT) return truth + 1 + (uint32_t)rng_below(rng, 5);
  while (value == truth) value = rng_below(rng, 2) == 0 ? wild[rng_below(rng, ARRAY_LEN(wild))] : (uint32_t)rng_below(rng, forest_nodes(f));
  return value;
}

/* Has the proof look for one lie of this kind. 0: there was none to tell. */
static int tell(const struct forest *f, struct rng *rng, uint64_t seed) {
  uint32_t truth = 0;
  agg_error_t err = {0};
  if (!pick(f, rng, &truth)) return 0;
  lie.value = wrong(f, rng, truth);
  ck_assert_msg(forest_check_shape(f, &liar, &err) == AGG_EINVAL, "seed %llu: %s of %u+%u: answer %d of tree %u node %u at %u: %u, not %u",
                (unsigned long long)seed, lie.base->name, f->workers, f->servers, lie.answer, lie.tree, lie.node, lie.at, lie.value, truth);
  return 1;
}

START_TEST(every_wrong_answer_is_found) {
  uint32_t told[FOREST_KIND_COUNT][ANSWERS] = {0};
  for (uint64_t seed = 1; seed <= (SLOW ? 300 : 3000); seed++) {
    struct rng rng = {seed};
    struct cluster c;
    cluster_random(&c, &rng, 1 + (uint32_t)rng_below(&rng, 10), 1 + (uint32_t)rng_below(&rng, 5));
    struct forest_spec spec = {.kind = (uint8_t)(seed % FOREST_KIND_COUNT)};
    if (spec.kind == FOREST_TREE) spec.arity = (uint8_t)(1 + rng_below(&rng, 3));
    struct forest f;
    lie.base = forest_shape_of(spec.kind);
    lie.answer = ANSWERS;
    int stray = 0; /* a server outside the racks is no shape's to be asked about */
    for (uint32_t s = 0; s < c.servers; s++) stray += c.map->server_rack[s] == FOREST_NONE;
    if (stray == 0 && forest_build(&f, &spec, 1, c.workers, c.servers, c.map, NULL, 0, NULL) == AGG_OK) {
      ck_assert_int_eq(forest_check_shape(&f, &liar, NULL), AGG_OK);
      for (lie.answer = 0; lie.answer < ANSWERS; lie.answer++) told[spec.kind][lie.answer] += (uint32_t)tell(&f, &rng, seed);
    }
    cluster_fini(&c);
  }
  for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) {
    for (unsigned answer = 0; answer < ANSWERS; answer++) ck_assert_msg(told[kind][answer] > 0, "%s %u", forest_kind_name(kind), answer);
  }
}
END_TEST

/* ---- the frame --------------------------------------------------------------------------------------------------------------- */

static void tampered(const struct forest *f, const char *words) {
  agg_error_t err = {0};
  ck_assert_int_eq(forest_check(f, &err), AGG_EINVAL);
  ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" in \"%s\"", words, err.text);
  ck_assert_int_eq(forest_check_node(f, 0, &err), AGG_EINVAL);
  ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" in \"%s\"", words, err.text);
}

START_TEST(check_finds_a_forest_that_was_tampered_with) {
  const struct forest sound = make(FOREST_DIRECT, 4, 1);
  struct forest f;
  f = sound, f.trees = 5, tampered(&f, "5 trees: expected 4");
  f = sound, f.trees = 0, tampered(&f, "0 trees: expected 4");
  f = sound, f.part[0].trees = 5, tampered(&f, "5 trees are not what a direct has");
  f = sound, f.part[0].trees = 0, tampered(&f, "0 trees are not what a direct has");
  f = sound, f.part[0].kind = 9, tampered(&f, "forest kind 9 is unknown");
  f = sound, f.part[0].workers = 5, tampered(&f, "of 5 workers and 1 servers, its forest of 4 and 1");
  f = sound, f.part[0].arity = 3, tampered(&f, "a direct of arity 3");
  f = sound, f.n_parts = 0, tampered(&f, "0 parts");
  f = sound, f.n_parts = 3, tampered(&f, "3 parts");
  f = sound, f.workers = UINT32_MAX, tampered(&f, "expected 1 to 65536 nodes");
  f = sound, f.workers = 0, tampered(&f, "expected 1 to 65536 nodes");
  f = sound, f.servers = FOREST_MAX_NODES, tampered(&f, "expected 1 to 65536 nodes");
  f = sound, f.period = 5, tampered(&f, "a schedule of 5 places for 4 trees");
  uint32_t places[3] = {0, 1, 4};
  f = sound, f.schedule = places, f.period = 3, tampered(&f, "place 2 of the schedule is tree 4");
  f = sound, f.schedule = places, f.period = 0, tampered(&f, "a schedule of 0 places");
  f = sound, f.schedule = places, f.period = FOREST_PERIOD_MAX + 1, tampered(&f, "a schedule of 262145 places");
  f = make(FOREST_TREE, 4, 0), f.part[0].arity = 0, tampered(&f, "a tree of arity 0");
  struct forest_map *m = map_made(2, (uint32_t[]){2, 2}, 2, NULL, 0, NULL);
  f = sound, f.part[0].map = m, tampered(&f, "the map of the direct is of 4 workers and 2 servers: expected 4 and 1");
  forest_map_free(m);
}
END_TEST

START_TEST(a_node_outside_has_no_proof) {
  struct forest f = make(FOREST_STAR, 3, 2);
  agg_error_t err = {0};
  ck_assert_int_eq(forest_check_node(&f, 5, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "node 5: there are 5 nodes");
  ck_assert_int_eq(forest_check_node(&f, FOREST_NONE, NULL), AGG_EINVAL);
  for (uint32_t node = 0; node < 5; node++) ck_assert_int_eq(forest_check_node(&f, node, NULL), AGG_OK);
}
END_TEST

/* Two parts by hand that forest_build would not make: a server is above workers in one, above leaders in the other. */
START_TEST(check_finds_a_server_with_other_children_in_another_part) {
  struct forest_map *m = map_made(1, (uint32_t[]){2, 2}, 2, NULL, 0, NULL);
  struct forest star = forest_made(FOREST_STAR, 0, 4, 1, m), hstar = forest_made(FOREST_HSTAR, 0, 4, 1, m);
  struct forest both = star;
  both.part[1] = hstar.part[0], both.n_parts = 2, both.trees = both.period = 2;
  agg_error_t err = {0};
  ck_assert_int_eq(forest_check(&both, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "server 4 has other children in tree 1 than in tree 0");
  for (uint32_t node = 0; node < 4; node++) ck_assert_int_eq(forest_check_node(&both, node, NULL), AGG_OK);
  both.part[1] = star.part[0]; /* the same ones: fit for the engine */
  ck_assert_int_eq(forest_check(&both, NULL), AGG_OK);
  forest_map_free(m);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("forest_check");
  TCase *t = tcase_create("forest_check");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, check_finds_every_fault);
  tcase_add_test(t, check_finds_a_wrong_way);
  tcase_add_test(t, check_finds_strangers_taken_for_members);
  tcase_add_test(t, check_finds_a_server_with_changing_children);
  tcase_add_test(t, every_wrong_answer_is_found);
  tcase_add_test(t, check_finds_a_forest_that_was_tampered_with);
  tcase_add_test(t, a_node_outside_has_no_proof);
  tcase_add_test(t, check_finds_a_server_with_other_children_in_another_part);
  suite_add_tcase(s, t);
  return s;
}
