/* Discovery: recorded machines against golden descriptions, NICs of made-up sysfs trees, this machine, and files that are no XML of hwloc.
 */
#include "topology/discover.h"

#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/madeup.h"
#include "topology/discover_internal.h"

Suite *make_suite(void);

#define DATA "tests/data/topo/"
#define G (1000000000ull / 8)

static char *read_file(const char *path, size_t *bytes) {
  FILE *f = fopen(path, "re");
  ck_assert_msg(f != NULL, "%s cannot be opened: run the tests from the root of the source tree", path);
  char *text = malloc(1 << 20);
  ck_assert_ptr_nonnull(text);
  *bytes = fread(text, 1, (1 << 20) - 1, f);
  text[*bytes] = '\0';
  fclose(f);
  return text;
}

static void write_file(const char *path, const char *text, size_t bytes) {
  FILE *f = fopen(path, "we");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(text, 1, bytes, f), bytes);
  fclose(f);
}

static void discover(const struct discover_options *options, struct topo *t) {
  agg_error_t err = {0};
  ck_assert_msg(discover_host(options, t, &err) == AGG_OK, "%s", err.text);
  ck_assert_msg(topo_check(t, &err) == AGG_OK, "%s", err.text);
}

static int says(const struct topo *t, const char *note) {
  for (uint32_t i = 0; i < t->n_notes; i++) {
    if (strstr(t->notes[i], note) != NULL) return 1;
  }
  return 0;
}

/* Nothing may be printed but by us: what goes to standard error, hwloc's own words included, goes into a file. */
static struct madeup m;
static int saved_stderr;

static void setup(void) {
  char path[96];
  madeup_open(&m);
  snprintf(path, sizeof path, "%s/stderr", m.root);
  saved_stderr = dup(STDERR_FILENO);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
  close(fd);
}

static void teardown(void) {
  struct stat st;
  ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
  dup2(saved_stderr, STDERR_FILENO);
  close(saved_stderr);
  madeup_close(&m);
  ck_assert_msg(st.st_size == 0, "%d bytes were printed to standard error", (int)st.st_size);
}

/* ---- recorded machines ------------------------------------------------------------------------------------------------------------- */

static void expect_golden(const char *xml, const char *golden) {
  struct topo t;
  size_t bytes;
  char *text, *want = read_file(golden, &bytes);
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
  char *text = read_file(path, &bytes), changed[128];
  char *at = strstr(text, from);
  ck_assert_msg(at != NULL, "%s has no %s", path, from);
  memmove(at + strlen(to), at + strlen(from), bytes - (size_t)(at - text) - strlen(from) + 1);
  memcpy(at, to, strlen(to));
  snprintf(changed, sizeof changed, "%s/changed.xml", m.root);
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
  snprintf(path, sizeof path, "%s/odd.xml", m.root);
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

/* ---- NICs of made-up trees --------------------------------------------------------------------------------------------------------- */

static void netdev(const char *name, const char *link, const char *type, const char *state, const char *speed) {
  char path[160], target[256];
  snprintf(target, sizeof target, "/sys/devices/%s/net/%s/operstate", link, name);
  madeup_file(&m, target, state);
  snprintf(target, sizeof target, "/sys/devices/%s/net/%s/type", link, name);
  madeup_file(&m, target, type);
  snprintf(target, sizeof target, "/sys/devices/%s/net/%s/speed", link, name);
  if (speed != NULL) madeup_file(&m, target, speed);
  if (strncmp(link, "virtual", 7) != 0) {
    snprintf(path, sizeof path, "/sys/devices/%s/net/%s/device", link, name);
    snprintf(target, sizeof target, "../../../%s", strrchr(link, '/') + 1);
    madeup_link(&m, path, target);
  }
  snprintf(path, sizeof path, "/sys/class/net/%s", name);
  snprintf(target, sizeof target, "../../devices/%s/net/%s", link, name);
  madeup_link(&m, path, target);
}

#define FILE_AT(text, ...)                  \
  do {                                      \
    char at_[256];                          \
    snprintf(at_, sizeof at_, __VA_ARGS__); \
    madeup_file(&m, at_, (text));           \
  } while (0)

/* link NULL: in software. netdev NULL: none is named. */
static void rdma(const char *name, const char *link, const char *layer, const char *state, const char *rate, const char *ndev) {
  char path[160], target[256];
  char where[128];
  snprintf(where, sizeof where, "%s", link != NULL ? link : "virtual");
  FILE_AT("1: CA", "/sys/devices/%s/infiniband/%s/node_type", where, name);
  FILE_AT(layer, "/sys/devices/%s/infiniband/%s/ports/1/link_layer", where, name);
  FILE_AT(state, "/sys/devices/%s/infiniband/%s/ports/1/state", where, name);
  FILE_AT(rate, "/sys/devices/%s/infiniband/%s/ports/1/rate", where, name);
  if (ndev != NULL) FILE_AT(ndev, "/sys/devices/%s/infiniband/%s/ports/1/gid_attrs/ndevs/0", where, name);
  if (link != NULL) {
    snprintf(path, sizeof path, "/sys/devices/%s/infiniband/%s/device", link, name);
    snprintf(target, sizeof target, "../../../%s", strrchr(link, '/') + 1);
    madeup_link(&m, path, target);
  }
  snprintf(path, sizeof path, "/sys/class/infiniband/%s", name);
  snprintf(target, sizeof target, "../../devices/%s/infiniband/%s", where, name);
  madeup_link(&m, path, target);
}

static struct topo tree;

/* In this process, so that a fault in our own code is seen where it is: these XML files are well. */
static const struct topo_machine *look(const char *xml) {
  struct discover_xml whole = {.path = xml};
  agg_error_t err = {0};
  char *text = read_file(xml, &whole.bytes);
  whole.text = text;
  topo_fini(&tree);
  ck_assert_msg(discover_machine(&(struct discover_options){.xml = xml, .root = m.root}, &whole, &tree, &err) == AGG_OK, "%s", err.text);
  free(text);
  return topo_machine_of(&tree, 0);
}

START_TEST(in_a_process_of_its_own_it_sees_the_same) {
  static const char *const FILES[] = {DATA "laptop.xml", DATA "vm.xml", DATA "two-socket.xml", DATA "dgx.xml", DATA "two-socket-v1.xml"};
  for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
    struct topo t;
    char *here, *apart;
    look(FILES[i]);
    discover(&(struct discover_options){.xml = FILES[i], .root = m.root}, &t);
    ck_assert_int_eq(topo_dump(&tree, &here, NULL), AGG_OK);
    ck_assert_int_eq(topo_dump(&t, &apart, NULL), AGG_OK);
    ck_assert_str_eq(here, apart);
    free(here);
    free(apart);
    topo_fini(&t);
  }
}
END_TEST

/* Without a tree, hwloc's devices of the operating system are the NICs. */
START_TEST(nics_of_an_xml_alone) {
  struct discover_xml whole = {.path = DATA "two-socket.xml"};
  agg_error_t err = {0};
  char *text = read_file(whole.path, &whole.bytes);
  whole.text = text;
  ck_assert_msg(discover_machine(&(struct discover_options){.xml = whole.path}, &whole, &tree, &err) == AGG_OK, "%s", err.text);
  free(text);
  const struct topo_machine *machine = topo_machine_of(&tree, 0);
  ck_assert_uint_eq(machine->n_nics, 4);
  ck_assert_str_eq(machine->nics[0].rdma, "mlx5_0:1");
  ck_assert_str_eq(machine->nics[0].netdev, "ens1np0");
  ck_assert(says(&tree, "hwloc's XML has no speeds of NICs"));
}
END_TEST

static const struct topo_nic *nic(const struct topo_machine *machine, const char *name) {
  for (uint32_t i = 0; i < machine->n_nics; i++) {
    if (strcmp(topo_nic_name(&machine->nics[i]), name) == 0) return &machine->nics[i];
  }
  ck_abort_msg("no NIC %s", name);
  return NULL;
}

#define SLOT0 "pci0000:3a/0000:3a:00.0/0000:3b:00.0"
#define SLOT1 "pci0000:ae/0000:ae:00.0/0000:af:00.0"

START_TEST(speeds_and_states_come_from_sysfs) {
  netdev("ens1np0", SLOT0, "1", "up", "100000");
  netdev("ens2np0", SLOT1, "1", "down", "-1");
  netdev("eno1", "pci0000:00/0000:00:1c.0/0000:02:00.0", "1", "up", "1000");
  netdev("eno2", "pci0000:00/0000:00:1c.0/0000:02:00.1", "1", "down", NULL);
  netdev("lo", "virtual", "772", "unknown", NULL);
  netdev("docker0", "virtual", "1", "up", "10000");
  rdma("mlx5_0", SLOT0, "Ethernet", "4: ACTIVE", "100 Gb/sec (4X EDR)", "ens1np0");
  rdma("mlx5_1", SLOT1, "Ethernet", "1: DOWN", "2.5 Gb/sec (1X SDR)", "ens2np0");
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(machine->n_nics, 4);
  const struct topo_nic *n = nic(machine, "mlx5_0:1");
  ck_assert_str_eq(n->netdev, "ens1np0");
  ck_assert_uint_eq(n->speed, 100 * G);
  ck_assert_uint_eq(n->place.pcie, 126031 * G / 1000);
  ck_assert_int_eq(n->state, TOPO_UP);
  ck_assert_int_eq(n->link, TOPO_ROCE);
  ck_assert_uint_eq(n->rail, 0);
  ck_assert_uint_eq(n->place.numa, 0);
  ck_assert_str_eq(n->place.path, "pci0000:3a/0000:3a:00.0");
  n = nic(machine, "mlx5_1:1");
  ck_assert_uint_eq(n->speed, 0); /* 2.5 Gb/sec is what a port without a link says */
  ck_assert_int_eq(n->state, TOPO_DOWN);
  ck_assert_uint_eq(n->rail, TOPO_NONE);
  ck_assert_uint_eq(n->place.numa, 1);
  ck_assert_uint_eq(nic(machine, "eno1")->speed, 1 * G);
  ck_assert_uint_eq(nic(machine, "eno1")->rail, TOPO_NONE);
  ck_assert_int_eq(nic(machine, "eno2")->state, TOPO_DOWN);
  ck_assert(!says(&tree, "speed is unknown"));
}
END_TEST

START_TEST(infiniband_with_two_ports_and_iwarp) {
  rdma("mlx4_0", SLOT0, "InfiniBand", "4: ACTIVE", "56 Gb/sec (4X FDR)", NULL);
  FILE_AT("InfiniBand", "/sys/devices/" SLOT0 "/infiniband/mlx4_0/ports/2/link_layer");
  FILE_AT("2: INIT", "/sys/devices/" SLOT0 "/infiniband/mlx4_0/ports/2/state");
  netdev("ib0", SLOT0, "32", "up", "56000");
  netdev("ib1", SLOT0, "32", "down", NULL);
  FILE_AT("0", "/sys/devices/" SLOT0 "/net/ib0/dev_port");
  FILE_AT("1", "/sys/devices/" SLOT0 "/net/ib1/dev_port");
  rdma("cxgb4_0", SLOT1, "Ethernet", "4: ACTIVE", "100 Gb/sec (4X EDR)", "eth4");
  FILE_AT("4: RNIC", "/sys/devices/" SLOT1 "/infiniband/cxgb4_0/node_type");
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(machine->n_nics, 3);
  ck_assert_str_eq(nic(machine, "mlx4_0:1")->netdev, "ib0");
  ck_assert_str_eq(nic(machine, "mlx4_0:2")->netdev, "ib1");
  ck_assert_uint_eq(nic(machine, "mlx4_0:1")->speed, 56 * G);
  ck_assert_int_eq(nic(machine, "mlx4_0:1")->link, TOPO_INFINIBAND);
  ck_assert_int_eq(nic(machine, "mlx4_0:2")->state, TOPO_DOWN);
  ck_assert_int_eq(nic(machine, "cxgb4_0:1")->link, TOPO_IWARP);
}
END_TEST

START_TEST(a_container_has_a_virtual_nic_and_no_pci) {
  netdev("eth0", "virtual", "1", "up", "10000");
  netdev("lo", "virtual", "772", "unknown", NULL);
  netdev("tunl0", "virtual", "768", "down", NULL);
  netdev("ifb0", "virtual", "1", "down", NULL);
  netdev("br0", "virtual", "1", "up", "10000");
  madeup_folder(&m, "/sys/devices/virtual/net/br0/bridge");
  const struct topo_machine *machine = look(DATA "vm.xml");
  ck_assert_uint_eq(machine->n_nics, 1);
  ck_assert_str_eq(machine->nics[0].netdev, "eth0");
  ck_assert_uint_eq(machine->nics[0].speed, 0);
  ck_assert_uint_eq(machine->nics[0].rail, 0);
  ck_assert_uint_eq(machine->nics[0].place.numa, 0); /* there is one */
  ck_assert(says(&tree, "eth0 is virtual: its speed is unknown, whatever it says"));
  ck_assert(says(&tree, "no PCI device is seen (a virtual machine or container?)"));
  ck_assert(says(&tree, "no PCI path is known of 1 of the NICs (eth0 the first): how far they are from GPUs is assumed to be NODE"));
}
END_TEST

START_TEST(a_virtual_machine_says_any_speed) {
  netdev("ens3", "pci0000:00/0000:00:03.0/virtio0", "1", "up", "-1");
  madeup_link(&m, "/sys/devices/pci0000:00/0000:00:03.0/virtio0/driver", "../../../../bus/virtio/drivers/virtio_net");
  netdev("ens160", "pci0000:00/0000:00:04.0", "1", "up", "10000");
  madeup_link(&m, "/sys/devices/pci0000:00/0000:00:04.0/driver", "../../../bus/pci/drivers/vmxnet3");
  netdev("ens5", "pci0000:00/0000:00:05.0", "1", "up", "4294967295");
  netdev("ens6", "pci0000:00/0000:00:06.0", "1", "up", "200000000");
  const struct topo_machine *machine = look(DATA "vm.xml");
  ck_assert_uint_eq(machine->n_nics, 4);
  for (uint32_t i = 0; i < 4; i++) ck_assert_uint_eq(machine->nics[i].speed, 0);
  ck_assert_str_eq(nic(machine, "ens3")->place.pci, "0000:00:03.0");
  ck_assert_str_eq(nic(machine, "ens3")->place.path, "pci0000:00");
  ck_assert(says(&tree, "ens3 is virtual"));
  ck_assert(says(&tree, "ens160 is virtual"));
  ck_assert(says(&tree, "ens5 does not tell its speed"));
  ck_assert(says(&tree, "ens6 says 200000000 Mbit/s, which cannot be"));
}
END_TEST

START_TEST(rdma_in_software) {
  netdev("eth0", SLOT0, "1", "up", "25000");
  rdma("rxe0", NULL, "Ethernet", "4: ACTIVE", "2.5 Gb/sec (1X SDR)", NULL);
  madeup_file(&m, "/sys/devices/virtual/infiniband/rxe0/parent", "eth0");
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(machine->n_nics, 1);
  ck_assert_str_eq(machine->nics[0].rdma, "rxe0:1");
  ck_assert_str_eq(machine->nics[0].netdev, "eth0");
  ck_assert_uint_eq(machine->nics[0].speed, 0);
  ck_assert_str_eq(machine->nics[0].place.pci, "0000:3b:00.0");
  ck_assert(says(&tree, "rxe0:1 is RDMA in software: its speed is unknown"));
}
END_TEST

START_TEST(virtual_functions_share_the_wire_of_their_nic) {
  netdev("pf0", SLOT0, "1", "up", "100000");
  netdev("vf0", "pci0000:3a/0000:3a:00.0/0000:3b:00.2", "1", "up", "100000");
  madeup_link(&m, "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.2/physfn", "../0000:3b:00.0");
  netdev("vf9", "pci0000:ae/0000:ae:00.0/0000:af:00.2", "1", "up", "100000");
  madeup_link(&m, "/sys/devices/pci0000:ae/0000:ae:00.0/0000:af:00.2/physfn", "../0000:af:00.0");
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(machine->n_nics, 2);
  (void)nic(machine, "pf0");
  (void)nic(machine, "vf9"); /* its physical function is on the host of this container */
}
END_TEST

START_TEST(numa_nodes_of_what_hwloc_does_not_see) {
  netdev("eth7", "pci0000:d7/0000:d7:00.0/0000:d8:00.0", "1", "up", "100000");
  madeup_file(&m, "/sys/devices/pci0000:d7/0000:d7:00.0/0000:d8:00.0/numa_node", "1");
  netdev("eth8", "pci0000:d7/0000:d7:01.0/0000:d9:00.0", "1", "up", "100000");
  madeup_file(&m, "/sys/devices/pci0000:d7/0000:d7:01.0/0000:d9:00.0/numa_node", "-1");
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(nic(machine, "eth7")->place.numa, 1);
  ck_assert_uint_eq(nic(machine, "eth8")->place.numa, TOPO_NONE);
  ck_assert_int_eq(topo_distance(&nic(machine, "eth7")->place, &nic(machine, "eth8")->place), TOPO_PHB);
}
END_TEST

START_TEST(gpus_have_the_names_of_their_driver) {
  madeup_file(&m, "/proc/driver/nvidia/gpus/0000:19:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 30");
  const struct topo_machine *machine = look(DATA "dgx.xml");
  ck_assert_str_eq(machine->gpus[0].name, "NVIDIA_H100_80GB_HBM3");
  ck_assert_str_eq(machine->gpus[1].name, "GH100_H100_SXM5_80GB");
  ck_assert_uint_eq(machine->n_nics, 0);
  ck_assert(says(&tree, "no NIC was found"));
}
END_TEST

/* Names, files and links that no kernel makes. */
START_TEST(hostile_trees) {
  netdev("eth0", SLOT0, "1", "up", "1e9");
  netdev("a=b", SLOT0, "1", "up", "1000");
  FILE_AT("x", "/sys/class/infiniband/..x/ports/1/state");
  FILE_AT("x", "/sys/class/infiniband/mlx 5/ports/1/state");
  FILE_AT("x", "/sys/class/infiniband/mlx5_9/ports/0/state");
  FILE_AT("x", "/sys/class/infiniband/mlx5_9/ports/-1/state");
  FILE_AT("x", "/sys/class/infiniband/mlx5_9/ports/1/state");
  FILE_AT("9999999999999999999999 Gb/sec", "/sys/class/infiniband/mlx5_9/ports/1/rate");
  FILE_AT("../../../etc/passwd", "/sys/class/infiniband/mlx5_9/ports/1/gid_attrs/ndevs/0");
  madeup_folder(&m, "/sys/class/net/eth1/operstate");
  madeup_link(&m, "/sys/class/net/eth2", "eth2");
  char fifo[192];
  snprintf(fifo, sizeof fifo, "%s/sys/devices/" SLOT0 "/net/eth0/address", m.root);
  ck_assert_int_eq(mkfifo(fifo, 0600), 0);
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(machine->n_nics, 2);
  ck_assert_uint_eq(nic(machine, "mlx5_9:1")->speed, 0);
  ck_assert_str_eq(nic(machine, "mlx5_9:1")->netdev, "");
  ck_assert_uint_eq(nic(machine, "eth0")->speed, 0);
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
  ck_assert_int_eq(discover_host(&(struct discover_options){.root = m.root}, &t, &err), AGG_EINVAL);
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
  snprintf(path, sizeof path, "%s/%s", m.root, name);
  if (text != NULL) write_file(path, text, bytes);
  snprintf(want, sizeof want, "%s: %s", path, why);
  ck_assert_int_ne(discover_host(&(struct discover_options){.xml = path}, &t, &err), AGG_OK);
  ck_assert_str_eq(err.text, want);
}

#define NOT_HWLOCS "this is not hwloc's XML: expected a <topology>, as \"lstopo --of xml FILE\" writes it"
#define DAMAGED "hwloc cannot read this XML: it is damaged or of a later version; write it again, \"lstopo --of xml FILE\""

START_TEST(files_that_are_no_xml_of_hwloc) {
  size_t bytes;
  char *text = read_file(DATA "two-socket.xml", &bytes);
  expect_refused("none.xml", NULL, 0, "cannot be opened: No such file or directory");
  madeup_folder(&m, "/folder.xml");
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
  snprintf(path, sizeof path, "%s/damaged.xml", m.root);
  for (uint64_t seed = 1; seed <= 300; seed++) {
    struct rng r = {.state = seed};
    struct topo t;
    agg_error_t err = {0};
    size_t bytes;
    char *text = read_file(FILES[seed % ARRAY_LEN(FILES)], &bytes);
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

static void free_tree(void) {
  topo_fini(&tree);
  teardown();
}

Suite *make_suite(void) {
  Suite *suite = suite_create("discover");
  TCase *recorded = tcase_create("recorded");
  tcase_add_checked_fixture(recorded, setup, teardown);
  tcase_add_test(recorded, recorded_machines);
  tcase_add_test(recorded, roles_and_name_are_those_given);
  tcase_add_test(recorded, cores_that_are_not_allowed_are_left_out);
  tcase_add_test(recorded, memory_that_is_not_allowed_is_left_out);
  tcase_add_test(recorded, a_machine_without_a_name);
  tcase_add_test(recorded, what_a_machine_does_not_tell_is_said);
  tcase_add_test(recorded, a_link_of_which_nothing_is_known_is_said);
  tcase_add_test(recorded, bridges_that_can_limit);
  tcase_add_test(recorded, this_machine);
  tcase_add_test(recorded, cores_outside_the_binding_are_left_out);
  suite_add_tcase(suite, recorded);
  TCase *nics = tcase_create("nics");
  tcase_add_checked_fixture(nics, setup, free_tree);
  tcase_add_test(nics, in_a_process_of_its_own_it_sees_the_same);
  tcase_add_test(nics, nics_of_an_xml_alone);
  tcase_add_test(nics, speeds_and_states_come_from_sysfs);
  tcase_add_test(nics, infiniband_with_two_ports_and_iwarp);
  tcase_add_test(nics, a_container_has_a_virtual_nic_and_no_pci);
  tcase_add_test(nics, a_virtual_machine_says_any_speed);
  tcase_add_test(nics, rdma_in_software);
  tcase_add_test(nics, virtual_functions_share_the_wire_of_their_nic);
  tcase_add_test(nics, numa_nodes_of_what_hwloc_does_not_see);
  tcase_add_test(nics, gpus_have_the_names_of_their_driver);
  tcase_add_test(nics, hostile_trees);
  suite_add_tcase(suite, nics);
  TCase *damaged = tcase_create("damaged");
  tcase_add_checked_fixture(damaged, setup, teardown);
  tcase_set_timeout(damaged, 120);
  tcase_add_test(damaged, files_that_are_no_xml_of_hwloc);
  tcase_add_test(damaged, damaged_xml_gives_an_error_or_a_valid_description);
  suite_add_tcase(suite, damaged);
  return suite;
}
