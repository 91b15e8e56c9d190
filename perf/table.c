/* Operations and memory kinds as tables, and the bandwidth definitions of nccl-tests. */
#include "perf/perf.h"

static const struct op_row OPS[OP_COUNT] = {
    [OP_ALLREDUCE] = {"allreduce", 1, 0, 0, 0}, [OP_REDUCE] = {"reduce", 1, 1, 0, 0},
    [OP_BROADCAST] = {"broadcast", 0, 1, 0, 0}, [OP_REDUCE_SCATTER] = {"reduce_scatter", 1, 0, 1, 0},
    [OP_ALLGATHER] = {"allgather", 0, 0, 0, 1}, [OP_GATHER] = {"gather", 0, 1, 0, 1},
    [OP_SCATTER] = {"scatter", 0, 1, 1, 0},     [OP_BARRIER] = {"barrier", 0, 0, 0, 0},
};

const struct op_row *op_row(enum perf_op op) { return &OPS[op]; }

double op_bus_factor(enum perf_op op, uint32_t ranks) {
  double n = ranks;
  switch (op) {
    case OP_ALLREDUCE:
      return 2 * (n - 1) / n;
    case OP_REDUCE:
    case OP_BROADCAST:
      return 1;
    default:
      return (n - 1) / n;
  }
}

int op_sends(enum perf_op op, uint32_t rank, uint32_t root) {
  return op != OP_BARRIER && ((op != OP_BROADCAST && op != OP_SCATTER) || rank == root);
}

int op_receives(enum perf_op op, uint32_t rank, uint32_t root) {
  return op != OP_BARRIER && ((op != OP_REDUCE && op != OP_GATHER) || rank == root);
}

const char *memory_name(enum perf_memory memory) {
  static const char *const NAMES[MEMORY_COUNT] = {"agg", "malloc", "register"};
  return NAMES[memory];
}
