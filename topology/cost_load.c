/*
 * Gathering loads: flows along the tree of links, phases, and from the loads the few lines that can limit an operation. Knows no shape of
 * tree.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/cost_internal.h"

int cost_loads_init(struct cost_loads *l, const struct fabric *f, agg_error_t *err) {
  size_t links = f->n_links, nodes = fabric_nodes(f);
  double *room = calloc(3 * links + 6 * nodes, sizeof *room);
  if (room == NULL) return err_set(err, AGG_ENOMEM, "cost model: no memory for the loads of %zu nodes", nodes);
  *l = (struct cost_loads){.n_links = f->n_links, .n_nodes = (uint32_t)nodes, .up = room, .down = room + links, .memory = room + 2 * links};
  l->sum = room + 3 * links;
  l->sent = l->sum + nodes;
  l->got = l->sent + nodes;
  l->copied = l->got + nodes;
  l->messages = l->copied + nodes;
  l->messages_shm = l->messages + nodes;
  return AGG_OK;
}

void cost_loads_fini(struct cost_loads *l) {
  free(l->up);
  *l = (struct cost_loads){0};
}

int loader_init(struct loader *l, const struct cost *cost, const struct fabric *f, agg_error_t *err) {
  size_t links = f->n_links, nodes = fabric_nodes(f);
  *l = (struct loader){.cost = cost, .f = f, .efficiency = cost_efficiency(cost, f), .crowd = 1, .pulled = f->memory == FABRIC_PRIVATE};
  l->bounced = l->pulled && f->transport == FABRIC_VERBS;
  int rc = cost_loads_init(&l->total, f, err);
  if (rc == AGG_OK) rc = cost_loads_init(&l->phase, f, err);
  if (rc == AGG_OK) rc = cost_loads_init(&l->own, f, err);
  l->links = calloc(links + nodes, sizeof *l->links);
  l->link_mark = calloc(links + nodes, 1);
  l->core_byte = calloc(2 * links, sizeof *l->core_byte);
  if (rc == AGG_OK && (l->links == NULL || l->link_mark == NULL || l->core_byte == NULL))
    rc = err_set(err, AGG_ENOMEM, "cost model: no memory for %zu nodes", nodes);
  if (rc != AGG_OK) {
    loader_fini(l);
    return rc;
  }
  l->nodes = l->links + links;
  l->node_mark = l->link_mark + links;
  l->core_piece = l->core_byte + links;
  return AGG_OK;
}

void loader_fini(struct loader *l) {
  cost_loads_fini(&l->total);
  cost_loads_fini(&l->phase);
  cost_loads_fini(&l->own);
  free(l->links);
  free(l->link_mark);
  free(l->core_byte);
  *l = (struct loader){0};
}

/* ---- adding ----------------------------------------------------------------------------------------------------------------------- */

static void touch_link(struct loader *l, uint32_t link) {
  if (l->link_mark[link]) return;
  l->link_mark[link] = 1;
  l->links[l->n_links++] = link;
}

static void touch_node(struct loader *l, uint32_t node) {
  if (l->node_mark[node]) return;
  l->node_mark[node] = 1;
  l->nodes[l->n_nodes++] = node;
  touch_link(l, l->f->node[node].host);
}

/* Up from one host and down to the other: parents have smaller numbers, so the larger one climbs until both have met. */
static void climb(struct loader *l, uint32_t from, uint32_t to, double bytes) {
  const struct fabric_link *link = l->f->link;
  while (from != to) {
    if (from > to) {
      touch_link(l, from);
      l->phase.up[from] += bytes;
      from = link[from].parent;
    } else {
      touch_link(l, to);
      l->phase.down[to] += bytes;
      to = link[to].parent;
    }
  }
}

void load_flow(struct loader *l, uint32_t from, uint32_t to, double bytes, double messages) {
  uint32_t a = l->f->node[from].host, b = l->f->node[to].host;
  touch_node(l, from);
  touch_node(l, to);
  if (a == b) {
    l->phase.memory[a] += bytes;
    l->phase.copied[from] += bytes;
    l->phase.messages_shm[from] += messages;
    l->phase.messages_shm[to] += messages;
    return;
  }
  climb(l, a, b, bytes);
  l->phase.sent[from] += bytes;
  l->phase.got[to] += bytes;
  l->phase.messages[from] += messages;
  l->phase.messages[to] += messages;
}

void load_fold(struct loader *l, uint32_t node, double bytes) {
  touch_node(l, node);
  l->phase.sum[node] += bytes;
  l->phase.memory[l->f->node[node].host] += bytes;
}

void load_copy(struct loader *l, uint32_t node, double bytes) {
  touch_node(l, node);
  l->phase.copied[node] += bytes;
  l->phase.memory[l->f->node[node].host] += bytes;
}

void load_pulled(struct loader *l, uint32_t from, uint32_t to, double bytes) {
  touch_node(l, from);
  touch_node(l, to);
  l->phase.copied[from] -= bytes;
  l->phase.copied[to] += bytes;
}

void load_product(struct loader *l, double *w, double *v) {
  const struct fabric *f = l->f;
  for (uint32_t i = f->n_links - 1; i > 0; i--) {
    w[f->link[i].parent] += w[i];
    v[f->link[i].parent] += v[i];
  }
  for (uint32_t i = 1; i < f->n_links; i++) {
    l->phase.up[i] += w[i] * (v[0] - v[i]);
    l->phase.down[i] += (w[0] - w[i]) * v[i];
  }
  l->all = 1;
}

double load_hop(const struct loader *l, int network) {
  const struct cost *c = l->cost;
  double hop = !network ? c->hop_shm : l->f->transport == FABRIC_VERBS ? c->hop_verbs : c->hop_tcp;
  return hop + c->chunk;
}

/* ---- times ------------------------------------------------------------------------------------------------------------------------ */

struct node_time load_node_time(const struct cost *c, const struct fabric *f, const struct cost_loads *l, uint32_t node) {
  const struct fabric_node *n = &f->node[node];
  int tcp = f->transport == FABRIC_TCP;
  struct node_time t = {0};
  if (n->sum_bytes_per_s > 0) t.sum = l->sum[node] / n->sum_bytes_per_s;
  double bytes = l->copied[node] / c->copy + (tcp ? (l->sent[node] + l->got[node]) / c->byte_tcp : 0);
  t.byte = t.sum + bytes / n->threads;
  t.piece = (l->messages[node] * (tcp ? c->message_tcp : c->message_verbs) + l->messages_shm[node] * c->message_shm) / n->threads;
  return t;
}

static double link_time(const struct loader *l, uint32_t link, double bytes) {
  double rate = l->f->link[link].bytes_per_s;
  return rate > 0 ? bytes / (rate * l->efficiency) : 0;
}

static double memory_time(const struct loader *l, uint32_t link, double bytes) {
  double rate = l->f->link[link].memory_bytes_per_s;
  return rate > 0 ? bytes / rate : 0;
}

/* The work of a host's nodes on its cores. */
static void add_cores(struct loader *l, uint32_t node, const struct node_time *t) {
  uint32_t host = l->f->node[node].host;
  double part = (double)l->f->node[node].threads / l->f->link[host].cores;
  l->core_byte[host] += t->byte * part;
  l->core_piece[host] += t->piece * part;
}

static void touch_all(struct loader *l) {
  for (uint32_t i = 0; i < l->f->n_links; i++) touch_link(l, i);
  for (uint32_t i = 0; i < fabric_nodes(l->f); i++) touch_node(l, i);
}

static void move(double *to, double *from) {
  *to += *from;
  *from = 0;
}

static void most_of(double *most, double value) { *most = MAX_OF(*most, value); }

static void most_of_line(struct cost_line *most, double byte, double piece) {
  most_of(&most->byte, byte);
  most_of(&most->piece, piece);
}

/* From one set of loads to another; what they keep busy. sum: the part of it that is sums, links: the network's. */
struct moved {
  struct cost_busy busy;
  double sum, links;
};

static void move_node(struct loader *l, uint32_t i, struct cost_loads *to, struct cost_loads *from, struct moved *m) {
  struct node_time t = load_node_time(l->cost, l->f, from, i);
  most_of_line(&m->busy.node, t.byte, t.piece);
  most_of(&m->sum, t.sum);
  add_cores(l, i, &t);
  move(&to->sum[i], &from->sum[i]);
  move(&to->sent[i], &from->sent[i]);
  move(&to->got[i], &from->got[i]);
  move(&to->copied[i], &from->copied[i]);
  move(&to->messages[i], &from->messages[i]);
  move(&to->messages_shm[i], &from->messages_shm[i]);
}

/* After the nodes. crowd: factor for what comes in. */
static void move_link(struct loader *l, uint32_t i, struct cost_loads *to, struct cost_loads *from, double crowd, struct moved *m) {
  most_of(&m->links, MAX_OF(link_time(l, i, from->up[i]), crowd * link_time(l, i, from->down[i])));
  most_of(&m->busy.bytes, MAX_OF(m->links, memory_time(l, i, from->memory[i])));
  most_of_line(&m->busy.cores, l->core_byte[i], l->core_piece[i]);
  move(&to->up[i], &from->up[i]);
  move(&to->down[i], &from->down[i]);
  move(&to->memory[i], &from->memory[i]);
  l->core_byte[i] = l->core_piece[i] = 0;
}

static void add_line(struct cost_line *to, struct cost_line line) {
  to->byte += line.byte;
  to->piece += line.piece;
}

static struct cost_line busiest_of(const struct cost_busy *b) {
  struct cost_line most = {.byte = MAX_OF(b->bytes, MAX_OF(b->node.byte, b->cores.byte)), .piece = MAX_OF(b->node.piece, b->cores.piece)};
  return most;
}

void load_phase(struct loader *l, int up) {
  struct moved m = {.sum = 0};
  if (l->all) touch_all(l);
  for (uint32_t i = 0; i < l->n_nodes; i++) {
    move_node(l, l->nodes[i], &l->own, &l->phase, &m);
    l->node_mark[l->nodes[i]] = 0;
  }
  for (uint32_t i = 0; i < l->n_links; i++) {
    move_link(l, l->links[i], &l->own, &l->phase, 1, &m);
    l->link_mark[l->links[i]] = 0;
  }
  l->n_links = l->n_nodes = 0;
  l->all = 0;
  struct cost_line most = busiest_of(&m.busy);
  if (l->alone) { /* its message is handled at both ends, one after the other, and its bytes are summed when all are there */
    most_of(&most.byte, m.links + m.sum);
    most.piece *= 2;
  }
  add_line(&l->first, most);
  l->way[up].bytes += m.busy.bytes;
  add_line(&l->way[up].node, m.busy.node);
  add_line(&l->way[up].cores, m.busy.cores);
}

/* A part beside another is looked at by itself as well. */
static void join_part(struct loader *l, struct cost_part *part) {
  struct moved m = {.sum = 0};
  for (uint32_t i = 0; i < l->f->workers; i++) {
    for (uint32_t link = l->f->node[i].host; link != FABRIC_CORE; link = l->f->link[link].parent)
      most_of(&part->above_workers, link_time(l, link, MAX_OF(l->own.up[link], l->own.down[link])));
  }
  for (uint32_t i = 0; i < fabric_nodes(l->f); i++) move_node(l, i, &l->total, &l->own, &m);
  for (uint32_t i = 0; i < l->f->n_links; i++) move_link(l, i, &l->total, &l->own, l->crowd, &m);
  part->busy = m.busy;
}

void load_part(struct loader *l, uint32_t part, uint32_t parts) {
  assert(l->n_links == 0 && l->n_nodes == 0 && !l->all && part < parts && parts <= FOREST_PARTS_MAX);
  l->part[part] = (struct cost_part){.hops = l->hops, .first = l->first, .way = {l->way[0], l->way[1]}};
  if (parts == 1) {
    struct cost_loads nothing = l->total;
    l->total = l->own;
    l->own = nothing;
  } else {
    join_part(l, &l->part[part]);
  }
  l->first = (struct cost_line){0};
  l->way[0] = l->way[1] = (struct cost_busy){0};
  l->hops = 0;
}

/* ---- a profile of the loads ------------------------------------------------------------------------------------------------------- */

/* The line with the largest time at so many bytes a piece; the first of equals, whatever their last bits. */
struct most {
  struct cost_line line;
  double value;
};

static void offer(struct most *m, const struct cost_line *line, double bytes, double pieces) {
  double value = line->byte * bytes + line->piece * pieces;
  if (value > m->value * (1 + 1e-9)) *m = (struct most){.line = *line, .value = value};
}

static void keep(struct cost_profile *p, const struct most *m) {
  if (m->value <= 0) return;
  for (uint32_t i = 0; i < p->n_lines; i++) {
    if (p->line[i].what == m->line.what && p->line[i].at == m->line.at) return;
  }
  assert(p->n_lines < COST_LINES_MAX);
  p->line[p->n_lines++] = m->line;
}

/* Among nodes and hosts' cores the busiest differs with the bytes a piece has: kept are the busiest for large, middling and no pieces. */
#define MIDDLING 16384.0

static void profile_links(struct loader *l, struct cost_profile *p) {
  struct most up = {0}, down = {0}, memory = {0}, cores[3] = {{{0}, 0}};
  for (uint32_t i = 1; i < l->f->n_links; i++) {
    struct cost_line line = {.byte = link_time(l, i, l->total.up[i]), .at = i, .what = COST_LINK_UP};
    offer(&up, &line, 1, 0);
    line = (struct cost_line){.byte = p->crowd * link_time(l, i, l->total.down[i]), .at = i, .what = COST_LINK_DOWN};
    offer(&down, &line, 1, 0);
    line = (struct cost_line){.byte = memory_time(l, i, l->total.memory[i]), .at = i, .what = COST_MEMORY};
    offer(&memory, &line, 1, 0);
    line = (struct cost_line){.byte = l->core_byte[i], .piece = l->core_piece[i], .at = i, .what = COST_CORES};
    offer(&cores[0], &line, 1, 0);
    offer(&cores[1], &line, MIDDLING, 1);
    offer(&cores[2], &line, 0, 1);
    if (l->f->link[i].kind != FABRIC_LINK_HOST) continue;
    p->nic_up = MAX_OF(p->nic_up, l->total.up[i]);
    p->nic_down = MAX_OF(p->nic_down, l->total.down[i]);
  }
  keep(p, &up);
  keep(p, &down);
  keep(p, &memory);
  for (int i = 0; i < 3; i++) keep(p, &cores[i]);
}

static void profile_of(struct loader *l, struct cost_profile *p) {
  struct most work[3] = {{{0}, 0}};
  for (uint32_t i = 0; i < fabric_nodes(l->f); i++) {
    struct node_time t = load_node_time(l->cost, l->f, &l->total, i);
    struct cost_line line = {.byte = t.byte, .piece = t.piece, .at = i, .what = t.sum > t.byte / 2 ? COST_SUM : COST_WORK};
    offer(&work[0], &line, 1, 0);
    offer(&work[1], &line, MIDDLING, 1);
    offer(&work[2], &line, 0, 1);
    add_cores(l, i, &t);
  }
  for (int i = 0; i < 3; i++) keep(p, &work[i]);
  profile_links(l, p);
  for (uint32_t i = 0; i < p->n_parts; i++) {
    struct cost_part *part = &p->part[i];
    const struct cost_part *made = &l->part[i];
    part->hops = made->hops;
    part->above_workers = made->above_workers;
    part->busy = made->busy;
    part->first = made->first;
    part->way[0] = made->way[0];
    part->way[1] = made->way[1];
    most_of(&p->hops, made->hops);
    most_of_line(&p->first, made->first.byte, made->first.piece);
  }
}

/* Senders that may meet at a node of a part. */
static uint32_t senders(const struct forest_part *p) {
  const struct forest_map *m = p->map;
  switch (p->kind) {
    case FOREST_RING:
      return 1;
    case FOREST_TREE:
      return p->arity;
    case FOREST_DTREE:
      return 2;
    case FOREST_HIER:
    case FOREST_HSTAR:
      return m != NULL ? m->groups : p->workers;
    case FOREST_RACK:
      return m != NULL ? m->groups / m->racks : p->workers;
    default:
      return p->workers;
  }
}

/* From 1 where no more than two senders meet towards 1 + incast, each part weighed with its chunks. */
static double crowd(const struct cost *cost, const struct forest *forest, const struct cost_case *c, const double *share) {
  double sum = 0;
  for (uint32_t i = 0, first = 0; i < forest->n_parts; first += forest->part[i++].trees) {
    const struct forest_part *p = &forest->part[i];
    double chunks = 0, n = senders(p);
    for (uint32_t t = first; t < first + p->trees; t++) chunks += c->use == USE_ONE ? t == c->tree : share[t];
    if (c->use == USE_BLOCKS) chunks = i + 1 == forest->n_parts; /* a hybrid's workers are the roots of its second part */
    sum += chunks * (n > 2 ? 1 + cost->incast * (1 - 2 / n) : 1);
  }
  return sum;
}

typedef int load_function(struct loader *l, const struct forest *forest, const struct cost_case *c, agg_error_t *err);

/* What one chunk alone waits for in this tree. */
static int one_of_tree(const struct cost *cost, const struct fabric *f, const struct forest *forest, const struct cost_case *c,
                       uint32_t tree, int alone, struct cost_line *one, agg_error_t *err) {
  struct loader l;
  int rc = loader_init(&l, cost, f, err);
  if (rc != AGG_OK) return rc;
  double share = c->use == USE_SPREAD ? 1.0 / c->blocks : 1; /* one chunk of one block */
  l.alone = alone;
  rc = load_trees(&l, forest, c, &tree, &share, 1, err);
  *one = l.first;
  loader_fini(&l);
  return rc;
}

/* The same for the tree of the first chunk, and for every part: in that tree, where it is one of its own. */
static int profile_one(const struct cost *cost, const struct fabric *f, const struct forest *forest, const struct cost_case *c,
                       struct cost_profile *p, agg_error_t *err) {
  uint32_t first = forest_tree_at(forest, 0), at = 0;
  p->one = (struct cost_line){.byte = p->first.byte / p->blocks, .piece = p->first.piece / p->blocks}; /* one tree, or all blocks alike */
  int rc = c->use == USE_SPREAD ? one_of_tree(cost, f, forest, c, first, 0, &p->one, err) : AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < p->n_parts; at += forest->part[i++].trees) {
    struct cost_part *part = &p->part[i];
    if (part->trees == 0) continue;
    if (part->turns || (c->use == USE_SPREAD && (first < at || first >= at + forest->part[i].trees)))
      rc = one_of_tree(cost, f, forest, c, at, part->turns, &part->one, err);
    else
      part->one = p->one;
  }
  return rc;
}

/* The largest share of the chunks in which one worker leads a group: that of the smallest groups of several, whose members lead in turn. */
static double lead_share(const struct forest_part *part, const double *share) {
  const struct forest_map *m = part->map;
  uint32_t least = UINT32_MAX;
  for (uint32_t g = 0; m != NULL && g < m->groups; g++) {
    uint32_t size = m->group_first[g + 1] - m->group_first[g];
    if (size > 1) least = MIN_OF(least, size);
  }
  if (least == UINT32_MAX) return 0;
  double most = 0, all = 0;
  for (uint32_t t = 0; t < part->trees; t++) all += share[t];
  if (part->kind == FOREST_HIER) return all / least; /* roots' places are even over the groups */
  for (uint32_t at = 0; at < least && at < part->trees; at++) {
    double sum = 0;
    for (uint32_t t = at; t < part->trees; t += least) sum += share[t];
    most = MAX_OF(most, sum);
  }
  return most;
}

/* How many of all chunks the busiest edge of a part carries. */
static double trip_share(const struct forest_part *part, const double *share, double sum) {
  double largest = 0;
  for (uint32_t t = 0; t < part->trees; t++) largest = MAX_OF(largest, share[t]);
  if (part->kind == FOREST_RING) return sum * (part->workers - 1) / part->workers; /* an edge is in all trees but one */
  if (part->kind == FOREST_HIER || part->kind == FOREST_HSTAR || part->kind == FOREST_RACK)
    largest = MAX_OF(largest, lead_share(part, share));
  return largest;
}

/* Shares of an operation in which every block has its own tree, or there is one. */
static void use_shares(const struct forest *forest, const struct cost_case *c, double *share) {
  for (uint32_t t = 0; t < forest->trees; t++) {
    if (c->use == USE_ONE) share[t] = t == c->tree;
    if (c->use != USE_BLOCKS) continue;
    uint32_t root = forest_root(forest, t);
    share[t] = root < forest->workers && forest_rooted_at(forest, root) == t ? 1.0 / forest->workers : 0;
  }
}

/* The parts that chunks go to, and how many. */
static void profile_parts(const struct forest *forest, const struct cost_case *c, const double *share, struct cost_profile *p) {
  p->n_parts = forest->n_parts;
  for (uint32_t i = 0, first = 0; i < forest->n_parts; first += forest->part[i++].trees) {
    const struct forest_part *from = &forest->part[i];
    struct cost_part *part = &p->part[i];
    *part = (struct cost_part){.depth = forest_part_depth(from)};
    for (uint32_t t = first; t < first + from->trees; t++) {
      part->trees += share[t] > 0;
      part->share += share[t];
    }
    part->turns = from->kind == FOREST_RING && from->workers > 2 && c->use != USE_ONE; /* two are direct */
    part->trip_share = c->use == USE_ONE ? part->share : trip_share(from, share + first, part->share);
  }
}

static int profile_with(load_function *load, const struct cost *cost, const struct fabric *f, const struct forest *forest, unsigned kind,
                        struct cost_profile *p, agg_error_t *err) {
  assert(kind < OP_KIND_COUNT && forest->workers == f->workers && forest->servers == f->servers);
  struct cost_case c = cost_case_of(forest, kind);
  struct cost_profile made = {.kind = (uint8_t)kind, .blocks = c.blocks, .places = 1, .period = 1, .depth = forest_depth(forest)};
  if (c.use == USE_BLOCKS) made.places = forest->workers;
  made.spread = c.use == USE_SPREAD;
  double *share = cost_shares(forest);
  if (share == NULL) return err_set(err, AGG_ENOMEM, "cost model: no memory for %u trees", forest->trees);
  made.crowd = crowd(cost, forest, &c, share);
  if (c.use == USE_SPREAD) {
    made.places = 0;
    made.period = forest->period;
  }
  for (uint32_t t = 0; c.use == USE_SPREAD && t < forest->trees; t++) made.places += share[t] > 0;
  use_shares(forest, &c, share);
  profile_parts(forest, &c, share, &made);
  free(share);
  struct loader l;
  int rc = loader_init(&l, cost, f, err);
  if (rc != AGG_OK) return rc;
  l.crowd = made.crowd;
  rc = load(&l, forest, &c, err);
  if (rc == AGG_OK) profile_of(&l, &made);
  loader_fini(&l);
  if (rc == AGG_OK) rc = profile_one(cost, f, forest, &c, &made, err);
  if (rc == AGG_OK) *p = made;
  return rc;
}

int cost_profile(const struct cost *cost, const struct fabric *f, const struct forest *forest, unsigned kind, struct cost_profile *p,
                 agg_error_t *err) {
  return profile_with(load_forest, cost, f, forest, kind, p, err);
}

int cost_walk(const struct cost *cost, const struct fabric *f, const struct forest *forest, unsigned kind, struct cost_profile *p,
              agg_error_t *err) {
  return profile_with(load_forest_walk, cost, f, forest, kind, p, err);
}

int cost_loads_of(const struct cost *cost, const struct fabric *f, const struct forest *forest, unsigned kind, int walk,
                  struct cost_loads *loads, agg_error_t *err) {
  struct cost_case c = cost_case_of(forest, kind);
  struct loader l;
  int rc = loader_init(&l, cost, f, err);
  if (rc != AGG_OK) return rc;
  rc = walk ? load_forest_walk(&l, forest, &c, err) : load_forest(&l, forest, &c, err);
  if (rc == AGG_OK) {
    cost_loads_fini(loads);
    *loads = l.total;
    l.total = (struct cost_loads){0};
  }
  loader_fini(&l);
  return rc;
}
