/*
 * Owns a lane's life: how the ends meet, what its socket brings, its fence, its loss and its end. Never moves payload (put.c, take.c).
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "shm.h"

static const struct state_row rows[SHM_LANE_STATES] = {
    [SHM_LANE_CONNECTING] = {"connecting", STATE_TO(SHM_LANE_GREETED) | STATE_TO(SHM_LANE_LOST)},
    [SHM_LANE_GREETED] = {"greeted", STATE_TO(SHM_LANE_CONNECTING) | STATE_TO(SHM_LANE_OPEN) | STATE_TO(SHM_LANE_LOST)},
    [SHM_LANE_WAITING] = {"waiting", STATE_TO(SHM_LANE_OPEN) | STATE_TO(SHM_LANE_LOST)},
    [SHM_LANE_OPEN] = {"open", STATE_TO(SHM_LANE_LOST)},
    [SHM_LANE_LOST] = {"lost", 0},
};
static const struct state_table states = {"shm lane", rows, SHM_LANE_STATES};

enum { TOLD_NOTHING, TOLD_CONNECTED, TOLD_LOST };

static int in_setup(const struct tp_lane *l) { return l->state != SHM_LANE_OPEN && l->state != SHM_LANE_LOST; }

static void move(struct tp_lane *l, enum shm_lane_state next) {
  int before = in_setup(l);
  state_move(&states, &l->state, next);
  if (before && !in_setup(l)) l->tp->n_setup--;
  l->tp->until_look = 0;
}

/* Says, in the lane's memory, that this end puts nothing more and that the other must stop. A read-modify-write that releases and
 * acquires: a reader of our private memory that checks the word after its copy (take.c, read_private) either sees it, or its copy happened
 * before whatever we do with the source next. */
static void say_shut(struct tp_lane *l) {
  if (l->mem.base == NULL) return;
  atomic_exchange_explicit(&l->mem.own->shut, 1, memory_order_acq_rel);
  if (l->watch.fd >= 0) shm_sock_bell(l->watch.fd);
}

static void fail_text(struct tp_lane *l, const char *fmt, va_list args) {
  if (l->state == SHM_LANE_LOST) return;
  (void)vsnprintf(l->text, sizeof l->text, fmt, args);
  move(l, SHM_LANE_LOST);
  say_shut(l);
  LOG_DEBUG(l->tp->log, "shm: lane to process %d lost: %s", (int)l->peer_pid, l->text);
}

void shm_lane_fail(struct tp_lane *l, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  fail_text(l, fmt, args);
  va_end(args);
}

/* ---- meeting ---- */

static void opened(struct tp_lane *l, const struct shm_msg *msg) {
  l->peer_window = (struct tp_raddr){msg->window_key, msg->window_off};
  l->proc = shm_proc_get(l->tp, l->peer_pid);
  memset(l->config.ticket, 0, sizeof l->config.ticket);
  move(l, SHM_LANE_OPEN);
}

static struct shm_msg introduction(const struct tp_lane *l) {
  return (struct shm_msg){
      .window_key = l->window.key,
      .window_off = l->window.off,
      .ring = l->mem.ring,
      .bounce = SHM_BOUNCE_BYTES,
      .probe_at = (uint64_t)(uintptr_t)&l->tp->nonce,
      .probe_value = l->tp->nonce,
  };
}

static int greet(struct tp_lane *l, agg_error_t *err) {
  int mem_fd = -1;
  int rc = shm_mem_create(&l->mem, shm_mem_ring(l->config.depth), &mem_fd, err);
  if (rc != 0) return rc;
  shm_region_welcome(l);
  struct shm_msg hello = introduction(l);
  memcpy(hello.ticket, l->config.ticket, sizeof hello.ticket);
  rc = shm_sock_send(l->watch.fd, &hello, SHM_MSG_HELLO, mem_fd);
  close(mem_fd);
  return rc == 0 ? 0 : err_sys(err, AGG_ESYS, -rc, "shm: cannot send to process %d", (int)l->peer_pid);
}

/* One attempt; a full backlog leaves the lane CONNECTING, the timer tries again. */
static void dial(struct tp_lane *l) {
  agg_error_t err = {0};
  l->dials++;
  int rc = shm_sock_connect(l->peer_name, &l->watch.fd);
  if (rc == -EAGAIN) return;
  if (rc != 0) {
    l->watch.fd = -1;
    shm_lane_fail(l, "process %d does not listen any more: %s", (int)l->peer_pid, strerrordesc_np(-rc));
    return;
  }
  if (!shm_sock_trusted(l->watch.fd, &l->peer_pid)) {
    shm_lane_fail(l, "process %d belongs to another user", (int)l->peer_pid);
  } else if (shm_watch_add(l->tp, &l->watch, EPOLLIN) != 0) {
    shm_lane_fail(l, "cannot watch the socket to process %d", (int)l->peer_pid);
  } else if (greet(l, &err) != 0) {
    shm_lane_fail(l, "%s", err.text);
  } else {
    move(l, SHM_LANE_GREETED);
  }
}

void shm_lane_retry(struct tp_lane *l) {
  if (l->state == SHM_LANE_CONNECTING) dial(l);
  if (in_setup(l) && clock_now_ns() >= l->until_ns) {
    shm_lane_fail(l, l->active ? "process %d did not take the lane within %llu s" : "the other end (process %d) did not come within %llu s",
                  (int)l->peer_pid, (unsigned long long)((l->active ? SHM_CONNECT_NS : SHM_WAIT_NS) / 1000000000u));
  }
}

static int alloc_transit(struct tp_lane *l) {
  l->bounce_end = calloc(l->mem.ring, sizeof *l->bounce_end);
  return l->bounce_end != NULL;
}

/* Tells the peer whether its private memory can be read from here. Relaxed: a hint, every value of it is safe. */
static void probe(struct tp_lane *l, const struct shm_msg *msg) {
  uint32_t reads = (uint32_t)shm_can_read(l->peer_pid, msg->probe_at, msg->probe_value);
  atomic_store_explicit(&l->mem.own->reads_private, reads, memory_order_relaxed);
}

void shm_lane_welcome(struct tp_lane *l, struct shm_guest *g) {
  agg_error_t err = {0};
  l->watch.fd = g->watch.fd;
  epoll_ctl(l->tp->epoll_fd, EPOLL_CTL_DEL, g->watch.fd, NULL); /* comes back as the lane's */
  g->watch.fd = -1;
  l->peer_pid = g->pid;
  if (shm_watch_add(l->tp, &l->watch, EPOLLIN) != 0) {
    shm_lane_fail(l, "cannot watch the socket to process %d", (int)g->pid);
    return;
  }
  if (shm_mem_accept(&l->mem, &g->hello, g->mem_fd, &err) != 0) {
    shm_lane_fail(l, "process %d: %s", (int)g->pid, err.text);
    return;
  }
  if (!alloc_transit(l)) {
    shm_lane_fail(l, "no memory for a lane with %u entries", l->mem.ring);
    return;
  }
  shm_region_welcome(l);
  struct shm_msg welcome = introduction(l);
  probe(l, &g->hello);
  int rc = shm_sock_send(l->watch.fd, &welcome, SHM_MSG_WELCOME, -1);
  if (rc != 0) {
    shm_lane_fail(l, "process %d went away while the lane was made: %s", (int)g->pid, strerrordesc_np(-rc));
    return;
  }
  opened(l, &g->hello);
  shm_region_announce(l);
}

static void welcomed(struct tp_lane *l, const struct shm_msg *msg) {
  if (!alloc_transit(l)) {
    shm_lane_fail(l, "no memory for a lane with %u entries", l->mem.ring);
    return;
  }
  probe(l, msg);
  opened(l, msg);
  shm_region_announce(l);
}

/* The other end has not opened the lane yet and keeps nobody waiting: knock again. */
static void again(struct tp_lane *l) {
  shm_watch_del(l->tp, &l->watch);
  shm_mem_unmap(&l->mem);
  move(l, SHM_LANE_CONNECTING);
  dial(l);
}

/* ---- the socket ---- */

static void message(struct tp_lane *l, const struct shm_msg *msg, int fd) {
  if (msg->type == SHM_MSG_BELL) return;
  if (l->state == SHM_LANE_GREETED && msg->type == SHM_MSG_WELCOME) {
    welcomed(l, msg);
  } else if (l->state == SHM_LANE_GREETED && msg->type == SHM_MSG_AGAIN) {
    again(l);
  } else if (l->state == SHM_LANE_OPEN && msg->type == SHM_MSG_REGION) {
    shm_view_add(l, msg, fd);
    l->changes_seen = msg->seq;
  } else if (l->state == SHM_LANE_OPEN && msg->type == SHM_MSG_WITHDRAW) {
    shm_view_remove(l, msg->key);
    l->changes_seen = msg->seq;
  } else {
    shm_lane_fail(l, "process %d sent message %u while the lane was %s", (int)l->peer_pid, msg->type, state_name(&states, l->state));
  }
}

/* Takes one message: its type, or 0 when there is none or the lane ends. */
static unsigned read_one(struct tp_lane *l) {
  struct shm_msg msg;
  int fd = -1;
  if (l->watch.fd < 0 || l->eof || l->state == SHM_LANE_LOST) return 0;
  int rc = shm_sock_recv(l->watch.fd, &msg, &fd);
  if (rc == -1) l->eof = 1;
  if (rc == -2) shm_lane_fail(l, "process %d sent a message of another protocol or version", (int)l->peer_pid);
  if (rc == 1) message(l, &msg, fd);
  if (fd >= 0) close(fd);
  return rc == 1 ? msg.type : 0;
}

/* Bounded, so that a peer that keeps writing keeps nobody else waiting; the socket stays readable. */
#define READ_MAX 256

void shm_lane_read(struct tp_lane *l) {
  for (int i = 0; i < READ_MAX && read_one(l) != 0; i++) continue;
}

/* Messages of a lane that is lost say nothing any more, except by their end. */
static void discard(struct tp_lane *l) {
  struct shm_msg msg;
  int fd = -1;
  int rc = shm_sock_recv(l->watch.fd, &msg, &fd);
  if (rc == 1 && fd >= 0) close(fd);
  if (rc == -1) l->eof = 1;
}

void shm_lane_event(struct tp_lane *l, uint32_t events) {
  uint32_t dials = l->dials;
  if (events & EPOLLOUT) shm_region_announce(l);
  if (l->state == SHM_LANE_LOST)
    discard(l);
  else if (read_one(l) != SHM_MSG_BELL) /* behind a bell there is rarely more, and then the socket stays readable: one call less a wake */
    shm_lane_read(l);
  if (dials != l->dials) return; /* the event was of the socket before */
  if (events & (EPOLLHUP | EPOLLERR)) {
    shm_lane_read(l);
    l->eof = 1;
  }
  if (l->eof && l->watch.fd >= 0) shm_watch_del(l->tp, &l->watch);
}

/* ---- open and close ---- */

static int link_lane(struct tp *tp, struct tp_lane *l, agg_error_t *err) {
  if (tp->n_lanes == tp->cap_lanes) {
    uint32_t cap = tp->cap_lanes == 0 ? 16 : tp->cap_lanes * 2;
    struct tp_lane **lanes = realloc(tp->lanes, cap * sizeof *lanes);
    if (lanes == NULL) return err_set(err, AGG_ENOMEM, "no memory for a list of %u lanes", cap);
    tp->lanes = lanes;
    tp->cap_lanes = cap;
  }
  l->index = tp->n_lanes;
  tp->lanes[tp->n_lanes++] = l;
  tp->n_setup++;
  return 0;
}

static void unlink_lane(struct tp_lane *l) {
  struct tp *tp = l->tp;
  if (in_setup(l)) tp->n_setup--;
  struct tp_lane *last = tp->lanes[--tp->n_lanes];
  tp->lanes[l->index] = last;
  last->index = l->index;
}

static int alloc_lane(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err) {
  uint32_t puts = 1;
  while (puts < config->depth) puts *= 2;
  struct tp_lane *l = calloc(1, sizeof *l);
  if (l == NULL) goto fail;
  l->puts = calloc(puts, sizeof *l->puts);
  if (l->puts == NULL) goto free_lane;
  l->puts_mask = puts - 1;
  l->watch = (struct shm_watch){SHM_WATCH_LANE, -1};
  l->tp = tp;
  l->config = *config;
  if (config->window_mr != NULL) l->window = shm_raddr(l, config->window_mr, config->window_ptr);
  l->config.peer_address = NULL;
  l->config.peer_address_len = 0;
  l->active = config->active != 0;
  l->state = config->active ? SHM_LANE_CONNECTING : SHM_LANE_WAITING;
  l->until_ns = clock_now_ns() + (config->active ? SHM_CONNECT_NS : SHM_WAIT_NS);
  *lane = l;
  return 0;

free_lane:
  free(l);
fail:
  return err_set(err, AGG_ENOMEM, "no memory for a lane with %u puts in flight", config->depth);
}

int shm_lane_open(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err) {
  struct tp_lane *l = NULL;
  struct shm_address a;
  if (config->depth == 0 || config->depth > SHM_DEPTH_MAX) {
    return err_set(err, AGG_EINVAL, "shm: a lane takes 1 to %u puts in flight, not %u", SHM_DEPTH_MAX, config->depth);
  }
  const struct shm_address *peer = shm_host_parse(config->peer_address, config->peer_address_len, &a);
  if (peer == NULL && config->active) {
    return err_set(err, AGG_EINVAL, "shm: the peer's address (%zu bytes) is malformed", config->peer_address_len);
  }
  int rc = alloc_lane(tp, config, &l, err);
  if (rc != 0) return rc;
  rc = link_lane(tp, l, err);
  if (rc != 0) goto free_lane;
  if (peer != NULL) l->peer_pid = (pid_t)peer->pid;
  if (l->active) {
    memcpy(l->peer_name, peer->name, sizeof l->peer_name);
    dial(l);
  } else {
    shm_guest_match(tp, l);
  }
  shm_timer_update(tp);
  tp->until_look = 0;
  *lane = l;
  return 0;

free_lane:
  free(l->puts);
  free(l);
  return rc;
}

void shm_lane_close(struct tp_lane *l) {
  if (l == NULL) return;
  struct tp *tp = l->tp;
  say_shut(l);
  /* A child that was forked may hold the socket as well; the peer must see the end all the same. */
  if (l->watch.fd >= 0) (void)shutdown(l->watch.fd, SHUT_RDWR);
  shm_watch_del(tp, &l->watch);
  unlink_lane(l);
  shm_proc_put(tp, l->proc);
  shm_view_free_all(l);
  shm_mem_unmap(&l->mem);
  free(l->bounce_end);
  free(l->puts);
  free(l);
  shm_timer_update(tp);
}

/* ---- fencing ---- */

/* Acquire: what the peer wrote before it shut its end is seen by whoever uses the memory next. Pairs with say_shut. */
static int peer_shut(const struct tp_lane *l) {
  return l->mem.base != NULL && atomic_load_explicit(&l->mem.peer->shut, memory_order_acquire) != 0;
}

int shm_lane_fence(struct tp_lane *l) {
  if (!l->fenced) {
    l->fenced = 1;
    shm_lane_fail(l, "fenced by this end");
    l->told = TOLD_LOST; /* nothing of this lane is told any more */
  }
  if (!l->announced || l->eof || peer_shut(l)) return 1;
  discard(l);
  return l->eof;
}

int shm_lane_shut(const struct tp_lane *l) { return l->eof || l->state == SHM_LANE_LOST || peer_shut(l); }

/* ---- turns ---- */

static void tell(struct tp_lane *l, enum tp_event_kind kind, struct tp_event *e) {
  *e = (struct tp_event){.kind = kind, .lane = l, .user = l->config.user};
  l->told = kind == TP_CONNECTED ? TOLD_CONNECTED : TOLD_LOST;
  e->text = kind == TP_LOST ? l->text : "shared memory";
  if (kind == TP_CONNECTED) e->peer_window = l->peer_window;
}

/* The other end is gone or has shut: what it had completed has been taken, so the lane ends here. */
static void ended(struct tp_lane *l) {
  if (l->state != SHM_LANE_OPEN) {
    shm_lane_fail(l, "process %d refused the lane or ended before it was made", (int)l->peer_pid);
  } else if (peer_shut(l)) {
    shm_lane_fail(l, "process %d closed the lane", (int)l->peer_pid);
  } else {
    shm_lane_fail(l, "process %d ended without closing the lane: it exited or was killed", (int)l->peer_pid);
  }
}

int shm_lane_poll(struct tp_lane *l, struct tp_event *events, int max) {
  int n = 0;
  if (l->state == SHM_LANE_OPEN) {
    if (l->told == TOLD_NOTHING) tell(l, TP_CONNECTED, &events[n++]);
    int over = l->eof || peer_shut(l); /* read before the ring: all that was completed before the end is taken */
    if (l->put_head != l->put_tail) {
      shm_put_push(l);
      n += shm_put_report(l, events + n, max - n);
    }
    if (l->state == SHM_LANE_OPEN) n += shm_take(l, events + n, max - n);
    if (over && n < max) ended(l);
  } else if (l->eof && l->state != SHM_LANE_LOST) {
    ended(l);
  }
  if (l->state == SHM_LANE_LOST && l->told != TOLD_LOST && n < max) tell(l, TP_LOST, &events[n++]);
  return n;
}

void shm_lane_arm(struct tp_lane *l) {
  if (l->state != SHM_LANE_OPEN) return;
  uint32_t bits = SHM_ARMED_RING | (l->put_head != l->put_tail ? SHM_ARMED_CONSUMED : 0);
  /* seq_cst: before our reads of the ring in shm_lane_pending. Pairs with the peer's store of a stamp (or of `consumed`) before its read of
   * `armed` in shm_ring_bell: one of the two sees the other's store. */
  atomic_store_explicit(&l->mem.own->armed, bits, memory_order_seq_cst);
}

void shm_lane_disarm(struct tp_lane *l) {
  if (l->state == SHM_LANE_OPEN) atomic_store_explicit(&l->mem.own->armed, 0, memory_order_relaxed); /* late bells only cost a look */
}

int shm_lane_pending(struct tp_lane *l) {
  if (l->state == SHM_LANE_LOST) return l->told != TOLD_LOST;
  if (l->eof) return 1;
  if (l->state != SHM_LANE_OPEN) return 0;
  if (l->told == TOLD_NOTHING || peer_shut(l) || shm_take_ready(l)) return 1;
  if (l->put_head == l->put_tail) return 0;
  shm_put_push(l);
  return l->state == SHM_LANE_LOST || shm_put_reportable(l);
}
