/*
 * Data-parallel gradient descent. A step's batch is the same whatever the number of ranks: each takes its share of the sequences, and
 * gradients are scaled so that their average over the ranks is the mean over the whole batch. All ranks then make the same optimizer step,
 * so their weights stay the same to the last bit.
 */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adam.h"
#include "progress.h"

#define SEQUENCE 32    /* characters that a gradient looks back */
#define FORGET_EVERY 8 /* steps after which the readers start afresh, so that the model learns to begin, too */
#define HELD_OUT_CHECKS 20
#define RATE 0.005f
#define WARM_UP 20
#define MAX_NORM 1.0f
#define SAMPLE_SYMBOLS 400
#define TEMPERATURE 0.7f

struct trainer {
  struct group *g;
  const struct args *args;
  const struct text *text;
  struct shape shape;
  struct tensors tensors;
  size_t first, share;    /* of the batch's sequences: this rank's */
  float *weights, *grads; /* peers can reach them */
  double *loss;           /* peers can reach it */
  struct model *model, *checker;
  struct adam adam;
  uint8_t *in, *next;
};

static void trainer_fini(struct trainer *t) {
  group_free(t->g, t->weights);
  group_free(t->g, t->grads);
  group_free(t->g, t->loss);
  model_destroy(t->model);
  model_destroy(t->checker);
  adam_fini(&t->adam);
  free(t->in);
  free(t->next);
}

static int trainer_init(struct trainer *t, struct group *g, const struct args *args, const struct text *text) {
  *t = (struct trainer){.g = g, .args = args, .text = text, .shape = {text->vocab, args->hidden, args->layers}};
  shape_tensors(&t->shape, &t->tensors);
  t->first = args->batch * g->rank / g->ranks;
  t->share = args->batch * (g->rank + 1) / g->ranks - t->first;
  t->weights = group_alloc(g, t->tensors.total * sizeof(float));
  t->grads = group_alloc(g, t->tensors.total * sizeof(float));
  t->loss = group_alloc(g, sizeof(double));
  if (t->weights == NULL || t->grads == NULL || t->loss == NULL) return -1;
  t->model = model_create(&t->shape, t->share, SEQUENCE);
  t->checker = model_create(&t->shape, t->share, SEQUENCE);
  t->in = malloc(t->share * SEQUENCE);
  t->next = malloc(t->share * SEQUENCE);
  if (t->model == NULL || t->checker == NULL || t->in == NULL || t->next == NULL || adam_init(&t->adam, t->tensors.total) != 0) {
    return group_complain(g, "out of memory: a smaller --batch, --hidden or --layers needs less");
  }
  return 0;
}

/* ---- before ---------------------------------------------------------------------------------------------------------------------- */

/* Ranks that learn from different texts or with other options would average apples and pears. */
static int agree(struct group *g, const char *what, uint64_t mine) {
  uint64_t *all = malloc(g->ranks * sizeof *all);
  if (all == NULL) return group_complain(g, "out of memory");
  int rc = group_gather(g, mine, all);
  for (uint32_t r = 0; rc == 0 && r < g->ranks; r++) {
    if (all[r] != mine) rc = group_complain(g, "rank %u has another %s: give all ranks the same", r, what);
  }
  free(all);
  return rc;
}

static int agree_on_all(struct group *g, const struct args *args, const struct text *text) {
  if (agree(g, "text", text->hash) != 0 || agree(g, "number of steps", args->steps) != 0 || agree(g, "batch", args->batch) != 0) return -1;
  if (agree(g, "number of hidden units", args->hidden) != 0 || agree(g, "number of layers", args->layers) != 0) return -1;
  if (args->batch < g->ranks) {
    return group_complain(g, "--batch %llu: %u workers need at least one sequence each", (unsigned long long)args->batch, g->ranks);
  }
  return 0;
}

/* ---- learning -------------------------------------------------------------------------------------------------------------------- */

/* Rises at first, then falls towards zero. */
static float rate_at(uint64_t step, uint64_t steps) {
  float rate = RATE * (float)(steps - step) / (float)steps;
  return step < WARM_UP ? rate * (float)(step + 1) / WARM_UP : rate;
}

/* One step; *loss is the whole batch's mean. */
static int learn(struct trainer *t, uint64_t step, double *loss) {
  size_t characters = t->args->batch * SEQUENCE;
  if (step % FORGET_EVERY == 0) model_reset(t->model);
  text_batch(t->text->train, t->text->n_train, t->args->batch, t->first, t->share, SEQUENCE, step, t->in, t->next);
  *t->loss = model_forward(t->model, t->weights, t->in, t->next);
  group_average_begin(t->g, &t->tensors, t->grads, t->loss);
  model_backward(t->model, t->weights, t->grads, (float)t->g->ranks / (float)characters, group_average_tensor, t->g);
  if (group_average_end(t->g) != 0) return -1;
  *loss = *t->loss / (double)characters;
  adam_step(&t->adam, t->weights, t->grads, rate_at(step, t->args->steps), MAX_NORM);
  return 0;
}

/* The mean loss on the held-out text, each rank reading its share. */
static int check_held_out(struct trainer *t, double *loss) {
  size_t windows = t->text->n_held_out / t->args->batch / SEQUENCE;
  if (windows == 0) windows = 1;
  double sums[2] = {0.0, (double)(windows * t->share * SEQUENCE)};
  model_reset(t->checker);
  for (size_t i = 0; i < windows; i++) {
    text_batch(t->text->held_out, t->text->n_held_out, t->args->batch, t->first, t->share, SEQUENCE, i, t->in, t->next);
    sums[0] += model_forward(t->checker, t->weights, t->in, t->next);
  }
  if (group_sum(t->g, sums, 2) != 0) return -1;
  *loss = sums[0] / sums[1];
  return 0;
}

static int run_steps(struct trainer *t, struct result *r) {
  struct progress p;
  uint64_t steps = t->args->steps, every = (steps + HELD_OUT_CHECKS - 1) / HELD_OUT_CHECKS;
  progress_start(&p, t->g->rank == 0, steps);
  for (uint64_t step = 0; step < steps; step++) {
    double loss;
    if (learn(t, step, &loss) != 0) return -1;
    r->tokens += t->args->batch * SEQUENCE;
    if (curve_add(&r->train, (double)step + 1, loss) != 0) return group_complain(t->g, "out of memory");
    if ((step + 1) % every == 0 || step + 1 == steps) {
      if (check_held_out(t, &p.held_out) != 0) return -1;
      if (curve_add(&r->held_out, (double)step + 1, p.held_out) != 0) return group_complain(t->g, "out of memory");
    }
    progress_step(&p, step + 1, loss, r->tokens, t->g->waited_ns);
  }
  progress_end(&p);
  r->seconds = (double)(now_ns() - p.start_ns) * 1e-9;
  return 0;
}

/* ---- after ------------------------------------------------------------------------------------------------------------------------ */

static int compare_weights(struct trainer *t, struct result *r) {
  uint64_t *all = malloc(t->g->ranks * sizeof *all);
  if (all == NULL) return group_complain(t->g, "out of memory");
  r->hash = hash_bytes(t->weights, t->tensors.total * sizeof(float));
  int rc = group_gather(t->g, r->hash, all);
  r->same = 1;
  for (uint32_t i = 0; rc == 0 && i < t->g->ranks; i++) r->same &= all[i] == r->hash;
  free(all);
  return rc;
}

static uint8_t draw(const float *probabilities, size_t vocab, uint64_t *state) {
  float sharper[256], sum = 0.0f;
  for (size_t i = 0; i < vocab; i++) sum += sharper[i] = powf(probabilities[i], 1.0f / TEMPERATURE);
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  float left = sum * (float)(*state >> 40) * 0x1p-24f;
  size_t i = 0;
  while (i + 1 < vocab && (left -= sharper[i]) >= 0.0f) i++;
  return (uint8_t)i;
}

/* What the model writes after reading the start of the held-out text. */
static int print_sample(struct trainer *t) {
  struct model *m = model_create(&t->shape, 1, 1);
  if (m == NULL) return group_complain(t->g, "out of memory");
  uint64_t state = t->args->seed;
  printf("\nsample:\n    ");
  for (size_t i = 0; i < SEQUENCE; i++) (void)model_forward(m, t->weights, &t->text->held_out[i], NULL);
  for (size_t i = 0; i < SAMPLE_SYMBOLS; i++) {
    uint8_t symbol = draw(model_probabilities(m), t->shape.vocab, &state), byte = t->text->byte_of[symbol];
    fputs(byte == '\n' ? "\n    " : "", stdout);
    if (byte != '\n') putchar(byte >= ' ' && byte != 0x7f ? byte : ' ');
    (void)model_forward(m, t->weights, &symbol, NULL);
  }
  printf("\n\n");
  model_destroy(m);
  return 0;
}

int train(struct group *g, const struct args *args, const struct text *text, struct result *result) {
  struct trainer t;
  *result = (struct result){0};
  if (agree_on_all(g, args, text) != 0) return -1;
  int rc = trainer_init(&t, g, args, text);
  if (rc == 0 && g->rank == 0) model_random_weights(&t.shape, args->seed, t.weights);
  if (rc == 0) rc = group_broadcast(g, t.weights, t.tensors.total * sizeof(float));
  if (rc == 0) rc = run_steps(&t, result);
  if (rc == 0 && g->rank == 0) rc = print_sample(&t);
  if (rc == 0) rc = compare_weights(&t, result);
  trainer_fini(&t);
  return rc;
}

void result_free(struct result *r) {
  curve_free(&r->train);
  curve_free(&r->held_out);
}
