/*
 * The control plane: who takes part, where they are, what the plan is, who died. One TLS 1.3 connection (pre-shared key derived from the
 * job's token) from each member to the coordinator of its group. Never on the path of a chunk. All of it runs in one event-loop thread a
 * process (struct control); the functions below may be called from any thread unless they say otherwise.
 *
 *   member  --JOIN-->  coordinator          member: a worker process, for one group
 *   server <--DESCRIBE, then RECRUIT--  coordinator    (the coordinator connects to every server of the group, to itself too)
 *           SETUP to all: plan, names, addresses, secret;  READY from all;  GO to all
 *           afterwards: TIMEOUT / FAULT reports, QUERY / STATE, ABORT, LEAVE
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "base/log.h"
#include "topology/plan.h"
#include "transport.h"

#define CONTROL_SERVER_PORT 7171 /* of an agg-server, where none is given */
#define CONTROL_TOKEN_MAX 256
#define CONTROL_SECRET_BYTES 32
#define CONTROL_GROUP_BYTES 16
#define CONTROL_REACTORS_MAX 64
#define CONTROL_RAILS_MAX 8
#define CONTROL_NODE_NAME_MAX 160

struct event_base; /* libevent's */
struct topo;
struct cost;
struct control;
struct member;

/* ---- the thread and its token --------------------------------------------------------------------------------------------- */

struct control_config {
  const struct log *log;
  const char *token; /* "" or NULL: none; then only loopback peers are served and connected to */
  /* For the plans of groups that are coordinated here; borrowed for the life of the control plane. */
  const struct topo *topo; /* hosts and fabric; NULL: not described */
  const char *topo_name;   /* where the description is from */
  const struct cost *cost; /* NULL: the defaults */
};

/* Reads a token file: the first line, without the newline. AGG_EAUTH when group or others can read it (the text says chmod 600), AGG_EINVAL
 * when it is empty or too long, AGG_ESYS when it cannot be read. */
int control_token_read(const char *path, char *token, size_t cap, agg_error_t *err);

int control_start(const struct control_config *config, struct control **control, agg_error_t *err);
void control_stop(struct control *c); /* takes NULL; ends the thread, closes everything left */

/* Starts (once) this process's embedded coordinator on host:port (port 0: any) and returns the port in use. Later calls return it again. */
int control_serve(struct control *c, const char *host, uint16_t port, uint16_t *bound, agg_error_t *err);

/* ---- members --------------------------------------------------------------------------------------------------------------- */

/* Where the data transports of one node can be reached. One entry a (transport, reactor). */
struct control_address {
  char transport[TP_NAME_MAX];
  uint32_t reactor;
  uint32_t len;
  unsigned char bytes[TP_ADDRESS_MAX];
};

/* A way out of the host: "mlx5_0:1", "eth0". Processes of one host that name the same share it. */
struct control_port {
  char name[64];
  uint64_t bytes_per_s; /* each way; 0: unknown */
  uint8_t by_pcie;      /* that is its part of what the PCIe links let through, less than the port has */
};

struct control_node {
  char host[64];
  uint64_t place; /* net_place() */
  uint32_t pid;
  uint32_t reactors;
  uint32_t rails; /* NICs that lanes are dealt over, the most of its transports: 1 to CONTROL_RAILS_MAX */
  /* For the planner; 0: unknown. */
  uint32_t n_ports;
  struct control_port ports[CONTROL_RAILS_MAX]; /* that its lanes use between hosts */
  uint64_t sum_bytes_per_s;                     /* of inputs that one thread folds */
  uint64_t copy_bytes_per_s;                    /* of memory, all cores together */
  uint32_t cores;                               /* that the process may use */
  uint64_t memory_limit;                        /* of communication buffers that it may hold, bytes */
  uint32_t n_addresses;
  struct control_address *addresses; /* owned by whoever holds the control_node */
};

/* What everyone gets when the group is complete. */
struct control_setup {
  uint32_t comm;                              /* unique at the coordinator */
  uint16_t epoch;                             /* 1 */
  unsigned char secret[CONTROL_SECRET_BYTES]; /* of the group; lane tickets are derived from it */
  struct plan plan;
  uint32_t n_nodes; /* workers, then servers */
  struct control_node *nodes;
  double timeout_s;
};
void control_setup_free(struct control_setup *s);

/* The ticket of the lane between nodes a and b in a plane: HMAC-SHA256(secret, "agg lane" | comm | epoch | min | max | priority | lane). */
void control_lane_ticket(const struct control_setup *s, uint32_t a, uint32_t b, uint32_t priority, uint32_t lane,
                         unsigned char ticket[TP_TICKET_BYTES]);

/* "rank 3 (node7, pid 12)" or "server 0 (store1, pid 9)". */
const char *control_node_name(const struct control_setup *s, uint32_t node, char *buf, size_t cap);

/* What a member says of itself when asked why an operation is late. */
struct control_state {
  uint64_t posted[AGG_PRIORITY_COUNT]; /* operations called so far */
  uint32_t waits_for;                  /* node that the operation asked about waits for here, or UINT32_MAX */
  char text[256];                      /* that wait in words, or "" */
  char called[128];                    /* the operation asked about as it was called here; "" when it was not, or has completed */
};

/* All are called on the control thread and must not block or call member_* functions of the same member except member_report_*. */
struct member_hooks {
  void *user;
  /* The group is over. Called at most once. code: AGG_EPEER, AGG_EMISMATCH, AGG_ETIMEDOUT, ...; culprit: node or UINT32_MAX. */
  void (*aborted)(void *user, int code, uint32_t culprit, const char *text);
  /* node has left in good order (agg_comm_destroy). */
  void (*left)(void *user, uint32_t node);
  void (*query)(void *user, uint32_t priority, uint32_t op, struct control_state *state);
};

struct member_config {
  char host[256]; /* the coordinator's */
  uint16_t port;
  unsigned char group[CONTROL_GROUP_BYTES];
  char job[AGG_NAME_MAX]; /* for logs and the servers' accounts */
  uint32_t rank, size;
  const char *servers; /* "host:port,..." or "" */
  const char *plan;    /* as configured */
  int strict;          /* sums in rank order only */
  int tune;            /* measured times may change the plan */
  int private_memory;  /* what this rank's operations are mostly on; one such rank is enough for the plan to be made for it */
  uint32_t lanes, window, chunk_bytes; /* as configured, 0: chosen; differing values of the ranks are AGG_EMISMATCH naming both */
  double timeout_s, join_timeout_s;
  const struct control_node *self; /* borrowed during the call */
  struct member_hooks hooks;
};

/* Joins and waits (blocking, at most join_timeout_s) until the group is complete. The coordinator may not listen yet: connecting is tried
 * again until then. AGG_ETIMEDOUT names the ranks that are missing (or the coordinator's address that does not answer), AGG_EAUTH,
 * AGG_EVERSION, AGG_EMISMATCH (size, rank taken twice, settings), AGG_ELIMIT (a server refuses: the text says its limit), AGG_EPEER. */
int member_join(struct control *c, const struct member_config *config, struct member **member, struct control_setup *setup,
                agg_error_t *err);

/* Says that own lanes are connected and waits (blocking) until all are, or fails as member_join. */
int member_ready(struct member *m, agg_error_t *err);
/* Instead of member_ready: this rank cannot; every rank's join fails with this text. */
void member_fail(struct member *m, int code, const char *text);

/* Operation `op` of `priority` is late here: the coordinator asks everyone, finds who holds it up, and aborts the group with that sentence
 * within about 1.5 s. text: what is known here, used when the coordinator finds nothing better. Does not block. */
void member_report_late(struct member *m, uint32_t priority, uint32_t op, const char *what, double waited_s, const char *text);
/* Operation `op` has been waiting for a while: the coordinator asks everyone what they have called, and aborts the group with AGG_EMISMATCH
 * if two ranks have called different things (ranks that each believe to be the root send nothing to one another). Otherwise nothing
 * happens. */
void member_ask(struct member *m, uint32_t priority, uint32_t op, const char *what, double waited_s);
/* A fault that ends the group: mismatch, protocol error, lost lane. The coordinator aborts everyone with this code and text. */
void member_report_fault(struct member *m, int code, uint32_t culprit, const char *text);

/* Leaves in good order and frees. No hook runs after it has returned. Blocks for at most a moment. Takes NULL. Not from a hook. */
void member_leave(struct member *m);

#endif
