/* The guard: a small process that outlives agg-run by an instant and ends its process groups when agg-run was killed. */
#ifndef AGG_RUN_GUARD_H
#define AGG_RUN_GUARD_H

#include <sys/types.h>

#include "agg.h"

struct guard {
  pid_t pid;
  int fd; /* the guard reads the groups from it; its end is the alarm */
};

int guard_start(struct guard *g, agg_error_t *err);
/* Tells the guard of a process group. */
void guard_add(struct guard *g, pid_t group);
/* Ends the guard: nothing is left to be watched. */
void guard_stop(struct guard *g);

#endif
