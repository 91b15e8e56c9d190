/*
 * Owns the sending half of a lane: the queue of puts, the path of each, publishing entries, reporting what is sent. Never waits: what has
 * no room stays queued until poll.
 *
 * Paths, best first: INLINE in the entry; DIRECT into the peer's mapped memory; REGION: the peer copies from our announced memory; for
 * small ones BOUNCE; PRIVATE: the peer reads our process; BOUNCE in parts. All but DIRECT are carried out by the receiver, so they are
 * fenced by nature.
 */
#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "shm.h"

#define BOUNCE_ALIGN 64u

void shm_force_path(struct tp *tp, enum shm_path path) { tp->force = path; }

void shm_ring_bell(struct tp_lane *l, uint32_t bits) {
  /* seq_cst, after our seq_cst store of a stamp or of `consumed`; pairs with the store of `armed` in shm_lane_arm and the reads behind it.
   */
  if ((atomic_load_explicit(&l->mem.peer->armed, memory_order_seq_cst) & bits) == 0) return;
  /* one bell a sleep, however many puts; relaxed: the value orders nothing */
  if (atomic_exchange_explicit(&l->mem.peer->armed, 0, memory_order_relaxed) != 0) shm_sock_bell(l->watch.fd);
}

/* ---- room ---- */

/* Takes over the peer's progress: 0, or -1 when it claims to have consumed what was never published. */
static int refresh(struct tp_lane *l) {
  /* Acquire: the peer's reads of the entries and of what they refer to are over; pairs with its store in take.c, tell_progress. seq_cst:
   * when called to arm, ordered behind the store of `armed` (shm_lane_arm); the peer stores `consumed` before it reads `armed`. */
  uint32_t consumed = atomic_load_explicit(&l->mem.peer->consumed, memory_order_seq_cst);
  if (consumed == l->out_consumed) return 0;
  if (consumed - l->out_consumed > l->out_pos - l->out_consumed) {
    shm_lane_fail(l, "process %d says it has consumed entry %u of the lane, but only %u to %u were sent", (int)l->peer_pid, consumed,
                  l->out_consumed, l->out_pos);
    return -1;
  }
  l->out_consumed = consumed;
  l->bounce_head = l->bounce_end[(consumed - 1) & (l->mem.ring - 1)];
  return 0;
}

static int ring_has_room(struct tp_lane *l) {
  if (l->out_pos - l->out_consumed < l->mem.ring) return 1;
  return refresh(l) == 0 && l->out_pos - l->out_consumed < l->mem.ring;
}

/* Where `len` contiguous bytes of the bounce area can go; the tail moves behind them. 0: no room. */
static int bounce_take(struct tp_lane *l, uint32_t len, uint32_t *at) {
  uint32_t need = (len + BOUNCE_ALIGN - 1) & ~(BOUNCE_ALIGN - 1);
  uint32_t off = l->bounce_tail % SHM_BOUNCE_BYTES;
  uint32_t pad = off + need > SHM_BOUNCE_BYTES ? SHM_BOUNCE_BYTES - off : 0;
  if (l->bounce_tail - l->bounce_head + pad + need > SHM_BOUNCE_BYTES) {
    if (refresh(l) != 0 || l->bounce_tail - l->bounce_head + pad + need > SHM_BOUNCE_BYTES) return 0;
  }
  *at = (off + pad) % SHM_BOUNCE_BYTES;
  l->bounce_tail += pad + need;
  return 1;
}

/* ---- entries ---- */

static struct shm_entry *next_entry(struct tp_lane *l) { return &l->mem.out[l->out_pos & (l->mem.ring - 1)]; }

static void fill(struct shm_entry *e, const struct shm_put *p, enum shm_entry_kind kind, uint32_t len) {
  e->kind = (uint8_t)kind;
  e->more = 0;
  e->inline_len = 0;
  e->notice = p->notice;
  e->len = len;
  e->dst_key = p->dst.key;
  e->dst_off = p->dst.off;
}

static void publish(struct tp_lane *l, struct shm_entry *e) {
  l->bounce_end[l->out_pos & (l->mem.ring - 1)] = l->bounce_tail;
  l->out_pos++;
  /* seq_cst: a release of the entry and of the bytes that it speaks of (pairs with the acquire of the stamp in take.c), and ordered before
   * the read of `armed` in shm_ring_bell (pairs with shm_lane_arm). */
  atomic_store_explicit(&e->stamp, l->out_pos, memory_order_seq_cst);
}

static void put_head(struct shm_entry *e, const struct shm_put *p) {
  if (p->head_len > 0) memcpy(e->bytes, p->head, p->head_len);
  e->inline_len = p->head_len;
}

/* ---- paths ---- */

static int push_inline(struct tp_lane *l, struct shm_put *p) {
  struct shm_entry *e = next_entry(l);
  fill(e, p, SHM_ENTRY_INLINE, 0);
  put_head(e, p);
  if (p->len > 0) memcpy(e->bytes + p->head_len, p->base, p->len);
  e->inline_len = (uint8_t)(p->head_len + p->len);
  publish(l, e);
  return 1;
}

/* Writes into the peer's memory; asks before every block whether the peer has shut its gate (fence). */
static int push_direct(struct tp_lane *l, struct shm_put *p, unsigned char *to) {
  const _Atomic uint32_t *shut = &l->mem.peer->shut;
  struct shm_entry *e = next_entry(l);
  uint32_t total = p->head_len + p->len;
  for (uint32_t at = 0; at < p->len || at == 0; at += SHM_BLOCK) {
    /* Acquire: keeps the block's writes behind the look. The peer uses the memory again only after our own `shut` (lane.c), which we
     * store after all our writes; this look only makes it wait less. */
    if (atomic_load_explicit(shut, memory_order_acquire) != 0) return 0;
    if (at == 0 && p->head_len > 0) memcpy(to, p->head, p->head_len);
    if (p->len > 0) memcpy(to + p->head_len + at, p->base + at, MIN_OF(SHM_BLOCK, p->len - at));
  }
  fill(e, p, SHM_ENTRY_PLACED, total);
  publish(l, e);
  return 1;
}

static int push_reference(struct tp_lane *l, struct shm_put *p, enum shm_entry_kind kind) {
  struct shm_entry *e = next_entry(l);
  fill(e, p, kind, p->len);
  put_head(e, p);
  e->src_key = kind == SHM_ENTRY_REGION ? p->mr->key : 0;
  e->src_at = kind == SHM_ENTRY_REGION ? (uint64_t)(p->base - p->mr->base) : (uint64_t)(uintptr_t)p->base;
  p->by_ref = 1;
  publish(l, e);
  return 1;
}

static int push_bounce(struct tp_lane *l, struct shm_put *p) {
  while (p->done < p->len) {
    uint32_t part = MIN_OF(SHM_BOUNCE_PART, p->len - p->done);
    uint32_t at = 0;
    if (!ring_has_room(l) || !bounce_take(l, part, &at)) return 0;
    struct shm_entry *e = next_entry(l);
    memcpy(l->mem.bounce_out + at, p->base + p->done, part);
    fill(e, p, SHM_ENTRY_BOUNCE, part);
    e->src_at = at;
    e->more = p->done + part < p->len;
    if (p->done == 0)
      put_head(e, p);
    else
      e->dst_off = p->dst.off + p->head_len + p->done;
    p->done += part;
    publish(l, e);
    shm_ring_bell(l, SHM_ARMED_RING);
  }
  return 1;
}

static enum shm_path choose(struct tp_lane *l, const struct shm_put *p, int mapped) {
  enum shm_path force = l->tp->force;
  int fits = (uint64_t)p->head_len + p->len <= SHM_INLINE_MAX;
  int region = p->mr != NULL && shm_region_sent(l, p->mr);
  /* Relaxed: a hint of the peer's that only moves the work. */
  int private = atomic_load_explicit(&l->mem.peer->reads_private, memory_order_relaxed) != 0;
  if (fits && (p->len == 0 || force == SHM_PATH_AUTO || force == SHM_PATH_INLINE)) return SHM_PATH_INLINE;
  if (force == SHM_PATH_BOUNCE || (force == SHM_PATH_DIRECT && mapped) || (force == SHM_PATH_REGION && region) ||
      (force == SHM_PATH_PRIVATE && private)) {
    return force;
  }
  if (mapped) return SHM_PATH_DIRECT;
  if (region) return SHM_PATH_REGION;
  return private && p->len > SHM_SMALL ? SHM_PATH_PRIVATE : SHM_PATH_BOUNCE;
}

/* Publishes one put: 1, or 0 when there is no room or the lane ends. */
static int push_one(struct tp_lane *l, struct shm_put *p) {
  unsigned char *to = NULL;
  if (!ring_has_room(l)) return 0;
  if (p->path == SHM_PATH_AUTO) {
    uint64_t total = (uint64_t)p->head_len + p->len;
    /* While a change of the peer's regions is under way nothing is written into them from here: the peer checks the key itself. */
    if (total > 0 && shm_view_fresh(l)) to = shm_view_find(l, p->dst.key, p->dst.off, total);
    if (l->state != SHM_LANE_OPEN) return 0;
    enum shm_path path = choose(l, p, to != NULL);
    if (path == SHM_PATH_DIRECT) return push_direct(l, p, to); /* done at once: `to` may not be good later */
    p->path = (uint8_t)path;
  }
  switch (p->path) {
    case SHM_PATH_INLINE:
      return push_inline(l, p);
    case SHM_PATH_REGION:
      return push_reference(l, p, SHM_ENTRY_REGION);
    case SHM_PATH_PRIVATE:
      return push_reference(l, p, SHM_ENTRY_PRIVATE);
    default:
      return push_bounce(l, p);
  }
}

/* ---- the queue ---- */

void shm_put_push(struct tp_lane *l) {
  uint32_t before = l->out_pos;
  while (l->put_pushed != l->put_tail) {
    struct shm_put *p = &l->puts[l->put_pushed & l->puts_mask];
    if (!push_one(l, p)) break;
    p->end = l->out_pos;
    l->put_pushed++;
  }
  if (l->out_pos != before && l->state == SHM_LANE_OPEN) shm_ring_bell(l, SHM_ARMED_RING);
}

static int head_is_sent(const struct tp_lane *l) {
  const struct shm_put *p = &l->puts[l->put_head & l->puts_mask];
  return l->put_head != l->put_pushed && (!p->by_ref || (int32_t)(l->out_consumed - p->end) >= 0);
}

/* Forgets sent puts that nobody wants to hear of, up to the first one that is to be reported. */
static void skip_silent(struct tp_lane *l) {
  while (head_is_sent(l) && l->puts[l->put_head & l->puts_mask].token == 0) l->put_head++;
}

int shm_put_reportable(struct tp_lane *l) {
  if (l->put_head == l->put_tail) return 0;
  if (refresh(l) != 0) return 1;
  skip_silent(l);
  return head_is_sent(l);
}

int shm_put_report(struct tp_lane *l, struct tp_event *events, int max) {
  int n = 0;
  if (l->put_head == l->put_tail || l->state != SHM_LANE_OPEN) return 0;
  if (l->put_head != l->put_pushed && !head_is_sent(l) && refresh(l) != 0) return 0;
  while (head_is_sent(l)) {
    const struct shm_put *p = &l->puts[l->put_head & l->puts_mask];
    if (p->token != 0) {
      if (n == max) break;
      events[n++] = (struct tp_event){.kind = TP_SENT, .lane = l, .user = l->config.user, .token = p->token};
    }
    l->put_head++;
  }
  return n;
}

void shm_put(struct tp_lane *l, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token) {
  assert(pieces >= 1 && pieces <= TP_IOV_MAX);
  if (l->state == SHM_LANE_LOST) return;
  if (l->put_tail - l->put_head >= l->config.depth) {
    if (l->state == SHM_LANE_OPEN) (void)shm_put_reportable(l);
    assert(l->put_tail - l->put_head < l->config.depth);
  }
  const struct tp_src *body = &src[pieces - 1];
  struct shm_put *p = &l->puts[l->put_tail & l->puts_mask];
  p->token = token;
  p->dst = dst;
  p->base = body->base;
  p->mr = body->mr;
  assert(body->len <= UINT32_MAX - sizeof p->head); /* bytes of a notice are 32 bits */
  p->len = (uint32_t)body->len;
  p->done = 0;
  p->notice = notice;
  p->path = SHM_PATH_AUTO;
  p->by_ref = 0;
  p->head_len = 0;
  if (pieces == 2) {
    assert(src[0].len <= sizeof p->head);
    p->head_len = (uint8_t)src[0].len;
    if (p->head_len > 0) memcpy(p->head, src[0].base, p->head_len);
  }
  l->put_tail++;
  if (l->state == SHM_LANE_OPEN) {
    shm_put_push(l);
    skip_silent(l);
  }
}
