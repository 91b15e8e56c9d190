/*
 * How an operation falls apart into chunks, and where each lies in the callers' buffers. Pure functions of (operation, ranks, forest,
 * lanes, chunk size): all nodes get the same answers.
 *
 * An operation has `blocks` blocks of count elements (1, or one a rank); a block is cut into chunks of chunk_elems elements (a block of no
 * elements has one empty chunk). Chunk c is piece c / blocks of block c mod blocks, and travels on lane c mod lanes. Where chunks are
 * spread over trees, chunk c goes up tree (c + c / turn) mod trees, with turn = the least common multiple of lanes and trees: the first
 * chunks are one for each tree, and many chunks give every pair of lane and tree as many.
 */
#ifndef ENGINE_CHUNK_H
#define ENGINE_CHUNK_H

#include "topology/forest.h"
#include "wire/header.h"

struct op_layout {
  struct op_desc desc;
  uint32_t ranks, blocks, lanes, turn;
  uint64_t chunk_elems;
  uint64_t chunks_per_block;
  uint64_t chunks; /* at most UINT32_MAX */
  uint32_t elem_bytes;
};

struct chunk_place {
  uint32_t tree;
  uint32_t block;
  uint32_t elems, bytes;
  uint32_t contributor; /* the only one, or FOREST_NONE: all ranks contribute */
  uint32_t receiver;    /* the only one, or FOREST_NONE: all ranks receive */
};

/* Offsets in bytes in a rank's send and recv buffers. */
struct chunk_span {
  uint64_t send_off, recv_off;
};

/* AGG_EINVAL when the counts overflow 2^63 bytes or 2^32-1 chunks. max_chunk: payload bytes that fit a slot. */
int op_layout_init(struct op_layout *l, const struct op_desc *desc, const struct forest *f, uint32_t lanes, uint32_t max_chunk,
                   agg_error_t *err);

/* Chunk c < l->chunks. */
void chunk_place(const struct op_layout *l, const struct forest *f, uint64_t c, struct chunk_place *p);
struct chunk_span chunk_span(const struct op_layout *l, uint64_t c);

/* Bytes of the send and recv buffers of `rank` for this operation (0 where the rank has none). */
uint64_t op_send_bytes(const struct op_layout *l, uint32_t rank);
uint64_t op_recv_bytes(const struct op_layout *l, uint32_t rank);

#endif
