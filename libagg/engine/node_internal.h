/*
 * Insides of the node, shared by node.c (events and actions), open.c (opening chunks: what a chunk needs before it may start) and
 * check.c (what a contribution must look like).
 */
#ifndef ENGINE_NODE_INTERNAL_H
#define ENGINE_NODE_INTERNAL_H

#include "node.h"

#define NONE UINT32_MAX

/* One slot of the edge from a child: the contribution that has landed there, and the open chunk that it belongs to. */
struct child_slot {
  uint32_t expected; /* edge sequence number that comes next in this slot */
  uint32_t ctx;      /* open chunk, or NONE */
  uint32_t next;     /* id of the same chunk's next child slot, in fold order */
  uint8_t landed;    /* a contribution is there */
  uint8_t up_payload, down_payload;
  /* of the landed contribution */
  uint8_t wants_result;
  uint32_t op, chunk, payload;
  struct op_desc desc;
};

struct child_edge {
  uint32_t peer;
  uint32_t next_seq; /* of the next chunk opened here */
  uint8_t dead;
  struct child_slot *slots; /* window of them, inside node->child_slots */
};

/* One slot at a parent: the chunk that owns it and the one that is next. It is free when its result has landed and the own put was reported
 * sent. */
#define UP_SLOT_BUSY (NONE - 1) /* as owner: its result has landed, but the own put is not reported sent */
struct up_slot {
  uint32_t ctx, waiter;
  uint8_t sent, landed;
};

struct up_edge {
  uint32_t peer;
  uint32_t next_seq;
  uint8_t dead;
  struct up_slot *slots;
};

struct ctx {
  uint8_t state;
  uint32_t up_edge;     /* index, or NONE */
  uint32_t first_child; /* child slot id */
  uint32_t missing;     /* contributions still to come */
  uint32_t server_slot; /* servers: the slot that the chunk has at all children */
  uint32_t sends;       /* ACT_SEND_DOWN not yet reported sent */
  uint32_t next_free;
  struct node_chunk view;
};

struct node_op {
  uint8_t active, late;
  uint32_t seq;
  uint64_t deadline;
  uint64_t next_chunk; /* next to open, counted over all lanes */
  uint64_t left;       /* chunks of this lane not finished */
  struct op_layout layout;
};

/* A tree as this node sees it, worked out once. */
struct tree_view {
  uint32_t parent, up_edge; /* NONE at the root */
  uint32_t n_children, own_at;
  uint32_t first_edge; /* its children's edges, in fold order: node->tree_edges[first_edge ...] */
  uint8_t member;
};

struct queued {
  uint8_t kind, with_payload;
  uint32_t ctx, peer, slot;
};

struct node {
  struct node_config config;
  const struct plan *plan;
  uint32_t self, window, nodes;
  uint8_t is_server, failed;

  uint32_t *up_of, *child_of; /* node number -> edge index or NONE */
  struct up_edge *ups;
  uint32_t n_ups;
  struct child_edge *children;
  uint32_t n_children;
  struct up_slot *up_slots;
  struct child_slot *child_slots;
  uint32_t parked; /* landed contributions whose chunk is not open */

  struct ctx *ctxs;
  uint32_t n_ctxs, free_ctx, open_ctxs;
  uint32_t open_parents;   /* open chunks that have children here: at most 2 windows, which bounds the puts outstanding on a lane */
  uint32_t *server_ctx;    /* servers: slot -> open chunk */
  uint32_t *server_parked; /* servers: slot -> parked contributions */

  struct tree_view *trees; /* of all forests, one after the other */
  uint32_t first_tree[PLAN_FORESTS_MAX];
  uint32_t *tree_edges;

  uint8_t next_known, next_scratch; /* next is the chunk that next_chunk of operation open_op says */
  struct node_chunk next;

  uint32_t *free_scratch;
  uint32_t n_free_scratch;

  struct node_op ops[NODE_OPS_MAX];
  uint32_t next_op, open_op; /* next to be posted; next to be opened */

  struct queued *queue;
  uint32_t queue_cap, queue_head, queue_len;
  struct node_action fault; /* details of the one fault action */

  uint64_t chunks_done;
};

/* node.c */
void node_push(struct node *n, unsigned kind, uint32_t ctx, uint32_t peer, uint32_t slot, int with_payload);
void node_fail(struct node *n, const struct node_action *fault);
void node_advance(struct node *n, uint32_t ctx);

/* open.c */
void node_open_more(struct node *n); /* workers: opens chunks of posted operations while resources last */
void node_server_arrival(struct node *n, uint32_t edge, uint32_t slot);
void node_server_reopen(struct node *n, uint32_t slot);
uint32_t node_take_ctx(struct node *n);

/* check.c: 1 when the landed contribution fits the open chunk, otherwise the node has failed and 0 */
int node_check_contribution(struct node *n, uint32_t ctx, uint32_t edge, uint32_t slot);
/* Worker: compares a parked contribution with the operation of its number, if that is posted. */
int node_check_parked(struct node *n, uint32_t edge, uint32_t slot);
void node_protocol_fault(struct node *n, uint32_t peer, const char *text);

/* `step` (at most a window) further on an edge. Chunk number k has slot k mod window, so the numbers begin again at a multiple of the
 * window, whatever it is; one window below 2^32, so that the sum cannot wrap. */
static inline uint32_t edge_seq_after(const struct node *n, uint32_t seq, uint32_t step) {
  uint32_t end = (UINT32_MAX / n->window - 1) * n->window;
  return seq + step < end ? seq + step : seq + step - end;
}

static inline uint32_t child_slot_id(const struct node *n, uint32_t edge, uint32_t slot) { return edge * n->window + slot; }

static inline const struct tree_view *node_tree(const struct node *n, const struct node_chunk *v) {
  return &n->trees[n->first_tree[v->desc.forest] + v->place.tree];
}

/* The operation of this number while it is held, or NULL. */
static inline struct node_op *node_find_op(struct node *n, uint32_t seq) {
  struct node_op *op = &n->ops[seq % NODE_OPS_MAX];
  return op->active && op->seq == seq ? op : NULL;
}

#endif
