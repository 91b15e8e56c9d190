/*
 * The star of hosts: one tree a server, the server on top, below it a leader of every group, below the leader the others of its group. Who
 * leads takes turns with the servers, so a server has other children than the next but always the same itself. Folds in the order of
 * positions. With groups of one it is the star: the trees are of depth one and fold in rank order, so the map is left out.
 */
#include "place.h"
#include "shape.h"

static const struct forest_map *hstar_map(const struct forest_part *p) {
  return p->map == NULL || p->map->groups == p->workers ? NULL : p->map;
}

static uint32_t hstar_trees(const struct forest_part *p) { return p->servers; }

static uint32_t hstar_root(const struct forest_part *p, uint32_t tree) { return p->workers + tree; }

static uint32_t hstar_rooted_at(const struct forest_part *p, uint32_t node) { return node >= p->workers ? node - p->workers : FOREST_NONE; }

static int hstar_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return node < p->workers || node == hstar_root(p, tree);
}

static struct host host_in(const struct forest_part *p, uint32_t tree, uint32_t worker) {
  return host_of_worker(hstar_map(p), worker, tree);
}

static uint32_t hstar_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node >= p->workers) return FOREST_NONE;
  struct host h = host_in(p, tree, node);
  return host_leads(&h) ? hstar_root(p, tree) : host_leader(&h);
}

static uint32_t hstar_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node >= p->workers) return place_groups(p, hstar_map(p));
  struct host h = host_in(p, tree, node);
  return host_n_children(&h);
}

static uint32_t hstar_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  struct host h = node < p->workers ? host_in(p, tree, node) : host_of_group(hstar_map(p), i, tree);
  return node < p->workers ? host_child(&h, i) : host_leader(&h);
}

static uint32_t hstar_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  struct host h = host_in(p, tree, node);
  return host_leads(&h) ? h.group : host_index(&h);
}

static uint32_t hstar_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node >= p->workers) return 0;
  struct host h = host_in(p, tree, node);
  return host_leads(&h) ? 1 : 2;
}

static uint32_t hstar_own_at(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node >= p->workers) return hstar_n_children(p, tree, node);
  struct host h = host_in(p, tree, node);
  return host_own_at(&h);
}

static uint32_t hstar_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  if (target >= p->workers) return FOREST_NONE;
  struct host to = host_in(p, tree, target);
  if (node >= p->workers) return host_leader(&to);
  struct host h = host_in(p, tree, node);
  return h.group == to.group && host_leads(&h) ? target : FOREST_NONE;
}

static uint32_t hstar_depth(const struct forest_part *p) { return hstar_map(p) == NULL ? 1 : 2; }

const struct forest_shape shape_hstar = {
    .name = "hstar",
    .trees = hstar_trees,
    .root = hstar_root,
    .rooted_at = hstar_rooted_at,
    .member = hstar_member,
    .parent = hstar_parent,
    .n_children = hstar_n_children,
    .child = hstar_child,
    .index = hstar_index,
    .level = hstar_level,
    .own_at = hstar_own_at,
    .toward = hstar_toward,
    .depth = hstar_depth,
};
