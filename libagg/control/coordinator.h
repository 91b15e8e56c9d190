/*
 * The coordinator's side of the control plane and what an agg-server answers to it, on a libevent base of the caller's. Everything here
 * is called on the thread that runs that base.
 */
#ifndef CONTROL_COORDINATOR_H
#define CONTROL_COORDINATOR_H

#include "control.h"

struct cost;
struct topo;
struct coordinator; /* listens, authenticates, makes and watches groups */
struct recruit;     /* a server's part in one group */

/* What a server is asked for. */
struct recruit_request {
  uint32_t comm;
  char job[AGG_NAME_MAX];
  uint32_t server;  /* index among the group's servers */
  struct plan plan; /* complete; borrowed for the call: plan_copy keeps it */
  uint32_t workers, servers;
};

/* A server's answers. NULL hooks: this process is not a server, recruiting it is refused. */
struct recruit_hooks {
  void *user;
  /* The own node, as the planner and the other nodes need it; its addresses stay the server's. */
  void (*describe)(void *user, struct control_node *self);
  /* Admission: 0, or AGG_ELIMIT with a text (memory limit, draining). *job is the server's. */
  int (*prepare)(void *user, struct recruit *r, const struct recruit_request *request, void **job, agg_error_t *err);
  /* The group is complete: open lanes. Calls recruit_ready or recruit_fault later. setup is borrowed for the call. */
  int (*start)(void *job, const struct control_setup *setup, agg_error_t *err);
  void (*go)(void *job);
  void (*query)(void *job, uint32_t priority, uint32_t op, struct control_state *state);
  /* The group is over, in good order (code 0) or not. The job must forget r; it is freed after the call. Called exactly once for every
   * prepare that succeeded. */
  void (*end)(void *job, int code, const char *text);
};

struct coordinator_config {
  const struct log *log;
  const char *const *tokens;           /* NULL-terminated; empty: none, only loopback is served */
  const char *listen;                  /* "host:port", "" host = all addresses (with a token), loopback (without) */
  const struct recruit_hooks *recruit; /* borrowed; NULL for a worker's embedded coordinator */
  uint32_t max_connections;            /* 0: 4096 */
  uint32_t max_world;                  /* largest group; 0: FOREST_MAX_NODES */
  const struct topo *topo;             /* hosts and fabric, borrowed; NULL: known from the nodes' own words only */
  const char *topo_name;               /* where it is from, for messages */
  const struct cost *cost;             /* borrowed; NULL: the defaults */
};

/* AGG_EINVAL: a non-loopback address without a token; AGG_ESYS: the port is in use. */
int coordinator_create(struct event_base *base, const struct coordinator_config *config, struct coordinator **c, agg_error_t *err);
void coordinator_destroy(struct coordinator *c); /* aborts the groups that are left. Takes NULL */
uint16_t coordinator_port(const struct coordinator *c);

/* No new groups; existing ones go on. */
void coordinator_drain(struct coordinator *c);
/* Groups that exist (complete or not) as coordinator, plus parts in others' groups. */
uint32_t coordinator_groups(const struct coordinator *c);

void recruit_ready(struct recruit *r);
void recruit_fault(struct recruit *r, int code, uint32_t culprit, const char *text);

#endif
