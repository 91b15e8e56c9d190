/* Owns what is known of the machine's RDMA devices and ports, read from sysfs: which there are and which of them were asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "doctor/internal.h"

#define LIST_ITEM_CAP 80

/* The next item of "mlx5_0:1,mlx5_1" in name and port (0: all): 1, 0 at the end, -1 where it is none. */
static int next_item(const char **list, char name[LIST_ITEM_CAP], uint64_t *port) {
  const char *item = *list;
  if (*item == '\0') return 0;
  size_t n = strcspn(item, ",");
  if (n == 0 || n >= LIST_ITEM_CAP || (item[n] == ',' && item[n + 1] == '\0')) return -1;
  memcpy(name, item, n);
  name[n] = '\0';
  *list = item[n] == ',' ? item + n + 1 : item + n;
  *port = 0;
  char *colon = strchr(name, ':');
  if (colon != NULL) {
    *colon = '\0';
    if (parse_u64(colon + 1, 255, port) != 0 || *port == 0) return -1;
  }
  return name[0] != '\0' && strchr(name, '/') == NULL ? 1 : -1;
}

static const char *wanted(const struct doctor *d) { return d->options->devices != NULL ? d->options->devices : ""; }

/* port 0: the device or any of its ports. */
static int is_wanted(const struct doctor *d, const char *device, unsigned port) {
  const char *list = wanted(d);
  char name[LIST_ITEM_CAP];
  uint64_t number;
  if (list[0] == '\0') return 1;
  while (next_item(&list, name, &number) > 0) {
    if (strcmp(name, device) == 0 && (port == 0 || number == 0 || number == port)) return 1;
  }
  return 0;
}

static int check_list(const struct doctor *d, agg_error_t *err) {
  const char *list = wanted(d);
  char name[LIST_ITEM_CAP];
  uint64_t port;
  int got;
  while ((got = next_item(&list, name, &port)) > 0) continue;
  return got == 0 ? AGG_OK
                  : err_set(err, AGG_EINVAL, "devices \"%s\": expected names like mlx5_0 or mlx5_0:1, separated by commas", wanted(d));
}

static int is_here(const struct doctor *d, const char *name, uint64_t number) {
  for (unsigned i = 0; i < d->n_ports; i++) {
    const struct port *p = &d->ports[i];
    if (strcmp(p->device->name, name) == 0 && (number == 0 || p->number == number)) return 1;
  }
  return 0;
}

int scan_missing(const struct doctor *d, char missing[DOCTOR_NAME_MAX]) {
  const char *list = wanted(d), *item = list;
  char name[LIST_ITEM_CAP];
  uint64_t number;
  while (next_item(&list, name, &number) > 0) {
    if (!is_here(d, name, number)) {
      str_copy(missing, DOCTOR_NAME_MAX, item);
      missing[strcspn(missing, ",")] = '\0';
      return 1;
    }
    item = list;
  }
  return 0;
}

/* The netdev under a port: what its GIDs belong to, else what the device's PCI function or driver names. */
static void find_netdev(const struct doctor *d, struct port *p) {
  const char *name = p->device->name;
  for (unsigned i = 0; i < 4; i++) {
    if (tree_line(d, p->netdev, sizeof(p->netdev), "/sys/class/infiniband/%s/ports/%u/gid_attrs/ndevs/%u", name, p->number, i) > 0) return;
  }
  if (tree_line(d, p->netdev, sizeof(p->netdev), "/sys/class/infiniband/%s/parent", name) > 0) return;
  char found[2][NAME_CAP];
  int n = tree_list(d, found, 2, "/sys/class/infiniband/%s/device/net", name);
  str_copy(p->netdev, sizeof(p->netdev), n == 1 ? found[0] : ""); /* with two it is not said whose it is */
}

/* The IPoIB interface of an InfiniBand port. */
static void find_ipoib(const struct doctor *d, struct port *p) {
  char names[16][NAME_CAP];
  int64_t dev_port;
  int n = tree_list(d, names, ARRAY_LEN(names), "/sys/class/infiniband/%s/device/net", p->device->name);
  for (int i = 0; i < n && p->netdev[0] == '\0'; i++) {
    if (tree_number(d, &dev_port, "/sys/class/net/%s/dev_port", names[i]) != 0 || dev_port == (int64_t)p->number - 1)
      str_copy(p->netdev, sizeof(p->netdev), names[i]);
  }
}

static void scan_port(struct doctor *d, const struct device *device, unsigned number, int is_rnic) {
  char layer[NAME_CAP], name[DOCTOR_NAME_MAX];
  int64_t state = 0;
  if (d->n_ports == PORTS_MAX) return;
  struct port *p = &d->ports[d->n_ports++];
  p->device = device;
  p->number = number;
  (void)snprintf(name, sizeof(name), "%s:%u", device->name, number);
  memcpy(p->name, name, sizeof(name));
  tree_line(d, layer, sizeof(layer), "/sys/class/infiniband/%s/ports/%u/link_layer", device->name, number);
  p->kind = is_rnic ? PORT_IWARP : strcmp(layer, "Ethernet") == 0 ? PORT_ROCE : PORT_INFINIBAND;
  tree_line(d, p->state_text, sizeof(p->state_text), "/sys/class/infiniband/%s/ports/%u/state", device->name, number);
  tree_line(d, p->physical_text, sizeof(p->physical_text), "/sys/class/infiniband/%s/ports/%u/phys_state", device->name, number);
  tree_number(d, &state, "/sys/class/infiniband/%s/ports/%u/state", device->name, number);
  p->state = state > 0 && state < 16 ? (int)state : 0;
  if (p->kind == PORT_INFINIBAND) {
    find_ipoib(d, p);
  } else {
    find_netdev(d, p);
  }
}

static void scan_ports(struct doctor *d, const struct device *device) {
  char names[32][NAME_CAP], type[NAME_CAP];
  uint64_t number;
  tree_line(d, type, sizeof(type), "/sys/class/infiniband/%s/node_type", device->name);
  int n = tree_list(d, names, ARRAY_LEN(names), "/sys/class/infiniband/%s/ports", device->name);
  for (int i = 0; i < n; i++) {
    if (parse_u64(names[i], 255, &number) == 0 && is_wanted(d, device->name, (unsigned)number))
      scan_port(d, device, (unsigned)number, strstr(type, "RNIC") != NULL);
  }
}

static void find_uverbs(struct doctor *d, char (*uverbs)[NAME_CAP], int n, struct device *device) {
  char name[NAME_CAP];
  for (int i = 0; i < n && device->uverbs[0] == '\0'; i++) {
    if (tree_line(d, name, sizeof(name), "/sys/class/infiniband_verbs/%s/ibdev", uverbs[i]) > 0 && strcmp(name, device->name) == 0)
      str_copy(device->uverbs, sizeof(device->uverbs), uverbs[i]);
  }
}

int scan_devices(struct doctor *d, agg_error_t *err) {
  char names[DEVICES_MAX][NAME_CAP], uverbs[DEVICES_MAX * 2][NAME_CAP];
  if (check_list(d, err) != AGG_OK) return AGG_EINVAL;
  int n = tree_list(d, names, ARRAY_LEN(names), "/sys/class/infiniband");
  int n_uverbs = n > 0 ? tree_list(d, uverbs, ARRAY_LEN(uverbs), "/sys/class/infiniband_verbs") : 0;
  for (int i = 0; i < n; i++) {
    d->n_present++;
    if (!is_wanted(d, names[i], 0)) continue;
    struct device *device = &d->devices[d->n_devices++];
    str_copy(device->name, sizeof(device->name), names[i]);
    find_uverbs(d, uverbs, n_uverbs, device);
    tree_link(d, device->pci, sizeof(device->pci), "/sys/class/infiniband/%s/device", names[i]);
    if (!tree_exists(d, "/sys/bus/pci/devices/%s/vendor", device->pci)) device->pci[0] = '\0';
    scan_ports(d, device);
  }
  return AGG_OK;
}

int is_container(const struct doctor *d) {
  return tree_exists(d, "/.dockerenv") || tree_exists(d, "/run/.containerenv") || tree_exists(d, "/run/systemd/container");
}
