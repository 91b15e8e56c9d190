/* Choosing the transport of a pair of nodes and explaining the choice. Opens nothing. */
#include "way.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

void way_here_init(struct way_here *here, const struct reactor *reactor) {
  here->n_tps = reactor_tps(reactor, here->tps);
  here->n_absent = reactor_absent(reactor, &here->absent);
}

/* ---- the choice ------------------------------------------------------------------------------------------------------------------- */

/* The peer's address for the transport: *offered says whether it has any; NULL where none can be reached. */
static const struct control_address *reachable(const struct plane_tp *tp, const struct control_node *peer, uint32_t reactor, int *offered) {
  *offered = 0;
  for (uint32_t k = 0; k < peer->n_addresses; k++) {
    const struct control_address *at = &peer->addresses[k];
    if (at->reactor != reactor || strcmp(at->transport, tp->ops->name) != 0) continue;
    *offered = 1;
    if (tp->ops->reach(tp->tp, at->bytes, at->len)) return at;
  }
  return NULL;
}

static size_t append(char *buf, size_t cap, size_t at, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static size_t append(char *buf, size_t cap, size_t at, const char *fmt, ...) {
  va_list args;
  if (at >= cap) return at;
  va_start(args, fmt);
  int n = vsnprintf(buf + at, cap - at, fmt, args);
  va_end(args);
  return at + (size_t)MAX_OF(n, 0);
}

static int no_way(const struct way_here *here, const struct control_node *peer, const char *name, agg_error_t *err) {
  char ours[64] = "", theirs[64] = "";
  for (unsigned i = 0; i < here->n_tps; i++) append(ours, sizeof ours, strlen(ours), "%s%s", i > 0 ? ", " : "", here->tps[i].ops->name);
  for (uint32_t i = 0; i < peer->n_addresses; i++) {
    const char *has = peer->addresses[i].transport;
    if (strstr(theirs, has) == NULL) append(theirs, sizeof theirs, strlen(theirs), "%s%s", theirs[0] != '\0' ? ", " : "", has);
  }
  return err_set(
      err, AGG_ENOTSUP,
      "no transport leads from here to %s (here: %s; there: %s): start both with the same transport (AGG_TRANSPORT), on addresses "
      "that reach each other",
      name, ours[0] != '\0' ? ours : "none", theirs[0] != '\0' ? theirs : "none");
}

int way_choose(const struct way_here *here, const struct control_node *peer, uint32_t reactor, const char *name, struct way *way,
               agg_error_t *err) {
  int offered;
  for (unsigned i = 0; i < here->n_tps; i++) {
    const struct control_address *at = reachable(&here->tps[i], peer, reactor, &offered);
    if (at == NULL) continue;
    *way = (struct way){.tp = i, .address = at};
    return AGG_OK;
  }
  return no_way(here, peer, name, err);
}

/* ---- the explanation ---------------------------------------------------------------------------------------------------------------- */

static const struct reactor_absent *find_absent(const struct way_here *here, const struct tp_ops *ops) {
  for (unsigned i = 0; i < here->n_absent; i++)
    if (here->absent[i].ops == ops) return &here->absent[i];
  return NULL;
}

static const struct plane_tp *find_tp(const struct way_here *here, const struct tp_ops *ops) {
  for (unsigned i = 0; i < here->n_tps; i++)
    if (here->tps[i].ops == ops) return &here->tps[i];
  return NULL;
}

/* Transports are looked at in the order of tp_all, so that those that this process does not have are explained too. What was not asked
 * for (AGG_TRANSPORT=tcp) needs no explanation. */
const char *way_why(const struct way_here *here, const struct control_node *peer, uint32_t reactor, const struct way *way, char *buf,
                    size_t cap) {
  size_t at = 0;
  buf[0] = '\0';
  for (const struct tp_ops *const *ops = tp_all(); *ops != NULL && *ops != here->tps[way->tp].ops; ops++) {
    const struct plane_tp *tp = find_tp(here, *ops);
    const struct reactor_absent *absent = find_absent(here, *ops);
    const char *name = (*ops)->name;
    int offered = 0;
    if (tp != NULL && reachable(tp, peer, reactor, &offered) == NULL && offered)
      at = append(buf, cap, at, "; not %s: %s", name, strcmp(name, "shm") == 0 ? "another host" : "no way from here to its address");
    else if (tp != NULL)
      at = append(buf, cap, at, "; not %s: that host offers none", name);
    else if (absent != NULL)
      at = append(buf, cap, at, "; not %s: this host has none (%s)", name, absent->why);
  }
  return buf;
}

/* ---- telling it, once a peer -------------------------------------------------------------------------------------------------------- */

struct one_way {
  char *why; /* until it is told */
  uint8_t chosen, up;
};

struct ways {
  const struct log *log;
  pthread_mutex_t lock;
  char prefix[AGG_NAME_MAX + 64];
  uint32_t nodes, first_peer;
  char first[192];
  struct one_way peers[];
};

struct ways *ways_create(const struct log *log, const char *prefix, uint32_t nodes) {
  struct ways *w = calloc(1, sizeof *w + nodes * sizeof w->peers[0]);
  if (w == NULL) return NULL;
  w->log = log;
  w->nodes = nodes;
  w->first_peer = UINT32_MAX;
  str_copy(w->prefix, sizeof w->prefix, prefix);
  pthread_mutex_init(&w->lock, NULL);
  return w;
}

void ways_destroy(struct ways *w) {
  if (w == NULL) return;
  for (uint32_t i = 0; i < w->nodes; i++) free(w->peers[i].why);
  pthread_mutex_destroy(&w->lock);
  free(w);
}

void ways_chosen(struct ways *w, uint32_t peer, const char *why) {
  if (peer >= w->nodes) return;
  pthread_mutex_lock(&w->lock);
  struct one_way *p = &w->peers[peer];
  if (!p->chosen && why[0] != '\0') p->why = strdup(why); /* without memory the line is shorter */
  p->chosen = 1;
  pthread_mutex_unlock(&w->lock);
}

void ways_up(struct ways *w, uint32_t peer, const char *name, const char *transport, const char *over) {
  if (peer >= w->nodes) return;
  pthread_mutex_lock(&w->lock);
  struct one_way *p = &w->peers[peer];
  int tell = !p->up;
  char *why = p->why;
  p->up = 1;
  p->why = NULL;
  if (peer < w->first_peer) {
    w->first_peer = peer;
    (void)snprintf(w->first, sizeof w->first, "%s: %s (%s)", name, transport, over);
  }
  pthread_mutex_unlock(&w->lock);
  if (tell) LOG_INFO(w->log, "%s: %s: %s (%s)%s", w->prefix, name, transport, over, why != NULL ? why : "");
  free(why);
}

const char *ways_first(struct ways *w, char *buf, size_t cap) {
  pthread_mutex_lock(&w->lock);
  str_copy(buf, cap, w->first);
  pthread_mutex_unlock(&w->lock);
  return buf;
}
