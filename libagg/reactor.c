/*
 * The loop that moves data: polls the transports of one reactor, hands events to planes, lets clients take new work, and sleeps in epoll
 * when there is nothing. Whoever holds the baton drives. It knows nothing of communicators.
 *
 * Sleeping and waking. The own thread sleeps in epoll_wait without the baton; a driver that lets go arms the transports first, so that the
 * next event wakes the thread. A waiting driver that has nothing to do sleeps with the baton, in an epoll set of its own, so that one
 * wake-up is enough. A thread that posts while somebody drives leaves `kicked` behind: the driver looks at it after it has let go of the
 * baton, and after it has said that it falls asleep (store kicked / try the baton, load asleep in the poster pairs with release the baton
 * or store asleep / load kicked in the driver; all sequentially consistent).
 *
 * A program that posts and waits in turn drives all the time. To arm the transports whenever it lets go would cost more than the work (a
 * notification to be asked for, an interrupt, a thread woken in vain), so after a few such turns it is expected to come back: it lets go
 * unheard, and the own thread looks every millisecond whether it really did (expects, unheard). One that does not is not expected any more.
 */
#include "reactor.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/bind.h"

#define EVENTS_PER_POLL 64
#define RELAX_TURNS 300        /* empty turns that only relax the core, before each further one yields it */
#define SYSCALL_POLL_EVERY 128 /* turns between polls of a transport that is_quiet */
#define QUIET_AFTER 32
#define TIME_TURNS 512          /* the clock is read once in so many turns ... */
#define TIME_STEP_NS 5000000ull /* ... and told to the clients at this distance */
#define SLEEP_MS 100
#define EXPECT_MS 1
#define EXPECT_AFTER 8        /* waits in a row that came before the own thread had to drive */
#define EXPECT_MISSES 4       /* times in a row that the own thread had to drive instead, before that ends */
#define EXPECT_IDLE_TURNS 100 /* looks of the own thread without a post or a wait: the program does something else */
#define WAIT_SLICE_NS 50000000ull

struct reactor_tp {
  struct plane_tp tp;
  int polls_memory; /* TP_CAP_SPIN */
  uint32_t quiet;   /* polls without an event, in a row */
  int in_epoll;     /* of the own thread */
};

struct reactor {
  struct reactor_config config;
  struct reactor_tp tps[PLANE_TPS_MAX];
  unsigned n_tps;
  struct reactor_absent absent[PLANE_TPS_MAX];
  unsigned n_absent;
  pthread_t thread;
  pthread_mutex_t baton;
  _Atomic uint32_t kicked;   /* new work may be there */
  _Atomic uint32_t wanting;  /* waiters that would rather drive than let the own thread do so */
  _Atomic uint32_t callers;  /* threads in reactor_call that wait for the baton */
  _Atomic uint32_t asleep;   /* a driver sleeps with the baton */
  _Atomic uint32_t sleepers; /* threads asleep on the word of an operation */
  _Atomic uint32_t expects;  /* whoever let go is expected back before it matters */
  _Atomic uint32_t unheard;  /* let go without arming: nobody is told of what comes */
  _Atomic uint32_t visits;   /* posts and waits */
  _Atomic uint32_t stop;
  int epoll_fd, wake_fd;               /* the own thread's */
  int driver_epoll_fd, driver_wake_fd; /* a sleeping driver's */
  int polls_memory;                    /* some transport does */
  struct reactor_client *clients;      /* with the baton */
  uint32_t turns;
  uint32_t hits;    /* with the baton: waits in a row that followed a post before the own thread had to drive */
  uint32_t misses;  /* with the baton: times in a row that the own thread had to drive */
  int posted;       /* with the baton: since the last wait */
  uint64_t told_ns; /* last time given to the clients */
};

/* ---- one turn (with the baton) ---------------------------------------------------------------------------------------------- */

/* Whether a transport is asked less often: its poll is a system call, nothing came for a while, and there is one that polls memory. */
static int is_quiet(const struct reactor *r, const struct reactor_tp *t) {
  return r->polls_memory && !t->polls_memory && t->quiet > QUIET_AFTER;
}

static int poll_tp(const struct reactor *r, struct reactor_tp *t) {
  if (is_quiet(r, t) && r->turns % SYSCALL_POLL_EVERY != 0 && !t->tp.ops->arm(t->tp.tp)) return 0; /* arm: puts wait to be written */
  struct tp_event events[EVENTS_PER_POLL];
  int n = t->tp.ops->poll(t->tp.tp, events, EVENTS_PER_POLL);
  for (int i = 0; i < n; i++) plane_event(plane_of_event(&events[i]), &events[i]);
  t->quiet = n > 0 ? 0 : t->quiet + 1;
  return n > 0;
}

static void tell_time(struct reactor *r) {
  uint64_t now = clock_now_ns();
  if (now - r->told_ns < TIME_STEP_NS) return;
  r->told_ns = now;
  for (struct reactor_client *c = r->clients, *next; c != NULL; c = next) {
    next = c->next;
    c->time(c->user, now);
  }
}

static int turn(struct reactor *r) {
  int did = 0;
  /* Before the clients look, and nowhere else: a kick that was taken back without a turn would be lost. */
  if (atomic_load_explicit(&r->kicked, memory_order_relaxed)) atomic_exchange(&r->kicked, 0);
  r->turns++;
  for (struct reactor_client *c = r->clients, *next; c != NULL; c = next) {
    next = c->next;
    did |= c->work(c->user);
  }
  for (unsigned i = 0; i < r->n_tps; i++) did |= poll_tp(r, &r->tps[i]);
  if (r->turns % TIME_TURNS == 0) tell_time(r);
  return did;
}

/* ---- letting go ---------------------------------------------------------------------------------------------------------------- */

static void ring(int fd) {
  uint64_t one = 1;
  ssize_t rc = write(fd, &one, sizeof one);
  (void)rc; /* full means that it is awake already */
}

static void quiet(int fd) {
  uint64_t count;
  ssize_t rc = read(fd, &count, sizeof count);
  (void)rc;
}

/* What the driver reads must not wake the own thread as well. Transports that poll memory ring only while they are armed, so they leave the
 * own thread's set only when a driver sleeps; the others are level-triggered and leave it whenever somebody drives. */
static void set_epoll(struct reactor *r, struct reactor_tp *t, int on) {
  if (t->in_epoll == on) return;
  struct epoll_event e = {.events = on ? EPOLLIN : 0, .data.u64 = (uint64_t)(t - r->tps) + 1};
  if (epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, t->tp.ops->fd(t->tp.tp), &e) == 0) t->in_epoll = on;
}

static void took_baton(struct reactor *r) {
  for (unsigned i = 0; i < r->n_tps; i++)
    if (!r->tps[i].polls_memory && !is_quiet(r, &r->tps[i])) set_epoll(r, &r->tps[i], 0);
}

static int arm(struct reactor *r) {
  int pending = 0;
  for (unsigned i = 0; i < r->n_tps; i++) pending |= r->tps[i].tp.ops->arm(r->tps[i].tp.tp);
  return pending;
}

/* While no client has work outstanding, what peers send can wait until there is some: they need not ring. */
static int must_listen(const struct reactor *r) {
  if (!r->config.lazy) return 1;
  for (const struct reactor_client *c = r->clients; c != NULL; c = c->next)
    if (c->outstanding != 0) return 1;
  return 0;
}

static void release(struct reactor *r) {
  if (must_listen(r) && arm(r)) ring(r->wake_fd);
  atomic_store_explicit(&r->unheard, 0, memory_order_relaxed);
  for (unsigned i = 0; i < r->n_tps; i++) set_epoll(r, &r->tps[i], 1);
  pthread_mutex_unlock(&r->baton);
  if (atomic_load(&r->kicked)) ring(r->wake_fd);
}

/* The same for a thread of the program's: where it is expected back at once, nothing is armed. */
static void let_go(struct reactor *r) {
  if (!atomic_load_explicit(&r->expects, memory_order_relaxed)) {
    release(r);
    return;
  }
  atomic_store_explicit(&r->unheard, (uint32_t)must_listen(r), memory_order_relaxed);
  pthread_mutex_unlock(&r->baton);
  if (atomic_load(&r->kicked)) ring(r->wake_fd);
}

/* A wait begins to drive. */
static void came_back(struct reactor *r) {
  atomic_fetch_add_explicit(&r->visits, 1, memory_order_relaxed);
  atomic_store_explicit(&r->unheard, 0, memory_order_relaxed);
  if (!r->posted) return;
  r->posted = 0;
  r->misses = 0;
  if (r->hits == EXPECT_AFTER) return;
  if (++r->hits < EXPECT_AFTER) return;
  atomic_store(&r->expects, 1);
  ring(r->wake_fd); /* the own thread sleeps for too long */
}

/* The own thread had to drive: it found work to do, and nobody came for it. Once may be a busy core's doing. */
static void came_not_back(struct reactor *r) {
  r->posted = 0;
  if (++r->misses < EXPECT_MISSES) return;
  r->misses = 0;
  r->hits = 0;
  atomic_store(&r->expects, 0);
}

/* Transports that have something are asked at every turn again. */
static void not_quiet(struct reactor *r, const struct epoll_event *events, int n) {
  for (int i = 0; i < n; i++)
    if (events[i].data.u64 != 0) r->tps[events[i].data.u64 - 1].quiet = 0;
}

/* The driver sleeps until a transport, a post or a call wants something. */
static void driver_sleep(struct reactor *r, const _Atomic uint32_t *word, uint32_t value, uint64_t ns) {
  struct epoll_event events[PLANE_TPS_MAX + 1];
  for (unsigned i = 0; i < r->n_tps; i++) set_epoll(r, &r->tps[i], 0);
  atomic_store(&r->asleep, 1);
  int reason = arm(r) || atomic_load(&r->kicked) || atomic_load(&r->callers) || atomic_load(word) != value;
  int n = reason ? 0 : epoll_wait(r->driver_epoll_fd, events, PLANE_TPS_MAX + 1, (int)MIN_OF(ns / 1000000 + 1, SLEEP_MS));
  atomic_store(&r->asleep, 0);
  quiet(r->driver_wake_fd);
  not_quiet(r, events, n);
  tell_time(r);
}

/* ---- driving ---------------------------------------------------------------------------------------------------------------------- */

struct idle {
  uint32_t turns;
  uint64_t since_ns;
};

/* After an empty turn: relax, then yield; 1 when it has been idle for the configured time. */
static int idle_long(const struct reactor *r, struct idle *idle) {
  if (++idle->turns < RELAX_TURNS) {
    cpu_relax();
    return 0;
  }
  if (idle->turns % 8 == 0) {
    uint64_t now = clock_now_ns();
    if (idle->since_ns == 0) idle->since_ns = now;
    if (now - idle->since_ns >= (uint64_t)r->config.spin_us * 1000) return 1;
  }
  sched_yield();
  return 0;
}

/* While a thread of the program's is expected back: looks whether it is. Returns when something is to be done. */
static int watch_over(struct reactor *r, struct epoll_event *events) {
  uint32_t visits = atomic_load(&r->visits), idle = 0;
  for (;;) {
    int n = epoll_wait(r->epoll_fd, events, PLANE_TPS_MAX + 1, atomic_load(&r->expects) ? EXPECT_MS : SLEEP_MS);
    int only_woken = n == 1 && events[0].data.u64 == 0 && !atomic_load(&r->kicked);
    if (only_woken) quiet(r->wake_fd);
    if ((n != 0 && !only_woken) || !atomic_load(&r->expects) || atomic_load(&r->stop)) return n;
    uint32_t now = atomic_load(&r->visits);
    if (now == visits && (atomic_load(&r->unheard) || ++idle >= EXPECT_IDLE_TURNS)) return 0;
    if (now != visits) idle = 0;
    visits = now;
  }
}

static void *thread_main(void *arg) {
  struct reactor *r = arg;
  struct epoll_event events[PLANE_TPS_MAX + 1];
  while (!atomic_load(&r->stop)) {
    int n = watch_over(r, events);
    quiet(r->wake_fd);
    pthread_mutex_lock(&r->baton);
    not_quiet(r, events, n);
    took_baton(r);
    struct idle idle = {0};
    int did = 0;
    tell_time(r);
    do { /* one turn at least: it may be a kick that woke it */
      if (turn(r)) {
        did = 1;
        idle = (struct idle){0};
      } else if (!must_listen(r) || idle_long(r, &idle)) {
        break; /* nothing is waited for, or nothing comes */
      }
    } while (!atomic_load(&r->stop) && !atomic_load(&r->wanting) && !atomic_load(&r->callers));
    if (did && !atomic_load(&r->wanting)) came_not_back(r); /* a waiter that comes meanwhile was only late */
    release(r);
    if (atomic_load(&r->wanting) || atomic_load(&r->callers)) sched_yield();
  }
  return NULL;
}

void reactor_kick(struct reactor *r) {
  atomic_store(&r->kicked, 1);
  if (pthread_mutex_trylock(&r->baton) != 0) {
    if (atomic_load(&r->asleep)) ring(r->driver_wake_fd);
    return;
  }
  atomic_fetch_add_explicit(&r->visits, 1, memory_order_relaxed);
  r->posted = 1;
  turn(r);
  let_go(r);
}

void reactor_call(struct reactor *r, void (*fn)(void *arg), void *arg) {
  atomic_fetch_add(&r->callers, 1);
  if (atomic_load(&r->asleep)) ring(r->driver_wake_fd);
  pthread_mutex_lock(&r->baton);
  atomic_fetch_sub(&r->callers, 1);
  fn(arg);
  release(r);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------------------------ */

static void futex_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t ns) {
  struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &t, NULL, 0);
}

void reactor_notify(struct reactor *r, _Atomic uint32_t *word) {
  /* Both pair with the sleeper's store before its last look at the word. The driver may wait for a word that another reactor changes. */
  if (atomic_load(&r->asleep)) ring(r->driver_wake_fd);
  if (atomic_load(&r->sleepers) != 0) syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Lets those in that have a call to make. 0 when somebody else drives now: to wait for the baton could take as long as that one's wait. */
static int let_callers_in(struct reactor *r) {
  release(r);
  while (atomic_load(&r->callers)) sched_yield();
  if (pthread_mutex_trylock(&r->baton) != 0) return 0;
  took_baton(r);
  return 1;
}

/* Drives, asleep where there is nothing to do, until the word changes (1), the deadline has passed or the baton is gone (0, *held). */
static int drive_for(struct reactor *r, _Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns, int *held) {
  struct idle idle = {0};
  uint32_t turns = 0;
  took_baton(r);
  came_back(r);
  for (;;) {
    if (atomic_load_explicit(word, memory_order_acquire) != value) return 1;
    if (turn(r)) {
      idle = (struct idle){0};
    } else if (idle_long(r, &idle)) {
      uint64_t now = clock_now_ns();
      if (now >= deadline_ns) return 0;
      driver_sleep(r, word, value, deadline_ns - now);
      idle = (struct idle){0};
    }
    if (++turns % TIME_TURNS == 0 && clock_now_ns() >= deadline_ns) return 0;
    if (atomic_load_explicit(&r->callers, memory_order_relaxed) && !let_callers_in(r)) {
      *held = 0;
      return 0;
    }
  }
}

static void sleep_on(struct reactor *r, _Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns) {
  uint64_t now = clock_now_ns();
  if (now >= deadline_ns) return;
  atomic_fetch_add(&r->sleepers, 1);
  futex_sleep(word, value, MIN_OF(deadline_ns - now, WAIT_SLICE_NS));
  atomic_fetch_sub(&r->sleepers, 1);
}

int reactor_wait(struct reactor *r, _Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns) {
  for (;;) {
    if (atomic_load_explicit(word, memory_order_acquire) != value) return 1;
    int got = pthread_mutex_trylock(&r->baton) == 0;
    if (!got) { /* the own thread lets go after its turn when somebody wants the baton; another waiter keeps it, and works for all */
      atomic_fetch_add(&r->wanting, 1);
      for (int i = 0; i < 16 && !got; i++) {
        sched_yield();
        got = pthread_mutex_trylock(&r->baton) == 0;
      }
      atomic_fetch_sub(&r->wanting, 1);
    }
    if (got) {
      int changed = drive_for(r, word, value, deadline_ns, &got);
      if (got) let_go(r);
      if (changed) return 1;
      if (!got) continue;
    }
    if (clock_now_ns() >= deadline_ns) return atomic_load_explicit(word, memory_order_acquire) != value;
    sleep_on(r, word, value, deadline_ns);
  }
}

/* ---- clients ------------------------------------------------------------------------------------------------------------------------- */

void reactor_add(struct reactor *r, struct reactor_client *c) {
  struct reactor_client **at = &r->clients;
  while (*at != NULL && (*at)->urgent >= c->urgent) at = &(*at)->next;
  c->next = *at;
  *at = c;
}

void reactor_remove(struct reactor *r, struct reactor_client *c) {
  for (struct reactor_client **at = &r->clients; *at != NULL; at = &(*at)->next) {
    if (*at != c) continue;
    *at = c->next;
    return;
  }
}

/* ---- start and stop --------------------------------------------------------------------------------------------------------------------
 */

/* which: the transport's number + 1, 0 for the wake-up descriptor */
static int add_to_epoll(int epoll_fd, int fd, uint64_t which, agg_error_t *err) {
  struct epoll_event e = {.events = EPOLLIN, .data.u64 = which};
  return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? AGG_OK : err_sys(err, AGG_ESYS, errno, "epoll_ctl");
}

static int open_tp(struct reactor *r, const struct tp_ops *ops, agg_error_t *err) {
  struct tp_config config = {.log = r->config.log,
                             .bind_host = r->config.bind_host,
                             .peer_host = r->config.peer_host,
                             .spin_hint_us = r->config.spin_us,
                             .rdma = r->config.rdma};
  struct reactor_tp *t = &r->tps[r->n_tps];
  int rc = ops->open(&config, &t->tp.tp, err);
  if (rc != AGG_OK) return rc;
  t->tp.ops = ops;
  t->polls_memory = (ops->caps & TP_CAP_SPIN) != 0;
  t->in_epoll = 1;
  r->polls_memory |= t->polls_memory;
  r->n_tps++;
  rc = add_to_epoll(r->epoll_fd, ops->fd(t->tp.tp), r->n_tps, err);
  return rc == AGG_OK ? add_to_epoll(r->driver_epoll_fd, ops->fd(t->tp.tp), r->n_tps, err) : rc;
}

/* The one that was asked for, or an error: never another instead. */
static int open_asked(struct reactor *r, const char *asked, agg_error_t *err) {
  const struct tp_ops *ops = tp_find(asked);
  if (ops == NULL) return err_set(err, AGG_EINVAL, "transport '%s' is unknown: auto, shm, verbs or tcp", asked);
  int rc = open_tp(r, ops, err);
  if (rc != AGG_OK) (void)err_prefix(err, "transport %s", asked);
  return rc;
}

static int open_tps(struct reactor *r, agg_error_t *err) {
  const char *asked = r->config.transports;
  if (asked[0] != '\0' && strcmp(asked, "auto") != 0) return open_asked(r, asked, err);
  for (const struct tp_ops *const *ops = tp_all(); *ops != NULL && r->n_tps < PLANE_TPS_MAX; ops++) {
    agg_error_t why = {0};
    int rc = open_tp(r, *ops, &why);
    if (rc == AGG_ENOTSUP) {
      if (r->config.index == 0) LOG_INFO(r->config.log, "transport %s is not used: %s", (*ops)->name, why.text);
      struct reactor_absent *absent = r->n_absent < PLANE_TPS_MAX ? &r->absent[r->n_absent++] : NULL;
      if (absent == NULL) continue;
      absent->ops = *ops;
      str_copy(absent->why, sizeof absent->why, why.text);
    } else if (rc != AGG_OK) {
      return err_set(err, rc, "transport %s: %s", (*ops)->name, why.text);
    }
  }
  return r->n_tps != 0 ? AGG_OK : err_set(err, AGG_ENOTSUP, "no transport can be used on this machine");
}

/* The thread takes no signals: they belong to the program. */
static int start_thread(struct reactor *r, agg_error_t *err) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(&r->thread, NULL, thread_main, r);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (rc != 0) return err_sys(err, AGG_ESYS, rc, "cannot start a thread");
  char name[16];
  snprintf(name, sizeof name, "agg-reactor%u", r->config.index % 1000);
  pthread_setname_np(r->thread, name);
  agg_error_t why = {0};
  if (r->config.cpu >= 0 && bind_thread(r->thread, r->config.cpu, &why) != AGG_OK) {
    LOG_WARN(r->config.log, "reactor %u is not pinned: %s", r->config.index, why.text);
    r->config.cpu = -1;
  }
  return AGG_OK;
}

int reactor_cpu(const struct reactor *r) { return r->config.cpu; }

static void close_all(struct reactor *r) {
  for (unsigned i = 0; i < r->n_tps; i++) r->tps[i].tp.ops->close(r->tps[i].tp.tp);
  int fds[] = {r->wake_fd, r->epoll_fd, r->driver_wake_fd, r->driver_epoll_fd};
  for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
    if (fds[i] >= 0) close(fds[i]);
  pthread_mutex_destroy(&r->baton);
  free(r);
}

int reactor_start(const struct reactor_config *config, struct reactor **out, agg_error_t *err) {
  struct reactor *r = calloc(1, sizeof *r);
  if (r == NULL) return err_set(err, AGG_ENOMEM, "no memory for a reactor");
  r->config = *config;
  pthread_mutex_init(&r->baton, NULL);
  r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  r->driver_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  r->driver_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int all = r->epoll_fd >= 0 && r->wake_fd >= 0 && r->driver_epoll_fd >= 0 && r->driver_wake_fd >= 0;
  int rc = all ? AGG_OK : err_sys(err, AGG_ESYS, errno, "cannot make the reactor's descriptors");
  if (rc == AGG_OK) rc = add_to_epoll(r->epoll_fd, r->wake_fd, 0, err);
  if (rc == AGG_OK) rc = add_to_epoll(r->driver_epoll_fd, r->driver_wake_fd, 0, err);
  if (rc == AGG_OK) rc = open_tps(r, err);
  r->config.rdma = NULL; /* the caller's */
  if (rc == AGG_OK) rc = start_thread(r, err);
  if (rc != AGG_OK) {
    close_all(r);
    return rc;
  }
  *out = r;
  return AGG_OK;
}

void reactor_stop(struct reactor *r) {
  if (r == NULL) return;
  atomic_store(&r->stop, 1);
  ring(r->wake_fd);
  pthread_join(r->thread, NULL);
  close_all(r);
}

unsigned reactor_tps(const struct reactor *r, struct plane_tp out[PLANE_TPS_MAX]) {
  for (unsigned i = 0; i < r->n_tps; i++) out[i] = r->tps[i].tp;
  return r->n_tps;
}

uint32_t reactor_rails(const struct reactor *r) {
  uint32_t rails = 1;
  for (unsigned i = 0; i < r->n_tps; i++) rails = MAX_OF(rails, r->tps[i].tp.ops->ports(r->tps[i].tp.tp, NULL, 0));
  return rails;
}

unsigned reactor_absent(const struct reactor *r, const struct reactor_absent **list) {
  *list = r->absent;
  return r->n_absent;
}
