/* The memory that an instance knows: what agg_mem_alloc made and agg_mem_register announced, found by address. Thread-safe. */
#ifndef MEM_REGISTRY_H
#define MEM_REGISTRY_H

#include <pthread.h>

#include "host.h"
#include "plane.h"

struct mem_region {
  char *addr;
  size_t len;
  struct mem_block block;             /* of agg_mem_alloc; all zero otherwise */
  struct tp_mr *(*mr)[PLANE_TPS_MAX]; /* [reactor][transport]; owned by the region, entries by the transports */
};

struct mem_registry {
  pthread_mutex_t lock;
  struct mem_region **regions; /* by address */
  unsigned count, cap;
};

void mem_registry_init(struct mem_registry *g);
void mem_registry_fini(struct mem_registry *g); /* must be empty */

/* Takes the region over. AGG_EINVAL: it overlaps another; AGG_ENOMEM. */
int mem_registry_add(struct mem_registry *g, struct mem_region *region, agg_error_t *err);
/* Takes out the region that begins at addr; NULL when none does. `allocated`: only regions of agg_mem_alloc, or only others. */
struct mem_region *mem_registry_take(struct mem_registry *g, const void *addr, int allocated);
/* Any region, for closing; NULL when none is left. */
struct mem_region *mem_registry_take_any(struct mem_registry *g);
/* The region that holds the whole range, or NULL. It lives until its owner frees it, which must not be while operations use it. */
const struct mem_region *mem_registry_find(struct mem_registry *g, const void *addr, size_t len);

#endif
