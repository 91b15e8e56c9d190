/*
 * A shape: what one kind of forest part answers. Builders fill a const table; forest.c checks the arguments and dispatches, so a shape is
 * only ever asked about trees below trees() (numbered within the part) and nodes that are members of the tree.
 */
#ifndef TOPOLOGY_SHAPE_H
#define TOPOLOGY_SHAPE_H

#include "forest.h"

struct forest_shape {
  const char *name;
  uint32_t (*trees)(const struct forest_part *p); /* 0: cannot be built from these */
  uint32_t (*root)(const struct forest_part *p, uint32_t tree);
  uint32_t (*rooted_at)(const struct forest_part *p, uint32_t node); /* node below workers + servers; a tree or FOREST_NONE */
  int (*member)(const struct forest_part *p, uint32_t tree, uint32_t node);
  uint32_t (*parent)(const struct forest_part *p, uint32_t tree, uint32_t node);
  uint32_t (*n_children)(const struct forest_part *p, uint32_t tree, uint32_t node);
  uint32_t (*child)(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i); /* i < n_children */
  uint32_t (*index)(const struct forest_part *p, uint32_t tree, uint32_t node);             /* node is not the root */
  uint32_t (*level)(const struct forest_part *p, uint32_t tree, uint32_t node);
  uint32_t (*own_at)(const struct forest_part *p, uint32_t tree, uint32_t node);
  uint32_t (*toward)(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target); /* target: another member */
  uint32_t (*depth)(const struct forest_part *p);
};

extern const struct forest_shape shape_star, shape_direct, shape_ring, shape_tree, shape_dtree, shape_hier, shape_hstar, shape_rack;

/* The table of a kind, or NULL. */
const struct forest_shape *forest_shape_of(unsigned kind);

/* forest_check of a forest of one part as if `shape` were its kind's: tests prove with broken shapes that each fault is found. */
int forest_check_shape(const struct forest *f, const struct forest_shape *shape, agg_error_t *err);

#endif
