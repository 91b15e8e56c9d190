/*
 * Peers and strangers that break the rules of shared memory: on the listening socket, on a lane's socket, and in the lane's memory. Each
 * gets its connection dropped or its lane lost, with words; nobody else is harmed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/conform.h"
#include "transport/shm/shm.h"

static const struct conform shm = {.ops = &tp_shm};

static uint32_t count_guests(const struct end *e) {
  uint32_t n = 0;
  for (const struct shm_guest *g = e->tp->guests; g != NULL; g = g->next) n += !g->gone;
  return n;
}

/* ---- strangers at the listening socket ---- */

static int knock(const struct end *e) {
  int fd = -1;
  ck_assert_int_eq(shm_sock_connect(e->tp->address.name, &fd), 0);
  return fd;
}

static int is_closed(int fd) {
  char c[sizeof(struct shm_msg)];
  return recv(fd, c, sizeof c, MSG_DONTWAIT) == 0;
}

static int memory(size_t bytes, int seals) {
  int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
  if (seals != 0) ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
  return fd;
}

static const struct {
  size_t len;
  uint32_t magic;
  uint16_t version, type;
} strange[] = {
    {1, SHM_MAGIC, SHM_VERSION, SHM_MSG_HELLO},
    {8, SHM_MAGIC, SHM_VERSION, SHM_MSG_HELLO},
    {sizeof(struct shm_msg) - 1, SHM_MAGIC, SHM_VERSION, SHM_MSG_HELLO},
    {sizeof(struct shm_msg) + 1, SHM_MAGIC, SHM_VERSION, SHM_MSG_HELLO},
    {sizeof(struct shm_msg), 0x20544547u, SHM_VERSION, SHM_MSG_HELLO}, /* "GET " */
    {sizeof(struct shm_msg), SHM_MAGIC, SHM_VERSION + 1, SHM_MSG_HELLO},
    {sizeof(struct shm_msg), SHM_MAGIC, SHM_VERSION, SHM_MSG_WELCOME},
    {sizeof(struct shm_msg), SHM_MAGIC, SHM_VERSION, SHM_MSG_REGION},
    {sizeof(struct shm_msg), SHM_MAGIC, SHM_VERSION, 77},
    {8, SHM_MAGIC, SHM_VERSION, SHM_MSG_BELL},
    {60000, 0, 0, 0},
};

START_TEST(strange_words) {
  static unsigned char bytes[60000];
  struct end *e = end_open();
  int fd = knock(e);
  struct shm_msg m = {.magic = strange[_i].magic, .version = strange[_i].version, .type = strange[_i].type};
  memset(bytes, 0, sizeof bytes);
  memcpy(bytes, &m, sizeof m);
  ck_assert_int_eq(send(fd, bytes, strange[_i].len, 0), (ssize_t)strange[_i].len);
  UNTIL(is_closed(fd));
  ck_assert_uint_eq(count_guests(e), 0);
  close(fd);
}
END_TEST

/* Somebody who says nothing is sent away; nobody waits 5 s here: its time is set. */
START_TEST(silence) {
  struct end *e = end_open();
  int fd = knock(e);
  UNTIL(e->tp->guests != NULL);
  ck_assert_uint_ne(e->tp->timer_ms, 0); /* it is looked after even when all sleep */
  ck_assert(e->tp->guests->until_ns <= clock_now_ns() + SHM_GUEST_NS);
  e->tp->guests->until_ns = 0;
  UNTIL(is_closed(fd));
  UNTIL(e->tp->timer_ms == 0);
  close(fd);
}
END_TEST

/* A hello with a ticket that nobody has: parked, with what it brought, then sent away. */
START_TEST(unknown_ticket) {
  struct end *e = end_open();
  int fd = knock(e);
  int mem = memory(1 << 20, F_SEAL_SHRINK);
  struct shm_msg hello = {.ring = 16, .bounce = SHM_BOUNCE_BYTES, .ticket = {1, 2, 3}};
  ck_assert_int_eq(shm_sock_send(fd, &hello, SHM_MSG_HELLO, mem), 0);
  close(mem);
  UNTIL(e->tp->guests != NULL && e->tp->guests->greeted);
  e->tp->guests->until_ns = 0;
  struct shm_msg answer;
  int got = 0, passed = -1;
  UNTIL(got = shm_sock_recv(fd, &answer, &passed));
  ck_assert_int_eq(got, 1);
  ck_assert_uint_eq(answer.type, SHM_MSG_AGAIN);
  UNTIL(is_closed(fd));
  close(fd);
}
END_TEST

/* A flood: what is kept is bounded, and a lane still connects in the middle of it. */
START_TEST(flood) {
  enum { MANY = SHM_GUESTS_MAX + 100 };
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb;
  static int fds[MANY];
  uint32_t seen = 0;
  for (int i = 0; i < MANY; i++) {
    int rc;
    while ((rc = shm_sock_connect(b->tp->address.name, &fds[i])) == -EAGAIN) turn();
    ck_assert_int_eq(rc, 0);
    if (i % 64 == 0) turn();
    seen = MAX_OF(seen, b->tp->n_guests);
  }
  lanes_connect(&la, a, &lb, b, 1, NULL);
  lanes_alive(&la, &lb);
  ck_assert_uint_le(count_guests(b), SHM_GUESTS_MAX);
  ck_assert_uint_gt(count_guests(b), 100);
  for (int i = 0; i < MANY; i++) close(fds[i]);
  UNTIL(count_guests(b) == 0);
  lane_close(&la);
  lane_close(&lb);
}
END_TEST

/* The right ticket with memory that cannot be trusted: the lane is lost, and nothing is mapped. */
static const struct {
  size_t bytes;
  int seals; /* -1: no descriptor, -2: a pipe */
  uint32_t ring;
  uint64_t bounce;
  const char *text;
} offers[] = {
    {2 << 20, -1, 16, SHM_BOUNCE_BYTES, "without the lane's memory"},
    {2 << 20, -2, 16, SHM_BOUNCE_BYTES, "sealed"},
    {2 << 20, 0, 16, SHM_BOUNCE_BYTES, "sealed"},
    {2 << 20, F_SEAL_GROW, 16, SHM_BOUNCE_BYTES, "sealed"},
    {4096, F_SEAL_SHRINK, 16, SHM_BOUNCE_BYTES, "4096 bytes"},
    {0, F_SEAL_SHRINK, 16, SHM_BOUNCE_BYTES, "0 bytes"},
    {2 << 20, F_SEAL_SHRINK, 0, SHM_BOUNCE_BYTES, "ring of 0 entries"},
    {2 << 20, F_SEAL_SHRINK, 17, SHM_BOUNCE_BYTES, "ring of 17 entries"},
    {2 << 20, F_SEAL_SHRINK, 8, SHM_BOUNCE_BYTES, "ring of 8 entries"},
    {2 << 20, F_SEAL_SHRINK, 1u << 31, SHM_BOUNCE_BYTES, "ring of 2147483648"},
    {2 << 20, F_SEAL_SHRINK, 16, SHM_BOUNCE_BYTES * 2, "524288 bounce bytes"},
    {2 << 20, F_SEAL_SHRINK | F_SEAL_WRITE, 16, SHM_BOUNCE_BYTES, "cannot map"},
};

START_TEST(bad_offer) {
  struct end *e = end_open();
  struct lane l;
  int pipes[2] = {-1, -1}, mem = -1;
  lane_open(&l, e, e, 5, 0, NULL);
  struct shm_msg hello = {.ring = offers[_i].ring, .bounce = offers[_i].bounce};
  ticket_of(5, hello.ticket);
  if (offers[_i].seals == -2) {
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    mem = pipes[0];
  } else if (offers[_i].seals >= 0) {
    mem = memory(offers[_i].bytes, offers[_i].seals);
  }
  int fd = knock(e);
  ck_assert_int_eq(shm_sock_send(fd, &hello, SHM_MSG_HELLO, mem), 0);
  UNTIL(l.lost);
  ck_assert_msg(strstr(l.text, offers[_i].text) != NULL, "text: %s", l.text);
  lane_close(&l);
  UNTIL(is_closed(fd));
  close(fd);
  if (mem >= 0) close(mem);
  if (pipes[1] >= 0) close(pipes[1]);
}
END_TEST

/* ---- a peer in the lane's memory ---- */

struct bad_entry {
  struct shm_entry e;
  const char *text;
};

#define DST .dst_key = 0, .dst_off = 0 /* key 0 stands for the region's */
static const struct bad_entry bad_entries[] = {
    {{.kind = SHM_ENTRY_KINDS}, "unknown kind"},
    {{.kind = 255}, "unknown kind"},
    {{.inline_len = 89, DST}, "more inline bytes"},
    {{.inline_len = 255, DST}, "more inline bytes"},
    {{.kind = SHM_ENTRY_INLINE, .len = 5, DST}, "an inline entry with other bytes"},
    {{.kind = SHM_ENTRY_PLACED, .inline_len = 5, .len = 5, DST}, "a placed entry"},
    {{.kind = SHM_ENTRY_INLINE, .more = 1}, "a part without bytes"},
    {{.inline_len = 8, .dst_key = 0xffffffff}, "destination"},
    {{.inline_len = 8, .dst_key = 0x00010040}, "destination"},
    {{.inline_len = 8, .dst_off = 65536 - 7}, "destination"},
    {{.inline_len = 8, .dst_off = UINT64_MAX}, "destination"},
    {{.inline_len = 8, .dst_off = UINT64_MAX - 7}, "destination"},
    {{.kind = SHM_ENTRY_PLACED, .len = 65537}, "destination"},
    {{.kind = SHM_ENTRY_PLACED, .len = UINT32_MAX}, "destination"},
    {{.kind = SHM_ENTRY_BOUNCE, .len = UINT32_MAX, .inline_len = 88}, "4 GiB"},
    {{.kind = SHM_ENTRY_BOUNCE, .len = 100, .src_at = SHM_BOUNCE_BYTES - 99}, "bounce area"},
    {{.kind = SHM_ENTRY_BOUNCE, .len = 100, .src_at = UINT64_MAX}, "bounce area"},
    {{.kind = SHM_ENTRY_REGION, .len = 100, .src_key = 0}, "has announced"},
    {{.kind = SHM_ENTRY_REGION, .len = 100, .src_key = 0xffffffff}, "has announced"},
    {{.kind = SHM_ENTRY_REGION, .len = 100, .src_key = 0x00010000, .src_at = 65500}, "has announced"},
    {{.kind = SHM_ENTRY_REGION, .len = 100, .src_key = 0x00010000, .src_at = UINT64_MAX}, "has announced"},
    {{.kind = SHM_ENTRY_PRIVATE, .len = 100, .src_at = 8}, "not memory of that process"},
    {{.kind = SHM_ENTRY_PRIVATE, .len = 100, .src_at = UINT64_MAX - 50}, "not memory of that process"},
};

static void inject(struct lane *l, const struct shm_entry *from) {
  struct shm_mem *m = &l->lane->mem;
  struct shm_entry *e = &m->out[l->lane->out_pos & (m->ring - 1)];
  e->kind = from->kind;
  e->more = from->more;
  e->inline_len = from->inline_len;
  e->notice = from->notice;
  e->len = from->len;
  e->dst_key = from->dst_key;
  e->src_key = from->src_key;
  e->dst_off = from->dst_off;
  e->src_at = from->src_at;
  atomic_store(&e->stamp, ++l->lane->out_pos);
}

START_TEST(bad_entry) {
  struct pair p;
  struct lane la, lb;
  pair_open(&p, 65536, MEM_BACKED, NULL);
  lanes_connect(&la, p.a, &lb, p.b, 2, NULL);
  settle();
  struct shm_entry e = bad_entries[_i].e;
  if (e.dst_key == 0) e.dst_key = mem_raddr(&p.lb, &p.mb, 0).key;
  memset(p.mb.at, 0x22, 65536);
  inject(&p.la, &e);
  UNTIL(p.lb.lost && p.la.lost);
  ck_assert_msg(strstr(p.lb.text, bad_entries[_i].text) != NULL, "text: %s", p.lb.text);
  ck_assert_uint_eq(p.lb.notices, 0);
  if (e.kind != SHM_ENTRY_PRIVATE) {
    for (size_t i = 0; i < 65536; i++) {
      if (p.mb.at[i] != 0x22) ck_abort_msg("byte %zu was written", i);
    }
  }
  mem_check_guards(&p.mb);
  lanes_alive(&la, &lb);
  pair_close(&p);
}
END_TEST

/* Entries that end after the peer's end has shut: complete ones count, those that refer to its memory are void. */
START_TEST(void_references) {
  struct pair p;
  pair_open(&p, 65536, MEM_BACKED, NULL);
  settle();
  memset(p.ma.at, 0x77, 65536);
  memset(p.mb.at, 0x22, 65536);
  shm_force_path(p.a->tp, SHM_PATH_BOUNCE);
  put_one(&p.la, &p.ma, 0, 100, mem_raddr(&p.lb, &p.mb, 0), 1, 0);
  shm_force_path(p.a->tp, _i ? SHM_PATH_PRIVATE : SHM_PATH_REGION);
  put_one(&p.la, &p.ma, 0, 4096, mem_raddr(&p.lb, &p.mb, 4096), 2, 0);
  lane_close(&p.la);
  UNTIL(p.lb.lost);
  ck_assert_uint_eq(p.lb.notices, 1);
  ck_assert_uint_eq(p.mb.at[99], 0x77);
  ck_assert_ptr_nonnull(strstr(p.lb.text, "closed the lane"));
  pair_close(&p);
}
END_TEST

/* A stamp that is not the next one is no entry: nothing happens. */
START_TEST(wild_stamps) {
  struct pair p;
  pair_open(&p, 4096, MEM_PLAIN, NULL);
  struct shm_mem *m = &p.la.lane->mem;
  for (uint32_t i = 0; i < m->ring; i++) atomic_store(&m->out[i].stamp, 0xdeadbeef + i);
  settle();
  ck_assert_uint_eq(p.lb.notices, 0);
  lanes_alive(&p.la, &p.lb); /* writes its own stamp over it */
  pair_close(&p);
}
END_TEST

START_TEST(consumed_what_was_not_sent) {
  struct pair p;
  const uint32_t wild[] = {1, 2, 1000, 0x80000000u, UINT32_MAX - 1};
  pair_open(&p, 65536, MEM_PLAIN, NULL);
  shm_force_path(p.a->tp, SHM_PATH_PRIVATE);
  for (int i = 0; i < _i % 2; i++) {
    put_one(&p.la, &p.ma, 0, 4096, mem_raddr(&p.lb, &p.mb, 0), 1, 1);
    UNTIL(p.la.sents == 1);
  }
  put_one(&p.la, &p.ma, 0, 4096, mem_raddr(&p.lb, &p.mb, 0), 1, 2);
  atomic_store(&p.lb.lane->mem.own->consumed, p.la.lane->out_pos + wild[_i]);
  struct tp_event ev[4];
  int n = tp_shm.poll(p.a->tp, ev, 4);
  ck_assert_int_eq(n, 1);
  ck_assert_int_eq(ev[0].kind, TP_LOST);
  ck_assert_ptr_nonnull(strstr(ev[0].text, "has consumed"));
  p.la.lost = 1;
  UNTIL(p.lb.lost);
  pair_close(&p);
}
END_TEST

/* Random bytes all over the lane's memory: lost or not, nothing outside the region is touched and nothing crashes. */
START_TEST(noise) {
  struct pair p;
  struct rng r = {.state = (uint64_t)_i + 1};
  pair_open(&p, 65536, _i & 1, NULL);
  settle();
  struct shm_mem *m = &p.la.lane->mem;
  for (int i = 0; i < 3000 && !p.lb.lost; i++) {
    struct shm_entry e = {0};
    e.kind = (uint8_t)rng_below(&r, SHM_ENTRY_KINDS);
    e.inline_len = (uint8_t)rng_below(&r, e.kind == SHM_ENTRY_PLACED ? 1 : SHM_INLINE_MAX + 1);
    e.len = e.kind == SHM_ENTRY_INLINE ? 0 : (uint32_t)rng_below(&r, 70000);
    e.more = rng_below(&r, 8) == 0;
    e.dst_key = mem_raddr(&p.lb, &p.mb, 0).key;
    e.dst_off = rng_below(&r, 66000);
    e.src_key = mem_raddr(&p.la, &p.ma, 0).key;
    e.src_at = e.kind == SHM_ENTRY_PRIVATE ? (uint64_t)(uintptr_t)p.ma.at : rng_below(&r, 1 << 17);
    if (i > 1000) ((unsigned char *)m->out)[rng_below(&r, m->ring * sizeof e)] = (unsigned char)rng_next(&r);
    inject(&p.la, &e);
    turn();
  }
  mem_check_guards(&p.mb);
  mem_check_guards(&p.ma);
  pair_close(&p);
}
END_TEST

/* ---- a peer on the lane's socket ---- */

static const struct {
  enum shm_msg_type type;
  int seals; /* as in offers */
  uint64_t len, off;
  uint32_t key;
  const char *text;
} messages[] = {
    {SHM_MSG_HELLO, -1, 0, 0, 0, "message 1 while the lane was open"},
    {SHM_MSG_WELCOME, -1, 0, 0, 0, "message 2 while the lane was open"},
    {99, -1, 0, 0, 0, "message 99"},
    {SHM_MSG_REGION, -1, 4096, 0, 0x00010001, "without a descriptor"},
    {SHM_MSG_REGION, -2, 4096, 0, 0x00010001, "sealed"},
    {SHM_MSG_REGION, 0, 4096, 0, 0x00010001, "sealed"},
    {SHM_MSG_REGION, F_SEAL_SHRINK, 4097, 0, 0x00010001, "beyond its file"},
    {SHM_MSG_REGION, F_SEAL_SHRINK, 4096, 1, 0x00010001, "beyond its file"},
    {SHM_MSG_REGION, F_SEAL_SHRINK, UINT64_MAX, 1, 0x00010001, "beyond its file"},
    {SHM_MSG_REGION, F_SEAL_SHRINK, 1, UINT64_MAX, 0x00010001, "beyond its file"},
    {SHM_MSG_REGION, F_SEAL_SHRINK, 0, 0, 0x00010001, "no key or no bytes"},
    {SHM_MSG_REGION, F_SEAL_SHRINK, 4096, 0, 0x00000001, "no key or no bytes"},
    {SHM_MSG_REGION, F_SEAL_SHRINK, 4096, 0, 0x00010000, "announced before"},
    {SHM_MSG_REGION, F_SEAL_SHRINK | F_SEAL_WRITE, 4096, 0, 0x00010001, "cannot map"},
};

START_TEST(bad_message) {
  struct pair p;
  int pipes[2] = {-1, -1}, fd = -1;
  pair_open(&p, 4096, MEM_BACKED, NULL); /* has key 0x00010000 at both ends */
  settle();
  if (messages[_i].seals == -2) {
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    fd = pipes[0];
  } else if (messages[_i].seals >= 0) {
    fd = memory(4096, messages[_i].seals);
  }
  struct shm_msg m = {.len = messages[_i].len, .file_off = messages[_i].off, .key = messages[_i].key, .seq = 9};
  ck_assert_int_eq(shm_sock_send(p.la.lane->watch.fd, &m, messages[_i].type, fd), 0);
  UNTIL(p.lb.lost && p.la.lost);
  ck_assert_msg(strstr(p.lb.text, messages[_i].text) != NULL, "text: %s", p.lb.text);
  if (fd >= 0) close(fd);
  if (pipes[1] >= 0) close(pipes[1]);
  pair_close(&p);
}
END_TEST

START_TEST(too_many_announcements) {
  struct pair p;
  pair_open(&p, 4096, MEM_PLAIN, NULL);
  int fd = memory(4096, F_SEAL_SHRINK);
  for (uint32_t i = 0; i <= SHM_VIEWS_MAX && !p.lb.lost; i++) {
    struct shm_msg m = {.len = 1, .key = 0x00010000 | i, .seq = i + 1};
    int rc;
    while ((rc = shm_sock_send(p.la.lane->watch.fd, &m, SHM_MSG_REGION, fd)) == -EAGAIN || rc == -ETOOMANYREFS) turn();
    ck_assert_int_eq(rc, 0);
  }
  UNTIL(p.lb.lost);
  ck_assert_ptr_nonnull(strstr(p.lb.text, "too many"));
  close(fd);
  pair_close(&p);
}
END_TEST

/* Bells without end, and to a lane that is lost: they cost a look, no more. */
START_TEST(bells) {
  struct pair p;
  pair_open(&p, 4096, MEM_PLAIN, NULL);
  for (int i = 0; i < 2000; i++) shm_sock_bell(p.la.lane->watch.fd);
  lanes_alive(&p.la, &p.lb);
  (void)tp_shm.fence(p.lb.lane);
  for (int i = 0; i < 2000; i++) shm_sock_bell(p.la.lane->watch.fd);
  UNTIL(p.la.lost);
  pair_close(&p);
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("shm_hostile");
  TCase *t = tcase_create("hostile");
  conform_use(&shm);
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, strange_words, 0, (int)ARRAY_LEN(strange));
  tcase_add_test(t, silence);
  tcase_add_test(t, unknown_ticket);
  tcase_add_test(t, flood);
  tcase_add_loop_test(t, bad_offer, 0, (int)ARRAY_LEN(offers));
  tcase_add_loop_test(t, bad_entry, 0, (int)ARRAY_LEN(bad_entries));
  tcase_add_loop_test(t, void_references, 0, 2);
  tcase_add_test(t, wild_stamps);
  tcase_add_loop_test(t, consumed_what_was_not_sent, 0, 5);
  tcase_add_loop_test(t, noise, 0, 20);
  tcase_add_loop_test(t, bad_message, 0, (int)ARRAY_LEN(messages));
  tcase_add_test(t, too_many_announcements);
  tcase_add_test(t, bells);
  suite_add_tcase(s, t);
  return s;
}
