/* Making the candidates: which there are, their shares, forests, profiles and needs. Chooses nothing. */
#include "topology/candidates.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/solve.h"

#define CHUNK_ONE_HOST (128u << 10)
#define CHUNK_TCP_LEAST (32u << 10) /* small ones leave a switch's port room for many senders */
#define CHUNK_VERBS_LEAST (64u << 10)
#define CHUNK_NETWORK_MOST (1u << 20)
#define CHUNK_WORK 5.0 /* a chunk is on the line so many times as long as its two messages keep a processor */
#define LANES_NETWORK 2u
#define LANE_ENOUGH 1.25e9 /* bytes a second that one TCP connection fills; more of them only meet in the same queues */
#define PERIOD_MOST 256u   /* places of a schedule: more make the chunks smaller, fewer the shares coarser */
#define SHARE_EXCESS 0.02  /* a tree may have so much more than its share for the sake of a short schedule */
#define UNEQUAL 0.01       /* shares nearer to equal than this are taken as equal */
#define NOTHING 1e-3       /* a part of a hybrid with less than this is none */
#define GAIN_LEAST 0.01    /* a hybrid must take so much less than the better of its parts alone */

/* ---- settings ----------------------------------------------------------------------------------------------------------------------- */

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

static double fastest_nic(const struct candidates *all) {
  double fastest = 0;
  for (uint32_t i = 0; i < fabric_nodes(&all->f); i++) fastest = MAX_OF(fastest, all->f.link[all->f.node[i].host].bytes_per_s);
  return fastest;
}

/* Lanes are dealt over NICs by their number, so fewer lanes than NICs would leave some idle. On one host there is none between the nodes.
 */
static uint32_t lanes_for(const struct candidates *all) {
  uint32_t rails = MAX_OF(all->request->rails, all->f.rails);
  if (all->one_host) return all->f.servers == 0 ? 1 : 2;
  if (all->f.transport == FABRIC_TCP && fastest_nic(all) <= LANE_ENOUGH) return MIN_OF(MAX_OF(1u, rails), PLAN_LANES_MAX);
  return MIN_OF(MAX_OF(LANES_NETWORK, rails), PLAN_LANES_MAX);
}

/* The larger a chunk, the less its messages count; the smaller, the sooner the pipeline is full. The fastest NIC rules. */
static uint32_t chunk_for(const struct candidates *all) {
  const struct cost *c = &all->cost;
  if (all->one_host) return CHUNK_ONE_HOST;
  double bytes = CHUNK_WORK * fastest_nic(all) * 2 * (all->f.transport == FABRIC_VERBS ? c->message_verbs : c->message_tcp);
  uint32_t chunk = all->f.transport == FABRIC_VERBS ? CHUNK_VERBS_LEAST : CHUNK_TCP_LEAST;
  while (chunk < CHUNK_NETWORK_MOST && 2.0 * chunk <= bytes) chunk *= 2;
  return chunk;
}

uint32_t window_fitting(const struct candidates *all, double children, uint32_t chunk_bytes, uint32_t wanted) {
  double each = children * all->lanes * PLAN_PRIORITIES * ((double)chunk_bytes + WIRE_HEADER_BYTES);
  if (each * wanted <= 1) return wanted;
  double fits = floor(1 / each);
  return fits >= 2 ? (uint32_t)MIN_OF(fits, wanted) : 0;
}

uint32_t candidate_window(const struct candidates *all, const struct candidate *c, uint32_t chunk_bytes) {
  uint32_t given = all->request->window;
  if (given != 0) return window_fitting(all, c->children, chunk_bytes, given) == given ? given : 0;
  return window_fitting(all, c->children, chunk_bytes, cost_window_wanted(&c->profile[OP_ALLREDUCE], all->lanes, chunk_bytes));
}

int candidate_gains(const struct candidate *c) {
  const struct cost_profile *p = &c->profile[OP_ALLREDUCE];
  int ring = 0;
  for (uint32_t i = 0; i < p->n_parts; i++) ring |= p->part[i].turns;
  return ring;
}

int window_together(const struct candidates *all, const struct forest *const *forests, uint32_t n, uint32_t chunk_bytes, uint32_t wanted,
                    uint32_t *window, agg_error_t *err) {
  struct cost_needs needs;
  int rc = cost_needs(forests, n, &needs, err);
  if (rc != AGG_OK) return rc;
  double children = 0, peers = 0;
  for (uint32_t i = 0; i < fabric_nodes(&all->f); i++) {
    children = MAX_OF(children, needs.children[i] / (double)all->f.node[i].memory_bytes);
    peers = MAX_OF(peers, needs.peers[i]);
  }
  cost_needs_fini(&needs);
  int connected = n == 1 || peers * all->lanes * PLAN_PRIORITIES <= all->cost.connections; /* united, it is an upper bound */
  *window = connected ? window_fitting(all, children, chunk_bytes, wanted) : 0;
  return AGG_OK;
}

/* ---- one candidate ---------------------------------------------------------------------------------------------------------------- */

static struct candidate *next(struct candidates *all, unsigned class, uint8_t family, struct forest_spec a, const struct forest_spec *b) {
  assert(all->n < CANDIDATES_MAX);
  struct candidate *c = &all->c[all->n++];
  *c = (struct candidate){.class = class, .family = family, .n_parts = b != NULL ? 2 : 1};
  c->spec[0] = a;
  if (b != NULL) c->spec[1] = *b;
  c->strict = (a.kind == FOREST_STAR || a.kind == FOREST_DIRECT) && (b == NULL || b->kind == FOREST_DIRECT);
  return c;
}

static void leave_out(struct candidate *c, const char *why) { str_copy(c->why, sizeof c->why, why); }

static int allowed(const struct candidates *all, struct candidate *c) {
  unsigned classes = 0;
  for (uint32_t i = 0; i < all->wish.n; i++) classes |= all->wish.range[i].classes;
  if (!(classes & c->class)) leave_out(c, "not what AGG_PLAN asks for");
  if (all->request->strict && !c->strict) leave_out(c, "sums in another order than that of the ranks, which AGG_REPRODUCIBLE=strict wants");
  return c->why[0] == '\0';
}

static void note_needs(const struct candidates *all, struct candidate *c, const struct cost_needs *needs) {
  for (uint32_t i = 0; i < fabric_nodes(&all->f); i++) {
    double children = needs->children[i] / (double)all->f.node[i].memory_bytes;
    if (children > c->children) {
      c->children = children;
      c->children_node = i;
    }
    if (needs->peers[i] > c->peers) {
      c->peers = needs->peers[i];
      c->peers_node = i;
    }
  }
}

/* Connections and windows: a candidate that breaks a limit is left out, with the figures. */
static void check_needs(const struct candidates *all, struct candidate *c) {
  char node[32];
  double connections = (double)c->peers * all->lanes * PLAN_PRIORITIES;
  if (connections > all->cost.connections) {
    c->limited = LIMITED_CONNECTIONS;
    snprintf(c->why, sizeof c->why, "%s would hold %.0f connections, more than %.0f",
             fabric_node_name(&all->f, c->peers_node, node, sizeof node), connections, all->cost.connections);
    return;
  }
  uint32_t chunk = all->request->chunk_bytes != 0 ? all->chunk_bytes : MIN_OF(CHUNK_LEAST, all->chunk_bytes);
  uint32_t window = all->request->window != 0 ? all->request->window : 2;
  if (window_fitting(all, c->children, chunk, window) == window) return;
  c->limited = LIMITED_MEMORY;
  double limit = (double)all->f.node[c->children_node].memory_bytes;
  double bytes = c->children * limit * all->lanes * PLAN_PRIORITIES * window * (chunk + (double)WIRE_HEADER_BYTES);
  snprintf(c->why, sizeof c->why, "%s would need %.4g MiB for windows of %u chunks of %u KiB, more than its %.4g MiB",
           fabric_node_name(&all->f, c->children_node, node, sizeof node), bytes / 1048576, window, chunk >> 10, limit / 1048576);
}

static int check_forest(const struct candidates *all, struct candidate *c, const struct forest *forest, agg_error_t *err) {
  struct cost_needs needs;
  int rc = cost_needs(&forest, 1, &needs, err);
  if (rc != AGG_OK) return rc;
  note_needs(all, c, &needs);
  check_needs(all, c);
  cost_needs_fini(&needs);
  return AGG_OK;
}

static void drop(struct candidate *c) {
  if (c->built) forest_fini(&c->forest);
  c->built = 0;
}

static int build_with(const struct candidates *all, const struct candidate *c, const double *weights, uint32_t period,
                      struct forest *forest, agg_error_t *err) {
  return forest_build(forest, c->spec, c->n_parts, all->f.workers, all->f.servers, all->map, weights, MIN_OF(period, FOREST_PERIOD_MAX),
                      err);
}

/* How much more than its weight the tree that is worst off gets. */
static int excess_of(const struct forest *f, const double *weights, double *excess, agg_error_t *err) {
  double *share = calloc(f->trees, sizeof *share), sum = 0;
  if (share == NULL) return err_set(err, AGG_ENOMEM, "planner: no memory for %u trees", f->trees);
  for (uint32_t t = 0; t < f->trees; t++) sum += weights[t];
  for (uint32_t i = 0; i < f->period; i++) share[f->schedule != NULL ? f->schedule[i] : i] += 1.0 / f->period;
  *excess = 0;
  for (uint32_t t = 0; t < f->trees; t++) {
    if (share[t] > 0) *excess = MAX_OF(*excess, weights[t] > 0 ? share[t] * sum / weights[t] - 1 : 1);
  }
  free(share);
  return AGG_OK;
}

/* The shortest schedule that is good enough: chunks are cut so that a turn of it is whole, so a long one makes them small. */
static int build(const struct candidates *all, struct candidate *c, const double *weights, agg_error_t *err) {
  uint32_t nodes = fabric_nodes(&all->f), most = MAX_OF(PERIOD_MOST, 2 * nodes); /* trees: at most as many as nodes */
  for (uint32_t period = MAX_OF(8u, nodes); weights != NULL; period *= 2) {
    double excess = 0;
    if (period >= most || nodes > PERIOD_MOST) break;
    int rc = build_with(all, c, weights, period, &c->forest, err);
    if (rc != AGG_OK) return rc;
    c->built = 1;
    rc = excess_of(&c->forest, weights, &excess, err);
    if (rc != AGG_OK) {
      drop(c);
      return rc;
    }
    if (excess <= SHARE_EXCESS) return AGG_OK;
    drop(c);
  }
  int rc = build_with(all, c, weights, most, &c->forest, err);
  c->built = rc == AGG_OK;
  return rc;
}

/* Builds the forest and, where its limits hold, the profiles. AGG_ENOMEM alone is an error: what cannot be built is left out. */
static int make(const struct candidates *all, struct candidate *c, const double *weights, agg_error_t *err) {
  agg_error_t why = {0};
  int rc = build(all, c, weights, &why);
  if (rc == AGG_EINVAL) {
    leave_out(c, why.text);
    return AGG_OK;
  }
  if (rc == AGG_OK) rc = check_forest(all, c, &c->forest, &why);
  for (unsigned kind = 0; rc == AGG_OK && c->why[0] == '\0' && kind < OP_KIND_COUNT; kind++)
    rc = cost_profile(&all->cost, &all->f, &c->forest, kind, &c->profile[kind], &why);
  if (rc != AGG_OK || c->why[0] != '\0') drop(c);
  return rc == AGG_OK ? AGG_OK : err_set(err, rc, "%s", why.text);
}

const char *candidate_name(const struct candidate *c, char *buf, size_t cap) {
  if (c->built) {
    forest_name(&c->forest, buf, cap);
    size_t n = strlen(buf);
    if (c->solved && c->n_parts == 1) snprintf(buf + n, cap - n, ", shares by speed");
  } else if (c->n_parts == 2) {
    snprintf(buf, cap, "hybrid: %s, %s", forest_kind_name(c->spec[0].kind), forest_kind_name(c->spec[1].kind));
  } else if (c->spec[0].kind == FOREST_TREE) {
    snprintf(buf, cap, "tree of %u", c->spec[0].arity);
  } else {
    snprintf(buf, cap, "%s%s", forest_kind_name(c->spec[0].kind), c->solved ? ", shares by speed" : "");
  }
  return buf;
}

static int plain(struct candidates *all, unsigned class, uint8_t family, uint8_t kind, uint8_t arity, agg_error_t *err) {
  struct candidate *c = next(all, class, family, (struct forest_spec){kind, arity}, NULL);
  return allowed(all, c) ? make(all, c, NULL, err) : AGG_OK;
}

/* ---- shares ------------------------------------------------------------------------------------------------------------------------- */

static int unequal(const double *share, uint32_t n) {
  double least = share[0], most = share[0];
  for (uint32_t i = 1; i < n; i++) {
    least = MIN_OF(least, share[i]);
    most = MAX_OF(most, share[i]);
  }
  return most - least > UNEQUAL * most;
}

/* Trees of one level over servers or workers with solved shares, where these are not all equal. first: of the nodes that are roots. */
static int solved(struct candidates *all, unsigned class, uint8_t family, uint8_t kind, unsigned roots, double *share, agg_error_t *err) {
  uint32_t first = roots == SOLVE_SERVERS ? all->f.workers : 0, n = roots == SOLVE_SERVERS ? all->f.servers : all->f.workers;
  if (n < 2) return AGG_OK;
  struct candidate *c = next(all, class, family, (struct forest_spec){kind, 0}, NULL);
  c->solved = 1;
  if (!allowed(all, c)) return AGG_OK;
  if (c[-1].why[0] != '\0') { /* the plain one, which breaks the same limits */
    leave_out(c, c[-1].why);
    return AGG_OK;
  }
  int rc = solve_shares(&all->cost, &all->f, roots, share, NULL, err);
  if (rc == AGG_OK && !unequal(share + first, n)) {
    all->n--; /* the plain one is the same */
    return AGG_OK;
  }
  return rc == AGG_OK ? make(all, c, share + first, err) : rc;
}

/* The star of hosts: as the star, with one worker for each host. */
static int solved_hstar(struct candidates *all, double *share, agg_error_t *err) {
  const struct forest_map *m = all->map;
  struct fabric few;
  if (all->f.servers < 2) return AGG_OK;
  struct candidate *c = next(all, PLAN_HIER, FAMILY_HSTAR, (struct forest_spec){FOREST_HSTAR, 0}, NULL);
  c->solved = 1;
  if (!allowed(all, c)) return AGG_OK;
  int rc = fabric_copy(&few, &all->f, err);
  if (rc != AGG_OK) return rc;
  few.workers = m->groups;
  for (uint32_t g = 0; g < m->groups; g++) few.node[g] = all->f.node[m->worker_at[m->group_first[g]]];
  for (uint32_t s = 0; s < few.servers; s++) few.node[few.workers + s] = all->f.node[all->f.workers + s];
  rc = solve_shares(&all->cost, &few, SOLVE_SERVERS, share, NULL, err);
  fabric_fini(&few);
  if (rc == AGG_OK && !unequal(share + m->groups, all->f.servers)) {
    all->n--;
    return AGG_OK;
  }
  return rc == AGG_OK ? make(all, c, share + m->groups, err) : rc;
}

/* ---- hybrids ------------------------------------------------------------------------------------------------------------------------ */

static struct candidate *hybrid(struct candidates *all, uint8_t kind) {
  struct forest_spec beside = {kind, 0};
  struct candidate *c = next(all, PLAN_HYBRID, FAMILY_STAR, (struct forest_spec){FOREST_STAR, 0}, &beside);
  c->solved = 1;
  return c;
}

/* What is asked for by name is made all the same. */
static int useless(const struct candidates *all, struct candidate *c, int star_alone) {
  for (uint32_t i = 0; i < all->wish.n; i++) {
    if (all->wish.range[i].classes == PLAN_HYBRID) return 0;
  }
  drop(c);
  leave_out(c, star_alone ? "the servers alone are as fast: the star is the same" : "the servers add nothing: the same without the star");
  return 1;
}

/* A part of nearly nothing only costs: the other alone is a candidate already. */
static int one_sided(const struct candidates *all, struct candidate *c, double star) {
  return (star <= NOTHING || star >= 1 - NOTHING) && useless(all, c, star > 0.5);
}

/* Seconds a byte. Two workers: M / B whatever the share, so that any would do, and each part only adds what its own first chunks wait. */
static int gains_nothing(const struct candidates *all, struct candidate *c, double both, double star, double other) {
  return both > (1 - GAIN_LEAST) * MIN_OF(star, other) && useless(all, c, star < (1 - GAIN_LEAST) * other);
}

/* The share of the star in the schedule. Trees of very small shares have got none, so it may be all. */
static double star_share(const struct forest *f) {
  uint32_t star = 0, period = f->schedule != NULL ? f->period : f->trees;
  for (uint32_t i = 0; i < period; i++) star += forest_tree_at(f, i) < f->part[0].trees;
  return (double)star / period;
}

static int make_hybrid(const struct candidates *all, struct candidate *c, double star, const double *weights, agg_error_t *err) {
  if (one_sided(all, c, star)) return AGG_OK;
  int rc = make(all, c, weights, err);
  if (rc == AGG_OK && c->built) (void)one_sided(all, c, star_share(&c->forest));
  return rc;
}

/* Whether its limits hold, whatever the shares: before these are solved. */
static int within_limits(const struct candidates *all, struct candidate *c, agg_error_t *err) {
  int rc = build(all, c, NULL, err);
  if (rc == AGG_OK) rc = check_forest(all, c, &c->forest, err);
  drop(c);
  return rc;
}

static int hybrid_direct(struct candidates *all, double *share, double *weights, agg_error_t *err) {
  struct candidate *c = hybrid(all, FOREST_DIRECT);
  uint32_t n = all->f.workers, k = all->f.servers;
  if (!allowed(all, c)) return AGG_OK;
  int rc = within_limits(all, c, err);
  if (rc != AGG_OK || c->why[0] != '\0') return rc;
  double both = 0, alone[2] = {0}, star = 0;
  rc = solve_shares(&all->cost, &all->f, SOLVE_SERVERS, share, &alone[0], err);
  if (rc == AGG_OK) rc = solve_shares(&all->cost, &all->f, SOLVE_WORKERS, share, &alone[1], err);
  if (rc == AGG_OK) rc = solve_shares(&all->cost, &all->f, SOLVE_SERVERS | SOLVE_WORKERS, share, &both, err);
  if (rc != AGG_OK || gains_nothing(all, c, both, alone[0], alone[1])) return rc;
  for (uint32_t s = 0; s < k; s++) star += weights[s] = share[n + s];
  for (uint32_t w = 0; w < n; w++) weights[k + w] = share[w];
  return make_hybrid(all, c, star, weights, err);
}

/* Loads of an allreduce of one of the parts alone. */
static int loads_of(const struct candidates *all, struct forest_spec spec, const double *weights, struct cost_loads *loads,
                    agg_error_t *err) {
  struct forest forest;
  int rc = forest_build(&forest, &spec, 1, all->f.workers, all->f.servers, all->map, weights, 0, err);
  if (rc != AGG_OK) return rc;
  rc = cost_loads_of(&all->cost, &all->f, &forest, OP_ALLREDUCE, 0, loads, err);
  forest_fini(&forest);
  return rc;
}

/* A star with the servers' shares solved, and beside it one with equal shares, so much of each that both end together. */
static int hybrid_split(struct candidates *all, uint8_t kind, double *share, double *weights, agg_error_t *err) {
  struct candidate *c = hybrid(all, kind);
  uint32_t n = all->f.workers, k = all->f.servers;
  struct cost_loads star = {0}, other = {0};
  if (!allowed(all, c)) return AGG_OK;
  int rc = within_limits(all, c, err);
  if (rc != AGG_OK || c->why[0] != '\0') return rc;
  rc = solve_shares(&all->cost, &all->f, SOLVE_SERVERS, share, NULL, err);
  if (rc == AGG_OK) rc = loads_of(all, c->spec[0], share + n, &star, err);
  if (rc == AGG_OK) rc = loads_of(all, c->spec[1], NULL, &other, err);
  double x = 0, both = 0, alone[2] = {0};
  if (rc == AGG_OK) rc = solve_split(&all->cost, &all->f, &star, &star, &x, &alone[0], err);
  if (rc == AGG_OK) rc = solve_split(&all->cost, &all->f, &other, &other, &x, &alone[1], err);
  if (rc == AGG_OK) rc = solve_split(&all->cost, &all->f, &star, &other, &x, &both, err);
  if (rc == AGG_OK && !gains_nothing(all, c, both, alone[0], alone[1])) {
    for (uint32_t s = 0; s < k; s++) weights[s] = x * share[n + s];
    for (uint32_t w = 0; w < n; w++) weights[k + w] = (1 - x) / n;
    rc = make_hybrid(all, c, x, weights, err);
  }
  cost_loads_fini(&star);
  cost_loads_fini(&other);
  return rc;
}

/* ---- all ---------------------------------------------------------------------------------------------------------------------------- */

static int make_trees(struct candidates *all, agg_error_t *err) {
  static const uint8_t arities[] = {2, 4, 8, 16, 32};
  uint32_t n = all->f.workers;
  int rc = AGG_OK;
  for (size_t i = 0; rc == AGG_OK && i < ARRAY_LEN(arities); i++) {
    if (i == 0 || arities[i] < n - 1) rc = plain(all, PLAN_TREE, FAMILY_NONE, FOREST_TREE, arities[i], err);
  }
  if (rc == AGG_OK && n > 3 && n - 1 <= FOREST_ARITY_MAX) rc = plain(all, PLAN_TREE, FAMILY_NONE, FOREST_TREE, (uint8_t)(n - 1), err);
  return rc == AGG_OK && n > 2 ? plain(all, PLAN_TREE, FAMILY_NONE, FOREST_DTREE, 0, err) : rc;
}

static int make_grouped(struct candidates *all, double *share, agg_error_t *err) {
  const struct forest_map *m = all->map;
  int rc = AGG_OK, groups = m != NULL && m->groups < m->workers, servers = all->f.servers != 0;
  if (groups && m->groups > 1) rc = plain(all, PLAN_HIER, FAMILY_NONE, FOREST_HIER, 0, err);
  if (rc == AGG_OK && groups && servers) rc = plain(all, PLAN_HIER, FAMILY_HSTAR, FOREST_HSTAR, 0, err);
  if (rc == AGG_OK && groups && servers) rc = solved_hstar(all, share, err);
  if (rc == AGG_OK && m != NULL && m->racks > 1 && servers) rc = plain(all, PLAN_HIER, FAMILY_RACK, FOREST_RACK, 0, err);
  return rc;
}

static int make_hybrids(struct candidates *all, double *share, double *weights, agg_error_t *err) {
  const struct forest_map *m = all->map;
  if (all->f.servers == 0 || all->f.workers < 2) return AGG_OK;
  int rc = hybrid_direct(all, share, weights, err);
  if (rc == AGG_OK && all->f.workers > 2) rc = hybrid_split(all, FOREST_RING, share, weights, err);
  if (rc == AGG_OK && m != NULL && m->groups > 1 && m->groups < m->workers) rc = hybrid_split(all, FOREST_HIER, share, weights, err);
  return rc;
}

/* Those that are simple come first: among equals the first is taken. */
static int make_all(struct candidates *all, agg_error_t *err) {
  uint32_t nodes = fabric_nodes(&all->f);
  double *share = calloc(2 * (size_t)nodes, sizeof *share), *weights = share + nodes;
  if (share == NULL) return err_set(err, AGG_ENOMEM, "planner: no memory for %u nodes", nodes);
  int rc = AGG_OK;
  if (all->f.servers != 0) rc = plain(all, PLAN_STAR, FAMILY_STAR, FOREST_STAR, 0, err);
  if (rc == AGG_OK && all->f.servers != 0) rc = solved(all, PLAN_STAR, FAMILY_STAR, FOREST_STAR, SOLVE_SERVERS, share, err);
  if (rc == AGG_OK) rc = plain(all, PLAN_DIRECT, FAMILY_NONE, FOREST_DIRECT, 0, err);
  if (rc == AGG_OK) rc = solved(all, PLAN_DIRECT, FAMILY_NONE, FOREST_DIRECT, SOLVE_WORKERS, share, err);
  if (rc == AGG_OK && all->f.workers > 1) rc = plain(all, PLAN_RING, FAMILY_NONE, FOREST_RING, 0, err);
  if (rc == AGG_OK && all->f.workers > 1) rc = make_trees(all, err);
  if (rc == AGG_OK) rc = make_grouped(all, share, err);
  if (rc == AGG_OK) rc = make_hybrids(all, share, weights, err);
  free(share);
  return rc;
}

/* A map that says nothing is none. */
static int make_map(struct candidates *all, agg_error_t *err) {
  int rc = fabric_map(&all->f, &all->map, err);
  if (rc != AGG_OK) return rc;
  if (all->map->racks > 1 || (all->map->groups > 1 && all->map->groups < all->map->workers)) return AGG_OK;
  if (all->map->groups == 1 && all->map->workers > 1 && all->f.servers > 0 && !all->one_host) return AGG_OK;
  forest_map_free(all->map);
  all->map = NULL;
  return AGG_OK;
}

int candidates_make(struct candidates *all, const struct plan_request *request, agg_error_t *err) {
  *all = (struct candidates){.request = request};
  int rc = check_limits(request, err);
  if (rc == AGG_OK) rc = plan_wish_parse(request->plan, &all->wish, err);
  if (rc == AGG_OK) rc = fabric_check(request->fabric, err);
  if (rc == AGG_OK) rc = fabric_copy(&all->f, request->fabric, err);
  if (rc != AGG_OK) return rc;
  if (request->cost != NULL)
    all->cost = *request->cost;
  else
    cost_init(&all->cost);
  fabric_assume(&all->f, &all->cost);
  all->one_host = fabric_one_host(&all->f);
  all->lanes = request->lanes != 0 ? request->lanes : lanes_for(all);
  fabric_limit_threads(&all->f, all->lanes);
  all->chunk_bytes = request->chunk_bytes != 0 ? request->chunk_bytes : chunk_for(all);
  rc = make_map(all, err);
  if (rc == AGG_OK) rc = plan_wish_check(&all->wish, &all->f, all->map, request->strict, err);
  if (rc == AGG_OK) rc = make_all(all, err);
  if (rc != AGG_OK) candidates_fini(all);
  return rc;
}

void candidates_fini(struct candidates *all) {
  for (uint32_t i = 0; i < all->n; i++) drop(&all->c[i]);
  forest_map_free(all->map);
  all->map = NULL;
  fabric_fini(&all->f);
  all->n = 0;
}
