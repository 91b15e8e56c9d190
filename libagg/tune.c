/* Which forest an allreduce takes, by what was measured. Pure but for the log: the same numbers lead to the same decisions on every rank.
 */
#include "tune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define CONTRADICTS 1.15 /* measured / predicted from which on another forest is worth a trial */
#define BETTER 0.90      /* of the time in use: what another must promise, or have shown */

static uint32_t bits_of(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}
static float float_of(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static void begin(struct tune *t, uint32_t seq) {
  atomic_fetch_add(&t->generation, 1);
  for (uint32_t i = 0; i < TUNE_VALUES; i++) atomic_store_explicit(&t->sample[i], bits_of(INFINITY), memory_order_relaxed);
  memset(t->taken, 0, sizeof t->taken);
  t->from = seq;
}

void tune_init(struct tune *t, const struct plan *plan, const struct log *log, uint32_t comm, uint32_t rank) {
  memset(t, 0, sizeof *t);
  t->plan = plan;
  t->log = log;
  t->comm = comm;
  t->rank = rank;
  for (uint32_t s = 0; s < PLAN_SIZES; s++) t->forest[s] = (uint8_t)plan_forest(plan, OP_ALLREDUCE, plan_size_bytes(s));
  begin(t, 0);
}

/* ---- deciding ------------------------------------------------------------------------------------------------------------------------ */

/* The median of the samples that every rank has; 0: too few. */
static float median_of(const float *v) {
  float sorted[TUNE_SAMPLES];
  uint32_t n = 0;
  for (uint32_t i = 0; i < TUNE_SAMPLES; i++) {
    if (!isfinite(v[i]) || v[i] <= 0) continue;
    uint32_t at = n++;
    for (; at > 0 && sorted[at - 1] > v[i]; at--) sorted[at] = sorted[at - 1];
    sorted[at] = v[i];
  }
  return n > TUNE_SAMPLES / 2 ? sorted[n / 2] : 0;
}

/* What a forest promises: its time where it was measured, else what was predicted. 0: nothing is known of it. */
static float promise(const struct tune *t, uint32_t size, uint32_t forest) {
  return t->measured[size][forest] > 0 ? t->measured[size][forest] : t->plan->predicted[size][forest];
}

static void say(const struct tune *t, uint32_t size, uint32_t old, uint32_t new) {
  char from[PLAN_TEXT_MAX], to[PLAN_TEXT_MAX];
  if (t->rank != 0) return;
  LOG_INFO(t->log, "communicator %u: allreduce of about %llu bytes took %.3g ms over %s (predicted %.3g): now %s, %s %.3g ms", t->comm,
           (unsigned long long)plan_size_bytes(size), (double)t->measured[size][old] * 1e3,
           forest_name(&t->plan->forest[old], from, sizeof from), (double)t->plan->predicted[size][old] * 1e3,
           forest_name(&t->plan->forest[new], to, sizeof to), t->measured[size][new] > 0 ? "which took" : "predicted",
           (double)promise(t, size, new) * 1e3);
}

static void decide(struct tune *t, uint32_t size) {
  uint32_t now = t->forest[size], best = now;
  float took = median_of(&t->agreed[size * TUNE_SAMPLES]);
  if (took <= 0) return;
  t->measured[size][now] = took;
  float predicted = t->plan->predicted[size][now];
  int contradicts = predicted > 0 && took > predicted * (float)CONTRADICTS;
  for (uint32_t f = 0; f < t->plan->n_forests; f++) {
    float promised = promise(t, size, f);
    int tried = t->measured[size][f] > 0;
    if (f == now || promised <= 0 || !(tried || contradicts) || promised >= took * (float)BETTER) continue;
    if (best == now || promised < promise(t, size, best)) best = f;
  }
  if (best == now) return;
  say(t, size, now, best);
  t->forest[size] = (uint8_t)best;
  t->changed[size] = 1;
}

/* ---- rounds -------------------------------------------------------------------------------------------------------------------------- */

void tune_settle(struct tune *t, uint32_t seq) {
  if (!t->pending || seq - t->round < TUNE_LAG) return;
  t->pending = 0;
  for (uint32_t s = 0; s < PLAN_SIZES; s++) decide(t, s);
  begin(t, seq);
}

uint32_t tune_forest(struct tune *t, uint64_t bytes, uint32_t *sample) {
  uint32_t size = plan_size_of(bytes), forest = t->changed[size] ? t->forest[size] : plan_forest(t->plan, OP_ALLREDUCE, bytes);
  int wanted = !t->pending && t->taken[size] < TUNE_SAMPLES && forest == t->forest[size];
  *sample = wanted ? size * TUNE_SAMPLES + t->taken[size]++ : TUNE_NONE;
  return forest;
}

int tune_round_due(struct tune *t, uint32_t seq) {
  if (t->pending || seq - t->from < TUNE_SAMPLE_OPS) return 0;
  for (uint32_t i = 0; i < TUNE_VALUES; i++) t->give[i] = float_of(atomic_load_explicit(&t->sample[i], memory_order_relaxed));
  t->round = seq;
  t->pending = 1;
  return 1;
}

void tune_sample(struct tune *t, uint32_t generation, uint32_t sample, double seconds) {
  if (atomic_load(&t->generation) != generation) return;
  atomic_store_explicit(&t->sample[sample], bits_of((float)seconds), memory_order_relaxed);
}
