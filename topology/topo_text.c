/*
 * Reads the text form, version 1: which lines there may be, in what order, and what becomes of them. A host line opens a block; what it has
 * (numa, nic, gpu, bridge lines) is gathered until the block ends, and becomes one machine for all hosts of the line. Names of switches are
 * looked up at the end, so that lines may come in any order; until then the lines that named them are kept.
 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/topo_parser.h"

/* ---- switches ---------------------------------------------------------------------------------------------------------------------- */

static int add_reference(struct parser *p, struct references *r, uint32_t first, uint32_t count) {
  int rc = topo_grow(&r->list, r->n, &r->cap, sizeof *r->list, p->err);
  if (rc != AGG_OK) return rc;
  struct reference *ref = &r->list[r->n++];
  *ref = (struct reference){.line = p->lines.number, .first = first, .count = count};
  memcpy(ref->name, p->reference, sizeof ref->name);
  return AGG_OK;
}

static int add_switch(void *user, const char *name) {
  struct parser *p = user;
  uint32_t there = topo_find_switch(&p->t, name);
  if (there != TOPO_NONE)
    return err_set(p->err, AGG_EINVAL, "switch %s is there already (line %u): remove one of them", name, p->switch_lines[there]);
  memset(p->sw.name, 0, sizeof p->sw.name);
  str_copy(p->sw.name, sizeof p->sw.name, name);
  int rc = topo_grow(&p->switch_lines, p->t.n_switches, &p->cap_switch_lines, sizeof *p->switch_lines, p->err);
  if (rc == AGG_OK) rc = topo_add_switch(&p->t, &p->sw, NULL, p->err);
  if (rc == AGG_OK) p->switch_lines[p->t.n_switches - 1] = p->lines.number;
  return rc;
}

static int read_switch(struct parser *p, const char *names, char *rest) {
  p->sw = (struct topo_switch){.parent = TOPO_NONE};
  p->uplink_given = 0;
  int rc = topo_keys_read(p, KIND_SWITCH, rest);
  if (rc != AGG_OK) return rc;
  int has_parent = p->reference[0] != '\0';
  if (has_parent && !p->uplink_given) {
    return FAIL(p, "switch %.80s has a parent and no uplink: add its speed in bit/s, uplink=400G, or uplink=unknown", names);
  }
  if (!has_parent && p->uplink_given) {
    return FAIL(p, "switch %.80s has an uplink and no parent: add parent=NAME, or remove the uplink where it is at the top", names);
  }
  uint32_t first = p->t.n_switches;
  rc = topo_names_expand(names, add_switch, p, p->err);
  if (rc != AGG_OK) return FAIL_SO(p, rc);
  return has_parent ? add_reference(p, &p->parents, first, p->t.n_switches - first) : AGG_OK;
}

/* ---- hosts and what they have ------------------------------------------------------------------------------------------------------ */

static int add_host(void *user, const char *name) {
  struct parser *p = user;
  uint32_t there = topo_find_host(&p->t, name);
  if (there != TOPO_NONE)
    return err_set(p->err, AGG_EINVAL, "host %s is there already (line %u): remove one of them", name, p->host_lines[there]);
  p->nodes += (uint64_t)p->host.workers + p->host.servers;
  if (p->nodes > TOPO_NODES_MAX) {
    return err_set(p->err, AGG_ELIMIT, "with host %s there are %llu workers and servers: at most %u", name, (unsigned long long)p->nodes,
                   TOPO_NODES_MAX);
  }
  memset(p->host.name, 0, sizeof p->host.name);
  str_copy(p->host.name, sizeof p->host.name, name);
  int rc = topo_grow(&p->host_lines, p->t.n_hosts, &p->cap_host_lines, sizeof *p->host_lines, p->err);
  if (rc == AGG_OK) rc = topo_add_host(&p->t, &p->host, NULL, p->err);
  if (rc == AGG_OK) p->host_lines[p->t.n_hosts - 1] = p->lines.number;
  return rc;
}

static int read_host(struct parser *p, const char *names, char *rest) {
  p->host = (struct topo_host){.machine = TOPO_NONE, .on = TOPO_NONE};
  int rc = topo_keys_read(p, KIND_HOST, rest);
  if (rc != AGG_OK) return rc;
  p->block_first = p->t.n_hosts;
  p->open = 1;
  rc = topo_names_expand(names, add_host, p, p->err);
  if (rc != AGG_OK) return FAIL_SO(p, rc);
  return add_reference(p, &p->places, p->block_first, p->t.n_hosts - p->block_first);
}

/* cpus without cores has all of them, and the other way round; no CPU is in two NUMA nodes. */
static int finish_numa(struct parser *p, struct topo_numa *n) {
  struct topo_cpus cores, cpus;
  if (n->cpus[0] == '\0') {
    memcpy(n->cpus, n->cores, sizeof n->cpus);
    n->n_cpus = n->n_cores;
  }
  if (n->cpus[0] == '\0') return AGG_OK;
  if (n->cores[0] == '\0') return FAIL(p, "numa %u has cpus and no cores: say which of them are cores, one CPU for each", n->number);
  int rc = topo_cpus_parse(n->cpus, &cpus) | topo_cpus_parse(n->cores, &cores);
  assert(rc == 0); /* we have written these lists */
  (void)rc;
  int cpu = topo_cpus_first_in(&cores, &cpus, 0);
  if (cpu >= 0) return FAIL(p, "CPU %d is in cores and not in cpus: cpus has all of them", cpu);
  cpu = topo_cpus_first_in(&cpus, &p->used, 1);
  if (cpu >= 0) return FAIL(p, "CPU %d is in two NUMA nodes of this host: remove it from one of them", cpu);
  for (size_t i = 0; i < ARRAY_LEN(cpus.bits); i++) p->used.bits[i] |= cpus.bits[i];
  return AGG_OK;
}

static int read_numa(struct parser *p, const char *name, char *rest) {
  struct topo_numa *n = numa_of(p);
  *n = (struct topo_numa){0};
  if (topo_take_number(name, TOPO_NUMBER_MAX, &n->number) != 0)
    return FAIL(p, "numa %.60s: expected the number of a NUMA node, 0 to %u", name, TOPO_NUMBER_MAX);
  for (uint32_t i = 0; i < p->m.n_numa; i++) {
    if (p->m.numa[i].number == n->number) return FAIL(p, "NUMA node %u is there already in this host: remove one of them", n->number);
  }
  int rc = topo_keys_read(p, KIND_NUMA, rest);
  if (rc == AGG_OK) rc = finish_numa(p, n);
  if (rc == AGG_OK) p->m.n_numa++;
  return rc;
}

static int check_place(struct parser *p, const struct topo_place *place) {
  if (place->path[0] == '\0' || place->pci[0] != '\0') return AGG_OK;
  return FAIL(p, "a path leads to a PCI device: add its address, pci=0000:18:00.0");
}

static int read_nic(struct parser *p, const char *name, char *rest) {
  struct topo_nic *n = nic_of(p);
  *n = (struct topo_nic){.rail = TOPO_NONE, .place.numa = TOPO_NONE};
  p->nic_lines[p->m.n_nics] = p->lines.number;
  if (topo_rdma_ok(name)) {
    str_copy(n->rdma, sizeof n->rdma, name);
  } else if (topo_netdev_ok(name)) {
    str_copy(n->netdev, sizeof n->netdev, name);
  } else {
    return FAIL(p, "nic %.60s: expected an RDMA device and port like mlx5_0:1, or a network device like eth0", name);
  }
  int rc = topo_keys_read(p, KIND_NIC, rest);
  if (rc == AGG_OK) rc = check_place(p, &n->place);
  if (rc != AGG_OK) return rc;
  if (n->rdma[0] == '\0' && strcmp(n->netdev, name) != 0)
    return FAIL(p, "nic %.60s has another netdev: name the RDMA device, or the network device once", name);
  for (uint32_t i = 0; i < p->m.n_nics; i++) {
    const struct topo_nic *o = &p->m.nics[i];
    if ((n->rdma[0] != '\0' && strcmp(n->rdma, o->rdma) == 0) || (n->netdev[0] != '\0' && strcmp(n->netdev, o->netdev) == 0)) {
      return FAIL(p, "nic %s is there already in this host (line %u): remove one of them", name, p->nic_lines[i]);
    }
  }
  p->m.n_nics++;
  return AGG_OK;
}

static int read_gpu(struct parser *p, const char *name, char *rest) {
  struct topo_gpu *g = gpu_of(p);
  *g = (struct topo_gpu){.place.numa = TOPO_NONE};
  p->gpu_lines[p->m.n_gpus] = p->lines.number;
  if (topo_take_number(name, TOPO_NUMBER_MAX, &g->number) != 0)
    return FAIL(p, "gpu %.60s: expected the number of a GPU, 0 to %u", name, TOPO_NUMBER_MAX);
  for (uint32_t i = 0; i < p->m.n_gpus; i++) {
    if (p->m.gpus[i].number == g->number)
      return FAIL(p, "gpu %u is there already in this host (line %u): remove one of them", g->number, p->gpu_lines[i]);
  }
  int rc = topo_keys_read(p, KIND_GPU, rest);
  if (rc == AGG_OK) rc = check_place(p, &g->place);
  if (rc == AGG_OK) p->m.n_gpus++;
  return rc;
}

/* One of unknown speed says nothing, and is not kept. */
static int read_bridge(struct parser *p, const char *name, char *rest) {
  struct topo_bridge *b = bridge_of(p);
  *b = (struct topo_bridge){0};
  if (!topo_pci_ok(name)) return FAIL(p, "bridge %.60s: expected a PCI address like 0000:15:01.0", name);
  str_copy(b->pci, sizeof b->pci, name);
  for (uint32_t i = 0; i < p->m.n_bridges; i++) {
    if (strcmp(p->m.bridges[i].pci, name) == 0) return FAIL(p, "bridge %s is there already in this host: remove one of them", name);
  }
  int rc = topo_keys_read(p, KIND_BRIDGE, rest);
  if (rc == AGG_OK) p->m.n_bridges += b->pcie != 0;
  return rc;
}

/* A NUMA number becomes an index. */
static int find_numa(struct parser *p, uint32_t line, struct topo_place *place) {
  if (place->numa == TOPO_NONE) return AGG_OK;
  for (uint32_t i = 0; i < p->m.n_numa; i++) {
    if (p->m.numa[i].number == place->numa) return place->numa = i, AGG_OK;
  }
  return FAIL_AT(p, line, "numa=%u: this host has no such NUMA node: add a line \"numa %u\" to it, or write numa=unknown", place->numa,
                 place->numa);
}

static int close_block(struct parser *p) {
  uint32_t machine;
  int rc = AGG_OK;
  if (!p->open) return AGG_OK;
  p->open = 0;
  for (uint32_t i = 0; rc == AGG_OK && i < p->m.n_nics; i++) rc = find_numa(p, p->nic_lines[i], &p->m.nics[i].place);
  for (uint32_t i = 0; rc == AGG_OK && i < p->m.n_gpus; i++) rc = find_numa(p, p->gpu_lines[i], &p->m.gpus[i].place);
  if (rc == AGG_OK) rc = topo_add_machine(&p->t, &p->m, &machine, p->err);
  for (uint32_t i = p->block_first; rc == AGG_OK && i < p->t.n_hosts; i++) p->t.hosts[i].machine = machine;
  p->m.n_numa = p->m.n_nics = p->m.n_gpus = p->m.n_bridges = 0;
  p->m.memory = 0;
  memset(&p->used, 0, sizeof p->used);
  return rc;
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------------- */

static int read_part(struct parser *p, enum kind kind, const char *name, char *rest) {
  struct topo_machine *m = &p->m;
  uint32_t n = kind == KIND_NUMA ? m->n_numa : kind == KIND_NIC ? m->n_nics : kind == KIND_GPU ? m->n_gpus : m->n_bridges;
  if (!p->open) return FAIL(p, "a %s line belongs to a host: put it below the host's line", topo_kind_name(kind));
  if (n == TOPO_DEVICES_MAX) return FAIL(p, "more than %u %s lines in one host", TOPO_DEVICES_MAX, topo_kind_name(kind));
  int rc;
  switch (kind) {
    case KIND_NUMA:
      rc = topo_grow(&m->numa, n, &p->cap_numa, sizeof *m->numa, p->err);
      return rc == AGG_OK ? read_numa(p, name, rest) : rc;
    case KIND_NIC:
      rc = topo_grow(&m->nics, n, &p->cap_nics, sizeof *m->nics, p->err);
      return rc == AGG_OK ? read_nic(p, name, rest) : rc;
    case KIND_GPU:
      rc = topo_grow(&m->gpus, n, &p->cap_gpus, sizeof *m->gpus, p->err);
      return rc == AGG_OK ? read_gpu(p, name, rest) : rc;
    default:
      rc = topo_grow(&m->bridges, n, &p->cap_bridges, sizeof *m->bridges, p->err);
      return rc == AGG_OK ? read_bridge(p, name, rest) : rc;
  }
}

static int read_line(struct parser *p) {
  char *rest = p->lines.line;
  char *word = topo_next_word(&rest);
  if (word == NULL) return AGG_OK;
  if (strcmp(word, "note") == 0) {
    topo_note(&p->t, "%s", rest);
    return AGG_OK;
  }
  unsigned kind = 0;
  while (kind < KIND_COUNT && strcmp(word, topo_kind_name(kind)) != 0) kind++;
  if (kind == KIND_COUNT) return FAIL(p, "\"%.60s\" is not known: a line starts with switch, host, numa, nic, gpu, bridge or note", word);
  char *name = topo_next_word(&rest);
  if (name == NULL || (strchr(name, '=') != NULL && kind != KIND_NIC)) {
    return FAIL(p, "%s%s%.60s: expected a name or number after \"%s\"", word, name != NULL ? " " : "", name != NULL ? name : "", word);
  }
  p->reference[0] = '\0';
  if (kind >= KIND_NUMA) return read_part(p, kind, name, rest);
  int rc = close_block(p);
  if (rc != AGG_OK) return rc;
  return kind == KIND_SWITCH ? read_switch(p, name, rest) : read_host(p, name, rest);
}

static int read_version(struct parser *p) {
  int rc;
  while ((rc = topo_lines_next(&p->lines, p->err)) > 0 && p->lines.line[0] == '\0') continue;
  if (rc < 0) return rc;
  if (rc == 0) return FAIL_AT(p, 1, "the file is empty: expected \"topo 1\" as its first line");
  char *rest = p->lines.line;
  const char *word = topo_next_word(&rest), *version = topo_next_word(&rest), *more = topo_next_word(&rest);
  if (strcmp(word, "topo") != 0) {
    return FAIL(
        p, "\"%.60s\": expected \"topo 1\" as the first line (for Slurm's topology.conf and hwloc's XML there are options of their own)",
        word);
  }
  if (version == NULL || more != NULL)
    return FAIL(p, "expected \"topo 1\" alone as the first line, came %s", more != NULL ? "more words" : "no version");
  if (strcmp(version, "1") != 0) {
    return FAIL(p, "version \"%.60s\": this program reads version 1; write the file again with the program that is to read it", version);
  }
  return AGG_OK;
}

/* ---- the end ----------------------------------------------------------------------------------------------------------------------- */

static int resolve_parents(struct parser *p) {
  for (uint32_t i = 0; i < p->parents.n; i++) {
    const struct reference *r = &p->parents.list[i];
    uint32_t parent = topo_find_switch(&p->t, r->name);
    if (parent == TOPO_NONE) return FAIL_AT(p, r->line, "parent=%s: there is no such switch: add a line \"switch %s\"", r->name, r->name);
    for (uint32_t k = 0; k < r->count; k++) p->t.switches[r->first + k].parent = parent;
  }
  return AGG_OK;
}

static int resolve_places(struct parser *p) {
  if (p->t.n_switches == 0) {
    for (uint32_t i = 0; i < p->places.n; i++) {
      const struct reference *r = &p->places.list[i];
      if (r->name[0] != '\0') return FAIL_AT(p, r->line, "switch=%s: there is no such switch: add a line \"switch %s\"", r->name, r->name);
    }
    return topo_assume_switch(&p->t, p->err);
  }
  for (uint32_t i = 0; i < p->places.n; i++) {
    const struct reference *r = &p->places.list[i];
    if (r->name[0] == '\0')
      return FAIL_AT(p, r->line, "host %s is on no switch, and this file has switches: add switch=NAME", p->t.hosts[r->first].name);
    uint32_t on = topo_find_switch(&p->t, r->name);
    if (on == TOPO_NONE) return FAIL_AT(p, r->line, "switch=%s: there is no such switch: add a line \"switch %s\"", r->name, r->name);
    for (uint32_t k = 0; k < r->count; k++) p->t.hosts[r->first + k].on = on;
  }
  return AGG_OK;
}

static int read_text(struct parser *p) {
  int rc = read_version(p), more;
  while (rc == AGG_OK && (more = topo_lines_next(&p->lines, p->err)) != 0) rc = more < 0 ? more : read_line(p);
  if (rc == AGG_OK) rc = close_block(p);
  if (rc == AGG_OK) rc = resolve_parents(p);
  if (rc == AGG_OK) rc = resolve_places(p);
  if (rc != AGG_OK) return rc;
  struct topo_fault fault;
  rc = topo_verify(&p->t, &fault, p->err);
  if (rc == AGG_OK) return rc;
  uint32_t line = fault.host != TOPO_NONE ? p->host_lines[fault.host] : fault.sw != TOPO_NONE ? p->switch_lines[fault.sw] : p->lines.number;
  return topo_lines_fail(&p->lines, line, rc, p->err, "%s", p->err->text);
}

int topo_parse(const char *text, size_t bytes, const char *source, struct topo *t, agg_error_t *err) {
  agg_error_t own;
  struct parser *p = calloc(1, sizeof *p);
  if (p == NULL) return err_set(err, AGG_ENOMEM, "%s: no memory to read it", source);
  p->err = err != NULL ? err : &own;
  topo_init(&p->t);
  topo_lines_init(&p->lines, text, bytes, source);
  int rc = read_text(p);
  if (rc == AGG_OK) {
    *t = p->t;
  } else {
    topo_fini(&p->t);
  }
  free(p->parents.list);
  free(p->places.list);
  free(p->switch_lines);
  free(p->host_lines);
  topo_machine_free(&p->m);
  free(p);
  return rc;
}

int topo_load(const char *path, struct topo *t, agg_error_t *err) {
  char *text;
  size_t bytes;
  int rc = topo_file_read(path, &text, &bytes, err);
  if (rc != AGG_OK) return rc;
  rc = topo_parse(text, bytes, path, t, err);
  free(text);
  return rc;
}
