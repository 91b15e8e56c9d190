/* For tests of discovery: recorded machines, a folder for made-up ones, and what is said about them. */
#ifndef TESTS_DISCOVERY_H
#define TESTS_DISCOVERY_H

#include "tests/lib/madeup.h"
#include "topology/discover.h"

#define DATA "tests/data/topo/"
#define G (1000000000ull / 8) /* 1 Gbit/s */

/* Checked fixtures. Nothing may be printed but by us: what goes to standard error, hwloc's own words included, goes into a file. */
void discovery_setup(void);
void discovery_teardown(void);
extern struct madeup made; /* between them */

/* A whole file, with a zero behind it; the caller frees it. */
char *discovery_read(const char *path, size_t *bytes);
/* The machine, valid, or a failed test. */
void discover(const struct discover_options *options, struct topo *t);
/* Whether one of its notes contains this. */
int says(const struct topo *t, const char *note);

#endif
