/*
 * JOINs: which group one belongs to, whether it agrees with those before it, and who is told when it does not. Owns the tombs of groups
 * that ended in a mismatch. Does nothing with a group that is complete.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "coord.h"

/* ---- tombs ----------------------------------------------------------------------------------------------------------------------------
 */

static void tomb_free(struct coordinator *c, struct tomb *t) {
  TAILQ_REMOVE(&c->tombs, t, link);
  free(t->told);
  free(t);
}

void tombs_free(struct coordinator *c) {
  struct tomb *t;
  while ((t = TAILQ_FIRST(&c->tombs)) != NULL) tomb_free(c, t);
}

static void tomb_tell(struct tomb *t, uint32_t rank) { t->told[rank / 8] |= (unsigned char)(1u << (rank % 8)); }
static int tomb_told(const struct tomb *t, uint32_t rank) { return rank >= t->size || (t->told[rank / 8] >> (rank % 8) & 1); }

/* Remembers the mismatch for the ranks that have not joined yet. Without memory they wait for their own deadline. */
static void tomb_make(const struct group *g, uint32_t other, const char *text) {
  struct tomb *t = calloc(1, sizeof *t);
  if (t == NULL || (t->told = calloc(g->size / 8 + 1, 1)) == NULL) {
    free(t);
    return;
  }
  memcpy(t->id, g->id, sizeof t->id);
  t->key = g->key;
  t->size = g->size;
  t->until_ns = clock_now_ns() + COORD_TOMB_NS;
  err_set(&t->err, AGG_EMISMATCH, "%s", text);
  for (uint32_t i = 0; i < g->size; i++) {
    if (g->seats[i].joined) tomb_tell(t, i);
  }
  if (other < g->size) tomb_tell(t, other);
  TAILQ_INSERT_TAIL(&g->c->tombs, t, link);
}

/* The mismatch that this rank has not been told yet, or NULL. A rank that comes again begins anew, and so does everyone after it. */
static struct tomb *tomb_find(struct coordinator *c, const unsigned char *id, unsigned key, uint32_t rank) {
  struct tomb *t, *next, *found = NULL;
  uint64_t now = clock_now_ns();
  for (t = TAILQ_FIRST(&c->tombs); t != NULL; t = next) {
    next = TAILQ_NEXT(t, link);
    int same = t->key == key && memcmp(t->id, id, CONTROL_GROUP_BYTES) == 0;
    if (now >= t->until_ns || (same && tomb_told(t, rank))) {
      tomb_free(c, t);
    } else if (same) {
      found = t;
    }
  }
  return found;
}

/* ---- agreement ------------------------------------------------------------------------------------------------------------------------
 */

struct who {
  const struct group *g;
  const Ctl__Join *j;
  char first[CONTROL_NODE_NAME_MAX], second[CONTROL_NODE_NAME_MAX];
};

static int differs_u32(const struct who *w, const char *what, const char *cure, uint32_t a, uint32_t b, agg_error_t *err) {
  if (a == b) return AGG_OK;
  return err_set(err, AGG_EMISMATCH, "the ranks disagree about %s: %s says %u, %s says %u; give all the same %s", what, w->first, a,
                 w->second, b, cure);
}

static int differs_text(const struct who *w, const char *what, const char *cure, const char *a, const char *b, agg_error_t *err) {
  if (strcmp(a, b) == 0) return AGG_OK;
  return err_set(err, AGG_EMISMATCH, "the ranks disagree about %s: %s says \"%.60s\", %s says \"%.60s\"; give all the same %s", what,
                 w->first, a, w->second, b, cure);
}

static int differs_seconds(const struct who *w, const char *what, const char *cure, double a, double b, agg_error_t *err) {
  if (!(a < b) && !(a > b)) return AGG_OK;
  return err_set(err, AGG_EMISMATCH, "the ranks disagree about %s: %s says %g s, %s says %g s; give all the same %s", what, w->first, a,
                 w->second, b, cure);
}

static int agree(const struct group *g, const Ctl__Join *j, agg_error_t *err) {
  struct who w = {.g = g, .j = j};
  int rc;
  group_name(g, g->first_rank, w.first, sizeof w.first);
  (void)snprintf(w.second, sizeof w.second, "rank %u (%s, pid %u)", j->rank, j->node->host, j->node->pid);
  if ((rc = differs_u32(&w, "the group's size", "AGG_SIZE", g->size, j->size, err)) != AGG_OK) return rc;
  if ((rc = differs_text(&w, "the servers", "AGG_SERVERS", g->servers, j->servers, err)) != AGG_OK) return rc;
  if ((rc = differs_text(&w, "the plan", "AGG_PLAN", g->plan, j->plan, err)) != AGG_OK) return rc;
  if ((rc = differs_u32(&w, "reproducible sums (1: strict)", "AGG_REPRODUCIBLE", g->strict, j->strict != 0, err)) != AGG_OK) return rc;
  if ((rc = differs_u32(&w, "measured times (1: auto)", "AGG_TUNE", g->tune, j->tune != 0, err)) != AGG_OK) return rc;
  if ((rc = differs_u32(&w, "the lanes", "AGG_LANES", g->lanes, j->lanes, err)) != AGG_OK) return rc;
  if ((rc = differs_u32(&w, "the window", "AGG_WINDOW", g->window, j->window, err)) != AGG_OK) return rc;
  if ((rc = differs_u32(&w, "the chunk size", "AGG_CHUNK", g->chunk_bytes, j->chunk_bytes, err)) != AGG_OK) return rc;
  return differs_seconds(&w, "the timeout", "AGG_TIMEOUT", g->setup.timeout_s, j->timeout_s, err);
}

/* ---- joining --------------------------------------------------------------------------------------------------------------------------
 */

/* The group that gathers under this name; *taken: a running one in which the rank takes part still. */
static struct group *find(struct coordinator *c, const Ctl__Join *j, unsigned key, struct group **taken) {
  struct group *g, *gathering = NULL;
  *taken = NULL;
  TAILQ_FOREACH(g, &c->groups, link) {
    if (g->key != key || memcmp(g->id, j->group.data, CONTROL_GROUP_BYTES) != 0) continue;
    if (g->state == GROUP_GATHERING) gathering = g;
    if (g->state == GROUP_GATHERING ? j->rank < g->size && g->seats[j->rank].joined : j->rank < g->size && !g->seats[j->rank].left)
      *taken = g;
  }
  return gathering;
}

static int refuse_taken(struct session *s, const struct group *g, const Ctl__Join *j) {
  char name[CONTROL_NODE_NAME_MAX], text[AGG_ERROR_TEXT_MAX];
  (void)snprintf(text, sizeof text,
                 "rank %u is taken by %s, so (%s, pid %u) cannot be it: give every process a rank of its own (AGG_RANK), and "
                 "every run a name of its own (AGG_JOB)",
                 j->rank, group_name(g, j->rank, name, sizeof name), j->node->host, j->node->pid);
  session_refuse(s, AGG_EMISMATCH, text);
  return AGG_EMISMATCH;
}

static int check_new(const struct coordinator *c, const Ctl__Join *j, agg_error_t *err) {
  if (c->draining)
    return err_set(err, AGG_ELIMIT,
                   "the server drains before it ends: it takes no new groups; use another, or wait until it is started again");
  if (j->size == 0 || j->rank >= j->size) return err_set(err, AGG_EMISMATCH, "rank %u is not below the group's size %u", j->rank, j->size);
  if (j->size > c->max_world) {
    const char *cure = c->recruit != NULL ? "start the server with a larger --max-world" : "that is the most there can be";
    return err_set(err, AGG_ELIMIT, "a group of %u ranks is larger than this coordinator takes: at most %u; %s", j->size, c->max_world,
                   cure);
  }
  if (j->size > c->max_connections) {
    return err_set(err, AGG_ELIMIT,
                   "a group of %u ranks needs more connections than this coordinator holds: at most %u; use an agg-server, with a larger "
                   "--max-connections and ulimit -n",
                   j->size, c->max_connections);
  }
  if (c->n_seats + j->size > COORD_SEATS_MAX)
    return err_set(err, AGG_ELIMIT, "the coordinator's groups hold %u ranks already: at most %u", c->n_seats, COORD_SEATS_MAX);
  return AGG_OK;
}

static void take_seat(struct session *s, struct group *g, const Ctl__Join *j) {
  if (message_node_take(j->node, &g->setup.nodes[j->rank]) != AGG_OK) {
    session_refuse(s, AGG_ENOMEM, "the coordinator is out of memory");
    return;
  }
  channel_prove(s->ch, CHANNEL_FRAME_FIRST);
  s->group = g;
  s->node = j->rank;
  g->seats[j->rank].session = s;
  g->seats[j->rank].joined = 1;
  g->joined++;
  g->present++;
  g->private_memory |= j->private_memory != 0;
  if (g->joined == 1 || j->join_s < g->join_s) g->join_s = j->join_s;
  if (g->deadline_ns == 0 || clock_now_ns() + (uint64_t)(j->join_s * 1e9) < g->deadline_ns) group_set_deadline(g, j->join_s);
  LOG_DEBUG(g->c->log, "control: comm %u: rank %u of %u (%s, pid %u) joined", g->setup.comm, j->rank, g->size, j->node->host, j->node->pid);
  if (g->joined == g->size) group_complete(g);
}

void group_join(struct session *s, const Ctl__Join *j) {
  struct coordinator *c = s->c;
  unsigned key = channel_key(s->ch);
  struct group *taken, *g = find(c, j, key, &taken);
  struct tomb *tomb = g ? NULL : tomb_find(c, j->group.data, key, j->rank);
  agg_error_t err;
  if (tomb != NULL) {
    tomb_tell(tomb, j->rank);
    session_refuse(s, tomb->err.code, tomb->err.text);
  } else if (g != NULL && agree(g, j, &err) != AGG_OK) {
    tomb_make(g, j->rank, err.text);
    session_refuse(s, err.code, err.text);
    group_fail(g, AGG_EMISMATCH, UINT32_MAX, "%s", err.text);
  } else if (taken != NULL) {
    refuse_taken(s, taken, j);
  } else if (g == NULL && (check_new(c, j, &err) != AGG_OK || group_create(c, j, key, &g, &err) != AGG_OK)) {
    session_refuse(s, err.code, err.text);
  } else {
    take_seat(s, g, j);
  }
}
