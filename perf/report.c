/* What rank 0 prints: a table for people, or one JSON object a line. The other ranks print nothing here. */
#include <inttypes.h>
#include <stdio.h>

#include "perf/perf.h"

void report_header(const struct perf *perf) {
  const struct perf_args *a = &perf->args;
  const agg_comm_info_t *info = &perf->info;
  if (info->rank != 0 || a->json) return;
  printf("# agg-perf %d.%d.%d  host %s  cores %d  ranks %u  servers %u  plan %s  transport %s  memory %s  chunk %u  lanes %u  window %u\n",
         AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH, perf->host, perf->cores, info->ranks, info->servers, info->plan,
         info->transport, memory_name(a->memory), info->chunk_bytes, info->lanes, info->window);
  if (info->path[0] != '\0') printf("# rank 0 to %s\n", info->path);
  if (a->model != NULL) {
    printf("# model %s: %u gradients, %" PRIu64 " elements; times are of one step\n", a->model->name, model_tensors(a->model),
           model_elements(a->model));
  } else if (a->outstanding > 1) {
    printf("# %u operations outstanding; times are of a step divided by %u\n", a->outstanding, a->outstanding);
  }
  printf("%-14s %-5s %-5s %12s %7s %6s %11s %11s %9s %9s %8s %6s", "op", "dtype", "redop", "bytes", "inplace", "iters", "median us",
         "p99 us", "algbw GB/s", "busbw GB/s", "cpu s/GB", "wrong");
  if (a->explain) printf(" %11s %11s  %s", "predicted", "bound us", "over");
  printf("\n");
}

/* "-" for what is not known. */
static const char *micros(double seconds, char *buf, size_t cap) {
  snprintf(buf, cap, seconds > 0 ? "%.2f" : "-", seconds * 1e6);
  return buf;
}

static void report_prediction(const agg_prediction_t *p) {
  char predicted[32], bound[32];
  printf(" %11s %11s  %s", micros(p->seconds, predicted, sizeof predicted), micros(p->bound_s, bound, sizeof bound),
         p->forest[0] != '\0' ? p->forest : "-");
}

static void report_json(const struct perf *perf, const struct perf_case *c, const struct perf_result *r) {
  const struct perf_args *a = &perf->args;
  const agg_comm_info_t *info = &perf->info;
  printf("{\"op\":\"%s\",\"dtype\":\"%s\",\"redop\":\"%s\",\"bytes\":%" PRIu64 ",\"count\":%" PRIu64 ",\"inplace\":%d,",
         op_row(c->op)->name, agg_dtype_name(c->dtype), op_row(c->op)->reduces ? agg_redop_name(c->redop) : "none", r->bytes, r->count,
         c->inplace);
  printf("\"ranks\":%u,\"servers\":%u,\"transport\":\"%s\",\"plan\":\"%s\",\"memory\":\"%s\",\"priority\":\"%s\",", info->ranks,
         info->servers, info->transport, info->plan, memory_name(a->memory), a->priority == AGG_PRIORITY_HIGH ? "high" : "normal");
  printf("\"model\":\"%s\",\"outstanding\":%u,\"iterations\":%u,", a->model != NULL ? a->model->name : "", a->outstanding, r->iterations);
  printf("\"median_us\":%.3f,\"p99_us\":%.3f,\"min_us\":%.3f,\"algbw_GBps\":%.6f,\"busbw_GBps\":%.6f,", r->median_us, r->p99_us, r->min_us,
         r->algbw, r->busbw);
  if (r->prediction.seconds > 0)
    printf("\"predicted_us\":%.3f,\"bound_us\":%.3f,\"forest\":\"%s\",", r->prediction.seconds * 1e6, r->prediction.bound_s * 1e6,
           r->prediction.forest);
  printf("\"cpu_s_per_GB\":%.4f,\"wrong\":%" PRIu64 ",\"checked\":%d}\n", r->cpu_s_per_gb, r->wrong, a->check);
}

void report_case(const struct perf *perf, const struct perf_case *c, const struct perf_result *r) {
  if (perf->info.rank != 0) return;
  if (perf->args.json) {
    report_json(perf, c, r);
  } else {
    char wrong[24] = "-";
    if (perf->args.check) snprintf(wrong, sizeof(wrong), "%" PRIu64, r->wrong);
    printf("%-14s %-5s %-5s %12" PRIu64 " %7s %6u %11.2f %11.2f %10.3f %10.3f %8.3f %6s", op_row(c->op)->name, agg_dtype_name(c->dtype),
           op_row(c->op)->reduces ? agg_redop_name(c->redop) : "-", r->bytes, c->inplace ? "in" : "out", r->iterations, r->median_us,
           r->p99_us, r->algbw, r->busbw, r->cpu_s_per_gb, wrong);
    if (perf->args.explain) report_prediction(&r->prediction);
    printf("\n");
  }
  fflush(stdout);
}

void report_footer(const struct perf *perf, uint64_t wrong) {
  if (perf->info.rank != 0) return;
  if (wrong > 0) fprintf(stderr, "agg-perf: %" PRIu64 " elements were wrong\n", wrong);
  if (!perf->args.json && !perf->args.check) printf("# results were not checked (--check 0)\n");
}
