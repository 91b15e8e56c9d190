/* A machine and a plan as one JSON object each. What is unknown is null. */
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "scripts/agg-topo/agg_topo.h"

static void begin(FILE *to) { fprintf(to, "{\"version\":\"%d.%d.%d\"", AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH); }

static void text(FILE *to, const char *name, const char *value) {
  fprintf(to, ",\"%s\":", name);
  if (value == NULL || value[0] == '\0') {
    fputs("null", to);
  } else {
    print_json_string(to, value);
  }
}

static void number(FILE *to, const char *name, uint64_t value, int known) {
  fprintf(to, ",\"%s\":", name);
  if (known) {
    fprintf(to, "%" PRIu64, value);
  } else {
    fputs("null", to);
  }
}

static void notes(FILE *to, const struct topo *t) {
  fputs(",\n\"notes\":[", to);
  for (uint32_t i = 0; i < t->n_notes; i++) {
    fputs(i == 0 ? "\n" : ",\n", to);
    print_json_string(to, t->notes[i]);
  }
  fputs("]", to);
}

/* ---- a machine --------------------------------------------------------------------------------------------------------------------------
 */

static void place(FILE *to, const struct topo_machine *m, const struct topo_place *p) {
  int known = p->numa < m->n_numa;
  number(to, "numa", known ? m->numa[p->numa].number : 0, known);
  text(to, "pci", p->pci);
  text(to, "path", p->path);
  number(to, "pcie_bits_per_second", p->pcie * 8, p->pcie != 0);
}

static void distances(FILE *to, const struct topo_machine *m, const struct topo_place *from, uint32_t n, int to_gpus) {
  fprintf(to, ",\"%s\":[", to_gpus ? "to_gpus" : "to_nics");
  for (uint32_t i = 0; i < n; i++)
    fprintf(to, "%s\"%s\"", i == 0 ? "" : ",", topo_distance_name(topo_distance(from, to_gpus ? &m->gpus[i].place : &m->nics[i].place)));
  putc(']', to);
}

static void devices(FILE *to, const struct topo_machine *m) {
  fputs(",\n\"nics\":[", to);
  for (uint32_t i = 0; i < m->n_nics; i++) {
    const struct topo_nic *n = &m->nics[i];
    fprintf(to, "%s{\"nic\":%u", i == 0 ? "\n" : ",\n", i);
    text(to, "rdma", n->rdma);
    text(to, "netdev", n->netdev);
    text(to, "link", topo_link_name(n->link));
    text(to, "state", topo_state_name(n->state));
    number(to, "bits_per_second", n->speed * 8, n->speed != 0);
    number(to, "rail", n->rail, n->rail != TOPO_NONE);
    place(to, m, &n->place);
    distances(to, m, &n->place, m->n_gpus, 1);
    distances(to, m, &n->place, m->n_nics, 0);
    putc('}', to);
  }
  fputs("],\n\"gpus\":[", to);
  for (uint32_t i = 0; i < m->n_gpus; i++) {
    fprintf(to, "%s{\"gpu\":%u", i == 0 ? "\n" : ",\n", m->gpus[i].number);
    text(to, "name", m->gpus[i].name);
    place(to, m, &m->gpus[i].place);
    putc('}', to);
  }
  fputs("],\n\"bridges\":[", to);
  for (uint32_t i = 0; i < m->n_bridges; i++)
    fprintf(to, "%s{\"pci\":\"%s\",\"pcie_bits_per_second\":%" PRIu64 "}", i == 0 ? "\n" : ",\n", m->bridges[i].pci,
            m->bridges[i].pcie * 8);
  putc(']', to);
}

static void pins(FILE *to, const struct machine *m) {
  fputs(",\n\"pins\":[", to);
  for (uint32_t i = 0; i < m->n_pins; i++) {
    const struct pin_of *p = &m->pins[i];
    fprintf(to, "%s{\"local_rank\":%u,\"reactor\":%u", i == 0 ? "\n" : ",\n", p->local_rank, p->reactor);
    number(to, "core", (uint64_t)MAX_OF(p->place.core, 0), p->place.core >= 0);
    number(to, "numa", p->place.numa, p->place.numa != TOPO_NONE);
    text(to, "nic", p->place.nic);
    text(to, "note", p->place.note);
    putc('}', to);
  }
  putc(']', to);
}

void machine_json(FILE *to, const struct machine *m, const char *pin) {
  const struct topo_host *h = &m->topo.hosts[m->host];
  const struct topo_machine *machine = topo_machine_of(&m->topo, m->host);
  begin(to);
  text(to, "host", h->name);
  text(to, "switch", h->on < m->topo.n_switches ? m->topo.switches[h->on].name : NULL);
  number(to, "memory", machine->memory, machine->memory != 0);
  fputs(",\n\"numa\":[", to);
  for (uint32_t i = 0; i < machine->n_numa; i++) {
    const struct topo_numa *n = &machine->numa[i];
    fprintf(to, "%s{\"numa\":%u", i == 0 ? "\n" : ",\n", n->number);
    text(to, "cores", n->cores);
    text(to, "cpus", n->cpus);
    number(to, "memory", n->memory, n->memory != 0);
    putc('}', to);
  }
  putc(']', to);
  devices(to, machine);
  text(to, "pin", pin);
  text(to, "not_pinned", m->no_pins);
  pins(to, m);
  notes(to, &m->topo);
  fputs("}\n", to);
}

/* ---- a plan -----------------------------------------------------------------------------------------------------------------------------
 */

static void candidate(FILE *to, const struct explain_row *r, int first) {
  int predicted = r->time.seconds > 0;
  fprintf(to, "%s{\"chosen\":%d,\"left_out\":%d", first ? "\n" : ",\n", r->chosen, r->left_out);
  text(to, "name", r->name);
  if (predicted) {
    fprintf(to, ",\"seconds\":%.9g", r->time.seconds);
  } else {
    fputs(",\"seconds\":null", to);
  }
  number(to, "nic_out", r->nic_up, predicted);
  number(to, "nic_in", r->nic_down, predicted);
  number(to, "depth", r->depth, predicted);
  number(to, "window", r->window, predicted);
  number(to, "window_bytes", r->window_bytes, predicted);
  number(to, "connections", r->connections, predicted);
  text(to, r->left_out ? "why" : "limited_by", r->limit);
  putc('}', to);
}

static void table(FILE *to, const struct plan *plan, unsigned kind) {
  const struct plan_table *t = &plan->table[kind];
  fprintf(to, "%s{\"op\":\"%s\",\"from\":[", kind == 0 ? "\n" : ",\n", op_kind_name(kind));
  for (uint32_t i = 0; i < MAX_OF(t->n, 1u); i++)
    fprintf(to, "%s{\"bytes\":%" PRIu64 ",\"forest\":%u}", i == 0 ? "" : ",", t->n > 0 ? t->rule[i].from_bytes : 0,
            t->n > 0 ? t->rule[i].forest : 0);
  fputs("]}", to);
}

void plan_json(FILE *to, const struct planned *p) {
  char name[96];
  begin(to);
  text(to, "op", op_kind_name(p->explain.kind));
  number(to, "bytes", p->explain.bytes, 1);
  text(to, "memory", fabric_memory_name(p->explain.memory));
  number(to, "workers", p->plan.workers, 1);
  number(to, "servers", p->plan.servers, 1);
  number(to, "lanes", p->plan.lanes, 1);
  number(to, "window", p->plan.window, 1);
  number(to, "chunk", p->plan.chunk_bytes, 1);
  fputs(",\n\"candidates\":[", to);
  for (uint32_t i = 0; i < p->explain.n_rows; i++) candidate(to, &p->explain.row[i], i == 0);
  fputs("],\n\"forests\":[", to);
  for (uint32_t i = 0; i < p->plan.n_forests; i++) {
    fputs(i == 0 ? "" : ",", to);
    print_json_string(to, explain_forest_name(&p->plan.forest[i], name, sizeof name));
  }
  fputs("],\n\"tables\":[", to);
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) table(to, &p->plan, kind);
  fputs("]", to);
  text(to, "reason", p->explain.reason);
  text(to, "assumed", p->explain.assumed);
  notes(to, &p->cluster.topo);
  fputs("}\n", to);
}
