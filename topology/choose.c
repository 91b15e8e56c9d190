/*
 * The chooser: from (plan wanted, workers, servers, one host) to the forests of a communicator and their window, lanes and chunk size.
 * Pure, so that all ranks answer alike; never measures anything.
 *
 * auto takes the star when there are servers. Without servers it takes direct, and between several hosts with more than two workers the
 * ring from RING_BYTES_PER_WORKER x workers on: both move 2(n-1)/n of the bytes over each NIC, the ring without n-1 senders meeting at one
 * port, but over 2(n-2) hops more. At about 20 us a hop and 10 GB/s a NIC these hops are less than a tenth of the transfer once
 * bytes >= 10 x n x 20 us x 10 GB/s = n x 2 MB. (With two workers ring and direct are the same trees.)
 */
#include "topology/choose.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

#define RING_BYTES_PER_WORKER (2ull << 20)

#define CHUNK_ONE_HOST (128u << 10)
#define CHUNK_NETWORK (256u << 10)
#define WINDOW_SHALLOW 4u
#define LANES_NETWORK 2u
#define WINDOW_DEEP_MAX 64u /* beyond it the window's memory grows faster than a deeper pipeline gains */

static int check_limits(const struct plan_request *r, agg_error_t *err) {
  if (r->chunk_bytes != 0 &&
      (r->chunk_bytes < PLAN_CHUNK_MIN || r->chunk_bytes > PLAN_CHUNK_MAX || r->chunk_bytes % PLAN_CHUNK_UNIT != 0)) {
    return err_set(err, AGG_EINVAL, "chunk of %u bytes: expected a multiple of %u from %u to %u (AGG_CHUNK), or 0 to have it chosen",
                   r->chunk_bytes, PLAN_CHUNK_UNIT, PLAN_CHUNK_MIN, PLAN_CHUNK_MAX);
  }
  if (r->window > PLAN_WINDOW_MAX) {
    return err_set(err, AGG_EINVAL, "window of %u chunks: expected 1 to %u (AGG_WINDOW), or 0 to have it chosen", r->window,
                   PLAN_WINDOW_MAX);
  }
  if (r->lanes > PLAN_LANES_MAX) {
    return err_set(err, AGG_EINVAL, "%u lanes: expected 1 to %u (AGG_LANES), or 0 to have them chosen", r->lanes, PLAN_LANES_MAX);
  }
  return AGG_OK;
}

static int add_forest(struct plan *p, unsigned kind, const struct plan_request *r, uint64_t from_bytes, agg_error_t *err) {
  assert(p->n_forests < PLAN_FORESTS_MAX);
  assert(p->n_forests == 0 ? from_bytes == 0 : from_bytes > p->from_bytes[p->n_forests - 1]);
  int rc = forest_init(&p->forest[p->n_forests], kind, r->workers, r->servers, err);
  if (rc != AGG_OK) return rc;
  p->from_bytes[p->n_forests++] = from_bytes;
  return AGG_OK;
}

static int add_auto(struct plan *p, const struct plan_request *r, agg_error_t *err) {
  if (r->servers > 0) return add_forest(p, FOREST_STAR, r, 0, err);
  int rc = add_forest(p, FOREST_DIRECT, r, 0, err);
  if (rc != AGG_OK || r->one_host || r->workers <= 2) return rc;
  return add_forest(p, FOREST_RING, r, RING_BYTES_PER_WORKER * r->workers, err);
}

static int add_forests(struct plan *p, const struct plan_request *r, agg_error_t *err) {
  if (r->plan == NULL || r->plan[0] == '\0' || strcmp(r->plan, "auto") == 0) return add_auto(p, r, err);
  int kind = forest_kind_parse(r->plan);
  if (kind < 0) return err_set(err, AGG_EINVAL, "plan \"%.64s\" is unknown: expected auto, star, direct or ring (AGG_PLAN)", r->plan);
  if (kind == FOREST_STAR && r->servers == 0) {
    return err_set(err, AGG_EINVAL, "plan \"star\" needs a server and none is given: set AGG_SERVERS, or take auto, direct or ring");
  }
  return add_forest(p, (unsigned)kind, r, 0, err);
}

/* An edge's window covers a round trip of its tree: two hops are a few chunks, a chain of n nodes is 2(n-1) hops. */
static uint32_t window_for(const struct plan *p) {
  uint32_t depth = 0;
  for (uint32_t i = 0; i < p->n_forests; i++) depth = MAX_OF(depth, forest_depth(&p->forest[i]));
  uint32_t window = depth <= 1 ? WINDOW_SHALLOW : 2 * (depth + 1);
  return MIN_OF(MAX_OF(window, WINDOW_SHALLOW), WINDOW_DEEP_MAX);
}

/* Lanes are dealt over NICs by their number, so fewer lanes than NICs would leave some idle. On one host there is none between the nodes.
 */
static uint32_t lanes_for(const struct plan_request *r) {
  if (r->one_host) return r->servers == 0 ? 1 : 2;
  return MIN_OF(MAX_OF(LANES_NETWORK, r->rails), PLAN_LANES_MAX);
}

int plan_make(const struct plan_request *request, struct plan *plan, agg_error_t *err) {
  struct plan p = {0};
  int rc = check_limits(request, err);
  if (rc == AGG_OK) rc = add_forests(&p, request, err);
  if (rc != AGG_OK) return rc;
  p.chunk_bytes = request->chunk_bytes != 0 ? request->chunk_bytes : request->one_host ? CHUNK_ONE_HOST : CHUNK_NETWORK;
  p.lanes = request->lanes != 0 ? request->lanes : lanes_for(request);
  p.window = request->window != 0 ? request->window : window_for(&p);
  *plan = p;
  return AGG_OK;
}

uint32_t plan_forest(const struct plan *plan, uint64_t bytes) {
  assert(plan->n_forests > 0 && plan->from_bytes[0] == 0);
  uint32_t i = plan->n_forests - 1;
  while (bytes < plan->from_bytes[i]) i--;
  return i;
}
