/* Direct: one tree a worker; that worker on top, all others below it in rank order. The root folds its own part at its rank's place, so
 * that every tree folds in rank order, as the star does. Servers take no part. */
#include "shape.h"

static uint32_t direct_trees(uint32_t workers, uint32_t servers) {
  (void)servers;
  return workers;
}

static uint32_t direct_root(const struct forest *f, uint32_t tree) {
  (void)f;
  return tree;
}

static uint32_t direct_rooted_at(const struct forest *f, uint32_t node) { return node < f->workers ? node : FOREST_NONE; }

static int direct_member(const struct forest *f, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < f->workers;
}

static uint32_t direct_parent(const struct forest *f, uint32_t tree, uint32_t node) {
  (void)f;
  return node == tree ? FOREST_NONE : tree;
}

static uint32_t direct_n_children(const struct forest *f, uint32_t tree, uint32_t node) { return node == tree ? f->workers - 1 : 0; }

static uint32_t direct_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i) {
  (void)f, (void)tree;
  return i < node ? i : i + 1;
}

static uint32_t direct_own_at(const struct forest *f, uint32_t tree, uint32_t node) {
  (void)f;
  return node == tree ? node : 0;
}

static uint32_t direct_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target) {
  (void)f;
  return node == tree ? target : FOREST_NONE;
}

static uint32_t direct_depth(const struct forest *f) { return f->workers > 1 ? 1 : 0; }

const struct forest_shape shape_direct = {
    .name = "direct",
    .trees = direct_trees,
    .root = direct_root,
    .rooted_at = direct_rooted_at,
    .member = direct_member,
    .parent = direct_parent,
    .n_children = direct_n_children,
    .child = direct_child,
    .own_at = direct_own_at,
    .toward = direct_toward,
    .depth = direct_depth,
};
