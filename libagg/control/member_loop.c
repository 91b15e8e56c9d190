/*
 * A member on the control thread: its connection to the coordinator, what arrives there, and the hooks. Never blocks and never frees the
 * member.
 */
#include "member_state.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "message.h"

static const struct state_row phase_rows[MEMBER_PHASE_COUNT] = {
    [MEMBER_HELLO] = {"hello", STATE_TO(MEMBER_JOINING) | STATE_TO(MEMBER_OVER)},
    [MEMBER_JOINING] = {"joining", STATE_TO(MEMBER_SETUP) | STATE_TO(MEMBER_OVER)},
    [MEMBER_SETUP] = {"setup", STATE_TO(MEMBER_READY) | STATE_TO(MEMBER_OVER)},
    [MEMBER_READY] = {"ready", STATE_TO(MEMBER_RUNNING) | STATE_TO(MEMBER_OVER)},
    [MEMBER_RUNNING] = {"running", STATE_TO(MEMBER_OVER)},
    [MEMBER_OVER] = {"over", STATE_TO(MEMBER_HELLO)},
};
static const struct state_table phases = {"member", phase_rows, MEMBER_PHASE_COUNT};

void member_move(struct member *m, unsigned phase) {
  state_move(&phases, &m->phase, phase);
  pthread_cond_broadcast(&m->changed);
}

static void finish_channel(struct member *m) {
  if (m->channel != NULL) channel_finish(m->channel, NULL, NULL);
  m->channel = NULL;
}

/* The group is over for this member: wakes the caller or calls the hook. */
static void over(struct member *m, int code, uint32_t culprit, const char *text, int retry) {
  finish_channel(m);
  pthread_mutex_lock(&m->mu);
  int first = m->phase != MEMBER_OVER, tell = m->taken;
  if (first) {
    err_set(&m->err, code, "%s", text);
    m->retry = (uint8_t)retry;
    member_move(m, MEMBER_OVER);
  }
  pthread_mutex_unlock(&m->mu);
  if (first && tell && !m->leaving) m->hooks.aborted(m->hooks.user, code, culprit, text);
}

/* ---- what arrives ----------------------------------------------------------------------------------------------------------------- */

static void send_join(struct member *m) {
  const struct member_config *c = m->config;
  struct member_config copy = *c;
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Join j;
  ctl__join__init(&j);
  uint64_t now = clock_now_ns();
  double left = now < m->deadline ? (double)(m->deadline - now) * 1e-9 : 0;
  struct message_nodes *node = message_nodes_make(c->self, 1);
  if (node == NULL) {
    over(m, AGG_ENOMEM, UINT32_MAX, "out of memory for the JOIN message", 0);
    return;
  }
  j.group.len = CONTROL_GROUP_BYTES;
  j.group.data = copy.group;
  j.job = copy.job;
  j.rank = c->rank;
  j.size = c->size;
  j.servers = (char *)(uintptr_t)c->servers; /* protobuf-c has no const fields; packing only reads */
  j.plan = (char *)(uintptr_t)c->plan;
  j.strict = c->strict != 0;
  j.tune = c->tune != 0;
  j.private_memory = c->private_memory != 0;
  j.lanes = c->lanes;
  j.window = c->window;
  j.chunk_bytes = c->chunk_bytes;
  j.timeout_s = c->timeout_s;
  j.join_s = left - MIN_OF(0.25, left * 0.1); /* the coordinator speaks first: it knows who is missing */
  j.node = message_nodes_list(node)[0];
  f.body_case = CTL__FRAME__BODY_JOIN;
  f.join = &j;
  message_send(m->channel, &f);
  message_nodes_free(node);
}

static void on_ready(void *user) {
  struct member *m = user;
  channel_prove(m->channel, CHANNEL_FRAME_SETUP);
  pthread_mutex_lock(&m->mu);
  member_move(m, MEMBER_JOINING);
  pthread_mutex_unlock(&m->mu);
  send_join(m);
}

/* From now on messages can name the coordinator as a node. */
static void name_coordinator(struct member *m, const Ctl__Setup *from, const struct control_setup *s) {
  char name[CONTROL_NODE_NAME_MAX];
  if (m->has_servers && s->n_nodes > m->size) {
    (void)snprintf(m->coordinator, sizeof m->coordinator, "%s, which coordinates,", control_node_name(s, m->size, name, sizeof name));
    return;
  }
  for (uint32_t i = 0; i < m->size; i++) {
    if (s->nodes[i].pid != from->coordinator_pid || strcmp(s->nodes[i].host, from->coordinator_host) != 0) continue;
    (void)snprintf(m->coordinator, sizeof m->coordinator, "%s, which coordinates,", control_node_name(s, i, name, sizeof name));
    return;
  }
}

static void take_setup(struct member *m, const Ctl__Setup *from) {
  agg_error_t err;
  struct control_setup s;
  if (from->workers != m->size) {
    over(m, AGG_EPROTO, UINT32_MAX, "the coordinator's SETUP is for another group", 0);
    return;
  }
  if (message_setup_take(from, &s, &err) != AGG_OK) {
    over(m, err.code, UINT32_MAX, err.text, 0);
    return;
  }
  name_coordinator(m, from, &s);
  m->n_nodes = s.n_nodes;
  pthread_mutex_lock(&m->mu);
  m->setup = s;
  member_move(m, MEMBER_SETUP);
  pthread_mutex_unlock(&m->mu);
}

static void answer_query(struct member *m, const Ctl__Query *q) {
  struct control_state state = {.waits_for = UINT32_MAX};
  m->hooks.query(m->hooks.user, q->priority, q->op, &state);
  message_send_state(m->channel, q, &state);
}

static void unexpected(struct member *m) {
  char text[AGG_ERROR_TEXT_MAX];
  (void)snprintf(text, sizeof text, "%s sent a message that has no place there", m->coordinator);
  over(m, AGG_EPROTO, UINT32_MAX, text, 0);
}

static void on_message(struct member *m, const Ctl__Frame *f) {
  unsigned phase = m->phase; /* only this thread changes it, except for READY, which is posted here too */
  if (f->body_case == CTL__FRAME__BODY_REFUSED && phase == MEMBER_JOINING) {
    over(m, f->refused->code, UINT32_MAX, f->refused->text, 0);
  } else if (f->body_case == CTL__FRAME__BODY_ABORT && phase >= MEMBER_JOINING) {
    over(m, f->abort->code, f->abort->culprit < m->n_nodes ? f->abort->culprit : UINT32_MAX, f->abort->text, 0);
  } else if (f->body_case == CTL__FRAME__BODY_SETUP && phase == MEMBER_JOINING) {
    take_setup(m, f->setup);
  } else if (f->body_case == CTL__FRAME__BODY_GO && phase == MEMBER_READY) {
    pthread_mutex_lock(&m->mu);
    member_move(m, MEMBER_RUNNING);
    pthread_mutex_unlock(&m->mu);
  } else if (f->body_case == CTL__FRAME__BODY_QUERY && phase == MEMBER_RUNNING) {
    answer_query(m, f->query);
  } else if (f->body_case == CTL__FRAME__BODY_LEFT && phase == MEMBER_RUNNING && f->left->node < m->n_nodes) {
    if (!m->leaving) m->hooks.left(m->hooks.user, f->left->node);
  } else {
    unexpected(m);
  }
}

static void on_frame(void *user, const unsigned char *bytes, size_t n) {
  struct member *m = user;
  Ctl__Frame *f;
  agg_error_t err;
  if (message_unpack(bytes, n, &f, &err) == AGG_OK) {
    on_message(m, f);
    message_free(f);
  } else {
    err_prefix(&err, "%s", m->coordinator);
    over(m, err.code, UINT32_MAX, err.text, 0);
  }
}

static void refused_token(const struct member *m, agg_error_t *err) {
  if (control_has_token(m->control)) {
    err_set(err, AGG_EAUTH,
            "%s does not know the token that rank %u was given: check AGG_TOKEN or AGG_TOKEN_FILE of rank %u against the coordinator's",
            m->coordinator, m->rank, m->rank);
  } else {
    err_set(err, AGG_EAUTH, "%s asks for a token and rank %u has none: set AGG_TOKEN or AGG_TOKEN_FILE there", m->coordinator, m->rank);
  }
}

static void on_closed(void *user, int code, const char *text) {
  struct member *m = user;
  agg_error_t err;
  int retry = m->phase == MEMBER_HELLO && (code == AGG_EPEER || code == AGG_ETIMEDOUT);
  m->channel = NULL;
  if (code == AGG_EAUTH) {
    refused_token(m, &err);
  } else if (m->phase > MEMBER_HELLO && code == AGG_EPEER) {
    err_set(&err, code, "%s was lost: %s", m->coordinator, text);
  } else {
    err_set(&err, code, "%s: %s", m->coordinator, text);
  }
  over(m, err.code, UINT32_MAX, err.text, retry);
}

/* ---- tasks -------------------------------------------------------------------------------------------------------------------------- */

void member_attach_task(void *arg) {
  struct member *m = arg;
  agg_error_t err;
  struct channel_config config = {
      .tls = control_tls(m->control), .fd = m->fd, .deadline_s = CHANNEL_HELLO_S, .frame_max = CHANNEL_FRAME_FIRST};
  config.hooks = (struct channel_hooks){.user = m, .ready = on_ready, .frame = on_frame, .closed = on_closed};
  if (channel_open(control_channels(m->control), &config, &m->channel, &err) != AGG_OK) over(m, err.code, UINT32_MAX, err.text, 0);
}

void member_detach_task(void *arg) {
  struct member *m = arg;
  channel_close(m->channel);
  m->channel = NULL;
}

void member_ready_task(void *arg) {
  struct member *m = arg;
  pthread_mutex_lock(&m->mu);
  int go_on = m->phase == MEMBER_SETUP;
  if (go_on) member_move(m, MEMBER_READY);
  pthread_mutex_unlock(&m->mu);
  if (go_on) message_send_empty(m->channel, CTL__FRAME__BODY_READY);
}

static void on_gone(void *user) {
  struct member *m = user;
  pthread_mutex_lock(&m->mu);
  m->gone = 1;
  pthread_cond_broadcast(&m->changed);
  pthread_mutex_unlock(&m->mu);
}

void member_leave_task(void *arg) {
  struct member *m = arg;
  struct channel *ch = m->channel;
  m->leaving = 1;
  m->channel = NULL;
  if (ch == NULL) {
    on_gone(m);
    return;
  }
  message_send_empty(ch, CTL__FRAME__BODY_LEAVE);
  channel_finish(ch, on_gone, m); /* the coordinator closes when it has read it, so a later JOIN comes after this LEAVE */
}
