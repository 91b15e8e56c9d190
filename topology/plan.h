/*
 * A plan: what a communicator runs on. Its forests, and which of them an operation takes, by kind and size. Decided by the coordinator,
 * sent to every node, the same everywhere; pure data.
 */
#ifndef TOPOLOGY_PLAN_H
#define TOPOLOGY_PLAN_H

#include <stddef.h>

#include "forest.h"
#include "wire/header.h"

#define PLAN_FORESTS_MAX WIRE_FORESTS_MAX
#define PLAN_RULES_MAX 8u

/* What may be asked for; 0 has each of them chosen. */
#define PLAN_CHUNK_MIN 1024u
#define PLAN_CHUNK_MAX (16u << 20)
#define PLAN_CHUNK_UNIT 64u
#define PLAN_WINDOW_MAX 1024u
#define PLAN_LANES_MAX 16u

struct plan_rule {
  uint64_t from_bytes; /* of one block */
  uint32_t forest;
};

/* Size ranges of one kind of operation: ascending, the first from 0. */
struct plan_table {
  uint32_t n;
  struct plan_rule rule[PLAN_RULES_MAX];
};

/* Sizes of operations, for predictions: size s is from 2^(s + 6) bytes to twice as many; the first and the last take what is beyond. */
#define PLAN_SIZES 28u
static inline uint32_t plan_size_of(uint64_t bytes) {
  uint32_t log2 = bytes == 0 ? 0 : 63u - (uint32_t)__builtin_clzll(bytes);
  return log2 <= 6 ? 0 : log2 - 6 < PLAN_SIZES ? log2 - 6 : PLAN_SIZES - 1;
}
/* The middle of size s, on a scale of factors. */
static inline uint64_t plan_size_bytes(uint32_t s) { return (1ull << (s + 6)) + (1ull << (s + 6)) / 2; }

struct plan {
  uint32_t workers, servers;
  uint32_t lanes, chunk_bytes;
  uint32_t window;        /* slots of an edge on each lane and priority */
  struct forest_map *map; /* owned; NULL: none */
  uint32_t n_forests;
  struct forest forest[PLAN_FORESTS_MAX];        /* their maps are `map` */
  uint32_t forest_window[PLAN_FORESTS_MAX];      /* the most of its chunks that an edge has under way: 1 to `window`; 0: `window` */
  struct plan_table table[OP_KIND_COUNT];        /* n == 0: forest 0 for all sizes */
  uint8_t tunable;                               /* measured times may change it (libagg/tune.h) */
  float predicted[PLAN_SIZES][PLAN_FORESTS_MAX]; /* seconds of an allreduce; 0: unknown */
  double bound;                                  /* seconds a byte that no plan can go below, by the workers' NICs; 0: unknown */
};

/* Moves with its struct: plain assignment hands it over, one holder calls plan_fini. Takes a zeroed one. */
void plan_fini(struct plan *plan);
int plan_copy(struct plan *to, const struct plan *from); /* AGG_ENOMEM: *to is zeroed */

/* "star", or by size for allreduce: "tree to 32K, hybrid: star 60 %, direct 40 %". Returns buf. */
#define PLAN_TEXT_MAX 256
const char *plan_text(const struct plan *plan, char *buf, size_t cap);

/* Chunks of this forest that an edge may have under way. */
static inline uint32_t plan_window(const struct plan *plan, uint32_t forest) {
  return plan->forest_window[forest] != 0 ? plan->forest_window[forest] : plan->window;
}

/* Index of the forest for an operation of this kind and many bytes (of one block). */
uint32_t plan_forest(const struct plan *plan, unsigned kind, uint64_t bytes);

/* Proves what `self` has of the plan (forest_check_node of each), its limits and its tables: before any use. AGG_EINVAL. */
int plan_check(const struct plan *plan, uint32_t self, agg_error_t *err);

static inline uint32_t plan_nodes(const struct plan *plan) { return plan->workers + plan->servers; }

#endif
