/* Insides of the simulator, shared by world.c (clock, heap, nodes, trace), tp.c (transports and memory) and lane.c (lanes and puts). */
#ifndef TRANSPORT_SIM_INTERNAL_H
#define TRANSPORT_SIM_INTERNAL_H

#include "sim.h"

#define SIM_TRACE_LINES 256u
#define SIM_HEADER_MAX 64u

enum sim_event_kind { SIM_LAND, SIM_SENT, SIM_CONNECT, SIM_LOST, SIM_POLL, SIM_CALL, SIM_WAKE };

struct sim_event {
  uint64_t at, seq;
  enum sim_event_kind kind;
  void (*fn)(void *user); /* SIM_CALL */
  void *subject;          /* put, lane, node or user */
};

struct sim_trace_line {
  uint64_t at;
  uint32_t node;
  const char *text;
  uint64_t a, b, c;
};

struct sim_node {
  uint32_t number;
  void (*ready)(void *user);
  void *user;
  struct tp *tps; /* linked by next_of_node */
  uint64_t tx_free, rx_free;
  uint64_t paused_until;
  int poll_planned, killed;
};

struct tp_mr {
  struct tp *tp;
  struct tp_mem mem;
  uint32_t key;
};

struct tp {
  struct sim_world *world;
  struct sim_node *node;
  uint32_t number, caps;
  int closed, efd;
  struct tp_mr **mrs; /* by key - 1; never reused */
  uint32_t n_mrs, cap_mrs;
  struct tp_event *inbox; /* ring */
  uint32_t inbox_cap, inbox_head, inbox_len;
  struct tp_lane *lanes;
  struct tp *next_of_node;
};

enum sim_lane_state { SIM_LANE_WAITING, SIM_LANE_CONNECTING, SIM_LANE_UP, SIM_LANE_LOST, SIM_LANE_CLOSED };

struct tp_lane {
  struct tp *tp;
  struct tp_lane *peer; /* NULL until both ends are there */
  struct tp_lane *next; /* of the tp */
  struct tp_lane_config config;
  struct tp *target;      /* active end: whom it connects to */
  struct tp_raddr window; /* own, told to the peer */
  enum sim_lane_state state;
  uint32_t outstanding;
  uint64_t tx_free, last_land, last_sent, connected_at;
  struct sim_put *first, *last; /* not landed yet, oldest first */
  int fencing;
  uint64_t fenced_from; /* valid when fencing */
  char lost_text[160];
};

struct sim_put {
  struct tp_lane *lane;
  struct sim_put *next;
  struct tp_src src[TP_IOV_MAX];
  uint32_t src_key[TP_IOV_MAX]; /* 0: not registered */
  int pieces, dropped;
  unsigned char *held; /* copied bytes: a header of two pieces in `header`, or all after the sender has let go */
  size_t bytes;
  uint64_t hash; /* of the bytes that are read late */
  struct tp_raddr dst;
  uint32_t notice;
  uint64_t token;
  unsigned char header[SIM_HEADER_MAX]; /* last: a new put is zeroed up to here */
};

struct sim_world {
  struct sim_config config;
  struct rng rng;
  uint64_t now, steps, seq;
  struct sim_event *heap;
  size_t heap_len, heap_cap;
  struct sim_node **nodes;
  uint32_t n_nodes;
  struct tp **tps;
  uint32_t n_tps;
  struct sim_put *free_puts;
  struct sim_trace_line trace[SIM_TRACE_LINES];
  uint64_t traced;
  char violation[256];
};

/* world.c. Memory that the simulator lacks ends the process: it is a test instrument. */
void *sim_alloc(size_t bytes);
void *sim_grow(void *ptr, size_t bytes);
void sim_plan(struct sim_world *w, uint64_t at, enum sim_event_kind kind, void *subject);
uint64_t sim_draw(struct sim_world *w, uint64_t up_to); /* 0 .. up_to */
void sim_violate(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_wake_node(struct sim_node *node);

/* tp.c */
void sim_tp_push(struct tp *tp, const struct tp_event *event);
void sim_tp_free(struct tp *tp);
int sim_tp_pending(const struct tp *tp);
struct tp_raddr sim_tp_raddr(struct tp_lane *lane, const struct tp_mr *mr, const void *ptr);
/* The bytes that the address names to the peer of a lane of this domain, or NULL when they are not inside one range registered for it. */
void *sim_tp_resolve(const struct tp *tp, uint64_t domain, struct tp_raddr at, size_t len);
struct tp *sim_tp_of_address(struct sim_world *w, const void *address, size_t len);

/* lane.c */
void sim_land(struct sim_put *put);
void sim_sent(struct sim_put *put);
void sim_connected(struct tp_lane *lane);
void sim_lost(struct tp_lane *lane);
void sim_lanes_killed(struct tp *tp);
int sim_lane_open(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err);
void sim_lane_close(struct tp_lane *lane);
void sim_lane_put(struct tp_lane *lane, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token);
void *sim_lane_map(struct tp_lane *lane, struct tp_raddr at, size_t len);
int sim_lane_fence(struct tp_lane *lane);
int sim_lane_shut(const struct tp_lane *lane);

#endif
