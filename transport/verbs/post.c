/*
 * Owns the data path: puts into the lane's ring, from there onto the queue pair, receives, and the control messages between the two ends.
 *
 * A put is one work request: header and payload are two pieces of one RDMA_WRITE_WITH_IMM, inline where they are small. Requests are
 * handed over in chains (one doorbell) of up to VERBS_CHAIN, and only the last of a chain asks for a completion. iWARP has no
 * immediate data: there the notice is a short message behind the write. Puts stay in the ring until they are acknowledged, so that a lane
 * that moves to another rail can send again what had not arrived.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "internal.h"

#define RAIL_SHIFT 56
#define ADDRESS_MASK (((uint64_t)1 << RAIL_SHIFT) - 1)
#define PUT_MAX (1u << 30) /* bytes: every device takes messages of this length */
#define PROBE_ARG WR_ARG_MASK
#define KEYS_MAX 4096u

/* ---- the block: headers, then two areas of { receive buffers, control buffers, probe out, probe in } ---- */

size_t post_area_bytes(uint32_t recv_cap) { return (size_t)(recv_cap + VERBS_CONTROL_DEPTH) * VERBS_CONTROL_BYTES + 2 * VERBS_PROBE_BYTES; }

static unsigned char *area(const struct conn *c) { return c->lane->block + c->lane->area_at[c->area]; }
static unsigned char *recv_buffer(const struct conn *c, uint32_t i) { return area(c) + (size_t)i * VERBS_CONTROL_BYTES; }
static unsigned char *control_buffer(const struct conn *c, uint32_t i) { return recv_buffer(c, c->recv_cap + i); }
static unsigned char *probe_out(const struct conn *c) { return recv_buffer(c, c->recv_cap + VERBS_CONTROL_DEPTH); }
static unsigned char *probe_in(const struct conn *c) { return probe_out(c) + VERBS_PROBE_BYTES; }
static unsigned char *header(const struct tp_lane *l, uint32_t seq) { return l->block + (size_t)(seq & l->mask) * VERBS_HEAD_MAX; }

static uint32_t block_key(const struct conn *c) { return verbs_mr_on(c->lane->block_mr, c->lane->domain, c->rail->index)->lkey; }

/* ---- receives ---- */

unsigned char *post_recv_buffer(const struct conn *c, uint32_t arg, uint32_t *len) {
  *len = arg == PROBE_ARG ? VERBS_PROBE_BYTES : VERBS_CONTROL_BYTES;
  return arg == PROBE_ARG ? probe_in(c) : recv_buffer(c, arg);
}

/* In the order in which they will be filled, so that buffer i is free again when it is its turn. */
int post_receives(struct conn *c) {
  struct ibv_recv_wr wr[VERBS_CHAIN], *bad;
  struct ibv_sge sge[VERBS_CHAIN];
  uint32_t key = block_key(c);
  while (c->unposted > 0) {
    uint32_t n = MIN_OF(c->unposted, (uint32_t)VERBS_CHAIN);
    for (uint32_t i = 0; i < n; i++) {
      uint32_t arg = c->recv_next, len;
      if (c->probe_posted) {
        c->recv_next = c->recv_next + 1 == c->recv_cap ? 0 : c->recv_next + 1;
      } else { /* the first one takes the peer's first message, a packet as large as the path allows */
        arg = PROBE_ARG;
        c->probe_posted = 1;
      }
      const unsigned char *at = post_recv_buffer(c, arg, &len);
      sge[i] = (struct ibv_sge){.addr = (uintptr_t)at, .length = len, .lkey = key};
      wr[i] =
          (struct ibv_recv_wr){.wr_id = wr_id(c, WR_RECV, arg), .next = i + 1 < n ? &wr[i + 1] : NULL, .sg_list = &sge[i], .num_sge = 1};
    }
    int rc = ibv_post_recv(c->qp, wr, &bad);
    if (rc != 0) return rc;
    c->unposted -= n;
    c->recv_posted += n;
  }
  return 0;
}

/* ---- control messages ---- */

int post_control(struct conn *c, const struct verbs_control *m, size_t len) {
  struct ibv_send_wr *bad;
  uint32_t i = 0;
  while (i < VERBS_CONTROL_DEPTH && (c->control_busy >> i & 1)) i++;
  if (i == VERBS_CONTROL_DEPTH) return EBUSY;
  unsigned char *at = m->type == VERBS_PROBE ? probe_out(c) : control_buffer(c, i);
  verbs_control_encode(m, at);
  struct ibv_sge sge = {.addr = (uintptr_t)at, .length = (uint32_t)len, .lkey = block_key(c)};
  struct ibv_send_wr wr = {.wr_id = wr_id(c, WR_CONTROL, i | (m->type == VERBS_PROBE ? 0x100 : 0)),
                           .sg_list = &sge,
                           .num_sge = 1,
                           .opcode = IBV_WR_SEND,
                           .send_flags = IBV_SEND_SIGNALED};
  int rc = ibv_post_send(c->qp, &wr, &bad);
  if (rc == 0) c->control_busy |= 1u << i;
  return rc;
}

/* A lane asks about one key at a time, so one question and one answer are under way at most. */
void post_answer(struct tp_lane *l) {
  struct conn *c = l->conn;
  if (!l->answer_due || l->state != LANE_UP || c->state != CONN_OPEN) return;
  struct verbs_control m = {.type = VERBS_ANSWER, .rail = l->question.rail, .a = l->question.key};
  m.b = verbs_key_on(l->tp, l->domain, m.rail, m.a, c->rail->index);
  int rc = post_control(c, &m, VERBS_CONTROL_BYTES);
  if (rc == EBUSY) return; /* when a buffer is free again */
  l->answer_due = 0;
  if (rc != 0) conn_fail_call(c, rc, "a message cannot be posted");
}

static void learn(struct tp_lane *l, const struct verbs_control *m) {
  struct conn *c = l->conn;
  if (!l->asking || l->n_keys == 0 || l->keys[l->n_keys - 1].rail != m->rail || l->keys[l->n_keys - 1].key != m->a) {
    conn_fail(c, FAULT_PEER, "the peer broke the protocol: it answered what was not asked");
    return;
  }
  l->asking = 0;
  l->keys[l->n_keys - 1].here = m->b;
  if (m->b == 0)
    conn_fail(c, FAULT_PEER, "the peer named memory that it has not registered any more");
  else
    lane_dirty(l);
}

void post_control_arrived(struct conn *c, const unsigned char bytes[VERBS_CONTROL_BYTES], size_t len) {
  struct tp_lane *l = c->lane;
  struct verbs_control m;
  if (verbs_control_decode(&m, bytes, len) != 0) {
    conn_fail(c, FAULT_PEER, "the peer broke the protocol: a malformed control message of %zu bytes (type %u, rail %u)", len, bytes[0],
              bytes[1]);
    return;
  }
  if ((m.type == VERBS_PROBE) != (c->state == CONN_PROBING)) {
    conn_fail(c, FAULT_PEER, "the peer broke the protocol: %s (type %u)",
              m.type == VERBS_PROBE ? "a second first message" : "a control message before the first message", m.type);
    return;
  }
  switch (m.type) {
    case VERBS_PROBE:
      conn_probe_seen(c);
      break;
    case VERBS_RESUME:
      lane_resume(l, c, m.a);
      break;
    case VERBS_ASK:
      if (c != l->conn || l->answer_due) {
        conn_fail(c, FAULT_PEER, "the peer broke the protocol: it asked %s",
                  c != l->conn ? "on a connection that the lane does not go over" : "again before it was answered");
        break;
      }
      l->answer_due = 1;
      l->question = (struct other_key){.rail = m.rail, .key = m.a};
      post_answer(l);
      break;
    case VERBS_ANSWER:
      if (c == l->conn) learn(l, &m);
      break;
    case VERBS_NOTICE:
      if (c->use_imm)
        conn_fail(c, FAULT_PEER, "the peer broke the protocol: a notice as a message, where they are immediate data");
      else
        conn_arrived(c, m.a, m.b);
      break;
  }
}

/* ---- keys of the peer's other rails ---- */

/* The key under which the peer's region is known on the rail of this connection: 1, or 0 when it has to be asked for first. */
static int translate(struct tp_lane *l, const struct tp_raddr *dst, uint32_t *key) {
  unsigned rail = (unsigned)(dst->off >> RAIL_SHIFT);
  *key = dst->key;
  if (dst->key == 0) {
    conn_fail(l->conn, FAULT_LOCAL, "a put to place 0, which no peer can name");
    return 0;
  }
  if (rail == l->conn->peer_rail) return 1;
  for (uint32_t i = 0; i < l->n_keys; i++) {
    if (l->keys[i].rail != rail || l->keys[i].key != dst->key) continue;
    *key = l->keys[i].here;
    return l->keys[i].here != 0;
  }
  if (rail >= VERBS_RAILS_MAX || lane_new_key(l, (uint8_t)rail, dst->key, KEYS_MAX) != 0) {
    conn_fail(l->conn, FAULT_PEER, "the peer named a place on a rail that it does not have (%u)", rail);
    return 0;
  }
  struct verbs_control m = {.type = VERBS_ASK, .rail = (uint8_t)rail, .a = dst->key};
  int rc = post_control(l->conn, &m, VERBS_CONTROL_BYTES);
  if (rc != 0) conn_fail_call(l->conn, rc, "a message cannot be posted");
  l->asking = 1;
  return 0;
}

/* ---- puts ---- */

void verbs_put(struct tp_lane *l, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token) {
  assert(pieces >= 1 && pieces <= TP_IOV_MAX);
  if (l->queued - l->acked == 2 * l->depth) lane_lost(l, "the peer broke the protocol: it answers puts that its NIC has not acknowledged");
  if (l->state != LANE_UP && l->state != LANE_MOVING) return;
  struct put *p = &l->puts[l->queued & l->mask];
  const struct tp_src *body = &src[pieces - 1];
  *p = (struct put){.base = body->base, .len = (uint32_t)body->len, .notice = notice, .dst = dst, .mr = body->mr, .token = token};
  assert(body->len <= PUT_MAX && (body->len == 0 || body->mr != NULL));
  if (pieces == 2) {
    assert(src[0].len <= VERBS_HEAD_MAX);
    p->head_len = (uint8_t)src[0].len;
    if (src[0].len > 0) memcpy(header(l, l->queued), src[0].base, src[0].len);
  }
  if (p->len == 0) p->mr = NULL;
  if (p->mr != NULL) p->mr->in_flight++;
  l->queued++;
  lane_dirty(l);
  if (l->queued - l->posted >= VERBS_CHAIN) post_puts(l);
}

/* Work requests being chained; nothing of it outlives a call of post_puts. */
struct chain {
  struct ibv_send_wr wr[2 * VERBS_CHAIN]; /* iWARP needs two a put */
  struct ibv_sge sge[VERBS_CHAIN][2];
  struct ibv_sge notice_sge[VERBS_CHAIN];
  unsigned char notice[VERBS_CHAIN][VERBS_CONTROL_BYTES];
  unsigned n, puts;
};

static void fill_sge(const struct tp_lane *l, const struct put *p, uint32_t seq, struct ibv_sge *sge, int *n) {
  const struct conn *c = l->conn;
  *n = 0;
  if (p->head_len > 0) sge[(*n)++] = (struct ibv_sge){.addr = (uintptr_t)header(l, seq), .length = p->head_len, .lkey = block_key(c)};
  if (p->len > 0) {
    const struct ibv_mr *mr = verbs_mr_on(p->mr, l->domain, c->rail->index);
    sge[(*n)++] = (struct ibv_sge){.addr = (uintptr_t)p->base, .length = p->len, .lkey = mr != NULL ? mr->lkey : 0};
  }
}

static void add_write(struct tp_lane *l, struct chain *ch, uint32_t seq, uint32_t key) {
  const struct put *p = &l->puts[seq & l->mask];
  const struct conn *c = l->conn;
  struct ibv_send_wr *wr = &ch->wr[ch->n++];
  struct ibv_sge *sge = ch->sge[ch->puts];
  int n;
  fill_sge(l, p, seq, sge, &n);
  *wr = (struct ibv_send_wr){.wr_id = wr_id(c, WR_PUT, seq), .sg_list = sge, .num_sge = n};
  wr->opcode = c->use_imm ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE;
  wr->imm_data = htonl(p->notice);
  wr->wr.rdma.remote_addr = n > 0 ? p->dst.off & ADDRESS_MASK : 0;
  wr->wr.rdma.rkey = n > 0 ? key : 0;
  if ((uint32_t)p->head_len + p->len <= c->inline_max) wr->send_flags = IBV_SEND_INLINE;
}

static void add_notice(struct tp_lane *l, struct chain *ch, uint32_t seq) {
  const struct put *p = &l->puts[seq & l->mask];
  struct verbs_control m = {.type = VERBS_NOTICE, .a = p->notice, .b = p->head_len + p->len};
  unsigned char *bytes = ch->notice[ch->puts];
  struct ibv_send_wr *wr = &ch->wr[ch->n++];
  verbs_control_encode(&m, bytes);
  ch->notice_sge[ch->puts] = (struct ibv_sge){.addr = (uintptr_t)bytes, .length = VERBS_CONTROL_BYTES};
  *wr =
      (struct ibv_send_wr){.wr_id = wr_id(l->conn, WR_PUT, seq), .sg_list = &ch->notice_sge[ch->puts], .num_sge = 1, .opcode = IBV_WR_SEND};
  wr->send_flags = IBV_SEND_INLINE;
}

/* Puts until the chain or the queue pair is full, there are no more, or a key has to be asked for. */
static void fill_chain(struct tp_lane *l, struct chain *ch) {
  ch->n = ch->puts = 0;
  for (uint32_t seq = l->posted; seq != l->queued && seq - l->acked < l->depth && ch->puts < VERBS_CHAIN; seq++) {
    const struct put *p = &l->puts[seq & l->mask];
    uint32_t key = 0, bytes = p->head_len + p->len;
    if (bytes > 0 && !translate(l, &p->dst, &key)) return;
    if (l->conn->use_imm || bytes > 0) add_write(l, ch, seq, key);
    if (!l->conn->use_imm) add_notice(l, ch, seq);
    ch->puts++;
  }
}

void post_puts(struct tp_lane *l) {
  struct chain ch;
  struct ibv_send_wr *bad;
  while (l->state == LANE_UP && l->conn->state == CONN_OPEN && !l->asking && l->posted != l->queued) {
    fill_chain(l, &ch);
    if (ch.puts == 0) return;
    for (unsigned i = 0; i + 1 < ch.n; i++) ch.wr[i].next = &ch.wr[i + 1];
    ch.wr[ch.n - 1].send_flags |= IBV_SEND_SIGNALED;
    if (l->conn->state != CONN_OPEN) return;
    int rc = ibv_post_send(l->conn->qp, ch.wr, &bad);
    if (rc != 0) {
      conn_fail_call(l->conn, rc, "a put cannot be posted");
      return;
    }
    l->posted += ch.puts;
  }
}

/* Every put before `upto` has arrived. */
void post_acked(struct tp_lane *l, uint32_t upto) {
  for (; l->acked != upto; l->acked++) {
    const struct put *p = &l->puts[l->acked & l->mask];
    if (p->mr != NULL) p->mr->in_flight--;
    if (p->token == 0) continue;
    assert(l->n_tokens - l->told_tokens < l->depth);
    l->tokens[l->n_tokens++ & l->mask] = p->token;
  }
  if (l->posted != l->queued) lane_dirty(l);
  verbs_ready(l);
}
