/* What discovery's parts share: what hwloc tells of a machine, and bounded reads of sysfs. */
#ifndef TOPOLOGY_DISCOVER_INTERNAL_H
#define TOPOLOGY_DISCOVER_INTERNAL_H

#include "topology/discover.h"
#include "topology/topo_internal.h"

#define SYS_NAME_CAP 64
#define SYS_LINE_CAP 160

/* A network controller on PCI, as hwloc has it. */
struct seen_pci {
  struct topo_place place;
};

/* A device of the operating system that is a NIC or an RDMA device, as hwloc has it. */
struct seen_os {
  char name[SYS_NAME_CAP];
  int is_rdma;
  uint8_t link;                /* of a network device */
  unsigned n_ports;            /* of an RDMA device; 1 at least */
  uint8_t ports[8], states[8]; /* their enum topo_link and enum topo_state */
  struct topo_place place;     /* pci "": it is on no PCI device */
};

/* One machine while it is being looked at. */
struct seen {
  struct topo t; /* takes the notes, and at the end the host */
  struct topo_machine m;
  uint32_t cap_numa, cap_nics, cap_gpus, cap_bridges;
  int has_pci; /* some PCI device is known */
  struct seen_pci *pci;
  uint32_t n_pci, cap_pci;
  struct topo_bridge *bridges; /* all of which hwloc knows the link */
  uint32_t n_bridges, cap_seen_bridges;
  struct seen_os *os;
  uint32_t n_os, cap_os;
  char name[TOPO_NAME_CAP]; /* of the host; "": unknown */
};

/* ---- discover.c */

#define DISCOVER_XML_DAMAGED "%s: hwloc cannot read this XML: it is damaged or of a later version; write it again, \"lstopo --of xml FILE\""

struct discover_xml {
  const char *path;
  const char *text; /* with a zero after it */
  size_t bytes;
};
/* xml NULL: this machine. May crash on an XML that is damaged. */
int discover_machine(const struct discover_options *options, const struct discover_xml *xml, struct topo *t, agg_error_t *err);

/* ---- discover_nics.c: fill m.nics, and note what is not known. AGG_ENOMEM */

/* From what hwloc has. */
int nics_from_hwloc(struct seen *s, agg_error_t *err);
/* From sysfs below root ("": the machine's own), with PCI paths and NUMA nodes as hwloc has them. */
int nics_from_sysfs(struct seen *s, const char *root, agg_error_t *err);
/* What both have in common at the end: rails, the only NUMA node, and what is not known of their places. */
void nics_finish(struct seen *s);
/* Room for a NIC; NULL: with an error, or there are too many, which is noted and is none. */
struct topo_nic *nics_add(struct seen *s, int *rc, agg_error_t *err);

/* ---- discover_sysfs.c. Paths begin below root. No read blocks or takes more than its buffer. 0 or more on success, -errno */

#define SYS_FORMAT(f, a) __attribute__((format(printf, f, a)))

int sys_exists(const char *root, const char *fmt, ...) SYS_FORMAT(2, 3);
/* The first line without blanks around it, printable. -ENODATA where it is empty. */
int sys_line(const char *root, char *buf, size_t cap, const char *fmt, ...) SYS_FORMAT(4, 5);
/* A whole decimal number. */
int sys_number(const char *root, int64_t *number, const char *fmt, ...) SYS_FORMAT(3, 4);
/* What a symbolic link says; `last`: its last part. */
int sys_link(const char *root, char *buf, size_t cap, const char *fmt, ...) SYS_FORMAT(4, 5);
int sys_link_last(const char *root, char *buf, size_t cap, const char *fmt, ...) SYS_FORMAT(4, 5);

struct sys_names {
  char (*names)[SYS_NAME_CAP]; /* owned by who lists */
  uint32_t n, cap;
};
/* Names in a directory in natural order, without dot files and names that do not fit; none where it cannot be read. AGG_ENOMEM. */
int sys_list(const char *root, struct sys_names *names, agg_error_t *err, const char *fmt, ...) SYS_FORMAT(4, 5);

#endif
