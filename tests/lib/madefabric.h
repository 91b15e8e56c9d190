/* Made-up clusters for tests of the planner, by seed: racks, hosts with several workers, servers anywhere, unequal NICs. */
#ifndef TESTS_LIB_MADEFABRIC_H
#define TESTS_LIB_MADEFABRIC_H

#include "base/util.h"
#include "topology/cost.h"
#include "topology/fabric.h"

struct madefabric {
  uint32_t workers_max, servers_max, racks_max;
  int shared;    /* hosts may hold several workers, and servers beside workers */
  int unlimited; /* only the network limits: no sums, no memory, no processor time */
};
/* Assumed and checked; every number from the seed. */
void madefabric(struct fabric *f, struct rng *r, const struct madefabric *what, const struct cost *cost);
/* Constants under which nothing but links counts. */
void madefabric_links_only(struct cost *cost);

#endif
