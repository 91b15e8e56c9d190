/*
 * A reactor: the transports of one thread's worth of data movement, the planes that live on them, and the baton that says who drives.
 *
 * One thread at a time drives (holds the baton): it polls the transports, steps the planes, carries out their work. A thread that waits for
 * an operation takes the baton itself when it is free, so that no other thread has to be woken; otherwise the reactor's own thread drives,
 * asleep in epoll until a transport has something. What crosses threads is the post counter of each client and the state of an operation.
 */
#ifndef LIBAGG_REACTOR_H
#define LIBAGG_REACTOR_H

#include <stdatomic.h>

#include "base/log.h"
#include "plane.h"

struct reactor;

struct reactor_config {
  const struct log *log;
  unsigned index;
  const char *transports; /* "auto", "shm", "verbs", "tcp" */
  const char *bind_host, *peer_host;
  const struct tp_rdma *rdma; /* read by reactor_start only */
  uint32_t spin_us;
  int lazy; /* 1: peers are not asked to ring while no client has work outstanding (workers); 0: they always are (servers) */
  int cpu;  /* pin the reactor's own thread to it; -1: no */
};

/* AGG_EINVAL unknown transport; AGG_ENOTSUP asked for and not there; AGG_ESYS, AGG_ENOMEM. Starts the thread. */
int reactor_start(const struct reactor_config *config, struct reactor **reactor, agg_error_t *err);
void reactor_stop(struct reactor *r); /* takes NULL; all clients must have been removed */

/* The core that its own thread is pinned to, as read back; -1: none. That it could not be pinned has been logged. */
int reactor_cpu(const struct reactor *r);

/* The transports it has, in order of preference. */
unsigned reactor_tps(const struct reactor *r, struct plane_tp out[PLANE_TPS_MAX]);

/* How many NICs lanes are dealt over: the most of its transports. */
uint32_t reactor_rails(const struct reactor *r);

/* A transport that it does not have, though it may use any: why. */
struct reactor_absent {
  const struct tp_ops *ops;
  char why[AGG_ERROR_TEXT_MAX];
};
/* Borrowed, the reactor's; none where one transport was asked for. */
unsigned reactor_absent(const struct reactor *r, const struct reactor_absent **list);

/* Something that lives on a reactor: work is called with the baton held, on every turn of the loop in which anything may have changed. */
struct reactor_client {
  /* Takes new work from other threads (posts). Returns 1 when it did anything. Must be cheap when there is nothing. */
  int (*work)(void *user);
  /* The time, every few milliseconds at most, while the reactor is driven or asleep. */
  void (*time)(void *user, uint64_t now_ns);
  void *user;
  uint32_t outstanding;        /* operations taken and not done; the client keeps it, with the baton */
  int urgent;                  /* its work is done before that of the others */
  struct reactor_client *next; /* the reactor's */
};

/* Runs fn(arg) with the baton held, from any thread but the one that drives; waits for the baton. */
void reactor_call(struct reactor *r, void (*fn)(void *arg), void *arg);

void reactor_add(struct reactor *r, struct reactor_client *c);    /* with the baton held */
void reactor_remove(struct reactor *r, struct reactor_client *c); /* with the baton held */

/* New work was made visible for a client: drives one turn when the baton is free, otherwise leaves it to the driver. Any thread. */
void reactor_kick(struct reactor *r);

/* Drives or sleeps until *word != value or deadline_ns passed. Any thread without the baton. Returns 1 when *word changed. */
int reactor_wait(struct reactor *r, _Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
/* To be called (by anyone) after *word was changed, so that sleepers look. */
void reactor_notify(struct reactor *r, _Atomic uint32_t *word);

#endif
