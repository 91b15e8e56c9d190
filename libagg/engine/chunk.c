/*
 * Chunk layout: which piece of which buffers a chunk is, which tree it takes, who contributes and who receives.
 * Pure arithmetic on (operation, ranks, forest, lanes, chunk size); it knows no memory and no state.
 */
#include "chunk.h"

#include <assert.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/cut.h"

static int has_blocks(unsigned kind) {
  return kind == OP_REDUCE_SCATTER || kind == OP_ALLGATHER || kind == OP_GATHER || kind == OP_SCATTER;
}

/* How many places of the schedule chunks are spread over. */
static uint32_t places_used(const struct op_desc *d, const struct forest *f) {
  return d->kind == OP_ALLREDUCE || forest_rooted_at(f, 0) == FOREST_NONE ? f->period : 1;
}

/* After how many chunks in a row a place of the schedule comes again to the lane it had. At most 64 x FOREST_PERIOD_MAX. */
static uint32_t common_multiple(uint32_t a, uint32_t b) {
  uint32_t x = a, y = b;
  while (y != 0) {
    uint32_t rest = x % y;
    x = y;
    y = rest;
  }
  return a / x * b;
}

int op_layout_init(struct op_layout *l, const struct op_desc *desc, const struct forest *f, uint32_t lanes, uint32_t max_chunk,
                   agg_error_t *err) {
  struct op_layout made = {.desc = *desc, .ranks = f->workers, .lanes = lanes};
  made.elem_bytes = (uint32_t)agg_dtype_size((agg_dtype_t)desc->dtype);
  assert(made.elem_bytes != 0 && lanes != 0 && max_chunk >= CUT_ALIGN_BYTES);
  made.blocks = has_blocks(desc->kind) ? f->workers : 1;
  if (desc->count > (uint64_t)INT64_MAX / made.elem_bytes / made.blocks)
    return err_set(err, AGG_EINVAL, "count: %llu elements of %u bytes in %u blocks overflow 2^63 bytes", (unsigned long long)desc->count,
                   made.elem_bytes, made.blocks);
  made.chunk_elems = cut_elems(&(struct cut_request){
      .count = desc->count, .elem_bytes = made.elem_bytes, .places = places_used(desc, f), .lanes = lanes, .max_bytes = max_chunk});
  made.turn = common_multiple(lanes, f->period);
  made.chunks_per_block = MAX_OF(1u, div_up_u64(desc->count, made.chunk_elems));
  if (made.chunks_per_block > UINT32_MAX / made.blocks)
    return err_set(err, AGG_EINVAL, "count: %llu elements need more than 2^32 chunks of %llu; raise the chunk size",
                   (unsigned long long)desc->count, (unsigned long long)made.chunk_elems);
  made.chunks = made.chunks_per_block * made.blocks;
  *l = made;
  return AGG_OK;
}

/* The rank at which the chunk's tree is best rooted; FOREST_NONE: no preference, spread over all trees. */
static uint32_t preferred_root(const struct op_desc *d, uint32_t block) {
  switch (d->kind) {
    case OP_REDUCE:
    case OP_BROADCAST:
    case OP_GATHER:
    case OP_SCATTER:
      return d->root;
    case OP_REDUCE_SCATTER:
    case OP_ALLGATHER:
      return block;
    default:
      return FOREST_NONE;
  }
}

void chunk_place(const struct op_layout *l, const struct forest *f, uint64_t c, struct chunk_place *p) {
  assert(c < l->chunks);
  uint64_t piece = c / l->blocks, first = piece * l->chunk_elems;
  p->block = (uint32_t)(c % l->blocks);
  p->elems = first < l->desc.count ? (uint32_t)MIN_OF(l->chunk_elems, l->desc.count - first) : 0;
  p->bytes = p->elems * l->elem_bytes;
  p->contributor = p->receiver = FOREST_NONE;
  switch (l->desc.kind) {
    case OP_REDUCE:
      p->receiver = l->desc.root;
      break;
    case OP_BROADCAST:
      p->contributor = l->desc.root;
      break;
    case OP_REDUCE_SCATTER:
      p->receiver = p->block;
      break;
    case OP_ALLGATHER:
      p->contributor = p->block;
      break;
    case OP_GATHER:
      p->contributor = p->block, p->receiver = l->desc.root;
      break;
    case OP_SCATTER:
      p->contributor = l->desc.root, p->receiver = p->block;
      break;
    default:
      break;
  }
  uint32_t root = preferred_root(&l->desc, p->block);
  uint32_t tree = root == FOREST_NONE ? FOREST_NONE : forest_rooted_at(f, root);
  p->tree = tree != FOREST_NONE ? tree : forest_tree_at(f, c + c / l->turn);
}

struct chunk_span chunk_span(const struct op_layout *l, uint64_t c) {
  uint64_t piece = c / l->blocks, block = c % l->blocks;
  uint64_t within = piece * l->chunk_elems * l->elem_bytes;
  uint64_t across = within + block * l->desc.count * l->elem_bytes;
  int send_blocks = l->desc.kind == OP_REDUCE_SCATTER || l->desc.kind == OP_SCATTER;
  int recv_blocks = l->desc.kind == OP_ALLGATHER || l->desc.kind == OP_GATHER;
  return (struct chunk_span){.send_off = send_blocks ? across : within, .recv_off = recv_blocks ? across : within};
}

uint64_t op_send_bytes(const struct op_layout *l, uint32_t rank) {
  uint64_t one = l->desc.count * l->elem_bytes;
  switch (l->desc.kind) {
    case OP_BROADCAST:
      return rank == l->desc.root ? one : 0;
    case OP_REDUCE_SCATTER:
      return one * l->ranks;
    case OP_SCATTER:
      return rank == l->desc.root ? one * l->ranks : 0;
    case OP_BARRIER:
      return 0;
    default:
      return one;
  }
}

uint64_t op_recv_bytes(const struct op_layout *l, uint32_t rank) {
  uint64_t one = l->desc.count * l->elem_bytes;
  switch (l->desc.kind) {
    case OP_REDUCE:
      return rank == l->desc.root ? one : 0;
    case OP_ALLGATHER:
      return one * l->ranks;
    case OP_GATHER:
      return rank == l->desc.root ? one * l->ranks : 0;
    case OP_BARRIER:
      return 0;
    default:
      return one;
  }
}
