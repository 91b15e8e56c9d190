/* Checks whether there are RDMA devices, whether the kernel offers them to programs, and whether this process may open them. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor/internal.h"

/* Drivers of NICs that can do RDMA, and the module that offers it. */
static const struct {
  const char *nic, *rdma;
} RDMA_MODULES[] = {
    {"mlx5_core", "mlx5_ib"}, {"mlx4_core", "mlx4_ib"}, {"bnxt_en", "bnxt_re"}, {"ice", "irdma"},
    {"i40e", "irdma"},        {"idpf", "irdma"},        {"cxgb4", "iw_cxgb4"},  {"hns3", "hns_roce_hw_v2"},
    {"qede", "qedr"},         {"ionic", "ionic_rdma"},  {"mana", "mana_ib"},
};
#define VENDOR_MELLANOX 0x15b3u

static const char *rdma_module(const char *driver) {
  for (unsigned i = 0; i < ARRAY_LEN(RDMA_MODULES); i++) {
    if (strcmp(RDMA_MODULES[i].nic, driver) == 0) return RDMA_MODULES[i].rdma;
  }
  return NULL;
}

/* Each device is in one network namespace and listed there only. */
static int is_exclusive(const struct doctor *d) {
  char mode[NAME_CAP];
  return tree_line(d, mode, sizeof(mode), "/sys/module/ib_core/parameters/netns_mode") > 0 && mode[0] == 'N';
}

/* There is no device at all: a NIC without its driver, a namespace that hides it, or no NIC. */
static void explain_none(const struct doctor *d, struct doctor_finding *f) {
  if (is_exclusive(d)) {
    say(f->seen, "no RDMA device in this network namespace, and each is in one only (rdma system show)");
    say(f->todo,
        "rdma dev set NAME netns NAMESPACE, on the host; or share them all: rdma system set netns shared, before namespaces are made");
    return;
  }
  for (unsigned i = 0; i < d->n_pci; i++) {
    const struct pci *p = &d->pci[i];
    if (!pci_is_network(p)) continue;
    const char *module = rdma_module(p->driver);
    if (module != NULL && !tree_exists(d, "/sys/module/%s", module)) {
      say(f->seen, "no RDMA device, but NIC %s (driver %s) may be one: %s is not loaded", p->address, p->driver, module);
      say(f->todo, "modprobe %s (as root, on the host)", module);
      return;
    }
    if (module != NULL) {
      say(f->seen, "no RDMA device here, though %s is loaded for NIC %s", module, p->address);
      say(f->todo,
          "where this is a container, start it in the host's network namespace (docker run --network host), or give it the device: "
          "rdma dev set NAME netns NAMESPACE; else look at: dmesg | grep -i %s",
          module);
      return;
    }
    if (p->vendor == VENDOR_MELLANOX && p->driver[0] == '\0') {
      say(f->seen, "no RDMA device: NIC %s (NVIDIA/Mellanox) has no driver", p->address);
      say(f->todo, "modprobe mlx5_core mlx5_ib (mlx4_core mlx4_ib for ConnectX-3); where it was given to a virtual machine, look there");
      return;
    }
  }
  say(f->seen, "no RDMA device, and no NIC that is known to do RDMA: libagg uses TCP between hosts and shared memory within one");
  say(f->todo, "nothing, if that is meant; to try RDMA over an ordinary NIC: modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0");
}

/* A name from AGG_DEVICES or --device that is not there. */
static void explain_missing(const struct doctor *d, struct doctor_finding *f, const char *missing) {
  char names[DEVICES_MAX][NAME_CAP], ports[8][NAME_CAP];
  int n = tree_list(d, names, ARRAY_LEN(names), "/sys/class/infiniband");
  say(f->seen, "%s was asked for and is not here; here is", missing);
  for (int i = 0; i < n; i++) {
    int n_ports = tree_list(d, ports, ARRAY_LEN(ports), "/sys/class/infiniband/%s/ports", names[i]);
    say(f->seen, "%s %s", i > 0 ? "," : "", names[i]);
    for (int k = 0; n_ports > 1 && k < n_ports; k++) say(f->seen, "%s%s", k == 0 ? ":" : "/", ports[k]);
  }
  say(f->todo, "ask for one of these (AGG_DEVICES, --device)");
}

void check_devices(struct doctor *d, const char *check) {
  static const char *const KINDS[] = {"InfiniBand", "RoCE", "iWARP"};
  char missing[DOCTOR_NAME_MAX];
  int misses = scan_missing(d, missing);
  if (d->n_ports == 0 || misses) {
    struct doctor_finding *f = finding(d, check, "", DOCTOR_FAIL);
    if (d->n_present == 0) {
      explain_none(d, f);
    } else if (misses) {
      explain_missing(d, f, missing);
    } else {
      say(f->seen, "%u RDMA devices without a port", d->n_present);
      say(f->todo, "look at: dmesg | grep -i %s", d->devices[0].name);
    }
    return;
  }
  struct doctor_finding *f = finding(d, check, "", DOCTOR_PASS);
  for (unsigned i = 0; i < d->n_ports; i++) {
    const struct port *p = &d->ports[i];
    say(f->seen, "%s%s (%s%s%s)", i > 0 ? ", " : "", p->name, KINDS[p->kind], p->netdev[0] != '\0' ? " on " : "", p->netdev);
  }
  if (d->n_present == DEVICES_MAX) say(f->seen, "; only the first %d devices were looked at", DEVICES_MAX);
}

void check_modules(struct doctor *d, const char *check) {
  /* What is built in shows no module, but what it offers. */
  int verbs = tree_exists(d, "/sys/module/ib_uverbs") || tree_exists(d, "/sys/class/infiniband_verbs");
  int rdma_ucm =
      tree_exists(d, "/sys/module/rdma_ucm") || tree_exists(d, "/sys/class/misc/rdma_cm") || tree_exists(d, "/dev/infiniband/rdma_cm");
  int rdma_cm = rdma_ucm || tree_exists(d, "/sys/module/rdma_cm");
  if (verbs && rdma_ucm) {
    say(finding(d, check, "", DOCTOR_PASS)->seen, "ib_uverbs, rdma_cm and rdma_ucm are loaded or built in");
    return;
  }
  struct doctor_finding *f = finding(d, check, "", d->n_present > 0 ? DOCTOR_FAIL : DOCTOR_UNKNOWN);
  say(f->seen, "not loaded:%s%s%s", verbs ? "" : " ib_uverbs", rdma_cm ? "" : " rdma_cm", rdma_ucm ? "" : " rdma_ucm");
  if (d->n_present == 0) {
    say(f->seen, " (as usual without an RDMA device)");
  } else {
    say(f->todo, "modprobe -a%s%s (as root, on the host), and name them in /etc/modules-load.d/rdma.conf", verbs ? "" : " ib_uverbs",
        rdma_ucm ? "" : " rdma_ucm");
  }
}

/* Opens it as libibverbs and librdmacm do. 0, or -1 with a finding. */
static int check_node(struct doctor *d, const char *check, const char *device, const char *node) {
  char path[PATH_MAX], why[128];
  if (tree_path(d, path, sizeof(path), "/dev/infiniband/%s", node) != 0) return 0;
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0) {
    close(fd);
    return 0;
  }
  int error = errno;
  struct stat st;
  struct doctor_finding *f = finding(d, check, device, DOCTOR_FAIL);
  int there = stat(path, &st) == 0;
  say(f->seen, "/dev/infiniband/%s: %s", node, there ? strerror_r(error, why, sizeof(why)) : "is not there");
  if (there) {
    say(f->seen, " for uid %u (mode %04o, owner uid %u, gid %u)", (unsigned)geteuid(), (unsigned)st.st_mode & 07777u, (unsigned)st.st_uid,
        (unsigned)st.st_gid);
  }
  if (is_container(d)) {
    say(f->todo,
        "start the container with --device=/dev/infiniband --cap-add=IPC_LOCK --ulimit memlock=-1 (docker, podman), or with the RDMA "
        "device plugin (Kubernetes)");
  } else if (!there) {
    say(f->todo, "udev makes it when the module is loaded: udevadm trigger; in a container or chroot, pass /dev/infiniband in");
  } else if (error == EACCES) {
    say(f->todo, "chmod 0666 now, and for good a udev rule: KERNEL==\"%.6s*\", MODE=\"0666\" (rdma-core installs one); or join the group",
        node);
  } else if (error == EPERM) {
    say(f->todo,
        "a device cgroup forbids it: DeviceAllow=char-infiniband_verbs rw and DeviceAllow=/dev/infiniband/rdma_cm rw in the systemd unit, "
        "--device=/dev/infiniband in a container");
  } else {
    say(f->todo, "look at: dmesg | tail");
  }
  return -1;
}

/* The machine itself: libibverbs, too, must be able to. */
static int check_live(struct doctor *d, const char *check, const struct device *device) {
  char why[LINE_CAP];
  if (!tree_is_machine(d)) return 0;
  int rc = live_open(device->name, why, sizeof(why));
  if (rc == 0) return 0;
  struct doctor_finding *f = finding(d, check, device->name, DOCTOR_FAIL);
  say(f->seen, "%s", why);
  if (rc == -ENODEV) {
    say(f->todo,
        "install the user-space drivers of the NIC (Debian, Ubuntu: ibverbs-providers; Red Hat: libibverbs); in a container they must be "
        "as "
        "new as the host's kernel driver asks; ibv_devices then lists it");
  } else {
    say(f->todo, "look at: dmesg | tail");
  }
  return -1;
}

void check_permissions(struct doctor *d, const char *check) {
  int bad = 0;
  if (d->n_devices == 0) {
    not_applicable(d, check, "no RDMA device");
    return;
  }
  for (unsigned i = 0; i < d->n_devices; i++) {
    const struct device *device = &d->devices[i];
    if (device->uverbs[0] == '\0') {
      struct doctor_finding *f = finding(d, check, device->name, DOCTOR_FAIL);
      say(f->seen, "it has no uverbs device in /sys/class/infiniband_verbs");
      say(f->todo, "modprobe ib_uverbs (as root, on the host)");
      bad = 1;
    } else if (check_node(d, check, device->name, device->uverbs) != 0 || check_live(d, check, device) != 0) {
      bad = 1;
    }
  }
  if (check_node(d, check, "", "rdma_cm") != 0) bad = 1;
  if (bad) return;
  struct doctor_finding *f = finding(d, check, "", DOCTOR_PASS);
  say(f->seen, "uid %u can open rdma_cm", (unsigned)geteuid());
  for (unsigned i = 0; i < d->n_devices; i++) say(f->seen, ", %s", d->devices[i].uverbs);
  say(f->seen, " in /dev/infiniband");
}

void check_namespaces(struct doctor *d, const char *check) {
  if (d->n_present == 0 && !tree_exists(d, "/sys/module/ib_core")) {
    not_applicable(d, check, "no RDMA device");
  } else if (!tree_exists(d, "/sys/module/ib_core/parameters/netns_mode")) {
    say(finding(d, check, "", DOCTOR_UNKNOWN)->seen,
        "ib_core does not tell whether devices are shared by all network namespaces (rdma system show)");
  } else if (is_exclusive(d)) {
    say(finding(d, check, "", DOCTOR_PASS)->seen,
        "exclusive: each RDMA device is in one network namespace and is listed there only (rdma dev set NAME netns NAMESPACE moves it)");
  } else {
    say(finding(d, check, "", DOCTOR_PASS)->seen, "shared: every network namespace lists every RDMA device (rdma system show)");
  }
}
