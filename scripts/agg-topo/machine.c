/* Which machine is shown: discovers or loads it, puts it on its fabric, and asks where its workers' reactors would go. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-topo/agg_topo.h"
#include "topology/discover.h"
#include "topology/slurm.h"

/* The hosts of a description, as many as fit: "node1, node2, ...". */
static void list_hosts(const struct topo *t, char *buf, size_t cap) {
  size_t used = 0;
  buf[0] = '\0';
  for (uint32_t i = 0; i < t->n_hosts && used < cap; i++) {
    const char *name = i < 4 ? t->hosts[i].name : "...";
    used += (size_t)snprintf(buf + used, cap - used, "%s%s", i == 0 ? "" : ", ", name);
    if (i == 4) break;
  }
}

static int pick_host(const struct args *args, struct machine *m, agg_error_t *err) {
  char names[4 * TOPO_NAME_CAP + 16];
  const struct topo *t = &m->topo;
  if (args->host != NULL) {
    m->host = topo_find_host(t, args->host);
    if (m->host != TOPO_NONE) return AGG_OK;
    list_hosts(t, names, sizeof names);
    return err_set(err, AGG_EINVAL, "--host %.64s: %s has no such host: expected one of %s", args->host, args->cluster, names);
  }
  m->host = t->n_hosts > 0 ? 0 : TOPO_NONE;
  if (t->n_machines == 1 && t->n_hosts > 0) return AGG_OK; /* all are built so */
  if (args->dump && args->svg == NULL) return AGG_OK;
  list_hosts(t, names, sizeof names);
  if (t->n_hosts == 0) return err_set(err, AGG_EINVAL, "%s: it has no host to show", args->cluster);
  return err_set(err, AGG_EINVAL, "%s has several machines: say which with --host, one of %s", args->cluster, names);
}

static int load(const struct args *args, struct topo *t, agg_error_t *err) {
  if (args->cluster != NULL) return topo_load(args->cluster, t, err);
  return discover_host(&(struct discover_options){.xml = args->xml, .root = args->root}, t, err);
}

static int place(const struct args *args, struct topo *t, agg_error_t *err) {
  struct topo fabric;
  if (args->fabric == NULL) return AGG_OK;
  int rc = topo_load_fabric(args->fabric, args->uplink, &fabric, err);
  if (rc != AGG_OK) return rc;
  rc = topo_place_on(t, &fabric, args->fabric, err);
  topo_fini(&fabric);
  return rc;
}

/* ---- pins -------------------------------------------------------------------------------------------------------------------------------
 */

static void allow_all(const struct topo_machine *machine, struct topo_cpus *allowed) {
  struct topo_cpus some;
  *allowed = (struct topo_cpus){{0}};
  for (uint32_t i = 0; i < machine->n_numa; i++) {
    const struct topo_numa *n = &machine->numa[i];
    if (topo_cpus_parse(n->cpus[0] != '\0' ? n->cpus : n->cores, &some) != 0) continue;
    for (size_t w = 0; w < ARRAY_LEN(allowed->bits); w++) allowed->bits[w] |= some.bits[w];
  }
}

/* Each worker chooses by itself; what those before it have taken is known to it. */
static int place_worker(struct machine *m, struct pin_request *r, uint32_t local_rank, agg_error_t *err) {
  struct pin_place places[PIN_REACTORS_MAX];
  r->local_rank = local_rank;
  int rc = pin_choose(r, places, err);
  if (rc != AGG_OK) return err_prefix(err, "--pin");
  for (uint32_t i = 0; i < m->reactors; i++) {
    m->pins[m->n_pins++] = (struct pin_of){.local_rank = local_rank, .reactor = i, .place = places[i]};
    if (places[i].core >= 0) topo_cpus_add(&r->taken, (uint32_t)places[i].core);
  }
  return AGG_OK;
}

static int place_workers(const struct args *args, struct machine *m, agg_error_t *err) {
  const struct topo_machine *machine = topo_machine_of(&m->topo, m->host);
  struct pin_request r = {.setting = args->pin, .reactors = m->reactors, .devices = "", .transport = "", .machine = machine};
  r.nodes = MAX_OF(machine->n_numa, 1u);
  allow_all(machine, &r.allowed);
  r.online = r.allowed;
  if (args->xml == NULL && args->cluster == NULL && discover_online(&r.online) != 0) r.online = r.allowed;
  if (topo_cpus_count(&r.allowed) == 0) {
    str_copy(m->no_pins, sizeof m->no_pins, "which cores there are is unknown");
    return AGG_OK;
  }
  if (r.setting.mode == PIN_LIST && m->workers > 1) {
    str_copy(m->no_pins, sizeof m->no_pins, "a list is for one worker: --per-host 1");
    return AGG_OK;
  }
  int rc = AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < m->workers; i++) rc = place_worker(m, &r, i, err);
  return rc;
}

static int make_pins(const struct args *args, struct machine *m, agg_error_t *err) {
  const struct topo_host *h = &m->topo.hosts[m->host];
  uint32_t n_gpus = topo_machine_of(&m->topo, m->host)->n_gpus;
  m->workers = args->per_host != 0 ? args->per_host : h->workers != 0 ? h->workers : MAX_OF(n_gpus, 1u);
  m->reactors = args->reactors;
  if ((uint64_t)m->workers * m->reactors > PINS_MAX)
    return err_set(err, AGG_EINVAL, "%u workers with %u reactors each are more than %u threads on a host: lower --per-host or --reactors",
                   m->workers, m->reactors, PINS_MAX);
  m->pins = calloc((size_t)m->workers * m->reactors, sizeof *m->pins);
  if (m->pins == NULL) return err_set(err, AGG_ENOMEM, "no memory for where %u reactors go", m->workers * m->reactors);
  return place_workers(args, m, err);
}

int machine_look(const struct args *args, struct machine *m, agg_error_t *err) {
  *m = (struct machine){.host = TOPO_NONE};
  int rc = load(args, &m->topo, err);
  if (rc != AGG_OK) {
    m->topo = (struct topo){0};
    return rc;
  }
  rc = place(args, &m->topo, err);
  if (rc == AGG_OK) rc = pick_host(args, m, err);
  if (rc == AGG_OK && m->host != TOPO_NONE) rc = make_pins(args, m, err);
  if (rc != AGG_OK) machine_fini(m);
  return rc;
}

void machine_fini(struct machine *m) {
  free(m->pins);
  topo_fini(&m->topo);
  *m = (struct machine){.host = TOPO_NONE};
}
