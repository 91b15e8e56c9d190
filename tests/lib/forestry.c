/* Made-up clusters and drawn trees. */
#include "forestry.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void cluster_random(struct cluster *c, struct rng *rng, uint32_t workers, uint32_t servers) {
  uint32_t nodes = workers + servers;
  uint32_t hosts = 1 + (uint32_t)rng_below(rng, workers), racks = 1 + (uint32_t)rng_below(rng, MIN_OF(hosts, 8u));
  uint32_t odd = (uint32_t)rng_next(rng) | 1u; /* names are any numbers */
  *c = (struct cluster){.workers = workers, .servers = servers};
  c->host_of = calloc(nodes, sizeof *c->host_of);
  c->rack_of_worker = calloc(nodes, sizeof *c->rack_of_worker);
  c->rack_of_server = calloc(nodes, sizeof *c->rack_of_server);
  ck_assert(c->host_of != NULL && c->rack_of_worker != NULL && c->rack_of_server != NULL);
  int scattered = rng_below(rng, 2) == 0;
  for (uint32_t w = 0; w < workers; w++) {
    uint32_t host = scattered ? (uint32_t)rng_below(rng, hosts) : (uint32_t)((uint64_t)w * hosts / workers);
    c->host_of[w] = host * odd;
    c->rack_of_worker[w] = host % racks * odd;
  }
  for (uint32_t s = 0; s < servers; s++) c->rack_of_server[s] = (uint32_t)rng_below(rng, racks + (rng_below(rng, 4) == 0)) * odd;
  agg_error_t err = {0};
  int rc = forest_map_make(workers, servers, c->host_of, c->rack_of_worker, c->rack_of_server, &c->map, &err);
  ck_assert_msg(rc == AGG_OK, "%s", err.text);
}

void cluster_fini(struct cluster *c) {
  forest_map_free(c->map);
  free(c->host_of);
  free(c->rack_of_worker);
  free(c->rack_of_server);
}

struct forest forest_made(unsigned kind, uint32_t arity, uint32_t workers, uint32_t servers, const struct forest_map *map) {
  struct forest f;
  struct forest_spec spec = {.kind = (uint8_t)kind, .arity = (uint8_t)arity};
  agg_error_t err = {0};
  ck_assert_msg(forest_build(&f, &spec, 1, workers, servers, map, NULL, 0, &err) == AGG_OK, "%s", err.text);
  return f;
}

struct forest_map *map_made(uint32_t servers, const uint32_t *sizes, uint32_t groups, const uint32_t *rack_sizes, uint32_t racks,
                            const uint32_t *server_rack) {
  static const uint32_t zeros[FOREST_MAX_NODES];
  uint32_t workers = 0;
  for (uint32_t g = 0; g < groups; g++) workers += sizes[g];
  uint32_t *ranks = calloc(workers, sizeof *ranks);
  for (uint32_t w = 0; w < workers; w++) ranks[w] = w;
  struct forest_map *map = NULL;
  agg_error_t err = {0};
  int rc = rack_sizes != NULL ? forest_map_take(workers, servers, ranks, sizes, groups, rack_sizes, racks, server_rack, &map, &err)
                              : forest_map_take(workers, servers, ranks, sizes, groups, &groups, 1, zeros, &map, &err);
  ck_assert_msg(rc == AGG_OK, "%s", err.text);
  free(ranks);
  return map;
}

static uint32_t fold(const struct forest *f, uint32_t tree, uint32_t node, uint32_t *out, uint32_t n) {
  uint32_t children = forest_n_children(f, tree, node), own_at = forest_own_at(f, tree, node);
  for (uint32_t i = 0; i <= children; i++) {
    if (n > f->workers) ck_abort_msg("tree %u has more than %u workers", tree, f->workers);
    if (i == own_at && node < f->workers) out[n++] = node;
    if (i < children) n = fold(f, tree, forest_child(f, tree, node, i), out, n);
  }
  return n;
}

uint32_t forest_fold_order(const struct forest *f, uint32_t tree, uint32_t node, uint32_t *out) { return fold(f, tree, node, out, 0); }

struct text {
  char *at;
  size_t cap, len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  t->len += (size_t)vsnprintf(t->at + t->len, t->cap - t->len, fmt, args);
  va_end(args);
  ck_assert_uint_lt(t->len, t->cap);
}

static void draw(const struct forest *f, uint32_t tree, uint32_t node, struct text *t) {
  uint32_t children = forest_n_children(f, tree, node), own_at = forest_own_at(f, tree, node);
  const char *gap = "(";
  if (node < f->workers)
    add(t, "%u", node);
  else
    add(t, "s%u", node - f->workers);
  for (uint32_t i = 0; children != 0 && i <= children; i++) {
    if (i == own_at && node < f->workers) add(t, "%s.", gap), gap = " ";
    if (i < children) add(t, "%s", gap), gap = " ", draw(f, tree, forest_child(f, tree, node, i), t);
  }
  if (children != 0) add(t, ")");
}

const char *forest_draw(const struct forest *f, uint32_t tree, char *buf, size_t cap) {
  struct text t = {.at = buf, .cap = cap};
  draw(f, tree, forest_root(f, tree), &t);
  return buf;
}
