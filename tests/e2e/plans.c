/*
 * Plans between real processes: every one that can be had, chosen by name, by size and by a description of the fabric; the same bits where
 * sums are in rank order; and rounds of measured times. Operations, types and memory are in collectives.c.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "libagg/tune.h"
#include "tests/lib/expect.h"
#include "tests/lib/ranks.h"
#include "tests/lib/server_proc.h"

#define COUNT (SANITIZED ? 60013u : 300007u)

static void start_server(struct server_proc *s, const char *topology) {
  setenv("AGG_TOKEN", "test token", 1);
  ck_assert(topology != NULL ? SERVER_START(s, "--listen", "127.0.0.1:0", "--topology", topology)
                             : SERVER_START(s, "--listen", "127.0.0.1:0"));
}

/* What a rank of these tests is told. */
struct task {
  const char *topology, *reproducible, *cost;
  uint32_t rounds; /* operations of a few bytes besides */
};

static struct ranks *run(const struct ranks_setup *s, rank_fn fn, struct task *task, int expect) {
  struct ranks *r = ranks_start(s, fn, task);
  for (unsigned i = 0; i < s->n; i++) {
    int code = ranks_wait(r, i);
    const struct rank_report *rep = &ranks_reports(r)[i];
    ck_assert_msg(code == 0 && rep->code == expect, "%s over %s, rank %u: exit %d, %d %s", s->plan, s->transport, i, code, rep->code,
                  rep->text);
  }
  return r;
}

static int open_with(const agg_config_t *config, const struct task *t, struct rank_report *own, agg_t **agg, agg_comm_t **comm) {
  agg_config_t c = *config;
  if (t->topology != NULL) str_copy(c.topology, sizeof c.topology, t->topology);
  if (t->reproducible != NULL) str_copy(c.reproducible, sizeof c.reproducible, t->reproducible);
  if (t->cost != NULL) str_copy(c.cost, sizeof c.cost, t->cost);
  own->code = rank_open(&c, own, agg, comm);
  return own->code;
}

/* Sums whose last bits depend on the order; their hash goes into the report, and rank and element counts are checked. */
static int sum_and_hash(agg_comm_t *comm, struct rank_report *own, size_t count) {
  uint32_t rank = agg_comm_rank(comm), n = agg_comm_size(comm);
  float *data = malloc(count * sizeof *data);
  uint64_t hash = 1469598103934665603ull;
  agg_request_t *request = NULL;
  double off = 0;
  for (size_t i = 0; i < count; i++) data[i] = 1.0f / (float)(1 + rank * 7 + i % 1009);
  int rc = agg_allreduce(comm, data, data, count, AGG_F32, AGG_SUM, NULL, &request);
  if (rc == AGG_OK) rc = agg_wait(&request, -1);
  for (size_t i = 0; i < count; i++) {
    double want = 0;
    for (uint32_t r = 0; r < n; r++) want += (double)(1.0f / (float)(1 + r * 7 + i % 1009));
    off = fmax(off, fabs((double)data[i] - want) / want);
    uint32_t bits;
    memcpy(&bits, &data[i], sizeof bits);
    hash = (hash ^ bits) * 1099511628211ull;
  }
  free(data);
  own->value[0] = hash;
  if (rc != AGG_OK) snprintf(own->text, sizeof own->text, "%s", agg_comm_error_text(comm));
  if (rc == AGG_OK && off > n * 6e-8) {
    rc = AGG_EPROTO;
    snprintf(own->text, sizeof own->text, "a sum is off by %g of itself", off);
  }
  return rc;
}

static int work(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  struct task *t = arg;
  agg_t *agg;
  agg_comm_t *comm;
  if (open_with(config, t, own, &agg, &comm) != AGG_OK) return 0;
  agg_comm_info_t info = {.size = sizeof info};
  agg_comm_get_info(comm, &info);
  int rc = sum_and_hash(comm, own, COUNT);
  for (uint32_t i = 0; rc == AGG_OK && i < t->rounds; i++) {
    float one[2] = {(float)i, (float)config->rank}, sum[2];
    agg_request_t *request = NULL;
    rc = agg_allreduce(comm, one, sum, 1 + i % 2, AGG_F32, AGG_SUM, NULL, &request);
    if (rc == AGG_OK) rc = agg_wait(&request, -1);
    if (rc == AGG_OK && sum[0] != (float)i * (float)config->world) rc = AGG_EPROTO;
    if (rc != AGG_OK) snprintf(own->text, sizeof own->text, "operation %u of many: %s", i, agg_comm_error_text(comm));
  }
  if (rc == AGG_OK) snprintf(own->text, sizeof own->text, "%s", info.plan);
  agg_comm_destroy(comm);
  agg_close(agg);
  own->code = rc;
  return 0;
}

static void every_rank_has(struct ranks *r, unsigned n) {
  for (unsigned i = 1; i < n; i++) ck_assert(ranks_reports(r)[i].value[0] == ranks_reports(r)[0].value[0]);
}

/* ---- by name ------------------------------------------------------------------------------------------------------------------------ */

static const struct named {
  const char *plan, *transport, *says;
  int server;
} named[] = {
    {"tree", "shm", "tree", 0},
    {"tree", "tcp", "tree", 0},
    {"hybrid", "tcp", "hybrid: star", 1},
    {"0-32K:tree,32K-:ring", "tcp", "to 32K, ring", 0},
    {"0-1M:direct,1M-:star", "shm", "direct to 1M, star", 1},
};

START_TEST(a_plan_is_had_by_its_name) {
  const struct named *c = &named[_i];
  struct server_proc s;
  struct task t = {.rounds = 20};
  if (c->server) start_server(&s, NULL);
  struct ranks *r = run(&(struct ranks_setup){.n = 5, .plan = c->plan, .transport = c->transport, .servers = c->server ? s.address : NULL},
                        work, &t, AGG_OK);
  ck_assert_msg(strstr(ranks_reports(r)[0].text, c->says) != NULL, "\"%s\" in \"%s\"", c->says, ranks_reports(r)[0].text);
  every_rank_has(r, 5);
  ranks_free(r);
  if (c->server) ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

static int refused(const agg_config_t *config, struct rank_report *all, void *arg) {
  agg_t *agg;
  agg_comm_t *comm;
  if (open_with(config, arg, &all[config->rank], &agg, &comm) == AGG_OK) agg_close(agg);
  return 0;
}

START_TEST(one_that_cannot_be_is_refused_on_every_rank) {
  static const char *const plans[][2] = {{"star", "needs a server"}, {"hybrid", "needs a server"}, {"hier", "one host"}};
  struct task t = {0};
  for (unsigned i = 0; i < ARRAY_LEN(plans); i++) {
    struct ranks *r = run(&(struct ranks_setup){.n = 3, .plan = plans[i][0], .transport = "shm"}, refused, &t, AGG_EINVAL);
    for (unsigned k = 0; k < 3; k++) ck_assert_ptr_nonnull(strstr(ranks_reports(r)[k].text, plans[i][1]));
    ranks_free(r);
  }
}
END_TEST

/* ---- bits --------------------------------------------------------------------------------------------------------------------------- */

/* Star, direct and both together fold in rank order, whatever the shares, the transport and the settings. */
START_TEST(strict_sums_have_the_same_bits_whatever_is_chosen) {
  static const struct {
    const char *plan, *transport, *cost;
    int server;
    uint32_t lanes;
  } cases[] = {{"direct", "shm", "", 0, 0},          {"star", "shm", "", 1, 3}, {"hybrid", "tcp", "", 1, 0}, {"auto", "tcp", "", 1, 1},
               {"hybrid", "tcp", "nic=1MB/s", 1, 2}, {"auto", "tcp", "", 0, 0}};
  uint64_t bits = 0;
  for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
    struct server_proc s;
    struct task t = {.reproducible = "strict", .cost = cases[i].server ? "" : cases[i].cost};
    if (cases[i].server) start_server(&s, NULL);
    struct ranks *r = run(&(struct ranks_setup){.n = 4,
                                                .plan = cases[i].plan,
                                                .transport = cases[i].transport,
                                                .lanes = cases[i].lanes,
                                                .servers = cases[i].server ? s.address : NULL},
                          work, &t, AGG_OK);
    every_rank_has(r, 4);
    if (i == 0) bits = ranks_reports(r)[0].value[0];
    ck_assert_msg(ranks_reports(r)[0].value[0] == bits, "case %u: other bits: %s", i, ranks_reports(r)[0].text);
    ranks_free(r);
    if (cases[i].server) ck_assert_int_eq(server_end(&s), 0);
  }
}
END_TEST

/* ---- a description ----------------------------------------------------------------------------------------------------------------------
 */

static char *write_file(const char *text) {
  static char path[64];
  snprintf(path, sizeof path, "/tmp/agg-plans-%d", (int)getpid());
  FILE *f = fopen(path, "we");
  ck_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
  return path;
}

START_TEST(a_fabric_that_is_described_is_planned_on) {
  char host[64] = "", text[256];
  struct server_proc s;
  gethostname(host, sizeof host - 1);
  snprintf(text, sizeof text, "topo 1\nswitch rack\nhost %s workers=3 servers=1 switch=rack\n  nic eth0 speed=1G\n", host);
  struct task t = {.topology = write_file(text)};
  struct ranks *r = run(&(struct ranks_setup){.n = 3, .transport = "tcp"}, work, &t, AGG_OK);
  ranks_free(r);
  start_server(&s, t.topology);
  r = run(&(struct ranks_setup){.n = 3, .transport = "tcp", .servers = s.address}, work, &t, AGG_OK);
  ranks_free(r);
  ck_assert_int_eq(server_end(&s), 0);
  unlink(t.topology);
}
END_TEST

START_TEST(a_host_that_is_not_in_it_is_named) {
  struct task t = {.topology = write_file("topo 1\nswitch rack\nhost elsewhere workers=3 switch=rack\n  nic eth0 speed=1G\n")};
  char host[64] = "";
  gethostname(host, sizeof host - 1);
  struct ranks *r = run(&(struct ranks_setup){.n = 2}, refused, &t, AGG_EINVAL);
  const char *said = ranks_reports(r)[1].text;
  ck_assert_msg(strstr(said, host) != NULL && strstr(said, t.topology) != NULL && strstr(said, "AGG_TOPO") != NULL, "%s", said);
  ranks_free(r);
  unlink(t.topology);
}
END_TEST

START_TEST(a_description_that_is_wrong_is_refused_with_its_line) {
  struct task t = {.topology = write_file("topo 1\nswitch rack\nhost a workers=3 switch=rck\n")};
  struct ranks *r = run(&(struct ranks_setup){.n = 1}, refused, &t, AGG_EINVAL);
  ck_assert_msg(strstr(ranks_reports(r)[0].text, ":3:") != NULL, "%s", ranks_reports(r)[0].text);
  ranks_free(r);
  unlink(t.topology);
}
END_TEST

/* ---- measured times -------------------------------------------------------------------------------------------------------------------
 */

/* More operations than two rounds of times take to be settled: everything stays right, whatever is changed to. With these constants a fast
 * network is predicted, which this one is not, so that the times contradict. */
START_TEST(plans_that_change_by_measured_times_sum_rightly) {
  struct server_proc s;
  struct task t = {.rounds = 2 * (TUNE_SAMPLE_OPS + TUNE_LAG) + 100};
  if (SANITIZED) t.rounds = TUNE_SAMPLE_OPS + TUNE_LAG + 100;
  start_server(&s, NULL);
  struct ranks *r = run(&(struct ranks_setup){.n = 2, .transport = "tcp", .servers = s.address}, work, &t, AGG_OK);
  every_rank_has(r, 2);
  ranks_free(r);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* A round is under way when the program has all it wants: leaving is no failure for anyone. */
START_TEST(leaving_beside_a_round_is_in_good_order) {
  for (uint32_t more = 0; more < 4; more++) {
    struct task t = {.rounds = TUNE_SAMPLE_OPS - 3 + more};
    struct ranks *r = run(&(struct ranks_setup){.n = 3, .transport = "tcp"}, work, &t, AGG_OK);
    ranks_free(r);
  }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("e2e/plans");
  TCase *tc = tcase_create("plans");
  tcase_set_timeout(tc, 300);
  tcase_add_loop_test(tc, a_plan_is_had_by_its_name, 0, (int)ARRAY_LEN(named));
  tcase_add_test(tc, one_that_cannot_be_is_refused_on_every_rank);
  tcase_add_test(tc, strict_sums_have_the_same_bits_whatever_is_chosen);
  tcase_add_test(tc, a_fabric_that_is_described_is_planned_on);
  tcase_add_test(tc, a_host_that_is_not_in_it_is_named);
  tcase_add_test(tc, a_description_that_is_wrong_is_refused_with_its_line);
  tcase_add_test(tc, plans_that_change_by_measured_times_sum_rightly);
  tcase_add_test(tc, leaving_beside_a_round_is_in_good_order);
  suite_add_tcase(suite, tc);
  return suite;
}
