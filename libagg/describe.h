/* What a node says of itself to the planner, for workers and servers alike. */
#ifndef LIBAGG_DESCRIBE_H
#define LIBAGG_DESCRIBE_H

#include "calibrate.h"
#include "control/control.h"
#include "reactor.h"
#include "topology/topo.h"

/* Looks at this machine where a port of known speed is used, whose PCIe links may be slower; else *here is empty. Takes milliseconds: once
 * a process. `reactor`: any, all have the same transports. */
void describe_here(struct topo *here, const struct reactor *reactor, const struct log *log);

/* Fills rails, ports, speeds, cores and memory_limit; the rest is the caller's. */
void describe_node(struct control_node *node, const struct reactor *reactor, const struct topo *here, const struct calibration *calibration,
                   uint64_t memory_limit);

/* Ports together have no more than the machine's PCIe links let through: each gets its part of it. One that it does not have stays. */
void describe_limit(struct control_node *node, const struct topo_machine *machine);

#endif
