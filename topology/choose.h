/*
 * The chooser: from what is known of the machines and what is asked for to a plan. Pure, so that every coordinator answers alike; never
 * measures anything. docs/planning.md says what it weighs.
 *
 * Asked for (AGG_PLAN), for all sizes or by size:
 *
 *   auto                       the fastest predicted at each size
 *   star direct ring tree      that shape; a tree's arity, or the double tree, is chosen
 *   hybrid                     a star beside direct, ring or hier, shares solved
 *   hier                       the best of hier, hstar and rack that can be had
 *   0-32K:tree,32K-:hybrid     by bytes of a block: from 0, without gaps, the last one open; K, M, G of 1024
 *
 * A plan that cannot be is an error that says so, never another plan.
 */
#ifndef TOPOLOGY_CHOOSE_H
#define TOPOLOGY_CHOOSE_H

#include "topology/cost.h"
#include "topology/fabric.h"
#include "topology/plan.h"

struct plan_request {
  const char *plan;                    /* NULL and "": auto */
  const struct fabric *fabric;         /* checked here; unknowns are assumed in a copy */
  const struct cost *cost;             /* NULL: the defaults */
  uint32_t lanes, window, chunk_bytes; /* 0: chosen */
  uint32_t rails;                      /* the most NICs of any node; 0: the fabric's, or 1 */
  int strict;                          /* trees of depth one only: sums in rank order, the same bits whatever is chosen */
};

/* AGG_EINVAL: a request that cannot be met, with what was expected and what to do. AGG_ENOMEM. */
int plan_make(const struct plan_request *request, struct plan *plan, agg_error_t *err);

/* The text of AGG_PLAN alone: whether it can be read. For checking settings early. */
int plan_text_check(const char *text, agg_error_t *err);

#endif
