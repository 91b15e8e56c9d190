/* The collectives as data: what each gives and gets, its call, its result. */
#include "opcase.h"

const char *kind_name(enum kind k) {
  static const char *const names[] = {"allreduce", "reduce", "broadcast", "reduce_scatter", "allgather", "gather", "scatter"};
  return names[k];
}

int kind_reduces(enum kind k) { return k == ALLREDUCE || k == REDUCE || k == REDUCE_SCATTER; }
int kind_has_root(enum kind k) { return k == REDUCE || k == BROADCAST || k == GATHER || k == SCATTER; }

uint64_t op_given(const struct op_case *c, uint32_t rank, uint32_t n) {
  switch (c->kind) {
    case BROADCAST:
      return rank == c->root ? c->count : 0;
    case SCATTER:
      return rank == c->root ? n * c->count : 0;
    case REDUCE_SCATTER:
      return n * c->count;
    default:
      return c->count;
  }
}

uint64_t op_gotten(const struct op_case *c, uint32_t rank, uint32_t n) {
  switch (c->kind) {
    case REDUCE:
      return rank == c->root ? c->count : 0;
    case GATHER:
      return rank == c->root ? n * c->count : 0;
    case ALLGATHER:
      return n * c->count;
    default:
      return c->count;
  }
}

int op_call(agg_comm_t *comm, const struct op_case *c, const void *send, void *recv, const agg_op_options_t *o, agg_request_t **request) {
  switch (c->kind) {
    case ALLREDUCE:
      return agg_allreduce(comm, send, recv, c->count, c->dtype, c->op, o, request);
    case REDUCE:
      return agg_reduce(comm, send, recv, c->count, c->dtype, c->op, c->root, o, request);
    case BROADCAST:
      return agg_broadcast(comm, send, recv, c->count, c->dtype, c->root, o, request);
    case REDUCE_SCATTER:
      return agg_reduce_scatter(comm, send, recv, c->count, c->dtype, c->op, o, request);
    case ALLGATHER:
      return agg_allgather(comm, send, recv, c->count, c->dtype, o, request);
    case GATHER:
      return agg_gather(comm, send, recv, c->count, c->dtype, c->root, o, request);
    default:
      return agg_scatter(comm, send, recv, c->count, c->dtype, c->root, o, request);
  }
}

int op_result_ok(const struct op_case *c, const struct expect *e, uint32_t rank, const char *recv, char *text) {
  size_t block = c->count * agg_dtype_size(c->dtype);
  if (op_gotten(c, rank, e->ranks) == 0) return 1;
  switch (c->kind) {
    case BROADCAST:
      return expect_given(e, c->root, 0, c->count, recv, text);
    case SCATTER:
      return expect_given(e, c->root, rank * c->count, c->count, recv, text);
    case REDUCE_SCATTER:
      return expect_reduced(e, rank * c->count, c->count, recv, text);
    case ALLGATHER:
    case GATHER:
      for (uint32_t r = 0; r < e->ranks; r++)
        if (!expect_given(e, r, 0, c->count, recv + r * block, text)) return 0;
      return 1;
    default:
      return expect_reduced(e, 0, c->count, recv, text);
  }
}
