/*
 * How fast this machine sums and copies: a measurement of a few milliseconds, kept in a file of the user's, so that a kind of machine is
 * measured once. For the planner; nothing depends on it being right.
 */
#ifndef LIBAGG_CALIBRATE_H
#define LIBAGG_CALIBRATE_H

#include "base/log.h"

struct calibration {
  uint64_t sum_bytes_per_s;  /* of inputs that one thread folds (float32, four inputs, from its cache) */
  uint64_t copy_bytes_per_s; /* read and written again from memory, by up to four threads together */
};

/* From the file ($XDG_CACHE_HOME or ~/.cache, agg/calibration), else measured and, where that can be, added to it. Processes that start
 * together wait for the first of them to have measured. Never fails: without memory the values are 0, unknown. */
void calibrate(const struct log *log, struct calibration *c);

#endif
