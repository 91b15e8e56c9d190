/*
 * Ways to peers: which transport a pair of nodes takes, and why not a better one. The choice is one function for workers and servers, so
 * that both ends come to the same answer. What was chosen is told to the log once a peer, when its first lane is up.
 */
#ifndef LIBAGG_WAY_H
#define LIBAGG_WAY_H

#include "control/control.h"
#include "reactor.h"

#define WAY_TEXT_MAX 512

/* One reactor's end of it. */
struct way_here {
  struct plane_tp tps[PLANE_TPS_MAX]; /* in order of preference */
  unsigned n_tps;
  const struct reactor_absent *absent; /* borrowed */
  unsigned n_absent;
};
void way_here_init(struct way_here *here, const struct reactor *reactor);

struct way {
  unsigned tp; /* in here->tps */
  const struct control_address *address;
};

/* The best transport that both have, towards this reactor of the peer's. `name`: the peer, for the text. AGG_ENOTSUP: there is none. */
int way_choose(const struct way_here *here, const struct control_node *peer, uint32_t reactor, const char *name, struct way *way,
               agg_error_t *err);
/* "; not shm: another host; not verbs: this host has none (...)": every better transport than the one chosen, and why it was not. "" where
 * there is none. Returns buf. */
const char *way_why(const struct way_here *here, const struct control_node *peer, uint32_t reactor, const struct way *way, char *buf,
                    size_t cap);

/* What a group tells of its ways. Its functions may be called from any thread. */
struct ways;
/* prefix: "communicator 3", "job x (comm 3)"; copied. NULL: no memory. */
struct ways *ways_create(const struct log *log, const char *prefix, uint32_t nodes);
void ways_destroy(struct ways *w); /* takes NULL */
/* Before the first lane to the peer is opened: what way_why said. Later calls for the peer change nothing. */
void ways_chosen(struct ways *w, uint32_t peer, const char *why);
/* A lane to it is up. The first one is told: "rank 1 (node7, pid 12): tcp (10.0.0.2:4000); not verbs: that host offers none". */
void ways_up(struct ways *w, uint32_t peer, const char *name, const char *transport, const char *over);
/* How the lowest-numbered peer that is up is reached, or "". Returns buf. */
const char *ways_first(struct ways *w, char *buf, size_t cap);

#endif
