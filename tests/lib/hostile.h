/*
 * Two honest ends with a lane between them that is never at rest, and beside it the lanes that the tests of the verbs transport attack:
 * each with a domain and a window of its own, and a raw peer (tests/lib/rawpeer.h). The lane beside works all the while, and nothing is
 * left behind: rig_close sees to it.
 */
#ifndef TESTS_HOSTILE_H
#define TESTS_HOSTILE_H

#include <check.h>

#include "tests/lib/conform.h"
#include "tests/lib/rawpeer.h"

#define TARGETS 64
#define WINDOW 4096
#define FILL 0x5a
#define DEPTH 16
#define PATIENCE_NS 1500000000u   /* for strangers and first messages */
#define CONNECTING_NS 4000000000u /* for a lane to be connected */
#define RECEIVES 8
#define HONEST 900 /* tickets of lanes between honest ends from here on */

/* A case for such tests: one device, raw peers that advance beside the ends. */
TCase *hostile_case(const char *name);

/* ---- two honest ends ---- */

struct hostile_rig {
  struct end *a, *b; /* b is attacked; where the attacked one dials, too */
  struct lane la, lb;
  struct mem source; /* at b */
  uint32_t puts;
  char resources[4096], now[4096];
};
extern struct hostile_rig rig;

void rig_open(void);
void rig_hurry(void); /* b's lanes are given up soon */
void rig_close(void); /* the lane went on, and does; no verbs object more than before */
/* cond, after a step of everybody else's. */
int beside(int cond);

/* ---- lanes that are attacked ---- */

struct target {
  uint32_t number; /* its ticket, its domain */
  struct lane lane;
  struct mem mem;
  struct rawpeer *raw, *spare;
  struct lane honest; /* a peer that keeps to the rules */
};
extern struct target targets[TARGETS];

void target_open(unsigned i, const struct end *peer, int active);
void target_close(struct target *t); /* and its peers */
int target_connected(const struct target *t);
/* Whether it holds of the first n. */
int all_targets(unsigned n, int (*holds)(const struct target *t));
/* Dials b with the ticket of this number, and no window. */
struct rawpeer *dial_as(uint32_t number, enum verbs_hello_kind kind, enum rawpeer_manner manner, unsigned receives);
/* Opens the first n, all connected to their raw peers. */
void connect_targets(unsigned n, unsigned receives);
/* Lost with these words or, where there are none, at work: a notice passes. */
int came_out(const struct target *t, const char *text);

#endif
