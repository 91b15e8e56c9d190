/* The reader of the text form, between the files that it is made of: topo_text.c reads lines, topo_keys.c the key=value pairs in them. */
#ifndef TOPOLOGY_TOPO_PARSER_H
#define TOPOLOGY_TOPO_PARSER_H

#include "topology/topo_internal.h"

enum kind { KIND_SWITCH, KIND_HOST, KIND_NUMA, KIND_NIC, KIND_GPU, KIND_BRIDGE, KIND_COUNT };

/* A line that names a switch: `name` is the parent of `count` switches, or what `count` hosts hang on, from `first` on. "": none. */
struct reference {
  uint32_t line, first, count;
  char name[TOPO_NAME_CAP];
};

struct references {
  struct reference *list;
  uint32_t n, cap;
};

struct parser {
  struct topo_lines lines;
  struct topo t;
  agg_error_t *err;
  struct references parents, places;
  uint32_t *switch_lines, *host_lines; /* by index: the line of each */
  uint32_t cap_switch_lines, cap_host_lines;
  uint64_t nodes; /* workers and servers so far */
  /* the line that is being read */
  struct topo_switch sw;
  struct topo_host host;
  int uplink_given;
  char reference[TOPO_NAME_CAP];
  /* the block that is open: its hosts, what they have, and the line and NUMA number (TOPO_NONE: unknown) of each device */
  int open;
  uint32_t block_first;
  struct topo_machine m;
  uint32_t cap_numa, cap_nics, cap_gpus, cap_bridges;
  uint32_t nic_lines[TOPO_DEVICES_MAX], gpu_lines[TOPO_DEVICES_MAX];
  struct topo_cpus used; /* the CPUs of the block's NUMA nodes */
};

#define FAIL_AT(p, at, ...) topo_lines_fail(&(p)->lines, (at), AGG_EINVAL, (p)->err, __VA_ARGS__)
#define FAIL(p, ...) FAIL_AT(p, (p)->lines.number, __VA_ARGS__)
/* Puts file and line before a text that a function below has written. */
#define FAIL_SO(p, rc) topo_lines_fail(&(p)->lines, (p)->lines.number, (rc), (p)->err, "%s", (p)->err->text)

/* What is being read now, behind those of the block that are complete. */
static inline struct topo_numa *numa_of(struct parser *p) { return &p->m.numa[p->m.n_numa]; }
static inline struct topo_nic *nic_of(struct parser *p) { return &p->m.nics[p->m.n_nics]; }
static inline struct topo_gpu *gpu_of(struct parser *p) { return &p->m.gpus[p->m.n_gpus]; }
static inline struct topo_bridge *bridge_of(struct parser *p) { return &p->m.bridges[p->m.n_bridges]; }
static inline struct topo_place *place_of(struct parser *p, enum kind kind) {
  return kind == KIND_NIC ? &nic_of(p)->place : &gpu_of(p)->place;
}

/* ---- topo_keys.c */

/* Sets what the pairs of a line say, in the parser's line or in what is being read. AGG_EINVAL. */
int topo_keys_read(struct parser *p, enum kind kind, char *rest);
const char *topo_kind_name(unsigned kind); /* "switch" */
/* The next word, ended in place; NULL: there is none. */
char *topo_next_word(char **at);
/* 0, or -1: no number, or more than `max`. */
int topo_take_number(const char *v, uint32_t max, uint32_t *out);

#endif
