/*
 * Owns a rail: one port of one device, opened for this transport alone, with its completion channel, its listener and its state. Never
 * touches a queue pair: it only tells the connections that go over it.
 *
 * A port that goes down is given two seconds (a flap is shorter, and the queue pairs' retries bridge it) before the connections on it fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/state.h"
#include "base/util.h"
#include "internal.h"

#define BACKLOG 256

static const struct state_row rows[RAIL_STATES] = {
    [RAIL_UP] = {"up", STATE_TO(RAIL_SHAKY) | STATE_TO(RAIL_DOWN)},
    [RAIL_SHAKY] = {"shaky", STATE_TO(RAIL_UP) | STATE_TO(RAIL_DOWN)},
    [RAIL_DOWN] = {"down", STATE_TO(RAIL_UP)},
};
static const struct state_table states = {"rail", rows, RAIL_STATES};

int rail_usable(const struct rail *r) { return r->state != RAIL_DOWN; }

uint8_t rail_mtu(const struct rail *r) {
  unsigned mtu = r->port.active_mtu;
  while (mtu > IBV_MTU_256 && r->tp->set.mtu != 0 && verbs_mtu_bytes(mtu) > r->tp->set.mtu) mtu--;
  return (uint8_t)mtu;
}

/* ---- open ---- */

static struct ibv_context *open_device(const char *name) {
  int n = 0;
  struct ibv_context *ctx = NULL;
  struct ibv_device **list = ibv_get_device_list(&n);
  for (int i = 0; i < n && ctx == NULL; i++)
    if (strcmp(ibv_get_device_name(list[i]), name) == 0) ctx = ibv_open_device(list[i]);
  if (list != NULL) ibv_free_device_list(list);
  return ctx;
}

static int set_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : errno;
}

static int listen_here(struct rail *r, agg_error_t *err) {
  struct tp *tp = r->tp;
  char host[64];
  if (rdma_create_id(tp->channel, &r->listener, r, RDMA_PS_TCP) != 0) return err_sys(err, AGG_ESYS, errno, "%s: no CM identifier", r->name);
  struct net_addr at = r->address.at;
  if (rdma_bind_addr(r->listener, (struct sockaddr *)&at.ss) == 0 && rdma_listen(r->listener, BACKLOG) == 0) {
    r->address.at = at;
    uint16_t port = rdma_get_src_port(r->listener);
    size_t off = at.ss.ss_family == AF_INET ? offsetof(struct sockaddr_in, sin_port) : offsetof(struct sockaddr_in6, sin6_port);
    memcpy((char *)&r->address.at.ss + off, &port, sizeof port);
    return AGG_OK;
  }
  int rc = err_sys(err, AGG_ESYS, errno, "%s: cannot listen on %s", r->name, explain_host((struct sockaddr *)&at.ss, 0, host, sizeof host));
  rdma_destroy_id(r->listener);
  r->listener = NULL;
  return rc;
}

int rail_open(struct tp *tp, unsigned index, const struct found *f, agg_error_t *err) {
  struct rail *r = &tp->rails[index];
  *r = (struct rail){.tp = tp, .index = index, .port_num = f->port_num, .sgid_index = f->sgid_index, .address = f->address};
  snprintf(r->name, sizeof r->name, "%s:%u", f->device, f->port_num);
  int rc = AGG_OK, why = 0;
  r->ctx = open_device(f->device);
  if (r->ctx == NULL) return err_sys(err, AGG_ESYS, errno, "%s cannot be opened", r->name);
  r->iwarp = r->ctx->device->transport_type == IBV_TRANSPORT_IWARP;
  if (ibv_query_device(r->ctx, &r->device) != 0 || ibv_query_port(r->ctx, r->port_num, &r->port) != 0) {
    rc = err_sys(err, AGG_ESYS, errno, "%s cannot be queried", r->name);
    goto close_device;
  }
  r->state = r->port.state == IBV_PORT_ACTIVE ? RAIL_UP : RAIL_DOWN;
  r->channel = ibv_create_comp_channel(r->ctx);
  if (r->channel == NULL) {
    rc = err_sys(err, AGG_ESYS, errno, "%s: no completion channel", r->name);
    goto close_device;
  }
  why = set_nonblocking(r->channel->fd);
  if (why == 0) why = set_nonblocking(r->ctx->async_fd);
  if (why == 0) why = verbs_watch(tp, r->channel->fd, 2 * index + 2);
  if (why == 0) why = verbs_watch(tp, r->ctx->async_fd, 2 * index + 3);
  if (why != 0) {
    rc = err_sys(err, AGG_ESYS, why, "%s: its descriptors cannot be watched", r->name);
    goto close_channel;
  }
  rc = listen_here(r, err);
  if (rc != AGG_OK) goto close_channel;
  return AGG_OK;

close_channel:
  ibv_destroy_comp_channel(r->channel);
close_device:
  ibv_close_device(r->ctx);
  r->ctx = NULL;
  return rc;
}

void rail_close(struct rail *r) {
  if (r->ctx == NULL) return;
  if (r->listener != NULL) rdma_destroy_id(r->listener);
  cq_fini(r);
  ibv_destroy_comp_channel(r->channel);
  ibv_close_device(r->ctx);
  r->ctx = NULL;
}

/* ---- state ---- */

static void fail_connections(struct rail *r, const char *why) {
  struct tp *tp = r->tp;
  for (uint32_t i = 0; i < tp->conns_cap; i++) {
    struct conn *c = tp->conns[i].conn;
    if (c != NULL && c->rail == r) conn_fail(c, FAULT_PATH, "%s %s", r->name, why);
  }
}

static void set_state(struct rail *r, enum rail_state next) {
  if (r->state != next) state_move(&states, &r->state, next);
}

static void goes_down(struct rail *r, const char *why) {
  if (r->state == RAIL_DOWN) return;
  set_state(r, RAIL_DOWN);
  LOG_WARN(r->tp->log, "verbs: %s %s", r->name, why);
  fail_connections(r, why);
}

void rail_removed(struct rail *r) {
  if (r->removed) return;
  r->removed = 1;
  verbs_unwatch(r->tp, r->channel->fd); /* they would ring for ever */
  verbs_unwatch(r->tp, r->ctx->async_fd);
  goes_down(r, "was removed: its driver was unloaded, or the device reset or unplugged. Only processes that start later can use it");
}

static void port_changed(struct rail *r) {
  if (r->removed) return;
  int active = ibv_query_port(r->ctx, r->port_num, &r->port) == 0 && r->port.state == IBV_PORT_ACTIVE;
  if (active) {
    if (r->state != RAIL_UP) LOG_WARN(r->tp->log, "verbs: %s is active again", r->name);
    set_state(r, RAIL_UP);
  } else if (r->state == RAIL_UP) {
    set_state(r, RAIL_SHAKY);
    r->shaky_until = clock_now_ns() + r->tp->limits.port_ns;
    LOG_WARN(r->tp->log, "verbs: %s: its port is %s", r->name, ibv_port_state_str(r->port.state));
    verbs_timer_by(r->tp, r->shaky_until);
  }
}

void rail_time(struct rail *r, uint64_t now_ns) {
  if (r->state == RAIL_DOWN) return;
  if (r->state != RAIL_SHAKY) return;
  if (now_ns < r->shaky_until) {
    verbs_timer_by(r->tp, r->shaky_until);
    return;
  }
  port_changed(r);
  if (r->state == RAIL_SHAKY) goes_down(r, "is down: its link has been lost for 2 s (cable, switch port, or the interface was set down)");
}

/* ---- asynchronous events ---- */

static void queue_pair_failed(struct rail *r, const struct ibv_async_event *e, enum ibv_event_type type) {
  for (uint32_t i = 0; i < r->tp->conns_cap; i++) {
    struct conn *c = r->tp->conns[i].conn;
    if (c == NULL || c->rail != r || c->qp == NULL || c->qp != e->element.qp) continue;
    if (type == IBV_EVENT_QP_ACCESS_ERR)
      conn_fail(c, FAULT_PEER, "the peer wrote to a place that it may not write");
    else
      conn_fail(c, FAULT_PATH, "the NIC reports: %s", ibv_event_type_str(type));
    return;
  }
}

static void queue_overrun(struct rail *r, const struct ibv_cq *cq) {
  for (uint32_t i = 0; i < r->tp->conns_cap; i++) {
    struct conn *c = r->tp->conns[i].conn;
    if (c != NULL && c->cq != NULL && c->cq->cq == cq) conn_fail(c, FAULT_LOCAL, "the completion queue of %s failed", r->name);
  }
}

static void handle(struct rail *r, const struct ibv_async_event *e) {
  switch (e->event_type) {
    case IBV_EVENT_PORT_ERR:
    case IBV_EVENT_PORT_ACTIVE:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
    case IBV_EVENT_CLIENT_REREGISTER:
      if (e->element.port_num == r->port_num) port_changed(r);
      break;
    case IBV_EVENT_GID_CHANGE:
      LOG_INFO(r->tp->log, "verbs: %s: its GIDs have changed; connections that are made from now on use the new ones, by the same address",
               r->name);
      break;
    case IBV_EVENT_DEVICE_FATAL:
      goes_down(r, "failed: the device reports a fatal error; look at the kernel log");
      break;
    case IBV_EVENT_CQ_ERR:
      queue_overrun(r, e->element.cq);
      break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_PATH_MIG_ERR:
      queue_pair_failed(r, e, e->event_type);
      break;
    default: /* established by its first message, last work request reached, migration: nothing to do */
      break;
  }
}

/* Acknowledged before it is handled: what is handled may destroy the object, which waits for the acknowledgement. The pointers in a copy
 * are only compared. */
void rail_async(struct rail *r) {
  struct ibv_async_event e;
  while (ibv_get_async_event(r->ctx, &e) == 0) {
    ibv_ack_async_event(&e);
    handle(r, &e);
  }
  if (errno != EAGAIN && errno != EINTR) rail_removed(r); /* the kernel has closed it */
}
