/*
 * The simulator: a transport whose network, clock and bad luck are made of one seed. One process, one thread, virtual nanoseconds.
 *
 * A world holds a heap of events ordered by (virtual time, sequence). Whoever drives it calls sim_step until what it waits for has
 * happened. Nodes are what fails, sleeps and owns a NIC; a node has transports (tp_config.sim = the world, then sim_attach), and its
 * `ready` hook is called when it is time to poll them.
 *
 * It is unkind within the contract: sources are read as late as allowed, destinations hold garbage from the put until the bytes land,
 * TP_SENT comes late, lanes overtake each other, late writes land after TP_LOST until the lane is fenced. What breaks the contract
 * (a source changed too early, too many puts outstanding, ...) is recorded as a violation.
 */
#ifndef TRANSPORT_SIM_SIM_H
#define TRANSPORT_SIM_SIM_H

#include <stdio.h>

#include "base/util.h"
#include "transport.h"

struct sim_world;

enum sim_map { SIM_MAP_NEVER, SIM_MAP_BACKED, SIM_MAP_ALL }; /* map() succeeds: never; for memory registered with an fd; for all */

/* Times in virtual ns; every "up to" is drawn anew each time. */
struct sim_config {
  uint64_t seed;
  uint64_t latency_ns;        /* one way, at least */
  uint64_t jitter_ns;         /* added to a put's latency, up to */
  uint64_t lane_bytes_per_us; /* 0: no limit */
  uint64_t nic_bytes_per_us;  /* of a node, each way; 0: no limit */
  uint64_t sent_delay_ns;     /* from landing to TP_SENT, up to */
  uint64_t poll_delay_ns;     /* from an event to the poll that sees it, up to */
  uint64_t connect_ns;        /* from both ends open to TP_CONNECTED, up to, each end its own */
  uint64_t lost_ns;           /* from a loss to TP_LOST, up to */
  uint64_t fence_ns;          /* from the first fence() to its 1, up to */
  enum sim_map map;
  int self_driven; /* a poll that finds nothing steps the world: for tests that only poll */
  int live;        /* prints the trace to standard error as it happens */
};

void sim_config_init(struct sim_config *config, uint64_t seed); /* plausible values, a fast network */

/* NULL: no memory. */
struct sim_world *sim_create(const struct sim_config *config);
/* Takes NULL. All transports of the world have been closed. */
void sim_destroy(struct sim_world *w);

uint64_t sim_now(const struct sim_world *w);
uint64_t sim_steps(const struct sim_world *w); /* events so far */
/* Performs the next event: 1, or 0 when there is none. */
int sim_step(struct sim_world *w);
/* The world's source of numbers, for the driver's own draws. */
struct rng *sim_rng(struct sim_world *w);

/* Adds a node; ready (or NULL) is called from sim_step when its transports have events, never from within another call. */
uint32_t sim_node_add(struct sim_world *w, void (*ready)(void *user), void *user);
/* Puts the transport on the node (each is on a node of its own at first). Before any lane is opened. */
void sim_attach(struct tp *tp, uint32_t node);
/* Calls fn(user) at virtual time `at` (now, if that is past). */
void sim_at(struct sim_world *w, uint64_t at, void (*fn)(void *user), void *user);
/* The node is gone from now on: nothing is delivered to it, what it had under way arrives in part, its peers get TP_LOST. */
void sim_kill(struct sim_world *w, uint32_t node);
int sim_killed(const struct sim_world *w, uint32_t node);
/* `ready` is not called before `until`. */
void sim_pause(struct sim_world *w, uint32_t node, uint64_t until);

/* The transport. tp_sim has all capabilities that the simulator can have; sim_ops gives it with exactly these (of TP_CAP_ANY_SOURCE,
 * TP_CAP_MAP, TP_CAP_CHEAP_REG). */
extern const struct tp_ops tp_sim;
const struct tp_ops *sim_ops(uint32_t caps);

/* Adds a line to the trace, which keeps the last ones. `text` is a literal with up to three %llu. */
void sim_note(struct sim_world *w, uint32_t node, const char *text, uint64_t a, uint64_t b, uint64_t c);
/* Seed, virtual time, violation and the last events. */
void sim_print(const struct sim_world *w, FILE *to);
/* The first breach of the transport's contract by its users, or NULL. */
const char *sim_violation(const struct sim_world *w);

#endif
