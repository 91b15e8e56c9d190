/*
 * Owns the mappings of peers' memory: one mapping a file however many lanes show it, and per lane the keys that the peer has announced
 * there. Never writes into them (put.c does). A mapping is bounded by the peer's file, which is sealed against shrinking.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/util.h"
#include "shm.h"

/* ---- mappings ---- */

static struct shm_map *map_find(struct tp *tp, const struct stat *st, uint64_t off, size_t len) {
  for (struct shm_map *m = tp->maps; m != NULL; m = m->next) {
    /* the inode of a file that is mapped is not given to another */
    if (m->dev == st->st_dev && m->ino == st->st_ino && m->off == off && m->len == len) return m;
  }
  return NULL;
}

static struct shm_map *map_get(struct tp *tp, const struct stat *st, int fd, uint64_t off, size_t len) {
  struct shm_map *m = map_find(tp, st, off, len);
  if (m != NULL) {
    m->refs++;
    return m;
  }
  m = calloc(1, sizeof *m);
  if (m == NULL) return NULL;
  void *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)off);
  if (base == MAP_FAILED) {
    free(m);
    return NULL;
  }
  *m = (struct shm_map){.dev = st->st_dev, .ino = st->st_ino, .off = off, .len = len, .base = base, .refs = 1, .next = tp->maps};
  tp->maps = m;
  return m;
}

static void map_put(struct tp *tp, struct shm_map *m) {
  if (--m->refs > 0) return;
  struct shm_map **at = &tp->maps;
  while (*at != m) at = &(*at)->next;
  *at = m->next;
  munmap(m->base, m->len);
  free(m);
}

/* ---- a lane's keys ---- */

static struct shm_view *look_up(const struct tp_lane *l, uint32_t key) {
  uint32_t index = key & 0xffff;
  struct shm_view *v = index < l->views_cap ? l->views[index] : NULL;
  return v != NULL && v->key == key ? v : NULL;
}

unsigned char *shm_view_find(const struct tp_lane *l, uint32_t key, uint64_t off, uint64_t len) {
  const struct shm_view *v = look_up(l, key);
  if (v == NULL || off > v->len || len > v->len - off) return NULL;
  return v->base + off;
}

void *shm_map(struct tp_lane *l, struct tp_raddr at, size_t len) {
  if (l->state != SHM_LANE_OPEN) return NULL;
  (void)shm_view_fresh(l);
  unsigned char *p = shm_view_find(l, at.key, at.off, len);
  if (p != NULL) look_up(l, at.key)->handed = 1;
  return p;
}

int shm_view_fresh(struct tp_lane *l) {
  /* Acquire pairs with raise_gate (region.c). */
  uint64_t changes = atomic_load_explicit(&l->mem.peer->changes, memory_order_acquire);
  if (changes == l->changes_seen) return 1;
  shm_lane_read(l);
  return changes == l->changes_seen;
}

static int room_for(struct tp_lane *l, uint32_t index) {
  if (index < l->views_cap) return 1;
  uint32_t cap = MAX_OF(l->views_cap, 16u);
  while (cap <= index) cap *= 2;
  struct shm_view **views = realloc(l->views, cap * sizeof(struct shm_view *));
  if (views == NULL) return 0;
  memset(views + l->views_cap, 0, (cap - l->views_cap) * sizeof(struct shm_view *));
  l->views = views;
  l->views_cap = cap;
  return 1;
}

/* Why the announcement cannot be accepted; NULL: it can. */
static const char *refuse(const struct tp_lane *l, const struct shm_msg *msg, int fd, struct stat *st) {
  uint32_t index = msg->key & 0xffff;
  if (fd < 0 || fstat(fd, st) != 0) return "it came without a descriptor";
  if (msg->key >> 16 == 0 || msg->len == 0) return "it has no key or no bytes";
  if (index < l->views_cap && l->views[index] != NULL) return "its key was announced before";
  if (l->views_n >= SHM_VIEWS_MAX) return "there are too many of them";
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return "it is not a memfd sealed against shrinking";
  uint64_t size = (uint64_t)st->st_size;
  if (st->st_size < 0 || msg->file_off > size || msg->len > size - msg->file_off) return "it reaches beyond its file";
  return NULL;
}

void shm_view_add(struct tp_lane *l, const struct shm_msg *msg, int fd) {
  struct stat st;
  const char *why = refuse(l, msg, fd, &st);
  if (why != NULL) {
    shm_lane_fail(l, "process %d announced memory (key %08x, %llu bytes) that cannot be accepted: %s", (int)l->peer_pid, msg->key,
                  (unsigned long long)msg->len, why);
    return;
  }
  /* Files of huge pages are mapped in whole ones; st_blksize is the page size of a memfd. */
  uint64_t page = st.st_blksize > (blksize_t)SHM_PAGE ? (uint64_t)st.st_blksize : SHM_PAGE;
  uint64_t skip = msg->file_off % page;
  struct shm_view *v = room_for(l, msg->key & 0xffff) ? calloc(1, sizeof *v) : NULL;
  if (v == NULL) goto fail;
  v->map = map_get(l->tp, &st, fd, msg->file_off - skip, (size_t)(msg->len + skip));
  if (v->map == NULL) goto free_view;
  v->key = msg->key;
  v->len = msg->len;
  v->base = (unsigned char *)v->map->base + skip;
  l->views[msg->key & 0xffff] = v;
  l->views_n++;
  return;

free_view:
  free(v);
fail:
  shm_lane_fail(l, "cannot map %llu bytes of process %d: %s", (unsigned long long)msg->len, (int)l->peer_pid, strerrordesc_np(errno));
}

static void free_view(struct tp_lane *l, struct shm_view *v) {
  map_put(l->tp, v->map);
  free(v);
}

/* A pointer given out by map() stays good; when very many such regions were withdrawn, the oldest is let go. */
static void keep(struct tp_lane *l, struct shm_view *v) {
  v->next = l->kept;
  l->kept = v;
  if (++l->kept_n <= SHM_KEPT_MAX) return;
  struct shm_view **at = &l->kept;
  while ((*at)->next != NULL) at = &(*at)->next;
  free_view(l, *at);
  *at = NULL;
  l->kept_n--;
}

void shm_view_remove(struct tp_lane *l, uint32_t key) {
  struct shm_view *v = look_up(l, key);
  if (v == NULL) return; /* withdrawn before it was announced here */
  l->views[key & 0xffff] = NULL;
  l->views_n--;
  if (v->handed)
    keep(l, v);
  else
    free_view(l, v);
}

void shm_view_free_all(struct tp_lane *l) {
  for (uint32_t i = 0; i < l->views_cap; i++) {
    if (l->views[i] != NULL) free_view(l, l->views[i]);
  }
  free(l->views);
  while (l->kept != NULL) {
    struct shm_view *v = l->kept;
    l->kept = v->next;
    free_view(l, v);
  }
}
