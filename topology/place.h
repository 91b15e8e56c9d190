/*
 * Where workers sit, with a map or without one (NULL: positions are ranks and every worker is a host of its own), and the star of one host:
 * the workers of a group below one of them, its leader. What the shapes share; only shape_*.c and the forest's own files include it.
 */
#ifndef TOPOLOGY_PLACE_H
#define TOPOLOGY_PLACE_H

#include "forest.h"

static inline uint32_t place_worker(const struct forest_map *m, uint32_t position) { return m != NULL ? m->worker_at[position] : position; }
static inline uint32_t place_position(const struct forest_map *m, uint32_t worker) { return m != NULL ? m->position_of[worker] : worker; }
static inline uint32_t place_group(const struct forest_map *m, uint32_t position) { return m != NULL ? m->group_of[position] : position; }
static inline uint32_t place_groups(const struct forest_part *p, const struct forest_map *m) { return m != NULL ? m->groups : p->workers; }

/* A group in the trees of one turn: member `turn` (mod size) leads. at: the place of the worker asked about, within the group. */
struct host {
  const struct forest_map *map;
  uint32_t group, first, size, leader, at;
};

static inline struct host host_of_group(const struct forest_map *m, uint32_t group, uint32_t turn) {
  struct host h = {.map = m, .group = group, .first = group, .size = 1};
  if (m == NULL) return h;
  h.first = m->group_first[group];
  h.size = m->group_first[group + 1] - h.first;
  h.leader = turn % h.size;
  return h;
}

static inline struct host host_of_worker(const struct forest_map *m, uint32_t worker, uint32_t turn) {
  uint32_t position = place_position(m, worker);
  struct host h = host_of_group(m, place_group(m, position), turn);
  h.at = position - h.first;
  return h;
}

static inline int host_leads(const struct host *h) { return h->at == h->leader; }
static inline uint32_t host_leader(const struct host *h) { return place_worker(h->map, h->first + h->leader); }
static inline uint32_t host_n_children(const struct host *h) { return host_leads(h) ? h->size - 1 : 0; }
/* The i-th of the others. */
static inline uint32_t host_child(const struct host *h, uint32_t i) { return place_worker(h->map, h->first + i + (i >= h->leader)); }
/* Which of the others it is. */
static inline uint32_t host_index(const struct host *h) { return h->at - (h->at > h->leader); }
static inline uint32_t host_own_at(const struct host *h) { return host_leads(h) ? h->leader : 0; }

#endif
