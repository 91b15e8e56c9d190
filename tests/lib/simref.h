/* The oracle of the simulation tests: what an operation must give, bit for bit, computed from the forest's fold order and the reference
 * kernels. */
#ifndef TESTS_SIMREF_H
#define TESTS_SIMREF_H

#include "engine/chunk.h"
#include "topology/choose.h"

/* Blocks of the operation: 1, or one a rank. */
uint32_t simref_blocks(const struct plan *plan, const struct op_desc *desc);

/* The result, all blocks one after the other. send: the ranks' inputs as they were at the posting (NULL where a rank has none). */
void simref_result(const struct plan *plan, const struct op_desc *desc, const unsigned char *const *send, unsigned char *result);

/* Bytes that `rank` gives and gets, and where its part of the result begins. */
uint64_t simref_send_bytes(const struct plan *plan, const struct op_desc *desc, uint32_t rank);
uint64_t simref_recv_bytes(const struct plan *plan, const struct op_desc *desc, uint32_t rank);
uint64_t simref_recv_from(const struct op_desc *desc, uint32_t rank);

#endif
