/*
 * Checks this machine for what makes RDMA and GPUDirect fail in practice. Reads files below sysfs, procfs and /dev, and asks libibverbs
 * whether devices can be opened; changes nothing, sends nothing, never waits. No state outlives a call; any thread may call.
 */
#ifndef TRANSPORT_DOCTOR_H
#define TRANSPORT_DOCTOR_H

#include "agg.h"

enum doctor_verdict {
  DOCTOR_PASS,
  DOCTOR_WARN,   /* works, but slower or less surely than it could */
  DOCTOR_FAIL,   /* does not work until it is mended */
  DOCTOR_UNKNOWN /* cannot be seen from here, or does not apply; seen says which */
};

#define DOCTOR_TEXT_MAX 768
#define DOCTOR_NAME_MAX 80

struct doctor_finding {
  const char *check; /* one of doctor_check_name: static */
  enum doctor_verdict verdict;
  char device[DOCTOR_NAME_MAX]; /* "mlx5_0", "mlx5_0:1"; "" where the finding is about the machine */
  char seen[DOCTOR_TEXT_MAX];   /* printable, one line */
  char todo[DOCTOR_TEXT_MAX];   /* likewise; "" where nothing is to be done */
};

struct doctor_options {
  const char *root;      /* a directory that stands for "/" (libibverbs is not asked then); NULL or "": the machine itself */
  const char *devices;   /* "mlx5_0:1,mlx5_1": only these devices or ports; NULL or "": all */
  int gpu;               /* GPUDirect is wanted: its absence fails */
  uint64_t memlock_need; /* bytes of locked memory below which the limit fails; 0: 64 MiB */
};

struct doctor_report {
  struct doctor_finding *findings; /* in the order of the checks */
  unsigned n;
};

/* Makes all checks. options may be NULL. AGG_ENOMEM; AGG_EINVAL where options->devices is not a list of devices, or root no directory. On
 * success the report is released with doctor_report_free. */
int doctor_run(const struct doctor_options *options, struct doctor_report *report, agg_error_t *err);
void doctor_report_free(struct doctor_report *report);

/* Findings with this verdict. */
unsigned doctor_count(const struct doctor_report *report, enum doctor_verdict verdict);
/* "pass", "warn", "fail", "unknown". */
const char *doctor_verdict_name(enum doctor_verdict verdict);
/* The names of the checks in order; NULL after the last. */
const char *doctor_check_name(unsigned i);

/* One sentence: the most likely reason why no RDMA port can be used here, and what to do about it. Small reads, a few
 * for each port, and each device is opened and closed once; nothing is waited for. Returns buf. */
const char *doctor_why(const struct doctor_options *options, char *buf, size_t cap);
/* The same for the machine as it is and all its devices. */
const char *doctor_why_no_rdma(char *buf, size_t cap);

#endif
