/* Late operations on the control plane, and many groups at one coordinator. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/control_rig.h"

#define has(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "\"%s\" lacks \"%s\"", (text), (part))

static struct rig_server server;
static struct rig_member m[4];

static void begin(void) { rig_server_start(&server, RIG_TOKEN); }
static void end(uint32_t n) {
  for (uint32_t i = 0; i < n; i++) rig_member_fini(&m[i]);
  rig_server_stop(&server);
}

static void count_task(void *arg) { *(uint32_t *)arg = coordinator_groups(server.coordinator); }

/* Asks the coordinator's thread until it holds so many groups. */
static void groups_wait(uint32_t n) {
  uint64_t until = clock_now_ns() + (uint64_t)(RIG_GUARD_S * 1e9);
  uint32_t have;
  do {
    control_call(server.control, count_task, &have);
  } while (have != n && clock_now_ns() < until);
  ck_assert_uint_eq(have, n);
}

/* ---- late operations
 * ------------------------------------------------------------------------------------------------------------------------------ */

static void late_group(uint32_t n) {
  begin();
  rig_group(m, n, server.port, RIG_TOKEN, "");
  for (uint32_t i = 0; i < n; i++) m[i].state.posted[0] = 42;
}

static void report(uint32_t i) {
  member_report_late(m[i].member, 0, 41, "allreduce of 1000 f32, sum", 60.0, "rank 0 waits for chunk 3 of rank 2");
}

static void all_late(uint32_t n, uint32_t culprit, const char *text) {
  for (uint32_t i = 0; i < n; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_int_eq(m[i].code, AGG_ETIMEDOUT);
    ck_assert_str_eq(m[i].text, text);
    ck_assert_uint_eq(m[i].culprit, culprit);
  }
}

START_TEST(late_a_rank_has_not_called) {
  late_group(4);
  m[3].state.posted[0] = 41;
  report(0);
  report(1); /* one investigation is enough */
  all_late(4, 3, "operation 41 (allreduce of 1000 f32, sum): rank 3 (node3, pid 103) has not called it; waited 60.0 s");
  for (uint32_t i = 0; i < 4; i++) ck_assert_int_eq(m[i].queries, 1);
  end(4);
}
END_TEST

START_TEST(late_two_ranks_have_not_called) {
  late_group(4);
  m[1].state.posted[0] = 41;
  m[3].state.posted[0] = 0;
  report(0);
  all_late(4, 1,
           "operation 41 (allreduce of 1000 f32, sum): rank 1 (node1, pid 101), rank 3 (node3, pid 103) have not called it; waited 60.0 s");
  end(4);
}
END_TEST

START_TEST(late_a_rank_does_not_answer) {
  late_group(3);
  m[2].block_query = 1;
  report(0);
  all_late(2, 2,
           "operation 41 (allreduce of 1000 f32, sum): rank 2 (node2, pid 102) does not answer (stopped or overloaded?); waited 60.0 s");
  pthread_mutex_lock(&m[2].mu);
  m[2].release = 1;
  pthread_cond_broadcast(&m[2].changed);
  pthread_mutex_unlock(&m[2].mu);
  rig_wait(&m[2], &m[2].aborted, 1);
  end(3);
}
END_TEST

START_TEST(late_a_rank_has_left) {
  late_group(3);
  member_leave(m[1].member);
  m[1].member = NULL;
  report(0);
  rig_wait(&m[2], &m[2].aborted, 1);
  has(m[2].text, "rank 1 (node1, pid 101) has left the group");
  end(3);
}
END_TEST

START_TEST(late_and_all_have_called) {
  late_group(3);
  report(0);
  all_late(3, UINT32_MAX, "operation 41 (allreduce of 1000 f32, sum) timed out after 60.0 s: rank 0 waits for chunk 3 of rank 2");
  end(3);
}
END_TEST

START_TEST(late_across_the_wrap_of_numbers) {
  late_group(2);
  m[0].state.posted[1] = 0x100000001ull;
  m[1].state.posted[1] = 0xffffffffull;
  member_report_late(m[0].member, 1, 0xffffffffu, "barrier", 1.5, "");
  all_late(2, 1, "operation 4294967295 (barrier): rank 1 (node1, pid 101) has not called it; waited 1.5 s");
  end(2);
}
END_TEST

/* ---- many ---- */

#define GROUPS 50
static struct rig_member many[GROUPS][4];

START_TEST(fifty_groups_at_once) {
  begin();
  for (uint32_t g = 0; g < GROUPS; g++) {
    for (uint32_t i = 0; i < 4; i++) {
      rig_member_init(&many[g][i], server.port, RIG_TOKEN, i, 4);
      many[g][i].config.group[0] = (unsigned char)g;
      rig_join(&many[g][i]);
    }
  }
  for (uint32_t g = 0; g < GROUPS; g++) {
    for (uint32_t i = 0; i < 4; i++) {
      rig_joined(&many[g][i]);
      ck_assert_msg(many[g][i].ready_rc == AGG_OK, "%s", many[g][i].err.text);
      ck_assert_uint_eq(many[g][i].setup.comm, many[g][0].setup.comm);
      if (g) ck_assert_uint_ne(many[g][i].setup.comm, many[g - 1][0].setup.comm);
    }
  }
  rig_kill(&many[7][1]); /* one dies; the others do not notice */
  rig_wait(&many[7][2], &many[7][2].aborted, 1);
  for (uint32_t g = 0; g < GROUPS; g++) {
    for (uint32_t i = 0; i < 4; i++) {
      rig_member_fini(&many[g][i]);
      ck_assert_int_eq(many[g][i].aborted, g == 7 && i != 1);
    }
  }
  groups_wait(0);
  rig_server_stop(&server);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("control late");
  TCase *t = tcase_create("late");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, late_a_rank_has_not_called);
  tcase_add_test(t, late_two_ranks_have_not_called);
  tcase_add_test(t, late_a_rank_does_not_answer);
  tcase_add_test(t, late_a_rank_has_left);
  tcase_add_test(t, late_and_all_have_called);
  tcase_add_test(t, late_across_the_wrap_of_numbers);
  tcase_add_test(t, fifty_groups_at_once);
  suite_add_tcase(s, t);
  return s;
}
