/*
 * Carrying out what the engine asks for: folds and puts. Payload is touched here and nowhere else in the library: it goes from user memory
 * into the parent's slot (or is read in place), the root sums its inputs in one pass, the result is put straight into the child's output.
 */
#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "plane_internal.h"

/* A contribution in mapped memory is read in place from here on; below it, header and payload in one slot are nearer together. */
#define IN_PLACE_FROM_BYTES 1024u
#define IN_SLOT_FROM_BYTES 1024u
/* A fold with several targets goes block by block, so that every target but the first is copied out of the cache. */
#define FOLD_BLOCK_BYTES (16u << 10)

/* A piece of own memory and how the transports know it. */
struct piece {
  void *at;
  struct tp_mr *const *mr; /* per transport, or NULL: not registered */
  int shared;              /* peers on this host may map it */
};

static struct piece scratch_piece(const struct plane *p, const struct node_chunk *v) {
  assert(v->scratch != FOREST_NONE);
  return (struct piece){.at = p->scratch + (size_t)v->scratch * p->scratch_stride, .mr = p->block_mr, .shared = 1};
}

static struct piece send_piece(const struct plane *p, const struct node_chunk *v) {
  const struct plane_op *op = plane_find_op(p, v->op);
  /* The transports take sources as plain pointers; this one is only read. */
  return (struct piece){.at = (char *)(uintptr_t)op->send + v->span.send_off, .mr = op->send_mr, .shared = op->send_shared};
}

static struct piece recv_piece(const struct plane *p, const struct node_chunk *v, unsigned tp) {
  const struct plane_slot_op *so = &p->ops[v->op % NODE_OPS_MAX];
  return (struct piece){.at = (char *)so->op->recv + v->span.recv_off, .mr = so->op->recv_mr[tp] != NULL ? so->op->recv_mr : so->own_mr};
}

/* ---- memory that was not announced ------------------------------------------------------------------------------------------------- */

/* A transport that reads or writes registered memory only cannot reach user memory that agg_mem_* was not told of (nor a child's memory
 * that is merely mapped here). To register it for each operation would cost more than the copy, which goes through memory that is
 * registered once: the lane's bounce area towards a parent, the child's own slot towards a child. */

static unsigned char *bounce_at(const struct plane *p, const struct plane_lane *l, uint32_t slot) {
  assert(l->bounce.addr != NULL);
  return (unsigned char *)l->bounce.addr + (size_t)slot * p->scratch_stride;
}

static int needs_copy(const struct plane_lane *l, const struct tp_mr *mr) { return mr == NULL && !(l->ops->caps & TP_CAP_ANY_SOURCE); }

static void copy_from(struct plane *p, void *to, const struct tp_src *src) {
  memcpy(to, src->base, src->len);
  p->stats.copy_bytes += src->len;
}

/* Where the parent puts the result of a chunk: into the user's memory or scratch where the transport knows it. The bounce area of the slot
 * is free for it by then: a result comes only after the contribution, which may have passed through there, has been received. */
static struct tp_raddr result_place(const struct plane *p, const struct plane_lane *l, const struct node_chunk *v) {
  struct piece to = v->own_output ? recv_piece(p, v, l->tp) : scratch_piece(p, v);
  if (to.mr[l->tp] != NULL) return l->ops->raddr(l->lane, to.mr[l->tp], to.at);
  return l->ops->raddr(l->lane, l->bounce_mr, bounce_at(p, l, v->up_slot));
}

void plane_result_landed(struct plane *p, const struct plane_lane *l, uint32_t slot, uint32_t bytes) {
  uint32_t ctx = node_awaiting(p->node, l->peer, slot);
  if (l->bounce_mr == NULL || ctx == FOREST_NONE) return;
  const struct node_chunk *v = node_chunk(p->node, ctx);
  if (!v->own_output || bytes != v->place.bytes) return; /* the wrong length is told of by node_down */
  struct piece to = recv_piece(p, v, l->tp);
  if (to.mr[l->tp] == NULL) copy_from(p, to.at, &(struct tp_src){.base = bounce_at(p, l, slot), .len = bytes});
}

/* ---- up -------------------------------------------------------------------------------------------------------------------------- */

/* The only contribution comes from one child: it is passed on from where it landed. */
static struct piece relay_piece(const struct plane *p, uint32_t ctx) {
  for (uint32_t id = node_child_first(p->node, ctx); id != FOREST_NONE; id = node_child_next(p->node, id)) {
    struct node_child c = node_child(p->node, id);
    if (!c.up_payload) continue;
    const struct plane_lane *l = plane_lane_to(p, c.peer);
    const unsigned char *at = l->landed[c.slot].payload;
    int own = at >= (unsigned char *)p->block.addr && at < (unsigned char *)p->block.addr + p->block.len;
    return (struct piece){.at = (void *)(uintptr_t)at, .mr = own ? p->block_mr : NULL, .shared = own};
  }
  assert(0 && "a payload with no contributor");
  return (struct piece){0};
}

static struct piece up_piece(const struct plane *p, uint32_t ctx, const struct node_chunk *v) {
  if (v->fold) return scratch_piece(p, v);
  return v->own_input ? send_piece(p, v) : relay_piece(p, ctx);
}

void plane_send_up(struct plane *p, const struct node_action *a) {
  const struct node_chunk *v = node_chunk(p->node, a->ctx);
  struct plane_lane *l = plane_lane_to(p, a->peer);
  struct wire_header h = {
      .comm = p->config.comm, .epoch = p->config.epoch, .op = v->op, .chunk = v->chunk, .edge_seq = v->up_seq, .desc = v->desc};
  struct tp_src src[2] = {{0}, {0}};
  if (a->with_payload) {
    struct piece from = up_piece(p, a->ctx, v);
    struct tp_mr *mr = from.mr != NULL ? from.mr[l->tp] : NULL;
    h.payload = v->place.bytes;
    if (from.shared && mr != NULL && (l->ops->caps & TP_CAP_MAP) && h.payload >= IN_PLACE_FROM_BYTES) {
      struct tp_raddr at = l->ops->raddr(l->lane, mr, from.at);
      h.flags = WIRE_IN_PLACE;
      h.payload_key = at.key;
      h.payload_off = at.off;
    } else {
      src[1] = (struct tp_src){.base = from.at, .len = h.payload, .mr = mr};
      if (needs_copy(l, mr)) {
        copy_from(p, bounce_at(p, l, a->slot), &src[1]);
        src[1].base = bounce_at(p, l, a->slot);
        src[1].mr = l->bounce_mr;
      }
      p->stats.put_bytes += h.payload;
    }
  }
  if (v->down_payload) {
    struct tp_raddr at = result_place(p, l, v);
    h.result_key = at.key;
    h.result_off = at.off;
  }
  unsigned char bytes[WIRE_HEADER_BYTES];
  wire_header_encode(&h, bytes);
  src[0] = (struct tp_src){.base = bytes, .len = sizeof bytes}; /* piece 0 of two is copied at once */
  struct tp_raddr slot = {.key = l->window.key, .off = l->window.off + (uint64_t)a->slot * p->stride};
  p->stats.puts++;
  l->up_unsent++;
  l->ops->put(l->lane, src, 2, slot, wire_notice_up(a->slot), TOKEN_UP | a->slot);
}

/* ---- fold ------------------------------------------------------------------------------------------------------------------------- */

static int is_sum(unsigned kind) { return kind == OP_ALLREDUCE || kind == OP_REDUCE || kind == OP_REDUCE_SCATTER; }

/* The inputs in the plan's order. */
static unsigned gather_inputs(struct plane *p, uint32_t ctx, const struct node_chunk *v) {
  unsigned k = 0, i = 0;
  uint32_t id = node_child_first(p->node, ctx);
  for (;; i++) {
    if (i == v->own_at && v->own_input) p->inputs[k++] = send_piece(p, v).at;
    if (id == FOREST_NONE) break;
    struct node_child c = node_child(p->node, id);
    if (c.up_payload) p->inputs[k++] = plane_lane_to(p, c.peer)->landed[c.slot].payload;
    id = node_child_next(p->node, id);
  }
  assert(k == v->inputs);
  return k;
}

static void *slot_payload(const struct plane *p, const struct plane_lane *l, uint32_t slot) {
  return l->slots + (size_t)slot * p->stride + WIRE_HEADER_BYTES;
}

/* The children's outputs that can be written from here: the result goes there in the same pass. An output in private memory of a process on
 * this host is reached by the child itself, which copies out of its own slot here: quicker than through the kernel, and the slot is its
 * until then. */
static unsigned gather_targets(struct plane *p, uint32_t ctx, const struct node_chunk *v) {
  unsigned k = 0;
  if (v->parent != FOREST_NONE) return 0;
  for (uint32_t id = node_child_first(p->node, ctx); id != FOREST_NONE; id = node_child_next(p->node, id)) {
    struct node_child c = node_child(p->node, id);
    struct plane_lane *l = plane_lane_to(p, c.peer);
    if (!c.down_payload || !(l->ops->caps & TP_CAP_MAP)) continue;
    struct plane_slot *s = &l->landed[c.slot];
    void *at = l->ops->map(l->lane, s->result, v->place.bytes);
    s->in_place = at != NULL;
    s->in_slot = at == NULL && v->place.bytes >= IN_SLOT_FROM_BYTES;
    if (s->in_slot) at = slot_payload(p, l, c.slot);
    if (at == NULL) continue;
    p->targets[k] = at;
    p->target_lanes[k++] = l;
  }
  return k;
}

static void fold_block(const struct plane *p, const struct node_chunk *v, void *dst, unsigned k, size_t off, size_t bytes) {
  const void *at[FOLD_INPUTS_INLINE];
  const void *const *inputs = p->inputs;
  if (k == 1) {
    const void *from = (const char *)p->inputs[0] + off;
    if (from != dst) memmove(dst, from, bytes);
    return;
  }
  if (off != 0) {
    const void **shifted = k <= FOLD_INPUTS_INLINE ? at : p->shifted;
    for (unsigned i = 0; i < k; i++) shifted[i] = (const char *)p->inputs[i] + off;
    inputs = shifted;
  }
  int root = v->parent == FOREST_NONE;
  unsigned op = v->desc.redop == AGG_AVG && !root ? AGG_SUM : v->desc.redop;
  uint32_t ranks = p->config.plan->forest[0].workers;
  p->config.reduce->fn[v->desc.dtype][op](dst, inputs, k, bytes / agg_dtype_size((agg_dtype_t)v->desc.dtype), ranks);
}

void plane_fold(struct plane *p, uint32_t ctx) {
  const struct node_chunk *v = node_chunk(p->node, ctx);
  int to_own = v->parent == FOREST_NONE && v->own_output;
  char *dst = to_own ? recv_piece(p, v, 0).at : scratch_piece(p, v).at;
  unsigned k = gather_inputs(p, ctx, v), targets = gather_targets(p, ctx, v);
  assert(k == 1 || is_sum(v->desc.kind));
  size_t block = targets != 0 ? FOLD_BLOCK_BYTES : v->place.bytes;
  for (size_t off = 0; off < v->place.bytes; off += block) {
    size_t bytes = MIN_OF(block, v->place.bytes - off);
    fold_block(p, v, dst + off, k, off, bytes);
    for (unsigned t = 0; t < targets; t++)
      if (!p->target_lanes[t]->ops->shut(p->target_lanes[t]->lane)) memcpy((char *)p->targets[t] + off, dst + off, bytes);
  }
  p->stats.folds++;
  p->stats.fold_bytes += (uint64_t)k * v->place.bytes;
  node_folded(p->node, ctx);
}

/* ---- down -------------------------------------------------------------------------------------------------------------------------- */

void plane_send_down(struct plane *p, const struct node_action *a) {
  struct plane_lane *l = plane_lane_to(p, a->peer);
  struct plane_slot *s = &l->landed[a->slot];
  const struct tp_src nothing = {0};
  p->stats.puts++;
  l->unsent++;
  if (!a->with_payload || s->in_place) {
    uint32_t mapped = a->with_payload ? WIRE_NOTICE_MAPPED : 0;
    l->ops->put(l->lane, &nothing, 1, (struct tp_raddr){0}, wire_notice_down(a->slot) | mapped, (uint64_t)a->ctx + 1);
    return;
  }
  const struct node_chunk *v = node_chunk(p->node, a->ctx);
  struct piece from = v->own_output ? recv_piece(p, v, l->tp) : v->scratch != FOREST_NONE ? scratch_piece(p, v) : send_piece(p, v);
  if (s->in_slot) from = (struct piece){.at = slot_payload(p, l, a->slot), .mr = p->block_mr};
  struct tp_src src = {.base = from.at, .len = v->place.bytes, .mr = from.mr != NULL ? from.mr[l->tp] : NULL};
  if (needs_copy(l, src.mr)) { /* the child's contribution has been folded or passed on: its slot is free until the result is there */
    copy_from(p, slot_payload(p, l, a->slot), &src);
    src.base = slot_payload(p, l, a->slot);
    src.mr = p->block_mr[l->tp];
  }
  p->stats.put_bytes += src.len;
  l->ops->put(l->lane, &src, 1, s->result, wire_notice_down(a->slot), (uint64_t)a->ctx + 1);
}
