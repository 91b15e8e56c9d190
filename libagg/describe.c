/* Collects what the planner wants to know of this process: what its transports say, as far as the machine's PCIe links let it. Measures
 * nothing itself. */
#include "describe.h"

#include <sched.h>
#include <string.h>

#include "base/util.h"
#include "topology/discover.h"
#include "topology/pcie.h"

/* Of the transport that lanes to other hosts take: the best that leaves the host. */
static unsigned read_ports(const struct reactor *reactor, struct tp_port ports[CONTROL_RAILS_MAX]) {
  struct plane_tp tps[PLANE_TPS_MAX];
  unsigned n = reactor_tps(reactor, tps), found = 0;
  for (unsigned i = 0; i < n && found == 0; i++) found = tps[i].ops->ports(tps[i].tp, ports, CONTROL_RAILS_MAX);
  return MIN_OF(found, (unsigned)CONTROL_RAILS_MAX);
}

void describe_here(struct topo *here, const struct reactor *reactor, const struct log *log) {
  struct tp_port ports[CONTROL_RAILS_MAX];
  agg_error_t err = {0};
  int known = 0;
  topo_init(here);
  for (unsigned n = read_ports(reactor, ports), i = 0; i < n; i++) known |= ports[i].bytes_per_s != 0;
  if (known && discover_host(&(struct discover_options){0}, here, &err) != AGG_OK)
    LOG_WARN(log, "what PCIe lets through is not known: %s", err.text);
}

/* TOPO_NONE: the machine has none of that name. */
static uint32_t find_nic(const struct topo_machine *machine, const char *name) {
  for (uint32_t i = 0; i < machine->n_nics; i++) {
    if (strcmp(machine->nics[i].rdma, name) == 0 || strcmp(machine->nics[i].netdev, name) == 0) return i;
  }
  return TOPO_NONE;
}

void describe_limit(struct control_node *node, const struct topo_machine *machine) {
  double want[TOPO_DEVICES_MAX] = {0}, sum = 0;
  for (uint32_t i = 0; i < node->n_ports; i++) {
    uint32_t nic = find_nic(machine, node->ports[i].name);
    double alone[TOPO_DEVICES_MAX] = {0};
    if (nic == TOPO_NONE) continue;
    alone[nic] = (double)node->ports[i].bytes_per_s;
    want[nic] = pcie_flow(machine, alone);
    sum += want[nic];
  }
  if (sum <= 0) return;
  double part = pcie_flow(machine, want) / sum;
  for (uint32_t i = 0; i < node->n_ports; i++) {
    struct control_port *port = &node->ports[i];
    uint32_t nic = find_nic(machine, port->name);
    uint64_t share = nic != TOPO_NONE ? (uint64_t)(want[nic] * part) : port->bytes_per_s;
    if (share >= port->bytes_per_s) continue;
    port->bytes_per_s = share;
    port->by_pcie = 1;
  }
}

static void describe_ports(struct control_node *node, const struct reactor *reactor, const struct topo *here) {
  struct tp_port ports[CONTROL_RAILS_MAX];
  node->n_ports = read_ports(reactor, ports);
  for (uint32_t i = 0; i < node->n_ports; i++) {
    str_copy(node->ports[i].name, sizeof node->ports[i].name, ports[i].name);
    node->ports[i].bytes_per_s = ports[i].bytes_per_s;
  }
  if (here->n_hosts > 0) describe_limit(node, topo_machine_of(here, 0));
}

void describe_node(struct control_node *node, const struct reactor *reactor, const struct topo *here, const struct calibration *calibration,
                   uint64_t memory_limit) {
  cpu_set_t set;
  node->rails = MIN_OF(reactor_rails(reactor), (uint32_t)CONTROL_RAILS_MAX);
  describe_ports(node, reactor, here);
  node->sum_bytes_per_s = calibration->sum_bytes_per_s;
  node->copy_bytes_per_s = calibration->copy_bytes_per_s;
  node->cores = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 0;
  node->memory_limit = memory_limit;
}
