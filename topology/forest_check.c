/*
 * Proves forests. A node's proof asks the shapes about that node, its parents and its children only; the proofs of all nodes together are
 * the proof of the forest (forest.h says why). For tests, toward() and the depth are proven against walks up the trees. Trusts nothing that
 * a shape says, so a broken shape gives an error and neither an endless loop nor a wild index.
 */
#include "base/err.h"
#include "topology/shape.h"

struct check {
  const struct forest *f;
  uint32_t nodes;
  agg_error_t *err;
  /* of the part that is being proven */
  const struct forest_part *part;
  const struct forest_shape *shape;
  uint32_t first; /* its first tree, as errors name it */
};

#define FAIL(c, ...) err_set((c)->err, AGG_EINVAL, __VA_ARGS__)
#define NAME(c, tree) ((c)->first + (tree))

static int is_member(const struct check *c, uint32_t tree, uint32_t node) {
  return node < c->nodes && c->shape->member(c->part, tree, node);
}

/* ---- the frame: numbers that everything else indexes by ----------------------------------------------------------------------------- */

static int check_part(const struct check *c) {
  const struct forest_part *p = c->part;
  if (p->workers != c->f->workers || p->servers != c->f->servers)
    return FAIL(c, "the %s is of %u workers and %u servers, its forest of %u and %u", c->shape->name, p->workers, p->servers, c->f->workers,
                c->f->servers);
  if (p->map != NULL && (p->map->workers != p->workers || p->map->servers != p->servers))
    return FAIL(c, "the map of the %s is of %u workers and %u servers: expected %u and %u", c->shape->name, p->map->workers,
                p->map->servers, p->workers, p->servers);
  if (p->kind == FOREST_TREE ? p->arity < 1 || p->arity > FOREST_ARITY_MAX : p->arity != 0)
    return FAIL(c, "a %s of arity %u", c->shape->name, p->arity);
  if (p->trees == 0 || p->trees != c->shape->trees(p)) return FAIL(c, "%u trees are not what a %s has", p->trees, c->shape->name);
  return AGG_OK;
}

static int check_schedule(const struct check *c) {
  const struct forest *f = c->f;
  if (f->schedule == NULL && f->period == f->trees) return AGG_OK;
  if (f->schedule == NULL || f->period == 0 || f->period > FOREST_PERIOD_MAX)
    return FAIL(c, "a schedule of %u places for %u trees: expected 1 to %u, or one a tree", f->period, f->trees, FOREST_PERIOD_MAX);
  for (uint32_t i = 0; i < f->period; i++) {
    if (f->schedule[i] >= f->trees) return FAIL(c, "place %u of the schedule is tree %u: there are %u trees", i, f->schedule[i], f->trees);
  }
  return AGG_OK;
}

static const struct forest_shape *kind_of(const struct forest *f, uint32_t part, const struct forest_shape *instead) {
  return instead != NULL ? instead : forest_shape_of(f->part[part].kind);
}

static void enter_part(struct check *c, uint32_t part, const struct forest_shape *instead) {
  c->first = part == 0 ? 0 : c->f->part[0].trees;
  c->part = &c->f->part[part];
  c->shape = kind_of(c->f, part, instead);
}

static int check_frame(struct check *c, const struct forest_shape *instead) {
  const struct forest *f = c->f;
  if (f->workers == 0 || f->workers > FOREST_MAX_NODES || f->servers > FOREST_MAX_NODES - f->workers) {
    return FAIL(c, "%u workers and %u servers: expected 1 to %u nodes", f->workers, f->servers, FOREST_MAX_NODES);
  }
  if (f->n_parts == 0 || f->n_parts > FOREST_PARTS_MAX) return FAIL(c, "%u parts: expected 1 to %d", f->n_parts, FOREST_PARTS_MAX);
  uint64_t trees = 0;
  for (uint32_t i = 0; i < f->n_parts; i++) {
    if (kind_of(f, i, instead) == NULL) return FAIL(c, "forest kind %u is unknown", f->part[i].kind);
    enter_part(c, i, instead);
    int rc = check_part(c);
    if (rc != AGG_OK) return rc;
    trees += c->part->trees;
  }
  if (trees != f->trees) return FAIL(c, "%u trees: expected %llu, those of its parts", f->trees, (unsigned long long)trees);
  return check_schedule(c);
}

/* ---- a node's proof ----------------------------------------------------------------------------------------------------------------- */

/* A node that says that a tree is its own is the root of it. */
static int check_rooted(const struct check *c, uint32_t node) {
  uint32_t rooted = c->shape->rooted_at(c->part, node);
  if (rooted == FOREST_NONE) return AGG_OK;
  if (rooted >= c->part->trees) return FAIL(c, "node %u says it is the root of tree %u: there are %u", node, rooted, c->part->trees);
  uint32_t root = c->shape->root(c->part, rooted);
  return root == node ? AGG_OK : FAIL(c, "node %u says it is the root of tree %u, which is %u", node, NAME(c, rooted), root);
}

/* The root has no parent, and says itself that a tree is its own. */
static int check_root(const struct check *c, uint32_t tree, uint32_t root) {
  if (c->shape->parent(c->part, tree, root) != FOREST_NONE) return FAIL(c, "tree %u: its root %u has a parent", NAME(c, tree), root);
  if (c->shape->level(c->part, tree, root) != 0)
    return FAIL(c, "tree %u: its root %u is at level %u", NAME(c, tree), root, c->shape->level(c->part, tree, root));
  if (c->shape->rooted_at(c->part, root) == FOREST_NONE)
    return FAIL(c, "tree %u: root %u does not know that it is one", NAME(c, tree), root);
  return AGG_OK;
}

/* The parent is one level higher and has the node where the node says. That it is there only once is in the parent's proof. */
static int check_parent(const struct check *c, uint32_t tree, uint32_t node) {
  const struct forest_shape *s = c->shape;
  uint32_t parent = s->parent(c->part, tree, node), level = s->level(c->part, tree, node), index = s->index(c->part, tree, node);
  if (parent == FOREST_NONE) return FAIL(c, "tree %u: node %u has no parent and is not the root", NAME(c, tree), node);
  if (parent == node || !is_member(c, tree, parent))
    return FAIL(c, "tree %u: node %u has the parent %u, which is not a member", NAME(c, tree), node, parent);
  if (level == 0 || level > s->depth(c->part) || s->level(c->part, tree, parent) != level - 1)
    return FAIL(c, "tree %u: node %u is at level %u, its parent %u at level %u", NAME(c, tree), node, level, parent,
                s->level(c->part, tree, parent));
  if (index >= s->n_children(c->part, tree, parent) || s->child(c->part, tree, parent, index) != node)
    return FAIL(c, "tree %u: node %u is not child %u of its parent %u", NAME(c, tree), node, index, parent);
  return AGG_OK;
}

/* The children are one level lower, and each names the node as its parent and its own number among them: so no two are the same. The own
 * contribution has a place among them. */
static int check_children(const struct check *c, uint32_t tree, uint32_t node) {
  const struct forest_shape *s = c->shape;
  uint32_t n = s->n_children(c->part, tree, node), level = s->level(c->part, tree, node), own_at = s->own_at(c->part, tree, node);
  if (n >= c->nodes) return FAIL(c, "tree %u: node %u has %u children, more than there are nodes", NAME(c, tree), node, n);
  if (own_at > n) return FAIL(c, "tree %u: node %u folds its own part after child %u of %u", NAME(c, tree), node, own_at, n);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t child = s->child(c->part, tree, node, i);
    if (!is_member(c, tree, child)) return FAIL(c, "tree %u: child %u of node %u is not a member", NAME(c, tree), child, node);
    if (s->parent(c->part, tree, child) != node)
      return FAIL(c, "tree %u: node %u has child %u, which has another parent", NAME(c, tree), node, child);
    if (s->level(c->part, tree, child) != level + 1)
      return FAIL(c, "tree %u: node %u is at level %u, its child %u at level %u", NAME(c, tree), node, level, child,
                  s->level(c->part, tree, child));
    if (s->index(c->part, tree, child) != i)
      return FAIL(c, "tree %u: node %u has child %u at %u, which says %u", NAME(c, tree), node, child, i, s->index(c->part, tree, child));
  }
  return AGG_OK;
}

static int check_in_tree(const struct check *c, uint32_t tree, uint32_t node) {
  uint32_t root = c->shape->root(c->part, tree);
  if (!is_member(c, tree, root)) return FAIL(c, "tree %u: its root %u is not a member", NAME(c, tree), root);
  if (!is_member(c, tree, node)) return node < c->f->workers ? FAIL(c, "tree %u: worker %u is not a member", NAME(c, tree), node) : AGG_OK;
  int rc = node == root ? check_root(c, tree, root) : check_parent(c, tree, node);
  return rc == AGG_OK ? check_children(c, tree, node) : rc;
}

/* Where a server was first met: all its trees have the children of that one. */
struct met {
  struct check at;
  uint32_t tree;
};

static int check_server(const struct check *c, uint32_t tree, uint32_t server, struct met *met) {
  if (!is_member(c, tree, server)) return AGG_OK;
  if (met->at.shape == NULL) *met = (struct met){.at = *c, .tree = tree};
  const struct check *m = &met->at;
  uint32_t n = c->shape->n_children(c->part, tree, server);
  int same = n == m->shape->n_children(m->part, met->tree, server);
  for (uint32_t i = 0; same && i < n; i++)
    same = c->shape->child(c->part, tree, server, i) == m->shape->child(m->part, met->tree, server, i);
  if (!same) return FAIL(c, "server %u has other children in tree %u than in tree %u", server, NAME(c, tree), NAME(m, met->tree));
  return AGG_OK;
}

static int check_node(struct check *c, const struct forest_shape *instead, uint32_t node) {
  struct met met = {0};
  int rc = AGG_OK;
  for (uint32_t part = 0; rc == AGG_OK && part < c->f->n_parts; part++) {
    enter_part(c, part, instead);
    rc = check_rooted(c, node);
    for (uint32_t tree = 0; rc == AGG_OK && tree < c->part->trees; tree++) {
      rc = check_in_tree(c, tree, node);
      if (rc == AGG_OK && node >= c->f->workers) rc = check_server(c, tree, node, &met);
    }
  }
  return rc;
}

int forest_check_node(const struct forest *f, uint32_t node, agg_error_t *err) {
  struct check c = {.f = f, .nodes = f->workers + f->servers, .err = err};
  int rc = check_frame(&c, NULL);
  if (rc == AGG_OK && node >= c.nodes) rc = FAIL(&c, "node %u: there are %u nodes", node, c.nodes);
  return rc == AGG_OK ? check_node(&c, NULL, node) : rc;
}

/* ---- all nodes, and the ways down ------------------------------------------------------------------------------------------------- */

static int lies_above(const struct check *c, uint32_t tree, uint32_t node, uint32_t target) {
  for (uint32_t at = target; at != FOREST_NONE; at = c->shape->parent(c->part, tree, at)) {
    if (at == node) return 1;
  }
  return 0;
}

/* On the way up from target toward() names at each node the step just made, and at all other nodes it says that there is no way. */
static int check_ways(const struct check *c, uint32_t tree, uint32_t target) {
  uint32_t steps = 0, ways = 0;
  for (uint32_t below = target, node = target; (node = c->shape->parent(c->part, tree, node)) != FOREST_NONE; below = node, steps++) {
    uint32_t toward = c->shape->toward(c->part, tree, node, target);
    if (toward != below) return FAIL(c, "tree %u: at node %u the way to node %u is %u, not %u", NAME(c, tree), node, target, toward, below);
  }
  for (uint32_t node = 0; node < c->nodes; node++)
    ways += node != target && is_member(c, tree, node) && c->shape->toward(c->part, tree, node, target) != FOREST_NONE;
  for (uint32_t node = 0; ways != steps && node < c->nodes; node++) {
    if (!is_member(c, tree, node) || lies_above(c, tree, node, target)) continue;
    uint32_t toward = c->shape->toward(c->part, tree, node, target);
    if (toward != FOREST_NONE)
      return FAIL(c, "tree %u: node %u is not below node %u, yet a way %u leads to it", NAME(c, tree), target, node, toward);
  }
  return AGG_OK;
}

/* After the nodes' proofs: every way up ends. */
static int check_part_ways(const struct check *c) {
  uint32_t deepest = 0;
  for (uint32_t tree = 0; tree < c->part->trees; tree++) {
    for (uint32_t node = 0; node < c->nodes; node++) {
      if (!is_member(c, tree, node)) continue;
      int rc = check_ways(c, tree, node);
      if (rc != AGG_OK) return rc;
      uint32_t level = c->shape->level(c->part, tree, node);
      if (level > deepest) deepest = level;
    }
  }
  if (deepest == c->shape->depth(c->part)) return AGG_OK;
  return FAIL(c, "the longest way is %u edges, the %s says %u", deepest, c->shape->name, c->shape->depth(c->part));
}

static int check_all(const struct forest *f, const struct forest_shape *instead, agg_error_t *err) {
  struct check c = {.f = f, .nodes = f->workers + f->servers, .err = err};
  int rc = check_frame(&c, instead);
  for (uint32_t node = 0; rc == AGG_OK && node < c.nodes; node++) rc = check_node(&c, instead, node);
  for (uint32_t part = 0; rc == AGG_OK && part < f->n_parts; part++) {
    enter_part(&c, part, instead);
    rc = check_part_ways(&c);
  }
  return rc;
}

int forest_check(const struct forest *f, agg_error_t *err) { return check_all(f, NULL, err); }

int forest_check_shape(const struct forest *f, const struct forest_shape *shape, agg_error_t *err) { return check_all(f, shape, err); }
