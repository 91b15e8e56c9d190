/* One collective call as data, so that tests can go through all of them alike. */
#ifndef TESTS_LIB_OPCASE_H
#define TESTS_LIB_OPCASE_H

#include "expect.h"

enum kind { ALLREDUCE, REDUCE, BROADCAST, REDUCE_SCATTER, ALLGATHER, GATHER, SCATTER, KINDS }; /* those with data */

struct op_case {
  enum kind kind;
  agg_dtype_t dtype;
  agg_redop_t op;
  uint64_t count;
  uint32_t root;
  int in_place;
};

const char *kind_name(enum kind k);
int kind_reduces(enum kind k);
int kind_has_root(enum kind k);

/* Elements that a rank of n gives and gets. */
uint64_t op_given(const struct op_case *c, uint32_t rank, uint32_t n);
uint64_t op_gotten(const struct op_case *c, uint32_t rank, uint32_t n);

int op_call(agg_comm_t *comm, const struct op_case *c, const void *send, void *recv, const agg_op_options_t *o, agg_request_t **request);
/* Whether recv holds what the operation promises this rank when everyone gave expect_input: 1, or 0 and a text. */
int op_result_ok(const struct op_case *c, const struct expect *e, uint32_t rank, const char *recv, char *text);

#endif
