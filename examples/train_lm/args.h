/* The command line. */
#ifndef TRAIN_LM_ARGS_H
#define TRAIN_LM_ARGS_H

#include <stdint.h>

struct args {
  const char *text, *svg; /* svg NULL: no picture */
  uint64_t steps, batch, seed, hidden, layers;
};

/* 0: go on; 1: help was asked for and given; -1: wrong, said in one line. */
int args_read(struct args *args, int argc, char **argv);

#endif
