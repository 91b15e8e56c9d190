/*
 * Building forests: what can be built, and schedules from weights. Owns a forest's memory, which is its schedule.
 *
 * How many places each tree has. Places are given one by one, each to the tree that then has the least for its weight: the next place of a
 * tree with c of them and weight w (all weights sum to 1) has the key (c + 1) / w, the smallest key is next. After P places no tree has
 * more than key / P times its share, key being the last one taken, and no other way of giving P places out has a smaller excess: whoever
 * takes a place off one tree must put it where its key is larger. One run so yields the least excess of every period; the first period that
 * is good enough is taken, or the best.
 *
 * In which order. Place m of a tree with c of P may come from slot floor(m P / c) on and is due before slot ceil((m + 1) P / c). Of those
 * that may come, the one that is due first takes the slot, of those due alike the one whose span has its middle first. For one machine and
 * unit jobs this keeps all due times, and so every prefix within one place of each share (the chairman assignment problem).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/shape.h"

#define EXCESS 1.005
#define PERIOD_LEAST 256u

/* ---- what can be built -------------------------------------------------------------------------------------------------------------- */

static int has_servers(unsigned kind) { return kind == FOREST_STAR || kind == FOREST_HSTAR || kind == FOREST_RACK; }

static int no_trees(const struct forest_part *p, const struct forest_shape *shape, agg_error_t *err) {
  const struct forest_map *m = p->map;
  if (p->servers == 0 || m == NULL) return err_set(err, AGG_EINVAL, "a %s needs at least one server, there is none", shape->name);
  uint32_t rack = 0;
  while (rack + 1 < m->racks && m->rack_servers[rack + 1] > m->rack_servers[rack]) rack++;
  return err_set(err, AGG_EINVAL, "a %s needs a server in every rack with workers: the rack of worker %u (rack %u of %u) has none",
                 shape->name, m->worker_at[m->group_first[m->rack_first[rack]]], rack, m->racks);
}

static int add_part(struct forest *f, const struct forest_spec *spec, const struct forest_map *map, agg_error_t *err) {
  const struct forest_shape *shape = forest_shape_of(spec->kind);
  if (shape == NULL) return err_set(err, AGG_EINVAL, "forest kind %u is unknown: expected 0 to %d", spec->kind, FOREST_KIND_COUNT - 1);
  if (f->workers == 0) return err_set(err, AGG_EINVAL, "a %s needs at least one worker, there is none", shape->name);
  if (spec->kind == FOREST_TREE ? spec->arity < 1 || spec->arity > FOREST_ARITY_MAX : spec->arity != 0)
    return err_set(err, AGG_EINVAL, "a %s of arity %u: expected 1 to %u for a tree, 0 for others", shape->name, spec->arity,
                   FOREST_ARITY_MAX);
  struct forest_part p = {.kind = spec->kind, .arity = spec->arity, .workers = f->workers, .servers = f->servers, .map = map};
  p.trees = shape->trees(&p);
  if (p.trees == 0) return no_trees(&p, shape, err);
  f->part[f->n_parts++] = p;
  f->trees += p.trees;
  return AGG_OK;
}

static int make(struct forest *f, const struct forest_spec *spec, uint32_t n_parts, uint32_t workers, uint32_t servers,
                const struct forest_map *map, agg_error_t *err) {
  struct forest made = {.workers = workers, .servers = servers};
  if (n_parts < 1 || n_parts > FOREST_PARTS_MAX)
    return err_set(err, AGG_EINVAL, "a forest of %u parts: expected 1 to %d", n_parts, FOREST_PARTS_MAX);
  if ((uint64_t)workers + servers > FOREST_MAX_NODES) {
    return err_set(err, AGG_EINVAL, "%u workers and %u servers are too many nodes: at most %u", workers, servers, FOREST_MAX_NODES);
  }
  if (map != NULL && (map->workers != workers || map->servers != servers))
    return err_set(err, AGG_EINVAL, "a map of %u workers and %u servers does not fit %u workers and %u servers", map->workers, map->servers,
                   workers, servers);
  for (uint32_t i = 0; i < n_parts; i++) {
    int rc = add_part(&made, &spec[i], map, err);
    if (rc != AGG_OK) return rc;
  }
  if (n_parts == 2 && has_servers(spec[0].kind) && has_servers(spec[1].kind))
    return err_set(err, AGG_EINVAL, "a hybrid of %s and %s: only one part may use the servers", forest_kind_name(spec[0].kind),
                   forest_kind_name(spec[1].kind));
  made.period = made.trees;
  *f = made;
  return AGG_OK;
}

int forest_init(struct forest *f, unsigned kind, uint32_t workers, uint32_t servers, agg_error_t *err) {
  if (forest_shape_of(kind) == NULL)
    return err_set(err, AGG_EINVAL, "forest kind %u is unknown: expected 0 to %d", kind, FOREST_KIND_COUNT - 1);
  struct forest_spec spec = {.kind = (uint8_t)kind, .arity = kind == FOREST_TREE ? 2 : 0};
  return make(f, &spec, 1, workers, servers, NULL, err);
}

void forest_fini(struct forest *f) {
  free(f->schedule);
  *f = (struct forest){0};
}

int forest_take(struct forest *f, const struct forest_spec *spec, uint32_t n_parts, uint32_t workers, uint32_t servers,
                const struct forest_map *map, const uint32_t *schedule, uint32_t period, agg_error_t *err) {
  struct forest made;
  int rc = make(&made, spec, n_parts, workers, servers, map, err);
  if (rc != AGG_OK) return rc;
  if ((schedule == NULL) != (period == 0) || period > FOREST_PERIOD_MAX)
    return err_set(err, AGG_EINVAL, "a schedule of %u places: expected 1 to %u, or none", period, FOREST_PERIOD_MAX);
  for (uint32_t i = 0; i < period; i++) {
    if (schedule[i] >= made.trees)
      return err_set(err, AGG_EINVAL, "place %u of the schedule is tree %u: there are %u trees", i, schedule[i], made.trees);
  }
  if (period != 0) {
    made.schedule = malloc(period * sizeof *schedule);
    if (made.schedule == NULL) return err_set(err, AGG_ENOMEM, "no memory for a schedule of %u places", period);
    memcpy(made.schedule, schedule, period * sizeof *schedule);
    made.period = period;
  }
  *f = made;
  return AGG_OK;
}

/* ---- a heap of trees ---------------------------------------------------------------------------------------------------------------- */

/* The smallest key first, of equal ones the smallest second, of equal ones the smallest tree. */
struct entry {
  double key, second;
  uint32_t tree;
};

struct heap {
  struct entry *entry;
  uint32_t n;
};

static int before(const struct entry *a, const struct entry *b) {
  if (a->key != b->key) return a->key < b->key;
  return a->second != b->second ? a->second < b->second : a->tree < b->tree;
}

/* Puts e at i or below it. */
static void sink(struct heap *h, uint32_t i, struct entry e) {
  for (uint32_t child; (child = 2 * i + 1) < h->n; i = child) {
    if (child + 1 < h->n && before(&h->entry[child + 1], &h->entry[child])) child++;
    if (!before(&h->entry[child], &e)) break;
    h->entry[i] = h->entry[child];
  }
  h->entry[i] = e;
}

static void push(struct heap *h, struct entry e) {
  uint32_t i = h->n++;
  for (; i > 0 && before(&e, &h->entry[(i - 1) / 2]); i = (i - 1) / 2) h->entry[i] = h->entry[(i - 1) / 2];
  h->entry[i] = e;
}

static struct entry pop(struct heap *h) {
  struct entry top = h->entry[0];
  h->n--;
  if (h->n > 0) sink(h, 0, h->entry[h->n]);
  return top;
}

/* ---- schedules ---------------------------------------------------------------------------------------------------------------------- */

struct work {
  uint32_t trees, most, period;
  double *weight;  /* tree -> share, summing to 1 */
  uint32_t *given; /* place -> tree that was given it, then slot -> head of the list of trees that may come from it on */
  uint32_t *count; /* tree -> places */
  uint32_t *next;  /* tree -> the next of its list */
  uint32_t *done;  /* tree -> places that have a slot */
  struct heap heap;
};

/* The period, and the places of each tree. */
static void give_places(struct work *w) {
  double least = INFINITY;
  for (uint32_t t = 0; t < w->trees; t++) {
    if (w->weight[t] > 0) push(&w->heap, (struct entry){.key = 1 / w->weight[t], .second = -w->weight[t], .tree = t});
  }
  for (uint32_t places = 1; places <= w->most && least > EXCESS; places++) {
    struct entry e = w->heap.entry[0];
    double excess = e.key / places;
    w->given[places - 1] = e.tree;
    if (excess < least) least = excess, w->period = places;
    e.key = (++w->count[e.tree] + 1) / w->weight[e.tree];
    sink(&w->heap, 0, e);
  }
  memset(w->count, 0, w->trees * sizeof *w->count);
  for (uint32_t i = 0; i < w->period; i++) w->count[w->given[i]]++;
}

/* The tree's next place, in the list of the slot from which on it may come; slots up to `from` are past. */
static void release(struct work *w, uint32_t tree, uint32_t from) {
  uint32_t slot = (uint32_t)((uint64_t)w->done[tree] * w->period / w->count[tree]);
  slot = MAX_OF(slot, from);
  if (w->done[tree] == w->count[tree] || slot >= w->period) return;
  w->next[tree] = w->given[slot];
  w->given[slot] = tree;
}

static void order_places(struct work *w, uint32_t *schedule) {
  for (uint32_t i = 0; i < w->period; i++) w->given[i] = FOREST_NONE;
  w->heap.n = 0;
  for (uint32_t t = 0; t < w->trees; t++) {
    if (w->count[t] != 0) release(w, t, 0);
  }
  for (uint32_t slot = 0; slot < w->period; slot++) {
    for (uint32_t t = w->given[slot]; t != FOREST_NONE; t = w->next[t]) {
      uint64_t due = div_up_u64((uint64_t)(w->done[t] + 1) * w->period, w->count[t]);
      double middle = (w->done[t] + 0.5) * w->period / w->count[t];
      push(&w->heap, (struct entry){.key = (double)due, .second = middle, .tree = t});
    }
    uint32_t tree = pop(&w->heap).tree;
    schedule[slot] = tree;
    w->done[tree]++;
    release(w, tree, slot + 1);
  }
}

static int check_weights(const double *weights, uint32_t trees, int *equal, agg_error_t *err) {
  double most = 0;
  *equal = 1;
  for (uint32_t t = 0; t < trees; t++) {
    if (!(weights[t] >= 0) || !isfinite(weights[t]))
      return err_set(err, AGG_EINVAL, "tree %u has the weight %g: expected a number from 0 on", t, weights[t]);
    if (weights[t] != weights[0]) *equal = 0;
    most = MAX_OF(most, weights[t]);
  }
  if (most == 0) return err_set(err, AGG_EINVAL, "the weights of all %u trees are 0: expected one above", trees);
  return AGG_OK;
}

/* Weights of any size to shares that sum to 1. */
static void to_shares(const double *weights, uint32_t trees, double *share) {
  double most = 0, sum = 0;
  for (uint32_t t = 0; t < trees; t++) most = MAX_OF(most, weights[t]);
  for (uint32_t t = 0; t < trees; t++) sum += share[t] = weights[t] / most; /* cannot overflow */
  for (uint32_t t = 0; t < trees; t++) share[t] /= sum;
}

static int schedule_make(struct forest *f, const double *weights, uint32_t most) {
  struct work w = {.trees = f->trees, .most = most};
  uint32_t *schedule = NULL;
  w.weight = calloc(w.trees, sizeof *w.weight);
  w.given = calloc(most, sizeof *w.given);
  w.count = calloc(3 * (size_t)w.trees, sizeof *w.count);
  w.heap.entry = calloc(w.trees, sizeof *w.heap.entry);
  if (w.weight != NULL && w.given != NULL && w.count != NULL && w.heap.entry != NULL) {
    w.next = w.count + w.trees, w.done = w.count + 2 * (size_t)w.trees;
    to_shares(weights, w.trees, w.weight);
    give_places(&w);
    schedule = calloc(w.period, sizeof *schedule);
    if (schedule != NULL) order_places(&w, schedule);
  }
  free(w.heap.entry);
  free(w.count);
  free(w.given);
  free(w.weight);
  f->schedule = schedule;
  f->period = w.period;
  return schedule != NULL ? AGG_OK : AGG_ENOMEM;
}

int forest_build(struct forest *f, const struct forest_spec *spec, uint32_t n_parts, uint32_t workers, uint32_t servers,
                 const struct forest_map *map, const double *weights, uint32_t period_max, agg_error_t *err) {
  struct forest made;
  int equal = 1;
  int rc = make(&made, spec, n_parts, workers, servers, map, err);
  if (rc == AGG_OK && weights != NULL) rc = check_weights(weights, made.trees, &equal, err);
  if (rc == AGG_OK && period_max > FOREST_PERIOD_MAX)
    rc = err_set(err, AGG_EINVAL, "a schedule of up to %u places: expected at most %u, or 0 to have it chosen", period_max,
                 FOREST_PERIOD_MAX);
  if (rc != AGG_OK) return rc;
  uint32_t most = period_max != 0 ? period_max : MIN_OF(MAX_OF(PERIOD_LEAST, 4 * made.trees), FOREST_PERIOD_MAX);
  if (!equal && schedule_make(&made, weights, most) != AGG_OK)
    return err_set(err, AGG_ENOMEM, "no memory for a schedule of up to %u places", most);
  *f = made;
  return AGG_OK;
}
