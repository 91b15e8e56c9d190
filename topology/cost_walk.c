/*
 * Loads by walking: every edge of every tree, asked of the forest. Exact for any shape. The closed forms of cost_shape.c come here for what
 * is one tree or two.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/cost_internal.h"

/* ---- how an operation uses a forest ----------------------------------------------------------------------------------------------- */

static const struct {
  uint8_t from, to, blocks;
} roles[OP_KIND_COUNT] = {
    [OP_ALLREDUCE] = {WHO_ALL, WHO_ALL, 0},        [OP_REDUCE] = {WHO_ALL, WHO_ROOT, 0},       [OP_BROADCAST] = {WHO_ROOT, WHO_ALL, 0},
    [OP_REDUCE_SCATTER] = {WHO_ALL, WHO_OWNER, 1}, [OP_ALLGATHER] = {WHO_OWNER, WHO_ALL, 1},   [OP_GATHER] = {WHO_OWNER, WHO_ROOT, 1},
    [OP_SCATTER] = {WHO_ROOT, WHO_OWNER, 1},       [OP_BARRIER] = {WHO_NOBODY, WHO_NOBODY, 0},
};

/* A root that stands for most: where only few workers are roots of trees (a tree, a double tree), one that is none. */
static uint32_t usual_root(const struct forest *forest) {
  for (uint32_t i = 0; i < forest->workers && i < 8; i++) {
    if (forest_rooted_at(forest, i) == FOREST_NONE) return i;
  }
  return 0;
}

/* Operations of blocks go by the owners' trees where every worker has one. With a tree or a double tree one or two have; their blocks count
 * as spread like the others. */
struct cost_case cost_case_of(const struct forest *forest, unsigned kind) {
  struct cost_case c = {.kind = (uint8_t)kind, .from = roles[kind].from, .to = roles[kind].to, .blocks = 1, .use = USE_SPREAD};
  if (roles[kind].blocks) c.blocks = forest->workers;
  int rooted = c.from == WHO_ROOT || c.to == WHO_ROOT;
  if (rooted) c.root = usual_root(forest);
  if (kind == OP_BARRIER) {
    c.use = USE_ONE;
    c.tree = forest_tree_at(forest, 0);
  } else if (rooted && forest_rooted_at(forest, c.root) != FOREST_NONE) {
    c.use = USE_ONE;
    c.tree = forest_rooted_at(forest, c.root);
  } else if (c.blocks > 1 && forest_rooted_at(forest, usual_root(forest)) != FOREST_NONE) {
    c.use = USE_BLOCKS;
  } else if (forest->trees == 1) {
    c.use = USE_ONE;
  }
  return c;
}

double *cost_shares(const struct forest *forest) {
  double *share = calloc(forest->trees, sizeof *share);
  if (share == NULL) return NULL;
  for (uint32_t t = 0; forest->schedule == NULL && t < forest->trees; t++) share[t] = 1.0 / forest->trees;
  for (uint32_t i = 0; forest->schedule != NULL && i < forest->period; i++) share[forest->schedule[i]] += 1.0 / forest->period;
  return share;
}

/* ---- one tree --------------------------------------------------------------------------------------------------------------------- */

/* What a walk needs to know of a tree's nodes; strangers have no level. */
struct walk {
  uint32_t *parent, *level, *below; /* below: workers at or below the node */
  uint8_t *has_root;                /* the operation's root is at or below */
  uint32_t depth;
};

static void walk_fini(struct walk *w) {
  free(w->parent);
  free(w->has_root);
  *w = (struct walk){0};
}

static int walk_init(struct walk *w, const struct forest *f, uint32_t tree, uint32_t root, agg_error_t *err) {
  uint32_t nodes = forest_nodes(f);
  *w = (struct walk){.parent = calloc(3 * (size_t)nodes, sizeof *w->parent), .has_root = calloc(nodes, 1)};
  if (w->parent == NULL || w->has_root == NULL) {
    walk_fini(w);
    return err_set(err, AGG_ENOMEM, "cost model: no memory for a tree of %u nodes", nodes);
  }
  w->level = w->parent + nodes;
  w->below = w->level + nodes;
  for (uint32_t i = 0; i < nodes; i++) {
    w->level[i] = forest_level(f, tree, i);
    w->parent[i] = forest_parent(f, tree, i);
    w->below[i] = w->level[i] != FOREST_NONE && i < f->workers;
    if (w->level[i] != FOREST_NONE) w->depth = MAX_OF(w->depth, w->level[i]);
  }
  if (w->level[root] != FOREST_NONE) {
    for (uint32_t i = root; i != FOREST_NONE; i = w->parent[i]) w->has_root[i] = 1;
  }
  return AGG_OK;
}

/* The members of a tree in the order of their levels, deepest first. first[level] is where those of a level begin; order holds them. */
static void by_level(const struct walk *w, uint32_t nodes, uint32_t *first, uint32_t *order) {
  memset(first, 0, (w->depth + 2) * sizeof *first);
  for (uint32_t i = 0; i < nodes; i++) {
    if (w->level[i] != FOREST_NONE) first[w->depth - w->level[i] + 1]++;
  }
  for (uint32_t i = 0; i <= w->depth; i++) first[i + 1] += first[i];
  for (uint32_t i = 0; i < nodes; i++) {
    if (w->level[i] != FOREST_NONE) order[first[w->depth - w->level[i]]++] = i;
  }
  for (uint32_t i = w->depth + 1; i > 0; i--) first[i] = first[i - 1]; /* undo the counting up */
  first[0] = 0;
}

static double bytes_of(uint8_t who, const struct walk *w, uint32_t node, const struct cost_case *c) {
  double blocks = c->use == USE_BLOCKS ? 1 : c->blocks;
  if (who == WHO_ALL) return blocks;
  if (who == WHO_ROOT) return w->has_root[node] ? blocks : 0;
  return who == WHO_OWNER ? w->below[node] : 0;
}

/* In its own tree a block's owner is the root: it gives to nobody above and takes from nobody above. */
static double up_bytes(const struct walk *w, uint32_t node, const struct cost_case *c) {
  return c->use == USE_BLOCKS && c->from == WHO_OWNER ? 0 : bytes_of(c->from, w, node, c);
}
static double down_bytes(const struct walk *w, uint32_t node, const struct cost_case *c) {
  return c->use == USE_BLOCKS && c->to == WHO_OWNER ? 0 : bytes_of(c->to, w, node, c);
}

/* Of a worker's own memory, for one byte a block. In its own tree a block's owner is the root. */
static double own_bytes(uint8_t who, const struct loader *l, uint32_t node, const struct cost_case *c) {
  double blocks = c->use == USE_BLOCKS ? 1 : c->blocks;
  if (node >= l->f->workers) return 0;
  if (who == WHO_ALL) return blocks;
  if (who == WHO_ROOT) return node == c->root ? blocks : 0;
  return who == WHO_OWNER && c->use != USE_BLOCKS ? 1 : 0;
}

/* Of what comes down an edge from the tree's root, that which the root alone gives and does not take: it is sent from where it is. */
static double unmade_bytes(const struct loader *l, const struct walk *w, uint32_t node, uint32_t parent, const struct cost_case *c) {
  if (w->level[parent] != 0) return 0;
  if (c->from == WHO_ROOT && c->to == WHO_OWNER) return parent == c->root ? down_bytes(w, node, c) : 0;
  if (c->from == WHO_OWNER && c->to == WHO_ROOT) return w->has_root[node] ? own_bytes(WHO_OWNER, l, parent, c) : 0;
  return 0;
}

/* Copies of private memory for an edge upwards. What is folded, and what comes from below, lies in registered memory by then. */
static void copies_up(struct loader *l, const struct walk *w, uint32_t node, uint32_t parent, const struct cost_case *c, double share) {
  int is_folded = c->from == WHO_ALL && w->below[node] > 1;
  if (!l->bounced || l->f->node[node].host == l->f->node[parent].host || is_folded) return;
  load_copy(l, node, share * own_bytes(c->from, l, node, c));
}

/* And downwards: out of where the result has landed, and, between hosts, into the slot that it is sent from. */
static void copies_down(struct loader *l, const struct walk *w, uint32_t node, uint32_t parent, const struct cost_case *c, double share) {
  if (!l->pulled) return;
  double taken = share * own_bytes(c->to, l, node, c), unmade = share * unmade_bytes(l, w, node, parent, c);
  if (l->f->node[node].host == l->f->node[parent].host) {
    double made = w->level[parent] == 0 ? MAX_OF(taken - unmade, 0) : 0; /* into the slot, by the root */
    load_copy(l, node, made);
    load_pulled(l, parent, node, taken - made);
  } else if (l->bounced) {
    load_copy(l, node, taken);
    load_copy(l, parent, unmade + (c->to == WHO_ALL ? share * own_bytes(WHO_ALL, l, parent, c) : 0));
  }
}

/* A node folds its own input and its children's where there are two or more; a root whatever there is, into the result. */
static void fold_at(struct loader *l, const struct walk *w, uint32_t node, uint32_t children, const struct cost_case *c, double share) {
  double blocks = c->use == USE_BLOCKS ? 1 : c->blocks;
  uint32_t inputs = children + (node < l->f->workers);
  if (c->from == WHO_NOBODY) return;
  if (w->level[node] == 0) load_fold(l, node, share * blocks * (c->from == WHO_ALL ? inputs : 1));
  if (w->level[node] != 0 && c->from == WHO_ALL && inputs >= 2) load_fold(l, node, share * blocks * inputs);
}

/* ---- several trees at once ---------------------------------------------------------------------------------------------------------- */

struct walks {
  struct walk *walk;
  uint32_t **first, **order;
  uint32_t *words, *children;
  uint32_t n, depth;
};

static void walks_fini(struct walks *w) {
  for (uint32_t t = 0; w->walk != NULL && t < w->n; t++) walk_fini(&w->walk[t]);
  free(w->walk);
  free(w->first);
  free(w->words);
}

static int walks_init(struct walks *w, const struct forest *forest, const struct cost_case *c, const uint32_t *tree, uint32_t n,
                      agg_error_t *err) {
  uint32_t nodes = forest_nodes(forest);
  size_t each = 2 * (size_t)nodes + 2;
  *w = (struct walks){.n = n, .walk = calloc(n, sizeof *w->walk), .first = calloc(2 * (size_t)n, sizeof *w->first)};
  w->words = calloc(n * each + nodes, sizeof *w->words);
  int rc =
      w->walk == NULL || w->first == NULL || w->words == NULL ? err_set(err, AGG_ENOMEM, "cost model: no memory for %u trees", n) : AGG_OK;
  for (uint32_t t = 0; rc == AGG_OK && t < n; t++) {
    w->first[t] = w->words + t * each;
    w->first[n + t] = w->first[t] + nodes + 2;
    rc = walk_init(&w->walk[t], forest, tree[t], c->root, err);
    if (rc != AGG_OK) break;
    by_level(&w->walk[t], nodes, w->first[t], w->first[n + t]);
    w->depth = MAX_OF(w->depth, w->walk[t].depth);
  }
  if (rc != AGG_OK) {
    walks_fini(w);
    return rc;
  }
  w->order = w->first + n;
  w->children = w->words + n * each;
  return AGG_OK;
}

/* What comes in the direction given over the edges at this level of a tree; all levels below are done. Upwards it folds at the parents. */
static int walk_level(struct loader *l, struct walks *ws, uint32_t t, uint32_t level, int up, const struct cost_case *c, double share) {
  struct walk *w = &ws->walk[t];
  if (level > w->depth) return 0;
  const uint32_t *order = ws->order[t];
  uint32_t from = ws->first[t][w->depth - level], to = ws->first[t][w->depth - level + 1];
  double messages = share * (c->use == USE_BLOCKS ? 1 : c->blocks);
  int network = 0;
  for (uint32_t i = from; i < to; i++) {
    uint32_t node = order[i], parent = w->parent[node];
    network |= l->f->node[node].host != l->f->node[parent].host;
    if (up) {
      w->below[parent] += w->below[node];
      ws->children[parent]++;
      load_flow(l, node, parent, share * up_bytes(w, node, c), messages);
      copies_up(l, w, node, parent, c, share);
    } else {
      load_flow(l, parent, node, share * down_bytes(w, node, c), messages);
      copies_down(l, w, node, parent, c, share);
    }
  }
  for (uint32_t i = from; up && i < to; i++) {
    uint32_t parent = w->parent[order[i]];
    if (ws->children[parent] != 0) fold_at(l, w, parent, ws->children[parent], c, share);
    ws->children[parent] = 0;
  }
  return network;
}

static void fold_alone(struct loader *l, struct walks *ws, uint32_t t, const struct cost_case *c, double share) {
  const struct walk *w = &ws->walk[t];
  if (w->depth == 0) fold_at(l, w, ws->order[t][0], 0, c, share);
}

int load_trees(struct loader *l, const struct forest *forest, const struct cost_case *c, const uint32_t *tree, const double *share,
               uint32_t n, agg_error_t *err) {
  struct walks ws;
  int rc = walks_init(&ws, forest, c, tree, n, err);
  if (rc != AGG_OK) return rc;
  double hops = 0;
  for (uint32_t level = ws.depth; level > 0; level--) {
    int network = 0;
    for (uint32_t t = 0; t < n; t++) network |= walk_level(l, &ws, t, level, 1, c, share[t]);
    load_phase(l, 1);
    hops += 2 * load_hop(l, network);
  }
  for (uint32_t t = 0; t < n; t++) fold_alone(l, &ws, t, c, share[t]);
  if (ws.depth == 0) load_phase(l, 1);
  for (uint32_t level = 1; level <= ws.depth; level++) {
    for (uint32_t t = 0; t < n; t++) walk_level(l, &ws, t, level, 0, c, share[t]);
    load_phase(l, 0);
  }
  l->hops = MAX_OF(l->hops, hops);
  walks_fini(&ws);
  return AGG_OK;
}

/* ---- a whole forest ----------------------------------------------------------------------------------------------------------------- */

/* The trees of a part that carry something; a tree's share of an operation in which every block has its own tree is one block's. */
static int walk_part(struct loader *l, const struct forest *forest, const struct cost_case *c, uint32_t first, uint32_t trees,
                     const double *share, uint32_t *tree, double *part_share, agg_error_t *err) {
  uint32_t n = 0;
  for (uint32_t t = first; t < first + trees; t++) {
    double s = c->use == USE_ONE ? t == c->tree : share[t];
    if (c->use == USE_BLOCKS) s = forest_root(forest, t) < forest->workers && forest_rooted_at(forest, forest_root(forest, t)) == t;
    if (s <= 0) continue;
    part_share[n] = s;
    tree[n++] = t;
  }
  return n > 0 ? load_trees(l, forest, c, tree, part_share, n, err) : AGG_OK;
}

int load_forest_walk(struct loader *l, const struct forest *forest, const struct cost_case *c, agg_error_t *err) {
  double *share = cost_shares(forest), *part_share = calloc(forest->trees, sizeof *part_share);
  uint32_t *tree = calloc(forest->trees, sizeof *tree);
  int rc = share == NULL || part_share == NULL || tree == NULL
               ? err_set(err, AGG_ENOMEM, "cost model: no memory for %u trees", forest->trees)
               : AGG_OK;
  for (uint32_t i = 0, first = 0; rc == AGG_OK && i < forest->n_parts; first += forest->part[i++].trees) {
    rc = walk_part(l, forest, c, first, forest->part[i].trees, share, tree, part_share, err);
    load_part(l, i, forest->n_parts);
  }
  free(tree);
  free(part_share);
  free(share);
  return rc;
}
