/* The conformance suite over the simulator: it must be held to the contract that it stands for. */
#include "tests/lib/conform.h"
#include "transport/sim/sim.h"

static struct sim_world *world;
static uint64_t seed = 1;

static void begin(void) {
  struct sim_config c;
  sim_config_init(&c, seed++);
  c.self_driven = 1;
  c.map = SIM_MAP_BACKED;
  world = sim_create(&c);
  ck_assert_ptr_nonnull(world);
}

static void end(void) {
  if (sim_violation(world) != NULL) sim_print(world, stderr);
  ck_assert_ptr_null(sim_violation(world));
  sim_destroy(world);
}

static void config(struct tp_config *c) { c->sim = world; }

static const struct conform conform = {.ops = &tp_sim, .begin = begin, .end = end, .config = config, .no_sleep = 1};

Suite *make_suite(void) { return conform_suite(&conform); }
