/* Owns the memory of a description: arrays that grow, machines kept once each, the indices by name, notes. Knows no text form and proves
 * nothing about the whole (topo_check.c). */
#include "topology/topo.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/topo_internal.h"

void topo_init(struct topo *t) { *t = (struct topo){0}; }

void topo_machine_free(struct topo_machine *m) {
  free(m->numa);
  free(m->nics);
  free(m->gpus);
  free(m->bridges);
  *m = (struct topo_machine){0};
}

void topo_fini(struct topo *t) {
  for (uint32_t i = 0; i < t->n_machines; i++) topo_machine_free(&t->machines[i]);
  for (uint32_t i = 0; i < t->n_notes; i++) free(t->notes[i]);
  free(t->switches);
  free(t->hosts);
  free(t->machines);
  free(t->notes);
  free(t->by_switch.slots);
  free(t->by_host.slots);
  free(t->by_machine.slots);
  *t = (struct topo){0};
}

int topo_grow(void *array, uint32_t count, uint32_t *cap, size_t size, agg_error_t *err) {
  void **p = array;
  if (count < *cap) return AGG_OK;
  uint32_t want = MAX_OF(4u, *cap * 2);
  char *grown = realloc(*p, want * size);
  if (grown == NULL) return err_set(err, AGG_ENOMEM, "no memory for a description of %u parts", want);
  memset(grown + *cap * size, 0, (want - *cap) * size);
  *p = grown;
  *cap = want;
  return AGG_OK;
}

/* ---- indices: open addressing, at most three quarters full ------------------------------------------------------------------------- */

struct topo_slot {
  uint32_t hash, index_1; /* index + 1; 0: free */
};

/* Whether what stands at `index` of the indexed array is what is looked for. */
typedef int (*same_fn)(const struct topo *t, uint32_t index, const void *key);

static uint32_t index_find(const struct topo_index *ix, const struct topo *t, uint32_t hash, same_fn same, const void *key) {
  if (ix->size == 0) return TOPO_NONE;
  for (uint32_t i = hash & (ix->size - 1); ix->slots[i].index_1 != 0; i = (i + 1) & (ix->size - 1)) {
    if (ix->slots[i].hash == hash && same(t, ix->slots[i].index_1 - 1, key)) return ix->slots[i].index_1 - 1;
  }
  return TOPO_NONE;
}

static void index_put(struct topo_slot *slots, uint32_t size, struct topo_slot slot) {
  uint32_t i = slot.hash & (size - 1);
  while (slots[i].index_1 != 0) i = (i + 1) & (size - 1);
  slots[i] = slot;
}

static int index_reserve(struct topo_index *ix, agg_error_t *err) {
  if ((ix->used + 1) * 4 <= ix->size * 3) return AGG_OK;
  uint32_t size = MAX_OF(16u, ix->size * 2);
  struct topo_slot *slots = calloc(size, sizeof *slots);
  if (slots == NULL) return err_set(err, AGG_ENOMEM, "no memory for an index of %u names", size);
  for (uint32_t i = 0; i < ix->size; i++) {
    if (ix->slots[i].index_1 != 0) index_put(slots, size, ix->slots[i]);
  }
  free(ix->slots);
  ix->slots = slots;
  ix->size = size;
  return AGG_OK;
}

static void index_add(struct topo_index *ix, uint32_t hash, uint32_t index) {
  assert(ix->used < ix->size);
  index_put(ix->slots, ix->size, (struct topo_slot){.hash = hash, .index_1 = index + 1});
  ix->used++;
}

/* FNV-1a, folded. */
#define HASH_START 0xcbf29ce484222325ull

static uint64_t hash_bytes(uint64_t h, const void *bytes, size_t n) {
  const unsigned char *p = bytes;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3ull;
  return h;
}

static uint64_t hash_text(uint64_t h, const char *s) { return hash_bytes(h, s, strlen(s) + 1); }
static uint64_t hash_u64(uint64_t h, uint64_t v) { return hash_bytes(h, &v, sizeof v); }
static uint32_t hash_end(uint64_t h) { return (uint32_t)(h ^ h >> 32); }
static uint32_t hash_name(const char *name) { return hash_end(hash_text(HASH_START, name)); }

/* ---- switches and hosts ------------------------------------------------------------------------------------------------------------ */

static int same_switch(const struct topo *t, uint32_t i, const void *name) { return strcmp(t->switches[i].name, name) == 0; }
static int same_host(const struct topo *t, uint32_t i, const void *name) { return strcmp(t->hosts[i].name, name) == 0; }

uint32_t topo_find_switch(const struct topo *t, const char *name) {
  return index_find(&t->by_switch, t, hash_name(name), same_switch, name);
}

uint32_t topo_find_host(const struct topo *t, const char *name) { return index_find(&t->by_host, t, hash_name(name), same_host, name); }

uint32_t topo_find_host_brief(const struct topo *t, const char *name) {
  char brief[TOPO_NAME_CAP];
  uint32_t found = topo_find_host(t, name);
  if (found != TOPO_NONE) return found;
  str_copy(brief, sizeof brief, name);
  brief[strcspn(brief, ".")] = '\0';
  return topo_find_host(t, brief);
}

static int check_name(const char *what, const char *name, agg_error_t *err) {
  if (topo_name_ok(name)) return AGG_OK;
  return err_set(err, AGG_EINVAL,
                 "\"%.80s\" cannot be the name of a %s: expected a letter or digit, then letters, digits and . _ -, %d at most", name, what,
                 TOPO_NAME_CAP - 1);
}

int topo_add_switch(struct topo *t, const struct topo_switch *s, uint32_t *index, agg_error_t *err) {
  int rc = check_name("switch", s->name, err);
  if (rc != AGG_OK) return rc;
  if (topo_find_switch(t, s->name) != TOPO_NONE)
    return err_set(err, AGG_EINVAL, "switch %s is there already: give one of them another name", s->name);
  if (t->n_switches == TOPO_SWITCHES_MAX)
    return err_set(err, AGG_ELIMIT, "more than %u switches: describe only those above hosts that take part", TOPO_SWITCHES_MAX);
  rc = topo_grow(&t->switches, t->n_switches, &t->cap_switches, sizeof *t->switches, err);
  if (rc == AGG_OK) rc = index_reserve(&t->by_switch, err);
  if (rc != AGG_OK) return rc;
  t->switches[t->n_switches] = *s;
  index_add(&t->by_switch, hash_name(s->name), t->n_switches);
  if (index != NULL) *index = t->n_switches;
  t->n_switches++;
  return AGG_OK;
}

int topo_add_host(struct topo *t, const struct topo_host *h, uint32_t *index, agg_error_t *err) {
  int rc = check_name("host", h->name, err);
  if (rc != AGG_OK) return rc;
  if (topo_find_host(t, h->name) != TOPO_NONE)
    return err_set(err, AGG_EINVAL, "host %s is there already: give one of them another name", h->name);
  if (t->n_hosts == TOPO_HOSTS_MAX)
    return err_set(err, AGG_ELIMIT, "more than %u hosts: describe only those that take part", TOPO_HOSTS_MAX);
  rc = topo_grow(&t->hosts, t->n_hosts, &t->cap_hosts, sizeof *t->hosts, err);
  if (rc == AGG_OK) rc = index_reserve(&t->by_host, err);
  if (rc != AGG_OK) return rc;
  t->hosts[t->n_hosts] = *h;
  index_add(&t->by_host, hash_name(h->name), t->n_hosts);
  if (index != NULL) *index = t->n_hosts;
  t->n_hosts++;
  return AGG_OK;
}

static uint32_t sum_up(const struct topo *t, int servers) {
  uint64_t n = 0;
  for (uint32_t i = 0; i < t->n_hosts; i++) n += servers ? t->hosts[i].servers : t->hosts[i].workers;
  return (uint32_t)MIN_OF(n, UINT32_MAX);
}

uint32_t topo_workers(const struct topo *t) { return sum_up(t, 0); }
uint32_t topo_servers(const struct topo *t) { return sum_up(t, 1); }

/* ---- machines ---------------------------------------------------------------------------------------------------------------------- */

static uint64_t hash_place(uint64_t h, const struct topo_place *p) {
  return hash_u64(hash_u64(hash_text(hash_text(h, p->pci), p->path), p->numa), p->pcie);
}

static uint32_t hash_machine(const struct topo_machine *m) {
  uint64_t h = hash_u64(HASH_START, m->memory);
  for (uint32_t i = 0; i < m->n_numa; i++) {
    h = hash_text(hash_text(hash_u64(hash_u64(h, m->numa[i].number), m->numa[i].memory), m->numa[i].cores), m->numa[i].cpus);
  }
  for (uint32_t i = 0; i < m->n_nics; i++) {
    const struct topo_nic *n = &m->nics[i];
    h = hash_u64(hash_u64(hash_text(hash_text(h, n->rdma), n->netdev), n->speed),
                 (uint64_t)n->rail << 16 | (uint64_t)n->link << 8 | n->state);
    h = hash_place(h, &n->place);
  }
  for (uint32_t i = 0; i < m->n_gpus; i++) h = hash_place(hash_text(hash_u64(h, m->gpus[i].number), m->gpus[i].name), &m->gpus[i].place);
  for (uint32_t i = 0; i < m->n_bridges; i++) h = hash_u64(hash_text(h, m->bridges[i].pci), m->bridges[i].pcie);
  return hash_end(h);
}

static int same_place(const struct topo_place *a, const struct topo_place *b) {
  return a->numa == b->numa && a->pcie == b->pcie && strcmp(a->pci, b->pci) == 0 && strcmp(a->path, b->path) == 0;
}

static int same_numa(const struct topo_numa *a, const struct topo_numa *b) {
  return a->number == b->number && a->memory == b->memory && strcmp(a->cores, b->cores) == 0 && strcmp(a->cpus, b->cpus) == 0;
}

static int same_nic(const struct topo_nic *a, const struct topo_nic *b) {
  return strcmp(a->rdma, b->rdma) == 0 && strcmp(a->netdev, b->netdev) == 0 && a->speed == b->speed && a->rail == b->rail &&
         a->link == b->link && a->state == b->state && same_place(&a->place, &b->place);
}

static int same_gpu(const struct topo_gpu *a, const struct topo_gpu *b) {
  return a->number == b->number && strcmp(a->name, b->name) == 0 && same_place(&a->place, &b->place);
}

static int same_bridge(const struct topo_bridge *a, const struct topo_bridge *b) {
  return a->pcie == b->pcie && strcmp(a->pci, b->pci) == 0;
}

static int same_machine(const struct topo *t, uint32_t index, const void *key) {
  const struct topo_machine *a = &t->machines[index], *b = key;
  if (a->memory != b->memory || a->n_numa != b->n_numa || a->n_nics != b->n_nics || a->n_gpus != b->n_gpus || a->n_bridges != b->n_bridges)
    return 0;
  int same = 1;
  for (uint32_t i = 0; same && i < a->n_numa; i++) same = same_numa(&a->numa[i], &b->numa[i]);
  for (uint32_t i = 0; same && i < a->n_nics; i++) same = same_nic(&a->nics[i], &b->nics[i]);
  for (uint32_t i = 0; same && i < a->n_gpus; i++) same = same_gpu(&a->gpus[i], &b->gpus[i]);
  for (uint32_t i = 0; same && i < a->n_bridges; i++) same = same_bridge(&a->bridges[i], &b->bridges[i]);
  return same;
}

/* *to is NULL for none of them. */
static int copy_array(void *to, const void *from, uint32_t count, size_t size) {
  void **p = to;
  *p = NULL;
  if (count == 0) return 0;
  *p = malloc(count * size);
  if (*p == NULL) return -1;
  memcpy(*p, from, count * size);
  return 0;
}

static int copy_machine(struct topo_machine *to, const struct topo_machine *from) {
  *to = *from;
  to->numa = NULL;
  to->nics = NULL;
  to->gpus = NULL;
  to->bridges = NULL;
  if (copy_array(&to->numa, from->numa, from->n_numa, sizeof *from->numa) == 0 &&
      copy_array(&to->nics, from->nics, from->n_nics, sizeof *from->nics) == 0 &&
      copy_array(&to->gpus, from->gpus, from->n_gpus, sizeof *from->gpus) == 0 &&
      copy_array(&to->bridges, from->bridges, from->n_bridges, sizeof *from->bridges) == 0) {
    return 0;
  }
  topo_machine_free(to);
  return -1;
}

int topo_add_machine(struct topo *t, const struct topo_machine *m, uint32_t *index, agg_error_t *err) {
  if (MAX_OF(MAX_OF(m->n_numa, m->n_nics), MAX_OF(m->n_gpus, m->n_bridges)) > TOPO_DEVICES_MAX) {
    return err_set(err, AGG_ELIMIT, "a machine of %u NUMA nodes, %u NICs, %u GPUs and %u PCIe bridges: at most %u of each", m->n_numa,
                   m->n_nics, m->n_gpus, m->n_bridges, TOPO_DEVICES_MAX);
  }
  uint32_t hash = hash_machine(m);
  uint32_t found = index_find(&t->by_machine, t, hash, same_machine, m);
  if (found != TOPO_NONE) {
    *index = found;
    return AGG_OK;
  }
  int rc = topo_grow(&t->machines, t->n_machines, &t->cap_machines, sizeof *t->machines, err);
  if (rc == AGG_OK) rc = index_reserve(&t->by_machine, err);
  if (rc != AGG_OK) return rc;
  if (copy_machine(&t->machines[t->n_machines], m) != 0) return err_set(err, AGG_ENOMEM, "no memory for the description of a machine");
  index_add(&t->by_machine, hash, t->n_machines);
  *index = t->n_machines++;
  return AGG_OK;
}

/* ---- notes ------------------------------------------------------------------------------------------------------------------------- */

void topo_note(struct topo *t, const char *fmt, ...) {
  char text[TOPO_NOTE_CAP];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n <= 0) return;
  /* A note is a line of the text form: printable, and without what would begin a comment there. */
  for (char *p = text; *p != '\0'; p++) {
    if (*p < ' ' || *p > '~' || *p == '#') *p = '?';
  }
  for (size_t end = strlen(text); end > 0 && text[end - 1] == ' '; end--) text[end - 1] = '\0';
  for (uint32_t i = 0; i < t->n_notes; i++) {
    if (strcmp(t->notes[i], text) == 0) return;
  }
  if (t->n_notes == TOPO_NOTES_MAX) return;
  if (t->notes == NULL) t->notes = calloc(TOPO_NOTES_MAX, sizeof *t->notes);
  if (t->notes == NULL) return;
  t->notes[t->n_notes] = strdup(text);
  if (t->notes[t->n_notes] != NULL) t->n_notes++;
}

/* ---- names of values --------------------------------------------------------------------------------------------------------------- */

const char *topo_distance_name(enum topo_distance d) {
  static const char *const names[TOPO_DISTANCE_COUNT] = {"PIX", "PXB", "PHB", "NODE", "SYS", "?"};
  return (unsigned)d < TOPO_DISTANCE_COUNT ? names[d] : "?";
}

const char *topo_link_name(unsigned link) {
  static const char *const names[TOPO_LINK_COUNT] = {"unknown", "ethernet", "roce", "infiniband", "iwarp"};
  return link < TOPO_LINK_COUNT ? names[link] : "?";
}

const char *topo_state_name(unsigned state) {
  static const char *const names[TOPO_STATE_COUNT] = {"unknown", "up", "down"};
  return state < TOPO_STATE_COUNT ? names[state] : "?";
}

const char *topo_nic_name(const struct topo_nic *nic) { return nic->rdma[0] != '\0' ? nic->rdma : nic->netdev; }

/* ---- distances --------------------------------------------------------------------------------------------------------------------- */

/* The length of the common beginning of two paths, whole elements only; *below_a, *below_b: how many elements follow in each. */
static size_t common_path(const char *a, const char *b, unsigned *below_a, unsigned *below_b) {
  size_t common = 0, i = 0;
  while (a[i] != '\0' && a[i] == b[i]) {
    i++;
    if ((a[i] == '/' || a[i] == '\0') && (b[i] == '/' || b[i] == '\0')) common = i;
  }
  *below_a = *below_b = 0;
  for (const char *p = a + common; *p != '\0'; p++) *below_a += *p == '/';
  for (const char *p = b + common; *p != '\0'; p++) *below_b += *p == '/';
  return common;
}

enum topo_distance topo_distance(const struct topo_place *a, const struct topo_place *b) {
  if (a->pci[0] != '\0' && strcmp(a->pci, b->pci) == 0) return TOPO_PIX; /* two ports of one device */
  if (a->path[0] != '\0' && b->path[0] != '\0') {
    unsigned below_a, below_b;
    size_t common = common_path(a->path, b->path, &below_a, &below_b);
    /* A PCIe switch is two bridges deep, the port up and a port down: below one upstream port each device has at most a bridge of its
     * own. */
    if (common > 0 && memchr(a->path, '/', common) != NULL) return below_a <= 1 && below_b <= 1 ? TOPO_PIX : TOPO_PXB;
    if (common > 0) return TOPO_PHB;
  }
  if (a->numa == TOPO_NONE || b->numa == TOPO_NONE) return TOPO_DISTANCE_UNKNOWN;
  return a->numa == b->numa ? TOPO_NODE : TOPO_SYS;
}

enum topo_distance topo_distance_numa(const struct topo_place *device, uint32_t numa) {
  if (device->numa == TOPO_NONE || numa == TOPO_NONE) return TOPO_DISTANCE_UNKNOWN;
  return device->numa == numa ? TOPO_PHB : TOPO_SYS;
}
