/* Loads of the cost model: the closed forms against the walk over all edges, for all shapes and kinds of operation on made-up clusters; the
 * formulas that the documents promise; and what forests need of their nodes, counted edge by edge. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/madefabric.h"
#include "topology/cost.h"

#define SEEDS 300u

static int close_to(double a, double b) { return fabs(a - b) <= 1e-9 * (1 + fabs(a) + fabs(b)); }

static void same(const char *what, uint32_t i, double closed, double walked, const char *where) {
  ck_assert_msg(close_to(closed, walked), "%s: %s[%u] is %.12g in closed form, %.12g walked", where, what, i, closed, walked);
}

static void same_loads(const struct cost_loads *a, const struct cost_loads *b, const char *where) {
  for (uint32_t i = 0; i < a->n_links; i++) {
    same("up", i, a->up[i], b->up[i], where);
    same("down", i, a->down[i], b->down[i], where);
    same("memory", i, a->memory[i], b->memory[i], where);
  }
  for (uint32_t i = 0; i < a->n_nodes; i++) {
    same("sum", i, a->sum[i], b->sum[i], where);
    same("sent", i, a->sent[i], b->sent[i], where);
    same("got", i, a->got[i], b->got[i], where);
    same("copied", i, a->copied[i], b->copied[i], where);
    same("messages", i, a->messages[i], b->messages[i], where);
    same("messages_shm", i, a->messages_shm[i], b->messages_shm[i], where);
  }
}

static double limit(const struct cost_profile *p, double bytes) {
  double t = 0;
  for (uint32_t i = 0; i < p->n_lines; i++) t = fmax(t, p->line[i].byte * bytes + p->line[i].piece);
  return t;
}

static void same_line(const char *what, const struct cost_line *a, const struct cost_line *b, const char *where) {
  same(what, 0, a->byte, b->byte, where);
  same(what, 1, a->piece, b->piece, where);
}

static void same_busy(const char *what, const struct cost_busy *a, const struct cost_busy *b, const char *where) {
  same(what, 0, a->bytes, b->bytes, where);
  same_line(what, &a->node, &b->node, where);
  same_line(what, &a->cores, &b->cores, where);
}

/* phases: whether they are alike as well. */
static void same_part(const struct cost_part *a, const struct cost_part *b, int phases, const char *where) {
  ck_assert(a->turns == b->turns && a->trees == b->trees && a->depth == b->depth);
  same("share", 0, a->share, b->share, where);
  same("trip share", 0, a->trip_share, b->trip_share, where);
  same("above workers", 0, a->above_workers, b->above_workers, where);
  same_busy("busy", &a->busy, &b->busy, where);
  same_line("one", &a->one, &b->one, where);
  if (!phases) return;
  same("hops of the part", 0, a->hops, b->hops, where);
  same_busy("way down", &a->way[0], &b->way[0], where);
  same_busy("way up", &a->way[1], &b->way[1], where);
  same_line("first of the part", &a->first, &b->first, where);
}

/* A rack whose server is the root has a level less than the others; the closed form lets its leaders wait for the rest. uneven: levels of a
 * ring are not alike. */
static void same_profile(const struct forest *f, const struct cost_profile *a, const struct cost_profile *b, int uneven,
                         const char *where) {
  int racks = 0, ring = 0;
  for (uint32_t i = 0; i < f->n_parts; i++) {
    racks |= f->part[i].kind == FOREST_RACK;
    ring |= f->part[i].kind == FOREST_RING;
  }
  for (double bytes = 0; bytes < 2e6; bytes = bytes * 16 + 1) same("limit", 0, limit(a, bytes), limit(b, bytes), where);
  if (racks) return;
  if (!(ring && uneven)) {
    same("hops", 0, a->hops, b->hops, where);
    same_line("first", &a->first, &b->first, where);
  }
  ck_assert_uint_eq(a->n_parts, f->n_parts);
  ck_assert_uint_eq(b->n_parts, f->n_parts);
  for (uint32_t i = 0; i < f->n_parts; i++) same_part(&a->part[i], &b->part[i], !(f->part[i].kind == FOREST_RING && uneven), where);
}

static void compare_with(const struct cost *cost, const struct fabric *f, const struct forest *forest, int uneven, uint64_t seed) {
  char where[160], name[64];
  agg_error_t err = {0};
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) {
    snprintf(where, sizeof where, "seed %llu, %s, %s, %u+%u, %s", (unsigned long long)seed, forest_name(forest, name, sizeof name),
             op_kind_name(kind), f->workers, f->servers, fabric_memory_name(f->memory));
    struct cost_loads a = {0}, b = {0};
    ck_assert_int_eq(cost_loads_of(cost, f, forest, kind, 0, &a, &err), AGG_OK);
    ck_assert_int_eq(cost_loads_of(cost, f, forest, kind, 1, &b, &err), AGG_OK);
    same_loads(&a, &b, where);
    cost_loads_fini(&a);
    cost_loads_fini(&b);
    struct cost_profile p, q;
    ck_assert_int_eq(cost_profile(cost, f, forest, kind, &p, &err), AGG_OK);
    ck_assert_int_eq(cost_walk(cost, f, forest, kind, &q, &err), AGG_OK);
    same_profile(forest, &p, &q, uneven, where);
  }
}

static void compare(const struct cost *cost, struct fabric *f, const struct forest *forest, int weighted, uint64_t seed) {
  for (f->memory = FABRIC_REGISTERED; f->memory <= FABRIC_PRIVATE; f->memory++)
    compare_with(cost, f, forest, weighted || f->memory == FABRIC_PRIVATE, seed);
  f->memory = FABRIC_REGISTERED;
}

/* ---- what forests need ------------------------------------------------------------------------------------------------------------- */

static void count_needs(const struct forest *f, uint64_t seed) {
  uint32_t nodes = forest_nodes(f);
  uint8_t *child = calloc((size_t)nodes * nodes, 1);
  struct cost_needs needs;
  agg_error_t err = {0};
  for (uint32_t t = 0; t < f->trees; t++) {
    for (uint32_t i = 0; i < nodes; i++) {
      uint32_t parent = forest_parent(f, t, i);
      if (parent != FOREST_NONE) child[(size_t)parent * nodes + i] = 1;
    }
  }
  ck_assert_int_eq(cost_needs(&f, 1, &needs, &err), AGG_OK);
  for (uint32_t i = 0; i < nodes; i++) {
    uint32_t children = 0, peers = 0;
    for (uint32_t j = 0; j < nodes; j++) {
      children += child[(size_t)i * nodes + j];
      peers += child[(size_t)i * nodes + j] || child[(size_t)j * nodes + i];
    }
    char name[64];
    if (f->n_parts == 1) {
      ck_assert_msg(needs.children[i] == children && needs.peers[i] == peers,
                    "seed %llu, %s, node %u of %u+%u: %u children, %u peers counted; %u, %u by formula", (unsigned long long)seed,
                    forest_name(f, name, sizeof name), i, f->workers, f->servers, children, peers, needs.children[i], needs.peers[i]);
    } else {
      ck_assert_uint_ge(needs.children[i], children);
      ck_assert_uint_ge(needs.peers[i], peers);
    }
  }
  cost_needs_fini(&needs);
  free(child);
}

/* ---- made-up clusters ---------------------------------------------------------------------------------------------------------------- */

static const struct forest_spec specs[][2] = {
    {{FOREST_STAR, 0}, {0, 0}},           {{FOREST_DIRECT, 0}, {0, 0}},
    {{FOREST_RING, 0}, {0, 0}},           {{FOREST_TREE, 2}, {0, 0}},
    {{FOREST_TREE, 4}, {0, 0}},           {{FOREST_DTREE, 0}, {0, 0}},
    {{FOREST_HIER, 0}, {0, 0}},           {{FOREST_HSTAR, 0}, {0, 0}},
    {{FOREST_RACK, 0}, {0, 0}},           {{FOREST_STAR, 0}, {FOREST_DIRECT, 0}},
    {{FOREST_STAR, 0}, {FOREST_RING, 0}}, {{FOREST_STAR, 0}, {FOREST_HIER, 0}},
};

static void on_cluster(uint64_t seed, const struct cost *cost) {
  struct rng r = {seed};
  struct fabric f;
  struct forest_map *map;
  agg_error_t err = {0};
  struct madefabric what = {.workers_max = 14, .servers_max = 6, .racks_max = 4, .shared = seed % 3 != 0};
  madefabric(&f, &r, &what, cost);
  ck_assert_msg(fabric_map(&f, &map, &err) == AGG_OK, "%s", err.text);
  for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
    uint32_t parts = specs[i][0].kind == FOREST_STAR && specs[i][1].kind != FOREST_STAR ? 2 : 1;
    struct forest forest;
    if (forest_build(&forest, specs[i], parts, f.workers, f.servers, map, NULL, 0, &err) != AGG_OK) continue;
    compare(cost, &f, &forest, 0, seed);
    count_needs(&forest, seed);
    double *weights = calloc(forest.trees, sizeof *weights);
    for (uint32_t t = 0; t < forest.trees; t++) weights[t] = (double)(1 + rng_below(&r, 5)) * (rng_below(&r, 4) != 0 || t == 0);
    forest_fini(&forest);
    ck_assert_int_eq(forest_build(&forest, specs[i], parts, f.workers, f.servers, map, weights, 64, &err), AGG_OK);
    compare(cost, &f, &forest, 1, seed);
    free(weights);
    forest_fini(&forest);
  }
  forest_map_free(map);
  fabric_fini(&f);
}

START_TEST(closed_forms_are_what_a_walk_finds) {
  struct cost cost;
  cost_init(&cost);
  for (uint64_t i = 0; i < SEEDS / 30; i++) on_cluster((uint64_t)_i * (SEEDS / 30) + i, &cost);
}
END_TEST

/* ---- formulas --------------------------------------------------------------------------------------------------------------------- */

static double most(const double *a, uint32_t n) {
  double m = 0;
  for (uint32_t i = 0; i < n; i++) m = fmax(m, a[i]);
  return m;
}

/* The most bytes over any link for a byte of an allreduce, on a flat network. */
static double allreduce_bytes(unsigned kind, uint32_t workers, uint32_t servers) {
  struct cost cost;
  struct fabric f;
  struct forest forest;
  agg_error_t err = {0};
  cost_init(&cost);
  ck_assert_int_eq(fabric_flat(&f, workers, servers, 1e9, &err), AGG_OK);
  fabric_assume(&f, &cost);
  ck_assert_int_eq(forest_init(&forest, kind, workers, servers, &err), AGG_OK);
  struct cost_loads l = {0};
  ck_assert_int_eq(cost_loads_of(&cost, &f, &forest, OP_ALLREDUCE, 0, &l, &err), AGG_OK);
  double bytes = fmax(most(l.up, l.n_links), most(l.down, l.n_links));
  cost_loads_fini(&l);
  fabric_fini(&f);
  return bytes;
}

START_TEST(loads_are_the_known_ones) {
  for (uint32_t n = 2; n <= 9; n++) {
    double ring = 2.0 * (n - 1) / n;
    ck_assert(close_to(allreduce_bytes(FOREST_RING, n, 0), ring));
    ck_assert(close_to(allreduce_bytes(FOREST_DIRECT, n, 0), ring));
    ck_assert(close_to(allreduce_bytes(FOREST_STAR, n, 1), n));
    ck_assert(close_to(allreduce_bytes(FOREST_STAR, n, n), 1));
  }
  ck_assert(close_to(allreduce_bytes(FOREST_TREE, 7, 0), 3)); /* from two children and back from the parent */
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("cost_loads");
  TCase *c = tcase_create("loads");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, closed_forms_are_what_a_walk_finds, 0, 30);
  tcase_add_test(c, loads_are_the_known_ones);
  suite_add_tcase(s, c);
  return s;
}
