/*
 * Where reactors run: which core each is bound to, so that it is near its NIC, and on which NUMA node its memory is to lie. The choice is a
 * pure function of the machine, the setting and the process's place among others; pinning.h looks at the machine and carries it out.
 *
 *   off       nothing is bound
 *   auto      near the rail of the reactor's lanes where there are cores enough, else not, with the reason
 *   2,4-6     these cores, in the order of the reactors
 *
 * Plane p is on reactor p mod reactors and its lane on rail p mod rails, so reactor r goes near rail r mod rails.
 */
#ifndef LIBAGG_PIN_H
#define LIBAGG_PIN_H

#include "topology/cpus.h"

#define PIN_REACTORS_MAX 64
#define PIN_CORES_MIN 4u /* with fewer, auto leaves it to the kernel, which sees who is busy */
#define PIN_NOTE_MAX 160
#define PIN_TEXT_MAX (PIN_NOTE_MAX + 192)

enum pin_mode { PIN_OFF, PIN_AUTO, PIN_LIST };

struct pin_setting {
  enum pin_mode mode;
  unsigned n; /* PIN_LIST: how many cores, 1 at least */
  uint16_t core[PIN_REACTORS_MAX];
};

/* AGG_EINVAL: what was expected, and what came. "" is auto. */
int pin_parse(const char *text, struct pin_setting *setting, agg_error_t *err);
/* The text alone: whether it can be read. For checking settings early. */
int pin_check(const char *text, agg_error_t *err);

/* What is known of the process and its machine. */
struct pin_request {
  struct pin_setting setting;
  int server;                         /* it has the machine to itself: a CPU for each reactor, and none is left free */
  unsigned reactors;                  /* 1 to PIN_REACTORS_MAX */
  unsigned local_rank;                /* among the processes of this host */
  const char *devices;                /* AGG_DEVICES; "": all */
  const char *transport;              /* AGG_TRANSPORT; "": auto */
  struct topo_cpus allowed;           /* that the process may run on */
  struct topo_cpus online;            /* of the machine; empty: unknown */
  struct topo_cpus taken;             /* by reactors of other processes, as far as that is known */
  unsigned nodes;                     /* NUMA nodes with memory, 1 at least */
  const struct topo_machine *machine; /* NULL: not looked at */
};

struct pin_place {
  int core;                /* -1: not bound */
  uint32_t numa;           /* of the core, as the operating system counts; TOPO_NONE: unknown, or not bound */
  uint8_t distance;        /* enum topo_distance, from the core to the NIC */
  char nic[TOPO_NAME_CAP]; /* "": unknown */
  char note[PIN_NOTE_MAX]; /* why it is not bound, or why no NIC counted; or "" */
};

/* Whether the choice depends on what is in the machine: to look costs milliseconds. */
int pin_needs_machine(const struct pin_request *r);

/* One place for each reactor. auto: no core twice, none that is taken, and in a worker as many left free as there are processes.
 * AGG_EINVAL: a list with a core that is not allowed or not there, or with fewer cores than reactors. */
int pin_choose(const struct pin_request *r, struct pin_place *places, agg_error_t *err);

/* "on core 5 (NUMA node 0, PHB to mlx5_0:1)", "not pinned: 2 cores are too few". Returns buf. */
const char *pin_text(const struct pin_place *place, char buf[PIN_TEXT_MAX]);

#endif
