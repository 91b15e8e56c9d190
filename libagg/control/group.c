/*
 * A group from its first JOIN to its end: states, deadlines, SETUP, READY, GO, LEAVE, ABORT. Every failure ends in group_fail, which tells
 * everyone and frees the group; nobody uses a group after it has called something that may fail it.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "base/err.h"
#include "base/util.h"
#include "coord.h"

static const struct state_row rows[GROUP_STATE_COUNT] = {
    [GROUP_GATHERING] = {"gathering", STATE_TO(GROUP_CONNECTING) | STATE_TO(GROUP_SETTING_UP)},
    [GROUP_CONNECTING] = {"connecting", STATE_TO(GROUP_ASKING)},
    [GROUP_ASKING] = {"asking", STATE_TO(GROUP_RECRUITING)},
    [GROUP_RECRUITING] = {"recruiting", STATE_TO(GROUP_SETTING_UP)},
    [GROUP_SETTING_UP] = {"setting up", STATE_TO(GROUP_RUNNING)},
    [GROUP_RUNNING] = {"running", 0},
};
static const struct state_table states = {"group", rows, GROUP_STATE_COUNT};

void group_move(struct group *g, unsigned state) {
  LOG_DEBUG(g->c->log, "control: comm %u: %s -> %s", g->setup.comm, state_name(&states, g->state), state_name(&states, state));
  state_move(&states, &g->state, state);
}

const char *group_name(const struct group *g, uint32_t node, char *buf, size_t cap) {
  const struct control_node *n = node < g->setup.n_nodes ? &g->setup.nodes[node] : NULL;
  if (node >= g->size && node < g->setup.n_nodes && !g->seats[node].described) {
    (void)snprintf(buf, cap, "server %u (%.100s)", node - g->size, g->enlist[node - g->size].text);
  } else if (n == NULL || (node < g->size && !g->seats[node].joined)) {
    (void)snprintf(buf, cap, "rank %u", node);
  } else {
    (void)snprintf(buf, cap, "%s %u (%s, pid %u)", node < g->size ? "rank" : "server", node < g->size ? node : node - g->size, n->host,
                   n->pid);
  }
  return buf;
}

/* ---- life -----------------------------------------------------------------------------------------------------------------------------
 */

static void group_free(struct group *g) {
  enlist_free(g);
  late_free(g);
  if (g->timer) event_free(g->timer);
  if (g->retry) event_free(g->retry);
  control_setup_free(&g->setup);
  free(g->seats);
  free(g->servers);
  free(g->plan);
  free(g);
}

static void group_forget(struct group *g) {
  TAILQ_REMOVE(&g->c->groups, g, link);
  g->c->n_groups--;
  g->c->n_seats -= g->setup.n_nodes;
  group_free(g);
}

/* "0, 3-5, 9 and 12 more" */
static void list_missing(const struct group *g, char *text, size_t cap) {
  size_t at = 0;
  uint32_t items = 0, more = 0;
  text[0] = '\0';
  for (uint32_t i = 0; i < g->size; i++) {
    if (g->seats[i].joined) continue;
    uint32_t last = i;
    while (last + 1 < g->size && !g->seats[last + 1].joined) last++;
    if (items++ < 16 && at + 32 < cap) {
      at += (size_t)snprintf(text + at, cap - at, last > i ? "%s%u-%u" : "%s%u", at ? ", " : "", i, last);
    } else {
      more += last - i + 1;
    }
    i = last;
  }
  if (more) (void)snprintf(text + at, cap - at, " and %u more", more);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg) {
  struct group *g = arg;
  char text[360];
  (void)fd, (void)what;
  if (g->state == GROUP_GATHERING) {
    list_missing(g, text, sizeof text);
    group_fail(g, AGG_ETIMEDOUT, UINT32_MAX,
               "only %u of %u ranks joined within %.1f s; missing: rank %s. Were they started, with this coordinator's address?", g->joined,
               g->size, g->join_s, text);
  } else if (g->state == GROUP_SETTING_UP) {
    uint32_t node = 0;
    while (node < g->setup.n_nodes && g->seats[node].ready) node++;
    group_name(g, node, text, sizeof text);
    group_fail(g, AGG_ETIMEDOUT, node, "%s has not connected its data lanes within %.1f s (%u of %u nodes are ready)", text, g->join_s,
               g->ready, g->setup.n_nodes);
  } else {
    enlist_missing(g, text, sizeof text);
    group_fail(g, AGG_ETIMEDOUT, UINT32_MAX, "%s", text);
  }
}

void group_set_deadline(struct group *g, double seconds) {
  struct timeval tv = {.tv_sec = (time_t)seconds, .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
  g->deadline_ns = clock_now_ns() + (uint64_t)(seconds * 1e9);
  event_add(g->timer, &tv);
}

/* Seats and nodes, ranks first. */
static int make_seats(struct group *g) {
  g->setup.n_nodes = g->size + g->n_servers;
  g->seats = calloc(g->setup.n_nodes, sizeof *g->seats);
  g->setup.nodes = calloc(g->setup.n_nodes, sizeof *g->setup.nodes);
  g->timer = event_new(g->c->base, -1, 0, on_deadline, g);
  return g->seats && g->setup.nodes && g->timer && g->servers && g->plan ? AGG_OK : AGG_ENOMEM;
}

int group_create(struct coordinator *c, const Ctl__Join *j, unsigned key, struct group **out, agg_error_t *err) {
  struct group *g = calloc(1, sizeof *g);
  if (g == NULL) return err_set(err, AGG_ENOMEM, "the coordinator is out of memory");
  g->c = c;
  g->key = key;
  memcpy(g->id, j->group.data, CONTROL_GROUP_BYTES);
  str_copy(g->job, sizeof g->job, j->job);
  g->size = j->size;
  g->first_rank = j->rank;
  g->lanes = j->lanes;
  g->window = j->window;
  g->chunk_bytes = j->chunk_bytes;
  g->strict = j->strict != 0;
  g->tune = j->tune != 0;
  g->servers = strdup(j->servers);
  g->plan = strdup(j->plan);
  g->setup.timeout_s = j->timeout_s;
  g->setup.epoch = 1;
  int rc = g->servers ? enlist_parse(g, g->servers, err) : err_set(err, AGG_ENOMEM, "the coordinator is out of memory");
  if (rc == AGG_OK && make_seats(g) != AGG_OK) rc = err_set(err, AGG_ENOMEM, "the coordinator is out of memory");
  if (rc == AGG_OK && RAND_bytes(g->setup.secret, CONTROL_SECRET_BYTES) != 1) {
    ERR_clear_error();
    rc = err_set(err, AGG_ESYS, "the coordinator has no random numbers");
  }
  if (rc != AGG_OK) {
    group_free(g);
    return rc;
  }
  g->setup.comm = c->next_comm++;
  if (c->next_comm == 0) c->next_comm = 1;
  TAILQ_INSERT_TAIL(&c->groups, g, link);
  c->n_groups++;
  c->n_seats += g->setup.n_nodes;
  *out = g;
  return AGG_OK;
}

static struct frame *abort_frame(int code, uint32_t culprit, char *text) {
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Abort a;
  ctl__abort__init(&a);
  a.code = code;
  a.culprit = culprit;
  a.text = text;
  f.body_case = CTL__FRAME__BODY_ABORT;
  f.abort = &a;
  return message_pack(&f);
}

void group_fail(struct group *g, int code, uint32_t culprit, const char *fmt, ...) {
  char text[AGG_ERROR_TEXT_MAX];
  va_list ap;
  va_start(ap, fmt);
  (void)vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  LOG_WARN(g->c->log, "control: comm %u (job %s): ended: %s", g->setup.comm, g->job, text);
  struct frame *f = abort_frame(code, culprit, text);
  for (uint32_t i = 0; i < g->setup.n_nodes; i++) {
    struct session *s = g->seats[i].session;
    g->seats[i].session = NULL;
    if (s == NULL) continue;
    if (s->outgoing && g->state < GROUP_RECRUITING) { /* it knows nothing of the group yet */
      session_drop(s);
      continue;
    }
    channel_send(s->ch, f);
    session_end(s);
  }
  frame_put(f);
  group_forget(g);
}

/* The last rank has left. */
static void group_end(struct group *g) {
  LOG_INFO(g->c->log, "control: comm %u (job %s): all ranks have left", g->setup.comm, g->job);
  for (uint32_t i = g->size; i < g->setup.n_nodes; i++) {
    struct session *s = g->seats[i].session;
    if (s == NULL) continue;
    message_send_empty(s->ch, CTL__FRAME__BODY_END);
    session_end(s);
  }
  group_forget(g);
}

/* ---- from complete to running -----------------------------------------------------------------------------------------------------------
 */

void group_complete(struct group *g) {
  agg_error_t err;
  if (g->n_servers > 0) {
    group_move(g, GROUP_CONNECTING);
    enlist_start(g);
  } else if (planning_make(g, &err) != AGG_OK) {
    group_fail(g, err.code, UINT32_MAX, "%s", err.text);
  } else {
    group_set_up(g);
  }
}

static void send_all(struct group *g, struct frame *f) {
  for (uint32_t i = 0; i < g->setup.n_nodes; i++) {
    if (g->seats[i].session != NULL) channel_send(g->seats[i].session->ch, f);
  }
}

void group_set_up(struct group *g) {
  struct frame *f = message_setup_pack(&g->setup, g->size, g->c->host, (uint32_t)getpid());
  if (f == NULL) {
    group_fail(g, AGG_ENOMEM, UINT32_MAX, "the coordinator is out of memory for the description of %u nodes", g->setup.n_nodes);
    return;
  }
  group_move(g, GROUP_SETTING_UP);
  group_set_deadline(g, g->join_s);
  send_all(g, f);
  frame_put(f);
}

static void group_go(struct group *g) {
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Go go;
  ctl__go__init(&go);
  f.body_case = CTL__FRAME__BODY_GO;
  f.go = &go;
  char plan[PLAN_TEXT_MAX];
  struct frame *packed = message_pack(&f);
  group_move(g, GROUP_RUNNING);
  event_del(g->timer);
  send_all(g, packed);
  frame_put(packed);
  LOG_INFO(g->c->log, "control: comm %u (job %s): %u ranks and %u servers run, plan %s, %u lanes, window %u, chunks of %u bytes",
           g->setup.comm, g->job, g->size, g->n_servers, plan_text(&g->setup.plan, plan, sizeof plan), g->setup.plan.lanes,
           g->setup.plan.window, g->setup.plan.chunk_bytes);
}

/* ---- what arrives
 * ------------------------------------------------------------------------------------------------------------------------ */

static void leave(struct session *s) {
  struct group *g = s->group;
  uint32_t node = s->node;
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Left left;
  ctl__left__init(&left);
  char name[CONTROL_NODE_NAME_MAX];
  g->seats[node].session = NULL;
  g->seats[node].left = 1;
  g->present--;
  session_end(s);
  if (g->state != GROUP_RUNNING) {
    group_fail(g, AGG_EPEER, node, "%s left before the group was complete", group_name(g, node, name, sizeof name));
    return;
  }
  if (g->present == 0) {
    group_end(g);
    return;
  }
  left.node = node;
  f.body_case = CTL__FRAME__BODY_LEFT;
  f.left = &left;
  struct frame *packed = message_pack(&f);
  for (uint32_t i = 0; i < g->size; i++) {
    if (g->seats[i].session != NULL) channel_send(g->seats[i].session->ch, packed);
  }
  frame_put(packed);
  late_left(g, node);
}

static void unexpected(struct session *s) {
  char name[CONTROL_NODE_NAME_MAX];
  group_fail(s->group, AGG_EPROTO, s->node, "%s sent a message that has no place in a group that is %s",
             group_name(s->group, s->node, name, sizeof name), state_name(&states, s->group->state));
}

/* A lane to a rank that has left closes before the others hear of the leaving: the reporter cannot know, the coordinator does. */
static void take_fault(struct group *g, const Ctl__Fault *f) {
  char name[CONTROL_NODE_NAME_MAX];
  uint32_t culprit = f->culprit < g->setup.n_nodes ? f->culprit : UINT32_MAX;
  if (f->code == AGG_EPEER && culprit < g->size && g->seats[culprit].left) {
    group_fail(g, f->code, culprit, "%s has left the communicator (agg_comm_destroy) and is still needed: %.300s",
               group_name(g, culprit, name, sizeof name), f->text);
    return;
  }
  group_fail(g, f->code, culprit, "%s", f->text);
}

void group_message(struct session *s, const Ctl__Frame *f) {
  struct group *g = s->group;
  struct seat *seat = &g->seats[s->node];
  int is_server = s->node >= g->size;
  if (f->body_case == CTL__FRAME__BODY_FAULT) {
    take_fault(g, f->fault);
  } else if (is_server && g->state == GROUP_ASKING && !seat->described) {
    enlist_described(s, f);
  } else if (is_server && g->state == GROUP_RECRUITING && !seat->recruited) {
    enlist_answer(s, f);
  } else if (f->body_case == CTL__FRAME__BODY_READY && g->state == GROUP_SETTING_UP && !seat->ready) {
    seat->ready = 1;
    if (++g->ready == g->setup.n_nodes) group_go(g);
  } else if (f->body_case == CTL__FRAME__BODY_LEAVE && !is_server) {
    leave(s);
  } else if (f->body_case == CTL__FRAME__BODY_LATE && g->state == GROUP_RUNNING) {
    late_report(g, f->late);
  } else if (f->body_case == CTL__FRAME__BODY_STATE && g->state == GROUP_RUNNING) {
    late_state(s, f->state);
  } else {
    unexpected(s);
  }
}

void group_lost(struct session *s, int code, const char *text) {
  struct group *g = s->group;
  uint32_t node = s->node;
  char name[CONTROL_NODE_NAME_MAX];
  if (s->outgoing && g->state == GROUP_CONNECTING && enlist_lost(s, code, text)) return;
  g->seats[node].session = NULL;
  session_drop(s);
  group_name(g, node, name, sizeof name);
  if (code == AGG_EPEER) {
    group_fail(g, AGG_EPEER, node, "%s was lost: its connection to the coordinator closed", name);
  } else {
    group_fail(g, code == AGG_EAUTH || code == AGG_EVERSION ? code : AGG_EPEER, node, "%s was lost: %s", name, text);
  }
}
