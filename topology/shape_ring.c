/* The ring: one tree a worker, each a chain of all workers in the map's order from the one behind the root round to the root, so that the
 * ring crosses each host and rack once. A node folds what comes from below before its own part: in the order of positions, from the one
 * behind the root on. Servers take no part. */
#include "place.h"
#include "shape.h"

static uint32_t ring_trees(const struct forest_part *p) { return p->workers; }

static uint32_t ring_root(const struct forest_part *p, uint32_t tree) {
  (void)p;
  return tree;
}

static uint32_t ring_rooted_at(const struct forest_part *p, uint32_t node) { return node < p->workers ? node : FOREST_NONE; }

static int ring_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < p->workers;
}

static uint32_t ring_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  uint32_t root = place_position(p->map, tree), at = place_position(p->map, node);
  return at <= root ? root - at : root + p->workers - at;
}

static uint32_t ring_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node == tree) return FOREST_NONE;
  uint32_t next = place_position(p->map, node) + 1;
  return place_worker(p->map, next == p->workers ? 0 : next);
}

static uint32_t ring_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return ring_level(p, tree, node) < p->workers - 1;
}

static uint32_t ring_before(const struct forest_part *p, uint32_t node) {
  uint32_t at = place_position(p->map, node);
  return place_worker(p->map, at == 0 ? p->workers - 1 : at - 1);
}

static uint32_t ring_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  (void)tree, (void)i;
  return ring_before(p, node);
}

static uint32_t ring_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)p, (void)tree, (void)node;
  return 0;
}

static uint32_t ring_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  return ring_level(p, tree, target) > ring_level(p, tree, node) ? ring_before(p, node) : FOREST_NONE;
}

static uint32_t ring_depth(const struct forest_part *p) { return p->workers - 1; }

const struct forest_shape shape_ring = {
    .name = "ring",
    .trees = ring_trees,
    .root = ring_root,
    .rooted_at = ring_rooted_at,
    .member = ring_member,
    .parent = ring_parent,
    .n_children = ring_n_children,
    .child = ring_child,
    .index = ring_index,
    .level = ring_level,
    .own_at = ring_n_children,
    .toward = ring_toward,
    .depth = ring_depth,
};
