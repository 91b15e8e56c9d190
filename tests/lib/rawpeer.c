/*
 * Owns the raw peers of hostile tests: their CM identifiers, queue pairs and the one landing place of their receives. Never judges what
 * the other end does.
 */
#include "rawpeer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define SENDS 256
#define RESOLVE_MS 2000
#define NO_SUCH_QP 0x400000
#define RECV_ID 1
#define SEND_ID 2

static struct rdma_event_channel *channel;
static struct rdma_cm_id *listener;
static struct rawpeer raws[RAW_MAX];
static uint32_t made_up; /* queue pairs: the kernel refuses a number that it has seen in another connection */

void rawpeer_begin(void) {
  memset(raws, 0, sizeof raws);
  channel = rdma_create_event_channel();
  ck_assert_ptr_nonnull(channel);
  ck_assert_int_eq(fcntl(channel->fd, F_SETFL, fcntl(channel->fd, F_GETFL) | O_NONBLOCK), 0);
  struct sockaddr_in at = {.sin_family = AF_INET};
  ck_assert_int_eq(inet_pton(AF_INET, "10.0.0.1", &at.sin_addr), 1);
  ck_assert_int_eq(rdma_create_id(channel, &listener, NULL, RDMA_PS_TCP), 0);
  ck_assert_int_eq(rdma_bind_addr(listener, (struct sockaddr *)&at), 0);
  ck_assert_int_eq(rdma_listen(listener, RAW_MAX), 0);
}

void rawpeer_end(void) {
  for (struct rawpeer *r = raws; r < raws + RAW_MAX; r++) rawpeer_close(r);
  rdma_destroy_id(listener);
  rdma_destroy_event_channel(channel);
}

/* ---- made and gone ---- */

static struct rawpeer *rawpeer_new(enum rawpeer_manner manner, const void *private_data, size_t len, unsigned receives) {
  struct rawpeer *r = raws;
  while (r < raws + RAW_MAX && r->state != RAW_FREE) r++;
  ck_assert_msg(r < raws + RAW_MAX, "more than %d raw peers", RAW_MAX);
  memset(r, 0, sizeof *r);
  ck_assert_uint_le(len, sizeof r->mine);
  r->manner = manner;
  r->receives = receives;
  r->mine_len = (uint8_t)len;
  if (len > 0) memcpy(r->mine, private_data, len);
  return r;
}

static void unmake(struct rawpeer *r) {
  if (r->id == NULL) return;
  if (r->id->qp != NULL) rdma_destroy_qp(r->id);
  rdma_destroy_id(r->id);
  if (r->mr != NULL) ibv_dereg_mr(r->mr);
  if (r->cq != NULL) ibv_destroy_cq(r->cq);
  if (r->pd != NULL) ibv_dealloc_pd(r->pd);
  r->id = NULL;
  r->mr = NULL;
  r->cq = NULL;
  r->pd = NULL;
}

void rawpeer_close(struct rawpeer *r) {
  unmake(r);
  r->state = RAW_FREE;
}

static void post_receives(struct rawpeer *r, unsigned n) {
  struct ibv_sge sge = {.addr = (uintptr_t)r->memory + RAW_BYTES, .length = RAW_LANDING, .lkey = r->mr->lkey};
  struct ibv_recv_wr wr = {.wr_id = RECV_ID, .sg_list = &sge, .num_sge = 1}, *bad;
  for (unsigned i = 0; i < n; i++) ck_assert_int_eq(ibv_post_recv(r->id->qp, &wr, &bad), 0);
}

static void make_qp(struct rawpeer *r) {
  r->pd = ibv_alloc_pd(r->id->verbs);
  ck_assert_ptr_nonnull(r->pd);
  r->mr = ibv_reg_mr(r->pd, r->memory, sizeof r->memory, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
  ck_assert_ptr_nonnull(r->mr);
  r->cq = ibv_create_cq(r->id->verbs, 2 * SENDS, NULL, NULL, 0);
  ck_assert_ptr_nonnull(r->cq);
  struct ibv_qp_init_attr attr = {.send_cq = r->cq, .recv_cq = r->cq, .qp_type = IBV_QPT_RC};
  attr.cap = (struct ibv_qp_cap){
      .max_send_wr = SENDS, .max_recv_wr = MAX_OF(r->receives, 1u), .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = RAW_INLINE};
  ck_assert_int_eq(rdma_create_qp(r->id, r->pd, &attr), 0);
  post_receives(r, r->receives);
}

/* ---- connecting ---- */

static void fill_param(const struct rawpeer *r, struct rdma_conn_param *p) {
  *p = (struct rdma_conn_param){.private_data = r->mine_len > 0 ? r->mine : NULL,
                                .private_data_len = r->mine_len,
                                .responder_resources = 1,
                                .initiator_depth = 1,
                                .retry_count = 6,
                                .rnr_retry_count = 7,
                                .qp_num = NO_SUCH_QP + made_up++};
}

void rawpeer_hello(unsigned char out[VERBS_HELLO_BYTES], enum verbs_hello_kind kind, uint32_t ticket) {
  struct verbs_hello h = {.kind = kind, .mtu = IBV_MTU_4096, .imm = 1};
  if (kind != VERBS_WELCOME) ticket_of(ticket, h.ticket);
  verbs_hello_encode(&h, out);
}

struct rawpeer *rawpeer_dial(const struct end *to, enum rawpeer_manner manner, const void *private_data, size_t len, unsigned receives) {
  struct verbs_address rails[VERBS_RAILS_MAX];
  struct rawpeer *r = rawpeer_new(manner, private_data, len, receives);
  ck_assert_uint_ge(verbs_address_decode(to->address, to->address_len, rails), 1);
  ck_assert_int_eq(rdma_create_id(channel, &r->id, r, RDMA_PS_TCP), 0);
  ck_assert_int_eq(rdma_resolve_addr(r->id, NULL, (struct sockaddr *)&rails[0].at.ss, RESOLVE_MS), 0);
  r->state = RAW_DIALING;
  return r;
}

void rawpeer_address(struct end *as) {
  struct verbs_address rail = {.prefix = 24};
  memcpy(&rail.at.ss, rdma_get_local_addr(listener), rail.at.len = sizeof(struct sockaddr_in));
  memset(as, 0, sizeof *as);
  as->address_len = verbs_address_encode(&rail, 1, as->address);
}

struct rawpeer *rawpeer_expect(uint32_t ticket, enum rawpeer_manner manner, const void *private_data, size_t len, unsigned receives) {
  struct rawpeer *r = rawpeer_new(manner, private_data, len, receives);
  ticket_of(ticket, r->ticket);
  r->state = RAW_EXPECTING;
  return r;
}

struct tp_raddr rawpeer_place(const struct rawpeer *r) {
  return (struct tp_raddr){.key = r->mr->rkey, .off = (uint64_t)(uintptr_t)r->memory};
}

void rawpeer_disconnect(struct rawpeer *r) { ck_assert_int_eq(rdma_disconnect(r->id), 0); }

/* A peer that is dialed again begins anew. */
static void dialed(struct rdma_cm_id *id, const void *private_data, size_t len) {
  struct verbs_hello h;
  struct rdma_conn_param param;
  struct rawpeer *r = raws;
  ck_assert_int_eq(verbs_hello_decode(&h, private_data, len, NULL), 0);
  while (r < raws + RAW_MAX && (r->state == RAW_FREE || memcmp(r->ticket, h.ticket, sizeof r->ticket) != 0)) r++;
  ck_assert_msg(r < raws + RAW_MAX, "a lane dials with a ticket that no raw peer expects");
  unmake(r);
  r->id = id;
  r->welcome = h;
  id->context = r;
  fill_param(r, &param);
  if (r->manner == RAW_IGNORE) return;
  if (r->manner == RAW_REJECT) {
    ck_assert_int_eq(rdma_reject(id, param.private_data, param.private_data_len), 0);
    return;
  }
  if (r->manner == RAW_PROPER) make_qp(r);
  ck_assert_int_eq(rdma_accept(id, &param), 0);
}

static void answered(struct rawpeer *r, enum rawpeer_state next, const void *private_data, size_t len) {
  if (r->state == RAW_ASKED && verbs_hello_decode(&r->welcome, private_data, len, NULL) != 0) memset(&r->welcome, 0, sizeof r->welcome);
  r->state = next;
}

static void connect_now(struct rawpeer *r) {
  struct rdma_conn_param param;
  fill_param(r, &param);
  if (r->manner == RAW_PROPER) make_qp(r);
  ck_assert_int_eq(rdma_connect(r->id, &param), 0);
  r->state = RAW_ASKED;
}

static void take_event(const struct rdma_cm_event *e) {
  const void *data = e->param.conn.private_data;
  size_t len = data != NULL ? e->param.conn.private_data_len : 0;
  struct rawpeer *r = e->id->context;
  if (e->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
    dialed(e->id, data, len);
    return;
  }
  switch (e->event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      ck_assert_int_eq(rdma_resolve_route(r->id, RESOLVE_MS), 0);
      break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      connect_now(r);
      break;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
      answered(r, RAW_ANSWERED, data, len);
      break;
    case RDMA_CM_EVENT_ESTABLISHED:
      answered(r, RAW_UP, data, len);
      break;
    case RDMA_CM_EVENT_REJECTED:
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_CONNECT_ERROR:
      r->refusal = verbs_reject_decode(data, len);
      r->state = RAW_REFUSED;
      break;
    case RDMA_CM_EVENT_DISCONNECTED:
      r->state = RAW_GONE;
      break;
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
      break;
    default:
      ck_abort_msg("a raw peer met %s (status %d)", rdma_event_str(e->event), e->status);
  }
}

/* ---- completions ---- */

static void take_completion(struct rawpeer *r, const struct ibv_wc *wc) {
  if (wc->status != IBV_WC_SUCCESS) {
    if (r->failed == IBV_WC_SUCCESS) r->failed = wc->status;
    return;
  }
  if (wc->wr_id == SEND_ID) {
    r->sent++;
    return;
  }
  if (wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
    r->notices++;
  } else {
    r->messages++;
    (void)verbs_control_decode(&r->last, r->memory + RAW_BYTES, wc->byte_len);
  }
  if (r->receives > 0) post_receives(r, 1);
}

void rawpeer_turn(void) {
  struct rdma_cm_event *e;
  struct ibv_wc wc;
  while (rdma_get_cm_event(channel, &e) == 0) {
    struct rdma_cm_event copy = *e;
    unsigned char data[256];
    if (copy.param.conn.private_data != NULL) {
      size_t len = MIN_OF((size_t)copy.param.conn.private_data_len, sizeof data);
      memcpy(data, copy.param.conn.private_data, len);
      copy.param.conn.private_data = data;
      copy.param.conn.private_data_len = (uint8_t)len;
    }
    rdma_ack_cm_event(e); /* destroying an identifier waits for it */
    take_event(&copy);
  }
  for (struct rawpeer *r = raws; r < raws + RAW_MAX; r++)
    while (r->cq != NULL && ibv_poll_cq(r->cq, 1, &wc) == 1) take_completion(r, &wc);
}

/* ---- requests ---- */

static void post(struct rawpeer *r, struct ibv_send_wr *wr, const void *bytes, size_t len) {
  struct ibv_send_wr *bad;
  struct ibv_sge sge = {.addr = (uintptr_t)bytes, .length = (uint32_t)len, .lkey = r->mr->lkey};
  wr->wr_id = SEND_ID;
  wr->sg_list = &sge;
  wr->num_sge = len > 0;
  wr->send_flags = IBV_SEND_SIGNALED | (len <= RAW_INLINE && wr->opcode != IBV_WR_RDMA_READ ? IBV_SEND_INLINE : 0);
  ck_assert_int_eq(ibv_post_send(r->id->qp, wr, &bad), 0);
}

void rawpeer_send(struct rawpeer *r, const void *bytes, size_t len) {
  struct ibv_send_wr wr = {.opcode = IBV_WR_SEND};
  ck_assert_uint_le(len, RAW_BYTES);
  if (len > RAW_INLINE) bytes = memcpy(r->memory, bytes, len);
  post(r, &wr, bytes, len);
}

void rawpeer_control(struct rawpeer *r, unsigned type, uint8_t rail, uint32_t a, uint32_t b) {
  unsigned char bytes[VERBS_CONTROL_BYTES];
  struct verbs_control m = {.type = (enum verbs_control_type)type, .rail = rail, .a = a, .b = b};
  verbs_control_encode(&m, bytes);
  rawpeer_send(r, bytes, sizeof bytes);
}

void rawpeer_rdma(struct rawpeer *r, enum ibv_wr_opcode opcode, struct tp_raddr at, size_t len, uint32_t notice) {
  struct ibv_send_wr wr = {.opcode = opcode, .imm_data = htonl(notice)};
  ck_assert_uint_le(len, RAW_BYTES);
  if (opcode == IBV_WR_SEND_WITH_INV) wr.invalidate_rkey = at.key;
  wr.wr.rdma.remote_addr = at.off & (((uint64_t)1 << 56) - 1);
  wr.wr.rdma.rkey = at.key;
  post(r, &wr, r->memory, len);
}

void rawpeer_notice(struct rawpeer *r, uint32_t notice) { rawpeer_rdma(r, IBV_WR_RDMA_WRITE_WITH_IMM, (struct tp_raddr){0}, 0, notice); }
