/*
 * Owns the entries of transports that lack a capability: they answer "not possible" so that no caller tests an entry for NULL.
 * Never does anything else.
 */
#include "tps.h"

void *tp_unsupported_map(struct tp_lane *lane, struct tp_raddr at, size_t len) {
  (void)lane;
  (void)at;
  (void)len;
  return NULL;
}

unsigned tp_unsupported_ports(const struct tp *tp, struct tp_port *out, unsigned max) {
  (void)tp;
  (void)out;
  (void)max;
  return 0;
}
