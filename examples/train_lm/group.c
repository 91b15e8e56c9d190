/* The program's one place that calls libagg. Operations of a step are posted while the backward pass goes on, and waited for once, before
 * the weights change. */
#include "group.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "progress.h"

int group_complain(const struct group *g, const char *fmt, ...) {
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (g->ranks > 1) {
    fprintf(stderr, "train_lm: rank %u: %s\n", g->rank, text);
  } else {
    fprintf(stderr, "train_lm: %s\n", text);
  }
  return -1;
}

/* ---- joining ---------------------------------------------------------------------------------------------------------------- */

int group_open(struct group *g) {
  agg_config_t config;
  agg_error_t err;
  *g = (struct group){.info = {.size = sizeof g->info}};
  agg_config_init(&config);
  if (agg_config_from_env(&config, &err) != AGG_OK) return group_complain(g, "%s", err.text);
  g->rank = config.rank;
  g->ranks = config.world;
  if (agg_open(&config, &g->agg, &err) != AGG_OK) return group_complain(g, "%s", err.text);
  if (agg_comm_create_world(g->agg, &g->comm) != AGG_OK) return group_complain(g, "%s", agg_error_text(g->agg));
  if (agg_comm_get_info(g->comm, &g->info) != AGG_OK) return group_complain(g, "%s", agg_comm_error_text(g->comm));
  return 0;
}

void group_close(struct group *g) {
  agg_comm_destroy(g->comm);
  agg_close(g->agg);
  g->comm = NULL;
  g->agg = NULL;
}

void *group_alloc(struct group *g, size_t bytes) {
  void *memory;
  if (agg_mem_alloc(g->agg, bytes, &memory) == AGG_OK) return memory;
  group_complain(g, "%s", agg_error_text(g->agg));
  return NULL;
}

void group_free(struct group *g, void *memory) {
  if (g->agg != NULL) agg_mem_free(g->agg, memory);
}

/* ---- single operations ---------------------------------------------------------------------------------------------------------- */

static int finish(struct group *g, int rc, agg_request_t **request) {
  if (rc == AGG_OK) rc = agg_wait(request, -1);
  return rc == AGG_OK ? 0 : group_complain(g, "%s", agg_comm_error_text(g->comm));
}

int group_broadcast(struct group *g, void *data, size_t bytes) {
  agg_request_t *request;
  return finish(g, agg_broadcast(g->comm, data, data, bytes, AGG_U8, 0, NULL, &request), &request);
}

int group_sum(struct group *g, double *values, size_t n) {
  agg_request_t *request;
  return finish(g, agg_allreduce(g->comm, values, values, n, AGG_F64, AGG_SUM, NULL, &request), &request);
}

int group_gather(struct group *g, uint64_t mine, uint64_t *all) {
  agg_request_t *request;
  return finish(g, agg_allgather(g->comm, &mine, all, 1, AGG_U64, NULL, &request), &request);
}

/* ---- gradients -------------------------------------------------------------------------------------------------------------------- */

static void post(struct group *g, void *data, size_t count, agg_dtype_t dtype, agg_redop_t op) {
  if (g->failed) return;
  uint64_t before = now_ns();
  int rc = agg_allreduce(g->comm, data, data, count, dtype, op, NULL, &g->requests[g->n_requests]);
  g->waited_ns += now_ns() - before;
  if (rc == AGG_OK) {
    g->n_requests++;
  } else {
    g->failed = 1;
  }
}

void group_average_begin(struct group *g, const struct tensors *tensors, float *grads, double *loss) {
  g->tensors = tensors;
  g->grads = grads;
  g->n_requests = 0;
  g->failed = 0;
  post(g, loss, 1, AGG_F64, AGG_SUM);
}

void group_average_tensor(void *group, size_t tensor) {
  struct group *g = group;
  const struct tensor *t = &g->tensors->at[tensor];
  post(g, g->grads + t->offset, t->rows * t->cols, AGG_F32, AGG_AVG);
}

int group_average_end(struct group *g) {
  uint64_t before = now_ns();
  for (size_t i = 0; i < g->n_requests; i++) {
    if (agg_wait(&g->requests[i], -1) != AGG_OK) g->failed = 1;
  }
  g->waited_ns += now_ns() - before;
  return g->failed ? group_complain(g, "%s", agg_comm_error_text(g->comm)) : 0;
}
