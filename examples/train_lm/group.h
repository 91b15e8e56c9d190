/* All that this program asks of libagg: one group of ranks that average gradients while they are still being computed. */
#ifndef TRAIN_LM_GROUP_H
#define TRAIN_LM_GROUP_H

#include <agg.h>

#include "model.h"

struct group {
  agg_t *agg;
  agg_comm_t *comm;
  uint32_t rank, ranks;
  agg_comm_info_t info;
  uint64_t waited_ns; /* spent in calls of libagg while learning: posting and waiting */

  /* gradients on their way */
  float *grads;
  const struct tensors *tensors;
  agg_request_t *requests[MODEL_TENSORS_MAX + 1];
  size_t n_requests;
  int failed;
};

/* Each returns 0, or -1 after it has said on standard error what is wrong, in one line. */

/* Joins the group that the environment names (agg-run sets it, and so do torchrun, mpirun and srun). */
int group_open(struct group *g);
void group_close(struct group *g);

void *group_alloc(struct group *g, size_t bytes); /* zeroed memory that peers can reach; NULL after saying why */
void group_free(struct group *g, void *memory);

int group_broadcast(struct group *g, void *data, size_t bytes); /* of rank 0 */
int group_sum(struct group *g, double *values, size_t n);
/* mine of every rank, in rank order. */
int group_gather(struct group *g, uint64_t mine, uint64_t *all);

/* Averages gradients: begin, then average_tensor for each tensor when it is ready (a model_ready_fn with the group as its user), then end,
 * which waits for all of them. Errors show at the end. `loss` is summed on the way. */
void group_average_begin(struct group *g, const struct tensors *tensors, float *grads, double *loss);
void group_average_tensor(void *group, size_t tensor);
int group_average_end(struct group *g);

/* One line on standard error, with the rank in front where there are several. Returns -1. */
int group_complain(const struct group *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
