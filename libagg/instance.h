/* The instance: one agg_open. Insides shared by agg.c (public functions), instance.c, memory.c, comm.c and op.c. */
#ifndef LIBAGG_INSTANCE_H
#define LIBAGG_INSTANCE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "calibrate.h"
#include "callback.h"
#include "control/control.h"
#include "mem/registry.h"
#include "pinning.h"
#include "reactor.h"
#include "topology/cost.h"
#include "topology/topo.h"

#define REACTORS_MAX 16

struct agg {
  agg_config_t config;
  struct log log;
  char host[64];
  uint32_t *alive;   /* a page that the kernel wipes in a forked child: 1 here, 0 there */
  struct topo *topo; /* as AGG_TOPO describes it, or NULL */
  struct cost cost;  /* the planner's constants */
  struct calibration calibration;
  struct topo here; /* this machine, where its PCIe links may limit; else empty */
  struct control *control;
  struct pinning pinning;
  struct reactor *reactors[REACTORS_MAX];
  unsigned n_reactors;
  struct mem_registry memory;
  struct callbacks *callbacks;
  _Atomic uint64_t buffer_bytes; /* held by communicators, against config.memory_limit */

  pthread_mutex_t lock; /* comms, error */
  struct agg_comm *comms;
  agg_error_t error;
};

/* Whether the handle can be used in this process; AGG_EFORKED otherwise. */
static inline int agg_usable(const struct agg *a) { return *(volatile const uint32_t *)a->alive == 1 ? AGG_OK : AGG_EFORKED; }

/* Where the world communicator meets and what its group is called; rank 0 starts to coordinate there when there are no servers. */
int instance_world(struct agg *a, char *host, size_t cap, uint16_t *port, unsigned char *group, agg_error_t *err);
int instance_ticket_make(struct agg *a, agg_ticket_t *ticket, agg_error_t *err);
int instance_ticket_read(const agg_ticket_t *ticket, char *host, size_t cap, uint16_t *port, unsigned char *group, agg_error_t *err);

/* The RDMA settings as the transports take them; devices points into the configuration. */
struct tp_rdma instance_rdma(const agg_config_t *c);

void memory_close(struct agg *a);

/* Keeps the error's text in the handle and returns its code. */
int agg_keep_error(struct agg *a, const agg_error_t *err);

#endif
