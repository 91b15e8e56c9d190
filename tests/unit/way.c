/* Which transport a pair of nodes takes, what is said of those that it does not take, and that it is said once a peer. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "libagg/way.h"
#include "transport/tps.h"

static struct way_here here;
static struct tp *here_shm, *here_tcp, *there_shm, *there_tcp;
static struct control_address addresses[8];
static struct control_node peer;
static struct reactor_absent absent[2];

static struct tp *open_tp(const struct tp_ops *ops) {
  agg_error_t err = {0};
  struct tp_config c = {.bind_host = "127.0.0.1", .peer_host = ""};
  struct tp *tp = NULL;
  ck_assert_msg(ops->open(&c, &tp, &err) == AGG_OK, "%s", err.text);
  return tp;
}

static void setup(void) {
  here = (struct way_here){.n_tps = 2, .absent = absent};
  here_shm = open_tp(&tp_shm);
  here_tcp = open_tp(&tp_tcp);
  here.tps[0] = (struct plane_tp){.ops = &tp_shm, .tp = here_shm};
  here.tps[1] = (struct plane_tp){.ops = &tp_tcp, .tp = here_tcp};
  there_shm = open_tp(&tp_shm);
  there_tcp = open_tp(&tp_tcp);
  peer = (struct control_node){.reactors = 2, .rails = 1, .addresses = addresses};
}

static void teardown(void) {
  tp_shm.close(here_shm);
  tp_tcp.close(here_tcp);
  tp_shm.close(there_shm);
  tp_tcp.close(there_tcp);
}

static struct control_address *offer(const struct tp_ops *ops, uint32_t reactor) {
  struct control_address *a = &addresses[peer.n_addresses++];
  memset(a, 0, sizeof *a);
  str_copy(a->transport, sizeof a->transport, ops->name);
  a->reactor = reactor;
  a->len = (uint32_t)ops->address(ops == &tp_shm ? there_shm : there_tcp, a->bytes);
  return a;
}

/* As if the shared-memory address were of another machine: its boot id is. */
static void from_elsewhere(struct control_address *a) {
  for (uint32_t i = 8; i < 44; i++) a->bytes[i] ^= 1;
}

static struct way choose(uint32_t reactor, const char *transport, const char *why) {
  struct way way = {.tp = 99};
  agg_error_t err = {0};
  char text[WAY_TEXT_MAX];
  ck_assert_msg(way_choose(&here, &peer, reactor, "rank 1", &way, &err) == AGG_OK, "%s", err.text);
  ck_assert_str_eq(here.tps[way.tp].ops->name, transport);
  ck_assert_str_eq(way.address->transport, transport);
  ck_assert_uint_eq(way.address->reactor, reactor);
  ck_assert_str_eq(way_why(&here, &peer, reactor, &way, text, sizeof text), why);
  return way;
}

START_TEST(the_best_that_both_have) {
  offer(&tp_tcp, 0);
  offer(&tp_shm, 0);
  choose(0, "shm", "");
}
END_TEST

START_TEST(another_host_takes_the_next) {
  from_elsewhere(offer(&tp_shm, 1));
  offer(&tp_tcp, 1);
  choose(1, "tcp", "; not shm: another host");
}
END_TEST

START_TEST(what_the_peer_does_not_offer) {
  offer(&tp_shm, 0); /* on its other reactor only */
  offer(&tp_tcp, 1);
  choose(1, "tcp", "; not shm: that host offers none");
}
END_TEST

START_TEST(what_this_host_does_not_have) {
  offer(&tp_shm, 0);
  offer(&tp_tcp, 0);
  here.tps[0] = here.tps[1];
  here.n_tps = 1;
  absent[0] = (struct reactor_absent){.ops = &tp_shm, .why = "no /dev/shm"};
  here.n_absent = 1;
  choose(0, "tcp", "; not shm: this host has none (no /dev/shm)");
  here.n_absent = 0; /* tcp was asked for */
  choose(0, "tcp", "");
}
END_TEST

START_TEST(no_way_at_all) {
  struct way way;
  agg_error_t err = {0};
  from_elsewhere(offer(&tp_shm, 0));
  offer(&tp_tcp, 1);
  str_copy(addresses[1].transport, TP_NAME_MAX, "avian");
  ck_assert_int_eq(way_choose(&here, &peer, 0, "server 0 (store1, pid 9)", &way, &err), AGG_ENOTSUP);
  ck_assert_ptr_nonnull(strstr(err.text, "from here to server 0 (store1, pid 9) (here: shm, tcp; there: shm, avian)"));
  peer.n_addresses = 0;
  ck_assert_int_eq(way_choose(&here, &peer, 0, "rank 1", &way, &err), AGG_ENOTSUP);
  ck_assert_ptr_nonnull(strstr(err.text, "there: none"));
}
END_TEST

/* Long reasons, many of them: the text ends where its room does. */
START_TEST(a_long_reason_fits) {
  char text[40];
  struct way way;
  offer(&tp_tcp, 0);
  here.tps[0] = here.tps[1];
  here.n_tps = 1;
  absent[0].ops = &tp_shm;
  memset(absent[0].why, 'x', sizeof absent[0].why - 1);
  here.n_absent = 1;
  ck_assert_int_eq(way_choose(&here, &peer, 0, "rank 1", &way, NULL), AGG_OK);
  ck_assert_uint_eq(strlen(way_why(&here, &peer, 0, &way, text, sizeof text)), sizeof text - 1);
}
END_TEST

/* ---- telling ------------------------------------------------------------------------------------------------------------------------ */

static char lines[4096];
static void take_line(void *user, agg_log_level_t level, const char *line) {
  (void)user;
  ck_assert_int_eq(level, AGG_LOG_INFO);
  size_t at = strlen(lines);
  snprintf(lines + at, sizeof lines - at, "%s\n", line);
}

START_TEST(once_a_peer) {
  struct log log;
  char first[64];
  log_init(&log, AGG_LOG_INFO, take_line, NULL);
  struct ways *w = ways_create(&log, "communicator 3", 4);
  ck_assert_ptr_nonnull(w);
  ck_assert_str_eq(ways_first(w, first, sizeof first), "");
  ways_chosen(w, 2, "; not shm: another host");
  ways_chosen(w, 2, "; not later");
  ways_chosen(w, 1, "");
  ways_chosen(w, 3, "; never up");
  for (int lane = 0; lane < 3; lane++) {
    ways_up(w, 2, "rank 2", "tcp", "10.0.0.2:4000");
    ways_up(w, 1, "rank 1", "shm", "shared memory");
  }
  ways_up(w, 4, "nobody", "tcp", "-"); /* not of the group */
  ways_chosen(w, 4, "; not of the group");
  ck_assert_str_eq(lines,
                   "communicator 3: rank 2: tcp (10.0.0.2:4000); not shm: another host\n"
                   "communicator 3: rank 1: shm (shared memory)\n");
  ck_assert_str_eq(ways_first(w, first, sizeof first), "rank 1: shm (shared memory)");
  ways_destroy(w);
  ways_destroy(NULL);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("way");
  TCase *tc = tcase_create("way");
  tcase_add_checked_fixture(tc, setup, teardown);
  tcase_add_test(tc, the_best_that_both_have);
  tcase_add_test(tc, another_host_takes_the_next);
  tcase_add_test(tc, what_the_peer_does_not_offer);
  tcase_add_test(tc, what_this_host_does_not_have);
  tcase_add_test(tc, no_way_at_all);
  tcase_add_test(tc, a_long_reason_fits);
  suite_add_tcase(suite, tc);
  TCase *tell = tcase_create("tell");
  tcase_add_test(tell, once_a_peer);
  suite_add_tcase(suite, tell);
  return suite;
}
