/*
 * Reads hwloc's objects into plain data, from this machine or from an XML, which it gets as text, so that hwloc never takes something else
 * in its place. With an XML it runs in a process of its own (discover_apart.c). hwloc's only other user is bind.c, which acts on the
 * machine and describes nothing. What makes NICs of the devices is discover_nics.c.
 */
#include "topology/discover.h"

#include <hwloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/discover_internal.h"

/* ---- loading ----------------------------------------------------------------------------------------------------------------------- */

/* Those that would start a GPU driver's library in this process, what asks an X server, and libpciaccess, which wakes sleeping devices and
 * never frees its names: sysfs has what is needed of PCI. And what sends the calling thread, which is the program's, over all CPUs to ask
 * each of them: the kernel has said the same. */
static const char *const UNWANTED[] = {"cuda", "nvml", "opencl", "rsmi", "levelzero", "gl", "pci", "x86"};

static int new_topology(hwloc_topology_t *topology, agg_error_t *err) {
  if (hwloc_topology_init(topology) != 0) return err_set(err, AGG_ENOMEM, "hwloc cannot start");
  hwloc_topology_set_io_types_filter(*topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  hwloc_topology_set_type_filter(*topology, HWLOC_OBJ_BRIDGE, HWLOC_TYPE_FILTER_KEEP_ALL);
  for (size_t i = 0; i < ARRAY_LEN(UNWANTED); i++) {
    hwloc_topology_set_components(*topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, UNWANTED[i]); /* fails where there is none */
  }
  return AGG_OK;
}

static int load_live(hwloc_topology_t topology, struct seen *s, agg_error_t *err) {
  if (hwloc_topology_load(topology) != 0)
    return err_set(err, AGG_ESYS, "hwloc cannot look at this machine: lstopo shows whether it can at all");
  if (!hwloc_topology_is_thissystem(topology)) {
    topo_note(&s->t, "HWLOC_XMLFILE, HWLOC_SYNTHETIC or HWLOC_FSROOT is set: what hwloc describes is not this machine");
  }
  return AGG_OK;
}

static int load_xml(hwloc_topology_t topology, const struct discover_xml *xml, agg_error_t *err) {
  if (hwloc_topology_set_xmlbuffer(topology, xml->text, (int)xml->bytes + 1) == 0 && hwloc_topology_load(topology) == 0) return AGG_OK;
  return err_set(err, AGG_EINVAL, DISCOVER_XML_DAMAGED, xml->path);
}

/* ---- cores and memory -------------------------------------------------------------------------------------------------------------- */

static void cpus_from(hwloc_const_bitmap_t set, struct topo_cpus *cpus) {
  memset(cpus, 0, sizeof *cpus);
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0 && cpu < (int)TOPO_CPUS_MAX; cpu = hwloc_bitmap_next(set, cpu)) {
    topo_cpus_add(cpus, (uint32_t)cpu);
  }
}

/* For every core with a usable CPU in `set` the first of these; where no cores are known every CPU is one. */
static void cores_from(hwloc_topology_t topology, hwloc_const_bitmap_t set, struct topo_cpus *cores) {
  hwloc_obj_t core = NULL;
  memset(cores, 0, sizeof *cores);
  if (hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) <= 0) {
    cpus_from(set, cores);
    return;
  }
  while ((core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)) != NULL) {
    for (int cpu = hwloc_bitmap_first(core->cpuset); cpu >= 0; cpu = hwloc_bitmap_next(core->cpuset, cpu)) {
      if (!hwloc_bitmap_isset(set, (unsigned)cpu)) continue;
      if (cpu < (int)TOPO_CPUS_MAX) topo_cpus_add(cores, (uint32_t)cpu);
      break;
    }
  }
}

static uint64_t memory_or_unknown(uint64_t bytes) { return bytes >= TOPO_MEMORY_MIN && bytes <= TOPO_MEMORY_MAX ? bytes : 0; }

/* `left` are the CPUs that may be used and are in no earlier node: memory of several kinds can be near the same cores. */
static int add_numa(hwloc_topology_t topology, hwloc_obj_t node, hwloc_bitmap_t left, struct seen *s, agg_error_t *err) {
  struct topo_cpus cpus, cores;
  int rc = topo_grow(&s->m.numa, s->m.n_numa, &s->cap_numa, sizeof *s->m.numa, err);
  if (rc != AGG_OK) return rc;
  hwloc_bitmap_t mine = hwloc_bitmap_alloc();
  if (mine == NULL || hwloc_bitmap_and(mine, node->cpuset, left) != 0 || hwloc_bitmap_andnot(left, left, mine) != 0) {
    hwloc_bitmap_free(mine);
    return err_set(err, AGG_ENOMEM, "no memory to look at NUMA node %u", node->os_index);
  }
  struct topo_numa *n = &s->m.numa[s->m.n_numa++];
  *n = (struct topo_numa){.number = node->os_index, .memory = memory_or_unknown(node->attr->numanode.local_memory)};
  cpus_from(mine, &cpus);
  cores_from(topology, mine, &cores);
  if (topo_cpus_text(&cpus, n->cpus) != 0 || topo_cpus_text(&cores, n->cores) != 0) {
    topo_note(&s->t, "NUMA node %u has more CPUs than can be listed: the last ones are left out", n->number);
    for (size_t i = 0; i < ARRAY_LEN(cores.bits); i++) cores.bits[i] &= cpus.bits[i];
    (void)topo_cpus_text(&cores, n->cores);
  }
  n->n_cpus = topo_cpus_count(&cpus);
  n->n_cores = topo_cpus_count(&cores);
  hwloc_bitmap_free(mine);
  return AGG_OK;
}

/* Less than the machine's where this process is bound to some of them. */
static hwloc_bitmap_t usable_cpus(hwloc_topology_t topology, int live, struct seen *s) {
  hwloc_bitmap_t usable = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology));
  hwloc_bitmap_t bound = hwloc_bitmap_alloc();
  if (usable != NULL && bound != NULL && live && hwloc_get_cpubind(topology, bound, HWLOC_CPUBIND_PROCESS) == 0 &&
      hwloc_bitmap_intersects(usable, bound) && !hwloc_bitmap_isincluded(usable, bound)) {
    int all = hwloc_bitmap_weight(usable);
    hwloc_bitmap_and(usable, usable, bound);
    topo_note(&s->t, "this process is bound to %d of %d CPUs: the others are left out", hwloc_bitmap_weight(usable), all);
  }
  hwloc_bitmap_free(bound);
  return usable;
}

static int read_numa(hwloc_topology_t topology, int live, struct seen *s, agg_error_t *err) {
  hwloc_bitmap_t left = usable_cpus(topology, live, s);
  if (left == NULL) return err_set(err, AGG_ENOMEM, "no memory to look at the machine's cores");
  int rc = AGG_OK;
  hwloc_obj_t node = NULL;
  while (rc == AGG_OK && (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != NULL) {
    if (node->os_index > TOPO_NUMBER_MAX || node->cpuset == NULL || node->attr == NULL) continue;
    if (s->m.n_numa == TOPO_DEVICES_MAX) {
      topo_note(&s->t, "more than %u NUMA nodes: the others are left out", TOPO_DEVICES_MAX);
      break;
    }
    rc = add_numa(topology, node, left, s, err);
  }
  hwloc_bitmap_free(left);
  if (rc != AGG_OK) return rc;
  s->m.memory = memory_or_unknown(hwloc_get_root_obj(topology)->total_memory);
  int packages = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PACKAGE);
  if (s->m.n_numa == 1 && packages > 1) {
    topo_note(&s->t, "%d sockets and one NUMA node: no NUMA information (a virtual machine?); one node with all cores is assumed",
              packages);
  }
  if (s->m.memory == 0) topo_note(&s->t, "the size of the memory is unknown");
  return AGG_OK;
}

/* ---- PCI --------------------------------------------------------------------------------------------------------------------------- */

static void pci_text(const struct hwloc_pcidev_attr_s *a, char buf[TOPO_PCI_CAP]) {
  char text[32];
  (void)snprintf(text, sizeof text, "%04x:%02x:%02x.%01x", a->domain, a->bus, a->dev, a->func & 7u);
  str_copy(buf, TOPO_PCI_CAP, text);
}

enum { CLASS_NETWORK = 0x02, CLASS_DISPLAY = 0x03, CLASS_ACCELERATOR = 0x12, CLASS_INFINIBAND = 0x0c06, CLASS_VGA = 0x0300 };
enum { VENDOR_NVIDIA = 0x10de, VENDOR_AMD = 0x1002, VENDOR_INTEL = 0x8086, VENDOR_REDHAT = 0x1b36, VENDOR_VIRTIO = 0x1af4 };

/* Whole Mbit/s, as a person would write it. 0: hwloc does not know it, or it is a link that QEMU makes up. */
static uint64_t link_speed(const struct hwloc_pcidev_attr_s *a) {
  const uint64_t mbit = 1000000 / 8;
  double mbits = round((double)a->linkspeed * 1e9 / (double)mbit);
  int known = mbits * (double)mbit >= (double)TOPO_SPEED_MIN && mbits * (double)mbit <= (double)TOPO_SPEED_MAX;
  return known && a->vendor_id != VENDOR_REDHAT && a->vendor_id != VENDOR_VIRTIO ? (uint64_t)mbits * mbit : 0;
}

/* The bridges above, from the host bridge down. "": they are not all known. */
static void find_path(struct seen *s, hwloc_obj_t device, const char *pci, char path[TOPO_PATH_CAP]) {
  hwloc_obj_t chain[TOPO_BRIDGES_MAX + 1];
  unsigned n = 0;
  size_t used = 0;
  hwloc_obj_t up = device->parent;
  for (; up != NULL && up->type == HWLOC_OBJ_BRIDGE && n < ARRAY_LEN(chain); up = up->parent) chain[n++] = up;
  path[0] = '\0';
  if (n == 0 || chain[n - 1]->attr->bridge.upstream_type != HWLOC_OBJ_BRIDGE_HOST) {
    if (n == ARRAY_LEN(chain)) topo_note(&s->t, "%s is below more than %u bridges: its PCI path is left out", pci, TOPO_BRIDGES_MAX);
    return;
  }
  while (n-- > 0) {
    const union hwloc_obj_attr_u *a = chain[n]->attr;
    char bridge[TOPO_PCI_CAP];
    if (a->bridge.upstream_type == HWLOC_OBJ_BRIDGE_HOST) {
      used = (size_t)snprintf(path, TOPO_PATH_CAP, "pci%04x:%02x", a->bridge.downstream.pci.domain, a->bridge.downstream.pci.secondary_bus);
    } else {
      pci_text(&a->bridge.upstream.pci, bridge);
      used += (size_t)snprintf(path + used, TOPO_PATH_CAP - used, "/%s", bridge);
    }
    if (used >= TOPO_PATH_CAP) break;
  }
  if (used >= TOPO_PATH_CAP || !topo_path_ok(path)) path[0] = '\0';
}

/* The only NUMA node near it; TOPO_NONE: it is near several. */
static uint32_t find_numa(hwloc_topology_t topology, const struct seen *s, hwloc_obj_t device) {
  hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology, device);
  if (s->m.n_numa == 1) return 0;
  if (near == NULL || near->nodeset == NULL || hwloc_bitmap_weight(near->nodeset) != 1) return TOPO_NONE;
  for (uint32_t i = 0; i < s->m.n_numa; i++) {
    if (hwloc_bitmap_isset(near->nodeset, s->m.numa[i].number)) return i;
  }
  return TOPO_NONE;
}

static void find_place(hwloc_topology_t topology, struct seen *s, hwloc_obj_t device, struct topo_place *place) {
  memset(place, 0, sizeof *place);
  pci_text(&device->attr->pcidev, place->pci);
  find_path(s, device, place->pci, place->path);
  place->numa = find_numa(topology, s, device);
  place->pcie = link_speed(&device->attr->pcidev);
}

/* One that computes: not the display of a server's board, nor what is built into an Intel CPU. */
static int is_gpu(const struct hwloc_pcidev_attr_s *a) {
  if (a->class_id >> 8 == CLASS_ACCELERATOR) return 1;
  if (a->class_id >> 8 != CLASS_DISPLAY) return 0;
  return a->vendor_id == VENDOR_NVIDIA || a->vendor_id == VENDOR_AMD || (a->vendor_id == VENDOR_INTEL && a->class_id != CLASS_VGA);
}

static int is_network(const struct hwloc_pcidev_attr_s *a) { return a->class_id >> 8 == CLASS_NETWORK || a->class_id == CLASS_INFINIBAND; }

/* What is no letter or digit becomes one "_": "GH100 [H100 SXM5 80GB]" is GH100_H100_SXM5_80GB. */
static void set_name(char name[TOPO_NAME_CAP], const char *text) {
  size_t used = 0;
  for (; text != NULL && *text != '\0' && used + 1 < TOPO_NAME_CAP; text++) {
    int plain =
        (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || *text == '.' || *text == '-';
    if (plain ? used > 0 || (*text != '.' && *text != '-') : used > 0 && name[used - 1] != '_') name[used++] = plain ? *text : '_';
  }
  while (used > 0 && name[used - 1] == '_') used--;
  name[used] = '\0';
}

static int add_gpu(hwloc_topology_t topology, struct seen *s, hwloc_obj_t device, agg_error_t *err) {
  if (s->m.n_gpus == TOPO_DEVICES_MAX) return AGG_OK;
  int rc = topo_grow(&s->m.gpus, s->m.n_gpus, &s->cap_gpus, sizeof *s->m.gpus, err);
  if (rc != AGG_OK) return rc;
  struct topo_gpu *g = &s->m.gpus[s->m.n_gpus++];
  memset(g, 0, sizeof *g);
  find_place(topology, s, device, &g->place);
  const char *name = hwloc_obj_get_info_by_name(device, "PCIDevice");
  set_name(g->name, name != NULL ? name : device->name);
  return AGG_OK;
}

static int by_pci(const void *a, const void *b) {
  const struct topo_gpu *x = a, *y = b;
  return strcmp(x->place.pci, y->place.pci);
}

/* What NVIDIA's driver calls it, "Model: \t NVIDIA H100 80GB HBM3" in the first line: hwloc has names only where it looked them up. */
static void name_gpu(struct topo_gpu *g, const char *root) {
  char line[SYS_LINE_CAP];
  if (root == NULL || sys_line(root, line, sizeof line, "/proc/driver/nvidia/gpus/%s/information", g->place.pci) <= 0) return;
  if (strncmp(line, "Model:", 6) == 0) set_name(g->name, line + 6);
}

static int read_pci(hwloc_topology_t topology, const char *root, struct seen *s, agg_error_t *err) {
  hwloc_obj_t device = NULL;
  int rc = AGG_OK;
  while (rc == AGG_OK && (device = hwloc_get_next_pcidev(topology, device)) != NULL) {
    s->has_pci = 1;
    if (is_gpu(&device->attr->pcidev)) rc = add_gpu(topology, s, device, err);
    if (rc != AGG_OK || !is_network(&device->attr->pcidev)) continue;
    rc = topo_grow(&s->pci, s->n_pci, &s->cap_pci, sizeof *s->pci, err);
    if (rc == AGG_OK) find_place(topology, s, device, &s->pci[s->n_pci++].place);
  }
  for (uint32_t i = 0; rc == AGG_OK && i < s->m.n_gpus; i++) name_gpu(&s->m.gpus[i], root);
  if (s->m.n_gpus > 0) qsort(s->m.gpus, s->m.n_gpus, sizeof *s->m.gpus, by_pci);
  for (uint32_t i = 0; i < s->m.n_gpus; i++) s->m.gpus[i].number = i;
  if (rc == AGG_OK && !s->has_pci) {
    topo_note(&s->t, "no PCI device is seen (a virtual machine or container?): distances between NICs and GPUs are unknown");
  }
  return rc;
}

static int read_bridges(hwloc_topology_t topology, struct seen *s, agg_error_t *err) {
  hwloc_obj_t bridge = NULL;
  while ((bridge = hwloc_get_next_bridge(topology, bridge)) != NULL) {
    if (bridge->attr->bridge.upstream_type != HWLOC_OBJ_BRIDGE_PCI) continue;
    uint64_t pcie = link_speed(&bridge->attr->bridge.upstream.pci);
    if (pcie == 0) continue;
    int rc = topo_grow(&s->bridges, s->n_bridges, &s->cap_seen_bridges, sizeof *s->bridges, err);
    if (rc != AGG_OK) return rc;
    struct topo_bridge *b = &s->bridges[s->n_bridges++];
    pci_text(&bridge->attr->bridge.upstream.pci, b->pci);
    b->pcie = pcie;
  }
  return AGG_OK;
}

/* ---- devices of the operating system ----------------------------------------------------------------------------------------------- */

/* An Ethernet address has 6 bytes, "00:11:22:33:44:55"; one of InfiniBand has 20. */
static uint8_t netdev_link(hwloc_obj_t o) {
  const char *address = hwloc_obj_get_info_by_name(o, "Address");
  size_t n = address != NULL ? strlen(address) : 0;
  return n == 17 ? TOPO_ETHERNET : n > 17 ? TOPO_INFINIBAND : TOPO_LINK_UNKNOWN;
}

/* A port of InfiniBand that is active has a LID from its subnet manager; one of RoCE never has. */
static void read_ports(hwloc_obj_t o, struct seen_os *os) {
  for (unsigned port = 1; port <= ARRAY_LEN(os->ports); port++) {
    char key[32];
    (void)snprintf(key, sizeof key, "Port%uState", port);
    const char *state = hwloc_obj_get_info_by_name(o, key);
    (void)snprintf(key, sizeof key, "Port%uLID", port);
    const char *lid = hwloc_obj_get_info_by_name(o, key);
    if (state == NULL) break;
    os->n_ports = port;
    os->states[port - 1] = strcmp(state, "4") == 0 ? TOPO_UP : TOPO_DOWN;
    if (lid != NULL && os->states[port - 1] == TOPO_UP) os->ports[port - 1] = strtoul(lid, NULL, 16) != 0 ? TOPO_INFINIBAND : TOPO_ROCE;
  }
  os->n_ports = MAX_OF(os->n_ports, 1u);
}

static int read_os(hwloc_topology_t topology, struct seen *s, agg_error_t *err) {
  hwloc_obj_t o = NULL;
  while ((o = hwloc_get_next_osdev(topology, o)) != NULL) {
    int is_rdma = o->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS;
    if ((!is_rdma && o->attr->osdev.type != HWLOC_OBJ_OSDEV_NETWORK) || o->name == NULL) continue;
    if (is_rdma ? strlen(o->name) > 60 || !topo_name_ok(o->name) : !topo_netdev_ok(o->name)) {
      topo_note(&s->t, "device \"%.60s\" has a name that cannot be: it is left out", o->name);
      continue;
    }
    int rc = topo_grow(&s->os, s->n_os, &s->cap_os, sizeof *s->os, err);
    if (rc != AGG_OK) return rc;
    struct seen_os *os = &s->os[s->n_os++];
    *os = (struct seen_os){.is_rdma = is_rdma, .place.numa = TOPO_NONE};
    str_copy(os->name, sizeof os->name, o->name);
    if (is_rdma) {
      read_ports(o, os);
    } else {
      os->link = netdev_link(o);
    }
    if (o->parent != NULL && o->parent->type == HWLOC_OBJ_PCI_DEVICE) find_place(topology, s, o->parent, &os->place);
  }
  return AGG_OK;
}

/* ---- all together ------------------------------------------------------------------------------------------------------------------ */

static int read_machine(const struct discover_options *options, const struct discover_xml *xml, hwloc_topology_t topology, struct seen *s,
                        agg_error_t *err) {
  int live = xml == NULL;
  const char *root = live ? "" : options->root;
  int rc = live ? load_live(topology, s, err) : load_xml(topology, xml, err);
  if (rc == AGG_OK) rc = read_numa(topology, live, s, err);
  if (rc == AGG_OK) rc = read_pci(topology, root, s, err);
  if (rc == AGG_OK) rc = read_bridges(topology, s, err);
  if (rc == AGG_OK) rc = read_os(topology, s, err);
  if (rc != AGG_OK) return rc;
  const char *name = hwloc_obj_get_info_by_name(hwloc_get_root_obj(topology), "HostName");
  if (name != NULL && topo_name_ok(name)) str_copy(s->name, sizeof s->name, name);
  return root != NULL ? nics_from_sysfs(s, root, err) : nics_from_hwloc(s, err);
}

/* The devices below a bridge, and the fastest link of one of them. */
static uint32_t devices_below(const struct topo_machine *m, const char *bridge, uint64_t *fastest) {
  uint32_t n = 0;
  *fastest = 0;
  for (uint32_t i = 0; i < m->n_nics + m->n_gpus; i++) {
    const struct topo_place *p = i < m->n_nics ? &m->nics[i].place : &m->gpus[i - m->n_nics].place;
    if (!topo_path_has(p->path, bridge)) continue;
    n++;
    *fastest = MAX_OF(*fastest, p->pcie);
  }
  return n;
}

static int has_bridge(const struct topo_machine *m, const char *pci) {
  for (uint32_t i = 0; i < m->n_bridges; i++) {
    if (strcmp(m->bridges[i].pci, pci) == 0) return 1;
  }
  return 0;
}

/* Those that several NICs and GPUs share, and those slower than the only one's own link: no other can limit. Of two with one address, which
 * only an XML that was changed has, the first. */
static int keep_bridges(struct seen *s, agg_error_t *err) {
  for (uint32_t i = 0; i < s->n_bridges; i++) {
    const struct topo_bridge *b = &s->bridges[i];
    uint64_t fastest;
    uint32_t below = devices_below(&s->m, b->pci, &fastest);
    if (below == 0 || (below == 1 && fastest != 0 && b->pcie >= fastest)) continue;
    if (has_bridge(&s->m, b->pci)) continue;
    if (s->m.n_bridges == TOPO_DEVICES_MAX) {
      topo_note(&s->t, "more than %u PCIe bridges that can limit: the others are left out", TOPO_DEVICES_MAX);
      break;
    }
    int rc = topo_grow(&s->m.bridges, s->m.n_bridges, &s->cap_bridges, sizeof *s->m.bridges, err);
    if (rc != AGG_OK) return rc;
    s->m.bridges[s->m.n_bridges++] = *b;
  }
  return AGG_OK;
}

static int finish(const struct discover_options *options, struct seen *s, agg_error_t *err) {
  struct topo_host h = {.on = TOPO_NONE, .workers = options->workers, .servers = options->servers};
  if (options->name == NULL && s->name[0] == '\0') topo_note(&s->t, "the name of the host is unknown: it is called localhost");
  str_copy(h.name, sizeof h.name, options->name != NULL ? options->name : s->name[0] != '\0' ? s->name : "localhost");
  nics_finish(s);
  int rc = keep_bridges(s, err);
  if (rc == AGG_OK) rc = topo_add_machine(&s->t, &s->m, &h.machine, err);
  if (rc == AGG_OK) rc = topo_add_host(&s->t, &h, NULL, err);
  if (rc == AGG_OK) rc = topo_assume_switch(&s->t, err);
  if (rc == AGG_OK) rc = topo_check(&s->t, err);
  return rc;
}

int discover_machine(const struct discover_options *options, const struct discover_xml *xml, struct topo *t, agg_error_t *err) {
  struct seen s = {0};
  hwloc_topology_t topology;
  int rc = new_topology(&topology, err);
  if (rc != AGG_OK) return rc;
  rc = read_machine(options, xml, topology, &s, err);
  hwloc_topology_destroy(topology);
  if (rc == AGG_OK) rc = finish(options, &s, err);
  topo_machine_free(&s.m);
  free(s.pci);
  free(s.bridges);
  free(s.os);
  if (rc == AGG_OK) {
    *t = s.t;
  } else {
    topo_fini(&s.t);
  }
  return rc;
}
