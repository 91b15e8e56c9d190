/* The fabric of a described cluster. Guesses nothing: what the description does not say stays unknown in the fabric. */
#include "topology/fabric_topo.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/pcie.h"

struct making {
  const struct topo *t;
  struct fabric f;
  uint32_t *of_switch; /* switch -> its link, 0: none yet, or a top, which is the core */
  uint32_t *of_host;   /* host -> its link */
};

/* The link of a switch, after those above it. A top switch is the core: nothing is above it to be shared. */
static int add_switch(struct making *m, uint32_t at, uint32_t *link, agg_error_t *err) {
  const struct topo_switch *s = &m->t->switches[at];
  uint32_t parent = FABRIC_CORE;
  *link = m->of_switch[at];
  if (s->parent == TOPO_NONE || *link != 0) return AGG_OK;
  int rc = add_switch(m, s->parent, &parent, err);
  if (rc != AGG_OK) return rc;
  double rate = s->up == 0 || s->down == 0 ? FABRIC_UNKNOWN : (double)MIN_OF(s->up, s->down);
  rc = fabric_add_link(&m->f, FABRIC_LINK_SWITCH, parent, s->name, rate, &m->of_switch[at], err);
  *link = m->of_switch[at];
  return rc;
}

static int rdma_is_there(const struct topo_machine *machine) {
  for (uint32_t i = 0; i < machine->n_nics; i++) {
    if (machine->nics[i].rdma[0] != '\0' && machine->nics[i].state != TOPO_DOWN) return 1;
  }
  return 0;
}

int fabric_topo_carries(const struct topo_machine *machine, const struct topo_nic *nic) {
  return nic->state != TOPO_DOWN && (nic->rdma[0] != '\0' || !rdma_is_there(machine));
}

struct fabric_topo_rate fabric_topo_speed(const struct topo_machine *machine) {
  static const struct fabric_topo_rate unknown = {.bytes_per_s = FABRIC_UNKNOWN};
  double want[TOPO_DEVICES_MAX] = {0}, sum = 0;
  for (uint32_t i = 0; i < machine->n_nics; i++) {
    if (!fabric_topo_carries(machine, &machine->nics[i])) continue;
    want[i] = machine->nics[i].speed != 0 ? (double)machine->nics[i].speed : INFINITY;
    sum += want[i];
  }
  if (sum <= 0) return unknown;
  double flow = pcie_flow(machine, want);
  if (isinf(sum)) return (struct fabric_topo_rate){.bytes_per_s = FABRIC_UNKNOWN, .pcie_bytes_per_s = isinf(flow) ? 0 : flow};
  return (struct fabric_topo_rate){.bytes_per_s = flow, .by_pcie = flow < sum};
}

static uint32_t count_rails(const struct topo_machine *machine) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < machine->n_nics; i++) n += (uint32_t)fabric_topo_carries(machine, &machine->nics[i]);
  return n;
}

static int add_host(struct making *m, uint32_t at, agg_error_t *err) {
  const struct topo_host *h = &m->t->hosts[at];
  const struct topo_machine *machine = topo_machine_of(m->t, at);
  uint32_t parent = FABRIC_CORE;
  struct fabric_topo_rate rate = fabric_topo_speed(machine);
  int rc = h->on != TOPO_NONE ? add_switch(m, h->on, &parent, err) : AGG_OK;
  if (rc == AGG_OK) rc = fabric_add_link(&m->f, FABRIC_LINK_HOST, parent, h->name, rate.bytes_per_s, &m->of_host[at], err);
  if (rc != AGG_OK) return rc;
  m->f.link[m->of_host[at]].by_pcie = rate.by_pcie;
  m->f.link[m->of_host[at]].pcie_bytes_per_s = rate.pcie_bytes_per_s;
  for (uint32_t i = 0; i < machine->n_numa; i++) m->f.link[m->of_host[at]].cores += machine->numa[i].n_cores;
  m->f.rails = MAX_OF(m->f.rails, count_rails(machine));
  if (!rdma_is_there(machine)) m->f.transport = FABRIC_TCP;
  return AGG_OK;
}

static int add_nodes(struct making *m, int servers, agg_error_t *err) {
  int rc = AGG_OK;
  for (uint32_t at = 0; at < m->t->n_hosts; at++) {
    uint32_t n = servers ? m->t->hosts[at].servers : m->t->hosts[at].workers;
    for (uint32_t i = 0; rc == AGG_OK && i < n; i++) rc = fabric_add_node(&m->f, servers, m->of_host[at], err);
  }
  return rc;
}

int fabric_from_topo(struct fabric *f, const struct topo *t, agg_error_t *err) {
  struct making m = {.t = t, .of_switch = calloc(t->n_switches + 1u, sizeof *m.of_switch)};
  m.of_host = calloc(t->n_hosts + 1u, sizeof *m.of_host);
  int rc = m.of_switch == NULL || m.of_host == NULL ? err_set(err, AGG_ENOMEM, "fabric: no memory for %u hosts", t->n_hosts)
                                                    : fabric_init(&m.f, err);
  m.f.transport = FABRIC_VERBS;
  for (uint32_t at = 0; rc == AGG_OK && at < t->n_hosts; at++) {
    if (t->hosts[at].workers != 0 || t->hosts[at].servers != 0) rc = add_host(&m, at, err);
  }
  if (rc == AGG_OK) rc = add_nodes(&m, 0, err);
  if (rc == AGG_OK) rc = add_nodes(&m, 1, err);
  if (rc == AGG_OK && m.f.workers == 0) rc = err_set(err, AGG_EINVAL, "the description has no worker: give a host \"workers\"");
  free(m.of_host);
  free(m.of_switch);
  if (rc != AGG_OK) {
    fabric_fini(&m.f);
    return rc;
  }
  *f = m.f;
  return AGG_OK;
}
