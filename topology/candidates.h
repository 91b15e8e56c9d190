/*
 * The candidates: every forest that a cluster could run on, with the profile of each kind of operation, what it needs of its nodes, and why
 * it was left out where it was. Between the cost model and those who choose or explain; only choose.c and explain.c and their tests include
 * it.
 */
#ifndef TOPOLOGY_CANDIDATES_H
#define TOPOLOGY_CANDIDATES_H

#include "topology/choose.h"

/* What may be asked for, as bits. */
enum plan_class { PLAN_STAR = 1, PLAN_DIRECT = 2, PLAN_RING = 4, PLAN_TREE = 8, PLAN_HYBRID = 16, PLAN_HIER = 32, PLAN_AUTO = 63 };

struct plan_range {
  uint64_t from_bytes;
  unsigned classes; /* enum plan_class */
};

/* The text of AGG_PLAN, read: ascending ranges from 0. */
struct plan_wish {
  uint32_t n;
  struct plan_range range[PLAN_RULES_MAX];
};
int plan_wish_parse(const char *text, struct plan_wish *wish, agg_error_t *err);
/* "star", "auto". */
const char *plan_class_name(unsigned classes);
/* Whether the wish can be met in principle with so many nodes: errors name what is missing and what to do. */
int plan_wish_check(const struct plan_wish *wish, const struct fabric *f, const struct forest_map *map, int strict, agg_error_t *err);

/* The servers of a plan have the same children in all its forests, so those of different families do not go together. */
enum plan_family { FAMILY_NONE = 0, FAMILY_STAR, FAMILY_HSTAR, FAMILY_RACK, FAMILY_COUNT };

#define CANDIDATE_WHY_MAX 192

enum limited { LIMITED_NOT = 0, LIMITED_MEMORY, LIMITED_CONNECTIONS };

struct candidate {
  unsigned class;
  uint8_t family;
  uint8_t strict; /* only trees of one level */
  struct forest_spec spec[FOREST_PARTS_MAX];
  uint32_t n_parts;
  uint8_t solved;       /* its shares were */
  int built;            /* the forest is there, and the profiles */
  struct forest forest; /* owned while built */
  struct cost_profile profile[OP_KIND_COUNT];
  uint32_t peers, peers_node; /* connections of the node with the most */
  double children;            /* of the node with the least memory a child: children for each byte of its limit */
  uint32_t children_node;
  char why[CANDIDATE_WHY_MAX]; /* left out: why; "" otherwise */
  uint8_t limited;             /* left out for a limit that can be raised: enum limited */
};

#define CANDIDATES_MAX 24
#define PLAN_PRIORITIES 2u /* lanes and windows are there for each */

struct candidates {
  const struct plan_request *request;
  struct cost cost;
  struct fabric f;        /* a copy without unknowns */
  struct forest_map *map; /* owned; NULL: ranks in order, each on a host of its own, one rack */
  struct plan_wish wish;
  uint32_t lanes, chunk_bytes; /* as asked for or for a start */
  int one_host;
  uint32_t n;
  struct candidate c[CANDIDATES_MAX];
};

/* All candidates for the request. AGG_EINVAL: the request cannot be met; AGG_ENOMEM. */
int candidates_make(struct candidates *all, const struct plan_request *request, agg_error_t *err);
void candidates_fini(struct candidates *all);

/* The name: the forest's, or what it would have been. Returns buf. */
const char *candidate_name(const struct candidate *c, char *buf, size_t cap);

/* The largest window up to `wanted`, at least 2, with which the windows of the node with the least memory a child fit; 0: none does. */
uint32_t window_fitting(const struct candidates *all, double children, uint32_t chunk_bytes, uint32_t wanted);
/* The window that a candidate gets with this chunk: as asked for, or as much of what it wants as fits. 0: does not fit. */
uint32_t candidate_window(const struct candidates *all, const struct candidate *c, uint32_t chunk_bytes);

/* A wider window than it wants gains a candidate nothing, but for rings, whose turns it makes longer. */
int candidate_gains(const struct candidate *c);
/* The largest window up to `wanted`, at least 2, with which these forests together fit at every node; 0: none does, or connections do not.
 * AGG_ENOMEM. */
int window_together(const struct candidates *all, const struct forest *const *forests, uint32_t n, uint32_t chunk_bytes, uint32_t wanted,
                    uint32_t *window, agg_error_t *err);

#define CHUNK_LEAST (16u << 10) /* windows are not made to fit with chunks below this */

#endif
