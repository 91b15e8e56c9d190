/*
 * What the log says of a communicator's memory: how much lies on which NUMA node, in pages of which size, and why in no larger ones.
 */
#ifndef LIBAGG_PAGES_H
#define LIBAGG_PAGES_H

#include "base/log.h"
#include "plane.h"

#define PAGES_NODES_MAX 16

/* Planes' memory, summed by node. Starts all zero. */
struct pages {
  unsigned n;
  struct plane_where on[PAGES_NODES_MAX]; /* the last one takes what is on further nodes */
  char why[160];                          /* the first plane's that is not where it should be */
};

void pages_add(struct pages *pages, const struct plane_where *where);

/* One line for each node at info, as in "communicator 1: 64.0 MiB of windows on NUMA node 0: huge pages"; a warning where memory is not
 * where it should be. prefix: "communicator 1". */
void pages_say(const struct pages *pages, const struct log *log, const char *prefix);

/* The line without the prefix. reserved: the machine's huge pages (vm.nr_hugepages). Returns buf. */
#define PAGES_TEXT_MAX 256
const char *pages_text(const struct plane_where *where, uint64_t reserved, char buf[PAGES_TEXT_MAX]);

#endif
