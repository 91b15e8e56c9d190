/* Forests: checks the arguments of every question and hands it to the shape of the forest's kind. Owns the table of kinds. Never allocates,
 * and never answers from anything but its arguments. */
#include "topology/forest.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "topology/shape.h"

static const struct forest_shape *const shapes[FOREST_KIND_COUNT] = {
    [FOREST_STAR] = &shape_star,
    [FOREST_DIRECT] = &shape_direct,
    [FOREST_RING] = &shape_ring,
};

const struct forest_shape *forest_shape_of(unsigned kind) { return kind < FOREST_KIND_COUNT ? shapes[kind] : NULL; }

static const struct forest_shape *shape_of(const struct forest *f) {
  assert(f->kind < FOREST_KIND_COUNT);
  return shapes[f->kind];
}

int forest_init(struct forest *f, unsigned kind, uint32_t workers, uint32_t servers, agg_error_t *err) {
  const struct forest_shape *shape = forest_shape_of(kind);
  if (shape == NULL) return err_set(err, AGG_EINVAL, "forest kind %u is unknown: expected 0 to %d", kind, FOREST_KIND_COUNT - 1);
  if (workers == 0) return err_set(err, AGG_EINVAL, "a %s needs at least one worker, there is none", shape->name);
  if ((uint64_t)workers + servers > FOREST_MAX_NODES) {
    return err_set(err, AGG_EINVAL, "%u workers and %u servers are too many nodes: at most %u", workers, servers, FOREST_MAX_NODES);
  }
  uint32_t trees = shape->trees(workers, servers);
  if (trees == 0) return err_set(err, AGG_EINVAL, "a %s needs at least one server, there is none", shape->name);
  *f = (struct forest){.kind = (uint8_t)kind, .workers = workers, .servers = servers, .trees = trees};
  return AGG_OK;
}

int forest_kind_parse(const char *name) {
  for (int kind = 0; name != NULL && kind < FOREST_KIND_COUNT; kind++) {
    if (strcmp(name, shapes[kind]->name) == 0) return kind;
  }
  return -1;
}

const char *forest_kind_name(unsigned kind) { return kind < FOREST_KIND_COUNT ? shapes[kind]->name : "?"; }

uint32_t forest_nodes(const struct forest *f) { return f->workers + f->servers; }

int forest_member(const struct forest *f, uint32_t tree, uint32_t node) {
  return tree < f->trees && node < forest_nodes(f) && shape_of(f)->member(f, tree, node);
}

uint32_t forest_root(const struct forest *f, uint32_t tree) { return tree < f->trees ? shape_of(f)->root(f, tree) : FOREST_NONE; }

uint32_t forest_rooted_at(const struct forest *f, uint32_t node) {
  return node < forest_nodes(f) ? shape_of(f)->rooted_at(f, node) : FOREST_NONE;
}

uint32_t forest_parent(const struct forest *f, uint32_t tree, uint32_t node) {
  return forest_member(f, tree, node) ? shape_of(f)->parent(f, tree, node) : FOREST_NONE;
}

uint32_t forest_n_children(const struct forest *f, uint32_t tree, uint32_t node) {
  return forest_member(f, tree, node) ? shape_of(f)->n_children(f, tree, node) : 0;
}

uint32_t forest_child(const struct forest *f, uint32_t tree, uint32_t node, uint32_t i) {
  return i < forest_n_children(f, tree, node) ? shape_of(f)->child(f, tree, node, i) : FOREST_NONE;
}

uint32_t forest_own_at(const struct forest *f, uint32_t tree, uint32_t node) {
  return forest_member(f, tree, node) ? shape_of(f)->own_at(f, tree, node) : 0;
}

uint32_t forest_toward(const struct forest *f, uint32_t tree, uint32_t node, uint32_t target) {
  if (!forest_member(f, tree, node) || !forest_member(f, tree, target)) return FOREST_NONE;
  return node == target ? node : shape_of(f)->toward(f, tree, node, target);
}

uint32_t forest_depth(const struct forest *f) { return shape_of(f)->depth(f); }

int forest_check(const struct forest *f, agg_error_t *err) {
  const struct forest_shape *shape = forest_shape_of(f->kind);
  if (shape == NULL) return err_set(err, AGG_EINVAL, "forest kind %u is unknown", f->kind);
  return forest_check_shape(f, shape, err);
}
