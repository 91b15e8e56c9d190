/*
 * The insides of the verbs transport, shared by its files. One thread at a time calls all of it.
 *
 *   verbs.c   open, close, poll: whose turn it is        conn.c   a connection, from dialing to drained
 *   rail.c    a port of a device: open, state, events    cm.c     the CM's events, listeners, strangers until a ticket names a lane
 *   find.c    which ports are rails, and their address   lane.c   a lane's life, over one connection after the other
 *   cq.c      completion queues, wr_id, dispatch         post.c   puts, receives and control messages onto a connection
 *   mr.c      protection domains and registered memory   move.c   moving a lane to another rail, and back
 *   explain.c failures in words                          wire.c   what is said while connecting
 *   qp.c      a connection's queue pair and its settings
 *
 * A lane is what the contract calls so. It goes over one connection (struct conn) at a time; when that connection fails the lane moves to
 * another one, over another rail where there is one, and what had not arrived is sent again: notices stay in order, each comes once.
 */
#ifndef VERBS_INTERNAL_H
#define VERBS_INTERNAL_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "base/log.h"
#include "wire.h"

#define VERBS_STRANGERS_MAX 64
#define VERBS_STRANGER_NS 5000000000u /* what a request that has named no lane of ours may wait */
#define VERBS_DIAL_NS 10000000000u    /* the active end's time to be connected */
#define VERBS_WAIT_NS 20000000000u    /* the passive end's: longer, so that the end that knows more reports first */
#define VERBS_TRY_NS 3000000000u      /* one attempt, where there are others or a lane moves */
#define VERBS_PROBE_NS 5000000000u    /* for the first message of a connection to have gone both ways */
#define VERBS_MOVE_NS 8000000000u     /* a lane without a connection is lost after it */
#define VERBS_DRAIN_NS 2000000000u    /* for what was posted on a queue pair in error to come back */
#define VERBS_PORT_NS 2000000000u     /* a port that went down gets this long to come back */
#define VERBS_HOME_MIN_NS 1000000000u /* a lane away from its rail tries to return after this long, then twice as long, ... */
#define VERBS_HOME_MAX_NS 30000000000u
#define VERBS_CHAIN 16         /* work requests handed over at once; one in as many asks for a completion at least */
#define VERBS_INLINE 220       /* bytes in the work request itself, where the device takes them */
#define VERBS_CONTROL_DEPTH 8  /* control messages under way on a connection, each way */
#define VERBS_RECV_SLACK 16    /* receives that may wait to be posted again */
#define VERBS_PROBE_BYTES 4096 /* largest path MTU */
#define VERBS_HEAD_MAX 64      /* piece 0 of two */
#define VERBS_CANDIDATES_MAX (VERBS_RAILS_MAX * VERBS_RAILS_MAX)
#define VERBS_TEXT_MAX 400
#define VERBS_NAME_MAX 80

struct conn;
struct tp_lane;

/* ---- rails (rail.c, find.c) ---- */

struct cq {
  struct rail *rail;
  struct ibv_cq *cq;
  uint32_t cap, used; /* entries; those that its connections may fill */
  uint32_t stale;     /* of used: of connections that are gone; free again when the queue was seen empty */
  uint8_t armed;
  struct cq *next;
};

enum rail_state { RAIL_UP, RAIL_SHAKY, RAIL_DOWN, RAIL_STATES }; /* SHAKY: the port went down a moment ago */

struct rail {
  struct tp *tp;
  unsigned index;
  uint8_t state, iwarp, port_num;
  uint8_t removed;           /* the device was taken away: it stays down, and no call on it succeeds any more */
  char name[VERBS_NAME_MAX]; /* "mlx5_0:1" */
  struct ibv_context *ctx;
  struct ibv_device_attr device;
  struct ibv_port_attr port;
  int sgid_index; /* -1: as the CM resolves it */
  struct verbs_address address;
  struct rdma_cm_id *listener;
  struct ibv_comp_channel *channel;
  struct cq *cqs;
  uint64_t shaky_until;
};

/* A wanted port, as find.c found it: closed by rail_open's caller where it is not used. */
struct found {
  char device[IBV_SYSFS_NAME_MAX];
  uint8_t port_num;
  int sgid_index;
  struct verbs_address address; /* port 0 */
};
/* The ports to use, at most VERBS_RAILS_MAX: their number, or AGG_ENOTSUP (none is there) / AGG_EINVAL (a setting names what is not there)
 * with the reason. */
int verbs_find(const struct tp_config *config, const struct tp_rdma *rdma, struct rdma_event_channel *channel, struct found *found,
               agg_error_t *err);

int rail_open(struct tp *tp, unsigned index, const struct found *found, agg_error_t *err);
void rail_close(struct rail *r);
void rail_async(struct rail *r);                 /* something on its async descriptor */
void rail_time(struct rail *r, uint64_t now_ns); /* whether a shaky port has had its time */
void rail_removed(struct rail *r);               /* its device is gone */
int rail_usable(const struct rail *r);           /* not down */
uint8_t rail_mtu(const struct rail *r);          /* enum ibv_mtu: the port's, or less as set */

/* ---- registered memory (mr.c) ---- */

struct domain {
  uint64_t id;
  uint32_t users; /* lanes, regions */
  struct ibv_pd *pd[VERBS_RAILS_MAX];
  struct domain *next;
};

/* A region in one domain, on every rail. */
struct mr_part {
  struct domain *domain;
  struct ibv_mr *mr[VERBS_RAILS_MAX]; /* NULL on a rail whose device was removed before */
  struct mr_part *next;
};

struct tp_mr {
  struct tp *tp;
  char *addr;
  size_t len;
  uint64_t domain;
  int access;
  struct mr_part *parts; /* a region of domain 0 has one for every domain there is */
  uint32_t in_flight;    /* puts that read it */
  struct tp_mr *prev, *next;
};

/* The domain, made where it is new: every region of domain 0 is then registered in it. AGG_ENOMEM, AGG_ESYS, AGG_ELIMIT. */
int verbs_domain_get(struct tp *tp, uint64_t id, struct domain **domain, agg_error_t *err);
void verbs_domain_put(struct tp *tp, struct domain *d); /* takes NULL */
int verbs_mem_reg(struct tp *tp, const struct tp_mem *mem, struct tp_mr **mr, agg_error_t *err);
int verbs_mem_reg_local(struct tp *tp, void *addr, size_t len, uint64_t domain, struct tp_mr **mr,
                        agg_error_t *err); /* no peer writes it */
void verbs_mem_dereg(struct tp *tp, struct tp_mr *mr);
struct tp_raddr verbs_raddr(struct tp_lane *lane, const struct tp_mr *mr, const void *ptr);
/* The region's registration for a lane of this domain on a rail; NULL when it has none there. */
struct ibv_mr *verbs_mr_on(const struct tp_mr *mr, const struct domain *d, unsigned rail);
/* What the region that is called `key` on rail `from` is called on rail `to`; 0 when there is none that lanes of the domain may write. */
uint32_t verbs_key_on(const struct tp *tp, const struct domain *d, unsigned from, uint32_t key, unsigned to);
void verbs_mem_fini(struct tp *tp);

/* ---- connections (conn.c) ---- */

/*
 *   RESOLVING --address--> ROUTING --route--> DIALING --answer--.
 *                                                               v
 *   ACCEPTED (from a request) ------------established----> PROBING --first messages both ways--> OPEN
 *
 *   any --error--> DRAINING --all came back--> DRAINED --> gone
 *
 * A connection that fails before PROBING is gone at once: nothing was posted that matters. DRAINED keeps the CM id, silently, while its
 * lane moves to another connection.
 */
enum conn_state {
  CONN_RESOLVING,
  CONN_ROUTING,
  CONN_DIALING,
  CONN_ACCEPTED,
  CONN_PROBING,
  CONN_OPEN,
  CONN_DRAINING,
  CONN_DRAINED,
  CONN_STATES
};

struct conn {
  struct tp *tp;
  struct tp_lane *lane;
  struct rail *rail;
  struct cq *cq;
  struct rdma_cm_id *id;
  struct ibv_qp *qp;   /* NULL before it is made and after it is drained */
  uint8_t state, kind; /* enum verbs_hello_kind: VERBS_LANE or VERBS_SPARE */
  uint8_t dialed;      /* this end connects */
  uint8_t use_imm, probe_posted, probe_sent, probe_acked, probe_seen;
  uint8_t peer_rail, peer_mtu;
  uint8_t reject;       /* why the peer rejected: enum verbs_reject, 0 where it did not say */
  uint8_t nobody;       /* nobody listens there any more */
  uint8_t area;         /* which half of the lane's block its receives use */
  uint8_t drain_posted; /* the last request, behind which nothing comes back */
  uint8_t flushed;      /* `text` tells of a flush only: a better reason may follow */
  uint16_t index;       /* in tp->conns */
  uint16_t generation;  /* of its wr_ids */
  uint32_t inline_max;
  uint32_t recv_cap, recv_posted, recv_next; /* next: buffer to post */
  uint32_t unposted;                         /* receives to be posted again */
  uint32_t control_busy;                     /* bit i: control buffer i is under way */
  uint32_t mtu_bytes;
  uint64_t until_ns; /* give up this state */
  struct tp_raddr peer_window;
  char text[VERBS_TEXT_MAX]; /* why it failed: the first reason */
  enum verbs_fault {
    FAULT_NONE,
    FAULT_PATH,
    FAULT_PEER,
    FAULT_LEFT,
    FAULT_LOCAL
  } fault; /* PATH: another rail may do better; LEFT: closed */
};

/* Starts to connect `lane` from `rail` to a peer's address. AGG_ESYS, AGG_ENOMEM. */
int conn_dial(struct tp_lane *lane, struct rail *rail, const struct verbs_address *to, enum verbs_hello_kind kind, struct conn **conn,
              agg_error_t *err);
/* Accepts a request for `lane`; id is taken over, also when it fails. AGG_EPEER: the request is not there any more. AGG_EPROTO, AGG_ESYS,
 * AGG_ENOMEM, AGG_ELIMIT, AGG_ENOTSUP. */
int conn_accept(struct tp_lane *lane, struct rail *rail, struct rdma_cm_id *id, const struct verbs_hello *hello, struct conn **conn,
                agg_error_t *err);
/* Something of the CM's about it. private: data that came along. */
void conn_cm(struct conn *c, enum rdma_cm_event_type event, int status, const void *private_data, size_t len);
/* The queue pair goes into error; what was posted comes back, then the lane is told (lane_drained). Only the first reason is kept. */
void conn_fail(struct conn *c, enum verbs_fault fault, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same after a call on its queue pair has failed with this errno: "a put cannot be posted: ...". */
void conn_fail_call(struct conn *c, int rc, const char *what);
/* At once: no write of the peer's lands through it when it returns. Takes NULL. */
void conn_kill(struct conn *c);
void conn_time(struct conn *c, uint64_t now_ns);
void conn_probe_seen(struct conn *c);
void conn_arrived(struct conn *c, uint32_t notice, uint32_t bytes); /* a put of the peer's */
void conn_refill(struct conn *c);                                   /* posts the receives that are due */
void conn_completed(struct conn *c, const struct ibv_wc *wc, unsigned kind, uint32_t arg);
const char *conn_path(const struct conn *c, char *buf, size_t cap); /* "mlx5_0:1 (10.0.0.1) to 10.0.0.2, RoCE v2, MTU 4096" */
const char *conn_peer(const struct conn *c, char *buf, size_t cap); /* "10.0.0.2:7000" */

/* ---- a connection's queue pair (qp.c) ---- */

/* Made, initialised for the CM id, its receives posted. What a failure leaves behind, qp_destroy takes. AGG_ELIMIT, AGG_ENOMEM,
 * AGG_ENOTSUP, AGG_EPEER, AGG_ESYS. */
int qp_prepare(struct conn *c, agg_error_t *err);
/* What the CM tells the peer of it, with this hello, which must live as long as the parameters. */
void qp_param(const struct conn *c, const unsigned char *hello, struct rdma_conn_param *param);
int qp_up(struct conn *c, agg_error_t *err); /* ready to send to the peer, whose parameters are known. AGG_EPEER, AGG_ESYS */
void qp_to_error(struct conn *c);            /* what was posted comes back */
void qp_destroy(struct conn *c, int stale);  /* stale: completions of it may still be in the queue. Where there is none: nothing */

/* ---- completion queues (cq.c) ---- */

enum wr_kind { WR_PUT, WR_CONTROL, WR_DRAIN, WR_RECV };
#define WR_ARG_MASK 0xffffffu

uint64_t wr_id(const struct conn *c, enum wr_kind kind, uint32_t arg);
/* A queue of the rail with room for so many more entries. */
int cq_get(struct rail *r, uint32_t entries, struct cq **cq, agg_error_t *err);
void cq_put(struct cq *q, uint32_t entries, int stale);
void cq_fini(struct rail *r);
int cq_poll(struct cq *q);    /* hands everything that is there to its connections; returns how many there were */
int cq_arm(struct rail *r);   /* 0 or errno */
void cq_rang(struct rail *r); /* something on the completion channel */

/* ---- lanes (lane.c, move.c) ---- */

/*
 *   DIALING / WAITING --connection open--> UP <--resumed-- MOVING
 *                                           '---path lost--->'
 *   each --> LOST, FENCED. LOST and FENCED stay until lane_close.
 */
enum lane_state { LANE_DIALING, LANE_WAITING, LANE_UP, LANE_MOVING, LANE_LOST, LANE_FENCED, LANE_STATES };

struct put {
  const void *base; /* of the payload, which is not in the header */
  uint32_t len;
  uint8_t head_len;
  uint32_t notice;
  struct tp_raddr dst;
  struct tp_mr *mr; /* of base */
  uint64_t token;
};

struct arrival {
  uint32_t notice, bytes;
};

struct other_key {
  uint8_t rail;
  uint32_t key, here;
};

struct candidate {
  uint8_t own, peer; /* rails */
};

struct tp_lane {
  struct tp *tp;
  uint8_t state, active;
  uint8_t say_connected, say_lost;
  uint8_t dirty;                    /* puts wait to be posted: on tp->dirty */
  uint8_t resume_sent, resume_seen; /* of a move, on `spare` */
  uint8_t asking, answer_due;
  uint8_t in_ready;
  uint32_t depth, mask; /* mask + 1: size of the rings, a power of two */
  uint32_t recv_cap, recv_mask;
  uint32_t index;
  void *user;
  struct domain *domain;
  unsigned char ticket[TP_TICKET_BYTES];
  struct tp_mr *window_mr;
  void *window_ptr;
  struct tp_raddr peer_window;

  struct conn *conn;  /* that it goes over; while it moves: the old one, drained */
  struct conn *spare; /* connecting, or open and about to take over */

  /* Puts, numbered modulo 2^32: acked <= posted <= queued; then the tokens of those acked, until they are told. At most `depth` are posted
   * and not acked. As many more may be queued: the caller counts a put that asked for no report as over when the peer has answered it,
   * and the acknowledgement may be later than that. A put behind these answers what cannot have arrived. */
  struct put *puts;
  uint32_t acked, posted, queued;
  uint64_t *tokens;
  uint32_t told_tokens, n_tokens;
  struct arrival *arrivals; /* notices received and not yet told */
  uint32_t told, received;
  uint32_t debt; /* of the untold: came over an earlier connection, whose receives are gone */

  /* own memory, registered: headers of puts; for each of two connections receive buffers, control buffers, two probe buffers */
  unsigned char *block;
  size_t block_len;
  struct tp_mr *block_mr;
  size_t area_at[2], area_len;

  struct other_key *keys; /* of the peer, from its other rails; learnt on this connection */
  uint32_t n_keys, keys_cap;
  struct other_key question; /* of the peer's that is to be answered, when answer_due */

  struct verbs_address peers[VERBS_RAILS_MAX];
  unsigned n_peers, n_candidates, candidate; /* candidate: the one tried last; 0 is the lane's home */
  struct candidate candidates[VERBS_CANDIDATES_MAX];
  uint64_t tried;      /* bit i: candidate i was tried in this round */
  uint8_t hope;        /* some candidate of this round may do better next time: nobody there has refused */
  uint64_t gone;       /* bit i: at candidate i nobody listens any more, in this move */
  uint64_t give_up_at; /* not UP by then: lost */
  uint64_t retry_at;   /* next attempt to connect or, when UP away from home, to return; 0: none */
  uint64_t home_wait_ns;
  uint32_t peer_count; /* of notices, as the peer's RESUME said */
  struct {
    uint32_t acked, received; /* when its connection was lost the last time */
    uint8_t waited;           /* puts waited then */
    uint32_t in_vain;         /* connections since anything was carried */
  } loss;

  struct tp_lane *ready_next, *dirty_next;
  struct tp_lane *prev, *next;
  char text[VERBS_TEXT_MAX + VERBS_NAME_MAX + 100];
  char peer[96]; /* for texts */
};

int verbs_lane_open(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err);
void verbs_lane_close(struct tp_lane *l);
int verbs_lane_fence(struct tp_lane *l);
int verbs_lane_shut(const struct tp_lane *l);
void lane_lost(struct tp_lane *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lane_move(struct tp_lane *l, enum lane_state next);
void lane_time(struct tp_lane *l, uint64_t now_ns);
void lane_tell(struct tp_lane *l, struct tp_event *events, int max, int *n); /* its events, as many as there is room for */
/* From its connections: */
void lane_conn_open(struct tp_lane *l, struct conn *c);
void lane_conn_failed(struct tp_lane *l, struct conn *c); /* before it was open; c is gone when it returns */
void lane_conn_drained(struct tp_lane *l, struct conn *c);
/* A request of the peer's for this lane; id is taken over. */
void lane_request(struct tp_lane *l, struct rail *rail, struct rdma_cm_id *id, const struct verbs_hello *hello);
void lane_dial_next(struct tp_lane *l); /* the next candidate; lost when there is none */
void lane_path_lost(struct tp_lane *l, const char *why);
void lane_resume(struct tp_lane *l, struct conn *c, uint32_t count); /* the peer goes on, on c */
void lane_resume_when_drained(struct tp_lane *l);
void lane_go_home(struct tp_lane *l);
int lane_nobody_listens(const struct tp_lane *l);                               /* while it moves: at no address of the peer's */
void lane_move_failed(struct tp_lane *l);                                       /* its time is over */
void lane_dirty(struct tp_lane *l);                                             /* something is to be posted */
int lane_new_key(struct tp_lane *l, uint8_t rail, uint32_t key, uint32_t most); /* AGG_ENOMEM, AGG_ELIMIT */
void lane_make_candidates(struct tp_lane *l);

/* ---- putting (post.c) ---- */

void verbs_put(struct tp_lane *l, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token);
void post_puts(struct tp_lane *l);                                           /* what is queued, onto the lane's connection */
int post_receives(struct conn *c);                                           /* all that are unposted; 0 or errno */
int post_control(struct conn *c, const struct verbs_control *m, size_t len); /* 0, EBUSY: all buffers are under way, or errno */
void post_acked(struct tp_lane *l, uint32_t upto);
void post_control_arrived(struct conn *c, const unsigned char bytes[VERBS_CONTROL_BYTES], size_t len); /* len: may be more, or less */
void post_answer(struct tp_lane *l);
size_t post_area_bytes(uint32_t recv_cap);
unsigned char *post_recv_buffer(const struct conn *c, uint32_t i, uint32_t *len);

/* ---- the CM (cm.c) ---- */

struct stranger {
  struct rdma_cm_id *id; /* NULL: free */
  struct rail *rail;
  struct verbs_hello hello;
  uint64_t since;
};

void cm_events(struct tp *tp);
void cm_time(struct tp *tp, uint64_t now_ns);
void cm_claim(struct tp_lane *l);                                /* a lane was opened: perhaps its peer has asked already */
void cm_reject(struct rdma_cm_id *id, enum verbs_reject reason); /* and destroys it */
void cm_forget_rail(struct tp *tp, const struct rail *r);
void cm_fini(struct tp *tp);

/* ---- words (explain.c) ---- */

const char *explain_wc(const struct ibv_wc *wc, int receiving, char *buf, size_t cap);
const char *explain_cm(enum rdma_cm_event_type event, int status, char *buf, size_t cap);
const char *explain_reject(int reason);
#define VERBS_REJ_SERVICE 8                                /* reasons of the CM's own (InfiniBand's numbers): nobody listens there */
#define VERBS_REJ_STALE 10                                 /* it remembers an earlier connection of this queue pair number */
enum verbs_fault explain_fault(enum ibv_wc_status status); /* whom a failed completion speaks against */
int explain_memory(agg_error_t *err, int errno_value, size_t bytes, const struct rail *r); /* why memory cannot be registered */
/* A call about a connection that is being made has failed: AGG_EPEER where the peer has withdrawn, else AGG_ESYS. */
int explain_cm_call(agg_error_t *err, int errno_value, const struct rail *r, const char *what);
const char *explain_host(const struct sockaddr *sa, int with_port, char *buf, size_t cap);

/* ---- the transport ---- */

struct conn_slot {
  struct conn *conn;
  uint16_t generation;
};

struct tp {
  const struct log *log;
  struct {
    uint64_t stranger_ns, dial_ns, wait_ns, try_ns, probe_ns, move_ns, port_ns, home_ns; /* VERBS_..._NS; tests make them shorter */
  } limits;
  struct log_gate gate;
  struct {
    int32_t traffic_class, service_level;
    uint32_t mtu; /* bytes; 0: the port's */
    uint8_t ack_timeout, retry_count;
  } set;
  int epfd, timer_fd;
  uint64_t timer_at; /* UINT64_MAX: not set */
  struct rdma_event_channel *channel;
  struct rail rails[VERBS_RAILS_MAX];
  unsigned n_rails;
  struct domain *domains;
  struct tp_mr *regions;
  struct tp_lane *lanes, *dirty;
  struct tp_lane *ready_head, *ready_tail;
  uint32_t n_busy; /* lanes that are connecting or moving: events are looked for at every poll */
  struct conn_slot *conns;
  uint32_t conns_cap;
  struct stranger strangers[VERBS_STRANGERS_MAX];
  uint32_t n_strangers;
  uint32_t polls;
  uint8_t armed, said_no_barrier;
};

void verbs_progress(struct tp *tp);  /* takes what the completion queues have; tells nothing */
void verbs_ready(struct tp_lane *l); /* it has something to tell */
void verbs_unready(struct tp_lane *l);
void verbs_timer_by(struct tp *tp, uint64_t when_ns);
int verbs_watch(struct tp *tp, int fd, uint64_t what); /* 0 or errno */
void verbs_unwatch(struct tp *tp, int fd);
uint64_t verbs_mtu_bytes(unsigned mtu);            /* of enum ibv_mtu */
int verbs_conn_add(struct tp *tp, struct conn *c); /* gives it index and generation; AGG_ENOMEM, AGG_ELIMIT */
void verbs_conn_remove(struct tp *tp, struct conn *c);
struct conn *verbs_conn_of(struct tp *tp, uint64_t wr_id); /* NULL: gone */

#endif
