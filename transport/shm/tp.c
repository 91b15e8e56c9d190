/*
 * Owns the transport as a whole: its descriptors, the turns of its lanes, sleeping and waking, and the table of functions. Never looks
 * inside a lane.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "shm.h"
#include "tps.h"

#define LOOK_EVENTS 64
#define SHM_LOOK_TURNS_AFTER_SLEEP 8u /* soon, but not at every operation of a caller that arms after each one */
#define TICK_DIAL_MS 10u              /* a lane waits for room in its peer's backlog */
#define TICK_SETUP_MS 500u            /* lanes and guests grow old */

/* ---- descriptors ---- */

int shm_watch_add(struct tp *tp, struct shm_watch *w, uint32_t events) {
  struct epoll_event ev = {.events = events, .data.ptr = w};
  return epoll_ctl(tp->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) == 0 ? 0 : -errno;
}

void shm_watch_change(struct tp *tp, struct shm_watch *w, uint32_t events) {
  struct epoll_event ev = {.events = events, .data.ptr = w};
  if (w->fd >= 0) (void)epoll_ctl(tp->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev);
}

void shm_watch_del(struct tp *tp, struct shm_watch *w) {
  if (w->fd < 0) return;
  /* a descriptor that a forked child holds too would stay in the epoll after close */
  (void)epoll_ctl(tp->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
  close(w->fd);
  w->fd = -1;
}

void shm_timer_update(struct tp *tp) {
  uint32_t ms = tp->guests != NULL || tp->n_setup > 0 || tp->listener_paused ? TICK_SETUP_MS : 0;
  for (uint32_t i = 0; tp->n_setup > 0 && i < tp->n_lanes; i++) {
    if (tp->lanes[i]->state == SHM_LANE_CONNECTING) ms = TICK_DIAL_MS;
  }
  if (ms == tp->timer_ms) return;
  struct timespec every = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
  struct itimerspec its = {.it_interval = every, .it_value = every};
  if (timerfd_settime(tp->timer.fd, 0, &its, NULL) == 0) tp->timer_ms = ms;
}

static void tick(struct tp *tp) {
  uint64_t ticks = 0;
  ssize_t n = read(tp->timer.fd, &ticks, sizeof ticks);
  (void)n;
  for (uint32_t i = 0; tp->n_setup > 0 && i < tp->n_lanes; i++) shm_lane_retry(tp->lanes[i]);
  shm_guest_resume(tp);
}

/* Looks at the sockets. Handlers end only what is theirs; guests are reaped afterwards. */
static void look(struct tp *tp) {
  struct epoll_event ev[LOOK_EVENTS];
  int n = epoll_wait(tp->epoll_fd, ev, LOOK_EVENTS, 0);
  for (int i = 0; i < n; i++) {
    struct shm_watch *w = ev[i].data.ptr;
    switch (w->kind) {
      case SHM_WATCH_LISTEN:
        shm_guest_accept(tp);
        break;
      case SHM_WATCH_TIMER:
        tick(tp);
        break;
      case SHM_WATCH_GUEST:
        shm_guest_event(tp, CONTAINER_OF(w, struct shm_guest, watch));
        break;
      case SHM_WATCH_LANE:
        shm_lane_event(CONTAINER_OF(w, struct tp_lane, watch), ev[i].events);
        break;
      case SHM_WATCH_PROC:
        shm_proc_event(tp, CONTAINER_OF(w, struct shm_proc, watch));
        break;
    }
  }
  shm_guest_reap(tp);
  if (tp->timer_ms != 0) shm_timer_update(tp);
  tp->until_look = n == LOOK_EVENTS ? 0 : tp->n_setup > 0 || tp->guests != NULL ? SHM_LOOK_TURNS_SETUP : SHM_LOOK_TURNS;
}

/* ---- open and close ---- */

static int open_epoll(struct tp *tp, agg_error_t *err) {
  tp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (tp->epoll_fd < 0) return err_sys(err, AGG_ESYS, errno, "shm: cannot create an epoll descriptor");
  tp->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (tp->timer.fd < 0 || shm_watch_add(tp, &tp->timer, EPOLLIN) != 0) return err_sys(err, AGG_ESYS, errno, "shm: cannot create a timer");
  return 0;
}

static void tp_close(struct tp *tp) {
  if (tp == NULL) return;
  while (tp->n_lanes > 0) shm_lane_close(tp->lanes[tp->n_lanes - 1]);
  shm_guest_close_all(tp);
  shm_region_free_all(tp);
  shm_watch_del(tp, &tp->listener);
  shm_watch_del(tp, &tp->timer);
  if (tp->epoll_fd >= 0) close(tp->epoll_fd);
  free(tp->lanes);
  free(tp);
}

static int tp_open(const struct tp_config *config, struct tp **out, agg_error_t *err) {
  struct tp *tp = calloc(1, sizeof *tp);
  if (tp == NULL) return err_set(err, AGG_ENOMEM, "no memory for the shm transport");
  tp->log = config->log;
  tp->epoll_fd = -1;
  tp->listener = (struct shm_watch){SHM_WATCH_LISTEN, -1};
  tp->timer = (struct shm_watch){SHM_WATCH_TIMER, -1};
  tp->guest_gate = (struct log_gate){.period_ns = 10000000000ull, .burst = 5};
  int rc = shm_host_identify(&tp->address, err);
  if (rc != 0) goto close_tp;
  if (getrandom(&tp->nonce, sizeof tp->nonce, 0) != (ssize_t)sizeof tp->nonce) {
    rc = err_sys(err, AGG_ESYS, errno, "shm: no random numbers");
    goto close_tp;
  }
  rc = open_epoll(tp, err);
  if (rc != 0) goto close_tp;
  int e = shm_sock_listen(tp->address.name, &tp->listener.fd);
  if (e == 0) e = shm_watch_add(tp, &tp->listener, EPOLLIN);
  if (e != 0) {
    rc = err_sys(err, AGG_ESYS, -e, "shm: cannot listen on an abstract unix socket");
    goto close_tp;
  }
  *out = tp;
  return 0;

close_tp:
  tp_close(tp);
  return rc;
}

static size_t tp_address(struct tp *tp, void *buf) {
  memcpy(buf, &tp->address, sizeof tp->address);
  return sizeof tp->address;
}

static int tp_reach(struct tp *tp, const void *address, size_t len) { return shm_host_reach(&tp->address, address, len); }

/* ---- turns ---- */

static void disarm(struct tp *tp) {
  for (uint32_t i = 0; i < tp->n_lanes; i++) shm_lane_disarm(tp->lanes[i]);
  tp->armed = 0;
  if (tp->until_look > SHM_LOOK_TURNS_AFTER_SLEEP) tp->until_look = SHM_LOOK_TURNS_AFTER_SLEEP;
}

static int tp_poll(struct tp *tp, struct tp_event *events, int max) {
  int n = 0;
  if (tp->armed) disarm(tp);
  if (tp->until_look-- == 0) look(tp);
  if (tp->rotor >= tp->n_lanes) tp->rotor = 0;
  uint32_t at = tp->rotor;
  for (uint32_t i = 0; i < tp->n_lanes && n < max; i++) {
    n += shm_lane_poll(tp->lanes[at], events + n, max - n);
    at = at + 1 == tp->n_lanes ? 0 : at + 1;
  }
  if (n == max) tp->rotor = at; /* the next poll begins with those that had no turn */
  return n;
}

static int tp_arm(struct tp *tp) {
  tp->armed = 1;
  for (uint32_t i = 0; i < tp->n_lanes; i++) shm_lane_arm(tp->lanes[i]);
  for (uint32_t i = 0; i < tp->n_lanes; i++) {
    if (shm_lane_pending(tp->lanes[i])) return 1;
  }
  return 0;
}

static int tp_fd(struct tp *tp) { return tp->epoll_fd; }

const struct tp_ops tp_shm = {
    .name = "shm",
    .caps = TP_CAP_ANY_SOURCE | TP_CAP_MAP | TP_CAP_CHEAP_REG | TP_CAP_SPIN,
    .open = tp_open,
    .close = tp_close,
    .address = tp_address,
    .reach = tp_reach,
    .mem_reg = shm_mem_reg,
    .mem_dereg = shm_mem_dereg,
    .ports = tp_unsupported_ports,
    .raddr = shm_raddr,
    .lane_open = shm_lane_open,
    .lane_close = shm_lane_close,
    .put = shm_put,
    .poll = tp_poll,
    .arm = tp_arm,
    .fd = tp_fd,
    .map = shm_map,
    .fence = shm_lane_fence,
    .shut = shm_lane_shut,
};
