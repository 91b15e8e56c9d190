/*
 * Hierarchical: one tree a worker. The root has the other workers of its group and the leader of every other group below it; a leader has
 * the others of its group. Who leads takes turns: in the tree of member l of a group, member l (mod size) of each group leads, so the root
 * leads its own. Folds in the order of positions. With one group, or groups of one, the trees are of depth one and fold in rank order: the
 * map is left out and what remains is direct. Servers take no part.
 */
#include "place.h"
#include "shape.h"

static const struct forest_map *hier_map(const struct forest_part *p) {
  return p->map == NULL || p->map->groups == 1 || p->map->groups == p->workers ? NULL : p->map;
}

static uint32_t hier_trees(const struct forest_part *p) { return p->workers; }

static uint32_t hier_root(const struct forest_part *p, uint32_t tree) {
  (void)p;
  return tree;
}

static uint32_t hier_rooted_at(const struct forest_part *p, uint32_t node) { return node < p->workers ? node : FOREST_NONE; }

static int hier_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  (void)tree;
  return node < p->workers;
}

/* The root's group, with the root as its leader. */
static struct host top_of(const struct forest_part *p, uint32_t tree) {
  struct host h = host_of_worker(hier_map(p), tree, 0);
  h.leader = h.at;
  return h;
}

static struct host host_in(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return host_of_worker(hier_map(p), node, top_of(p, tree).leader);
}

static uint32_t hier_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node == tree) return FOREST_NONE;
  struct host h = host_in(p, tree, node);
  return host_leads(&h) ? tree : host_leader(&h);
}

static uint32_t hier_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) {
  struct host h = host_in(p, tree, node);
  return host_n_children(&h) + (node == tree ? place_groups(p, hier_map(p)) - 1 : 0);
}

/* The root's children: the leaders of the groups before its own, the others of its own, the leaders of the groups behind it. */
static uint32_t hier_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  struct host h = host_in(p, tree, node);
  if (node != tree) return host_child(&h, i);
  if (i >= h.group && i < h.group + h.size - 1) return host_child(&h, i - h.group);
  struct host other = host_of_group(hier_map(p), i < h.group ? i : i - (h.size - 1) + 1, h.leader);
  return host_leader(&other);
}

static uint32_t hier_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  struct host top = top_of(p, tree), h = host_in(p, tree, node);
  if (h.group == top.group) return top.group + host_index(&h);
  if (!host_leads(&h)) return host_index(&h);
  return h.group < top.group ? h.group : h.group - 1 + top.size - 1;
}

static uint32_t hier_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node == tree) return 0;
  struct host h = host_in(p, tree, node);
  return host_leads(&h) || h.group == top_of(p, tree).group ? 1 : 2;
}

static uint32_t hier_own_at(const struct forest_part *p, uint32_t tree, uint32_t node) {
  struct host h = host_in(p, tree, node);
  return host_own_at(&h) + (node == tree ? h.group : 0);
}

static uint32_t hier_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  struct host h = host_in(p, tree, node), to = host_in(p, tree, target);
  if (h.group == to.group) return host_leads(&h) ? target : FOREST_NONE;
  return node == tree ? host_leader(&to) : FOREST_NONE;
}

static uint32_t hier_depth(const struct forest_part *p) { return p->workers == 1 ? 0 : hier_map(p) == NULL ? 1 : 2; }

const struct forest_shape shape_hier = {
    .name = "hier",
    .trees = hier_trees,
    .root = hier_root,
    .rooted_at = hier_rooted_at,
    .member = hier_member,
    .parent = hier_parent,
    .n_children = hier_n_children,
    .child = hier_child,
    .index = hier_index,
    .level = hier_level,
    .own_at = hier_own_at,
    .toward = hier_toward,
    .depth = hier_depth,
};
