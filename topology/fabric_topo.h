/* From a description of machines to the planner's fabric. */
#ifndef TOPOLOGY_FABRIC_TOPO_H
#define TOPOLOGY_FABRIC_TOPO_H

#include "topology/fabric.h"
#include "topology/topo.h"

/*
 * All hosts that have workers or servers, on their switches; the workers of a host get ranks one after the other, hosts in the
 * description's order. A host's NICs count together (fabric_topo_speed). An uplink
 * is as fast as the slower of its directions. Over verbs where every such host has an RDMA port, else over TCP. The description has passed
 * topo_check. AGG_EINVAL: no worker. AGG_ENOMEM.
 */
int fabric_from_topo(struct fabric *f, const struct topo *t, agg_error_t *err);

/* Whether the NIC carries what the workers send: it is not down, and where the machine has RDMA ports that are not down it is one of
 * these. */
int fabric_topo_carries(const struct topo_machine *machine, const struct topo_nic *nic);

struct fabric_topo_rate {
  double bytes_per_s;      /* FABRIC_UNKNOWN where a NIC is of unknown speed, or there is none */
  uint8_t by_pcie;         /* it is less than the NICs have: the PCIe links limit */
  double pcie_bytes_per_s; /* where it is unknown: what the PCIe links let through, however fast those NICs are; 0: no limit is known */
};
/* Of all NICs that carry together, through the machine's PCIe links (pcie.h). */
struct fabric_topo_rate fabric_topo_speed(const struct topo_machine *machine);

#endif
