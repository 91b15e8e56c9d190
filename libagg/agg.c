/* The public functions: check the handle, hand over. No logic of their own. */
#include "agg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "comm.h"
#include "op.h"

const char *agg_error_text(const agg_t *a) { return a != NULL ? a->error.text : "no instance"; }

int agg_ticket_create(agg_t *a, agg_ticket_t *ticket) {
  agg_error_t err = {0};
  if (a == NULL) return AGG_EINVAL;
  if (agg_usable(a) != AGG_OK) return AGG_EFORKED;
  int rc = ticket != NULL ? instance_ticket_make(a, ticket, &err) : err_set(&err, AGG_EINVAL, "ticket: NULL");
  return rc == AGG_OK ? AGG_OK : agg_keep_error(a, &err);
}

int agg_comm_create(agg_t *a, const agg_ticket_t *ticket, uint32_t rank, uint32_t size, agg_comm_t **comm) {
  agg_error_t err = {0};
  char host[256];
  uint16_t port;
  unsigned char group[CONTROL_GROUP_BYTES];
  int rc = AGG_OK;
  if (a == NULL) return AGG_EINVAL;
  if (agg_usable(a) != AGG_OK) return AGG_EFORKED;
  if (ticket == NULL || comm == NULL) rc = err_set(&err, AGG_EINVAL, "%s: NULL", ticket == NULL ? "ticket" : "comm");
  if (rc == AGG_OK && (size == 0 || rank >= size)) rc = err_set(&err, AGG_EINVAL, "rank: %u of %u ranks", rank, size);
  if (rc == AGG_OK) rc = instance_ticket_read(ticket, host, sizeof host, &port, group, &err);
  if (rc == AGG_OK) rc = comm_create(a, host, port, group, rank, size, comm, &err);
  return rc == AGG_OK ? AGG_OK : agg_keep_error(a, &err);
}

int agg_comm_create_world(agg_t *a, agg_comm_t **comm) {
  agg_error_t err = {0};
  char host[256];
  uint16_t port;
  unsigned char group[CONTROL_GROUP_BYTES];
  if (a == NULL) return AGG_EINVAL;
  if (agg_usable(a) != AGG_OK) return AGG_EFORKED;
  int rc = comm != NULL ? instance_world(a, host, sizeof host, &port, group, &err) : err_set(&err, AGG_EINVAL, "comm: NULL");
  if (rc == AGG_OK) rc = comm_create(a, host, port, group, a->config.rank, a->config.world, comm, &err);
  return rc == AGG_OK ? AGG_OK : agg_keep_error(a, &err);
}

void agg_comm_destroy(agg_comm_t *c) {
  if (c != NULL && agg_usable(c->agg) == AGG_OK) comm_destroy(c);
}

uint32_t agg_comm_rank(const agg_comm_t *c) { return c != NULL ? c->rank : 0; }
uint32_t agg_comm_size(const agg_comm_t *c) { return c != NULL ? c->size : 0; }

int agg_comm_status(const agg_comm_t *c) {
  if (c == NULL) return AGG_EINVAL;
  return agg_usable(c->agg) == AGG_OK ? atomic_load(&c->status) : AGG_EFORKED;
}

const char *agg_comm_error_text(const agg_comm_t *c) { return c != NULL ? c->error.text : "no communicator"; }

struct stats_call {
  const struct plane *plane;
  struct plane_stats stats;
};
static void stats_on_reactor(void *arg) {
  struct stats_call *call = arg;
  plane_get_stats(call->plane, &call->stats);
}

int agg_comm_get_info(const agg_comm_t *c, agg_comm_info_t *info) {
  if (c == NULL || info == NULL || info->size != sizeof *info) return AGG_EINVAL;
  if (agg_usable(c->agg) != AGG_OK) return AGG_EFORKED;
  agg_comm_info_t made = {.size = sizeof made,
                          .rank = c->rank,
                          .ranks = c->size,
                          .servers = c->setup.n_nodes - c->size,
                          .lanes = c->setup.plan.lanes,
                          .window = c->setup.plan.window,
                          .chunk_bytes = c->setup.plan.chunk_bytes,
                          .buffer_bytes = c->buffer_bytes,
                          .operations = atomic_load(&c->operations),
                          .late_allocs = atomic_load(&c->late_allocs)};
  plan_text(&c->setup.plan, made.plan, sizeof made.plan);
  str_copy(made.transport, sizeof made.transport, c->transports);
  ways_first(c->ways, made.path, sizeof made.path);
  for (uint32_t i = 0; i < c->n_planes; i++) {
    struct stats_call call = {.plane = c->planes[i].plane};
    reactor_call(c->agg->reactors[c->planes[i].reactor], stats_on_reactor, &call);
    made.chunks += call.stats.chunks;
  }
  *info = made;
  return AGG_OK;
}

/* Between the middles of two sizes on a scale of factors. */
static double predicted(const struct plan *plan, uint32_t forest, uint64_t bytes) {
  uint32_t s = plan_size_of(bytes), other = bytes < plan_size_bytes(s) ? s - (s > 0) : s + (s + 1 < PLAN_SIZES);
  double here = (double)plan->predicted[s][forest], there = (double)plan->predicted[other][forest];
  if (other == s || here <= 0 || there <= 0 || bytes == 0) return here;
  double part = log((double)bytes / (double)plan_size_bytes(s)) / log((double)plan_size_bytes(other) / (double)plan_size_bytes(s));
  return here * pow(there / here, part);
}

int agg_comm_predict(agg_comm_t *c, size_t bytes, agg_prediction_t *prediction) {
  if (c == NULL || prediction == NULL || prediction->size != sizeof *prediction) return AGG_EINVAL;
  if (agg_usable(c->agg) != AGG_OK) return AGG_EFORKED;
  const struct plan *plan = &c->setup.plan;
  uint32_t forest = plan_forest(plan, OP_ALLREDUCE, bytes);
  pthread_mutex_lock(&c->post_lock);
  if (c->tune != NULL && c->tune->changed[plan_size_of(bytes)]) forest = c->tune->forest[plan_size_of(bytes)];
  pthread_mutex_unlock(&c->post_lock);
  agg_prediction_t made = {.size = sizeof made, .seconds = predicted(plan, forest, bytes), .bound_s = plan->bound * (double)bytes};
  forest_name(&plan->forest[forest], made.forest, sizeof made.forest);
  *prediction = made;
  return AGG_OK;
}

/* ---- operations ---------------------------------------------------------------------------------------------------------------------- */

int agg_allreduce(agg_comm_t *c, const void *send, void *recv, size_t count, agg_dtype_t dtype, agg_redop_t op,
                  const agg_op_options_t *options, agg_request_t **request) {
  return op_post(c, &(struct op_args){.kind = OP_ALLREDUCE, .send = send, .recv = recv, .count = count, .dtype = dtype, .redop = op},
                 options, request);
}

int agg_reduce(agg_comm_t *c, const void *send, void *recv, size_t count, agg_dtype_t dtype, agg_redop_t op, uint32_t root,
               const agg_op_options_t *options, agg_request_t **request) {
  return op_post(
      c, &(struct op_args){.kind = OP_REDUCE, .send = send, .recv = recv, .count = count, .dtype = dtype, .redop = op, .root = root},
      options, request);
}

int agg_broadcast(agg_comm_t *c, const void *send, void *recv, size_t count, agg_dtype_t dtype, uint32_t root,
                  const agg_op_options_t *options, agg_request_t **request) {
  return op_post(c, &(struct op_args){.kind = OP_BROADCAST, .send = send, .recv = recv, .count = count, .dtype = dtype, .root = root},
                 options, request);
}

int agg_reduce_scatter(agg_comm_t *c, const void *send, void *recv, size_t count, agg_dtype_t dtype, agg_redop_t op,
                       const agg_op_options_t *options, agg_request_t **request) {
  return op_post(c, &(struct op_args){.kind = OP_REDUCE_SCATTER, .send = send, .recv = recv, .count = count, .dtype = dtype, .redop = op},
                 options, request);
}

int agg_allgather(agg_comm_t *c, const void *send, void *recv, size_t count, agg_dtype_t dtype, const agg_op_options_t *options,
                  agg_request_t **request) {
  return op_post(c, &(struct op_args){.kind = OP_ALLGATHER, .send = send, .recv = recv, .count = count, .dtype = dtype}, options, request);
}

int agg_gather(agg_comm_t *c, const void *send, void *recv, size_t count, agg_dtype_t dtype, uint32_t root, const agg_op_options_t *options,
               agg_request_t **request) {
  return op_post(c, &(struct op_args){.kind = OP_GATHER, .send = send, .recv = recv, .count = count, .dtype = dtype, .root = root}, options,
                 request);
}

int agg_scatter(agg_comm_t *c, const void *send, void *recv, size_t count, agg_dtype_t dtype, uint32_t root,
                const agg_op_options_t *options, agg_request_t **request) {
  return op_post(c, &(struct op_args){.kind = OP_SCATTER, .send = send, .recv = recv, .count = count, .dtype = dtype, .root = root},
                 options, request);
}

int agg_barrier(agg_comm_t *c, const agg_op_options_t *options, agg_request_t **request) {
  return op_post(c, &(struct op_args){.kind = OP_BARRIER, .dtype = AGG_U8}, options, request);
}
