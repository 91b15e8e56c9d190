/* What agg-doctor says about the machine around the NIC, on made-up machines: memory, cores, counters, GPUs, PCI. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/madeup.h"

Suite *make_suite(void);

#define NIC "/sys/bus/pci/devices/0000:3b:00.0"
#define COUNTERS "/sys/class/infiniband/mlx5_0/ports/1"
#define GPU "0000:17:00.0"
#define BRIDGE "0000:16:00.0"

static struct madeup m;

static void setup(void) {
  madeup_open(&m);
  madeup_roce_server(&m);
}
static void teardown(void) { madeup_close(&m); }

START_TEST(all_well) {
  madeup_expect(&m, "huge-pages", 0, DOCTOR_PASS, "0 of 0 free of 2048kB; transparent: always [madvise] never", "");
  madeup_expect(&m, "numa", 0, DOCTOR_PASS,
                "NUMA node 0 (cores 0-3); this process may use cores 0-7 (node 0 at distance 10, 1 at distance 21)", "");
  madeup_expect(&m, "numa", 1, DOCTOR_PASS, "(node 0 at distance 21, 1 at distance 10)", "");
  madeup_expect(&m, "governor", 0, DOCTOR_PASS, "performance on all 8 cores", "");
  madeup_expect(&m, "counters", 0, DOCTOR_PASS, "2 error counters, all zero", "");
  madeup_expect(&m, "flow-control", 1, DOCTOR_UNKNOWN, "cannot be seen from here", "dcb pfc show dev eth1");
  madeup_expect(&m, "namespaces", 0, DOCTOR_PASS, "shared", "");
  madeup_expect(&m, "gpudirect", 0, DOCTOR_UNKNOWN, "does not apply: no NVIDIA GPU", "");
  madeup_expect(&m, "acs", 0, DOCTOR_UNKNOWN, "does not apply", "");
  madeup_expect(&m, "iommu", 0, DOCTOR_PASS, "passes 0000:3b:00.0 through (identity)", "");
}
END_TEST

START_TEST(huge_pages) {
  madeup_file(&m, "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]");
  madeup_expect(&m, "huge-pages", 0, DOCTOR_WARN, "[never]", "vm.nr_hugepages");
  madeup_file(&m, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512");
  madeup_file(&m, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "500");
  madeup_expect(&m, "huge-pages", 0, DOCTOR_PASS, "500 of 512 free of 2048kB", "");
  madeup_remove(&m, "/sys/kernel/mm/transparent_hugepage");
  madeup_expect(&m, "huge-pages", 0, DOCTOR_PASS, "transparent: not in this kernel", "");
  madeup_remove(&m, "/sys/kernel/mm");
  madeup_expect(&m, "huge-pages", 0, DOCTOR_UNKNOWN, NULL, "");
}
END_TEST

START_TEST(cores_far_from_the_nic) {
  madeup_file(&m, "/proc/self/status", "CapEff:\t0\nCpus_allowed_list:\t5,7");
  madeup_expect(&m, "numa", 0, DOCTOR_WARN, "this process may use cores 5,7 (node 1 at distance 21)", "taskset -c 0-3, numactl -N 0");
  madeup_expect(&m, "numa", 1, DOCTOR_PASS, "(node 1 at distance 10)", "");
  madeup_file(&m, "/proc/self/status", "CapEff:\t0");
  madeup_expect(&m, "numa", 0, DOCTOR_UNKNOWN, "which cores this process may use is not told", "");
}
END_TEST

START_TEST(nic_of_no_node) {
  madeup_file(&m, NIC "/numa_node", "-1");
  madeup_expect(&m, "numa", 0, DOCTOR_UNKNOWN, "does not tell", "");
  madeup_remove(&m, "/sys/devices/system/node/node1");
  madeup_expect(&m, "numa", 0, DOCTOR_PASS, "one NUMA node", "");
  madeup_expect(&m, "numa", 1, DOCTOR_UNKNOWN, "node 1, whose cores are not told", "");
  madeup_file(&m, "/sys/bus/pci/devices/0000:af:00.0/local_cpulist", "4-7");
  madeup_expect(&m, "numa", 1, DOCTOR_PASS, "cores 4-7", "");
}
END_TEST

START_TEST(governor) {
  madeup_file(&m, "/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave");
  madeup_expect(&m, "governor", 0, DOCTOR_WARN, "powersave on 1 of 8 cores", "cpupower");
  madeup_file(&m, "/proc/self/status", "Cpus_allowed_list:\t4-7"); /* only its own cores count */
  madeup_expect(&m, "governor", 0, DOCTOR_PASS, "all 4 cores", "");
  madeup_remove(&m, "/sys/devices/system/cpu");
  madeup_expect(&m, "governor", 0, DOCTOR_UNKNOWN, "no cpufreq", "");
}
END_TEST

START_TEST(counters_by_meaning) {
  madeup_file(&m, COUNTERS "/counters/symbol_error", "12");
  madeup_file(&m, COUNTERS "/counters/link_downed", "1");
  madeup_file(&m, COUNTERS "/hw_counters/out_of_sequence", "7");
  madeup_file(&m, COUNTERS "/hw_counters/packet_seq_err", "8");
  madeup_file(&m, COUNTERS "/hw_counters/local_ack_timeout_err", "9");
  madeup_file(&m, COUNTERS "/hw_counters/rnr_nak_retry_err", "18446744073709551615"); /* larger than the number can be: not read */
  madeup_expect(&m, "counters", 0, DOCTOR_WARN, "link_downed 1 since", "cable");
  madeup_expect(&m, "counters", 1, DOCTOR_WARN, "symbol_error 12 since", "cable");
  madeup_expect(&m, "counters", 2, DOCTOR_WARN, "out_of_sequence 7, packet_seq_err 8 since the driver was loaded: packets were lost",
                "PFC or ECN");
  madeup_expect(&m, "counters", 3, DOCTOR_WARN, "local_ack_timeout_err 9", "4791");
  ck_assert_str_eq(madeup_check(&m, "counters", 4)->device, "mlx5_1:1");
}
END_TEST

START_TEST(counters_of_soft_roce) {
  madeup_file(&m, COUNTERS "/hw_counters/rcvd_seq_err", "3");
  madeup_file(&m, COUNTERS "/hw_counters/link_downed", "2");
  madeup_file(&m, COUNTERS "/counters/link_downed", "0");
  madeup_file(&m, "/sys/class/infiniband/mlx5_0/parent", "eth0");
  madeup_expect(&m, "counters", 0, DOCTOR_WARN, "link_downed 2", NULL);
  madeup_expect(&m, "counters", 1, DOCTOR_WARN, "rcvd_seq_err 3", NULL);
  madeup_expect(&m, "flow-control", 0, DOCTOR_UNKNOWN, "a software device", "");
}
END_TEST

START_TEST(no_counters) {
  madeup_remove(&m, COUNTERS "/counters");
  madeup_remove(&m, COUNTERS "/hw_counters");
  madeup_expect(&m, "counters", 0, DOCTOR_UNKNOWN, "no error counters", "");
}
END_TEST

START_TEST(signs_of_ecn) {
  madeup_file(&m, COUNTERS "/hw_counters/rp_cnp_handled", "55");
  madeup_expect(&m, "flow-control", 0, DOCTOR_UNKNOWN, "signs of ECN at work: rp_cnp_handled 55", "mlnx_qos");
}
END_TEST

START_TEST(namespaces) {
  madeup_file(&m, "/sys/module/ib_core/parameters/netns_mode", "N");
  madeup_expect(&m, "namespaces", 0, DOCTOR_PASS, "exclusive", "");
  madeup_remove(&m, "/sys/module/ib_core");
  madeup_expect(&m, "namespaces", 0, DOCTOR_UNKNOWN, "does not tell", "");
}
END_TEST

static void gpu(const char *flavour) {
  char version[256];
  madeup_pci(&m, GPU, "0x10de", "0x030200", "nvidia");
  if (flavour == NULL) return;
  snprintf(version, sizeof(version), "NVRM version: NVIDIA UNIX %s  550.54.15  Release Build\nGCC version:  gcc version 12.2.0", flavour);
  madeup_file(&m, "/proc/driver/nvidia/version", version);
}

START_TEST(gpu_without_driver) {
  gpu(NULL);
  madeup_expect(&m, "gpudirect", 0, DOCTOR_WARN, "1 NVIDIA GPUs, but the driver is not loaded", "modprobe nvidia");
  m.options.gpu = 1;
  madeup_expect(&m, "gpudirect", 0, DOCTOR_FAIL, NULL, "modprobe nvidia");
}
END_TEST

START_TEST(gpu_without_peermem) {
  gpu("x86_64 Kernel Module");
  madeup_expect(&m, "gpudirect", 0, DOCTOR_WARN, "closed kernel modules, Linux 6.1); nvidia_peermem: not loaded",
                "modprobe nvidia_peermem");
  m.options.gpu = 1;
  madeup_expect(&m, "gpudirect", 0, DOCTOR_FAIL, "through host memory", NULL);
  madeup_folder(&m, "/sys/module/nvidia_peermem");
  madeup_expect(&m, "gpudirect", 0, DOCTOR_PASS, "nvidia_peermem: loaded", "");
}
END_TEST

START_TEST(gpu_with_dmabuf) {
  gpu("Open Kernel Module for x86_64");
  madeup_expect(&m, "gpudirect", 0, DOCTOR_PASS, "dma-buf: can be used (open kernel modules, Linux 6.1)", "");
  madeup_file(&m, "/proc/sys/kernel/osrelease", "5.11.0-49-generic");
  madeup_expect(&m, "gpudirect", 0, DOCTOR_WARN, "dma-buf: no (open kernel modules, Linux 5.11)", "Linux 5.12");
  madeup_file(&m, "/proc/sys/kernel/osrelease", "5.12.0");
  madeup_expect(&m, "gpudirect", 0, DOCTOR_PASS, NULL, "");
}
END_TEST

START_TEST(gpu_wanted_and_none) {
  m.options.gpu = 1;
  madeup_expect(&m, "gpudirect", 0, DOCTOR_FAIL, "no NVIDIA GPU", "lspci");
}
END_TEST

/* The configuration space of a port of a PCI switch. */
static void bridge(unsigned type, unsigned acs, size_t bytes) {
  unsigned char config[4096] = {0};
  config[0x34] = 0x40;
  config[0x40] = 0x05; /* another capability first */
  config[0x41] = 0x60;
  config[0x60] = 0x10;
  config[0x62] = (unsigned char)(type << 4 | 2);
  config[0x100] = 0x01; /* error reporting, then ACS */
  config[0x102] = 0x01;
  config[0x103] = 0x15;
  config[0x150] = 0x0d;
  config[0x152] = 0x01;
  config[0x156] = (unsigned char)acs;
  madeup_pci(&m, BRIDGE, "0x1000", "0x060400", "pcieport");
  madeup_bytes(&m, "/sys/bus/pci/devices/" BRIDGE "/config", config, bytes);
}

START_TEST(acs_off) {
  gpu("Open Kernel Module for x86_64");
  bridge(6, 0x01, 4096);
  madeup_expect(&m, "acs", 0, DOCTOR_PASS, "off at all 1 ports", "");
}
END_TEST

START_TEST(acs_on) {
  gpu("Open Kernel Module for x86_64");
  bridge(6, 0x1d, 4096);
  madeup_expect(&m, "acs", 0, DOCTOR_WARN, "on at 1 of 1 ports of PCI switches (" BRIDGE, "setpci -s " BRIDGE " ECAP_ACS+6.w=0000");
}
END_TEST

START_TEST(acs_at_a_root_port_is_no_matter) {
  gpu("Open Kernel Module for x86_64");
  bridge(4, 0x1d, 4096);
  madeup_expect(&m, "acs", 0, DOCTOR_PASS, "off", "");
}
END_TEST

START_TEST(acs_unreadable) {
  gpu("Open Kernel Module for x86_64");
  bridge(6, 0x1d, 64);
  madeup_expect(&m, "acs", 0, DOCTOR_UNKNOWN, "root only", "run agg-doctor as root");
}
END_TEST

START_TEST(acs_hostile_configuration) {
  unsigned char config[4096];
  gpu("Open Kernel Module for x86_64");
  madeup_pci(&m, BRIDGE, "0x1000", "0x060400", "pcieport");
  for (unsigned fill = 0; fill < 256; fill++) { /* lists that run in circles, or out of the space */
    memset(config, (int)fill, sizeof(config));
    madeup_bytes(&m, "/sys/bus/pci/devices/" BRIDGE "/config", config, sizeof(config));
    ck_assert_ptr_nonnull(madeup_check(&m, "acs", 0));
  }
}
END_TEST

START_TEST(iommu) {
  madeup_file(&m, NIC "/iommu_group/type", "DMA-FQ");
  madeup_expect(&m, "iommu", 0, DOCTOR_WARN, "translates the addresses of 0000:3b:00.0 (DMA-FQ)", "iommu=pt");
  madeup_remove(&m, NIC "/iommu_group");
  madeup_expect(&m, "iommu", 0, DOCTOR_PASS, "no IOMMU before 0000:3b:00.0", "");
  madeup_remove(&m, "/sys/kernel/iommu_groups/0");
  madeup_expect(&m, "iommu", 0, DOCTOR_PASS, "off", "");
  madeup_remove(&m, "/sys/kernel/iommu_groups");
  madeup_expect(&m, "iommu", 0, DOCTOR_PASS, "iommu=pt is on", "");
  madeup_file(&m, "/proc/cmdline", "quiet");
  madeup_expect(&m, "iommu", 0, DOCTOR_UNKNOWN, "does not tell", "");
}
END_TEST

Suite *make_suite(void) {
  const TTest *const TESTS[] = {
      all_well,
      huge_pages,
      cores_far_from_the_nic,
      nic_of_no_node,
      governor,
      counters_by_meaning,
      counters_of_soft_roce,
      no_counters,
      signs_of_ecn,
      namespaces,
      gpu_without_driver,
      gpu_without_peermem,
      gpu_with_dmabuf,
      gpu_wanted_and_none,
      acs_off,
      acs_on,
      acs_at_a_root_port_is_no_matter,
      acs_unreadable,
      acs_hostile_configuration,
      iommu,
  };
  Suite *suite = suite_create("doctor_machine");
  TCase *tcase = tcase_create("machine");
  tcase_add_checked_fixture(tcase, setup, teardown);
  tcase_set_timeout(tcase, 20);
  for (unsigned i = 0; i < sizeof(TESTS) / sizeof(TESTS[0]); i++) tcase_add_test(tcase, TESTS[i]);
  suite_add_tcase(suite, tcase);
  return suite;
}
