/*
 * The parts of the verbs transport that need no device: greetings, rejections, control messages and addresses byte by byte, hostile ones
 * included; the words for failures; settings that name nothing; a machine that has no device.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/util.h"
#include "transport/tps.h"
#include "transport/verbs/internal.h"

Suite *make_suite(void);

/* ---- hello ---- */

static struct verbs_hello some_hello(void) {
  struct verbs_hello h = {.kind = VERBS_SPARE, .window = {.key = 0x01020304, .off = 0x0a0b0c0d0e0f1011}, .rail = 7, .mtu = 5, .imm = 1};
  for (int i = 0; i < TP_TICKET_BYTES; i++) h.ticket[i] = (unsigned char)(0x80 + i);
  return h;
}

START_TEST(hello_bytes) {
  struct verbs_hello h = some_hello(), back;
  unsigned char out[VERBS_HELLO_BYTES];
  agg_error_t err = {0};
  verbs_hello_encode(&h, out);
  const unsigned char head[] = {'A', 'V', 1, 2, 0x80, 0x81}, tail[] = {4, 3, 2, 1, 0x11, 0x10, 0xf, 0xe, 0xd, 0xc, 0xb, 0xa, 7, 5, 1, 0};
  ck_assert_mem_eq(out, head, sizeof head);
  ck_assert_mem_eq(out + 36, tail, sizeof tail);
  ck_assert_int_eq(verbs_hello_decode(&back, out, sizeof out, &err), 0);
  ck_assert_int_eq(back.kind, h.kind);
  ck_assert_mem_eq(back.ticket, h.ticket, TP_TICKET_BYTES);
  ck_assert(back.window.key == h.window.key && back.window.off == h.window.off);
  ck_assert(back.rail == 7 && back.mtu == 5 && back.imm == 1);
  unsigned char padded[200] = {0}; /* the CM pads with zeros */
  memcpy(padded, out, sizeof out);
  ck_assert_int_eq(verbs_hello_decode(&back, padded, sizeof padded, &err), 0);
}
END_TEST

START_TEST(hello_short) {
  struct verbs_hello h = some_hello(), back;
  unsigned char good[VERBS_HELLO_BYTES];
  verbs_hello_encode(&h, good);
  for (size_t n = 0; n < sizeof good; n++) { /* from the heap, so that a sanitizer sees a byte too many read */
    agg_error_t err = {0};
    unsigned char *in = malloc(n > 0 ? n : 1);
    memcpy(in, good, n);
    ck_assert_int_eq(verbs_hello_decode(&back, in, n, &err), AGG_EPROTO);
    ck_assert_ptr_nonnull(strstr(err.text, "not a connection of libagg's"));
    free(in);
  }
  ck_assert_int_eq(verbs_hello_decode(&back, NULL, 0, NULL), AGG_EPROTO);
  ck_assert_int_eq(verbs_hello_decode(&back, NULL, 52, NULL), AGG_EPROTO);
}
END_TEST

START_TEST(hello_malformed) {
  static const struct {
    unsigned at;
    unsigned char value;
    int rc;
    const char *text;
  } cases[] = {
      {0, 'B', AGG_EPROTO, "not a connection"},
      {1, 0, AGG_EPROTO, "not a connection"},
      {2, 0, AGG_EVERSION, "version 0"},
      {2, 2, AGG_EVERSION, "version 2"},
      {2, 255, AGG_EVERSION, "version 255"},
      {3, 0, AGG_EPROTO, "kind 0"},
      {3, 4, AGG_EPROTO, "kind 4"},
      {48, VERBS_RAILS_MAX, AGG_EPROTO, "rail 8"},
      {48, 255, AGG_EPROTO, "rail 255"},
      {49, 0, AGG_EPROTO, "mtu 0"},
      {49, 6, AGG_EPROTO, "mtu 6"},
      {50, 2, AGG_EPROTO, "malformed"},
      {51, 1, AGG_EPROTO, "malformed"},
  };
  struct verbs_hello h = some_hello(), back;
  unsigned char in[VERBS_HELLO_BYTES];
  agg_error_t err = {0};
  verbs_hello_encode(&h, in);
  in[cases[_i].at] = cases[_i].value;
  ck_assert_int_eq(verbs_hello_decode(&back, in, sizeof in, &err), cases[_i].rc);
  ck_assert_msg(strstr(err.text, cases[_i].text) != NULL, "\"%s\" does not say \"%s\"", err.text, cases[_i].text);
}
END_TEST

START_TEST(answer_without_ticket) {
  struct verbs_hello h = some_hello(), back;
  unsigned char in[VERBS_HELLO_BYTES];
  h.kind = VERBS_WELCOME;
  verbs_hello_encode(&h, in);
  ck_assert_int_eq(verbs_hello_decode(&back, in, sizeof in, NULL), AGG_EPROTO);
  memset(in + 4, 0, TP_TICKET_BYTES);
  ck_assert_int_eq(verbs_hello_decode(&back, in, sizeof in, NULL), 0);
}
END_TEST

/* Whatever is accepted can be used: every field within its bounds. */
START_TEST(hello_random) {
  struct rng r = {.state = 11};
  struct verbs_hello h = some_hello(), back;
  unsigned char good[VERBS_HELLO_BYTES], in[VERBS_HELLO_BYTES];
  int accepted = 0;
  verbs_hello_encode(&h, good);
  for (int round = 0; round < 20000; round++) {
    memcpy(in, good, sizeof in);
    for (int i = 0; i < 3; i++) in[rng_below(&r, sizeof in)] = (unsigned char)rng_next(&r);
    if (verbs_hello_decode(&back, in, sizeof in, NULL) != 0) continue;
    accepted++;
    ck_assert(back.kind >= VERBS_LANE && back.kind <= VERBS_WELCOME && back.rail < VERBS_RAILS_MAX);
    ck_assert(back.mtu >= IBV_MTU_256 && back.mtu <= IBV_MTU_4096 && back.imm <= 1);
    unsigned char again[VERBS_HELLO_BYTES];
    verbs_hello_encode(&back, again);
    ck_assert_mem_eq(again, in, sizeof in);
  }
  ck_assert_int_gt(accepted, 0);
}
END_TEST

START_TEST(rejections) {
  for (int reason = VERBS_NO_TICKET; reason <= VERBS_MALFORMED; reason++) {
    unsigned char out[VERBS_REJECT_BYTES], padded[148] = {0};
    verbs_reject_encode((enum verbs_reject)reason, out);
    ck_assert_int_eq(verbs_reject_decode(out, sizeof out), reason);
    memcpy(padded, out, sizeof out);
    ck_assert_int_eq(verbs_reject_decode(padded, sizeof padded), reason);
    for (size_t n = 0; n < sizeof out; n++) ck_assert_int_eq(verbs_reject_decode(out, n), 0);
    ck_assert_uint_gt(strlen(explain_reject(reason)), 20);
    for (int other = VERBS_NO_TICKET; other < reason; other++) ck_assert_str_ne(explain_reject(reason), explain_reject(other));
  }
  ck_assert_int_eq(verbs_reject_decode(NULL, 4), 0);
  ck_assert_int_eq(verbs_reject_decode("AV\1\0", 4), 0);
  ck_assert_int_eq(verbs_reject_decode("AV\1\5", 4), 0);
  ck_assert_int_eq(verbs_reject_decode("AV\1\377", 4), 0);
  ck_assert_int_eq(verbs_reject_decode("XV\1\1", 4), 0);
  ck_assert_int_eq(verbs_reject_decode("AX\1\1", 4), 0);
}
END_TEST

START_TEST(tickets) {
  unsigned char a[TP_TICKET_BYTES] = {0}, b[TP_TICKET_BYTES] = {0};
  ck_assert(verbs_ticket_equal(a, b));
  for (int bit = 0; bit < TP_TICKET_BYTES * 8; bit++) {
    b[bit / 8] ^= (unsigned char)(1 << bit % 8);
    ck_assert(!verbs_ticket_equal(a, b));
    b[bit / 8] ^= (unsigned char)(1 << bit % 8);
  }
}
END_TEST

/* ---- control messages ---- */

START_TEST(control_bytes) {
  for (int type = VERBS_PROBE; type <= VERBS_NOTICE; type++) {
    struct verbs_control m = {.type = (enum verbs_control_type)type, .rail = 3, .a = 0x04030201, .b = 0xfffefdfc}, back;
    unsigned char out[VERBS_CONTROL_BYTES];
    verbs_control_encode(&m, out);
    const unsigned char head[] = {(unsigned char)type, 3, 0, 0, 1, 2, 3, 4, 0xfc, 0xfd, 0xfe, 0xff, 0};
    ck_assert_mem_eq(out, head, sizeof head);
    ck_assert_int_eq(verbs_control_decode(&back, out, sizeof out), 0);
    ck_assert(back.type == m.type && back.rail == m.rail && back.a == m.a && back.b == m.b);
    for (size_t n = 0; n < sizeof out; n++) ck_assert_int_eq(verbs_control_decode(&back, out, n), AGG_EPROTO);
    ck_assert_int_eq(verbs_control_decode(&back, out, 4096), 0); /* a probe's tail is ignored */
  }
}
END_TEST

START_TEST(control_malformed) {
  struct verbs_control m = {.type = VERBS_ASK, .rail = 1, .a = 7}, back;
  unsigned char in[VERBS_CONTROL_BYTES];
  for (unsigned at = 0; at < VERBS_CONTROL_BYTES; at++) {
    if (at >= 4 && at < 12) continue; /* a and b are free */
    verbs_control_encode(&m, in);
    in[at] = at == 0 ? VERBS_NOTICE + 1 : VERBS_RAILS_MAX;
    ck_assert_msg(verbs_control_decode(&back, in, sizeof in) == AGG_EPROTO, "byte %u", at);
    in[at] = at == 0 ? 0 : 255;
    ck_assert_msg(verbs_control_decode(&back, in, sizeof in) == AGG_EPROTO, "byte %u", at);
  }
}
END_TEST

/* ---- addresses ---- */

static struct verbs_address addr(const char *host, uint16_t port, uint8_t prefix) {
  struct verbs_address a = {.prefix = prefix};
  agg_error_t err = {0};
  ck_assert_msg(net_resolve(host, port, 0, &a.at, 1, &err) == 1, "%s", err.text);
  return a;
}

START_TEST(address_bytes) {
  struct verbs_address in[2] = {addr("10.1.2.3", 0x1234, 24), addr("2001:db8::7", 80, 64)}, out[VERBS_RAILS_MAX];
  unsigned char blob[TP_ADDRESS_MAX];
  char text[80];
  size_t len = verbs_address_encode(in, 2, blob);
  const unsigned char head[] = {'V', 1, 2, 0, 4, 24, 0x34, 0x12, 10, 1, 2, 3, 6, 64, 80, 0, 0x20, 0x01, 0x0d, 0xb8};
  ck_assert_uint_eq(len, 4 + 8 + 20);
  ck_assert_mem_eq(blob, head, sizeof head);
  ck_assert_uint_eq(verbs_address_decode(blob, len, out), 2);
  ck_assert_str_eq(net_format(&out[0].at, text, sizeof text), "10.1.2.3:4660");
  ck_assert_str_eq(net_format(&out[1].at, text, sizeof text), "[2001:db8::7]:80");
  ck_assert(out[0].prefix == 24 && out[1].prefix == 64);
  ck_assert(out[0].fabric == VERBS_ROCE && out[1].fabric == VERBS_ROCE);
  in[0].fabric = VERBS_IWARP;
  in[1].fabric = VERBS_INFINIBAND;
  in[1].down = 1;
  ck_assert_uint_eq(verbs_address_encode(in, 2, blob), len);
  ck_assert(blob[4] == 0x24 && blob[12] == 0x96);
  ck_assert_uint_eq(verbs_address_decode(blob, len, out), 2);
  ck_assert(out[0].fabric == VERBS_IWARP && out[1].fabric == VERBS_INFINIBAND && !out[0].down && out[1].down);
}
END_TEST

/* InfiniBand, RoCE and iWARP do not talk to one another, nor IPv4 to IPv6; either end finds the same. */
START_TEST(fabrics) {
  struct verbs_address a[2 * VERBS_FABRICS];
  for (int i = 0; i < 2 * VERBS_FABRICS; i++) {
    a[i] = addr(i % 2 == 0 ? "10.1.2.3" : "2001:db8::7", 80, 24);
    a[i].fabric = (uint8_t)(i / 2);
  }
  for (int i = 0; i < 2 * VERBS_FABRICS; i++)
    for (int k = 0; k < 2 * VERBS_FABRICS; k++) ck_assert_int_eq(verbs_may_meet(&a[i], &a[k]), i == k);
}
END_TEST

START_TEST(address_full) {
  struct verbs_address in[VERBS_RAILS_MAX], out[VERBS_RAILS_MAX];
  unsigned char blob[TP_ADDRESS_MAX];
  for (int i = 0; i < VERBS_RAILS_MAX; i++) in[i] = addr("2001:db8::1", 65535, 128);
  size_t len = verbs_address_encode(in, VERBS_RAILS_MAX, blob);
  ck_assert_uint_le(len, TP_ADDRESS_MAX);
  ck_assert_uint_eq(verbs_address_decode(blob, len, out), VERBS_RAILS_MAX);
}
END_TEST

START_TEST(address_malformed) {
  struct verbs_address in[2] = {addr("10.1.2.3", 80, 24), addr("fe80::1", 80, 64)}, out[VERBS_RAILS_MAX];
  unsigned char good[TP_ADDRESS_MAX + 1] = {0}, bad[TP_ADDRESS_MAX + 1];
  size_t len = verbs_address_encode(in, 2, good);
  for (size_t n = 0; n < len; n++) {
    unsigned char *cut = malloc(n > 0 ? n : 1);
    memcpy(cut, good, n);
    ck_assert_uint_eq(verbs_address_decode(cut, n, out), 0);
    free(cut);
  }
  ck_assert_uint_eq(verbs_address_decode(good, len + 1, out), 0);
  ck_assert_uint_eq(verbs_address_decode(NULL, 0, out), 0);
  static const struct {
    unsigned at;
    unsigned char value;
  } changes[] = {{0, 'T'}, {1, 0}, {1, 2}, {2, 0},    {2, 1},    {2, 3},     {2, 9},  {2, 255}, {3, 1},
                 {4, 0},   {4, 5}, {4, 6}, {4, 0x34}, {4, 0xb4}, {12, 0xf6}, {5, 33}, {12, 4},  {13, 129}};
  for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
    memcpy(bad, good, sizeof bad);
    bad[changes[i].at] = changes[i].value;
    ck_assert_msg(verbs_address_decode(bad, len, out) == 0, "byte %u = %u", changes[i].at, changes[i].value);
  }
  memcpy(bad, good, sizeof bad);
  bad[6] = bad[7] = 0; /* port 0 */
  ck_assert_uint_eq(verbs_address_decode(bad, len, out), 0);
  memcpy(bad, good, sizeof bad);
  memset(bad + 8, 0, 4); /* any address */
  ck_assert_uint_eq(verbs_address_decode(bad, len, out), 0);
}
END_TEST

START_TEST(address_random) {
  struct rng r = {.state = 5};
  struct verbs_address in[3] = {addr("10.1.2.3", 80, 24), addr("fe80::1", 80, 64), addr("10.2.2.3", 81, 0)}, out[VERBS_RAILS_MAX];
  unsigned char good[TP_ADDRESS_MAX], bad[TP_ADDRESS_MAX];
  size_t len = verbs_address_encode(in, 3, good);
  for (int round = 0; round < 20000; round++) {
    memcpy(bad, good, len);
    for (int i = 0; i < 2; i++) bad[rng_below(&r, len)] = (unsigned char)rng_next(&r);
    unsigned n = verbs_address_decode(bad, len, out);
    for (unsigned i = 0; i < n; i++) {
      ck_assert(out[i].at.ss.ss_family == AF_INET || out[i].at.ss.ss_family == AF_INET6);
      ck_assert_uint_le(out[i].prefix, out[i].at.ss.ss_family == AF_INET ? 32 : 128);
      (void)verbs_same_network(&out[i], &out[0]);
    }
  }
}
END_TEST

START_TEST(networks) {
  static const struct {
    const char *own, *peer;
    uint8_t prefix;
    int same;
  } cases[] = {
      {"10.0.0.1", "10.0.0.2", 24, 1},           {"10.0.0.1", "10.0.1.2", 24, 0},        {"10.0.0.1", "10.0.1.2", 23, 1},
      {"10.0.0.1", "10.0.2.2", 23, 0},           {"10.0.0.1", "10.0.0.1", 32, 1},        {"10.0.0.1", "10.0.0.0", 32, 0},
      {"10.0.0.1", "200.1.2.3", 0, 1},           {"10.0.0.1", "10.0.0.129", 25, 0},      {"10.0.0.1", "10.0.0.127", 25, 1},
      {"10.0.0.1", "2001:db8::1", 0, 0},         {"2001:db8::1", "2001:db8::2", 64, 1},  {"2001:db8::1", "2001:db8:0:1::2", 64, 0},
      {"2001:db8::1", "2001:db8:0:1::2", 63, 1}, {"2001:db8::1", "2001:db8::2", 128, 0}, {"2001:db8::1", "2001:db8::1", 128, 1},
  };
  struct verbs_address own = addr(cases[_i].own, 1, cases[_i].prefix), peer = addr(cases[_i].peer, 1, 0);
  ck_assert_int_eq(verbs_same_network(&own, &peer), cases[_i].same);
}
END_TEST

/* ---- words ---- */

START_TEST(every_status_has_words) {
  char text[VERBS_TEXT_MAX];
  for (int status = 0; status < 40; status++) {
    struct ibv_wc wc = {.status = (enum ibv_wc_status)status, .vendor_err = 0xabc};
    const char *t = explain_wc(&wc, status & 1, text, sizeof text);
    ck_assert_uint_gt(strlen(t), 30);
    ck_assert_uint_lt(strlen(t), sizeof text - 1); /* not cut */
    ck_assert_ptr_nonnull(strstr(t, "0xabc"));
    ck_assert_int_ne(explain_fault(wc.status), FAULT_NONE);
    char tiny[8];
    ck_assert_uint_lt(strlen(explain_wc(&wc, 0, tiny, sizeof tiny)), sizeof tiny);
  }
  struct ibv_wc refused = {.status = IBV_WC_REM_ACCESS_ERR}; /* by the peer's NIC, or by the own one */
  ck_assert_ptr_nonnull(strstr(explain_wc(&refused, 0, text, sizeof text), "the peer's NIC refused"));
  ck_assert_ptr_nonnull(strstr(explain_wc(&refused, 1, text, sizeof text), "the peer wrote to a place that it may not write"));
  ck_assert_int_eq(explain_fault(IBV_WC_RETRY_EXC_ERR), FAULT_PATH);
  ck_assert_int_eq(explain_fault(IBV_WC_REM_ACCESS_ERR), FAULT_PEER);
  ck_assert_int_eq(explain_fault(IBV_WC_LOC_PROT_ERR), FAULT_LOCAL);
}
END_TEST

START_TEST(every_cm_event_has_words) {
  char text[VERBS_TEXT_MAX];
  for (int e = RDMA_CM_EVENT_ADDR_RESOLVED; e <= RDMA_CM_EVENT_TIMEWAIT_EXIT + 3; e++) {
    ck_assert_uint_gt(strlen(explain_cm((enum rdma_cm_event_type)e, -ETIMEDOUT, text, sizeof text)), 10);
    ck_assert_uint_gt(strlen(explain_cm((enum rdma_cm_event_type)e, 28, text, sizeof text)), 10);
  }
  ck_assert_ptr_nonnull(strstr(explain_cm(RDMA_CM_EVENT_ADDR_ERROR, -EHOSTUNREACH, text, sizeof text), "ip route get"));
  ck_assert_ptr_nonnull(strstr(explain_cm(RDMA_CM_EVENT_REJECTED, 28, text, sizeof text), "28"));
  ck_assert_ptr_null(strstr(text, "nobody listens"));
  ck_assert_ptr_nonnull(strstr(explain_cm(RDMA_CM_EVENT_REJECTED, VERBS_REJ_STALE, text, sizeof text), "not forgotten an earlier"));
  ck_assert_ptr_nonnull(strstr(explain_cm(RDMA_CM_EVENT_REJECTED, VERBS_REJ_SERVICE, text, sizeof text), "nobody listens"));
  ck_assert_ptr_nonnull(strstr(explain_cm(RDMA_CM_EVENT_REJECTED, -ECONNREFUSED, text, sizeof text), "nobody listens"));
}
END_TEST

START_TEST(memory_words) {
  struct rail r = {.name = "mlx5_0:1"};
  agg_error_t err = {0};
  struct rlimit limit = {.rlim_cur = 64 << 10, .rlim_max = 64 << 10};
  ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0); /* in the test's own process */
  ck_assert_int_eq(explain_memory(&err, ENOMEM, 1000001, &r), AGG_ELIMIT);
  static const char *const said[] = {"1000001 bytes", "mlx5_0:1", "64 KiB", "977 KiB", "ulimit -l unlimited"};
  for (size_t i = 0; i < ARRAY_LEN(said); i++) ck_assert_msg(strstr(err.text, said[i]) != NULL, "\"%s\" lacks %s", err.text, said[i]);
  ck_assert_int_eq(explain_memory(&err, EPERM, 10, &r), AGG_ESYS);
  ck_assert_int_eq(explain_memory(&err, EFAULT, 10, &r), AGG_ENOMEM);
  ck_assert_ptr_nonnull(strstr(err.text, "mlx5_0:1"));
}
END_TEST

START_TEST(hosts) {
  char text[80], tiny[6];
  struct verbs_address four = addr("10.1.2.3", 80, 0), six = addr("2001:db8::7", 80, 0);
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  ck_assert_str_eq(explain_host((struct sockaddr *)&four.at.ss, 0, text, sizeof text), "10.1.2.3");
  ck_assert_str_eq(explain_host((struct sockaddr *)&four.at.ss, 1, text, sizeof text), "10.1.2.3:80");
  ck_assert_str_eq(explain_host((struct sockaddr *)&six.at.ss, 0, text, sizeof text), "2001:db8::7");
  ck_assert_str_eq(explain_host((struct sockaddr *)&six.at.ss, 1, text, sizeof text), "[2001:db8::7]:80");
  ck_assert_str_eq(explain_host(&none, 0, text, sizeof text), "?");
  ck_assert_uint_lt(strlen(explain_host((struct sockaddr *)&six.at.ss, 1, tiny, sizeof tiny)), sizeof tiny);
}
END_TEST

/* ---- settings, and no device ---- */

static int find(const char *devices, agg_error_t *err) {
  struct tp_config config = {.bind_host = "", .peer_host = ""};
  struct tp_rdma rdma = {.devices = devices, .gid_index = -1, .traffic_class = -1, .service_level = -1};
  struct found found[VERBS_RAILS_MAX];
  return verbs_find(&config, &rdma, NULL, found, err);
}

START_TEST(bad_device_lists) {
  static const char *const lists[] = {":",           ":1",       "mlx5_0:",        "mlx5_0:0",        "mlx5_0:256", "mlx5_0:x",
                                      "mlx5_0:1:2",  ",mlx5_0",  "mlx5_0,,mlx5_1", "mlx5_0:00000012", "mlx5_0:-1",  "mlx5_0:0000001x",
                                      "mlx5_0:1 ,a", "mlx5_0:1x"};
  agg_error_t err = {0};
  ck_assert_msg(find(lists[_i], &err) == AGG_EINVAL, "%s: %s", lists[_i], err.text);
  ck_assert_ptr_nonnull(strstr(err.text, "AGG_DEVICES"));
  ck_assert_ptr_nonnull(strstr(err.text, "mlx5_0:1")); /* what is expected */
}
END_TEST

START_TEST(device_names_too_long) {
  char list[400];
  agg_error_t err = {0};
  memset(list, 'a', sizeof list);
  list[sizeof list - 1] = '\0';
  ck_assert_int_eq(find(list, &err), AGG_EINVAL);
  ck_assert_uint_lt(strlen(err.text), 200); /* quoted in part */
  for (size_t i = 0; i + 1 < sizeof list; i += 2) memcpy(list + i, "a,", 2);
  list[sizeof list - 1] = '\0';
  ck_assert_int_eq(find(list, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "more than 16"));
}
END_TEST

static int device_count(void) {
  int n = 0;
  struct ibv_device **list = ibv_get_device_list(&n);
  if (list != NULL) ibv_free_device_list(list);
  return n;
}

START_TEST(no_device) {
  struct tp_config config = {.bind_host = "", .peer_host = ""};
  struct tp *tp = NULL;
  agg_error_t err = {0};
  if (device_count() > 0) return; /* nothing to show here */
  ck_assert_int_eq(tp_verbs.open(&config, &tp, &err), AGG_ENOTSUP);
  ck_assert_ptr_null(tp);
  ck_assert_msg(strlen(err.text) > 30 && strchr(err.text, ' ') != NULL, "\"%s\"", err.text);
  ck_assert_int_eq(tp_verbs.open(&config, &tp, NULL), AGG_ENOTSUP);
  ck_assert_int_eq(find("", &err), AGG_ENOTSUP);
  ck_assert_ptr_nonnull(strstr(err.text, "no RDMA device"));
  ck_assert_int_eq(find("mlx5_0:1", &err), AGG_ENOTSUP);
  ck_assert_ptr_nonnull(strstr(err.text, "AGG_DEVICES"));
}
END_TEST

START_TEST(nothing_to_close) {
  tp_verbs.close(NULL);
  tp_verbs.lane_close(NULL);
  tp_verbs.mem_dereg(NULL, NULL);
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("verbs_parts");
  TCase *t = tcase_create("parts");
  tcase_add_test(t, hello_bytes);
  tcase_add_test(t, hello_short);
  tcase_add_loop_test(t, hello_malformed, 0, 13);
  tcase_add_test(t, hello_random);
  tcase_add_test(t, answer_without_ticket);
  tcase_add_test(t, rejections);
  tcase_add_test(t, tickets);
  tcase_add_test(t, control_bytes);
  tcase_add_test(t, control_malformed);
  tcase_add_test(t, address_bytes);
  tcase_add_test(t, fabrics);
  tcase_add_test(t, address_full);
  tcase_add_test(t, address_malformed);
  tcase_add_test(t, address_random);
  tcase_add_loop_test(t, networks, 0, 15);
  tcase_add_test(t, every_status_has_words);
  tcase_add_test(t, every_cm_event_has_words);
  tcase_add_test(t, memory_words);
  tcase_add_test(t, hosts);
  tcase_add_loop_test(t, bad_device_lists, 0, 14);
  tcase_add_test(t, device_names_too_long);
  tcase_add_test(t, no_device);
  tcase_add_test(t, nothing_to_close);
  suite_add_tcase(s, t);
  return s;
}
