/*
 * One case: buffers, warm-up, the timed loop, and what all ranks found put together.
 *
 * An iteration is: barrier, read the clock, post the case's operations, wait for all, read the clock. Its time is the largest over the
 * ranks (an allreduce of the times after the loop). Inputs are made anew and results checked outside the clock, in the first and the last
 * iteration.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "perf/perf.h"

#define ALIGN 4096u
#define AUTO_SECONDS 0.4
#define AUTO_MIN 10u
#define AUTO_MAX 4000u

struct buffer {
  void *base;
  size_t bytes;
};

/* A case while it runs. */
struct run {
  struct perf *perf;
  const struct perf_case *c;
  uint32_t n;
  struct part *parts;
  struct buffer *buffers; /* two a part: send, recv; in place only the first */
  agg_request_t **requests;
  uint64_t round;
};

static int fail(struct perf *perf, const char *what, const char *why) {
  snprintf(perf->text, sizeof(perf->text), "%s: %s", what, why);
  return -1;
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* User and system time of all threads of this process. */
static double cpu_s(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* ---- buffers ---------------------------------------------------------------------------------------------------------------------- */

/* What the machine can still give without swapping; UINT64_MAX where it does not say. */
static uint64_t memory_available(void) {
  char line[128];
  uint64_t kib = 0;
  FILE *file = fopen("/proc/meminfo", "re");
  if (file == NULL) return UINT64_MAX;
  while (kib == 0 && fgets(line, sizeof(line), file) != NULL) (void)sscanf(line, "MemAvailable: %" SCNu64, &kib);
  fclose(file);
  return kib > 0 ? kib * 1024 : UINT64_MAX;
}

/* Memory is promised freely and given page by page: without the question a size that is too large would fill the machine. */
static int buffer_get(struct perf *perf, struct buffer *b, size_t bytes) {
  int rc = AGG_OK;
  b->bytes = bytes > 0 ? bytes : 1;
  uint64_t available = memory_available();
  if (b->bytes > available) {
    snprintf(perf->text, sizeof(perf->text),
             "a buffer of %zu bytes does not fit into the %" PRIu64
             " bytes of memory that are available: take a smaller -e or --outstanding",
             b->bytes, available);
    return -1;
  }
  if (perf->args.memory == MEMORY_AGG) {
    rc = agg_mem_alloc(perf->agg, b->bytes, &b->base);
    if (rc != AGG_OK) return fail(perf, "agg_mem_alloc", agg_error_text(perf->agg));
  } else {
    if (posix_memalign(&b->base, ALIGN, b->bytes) != 0) {
      b->base = NULL;
      return fail(perf, "buffers", "not enough memory: take a smaller -e or --outstanding");
    }
    memset(b->base, 0, b->bytes);
    if (perf->args.memory == MEMORY_REGISTER) rc = agg_mem_register(perf->agg, b->base, b->bytes);
    if (rc != AGG_OK) {
      free(b->base);
      b->base = NULL;
      return fail(perf, "agg_mem_register", agg_error_text(perf->agg));
    }
  }
  memset(b->base, 0, b->bytes); /* every page is there before the clock starts */
  return 0;
}

static void buffer_put(struct perf *perf, struct buffer *b) {
  if (b->base == NULL) return;
  if (perf->args.memory == MEMORY_AGG) {
    agg_mem_free(perf->agg, b->base);
  } else {
    if (perf->args.memory == MEMORY_REGISTER) agg_mem_deregister(perf->agg, b->base);
    free(b->base);
  }
  b->base = NULL;
}

/* Both buffers of a part; in place one holds the other's block where agg.h says. */
static int part_get_buffers(struct run *run, uint32_t i) {
  struct part *p = &run->parts[i];
  struct buffer *b = &run->buffers[2 * (size_t)i];
  size_t size = agg_dtype_size(p->dtype), send = part_send_elems(p), recv = part_recv_elems(p);
  if (!p->inplace) {
    if (buffer_get(run->perf, &b[0], send * size) != 0 || buffer_get(run->perf, &b[1], recv * size) != 0) return -1;
    p->send = b[0].base;
    p->recv = b[1].base;
    return 0;
  }
  if (buffer_get(run->perf, &b[0], (send > recv ? send : recv) * size) != 0) return -1;
  size_t block = p->count * size * p->rank;
  p->send = (char *)b[0].base + (op_row(p->op)->recv_blocks && recv > 0 ? block : 0);
  p->recv = (char *)b[0].base + (op_row(p->op)->send_blocks && send > 0 ? block : 0);
  return 0;
}

static void run_free(struct run *run) {
  for (size_t i = 0; run->buffers != NULL && i < 2 * (size_t)run->n; i++) buffer_put(run->perf, &run->buffers[i]);
  free(run->parts);
  free(run->buffers);
  free(run->requests);
}

/* Elements of one block for so many bytes; at least one where any bytes are wanted. */
static size_t elements(const struct perf *perf, const struct perf_case *c) {
  const struct op_row *row = op_row(c->op);
  uint64_t unit = agg_dtype_size(c->dtype) * (row->send_blocks || row->recv_blocks ? perf->info.ranks : 1);
  return c->op == OP_BARRIER || c->bytes == 0 ? 0 : c->bytes < unit ? 1 : (size_t)(c->bytes / unit);
}

static int run_init(struct run *run, struct perf *perf, const struct perf_case *c) {
  const struct model *model = perf->args.model;
  memset(run, 0, sizeof(*run));
  run->perf = perf;
  run->c = c;
  run->n = model != NULL ? model_tensors(model) : perf->args.outstanding;
  run->parts = calloc(run->n, sizeof(*run->parts));
  run->buffers = calloc(2 * (size_t)run->n, sizeof(*run->buffers));
  run->requests = calloc(run->n, sizeof(agg_request_t *));
  if (run->parts == NULL || run->buffers == NULL || run->requests == NULL) return fail(perf, "agg-perf", "out of memory");
  for (uint32_t i = 0; i < run->n; i++) {
    struct part *p = &run->parts[i];
    *p = (struct part){.op = c->op, .dtype = c->dtype, .redop = c->redop, .rank = perf->info.rank, .ranks = perf->info.ranks};
    p->root = perf->args.root;
    p->inplace = c->inplace;
    p->count = model != NULL ? model_count(model, run->n - 1 - i) : elements(perf, c); /* gradients come last to first */
    if (part_get_buffers(run, i) != 0) return -1;
  }
  return 0;
}

/* ---- operations ------------------------------------------------------------------------------------------------------------------ */

static int post(const struct perf *perf, const struct part *p, agg_request_t **request) {
  agg_op_options_t options = {.size = sizeof(options), .priority = perf->args.priority};
  agg_comm_t *comm = perf->comm;
  const void *send = op_sends(p->op, p->rank, p->root) ? p->send : NULL;
  void *recv = op_receives(p->op, p->rank, p->root) ? p->recv : NULL;
  switch (p->op) {
    case OP_ALLREDUCE:
      return agg_allreduce(comm, send, recv, p->count, p->dtype, p->redop, &options, request);
    case OP_REDUCE:
      return agg_reduce(comm, send, recv, p->count, p->dtype, p->redop, p->root, &options, request);
    case OP_BROADCAST:
      return agg_broadcast(comm, send, recv, p->count, p->dtype, p->root, &options, request);
    case OP_REDUCE_SCATTER:
      return agg_reduce_scatter(comm, send, recv, p->count, p->dtype, p->redop, &options, request);
    case OP_ALLGATHER:
      return agg_allgather(comm, send, recv, p->count, p->dtype, &options, request);
    case OP_GATHER:
      return agg_gather(comm, send, recv, p->count, p->dtype, p->root, &options, request);
    case OP_SCATTER:
      return agg_scatter(comm, send, recv, p->count, p->dtype, p->root, &options, request);
    default:
      return agg_barrier(comm, &options, request);
  }
}

static int wait_for(struct perf *perf, agg_request_t **request, const char *what) {
  return agg_wait(request, -1) == AGG_OK ? 0 : fail(perf, what, agg_comm_error_text(perf->comm));
}

/* Posts all, waits for all. Where the library takes no more, the oldest is waited for first. */
static int step(struct run *run) {
  struct perf *perf = run->perf;
  uint32_t waited = 0;
  for (uint32_t i = 0; i < run->n; i++) {
    int rc;
    while ((rc = post(perf, &run->parts[i], &run->requests[i])) == AGG_ELIMIT && waited < i) {
      if (wait_for(perf, &run->requests[waited++], op_row(run->c->op)->name) != 0) return -1;
    }
    if (rc != AGG_OK) return fail(perf, op_row(run->c->op)->name, agg_comm_error_text(perf->comm));
  }
  for (; waited < run->n; waited++) {
    if (wait_for(perf, &run->requests[waited], op_row(run->c->op)->name) != 0) return -1;
  }
  return 0;
}

int measure_barrier(struct perf *perf) {
  agg_request_t *request = NULL;
  if (agg_barrier(perf->comm, NULL, &request) != AGG_OK) return fail(perf, "barrier", agg_comm_error_text(perf->comm));
  return wait_for(perf, &request, "barrier");
}

static int combine(struct perf *perf, void *values, size_t count, agg_dtype_t dtype, agg_redop_t op) {
  agg_request_t *request = NULL;
  if (agg_allreduce(perf->comm, values, values, count, dtype, op, NULL, &request) != AGG_OK)
    return fail(perf, "allreduce of the results", agg_comm_error_text(perf->comm));
  return wait_for(perf, &request, "allreduce of the results");
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------------- */

static void fill(struct run *run) {
  for (uint32_t i = 0; i < run->n; i++) {
    run->parts[i].round = run->round++;
    check_fill(&run->parts[i]);
  }
}

static uint64_t count_wrong(const struct run *run) {
  uint64_t wrong = 0;
  for (uint32_t i = 0; i < run->n; i++) wrong += check_count_wrong(&run->parts[i]);
  return wrong;
}

static int timed_step(struct run *run, double *seconds) {
  if (measure_barrier(run->perf) != 0) return -1;
  double begin = now_s();
  if (step(run) != 0) return -1;
  *seconds = now_s() - begin;
  return 0;
}

/* Warms up and decides on a number of iterations, the same on all ranks. */
static int warm_up(struct run *run, uint32_t *iterations) {
  const struct perf_args *args = &run->perf->args;
  double last = 0, each = 0;
  fill(run);
  for (uint32_t i = 0; i < args->warmup || (i < 2 && args->iterations == 0); i++) {
    if (timed_step(run, &last) != 0) return -1;
    each = last;
  }
  *iterations = args->iterations;
  if (args->iterations > 0) return 0;
  if (combine(run->perf, &each, 1, AGG_F64, AGG_MAX) != 0) return -1;
  double wanted = AUTO_SECONDS / (each > 1e-7 ? each : 1e-7);
  *iterations = wanted < AUTO_MIN ? AUTO_MIN : wanted > AUTO_MAX ? AUTO_MAX : (uint32_t)wanted;
  return 0;
}

/* times: seconds of every iteration here; *cpu: CPU seconds here of the iterations whose data was left as it was. */
static int timed_loop(struct run *run, uint32_t iterations, double *times, double *cpu, uint64_t *wrong) {
  int check = run->perf->args.check;
  *cpu = 0;
  *wrong = 0;
  for (uint32_t i = 0; i < iterations; i++) {
    int checked = check && (i == 0 || i + 1 == iterations);
    if (checked) fill(run);
    if (checked && measure_barrier(run->perf) != 0) return -1; /* filling took different times: let all be ready */
    double cpu_before = cpu_s();
    if (timed_step(run, &times[i]) != 0) return -1;
    *cpu += cpu_s() - cpu_before;
    if (checked) *wrong += count_wrong(run);
  }
  return 0;
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void summarize(const struct run *run, double *times, uint32_t n, double cpu, struct perf_result *r) {
  const struct model *model = run->perf->args.model;
  const struct part *p = &run->parts[0];
  const struct op_row *row = op_row(run->c->op);
  double per = model != NULL ? 1 : run->n; /* a model's step is one thing, outstanding operations are many */
  r->count = model != NULL ? model_elements(model) : p->count;
  r->bytes = r->count * agg_dtype_size(run->c->dtype) * (row->send_blocks || row->recv_blocks ? p->ranks : 1);
  r->iterations = n;
  qsort(times, n, sizeof(*times), compare_doubles);
  double median = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
  r->median_us = median * 1e6 / per;
  r->p99_us = times[(size_t)ceil(0.99 * n) - 1] * 1e6 / per;
  r->min_us = times[0] * 1e6 / per;
  r->algbw = r->median_us > 0 ? (double)r->bytes / r->median_us * 1e-3 : 0;
  r->busbw = r->algbw * op_bus_factor(run->c->op, p->ranks);
  r->cpu_s_per_gb = r->bytes > 0 ? cpu / ((double)r->bytes * 1e-9 * per * n) : 0;
}

static void predict(const struct run *run, struct perf_result *r) {
  const struct perf *perf = run->perf;
  r->prediction.size = sizeof r->prediction;
  if (run->c->op == OP_ALLREDUCE && perf->args.model == NULL && perf->args.outstanding == 1)
    (void)agg_comm_predict(perf->comm, r->bytes, &r->prediction);
}

static int run_all(struct run *run, struct perf_result *result) {
  uint32_t iterations = 0;
  double cpu = 0;
  uint64_t own_wrong = 0;
  if (warm_up(run, &iterations) != 0) return -1;
  double *times = calloc(iterations, sizeof(*times));
  if (times == NULL) return fail(run->perf, "agg-perf", "out of memory");
  int rc = timed_loop(run, iterations, times, &cpu, &own_wrong);
  uint64_t wrong = own_wrong;
  if (rc == 0) rc = combine(run->perf, times, iterations, AGG_F64, AGG_MAX);
  if (rc == 0) rc = combine(run->perf, &cpu, 1, AGG_F64, AGG_SUM);
  if (rc == 0) rc = combine(run->perf, &wrong, 1, AGG_U64, AGG_SUM);
  if (rc == 0) {
    memset(result, 0, sizeof(*result));
    summarize(run, times, iterations, cpu, result);
    predict(run, result);
    result->wrong = wrong > own_wrong ? wrong : own_wrong; /* a library that sums wrongly must not hide its errors here */
  }
  free(times);
  return rc;
}

int measure_case(struct perf *perf, const struct perf_case *c, struct perf_result *result) {
  struct run run;
  int rc = run_init(&run, perf, c);
  if (rc == 0) rc = run_all(&run, result);
  /* After a failure operations may still write into the buffers: the communicator goes first. */
  if (rc != 0) {
    agg_comm_destroy(perf->comm);
    perf->comm = NULL;
    for (uint32_t i = 0; run.requests != NULL && i < run.n; i++) {
      if (run.requests[i] != NULL) agg_wait(&run.requests[i], -1);
    }
  }
  run_free(&run);
  return rc;
}
