/* Explanations: all candidates are there, the chosen one is marked, times agree with the cost model, reasons are whole sentences. */
#include "topology/explain.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/madefabric.h"

#define GBIT (1e9 / 8)

struct explained {
  struct fabric f;
  struct plan plan;
  struct explain e;
};

/* x->f is set. */
static void explain_on(struct explained *x, const struct cost *cost, const char *name, unsigned kind, uint64_t bytes) {
  agg_error_t err = {0};
  struct plan_request r = {.plan = name, .fabric = &x->f, .cost = cost};
  ck_assert_msg(plan_make(&r, &x->plan, &err) == AGG_OK, "%s", err.text);
  ck_assert_msg(explain_make(&r, &x->plan, kind, bytes, &x->e, &err) == AGG_OK, "%s", err.text);
}

static struct explained explained(uint32_t workers, uint32_t servers, const char *name, unsigned kind, uint64_t bytes) {
  struct explained x;
  ck_assert_int_eq(fabric_flat(&x.f, workers, servers, GBIT, NULL), AGG_OK);
  explain_on(&x, NULL, name, kind, bytes);
  return x;
}

/* Allreduce over verbs, NICs of 100 Gbit/s. */
static struct explained explained_verbs(uint32_t workers, uint32_t servers, const struct cost *cost, uint64_t bytes) {
  struct explained x;
  ck_assert_int_eq(fabric_flat(&x.f, workers, servers, 100 * GBIT, NULL), AGG_OK);
  x.f.transport = FABRIC_VERBS;
  explain_on(&x, cost, NULL, OP_ALLREDUCE, bytes);
  return x;
}

static void done(struct explained *x) {
  explain_fini(&x->e);
  plan_fini(&x->plan);
  fabric_fini(&x->f);
}

static const struct explain_row *chosen(const struct explain *e) {
  const struct explain_row *found = NULL;
  for (uint32_t i = 0; i < e->n_rows; i++) {
    if (!e->row[i].chosen) continue;
    ck_assert_ptr_null(found);
    found = &e->row[i];
  }
  ck_assert_ptr_nonnull(found);
  return found;
}

START_TEST(the_reason_names_both_and_why) {
  struct explained x = explained(8, 2, "auto", OP_ALLREDUCE, 256u << 20);
  const struct explain_row *c = chosen(&x.e);
  ck_assert_msg(strncmp(c->name, "hybrid: star", 12) == 0, "%s", c->name);
  ck_assert_ptr_nonnull(strstr(x.e.reason, c->name));
  ck_assert_ptr_nonnull(strstr(x.e.reason, "; the next, "));
  ck_assert_ptr_nonnull(strstr(x.e.reason, "limited by NIC of"));
  ck_assert_uint_eq(x.e.reason[strlen(x.e.reason) - 1], '.');
  ck_assert_ptr_nonnull(strstr(x.e.assumed, "assumed: an MTU of 1500 bytes"));
  ck_assert_double_gt(c->time.seconds, 0);
  ck_assert_uint_gt(c->nic_up, 256u << 20);
  done(&x);
}
END_TEST

START_TEST(rows_are_sorted_and_the_rest_says_why) {
  struct explained x = explained(6, 0, "ring", OP_ALLREDUCE, 1 << 20);
  ck_assert_uint_gt(x.e.n_rows, 3);
  int seen_left_out = 0;
  for (uint32_t i = 0; i < x.e.n_rows; i++) {
    const struct explain_row *r = &x.e.row[i];
    if (r->left_out) ck_assert_str_eq(r->limit, "not what AGG_PLAN asks for");
    ck_assert(!seen_left_out || r->left_out);
    seen_left_out |= r->left_out;
    if (i > 0 && !r->left_out) ck_assert_double_ge(r->time.seconds, x.e.row[i - 1].time.seconds);
  }
  ck_assert_str_eq(chosen(&x.e)->name, "ring");
  ck_assert_ptr_nonnull(strstr(x.e.reason, "nothing else was asked for"));
  done(&x);
}
END_TEST

START_TEST(every_kind_and_size_has_a_reason) {
  for (uint32_t servers = 0; servers <= 4; servers += 2) {
    struct explained x = explained(5, servers, NULL, OP_ALLREDUCE, 0);
    struct plan_request r = {.fabric = &x.f};
    for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) {
      for (uint64_t bytes = 1; bytes < 1ull << 40; bytes *= 64) {
        struct explain e;
        char *text = NULL;
        ck_assert_int_eq(explain_make(&r, &x.plan, kind, bytes, &e, NULL), AGG_OK);
        chosen(&e);
        ck_assert_uint_gt(strlen(e.reason), 20);
        ck_assert_int_eq(explain_text(&e, &text, NULL), AGG_OK);
        ck_assert_ptr_nonnull(strstr(text, op_kind_name(kind)));
        ck_assert_ptr_nonnull(strstr(text, "\n* "));
        ck_assert_ptr_nonnull(strstr(text, e.reason));
        free(text);
        explain_fini(&e);
      }
    }
    done(&x);
  }
}
END_TEST

START_TEST(plans_are_printed_with_their_ranges) {
  struct explained x = explained(6, 2, "0-32K:tree,32K-:star", OP_BROADCAST, 5);
  char *text = strdup("before\n");
  ck_assert_int_eq(explain_plan(&x.plan, &text, NULL), AGG_OK);
  ck_assert_int_eq(strncmp(text, "before\n6 workers, 2 servers; ", 29), 0);
  ck_assert_ptr_nonnull(strstr(text, "from 32 KiB     star"));
  ck_assert_ptr_nonnull(strstr(text, "broadcast"));
  free(text);
  done(&x);
}
END_TEST

/* Servers that are nearly enough: the workers' part would be so small that no tree of theirs gets a chunk. */
START_TEST(no_hybrid_has_a_part_without_chunks) {
  uint32_t host_of[36];
  struct explained x;
  struct cost cost;
  for (uint32_t i = 0; i < 36; i++) host_of[i] = i < 32 ? i / 8 : i;
  ck_assert_int_eq(fabric_of_hosts(&x.f, 32, 4, host_of, NULL), AGG_OK);
  x.f.transport = FABRIC_VERBS;
  for (uint32_t i = 1; i < x.f.n_links; i++) x.f.link[i].bytes_per_s = 3200 * GBIT;
  for (uint32_t i = 32; i < 36; i++) x.f.node[i].threads = 32;
  cost_init(&cost);
  ck_assert_int_eq(cost_parse(&cost, "memory=400GB/s,sum=80GB/s", NULL), AGG_OK);
  struct plan_request r = {.fabric = &x.f, .cost = &cost, .lanes = 8};
  ck_assert_int_eq(plan_make(&r, &x.plan, NULL), AGG_OK);
  ck_assert_int_eq(explain_make(&r, &x.plan, OP_ALLREDUCE, 64u << 20, &x.e, NULL), AGG_OK);
  for (uint32_t i = 0; i < x.e.n_rows; i++) ck_assert_msg(strstr(x.e.row[i].name, "star 100 %") == NULL, "%s", x.e.row[i].name);
  done(&x);
}
END_TEST

/* Of 8 MiB for windows direct needs nearly all, which leaves the others windows of 2 chunks, though each alone could have more. */
START_TEST(rows_have_the_windows_that_the_plan_leaves) {
  struct cost cost;
  cost_init(&cost);
  ck_assert_int_eq(cost_parse(&cost, "window=8M", NULL), AGG_OK);
  struct explained x = explained_verbs(64, 8, &cost, 1u << 20);
  const struct explain_row *c = chosen(&x.e);
  ck_assert_str_eq(c->name, "direct");
  for (uint32_t i = 0; i < x.e.n_rows; i++) {
    const struct explain_row *r = &x.e.row[i];
    if (r->left_out) continue;
    ck_assert_uint_le(r->window, x.plan.window);
    ck_assert_double_ge(r->time.seconds, c->time.seconds);
    if (strcmp(r->name, "dtree") == 0) ck_assert(r->wished > 0 && r->wished < c->time.seconds);
  }
  ck_assert_ptr_nonnull(
      strstr(x.e.reason, "as the other waits for its window. With a window that does not fit beside the plan's dtree would take"));
  done(&x);
}
END_TEST

START_TEST(a_hybrid_that_gains_nothing_says_so) {
  struct explained x = explained_verbs(2, 4, NULL, 2u << 20), y = explained_verbs(4, 4, NULL, 64u << 20);
  for (uint32_t i = 0; i < x.e.n_rows; i++) {
    if (strncmp(x.e.row[i].name, "hybrid", 6) == 0)
      ck_assert_str_eq(x.e.row[i].limit, "the servers add nothing: the same without the star");
  }
  for (uint32_t i = 0; i < y.e.n_rows; i++) {
    if (strncmp(y.e.row[i].name, "hybrid", 6) == 0)
      ck_assert_str_eq(y.e.row[i].limit, "the servers alone are as fast: the star is the same");
  }
  done(&x);
  done(&y);
}
END_TEST

START_TEST(a_ring_is_said_to_go_in_turns) {
  struct explained x = explained_verbs(4, 2, NULL, 64u << 20);
  ck_assert_msg(strstr(x.e.reason, "the other's turns up and down add ") != NULL, "%s", x.e.reason);
  done(&x);
}
END_TEST

START_TEST(what_is_as_fast_is_called_so) {
  struct explained x = explained_verbs(2, 0, NULL, 64u << 20);
  ck_assert_msg(strstr(x.e.reason, "; ring is as fast: either would do.") != NULL, "%s", x.e.reason);
  done(&x);
}
END_TEST

/* Three racks whose uplinks are a quarter of one NIC: what passes a NIC says nothing of them. */
START_TEST(an_uplink_is_not_explained_by_nics) {
  struct explained x;
  uint32_t rack[3], host;
  ck_assert_int_eq(fabric_init(&x.f, NULL), AGG_OK);
  for (int i = 0; i < 3; i++) ck_assert_int_eq(fabric_add_link(&x.f, FABRIC_LINK_SWITCH, 0, "rack", 25 * GBIT, &rack[i], NULL), AGG_OK);
  for (int i = 0; i < 24; i++) {
    ck_assert_int_eq(fabric_add_link(&x.f, FABRIC_LINK_HOST, rack[i / 8], "node", 100 * GBIT, &host, NULL), AGG_OK);
    ck_assert_int_eq(fabric_add_node(&x.f, 0, host, NULL), AGG_OK);
  }
  x.f.transport = FABRIC_VERBS;
  explain_on(&x, NULL, NULL, OP_ALLREDUCE, 64u << 20);
  ck_assert_ptr_nonnull(strstr(x.e.reason, "limited by uplink of rack"));
  ck_assert_msg(strstr(x.e.reason, "busiest NIC") == NULL, "%s", x.e.reason);
  done(&x);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("explain");
  TCase *c = tcase_create("explain");
  tcase_add_test(c, no_hybrid_has_a_part_without_chunks);
  tcase_add_test(c, the_reason_names_both_and_why);
  tcase_add_test(c, rows_are_sorted_and_the_rest_says_why);
  tcase_add_test(c, every_kind_and_size_has_a_reason);
  tcase_add_test(c, plans_are_printed_with_their_ranges);
  tcase_add_test(c, rows_have_the_windows_that_the_plan_leaves);
  tcase_add_test(c, a_hybrid_that_gains_nothing_says_so);
  tcase_add_test(c, a_ring_is_said_to_go_in_turns);
  tcase_add_test(c, what_is_as_fast_is_called_so);
  tcase_add_test(c, an_uplink_is_not_explained_by_nics);
  suite_add_tcase(s, c);
  return s;
}
