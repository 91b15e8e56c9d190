/*
 * Owns accepted sockets until a ticket names their lane: strangers, and peers that came before their lane was opened here. Both cost two
 * descriptors for a few seconds at most. Never maps what a guest brings.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/util.h"
#include "shm.h"

static void drop(struct tp *tp, struct shm_guest *g, const char *why) {
  uint64_t withheld = 0;
  if (why != NULL && log_gate_pass(&tp->guest_gate, clock_now_ns(), &withheld)) {
    LOG_WARN(tp->log, "shm: dropped a connection of process %d: %s (%llu more such lines withheld)", (int)g->pid, why,
             (unsigned long long)withheld);
  }
  g->gone = 1;
}

static int same_ticket(const unsigned char *a, const unsigned char *b) {
  unsigned diff = 0; /* takes the same time wherever the first difference is */
  for (unsigned i = 0; i < TP_TICKET_BYTES; i++) diff |= (unsigned)(a[i] ^ b[i]);
  return diff == 0;
}

static void join(struct tp_lane *lane, struct shm_guest *g) {
  g->gone = 1;
  shm_lane_welcome(lane, g);
}

static void find_lane(struct tp *tp, struct shm_guest *g) {
  struct tp_lane *found = NULL;
  for (uint32_t i = 0; i < tp->n_lanes; i++) {
    struct tp_lane *l = tp->lanes[i];
    if (l->state == SHM_LANE_WAITING && same_ticket(l->config.ticket, g->hello.ticket)) found = l;
  }
  if (found != NULL) join(found, g);
}

void shm_guest_match(struct tp *tp, struct tp_lane *lane) {
  for (struct shm_guest *g = tp->guests; g != NULL; g = g->next) {
    if (g->gone || !g->greeted || !same_ticket(lane->config.ticket, g->hello.ticket)) continue;
    join(lane, g);
    return;
  }
}

/* ---- coming ---- */

static void append(struct tp *tp, struct shm_guest *g) {
  struct shm_guest **at = &tp->guests;
  while (*at != NULL) at = &(*at)->next;
  *at = g;
  tp->n_guests++;
}

/* The longest waiting one makes room; one that is parked with a hello is told to come again. */
static void make_room(struct tp *tp) {
  if (tp->n_guests < SHM_GUESTS_MAX) return;
  struct shm_guest *g = tp->guests;
  while (g != NULL && g->gone) g = g->next;
  if (g == NULL) return;
  struct shm_msg again = {0};
  if (g->greeted) (void)shm_sock_send(g->watch.fd, &again, SHM_MSG_AGAIN, -1);
  drop(tp, g, "too many connections are waiting for their lanes");
}

static int add(struct tp *tp, int fd) {
  struct shm_guest *g = calloc(1, sizeof *g);
  if (g == NULL) return AGG_ENOMEM;
  g->watch = (struct shm_watch){SHM_WATCH_GUEST, fd};
  g->mem_fd = -1;
  g->until_ns = clock_now_ns() + SHM_GUEST_NS;
  if (shm_watch_add(tp, &g->watch, EPOLLIN) != 0) {
    free(g);
    return AGG_ESYS;
  }
  append(tp, g);
  if (!shm_sock_trusted(fd, &g->pid)) drop(tp, g, "it belongs to another user");
  return 0;
}

void shm_guest_accept(struct tp *tp) {
  for (int i = 0; i < 64; i++) {
    int fd = -1;
    int rc = shm_sock_accept(tp->listener.fd, &fd);
    if (rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM) {
      uint64_t withheld = 0;
      if (log_gate_pass(&tp->guest_gate, clock_now_ns(), &withheld)) {
        LOG_WARN(tp->log, "shm: cannot accept connections: %s (raise the limit of open files)", strerrorname_np(-rc));
      }
      tp->listener_paused = 1;
      shm_watch_change(tp, &tp->listener, 0);
      break;
    }
    if (rc == -ECONNABORTED || rc == -EINTR) continue;
    if (rc != 0) break;
    make_room(tp);
    if (add(tp, fd) != 0) close(fd);
  }
  shm_timer_update(tp);
}

void shm_guest_resume(struct tp *tp) {
  if (!tp->listener_paused) return;
  tp->listener_paused = 0;
  shm_watch_change(tp, &tp->listener, EPOLLIN);
}

void shm_guest_event(struct tp *tp, struct shm_guest *g) {
  struct shm_msg msg;
  int fd = -1;
  if (g->gone) return;
  int rc = shm_sock_recv(g->watch.fd, &msg, &fd);
  if (rc == 0) return;
  if (rc == 1 && msg.type == SHM_MSG_HELLO && !g->greeted) {
    g->greeted = 1;
    g->hello = msg;
    g->mem_fd = fd;
    find_lane(tp, g);
    return;
  }
  if (rc == 1 && fd >= 0) close(fd);
  drop(tp, g, rc == -1 ? NULL : "it does not speak this protocol or version");
}

/* ---- going ---- */

static void destroy(struct tp *tp, struct shm_guest *g) {
  shm_watch_del(tp, &g->watch);
  if (g->mem_fd >= 0) close(g->mem_fd);
  free(g);
}

static void expire(struct tp *tp, struct shm_guest *g) {
  struct shm_msg again = {0};
  if (g->greeted) (void)shm_sock_send(g->watch.fd, &again, SHM_MSG_AGAIN, -1);
  drop(tp, g, g->greeted ? NULL : "it said nothing for 5 s");
}

void shm_guest_reap(struct tp *tp) {
  if (tp->guests == NULL) return;
  uint64_t now = clock_now_ns();
  for (struct shm_guest **at = &tp->guests; *at != NULL;) {
    struct shm_guest *g = *at;
    if (!g->gone && now >= g->until_ns) expire(tp, g);
    if (!g->gone) {
      at = &g->next;
      continue;
    }
    *at = g->next;
    tp->n_guests--;
    destroy(tp, g);
  }
  shm_timer_update(tp);
}

void shm_guest_close_all(struct tp *tp) {
  while (tp->guests != NULL) {
    struct shm_guest *g = tp->guests;
    tp->guests = g->next;
    destroy(tp, g);
  }
}
