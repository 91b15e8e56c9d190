/* The star: one tree a server, the server on top, all workers below it in rank order whatever the map. Servers contribute nothing
 * themselves. */
#include "shape.h"

static uint32_t star_trees(const struct forest_part *p) { return p->servers; }

static uint32_t star_root(const struct forest_part *p, uint32_t tree) { return p->workers + tree; }

static uint32_t star_rooted_at(const struct forest_part *p, uint32_t node) { return node >= p->workers ? node - p->workers : FOREST_NONE; }

static int star_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return node < p->workers || node == star_root(p, tree);
}

static uint32_t star_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return node < p->workers ? star_root(p, tree) : FOREST_NONE;
}

static uint32_t star_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < p->workers ? 0 : p->workers;
}

static uint32_t star_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  (void)p, (void)tree, (void)node;
  return i;
}

static uint32_t star_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)p, (void)tree;
  return node;
}

static uint32_t star_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < p->workers;
}

static uint32_t star_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  (void)tree;
  return node >= p->workers && target < p->workers ? target : FOREST_NONE;
}

static uint32_t star_depth(const struct forest_part *p) {
  (void)p;
  return 1;
}

const struct forest_shape shape_star = {
    .name = "star",
    .trees = star_trees,
    .root = star_root,
    .rooted_at = star_rooted_at,
    .member = star_member,
    .parent = star_parent,
    .n_children = star_n_children,
    .child = star_child,
    .index = star_index,
    .level = star_level,
    .own_at = star_n_children,
    .toward = star_toward,
    .depth = star_depth,
};
