/* How large the chunks of an operation are. One rule for the engine, which cuts, and the cost model, which foresees it. Pure. */
#ifndef TOPOLOGY_CUT_H
#define TOPOLOGY_CUT_H

#include <stdint.h>

struct cut_request {
  uint64_t count;      /* elements of a block */
  uint32_t elem_bytes; /* not 0 */
  uint32_t places;     /* places of the forest's schedule that chunks are dealt to; 1: they all take one tree */
  uint32_t lanes;
  uint32_t max_bytes; /* of a chunk */
};

#define CUT_ALIGN_BYTES 64u /* chunks begin on cache lines of an aligned buffer */

/*
 * Elements of a chunk, at least 1: as large as allowed, but so that every place and every lane gets as many as the others.
 *
 * Cutting finer than CUT_TREE_FLOOR costs more in messages than it gains, for the trees, which share out the folding; finer than
 * CUT_LANE_FLOOR, for the lanes, which only let messages overlap: a block that is too small for all of them is cut for the trees only.
 *
 * A chunk goes on when all of it is there, and its result comes back when all is summed: until the first has gone round, and after the last
 * has left, links stand idle. On star, direct and ring alike that is about the time of one chunk on every tree and lane, so an operation of
 * so many rounds takes 1 / rounds longer than its bytes do. For that, chunks are cut down to half where there are fewer than CUT_ROUNDS,
 * for messages cost time as well, and not below CUT_PIPELINE_FLOOR: on one host a contribution is read where it lies, and no link stands
 * idle.
 */
#define CUT_TREE_FLOOR 4096u
#define CUT_LANE_FLOOR 16384u
#define CUT_PIPELINE_FLOOR 131072u
#define CUT_ROUNDS 32u
uint64_t cut_elems(const struct cut_request *r);

#endif
