/*
 * Discovery: recorded machines against golden descriptions, this machine, and files that are no XML of hwloc. NICs of made-up sysfs trees
 * are in discover_nics.c.
 */
#include "topology/discover.h"

#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/discovery.h"

Suite *make_suite(void);

static void write_file(const char *path, const char *text, size_t bytes) {
  FILE *f = fopen(path, "we");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(text, 1, bytes, f), bytes);
  fclose(f);
}

/* ---- recorded machines ------------------------------------------------------------------------------------------------------------- */

static void expect_golden(const char *xml, const char *golden) {
  struct topo t;
  size_t bytes;
  char *text, *want = discovery_read(golden, &bytes);
  discover(&(struct discover_options){.xml = xml}, &t);
  ck_assert_int_eq(topo_dump(&t, &text, NULL), AGG_OK);
  for (size_t i = 0; text[i] != '\0' || want[i] != '\0'; i++) {
    ck_assert_msg(text[i] == want[i], "%s: \"%.160s\" instead of \"%.160s\"", golden, text + i, want + i);
  }
  free(text);
  free(want);
  topo_fini(&t);
}

START_TEST(recorded_machines) {
  expect_golden(DATA "laptop.xml", DATA "laptop.golden");
  expect_golden(DATA "vm.xml", DATA "vm.golden");
  expect_golden(DATA "two-socket.xml", DATA "two-socket.golden");
  expect_golden(DATA "dgx.xml", DATA "dgx.golden");
  expect_golden(DATA "two-socket-v1.xml", DATA "two-socket.golden"); /* as hwloc 1 writes it */
}
END_TEST

START_TEST(roles_and_name_are_those_given) {
  struct topo t;
  agg_error_t err = {0};
  discover(&(struct discover_options){.xml = DATA "vm.xml", .name = "worker7", .workers = 4, .servers = 1}, &t);
  ck_assert_str_eq(t.hosts[0].name, "worker7");
  ck_assert_uint_eq(t.hosts[0].workers, 4);
  ck_assert_uint_eq(t.hosts[0].servers, 1);
  topo_fini(&t);
  ck_assert_int_eq(discover_host(&(struct discover_options){.xml = DATA "vm.xml", .name = "a b"}, &t, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "\"a b\" cannot be the name of a host: expected letters, digits and . _ -, 64 at most");
}
END_TEST

/* The XML of a file with one text in the place of another. */
static void discover_changed(const char *path, const char *from, const char *to, struct topo *t) {
  size_t bytes;
  char *text = discovery_read(path, &bytes), changed[128];
  char *at = strstr(text, from);
  ck_assert_msg(at != NULL, "%s has no %s", path, from);
  memmove(at + strlen(to), at + strlen(from), bytes - (size_t)(at - text) - strlen(from) + 1);
  memcpy(at, to, strlen(to));
  snprintf(changed, sizeof changed, "%s/changed.xml", made.root);
  write_file(changed, text, strlen(text));
  free(text);
  discover(&(struct discover_options){.xml = changed}, t);
}

START_TEST(cores_that_are_not_allowed_are_left_out) {
  struct topo t;
  /* a container on cores 2-5 and their other threads 18, 19, of the first socket */
  discover_changed(DATA "two-socket.xml", "allowed_cpuset=\"0xffffffff\"", "allowed_cpuset=\"0x000c003c\"", &t);
  const struct topo_machine *machine = topo_machine_of(&t, 0);
  ck_assert_str_eq(machine->numa[0].cores, "2-5");
  ck_assert_str_eq(machine->numa[0].cpus, "2-5,18-19");
  ck_assert_uint_eq(machine->numa[0].n_cores, 4);
  ck_assert_uint_eq(machine->numa[0].n_cpus, 6);
  topo_fini(&t);
}
END_TEST

START_TEST(memory_that_is_not_allowed_is_left_out) {
  struct topo t;
  discover_changed(DATA "two-socket.xml", "allowed_nodeset=\"0x00000003\"", "allowed_nodeset=\"0x00000001\"", &t);
  const struct topo_machine *machine = topo_machine_of(&t, 0);
  ck_assert_uint_eq(machine->n_numa, 1);
  ck_assert_uint_eq(machine->memory, 128ull << 30);
  topo_fini(&t);
}
END_TEST

START_TEST(a_machine_without_a_name) {
  struct topo t;
  discover_changed(DATA "vm.xml", "name=\"HostName\" value=\"vm\"", "name=\"Other\" value=\"vm\"", &t);
  ck_assert_str_eq(t.hosts[0].name, "localhost");
  ck_assert(says(&t, "the name of the host is unknown"));
  topo_fini(&t);
}
END_TEST

/* Two sockets of one CPU each, no cores, `nodes` NUMA nodes of the whole machine, and a NIC below 14 bridges with a name that cannot be. */
static const char *odd_machine(unsigned nodes) {
  static char path[96], text[8192];
  size_t n = 0;
#define SAY(...) n += (size_t)snprintf(text + n, sizeof text - n, __VA_ARGS__)
#define SETS(set) "cpuset=\"" set "\" complete_cpuset=\"" set "\" nodeset=\"0x%x\" complete_nodeset=\"0x%x\""
  unsigned all = (1u << nodes) - 1;
  SAY("<topology version=\"2.0\">\n<object type=\"Machine\" os_index=\"0\" allowed_cpuset=\"0x3\" allowed_nodeset=\"0x%x\" " SETS(
          "0x3") ">\n",
      all, all, all);
  for (unsigned i = 0; i < nodes; i++) {
    SAY("<object type=\"NUMANode\" os_index=\"%u\" " SETS("0x3") " local_memory=\"1073741824\"/>\n", i, 1u << i, 1u << i);
  }
  SAY("<object type=\"Package\" os_index=\"0\" " SETS("0x1") "><object type=\"PU\" os_index=\"0\" " SETS("0x1") "/></object>\n", all, all,
      all, all);
  SAY("<object type=\"Package\" os_index=\"1\" " SETS("0x2") "><object type=\"PU\" os_index=\"1\" " SETS("0x2") "/></object>\n", all, all,
      all, all);
  SAY("<object type=\"Bridge\" bridge_type=\"0-1\" depth=\"0\" bridge_pci=\"0000:[00-20]\">\n");
  for (unsigned i = 0; i < 14; i++) {
    SAY("<object type=\"Bridge\" bridge_type=\"1-1\" depth=\"%u\" bridge_pci=\"0000:[%02x-20]\" pci_busid=\"0000:%02x:00.0\" "
        "pci_type=\"0604 [8086:0001] [0000:0000] 00\" pci_link_speed=\"0.0\">\n",
        i + 1, i + 1, i);
  }
  SAY("<object type=\"PCIDev\" pci_busid=\"0000:0e:00.0\" pci_type=\"0200 [8086:0001] [0000:0000] 00\" pci_link_speed=\"0.0\">"
      "<object type=\"OSDev\" name=\"eth0\" osdev_type=\"2\"/><object type=\"OSDev\" name=\"a:b\" osdev_type=\"2\"/></object>\n");
  for (unsigned i = 0; i < 16; i++) SAY("</object>\n");
  SAY("</topology>\n");
#undef SETS
#undef SAY
  snprintf(path, sizeof path, "%s/odd.xml", made.root);
  write_file(path, text, n);
  return path;
}

START_TEST(what_a_machine_does_not_tell_is_said) {
  struct topo t;
  discover(&(struct discover_options){.xml = odd_machine(1)}, &t);
  const struct topo_machine *machine = topo_machine_of(&t, 0);
  ck_assert_str_eq(machine->numa[0].cores, "0-1");
  ck_assert(says(&t, "2 sockets and one NUMA node: no NUMA information (a virtual machine?); one node with all cores is assumed"));
  ck_assert(says(&t, "0000:0e:00.0 is below more than 12 bridges: its PCI path is left out"));
  ck_assert(says(&t, "device \"a:b\" has a name that cannot be: it is left out"));
  ck_assert_uint_eq(machine->n_nics, 1);
  ck_assert_uint_eq(machine->nics[0].place.numa, 0);
  ck_assert_str_eq(machine->nics[0].place.path, "");
  topo_fini(&t);
  discover(&(struct discover_options){.xml = odd_machine(2)}, &t);
  machine = topo_machine_of(&t, 0);
  ck_assert_uint_eq(machine->n_numa, 2);
  ck_assert_str_eq(machine->numa[0].cpus, "0-1");
  ck_assert_str_eq(machine->numa[1].cpus, ""); /* memory of another kind beside the same cores */
  ck_assert_uint_eq(machine->nics[0].place.numa, TOPO_NONE);
  topo_fini(&t);
}
END_TEST

/* ---- PCIe links ---------------------------------------------------------------------------------------------------------------------- */

#define NIC_AT(speed) "[15b3:1017] [0000:0000] 00\" pci_link_speed=\"" speed "\""
#define PORT_AT(vendor, speed) vendor "] [0000:0000] 00\" pci_link_speed=\"" speed "\""

START_TEST(a_link_of_which_nothing_is_known_is_said) {
  static const char *const NOTHING[] = {NIC_AT("0.000000"), NIC_AT("-15.753846"), NIC_AT("1e30"), NIC_AT("nan")};
  for (size_t i = 0; i < ARRAY_LEN(NOTHING); i++) {
    struct topo t;
    discover_changed(DATA "two-socket.xml", NIC_AT("15.753846"), NOTHING[i], &t);
    const struct topo_machine *machine = topo_machine_of(&t, 0);
    ck_assert_uint_eq(machine->nics[0].place.pcie, 0);
    ck_assert_uint_eq(machine->nics[1].place.pcie, 126031 * G / 1000);
    ck_assert(says(&t, "the speed of the PCIe link is unknown of 1 of the NICs (mlx5_0:1 the first): it is taken not to limit them"));
    topo_fini(&t);
  }
}
END_TEST

/* The port above a NIC: one as fast as the NIC's own link cannot limit, and QEMU's say what nobody promises. */
START_TEST(bridges_that_can_limit) {
  static const struct {
    const char *port;
    uint32_t bridges;
    uint64_t speed;
  } CASES[] = {
      {PORT_AT("8086:2030", "15.753846"), 1, 0}, {PORT_AT("8086:2030", "31.507692"), 1, 0}, {PORT_AT("8086:2030", "7.876923"), 2, 63015},
      {PORT_AT("8086:2030", "0.000000"), 1, 0},  {PORT_AT("1b36:000c", "0.250000"), 1, 0},
  };
  for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
    struct topo t;
    discover_changed(DATA "two-socket.xml", PORT_AT("8086:2030", "15.753846"), CASES[i].port, &t);
    const struct topo_machine *machine = topo_machine_of(&t, 0);
    ck_assert_uint_eq(machine->n_bridges, CASES[i].bridges);
    ck_assert_str_eq(machine->bridges[0].pci, "0000:00:1c.0"); /* above the two ports of eno1 and eno2 */
    ck_assert_uint_eq(machine->bridges[0].pcie, 16 * G);
    if (CASES[i].bridges > 1) ck_assert_str_eq(machine->bridges[1].pci, "0000:3a:00.0");
    if (CASES[i].bridges > 1) ck_assert_uint_eq(machine->bridges[1].pcie, CASES[i].speed * G / 1000);
    topo_fini(&t);
  }
}
END_TEST

/* hwloc takes it from an XML that was changed. */
START_TEST(two_bridges_of_one_address) {
  struct topo t;
  discover(&(struct discover_options){.xml = DATA "dgx.xml"}, &t);
  uint32_t before = topo_machine_of(&t, 0)->n_bridges;
  topo_fini(&t);
  discover_changed(DATA "dgx.xml", "pci_busid=\"0000:16:00.0\" pci_type=\"0604", "pci_busid=\"0000:15:01.0\" pci_type=\"0604", &t);
  ck_assert_uint_eq(topo_machine_of(&t, 0)->n_bridges, before - 1);
  topo_fini(&t);
}
END_TEST

/* ---- this machine ------------------------------------------------------------------------------------------------------------------ */

START_TEST(this_machine) {
  struct topo t, again;
  agg_error_t err = {0};
  char *text;
  discover(&(struct discover_options){.workers = 1}, &t);
  const struct topo_machine *machine = topo_machine_of(&t, 0);
  ck_assert_uint_ge(machine->n_numa, 1);
  uint32_t cpus = 0;
  for (uint32_t i = 0; i < machine->n_numa; i++) cpus += machine->numa[i].n_cpus;
  ck_assert_uint_ge(cpus, 1);
  ck_assert_uint_gt(machine->memory, 0);
  ck_assert_int_eq(topo_dump(&t, &text, NULL), AGG_OK);
  ck_assert_msg(topo_parse(text, strlen(text), "dump", &again, &err) == AGG_OK, "%s", err.text);
  free(text);
  topo_fini(&again);
  topo_fini(&t);
  ck_assert_int_eq(discover_host(&(struct discover_options){.root = made.root}, &t, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "belongs to an XML: give that as well"));
}
END_TEST

START_TEST(cores_outside_the_binding_are_left_out) {
  cpu_set_t allowed, one;
  struct topo t;
  int cpu = 0;
  ck_assert_int_eq(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  if (CPU_COUNT(&allowed) < 2) return;
  while (!CPU_ISSET(cpu, &allowed)) cpu++;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
  discover(&(struct discover_options){0}, &t);
  ck_assert_int_eq(sched_setaffinity(0, sizeof allowed, &allowed), 0);
  uint32_t cpus = 0;
  for (uint32_t i = 0; i < topo_machine_of(&t, 0)->n_numa; i++) cpus += topo_machine_of(&t, 0)->numa[i].n_cpus;
  ck_assert_uint_eq(cpus, 1);
  ck_assert(says(&t, "this process is bound to 1 of "));
  topo_fini(&t);
}
END_TEST

/* ---- what is no XML of hwloc ------------------------------------------------------------------------------------------------------- */

static void expect_refused(const char *name, const char *text, size_t bytes, const char *why) {
  char path[96], want[256];
  struct topo t;
  agg_error_t err = {0};
  snprintf(path, sizeof path, "%s/%s", made.root, name);
  if (text != NULL) write_file(path, text, bytes);
  snprintf(want, sizeof want, "%s: %s", path, why);
  ck_assert_int_ne(discover_host(&(struct discover_options){.xml = path}, &t, &err), AGG_OK);
  ck_assert_str_eq(err.text, want);
}

#define NOT_HWLOCS "this is not hwloc's XML: expected a <topology>, as \"lstopo --of xml FILE\" writes it"
#define DAMAGED "hwloc cannot read this XML: it is damaged or of a later version; write it again, \"lstopo --of xml FILE\""

START_TEST(files_that_are_no_xml_of_hwloc) {
  size_t bytes;
  char *text = discovery_read(DATA "two-socket.xml", &bytes);
  expect_refused("none.xml", NULL, 0, "cannot be opened: No such file or directory");
  madeup_folder(&made, "/folder.xml");
  expect_refused("folder.xml", NULL, 0, "cannot be read: Is a directory");
  expect_refused("empty.xml", "", 0, "the file is empty: expected hwloc's XML, as \"lstopo --of xml FILE\" writes it");
  expect_refused("text.xml", "topo 1\nhost a\n", 14, NOT_HWLOCS);
  expect_refused("other.xml", "<?xml version=\"1.0\"?>\n<html/>\n", 30, NOT_HWLOCS);
  expect_refused("zero.xml", "<topology\0", 10, NOT_HWLOCS);
  expect_refused("half.xml", text, bytes / 2, DAMAGED);
  expect_refused("hollow.xml", "<topology version=\"2.0\"/>\n", 26, DAMAGED);
  expect_refused("tag.xml", "<topology", 9, DAMAGED);
  memcpy(strstr(text, "version=\"2.0\""), "version=\"9.0\"", 13);
  expect_refused("later.xml", text, bytes, DAMAGED);
  free(text);
}
END_TEST

/* Values only: a machine of other numbers, or one line. What takes the XML apart is hwloc. */
START_TEST(damaged_xml_gives_an_error_or_a_valid_description) {
  static const char *const FILES[] = {DATA "laptop.xml", DATA "two-socket.xml", DATA "vm.xml"};
  unsigned taken = 0, refused = 0;
  char path[96];
  snprintf(path, sizeof path, "%s/damaged.xml", made.root);
  for (uint64_t seed = 1; seed <= 300; seed++) {
    struct rng r = {.state = seed};
    struct topo t;
    agg_error_t err = {0};
    size_t bytes;
    char *text = discovery_read(FILES[seed % ARRAY_LEN(FILES)], &bytes);
    for (uint64_t k = 1 + rng_below(&r, 3); k > 0; k--) {
      size_t at = rng_below(&r, bytes);
      switch (rng_below(&r, 3)) {
        case 0:
          text[at] = (char)(' ' + rng_below(&r, 95));
          break;
        case 1:
          text[at] = (char)('0' + rng_below(&r, 10));
          break;
        default:
          if (rng_below(&r, 4) == 0) bytes = at + 1;
      }
    }
    write_file(path, text, bytes);
    free(text);
    if (discover_host(&(struct discover_options){.xml = path}, &t, &err) == AGG_OK) {
      ck_assert_msg(topo_check(&t, &err) == AGG_OK, "seed %u: %s", (unsigned)seed, err.text);
      topo_fini(&t);
      taken++;
    } else {
      ck_assert_msg(strncmp(err.text, path, strlen(path)) == 0 && strchr(err.text, '\n') == NULL, "seed %u: %s", (unsigned)seed, err.text);
      refused++;
    }
  }
  ck_assert_uint_gt(taken, 20);
  ck_assert_uint_gt(refused, 20);
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("discover");
  TCase *recorded = tcase_create("recorded");
  tcase_add_checked_fixture(recorded, discovery_setup, discovery_teardown);
  tcase_add_test(recorded, recorded_machines);
  tcase_add_test(recorded, roles_and_name_are_those_given);
  tcase_add_test(recorded, cores_that_are_not_allowed_are_left_out);
  tcase_add_test(recorded, memory_that_is_not_allowed_is_left_out);
  tcase_add_test(recorded, a_machine_without_a_name);
  tcase_add_test(recorded, what_a_machine_does_not_tell_is_said);
  tcase_add_test(recorded, a_link_of_which_nothing_is_known_is_said);
  tcase_add_test(recorded, bridges_that_can_limit);
  tcase_add_test(recorded, two_bridges_of_one_address);
  tcase_add_test(recorded, this_machine);
  tcase_add_test(recorded, cores_outside_the_binding_are_left_out);
  suite_add_tcase(suite, recorded);
  TCase *damaged = tcase_create("damaged");
  tcase_add_checked_fixture(damaged, discovery_setup, discovery_teardown);
  tcase_set_timeout(damaged, 120);
  tcase_add_test(damaged, files_that_are_no_xml_of_hwloc);
  tcase_add_test(damaged, damaged_xml_gives_an_error_or_a_valid_description);
  suite_add_tcase(suite, damaged);
  return suite;
}
