/* Jobs through an agg-server: workers in processes of their own that open the library, join, and sum. */
#ifndef TESTS_TASK_H
#define TESTS_TASK_H

#include "tests/lib/server_proc.h"

/* What a worker does; the fork has it in memory. 0 and NULL stand for defaults: job "job", no token, any transport, plan star, 2 workers,
 * 3 rounds of 100000 elements. */
struct task {
  const struct server_proc *server;
  const char *job, *token, *transport, *plan;
  unsigned rank, size;
  unsigned rounds; /* allreduces, each checked */
  size_t count;
  int go; /* not 0: after each round, says "round" and waits for a byte here */
};

/* One worker for each rank. */
void task_start(struct worker_proc *w, struct task model);
/* All of a job's workers end well. */
void task_run(const struct server_proc *s, struct task model);
/* This one ends with this status, and says so much. */
void task_ends(struct worker_proc *w, int code, const char *says);
/* Two workers that wait for a byte after every round, until the writing end, which is returned, is released. */
int task_hold(struct worker_proc w[2], const struct server_proc *s, const char *job);
void task_release(int go);
void task_next_round(struct worker_proc w[2], int go);

#endif
