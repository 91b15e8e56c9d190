/*
 * Owns the tools of the conformance suite: ends, lanes with a record of their events, registered memory between guards. The checks that
 * hold for every event (no event after TP_LOST, TP_CONNECTED first and once, ...) are made here, in every test.
 */
#include "conform.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD 4096
#define GUARD_BYTE 0xa5
#define QUIET_TURNS 300

static const struct conform *current;
static struct end ends[CONFORM_ENDS];
static struct rng turns;
static int sleeping, fds_before, sleep_fd;

const struct conform *conform_current(void) { return current; }
void conform_use(const struct conform *c) { current = c; }

/* ---- ends ---- */

static int count_fds(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  ck_assert_ptr_nonnull(d);
  while (readdir(d) != NULL) n++;
  closedir(d);
  return n;
}

void conform_setup(void) {
  memset(ends, 0, sizeof ends);
  turns.state = 1;
  sleeping = 0;
  fds_before = count_fds();
  if (current->begin != NULL) current->begin();
}

void conform_teardown(void) {
  turn_sleeping(0);
  for (int i = 0; i < CONFORM_ENDS; i++) end_close(&ends[i]);
  if (current->end != NULL) current->end();
  ck_assert_int_eq(count_fds(), fds_before);
}

struct end *end_open(void) {
  agg_error_t err = {0};
  struct end *e = ends;
  while (e < ends + CONFORM_ENDS && e->tp != NULL) e++;
  ck_assert_msg(e < ends + CONFORM_ENDS, "more than %d ends", CONFORM_ENDS);
  struct tp_config config = {.bind_host = "", .peer_host = ""};
  if (current->config != NULL) current->config(&config);
  ck_assert_msg(current->ops->open(&config, &e->tp, &err) == 0, "open: %s", err.text);
  e->address_len = current->ops->address(e->tp, e->address);
  ck_assert_uint_gt(e->address_len, 0);
  ck_assert_uint_le(e->address_len, TP_ADDRESS_MAX);
  if (sleeping) {
    struct epoll_event ev = {.events = EPOLLIN};
    ck_assert_int_eq(epoll_ctl(sleep_fd, EPOLL_CTL_ADD, current->ops->fd(e->tp), &ev), 0);
  }
  return e;
}

void end_close(struct end *e) {
  current->ops->close(e->tp);
  e->tp = NULL;
}

static void take_event(const struct tp_event *ev) {
  struct lane *l = ev->user;
  ck_assert_ptr_nonnull(l);
  ck_assert_msg(l->lane == NULL || l->lane == ev->lane, "an event of a lane that was closed");
  ck_assert_msg(!l->lost, "an event (%d) after TP_LOST", (int)ev->kind);
  ck_assert_msg(l->connected || ev->kind == TP_CONNECTED || ev->kind == TP_LOST, "an event (%d) before TP_CONNECTED", (int)ev->kind);
  switch (ev->kind) {
    case TP_CONNECTED:
      ck_assert_msg(!l->connected, "TP_CONNECTED twice");
      l->connected = 1;
      l->window = ev->peer_window;
      ck_assert_ptr_nonnull(ev->text);
      ck_assert_msg(strlen(ev->text) >= 3, "TP_CONNECTED does not say over what: \"%s\"", ev->text);
      str_copy(l->over, sizeof l->over, ev->text);
      break;
    case TP_NOTICE:
      l->notice[l->notices % CONFORM_SEEN].notice = ev->notice;
      l->notice[l->notices++ % CONFORM_SEEN].bytes = ev->bytes;
      if (l->on_notice != NULL) l->on_notice(l, ev->notice, ev->bytes);
      break;
    case TP_SENT:
      ck_assert_msg(ev->token != 0, "TP_SENT for a put that asked for none");
      l->sent[l->sents++ % CONFORM_SEEN] = ev->token;
      if (l->on_sent != NULL) l->on_sent(l, ev->token);
      break;
    case TP_LOST:
      l->lost = 1;
      ck_assert_ptr_nonnull(ev->text);
      ck_assert_msg(strlen(ev->text) >= 10, "TP_LOST does not say why: \"%s\"", ev->text);
      str_copy(l->text, sizeof l->text, ev->text);
      break;
  }
}

static int poll_end(struct end *e) {
  struct tp_event events[16];
  int max = 1 + (int)rng_below(&turns, ARRAY_LEN(events));
  int n = current->ops->poll(e->tp, events, max);
  ck_assert_int_ge(n, 0);
  ck_assert_int_le(n, max);
  for (int i = 0; i < n; i++) take_event(&events[i]);
  return n;
}

void turn_sleeping(int on) {
  if (on == sleeping) return;
  sleeping = on;
  if (!on) {
    close(sleep_fd);
    return;
  }
  sleep_fd = epoll_create1(EPOLL_CLOEXEC);
  ck_assert_int_ge(sleep_fd, 0);
  for (struct end *e = ends; e < ends + CONFORM_ENDS; e++) {
    struct epoll_event ev = {.events = EPOLLIN};
    if (e->tp != NULL) ck_assert_int_eq(epoll_ctl(sleep_fd, EPOLL_CTL_ADD, current->ops->fd(e->tp), &ev), 0);
  }
}

/* Only an event may end the sleep; 20 s is the failure guard. */
static void sleep_now(void) {
  struct epoll_event ev;
  for (struct end *e = ends; e < ends + CONFORM_ENDS; e++) {
    if (e->tp != NULL && current->ops->arm(e->tp)) return;
  }
  ck_assert_msg(epoll_wait(sleep_fd, &ev, 1, 20000) == 1, "slept 20 s: an event did not wake");
}

int turn(void) {
  int n = 0;
  if (sleeping) sleep_now();
  for (struct end *e = ends; e < ends + CONFORM_ENDS; e++) {
    if (e->tp != NULL) n += poll_end(e);
  }
  if (n == 0 && current->advance != NULL) current->advance();
  return n;
}

void settle(void) {
  int was = sleeping;
  sleeping = 0;
  for (int quiet = 0; quiet < QUIET_TURNS; quiet++) {
    if (turn() > 0) quiet = 0;
  }
  sleeping = was;
}

/* ---- lanes ---- */

void ticket_of(uint32_t number, unsigned char ticket[TP_TICKET_BYTES]) {
  struct rng r = {.state = number};
  for (int i = 0; i < TP_TICKET_BYTES; i++) ticket[i] = (unsigned char)rng_next(&r);
}

void lane_open(struct lane *l, struct end *e, const struct end *peer, uint32_t ticket, int active, const struct lane_options *options) {
  agg_error_t err = {0};
  struct lane_options none = {0};
  const struct lane_options *o = options != NULL ? options : &none;
  memset(l, 0, sizeof *l);
  l->end = e;
  struct tp_lane_config c = {.active = active, .depth = o->depth != 0 ? o->depth : 16, .domain = o->domain, .index = o->index, .user = l};
  if (o->window != NULL) {
    c.window_mr = o->window->mr;
    c.window_ptr = o->window->at + o->window_off;
  }
  unsigned char address[TP_ADDRESS_MAX];
  memcpy(address, peer->address, peer->address_len);
  c.peer_address = address;
  c.peer_address_len = peer->address_len;
  ticket_of(ticket, c.ticket);
  ck_assert_msg(current->ops->lane_open(e->tp, &c, &l->lane, &err) == 0, "lane_open: %s", err.text);
  memset(&c, 0xee, sizeof c); /* the configuration is copied */
  memset(address, 0xee, sizeof address);
}

void lane_close(struct lane *l) {
  current->ops->lane_close(l->lane);
  l->lane = NULL;
  l->lost = 1; /* no event may follow */
}

void lanes_connect(struct lane *a, struct end *ea, struct lane *b, struct end *eb, uint32_t ticket, const struct lane_options *options) {
  lane_open(b, eb, ea, ticket, 0, options);
  lane_open(a, ea, eb, ticket, 1, options);
  UNTIL((a->connected && b->connected) || a->lost || b->lost);
  ck_assert_msg(!a->lost && !b->lost, "lost while connecting: %s %s", a->text, b->text);
}

void lanes_alive(struct lane *a, struct lane *b) {
  struct tp_src nothing = {0};
  struct tp_raddr nowhere = {0};
  uint32_t at_a = a->notices, at_b = b->notices;
  current->ops->put(a->lane, &nothing, 1, nowhere, 0xabcd0001, 0);
  current->ops->put(b->lane, &nothing, 1, nowhere, 0xabcd0002, 0);
  UNTIL((a->notices > at_a && b->notices > at_b) || a->lost || b->lost);
  ck_assert_msg(!a->lost && !b->lost, "lost: %s %s", a->text, b->text);
  ck_assert_uint_eq(b->notice[at_b % CONFORM_SEEN].notice, 0xabcd0001);
  ck_assert_uint_eq(a->notice[at_a % CONFORM_SEEN].notice, 0xabcd0002);
}

/* ---- memory ---- */

unsigned char pattern(uint32_t seed, size_t i) { return (unsigned char)((i * 2654435761u + seed * 40503u) >> 7 ^ i >> 16 ^ seed); }

void pattern_fill(void *at, size_t len, uint32_t seed) {
  for (size_t i = 0; i < len; i++) ((unsigned char *)at)[i] = pattern(seed, i);
}

void pattern_check(const void *at, size_t len, uint32_t seed) {
  const unsigned char *p = at;
  for (size_t i = 0; i < len; i++) {
    if (p[i] != pattern(seed, i)) ck_abort_msg("byte %zu of %zu is %#x, expected %#x (pattern %u)", i, len, p[i], pattern(seed, i), seed);
  }
}

void byte_check(const void *at, size_t len, unsigned char byte) {
  const unsigned char *p = at;
  for (size_t i = 0; i < len; i++) {
    if (p[i] != byte) ck_abort_msg("byte %zu of %zu was written: %#x, expected %#x", i, len, p[i], byte);
  }
}

void mem_open(struct mem *m, struct end *e, size_t len, int backed, uint64_t domain) {
  agg_error_t err = {0};
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  *m = (struct mem){.end = e, .len = len, .fd = -1};
  m->map_len = (size_t)round_up_u64(len + 2 * GUARD, page);
  if (backed) {
    m->fd = memfd_create("conform", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ck_assert_int_ge(m->fd, 0);
    ck_assert_int_eq(ftruncate(m->fd, (off_t)m->map_len), 0);
  }
  m->map = mmap(NULL, m->map_len, PROT_READ | PROT_WRITE, backed ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, m->fd, 0);
  ck_assert_ptr_ne(m->map, MAP_FAILED);
  memset(m->map, GUARD_BYTE, m->map_len);
  m->at = m->map + GUARD;
  struct tp_mem mem = {.addr = m->at, .len = len, .fd = m->fd, .fd_off = GUARD, .domain = domain};
  ck_assert_msg(current->ops->mem_reg(e->tp, &mem, &m->mr, &err) == 0, "mem_reg: %s", err.text);
}

void mem_check_guards(const struct mem *m) {
  for (size_t i = 0; i < m->map_len; i++) {
    if (m->map + i >= m->at && m->map + i < m->at + m->len) continue;
    if (m->map[i] != GUARD_BYTE) ck_abort_msg("a byte outside the region was written, at offset %td", m->map + i - m->at);
  }
}

void mem_close(struct mem *m) {
  mem_check_guards(m);
  current->ops->mem_dereg(m->end->tp, m->mr);
  mem_forget(m);
}

void mem_forget(struct mem *m) {
  munmap(m->map, m->map_len);
  if (m->fd >= 0) close(m->fd);
  m->map = NULL;
}

struct tp_raddr mem_raddr(const struct lane *l, const struct mem *m, size_t off) {
  ck_assert_ptr_eq(l->end, m->end);
  return current->ops->raddr(l->lane, m->mr, m->at + off);
}

void put_one(struct lane *l, const struct mem *from, size_t off, size_t len, struct tp_raddr dst, uint32_t notice, uint64_t token) {
  struct tp_src src = {.base = from->at + off, .len = len, .mr = from->mr};
  current->ops->put(l->lane, &src, 1, dst, notice, token);
}

void put_two(struct lane *l, const struct mem *from, size_t off, size_t head, size_t len, struct tp_raddr dst, uint32_t notice,
             uint64_t token) {
  unsigned char header[64];
  ck_assert_uint_le(head, sizeof header);
  memcpy(header, from->at + off, head);
  struct tp_src src[2] = {{.base = header, .len = head}, {.base = from->at + off + head, .len = len - head, .mr = from->mr}};
  current->ops->put(l->lane, src, 2, dst, notice, token);
  memset(header, 0xee, sizeof header);
}

/* ---- the pair ---- */

void pair_open(struct pair *p, size_t bytes, int backed, const struct lane_options *options) {
  p->a = end_open();
  p->b = end_open();
  uint64_t domain = options != NULL ? options->domain : 0;
  mem_open(&p->ma, p->a, bytes, backed, domain);
  mem_open(&p->mb, p->b, bytes, backed, domain);
  struct lane_options oa = {0}, ob;
  if (options != NULL) oa = *options;
  ob = oa;
  oa.window = &p->ma;
  ob.window = &p->mb;
  lane_open(&p->lb, p->b, p->a, 1, 0, &ob);
  lane_open(&p->la, p->a, p->b, 1, 1, &oa);
  UNTIL((p->la.connected && p->lb.connected) || p->la.lost || p->lb.lost);
  ck_assert_msg(!p->la.lost && !p->lb.lost, "lost while connecting: %s %s", p->la.text, p->lb.text);
}

void pair_close(struct pair *p) {
  if (p->la.lane != NULL) lane_close(&p->la);
  if (p->lb.lane != NULL) lane_close(&p->lb);
  if (p->ma.map != NULL) mem_close(&p->ma);
  if (p->mb.map != NULL) mem_close(&p->mb);
  end_close(p->a);
  end_close(p->b);
}

Suite *conform_suite(const struct conform *c) {
  Suite *s = suite_create(c->ops->name);
  conform_use(c);
  conform_add_connect(s);
  conform_add_put(s);
  conform_add_lost(s);
  conform_add_fence(s);
  if (!c->no_sleep) conform_add_sleep(s);
  return s;
}
