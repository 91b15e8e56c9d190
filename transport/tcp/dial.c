/*
 * Owns the active end of a lane until the peer has welcomed it: connecting, greeting, trying again, giving up. Never waits: what
 * takes time is left to epoll and the timer.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

#define BACKOFF_FIRST_MS 5u
#define BACKOFF_MAX_MS 250u
/* With several addresses a silent one may not use up the time of the others. */
#define CONNECT_LIMIT_NS 2000000000u
#define GREET_LIMIT_NS 3000000000u
#define NEVER UINT64_MAX

static void set_retry(struct tp_lane *l, uint64_t at) {
  l->retry_at = at;
  if (at != NEVER) tcp_timer_by(l->tp, at);
}

static void limit_try(struct tp_lane *l, uint64_t limit_ns) { set_retry(l, l->n_addrs > 1 ? clock_now_ns() + limit_ns : NEVER); }

/* This try has failed: the next address at once, or, after all of them, a pause. */
static void try_failed(struct tp_lane *l, const char *why) {
  str_copy(l->text, sizeof l->text, why);
  if (l->fd >= 0) close(l->fd);
  l->fd = -1;
  l->can_read = l->can_write = l->hup = 0;
  if (l->state == LANE_GREETING) tcp_lane_move(l, LANE_DIALING);
  l->next_addr = (l->next_addr + 1) % l->n_addrs;
  uint64_t wait_ns = 0;
  if (l->next_addr == 0) {
    l->backoff_ms = l->backoff_ms == 0 ? BACKOFF_FIRST_MS : MIN_OF(l->backoff_ms * 2, BACKOFF_MAX_MS);
    wait_ns = l->backoff_ms * 1000000ull;
  }
  set_retry(l, clock_now_ns() + wait_ns);
}

void tcp_dial(struct tp_lane *l) {
  agg_error_t err = {0};
  const struct net_addr *to = &l->addrs[l->next_addr];
  net_format(to, l->peer, sizeof l->peer);
  if (net_connect_start(to, &l->fd, &err) != 0) {
    l->fd = -1;
    try_failed(l, err.text);
    return;
  }
  int rc = tcp_watch(l->tp, l->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &l->watch);
  if (rc != 0) {
    char buf[128];
    try_failed(l, strerror_r(rc, buf, sizeof buf));
    return;
  }
  limit_try(l, CONNECT_LIMIT_NS);
}

/* The kernel has an answer to connect. */
static void connected(struct tp_lane *l) {
  int why = 0;
  socklen_t len = sizeof why;
  char buf[128];
  if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &why, &len) != 0) why = errno;
  if (why != 0) {
    try_failed(l, tcp_reason(why, buf, sizeof buf));
    return;
  }
  struct tcp_hello hello = {.kind = TCP_HELLO, .window = l->window};
  memcpy(hello.ticket, l->ticket, TP_TICKET_BYTES);
  tcp_hello_encode(&hello, l->greeting);
  l->greeted = l->answered = 0;
  net_tune(l->fd, TCP_DEAD_HOST_S);
  tcp_lane_move(l, LANE_GREETING);
  limit_try(l, GREET_LIMIT_NS);
}

/* Moves `done` towards the end of the greeting with send or recv: 1 when it is whole, 0 when it has to wait, -1 when the try has failed. */
static int exchange(struct tp_lane *l, uint32_t *done, int sending) {
  char buf[128];
  while (*done < TCP_HELLO_BYTES) {
    size_t left = TCP_HELLO_BYTES - *done;
    ssize_t n = sending ? send(l->fd, l->greeting + *done, left, MSG_NOSIGNAL) : recv(l->fd, l->greeting + *done, left, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return 0;
    if (n < 0) return try_failed(l, tcp_reason(errno, buf, sizeof buf)), -1;
    if (n == 0) return try_failed(l, "the peer closed the connection without a welcome: it does not know this lane's ticket"), -1;
    *done += (uint32_t)n;
  }
  return 1;
}

void tcp_dial_turn(struct tp_lane *l) {
  if (l->state == LANE_DIALING && l->fd >= 0 && (l->can_write || l->hup)) connected(l);
  if (l->state != LANE_GREETING) return;
  if (exchange(l, &l->greeted, 1) != 1 || exchange(l, &l->answered, 0) != 1) return;
  struct tcp_hello welcome;
  agg_error_t err = {0};
  if (tcp_hello_decode(&welcome, l->greeting, TCP_WELCOME, &err) != 0) {
    try_failed(l, err.text);
    return;
  }
  l->can_read = l->can_write = 1;
  tcp_lane_up(l, welcome.window);
}

void tcp_dial_time(struct tp_lane *l, uint64_t now_ns) {
  if (now_ns >= l->give_up_at) {
    char why[TCP_TEXT_MAX];
    str_copy(why, sizeof why,
             l->fd >= 0 ? (l->state == LANE_DIALING ? "no answer to the connection" : "connected, but no welcome") : l->text);
    tcp_lane_lost(l, "cannot connect to %s within %.3g s: %s", l->peer, (double)l->tp->limits.dial_ns / 1e9, why);
    return;
  }
  tcp_timer_by(l->tp, l->give_up_at);
  if (l->retry_at > now_ns) {
    set_retry(l, l->retry_at);
    return;
  }
  if (l->fd >= 0) {
    try_failed(l, l->state == LANE_DIALING ? "no answer to the connection" : "connected, but no welcome");
    return;
  }
  tcp_dial(l);
}
