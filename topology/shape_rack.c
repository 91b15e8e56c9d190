/*
 * Racks: as many trees as the rack with the fewest servers has of them. In tree j the server number j of each rack with workers has the
 * leaders of the rack's groups below it, and one of these servers, of rack j (mod racks), has the others below it as well and is the root:
 * an uplink carries each chunk once each way. Below a leader are the others of its group; who leads takes turns with the trees. A server is
 * in one tree only. Folds in the order of positions. With one rack and groups of one the trees are stars and fold in rank order: the
 * workers' places are left out.
 */
#include "place.h"
#include "shape.h"

static uint32_t racks_of(const struct forest_part *p) { return p->map != NULL ? p->map->racks : 1; }

static const struct forest_map *worker_map(const struct forest_part *p) {
  return p->map == NULL || (p->map->racks == 1 && p->map->groups == p->workers) ? NULL : p->map;
}

/* A rack in tree j. */
struct bay {
  uint32_t rack, server, first_group, groups;
  int top; /* its server is the root */
};

static struct bay bay_of(const struct forest_part *p, uint32_t tree, uint32_t rack) {
  const struct forest_map *m = p->map;
  struct bay b = {.rack = rack, .top = rack == tree % racks_of(p)};
  b.server = p->workers + (m != NULL ? m->server_at[m->rack_servers[rack] + tree] : tree);
  b.first_group = m != NULL ? m->rack_first[rack] : 0;
  b.groups = (m != NULL ? m->rack_first[rack + 1] : p->workers) - b.first_group;
  return b;
}

static struct bay bay_of_server(const struct forest_part *p, uint32_t tree, uint32_t node) {
  return bay_of(p, tree, p->map != NULL ? p->map->server_rack[node - p->workers] : 0);
}

static struct bay bay_of_host(const struct forest_part *p, uint32_t tree, const struct host *h) {
  return bay_of(p, tree, p->map != NULL ? p->map->rack_of[h->group] : 0);
}

static struct bay top_of(const struct forest_part *p, uint32_t tree) { return bay_of(p, tree, tree % racks_of(p)); }

static struct host host_in(const struct forest_part *p, uint32_t tree, uint32_t worker) {
  return host_of_worker(worker_map(p), worker, tree);
}

static uint32_t rack_trees(const struct forest_part *p) {
  if (p->map == NULL) return p->servers;
  uint32_t least = p->servers;
  for (uint32_t r = 0; r < p->map->racks; r++) {
    uint32_t n = p->map->rack_servers[r + 1] - p->map->rack_servers[r];
    if (n < least) least = n;
  }
  return least;
}

static uint32_t rack_root(const struct forest_part *p, uint32_t tree) { return top_of(p, tree).server; }

static uint32_t rack_rooted_at(const struct forest_part *p, uint32_t node) {
  if (node < p->workers) return FOREST_NONE;
  uint32_t server = node - p->workers;
  if (p->map != NULL && p->map->server_rack[server] == FOREST_NONE) return FOREST_NONE;
  uint32_t tree = p->map != NULL ? p->map->server_index[server] : server;
  return tree < p->trees && rack_root(p, tree) == node ? tree : FOREST_NONE;
}

static int rack_member(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node < p->workers) return 1;
  uint32_t server = node - p->workers;
  if (p->map == NULL) return server == tree;
  return p->map->server_rack[server] != FOREST_NONE && p->map->server_index[server] == tree;
}

static uint32_t rack_parent(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node >= p->workers) {
    uint32_t root = rack_root(p, tree);
    return node == root ? FOREST_NONE : root;
  }
  struct host h = host_in(p, tree, node);
  return host_leads(&h) ? bay_of_host(p, tree, &h).server : host_leader(&h);
}

static uint32_t rack_n_children(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node >= p->workers) {
    struct bay b = bay_of_server(p, tree, node);
    return b.groups + (b.top ? racks_of(p) - 1 : 0);
  }
  struct host h = host_in(p, tree, node);
  return host_n_children(&h);
}

/* The root's children: the servers of the racks before its own, the leaders of its own, the servers of the racks behind it. */
static uint32_t rack_child(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t i) {
  if (node < p->workers) {
    struct host h = host_in(p, tree, node);
    return host_child(&h, i);
  }
  struct bay b = bay_of_server(p, tree, node);
  uint32_t before = b.top ? b.rack : 0;
  if (i < before) return bay_of(p, tree, i).server;
  if (i >= before + b.groups) return bay_of(p, tree, i - b.groups + 1).server;
  struct host h = host_of_group(worker_map(p), b.first_group + i - before, tree);
  return host_leader(&h);
}

static uint32_t rack_index(const struct forest_part *p, uint32_t tree, uint32_t node) {
  struct bay top = top_of(p, tree);
  if (node >= p->workers) {
    uint32_t rack = bay_of_server(p, tree, node).rack;
    return rack < top.rack ? rack : rack - 1 + top.groups;
  }
  struct host h = host_in(p, tree, node);
  if (!host_leads(&h)) return host_index(&h);
  struct bay b = bay_of_host(p, tree, &h);
  return h.group - b.first_group + (b.top ? b.rack : 0);
}

static uint32_t rack_level(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node >= p->workers) return bay_of_server(p, tree, node).top ? 0 : 1;
  struct host h = host_in(p, tree, node);
  return (bay_of_host(p, tree, &h).top ? 1 : 2) + (host_leads(&h) ? 0 : 1);
}

static uint32_t rack_own_at(const struct forest_part *p, uint32_t tree, uint32_t node) {
  if (node >= p->workers) return rack_n_children(p, tree, node);
  struct host h = host_in(p, tree, node);
  return host_own_at(&h);
}

static uint32_t rack_toward(const struct forest_part *p, uint32_t tree, uint32_t node, uint32_t target) {
  int to_server = target >= p->workers;
  struct host to = to_server ? (struct host){0} : host_in(p, tree, target);
  if (node < p->workers) {
    struct host h = host_in(p, tree, node);
    return !to_server && h.group == to.group && host_leads(&h) ? target : FOREST_NONE;
  }
  struct bay b = bay_of_server(p, tree, node), there = to_server ? bay_of_server(p, tree, target) : bay_of_host(p, tree, &to);
  if (b.rack == there.rack) return host_leader(&to);
  return b.top ? there.server : FOREST_NONE;
}

/* The longest way begins below a leader, in a rack whose server is not the root. With one tree that is any rack but the first. */
static uint32_t rack_depth(const struct forest_part *p) {
  const struct forest_map *m = p->map;
  if (m == NULL) return 1;
  int wide = m->groups < p->workers;
  if (m->racks == 1) return wide ? 2 : 1;
  if (p->trees == 1) wide = p->workers - m->group_first[m->rack_first[1]] > m->groups - m->rack_first[1];
  return wide ? 3 : 2;
}

const struct forest_shape shape_rack = {
    .name = "rack",
    .trees = rack_trees,
    .root = rack_root,
    .rooted_at = rack_rooted_at,
    .member = rack_member,
    .parent = rack_parent,
    .n_children = rack_n_children,
    .child = rack_child,
    .index = rack_index,
    .level = rack_level,
    .own_at = rack_own_at,
    .toward = rack_toward,
    .depth = rack_depth,
};
