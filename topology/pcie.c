/* The largest flow from the NICs of a machine through its PCIe tree. In a tree it is what each link lets through of what comes from below.
 */
#include "topology/pcie.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

struct leaf {
  const struct topo_place *place;
  double want;
};

struct flow {
  const struct topo_machine *machine;
  struct leaf leaf[TOPO_DEVICES_MAX]; /* those below a bridge, and those of a device, one after the other */
};

static int by_place(const void *a, const void *b) {
  const struct topo_place *x = ((const struct leaf *)a)->place, *y = ((const struct leaf *)b)->place;
  int order = strcmp(x->path, y->path);
  return order != 0 ? order : strcmp(x->pci, y->pci);
}

static double limit(double bytes, uint64_t pcie) { return pcie != 0 ? fmin(bytes, (double)pcie) : bytes; }

/* Two functions of one device, "0000:3b:00.0" and "0000:3b:00.1", or two ports of one function. */
static int same_device(const struct topo_place *a, const struct topo_place *b) {
  size_t n = strcspn(a->pci, ".");
  return n > 0 && strncmp(a->pci, b->pci, n + 1) == 0;
}

static uint64_t bridge_pcie(const struct topo_machine *machine, const char *pci, size_t length) {
  for (uint32_t i = 0; i < machine->n_bridges; i++) {
    const struct topo_bridge *b = &machine->bridges[i];
    if (strlen(b->pci) == length && strncmp(b->pci, pci, length) == 0) return b->pcie;
  }
  return 0;
}

/* Of the device at *at; *at moves behind its last function. */
static double device_flow(const struct flow *f, uint32_t *at, uint32_t end) {
  const struct topo_place *first = f->leaf[*at].place;
  double sum = 0;
  uint64_t pcie = 0;
  do {
    const struct leaf *l = &f->leaf[(*at)++];
    sum += limit(l->want, l->place->pcie);
    pcie = MAX_OF(pcie, l->place->pcie);
  } while (*at < end && same_device(first, f->leaf[*at].place));
  return limit(sum, pcie);
}

/* Of the leaves from `at` to `end`, whose paths have the first `above` characters in common. */
static double flow_below(const struct flow *f, uint32_t at, uint32_t end, size_t above) {
  double sum = 0;
  while (at < end) {
    const char *path = f->leaf[at].place->path;
    if (path[above] == '\0') {
      sum += device_flow(f, &at, end);
      continue;
    }
    size_t name = above + (above > 0), length = name + strcspn(path + name, "/");
    uint32_t next = at + 1;
    while (next < end && strncmp(f->leaf[next].place->path, path, length) == 0) next++;
    sum += limit(flow_below(f, at, next, length), bridge_pcie(f->machine, path + name, length - name));
    at = next;
  }
  return sum;
}

double pcie_flow(const struct topo_machine *machine, const double *want) {
  struct flow f = {.machine = machine};
  uint32_t n = 0;
  for (uint32_t i = 0; i < machine->n_nics; i++) {
    if (want[i] > 0) f.leaf[n++] = (struct leaf){&machine->nics[i].place, want[i]};
  }
  qsort(f.leaf, n, sizeof *f.leaf, by_place);
  return flow_below(&f, 0, n, 0);
}
