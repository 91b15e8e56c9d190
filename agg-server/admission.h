/* Who is let in: the server's limits and what is taken of them. Pure arithmetic; a refusal says which limit, what was asked, and which flag
 * raises it. */
#ifndef AGG_SERVER_ADMISSION_H
#define AGG_SERVER_ADMISSION_H

#include <stdint.h>

#include "topology/plan.h"

struct admission {
  uint64_t memory_limit, job_memory_limit;
  uint32_t max_jobs, max_world;
  int draining; /* nothing is let in any more */
  /* taken */
  uint64_t memory;
  uint32_t jobs;
};

struct admission_need {
  const char *job;
  uint32_t workers;
  const struct plan *plan;
  uint64_t plane_bytes; /* of one plane */
};

/* Planes of a plan: priorities x lanes. */
uint32_t admission_planes(const struct plan *plan);
/* Bytes of all planes; UINT64_MAX when that overflows. */
uint64_t admission_bytes(const struct admission_need *need);

/* Takes a job's share: 0, or AGG_ELIMIT and nothing is taken. */
int admission_take(struct admission *a, const struct admission_need *need, agg_error_t *err);
/* Gives back what was taken for one job of so many bytes. */
void admission_give(struct admission *a, uint64_t bytes);

#endif
