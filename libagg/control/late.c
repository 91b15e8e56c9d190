/*
 * The investigation of a late operation: one QUERY to every node, a second for the answers, then the sentence that says who holds it up,
 * and ABORT. One that only asks, before the deadline, ends in ABORT where two ranks have called different things, and in nothing otherwise.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/err.h"
#include "base/util.h"
#include "coord.h"

#define ANSWER_S 1
#define NAMES_MAX 8

/* Whether a rank has called operation `op`, given how many it has called; the numbers wrap at 2^32. */
static int has_posted(uint64_t posted, uint32_t op) { return (int32_t)((uint32_t)posted - op) > 0; }

enum suspect { SUSPECT_NONE, SUSPECT_NOT_CALLED, SUSPECT_LEFT, SUSPECT_SILENT };

static enum suspect judge(const struct group *g, uint32_t node) {
  const struct seat *seat = &g->seats[node];
  if (seat->left) return SUSPECT_LEFT;
  if (!seat->answered) return SUSPECT_SILENT;
  if (node < g->size && !has_posted(seat->posted[g->late.priority], g->late.op)) return SUSPECT_NOT_CALLED;
  return SUSPECT_NONE;
}

/* Writes the names of all suspects of this kind, NAMES_MAX at most; returns how many there are, *first the first. */
static uint32_t list(const struct group *g, enum suspect kind, uint32_t *first, char *text, size_t cap) {
  uint32_t n = 0, named = 0;
  size_t at = 0;
  char name[CONTROL_NODE_NAME_MAX];
  for (uint32_t i = 0; i < g->setup.n_nodes; i++) {
    if (judge(g, i) != kind) continue;
    if (n++ == 0) *first = i;
    group_name(g, i, name, sizeof name);
    if (named < NAMES_MAX && at + strlen(name) + 24 < cap) {
      at += (size_t)snprintf(text + at, cap - at, "%s%s", named ? ", " : "", name);
      named++;
    }
  }
  if (n > named) (void)snprintf(text + at, cap - at, " and %u more", n - named);
  return n;
}

/* Two ranks that have called different things: 1 and the group is over. */
static int find_mismatch(struct group *g) {
  const struct seat *first = NULL;
  char one[CONTROL_NODE_NAME_MAX], two[CONTROL_NODE_NAME_MAX];
  for (uint32_t i = 0; i < g->size; i++) {
    const struct seat *seat = &g->seats[i];
    if (!seat->answered || seat->called[0] == '\0') continue;
    if (first == NULL) first = seat;
    if (strcmp(first->called, seat->called) == 0) continue;
    group_name(g, (uint32_t)(first - g->seats), one, sizeof one);
    group_name(g, i, two, sizeof two);
    group_fail(g, AGG_EMISMATCH, i, "operation %u: %s called %s, but %s called %s", g->late.op, one, first->called, two, seat->called);
    return 1;
  }
  return 0;
}

static void decide(struct group *g) {
  static const struct {
    enum suspect kind;
    const char *one, *many;
  } order[] = {{SUSPECT_NOT_CALLED, "has not called it", "have not called it"},
               {SUSPECT_LEFT, "has left the group", "have left the group"},
               {SUSPECT_SILENT, "does not answer (stopped or overloaded?)", "do not answer (stopped or overloaded?)"}};
  struct late *l = &g->late;
  char names[340];
  uint32_t culprit = UINT32_MAX;
  event_del(l->timer);
  if (find_mismatch(g)) return;
  if (l->asks) {
    l->active = 0;
    return;
  }
  for (size_t i = 0; i < ARRAY_LEN(order); i++) {
    uint32_t n = list(g, order[i].kind, &culprit, names, sizeof names);
    if (n == 0) continue;
    group_fail(g, AGG_ETIMEDOUT, culprit, "operation %u (%.80s): %s %s; waited %.1f s", l->op, l->what, names,
               n == 1 ? order[i].one : order[i].many, l->waited_s);
    return;
  }
  if (l->text[0] != '\0') {
    group_fail(g, AGG_ETIMEDOUT, UINT32_MAX, "operation %u (%.80s) timed out after %.1f s: %.300s", l->op, l->what, l->waited_s, l->text);
  } else {
    group_fail(g, AGG_ETIMEDOUT, UINT32_MAX, "operation %u (%.80s): all ranks have called it and it is not finished; waited %.1f s", l->op,
               l->what, l->waited_s);
  }
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  decide(arg);
}

void late_report(struct group *g, const Ctl__Late *from) {
  struct late *l = &g->late;
  struct timeval tv = {.tv_sec = ANSWER_S};
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Query q;
  ctl__query__init(&q);
  if (l->active && from->asks) return;
  int running = l->active && l->priority == from->priority && l->op == from->op;
  if (l->active && !running && !l->asks) return;
  l->asks = from->asks;
  l->waited_s = from->waited_s;
  str_copy(l->what, sizeof l->what, from->what);
  str_copy(l->text, sizeof l->text, from->text);
  if (running) return; /* the answers that are on their way will do */
  if (l->timer == NULL) l->timer = event_new(g->c->base, -1, 0, on_timer, g);
  if (l->timer == NULL) {
    group_fail(g, AGG_ETIMEDOUT, UINT32_MAX, "%s", from->text);
    return;
  }
  l->active = 1;
  l->waiting = 0;
  for (uint32_t i = 0; i < g->setup.n_nodes; i++) g->seats[i].answered = 0;
  q.priority = l->priority = from->priority;
  q.op = l->op = from->op;
  f.body_case = CTL__FRAME__BODY_QUERY;
  f.query = &q;
  struct frame *packed = message_pack(&f);
  for (uint32_t i = 0; i < g->setup.n_nodes; i++) {
    if (g->seats[i].session == NULL) continue;
    channel_send(g->seats[i].session->ch, packed);
    l->waiting++;
  }
  frame_put(packed);
  event_add(l->timer, &tv);
}

void late_state(struct session *s, const Ctl__State *st) {
  struct group *g = s->group;
  struct seat *seat = &g->seats[s->node];
  if (!g->late.active || seat->answered || st->op != g->late.op || st->priority != g->late.priority) return;
  seat->answered = 1;
  for (unsigned i = 0; i < AGG_PRIORITY_COUNT; i++) seat->posted[i] = st->posted[i];
  str_copy(seat->called, sizeof seat->called, st->called);
  if (--g->late.waiting == 0) decide(g);
}

void late_left(struct group *g, uint32_t node) {
  if (g->late.active && !g->seats[node].answered && --g->late.waiting == 0) decide(g);
}

void late_free(struct group *g) {
  if (g->late.timer) event_free(g->late.timer);
}
