/* Properties of all shapes: proofs of all small forests and of large random ones, and each shape against its definition. */
#include <check.h>
#include <stdlib.h>

#include "tests/lib/forestry.h"
#include "topology/shape.h"

/* Where there are millions: Check notes every assertion. */
#define MUST(cond)                          \
  do {                                      \
    if (!(cond)) ck_abort_msg("%s", #cond); \
  } while (0)

static void sound(const struct forest *f, uint64_t seed) {
  agg_error_t err = {0};
  char name[64];
  ck_assert_msg(forest_check(f, &err) == AGG_OK, "seed %llu: %s of %u+%u: %s", (unsigned long long)seed, forest_name(f, name, sizeof name),
                f->workers, f->servers, err.text);
}

/* Calls use() for every forest of one part that these nodes can have: of all arities up to 5, without a map and with it. */
static void each_forest(uint32_t workers, uint32_t servers, const struct forest_map *map, uint64_t seed,
                        void (*use)(const struct forest *f, uint64_t seed)) {
  for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) {
    for (uint32_t arity = kind == FOREST_TREE; arity <= (kind == FOREST_TREE ? 5 : 0); arity++) {
      for (int mapped = 0; mapped < 2; mapped++) {
        struct forest_spec spec = {.kind = (uint8_t)kind, .arity = (uint8_t)arity};
        struct forest f;
        agg_error_t err = {0};
        int rc = forest_build(&f, &spec, 1, workers, servers, mapped ? map : NULL, NULL, 0, &err);
        if (rc == AGG_OK) {
          use(&f, seed);
        } else { /* only where servers are wanted */
          ck_assert_int_eq(rc, AGG_EINVAL);
          ck_assert_msg(kind == FOREST_RACK || ((kind == FOREST_STAR || kind == FOREST_HSTAR) && servers == 0), "%s", err.text);
        }
      }
    }
  }
}

START_TEST(every_small_forest_is_sound) {
  uint64_t seed = 0;
  for (uint32_t workers = 1; workers <= (SLOW ? 12 : 20); workers++) {
    for (uint32_t servers = 0; servers <= 5; servers++) {
      for (int made = 0; made < (SLOW ? 2 : 6); made++) {
        struct rng rng = {++seed};
        struct cluster c;
        cluster_random(&c, &rng, workers, servers);
        each_forest(workers, servers, c.map, seed, sound);
        cluster_fini(&c);
      }
    }
  }
}
END_TEST

/* All ways to put up to five workers on hosts, and their hosts in racks of two. */
START_TEST(every_placing_of_few_workers_is_sound) {
  for (uint32_t workers = 1; workers <= 5; workers++) {
    uint32_t host[5] = {0}, rack[5], server_rack[] = {0, 1, 2, 0, 1, 2};
    for (;;) {
      struct forest_map *m = NULL;
      for (uint32_t w = 0; w < workers; w++) rack[w] = host[w] / 2;
      ck_assert_int_eq(forest_map_make(workers, 6, host, rack, server_rack, &m, NULL), AGG_OK);
      each_forest(workers, 6, m, 0, sound);
      forest_map_free(m);
      uint32_t w = 0;
      while (w < workers && ++host[w] == workers) host[w++] = 0;
      if (w == workers) break;
    }
  }
}
END_TEST

/* A star beside every shape that may be beside it. */
START_TEST(every_small_hybrid_is_sound) {
  for (uint64_t seed = 1; seed <= (SLOW ? 20 : 100); seed++) {
    struct rng rng = {seed};
    struct cluster c;
    cluster_random(&c, &rng, 1 + (uint32_t)rng_below(&rng, 12), 1 + (uint32_t)rng_below(&rng, 4));
    for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) {
      struct forest_spec spec[] = {{.kind = seed % 2 == 0 ? FOREST_STAR : FOREST_HSTAR}, {.kind = (uint8_t)kind}};
      if (kind == FOREST_TREE) spec[1].arity = 3;
      double *weights = calloc(c.workers + c.servers, sizeof *weights);
      for (uint32_t t = 0; t < c.workers + c.servers; t++) weights[t] = 1 + (double)rng_below(&rng, 50);
      struct forest f;
      int rc = forest_build(&f, spec, 2, c.workers, c.servers, c.map, weights, 0, NULL);
      ck_assert_int_eq(rc, kind == FOREST_STAR || kind == FOREST_HSTAR || kind == FOREST_RACK ? AGG_EINVAL : AGG_OK);
      if (rc == AGG_OK) sound(&f, seed), forest_fini(&f);
      free(weights);
    }
    cluster_fini(&c);
  }
}
END_TEST

/* ---- large ones: the proofs of all nodes ------------------------------------------------------------------------------------------- */

static void proven(const struct forest *f, uint64_t seed) {
  agg_error_t err = {0};
  char name[64];
  for (uint32_t node = 0; node < forest_nodes(f); node++) {
    ck_assert_msg(forest_check_node(f, node, &err) == AGG_OK, "seed %llu: %s of %u+%u: %s", (unsigned long long)seed,
                  forest_name(f, name, sizeof name), f->workers, f->servers, err.text);
  }
}

START_TEST(random_clusters_are_proven) {
  for (uint64_t seed = 1; seed <= (SLOW ? 3 : 10); seed++) {
    struct rng rng = {seed};
    struct cluster c;
    cluster_random(&c, &rng, 1 + (uint32_t)rng_below(&rng, SLOW ? 200 : 500), (uint32_t)rng_below(&rng, 20));
    each_forest(c.workers, c.servers, c.map, seed, proven);
    cluster_fini(&c);
  }
}
END_TEST

START_TEST(four_thousand_nodes_are_proven) {
  struct rng rng = {4096};
  struct cluster c;
  uint32_t nodes = SLOW ? 512 : 4096, servers = 40;
  cluster_random(&c, &rng, nodes - servers, servers);
  for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) {
    struct forest_spec spec = {.kind = (uint8_t)kind, .arity = kind == FOREST_TREE ? 3 : 0};
    struct forest f;
    if (forest_build(&f, &spec, 1, c.workers, c.servers, c.map, NULL, 0, NULL) == AGG_OK)
      proven(&f, 4096);
    else
      ck_assert_uint_eq(kind, FOREST_RACK);
  }
  cluster_fini(&c);
}
END_TEST

START_TEST(the_largest_forests_have_proofs) {
  const uint32_t nodes[] = {0, 1, 4095, 4096, 32767, 40000, 65531, 65532, 65535};
  uint32_t *host = calloc(FOREST_MAX_NODES, sizeof *host), servers = 4;
  for (uint32_t w = 0; w < FOREST_MAX_NODES; w++) host[w] = w / 8;
  struct forest_map *m = NULL;
  ck_assert_int_eq(forest_map_make(FOREST_MAX_NODES - servers, servers, host, NULL, NULL, &m, NULL), AGG_OK);
  for (unsigned kind = 0; kind < FOREST_KIND_COUNT; kind++) {
    struct forest f = forest_made(kind, kind == FOREST_TREE ? 64 : 0, FOREST_MAX_NODES - servers, servers, m);
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) ck_assert_int_eq(forest_check_node(&f, nodes[i], NULL), AGG_OK);
  }
  forest_map_free(m);
  free(host);
}
END_TEST

/* ---- each shape against its definition ---------------------------------------------------------------------------------------------- */

static void same_group_or(const struct forest *f, uint32_t tree, uint32_t worker, uint32_t turn, uint32_t above) {
  const struct forest_map *m = f->part[0].map;
  uint32_t group = m->group_of[m->position_of[worker]], first = m->group_first[group];
  uint32_t leader = m->worker_at[first + turn % (m->group_first[group + 1] - first)];
  ck_assert_uint_eq(forest_parent(f, tree, worker), worker == leader ? above : leader);
}

static void hier_is(const struct forest *f, uint32_t tree) {
  const struct forest_map *m = f->part[0].map;
  uint32_t at = m->position_of[tree], turn = at - m->group_first[m->group_of[at]];
  for (uint32_t w = 0; w < f->workers; w++) same_group_or(f, tree, w, turn, w == tree ? FOREST_NONE : tree);
}

static void rack_is(const struct forest *f, uint32_t tree) {
  const struct forest_map *m = f->part[0].map;
  uint32_t server[8], root = FOREST_NONE;
  for (uint32_t s = m->servers; s-- > 0;) {
    if (m->server_rack[s] == FOREST_NONE || m->server_index[s] != tree) continue;
    server[m->server_rack[s]] = f->workers + s;
    if (m->server_rack[s] == tree % m->racks) root = f->workers + s;
  }
  ck_assert_uint_eq(forest_root(f, tree), root);
  for (uint32_t r = 0; r < m->racks; r++) ck_assert_uint_eq(forest_parent(f, tree, server[r]), server[r] == root ? FOREST_NONE : root);
  for (uint32_t w = 0; w < f->workers; w++) same_group_or(f, tree, w, tree, server[m->rack_of[m->group_of[m->position_of[w]]]]);
}

static void ring_is(const struct forest *f, uint32_t tree) {
  const struct forest_map *m = f->part[0].map;
  uint32_t leaves = 0;
  for (uint32_t i = 0; i < f->workers; i++) {
    uint32_t next = m->worker_at[(i + 1) % f->workers], w = m->worker_at[i];
    ck_assert_uint_eq(forest_parent(f, tree, w), w == tree ? FOREST_NONE : next);
    leaves += forest_n_children(f, tree, w) == 0;
  }
  ck_assert_uint_eq(leaves, 1);
}

static void follows_its_definition(const struct forest *f, uint64_t seed) {
  (void)seed;
  for (uint32_t tree = 0; f->part[0].map != NULL && tree < f->trees; tree++) {
    uint32_t server = f->workers + tree;
    if (f->part[0].kind == FOREST_HIER) hier_is(f, tree);
    if (f->part[0].kind == FOREST_RACK) rack_is(f, tree);
    if (f->part[0].kind == FOREST_RING) ring_is(f, tree);
    for (uint32_t w = 0; w < f->workers; w++) {
      if (f->part[0].kind == FOREST_DIRECT) ck_assert_uint_eq(forest_parent(f, tree, w), w == tree ? FOREST_NONE : tree);
      if (f->part[0].kind == FOREST_STAR) ck_assert_uint_eq(forest_parent(f, tree, w), server);
      if (f->part[0].kind == FOREST_HSTAR) same_group_or(f, tree, w, tree, server);
    }
  }
}

/* Every worker once; trees of depth one in rank order, deeper ones in the order of positions (from the one behind the root on for rings;
 * the second binary tree begins with the second position). */
static void folds_in_order(const struct forest *f, uint64_t seed) {
  const struct forest_map *m = f->part[0].map;
  unsigned kind = f->part[0].kind;
  uint32_t *order = calloc(f->workers + 1, sizeof *order), *seen = calloc(f->workers, sizeof *seen);
  for (uint32_t tree = 0; tree < f->trees; tree++) {
    ck_assert_uint_eq(forest_fold_order(f, tree, forest_root(f, tree), order), f->workers);
    uint32_t start = kind == FOREST_RING ? (m != NULL ? m->position_of[tree] : tree) + 1 : 0;
    for (uint32_t i = 0; i < f->workers; i++) {
      uint32_t position = (start + i) % f->workers, want = m != NULL ? m->worker_at[position] : position;
      if (forest_depth(f) <= 1 && kind != FOREST_RING) want = i;
      if (order[i] != want && (kind != FOREST_DTREE || tree == 0 || f->workers <= 3))
        ck_abort_msg("seed %llu: %s tree %u: %u at %u", (unsigned long long)seed, forest_kind_name(kind), tree, order[i], i);
      MUST(seen[order[i]]++ == tree);
    }
  }
  free(order);
  free(seen);
}

static void on_random_clusters(void (*use)(const struct forest *f, uint64_t seed)) {
  for (uint64_t seed = 1; seed <= (SLOW ? 40 : 200); seed++) {
    struct rng rng = {seed};
    struct cluster c;
    cluster_random(&c, &rng, 1 + (uint32_t)rng_below(&rng, 60), (uint32_t)rng_below(&rng, 12));
    each_forest(c.workers, c.servers, c.map, seed, use);
    cluster_fini(&c);
  }
}

START_TEST(shapes_follow_their_definitions) { on_random_clusters(follows_its_definition); }
END_TEST

START_TEST(folds_are_in_order) { on_random_clusters(folds_in_order); }
END_TEST

START_TEST(a_ring_crosses_each_host_and_rack_once) {
  for (uint64_t seed = 1; seed <= 50; seed++) {
    struct rng rng = {seed};
    struct cluster c;
    cluster_random(&c, &rng, 2 + (uint32_t)rng_below(&rng, 100), 0);
    struct forest f = forest_made(FOREST_RING, 0, c.workers, 0, c.map);
    uint32_t hosts = 0, racks = 0;
    for (uint32_t w = 0; w < c.workers; w++) {
      uint32_t next = forest_parent(&f, w == 0, w == 0 ? 0 : w); /* a tree that w is not the root of */
      hosts += c.host_of[w] != c.host_of[next];
      racks += c.rack_of_worker[w] != c.rack_of_worker[next];
    }
    ck_assert_uint_eq(hosts, c.map->groups == 1 ? 0 : c.map->groups);
    ck_assert_uint_eq(racks, c.map->racks == 1 ? 0 : c.map->racks);
    cluster_fini(&c);
  }
}
END_TEST

START_TEST(groups_of_one_are_direct_and_star) {
  struct rng rng = {5};
  uint32_t rack[30], server_rack[4] = {0};
  struct forest_map *m = NULL;
  for (uint32_t w = 0; w < 30; w++) rack[w] = (uint32_t)rng_below(&rng, 3); /* positions are not ranks */
  ck_assert_int_eq(forest_map_make(30, 4, NULL, rack, server_rack, &m, NULL), AGG_OK);
  const unsigned pairs[][2] = {{FOREST_HIER, FOREST_DIRECT}, {FOREST_HSTAR, FOREST_STAR}};
  for (int p = 0; p < 2; p++) {
    struct forest a = forest_made(pairs[p][0], 0, 30, 4, m), b = forest_made(pairs[p][1], 0, 30, 4, m);
    ck_assert_uint_eq(a.trees, b.trees);
    ck_assert_uint_eq(forest_depth(&a), 1);
    char x[256], y[256];
    for (uint32_t t = 0; t < a.trees; t++) ck_assert_str_eq(forest_draw(&a, t, x, sizeof x), forest_draw(&b, t, y, sizeof y));
  }
  forest_map_free(m);
}
END_TEST

static uint32_t log2_up(uint32_t n) {
  uint32_t bits = 0;
  while (1u << bits < n) bits++;
  return bits;
}

START_TEST(double_binary_trees_share_the_work) {
  for (uint32_t n = 2; n <= (SLOW ? 300 : 1500); n++) {
    struct forest f = forest_made(FOREST_DTREE, 0, n, 0, NULL);
    MUST(f.trees == 2);
    MUST(forest_depth(&f) <= log2_up(n));
    MUST(forest_root(&f, 0) != forest_root(&f, 1));
    for (uint32_t w = 0; w < n; w++) {
      uint32_t a = forest_n_children(&f, 0, w), b = forest_n_children(&f, 1, w);
      MUST(a <= 2);
      MUST(b <= 2);
      MUST(a == 0 || b == 0);
      for (uint32_t t = 0; t < 2; t++) { /* spanning: all ways lead to the root */
        uint32_t at = w, steps = 0;
        while (forest_parent(&f, t, at) != FOREST_NONE) at = forest_parent(&f, t, at), steps++;
        MUST(at == forest_root(&f, t));
        MUST(steps <= forest_depth(&f));
      }
    }
  }
}
END_TEST

START_TEST(trees_are_as_shallow_as_heaps_and_stay_together) {
  for (uint32_t arity = 1; arity <= 64; arity = arity < 6 ? arity + 1 : 2 * arity) {
    for (uint32_t n = 1; n <= (SLOW ? 100 : 400); n += 1 + n / 20) {
      struct forest f = forest_made(FOREST_TREE, arity, n, 0, NULL);
      uint64_t depth = 0, width = 1;
      for (uint64_t room = 1; room < n; depth++) room += width *= arity;
      MUST(forest_depth(&f) == depth);
      uint32_t inner = 0;
      for (uint32_t w = 0; w < n; w++) {
        uint32_t order[401], size = forest_fold_order(&f, 0, w, order);
        for (uint32_t i = 0; i < size; i++) MUST(order[i] == w + i);
        MUST(forest_n_children(&f, 0, w) <= arity);
        inner += forest_n_children(&f, 0, w) != 0;
      }
      if (arity == 1) MUST(inner == n - 1);
    }
  }
}
END_TEST

START_TEST(few_edges_of_a_tree_leave_a_host) {
  const uint32_t hosts = 64, each = 8, workers = hosts * each;
  uint32_t host[64 * 8];
  for (uint32_t w = 0; w < workers; w++) host[w] = w % hosts; /* scattered: the map puts them together */
  struct forest_map *m = NULL;
  ck_assert_int_eq(forest_map_make(workers, 0, host, NULL, NULL, &m, NULL), AGG_OK);
  const unsigned kinds[] = {FOREST_TREE, FOREST_DTREE};
  for (int k = 0; k < 2; k++) {
    struct forest f = forest_made(kinds[k], k == 0 ? 2 : 0, workers, 0, m);
    for (uint32_t t = 0; t < f.trees; t++) {
      uint32_t leave = 0;
      for (uint32_t w = 0; w < workers; w++) leave += w != forest_root(&f, t) && host[w] != host[forest_parent(&f, t, w)];
      ck_assert_uint_le(leave, 3 * hosts); /* of 511; numbered as a heap all but 7 would */
    }
  }
  forest_map_free(m);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("forest_all");
  TCase *t = tcase_create("forest_all");
  tcase_set_timeout(t, 300);
  tcase_add_test(t, every_small_forest_is_sound);
  tcase_add_test(t, every_placing_of_few_workers_is_sound);
  tcase_add_test(t, every_small_hybrid_is_sound);
  tcase_add_test(t, random_clusters_are_proven);
  tcase_add_test(t, four_thousand_nodes_are_proven);
  tcase_add_test(t, the_largest_forests_have_proofs);
  tcase_add_test(t, shapes_follow_their_definitions);
  tcase_add_test(t, folds_are_in_order);
  tcase_add_test(t, a_ring_crosses_each_host_and_rack_once);
  tcase_add_test(t, groups_of_one_are_direct_and_star);
  tcase_add_test(t, double_binary_trees_share_the_work);
  tcase_add_test(t, trees_are_as_shallow_as_heaps_and_stay_together);
  tcase_add_test(t, few_edges_of_a_tree_leave_a_host);
  suite_add_tcase(s, t);
  return s;
}
