/* Owns what is known of the PCI functions that matter here: network controllers, GPUs of NVIDIA, and bridges. */
#include <stdlib.h>
#include <string.h>

#include "doctor/internal.h"

#define VENDOR_NVIDIA 0x10deu
enum { CLASS_NETWORK = 0x02, CLASS_DISPLAY = 0x03, CLASS_BRIDGE = 0x06 };

static unsigned base_class(const struct pci *p) { return p->class_code >> 16; }

int pci_is_gpu(const struct pci *p) { return p->vendor == VENDOR_NVIDIA && base_class(p) == CLASS_DISPLAY; }
int pci_is_network(const struct pci *p) { return base_class(p) == CLASS_NETWORK; }

static void scan_function(struct doctor *d, const char *address) {
  int64_t class_code, vendor;
  if (tree_number(d, &class_code, "/sys/bus/pci/devices/%s/class", address) != 0) return;
  struct pci *p = &d->pci[d->n_pci];
  p->class_code = (unsigned)class_code & 0xffffffu;
  if (base_class(p) != CLASS_NETWORK && base_class(p) != CLASS_DISPLAY && base_class(p) != CLASS_BRIDGE) return;
  p->vendor = tree_number(d, &vendor, "/sys/bus/pci/devices/%s/vendor", address) == 0 ? (unsigned)vendor & 0xffffu : 0;
  str_copy(p->address, sizeof(p->address), address);
  tree_link(d, p->driver, sizeof(p->driver), "/sys/bus/pci/devices/%s/driver", address);
  d->n_pci++;
}

void scan_pci(struct doctor *d) {
  char(*names)[NAME_CAP] = malloc(PCI_MAX * sizeof(*names));
  if (names == NULL) {
    d->no_memory = 1;
    return;
  }
  int n = tree_list(d, names, PCI_MAX, "/sys/bus/pci/devices");
  for (int i = 0; i < n; i++) scan_function(d, names[i]);
  free(names);
}

const struct pci *pci_find(const struct doctor *d, const char *address) {
  for (unsigned i = 0; i < d->n_pci; i++) {
    if (strcmp(d->pci[i].address, address) == 0) return &d->pci[i];
  }
  return NULL;
}
