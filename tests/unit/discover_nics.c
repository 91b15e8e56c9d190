/* Discovery: NICs, and names of GPUs, of made-up sysfs trees beside recorded machines. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "tests/lib/discovery.h"
#include "topology/discover_internal.h"

Suite *make_suite(void);

static void netdev(const char *name, const char *link, const char *type, const char *state, const char *speed) {
  char path[160], target[256];
  snprintf(target, sizeof target, "/sys/devices/%s/net/%s/operstate", link, name);
  madeup_file(&made, target, state);
  snprintf(target, sizeof target, "/sys/devices/%s/net/%s/type", link, name);
  madeup_file(&made, target, type);
  snprintf(target, sizeof target, "/sys/devices/%s/net/%s/speed", link, name);
  if (speed != NULL) madeup_file(&made, target, speed);
  if (strncmp(link, "virtual", 7) != 0) {
    snprintf(path, sizeof path, "/sys/devices/%s/net/%s/device", link, name);
    snprintf(target, sizeof target, "../../../%s", strrchr(link, '/') + 1);
    madeup_link(&made, path, target);
  }
  snprintf(path, sizeof path, "/sys/class/net/%s", name);
  snprintf(target, sizeof target, "../../devices/%s/net/%s", link, name);
  madeup_link(&made, path, target);
}

#define FILE_AT(text, ...)                  \
  do {                                      \
    char at_[256];                          \
    snprintf(at_, sizeof at_, __VA_ARGS__); \
    madeup_file(&made, at_, (text));        \
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
    madeup_link(&made, path, target);
  }
  snprintf(path, sizeof path, "/sys/class/infiniband/%s", name);
  snprintf(target, sizeof target, "../../devices/%s/infiniband/%s", where, name);
  madeup_link(&made, path, target);
}

static struct topo tree;

/* In this process, so that a fault in our own code is seen where it is: these XML files are well. */
static const struct topo_machine *look(const char *xml) {
  struct discover_xml whole = {.path = xml};
  agg_error_t err = {0};
  char *text = discovery_read(xml, &whole.bytes);
  whole.text = text;
  topo_fini(&tree);
  ck_assert_msg(discover_machine(&(struct discover_options){.xml = xml, .root = made.root}, &whole, &tree, &err) == AGG_OK, "%s", err.text);
  free(text);
  return topo_machine_of(&tree, 0);
}

START_TEST(in_a_process_of_its_own_it_sees_the_same) {
  static const char *const FILES[] = {DATA "laptop.xml", DATA "vm.xml", DATA "two-socket.xml", DATA "dgx.xml", DATA "two-socket-v1.xml"};
  for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
    struct topo t;
    char *here, *apart;
    look(FILES[i]);
    discover(&(struct discover_options){.xml = FILES[i], .root = made.root}, &t);
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
  char *text = discovery_read(whole.path, &whole.bytes);
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
  madeup_folder(&made, "/sys/devices/virtual/net/br0/bridge");
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
  madeup_link(&made, "/sys/devices/pci0000:00/0000:00:03.0/virtio0/driver", "../../../../bus/virtio/drivers/virtio_net");
  netdev("ens160", "pci0000:00/0000:00:04.0", "1", "up", "10000");
  madeup_link(&made, "/sys/devices/pci0000:00/0000:00:04.0/driver", "../../../bus/pci/drivers/vmxnet3");
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
  madeup_file(&made, "/sys/devices/virtual/infiniband/rxe0/parent", "eth0");
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
  madeup_link(&made, "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.2/physfn", "../0000:3b:00.0");
  netdev("vf9", "pci0000:ae/0000:ae:00.0/0000:af:00.2", "1", "up", "100000");
  madeup_link(&made, "/sys/devices/pci0000:ae/0000:ae:00.0/0000:af:00.2/physfn", "../0000:af:00.0");
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(machine->n_nics, 2);
  (void)nic(machine, "pf0");
  (void)nic(machine, "vf9"); /* its physical function is on the host of this container */
}
END_TEST

START_TEST(numa_nodes_of_what_hwloc_does_not_see) {
  netdev("eth7", "pci0000:d7/0000:d7:00.0/0000:d8:00.0", "1", "up", "100000");
  madeup_file(&made, "/sys/devices/pci0000:d7/0000:d7:00.0/0000:d8:00.0/numa_node", "1");
  netdev("eth8", "pci0000:d7/0000:d7:01.0/0000:d9:00.0", "1", "up", "100000");
  madeup_file(&made, "/sys/devices/pci0000:d7/0000:d7:01.0/0000:d9:00.0/numa_node", "-1");
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(nic(machine, "eth7")->place.numa, 1);
  ck_assert_uint_eq(nic(machine, "eth8")->place.numa, TOPO_NONE);
  ck_assert_int_eq(topo_distance(&nic(machine, "eth7")->place, &nic(machine, "eth8")->place), TOPO_PHB);
}
END_TEST

START_TEST(gpus_have_the_names_of_their_driver) {
  madeup_file(&made, "/proc/driver/nvidia/gpus/0000:19:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 30");
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
  madeup_folder(&made, "/sys/class/net/eth1/operstate");
  madeup_link(&made, "/sys/class/net/eth2", "eth2");
  char fifo[192];
  snprintf(fifo, sizeof fifo, "%s/sys/devices/" SLOT0 "/net/eth0/address", made.root);
  ck_assert_int_eq(mkfifo(fifo, 0600), 0);
  const struct topo_machine *machine = look(DATA "two-socket.xml");
  ck_assert_uint_eq(machine->n_nics, 2);
  ck_assert_uint_eq(nic(machine, "mlx5_9:1")->speed, 0);
  ck_assert_str_eq(nic(machine, "mlx5_9:1")->netdev, "");
  ck_assert_uint_eq(nic(machine, "eth0")->speed, 0);
}
END_TEST

static void free_tree(void) {
  topo_fini(&tree);
  discovery_teardown();
}

Suite *make_suite(void) {
  Suite *suite = suite_create("discover_nics");
  TCase *nics = tcase_create("nics");
  tcase_add_checked_fixture(nics, discovery_setup, free_tree);
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
  return suite;
}
