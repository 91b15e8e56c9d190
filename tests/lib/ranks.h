/*
 * Real worker processes for the end-to-end tests: forks n ranks, each of which runs a function with a ready configuration and reports
 * through shared memory. The test process itself never opens an instance, so that forking is clean.
 */
#ifndef TESTS_LIB_RANKS_H
#define TESTS_LIB_RANKS_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "agg.h"

#define RANKS_MAX 8
/* Nothing here takes a tenth of it: a guard against hanging, not a measure. TEST_GUARD_S for guests, where all is slower. */
unsigned ranks_guard_s(void);

/* What one rank tells the test. Lives in shared memory. */
struct rank_report {
  _Atomic uint32_t stage; /* set by the rank as it goes on; the test and the other ranks may wait for it */
  int code;               /* the status that the function is about */
  char text[AGG_ERROR_TEXT_MAX];
  double seconds;
  uint64_t value[8];
};

struct ranks_setup {
  unsigned n;
  const char *transport, *plan, *servers; /* NULL: auto, auto, none */
  const char *token[RANKS_MAX];           /* by rank; NULL: "test token" */
  double timeout_s, join_timeout_s;       /* 0: 20 */
  uint64_t memory_limit;
  uint32_t lanes, reactors;
};

struct ranks;

/* In the rank's process. Returns the exit code, 0 when all is as it should be. */
typedef int (*rank_fn)(const agg_config_t *config, struct rank_report *all, void *arg);

struct ranks *ranks_start(const struct ranks_setup *setup, rank_fn fn, void *arg);
struct rank_report *ranks_reports(struct ranks *r);
pid_t ranks_pid(const struct ranks *r, unsigned rank);
/* Waits until the rank has ended: its exit code, 1000 + signal, or -1 when the guard struck (everything is killed then). */
int ranks_wait(struct ranks *r, unsigned rank);
void ranks_free(struct ranks *r); /* kills what is left */
/* Runs the ranks to their end: all must return 0. */
void ranks_run(const struct ranks_setup *setup, rank_fn fn, void *arg);
/* Small groups of either plan that needs no server, over either transport. */
#define RANKS_USUAL 4
extern const struct ranks_setup ranks_usual[RANKS_USUAL];

/* Busy-waits politely, in any process, until *word >= value; 0 when the guard struck. */
int stage_wait(const _Atomic uint32_t *word, uint32_t value);

/* In a rank: opens the instance and the world communicator; on failure fills in own report and returns its code. */
int rank_open(const agg_config_t *config, struct rank_report *own, agg_t **agg, agg_comm_t **comm);
/* Stores code and the communicator's text. */
void rank_report_comm(struct rank_report *own, int code, const agg_comm_t *comm);
/* An allreduce of 1 to the number of ranks: 0 when it is right. */
int rank_sum_ones(agg_comm_t *comm);

/* In a rank: what the library logs, from whichever of its threads. */
struct rank_log {
  pthread_mutex_t mu;
  char lines[4096];
};
void rank_log_begin(struct rank_log *log, agg_config_t *config);
void rank_log_end(struct rank_log *log); /* when the instance is closed */

#endif
