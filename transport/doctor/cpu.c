/* Checks whether this process runs near its NICs, and at full speed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/internal.h"

#define CPUS_MAX 4096
#define LIST_CAP 1024

/* The cpus that this process may use, as a list; "" unknown. */
static void allowed_cpus(const struct doctor *d, char list[LIST_CAP]) {
  char status[8192];
  list[0] = '\0';
  if (tree_bytes(d, status, sizeof(status), "/proc/self/status") > 0) text_field(status, "Cpus_allowed_list:", list, LIST_CAP);
}

/* The n-th number of "10 21 31"; -1: none. */
static long nth_distance(const char *line, unsigned n) {
  char *end;
  long value = -1;
  for (unsigned i = 0; i <= n; i++, line = end) {
    value = strtol(line, &end, 10);
    if (end == line) return -1;
  }
  return value;
}

/* Nodes that the allowed cpus are on, each with its distance from the NIC's. The distance's place in the line is the node's among the
 * online ones, in order. */
static void say_nodes(const struct doctor *d, struct doctor_finding *f, int64_t nic_node, const char *allowed) {
  char names[64][NAME_CAP], cpus[LIST_CAP], distances[LIST_CAP];
  unsigned place = 0, said = 0;
  uint64_t node;
  int n = tree_list(d, names, ARRAY_LEN(names), "/sys/devices/system/node");
  tree_line(d, distances, sizeof(distances), "/sys/devices/system/node/node%lld/distance", (long long)nic_node);
  for (int i = 0; i < n; i++) {
    if (strncmp(names[i], "node", 4) != 0 || parse_u64(names[i] + 4, 4095, &node) != 0) continue;
    long distance = nth_distance(distances, place++);
    if (tree_line(d, cpus, sizeof(cpus), "/sys/devices/system/node/%s/cpulist", names[i]) <= 0 || !cpu_lists_meet(cpus, allowed)) continue;
    if (said++ == 8) {
      say(f->seen, ", ...");
      return;
    }
    say(f->seen, "%s %llu", said == 1 ? " (node" : ",", (unsigned long long)node);
    if (distance >= 0) say(f->seen, " at distance %ld", distance);
  }
  if (said > 0) say(f->seen, ")");
}

static int one_node_only(const struct doctor *d) {
  return tree_exists(d, "/sys/devices/system/node/node0") && !tree_exists(d, "/sys/devices/system/node/node1");
}

static void check_nic(struct doctor *d, const char *check, const struct device *device, const char *allowed) {
  int64_t node;
  char local[LIST_CAP];
  const char *name = device->name;
  if (tree_number(d, &node, "/sys/class/infiniband/%s/device/numa_node", name) != 0 || node < 0) {
    int one = one_node_only(d);
    say(finding(d, check, name, one ? DOCTOR_PASS : DOCTOR_UNKNOWN)->seen,
        one ? "this machine has one NUMA node" : "the machine does not tell which NUMA node it is on%s",
        device->pci[0] != '\0' ? "" : " (not a PCI device)");
    return;
  }
  if (tree_line(d, local, sizeof(local), "/sys/devices/system/node/node%lld/cpulist", (long long)node) <= 0 &&
      tree_line(d, local, sizeof(local), "/sys/class/infiniband/%s/device/local_cpulist", name) <= 0) {
    say(finding(d, check, name, DOCTOR_UNKNOWN)->seen, "it is on NUMA node %lld, whose cores are not told", (long long)node);
    return;
  }
  if (allowed[0] == '\0') {
    say(finding(d, check, name, DOCTOR_UNKNOWN)->seen, "it is on NUMA node %lld; which cores this process may use is not told",
        (long long)node);
    return;
  }
  int near = cpu_lists_meet(local, allowed);
  struct doctor_finding *f = finding(d, check, name, near ? DOCTOR_PASS : DOCTOR_WARN);
  say(f->seen, "it is on NUMA node %lld (cores %.100s); this process may use cores %.100s", (long long)node, local, allowed);
  say_nodes(d, f, node, allowed);
  if (!near)
    say(f->todo,
        "run on the NIC's node (taskset -c %.100s, numactl -N %lld, or the binding of the job's launcher), or use a NIC that is near",
        local, (long long)node);
}

void check_numa(struct doctor *d, const char *check) {
  char allowed[LIST_CAP];
  allowed_cpus(d, allowed);
  if (d->n_devices == 0) not_applicable(d, check, "no RDMA device");
  for (unsigned i = 0; i < d->n_devices; i++) check_nic(d, check, &d->devices[i], allowed);
}

void check_governor(struct doctor *d, const char *check) {
  char allowed[LIST_CAP], governor[NAME_CAP], other[NAME_CAP] = "";
  unsigned asked = 0, slow = 0, missing = 0;
  allowed_cpus(d, allowed);
  for (unsigned cpu = 0; cpu < CPUS_MAX && missing < 64; cpu++) {
    if (allowed[0] != '\0' && !cpu_in_list(allowed, cpu)) continue;
    if (tree_line(d, governor, sizeof(governor), "/sys/devices/system/cpu/cpu%u/cpufreq/scaling_governor", cpu) <= 0) {
      missing++;
      continue;
    }
    asked++;
    if (strcmp(governor, "performance") == 0) continue;
    slow++;
    str_copy(other, sizeof(other), governor);
  }
  if (asked == 0) {
    say(finding(d, check, "", DOCTOR_UNKNOWN)->seen, "no cpufreq here: a virtual machine, or the firmware decides");
    return;
  }
  struct doctor_finding *f = finding(d, check, "", slow > 0 ? DOCTOR_WARN : DOCTOR_PASS);
  if (slow == 0) {
    say(f->seen, "performance on all %u cores", asked);
  } else {
    say(f->seen, "%s on %u of %u cores", other, slow, asked);
    say(f->todo,
        "cpupower frequency-set -g performance (or tuned-adm profile latency-performance): a core that must first speed up adds to every "
        "latency");
  }
}
