/* What a forest asks of its nodes: children, whose windows take memory, and neighbours, each a connection. By formula for each shape. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/cost.h"

/* Neighbours among the workers and among the servers, and children. */
struct need {
  uint32_t children, workers, servers;
};

static const struct forest_map *groups_of(const struct forest_part *p) {
  const struct forest_map *m = p->map;
  if (m == NULL || (m->groups == p->workers && p->kind != FOREST_RACK)) return NULL;
  return p->kind == FOREST_HIER && m->groups == 1 ? NULL : m;
}

static void set_all(const struct forest_part *p, struct need *need, struct need worker, struct need server) {
  for (uint32_t i = 0; i < p->workers + p->servers; i++) need[i] = i < p->workers ? worker : server;
}

/* Trees of a tree or a double tree: every edge, once where both have it. */
static void tree_needs(const struct forest *f, uint32_t first, const struct forest_part *p, struct need *need) {
  for (uint32_t t = 0; t < p->trees; t++) {
    for (uint32_t i = 0; i < p->workers; i++) {
      uint32_t parent = forest_parent(f, first + t, i);
      if (parent == FOREST_NONE) continue;
      uint32_t before = t > 0 ? forest_parent(f, first, i) : FOREST_NONE, turned = t > 0 ? forest_parent(f, first, parent) : FOREST_NONE;
      if (parent != before) need[parent].children++;
      if (parent == before || turned == i) continue;
      need[parent].workers++;
      need[i].workers++;
    }
  }
}

/* How many of the trees 0 .. trees - 1 have a number that is `at` mod `size`. */
static uint32_t turns_of(uint32_t at, uint32_t size, uint32_t trees) { return at < trees ? (trees - 1 - at) / size + 1 : 0; }

/* Within a group of which the first `leaders` members lead in some tree: a leader has all others below it, the rest have the leaders above.
 */
static struct need in_group(uint32_t at, uint32_t size, uint32_t leaders) {
  struct need n = {.workers = at < leaders ? size - 1 : leaders};
  if (at < leaders) n.children = size - 1;
  return n;
}

/* hstar, rack: a worker leads in the trees of its turn, and has a server above it in each of these. */
static void led_needs(const struct forest_part *p, struct need *need) {
  const struct forest_map *m = p->map;
  for (uint32_t i = 0; i < p->workers; i++) {
    uint32_t g = m->group_of[i], at = i - m->group_first[g], size = m->group_first[g + 1] - m->group_first[g];
    struct need *n = &need[m->worker_at[i]];
    *n = in_group(at, size, MIN_OF(size, p->trees));
    n->servers = turns_of(at, size, p->trees);
  }
}

static void rack_needs(const struct forest_part *p, struct need *need) {
  const struct forest_map *m = p->map;
  led_needs(p, need);
  for (uint32_t r = 0; r < m->racks; r++) {
    for (uint32_t t = 0; t < p->trees; t++) {
      uint32_t groups = m->rack_first[r + 1] - m->rack_first[r], others = t % m->racks == r ? m->racks - 1 : 0;
      struct need n = {.children = groups + others, .workers = groups, .servers = others != 0 ? others : m->racks > 1};
      need[p->workers + m->server_at[m->rack_servers[r] + t]] = n;
    }
  }
}

/*
 * hier: as the root a worker has its group and a leader of each other below it; it leads below the roots of other groups whose place is its
 * own, mod the size of its group. Those of exactly its place are below it as well when it is the root: one neighbour, not two.
 * places[x]: groups that have a member x.
 */
static void hier_needs(const struct forest_part *p, const uint32_t *places, uint32_t largest, struct need *need) {
  const struct forest_map *m = p->map;
  for (uint32_t i = 0; i < p->workers; i++) {
    uint32_t g = m->group_of[i], at = i - m->group_first[g], size = m->group_first[g + 1] - m->group_first[g];
    uint32_t roots = 0;
    for (uint32_t x = at + size; x < largest; x += size) roots += places[x];
    struct need *n = &need[m->worker_at[i]];
    n->children = size - 1 + m->groups - 1;
    n->workers = size - 1 + m->groups - 1 + roots;
  }
}

static int grouped_needs(const struct forest_part *p, struct need *need, agg_error_t *err) {
  const struct forest_map *m = p->map;
  if (p->kind == FOREST_RACK) {
    rack_needs(p, need);
    return AGG_OK;
  }
  if (p->kind == FOREST_HSTAR) {
    led_needs(p, need);
    for (uint32_t s = 0; s < p->servers; s++) need[p->workers + s] = (struct need){.children = m->groups, .workers = m->groups};
    return AGG_OK;
  }
  uint32_t *places = calloc(p->workers, sizeof *places), largest = 0;
  if (places == NULL) return err_set(err, AGG_ENOMEM, "cost model: no memory for %u workers", p->workers);
  for (uint32_t g = 0; g < m->groups; g++) {
    uint32_t size = m->group_first[g + 1] - m->group_first[g];
    largest = MAX_OF(largest, size);
    for (uint32_t x = 0; x < size; x++) places[x]++;
  }
  hier_needs(p, places, largest, need);
  free(places);
  return AGG_OK;
}

static int part_needs(const struct forest *f, uint32_t first, const struct forest_part *p, struct need *need, agg_error_t *err) {
  uint32_t n = p->workers;
  memset(need, 0, forest_nodes(f) * sizeof *need);
  switch (p->kind) {
    case FOREST_DIRECT:
    case FOREST_HIER:
      if (p->kind == FOREST_HIER && groups_of(p) != NULL) return grouped_needs(p, need, err);
      set_all(p, need, (struct need){.children = n - 1, .workers = n - 1}, (struct need){0});
      return AGG_OK;
    case FOREST_RING:
      set_all(p, need, (struct need){.children = n > 1, .workers = MIN_OF(2u, n - 1)}, (struct need){0});
      return AGG_OK;
    case FOREST_TREE:
    case FOREST_DTREE:
      tree_needs(f, first, p, need);
      return AGG_OK;
    default:
      if (p->kind != FOREST_STAR && groups_of(p) != NULL) return grouped_needs(p, need, err);
      set_all(p, need, (struct need){.servers = p->trees}, (struct need){.children = n, .workers = n});
      return AGG_OK;
  }
}

static int same_part(const struct forest_part *a, const struct forest_part *b) { return a->kind == b->kind && a->arity == b->arity; }

/* Whether an earlier part of the forests is the same. */
static int seen(const struct forest *const *forests, uint32_t at, uint32_t part) {
  for (uint32_t i = 0; i <= at; i++) {
    for (uint32_t j = 0; j < (i == at ? part : forests[i]->n_parts); j++) {
      if (same_part(&forests[i]->part[j], &forests[at]->part[part])) return 1;
    }
  }
  return 0;
}

/* Other parts' neighbours may be others, but no more than there are. */
static void unite(struct need *to, const struct need *from, uint32_t workers, uint32_t nodes) {
  for (uint32_t i = 0; i < nodes; i++) {
    uint32_t others = i < workers ? workers - 1 : nodes;
    if (i < workers) {
      to[i].children = MIN_OF(to[i].children + from[i].children, others);
      to[i].workers = MIN_OF(to[i].workers + from[i].workers, others);
    } else { /* a server has the same children in all trees */
      to[i].children = MAX_OF(to[i].children, from[i].children);
      to[i].workers = MAX_OF(to[i].workers, from[i].workers);
    }
    to[i].servers = MAX_OF(to[i].servers, from[i].servers);
  }
}

int cost_needs(const struct forest *const *forests, uint32_t n, struct cost_needs *needs, agg_error_t *err) {
  assert(n > 0);
  uint32_t nodes = forest_nodes(forests[0]), workers = forests[0]->workers;
  struct need *all = calloc(2 * (size_t)nodes, sizeof *all), *one = all + nodes;
  uint32_t *made = calloc(2 * (size_t)nodes, sizeof *made);
  int rc = all == NULL || made == NULL ? err_set(err, AGG_ENOMEM, "cost model: no memory for %u nodes", nodes) : AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < n; i++) {
    for (uint32_t p = 0, first = 0; rc == AGG_OK && p < forests[i]->n_parts; first += forests[i]->part[p++].trees) {
      if (seen(forests, i, p)) continue;
      rc = part_needs(forests[i], first, &forests[i]->part[p], one, err);
      unite(all, one, workers, nodes);
    }
  }
  for (uint32_t i = 0; rc == AGG_OK && i < nodes; i++) {
    made[i] = all[i].children;
    made[nodes + i] = all[i].workers + all[i].servers;
  }
  free(all);
  if (rc != AGG_OK) {
    free(made);
    return rc;
  }
  *needs = (struct cost_needs){.children = made, .peers = made + nodes};
  return AGG_OK;
}

void cost_needs_fini(struct cost_needs *needs) {
  free(needs->children);
  *needs = (struct cost_needs){0};
}
