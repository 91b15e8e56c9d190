/*
 * The conformance suite: every sentence of transport/transport.h, run against any transport. Both ends live in one process, in tps
 * that are polled in turn. A program in tests/conform says which transport:
 *
 *   static void config(struct tp_config *c) { c->bind_host = "127.0.0.1"; }
 *   static const struct conform conform = {.ops = &tp_tcp, .config = config};
 *   Suite *make_suite(void) { return conform_suite(&conform); }
 *
 * and may add cases of its own, written with the same tools (the rest of this header).
 */
#ifndef TESTS_CONFORM_H
#define TESTS_CONFORM_H

#include <check.h>

#include "base/util.h"
#include "transport.h"

struct conform {
  const struct tp_ops *ops;
  void (*begin)(void);                 /* before a test opens its first tp; or NULL */
  void (*end)(void);                   /* after it has closed the last; or NULL */
  void (*config)(struct tp_config *c); /* fills what the transport needs; all else is zero or "" */
  void (*advance)(void);               /* called whenever a round of polls brought nothing; or NULL */
  int no_sleep;                        /* fd() is not a real descriptor: the tests that sleep in epoll are left out */
  int by_segment;   /* of a put that is refused, what lies within the region may have been written: the NIC checks segment by segment */
  int slow_to_drop; /* a connection attempt that is given up is waited for, for seconds: two of the tests of that are left */
};

Suite *make_suite(void); /* the program gives it: see tests/lib/main.c */
Suite *conform_suite(const struct conform *c);
/* The struct that was given to conform_suite. */
const struct conform *conform_current(void);
void conform_use(const struct conform *c);

/* ---- ends: a tp each, all of them polled by turn() ---- */

#define CONFORM_ENDS 8

struct end {
  struct tp *tp;
  unsigned char address[TP_ADDRESS_MAX];
  size_t address_len;
};

void conform_setup(void);    /* checked fixtures: no ends, descriptors counted */
void conform_teardown(void); /* closes what is open and compares the descriptors */

struct end *end_open(void);
void end_close(struct end *e); /* tp and all */
/* Polls every end once, with a changing number of events at most; returns the number of events. */
int turn(void);
/* From here on turn() first sleeps in epoll on the ends' descriptors when all ends say that nothing is pending. */
void turn_sleeping(int on);

/* Turns until cond; fails after 20 s. */
#define UNTIL(cond)                                                                               \
  do {                                                                                            \
    uint64_t until_end_ = clock_now_ns() + 20000000000ull;                                        \
    while (!(cond)) {                                                                             \
      if (turn() == 0 && clock_now_ns() > until_end_) ck_abort_msg("waited 20 s for: %s", #cond); \
    }                                                                                             \
  } while (0)
/* Turns until nothing has happened for a while: for showing that something does NOT happen. Depends on no particular time. */
void settle(void);

/* ---- lanes: what has happened on each ---- */

#define CONFORM_SEEN 4096

struct lane {
  struct end *end;
  struct tp_lane *lane;
  int connected, lost, fenced;
  struct tp_raddr window; /* the peer's */
  char text[512];         /* of TP_LOST */
  char over[256];         /* of TP_CONNECTED */
  uint32_t notices, sents;
  struct {
    uint32_t notice, bytes;
  } notice[CONFORM_SEEN]; /* the last ones: at index n mod CONFORM_SEEN */
  uint64_t sent[CONFORM_SEEN];
  void (*on_notice)(struct lane *l, uint32_t notice, uint32_t bytes); /* called at once; or NULL */
  void (*on_sent)(struct lane *l, uint64_t token);
  void *data;
};

struct mem;
struct lane_options {
  uint32_t depth; /* 0: 16 */
  uint64_t domain;
  uint32_t index;
  const struct mem *window; /* NULL: none */
  size_t window_off;
};

void ticket_of(uint32_t number, unsigned char ticket[TP_TICKET_BYTES]);
/* Opens one end of a lane to `peer`. */
void lane_open(struct lane *l, struct end *e, const struct end *peer, uint32_t ticket, int active, const struct lane_options *options);
void lane_close(struct lane *l);
/* Opens both ends and waits until they are connected. `a` is active. */
void lanes_connect(struct lane *a, struct end *ea, struct lane *b, struct end *eb, uint32_t ticket, const struct lane_options *options);
/* Shows that the lane works in both directions. */
void lanes_alive(struct lane *a, struct lane *b);

/* ---- memory: registered, between guards that are checked ---- */

struct mem {
  struct end *end;
  unsigned char *at;
  size_t len;
  struct tp_mr *mr;
  unsigned char *map; /* with the guards */
  size_t map_len;
  int fd; /* -1: plain memory */
};

enum { MEM_PLAIN = 0, MEM_BACKED = 1 }; /* what a memfd backs can be mapped by peers on the host */

void mem_open(struct mem *m, struct end *e, size_t len, int backed, uint64_t domain);
void mem_close(struct mem *m);
void mem_forget(struct mem *m); /* the same where its tp, and so the registration, is gone already */
void mem_check_guards(const struct mem *m);
/* How the peer of this lane, an end of which lies where the memory does, names the place. */
struct tp_raddr mem_raddr(const struct lane *l, const struct mem *m, size_t off);
/* The byte that pattern `seed` has at index i; fill and compare a range. */
unsigned char pattern(uint32_t seed, size_t i);
void pattern_fill(void *at, size_t len, uint32_t seed);
void pattern_check(const void *at, size_t len, uint32_t seed);
void byte_check(const void *at, size_t len, unsigned char byte); /* all are `byte`: nothing was written */

/* Puts `len` bytes of `from` (registered) in one piece. */
void put_one(struct lane *l, const struct mem *from, size_t off, size_t len, struct tp_raddr dst, uint32_t notice, uint64_t token);
/* In two pieces, the first `head` bytes from a place that is overwritten as soon as put has returned. */
void put_two(struct lane *l, const struct mem *from, size_t off, size_t head, size_t len, struct tp_raddr dst, uint32_t notice,
             uint64_t token);

/* ---- the usual pair: two ends, a lane, a region at each end ---- */

struct pair {
  struct end *a, *b;
  struct lane la, lb;
  struct mem ma, mb; /* source at a, target at b (and the other way round); each end's window names its region */
};
void pair_open(struct pair *p, size_t bytes, int backed, const struct lane_options *options);
void pair_close(struct pair *p);

/* The parts of the suite. */
void conform_add_connect(Suite *s);
void conform_add_put(Suite *s);
void conform_add_lost(Suite *s);
void conform_add_fence(Suite *s);
void conform_add_sleep(Suite *s);

#endif
