/*
 * Binding, on this machine only: memory to a NUMA node, before it is touched, and a thread to a CPU. Both are read back: what the kernel
 * did not do is said, and is never an error of the caller's own. Nothing here chooses; libagg/pin.h does.
 */
#ifndef TOPOLOGY_BIND_H
#define TOPOLOGY_BIND_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "agg.h"

/* What hwloc needs to know of the machine, looked at once. May be used by several threads. */
struct bind;

/* AGG_ESYS, AGG_ENOMEM. Costs a few milliseconds: open it where there is more than one NUMA node. */
int bind_open(struct bind **bind, agg_error_t *err);
void bind_close(struct bind *bind); /* takes NULL; memory stays bound */

/* Pages of the range, which nobody has touched, are taken from this node (as the operating system counts) while it has some, else from
 * others: more memory is better than near memory. addr is the beginning of a page, and its first byte is 0 and stays so: the first page is
 * touched here, to see where it lies. AGG_ESYS: the kernel refuses, or took the page from elsewhere; the text says which. */
int bind_memory(const struct bind *bind, void *addr, size_t bytes, uint32_t node, agg_error_t *err);

/* Where the page at addr lies, which has been touched; -1: the kernel does not say. */
int bind_memory_node(const struct bind *bind, const void *addr);

/* AGG_EINVAL: no CPU that the thread may run on. AGG_ESYS. The thread runs there when it returns. */
int bind_thread(pthread_t thread, int cpu, agg_error_t *err);

#endif
