/*
 * A forest: for every tree, who is whose parent, and the order in which a node folds. Answers are worked out from a few numbers and, where
 * hosts or racks matter, from a map of O(nodes); no table of size n x n exists. Nodes are numbered: workers 0 .. workers-1 (their ranks),
 * servers workers .. workers+servers-1.
 *
 * A forest has one part or two. A part is all the trees of one shape:
 *
 *   star    one tree a server; root the server, children all workers in rank order
 *   direct  one tree a worker; root that worker, children all others in rank order
 *   ring    one tree a worker; the chain root+1 -> root+2 -> ... -> root, counted in the map's order
 *   tree    one tree: up to `arity` children a node, a node and all below it are neighbours in the map's order
 *   dtree   two complementary binary trees: no worker is an inner node in both (one worker: one tree)
 *   hier    one tree a worker: the others of each host below a leader of that host, the leaders below the root
 *   hstar   one tree a server: the workers of each host below a leader of that host, the leaders below the server
 *   rack    trees of rack servers: the leaders (or workers) of a rack below a server of that rack, these below one of them
 *
 * Two parts make a hybrid: a star for some of the chunks, another shape among the workers for the rest. How many chunks each tree gets is
 * in the schedule.
 *
 * Fold order: the children in the order of forest_child, with the own contribution before child `own_at`
 * (own_at == n_children: after all). Trees of depth one fold in rank order, so they agree bit for bit.
 */
#ifndef TOPOLOGY_FOREST_H
#define TOPOLOGY_FOREST_H

#include <stdint.h>

#include "agg.h"

enum forest_kind {
  FOREST_STAR = 0,
  FOREST_DIRECT,
  FOREST_RING,
  FOREST_TREE,
  FOREST_DTREE,
  FOREST_HIER,
  FOREST_HSTAR,
  FOREST_RACK,
  FOREST_KIND_COUNT
};

#define FOREST_NONE UINT32_MAX /* no parent (the root), no tree, not below */
#define FOREST_MAX_NODES 65536u
#define FOREST_PARTS_MAX 2
#define FOREST_ARITY_MAX 64u
#define FOREST_PERIOD_MAX (4 * FOREST_MAX_NODES)

/*
 * Where the workers and servers sit. Positions 0 .. workers-1 number the workers so that those of a host, and the hosts of a rack, are
 * neighbours; a group is what shares a host. Made by forest_map_make, immutable, shared by all forests of a plan.
 */
struct forest_map {
  uint32_t workers, servers;
  uint32_t groups, racks;
  uint32_t *worker_at;    /* position -> worker */
  uint32_t *position_of;  /* worker -> position */
  uint32_t *group_first;  /* group -> its first position; [groups] is workers */
  uint32_t *group_of;     /* position -> group */
  uint32_t *rack_first;   /* rack -> its first group; [racks] is groups */
  uint32_t *rack_of;      /* group -> rack */
  uint32_t *server_rack;  /* server (from 0) -> rack, FOREST_NONE: in none that has workers */
  uint32_t *server_index; /* server -> how many of the same rack come before it */
  uint32_t *rack_servers; /* rack -> its first place in server_at; [racks] is how many servers are in racks */
  uint32_t *server_at;    /* the servers by rack, ascending */
};

/*
 * host_of[worker] names each worker's host by any number, rack_of_worker[worker] and rack_of_server[server] the racks. Order: hosts and
 * racks as their first worker comes, ranks ascending within a host. NULL host_of: every worker a host of its own; NULL racks (both): one
 * rack. A server in a rack without workers has server_rack FOREST_NONE. AGG_EINVAL: a host in two racks, racks of one kind of node only,
 * too many nodes. AGG_ENOMEM.
 */
int forest_map_make(uint32_t workers, uint32_t servers, const uint32_t *host_of, const uint32_t *rack_of_worker,
                    const uint32_t *rack_of_server, struct forest_map **map, agg_error_t *err);
/* From its wire form: workers in order, sizes of groups (sum: workers), groups a rack (sum: groups), rack of each server. Everything is
 * checked: AGG_EPROTO, AGG_ENOMEM. */
int forest_map_take(uint32_t workers, uint32_t servers, const uint32_t *worker_at, const uint32_t *group_sizes, uint32_t groups,
                    const uint32_t *rack_sizes, uint32_t racks, const uint32_t *server_rack, struct forest_map **map, agg_error_t *err);
int forest_map_copy(const struct forest_map *from, struct forest_map **to); /* NULL is copied to NULL; AGG_ENOMEM */
void forest_map_free(struct forest_map *map);                               /* takes NULL */

struct forest_part {
  uint8_t kind;
  uint8_t arity; /* tree: 1 to FOREST_ARITY_MAX; else 0 */
  uint32_t workers, servers, trees;
  const struct forest_map *map; /* borrowed; NULL: ranks in order, every worker a host of its own, one rack */
};

struct forest {
  uint32_t workers, servers, trees;
  uint32_t n_parts;
  struct forest_part part[FOREST_PARTS_MAX]; /* trees are numbered through the parts */
  uint32_t period;                           /* chunks go to the trees in turns of so many */
  uint32_t *schedule;                        /* tree of each place of a turn; NULL: place p is tree p */
};

/* One part without a map; a tree is one of arity 2. Needs no forest_fini. AGG_EINVAL: unknown kind, no workers, star without servers, too
 * many nodes. */
int forest_init(struct forest *f, unsigned kind, uint32_t workers, uint32_t servers, agg_error_t *err);

struct forest_spec {
  uint8_t kind, arity;
};
/*
 * As forest_init with parts and a map. weights: relative shares of the trees (NULL: equal), turned into a schedule of at most period_max
 * places (0: 256 or 4 a tree, whichever is more): the shortest in which no tree has more than 1.005 times its share, or else the one in
 * which the excess is least. In every prefix of the schedule each tree is within one place of its share. A tree of weight 0 gets nothing,
 * nor may one whose weight is less than 0.5 % of all. Owns its schedule: forest_fini. AGG_EINVAL: also two parts with servers (a server has
 * the same children in all its trees), a rack without a server, a map of other nodes, weights below 0, not finite or all 0. AGG_ENOMEM.
 */
int forest_build(struct forest *f, const struct forest_spec *spec, uint32_t n_parts, uint32_t workers, uint32_t servers,
                 const struct forest_map *map, const double *weights, uint32_t period_max, agg_error_t *err);
/* With a schedule from outside (copied; NULL with period 0: none): everything is checked, AGG_EINVAL. */
int forest_take(struct forest *f, const struct forest_spec *spec, uint32_t n_parts, uint32_t workers, uint32_t servers,
                const struct forest_map *map, const uint32_t *schedule, uint32_t period, agg_error_t *err);
void forest_fini(struct forest *f);

int forest_kind_parse(const char *name); /* -1: unknown */
const char *forest_kind_name(unsigned kind);
/* "star", "tree of 4", "hybrid: star 60 %, ring 40 %". Returns buf. */
const char *forest_name(const struct forest *f, char *buf, size_t cap);

uint32_t forest_nodes(const struct forest *f);
/* The tree of the i-th chunk (of a lane). */
uint32_t forest_tree_at(const struct forest *f, uint64_t i);
/* Share of the chunks that the tree gets, 0 to 1. */
double forest_share(const struct forest *f, uint32_t tree);

int forest_member(const struct forest *f, uint32_t tree, uint32_t node); /* whether the node takes part in the tree */
uint32_t forest_root(const struct forest *f, uint32_t tree);
uint32_t forest_rooted_at(const struct forest *f, uint32_t node);             /* a tree whose root is the node, or FOREST_NONE */
uint32_t forest_parent(const struct forest *f, uint32_t tree, uint32_t node); /* FOREST_NONE for the root and for strangers */
uint32_t forest_n_children(const struct forest *f, uint32_t tree, uint32_t node);
uint32_t forest_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i);
uint32_t forest_index(const struct forest *f, uint32_t tree, uint32_t node); /* which child of its parent; FOREST_NONE for the root */
uint32_t forest_level(const struct forest *f, uint32_t tree, uint32_t node); /* edges up to the root; FOREST_NONE for strangers */
uint32_t forest_own_at(const struct forest *f, uint32_t tree, uint32_t node);
/* The child of `node` below which (or at which) `target` lies; `node` itself when target == node; FOREST_NONE otherwise. */
uint32_t forest_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target);
/* Longest way from a leaf to its root, in edges. */
uint32_t forest_depth(const struct forest *f);
uint32_t forest_part_depth(const struct forest_part *p);

/*
 * Proves a node's part of a forest before use: in every tree its parent is a member one level higher and counts it exactly once, its
 * children are members, distinct, one level lower and name it as their parent, a root says so itself, and a server has the same children in
 * all its trees. If every node's proof holds, every contribution is counted once, every receiver is served, and there is no cycle: levels
 * fall on every way up. O(trees + edges of the node). AGG_EINVAL says which tree and node.
 */
int forest_check_node(const struct forest *f, uint32_t node, agg_error_t *err);
/* All nodes' proofs, and every answer of toward() against walks up the trees: for tests and small groups, O(trees x nodes^2). */
int forest_check(const struct forest *f, agg_error_t *err);

#endif
