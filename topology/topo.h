/*
 * The description of machines and fabric: plain data that one struct topo owns. Where it comes from: its text form (docs/topology.md), this
 * machine or an lstopo XML (discover.h), Slurm's topology.conf (slurm.h). What is not known is said to be unknown: TOPO_NONE for an index
 * or a number, 0 for a speed or a size, "" for a text, the enum's ..._UNKNOWN; nobody fills in a guess here.
 *
 * Many hosts are alike, so what is in a host (memory, NUMA nodes, NICs, GPUs) is a *machine*, kept once however many hosts are built so:
 * two hosts are alike exactly when their `machine` is the same index.
 */
#ifndef TOPOLOGY_TOPO_H
#define TOPOLOGY_TOPO_H

#include <stddef.h>
#include <stdint.h>

#include "agg.h"

#define TOPO_NONE UINT32_MAX

#define TOPO_HOSTS_MAX 65536u
#define TOPO_SWITCHES_MAX 65536u
#define TOPO_NODES_MAX 65536u  /* workers and servers on all hosts */
#define TOPO_DEVICES_MAX 256u  /* NUMA nodes, NICs, GPUs, PCIe bridges: of each, in a machine */
#define TOPO_CPUS_MAX 8192u    /* CPU numbers are below */
#define TOPO_BRIDGES_MAX 12u   /* above a PCI device */
#define TOPO_NUMBER_MAX 65535u /* of a NUMA node, GPU or rail */

#define TOPO_NAME_CAP 65 /* of a host, switch, RDMA port or GPU; with the zero */
#define TOPO_NETDEV_CAP 16
#define TOPO_PCI_CAP 17
#define TOPO_PATH_CAP 224
#define TOPO_CPULIST_CAP 1024

/* Speeds that can be meant, in bytes a second: 1 Mbit/s to 100 Tbit/s. Memory: 1 MiB to 1 PiB. */
#define TOPO_SPEED_MIN 125000ull
#define TOPO_SPEED_MAX 12500000000000ull
#define TOPO_MEMORY_MIN (1ull << 20)
#define TOPO_MEMORY_MAX (1ull << 50)

/* What lies between two devices, in the words of `nvidia-smi topo -m`, nearest first.
 *   PIX   one PCIe switch at most          PXB  several PCIe switches, no host bridge      PHB  a PCIe host bridge (the CPU)
 *   NODE  host bridges of one NUMA node    SYS  the link between NUMA nodes */
enum topo_distance { TOPO_PIX = 0, TOPO_PXB, TOPO_PHB, TOPO_NODE, TOPO_SYS, TOPO_DISTANCE_UNKNOWN, TOPO_DISTANCE_COUNT };

enum topo_link { TOPO_LINK_UNKNOWN = 0, TOPO_ETHERNET, TOPO_ROCE, TOPO_INFINIBAND, TOPO_IWARP, TOPO_LINK_COUNT };
enum topo_state { TOPO_STATE_UNKNOWN = 0, TOPO_UP, TOPO_DOWN, TOPO_STATE_COUNT };

/* Where a device is plugged in. */
struct topo_place {
  char pci[TOPO_PCI_CAP];   /* "0000:18:00.0" */
  char path[TOPO_PATH_CAP]; /* from the host bridge down to the last bridge above it: "pci0000:15/0000:15:01.0/0000:16:00.0" */
  uint32_t numa;            /* index in the machine's numa[] */
  uint64_t pcie;            /* bytes a second, each way, of its own PCIe link */
};

struct topo_numa {
  uint32_t number;              /* as the operating system counts */
  uint32_t n_cores, n_cpus;     /* how many the lists name */
  uint64_t memory;              /* bytes */
  char cores[TOPO_CPULIST_CAP]; /* one CPU for every core that may be used, its first hardware thread: "0-31"; "" unknown */
  char cpus[TOPO_CPULIST_CAP];  /* all CPUs that may be used, so with the other threads of those cores */
};

/* A port to the network. At least one of its names is known. */
struct topo_nic {
  char rdma[TOPO_NAME_CAP];     /* "mlx5_0:1"; "": no RDMA device is known */
  char netdev[TOPO_NETDEV_CAP]; /* "eth0" */
  uint64_t speed;               /* bytes a second, each way */
  uint32_t rail;                /* NICs of the same rail hang on the same switch or plane in all hosts */
  uint8_t link, state;          /* enum topo_link, enum topo_state */
  struct topo_place place;
};

struct topo_gpu {
  uint32_t number; /* in the order of PCI addresses, as CUDA counts with CUDA_DEVICE_ORDER=PCI_BUS_ID */
  char name[TOPO_NAME_CAP];
  struct topo_place place;
};

/* A PCI bridge whose link is known: all devices with this bridge in their path share it. One of unknown speed is not there. */
struct topo_bridge {
  char pci[TOPO_PCI_CAP];
  uint64_t pcie; /* bytes a second, each way */
};

struct topo_machine {
  uint64_t memory; /* bytes in all */
  uint32_t n_numa, n_nics, n_gpus, n_bridges;
  struct topo_numa *numa; /* all four owned */
  struct topo_nic *nics;
  struct topo_gpu *gpus;
  struct topo_bridge *bridges;
};

struct topo_host {
  char name[TOPO_NAME_CAP];
  uint32_t machine;          /* index in machines[] */
  uint32_t on;               /* the switch it hangs on: index in switches[]. Known once topo_check has passed */
  uint32_t workers, servers; /* processes on it */
};

struct topo_switch {
  char name[TOPO_NAME_CAP];
  uint32_t parent;   /* index in switches[]; TOPO_NONE at the top */
  uint64_t up, down; /* bytes a second to the parent and from it; without meaning at the top */
};

struct topo_index {
  struct topo_slot *slots;
  uint32_t size, used;
};

/* Read it freely; it grows through the functions below only. */
struct topo {
  uint32_t n_switches, n_hosts, n_machines, n_notes;
  struct topo_switch *switches;
  struct topo_host *hosts;
  struct topo_machine *machines;
  char **notes; /* one sentence each: what is missing and what was assumed for it */
  uint32_t cap_switches, cap_hosts, cap_machines;
  struct topo_index by_switch, by_host, by_machine;
};

void topo_init(struct topo *t);
void topo_fini(struct topo *t); /* also of a zeroed struct; leaves an empty one */

/* ---- growing. AGG_ELIMIT, AGG_ENOMEM, AGG_EINVAL (a name that is none or is there already); nothing has changed then */

int topo_add_switch(struct topo *t, const struct topo_switch *s, uint32_t *index, agg_error_t *err);
int topo_add_host(struct topo *t, const struct topo_host *h, uint32_t *index, agg_error_t *err);
/* Copies it, or finds the one that is the same. index: where it is. */
int topo_add_machine(struct topo *t, const struct topo_machine *m, uint32_t *index, agg_error_t *err);
/* The same note is kept once; where memory is short it is lost. */
void topo_note(struct topo *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* TOPO_NONE: there is none of this name. Constant time. */
uint32_t topo_find_switch(const struct topo *t, const char *name);
uint32_t topo_find_host(const struct topo *t, const char *name);
/* By its whole name, or by that up to the first dot. */
uint32_t topo_find_host_brief(const struct topo *t, const char *name);

/* ---- questions */

static inline const struct topo_machine *topo_machine_of(const struct topo *t, uint32_t host) {
  return &t->machines[t->hosts[host].machine];
}
uint32_t topo_workers(const struct topo *t); /* on all hosts */
uint32_t topo_servers(const struct topo *t);

/* Between two PCI devices of one machine. Without both paths it is SYS between different NUMA nodes and NODE, the farthest that it can be,
 * within one. */
enum topo_distance topo_distance(const struct topo_place *a, const struct topo_place *b);
/* From a device to the memory and cores of a NUMA node (index): PHB to its own, SYS to others. */
enum topo_distance topo_distance_numa(const struct topo_place *device, uint32_t numa);
const char *topo_distance_name(enum topo_distance d); /* "PIX" ... "SYS", "?" */
const char *topo_link_name(unsigned link);            /* "ethernet", "roce", "infiniband", "iwarp", "unknown" */
const char *topo_state_name(unsigned state);          /* "up", "down", "unknown" */
const char *topo_nic_name(const struct topo_nic *nic);

/* The smallest CPU number of a list that is larger than `after` (-1: any); -1: none. */
int topo_cpu_next(const char *list, int after);

/* ---- text form, version 1 (docs/topology.md) */

/* Errors are one line, "SOURCE:LINE: what was expected, what came, what to do". AGG_EINVAL, AGG_ESYS (cannot be read), AGG_ENOMEM,
 * AGG_ELIMIT. *t is initialised on success only. The description has passed topo_check, and where it names no switch at all, one is
 * assumed and noted. */
int topo_load(const char *path, struct topo *t, agg_error_t *err);
int topo_parse(const char *text, size_t bytes, const char *source, struct topo *t, agg_error_t *err);

/* Text that loads as the same description, notes as comments. *text is malloc()ed. AGG_ENOMEM. */
int topo_dump(const struct topo *t, char **text, agg_error_t *err);

/* A speed as the text form has it, in bit/s: "100G", "2.5G"; "unknown" for 0. */
#define TOPO_SPEED_TEXT_CAP 32
const char *topo_speed_text(uint64_t bytes_per_second, char buf[TOPO_SPEED_TEXT_CAP]);
/* Bytes a second of "100G", "2.5Gbit". -1: not a speed, or none that can be meant. */
int topo_speed_parse(const char *text, uint64_t *bytes_per_second);

/* ---- the whole */

/* Proves a description before it is used: indices in range, every host with workers or servers on a switch, no cycle among switches, all
 * such hosts below one top. AGG_EINVAL, AGG_ELIMIT. Only then may the description be planned on. */
int topo_check(const struct topo *t, agg_error_t *err);

/* Puts all hosts on one switch where none is described, and notes it. AGG_ENOMEM, AGG_ELIMIT. */
int topo_assume_switch(struct topo *t, agg_error_t *err);

/* Adds the hosts of `from`, which was discovered on another machine, on the switches of t of the same name (made where there is none).
 * AGG_EINVAL: a host that is there already, or a switch that differs from the one of that name; t is unchanged. After AGG_ENOMEM it has a
 * part of them, and only topo_fini may follow. */
int topo_join(struct topo *t, const struct topo *from, agg_error_t *err);

/* Takes the switches, and each host's place, from `fabric`; what is in the hosts stays. Hosts are found by their whole name or by that up
 * to the first dot. Switches below which no host of t hangs are left out. AGG_EINVAL: a host that is not in the fabric; `source` says in
 * the error which fabric. t is unchanged on error. */
int topo_place_on(struct topo *t, const struct topo *fabric, const char *source, agg_error_t *err);

#endif
