/*
 * A shape: what one kind of forest answers. Builders fill a const table; forest.c checks the arguments and dispatches, so a shape is
 * only ever asked about trees below trees() and nodes that are members of the tree.
 */
#ifndef TOPOLOGY_SHAPE_H
#define TOPOLOGY_SHAPE_H

#include "forest.h"

struct forest_shape {
  const char *name;
  uint32_t (*trees)(uint32_t workers, uint32_t servers); /* 0: cannot be built from these */
  uint32_t (*root)(const struct forest *f, uint32_t tree);
  uint32_t (*rooted_at)(const struct forest *f, uint32_t node); /* node below forest_nodes */
  int (*member)(const struct forest *f, uint32_t tree, uint32_t node);
  uint32_t (*parent)(const struct forest *f, uint32_t tree, uint32_t node);
  uint32_t (*n_children)(const struct forest *f, uint32_t tree, uint32_t node);
  uint32_t (*child)(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i); /* i < n_children */
  uint32_t (*own_at)(const struct forest *f, uint32_t tree, uint32_t node);
  uint32_t (*toward)(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target); /* target: another member */
  uint32_t (*depth)(const struct forest *f);
};

extern const struct forest_shape shape_star, shape_direct, shape_ring;

/* The table of a kind, or NULL. */
const struct forest_shape *forest_shape_of(unsigned kind);

/* forest_check of f as if `shape` were its kind's: tests prove with broken shapes that each fault is found. */
int forest_check_shape(const struct forest *f, const struct forest_shape *shape, agg_error_t *err);

#endif
