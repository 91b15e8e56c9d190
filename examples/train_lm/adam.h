/* The optimizer: Adam. */
#ifndef TRAIN_LM_ADAM_H
#define TRAIN_LM_ADAM_H

#include <stddef.h>

struct adam {
  size_t n;
  float *mean, *square;           /* owned */
  float decay_mean, decay_square; /* powers of the decay rates, for the correction of the first steps */
};

int adam_init(struct adam *a, size_t n); /* -1: out of memory */
void adam_fini(struct adam *a);

/* Moves the weights against the gradients, which are first scaled down to a length of at most max_norm. */
void adam_step(struct adam *a, float *weights, const float *grads, float rate, float max_norm);

#endif
