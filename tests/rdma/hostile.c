/*
 * Peers and strangers that break the rules of the verbs transport while a lane is connected: connection requests, answers to them and first
 * messages made by hand (tests/lib/rawpeer.h). Each gets its request rejected or its lane lost, with words, in time; no memory outside of
 * what it was granted changes, nothing is left behind, and a lane of the same two ends works all the while. What can be tried at once is.
 * bed: -H 0 -t 240
 */
#include <string.h>

#include "tests/lib/hostile.h"
#include "transport/tps.h"
#include "transport/verbs/internal.h"

/* ---- strangers ---- */

static const struct {
  uint8_t len, at, value;
  int refusal;
} greetings[] = {
    {0, 0, 0, VERBS_MALFORMED},
    {1, 0, 'A', VERBS_MALFORMED},
    {3, 0, 'A', VERBS_MALFORMED},
    {48, 0, 'A', VERBS_MALFORMED}, /* it ends before the MTU, and the CM fills up with zeros */
    {50, 0, 'A', VERBS_NO_TICKET},
    {56, 55, 0xff, VERBS_NO_TICKET}, /* longer than it needs to be */
    {52, 0, 'B', VERBS_MALFORMED},
    {52, 1, 0, VERBS_MALFORMED},
    {52, 2, 0, VERBS_MALFORMED},
    {52, 2, VERBS_VERSION + 1, VERBS_MALFORMED},
    {52, 2, 255, VERBS_MALFORMED},
    {52, 3, 0, VERBS_MALFORMED},
    {52, 3, VERBS_SPARE, VERBS_NO_TICKET},
    {52, 3, VERBS_WELCOME, VERBS_MALFORMED},
    {52, 3, 4, VERBS_MALFORMED},
    {52, 3, 255, VERBS_MALFORMED},
    {52, 35, 1, VERBS_NO_TICKET},
    {52, 48, VERBS_RAILS_MAX, VERBS_MALFORMED},
    {52, 48, 255, VERBS_MALFORMED},
    {52, 49, 0, VERBS_MALFORMED},
    {52, 49, IBV_MTU_4096 + 1, VERBS_MALFORMED},
    {52, 50, 2, VERBS_MALFORMED},
    {52, 51, 1, VERBS_MALFORMED},
};

START_TEST(strange_greetings) {
  struct rawpeer *r[ARRAY_LEN(greetings)], *garbage;
  rig_open();
  for (unsigned i = 0; i < ARRAY_LEN(greetings); i++) {
    unsigned char bytes[RAW_PRIVATE] = {0};
    rawpeer_hello(bytes, VERBS_LANE, 500);
    bytes[greetings[i].at] = greetings[i].value;
    r[i] = rawpeer_dial(rig.b, i & 1 ? RAW_BARE : RAW_PROPER, bytes, greetings[i].len, 1);
  }
  unsigned char noise[RAW_PRIVATE];
  memset(noise, 0x41, sizeof noise);
  garbage = rawpeer_dial(rig.b, RAW_BARE, noise, sizeof noise, 0);
  for (unsigned i = 0; i < ARRAY_LEN(greetings); i++) {
    UNTIL(beside(r[i]->state == RAW_REFUSED));
    ck_assert_msg(r[i]->refusal == greetings[i].refusal, "greeting %u was refused for reason %d", i, r[i]->refusal);
    rawpeer_close(r[i]);
  }
  UNTIL(beside(garbage->state == RAW_REFUSED));
  ck_assert_int_eq(garbage->refusal, VERBS_MALFORMED);
  rawpeer_close(garbage);
  rig_close();
}
END_TEST

/* A ticket serves once: while the lane is waited for it makes no spare, while the lane is up it makes no lane, and neither afterwards. */
START_TEST(tickets_serve_once) {
  static const enum verbs_hello_kind kinds[] = {VERBS_LANE, VERBS_SPARE};
  rig_open();
  target_open(0, rig.a, 0);
  struct rawpeer *early = dial_as(1, VERBS_SPARE, RAW_PROPER, 1);
  UNTIL(beside(early->state == RAW_REFUSED));
  ck_assert_int_eq(early->refusal, VERBS_NO_TICKET);
  rawpeer_close(early);
  target_close(&targets[0]);
  connect_targets(1, RECEIVES);
  struct rawpeer *again = dial_as(1, VERBS_LANE, RAW_PROPER, 1);
  UNTIL(beside(again->state == RAW_REFUSED));
  ck_assert_int_eq(again->refusal, VERBS_NO_TICKET);
  rawpeer_close(again);
  rawpeer_notice(targets[0].raw, 1);
  UNTIL(beside(came_out(&targets[0], NULL)));
  rawpeer_disconnect(targets[0].raw);
  UNTIL(beside(came_out(&targets[0], "the peer closed the connection")));
  for (unsigned i = 0; i < 2 * ARRAY_LEN(kinds); i++) {
    if (i == ARRAY_LEN(kinds)) target_close(&targets[0]); /* lost, then closed */
    struct rawpeer *late = dial_as(1, kinds[i % ARRAY_LEN(kinds)], RAW_PROPER, 1);
    UNTIL(beside(late->state == RAW_REFUSED));
    ck_assert_int_eq(late->refusal, VERBS_NO_TICKET);
    rawpeer_close(late);
  }
  rig_close();
}
END_TEST

static unsigned refused(struct rawpeer *const *r, unsigned n) {
  unsigned sum = 0;
  for (unsigned i = 0; i < n; i++) sum += r[i]->state == RAW_REFUSED;
  ck_assert_uint_le(rig.b->tp->n_strangers, VERBS_STRANGERS_MAX);
  return sum;
}

/* More requests than there are places, all at once: what is kept is bounded, and lanes connect in the middle of it. */
START_TEST(flood) {
  enum { MANY = 320, LANES = 4 };
  static struct rawpeer *r[MANY];
  static struct lane la[LANES], lb[LANES];
  rig_open();
  for (unsigned i = 0; i < MANY; i++) r[i] = dial_as(1000 + i, i & 1 ? VERBS_LANE : VERBS_SPARE, RAW_BARE, 0);
  for (unsigned i = 0; i < LANES; i++) {
    lane_open(&la[i], rig.a, rig.b, HONEST + 1 + i, 1, NULL);
    if (i & 1) lane_open(&lb[i], rig.b, rig.a, HONEST + 1 + i, 0, NULL);
  }
  UNTIL(beside(refused(r, MANY) >= MANY - VERBS_STRANGERS_MAX));
  for (unsigned i = 0; i < LANES; i += 2) lane_open(&lb[i], rig.b, rig.a, HONEST + 1 + i, 0, NULL);
  for (unsigned i = 0; i < LANES; i++) {
    UNTIL(beside((la[i].connected && lb[i].connected) || la[i].lost || lb[i].lost));
    ck_assert_msg(!la[i].lost && !lb[i].lost, "lane %u is lost: %s %s", i, la[i].text, lb[i].text);
    lane_close(&la[i]);
    lane_close(&lb[i]);
  }
  for (unsigned i = 0; i < MANY; i++) {
    UNTIL(beside(r[i]->state == RAW_REFUSED));
    rawpeer_close(r[i]);
  }
  UNTIL(beside(rig.b->tp->n_strangers == 0)); /* a request that the kernel has sent again may come late */
  rig_close();
}
END_TEST

/* Only the end that dials makes progress, so that requests gather in the kernel of the other. Nothing else is under way. */
static void the_other_sleeps(void) {
  struct tp_event none;
  rawpeer_turn();
  ck_assert_int_eq(tp_verbs.poll(rig.a->tp, &none, 1), 0);
}

/* The other end sleeps while requests come: it wakes to all of them, the lane's behind the rest, and the lane connects. */
START_TEST(flood_while_asleep) {
  enum { MANY = 300 };
  static struct rawpeer *r[MANY];
  struct lane la, lb;
  unsigned asked = 0;
  rig_open();
  lane_open(&lb, rig.b, rig.a, HONEST + 1, 0, NULL);
  settle();
  for (unsigned i = 0; i < MANY; i++) r[i] = dial_as(1000 + i, VERBS_LANE, RAW_BARE, 0);
  while (asked < MANY) {
    rawpeer_turn();
    asked = 0;
    for (unsigned i = 0; i < MANY; i++) asked += r[i]->state != RAW_DIALING;
  }
  lane_open(&la, rig.a, rig.b, HONEST + 1, 1, NULL);
  while (la.lane->spare == NULL || la.lane->spare->state != CONN_DIALING) the_other_sleeps();
  UNTIL(beside((la.connected && lb.connected) || la.lost || lb.lost));
  ck_assert_msg(!la.lost && !lb.lost, "lost: %s %s", la.text, lb.text);
  for (unsigned i = 0; i < MANY; i++) {
    UNTIL(beside(r[i]->state == RAW_REFUSED));
    rawpeer_close(r[i]);
  }
  lane_close(&la);
  lane_close(&lb);
  rig_close();
}
END_TEST

/* ---- the right ticket, and wrong from there on ---- */

static const unsigned char zeros[RAW_BYTES];

static void says_nothing(struct rawpeer *r) { (void)r; }
static void leaves(struct rawpeer *r) { rawpeer_disconnect(r); }
static void vanishes(struct rawpeer *r) { rawpeer_close(r); }
static void empty_first(struct rawpeer *r) { rawpeer_send(r, zeros, 0); }
static void zeros_first(struct rawpeer *r) { rawpeer_send(r, zeros, VERBS_CONTROL_BYTES); }
static void longer_first(struct rawpeer *r) { rawpeer_send(r, zeros, VERBS_PROBE_BYTES + 1); }
static void resume_first(struct rawpeer *r) { rawpeer_control(r, VERBS_RESUME, 0, 0, 0); }
static void notice_first(struct rawpeer *r) { rawpeer_notice(r, 1); }
static void write_first(struct rawpeer *r) { rawpeer_rdma(r, IBV_WR_RDMA_WRITE, r->welcome.window, WINDOW + 1, 0); }
static void probe_only(struct rawpeer *r) { rawpeer_control(r, VERBS_PROBE, 0, 0, 0); }

static const struct {
  enum rawpeer_manner manner;
  unsigned receives;
  void (*act)(struct rawpeer *r);
  const char *text;
} beginnings[] = {
    {RAW_BARE, 0, says_nothing, "did not go on in time"},
    {RAW_BARE, 0, vanishes, "while it was made"},
    {RAW_PROPER, RECEIVES, says_nothing, "a first message"},
    {RAW_PROPER, RECEIVES, leaves, "closed the connection"},
    {RAW_PROPER, RECEIVES, vanishes, "closed the connection"},
    {RAW_PROPER, RECEIVES, empty_first, "control message of 0 bytes"},
    {RAW_PROPER, RECEIVES, zeros_first, "type 0"},
    {RAW_PROPER, RECEIVES, longer_first, "longer than its buffer"},
    {RAW_PROPER, RECEIVES, resume_first, "before the first message"},
    {RAW_PROPER, RECEIVES, notice_first, "a put on a connection that the lane does not go over"},
    {RAW_PROPER, RECEIVES, write_first, "may not"},
    {RAW_PROPER, 0, probe_only, "a first message"},
};

/* Each twice: the one lane is lost when its time is over; the other one's peer comes all the same, and the lane connects. */
START_TEST(bad_beginnings) {
  enum { N = ARRAY_LEN(beginnings) };
  rig_open();
  rig_hurry();
  for (unsigned i = 0; i < 2 * N; i++) {
    target_open(i, rig.a, 0);
    targets[i].raw = dial_as(i + 1, VERBS_LANE, beginnings[i / 2].manner, beginnings[i / 2].receives);
  }
  for (unsigned i = 0; i < 2 * N; i++) {
    UNTIL(beside(targets[i].raw->state == RAW_UP || targets[i].raw->state == RAW_ANSWERED));
    beginnings[i / 2].act(targets[i].raw);
    struct lane_options o = {.depth = DEPTH};
    if (i & 1) lane_open(&targets[i].honest, rig.a, rig.b, i + 1, 1, &o);
  }
  for (unsigned i = 0; i < 2 * N; i++) {
    struct target *t = &targets[i];
    if (i & 1)
      UNTIL(beside(target_connected(t) && t->honest.connected));
    else
      UNTIL(beside(came_out(t, beginnings[i / 2].text)));
    byte_check(t->mem.at, WINDOW, FILL);
  }
  for (unsigned i = 0; i < 2 * N; i++) target_close(&targets[i]);
  rig_close();
}
END_TEST

/* A request that has been withdrawn by the time that it is looked at: the lane waits for the next one. */
START_TEST(withdrawn) {
  rig_open();
  target_open(0, rig.a, 0);
  settle();
  struct rawpeer *gone = dial_as(1, VERBS_LANE, RAW_PROPER, RECEIVES);
  while (gone->state == RAW_DIALING) rawpeer_turn();
  rawpeer_close(gone);
  struct lane_options o = {.depth = DEPTH};
  lane_open(&targets[0].honest, rig.a, rig.b, 1, 1, &o);
  UNTIL(beside(target_connected(&targets[0]) && targets[0].honest.connected));
  target_close(&targets[0]);
  rig_close();
}
END_TEST

/* The acknowledgement of this end's first message is late: what the peer says next shows that it has it. (Here it is just claimed.) */
START_TEST(late_acknowledgement) {
  rig_open();
  target_open(0, rig.a, 0);
  targets[0].raw = dial_as(1, VERBS_LANE, RAW_PROPER, 0);
  UNTIL(beside(targets[0].raw->state == RAW_UP));
  probe_only(targets[0].raw);
  rawpeer_notice(targets[0].raw, 5);
  UNTIL(beside(targets[0].lane.lost || targets[0].lane.notices == 1));
  ck_assert_msg(!targets[0].lane.lost, "%s", targets[0].lane.text);
  ck_assert(targets[0].lane.connected && targets[0].lane.notice[0].notice == 5);
  target_close(&targets[0]);
  rig_close();
}
END_TEST

/* Parameters that do not fit this end. */
START_TEST(wrong_parameters) {
  unsigned char hello[VERBS_HELLO_BYTES];
  rig_open();
  target_open(0, rig.a, 0);
  rawpeer_hello(hello, VERBS_LANE, 1);
  hello[50] = 0; /* no immediate data */
  targets[0].raw = rawpeer_dial(rig.b, RAW_PROPER, hello, sizeof hello, RECEIVES);
  UNTIL(beside(targets[0].raw->state == RAW_REFUSED));
  ck_assert_int_eq(targets[0].raw->refusal, VERBS_NO_ROOM);
  UNTIL(beside(came_out(&targets[0], "one end is iWARP and the other is not")));
  target_open(1, rig.a, 0);
  rawpeer_hello(hello, VERBS_LANE, 2);
  hello[49] = IBV_MTU_256; /* less than it could be: so be it */
  targets[1].raw = rawpeer_dial(rig.b, RAW_PROPER, hello, sizeof hello, RECEIVES);
  UNTIL(beside(targets[1].raw->state == RAW_UP));
  probe_only(targets[1].raw);
  UNTIL(beside(targets[1].lane.connected));
  ck_assert_ptr_nonnull(strstr(targets[1].lane.over, "MTU 256"));
  for (unsigned i = 0; i < 2; i++) target_close(&targets[i]);
  rig_close();
}
END_TEST

/* ---- whom this end dials ---- */

static const struct {
  enum rawpeer_manner manner;
  uint8_t len, at, value;
  unsigned receives;
  void (*act)(struct rawpeer *r);
  const char *text;
} answers[] = {
    {RAW_PROPER, 0, 0, 0, RECEIVES, NULL, "not a connection of libagg's"},
    {RAW_PROPER, 52, 0, 'B', RECEIVES, NULL, "not a connection of libagg's"},
    {RAW_PROPER, 52, 2, 9, RECEIVES, NULL, "it speaks version 9"},
    {RAW_PROPER, 52, 3, VERBS_LANE, RECEIVES, NULL, "its answer is malformed"},
    {RAW_PROPER, 52, 3, 77, RECEIVES, NULL, "malformed (kind 77"},
    {RAW_PROPER, 52, 4, 1, RECEIVES, NULL, "malformed (kind 3"},
    {RAW_PROPER, 52, 48, VERBS_RAILS_MAX, RECEIVES, NULL, "rail 8"},
    {RAW_PROPER, 52, 49, 0, RECEIVES, NULL, "mtu 0"},
    {RAW_PROPER, 52, 49, 6, RECEIVES, NULL, "mtu 6"},
    {RAW_PROPER, 52, 50, 0, RECEIVES, NULL, "one end is iWARP"},
    {RAW_PROPER, 52, 0, 'A', RECEIVES, says_nothing, "a first message"},
    {RAW_PROPER, 52, 0, 'A', 0, probe_only, "a first message"},
    {RAW_PROPER, 52, 0, 'A', RECEIVES, leaves, "closed the connection"},
    {RAW_PROPER, 52, 0, 'A', RECEIVES, zeros_first, "type 0"},
    {RAW_PROPER, 52, 0, 'A', RECEIVES, notice_first, "a put on a connection that the lane does not go over"},
    {RAW_BARE, 52, 0, 'A', 0, NULL, "a first message"},
    {RAW_IGNORE, 52, 0, 'A', 0, NULL, "no answer"},
    {RAW_REJECT, 0, 0, 0, 0, NULL, "rejected"},
    {RAW_REJECT, 52, 0, 0xff, 0, NULL, "rejected"},
    {RAW_REJECT, 52, 0, 'A', 0, NULL, "does not know this lane's ticket"}, /* its byte 3 is a reason's */
};

START_TEST(bad_answers) {
  enum { N = ARRAY_LEN(answers) };
  struct end them;
  rig_open();
  rig_hurry();
  rawpeer_address(&them);
  for (unsigned i = 0; i < N; i++) {
    unsigned char bytes[RAW_PRIVATE];
    rawpeer_hello(bytes, VERBS_WELCOME, 0);
    if (answers[i].manner == RAW_REJECT) bytes[3] = VERBS_NO_TICKET;
    bytes[answers[i].at] = answers[i].value;
    targets[i].raw = NULL;
    struct rawpeer *r = rawpeer_expect(i + 1, answers[i].manner, bytes, answers[i].len, answers[i].receives);
    target_open(i, &them, 1);
    targets[i].raw = r;
  }
  for (unsigned i = 0; i < N; i++) {
    struct rawpeer *r = targets[i].raw;
    if (answers[i].act != NULL) {
      UNTIL(beside(r->state == RAW_UP));
      answers[i].act(r);
    }
  }
  for (unsigned i = 0; i < N; i++) {
    UNTIL(beside(came_out(&targets[i], answers[i].text)));
    byte_check(targets[i].mem.at, WINDOW, FILL);
  }
  for (unsigned i = 0; i < N; i++) target_close(&targets[i]);
  rig_close();
}
END_TEST

/* iWARP's CM says "established" where the others say "answered": given by hand here, since these devices are none. */
START_TEST(bad_answer_on_iwarp) {
  struct end them;
  rig_open();
  rawpeer_address(&them);
  struct rawpeer *r = rawpeer_expect(1, RAW_IGNORE, NULL, 0, 0);
  target_open(0, &them, 1);
  targets[0].raw = r;
  UNTIL(beside(r->welcome.kind == VERBS_LANE));
  conn_cm(targets[0].lane.lane->spare, RDMA_CM_EVENT_ESTABLISHED, 0, zeros, VERBS_HELLO_BYTES);
  UNTIL(beside(came_out(&targets[0], "not a connection of libagg's")));
  target_close(&targets[0]);
  rig_close();
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("hostile");
  TCase *t = hostile_case("hostile");
  tcase_add_test(t, strange_greetings);
  tcase_add_test(t, tickets_serve_once);
  tcase_add_test(t, flood);
  tcase_add_test(t, flood_while_asleep);
  tcase_add_test(t, bad_beginnings);
  tcase_add_test(t, withdrawn);
  tcase_add_test(t, late_acknowledgement);
  tcase_add_test(t, wrong_parameters);
  tcase_add_test(t, bad_answers);
  tcase_add_test(t, bad_answer_on_iwarp);
  suite_add_tcase(s, t);
  return s;
}
