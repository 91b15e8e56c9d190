/* The chooser: what is asked for, what cannot be and how that is said, limits, and that no candidate would have been much faster. */
#include "topology/choose.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/util.h"
#include "tests/lib/expect.h"
#include "tests/lib/madefabric.h"

#define GBIT (1e9 / 8)
#define MIB (1ull << 20)

static void sound(const struct plan *p) {
  agg_error_t err = {0};
  for (uint32_t i = 0; i < plan_nodes(p); i++) ck_assert_msg(plan_check(p, i, &err) == AGG_OK, "node %u: %s", i, err.text);
}

static struct plan make(struct plan_request r) {
  struct plan p;
  agg_error_t err = {0};
  ck_assert_msg(plan_make(&r, &p, &err) == AGG_OK, "%s", err.text);
  sound(&p);
  return p;
}

static void refuse_as(int code, struct plan_request r, const char *words) {
  struct plan p = {.lanes = 77};
  agg_error_t err = {0};
  ck_assert_int_eq(plan_make(&r, &p, &err), code);
  ck_assert_int_eq(err.code, code);
  ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" in \"%s\"", words, err.text);
  ck_assert_uint_eq(p.lanes, 77); /* outputs only on success */
  ck_assert_int_eq(plan_make(&r, &p, NULL), code);
}
static void refuse(struct plan_request r, const char *words) { refuse_as(AGG_EINVAL, r, words); }

static struct fabric flat(uint32_t workers, uint32_t servers, double rate) {
  struct fabric f;
  ck_assert_int_eq(fabric_flat(&f, workers, servers, rate, NULL), AGG_OK);
  return f;
}

/* So many workers on each host; the servers on one more. rate 0: all nodes on one host. */
static struct fabric hosts(uint32_t workers, uint32_t servers, uint32_t a_host, double rate) {
  struct fabric f;
  uint32_t host_of[256];
  for (uint32_t i = 0; i < workers + servers; i++) host_of[i] = rate == 0 ? 0 : i < workers ? i / a_host : 1000;
  ck_assert_int_eq(fabric_of_hosts(&f, workers, servers, host_of, NULL), AGG_OK);
  for (uint32_t i = 0; rate > 0 && i < f.n_links; i++) {
    if (f.link[i].kind == FABRIC_LINK_HOST) f.link[i].bytes_per_s = rate;
  }
  return f;
}

static const struct forest *at(const struct plan *p, uint64_t bytes) { return &p->forest[plan_forest(p, OP_ALLREDUCE, bytes)]; }

static void is(const struct plan *p, uint64_t bytes, unsigned kind) { ck_assert_uint_eq(at(p, bytes)->part[0].kind, kind); }

/* ---- what auto takes ---- */

START_TEST(one_host_takes_what_is_known_to_be_good) {
  for (uint32_t servers = 0; servers <= 2; servers++) {
    struct fabric f = hosts(4, servers, 4, 0);
    struct plan p = make((struct plan_request){.plan = "auto", .fabric = &f});
    for (uint64_t bytes = 1; bytes < 1ull << 32; bytes *= 8) is(&p, bytes, servers != 0 ? FOREST_STAR : FOREST_DIRECT);
    ck_assert_uint_eq(p.chunk_bytes, 128u << 10);
    ck_assert_uint_eq(p.lanes, servers != 0 ? 2 : 1);
    plan_fini(&p);
    fabric_fini(&f);
  }
}
END_TEST

START_TEST(one_worker_is_alone) {
  struct fabric f = flat(1, 0, 0);
  struct plan p = make((struct plan_request){.fabric = &f});
  is(&p, MIB, FOREST_DIRECT);
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

START_TEST(servers_enough_are_a_star) {
  struct fabric f = flat(4, 4, GBIT);
  struct plan p = make((struct plan_request){.plan = "", .fabric = &f});
  is(&p, 64 * MIB, FOREST_STAR);
  ck_assert_uint_eq(at(&p, 64 * MIB)->n_parts, 1);
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

START_TEST(few_servers_are_a_hybrid) {
  struct fabric f = flat(8, 2, GBIT);
  struct plan p = make((struct plan_request){.fabric = &f});
  ck_assert_uint_eq(at(&p, 256 * MIB)->n_parts, 2);
  is(&p, 256 * MIB, FOREST_STAR);
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

/* With two workers M / B is what every shape takes: a star beside direct would gain nothing, whatever its share. */
START_TEST(two_workers_have_no_use_for_a_hybrid) {
  for (uint32_t servers = 1; servers <= 8; servers *= 2) {
    struct fabric f = flat(2, servers, 100 * GBIT);
    f.transport = FABRIC_VERBS;
    struct plan p = make((struct plan_request){.fabric = &f});
    for (uint32_t i = 0; i < p.n_forests; i++) ck_assert_uint_eq(p.forest[i].n_parts, 1);
    plan_fini(&p);
    p = make((struct plan_request){.fabric = &f, .plan = "0-32K:tree,32K-:hybrid"}); /* but what is asked for is made */
    ck_assert_uint_eq(at(&p, MIB)->n_parts, 2);
    plan_fini(&p);
    fabric_fini(&f);
  }
}
END_TEST

START_TEST(many_workers_take_trees_for_small_sizes) {
  struct fabric f = flat(256, 0, GBIT);
  struct plan p = make((struct plan_request){.fabric = &f});
  ck_assert(at(&p, 8)->part[0].kind == FOREST_TREE || at(&p, 8)->part[0].kind == FOREST_DTREE);
  ck_assert(at(&p, 1ull << 32)->part[0].kind != FOREST_TREE); /* one tree alone sends everything three times over its inner nodes */
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

/* Ten racks with an uplink of a tenth of what is below: what crosses it must cross it once. */
START_TEST(thin_uplinks_are_crossed_once) {
  struct fabric f;
  uint32_t rack[4], link;
  ck_assert_int_eq(fabric_init(&f, NULL), AGG_OK);
  for (uint32_t r = 0; r < 4; r++) ck_assert_int_eq(fabric_add_link(&f, FABRIC_LINK_SWITCH, 0, "rack", GBIT, &rack[r], NULL), AGG_OK);
  for (uint32_t i = 0; i < 32; i++) {
    ck_assert_int_eq(fabric_add_link(&f, FABRIC_LINK_HOST, rack[i % 4], "node", GBIT, &link, NULL), AGG_OK);
    ck_assert_int_eq(fabric_add_node(&f, 0, link, NULL), AGG_OK);
  }
  struct plan p = make((struct plan_request){.fabric = &f});
  struct cost cost;
  struct cost_loads l = {0};
  cost_init(&cost);
  fabric_assume(&f, &cost);
  ck_assert_int_eq(cost_loads_of(&cost, &f, at(&p, 256 * MIB), OP_ALLREDUCE, 0, &l, NULL), AGG_OK);
  for (uint32_t r = 0; r < 4; r++) ck_assert(l.up[rack[r]] < 2.01 && l.down[rack[r]] < 2.01);
  cost_loads_fini(&l);
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

/* ---- what is asked for ---- */

START_TEST(a_named_plan_is_taken_at_every_size) {
  const struct {
    const char *name;
    unsigned kind;
  } rows[] = {{"star", FOREST_STAR}, {"direct", FOREST_DIRECT}, {"ring", FOREST_RING}, {"hybrid", FOREST_STAR}, {"hier", FOREST_HSTAR}};
  struct fabric f = hosts(8, 2, 2, GBIT);
  for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
    struct plan p = make((struct plan_request){.plan = rows[i].name, .fabric = &f});
    for (uint64_t bytes = 1; bytes < 1ull << 32; bytes *= 16) {
      unsigned kind = at(&p, bytes)->part[0].kind;
      ck_assert_msg(kind == rows[i].kind || (rows[i].kind == FOREST_HSTAR && kind == FOREST_HIER), "%s: %u", rows[i].name, kind);
      ck_assert_uint_eq(at(&p, bytes)->n_parts, 1 + (strcmp(rows[i].name, "hybrid") == 0));
    }
    plan_fini(&p);
  }
  struct plan p = make((struct plan_request){.plan = "tree", .fabric = &f});
  for (uint32_t i = 0; i < p.n_forests; i++) ck_assert(p.forest[i].part[0].kind == FOREST_TREE || p.forest[i].part[0].kind == FOREST_DTREE);
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

START_TEST(ranges_are_kept_to_the_byte) {
  struct fabric f = flat(6, 2, GBIT);
  struct plan p = make((struct plan_request){.plan = "0-1000:direct,1000-32K:tree,32K-1M:star,1M-:ring", .fabric = &f});
  is(&p, 0, FOREST_DIRECT);
  is(&p, 999, FOREST_DIRECT);
  ck_assert(at(&p, 1000)->part[0].kind == FOREST_TREE || at(&p, 1000)->part[0].kind == FOREST_DTREE);
  ck_assert(at(&p, 32767)->part[0].kind == FOREST_TREE || at(&p, 32767)->part[0].kind == FOREST_DTREE);
  is(&p, 32768, FOREST_STAR);
  is(&p, MIB - 1, FOREST_STAR);
  is(&p, MIB, FOREST_RING);
  is(&p, UINT64_MAX, FOREST_RING);
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

START_TEST(what_is_given_is_not_chosen) {
  struct fabric f = flat(4, 1, GBIT);
  struct plan p = make((struct plan_request){.fabric = &f, .lanes = 3, .window = 17, .chunk_bytes = 1088});
  ck_assert(p.lanes == 3 && p.window == 17 && p.chunk_bytes == 1088);
  plan_fini(&p);
  p = make((struct plan_request){.fabric = &f, .rails = 8});
  ck_assert_uint_eq(p.lanes, 8);
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

START_TEST(strict_keeps_to_the_order_of_ranks) {
  struct fabric f = hosts(12, 2, 3, GBIT);
  struct plan p = make((struct plan_request){.fabric = &f, .strict = 1});
  for (uint32_t i = 0; i < p.n_forests; i++) {
    for (uint32_t j = 0; j < p.forest[i].n_parts; j++)
      ck_assert(p.forest[i].part[j].kind == FOREST_STAR || p.forest[i].part[j].kind == FOREST_DIRECT);
  }
  plan_fini(&p);
  refuse((struct plan_request){.plan = "ring", .fabric = &f, .strict = 1}, "AGG_REPRODUCIBLE=strict");
  refuse((struct plan_request){.plan = "0-1M:star,1M-:tree", .fabric = &f, .strict = 1}, "\"tree\"");
  fabric_fini(&f);
}
END_TEST

/* ---- what cannot be ---- */

START_TEST(impossible_wishes_say_what_to_do) {
  struct fabric f = flat(4, 0, GBIT), lone = flat(1, 1, GBIT);
  refuse((struct plan_request){.plan = "star", .fabric = &f}, "needs a server and none is given: set AGG_SERVERS, or take auto");
  refuse((struct plan_request){.plan = "hybrid", .fabric = &f}, "needs a server");
  refuse((struct plan_request){.plan = "0-1M:tree,1M-:star", .fabric = &f}, "plan \"star\" needs a server");
  refuse((struct plan_request){.plan = "hier", .fabric = &f}, "several hosts with several workers");
  refuse((struct plan_request){.plan = "ring", .fabric = &lone}, "needs two workers and there is one");
  refuse((struct plan_request){.plan = "tree", .fabric = &lone}, "needs two workers");
  refuse((struct plan_request){.fabric = &f, .chunk_bytes = 960}, "chunk of 960 bytes");
  refuse((struct plan_request){.fabric = &f, .chunk_bytes = 4000}, "multiple of 64");
  refuse((struct plan_request){.fabric = &f, .window = 1025}, "window of 1025 chunks: expected 1 to 1024 (AGG_WINDOW)");
  refuse((struct plan_request){.fabric = &f, .lanes = 17}, "17 lanes: expected 1 to 16 (AGG_LANES)");
  fabric_fini(&f);
  fabric_fini(&lone);
  struct fabric none = {0};
  refuse((struct plan_request){.fabric = &none}, "no worker");
}
END_TEST

START_TEST(bad_texts_are_named) {
  const struct {
    const char *text, *words;
  } rows[] = {
      {"treee", "plan \"treee\" is unknown: expected auto, star, direct, ring, tree, hybrid or hier"},
      {"Ring", "unknown"},
      {"ring ", "unknown"},
      {"0-32K:tree", "ends at 32768 bytes: expected a last range without an end, like 32768-:auto"},
      {"0-32K:tree,64K-:ring", "a range begins at 65536 bytes: expected 32768"},
      {"1-:tree", "a range begins at 1 bytes: expected 0"},
      {"0-:tree,32K-:ring", "only the last may be open"},
      {"0-0:tree,0-:ring", "is empty"},
      {"0-32Q:tree,32K-:ring", "ends at \"32Q\""},
      {"x-:tree", "begins at \"x\""},
      {"0-:", "\"\" is unknown"},
      {"0-:tree,", "only the last may be open"},
      {"0-1:tree,", "\"\" is no range"},
      {"0:tree", "is no range"},
      {":tree", "is no range"},
      {"0-1:tree,1-2:tree,2-3:tree,3-4:tree,4-5:tree,5-6:tree,6-7:tree,7-8:tree,8-:tree", "more than 8 ranges"},
      {"0-:treetreetreetreetreetreetreetreetreetreetreetreetreetreetreetreetree", "characters"},
  };
  for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
    agg_error_t err = {0};
    ck_assert_int_eq(plan_text_check(rows[i].text, &err), AGG_EINVAL);
    ck_assert_msg(strstr(err.text, rows[i].words) != NULL, "%s: \"%s\" in \"%s\"", rows[i].text, rows[i].words, err.text);
    ck_assert_msg(strstr(err.text, "AGG_PLAN") != NULL, "%s: %s", rows[i].text, err.text);
  }
  const char *good[] = {NULL, "", "auto", "hier", "0-:auto", "0-32K:tree,32K-:hybrid", "0-1G:star,1G-:ring"};
  for (size_t i = 0; i < ARRAY_LEN(good); i++) ck_assert_int_eq(plan_text_check(good[i], NULL), AGG_OK);
}
END_TEST

/* ---- limits ---- */

static uint64_t window_bytes(const struct plan *p, uint32_t node) {
  const struct forest *forests[PLAN_FORESTS_MAX];
  struct cost_needs needs;
  for (uint32_t i = 0; i < p->n_forests; i++) forests[i] = &p->forest[i];
  ck_assert_int_eq(cost_needs(forests, p->n_forests, &needs, NULL), AGG_OK);
  uint64_t bytes = 2ull * needs.children[node] * p->lanes * p->window * (p->chunk_bytes + WIRE_HEADER_BYTES);
  cost_needs_fini(&needs);
  return bytes;
}

/* Between hosts a forest has no more under way than it wants, though another of the same plan wants more; but rings gain by it. On one host
 * no port's queue is there to be spared. */
START_TEST(a_forest_takes_no_wider_window_than_it_wants) {
  struct fabric f = flat(4, 2, GBIT);
  f.transport = FABRIC_TCP;
  struct plan p = make((struct plan_request){.fabric = &f});
  uint32_t large = plan_forest(&p, OP_ALLREDUCE, 16u * MIB), rings = 0;
  ck_assert_uint_eq(p.forest[large].part[0].kind, FOREST_STAR);
  ck_assert_uint_lt(plan_window(&p, large), p.window);
  for (uint32_t i = 0; i < p.n_forests; i++) {
    const struct forest *of = &p.forest[i];
    if (of->part[of->n_parts - 1].kind != FOREST_RING) continue;
    ck_assert_uint_eq(plan_window(&p, i), p.window);
    rings++;
  }
  ck_assert_uint_gt(rings, 0);
  plan_fini(&p);
  fabric_fini(&f);
  ck_assert_int_eq(fabric_of_hosts(&f, 4, 1, (const uint32_t[]){0, 0, 0, 0, 0}, NULL), AGG_OK);
  p = make((struct plan_request){.fabric = &f});
  for (uint32_t i = 0; i < p.n_forests; i++) ck_assert_uint_eq(plan_window(&p, i), p.window);
  plan_fini(&p);
  fabric_fini(&f);
}
END_TEST

START_TEST(windows_stay_within_each_nodes_limit) {
  for (uint64_t limit = 2 * MIB; limit <= 512 * MIB; limit *= 4) {
    struct fabric f = flat(24, 2, GBIT);
    for (uint32_t i = 0; i < 26; i++) f.node[i].memory_bytes = limit << (i % 3);
    struct plan p = make((struct plan_request){.fabric = &f});
    for (uint32_t i = 0; i < 26; i++) ck_assert_uint_le(window_bytes(&p, i), f.node[i].memory_bytes);
    plan_fini(&p);
    fabric_fini(&f);
  }
}
END_TEST

START_TEST(what_fits_nowhere_is_refused_with_figures) {
  struct fabric f = flat(24, 2, GBIT);
  for (uint32_t i = 0; i < 26; i++) f.node[i].memory_bytes = 1000;
  refuse_as(AGG_ELIMIT, (struct plan_request){.fabric = &f}, "raise AGG_MEMORY_LIMIT");
  refuse_as(AGG_ELIMIT, (struct plan_request){.fabric = &f, .plan = "direct"}, "plan \"direct\" cannot be");
  fabric_fini(&f);
}
END_TEST

START_TEST(connections_have_a_limit) {
  struct fabric f = flat(64, 0, GBIT);
  struct cost cost;
  cost_init(&cost);
  cost.connections = 100;
  struct plan p = make((struct plan_request){.fabric = &f, .cost = &cost});
  for (uint32_t i = 0; i < p.n_forests; i++) ck_assert_uint_ne(p.forest[i].part[0].kind, FOREST_DIRECT);
  plan_fini(&p);
  refuse_as(AGG_ELIMIT, (struct plan_request){.fabric = &f, .cost = &cost, .plan = "direct"}, "would hold 126 connections, more than 100");
  fabric_fini(&f);
}
END_TEST

/* ---- as good as any ---- */

static const struct forest_spec shapes[] = {{FOREST_STAR, 0},  {FOREST_DIRECT, 0}, {FOREST_RING, 0},  {FOREST_TREE, 2}, {FOREST_TREE, 4},
                                            {FOREST_DTREE, 0}, {FOREST_HIER, 0},   {FOREST_HSTAR, 0}, {FOREST_RACK, 0}};

static int serves(const struct forest *f) {
  unsigned kind = f->part[0].kind;
  return kind == FOREST_STAR || kind == FOREST_HSTAR || kind == FOREST_RACK ? (int)kind : -1;
}

/* Another shape of servers than the plan's cannot be in the same plan: it is no rival. */
static int rival(const struct plan *p, const struct forest *f) {
  for (uint32_t i = 0; i < p->n_forests; i++) {
    if (serves(&p->forest[i]) >= 0 && serves(f) >= 0 && serves(&p->forest[i]) != serves(f)) return 0;
  }
  return 1;
}

#define SIZES 25 /* 64 bytes to 1 GiB */

/* The least time of any shape with equal shares, at each size. */
static void best_of_all(const struct cost *cost, const struct fabric *f, const struct plan *p, double *best) {
  struct cost_setting s = {p->lanes, p->window, p->chunk_bytes};
  for (int i = 0; i < SIZES; i++) best[i] = INFINITY;
  for (size_t k = 0; k < ARRAY_LEN(shapes); k++) {
    struct forest forest;
    struct cost_profile profile;
    if (forest_build(&forest, &shapes[k], 1, f->workers, f->servers, p->map, NULL, 0, NULL) != AGG_OK) continue;
    ck_assert_int_eq(cost_walk(cost, f, &forest, OP_ALLREDUCE, &profile, NULL), AGG_OK);
    for (int i = 0; rival(p, &forest) && i < SIZES; i++) best[i] = fmin(best[i], cost_predict(&profile, &s, 64ull << i).seconds);
    forest_fini(&forest);
  }
}

/* A plan has few forests and few ranges, so here and there a candidate would be faster; not by much, and not in the mean. */
START_TEST(no_candidate_would_have_been_faster) {
  struct cost cost;
  cost_init(&cost);
  double sum = 0, n = 0;
  for (uint64_t seed = (uint64_t)_i * 10; seed < (uint64_t)_i * 10 + 10; seed++) {
    struct rng r = {seed};
    struct fabric f;
    struct madefabric what = {.workers_max = 12, .servers_max = 5, .racks_max = 3, .shared = seed % 2 == 0};
    madefabric(&f, &r, &what, &cost);
    struct plan p = make((struct plan_request){.fabric = &f, .cost = &cost});
    double best[SIZES];
    best_of_all(&cost, &f, &p, best);
    for (int i = 0; !fabric_one_host(&f) && i < SIZES; i++) {
      char name[64];
      struct cost_profile mine;
      ck_assert_int_eq(cost_walk(&cost, &f, at(&p, 64ull << i), OP_ALLREDUCE, &mine, NULL), AGG_OK);
      struct cost_setting s = {p.lanes, plan_window(&p, plan_forest(&p, OP_ALLREDUCE, 64ull << i)), p.chunk_bytes};
      double slower = cost_predict(&mine, &s, 64ull << i).seconds / best[i];
      ck_assert_msg(slower <= 1.2, "seed %llu, %u+%u, %llu bytes: %s takes %.3g times as long as the fastest", (unsigned long long)seed,
                    f.workers, f.servers, 64ull << i, forest_name(at(&p, 64ull << i), name, sizeof name), slower);
      sum += slower, n += 1;
    }
    plan_fini(&p);
    fabric_fini(&f);
  }
  ck_assert_msg(sum <= 1.01 * n, "in the mean %.3g times as long as the fastest", sum / n);
}
END_TEST

static double predicted(const struct fabric *f, const char *name, uint64_t bytes) {
  struct cost cost;
  struct cost_profile profile;
  struct fabric known;
  cost_init(&cost);
  struct plan p = make((struct plan_request){.plan = name, .fabric = f, .cost = &cost});
  ck_assert_int_eq(fabric_copy(&known, f, NULL), AGG_OK);
  fabric_assume(&known, &cost);
  ck_assert_int_eq(cost_profile(&cost, &known, at(&p, bytes), OP_ALLREDUCE, &profile, NULL), AGG_OK);
  struct cost_setting s = {p.lanes, plan_window(&p, plan_forest(&p, OP_ALLREDUCE, bytes)), p.chunk_bytes};
  double seconds = cost_predict(&profile, &s, bytes).seconds;
  fabric_fini(&known);
  plan_fini(&p);
  return seconds;
}

/* Each further server helps; with k servers the bound of the hybrid, with as many as workers M / B. */
START_TEST(servers_bring_what_the_formula_promises) {
  double payload = 1448.0 / 1538, bytes = 256.0 * (double)MIB, before = INFINITY;
  for (uint32_t n = 4; n <= 8; n += 4, before = INFINITY) {
    for (uint32_t k = 0; k <= n; k++) {
      struct fabric f = flat(n, k, GBIT);
      double bound = 2.0 * n * (n - 1) / (n * n + k * (n - 2)), best = predicted(&f, "auto", (uint64_t)bytes) * GBIT * payload / bytes;
      ck_assert_msg(best >= bound * (1 - 1e-6) && best <= bound * 1.08, "%u+%u: %g M/B, bound %g", n, k, best, bound);
      ck_assert_msg(best <= before * 1.02, "%u+%u: %g, with one server less %g", n, k, best, before);
      before = best;
      fabric_fini(&f);
    }
  }
}
END_TEST

START_TEST(more_bytes_never_take_less_time) {
  for (uint32_t k = 0; k <= 4; k += 2) {
    struct fabric f = flat(6, k, GBIT);
    double before = 0;
    for (uint64_t bytes = 1; bytes <= 1ull << 30; bytes *= 2) {
      double now = predicted(&f, "auto", bytes);
      ck_assert_msg(now >= before * 0.999, "%u servers, %llu bytes: %g s, half of it %g s", k, (unsigned long long)bytes, now, before);
      before = now;
    }
    fabric_fini(&f);
  }
}
END_TEST

static int same_plan(const struct plan *a, const struct plan *b) {
  int same = a->lanes == b->lanes && a->window == b->window && a->chunk_bytes == b->chunk_bytes && a->n_forests == b->n_forests;
  same &= memcmp(a->table, b->table, sizeof a->table) == 0 && memcmp(a->forest_window, b->forest_window, sizeof a->forest_window) == 0;
  for (uint32_t i = 0; same && i < a->n_forests; i++) {
    same &= a->forest[i].n_parts == b->forest[i].n_parts && a->forest[i].part[0].kind == b->forest[i].part[0].kind;
    same &= a->forest[i].period == b->forest[i].period && (a->forest[i].schedule == NULL) == (b->forest[i].schedule == NULL);
    if (same && a->forest[i].schedule != NULL)
      same &= memcmp(a->forest[i].schedule, b->forest[i].schedule, a->forest[i].period * sizeof(uint32_t)) == 0;
  }
  return same;
}

START_TEST(the_same_request_gives_the_same_plan) {
  struct cost cost;
  cost_init(&cost);
  for (uint64_t seed = 0; seed < 30; seed++) {
    struct rng r = {seed};
    struct fabric f;
    struct madefabric what = {.workers_max = 20, .servers_max = 6, .racks_max = 4, .shared = 1};
    madefabric(&f, &r, &what, &cost);
    struct plan a = make((struct plan_request){.fabric = &f}), b = make((struct plan_request){.fabric = &f});
    ck_assert(same_plan(&a, &b));
    plan_fini(&a);
    plan_fini(&b);
    fabric_fini(&f);
  }
}
END_TEST

/* ---- large ones ---- */

/* A table of n x n bytes alone would be 256 MiB; all of planning stays below a quarter of that. */
START_TEST(thousands_of_workers_need_little_memory) {
  struct fabric f;
  struct plan p;
  agg_error_t err = {0};
  uint32_t *host_of = calloc(16384 + 64, sizeof *host_of);
  for (uint32_t i = 0; i < 16384 + 64; i++) host_of[i] = i < 16384 ? i / 8 : 100000 + i;
  struct rlimit limit = {64u << 20, 64u << 20};
  if (!SANITIZED) ck_assert_int_eq(setrlimit(RLIMIT_DATA, &limit), 0);
  ck_assert_int_eq(fabric_of_hosts(&f, 16384, 64, host_of, &err), AGG_OK);
  struct plan_request r = {.fabric = &f};
  ck_assert_msg(plan_make(&r, &p, &err) == AGG_OK, "%s", err.text);
  for (uint32_t i = 0; i < 16384 + 64; i += 997) ck_assert_msg(plan_check(&p, i, &err) == AGG_OK, "%s", err.text);
  plan_fini(&p);
  fabric_fini(&f);
  free(host_of);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("choose");
  TCase *c = tcase_create("choose");
  tcase_set_timeout(c, 120);
  tcase_add_test(c, one_host_takes_what_is_known_to_be_good);
  tcase_add_test(c, one_worker_is_alone);
  tcase_add_test(c, servers_enough_are_a_star);
  tcase_add_test(c, few_servers_are_a_hybrid);
  tcase_add_test(c, two_workers_have_no_use_for_a_hybrid);
  tcase_add_test(c, many_workers_take_trees_for_small_sizes);
  tcase_add_test(c, thin_uplinks_are_crossed_once);
  tcase_add_test(c, a_named_plan_is_taken_at_every_size);
  tcase_add_test(c, ranges_are_kept_to_the_byte);
  tcase_add_test(c, what_is_given_is_not_chosen);
  tcase_add_test(c, strict_keeps_to_the_order_of_ranks);
  tcase_add_test(c, impossible_wishes_say_what_to_do);
  tcase_add_test(c, bad_texts_are_named);
  tcase_add_test(c, a_forest_takes_no_wider_window_than_it_wants);
  tcase_add_test(c, windows_stay_within_each_nodes_limit);
  tcase_add_test(c, what_fits_nowhere_is_refused_with_figures);
  tcase_add_test(c, connections_have_a_limit);
  tcase_add_loop_test(c, no_candidate_would_have_been_faster, 0, 10);
  tcase_add_test(c, servers_bring_what_the_formula_promises);
  tcase_add_test(c, more_bytes_never_take_less_time);
  tcase_add_test(c, the_same_request_gives_the_same_plan);
  tcase_add_test(c, thousands_of_workers_need_little_memory);
  suite_add_tcase(s, c);
  return s;
}
