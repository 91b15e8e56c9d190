/*
 * Conformance: opening, addresses, finding the peer. Who connects first, which ticket, and that a lane that fails harms no other.
 */
#include <string.h>

#include "conform.h"

#define OPS (conform_current()->ops)

START_TEST(either_end_first) {
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb;
  int active_first = _i & 1, sleeping = _i & 2;
  if (sleeping && !conform_current()->no_sleep) turn_sleeping(1);
  struct mem ma, mb;
  mem_open(&ma, a, 5000, sleeping, 0);
  mem_open(&mb, b, 5000, !sleeping, 0);
  struct lane_options oa = {.window = &ma}, ob = {.window = &mb, .window_off = 4097};
  if (active_first) {
    lane_open(&la, a, b, 5, 1, &oa);
    settle();
    ck_assert(!la.connected && !la.lost);
    lane_open(&lb, b, a, 5, 0, &ob);
  } else {
    lane_open(&lb, b, a, 5, 0, &ob);
    settle();
    ck_assert(!lb.connected && !lb.lost);
    lane_open(&la, a, b, 5, 1, &oa);
  }
  UNTIL(la.connected && lb.connected);
  struct tp_raddr at_a = mem_raddr(&la, &ma, 0), at_b = mem_raddr(&lb, &mb, 4097);
  ck_assert(la.window.key == at_b.key && la.window.off == at_b.off);
  ck_assert(lb.window.key == at_a.key && lb.window.off == at_a.off);
  lanes_alive(&la, &lb);
  lane_close(&la);
  lane_close(&lb);
  mem_close(&ma);
  mem_close(&mb);
}
END_TEST

START_TEST(ticket_decides) {
  struct end *a = end_open(), *b = end_open();
  struct lane wrong_a, wrong_b, la, lb;
  lane_open(&wrong_b, b, a, 100, 0, NULL);
  lane_open(&wrong_a, a, b, 101, 1, NULL); /* differs */
  lanes_connect(&la, a, &lb, b, 102, NULL);
  lanes_alive(&la, &lb);
  settle();
  ck_assert_msg(!wrong_a.connected && !wrong_b.connected, "a lane was connected with another lane's ticket");
  lane_close(&wrong_a);
  lane_close(&wrong_b);
  lanes_alive(&la, &lb);
}
END_TEST

/* One bit of the ticket differs, wherever it is. */
START_TEST(ticket_bit) {
  if (conform_current()->slow_to_drop) return; /* ticket_decides has told */
  struct end *a = end_open(), *b = end_open();
  struct lane wrong = {0}, la, lb;
  struct tp_lane_config c = {.active = 1, .depth = 4, .user = &wrong, .peer_address = b->address, .peer_address_len = b->address_len};
  lane_open(&lb, b, a, 9, 0, NULL);
  ticket_of(9, c.ticket);
  c.ticket[_i == 0 ? 0 : TP_TICKET_BYTES - 1] ^= _i == 0 ? 0x80 : 1;
  ck_assert_int_eq(OPS->lane_open(a->tp, &c, &wrong.lane, NULL), 0);
  settle();
  ck_assert(!wrong.connected && !lb.connected);
  lane_open(&la, a, b, 9, 1, NULL);
  UNTIL(la.connected && lb.connected);
  lanes_alive(&la, &lb);
  ck_assert(!wrong.connected);
}
END_TEST

START_TEST(many_lanes) {
  enum { N = 64 };
  static struct lane la[N], lb[N];
  struct end *a = end_open(), *b = end_open();
  for (uint32_t i = 0; i < N; i++) { /* either end active, opened in different orders */
    int active = (int)(i % 3 == 0);
    lane_open(&la[i], a, b, 1000 + i, active, NULL);
    uint32_t j = i ^ 1;
    lane_open(&lb[j], b, a, 1000 + j, j % 3 != 0, NULL);
    if (i % 8 == 0) turn();
  }
  for (int i = 0; i < N; i++) UNTIL(la[i].connected && lb[i].connected);
  for (int i = 0; i < N; i++) lanes_alive(&la[i], &lb[i]);
  for (int i = 0; i < N; i += 2) {
    lane_close(&la[i]);
    UNTIL(lb[i].lost);
    lane_close(&lb[i]);
  }
  for (int i = 1; i < N; i += 2) lanes_alive(&la[i], &lb[i]);
}
END_TEST

START_TEST(several_peers) {
  enum { N = 5 };
  static struct lane down[N], up[N];
  struct end *root = end_open();
  for (uint32_t i = 0; i < N; i++) lanes_connect(&up[i], end_open(), &down[i], root, 40 + i, NULL);
  for (uint32_t i = 0; i < N; i++) lanes_alive(&up[i], &down[i]);
  end_close(up[2].end); /* one goes, the others stay */
  up[2].lane = NULL;
  UNTIL(down[2].lost);
  for (uint32_t i = 0; i < N; i++) {
    if (i != 2) lanes_alive(&up[i], &down[i]);
  }
}
END_TEST

START_TEST(address_is_checked) {
  struct end *a = end_open(), *b = end_open();
  unsigned char bad[TP_ADDRESS_MAX + 16];
  ck_assert_int_eq(OPS->reach(a->tp, b->address, b->address_len), 1);
  ck_assert_int_eq(OPS->reach(b->tp, a->address, a->address_len), 1);
  for (size_t len = 0; len < b->address_len; len++) {
    ck_assert_msg(OPS->reach(a->tp, b->address, len) == 0, "the first %zu bytes of an address are taken for an address", len);
  }
  memset(bad, 0, sizeof bad);
  ck_assert_int_eq(OPS->reach(a->tp, bad, b->address_len), 0);
  ck_assert_int_eq(OPS->reach(a->tp, bad, sizeof bad), 0);
  memset(bad, 0xff, sizeof bad);
  ck_assert_int_eq(OPS->reach(a->tp, bad, b->address_len), 0);
  memcpy(bad, b->address, b->address_len);
  ck_assert_int_eq(OPS->reach(a->tp, bad, sizeof bad), 0); /* something follows */
  struct rng r = {.state = 77};
  for (int i = 0; i < 2000; i++) { /* only that it does no harm */
    for (size_t k = 0; k < sizeof bad; k++) bad[k] = (unsigned char)rng_next(&r);
    memcpy(bad, b->address, rng_below(&r, b->address_len));
    (void)OPS->reach(a->tp, bad, rng_below(&r, sizeof bad + 1));
  }
}
END_TEST

/* A malformed address is refused at once or ends in TP_LOST; it harms nobody. */
START_TEST(malformed_address) {
  struct end *a = end_open(), *b = end_open();
  struct lane bad = {0}, la, lb;
  agg_error_t err = {0};
  struct tp_lane_config c = {.active = 1, .depth = 4, .user = &bad, .peer_address = b->address, .peer_address_len = b->address_len - 1};
  ticket_of(3, c.ticket);
  int rc = OPS->lane_open(a->tp, &c, &bad.lane, &err);
  ck_assert_int_le(rc, 0);
  if (rc == 0)
    UNTIL(bad.lost);
  else
    ck_assert_msg(strlen(err.text) > 10, "no text: \"%s\"", err.text);
  lanes_connect(&la, a, &lb, b, 4, NULL);
  lanes_alive(&la, &lb);
}
END_TEST

START_TEST(closing_before_connected) {
  struct end *a = end_open(), *b = end_open();
  struct lane la, lb, other_a, other_b;
  for (uint32_t i = 0; i < 8; i += conform_current()->slow_to_drop ? 7 : 1) {
    lane_open(&la, a, b, 60, 1, NULL);
    for (uint32_t k = 0; k < i; k++) turn();
    lane_close(&la);
    lane_open(&lb, b, a, 61, 0, NULL);
    for (uint32_t k = 0; k < i; k++) turn();
    lane_close(&lb);
  }
  settle();
  lanes_connect(&other_a, a, &other_b, b, 62, NULL);
  lanes_alive(&other_a, &other_b);
}
END_TEST

START_TEST(nothing_to_close) {
  struct end *a = end_open();
  OPS->lane_close(NULL);
  OPS->mem_dereg(a->tp, NULL);
  OPS->close(NULL);
}
END_TEST

/* The fixture compares the descriptors. */
START_TEST(close_with_everything_open) {
  for (int i = 0; i < 20; i++) {
    struct end *a = end_open(), *b = end_open();
    struct lane la, lb, waiting, dialing;
    struct mem ma, mb;
    mem_open(&ma, a, 100000, i & 1, 0);
    mem_open(&mb, b, 100000, i & 1, 0);
    lanes_connect(&la, a, &lb, b, 1, NULL);
    lane_open(&waiting, a, b, 2, 0, NULL);
    if (!conform_current()->slow_to_drop) lane_open(&dialing, a, b, 3, 1, NULL);
    for (int k = 0; k < 16; k++) put_one(&la, &ma, 0, 100000, mem_raddr(&lb, &mb, 0), 1, 1);
    for (int k = 0; k < i; k++) turn();
    struct mem *regions[2] = {&ma, &mb};
    end_close(a);
    end_close(b);
    for (int k = 0; k < 2; k++) { /* the regions went with their tp: only the memory is left */
      mem_check_guards(regions[k]);
      mem_forget(regions[k]);
    }
  }
}
END_TEST

void conform_add_connect(Suite *s) {
  TCase *t = tcase_create("connect");
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, either_end_first, 0, 4);
  tcase_add_test(t, ticket_decides);
  tcase_add_loop_test(t, ticket_bit, 0, 2);
  tcase_add_test(t, many_lanes);
  tcase_add_test(t, several_peers);
  tcase_add_test(t, address_is_checked);
  tcase_add_test(t, malformed_address);
  tcase_add_test(t, closing_before_connected);
  tcase_add_test(t, nothing_to_close);
  tcase_add_test(t, close_with_everything_open);
  suite_add_tcase(s, t);
}
