/*
 * The node by itself: events in, actions out, no transport. Single steps with a played neighbour: states, slots, windows, texts and faults.
 * Whole groups are in node_groups.c, payloads in tests/sim.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "engine/node_internal.h"
#include "tests/lib/nodes.h"

static struct node_action take(struct node *n, enum node_action_kind kind) {
  struct node_action a = {0};
  ck_assert_msg(node_next_action(n, &a), "there is no action, expected kind %d", (int)kind);
  ck_assert_int_eq(a.kind, kind);
  return a;
}

static void take_none(struct node *n) {
  struct node_action a = {0};
  ck_assert_msg(!node_next_action(n, &a), "unexpected action %d", (int)a.kind);
}

/* `chunks` chunks of 16 f32. */
static struct op_desc allreduce_of(uint32_t chunks) {
  return (struct op_desc){.kind = OP_ALLREDUCE, .dtype = AGG_F32, .count = 16 * chunks};
}

static struct wire_header header_of(const struct op_desc *d, uint32_t op, uint32_t chunk, uint32_t seq) {
  return (struct wire_header){.op = op, .chunk = chunk, .edge_seq = seq, .desc = *d, .payload = 64, .result_key = 1};
}

/* ---- a leaf ---------------------------------------------------------------------------------------------------------------- */

START_TEST(a_leaf_sends_up_and_completes_with_the_result) {
  struct plan plan = plan_of(FOREST_STAR, 2, 1, 1);
  struct node *n = node_of(&plan, 0, 0);
  struct op_desc d = allreduce_of(1);
  ck_assert(node_idle(n));
  ck_assert_int_eq(node_explain(n, 0).wait, WAIT_NOT_POSTED);
  ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
  struct node_action up = take(n, ACT_SEND_UP);
  const struct node_chunk *v = node_chunk(n, up.ctx);
  ck_assert_uint_eq(up.peer, 2);
  ck_assert_uint_eq(up.slot, 0);
  ck_assert(up.with_payload && v->own_input && v->own_output && v->down_payload && !v->fold);
  ck_assert_uint_eq(v->place.bytes, 64);
  take_none(n);
  struct node_reason why = node_explain(n, 0);
  ck_assert_int_eq(why.wait, WAIT_RESULT);
  ck_assert_uint_eq(why.peer, 2);
  ck_assert_uint_eq(node_expected_result(n, 2, 0), 64);
  node_up_sent(n, 2, 0);
  take_none(n);
  node_down(n, 2, 0, 64);
  ck_assert_uint_eq(take(n, ACT_OP_DONE).op, 0);
  take_none(n);
  ck_assert(node_idle(n));
  ck_assert_uint_eq(node_chunks_done(n), 1);
  ck_assert_uint_eq(node_expected_result(n, 2, 0), 0);
  ck_assert_int_eq(node_explain(n, 0).wait, WAIT_NOTHING);
  node_destroy(n);
}
END_TEST

START_TEST(a_leaf_keeps_to_its_window) {
  struct plan plan = plan_of(FOREST_STAR, 2, 1, 1);
  struct node *n = node_of(&plan, 1, 0);
  struct op_desc d = allreduce_of(8);
  ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
  for (uint32_t s = 0; s < WINDOW; s++) ck_assert_uint_eq(take(n, ACT_SEND_UP).slot, s);
  take_none(n);
  node_down(n, 2, 1, 64); /* results may come in any order of the slots */
  take_none(n);           /* its put is not reported sent yet */
  node_up_sent(n, 2, 1);
  struct node_action up = take(n, ACT_SEND_UP);
  ck_assert_uint_eq(up.slot, 1);
  ck_assert_uint_eq(node_chunk(n, up.ctx)->up_seq, 1 + WINDOW);
  take_none(n);
  node_destroy(n);
}
END_TEST

/* After 2^32 chunks of one edge, or a little before. */
START_TEST(numbers_of_an_edge_begin_again_with_the_first_slot) {
  struct plan plan = plan_of(FOREST_STAR, 2, 1, 1);
  struct node *n = node_of(&plan, 0, 0);
  struct op_desc d = allreduce_of(2);
  for (uint32_t window = 1; window <= PLAN_WINDOW_MAX; window++) {
    n->window = window;
    uint32_t last = UINT32_MAX / window * window - window - 1;
    ck_assert_uint_eq(last % window, window - 1);
    ck_assert_uint_eq(edge_seq_after(n, last - 1, 1), last);
    ck_assert_uint_eq(edge_seq_after(n, last, 1), 0);
    ck_assert_uint_eq(edge_seq_after(n, last, window), window - 1);
    ck_assert_uint_eq(edge_seq_after(n, last - (window - 1), window), 0);
  }
  n->window = WINDOW;
  n->ups[0].next_seq = UINT32_MAX / WINDOW * WINDOW - WINDOW - 1;
  ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
  ck_assert_uint_eq(take(n, ACT_SEND_UP).slot, WINDOW - 1);
  struct node_action up = take(n, ACT_SEND_UP);
  ck_assert_uint_eq(up.slot, 0);
  ck_assert_uint_eq(node_chunk(n, up.ctx)->up_seq, 0);
  node_destroy(n);
}
END_TEST

START_TEST(an_operation_without_chunks_on_the_lane_is_done_at_once) {
  struct plan plan = plan_of(FOREST_STAR, 2, 1, 3);
  struct node *n = node_of(&plan, 0, 2);
  struct op_desc d = allreduce_of(1), three = allreduce_of(3);
  ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
  ck_assert_uint_eq(take(n, ACT_OP_DONE).op, 0);
  take_none(n);
  ck_assert(node_idle(n));
  ck_assert_int_eq(node_post(n, 1, &three, FAR_AWAY), AGG_OK);
  ck_assert_uint_eq(node_chunk(n, take(n, ACT_SEND_UP).ctx)->chunk, 2);
  node_destroy(n);
}
END_TEST

START_TEST(a_full_node_asks_to_be_offered_again) {
  struct plan plan = plan_of(FOREST_STAR, 2, 1, 1);
  struct node *n = node_of(&plan, 0, 0);
  struct op_desc d = allreduce_of(1);
  for (uint32_t op = 0; op < NODE_OPS_MAX; op++) ck_assert_int_eq(node_post(n, op, &d, FAR_AWAY), AGG_OK);
  ck_assert_int_eq(node_post(n, NODE_OPS_MAX, &d, FAR_AWAY), AGG_ELIMIT);
  for (uint32_t s = 0; s < WINDOW; s++) take(n, ACT_SEND_UP);
  node_up_sent(n, 2, 0);
  node_down(n, 2, 0, 64);
  ck_assert_int_eq(node_post(n, NODE_OPS_MAX, &d, FAR_AWAY), AGG_OK);
  ck_assert_int_eq(node_explain(n, NODE_OPS_MAX).wait, WAIT_RESULT); /* for the oldest that is open */
  node_destroy(n);
}
END_TEST

START_TEST(a_late_operation_is_told_once_and_goes_on) {
  struct plan plan = plan_of(FOREST_STAR, 2, 1, 1);
  struct node *n = node_of(&plan, 0, 0);
  struct op_desc d = allreduce_of(1);
  ck_assert_int_eq(node_post(n, 0, &d, 1000), AGG_OK);
  ck_assert_int_eq(node_post(n, 1, &d, 2000), AGG_OK);
  take(n, ACT_SEND_UP);
  take(n, ACT_SEND_UP);
  node_time(n, 999);
  take_none(n);
  node_time(n, 1000);
  ck_assert_uint_eq(take(n, ACT_LATE).op, 0);
  node_time(n, 1500);
  take_none(n);
  node_time(n, 5000);
  ck_assert_uint_eq(take(n, ACT_LATE).op, 1);
  take_none(n);
  node_up_sent(n, 2, 0);
  node_down(n, 2, 0, 64);
  ck_assert_uint_eq(take(n, ACT_OP_DONE).op, 0);
  node_destroy(n);
}
END_TEST

/* ---- a root ---------------------------------------------------------------------------------------------------------------- */

START_TEST(a_root_folds_in_rank_order_when_all_is_there) {
  struct plan plan = plan_of(FOREST_DIRECT, 3, 0, 1);
  struct node *n = node_of(&plan, 1, 0);
  struct op_desc d = {.kind = OP_REDUCE, .dtype = AGG_F32, .count = 16, .root = 1};
  struct wire_header h = header_of(&d, 0, 0, 0);
  h.result_key = 0;     /* nothing comes down to them */
  node_up(n, 2, 0, &h); /* before the own call: it waits */
  take_none(n);
  ck_assert(!node_idle(n));
  ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
  take_none(n);
  struct node_reason why = node_explain(n, 0);
  ck_assert_int_eq(why.wait, WAIT_CONTRIBUTION);
  ck_assert_uint_eq(why.peer, 0);
  node_up(n, 0, 0, &h);
  struct node_action fold = take(n, ACT_FOLD);
  const struct node_chunk *v = node_chunk(n, fold.ctx);
  uint32_t first = node_child_first(n, fold.ctx), second = node_child_next(n, first);
  ck_assert_uint_eq(v->inputs, 3);
  ck_assert_uint_eq(v->own_at, 1);
  ck_assert_uint_eq(v->scratch, FOREST_NONE);
  ck_assert_uint_eq(node_child(n, first).peer, 0);
  ck_assert_uint_eq(node_child(n, second).peer, 2);
  ck_assert_uint_eq(node_child_next(n, second), FOREST_NONE);
  node_folded(n, fold.ctx);
  for (uint32_t i = 0; i < 2; i++) {
    struct node_action down = take(n, ACT_SEND_DOWN);
    ck_assert_uint_eq(down.peer, i == 0 ? 0 : 2);
    ck_assert(!down.with_payload);
  }
  take_none(n); /* done only when both are reported sent */
  ck_assert_int_eq(node_explain(n, 0).wait, WAIT_SEND);
  node_sent(n, fold.ctx);
  take_none(n);
  node_sent(n, fold.ctx);
  take(n, ACT_OP_DONE);
  ck_assert(node_idle(n));
  node_destroy(n);
}
END_TEST

START_TEST(alone_a_worker_completes_by_itself) {
  static const unsigned kinds[] = {FOREST_DIRECT, FOREST_RING};
  for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
    struct plan plan = plan_of(kinds[k], 1, 0, 1);
    struct node *n = node_of(&plan, 0, 0);
    struct op_desc d = allreduce_of(20);
    struct node_action a;
    int done = 0, folds = 0;
    ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
    while (node_next_action(n, &a)) {
      if (a.kind == ACT_FOLD) node_folded(n, a.ctx), folds++;
      done += a.kind == ACT_OP_DONE;
    }
    ck_assert_int_eq(done, 1);
    ck_assert_int_eq(folds, 20);
    ck_assert(node_idle(n));
    node_destroy(n);
  }
}
END_TEST

/* ---- what a peer may not do -------------------------------------------------------------------------------------------------- */

static void expect_fault(struct node *n, enum node_action_kind kind, uint32_t peer, const char *words) {
  struct node_action a = take(n, kind);
  struct wire_header h = {0};
  ck_assert_uint_eq(a.peer, peer);
  if (words != NULL) ck_assert_msg(strstr(a.text, words) != NULL, "\"%s\" says nothing of \"%s\"", a.text, words);
  take_none(n); /* and nothing after it, whatever comes */
  node_up(n, 0, 0, &h);
  node_down(n, 0, 0, 0);
  node_lost(n, 0);
  node_time(n, FAR_AWAY);
  take_none(n);
  node_destroy(n);
}

static struct node *server_of(struct plan *plan) {
  *plan = plan_of(FOREST_STAR, 3, 1, 1);
  return node_of(plan, 3, 0);
}

START_TEST(a_contribution_is_checked_against_its_slot) {
  struct plan plan;
  struct op_desc d = allreduce_of(2);
  struct wire_header h = header_of(&d, 0, 0, 0);
  struct node *n = server_of(&plan);
  node_up(n, 9, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 9, "not a child");
  n = server_of(&plan);
  node_up(n, 1, WINDOW, &h);
  expect_fault(n, ACT_PROTOCOL, 1, "outside its window");
  n = server_of(&plan);
  node_up(n, 1, 0, &h);
  node_up(n, 1, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 1, "still in use");
  n = server_of(&plan);
  h.edge_seq = WINDOW;
  node_up(n, 1, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 1, "wrong sequence");
  n = server_of(&plan);
  h = header_of(&d, 0, 7, 0);
  node_up(n, 1, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 1, "does not have");
  n = server_of(&plan);
  h = header_of(&d, 0, 0, 0);
  node_up(n, 0, 0, &h);
  h.chunk = 1;
  node_up(n, 1, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 1, "another chunk");
  n = server_of(&plan);
  h = header_of(&d, 0, 0, 0);
  h.payload = 60;
  node_up(n, 2, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 2, "wrong length");
  n = server_of(&plan);
  h = header_of(&d, 0, 0, 0);
  h.result_key = 0;
  node_up(n, 2, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 2, "where its result");
}
END_TEST

START_TEST(a_server_refuses_impossible_operations) {
  struct plan plan;
  struct op_desc good = allreduce_of(1), d = good;
  struct wire_header h;
  d.forest = 3;
  h = header_of(&d, 0, 0, 0);
  struct node *n = server_of(&plan);
  node_up(n, 0, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 0, "forest");
  d = good;
  d.root = 3;
  h = header_of(&d, 0, 0, 0);
  n = server_of(&plan);
  node_up(n, 0, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 0, "root");
  d = good;
  d.count = UINT64_MAX;
  h = header_of(&d, 0, 0, 0);
  n = server_of(&plan);
  node_up(n, 0, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 0, "impossible");
  d = good;
  d.kind = OP_BARRIER;
  h = header_of(&d, 0, 0, 0);
  n = server_of(&plan);
  node_up(n, 0, 0, &h);
  expect_fault(n, ACT_PROTOCOL, 0, "barrier");
}
END_TEST

START_TEST(a_result_is_checked_against_what_was_asked) {
  struct plan plan = plan_of(FOREST_STAR, 2, 1, 1);
  struct op_desc d = allreduce_of(1);
  struct node *n = node_of(&plan, 0, 0);
  node_down(n, 2, 0, 64);
  expect_fault(n, ACT_PROTOCOL, 2, "not asked for");
  n = node_of(&plan, 0, 0);
  node_down(n, 1, 0, 64);
  expect_fault(n, ACT_PROTOCOL, 1, "not a parent");
  n = node_of(&plan, 0, 0);
  node_down(n, 2, WINDOW, 64);
  expect_fault(n, ACT_PROTOCOL, 2, "window");
  n = node_of(&plan, 0, 0);
  ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
  take(n, ACT_SEND_UP);
  node_down(n, 2, 0, 60);
  expect_fault(n, ACT_PROTOCOL, 2, "wrong length");
}
END_TEST

START_TEST(a_mismatch_names_both_sides) {
  struct plan plan;
  struct op_desc d = allreduce_of(1), other = d;
  struct wire_header h = header_of(&d, 0, 0, 0);
  struct node *n = server_of(&plan);
  node_up(n, 2, 0, &h);
  other.dtype = AGG_I32;
  h = header_of(&other, 0, 0, 0);
  node_up(n, 0, 0, &h);
  struct node_action a = take(n, ACT_MISMATCH);
  ck_assert_uint_eq(a.peer, 0);
  ck_assert_uint_eq(a.other, 2);
  ck_assert_uint_eq(a.op, 0);
  ck_assert_uint_eq(a.their_op, 0);
  ck_assert(op_desc_equal(&a.ours, &d) && op_desc_equal(&a.theirs, &other));
  node_destroy(n);
  /* a worker compares what waits already when it is called itself */
  plan = plan_of(FOREST_DIRECT, 2, 0, 1);
  n = node_of(&plan, 0, 0);
  node_up(n, 1, 0, &h);
  ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
  a = take(n, ACT_MISMATCH);
  ck_assert_uint_eq(a.peer, 1);
  ck_assert_uint_eq(a.other, 0);
  node_destroy(n);
}
END_TEST

/* Who leaves one out is seen by its next call; the disagreement is about the earlier one, whichever side comes first. */
START_TEST(a_skipped_operation_is_the_one_that_is_reported) {
  for (int ahead_first = 0; ahead_first < 2; ahead_first++) {
    struct plan plan;
    struct op_desc d = allreduce_of(1);
    struct wire_header now = header_of(&d, 4, 0, 0), ahead = header_of(&d, 5, 0, 0);
    struct node *n = server_of(&plan);
    node_up(n, 1, 0, ahead_first ? &ahead : &now);
    node_up(n, 2, 0, ahead_first ? &now : &ahead);
    struct node_action a = take(n, ACT_MISMATCH);
    ck_assert_uint_eq(a.op, 4);
    ck_assert_uint_eq(a.their_op, 5);
    ck_assert_uint_eq(a.peer, ahead_first ? 1 : 2);
    ck_assert_uint_eq(a.other, ahead_first ? 2 : 1);
    node_destroy(n);
  }
}
END_TEST

/* ---- losses ------------------------------------------------------------------------------------------------------------------ */

START_TEST(a_lost_parent_ends_what_needs_it) {
  struct plan plan = plan_of(FOREST_STAR, 2, 2, 1);
  struct op_desc d = allreduce_of(1); /* chunk 0 goes to server 2 */
  struct node *n = node_of(&plan, 0, 0);
  ck_assert_int_eq(node_post(n, 0, &d, FAR_AWAY), AGG_OK);
  take(n, ACT_SEND_UP);
  node_lost(n, 3); /* not needed */
  take_none(n);
  node_up_sent(n, 2, 0);
  node_down(n, 2, 0, 64);
  take(n, ACT_OP_DONE);
  d = allreduce_of(2); /* chunk 1 needs it */
  ck_assert_int_eq(node_post(n, 1, &d, FAR_AWAY), AGG_OK);
  struct node_action a = take(n, ACT_LOST);
  ck_assert_uint_eq(a.peer, 3);
  ck_assert_uint_eq(a.op, 1);
  node_destroy(n);
}
END_TEST

START_TEST(a_server_tells_of_a_lost_child_when_a_chunk_needs_it) {
  struct plan plan;
  struct op_desc d = allreduce_of(1);
  struct wire_header h = header_of(&d, 0, 0, 0);
  struct node *n = server_of(&plan);
  node_up(n, 0, 0, &h);
  node_lost(n, 1);
  ck_assert_uint_eq(take(n, ACT_LOST).peer, 1);
  node_destroy(n);
  n = server_of(&plan); /* lost before anybody asks */
  node_lost(n, 1);
  take_none(n);
  node_up(n, 0, 0, &h);
  ck_assert_uint_eq(take(n, ACT_LOST).peer, 1);
  node_destroy(n);
}
END_TEST

/* ---- edges ------------------------------------------------------------------------------------------------------------------- */

START_TEST(edges_of_a_plan_are_seen_from_both_ends) {
  static const unsigned kinds[] = {FOREST_STAR, FOREST_DIRECT, FOREST_RING};
  for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
    struct plan plan = plan_of(kinds[k], 5, kinds[k] == FOREST_STAR ? 2 : 0, 1);
    uint32_t nodes = plan_nodes(&plan), edges = 0;
    uint8_t roles[7][7];
    for (uint32_t a = 0; a < nodes; a++) node_roles(&plan, a, roles[a]);
    for (uint32_t a = 0; a < nodes; a++)
      for (uint32_t b = 0; b < nodes; b++) {
        ck_assert_int_eq((roles[a][b] & NODE_PARENT) != 0, (roles[b][a] & NODE_CHILD) != 0);
        if (a < b) edges += roles[a][b] != 0;
      }
    ck_assert_uint_eq(edges, kinds[k] == FOREST_RING ? 5 : 10);
  }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("engine/node");
  TCase *tc = tcase_create("node");
  tcase_set_timeout(tc, 300);
  tcase_add_test(tc, a_leaf_sends_up_and_completes_with_the_result);
  tcase_add_test(tc, a_leaf_keeps_to_its_window);
  tcase_add_test(tc, numbers_of_an_edge_begin_again_with_the_first_slot);
  tcase_add_test(tc, an_operation_without_chunks_on_the_lane_is_done_at_once);
  tcase_add_test(tc, a_full_node_asks_to_be_offered_again);
  tcase_add_test(tc, a_late_operation_is_told_once_and_goes_on);
  tcase_add_test(tc, a_root_folds_in_rank_order_when_all_is_there);
  tcase_add_test(tc, alone_a_worker_completes_by_itself);
  tcase_add_test(tc, a_contribution_is_checked_against_its_slot);
  tcase_add_test(tc, a_server_refuses_impossible_operations);
  tcase_add_test(tc, a_result_is_checked_against_what_was_asked);
  tcase_add_test(tc, a_mismatch_names_both_sides);
  tcase_add_test(tc, a_skipped_operation_is_the_one_that_is_reported);
  tcase_add_test(tc, a_lost_parent_ends_what_needs_it);
  tcase_add_test(tc, a_server_tells_of_a_lost_child_when_a_chunk_needs_it);
  tcase_add_test(tc, edges_of_a_plan_are_seen_from_both_ends);
  suite_add_tcase(suite, tc);
  return suite;
}
