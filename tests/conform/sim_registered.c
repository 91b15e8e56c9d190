/* The conformance suite over the simulator as it is with RDMA: sources have to be registered, nothing is mapped. A put from other memory
 * would be a violation, so this holds the suite itself to what such transports can do. */
#include "tests/lib/conform.h"
#include "transport/sim/sim.h"

static struct sim_world *world;
static uint64_t seed = 1;

static void begin(void) {
  struct sim_config c;
  sim_config_init(&c, seed++);
  c.self_driven = 1;
  world = sim_create(&c);
  ck_assert_ptr_nonnull(world);
}

static void end(void) {
  if (sim_violation(world) != NULL) sim_print(world, stderr);
  ck_assert_ptr_null(sim_violation(world));
  sim_destroy(world);
}

static void config(struct tp_config *c) { c->sim = world; }

Suite *make_suite(void) {
  static struct conform conform = {.begin = begin, .end = end, .config = config, .no_sleep = 1};
  conform.ops = sim_ops(0);
  return conform_suite(&conform);
}
