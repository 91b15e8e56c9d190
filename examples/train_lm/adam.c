/* Adam with gradient clipping. Every rank does these steps for itself, so they must give the same bits everywhere: only additions,
 * products, quotients and square roots, in one order; no fast math, no functions that libm chooses by processor. */
#include "adam.h"

#include <math.h>
#include <stdlib.h>

#define DECAY_MEAN 0.9f
#define DECAY_SQUARE 0.99f
#define EPSILON 1e-8f

int adam_init(struct adam *a, size_t n) {
  *a =
      (struct adam){.n = n, .mean = calloc(n, sizeof(float)), .square = calloc(n, sizeof(float)), .decay_mean = 1.0f, .decay_square = 1.0f};
  if (a->mean != NULL && a->square != NULL) return 0;
  adam_fini(a);
  return -1;
}

void adam_fini(struct adam *a) {
  free(a->mean);
  free(a->square);
  *a = (struct adam){0};
}

static float clip_factor(const float *grads, size_t n, float max_norm) {
  double sum = 0.0;
  for (size_t i = 0; i < n; i++) sum += (double)grads[i] * (double)grads[i];
  float norm = (float)sqrt(sum);
  return norm > max_norm ? max_norm / norm : 1.0f;
}

void adam_step(struct adam *a, float *weights, const float *grads, float rate, float max_norm) {
  float factor = clip_factor(grads, a->n, max_norm);
  a->decay_mean *= DECAY_MEAN;
  a->decay_square *= DECAY_SQUARE;
  float mean_scale = 1.0f / (1.0f - a->decay_mean), square_scale = 1.0f / (1.0f - a->decay_square);
  for (size_t i = 0; i < a->n; i++) {
    float g = factor * grads[i];
    a->mean[i] += (1.0f - DECAY_MEAN) * (g - a->mean[i]);
    a->square[i] += (1.0f - DECAY_SQUARE) * (g * g - a->square[i]);
    weights[i] -= rate * (a->mean[i] * mean_scale) / (sqrtf(a->square[i] * square_scale) + EPSILON);
  }
}
