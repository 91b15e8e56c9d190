/*
 * Owns connections from strangers until their ticket names a lane. A stranger costs one descriptor and one of TCP_STRANGERS_MAX places for
 * at most TCP_STRANGER_NS; when the places are taken, the oldest goes. Never lets a stranger's bytes reach a lane.
 *
 * A stranger may come before its lane is opened here: a well-formed greeting with an unknown ticket waits for the rest of its time.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

#define ACCEPTS_A_TURN 16
#define PAUSE_NS 50000000u

static void say_dropped(struct tp *tp, const struct stranger *s, const char *why) {
  uint64_t hidden = 0;
  if (!log_gate_pass(&tp->gate, clock_now_ns(), &hidden)) return;
  if (hidden > 0) {
    LOG_WARN(tp->log, "tcp: dropped a connection from %s: %s (and %llu more since the last such line)", s->peer, why,
             (unsigned long long)hidden);
  } else {
    LOG_WARN(tp->log, "tcp: dropped a connection from %s: %s", s->peer, why);
  }
}

static void forget(struct tp *tp, struct stranger *s) {
  s->fd = -1;
  assert(tp->n_strangers > 0);
  tp->n_strangers--;
}

static void drop(struct tp *tp, struct stranger *s, const char *why) {
  if (why != NULL) say_dropped(tp, s, why);
  close(s->fd);
  forget(tp, s);
}

static struct stranger *oldest(struct tp *tp) {
  struct stranger *old = NULL;
  for (struct stranger *s = tp->strangers; s < tp->strangers + TCP_STRANGERS_MAX; s++) {
    if (s->fd >= 0 && (old == NULL || s->order < old->order)) old = s;
  }
  return old;
}

static struct stranger *free_place(struct tp *tp) {
  if (tp->n_strangers == TCP_STRANGERS_MAX) drop(tp, oldest(tp), "too many connections that named no lane; the oldest goes");
  for (struct stranger *s = tp->strangers; s < tp->strangers + TCP_STRANGERS_MAX; s++) {
    if (s->fd < 0) return s;
  }
  assert(0 && "a place is free");
  return NULL;
}

/* ---- from stranger to lane ---- */

/* The lane takes over the connection and answers. Where that fails the connection is gone and the lane waits on: the peer tries again. */
static void adopt(struct tp_lane *l, struct stranger *s) {
  struct tp *tp = l->tp;
  struct tcp_hello welcome = {.kind = TCP_WELCOME, .window = l->window};
  unsigned char bytes[TCP_HELLO_BYTES];
  char buf[128];
  struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &l->watch};
  if (epoll_ctl(tp->epfd, EPOLL_CTL_MOD, s->fd, &ev) != 0) {
    drop(tp, s, tcp_reason(errno, buf, sizeof buf));
    return;
  }
  net_tune(s->fd, TCP_DEAD_HOST_S);
  tcp_hello_encode(&welcome, bytes);
  if (send(s->fd, bytes, sizeof bytes, MSG_NOSIGNAL) != (ssize_t)sizeof bytes) { /* an empty socket takes 64 bytes unless it is broken */
    drop(tp, s, "it did not take the welcome");
    return;
  }
  l->fd = s->fd;
  l->can_read = l->can_write = 1;
  str_copy(l->peer, sizeof l->peer, s->peer);
  forget(tp, s);
  tcp_lane_up(l, s->hello.window);
}

static struct tp_lane *lane_by_ticket(struct tp *tp, const unsigned char *ticket) {
  struct tp_lane *found = NULL;
  for (struct tp_lane *l = tp->opening; l != NULL; l = l->opening_next) {
    if (l->state == LANE_WAITING && tcp_ticket_equal(l->ticket, ticket)) found = l;
  }
  return found;
}

/* A stranger whose greeting is known has to wait for the welcome: 1 while it does, 0 when it left or said more. */
static int still_waits(const struct stranger *s) {
  char byte;
  return recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

void tcp_strangers_claim(struct tp_lane *l) {
  struct tp *tp = l->tp;
  for (struct stranger *s = tp->strangers; s < tp->strangers + TCP_STRANGERS_MAX && l->state == LANE_WAITING; s++) {
    if (s->fd < 0 || s->got != TCP_HELLO_BYTES || !tcp_ticket_equal(l->ticket, s->hello.ticket)) continue;
    if (still_waits(s))
      adopt(l, s);
    else
      drop(tp, s, NULL);
  }
}

static void greeted(struct tp *tp, struct stranger *s) {
  agg_error_t err = {0};
  if (tcp_hello_decode(&s->hello, s->greeting, TCP_HELLO, &err) != 0) {
    drop(tp, s, err.text);
    return;
  }
  struct tp_lane *l = lane_by_ticket(tp, s->hello.ticket);
  if (l != NULL) adopt(l, s);
}

void tcp_stranger_turn(struct tp *tp, struct stranger *s) {
  if (s->fd < 0) return; /* an event for a place whose stranger has gone */
  if (s->got == TCP_HELLO_BYTES) {
    if (!still_waits(s)) drop(tp, s, NULL);
    return;
  }
  while (s->got < TCP_HELLO_BYTES) {
    ssize_t n = recv(s->fd, s->greeting + s->got, TCP_HELLO_BYTES - s->got, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      drop(tp, s, "it left without a greeting");
      return;
    }
    s->got += (uint32_t)n;
  }
  greeted(tp, s);
}

/* ---- accepting ---- */

static void pause_listening(struct tp *tp) {
  struct epoll_event ev = {.events = 0, .data.ptr = &tp->listen_watch};
  if (epoll_ctl(tp->epfd, EPOLL_CTL_MOD, tp->listen_fd, &ev) == 0) tp->listen_paused = 1;
  tcp_timer_by(tp, clock_now_ns() + PAUSE_NS);
}

static void resume_listening(struct tp *tp) {
  struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &tp->listen_watch};
  if (epoll_ctl(tp->epfd, EPOLL_CTL_MOD, tp->listen_fd, &ev) == 0)
    tp->listen_paused = 0;
  else
    tcp_timer_by(tp, clock_now_ns() + PAUSE_NS);
}

static void welcome_stranger(struct tp *tp, int fd, const struct net_addr *from) {
  struct stranger *s = free_place(tp);
  char buf[128];
  *s = (struct stranger){.watch.kind = WATCH_STRANGER, .fd = fd, .since = clock_now_ns(), .order = tp->stranger_order++};
  tp->n_strangers++;
  net_format(from, s->peer, sizeof s->peer);
  tcp_timer_by(tp, s->since + tp->limits.stranger_ns);
  int rc = tcp_watch(tp, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, &s->watch);
  if (rc != 0) {
    drop(tp, s, tcp_reason(rc, buf, sizeof buf));
    return;
  }
  tcp_stranger_turn(tp, s);
}

void tcp_accept(struct tp *tp) {
  for (int i = 0; i < ACCEPTS_A_TURN; i++) {
    struct net_addr from = {.len = sizeof from.ss};
    int fd = accept4(tp->listen_fd, (struct sockaddr *)&from.ss, &from.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      welcome_stranger(tp, fd, &from);
      continue;
    }
    if (errno == EAGAIN) return;
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) continue; /* that connection broke; the next may not */
    struct stranger *old = oldest(tp);
    if (old != NULL)
      drop(tp, old, "the process is out of descriptors or memory for sockets; the oldest goes");
    else {
      char buf[128];
      LOG_WARN(tp->log, "tcp: cannot accept a connection: %s; trying again", tcp_reason(errno, buf, sizeof buf));
      pause_listening(tp);
      return;
    }
  }
}

void tcp_strangers_time(struct tp *tp, uint64_t now_ns) {
  if (tp->listen_paused) resume_listening(tp);
  for (struct stranger *s = tp->strangers; s < tp->strangers + TCP_STRANGERS_MAX; s++) {
    if (s->fd < 0) continue;
    if (now_ns - s->since >= tp->limits.stranger_ns) {
      drop(tp, s, s->got == TCP_HELLO_BYTES ? "no lane has the ticket that it showed" : "it did not greet in time");
    } else {
      tcp_timer_by(tp, s->since + tp->limits.stranger_ns);
    }
  }
}

void tcp_strangers_fini(struct tp *tp) {
  for (struct stranger *s = tp->strangers; s < tp->strangers + TCP_STRANGERS_MAX; s++) {
    if (s->fd >= 0) drop(tp, s, NULL);
  }
}
