/* What this process was given of the machine: the cores that it may run on, and memory. */
#ifndef AGG_SERVER_MACHINE_H
#define AGG_SERVER_MACHINE_H

#include <stdint.h>

#define MACHINE_CORES_MAX 1024

struct machine {
  unsigned n_cores;             /* at least 1 */
  unsigned usable;              /* cores' worth of time: n_cores, or less under a quota */
  int cores[MACHINE_CORES_MAX]; /* their numbers, ascending */
  uint64_t files;               /* descriptors that the process may open (the hard limit) */
  uint64_t memory;              /* bytes: physical, or the control group's limit when that is lower */
};

/* Cannot fail: what cannot be found out is assumed (core 0, 1 GiB). */
void machine_read(struct machine *m);

/* The text of cpu.max ("200000 100000", "max 100000"): whole cores' worth, rounded up; 0: no quota, or not understood. */
unsigned machine_quota_parse(const char *text);
/* The text of memory.max ("max" or a number): bytes; UINT64_MAX: no limit, or not understood. */
uint64_t machine_memory_parse(const char *text);

#endif
