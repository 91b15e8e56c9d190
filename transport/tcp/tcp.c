/*
 * Owns a tp of the tcp transport: its listening socket, epoll, the timer, and whose turn it is. Never reads or writes a lane's socket
 * itself.
 *
 * epoll is asked once a poll, whatever the number of lanes, and is edge-triggered for them: a lane that has more than its turn allows stays
 * on the ready list and costs no further call. Time is looked at only when the timer fires, so a connected tp never reads a clock.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"
#include "tps.h"

#define BATCH 64
#define BACKLOG 1024
#define TIMER_OFF UINT64_MAX
#define LOG_PERIOD_NS 10000000000u /* lines that strangers can provoke: so many a period */
#define LOG_BURST 5

/* ---- whose turn it is ---- */

void tcp_ready(struct tp_lane *l) {
  struct tp *tp = l->tp;
  if (l->in_ready) return;
  l->in_ready = 1;
  l->ready_next = NULL;
  if (tp->ready_tail != NULL)
    tp->ready_tail->ready_next = l;
  else
    tp->ready_head = l;
  tp->ready_tail = l;
  tp->n_ready++;
}

static struct tp_lane *pop_ready(struct tp *tp) {
  struct tp_lane *l = tp->ready_head;
  tp->ready_head = l->ready_next;
  if (tp->ready_head == NULL) tp->ready_tail = NULL;
  l->in_ready = 0;
  tp->n_ready--;
  return l;
}

void tcp_unready(struct tp_lane *l) {
  struct tp *tp = l->tp;
  if (!l->in_ready) return;
  struct tp_lane *prev = NULL;
  for (struct tp_lane *at = tp->ready_head; at != l; at = at->ready_next) prev = at;
  if (prev != NULL)
    prev->ready_next = l->ready_next;
  else
    tp->ready_head = l->ready_next;
  if (tp->ready_tail == l) tp->ready_tail = prev;
  l->in_ready = 0;
  tp->n_ready--;
}

/* One turn for every lane that is on the list now; those that want more go to its end. */
static void give_turns(struct tp *tp, struct sink *out) {
  for (uint32_t n = tp->n_ready; n > 0 && out->n < out->max; n--) tcp_lane_turn(pop_ready(tp), out);
}

/* ---- the timer ---- */

static void set_timer(struct tp *tp, uint64_t when_ns) {
  struct itimerspec at = {.it_value = {.tv_sec = (time_t)(when_ns / 1000000000u), .tv_nsec = (long)(when_ns % 1000000000u)}};
  int rc = timerfd_settime(tp->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
  assert(rc == 0);
  (void)rc;
  tp->timer_at = when_ns;
}

void tcp_timer_by(struct tp *tp, uint64_t when_ns) {
  if (when_ns < tp->timer_at) set_timer(tp, when_ns);
}

/* Whoever still waits for a time after this one asks for it again. */
static void time_came(struct tp *tp) {
  uint64_t times, now = clock_now_ns();
  if (read(tp->timer_fd, &times, sizeof times) != (ssize_t)sizeof times) return;
  tp->timer_at = TIMER_OFF;
  for (struct tp_lane *l = tp->opening, *next; l != NULL; l = next) {
    next = l->opening_next;
    if (l->state != LANE_WAITING) {
      tcp_dial_time(l, now);
    } else if (now >= l->give_up_at) {
      tcp_lane_lost(l, "no peer with this lane's ticket connected within %.3g s", (double)tp->limits.wait_ns / 1e9);
    } else {
      tcp_timer_by(tp, l->give_up_at);
    }
  }
  tcp_strangers_time(tp, now);
}

/* ---- poll ---- */

int tcp_watch(struct tp *tp, int fd, uint32_t events, struct watch *w) {
  struct epoll_event ev = {.events = events, .data.ptr = w};
  return epoll_ctl(tp->epfd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : errno;
}

static void lane_event(struct tp_lane *l, uint32_t events) {
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) l->can_read = 1;
  if (events & EPOLLOUT) l->can_write = 1;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) l->hup = 1;
  if (l->tx_errno != 0) l->can_write = 0;
  tcp_ready(l);
}

static void take_events(struct tp *tp, int timeout) {
  struct epoll_event events[BATCH];
  int n = epoll_wait(tp->epfd, events, BATCH, timeout);
  for (int i = 0; i < n; i++) {
    struct watch *w = events[i].data.ptr;
    switch (w->kind) {
      case WATCH_LANE:
        lane_event(CONTAINER_OF(w, struct tp_lane, watch), events[i].events);
        break;
      case WATCH_STRANGER:
        tcp_stranger_turn(tp, CONTAINER_OF(w, struct stranger, watch));
        break;
      case WATCH_LISTEN:
        tcp_accept(tp);
        break;
      case WATCH_TIMER:
        time_came(tp);
        break;
    }
  }
}

static int tcp_poll(struct tp *tp, struct tp_event *events, int max) {
  struct sink out = {.at = events, .n = 0, .max = max};
  assert(max > 0);
  give_turns(tp, &out); /* what was put since the last poll goes out first */
  take_events(tp, 0);
  give_turns(tp, &out);
  return out.n;
}

static int tcp_arm(struct tp *tp) { return tp->ready_head != NULL; }
static int tcp_fd(struct tp *tp) { return tp->epfd; }

/* ---- open and close ---- */

static int tcp_open(const struct tp_config *config, struct tp **out, agg_error_t *err) {
  struct net_addr listen_at, bound;
  struct tp *tp = calloc(1, sizeof *tp);
  if (tp == NULL) return err_set(err, AGG_ENOMEM, "no memory for the tcp transport");
  tp->log = config->log;
  tp->gate = (struct log_gate){.period_ns = LOG_PERIOD_NS, .burst = LOG_BURST};
  tp->limits.stranger_ns = TCP_STRANGER_NS;
  tp->limits.dial_ns = TCP_DIAL_NS;
  tp->limits.wait_ns = TCP_WAIT_NS;
  tp->timer_at = TIMER_OFF;
  tp->listen_watch.kind = WATCH_LISTEN;
  tp->timer_watch.kind = WATCH_TIMER;
  for (int i = 0; i < TCP_STRANGERS_MAX; i++) tp->strangers[i].fd = -1;
  int rc = tcp_address_choose(config, &listen_at, tp->adv, err);
  if (rc < 0) goto free_tp;
  tp->n_adv = rc;
  rc = net_listen(&listen_at, BACKLOG, &tp->listen_fd, &bound, err);
  if (rc != 0) goto free_tp;
  tp->port = net_port(&bound);
  tp->epfd = epoll_create1(EPOLL_CLOEXEC);
  if (tp->epfd < 0) {
    rc = err_sys(err, AGG_ESYS, errno, "cannot create an epoll descriptor");
    goto close_listen;
  }
  tp->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (tp->timer_fd < 0) {
    rc = err_sys(err, AGG_ESYS, errno, "cannot create a timer");
    goto close_epoll;
  }
  int why = tcp_watch(tp, tp->listen_fd, EPOLLIN, &tp->listen_watch);
  if (why == 0) why = tcp_watch(tp, tp->timer_fd, EPOLLIN, &tp->timer_watch);
  if (why != 0) {
    rc = err_sys(err, AGG_ESYS, why, "cannot watch sockets with epoll");
    goto close_timer;
  }
  *out = tp;
  return 0;

close_timer:
  close(tp->timer_fd);
close_epoll:
  close(tp->epfd);
close_listen:
  close(tp->listen_fd);
free_tp:
  free(tp);
  return rc;
}

static void tcp_close(struct tp *tp) {
  if (tp == NULL) return;
  while (tp->lanes != NULL) tcp_lane_close(tp->lanes);
  tcp_strangers_fini(tp);
  tcp_mem_fini(tp);
  close(tp->timer_fd);
  close(tp->epfd);
  close(tp->listen_fd);
  free(tp);
}

static unsigned tcp_ports(const struct tp *tp, struct tp_port *out, unsigned max) { return tcp_address_port(tp->adv, tp->n_adv, out, max); }

static size_t tcp_address(struct tp *tp, void *buf) { return tcp_address_encode(tp->adv, tp->n_adv, tp->port, buf); }

static int tcp_reach(struct tp *tp, const void *address, size_t len) {
  struct net_addr addrs[TCP_ADDRS_MAX];
  (void)tp;
  return tcp_address_decode(address, len, addrs) > 0;
}

const struct tp_ops tp_tcp = {
    .name = "tcp",
    .caps = TP_CAP_ANY_SOURCE | TP_CAP_CHEAP_REG,
    .open = tcp_open,
    .close = tcp_close,
    .address = tcp_address,
    .reach = tcp_reach,
    .mem_reg = tcp_mem_reg,
    .mem_dereg = tcp_mem_dereg,
    .ports = tcp_ports,
    .raddr = tcp_raddr,
    .lane_open = tcp_lane_open,
    .lane_close = tcp_lane_close,
    .put = tcp_put,
    .poll = tcp_poll,
    .arm = tcp_arm,
    .fd = tcp_fd,
    .map = tp_unsupported_map,
    .fence = tcp_lane_fence,
    .shut = tcp_lane_shut,
};
