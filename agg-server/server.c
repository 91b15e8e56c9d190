/*
 * Owns the event loop: it brings coordinator, jobs and reactors' mail together, and ends them in order. It never touches a plane and
 * knows no protocol.
 *
 *   SERVING --signal--> DRAINING --no groups left, drain-timeout, or a second signal--> CLOSING --no jobs left--> (loop ends)
 */
#include "server.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/net.h"
#include "base/state.h"
#include "base/util.h"
#include "control/planning.h"
#include "describe.h"
#include "job.h"
#include "topology/cost.h"

/* The coordinator does not say when its last group goes; while draining it is asked. */
#define DRAIN_TICK_US 20000

enum server_state { SERVER_SERVING, SERVER_DRAINING, SERVER_CLOSING };

static const struct state_row server_rows[] = {
    [SERVER_SERVING] = {"serving", STATE_TO(SERVER_DRAINING) | STATE_TO(SERVER_CLOSING)},
    [SERVER_DRAINING] = {"draining", STATE_TO(SERVER_CLOSING)},
    [SERVER_CLOSING] = {"closing", 0},
};
static const struct state_table server_states = {"server", server_rows, ARRAY_LEN(server_rows)};

#define SIGNALS 2

struct server {
  const struct server_config *config;
  const struct log *log;
  struct event_base *base;
  struct coordinator *coordinator; /* NULL from CLOSING on */
  struct recruit_hooks hooks;
  struct reactors reactors;
  struct mailbox mailbox;
  struct admission admission;
  struct topo *topo; /* or NULL */
  struct cost cost;
  struct job_env jobs;
  struct control_node self;
  struct event *mail_event, *drain_timer, *signal_event[SIGNALS];
  uint64_t drain_deadline_ns;
  uint16_t port;
  uint8_t state;
  uint8_t cut; /* a second signal ended running jobs */
};

/* ---- the coordinator's hooks ------------------------------------------------------------------------------------------------------- */

static void hook_describe(void *user, struct control_node *self) { *self = ((struct server *)user)->self; }

static int hook_prepare(void *user, struct recruit *r, const struct recruit_request *request, void **job, agg_error_t *err) {
  struct server *s = user;
  struct job *made;
  int rc = job_prepare(&s->jobs, r, request, &made, err);
  if (rc != 0) return rc;
  *job = made;
  return 0;
}

static int hook_start(void *job, const struct control_setup *setup, agg_error_t *err) { return job_start(job, setup, err); }
static void hook_go(void *job) { job_go(job); }
static void hook_end(void *job, int code, const char *text) { job_end(job, code, text); }

/* A server posts no operations and waits for nobody on its own account: the workers' answers say who is late. */
static void hook_query(void *job, uint32_t priority, uint32_t op, struct control_state *state) {
  (void)job;
  (void)priority;
  (void)op;
  for (unsigned i = 0; i < AGG_PRIORITY_COUNT; i++) state->posted[i] = UINT64_MAX;
  state->waits_for = UINT32_MAX;
  state->text[0] = '\0';
}

/* ---- ending -------------------------------------------------------------------------------------------------------------------------- */

/* Aborts the groups that are left; the loop ends when their jobs are gone. */
static void close_server(struct server *s) {
  state_move(&server_states, &s->state, SERVER_CLOSING);
  coordinator_destroy(s->coordinator);
  s->coordinator = NULL;
}

static void name_running(const struct server *s, const char *why) {
  const struct job *job;
  for (job = TAILQ_FIRST(&s->jobs.jobs); job != NULL; job = job_next(job)) LOG_WARN(s->log, "%s: job %s is ended", why, job_name(job));
}

static void drain_tick(evutil_socket_t fd, short what, void *arg) {
  struct server *s = arg;
  (void)fd;
  (void)what;
  if (s->state == SERVER_DRAINING) {
    int groups = coordinator_groups(s->coordinator) != 0 || s->jobs.n_jobs != 0;
    if (groups && clock_now_ns() < s->drain_deadline_ns) return;
    if (groups) name_running(s, "drain-timeout passed");
    close_server(s);
  }
  if (s->state == SERVER_CLOSING && s->jobs.n_jobs == 0) event_base_loopbreak(s->base);
}

static void on_signal(evutil_socket_t number, short what, void *arg) {
  static const struct timeval tick = {.tv_usec = DRAIN_TICK_US};
  struct server *s = arg;
  (void)what;
  if (s->state == SERVER_SERVING) {
    LOG_INFO(s->log, "SIG%s: draining; %u jobs run and have %g s; a second signal ends them at once", sigabbrev_np((int)number),
             s->jobs.n_jobs, s->config->drain_timeout);
    s->admission.draining = 1;
    coordinator_drain(s->coordinator);
    s->drain_deadline_ns = clock_now_ns() + (uint64_t)(s->config->drain_timeout * 1e9);
    state_move(&server_states, &s->state, SERVER_DRAINING);
    event_add(s->drain_timer, &tick);
    event_active(s->drain_timer, EV_TIMEOUT, 0);
  } else if (s->state == SERVER_DRAINING) {
    s->cut = coordinator_groups(s->coordinator) != 0;
    LOG_WARN(s->log, "second signal (SIG%s): ending at once", sigabbrev_np((int)number));
    name_running(s, "second signal");
    close_server(s);
  }
}

/* ---- starting -------------------------------------------------------------------------------------------------------------------------
 */

static void on_mail(evutil_socket_t fd, short what, void *arg) {
  struct server *s = arg;
  (void)fd;
  (void)what;
  mailbox_deliver(&s->mailbox, job_mail);
  job_sweep(&s->jobs);
}

static int make_events(struct server *s, agg_error_t *err) {
  static const int signals[SIGNALS] = {SIGTERM, SIGINT};
  s->mail_event = event_new(s->base, s->mailbox.fd, EV_READ | EV_PERSIST, on_mail, s);
  s->drain_timer = event_new(s->base, -1, EV_PERSIST, drain_tick, s);
  int ok = s->mail_event != NULL && s->drain_timer != NULL && event_add(s->mail_event, NULL) == 0;
  for (unsigned i = 0; ok && i < SIGNALS; i++) {
    s->signal_event[i] = evsignal_new(s->base, signals[i], on_signal, s);
    ok = s->signal_event[i] != NULL && event_add(s->signal_event[i], NULL) == 0;
  }
  return ok ? 0 : err_set(err, AGG_ESYS, "libevent cannot make its events");
}

static void describe_self(struct server *s) {
  struct calibration calibration;
  struct topo here;
  if (gethostname(s->self.host, sizeof s->self.host) != 0) str_copy(s->self.host, sizeof s->self.host, "unknown");
  s->self.host[sizeof s->self.host - 1] = '\0';
  s->self.place = net_place();
  s->self.pid = (uint32_t)getpid();
  s->self.reactors = s->reactors.n;
  calibrate(s->log, &calibration);
  describe_here(&here, s->reactors.list[0], s->log);
  describe_node(&s->self, s->reactors.list[0], &here, &calibration, MIN_OF(s->config->job_memory_limit, s->config->memory_limit));
  topo_fini(&here);
  s->self.n_addresses = s->reactors.n_addresses;
  s->self.addresses = s->reactors.addresses;
}

static int listen_on(struct server *s, const struct tokens *tokens, agg_error_t *err) {
  s->hooks = (struct recruit_hooks){.user = s,
                                    .describe = hook_describe,
                                    .prepare = hook_prepare,
                                    .start = hook_start,
                                    .go = hook_go,
                                    .query = hook_query,
                                    .end = hook_end};
  struct coordinator_config config = {.log = s->log,
                                      .tokens = (const char *const *)tokens->list,
                                      .listen = s->config->listen,
                                      .recruit = &s->hooks,
                                      .max_connections = s->config->max_connections,
                                      .max_world = s->config->max_world,
                                      .topo = s->topo,
                                      .topo_name = s->config->topology,
                                      .cost = &s->cost};
  int rc = coordinator_create(s->base, &config, &s->coordinator, err);
  if (rc == 0) s->port = coordinator_port(s->coordinator);
  return rc;
}

int server_create(const struct server_config *config, const struct tokens *tokens, const struct log *log, struct server **out,
                  agg_error_t *err) {
  struct server *s = calloc(1, sizeof *s);
  if (s == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  s->config = config;
  s->log = log;
  s->mailbox.fd = -1;
  s->admission = (struct admission){.memory_limit = config->memory_limit,
                                    .job_memory_limit = config->job_memory_limit,
                                    .max_jobs = config->max_jobs,
                                    .max_world = config->max_world};
  job_env_init(&s->jobs);
  cost_init(&s->cost);
  int rc = cost_parse(&s->cost, config->cost, err);
  if (rc == 0 && config->topology[0] != '\0') rc = planning_topology_load(config->topology, &s->topo, err);
  if (rc == 0) rc = mailbox_init(&s->mailbox, err);
  if (rc == 0) rc = (s->base = event_base_new()) != NULL ? 0 : err_set(err, AGG_ESYS, "libevent cannot make an event loop");
  if (rc == 0) rc = reactors_start(&s->reactors, config, log, err);
  if (rc != 0) goto fail;
  s->jobs.log = log;
  s->jobs.base = s->base;
  s->jobs.reactors = &s->reactors;
  s->jobs.mailbox = &s->mailbox;
  s->jobs.admission = &s->admission;
  describe_self(s);
  rc = make_events(s, err);
  if (rc == 0) rc = listen_on(s, tokens, err);
  if (rc != 0) goto fail;
  LOG_INFO(log, "%u reactors; transports %s; data sockets on %s", s->reactors.n, s->reactors.transports,
           config->bind[0] != '\0' ? config->bind : "an address chosen by route");
  *out = s;
  return 0;

fail:
  server_destroy(s);
  return rc;
}

const char *server_address(const struct server *s, char *buf, size_t cap) {
  char host[CONFIG_HOST_MAX] = "";
  uint16_t port;
  if (net_split(s->config->listen, CONFIG_DEFAULT_PORT, host, sizeof host, &port, NULL) != 0 || host[0] == '\0') {
    str_copy(host, sizeof host, s->self.host);
  }
  snprintf(buf, cap, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, s->port);
  return buf;
}

int server_run(struct server *s) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  event_base_dispatch(s->base);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  return s->cut;
}

/* Runs the loop until the jobs are gone; each of them ends within its second of fencing. */
static void wait_for_jobs(struct server *s) {
  while (s->jobs.n_jobs > 0 && event_base_loop(s->base, EVLOOP_ONCE) == 0) continue;
}

void server_destroy(struct server *s) {
  if (s == NULL) return;
  coordinator_destroy(s->coordinator);
  if (s->base != NULL) wait_for_jobs(s);
  for (unsigned i = 0; i < SIGNALS; i++) {
    if (s->signal_event[i] != NULL) event_free(s->signal_event[i]);
  }
  if (s->drain_timer != NULL) event_free(s->drain_timer);
  if (s->mail_event != NULL) event_free(s->mail_event);
  reactors_stop(&s->reactors);
  planning_topology_free(s->topo);
  if (s->base != NULL) event_base_free(s->base);
  mailbox_fini(&s->mailbox);
  free(s);
}
