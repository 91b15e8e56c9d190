/* What goes wrong between ranks, with real processes: every rank gets a code and a text that names who and what, nobody hangs. */
#include <check.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/ranks.h"
#include "tests/lib/server_proc.h"

static const char *const plans[] = {"direct", "ring"};
static const char *const transports[] = {"shm", "tcp"};

static void start_server(struct server_proc *s) {
  setenv("AGG_TOKEN", "test token", 1);
  ck_assert(SERVER_START(s, "--listen", "127.0.0.1:0"));
}

/* ---- the ranks disagree ------------------------------------------------------------------------------------------------------------ */

enum difference { DIFF_COUNT, DIFF_DTYPE, DIFF_KIND, DIFF_ROOT, DIFF_REDOP, DIFF_TWO_ROOTS, DIFF_CASES };
static const char *const want_ours[] = {"1000 f32", "of 1000 f32", "allreduce of 1000 f32", "from rank 0", "sum", "to rank 0"};
static const char *const want_theirs[] = {"1001 f32", "of 1000 i32", "reduce of 1000 f32", "from rank 1", "max", "to rank 2"};

static int post_different(agg_comm_t *comm, void *buf, enum difference d, int odd, agg_request_t **req) {
  switch (d) {
    case DIFF_COUNT:
      return agg_allreduce(comm, buf, buf, odd ? 1001 : 1000, AGG_F32, AGG_SUM, NULL, req);
    case DIFF_DTYPE:
      return agg_allreduce(comm, buf, buf, 1000, odd ? AGG_I32 : AGG_F32, AGG_SUM, NULL, req);
    case DIFF_KIND:
      return odd ? agg_reduce(comm, buf, buf, 1000, AGG_F32, AGG_SUM, 0, NULL, req)
                 : agg_allreduce(comm, buf, buf, 1000, AGG_F32, AGG_SUM, NULL, req);
    case DIFF_ROOT:
      return agg_broadcast(comm, buf, buf, 1000, AGG_F32, odd ? 1 : 0, NULL, req);
    case DIFF_REDOP:
      return agg_allreduce(comm, buf, buf, 1000, AGG_F32, odd ? AGG_MAX : AGG_SUM, NULL, req);
    default: /* each believes to be the root: they send each other nothing */
      return agg_reduce(comm, buf, buf, 1000, AGG_F32, AGG_SUM, odd ? 2 : 0, NULL, req);
  }
}

static int disagree(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_t *agg;
  agg_comm_t *comm;
  agg_request_t *req = NULL;
  static float buf[2000];
  if (rank_open(config, own, &agg, &comm) != AGG_OK) return 1;
  /* Two operations that agree come first, so that the number of the third is checked. (The end may overtake the second at a slow rank.) */
  int rc = AGG_OK;
  for (int i = 0; i < 3 && rc == AGG_OK; i++) {
    rc = i < 2 ? agg_barrier(comm, NULL, &req) : post_different(comm, buf, *(enum difference *)arg, config->rank == 2, &req);
    if (rc == AGG_OK) rc = agg_wait(&req, -1);
  }
  rank_report_comm(own, rc, comm);
  int again = agg_barrier(comm, NULL, &req); /* the communicator is over: said at once */
  agg_comm_destroy(comm);
  agg_close(agg);
  return again == rc ? 0 : 3;
}

static void check_disagreement(const char *plan, const char *transport, const char *servers, enum difference d) {
  struct ranks_setup setup = {.n = 3, .plan = plan, .transport = transport, .servers = servers};
  struct ranks *r = ranks_start(&setup, disagree, &d);
  for (unsigned i = 0; i < 3; i++) {
    int code = ranks_wait(r, i);
    const struct rank_report *rep = &ranks_reports(r)[i];
    ck_assert_msg(code == 0 && rep->code == AGG_EMISMATCH, "%s %s case %d rank %u: exit %d, status %d, %s", plan, transport, d, i, code,
                  rep->code, rep->text);
    ck_assert_msg(strstr(rep->text, "operation 2:") != NULL && strstr(rep->text, "rank 2 (") != NULL, "%s", rep->text);
    ck_assert_msg(strstr(rep->text, want_ours[d]) != NULL && strstr(rep->text, want_theirs[d]) != NULL, "%s", rep->text);
  }
  ranks_free(r);
}

START_TEST(ranks_that_disagree_are_told_by_name) {
  for (unsigned p = 0; p < ARRAY_LEN(plans); p++)
    for (unsigned t = 0; t < ARRAY_LEN(transports); t++) check_disagreement(plans[p], transports[t], NULL, (enum difference)_i);
}
END_TEST

START_TEST(ranks_that_disagree_are_told_by_name_through_a_server) {
  struct server_proc s;
  start_server(&s);
  check_disagreement("star", "auto", s.address, (enum difference)_i);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* ---- a rank that never calls ----------------------------------------------------------------------------------------------------------
 */

static int one_never_calls(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_t *agg;
  agg_comm_t *comm;
  agg_request_t *req = NULL;
  float x = 1;
  (void)arg;
  if (rank_open(config, own, &agg, &comm) != AGG_OK) return 1;
  int rc = agg_barrier(comm, NULL, &req);
  if (rc == AGG_OK) rc = agg_wait(&req, -1);
  if (rc != AGG_OK) return 2;
  if (config->rank == 1) { /* it computes for ever, as it seems; its communicator learns of the end without a call */
    uint64_t limit = clock_now_ns() + ranks_guard_s() * 1000000000ull;
    while ((rc = agg_comm_status(comm)) == AGG_OK && clock_now_ns() < limit) sched_yield();
  } else {
    rc = agg_allreduce(comm, &x, &x, 1, AGG_F32, AGG_SUM, NULL, &req);
    if (rc == AGG_OK) rc = agg_wait(&req, -1);
  }
  rank_report_comm(own, rc, comm);
  agg_comm_destroy(comm);
  agg_close(agg);
  return 0;
}

START_TEST(a_rank_that_never_calls_is_named) {
  struct ranks_setup setup = {.n = 3, .plan = plans[_i % 2], .transport = transports[_i / 2], .timeout_s = 0.3};
  struct ranks *r = ranks_start(&setup, one_never_calls, NULL);
  char host[64] = "";
  gethostname(host, sizeof host - 1);
  for (unsigned i = 0; i < 3; i++) {
    int code = ranks_wait(r, i);
    const struct rank_report *rep = &ranks_reports(r)[i];
    ck_assert_msg(code == 0 && rep->code == AGG_ETIMEDOUT, "rank %u: exit %d, status %d, %s", i, code, rep->code, rep->text);
    ck_assert_msg(
        strstr(rep->text, "operation 1") != NULL && strstr(rep->text, "rank 1 (") != NULL && strstr(rep->text, "has not called it") != NULL,
        "%s", rep->text);
    ck_assert_msg(strstr(rep->text, host) != NULL && strstr(rep->text, "waited ") != NULL, "%s", rep->text);
  }
  ranks_free(r);
}
END_TEST

/* ---- somebody dies
 * ------------------------------------------------------------------------------------------------------------------------ */

static int reduce_until_it_fails(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_t *agg;
  agg_comm_t *comm;
  agg_request_t *req = NULL;
  void *buf = NULL;
  const size_t count = 300000;
  int rc = AGG_OK;
  (void)arg;
  if (rank_open(config, own, &agg, &comm) != AGG_OK) return 1;
  if (agg_mem_alloc(agg, count * 4, &buf) != AGG_OK) return 2;
  uint64_t last = 0;
  while (rc == AGG_OK) {
    last = clock_now_ns();
    rc = agg_allreduce(comm, buf, buf, count, AGG_F32, AGG_SUM, NULL, &req);
    if (rc == AGG_OK) rc = agg_wait(&req, -1);
    if (rc == AGG_OK) atomic_fetch_add(&own->stage, 1);
  }
  own->seconds = (double)(clock_now_ns() - last) / 1e9;
  rank_report_comm(own, rc, comm);
  agg_comm_destroy(comm);
  agg_mem_free(agg, buf);
  agg_close(agg);
  return 0;
}

static void check_survivors(struct ranks *r, unsigned n, unsigned victim, const char *name) {
  for (unsigned i = 0; i < n; i++) {
    int code = ranks_wait(r, i);
    const struct rank_report *rep = &ranks_reports(r)[i];
    if (i == victim) continue;
    ck_assert_msg(code == 0 && rep->code == AGG_EPEER, "rank %u: exit %d, status %d, %s", i, code, rep->code, rep->text);
    ck_assert_msg(strstr(rep->text, name) != NULL, "rank %u: %s", i, rep->text);
    ck_assert_msg(rep->seconds < 3.0 * ranks_guard_s() / 40, "rank %u heard of it after %.3f s", i, rep->seconds);
  }
}

START_TEST(survivors_are_told_which_worker_was_killed) {
  unsigned victim = _i / 4 == 0 ? 1 : 0; /* rank 0 coordinates */
  struct ranks_setup setup = {.n = 4, .plan = plans[_i % 2], .transport = transports[_i / 2 % 2]};
  struct ranks *r = ranks_start(&setup, reduce_until_it_fails, NULL);
  for (unsigned i = 0; i < setup.n; i++) ck_assert(stage_wait(&ranks_reports(r)[i].stage, 3));
  kill(ranks_pid(r, victim), SIGKILL);
  check_survivors(r, setup.n, victim, victim == 0 ? "rank 0" : "rank 1");
  ranks_free(r);
}
END_TEST

START_TEST(workers_are_told_which_server_was_killed) {
  struct server_proc s;
  start_server(&s);
  struct ranks_setup setup = {.n = 3, .servers = s.address, .transport = transports[_i]};
  struct ranks *r = ranks_start(&setup, reduce_until_it_fails, NULL);
  for (unsigned i = 0; i < setup.n; i++) ck_assert(stage_wait(&ranks_reports(r)[i].stage, 3));
  kill(s.pid, SIGKILL);
  check_survivors(r, setup.n, RANKS_MAX, "server 0");
  ranks_free(r);
  ck_assert_int_eq(server_wait(&s), 128 + SIGKILL);
}
END_TEST

/* ---- those who may not, and what does not fit
 * -------------------------------------------------------------------------------------------- */

static int only_open(const agg_config_t *config, struct rank_report *all, void *arg) {
  agg_t *agg;
  agg_comm_t *comm;
  (void)arg;
  if (rank_open(config, &all[config->rank], &agg, &comm) != AGG_OK) return 0;
  agg_comm_destroy(comm);
  agg_close(agg);
  return 0;
}

START_TEST(a_wrong_token_is_refused_and_says_so) {
  struct ranks_setup setup = {.n = 2, .token = {"right", "wrong"}, .join_timeout_s = 1};
  struct ranks *r = ranks_start(&setup, only_open, NULL);
  ck_assert_int_eq(ranks_wait(r, 1), 0);
  ck_assert_int_eq(ranks_wait(r, 0), 0);
  const struct rank_report *rep = ranks_reports(r);
  ck_assert_msg(rep[1].code == AGG_EAUTH && strstr(rep[1].text, "token") != NULL, "%d %s", rep[1].code, rep[1].text);
  ck_assert_msg(rep[0].code == AGG_ETIMEDOUT && strstr(rep[0].text, "rank 1") != NULL, "%d %s", rep[0].code, rep[0].text);
  ranks_free(r);
}
END_TEST

START_TEST(buffers_beyond_the_memory_limit_are_refused_with_what_to_change) {
  struct ranks_setup setup = {.n = 2, .memory_limit = 1000};
  struct ranks *r = ranks_start(&setup, only_open, NULL);
  for (unsigned i = 0; i < 2; i++) {
    ck_assert_int_eq(ranks_wait(r, i), 0);
    const struct rank_report *rep = &ranks_reports(r)[i];
    ck_assert_msg(rep->code == AGG_ELIMIT && strstr(rep->text, "AGG_MEMORY_LIMIT") != NULL, "%d %s", rep->code, rep->text);
  }
  ranks_free(r);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("e2e/faults");
  TCase *c = tcase_create("faults");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, ranks_that_disagree_are_told_by_name, 0, DIFF_CASES);
  tcase_add_loop_test(c, ranks_that_disagree_are_told_by_name_through_a_server, 0, DIFF_CASES);
  tcase_add_loop_test(c, a_rank_that_never_calls_is_named, 0, 4);
  tcase_add_loop_test(c, survivors_are_told_which_worker_was_killed, 0, 8);
  tcase_add_loop_test(c, workers_are_told_which_server_was_killed, 0, 2);
  tcase_add_test(c, a_wrong_token_is_refused_and_says_so);
  tcase_add_test(c, buffers_beyond_the_memory_limit_are_refused_with_what_to_change);
  suite_add_tcase(s, c);
  return s;
}
