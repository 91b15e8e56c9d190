/* Owns nothing: makes plans and nodes of them for tests of the engine by itself. */
#include "nodes.h"

#include <check.h>

struct plan plan_of(unsigned kind, uint32_t workers, uint32_t servers, uint32_t lanes) {
  struct plan p = {.workers = workers, .servers = servers, .n_forests = 1, .lanes = lanes, .window = WINDOW, .chunk_bytes = 64};
  ck_assert_int_eq(forest_init(&p.forest[0], kind, workers, servers, NULL), AGG_OK);
  return p;
}

struct node *node_of(const struct plan *plan, uint32_t self, uint32_t lane) {
  struct node_config c = {.self = self, .plan = plan, .lane = lane, .scratch = node_scratch_wanted(plan, self)};
  struct node *n;
  agg_error_t err = {0};
  ck_assert_msg(node_create(&c, &n, &err) == AGG_OK, "%s", err.text);
  return n;
}
