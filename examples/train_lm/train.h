/* The training itself: the loop over steps, the check of the held-out text, the sample. */
#ifndef TRAIN_LM_TRAIN_H
#define TRAIN_LM_TRAIN_H

#include "args.h"
#include "curve.h"
#include "group.h"
#include "text.h"

struct result {
  struct curve train, held_out; /* on all ranks */
  double seconds;
  uint64_t tokens; /* learned from, by all ranks */
  uint64_t hash;   /* of this rank's weights */
  int same;        /* all ranks' weights have this hash */
};

/* 0, or -1 after saying why. */
int train(struct group *g, const struct args *args, const struct text *text, struct result *result);
void result_free(struct result *r);

#endif
