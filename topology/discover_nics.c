/*
 * Decides which NICs a machine has and what is known of each: an RDMA port and its network device are one NIC, virtual functions and
 * virtual devices are none where there is a real one, and a speed that a driver makes up is unknown. Reads sysfs through discover_sysfs.c,
 * knows no hwloc.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/discover_internal.h"

/* Drivers of virtual machines' NICs that report a speed which nobody promises. */
static const char *const VIRTUAL_DRIVERS[] = {"virtio_net", "vmxnet3", "vif"};

struct topo_nic *nics_add(struct seen *s, int *rc, agg_error_t *err) {
  *rc = AGG_OK;
  if (s->m.n_nics == TOPO_DEVICES_MAX) {
    topo_note(&s->t, "more than %u NICs: the others are left out", TOPO_DEVICES_MAX);
    return NULL;
  }
  *rc = topo_grow(&s->m.nics, s->m.n_nics, &s->cap_nics, sizeof *s->m.nics, err);
  if (*rc != AGG_OK) return NULL;
  struct topo_nic *n = &s->m.nics[s->m.n_nics++];
  *n = (struct topo_nic){.rail = TOPO_NONE, .place.numa = TOPO_NONE};
  return n;
}

static int is_down(const struct topo_nic *n) { return n->state == TOPO_DOWN; }

/* ---- from hwloc -------------------------------------------------------------------------------------------------------------------- */

/* The only network device on a PCI function; NULL: none, or several. */
static struct seen_os *only_netdev(struct seen *s, const char *pci) {
  struct seen_os *found = NULL;
  for (uint32_t i = 0; i < s->n_os; i++) {
    struct seen_os *o = &s->os[i];
    if (o->is_rdma || pci[0] == '\0' || strcmp(o->place.pci, pci) != 0) continue;
    if (found != NULL) return NULL;
    found = o;
  }
  return found;
}

static int add_rdma_seen(struct seen *s, const struct seen_os *o, agg_error_t *err) {
  struct seen_os *netdev = o->n_ports == 1 ? only_netdev(s, o->place.pci) : NULL;
  int rc = AGG_OK;
  for (unsigned port = 0; port < o->n_ports; port++) {
    char name[SYS_NAME_CAP + 16];
    struct topo_nic *n = nics_add(s, &rc, err);
    if (n == NULL) break;
    (void)snprintf(name, sizeof name, "%s:%u", o->name, port + 1);
    str_copy(n->rdma, sizeof n->rdma, name);
    n->link = o->ports[port];
    n->state = o->states[port];
    n->place = o->place;
    if (netdev == NULL) continue;
    str_copy(n->netdev, sizeof n->netdev, netdev->name);
    if (n->link == TOPO_LINK_UNKNOWN && netdev->link == TOPO_ETHERNET) n->link = TOPO_ROCE;
    if (netdev->link == TOPO_INFINIBAND) n->link = TOPO_INFINIBAND;
    netdev->name[0] = '\0'; /* it is this NIC */
  }
  return rc;
}

static void note_speeds(struct seen *s) {
  if (s->m.n_nics > 0) topo_note(&s->t, "hwloc's XML has no speeds of NICs: write them into the description, speed=100G");
}

int nics_from_hwloc(struct seen *s, agg_error_t *err) {
  int rc = AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < s->n_os; i++) {
    if (s->os[i].is_rdma) rc = add_rdma_seen(s, &s->os[i], err);
  }
  for (uint32_t i = 0; rc == AGG_OK && i < s->n_os; i++) {
    const struct seen_os *o = &s->os[i];
    if (o->is_rdma || o->name[0] == '\0' || strcmp(o->name, "lo") == 0) continue;
    if (s->has_pci && o->place.pci[0] == '\0') continue; /* virtual */
    struct topo_nic *n = nics_add(s, &rc, err);
    if (n == NULL) break;
    str_copy(n->netdev, sizeof n->netdev, o->name);
    n->link = o->link;
    n->place = o->place;
  }
  if (rc == AGG_OK) note_speeds(s);
  return rc;
}

/* ---- from sysfs: where it is plugged in -------------------------------------------------------------------------------------------- */

/* The path of what sysfs links to, "../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/net/eth0": all PCI addresses but the last are the
 * bridges. 0, or -1 where it is not on PCI. */
static int place_of_link(char *link, struct topo_place *place) {
  char path[TOPO_PATH_CAP] = "", last[TOPO_PCI_CAP] = "", *save = NULL;
  size_t used = 0;
  for (char *part = strtok_r(link, "/", &save); part != NULL; part = strtok_r(NULL, "/", &save)) {
    if (strncmp(part, "pci", 3) == 0 && topo_path_ok(part)) used = (size_t)snprintf(path, sizeof path, "%s", part);
    if (!topo_pci_ok(part)) continue;
    if (last[0] != '\0' && used > 0 && used < sizeof path) used += (size_t)snprintf(path + used, sizeof path - used, "/%s", last);
    str_copy(last, sizeof last, part);
  }
  if (last[0] == '\0') return -1;
  memcpy(place->pci, last, sizeof place->pci);
  if (used < sizeof path && topo_path_ok(path)) memcpy(place->path, path, sizeof place->path);
  return 0;
}

static void find_numa(struct seen *s, const char *root, const char *class, const char *name, struct topo_place *place) {
  int64_t number;
  if (sys_number(root, &number, "/sys/class/%s/%s/device/numa_node", class, name) != 0) return;
  for (uint32_t i = 0; i < s->m.n_numa; i++) {
    if ((int64_t)s->m.numa[i].number == number) place->numa = i;
  }
}

/* What hwloc says of the PCI device is taken over what sysfs says: it knows firmware that lies. */
static void find_place(struct seen *s, const char *root, const char *class, const char *name, struct topo_place *place) {
  char link[1024], last[SYS_NAME_CAP];
  *place = (struct topo_place){.numa = TOPO_NONE};
  if (sys_link(root, link, sizeof link, "/sys/class/%s/%s", class, name) <= 0 || place_of_link(link, place) != 0) {
    if (sys_link_last(root, last, sizeof last, "/sys/class/%s/%s/device", class, name) > 0 && topo_pci_ok(last))
      str_copy(place->pci, sizeof place->pci, last);
  }
  find_numa(s, root, class, name, place);
  for (uint32_t i = 0; place->pci[0] != '\0' && i < s->n_pci; i++) {
    const struct topo_place *p = &s->pci[i].place;
    if (strcmp(p->pci, place->pci) != 0) continue;
    if (p->numa != TOPO_NONE) place->numa = p->numa;
    if (p->path[0] != '\0') memcpy(place->path, p->path, sizeof place->path);
    place->pcie = p->pcie;
  }
}

/* ---- from sysfs: network devices --------------------------------------------------------------------------------------------------- */

static int has_device(const char *root, const char *netdev) { return sys_exists(root, "/sys/class/net/%s/device", netdev); }

static int is_virtual(const char *root, const char *netdev) {
  char driver[SYS_NAME_CAP];
  if (!has_device(root, netdev)) return 1;
  if (sys_link_last(root, driver, sizeof driver, "/sys/class/net/%s/device/driver", netdev) <= 0) return 0;
  for (size_t i = 0; i < ARRAY_LEN(VIRTUAL_DRIVERS); i++) {
    if (strcmp(driver, VIRTUAL_DRIVERS[i]) == 0) return 1;
  }
  return 0;
}

static void read_netdev_speed(struct seen *s, const char *root, struct topo_nic *n) {
  int64_t mbits;
  if (is_virtual(root, n->netdev)) {
    topo_note(&s->t, "%s is virtual: its speed is unknown, whatever it says; write it into the description, speed=10G", n->netdev);
  } else if (sys_number(root, &mbits, "/sys/class/net/%s/speed", n->netdev) == 0 && mbits > 0 && mbits < UINT32_MAX) {
    uint64_t speed = (uint64_t)mbits * 125000;
    if (speed <= TOPO_SPEED_MAX) {
      n->speed = speed;
    } else {
      topo_note(&s->t, "%s says %" PRId64 " Mbit/s, which cannot be: its speed is unknown", n->netdev, mbits);
    }
  } else if (!is_down(n)) {
    topo_note(&s->t, "%s does not tell its speed: write it into the description, speed=10G", n->netdev);
  }
}

static uint8_t netdev_state(const char *root, const char *netdev) {
  char state[SYS_NAME_CAP];
  if (sys_line(root, state, sizeof state, "/sys/class/net/%s/operstate", netdev) <= 0 || strcmp(state, "unknown") == 0)
    return TOPO_STATE_UNKNOWN;
  return strcmp(state, "up") == 0 ? TOPO_UP : TOPO_DOWN;
}

enum { ARPHRD_ETHER = 1, ARPHRD_INFINIBAND = 32 };

static int netdev_type(const char *root, const char *netdev) {
  int64_t type;
  return sys_number(root, &type, "/sys/class/net/%s/type", netdev) == 0 ? (int)type : 0;
}

/* What is made of other devices carries no bytes of its own. */
static int is_stacked(const char *root, const char *netdev) {
  return sys_exists(root, "/sys/class/net/%s/bridge", netdev) || sys_exists(root, "/sys/class/net/%s/bonding", netdev) ||
         sys_exists(root, "/sys/class/net/%s/tun_flags", netdev) || strcmp(netdev, "lo") == 0;
}

static int is_taken(const struct seen *s, const char *netdev) {
  for (uint32_t i = 0; i < s->m.n_nics; i++) {
    if (strcmp(s->m.nics[i].netdev, netdev) == 0) return 1;
  }
  return 0;
}

/* A virtual function whose physical one is here, too: they share the wire. */
static int is_shared(const char *root, const struct sys_names *all, const char *netdev) {
  char whole[SYS_NAME_CAP], other[SYS_NAME_CAP];
  if (sys_link_last(root, whole, sizeof whole, "/sys/class/net/%s/device/physfn", netdev) <= 0) return 0;
  for (uint32_t i = 0; i < all->n; i++) {
    if (sys_link_last(root, other, sizeof other, "/sys/class/net/%s/device", all->names[i]) > 0 && strcmp(other, whole) == 0) return 1;
  }
  return 0;
}

static int add_netdev(struct seen *s, const char *root, const char *netdev, int type, agg_error_t *err) {
  int rc;
  struct topo_nic *n = nics_add(s, &rc, err);
  if (n == NULL) return rc;
  str_copy(n->netdev, sizeof n->netdev, netdev);
  n->link = type == ARPHRD_INFINIBAND ? TOPO_INFINIBAND : TOPO_ETHERNET;
  n->state = netdev_state(root, netdev);
  find_place(s, root, "net", netdev, &n->place);
  read_netdev_speed(s, root, n);
  return AGG_OK;
}

/* Devices with hardware below them; without any, and without an RDMA port, the virtual ones that are up (of a container). */
static int add_netdevs(struct seen *s, const char *root, const struct sys_names *all, agg_error_t *err) {
  int rc = AGG_OK, with_device = 0;
  for (uint32_t i = 0; i < all->n; i++) with_device |= has_device(root, all->names[i]);
  int virtual_too = !with_device && s->m.n_nics == 0;
  for (uint32_t i = 0; rc == AGG_OK && i < all->n; i++) {
    const char *name = all->names[i];
    int type = netdev_type(root, name);
    if (!topo_netdev_ok(name) || is_stacked(root, name) || is_taken(s, name)) continue;
    if (type != ARPHRD_ETHER && type != ARPHRD_INFINIBAND) continue;
    if (has_device(root, name) ? is_shared(root, all, name) : !virtual_too || netdev_state(root, name) == TOPO_DOWN) continue;
    rc = add_netdev(s, root, name, type, err);
  }
  return rc;
}

/* ---- from sysfs: RDMA ports -------------------------------------------------------------------------------------------------------- */

/* The netdev under a port: what its GIDs belong to, else what the driver or the PCI function names. */
static int find_netdev(const char *root, const char *device, unsigned port, int is_ib, char *netdev, size_t cap, agg_error_t *err) {
  struct sys_names names;
  int64_t dev_port;
  for (unsigned gid = 0; !is_ib && gid < 4; gid++) {
    if (sys_line(root, netdev, cap, "/sys/class/infiniband/%s/ports/%u/gid_attrs/ndevs/%u", device, port, gid) > 0) return AGG_OK;
  }
  if (sys_line(root, netdev, cap, "/sys/class/infiniband/%s/parent", device) > 0) return AGG_OK;
  netdev[0] = '\0';
  int rc = sys_list(root, &names, err, "/sys/class/infiniband/%s/device/net", device);
  for (uint32_t i = 0; i < names.n && netdev[0] == '\0'; i++) {
    if (names.n == 1 || (sys_number(root, &dev_port, "/sys/class/net/%s/dev_port", names.names[i]) == 0 && dev_port == (int64_t)port - 1))
      str_copy(netdev, cap, names.names[i]);
  }
  free(names.names);
  return rc;
}

/* "100 Gb/sec (2X HDR)" */
static uint64_t rate_of(const char *root, const char *device, unsigned port) {
  char line[SYS_LINE_CAP];
  uint64_t speed;
  if (sys_line(root, line, sizeof line, "/sys/class/infiniband/%s/ports/%u/rate", device, port) <= 0) return 0;
  char *unit = strstr(line, " Gb/sec");
  if (unit == NULL) return 0;
  str_copy(unit, sizeof line - (size_t)(unit - line), "G");
  return topo_speed_parse(line, &speed) == 0 ? speed : 0;
}

static uint8_t port_state(const char *root, const char *device, unsigned port) {
  char line[SYS_LINE_CAP];
  if (sys_line(root, line, sizeof line, "/sys/class/infiniband/%s/ports/%u/state", device, port) <= 0) return TOPO_STATE_UNKNOWN;
  return strncmp(line, "4:", 2) == 0 ? TOPO_UP : TOPO_DOWN;
}

static uint8_t port_link(const char *root, const char *device, unsigned port) {
  char line[SYS_LINE_CAP];
  if (sys_line(root, line, sizeof line, "/sys/class/infiniband/%s/node_type", device) > 0 && strstr(line, "RNIC") != NULL)
    return TOPO_IWARP;
  if (sys_line(root, line, sizeof line, "/sys/class/infiniband/%s/ports/%u/link_layer", device, port) <= 0) return TOPO_LINK_UNKNOWN;
  return strcmp(line, "Ethernet") == 0 ? TOPO_ROCE : strcmp(line, "InfiniBand") == 0 ? TOPO_INFINIBAND : TOPO_LINK_UNKNOWN;
}

/* The rate of a port that is not active is the lowest it has, not its own. */
static void read_port_speed(struct seen *s, const char *root, const char *device, unsigned port, struct topo_nic *n) {
  int is_soft = !sys_exists(root, "/sys/class/infiniband/%s/device", device);
  if (is_soft) {
    topo_note(&s->t, "%s is RDMA in software: its speed is unknown, whatever it says; write it into the description, speed=10G", n->rdma);
    return;
  }
  if (!is_down(n)) n->speed = rate_of(root, device, port);
  if (n->speed == 0 && n->netdev[0] != '\0') {
    read_netdev_speed(s, root, n);
  } else if (n->speed == 0 && !is_down(n)) {
    topo_note(&s->t, "%s does not tell its speed: write it into the description, speed=100G", n->rdma);
  }
}

static int add_port(struct seen *s, const char *root, const char *device, const char *port_name, agg_error_t *err) {
  char name[2 * SYS_NAME_CAP], netdev[SYS_NAME_CAP];
  uint64_t port;
  int rc;
  (void)snprintf(name, sizeof name, "%s:%s", device, port_name);
  if (!topo_rdma_ok(name) || parse_u64(port_name, 255, &port) != 0) return AGG_OK;
  struct topo_nic *n = nics_add(s, &rc, err);
  if (n == NULL) return rc;
  str_copy(n->rdma, sizeof n->rdma, name);
  n->link = port_link(root, device, (unsigned)port);
  n->state = port_state(root, device, (unsigned)port);
  find_place(s, root, "infiniband", device, &n->place);
  rc = find_netdev(root, device, (unsigned)port, n->link == TOPO_INFINIBAND, netdev, sizeof netdev, err);
  if (rc != AGG_OK) return rc;
  if (topo_netdev_ok(netdev) && !is_taken(s, netdev)) str_copy(n->netdev, sizeof n->netdev, netdev);
  if (n->place.pci[0] == '\0' && n->netdev[0] != '\0') find_place(s, root, "net", n->netdev, &n->place); /* RDMA in software */
  read_port_speed(s, root, device, (unsigned)port, n);
  return AGG_OK;
}

static int add_devices(struct seen *s, const char *root, agg_error_t *err) {
  struct sys_names devices, ports;
  int rc = sys_list(root, &devices, err, "/sys/class/infiniband");
  for (uint32_t i = 0; rc == AGG_OK && i < devices.n; i++) {
    rc = sys_list(root, &ports, err, "/sys/class/infiniband/%s/ports", devices.names[i]);
    for (uint32_t k = 0; rc == AGG_OK && k < ports.n; k++) rc = add_port(s, root, devices.names[i], ports.names[k], err);
    free(ports.names);
  }
  free(devices.names);
  return rc;
}

int nics_from_sysfs(struct seen *s, const char *root, agg_error_t *err) {
  struct sys_names netdevs;
  int rc = add_devices(s, root, err);
  if (rc != AGG_OK) return rc;
  rc = sys_list(root, &netdevs, err, "/sys/class/net");
  if (rc == AGG_OK) rc = add_netdevs(s, root, &netdevs, err);
  free(netdevs.names);
  return rc;
}

/* ---- at the end -------------------------------------------------------------------------------------------------------------------- */

/* In the order of their names: RDMA ports where there are any, else network devices; those that are down are on no rail. */
static void number_rails(struct seen *s) {
  int rdma = 0;
  uint32_t rails = 0;
  for (uint32_t i = 0; i < s->m.n_nics; i++) rdma |= s->m.nics[i].rdma[0] != '\0' && !is_down(&s->m.nics[i]);
  for (uint32_t i = 0; i < s->m.n_nics; i++) {
    struct topo_nic *n = &s->m.nics[i];
    if (!is_down(n) && (!rdma || n->rdma[0] != '\0')) n->rail = rails++;
  }
  if (rails > 1) topo_note(&s->t, "rails are numbered in the order of the NICs' names: all hosts are assumed to be wired alike");
}

/* Where no PCI device is seen, or a NIC has no place, other notes say so. */
static void note_links(struct seen *s) {
  uint32_t unknown = 0;
  const char *first = NULL;
  for (uint32_t i = 0; i < s->m.n_nics; i++) {
    const struct topo_nic *n = &s->m.nics[i];
    if (is_down(n) || n->place.path[0] == '\0' || n->place.pcie != 0) continue;
    if (unknown++ == 0) first = topo_nic_name(n);
  }
  if (unknown > 0)
    topo_note(&s->t, "the speed of the PCIe link is unknown of %u of the NICs (%s the first): it is taken not to limit them", unknown,
              first);
}

void nics_finish(struct seen *s) {
  uint32_t nowhere = 0, up = 0;
  const char *first = NULL;
  for (uint32_t i = 0; i < s->m.n_nics; i++) {
    struct topo_nic *n = &s->m.nics[i];
    if (s->m.n_numa == 1) n->place.numa = 0;
    up += !is_down(n);
    if (n->place.path[0] != '\0' || is_down(n)) continue;
    if (nowhere++ == 0) first = topo_nic_name(n);
  }
  if (nowhere > 0) {
    topo_note(&s->t, "no PCI path is known of %u of the NICs (%s the first): how far they are from GPUs is %s", nowhere, first,
              s->m.n_numa > 1 ? "unknown, or told by NUMA nodes alone" : "assumed to be NODE");
  }
  note_links(s);
  if (up == 0) topo_note(&s->t, s->m.n_nics == 0 ? "no NIC was found" : "no NIC is up");
  number_rails(s);
}
