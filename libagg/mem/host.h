/* Host memory that peers on this host can map: a sealed memfd, mapped shared. Used for windows, scratch and agg_mem_alloc. */
#ifndef MEM_HOST_H
#define MEM_HOST_H

#include <stddef.h>

#include "agg.h"

struct mem_block {
  void *addr; /* page-aligned, zeroed */
  size_t len; /* whole pages */
  int fd;     /* memfd that backs it, sealed against shrinking; owned by the block */
  int huge;   /* of huge pages (vm.nr_hugepages) */
};

#define MEM_HUGE_FROM_BYTES (4u << 20) /* below this, huge pages would waste more than they gain */

/* AGG_ENOMEM with the size and, where the system says so, the cause. dont_fork: a forked child does not get the mapping. */
int mem_block_alloc(size_t bytes, int dont_fork, struct mem_block *block, agg_error_t *err);
void mem_block_free(struct mem_block *block); /* an all-zero block is fine */

#endif
