/* Planning without memory: each allocation of making and explaining a plan fails once, which is told as AGG_ENOMEM and leaks nothing. The
 * Makefile puts the allocators' calls through here. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "topology/explain.h"

void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

static long fail_at = -1, calls; /* -1: none */

static int fails(void) { return fail_at >= 0 && calls++ == fail_at; }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *old, size_t size) { return fails() ? NULL : __real_realloc(old, size); }

static int run(const struct plan_request *r, agg_error_t *err) {
  struct plan plan;
  struct explain e;
  char *text = NULL;
  int rc = plan_make(r, &plan, err);
  if (rc != AGG_OK) return rc;
  rc = explain_make(r, &plan, OP_ALLREDUCE, 1 << 20, &e, err);
  if (rc == AGG_OK) {
    rc = explain_text(&e, &text, err);
    if (rc == AGG_OK) rc = explain_plan(&plan, &text, err);
    explain_fini(&e);
  }
  free(text);
  plan_fini(&plan);
  return rc;
}

/* Two racks, hosts with two workers, three unequal servers: every shape and every solver is there. */
static void make_fabric(struct fabric *f) {
  uint32_t rack[2], host = 0;
  ck_assert_int_eq(fabric_init(f, NULL), AGG_OK);
  for (int i = 0; i < 2; i++) ck_assert_int_eq(fabric_add_link(f, FABRIC_LINK_SWITCH, 0, "rack", 2e9, &rack[i], NULL), AGG_OK);
  for (int i = 0; i < 11; i++) {
    if (i >= 8 || i % 2 == 0)
      ck_assert_int_eq(fabric_add_link(f, FABRIC_LINK_HOST, rack[i / 2 % 2], "node", 1e9 * (1 + i % 3), &host, NULL), AGG_OK);
    ck_assert_int_eq(fabric_add_node(f, i >= 8, host, NULL), AGG_OK);
  }
}

START_TEST(every_allocation_may_fail) {
  static const char *const plans[] = {"auto", "hybrid", "hier"};
  struct fabric f;
  make_fabric(&f);
  for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
    struct plan_request r = {.plan = plans[i], .fabric = &f};
    int rc = AGG_ENOMEM;
    long at = 0;
    for (; rc != AGG_OK; at += at < 200 ? 1 : 7) {
      agg_error_t err = {0};
      calls = 0;
      fail_at = at;
      rc = run(&r, &err);
      fail_at = -1;
      ck_assert_msg(rc == AGG_OK || rc == AGG_ENOMEM, "allocation %ld: %d, %s", at, rc, err.text);
      ck_assert(rc == AGG_OK || strstr(err.text, "no memory") != NULL);
    }
    ck_assert_int_gt(at, 50);
  }
  fabric_fini(&f);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("plan_memory");
  TCase *c = tcase_create("plan_memory");
  tcase_set_timeout(c, 120);
  tcase_add_test(c, every_allocation_may_fail);
  suite_add_tcase(s, c);
  return s;
}
