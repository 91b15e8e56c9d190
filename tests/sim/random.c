/*
 * Random groups, plans and operations on the simulator: one seed is one test. Results must be those of the fixed-order oracle to the bit,
 * whatever the delays. AGG_SIM_SEEDS=<n> runs seeds 1 to n (default 2,000), AGG_SIM_SEED=<s> one, with its trace; seeds that once failed
 * are in tests/data/bad-seeds.txt.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/simnet.h"
#include "tests/lib/simref.h"

#define SEEDS_DEFAULT 2000u
#define STEPS_MAX 3000000u
#define OP_BYTES_MAX (96u << 10) /* of all ranks' inputs and outputs of an operation, about */

/* ---- drawing --------------------------------------------------------------------------------------------------------------- */

static uint64_t between(struct rng *r, uint64_t low, uint64_t high) { return low + rng_below(r, high - low + 1); }

static void draw_network(struct rng *r, struct sim_config *c) {
  static const uint64_t rates[] = {0, 100, 1000, 10000};
  c->latency_ns = between(r, 0, 5000);
  c->jitter_ns = rng_below(r, 3) == 0 ? between(r, 0, 100000) : between(r, 0, 3000);
  c->lane_bytes_per_us = rates[rng_below(r, 4)];
  c->nic_bytes_per_us = rates[rng_below(r, 4)];
  static const uint64_t sent[] = {1000, 5000, 200000, 5000000};
  c->sent_delay_ns = between(r, 0, sent[rng_below(r, ARRAY_LEN(sent))]);
  c->poll_delay_ns = rng_below(r, 4) == 0 ? between(r, 0, 50000) : between(r, 0, 1000);
}

/* Transports that need registered memory get some that is not: it goes through the planes' own. */
static void draw_transports(struct rng *r, struct simnet_setup *s) {
  s->n_tps = 1 + (rng_below(r, 3) == 0);
  int map = (int)rng_below(r, 2);
  s->sim.map = map ? SIM_MAP_BACKED : SIM_MAP_NEVER;
  for (unsigned t = 0; t < SIMNET_TPS_MAX; t++) {
    s->caps[t] = rng_below(r, 2) ? TP_CAP_CHEAP_REG : 0;
    if (rng_below(r, 2)) s->caps[t] |= TP_CAP_ANY_SOURCE;
    if (map && (t == 0 || rng_below(r, 2))) s->caps[t] |= TP_CAP_MAP;
  }
}

/* Hosts and racks of any sizes; every rack that has workers gets a server or two where `rack_servers`. */
static void draw_map(struct rng *r, struct plan *p, int rack_servers) {
  uint32_t host[16], rack_of[16], rack[16], store[64], racks = (uint32_t)between(r, 1, 3), hosts = (uint32_t)between(r, 1, p->workers);
  agg_error_t err = {0};
  for (uint32_t h = 0; h < hosts; h++) rack_of[h] = (uint32_t)rng_below(r, racks);
  for (uint32_t w = 0; w < p->workers; w++) {
    host[w] = (uint32_t)rng_below(r, hosts);
    rack[w] = rack_of[host[w]];
  }
  if (rack_servers) p->servers = racks * (uint32_t)between(r, 1, 2);
  for (uint32_t s = 0; s < p->servers; s++) store[s] = s % racks;
  ck_assert_msg(forest_map_make(p->workers, p->servers, host, rack, store, &p->map, &err) == AGG_OK, "%s", err.text);
}

/* A shape, or a star and another shape among the workers; shares equal or not. */
static void draw_forest(struct rng *r, struct plan *p, unsigned kind, int hybrid) {
  struct forest_spec spec[] = {{.kind = FOREST_STAR},
                               {.kind = (uint8_t)kind, .arity = kind == FOREST_TREE ? (uint8_t)between(r, 1, 4) : 0}};
  double weights[256];
  agg_error_t err = {0};
  for (unsigned i = 0; i < ARRAY_LEN(weights); i++) weights[i] = 1.0 + (double)rng_below(r, 8);
  int rc = forest_build(&p->forest[p->n_forests], hybrid ? spec : spec + 1, hybrid ? 2 : 1, p->workers, p->servers, p->map,
                        rng_below(r, 2) ? weights : NULL, 0, &err);
  ck_assert_msg(rc == AGG_OK, "%s", err.text);
  p->n_forests++;
}

static int needs_servers(unsigned kind) { return kind == FOREST_STAR || kind == FOREST_HSTAR || kind == FOREST_RACK; }

/* A server has the same children in all forests: its stars go together, the other shapes with servers stay alone. */
static void draw_plan(struct rng *r, struct plan *p) {
  unsigned kind = (unsigned)rng_below(r, FOREST_KIND_COUNT);
  *p = (struct plan){.workers = (uint32_t)(rng_below(r, 16) == 0 ? between(r, 9, 16) : between(r, 1, 8))};
  if (needs_servers(kind) || rng_below(r, 3) == 0) p->servers = (uint32_t)between(r, 1, 4);
  if (rng_below(r, 2) || kind == FOREST_RACK) draw_map(r, p, kind == FOREST_RACK);
  draw_forest(r, p, kind, p->servers != 0 && !needs_servers(kind) && rng_below(r, 2));
  if (kind == FOREST_HSTAR || kind == FOREST_RACK || rng_below(r, 4) != 0) return;
  unsigned other = (unsigned)rng_below(r, FOREST_HSTAR);
  if (other == FOREST_STAR && p->servers == 0) other = FOREST_RING;
  draw_forest(r, p, other, p->servers != 0 && other != FOREST_STAR && rng_below(r, 2));
  for (unsigned op = 0; op < OP_KIND_COUNT; op++)
    p->table[op] = (struct plan_table){.n = 2, .rule = {{0, (uint32_t)(op % 2)}, {between(r, 1, 4000), (uint32_t)(1 - op % 2)}}};
}

static void draw_setup(struct rng *r, uint64_t seed, struct simnet_setup *s) {
  static const uint32_t chunks[] = {64, 128, 192, 320, 1024, 4096};
  struct plan plan;
  draw_plan(r, &plan);
  simnet_setup_init(s, seed, FOREST_DIRECT, plan.workers, plan.servers);
  s->plan = plan;
  s->plan.lanes = (uint32_t)between(r, 1, 3);
  s->plan.window = (uint32_t)between(r, 1, 6);
  for (uint32_t i = 0; i < s->plan.n_forests; i++) s->plan.forest_window[i] = (uint32_t)between(r, 0, s->plan.window);
  s->plan.chunk_bytes = chunks[rng_below(r, ARRAY_LEN(chunks))];
  s->priorities = (uint32_t)between(r, 1, 2);
  s->reduce_best = (int)rng_below(r, 2);
  draw_network(r, &s->sim);
  draw_transports(r, s);
}

static uint64_t draw_count(struct rng *r, const struct plan *plan, const struct op_desc *d) {
  uint64_t n = plan->workers, one = n * simref_blocks(plan, d) * agg_dtype_size((agg_dtype_t)d->dtype);
  uint64_t most = MAX_OF(1u, MIN_OF(3000u, OP_BYTES_MAX / one));
  switch (rng_below(r, 6)) {
    case 0:
      return rng_below(r, 3);
    case 1:
      return between(r, 0, most);
    default:
      return between(r, 0, MIN_OF(most, 300u));
  }
}

static struct op_desc draw_op(struct rng *r, const struct plan *plan) {
  struct op_desc d = {.kind = (uint8_t)rng_below(r, OP_KIND_COUNT), .dtype = (uint8_t)rng_below(r, AGG_DTYPE_COUNT)};
  if (d.kind == OP_ALLREDUCE || d.kind == OP_REDUCE || d.kind == OP_REDUCE_SCATTER) d.redop = (uint8_t)rng_below(r, AGG_REDOP_COUNT);
  if (d.kind == OP_REDUCE || d.kind == OP_BROADCAST || d.kind == OP_GATHER || d.kind == OP_SCATTER)
    d.root = (uint32_t)rng_below(r, plan->workers);
  if (d.kind != OP_BARRIER) d.count = draw_count(r, plan, &d);
  return d;
}

static uint32_t draw_ops(struct rng *r, struct simnet *net) {
  int crowd = rng_below(r, 60) == 0; /* more than a node holds at once */
  uint32_t n = (uint32_t)(crowd ? between(r, NODE_OPS_MAX + 1, 2 * NODE_OPS_MAX) : between(r, 1, 12));
  uint64_t spread = crowd ? 1000 : between(r, 0, 60000), now = sim_now(net->world);
  uint32_t late_rank = rng_below(r, 3) == 0 ? (uint32_t)rng_below(r, net->workers) : FOREST_NONE;
  for (uint32_t i = 0; i < n; i++) {
    struct op_desc d = draw_op(r, &net->setup.plan);
    if (crowd) d.count = MIN_OF(d.count, 40u);
    uint32_t priority = (uint32_t)rng_below(r, net->setup.priorities);
    uint64_t in_place = rng_below(r, 3) == 0 ? 0 : rng_next(r);
    struct simnet_op *op = simnet_op_add(net, &d, priority, in_place, UINT64_MAX);
    for (uint32_t rank = 0; rank < net->workers; rank++)
      simnet_post(net, op, rank, now + i * spread / 4 + between(r, 0, spread) + (rank == late_rank ? 1000000 : 0));
  }
  return n;
}

struct nap {
  struct simnet *net;
  uint32_t node;
  uint64_t until;
};

static void fall_asleep(void *user) {
  struct nap *nap = user;
  sim_pause(nap->net->world, nap->net->nodes[nap->node].sim, nap->until);
}

/* Some nodes do not poll for a while, at times when they may be in the middle of something. */
static void draw_naps(struct rng *r, struct simnet *net, struct nap *naps, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    uint64_t at = sim_now(net->world) + between(r, 0, 300000);
    naps[i] = (struct nap){.net = net, .node = (uint32_t)rng_below(r, net->n_nodes), .until = at + between(r, 0, 500000)};
    sim_at(net->world, at, fall_asleep, &naps[i]);
  }
}

/* ---- one seed --------------------------------------------------------------------------------------------------------------- */

/* Returns 1 when all was right. */
static int run_seed(uint64_t seed, int live, uint64_t *steps) {
  struct rng r = {.state = seed ^ 0x5eed};
  struct simnet_setup setup;
  struct nap naps[4];
  char text[600];
  draw_setup(&r, seed, &setup);
  setup.sim.live = live;
  struct simnet *net = simnet_start(&setup);
  draw_ops(&r, net);
  draw_naps(&r, net, naps, (uint32_t)rng_below(&r, ARRAY_LEN(naps) + 1));
  int rested = simnet_run(net, STEPS_MAX);
  const char *wrong = rested ? simnet_check(net, text, sizeof text) : "it does not come to rest";
  if (wrong != NULL || live) simnet_print(net, stderr);
  if (wrong != NULL)
    fprintf(stderr, "seed %llu: %s\n(AGG_SIM_SEED=%llu shows it alone)\n", (unsigned long long)seed, wrong, (unsigned long long)seed);
  *steps += sim_steps(net->world);
  simnet_free(net);
  plan_fini(&setup.plan);
  return wrong == NULL;
}

static uint64_t number_from(const char *variable, uint64_t otherwise) {
  uint64_t value = otherwise;
  const char *text = getenv(variable);
  if (text != NULL && parse_u64(text, UINT64_MAX, &value) != 0) ck_abort_msg("%s=%s is not a number", variable, text);
  return value;
}

START_TEST(seeds_that_once_failed) {
  char line[256];
  uint64_t steps = 0;
  FILE *file = fopen("tests/data/bad-seeds.txt", "re");
  ck_assert_msg(file != NULL, "tests/data/bad-seeds.txt cannot be opened: run the tests from the root of the source tree");
  while (fgets(line, sizeof line, file) != NULL) {
    char *end = line + strcspn(line, " \t\r\n");
    uint64_t seed;
    *end = '\0';
    if (line[0] == '#' || line[0] == '\0') continue;
    ck_assert_msg(parse_u64(line, UINT64_MAX, &seed) == 0, "tests/data/bad-seeds.txt: \"%s\" is not a seed", line);
    ck_assert_msg(run_seed(seed, 0, &steps), "seed %llu fails again", (unsigned long long)seed);
  }
  fclose(file);
}
END_TEST

START_TEST(random_seeds) {
  uint64_t one = number_from("AGG_SIM_SEED", 0), n = number_from("AGG_SIM_SEEDS", SEEDS_DEFAULT), steps = 0;
  if (one != 0) {
    ck_assert(run_seed(one, 1, &steps));
    return;
  }
  for (uint64_t seed = 1; seed <= n; seed++) ck_assert_msg(run_seed(seed, 0, &steps), "seed %llu", (unsigned long long)seed);
  fprintf(stderr, "%llu seeds, %llu events\n", (unsigned long long)n, (unsigned long long)steps);
}
END_TEST

/* The same seed is the same history: what fails once can be looked at again. */
START_TEST(a_seed_is_one_history) {
  for (uint64_t seed = 1; seed <= 20; seed++) {
    uint64_t first = 0, second = 0;
    ck_assert(run_seed(seed, 0, &first) && run_seed(seed, 0, &second));
    ck_assert_uint_eq(first, second);
  }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("sim/random");
  TCase *tc = tcase_create("seeds");
  tcase_set_timeout(tc, 0);
  tcase_add_test(tc, seeds_that_once_failed);
  tcase_add_test(tc, a_seed_is_one_history);
  tcase_add_test(tc, random_seeds);
  suite_add_tcase(suite, tc);
  return suite;
}
