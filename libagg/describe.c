/* Collects what the planner wants to know of this process. Measures nothing itself. */
#include "describe.h"

#include <sched.h>
#include <string.h>

#include "base/util.h"

/* Of the transport that lanes to other hosts take: the best that leaves the host. */
static void describe_ports(struct control_node *node, const struct reactor *reactor) {
  struct plane_tp tps[PLANE_TPS_MAX];
  struct tp_port ports[CONTROL_RAILS_MAX];
  unsigned n = reactor_tps(reactor, tps), found = 0;
  for (unsigned i = 0; i < n && found == 0; i++) found = tps[i].ops->ports(tps[i].tp, ports, ARRAY_LEN(ports));
  node->n_ports = MIN_OF(found, (unsigned)ARRAY_LEN(ports));
  for (uint32_t i = 0; i < node->n_ports; i++) {
    str_copy(node->ports[i].name, sizeof node->ports[i].name, ports[i].name);
    node->ports[i].bytes_per_s = ports[i].bytes_per_s;
  }
}

void describe_node(struct control_node *node, const struct reactor *reactor, const struct calibration *calibration, uint64_t memory_limit) {
  cpu_set_t set;
  node->rails = MIN_OF(reactor_rails(reactor), (uint32_t)CONTROL_RAILS_MAX);
  describe_ports(node, reactor);
  node->sum_bytes_per_s = calibration->sum_bytes_per_s;
  node->copy_bytes_per_s = calibration->copy_bytes_per_s;
  node->cores = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 0;
  node->memory_limit = memory_limit;
}
