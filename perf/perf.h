/*
 * agg-perf: measures the collective operations of libagg and checks their results. It uses nothing but agg.h.
 *
 *   args.c     the command line                      table.c   names and properties of operations and types
 *   cases.c    which cases are run, in which order   models.c  gradient sizes of well-known networks
 *   measure.c  runs one case: buffers, clock, CPU    number.c  f16, bf16 and the rest as doubles and integers
 *   check.c    inputs, expected results, comparison  report.c  the table and the JSON lines
 */
#ifndef PERF_PERF_H
#define PERF_PERF_H

#include <stddef.h>
#include <stdint.h>

#include "agg.h"

/* ---- operations and types ------------------------------------------------------------------------------------------------------ */

enum perf_op { OP_ALLREDUCE, OP_REDUCE, OP_BROADCAST, OP_REDUCE_SCATTER, OP_ALLGATHER, OP_GATHER, OP_SCATTER, OP_BARRIER, OP_COUNT };

struct op_row {
  const char *name;
  int reduces;     /* has a sum operator */
  int rooted;      /* has a root */
  int send_blocks; /* 1: send holds one block a rank */
  int recv_blocks; /* 1: recv holds one block a rank */
};
const struct op_row *op_row(enum perf_op op);

/* busbw = algbw x this, as nccl-tests define it. */
double op_bus_factor(enum perf_op op, uint32_t ranks);
/* Whether the rank's send (recv) buffer is used at all. */
int op_sends(enum perf_op op, uint32_t rank, uint32_t root);
int op_receives(enum perf_op op, uint32_t rank, uint32_t root);

/* ---- arguments ----------------------------------------------------------------------------------------------------------------- */

#define SIZES_MAX 256
#define OUTSTANDING_MAX 1024

enum perf_memory { MEMORY_AGG, MEMORY_MALLOC, MEMORY_REGISTER, MEMORY_COUNT };
const char *memory_name(enum perf_memory memory);

struct perf_args {
  uint32_t ops, dtypes, redops; /* bit i: number i of the enum is wanted */
  uint64_t sizes[SIZES_MAX];    /* bytes */
  uint32_t n_sizes;
  int inplace; /* bit 0: out of place, bit 1: in place */
  uint32_t root;
  uint32_t warmup, iterations; /* iterations 0: chosen by time */
  uint32_t outstanding;
  enum perf_memory memory;
  agg_priority_t priority;
  const struct model *model; /* NULL: sizes */
  int json, check, explain;
};

enum args_verdict { ARGS_RUN, ARGS_HELP, ARGS_VERSION };

/* 0, or -1 with a one-line text that says what to change. */
int args_parse(struct perf_args *args, int argc, char **argv, enum args_verdict *verdict, char *text, size_t cap);
void args_help(void);

/* ---- models -------------------------------------------------------------------------------------------------------------------- */

/* The gradients of a network, in the order of its parameters: `times` times the `n` counts, for every block. */
struct model_block {
  const uint32_t *counts;
  uint32_t n, times;
};
struct model {
  const char *name;
  const struct model_block *blocks;
  uint32_t n_blocks;
};
const struct model *model_find(const char *name); /* NULL: unknown */
const char *model_names(void);
uint32_t model_tensors(const struct model *m);
uint64_t model_elements(const struct model *m);
uint32_t model_count(const struct model *m, uint32_t tensor); /* elements of one tensor */

/* ---- numbers ------------------------------------------------------------------------------------------------------------------- */

/* An element as a number: floats in f, integers in i (u64 wraps into it). */
struct number {
  double f;
  int64_t i;
};
int dtype_is_float(agg_dtype_t dtype);
int dtype_digits(agg_dtype_t dtype); /* bits of precision: 24 for f32; the width for integers */
struct number number_load(agg_dtype_t dtype, const void *at);
/* Rounds floats to nearest even, wraps integers. */
void number_store(agg_dtype_t dtype, void *at, struct number value);
double half_to_double(uint16_t bits);
uint16_t half_from_double(double value);
double bfloat_to_double(uint16_t bits);
uint16_t bfloat_from_double(double value);

/* ---- checking ------------------------------------------------------------------------------------------------------------------ */

/* One operation of a case as its data needs it. */
struct part {
  enum perf_op op;
  agg_dtype_t dtype;
  agg_redop_t redop;
  uint32_t rank, ranks, root;
  size_t count;   /* elements of a block */
  uint64_t round; /* different for every iteration and outstanding operation: the inputs depend on it */
  void *send, *recv;
  int inplace;
};

/* Elements of the send and recv buffers of this rank (0: not used), and where in place puts send into recv (in elements). */
size_t part_send_elems(const struct part *p);
size_t part_recv_elems(const struct part *p);

/* Writes fresh inputs, and into recv something that differs from the right result at every element. */
void check_fill(const struct part *p);
/* Elements of recv that are not what they must be. Sums of exactly representable inputs must be exact; AVG may be off by one rounding. */
uint64_t check_count_wrong(const struct part *p);

/* ---- running ------------------------------------------------------------------------------------------------------------------- */

struct perf_case {
  enum perf_op op;
  agg_dtype_t dtype;
  agg_redop_t redop;
  int inplace;
  uint64_t bytes; /* wanted; the result says how many they were */
};

struct perf_result {
  uint64_t bytes, count; /* of one operation; of a step for models */
  uint32_t iterations;
  double median_us, p99_us, min_us;
  double algbw, busbw;         /* GB/s (1e9) */
  double cpu_s_per_gb;         /* all ranks; 0 without bytes */
  uint64_t wrong;              /* all ranks */
  agg_prediction_t prediction; /* of an allreduce by itself; else all zero */
};

struct perf {
  struct perf_args args;
  agg_t *agg;
  agg_comm_t *comm;
  agg_comm_info_t info;
  char host[64];
  int cores;
  char text[AGG_ERROR_TEXT_MAX + 128]; /* of the last failure */
};

/* 0, or -1 with perf->text. */
int measure_case(struct perf *perf, const struct perf_case *c, struct perf_result *result);
/* Waits for everything; blocking. */
int measure_barrier(struct perf *perf);

/* Runs all cases and reports them. Returns the exit code: 0, 1 (wrong results), 2 (an error, in perf->text). */
int cases_run(struct perf *perf);

void report_header(const struct perf *perf);
void report_case(const struct perf *perf, const struct perf_case *c, const struct perf_result *r);
void report_footer(const struct perf *perf, uint64_t wrong);

#endif
