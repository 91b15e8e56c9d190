/* Groups on the control plane: joining, disagreeing, leaving, dying, being late; each text says whom. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/control_rig.h"

#define has(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "\"%s\" lacks \"%s\"", (text), (part))

static struct rig_server server;
static struct rig_member m[8];

static void begin(void) { rig_server_start(&server, RIG_TOKEN); }
static void end(uint32_t n) {
  for (uint32_t i = 0; i < n; i++) rig_member_fini(&m[i]);
  rig_server_stop(&server);
}

static void init(uint32_t n) {
  begin();
  for (uint32_t i = 0; i < n; i++) rig_member_init(&m[i], server.port, RIG_TOKEN, i, n);
}

/* All have failed to join with this code; every text has the part. */
static void all_failed(uint32_t n, int code, const char *part) {
  for (uint32_t i = 0; i < n; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(m[i].rc == code, "rank %u: %d %s", i, m[i].rc, m[i].err.text);
    ck_assert_int_eq(m[i].err.code, code);
    has(m[i].err.text, part);
  }
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

/* How join and ready together ended: the others' end may come before this rank has taken its SETUP. */
static int outcome(const struct rig_member *r) { return r->rc != AGG_OK ? r->rc : r->ready_rc; }

/* ---- joining
 * -------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(all_get_the_same_setup) {
  begin();
  rig_group(m, 4, server.port, RIG_TOKEN, "");
  for (uint32_t i = 0; i < 4; i++) {
    const struct control_setup *s = &m[i].setup;
    char name[CONTROL_NODE_NAME_MAX];
    unsigned char a[TP_TICKET_BYTES], b[TP_TICKET_BYTES];
    ck_assert_uint_eq(s->n_nodes, 4);
    ck_assert_uint_eq(s->epoch, 1);
    ck_assert_uint_eq(s->comm, m[0].setup.comm);
    ck_assert_mem_eq(s->secret, m[0].setup.secret, CONTROL_SECRET_BYTES);
    ck_assert_uint_eq(s->plan.n_forests, m[0].setup.plan.n_forests);
    ck_assert_uint_ge(s->plan.lanes, 1);
    ck_assert_uint_eq(s->plan.workers, 4);
    ck_assert_double_eq(s->timeout_s, 60);
    ck_assert_str_eq(s->nodes[3].host, "node3");
    ck_assert_str_eq(s->nodes[3].addresses[0].transport, "shm");
    ck_assert_mem_eq(s->nodes[3].addresses[0].bytes, "addr", 4);
    ck_assert_str_eq(control_node_name(s, 3, name, sizeof name), "rank 3 (node3, pid 103)");
    control_lane_ticket(s, 1, 2, 0, 0, a);
    control_lane_ticket(&m[0].setup, 2, 1, 0, 0, b);
    ck_assert_mem_eq(a, b, TP_TICKET_BYTES);
    control_lane_ticket(s, 1, 2, 0, 1, b);
    ck_assert_mem_ne(a, b, TP_TICKET_BYTES);
    control_lane_ticket(s, 1, 2, 1, 0, b);
    ck_assert_mem_ne(a, b, TP_TICKET_BYTES);
    control_lane_ticket(s, 1, 3, 0, 0, b);
    ck_assert_mem_ne(a, b, TP_TICKET_BYTES);
  }
  for (uint32_t i = 0; i < 4; i++) ck_assert_int_eq(m[i].aborted, 0);
  end(4);
}
END_TEST

START_TEST(a_group_of_one) {
  begin();
  rig_group(m, 1, server.port, RIG_TOKEN, "");
  ck_assert_uint_eq(m[0].setup.n_nodes, 1);
  end(1);
}
END_TEST

START_TEST(members_wait_for_a_coordinator_that_starts_later) {
  uint16_t port;
  agg_error_t err;
  begin();
  port = server.port;
  rig_server_stop(&server);
  for (uint32_t i = 0; i < 2; i++) {
    rig_member_init(&m[i], port, RIG_TOKEN, i, 2);
    rig_join(&m[i]);
  }
  ck_assert_int_eq(control_serve(m[0].control, "127.0.0.1", port, &port, &err), AGG_OK);
  for (uint32_t i = 0; i < 2; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(m[i].ready_rc == AGG_OK, "%s", m[i].err.text);
  }
  rig_member_fini(&m[1]);
  rig_member_fini(&m[0]);
}
END_TEST

START_TEST(nobody_listens) {
  init(1);
  uint16_t port = server.port;
  rig_server_stop(&server);
  m[0].config.join_timeout_s = 0.3;
  rig_join(&m[0]);
  char address[64];
  snprintf(address, sizeof address, "127.0.0.1:%u", port);
  all_failed(1, AGG_ETIMEDOUT, address);
  rig_member_fini(&m[0]);
}
END_TEST

START_TEST(missing_ranks_are_named) {
  begin();
  for (uint32_t i = 0; i < 2; i++) {
    rig_member_init(&m[i], server.port, RIG_TOKEN, i * 2, 7);
    m[i].config.join_timeout_s = i ? 0.5 : 20;
    rig_join(&m[i]);
  }
  all_failed(2, AGG_ETIMEDOUT, "rank 1, 3-6");
  has(m[0].err.text, "2 of 7");
  end(2);
}
END_TEST

/* One host is one name and one place: only then is one lane enough. Containers of one name are apart, and so are hosts of one image. */
START_TEST(one_host_is_name_and_place) {
  static const struct {
    const char *host[2];
    uint64_t place[2];
    uint32_t lanes;
  } rows[] = {{{"a", "a"}, {7, 7}, 1}, {{"a", "a"}, {7, 8}, 2}, {{"a", "b"}, {7, 7}, 2}, {{"a", "a"}, {0, 0}, 1}};
  init(2);
  for (uint32_t i = 0; i < 2; i++) {
    snprintf(m[i].self.host, sizeof m[i].self.host, "%s", rows[_i].host[i]);
    m[i].self.place = rows[_i].place[i];
    rig_join(&m[i]);
  }
  for (uint32_t i = 0; i < 2; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(m[i].rc == AGG_OK, "%s", m[i].err.text);
    ck_assert_uint_eq(m[i].setup.plan.lanes, rows[_i].lanes);
  }
  end(2);
}
END_TEST

/* Lanes are dealt over NICs: as many as the node with the most has. */
START_TEST(lanes_follow_the_rails) {
  static const struct { uint32_t rails[2], asked, lanes; } rows[] = {{{1, 1}, 0, 2}, {{1, 4}, 0, 4}, {{8, 3}, 0, 8}, {{2, 4}, 3, 3}};
  init(2);
  for (uint32_t i = 0; i < 2; i++) {
    m[i].self.rails = rows[_i].rails[i];
    m[i].config.lanes = rows[_i].asked;
    rig_join(&m[i]);
  }
  for (uint32_t i = 0; i < 2; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(m[i].rc == AGG_OK, "%s", m[i].err.text);
    ck_assert_uint_eq(m[i].setup.plan.lanes, rows[_i].lanes);
    ck_assert_uint_eq(m[i].setup.nodes[0].rails, rows[_i].rails[0]);
    ck_assert_uint_eq(m[i].setup.nodes[1].rails, rows[_i].rails[1]);
  }
  end(2);
}
END_TEST

/* The plan's bound is that of the slowest host: all its ports together, as fast as the ranks say that PCIe lets them be. */
START_TEST(ports_of_a_host_count_together) {
  init(2);
  for (uint32_t i = 0; i < 2; i++) {
    (void)snprintf(m[i].self.host, sizeof m[i].self.host, "host%u", i);
    m[i].self.n_ports = 2;
    m[i].self.ports[0] = (struct control_port){.name = "mlx5_0:1", .bytes_per_s = 10000000000};
    m[i].self.ports[1] = (struct control_port){.name = "mlx5_1:1", .bytes_per_s = i == 0 ? 10000000000 : 2500000000, .by_pcie = i != 0};
    rig_join(&m[i]);
  }
  for (uint32_t i = 0; i < 2; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(m[i].rc == AGG_OK, "%s", m[i].err.text);
    double payload = 1 / (m[i].setup.plan.bound * 12500000000); /* of the line's bytes */
    ck_assert_msg(payload > 0.9 && payload < 1, "%g", payload);
    ck_assert(!m[i].setup.nodes[0].ports[1].by_pcie && m[i].setup.nodes[1].ports[1].by_pcie);
  }
  end(2);
}
END_TEST

/* Seconds that the plan of two ranks on one host, each with its kind of memory, predicts for the largest allreduce. */
static double predicted_with(int first, int second) {
  init(2);
  m[0].config.private_memory = first;
  m[1].config.private_memory = second;
  for (uint32_t i = 0; i < 2; i++) {
    (void)snprintf(m[i].self.host, sizeof m[i].self.host, "host");
    rig_join(&m[i]);
  }
  for (uint32_t i = 0; i < 2; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(m[i].rc == AGG_OK, "%s", m[i].err.text);
  }
  double seconds = m[0].setup.plan.predicted[PLAN_SIZES - 1][0];
  end(2);
  return seconds;
}

/* Ranks need not agree about it: one with private memory is enough for all to be planned for it. */
START_TEST(one_rank_with_private_memory_is_enough) {
  double registered = predicted_with(0, 0), private = predicted_with(1, 1);
  ck_assert(registered > 0 && private > registered * 1.1);
  ck_assert_double_eq(predicted_with(0, 1), private);
  ck_assert_double_eq(predicted_with(1, 0), private);
}
END_TEST

static void disagree(void (*change)(struct member_config *c), const char *a, const char *b) {
  init(2);
  change(&m[1].config);
  rig_join(&m[0]);
  rig_join(&m[1]);
  all_failed(2, AGG_EMISMATCH, "rank 0 (node0, pid 100)");
  all_failed(2, AGG_EMISMATCH, "rank 1 (node1, pid 101)");
  all_failed(2, AGG_EMISMATCH, a);
  all_failed(2, AGG_EMISMATCH, b);
  groups_wait(0);
  end(2);
}

static void change_size(struct member_config *c) { c->size = 5; }
static void change_servers(struct member_config *c) { c->servers = "127.0.0.1:1"; }
static void change_plan(struct member_config *c) { c->plan = "ring"; }
static void change_lanes(struct member_config *c) { c->lanes = 3; }
static void change_window(struct member_config *c) { c->window = 8; }
static void change_chunk(struct member_config *c) { c->chunk_bytes = 65536; }
static void change_timeout(struct member_config *c) { c->timeout_s = 11; }

START_TEST(ranks_that_disagree) {
  disagree(change_size, "says 2", "says 5");
  disagree(change_servers, "says \"\"", "says \"127.0.0.1:1\"");
  disagree(change_plan, "says \"auto\"", "says \"ring\"");
  disagree(change_lanes, "AGG_LANES", "says 3");
  disagree(change_window, "AGG_WINDOW", "says 8");
  disagree(change_chunk, "AGG_CHUNK", "says 65536");
  disagree(change_timeout, "says 60 s", "says 11 s");
}
END_TEST

START_TEST(who_comes_after_a_mismatch_hears_of_it_once) {
  init(3);
  m[1].config.size = 4;
  rig_join(&m[0]);
  rig_join(&m[1]);
  all_failed(2, AGG_EMISMATCH, "disagree");
  rig_join(&m[2]);
  rig_joined(&m[2]);
  ck_assert_int_eq(m[2].rc, AGG_EMISMATCH);
  has(m[2].err.text, "says 4");
  m[1].config.size = 3; /* corrected: the next try of all works */
  for (uint32_t i = 0; i < 3; i++) rig_join(&m[i]);
  for (uint32_t i = 0; i < 3; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(m[i].ready_rc == AGG_OK, "%s", m[i].err.text);
  }
  end(3);
}
END_TEST

START_TEST(a_rank_taken_twice_is_refused_alone) {
  init(2);
  struct rig_member *twin = &m[2];
  m[0].stop_after_join = m[1].stop_after_join = 1;
  rig_join(&m[0]);
  rig_join(&m[1]);
  rig_joined(&m[0]);
  rig_joined(&m[1]);
  rig_member_init(twin, server.port, RIG_TOKEN, 1, 2);
  snprintf(twin->self.host, sizeof twin->self.host, "elsewhere");
  rig_join(twin);
  rig_joined(twin);
  ck_assert_int_eq(twin->rc, AGG_EMISMATCH);
  has(twin->err.text, "rank 1 is taken by rank 1 (node1, pid 101)");
  has(twin->err.text, "elsewhere");
  for (uint32_t i = 0; i < 2; i++) {
    m[i].stop_after_join = 0;
    ck_assert_int_eq(m[i].rc, AGG_OK);
  }
  end(3);
}
END_TEST

START_TEST(rank_beyond_size_and_world_beyond_limit) {
  server.max_world = 16;
  init(1);
  m[0].config.rank = 9;
  rig_join(&m[0]);
  all_failed(1, AGG_EINVAL, "rank 9 is not below");
  m[0].config.rank = 0;
  m[0].config.size = 17;
  rig_join(&m[0]);
  all_failed(1, AGG_ELIMIT, "at most 16");
  has(m[0].err.text, "17 ranks");
  end(1);
}
END_TEST

START_TEST(an_impossible_plan_is_told_to_all) {
  init(2);
  m[0].config.plan = m[1].config.plan = "star";
  rig_join(&m[0]);
  rig_join(&m[1]);
  all_failed(2, AGG_EINVAL, "star");
  end(2);
}
END_TEST

START_TEST(wrong_token) {
  begin();
  rig_member_init(&m[0], server.port, "another token", 0, 1);
  rig_join(&m[0]);
  all_failed(1, AGG_EAUTH, "AGG_TOKEN");
  has(m[0].err.text, server.address);
  rig_member_init(&m[1], server.port, "", 0, 1);
  rig_join(&m[1]);
  rig_joined(&m[1]);
  ck_assert_int_eq(m[1].rc, AGG_EAUTH);
  has(m[1].err.text, "asks for a token");
  end(2);
}
END_TEST

START_TEST(wrong_version) {
  init(1);
  control_channels(m[0].control)->version = 7;
  rig_join(&m[0]);
  all_failed(1, AGG_EVERSION, "version 7");
  char ours[32];
  snprintf(ours, sizeof ours, "version %d", CHANNEL_VERSION);
  has(m[0].err.text, ours);
  end(1);
}
END_TEST

START_TEST(without_a_token_loopback_works_and_others_are_refused) {
  agg_error_t err;
  uint16_t port;
  rig_server_start(&server, "");
  rig_group(m, 2, server.port, "", "");
  rig_member_init(&m[2], 4000, "", 0, 1);
  snprintf(m[2].config.host, sizeof m[2].config.host, "192.0.2.1");
  rig_join(&m[2]);
  rig_joined(&m[2]);
  ck_assert_int_eq(m[2].rc, AGG_EAUTH);
  has(m[2].err.text, "AGG_TOKEN");
  ck_assert_int_eq(control_serve(m[2].control, "0.0.0.0", 0, &port, &err), AGG_EINVAL);
  has(err.text, "no token");
  end(3);
}
END_TEST

START_TEST(serving_twice_gives_the_same_port) {
  agg_error_t err;
  uint16_t a = 0, b = 0, c = 0;
  rig_member_init(&m[0], 0, RIG_TOKEN, 0, 1);
  rig_member_init(&m[1], 0, RIG_TOKEN, 0, 1);
  ck_assert_int_eq(control_serve(m[0].control, "", 0, &a, &err), AGG_OK);
  ck_assert_int_eq(control_serve(m[0].control, "", 0, &b, &err), AGG_OK);
  ck_assert_uint_eq(a, b);
  ck_assert_int_eq(control_serve(m[1].control, "127.0.0.1", a, &c, &err), AGG_ESYS);
  has(err.text, "in use");
  rig_member_fini(&m[0]);
  rig_member_fini(&m[1]);
}
END_TEST

/* ---- before GO
 * --------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(member_fail_ends_the_join_of_all) {
  init(3);
  m[1].stop_after_join = 1;
  for (uint32_t i = 0; i < 3; i++) rig_join(&m[i]);
  rig_joined(&m[1]);
  ck_assert_int_eq(m[1].rc, AGG_OK);
  member_fail(m[1].member, AGG_ENOMEM, "rank 1 has no memory for windows");
  for (uint32_t i = 0; i < 3; i += 2) {
    rig_joined(&m[i]);
    ck_assert_int_eq(outcome(&m[i]), AGG_ENOMEM);
    ck_assert_str_eq(m[i].err.text, "rank 1 has no memory for windows");
  }
  end(3);
}
END_TEST

START_TEST(member_killed_before_go) {
  init(3);
  m[2].stop_after_join = 1;
  for (uint32_t i = 0; i < 3; i++) rig_join(&m[i]);
  rig_joined(&m[2]);
  rig_kill(&m[2]);
  for (uint32_t i = 0; i < 2; i++) {
    rig_joined(&m[i]);
    ck_assert_int_eq(outcome(&m[i]), AGG_EPEER);
    has(m[i].err.text, "rank 2 (node2, pid 102) was lost");
    if (m[i].rc == AGG_OK) {
      rig_wait(&m[i], &m[i].aborted, 1);
      ck_assert_uint_eq(m[i].culprit, 2);
    }
  }
  end(3);
}
END_TEST

START_TEST(member_leaves_before_go) {
  init(2);
  m[0].stop_after_join = 1;
  rig_join(&m[0]);
  rig_join(&m[1]);
  rig_joined(&m[0]);
  member_leave(m[0].member);
  m[0].member = NULL;
  rig_joined(&m[1]);
  ck_assert_int_eq(outcome(&m[1]), AGG_EPEER);
  has(m[1].err.text, "left before");
  end(2);
}
END_TEST

START_TEST(a_rank_that_is_never_ready_is_named) {
  init(2);
  m[0].stop_after_join = 1;
  m[0].config.join_timeout_s = m[1].config.join_timeout_s = 0.6;
  rig_join(&m[0]);
  rig_join(&m[1]);
  rig_joined(&m[1]);
  ck_assert_int_eq(outcome(&m[1]), AGG_ETIMEDOUT);
  has(m[1].err.text, "rank 0 (node0, pid 100)");
  end(2);
}
END_TEST

/* ---- after GO
 * ----------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(member_killed_is_named_to_all_others) {
  begin();
  rig_group(m, 4, server.port, RIG_TOKEN, "");
  rig_kill(&m[3]);
  for (uint32_t i = 0; i < 3; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_int_eq(m[i].code, AGG_EPEER);
    ck_assert_uint_eq(m[i].culprit, 3);
    ck_assert_str_eq(m[i].text, "rank 3 (node3, pid 103) was lost: its connection to the coordinator closed");
  }
  groups_wait(0);
  end(4);
  for (uint32_t i = 0; i < 3; i++) ck_assert_int_eq(m[i].aborted, 1);
}
END_TEST

START_TEST(coordinator_lost_is_named) {
  begin();
  rig_group(m, 2, server.port, RIG_TOKEN, "");
  rig_cut(&server);
  for (uint32_t i = 0; i < 2; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_int_eq(m[i].code, AGG_EPEER);
    has(m[i].text, "the coordinator at 127.0.0.1");
    has(m[i].text, "was lost");
  }
  end(2);
}
END_TEST

START_TEST(coordinating_rank_lost_is_named_as_rank) {
  begin();
  for (uint32_t i = 0; i < 2; i++) rig_member_init(&m[i], server.port, RIG_TOKEN, i, 2);
  gethostname(m[1].self.host, sizeof m[1].self.host - 1);
  m[1].self.pid = (uint32_t)getpid();
  rig_join(&m[0]);
  rig_join(&m[1]);
  rig_joined(&m[0]);
  rig_joined(&m[1]);
  rig_cut(&server);
  rig_wait(&m[0], &m[0].aborted, 1);
  has(m[0].text, "rank 1 (");
  has(m[0].text, ", which coordinates, was lost");
  end(2);
}
END_TEST

START_TEST(a_coordinator_that_shuts_down_says_so) {
  begin();
  rig_group(m, 2, server.port, RIG_TOKEN, "");
  rig_server_stop(&server);
  for (uint32_t i = 0; i < 2; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_int_eq(m[i].code, AGG_EPEER);
    has(m[i].text, "shut down");
    rig_member_fini(&m[i]);
  }
}
END_TEST

START_TEST(leaving_is_told_in_order_and_frees_the_group) {
  begin();
  rig_group(m, 4, server.port, RIG_TOKEN, "");
  for (uint32_t i = 0; i < 3; i++) {
    member_leave(m[i].member);
    m[i].member = NULL;
  }
  rig_wait(&m[3], &m[3].n_left, 3);
  for (uint32_t i = 0; i < 3; i++) ck_assert_uint_eq(m[3].left[i], i);
  ck_assert_int_eq(m[3].aborted, 0);
  member_leave(m[3].member);
  m[3].member = NULL;
  groups_wait(0);
  for (uint32_t i = 0; i < 4; i++) { /* the same name can be used again */
    control_setup_free(&m[i].setup);
    rig_join(&m[i]);
  }
  for (uint32_t i = 0; i < 4; i++) {
    rig_joined(&m[i]);
    ck_assert_int_eq(m[i].ready_rc, AGG_OK);
  }
  end(4);
}
END_TEST

START_TEST(the_coordinating_rank_waits_for_the_others_when_it_stops) {
  agg_error_t err;
  uint16_t port;
  rig_member_init(&m[0], 0, RIG_TOKEN, 0, 2);
  ck_assert_int_eq(control_serve(m[0].control, "127.0.0.1", 0, &port, &err), AGG_OK);
  m[0].config.port = port;
  rig_member_init(&m[1], port, RIG_TOKEN, 1, 2);
  rig_join(&m[0]);
  rig_join(&m[1]);
  rig_joined(&m[0]);
  rig_joined(&m[1]);
  member_leave(m[0].member);
  m[0].member = NULL;
  rig_wait(&m[1], &m[1].n_left, 1);
  member_leave(m[1].member);
  m[1].member = NULL;
  ck_assert_int_eq(m[1].aborted, 0);
  rig_member_fini(&m[0]);
  rig_member_fini(&m[1]);
}
END_TEST

START_TEST(the_first_fault_reaches_all) {
  begin();
  rig_group(m, 3, server.port, RIG_TOKEN, "");
  member_report_fault(m[1].member, AGG_EMISMATCH, 2, "operation 4: rank 1 says 5 f32,\nrank 2 says 6 f32");
  for (uint32_t i = 0; i < 3; i++) {
    rig_wait(&m[i], &m[i].aborted, 1);
    ck_assert_int_eq(m[i].code, AGG_EMISMATCH);
    ck_assert_uint_eq(m[i].culprit, 2);
    ck_assert_str_eq(m[i].text, "operation 4: rank 1 says 5 f32,?rank 2 says 6 f32");
  }
  end(3);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("control");
  TCase *join = tcase_create("join"), *before = tcase_create("before GO"), *after = tcase_create("after GO");
  tcase_add_test(join, all_get_the_same_setup);
  tcase_add_test(join, a_group_of_one);
  tcase_add_test(join, members_wait_for_a_coordinator_that_starts_later);
  tcase_add_test(join, nobody_listens);
  tcase_add_test(join, missing_ranks_are_named);
  tcase_add_loop_test(join, one_host_is_name_and_place, 0, 4);
  tcase_add_loop_test(join, lanes_follow_the_rails, 0, 4);
  tcase_add_test(join, ports_of_a_host_count_together);
  tcase_add_test(join, one_rank_with_private_memory_is_enough);
  tcase_add_test(join, ranks_that_disagree);
  tcase_add_test(join, who_comes_after_a_mismatch_hears_of_it_once);
  tcase_add_test(join, a_rank_taken_twice_is_refused_alone);
  tcase_add_test(join, rank_beyond_size_and_world_beyond_limit);
  tcase_add_test(join, an_impossible_plan_is_told_to_all);
  tcase_add_test(join, wrong_token);
  tcase_add_test(join, wrong_version);
  tcase_add_test(join, without_a_token_loopback_works_and_others_are_refused);
  tcase_add_test(join, serving_twice_gives_the_same_port);
  tcase_add_test(before, member_fail_ends_the_join_of_all);
  tcase_add_test(before, member_killed_before_go);
  tcase_add_test(before, member_leaves_before_go);
  tcase_add_test(before, a_rank_that_is_never_ready_is_named);
  tcase_add_test(after, member_killed_is_named_to_all_others);
  tcase_add_test(after, coordinator_lost_is_named);
  tcase_add_test(after, coordinating_rank_lost_is_named_as_rank);
  tcase_add_test(after, a_coordinator_that_shuts_down_says_so);
  tcase_add_test(after, leaving_is_told_in_order_and_frees_the_group);
  tcase_add_test(after, the_coordinating_rank_waits_for_the_others_when_it_stops);
  tcase_add_test(after, the_first_fault_reaches_all);
  TCase *all[] = {join, before, after};
  for (size_t i = 0; i < ARRAY_LEN(all); i++) {
    tcase_set_timeout(all[i], 120);
    suite_add_tcase(s, all[i]);
  }
  return s;
}
