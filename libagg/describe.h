/* What a node says of itself to the planner, for workers and servers alike. */
#ifndef LIBAGG_DESCRIBE_H
#define LIBAGG_DESCRIBE_H

#include "calibrate.h"
#include "control/control.h"
#include "reactor.h"

/* Fills rails, ports, speeds, cores and memory_limit; the rest is the caller's. `reactor`: any, all have the same transports. */
void describe_node(struct control_node *node, const struct reactor *reactor, const struct calibration *calibration, uint64_t memory_limit);

#endif
