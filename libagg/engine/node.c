/*
 * The node's events and actions: what happens to an open chunk between its opening and its end. Opening is in open.c, the checks of what
 * arrives in check.c. Pure: no clock, no I/O, no allocation after node_create.
 *
 *   chunk at one node:
 *
 *            open                 last contribution landed
 *     FREE --------> COLLECT ----------------------------------+-- fold needed --> FOLD --+
 *      ^                (waits: children)                       |                          |
 *      |                                                        +-- not the root ----------+--> READY  (waits: slot at the parent)
 *      |                                                        |                          |      | slot is ours: send up
 *      |                                                        |                          |      v
 *      |                                                        |                          |   RESULT (waits: parent)
 *      |                                                        v the root                 v      | result landed
 *      +---- all sends reported ---------------------------- DELIVER <--------------------+<-----+
 *                                                    (waits: sends to children)
 */
#include "node_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/state.h"
#include "base/util.h"

enum ctx_state { CTX_FREE, CTX_COLLECT, CTX_FOLD, CTX_READY, CTX_RESULT, CTX_DELIVER, CTX_STATES };

static const struct state_row ctx_rows[CTX_STATES] = {
    [CTX_FREE] = {"free", STATE_TO(CTX_COLLECT)},
    [CTX_COLLECT] = {"collect", STATE_TO(CTX_FOLD) | STATE_TO(CTX_READY) | STATE_TO(CTX_DELIVER)},
    [CTX_FOLD] = {"fold", STATE_TO(CTX_READY) | STATE_TO(CTX_DELIVER)},
    [CTX_READY] = {"ready", STATE_TO(CTX_RESULT)},
    [CTX_RESULT] = {"result", STATE_TO(CTX_DELIVER)},
    [CTX_DELIVER] = {"deliver", STATE_TO(CTX_FREE)},
};
static const struct state_table ctx_table = {"chunk", ctx_rows, CTX_STATES};

/* ---- actions ------------------------------------------------------------------------------------------------------------ */

void node_push(struct node *n, unsigned kind, uint32_t ctx, uint32_t peer, uint32_t slot, int with_payload) {
  assert(n->queue_len < n->queue_cap);
  uint32_t at = n->queue_head + n->queue_len++;
  if (at >= n->queue_cap) at -= n->queue_cap;
  n->queue[at] = (struct queued){.kind = (uint8_t)kind, .with_payload = (uint8_t)with_payload, .ctx = ctx, .peer = peer, .slot = slot};
}

void node_fail(struct node *n, const struct node_action *fault) {
  if (n->failed) return;
  n->failed = 1;
  n->fault = *fault;
  n->queue_head = n->queue_len = 0; /* nothing that was asked for before is to be done any more */
  node_push(n, fault->kind, NONE, fault->peer, 0, 0);
}

int node_next_action(struct node *n, struct node_action *action) {
  if (n->queue_len == 0) return 0;
  const struct queued *q = &n->queue[n->queue_head];
  if (++n->queue_head == n->queue_cap) n->queue_head = 0;
  n->queue_len--;
  if (q->kind == ACT_MISMATCH || q->kind == ACT_PROTOCOL || q->kind == ACT_LOST) {
    *action = n->fault;
    return 1;
  }
  action->kind = (enum node_action_kind)q->kind;
  action->ctx = q->ctx;
  action->peer = q->peer;
  action->slot = q->slot;
  action->with_payload = q->with_payload;
  action->op = q->kind == ACT_OP_DONE || q->kind == ACT_LATE ? q->slot : n->ctxs[q->ctx].view.op;
  return 1;
}

/* ---- the life of an open chunk ------------------------------------------------------------------------------------------- */

static void finish(struct node *n, uint32_t id) {
  struct ctx *c = &n->ctxs[id];
  state_move(&ctx_table, &c->state, CTX_FREE);
  if (c->view.scratch != NONE) n->free_scratch[n->n_free_scratch++] = c->view.scratch;
  n->chunks_done++;
  n->open_ctxs--;
  n->open_parents -= c->view.n_children != 0;
  c->next_free = n->free_ctx;
  n->free_ctx = id;
  if (n->is_server) {
    n->server_ctx[c->server_slot] = NONE;
    node_server_reopen(n, c->server_slot);
    return;
  }
  struct node_op *op = node_find_op(n, c->view.op);
  assert(op != NULL && op->left > 0);
  if (--op->left == 0) {
    op->active = 0;
    node_push(n, ACT_OP_DONE, NONE, NONE, op->seq, 0);
  }
  node_open_more(n);
}

/* Sends the result to every child and lets go of their slots: from here on a child may contribute its next chunk into them. */
static void deliver(struct node *n, uint32_t id) {
  struct ctx *c = &n->ctxs[id];
  state_move(&ctx_table, &c->state, CTX_DELIVER);
  for (uint32_t s = c->first_child; s != NONE;) {
    struct child_slot *cs = &n->child_slots[s];
    uint32_t edge = s / n->window, slot = s % n->window, next = cs->next;
    node_push(n, ACT_SEND_DOWN, id, n->children[edge].peer, slot, cs->down_payload);
    c->sends++;
    cs->ctx = NONE;
    cs->landed = 0;
    cs->expected = edge_seq_after(n, cs->expected, n->window);
    s = next;
  }
  c->first_child = NONE;
  if (c->sends == 0) finish(n, id);
}

static void try_up(struct node *n, uint32_t id) {
  struct ctx *c = &n->ctxs[id];
  struct up_edge *e = &n->ups[c->up_edge];
  if (e->slots[c->view.up_slot].ctx != id) return; /* its turn comes when the chunk before it in the slot has come back */
  e->slots[c->view.up_slot].sent = e->slots[c->view.up_slot].landed = 0;
  state_move(&ctx_table, &c->state, CTX_RESULT);
  node_push(n, ACT_SEND_UP, id, e->peer, c->view.up_slot, c->view.up_payload);
}

static void go_up_or_deliver(struct node *n, uint32_t id) {
  struct ctx *c = &n->ctxs[id];
  if (c->up_edge == NONE) {
    deliver(n, id);
  } else {
    state_move(&ctx_table, &c->state, CTX_READY);
    try_up(n, id);
  }
}

/* COLLECT: goes on when nothing is missing. */
void node_advance(struct node *n, uint32_t id) {
  struct ctx *c = &n->ctxs[id];
  assert(c->state == CTX_COLLECT);
  if (c->missing != 0) return;
  if (c->view.fold) {
    state_move(&ctx_table, &c->state, CTX_FOLD);
    node_push(n, ACT_FOLD, id, NONE, 0, 0);
  } else {
    go_up_or_deliver(n, id);
  }
}

/* ---- events --------------------------------------------------------------------------------------------------------------- */

uint32_t node_take_ctx(struct node *n) {
  uint32_t id = n->free_ctx;
  assert(id != NONE);
  struct ctx *c = &n->ctxs[id];
  n->free_ctx = c->next_free;
  n->open_ctxs++;
  c->first_child = c->up_edge = NONE;
  c->missing = c->sends = 0;
  c->view.scratch = c->view.parent = NONE;
  state_move(&ctx_table, &c->state, CTX_COLLECT);
  return id;
}

int node_post(struct node *n, uint32_t seq, const struct op_desc *desc, uint64_t deadline) {
  assert(!n->is_server && seq == n->next_op);
  struct node_op *op = &n->ops[seq % NODE_OPS_MAX];
  if (op->active) return AGG_ELIMIT;
  struct op_layout layout;
  int rc = op_layout_init(&layout, desc, &n->plan->forest[desc->forest], n->plan->lanes, n->plan->chunk_bytes, NULL);
  assert(rc == AGG_OK); /* the public function has checked the count */
  if (rc != AGG_OK) return rc;
  uint32_t lane = n->config.lane;
  uint64_t mine = layout.chunks > lane ? (layout.chunks - 1 - lane) / layout.lanes + 1 : 0;
  *op = (struct node_op){.active = mine != 0, .seq = seq, .deadline = deadline, .next_chunk = lane, .left = mine, .layout = layout};
  n->next_op++;
  if (mine == 0) {
    node_push(n, ACT_OP_DONE, NONE, NONE, seq, 0);
  }
  if (n->parked != 0) {
    for (uint32_t e = 0; e < n->n_children; e++)
      for (uint32_t s = 0; s < n->window; s++)
        if (n->children[e].slots[s].landed && n->children[e].slots[s].ctx == NONE && !node_check_parked(n, e, s)) return AGG_OK;
  }
  node_open_more(n);
  return AGG_OK;
}

void node_up(struct node *n, uint32_t peer, uint32_t slot, const struct wire_header *h) {
  if (n->failed) return;
  uint32_t edge = peer < n->nodes ? n->child_of[peer] : NONE;
  if (edge == NONE) {
    node_protocol_fault(n, peer, "it sent a contribution here, but is not a child of this node in any tree");
    return;
  }
  if (slot >= n->window) {
    node_protocol_fault(n, peer, "it named a slot outside its window");
    return;
  }
  struct child_slot *cs = &n->children[edge].slots[slot];
  if (cs->landed) {
    node_protocol_fault(n, peer, "it sent into a slot that is still in use");
    return;
  }
  if (h->edge_seq != cs->expected) {
    node_protocol_fault(n, peer, "its contribution has the wrong sequence number for its slot");
    return;
  }
  cs->landed = 1;
  cs->op = h->op;
  cs->chunk = h->chunk;
  cs->desc = h->desc;
  cs->payload = h->payload;
  cs->wants_result = h->result_key != 0;
  if (n->is_server) {
    node_server_arrival(n, edge, slot);
    return;
  }
  if (cs->ctx == NONE) {
    n->parked++;
    node_check_parked(n, edge, slot);
    return;
  }
  uint32_t ctx = cs->ctx;
  if (!node_check_contribution(n, ctx, edge, slot)) return;
  n->ctxs[ctx].missing--;
  node_advance(n, ctx);
}

/* The chunk that waits for the slot has its turn, and the place behind it is free. */
static void free_up_slot(struct node *n, struct up_slot *us) {
  if (!us->sent || !us->landed) return;
  us->ctx = us->waiter;
  us->waiter = NONE;
  us->sent = us->landed = 0;
  if (us->ctx != NONE && n->ctxs[us->ctx].state == CTX_READY) try_up(n, us->ctx);
  if (!n->is_server) node_open_more(n);
}

void node_down(struct node *n, uint32_t peer, uint32_t slot, uint32_t bytes) {
  if (n->failed) return;
  uint32_t edge = peer < n->nodes ? n->up_of[peer] : NONE;
  if (edge == NONE) {
    node_protocol_fault(n, peer, "it sent a result here, but is not a parent of this node in any tree");
    return;
  }
  if (slot >= n->window) {
    node_protocol_fault(n, peer, "it named a slot outside the window");
    return;
  }
  struct up_slot *us = &n->ups[edge].slots[slot];
  uint32_t id = us->ctx;
  if (id == NONE || id == UP_SLOT_BUSY || n->ctxs[id].state != CTX_RESULT) {
    node_protocol_fault(n, peer, "it sent a result that was not asked for");
    return;
  }
  const struct node_chunk *v = &n->ctxs[id].view;
  if (bytes != (v->down_payload ? v->place.bytes : 0)) {
    node_protocol_fault(n, peer, "its result has the wrong length");
    return;
  }
  us->landed = 1;
  us->ctx = UP_SLOT_BUSY;
  deliver(n, id);
  free_up_slot(n, us);
}

void node_up_sent(struct node *n, uint32_t peer, uint32_t slot) {
  if (n->failed) return;
  struct up_slot *us = &n->ups[n->up_of[peer]].slots[slot];
  us->sent = 1;
  free_up_slot(n, us);
}

uint32_t node_awaiting(const struct node *n, uint32_t peer, uint32_t slot) {
  uint32_t edge = peer < n->nodes ? n->up_of[peer] : NONE;
  if (edge == NONE || slot >= n->window) return NONE;
  uint32_t id = n->ups[edge].slots[slot].ctx;
  if (id == NONE || id == UP_SLOT_BUSY) return NONE;
  return n->ctxs[id].state == CTX_RESULT && n->ctxs[id].view.down_payload ? id : NONE;
}

uint32_t node_expected_result(const struct node *n, uint32_t peer, uint32_t slot) {
  uint32_t id = node_awaiting(n, peer, slot);
  return id == NONE ? 0 : n->ctxs[id].view.place.bytes;
}

void node_folded(struct node *n, uint32_t ctx) {
  if (n->failed) return;
  assert(n->ctxs[ctx].state == CTX_FOLD);
  go_up_or_deliver(n, ctx);
}

void node_sent(struct node *n, uint32_t ctx) {
  if (n->failed) return;
  struct ctx *c = &n->ctxs[ctx];
  assert(c->state == CTX_DELIVER && c->sends > 0);
  if (--c->sends == 0) finish(n, ctx);
}

/* Whether an open chunk still needs something from, or owes something to, the peer. Unreported sends are the plane's to judge. */
static int chunk_needs(const struct node *n, const struct ctx *c, uint32_t peer) {
  if (c->state == CTX_FREE || c->state == CTX_DELIVER) return 0;
  if (c->up_edge != NONE && n->ups[c->up_edge].peer == peer) return 1;
  for (uint32_t s = c->first_child; s != NONE; s = n->child_slots[s].next)
    if (n->children[s / n->window].peer == peer) return 1;
  return 0;
}

void node_lost(struct node *n, uint32_t peer) {
  if (n->failed || peer >= n->nodes) return;
  if (n->up_of[peer] != NONE) n->ups[n->up_of[peer]].dead = 1;
  if (n->child_of[peer] != NONE) n->children[n->child_of[peer]].dead = 1;
  for (uint32_t i = 0; i < n->n_ctxs; i++) {
    if (!chunk_needs(n, &n->ctxs[i], peer)) continue;
    node_fail(n, &(struct node_action){.kind = ACT_LOST, .peer = peer, .op = n->ctxs[i].view.op});
    return;
  }
  if (!n->is_server) node_open_more(n); /* finds out whether the next chunk needs the peer */
}

void node_time(struct node *n, uint64_t now) {
  if (n->failed) return;
  for (uint32_t i = 0; i < NODE_OPS_MAX; i++) {
    struct node_op *op = &n->ops[i];
    if (!op->active || op->late || op->deadline > now) continue;
    op->late = 1;
    node_push(n, ACT_LATE, NONE, NONE, op->seq, 0);
  }
}

/* ---- views ------------------------------------------------------------------------------------------------------------------ */

const struct node_chunk *node_chunk(const struct node *n, uint32_t ctx) { return &n->ctxs[ctx].view; }
uint32_t node_child_first(const struct node *n, uint32_t ctx) { return n->ctxs[ctx].first_child; }
uint32_t node_child_next(const struct node *n, uint32_t id) { return n->child_slots[id].next; }

struct node_child node_child(const struct node *n, uint32_t id) {
  const struct child_slot *cs = &n->child_slots[id];
  return (struct node_child){
      .peer = n->children[id / n->window].peer, .slot = id % n->window, .up_payload = cs->up_payload, .down_payload = cs->down_payload};
}

int node_idle(const struct node *n) {
  if (n->open_ctxs != 0 || n->parked != 0 || n->queue_len != 0) return 0;
  for (uint32_t i = 0; i < NODE_OPS_MAX; i++)
    if (n->ops[i].active) return 0;
  return 1;
}

uint64_t node_chunks_done(const struct node *n) { return n->chunks_done; }

static struct node_reason explain_chunk(const struct node *n, const struct ctx *c) {
  struct node_reason r = {.wait = WAIT_SEND, .peer = NONE, .chunk = c->view.chunk};
  if (c->state == CTX_READY || c->state == CTX_RESULT) {
    r.wait = WAIT_RESULT;
    r.peer = c->view.parent;
  } else if (c->state == CTX_COLLECT) {
    r.wait = WAIT_CONTRIBUTION;
    for (uint32_t s = c->first_child; s != NONE && r.peer == NONE; s = n->child_slots[s].next)
      if (!n->child_slots[s].landed) r.peer = n->children[s / n->window].peer;
  }
  return r;
}

struct node_reason node_explain(const struct node *n, uint32_t seq) {
  if (n->is_server) return (struct node_reason){.wait = WAIT_NOTHING, .peer = NONE};
  if ((int32_t)(seq - n->next_op) >= 0) return (struct node_reason){.wait = WAIT_NOT_POSTED, .peer = n->self};
  const struct ctx *oldest = NULL; /* of this operation or one before it: chunks are opened in order */
  for (uint32_t i = 0; i < n->n_ctxs; i++) {
    const struct ctx *c = &n->ctxs[i];
    if (c->state == CTX_FREE || (int32_t)(c->view.op - seq) > 0) continue;
    int older = oldest == NULL || (int32_t)(c->view.op - oldest->view.op) < 0 ||
                (c->view.op == oldest->view.op && c->view.chunk < oldest->view.chunk);
    if (older) oldest = c;
  }
  if (oldest == NULL) return (struct node_reason){.wait = WAIT_NOTHING, .peer = NONE};
  return explain_chunk(n, oldest);
}
