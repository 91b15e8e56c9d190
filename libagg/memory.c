/* agg_mem_*: memory that an instance allocates or is told of, registered with every transport of every reactor. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "instance.h"

struct register_call {
  struct agg *agg;
  struct mem_region *region;
  unsigned reactor;
  int rc;
  agg_error_t err;
};

static void register_on_reactor(void *arg) {
  struct register_call *call = arg;
  struct mem_region *g = call->region;
  struct plane_tp tps[PLANE_TPS_MAX];
  unsigned n = reactor_tps(call->agg->reactors[call->reactor], tps);
  struct tp_mem mem = {.addr = g->addr, .len = g->len, .fd = g->block.addr != NULL ? g->block.fd : -1};
  for (unsigned i = 0; i < n && call->rc == AGG_OK; i++)
    call->rc = tps[i].ops->mem_reg(tps[i].tp, &mem, &g->mr[call->reactor][i], &call->err);
}

static void deregister_on_reactor(void *arg) {
  struct register_call *call = arg;
  struct plane_tp tps[PLANE_TPS_MAX];
  unsigned n = reactor_tps(call->agg->reactors[call->reactor], tps);
  for (unsigned i = 0; i < n; i++)
    if (call->region->mr[call->reactor][i] != NULL) tps[i].ops->mem_dereg(tps[i].tp, call->region->mr[call->reactor][i]);
}

static void region_free(struct agg *a, struct mem_region *g) {
  for (unsigned r = 0; g->mr != NULL && r < a->n_reactors; r++) {
    struct register_call call = {.agg = a, .region = g, .reactor = r};
    reactor_call(a->reactors[r], deregister_on_reactor, &call);
  }
  free(g->mr);
  mem_block_free(&g->block);
  free(g);
}

/* Registers the region everywhere and puts it into the table; frees it on failure. */
static int region_publish(struct agg *a, struct mem_region *g, agg_error_t *err) {
  int rc = AGG_OK;
  g->mr = calloc(a->n_reactors, sizeof *g->mr);
  if (g->mr == NULL) rc = err_set(err, AGG_ENOMEM, "no memory to register %zu bytes", g->len);
  for (unsigned r = 0; r < a->n_reactors && rc == AGG_OK; r++) {
    struct register_call call = {.agg = a, .region = g, .reactor = r};
    reactor_call(a->reactors[r], register_on_reactor, &call);
    rc = call.rc;
    if (rc != AGG_OK) err_set(err, rc, "%zu bytes cannot be registered: %s", g->len, call.err.text);
  }
  if (rc == AGG_OK) rc = mem_registry_add(&a->memory, g, err);
  if (rc != AGG_OK) region_free(a, g);
  return rc;
}

int agg_mem_alloc(agg_t *a, size_t bytes, void **ptr) {
  agg_error_t err = {0};
  if (a == NULL) return AGG_EINVAL;
  if (agg_usable(a) != AGG_OK) return AGG_EFORKED;
  if (ptr == NULL) {
    err_set(&err, AGG_EINVAL, "ptr: NULL");
    return agg_keep_error(a, &err);
  }
  struct mem_region *g = calloc(1, sizeof *g);
  int rc = g != NULL ? mem_block_alloc(bytes, 0, &g->block, &err) : err_set(&err, AGG_ENOMEM, "no memory for a region");
  if (rc != AGG_OK) {
    free(g);
    return agg_keep_error(a, &err);
  }
  g->addr = g->block.addr;
  g->len = g->block.len;
  void *addr = g->addr;
  if (region_publish(a, g, &err) != AGG_OK) return agg_keep_error(a, &err);
  *ptr = addr;
  return AGG_OK;
}

void agg_mem_free(agg_t *a, void *ptr) {
  if (a == NULL || ptr == NULL || agg_usable(a) != AGG_OK) return;
  struct mem_region *g = mem_registry_take(&a->memory, ptr, 1);
  if (g == NULL) {
    LOG_ERROR(&a->log, "agg_mem_free: %p was not made by agg_mem_alloc of this instance, or was freed before", ptr);
    return;
  }
  region_free(a, g);
}

int agg_mem_register(agg_t *a, void *ptr, size_t bytes) {
  agg_error_t err = {0};
  if (a == NULL) return AGG_EINVAL;
  if (agg_usable(a) != AGG_OK) return AGG_EFORKED;
  if (ptr == NULL || bytes == 0 || bytes > UINTPTR_MAX - (uintptr_t)ptr) {
    err_set(&err, AGG_EINVAL, "%s",
            ptr == NULL  ? "ptr: NULL"
            : bytes == 0 ? "bytes: 0"
                         : "bytes: the range reaches beyond the address space");
    return agg_keep_error(a, &err);
  }
  struct mem_region *g = calloc(1, sizeof *g);
  if (g == NULL) {
    err_set(&err, AGG_ENOMEM, "no memory for a region");
    return agg_keep_error(a, &err);
  }
  g->addr = ptr;
  g->len = bytes;
  return region_publish(a, g, &err) == AGG_OK ? AGG_OK : agg_keep_error(a, &err);
}

int agg_mem_deregister(agg_t *a, void *ptr) {
  if (a == NULL) return AGG_EINVAL;
  if (agg_usable(a) != AGG_OK) return AGG_EFORKED;
  struct mem_region *g = ptr != NULL ? mem_registry_take(&a->memory, ptr, 0) : NULL;
  if (g == NULL) {
    agg_error_t err = {0};
    err_set(&err, AGG_EINVAL, "ptr: %p is not the beginning of a registered range", ptr);
    return agg_keep_error(a, &err);
  }
  region_free(a, g);
  return AGG_OK;
}

void memory_close(struct agg *a) {
  struct mem_region *g;
  while ((g = mem_registry_take_any(&a->memory)) != NULL) region_free(a, g);
  mem_registry_fini(&a->memory);
}
