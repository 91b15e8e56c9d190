/* The star: one tree a server, the server on top, all workers below it in rank order. Servers contribute nothing themselves. */
#include "shape.h"

static uint32_t star_trees(uint32_t workers, uint32_t servers) {
  (void)workers;
  return servers;
}

static uint32_t star_root(const struct forest *f, uint32_t tree) { return f->workers + tree; }

static uint32_t star_rooted_at(const struct forest *f, uint32_t node) { return node >= f->workers ? node - f->workers : FOREST_NONE; }

static int star_member(const struct forest *f, uint32_t tree, uint32_t node) { return node < f->workers || node == star_root(f, tree); }

static uint32_t star_parent(const struct forest *f, uint32_t tree, uint32_t node) {
  return node < f->workers ? star_root(f, tree) : FOREST_NONE;
}

static uint32_t star_n_children(const struct forest *f, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < f->workers ? 0 : f->workers;
}

static uint32_t star_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i) {
  (void)f, (void)tree, (void)node;
  return i;
}

static uint32_t star_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target) {
  (void)tree;
  return node >= f->workers && target < f->workers ? target : FOREST_NONE;
}

static uint32_t star_depth(const struct forest *f) {
  (void)f;
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
    .own_at = star_n_children,
    .toward = star_toward,
    .depth = star_depth,
};
