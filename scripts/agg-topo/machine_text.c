/* A machine as text for people. */
#include <string.h>

#include "base/util.h"
#include "scripts/agg-topo/agg_topo.h"
#include "topology/fabric_topo.h"

#define WIDTH 120u

static uint32_t count_cpus(const struct topo_machine *m, int threads) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->n_numa; i++) n += threads ? m->numa[i].n_cpus : m->numa[i].n_cores;
  return n;
}

static void number_or_unknown(char *buf, size_t cap, uint32_t n) {
  if (n == TOPO_NONE) {
    str_copy(buf, cap, "-");
  } else {
    (void)snprintf(buf, cap, "%u", n);
  }
}

/* The number of the NUMA node at an index. */
static void numa_text(const struct topo_machine *m, uint32_t index, char *buf, size_t cap) {
  number_or_unknown(buf, cap, index < m->n_numa ? m->numa[index].number : TOPO_NONE);
}

static const char *known(const char *text) { return text[0] != '\0' ? text : "-"; }

static const char *plural(uint32_t n) { return n == 1 ? "" : "s"; }

static void print_head(FILE *to, const struct machine *m, const struct topo_machine *machine) {
  const struct topo_host *h = &m->topo.hosts[m->host];
  char memory[WORDS_CAP];
  uint32_t cores = count_cpus(machine, 0), cpus = count_cpus(machine, 1), alike = 0;
  for (uint32_t i = 0; i < m->topo.n_hosts; i++) alike += m->topo.hosts[i].machine == h->machine;
  fprintf(to, "%s: ", h->name);
  if (cores == 0) {
    fputs("cores unknown", to);
  } else {
    fprintf(to, "%u core%s", cores, plural(cores));
    if (cpus > cores) fprintf(to, " (%u CPUs)", cpus);
  }
  fprintf(to, " on %u NUMA node%s, %s%s, %u NIC%s, %u GPU%s\n", machine->n_numa, plural(machine->n_numa),
          machine->memory == 0 ? "memory unknown" : explain_bytes((double)machine->memory, memory, WORDS_CAP),
          machine->memory == 0 ? "" : " of memory", machine->n_nics, plural(machine->n_nics), machine->n_gpus, plural(machine->n_gpus));
  if (alike > 1) fprintf(to, "%u hosts are built so.\n", alike);
  for (uint32_t on = h->on, i = 0; on < m->topo.n_switches; on = m->topo.switches[on].parent, i++) {
    const struct topo_switch *s = &m->topo.switches[on];
    char up[WORDS_CAP], down[WORDS_CAP];
    fprintf(to, "%s switch %s", i == 0 ? "on" : ", below", s->name);
    if (s->parent == TOPO_NONE) continue;
    fprintf(to, " (uplink %s", speed_words(s->up, up));
    if (s->up != s->down) fprintf(to, " up, %s down", speed_words(s->down, down));
    putc(')', to);
  }
  if (h->on < m->topo.n_switches) putc('\n', to);
}

static void print_numa(FILE *to, const struct topo_machine *m) {
  char memory[WORDS_CAP];
  if (m->n_numa > 0) putc('\n', to);
  for (uint32_t i = 0; i < m->n_numa; i++) {
    const struct topo_numa *n = &m->numa[i];
    fprintf(to, "NUMA node %u: ", n->number);
    if (n->n_cores == 0) {
      fputs(n->n_cpus == 0 ? "no cores" : "cores unknown", to);
    } else {
      fprintf(to, "%u core%s %s", n->n_cores, plural(n->n_cores), n->cores);
    }
    if (n->n_cpus > n->n_cores) fprintf(to, " (CPUs %s)", n->cpus);
    fprintf(to, ", %s\n", n->memory == 0 ? "memory unknown" : explain_bytes((double)n->memory, memory, WORDS_CAP));
  }
}

/* Where PCIe links limit the NICs that carry, also those that several of them share. */
static void print_flow(FILE *to, const struct topo_machine *m) {
  struct fabric_topo_rate rate = fabric_topo_speed(m);
  char flow[WORDS_CAP], sum[WORDS_CAP];
  uint64_t ports = 0;
  if (!rate.by_pcie) return;
  for (uint32_t i = 0; i < m->n_nics; i++) ports += fabric_topo_carries(m, &m->nics[i]) ? m->nics[i].speed : 0;
  fprintf(to, "PCIe lets through %s of the %s that these ports carry together.\n", speed_words((uint64_t)rate.bytes_per_s, flow),
          speed_words(ports, sum));
}

static void print_nics(FILE *to, const struct topo_machine *m) {
  char rail[16], numa[16], speed[WORDS_CAP];
  if (m->n_nics == 0) return;
  fprintf(to, "\n%-6s %-16s %-15s %-11s %-14s %-8s %4s %4s  %s\n", "", "RDMA port", "netdev", "link", "speed", "state", "rail", "NUMA",
          "PCI");
  for (uint32_t i = 0; i < m->n_nics; i++) {
    const struct topo_nic *n = &m->nics[i];
    char name[16];
    (void)snprintf(name, sizeof name, "NIC%u", i);
    number_or_unknown(rail, sizeof rail, n->rail);
    numa_text(m, n->place.numa, numa, sizeof numa);
    fprintf(to, "%-6s %-16s %-15s %-11s %-14s %-8s %4s %4s  %s", name, known(n->rdma), known(n->netdev), topo_link_name(n->link),
            n->speed == 0 ? "unknown" : speed_words(n->speed, speed), topo_state_name(n->state), rail, numa, known(n->place.pci));
    if (pcie_is_slower(n)) fprintf(to, ", PCIe link of %s", speed_words(n->place.pcie, speed));
    putc('\n', to);
  }
  print_flow(to, m);
}

static void print_gpus(FILE *to, const struct topo_machine *m) {
  char numa[16];
  int wide = 4;
  if (m->n_gpus == 0) return;
  for (uint32_t i = 0; i < m->n_gpus; i++) wide = MAX_OF(wide, (int)strlen(m->gpus[i].name));
  fprintf(to, "\n%-6s %-*s %4s  %s\n", "", wide, "name", "NUMA", "PCI");
  for (uint32_t i = 0; i < m->n_gpus; i++) {
    const struct topo_gpu *g = &m->gpus[i];
    char name[16];
    (void)snprintf(name, sizeof name, "GPU%u", g->number);
    numa_text(m, g->place.numa, numa, sizeof numa);
    fprintf(to, "%-6s %-*s %4s  %s\n", name, wide, known(g->name), numa, known(g->place.pci));
  }
}

/* ---- distances --------------------------------------------------------------------------------------------------------------------------
 */

/* GPUs, then NICs. */
static const struct topo_place *device_place(const struct topo_machine *m, uint32_t i) {
  return i < m->n_gpus ? &m->gpus[i].place : &m->nics[i - m->n_gpus].place;
}

static void device_name(const struct topo_machine *m, uint32_t i, char buf[16]) {
  if (i < m->n_gpus) {
    (void)snprintf(buf, 16, "GPU%u", m->gpus[i].number);
  } else {
    (void)snprintf(buf, 16, "NIC%u", i - m->n_gpus);
  }
}

static void print_legend(FILE *to, const uint8_t seen[TOPO_DISTANCE_COUNT]) {
  static const char *const meaning[TOPO_DISTANCE_COUNT] = {"one PCIe switch at most",         "several PCIe switches, no host bridge",
                                                           "a PCIe host bridge (the CPU)",    "host bridges of one NUMA node",
                                                           "the link between the NUMA nodes", "unknown"};
  for (unsigned d = 0; d < TOPO_DISTANCE_COUNT; d++) {
    if (seen[d]) fprintf(to, "  %-5s %s\n", topo_distance_name((enum topo_distance)d), meaning[d]);
  }
}

static void print_distances(FILE *to, const struct topo_machine *m) {
  uint32_t n = m->n_gpus + m->n_nics;
  uint8_t seen[TOPO_DISTANCE_COUNT] = {0};
  char name[16];
  if (n == 0 || (n == 1 && m->n_numa < 2)) return;
  fprintf(to, "\n%-7s", "");
  for (uint32_t i = 0; i < n; i++) {
    device_name(m, i, name);
    fprintf(to, "%-7s", name);
  }
  for (uint32_t i = 0; i < m->n_numa; i++) {
    (void)snprintf(name, sizeof name, "node%u", m->numa[i].number);
    fprintf(to, i + 1 < m->n_numa ? "%-7s" : "%s", name);
  }
  putc('\n', to);
  for (uint32_t i = 0; i < n; i++) {
    device_name(m, i, name);
    fprintf(to, "%-7s", name);
    for (uint32_t j = 0; j < n + m->n_numa; j++) {
      enum topo_distance d = j < n ? topo_distance(device_place(m, i), device_place(m, j)) : topo_distance_numa(device_place(m, i), j - n);
      if (i != j) seen[d] = 1;
      fprintf(to, j + 1 < n + m->n_numa ? "%-7s" : "%s", i == j ? "X" : topo_distance_name(d));
    }
    putc('\n', to);
  }
  print_legend(to, seen);
}

/* ---- pins -------------------------------------------------------------------------------------------------------------------------------
 */

/* All reactors are not pinned, for the same reason. */
static int all_for_one_reason(const struct machine *m) {
  for (uint32_t i = 0; i < m->n_pins; i++) {
    if (m->pins[i].place.core >= 0 || strcmp(m->pins[i].place.note, m->pins[0].place.note) != 0) return 0;
  }
  return m->n_pins > 0;
}

static void print_pins(FILE *to, const struct machine *m, const char *pin) {
  char text[PIN_TEXT_MAX];
  fprintf(to, "\nPinning (AGG_PIN=%s) of %u worker%s with %u reactor%s%s:\n", pin, m->workers, plural(m->workers), m->reactors,
          plural(m->reactors), m->workers > 1 ? " each" : "");
  if (m->no_pins[0] != '\0') {
    fprintf(to, "  %s\n", m->no_pins);
  } else if (all_for_one_reason(m)) {
    fprintf(to, "  %s\n", pin_text(&m->pins[0].place, text));
  } else {
    for (uint32_t i = 0; i < m->n_pins; i++) {
      const struct pin_of *p = &m->pins[i];
      if (m->workers > 1) fprintf(to, "  local rank %u,", p->local_rank);
      fprintf(to, m->workers > 1 ? " reactor %u " : "  reactor %u ", p->reactor);
      fprintf(to, "%s\n", pin_text(&p->place, text));
    }
  }
}

void machine_print(FILE *to, const struct machine *m, const char *pin) {
  const struct topo_machine *machine = topo_machine_of(&m->topo, m->host);
  print_head(to, m, machine);
  print_numa(to, machine);
  print_nics(to, machine);
  print_gpus(to, machine);
  print_distances(to, machine);
  print_pins(to, m, pin);
  if (m->topo.n_notes > 0) putc('\n', to);
  for (uint32_t i = 0; i < m->topo.n_notes; i++) {
    fputs("note: ", to);
    print_wrapped(to, m->topo.notes[i], 6, 6, WIDTH);
  }
}
