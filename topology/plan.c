/* Plans: copying, which forest an operation takes, and the proof before use. Never decides anything: choose.c does. */
#include "topology/plan.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void plan_fini(struct plan *plan) {
  for (uint32_t i = 0; i < plan->n_forests; i++) forest_fini(&plan->forest[i]);
  forest_map_free(plan->map);
  *plan = (struct plan){0};
}

/* Takes the map that replaces the old one; on AGG_ENOMEM *to owns nothing. */
static int copy_forest(struct forest *to, const struct forest *from, const struct forest_map *map) {
  *to = *from;
  for (uint32_t i = 0; i < to->n_parts; i++) {
    if (to->part[i].map != NULL) to->part[i].map = map;
  }
  if (from->schedule == NULL) return AGG_OK;
  to->schedule = malloc(from->period * sizeof *from->schedule);
  if (to->schedule == NULL) return AGG_ENOMEM;
  memcpy(to->schedule, from->schedule, from->period * sizeof *from->schedule);
  return AGG_OK;
}

int plan_copy(struct plan *to, const struct plan *from) {
  struct plan made = *from;
  made.n_forests = 0;
  int rc = forest_map_copy(from->map, &made.map);
  if (rc != AGG_OK) made.map = NULL;
  while (rc == AGG_OK && made.n_forests < from->n_forests) {
    rc = copy_forest(&made.forest[made.n_forests], &from->forest[made.n_forests], made.map);
    made.n_forests++;
  }
  if (rc != AGG_OK) plan_fini(&made);
  *to = made;
  return rc;
}

uint32_t plan_forest(const struct plan *plan, unsigned kind, uint64_t bytes) {
  assert(kind < OP_KIND_COUNT && plan->n_forests > 0);
  const struct plan_table *t = &plan->table[kind];
  if (t->n == 0) return 0;
  assert(t->rule[0].from_bytes == 0);
  uint32_t i = t->n - 1;
  while (bytes < t->rule[i].from_bytes) i--;
  return t->rule[i].forest;
}

/* ---- the proof ---------------------------------------------------------------------------------------------------------------------- */

static int check_limits(const struct plan *p, agg_error_t *err) {
  if (p->n_forests == 0 || p->n_forests > PLAN_FORESTS_MAX)
    return err_set(err, AGG_EINVAL, "a plan of %u forests: expected 1 to %u", p->n_forests, PLAN_FORESTS_MAX);
  if (p->lanes == 0 || p->lanes > PLAN_LANES_MAX)
    return err_set(err, AGG_EINVAL, "a plan of %u lanes: expected 1 to %u", p->lanes, PLAN_LANES_MAX);
  if (p->window == 0 || p->window > PLAN_WINDOW_MAX)
    return err_set(err, AGG_EINVAL, "a plan with windows of %u chunks: expected 1 to %u", p->window, PLAN_WINDOW_MAX);
  for (uint32_t i = 0; i < p->n_forests; i++) {
    if (p->forest_window[i] > p->window)
      return err_set(err, AGG_EINVAL, "forest %u has a window of %u chunks: expected at most the plan's, %u", i, p->forest_window[i],
                     p->window);
  }
  if (p->chunk_bytes < PLAN_CHUNK_MIN || p->chunk_bytes > PLAN_CHUNK_MAX || p->chunk_bytes % PLAN_CHUNK_UNIT != 0)
    return err_set(err, AGG_EINVAL, "a plan with chunks of %u bytes: expected a multiple of %u from %u to %u", p->chunk_bytes,
                   PLAN_CHUNK_UNIT, PLAN_CHUNK_MIN, PLAN_CHUNK_MAX);
  return AGG_OK;
}

static int check_table(const struct plan *p, unsigned kind, agg_error_t *err) {
  const struct plan_table *t = &p->table[kind];
  if (t->n > PLAN_RULES_MAX)
    return err_set(err, AGG_EINVAL, "operations of kind %u have %u rules: expected at most %u", kind, t->n, PLAN_RULES_MAX);
  for (uint32_t i = 0; i < t->n; i++) {
    if (i == 0 ? t->rule[i].from_bytes != 0 : t->rule[i].from_bytes <= t->rule[i - 1].from_bytes)
      return err_set(err, AGG_EINVAL, "operations of kind %u: rule %u is from %llu bytes on: expected 0 for the first, more for each next",
                     kind, i, (unsigned long long)t->rule[i].from_bytes);
    if (t->rule[i].forest >= p->n_forests)
      return err_set(err, AGG_EINVAL, "operations of kind %u: rule %u takes forest %u: there are %u", kind, i, t->rule[i].forest,
                     p->n_forests);
  }
  return AGG_OK;
}

static int check_forest(const struct plan *p, uint32_t i, uint32_t self, agg_error_t *err) {
  const struct forest *f = &p->forest[i];
  if (f->workers != p->workers || f->servers != p->servers)
    return err_set(err, AGG_EINVAL, "forest %u is of %u workers and %u servers, the plan of %u and %u", i, f->workers, f->servers,
                   p->workers, p->servers);
  for (uint32_t part = 0; part < FOREST_PARTS_MAX; part++) {
    if (part < f->n_parts && f->part[part].map != NULL && f->part[part].map != p->map)
      return err_set(err, AGG_EINVAL, "forest %u has a map that is not the plan's", i);
  }
  int rc = forest_check_node(f, self, err);
  if (rc != AGG_OK) err_prefix(err, "forest %u", i);
  return rc;
}

/* A tree in which the node takes part, or FOREST_NONE. */
static uint32_t tree_with(const struct forest *f, uint32_t node) {
  for (uint32_t tree = 0; tree < f->trees; tree++) {
    if (forest_member(f, tree, node)) return tree;
  }
  return FOREST_NONE;
}

/* A server numbers its chunks by slots that are the same at all its children, so these are the same in all forests. */
static int check_server(const struct plan *p, uint32_t server, agg_error_t *err) {
  const struct forest *first = NULL;
  for (uint32_t i = 0; i < p->n_forests; i++) {
    const struct forest *f = &p->forest[i];
    uint32_t tree = tree_with(f, server);
    if (tree == FOREST_NONE) continue;
    if (first == NULL) first = f;
    uint32_t there = tree_with(first, server), n = forest_n_children(f, tree, server);
    int same = n == forest_n_children(first, there, server);
    for (uint32_t c = 0; same && c < n; c++) same = forest_child(f, tree, server, c) == forest_child(first, there, server, c);
    if (!same)
      return err_set(err, AGG_EINVAL, "server %u has other children in forest %u than in forest %td", server, i, first - p->forest);
  }
  return AGG_OK;
}

int plan_check(const struct plan *plan, uint32_t self, agg_error_t *err) {
  int rc = check_limits(plan, err);
  for (unsigned kind = 0; rc == AGG_OK && kind < OP_KIND_COUNT; kind++) rc = check_table(plan, kind, err);
  for (uint32_t i = 0; rc == AGG_OK && i < plan->n_forests; i++) rc = check_forest(plan, i, self, err);
  return rc == AGG_OK && self >= plan->workers ? check_server(plan, self, err) : rc;
}

/* ---- words ------------------------------------------------------------------------------------------------------------------------------
 */

static const char *size_text(uint64_t bytes, char *buf, size_t cap) {
  static const char units[] = " KMGTPE";
  unsigned unit = 0;
  while (bytes >= 1024 && bytes % 1024 == 0) bytes /= 1024, unit++;
  snprintf(buf, cap, unit != 0 ? "%llu%c" : "%llu", (unsigned long long)bytes, units[unit]);
  return buf;
}

const char *plan_text(const struct plan *plan, char *buf, size_t cap) {
  const struct plan_table *t = &plan->table[OP_ALLREDUCE];
  char name[96], size[32];
  size_t at = 0;
  buf[0] = '\0';
  for (uint32_t i = 0; i < (t->n != 0 ? t->n : 1) && at < cap; i++) {
    uint32_t forest = t->n != 0 ? t->rule[i].forest : 0;
    int last = i + 1 >= t->n;
    at += (size_t)snprintf(buf + at, cap - at, "%s%s%s%s", i != 0 ? ", " : "", forest_name(&plan->forest[forest], name, sizeof name),
                           last ? "" : " to ", last ? "" : size_text(t->rule[i + 1].from_bytes, size, sizeof size));
  }
  return buf;
}
