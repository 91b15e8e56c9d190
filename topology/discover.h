/*
 * Discovery: what is in a machine, from the machine itself or from an XML file of hwloc's lstopo, and its NICs' speeds and states from
 * sysfs. What cannot be found out is left unknown, and a note of the description says what is missing and what is assumed instead.
 */
#ifndef TOPOLOGY_DISCOVER_H
#define TOPOLOGY_DISCOVER_H

#include "topology/cpus.h"
#include "topology/topo.h"

struct discover_options {
  const char *xml;           /* a file of lstopo; NULL: this machine */
  const char *root;          /* a tree in the place of "/", whose sysfs belongs to the XML. NULL: "/" for this machine, none for an XML */
  const char *name;          /* of the host; NULL: what the XML or the machine says, else "localhost" */
  uint32_t workers, servers; /* processes on it */
};

/* A description of one host on one assumed switch; it has passed topo_check. Cores and memory are those that the process (or the one that
 * wrote the XML) is allowed to use. *t is initialised on success only. AGG_EINVAL: the XML is damaged, not hwloc's or not a file, and there
 * is never a fall-back to the live machine; AGG_ESYS; AGG_ENOMEM.
 * An XML is read in a child process (fork), for hwloc crashes on some that are damaged: for tools, and not in a process that has memory
 * registered for RDMA. This machine is looked at in the calling process. */
int discover_host(const struct discover_options *options, struct topo *t, agg_error_t *err);

/* Has hwloc print nothing where this machine's firmware contradicts itself (HWLOC_HIDE_ERRORS=2, unless it is set). It sets an environment
 * variable: for programs, once at their start, while there is one thread. */
void discover_quiet(void);

/* Two questions to this machine's kernel that need no hwloc: how many NUMA nodes have memory (1 where it says nothing), and which CPUs are
 * online (0; -1 where it says nothing). */
unsigned discover_numa_nodes(void);
int discover_online(struct topo_cpus *online);

#endif
