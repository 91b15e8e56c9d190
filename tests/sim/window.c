/* Windows: a worker whose parent never answers has as many chunks under way to it as the operation's forest may have, and no more. */
#include <check.h>

#include "tests/lib/simnet.h"

#define STEPS_MAX 1000000u
#define WINDOW 8u

/* Two forests of one plan, by the operation's size; the other rank never calls. 0: the plan's window. */
START_TEST(each_forest_has_its_own_window) {
  static const uint32_t windows[][2] = {{3, 5}, {1, 8}, {0, 2}, {8, 0}};
  for (unsigned i = 0; i < 2 * ARRAY_LEN(windows); i++) {
    const uint32_t *window = windows[i / 2], large = i % 2;
    struct simnet_setup setup;
    simnet_setup_init(&setup, i + 1, FOREST_DIRECT, 2, 0);
    simnet_plan_add(&setup, FOREST_DIRECT, 40000);
    setup.plan.window = WINDOW;
    setup.plan.forest_window[0] = window[0];
    setup.plan.forest_window[1] = window[1];
    struct simnet *net = simnet_start(&setup);
    struct op_desc d = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .count = large ? 20000 : 5000};
    simnet_post(net, simnet_op_add(net, &d, 0, 0, UINT64_MAX), 0, sim_now(net->world));
    ck_assert(simnet_run(net, STEPS_MAX));
    struct plane_stats stats;
    plane_get_stats(simnet_plane_at(net, 0, 0, 0)->plane, &stats);
    ck_assert_uint_eq(stats.puts, window[large] != 0 ? window[large] : WINDOW);
    simnet_free(net);
  }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("sim/window");
  TCase *t = tcase_create("window");
  tcase_add_test(t, each_forest_has_its_own_window);
  suite_add_tcase(s, t);
  return s;
}
