/*
 * Owns a connection's queue pair: how it is made, its settings on the way from its first state to its last, its end. Never calls the lane
 * and never changes the connection's state.
 *
 * The queue pair is ours, not librdmacm's: it is made on our own context of the device, so that its asynchronous events are ours, and its
 * time-outs, path MTU and GID are set on the way.
 */
#include <errno.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

#define RNR_TIMER 14 /* 1.28 ms: only a stopped process makes it run */
#define RNR_RETRY 7  /* without end: such a process is not lost, its deadline is the operations' */
#define INLINE_NOTICE VERBS_CONTROL_BYTES

/* ---- made and gone ---- */

static uint32_t send_cap(const struct conn *c) { return c->lane->depth * (c->use_imm ? 1 : 2) + VERBS_CONTROL_DEPTH + 1; }

void qp_destroy(struct conn *c, int stale) {
  if (c->qp == NULL) return;
  ibv_destroy_qp(c->qp);
  cq_put(c->cq, send_cap(c) + c->recv_cap, stale);
  c->qp = NULL;
  c->cq = NULL;
}

void qp_to_error(struct conn *c) {
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
  if (c->qp != NULL) ibv_modify_qp(c->qp, &attr, IBV_QP_STATE);
}

static int too_deep(const struct conn *c, agg_error_t *err) {
  uint32_t most = (uint32_t)c->rail->device.max_qp_wr;
  return err_set(err, AGG_ELIMIT, "%s takes %u requests in a queue, a lane of this window needs %u: lower AGG_WINDOW", c->rail->name, most,
                 MAX_OF(send_cap(c), c->recv_cap));
}

static int make_qp(struct conn *c, agg_error_t *err) {
  static const uint32_t inlines[] = {VERBS_INLINE, VERBS_HEAD_MAX, INLINE_NOTICE, 0};
  uint32_t most = (uint32_t)c->rail->device.max_qp_wr;
  if (send_cap(c) > most || c->recv_cap > most) return too_deep(c, err);
  int rc = cq_get(c->rail, send_cap(c) + c->recv_cap, &c->cq, err);
  if (rc != AGG_OK) return rc;
  for (size_t i = 0; i < ARRAY_LEN(inlines) && c->qp == NULL; i++) {
    struct ibv_qp_init_attr attr = {.qp_context = c, .send_cq = c->cq->cq, .recv_cq = c->cq->cq, .qp_type = IBV_QPT_RC};
    attr.cap = (struct ibv_qp_cap){
        .max_send_wr = send_cap(c), .max_recv_wr = c->recv_cap, .max_send_sge = 2, .max_recv_sge = 1, .max_inline_data = inlines[i]};
    c->qp = ibv_create_qp(c->lane->domain->pd[c->rail->index], &attr);
    c->inline_max = attr.cap.max_inline_data;
    if (c->qp == NULL && errno != EINVAL) break;
  }
  if (c->qp != NULL && (c->use_imm || c->inline_max >= INLINE_NOTICE)) return AGG_OK;
  int why = errno, made = c->qp != NULL;
  if (made)
    qp_destroy(c, 0);
  else
    cq_put(c->cq, send_cap(c) + c->recv_cap, 0);
  c->cq = NULL;
  if (made) return err_set(err, AGG_ENOTSUP, "%s takes no inline data, which an iWARP device needs here", c->rail->name);
  if (why == ENOMEM) return explain_memory(err, why, (size_t)(send_cap(c) + c->recv_cap) * 64, c->rail);
  return err_sys(err, AGG_ESYS, why, "%s: no queue pair", c->rail->name);
}

/* ---- its settings ---- */

/* The CM fills in what it knows of the path; what is ours is set over it. */
static int to_init(struct conn *c, agg_error_t *err) {
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT};
  int mask = 0;
  if (rdma_init_qp_attr(c->id, &attr, &mask) != 0) return explain_cm_call(err, errno, c->rail, "no attributes for a queue pair");
  attr.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  int rc = ibv_modify_qp(c->qp, &attr, mask);
  return rc == 0 ? AGG_OK : err_sys(err, AGG_ESYS, rc, "%s: a queue pair cannot be initialised", c->rail->name);
}

static int to_rtr(struct conn *c, agg_error_t *err) {
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR};
  int mask = 0;
  if (rdma_init_qp_attr(c->id, &attr, &mask) != 0) return explain_cm_call(err, errno, c->rail, "no attributes to receive");
  uint8_t mtu = MIN_OF(rail_mtu(c->rail), c->peer_mtu);
  if (attr.path_mtu < mtu) mtu = (uint8_t)attr.path_mtu;
  attr.path_mtu = mtu;
  attr.min_rnr_timer = RNR_TIMER;
  attr.max_dest_rd_atomic = 1;
  if (c->tp->set.service_level >= 0) attr.ah_attr.sl = (uint8_t)c->tp->set.service_level;
  if (attr.ah_attr.is_global && c->tp->set.traffic_class >= 0) attr.ah_attr.grh.traffic_class = (uint8_t)c->tp->set.traffic_class;
  if (attr.ah_attr.is_global && c->rail->sgid_index >= 0) attr.ah_attr.grh.sgid_index = (uint8_t)c->rail->sgid_index;
  c->mtu_bytes = (uint32_t)verbs_mtu_bytes(mtu);
  int rc = ibv_modify_qp(c->qp, &attr, mask);
  if (rc == 0) return AGG_OK;
  return err_sys(err, AGG_ESYS, rc, "%s: the path cannot be set (MTU %u, GID index %d)", c->rail->name, c->mtu_bytes,
                 attr.ah_attr.grh.sgid_index);
}

static int to_rts(struct conn *c, agg_error_t *err) {
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS};
  int mask = 0;
  if (rdma_init_qp_attr(c->id, &attr, &mask) != 0) return explain_cm_call(err, errno, c->rail, "no attributes to send");
  attr.timeout = c->tp->set.ack_timeout;
  attr.retry_cnt = c->tp->set.retry_count;
  attr.rnr_retry = RNR_RETRY;
  attr.max_rd_atomic = 1;
  int rc = ibv_modify_qp(c->qp, &attr, mask);
  return rc == 0 ? AGG_OK : err_sys(err, AGG_ESYS, rc, "%s: a queue pair cannot send", c->rail->name);
}

int qp_up(struct conn *c, agg_error_t *err) {
  if (c->rail->iwarp) { /* the kernel's CM does the rest */
    c->mtu_bytes = VERBS_CONTROL_BYTES;
    return AGG_OK;
  }
  int rc = to_rtr(c, err);
  return rc == AGG_OK ? to_rts(c, err) : rc;
}

int qp_prepare(struct conn *c, agg_error_t *err) {
  int rc = make_qp(c, err);
  if (rc == AGG_OK) rc = to_init(c, err);
  if (rc != AGG_OK) return rc;
  c->unposted = c->recv_cap;
  int why = post_receives(c);
  return why == 0 ? AGG_OK : err_sys(err, AGG_ESYS, why, "%s: receives cannot be posted", c->rail->name);
}

void qp_param(const struct conn *c, const unsigned char *hello, struct rdma_conn_param *p) {
  *p = (struct rdma_conn_param){.private_data = hello,
                                .private_data_len = VERBS_HELLO_BYTES,
                                .responder_resources = 1,
                                .initiator_depth = 1,
                                .retry_count = c->tp->set.retry_count,
                                .rnr_retry_count = RNR_RETRY,
                                .qp_num = c->qp->qp_num};
}
