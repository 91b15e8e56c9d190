/* Writes the text form, version 1: hosts that follow each other and are alike but for the number in their names are one line. What is not
 * known is left out, but for speeds, which people will want to fill in. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "topology/topo_internal.h"

static void write_switch(FILE *f, const struct topo *t, const struct topo_switch *s) {
  char up[TOPO_SPEED_TEXT_CAP], down[TOPO_SPEED_TEXT_CAP];
  fprintf(f, "switch %s", s->name);
  if (s->parent != TOPO_NONE) {
    fprintf(f, " parent=%s uplink=%s", t->switches[s->parent].name, topo_speed_text(s->up, up));
    if (s->down != s->up) fprintf(f, "/%s", topo_speed_text(s->down, down));
  }
  fputc('\n', f);
}

static void write_place(FILE *f, const struct topo_machine *m, const struct topo_place *p) {
  char pcie[TOPO_SPEED_TEXT_CAP];
  if (p->numa != TOPO_NONE) fprintf(f, " numa=%u", m->numa[p->numa].number);
  if (p->pci[0] != '\0') fprintf(f, " pci=%s", p->pci);
  if (p->path[0] != '\0') fprintf(f, " path=%s", p->path);
  if (p->pcie != 0) fprintf(f, " pcie=%s", topo_speed_text(p->pcie, pcie));
  fputc('\n', f);
}

static void write_numa(FILE *f, const struct topo_numa *n) {
  char memory[TOPO_SPEED_TEXT_CAP];
  fprintf(f, "  numa %u", n->number);
  if (n->cores[0] != '\0') fprintf(f, " cores=%s", n->cores);
  if (strcmp(n->cores, n->cpus) != 0) fprintf(f, " cpus=%s", n->cpus);
  if (n->memory != 0) fprintf(f, " memory=%s", topo_memory_text(n->memory, memory));
  fputc('\n', f);
}

static void write_nic(FILE *f, const struct topo_machine *m, const struct topo_nic *n) {
  char speed[TOPO_SPEED_TEXT_CAP];
  fprintf(f, "  nic %s", topo_nic_name(n));
  if (n->rdma[0] != '\0' && n->netdev[0] != '\0') fprintf(f, " netdev=%s", n->netdev);
  if (n->link != TOPO_LINK_UNKNOWN) fprintf(f, " link=%s", topo_link_name(n->link));
  fprintf(f, " speed=%s", topo_speed_text(n->speed, speed));
  if (n->state != TOPO_STATE_UNKNOWN) fprintf(f, " state=%s", topo_state_name(n->state));
  if (n->rail != TOPO_NONE) fprintf(f, " rail=%u", n->rail);
  write_place(f, m, &n->place);
}

static void write_machine(FILE *f, const struct topo_machine *m) {
  char pcie[TOPO_SPEED_TEXT_CAP];
  for (uint32_t i = 0; i < m->n_numa; i++) write_numa(f, &m->numa[i]);
  for (uint32_t i = 0; i < m->n_nics; i++) write_nic(f, m, &m->nics[i]);
  for (uint32_t i = 0; i < m->n_gpus; i++) {
    fprintf(f, "  gpu %u", m->gpus[i].number);
    if (m->gpus[i].name[0] != '\0') fprintf(f, " name=%s", m->gpus[i].name);
    write_place(f, m, &m->gpus[i].place);
  }
  for (uint32_t i = 0; i < m->n_bridges; i++)
    fprintf(f, "  bridge %s pcie=%s\n", m->bridges[i].pci, topo_speed_text(m->bridges[i].pcie, pcie));
}

/* ---- hosts ------------------------------------------------------------------------------------------------------------------------- */

/* A name around its last number. */
struct numbered {
  size_t before, after; /* where the digits begin and end; equal: there are none */
  uint64_t number;
};

static struct numbered split(const char *name) {
  struct numbered n = {0};
  for (n.after = strlen(name); n.after > 0 && !(name[n.after - 1] >= '0' && name[n.after - 1] <= '9');) n.after--;
  for (n.before = n.after; n.before > 0 && name[n.before - 1] >= '0' && name[n.before - 1] <= '9';) n.before--;
  if (n.after - n.before > 9) n.before = n.after; /* more digits than a range may have */
  for (size_t i = n.before; i < n.after; i++) n.number = n.number * 10 + (uint64_t)(name[i] - '0');
  return n;
}

/* Whether `next` is the name that stands `offset` places behind `first` in a range that begins there. */
static int follows(const char *first, const struct numbered *n, uint64_t offset, const char *next) {
  char name[TOPO_NAME_CAP + 16];
  if (n->before == n->after || n->number + offset > 999999999) return 0;
  int width = first[n->before] == '0' ? (int)(n->after - n->before) : 1;
  int length = snprintf(name, sizeof name, "%.*s%0*" PRIu64 "%s", (int)n->before, first, width, n->number + offset, first + n->after);
  return length < TOPO_NAME_CAP && strcmp(name, next) == 0;
}

static int alike(const struct topo_host *a, const struct topo_host *b) {
  return a->machine == b->machine && a->on == b->on && a->workers == b->workers && a->servers == b->servers;
}

/* Writes the host at `first` with those that are like it and follow; returns the index behind them. */
static uint32_t write_hosts(FILE *f, const struct topo *t, uint32_t first) {
  const struct topo_host *h = &t->hosts[first];
  const struct topo_machine *m = &t->machines[h->machine];
  struct numbered n = split(h->name);
  uint32_t next = first + 1;
  char memory[TOPO_SPEED_TEXT_CAP];
  while (next < t->n_hosts && alike(h, &t->hosts[next]) && follows(h->name, &n, next - first, t->hosts[next].name)) next++;
  if (next > first + 1) {
    struct numbered last = split(t->hosts[next - 1].name);
    fprintf(f, "host %.*s[%.*s-%.*s]%s", (int)n.before, h->name, (int)(n.after - n.before), h->name + n.before,
            (int)(last.after - last.before), t->hosts[next - 1].name + last.before, h->name + n.after);
  } else {
    fprintf(f, "host %s", h->name);
  }
  if (h->workers != 0) fprintf(f, " workers=%u", h->workers);
  if (h->servers != 0) fprintf(f, " servers=%u", h->servers);
  if (h->on != TOPO_NONE) fprintf(f, " switch=%s", t->switches[h->on].name);
  if (m->memory != 0) fprintf(f, " memory=%s", topo_memory_text(m->memory, memory));
  fputc('\n', f);
  write_machine(f, m);
  return next;
}

int topo_dump(const struct topo *t, char **text, agg_error_t *err) {
  char *buf = NULL;
  size_t bytes = 0;
  FILE *f = open_memstream(&buf, &bytes);
  if (f == NULL) return err_set(err, AGG_ENOMEM, "no memory to write a description");
  fprintf(f, "topo 1\n");
  for (uint32_t i = 0; i < t->n_notes; i++) fprintf(f, "note %s\n", t->notes[i]);
  for (uint32_t i = 0; i < t->n_switches; i++) write_switch(f, t, &t->switches[i]);
  for (uint32_t i = 0; i < t->n_hosts;) i = write_hosts(f, t, i);
  int failed = ferror(f);
  if (fclose(f) != 0 || failed) {
    free(buf);
    return err_set(err, AGG_ENOMEM, "no memory to write a description of %u hosts", t->n_hosts);
  }
  *text = buf;
  return AGG_OK;
}
