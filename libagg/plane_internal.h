/* Insides of a plane, shared by plane.c (life, lanes, events) and plane_exec.c (carrying out actions). */
#ifndef LIBAGG_PLANE_INTERNAL_H
#define LIBAGG_PLANE_INTERNAL_H

#include "mem/host.h"
#include "plane.h"

/* What the plane remembers of a landed contribution until its result has gone down. */
struct plane_slot {
  const void *payload;    /* in the slot, or in the child's memory */
  struct tp_raddr result; /* where the child wants its result */
  uint8_t in_place;       /* the fold has written the result there already */
  uint8_t in_slot;        /* the fold has written the result into the slot's payload, for the child to take from there */
};

struct plane_lane {
  struct plane *plane;
  uint32_t peer;
  unsigned tp;
  const struct tp_ops *ops;
  struct tp_lane *lane;
  uint8_t connected, lost;
  uint32_t unsent, up_unsent; /* puts not yet reported sent: results, contributions */
  struct tp_raddr window;     /* own slots at the peer */
  unsigned char *slots;       /* the peer's slots here; NULL when it is no child */
  struct plane_slot *landed;  /* window of them, likewise */
  struct mem_block bounce;    /* lanes to a parent over a transport that needs registered memory: window pieces of a chunk, by slot */
  struct tp_mr *bounce_mr;    /* of bounce */
  char *why;                  /* text of the loss; allocated then (a failure path) */
};

/* An operation in this plane. */
struct plane_slot_op {
  struct plane_op *op;
  struct tp_mr *own_mr[PLANE_TPS_MAX]; /* of recv, registered here for the operation */
};

struct plane {
  struct plane_config config;
  struct node *node;
  uint32_t nodes;
  uint8_t *roles;           /* by node: NODE_PARENT, NODE_CHILD */
  char **names;             /* by node; NULL where not given */
  struct plane_lane *lanes; /* by index */
  uint32_t n_lanes, n_neighbours, n_connected;
  uint32_t *lane_of; /* node -> index in lanes, or FOREST_NONE */

  struct mem_block block;                /* windows of all children, then scratch */
  struct tp_mr *block_mr[PLANE_TPS_MAX]; /* with transports that have lanes */
  size_t stride;                         /* of a slot */
  unsigned char *scratch;
  size_t scratch_stride;

  /* room for one fold, by child */
  const void **inputs, **shifted;
  void **targets;
  struct plane_lane **target_lanes;

  struct plane_slot_op ops[NODE_OPS_MAX];
  uint8_t stopped;
  struct plane_stats stats;
  struct plane_where where;
};

#define NODE_NAME_MAX 192
#define FOLD_INPUTS_INLINE 16
#define TOKEN_UP (1ull << 32) /* tokens of contributions: this and the slot; of results: chunk context + 1 */

/* plane.c */
void plane_run(struct plane *p); /* carries out actions until the engine has none */
void plane_fault(struct plane *p, enum plane_fault fault, int code, uint32_t peer, uint32_t op, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
const char *plane_node_name(const struct plane *p, uint32_t node, char *buf, size_t cap);
static inline struct plane_lane *plane_lane_to(const struct plane *p, uint32_t peer) {
  uint32_t i = peer < p->nodes ? p->lane_of[peer] : FOREST_NONE;
  return i == FOREST_NONE ? NULL : &p->lanes[i];
}
static inline struct plane_op *plane_find_op(const struct plane *p, uint32_t seq) { return p->ops[seq % NODE_OPS_MAX].op; }

/* plane_exec.c */
void plane_fold(struct plane *p, uint32_t ctx);
void plane_send_up(struct plane *p, const struct node_action *a);
void plane_send_down(struct plane *p, const struct node_action *a);
/* A result of so many bytes has landed for the chunk in this slot of the parent at the lane's other end. Before node_down. */
void plane_result_landed(struct plane *p, const struct plane_lane *l, uint32_t slot, uint32_t bytes);
/* Whether memory that was not registered cannot be source or target of lanes over this transport without cost: it goes through memory that
 * the plane has registered. */
static inline int plane_bounces(const struct tp_ops *ops) {
  return (ops->caps & TP_CAP_ANY_SOURCE) == 0 || (ops->caps & TP_CAP_CHEAP_REG) == 0;
}

#endif
