/* Puts descriptions together: hosts of several machines into one, and hosts onto a fabric that was described elsewhere. Checks all before
 * it changes anything. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/topo_internal.h"

#define ASSUMED "network"
#define ASSUMED_NOTE "no switch is described: all hosts are assumed to be on one, \"" ASSUMED "\", that limits nothing"

int topo_assume_switch(struct topo *t, agg_error_t *err) {
  if (t->n_switches > 0) return AGG_OK;
  int rc = topo_add_switch(t, &(struct topo_switch){.name = ASSUMED, .parent = TOPO_NONE}, NULL, err);
  if (rc != AGG_OK) return rc;
  for (uint32_t i = 0; i < t->n_hosts; i++) t->hosts[i].on = 0;
  topo_note(t, ASSUMED_NOTE);
  return AGG_OK;
}

static void forget_note(struct topo *t, const char *text) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < t->n_notes; i++) {
    if (strcmp(t->notes[i], text) == 0) {
      free(t->notes[i]);
    } else {
      t->notes[kept++] = t->notes[i];
    }
  }
  t->n_notes = kept;
}

static void take_notes(struct topo *t, const struct topo *from) {
  for (uint32_t i = 0; i < from->n_notes; i++) topo_note(t, "%s", from->notes[i]);
}

/* ---- joining ----------------------------------------------------------------------------------------------------------------------- */

static const char *parent_name(const struct topo *t, const struct topo_switch *s) {
  return s->parent != TOPO_NONE ? t->switches[s->parent].name : "";
}

static int check_join(const struct topo *t, const struct topo *from, agg_error_t *err) {
  struct topo_fault fault;
  int rc = topo_verify_tree(from, &fault, err);
  if (rc != AGG_OK) return rc;
  for (uint32_t i = 0; i < from->n_switches; i++) {
    const struct topo_switch *s = &from->switches[i];
    uint32_t there = topo_find_switch(t, s->name);
    if (there == TOPO_NONE) continue;
    const struct topo_switch *mine = &t->switches[there];
    if (strcmp(parent_name(t, mine), parent_name(from, s)) != 0 || mine->up != s->up || mine->down != s->down) {
      return err_set(err, AGG_EINVAL, "switch %s is described in two ways: its parent and uplink must be the same everywhere", s->name);
    }
  }
  for (uint32_t i = 0; i < from->n_hosts; i++) {
    if (topo_find_host(t, from->hosts[i].name) == TOPO_NONE) continue;
    return err_set(err, AGG_EINVAL, "host %s is there twice: give each host a name of its own", from->hosts[i].name);
  }
  if (t->n_hosts + from->n_hosts > TOPO_HOSTS_MAX) return err_set(err, AGG_ELIMIT, "more than %u hosts", TOPO_HOSTS_MAX);
  return AGG_OK;
}

/* Adds the switches that are not there; parents by name, when all are. */
static int join_switches(struct topo *t, const struct topo *from, agg_error_t *err) {
  uint32_t first = t->n_switches;
  for (uint32_t i = 0; i < from->n_switches; i++) {
    if (topo_find_switch(t, from->switches[i].name) != TOPO_NONE) continue;
    int rc = topo_add_switch(t, &from->switches[i], NULL, err);
    if (rc != AGG_OK) return rc;
  }
  for (uint32_t i = first; i < t->n_switches; i++) {
    uint32_t theirs = topo_find_switch(from, t->switches[i].name);
    const char *parent = parent_name(from, &from->switches[theirs]);
    t->switches[i].parent = parent[0] != '\0' ? topo_find_switch(t, parent) : TOPO_NONE;
  }
  return AGG_OK;
}

int topo_join(struct topo *t, const struct topo *from, agg_error_t *err) {
  int rc = check_join(t, from, err);
  if (rc == AGG_OK) rc = join_switches(t, from, err);
  for (uint32_t i = 0; rc == AGG_OK && i < from->n_hosts; i++) {
    struct topo_host h = from->hosts[i];
    h.on = topo_find_switch(t, from->switches[h.on].name);
    rc = topo_add_machine(t, &from->machines[h.machine], &h.machine, err);
    if (rc == AGG_OK) rc = topo_add_host(t, &h, NULL, err);
  }
  if (rc == AGG_OK) take_notes(t, from);
  return rc;
}

/* ---- placing ----------------------------------------------------------------------------------------------------------------------- */

/* The switches of `fabric` for which used[] is set, into an empty description; used[i] becomes the new index + 1. */
static int copy_switches(struct topo *to, const struct topo *fabric, uint32_t *used, agg_error_t *err) {
  for (uint32_t i = 0; i < fabric->n_switches; i++) {
    uint32_t index;
    if (used[i] == 0) continue;
    int rc = topo_add_switch(to, &fabric->switches[i], &index, err);
    if (rc != AGG_OK) return rc;
    used[i] = index + 1;
  }
  for (uint32_t i = 0; i < to->n_switches; i++) {
    if (to->switches[i].parent != TOPO_NONE) to->switches[i].parent = used[to->switches[i].parent] - 1;
  }
  return AGG_OK;
}

/* `view` is t with other switches and places; used[] by switch of the fabric. */
static int place_all(const struct topo *t, const struct topo *fabric, const char *source, struct topo *view, uint32_t *used,
                     agg_error_t *err) {
  for (uint32_t i = 0; i < t->n_hosts; i++) {
    uint32_t found = topo_find_host_brief(fabric, t->hosts[i].name);
    if (found == TOPO_NONE)
      return err_set(err, AGG_EINVAL, "%s: host %s is on none of its switches: add it to one", source, t->hosts[i].name);
    uint32_t on = fabric->hosts[found].on;
    view->hosts[i].on = on;
    while (on != TOPO_NONE && used[on] == 0) {
      used[on] = 1;
      on = fabric->switches[on].parent;
    }
  }
  struct topo switches;
  topo_init(&switches);
  int rc = copy_switches(&switches, fabric, used, err);
  view->switches = switches.switches;
  view->n_switches = switches.n_switches;
  view->cap_switches = switches.cap_switches;
  view->by_switch = switches.by_switch;
  if (rc != AGG_OK) return rc;
  for (uint32_t i = 0; i < t->n_hosts; i++) view->hosts[i].on = used[view->hosts[i].on] - 1;
  rc = topo_check(view, err);
  if (rc != AGG_OK) err_prefix(err, "%s", source);
  return rc;
}

int topo_place_on(struct topo *t, const struct topo *fabric, const char *source, agg_error_t *err) {
  struct topo_fault fault;
  struct topo view = *t;
  int rc = topo_verify_tree(fabric, &fault, err);
  if (rc != AGG_OK) return rc;
  view.switches = NULL;
  view.by_switch = (struct topo_index){0};
  view.hosts = calloc(t->cap_hosts + 1, sizeof *view.hosts);
  uint32_t *used = calloc(fabric->n_switches + 1, sizeof *used);
  if (view.hosts == NULL || used == NULL) {
    rc = err_set(err, AGG_ENOMEM, "no memory to put %u hosts on their switches", t->n_hosts);
  } else {
    if (t->n_hosts > 0) memcpy(view.hosts, t->hosts, t->n_hosts * sizeof *view.hosts);
    rc = place_all(t, fabric, source, &view, used, err);
  }
  free(used);
  const struct topo *old = rc == AGG_OK ? t : &view; /* what goes */
  free(old->switches);
  free(old->by_switch.slots);
  free(old->hosts);
  if (rc != AGG_OK) return rc;
  *t = view;
  forget_note(t, ASSUMED_NOTE);
  take_notes(t, fabric);
  return AGG_OK;
}
