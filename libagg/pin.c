/*
 * The choice of cores, from plain data to plain data; asks the system nothing. How far it goes from the end of a node's cores, and what it
 * leaves free, is decided here and explained in docs/topology.md.
 */
#include "pin.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

#define RAILS_MAX 8 /* that the verbs transport uses at most */

/* ---- the setting --------------------------------------------------------------------------------------------------------------------- */

static int add_core(struct pin_setting *s, const char *text, unsigned core, agg_error_t *err) {
  for (unsigned i = 0; i < s->n; i++)
    if (s->core[i] == core) return err_set(err, AGG_EINVAL, "\"%.64s\": core %u is given twice: a core for each reactor", text, core);
  if (s->n == PIN_REACTORS_MAX)
    return err_set(err, AGG_EINVAL, "\"%.64s\": more than %d cores, and there are no more reactors than that", text, PIN_REACTORS_MAX);
  s->core[s->n++] = (uint16_t)core;
  return AGG_OK;
}

/* A number below TOPO_CPUS_MAX at *p, which moves behind it. */
static int take_core(const char **p, unsigned *core) {
  unsigned digits = 0;
  for (*core = 0; **p >= '0' && **p <= '9' && digits < 5; ++*p, digits++) *core = *core * 10 + (unsigned)(**p - '0');
  return digits > 0 && *core < TOPO_CPUS_MAX;
}

static int parse_list(const char *text, struct pin_setting *s, agg_error_t *err) {
  const char *p = text;
  for (;; p++) {
    unsigned first, last;
    if (!take_core(&p, &first)) break;
    last = first;
    if (*p == '-' && (p++, !take_core(&p, &last))) break;
    if (last < first) return err_set(err, AGG_EINVAL, "\"%.64s\": %u-%u runs backwards: write the smaller core first", text, first, last);
    for (unsigned core = first; core <= last; core++) {
      int rc = add_core(s, text, core, err);
      if (rc != AGG_OK) return rc;
    }
    if (*p == '\0') return AGG_OK;
    if (*p != ',') break;
  }
  return err_set(err, AGG_EINVAL, "\"%.64s\": expected off, auto, or cores from 0 to %u as in 2,4-6", text, TOPO_CPUS_MAX - 1);
}

int pin_parse(const char *text, struct pin_setting *setting, agg_error_t *err) {
  struct pin_setting s = {.mode = PIN_AUTO};
  int rc = AGG_OK;
  if (strcmp(text, "off") == 0) {
    s.mode = PIN_OFF;
  } else if (text[0] != '\0' && strcmp(text, "auto") != 0) {
    s.mode = PIN_LIST;
    rc = parse_list(text, &s, err);
  }
  if (rc == AGG_OK) *setting = s;
  return rc;
}

int pin_check(const char *text, agg_error_t *err) {
  struct pin_setting s;
  return pin_parse(text, &s, err);
}

/* ---- rails --------------------------------------------------------------------------------------------------------------------------- */

struct rails {
  unsigned n;
  const struct topo_nic *nic[RAILS_MAX];
};

static void add_rail(struct rails *rails, const struct topo_nic *nic) {
  for (unsigned i = 0; i < rails->n; i++)
    if (rails->nic[i] == nic) return;
  if (rails->n < RAILS_MAX) rails->nic[rails->n++] = nic;
}

/* Whether the port is "mlx5_0:1", or one of "mlx5_0". */
static int is_named(const struct topo_nic *nic, const char *entry, size_t len) {
  return strncmp(nic->rdma, entry, len) == 0 && (nic->rdma[len] == '\0' || nic->rdma[len] == ':');
}

/* As the verbs transport numbers them: in the order of AGG_DEVICES, else by name, which is the machine's order. */
static void rdma_rails(const struct topo_machine *m, const char *devices, struct rails *rails) {
  do {
    size_t len = strcspn(devices, ",");
    for (uint32_t i = 0; i < m->n_nics; i++) {
      const struct topo_nic *nic = &m->nics[i];
      if (nic->rdma[0] == '\0' || nic->rail == TOPO_NONE) continue;
      if (len == 0 || is_named(nic, devices, len)) add_rail(rails, nic);
    }
    devices += len;
  } while (*devices++ == ',');
}

/* Sockets go where the route says. That is known where there is one way only. */
static void socket_rail(const struct topo_machine *m, struct rails *rails) {
  const struct topo_nic *only = NULL;
  for (uint32_t i = 0; i < m->n_nics; i++) {
    if (m->nics[i].netdev[0] == '\0' || m->nics[i].state == TOPO_DOWN) continue;
    if (only != NULL) return;
    only = &m->nics[i];
  }
  if (only != NULL) add_rail(rails, only);
}

static void find_rails(const struct pin_request *r, struct rails *rails) {
  const char *transport = r->transport != NULL ? r->transport : "";
  int any = transport[0] == '\0' || strcmp(transport, "auto") == 0;
  rails->n = 0;
  if (any || strcmp(transport, "verbs") == 0) rdma_rails(r->machine, r->devices != NULL ? r->devices : "", rails);
  if (rails->n == 0 && (any || strcmp(transport, "tcp") == 0)) socket_rail(r->machine, rails);
}

static const struct topo_nic *rail_of(const struct rails *rails, unsigned reactor) {
  return rails->n > 0 ? rails->nic[reactor % rails->n] : NULL;
}

/* ---- cores --------------------------------------------------------------------------------------------------------------------------- */

/* The machine's cores, node by node, as far as they are allowed; and which of them are given away while choosing. */
struct cores {
  const struct pin_request *r;
  struct rails rails;
  struct topo_cpus used; /* the taken ones too */
  unsigned total;
};

/* The next core of a node, or (threads) the next of all its CPUs, that is allowed; -1: it has no more. */
static int next_core(const struct cores *c, uint32_t numa, int threads, int after) {
  const struct topo_numa *node = &c->r->machine->numa[numa];
  const char *list = threads && node->cpus[0] != '\0' ? node->cpus : node->cores;
  int cpu = topo_cpu_next(list, after);
  while (cpu >= 0 && !topo_cpus_has(&c->r->allowed, (uint32_t)cpu)) cpu = topo_cpu_next(list, cpu);
  return cpu;
}

static int nth_core(const struct cores *c, uint32_t numa, uint64_t n) {
  int cpu = next_core(c, numa, 0, -1);
  while (cpu >= 0 && n-- > 0) cpu = next_core(c, numa, 0, cpu);
  return cpu;
}

static unsigned count_cores(const struct cores *c, uint32_t numa) {
  unsigned n = 0;
  for (int cpu = next_core(c, numa, 0, -1); cpu >= 0; cpu = next_core(c, numa, 0, cpu)) n++;
  return n;
}

static void cores_init(struct cores *c, const struct pin_request *r) {
  *c = (struct cores){.r = r, .used = r->taken};
  for (uint32_t i = 0; i < r->machine->n_numa; i++) c->total += count_cores(c, i);
  find_rails(r, &c->rails);
}

/* The node with the most cores; with none of any, 0. */
static uint32_t largest_node(const struct cores *c) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < c->r->machine->n_numa; i++)
    if (count_cores(c, i) > count_cores(c, best)) best = i;
  return best;
}

#define NOTE(place, ...) ((void)snprintf((place)->note, sizeof(place)->note, __VA_ARGS__))

/* Where the reactor should be: an index in the machine's nodes. Notes why, where it is not the NIC that says so. */
static uint32_t wanted_node(const struct cores *c, const struct topo_nic *nic, struct pin_place *place) {
  uint32_t n_numa = c->r->machine->n_numa;
  if (nic != NULL && nic->place.numa < n_numa && count_cores(c, nic->place.numa) > 0) return nic->place.numa;
  if (nic == NULL) {
    NOTE(place, n_numa > 1 ? "which NIC is used is unknown: the node with the most cores" : "the only one; which NIC is used is unknown");
  } else if (nic->place.numa >= n_numa) {
    NOTE(place, "the node of %s is unknown: the one with the most cores", topo_nic_name(nic));
  }
  return largest_node(c);
}

static void set_place(struct cores *c, struct pin_place *place, int cpu, uint32_t numa, const struct topo_nic *nic) {
  place->core = cpu;
  place->numa = numa < c->r->machine->n_numa ? c->r->machine->numa[numa].number : TOPO_NONE;
  place->distance = TOPO_DISTANCE_UNKNOWN;
  topo_cpus_add(&c->used, (uint32_t)cpu);
  if (nic == NULL) return;
  str_copy(place->nic, sizeof place->nic, topo_nic_name(nic));
  if (nic->place.numa < c->r->machine->n_numa && numa < c->r->machine->n_numa)
    place->distance = (uint8_t)topo_distance_numa(&nic->place, numa);
}

/* ---- auto, in a worker --------------------------------------------------------------------------------------------------------------- */

/* A launcher that gave the process CPUs of its own has told it its place; who shares them all the same is seen by what is taken. */
static int is_narrowed(const struct pin_request *r) { return topo_cpus_count(&r->allowed) < topo_cpus_count(&r->online); }

/* Cores are given away from the end of the node, where programs that count from 0 come last: local rank x reactors + reactor. If n are
 * given away, n / reactors processes have them, and each is to have one more that is free. */
static void choose_worker(struct cores *c, unsigned reactor, struct pin_place *place) {
  const struct pin_request *r = c->r;
  const struct topo_nic *nic = rail_of(&c->rails, reactor);
  uint32_t numa = wanted_node(c, nic, place);
  uint64_t have = count_cores(c, numa), first = (is_narrowed(r) ? 0 : (uint64_t)r->local_rank * r->reactors) + reactor;
  for (uint64_t at = first; at + 1 + div_up_u64(at + 1, r->reactors) <= have; at++) {
    int cpu = nth_core(c, numa, have - 1 - at);
    if (topo_cpus_has(&c->used, (uint32_t)cpu)) continue;
    set_place(c, place, cpu, numa, nic);
    return;
  }
  unsigned number = r->machine->numa[numa].number;
  if (first + 1 + div_up_u64(first + 1, r->reactors) > have) {
    NOTE(place, "the %u core%s of NUMA node %u %s too few for local rank %u with %u reactor%s, if each process is to have one left",
         (unsigned)have, have == 1 ? "" : "s", number, have == 1 ? "is" : "are", r->local_rank, r->reactors, r->reactors > 1 ? "s" : "");
  } else {
    NOTE(place, "the cores of NUMA node %u that could be had are taken by other processes' reactors", number);
  }
}

/* ---- auto, in a server --------------------------------------------------------------------------------------------------------------- */

/* A free CPU of the node; -1: none. */
static int free_cpu(const struct cores *c, uint32_t numa, int threads) {
  int cpu = next_core(c, numa, threads, -1);
  while (cpu >= 0 && topo_cpus_has(&c->used, (uint32_t)cpu)) cpu = next_core(c, numa, threads, cpu);
  return cpu;
}

/* Whole cores first, near before far; then their second threads. */
static void choose_server(struct cores *c, unsigned reactor, struct pin_place *place) {
  const struct topo_nic *nic = rail_of(&c->rails, reactor);
  uint32_t n_numa = c->r->machine->n_numa, wanted = wanted_node(c, nic, place);
  if (nic == NULL || nic->place.numa >= n_numa) wanted = 0; /* nothing says where: all of them in order */
  for (int threads = 0; threads <= 1; threads++) {
    for (uint32_t i = 0; i < n_numa; i++) {
      uint32_t numa = i == 0 ? wanted : i <= wanted ? i - 1 : i;
      int cpu = free_cpu(c, numa, threads);
      if (cpu < 0) continue;
      set_place(c, place, cpu, numa, nic);
      return;
    }
  }
  NOTE(place, "every core is taken by other processes' reactors");
}

/* ---- a list -------------------------------------------------------------------------------------------------------------------------- */

static int check_list(const struct pin_request *r, agg_error_t *err) {
  char list[TOPO_CPULIST_CAP];
  const struct pin_setting *s = &r->setting;
  struct topo_cpus online = r->online, allowed = r->allowed;
  for (unsigned i = 0; i < s->n; i++) {
    if (topo_cpus_has(&allowed, s->core[i])) continue;
    if (topo_cpus_count(&online) > 0 && !topo_cpus_has(&online, s->core[i])) {
      (void)topo_cpus_text(&online, list);
      return err_set(err, AGG_EINVAL, "core %u is not there: this machine has %.200s", s->core[i], list);
    }
    (void)topo_cpus_text(&allowed, list);
    return err_set(err, AGG_EINVAL, "core %u is not allowed here: this process may run on %.200s (taskset, numactl, cpuset, launcher)",
                   s->core[i], list);
  }
  if (s->n >= r->reactors) return AGG_OK;
  return err_set(err, AGG_EINVAL, "%u core%s for %u reactors: give each its own, or say auto", s->n, s->n > 1 ? "s" : "", r->reactors);
}

/* The node that has the CPU; TOPO_NONE: none says so. */
static uint32_t node_with(const struct topo_machine *m, unsigned cpu) {
  for (uint32_t i = 0; i < m->n_numa; i++) {
    if (topo_cpu_next(m->numa[i].cores, (int)cpu - 1) == (int)cpu || topo_cpu_next(m->numa[i].cpus, (int)cpu - 1) == (int)cpu) return i;
  }
  return TOPO_NONE;
}

static void choose_listed(struct cores *c, unsigned reactor, struct pin_place *place) {
  unsigned cpu = c->r->setting.core[reactor];
  const struct topo_nic *nic = rail_of(&c->rails, reactor);
  set_place(c, place, (int)cpu, node_with(c->r->machine, cpu), nic);
}

/* ---- all together -------------------------------------------------------------------------------------------------------------------- */

/* "": auto may look for cores. */
static void why_not(const struct pin_request *r, unsigned cores, const char *what, char note[PIN_NOTE_MAX]) {
  note[0] = '\0';
  if (r->setting.mode == PIN_OFF) {
    (void)snprintf(note, PIN_NOTE_MAX, "off was asked for");
  } else if (!r->server && cores < PIN_CORES_MIN) {
    (void)snprintf(note, PIN_NOTE_MAX, "%u %s%s too few", cores, what, cores == 1 ? " is" : "s are");
  } else if (r->server && (cores < 2 || cores < r->reactors)) {
    (void)snprintf(note, PIN_NOTE_MAX, "%u %s%s too few for %u reactor%s", cores, what, cores == 1 ? " is" : "s are", r->reactors,
                   r->reactors > 1 ? "s" : "");
  }
}

int pin_needs_machine(const struct pin_request *r) {
  char note[PIN_NOTE_MAX];
  if (r->setting.mode == PIN_LIST) return r->nodes > 1;
  why_not(r, topo_cpus_count(&r->allowed), "core", note);
  return note[0] == '\0';
}

static void choose_auto(const struct pin_request *r, struct pin_place *places) {
  struct cores c;
  char note[PIN_NOTE_MAX];
  why_not(r, topo_cpus_count(&r->allowed), "core", note);
  if (note[0] == '\0' && r->machine == NULL) {
    (void)snprintf(note, sizeof note, "what is in this machine cannot be found out");
  } else if (note[0] == '\0') {
    cores_init(&c, r);
    if (!r->server) why_not(r, c.total, "core", note); /* threads of one core count once */
  }
  for (unsigned i = 0; i < r->reactors; i++) {
    if (note[0] != '\0') {
      str_copy(places[i].note, sizeof places[i].note, note);
    } else if (r->server) {
      choose_server(&c, i, &places[i]);
    } else {
      choose_worker(&c, i, &places[i]);
    }
  }
}

int pin_choose(const struct pin_request *r, struct pin_place *places, agg_error_t *err) {
  struct cores c;
  assert(r->reactors >= 1 && r->reactors <= PIN_REACTORS_MAX && r->nodes >= 1);
  for (unsigned i = 0; i < r->reactors; i++)
    places[i] = (struct pin_place){.core = -1, .numa = TOPO_NONE, .distance = TOPO_DISTANCE_UNKNOWN};
  if (r->setting.mode != PIN_LIST) {
    choose_auto(r, places);
    return AGG_OK;
  }
  int rc = check_list(r, err);
  if (rc != AGG_OK) return rc;
  if (r->machine != NULL) cores_init(&c, r);
  for (unsigned i = 0; i < r->reactors; i++) {
    if (r->machine != NULL) {
      choose_listed(&c, i, &places[i]);
    } else {
      places[i].core = r->setting.core[i];
    }
  }
  return AGG_OK;
}

const char *pin_text(const struct pin_place *p, char buf[PIN_TEXT_MAX]) {
  char near[TOPO_NAME_CAP + 64] = "";
  if (p->core < 0) {
    (void)snprintf(buf, PIN_TEXT_MAX, "not pinned: %s", p->note);
    return buf;
  }
  if (p->nic[0] != '\0' && p->distance != TOPO_DISTANCE_UNKNOWN)
    (void)snprintf(near, sizeof near, ", %s to %s", topo_distance_name((enum topo_distance)p->distance), p->nic);
  if (p->numa == TOPO_NONE) {
    (void)snprintf(buf, PIN_TEXT_MAX, "on core %d", p->core);
  } else {
    (void)snprintf(buf, PIN_TEXT_MAX, "on core %d (NUMA node %u%s%s%s)", p->core, p->numa, near, p->note[0] != '\0' ? "; " : "", p->note);
  }
  return buf;
}
