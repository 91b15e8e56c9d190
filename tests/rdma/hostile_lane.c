/*
 * Peers that break the rules of the verbs transport on a lane that is up: messages and RDMA requests made by hand (tests/lib/rawpeer.h),
 * too much of what is allowed and too little, moves that are none. Each gets its lane lost, with words, in time; no memory outside of what
 * it was granted changes, nothing is left behind, and a lane of the same two ends works all the while. What can be tried at once is.
 *
 * bed: -H 0 -t 240
 */
#include <string.h>

#include "tests/lib/hostile.h"
#include "transport/verbs/internal.h"

/* ---- messages on a lane that is up ---- */

static const struct {
  uint16_t len;
  uint8_t type, at, value;
  const char *text;
} messages[] = {
    {0, VERBS_ASK, 0, 0, "malformed control message of 0 bytes"},
    {1, VERBS_ASK, 0, 0, "malformed control message of 1 bytes"},
    {31, VERBS_ASK, 0, 0, "malformed control message of 31 bytes"},
    {33, VERBS_ASK, 0, 0, "longer than its buffer"},
    {4096, VERBS_ASK, 0, 0, "longer than its buffer"},
    {32, 0, 0, 0, "type 0"},
    {32, VERBS_NOTICE + 1, 0, 0, "type 6"},
    {32, 255, 0, 0, "type 255"},
    {32, VERBS_ASK, 1, VERBS_RAILS_MAX, "rail 8"},
    {32, VERBS_ASK, 1, 255, "rail 255"},
    {32, VERBS_ASK, 2, 1, "malformed"},
    {32, VERBS_ASK, 3, 1, "malformed"},
    {32, VERBS_ASK, 12, 1, "malformed"},
    {32, VERBS_ASK, 31, 0x80, "malformed"},
    {32, VERBS_PROBE, 0, VERBS_PROBE, "a second first message"},
    {32, VERBS_RESUME, 0, VERBS_RESUME, "resumes a lane that was not interrupted"},
    {32, VERBS_RESUME, 4, 0xff, "resumes a lane that was not interrupted"},
    {32, VERBS_ANSWER, 4, 1, "answered what was not asked"},
    {32, VERBS_NOTICE, 4, 1, "a notice as a message"},
    {32, VERBS_ASK, 8, 1, NULL}, /* about nothing: the answer is none */
    {32, VERBS_ASK, 1, VERBS_RAILS_MAX - 1, NULL},
};

START_TEST(bad_messages) {
  rig_open();
  connect_targets(ARRAY_LEN(messages), RECEIVES);
  for (unsigned i = 0; i < ARRAY_LEN(messages); i++) {
    static unsigned char bytes[RAW_BYTES];
    memset(bytes, 0, sizeof bytes);
    bytes[0] = messages[i].type;
    if (messages[i].at != 0) bytes[messages[i].at] = messages[i].value;
    rawpeer_send(targets[i].raw, bytes, messages[i].len);
    if (messages[i].text == NULL) rawpeer_notice(targets[i].raw, i);
  }
  for (unsigned i = 0; i < ARRAY_LEN(messages); i++) {
    struct target *t = &targets[i];
    UNTIL(beside(came_out(t, messages[i].text)));
    if (messages[i].text == NULL) {
      UNTIL(beside(t->raw->last.type == VERBS_ANSWER));
      ck_assert_uint_eq(t->raw->last.b, 0);
    }
    byte_check(t->mem.at, WINDOW, FILL);
  }
  for (unsigned i = 0; i < ARRAY_LEN(messages); i++) target_close(&targets[i]);
  rig_close();
}
END_TEST

/* ---- requests to the NIC on a lane that is up ---- */

struct request {
  enum ibv_wr_opcode opcode;
  int64_t off; /* from the window's place */
  uint32_t key_xor;
  uint32_t len;
  const char *text; /* NULL: it is allowed */
  int neighbour;    /* the window of another lane's domain, by its right key */
};

static const struct request requests[] = {
    {IBV_WR_RDMA_WRITE, 0, 0, WINDOW, NULL, 0}, /* first: it is looked at below */
    {IBV_WR_RDMA_WRITE_WITH_IMM, WINDOW - 8, 0, 8, NULL, 0},
    {IBV_WR_RDMA_WRITE, -1, 0, 2, "may not", 0},
    {IBV_WR_RDMA_WRITE, WINDOW - 1, 0, 2, "may not", 0},
    {IBV_WR_RDMA_WRITE, 1, 0, WINDOW, "may not", 0},
    {IBV_WR_RDMA_WRITE, WINDOW, 0, 1, "may not", 0},
    {IBV_WR_RDMA_WRITE, -WINDOW, 0, WINDOW, "may not", 0},
    {IBV_WR_RDMA_WRITE, (int64_t)1 << 40, 0, 64, "may not", 0},
    {IBV_WR_RDMA_WRITE, 0, 1, 64, "may not", 0},
    {IBV_WR_RDMA_WRITE, 0, 0x100, 64, "may not", 0},
    {IBV_WR_RDMA_WRITE, 0, 0x80000000, 64, "may not", 0},
    {IBV_WR_RDMA_WRITE_WITH_IMM, WINDOW - 1, 0, 2, "may not", 0},
    {IBV_WR_RDMA_WRITE_WITH_IMM, 0, 0x100, 64, "may not", 0},
    {IBV_WR_RDMA_WRITE, 0, 0, 64, "may not", 1},
    {IBV_WR_RDMA_WRITE_WITH_IMM, 0, 0, 64, "may not", 1},
    {IBV_WR_RDMA_READ, 0, 0, 64, "may not", 0},
    {IBV_WR_ATOMIC_FETCH_AND_ADD, 0, 0, 8, "may not", 0},
    {IBV_WR_SEND_WITH_IMM, 0, 0, VERBS_CONTROL_BYTES, "immediate data", 0},
    {IBV_WR_SEND_WITH_INV, 0, 0, VERBS_CONTROL_BYTES, "", 0},
};

START_TEST(bad_requests) {
  enum { N = ARRAY_LEN(requests) };
  rig_open();
  connect_targets(N, RECEIVES);
  for (unsigned i = 0; i < N; i++) {
    const struct request *q = &requests[i];
    struct tp_raddr at = targets[q->neighbour ? i - 1 : i].raw->welcome.window;
    at.off += (uint64_t)q->off;
    at.key ^= q->key_xor;
    memset(targets[i].raw->memory, (int)(0x80 + i), WINDOW);
    if (q->opcode == IBV_WR_SEND_WITH_IMM) memset(targets[i].raw->memory, 0, WINDOW);
    rawpeer_rdma(targets[i].raw, q->opcode, at, q->len, i);
    if (q->text == NULL) rawpeer_notice(targets[i].raw, i);
  }
  for (unsigned i = 0; i < N; i++) {
    struct target *t = &targets[i];
    UNTIL(beside(came_out(t, requests[i].text)));
    mem_check_guards(&t->mem);
    if (i > 1) byte_check(t->mem.at, WINDOW, FILL);
  }
  byte_check(targets[0].mem.at, WINDOW, 0x80);
  byte_check(targets[1].mem.at, WINDOW - 8, FILL);
  byte_check(targets[1].mem.at + WINDOW - 8, 8, 0x81);
  for (unsigned i = 0; i < N; i++) target_close(&targets[i]);
  rig_close();
}
END_TEST

/* ---- too much, and too little ---- */

static void in_order(struct lane *l, uint32_t notice, uint32_t bytes) {
  ck_assert_uint_eq(notice, ~(l->notices - 1)); /* numbers that no slot has */
  ck_assert_uint_eq(bytes, 0);
}

/* More notices than the lane's depth: the NIC holds back what this end has not taken, and each comes once. */
START_TEST(too_many_notices) {
  enum { MANY = 200 };
  rig_open();
  connect_targets(1, RECEIVES);
  targets[0].lane.on_notice = in_order;
  for (uint32_t i = 0; i < MANY; i++) rawpeer_notice(targets[0].raw, ~i);
  UNTIL(beside(targets[0].raw->sent == MANY + 1));
  UNTIL(beside(targets[0].lane.notices == MANY));
  target_close(&targets[0]);
  rig_close();
}
END_TEST

/* Questions without end: with answers taken, and with answers left lying. */
START_TEST(too_many_questions) {
  enum { MANY = 100 };
  rig_open();
  connect_targets(2, RECEIVES);
  UNTIL(beside(targets[0].raw->messages == 1 && targets[1].raw->messages == 1));
  targets[1].raw->receives = 0;
  for (uint32_t i = 0; i < MANY; i++)
    for (unsigned k = 0; k < 2; k++) rawpeer_control(targets[k].raw, VERBS_ASK, 0, i + 1, 0);
  UNTIL(beside(came_out(&targets[1], "asked again before it was answered")));
  UNTIL(beside(targets[0].raw->messages == MANY + 1 || targets[0].lane.lost));
  if (targets[0].lane.lost) ck_assert_ptr_nonnull(strstr(targets[0].lane.text, "asked again before it was answered"));
  for (unsigned i = 0; i < 2; i++) target_close(&targets[i]);
  rig_close();
}
END_TEST

/* Nobody takes what this end puts: it waits, as for a stopped process, and the others do not. Its memory can be taken back all the same. */
START_TEST(stops_receiving) {
  struct mem source;
  rig_open();
  connect_targets(1, 1);
  targets[0].raw->receives = 0;
  mem_open(&source, rig.b, WINDOW, MEM_PLAIN, 0);
  for (uint32_t i = 0; i < DEPTH; i++) put_one(&targets[0].lane, &source, 0, 64, rawpeer_place(targets[0].raw), i, i + 1);
  uint32_t before = rig.puts;
  UNTIL(beside(rig.puts >= before + 50));
  ck_assert_msg(!targets[0].lane.lost, "%s", targets[0].lane.text);
  ck_assert_uint_le(targets[0].lane.sents, 1); /* one receive was left */
  mem_close(&source);
  UNTIL(beside(came_out(&targets[0], "deregistered")));
  target_close(&targets[0]);
  rig_close();
}
END_TEST

/* It answers puts that its NIC has not acknowledged, and gets more of them for it: no put waits, and the lane is lost before the ring is
 * full. */
START_TEST(answers_without_receiving) {
  rig_open();
  connect_targets(1, 1);
  struct target *t = &targets[0];
  t->raw->receives = 0;
  for (uint32_t round = 0; round < 3; round++) {
    for (uint32_t i = 0; i < DEPTH; i++) put_one(&t->lane, &rig.source, 0, 64, rawpeer_place(t->raw), i, 0);
    ck_assert_uint_eq(t->lane.lane->state, round < 2 ? LANE_UP : LANE_LOST);
    if (round == 2) break;
    for (uint32_t i = 0; i < DEPTH; i++) rawpeer_notice(t->raw, i);
    UNTIL(beside(t->lane.lost || t->lane.notices == (round + 1) * DEPTH));
    ck_assert_msg(!t->lane.lost, "%s", t->lane.text);
  }
  UNTIL(beside(came_out(t, "not acknowledged")));
  target_close(t);
  rig_close();
}
END_TEST

/* ---- moving ---- */

static void spare_says(struct target *t, unsigned type, uint32_t a) { rawpeer_control(t->spare, type, 0, a, 0); }
static void resumes_well(struct target *t) { spare_says(t, VERBS_RESUME, 3); }
static void claims_more(struct target *t) { spare_says(t, VERBS_RESUME, 4); }
static void claims_much_more(struct target *t) { spare_says(t, VERBS_RESUME, 0x80000000); }
static void claims_less(struct target *t) { spare_says(t, VERBS_RESUME, 2); }
static void claims_minus_one(struct target *t) { spare_says(t, VERBS_RESUME, UINT32_MAX); }
static void resumes_twice(struct target *t) {
  resumes_well(t);
  resumes_well(t);
}
static void resumes_the_old(struct target *t) { rawpeer_control(t->raw, VERBS_RESUME, 0, 3, 0); }
static void spare_puts(struct target *t) { rawpeer_notice(t->spare, 9); }
static void spare_asks(struct target *t) { spare_says(t, VERBS_ASK, 1); }
static void spare_answers(struct target *t) { spare_says(t, VERBS_ANSWER, 1); }
static void spare_leaves(struct target *t) { rawpeer_disconnect(t->spare); }
static void resumes_and_leaves(struct target *t) {
  resumes_well(t);
  UNTIL(beside(t->spare->last.type == VERBS_RESUME)); /* its farewell may overtake it */
  rawpeer_disconnect(t->spare);
}
static void spare_idles(struct target *t) { (void)t; }

static const struct {
  void (*act)(struct target *t);
  const char *text; /* NULL: the lane goes on */
  int over_spare;
} moves[] = {
    {resumes_well, NULL, 1},
    {claims_more, "it has received 4 puts, of 3", 0},
    {claims_much_more, "it has received 2147483648 puts, of 3", 0},
    {claims_less, "it has received 2 puts, of 3", 0},
    {claims_minus_one, "it has received 4294967295 puts, of 3", 0},
    {resumes_twice, "resumes a lane that was not interrupted", 0},
    {resumes_the_old, "resumes a lane that was not interrupted", 0},
    {resumes_and_leaves, "", 0},
    {spare_puts, NULL, 0},
    {spare_asks, NULL, 0},
    {spare_answers, NULL, 0},
    {spare_leaves, NULL, 0},
    {spare_idles, NULL, 0},
};

static int three_sent(const struct target *t) { return t->lane.sents == 3; }
static int spare_is_up(const struct target *t) { return t->spare->state == RAW_UP && t->spare->messages > 0; }

static void open_spares(unsigned n) {
  for (unsigned i = 0; i < n; i++) targets[i].spare = dial_as(targets[i].number, VERBS_SPARE, RAW_PROPER, RECEIVES);
  for (unsigned i = 0; i < n; i++) {
    UNTIL(beside(targets[i].spare->state == RAW_UP));
    rawpeer_control(targets[i].spare, VERBS_PROBE, 0, 0, 0);
  }
  UNTIL(beside(all_targets(n, spare_is_up)));
}

START_TEST(bad_moves) {
  enum { N = ARRAY_LEN(moves) };
  rig_open();
  rig.b->tp->limits.move_ns = CONNECTING_NS;
  connect_targets(N, RECEIVES);
  for (unsigned i = 0; i < N; i++)
    for (uint32_t k = 0; k < 3; k++) put_one(&targets[i].lane, &rig.source, 0, 0, (struct tp_raddr){0}, k, k + 1);
  UNTIL(beside(all_targets(N, three_sent)));
  open_spares(N);
  for (unsigned i = 0; i < N; i++) moves[i].act(&targets[i]);
  for (unsigned i = 0; i < N; i++) {
    struct target *t = &targets[i];
    if (moves[i].over_spare) UNTIL(beside(t->spare->last.type == VERBS_RESUME));
    if (moves[i].text == NULL) rawpeer_notice(moves[i].over_spare ? t->spare : t->raw, 7);
    UNTIL(beside(came_out(t, moves[i].text)));
    if (moves[i].text == NULL) ck_assert(t->lane.notices == 1 && t->lane.notice[0].notice == 7);
  }
  for (unsigned i = 0; i < N; i++) target_close(&targets[i]);
  rig_close();
}
END_TEST

/* One connection for the lane to move to after the other: each takes the place of the one before. */
START_TEST(many_spares) {
  rig_open();
  connect_targets(1, RECEIVES);
  for (int i = 0; i < 20; i++) {
    if (targets[0].spare != NULL) rawpeer_close(targets[0].spare);
    if (i & 1)
      open_spares(1);
    else
      targets[0].spare = dial_as(1, VERBS_SPARE, RAW_BARE, 0);
    UNTIL(beside(targets[0].spare->state == RAW_UP || targets[0].spare->state == RAW_ANSWERED));
  }
  rawpeer_notice(targets[0].raw, 1);
  UNTIL(beside(came_out(&targets[0], NULL)));
  target_close(&targets[0]);
  rig_close();
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("hostile_lane");
  TCase *t = hostile_case("hostile_lane");
  tcase_add_test(t, bad_messages);
  tcase_add_test(t, bad_requests);
  tcase_add_test(t, too_many_notices);
  tcase_add_test(t, too_many_questions);
  tcase_add_test(t, stops_receiving);
  tcase_add_test(t, answers_without_receiving);
  tcase_add_test(t, bad_moves);
  tcase_add_test(t, many_spares);
  suite_add_tcase(s, t);
  return s;
}
