/* The transports that are compiled into the library, for the registry and for tests. */
#ifndef TRANSPORT_TPS_H
#define TRANSPORT_TPS_H

#include "transport.h"

extern const struct tp_ops tp_shm, tp_tcp, tp_verbs;

/* For transports without TP_CAP_MAP: what an entry that is not supported does. */
void *tp_unsupported_map(struct tp_lane *lane, struct tp_raddr at, size_t len); /* NULL */
/* For transports that leave no host: 0. */
unsigned tp_unsupported_ports(const struct tp *tp, struct tp_port *out, unsigned max);

#endif
