/*
 * Carries out pin.h's choice for a process: looks at the machine, takes cores so that no other process's reactor takes the same, and keeps
 * what it needs to bind memory. The reactors bind their own threads.
 */
#ifndef LIBAGG_PINNING_H
#define LIBAGG_PINNING_H

#include "base/log.h"
#include "pin.h"
#include "topology/bind.h"

/* An all-zero one is one that has not been started. */
struct pinning {
  unsigned n;               /* reactors */
  struct pin_place *places; /* owned, one for each */
  int *claims;              /* owned: sockets whose names say which cores are taken; -1: none */
  struct bind *bind;        /* NULL: there is one NUMA node, or nothing is bound */
};

struct pinning_config {
  const struct log *log;
  const char *setting; /* as pin_parse reads it */
  int server;
  unsigned reactors, local_rank;
  const char *devices, *transport;
};

/* Before the first reactor. AGG_EINVAL: the setting, as pin_parse and pin_choose say; AGG_ENOMEM. What cannot be bound is no error: the
 * place says why. */
int pinning_start(struct pinning *p, const struct pinning_config *config, agg_error_t *err);
void pinning_stop(struct pinning *p); /* after the last reactor */

/* The core for a reactor; -1: none. */
static inline int pinning_core(const struct pinning *p, unsigned reactor) { return p->n > reactor ? p->places[reactor].core : -1; }
/* The NUMA node for the memory of a reactor's planes, to be given to p->bind; -1: wherever the kernel puts it. */
static inline int pinning_node(const struct pinning *p, unsigned reactor) {
  return p->bind != NULL && p->places[reactor].numa != TOPO_NONE ? (int)p->places[reactor].numa : -1;
}

/* A reactor has started and could not be bound to its core, which it has logged. */
void pinning_failed(struct pinning *p, unsigned reactor);

/* Once, when all have started: where each is, or why not. */
void pinning_say(const struct pinning *p, const struct log *log);

#endif
