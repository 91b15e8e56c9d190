/*
 * Owns protection domains and registered memory. A domain of the contract is a protection domain on every rail: a peer whose queue pair is
 * in one can name regions of that one only. Regions of domain 0 are registered in every domain there is. Never looks at a lane's state.
 *
 * Every region is registered on every rail at once, so that a lane that moves to another rail finds its memory there. A rail whose device
 * was removed has none.
 */
#include <assert.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

#define RAIL_SHIFT 56
#define SIW_VENDOR 0x626d74     /* its own; other iWARP devices wait themselves */
#define IN_FLIGHT_NS 200000000u /* for acknowledgements of puts whose source is deregistered */
#define PEER_WRITES (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_RELAXED_ORDERING)

/* ---- a region on one rail ---- */

static struct ibv_mr *register_on(const struct rail *r, struct ibv_pd *pd, const struct tp_mr *m) {
  struct ibv_mr *mr = ibv_reg_mr(pd, m->addr, m->len, m->access);
  if (mr == NULL || mr->rkey != 0) return mr;
  struct ibv_mr *again = ibv_reg_mr(pd, m->addr, m->len, m->access); /* key 0 means "no place" to us */
  ibv_dereg_mr(mr);
  LOG_DEBUG(r->tp->log, "verbs: %s gave key 0; registered again", r->name);
  return again;
}

static void part_free(struct tp *tp, struct mr_part *p) {
  for (unsigned i = 0; i < tp->n_rails; i++)
    if (p->mr[i] != NULL) ibv_dereg_mr(p->mr[i]);
  free(p);
}

static int part_add(struct tp *tp, struct tp_mr *m, struct domain *d, agg_error_t *err) {
  struct mr_part *p = calloc(1, sizeof *p);
  if (p == NULL) return err_set(err, AGG_ENOMEM, "no memory to register %zu bytes", m->len);
  p->domain = d;
  for (unsigned i = 0; i < tp->n_rails; i++) {
    if (tp->rails[i].removed || d->pd[i] == NULL) continue;
    p->mr[i] = register_on(&tp->rails[i], d->pd[i], m);
    if (p->mr[i] != NULL) continue;
    int rc = explain_memory(err, errno, m->len, &tp->rails[i]);
    part_free(tp, p);
    return rc;
  }
  p->next = m->parts;
  m->parts = p;
  return AGG_OK;
}

static void part_drop(struct tp *tp, struct tp_mr *m, const struct domain *d) {
  for (struct mr_part **at = &m->parts; *at != NULL; at = &(*at)->next) {
    struct mr_part *p = *at;
    if (p->domain != d) continue;
    *at = p->next;
    part_free(tp, p);
    return;
  }
}

/* ---- domains ---- */

static void domain_free(struct tp *tp, struct domain *d) {
  for (struct tp_mr *m = tp->regions; m != NULL; m = m->next)
    if (m->domain == 0) part_drop(tp, m, d);
  for (unsigned i = 0; i < tp->n_rails; i++)
    if (d->pd[i] != NULL) ibv_dealloc_pd(d->pd[i]);
  free(d);
}

static int domain_fill(struct tp *tp, struct domain *d, agg_error_t *err) {
  for (unsigned i = 0; i < tp->n_rails; i++) {
    if (tp->rails[i].removed) continue;
    d->pd[i] = ibv_alloc_pd(tp->rails[i].ctx);
    if (d->pd[i] == NULL) return err_sys(err, AGG_ESYS, errno, "%s: no protection domain", tp->rails[i].name);
  }
  for (struct tp_mr *m = tp->regions; m != NULL; m = m->next) {
    int rc = m->domain == 0 ? part_add(tp, m, d, err) : AGG_OK;
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}

int verbs_domain_get(struct tp *tp, uint64_t id, struct domain **out, agg_error_t *err) {
  struct domain *d = tp->domains;
  while (d != NULL && d->id != id) d = d->next;
  if (d == NULL) {
    d = calloc(1, sizeof *d);
    if (d == NULL) return err_set(err, AGG_ENOMEM, "no memory for a protection domain");
    d->id = id;
    int rc = domain_fill(tp, d, err);
    if (rc != AGG_OK) {
      domain_free(tp, d);
      return rc;
    }
    d->next = tp->domains;
    tp->domains = d;
  }
  d->users++;
  *out = d;
  return AGG_OK;
}

void verbs_domain_put(struct tp *tp, struct domain *d) {
  if (d == NULL || --d->users > 0) return;
  struct domain **at = &tp->domains;
  while (*at != d) at = &(*at)->next;
  *at = d->next;
  domain_free(tp, d);
}

/* ---- regions ---- */

static int add_parts(struct tp *tp, struct tp_mr *m, agg_error_t *err) {
  struct domain *d;
  if (m->domain != 0) {
    int rc = verbs_domain_get(tp, m->domain, &d, err); /* held by the region */
    if (rc != AGG_OK) return rc;
    rc = part_add(tp, m, d, err);
    if (rc != AGG_OK) verbs_domain_put(tp, d);
    return rc;
  }
  for (d = tp->domains; d != NULL; d = d->next) {
    int rc = part_add(tp, m, d, err);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}

static void region_free(struct tp_mr *m) {
  struct domain *held = m->domain != 0 && m->parts != NULL ? m->parts->domain : NULL;
  while (m->parts != NULL) {
    struct mr_part *p = m->parts;
    m->parts = p->next;
    part_free(m->tp, p);
  }
  verbs_domain_put(m->tp, held);
  free(m);
}

static int add_region(struct tp *tp, void *addr, size_t len, uint64_t domain, int access, struct tp_mr **mr, agg_error_t *err) {
  struct tp_mr *m = calloc(1, sizeof *m);
  if (m == NULL) return err_set(err, AGG_ENOMEM, "no memory to register %zu bytes", len);
  *m = (struct tp_mr){.tp = tp, .addr = addr, .len = len, .domain = domain, .access = access};
  int rc = add_parts(tp, m, err);
  if (rc != AGG_OK) {
    region_free(m);
    return rc;
  }
  m->next = tp->regions;
  if (m->next != NULL) m->next->prev = m;
  tp->regions = m;
  *mr = m;
  return AGG_OK;
}

int verbs_mem_reg(struct tp *tp, const struct tp_mem *mem, struct tp_mr **mr, agg_error_t *err) {
  return add_region(tp, mem->addr, mem->len, mem->domain, PEER_WRITES, mr, err);
}

int verbs_mem_reg_local(struct tp *tp, void *addr, size_t len, uint64_t domain, struct tp_mr **mr, agg_error_t *err) {
  return add_region(tp, addr, len, domain, IBV_ACCESS_LOCAL_WRITE, mr, err);
}

/* An operation may be over before its last put has been acknowledged by the peer's NIC: the result that came proves that the put arrived,
 * not that the own NIC knows. Taking the memory away now would break the queue pair at a repetition. */
static void await_acknowledgements(struct tp *tp, const struct tp_mr *m) {
  uint64_t end = 0;
  while (m->in_flight != 0) {
    verbs_progress(tp);
    if (m->in_flight == 0) return;
    uint64_t now = clock_now_ns();
    if (end == 0) end = now + IN_FLIGHT_NS;
    if (now >= end) break;
  }
  for (struct tp_lane *l = tp->lanes; m->in_flight != 0 && l != NULL; l = l->next) {
    for (uint32_t s = l->acked; s != l->queued; s++) {
      if (l->puts[s & l->mask].mr != m) continue;
      lane_lost(l, "memory was deregistered while a put out of it was not acknowledged by the peer's NIC");
      break;
    }
  }
}

/* Software iWARP (siw) ends the copy of a segment that it had begun when ibv_dereg_mr returns already. It copies between rcu_read_lock and
 * rcu_read_unlock, and the kernel waits for all of those here. */
static void await_copies(struct tp *tp) {
  int siw = 0;
  for (unsigned i = 0; i < tp->n_rails; i++) siw |= tp->rails[i].device.vendor_id == SIW_VENDOR;
  if (!siw || syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0 || tp->said_no_barrier) return;
  tp->said_no_barrier = 1;
  LOG_WARN(tp->log, "verbs: membarrier: %s: on siw a segment that is under way may still be written to memory that was deregistered",
           strerror(errno));
}

void verbs_mem_dereg(struct tp *tp, struct tp_mr *m) {
  if (m == NULL) return;
  int written = tp->lanes != NULL && m->access & IBV_ACCESS_REMOTE_WRITE;
  if (m->in_flight != 0) await_acknowledgements(tp, m);
  if (m->prev != NULL)
    m->prev->next = m->next;
  else
    tp->regions = m->next;
  if (m->next != NULL) m->next->prev = m->prev;
  for (struct tp_lane *l = tp->lanes; l != NULL; l = l->next)
    if (l->window_mr == m) l->window_mr = NULL; /* a lane that moves names it again */
  region_free(m);
  if (written) await_copies(tp);
}

void verbs_mem_fini(struct tp *tp) {
  while (tp->regions != NULL) verbs_mem_dereg(tp, tp->regions);
  assert(tp->domains == NULL);
}

/* ---- names ---- */

static const struct mr_part *part_for(const struct tp_mr *m, const struct domain *d) {
  const struct mr_part *p = m->parts;
  while (p != NULL && p->domain != d) p = p->next;
  return p;
}

struct ibv_mr *verbs_mr_on(const struct tp_mr *m, const struct domain *d, unsigned rail) {
  const struct mr_part *p = part_for(m, d);
  return p != NULL ? p->mr[rail] : NULL;
}

struct tp_raddr verbs_raddr(struct tp_lane *l, const struct tp_mr *m, const void *ptr) {
  unsigned rail = l->conn != NULL ? l->conn->rail->index : 0;
  const struct mr_part *p = part_for(m, l->domain);
  if (p == NULL) p = m->parts; /* of another domain: the peer's put will be refused */
  for (unsigned i = 0; p != NULL && p->mr[rail] == NULL && i < l->tp->n_rails; i++) rail = i; /* its device was removed */
  uint64_t at = (uint64_t)(uintptr_t)ptr;
  assert(at >> RAIL_SHIFT == 0);
  return (struct tp_raddr){.key = p != NULL && p->mr[rail] != NULL ? p->mr[rail]->rkey : 0, .off = (uint64_t)rail << RAIL_SHIFT | at};
}

uint32_t verbs_key_on(const struct tp *tp, const struct domain *d, unsigned from, uint32_t key, unsigned to) {
  if (from >= tp->n_rails) return 0;
  for (const struct tp_mr *m = tp->regions; m != NULL; m = m->next) {
    const struct mr_part *p = part_for(m, d);
    if (p == NULL || !(m->access & IBV_ACCESS_REMOTE_WRITE) || p->mr[from] == NULL || p->mr[from]->rkey != key) continue;
    return p->mr[to] != NULL ? p->mr[to]->rkey : 0;
  }
  return 0;
}
