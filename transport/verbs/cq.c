/*
 * Owns completion queues: several connections share one, another is made when it is full, so that none can overrun. Also wr_ids: they name
 * a connection by number and generation, so that a completion which comes after its connection is gone is recognised and dropped.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

#define CQ_ENTRIES 8192u
#define BATCH 16
#define ROUNDS 64 /* batches in one poll of a queue */

/* kind 8, generation 16, index 16, arg 24 bits */
uint64_t wr_id(const struct conn *c, enum wr_kind kind, uint32_t arg) {
  return (uint64_t)kind << 56 | (uint64_t)c->generation << 40 | (uint64_t)c->index << 24 | (arg & WR_ARG_MASK);
}

struct conn *verbs_conn_of(struct tp *tp, uint64_t id) {
  uint16_t index = (uint16_t)(id >> 24), generation = (uint16_t)(id >> 40);
  if (index >= tp->conns_cap || tp->conns[index].generation != generation) return NULL;
  return tp->conns[index].conn;
}

int cq_get(struct rail *r, uint32_t entries, struct cq **out, agg_error_t *err) {
  uint32_t most = r->device.max_cqe > 0 ? (uint32_t)r->device.max_cqe : CQ_ENTRIES;
  if (entries > most)
    return err_set(err, AGG_ELIMIT, "%s: a lane needs %u completion entries, the device has %u: lower AGG_WINDOW", r->name, entries, most);
  for (struct cq *q = r->cqs; q != NULL; q = q->next) {
    if (q->cap - q->used < entries) continue;
    q->used += entries;
    *out = q;
    return AGG_OK;
  }
  struct cq *q = calloc(1, sizeof *q);
  if (q == NULL) return err_set(err, AGG_ENOMEM, "no memory for a completion queue");
  q->rail = r;
  q->cap = MIN_OF(MAX_OF(CQ_ENTRIES, entries), most);
  q->cq = ibv_create_cq(r->ctx, (int)q->cap, q, r->channel, 0);
  if (q->cq == NULL) {
    int why = errno;
    uint32_t cap = q->cap;
    free(q);
    if (why == ENOMEM) return explain_memory(err, why, (size_t)cap * 64, r);
    return err_sys(err, AGG_ESYS, why, "%s: no completion queue of %u entries", r->name, cap);
  }
  q->used = entries;
  q->next = r->cqs;
  r->cqs = q;
  *out = q;
  return AGG_OK;
}

void cq_put(struct cq *q, uint32_t entries, int stale) {
  if (stale)
    q->stale += entries;
  else
    q->used -= entries;
}

void cq_fini(struct rail *r) {
  while (r->cqs != NULL) {
    struct cq *q = r->cqs;
    r->cqs = q->next;
    ibv_destroy_cq(q->cq);
    free(q);
  }
}

int cq_poll(struct cq *q) {
  struct ibv_wc wc[BATCH];
  int sum = 0, n = BATCH;
  for (int round = 0; round < ROUNDS && n == BATCH; round++) {
    n = ibv_poll_cq(q->cq, BATCH, wc);
    for (int i = 0; i < n; i++) {
      struct conn *c = verbs_conn_of(q->rail->tp, wc[i].wr_id);
      if (c != NULL) conn_completed(c, &wc[i], (unsigned)(wc[i].wr_id >> 56), (uint32_t)wc[i].wr_id & WR_ARG_MASK);
    }
    if (n > 0) sum += n;
  }
  if (n < BATCH && q->stale != 0) { /* seen empty */
    q->used -= q->stale;
    q->stale = 0;
  }
  return sum;
}

int cq_arm(struct rail *r) {
  for (struct cq *q = r->cqs; q != NULL; q = q->next) {
    if (q->armed) continue;
    int rc = ibv_req_notify_cq(q->cq, 0);
    if (rc != 0) return rc;
    q->armed = 1;
  }
  return 0;
}

static int any_armed(const struct rail *r) {
  for (const struct cq *q = r->cqs; q != NULL; q = q->next)
    if (q->armed) return 1;
  return 0;
}

/* One event for each queue that was armed at most: the system call that would find no more of them is spared. */
void cq_rang(struct rail *r) {
  struct ibv_cq *cq;
  void *context;
  while (any_armed(r) && ibv_get_cq_event(r->channel, &cq, &context) == 0) {
    struct cq *q = context;
    q->armed = 0;
    ibv_ack_cq_events(cq, 1);
  }
}
