/* What NICs have together through PCIe: cases worked out by hand, and random trees against the smallest of all cuts. */
#include "topology/pcie.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/topotext.h"

Suite *make_suite(void);

#define G (1e9 / 8)

/* All NICs of the first host, each as fast as its port. */
static double flow_of(const char *devices) {
  char text[2048];
  struct topo t;
  double want[TOPO_DEVICES_MAX] = {0};
  (void)snprintf(text, sizeof text, "topo 1\nhost a\n%s", devices);
  topotext_parse(text, &t);
  const struct topo_machine *m = topo_machine_of(&t, 0);
  for (uint32_t i = 0; i < m->n_nics; i++) want[i] = (double)m->nics[i].speed;
  double flow = pcie_flow(m, want);
  topo_fini(&t);
  return flow;
}

#define BELOW(slot) " path=pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:0" slot ".0"

START_TEST(cases_by_hand) {
  static const struct {
    const char *what, *devices;
    double gbits;
  } CASES[] = {
      {"no NIC", "numa 0\n", 0},
      {"a link as fast as it need be", "nic a speed=100G pcie=126.031G\n", 100},
      {"100G in a 3.0 x8 slot", "nic a speed=100G pcie=63.015G\n", 63.015},
      {"two such slots", "nic a speed=100G pcie=63.015G\nnic b speed=100G pcie=63.015G\n", 126.03},
      {"nothing is known of PCIe", "nic a speed=100G\nnic b speed=200G pci=0000:18:00.0" BELOW("0") "\n", 300},
      {"two of 200G below one 4.0 x16 switch",
       "nic a speed=200G pci=0000:18:00.0" BELOW("0") " pcie=252.062G\nnic b speed=200G pci=0000:19:00.0" BELOW(
           "1") " pcie=252.062G\nbridge 0000:15:01.0 pcie=252.062G\nbridge 0000:16:00.0 pcie=252.062G\n",
       252.062},
      {"the same, and one elsewhere",
       "nic a speed=200G pci=0000:18:00.0" BELOW("0") "\nnic b speed=200G pci=0000:19:00.0" BELOW(
           "1") "\nnic c speed=200G pci=0000:26:00.0 path=pci0000:25/0000:25:01.0 pcie=252.062G\nbridge 0000:16:00.0 pcie=252.062G\n",
       452.062},
      {"a slow slot does not take what the other leaves",
       "nic a speed=200G pci=0000:18:00.0" BELOW("0") " pcie=63G\nnic b speed=200G pci=0000:19:00.0" BELOW(
           "1") "\nbridge 0000:16:00.0 pcie=252G\n",
       252},
      {"both limits at once",
       "nic a speed=200G pci=0000:18:00.0" BELOW("0") " pcie=63G\nnic b speed=200G pci=0000:19:00.0" BELOW(
           "1") " pcie=126G\nbridge 0000:16:00.0 pcie=252G\nbridge 0000:15:01.0 pcie=180G\n",
       180},
      {"a bridge that is above a GPU only",
       "nic a speed=200G pci=0000:18:00.0" BELOW(
           "0") "\ngpu 0 pci=0000:26:00.0 path=pci0000:25/0000:25:01.0\nbridge 0000:25:01.0 pcie=2G\n",
       200},
      {"two ports of a device share its link",
       "nic m_0:1 speed=100G pci=0000:3b:00.0 pcie=126G\nnic m_1:1 speed=100G pci=0000:3b:00.1 pcie=126G\n", 126},
      {"two ports of a function, too", "nic m_0:1 speed=100G pci=0000:3b:00.0 pcie=126G\nnic m_0:2 speed=100G pci=0000:3b:00.0\n", 126},
      {"two devices do not", "nic a speed=100G pci=0000:3b:00.0 pcie=126G\nnic b speed=100G pci=0000:3c:00.0 pcie=126G\n", 200},
      {"the link below a host bridge and one further down",
       "nic a speed=100G pci=0000:16:00.0 path=pci0000:15/0000:15:01.0\nnic b speed=100G pci=0000:18:00.0" BELOW(
           "0") "\nbridge 0000:15:01.0 pcie=120G\nbridge 0000:17:00.0 pcie=10G\n",
       110},
  };
  for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
    double flow = flow_of(CASES[i].devices);
    ck_assert_msg(fabs(flow - CASES[i].gbits * G) < 1, "%s: %.6f Gbit/s instead of %.6f", CASES[i].what, flow / G, CASES[i].gbits);
  }
}
END_TEST

START_TEST(who_takes_no_part_takes_nothing) {
  struct topo t;
  topotext_parse("topo 1\nhost a\nnic a speed=200G pci=0000:18:00.0" BELOW("0") "\nnic b speed=200G pci=0000:19:00.0" BELOW(
                     "1") "\nbridge 0000:16:00.0 pcie=252G\n",
                 &t);
  ck_assert_double_eq(pcie_flow(topo_machine_of(&t, 0), (double[]){0, 200 * G}), 200 * G);
  ck_assert_double_eq(pcie_flow(topo_machine_of(&t, 0), (double[]){60 * G, 200 * G}), 252 * G);
  ck_assert_double_eq(pcie_flow(topo_machine_of(&t, 0), (double[]){0, 0}), 0);
  topo_fini(&t);
}
END_TEST

/* ---- random trees ------------------------------------------------------------------------------------------------------------------- */

#define NODES 6 /* bridges, in a tree; the host bridge is above all */
#define NICS 6

struct tree {
  int parent[NODES]; /* -1: the host bridge */
  struct topo_bridge bridge[NODES];
  struct topo_nic nic[NICS];
  int at[NICS]; /* its bridge; -1: none */
  double want[NICS];
};

static void path_to(const struct tree *t, int node, char *path, size_t cap) {
  if (node >= 0) path_to(t, t->parent[node], path, cap);
  size_t n = strlen(path);
  (void)snprintf(path + n, cap - n, "%s%s", node >= 0 ? "/" : "pci0000:00", node >= 0 ? t->bridge[node].pci : "");
}

static void grow(struct rng *r, struct tree *t) {
  for (int i = 0; i < NODES; i++) {
    t->parent[i] = (int)rng_below(r, (uint64_t)i + 1) - 1;
    t->bridge[i] = (struct topo_bridge){.pcie = 1 + rng_below(r, 30)};
    (void)snprintf(t->bridge[i].pci, sizeof t->bridge[i].pci, "0000:00:%02x.0", (unsigned)(NODES - i) & 0xffu);
  }
  for (int i = 0; i < NICS; i++) {
    t->nic[i] = (struct topo_nic){.place = {.pcie = rng_below(r, 3) == 0 ? 0 : 1 + rng_below(r, 20)}};
    t->at[i] = (int)rng_below(r, NODES + 1) - 1;
    t->want[i] = (double)rng_below(r, 20);
    (void)snprintf(t->nic[i].place.pci, sizeof t->nic[i].place.pci, "0000:01:%02x.0", (unsigned)i & 0xffu);
    path_to(t, t->at[i], t->nic[i].place.path, sizeof t->nic[i].place.path);
  }
}

/* Of a set of bridges whose links are cut: they, and every NIC that has none of them above it. The least over all sets is the flow. */
static double cut(const struct tree *t, unsigned set) {
  double sum = 0;
  for (int i = 0; i < NODES; i++) sum += set >> i & 1 ? (double)t->bridge[i].pcie : 0;
  for (int i = 0; i < NICS; i++) {
    int at = t->at[i];
    while (at >= 0 && !(set >> at & 1)) at = t->parent[at];
    double own = t->nic[i].place.pcie != 0 ? fmin(t->want[i], (double)t->nic[i].place.pcie) : t->want[i];
    if (at < 0) sum += own;
  }
  return sum;
}

START_TEST(it_is_the_smallest_cut) {
  for (uint64_t seed = 1; seed <= 2000; seed++) {
    struct rng r = {.state = seed};
    struct tree t;
    memset(&t, 0, sizeof t);
    grow(&r, &t);
    struct topo_machine m = {.n_nics = NICS, .nics = t.nic, .n_bridges = (uint32_t)rng_below(&r, NODES + 1), .bridges = t.bridge};
    double least = INFINITY; /* over sets of the bridges whose links are known */
    for (unsigned set = 0; set < 1u << m.n_bridges; set++) least = fmin(least, cut(&t, set));
    double flow = pcie_flow(&m, t.want);
    ck_assert_msg(flow == least, "seed %u: a flow of %g, a cut of %g", (unsigned)seed, flow, least);
  }
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("pcie");
  TCase *tcase = tcase_create("pcie");
  tcase_add_test(tcase, cases_by_hand);
  tcase_add_test(tcase, who_takes_no_part_takes_nothing);
  tcase_add_test(tcase, it_is_the_smallest_cut);
  suite_add_tcase(suite, tcase);
  return suite;
}
