/* Admission: compares what a job needs with the limits and keeps the sums. Never allocates and never looks at the machine. */
#include "admission.h"

#include <assert.h>
#include <stdio.h>

#include "base/err.h"
#include "text.h"

uint32_t admission_planes(const struct plan *plan) { return plan->lanes * (uint32_t)AGG_PRIORITY_COUNT; }

uint64_t admission_bytes(const struct admission_need *need) {
  uint64_t bytes;
  if (__builtin_mul_overflow(need->plane_bytes, (uint64_t)need->plan->lanes * AGG_PRIORITY_COUNT, &bytes)) return UINT64_MAX;
  return bytes;
}

/* "(4 workers, 2 priorities x 1 lanes, window 16 x 256.0 KiB)": what the sum is made of. */
static const char *explain(const struct admission_need *need, char *buf, size_t cap) {
  char chunk[32];
  snprintf(buf, cap, "(%u workers, %u priorities x %u lanes, window of %u x %s)", need->workers, (unsigned)AGG_PRIORITY_COUNT,
           need->plan->lanes, need->plan->window, text_size(need->plan->chunk_bytes, chunk, sizeof chunk));
  return buf;
}

static int check_memory(const struct admission *a, const struct admission_need *need, uint64_t bytes, agg_error_t *err) {
  char what[160], asked[32], limit[32], left[32];
  explain(need, what, sizeof what);
  text_size(bytes, asked, sizeof asked);
  if (bytes > a->job_memory_limit) {
    return err_set(
        err, AGG_ELIMIT,
        "job %.60s needs %s of slots here %s, and job-memory-limit is %s: start the server with a larger --job-memory-limit, or set "
        "AGG_WINDOW, AGG_CHUNK or AGG_LANES lower",
        need->job, asked, what, text_size(a->job_memory_limit, limit, sizeof limit));
  }
  if (bytes > a->memory_limit - a->memory) {
    return err_set(
        err, AGG_ELIMIT,
        "job %.60s needs %s of slots here %s, and %s of memory-limit %s is left beside %u running jobs: wait for one to end, start the "
        "server with a larger --memory-limit, or set AGG_WINDOW, AGG_CHUNK or AGG_LANES lower",
        need->job, asked, what, text_size(a->memory_limit - a->memory, left, sizeof left), text_size(a->memory_limit, limit, sizeof limit),
        a->jobs);
  }
  return 0;
}

int admission_take(struct admission *a, const struct admission_need *need, agg_error_t *err) {
  assert(a->memory <= a->memory_limit);
  if (a->draining) {
    return err_set(err, AGG_ELIMIT,
                   "the server is draining (it was told to end) and takes no new jobs: use another server, or wait until it is back");
  }
  if (need->workers > a->max_world) {
    return err_set(err, AGG_ELIMIT, "job %.60s has %u workers, and max-world is %u: start the server with a larger --max-world", need->job,
                   need->workers, a->max_world);
  }
  if (a->jobs >= a->max_jobs) {
    return err_set(
        err, AGG_ELIMIT,
        "%u jobs (communicators) are running here, and max-jobs is %u: wait for one to end, or start the server with a larger --max-jobs",
        a->jobs, a->max_jobs);
  }
  uint64_t bytes = admission_bytes(need);
  int rc = check_memory(a, need, bytes, err);
  if (rc != 0) return rc;
  a->memory += bytes;
  a->jobs++;
  return 0;
}

void admission_give(struct admission *a, uint64_t bytes) {
  assert(a->jobs > 0 && a->memory >= bytes);
  a->memory -= bytes;
  a->jobs--;
}
