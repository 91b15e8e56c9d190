/*
 * The resolver: a queue of questions, one helper thread that may block in the name service, an eventfd that brings the answers back to the
 * loop. Owns the questions; never calls its user from the helper thread.
 */
#include "resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/err.h"
#include "base/util.h"

struct resolve {
  TAILQ_ENTRY(resolve) link;
  resolve_fn fn; /* the loop's; NULL: cancelled */
  void *user;
  char host[256];
  uint16_t port;
  int n;
  struct net_addr addrs[RESOLVE_ADDRS_MAX];
  agg_error_t err;
};

TAILQ_HEAD(resolve_list, resolve);

struct resolver {
  struct event *answer;
  int fd, started;
  pthread_t thread;
  pthread_mutex_t mu;
  pthread_cond_t work;
  /* under mu */
  int stop;
  struct resolve_list asked, answered;
};

static void look_up(struct resolve *q) { q->n = net_resolve(q->host, q->port, 0, q->addrs, RESOLVE_ADDRS_MAX, &q->err); }

static void give_answer(struct resolver *r, struct resolve *q) { /* mu held */
  uint64_t one = 1;
  TAILQ_INSERT_TAIL(&r->answered, q, link);
  ssize_t n = write(r->fd, &one, sizeof one);
  (void)n;
}

static void *helper(void *arg) {
  struct resolver *r = arg;
  pthread_mutex_lock(&r->mu);
  while (!r->stop) {
    struct resolve *q = TAILQ_FIRST(&r->asked);
    if (q == NULL) {
      pthread_cond_wait(&r->work, &r->mu);
      continue;
    }
    TAILQ_REMOVE(&r->asked, q, link);
    pthread_mutex_unlock(&r->mu);
    look_up(q);
    pthread_mutex_lock(&r->mu);
    give_answer(r, q);
  }
  pthread_mutex_unlock(&r->mu);
  return NULL;
}

static void on_answer(evutil_socket_t fd, short what, void *arg) {
  struct resolver *r = arg;
  struct resolve_list ready = TAILQ_HEAD_INITIALIZER(ready);
  struct resolve *q;
  uint64_t count;
  (void)what;
  ssize_t got = read(fd, &count, sizeof count);
  (void)got;
  pthread_mutex_lock(&r->mu);
  TAILQ_CONCAT(&ready, &r->answered, link);
  pthread_mutex_unlock(&r->mu);
  while ((q = TAILQ_FIRST(&ready)) != NULL) {
    TAILQ_REMOVE(&ready, q, link);
    if (q->fn) q->fn(q->user, q->n, q->addrs, &q->err);
    free(q);
  }
}

int resolver_create(struct event_base *base, struct resolver **out, agg_error_t *err) {
  struct resolver *r = calloc(1, sizeof *r);
  if (r == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  TAILQ_INIT(&r->asked);
  TAILQ_INIT(&r->answered);
  pthread_mutex_init(&r->mu, NULL);
  pthread_cond_init(&r->work, NULL);
  r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  r->answer = r->fd < 0 ? NULL : event_new(base, r->fd, EV_READ | EV_PERSIST, on_answer, r);
  if (r->answer == NULL || event_add(r->answer, NULL) != 0) {
    resolver_destroy(r);
    return err_set(err, AGG_ESYS, "cannot set up the resolver's event");
  }
  *out = r;
  return AGG_OK;
}

static void free_list(struct resolve_list *list) {
  struct resolve *q;
  while ((q = TAILQ_FIRST(list)) != NULL) {
    TAILQ_REMOVE(list, q, link);
    free(q);
  }
}

void resolver_destroy(struct resolver *r) {
  if (r == NULL) return;
  if (r->started) {
    pthread_mutex_lock(&r->mu);
    r->stop = 1;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->mu);
    pthread_join(r->thread, NULL);
  }
  if (r->answer) event_free(r->answer);
  if (r->fd >= 0) close(r->fd);
  free_list(&r->asked);
  free_list(&r->answered);
  pthread_cond_destroy(&r->work);
  pthread_mutex_destroy(&r->mu);
  free(r);
}

static int start_helper(struct resolver *r, agg_error_t *err) {
  sigset_t all, before;
  if (r->started) return AGG_OK;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int e = pthread_create(&r->thread, NULL, helper, r);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (e) return err_sys(err, AGG_ESYS, e, "the resolver's thread cannot start");
  r->started = 1;
  return AGG_OK;
}

int resolve_start(struct resolver *r, const char *host, uint16_t port, resolve_fn fn, void *user, struct resolve **out, agg_error_t *err) {
  unsigned char literal[16];
  int is_number = inet_pton(AF_INET, host, literal) == 1 || inet_pton(AF_INET6, host, literal) == 1;
  int rc = is_number ? AGG_OK : start_helper(r, err);
  struct resolve *q = rc == AGG_OK ? calloc(1, sizeof *q) : NULL;
  if (rc != AGG_OK) return rc;
  if (q == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  q->fn = fn;
  q->user = user;
  q->port = port;
  str_copy(q->host, sizeof q->host, host);
  if (is_number) look_up(q);
  pthread_mutex_lock(&r->mu);
  if (is_number) {
    give_answer(r, q);
  } else {
    TAILQ_INSERT_TAIL(&r->asked, q, link);
    pthread_cond_signal(&r->work);
  }
  pthread_mutex_unlock(&r->mu);
  *out = q;
  return AGG_OK;
}

void resolve_cancel(struct resolve *q) {
  if (q != NULL) q->fn = NULL;
}
