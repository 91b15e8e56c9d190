/* What the coordinator plans with: the description of hosts and fabric that an operator has given, and what the nodes say of themselves. */
#ifndef CONTROL_PLANNING_H
#define CONTROL_PLANNING_H

#include "agg.h"
#include "topology/topo.h"

/* Reads a description in our text form, or Slurm's topology.conf where the first word is not "topo". *topo is the caller's:
 * planning_topology_free. AGG_EINVAL, AGG_ESYS, AGG_ENOMEM; the text names file and line. */
int planning_topology_load(const char *path, struct topo **topo, agg_error_t *err);
void planning_topology_free(struct topo *topo); /* takes NULL */

#endif
