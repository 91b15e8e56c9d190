/*
 * Owns the table of registered memory and its keys, and the check of every place that a peer names. Never touches the memory.
 *
 * A key is a slot of the table and the slot's generation: a key that was given back is refused, until the slot has been used 4095
 * times more. Slots are used again in the order in which they became free, so that this takes long.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "internal.h"

#define SLOT_BITS 20
#define SLOT_MASK ((1u << SLOT_BITS) - 1)
#define GENERATIONS (1u << (32 - SLOT_BITS))
#define NO_SLOT UINT32_MAX
#define FIRST_CAP 64

static int grow(struct mr_table *t, agg_error_t *err) {
  if (t->cap == SLOT_MASK) return err_set(err, AGG_ELIMIT, "more than %u memory regions in one reactor of the tcp transport", t->cap);
  uint32_t cap = t->cap == 0 ? FIRST_CAP : t->cap * 2;
  if (cap > SLOT_MASK) cap = SLOT_MASK;
  struct mr_slot *slots = realloc(t->slots, cap * sizeof *slots);
  if (slots == NULL) return err_set(err, AGG_ENOMEM, "no memory for a table of %u memory regions", cap);
  if (t->cap == 0) t->free_head = t->free_tail = NO_SLOT;
  t->slots = slots;
  t->cap = cap;
  return 0;
}

/* A slot with nothing in it. */
static int take_slot(struct mr_table *t, uint32_t *slot, agg_error_t *err) {
  if (t->cap != 0 && t->free_head != NO_SLOT) {
    *slot = t->free_head;
    t->free_head = t->slots[*slot].next_free;
    if (t->free_head == NO_SLOT) t->free_tail = NO_SLOT;
    return 0;
  }
  if (t->used == t->cap) {
    int rc = grow(t, err);
    if (rc != 0) return rc;
  }
  *slot = t->used++;
  t->slots[*slot] = (struct mr_slot){.generation = 1, .next_free = NO_SLOT};
  return 0;
}

static void give_slot(struct mr_table *t, uint32_t slot) {
  struct mr_slot *s = &t->slots[slot];
  s->spare = s->mr;
  s->mr = NULL;
  s->generation = s->generation + 1 == GENERATIONS ? 1 : s->generation + 1;
  s->next_free = NO_SLOT;
  if (t->free_tail == NO_SLOT)
    t->free_head = slot;
  else
    t->slots[t->free_tail].next_free = slot;
  t->free_tail = slot;
}

int tcp_mem_reg(struct tp *tp, const struct tp_mem *mem, struct tp_mr **mr, agg_error_t *err) {
  uint32_t slot = 0;
  int rc = take_slot(&tp->mem, &slot, err);
  if (rc != 0) return rc;
  struct mr_slot *s = &tp->mem.slots[slot];
  struct tp_mr *r = s->spare != NULL ? s->spare : calloc(1, sizeof *r);
  if (r == NULL) {
    give_slot(&tp->mem, slot);
    return err_set(err, AGG_ENOMEM, "no memory to register a region");
  }
  s->spare = NULL;
  *r = (struct tp_mr){.tp = tp, .addr = mem->addr, .len = mem->len, .domain = mem->domain, .key = s->generation << SLOT_BITS | slot};
  s->mr = r;
  *mr = r;
  return 0;
}

void tcp_mem_dereg(struct tp *tp, struct tp_mr *mr) {
  if (mr == NULL) return;
  uint32_t slot = mr->key & SLOT_MASK;
  assert(mr->tp == tp && slot < tp->mem.used && tp->mem.slots[slot].mr == mr);
  for (struct tp_lane *l = tp->lanes; l != NULL; l = l->next) {
    if (l->rx_mr == mr) tcp_lane_lost(l, "memory was deregistered while %s was writing into it", l->peer);
  }
  give_slot(&tp->mem, slot);
}

struct tp_raddr tcp_raddr(struct tp_lane *lane, const struct tp_mr *mr, const void *ptr) {
  (void)lane;
  const char *at = ptr;
  assert(at >= mr->addr && at <= mr->addr + mr->len);
  return (struct tp_raddr){.key = mr->key, .off = (uint64_t)(at - mr->addr)};
}

struct tp_mr *tcp_mem_find(const struct tp *tp, struct tp_raddr at, uint64_t len, uint64_t domain, const char **why) {
  uint32_t slot = at.key & SLOT_MASK;
  struct tp_mr *mr = slot < tp->mem.used ? tp->mem.slots[slot].mr : NULL;
  *why = "no memory is registered under that key";
  if (mr == NULL || mr->key != at.key) return NULL;
  *why = "that memory belongs to others";
  if (mr->domain != 0 && mr->domain != domain) return NULL;
  *why = "the range is not inside the registered memory";
  if (at.off > mr->len || len > mr->len - at.off) return NULL;
  return mr;
}

void tcp_mem_fini(struct tp *tp) {
  for (uint32_t i = 0; i < tp->mem.used; i++) {
    free(tp->mem.slots[i].mr);
    free(tp->mem.slots[i].spare);
  }
  free(tp->mem.slots);
}
