/*
 * Owns a lane from open to close: its states, its memory, the turn it gets in a poll, and the words in which its loss is told. Never
 * parses a frame (rx.c) and never finds the peer (dial.c, accept.c).
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/err.h"
#include "base/state.h"
#include "base/util.h"
#include "internal.h"

#define DRAIN_MAX (64u << 20)
#define DEPTH_MAX (1u << 20)

static const struct state_row rows[LANE_STATES] = {
    [LANE_DIALING] = {"dialing", STATE_TO(LANE_GREETING) | STATE_TO(LANE_LOST) | STATE_TO(LANE_FENCED)},
    [LANE_GREETING] = {"greeting", STATE_TO(LANE_DIALING) | STATE_TO(LANE_UP) | STATE_TO(LANE_LOST) | STATE_TO(LANE_FENCED)},
    [LANE_WAITING] = {"waiting", STATE_TO(LANE_UP) | STATE_TO(LANE_LOST) | STATE_TO(LANE_FENCED)},
    [LANE_UP] = {"up", STATE_TO(LANE_LOST) | STATE_TO(LANE_FENCED)},
    [LANE_LOST] = {"lost", STATE_TO(LANE_FENCED)},
    [LANE_FENCED] = {"fenced", 0},
};
static const struct state_table states = {"tcp lane", rows, LANE_STATES};

void tcp_lane_move(struct tp_lane *l, enum lane_state next) { state_move(&states, &l->state, next); }

const char *tcp_reason(int errno_value, char *buf, size_t cap) {
  switch (errno_value) {
    case ECONNRESET:
      return "connection reset by peer";
    case EPIPE:
      return "closed by peer";
    case ECONNREFUSED:
      return "connection refused: nobody listens there";
    case EHOSTUNREACH:
      return "no answer: the host cannot be reached";
    case ENETUNREACH:
      return "the network cannot be reached";
    case ETIMEDOUT:
      (void)snprintf(buf, cap, "no answer from the peer's host for %d s", TCP_DEAD_HOST_S);
      return buf;
    default:
      return strerror_r(errno_value, buf, cap);
  }
}

/* ---- lists ---- */

static void link_lane(struct tp_lane *l) {
  struct tp *tp = l->tp;
  l->next = tp->lanes;
  if (l->next != NULL) l->next->prev = l;
  tp->lanes = l;
  l->opening_next = tp->opening;
  if (l->opening_next != NULL) l->opening_next->opening_prev = l;
  tp->opening = l;
  l->in_opening = 1;
}

static void unlink_opening(struct tp_lane *l) {
  if (!l->in_opening) return;
  if (l->opening_prev != NULL)
    l->opening_prev->opening_next = l->opening_next;
  else
    l->tp->opening = l->opening_next;
  if (l->opening_next != NULL) l->opening_next->opening_prev = l->opening_prev;
  l->in_opening = 0;
}

static void unlink_lane(struct tp_lane *l) {
  unlink_opening(l);
  if (l->prev != NULL)
    l->prev->next = l->next;
  else
    l->tp->lanes = l->next;
  if (l->next != NULL) l->next->prev = l->prev;
}

/* ---- open and up ---- */

static int lane_alloc(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err) {
  struct tp_lane *l = calloc(1, sizeof *l);
  if (l == NULL) goto fail;
  l->puts = calloc(config->depth, sizeof *l->puts);
  if (l->puts == NULL) goto free_lane;
  l->tokens = calloc(config->depth, sizeof *l->tokens);
  if (l->tokens == NULL) goto free_puts;
  l->watch.kind = WATCH_LANE;
  l->tp = tp;
  l->fd = -1;
  l->depth = config->depth;
  l->domain = config->domain;
  l->user = config->user;
  if (config->window_mr != NULL) l->window = tcp_raddr(l, config->window_mr, config->window_ptr);
  memcpy(l->ticket, config->ticket, TP_TICKET_BYTES);
  *lane = l;
  return 0;

free_puts:
  free(l->puts);
free_lane:
  free(l);
fail:
  return err_set(err, AGG_ENOMEM, "no memory for a lane with %u puts in flight", config->depth);
}

int tcp_lane_open(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err) {
  struct tp_lane *l = NULL;
  struct net_addr addrs[TCP_ADDRS_MAX];
  int n_addrs = 0;
  if (config->depth == 0 || config->depth > DEPTH_MAX) {
    return err_set(err, AGG_EINVAL, "a lane takes 1 to %u puts in flight, not %u", DEPTH_MAX, config->depth);
  }
  if (config->active) {
    n_addrs = tcp_address_decode(config->peer_address, config->peer_address_len, addrs);
    if (n_addrs == 0) return err_set(err, AGG_EINVAL, "the peer's tcp address (%zu bytes) is malformed", config->peer_address_len);
  }
  int rc = lane_alloc(tp, config, &l, err);
  if (rc != 0) return rc;
  link_lane(l);
  if (config->active) {
    l->state = LANE_DIALING;
    l->n_addrs = n_addrs;
    memcpy(l->addrs, addrs, sizeof l->addrs[0] * (unsigned)n_addrs);
    l->give_up_at = clock_now_ns() + tp->limits.dial_ns;
    tcp_timer_by(tp, l->give_up_at);
    tcp_dial(l);
  } else {
    l->state = LANE_WAITING;
    str_copy(l->peer, sizeof l->peer, "the peer");
    l->give_up_at = clock_now_ns() + tp->limits.wait_ns;
    tcp_timer_by(tp, l->give_up_at);
    tcp_strangers_claim(l);
  }
  *lane = l;
  return 0;
}

void tcp_lane_up(struct tp_lane *l, struct tp_raddr peer_window) {
  tcp_lane_move(l, LANE_UP);
  unlink_opening(l);
  memset(l->ticket, 0, sizeof l->ticket);
  l->peer_window = peer_window;
  l->say_connected = 1;
  tcp_ready(l);
}

/* ---- the end ---- */

/* Nothing goes out or comes in any more through this lane. */
static void cut(struct tp_lane *l) {
  unlink_opening(l);
  l->put_count = l->token_count = l->tokens_queued = 0;
  l->put_done = 0;
  l->rx_mr = NULL;
  l->rx_held = 0;
  l->stage_head = l->stage_tail = 0;
  l->can_read = l->can_write = 0;
  l->say_connected = 0;
}

static void close_fd(struct tp_lane *l) {
  if (l->fd >= 0) close(l->fd);
  l->fd = -1;
}

void tcp_lane_lost(struct tp_lane *l, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(l->text, sizeof l->text, fmt, args);
  va_end(args);
  tcp_lane_move(l, LANE_LOST);
  cut(l);
  close_fd(l);
  l->say_lost = 1;
  LOG_DEBUG(l->tp->log, "tcp: lane to %s lost: %s", l->peer, l->text);
  tcp_ready(l);
}

int tcp_lane_fence(struct tp_lane *l) {
  /* This process alone writes what arrives into its memory, so to stop reading is to be fenced. The peer sees the connection end. */
  if (l->state != LANE_FENCED) {
    tcp_lane_move(l, LANE_FENCED);
    cut(l);
    close_fd(l);
    l->say_lost = 0;
    tcp_unready(l);
  }
  return 1;
}

int tcp_lane_shut(const struct tp_lane *l) { return l->state == LANE_LOST || l->state == LANE_FENCED; }

/* Closing a socket with unread bytes resets the connection, and a reset throws away what the peer has not received yet, puts
 * included that were reported sent. So they are taken out first (MSG_TRUNC: without copying). */
static void drain(int fd) {
  for (size_t left = DRAIN_MAX; left > 0;) {
    ssize_t n = recv(fd, NULL, left, MSG_TRUNC | MSG_DONTWAIT);
    if (n <= 0) return;
    left -= (size_t)n;
  }
}

void tcp_lane_close(struct tp_lane *l) {
  if (l == NULL) return;
  if (l->state == LANE_UP) drain(l->fd);
  close_fd(l);
  tcp_unready(l);
  unlink_lane(l);
  free(l->tokens);
  free(l->puts);
  free(l);
}

/* ---- a turn ---- */

static void say(struct tp_lane *l, enum tp_event_kind kind, struct sink *out) {
  assert(out->n < out->max);
  struct tp_event *e = &out->at[out->n++];
  *e = (struct tp_event){.kind = kind, .lane = l, .user = l->user};
  e->text = kind == TP_LOST ? l->text : l->peer;
  if (kind == TP_CONNECTED) e->peer_window = l->peer_window;
}

void tcp_lane_turn(struct tp_lane *l, struct sink *out) {
  if (l->state == LANE_DIALING || l->state == LANE_GREETING) tcp_dial_turn(l);
  if (l->state == LANE_UP) {
    if (l->say_connected) say(l, TP_CONNECTED, out);
    l->say_connected = 0;
    tcp_tx(l);
    tcp_tx_report(l, out);
    tcp_rx(l, out);
  }
  if (l->state == LANE_LOST && l->say_lost && out->n < out->max) {
    say(l, TP_LOST, out);
    l->say_lost = 0;
  }
  int more = l->say_lost || l->say_connected;
  if (l->state == LANE_UP) more |= l->token_count > 0 || l->rx_held || l->can_read || (l->can_write && l->put_count > 0);
  if (more) tcp_ready(l);
}
