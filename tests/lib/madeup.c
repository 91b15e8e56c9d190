/* Makes and removes the trees of made-up machines. Every failure here ends the test. */
#include "tests/lib/madeup.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_CAP 512

void madeup_open(struct madeup *m) {
  *m = (struct madeup){0};
  snprintf(m->root, sizeof(m->root), "/tmp/agg-madeup-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(m->root));
  ck_assert_int_eq(chmod(m->root, 0755), 0);
  m->options.root = m->root;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk) {
  (void)st;
  (void)kind;
  (void)walk;
  return remove(path);
}

static void path_of(const struct madeup *m, const char *path, char buf[PATH_CAP]) {
  ck_assert_int_eq(path[0], '/');
  ck_assert_int_lt(snprintf(buf, PATH_CAP, "%s%s", m->root, path), PATH_CAP);
}

void madeup_remove(const struct madeup *m, const char *path) {
  char full[PATH_CAP];
  path_of(m, path, full);
  ck_assert_int_eq(nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void madeup_close(struct madeup *m) {
  doctor_report_free(&m->report);
  nftw(m->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Makes the folders above the last part. */
static void make_folders(char *full) {
  for (char *slash = strchr(full + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    ck_assert_msg(mkdir(full, 0755) == 0 || errno == EEXIST, "mkdir %s: %s", full, strerror(errno));
    *slash = '/';
  }
}

void madeup_bytes(const struct madeup *m, const char *path, const void *bytes, size_t n) {
  char full[PATH_CAP];
  path_of(m, path, full);
  make_folders(full);
  int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  ck_assert_msg(fd >= 0, "%s: %s", full, strerror(errno));
  ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
  close(fd);
}

void madeup_file(const struct madeup *m, const char *path, const char *text) {
  char line[8192];
  int n = snprintf(line, sizeof(line), "%s\n", text);
  ck_assert_int_lt(n, (int)sizeof(line));
  madeup_bytes(m, path, line, (size_t)n);
}

void madeup_folder(const struct madeup *m, const char *path) {
  char full[PATH_CAP], *end;
  path_of(m, path, full);
  end = full + strlen(full);
  end[0] = '/';
  end[1] = '\0';
  make_folders(full);
}

void madeup_link(const struct madeup *m, const char *path, const char *target) {
  char full[PATH_CAP];
  path_of(m, path, full);
  make_folders(full);
  ck_assert_int_eq(symlink(target, full), 0);
}

/* A file of a path that is put together. */
#define FILE_AT(m, text, ...)                \
  do {                                       \
    char at_[PATH_CAP];                      \
    snprintf(at_, sizeof(at_), __VA_ARGS__); \
    madeup_file((m), at_, (text));           \
  } while (0)

void madeup_base(const struct madeup *m) {
  madeup_file(m, "/proc/sys/kernel/osrelease", "6.1.0-56-amd64");
  madeup_file(m, "/proc/self/limits",
              "Limit                     Soft Limit           Hard Limit           Units     \n"
              "Max open files            1024                 1048576              files     \n"
              "Max locked memory         unlimited            unlimited            bytes     ");
  madeup_file(m, "/proc/self/status", "Name:\tagg-doctor\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-7");
  madeup_file(m, "/proc/self/uid_map", "         0          0 4294967295");
  madeup_file(m, "/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 iommu=pt");
  madeup_file(m, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
  madeup_file(m, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0");
  madeup_file(m, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0");
  madeup_file(m, "/sys/devices/system/node/online", "0");
  madeup_file(m, "/sys/devices/system/node/node0/cpulist", "0-7");
  madeup_file(m, "/sys/devices/system/node/node0/distance", "10");
}

void madeup_pci(const struct madeup *m, const char *address, const char *vendor, const char *class_code, const char *driver) {
  char path[PATH_CAP], target[PATH_CAP];
  FILE_AT(m, vendor, "/sys/bus/pci/devices/%s/vendor", address);
  FILE_AT(m, class_code, "/sys/bus/pci/devices/%s/class", address);
  if (driver == NULL) return;
  snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", address);
  snprintf(target, sizeof(target), "../../../bus/pci/drivers/%s", driver);
  madeup_link(m, path, target);
}

void madeup_gid(const struct madeup *m, const char *device, unsigned index, const char *gid, const char *type, const char *netdev) {
  FILE_AT(m, gid, "/sys/class/infiniband/%s/ports/1/gids/%u", device, index);
  if (type != NULL) FILE_AT(m, type, "/sys/class/infiniband/%s/ports/1/gid_attrs/types/%u", device, index);
  if (netdev != NULL) FILE_AT(m, netdev, "/sys/class/infiniband/%s/ports/1/gid_attrs/ndevs/%u", device, index);
}

/* The number of uverbs devices so far. */
static unsigned next_uverbs(const struct madeup *m) {
  char path[PATH_CAP];
  for (unsigned i = 0;; i++) {
    snprintf(path, sizeof(path), "%s/sys/class/infiniband_verbs/uverbs%u", m->root, i);
    if (access(path, F_OK) != 0) return i;
  }
}

void madeup_device(const struct madeup *m, const char *name, const char *layer, const char *netdev, const char *pci) {
  char path[PATH_CAP], target[PATH_CAP];
  unsigned uverbs = next_uverbs(m);
  FILE_AT(m, name, "/sys/class/infiniband_verbs/uverbs%u/ibdev", uverbs);
  FILE_AT(m, "", "/dev/infiniband/uverbs%u", uverbs);
  madeup_file(m, "/dev/infiniband/rdma_cm", "");
  madeup_file(m, "/sys/class/misc/rdma_cm/dev", "10:58");
  madeup_file(m, "/sys/module/ib_core/parameters/netns_mode", "Y");
  FILE_AT(m, "1: CA", "/sys/class/infiniband/%s/node_type", name);
  FILE_AT(m, layer, "/sys/class/infiniband/%s/ports/1/link_layer", name);
  FILE_AT(m, "4: ACTIVE", "/sys/class/infiniband/%s/ports/1/state", name);
  FILE_AT(m, "5: LinkUp", "/sys/class/infiniband/%s/ports/1/phys_state", name);
  FILE_AT(m, "100 Gb/sec (2X HDR)", "/sys/class/infiniband/%s/ports/1/rate", name);
  FILE_AT(m, "0", "/sys/class/infiniband/%s/ports/1/counters/symbol_error", name);
  FILE_AT(m, "0", "/sys/class/infiniband/%s/ports/1/hw_counters/out_of_sequence", name);
  if (pci != NULL) {
    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/device", name);
    snprintf(target, sizeof(target), "../../../bus/pci/devices/%s", pci);
    madeup_pci(m, pci, "0x15b3", "0x020000", "mlx5_core");
    madeup_link(m, path, target);
    FILE_AT(m, "identity", "/sys/bus/pci/devices/%s/iommu_group/type", pci);
  }
  if (netdev != NULL) {
    FILE_AT(m, "9000", "/sys/class/net/%s/mtu", netdev);
    FILE_AT(m, "0x1003", "/sys/class/net/%s/flags", netdev);
    if (pci != NULL) FILE_AT(m, "9000", "/sys/bus/pci/devices/%s/net/%s/mtu", pci, netdev);
  }
}

void madeup_roce_server(const struct madeup *m) {
  static const char *const ADDRESSES[] = {"0000:0000:0000:0000:0000:ffff:0a00:0001", "0000:0000:0000:0000:0000:ffff:0a00:0002"};
  madeup_base(m);
  madeup_file(m, "/sys/devices/system/node/node0/cpulist", "0-3");
  madeup_file(m, "/sys/devices/system/node/node0/distance", "10 21");
  madeup_file(m, "/sys/devices/system/node/node1/cpulist", "4-7");
  madeup_file(m, "/sys/devices/system/node/node1/distance", "21 10");
  madeup_folder(m, "/sys/kernel/iommu_groups/0");
  for (unsigned i = 0; i < 8; i++) FILE_AT(m, "performance", "/sys/devices/system/cpu/cpu%u/cpufreq/scaling_governor", i);
  for (unsigned i = 0; i < 2; i++) {
    char name[16], netdev[16], node[16];
    const char *pci = i == 0 ? "0000:3b:00.0" : "0000:af:00.0";
    snprintf(name, sizeof(name), "mlx5_%u", i);
    snprintf(netdev, sizeof(netdev), "eth%u", i);
    snprintf(node, sizeof(node), "%u", i);
    madeup_device(m, name, "Ethernet", netdev, pci);
    FILE_AT(m, node, "/sys/bus/pci/devices/%s/numa_node", pci);
    madeup_gid(m, name, 0, "fe80:0000:0000:0000:0ac0:ebff:fe12:3456", "IB/RoCE v1", netdev);
    madeup_gid(m, name, 1, "fe80:0000:0000:0000:0ac0:ebff:fe12:3456", "RoCE v2", netdev);
    madeup_gid(m, name, 2, ADDRESSES[i], "IB/RoCE v1", netdev);
    madeup_gid(m, name, 3, ADDRESSES[i], "RoCE v2", netdev);
    madeup_gid(m, name, 4, "0000:0000:0000:0000:0000:0000:0000:0000", NULL, NULL);
  }
}

const struct doctor_finding *madeup_check(struct madeup *m, const char *check, unsigned n) {
  agg_error_t err = {0};
  doctor_report_free(&m->report);
  ck_assert_msg(doctor_run(&m->options, &m->report, &err) == AGG_OK, "doctor_run: %s", err.text);
  for (unsigned i = 0; i < m->report.n; i++) {
    if (strcmp(m->report.findings[i].check, check) == 0 && n-- == 0) return &m->report.findings[i];
  }
  return NULL;
}

void madeup_expect(struct madeup *m, const char *check, unsigned n, enum doctor_verdict verdict, const char *seen, const char *todo) {
  const struct doctor_finding *f = madeup_check(m, check, n);
  ck_assert_msg(f != NULL, "%s: no finding %u", check, n);
  ck_assert_msg(f->verdict == verdict, "%s: %s, not %s: %s", check, doctor_verdict_name(f->verdict), doctor_verdict_name(verdict), f->seen);
  ck_assert_msg(seen == NULL || strstr(f->seen, seen) != NULL, "%s: \"%s\" does not say \"%s\"", check, f->seen, seen);
  if (todo != NULL && todo[0] == '\0') {
    ck_assert_msg(f->todo[0] == '\0', "%s: nothing was to be done, not \"%s\"", check, f->todo);
  } else if (todo != NULL) {
    ck_assert_msg(strstr(f->todo, todo) != NULL, "%s: \"%s\" does not say \"%s\"", check, f->todo, todo);
  }
}
