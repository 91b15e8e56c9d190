/*
 * Planes over transports that reach registered memory only: what was registered is not copied, what was not passes through the planes' own
 * memory, exactly once each way and hop, and all of it is counted in plane_memory.
 */
#include <check.h>

#include "tests/lib/simnet.h"
#include "topology/cost_internal.h"

#define STEPS_MAX 1000000u
#define COUNT 300u /* several chunks of 256 bytes, on several slots, more than once */
#define BYTES (COUNT * 4u)
#define EVEN 3840u /* 60 chunks: as many for each of 2 to 6 trees */

static const unsigned kinds[] = {OP_ALLREDUCE, OP_REDUCE, OP_BROADCAST, OP_ALLGATHER, OP_REDUCE_SCATTER, OP_GATHER, OP_SCATTER, OP_BARRIER};

static const struct {
  unsigned forest;
  uint32_t workers, servers;
} shapes[] = {{FOREST_STAR, 3, 1}, {FOREST_STAR, 4, 2}, {FOREST_DIRECT, 3, 0}, {FOREST_DIRECT, 2, 0}, {FOREST_RING, 5, 0}};

static struct simnet *start(unsigned shape, uint64_t seed, uint32_t caps, enum simnet_memory memory) {
  struct simnet_setup setup;
  simnet_setup_init(&setup, seed, shapes[shape].forest, shapes[shape].workers, shapes[shape].servers);
  setup.caps[0] = caps;
  setup.sim.map = caps & TP_CAP_MAP ? SIM_MAP_BACKED : SIM_MAP_NEVER;
  setup.memory = memory;
  return simnet_start(&setup);
}

static struct plane_stats node_stats(struct simnet *net, uint32_t node) {
  struct plane_stats s;
  plane_get_stats(simnet_plane_at(net, node, 0, 0)->plane, &s);
  return s;
}

static void run_all(struct simnet *net) {
  char text[600];
  ck_assert(simnet_run(net, STEPS_MAX));
  const char *wrong = simnet_check(net, text, sizeof text);
  if (wrong != NULL) simnet_print(net, stderr);
  ck_assert_msg(wrong == NULL, "%s", wrong);
}

static void add_ops(struct simnet *net, uint64_t in_place) {
  for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
    struct op_desc d = {.kind = (uint8_t)kinds[i], .dtype = AGG_F32, .count = kinds[i] == OP_BARRIER ? 0 : COUNT};
    simnet_post_all(net, simnet_op_add(net, &d, 0, in_place, UINT64_MAX), sim_now(net->world));
  }
}

/* Every operation over every shape, in place and not; with a transport that maps as well. */
START_TEST(registered_memory_is_not_copied) {
  for (unsigned shape = 0; shape < ARRAY_LEN(shapes); shape++)
    for (uint64_t seed = 1; seed <= 4; seed++) {
      struct simnet *net = start(shape, seed, 0, SIMNET_ALL);
      add_ops(net, seed % 2 ? UINT64_MAX : 0);
      run_all(net);
      for (uint32_t n = 0; n < net->n_nodes; n++) ck_assert_uint_eq(node_stats(net, n).copy_bytes, 0);
      simnet_free(net);
    }
}
END_TEST

START_TEST(other_memory_passes_through) {
  static const uint32_t caps[] = {0, TP_CAP_ANY_SOURCE, TP_CAP_CHEAP_REG, TP_CAP_MAP, TP_CAP_MAP | TP_CAP_ANY_SOURCE};
  for (unsigned shape = 0; shape < ARRAY_LEN(shapes); shape++)
    for (uint64_t seed = 1; seed <= 4; seed++) {
      struct simnet *net = start(shape, seed, caps[_i], SIMNET_NONE);
      add_ops(net, seed % 2 ? UINT64_MAX : 0);
      run_all(net);
      simnet_free(net);
    }
}
END_TEST

/* A star: each worker copies its contribution out and its result in, once; the server nothing. */
START_TEST(once_each_way) {
  static const struct {
    uint32_t caps;
    unsigned up, down;
  } rows[] = {{0, 1, 1}, {TP_CAP_ANY_SOURCE, 0, 1}, {TP_CAP_CHEAP_REG, 1, 0}, {TP_CAP_ANY_SOURCE | TP_CAP_CHEAP_REG, 0, 0}};
  struct simnet *net = start(0, 7, rows[_i].caps, SIMNET_NONE);
  struct op_desc d = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .count = COUNT};
  simnet_post_all(net, simnet_op_add(net, &d, 0, 0, UINT64_MAX), sim_now(net->world));
  run_all(net);
  for (uint32_t n = 0; n < net->workers; n++) ck_assert_uint_eq(node_stats(net, n).copy_bytes, (rows[_i].up + rows[_i].down) * BYTES);
  ck_assert_uint_eq(node_stats(net, net->workers).copy_bytes, 0);
  simnet_free(net);
}
END_TEST

/* The root of a broadcast has nobody above it: what it sends leaves from the children's slots, what they get lands in their bounce areas.
 */
START_TEST(a_root_sends_from_the_childrens_slots) {
  struct simnet *net = start(3, 3, 0, SIMNET_NONE);
  struct op_desc d = {.kind = OP_BROADCAST, .dtype = AGG_F32, .count = COUNT};
  simnet_post_all(net, simnet_op_add(net, &d, 0, 0, UINT64_MAX), sim_now(net->world));
  run_all(net);
  ck_assert_uint_eq(node_stats(net, 0).copy_bytes, BYTES);
  ck_assert_uint_eq(node_stats(net, 1).copy_bytes, BYTES);
  simnet_free(net);
}
END_TEST

/* The planner's model of copies, held against what planes copy: node by node, for all operations. */
static void expect_predicted(const struct simnet *net, const struct fabric *f, unsigned kind, const char *where) {
  struct cost cost;
  struct cost_loads l = {0};
  cost_init(&cost);
  ck_assert_int_eq(cost_loads_of(&cost, f, &net->setup.plan.forest[0], kind, 0, &l, NULL), AGG_OK);
  for (uint32_t n = 0; n < net->n_nodes; n++) {
    double copied = (double)node_stats((struct simnet *)(uintptr_t)net, n).copy_bytes, predicted = l.copied[n] * EVEN * 4;
    ck_assert_msg(copied - predicted < 1 && predicted - copied < 1, "%s, node %u: %g bytes are copied, %g predicted", where, n, copied,
                  predicted);
  }
  cost_loads_fini(&l);
}

START_TEST(copies_are_those_that_the_planner_counts) {
  static const struct {
    unsigned forest;
    uint32_t workers, servers;
  } rows[] = {{FOREST_STAR, 3, 1}, {FOREST_STAR, 4, 2}, {FOREST_DIRECT, 3, 0}, {FOREST_DIRECT, 2, 0}, {FOREST_RING, 5, 0},
              {FOREST_RING, 2, 0}, {FOREST_TREE, 6, 0}, {FOREST_DTREE, 5, 0},  {FOREST_TREE, 1, 0}};
  for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
    int blocks = kinds[k] == OP_ALLGATHER || kinds[k] == OP_REDUCE_SCATTER;
    struct simnet_setup setup;
    struct fabric f;
    char where[96];
    if (blocks && (rows[_i].forest == FOREST_TREE || rows[_i].forest == FOREST_DTREE)) continue; /* the model takes all blocks for alike */
    simnet_setup_init(&setup, 5, rows[_i].forest, rows[_i].workers, rows[_i].servers);
    setup.caps[0] = 0;
    setup.sim.map = SIM_MAP_NEVER;
    setup.memory = SIMNET_NONE;
    struct simnet *net = simnet_start(&setup);
    ck_assert_int_eq(fabric_flat(&f, rows[_i].workers, rows[_i].servers, 1e9, NULL), AGG_OK);
    f.transport = FABRIC_VERBS;
    f.memory = FABRIC_PRIVATE;
    struct op_desc d = {.kind = (uint8_t)kinds[k], .dtype = AGG_F32, .count = kinds[k] == OP_BARRIER ? 0 : EVEN};
    d.root = cost_case_of(&net->setup.plan.forest[0], kinds[k]).root;
    simnet_post_all(net, simnet_op_add(net, &d, 0, 0, UINT64_MAX), sim_now(net->world));
    run_all(net);
    (void)snprintf(where, sizeof where, "row %d, %s", _i, op_kind_name(kinds[k]));
    expect_predicted(net, &f, kinds[k], where);
    fabric_fini(&f);
    simnet_free(net);
  }
}
END_TEST

START_TEST(memory_is_announced) {
  static const uint32_t all = TP_CAP_ANY_SOURCE | TP_CAP_CHEAP_REG;
  for (unsigned shape = 0; shape < ARRAY_LEN(shapes); shape++) {
    struct simnet_setup s;
    simnet_setup_init(&s, 1, shapes[shape].forest, shapes[shape].workers, shapes[shape].servers);
    struct plane_tp free_tp = {.ops = sim_ops(all)}, bound[2] = {{.ops = sim_ops(all)}, {.ops = sim_ops(0)}};
    for (uint32_t n = 0; n < shapes[shape].workers + shapes[shape].servers; n++) {
      uint64_t parents = 0, without = plane_memory(&s.plan, n, &free_tp, 1), with = plane_memory(&s.plan, n, bound, 2);
      for (uint32_t peer = 0; peer < plan_nodes(&s.plan); peer++)
        for (uint32_t t = 0, is = 0; !is && t < s.plan.forest[0].trees; t++)
          if (forest_member(&s.plan.forest[0], t, n) && forest_parent(&s.plan.forest[0], t, n) == peer) parents += is = 1;
      ck_assert_uint_ge(with - without, parents * s.plan.window * s.plan.chunk_bytes);
      ck_assert_uint_le(with - without, parents * s.plan.window * (s.plan.chunk_bytes + 128));
      if (n >= shapes[shape].workers) ck_assert_uint_eq(with, without); /* servers are roots */
    }
  }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("sim/registered");
  TCase *tc = tcase_create("registered");
  tcase_set_timeout(tc, 60);
  tcase_add_test(tc, registered_memory_is_not_copied);
  tcase_add_loop_test(tc, other_memory_passes_through, 0, 5);
  tcase_add_loop_test(tc, once_each_way, 0, 4);
  tcase_add_test(tc, a_root_sends_from_the_childrens_slots);
  tcase_add_loop_test(tc, copies_are_those_that_the_planner_counts, 0, 9);
  tcase_add_test(tc, memory_is_announced);
  suite_add_tcase(suite, tc);
  return suite;
}
