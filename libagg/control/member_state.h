/* A member's inside, shared by the thread that calls (member.c) and what happens on the control thread (member_loop.c). */
#ifndef CONTROL_MEMBER_STATE_H
#define CONTROL_MEMBER_STATE_H

#include <pthread.h>

#include "base/state.h"
#include "loop.h"

/*
 *   HELLO --> JOINING --> SETUP --> READY --> RUNNING
 *     |          |          |         |          |
 *     '----------+----------+---------+----------'--> OVER
 *     ^------------------------------------------------'  (next try to connect, from HELLO only)
 *
 * The caller waits in HELLO and JOINING (member_join: for TLS, for the other ranks) and in READY (member_ready: for the others' lanes).
 */
enum member_phase { MEMBER_HELLO, MEMBER_JOINING, MEMBER_SETUP, MEMBER_READY, MEMBER_RUNNING, MEMBER_OVER, MEMBER_PHASE_COUNT };

struct member {
  struct control *control;
  pthread_mutex_t mu;
  pthread_cond_t changed;
  /* under mu */
  uint8_t phase;
  uint8_t taken;              /* member_join has returned: from here on the end is told by a hook */
  uint8_t gone;               /* the connection is closed after member_leave */
  uint8_t retry;              /* the failure is one of connecting: worth another try */
  agg_error_t err;            /* why it is OVER */
  struct control_setup setup; /* until member_join takes it */
  /* the control thread's */
  struct channel *channel;
  uint8_t leaving;
  uint32_t n_nodes;
  char coordinator[400];              /* how messages name it */
  const struct member_config *config; /* the caller's, during member_join */
  uint64_t deadline;                  /* of member_join */
  int fd;                             /* connected, for the next try */
  /* fixed */
  struct member_hooks hooks;
  uint32_t rank, size;
  int has_servers;
  double join_timeout_s;
};

/* On the control thread: arg is the member. */
void member_attach_task(void *arg); /* takes m->fd */
void member_detach_task(void *arg);
void member_ready_task(void *arg);
void member_leave_task(void *arg);

void member_move(struct member *m, unsigned phase); /* mu held */

#endif
