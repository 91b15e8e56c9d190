/*
 * The insides of the tcp transport, shared by its files. One thread at a time calls all of it.
 *
 *   tcp.c     open, close, poll: who gets a turn         mem.c   registered memory and its keys
 *   accept.c  strangers, until a ticket names a lane     lane.c  a lane's life: open, connected, lost, fenced, closed
 *   dial.c    the active end, until it is welcomed       tx.c    puts out,   rx.c  puts in
 *
 * A tp keeps a list of the lanes that may have something to do (`ready`); epoll (edge-triggered for lanes) only puts lanes on it. Each poll
 * gives every lane on the list one bounded turn.
 */
#ifndef TCP_INTERNAL_H
#define TCP_INTERNAL_H

#include "address.h"
#include "base/log.h"
#include "base/net.h"
#include "wire.h"

#define TCP_STRANGERS_MAX 64
#define TCP_STRANGER_NS 5000000000u /* what a connection that has named no lane of ours may live */
#define TCP_DIAL_NS 10000000000u    /* the active end's time to be welcomed */
#define TCP_WAIT_NS 20000000000u    /* the passive end's: longer, so that the end that knows more reports first */
#define TCP_DEAD_HOST_S 30          /* a live peer that is stopped must not be lost; dead hosts are noticed by the control plane, sooner */
#define TCP_INLINE_MAX 64           /* piece 0 of two, or a small single piece, is kept with its frame */
#define TCP_STAGE_BYTES 16384       /* read behind a payload: the next frames and the small puts */
#define TCP_TURN_BYTES (1u << 20)   /* one lane's share of a poll, each way */
#define TCP_GATHER 32               /* puts in one system call */
#define TCP_TEXT_MAX 320

/* What an epoll entry points to. */
enum watch_kind { WATCH_LISTEN, WATCH_TIMER, WATCH_STRANGER, WATCH_LANE };
struct watch {
  enum watch_kind kind;
};

/* ---- registered memory (mem.c) ---- */

struct tp_mr {
  struct tp *tp;
  char *addr;
  size_t len;
  uint64_t domain;
  uint32_t key;
};

struct mr_slot {
  struct tp_mr *mr;    /* NULL: free */
  struct tp_mr *spare; /* memory for the next one while it is free: operations register without allocating */
  uint32_t generation; /* of the next key, never 0 */
  uint32_t next_free;
};

struct mr_table {
  struct mr_slot *slots;
  uint32_t cap, used;            /* slots below `used` were given out at least once */
  uint32_t free_head, free_tail; /* first in, first out, so that a key comes back late */
};

int tcp_mem_reg(struct tp *tp, const struct tp_mem *mem, struct tp_mr **mr, agg_error_t *err);
void tcp_mem_dereg(struct tp *tp, struct tp_mr *mr);
struct tp_raddr tcp_raddr(struct tp_lane *lane, const struct tp_mr *mr, const void *ptr); /* the same for every lane: NULL will do */
void tcp_mem_fini(struct tp *tp);
/* The region that (at, len) lies in and that a peer of `domain` may write; NULL otherwise, and *why says it. */
struct tp_mr *tcp_mem_find(const struct tp *tp, struct tp_raddr at, uint64_t len, uint64_t domain, const char **why);

/* ---- lanes ---- */

/*
 *   DIALING --connected--> GREETING --welcome--> UP --+--> LOST
 *      ^---- tried again ------'                      |
 *   WAITING --ticket seen---------------------> UP    '--> FENCED
 *
 * DIALING waits for the kernel (or for the next try), GREETING for the peer's welcome, WAITING for a stranger with the ticket; each state
 * may become LOST (the time is over) or FENCED. LOST and FENCED stay until lane_close.
 */
enum lane_state { LANE_DIALING, LANE_GREETING, LANE_WAITING, LANE_UP, LANE_LOST, LANE_FENCED, LANE_STATES };

/* A put that the kernel has not taken whole yet. */
struct put {
  unsigned char head[TCP_FRAME_BYTES + TCP_INLINE_MAX];
  uint32_t head_len;
  size_t len; /* of the rest, at base */
  const void *base;
  uint64_t token;
};

struct tp_lane {
  struct watch watch;
  uint8_t state;
  uint8_t hup; /* the kernel said that the stream ends: read until it does */
  uint8_t can_read, can_write;
  uint8_t say_connected, say_lost; /* an event that poll owes */
  struct tp *tp;
  int fd; /* -1: none */
  uint32_t depth;
  uint64_t domain;
  void *user;
  struct tp_raddr peer_window;

  struct put *puts; /* ring of depth */
  uint32_t put_head, put_count;
  size_t put_done;  /* bytes of the head put that the kernel took */
  uint64_t *tokens; /* ring of depth: taken by the kernel, not reported */
  uint32_t token_head, token_count;
  uint32_t tokens_queued; /* of puts in the ring: with token_count at most depth */

  struct tp_mr *rx_mr; /* where the payload that is being read goes; NULL between payloads */
  char *rx_at;
  uint64_t rx_left;
  uint32_t rx_notice, rx_bytes;
  uint8_t rx_held; /* stopped because there was no room for events */
  uint32_t stage_head, stage_tail;
  unsigned char stage[TCP_STAGE_BYTES];

  struct tp_lane *ready_next;
  uint8_t in_ready;
  struct tp_lane *prev, *next;                 /* all lanes of the tp */
  struct tp_lane *opening_prev, *opening_next; /* lanes that are not up yet */
  uint8_t in_opening;

  /* only until the lane is up */
  unsigned char ticket[TP_TICKET_BYTES];
  struct tp_raddr window;
  uint64_t give_up_at, retry_at; /* retry_at 0: a try is under way */
  struct net_addr addrs[TCP_ADDRS_MAX];
  int n_addrs, next_addr;
  uint32_t backoff_ms;
  uint32_t greeted; /* bytes of the greeting sent */
  uint32_t answered;
  unsigned char greeting[TCP_HELLO_BYTES];

  int tx_errno; /* writing failed: what was read before is still delivered */
  char text[TCP_TEXT_MAX];
  char peer[80]; /* "10.0.0.1:4000", for texts */
};

/* A connection that has not named a lane of ours yet. */
struct stranger {
  struct watch watch;
  int fd; /* -1: free */
  uint64_t since, order;
  uint32_t got;
  unsigned char greeting[TCP_HELLO_BYTES];
  struct tcp_hello hello; /* valid when got is TCP_HELLO_BYTES: its lane is not there yet */
  char peer[80];
};

struct tp {
  const struct log *log;
  struct {
    uint64_t stranger_ns, dial_ns, wait_ns; /* TCP_STRANGER_NS ...; tests make them shorter */
  } limits;
  struct log_gate gate;
  int epfd, listen_fd, timer_fd;
  struct watch listen_watch, timer_watch;
  int listen_paused; /* out of descriptors: accepting goes on when the timer says so */
  uint64_t timer_at; /* UINT64_MAX: not set */
  struct net_addr adv[TCP_ADDRS_MAX];
  int n_adv;
  uint16_t port;

  struct mr_table mem;
  struct tp_lane *lanes, *opening;
  struct tp_lane *ready_head, *ready_tail;
  uint32_t n_ready;
  uint32_t n_strangers;
  uint64_t stranger_order;
  struct stranger strangers[TCP_STRANGERS_MAX];
};

/* Where poll's events go. */
struct sink {
  struct tp_event *at;
  int n, max;
};

/* tcp.c */
void tcp_ready(struct tp_lane *l); /* the lane gets a turn in the next poll */
void tcp_unready(struct tp_lane *l);
void tcp_timer_by(struct tp *tp, uint64_t when_ns);                     /* wakes at `when` at the latest */
int tcp_watch(struct tp *tp, int fd, uint32_t events, struct watch *w); /* 0 or errno */

/* lane.c */
int tcp_lane_open(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err);
void tcp_lane_close(struct tp_lane *l);
int tcp_lane_fence(struct tp_lane *l);
int tcp_lane_shut(const struct tp_lane *l);
void tcp_lane_move(struct tp_lane *l, enum lane_state next);
void tcp_lane_up(struct tp_lane *l, struct tp_raddr peer_window);
void tcp_lane_lost(struct tp_lane *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tcp_lane_turn(struct tp_lane *l, struct sink *out);
const char *tcp_reason(int errno_value, char *buf, size_t cap); /* in words, for texts */

/* tx.c */
void tcp_put(struct tp_lane *l, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token);
void tcp_tx(struct tp_lane *l);
void tcp_tx_report(struct tp_lane *l, struct sink *out);

/* rx.c */
void tcp_rx(struct tp_lane *l, struct sink *out);

/* dial.c */
void tcp_dial(struct tp_lane *l);                       /* starts the next try */
void tcp_dial_turn(struct tp_lane *l);                  /* something happened on the socket */
void tcp_dial_time(struct tp_lane *l, uint64_t now_ns); /* retry, or give up */

/* accept.c */
void tcp_accept(struct tp *tp);
void tcp_stranger_turn(struct tp *tp, struct stranger *s);
void tcp_strangers_time(struct tp *tp, uint64_t now_ns);
void tcp_strangers_claim(struct tp_lane *l); /* a lane was opened: perhaps its peer is here already */
void tcp_strangers_fini(struct tp *tp);

#endif
