/* What the lines of the text form may say: the keys of each kind of line, and what their values mean. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/topo_parser.h"

const char *topo_kind_name(unsigned kind) {
  static const char *const names[KIND_COUNT] = {"switch", "host", "numa", "nic", "gpu", "bridge"};
  return names[kind];
}

/* ---- values: each sets what its key means. -1: the value is none ------------------------------------------------------------------- */

static int is_unknown(const char *v) { return strcmp(v, "unknown") == 0; }

int topo_take_number(const char *v, uint32_t max, uint32_t *out) {
  uint64_t value;
  if (parse_u64(v, max, &value) != 0) return -1;
  *out = (uint32_t)value;
  return 0;
}

static int take_reference(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return topo_name_ok(v) && str_copy(p->reference, sizeof p->reference, v) ? 0 : -1;
}

static int take_speed(const char *v, uint64_t *speed) {
  *speed = 0;
  return is_unknown(v) ? 0 : topo_speed_parse(v, speed);
}

/* "400G" each way, or "400G/200G": up, down. */
static int set_uplink(struct parser *p, enum kind kind, const char *v) {
  char up[80];
  (void)kind;
  if (!str_copy(up, sizeof up, v)) return -1;
  char *slash = strstr(up, "/s") == NULL ? strchr(up, '/') : NULL; /* of "400Gbit/s" it is none */
  if (slash != NULL) *slash = '\0';
  p->uplink_given = 1;
  if (take_speed(up, &p->sw.up) != 0) return -1;
  p->sw.down = p->sw.up;
  return slash != NULL ? take_speed(slash + 1, &p->sw.down) : 0;
}

static int set_workers(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return topo_take_number(v, TOPO_NODES_MAX, &p->host.workers);
}

static int set_servers(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return topo_take_number(v, TOPO_NODES_MAX, &p->host.servers);
}

static int set_memory(struct parser *p, enum kind kind, const char *v) {
  uint64_t *memory = kind == KIND_HOST ? &p->m.memory : &numa_of(p)->memory;
  return is_unknown(v) ? 0 : topo_memory_parse(v, memory);
}

static int set_cpulist(const char *v, char list[TOPO_CPULIST_CAP], uint32_t *count) {
  struct topo_cpus cpus;
  if (is_unknown(v)) return 0;
  if (topo_cpus_parse(v, &cpus) != 0) return -1;
  *count = topo_cpus_count(&cpus);
  return topo_cpus_text(&cpus, list);
}

static int set_cores(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return set_cpulist(v, numa_of(p)->cores, &numa_of(p)->n_cores);
}

static int set_cpus(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return set_cpulist(v, numa_of(p)->cpus, &numa_of(p)->n_cpus);
}

static int set_netdev(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  if (is_unknown(v)) return 0;
  return topo_netdev_ok(v) && str_copy(nic_of(p)->netdev, sizeof nic_of(p)->netdev, v) ? 0 : -1;
}

static int take_name(const char *v, const char *(*name)(unsigned), unsigned count, uint8_t *out) {
  for (unsigned i = 0; i < count; i++) {
    if (strcmp(v, name(i)) == 0) return *out = (uint8_t)i, 0;
  }
  return -1;
}

static int set_link(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return take_name(v, topo_link_name, TOPO_LINK_COUNT, &nic_of(p)->link);
}

static int set_state(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return take_name(v, topo_state_name, TOPO_STATE_COUNT, &nic_of(p)->state);
}

static int set_speed(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return take_speed(v, &nic_of(p)->speed);
}

static int set_rail(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return is_unknown(v) ? 0 : topo_take_number(v, TOPO_NUMBER_MAX, &nic_of(p)->rail);
}

static int set_gpu_name(struct parser *p, enum kind kind, const char *v) {
  (void)kind;
  return topo_name_ok(v) && str_copy(gpu_of(p)->name, sizeof gpu_of(p)->name, v) ? 0 : -1;
}

/* The number for now; close_block looks it up. */
static int set_numa(struct parser *p, enum kind kind, const char *v) {
  return is_unknown(v) ? 0 : topo_take_number(v, TOPO_NUMBER_MAX, &place_of(p, kind)->numa);
}

static int set_pci(struct parser *p, enum kind kind, const char *v) {
  struct topo_place *place = place_of(p, kind);
  if (is_unknown(v)) return 0;
  return topo_pci_ok(v) && str_copy(place->pci, sizeof place->pci, v) ? 0 : -1;
}

static int set_path(struct parser *p, enum kind kind, const char *v) {
  struct topo_place *place = place_of(p, kind);
  if (is_unknown(v)) return 0;
  return topo_path_ok(v) && str_copy(place->path, sizeof place->path, v) ? 0 : -1;
}

static int set_pcie(struct parser *p, enum kind kind, const char *v) {
  return take_speed(v, kind == KIND_BRIDGE ? &bridge_of(p)->pcie : &place_of(p, kind)->pcie);
}

#define SPEED "a speed in bit/s from 1M to 100T, like 100G or 2.5G, or unknown"
#define MEMORY "bytes from 1M to 1P, like 512G, or unknown"
#define CPULIST "a list of CPU numbers below 8192, like 0-31,64-95, or unknown"
#define ON(kind) (1u << (kind))

static const struct key {
  const char *name;
  unsigned kinds; /* on the lines of which it may stand */
  int (*set)(struct parser *p, enum kind kind, const char *v);
  const char *expect;
} KEYS[] = {
    {"parent", ON(KIND_SWITCH), take_reference, "the name of the switch above"},
    {"uplink", ON(KIND_SWITCH), set_uplink, SPEED " (each way; 400G/200G is up and down)"},
    {"workers", ON(KIND_HOST), set_workers, "a number of worker processes up to 65536"},
    {"servers", ON(KIND_HOST), set_servers, "a number of server processes up to 65536"},
    {"switch", ON(KIND_HOST), take_reference, "the name of the switch that the host hangs on"},
    {"memory", ON(KIND_HOST) | ON(KIND_NUMA), set_memory, MEMORY},
    {"cores", ON(KIND_NUMA), set_cores, CPULIST},
    {"cpus", ON(KIND_NUMA), set_cpus, CPULIST},
    {"netdev", ON(KIND_NIC), set_netdev, "a network device like eth0, of 15 characters at most"},
    {"link", ON(KIND_NIC), set_link, "ethernet, roce, infiniband, iwarp or unknown"},
    {"speed", ON(KIND_NIC), set_speed, SPEED},
    {"state", ON(KIND_NIC), set_state, "up, down or unknown"},
    {"rail", ON(KIND_NIC), set_rail, "a number up to 65535, or unknown"},
    {"name", ON(KIND_GPU), set_gpu_name, "a name of letters, digits and . _ -"},
    {"numa", ON(KIND_NIC) | ON(KIND_GPU), set_numa, "the number of one of the host's NUMA nodes, or unknown"},
    {"pci", ON(KIND_NIC) | ON(KIND_GPU), set_pci, "a PCI address like 0000:18:00.0, or unknown"},
    {"path", ON(KIND_NIC) | ON(KIND_GPU), set_path,
     "the host bridge and at most 12 bridges, from the top, like pci0000:15/0000:15:01.0, or unknown"},
    {"pcie", ON(KIND_NIC) | ON(KIND_GPU) | ON(KIND_BRIDGE), set_pcie, SPEED},
};

/* "cores, cpus and memory" */
static const char *keys_of(enum kind kind, char *buf, size_t cap) {
  size_t used = 0, left = 0;
  for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) left += (KEYS[i].kinds & ON(kind)) != 0;
  for (size_t i = 0; i < ARRAY_LEN(KEYS) && used < cap; i++) {
    if ((KEYS[i].kinds & ON(kind)) == 0) continue;
    left--;
    used += (size_t)snprintf(buf + used, cap - used, "%s%s", KEYS[i].name, left > 1 ? ", " : left == 1 ? " and " : "");
  }
  return buf;
}

/* ---- words of a line --------------------------------------------------------------------------------------------------------------- */

char *topo_next_word(char **at) {
  char *word = *at + strspn(*at, " ");
  if (*word == '\0') return NULL;
  char *end = word + strcspn(word, " ");
  *at = end + (*end != '\0');
  *end = '\0';
  return word;
}

static int set_one(struct parser *p, enum kind kind, char *word, unsigned *seen) {
  char known[160];
  char *equals = strchr(word, '=');
  if (equals == NULL) {
    return FAIL(p, "\"%.60s\": expected key=value; a %s has %s", word, topo_kind_name(kind), keys_of(kind, known, sizeof known));
  }
  *equals = '\0';
  for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
    if (strcmp(KEYS[i].name, word) != 0 || (KEYS[i].kinds & ON(kind)) == 0) continue;
    if (*seen & 1u << i) return FAIL(p, "%s is given twice: remove one of them", word);
    *seen |= 1u << i;
    if (KEYS[i].set(p, kind, equals + 1) == 0) return AGG_OK;
    return FAIL(p, "%s=%.60s: expected %s", word, equals + 1, KEYS[i].expect);
  }
  return FAIL(p, "\"%.60s\" is not known: a %s has %s", word, topo_kind_name(kind), keys_of(kind, known, sizeof known));
}

int topo_keys_read(struct parser *p, enum kind kind, char *rest) {
  unsigned seen = 0;
  _Static_assert(ARRAY_LEN(KEYS) <= 32, "a bit for each");
  for (char *word; (word = topo_next_word(&rest)) != NULL;) {
    int rc = set_one(p, kind, word, &seen);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}
