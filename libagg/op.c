/*
 * Operations: checking the arguments, making a request, handing it to the planes, waiting for it. Nothing is sent here; what an operation
 * does is the engine's business.
 */
#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "comm.h"
#include "op.h"

/* ---- checks ----------------------------------------------------------------------------------------------------------------------- */

static int reduces(unsigned kind) { return kind == OP_ALLREDUCE || kind == OP_REDUCE || kind == OP_REDUCE_SCATTER; }
static int rooted(unsigned kind) { return kind == OP_REDUCE || kind == OP_BROADCAST || kind == OP_GATHER || kind == OP_SCATTER; }

static int check_options(const agg_op_options_t *o, const struct op_args *a, agg_request_t **request, agg_error_t *err) {
  if (o != NULL) {
    if (o->size != sizeof *o) return err_set(err, AGG_EINVAL, "options: its size is %zu, this library expects %zu", o->size, sizeof *o);
    if ((unsigned)o->priority >= AGG_PRIORITY_COUNT) return err_set(err, AGG_EINVAL, "options: priority %d is unknown", (int)o->priority);
    if (!(o->timeout_s >= 0) || isinf(o->timeout_s))
      return err_set(err, AGG_EINVAL, "options: timeout_s must be a number of seconds, 0 or more");
  }
  if (request == NULL && (o == NULL || o->callback == NULL))
    return err_set(err, AGG_EINVAL, "request: NULL is allowed only with a callback (%s)", op_kind_name(a->kind));
  return AGG_OK;
}

static int check_enums(const struct agg_comm *c, const struct op_args *a, agg_error_t *err) {
  if ((unsigned)a->dtype >= AGG_DTYPE_COUNT) return err_set(err, AGG_EINVAL, "dtype: %d is unknown", (int)a->dtype);
  if (reduces(a->kind) && (unsigned)a->redop >= AGG_REDOP_COUNT) return err_set(err, AGG_EINVAL, "op: %d is unknown", (int)a->redop);
  if (rooted(a->kind) && a->root >= c->size)
    return err_set(err, AGG_EINVAL, "root: %u, but the communicator has %u ranks", a->root, c->size);
  return AGG_OK;
}

/* The one place of recv, relative to send, at which the two may share memory. */
static ptrdiff_t in_place_distance(const struct agg_comm *c, const struct op_layout *l) {
  ptrdiff_t block = (ptrdiff_t)(l->desc.count * l->elem_bytes * c->rank);
  switch (l->desc.kind) {
    case OP_REDUCE_SCATTER:
    case OP_SCATTER:
      return block;
    case OP_ALLGATHER:
    case OP_GATHER:
      return -block;
    default:
      return 0;
  }
}

static int check_buffers(const struct agg_comm *c, const struct op_args *a, const struct op_layout *l, agg_error_t *err) {
  uint64_t sends = op_send_bytes(l, c->rank), recvs = op_recv_bytes(l, c->rank);
  if (sends != 0 && a->send == NULL) return err_set(err, AGG_EINVAL, "send: NULL, but %llu bytes are sent", (unsigned long long)sends);
  if (recvs != 0 && a->recv == NULL) return err_set(err, AGG_EINVAL, "recv: NULL, but %llu bytes are received", (unsigned long long)recvs);
  uintptr_t s = (uintptr_t)a->send, r = (uintptr_t)a->recv;
  if (sends > UINTPTR_MAX - s || recvs > UINTPTR_MAX - r)
    return err_set(err, AGG_EINVAL, "count: the buffer would reach beyond the address space");
  if (sends == 0 || recvs == 0 || s + sends <= r || r + recvs <= s || (ptrdiff_t)(r - s) == in_place_distance(c, l)) return AGG_OK;
  return err_set(err, AGG_EINVAL, "recv: it overlaps send partly (send %p + %llu, recv %p + %llu); in place needs recv == send %+td here",
                 a->send, (unsigned long long)sends, a->recv, (unsigned long long)recvs, in_place_distance(c, l));
}

/* ---- requests ----------------------------------------------------------------------------------------------------------------------- */

void request_unref(struct agg_request *r) {
  if (atomic_fetch_sub(&r->refs, 1) != 1) return;
  struct agg_comm *c = r->comm;
  pthread_mutex_lock(&c->post_lock);
  r->next_free = c->free_requests;
  c->free_requests = r;
  pthread_mutex_unlock(&c->post_lock);
  comm_unref(c);
}

/* What the planes need, one entry a lane: the registered memory differs by reactor. */
static void fill_plane_ops(struct agg_request *r, const struct op_args *a, const struct op_layout *l, uint64_t deadline) {
  struct agg_comm *c = r->comm;
  uint64_t sends = op_send_bytes(l, c->rank), recvs = op_recv_bytes(l, c->rank);
  const struct mem_region *from = sends != 0 ? mem_registry_find(&c->agg->memory, a->send, sends) : NULL;
  const struct mem_region *to = recvs != 0 ? mem_registry_find(&c->agg->memory, a->recv, recvs) : NULL;
  for (uint32_t lane = 0; lane < c->setup.plan.lanes; lane++) {
    struct plane_op *op = &r->ops[lane];
    unsigned reactor = c->planes[r->priority * c->setup.plan.lanes + lane].reactor;
    *op = (struct plane_op){.user = r,
                            .desc = l->desc,
                            .seq = r->seq,
                            .deadline = deadline,
                            .send = a->send,
                            .recv = a->recv,
                            .send_bytes = sends,
                            .recv_bytes = recvs,
                            .send_shared = from != NULL && from->block.addr != NULL};
    if (from != NULL) memcpy(op->send_mr, from->mr[reactor], sizeof op->send_mr);
    if (to != NULL) memcpy(op->recv_mr, to->mr[reactor], sizeof op->recv_mr);
  }
}

static struct agg_request *take_request(struct agg_comm *c, agg_error_t *err) {
  if (c->free_requests == NULL && comm_reserve_requests(c) != AGG_OK) {
    err_set(err, AGG_ENOMEM, "no memory for a request");
    return NULL;
  }
  struct agg_request *r = c->free_requests;
  c->free_requests = r->next_free;
  return r;
}

/* With post_lock: fills the request and makes it visible to the planes. */
static void publish(struct agg_comm *c, struct agg_request *r, const struct op_args *a, const struct op_layout *l, double timeout,
                    uint32_t refs) {
  struct comm_queue *q = &c->queues[r->priority];
  r->seq = atomic_load_explicit(&q->posted, memory_order_relaxed);
  r->reactor = comm_reactor(c, r->priority);
  r->posted_ns = clock_now_ns();
  r->alone = atomic_load(&c->completed) == atomic_load_explicit(&c->posts, memory_order_relaxed);
  r->number = atomic_fetch_add(&c->posts, 1) + 1;
  atomic_store_explicit(&r->done, 0, memory_order_relaxed);
  atomic_store_explicit(&r->refs, refs, memory_order_relaxed);
  atomic_store_explicit(&r->planes_left, c->setup.plan.lanes, memory_order_relaxed);
  fill_plane_ops(r, a, l, timeout >= 1e9 ? UINT64_MAX : r->posted_ns + (uint64_t)(timeout * 1e9));
  atomic_store(&q->ring[r->seq % COMM_OPS_MAX], r);
  atomic_store(&q->posted, r->seq + 1);
}

/* With post_lock: the round of times, where one is due. Every rank comes to it at the same operation. */
static void post_round(struct agg_comm *c) {
  struct comm_queue *q = &c->queues[AGG_PRIORITY_NORMAL];
  uint32_t seq = atomic_load_explicit(&q->posted, memory_order_relaxed);
  struct op_desc desc = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .redop = AGG_MIN, .count = TUNE_VALUES};
  struct op_args a = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .redop = AGG_MIN, .count = TUNE_VALUES};
  struct agg_request *r = c->round;
  struct op_layout l;
  if (!tune_round_due(c->tune, seq)) return;
  desc.forest = (uint8_t)plan_forest(&c->setup.plan, OP_ALLREDUCE, TUNE_VALUES * sizeof(float));
  (void)op_layout_init(&l, &desc, &c->setup.plan.forest[desc.forest], c->setup.plan.lanes, c->setup.plan.chunk_bytes, NULL);
  a.send = c->tune->give;
  a.recv = c->tune->agreed;
  r->priority = AGG_PRIORITY_NORMAL;
  r->internal = 1;
  r->sample = TUNE_NONE;
  publish(c, r, &a, &l, c->setup.timeout_s, 0);
}

/* With post_lock: the next sequence number, visible to the planes when it returns. */
static int enqueue(struct agg_comm *c, const struct op_args *a, struct op_layout *l, const agg_op_options_t *o, int wanted,
                   struct agg_request **out, agg_error_t *err) {
  unsigned priority = o != NULL ? (unsigned)o->priority : AGG_PRIORITY_NORMAL;
  struct comm_queue *q = &c->queues[priority];
  uint32_t seq = atomic_load_explicit(&q->posted, memory_order_relaxed);
  int status = atomic_load(&c->status), tuned = c->tune != NULL && priority == AGG_PRIORITY_NORMAL;
  if (status != AGG_OK) return status; /* its text is in the handle already */
  if (atomic_load(&q->ring[seq % COMM_OPS_MAX]) != NULL)
    return err_set(err, AGG_ELIMIT, "%u operations are outstanding on this communicator: wait for some first", COMM_OPS_MAX);
  struct agg_request *r = take_request(c, err);
  if (r == NULL) return AGG_ENOMEM;
  r->priority = priority;
  r->callback.fn = o != NULL ? o->callback : NULL;
  r->callback.user = o != NULL ? o->user : NULL;
  r->internal = 0;
  r->sample = TUNE_NONE;
  if (tuned) tune_settle(c->tune, seq);
  if (tuned && a->kind == OP_ALLREDUCE) {
    l->desc.forest = (uint8_t)tune_forest(c->tune, l->desc.count * l->elem_bytes, &r->sample);
    r->generation = atomic_load(&c->tune->generation);
  }
  publish(c, r, a, l, o != NULL && o->timeout_s > 0 ? o->timeout_s : c->setup.timeout_s, (uint32_t)wanted + (r->callback.fn != NULL));
  atomic_fetch_add(&c->refs, 1);
  *out = r;
  if (tuned) post_round(c);
  return AGG_OK;
}

int op_post(struct agg_comm *c, const struct op_args *a, const agg_op_options_t *options, agg_request_t **request) {
  agg_error_t err = {0};
  struct op_layout l;
  struct agg_request *r = NULL;
  struct op_desc desc = {.count = a->count, .root = a->root, .kind = (uint8_t)a->kind, .redop = reduces(a->kind) ? (uint8_t)a->redop : 0};
  if (c == NULL) return AGG_EINVAL;
  if (agg_usable(c->agg) != AGG_OK) return AGG_EFORKED;
  int rc = check_options(options, a, request, &err);
  if (rc == AGG_OK) rc = check_enums(c, a, &err);
  if (rc != AGG_OK) return comm_keep_error(c, &err);
  desc.dtype = (uint8_t)a->dtype;
  uint64_t elem = agg_dtype_size(a->dtype);
  desc.forest = (uint8_t)plan_forest(&c->setup.plan, (unsigned)a->kind, a->count > UINT64_MAX / elem ? UINT64_MAX : a->count * elem);
  rc = op_layout_init(&l, &desc, &c->setup.plan.forest[desc.forest], c->setup.plan.lanes, c->setup.plan.chunk_bytes, &err);
  if (rc == AGG_OK) rc = check_buffers(c, a, &l, &err);
  if (rc == AGG_OK && options != NULL && options->callback != NULL) rc = callbacks_ensure(c->agg->callbacks, &err);
  if (rc != AGG_OK) return comm_keep_error(c, &err);
  pthread_mutex_lock(&c->post_lock);
  rc = enqueue(c, a, &l, options, request != NULL, &r, &err);
  pthread_mutex_unlock(&c->post_lock);
  if (rc != AGG_OK) return err.code != 0 ? comm_keep_error(c, &err) : rc;
  if (request != NULL) *request = r;
  for (unsigned i = 0; i < c->agg->n_reactors; i++) reactor_kick(c->agg->reactors[i]);
  return AGG_OK;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------------------------
 */

static int finish_request(agg_request_t **request) {
  int status = (*request)->status;
  request_unref(*request);
  *request = NULL;
  return status;
}

int agg_wait(agg_request_t **request, double timeout_s) {
  if (request == NULL || *request == NULL) return AGG_EINVAL;
  struct agg_request *r = *request;
  struct agg *a = r->comm->agg;
  if (agg_usable(a) != AGG_OK) return AGG_EFORKED;
  if (!atomic_load_explicit(&r->done, memory_order_acquire)) {
    if (timeout_s != timeout_s) return AGG_EINVAL;
    uint64_t deadline = timeout_s < 0 || timeout_s >= 1e9 ? UINT64_MAX : clock_now_ns() + (uint64_t)(timeout_s * 1e9);
    if (!reactor_wait(r->reactor, &r->done, 0, deadline)) return AGG_EINPROGRESS;
  }
  return finish_request(request);
}

int agg_test(agg_request_t **request) {
  if (request == NULL || *request == NULL) return AGG_EINVAL;
  struct agg_request *r = *request;
  if (agg_usable(r->comm->agg) != AGG_OK) return AGG_EFORKED;
  if (!atomic_load_explicit(&r->done, memory_order_acquire)) {
    reactor_kick(r->reactor);
    if (!atomic_load_explicit(&r->done, memory_order_acquire)) return AGG_EINPROGRESS;
  }
  return finish_request(request);
}
