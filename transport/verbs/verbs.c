/*
 * Owns a tp of the verbs transport: its rails, epoll, the timer, and whose turn it is. Never touches a queue pair itself.
 *
 * A poll reads completion queues, which is memory; descriptors (the CM's, the ports', the timer) are looked at only while a lane is being
 * connected, after a sleep, and once in many polls. So a chunk's path has no system call on a device whose doorbells need none.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "doctor/doctor.h"
#include "internal.h"
#include "sysfs.h"
#include "tps.h"

#define EVENTS_EVERY 1024 /* polls */
#define BATCH 32
#define TIMER_OFF UINT64_MAX
#define LOG_PERIOD_NS 10000000000u
#define LOG_BURST 5
#define CONNS_MAX 65535u
#define ACK_TIMEOUT 16
#define RETRY_COUNT 6
enum { WATCH_CHANNEL = 0, WATCH_TIMER = 1, WATCH_RAILS = 2 }; /* from there on: 2 a rail, completions and asynchronous events */

uint64_t verbs_mtu_bytes(unsigned mtu) { return 128ull << mtu; }

/* ---- whose turn it is ---- */

void verbs_ready(struct tp_lane *l) {
  struct tp *tp = l->tp;
  if (l->in_ready) return;
  l->in_ready = 1;
  l->ready_next = NULL;
  if (tp->ready_tail != NULL)
    tp->ready_tail->ready_next = l;
  else
    tp->ready_head = l;
  tp->ready_tail = l;
}

static struct tp_lane *pop_ready(struct tp *tp) {
  struct tp_lane *l = tp->ready_head;
  tp->ready_head = l->ready_next;
  if (tp->ready_head == NULL) tp->ready_tail = NULL;
  l->in_ready = 0;
  return l;
}

void verbs_unready(struct tp_lane *l) {
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
}

static void post_dirty(struct tp *tp) {
  while (tp->dirty != NULL) {
    struct tp_lane *l = tp->dirty;
    tp->dirty = l->dirty_next;
    l->dirty = 0;
    if (l->state == LANE_UP) post_puts(l);
  }
}

/* ---- connections by number ---- */

int verbs_conn_add(struct tp *tp, struct conn *c) {
  uint32_t i = 0;
  while (i < tp->conns_cap && tp->conns[i].conn != NULL) i++;
  if (i == tp->conns_cap) {
    uint32_t cap = tp->conns_cap == 0 ? 64 : 2 * tp->conns_cap;
    if (cap > CONNS_MAX) return AGG_ELIMIT;
    struct conn_slot *grown = realloc(tp->conns, cap * sizeof *grown);
    if (grown == NULL) return AGG_ENOMEM;
    memset(grown + tp->conns_cap, 0, (cap - tp->conns_cap) * sizeof *grown);
    tp->conns = grown;
    tp->conns_cap = cap;
  }
  c->index = (uint16_t)i;
  c->generation = ++tp->conns[i].generation;
  tp->conns[i].conn = c;
  return AGG_OK;
}

void verbs_conn_remove(struct tp *tp, struct conn *c) { tp->conns[c->index].conn = NULL; }

/* ---- the timer ---- */

static void set_timer(struct tp *tp, uint64_t when_ns) {
  struct itimerspec at = {.it_value = {.tv_sec = (time_t)(when_ns / 1000000000u), .tv_nsec = (long)(when_ns % 1000000000u)}};
  int rc = timerfd_settime(tp->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
  assert(rc == 0);
  (void)rc;
  tp->timer_at = when_ns;
}

void verbs_timer_by(struct tp *tp, uint64_t when_ns) {
  if (when_ns < tp->timer_at) set_timer(tp, when_ns);
}

/* Whoever still waits for a time after this one asks for it again. */
static void time_came(struct tp *tp) {
  uint64_t times, now = clock_now_ns();
  if (read(tp->timer_fd, &times, sizeof times) != (ssize_t)sizeof times) return;
  tp->timer_at = TIMER_OFF;
  for (unsigned i = 0; i < tp->n_rails; i++) rail_time(&tp->rails[i], now);
  for (uint32_t i = 0; i < tp->conns_cap; i++)
    if (tp->conns[i].conn != NULL) conn_time(tp->conns[i].conn, now);
  for (struct tp_lane *l = tp->lanes; l != NULL; l = l->next) lane_time(l, now);
  cm_time(tp, now);
}

/* ---- poll ---- */

int verbs_watch(struct tp *tp, int fd, uint64_t what) {
  struct epoll_event ev = {.events = EPOLLIN, .data.u64 = what};
  return epoll_ctl(tp->epfd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : errno;
}

void verbs_unwatch(struct tp *tp, int fd) { (void)epoll_ctl(tp->epfd, EPOLL_CTL_DEL, fd, NULL); }

void verbs_progress(struct tp *tp) {
  for (unsigned i = 0; i < tp->n_rails; i++)
    for (struct cq *q = tp->rails[i].cqs; q != NULL; q = q->next) cq_poll(q);
}

static void take_events(struct tp *tp) {
  struct epoll_event events[BATCH];
  int n = epoll_wait(tp->epfd, events, BATCH, 0), timer = 0;
  tp->armed = 0;
  for (int i = 0; i < n; i++) {
    uint64_t what = events[i].data.u64;
    if (what == WATCH_CHANNEL) {
      verbs_progress(tp); /* what came before a disconnection */
      cm_events(tp);
    } else if (what == WATCH_TIMER) {
      timer = 1;
    } else if (what % 2 == 0) {
      cq_rang(&tp->rails[(what - WATCH_RAILS) / 2]);
    } else {
      rail_async(&tp->rails[(what - WATCH_RAILS) / 2]);
    }
  }
  if (timer) { /* what was in time is seen before it counts as late */
    verbs_progress(tp);
    time_came(tp);
  }
}

static int verbs_poll(struct tp *tp, struct tp_event *events, int max) {
  int n = 0;
  assert(max > 0);
  post_dirty(tp);
  if (tp->armed || tp->n_busy != 0 || ++tp->polls % EVENTS_EVERY == 0) take_events(tp);
  verbs_progress(tp);
  struct tp_lane *last = tp->ready_tail;
  while (tp->ready_head != NULL && n < max) {
    struct tp_lane *l = pop_ready(tp);
    lane_tell(l, events, max, &n);
    if (l == last) break; /* one turn each */
  }
  return n;
}

static int verbs_arm(struct tp *tp) {
  if (tp->dirty != NULL || tp->ready_head != NULL) return 1;
  for (unsigned i = 0; i < tp->n_rails; i++)
    if (!tp->rails[i].removed && cq_arm(&tp->rails[i]) != 0) return 1;
  verbs_progress(tp); /* what came before the queues were armed rings nobody */
  if (tp->dirty != NULL || tp->ready_head != NULL) return 1;
  tp->armed = 1;
  return 0;
}

static int verbs_fd(struct tp *tp) { return tp->epfd; }

/* ---- open and close ---- */

static void settle(struct tp *tp, const struct tp_config *config, const struct tp_rdma *rdma) {
  tp->log = config->log;
  tp->gate = (struct log_gate){.period_ns = LOG_PERIOD_NS, .burst = LOG_BURST};
  tp->limits.stranger_ns = VERBS_STRANGER_NS;
  tp->limits.dial_ns = VERBS_DIAL_NS;
  tp->limits.wait_ns = VERBS_WAIT_NS;
  tp->limits.try_ns = VERBS_TRY_NS;
  tp->limits.probe_ns = VERBS_PROBE_NS;
  tp->limits.move_ns = VERBS_MOVE_NS;
  tp->limits.port_ns = VERBS_PORT_NS;
  tp->limits.home_ns = VERBS_HOME_MIN_NS;
  tp->set.traffic_class = rdma->traffic_class;
  tp->set.service_level = rdma->service_level;
  tp->set.mtu = rdma->mtu;
  tp->set.ack_timeout = (uint8_t)(rdma->ack_timeout != 0 ? rdma->ack_timeout : ACK_TIMEOUT);
  tp->set.retry_count = (uint8_t)(rdma->retry_count != 0 ? rdma->retry_count : RETRY_COUNT);
  tp->timer_at = TIMER_OFF;
  tp->epfd = tp->timer_fd = -1;
}

static int open_descriptors(struct tp *tp, agg_error_t *err) {
  tp->channel = rdma_create_event_channel();
  if (tp->channel == NULL) {
    int absent = errno == ENODEV || errno == ENOENT || errno == ENOSYS || errno == EACCES || errno == EPERM;
    return err_sys(err, absent ? AGG_ENOTSUP : AGG_ESYS, errno,
                   "the kernel's RDMA connection manager cannot be used (/dev/infiniband/rdma_cm)");
  }
  tp->epfd = epoll_create1(EPOLL_CLOEXEC);
  tp->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (tp->epfd < 0 || tp->timer_fd < 0) return err_sys(err, AGG_ESYS, errno, "cannot create an epoll descriptor and a timer");
  int flags = fcntl(tp->channel->fd, F_GETFL);
  int why = flags >= 0 && fcntl(tp->channel->fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : errno;
  if (why == 0) why = verbs_watch(tp, tp->channel->fd, WATCH_CHANNEL);
  if (why == 0) why = verbs_watch(tp, tp->timer_fd, WATCH_TIMER);
  return why == 0 ? AGG_OK : err_sys(err, AGG_ESYS, why, "descriptors cannot be watched with epoll");
}

static int open_rails(struct tp *tp, const struct tp_config *config, const struct tp_rdma *rdma, agg_error_t *err) {
  struct found found[VERBS_RAILS_MAX];
  int n = verbs_find(config, rdma, tp->channel, found, err);
  for (int i = 0; i < n; i++) {
    int rc = rail_open(tp, (unsigned)i, &found[i], err);
    if (rc != AGG_OK) return rc;
    tp->n_rails++;
    char host[80];
    LOG_INFO(tp->log, "verbs: %s at %s%s", tp->rails[i].name,
             explain_host((const struct sockaddr *)&tp->rails[i].address.at.ss, 1, host, sizeof host),
             rail_usable(&tp->rails[i]) ? "" : ", when its port comes up");
  }
  return n > 0 ? AGG_OK : n;
}

static void verbs_close(struct tp *tp) {
  if (tp == NULL) return;
  while (tp->lanes != NULL) verbs_lane_close(tp->lanes);
  cm_fini(tp);
  verbs_mem_fini(tp);
  for (unsigned i = 0; i < tp->n_rails; i++) rail_close(&tp->rails[i]);
  if (tp->channel != NULL) rdma_destroy_event_channel(tp->channel);
  if (tp->timer_fd >= 0) close(tp->timer_fd);
  if (tp->epfd >= 0) close(tp->epfd);
  free(tp->conns);
  free(tp);
}

/* What the machine lacks, in the words of the checks that agg-doctor makes. */
static int say_why(const struct tp_rdma *rdma, agg_error_t *err) {
  char text[1024];
  struct doctor_options o = {.devices = rdma->devices};
  char first[AGG_ERROR_TEXT_MAX];
  if (err == NULL) return AGG_ENOTSUP;
  str_copy(first, sizeof first, err->text);
  return err_set(err, AGG_ENOTSUP, "%s: %s", first, doctor_why(&o, text, sizeof text));
}

static int verbs_open(const struct tp_config *config, struct tp **out, agg_error_t *err) {
  static const struct tp_rdma defaults = {.devices = "", .gid_index = -1, .traffic_class = -1, .service_level = -1};
  const struct tp_rdma *rdma = config->rdma != NULL ? config->rdma : &defaults;
  struct tp *tp = calloc(1, sizeof *tp);
  if (tp == NULL) return err_set(err, AGG_ENOMEM, "no memory for the verbs transport");
  settle(tp, config, rdma);
  if (ibv_is_fork_initialized() == IBV_FORK_DISABLED) (void)ibv_fork_init(); /* a child must not move pages that the NIC writes */
  int rc = open_descriptors(tp, err);
  if (rc == AGG_OK) rc = open_rails(tp, config, rdma, err);
  if (rc == AGG_ENOTSUP) rc = say_why(rdma, err);
  if (rc != AGG_OK) {
    verbs_close(tp);
    return rc;
  }
  *out = tp;
  return AGG_OK;
}

static size_t verbs_address(struct tp *tp, void *buf) {
  struct verbs_address at[VERBS_RAILS_MAX];
  for (unsigned i = 0; i < tp->n_rails; i++) at[i] = tp->rails[i].address;
  return verbs_address_encode(at, tp->n_rails, buf);
}

static int verbs_reach(struct tp *tp, const void *address, size_t len) {
  struct verbs_address peers[VERBS_RAILS_MAX];
  unsigned n = verbs_address_decode(address, len, peers);
  for (unsigned i = 0; i < tp->n_rails; i++)
    for (unsigned k = 0; k < n; k++)
      if (!tp->rails[i].address.down && !peers[k].down && verbs_may_meet(&tp->rails[i].address, &peers[k])) return 1;
  return 0;
}

static unsigned verbs_ports(const struct tp *tp, struct tp_port *out, unsigned max) {
  for (unsigned i = 0; i < tp->n_rails && i < max; i++) {
    const struct rail *r = &tp->rails[i];
    const char *device = ibv_get_device_name(r->ctx->device);
    str_copy(out[i].name, sizeof out[i].name, r->name);
    out[i].bytes_per_s = sysfs_port_speed(device, r->port_num);
    out[i].numa = sysfs_numa("/sys/class/infiniband/%s/device/numa_node", device);
  }
  return tp->n_rails;
}

const struct tp_ops tp_verbs = {
    .name = "verbs",
    .caps = TP_CAP_SPIN,
    .open = verbs_open,
    .close = verbs_close,
    .address = verbs_address,
    .reach = verbs_reach,
    .ports = verbs_ports,
    .mem_reg = verbs_mem_reg,
    .mem_dereg = verbs_mem_dereg,
    .raddr = verbs_raddr,
    .lane_open = verbs_lane_open,
    .lane_close = verbs_lane_close,
    .put = verbs_put,
    .poll = verbs_poll,
    .arm = verbs_arm,
    .fd = verbs_fd,
    .map = tp_unsupported_map,
    .fence = verbs_lane_fence,
    .shut = verbs_lane_shut,
};
