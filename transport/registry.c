/*
 * Owns the list of the transports that are compiled in, in order of preference. Never opens one and never chooses.
 */
#include <string.h>

#include "tps.h"

static const struct tp_ops *const all[] = {&tp_shm, &tp_verbs, &tp_tcp, NULL};

const struct tp_ops *const *tp_all(void) { return all; }

const struct tp_ops *tp_find(const char *name) {
  for (const struct tp_ops *const *ops = all; *ops != NULL; ops++) {
    if (name != NULL && strcmp((*ops)->name, name) == 0) return *ops;
  }
  return NULL;
}
