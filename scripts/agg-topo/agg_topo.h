/* What the parts of agg-topo share. */
#ifndef AGG_TOPO_H
#define AGG_TOPO_H

#include <stdio.h>

#include "pin.h"
#include "scripts/common/print.h"
#include "topology/explain.h"
#include "topology/topo.h"

enum { EXIT_DONE = 0, EXIT_CANNOT = 1, EXIT_USAGE = 2 };

/* ---- the command line (args.c) */

enum command { COMMAND_MACHINE, COMMAND_PLAN, COMMAND_COST };
enum args_verdict { ARGS_RUN, ARGS_HELP, ARGS_VERSION };

#define SIZE_MOST (1ull << 40)
#define GIVEN_NONE UINT32_MAX /* a number that was not given */

struct args {
  enum command command;
  /* where the machines and the fabric come from; NULL: not given */
  const char *xml, *root, *cluster, *host, *fabric;
  uint64_t uplink, nic; /* bytes a second; 0: not given */
  /* what is on a host */
  uint32_t per_host, reactors; /* per_host: 0 not given */
  struct pin_setting pin;
  const char *pin_text;
  /* what is planned */
  uint32_t workers, servers; /* GIVEN_NONE */
  unsigned op;
  uint64_t bytes;
  int transport;  /* enum fabric_transport; -1: not given */
  uint8_t memory; /* enum fabric_memory */
  const char *plan;
  struct cost cost;
  uint32_t lanes, window, chunk_bytes;
  int strict;
  /* what is printed */
  int dump, json;
  const char *svg;
};

/* Reads the command line. AGG_EINVAL with a text that names the argument, what was expected and what to do. */
int args_parse(struct args *args, int argc, char **argv, enum args_verdict *verdict, agg_error_t *err);
void args_help(void);

/* ---- what is asked for (run.c) */

/* Prints it to `out`, and the picture into its file. An exit code; *err says why where it is not EXIT_DONE. */
int run(const struct args *args, FILE *out, agg_error_t *err);
/* EXIT_USAGE: what was printed could not be written. */
int written(FILE *to, const char *name, agg_error_t *err);

/* ---- one machine (machine*.c) */

#define PINS_MAX 4096u

/* Where a reactor of a worker goes. */
struct pin_of {
  uint32_t local_rank, reactor;
  struct pin_place place;
};

struct machine {
  struct topo topo;
  uint32_t host; /* index; TOPO_NONE: a cluster that is only dumped */
  uint32_t workers, reactors;
  uint32_t n_pins;
  struct pin_of *pins;        /* owned; workers x reactors, by local rank */
  char no_pins[PIN_NOTE_MAX]; /* why nothing is known of them; or "" */
};

/* AGG_EINVAL, AGG_ESYS, AGG_ENOMEM, AGG_ELIMIT. */
int machine_look(const struct args *args, struct machine *m, agg_error_t *err);
void machine_fini(struct machine *m); /* takes a zeroed one */

void machine_print(FILE *to, const struct machine *m, const char *pin);
void machine_json(FILE *to, const struct machine *m, const char *pin);
void machine_svg(FILE *to, const struct machine *m, const char *pin);

/* ---- a plan (cluster.c, plan*.c) */

/* The cluster that is planned on. */
struct cluster {
  struct topo topo; /* with its notes: what was assumed */
  struct fabric fabric;
};

int cluster_find(const struct args *args, struct cluster *c, agg_error_t *err);
void cluster_drop(struct cluster *c);

struct planned {
  struct cluster cluster;
  struct plan plan;
  struct explain explain;
};

int plan_work(const struct args *args, struct planned *p, agg_error_t *err);
void plan_drop(struct planned *p); /* takes a zeroed one */

int plan_print(FILE *to, const struct planned *p, agg_error_t *err);
void plan_json(FILE *to, const struct planned *p);
int plan_svg(FILE *to, const struct args *args, const struct planned *p, agg_error_t *err);

#define WORDS_CAP 64
const char *speed_words(uint64_t bytes_per_s, char buf[WORDS_CAP]); /* words.c: "400 Gbit/s". Returns buf */
static inline int pcie_is_slower(const struct topo_nic *nic) { return nic->place.pcie != 0 && nic->place.pcie < nic->speed; }

#endif
