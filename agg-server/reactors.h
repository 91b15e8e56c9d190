/* The server's reactors: one a core, each with its transports, and the addresses under which workers reach them. */
#ifndef AGG_SERVER_REACTORS_H
#define AGG_SERVER_REACTORS_H

#include "config.h"
#include "control/control.h"
#include "pinning.h"
#include "reactor.h"

struct reactors {
  unsigned n;
  struct reactor *list[CONTROL_REACTORS_MAX];
  struct pinning pinning;
  uint32_t n_addresses;
  struct control_address *addresses; /* owned; one a (transport, reactor) */
  char transports[64];               /* "shm, tcp" */
};

/* Starts config->reactors of them. As reactor_start; on failure nothing is left running. */
int reactors_start(struct reactors *rs, const struct server_config *config, const struct log *log, agg_error_t *err);
void reactors_stop(struct reactors *rs); /* all planes must have been destroyed */

/* Which of `count` reactors has the plane: the same formula at every node of a group. */
static inline unsigned reactors_of_plane(uint32_t priority, uint32_t lane, uint32_t lanes, uint32_t count) {
  return (unsigned)((priority * lanes + lane) % count);
}

#endif
