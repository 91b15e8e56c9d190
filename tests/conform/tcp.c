/*
 * The conformance suite over TCP, and what only TCP has: strangers at the door, peers that speak the protocol badly or slowly, hosts
 * that do not answer. Raw sockets play the other end (tests/lib/rawtcp.h).
 */
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/conform.h"
#include "tests/lib/rawtcp.h"
#include "transport/tcp/internal.h"
#include "transport/tps.h"

static const char *bind_host = "127.0.0.1", *peer_host = "";

static void config(struct tp_config *c) {
  c->bind_host = bind_host;
  c->peer_host = peer_host;
}

static const struct conform conform = {.ops = &tp_tcp, .config = config};

/* ---- strangers ---- */

/* What stranger `kind` says, and whether it is dropped for it at once. */
static size_t stranger_says(int kind, unsigned char out[256], int *dropped) {
  *dropped = 1;
  memset(out, 0, 256);
  rawtcp_hello(4242, out);
  switch (kind) {
    case 0:
      out[0] = 'X';
      return 64; /* magic */
    case 1:
      out[4] = 9;
      return 64; /* version */
    case 2:
      out[6] = TCP_WELCOME;
      return 64; /* kind */
    case 3:
      out[45] = 1;
      return 64; /* reserved */
    case 4:
      out[63] = 1;
      return 64; /* reserved */
    case 5:
      memset(out, 0xff, 256);
      return 256; /* noise */
    case 6:
      memcpy(out, "GET / HTTP/1.1\r\nHost: a-name-that-is-long-enough.example\r\n\r\n", 61);
      return 200;
    case 7:
      *dropped = 0;
      return 64; /* no such lane (yet) */
    case 8:
      *dropped = 0;
      return 63; /* stops before the end */
    case 9:
      return 65; /* says more before it is welcomed */
    default:
      *dropped = 0;
      return 0; /* silent */
  }
}

START_TEST(strangers_do_no_harm) {
  enum { N = 20 };
  unsigned char words[256];
  int s[N], dropped;
  struct pair p;
  struct lane la, lb;
  pair_open(&p, 65536, MEM_PLAIN, NULL);
  size_t len = stranger_says(_i, words, &dropped);
  for (int i = 0; i < N; i++) {
    s[i] = rawtcp_connect(p.b);
    rawtcp_send(s[i], words, len);
    turn();
  }
  lanes_alive(&p.la, &p.lb);
  for (int i = 0; i < N && dropped; i++) UNTIL(rawtcp_ended(s[i]));
  if (!dropped) ck_assert_uint_eq(p.b->tp->n_strangers, N);
  lanes_connect(&la, p.a, &lb, p.b, 2, NULL);
  for (int i = 0; i < N; i++) i % 2 ? close(s[i]) : rawtcp_reset(s[i]);
  UNTIL(p.b->tp->n_strangers == 0);
  lanes_alive(&p.la, &p.lb);
  lanes_alive(&la, &lb);
  pair_close(&p);
}
END_TEST

START_TEST(strangers_are_bounded) {
  enum { N = 300 };
  static int s[N];
  struct pair p;
  struct lane la, lb;
  pair_open(&p, 65536, MEM_PLAIN, NULL);
  for (int i = 0; i < N; i++) {
    s[i] = rawtcp_connect(p.b);
    turn();
    ck_assert_uint_le(p.b->tp->n_strangers, TCP_STRANGERS_MAX);
  }
  for (int i = 0; i < N - TCP_STRANGERS_MAX; i++) UNTIL(rawtcp_ended(s[i])); /* the oldest went */
  ck_assert(!rawtcp_ended(s[N - 1]));
  lanes_connect(&la, p.a, &lb, p.b, 2, NULL);
  lanes_alive(&la, &lb);
  lanes_alive(&p.la, &p.lb);
  for (int i = 0; i < N; i++) close(s[i]);
  pair_close(&p);
}
END_TEST

START_TEST(strangers_have_little_time) {
  struct pair p;
  unsigned char words[256];
  int dropped, kinds[3] = {7, 8, 10}, s[3];
  if (_i) turn_sleeping(1);
  pair_open(&p, 64, MEM_PLAIN, NULL);
  p.b->tp->limits.stranger_ns = 30000000;
  for (int i = 0; i < 3; i++) {
    s[i] = rawtcp_connect(p.b);
    rawtcp_send(s[i], words, stranger_says(kinds[i], words, &dropped));
  }
  UNTIL(p.b->tp->stranger_order >= 3 && p.b->tp->n_strangers == 0);
  for (int i = 0; i < 3; i++) UNTIL(rawtcp_ended(s[i]));
  turn_sleeping(0);
  lanes_alive(&p.la, &p.lb);
  for (int i = 0; i < 3; i++) close(s[i]);
  pair_close(&p);
}
END_TEST

/* A greeting whose sender has left before the lane was opened must not take the lane's place. */
START_TEST(greeting_of_one_who_left) {
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb;
  unsigned char hello[TCP_HELLO_BYTES];
  rawtcp_hello(9, hello);
  int s = rawtcp_connect(b);
  rawtcp_send(s, hello, sizeof hello);
  UNTIL(b->tp->n_strangers == 1);
  settle();
  close(s);
  if (_i) settle();
  lanes_connect(&la, a, &lb, b, 9, NULL);
  lanes_alive(&la, &lb);
}
END_TEST

/* The ticket opens a lane once; a second comer with the same is a stranger. */
START_TEST(ticket_is_used_up) {
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb;
  unsigned char hello[TCP_HELLO_BYTES];
  lanes_connect(&la, a, &lb, b, 9, NULL);
  rawtcp_hello(9, hello);
  int s = rawtcp_connect(b);
  rawtcp_send(s, hello, sizeof hello);
  UNTIL(b->tp->n_strangers == 1);
  settle();
  lanes_alive(&la, &lb);
  char byte;
  ck_assert_int_eq(recv(s, &byte, 1, MSG_DONTWAIT), -1); /* no welcome */
  close(s);
}
END_TEST

START_TEST(out_of_descriptors) {
  enum { N = 10 };
  struct pair p;
  struct lane la, lb;
  struct rlimit old, few;
  struct net_addr addrs[TCP_ADDRS_MAX];
  int s[N];
  pair_open(&p, 64, MEM_PLAIN, NULL);
  ck_assert_int_gt(tcp_address_decode(p.b->address, p.b->address_len, addrs), 0);
  for (int i = 0; i < N; i++) s[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
  few = old;
  few.rlim_cur = (rlim_t)s[N - 1] + 1 + (rlim_t)_i; /* _i: room for none, or for one */
  ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
  for (int i = 0; i < N; i++) ck_assert_int_eq(connect(s[i], (struct sockaddr *)&addrs[0].ss, addrs[0].len), 0);
  settle();
  lanes_alive(&p.la, &p.lb);
  ck_assert_uint_le(p.b->tp->n_strangers, (unsigned)_i);
  ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
  lanes_connect(&la, p.a, &lb, p.b, 2, NULL);
  lanes_alive(&la, &lb);
  for (int i = 0; i < N; i++) close(s[i]);
  pair_close(&p);
}
END_TEST

/* ---- peers that speak slowly, or badly ---- */

START_TEST(byte_by_byte) {
  struct end *e = end_open();
  struct lane l;
  struct mem m;
  unsigned char stream[3 * TCP_FRAME_BYTES + 300], data[300];
  mem_open(&m, e, 1000, MEM_PLAIN, 0);
  memset(m.at, 0, 1000);
  pattern_fill(data, 300, 1);
  int s = rawtcp_lane(&l, e, 1);
  size_t n = rawtcp_frame(stream, 0, (struct tp_raddr){0}, 1);
  n += rawtcp_frame(stream + n, 300, mem_raddr(&l, &m, 70), 2);
  memcpy(stream + n, data, 300);
  n += 300;
  n += rawtcp_frame(stream + n, 0, (struct tp_raddr){0}, 3);
  for (size_t i = 0; i < n; i++) {
    rawtcp_send(s, stream + i, 1);
    turn();
  }
  UNTIL(l.notices == 3);
  ck_assert_uint_eq(l.notice[1].bytes, 300);
  pattern_check(m.at + 70, 300, 1);
  byte_check(m.at, 70, 0);
  byte_check(m.at + 370, 630, 0);
  close(s);
  UNTIL(l.lost);
  ck_assert_msg(strstr(l.text, "closed by peer") != NULL && strstr(l.text, "middle") == NULL, "%s", l.text);
  mem_close(&m);
}
END_TEST

/* Any stream of puts, cut anywhere. */
START_TEST(stream_cut_anywhere) {
  enum { PUTS = 60, SLOT = 20000, CAP = PUTS * (SLOT + TCP_FRAME_BYTES) };
  static unsigned char stream[CAP];
  uint32_t len[PUTS];
  struct rng r = {.state = (uint64_t)_i};
  struct end *e = end_open();
  struct lane l;
  struct mem m;
  size_t n = 0;
  mem_open(&m, e, PUTS * SLOT, MEM_PLAIN, 0);
  int s = rawtcp_lane(&l, e, 1);
  for (uint32_t i = 0; i < PUTS; i++) {
    uint64_t kind = rng_below(&r, 3);
    len[i] = kind == 0 ? 0 : (uint32_t)rng_below(&r, kind == 1 ? 100 : SLOT);
    n += rawtcp_frame(stream + n, len[i], mem_raddr(&l, &m, (size_t)i * SLOT), i);
    pattern_fill(stream + n, len[i], i);
    n += len[i];
  }
  for (size_t at = 0; at < n;) {
    size_t part = 1 + rng_below(&r, rng_below(&r, 2) ? 50 : 9000);
    part = MIN_OF(part, n - at);
    rawtcp_send(s, stream + at, part);
    at += part;
    turn();
  }
  UNTIL(l.notices == PUTS);
  for (uint32_t i = 0; i < PUTS; i++) {
    ck_assert_uint_eq(l.notice[i].notice, i);
    ck_assert_uint_eq(l.notice[i].bytes, len[i]);
    pattern_check(m.at + (size_t)i * SLOT, len[i], i);
  }
  close(s);
  mem_close(&m);
}
END_TEST

START_TEST(the_end_is_told_in_words) {
  struct end *e = end_open();
  struct lane l, la, lb;
  struct mem m;
  unsigned char f[TCP_FRAME_BYTES + 100] = {0};
  const char *words[] = {
      "reserved",     "key 0: no memory is registered", "not inside the registered memory", "in the middle of a put", "middle of a put",
      "reset by peer"};
  mem_open(&m, e, 64, MEM_PLAIN, 0);
  byte_check(m.at, 64, 0xa5);
  int s = rawtcp_lane(&l, e, 1);
  size_t n = rawtcp_frame(f, _i == 2 ? UINT32_MAX : 50, _i == 1 ? (struct tp_raddr){0} : mem_raddr(&l, &m, 1), 7);
  switch (_i) {
    case 0:
      f[13] = 1;
      break;
    case 3:
      n = 10;
      break;
    case 4:
      n += 49;
      break;
    default:
      break;
  }
  rawtcp_send(s, f, _i == 5 ? 0 : n);
  if (_i == 5)
    rawtcp_reset(s);
  else if (_i >= 3)
    close(s);
  UNTIL(l.lost);
  ck_assert_msg(strstr(l.text, words[_i]) != NULL && strstr(l.text, "127.0.0.1:") != NULL, "%s", l.text);
  ck_assert_uint_eq(l.notices, 0);
  if (_i != 4) byte_check(m.at, 64, 0xa5);
  if (_i < 3) UNTIL(rawtcp_ended(s));
  if (_i < 3) close(s);
  lanes_connect(&la, e, &lb, e, 2, NULL); /* a tp can be its own peer */
  lanes_alive(&la, &lb);
  mem_close(&m);
}
END_TEST

/* Noise behind a good greeting: the lane is lost, or waits for the rest of what it takes for a frame. Nothing else happens. */
START_TEST(noise_behind_the_greeting) {
  struct end *e = end_open();
  struct mem m;
  struct rng r = {.state = (uint64_t)_i + 99};
  mem_open(&m, e, 4096, MEM_PLAIN, 0);
  for (uint32_t k = 0; k < 20; k++) {
    struct lane l;
    unsigned char noise[600];
    int s = rawtcp_lane(&l, e, 10 + k);
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (unsigned char)rng_next(&r);
    if (k % 2) rawtcp_frame(noise, (uint32_t)rng_below(&r, 9000), mem_raddr(&l, &m, rng_below(&r, 4096)), 1);
    rawtcp_send(s, noise, sizeof noise);
    close(s);
    UNTIL(l.lost);
    lane_close(&l);
  }
  mem_close(&m);
}
END_TEST

START_TEST(dereg_in_the_middle_of_a_put) {
  struct end *e = end_open();
  struct lane l;
  struct mem m;
  unsigned char f[TCP_FRAME_BYTES], data[5000];
  memset(data, 0x99, sizeof data);
  mem_open(&m, e, sizeof data, MEM_PLAIN, 0);
  int s = rawtcp_lane(&l, e, 1);
  rawtcp_send(s, f, rawtcp_frame(f, sizeof data, mem_raddr(&l, &m, 0), 7));
  rawtcp_send(s, data, 2500);
  UNTIL(m.at[2499] == 0x99);
  byte_check(m.at + 2500, 2500, 0xa5);
  tp_tcp.mem_dereg(e->tp, m.mr);
  memset(m.at, 0x44, sizeof data);
  (void)send(s, data, 2500, MSG_NOSIGNAL | MSG_DONTWAIT);
  UNTIL(l.lost);
  ck_assert_msg(strstr(l.text, "deregistered") != NULL, "%s", l.text);
  byte_check(m.at, sizeof data, 0x44);
  mem_forget(&m);
  close(s);
}
END_TEST

/* ---- connecting to what does not answer as it should ---- */

static int raw_listen(struct end *fake) {
  agg_error_t err = {0};
  struct net_addr any, bound;
  int fd;
  ck_assert_int_eq(net_resolve("127.0.0.1", 0, 1, &any, 1, &err), 1);
  ck_assert_int_eq(net_listen(&any, 16, &fd, &bound, &err), 0);
  fake->address_len = tcp_address_encode(&bound, 1, net_port(&bound), fake->address);
  return fd;
}

static const char garbage[64] = "220 mail.example ESMTP: a server of another kind, quite chatty";

START_TEST(dialing_gives_up) {
  struct end *a = end_open(), fake = {0};
  struct lane la;
  const char *words[] = {"refused", "no welcome", "not a libagg peer", "does not know this lane's ticket", "version 77"};
  int fd = raw_listen(&fake), got = -1;
  if (_i == 0) close(fd);
  a->tp->limits.dial_ns = 300000000;
  if (_i % 2) turn_sleeping(1);
  lane_open(&la, a, &fake, 1, 1, NULL);
  turn_sleeping(_i == 0);
  while (!la.lost) {
    turn();
    if (_i < 2) continue;
    got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (got < 0) continue;
    unsigned char w[TCP_HELLO_BYTES];
    tcp_hello_encode(&(struct tcp_hello){.kind = TCP_WELCOME}, w);
    w[4] = 77;
    if (_i == 2) rawtcp_send(got, garbage, sizeof garbage);
    if (_i == 4) rawtcp_send(got, w, sizeof w);
    UNTIL(la.lane->state == LANE_DIALING || la.lost || _i == 3);
    close(got);
  }
  ck_assert(!la.connected);
  ck_assert_msg(strstr(la.text, words[_i]) != NULL && strstr(la.text, "cannot connect to 127.0.0.1:") != NULL, "%s", la.text);
  if (_i != 0) close(fd);
}
END_TEST

START_TEST(waiting_gives_up) {
  struct end *a = end_open();
  struct lane la;
  a->tp->limits.wait_ns = 30000000;
  turn_sleeping(1);
  lane_open(&la, a, a, 1, 0, NULL);
  UNTIL(la.lost);
  ck_assert_msg(strstr(la.text, "no peer with this lane's ticket") != NULL, "%s", la.text);
}
END_TEST

/* The first address refuses, the second is silent, the third is the peer. */
START_TEST(several_addresses) {
  struct end *a = end_open(), *b = end_open(), many = {0};
  struct net_addr addrs[TCP_ADDRS_MAX];
  struct lane la, lb;
  ck_assert_int_eq(tcp_address_decode(b->address, b->address_len, addrs), 1);
  addrs[1] = addrs[0];
  struct sockaddr_in in4;
  memcpy(&in4, &addrs[0].ss, sizeof in4);
  in4.sin_addr.s_addr = htonl(0x7f000005);
  memcpy(&addrs[0].ss, &in4, sizeof in4);
  many.address_len = tcp_address_encode(addrs, 2, b->tp->port, many.address);
  lane_open(&lb, b, a, 1, 0, NULL);
  lane_open(&la, a, &many, 1, 1, NULL);
  UNTIL(la.connected && lb.connected);
  lanes_alive(&la, &lb);
}
END_TEST

/* ---- where it listens ---- */

START_TEST(hosts) {
  static const char *const binds[][2] = {{"127.0.0.1", ""}, {"::1", ""},   {"localhost", ""},        {"", "127.0.0.1"}, {"", ""},
                                         {"0.0.0.0", ""},   {"::", "::1"}, {"0.0.0.0", "127.0.0.1"}, {"", "localhost"}};
  bind_host = binds[_i][0];
  peer_host = binds[_i][1];
  struct net_addr probe, bound;
  int fd;
  agg_error_t err = {0};
  if (strchr(bind_host, ':') != NULL) { /* a machine without IPv6 has nothing to test here */
    ck_assert_int_eq(net_resolve("::1", 0, 1, &probe, 1, &err), 1);
    if (net_listen(&probe, 1, &fd, &bound, &err) != 0) return;
    close(fd);
  }
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb;
  lanes_connect(&la, a, &lb, b, 1, NULL);
  lanes_alive(&la, &lb);
}
END_TEST

START_TEST(bad_hosts) {
  static const struct {
    const char *bind, *peer, *words;
    int code;
  } bad[] = {{"no-such-host.invalid", "", "no-such-host.invalid", AGG_EINVAL},
             {"", "no-such-host.invalid", "no-such-host.invalid", AGG_EINVAL},
             {"192.0.2.1", "", "192.0.2.1", AGG_ESYS}};
  struct tp_config c = {.bind_host = bad[_i].bind, .peer_host = bad[_i].peer};
  agg_error_t err = {0};
  struct tp *tp = NULL;
  ck_assert_int_eq(tp_tcp.open(&c, &tp, &err), bad[_i].code);
  ck_assert_ptr_null(tp);
  ck_assert_msg(strstr(err.text, bad[_i].words) != NULL, "%s", err.text);
}
END_TEST

/* ---- turns and memory ---- */

START_TEST(a_large_put_leaves_turns_to_others) {
  struct pair p;
  struct lane la, lb;
  pair_open(&p, 16 << 20, MEM_PLAIN, NULL);
  lanes_connect(&la, p.a, &lb, p.b, 2, NULL);
  for (uint32_t i = 0; i < 8; i++) put_one(&p.la, &p.ma, 0, 16 << 20, p.la.window, i, 0);
  for (int i = 0; i < 20; i++) turn();
  put_one(&la, &p.ma, 0, 100, p.la.window, 1, 0);
  UNTIL(lb.notices == 1);
  ck_assert_uint_lt(p.lb.notices, 8);
  UNTIL(p.lb.notices == 8);
  pair_close(&p);
}
END_TEST

START_TEST(nothing_is_allocated_on_the_way) {
  struct pair p;
  pair_open(&p, 1 << 20, MEM_PLAIN, NULL);
  size_t before = 0;
  for (uint32_t i = 0; i < 300; i++) {
    if (i == 10) before = mallinfo2().uordblks;
    put_one(&p.la, &p.ma, 0, i % 3 ? i : 1 << 20, p.la.window, i, i + 1);
    UNTIL(p.lb.notices == i + 1 && p.la.sents == i + 1);
  }
  ck_assert_uint_eq(mallinfo2().uordblks, before);
  pair_close(&p);
}
END_TEST

START_TEST(registry) {
  ck_assert_ptr_eq(tp_find("tcp"), &tp_tcp);
  ck_assert_ptr_eq(tp_find("shm"), &tp_shm);
  ck_assert_ptr_null(tp_find("sim"));
  ck_assert_ptr_null(tp_find(""));
  ck_assert_ptr_null(tp_find(NULL));
  const struct tp_ops *const *all = tp_all();
  ck_assert(all[0] == &tp_shm && all[1] == &tp_verbs && all[2] == &tp_tcp && all[3] == NULL);
}
END_TEST

static void add_strangers(Suite *s) {
  TCase *t = tcase_create("strangers");
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, strangers_do_no_harm, 0, 11);
  tcase_add_test(t, strangers_are_bounded);
  tcase_add_loop_test(t, strangers_have_little_time, 0, 2);
  tcase_add_loop_test(t, greeting_of_one_who_left, 0, 2);
  tcase_add_test(t, ticket_is_used_up);
  tcase_add_loop_test(t, out_of_descriptors, 0, 2);
  suite_add_tcase(s, t);
}

static void add_peers(Suite *s) {
  TCase *t = tcase_create("peers");
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_test(t, byte_by_byte);
  tcase_add_loop_test(t, stream_cut_anywhere, 0, 10);
  tcase_add_loop_test(t, the_end_is_told_in_words, 0, 6);
  tcase_add_loop_test(t, noise_behind_the_greeting, 0, 4);
  tcase_add_test(t, dereg_in_the_middle_of_a_put);
  tcase_add_loop_test(t, dialing_gives_up, 0, 5);
  tcase_add_test(t, waiting_gives_up);
  tcase_add_test(t, several_addresses);
  tcase_add_loop_test(t, hosts, 0, 9);
  tcase_add_loop_test(t, bad_hosts, 0, 3);
  tcase_add_test(t, a_large_put_leaves_turns_to_others);
  tcase_add_test(t, nothing_is_allocated_on_the_way);
  tcase_add_test(t, registry);
  suite_add_tcase(s, t);
}

Suite *make_suite(void) {
  Suite *s = conform_suite(&conform);
  add_strangers(s);
  add_peers(s);
  return s;
}
