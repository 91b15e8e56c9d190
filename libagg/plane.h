/*
 * A plane: one node of the engine, its lanes to its neighbours, and the memory between them: the window of slots for every child and
 * the scratch buffers. It is the glue in which engine and transport meet: it turns transport events into engine events and carries
 * out the engine's actions (folds and puts). Used by workers, by servers and by the simulator.
 *
 * Single-threaded: whoever drives the plane's reactor calls it. It reads no clock: time comes in with plane_time.
 */
#ifndef LIBAGG_PLANE_H
#define LIBAGG_PLANE_H

#include "engine/node.h"
#include "reduce/reduce.h"
#include "transport.h"

struct plane;
struct plane_op;
struct bind;

#define PLANE_TPS_MAX 4

/* One transport as a plane uses it. */
struct plane_tp {
  const struct tp_ops *ops;
  struct tp *tp;
};

/* An operation of a worker as one plane needs it; the caller's, alive until the plane's `done` hook was called with it. */
struct plane_op {
  void *user; /* the caller's */
  struct op_desc desc;
  uint32_t seq;
  uint64_t deadline; /* ns; UINT64_MAX: none */
  const void *send;
  void *recv;
  uint64_t send_bytes, recv_bytes;
  /* registered ranges that hold send and recv, per transport of the plane; NULL: not registered: the plane does so where that is cheap, and
   * copies through memory of its own where it is not */
  struct tp_mr *send_mr[PLANE_TPS_MAX], *recv_mr[PLANE_TPS_MAX];
  int send_shared; /* send lies in memory that peers on this host can map */
};

enum plane_fault { PLANE_MISMATCH, PLANE_PROTOCOL, PLANE_LOST, PLANE_LATE };

struct plane_hooks {
  void *user;
  /* The lane to a neighbour is connected, over what the transport says; `name` is the neighbour's. NULL: not wanted. */
  void (*up)(void *user, uint32_t peer, const char *name, const char *transport, const char *over);
  /* The lanes of all neighbours are connected (not called where there are none). */
  void (*connected)(void *user);
  /* Operation done in this plane (workers). The plane forgets it before the call. */
  void (*done)(void *user, struct plane_op *op);
  /* Something that ends the communicator: code is the AGG_E* status, peer the node at fault, text says it whole. Called once a plane at
   * most; the plane does nothing more afterwards than fence. PLANE_LATE may be called once for every late operation and stops nothing. */
  void (*fault)(void *user, enum plane_fault fault, int code, uint32_t peer, uint32_t op, const char *text);
};

struct plane_config {
  const struct log *log;
  uint32_t comm;
  uint16_t epoch;
  uint32_t self;
  uint32_t lane; /* lane number */
  uint32_t priority;
  const struct plan *plan; /* borrowed */
  unsigned n_tps;
  struct plane_tp tps[PLANE_TPS_MAX];
  const struct reduce_table *reduce;
  const struct bind *bind; /* NULL: its memory is wherever the kernel puts it; */
  int node;                /* else on this NUMA node; -1: likewise */
  struct plane_hooks hooks;
};

/* Memory that a plane over these transports takes for windows, scratch and bounce areas, in bytes: at most, since the bounce areas depend
 * on which transport its lanes to parents get. UINT64_MAX: there is not even memory to work it out. */
uint64_t plane_memory(const struct plan *plan, uint32_t self, const struct plane_tp *tps, unsigned n_tps);

int plane_create(const struct plane_config *config, struct plane **plane, agg_error_t *err);
void plane_destroy(struct plane *p); /* closes its lanes. Takes NULL */

/* Opens the lane to neighbour `peer` over tps[tp]. ticket: 32 bytes, the same at both ends. Call for every neighbour once. */
int plane_connect(struct plane *p, uint32_t peer, unsigned tp, const void *address, size_t len, const unsigned char *ticket,
                  agg_error_t *err);
/* How many there are; with none the connected hook is never called. */
uint32_t plane_neighbours(const struct plane *p);
int plane_is_neighbour(const struct plane *p, uint32_t peer);
/* "rank 3 (node7, pid 12)": how messages name a node. Copied. */
int plane_name(struct plane *p, uint32_t node, const char *name);

/* Offers an operation: 0, or AGG_ELIMIT when the node is full (offer it again after the next done). */
int plane_post(struct plane *p, struct plane_op *op);

/* One event of a lane whose user pointer is this plane's (see plane_of_event). */
void plane_event(struct plane *p, const struct tp_event *event);
struct plane *plane_of_event(const struct tp_event *event);

/* Passes the time to the engine (deadlines). */
void plane_time(struct plane *p, uint64_t now_ns);

/* Stops: no action is carried out from here on. Then call plane_fenced until it returns 1: no peer's write can land in own memory. */
void plane_stop(struct plane *p);
int plane_fenced(struct plane *p);
/* A neighbour that has not let go of a lane yet, for messages; FOREST_NONE when there is none. */
uint32_t plane_unfenced_peer(const struct plane *p);

/* Why operation seq waits, in words and by name; returns the peer waited for or FOREST_NONE. */
uint32_t plane_explain(const struct plane *p, uint32_t seq, char *text, size_t cap);

struct plane_stats {
  uint64_t chunks, puts, put_bytes, folds, fold_bytes;
  uint64_t copy_bytes; /* to and from memory that was not registered, for transports that need it to be */
};
void plane_get_stats(const struct plane *p, struct plane_stats *stats);

/* The memory that it has: windows, scratch and bounce areas, and where they lie. */
struct plane_where {
  uint64_t bytes, huge_bytes;
  uint64_t small_bytes; /* in blocks too small for huge pages */
  int node;             /* NUMA node that it is bound to, as the kernel says; -1: none */
  char why[160];        /* why it is not on the node of the configuration, or "" */
};
void plane_get_where(const struct plane *p, struct plane_where *where);
int plane_idle(const struct plane *p); /* no operation, no chunk, and every put is on its way */

#endif
