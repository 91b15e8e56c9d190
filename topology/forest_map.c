/* Maps: where workers and servers sit. Made from names of hosts and racks, or taken from outside and checked; one allocation, immutable
 * after that. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "topology/forest.h"

struct stored {
  struct forest_map map;
  uint32_t words[];
};

static size_t n_words(const struct forest_map *m) {
  return 3 * (size_t)m->workers + 3 * (size_t)m->servers + 2 * (size_t)m->groups + 1 + 2 * ((size_t)m->racks + 1);
}

static uint32_t *take(uint32_t **at, uint32_t n) {
  uint32_t *words = *at;
  *at += n;
  return words;
}

static struct forest_map *map_new(uint32_t workers, uint32_t servers, uint32_t groups, uint32_t racks) {
  struct forest_map shape = {.workers = workers, .servers = servers, .groups = groups, .racks = racks};
  struct stored *s = calloc(1, sizeof *s + n_words(&shape) * sizeof s->words[0]);
  if (s == NULL) return NULL;
  uint32_t *at = s->words;
  s->map = shape;
  s->map.worker_at = take(&at, workers);
  s->map.position_of = take(&at, workers);
  s->map.group_of = take(&at, workers);
  s->map.group_first = take(&at, groups + 1);
  s->map.rack_of = take(&at, groups);
  s->map.rack_first = take(&at, racks + 1);
  s->map.rack_servers = take(&at, racks + 1);
  s->map.server_rack = take(&at, servers);
  s->map.server_index = take(&at, servers);
  s->map.server_at = take(&at, servers);
  return &s->map;
}

void forest_map_free(struct forest_map *map) { free(map); /* the first member of what was allocated */ }

int forest_map_copy(const struct forest_map *from, struct forest_map **to) {
  struct forest_map *m = NULL;
  if (from != NULL) {
    m = map_new(from->workers, from->servers, from->groups, from->racks);
    if (m == NULL) return AGG_ENOMEM;
    memcpy(m->worker_at, from->worker_at, n_words(m) * sizeof *m->worker_at); /* worker_at is the first of the words */
  }
  *to = m;
  return AGG_OK;
}

/* first[0 .. n] from sizes first[1 .. n]. */
static void sum_up(uint32_t *first, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) first[i + 1] += first[i];
}

/* The rest from worker_at, group_first, rack_first and server_rack, which are sound. */
static void finish(struct forest_map *m) {
  for (uint32_t i = 0; i < m->workers; i++) m->position_of[m->worker_at[i]] = i;
  for (uint32_t g = 0; g < m->groups; g++) {
    for (uint32_t i = m->group_first[g]; i < m->group_first[g + 1]; i++) m->group_of[i] = g;
  }
  for (uint32_t r = 0; r < m->racks; r++) {
    for (uint32_t g = m->rack_first[r]; g < m->rack_first[r + 1]; g++) m->rack_of[g] = r;
  }
  for (uint32_t s = 0; s < m->servers; s++) {
    uint32_t rack = m->server_rack[s];
    if (rack != FOREST_NONE) m->server_index[s] = m->rack_servers[rack + 1]++;
  }
  sum_up(m->rack_servers, m->racks);
  for (uint32_t s = 0; s < m->servers; s++) {
    uint32_t rack = m->server_rack[s];
    if (rack != FOREST_NONE) m->server_at[m->rack_servers[rack] + m->server_index[s]] = s;
  }
}

static int check_count(uint32_t workers, uint32_t servers, int code, agg_error_t *err) {
  if (workers > 0 && (uint64_t)workers + servers <= FOREST_MAX_NODES) return AGG_OK;
  return err_set(err, code, "map of %u workers and %u servers: expected at least one worker and at most %u nodes", workers, servers,
                 FOREST_MAX_NODES);
}

/* ---- from names --------------------------------------------------------------------------------------------------------------------- */

struct named {
  uint32_t name, at;
};

static int by_name(const void *a, const void *b) {
  const struct named *x = a, *y = b;
  return x->name != y->name ? (x->name > y->name) - (x->name < y->name) : (x->at > y->at) - (x->at < y->at);
}

/* What making a map needs beside it: node -> number of its host or rack, numbered as they first come, workers before servers. */
struct draft {
  struct named *sorted;
  uint32_t *host, *rack, *host_rack, *group, *rank;
  uint32_t hosts, racks;
};

/* Numbers n names in the order in which each first comes. Returns how many there are. */
static uint32_t number_names(struct named *sorted, uint32_t n, uint32_t *number) {
  qsort(sorted, n, sizeof *sorted, by_name);
  for (uint32_t i = 0, head = 0; i < n; i++) {
    if (sorted[i].name != sorted[head].name) head = i;
    number[sorted[i].at] = sorted[head].at;
  }
  uint32_t found = 0;
  for (uint32_t at = 0; at < n; at++) number[at] = number[at] == at ? found++ : number[number[at]];
  return found;
}

static void number_hosts(struct draft *d, uint32_t workers, const uint32_t *host_of) {
  for (uint32_t w = 0; w < workers; w++) d->sorted[w] = (struct named){.name = host_of != NULL ? host_of[w] : w, .at = w};
  d->hosts = number_names(d->sorted, workers, d->host);
}

/* Racks that no worker is in get the numbers from d->racks on. */
static void number_racks(struct draft *d, uint32_t workers, uint32_t servers, const uint32_t *of_worker, const uint32_t *of_server) {
  for (uint32_t i = 0; i < workers + servers; i++) {
    uint32_t name = of_worker == NULL ? 0 : i < workers ? of_worker[i] : of_server[i - workers];
    d->sorted[i] = (struct named){.name = name, .at = i};
  }
  number_names(d->sorted, workers + servers, d->rack);
  for (uint32_t w = 0; w < workers; w++) {
    if (d->rack[w] >= d->racks) d->racks = d->rack[w] + 1;
  }
}

static int place_hosts(struct draft *d, uint32_t workers, agg_error_t *err) {
  for (uint32_t h = 0; h < d->hosts; h++) d->host_rack[h] = FOREST_NONE;
  for (uint32_t w = 0; w < workers; w++) {
    uint32_t *rack = &d->host_rack[d->host[w]];
    if (*rack != FOREST_NONE && *rack != d->rack[w]) {
      uint32_t first = 0;
      while (d->host[first] != d->host[w]) first++;
      return err_set(err, AGG_EINVAL, "workers %u and %u are on one host but in different racks: a host is in one rack", first, w);
    }
    *rack = d->rack[w];
  }
  return AGG_OK;
}

/* Puts what has a key (below n_keys) in the order of keys, keeping its own order within one: first[key] .. first[key + 1] are the places.
 */
static void deal(const uint32_t *key, uint32_t n, uint32_t n_keys, uint32_t *first, uint32_t *place) {
  for (uint32_t i = 0; i < n; i++) place[i] = first[key[i] + 1]++;
  sum_up(first, n_keys);
  for (uint32_t i = 0; i < n; i++) place[i] += first[key[i]];
}

static struct forest_map *map_of_draft(struct draft *d, uint32_t workers, uint32_t servers) {
  struct forest_map *m = map_new(workers, servers, d->hosts, d->racks);
  if (m == NULL) return NULL;
  deal(d->host_rack, d->hosts, d->racks, m->rack_first, d->group);
  for (uint32_t w = 0; w < workers; w++) d->host[w] = d->group[d->host[w]];
  deal(d->host, workers, d->hosts, m->group_first, d->rank);
  for (uint32_t w = 0; w < workers; w++) m->worker_at[d->rank[w]] = w;
  for (uint32_t s = 0; s < servers; s++) m->server_rack[s] = d->rack[workers + s] < d->racks ? d->rack[workers + s] : FOREST_NONE;
  finish(m);
  return m;
}

int forest_map_make(uint32_t workers, uint32_t servers, const uint32_t *host_of, const uint32_t *rack_of_worker,
                    const uint32_t *rack_of_server, struct forest_map **map, agg_error_t *err) {
  int rc = check_count(workers, servers, AGG_EINVAL, err);
  if (rc != AGG_OK) return rc;
  if (servers > 0 && (rack_of_worker == NULL) != (rack_of_server == NULL))
    return err_set(err, AGG_EINVAL, "the racks of the %s are given, those of the %s are not: give both or neither",
                   rack_of_worker != NULL ? "workers" : "servers", rack_of_worker != NULL ? "servers" : "workers");
  size_t nodes = (size_t)workers + servers;
  uint32_t *words = calloc(5 * nodes, sizeof *words);
  struct draft d = {.sorted = calloc(nodes, sizeof *d.sorted)};
  struct forest_map *made = NULL;
  if (words != NULL && d.sorted != NULL) {
    d.host = words, d.rack = words + nodes, d.host_rack = words + 2 * nodes, d.group = words + 3 * nodes, d.rank = words + 4 * nodes;
    number_hosts(&d, workers, host_of);
    number_racks(&d, workers, servers, rack_of_worker, rack_of_server);
    rc = place_hosts(&d, workers, err);
    if (rc == AGG_OK) made = map_of_draft(&d, workers, servers);
  }
  free(d.sorted);
  free(words);
  if (rc != AGG_OK) return rc;
  if (made == NULL) return err_set(err, AGG_ENOMEM, "no memory for the map of %zu nodes", nodes);
  *map = made;
  return AGG_OK;
}

/* ---- from outside ------------------------------------------------------------------------------------------------------------------- */

static int take_workers(struct forest_map *m, const uint32_t *worker_at, agg_error_t *err) {
  uint32_t *seen = m->position_of; /* zeroed, filled at last */
  for (uint32_t i = 0; i < m->workers; i++) {
    uint32_t w = worker_at[i];
    if (w >= m->workers) return err_set(err, AGG_EPROTO, "map: worker %u at position %u: there are %u workers", w, i, m->workers);
    if (seen[w]++ != 0) return err_set(err, AGG_EPROTO, "map: worker %u comes twice, again at position %u", w, i);
    m->worker_at[i] = w;
  }
  return AGG_OK;
}

static int take_sizes(uint32_t *first, const uint32_t *sizes, uint32_t n, uint32_t sum, const char *what, agg_error_t *err) {
  uint32_t left = sum;
  for (uint32_t i = 0; i < n; i++) {
    if (sizes[i] == 0 || sizes[i] > left)
      return err_set(err, AGG_EPROTO, "map: %s %u has the size %u: expected 1 to %u, what is left of %u", what, i, sizes[i], left, sum);
    first[i + 1] = sizes[i];
    left -= sizes[i];
  }
  if (left != 0) return err_set(err, AGG_EPROTO, "map: the sizes of the %ss sum to %u: expected %u", what, sum - left, sum);
  sum_up(first, n);
  return AGG_OK;
}

static int take_servers(struct forest_map *m, const uint32_t *server_rack, agg_error_t *err) {
  for (uint32_t s = 0; s < m->servers; s++) {
    if (server_rack[s] != FOREST_NONE && server_rack[s] >= m->racks)
      return err_set(err, AGG_EPROTO, "map: server %u is in rack %u: there are %u racks", s, server_rack[s], m->racks);
    m->server_rack[s] = server_rack[s];
  }
  return AGG_OK;
}

int forest_map_take(uint32_t workers, uint32_t servers, const uint32_t *worker_at, const uint32_t *group_sizes, uint32_t groups,
                    const uint32_t *rack_sizes, uint32_t racks, const uint32_t *server_rack, struct forest_map **map, agg_error_t *err) {
  int rc = check_count(workers, servers, AGG_EPROTO, err);
  if (rc != AGG_OK) return rc;
  if (groups == 0 || groups > workers || racks == 0 || racks > groups)
    return err_set(err, AGG_EPROTO, "map of %u workers in %u groups in %u racks: expected at least one worker a group, one group a rack",
                   workers, groups, racks);
  struct forest_map *m = map_new(workers, servers, groups, racks);
  if (m == NULL) return err_set(err, AGG_ENOMEM, "no memory for the map of %u workers and %u servers", workers, servers);
  rc = take_workers(m, worker_at, err);
  if (rc == AGG_OK) rc = take_sizes(m->group_first, group_sizes, groups, workers, "group", err);
  if (rc == AGG_OK) rc = take_sizes(m->rack_first, rack_sizes, racks, groups, "rack", err);
  if (rc == AGG_OK) rc = take_servers(m, server_rack, err);
  if (rc != AGG_OK) {
    forest_map_free(m);
    return rc;
  }
  finish(m);
  *map = m;
  return AGG_OK;
}
