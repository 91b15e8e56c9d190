/*
 * Computes results from the definition: for every element the tree of its chunk, folded recursively in the order of forest_child and
 * forest_own_at, rounded once a node. Of the engine it takes only where chunks are cut and which tree they take (chunk.h, which
 * tests/unit/chunk.c proves by itself); never its states, buffers or offsets.
 */
#include "tests/lib/simref.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "reduce/reduce.h"

static int sums(unsigned kind) { return kind == OP_ALLREDUCE || kind == OP_REDUCE || kind == OP_REDUCE_SCATTER; }

uint32_t simref_blocks(const struct plan *plan, const struct op_desc *d) {
  int many = d->kind == OP_REDUCE_SCATTER || d->kind == OP_ALLGATHER || d->kind == OP_GATHER || d->kind == OP_SCATTER;
  return many ? plan->workers : 1;
}

static uint64_t block_bytes(const struct op_desc *d) { return d->count * agg_dtype_size((agg_dtype_t)d->dtype); }

uint64_t simref_send_bytes(const struct plan *plan, const struct op_desc *d, uint32_t rank) {
  uint64_t n = plan->workers;
  switch (d->kind) {
    case OP_BROADCAST:
      return rank == d->root ? block_bytes(d) : 0;
    case OP_SCATTER:
      return rank == d->root ? n * block_bytes(d) : 0;
    case OP_REDUCE_SCATTER:
      return n * block_bytes(d);
    case OP_BARRIER:
      return 0;
    default:
      return block_bytes(d);
  }
}

uint64_t simref_recv_bytes(const struct plan *plan, const struct op_desc *d, uint32_t rank) {
  uint64_t n = plan->workers;
  switch (d->kind) {
    case OP_REDUCE:
      return rank == d->root ? block_bytes(d) : 0;
    case OP_GATHER:
      return rank == d->root ? n * block_bytes(d) : 0;
    case OP_ALLGATHER:
      return n * block_bytes(d);
    case OP_BARRIER:
      return 0;
    default:
      return block_bytes(d);
  }
}

uint64_t simref_recv_from(const struct op_desc *d, uint32_t rank) {
  return d->kind == OP_REDUCE_SCATTER || d->kind == OP_SCATTER ? rank * block_bytes(d) : 0;
}

struct piece {
  const struct forest *forest;
  const struct op_desc *desc;
  const unsigned char *const *send;
  uint32_t block, tree;
  uint64_t first, elems;
  size_t elem_bytes;
};

/* The rank's own elements of the piece. */
static const unsigned char *own(const struct piece *p, uint32_t rank) {
  int by_block = p->desc->kind == OP_REDUCE_SCATTER || p->desc->kind == OP_SCATTER;
  uint64_t at = p->first + (by_block ? p->block * p->desc->count : 0);
  assert(p->send[rank] != NULL);
  return p->send[rank] + at * p->elem_bytes;
}

/* What node sends up its tree, or the result where it is the root. */
static void fold(const struct piece *p, uint32_t node, unsigned char *dst) {
  const struct forest *f = p->forest;
  uint32_t n = forest_n_children(f, p->tree, node), own_at = forest_own_at(f, p->tree, node);
  int root = forest_parent(f, p->tree, node) == FOREST_NONE;
  size_t bytes = p->elems * p->elem_bytes;
  unsigned char *parts = n != 0 ? malloc(n * bytes) : NULL;
  const void **in = calloc(n + 1, sizeof *in);
  assert(in != NULL && (n == 0 || parts != NULL));
  unsigned k = 0;
  for (uint32_t i = 0; i <= n; i++) {
    if (i == own_at && node < f->workers) in[k++] = own(p, node);
    if (i == n) break;
    fold(p, forest_child(f, p->tree, node, i), parts + i * bytes);
    in[k++] = parts + i * bytes;
  }
  unsigned op = p->desc->redop == AGG_AVG && !root ? AGG_SUM : p->desc->redop;
  if (k == 1)
    memcpy(dst, in[0], bytes);
  else
    reduce_reference.fn[p->desc->dtype][op](dst, in, k, p->elems, f->workers);
  free(in);
  free(parts);
}

void simref_result(const struct plan *plan, const struct op_desc *d, const unsigned char *const *send, unsigned char *result) {
  const struct forest *f = &plan->forest[d->forest];
  size_t elem = agg_dtype_size((agg_dtype_t)d->dtype);
  struct op_layout layout;
  int rc = op_layout_init(&layout, d, f, plan->lanes, plan->chunk_bytes, NULL);
  assert(rc == AGG_OK);
  (void)rc;
  uint32_t blocks = simref_blocks(plan, d);
  for (uint32_t b = 0; b < blocks; b++) {
    for (uint64_t first = 0, n = 0; first < d->count; first += layout.chunk_elems, n++) {
      struct chunk_place place;
      chunk_place(&layout, f, n * blocks + b, &place);
      struct piece p = {.forest = f, .desc = d, .send = send, .block = b, .tree = place.tree, .first = first, .elem_bytes = elem};
      p.elems = d->count - first < layout.chunk_elems ? d->count - first : layout.chunk_elems;
      unsigned char *dst = result + (b * d->count + first) * elem;
      if (sums(d->kind))
        fold(&p, forest_root(f, p.tree), dst);
      else
        memcpy(dst, own(&p, d->kind == OP_BROADCAST || d->kind == OP_SCATTER ? d->root : b), p.elems * elem);
    }
  }
}
