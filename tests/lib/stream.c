/*
 * Owns the memory of streams, and checks every notice as it comes: in order, once, with its bytes. Never waits: the test turns.
 */
#include "stream.h"

#define SLOTS 8
#define SLOT 3000
#define SOURCES 16

static void landed(struct lane *l, uint32_t notice, uint32_t bytes) {
  const struct stream *s = l->data;
  ck_assert_uint_eq(notice, l->notices - 1);
  ck_assert_uint_eq(bytes, SLOT);
  pattern_check(s->target.at + (size_t)(notice % SLOTS) * SLOT, SLOT, notice);
}

static void reported(struct lane *l, uint64_t token) { ck_assert_uint_eq(token, l->sents); }

void stream_open(struct stream *s, struct lane *from, struct lane *to) {
  *s = (struct stream){.from = from, .to = to};
  mem_open(&s->source, from->end, (size_t)SOURCES * SLOT, MEM_PLAIN, 0);
  mem_open(&s->target, to->end, (size_t)SLOTS * SLOT, MEM_PLAIN, 0);
  s->at = mem_raddr(to, &s->target, 0);
  to->data = s;
  to->on_notice = landed;
  from->on_sent = reported;
}

void stream_step(struct stream *s) {
  while (s->puts < s->total && s->puts - s->to->notices < SLOTS && s->puts - s->from->sents < STREAM_DEPTH) {
    size_t off = (size_t)(s->puts % SOURCES) * SLOT;
    struct tp_raddr at = {.key = s->at.key, .off = s->at.off + (uint64_t)(s->puts % SLOTS) * SLOT};
    pattern_fill(s->source.at + off, SLOT, s->puts);
    if (s->puts & 1)
      put_two(s->from, &s->source, off, 48, SLOT, at, s->puts, s->puts + 1);
    else
      put_one(s->from, &s->source, off, SLOT, at, s->puts, s->puts + 1);
    s->puts++;
  }
}

int stream_done(const struct stream *s) { return s->to->notices == s->total && s->from->sents == s->total; }
