/* From a description of machines to the planner's fabric. */
#ifndef TOPOLOGY_FABRIC_TOPO_H
#define TOPOLOGY_FABRIC_TOPO_H

#include "topology/fabric.h"
#include "topology/topo.h"

/*
 * All hosts that have workers or servers, on their switches; the workers of a host get ranks one after the other, hosts in the
 * description's order. A host's NICs count together, those that are down not at all; one of unknown speed makes the sum unknown. An uplink
 * is as fast as the slower of its directions. Over verbs where every such host has an RDMA port, else over TCP. The description has passed
 * topo_check. AGG_EINVAL: no worker. AGG_ENOMEM.
 */
int fabric_from_topo(struct fabric *f, const struct topo *t, agg_error_t *err);

#endif
