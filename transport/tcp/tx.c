/*
 * Owns puts on their way out: the ring of puts that the kernel has not taken, and the tokens of those that it has. Never reads.
 *
 * put() only queues; the turn in the next poll gathers all that came since, headers, inline pieces and payloads, into one system call.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "internal.h"

static void add_payload(struct put *p, const struct tp_src *src) {
  if (src->len > TCP_INLINE_MAX) {
    p->base = src->base;
    p->len = src->len;
  } else if (src->len > 0) {
    memcpy(p->head + p->head_len, src->base, src->len);
    p->head_len += (uint32_t)src->len;
  }
}

void tcp_put(struct tp_lane *l, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token) {
  assert(pieces >= 1 && pieces <= TP_IOV_MAX);
  if (l->state == LANE_LOST || l->state == LANE_FENCED || l->tx_errno != 0) return;
  assert(l->state == LANE_UP && "a put before TP_CONNECTED");
  assert(l->put_count < l->depth && "more puts than the lane's depth");
  size_t total = src[0].len + (pieces == 2 ? src[1].len : 0);
  assert(total <= UINT32_MAX && (pieces == 1 || src[0].len <= TCP_INLINE_MAX));

  struct put *p = &l->puts[(l->put_head + l->put_count++) % l->depth];
  struct tcp_frame frame = {.length = (uint32_t)total, .notice = notice};
  if (total > 0) frame.dst = dst;
  tcp_frame_encode(&frame, p->head);
  p->head_len = TCP_FRAME_BYTES;
  p->len = 0;
  p->base = NULL;
  p->token = token;
  add_payload(p, &src[0]);
  if (pieces == 2 && p->head_len - TCP_FRAME_BYTES + src[1].len <= TCP_INLINE_MAX) {
    add_payload(p, &src[1]);
  } else if (pieces == 2) {
    p->base = src[1].base;
    p->len = src[1].len;
  }
  if (token != 0) {
    l->tokens_queued++;
    assert(l->tokens_queued + l->token_count <= l->depth && "more puts than the lane's depth");
  }
  if (l->can_write) tcp_ready(l);
}

/* Points iov at what is left of the queued puts, as far as one turn may go; returns the number of entries. */
static int gather(struct tp_lane *l, struct iovec iov[2 * TCP_GATHER], size_t *bytes) {
  size_t skip = l->put_done;
  int n = 0;
  *bytes = 0;
  for (uint32_t i = 0; i < l->put_count && i < TCP_GATHER && *bytes < TCP_TURN_BYTES; i++) {
    struct put *p = &l->puts[(l->put_head + i) % l->depth];
    if (skip < p->head_len) {
      iov[n++] = (struct iovec){.iov_base = p->head + skip, .iov_len = p->head_len - skip};
      *bytes += p->head_len - skip;
      skip = 0;
    } else {
      skip -= p->head_len;
    }
    if (p->len > skip) {
      size_t len = MIN_OF(p->len - skip, TCP_TURN_BYTES);
      iov[n++] = (struct iovec){.iov_base = (char *)(uintptr_t)p->base + skip, .iov_len = len};
      *bytes += len;
      if (len < p->len - skip) break;
    }
    skip = 0;
  }
  return n;
}

/* The kernel took `bytes` more. */
static void taken(struct tp_lane *l, size_t bytes) {
  l->put_done += bytes;
  while (l->put_count > 0) {
    struct put *p = &l->puts[l->put_head];
    size_t whole = p->head_len + p->len;
    if (l->put_done < whole) return;
    l->put_done -= whole;
    if (p->token != 0) {
      l->tokens[(l->token_head + l->token_count++) % l->depth] = p->token;
      l->tokens_queued--;
    }
    l->put_head = (l->put_head + 1) % l->depth;
    l->put_count--;
  }
  assert(l->put_done == 0);
}

/* What the peer sent before the connection broke may still wait to be read: reading finds the end and reports it with this reason. */
static void tx_failed(struct tp_lane *l, int errno_value) {
  l->tx_errno = errno_value;
  l->can_write = 0;
  l->put_count = l->tokens_queued = 0;
  l->put_done = 0;
  l->can_read = l->hup = 1;
}

void tcp_tx(struct tp_lane *l) {
  struct iovec iov[2 * TCP_GATHER];
  size_t budget = TCP_TURN_BYTES;
  while (l->put_count > 0 && l->can_write && budget > 0) {
    size_t bytes;
    struct msghdr msg = {.msg_iov = iov};
    msg.msg_iovlen = (size_t)gather(l, iov, &bytes);
    ssize_t n = sendmsg(l->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
      l->can_write = 0;
      return;
    }
    if (n < 0) {
      tx_failed(l, errno);
      return;
    }
    taken(l, (size_t)n);
    if ((size_t)n < bytes) l->can_write = 0; /* the buffer is full: an edge tells when it is not */
    budget -= MIN_OF(budget, (size_t)n);
  }
}

void tcp_tx_report(struct tp_lane *l, struct sink *out) {
  while (l->token_count > 0 && out->n < out->max) {
    out->at[out->n++] = (struct tp_event){.kind = TP_SENT, .lane = l, .user = l->user, .token = l->tokens[l->token_head]};
    l->token_head = (l->token_head + 1) % l->depth;
    l->token_count--;
  }
}
