/*
 * The node: the state machine of one node (worker or server) in one plane of one communicator. A plane is one lane number of one priority;
 * planes never share anything, so one thread drives a node.
 *
 * Pure: events in (node_post, node_up, ...), actions out (node_next_action). It reads no clock, no socket, no random number, touches no
 * payload and allocates nothing after node_create.
 *
 * Every chunk makes one round trip on every edge of its tree. On an edge (child, parent) chunks are numbered in the order in which the
 * child meets them; number k uses slot k mod window, and only after number k - window has come back. A worker opens its chunks strictly in
 * order, a chunk is opened only when every resource it will ever need is reserved, so the lowest unfinished chunk can always go on: no
 * deadlock.
 *
 *   chunk at one node:   (diagram above the table in node.c)
 */
#ifndef ENGINE_NODE_H
#define ENGINE_NODE_H

#include "chunk.h"
#include "topology/plan.h"

struct node;

#define NODE_OPS_MAX 64u /* operations that a node holds at once; more wait outside */

struct node_config {
  uint32_t self;           /* node number */
  const struct plan *plan; /* borrowed for the node's life */
  uint32_t lane;           /* this plane's lane number, < plan->lanes */
  uint32_t scratch;        /* scratch buffers that the plane has for this node; node_scratch_wanted() says how many are useful */
};

enum node_action_kind {
  ACT_FOLD,      /* fold the inputs of chunk ctx into its destination, then call node_folded(ctx). */
  ACT_SEND_UP,   /* put header and payload (own input, or scratch after a fold) into slot of the parent `peer`; node_up_sent when it is sent
                  */
  ACT_SEND_DOWN, /* put the result (when with_payload) to the place that child `peer` named in its header of this slot; node_sent(ctx) when
                    it is sent */
  ACT_OP_DONE,   /* operation op has completed in this plane */
  ACT_MISMATCH, /* node `other` called `ours` as operation op; peer called `theirs` as operation their_op, which is op, or later: it skipped
                   op */
  ACT_PROTOCOL, /* peer broke the protocol: text */
  ACT_LOST,     /* operation op needs peer, whose lane is lost */
  ACT_LATE      /* operation op passed its deadline */
};

struct node_action {
  enum node_action_kind kind;
  uint32_t ctx;  /* chunk context */
  uint32_t op;   /* sequence number */
  uint32_t peer; /* node number */
  uint32_t slot;
  uint8_t with_payload;
  struct op_desc ours, theirs; /* ACT_MISMATCH */
  uint32_t other, their_op;
  const char *text;
};

/* An open chunk as the plane needs to see it. */
struct node_chunk {
  struct op_desc desc;
  uint32_t op, chunk;
  struct chunk_place place;
  struct chunk_span span; /* in this rank's buffers (workers) */
  uint32_t parent;        /* FOREST_NONE at the root */
  uint32_t up_slot, up_seq;
  uint32_t n_children;
  uint32_t own_at;      /* the own input is folded before child number own_at */
  uint8_t own_input;    /* this node contributes */
  uint8_t own_output;   /* this node receives */
  uint8_t up_payload;   /* some contributor at or below */
  uint8_t down_payload; /* some receiver at or below: a payload comes down (or is made here, at the root) */
  uint8_t fold;         /* a fold is done here: all inputs at the root, own and children's below it */
  uint32_t inputs;      /* own_input + children with up_payload */
  uint32_t scratch;     /* index of its scratch buffer, or FOREST_NONE */
};

/* A child of an open chunk. Walk them in fold order with node_child_first / node_child_next. */
struct node_child {
  uint32_t peer, slot;
  uint8_t up_payload, down_payload; /* with bytes > 0 */
};

int node_create(const struct node_config *config, struct node **node, agg_error_t *err);
void node_destroy(struct node *n);

/* How many scratch buffers of chunk_bytes are useful for this node; 0 when none is ever needed. */
uint32_t node_scratch_wanted(const struct plan *plan, uint32_t self);

/* What a peer is to a node, in any tree of the plan. */
#define NODE_PARENT 1u
#define NODE_CHILD 2u
/* roles[plan_nodes]: of every node to self; 0: they share no edge. O(edges of self). */
void node_roles(const struct plan *plan, uint32_t self, uint8_t *roles);

/* events ------------------------------------------------------------------------------------------------------------------- */

/* A worker's next operation; seq counts from 0. 0, or AGG_ELIMIT when NODE_OPS_MAX are held (offer it again later). deadline in the
 * caller's clock. */
int node_post(struct node *n, uint32_t seq, const struct op_desc *desc, uint64_t deadline);
/* A contribution has landed in slot `slot` of child `peer`. h was decoded; everything else about it is checked here. */
void node_up(struct node *n, uint32_t peer, uint32_t slot, const struct wire_header *h);
/* The parent `peer` sent the result of the chunk in `slot`, with so many payload bytes. */
void node_down(struct node *n, uint32_t peer, uint32_t slot, uint32_t bytes);
/* Bytes of the result that is awaited in this slot of a parent; 0 where none is. */
uint32_t node_expected_result(const struct node *n, uint32_t peer, uint32_t slot);
/* The chunk whose result, with a payload, is awaited in this slot of a parent; FOREST_NONE where none is. */
uint32_t node_awaiting(const struct node *n, uint32_t peer, uint32_t slot);
void node_folded(struct node *n, uint32_t ctx);
void node_sent(struct node *n, uint32_t ctx); /* once for each ACT_SEND_DOWN */
void node_up_sent(struct node *n, uint32_t peer, uint32_t slot);
void node_lost(struct node *n, uint32_t peer);
void node_time(struct node *n, uint64_t now);

/* Takes the next action: 1, or 0 when there is none. */
int node_next_action(struct node *n, struct node_action *action);

/* views -------------------------------------------------------------------------------------------------------------------- */

const struct node_chunk *node_chunk(const struct node *n, uint32_t ctx);
/* The children of a chunk in COLLECT to FOLD, in fold order: an id, then the next, FOREST_NONE at the end. */
uint32_t node_child_first(const struct node *n, uint32_t ctx);
uint32_t node_child_next(const struct node *n, uint32_t id);
struct node_child node_child(const struct node *n, uint32_t id);

/* Nothing is held: no operation, no chunk, no parked contribution. */
int node_idle(const struct node *n);
uint64_t node_chunks_done(const struct node *n);

/* Why operation `op` is not finished here: the node waited for, and how. Workers only. */
enum node_wait { WAIT_NOTHING, WAIT_NOT_POSTED, WAIT_CONTRIBUTION, WAIT_RESULT, WAIT_SEND };
struct node_reason {
  enum node_wait wait;
  uint32_t peer; /* WAIT_CONTRIBUTION, WAIT_RESULT, WAIT_SEND */
  uint32_t chunk;
};
struct node_reason node_explain(const struct node *n, uint32_t op);

#endif
