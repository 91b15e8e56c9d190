/* What the person at the terminal sees while the model learns. */
#ifndef TRAIN_LM_PROGRESS_H
#define TRAIN_LM_PROGRESS_H

#include <stdint.h>

struct progress {
  int shown, tty; /* shown: on rank 0 only */
  uint64_t steps, start_ns, last_ns, next_line;
  double loss, held_out; /* smoothed; of the last measurement, negative before the first */
};

uint64_t now_ns(void);

void progress_start(struct progress *p, int shown, uint64_t steps);
/* tokens: learned from so far, by all ranks; waited_ns: what this rank spent in aggregation so far. */
void progress_step(struct progress *p, uint64_t step, double loss, uint64_t tokens, uint64_t waited_ns);
void progress_end(struct progress *p);

#endif
