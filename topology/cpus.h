/* A set of CPU numbers, and its list as the kernel writes it: "0-3,8". Pure; topo_words.c has the code. */
#ifndef TOPOLOGY_CPUS_H
#define TOPOLOGY_CPUS_H

#include "topology/topo.h"

struct topo_cpus {
  uint64_t bits[TOPO_CPUS_MAX / 64];
};

int topo_cpus_parse(const char *list, struct topo_cpus *cpus); /* 0; -1: not a list, or empty */
uint32_t topo_cpus_count(const struct topo_cpus *cpus);
/* Ascending, with ranges. 0; -1: what did not fit is left out, and taken out of the set. */
int topo_cpus_text(struct topo_cpus *cpus, char buf[TOPO_CPULIST_CAP]);
/* The first CPU of a that is in b (in_b 1) or is not (0); -1: there is none. */
int topo_cpus_first_in(const struct topo_cpus *a, const struct topo_cpus *b, int in_b);
static inline void topo_cpus_add(struct topo_cpus *c, uint32_t cpu) { c->bits[cpu / 64] |= 1ull << cpu % 64; }
static inline int topo_cpus_has(const struct topo_cpus *c, uint32_t cpu) {
  return cpu < TOPO_CPUS_MAX && (c->bits[cpu / 64] >> cpu % 64 & 1) != 0;
}

#endif
