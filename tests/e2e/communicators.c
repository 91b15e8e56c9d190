/*
 * Communicators: leaving one while others are in it, what they take and give back (by the hundred), what they say of themselves.
 */
#include <check.h>
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/expect.h"
#include "tests/lib/ranks.h"
#include "tests/lib/server_proc.h"

/* ---- leaving ------------------------------------------------------------------------------------------------------------------------- */

static int leave_early(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_t *a;
  agg_comm_t *comm;
  agg_request_t *requests[3] = {NULL};
  static float x[100000];
  int rc, destroyed = 0;
  (void)arg;
  if (rank_open(config, own, &a, &comm) != AGG_OK) return 1;
  if (rank_sum_ones(comm) != AGG_OK) return 2;
  if (config->rank == 1) {
    for (int i = 0; i < 3; i++)
      if (agg_allreduce(comm, x, x, 100000, AGG_F32, AGG_SUM, NULL, &requests[i]) != AGG_OK) return 3;
    agg_comm_destroy(comm);
    destroyed = 1;
    for (int i = 0; i < 3; i++)
      if (agg_wait(&requests[i], i == 0 ? -1 : 0) != AGG_ECLOSED || requests[i] != NULL) return 4;
    atomic_store(&own->stage, 1);
  } else {
    if (!stage_wait(&all[1].stage, 1)) return 5;
    rc = agg_allreduce(comm, x, x, 100000, AGG_F32, AGG_SUM, NULL, &requests[0]);
    if (rc == AGG_OK) rc = agg_wait(&requests[0], -1);
    rank_report_comm(own, rc, comm);
    if (rc != AGG_EPEER || strstr(own->text, "rank 1 (") == NULL || strstr(own->text, "left") == NULL) return 6;
  }
  if (!destroyed) agg_comm_destroy(comm);
  agg_close(a);
  return 0;
}

START_TEST(destroying_completes_what_is_outstanding_and_the_others_hear_who_left) { ranks_run(&ranks_usual[_i], leave_early, NULL); }
END_TEST

/* ---- taking and giving back ---------------------------------------------------------------------------------------------------------- */

static unsigned entries(const char *dir) {
  unsigned n = 0;
  DIR *d = opendir(dir);
  ck_assert_ptr_nonnull(d);
  while (readdir(d) != NULL) n++;
  closedir(d);
  return n;
}

static unsigned descriptors(void) { return entries("/proc/self/fd"); }
static unsigned threads(void) { return entries("/proc/self/task"); }

/* Until the count is (at most) that; what other threads close is closed in a moment. Returns the last count. */
static unsigned settle(unsigned (*what)(void), unsigned want) {
  uint64_t limit = clock_now_ns() + 20 * 1000000000ull;
  unsigned n;
  while ((n = what()) > want && clock_now_ns() < limit) sched_yield();
  return n;
}

/* Rank 0 writes a ticket into its report; everyone joins. */
static agg_comm_t *join_next(agg_t *a, const agg_config_t *config, struct rank_report *all, uint32_t number) {
  struct rank_report *own = &all[config->rank];
  agg_ticket_t t;
  agg_comm_t *comm = NULL;
  if (config->rank == 0) {
    if (agg_ticket_create(a, &t) != AGG_OK) return NULL;
    for (uint32_t r = 1; r < config->world; r++) /* they have read the one before */
      if (!stage_wait(&all[r].stage, number)) return NULL;
    memcpy(own->text, &t, sizeof t);
    atomic_store(&own->stage, number + 1);
  } else {
    if (!stage_wait(&all[0].stage, number + 1)) return NULL;
    memcpy(&t, all[0].text, sizeof t);
    atomic_store(&own->stage, number + 1);
  }
  return agg_comm_create(a, &t, config->rank, config->world, &comm) == AGG_OK ? comm : NULL;
}

/* Queue pairs, regions, domains and connection ids of a process, as the kernel counts them; 0 where the test is not about verbs.
 * (Completion queues are shared by communicators and stay until the instance closes.) */
static pid_t counted;
static unsigned objects(void) {
  char line[1024], mine[32];
  unsigned n = 0;
  if (getenv("TEST_TRANSPORT") == NULL) return 0;
  snprintf(mine, sizeof mine, " pid %d ", (int)counted);
  FILE *f = popen("for kind in qp mr pd cm_id; do rdma resource show $kind || echo failed; done", "r");
  if (f == NULL) abort();
  while (fgets(line, sizeof line, f) != NULL) {
    if (strcmp(line, "failed\n") == 0) abort();
    n += strstr(line, mine) != NULL;
  }
  if (pclose(f) != 0) abort();
  return n;
}
static unsigned objects_of(pid_t pid) {
  counted = pid;
  return objects();
}
/* Until that process has no more than so many. */
static int objects_left(pid_t pid, unsigned want) {
  counted = pid;
  return settle(objects, want) > want;
}

enum { ONE_AFTER_ANOTHER = 100, AT_ONCE = 50 };

static int open_and_close_many(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  pid_t server = config->rank == 0 && arg != NULL ? ((struct server_proc *)arg)->pid : 0, self = getpid();
  agg_t *a;
  agg_comm_t *comm, *many[AT_ONCE];
  uint32_t number = 0;
  if (getenv("TEST_TRANSPORT") != NULL) { /* librdmacm opens descriptors at its first use and keeps them while the process lives */
    if (agg_open(config, &a, NULL) != AGG_OK) return 10;
    agg_close(a);
  }
  unsigned fds0 = descriptors(), threads0 = threads() + SANITIZED_THREADS; /* that sanitizer adds one of its own */
  unsigned objects0 = objects_of(self);
  if (rank_open(config, own, &a, &comm) != AGG_OK || rank_sum_ones(comm) != AGG_OK) return 1;
  unsigned fds = descriptors(), n_threads = threads();
  unsigned own_objects = objects_of(self), server_objects = server != 0 ? objects_of(server) : 0;
  if (getenv("TEST_TRANSPORT") != NULL && (own_objects <= objects0 || (server != 0 && server_objects == 0))) return 11;
  for (int i = 0; i < ONE_AFTER_ANOTHER; i++) {
    agg_comm_t *c = join_next(a, config, all, number++);
    if (c == NULL || rank_sum_ones(c) != AGG_OK) return 2;
    agg_comm_destroy(c);
  }
  if (settle(descriptors, fds) > fds || settle(threads, n_threads) > n_threads) return 3;
  if (objects_left(self, own_objects) || (server != 0 && objects_left(server, server_objects))) return 12;
  for (int i = 0; i < AT_ONCE; i++)
    if ((many[i] = join_next(a, config, all, number++)) == NULL) return 4;
  for (int i = 0; i < AT_ONCE; i++)
    if (rank_sum_ones(many[i]) != AGG_OK) return 5;
  if (threads() > n_threads) return 6;
  for (int i = 0; i < AT_ONCE; i++) agg_comm_destroy(many[i]);
  own->value[0] = settle(descriptors, fds);
  own->value[1] = fds;
  if (own->value[0] > fds) return 7;
  if (objects_left(self, own_objects) || (server != 0 && objects_left(server, server_objects))) return 13;
  if (rank_sum_ones(comm) != AGG_OK) return 8;
  agg_close(a); /* and the communicator with it */
  return settle(descriptors, fds0) > fds0 || settle(threads, threads0) > threads0 || objects_left(self, objects0) ? 9 : 0;
}

START_TEST(communicators_give_back_what_they_took) {
  if (_i != 0 && getenv("TEST_TRANSPORT") != NULL) return; /* over the same transport again */
  ranks_run(&ranks_usual[_i], open_and_close_many, NULL);
}
END_TEST

START_TEST(communicators_with_a_server_give_back_what_they_took) {
  struct server_proc s;
  setenv("AGG_TOKEN", "test token", 1);
  ck_assert(SERVER_START(&s, "--listen", "127.0.0.1:0"));
  struct ranks_setup setup = {.n = 2, .plan = "star", .servers = s.address};
  ranks_run(&setup, open_and_close_many, &s);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* ---- what it says of itself ---------------------------------------------------------------------------------------------------------- */

static int look_at_info(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_t *a;
  agg_comm_t *comm;
  agg_comm_info_t before = {.size = sizeof before}, after = {.size = sizeof after};
  (void)arg;
  if (rank_open(config, own, &a, &comm) != AGG_OK) return 1;
  if (agg_comm_get_info(comm, &before) != AGG_OK || rank_sum_ones(comm) != AGG_OK || agg_comm_get_info(comm, &after) != AGG_OK) return 2;
  if (after.rank != config->rank || after.ranks != config->world || after.servers != 0) return 3;
  if (agg_comm_rank(comm) != after.rank || agg_comm_size(comm) != after.ranks) return 4;
  if (strcmp(after.plan, config->plan) != 0 || strcmp(after.transport, config->transport) != 0) return 5;
  if (after.lanes == 0 || after.window == 0 || after.chunk_bytes < 1024 || after.buffer_bytes == 0) return 6;
  if (before.operations != 0 || before.chunks != 0 || after.operations != 1 || after.chunks == 0 || after.late_allocs != 0) return 7;
  agg_comm_destroy(comm);
  agg_close(a);
  return 0;
}

START_TEST(info_says_what_was_asked_for_and_done) { ranks_run(&ranks_usual[_i], look_at_info, NULL); }
END_TEST

/* Once a peer, however many lanes there are, and why it is not a better transport. */
static int listen_to_ways(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_config_t c = *config;
  agg_t *a;
  agg_comm_t *comm;
  agg_comm_info_t info = {.size = sizeof info};
  struct rank_log log;
  char expect[64];
  (void)arg;
  if (config->rank == 0) str_copy(c.transport, sizeof c.transport, "auto"); /* it has more than the other offers */
  c.log_level = AGG_LOG_INFO;
  rank_log_begin(&log, &c);
  if (rank_open(&c, own, &a, &comm) != AGG_OK || agg_comm_get_info(comm, &info) != AGG_OK) return 1;
  agg_close(a);
  rank_log_end(&log);
  str_copy(own->text, sizeof own->text, log.lines);
  snprintf(expect, sizeof expect, "communicator 1: rank %u (", 1 - config->rank);
  const char *line = strstr(log.lines, expect);
  if (line == NULL || strstr(line + 1, expect) != NULL) return 2;
  if (strstr(line, "): tcp (127.0.0.1:") == NULL) return 3;
  if ((strstr(line, "; not shm: that host offers none") != NULL) != (config->rank == 0)) return 4;
  if (strstr(info.path, "): tcp (127.0.0.1:") == NULL || strcmp(info.transport, "tcp") != 0) return 5;
  return 0;
}

START_TEST(the_way_to_a_peer_is_told_once) {
  if (getenv("TEST_TRANSPORT") != NULL) return; /* of transports that the test chooses */
  struct ranks_setup setup = {.n = 2, .transport = "tcp", .lanes = 3, .reactors = 2};
  ranks_run(&setup, listen_to_ways, NULL);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("e2e/communicators");
  TCase *c = tcase_create("communicators");
  const int n = RANKS_USUAL;
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, destroying_completes_what_is_outstanding_and_the_others_hear_who_left, 0, n);
  tcase_add_loop_test(c, communicators_give_back_what_they_took, 0, n);
  tcase_add_test(c, communicators_with_a_server_give_back_what_they_took);
  tcase_add_loop_test(c, info_says_what_was_asked_for_and_done, 0, n);
  tcase_add_test(c, the_way_to_a_peer_is_told_once);
  suite_add_tcase(s, c);
  return s;
}
