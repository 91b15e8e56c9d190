/*
 * Shared memory between processes of one host (or two transports of one process): structures and functions that the files of this folder
 * share. A lane is a unix socket (to meet, to pass descriptors, to ring, to notice death) and a memfd with two rings (see layout.h).
 *
 *   tp.c      the transport: open, close, poll, sleep           put.c   sending: choice of path, queue, publishing
 *   lane.c    a lane's life: meet, connect, fence, lose         take.c  receiving: checks, copies, notices
 *   guest.c   accepted sockets whose lane is not known yet      region.c own memory: keys, announcing it
 *   sock.c    socket calls with one descriptor attached         view.c  peers' memory: mapping what they announced
 *   host.c    who can reach whom; lives of peer processes       mem.c   a lane's shared memory: making and checking it
 */
#ifndef TRANSPORT_SHM_SHM_H
#define TRANSPORT_SHM_SHM_H

#include <sys/types.h>

#include "base/state.h"
#include "layout.h"
#include "transport.h"

#define SHM_DEPTH_MAX 65536u
#define SHM_REGIONS_MAX 65535u /* the index is the lower half of a key */
#define SHM_VIEWS_MAX 4096u    /* regions of one peer seen through one lane */
#define SHM_KEPT_MAX 256u      /* withdrawn regions that stay mapped for users of map() */
#define SHM_BLOCK (16u << 10)  /* written between two looks at the gate: about a microsecond */
#define SHM_SMALL (16u << 10)  /* up to here two copies are cheaper than one by process_vm_readv */
#define SHM_GUESTS_MAX 1024u   /* sockets without a lane: two descriptors each */
#define SHM_GUEST_NS 5000000000ull
#define SHM_CONNECT_NS 10000000000ull /* the active end's time to be welcomed */
#define SHM_WAIT_NS 20000000000ull    /* the passive end's: longer, so that the end that knows more reports first */
#define SHM_LOOK_TURNS 256u           /* polls between two looks at the sockets: microseconds when spinning, less than 1 % of the time */
#define SHM_LOOK_TURNS_SETUP 16u      /* while lanes connect */
#define SHM_NAME_BYTES 36u            /* "agg-" and 32 hexadecimal digits */
#define SHM_TEXT_MAX 256

/* What a put does with its bytes. Tests force one with shm_force_path. */
enum shm_path { SHM_PATH_AUTO, SHM_PATH_INLINE, SHM_PATH_DIRECT, SHM_PATH_REGION, SHM_PATH_PRIVATE, SHM_PATH_BOUNCE };

/* What a transport tells of itself. Native byte order: only processes of the same boot of the same machine read past `boot`. */
struct shm_address {
  uint32_t magic;
  uint32_t version;
  char boot[36];                 /* the kernel's boot id */
  uint32_t pid;                  /* for messages only */
  uint64_t netns_dev, netns_ino; /* abstract sockets live in a network namespace */
  char name[SHM_NAME_BYTES];
  uint32_t reserved;
};
_Static_assert(sizeof(struct shm_address) == 104 && sizeof(struct shm_address) <= TP_ADDRESS_MAX, "layout");

/* A descriptor in the transport's epoll; embedded first in its owner. */
enum shm_watch_kind { SHM_WATCH_LISTEN, SHM_WATCH_TIMER, SHM_WATCH_GUEST, SHM_WATCH_LANE, SHM_WATCH_PROC };
struct shm_watch {
  enum shm_watch_kind kind;
  int fd; /* -1: none */
};

/* A peer process; lanes to it share one descriptor. Its end is noticed even when a forked child keeps the sockets open. */
struct shm_proc {
  struct shm_watch watch; /* a pidfd, or -1 where the kernel has none */
  pid_t pid;
  int dead;
  unsigned refs;
  struct shm_proc *next;
};

/* A file of a peer mapped here, once, however many lanes announce it. */
struct shm_map {
  uint64_t dev, ino, off; /* off: page aligned */
  size_t len;
  void *base;
  unsigned refs;
  struct shm_map *next;
};

/* A peer's region as seen through one lane. */
struct shm_view {
  uint32_t key;
  int handed;          /* map() has given out a pointer into it */
  struct shm_map *map; /* one reference */
  unsigned char *base;
  uint64_t len;
  struct shm_view *next; /* among the kept */
};

/* Own memory. free -> live -> (announced ones) withdrawn -> free. */
enum shm_mr_state { SHM_MR_FREE, SHM_MR_LIVE, SHM_MR_WITHDRAWN };
struct tp_mr {
  uint32_t key; /* generation << 16 | index; the generation is never 0 */
  uint32_t state;
  unsigned char *base;
  uint64_t len;
  uint64_t domain;
  int fd; /* the caller's; -1: not announced */
  uint64_t fd_off;
  uint64_t seq;              /* number of the message that announces or withdraws it */
  struct tp_mr *next, *prev; /* in exports (by seq) or in the free list (next) */
};

/* A lane's memory, mapped. */
struct shm_mem {
  void *base; /* NULL: none */
  size_t bytes;
  uint32_t ring; /* entries a direction, a power of two */
  struct shm_side *own, *peer;
  struct shm_entry *out, *in;
  unsigned char *bounce_out;
  const unsigned char *bounce_in;
};

/* A put from the call until it is reported sent. */
struct shm_put {
  uint64_t token;
  struct tp_raddr dst;
  const unsigned char *base; /* the caller's until sent */
  struct tp_mr *mr;
  uint32_t len, done; /* payload behind the head; published so far (bounce) */
  uint32_t notice;
  uint32_t end; /* once published: position behind its last entry */
  uint8_t path;
  uint8_t by_ref; /* complete when the peer has consumed it, not when it is published */
  uint8_t head_len;
  unsigned char head[64];
};

/*
 * Lane:   CONNECTING --hello--> GREETED --welcome--> OPEN --> LOST
 *              ^----- again -------'                  ^
 *         WAITING (passive) ------------hello---------'        every state --> LOST
 * CONNECTING waits for room in the peer's backlog, GREETED and WAITING for the other end.
 */
enum shm_lane_state { SHM_LANE_CONNECTING, SHM_LANE_GREETED, SHM_LANE_WAITING, SHM_LANE_OPEN, SHM_LANE_LOST, SHM_LANE_STATES };

struct tp_lane {
  struct shm_watch watch; /* the socket */
  struct tp *tp;
  uint32_t index; /* in tp->lanes */
  uint8_t state;
  uint8_t eof;       /* the peer's end is gone */
  uint8_t fenced;    /* fence() was called: nothing is taken or put any more */
  uint8_t told;      /* TP_CONNECTED, then TP_LOST given to the user: 1, 2 */
  uint8_t wants_out; /* region messages wait for room in the socket */
  uint8_t announced; /* some region was announced: the peer may write without us */
  uint8_t active;
  uint64_t until_ns;            /* while it is not open: then it is given up */
  uint32_t dials;               /* connects tried */
  struct tp_lane_config config; /* peer_address is not kept */
  char peer_name[SHM_NAME_BYTES];
  struct tp_raddr window, peer_window;
  pid_t peer_pid;
  struct shm_proc *proc;
  struct shm_mem mem;

  struct shm_put *puts; /* ring of puts_mask + 1 */
  uint32_t puts_mask;
  uint32_t put_head, put_pushed, put_tail; /* reported <= published <= posted */
  uint32_t out_pos, out_consumed;
  uint32_t bounce_tail, bounce_head;
  uint32_t *bounce_end; /* of each entry in flight: bounce_head once it is consumed */

  uint32_t in_pos, in_told;
  uint8_t in_tell;     /* the producer waits for `consumed` */
  uint64_t in_partial; /* bytes of the put that goes on */

  uint64_t next_seq;       /* first own region message that was not sent */
  uint64_t changes_seen;   /* last region message of the peer that was handled */
  struct shm_view **views; /* by index of the key */
  uint32_t views_cap, views_n, kept_n;
  struct shm_view *kept;
  char text[SHM_TEXT_MAX];
};

/* An accepted socket whose lane is not known: it has not said hello, or nobody has opened its lane yet. */
struct shm_guest {
  struct shm_watch watch;
  struct shm_guest *next;
  uint64_t until_ns;
  pid_t pid;
  int greeted; /* hello holds, with mem_fd */
  int gone;    /* to be reaped */
  int mem_fd;
  struct shm_msg hello;
};

struct tp {
  const struct log *log;
  struct shm_watch listener, timer;
  int epoll_fd;
  uint32_t timer_ms;   /* set interval; 0: off */
  int listener_paused; /* out of descriptors: accepting goes on at the next tick */
  struct shm_address address;
  uint64_t nonce; /* what peers try to read */
  enum shm_path force;
  int armed;
  uint32_t until_look;

  struct tp_lane **lanes;
  uint32_t n_lanes, cap_lanes, rotor;
  uint32_t n_setup;         /* lanes that are not open yet */
  struct shm_guest *guests; /* oldest first */
  uint32_t n_guests;
  struct log_gate guest_gate;
  struct shm_proc *procs;
  struct shm_map *maps;

  struct tp_mr **mr_pages;              /* of SHM_MR_PAGE regions, never moved */
  uint32_t n_mr;                        /* slots made */
  struct tp_mr *mr_free, *mr_free_last; /* oldest first, so that generations last */
  struct tp_mr *exports, *exports_last; /* announced or withdrawn regions, by seq */
  uint64_t last_seq;
};
#define SHM_MR_PAGE 64u

extern const struct tp_ops tp_shm;

/* For tests: every later put of this end takes this path where it is possible. */
void shm_force_path(struct tp *tp, enum shm_path path);

/* tp.c ---------------------------------------------------------------------------------------------------------------------- */
int shm_watch_add(struct tp *tp, struct shm_watch *w, uint32_t events);
void shm_watch_change(struct tp *tp, struct shm_watch *w, uint32_t events);
void shm_watch_del(struct tp *tp, struct shm_watch *w); /* and closes the descriptor; fine when there is none */
void shm_timer_update(struct tp *tp);

/* sock.c: 0 or -errno, unless said otherwise -------------------------------------------------------------------------------- */
int shm_sock_listen(char name[SHM_NAME_BYTES], int *fd);
int shm_sock_connect(const char name[SHM_NAME_BYTES], int *fd); /* -EAGAIN: the peer's backlog is full */
int shm_sock_accept(int listener, int *fd);
/* Whether the other end may talk to us: same user, or one of us is root; *pid is its process as seen from here (0: not visible). */
int shm_sock_trusted(int fd, pid_t *pid);
int shm_sock_send(int fd, struct shm_msg *msg, enum shm_msg_type type, int pass_fd); /* -EAGAIN: no room */
void shm_sock_bell(int fd);
/* 1: a well-formed message (*passed: a descriptor that came with it, or -1); 0: none there; -1: the other end is gone; -2: not a message of
 * ours. */
int shm_sock_recv(int fd, struct shm_msg *msg, int *passed);

/* host.c -------------------------------------------------------------------------------------------------------------------- */
int shm_host_identify(struct shm_address *a, agg_error_t *err); /* fills all but the name; AGG_ENOTSUP */
const struct shm_address *shm_host_parse(const void *address, size_t len, struct shm_address *copy); /* NULL: malformed */
int shm_host_reach(const struct shm_address *own, const void *address, size_t len);
struct shm_proc *shm_proc_get(struct tp *tp, pid_t pid); /* NULL: not watched (own process, not visible, no pidfds, no memory) */
void shm_proc_put(struct tp *tp, struct shm_proc *p);
void shm_proc_event(struct tp *tp, struct shm_proc *p);
int shm_can_read(pid_t pid, uint64_t at, uint64_t value);
/* Copies from another process: 0 or -errno. */
int shm_read_process(pid_t pid, uint64_t at, void *to, size_t len);

/* mem.c --------------------------------------------------------------------------------------------------------------------- */
uint32_t shm_mem_ring(uint32_t depth);
int shm_mem_create(struct shm_mem *m, uint32_t ring, int *fd, agg_error_t *err);              /* *fd is to be sent and closed */
int shm_mem_accept(struct shm_mem *m, const struct shm_msg *hello, int fd, agg_error_t *err); /* does not take fd */
void shm_mem_unmap(struct shm_mem *m);

/* guest.c ------------------------------------------------------------------------------------------------------------------- */
void shm_guest_accept(struct tp *tp); /* takes all that wait at the listener */
void shm_guest_event(struct tp *tp, struct shm_guest *g);
/* Finds a parked guest with the lane's ticket and connects them. */
void shm_guest_match(struct tp *tp, struct tp_lane *lane);
void shm_guest_resume(struct tp *tp); /* a tick after descriptors ran out */
void shm_guest_reap(struct tp *tp);   /* drops what is gone or too old */
void shm_guest_close_all(struct tp *tp);

/* lane.c -------------------------------------------------------------------------------------------------------------------- */
int shm_lane_open(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err);
void shm_lane_close(struct tp_lane *lane);
int shm_lane_fence(struct tp_lane *lane);
int shm_lane_shut(const struct tp_lane *lane);
/* Takes over the guest's socket and memory; answers. The lane may be lost by it. */
void shm_lane_welcome(struct tp_lane *lane, struct shm_guest *guest);
void shm_lane_retry(struct tp_lane *lane);
/* Reads the socket until it is empty. */
void shm_lane_read(struct tp_lane *lane);
void shm_lane_event(struct tp_lane *lane, uint32_t events);
/* The lane is lost: text for the user. Only the first call counts. */
void shm_lane_fail(struct tp_lane *lane, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int shm_lane_poll(struct tp_lane *lane, struct tp_event *events, int max);
void shm_lane_arm(struct tp_lane *lane);
void shm_lane_disarm(struct tp_lane *lane);
int shm_lane_pending(struct tp_lane *lane);

/* put.c --------------------------------------------------------------------------------------------------------------------- */
void shm_put(struct tp_lane *lane, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token);
void shm_put_push(struct tp_lane *lane); /* publishes what there is room for */
int shm_put_report(struct tp_lane *lane, struct tp_event *events, int max);
int shm_put_reportable(struct tp_lane *lane);
/* Wakes the other end when it sleeps waiting for one of `bits`. The word that it waits for was stored seq_cst before the call. */
void shm_ring_bell(struct tp_lane *lane, uint32_t bits);

/* take.c -------------------------------------------------------------------------------------------------------------------- */
int shm_take(struct tp_lane *lane, struct tp_event *events, int max); /* the lane may be lost by it */
int shm_take_ready(const struct tp_lane *lane);

/* region.c ------------------------------------------------------------------------------------------------------------------ */
int shm_mem_reg(struct tp *tp, const struct tp_mem *mem, struct tp_mr **mr, agg_error_t *err);
void shm_mem_dereg(struct tp *tp, struct tp_mr *mr);
struct tp_raddr shm_raddr(struct tp_lane *lane, const struct tp_mr *mr, const void *ptr); /* the same for every lane: NULL will do */
/* Own memory that a peer named, or NULL: unknown key, another domain, out of bounds. */
unsigned char *shm_region_find(struct tp *tp, uint64_t domain, uint32_t key, uint64_t off, uint64_t len);
void shm_region_welcome(struct tp_lane *lane);  /* tells the gate of a new lane what will be announced */
void shm_region_announce(struct tp_lane *lane); /* sends what the lane was not told, as far as the socket takes it */
int shm_region_sent(const struct tp_lane *lane, const struct tp_mr *mr); /* the peer was told of it */
void shm_region_free_all(struct tp *tp);

/* view.c -------------------------------------------------------------------------------------------------------------------- */
/* NULL when the peer has not announced it, or [off, off + len) is not inside. */
unsigned char *shm_view_find(const struct tp_lane *lane, uint32_t key, uint64_t off, uint64_t len);
void shm_view_add(struct tp_lane *lane, const struct shm_msg *msg, int fd); /* does not take fd; the lane may be lost by it */
void shm_view_remove(struct tp_lane *lane, uint32_t key);
void shm_view_free_all(struct tp_lane *lane);
/* Handles region messages that the gate says have been sent; 1 when none is missing. */
int shm_view_fresh(struct tp_lane *lane);
void *shm_map(struct tp_lane *lane, struct tp_raddr at, size_t len);

#endif
