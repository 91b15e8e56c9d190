/* Forests: finds the part of a tree, checks the arguments of every question and hands it to the part's shape. Owns the table of kinds.
 * Never allocates, and never answers from anything but its arguments. */
#include "topology/forest.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "topology/shape.h"

static const struct forest_shape *const shapes[FOREST_KIND_COUNT] = {
    [FOREST_STAR] = &shape_star,   [FOREST_DIRECT] = &shape_direct, [FOREST_RING] = &shape_ring,   [FOREST_TREE] = &shape_tree,
    [FOREST_DTREE] = &shape_dtree, [FOREST_HIER] = &shape_hier,     [FOREST_HSTAR] = &shape_hstar, [FOREST_RACK] = &shape_rack,
};

const struct forest_shape *forest_shape_of(unsigned kind) { return kind < FOREST_KIND_COUNT ? shapes[kind] : NULL; }

int forest_kind_parse(const char *name) {
  for (int kind = 0; name != NULL && kind < FOREST_KIND_COUNT; kind++) {
    if (strcmp(name, shapes[kind]->name) == 0) return kind;
  }
  return -1;
}

const char *forest_kind_name(unsigned kind) { return kind < FOREST_KIND_COUNT ? shapes[kind]->name : "?"; }

static int part_name(const struct forest_part *p, char *buf, size_t cap) {
  if (p->kind == FOREST_TREE) return snprintf(buf, cap, "%s of %u", forest_kind_name(p->kind), p->arity);
  return snprintf(buf, cap, "%s", forest_kind_name(p->kind));
}

static uint32_t places_below(const struct forest *f, uint32_t tree) {
  if (f->schedule == NULL) return tree;
  uint32_t n = 0;
  for (uint32_t i = 0; i < f->period; i++) n += f->schedule[i] < tree;
  return n;
}

const char *forest_name(const struct forest *f, char *buf, size_t cap) {
  char name[2][32];
  if (cap == 0) return buf;
  for (uint32_t i = 0; i < f->n_parts; i++) part_name(&f->part[i], name[i], sizeof name[i]);
  if (f->n_parts == 1) {
    snprintf(buf, cap, "%s", name[0]);
  } else {
    double percent = 100.0 * places_below(f, f->part[0].trees) / f->period;
    snprintf(buf, cap, "hybrid: %s %.0f %%, %s %.0f %%", name[0], percent, name[1], 100.0 - percent);
  }
  return buf;
}

uint32_t forest_nodes(const struct forest *f) { return f->workers + f->servers; }

uint32_t forest_tree_at(const struct forest *f, uint64_t i) {
  return f->schedule != NULL ? f->schedule[i % f->period] : (uint32_t)(i % f->trees);
}

double forest_share(const struct forest *f, uint32_t tree) {
  if (tree >= f->trees) return 0;
  if (f->schedule == NULL) return 1.0 / f->trees;
  uint32_t n = 0;
  for (uint32_t i = 0; i < f->period; i++) n += f->schedule[i] == tree;
  return (double)n / f->period;
}

/* ---- questions ---------------------------------------------------------------------------------------------------------------------- */

/* A tree with its part: the tree's number within it. part is NULL where there is no such tree. */
struct at {
  const struct forest_part *part;
  const struct forest_shape *shape;
  uint32_t tree;
};

static struct at find(const struct forest *f, uint32_t tree) {
  for (uint32_t i = 0; i < f->n_parts; i++) {
    const struct forest_part *p = &f->part[i];
    assert(p->kind < FOREST_KIND_COUNT);
    if (tree < p->trees) return (struct at){.part = p, .shape = shapes[p->kind], .tree = tree};
    tree -= p->trees;
  }
  return (struct at){0};
}

/* part is NULL as well where the node does not take part. */
static struct at find_member(const struct forest *f, uint32_t tree, uint32_t node) {
  struct at a = find(f, tree);
  if (a.part != NULL && (node >= forest_nodes(f) || !a.shape->member(a.part, a.tree, node))) a.part = NULL;
  return a;
}

int forest_member(const struct forest *f, uint32_t tree, uint32_t node) { return find_member(f, tree, node).part != NULL; }

uint32_t forest_root(const struct forest *f, uint32_t tree) {
  struct at a = find(f, tree);
  return a.part != NULL ? a.shape->root(a.part, a.tree) : FOREST_NONE;
}

uint32_t forest_rooted_at(const struct forest *f, uint32_t node) {
  for (uint32_t i = 0, first = 0; node < forest_nodes(f) && i < f->n_parts; first += f->part[i++].trees) {
    uint32_t tree = shapes[f->part[i].kind]->rooted_at(&f->part[i], node);
    if (tree != FOREST_NONE) return first + tree;
  }
  return FOREST_NONE;
}

uint32_t forest_parent(const struct forest *f, uint32_t tree, uint32_t node) {
  struct at a = find_member(f, tree, node);
  return a.part != NULL ? a.shape->parent(a.part, a.tree, node) : FOREST_NONE;
}

uint32_t forest_n_children(const struct forest *f, uint32_t tree, uint32_t node) {
  struct at a = find_member(f, tree, node);
  return a.part != NULL ? a.shape->n_children(a.part, a.tree, node) : 0;
}

uint32_t forest_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i) {
  struct at a = find_member(f, tree, node);
  return a.part != NULL && i < a.shape->n_children(a.part, a.tree, node) ? a.shape->child(a.part, a.tree, node, i) : FOREST_NONE;
}

uint32_t forest_index(const struct forest *f, uint32_t tree, uint32_t node) {
  struct at a = find_member(f, tree, node);
  return a.part != NULL && a.shape->root(a.part, a.tree) != node ? a.shape->index(a.part, a.tree, node) : FOREST_NONE;
}

uint32_t forest_level(const struct forest *f, uint32_t tree, uint32_t node) {
  struct at a = find_member(f, tree, node);
  return a.part != NULL ? a.shape->level(a.part, a.tree, node) : FOREST_NONE;
}

uint32_t forest_own_at(const struct forest *f, uint32_t tree, uint32_t node) {
  struct at a = find_member(f, tree, node);
  return a.part != NULL ? a.shape->own_at(a.part, a.tree, node) : 0;
}

uint32_t forest_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target) {
  struct at a = find_member(f, tree, node);
  if (a.part == NULL || target >= forest_nodes(f) || !a.shape->member(a.part, a.tree, target)) return FOREST_NONE;
  return node == target ? node : a.shape->toward(a.part, a.tree, node, target);
}

uint32_t forest_part_depth(const struct forest_part *p) { return shapes[p->kind]->depth(p); }

uint32_t forest_depth(const struct forest *f) {
  uint32_t depth = 0;
  for (uint32_t i = 0; i < f->n_parts; i++) {
    uint32_t d = forest_part_depth(&f->part[i]);
    if (d > depth) depth = d;
  }
  return depth;
}
