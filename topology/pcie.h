/* What the PCIe links of a machine let through. Pure. */
#ifndef TOPOLOGY_PCIE_H
#define TOPOLOGY_PCIE_H

#include "topology/topo.h"

/*
 * The most that NICs can have together, in bytes a second each way: want[i] is what NIC i would take, 0 for one that takes no part,
 * INFINITY for all it can have. What is below a bridge passes its link, and the functions and ports of one device pass the device's. A link
 * of unknown speed does not limit. The machine is of a description that has passed topo_check.
 */
double pcie_flow(const struct topo_machine *machine, const double *want);

#endif
