/* The loss curve: what was measured at which step, and its picture as SVG. */
#ifndef TRAIN_LM_CURVE_H
#define TRAIN_LM_CURVE_H

#include <stddef.h>

struct curve {
  size_t n, cap;
  double *step, *loss; /* owned */
};

int curve_add(struct curve *c, double step, double loss); /* -1: out of memory */
void curve_free(struct curve *c);

struct picture {
  const char *title, *subtitle;
  const struct curve *train, *held_out;
};

/* 0, or -1 with errno set. */
int picture_write(const struct picture *p, const char *path);

#endif
