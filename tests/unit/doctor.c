/* What agg-doctor says about RDMA devices, ports and limits, on made-up machines: well, ill in each of the ways that happen, and hostile.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/madeup.h"

Suite *make_suite(void);

#define MLX "/sys/class/infiniband/mlx5_0"
#define LIMITS(soft, hard) "Max locked memory         " soft "              " hard "              bytes     "

static struct madeup m;
static char why[2048];

static void setup(void) { madeup_open(&m); }
static void teardown(void) { madeup_close(&m); }

static void expect_why(const char *says) {
  doctor_why(&m.options, why, sizeof(why));
  ck_assert_msg(strstr(why, says) != NULL, "\"%s\" does not say \"%s\"", why, says);
  ck_assert_msg(strchr(why, '\n') == NULL, "%s: more than one line", why);
}

START_TEST(healthy_server) {
  madeup_roce_server(&m);
  madeup_expect(&m, "devices", 0, DOCTOR_PASS, "mlx5_0:1 (RoCE on eth0), mlx5_1:1 (RoCE on eth1)", "");
  madeup_expect(&m, "modules", 0, DOCTOR_PASS, NULL, "");
  madeup_expect(&m, "permissions", 0, DOCTOR_PASS, "rdma_cm, uverbs0, uverbs1", "");
  madeup_expect(&m, "port", 1, DOCTOR_PASS, "4: ACTIVE, physically 5: LinkUp, 100 Gb/sec (2X HDR)", "");
  madeup_expect(&m, "gid", 0, DOCTOR_PASS, "3: RoCE v2 10.0.0.1 eth0", "");
  madeup_expect(&m, "gid", 1, DOCTOR_PASS, "0: IB/RoCE v1 fe80::ac0:ebff:fe12:3456 eth1; 1:", "");
  madeup_expect(&m, "mtu", 0, DOCTOR_PASS, "eth0 has MTU 9000, which gives RDMA packets of 4096 bytes", "");
  madeup_expect(&m, "memlock", 0, DOCTOR_PASS, "unlimited", "");
  ck_assert_uint_eq(doctor_count(&m.report, DOCTOR_FAIL), 0);
  ck_assert_uint_eq(doctor_count(&m.report, DOCTOR_WARN), 0);
  expect_why("look right here");
}
END_TEST

START_TEST(every_check_has_a_finding_in_order) {
  for (int whole = 0; whole < 2; whole++) {
    if (whole) madeup_roce_server(&m);
    ck_assert_ptr_null(madeup_check(&m, "no such check", 0));
    unsigned at = 0;
    for (unsigned i = 0; doctor_check_name(i) != NULL; i++) {
      ck_assert_msg(at < m.report.n && strcmp(m.report.findings[at].check, doctor_check_name(i)) == 0, "no finding of %s",
                    doctor_check_name(i));
      while (at < m.report.n && strcmp(m.report.findings[at].check, doctor_check_name(i)) == 0) at++;
    }
    ck_assert_uint_eq(at, m.report.n);
  }
}
END_TEST

START_TEST(empty_machine) {
  madeup_expect(&m, "devices", 0, DOCTOR_FAIL, "no NIC that is known to do RDMA", "rdma link add");
  madeup_expect(&m, "memlock", 0, DOCTOR_UNKNOWN, NULL, "");
  ck_assert_uint_eq(doctor_count(&m.report, DOCTOR_FAIL), 1);
  ck_assert_uint_eq(doctor_count(&m.report, DOCTOR_WARN), 0);
  madeup_expect(&m, "port", 0, DOCTOR_UNKNOWN, "does not apply: no RDMA device", "");
  expect_why("no RDMA device, and no NIC");
}
END_TEST

START_TEST(nic_without_rdma_driver) {
  madeup_base(&m);
  madeup_pci(&m, "0000:3b:00.0", "0x15b3", "0x020000", "mlx5_core");
  madeup_expect(&m, "devices", 0, DOCTOR_FAIL, "NIC 0000:3b:00.0 (driver mlx5_core)", "modprobe mlx5_ib");
  expect_why("modprobe mlx5_ib");
  madeup_folder(&m, "/sys/module/mlx5_ib");
  madeup_expect(&m, "devices", 0, DOCTOR_FAIL, "though mlx5_ib is loaded", "--network host");
}
END_TEST

START_TEST(devices_of_other_namespaces) {
  madeup_base(&m);
  madeup_pci(&m, "0000:3b:00.0", "0x15b3", "0x020000", "mlx5_core");
  madeup_file(&m, "/sys/module/ib_core/parameters/netns_mode", "N");
  madeup_expect(&m, "devices", 0, DOCTOR_FAIL, "no RDMA device in this network namespace", "rdma dev set NAME netns");
}
END_TEST

START_TEST(nic_without_any_driver) {
  madeup_base(&m);
  madeup_pci(&m, "0000:3b:00.0", "0x15b3", "0x020700", NULL);
  madeup_expect(&m, "devices", 0, DOCTOR_FAIL, "has no driver", "modprobe mlx5_core mlx5_ib");
}
END_TEST

START_TEST(device_asked_for) {
  madeup_roce_server(&m);
  m.options.devices = "mlx5_1";
  madeup_expect(&m, "devices", 0, DOCTOR_PASS, "mlx5_1:1", "");
  ck_assert_ptr_null(madeup_check(&m, "port", 1));
  m.options.devices = "mlx5_1,mlx5_9:1";
  madeup_expect(&m, "devices", 0, DOCTOR_FAIL, "mlx5_9:1 was asked for and is not here; here is mlx5_0, mlx5_1", "AGG_DEVICES");
  m.options.devices = "mlx5_0:2,mlx5_1";
  madeup_expect(&m, "devices", 0, DOCTOR_FAIL, "mlx5_0:2 was asked for", NULL);
}
END_TEST

START_TEST(device_lists_that_are_none) {
  static const char *const BAD[] = {",", "mlx5_0,", ",mlx5_0", "mlx5_0:", "mlx5_0:0", "mlx5_0:x", "mlx5_0:256", ":1", "../../etc", "a,,b"};
  for (unsigned i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    struct doctor_report report = {0};
    agg_error_t err = {0};
    m.options.devices = BAD[i];
    ck_assert_msg(doctor_run(&m.options, &report, &err) == AGG_EINVAL, "%s was taken", BAD[i]);
    ck_assert_msg(strstr(err.text, BAD[i]) != NULL, "%s: %s", BAD[i], err.text);
    ck_assert_ptr_null(report.findings);
    expect_why(BAD[i]);
  }
}
END_TEST

START_TEST(root_that_is_none) {
  struct doctor_report report = {0};
  agg_error_t err = {0};
  m.options.root = "/dev/null";
  ck_assert_int_eq(doctor_run(&m.options, &report, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "root /dev/null: expected a directory");
  m.options.root = "/nonexistent";
  expect_why("root /nonexistent");
}
END_TEST

START_TEST(modules_missing) {
  madeup_roce_server(&m);
  madeup_remove(&m, "/sys/class/misc/rdma_cm");
  madeup_remove(&m, "/dev/infiniband/rdma_cm");
  madeup_expect(&m, "modules", 0, DOCTOR_FAIL, "not loaded: rdma_cm rdma_ucm", "modprobe -a rdma_ucm");
  madeup_folder(&m, "/sys/module/rdma_ucm");
  madeup_expect(&m, "modules", 0, DOCTOR_PASS, NULL, "");
  madeup_remove(&m, "/sys/class/infiniband_verbs");
  madeup_expect(&m, "modules", 0, DOCTOR_FAIL, "not loaded: ib_uverbs", "modprobe -a ib_uverbs");
  madeup_expect(&m, "permissions", 0, DOCTOR_FAIL, "no uverbs device", "modprobe ib_uverbs");
}
END_TEST

START_TEST(container_without_device_files) {
  madeup_roce_server(&m);
  madeup_remove(&m, "/dev/infiniband");
  madeup_expect(&m, "permissions", 0, DOCTOR_FAIL, "/dev/infiniband/uverbs0: is not there", "pass /dev/infiniband in");
  madeup_file(&m, "/.dockerenv", "");
  madeup_expect(&m, "permissions", 0, DOCTOR_FAIL, NULL, "--device=/dev/infiniband");
  madeup_expect(&m, "permissions", 2, DOCTOR_FAIL, "rdma_cm", "--ulimit memlock=-1");
  expect_why("mlx5_0: /dev/infiniband/uverbs0: is not there");
}
END_TEST

START_TEST(no_permission) {
  char path[256];
  madeup_roce_server(&m);
  snprintf(path, sizeof(path), "%s/dev/infiniband/uverbs0", m.root);
  ck_assert_int_eq(chmod(path, 0), 0);
  if (geteuid() == 0) ck_assert_int_eq(seteuid(65534), 0);
  madeup_expect(&m, "permissions", 0, DOCTOR_FAIL, "Permission denied for uid", "udev rule: KERNEL==\"uverbs*\"");
  ck_assert_ptr_nonnull(strstr(madeup_check(&m, "permissions", 0)->seen, "(mode 0000, owner uid "));
  if (getuid() == 0) ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(port_down) {
  madeup_roce_server(&m);
  madeup_file(&m, MLX "/ports/1/state", "1: DOWN");
  madeup_file(&m, MLX "/ports/1/phys_state", "3: Disabled");
  madeup_file(&m, "/sys/class/net/eth0/flags", "0x1002");
  madeup_expect(&m, "port", 0, DOCTOR_WARN, "other ports are active", "ip link set eth0 up");
  m.options.devices = "mlx5_0";
  madeup_expect(&m, "port", 0, DOCTOR_FAIL, "1: DOWN, physically 3: Disabled, 100 Gb/sec (2X HDR); eth0 is set down",
                "ip link set eth0 up");
  expect_why("mlx5_0:1: 1: DOWN");
  madeup_file(&m, "/sys/class/net/eth0/flags", "0x1003");
  madeup_expect(&m, "port", 0, DOCTOR_FAIL, "eth0 is set up", "cable");
}
END_TEST

/* A server with one InfiniBand port, mlx5_0. */
static void infiniband(void) {
  madeup_base(&m);
  madeup_device(&m, "mlx5_0", "InfiniBand", "ib0", "0000:3b:00.0");
  madeup_gid(&m, "mlx5_0", 0, "fe80:0000:0000:0000:0ac0:eb03:0012:3456", NULL, NULL);
  madeup_file(&m, "/proc/net/route", "Iface\tDestination\tGateway\nib0\t0000000A\t00000000\t0001");
}

START_TEST(infiniband_well) {
  infiniband();
  madeup_expect(&m, "devices", 0, DOCTOR_PASS, "mlx5_0:1 (InfiniBand on ib0)", "");
  madeup_expect(&m, "gid", 0, DOCTOR_PASS, "0: fe80::ac0:eb03:12:3456; ib0 has an IP address", "");
  madeup_expect(&m, "mtu", 0, DOCTOR_UNKNOWN, "active MTU", "");
}
END_TEST

START_TEST(infiniband_without_subnet_manager) {
  infiniband();
  madeup_file(&m, MLX "/ports/1/state", "2: INIT");
  madeup_expect(&m, "port", 0, DOCTOR_FAIL, "2: INIT, physically 5: LinkUp", "opensm");
  expect_why("no subnet manager has set the port active");
  madeup_file(&m, MLX "/ports/1/state", "1: DOWN");
  madeup_file(&m, MLX "/ports/1/phys_state", "2: Polling");
  madeup_expect(&m, "port", 0, DOCTOR_FAIL, "2: Polling", "cable");
  madeup_file(&m, MLX "/ports/1/phys_state", "3: Disabled");
  madeup_expect(&m, "port", 0, DOCTOR_FAIL, NULL, "ibportstate -D 0 1 enable");
}
END_TEST

START_TEST(infiniband_without_ip) {
  infiniband();
  madeup_file(&m, "/proc/net/route", "Iface\tDestination\tGateway\nib01\t0000000A\t00000000\t0001");
  madeup_expect(&m, "gid", 0, DOCTOR_FAIL, "ib0 has no IP address", "ip addr add 192.0.2.1/24 dev ib0");
  madeup_file(&m, "/proc/net/if_inet6", "fe800000000000000ac0eb0300123456 02 40 20 80 ib0");
  madeup_expect(&m, "gid", 0, DOCTOR_FAIL, "ib0 has no IP address", NULL);
  madeup_file(&m, "/proc/net/if_inet6", "20010db8000000000ac0eb0300123456 02 40 00 80 ib0");
  madeup_expect(&m, "gid", 0, DOCTOR_PASS, "ib0 has an IP address", "");
  madeup_remove(&m, "/sys/bus/pci/devices/0000:3b:00.0/net");
  madeup_expect(&m, "gid", 0, DOCTOR_FAIL, "no network device", "modprobe ib_ipoib");
}
END_TEST

START_TEST(iwarp) {
  madeup_base(&m);
  madeup_device(&m, "irdma0", "Ethernet", "eth0", "0000:3b:00.0");
  madeup_file(&m, "/sys/class/infiniband/irdma0/node_type", "4: RNIC");
  madeup_file(&m, "/proc/net/route", "Iface\tDestination\tGateway\neth0\t0000000A\t00000000\t0001");
  madeup_file(&m, "/sys/class/net/eth0/mtu", "1500");
  madeup_expect(&m, "devices", 0, DOCTOR_PASS, "irdma0:1 (iWARP on eth0)", "");
  madeup_expect(&m, "gid", 0, DOCTOR_PASS, "eth0 has an IP address", "");
  madeup_expect(&m, "mtu", 0, DOCTOR_WARN, "eth0 has MTU 1500", "mtu 9000");
  madeup_expect(&m, "flow-control", 0, DOCTOR_UNKNOWN, "iWARP has TCP", "");
}
END_TEST

START_TEST(only_link_local_gids) {
  madeup_base(&m);
  madeup_device(&m, "mlx5_0", "Ethernet", "eth0", NULL);
  madeup_gid(&m, "mlx5_0", 0, "fe80:0000:0000:0000:0ac0:ebff:fe12:3456", "IB/RoCE v1", "eth0");
  madeup_expect(&m, "gid", 0, DOCTOR_FAIL, "no RoCE v2, only v1: 0: IB/RoCE v1 fe80::", "RoCE v2 for eth0");
  madeup_gid(&m, "mlx5_0", 1, "fe80:0000:0000:0000:0ac0:ebff:fe12:3456", "RoCE v2", "eth0");
  madeup_expect(&m, "gid", 0, DOCTOR_FAIL, "only with link-local addresses", "give eth0 an IP address");
  expect_why("mlx5_0:1: RoCE v2, but only with link-local");
  madeup_gid(&m, "mlx5_0", 2, "2001:0db8:0000:0000:0000:0000:0000:0001", "RoCE v2", "eth0");
  madeup_expect(&m, "gid", 0, DOCTOR_PASS, "2: RoCE v2 2001:db8::1 eth0", "");
}
END_TEST

START_TEST(no_gid) {
  madeup_base(&m);
  madeup_device(&m, "mlx5_0", "Ethernet", NULL, NULL);
  madeup_gid(&m, "mlx5_0", 0, "0000:0000:0000:0000:0000:0000:0000:0000", NULL, NULL);
  madeup_expect(&m, "gid", 0, DOCTOR_FAIL, "the port has no GID", "its network device");
  madeup_expect(&m, "mtu", 0, DOCTOR_UNKNOWN, "cannot be read", "");
  madeup_file(&m, MLX "/ports/1/state", "1: DOWN");
  madeup_expect(&m, "gid", 0, DOCTOR_UNKNOWN, "not active", "");
}
END_TEST

START_TEST(many_gids) {
  char gid[64];
  madeup_base(&m);
  madeup_device(&m, "mlx5_0", "Ethernet", "eth0", NULL);
  for (unsigned i = 0; i < 200; i++) {
    snprintf(gid, sizeof(gid), "2001:0db8:0000:0000:0000:0000:0000:%04x", i + 1);
    madeup_gid(&m, "mlx5_0", i + i / 20 * 3, gid, "RoCE v2", "eth0"); /* with holes */
  }
  madeup_expect(&m, "gid", 0, DOCTOR_PASS, "2001:db8::2 eth0; ", "");
  ck_assert_ptr_nonnull(strstr(madeup_check(&m, "gid", 0)->seen, " more"));
}
END_TEST

START_TEST(mtu) {
  static const struct {
    const char *mtu;
    enum doctor_verdict verdict;
    const char *seen;
  } ROWS[] = {{"9000", DOCTOR_PASS, "of 4096 bytes"},  {"4200", DOCTOR_PASS, "of 4096 bytes"}, {"4199", DOCTOR_WARN, "of 4096 bytes"},
              {"4191", DOCTOR_WARN, "of 2048 bytes"},  {"1500", DOCTOR_WARN, "of 1024 bytes"}, {"1119", DOCTOR_WARN, "of 512 bytes"},
              {"x", DOCTOR_UNKNOWN, "cannot be read"}, {"", DOCTOR_UNKNOWN, "cannot be read"}, {"-5", DOCTOR_WARN, "MTU -5"}};
  madeup_roce_server(&m);
  for (unsigned i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
    madeup_file(&m, "/sys/class/net/eth0/mtu", ROWS[i].mtu);
    madeup_expect(&m, "mtu", 0, ROWS[i].verdict, ROWS[i].seen, ROWS[i].verdict == DOCTOR_WARN ? "ip link set eth0 mtu 9000" : "");
  }
}
END_TEST

START_TEST(memlock) {
  madeup_roce_server(&m);
  madeup_file(&m, "/proc/self/limits", LIMITS("8388608", "8388608"));
  madeup_expect(&m, "memlock", 0, DOCTOR_FAIL, "8 MiB may be locked by this process, where libagg needs 64 MiB", "LimitMEMLOCK=infinity");
  expect_why("8 MiB may be locked");
  madeup_file(&m, "/proc/self/limits", LIMITS("65536", "unlimited"));
  madeup_expect(&m, "memlock", 0, DOCTOR_FAIL, "64 KiB", "ulimit -l unlimited in this shell");
  madeup_file(&m, "/proc/self/limits", LIMITS("4294967296", "4294967296"));
  madeup_expect(&m, "memlock", 0, DOCTOR_WARN, "4 GiB", "/etc/security/limits.d");
  m.options.memlock_need = 8ull << 30;
  madeup_expect(&m, "memlock", 0, DOCTOR_FAIL, "needs 8 GiB", NULL);
  madeup_file(&m, "/proc/self/limits", LIMITS("18446744073709551616", "8388608"));
  madeup_expect(&m, "memlock", 0, DOCTOR_UNKNOWN, "no number", "");
}
END_TEST

START_TEST(memlock_and_capability) {
  madeup_roce_server(&m);
  madeup_file(&m, "/proc/self/limits", LIMITS("8388608", "8388608"));
  madeup_file(&m, "/proc/self/status", "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-7");
  madeup_expect(&m, "memlock", 0, DOCTOR_PASS, "CAP_IPC_LOCK", "");
  madeup_file(&m, "/proc/self/uid_map", "         0     100000      65536"); /* it counts in the first user namespace only */
  madeup_expect(&m, "memlock", 0, DOCTOR_FAIL, "8 MiB", NULL);
  madeup_file(&m, "/proc/self/uid_map", "         0          0 4294967295");
  madeup_file(&m, "/proc/self/status", "CapEff:\t000001ffffffbfff\nCpus_allowed_list:\t0-7");
  madeup_expect(&m, "memlock", 0, DOCTOR_FAIL, "8 MiB", NULL);
}
END_TEST

START_TEST(hostile_files) {
  static char big[1 << 20];
  madeup_roce_server(&m);
  memset(big, 'A', sizeof(big));
  madeup_bytes(&m, MLX "/ports/1/rate", big, sizeof(big));
  madeup_bytes(&m, "/proc/self/limits", big, sizeof(big));
  madeup_bytes(&m, "/proc/self/status", big, sizeof(big));
  madeup_bytes(&m, MLX "/ports/1/state", "4: \033[2JAC\tTIVE\001\377\"", 17);
  madeup_remove(&m, MLX "/ports/1/phys_state");
  char path[256];
  snprintf(path, sizeof(path), "%s" MLX "/ports/1/phys_state", m.root);
  ck_assert_int_eq(mkfifo(path, 0644), 0); /* a pipe that nobody writes to must not block */
  madeup_remove(&m, "/sys/class/net/eth0/mtu");
  madeup_folder(&m, "/sys/class/net/eth0/mtu");
  madeup_expect(&m, "port", 0, DOCTOR_PASS, "4: ?[2JAC TIVE??\"", "");
  madeup_expect(&m, "mtu", 0, DOCTOR_UNKNOWN, "cannot be read", "");
  madeup_expect(&m, "memlock", 0, DOCTOR_UNKNOWN, NULL, "");
  for (unsigned i = 0; i < m.report.n; i++) {
    for (const char *p = m.report.findings[i].seen; *p != '\0'; p++) ck_assert_msg(*p >= ' ' && *p <= '~', "byte %d", *p);
  }
}
END_TEST

START_TEST(many_devices) {
  char name[32];
  madeup_base(&m);
  for (unsigned i = 0; i < 80; i++) {
    snprintf(name, sizeof(name), "mlx5_%u", i);
    madeup_device(&m, name, "Ethernet", "eth0", NULL);
  }
  ck_assert_ptr_nonnull(madeup_check(&m, "port", 63));
  ck_assert_ptr_null(madeup_check(&m, "port", 64));
}
END_TEST

START_TEST(the_machine_itself) {
  struct doctor_report report;
  agg_error_t err = {0};
  ck_assert_int_eq(doctor_run(NULL, &report, &err), AGG_OK);
  ck_assert_uint_ge(report.n, 16);
  doctor_report_free(&report);
  ck_assert_ptr_null(report.findings);
  ck_assert_ptr_eq(doctor_why_no_rdma(why, sizeof(why)), why);
  ck_assert_uint_gt(strlen(why), 20);
  char small[8];
  ck_assert_uint_eq(strlen(doctor_why_no_rdma(small, sizeof(small))), sizeof(small) - 1);
}
END_TEST

Suite *make_suite(void) {
  const TTest *const TESTS[] = {
      healthy_server,
      every_check_has_a_finding_in_order,
      empty_machine,
      nic_without_rdma_driver,
      devices_of_other_namespaces,
      nic_without_any_driver,
      device_asked_for,
      device_lists_that_are_none,
      modules_missing,
      root_that_is_none,
      container_without_device_files,
      no_permission,
      port_down,
      infiniband_well,
      infiniband_without_subnet_manager,
      infiniband_without_ip,
      iwarp,
      only_link_local_gids,
      no_gid,
      many_gids,
      mtu,
      memlock,
      memlock_and_capability,
      hostile_files,
      many_devices,
      the_machine_itself,
  };
  Suite *suite = suite_create("doctor");
  TCase *tcase = tcase_create("rdma");
  tcase_add_checked_fixture(tcase, setup, teardown);
  tcase_set_timeout(tcase, 20);
  for (unsigned i = 0; i < sizeof(TESTS) / sizeof(TESTS[0]); i++) tcase_add_test(tcase, TESTS[i]);
  suite_add_tcase(suite, tcase);
  return suite;
}
