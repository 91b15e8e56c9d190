/*
 * Why a plan is as it is: every candidate with its predicted time for one kind of operation and size, what limits it, what it needs, or why
 * it was left out; and the choice with its reason in one sentence. Pure; writes into a buffer that grows.
 */
#ifndef TOPOLOGY_EXPLAIN_H
#define TOPOLOGY_EXPLAIN_H

#include "topology/choose.h"

#define EXPLAIN_NAME_MAX 96
#define EXPLAIN_TEXT_MAX 192

struct explain_row {
  char name[EXPLAIN_NAME_MAX];  /* "hybrid: star 60 %, ring 40 %" */
  char limit[EXPLAIN_TEXT_MAX]; /* what limits it: "uplink of rack1"; or, where it was left out, why */
  int left_out;
  int chosen;
  struct cost_time time;
  double wished;             /* seconds with the window that it wants and that does not fit beside the plan's; 0: it has that */
  uint64_t nic_up, nic_down; /* bytes through the busiest host's NICs, each way */
  uint32_t depth;
  uint32_t chunk_bytes, window;
  uint64_t window_bytes; /* at the node with the most */
  uint32_t connections;  /* of the node with the most */
};

struct explain {
  unsigned kind;
  uint64_t bytes;
  uint8_t memory; /* enum fabric_memory */
  uint32_t n_rows;
  struct explain_row *row; /* owned; fastest first, those left out last */
  char reason[512];        /* a sentence, or two */
  char assumed[512];       /* fabric_assumptions */
};

/* For an operation of this kind with so many bytes in a block. plan: as plan_make gave it for the same request. AGG_ENOMEM and what
 * plan_make says. */
int explain_make(const struct plan_request *request, const struct plan *plan, unsigned kind, uint64_t bytes, struct explain *e,
                 agg_error_t *err);
void explain_fini(struct explain *e);

/* As text: a table and the sentence. Appends to *text (malloc'd or NULL; the caller frees). AGG_ENOMEM. */
int explain_text(const struct explain *e, char **text, agg_error_t *err);
/* Of a forest of a plan: also whether its trees have unequal shares. Returns buf. */
const char *explain_forest_name(const struct forest *forest, char *buf, size_t cap);
/* "12.3 ms" and "1.5 GiB": to be read. Return buf. */
const char *explain_seconds(double seconds, char *buf, size_t cap);
const char *explain_bytes(double bytes, char *buf, size_t cap);
/* The plan itself: lanes, window, chunk, and for each kind which forest from which size on. Appends likewise. */
int explain_plan(const struct plan *plan, char **text, agg_error_t *err);

#endif
