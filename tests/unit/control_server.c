/* Servers on the control plane: recruited, refused, lost, drained; what they are told and how often. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/control_rig.h"

#define has(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "\"%s\" lacks \"%s\"", (text), (part))

static struct rig_server a, b;
static struct rig_member m[4];
static char list[160];

static void begin_two(void) {
  rig_server_start(&a, RIG_TOKEN);
  rig_server_start(&b, RIG_TOKEN);
  snprintf(list, sizeof list, "%s,%s", a.address, b.address);
}

static void start_members(uint32_t n, const char *servers) {
  for (uint32_t i = 0; i < n; i++) {
    rig_member_init(&m[i], a.port, RIG_TOKEN, i, n);
    m[i].config.servers = servers;
    rig_join(&m[i]);
  }
}

static int outcome(const struct rig_member *r) { return r->rc != AGG_OK ? r->rc : r->ready_rc; }

static void all_failed(uint32_t n, int code, const char *part) {
  for (uint32_t i = 0; i < n; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(outcome(&m[i]) == code, "rank %u: %d %s", i, outcome(&m[i]), m[i].err.text);
    has(m[i].err.text, part);
  }
}

static void end_members(uint32_t n) {
  for (uint32_t i = 0; i < n; i++) rig_member_fini(&m[i]);
}

static void end_two(void) {
  rig_server_stop(&a);
  rig_server_stop(&b);
}

START_TEST(two_servers_take_part_and_hear_of_the_good_end) {
  begin_two();
  rig_group(m, 3, a.port, RIG_TOKEN, list);
  char name[CONTROL_NODE_NAME_MAX];
  for (uint32_t i = 0; i < 3; i++) {
    ck_assert_uint_eq(m[i].setup.n_nodes, 5);
    ck_assert_str_eq(control_node_name(&m[i].setup, 4, name, sizeof name), "server 1 (store1, pid 9)");
    ck_assert_mem_eq(m[i].setup.nodes[3].addresses[0].bytes, "srv", 3);
    ck_assert_uint_eq(m[i].setup.plan.servers, 2);
    ck_assert_uint_eq(m[i].setup.plan.forest[0].part[0].kind, FOREST_STAR);
  }
  rig_server_wait(&a, &a.going, 1);
  rig_server_wait(&b, &b.going, 1);
  ck_assert_uint_eq(b.request.server, 1);
  ck_assert_uint_eq(b.request.workers, 3);
  ck_assert_str_eq(b.request.job, "test");
  ck_assert_uint_eq(b.request.comm, m[0].setup.comm);
  end_members(3);
  rig_server_wait(&a, &a.ended, 1);
  rig_server_wait(&b, &b.ended, 1);
  ck_assert_int_eq(a.end_code, 0);
  ck_assert_int_eq(b.end_code, 0);
  end_two();
  ck_assert_int_eq(a.prepared + a.started + a.going + a.ended, 4);
  ck_assert_int_eq(b.prepared + b.started + b.going + b.ended, 4);
}
END_TEST

START_TEST(a_server_that_refuses_gives_its_reason) {
  b.refuse = "the memory limit of 1 GiB leaves 5 MiB, this group needs 12 MiB: raise --memory-limit";
  begin_two();
  start_members(2, list);
  all_failed(2, AGG_ELIMIT, b.refuse);
  has(m[0].err.text, "server 1 (127.0.0.1:");
  pthread_mutex_lock(&a.mu);
  int prepared = a.prepared;
  pthread_mutex_unlock(&a.mu);
  if (prepared) rig_server_wait(&a, &a.ended, 1);
  end_members(2);
  end_two();
  ck_assert_int_eq(a.prepared, a.ended);
  ck_assert_int_eq(b.ended, 0);
}
END_TEST

START_TEST(a_server_that_cannot_start_ends_the_join) {
  b.start_error = "no memory for the slots";
  begin_two();
  start_members(2, list);
  all_failed(2, AGG_ENOMEM, "no memory for the slots");
  rig_server_wait(&a, &a.ended, 1);
  rig_server_wait(&b, &b.ended, 1);
  ck_assert_int_eq(b.end_code, AGG_ENOMEM);
  end_members(2);
  end_two();
  ck_assert_int_eq(b.ended, 1);
}
END_TEST

START_TEST(a_server_that_is_never_ready_is_named) {
  b.never_ready = 1;
  begin_two();
  for (uint32_t i = 0; i < 2; i++) {
    rig_member_init(&m[i], a.port, RIG_TOKEN, i, 2);
    m[i].config.servers = list;
    m[i].config.join_timeout_s = 0.8;
    rig_join(&m[i]);
  }
  all_failed(2, AGG_ETIMEDOUT, "server 1 (store1, pid 9)");
  end_members(2);
  end_two();
}
END_TEST

START_TEST(a_worker_in_the_list_of_servers) {
  b.no_hooks = 1;
  begin_two();
  start_members(1, list);
  all_failed(1, AGG_ENOTSUP, "is a worker");
  end_members(1);
  end_two();
}
END_TEST

START_TEST(a_server_that_cannot_be_reached) {
  begin_two();
  rig_server_stop(&b);
  rig_member_init(&m[0], a.port, RIG_TOKEN, 0, 1);
  m[0].config.servers = list;
  m[0].config.join_timeout_s = 0.5;
  rig_join(&m[0]);
  all_failed(1, AGG_ETIMEDOUT, "cannot be reached");
  has(m[0].err.text, b.address);
  end_members(1);
  rig_server_stop(&a);
}
END_TEST

START_TEST(a_server_that_starts_later_is_waited_for) {
  begin_two();
  uint16_t port = b.port;
  rig_server_stop(&b);
  start_members(1, list);
  /* the coordinator tries until somebody listens there; that it is no server shows that it was reached */
  rig_member_init(&m[1], 0, RIG_TOKEN, 0, 1);
  agg_error_t err;
  ck_assert_int_eq(control_serve(m[1].control, "127.0.0.1", port, &port, &err), AGG_OK);
  all_failed(1, AGG_ENOTSUP, "is a worker");
  end_members(2);
  rig_server_stop(&a);
}
END_TEST

START_TEST(a_server_with_another_token) {
  rig_server_start(&a, RIG_TOKEN);
  rig_server_start(&b, "something else");
  snprintf(list, sizeof list, "%s,%s", a.address, b.address);
  start_members(1, list);
  all_failed(1, AGG_EAUTH, b.address);
  has(m[0].err.text, "token");
  end_members(1);
  end_two();
}
END_TEST

START_TEST(a_list_of_servers_that_cannot_be) {
  char twice[160];
  begin_two();
  start_members(1, "store1:nonsense");
  all_failed(1, AGG_EINVAL, "nonsense");
  rig_member_fini(&m[0]);
  snprintf(twice, sizeof twice, "%s,%s", a.address, a.address);
  start_members(1, twice);
  all_failed(1, AGG_EINVAL, "given twice");
  end_members(1);
  end_two();
}
END_TEST

START_TEST(a_lost_server_is_named) {
  begin_two();
  rig_group(m, 2, a.port, RIG_TOKEN, list);
  rig_cut(&b);
  for (uint32_t i = 0; i < 2; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_int_eq(m[i].code, AGG_EPEER);
    ck_assert_uint_eq(m[i].culprit, 3);
    has(m[i].text, "server 1 (store1, pid 9) was lost");
  }
  rig_server_wait(&a, &a.ended, 1);
  rig_server_wait(&b, &b.ended, 1);
  ck_assert_int_eq(a.end_code, AGG_EPEER);
  ck_assert_int_eq(b.end_code, AGG_EPEER);
  end_members(2);
  end_two();
}
END_TEST

START_TEST(a_lost_coordinating_server_is_named_by_all) {
  begin_two();
  rig_group(m, 2, a.port, RIG_TOKEN, list);
  rig_cut(&a);
  for (uint32_t i = 0; i < 2; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_int_eq(m[i].code, AGG_EPEER);
    has(m[i].text, "server 0 (store1, pid 9), which coordinates");
  }
  rig_server_wait(&b, &b.ended, 1);
  end_members(2);
  end_two();
}
END_TEST

START_TEST(a_lost_member_ends_the_servers_part) {
  begin_two();
  rig_group(m, 2, a.port, RIG_TOKEN, list);
  rig_kill(&m[1]);
  rig_wait(&m[0], &m[0].aborted, 1);
  rig_server_wait(&a, &a.ended, 1);
  rig_server_wait(&b, &b.ended, 1);
  ck_assert_int_eq(b.end_code, AGG_EPEER);
  has(b.end_text, "rank 1 (node1, pid 101) was lost");
  end_members(2);
  end_two();
}
END_TEST

static void fault_task(void *arg) { recruit_fault(arg, AGG_EPROTO, 1, "rank 1 sent nonsense to server 1"); }

START_TEST(a_servers_fault_reaches_all) {
  begin_two();
  rig_group(m, 2, a.port, RIG_TOKEN, list);
  rig_server_wait(&b, &b.going, 1);
  control_call(b.control, fault_task, b.part);
  for (uint32_t i = 0; i < 2; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_int_eq(m[i].code, AGG_EPROTO);
    ck_assert_uint_eq(m[i].culprit, 1);
    ck_assert_str_eq(m[i].text, "rank 1 sent nonsense to server 1");
  }
  rig_server_wait(&b, &b.ended, 1);
  end_members(2);
  end_two();
  ck_assert_int_eq(b.ended, 1);
}
END_TEST

START_TEST(servers_answer_queries_and_are_not_blamed) {
  begin_two();
  rig_group(m, 2, a.port, RIG_TOKEN, list);
  m[0].state.posted[0] = 1;
  member_report_late(m[0].member, 0, 0, "barrier", 2.0, "");
  for (uint32_t i = 0; i < 2; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_str_eq(m[i].text, "operation 0 (barrier): rank 1 (node1, pid 101) has not called it; waited 2.0 s");
  }
  end_members(2);
  end_two();
}
END_TEST

static void drain_task(void *arg) { coordinator_drain(((struct rig_server *)arg)->coordinator); }

START_TEST(draining_goes_on_with_what_runs_and_refuses_the_rest) {
  begin_two();
  rig_group(m, 2, a.port, RIG_TOKEN, list);
  rig_server_wait(&b, &b.going, 1);
  control_call(a.control, drain_task, &a);
  control_call(b.control, drain_task, &b);
  rig_member_init(&m[2], a.port, RIG_TOKEN, 0, 1);
  memset(m[2].config.group, 9, CONTROL_GROUP_BYTES);
  m[2].config.servers = list;
  rig_join(&m[2]);
  rig_joined(&m[2]);
  ck_assert_int_eq(m[2].rc, AGG_ELIMIT);
  has(m[2].err.text, "drains");
  ck_assert_int_eq(m[0].aborted + m[1].aborted, 0);
  end_members(3);
  rig_server_wait(&b, &b.ended, 1);
  ck_assert_int_eq(b.end_code, 0);
  end_two();
}
END_TEST

START_TEST(servers_by_name_are_looked_up_aside) {
  char named[64];
  rig_server_start(&a, RIG_TOKEN);
  snprintf(named, sizeof named, "localhost:%u", a.port);
  rig_group(m, 2, a.port, RIG_TOKEN, named);
  end_members(2);
  rig_server_wait(&a, &a.ended, 1);
  rig_server_stop(&a);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("control servers");
  TCase *t = tcase_create("servers");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, two_servers_take_part_and_hear_of_the_good_end);
  tcase_add_test(t, a_server_that_refuses_gives_its_reason);
  tcase_add_test(t, a_server_that_cannot_start_ends_the_join);
  tcase_add_test(t, a_server_that_is_never_ready_is_named);
  tcase_add_test(t, a_worker_in_the_list_of_servers);
  tcase_add_test(t, a_server_that_cannot_be_reached);
  tcase_add_test(t, a_server_that_starts_later_is_waited_for);
  tcase_add_test(t, a_server_with_another_token);
  tcase_add_test(t, a_list_of_servers_that_cannot_be);
  tcase_add_test(t, a_lost_server_is_named);
  tcase_add_test(t, a_lost_coordinating_server_is_named_by_all);
  tcase_add_test(t, a_lost_member_ends_the_servers_part);
  tcase_add_test(t, a_servers_fault_reaches_all);
  tcase_add_test(t, servers_answer_queries_and_are_not_blamed);
  tcase_add_test(t, draining_goes_on_with_what_runs_and_refuses_the_rest);
  tcase_add_test(t, servers_by_name_are_looked_up_aside);
  suite_add_tcase(s, t);
  return s;
}
