/*
 * Loads in closed form: O(nodes + links), whatever the number of trees.
 *
 * Where every tree has one level (star, direct), or its upper level joins a leader of every host to the root (hier, hstar), what flows from
 * i to the root j is w_i x v_j: a link with W and V below it carries W (V_all - V) up and (W_all - W) V down; on the way back of the round
 * trip the directions are changed. Of a ring every edge is known. The rest is one tree or two, and is walked.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/cost_internal.h"

/* One part of a forest in an operation. */
struct shape_case {
  const struct forest_part *part;
  const struct cost_case *c;
  uint32_t first;      /* its first tree */
  const double *share; /* of all trees of the forest */
  double *value;       /* [node] chunks rooted there, of one chunk of each block */
  double *lead;        /* [worker] the same of the trees in which it leads its group below another root */
  double *lead_here;   /* [worker] of these, those whose root is on its host */
  double *w, *v;       /* [link] scratch */
  uint32_t *group_of;  /* [link] group of a host, FOREST_NONE */
};

static double blocks_of(const struct shape_case *s) { return s->c->use == USE_BLOCKS ? 1 : s->c->blocks; }

/* Bytes that n workers, the operation's root among them or not, give upwards (or take) for one byte a block. In a block's own tree the
 * owner is the root, so nobody else gives or takes for it. */
static double give(const struct shape_case *s, uint8_t who, uint32_t n, int has_root) {
  if (who == WHO_ALL) return blocks_of(s);
  if (who == WHO_ROOT) return has_root ? blocks_of(s) : 0;
  return who == WHO_OWNER && s->c->use == USE_SPREAD ? n : 0;
}

static uint8_t who_in(const struct shape_case *s, int up) { return up ? s->c->from : s->c->to; }

/* A node puts bytes to (or, on the way down, from) another of its host. */
static void put_here(struct loader *l, uint32_t node, double bytes, double messages) {
  struct cost_loads *p = &l->phase;
  p->copied[node] += bytes;
  p->memory[l->f->node[node].host] += bytes;
  p->messages_shm[node] += messages;
}

static void put_out(struct loader *l, uint32_t node, double sent, double got, double messages) {
  l->phase.sent[node] += sent;
  l->phase.got[node] += got;
  l->phase.messages[node] += messages;
}

static void fold(struct loader *l, uint32_t node, double bytes) {
  l->phase.sum[node] += bytes;
  l->phase.memory[l->f->node[node].host] += bytes;
}

/* Copies of private memory, of bytes that a worker gives from it (or, down, takes into it) over the network and within its host, below a
 * root; and of results that it has and sends over the network. */
static void copies(struct loader *l, const struct shape_case *s, uint32_t node, int up, double out, double here, double passed) {
  if (!l->pulled) return;
  if (l->bounced) load_copy(l, node, out + (!up && s->c->to == WHO_ALL ? passed : 0));
  if (!up) load_copy(l, node, here);
}

/* The bytes of the shape's hosts in w and v run up or down the links. */
static void run_links(struct loader *l, const struct shape_case *s, int up) {
  if (up)
    load_product(l, s->w, s->v);
  else
    load_product(l, s->v, s->w);
}

static void clear_hosts(struct loader *l, const struct shape_case *s) {
  memset(s->w, 0, l->f->n_links * sizeof *s->w);
  memset(s->v, 0, l->f->n_links * sizeof *s->v);
}

static double sum_of(const double *a, uint32_t n) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += a[i];
  return sum;
}

/* ---- trees of one level ----------------------------------------------------------------------------------------------------------- */

static void one_level_phase(struct loader *l, const struct shape_case *s, const uint32_t *workers_on, int up) {
  const struct fabric *f = l->f;
  uint32_t nodes = fabric_nodes(f), n = f->workers;
  uint8_t who = who_in(s, up);
  double all_v = sum_of(s->value, nodes), all_w = 0, each = blocks_of(s);
  clear_hosts(l, s);
  for (uint32_t i = 0; i < nodes; i++) {
    double w = i < n ? give(s, who, 1, i == s->c->root) : 0;
    s->w[f->node[i].host] += w;
    s->v[f->node[i].host] += s->value[i];
    all_w += w;
  }
  for (uint32_t i = 0; i < nodes; i++) {
    uint32_t host = f->node[i].host, is_worker = i < n;
    double w = is_worker ? give(s, who, 1, i == s->c->root) : 0, v = s->value[i];
    double out_here = w * (s->v[host] - v), in_here = v * (s->w[host] - w);
    double out = w * (all_v - v) - out_here, in = v * (all_w - w) - in_here;
    double here = is_worker * (s->v[host] - v) + v * (workers_on[host] - is_worker);
    double edges = is_worker * (all_v - v) + v * (n - is_worker);
    put_here(l, i, up ? out_here : in_here, each * here);
    put_out(l, i, up ? out : in, up ? in : out, each * (edges - here));
    if (is_worker) copies(l, s, i, up, out, out_here, in);
    if (up && s->c->from != WHO_NOBODY) fold(l, i, v * each * (s->c->from == WHO_ALL ? n : 1));
  }
  run_links(l, s, up);
  load_phase(l, up);
}

static int load_one_level(struct loader *l, const struct shape_case *s, agg_error_t *err) {
  const struct fabric *f = l->f;
  uint32_t *workers_on = calloc(f->n_links, sizeof *workers_on);
  if (workers_on == NULL) return err_set(err, AGG_ENOMEM, "cost model: no memory for %u links", f->n_links);
  for (uint32_t i = 0; i < f->workers; i++) workers_on[f->node[i].host]++;
  int network = 0;
  for (uint32_t i = 0; i < fabric_nodes(f); i++) network |= s->value[i] > 0 && workers_on[f->node[i].host] < f->workers;
  one_level_phase(l, s, workers_on, 1);
  one_level_phase(l, s, workers_on, 0);
  if (f->workers > 1 || s->part->kind == FOREST_STAR || s->part->kind == FOREST_HSTAR) l->hops = MAX_OF(l->hops, 2 * load_hop(l, network));
  free(workers_on);
  return AGG_OK;
}

/* ---- groups ------------------------------------------------------------------------------------------------------------------------- */

/* Fills lead: the trees led by each worker. turn[x]: chunks of the trees in whose turn number x (mod the size of a group) leads. */
static void fill_lead(const struct shape_case *s, const double *turn, uint32_t turns, double *by_index) {
  const struct forest_map *m = s->part->map;
  uint32_t done_size = 0;
  for (uint32_t g = 0; g < m->groups; g++) {
    uint32_t first = m->group_first[g], size = m->group_first[g + 1] - first;
    if (size != done_size) { /* groups are mostly of one size */
      for (uint32_t i = 0; i < size; i++) by_index[i] = 0;
      for (uint32_t x = 0; x < turns; x++) by_index[x % size] += turn[x];
      done_size = size;
    }
    for (uint32_t i = 0; i < size; i++) {
      uint32_t worker = m->worker_at[first + i];
      s->lead[worker] = by_index[i] - (s->part->kind == FOREST_HIER ? s->value[worker] : 0);
    }
  }
}

/* The turns of the trees: a root's place in its group, or the number of the tree. */
static int make_lead(const struct shape_case *s, agg_error_t *err) {
  const struct forest_part *p = s->part;
  const struct forest_map *m = p->map;
  uint32_t turns = p->kind == FOREST_HIER ? p->workers : p->trees;
  double *turn = calloc((size_t)turns + p->workers, sizeof *turn);
  if (turn == NULL) return err_set(err, AGG_ENOMEM, "cost model: no memory for %u trees", turns);
  uint32_t used = p->kind == FOREST_HIER ? 0 : p->trees;
  for (uint32_t t = 0; t < p->trees; t++) {
    if (p->kind != FOREST_HIER) {
      turn[t] = s->share[s->first + t];
      continue;
    }
    uint32_t at = m->position_of[t] - m->group_first[m->group_of[m->position_of[t]]];
    turn[at] += s->value[t];
    used = MAX_OF(used, at + 1);
  }
  fill_lead(s, turn, used, turn + turns);
  free(turn);
  return AGG_OK;
}

static uint32_t leader_of(const struct forest_map *m, uint32_t group, uint32_t turn) {
  uint32_t first = m->group_first[group];
  return m->worker_at[first + turn % (m->group_first[group + 1] - first)];
}

static uint32_t host_of_group(const struct loader *l, const struct forest_map *m, uint32_t g) {
  return l->f->node[m->worker_at[m->group_first[g]]].host;
}

/* Whether groups are hosts of the fabric, so that what is below a leader stays in its host. Fills group_of. */
static int groups_are_hosts(struct loader *l, const struct shape_case *s) {
  const struct forest_map *m = s->part->map;
  for (uint32_t i = 0; i < l->f->n_links; i++) s->group_of[i] = FOREST_NONE;
  for (uint32_t g = 0; g < m->groups; g++) {
    uint32_t host = host_of_group(l, m, g);
    if (s->group_of[host] != FOREST_NONE) return 0;
    s->group_of[host] = g;
    for (uint32_t i = m->group_first[g]; i < m->group_first[g + 1]; i++) {
      if (l->f->node[m->worker_at[i]].host != host) return 0;
    }
  }
  return 1;
}

/* What the workers of a group take or give, one by one. */
static double group_sum(const struct shape_case *s, uint8_t who, uint32_t size, int has_root) {
  return who == WHO_ALL ? size * blocks_of(s) : give(s, who, size, has_root);
}

static int has_root(const struct shape_case *s, uint32_t group) {
  return s->part->map->group_of[s->part->map->position_of[s->c->root]] == group;
}

static double group_value(const struct shape_case *s, uint32_t group) {
  const struct forest_map *m = s->part->map;
  double sum = 0;
  for (uint32_t i = m->group_first[group]; i < m->group_first[group + 1]; i++) sum += s->value[m->worker_at[i]];
  return sum;
}

/* Below the leaders: in the trees with a root elsewhere the others of a group put to its leader, and it to them. all: value of all trees.
 */
static int below_leaders(struct loader *l, const struct shape_case *s, double all, int up) {
  const struct forest_map *m = s->part->map;
  uint8_t who = who_in(s, up);
  double each = blocks_of(s);
  int some = 0;
  for (uint32_t g = 0; g < m->groups; g++) {
    uint32_t first = m->group_first[g], size = m->group_first[g + 1] - first;
    double elsewhere = all - group_value(s, g), sum = group_sum(s, who, size, has_root(s, g));
    some |= size > 1 && elsewhere > 1e-12;
    for (uint32_t i = first; size > 1 && i < first + size; i++) {
      uint32_t node = m->worker_at[i];
      double own = give(s, who, 1, node == s->c->root), lead = s->lead[node], follow = elsewhere - lead;
      put_here(l, node, up || l->pulled ? own * follow : (sum - own) * lead, each * (follow + lead * (size - 1)));
      if (up && s->c->from == WHO_ALL) fold(l, node, lead * each * size);
    }
  }
  l->all = 1;
  load_phase(l, up);
  return some;
}

/* Within a root's own group the others are its children. */
static void beside_roots(struct loader *l, const struct shape_case *s, int up) {
  const struct forest_map *m = s->part->map;
  uint8_t who = who_in(s, up);
  double each = blocks_of(s);
  for (uint32_t g = 0; g < m->groups; g++) {
    uint32_t first = m->group_first[g], size = m->group_first[g + 1] - first;
    double value = group_value(s, g), sum = group_sum(s, who, size, has_root(s, g));
    for (uint32_t i = first; i < first + size; i++) {
      uint32_t node = m->worker_at[i];
      double own = give(s, who, 1, node == s->c->root), v = s->value[node];
      put_here(l, node, up ? own * (value - v) : v * (sum - own), each * (value - v + v * (size - 1)));
      copies(l, s, node, up, 0, own * (value - v), 0);
    }
  }
}

/* What a leader gives upwards from its own memory, of one byte a block, or takes into it: in a group of several it sends their sum. */
static double led(const struct shape_case *s, uint32_t node, uint32_t size, int up) {
  return up && s->c->from == WHO_ALL && size > 1 ? 0 : give(s, who_in(s, up), 1, node == s->c->root);
}

/* From the leaders of all hosts to the roots, which are workers (hier: of other hosts) or servers. */
static void leaders_to_roots(struct loader *l, const struct shape_case *s, int up) {
  const struct fabric *f = l->f;
  const struct forest_map *m = s->part->map;
  uint8_t who = who_in(s, up);
  int workers_root = s->part->kind == FOREST_HIER;
  double each = blocks_of(s), all_w = 0;
  clear_hosts(l, s);
  for (uint32_t g = 0; g < m->groups; g++) {
    double w = give(s, who, m->group_first[g + 1] - m->group_first[g], has_root(s, g));
    s->w[host_of_group(l, m, g)] = w;
    all_w += w;
  }
  for (uint32_t i = 0; i < fabric_nodes(f); i++) s->v[f->node[i].host] += s->value[i];
  for (uint32_t i = 0; i < fabric_nodes(f); i++) {
    uint32_t host = f->node[i].host, g = s->group_of[host];
    double v = s->value[i], lead = i < f->workers ? s->lead[i] : 0, lead_here = i < f->workers ? s->lead_here[i] : 0;
    double w = s->w[host], out = w * (lead - lead_here), in = v * (all_w - w);
    double others = m->groups - (g != FOREST_NONE);
    put_out(l, i, up ? out : in, up ? in : out, each * (lead - lead_here + v * others));
    double out_here = w * lead_here, in_here = workers_root ? 0 : v * w;
    put_here(l, i, up ? out_here : in_here, each * (lead_here + (workers_root || g == FOREST_NONE ? 0 : v)));
    uint32_t size = g == FOREST_NONE ? 0 : m->group_first[g + 1] - m->group_first[g];
    uint32_t inputs = workers_root ? m->groups - 1 + size : m->groups;
    if (i < f->workers) copies(l, s, i, up, led(s, i, size, up) * (lead - lead_here), led(s, i, size, up) * lead_here, in);
    if (up && s->c->from != WHO_NOBODY) fold(l, i, v * each * (s->c->from == WHO_ALL ? inputs : 1));
  }
  run_links(l, s, up);
}

static int wide(const struct forest_map *m) { return m->groups < m->workers; }

static int load_groups(struct loader *l, const struct shape_case *s, agg_error_t *err) {
  const struct forest_part *p = s->part;
  const struct forest_map *m = p->map;
  int rc = make_lead(s, err);
  if (rc != AGG_OK) return rc;
  memset(s->lead_here, 0, p->workers * sizeof *s->lead_here);
  for (uint32_t t = 0; p->kind == FOREST_HSTAR && t < p->servers; t++) {
    uint32_t g = s->group_of[l->f->node[p->workers + t].host];
    if (g != FOREST_NONE) s->lead_here[leader_of(m, g, t)] += s->value[p->workers + t];
  }
  double all = sum_of(s->value, fabric_nodes(l->f));
  int below = below_leaders(l, s, all, 1);
  for (int up = 1; up >= 0; up--) {
    if (p->kind == FOREST_HIER) beside_roots(l, s, up);
    leaders_to_roots(l, s, up);
    load_phase(l, up);
  }
  below_leaders(l, s, all, 0);
  int network = p->kind == FOREST_HIER || m->groups > 1;
  for (uint32_t i = p->workers; !network && i < fabric_nodes(l->f); i++)
    network = s->value[i] > 0 && l->f->node[i].host != host_of_group(l, m, 0);
  l->hops = MAX_OF(l->hops, 2 * below * load_hop(l, 0) + 2 * load_hop(l, network));
  return AGG_OK;
}

/* ---- racks -------------------------------------------------------------------------------------------------------------------------- */

/* Whether the map's racks are single links of the fabric, with all their hosts and servers below. */
static int racks_are_links(const struct loader *l, const struct forest_map *m) {
  for (uint32_t r = 0; r < m->racks; r++) {
    uint32_t link = fabric_rack(l->f, m->worker_at[m->group_first[m->rack_first[r]]]);
    for (uint32_t i = m->group_first[m->rack_first[r]]; i < m->group_first[m->rack_first[r + 1]]; i++) {
      if (fabric_rack(l->f, m->worker_at[i]) != link) return 0;
    }
    for (uint32_t i = m->rack_servers[r]; i < m->rack_servers[r + 1]; i++) {
      if (fabric_rack(l->f, m->workers + m->server_at[i]) != link) return 0;
    }
  }
  return 1;
}

static uint32_t rack_server(const struct forest_map *m, uint32_t rack, uint32_t tree) {
  return m->workers + m->server_at[m->rack_servers[rack] + tree];
}

/* A leader on its rack server's host copies its result from there itself: instead of the server, or after it where it made the result. */
static void taken_from_rack(struct loader *l, const struct shape_case *s, uint32_t server, uint32_t leader, double v, int is_root) {
  double taken = v * give(s, s->c->to, 1, leader == s->c->root);
  if (!l->pulled) return;
  if (is_root)
    load_copy(l, leader, taken);
  else
    load_pulled(l, server, leader, taken);
}

/* Leaders to the servers of their rack. value of every rack server is its tree's share; rack_w: what the groups of a rack give together. */
static void leaders_to_rack(struct loader *l, const struct shape_case *s, int up) {
  const struct fabric *f = l->f;
  const struct forest_map *m = s->part->map;
  uint8_t who = who_in(s, up);
  double each = blocks_of(s), all = sum_of(s->share + s->first, s->part->trees);
  for (uint32_t r = 0; r < m->racks; r++) {
    double rack_w = 0;
    for (uint32_t g = m->rack_first[r]; g < m->rack_first[r + 1]; g++) {
      uint32_t host = host_of_group(l, m, g);
      double w = give(s, who, m->group_first[g + 1] - m->group_first[g], has_root(s, g)), here = 0;
      uint32_t size = m->group_first[g + 1] - m->group_first[g];
      for (uint32_t i = m->group_first[g]; i < m->group_first[g + 1]; i++) {
        uint32_t node = m->worker_at[i];
        double out = s->lead[node] - s->lead_here[node];
        copies(l, s, node, up, led(s, node, size, up) * out, 0, 0);
        here += s->lead_here[node];
        put_out(l, node, up ? w * out : 0, up ? 0 : w * out, each * out);
        put_here(l, node, up ? w * s->lead_here[node] : 0, each * s->lead_here[node]);
      }
      (up ? l->phase.up : l->phase.down)[host] += w * (all - here);
      rack_w += w;
    }
    uint32_t groups = m->rack_first[r + 1] - m->rack_first[r];
    for (uint32_t t = 0; t < s->part->trees; t++) {
      uint32_t node = rack_server(m, r, t), host = f->node[node].host, g = s->group_of[host], same = g != FOREST_NONE;
      double v = s->share[s->first + t];
      double w = same ? give(s, who, m->group_first[g + 1] - m->group_first[g], has_root(s, g)) : 0;
      put_out(l, node, up ? 0 : v * (rack_w - w), up ? v * (rack_w - w) : 0, each * v * (groups - same));
      put_here(l, node, up ? 0 : v * w, each * v * same);
      if (!up && same) taken_from_rack(l, s, node, leader_of(m, g, t), v, t % m->racks == r);
      (up ? l->phase.down : l->phase.up)[host] += v * (rack_w - w);
      if (up && t % m->racks != r && groups >= 2 && s->c->from == WHO_ALL) fold(l, node, v * each * groups);
    }
  }
  l->all = 1;
  load_phase(l, up);
}

static void rack_servers_to_root(struct loader *l, const struct shape_case *s, int up) {
  const struct forest_map *m = s->part->map;
  double each = blocks_of(s);
  uint32_t root_rack = m->rack_of[m->group_of[m->position_of[s->c->root]]];
  for (uint32_t t = 0; t < s->part->trees; t++) {
    uint32_t top = t % m->racks, root = rack_server(m, top, t);
    double v = s->share[s->first + t];
    for (uint32_t r = 0; r < m->racks; r++) {
      if (r == top) continue;
      uint32_t n = m->group_first[m->rack_first[r + 1]] - m->group_first[m->rack_first[r]], node = rack_server(m, r, t);
      double bytes = v * give(s, who_in(s, up), n, r == root_rack);
      if (up)
        load_flow(l, node, root, bytes, v * each);
      else
        load_flow(l, root, node, bytes, v * each);
    }
    uint32_t inputs = m->rack_first[top + 1] - m->rack_first[top] + m->racks - 1;
    if (up && s->c->from != WHO_NOBODY) load_fold(l, root, v * each * (s->c->from == WHO_ALL ? inputs : 1));
  }
  load_phase(l, up);
}

static int load_racks(struct loader *l, const struct shape_case *s, agg_error_t *err) {
  const struct forest_map *m = s->part->map;
  int rc = make_lead(s, err);
  if (rc != AGG_OK) return rc;
  memset(s->lead_here, 0, m->workers * sizeof *s->lead_here);
  for (uint32_t r = 0; r < m->racks; r++) {
    for (uint32_t t = 0; t < s->part->trees; t++) {
      uint32_t g = s->group_of[l->f->node[rack_server(m, r, t)].host];
      if (g != FOREST_NONE) s->lead_here[leader_of(m, g, t)] += s->share[s->first + t];
    }
  }
  memset(s->value, 0, fabric_nodes(l->f) * sizeof *s->value); /* no worker is a root */
  double all = sum_of(s->share + s->first, s->part->trees);
  if (wide(m)) below_leaders(l, s, all, 1);
  leaders_to_rack(l, s, 1);
  rack_servers_to_root(l, s, 1);
  rack_servers_to_root(l, s, 0);
  leaders_to_rack(l, s, 0);
  if (wide(m)) below_leaders(l, s, all, 0);
  l->hops = MAX_OF(l->hops, 2 * (wide(m) ? load_hop(l, 0) : 0) + (m->racks > 1 ? 4 : 2) * load_hop(l, 1));
  return AGG_OK;
}

/* ---- the ring ----------------------------------------------------------------------------------------------------------------------- */

/* Copies of private memory for the edge between a and b, of all trees. leaf: the chunks of the tree in which a is the leaf. */
static void ring_copies(struct loader *l, const struct shape_case *s, uint32_t a, uint32_t b, int up, double chunks, double leaf) {
  double bytes = give(s, who_in(s, up), 1, 0), made = s->value[b];
  if (!l->pulled) return;
  if (l->f->node[a].host != l->f->node[b].host) {
    copies(l, s, a, up, bytes * (up ? leaf : chunks), 0, 0);
    copies(l, s, b, up, 0, 0, bytes * chunks);
  } else if (!up) {
    load_copy(l, a, bytes * made);
    load_pulled(l, b, a, bytes * (chunks - made));
  }
}

/* The edge behind each position is in all trees but the one rooted there, once at each level, so that all levels are alike: one phase each
 * way stands for them. */
static void load_ring(struct loader *l, const struct shape_case *s) {
  const struct forest_map *m = s->part->map;
  uint32_t n = s->part->workers;
  double all = sum_of(s->value, n);
  int network = 0;
  for (int up = 1; up >= 0; up--) {
    double bytes = give(s, who_in(s, up), 1, 0);
    for (uint32_t i = 0; n > 1 && i < n; i++) {
      uint32_t next = i + 1 == n ? 0 : i + 1;
      uint32_t a = m != NULL ? m->worker_at[i] : i, b = m != NULL ? m->worker_at[next] : next;
      double chunks = all - s->value[a];
      uint32_t before = i == 0 ? n - 1 : i - 1;
      load_flow(l, up ? a : b, up ? b : a, bytes * chunks, chunks);
      ring_copies(l, s, a, b, up, chunks, s->value[m != NULL ? m->worker_at[before] : before]);
      network |= l->f->node[a].host != l->f->node[b].host;
    }
    for (uint32_t a = 0; up && s->c->from != WHO_NOBODY && a < n; a++) {
      uint32_t p = m != NULL ? m->position_of[a] : a, leaf_of = p == 0 ? n - 1 : p - 1; /* the tree in which it is the leaf */
      double root_of = m != NULL ? s->value[m->worker_at[leaf_of]] : s->value[leaf_of];
      double inner = all - s->value[a] - root_of;
      if (n == 1) inner = 0;
      load_fold(l, a, s->c->from == WHO_ALL ? 2 * inner + (n > 1 ? 2 : 1) * s->value[a] : s->value[a]);
    }
    load_phase(l, up);
  }
  l->hops = MAX_OF(l->hops, 2.0 * (n - 1) * load_hop(l, network));
}

/* ---- which form --------------------------------------------------------------------------------------------------------------------- */

/* A part of one tree or two, or one that no closed form fits: the trees that carry something. */
static int load_walked(struct loader *l, const struct forest *forest, const struct shape_case *s, agg_error_t *err) {
  uint32_t n = 0, trees = s->part->trees;
  uint32_t *tree = calloc(trees, sizeof *tree);
  double *share = calloc(trees, sizeof *share);
  int rc = tree == NULL || share == NULL ? err_set(err, AGG_ENOMEM, "cost model: no memory for %u trees", trees) : AGG_OK;
  for (uint32_t t = 0; rc == AGG_OK && t < trees; t++) {
    double chunks = s->c->use == USE_BLOCKS ? 1 : s->share[s->first + t];
    if (chunks <= 0) continue;
    tree[n] = s->first + t;
    share[n++] = chunks;
  }
  if (rc == AGG_OK && n > 0) rc = load_trees(l, forest, s->c, tree, share, n, err);
  free(share);
  free(tree);
  return rc;
}

static void fill_value(const struct forest *forest, struct shape_case *s) {
  memset(s->value, 0, forest_nodes(forest) * sizeof *s->value);
  for (uint32_t t = 0; t < s->part->trees; t++) {
    double chunks = s->c->use == USE_BLOCKS ? 1 : s->share[s->first + t];
    s->value[forest_root(forest, s->first + t)] += chunks;
  }
}

static int load_shape(struct loader *l, const struct forest *forest, struct shape_case *s, agg_error_t *err) {
  const struct forest_part *p = s->part;
  const struct forest_map *m = p->map;
  fill_value(forest, s);
  int flat = m == NULL || m->groups == p->workers || (p->kind == FOREST_HIER && m->groups == 1);
  switch (p->kind) {
    case FOREST_STAR:
    case FOREST_DIRECT:
      return load_one_level(l, s, err);
    case FOREST_RING:
      load_ring(l, s);
      return AGG_OK;
    case FOREST_HIER:
    case FOREST_HSTAR:
      if (flat) return load_one_level(l, s, err);
      return groups_are_hosts(l, s) ? load_groups(l, s, err) : load_walked(l, forest, s, err);
    case FOREST_RACK:
      if (m == NULL) return load_one_level(l, s, err);
      return groups_are_hosts(l, s) && racks_are_links(l, m) ? load_racks(l, s, err) : load_walked(l, forest, s, err);
    default:
      return load_walked(l, forest, s, err);
  }
}

static int load_parts(struct loader *l, const struct forest *forest, struct shape_case *s, agg_error_t *err) {
  for (uint32_t i = 0; i < forest->n_parts; s->first += forest->part[i++].trees) {
    s->part = &forest->part[i];
    double part = 0;
    for (uint32_t t = 0; t < s->part->trees; t++) part += s->share[s->first + t];
    int owners = forest_rooted_at(forest, 0) >= s->first && forest_rooted_at(forest, 0) < s->first + s->part->trees;
    int used = s->c->use == USE_BLOCKS ? owners : part > 0;
    int rc = used ? load_shape(l, forest, s, err) : AGG_OK;
    if (rc != AGG_OK) return rc;
    load_part(l, i, forest->n_parts);
  }
  return AGG_OK;
}

int load_forest(struct loader *l, const struct forest *forest, const struct cost_case *c, agg_error_t *err) {
  if (c->use == USE_ONE) {
    double share = 1;
    int rc = load_trees(l, forest, c, &c->tree, &share, 1, err);
    load_part(l, forest->n_parts > 1 && c->tree >= forest->part[0].trees, forest->n_parts);
    return rc;
  }
  size_t nodes = forest_nodes(forest), links = l->f->n_links;
  double *share = cost_shares(forest), *room = calloc(3 * nodes + 2 * links, sizeof *room);
  uint32_t *group_of = calloc(links, sizeof *group_of);
  int rc = AGG_OK;
  if (share == NULL || room == NULL || group_of == NULL) {
    rc = err_set(err, AGG_ENOMEM, "cost model: no memory for %zu nodes", nodes);
  } else {
    struct shape_case s = {.c = c, .share = share, .value = room, .lead = room + nodes, .lead_here = room + 2 * nodes};
    s.w = room + 3 * nodes;
    s.v = s.w + links;
    s.group_of = group_of;
    rc = load_parts(l, forest, &s, err);
  }
  free(group_of);
  free(room);
  free(share);
  return rc;
}
