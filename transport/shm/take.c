/*
 * Owns the receiving half of a lane: it checks every entry, brings the bytes into place and tells the notice. Entries are written by
 * another process: each is read once into locals, and nothing in it is believed.
 */
#include <errno.h>
#include <string.h>

#include "shm.h"

/* The fields of an entry as they were at one moment. */
struct taken {
  uint8_t kind, more, inline_len;
  uint32_t notice, len, dst_key, src_key;
  uint64_t dst_off, src_at;
};

static const struct shm_entry *next_entry(const struct tp_lane *l) { return &l->mem.in[l->in_pos & (l->mem.ring - 1)]; }

int shm_take_ready(const struct tp_lane *l) {
  /* seq_cst: behind the store of `armed` in shm_lane_arm; pairs with the producer's stamp before its read of `armed`. */
  return atomic_load_explicit(&next_entry(l)->stamp, memory_order_seq_cst) == l->in_pos + 1;
}

static struct taken read_once(const struct shm_entry *e) {
  struct taken t = {.kind = e->kind,
                    .more = e->more,
                    .inline_len = e->inline_len,
                    .notice = e->notice,
                    .len = e->len,
                    .dst_key = e->dst_key,
                    .src_key = e->src_key,
                    .dst_off = e->dst_off,
                    .src_at = e->src_at};
  /* Nothing below may be read a second time after it was checked: the compiler must take memory to have changed here. */
  __asm__ volatile("" ::: "memory");
  return t;
}

/* The peer's `shut` after a copy out of its private memory, as a read-modify-write: either it comes before the peer's own (say_shut), and
 * then our copy happened before the peer used the memory again; or we see it, and the bytes are void. */
static int void_by_now(struct tp_lane *l) { return atomic_fetch_add_explicit(&l->mem.peer->shut, 0, memory_order_acq_rel) != 0; }

enum verdict { TAKEN, STOP };

static enum verdict violation(struct tp_lane *l, const struct taken *t, const char *what) {
  shm_lane_fail(l, "process %d broke the lane's protocol: %s (kind %u, %u + %u bytes to key %08x at %llu, from key %08x at %llu)",
                (int)l->peer_pid, what, t->kind, t->inline_len, t->len, t->dst_key, (unsigned long long)t->dst_off, t->src_key,
                (unsigned long long)t->src_at);
  return STOP;
}

/* ---- where bytes come from ---- */

static enum verdict from_region(struct tp_lane *l, const struct taken *t, unsigned char *to) {
  const unsigned char *from = shm_view_find(l, t->src_key, t->src_at, t->len);
  if (from == NULL) {
    /* it was announced before the put, so the message is there by now */
    shm_lane_read(l);
    if (l->state != SHM_LANE_OPEN) return STOP;
    from = shm_view_find(l, t->src_key, t->src_at, t->len);
  }
  if (from == NULL) return violation(l, t, "the source is not inside memory that it has announced");
  memcpy(to, from, t->len);
  return TAKEN;
}

static enum verdict from_private(struct tp_lane *l, const struct taken *t, unsigned char *to) {
  int rc = shm_read_process(l->peer_pid, t->src_at, to, t->len);
  if (rc == 0) {
    /* Were the process gone and its number given to another, its socket would be at its end by now. */
    shm_lane_read(l);
    return l->eof || l->state != SHM_LANE_OPEN ? STOP : TAKEN;
  }
  shm_lane_read(l);
  if (l->eof || l->state != SHM_LANE_OPEN || void_by_now(l)) return STOP;
  if (rc == -ESRCH) {
    l->eof = 1;
    return STOP;
  }
  if (rc == -EFAULT) return violation(l, t, "the source is not memory of that process");
  shm_lane_fail(l, "cannot read the memory of process %d any more: %s", (int)l->peer_pid, strerrordesc_np(-rc));
  return STOP;
}

static enum verdict from_bounce(struct tp_lane *l, const struct taken *t, unsigned char *to) {
  if (t->src_at > SHM_BOUNCE_BYTES || t->len > SHM_BOUNCE_BYTES - t->src_at)
    return violation(l, t, "the source is outside the bounce area");
  memcpy(to, l->mem.bounce_in + t->src_at, t->len);
  return TAKEN;
}

/* ---- entries ---- */

static enum verdict bring(struct tp_lane *l, const struct shm_entry *e, const struct taken *t, unsigned char *to) {
  memcpy(to, e->bytes, t->inline_len);
  to += t->inline_len;
  if (t->len == 0 || t->kind == SHM_ENTRY_PLACED) return TAKEN;
  enum verdict v = t->kind == SHM_ENTRY_REGION    ? from_region(l, t, to)
                   : t->kind == SHM_ENTRY_PRIVATE ? from_private(l, t, to)
                                                  : from_bounce(l, t, to);
  if (t->kind == SHM_ENTRY_BOUNCE || v == STOP) return v;
  return void_by_now(l) ? STOP : TAKEN;
}

static enum verdict take_one(struct tp_lane *l, const struct shm_entry *e, struct taken *t) {
  *t = read_once(e);
  uint64_t total = (uint64_t)t->inline_len + t->len;
  if (t->kind >= SHM_ENTRY_KINDS) return violation(l, t, "unknown kind of entry");
  if (t->inline_len > SHM_INLINE_MAX) return violation(l, t, "more inline bytes than an entry holds");
  if (t->kind == SHM_ENTRY_INLINE && t->len != 0) return violation(l, t, "an inline entry with other bytes");
  if (t->kind == SHM_ENTRY_PLACED && t->inline_len != 0) return violation(l, t, "a placed entry with inline bytes");
  if (t->more && total == 0) return violation(l, t, "a part without bytes"); /* parts without end */
  if (l->in_partial + total > UINT32_MAX) return violation(l, t, "a put of more than 4 GiB");
  if (total > 0) {
    unsigned char *to = shm_region_find(l->tp, l->config.domain, t->dst_key, t->dst_off, total);
    if (to == NULL) return violation(l, t, "the destination is not inside memory that is registered for it");
    if (bring(l, e, t, to) == STOP) return STOP;
  }
  l->in_partial += total;
  return TAKEN;
}

/* Says how far we are when the producer may wait for it: it refers to memory, uses the bounce area, or the ring runs full. */
static void tell_progress(struct tp_lane *l) {
  if (!l->in_tell && l->in_pos - l->in_told < l->mem.ring / 4) return;
  l->in_tell = 0;
  l->in_told = l->in_pos;
  /* seq_cst: releases the entries and what they refer to (pairs with the acquire in put.c, refresh), and ordered before the read of `armed`
   * (pairs with shm_lane_arm). */
  atomic_store_explicit(&l->mem.own->consumed, l->in_pos, memory_order_seq_cst);
  shm_ring_bell(l, SHM_ARMED_CONSUMED);
}

int shm_take(struct tp_lane *l, struct tp_event *events, int max) {
  int n = 0;
  while (n < max) {
    const struct shm_entry *e = next_entry(l);
    struct taken t;
    /* Acquire pairs with the stamp's store in put.c, publish: the entry and the bytes that it says are placed. */
    if (atomic_load_explicit(&e->stamp, memory_order_acquire) != l->in_pos + 1) break;
    if (take_one(l, e, &t) == STOP) return n;
    l->in_pos++;
    if (t.kind >= SHM_ENTRY_REGION) l->in_tell = 1;
    if (t.more) {
      if (t.kind == SHM_ENTRY_BOUNCE) tell_progress(l); /* frees the area while the rest is on its way */
      continue;
    }
    events[n++] =
        (struct tp_event){.kind = TP_NOTICE, .lane = l, .user = l->config.user, .notice = t.notice, .bytes = (uint32_t)l->in_partial};
    l->in_partial = 0;
  }
  if (l->in_pos != l->in_told) tell_progress(l);
  return n;
}
