/*
 * The k-ary tree: one tree, in which a node and all below it are a range of positions. The first of the range is on top; the rest is cut
 * into k ranges as equal as can be, one a child. So it is as shallow as a heap of the same arity, but few of its edges leave a host or
 * rack, and it folds in the order of positions. A node finds its range on the way down from the root, in O(depth); a chain is arithmetic.
 * Where all hang on the root, ranks take the place of positions: trees of depth one fold in rank order. Servers take no part.
 */
#include "place.h"
#include "shape.h"

static const struct forest_map *tree_map(const struct forest_part *p) { return p->workers - 1 <= p->arity ? NULL : p->map; }

static uint32_t tree_trees(const struct forest_part *p) {
  (void)p;
  return 1;
}

static uint32_t tree_root(const struct forest_part *p, uint32_t tree) {
  (void)tree;
  return place_worker(tree_map(p), 0);
}

static uint32_t tree_rooted_at(const struct forest_part *p, uint32_t node) { return node == tree_root(p, 0) ? 0 : FOREST_NONE; }

static int tree_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < p->workers;
}

/* A node's place: its range of positions (itself the first), and where it hangs. */
struct range {
  uint32_t first, size, parent, index, level;
};

static uint32_t n_children_of(const struct forest_part *p, const struct range *r) {
  return r->size - 1 < p->arity ? r->size - 1 : p->arity;
}

static uint32_t child_first(const struct forest_part *p, const struct range *r, uint32_t i) {
  uint32_t n = n_children_of(p, r), each = (r->size - 1) / n, longer = (r->size - 1) % n;
  return r->first + 1 + i * each + (i < longer ? i : longer);
}

/* The child below which, or at which, the position is; it is in the range and not the first. */
static uint32_t child_holding(const struct forest_part *p, const struct range *r, uint32_t position) {
  uint32_t n = n_children_of(p, r), each = (r->size - 1) / n, longer = (r->size - 1) % n, at = position - r->first - 1;
  return at < longer * (each + 1) ? at / (each + 1) : (at - longer) / each;
}

static struct range child_range(const struct forest_part *p, const struct range *r, uint32_t i) {
  uint32_t first = child_first(p, r, i);
  uint32_t end = i + 1 < n_children_of(p, r) ? child_first(p, r, i + 1) : r->first + r->size;
  return (struct range){.first = first, .size = end - first, .parent = r->first, .index = i, .level = r->level + 1};
}

static struct range find(const struct forest_part *p, uint32_t position) {
  if (p->arity == 1) return (struct range){.first = position, .size = p->workers - position, .parent = position - 1, .level = position};
  struct range r = {.size = p->workers, .parent = FOREST_NONE};
  while (r.first != position) r = child_range(p, &r, child_holding(p, &r, position));
  return r;
}

static struct range find_node(const struct forest_part *p, uint32_t node) { return find(p, place_position(tree_map(p), node)); }

static uint32_t tree_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  struct range r = find_node(p, node);
  (void)tree;
  return r.level == 0 ? FOREST_NONE : place_worker(tree_map(p), r.parent);
}

static uint32_t tree_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) {
  struct range r = find_node(p, node);
  (void)tree;
  return n_children_of(p, &r);
}

static uint32_t tree_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  struct range r = find_node(p, node);
  (void)tree;
  return place_worker(tree_map(p), child_first(p, &r, i));
}

static uint32_t tree_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return find_node(p, node).index;
}

static uint32_t tree_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return find_node(p, node).level;
}

static uint32_t tree_own_at(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)p, (void)tree, (void)node;
  return 0;
}

static uint32_t tree_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  struct range r = find_node(p, node);
  uint32_t position = place_position(tree_map(p), target);
  (void)tree;
  if (position <= r.first || position >= r.first + r.size) return FOREST_NONE;
  return place_worker(tree_map(p), child_first(p, &r, child_holding(p, &r, position)));
}

/* The first child's range is the longest. */
static uint32_t tree_depth(const struct forest_part *p) {
  if (p->arity == 1) return p->workers - 1;
  struct range r = {.size = p->workers};
  while (r.size > 1) r = child_range(p, &r, 0);
  return r.level;
}

const struct forest_shape shape_tree = {
    .name = "tree",
    .trees = tree_trees,
    .root = tree_root,
    .rooted_at = tree_rooted_at,
    .member = tree_member,
    .parent = tree_parent,
    .n_children = tree_n_children,
    .child = tree_child,
    .index = tree_index,
    .level = tree_level,
    .own_at = tree_own_at,
    .toward = tree_toward,
    .depth = tree_depth,
};
