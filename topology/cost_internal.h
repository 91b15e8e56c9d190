/* What the files of the cost model share: the loader, which gathers loads phase by phase. Only cost_*.c and solve.c include it. */
#ifndef TOPOLOGY_COST_INTERNAL_H
#define TOPOLOGY_COST_INTERNAL_H

#include "topology/cost.h"

/* Who gives and who takes the bytes of a chunk. */
enum cost_who { WHO_NOBODY = 0, WHO_ALL, WHO_ROOT, WHO_OWNER };

/* How an operation uses a forest. */
enum cost_use {
  USE_SPREAD, /* chunks are dealt to all trees by their shares */
  USE_BLOCKS, /* block b travels in the tree that is rooted at worker b */
  USE_ONE     /* one tree */
};

struct cost_case {
  uint8_t kind, from, to; /* enum cost_who */
  uint8_t use;
  uint32_t blocks; /* of the operation */
  uint32_t root;   /* of rooted kinds */
  uint32_t tree;   /* USE_ONE */
};
struct cost_case cost_case_of(const struct forest *forest, unsigned kind);

/*
 * Loads are added to the phase at hand; load_phase closes it: a phase lasts as long as its busiest resource, and the phases of a part of a
 * forest come one after the other. alone: of one chunk with nothing beside it, which is first sent, then summed.
 */
struct loader {
  const struct cost *cost;
  const struct fabric *f;
  double efficiency;
  /* What private memory costs (docs/planning.md): in a host the child copies its result itself; over verbs all goes through registered
   * memory at both ends. */
  uint8_t pulled, bounced;
  struct cost_loads total, phase, own;       /* own: of the part at hand */
  uint32_t *links, n_links, *nodes, n_nodes; /* touched in this phase */
  uint8_t *link_mark, *node_mark;
  int all;                        /* everything is touched */
  double *core_byte, *core_piece; /* [link] scratch */
  double crowd;                   /* as in cost_profile, for what a part's links in are busy */
  int alone;
  struct cost_line first;  /* of the part at hand, */
  struct cost_busy way[2]; /* and this */
  double hops;
  struct cost_part part[FOREST_PARTS_MAX];
};
int loader_init(struct loader *l, const struct cost *cost, const struct fabric *f, agg_error_t *err);
void loader_fini(struct loader *l);

void load_flow(struct loader *l, uint32_t from, uint32_t to, double bytes, double messages);
void load_fold(struct loader *l, uint32_t node, double bytes);
/* A node copies within its memory, beside what it puts. */
void load_copy(struct loader *l, uint32_t node, double bytes);
/* What was loaded as a put within a host is copied by the node that gets it instead. */
void load_pulled(struct loader *l, uint32_t from, uint32_t to, double bytes);
/* w[link] of the hosts send to v[link] of the hosts, each w x v; both are summed up the tree here. What stays in a host is left out. */
void load_product(struct loader *l, double *w, double *v);
void load_phase(struct loader *l, int up); /* of the way up, or down */
/* This part of so many of a forest is done: its phases run beside those of other parts. */
void load_part(struct loader *l, uint32_t part, uint32_t parts);
double load_hop(const struct loader *l, int network);

/* The trees and the share of the chunks of each: every edge. */
int load_trees(struct loader *l, const struct forest *forest, const struct cost_case *c, const uint32_t *tree, const double *share,
               uint32_t n, agg_error_t *err);
/* All of a forest in closed form, or by walking. */
int load_forest(struct loader *l, const struct forest *forest, const struct cost_case *c, agg_error_t *err);
int load_forest_walk(struct loader *l, const struct forest *forest, const struct cost_case *c, agg_error_t *err);

/* Share of the chunks of every tree: one pass over the schedule. NULL: no memory. */
double *cost_shares(const struct forest *forest);

/* A node's time for loads: seconds for a byte a block, seconds for a piece. sum: that part of `byte` which is sums. */
struct node_time {
  double byte, piece, sum;
};
struct node_time load_node_time(const struct cost *cost, const struct fabric *f, const struct cost_loads *l, uint32_t node);

#endif
