/* The size of chunks. */
#include "topology/cut.h"

#include <assert.h>

#include "base/util.h"

uint64_t cut_elems(const struct cut_request *r) {
  assert(r->elem_bytes != 0 && r->places != 0 && r->lanes != 0);
  uint64_t align = MAX_OF(1u, CUT_ALIGN_BYTES / r->elem_bytes);
  uint64_t most = MAX_OF(align, r->max_bytes / r->elem_bytes / align * align);
  uint64_t least = MIN_OF(most, MAX_OF(align, CUT_TREE_FLOOR / r->elem_bytes));
  uint64_t lanes = r->count / r->places / MAX_OF(1u, MIN_OF(most, CUT_LANE_FLOOR / r->elem_bytes));
  uint64_t ways = (uint64_t)r->places * MIN_OF(MAX_OF(1u, lanes), r->lanes);
  uint64_t pipelined = MAX_OF(1u, MIN_OF(most, MAX_OF(most / 2, CUT_PIPELINE_FLOOR / r->elem_bytes)));
  uint64_t rounds = MAX_OF(1u, div_up_u64(r->count, ways * most));
  rounds = MAX_OF(rounds, MIN_OF(CUT_ROUNDS, div_up_u64(r->count, ways * pipelined)));
  uint64_t elems = round_up_u64(div_up_u64(r->count, ways * rounds), align);
  return MIN_OF(MAX_OF(elems, least), most);
}
