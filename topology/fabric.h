/*
 * The fabric as the planner sees it: a tree of links, and the nodes that hang on it. Pure data, O(nodes + links).
 *
 *   link 0         the core, to which everything is joined; it limits nothing
 *   a switch       its uplink
 *   a host         all its NICs together, as far as its PCIe links let them; what its nodes send to other hosts passes here
 *
 * Every link carries bytes_per_s up (away from the nodes) and as much down at the same time. Its parent has a smaller number. Nodes of one
 * host reach each other through shared memory, all others through the network. Nodes are numbered as in forests: workers, then servers.
 *
 * What is not known is FABRIC_UNKNOWN. fabric_assume fills it in from the cost constants and remembers what was assumed, for the
 * explanation.
 */
#ifndef TOPOLOGY_FABRIC_H
#define TOPOLOGY_FABRIC_H

#include <stddef.h>
#include <stdint.h>

#include "agg.h"

struct cost;

#define FABRIC_UNKNOWN (-1.0)
#define FABRIC_NAME_MAX 48
#define FABRIC_LINKS_MAX (1u << 18)
#define FABRIC_CORE 0u

enum fabric_link_kind { FABRIC_LINK_CORE = 0, FABRIC_LINK_SWITCH, FABRIC_LINK_HOST };
enum fabric_transport { FABRIC_TCP = 0, FABRIC_VERBS }; /* between hosts */
/* What the workers' operations are on, mostly: memory that the library was told of, or any other, which it copies (docs/planning.md). */
enum fabric_memory { FABRIC_REGISTERED = 0, FABRIC_PRIVATE };

struct fabric_link {
  uint32_t parent; /* 0 for the core itself */
  uint8_t kind;
  double bytes_per_s; /* each way, payload and headers; 0: no limit */
  char name[FABRIC_NAME_MAX];
  /* of a host */
  uint8_t by_pcie;           /* bytes_per_s is what its PCIe links let through, less than its NICs have */
  double pcie_bytes_per_s;   /* while bytes_per_s is unknown: the most that its PCIe links let through; 0: no limit */
  double memory_bytes_per_s; /* read and written by copies and sums of all its processes together; 0: no limit */
  uint32_t cores;            /* that its processes share; 0: unknown (one a node is assumed) */
};

struct fabric_node {
  uint32_t host;          /* its link */
  double sum_bytes_per_s; /* input folded by all its threads together; 0: no limit */
  uint64_t memory_bytes;  /* the most it may hold in windows; 0: the default of the cost constants */
  uint32_t threads;       /* reactors; 0: one */
};

enum fabric_assumption {
  FABRIC_ASSUMED_RATE = 1,   /* speed of a NIC or an uplink */
  FABRIC_ASSUMED_SWITCH = 2, /* one switch that never limits: nothing was known of the network between the hosts */
  FABRIC_ASSUMED_SUM = 4,    /* speed of sums */
  FABRIC_ASSUMED_MEMORY = 8, /* memory bandwidth of a host */
  FABRIC_ASSUMED_CORES = 16, /* a core for each node */
  FABRIC_ASSUMED_LIMIT = 32, /* memory limit for windows */
  FABRIC_ASSUMED_MTU = 64
};

struct fabric {
  uint32_t workers, servers;
  uint32_t n_links;
  struct fabric_link *link;
  struct fabric_node *node; /* workers + servers */
  uint8_t transport;        /* enum fabric_transport */
  uint8_t memory;           /* enum fabric_memory */
  uint32_t mtu;             /* of the network; 0: unknown */
  uint32_t rails;           /* the most NICs of any host; 0: unknown */
  unsigned assumed;         /* enum fabric_assumption */
  uint32_t link_room, node_room;
};

/* The core alone. Takes no zeroed struct; fabric_fini takes one. */
int fabric_init(struct fabric *f, agg_error_t *err);
void fabric_fini(struct fabric *f);
int fabric_copy(struct fabric *to, const struct fabric *from, agg_error_t *err);

/* Adds a switch or a host below `parent` (the core or a switch). name: copied, cut at FABRIC_NAME_MAX - 1. AGG_EINVAL, AGG_ENOMEM. */
int fabric_add_link(struct fabric *f, enum fabric_link_kind kind, uint32_t parent, const char *name, double bytes_per_s, uint32_t *link,
                    agg_error_t *err);
/* Adds the next node, all unknown but its host. All workers come before the first server. */
int fabric_add_node(struct fabric *f, int server, uint32_t host, agg_error_t *err);

/*
 * What is known from names alone: host_of[node] names the host of each node by any number, one switch, rates unknown. NULL: each node has a
 * host of its own. Hosts are called "host of rank 3" after their first node, or "host of server 1".
 */
int fabric_of_hosts(struct fabric *f, uint32_t workers, uint32_t servers, const uint32_t *host_of, agg_error_t *err);
/* One switch and a host for each node, all NICs of the same speed: for tests and first questions. */
int fabric_flat(struct fabric *f, uint32_t workers, uint32_t servers, double bytes_per_s, agg_error_t *err);

/* Replaces everything unknown by the constants' defaults and notes it in `assumed`. Calls it as often as you like. */
void fabric_assume(struct fabric *f, const struct cost *cost);
/* A lane belongs to one thread, so no more threads of a node work on an operation than there are lanes: the others' speed does not count.
 * After fabric_assume. */
void fabric_limit_threads(struct fabric *f, uint32_t lanes);
/* "assumed: 10.0 GB/s for every NIC, one switch that limits nothing, ..."; "" when nothing was. Returns buf. */
const char *fabric_assumptions(const struct fabric *f, const struct cost *cost, char *buf, size_t cap);

/* Proves the whole: parents smaller, hosts are leaves, numbers are finite and in range, nodes on hosts, at least one worker. AGG_EINVAL. */
int fabric_check(const struct fabric *f, agg_error_t *err);

/* All nodes share a host. */
int fabric_one_host(const struct fabric *f);
/* The switch (or core) above the node's host: its rack. */
uint32_t fabric_rack(const struct fabric *f, uint32_t node);
static inline uint32_t fabric_nodes(const struct fabric *f) { return f->workers + f->servers; }
const char *fabric_memory_name(unsigned memory); /* "registered", "private" */
/* "rank 3", "server 1". Returns buf. */
const char *fabric_node_name(const struct fabric *f, uint32_t node, char *buf, size_t cap);

struct forest_map;
/* The map of workers and servers for forests: a group a host, a rack for each switch with hosts. AGG_ENOMEM, AGG_EINVAL. */
int fabric_map(const struct fabric *f, struct forest_map **map, agg_error_t *err);

#endif
