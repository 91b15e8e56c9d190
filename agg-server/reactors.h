/* The server's reactors: one a core, each with its transports, and the addresses under which workers reach them. */
#ifndef AGG_SERVER_REACTORS_H
#define AGG_SERVER_REACTORS_H

#include "config.h"
#include "control/control.h"
#include "reactor.h"

struct reactors {
  unsigned n;
  struct reactor *list[CONTROL_REACTORS_MAX];
  int cpu[CONTROL_REACTORS_MAX]; /* -1: not pinned */
  uint32_t n_addresses;
  struct control_address *addresses; /* owned; one a (transport, reactor) */
  char transports[64];               /* "shm, tcp" */
};

/* Starts config->reactors of them. As reactor_start; on failure nothing is left running. */
int reactors_start(struct reactors *rs, const struct server_config *config, const struct machine *machine, const struct log *log,
                   agg_error_t *err);
void reactors_stop(struct reactors *rs); /* all planes must have been destroyed */

/* Which of `count` reactors has the plane: the same formula at every node of a group. */
static inline unsigned reactors_of_plane(uint32_t priority, uint32_t lane, uint32_t lanes, uint32_t count) {
  return (unsigned)((priority * lanes + lane) % count);
}

/* "0-3" or "not pinned": for the log. Returns buf. */
const char *reactors_cpus(const struct reactors *rs, char *buf, size_t cap);

#endif
