/* For tests of forests: made-up clusters, forests that must be, and trees drawn as text. */
#ifndef LIB_FORESTRY_H
#define LIB_FORESTRY_H

#include "base/util.h"
#include "topology/forest.h"

/* The sanitizers make everything several times slower: tests that scale take less. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1
#else
#define SLOW 0
#endif

/* Hosts of random sizes, in random racks, ranks and servers scattered over them. */
struct cluster {
  uint32_t workers, servers, *host_of, *rack_of_worker, *rack_of_server;
  struct forest_map *map;
};
void cluster_random(struct cluster *c, struct rng *rng, uint32_t workers, uint32_t servers);
void cluster_fini(struct cluster *c);

/* The forest, or a failed test. forest_fini where there is a schedule. */
struct forest forest_made(unsigned kind, uint32_t arity, uint32_t workers, uint32_t servers, const struct forest_map *map);
/* A map by sizes: ranks in order; racks NULL: one. */
struct forest_map *map_made(uint32_t servers, const uint32_t *sizes, uint32_t groups, const uint32_t *rack_sizes, uint32_t racks,
                            const uint32_t *server_rack);

/* Ranks in the order in which the tree folds them, below and at the node. Returns how many. out has room for all workers. */
uint32_t forest_fold_order(const struct forest *f, uint32_t tree, uint32_t node, uint32_t *out);

/* "s0(1(0 . 2) 3)": servers are s0, s1; a node's children in brackets in fold order, a dot where its own part is folded. */
const char *forest_draw(const struct forest *f, uint32_t tree, char *buf, size_t cap);

#endif
