/* The solver: intervals of shares up the tree of links, the least time by halving, shares down the tree. */
#include "topology/solve.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/cost_internal.h"

#define HALVINGS 60
#define ROUNDING 1e-12 /* of shares */
#define NO_SHARE 1e-7  /* less than this is nothing */

/* What a set of roots can take. */
struct interval {
  double lo, hi;
};

struct solve {
  const struct cost *cost;
  const struct fabric *f;
  unsigned roots;
  double efficiency;
  uint32_t *below;                  /* [link] workers */
  struct interval *node;            /* [node] */
  struct interval *worker;          /* [link] the workers of a host together, */
  struct interval *server;          /* and its servers */
  struct interval *inner;           /* [link] all below it together, */
  struct interval *link;            /* and what of it the link can carry */
  double *want, *workers, *servers; /* [link] the share that it gets, on the way down; of a host's, its workers and servers */
};

static void add(struct interval *to, struct interval part) {
  to->lo += part.lo;
  to->hi += part.hi;
}

/* Those S with base + slope S <= most; -1: none. */
static int bound(struct interval *i, double base, double slope, double most) {
  double room = most - base;
  if (slope > 0) i->hi = MIN_OF(i->hi, room / slope);
  if (slope < 0) i->lo = MAX_OF(i->lo, room / slope);
  if (slope == 0 && room < 0) return -1;
  i->lo = MAX_OF(i->lo, 0);
  return i->lo <= i->hi + ROUNDING ? 0 : -1;
}

static int may_root(const struct solve *s, uint32_t node) {
  return (s->roots & (node < s->f->workers ? SOLVE_WORKERS : SOLVE_SERVERS)) != 0;
}

/*
 * A node's own work: its sums, and what its bytes cost it over TCP or, with all on one host, in copies. Private memory of workers: they
 * copy what comes down from others and, over verbs, also what they send up and each result that they send. In the host's memory that is
 * left out.
 */
static int bound_node(const struct solve *s, uint32_t i, int one_host, double seconds) {
  const struct fabric *f = s->f;
  const struct fabric_node *n = &f->node[i];
  double all = f->workers, worker = i < f->workers, each = 0;
  if (one_host)
    each = 1 / s->cost->copy;
  else if (f->transport == FABRIC_TCP)
    each = 2 / s->cost->byte_tcp;
  each /= n->threads;
  double base = each * worker, slope = each * (all - 2 * worker), copy = worker / (s->cost->copy * n->threads);
  if (f->memory == FABRIC_PRIVATE && one_host) {
    base += copy;
    slope -= copy;
  } else if (f->memory == FABRIC_PRIVATE && f->transport == FABRIC_VERBS) {
    base += 2 * copy;
    slope += (all - 3) * copy;
  }
  double sum = n->sum_bytes_per_s > 0 ? all / n->sum_bytes_per_s : 0;
  s->node[i] = (struct interval){0, may_root(s, i) ? 1 : 0};
  return bound(&s->node[i], base, sum + slope, seconds);
}

/* Bytes in a host's memory for a share at one of its workers or servers: sums, and puts to and from its other workers. */
static double memory_of(const struct solve *s, uint32_t host, int worker) {
  return s->f->workers + 2.0 * (s->below[host] - (worker ? 1 : 0));
}

/* What the memory leaves: workers' shares cost less of it than servers', so most fits when they come first. */
static void bound_memory(const struct solve *s, uint32_t host, double seconds) {
  double rate = s->f->link[host].memory_bytes_per_s, room = rate * seconds;
  struct interval *w = &s->worker[host], *v = &s->server[host], *both = &s->inner[host];
  *both = (struct interval){w->lo + v->lo, w->hi + v->hi};
  if (rate <= 0) return;
  double hi_w = MIN_OF(w->hi, room / memory_of(s, host, 1));
  double hi_v = MIN_OF(v->hi, (room - hi_w * memory_of(s, host, 1)) / memory_of(s, host, 0));
  both->hi = MIN_OF(both->hi, hi_w + MAX_OF(hi_v, 0));
}

/* Whether all chunks find roots so that nothing is busy for longer; leaves the intervals. */
static int feasible(struct solve *s, double seconds) {
  const struct fabric *f = s->f;
  int one_host = fabric_one_host(f);
  memset(s->worker, 0, 4 * (size_t)f->n_links * sizeof *s->worker); /* worker, server, inner and link lie together */
  for (uint32_t i = 0; i < fabric_nodes(f); i++) {
    if (bound_node(s, i, one_host, seconds) != 0) return 0;
    add(i < f->workers ? &s->worker[f->node[i].host] : &s->server[f->node[i].host], s->node[i]);
  }
  for (uint32_t i = f->n_links - 1; i > 0; i--) {
    const struct fabric_link *l = &f->link[i];
    double m = s->below[i];
    if (l->kind == FABRIC_LINK_HOST) bound_memory(s, i, seconds);
    s->link[i] = (struct interval){s->inner[i].lo, MIN_OF(s->inner[i].hi, 1)};
    if (l->bytes_per_s > 0 && bound(&s->link[i], m, f->workers - 2 * m, seconds * l->bytes_per_s * s->efficiency) != 0) return 0;
    if (s->link[i].lo > s->link[i].hi + ROUNDING) return 0;
    add(&s->inner[l->parent], s->link[i]);
  }
  return s->inner[0].lo <= 1 + ROUNDING && s->inner[0].hi >= 1 - ROUNDING;
}

static double least_time(struct solve *s) {
  if (feasible(s, 0)) return 0;
  double hi = 1e-15;
  while (!feasible(s, hi)) hi *= 2;
  double lo = hi / 2;
  for (int i = 0; i < HALVINGS; i++) {
    double mid = (lo + hi) / 2;
    if (feasible(s, mid))
      hi = mid;
    else
      lo = mid;
  }
  return hi * (1 + 1e-10); /* and the intervals have room for rounding */
}

/* Of `want`, what a part with this interval gets beside others that together have `all`: in proportion to the room. */
static double part_of(double want, struct interval part, struct interval all) {
  double room = all.hi - all.lo;
  return room > 0 ? part.lo + MAX_OF(want - all.lo, 0) * (part.hi - part.lo) / room : part.lo;
}

/* A host's share to its workers together and its servers together: in proportion, then from the servers to the workers as its memory wants.
 */
static void share_host(struct solve *s, uint32_t host, double seconds, double *workers, double *servers) {
  struct interval w = s->worker[host], v = s->server[host], both = {w.lo + v.lo, w.hi + v.hi};
  double want = s->want[host], rate = s->f->link[host].memory_bytes_per_s;
  *workers = part_of(want, w, both);
  *servers = want - *workers;
  double over = *workers * memory_of(s, host, 1) + *servers * memory_of(s, host, 0) - seconds * rate;
  if (rate <= 0 || over <= 0) return;
  double moved = MIN_OF(MIN_OF(over / 2, *servers), w.hi - *workers); /* each one moved spares two */
  *workers += moved;
  *servers -= moved;
}

static void share_out(struct solve *s, double seconds, double *share) {
  const struct fabric *f = s->f;
  double sum = 0;
  s->want[0] = 1;
  for (uint32_t i = 1; i < f->n_links; i++) {
    uint32_t parent = f->link[i].parent;
    s->want[i] = part_of(s->want[parent], s->link[i], s->inner[parent]);
    if (f->link[i].kind == FABRIC_LINK_HOST) share_host(s, i, seconds, &s->workers[i], &s->servers[i]);
  }
  for (uint32_t i = 0; i < fabric_nodes(f); i++) {
    uint32_t host = f->node[i].host;
    double got =
        i < f->workers ? part_of(s->workers[host], s->node[i], s->worker[host]) : part_of(s->servers[host], s->node[i], s->server[host]);
    share[i] = got > NO_SHARE / fabric_nodes(f) ? got : 0;
    sum += share[i];
  }
  for (uint32_t i = 0; i < fabric_nodes(f); i++) share[i] /= sum;
}

static int solve_init(struct solve *s, agg_error_t *err) {
  size_t links = s->f->n_links, nodes = fabric_nodes(s->f);
  s->node = calloc(nodes + 4 * links, sizeof *s->node);
  s->want = calloc(3 * links, sizeof *s->want);
  s->below = calloc(links, sizeof *s->below);
  if (s->node == NULL || s->want == NULL || s->below == NULL) return err_set(err, AGG_ENOMEM, "solver: no memory for %zu nodes", nodes);
  s->worker = s->node + nodes;
  s->server = s->worker + links;
  s->inner = s->server + links;
  s->link = s->inner + links;
  s->workers = s->want + links;
  s->servers = s->workers + links;
  for (uint32_t i = 0; i < s->f->workers; i++) s->below[s->f->node[i].host]++;
  for (uint32_t i = s->f->n_links - 1; i > 0; i--) s->below[s->f->link[i].parent] += s->below[i];
  return AGG_OK;
}

int solve_shares(const struct cost *cost, const struct fabric *f, unsigned roots, double *share, double *seconds, agg_error_t *err) {
  struct solve s = {.cost = cost, .f = f, .roots = roots, .efficiency = cost_efficiency(cost, f)};
  if (!(roots & SOLVE_WORKERS) && (!(roots & SOLVE_SERVERS) || f->servers == 0))
    return err_set(err, AGG_EINVAL, "solver: no node may be a root: there is no server");
  int rc = solve_init(&s, err);
  if (rc == AGG_OK) {
    double time = least_time(&s);
    int met = feasible(&s, time);
    assert(met);
    (void)met;
    share_out(&s, time, share);
    if (seconds != NULL) *seconds = time;
  }
  free(s.below);
  free(s.want);
  free(s.node);
  return rc;
}

/* ---- two forests beside each other -------------------------------------------------------------------------------------------------- */

static double most_of(double most, double x, double a, double b, double rate) {
  double bytes = x * a + (1 - x) * b;
  return rate > 0 ? MAX_OF(most, bytes / rate) : most;
}

/* Times of nodes: linear in their loads as well, so that those of both are enough. */
static double split_time(const struct cost *cost, const struct fabric *f, const struct cost_loads *a, const struct cost_loads *b,
                         const double *node_a, const double *node_b, double x) {
  double most = 0, efficiency = cost_efficiency(cost, f);
  for (uint32_t i = 1; i < f->n_links; i++) {
    const struct fabric_link *l = &f->link[i];
    most = most_of(most, x, a->up[i], b->up[i], l->bytes_per_s * efficiency);
    most = most_of(most, x, a->down[i], b->down[i], l->bytes_per_s * efficiency);
    most = most_of(most, x, a->memory[i], b->memory[i], l->memory_bytes_per_s);
  }
  for (uint32_t i = 0; i < fabric_nodes(f); i++) most = most_of(most, x, node_a[i], node_b[i], 1);
  return most;
}

/* The time is convex in x: thirds that cannot hold the least are cut off. */
int solve_split(const struct cost *cost, const struct fabric *f, const struct cost_loads *a, const struct cost_loads *b, double *part,
                double *seconds, agg_error_t *err) {
  uint32_t nodes = fabric_nodes(f);
  double lo = 0, hi = 1, *node_a = calloc(2 * (size_t)nodes, sizeof *node_a), *node_b = node_a + nodes;
  if (node_a == NULL) return err_set(err, AGG_ENOMEM, "solver: no memory for %u nodes", nodes);
  for (uint32_t i = 0; i < nodes; i++) {
    node_a[i] = load_node_time(cost, f, a, i).byte;
    node_b[i] = load_node_time(cost, f, b, i).byte;
  }
  for (int i = 0; i < HALVINGS; i++) {
    double left = lo + (hi - lo) / 3, right = hi - (hi - lo) / 3;
    if (split_time(cost, f, a, b, node_a, node_b, left) <= split_time(cost, f, a, b, node_a, node_b, right))
      hi = right;
    else
      lo = left;
  }
  *part = (lo + hi) / 2;
  if (seconds != NULL) *seconds = split_time(cost, f, a, b, node_a, node_b, *part);
  free(node_a);
  return AGG_OK;
}
