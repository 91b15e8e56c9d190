/* Checks what GPUDirect needs (driver, peer memory or dma-buf) and what slows transfers between NIC and GPU down (ACS, IOMMU). */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor/internal.h"

static unsigned count_gpus(const struct doctor *d) {
  unsigned n = 0;
  for (unsigned i = 0; i < d->n_pci; i++) n += (unsigned)pci_is_gpu(&d->pci[i]);
  return n;
}

static unsigned count_pci_nics(const struct doctor *d) {
  unsigned n = 0;
  for (unsigned i = 0; i < d->n_devices; i++) n += d->devices[i].pci[0] != '\0';
  return n;
}

/* ---- peer memory and dma-buf */

struct nvidia {
  int open_flavour, peermem;
  unsigned major, minor; /* of the kernel */
  char version[LINE_CAP];
};

static int kernel_has_dmabuf(const struct nvidia *nv) { return nv->major > 5 || (nv->major == 5 && nv->minor >= 12); }

static void read_nvidia(const struct doctor *d, struct nvidia *nv) {
  char release[NAME_CAP], text[2048];
  *nv = (struct nvidia){0};
  if (tree_line(d, release, sizeof(release), "/proc/sys/kernel/osrelease") > 0) (void)sscanf(release, "%u.%u", &nv->major, &nv->minor);
  if (tree_bytes(d, text, sizeof(text), "/proc/driver/nvidia/version") > 0)
    text_field(text, "NVRM version:", nv->version, sizeof(nv->version));
  nv->open_flavour = strstr(nv->version, "Open Kernel Module") != NULL;
  nv->peermem = tree_exists(d, "/sys/module/nvidia_peermem") || tree_exists(d, "/sys/module/nv_peer_mem");
}

void check_gpudirect(struct doctor *d, const char *check) {
  struct nvidia nv;
  unsigned gpus = count_gpus(d);
  enum doctor_verdict bad = d->options->gpu ? DOCTOR_FAIL : DOCTOR_WARN;
  read_nvidia(d, &nv);
  if (gpus == 0 && nv.version[0] == '\0') {
    if (!d->options->gpu) {
      not_applicable(d, check, "no NVIDIA GPU");
      return;
    }
    struct doctor_finding *f = finding(d, check, "", DOCTOR_FAIL);
    say(f->seen, "no NVIDIA GPU is seen on PCI");
    say(f->todo, "lspci -d 10de: must list it; give it to the virtual machine");
    return;
  }
  if (nv.version[0] == '\0') {
    struct doctor_finding *f = finding(d, check, "", bad);
    say(f->seen, "%u NVIDIA GPUs, but the driver is not loaded", gpus);
    say(f->todo, "modprobe nvidia (as root, on the host); nvidia-smi tells what is missing");
    return;
  }
  int dmabuf = nv.open_flavour && kernel_has_dmabuf(&nv);
  struct doctor_finding *f = finding(d, check, "", nv.peermem || dmabuf ? DOCTOR_PASS : bad);
  say(f->seen, "%u GPUs, driver %s; dma-buf: %s (%s kernel modules, Linux %u.%u); nvidia_peermem: %s", gpus, nv.version,
      dmabuf ? "can be used" : "no", nv.open_flavour ? "open" : "closed", nv.major, nv.minor, nv.peermem ? "loaded" : "not loaded");
  if (f->verdict == DOCTOR_PASS) return;
  say(f->seen, ". RDMA to and from GPU memory goes through host memory");
  say(f->todo, "modprobe nvidia_peermem (comes with the driver; after the RDMA driver is loaded), or install the open kernel modules%s",
      kernel_has_dmabuf(&nv) ? "" : " on Linux 5.12 or later");
}

/* ---- ACS */

enum { PCI_HEADER = 64, PCI_CONFIG = 4096, CAP_PCIE = 0x10, EXT_CAP_ACS = 0x0d, TYPE_DOWNSTREAM = 6 };
enum { ACS_REQUEST_REDIRECT = 0x04, ACS_COMPLETION_REDIRECT = 0x08, ACS_EGRESS_CONTROL = 0x20 };

static unsigned word_at(const unsigned char *config, unsigned at) { return config[at] | (unsigned)config[at + 1] << 8; }

/* The kind of PCI Express port; -1 where it has no such capability. The walk is bounded, whatever the bytes say. */
static int express_type(const unsigned char *config) {
  unsigned at = config[0x34] & 0xfcu;
  for (unsigned i = 0; i < 48 && at >= PCI_HEADER && at < 0xfcu; i++, at = config[at + 1] & 0xfcu) {
    if (config[at] == CAP_PCIE) return (int)(word_at(config, at + 2) >> 4 & 0xfu);
  }
  return -1;
}

/* The ACS control register; 0 where there is none. */
static unsigned acs_control(const unsigned char *config) {
  unsigned at = 0x100;
  for (unsigned i = 0; i < 256 && at >= 0x100 && at <= PCI_CONFIG - 8; i++) {
    if (word_at(config, at) == EXT_CAP_ACS) return word_at(config, at + 6);
    at = word_at(config, at + 2) >> 4 & 0xffcu;
  }
  return 0;
}

struct acs {
  unsigned downstream, redirecting, unreadable;
  char first[NAME_CAP];
};

static void read_acs(const struct doctor *d, const struct pci *bridge, struct acs *acs) {
  unsigned char config[PCI_CONFIG + 1];
  int n = tree_bytes(d, config, sizeof(config), "/sys/bus/pci/devices/%s/config", bridge->address);
  if (n < 256) {
    acs->unreadable++;
    return;
  }
  if (express_type(config) != TYPE_DOWNSTREAM) return; /* between functions under one root port nothing else can be redirected */
  acs->downstream++;
  if (n < PCI_CONFIG) {
    acs->unreadable++;
  } else if ((acs_control(config) & (ACS_REQUEST_REDIRECT | ACS_COMPLETION_REDIRECT | ACS_EGRESS_CONTROL)) != 0 &&
             acs->redirecting++ == 0) {
    str_copy(acs->first, sizeof(acs->first), bridge->address);
  }
}

static int is_bridge(const struct pci *p) { return p->class_code >> 8 == 0x0604u; }

void check_acs(struct doctor *d, const char *check) {
  struct acs acs = {0};
  if (count_gpus(d) == 0 || count_pci_nics(d) == 0) {
    not_applicable(d, check, d->n_devices == 0 ? "no RDMA device" : "it matters between a GPU and an RDMA NIC on PCI");
    return;
  }
  for (unsigned i = 0; i < d->n_pci; i++) {
    if (is_bridge(&d->pci[i])) read_acs(d, &d->pci[i], &acs);
  }
  if (acs.redirecting > 0) {
    struct doctor_finding *f = finding(d, check, "", DOCTOR_WARN);
    say(f->seen, "on at %u of %u ports of PCI switches (%s the first): transfers between GPU and NIC go up to the CPU and back",
        acs.redirecting, acs.downstream, acs.first);
    say(f->todo,
        "switch ACS off in the firmware setup, or at each start: setpci -s %s ECAP_ACS+6.w=0000 (not where virtual machines share the "
        "devices)",
        acs.first);
  } else if (acs.unreadable > 0) {
    struct doctor_finding *f = finding(d, check, "", DOCTOR_UNKNOWN);
    say(f->seen, "the configuration of PCI bridges can be read by root only");
    say(f->todo, "run agg-doctor as root");
  } else {
    say(finding(d, check, "", DOCTOR_PASS)->seen, "off at all %u ports of PCI switches", acs.downstream);
  }
}

/* ---- IOMMU */

static void check_translation(struct doctor *d, const char *check, const struct device *device) {
  char type[NAME_CAP];
  if (tree_line(d, type, sizeof(type), "/sys/bus/pci/devices/%s/iommu_group/type", device->pci) <= 0) {
    say(finding(d, check, device->name, DOCTOR_PASS)->seen, "no IOMMU before %s", device->pci);
    return;
  }
  int direct = strcmp(type, "identity") == 0;
  struct doctor_finding *f = finding(d, check, device->name, direct ? DOCTOR_PASS : DOCTOR_WARN);
  say(f->seen, direct ? "passes %s through (%s)" : "translates the addresses of %s (%s): slower, and GPUDirect may not work", device->pci,
      type);
  if (!direct) say(f->todo, "add iommu=pt to the kernel's command line and start again (intel_iommu=on or amd_iommu=on may stay)");
}

void check_iommu(struct doctor *d, const char *check) {
  char group[1][NAME_CAP], cmdline[4096];
  if (count_pci_nics(d) == 0) {
    not_applicable(d, check, d->n_devices == 0 ? "no RDMA device" : "no RDMA NIC on PCI");
    return;
  }
  int n = tree_list(d, group, 1, "/sys/kernel/iommu_groups");
  if (n == 0) {
    say(finding(d, check, "", DOCTOR_PASS)->seen, "off");
    return;
  }
  if (n < 0) {
    int pass = tree_bytes(d, cmdline, sizeof(cmdline), "/proc/cmdline") > 0 && strstr(cmdline, "iommu=pt") != NULL;
    say(finding(d, check, "", pass ? DOCTOR_PASS : DOCTOR_UNKNOWN)->seen,
        pass ? "iommu=pt is on the kernel's command line" : "the kernel does not tell whether it is on");
    return;
  }
  for (unsigned i = 0; i < d->n_devices; i++) {
    if (d->devices[i].pci[0] != '\0') check_translation(d, check, &d->devices[i]);
  }
}
