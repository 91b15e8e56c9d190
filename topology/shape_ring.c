/* The ring: one tree a worker, each a chain root+1 -> root+2 -> ... -> root (mod workers). A node folds what comes from below before its
 * own part, so tree t sums in the order t+1, t+2, ..., t. Servers take no part. */
#include "shape.h"

static uint32_t ring_trees(uint32_t workers, uint32_t servers) {
  (void)servers;
  return workers;
}

static uint32_t ring_root(const struct forest *f, uint32_t tree) {
  (void)f;
  return tree;
}

static uint32_t ring_rooted_at(const struct forest *f, uint32_t node) { return node < f->workers ? node : FOREST_NONE; }

static int ring_member(const struct forest *f, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < f->workers;
}

/* Nodes below this one: 0 for root+1 (the leaf), workers-1 for the root. */
static uint32_t ring_height(const struct forest *f, uint32_t tree, uint32_t node) {
  return node > tree ? node - tree - 1 : f->workers - 1 - (tree - node);
}

static uint32_t ring_parent(const struct forest *f, uint32_t tree, uint32_t node) {
  if (node == tree) return FOREST_NONE;
  return node + 1 == f->workers ? 0 : node + 1;
}

static uint32_t ring_n_children(const struct forest *f, uint32_t tree, uint32_t node) { return ring_height(f, tree, node) > 0; }

static uint32_t ring_before(const struct forest *f, uint32_t node) { return node == 0 ? f->workers - 1 : node - 1; }

static uint32_t ring_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i) {
  (void)tree, (void)i;
  return ring_before(f, node);
}

static uint32_t ring_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target) {
  return ring_height(f, tree, target) < ring_height(f, tree, node) ? ring_before(f, node) : FOREST_NONE;
}

static uint32_t ring_depth(const struct forest *f) { return f->workers - 1; }

const struct forest_shape shape_ring = {
    .name = "ring",
    .trees = ring_trees,
    .root = ring_root,
    .rooted_at = ring_rooted_at,
    .member = ring_member,
    .parent = ring_parent,
    .n_children = ring_n_children,
    .child = ring_child,
    .own_at = ring_n_children,
    .toward = ring_toward,
    .depth = ring_depth,
};
