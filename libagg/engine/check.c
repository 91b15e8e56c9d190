/*
 * What a contribution must look like before its payload may be used: the same operation, the expected chunk, the expected length.
 * A difference in the operation is a mismatch between ranks; anything else is a broken or hostile peer.
 */
#include <assert.h>

#include "node_internal.h"

void node_protocol_fault(struct node *n, uint32_t peer, const char *text) {
  node_fail(n, &(struct node_action){.kind = ACT_PROTOCOL, .peer = peer, .text = text});
}

static void mismatch(struct node *n, uint32_t op, uint32_t other, const struct op_desc *ours, uint32_t peer, uint32_t their_op,
                     const struct op_desc *theirs) {
  node_fail(n, &(struct node_action){
                   .kind = ACT_MISMATCH, .peer = peer, .op = op, .ours = *ours, .theirs = *theirs, .other = other, .their_op = their_op});
}

/* Contribution and open chunk are of different operations: the earlier of the two is what the ranks disagree about. */
static void other_operation(struct node *n, const struct child_slot *cs, uint32_t peer, const struct node_chunk *v, uint32_t other) {
  if ((int32_t)(cs->op - v->op) > 0) {
    mismatch(n, v->op, other, &v->desc, peer, cs->op, &cs->desc);
    return;
  }
  const struct node_op *held = n->is_server ? NULL : node_find_op(n, cs->op);
  if (held != NULL && !op_desc_equal(&held->layout.desc, &cs->desc))
    mismatch(n, cs->op, n->self, &held->layout.desc, peer, cs->op, &cs->desc);
  else
    mismatch(n, cs->op, peer, &cs->desc, other, v->op, &v->desc);
}

/* At a server the operation is known from whoever contributed first; name that child. */
static uint32_t first_landed(const struct node *n, uint32_t ctx, uint32_t but) {
  for (uint32_t s = n->ctxs[ctx].first_child; s != NONE; s = n->child_slots[s].next)
    if (n->child_slots[s].landed && s != but) return n->children[s / n->window].peer;
  return n->self;
}

int node_check_contribution(struct node *n, uint32_t ctx, uint32_t edge, uint32_t slot) {
  const struct child_slot *cs = &n->children[edge].slots[slot];
  const struct node_chunk *v = &n->ctxs[ctx].view;
  uint32_t peer = n->children[edge].peer;
  if (cs->op != v->op || !op_desc_equal(&cs->desc, &v->desc)) {
    uint32_t other = n->is_server ? first_landed(n, ctx, child_slot_id(n, edge, slot)) : n->self;
    if (cs->op != v->op)
      other_operation(n, cs, peer, v, other);
    else
      mismatch(n, v->op, other, &v->desc, peer, cs->op, &cs->desc);
    return 0;
  }
  const char *wrong = NULL;
  if (cs->chunk != v->chunk)
    wrong = "it sent another chunk than the one expected in its slot";
  else if (cs->payload != (cs->up_payload ? v->place.bytes : 0))
    wrong = "its contribution has the wrong length";
  else if (cs->down_payload && !cs->wants_result)
    wrong = "it did not say where its result is to be put";
  if (wrong != NULL) node_protocol_fault(n, peer, wrong);
  return wrong == NULL;
}

int node_check_parked(struct node *n, uint32_t edge, uint32_t slot) {
  const struct child_slot *cs = &n->children[edge].slots[slot];
  assert(!n->is_server && cs->landed && cs->ctx == NONE);
  const struct node_op *op = node_find_op(n, cs->op);
  if (op == NULL || op_desc_equal(&op->layout.desc, &cs->desc)) return 1;
  mismatch(n, cs->op, n->self, &op->layout.desc, n->children[edge].peer, cs->op, &cs->desc);
  return 0;
}
