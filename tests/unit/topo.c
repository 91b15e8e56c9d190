/* Descriptions as data: what is kept once, distances, the check of the whole, joining machines, and placing hosts on a fabric. */
#include "topology/topo.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/topotext.h"

Suite *make_suite(void);

#define G (1000000000ull / 8)

static void expect_dump(const struct topo *t, const char *want) {
  char *text = topotext_dump(t);
  ck_assert_str_eq(text, want);
  free(text);
}

/* ---- what is kept ------------------------------------------------------------------------------------------------------------------ */

#define BELOW "nic e pci=0000:17:00.0 path=pci0000:15/0000:15:01.0/0000:16:00.0"

START_TEST(machines_that_are_equal_are_one) {
  struct topo t;
  topotext_parse(
      "topo 1\nhost a\nnuma 0\nnic eth0 speed=1G\nhost b\nnuma 0\nnic eth0 speed=1G\nhost c\nnuma 0\nnic eth0 speed=2G\nhost d\n", &t);
  ck_assert_uint_eq(t.n_machines, 3);
  ck_assert_uint_eq(t.hosts[0].machine, t.hosts[1].machine);
  ck_assert_uint_ne(t.hosts[0].machine, t.hosts[2].machine);
  topo_fini(&t);
  topotext_parse("topo 1\nhost a\n" BELOW " pcie=2G\nbridge 0000:15:01.0 pcie=2G\nhost b\n" BELOW
                 " pcie=2G\nbridge 0000:15:01.0 pcie=2G\n"
                 "host c\n" BELOW " pcie=4G\nbridge 0000:15:01.0 pcie=2G\nhost d\n" BELOW
                 " pcie=2G\nbridge 0000:15:01.0 pcie=4G\n"
                 "host e\n" BELOW " pcie=2G\nbridge 0000:16:00.0 pcie=2G\nhost f\n" BELOW " pcie=2G\n",
                 &t);
  ck_assert_uint_eq(t.n_machines, 5);
  ck_assert_uint_eq(t.hosts[0].machine, t.hosts[1].machine);
  topo_fini(&t);
}
END_TEST

START_TEST(adding_what_cannot_be_changes_nothing) {
  struct topo t;
  agg_error_t err = {0};
  uint32_t index = 77;
  topo_init(&t);
  ck_assert_int_eq(topo_add_host(&t, &(struct topo_host){.name = "a"}, &index, &err), AGG_OK);
  ck_assert_uint_eq(index, 0);
  index = 77;
  ck_assert_int_eq(topo_add_host(&t, &(struct topo_host){.name = "a"}, &index, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "host a is there already: give one of them another name");
  ck_assert_int_eq(topo_add_host(&t, &(struct topo_host){.name = "-a"}, &index, &err), AGG_EINVAL);
  ck_assert_int_eq(topo_add_switch(&t, &(struct topo_switch){.name = ""}, &index, &err), AGG_EINVAL);
  ck_assert_int_eq(topo_add_machine(&t, &(struct topo_machine){.n_nics = TOPO_DEVICES_MAX + 1}, &index, &err), AGG_ELIMIT);
  ck_assert_int_eq(topo_add_machine(&t, &(struct topo_machine){.n_bridges = TOPO_DEVICES_MAX + 1}, &index, &err), AGG_ELIMIT);
  ck_assert_str_eq(err.text, "a machine of 0 NUMA nodes, 0 NICs, 0 GPUs and 257 PCIe bridges: at most 256 of each");
  ck_assert_uint_eq(index, 77);
  ck_assert_uint_eq(t.n_hosts, 1);
  ck_assert_uint_eq(t.n_switches + t.n_machines, 0);
  topo_fini(&t);
  topo_fini(&t); /* an empty one */
}
END_TEST

START_TEST(notes_are_kept_once_and_have_a_limit) {
  struct topo t;
  topo_init(&t);
  for (int i = 0; i < 1000; i++) topo_note(&t, "note %d", i % 100);
  ck_assert_uint_eq(t.n_notes, 64);
  ck_assert_str_eq(t.notes[63], "note 63");
  topo_fini(&t);
}
END_TEST

START_TEST(values_have_names) {
  ck_assert_str_eq(topo_distance_name(TOPO_PIX), "PIX");
  ck_assert_str_eq(topo_distance_name(TOPO_DISTANCE_UNKNOWN), "?");
  ck_assert_str_eq(topo_distance_name(TOPO_DISTANCE_COUNT), "?");
  ck_assert_str_eq(topo_link_name(TOPO_ROCE), "roce");
  ck_assert_str_eq(topo_link_name(99), "?");
  ck_assert_str_eq(topo_state_name(TOPO_DOWN), "down");
  ck_assert_str_eq(topo_state_name(99), "?");
}
END_TEST

/* ---- distances --------------------------------------------------------------------------------------------------------------------- */

static struct topo_place place(const char *pci, const char *path, uint32_t numa) {
  struct topo_place p = {.numa = numa};
  str_copy(p.pci, sizeof p.pci, pci);
  str_copy(p.path, sizeof p.path, path);
  return p;
}

#define UP "pci0000:15/0000:15:01.0/0000:16:00.0" /* root port and upstream port of a switch */

START_TEST(distances_are_those_of_nvidia_smi) {
  static const struct {
    const char *what, *a, *b;
    uint32_t numa_a, numa_b;
    enum topo_distance d;
  } CASES[] = {
      {"two ports down of one switch", UP "/0000:17:00.0", UP "/0000:17:01.0", 0, 0, TOPO_PIX},
      {"one port of a switch", UP, UP, 0, 0, TOPO_PIX},
      {"below a root port", "pci0000:15/0000:15:01.0", "pci0000:15/0000:15:01.0", 0, 0, TOPO_PIX},
      {"in the switch and below it", UP, UP "/0000:17:00.0", 0, 0, TOPO_PIX},
      {"a switch below a switch", UP "/0000:17:00.0", UP "/0000:17:01.0/0000:18:00.0/0000:19:00.0", 0, 0, TOPO_PXB},
      {"two switches below a switch", UP "/0000:17:00.0/0000:18:00.0/0000:19:00.0", UP "/0000:17:01.0/0000:1a:00.0/0000:1b:00.0", 0, 0,
       TOPO_PXB},
      {"two root ports", "pci0000:15/0000:15:01.0", "pci0000:15/0000:15:02.0", 0, 0, TOPO_PHB},
      {"one built into the CPU", "pci0000:15", "pci0000:15/0000:15:02.0", 0, 0, TOPO_PHB},
      {"a bridge whose name begins like another's", "pci0000:15/0000:15:01.0", "pci0000:15/0000:15:01.1", 0, 0, TOPO_PHB},
      {"host bridges of one node", "pci0000:15/0000:15:01.0", "pci0000:25/0000:25:01.0", 1, 1, TOPO_NODE},
      {"host bridges of two nodes", "pci0000:15/0000:15:01.0", "pci0000:a5/0000:a5:01.0", 0, 1, TOPO_SYS},
      {"host bridges of who knows", "pci0000:15/0000:15:01.0", "pci0000:a5/0000:a5:01.0", 0, TOPO_NONE, TOPO_DISTANCE_UNKNOWN},
      {"one path is not known", "", "pci0000:a5/0000:a5:01.0", 0, 0, TOPO_NODE},
      {"no path is known", "", "", 0, 1, TOPO_SYS},
      {"nothing is known", "", "", TOPO_NONE, TOPO_NONE, TOPO_DISTANCE_UNKNOWN},
      {"paths count, whatever the firmware says of nodes", UP, UP, 0, TOPO_NONE, TOPO_PIX},
      {"a domain that begins like another", "pci0000:15", "pci0000:1", 0, 1, TOPO_SYS},
  };
  for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
    struct topo_place a = place("0000:f0:00.0", CASES[i].a, CASES[i].numa_a), b = place("0000:f1:00.0", CASES[i].b, CASES[i].numa_b);
    ck_assert_msg(topo_distance(&a, &b) == CASES[i].d, "%s: %s", CASES[i].what, topo_distance_name(topo_distance(&a, &b)));
    ck_assert_msg(topo_distance(&b, &a) == CASES[i].d, "%s, from the other side", CASES[i].what);
  }
  struct topo_place port = place("0000:f0:00.0", "", TOPO_NONE), nowhere = place("", "", TOPO_NONE);
  ck_assert_int_eq(topo_distance(&port, &port), TOPO_PIX); /* two ports of a NIC */
  ck_assert_int_eq(topo_distance(&nowhere, &nowhere), TOPO_DISTANCE_UNKNOWN);
}
END_TEST

START_TEST(distances_to_cores_and_memory) {
  struct topo_place p = place("0000:f0:00.0", UP, 1), nowhere = place("", "", TOPO_NONE);
  ck_assert_int_eq(topo_distance_numa(&p, 1), TOPO_PHB);
  ck_assert_int_eq(topo_distance_numa(&p, 0), TOPO_SYS);
  ck_assert_int_eq(topo_distance_numa(&p, TOPO_NONE), TOPO_DISTANCE_UNKNOWN);
  ck_assert_int_eq(topo_distance_numa(&nowhere, 0), TOPO_DISTANCE_UNKNOWN);
}
END_TEST

/* The matrix that nvidia-smi prints of such a machine: each GPU has a NIC behind its own switch. */
START_TEST(distances_in_a_machine_of_eight_gpus) {
  struct topo t;
  agg_error_t err = {0};
  ck_assert_msg(topo_load("tests/data/topo/dgx-pod.topo", &t, &err) == AGG_OK, "%s", err.text);
  const struct topo_machine *m = topo_machine_of(&t, 0);
  ck_assert_uint_eq(m->n_gpus, 8);
  for (uint32_t g = 0; g < 8; g++) {
    for (uint32_t n = 0; n < 8; n++) {
      enum topo_distance want = g == n ? TOPO_PIX : g / 4 == n / 4 ? TOPO_NODE : TOPO_SYS;
      ck_assert_int_eq(topo_distance(&m->gpus[g].place, &m->nics[n].place), want);
    }
    ck_assert_int_eq(topo_distance_numa(&m->gpus[g].place, g / 4), TOPO_PHB);
  }
  topo_fini(&t);
}
END_TEST

/* ---- the check of the whole -------------------------------------------------------------------------------------------------------- */

static void expect_fault(struct topo *t, const char *says) {
  agg_error_t err = {0};
  int rc = topo_check(t, &err);
  ck_assert_msg(rc == AGG_EINVAL, "taken (%d), instead of: %s", rc, says);
  ck_assert_str_eq(err.text, says);
}

/* What no text form can say, but a program. */
START_TEST(check_finds_what_is_out_of_range) {
  static const char TEXT[] =
      "topo 1\nswitch s\nswitch r parent=s uplink=1G\nhost a workers=1 switch=r\nnuma 0\nnic eth0 numa=0\ngpu 0 numa=0 "
      "pci=0000:16:00.0 path=pci0000:15/0000:15:01.0\nbridge 0000:15:01.0 pcie=2G\n";
  struct topo t;
  topotext_parse(TEXT, &t);
  ck_assert_int_eq(topo_check(&t, NULL), AGG_OK);
#define WITH(field, value, says)      \
  do {                                \
    __typeof__(field) old_ = (field); \
    (field) = (value);                \
    expect_fault(&t, says);           \
    (field) = old_;                   \
  } while (0)
  WITH(t.hosts[0].machine, 1, "host a is machine 1 of 1");
  WITH(t.hosts[0].on, TOPO_NONE, "host a is on no switch: say which, switch=NAME");
  WITH(t.hosts[0].on, 2, "host a is on switch 2 of 2");
  WITH(t.switches[1].parent, 2, "switch r has the parent 2 of 2 switches");
  WITH(t.switches[0].parent, 1, "switch s is above itself (s -> r -> s): one of them must be at the top, without parent");
  WITH(t.switches[1].up, 1, "switch r: an uplink of this speed cannot be meant");
  WITH(t.switches[1].down, UINT64_MAX, "switch r: an uplink of this speed cannot be meant");
  WITH(t.hosts[0].workers, TOPO_NODES_MAX + 1, "more than 65536 workers and servers up to this host");
  WITH(t.machines[0].memory, 1, "host a: 1 bytes of memory cannot be meant");
  WITH(t.machines[0].nics[0].speed, 1, "host a: the description of NIC 0 is not valid");
  WITH(t.machines[0].nics[0].link, 200, "host a: the description of NIC 0 is not valid");
  WITH(t.machines[0].nics[0].state, 200, "host a: the description of NIC 0 is not valid");
  WITH(t.machines[0].nics[0].place.numa, 1, "host a: the description of NIC 0 is not valid");
  WITH(t.machines[0].nics[0].netdev[0], '\0', "host a: the description of NIC 0 is not valid");
  WITH(t.machines[0].nics[0].place.path[0], 'p', "host a: the description of NIC 0 is not valid");
  WITH(t.machines[0].nics[0].place.pcie, 1, "host a: the description of NIC 0 is not valid");
  WITH(t.machines[0].gpus[0].place.pcie, UINT64_MAX, "host a: the description of GPU 0 is not valid");
  WITH(t.machines[0].bridges[0].pcie, 0, "host a: the description of bridge 0 is not valid");
  WITH(t.machines[0].bridges[0].pcie, 1, "host a: the description of bridge 0 is not valid");
  WITH(t.machines[0].bridges[0].pci[0], 'x', "host a: the description of bridge 0 is not valid");
  WITH(t.machines[0].gpus[0].place.numa, 1, "host a: the description of GPU 0 is not valid");
  WITH(t.n_hosts, 0, "no host is described: expected at least one line like \"host node1 workers=8\"");
#undef WITH
  ck_assert_int_eq(topo_check(&t, NULL), AGG_OK);
  topo_fini(&t);
}
END_TEST

START_TEST(hosts_without_a_role_may_be_anywhere) {
  struct topo t;
  topotext_parse("topo 1\nswitch a\nswitch b\nhost h workers=1 switch=a\nhost i switch=b\n", &t);
  topo_fini(&t);
}
END_TEST

/* ---- joining ----------------------------------------------------------------------------------------------------------------------- */

START_TEST(hosts_of_several_machines_become_one_description) {
  struct topo t, more;
  agg_error_t err = {0};
  topotext_parse("topo 1\nnote of a\nhost a workers=2\n  nic eth0 speed=10G\n", &t);
  topotext_parse("topo 1\nnote of b\nhost b workers=2\n  nic eth0 speed=10G\n", &more);
  ck_assert_msg(topo_join(&t, &more, &err) == AGG_OK, "%s", err.text);
  topo_fini(&more);
  topotext_parse("topo 1\nswitch network\nswitch rack parent=network uplink=40G\nhost c servers=1 switch=rack\n", &more);
  ck_assert_msg(topo_join(&t, &more, &err) == AGG_OK, "%s", err.text);
  topo_fini(&more);
  ck_assert_int_eq(topo_check(&t, NULL), AGG_OK);
  ck_assert_uint_eq(t.n_machines, 2);
  expect_dump(&t,
              "topo 1\nnote of a\n"
              "note no switch is described: all hosts are assumed to be on one, \"network\", that limits nothing\nnote of b\n"
              "switch network\nswitch rack parent=network uplink=40G\n"
              "host a workers=2 switch=network\n  nic eth0 speed=10G\n"
              "host b workers=2 switch=network\n  nic eth0 speed=10G\n"
              "host c servers=1 switch=rack\n");
  topo_fini(&t);
}
END_TEST

START_TEST(joining_what_contradicts_changes_nothing) {
  static const struct {
    const char *text, *error;
  } CASES[] = {
      {"topo 1\nhost b\nhost a\n", "host a is there twice: give each host a name of its own"},
      {"topo 1\nswitch network\nswitch rack parent=network uplink=2G\nhost b switch=rack\n",
       "switch rack is described in two ways: its parent and uplink must be the same everywhere"},
      {"topo 1\nswitch rack\nhost b switch=rack\n",
       "switch rack is described in two ways: its parent and uplink must be the same everywhere"},
  };
  for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
    struct topo t, more;
    agg_error_t err = {0};
    topotext_parse("topo 1\nswitch network\nswitch rack parent=network uplink=1G\nhost a switch=rack\n", &t);
    topotext_parse(CASES[i].text, &more);
    ck_assert_int_eq(topo_join(&t, &more, &err), AGG_EINVAL);
    ck_assert_str_eq(err.text, CASES[i].error);
    expect_dump(&t, "topo 1\nswitch network\nswitch rack parent=network uplink=1G\nhost a switch=rack\n");
    topo_fini(&t);
    topo_fini(&more);
  }
}
END_TEST

/* ---- placing ----------------------------------------------------------------------------------------------------------------------- */

static const char FABRIC[] =
    "topo 1\nnote of the fabric\nswitch core\nswitch left parent=core uplink=100G\nswitch right parent=core uplink=200G/100G\n"
    "switch r1 parent=right uplink=50G\nswitch unused parent=core uplink=1G\nswitch island\n"
    "host n[1-4] switch=left\nhost n[5-8] switch=r1\nhost n9 switch=island\n";

START_TEST(hosts_take_their_place_from_a_fabric) {
  struct topo t, fabric;
  agg_error_t err = {0};
  topotext_parse("topo 1\nhost n2 workers=1\n  nic eth0 speed=10G\nhost n7.cluster.example workers=1 servers=1\n", &t);
  topotext_parse(FABRIC, &fabric);
  ck_assert_msg(topo_place_on(&t, &fabric, "fabric.conf", &err) == AGG_OK, "%s", err.text);
  topo_fini(&fabric);
  expect_dump(&t,
              "topo 1\nnote of the fabric\nswitch core\nswitch left parent=core uplink=100G\nswitch right parent=core uplink=200G/100G\n"
              "switch r1 parent=right uplink=50G\n"
              "host n2 workers=1 switch=left\n  nic eth0 speed=10G\n"
              "host n7.cluster.example workers=1 servers=1 switch=r1\n");
  ck_assert_uint_eq(topo_find_switch(&t, "r1"), 3);
  ck_assert_uint_eq(topo_find_switch(&t, "network"), TOPO_NONE);
  topo_fini(&t);
}
END_TEST

START_TEST(placing_what_cannot_be_changes_nothing) {
  static const struct {
    const char *hosts, *error;
  } CASES[] = {
      {"topo 1\nhost n2 workers=1\nhost other workers=1\n", "fabric.conf: host other is on none of its switches: add it to one"},
      {"topo 1\nhost n2 workers=1\nhost n9 workers=1\n",
       "fabric.conf: host n2 is below switch core and host n9 below switch island, and no switch is above both: give one of them parent="},
  };
  for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
    struct topo t, fabric;
    agg_error_t err = {0};
    char *before, *after;
    topotext_parse(CASES[i].hosts, &t);
    topotext_parse(FABRIC, &fabric);
    ck_assert_int_eq(topo_dump(&t, &before, NULL), AGG_OK);
    ck_assert_int_eq(topo_place_on(&t, &fabric, "fabric.conf", &err), AGG_EINVAL);
    ck_assert_str_eq(err.text, CASES[i].error);
    ck_assert_int_eq(topo_dump(&t, &after, NULL), AGG_OK);
    ck_assert_str_eq(before, after);
    ck_assert_uint_eq(topo_find_switch(&t, "network"), 0);
    free(before);
    free(after);
    topo_fini(&t);
    topo_fini(&fabric);
  }
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("topo");
  TCase *data = tcase_create("data");
  tcase_add_test(data, machines_that_are_equal_are_one);
  tcase_add_test(data, adding_what_cannot_be_changes_nothing);
  tcase_add_test(data, notes_are_kept_once_and_have_a_limit);
  tcase_add_test(data, values_have_names);
  suite_add_tcase(suite, data);
  TCase *distances = tcase_create("distances");
  tcase_add_test(distances, distances_are_those_of_nvidia_smi);
  tcase_add_test(distances, distances_to_cores_and_memory);
  tcase_add_test(distances, distances_in_a_machine_of_eight_gpus);
  suite_add_tcase(suite, distances);
  TCase *whole = tcase_create("whole");
  tcase_add_test(whole, check_finds_what_is_out_of_range);
  tcase_add_test(whole, hosts_without_a_role_may_be_anywhere);
  tcase_add_test(whole, hosts_of_several_machines_become_one_description);
  tcase_add_test(whole, joining_what_contradicts_changes_nothing);
  tcase_add_test(whole, hosts_take_their_place_from_a_fabric);
  tcase_add_test(whole, placing_what_cannot_be_changes_nothing);
  suite_add_tcase(suite, whole);
  return suite;
}
