/* What the coordinator makes of a host: the nodes' own words, and those of a description. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "control/coord.h"
#include "tests/lib/topotext.h"

#define G (1000000000ull / 8)

static struct coordinator coordinator;
static struct log logger;
static struct topo topo;
static struct seat seats[8];
static struct control_node nodes[8];
static struct group group;
static char said[4096];

static void on_line(void *user, agg_log_level_t level, const char *line) {
  (void)level, (void)user;
  (void)snprintf(said, sizeof said, "%s", line);
}

/* A rank for each word, on the host of that name; they have no ports yet. description: NULL, there is none. */
static void begin(const char *hosts, const char *description) {
  static struct control_address shm = {.transport = "shm"};
  static char plan[] = "";
  uint32_t n = 0;
  memset(nodes, 0, sizeof nodes);
  for (int used; sscanf(hosts, " %63s%n", nodes[n].host, &used) == 1; hosts += used, n++) {
    nodes[n].reactors = nodes[n].rails = nodes[n].n_addresses = 1;
    nodes[n].addresses = &shm;
  }
  log_init(&logger, AGG_LOG_INFO, on_line, NULL);
  coordinator = (struct coordinator){.topo_name = "FILE", .log = &logger};
  cost_init(&coordinator.cost);
  if (description != NULL) {
    topotext_parse(description, &topo);
    coordinator.topo = &topo;
  }
  group = (struct group){.c = &coordinator, .size = n, .plan = plan, .seats = seats, .setup = {.n_nodes = n, .nodes = nodes}};
}

static void add_port(uint32_t node, const char *name, uint64_t gbits, uint8_t by_pcie) {
  struct control_port *p = &nodes[node].ports[nodes[node].n_ports++];
  *p = (struct control_port){.bytes_per_s = gbits * G, .by_pcie = by_pcie};
  (void)snprintf(p->name, sizeof p->name, "%s", name);
}

/* What is predicted of a plan is not below what no plan can go below. */
static void expect_possible(const struct plan *plan) {
  for (uint32_t s = 0; s < PLAN_SIZES; s++) {
    double least = plan->bound * (double)plan_size_bytes(s);
    for (uint32_t i = 0; i < plan->n_forests; i++)
      ck_assert_msg(plan->predicted[s][i] > least * 0.999, "size %u, forest %u: %g s, below %g", s, i, (double)plan->predicted[s][i],
                    least);
  }
}

/* The bound is that of hosts which move so much together while a byte of the operation takes its way; 0: there is none. */
static void expect_bound(double gbits) {
  agg_error_t err = {0};
  said[0] = '\0';
  ck_assert_msg(planning_make(&group, &err) == AGG_OK, "%s", err.text);
  double payload = group.setup.plan.bound * gbits * G; /* the line also carries headers */
  ck_assert_msg(gbits == 0 ? group.setup.plan.bound == 0 : payload > 1 && payload < 1.1, "%g of %g Gbit/s", payload, gbits);
  expect_possible(&group.setup.plan);
  plan_fini(&group.setup.plan);
  if (coordinator.topo != NULL) topo_fini(&topo);
  coordinator.topo = NULL;
}

/* ---- the bound ------------------------------------------------------------------------------------------------------------------------
 */

/* A slow NIC has to send and to receive each byte once; what else a plan moves, the others may. */
START_TEST(unequal_hosts) {
  begin("a b c d", NULL);
  add_port(0, "x", 8, 1);
  for (uint32_t i = 1; i < 4; i++) add_port(i, "x", 100, 0);
  expect_bound(8);
}
END_TEST

START_TEST(equal_hosts) {
  begin("a b c d", NULL);
  for (uint32_t i = 0; i < 4; i++) add_port(i, "x", 90, 0);
  expect_bound(60);
}
END_TEST

/* Nearly equal ones cannot relieve the slowest of all that it had to do among its like: 6 over 380 is more than 1 over 80. */
START_TEST(nearly_equal_hosts) {
  begin("a b c d", NULL);
  add_port(0, "x", 80, 0);
  for (uint32_t i = 1; i < 4; i++) add_port(i, "x", 100, 0);
  expect_bound(380.0 / 6);
}
END_TEST

/* Among themselves the ranks of a host need no NIC. */
START_TEST(ranks_that_share_hosts) {
  begin("a b a b", NULL);
  for (uint32_t i = 0; i < 4; i++) add_port(i, i < 2 ? "x" : "y", 50, 0);
  expect_bound(100);
  begin("a a a", NULL);
  for (uint32_t i = 0; i < 3; i++) add_port(i, "x", 50, 0);
  expect_bound(0);
}
END_TEST

/* ---- what ranks of a host say of its ports ----------------------------------------------------------------------------------------------
 */

struct words {
  const char *what;
  struct {
    const char *port;
    uint64_t gbits;
    uint8_t by_pcie;
  } a[3], b[3]; /* of two ranks */
  double gbits;
};

static const struct words WORDS[] = {
    {"ports of their own", {{"x", 200, 0}}, {{"y", 100, 0}}, 300},
    {"the same port", {{"x", 200, 0}}, {{"x", 200, 0}}, 200},
    {"one has the port alone and the other shares PCIe between two", {{"x", 200, 0}}, {{"x", 126, 1}, {"y", 126, 1}}, 252},
    {"what one rank gets, the host has", {{"x", 150, 1}, {"y", 150, 1}, {"z", 150, 1}}, {{"x", 126, 1}, {"y", 126, 1}}, 450},
    {"one of them knows the speed", {{"x", 0, 0}}, {{"x", 100, 0}}, 100},
    {"none of them knows it", {{"x", 0, 0}, {"y", 100, 0}}, {{"x", 0, 0}}, 0},
};

/* Whichever of them comes first. */
START_TEST(ports_of_two_ranks) {
  const struct words *w = &WORDS[_i / 2];
  uint32_t first = _i % 2;
  begin("h h fast", NULL);
  for (uint32_t i = 0; i < 3 && w->a[i].port != NULL; i++) add_port(first, w->a[i].port, w->a[i].gbits, w->a[i].by_pcie);
  for (uint32_t i = 0; i < 3 && w->b[i].port != NULL; i++) add_port(1 - first, w->b[i].port, w->b[i].gbits, w->b[i].by_pcie);
  add_port(2, "x", 4000, 0);
  expect_bound(w->gbits);
}
END_TEST

/* ---- a description and what ranks say -------------------------------------------------------------------------------------------------
 */

#define FAST "host fast\nnic x speed=4000G\n"

static const struct {
  const char *description;
  uint64_t gbits; /* the rank's word of its port */
  uint8_t by_pcie;
  double host;
  int pcie; /* it limits */
} DESCRIBED[] = {
    {"topo 1\nhost h\nnic x speed=20G\n" FAST, 8, 1, 8, 1},
    {"topo 1\nhost h\nnic x speed=5G\n" FAST, 8, 1, 5, 0},
    {"topo 1\nhost h\nnic x speed=10G pcie=6G\n" FAST, 8, 1, 6, 1},
    {"topo 1\nhost h\nnic x speed=10G\n" FAST, 1, 0, 10, 0}, /* who writes down a port's speed knows better than a driver */
    {"topo 1\nhost h\nnic x speed=10G\n" FAST, 0, 0, 10, 0},
    {"topo 1\nhost h\nnic x pcie=6G\n" FAST, 10, 0, 6, 1},
    {"topo 1\nhost h\nnic x pcie=6G\n" FAST, 4, 0, 4, 0},
    {"topo 1\nhost h\nnic x\n" FAST, 8, 1, 8, 1},
};

START_TEST(described_hosts) {
  begin("h fast", DESCRIBED[_i].description);
  add_port(0, "x", DESCRIBED[_i].gbits, DESCRIBED[_i].by_pcie);
  expect_bound(DESCRIBED[_i].host);
  ck_assert_msg((strstr(said, "PCIe of h") != NULL) == DESCRIBED[_i].pcie, "%s", said);
  ck_assert_msg((strstr(said, "NIC of h") != NULL) == !DESCRIBED[_i].pcie, "%s", said);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("planning");
  TCase *c = tcase_create("planning");
  tcase_add_test(c, unequal_hosts);
  tcase_add_test(c, equal_hosts);
  tcase_add_test(c, nearly_equal_hosts);
  tcase_add_test(c, ranks_that_share_hosts);
  tcase_add_loop_test(c, ports_of_two_ranks, 0, 2 * (int)ARRAY_LEN(WORDS));
  tcase_add_loop_test(c, described_hosts, 0, (int)ARRAY_LEN(DESCRIBED));
  suite_add_tcase(s, c);
  return s;
}
