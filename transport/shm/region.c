/*
 * Owns own memory: the table of regions and their keys, and telling peers of those that they can map. Never touches the memory itself.
 *
 * Regions that a peer can map are announced on each lane of their domain, in the order of `exports`. What was announced is withdrawn by a
 * message as well, so a slot of such a region is free only when every lane has been told. `changes` in the gate is raised before a message
 * is sent: a peer that has not handled that message yet writes nothing into place itself (view.c).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "base/err.h"
#include "shm.h"

static struct tp_mr *slot(const struct tp *tp, uint32_t index) { return &tp->mr_pages[index / SHM_MR_PAGE][index % SHM_MR_PAGE]; }

/* ---- slots ---- */

static void free_slot(struct tp *tp, struct tp_mr *mr) {
  mr->state = SHM_MR_FREE;
  mr->next = NULL;
  if (tp->mr_free == NULL)
    tp->mr_free = mr;
  else
    tp->mr_free_last->next = mr;
  tp->mr_free_last = mr;
}

static int add_page(struct tp *tp, agg_error_t *err) {
  if (tp->n_mr + SHM_MR_PAGE > SHM_REGIONS_MAX)
    return err_set(err, AGG_ELIMIT, "shm: more than %u memory regions in one reactor", tp->n_mr);
  uint32_t pages = tp->n_mr / SHM_MR_PAGE;
  struct tp_mr **list = realloc(tp->mr_pages, (pages + 1) * sizeof *list);
  if (list != NULL) tp->mr_pages = list;
  struct tp_mr *page = list == NULL ? NULL : calloc(SHM_MR_PAGE, sizeof *page);
  if (page == NULL) return err_set(err, AGG_ENOMEM, "no memory for a table of %u memory regions", tp->n_mr + SHM_MR_PAGE);
  tp->mr_pages[pages] = page;
  for (uint32_t i = 0; i < SHM_MR_PAGE; i++) {
    page[i].key = tp->n_mr + i;
    free_slot(tp, &page[i]);
  }
  tp->n_mr += SHM_MR_PAGE;
  return 0;
}

/* The next generation; 0 is skipped, so that no key is 0. */
static uint32_t next_key(uint32_t key) {
  uint32_t generation = (key >> 16) + 1;
  if (generation > 0xffff) generation = 1;
  return generation << 16 | (key & 0xffff);
}

/* ---- announcing ---- */

static int meant_for(const struct tp_mr *mr, const struct tp_lane *l) { return mr->domain == 0 || mr->domain == l->config.domain; }

static int hears(const struct tp_lane *l) { return l->mem.base != NULL && l->state != SHM_LANE_LOST; }

static void export_last(struct tp *tp, struct tp_mr *mr) {
  mr->seq = ++tp->last_seq;
  mr->next = NULL;
  mr->prev = tp->exports_last;
  if (tp->exports_last != NULL)
    tp->exports_last->next = mr;
  else
    tp->exports = mr;
  tp->exports_last = mr;
}

static void unexport(struct tp *tp, struct tp_mr *mr) {
  if (mr->prev != NULL)
    mr->prev->next = mr->next;
  else
    tp->exports = mr->next;
  if (mr->next != NULL)
    mr->next->prev = mr->prev;
  else
    tp->exports_last = mr->prev;
}

/* Release: a peer that sees the number sees everything that was done before the change. Pairs with the acquire in shm_view_fresh. */
static void raise_gate(struct tp_lane *l, uint64_t seq) { atomic_store_explicit(&l->mem.own->changes, seq, memory_order_release); }

void shm_region_welcome(struct tp_lane *l) {
  uint64_t seq = 0;
  for (struct tp_mr *mr = l->tp->exports; mr != NULL; mr = mr->next) {
    if (meant_for(mr, l)) seq = mr->seq;
  }
  l->next_seq = 0;
  raise_gate(l, seq);
}

static int send_one(struct tp_lane *l, const struct tp_mr *mr) {
  struct shm_msg msg = {.seq = mr->seq, .key = mr->key, .len = mr->len, .file_off = mr->fd_off};
  if (mr->state == SHM_MR_WITHDRAWN) return shm_sock_send(l->watch.fd, &msg, SHM_MSG_WITHDRAW, -1);
  l->announced = 1;
  return shm_sock_send(l->watch.fd, &msg, SHM_MSG_REGION, mr->fd);
}

static void set_wants_out(struct tp_lane *l, int wants) {
  if (l->wants_out == wants) return;
  l->wants_out = (uint8_t)wants;
  shm_watch_change(l->tp, &l->watch, EPOLLIN | (wants ? EPOLLOUT : 0u));
}

void shm_region_announce(struct tp_lane *l) {
  if (l->state != SHM_LANE_OPEN || l->eof || l->watch.fd < 0) return;
  for (struct tp_mr *mr = l->tp->exports; mr != NULL; mr = mr->next) {
    if (mr->seq < l->next_seq || !meant_for(mr, l)) continue;
    int rc = send_one(l, mr);
    /* ETOOMANYREFS: too many descriptors in flight for this user; like a full socket it passes, but nothing says when */
    if (rc == -EAGAIN || rc == -ENOBUFS || rc == -ETOOMANYREFS) {
      set_wants_out(l, 1);
      return;
    }
    if (rc == -EPIPE || rc == -ECONNRESET) return; /* the end of the socket tells */
    if (rc != 0) {
      shm_lane_fail(l, "cannot announce memory to process %d: %s", (int)l->peer_pid, strerrordesc_np(-rc));
      return;
    }
    l->next_seq = mr->seq + 1;
  }
  l->next_seq = l->tp->last_seq + 1;
  set_wants_out(l, 0);
}

int shm_region_sent(const struct tp_lane *l, const struct tp_mr *mr) { return mr->fd >= 0 && meant_for(mr, l) && mr->seq < l->next_seq; }

/* Slots of withdrawn regions of which every lane has been told. */
static void reap(struct tp *tp) {
  for (struct tp_mr *mr = tp->exports, *next; mr != NULL; mr = next) {
    int told = mr->state == SHM_MR_WITHDRAWN;
    next = mr->next;
    for (uint32_t i = 0; told && i < tp->n_lanes; i++) {
      const struct tp_lane *l = tp->lanes[i];
      if (hears(l) && meant_for(mr, l) && l->next_seq <= mr->seq) told = 0;
    }
    if (!told) continue;
    unexport(tp, mr);
    free_slot(tp, mr);
  }
}

static void publish(struct tp *tp, const struct tp_mr *mr) {
  for (uint32_t i = 0; i < tp->n_lanes; i++) {
    struct tp_lane *l = tp->lanes[i];
    if (!hears(l) || !meant_for(mr, l)) continue;
    raise_gate(l, mr->seq);
    shm_region_announce(l);
  }
}

/* ---- registering ---- */

/* The descriptor when peers can map the memory: a memfd that nobody can shrink under them. -1 otherwise, which only costs speed. */
static int exportable(struct tp *tp, const struct tp_mem *mem, agg_error_t *err, int *fd) {
  struct stat st;
  *fd = -1;
  if (mem->fd < 0 || mem->len == 0) return 0;
  if (fstat(mem->fd, &st) != 0) return err_sys(err, AGG_EINVAL, errno, "shm: the descriptor of a memory region cannot be used");
  if (mem->fd_off > (uint64_t)st.st_size || mem->len > (uint64_t)st.st_size - mem->fd_off) {
    return err_set(err, AGG_EINVAL, "shm: a region of %zu bytes at %llu does not fit its file of %lld bytes", mem->len,
                   (unsigned long long)mem->fd_off, (long long)st.st_size);
  }
  int seals = fcntl(mem->fd, F_GET_SEALS);
  if (seals >= 0 && ((seals & F_SEAL_SHRINK) != 0 || fcntl(mem->fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)) {
    *fd = mem->fd;
  } else {
    LOG_DEBUG(tp->log, "shm: memory at %p is not in a memfd that can be sealed against shrinking: peers will not map it", mem->addr);
  }
  return 0;
}

int shm_mem_reg(struct tp *tp, const struct tp_mem *mem, struct tp_mr **mr, agg_error_t *err) {
  int fd = -1;
  int rc = exportable(tp, mem, err, &fd);
  if (rc != 0) return rc;
  if (tp->mr_free == NULL) reap(tp);
  if (tp->mr_free == NULL) {
    rc = add_page(tp, err);
    if (rc != 0) return rc;
  }
  struct tp_mr *r = tp->mr_free;
  tp->mr_free = r->next;
  *r = (struct tp_mr){.key = next_key(r->key), .state = SHM_MR_LIVE, .base = mem->addr, .len = mem->len, .domain = mem->domain, .fd = fd};
  if (fd >= 0) {
    r->fd_off = mem->fd_off;
    export_last(tp, r);
    publish(tp, r);
  }
  *mr = r;
  return 0;
}

void shm_mem_dereg(struct tp *tp, struct tp_mr *mr) {
  if (mr == NULL) return;
  assert(mr->state == SHM_MR_LIVE && slot(tp, mr->key & 0xffff) == mr);
  if (mr->fd < 0) {
    free_slot(tp, mr);
    return;
  }
  mr->state = SHM_MR_WITHDRAWN;
  mr->fd = -1;
  unexport(tp, mr);
  export_last(tp, mr);
  publish(tp, mr);
  reap(tp);
}

struct tp_raddr shm_raddr(struct tp_lane *lane, const struct tp_mr *mr, const void *ptr) {
  (void)lane;
  const unsigned char *at = ptr;
  assert(mr->state == SHM_MR_LIVE && at >= mr->base && at <= mr->base + mr->len);
  return (struct tp_raddr){.key = mr->key, .off = (uint64_t)(at - mr->base)};
}

unsigned char *shm_region_find(struct tp *tp, uint64_t domain, uint32_t key, uint64_t off, uint64_t len) {
  uint32_t index = key & 0xffff;
  if (index >= tp->n_mr) return NULL;
  const struct tp_mr *mr = slot(tp, index);
  if (mr->state != SHM_MR_LIVE || mr->key != key || (mr->domain != 0 && mr->domain != domain)) return NULL;
  if (off > mr->len || len > mr->len - off) return NULL;
  return mr->base + off;
}

void shm_region_free_all(struct tp *tp) {
  for (uint32_t i = 0; i < tp->n_mr / SHM_MR_PAGE; i++) free(tp->mr_pages[i]);
  free(tp->mr_pages);
}
