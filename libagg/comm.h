/* A communicator: its planes, its queue of operations, its part in the group. Insides shared by comm.c (life), comm_run.c (running and
 * ending) and op.c (operations). */
#ifndef LIBAGG_COMM_H
#define LIBAGG_COMM_H

#include "instance.h"
#include "tune.h"
#include "way.h"

#define COMM_OPS_MAX 4096u /* operations outstanding in one priority */

struct agg_comm;

/* One operation; the public request. */
struct agg_request {
  struct agg_comm *comm;
  struct reactor *reactor; /* where to wait for it: outlives the communicator's planes */
  uint32_t priority, seq;
  _Atomic uint32_t done; /* 1: status is final. The word that waiters sleep on */
  _Atomic uint32_t refs; /* the caller's request, the callback */
  _Atomic uint32_t planes_left;
  int status;
  uint64_t posted_ns;
  /* for measured times */
  uint8_t alone;    /* nothing else was outstanding when it was posted */
  uint8_t internal; /* the library's own round of times: nobody waits for it */
  uint32_t number;  /* of all posts of the communicator */
  uint32_t sample, generation;
  struct callback callback;
  struct agg_request *next_free;
  struct plane_op ops[]; /* one a lane */
};

struct comm_queue {
  _Atomic uint32_t posted;             /* operations called so far; the next sequence number */
  _Atomic(struct agg_request *) *ring; /* by sequence number mod COMM_OPS_MAX; NULL: completed */
};

/* A plane and its place on a reactor. All but the first four fields belong to the reactor's driver. */
struct comm_plane {
  struct agg_comm *comm;
  uint32_t priority, lane;
  unsigned reactor;
  struct reactor_client client;
  struct plane *plane;
  uint32_t taken;    /* operations taken from the queue */
  uint32_t oldest;   /* no operation before it is outstanding */
  uint32_t asked_op; /* that the coordinator was asked about, where asked */
  uint8_t asked, stopped, over;
  uint64_t fence_by_ns;
};

/* An end that is to come when the coordinator does not bring one in time. */
struct comm_fallback {
  uint64_t due_ns; /* 0: none */
  agg_error_t error;
};

struct agg_comm {
  struct agg *agg;
  struct agg_comm *next; /* in the instance */
  uint32_t rank, size;
  struct control_setup setup;
  struct member *member;
  uint64_t buffer_bytes;
  char transports[32];
  struct ways *ways;

  struct comm_plane *planes; /* priority * lanes + lane */
  uint32_t n_planes;
  _Atomic uint32_t connected, planes_over;
  _Atomic uint32_t progress; /* moves when connected or status does: the word that creation sleeps on */
  _Atomic int status;        /* AGG_OK, or the error that ended it */
  _Atomic uint32_t running;  /* GO has come */
  _Atomic uint32_t over;     /* every plane has let go and every operation has completed */

  pthread_mutex_t post_lock; /* posting, the pool */
  struct comm_queue queues[AGG_PRIORITY_COUNT];
  struct agg_request *free_requests;
  struct request_slab *slabs;
  _Atomic uint64_t operations, late_allocs;
  _Atomic uint32_t posts, completed; /* of all priorities, the library's own too */
  struct tune *tune;                 /* NULL: the plan stays as it is. post_lock */
  struct agg_request *round;         /* that carries tune's rounds; never in the pool */

  pthread_mutex_t error_lock; /* error, fallback, left */
  agg_error_t error;
  struct comm_fallback fallback;
  uint8_t *left; /* by rank: has left in good order */

  _Atomic uint32_t refs; /* the handle, every request that is out */
};

/* comm.c */
int comm_create(struct agg *a, const char *host, uint16_t port, const unsigned char *group, uint32_t rank, uint32_t size,
                struct agg_comm **comm, agg_error_t *err);
void comm_destroy(struct agg_comm *c);
void comm_unref(struct agg_comm *c);
int comm_keep_error(struct agg_comm *c, const agg_error_t *err);
int comm_reserve_requests(struct agg_comm *c); /* with post_lock, or before anyone else knows the communicator */

/* comm_run.c: what runs on the reactors, and how a communicator ends */
void comm_client_init(struct comm_plane *cp);
void comm_plane_hooks(struct comm_plane *cp, struct plane_hooks *hooks);
void comm_member_hooks(struct agg_comm *c, struct member_hooks *hooks);
void comm_abort(struct agg_comm *c, int code, const char *text); /* any thread; the first one counts */

/* op.c */
void request_unref(struct agg_request *r);

static inline struct reactor *comm_reactor(const struct agg_comm *c, uint32_t priority) {
  return c->agg->reactors[c->planes[priority * c->setup.plan.lanes].reactor];
}

#endif
