/* The smallest worker: every rank contributes its rank, every rank gets the sum. */
#include <agg.h>
#include <stdio.h>

static int fail(const char *what, const char *text) {
  fprintf(stderr, "hello: %s: %s\n", what, text);
  return 1;
}

int main(void) {
  agg_t *agg = NULL;
  agg_comm_t *comm = NULL;
  agg_request_t *request = NULL;
  agg_error_t err;
  void *memory = NULL;
  const size_t count = 1000;

  if (agg_open(NULL, &agg, &err) != AGG_OK) return fail("agg_open", err.text); /* NULL: defaults and environment */
  if (agg_comm_create_world(agg, &comm) != AGG_OK) return fail("agg_comm_create_world", agg_error_text(agg));
  if (agg_mem_alloc(agg, count * sizeof(float), &memory) != AGG_OK) return fail("agg_mem_alloc", agg_error_text(agg));

  float *gradient = memory;
  for (size_t i = 0; i < count; i++) gradient[i] = (float)agg_comm_rank(comm);

  int rc = agg_allreduce(comm, gradient, gradient, count, AGG_F32, AGG_SUM, NULL, &request);
  if (rc == AGG_OK) rc = agg_wait(&request, -1); /* at most the deadline, 60 s unless set */
  if (rc != AGG_OK) return fail("agg_allreduce", agg_comm_error_text(comm));

  printf("rank %u of %u: the ranks sum to %g\n", agg_comm_rank(comm), agg_comm_size(comm), (double)gradient[0]);
  agg_comm_destroy(comm);
  agg_mem_free(agg, memory);
  agg_close(agg);
  return 0;
}
