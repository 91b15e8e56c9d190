/* Proves a description before it is used, whoever made it. Trusts no index. Changes nothing. */
#include <stdlib.h>

#include "base/err.h"
#include "topology/topo_internal.h"

#define FAULT(s, h, ...) (*fault = (struct topo_fault){.sw = (s), .host = (h)}, err_set(err, AGG_EINVAL, __VA_ARGS__))

static int speed_ok(uint64_t speed) { return speed == 0 || (speed >= TOPO_SPEED_MIN && speed <= TOPO_SPEED_MAX); }

/* ---- the tree of switches ---------------------------------------------------------------------------------------------------------- */

#define ON_THE_WAY (TOPO_NONE - 1)

/* The circle that `start` is in, as "a -> b -> a", or its beginning. */
static int say_cycle(const struct topo *t, uint32_t start, struct topo_fault *fault, agg_error_t *err) {
  const struct topo_switch *s = t->switches;
  uint32_t b = s[start].parent, c = s[b].parent;
  if (b == start)
    return FAULT(start, TOPO_NONE, "switch %s is its own parent: leave parent out where a switch is at the top", s[start].name);
  return FAULT(start, TOPO_NONE, "switch %s is above itself (%s -> %s -> %s%s): one of them must be at the top, without parent",
               s[start].name, s[start].name, s[b].name, s[c].name, c == start ? "" : " -> ...");
}

/* top[i]: the switch without parent above switch i. Every switch is walked over once. */
static int find_tops(const struct topo *t, uint32_t *top, struct topo_fault *fault, agg_error_t *err) {
  for (uint32_t i = 0; i < t->n_switches; i++) {
    if (t->switches[i].parent != TOPO_NONE && t->switches[i].parent >= t->n_switches) {
      return FAULT(i, TOPO_NONE, "switch %s has the parent %u of %u switches", t->switches[i].name, t->switches[i].parent, t->n_switches);
    }
    top[i] = TOPO_NONE;
  }
  for (uint32_t i = 0; i < t->n_switches; i++) {
    uint32_t at = i;
    while (top[at] == TOPO_NONE && t->switches[at].parent != TOPO_NONE) {
      top[at] = ON_THE_WAY;
      at = t->switches[at].parent;
    }
    if (top[at] == ON_THE_WAY) return say_cycle(t, at, fault, err);
    uint32_t found = top[at] == TOPO_NONE ? at : top[at];
    top[at] = found;
    for (uint32_t s = i; top[s] == ON_THE_WAY; s = t->switches[s].parent) top[s] = found;
  }
  return AGG_OK;
}

static uint32_t *new_tops(const struct topo *t, agg_error_t *err) {
  uint32_t *top = malloc((t->n_switches + 1) * sizeof *top);
  if (top == NULL) err_set(err, AGG_ENOMEM, "no memory to check %u switches", t->n_switches);
  return top;
}

static int check_places(const struct topo *t, struct topo_fault *fault, agg_error_t *err) {
  for (uint32_t i = 0; i < t->n_hosts; i++) {
    const struct topo_host *h = &t->hosts[i];
    if (h->on == TOPO_NONE) return FAULT(TOPO_NONE, i, "host %s is on no switch: say which, switch=NAME", h->name);
    if (h->on >= t->n_switches) return FAULT(TOPO_NONE, i, "host %s is on switch %u of %u", h->name, h->on, t->n_switches);
  }
  return AGG_OK;
}

int topo_verify_tree(const struct topo *t, struct topo_fault *fault, agg_error_t *err) {
  *fault = (struct topo_fault){TOPO_NONE, TOPO_NONE};
  uint32_t *top = new_tops(t, err);
  if (top == NULL) return AGG_ENOMEM;
  int rc = find_tops(t, top, fault, err);
  if (rc == AGG_OK) rc = check_places(t, fault, err);
  free(top);
  return rc;
}

/* ---- hosts ------------------------------------------------------------------------------------------------------------------------- */

static int place_ok(const struct topo_machine *m, const struct topo_place *p) {
  return (p->numa == TOPO_NONE || p->numa < m->n_numa) && speed_ok(p->pcie) && (p->pci[0] == '\0' || topo_pci_ok(p->pci)) &&
         (p->path[0] == '\0' || (p->pci[0] != '\0' && topo_path_ok(p->path)));
}

static int nic_ok(const struct topo_machine *m, const struct topo_nic *n) {
  return place_ok(m, &n->place) && speed_ok(n->speed) && n->link < TOPO_LINK_COUNT && n->state < TOPO_STATE_COUNT &&
         (n->rdma[0] != '\0' || n->netdev[0] != '\0') && (n->rdma[0] == '\0' || topo_rdma_ok(n->rdma)) &&
         (n->netdev[0] == '\0' || topo_netdev_ok(n->netdev));
}

static int bridge_ok(const struct topo_bridge *b) { return topo_pci_ok(b->pci) && b->pcie != 0 && speed_ok(b->pcie); }

/* A mistyped address would leave a link without its limit and nobody would notice. */
static int bridge_is_used(const struct topo_machine *m, const char *pci) {
  for (uint32_t i = 0; i < m->n_nics; i++) {
    if (topo_path_has(m->nics[i].place.path, pci)) return 1;
  }
  for (uint32_t i = 0; i < m->n_gpus; i++) {
    if (topo_path_has(m->gpus[i].place.path, pci)) return 1;
  }
  return 0;
}

static int check_bridge(const struct topo_host *h, const struct topo_machine *m, uint32_t at, uint32_t host, struct topo_fault *fault,
                        agg_error_t *err) {
  const struct topo_bridge *b = &m->bridges[at];
  if (!bridge_ok(b)) return FAULT(TOPO_NONE, host, "host %s: the description of bridge %u is not valid", h->name, at);
  if (bridge_is_used(m, b->pci)) return AGG_OK;
  return FAULT(TOPO_NONE, host, "host %s: bridge %s is in the path of no nic or gpu: correct its address or theirs, or remove it", h->name,
               b->pci);
}

static int check_machine(const struct topo *t, uint32_t host, struct topo_fault *fault, agg_error_t *err) {
  const struct topo_host *h = &t->hosts[host];
  const struct topo_machine *m = &t->machines[h->machine];
  if (m->memory != 0 && (m->memory < TOPO_MEMORY_MIN || m->memory > TOPO_MEMORY_MAX)) {
    return FAULT(TOPO_NONE, host, "host %s: %llu bytes of memory cannot be meant", h->name, (unsigned long long)m->memory);
  }
  for (uint32_t i = 0; i < m->n_nics; i++) {
    if (!nic_ok(m, &m->nics[i])) return FAULT(TOPO_NONE, host, "host %s: the description of NIC %u is not valid", h->name, i);
  }
  for (uint32_t i = 0; i < m->n_gpus; i++) {
    if (!place_ok(m, &m->gpus[i].place)) return FAULT(TOPO_NONE, host, "host %s: the description of GPU %u is not valid", h->name, i);
  }
  for (uint32_t i = 0; i < m->n_bridges; i++) {
    int rc = check_bridge(h, m, i, host, fault, err);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}

/* Each machine once, for the first host that is built so: machines are kept in the order of their first hosts in what we write ourselves,
 * but nothing is built on that. */
static int check_machines(const struct topo *t, struct topo_fault *fault, agg_error_t *err) {
  unsigned char *seen = calloc(t->n_machines + 1, 1);
  if (seen == NULL) return err_set(err, AGG_ENOMEM, "no memory to check %u machines", t->n_machines);
  int rc = AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < t->n_hosts; i++) {
    uint32_t machine = t->hosts[i].machine;
    if (machine >= t->n_machines) {
      rc = FAULT(TOPO_NONE, i, "host %s is machine %u of %u", t->hosts[i].name, machine, t->n_machines);
    } else if (!seen[machine]) {
      seen[machine] = 1;
      rc = check_machine(t, i, fault, err);
    }
  }
  free(seen);
  return rc;
}

static int check_numbers(const struct topo *t, struct topo_fault *fault, agg_error_t *err) {
  uint64_t nodes = 0;
  for (uint32_t i = 0; i < t->n_hosts; i++) {
    nodes += (uint64_t)t->hosts[i].workers + t->hosts[i].servers;
    if (nodes > TOPO_NODES_MAX) return FAULT(TOPO_NONE, i, "more than %u workers and servers up to this host", TOPO_NODES_MAX);
  }
  for (uint32_t i = 0; i < t->n_switches; i++) {
    const struct topo_switch *s = &t->switches[i];
    if (!speed_ok(s->up) || !speed_ok(s->down)) return FAULT(i, TOPO_NONE, "switch %s: an uplink of this speed cannot be meant", s->name);
  }
  return AGG_OK;
}

/* Hosts without a worker or server may be anywhere: nothing is sent there. */
static int check_connected(const struct topo *t, const uint32_t *top, struct topo_fault *fault, agg_error_t *err) {
  uint32_t first = TOPO_NONE;
  for (uint32_t i = 0; i < t->n_hosts; i++) {
    const struct topo_host *h = &t->hosts[i];
    if (h->workers == 0 && h->servers == 0) continue;
    if (first == TOPO_NONE) first = i;
    uint32_t a = top[t->hosts[first].on], b = top[h->on];
    if (a != b) {
      return FAULT(b, i, "host %s is below switch %s and host %s below switch %s, and no switch is above both: give one of them parent=",
                   t->hosts[first].name, t->switches[a].name, h->name, t->switches[b].name);
    }
  }
  return AGG_OK;
}

int topo_verify(const struct topo *t, struct topo_fault *fault, agg_error_t *err) {
  *fault = (struct topo_fault){TOPO_NONE, TOPO_NONE};
  uint32_t *top = new_tops(t, err);
  if (top == NULL) return AGG_ENOMEM;
  int rc = find_tops(t, top, fault, err);
  if (rc == AGG_OK) rc = check_places(t, fault, err);
  if (rc == AGG_OK) rc = check_machines(t, fault, err);
  if (rc == AGG_OK) rc = check_numbers(t, fault, err);
  if (rc == AGG_OK) rc = check_connected(t, top, fault, err);
  if (rc == AGG_OK && t->n_hosts == 0) {
    rc = err_set(err, AGG_EINVAL, "no host is described: expected at least one line like \"host node1 workers=8\"");
  }
  free(top);
  return rc;
}

int topo_check(const struct topo *t, agg_error_t *err) {
  struct topo_fault fault;
  return topo_verify(t, &fault, err);
}
