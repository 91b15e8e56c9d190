/*
 * A server's part in one group: the other end of enlist.c. Turns the coordinator's messages into calls of the server's hooks and promises
 * that `end` is called exactly once for every `prepare` that succeeded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "coord.h"

/*
 *   ADMITTED --SETUP--> STARTED --recruit_ready--> READY --GO--> RUNNING
 *
 * From every state END, ABORT or the loss of the connection frees it. We wait for the coordinator in all but STARTED (for the server's own
 * lanes).
 */
enum recruit_state { RECRUIT_ADMITTED, RECRUIT_STARTED, RECRUIT_READY, RECRUIT_RUNNING, RECRUIT_STATE_COUNT };

static const struct state_row rows[RECRUIT_STATE_COUNT] = {
    [RECRUIT_ADMITTED] = {"admitted", STATE_TO(RECRUIT_STARTED)},
    [RECRUIT_STARTED] = {"started", STATE_TO(RECRUIT_READY)},
    [RECRUIT_READY] = {"ready", STATE_TO(RECRUIT_RUNNING)},
    [RECRUIT_RUNNING] = {"running", 0},
};
static const struct state_table states = {"recruit", rows, RECRUIT_STATE_COUNT};

struct recruit {
  struct session *session;
  const struct recruit_hooks *hooks;
  void *job;
  uint8_t state;
  uint8_t faulted; /* FAULT is sent: only the end counts from here on */
  uint32_t workers, servers;
};

static void recruit_free(struct session *s, int code, const char *text) {
  struct recruit *r = s->recruit;
  s->recruit = NULL;
  s->c->n_recruits--;
  r->hooks->end(r->job, code, text);
  free(r);
}

static int check_open(const struct coordinator *c, agg_error_t *err) {
  if (c->recruit == NULL) return err_set(err, AGG_ENOTSUP, "this process is a worker, not an agg-server: check AGG_SERVERS");
  if (c->draining) return err_set(err, AGG_ELIMIT, "the server is draining: it takes no new groups");
  return AGG_OK;
}

/* Keeps nothing: the RECRUIT that is to follow is the connection's first message as far as its state goes. */
void recruit_describe(struct session *s) {
  struct control_node self = {0};
  agg_error_t err;
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Described m;
  ctl__described__init(&m);
  int rc = check_open(s->c, &err);
  if (rc != AGG_OK) {
    session_refuse(s, rc, err.text);
    return;
  }
  s->c->recruit->describe(s->c->recruit->user, &self);
  struct message_nodes *nodes = message_nodes_make(&self, 1);
  if (nodes == NULL) {
    channel_send(s->ch, NULL);
    return;
  }
  channel_prove(s->ch, CHANNEL_FRAME_SETUP);
  m.node = message_nodes_list(nodes)[0];
  f.body_case = CTL__FRAME__BODY_DESCRIBED;
  f.described = &m;
  message_send(s->ch, &f);
  message_nodes_free(nodes);
}

static int check(const struct coordinator *c, const Ctl__Recruit *from, struct recruit_request *q, agg_error_t *err) {
  memset(q, 0, sizeof *q);
  int rc = check_open(c, err);
  if (rc != AGG_OK) return rc;
  q->comm = from->comm;
  str_copy(q->job, sizeof q->job, from->job);
  q->server = from->server;
  q->workers = from->workers;
  q->servers = from->servers;
  return message_plan_take(from->plan, &q->plan, err);
}

void recruit_open(struct session *s, const Ctl__Recruit *from) {
  struct recruit_request q;
  agg_error_t err;
  struct recruit *r = NULL;
  int rc = check(s->c, from, &q, &err);
  if (rc == AGG_OK && (r = calloc(1, sizeof *r)) == NULL) rc = err_set(&err, AGG_ENOMEM, "the server is out of memory");
  if (rc == AGG_OK) {
    r->session = s;
    r->hooks = s->c->recruit;
    r->workers = q.workers;
    r->servers = q.servers;
    rc = r->hooks->prepare(r->hooks->user, r, &q, &r->job, &err);
  }
  plan_fini(&q.plan);
  if (rc != AGG_OK) {
    free(r);
    session_refuse(s, rc, err.text);
    return;
  }
  s->recruit = r;
  s->c->n_recruits++;
  channel_prove(s->ch, CHANNEL_FRAME_SETUP);
  message_send_empty(s->ch, CTL__FRAME__BODY_RECRUITED);
}

void recruit_ready(struct recruit *r) {
  if (r->faulted) return;
  state_move(&states, &r->state, RECRUIT_READY);
  message_send_empty(r->session->ch, CTL__FRAME__BODY_READY);
}

void recruit_fault(struct recruit *r, int code, uint32_t culprit, const char *text) {
  if (r->faulted) return;
  r->faulted = 1;
  message_send_fault(r->session->ch, code, culprit, text);
}

static void set_up(struct recruit *r, const Ctl__Setup *from) {
  struct control_setup setup;
  agg_error_t err;
  if (from->workers != r->workers || from->n_nodes != (size_t)r->workers + r->servers) {
    recruit_fault(r, AGG_EPROTO, UINT32_MAX, "the coordinator's SETUP is for another group than its RECRUIT");
    return;
  }
  int rc = message_setup_take(from, &setup, &err);
  if (rc == AGG_OK) {
    state_move(&states, &r->state, RECRUIT_STARTED);
    rc = r->hooks->start(r->job, &setup, &err);
    control_setup_free(&setup);
  }
  if (rc != AGG_OK) recruit_fault(r, rc, UINT32_MAX, err.text);
}

static void answer_query(struct recruit *r, const Ctl__Query *q) {
  struct control_state state = {.waits_for = UINT32_MAX};
  r->hooks->query(r->job, q->priority, q->op, &state);
  message_send_state(r->session->ch, q, &state);
}

static void end(struct session *s, int code, const char *text) {
  recruit_free(s, code, text);
  session_end(s);
}

void recruit_message(struct session *s, const Ctl__Frame *f) {
  struct recruit *r = s->recruit;
  if (f->body_case == CTL__FRAME__BODY_SETUP && r->state == RECRUIT_ADMITTED) {
    set_up(r, f->setup);
  } else if (f->body_case == CTL__FRAME__BODY_GO && r->state == RECRUIT_READY) {
    state_move(&states, &r->state, RECRUIT_RUNNING);
    r->hooks->go(r->job);
  } else if (f->body_case == CTL__FRAME__BODY_QUERY && r->state == RECRUIT_RUNNING) {
    answer_query(r, f->query);
  } else if (f->body_case == CTL__FRAME__BODY_ABORT) {
    end(s, f->abort->code, f->abort->text);
  } else if (f->body_case == CTL__FRAME__BODY_END && r->state == RECRUIT_RUNNING) {
    end(s, AGG_OK, "");
  } else {
    recruit_fault(r, AGG_EPROTO, UINT32_MAX, "the coordinator sent a server a message that has no place there");
  }
}

void recruit_lost(struct session *s, int code, const char *text) {
  char line[AGG_ERROR_TEXT_MAX];
  if (code == AGG_ECLOSED) {
    str_copy(line, sizeof line, text);
  } else {
    (void)snprintf(line, sizeof line, "the group's coordinator (%s) was lost: %s", s->peer, text);
    code = AGG_EPEER;
  }
  recruit_free(s, code, line);
  session_drop(s);
}
