/* The text form: what loads, how it is written, and the exact line of every error. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/topotext.h"
#include "topology/topo.h"
#include "topology/topo_internal.h"

Suite *make_suite(void);

#define G (1000000000ull / 8)
#define GIB (1ull << 30)

/* ---- what loads -------------------------------------------------------------------------------------------------------------------- */

static const char EXAMPLE[] =
    "# Zwei Gestelle, mit Umlaut: \xc3\xa4\n"
    "\n"
    "topo 1\n"
    "switch rack[1-2] parent=spine uplink=400G/200G # above below\r\n"
    "switch spine\n"
    "host node[08-10],login workers=8 switch=rack1 memory=1T\n"
    "\tnuma 1 cores=0-3,8 cpus=0-15 memory=512G\n"
    "  gpu 3 name=H100 numa=1 pci=0000:18:00.0 path=pci0000:15/0000:15:01.0 pcie=504.123G\n"
    "  bridge 0000:15:02.0\n"
    "  bridge 0000:15:01.0 pcie=252.062G\n"
    "  bridge 0000:15:03.0 pcie=unknown\n"
    "  nic mlx5_0:1 netdev=eth0 link=roce speed=2.5Gbit/s state=up rail=7 numa=1 pci=10000:17:00.1 path=pci10000:00 pcie=2G\n"
    "host store1 servers=2 switch=rack2\n"
    "  nic eth1 speed=unknown state=unknown link=unknown rail=unknown numa=unknown pci=unknown path=unknown pcie=unknown\n";

START_TEST(every_key) {
  struct topo t;
  topotext_parse(EXAMPLE, &t);
  ck_assert_uint_eq(t.n_switches, 3);
  ck_assert_uint_eq(t.n_hosts, 5);
  ck_assert_uint_eq(t.n_machines, 2);
  ck_assert_uint_eq(t.n_notes, 0);
  ck_assert_uint_eq(topo_workers(&t), 32);
  ck_assert_uint_eq(topo_servers(&t), 2);
  const struct topo_switch *rack = &t.switches[topo_find_switch(&t, "rack2")];
  ck_assert_uint_eq(rack->parent, topo_find_switch(&t, "spine"));
  ck_assert_uint_eq(rack->up, 400 * G);
  ck_assert_uint_eq(rack->down, 200 * G);
  ck_assert_uint_eq(t.switches[rack->parent].parent, TOPO_NONE);
  ck_assert_str_eq(t.hosts[0].name, "node08");
  ck_assert_str_eq(t.hosts[1].name, "node09");
  ck_assert_str_eq(t.hosts[2].name, "node10");
  ck_assert_str_eq(t.hosts[3].name, "login");
  ck_assert_uint_eq(topo_find_host(&t, "login"), 3);
  ck_assert_uint_eq(topo_find_host(&t, "node8"), TOPO_NONE);
  for (uint32_t i = 0; i < 4; i++) ck_assert_uint_eq(t.hosts[i].machine, t.hosts[0].machine);
  const struct topo_machine *m = topo_machine_of(&t, 2);
  ck_assert_uint_eq(m->memory, 1024 * GIB);
  ck_assert_uint_eq(m->n_numa, 1);
  ck_assert_uint_eq(m->numa[0].number, 1);
  ck_assert_uint_eq(m->numa[0].memory, 512 * GIB);
  ck_assert_uint_eq(m->numa[0].n_cores, 5);
  ck_assert_uint_eq(m->numa[0].n_cpus, 16);
  ck_assert_str_eq(m->gpus[0].name, "H100");
  ck_assert_uint_eq(m->gpus[0].number, 3);
  ck_assert_uint_eq(m->gpus[0].place.numa, 0);
  const struct topo_nic *n = &m->nics[0];
  ck_assert_str_eq(n->rdma, "mlx5_0:1");
  ck_assert_str_eq(n->netdev, "eth0");
  ck_assert_uint_eq(n->link, TOPO_ROCE);
  ck_assert_uint_eq(n->state, TOPO_UP);
  ck_assert_uint_eq(n->speed, 312500000);
  ck_assert_uint_eq(n->rail, 7);
  ck_assert_str_eq(n->place.pci, "10000:17:00.1");
  ck_assert_uint_eq(n->place.pcie, 2 * G);
  ck_assert_uint_eq(m->gpus[0].place.pcie, 504123000000 / 8);
  ck_assert_uint_eq(m->n_bridges, 1); /* one of unknown speed says nothing */
  ck_assert_str_eq(m->bridges[0].pci, "0000:15:01.0");
  ck_assert_uint_eq(m->bridges[0].pcie, 252062000000 / 8);
  n = &topo_machine_of(&t, 4)->nics[0];
  ck_assert_str_eq(topo_nic_name(n), "eth1");
  ck_assert_uint_eq(n->speed, 0);
  ck_assert_uint_eq(n->rail, TOPO_NONE);
  ck_assert_uint_eq(n->place.pcie, 0);
  ck_assert_uint_eq(n->place.numa, TOPO_NONE);
  topo_fini(&t);
}
END_TEST

START_TEST(dump_is_what_a_person_would_write) {
  struct topo t;
  topotext_parse(EXAMPLE, &t);
  topo_note(&t, "seen by %s # \n", "hand");
  topo_note(&t, "seen by %s # \n", "hand");
  char *text = topotext_dump(&t);
  ck_assert_str_eq(text,
                   "topo 1\n"
                   "note seen by hand ? ?\n"
                   "switch rack1 parent=spine uplink=400G/200G\n"
                   "switch rack2 parent=spine uplink=400G/200G\n"
                   "switch spine\n"
                   "host node[08-10] workers=8 switch=rack1 memory=1T\n"
                   "  numa 1 cores=0-3,8 cpus=0-15 memory=512G\n"
                   "  nic mlx5_0:1 netdev=eth0 link=roce speed=2.5G state=up rail=7 numa=1 pci=10000:17:00.1 path=pci10000:00 pcie=2G\n"
                   "  gpu 3 name=H100 numa=1 pci=0000:18:00.0 path=pci0000:15/0000:15:01.0 pcie=504.123G\n"
                   "  bridge 0000:15:01.0 pcie=252.062G\n"
                   "host login workers=8 switch=rack1 memory=1T\n"
                   "  numa 1 cores=0-3,8 cpus=0-15 memory=512G\n"
                   "  nic mlx5_0:1 netdev=eth0 link=roce speed=2.5G state=up rail=7 numa=1 pci=10000:17:00.1 path=pci10000:00 pcie=2G\n"
                   "  gpu 3 name=H100 numa=1 pci=0000:18:00.0 path=pci0000:15/0000:15:01.0 pcie=504.123G\n"
                   "  bridge 0000:15:01.0 pcie=252.062G\n"
                   "host store1 servers=2 switch=rack2\n"
                   "  nic eth1 speed=unknown\n");
  free(text);
  topo_fini(&t);
}
END_TEST

START_TEST(without_a_switch_one_is_assumed_and_said) {
  struct topo t;
  topotext_parse("topo 1\nhost a workers=1\nhost b workers=1\n", &t);
  ck_assert_uint_eq(t.n_switches, 1);
  ck_assert_uint_eq(t.hosts[1].on, 0);
  ck_assert_uint_eq(t.n_notes, 1);
  ck_assert_str_eq(t.notes[0], "no switch is described: all hosts are assumed to be on one, \"network\", that limits nothing");
  topo_fini(&t);
}
END_TEST

START_TEST(names_with_ranges) {
  static const struct {
    const char *pattern, *first, *last;
    uint32_t count;
  } CASES[] = {
      {"a", "a", "a", 1},
      {"a,b,c", "a", "c", 3},
      {"a[0-9]", "a0", "a9", 10},
      {"a[1,3,5-7]", "a1", "a7", 5},
      {"a[001-100]", "a001", "a100", 100},
      {"a[9-11].x", "a9.x", "a11.x", 3},
      {"r[1-4]n[01-16]", "r1n01", "r4n16", 64},
      {"a[1-2],b[3-4]", "a1", "b4", 4},
      {"x[0-65535]", "x0", "x65535", 65536},
      {"1a", "1a", "1a", 1},
  };
  for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
    char text[128];
    struct topo t;
    snprintf(text, sizeof text, "topo 1\nhost %s\n", CASES[i].pattern);
    topotext_parse(text, &t);
    ck_assert_uint_eq(t.n_hosts, CASES[i].count);
    ck_assert_str_eq(t.hosts[0].name, CASES[i].first);
    ck_assert_str_eq(t.hosts[t.n_hosts - 1].name, CASES[i].last);
    topo_fini(&t);
  }
}
END_TEST

START_TEST(speeds) {
  static const struct {
    const char *text;
    uint64_t speed;
    const char *again;
  } CASES[] = {
      {"100G", 100 * G, "100G"},
      {"1T", 1000 * G, "1000G"},
      {"100T", TOPO_SPEED_MAX, "100T"},
      {"25Gbit", 25 * G, "25G"},
      {"25Gbit/s", 25 * G, "25G"},
      {"25Gb/s", 25 * G, "25G"},
      {"2.5G", 312500000, "2.5G"},
      {"1M", TOPO_SPEED_MIN, "1M"},
      {"1000K", 125000, "1M"},
      {"1000000", 125000, "1M"},
      {"1000000bit", 125000, "1M"},
      {"0.001G", 125000, "1M"},
      {"1.000008M", 125001, "1.000008M"},
      {"12.345678T", 1543209750000, "12345.678G"},
      {"10.5T", 1312500000000, "10.5T"},
  };
  static const char *const BAD[] = {"",
                                    "0",
                                    "1",
                                    "100",
                                    "999K",
                                    "100.1T",
                                    "1e9",
                                    "-1G",
                                    "+1G",
                                    " 1G",
                                    "1 G",
                                    "1G ",
                                    "1g",
                                    "1GB",
                                    "1Gi",
                                    "1.G",
                                    ".5G",
                                    "1..5G",
                                    "1.0000000001G",
                                    "99999999999999999999",
                                    "9999999999999999G",
                                    "0x10G",
                                    "G",
                                    "unknown",
                                    "NaN",
                                    "inf"};
  char buf[TOPO_SPEED_TEXT_CAP];
  uint64_t speed;
  for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
    ck_assert_msg(topo_speed_parse(CASES[i].text, &speed) == 0, "%s", CASES[i].text);
    ck_assert_uint_eq(speed, CASES[i].speed);
    if (speed != 125001) ck_assert_str_eq(topo_speed_text(speed, buf), CASES[i].again);
    ck_assert_int_eq(topo_speed_parse(topo_speed_text(CASES[i].speed, buf), &speed), 0);
    ck_assert_uint_eq(speed, CASES[i].speed);
  }
  for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
    speed = 77;
    ck_assert_msg(topo_speed_parse(BAD[i], &speed) == -1, "\"%s\" was taken", BAD[i]);
    ck_assert_uint_eq(speed, 77);
  }
  ck_assert_str_eq(topo_speed_text(0, buf), "unknown");
  struct rng r = {.state = 5};
  for (int i = 0; i < 20000; i++) {
    uint64_t want = TOPO_SPEED_MIN + rng_below(&r, (TOPO_SPEED_MAX - TOPO_SPEED_MIN) >> rng_below(&r, 26));
    ck_assert_msg(topo_speed_parse(topo_speed_text(want, buf), &speed) == 0 && speed == want, "%s", buf);
  }
}
END_TEST

START_TEST(cpu_lists_are_walked_in_order) {
  static const int WANT[] = {0, 1, 2, 8, 100, 101};
  size_t n = 0;
  for (int cpu = -1; (cpu = topo_cpu_next("0-2,8,100-101", cpu)) >= 0;) {
    ck_assert_uint_lt(n, ARRAY_LEN(WANT));
    ck_assert_int_eq(cpu, WANT[n++]);
  }
  ck_assert_uint_eq(n, ARRAY_LEN(WANT));
  ck_assert_int_eq(topo_cpu_next("", -1), -1);
  ck_assert_int_eq(topo_cpu_next("8,1", -1), 1);
  ck_assert_int_eq(topo_cpu_next("x", -1), -1);
}
END_TEST

START_TEST(a_list_of_cpus_that_does_not_fit_ends_early) {
  struct topo_cpus cpus = {{0}}, again;
  char list[TOPO_CPULIST_CAP];
  for (uint32_t cpu = 0; cpu < TOPO_CPUS_MAX; cpu += 2) topo_cpus_add(&cpus, cpu);
  ck_assert_int_eq(topo_cpus_text(&cpus, list), -1);
  ck_assert_uint_gt(strlen(list), TOPO_CPULIST_CAP - 8);
  ck_assert_int_eq(topo_cpus_parse(list, &again), 0);
  ck_assert_uint_eq(topo_cpus_count(&cpus), topo_cpus_count(&again)); /* the set is what the list says */
  ck_assert_int_eq(topo_cpus_first_in(&cpus, &again, 0), -1);
  memset(&cpus, 0xff, sizeof cpus);
  ck_assert_int_eq(topo_cpus_text(&cpus, list), 0);
  ck_assert_str_eq(list, "0-8191");
}
END_TEST

/* ---- errors: the whole line -------------------------------------------------------------------------------------------------------- */

#define SPEED "expected a speed in bit/s from 1M to 100T, like 100G or 2.5G, or unknown"
#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
  const char *text, *error;
} BAD_TEXTS[] = {
    {"", "FILE:1: the file is empty: expected \"topo 1\" as its first line"},
    {"\n# nothing\n", "FILE:1: the file is empty: expected \"topo 1\" as its first line"},
    {"host a\n",
     "FILE:1: \"host\": expected \"topo 1\" as the first line (for Slurm's topology.conf and hwloc's XML there are options of their own)"},
    {"topo\n", "FILE:1: expected \"topo 1\" alone as the first line, came no version"},
    {"topo 1 x\n", "FILE:1: expected \"topo 1\" alone as the first line, came more words"},
    {"topo 2\n", "FILE:1: version \"2\": this program reads version 1; write the file again with the program that is to read it"},
    {"topo 1\n", "FILE:1: no host is described: expected at least one line like \"host node1 workers=8\""},
    {"topo 1\nhots a\n", "FILE:2: \"hots\" is not known: a line starts with switch, host, numa, nic, gpu, bridge or note"},
    {"topo 1\nhost a wrokers=1\n", "FILE:2: \"wrokers\" is not known: a host has workers, servers, switch and memory"},
    {"topo 1\nswitch a workers=1\n", "FILE:2: \"workers\" is not known: a switch has parent and uplink"},
    {"topo 1\nhost a\nnuma 0 speed=1G\n", "FILE:3: \"speed\" is not known: a numa has memory, cores and cpus"},
    {"topo 1\nhost a\nnic e 1G\n",
     "FILE:3: \"1G\": expected key=value; a nic has netdev, link, speed, state, rail, numa, pci, path and pcie"},
    {"topo 1\nhost a\ngpu 0 x\n", "FILE:3: \"x\": expected key=value; a gpu has name, numa, pci, path and pcie"},
    {"topo 1\nhost a\nbridge 0000:15:01.0 numa=0\n", "FILE:3: \"numa\" is not known: a bridge has pcie"},
    {"topo 1\nhost a\nbridge 15:01.0 pcie=1G\n", "FILE:3: bridge 15:01.0: expected a PCI address like 0000:15:01.0"},
    {"topo 1\nhost a\nbridge 0000:15:01.0 pcie=1G\nbridge 0000:15:01.0 pcie=2G\n",
     "FILE:4: bridge 0000:15:01.0 is there already in this host: remove one of them"},
    {"topo 1\nhost a\n\nhost b\nnic e pci=0000:16:00.0 path=pci0000:15/0000:15:01.0\nbridge 0000:15:10.0 pcie=8G\n",
     "FILE:4: host b: bridge 0000:15:10.0 is in the path of no nic or gpu: correct its address or theirs, or remove it"},
    {"topo 1\nhost a\ngpu 0 pci=10000:16:00.0 path=pci10000:15/10000:15:01.0\nbridge 0000:15:01.0 pcie=8G\n",
     "FILE:2: host a: bridge 0000:15:01.0 is in the path of no nic or gpu: correct its address or theirs, or remove it"},
    {"topo 1\nbridge 0000:15:01.0\n", "FILE:2: a bridge line belongs to a host: put it below the host's line"},
    {"topo 1\nhost a\nnic e pcie=16\n", "FILE:3: pcie=16: " SPEED},
    {"topo 1\nhost a workers=1 workers=2\n", "FILE:2: workers is given twice: remove one of them"},
    {"topo 1\nhost a workers=-1\n", "FILE:2: workers=-1: expected a number of worker processes up to 65536"},
    {"topo 1\nhost a servers=65537\n", "FILE:2: servers=65537: expected a number of server processes up to 65536"},
    {"topo 1\nhost n[1-70] workers=1000\n", "FILE:2: with host n66 there are 66000 workers and servers: at most 65536"},
    {"topo 1\nhost\n", "FILE:2: host: expected a name or number after \"host\""},
    {"topo 1\nhost workers=1\n", "FILE:2: host workers=1: expected a name or number after \"host\""},
    /* names and ranges */
    {"topo 1\nhost a\nhost b\nhost a\n", "FILE:4: host a is there already (line 2): remove one of them"},
    {"topo 1\nhost n[1-4]\nhost n[4-5]\n", "FILE:3: host n4 is there already (line 2): remove one of them"},
    {"topo 1\nhost n[1-2,2]\n", "FILE:2: host n2 is there already (line 2): remove one of them"},
    {"topo 1\nhost n[4-1]\n", "FILE:2: range \"4-1\" in \"n[4-1]\" runs backwards: write the smaller number first"},
    {"topo 1\nhost n[1-4\n", "FILE:2: \"n[1-4\" has a [ without its ]: expected a range like node[1-8]"},
    {"topo 1\nhost n1-4]\n", "FILE:2: \"n1-4]\" has a ] without its [: expected a range like node[1-8]"},
    {"topo 1\nhost n[]\n", "FILE:2: \"\" in \"n[]\" is no range: expected numbers like [1-8], [01-16] or [1,3,5-8], of 9 digits at most"},
    {"topo 1\nhost n[1-]\n",
     "FILE:2: \"1-\" in \"n[1-]\" is no range: expected numbers like [1-8], [01-16] or [1,3,5-8], of 9 digits at most"},
    {"topo 1\nhost n[1-a]\n",
     "FILE:2: \"1-a\" in \"n[1-a]\" is no range: expected numbers like [1-8], [01-16] or [1,3,5-8], of 9 digits at most"},
    {"topo 1\nhost n[1-9999999999]\n",
     "FILE:2: \"1-9999999999\" in \"n[1-9999999999]\" is no range: expected numbers like [1-8], [01-16] or [1,3,5-8], of 9 digits at most"},
    {"topo 1\nhost n[1][1][1][1][1]\n", "FILE:2: \"n[1][1][1][1][1]\" has more than 4 ranges"},
    {"topo 1\nhost a,,b\n", "FILE:2: \"a,,b\" has an empty name: expected names like node[1-8], with a comma between two"},
    {"topo 1\nhost n[0-65536]\n", "FILE:2: more than 65536 hosts: describe only those that take part"},
    {"topo 1\nhost n[0-999999999]\n", "FILE:2: more than 65536 hosts: describe only those that take part"},
    {"topo 1\nswitch s[0-65536]\n", "FILE:2: more than 65536 switches: describe only those above hosts that take part"},
    {"topo 1\nhost a/b\n",
     "FILE:2: \"a/b\" cannot be the name of a host: expected a letter or digit, then letters, digits and . _ -, 64 at most"},
    {"topo 1\nhost " A64 "a\n", "FILE:2: a name of \"" A64 "a\" has more than 64 characters"},
    {"topo 1\nhost " A64 "[1-2]\n", "FILE:2: a name of \"" A64 "[1-2]\" has more than 64 characters"},
    /* switches */
    {"topo 1\nswitch a\nswitch a\n", "FILE:3: switch a is there already (line 2): remove one of them"},
    {"topo 1\nswitch a\nhost h switch=b\n", "FILE:3: switch=b: there is no such switch: add a line \"switch b\""},
    {"topo 1\nhost h switch=b\n", "FILE:2: switch=b: there is no such switch: add a line \"switch b\""},
    {"topo 1\nhost h switch=a[1-2]\n", "FILE:2: switch=a[1-2]: expected the name of the switch that the host hangs on"},
    {"topo 1\nswitch a\nhost h[1-2]\n", "FILE:3: host h1 is on no switch, and this file has switches: add switch=NAME"},
    {"topo 1\nswitch a parent=b uplink=1G\nhost h switch=a\n", "FILE:2: parent=b: there is no such switch: add a line \"switch b\""},
    {"topo 1\nswitch s\nswitch r parent=s\nhost h switch=r\n",
     "FILE:3: switch r has a parent and no uplink: add its speed in bit/s, uplink=400G, or uplink=unknown"},
    {"topo 1\nswitch s uplink=1G\nhost h switch=s\n",
     "FILE:2: switch s has an uplink and no parent: add parent=NAME, or remove the uplink where it is at the top"},
    {"topo 1\nswitch s\nswitch r parent=s uplink=0\n", "FILE:3: uplink=0: " SPEED " (each way; 400G/200G is up and down)"},
    {"topo 1\nswitch s\nswitch r parent=s uplink=1G/\n", "FILE:3: uplink=1G/: " SPEED " (each way; 400G/200G is up and down)"},
    {"topo 1\nswitch a parent=a uplink=1G\nhost h switch=a\n",
     "FILE:2: switch a is its own parent: leave parent out where a switch is at the top"},
    {"topo 1\nswitch a parent=b uplink=1G\nswitch b parent=a uplink=1G\nhost h switch=a\n",
     "FILE:2: switch a is above itself (a -> b -> a): one of them must be at the top, without parent"},
    {"topo 1\nswitch x\nswitch a parent=b uplink=1G\nswitch b parent=c uplink=1G\nswitch c parent=a uplink=1G\nhost h switch=x\n",
     "FILE:3: switch a is above itself (a -> b -> c -> ...): one of them must be at the top, without parent"},
    {"topo 1\nswitch a\nswitch b\nhost h workers=1 switch=a\nhost i servers=1 switch=b\n",
     "FILE:5: host h is below switch a and host i below switch b, and no switch is above both: give one of them parent="},
    /* what is in a host */
    {"topo 1\nnuma 0\n", "FILE:2: a numa line belongs to a host: put it below the host's line"},
    {"topo 1\nhost a\nswitch s\nnic eth0\n", "FILE:4: a nic line belongs to a host: put it below the host's line"},
    {"topo 1\nhost a\nnuma x\n", "FILE:3: numa x: expected the number of a NUMA node, 0 to 65535"},
    {"topo 1\nhost a\nnuma 0\nnuma 0\n", "FILE:4: NUMA node 0 is there already in this host: remove one of them"},
    {"topo 1\nhost a\nnuma 0 cores=3-1\n", "FILE:3: cores=3-1: expected a list of CPU numbers below 8192, like 0-31,64-95, or unknown"},
    {"topo 1\nhost a\nnuma 0 cores=8192\n", "FILE:3: cores=8192: expected a list of CPU numbers below 8192, like 0-31,64-95, or unknown"},
    {"topo 1\nhost a\nnuma 0 cores=1,\n", "FILE:3: cores=1,: expected a list of CPU numbers below 8192, like 0-31,64-95, or unknown"},
    {"topo 1\nhost a\nnuma 0 cores=0-3\nnuma 1 cores=3-4\n", "FILE:4: CPU 3 is in two NUMA nodes of this host: remove it from one of them"},
    {"topo 1\nhost a\nnuma 0 cores=0-3 cpus=0-2\n", "FILE:3: CPU 3 is in cores and not in cpus: cpus has all of them"},
    {"topo 1\nhost a\nnuma 0 cpus=0-2\n", "FILE:3: numa 0 has cpus and no cores: say which of them are cores, one CPU for each"},
    {"topo 1\nhost a memory=64\n", "FILE:2: memory=64: expected bytes from 1M to 1P, like 512G, or unknown"},
    {"topo 1\nhost a memory=1X\n", "FILE:2: memory=1X: expected bytes from 1M to 1P, like 512G, or unknown"},
    {"topo 1\nhost a memory=99999999999999999999G\n",
     "FILE:2: memory=99999999999999999999G: expected bytes from 1M to 1P, like 512G, or unknown"},
    {"topo 1\nhost a\nnic mlx5_0:0\n",
     "FILE:3: nic mlx5_0:0: expected an RDMA device and port like mlx5_0:1, or a network device like eth0"},
    {"topo 1\nhost a\nnic eth0\nnic eth0\n", "FILE:4: nic eth0 is there already in this host (line 3): remove one of them"},
    {"topo 1\nhost a\nnic mlx5_0:1 netdev=eth0\nnic eth0\n", "FILE:4: nic eth0 is there already in this host (line 3): remove one of them"},
    {"topo 1\nhost a\nnic eth0 netdev=eth1\n", "FILE:3: nic eth0 has another netdev: name the RDMA device, or the network device once"},
    {"topo 1\nhost a\nnic eth0 speed=0\n", "FILE:3: speed=0: " SPEED},
    {"topo 1\nhost a\nnic eth0 speed=100\n", "FILE:3: speed=100: " SPEED},
    {"topo 1\nhost a\nnic eth0 speed=1000T\n", "FILE:3: speed=1000T: " SPEED},
    {"topo 1\nhost a\nnic eth0 speed=12GB\n", "FILE:3: speed=12GB: " SPEED},
    {"topo 1\nhost a\nnic eth0 link=token\n", "FILE:3: link=token: expected ethernet, roce, infiniband, iwarp or unknown"},
    {"topo 1\nhost a\nnic eth0 state=on\n", "FILE:3: state=on: expected up, down or unknown"},
    {"topo 1\nhost a\nnic eth0 rail=x\n", "FILE:3: rail=x: expected a number up to 65535, or unknown"},
    {"topo 1\nhost a\nnic eth0 netdev=a/b\n", "FILE:3: netdev=a/b: expected a network device like eth0, of 15 characters at most"},
    {"topo 1\nhost a\nnic eth0 numa=0\nhost b\n",
     "FILE:3: numa=0: this host has no such NUMA node: add a line \"numa 0\" to it, or write numa=unknown"},
    {"topo 1\nhost a\nnuma 0\ngpu 0 numa=1\n",
     "FILE:4: numa=1: this host has no such NUMA node: add a line \"numa 1\" to it, or write numa=unknown"},
    {"topo 1\nhost a\ngpu 0 numa=x\n", "FILE:3: numa=x: expected the number of one of the host's NUMA nodes, or unknown"},
    {"topo 1\nhost a\nnic eth0 pci=17:00.0\n", "FILE:3: pci=17:00.0: expected a PCI address like 0000:18:00.0, or unknown"},
    {"topo 1\nhost a\nnic eth0 pci=0000:17:00.8\n", "FILE:3: pci=0000:17:00.8: expected a PCI address like 0000:18:00.0, or unknown"},
    {"topo 1\nhost a\nnic eth0 pci=0000:17:00.0 path=0000:16:01.0\n",
     "FILE:3: path=0000:16:01.0: expected the host bridge and at most 12 bridges, from the top, like pci0000:15/0000:15:01.0, or unknown"},
    {"topo 1\nhost a\ngpu 0 path=pci0000:16\n", "FILE:3: a path leads to a PCI device: add its address, pci=0000:18:00.0"},
    {"topo 1\nhost a\ngpu x\n", "FILE:3: gpu x: expected the number of a GPU, 0 to 65535"},
    {"topo 1\nhost a\ngpu 0\ngpu 0\n", "FILE:4: gpu 0 is there already in this host (line 3): remove one of them"},
    {"topo 1\nhost a\ngpu 0 name=a[b]\n", "FILE:3: name=a[b]: expected a name of letters, digits and . _ -"},
    /* not text, or not all of it */
    {"topo 1\nhost a\nhost b work", "FILE:3: the file ends in the middle of this line: it was cut off, or end the line with a newline"},
    {"topo 1\nhost a\x01\n", "FILE:2: byte 0x01: expected plain text (letters without accents; comments start with #)"},
    {"topo 1\nhost \xc3\xa4\n", "FILE:2: byte 0xc3: expected plain text (letters without accents; comments start with #)"},
    {"\x7f"
     "ELF\x02\x01\n",
     "FILE:1: byte 0x7f: expected plain text (letters without accents; comments start with #)"},
};

static void expect_error(const char *text, size_t bytes, const char *error) {
  struct topo t;
  agg_error_t err = {0};
  memset(&t, 0x5a, sizeof t);
  int rc = topo_parse(text, bytes, "FILE", &t, &err);
  ck_assert_msg(rc == AGG_EINVAL || rc == AGG_ELIMIT, "taken (%d):\n%s", rc, text);
  ck_assert_str_eq(err.text, error);
  ck_assert_int_eq(err.code, rc);
  ck_assert_int_eq(*(unsigned char *)&t, 0x5a); /* left alone */
  ck_assert_int_eq(topo_parse(text, bytes, "FILE", &t, NULL), rc);
}

START_TEST(every_error_says_where_what_and_what_to_do) {
  for (size_t i = 0; i < ARRAY_LEN(BAD_TEXTS); i++) expect_error(BAD_TEXTS[i].text, strlen(BAD_TEXTS[i].text), BAD_TEXTS[i].error);
  expect_error("topo 1\nhost a\0b\n", 16, "FILE:2: a zero byte: expected a text file");
}
END_TEST

START_TEST(lines_and_hosts_have_limits) {
  static char text[200000];
  size_t n = (size_t)snprintf(text, sizeof text, "topo 1\nhost a\n# ");
  memset(text + n, 'x', 70000);
  text[n + 70000] = '\n';
  expect_error(text, n + 70001, "FILE:3: the line has 70002 characters: at most 65536 are allowed");
  n = (size_t)snprintf(text, sizeof text, "topo 1\nhost a\n");
  for (int i = 0; i <= (int)TOPO_DEVICES_MAX; i++) n += (size_t)snprintf(text + n, sizeof text - n, "gpu %d\n", i);
  expect_error(text, n, "FILE:259: more than 256 gpu lines in one host");
}
END_TEST

START_TEST(files_that_are_none) {
  char dir[] = "/tmp/agg-topo-XXXXXX", path[64];
  struct topo t;
  agg_error_t err = {0};
  ck_assert_ptr_nonnull(mkdtemp(dir));
  ck_assert_int_eq(topo_load(dir, &t, &err), AGG_ESYS);
  snprintf(path, sizeof path, "%s: cannot be read: Is a directory", dir);
  ck_assert_str_eq(err.text, path);
  snprintf(path, sizeof path, "%s/a", dir);
  ck_assert_int_eq(topo_load(path, &t, &err), AGG_ESYS);
  ck_assert_ptr_nonnull(strstr(err.text, "/a: cannot be opened: No such file or directory"));
  FILE *f = fopen(path, "we");
  ck_assert_ptr_nonnull(f);
  fputs("topo 1\nhost a wrokers=3\n", f);
  fclose(f);
  ck_assert_int_eq(topo_load(path, &t, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "/a:2: \"wrokers\" is not known"));
  unlink(path);
  rmdir(dir);
}
END_TEST

START_TEST(recorded_clusters_load) {
  static const struct {
    const char *path;
    uint32_t hosts, machines, workers, servers;
  } FILES[] = {
      {"tests/data/topo/fat-tree.topo", 32, 1, 32, 0},
      {"tests/data/topo/unequal-rack.topo", 11, 4, 8, 3},
      {"tests/data/topo/dgx-pod.topo", 4, 1, 32, 0},
      {"tests/data/topo/two-socket-cluster.topo", 4, 1, 6, 2},
  };
  for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
    struct topo t;
    agg_error_t err = {0};
    ck_assert_msg(topo_load(FILES[i].path, &t, &err) == AGG_OK, "%s (run the tests from the root of the source tree)", err.text);
    ck_assert_uint_eq(t.n_hosts, FILES[i].hosts);
    ck_assert_uint_eq(t.n_machines, FILES[i].machines);
    ck_assert_uint_eq(topo_workers(&t), FILES[i].workers);
    ck_assert_uint_eq(topo_servers(&t), FILES[i].servers);
    topo_fini(&t);
  }
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("topo_text");
  TCase *loads = tcase_create("loads");
  tcase_add_test(loads, every_key);
  tcase_add_test(loads, dump_is_what_a_person_would_write);
  tcase_add_test(loads, without_a_switch_one_is_assumed_and_said);
  tcase_add_test(loads, names_with_ranges);
  tcase_add_test(loads, speeds);
  tcase_add_test(loads, cpu_lists_are_walked_in_order);
  tcase_add_test(loads, a_list_of_cpus_that_does_not_fit_ends_early);
  tcase_add_test(loads, recorded_clusters_load);
  suite_add_tcase(suite, loads);
  TCase *errors = tcase_create("errors");
  tcase_add_test(errors, every_error_says_where_what_and_what_to_do);
  tcase_add_test(errors, lines_and_hosts_have_limits);
  tcase_add_test(errors, files_that_are_none);
  suite_add_tcase(suite, errors);
  return suite;
}
