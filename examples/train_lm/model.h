/*
 * The model: a character-level language model of gated recurrent units (GRU). For every character of a sequence it gives the probabilities
 * of the next one. Weights and gradients are the caller's, one flat array each, cut into tensors in the order in which the backward pass
 * finishes them, so that each can be sent on its way while the next is computed.
 */
#ifndef TRAIN_LM_MODEL_H
#define TRAIN_LM_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define MODEL_LAYERS_MAX 4
#define MODEL_TENSORS_MAX (2 + 3 * MODEL_LAYERS_MAX)

struct shape {
  size_t vocab, hidden, layers; /* layers <= MODEL_LAYERS_MAX */
};

struct tensor {
  size_t offset, rows, cols; /* in the flat array */
};

struct tensors {
  size_t n, total;
  struct tensor at[MODEL_TENSORS_MAX];
};

void shape_tensors(const struct shape *shape, struct tensors *tensors);

/* The starting weights; the same seed gives the same. */
void model_random_weights(const struct shape *shape, uint64_t seed, float *weights);

struct model;

/* Memory for `batch` sequences of `steps` characters at a time; NULL when there is none. */
struct model *model_create(const struct shape *shape, size_t batch, size_t steps);
void model_destroy(struct model *m); /* takes NULL */

/* Forgets what was read so far. Otherwise each forward pass goes on where the last one ended. */
void model_reset(struct model *m);

/* in and next hold steps x batch symbols; sequence b's t-th is [t * batch + b]. Returns the sum of -ln p(next). next may be NULL: 0 is
 * returned. */
double model_forward(struct model *m, const float *weights, const uint8_t *in, const uint8_t *next);

/* Probabilities of the last forward pass: steps x batch rows of vocab. */
const float *model_probabilities(const struct model *m);

/* Called for each tensor as soon as its gradient is final. */
typedef void (*model_ready_fn)(void *user, size_t tensor);

/* Gradient of scale times the last forward pass's loss. grads is written as a whole. */
void model_backward(struct model *m, const float *weights, float *grads, float scale, model_ready_fn ready, void *user);

#endif
