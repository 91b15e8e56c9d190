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
 * trip of an edge counts. */
#define DEEP_TRIP 3.0
#define ROUNDING 1e-9

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

static double line_time(const struct cost_line *l, double bytes, double pieces) { return l->byte * bytes + l->piece * pieces; }

static double busy_time(const struct cost_busy *b, double bytes, double pieces) {
  return MAX_OF(b->bytes * bytes, MAX_OF(line_time(&b->node, bytes, pieces), line_time(&b->cores, bytes, pieces)));
}

static double trip_of(const struct cost_part *part, double chunk) { return part->hops + line_time(&part->one, chunk, 1); }

static double trip_factor(const struct cost_part *part) { return part->depth > 1 && !part->turns ? DEEP_TRIP : 1; }

/* When a part is done, and what of it is neither hops nor load; window: its window is what counts; turns: it goes in turns. */
struct done {
  double seconds, fill;
  uint8_t window, turns;
};

/* The time in which the busiest edge can bring its chunks home with so small a window. */
static double window_time(const struct cost_part *part, const struct cost_setting *s, const struct cut *c) {
  double chunks = part->trip_share * c->chunks, places = (double)s->lanes * s->window;
  return chunks > places ? trip_factor(part) * chunks * trip_of(part, c->chunk) / places : 0;
}

static struct done add_window(const struct cost_part *part, double load, double fill, double window) {
  double rest = load + fill, both = MAX_OF(rest, window);
  if (part->depth > 1) both = cbrt(rest * rest * rest + window * window * window); /* the two meet softly */
  return (struct done){.seconds = part->hops + both, .fill = fill, .window = window > rest};
}

/* Chunks are opened in their order, so beside a ring the others wait at the end of its turns, and begin again. */
static double turns_of(const struct cost_profile *p, const struct cost_setting *s, const struct cut *c) {
  double turns = 1;
  for (uint32_t i = 0; i < p->n_parts; i++) {
    const struct cost_part *part = &p->part[i];
    if (part->turns) turns = MAX_OF(turns, part->trip_share * c->chunks / ((double)s->lanes * s->window));
  }
  return turns;
}

/* A part whose levels all work at once, but for the first chunks. */
static struct done part_time(const struct cost_profile *p, const struct cost_part *part, const struct cost_setting *s, const struct cut *c,
                             double bytes, double all) {
  double load = p->n_parts == 1 ? all : busy_time(&part->busy, bytes, c->pieces);
  double rounds = MAX_OF(1, part->share * c->chunks / ((double)s->lanes * part->trees)), waits = part->turns ? 1 : turns_of(p, s, c);
  double fill = MAX_OF(0, line_time(&part->first, bytes, c->pieces) - load) * MIN_OF(1, waits / rounds);
  struct done d = add_window(part, load, fill, window_time(part, s, c));
  d.turns = waits > 1;
  return d;
}

/*
 * A ring goes in turns. Its trees are one tree turned round, so chunks that set out together are at the same level at any time: they all go
 * up, then all come down, and then the slots are free for as many more. A turn takes a chunk's trip where few are under way, and where many
 * are, what its phases keep busy, one after the other: while sums go up the links have time, and while results come down the processors.
 * At each of its many hops a chunk waits behind what other parts have put on the same links.
 *
 * From turn to turn chunks come apart, and when they are spread over the levels both ways overlap, as elsewhere: the sooner the fewer
 * levels there are.
 */
static struct done ring_time(const struct cost_profile *p, const struct cost_part *part, const struct cost_setting *s, const struct cut *c,
                             double bytes, double all) {
  double chunks = part->trip_share * c->chunks / s->lanes, trip = trip_of(part, c->chunk), beside = 0;
  double levels = busy_time(&part->way[0], bytes, c->pieces) + busy_time(&part->way[1], bytes, c->pieces);
  for (uint32_t i = 0; i < p->n_parts; i++) beside += &p->part[i] != part ? p->part[i].above_workers * bytes : 0;
  if (chunks <= 0) return (struct done){.seconds = beside + levels, .turns = 1};
  double turns = chunks / s->window, full = floor(turns * (1 + ROUNDING)), rest = MAX_OF(0, turns - full), turn = levels / turns;
  double seconds = full * MAX_OF(trip, turn);
  if (rest > ROUNDING * turns) seconds += MAX_OF(trip, turn * rest);
  double apart = part_time(p, part, s, c, bytes, all).seconds;
  if (apart < seconds && turns > 1) seconds -= (seconds - apart) * (turns - 1) / (turns - 1 + part->depth / 2.0);
  seconds += beside;
  return (struct done){.seconds = seconds, .fill = seconds, .turns = 1, .window = full >= 1 && trip > turn && turns > 1};
}

/* Not even a chunk for every tree and lane: which parts they go to is not looked at. */
static struct done few_time(const struct cost_profile *p, const struct cost_setting *s, const struct cut *c, double bytes, double load) {
  double levels = p->spread ? few_chunks(p, s, c, bytes) : line_time(&p->first, bytes, c->pieces), window = 0;
  struct cost_part all = {.depth = p->depth, .hops = p->hops};
  for (uint32_t i = 0; i < p->n_parts; i++) window = MAX_OF(window, p->part[i].turns ? 0 : window_time(&p->part[i], s, c));
  return add_window(&all, load, MAX_OF(0, levels - load), window);
}

/* The part that is done last. What several use is busy for all of them, and while one waits another works. */
static struct done all_done(const struct cost_profile *p, const struct cost_setting *s, const struct cut *c, double bytes, double load) {
  double hops = p->hops;
  int few = c->chunks < (double)s->lanes * p->places && (p->n_parts > 1 || !p->part[0].turns);
  struct done last = {.seconds = 0};
  if (few) last = few_time(p, s, c, bytes, load);
  for (uint32_t i = 0; i < p->n_parts; i++) {
    const struct cost_part *part = &p->part[i];
    if (part->trees == 0 || (few && !part->turns)) continue;
    struct done d = part->turns ? ring_time(p, part, s, c, bytes, load) : part_time(p, part, s, c, bytes, load);
    if (d.seconds > last.seconds) last = d;
    hops = MIN_OF(hops, part->turns ? 0 : part->hops);
  }
  if (load + hops > last.seconds) last = (struct done){.seconds = load + hops};
  return last;
}

struct cost_time cost_predict(const struct cost_profile *p, const struct cost_setting *s, uint64_t bytes) {
  assert(s->lanes > 0 && s->window > 0 && s->chunk_bytes > 0);
  if (p->kind == OP_BARRIER) bytes = 0;
  struct cut c = cut_of(p, s, bytes);
  struct cost_time t = {0};
  double load;
  struct cost_line most = busiest(p, (double)bytes, c.pieces, &load);
  struct done done = all_done(p, s, &c, (double)bytes, load);
  t.seconds = done.seconds;
  t.hops = MIN_OF(p->hops, t.seconds);
  t.fill = MIN_OF(done.fill, MAX_OF(0, t.seconds - t.hops - load));
  t.load = t.seconds - t.hops - t.fill;
  t.turns = done.turns;
  t.what = most.what;
  t.at = most.at;
  if (t.fill > t.load) t.what = t.turns ? COST_TURNS : COST_FILL;
  if (done.window) t.what = COST_WINDOW;
  if (t.hops >= MAX_OF(t.load, t.fill)) t.what = COST_HOPS;
  return t;
}

uint32_t cost_window_wanted(const struct cost_profile *p, uint32_t lanes, uint32_t chunk_bytes) {
  double each, wanted = 0;
  busiest(p, (double)chunk_bytes / p->blocks, 1.0 / p->blocks, &each);
  if (each <= 0) return WINDOW_LEAST;
  for (uint32_t i = 0; i < p->n_parts; i++) {
    const struct cost_part *part = &p->part[i];
    if (part->trees != 0) wanted = MAX_OF(wanted, trip_factor(part) * part->trip_share * trip_of(part, chunk_bytes));
  }
  wanted = ceil(2 * wanted / (each * lanes)) + 1; /* twice: a trip under load takes longer */
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
    case COST_TURNS:
      snprintf(buf, cap, "turns up and down");
      break;
    default:
      snprintf(buf, cap, "hops");
      break;
  }
  return buf;
}
