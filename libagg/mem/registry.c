/* A sorted array of memory regions under a lock. It registers nothing with transports: that is done on the reactors. */
#include "registry.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void mem_registry_init(struct mem_registry *g) {
  memset(g, 0, sizeof *g);
  pthread_mutex_init(&g->lock, NULL);
}

void mem_registry_fini(struct mem_registry *g) {
  free(g->regions);
  pthread_mutex_destroy(&g->lock);
}

/* Index of the first region that begins above addr. */
static unsigned above(const struct mem_registry *g, const char *addr) {
  unsigned lo = 0, hi = g->count;
  while (lo < hi) {
    unsigned mid = lo + (hi - lo) / 2;
    if (g->regions[mid]->addr <= addr)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

static int overlaps(const struct mem_region *r, const char *addr, size_t len) { return addr < r->addr + r->len && r->addr < addr + len; }

static int insert(struct mem_registry *g, struct mem_region *region, agg_error_t *err) {
  unsigned at = above(g, region->addr);
  int clash = (at > 0 && overlaps(g->regions[at - 1], region->addr, region->len)) ||
              (at < g->count && overlaps(g->regions[at], region->addr, region->len));
  if (clash)
    return err_set(err, AGG_EINVAL, "ptr: %zu bytes at %p overlap memory that is registered already", region->len, (void *)region->addr);
  if (g->count == g->cap) {
    unsigned cap = g->cap == 0 ? 64 : 2 * g->cap;
    struct mem_region **grown = realloc(g->regions, cap * sizeof(struct mem_region *));
    if (grown == NULL) return err_set(err, AGG_ENOMEM, "no memory for the table of registered memory");
    g->regions = grown;
    g->cap = cap;
  }
  memmove(&g->regions[at + 1], &g->regions[at], (g->count - at) * sizeof(struct mem_region *));
  g->regions[at] = region;
  g->count++;
  return AGG_OK;
}

int mem_registry_add(struct mem_registry *g, struct mem_region *region, agg_error_t *err) {
  pthread_mutex_lock(&g->lock);
  int rc = insert(g, region, err);
  pthread_mutex_unlock(&g->lock);
  return rc;
}

static struct mem_region *take_at(struct mem_registry *g, unsigned at) {
  struct mem_region *r = g->regions[at];
  memmove(&g->regions[at], &g->regions[at + 1], (g->count - at - 1) * sizeof(struct mem_region *));
  g->count--;
  return r;
}

struct mem_region *mem_registry_take(struct mem_registry *g, const void *addr, int allocated) {
  struct mem_region *r = NULL;
  pthread_mutex_lock(&g->lock);
  unsigned at = above(g, addr);
  if (at > 0 && g->regions[at - 1]->addr == addr && (g->regions[at - 1]->block.addr != NULL) == allocated) r = take_at(g, at - 1);
  pthread_mutex_unlock(&g->lock);
  return r;
}

struct mem_region *mem_registry_take_any(struct mem_registry *g) {
  pthread_mutex_lock(&g->lock);
  struct mem_region *r = g->count != 0 ? take_at(g, g->count - 1) : NULL;
  pthread_mutex_unlock(&g->lock);
  return r;
}

const struct mem_region *mem_registry_find(struct mem_registry *g, const void *addr, size_t len) {
  const struct mem_region *r = NULL;
  const char *p = addr;
  pthread_mutex_lock(&g->lock);
  unsigned at = above(g, p);
  if (at > 0) r = g->regions[at - 1];
  if (r != NULL && ((size_t)(p - r->addr) > r->len || len > r->len - (size_t)(p - r->addr))) r = NULL;
  pthread_mutex_unlock(&g->lock);
  return r;
}
