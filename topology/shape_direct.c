/* Direct: one tree a worker; that worker on top, all others below it in rank order whatever the map. The root folds its own part at its
 * rank's place, so that every tree folds in rank order, as the star does. Servers take no part. */
#include "shape.h"

static uint32_t direct_trees(const struct forest_part *p) { return p->workers; }

static uint32_t direct_root(const struct forest_part *p, uint32_t tree) {
  (void)p;
  return tree;
}

static uint32_t direct_rooted_at(const struct forest_part *p, uint32_t node) { return node < p->workers ? node : FOREST_NONE; }

static int direct_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < p->workers;
}

static uint32_t direct_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)p;
  return node == tree ? FOREST_NONE : tree;
}

static uint32_t direct_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) { return node == tree ? p->workers - 1 : 0; }

static uint32_t direct_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  (void)p, (void)tree;
  return i < node ? i : i + 1;
}

static uint32_t direct_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)p;
  return node < tree ? node : node - 1;
}

static uint32_t direct_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)p;
  return node != tree;
}

static uint32_t direct_own_at(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)p;
  return node == tree ? node : 0;
}

static uint32_t direct_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  (void)p;
  return node == tree ? target : FOREST_NONE;
}

static uint32_t direct_depth(const struct forest_part *p) { return p->workers > 1 ? 1 : 0; }

const struct forest_shape shape_direct = {
    .name = "direct",
    .trees = direct_trees,
    .root = direct_root,
    .rooted_at = direct_rooted_at,
    .member = direct_member,
    .parent = direct_parent,
    .n_children = direct_n_children,
    .child = direct_child,
    .index = direct_index,
    .level = direct_level,
    .own_at = direct_own_at,
    .toward = direct_toward,
    .depth = direct_depth,
};
