/*
 * The control thread: its event base, its queue of work, and this process's embedded coordinator. Every libevent call of the process's
 * control plane is made on this thread, on a base without locks, so nothing of libevent's process-wide state (threads, signals) is touched.
 * The thread blocks all signals.
 */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/err.h"
#include "base/util.h"
#include "coord.h"

#define PROBE_DESCRIPTORS 8
#define STOP_WAIT_NS 5000000000ull /* how long control_stop lets running groups of the embedded coordinator end */
#define STOP_LOOK_US 5000

struct task {
  STAILQ_ENTRY(task) link;
  void (*fn)(void *arg);
  void *arg;
  struct call *call; /* NULL: nobody waits, the task is freed when it has run */
};

/* A caller that waits for its task. */
struct call {
  struct task task;
  int done;
};

struct control {
  const struct log *log;
  const struct topo *topo;
  const char *topo_name;
  const struct cost *cost;
  struct token_key key;
  char token[CONTROL_TOKEN_MAX];
  struct tls *tls;
  struct event_base *base;
  struct event *wake, *stop_timer;
  int wake_fd;
  pthread_t thread;
  struct channel_set channels; /* of members */
  /* the control thread's */
  struct coordinator *coordinator;
  uint64_t stop_deadline;
  int stopping;
  /* shared */
  pthread_mutex_t mu;
  pthread_cond_t done;
  STAILQ_HEAD(, task) tasks;
};

struct channel_set *control_channels(struct control *c) {
  return &c->channels;
}
const struct tls *control_tls(const struct control *c) { return c->tls; }
const struct log *control_log(const struct control *c) { return c->log; }
int control_has_token(const struct control *c) { return c->token[0] != '\0'; }

/* ---- work for the thread -------------------------------------------------------------------------------------------------------- */

static void add_task(struct control *c, struct task *t) {
  uint64_t one = 1;
  pthread_mutex_lock(&c->mu);
  STAILQ_INSERT_TAIL(&c->tasks, t, link);
  pthread_mutex_unlock(&c->mu);
  ssize_t n = write(c->wake_fd, &one, sizeof one); /* fails only when it is full, and then the thread is awake */
  (void)n;
}

int control_post(struct control *c, void (*fn)(void *arg), void *arg) {
  struct task *t = malloc(sizeof *t);
  if (t == NULL) return AGG_ENOMEM;
  *t = (struct task){.fn = fn, .arg = arg};
  add_task(c, t);
  return AGG_OK;
}

void control_call(struct control *c, void (*fn)(void *arg), void *arg) {
  struct call call = {.task = {.fn = fn, .arg = arg}};
  assert(!pthread_equal(pthread_self(), c->thread));
  call.task.call = &call;
  add_task(c, &call.task);
  pthread_mutex_lock(&c->mu);
  while (!call.done) pthread_cond_wait(&c->done, &c->mu);
  pthread_mutex_unlock(&c->mu);
}

static struct task *take_task(struct control *c) {
  pthread_mutex_lock(&c->mu);
  struct task *t = STAILQ_FIRST(&c->tasks);
  if (t != NULL) STAILQ_REMOVE_HEAD(&c->tasks, link);
  pthread_mutex_unlock(&c->mu);
  return t;
}

static void run_task(struct control *c, struct task *t) {
  struct call *call = t->call;
  t->fn(t->arg);
  if (call == NULL) {
    free(t);
    return;
  }
  pthread_mutex_lock(&c->mu);
  call->done = 1;
  pthread_cond_broadcast(&c->done);
  pthread_mutex_unlock(&c->mu);
}

static void on_wake(evutil_socket_t fd, short what, void *arg) {
  struct control *c = arg;
  struct task *t;
  uint64_t count;
  (void)what;
  ssize_t n = read(fd, &count, sizeof count);
  (void)n;
  while ((t = take_task(c)) != NULL) run_task(c, t);
}

static void *run(void *arg) {
  struct control *c = arg;
  event_base_loop(c->base, EVLOOP_NO_EXIT_ON_EMPTY);
  return NULL;
}

/* ---- start and stop --------------------------------------------------------------------------------------------------------------- */

/* While groups of the embedded coordinator run, their ranks need it to leave in good order. */
static void on_stop_timer(evutil_socket_t fd, short what, void *arg) {
  struct control *c = arg;
  struct timeval again = {.tv_usec = STOP_LOOK_US};
  (void)fd, (void)what;
  if (c->coordinator != NULL && coordinator_busy(c->coordinator) && clock_now_ns() < c->stop_deadline) {
    event_add(c->stop_timer, &again);
    return;
  }
  coordinator_destroy(c->coordinator);
  c->coordinator = NULL;
  channel_set_fini(&c->channels);
  event_base_loopbreak(c->base);
}

static void stop_task(void *arg) {
  struct control *c = arg;
  c->stopping = 1;
  c->stop_deadline = clock_now_ns() + STOP_WAIT_NS;
  if (c->coordinator != NULL) coordinator_close_early(c->coordinator);
  event_active(c->stop_timer, EV_TIMEOUT, 1);
}

/* libevent ends the process when it finds no descriptors for a new base, so they are asked for first. */
static int descriptors_left(agg_error_t *err) {
  int fd[PROBE_DESCRIPTORS], n = 0;
  while (n < PROBE_DESCRIPTORS && (fd[n] = eventfd(0, EFD_CLOEXEC)) >= 0) n++;
  int why = errno,
      rc = n == PROBE_DESCRIPTORS ? AGG_OK : err_sys(err, AGG_ESYS, why, "the control thread finds no descriptors (raise ulimit -n)");
  while (n > 0) close(fd[--n]);
  return rc;
}

static struct event_base *make_base(void) {
  struct event_config *config = event_config_new();
  if (config == NULL) return NULL;
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
  struct event_base *base = event_base_new_with_config(config);
  event_config_free(config);
  return base;
}

static int make_loop(struct control *c, agg_error_t *err) {
  c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (c->wake_fd < 0) return err_sys(err, AGG_ESYS, errno, "control thread: eventfd");
  if (descriptors_left(err) != AGG_OK) return AGG_ESYS;
  c->base = make_base();
  if (c->base == NULL) return err_set(err, AGG_ESYS, "control thread: libevent cannot make an event base");
  c->wake = event_new(c->base, c->wake_fd, EV_READ | EV_PERSIST, on_wake, c);
  c->stop_timer = event_new(c->base, -1, 0, on_stop_timer, c);
  if (c->wake == NULL || c->stop_timer == NULL || event_add(c->wake, NULL) != 0)
    return err_set(err, AGG_ENOMEM, "control thread: out of memory");
  channel_set_init(&c->channels, c->base);
  return AGG_OK;
}

static int start_thread(struct control *c, agg_error_t *err) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int e = pthread_create(&c->thread, NULL, run, c);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return e ? err_sys(err, AGG_ESYS, e, "control thread cannot start") : AGG_OK;
}

static void control_free(struct control *c) {
  if (c->wake) event_free(c->wake);
  if (c->stop_timer) event_free(c->stop_timer);
  if (c->base) event_base_free(c->base);
  if (c->wake_fd >= 0) close(c->wake_fd);
  tls_destroy(c->tls);
  pthread_cond_destroy(&c->done);
  pthread_mutex_destroy(&c->mu);
  explicit_bzero(c->token, sizeof c->token);
  explicit_bzero(&c->key, sizeof c->key);
  free(c);
}

int control_start(const struct control_config *config, struct control **control, agg_error_t *err) {
  const char *token = config->token ? config->token : "";
  struct control *c = calloc(1, sizeof *c);
  if (c == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  c->log = config->log;
  c->topo = config->topo;
  c->topo_name = config->topo_name;
  c->cost = config->cost;
  c->wake_fd = -1;
  STAILQ_INIT(&c->tasks);
  pthread_mutex_init(&c->mu, NULL);
  pthread_cond_init(&c->done, NULL);
  int rc = token_derive(token, &c->key, err);
  if (rc == AGG_OK) {
    str_copy(c->token, sizeof c->token, token);
    rc = tls_create(&c->key, 1, &c->tls, err);
  }
  if (rc == AGG_OK) rc = make_loop(c, err);
  if (rc == AGG_OK) rc = start_thread(c, err);
  if (rc != AGG_OK) {
    control_free(c);
    return rc;
  }
  *control = c;
  return AGG_OK;
}

void control_stop(struct control *c) {
  if (c == NULL) return;
  control_call(c, stop_task, c);
  pthread_join(c->thread, NULL);
  control_free(c);
}

/* ---- the embedded coordinator ------------------------------------------------------------------------------------------------------- */

struct serve {
  struct control *c;
  const char *host;
  uint16_t port, bound;
  int rc;
  agg_error_t *err;
};

static void serve_task(void *arg) {
  struct serve *s = arg;
  struct control *c = s->c;
  if (c->coordinator == NULL) {
    char listen[300];
    const char *tokens[2] = {control_has_token(c) ? c->token : NULL, NULL};
    int v6 = strchr(s->host, ':') != NULL;
    (void)snprintf(listen, sizeof listen, v6 ? "[%s]:%u" : "%s:%u", s->host, s->port);
    struct coordinator_config config = {.log = c->log, .tokens = tokens, .listen = listen, .topo = c->topo, .topo_name = c->topo_name};
    config.cost = c->cost;
    s->rc = coordinator_create(c->base, &config, &c->coordinator, s->err);
  }
  if (s->rc == AGG_OK) s->bound = coordinator_port(c->coordinator);
}

int control_serve(struct control *c, const char *host, uint16_t port, uint16_t *bound, agg_error_t *err) {
  struct serve s = {.c = c, .host = host, .port = port, .err = err};
  if (strlen(host) > 255) return err_set(err, AGG_EINVAL, "coordinator: the host name is longer than 255 bytes");
  control_call(c, serve_task, &s);
  if (s.rc == AGG_OK) *bound = s.bound;
  return s.rc;
}
