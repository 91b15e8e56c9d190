/* Proves a forest: asks the shape every question and compares the answers with each other and with walks up the trees. Trusts nothing that
 * the shape says, so a broken shape gives an error and neither an endless loop nor a wild index. */
#include "base/err.h"
#include "topology/shape.h"

struct check {
  const struct forest *f;
  const struct forest_shape *shape;
  uint32_t nodes;
  agg_error_t *err;
};

#define FAIL(c, ...) err_set((c)->err, AGG_EINVAL, __VA_ARGS__)

static int is_member(const struct check *c, uint32_t tree, uint32_t node) { return node < c->nodes && c->shape->member(c->f, tree, node); }

/* The root is a member without a parent, and says itself that the tree is its own. */
static int check_root(const struct check *c, uint32_t tree) {
  uint32_t root = c->shape->root(c->f, tree);
  if (!is_member(c, tree, root)) return FAIL(c, "tree %u: its root %u is not a member", tree, root);
  if (c->shape->parent(c->f, tree, root) != FOREST_NONE) return FAIL(c, "tree %u: its root %u has a parent", tree, root);
  uint32_t rooted = c->shape->rooted_at(c->f, root);
  if (rooted >= c->f->trees || c->shape->root(c->f, rooted) != root) return FAIL(c, "tree %u: root %u is not known to be one", tree, root);
  return AGG_OK;
}

/* A parent counts its child exactly once. */
static int check_parent(const struct check *c, uint32_t tree, uint32_t node) {
  uint32_t parent = c->shape->parent(c->f, tree, node);
  if (parent == FOREST_NONE) {
    return node == c->shape->root(c->f, tree) ? AGG_OK : FAIL(c, "tree %u: node %u has no parent and is not the root", tree, node);
  }
  if (!is_member(c, tree, parent)) return FAIL(c, "tree %u: node %u has the parent %u, which is not a member", tree, node, parent);
  uint32_t found = 0;
  for (uint32_t i = 0; i < c->shape->n_children(c->f, tree, parent); i++) found += c->shape->child(c->f, tree, parent, i) == node;
  return found == 1 ? AGG_OK : FAIL(c, "tree %u: node %u is %u times among the children of its parent %u", tree, node, found, parent);
}

/* A child names the node as its parent; the own contribution has a place among the children. */
static int check_children(const struct check *c, uint32_t tree, uint32_t node) {
  uint32_t n = c->shape->n_children(c->f, tree, node);
  if (n >= c->nodes) return FAIL(c, "tree %u: node %u has %u children, more than there are nodes", tree, node, n);
  if (c->shape->own_at(c->f, tree, node) > n)
    return FAIL(c, "tree %u: node %u folds its own part after child %u of %u", tree, node, c->shape->own_at(c->f, tree, node), n);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t child = c->shape->child(c->f, tree, node, i);
    if (!is_member(c, tree, child)) return FAIL(c, "tree %u: child %u of node %u is not a member", tree, child, node);
    if (c->shape->parent(c->f, tree, child) != node)
      return FAIL(c, "tree %u: node %u has child %u, which has another parent", tree, node, child);
  }
  return AGG_OK;
}

/* Walks up from target: ends at the root, and at every node on the way toward() names the step just made. *steps is the way's length. */
static int check_walk(const struct check *c, uint32_t tree, uint32_t target, uint32_t *steps) {
  uint32_t below = target, node = target;
  for (*steps = 0; (node = c->shape->parent(c->f, tree, node)) != FOREST_NONE; below = node) {
    if (++*steps >= c->nodes) return FAIL(c, "tree %u: the way up from node %u is a cycle", tree, target);
    uint32_t toward = c->shape->toward(c->f, tree, node, target);
    if (toward != below) return FAIL(c, "tree %u: at node %u the way to node %u is %u, not %u", tree, node, target, toward, below);
  }
  return AGG_OK;
}

static int lies_above(const struct check *c, uint32_t tree, uint32_t node, uint32_t target) {
  for (uint32_t at = c->shape->parent(c->f, tree, target); at != FOREST_NONE; at = c->shape->parent(c->f, tree, at)) {
    if (at == node) return 1;
  }
  return 0;
}

/* toward() says FOREST_NONE for everything that is not below. Runs after the walks, which proved that there is no cycle. */
static int check_not_below(const struct check *c, uint32_t tree, uint32_t node) {
  for (uint32_t target = 0; target < c->nodes; target++) {
    if (target == node || !is_member(c, tree, target) || lies_above(c, tree, node, target)) continue;
    uint32_t toward = c->shape->toward(c->f, tree, node, target);
    if (toward != FOREST_NONE)
      return FAIL(c, "tree %u: node %u is not below node %u, yet a way %u leads to it", tree, target, node, toward);
  }
  return AGG_OK;
}

static int check_tree(const struct check *c, uint32_t tree, uint32_t *depth) {
  for (uint32_t worker = 0; worker < c->f->workers; worker++) {
    if (!is_member(c, tree, worker)) return FAIL(c, "tree %u: worker %u is not a member", tree, worker);
  }
  int rc = check_root(c, tree);
  for (uint32_t node = 0; rc == AGG_OK && node < c->nodes; node++) {
    if (!is_member(c, tree, node)) continue;
    rc = check_parent(c, tree, node);
    if (rc == AGG_OK) rc = check_children(c, tree, node);
  }
  for (uint32_t node = 0; rc == AGG_OK && node < c->nodes; node++) {
    uint32_t steps = 0;
    if (is_member(c, tree, node)) rc = check_walk(c, tree, node, &steps);
    if (steps > *depth) *depth = steps;
  }
  for (uint32_t node = 0; rc == AGG_OK && node < c->nodes; node++) {
    if (is_member(c, tree, node)) rc = check_not_below(c, tree, node);
  }
  return rc;
}

/* A server has the same children in all trees in which it takes part. */
static int check_server(const struct check *c, uint32_t server) {
  uint32_t first = FOREST_NONE;
  for (uint32_t tree = 0; tree < c->f->trees; tree++) {
    if (!is_member(c, tree, server)) continue;
    if (first == FOREST_NONE) first = tree;
    uint32_t n = c->shape->n_children(c->f, tree, server);
    int same = n == c->shape->n_children(c->f, first, server);
    for (uint32_t i = 0; same && i < n; i++) same = c->shape->child(c->f, tree, server, i) == c->shape->child(c->f, first, server, i);
    if (!same) return FAIL(c, "server %u has other children in tree %u than in tree %u", server, tree, first);
  }
  return AGG_OK;
}

int forest_check_shape(const struct forest *f, const struct forest_shape *shape, agg_error_t *err) {
  struct check c = {.f = f, .shape = shape, .nodes = f->workers + f->servers, .err = err};
  if (f->workers == 0 || f->workers > FOREST_MAX_NODES || f->servers > FOREST_MAX_NODES - f->workers) {
    return FAIL(&c, "%u workers and %u servers: expected 1 to %u nodes", f->workers, f->servers, FOREST_MAX_NODES);
  }
  if (f->trees == 0 || f->trees != shape->trees(f->workers, f->servers))
    return FAIL(&c, "%u trees are not what a %s has", f->trees, shape->name);
  uint32_t depth = 0;
  int rc = AGG_OK;
  for (uint32_t tree = 0; rc == AGG_OK && tree < f->trees; tree++) rc = check_tree(&c, tree, &depth);
  for (uint32_t server = f->workers; rc == AGG_OK && server < c.nodes; server++) rc = check_server(&c, server);
  if (rc == AGG_OK && depth != shape->depth(f))
    rc = FAIL(&c, "the longest way is %u edges, the %s says %u", depth, shape->name, shape->depth(f));
  return rc;
}
