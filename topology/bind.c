/*
 * The second user of hwloc beside discover.c: that one describes, this one acts. Memory is bound through hwloc, which knows the kernels'
 * ways of doing so; a thread is bound by the C library's own call, so that it needs no hwloc to be loaded.
 */
#include "topology/bind.h"

#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "topology/topo.h"

struct bind {
  hwloc_topology_t topology;
};

/* ---- memory -------------------------------------------------------------------------------------------------------------------------- */

int bind_open(struct bind **out, agg_error_t *err) {
  struct bind *b = calloc(1, sizeof *b);
  if (b == NULL || hwloc_topology_init(&b->topology) != 0) {
    free(b);
    return err_set(err, AGG_ENOMEM, "no memory to look at the NUMA nodes");
  }
  /* NUMA nodes are all that is wanted: no devices, no caches; and nobody's thread is sent over the CPUs to ask each. */
  hwloc_topology_set_all_types_filter(b->topology, HWLOC_TYPE_FILTER_KEEP_NONE);
  hwloc_topology_set_components(b->topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
  hwloc_topology_set_flags(b->topology, HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM); /* also where HWLOC_XMLFILE is set: else nothing is bound */
  if (hwloc_topology_load(b->topology) != 0) {
    bind_close(b);
    return err_set(err, AGG_ESYS, "hwloc cannot look at this machine's NUMA nodes");
  }
  *out = b;
  return AGG_OK;
}

void bind_close(struct bind *b) {
  if (b == NULL) return;
  hwloc_topology_destroy(b->topology);
  free(b);
}

int bind_memory_node(const struct bind *b, const void *addr) {
  hwloc_bitmap_t set = hwloc_bitmap_alloc();
  int node = -1;
  if (set != NULL && hwloc_get_area_memlocation(b->topology, addr, 1, set, HWLOC_MEMBIND_BYNODESET) == 0) node = hwloc_bitmap_first(set);
  hwloc_bitmap_free(set);
  return node;
}

/* Whether the kernel says that the page at addr is bound to this node: one question, while a range would cost one for each of its pages. */
static int is_bound(const struct bind *b, const void *addr, uint32_t node, hwloc_bitmap_t set) {
  hwloc_membind_policy_t policy = HWLOC_MEMBIND_MIXED;
  return hwloc_get_area_membind(b->topology, addr, 1, set, &policy, HWLOC_MEMBIND_BYNODESET) == 0 && policy == HWLOC_MEMBIND_BIND &&
         hwloc_bitmap_isset(set, node) && hwloc_bitmap_weight(set) == 1;
}

/* Sets the range's policy and reads it back. Without STRICT the node is preferred: with it a page that the node has not would be a SIGBUS
 * (huge pages are reserved for the machine, not for a node) or the end of the process. */
static int set_policy(const struct bind *b, void *addr, size_t bytes, uint32_t node, hwloc_bitmap_t set, agg_error_t *err) {
  hwloc_bitmap_only(set, node);
  if (hwloc_set_area_membind(b->topology, addr, bytes, set, HWLOC_MEMBIND_BIND, HWLOC_MEMBIND_BYNODESET) != 0)
    return err_sys(err, AGG_ESYS, errno, "memory cannot be bound to NUMA node %u", node);
  if (!is_bound(b, addr, node, set) || !is_bound(b, (const char *)addr + bytes - 1, node, set))
    return err_set(err, AGG_ESYS, "memory was bound to NUMA node %u, and the kernel says that it is not", node);
  return AGG_OK;
}

int bind_memory(const struct bind *b, void *addr, size_t bytes, uint32_t node, agg_error_t *err) {
  hwloc_bitmap_t set = hwloc_bitmap_alloc();
  if (set == NULL || node > TOPO_NUMBER_MAX) {
    hwloc_bitmap_free(set);
    return err_set(err, AGG_ESYS, "memory cannot be bound to NUMA node %u: %s", node, set == NULL ? "no memory" : "there is none");
  }
  int rc = set_policy(b, addr, bytes, node, set, err);
  hwloc_bitmap_free(set);
  if (rc != AGG_OK) return rc;
  *(volatile unsigned char *)addr = 0;
  int is = bind_memory_node(b, addr);
  if (is >= 0 && is != (int)node) return err_set(err, AGG_ESYS, "NUMA node %u has no free memory: the first page is on node %d", node, is);
  return AGG_OK;
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------------- */

int bind_thread(pthread_t thread, int cpu, agg_error_t *err) {
  if (cpu < 0 || cpu >= (int)TOPO_CPUS_MAX) return err_set(err, AGG_EINVAL, "core %d: expected 0 to %u", cpu, TOPO_CPUS_MAX - 1);
  size_t size = CPU_ALLOC_SIZE(TOPO_CPUS_MAX);
  cpu_set_t *set = CPU_ALLOC(TOPO_CPUS_MAX);
  if (set == NULL) return err_set(err, AGG_ESYS, "core %d: no memory", cpu);
  CPU_ZERO_S(size, set);
  CPU_SET_S((size_t)cpu, size, set);
  int why = pthread_setaffinity_np(thread, size, set);
  int rc = why == 0        ? AGG_OK
           : why == EINVAL ? err_set(err, AGG_EINVAL, "core %d is not there, or the thread may not run on it", cpu)
                           : err_sys(err, AGG_ESYS, why, "core %d", cpu);
  if (rc == AGG_OK && (why = pthread_getaffinity_np(thread, size, set)) != 0)
    rc = err_sys(err, AGG_ESYS, why, "core %d: the kernel does not say where the thread may run", cpu);
  if (rc == AGG_OK && (CPU_COUNT_S(size, set) != 1 || !CPU_ISSET_S((size_t)cpu, size, set)))
    rc = err_set(err, AGG_ESYS, "the thread was bound to core %d, and the kernel says that it is not", cpu);
  CPU_FREE(set);
  return rc;
}
