/* From a profile to the time of an operation, the window it wants, and the name of what limits it. */
#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "base/util.h"
#include "topology/cost.h"
#include "topology/cut.h"
#include "topology/plan.h"

#define WINDOW_LEAST 4u
#define WINDOW_MOST 256u /* beyond it the window's memory grows faster than a deeper pipeline gains */
/* On trees deeper than one a trip under load takes longer than an empty one, and slots are used again in their order, so that the longest
 * trip of an edge counts: as perf/micro/plan_sim.c shows it on rings of 16 to 256. */
#define DEEP_TRIP 3.0

struct cut {
  double chunk;  /* bytes of one */
  double pieces; /* of a block */
  double chunks; /* of all blocks */
};

static struct cut cut_of(const struct cost_profile *p, const struct cost_setting *s, uint64_t bytes) {
  uint64_t chunk = cut_elems(
      &(struct cut_request){.count = bytes, .elem_bytes = 1, .places = p->period, .lanes = s->lanes, .max_bytes = s->chunk_bytes});
  struct cut c = {.pieces = (double)MAX_OF(1u, div_up_u64(bytes, chunk)), .chunk = (double)MIN_OF(chunk, bytes)};
  c.chunks = c.pieces * p->blocks;
  return c;
}

static struct cost_line busiest(const struct cost_profile *p, double bytes, double pieces, double *seconds) {
  struct cost_line most = {.what = COST_HOPS};
  *seconds = 0;
  for (uint32_t i = 0; i < p->n_lines; i++) {
    double t = p->line[i].byte * bytes + p->line[i].piece * pieces;
    if (t <= *seconds) continue;
    *seconds = t;
    most = p->line[i];
  }
  return most;
}

/* Fewer chunks than trees and lanes: each has a tree for itself, and trees meet only in what all of them use. */
static double few_chunks(const struct cost_profile *p, const struct cost_setting *s, const struct cut *c, double bytes) {
  double beside = MIN_OF(c->chunks, s->lanes);
  return MAX_OF(p->one.byte * c->chunk * beside, p->first.byte * bytes) + MAX_OF(p->one.piece * beside, p->first.piece * c->pieces);
}

static double trip_factor(const struct cost_profile *p) { return p->depth > 1 ? DEEP_TRIP : 1; }

/* The time in which the busiest edge can bring its chunks home with so small a window. */
static double window_time(const struct cost_profile *p, const struct cost_setting *s, const struct cut *c) {
  double chunks = p->trip_share * c->chunks, places = (double)s->lanes * s->window;
  if (chunks <= places) return 0;
  return trip_factor(p) * chunks * (p->hops + p->one.byte * c->chunk + p->one.piece) / places;
}

struct cost_time cost_predict(const struct cost_profile *p, const struct cost_setting *s, uint64_t bytes) {
  assert(s->lanes > 0 && s->window > 0 && s->chunk_bytes > 0);
  if (p->kind == OP_BARRIER) bytes = 0;
  struct cut c = cut_of(p, s, bytes);
  struct cost_time t = {.hops = p->hops};
  struct cost_line most = busiest(p, (double)bytes, c.pieces, &t.load);
  double rounds = c.chunks / ((double)s->lanes * p->places);
  double levels = p->first.byte * (double)bytes + p->first.piece * c.pieces;
  if (rounds < 1)
    t.fill = MAX_OF(0, (p->spread ? few_chunks(p, s, &c, (double)bytes) : levels) - t.load);
  else
    t.fill = MAX_OF(0, levels - t.load) / rounds;
  t.what = most.what;
  t.at = most.at;
  double window = window_time(p, s, &c);
  if (t.fill > t.load) t.what = COST_FILL;
  double rest = t.load + t.fill;
  if (window > rest) t.what = COST_WINDOW;
  if (p->depth > 1)
    t.load = cbrt(rest * rest * rest + window * window * window) - t.fill; /* the two meet softly */
  else
    t.load = MAX_OF(rest, window) - t.fill;
  if (t.hops >= MAX_OF(t.load, t.fill)) t.what = COST_HOPS;
  t.seconds = t.hops + t.load + t.fill;
  return t;
}

uint32_t cost_window_wanted(const struct cost_profile *p, uint32_t lanes, uint32_t chunk_bytes) {
  double each, trip = p->hops + p->one.byte * chunk_bytes + p->one.piece;
  busiest(p, (double)chunk_bytes / p->blocks, 1.0 / p->blocks, &each);
  if (each <= 0) return WINDOW_LEAST;
  double wanted = ceil(2 * trip_factor(p) * p->trip_share * trip / (each * lanes)) + 1; /* twice: a trip under load takes longer */
  return wanted >= WINDOW_MOST ? WINDOW_MOST : MAX_OF(WINDOW_LEAST, (uint32_t)wanted);
}

static const char *link_word(const struct fabric_link *l) { return l->kind != FABRIC_LINK_HOST ? "uplink" : l->by_pcie ? "PCIe" : "NIC"; }

const char *cost_bottleneck(const struct fabric *f, const struct cost_time *t, char *buf, size_t cap) {
  char node[32];
  switch ((enum cost_resource)t->what) {
    case COST_LINK_UP:
    case COST_LINK_DOWN:
      snprintf(buf, cap, "%s of %s, %s", link_word(&f->link[t->at]), f->link[t->at].name, t->what == COST_LINK_UP ? "out" : "in");
      break;
    case COST_MEMORY:
    case COST_CORES:
      snprintf(buf, cap, "%s of %s", t->what == COST_MEMORY ? "memory" : "cores", f->link[t->at].name);
      break;
    case COST_SUM:
    case COST_WORK:
      snprintf(buf, cap, "%s on %s", t->what == COST_SUM ? "sum" : "messages and copies", fabric_node_name(f, t->at, node, sizeof node));
      break;
    case COST_WINDOW:
      snprintf(buf, cap, "window");
      break;
    case COST_FILL:
      snprintf(buf, cap, "first chunks, level by level");
      break;
    default:
      snprintf(buf, cap, "hops");
      break;
  }
  return buf;
}
