/*
 * A member for the thread that calls: joining with its deadline and its tries to connect, waiting, reporting, leaving. Everything that
 * touches the connection is handed to the control thread (member_loop.c).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/net.h"
#include "base/util.h"
#include "member_state.h"
#include "message.h"

#define TRY_FIRST_MS 5
#define TRY_MOST_MS 250
#define CONNECT_MS 3000
#define GRACE_S 1.0 /* the coordinator's deadline is join_timeout_s too; its text is the better one */
#define JOIN_MAX_S 1e7

static uint64_t after(uint64_t now, double seconds) { return now + (uint64_t)(MIN_OF(MAX_OF(seconds, 0.0), JOIN_MAX_S) * 1e9); }

/* Waits for a change of the member, at most until the time. mu held. Returns 0 when the time has passed. */
static int wait_until(struct member *m, uint64_t deadline_ns) {
  struct timespec ts = {.tv_sec = (time_t)(deadline_ns / 1000000000u), .tv_nsec = (long)(deadline_ns % 1000000000u)};
  return pthread_cond_timedwait(&m->changed, &m->mu, &ts) != ETIMEDOUT;
}

static void pause_ms(int ms, uint64_t deadline) {
  uint64_t until = MIN_OF(clock_now_ns() + (uint64_t)ms * 1000000u, deadline);
  struct timespec ts = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR) continue;
}

static int member_new(struct control *c, const struct member_config *config, struct member **out) {
  pthread_condattr_t attr;
  struct member *m = calloc(1, sizeof *m);
  if (m == NULL) return AGG_ENOMEM;
  m->control = c;
  pthread_mutex_init(&m->mu, NULL);
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&m->changed, &attr);
  pthread_condattr_destroy(&attr);
  m->phase = MEMBER_HELLO;
  m->hooks = config->hooks;
  m->rank = config->rank;
  m->size = config->size;
  m->has_servers = config->servers[0] != '\0';
  m->config = config;
  m->join_timeout_s = config->join_timeout_s;
  m->deadline = after(clock_now_ns(), config->join_timeout_s);
  (void)snprintf(m->coordinator, sizeof m->coordinator,
                 strchr(config->host, ':') ? "the coordinator at [%s]:%u" : "the coordinator at %s:%u", config->host, config->port);
  *out = m;
  return AGG_OK;
}

static void member_free(struct member *m) {
  control_setup_free(&m->setup);
  pthread_cond_destroy(&m->changed);
  pthread_mutex_destroy(&m->mu);
  free(m);
}

static int check_config(const struct member_config *c, agg_error_t *err) {
  if (c->size == 0 || c->rank >= c->size) return err_set(err, AGG_EINVAL, "rank %u is not below the group's size %u", c->rank, c->size);
  if (c->size > FOREST_MAX_NODES)
    return err_set(err, AGG_ELIMIT, "a group of %u ranks: at most %u are possible", c->size, FOREST_MAX_NODES);
  if (c->self->n_addresses > MESSAGE_ADDRESSES_MAX)
    return err_set(err, AGG_ELIMIT, "%u data addresses: at most %d", c->self->n_addresses, MESSAGE_ADDRESSES_MAX);
  if (c->self->reactors == 0 || c->self->reactors > CONTROL_REACTORS_MAX) {
    return err_set(err, AGG_ELIMIT, "%u reactors: expected 1 to %d (AGG_REACTORS)", c->self->reactors, CONTROL_REACTORS_MAX);
  }
  if (!(c->join_timeout_s >= 0) || !(c->timeout_s >= 0) || c->timeout_s > MESSAGE_SECONDS_MAX)
    return err_set(err, AGG_EINVAL, "a timeout is not a number of seconds");
  return AGG_OK;
}

/* One try to connect: 0 with m->fd, AGG_EAUTH when it must not be tried, others when it may be tried again. */
static int connect_once(struct member *m, agg_error_t *err) {
  const struct member_config *c = m->config;
  struct net_addr peer = {.len = sizeof peer.ss};
  uint64_t now = clock_now_ns();
  int ms = now < m->deadline ? (int)MIN_OF((m->deadline - now) / 1000000u + 1, (uint64_t)CONNECT_MS) : 1;
  if (!control_has_token(m->control)) {
    struct net_addr addr[4];
    int n = net_resolve(c->host, c->port, 0, addr, 4, err);
    if (n < 0) return n;
    for (int i = 0; i < n; i++) {
      if (net_is_loopback(&addr[i])) continue;
      char text[80];
      return err_set(err, AGG_EAUTH, "%s (%s) is not this machine's loopback address and no token is set: set AGG_TOKEN or AGG_TOKEN_FILE",
                     m->coordinator, net_format(&addr[i], text, sizeof text));
    }
  }
  int rc = net_connect(c->host, c->port, ms, &m->fd, err);
  if (rc != AGG_OK) return rc == AGG_EAUTH ? AGG_ESYS : rc;
  if (!control_has_token(m->control) && (getpeername(m->fd, (struct sockaddr *)&peer.ss, &peer.len) != 0 || !net_is_loopback(&peer))) {
    close(m->fd);
    return err_set(err, AGG_EAUTH, "%s is not on loopback and no token is set: set AGG_TOKEN or AGG_TOKEN_FILE", m->coordinator);
  }
  return AGG_OK;
}

/* Waits until SETUP has come or the try has failed. Returns 1 on SETUP, 0 on failure (m->err, m->retry), -1 at the deadline. */
static int wait_setup(struct member *m, uint8_t *phase) {
  pthread_mutex_lock(&m->mu);
  int in_time = 1;
  while (m->phase < MEMBER_SETUP && in_time)
    in_time = wait_until(m, m->phase == MEMBER_JOINING ? after(m->deadline, GRACE_S) : m->deadline);
  int rc = m->phase == MEMBER_OVER ? 0 : m->phase >= MEMBER_SETUP ? 1 : -1;
  *phase = m->phase;
  if (rc == 1) m->taken = 1;
  pthread_mutex_unlock(&m->mu);
  return rc;
}

static int no_answer(const struct member *m, uint8_t phase, const agg_error_t *last, agg_error_t *err) {
  double s = m->join_timeout_s;
  if (phase == MEMBER_JOINING)
    return err_set(err, AGG_ETIMEDOUT, "rank %u: %s took the JOIN but gave no answer within %.1f s (stopped or overloaded?)", m->rank,
                   m->coordinator, s);
  if (last->code)
    return err_set(err, AGG_ETIMEDOUT, "rank %u: %s does not answer; tried for %.1f s, last: %.200s", m->rank, m->coordinator, s,
                   last->text);
  return err_set(err, AGG_ETIMEDOUT, "rank %u: %s does not answer; waited %.1f s", m->rank, m->coordinator, s);
}

static int again(struct member *m) {
  pthread_mutex_lock(&m->mu);
  int retry = m->phase == MEMBER_OVER && m->retry;
  if (retry) member_move(m, MEMBER_HELLO);
  pthread_mutex_unlock(&m->mu);
  return retry;
}

static int join(struct member *m, agg_error_t *err) {
  agg_error_t last = {0};
  uint8_t phase = MEMBER_HELLO;
  int pause = TRY_FIRST_MS;
  do {
    int rc = connect_once(m, &last);
    if (rc == AGG_EAUTH || rc == AGG_ENOMEM) return err_set(err, rc, "%s", last.text);
    if (rc == AGG_OK) {
      control_call(m->control, member_attach_task, m);
      rc = wait_setup(m, &phase);
      if (rc == 1) return AGG_OK;
      if (rc < 0) break;
      last = m->err;
      if (!again(m)) return err_set(err, last.code, "%s", last.text);
    }
    pause_ms(pause, m->deadline);
    pause = MIN_OF(pause * 2, TRY_MOST_MS);
  } while (clock_now_ns() < m->deadline);
  return no_answer(m, phase, &last, err);
}

int member_join(struct control *c, const struct member_config *config, struct member **member, struct control_setup *setup,
                agg_error_t *err) {
  struct member *m;
  int rc = check_config(config, err);
  if (rc != AGG_OK) return rc;
  if (member_new(c, config, &m) != AGG_OK) return err_set(err, AGG_ENOMEM, "out of memory");
  rc = join(m, err);
  if (rc != AGG_OK) {
    control_call(c, member_detach_task, m);
    member_free(m);
    return rc;
  }
  m->config = NULL;
  *setup = m->setup;
  memset(&m->setup, 0, sizeof m->setup);
  *member = m;
  return AGG_OK;
}

int member_ready(struct member *m, agg_error_t *err) {
  uint64_t deadline = after(clock_now_ns(), m->join_timeout_s + GRACE_S);
  int in_time = 1;
  control_call(m->control, member_ready_task, m);
  pthread_mutex_lock(&m->mu);
  while (m->phase == MEMBER_READY && in_time) in_time = wait_until(m, deadline);
  uint8_t phase = m->phase;
  int rc = phase == MEMBER_RUNNING ? AGG_OK : phase == MEMBER_OVER ? err_set(err, m->err.code, "%s", m->err.text) : AGG_ETIMEDOUT;
  if (phase == MEMBER_READY)
    err_set(err, rc, "rank %u: the other ranks were not ready within %.1f s and %s did not say why", m->rank, m->join_timeout_s,
            m->coordinator);
  pthread_mutex_unlock(&m->mu);
  if (phase == MEMBER_SETUP) rc = err_set(err, AGG_EINVAL, "member_ready was called twice");
  return err == NULL || rc == AGG_OK ? rc : err->code;
}

/* ---- reports ------------------------------------------------------------------------------------------------------------------------- */

struct report {
  struct member *m;
  int code; /* 0: late */
  uint32_t culprit, priority, op;
  int asks; /* the deadline has not passed */
  double waited_s;
  char what[256];
  char text[AGG_ERROR_TEXT_MAX];
};

static void send_late(struct report *r) {
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Late l;
  ctl__late__init(&l);
  l.priority = r->priority;
  l.op = r->op;
  l.what = r->what;
  l.waited_s = r->waited_s;
  l.asks = r->asks;
  l.text = r->text;
  f.body_case = CTL__FRAME__BODY_LATE;
  f.late = &l;
  message_send(r->m->channel, &f);
}

static void report_task(void *arg) {
  struct report *r = arg;
  if (r->m->channel != NULL) {
    if (r->code) {
      message_send_fault(r->m->channel, r->code, r->culprit, r->text);
    } else {
      send_late(r);
    }
  }
  free(r);
}

/* The member lives until its leave task, which is queued behind this one. */
static void post_report(struct member *m, const struct report *report) {
  struct report *r = malloc(sizeof *r);
  if (r != NULL) {
    *r = *report;
    r->m = m;
    if (control_post(m->control, report_task, r) == AGG_OK) return;
    free(r);
  }
  LOG_ERROR(control_log(m->control), "control: out of memory; a report to the coordinator is lost: %s", report->text);
}

void member_report_fault(struct member *m, int code, uint32_t culprit, const char *text) {
  struct report r = {.code = code < 0 ? code : AGG_EPROTO, .culprit = culprit};
  str_copy(r.text, sizeof r.text, text);
  post_report(m, &r);
}

void member_fail(struct member *m, int code, const char *text) { member_report_fault(m, code, m->rank, text); }

void member_report_late(struct member *m, uint32_t priority, uint32_t op, const char *what, double waited_s, const char *text) {
  struct report r = {.priority = priority, .op = op, .waited_s = waited_s};
  assert(priority < AGG_PRIORITY_COUNT);
  str_copy(r.what, sizeof r.what, what);
  str_copy(r.text, sizeof r.text, text);
  post_report(m, &r);
}

void member_ask(struct member *m, uint32_t priority, uint32_t op, const char *what, double waited_s) {
  struct report r = {.priority = priority, .op = op, .asks = 1, .waited_s = waited_s};
  assert(priority < AGG_PRIORITY_COUNT);
  str_copy(r.what, sizeof r.what, what);
  post_report(m, &r);
}

void member_leave(struct member *m) {
  if (m == NULL) return;
  control_call(m->control, member_leave_task, m);
  pthread_mutex_lock(&m->mu);
  while (!m->gone) pthread_cond_wait(&m->changed, &m->mu);
  pthread_mutex_unlock(&m->mu);
  member_free(m);
}
