/* Which forest an operation takes. All ranks must answer alike: a pure function of what the coordinator sent to all. */
#ifndef TOPOLOGY_CHOOSE_H
#define TOPOLOGY_CHOOSE_H

#include "forest.h"

#define PLAN_FORESTS_MAX 4

/* What may be asked for; 0 has each of them chosen. */
#define PLAN_CHUNK_MIN 1024u
#define PLAN_CHUNK_MAX (16u << 20)
#define PLAN_CHUNK_UNIT 64u
#define PLAN_WINDOW_MAX 1024u
#define PLAN_LANES_MAX 16u

/* What a communicator runs on: its forests, and the size from which on each is used. */
struct plan {
  uint32_t n_forests;
  struct forest forest[PLAN_FORESTS_MAX];
  uint64_t from_bytes[PLAN_FORESTS_MAX]; /* ascending, the first 0 */
  uint32_t lanes, window, chunk_bytes;
};

struct plan_request {
  const char *plan; /* "auto", "star", "direct", "ring" */
  uint32_t workers, servers;
  int one_host;                        /* all nodes share a host */
  uint32_t rails;                      /* the most NICs of any node; 0 counts as 1 */
  uint32_t lanes, window, chunk_bytes; /* 0: chosen */
};

/* AGG_EINVAL: unknown plan, or one that cannot be (star without a server). */
int plan_make(const struct plan_request *request, struct plan *plan, agg_error_t *err);

/* Index of the forest for an operation of this many bytes (of one block). */
uint32_t plan_forest(const struct plan *plan, uint64_t bytes);

#endif
