/* The GRU: forward and backward through time, over a batch. Matrix products over all time steps at once wherever the recurrence allows it.
 * Knows nothing of where gradients go. */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gemm.h"

/*
 * A layer:  r = s(x Wx_r + h Wh_r + b_r)     z = s(x Wx_z + h Wh_z + b_z)     n = tanh(x Wx_n + b_n + r (h Wh_n))
 *           h' = (1 - z) n + z h
 * The gates lie side by side in columns: r, z, n. The lowest layer's x is one symbol, so x Wx is a row of Wx.
 */
struct layer {
  struct tensor wh, wx, bias;
  size_t first_tensor; /* wh, wx, bias follow each other */
  float *gates;        /* steps x batch x 3 hidden: r, z, n */
  float *recurrent_n;  /* steps x batch x hidden: h Wh_n */
  float *h;            /* (steps + 1) x batch x hidden; the first is the state before the sequence */
  float *wh_t, *wx_t;  /* transposed weights */
};

struct model {
  struct shape shape;
  struct tensors tensors;
  size_t batch, steps;
  gemm_fn gemm;
  struct layer layers[MODEL_LAYERS_MAX];
  uint8_t *in, *next;   /* of the last forward pass */
  float *probabilities; /* steps x batch x vocab; the backward pass turns it into its gradient */
  float *out_w_t;
  float *product;            /* batch x 3 hidden */
  float *d_in, *d_recurrent; /* gradients of x Wx and of h Wh: steps x batch x 3 hidden */
  float *d_out;              /* of the layer's output: steps x batch x hidden */
  float *d_h;                /* batch x hidden */
};

/* ---- weights -------------------------------------------------------------------------------------------------------------- */

static void add_tensor(struct tensors *t, size_t rows, size_t cols) {
  t->at[t->n++] = (struct tensor){.offset = t->total, .rows = rows, .cols = cols};
  t->total += rows * cols;
}

void shape_tensors(const struct shape *s, struct tensors *t) {
  *t = (struct tensors){0};
  add_tensor(t, s->hidden, s->vocab);
  add_tensor(t, 1, s->vocab);
  for (size_t l = s->layers; l-- > 0;) {
    add_tensor(t, s->hidden, 3 * s->hidden);
    add_tensor(t, l == 0 ? s->vocab : s->hidden, 3 * s->hidden);
    add_tensor(t, 1, 3 * s->hidden);
  }
}

static float uniform(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (float)((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1.0f;
}

void model_random_weights(const struct shape *shape, uint64_t seed, float *weights) {
  struct tensors t;
  shape_tensors(shape, &t);
  float wide = 1.0f / sqrtf((float)shape->hidden);
  for (size_t i = 0; i < t.n; i++) {
    int bias = t.at[i].rows == 1, symbols = i == t.n - 2; /* one symbol at a time comes in: rows are not summed */
    float r = bias ? 0.0f : symbols ? 1.0f : wide;
    for (size_t j = 0; j < t.at[i].rows * t.at[i].cols; j++) weights[t.at[i].offset + j] = r * uniform(&seed);
  }
}

/* ---- life ------------------------------------------------------------------------------------------------------------------- */

static float *floats(size_t n, int *failed) {
  float *p = calloc(n, sizeof *p);
  if (p == NULL) *failed = 1;
  return p;
}

static void create_layer(struct model *m, size_t l, int *failed) {
  size_t cells = m->batch * m->steps, h = m->shape.hidden;
  struct layer *y = &m->layers[l];
  y->first_tensor = 2 + 3 * (m->shape.layers - 1 - l);
  y->wh = m->tensors.at[y->first_tensor];
  y->wx = m->tensors.at[y->first_tensor + 1];
  y->bias = m->tensors.at[y->first_tensor + 2];
  y->gates = floats(cells * 3 * h, failed);
  y->recurrent_n = floats(cells * h, failed);
  y->h = floats((cells + m->batch) * h, failed);
  y->wh_t = floats(3 * h * h, failed);
  y->wx_t = l == 0 ? NULL : floats(3 * h * h, failed);
}

struct model *model_create(const struct shape *shape, size_t batch, size_t steps) {
  struct model *m = calloc(1, sizeof *m);
  if (m == NULL) return NULL;
  m->shape = *shape;
  m->batch = batch;
  m->steps = steps;
  m->gemm = gemm_best();
  shape_tensors(shape, &m->tensors);
  size_t cells = batch * steps, h = shape->hidden;
  int failed = 0;
  for (size_t l = 0; l < shape->layers; l++) create_layer(m, l, &failed);
  m->in = calloc(cells, 1);
  m->next = calloc(cells, 1);
  m->probabilities = floats(cells * shape->vocab, &failed);
  m->out_w_t = floats(h * shape->vocab, &failed);
  m->product = floats(batch * 3 * h, &failed);
  m->d_in = floats(cells * 3 * h, &failed);
  m->d_recurrent = floats(cells * 3 * h, &failed);
  m->d_out = floats(cells * h, &failed);
  m->d_h = floats(batch * h, &failed);
  if (failed || m->in == NULL || m->next == NULL) {
    model_destroy(m);
    return NULL;
  }
  return m;
}

void model_destroy(struct model *m) {
  if (m == NULL) return;
  for (size_t l = 0; l < m->shape.layers; l++) {
    struct layer *y = &m->layers[l];
    free(y->gates), free(y->recurrent_n), free(y->h), free(y->wh_t), free(y->wx_t);
  }
  free(m->in), free(m->next), free(m->probabilities), free(m->out_w_t), free(m->product);
  free(m->d_in), free(m->d_recurrent), free(m->d_out), free(m->d_h);
  free(m);
}

void model_reset(struct model *m) {
  size_t cells = m->batch * m->steps, row = m->batch * m->shape.hidden;
  for (size_t l = 0; l < m->shape.layers; l++) memset(m->layers[l].h + cells * m->shape.hidden, 0, row * sizeof(float));
}

const float *model_probabilities(const struct model *m) { return m->probabilities; }

/* ---- forward ------------------------------------------------------------------------------------------------------------------ */

/* A quotient of polynomials (from the continued fraction), within 1e-4 of tanh; it vectorises. */
static inline float soft_tanh(float x) {
  x = x > 4.97f ? 4.97f : x < -4.97f ? -4.97f : x;
  float s = x * x;
  return x * (135135.0f + s * (17325.0f + s * (378.0f + s))) / (135135.0f + s * (62370.0f + s * (3150.0f + s * 28.0f)));
}

static inline float sigmoid(float x) { return 0.5f + 0.5f * soft_tanh(0.5f * x); }

static void fill_rows(float *to, const float *row, size_t rows, size_t cols) {
  for (size_t i = 0; i < rows; i++) memcpy(to + i * cols, row, cols * sizeof *to);
}

/* gates = x Wx + b, for all time steps. */
static void inputs_of(struct model *m, size_t l, const float *weights) {
  struct layer *y = &m->layers[l];
  size_t cells = m->batch * m->steps, h = m->shape.hidden, wide = 3 * h;
  fill_rows(y->gates, weights + y->bias.offset, cells, wide);
  if (l > 0) {
    struct view below = {m->layers[l - 1].h + m->batch * h, h, 1};
    m->gemm(y->gates, wide, below, weights + y->wx.offset, wide, cells, wide, h, 1);
    return;
  }
  for (size_t i = 0; i < cells; i++) {
    const float *row = weights + y->wx.offset + m->in[i] * wide;
    for (size_t j = 0; j < wide; j++) y->gates[i * wide + j] += row[j];
  }
}

/* One cell: turns gates (with the inputs in them) and the recurrent product into r, z, n and the new state. */
static void cell(float *restrict gates, const float *restrict product, float *restrict recurrent_n, const float *restrict before,
                 float *restrict after, size_t h) {
  for (size_t j = 0; j < h; j++) {
    float r = sigmoid(gates[j] + product[j]);
    float z = sigmoid(gates[h + j] + product[h + j]);
    float n = soft_tanh(gates[2 * h + j] + r * product[2 * h + j]);
    recurrent_n[j] = product[2 * h + j];
    gates[j] = r, gates[h + j] = z, gates[2 * h + j] = n;
    after[j] = n + z * (before[j] - n);
  }
}

static void forward_layer(struct model *m, size_t l, const float *weights) {
  struct layer *y = &m->layers[l];
  size_t h = m->shape.hidden, wide = 3 * h, row = m->batch * h;
  memcpy(y->h, y->h + m->steps * row, row * sizeof(float));
  inputs_of(m, l, weights);
  for (size_t t = 0; t < m->steps; t++) {
    float *before = y->h + t * row;
    m->gemm(m->product, wide, (struct view){before, h, 1}, weights + y->wh.offset, wide, m->batch, wide, h, 0);
    for (size_t b = 0; b < m->batch; b++) {
      size_t i = t * m->batch + b;
      cell(y->gates + i * wide, m->product + b * wide, y->recurrent_n + i * h, before + b * h, before + row + b * h, h);
    }
  }
}

static void softmax(float *x, size_t n) {
  float top = x[0], sum = 0.0f;
  for (size_t j = 1; j < n; j++) top = x[j] > top ? x[j] : top;
  for (size_t j = 0; j < n; j++) x[j] = expf(x[j] - top);
  for (size_t j = 0; j < n; j++) sum += x[j];
  for (size_t j = 0; j < n; j++) x[j] /= sum;
}

double model_forward(struct model *m, const float *weights, const uint8_t *in, const uint8_t *next) {
  size_t cells = m->batch * m->steps, h = m->shape.hidden, vocab = m->shape.vocab;
  const struct tensor *w = &m->tensors.at[0], *bias = &m->tensors.at[1];
  memcpy(m->in, in, cells);
  for (size_t l = 0; l < m->shape.layers; l++) forward_layer(m, l, weights);
  fill_rows(m->probabilities, weights + bias->offset, cells, vocab);
  struct view top = {m->layers[m->shape.layers - 1].h + m->batch * h, h, 1};
  m->gemm(m->probabilities, vocab, top, weights + w->offset, vocab, cells, vocab, h, 1);
  for (size_t i = 0; i < cells; i++) softmax(m->probabilities + i * vocab, vocab);
  if (next == NULL) return 0.0;
  memcpy(m->next, next, cells);
  double loss = 0.0;
  for (size_t i = 0; i < cells; i++) loss -= log(fmax(m->probabilities[i * vocab + next[i]], 1e-30));
  return loss;
}

/* ---- backward ------------------------------------------------------------------------------------------------------------------- */

static void sum_rows(float *sum, const float *x, size_t rows, size_t cols) {
  memset(sum, 0, cols * sizeof *sum);
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < cols; j++) sum[j] += x[i * cols + j];
  }
}

/* The output layer: its gradients, and d_out for the layer below. */
static void backward_output(struct model *m, const float *weights, float *grads, float scale, model_ready_fn ready, void *user) {
  size_t cells = m->batch * m->steps, h = m->shape.hidden, vocab = m->shape.vocab;
  const struct tensor *w = &m->tensors.at[0], *bias = &m->tensors.at[1];
  float *d = m->probabilities;
  for (size_t i = 0; i < cells; i++) d[i * vocab + m->next[i]] -= 1.0f;
  for (size_t i = 0; i < cells * vocab; i++) d[i] *= scale;
  struct view top_t = {m->layers[m->shape.layers - 1].h + m->batch * h, 1, h};
  m->gemm(grads + w->offset, vocab, top_t, d, vocab, h, vocab, cells, 0);
  ready(user, 0);
  sum_rows(grads + bias->offset, d, cells, vocab);
  ready(user, 1);
  transpose(m->out_w_t, weights + w->offset, h, vocab);
  m->gemm(m->d_out, h, (struct view){d, vocab, 1}, m->out_w_t, h, cells, h, vocab, 0);
}

/* One cell: d_h comes in as the gradient of the new state and goes out as the part of the old state's that goes through z. */
static void cell_back(const float *restrict gates, const float *restrict recurrent_n, const float *restrict before, float *restrict d_h,
                      float *restrict d_in, float *restrict d_recurrent, size_t h) {
  for (size_t j = 0; j < h; j++) {
    float r = gates[j], z = gates[h + j], n = gates[2 * h + j], d = d_h[j];
    float d_z = d * (before[j] - n) * z * (1.0f - z);
    float d_n = d * (1.0f - z) * (1.0f - n * n);
    float d_r = d_n * recurrent_n[j] * r * (1.0f - r);
    d_in[j] = d_recurrent[j] = d_r;
    d_in[h + j] = d_recurrent[h + j] = d_z;
    d_in[2 * h + j] = d_n;
    d_recurrent[2 * h + j] = d_n * r;
    d_h[j] = d * z;
  }
}

/* From the last time step to the first: d_in and d_recurrent of all cells from d_out. */
static void backward_time(struct model *m, size_t l, const float *weights) {
  struct layer *y = &m->layers[l];
  size_t h = m->shape.hidden, wide = 3 * h, row = m->batch * h;
  transpose(y->wh_t, weights + y->wh.offset, h, wide);
  memset(m->d_h, 0, row * sizeof(float));
  for (size_t t = m->steps; t-- > 0;) {
    for (size_t j = 0; j < row; j++) m->d_h[j] += m->d_out[t * row + j];
    for (size_t b = 0; b < m->batch; b++) {
      size_t i = t * m->batch + b;
      cell_back(y->gates + i * wide, y->recurrent_n + i * h, y->h + i * h, m->d_h + b * h, m->d_in + i * wide, m->d_recurrent + i * wide,
                h);
    }
    m->gemm(m->d_h, h, (struct view){m->d_recurrent + t * m->batch * wide, wide, 1}, y->wh_t, h, m->batch, h, wide, 1);
  }
}

static void input_gradient(struct model *m, size_t l, float *grad) {
  size_t cells = m->batch * m->steps, h = m->shape.hidden, wide = 3 * h;
  if (l > 0) {
    struct view below_t = {m->layers[l - 1].h + m->batch * h, 1, h};
    m->gemm(grad, wide, below_t, m->d_in, wide, h, wide, cells, 0);
    return;
  }
  memset(grad, 0, m->shape.vocab * wide * sizeof *grad);
  for (size_t i = 0; i < cells; i++) {
    float *row = grad + m->in[i] * wide;
    for (size_t j = 0; j < wide; j++) row[j] += m->d_in[i * wide + j];
  }
}

static void backward_layer(struct model *m, size_t l, const float *weights, float *grads, model_ready_fn ready, void *user) {
  struct layer *y = &m->layers[l];
  size_t cells = m->batch * m->steps, h = m->shape.hidden, wide = 3 * h;
  backward_time(m, l, weights);
  m->gemm(grads + y->wh.offset, wide, (struct view){y->h, 1, h}, m->d_recurrent, wide, h, wide, cells, 0);
  ready(user, y->first_tensor);
  input_gradient(m, l, grads + y->wx.offset);
  ready(user, y->first_tensor + 1);
  sum_rows(grads + y->bias.offset, m->d_in, cells, wide);
  ready(user, y->first_tensor + 2);
  if (l == 0) return;
  transpose(y->wx_t, weights + y->wx.offset, h, wide);
  m->gemm(m->d_out, h, (struct view){m->d_in, wide, 1}, y->wx_t, h, cells, h, wide, 0);
}

void model_backward(struct model *m, const float *weights, float *grads, float scale, model_ready_fn ready, void *user) {
  backward_output(m, weights, grads, scale, ready, user);
  for (size_t l = m->shape.layers; l-- > 0;) backward_layer(m, l, weights, grads, ready, user);
}
