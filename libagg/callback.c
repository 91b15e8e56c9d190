/* The callback thread: a queue of entries that live in their operations, under a lock. It never touches a transport. */
#include "callback.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/err.h"

struct callbacks {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  struct callback *head, **tail;
  int running, stop;
  pthread_t thread;
};

static void *thread_main(void *arg) {
  struct callbacks *c = arg;
  pthread_mutex_lock(&c->lock);
  for (;;) {
    while (c->head == NULL && !c->stop) pthread_cond_wait(&c->wake, &c->lock);
    struct callback *e = c->head;
    if (e == NULL) break;
    c->head = e->next;
    if (c->head == NULL) c->tail = &c->head;
    pthread_mutex_unlock(&c->lock);
    e->fn(e->user, e->status);
    e->after(e);
    pthread_mutex_lock(&c->lock);
  }
  pthread_mutex_unlock(&c->lock);
  return NULL;
}

int callbacks_create(struct callbacks **out, agg_error_t *err) {
  struct callbacks *c = calloc(1, sizeof *c);
  if (c == NULL) return err_set(err, AGG_ENOMEM, "no memory for the callback queue");
  pthread_mutex_init(&c->lock, NULL);
  pthread_cond_init(&c->wake, NULL);
  c->tail = &c->head;
  *out = c;
  return AGG_OK;
}

int callbacks_ensure(struct callbacks *c, agg_error_t *err) {
  int rc = 0;
  pthread_mutex_lock(&c->lock);
  if (!c->running) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&c->thread, NULL, thread_main, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    c->running = rc == 0;
    if (rc == 0) pthread_setname_np(c->thread, "agg-callback");
  }
  pthread_mutex_unlock(&c->lock);
  return rc == 0 ? AGG_OK : err_sys(err, AGG_ESYS, rc, "cannot start the callback thread");
}

void callbacks_push(struct callbacks *c, struct callback *entry) {
  entry->next = NULL;
  pthread_mutex_lock(&c->lock);
  *c->tail = entry;
  c->tail = &entry->next;
  pthread_cond_signal(&c->wake);
  pthread_mutex_unlock(&c->lock);
}

void callbacks_destroy(struct callbacks *c) {
  if (c == NULL) return;
  pthread_mutex_lock(&c->lock);
  c->stop = 1;
  pthread_cond_signal(&c->wake);
  pthread_mutex_unlock(&c->lock);
  if (c->running) pthread_join(c->thread, NULL);
  pthread_cond_destroy(&c->wake);
  pthread_mutex_destroy(&c->lock);
  free(c);
}
