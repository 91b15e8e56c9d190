/* Which cases are run: all combinations that make sense, in the order operation, type, operator, size, place. */
#include <string.h>

#include "perf/perf.h"

static int run_case(struct perf *perf, const struct perf_case *c, uint64_t *wrong) {
  struct perf_result result;
  if (measure_case(perf, c, &result) != 0) return -1;
  *wrong += result.wrong;
  report_case(perf, c, &result);
  return 0;
}

static int run_places(struct perf *perf, struct perf_case *c, uint64_t *wrong) {
  for (int inplace = 0; inplace < 2; inplace++) {
    if ((perf->args.inplace & 1 << inplace) == 0) continue;
    c->inplace = inplace;
    if (run_case(perf, c, wrong) != 0) return -1;
  }
  return 0;
}

static int run_sizes(struct perf *perf, struct perf_case *c, uint64_t *wrong) {
  if (perf->args.model != NULL) return run_places(perf, c, wrong);
  for (uint32_t s = 0; s < perf->args.n_sizes; s++) {
    c->bytes = perf->args.sizes[s];
    if (run_places(perf, c, wrong) != 0) return -1;
  }
  return 0;
}

static int run_op(struct perf *perf, enum perf_op op, uint64_t *wrong) {
  struct perf_case c = {.op = op, .dtype = AGG_F32};
  if (op == OP_BARRIER) return run_case(perf, &c, wrong);
  for (int d = 0; d < AGG_DTYPE_COUNT; d++) {
    if ((perf->args.dtypes & 1u << d) == 0) continue;
    c.dtype = (agg_dtype_t)d;
    for (int r = 0; r < AGG_REDOP_COUNT; r++) {
      if (op_row(op)->reduces ? (perf->args.redops & 1u << r) == 0 : r != AGG_SUM) continue;
      c.redop = (agg_redop_t)r;
      if (run_sizes(perf, &c, wrong) != 0) return -1;
    }
  }
  return 0;
}

int cases_run(struct perf *perf) {
  uint64_t wrong = 0;
  report_header(perf);
  for (int op = 0; op < OP_COUNT; op++) {
    if ((perf->args.ops & 1u << op) != 0 && run_op(perf, (enum perf_op)op, &wrong) != 0) return 2;
  }
  report_footer(perf, wrong);
  return wrong > 0 ? 1 : 0;
}
