/*
 * Shares of the chunks: how much each tree gets so that an allreduce of many bytes ends as early as can be. Pure, deterministic.
 *
 * In trees of one level, a link with m of the n workers below and the share S of the chunks rooted below carries m (1 - S) + (n - m) S of
 * the bytes each way. So a time T leaves each link an interval for S, the subtrees' intervals add up, and one pass over the tree of links
 * says whether T can be met; the least T is found by halving.
 */
#ifndef TOPOLOGY_SOLVE_H
#define TOPOLOGY_SOLVE_H

#include "topology/cost.h"

enum solve_roots { SOLVE_SERVERS = 1, SOLVE_WORKERS = 2 };

/*
 * share[node]: of the chunks rooted there, for trees of one level; sums to 1. roots: which nodes may be roots. *seconds: for each byte (may
 * be NULL). The fabric is checked and nothing in it is unknown. O(nodes + links) for each of about 100 passes. AGG_EINVAL: no node may be a
 * root. AGG_ENOMEM.
 */
int solve_shares(const struct cost *cost, const struct fabric *f, unsigned roots, double *share, double *seconds, agg_error_t *err);

/*
 * Two forests side by side, whose loads are a and b for all chunks: *part of the chunks (0 to 1) is what a is to get so that the busiest
 * resource of both together is done first; *seconds for each byte (may be NULL). AGG_ENOMEM.
 */
int solve_split(const struct cost *cost, const struct fabric *f, const struct cost_loads *a, const struct cost_loads *b, double *part,
                double *seconds, agg_error_t *err);

#endif
