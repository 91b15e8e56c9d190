/*
 * The double binary tree (Sanders, Speck, Traff 2009): two binary trees over all workers, none an inner node in both, so that each NIC
 * carries about two children in one tree and one parent in each.
 *
 * A tree is the in-order binary tree of the numbers 1 .. n: the lowest set bit of a number is its height, so odd numbers are leaves and a
 * node's subtree is a range around it. In tree 0 a worker's number is its position + 1, in tree 1 its position, with the first position
 * numbered n: what is odd in one is even in the other, except where n is odd for the first position, a leaf in both. The roots are
 * neighbours, and where hosts hold a power of two of workers they sit on different ones.
 *
 *   n = 7, tree 0:      3             tree 1:      4
 *                   1       5                  2       6
 *                 0   2   4   6              1   3   5   0
 *
 * One worker is one tree. Two or three make trees of depth one; these fold in rank order, so the map is left out. Servers take no part.
 */
#include "place.h"
#include "shape.h"

static const struct forest_map *dtree_map(const struct forest_part *p) { return p->workers > 3 ? p->map : NULL; }

static uint32_t dtree_trees(const struct forest_part *p) { return p->workers > 1 ? 2 : 1; }

static uint32_t position_of(const struct forest_part *p, uint32_t tree, uint32_t number) {
  return tree == 0 ? number - 1 : number == p->workers ? 0 : number;
}

static uint32_t number_of(const struct forest_part *p, uint32_t tree, uint32_t node) {
  uint32_t position = place_position(dtree_map(p), node);
  return tree == 0 ? position + 1 : position == 0 ? p->workers : position;
}

static uint32_t node_of(const struct forest_part *p, uint32_t tree, uint32_t number) {
  return place_worker(dtree_map(p), position_of(p, tree, number));
}

static uint32_t low_bit(uint32_t number) { return number & (0 - number); }

static uint32_t log2_floor(uint32_t n) { return 31u - (uint32_t)__builtin_clz(n); }

/* 0: number is the root. Where the full tree's parent is beyond n, so is all to its right, and what is left hangs one higher. */
static uint32_t up(uint32_t number, uint32_t n) {
  uint32_t bit = low_bit(number), parent = (number ^ bit) | bit << 1;
  return parent <= n ? parent : number ^ bit;
}

/* 0: no such child. The left one is always there in an inner node, the right one may hang lower than in the full tree. */
static uint32_t left(uint32_t number) { return low_bit(number) > 1 ? number - low_bit(number) / 2 : 0; }

static uint32_t right(uint32_t number, uint32_t n) {
  uint32_t step = low_bit(number) / 2;
  while (number + step > n) step /= 2;
  return step != 0 ? number + step : 0;
}

static uint32_t dtree_root(const struct forest_part *p, uint32_t tree) { return node_of(p, tree, 1u << log2_floor(p->workers)); }

static uint32_t dtree_rooted_at(const struct forest_part *p, uint32_t node) {
  for (uint32_t tree = 0; tree < dtree_trees(p); tree++) {
    if (dtree_root(p, tree) == node) return tree;
  }
  return FOREST_NONE;
}

static int dtree_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < p->workers;
}

static uint32_t dtree_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  uint32_t parent = up(number_of(p, tree, node), p->workers);
  return parent == 0 ? FOREST_NONE : node_of(p, tree, parent);
}

/* A node's children in the order of positions, and how many come before the node itself. */
struct family {
  uint32_t n, before, child[2]; /* positions */
};

static struct family family_of(const struct forest_part *p, uint32_t tree, uint32_t number) {
  struct family f = {0};
  uint32_t numbers[2] = {left(number), right(number, p->workers)};
  for (uint32_t i = 0; i < 2; i++) {
    if (numbers[i] != 0) f.child[f.n++] = position_of(p, tree, numbers[i]);
  }
  if (f.n == 2 && f.child[1] < f.child[0]) f = (struct family){.n = 2, .child = {f.child[1], f.child[0]}};
  for (uint32_t i = 0; i < f.n; i++) f.before += f.child[i] < position_of(p, tree, number);
  return f;
}

static uint32_t dtree_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return family_of(p, tree, number_of(p, tree, node)).n;
}

static uint32_t dtree_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  return place_worker(dtree_map(p), family_of(p, tree, number_of(p, tree, node)).child[i]);
}

static uint32_t dtree_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  uint32_t number = number_of(p, tree, node);
  struct family f = family_of(p, tree, up(number, p->workers));
  return f.child[0] != position_of(p, tree, number);
}

static uint32_t dtree_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  uint32_t level = 0;
  for (uint32_t number = number_of(p, tree, node); (number = up(number, p->workers)) != 0; level++) continue;
  return level;
}

static uint32_t dtree_own_at(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return family_of(p, tree, number_of(p, tree, node)).before;
}

static uint32_t dtree_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  uint32_t number = number_of(p, tree, node), bit = low_bit(number), to = number_of(p, tree, target);
  if (to <= number - bit || to >= number + bit) return FOREST_NONE;
  return node_of(p, tree, to < number ? left(number) : right(number, p->workers));
}

static uint32_t dtree_depth(const struct forest_part *p) { return log2_floor(p->workers); }

const struct forest_shape shape_dtree = {
    .name = "dtree",
    .trees = dtree_trees,
    .root = dtree_root,
    .rooted_at = dtree_rooted_at,
    .member = dtree_member,
    .parent = dtree_parent,
    .n_children = dtree_n_children,
    .child = dtree_child,
    .index = dtree_index,
    .level = dtree_level,
    .own_at = dtree_own_at,
    .toward = dtree_toward,
    .depth = dtree_depth,
};
