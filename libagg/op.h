/* One operation as the public functions hand it over. */
#ifndef LIBAGG_OP_H
#define LIBAGG_OP_H

#include "comm.h"

struct op_args {
  enum op_kind kind;
  const void *send;
  void *recv;
  uint64_t count;
  agg_dtype_t dtype;
  agg_redop_t redop;
  uint32_t root;
};

/* Checks everything, then posts: AGG_OK, or what agg.h says of the operations. */
int op_post(struct agg_comm *c, const struct op_args *args, const agg_op_options_t *options, agg_request_t **request);

#endif
