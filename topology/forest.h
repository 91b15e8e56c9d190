/*
 * A forest: for every tree, who is whose parent, and the order in which a node folds. Pure functions of (kind, workers, servers); no
 * table of size n x n exists. Nodes are numbered: workers 0 .. workers-1 (their ranks), servers workers .. workers+servers-1.
 *
 *   star    one tree a server; root the server, children all workers in rank order
 *   direct  one tree a worker; root that worker, children all others in rank order
 *   ring    one tree a worker; the chain root+1 -> root+2 -> ... -> root (mod workers)
 *
 * Fold order: the children in the order of forest_child, with the own contribution before child `own_at`
 * (own_at == n_children: after all). Trees of depth one fold in rank order, so they agree bit for bit.
 */
#ifndef TOPOLOGY_FOREST_H
#define TOPOLOGY_FOREST_H

#include <stdint.h>

#include "agg.h"

enum forest_kind { FOREST_STAR = 0, FOREST_DIRECT, FOREST_RING, FOREST_KIND_COUNT };

#define FOREST_NONE UINT32_MAX /* no parent (the root), no tree, not below */
#define FOREST_MAX_NODES 65536u

struct forest {
  uint8_t kind;
  uint32_t workers, servers, trees;
};

/* AGG_EINVAL: unknown kind, no workers, star without servers, too many nodes. */
int forest_init(struct forest *f, unsigned kind, uint32_t workers, uint32_t servers, agg_error_t *err);
int forest_kind_parse(const char *name); /* -1: unknown */
const char *forest_kind_name(unsigned kind);

uint32_t forest_nodes(const struct forest *f);
int forest_member(const struct forest *f, uint32_t tree, uint32_t node); /* whether the node takes part in the tree */
uint32_t forest_root(const struct forest *f, uint32_t tree);
uint32_t forest_rooted_at(const struct forest *f, uint32_t node);             /* a tree whose root is the node, or FOREST_NONE */
uint32_t forest_parent(const struct forest *f, uint32_t tree, uint32_t node); /* FOREST_NONE for the root and for strangers */
uint32_t forest_n_children(const struct forest *f, uint32_t tree, uint32_t node);
uint32_t forest_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i);
uint32_t forest_own_at(const struct forest *f, uint32_t tree, uint32_t node);
/* The child of `node` below which (or at which) `target` lies; `node` itself when target == node; FOREST_NONE otherwise. */
uint32_t forest_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target);
/* Longest way from a leaf to its root, in edges. */
uint32_t forest_depth(const struct forest *f);

/* Proves a forest before use: every worker in every tree, one root, no cycle, parent and child agree, toward() agrees with the walk up,
 * and the children of a server are the same in all trees in which it takes part. O(trees x nodes x depth): for tests and small groups. */
int forest_check(const struct forest *f, agg_error_t *err);

#endif
