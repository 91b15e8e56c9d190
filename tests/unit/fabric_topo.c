/* Fabrics of described clusters: links, speeds, roles and what stays unknown. */
#include "topology/fabric_topo.h"

#include <check.h>
#include <string.h>

#include "base/util.h"
#include "topology/cost.h"

static uint32_t add_switch(struct topo *t, const char *name, uint32_t parent, uint64_t up, uint64_t down) {
  struct topo_switch s = {.parent = parent, .up = up, .down = down};
  uint32_t at;
  str_copy(s.name, sizeof s.name, name);
  ck_assert_int_eq(topo_add_switch(t, &s, &at, NULL), AGG_OK);
  return at;
}

static void add_host(struct topo *t, const char *name, uint32_t on, struct topo_nic *nics, uint32_t n_nics, uint32_t workers,
                     uint32_t servers) {
  struct topo_numa numa[2] = {{.number = 0, .n_cores = 8, .cores = "0-7", .cpus = "0-7"},
                              {.number = 1, .n_cores = 8, .cores = "8-15", .cpus = "8-15"}};
  struct topo_machine m = {.n_numa = 2, .numa = numa, .n_nics = n_nics, .nics = nics};
  struct topo_host h = {.on = on, .workers = workers, .servers = servers};
  uint32_t at;
  agg_error_t err = {0};
  str_copy(h.name, sizeof h.name, name);
  ck_assert_msg(topo_add_machine(t, &m, &h.machine, &err) == AGG_OK, "%s", err.text);
  ck_assert_msg(topo_add_host(t, &h, &at, &err) == AGG_OK, "%s", err.text);
}

static struct topo_nic nic(const char *rdma, const char *netdev, uint64_t speed, uint8_t state) {
  struct topo_nic n = {.speed = speed, .state = state, .rail = TOPO_NONE, .place = {.numa = TOPO_NONE}};
  str_copy(n.rdma, sizeof n.rdma, rdma);
  str_copy(n.netdev, sizeof n.netdev, netdev);
  return n;
}

START_TEST(hosts_hang_on_their_switches) {
  struct topo t;
  struct fabric f;
  agg_error_t err = {0};
  topo_init(&t);
  uint32_t rack = add_switch(&t, "rack1", 1, 40, 20), top = add_switch(&t, "top", TOPO_NONE, 0, 0);
  struct topo_nic two[] = {nic("mlx5_0:1", "eth0", 100, TOPO_UP), nic("mlx5_1:1", "eth1", 200, TOPO_STATE_UNKNOWN),
                           nic("mlx5_2:1", "eth2", 400, TOPO_DOWN)};
  struct topo_nic one[] = {nic("", "eth0", 0, TOPO_UP)};
  add_host(&t, "node1", rack, two, 3, 2, 0);
  add_host(&t, "idle", rack, two, 3, 0, 0);
  add_host(&t, "store1", top, one, 1, 1, 1);
  ck_assert_msg(fabric_from_topo(&f, &t, &err) == AGG_OK, "%s", err.text);
  ck_assert_int_eq(fabric_check(&f, NULL), AGG_OK);
  ck_assert(f.workers == 3 && f.servers == 1 && f.n_links == 4 && f.rails == 2 && f.transport == FABRIC_TCP);
  const struct fabric_link *node1 = &f.link[f.node[0].host], *store1 = &f.link[f.node[3].host];
  ck_assert_str_eq(node1->name, "node1");
  ck_assert_str_eq(store1->name, "store1");
  ck_assert(f.node[0].host == f.node[1].host && f.node[2].host == f.node[3].host);
  ck_assert(node1->bytes_per_s == 300 && node1->cores == 16 && store1->bytes_per_s == FABRIC_UNKNOWN && store1->parent == FABRIC_CORE);
  ck_assert_str_eq(f.link[node1->parent].name, "rack1");
  ck_assert(f.link[node1->parent].bytes_per_s == 20 && f.link[node1->parent].parent == FABRIC_CORE);
  fabric_fini(&f);
  topo_fini(&t);
}
END_TEST

START_TEST(verbs_where_all_have_a_port) {
  struct topo t;
  struct fabric f;
  topo_init(&t);
  uint32_t top = add_switch(&t, "top", TOPO_NONE, 0, 0);
  struct topo_nic n[] = {nic("mlx5_0:1", "eth0", 100, TOPO_UP)};
  add_host(&t, "node1", top, n, 1, 1, 0);
  add_host(&t, "node2", top, n, 1, 1, 0);
  ck_assert_int_eq(fabric_from_topo(&f, &t, NULL), AGG_OK);
  ck_assert_uint_eq(f.transport, FABRIC_VERBS);
  fabric_fini(&f);
  topo_fini(&t);
}
END_TEST

/* Next to RDMA ports a network device carries nothing; where all of them are down, it does. */
START_TEST(rdma_ports_carry_alone) {
  struct topo_nic n[] = {nic("mlx5_0:1", "eth0", 100, TOPO_UP), nic("mlx5_1:1", "eth1", 200, TOPO_UP), nic("", "eno1", 0, TOPO_UP)};
  struct topo_machine m = {.n_nics = 3, .nics = n};
  ck_assert_double_eq(fabric_topo_speed(&m).bytes_per_s, 300);
  ck_assert(fabric_topo_carries(&m, &n[0]) && fabric_topo_carries(&m, &n[1]) && !fabric_topo_carries(&m, &n[2]));
  n[0].state = n[1].state = TOPO_DOWN;
  ck_assert(!fabric_topo_carries(&m, &n[0]) && fabric_topo_carries(&m, &n[2]));
  ck_assert_double_eq(fabric_topo_speed(&m).bytes_per_s, FABRIC_UNKNOWN);
  n[2].speed = 7;
  ck_assert_double_eq(fabric_topo_speed(&m).bytes_per_s, 7);
  m.n_nics = 0;
  ck_assert_double_eq(fabric_topo_speed(&m).bytes_per_s, FABRIC_UNKNOWN);
}
END_TEST

/* Next to a slow link the host's rate, and what limits it, are PCIe's. */
START_TEST(pcie_limits_a_host) {
  struct topo t;
  struct fabric f;
  topo_init(&t);
  uint32_t top = add_switch(&t, "top", TOPO_NONE, 0, 0);
  struct topo_nic slow[] = {nic("mlx5_0:1", "eth0", 100, TOPO_UP), nic("mlx5_1:1", "eth1", 100, TOPO_UP)}, fast[] = {slow[0], slow[1]};
  slow[1].place.pcie = 60;
  fast[1].place.pcie = 100;
  add_host(&t, "slow", top, slow, 2, 1, 0);
  add_host(&t, "fast", top, fast, 2, 1, 0);
  ck_assert_int_eq(fabric_from_topo(&f, &t, NULL), AGG_OK);
  const struct fabric_link *a = &f.link[f.node[0].host], *b = &f.link[f.node[1].host];
  ck_assert(a->bytes_per_s == 160 && a->by_pcie && b->bytes_per_s == 200 && !b->by_pcie);
  char text[64];
  struct cost_time time = {.what = COST_LINK_UP, .at = f.node[0].host};
  ck_assert_str_eq(cost_bottleneck(&f, &time, text, sizeof text), "PCIe of slow, out");
  time = (struct cost_time){.what = COST_LINK_DOWN, .at = f.node[1].host};
  ck_assert_str_eq(cost_bottleneck(&f, &time, text, sizeof text), "NIC of fast, in");
  fabric_fini(&f);
  topo_fini(&t);
}
END_TEST

/* A link cannot make a port's unknown speed known, but it is a limit of it; one that is down does not count. */
START_TEST(pcie_of_what_does_not_carry) {
  struct topo_nic n[] = {nic("mlx5_0:1", "", 100, TOPO_UP), nic("mlx5_1:1", "", 100, TOPO_DOWN)};
  struct topo_machine m = {.n_nics = 2, .nics = n};
  n[1].place.pcie = 10;
  ck_assert(fabric_topo_speed(&m).bytes_per_s == 100 && !fabric_topo_speed(&m).by_pcie);
  n[0].place.pcie = 50;
  ck_assert(fabric_topo_speed(&m).bytes_per_s == 50 && fabric_topo_speed(&m).by_pcie);
  n[0].speed = 0;
  ck_assert(fabric_topo_speed(&m).bytes_per_s == FABRIC_UNKNOWN && !fabric_topo_speed(&m).by_pcie);
  ck_assert_double_eq(fabric_topo_speed(&m).pcie_bytes_per_s, 50);
  n[1].state = TOPO_UP;
  ck_assert_double_eq(fabric_topo_speed(&m).pcie_bytes_per_s, 60);
  n[1].place.pcie = 0; /* what it adds is its own speed */
  ck_assert_double_eq(fabric_topo_speed(&m).pcie_bytes_per_s, 150);
  n[1].speed = 0;
  ck_assert(fabric_topo_speed(&m).bytes_per_s == FABRIC_UNKNOWN && fabric_topo_speed(&m).pcie_bytes_per_s == 0);
}
END_TEST

/* What is assumed for NICs of unknown speed is no more than their PCIe links let through. */
START_TEST(pcie_limits_what_is_assumed) {
  static const struct {
    uint64_t pcie[2];
    double bytes_per_s;
    uint8_t by_pcie;
  } rows[] = {{{1000000000, 2000000000}, 3e9, 1}, {{8000000000, 0}, 10e9, 0}, {{8000000000, 8000000000}, 10e9, 0}};
  struct topo t;
  struct fabric f;
  struct cost cost;
  char text[64];
  topo_init(&t);
  cost_init(&cost);
  cost.nic = 10e9;
  uint32_t top = add_switch(&t, "top", TOPO_NONE, 0, 0);
  struct topo_nic n[] = {nic("mlx5_0:1", "eth0", 0, TOPO_UP), nic("mlx5_1:1", "eth1", 0, TOPO_UP)};
  n[0].place.pcie = rows[_i].pcie[0];
  n[1].place.pcie = rows[_i].pcie[1];
  add_host(&t, "a", top, n, 2, 1, 0);
  ck_assert_int_eq(fabric_from_topo(&f, &t, NULL), AGG_OK);
  const struct fabric_link *a = &f.link[f.node[0].host];
  ck_assert_double_eq(a->bytes_per_s, FABRIC_UNKNOWN);
  fabric_assume(&f, &cost);
  ck_assert(a->bytes_per_s == rows[_i].bytes_per_s && a->by_pcie == rows[_i].by_pcie && (f.assumed & FABRIC_ASSUMED_RATE));
  struct cost_time time = {.what = COST_LINK_UP, .at = f.node[0].host};
  ck_assert_str_eq(cost_bottleneck(&f, &time, text, sizeof text), rows[_i].by_pcie ? "PCIe of a, out" : "NIC of a, out");
  fabric_fini(&f);
  topo_fini(&t);
}
END_TEST

START_TEST(threads_without_a_lane_do_not_count) {
  struct fabric f;
  struct cost cost;
  cost_init(&cost);
  ck_assert_int_eq(fabric_flat(&f, 2, 1, 1e9, NULL), AGG_OK);
  f.node[2].threads = 64;
  fabric_assume(&f, &cost);
  fabric_limit_threads(&f, 4);
  ck_assert(f.node[0].threads == 1 && f.node[2].threads == 4);
  ck_assert_double_eq(f.node[0].sum_bytes_per_s, cost.sum);
  ck_assert_double_eq(f.node[2].sum_bytes_per_s, 4 * cost.sum);
  fabric_fini(&f);
}
END_TEST

START_TEST(servers_alone_are_no_cluster) {
  struct topo t;
  struct fabric f;
  agg_error_t err = {0};
  topo_init(&t);
  uint32_t top = add_switch(&t, "top", TOPO_NONE, 0, 0);
  struct topo_nic n[] = {nic("", "eth0", 100, TOPO_UP)};
  add_host(&t, "store1", top, n, 1, 0, 2);
  ck_assert_int_eq(fabric_from_topo(&f, &t, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "no worker"));
  topo_fini(&t);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("fabric_topo");
  TCase *c = tcase_create("fabric_topo");
  tcase_add_test(c, hosts_hang_on_their_switches);
  tcase_add_test(c, verbs_where_all_have_a_port);
  tcase_add_test(c, rdma_ports_carry_alone);
  tcase_add_test(c, pcie_limits_a_host);
  tcase_add_test(c, pcie_of_what_does_not_carry);
  tcase_add_loop_test(c, pcie_limits_what_is_assumed, 0, 3);
  tcase_add_test(c, threads_without_a_lane_do_not_count);
  tcase_add_test(c, servers_alone_are_no_cluster);
  suite_add_tcase(s, c);
  return s;
}
