/* The cost model's constants and times: texts and their errors, what a prediction is made of, windows, names of what limits. */
#include "topology/cost.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/madefabric.h"

#define GBIT (1e9 / 8)

/* ---- constants ---- */

START_TEST(overrides_are_read) {
  struct cost c, d;
  cost_init(&c);
  cost_init(&d);
  ck_assert_int_eq(cost_parse(&c, NULL, NULL), AGG_OK);
  ck_assert_int_eq(cost_parse(&c, "", NULL), AGG_OK);
  ck_assert_mem_eq(&c, &d, sizeof c);
  ck_assert_int_eq(cost_parse(&c, "hop_tcp=25us,chunk=800ns,sum=12GB/s,copy=5e9,window=512M,connections=100,hop_shm=1e-3s", NULL), AGG_OK);
  ck_assert_double_eq_tol(c.hop_tcp, 25e-6, 1e-15);
  ck_assert_double_eq_tol(c.chunk, 0.8e-6, 1e-15);
  ck_assert_double_eq_tol(c.hop_shm, 1e-3, 1e-12);
  ck_assert(c.sum == 12e9 && c.copy == 5e9 && c.window == 512.0 * 1048576 && c.connections == 100);
}
END_TEST

START_TEST(bad_overrides_are_named) {
  const struct {
    const char *text, *words;
  } rows[] = {
      {"hop", "\"hop\": expected name=value"},
      {"hop_tcp=20", "hop_tcp is \"20\": expected a time with its unit, like 20us"},
      {"hop_tcp=", "expected a time"},
      {"hop_tcp=-1us", "expected a time"},
      {"hop_tcp=20 us", "expected a time"},
      {"hop_tcp=1e9s", "expected a time"},
      {"sum=0", "expected bytes a second"},
      {"sum=fast", "expected bytes a second, like 10GB/s"},
      {"window=1T", "expected bytes, like 512M"},
      {"window=0", "window is \"0\": expected bytes"},
      {"margin=100", "expected a number"},
      {"mtu=3", "expected a number"},
      {"speed=3", "\"speed\" is unknown"},
      {"chunk=1us,,sum=1G", "\"\": expected name=value"},
      {"nic=nan", "expected bytes a second"},
      {"nic=1e400", "expected bytes a second"},
  };
  struct cost before;
  cost_init(&before);
  for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
    struct cost c = before;
    agg_error_t err = {0};
    ck_assert_msg(cost_parse(&c, rows[i].text, &err) == AGG_EINVAL, "%s is taken", rows[i].text);
    ck_assert_msg(strstr(err.text, rows[i].words) != NULL, "%s: \"%s\" in \"%s\"", rows[i].text, rows[i].words, err.text);
    ck_assert_mem_eq(&c, &before, sizeof c);
  }
}
END_TEST

START_TEST(what_is_printed_can_be_read) {
  struct cost c, d;
  char text[2048], all[4096];
  cost_init(&c);
  c.hop_tcp = 1.0 / 3e5;
  c.window = 12345;
  size_t n = cost_print(&c, 1, text, sizeof text);
  ck_assert_uint_eq(n, strlen(text));
  cost_init(&d);
  ck_assert_int_eq(cost_parse(&d, text, NULL), AGG_OK);
  ck_assert_double_eq_tol(d.hop_tcp, c.hop_tcp, 1e-15);
  ck_assert(d.window == c.window && fabs(d.nic - c.nic) < 1);
  ck_assert_uint_lt(cost_print(&c, 0, all, sizeof all), sizeof all);
  ck_assert_ptr_nonnull(strstr(all, "processor time of a message at either end, TCP"));
  ck_assert_uint_eq(cost_print(&c, 1, NULL, 0), n);
  char tiny[8];
  ck_assert_uint_eq(cost_print(&c, 1, tiny, sizeof tiny), n);
  ck_assert_uint_eq(strlen(tiny), 7);
}
END_TEST

START_TEST(payload_is_less_than_the_line_carries) {
  struct cost c;
  struct fabric f = {.transport = FABRIC_TCP, .mtu = 1500};
  cost_init(&c);
  ck_assert_double_eq_tol(cost_efficiency(&c, &f), 1448.0 / 1538, 1e-12);
  f.mtu = 9000;
  ck_assert_double_eq_tol(cost_efficiency(&c, &f), 8948.0 / 9038, 1e-12);
  f.transport = FABRIC_VERBS;
  f.mtu = 4096;
  ck_assert(cost_efficiency(&c, &f) > 0.97 && cost_efficiency(&c, &f) < 0.98);
}
END_TEST

/* ---- times ---- */

static struct cost_profile profile_of(const struct cost *cost, unsigned shape, uint32_t n, uint32_t k, unsigned kind) {
  struct fabric f;
  struct forest forest;
  struct cost_profile p;
  ck_assert_int_eq(fabric_flat(&f, n, k, GBIT, NULL), AGG_OK);
  for (uint32_t i = 0; i < n + k; i++) f.node[i].sum_bytes_per_s = 0;
  for (uint32_t i = 0; i < f.n_links; i++) f.link[i].memory_bytes_per_s = 0;
  fabric_assume(&f, cost);
  ck_assert_int_eq(forest_init(&forest, shape, n, k, NULL), AGG_OK);
  ck_assert_int_eq(cost_profile(cost, &f, &forest, kind, &p, NULL), AGG_OK);
  fabric_fini(&f);
  return p;
}

static double seconds(const struct cost_profile *p, uint64_t bytes) {
  struct cost_setting s = {.lanes = 1, .window = 64, .chunk_bytes = 65536};
  return cost_predict(p, &s, bytes).seconds;
}

/* One chunk goes up, then down: nothing overlaps. With many, both ways are busy at once, but for the first. */
START_TEST(the_first_chunk_waits_level_by_level) {
  struct cost cost;
  madefabric_links_only(&cost);
  cost.incast = 0;
  struct cost_profile star = profile_of(&cost, FOREST_STAR, 4, 1, OP_ALLREDUCE), ring = profile_of(&cost, FOREST_RING, 4, 0, OP_ALLREDUCE);
  struct cost_profile tree = profile_of(&cost, FOREST_TREE, 7, 0, OP_ALLREDUCE);
  ck_assert_double_eq_tol(seconds(&star, 65536), 2 * 4 * 65536 / GBIT, 1e-9);
  ck_assert_double_eq_tol(seconds(&star, 64 * 65536), (64 + 1) * 4 * 65536 / GBIT, 1e-9);
  /* six steps of a quarter each, and no chunk waits for another */
  ck_assert_double_eq_tol(seconds(&ring, 65536), 6 * 16384 / GBIT, 1e-9);
  ck_assert_double_eq_tol(seconds(&ring, 64 * 65536), 1.5 * 64 * 65536 / GBIT, 1e-9);
  /* two levels, at each two children at a port, up and down */
  ck_assert_double_eq_tol(seconds(&tree, 65536), 2 * 2 * 2 * 65536 / GBIT, 1e-9);
}
END_TEST

START_TEST(hops_and_messages_are_what_small_sizes_cost) {
  struct cost cost;
  cost_init(&cost);
  struct cost_profile star = profile_of(&cost, FOREST_STAR, 4, 1, OP_ALLREDUCE), ring = profile_of(&cost, FOREST_RING, 4, 0, OP_ALLREDUCE);
  struct cost_profile barrier = profile_of(&cost, FOREST_STAR, 4, 1, OP_BARRIER);
  ck_assert_double_eq_tol(star.hops, 2 * (cost.hop_tcp + cost.chunk), 1e-12);
  ck_assert_double_eq_tol(ring.hops, 6 * (cost.hop_tcp + cost.chunk), 1e-12);
  /* the server takes four messages and sends four, the second four after the first */
  ck_assert_double_eq_tol(seconds(&barrier, 12345), star.hops + 8 * cost.message_tcp, 1e-12);
  struct cost_setting s = {.lanes = 1, .window = 4, .chunk_bytes = 65536};
  ck_assert_uint_eq(cost_predict(&ring, &s, 8).what, COST_HOPS);
  ck_assert(cost_predict(&star, &s, 1 << 26).what == COST_LINK_DOWN || cost_predict(&star, &s, 1 << 26).what == COST_LINK_UP);
}
END_TEST

START_TEST(a_small_window_costs_round_trips) {
  struct cost cost;
  madefabric_links_only(&cost);
  cost.hop_tcp = 1e-3;
  struct cost_profile star = profile_of(&cost, FOREST_STAR, 2, 2, OP_ALLREDUCE);
  struct cost_setting narrow = {.lanes = 1, .window = 1, .chunk_bytes = 65536}, wide = narrow;
  wide.window = cost_window_wanted(&star, 1, 65536);
  ck_assert_uint_gt(wide.window, 4);
  struct cost_time slow = cost_predict(&star, &narrow, 1 << 24), fast = cost_predict(&star, &wide, 1 << 24);
  ck_assert_uint_eq(slow.what, COST_WINDOW);
  ck_assert_uint_ne(fast.what, COST_WINDOW);
  /* 128 chunks to each server, one after the other */
  ck_assert_double_ge(slow.seconds, 128 * 2e-3);
  ck_assert_double_le(fast.seconds, 1.05 * (1 << 24) / GBIT + 3e-3);
  wide.window = 64;
  ck_assert_double_le(fabs(cost_predict(&star, &wide, 1 << 24).seconds - fast.seconds), 1e-9);
}
END_TEST

/* The profile of an allreduce on four hosts, links of a GBIT, with sums as fast as given (0: no limit). */
static struct cost_profile of_four(const struct cost *cost, const struct forest *forest, double sum) {
  struct fabric f;
  struct cost_profile p;
  ck_assert_int_eq(fabric_flat(&f, 4, forest->servers, GBIT, NULL), AGG_OK);
  for (uint32_t i = 0; i < fabric_nodes(&f); i++) f.node[i].sum_bytes_per_s = sum;
  for (uint32_t i = 0; i < f.n_links; i++) f.link[i].memory_bytes_per_s = 0;
  fabric_assume(&f, cost);
  ck_assert_int_eq(cost_profile(cost, &f, forest, OP_ALLREDUCE, &p, NULL), AGG_OK);
  fabric_fini(&f);
  return p;
}

/* 64 chunks, of which an edge carries 48: with 3 of them under way there are 16 turns, and each takes a chunk's whole trip. */
START_TEST(a_ring_with_a_small_window_goes_in_turns) {
  struct cost cost;
  madefabric_links_only(&cost);
  cost.hop_tcp = 1e-3;
  double chunk = 65536 / GBIT;
  struct cost_profile ring = profile_of(&cost, FOREST_RING, 4, 0, OP_ALLREDUCE);
  struct cost_setting s = {.lanes = 1, .window = 3, .chunk_bytes = 65536};
  struct cost_time t = cost_predict(&ring, &s, 64 * 65536);
  ck_assert_double_eq_tol(t.seconds, 16 * 6 * (1e-3 + chunk), 1e-9);
  ck_assert_uint_eq(t.what, COST_WINDOW);
  s.window = 5; /* nine turns, and a tenth of three */
  ck_assert_double_eq_tol(cost_predict(&ring, &s, 64 * 65536).seconds, 10 * 6 * (1e-3 + chunk), 1e-9);
  s.window = 16; /* four for each link: they hide the hops */
  ck_assert_double_eq_tol(cost_predict(&ring, &s, 64 * 65536).seconds, 1.5 * 64 * chunk, 1e-9);
  s.window = cost_window_wanted(&ring, 1, 65536);
  ck_assert_double_le(cost_predict(&ring, &s, 64 * 65536).seconds, 1.25 * 1.5 * 64 * chunk);
}
END_TEST

/* Nothing takes time but links and sums. */
static struct cost_profile slow_ring_of_four(void) {
  struct cost cost;
  struct forest ring;
  madefabric_links_only(&cost);
  ck_assert_int_eq(forest_init(&ring, FOREST_RING, 4, 0, NULL), AGG_OK);
  return of_four(&cost, &ring, GBIT);
}

/* Sums twice as slow as the links: on the way up they are what a ring waits for, on the way down the links. */
START_TEST(a_ring_does_not_sum_while_results_come_down) {
  struct cost_profile p = slow_ring_of_four();
  double chunk = 65536 / GBIT;
  ck_assert_double_eq_tol(seconds(&p, 64 * 65536), (0.75 * 2 + 0.75) * 64 * chunk, 1e-9);
  /* one chunk is sent, then summed with the own, three times, and comes down */
  ck_assert_double_eq_tol(seconds(&p, 4096), (3 * (1 + 2) + 3) * chunk / 16, 1e-9);
}
END_TEST

/* Its two trees are the stars of direct. */
START_TEST(a_ring_of_two_is_direct) {
  struct cost cost;
  cost_init(&cost);
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) {
    struct cost_profile ring = profile_of(&cost, FOREST_RING, 2, 0, kind), direct = profile_of(&cost, FOREST_DIRECT, 2, 0, kind);
    for (uint64_t bytes = 1; bytes < 1u << 30; bytes *= 8)
      ck_assert_double_eq_tol(seconds(&ring, bytes), seconds(&direct, bytes), 1e-9 * seconds(&direct, bytes));
  }
}
END_TEST

/* As above, but of 256 turns with three levels: they are spread over them, and sums go on while other chunks' results come down. */
START_TEST(a_ring_of_many_turns_comes_apart) {
  struct cost_profile p = slow_ring_of_four();
  double chunk = 65536 / GBIT;
  struct cost_setting s = {.lanes = 1, .window = 48, .chunk_bytes = 65536};
  double many = 256 * 64, time = cost_predict(&p, &s, (uint64_t)many * 65536).seconds;
  ck_assert(time >= 0.75 * 2 * many * chunk && time <= 0.75 * 2 * 1.05 * many * chunk);
}
END_TEST

/* A third of the chunks on a star: its server is as busy as the workers' NICs, and waits for the first and last of 32 chunks. */
START_TEST(parts_wait_for_their_own_first_chunks) {
  struct cost cost;
  struct forest forest;
  const struct forest_spec spec[2] = {{FOREST_STAR, 0}, {FOREST_DIRECT, 0}};
  const double weights[5] = {2, 1, 1, 1, 1};
  madefabric_links_only(&cost);
  cost.incast = 0;
  double chunk = 65536 / GBIT;
  ck_assert_int_eq(forest_build(&forest, spec, 2, 4, 1, NULL, weights, 6, NULL), AGG_OK);
  struct cost_profile p = of_four(&cost, &forest, 0);
  ck_assert_double_eq_tol(seconds(&p, 96 * 65536), 4 * (32 + 1) * chunk, 1e-9);
  forest_fini(&forest);
}
END_TEST

START_TEST(unlimited_links_leave_hops) {
  struct cost cost;
  cost_init(&cost);
  struct fabric f;
  struct forest forest;
  struct cost_profile p;
  madefabric_links_only(&cost);
  cost.hop_tcp = 5e-6;
  ck_assert_int_eq(fabric_flat(&f, 3, 0, 0, NULL), AGG_OK);
  for (uint32_t i = 0; i < 3; i++) f.node[i].sum_bytes_per_s = 0;
  for (uint32_t i = 0; i < f.n_links; i++) f.link[i].memory_bytes_per_s = 0;
  fabric_assume(&f, &cost);
  ck_assert_int_eq(forest_init(&forest, FOREST_DIRECT, 3, 0, NULL), AGG_OK);
  ck_assert_int_eq(cost_profile(&cost, &f, &forest, OP_ALLREDUCE, &p, NULL), AGG_OK);
  ck_assert_double_eq_tol(seconds(&p, 1 << 20), 10e-6, 1e-8); /* beyond, the window rules */
  fabric_fini(&f);
}
END_TEST

START_TEST(bottlenecks_have_names) {
  struct fabric f;
  char text[96];
  uint32_t rack, host;
  ck_assert_int_eq(fabric_init(&f, NULL), AGG_OK);
  ck_assert_int_eq(fabric_add_link(&f, FABRIC_LINK_SWITCH, 0, "rack1", 1e9, &rack, NULL), AGG_OK);
  ck_assert_int_eq(fabric_add_link(&f, FABRIC_LINK_HOST, rack, "node3", 1e9, &host, NULL), AGG_OK);
  ck_assert_int_eq(fabric_add_node(&f, 0, host, NULL), AGG_OK);
  ck_assert_int_eq(fabric_add_node(&f, 1, host, NULL), AGG_OK);
  const struct {
    uint8_t what;
    uint32_t at;
    const char *name;
  } rows[] = {{COST_LINK_UP, 1, "uplink of rack1, out"},
              {COST_LINK_DOWN, 2, "NIC of node3, in"},
              {COST_MEMORY, 2, "memory of node3"},
              {COST_CORES, 2, "cores of node3"},
              {COST_SUM, 1, "sum on server 0"},
              {COST_WORK, 0, "messages and copies on rank 0"},
              {COST_WINDOW, 0, "window"},
              {COST_HOPS, 0, "hops"}};
  for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
    struct cost_time t = {.what = rows[i].what, .at = rows[i].at};
    ck_assert_str_eq(cost_bottleneck(&f, &t, text, sizeof text), rows[i].name);
  }
  fabric_fini(&f);
}
END_TEST

/* ---- fabrics ---- */

START_TEST(hosts_come_from_names) {
  struct fabric f;
  struct cost cost;
  char text[512];
  uint32_t host_of[] = {7, 7, UINT32_MAX, 0, 7};
  cost_init(&cost);
  ck_assert_int_eq(fabric_of_hosts(&f, 3, 2, host_of, NULL), AGG_OK);
  ck_assert_uint_eq(f.n_links, 4);
  ck_assert_uint_eq(f.node[0].host, f.node[4].host);
  ck_assert_uint_ne(f.node[0].host, f.node[2].host);
  ck_assert_str_eq(f.link[f.node[3].host].name, "host of server 0");
  ck_assert(!fabric_one_host(&f));
  fabric_assume(&f, &cost);
  ck_assert_int_eq(fabric_check(&f, NULL), AGG_OK);
  ck_assert_uint_eq(f.link[f.node[0].host].cores, 3);
  fabric_assumptions(&f, &cost, text, sizeof text);
  ck_assert_ptr_nonnull(strstr(text, "assumed: switches that limit nothing"));
  ck_assert_ptr_nonnull(strstr(text, "10 GB/s where a host's network speed is unknown"));
  unsigned assumed = f.assumed;
  fabric_assume(&f, &cost); /* again: nothing is left to assume */
  ck_assert_uint_eq(f.assumed, assumed);
  ck_assert_uint_eq(f.link[f.node[0].host].cores, 3);
  fabric_fini(&f);
}
END_TEST

static void broken(struct fabric *f, const char *words) {
  agg_error_t err = {0};
  ck_assert_int_eq(fabric_check(f, &err), AGG_EINVAL);
  ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" in \"%s\"", words, err.text);
}

START_TEST(unsound_fabrics_are_refused) {
  struct fabric f;
  agg_error_t err = {0};
  uint32_t link;
  ck_assert_int_eq(fabric_flat(&f, 2, 1, 1e9, NULL), AGG_OK);
  f.link[2].parent = 3, broken(&f, "expected a smaller number"), f.link[2].parent = 0;
  f.link[2].parent = 1, broken(&f, "expected a switch or the core"), f.link[2].parent = 0;
  f.link[2].bytes_per_s = NAN, broken(&f, "expected rates"), f.link[2].bytes_per_s = -2, broken(&f, "expected rates");
  f.link[2].bytes_per_s = 1, f.node[1].host = 0, broken(&f, "not a host"), f.node[1].host = 99, broken(&f, "not a host");
  f.node[1].host = 2, f.mtu = 3, broken(&f, "MTU of 3"), f.mtu = 0;
  f.node[2].sum_bytes_per_s = INFINITY, broken(&f, "node 2 sums"), f.node[2].sum_bytes_per_s = 0;
  f.link[0].bytes_per_s = 5, broken(&f, "core"), f.link[0].bytes_per_s = 0;
  ck_assert_int_eq(fabric_check(&f, NULL), AGG_OK);
  ck_assert_int_eq(fabric_add_node(&f, 0, 1, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "a worker after a server"));
  ck_assert_int_eq(fabric_add_link(&f, FABRIC_LINK_HOST, 1, "x", 1, &link, &err), AGG_EINVAL);
  ck_assert_int_eq(fabric_add_link(&f, FABRIC_LINK_HOST, 0, "x", -3, &link, &err), AGG_EINVAL);
  ck_assert_int_eq(fabric_add_link(&f, FABRIC_LINK_CORE, 0, "x", 1, &link, &err), AGG_EINVAL);
  fabric_fini(&f);
  ck_assert_int_eq(fabric_flat(&f, 0, 1, 1, &err), AGG_EINVAL);
  ck_assert_int_eq(fabric_flat(&f, FOREST_MAX_NODES, 1, 1, &err), AGG_EINVAL);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("cost");
  TCase *c = tcase_create("cost");
  tcase_add_test(c, overrides_are_read);
  tcase_add_test(c, bad_overrides_are_named);
  tcase_add_test(c, what_is_printed_can_be_read);
  tcase_add_test(c, payload_is_less_than_the_line_carries);
  tcase_add_test(c, the_first_chunk_waits_level_by_level);
  tcase_add_test(c, hops_and_messages_are_what_small_sizes_cost);
  tcase_add_test(c, a_small_window_costs_round_trips);
  tcase_add_test(c, a_ring_with_a_small_window_goes_in_turns);
  tcase_add_test(c, a_ring_does_not_sum_while_results_come_down);
  tcase_add_test(c, a_ring_of_two_is_direct);
  tcase_add_test(c, a_ring_of_many_turns_comes_apart);
  tcase_add_test(c, parts_wait_for_their_own_first_chunks);
  tcase_add_test(c, unlimited_links_leave_hops);
  tcase_add_test(c, bottlenecks_have_names);
  tcase_add_test(c, hosts_come_from_names);
  tcase_add_test(c, unsound_fabrics_are_refused);
  suite_add_tcase(s, c);
  return s;
}
