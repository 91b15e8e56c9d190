/* What the checks share: the machine as far as it has been read, bounded reads below the root, and findings. */
#ifndef TRANSPORT_DOCTOR_INTERNAL_H
#define TRANSPORT_DOCTOR_INTERNAL_H

#include <stdint.h>

#include "base/util.h"
#include "doctor/doctor.h"

#define NAME_CAP 64
#define LINE_CAP 160
#define DEVICES_MAX 64
#define PORTS_MAX 128
#define PCI_MAX 1024

enum port_kind { PORT_INFINIBAND, PORT_ROCE, PORT_IWARP };
enum { STATE_DOWN = 1, STATE_INIT = 2, STATE_ARMED = 3, STATE_ACTIVE = 4 };

struct device {
  char name[NAME_CAP];
  char uverbs[NAME_CAP]; /* "uverbs0"; "": there is none */
  char pci[NAME_CAP];    /* "0000:3b:00.0"; "": not a PCI device */
};

struct port {
  const struct device *device;
  unsigned number;
  char name[DOCTOR_NAME_MAX]; /* "mlx5_0:1" */
  enum port_kind kind;
  int state;                    /* as in sysfs: STATE_... */
  char state_text[NAME_CAP];    /* "4: ACTIVE" */
  char physical_text[NAME_CAP]; /* "5: LinkUp"; "" unknown */
  char netdev[NAME_CAP];        /* "" unknown; on InfiniBand that of IPoIB */
};

struct pci {
  char address[NAME_CAP];
  unsigned vendor, class_code; /* class_code: 24 bits */
  char driver[NAME_CAP];       /* "" none */
};

struct doctor {
  const struct doctor_options *options;
  struct doctor_report *report;
  struct doctor_finding spare; /* takes what the report had no memory for */
  int no_memory;
  struct device devices[DEVICES_MAX]; /* the chosen ones */
  unsigned n_devices;
  unsigned n_present; /* with those that were not chosen */
  struct port ports[PORTS_MAX];
  unsigned n_ports;
  struct pci pci[PCI_MAX]; /* network controllers, GPUs and bridges */
  unsigned n_pci;
};

/* ---- tree.c: reads below the root. Paths are absolute. No read blocks or takes more than its buffer. 0 or more on success, -errno */

#define TREE_FORMAT(f, a) __attribute__((format(printf, f, a)))

int tree_is_machine(const struct doctor *d); /* the root is the real one */
int tree_is_there(const struct doctor *d);   /* the root is a directory */
int tree_path(const struct doctor *d, char *path, size_t cap, const char *fmt, ...) TREE_FORMAT(4, 5);
int tree_exists(const struct doctor *d, const char *fmt, ...) TREE_FORMAT(2, 3);
/* The file's first bytes as they are, and a zero. Returns their number. */
int tree_bytes(const struct doctor *d, void *buf, size_t cap, const char *fmt, ...) TREE_FORMAT(4, 5);
/* The first line without blanks around it, printable. -ENODATA where it is empty. */
int tree_line(const struct doctor *d, char *buf, size_t cap, const char *fmt, ...) TREE_FORMAT(4, 5);
/* A number in front of the first line, decimal or 0x. */
int tree_number(const struct doctor *d, int64_t *number, const char *fmt, ...) TREE_FORMAT(3, 4);
/* The last part of what a symbolic link says. */
int tree_link(const struct doctor *d, char *buf, size_t cap, const char *fmt, ...) TREE_FORMAT(4, 5);
/* Names in a directory, in natural order, without dot files and names that do not fit. Returns their number, at most max. */
int tree_list(const struct doctor *d, char (*names)[NAME_CAP], unsigned max, const char *fmt, ...) TREE_FORMAT(4, 5);
/* The value after "key" (which includes the colon or the like) at the start of a line of text, printable, without blanks around it. */
int text_field(const char *text, const char *key, char *buf, size_t cap);
/* 1 when the cpu is in a list like "0-3,8". */
int cpu_in_list(const char *list, unsigned cpu);
/* 1 when the lists have a cpu in common. */
int cpu_lists_meet(const char *a, const char *b);

/* ---- scan.c, pci.c: fill the struct */

/* AGG_EINVAL for a list of devices that cannot be read. */
int scan_devices(struct doctor *d, agg_error_t *err);
/* 1 and its name when a device or port that was asked for is not here. */
int scan_missing(const struct doctor *d, char missing[DOCTOR_NAME_MAX]);
void scan_pci(struct doctor *d);
const struct pci *pci_find(const struct doctor *d, const char *address);
int pci_is_gpu(const struct pci *p);     /* of NVIDIA */
int pci_is_network(const struct pci *p); /* Ethernet or InfiniBand */
int is_container(const struct doctor *d);

/* ---- report.c */

/* A new finding with empty texts, valid until the next one is made. */
struct doctor_finding *finding(struct doctor *d, const char *check, const char *device, enum doctor_verdict verdict);
/* Appends; what does not fit is cut off. */
void say(char text[DOCTOR_TEXT_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The whole finding where there is nothing to look at. */
void not_applicable(struct doctor *d, const char *check, const char *why);

/* ---- gid.c: the GID table of a port */

struct gid_summary {
  unsigned n, v2_routable, v2_local, v1; /* v2_routable: RoCE v2 with an IPv4 or a global IPv6 address */
  char list[DOCTOR_TEXT_MAX];            /* "0: RoCE v2 fe80::1 eth0; 1: ..." */
};
void gid_read(const struct doctor *d, const struct port *p, struct gid_summary *gids);

/* ---- live.c: the only user of libibverbs */

/* Why libibverbs cannot open the device: 0 and "" when it can. Else -errno and a text for seen. */
int live_open(const char *device, char *why, size_t cap);
/* The port's active MTU in bytes; 0 unknown. */
unsigned live_mtu(const char *device, unsigned port);

/* ---- the checks: each adds one finding or more under its name */

void check_devices(struct doctor *d, const char *check);
void check_modules(struct doctor *d, const char *check);
void check_permissions(struct doctor *d, const char *check);
void check_port(struct doctor *d, const char *check);
void check_gid(struct doctor *d, const char *check);
void check_mtu(struct doctor *d, const char *check);
void check_memlock(struct doctor *d, const char *check);
void check_huge_pages(struct doctor *d, const char *check);
void check_numa(struct doctor *d, const char *check);
void check_governor(struct doctor *d, const char *check);
void check_counters(struct doctor *d, const char *check);
void check_flow_control(struct doctor *d, const char *check);
void check_gpudirect(struct doctor *d, const char *check);
void check_acs(struct doctor *d, const char *check);
void check_iommu(struct doctor *d, const char *check);
void check_namespaces(struct doctor *d, const char *check);

#endif
