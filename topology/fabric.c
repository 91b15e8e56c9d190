/* The fabric: building it link by link, filling in what is unknown, proving it. Owns its arrays and nothing else; knows no time. */
#include "topology/fabric.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/cost.h"
#include "topology/forest.h"

static int no_memory(agg_error_t *err) { return err_set(err, AGG_ENOMEM, "fabric: no memory"); }

int fabric_init(struct fabric *f, agg_error_t *err) {
  struct fabric made = {0};
  made.link = calloc(8, sizeof *made.link);
  if (made.link == NULL) return no_memory(err);
  made.link_room = 8;
  made.n_links = 1;
  made.link[0] = (struct fabric_link){.kind = FABRIC_LINK_CORE, .name = "core"};
  *f = made;
  return AGG_OK;
}

void fabric_fini(struct fabric *f) {
  free(f->link);
  free(f->node);
  *f = (struct fabric){0};
}

int fabric_copy(struct fabric *to, const struct fabric *from, agg_error_t *err) {
  struct fabric made = *from;
  made.link_room = MAX_OF(from->n_links, 1u);
  made.node_room = MAX_OF(fabric_nodes(from), 1u);
  made.link = calloc(made.link_room, sizeof *made.link);
  made.node = calloc(made.node_room, sizeof *made.node);
  if (made.link == NULL || made.node == NULL) {
    fabric_fini(&made);
    return no_memory(err);
  }
  memcpy(made.link, from->link, from->n_links * sizeof *made.link);
  if (fabric_nodes(from) != 0) memcpy(made.node, from->node, fabric_nodes(from) * sizeof *made.node);
  *to = made;
  return AGG_OK;
}

/* Doubles the room of an array that is full. */
static int grow(void **array, uint32_t *room, uint32_t used, size_t each, agg_error_t *err) {
  if (used < *room) return AGG_OK;
  uint32_t more = MAX_OF(8u, 2 * *room);
  void *grown = realloc(*array, more * each);
  if (grown == NULL) return no_memory(err);
  *array = grown;
  *room = more;
  return AGG_OK;
}

static int rate_ok(double rate) { return isfinite(rate) && (rate >= 0 || rate == FABRIC_UNKNOWN); }

int fabric_add_link(struct fabric *f, enum fabric_link_kind kind, uint32_t parent, const char *name, double bytes_per_s, uint32_t *link,
                    agg_error_t *err) {
  if (kind != FABRIC_LINK_SWITCH && kind != FABRIC_LINK_HOST)
    return err_set(err, AGG_EINVAL, "fabric: link \"%.40s\" is of kind %u: expected a switch or a host", name, (unsigned)kind);
  if (parent >= f->n_links || f->link[parent].kind == FABRIC_LINK_HOST)
    return err_set(err, AGG_EINVAL, "fabric: \"%.40s\" hangs on link %u: expected a switch that was added before, or the core", name,
                   parent);
  if (!rate_ok(bytes_per_s))
    return err_set(err, AGG_EINVAL, "fabric: \"%.40s\" has %g bytes/s: expected a rate, 0 for no limit, or unknown", name, bytes_per_s);
  if (f->n_links >= FABRIC_LINKS_MAX) return err_set(err, AGG_EINVAL, "fabric: more than %u links", FABRIC_LINKS_MAX);
  void *links = f->link;
  int rc = grow(&links, &f->link_room, f->n_links, sizeof *f->link, err);
  f->link = links;
  if (rc != AGG_OK) return rc;
  struct fabric_link *l = &f->link[f->n_links];
  *l = (struct fabric_link){.parent = parent, .kind = (uint8_t)kind, .bytes_per_s = bytes_per_s};
  l->memory_bytes_per_s = kind == FABRIC_LINK_HOST ? FABRIC_UNKNOWN : 0;
  str_copy(l->name, sizeof l->name, name);
  *link = f->n_links++;
  return AGG_OK;
}

int fabric_add_node(struct fabric *f, int server, uint32_t host, agg_error_t *err) {
  uint32_t n = fabric_nodes(f);
  if (host >= f->n_links || f->link[host].kind != FABRIC_LINK_HOST)
    return err_set(err, AGG_EINVAL, "fabric: node %u sits on link %u, which is not a host", n, host);
  if (!server && f->servers > 0) return err_set(err, AGG_EINVAL, "fabric: a worker after a server: all workers come first");
  if (n >= FOREST_MAX_NODES) return err_set(err, AGG_EINVAL, "fabric: more than %u nodes", FOREST_MAX_NODES);
  void *nodes = f->node;
  int rc = grow(&nodes, &f->node_room, n, sizeof *f->node, err);
  f->node = nodes;
  if (rc != AGG_OK) return rc;
  f->node[n] = (struct fabric_node){.host = host, .sum_bytes_per_s = FABRIC_UNKNOWN};
  if (server)
    f->servers++;
  else
    f->workers++;
  return AGG_OK;
}

/* ---- from little -------------------------------------------------------------------------------------------------------------------- */

struct named {
  uint32_t name, link;
};

static uint32_t hash_u32(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

/* The link of the host of that name, in an open table that has room; link 0: a new one. */
static struct named *find_host(struct named *table, uint32_t mask, uint32_t name) {
  uint32_t i = hash_u32(name) & mask;
  while (table[i].link != 0 && table[i].name != name) i = (i + 1) & mask;
  return &table[i];
}

static int add_hosts(struct fabric *f, uint32_t workers, uint32_t nodes, const uint32_t *host_of, double rate, struct named *table,
                     uint32_t mask, agg_error_t *err) {
  for (uint32_t i = 0; i < nodes; i++) {
    uint32_t name = host_of != NULL ? host_of[i] : i;
    struct named *host = find_host(table, mask, name);
    if (host->link == 0) {
      char text[FABRIC_NAME_MAX];
      const char *what = i < workers ? "host of rank" : "host of server";
      snprintf(text, sizeof text, "%s %u", what, i < workers ? i : i - workers);
      int rc = fabric_add_link(f, FABRIC_LINK_HOST, FABRIC_CORE, text, rate, &host->link, err);
      if (rc != AGG_OK) return rc;
      host->name = name;
    }
    int rc = fabric_add_node(f, i >= workers, host->link, err);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}

static int of_hosts(struct fabric *f, uint32_t workers, uint32_t servers, const uint32_t *host_of, double rate, agg_error_t *err) {
  if (workers == 0) return err_set(err, AGG_EINVAL, "no worker: expected at least one");
  if ((uint64_t)workers + servers > FOREST_MAX_NODES)
    return err_set(err, AGG_EINVAL, "%u workers and %u servers are too many nodes: at most %u", workers, servers, FOREST_MAX_NODES);
  struct fabric made;
  int rc = fabric_init(&made, err);
  if (rc != AGG_OK) return rc;
  uint32_t slots = 16;
  while (slots < 2 * (workers + servers)) slots *= 2;
  struct named *table = calloc(slots, sizeof *table);
  rc = table == NULL ? no_memory(err) : add_hosts(&made, workers, workers + servers, host_of, rate, table, slots - 1, err);
  free(table);
  if (rc != AGG_OK) {
    fabric_fini(&made);
    return rc;
  }
  if (made.n_links > 2 && rate == FABRIC_UNKNOWN) made.assumed |= FABRIC_ASSUMED_SWITCH;
  *f = made;
  return AGG_OK;
}

int fabric_of_hosts(struct fabric *f, uint32_t workers, uint32_t servers, const uint32_t *host_of, agg_error_t *err) {
  return of_hosts(f, workers, servers, host_of, FABRIC_UNKNOWN, err);
}

int fabric_flat(struct fabric *f, uint32_t workers, uint32_t servers, double bytes_per_s, agg_error_t *err) {
  return of_hosts(f, workers, servers, NULL, bytes_per_s, err);
}

/* ---- what is unknown -------------------------------------------------------------------------------------------------------------- */

static void assume_links(struct fabric *f, const struct cost *cost) {
  for (uint32_t i = 1; i < f->n_links; i++) {
    struct fabric_link *l = &f->link[i];
    if (l->bytes_per_s == FABRIC_UNKNOWN) {
      l->bytes_per_s = l->kind == FABRIC_LINK_HOST ? cost->nic : 0;
      f->assumed |= l->kind == FABRIC_LINK_HOST ? FABRIC_ASSUMED_RATE : FABRIC_ASSUMED_SWITCH;
      l->by_pcie = l->pcie_bytes_per_s > 0 && l->pcie_bytes_per_s < l->bytes_per_s;
      if (l->by_pcie) l->bytes_per_s = l->pcie_bytes_per_s;
    }
    if (l->memory_bytes_per_s == FABRIC_UNKNOWN) {
      l->memory_bytes_per_s = cost->memory;
      f->assumed |= FABRIC_ASSUMED_MEMORY;
    }
  }
}

/* A host whose cores are unknown gets one for each thread of its nodes: counted up from 0, with the top bit as the mark. */
static void assume_cores(struct fabric *f) {
  const uint32_t mark = 1u << 31;
  for (uint32_t i = 0; i < fabric_nodes(f); i++) {
    struct fabric_link *l = &f->link[f->node[i].host];
    if (l->cores != 0 && !(l->cores & mark)) continue;
    l->cores = (l->cores | mark) + MAX_OF(f->node[i].threads, 1u);
    f->assumed |= FABRIC_ASSUMED_CORES;
  }
  for (uint32_t i = 0; i < f->n_links; i++) f->link[i].cores &= ~mark;
}

void fabric_assume(struct fabric *f, const struct cost *cost) {
  assume_links(f, cost);
  assume_cores(f);
  for (uint32_t i = 0; i < fabric_nodes(f); i++) {
    struct fabric_node *n = &f->node[i];
    if (n->threads == 0) n->threads = 1;
    if (n->sum_bytes_per_s == FABRIC_UNKNOWN) {
      n->sum_bytes_per_s = cost->sum * n->threads;
      f->assumed |= FABRIC_ASSUMED_SUM;
    }
    if (n->memory_bytes == 0) {
      n->memory_bytes = (uint64_t)cost->window;
      f->assumed |= FABRIC_ASSUMED_LIMIT;
    }
  }
  if (f->mtu == 0) {
    f->mtu = (uint32_t)(f->transport == FABRIC_VERBS ? cost->mtu_verbs : cost->mtu);
    f->assumed |= FABRIC_ASSUMED_MTU;
  }
}

void fabric_limit_threads(struct fabric *f, uint32_t lanes) {
  assert(lanes > 0);
  for (uint32_t i = 0; i < fabric_nodes(f); i++) {
    struct fabric_node *n = &f->node[i];
    assert(n->threads > 0 && n->sum_bytes_per_s >= 0);
    if (n->threads <= lanes) continue;
    n->sum_bytes_per_s *= (double)lanes / n->threads;
    n->threads = lanes;
  }
}

static void note(char *buf, size_t cap, size_t *at, const char *text) {
  int n = snprintf(buf + *at, cap - *at, "%s%s", *at == 0 ? "assumed: " : ", ", text);
  *at = MIN_OF(cap - 1, *at + (size_t)MAX_OF(n, 0));
}

const char *fabric_assumptions(const struct fabric *f, const struct cost *cost, char *buf, size_t cap) {
  char text[96];
  size_t at = 0;
  int net = !fabric_one_host(f);
  assert(cap > 0);
  buf[0] = '\0';
  if (net && (f->assumed & FABRIC_ASSUMED_SWITCH)) note(buf, cap, &at, "switches that limit nothing");
  if (net && (f->assumed & FABRIC_ASSUMED_RATE)) {
    snprintf(text, sizeof text, "%.4g GB/s where a host's network speed is unknown", cost->nic * 1e-9);
    note(buf, cap, &at, text);
  }
  if (net && (f->assumed & FABRIC_ASSUMED_MTU)) {
    snprintf(text, sizeof text, "an MTU of %u bytes", f->mtu);
    note(buf, cap, &at, text);
  }
  if (f->assumed & FABRIC_ASSUMED_SUM) {
    snprintf(text, sizeof text, "sums at %.4g GB/s a thread", cost->sum * 1e-9);
    note(buf, cap, &at, text);
  }
  if (f->assumed & FABRIC_ASSUMED_MEMORY) {
    snprintf(text, sizeof text, "memory of %.4g GB/s a host", cost->memory * 1e-9);
    note(buf, cap, &at, text);
  }
  if (f->assumed & FABRIC_ASSUMED_CORES) note(buf, cap, &at, "a core for each thread");
  if (f->assumed & FABRIC_ASSUMED_LIMIT) {
    snprintf(text, sizeof text, "%.4g GiB for windows at each node", cost->window / (1 << 30));
    note(buf, cap, &at, text);
  }
  return buf;
}

/* ---- proof -------------------------------------------------------------------------------------------------------------------------- */

static int check_link(const struct fabric *f, uint32_t i, agg_error_t *err) {
  const struct fabric_link *l = &f->link[i];
  if (i == 0) {
    if (l->kind == FABRIC_LINK_CORE && l->bytes_per_s == 0) return AGG_OK;
    return err_set(err, AGG_EINVAL, "fabric: link 0 must be the core, without a limit");
  }
  if (l->kind != FABRIC_LINK_SWITCH && l->kind != FABRIC_LINK_HOST)
    return err_set(err, AGG_EINVAL, "fabric: link %u (%s) is of kind %u: expected a switch or a host", i, l->name, l->kind);
  if (l->parent >= i)
    return err_set(err, AGG_EINVAL, "fabric: link %u (%s) has parent %u: expected a smaller number", i, l->name, l->parent);
  if (f->link[l->parent].kind == FABRIC_LINK_HOST)
    return err_set(err, AGG_EINVAL, "fabric: %s hangs on host %s: expected a switch or the core", l->name, f->link[l->parent].name);
  if (!rate_ok(l->bytes_per_s) || !rate_ok(l->memory_bytes_per_s) || !rate_ok(l->pcie_bytes_per_s))
    return err_set(err, AGG_EINVAL, "fabric: %s has %g bytes/s and memory of %g: expected rates, 0 for no limit, or unknown", l->name,
                   l->bytes_per_s, l->memory_bytes_per_s);
  return AGG_OK;
}

int fabric_check(const struct fabric *f, agg_error_t *err) {
  if (f->workers == 0) return err_set(err, AGG_EINVAL, "no worker: expected at least one");
  if ((uint64_t)f->workers + f->servers > FOREST_MAX_NODES)
    return err_set(err, AGG_EINVAL, "%u workers and %u servers are too many nodes: at most %u", f->workers, f->servers, FOREST_MAX_NODES);
  if (f->n_links == 0 || f->n_links > FABRIC_LINKS_MAX) return err_set(err, AGG_EINVAL, "fabric: %u links", f->n_links);
  if (f->transport > FABRIC_VERBS) return err_set(err, AGG_EINVAL, "fabric: transport %u is unknown", f->transport);
  if (f->memory > FABRIC_PRIVATE) return err_set(err, AGG_EINVAL, "fabric: memory of kind %u is unknown", f->memory);
  if (f->mtu != 0 && (f->mtu < 128 || f->mtu > (1u << 20)))
    return err_set(err, AGG_EINVAL, "fabric: an MTU of %u bytes: expected 128 to 1048576", f->mtu);
  for (uint32_t i = 0; i < f->n_links; i++) {
    int rc = check_link(f, i, err);
    if (rc != AGG_OK) return rc;
  }
  for (uint32_t i = 0; i < fabric_nodes(f); i++) {
    const struct fabric_node *n = &f->node[i];
    if (n->host >= f->n_links || f->link[n->host].kind != FABRIC_LINK_HOST)
      return err_set(err, AGG_EINVAL, "fabric: node %u sits on link %u, which is not a host", i, n->host);
    if (!rate_ok(n->sum_bytes_per_s))
      return err_set(err, AGG_EINVAL, "fabric: node %u sums %g bytes/s: expected a rate, 0 for no limit, or unknown", i,
                     n->sum_bytes_per_s);
  }
  return AGG_OK;
}

/* ---- questions -------------------------------------------------------------------------------------------------------------------- */

int fabric_one_host(const struct fabric *f) {
  for (uint32_t i = 1; i < fabric_nodes(f); i++) {
    if (f->node[i].host != f->node[0].host) return 0;
  }
  return 1;
}

uint32_t fabric_rack(const struct fabric *f, uint32_t node) {
  assert(node < fabric_nodes(f));
  return f->link[f->node[node].host].parent;
}

const char *fabric_memory_name(unsigned memory) { return memory == FABRIC_PRIVATE ? "private" : "registered"; }

const char *fabric_node_name(const struct fabric *f, uint32_t node, char *buf, size_t cap) {
  if (node < f->workers)
    snprintf(buf, cap, "rank %u", node);
  else
    snprintf(buf, cap, "server %u", node - f->workers);
  return buf;
}

int fabric_map(const struct fabric *f, struct forest_map **map, agg_error_t *err) {
  uint32_t nodes = fabric_nodes(f);
  uint32_t *host = calloc(2 * (size_t)nodes + 1, sizeof *host), *rack = host + nodes;
  if (host == NULL) return no_memory(err);
  for (uint32_t i = 0; i < nodes; i++) {
    host[i] = f->node[i].host;
    rack[i] = fabric_rack(f, i);
  }
  int rc = forest_map_make(f->workers, f->servers, host, rack, rack + f->workers, map, err);
  free(host);
  return rc;
}
