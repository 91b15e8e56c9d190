/* The parts of the tcp transport that need no socket: the address blob, greetings and frames byte by byte, the table of regions. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "transport/tcp/internal.h"

Suite *make_suite(void);

/* ---- addresses ---- */

static struct net_addr addr(const char *host, uint16_t port) {
  struct net_addr a;
  agg_error_t err = {0};
  ck_assert_msg(net_resolve(host, port, 0, &a, 1, &err) == 1, "%s", err.text);
  return a;
}

static void same_addr(const struct net_addr *a, const char *text) {
  char buf[80];
  ck_assert_str_eq(net_format(a, buf, sizeof buf), text);
}

START_TEST(address_bytes) {
  struct net_addr in[3] = {addr("10.1.2.3", 0), addr("2001:db8::7", 0), addr("::ffff:192.0.2.9", 0)}, out[TCP_ADDRS_MAX];
  unsigned char blob[TP_ADDRESS_MAX];
  size_t len = tcp_address_encode(in, 3, 0x1234, blob);
  const unsigned char head[] = {'T', 1, 3, 0, 0x34, 0x12, 4, 10, 1, 2, 3, 6, 0x20, 0x01, 0x0d, 0xb8};
  ck_assert_uint_eq(len, 6 + 5 + 17 + 5);
  ck_assert_mem_eq(blob, head, sizeof head);
  ck_assert_int_eq(tcp_address_decode(blob, len, out), 3);
  same_addr(&out[0], "10.1.2.3:4660");
  same_addr(&out[1], "[2001:db8::7]:4660");
  same_addr(&out[2], "192.0.2.9:4660");
}
END_TEST

START_TEST(address_full) {
  struct net_addr in[TCP_ADDRS_MAX], out[TCP_ADDRS_MAX];
  unsigned char blob[TP_ADDRESS_MAX + 1];
  for (int i = 0; i < TCP_ADDRS_MAX; i++) in[i] = addr("2001:db8::1", 0);
  size_t len = tcp_address_encode(in, TCP_ADDRS_MAX, 65535, blob);
  ck_assert_uint_le(len, TP_ADDRESS_MAX);
  ck_assert_int_eq(tcp_address_decode(blob, len, out), TCP_ADDRS_MAX);
}
END_TEST

START_TEST(address_malformed) {
  struct net_addr in[2] = {addr("10.1.2.3", 0), addr("::1", 0)}, out[TCP_ADDRS_MAX];
  unsigned char good[TP_ADDRESS_MAX] = {0}, bad[TP_ADDRESS_MAX];
  size_t len = tcp_address_encode(in, 2, 80, good);
  for (size_t n = 0; n < len; n++) ck_assert_int_eq(tcp_address_decode(good, n, out), 0);
  ck_assert_int_eq(tcp_address_decode(good, len + 1, out), 0);
  static const struct {
    unsigned at;
    unsigned char value;
  } changes[] = {{0, 'X'}, {1, 2}, {2, 0}, {2, 1}, {2, 3}, {2, 255}, {3, 1}, {4, 0}, {6, 5}, {6, 6}, {6, 0}, {11, 4}};
  for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
    memcpy(bad, good, sizeof bad);
    bad[changes[i].at] = changes[i].value;
    ck_assert_msg(tcp_address_decode(bad, len, out) == 0, "change %zu was accepted", i);
  }
  memset(good + 7, 0, 4); /* 0.0.0.0 is nobody's address */
  ck_assert_int_eq(tcp_address_decode(good, len, out), 0);
}
END_TEST

START_TEST(address_noise) {
  struct rng r = {.state = 5};
  struct net_addr out[TCP_ADDRS_MAX];
  for (int i = 0; i < 100000; i++) {
    size_t len = rng_below(&r, 64);
    unsigned char *blob = malloc(len + 1); /* of exactly this size, for the sanitizer */
    for (size_t k = 0; k < len; k++) blob[k] = (unsigned char)rng_below(&r, k < 12 ? 8 : 256);
    if (len > 1) blob[0] = 'T', blob[1] = 1;
    int n = tcp_address_decode(blob, len, out);
    ck_assert(n >= 0 && n <= TCP_ADDRS_MAX);
    free(blob);
  }
}
END_TEST

/* ---- greetings and frames ---- */

START_TEST(greeting_bytes) {
  struct tcp_hello h = {.kind = TCP_HELLO, .window = {.key = 0x01020304, .off = 0x1112131415161718}}, back;
  unsigned char b[TCP_HELLO_BYTES];
  for (int i = 0; i < TP_TICKET_BYTES; i++) h.ticket[i] = (unsigned char)(i + 1);
  tcp_hello_encode(&h, b);
  const unsigned char head[] = {'A', 'G', 'G', 'T', 1, 0, 1, 0, 1, 2, 3};
  const unsigned char tail[] = {32, 4, 3, 2, 1, 0, 0, 0, 0, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0, 0, 0, 0, 0, 0, 0, 0};
  ck_assert_mem_eq(b, head, sizeof head);
  ck_assert_mem_eq(b + 39, tail, sizeof tail);
  ck_assert_int_eq(tcp_hello_decode(&back, b, TCP_HELLO, NULL), 0);
  ck_assert_mem_eq(back.ticket, h.ticket, TP_TICKET_BYTES);
  ck_assert_uint_eq(back.window.key, h.window.key);
  ck_assert_uint_eq(back.window.off, h.window.off);
  ck_assert_int_eq(tcp_hello_decode(&back, b, TCP_WELCOME, NULL), AGG_EPROTO);
}
END_TEST

START_TEST(welcome_carries_no_ticket) {
  struct tcp_hello h = {.kind = TCP_WELCOME};
  unsigned char b[TCP_HELLO_BYTES], zero[TP_TICKET_BYTES] = {0};
  memset(h.ticket, 9, sizeof h.ticket);
  tcp_hello_encode(&h, b);
  ck_assert_mem_eq(b + 8, zero, sizeof zero);
}
END_TEST

START_TEST(greeting_malformed) {
  struct tcp_hello h = {.kind = TCP_HELLO};
  unsigned char b[TCP_HELLO_BYTES];
  for (int at = 0; at < TCP_HELLO_BYTES; at++) {
    agg_error_t err = {0};
    int data = (at >= 8 && at < 44) || (at >= 48 && at < 56);
    tcp_hello_encode(&h, b);
    b[at] ^= 0x40;
    int want = data ? 0 : at == 4 || at == 5 ? AGG_EVERSION : AGG_EPROTO;
    ck_assert_int_eq(tcp_hello_decode(&h, b, TCP_HELLO, &err), want);
    if (!data) ck_assert_uint_gt(strlen(err.text), 20);
    h = (struct tcp_hello){.kind = TCP_HELLO};
  }
}
END_TEST

START_TEST(frame_golden) {
  struct tcp_frame f = {.length = 0x01020304, .notice = 0x05060708, .dst = {.key = 0x090a0b0c, .off = 0x1112131415161718}}, back;
  const unsigned char golden[TCP_FRAME_BYTES] = {4, 3, 2, 1, 8,    7,    6,    5,    12,   11,   10,   9,
                                                 0, 0, 0, 0, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11};
  unsigned char b[TCP_FRAME_BYTES];
  tcp_frame_encode(&f, b);
  ck_assert_mem_eq(b, golden, sizeof b);
  ck_assert_int_eq(tcp_frame_decode(&back, b), 0);
  ck_assert_uint_eq(back.length, f.length);
  ck_assert_uint_eq(back.notice, f.notice);
  ck_assert_uint_eq(back.dst.key, f.dst.key);
  ck_assert_uint_eq(back.dst.off, f.dst.off);
  for (int at = 12; at < 16; at++) {
    b[at] = 1;
    ck_assert_int_eq(tcp_frame_decode(&back, b), AGG_EPROTO);
    b[at] = 0;
  }
}
END_TEST

START_TEST(tickets_compare) {
  unsigned char a[TP_TICKET_BYTES] = {0}, b[TP_TICKET_BYTES] = {0};
  ck_assert_int_eq(tcp_ticket_equal(a, b), 1);
  for (int i = 0; i < TP_TICKET_BYTES * 8; i++) {
    b[i / 8] ^= (unsigned char)(1 << i % 8);
    ck_assert_int_eq(tcp_ticket_equal(a, b), 0);
    b[i / 8] ^= (unsigned char)(1 << i % 8);
  }
}
END_TEST

/* ---- regions ---- */

static struct tp *table(void) {
  struct tp *tp = calloc(1, sizeof *tp);
  ck_assert_ptr_nonnull(tp);
  return tp;
}

static struct tp_mr *reg(struct tp *tp, void *at, size_t len, uint64_t domain) {
  struct tp_mem mem = {.addr = at, .len = len, .fd = -1, .domain = domain};
  struct tp_mr *mr = NULL;
  ck_assert_int_eq(tcp_mem_reg(tp, &mem, &mr, NULL), 0);
  return mr;
}

START_TEST(ranges) {
  char bytes[100];
  const char *why;
  struct tp *tp = table();
  struct tp_mr *mr = reg(tp, bytes, sizeof bytes, 0);
  uint32_t key = tcp_raddr(NULL, mr, bytes).key;
  static const struct {
    uint64_t off, len;
    int inside;
  } t[] = {{0, 100, 1}, {0, 0, 1},   {100, 0, 1},        {99, 1, 1},         {0, 101, 0},        {1, 100, 0},
           {100, 1, 0}, {101, 0, 0}, {UINT64_MAX, 1, 0}, {UINT64_MAX, 2, 0}, {1, UINT64_MAX, 0}, {UINT64_MAX - 49, 100, 0}};
  for (size_t i = 0; i < ARRAY_LEN(t); i++) {
    struct tp_mr *got = tcp_mem_find(tp, (struct tp_raddr){.key = key, .off = t[i].off}, t[i].len, 0, &why);
    ck_assert_msg((got != NULL) == t[i].inside, "row %zu", i);
  }
  ck_assert_ptr_null(tcp_mem_find(tp, (struct tp_raddr){.key = 0}, 1, 0, &why));
  ck_assert_uint_eq(tcp_raddr(NULL, mr, bytes + 7).off, 7);
  tcp_mem_fini(tp);
  free(tp);
}
END_TEST

START_TEST(domains) {
  char bytes[10];
  const char *why;
  struct tp *tp = table();
  struct tp_raddr open = tcp_raddr(NULL, reg(tp, bytes, 10, 0), bytes), own = tcp_raddr(NULL, reg(tp, bytes, 10, 5), bytes);
  ck_assert_ptr_nonnull(tcp_mem_find(tp, open, 10, 0, &why));
  ck_assert_ptr_nonnull(tcp_mem_find(tp, open, 10, 5, &why));
  ck_assert_ptr_nonnull(tcp_mem_find(tp, own, 10, 5, &why));
  ck_assert_ptr_null(tcp_mem_find(tp, own, 10, 6, &why));
  ck_assert_ptr_null(tcp_mem_find(tp, own, 10, 0, &why));
  ck_assert_str_eq(why, "that memory belongs to others");
  tcp_mem_fini(tp);
  free(tp);
}
END_TEST

/* Whatever the order of registering and deregistering: live keys are found, each its own; keys given back are not. */
START_TEST(keys_churn) {
  enum { LIVE = 200, ROUNDS = 20000 };
  static char bytes[LIVE];
  static struct tp_mr *live[LIVE];
  struct rng r = {.state = 3};
  const char *why;
  struct tp *tp = table();
  struct tp_raddr gone[64] = {{0}};
  memset(live, 0, sizeof live);
  for (uint32_t i = 0; i < ROUNDS; i++) {
    uint64_t k = rng_below(&r, LIVE);
    if (live[k] == NULL) {
      live[k] = reg(tp, bytes + k, 1, 0);
    } else {
      gone[i % 64] = tcp_raddr(NULL, live[k], bytes + k);
      tcp_mem_dereg(tp, live[k]);
      live[k] = NULL;
    }
    ck_assert_ptr_null(tcp_mem_find(tp, gone[rng_below(&r, 64)], 1, 0, &why));
    k = rng_below(&r, LIVE);
    if (live[k] != NULL) ck_assert_ptr_eq(tcp_mem_find(tp, tcp_raddr(NULL, live[k], bytes + k), 1, 0, &why), live[k]);
  }
  ck_assert_uint_le(tp->mem.used, LIVE);
  tcp_mem_fini(tp);
  free(tp);
}
END_TEST

/* One slot, used again and again: its key does not come back for thousands of times. */
START_TEST(keys_come_back_late) {
  char byte;
  struct tp *tp = table();
  struct tp_mr *mr = reg(tp, &byte, 1, 0);
  uint32_t first = mr->key;
  for (int i = 0; i < 4094; i++) {
    tcp_mem_dereg(tp, mr);
    mr = reg(tp, &byte, 1, 0);
    ck_assert_uint_ne(mr->key, first);
    ck_assert_uint_ne(mr->key, 0);
  }
  tcp_mem_fini(tp);
  free(tp);
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("tcp_parts");
  TCase *t = tcase_create("parts");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, address_bytes);
  tcase_add_test(t, address_full);
  tcase_add_test(t, address_malformed);
  tcase_add_test(t, address_noise);
  tcase_add_test(t, greeting_bytes);
  tcase_add_test(t, welcome_carries_no_ticket);
  tcase_add_test(t, greeting_malformed);
  tcase_add_test(t, frame_golden);
  tcase_add_test(t, tickets_compare);
  tcase_add_test(t, ranges);
  tcase_add_test(t, domains);
  tcase_add_test(t, keys_churn);
  tcase_add_test(t, keys_come_back_late);
  suite_add_tcase(s, t);
  return s;
}
