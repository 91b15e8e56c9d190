/*
 * Peers and strangers that break the rules of the verbs transport: connection requests, answers to them, messages and RDMA requests
 * made by hand (tests/lib/rawpeer.h). Each gets its request rejected or its lane lost, with words, in time; no memory outside of what
 * it was granted changes, nothing is left behind, and a lane of the same two ends works all the while. What can be tried at once is.
 * bed: -H 0 -t 240
 */
#include <string.h>

#include "tests/lib/bed.h"
#include "tests/lib/rawpeer.h"
#include "transport/tps.h"
#include "transport/verbs/internal.h"

#define TARGETS 64
#define WINDOW 4096
#define FILL 0x5a
#define DEPTH 16
#define PATIENCE_NS 400000000u    /* for strangers and first messages */
#define CONNECTING_NS 1500000000u /* for a lane to be connected */
#define RECEIVES 8
#define HONEST 900 /* tickets of lanes between honest ends from here on */

/* ---- two honest ends, and a lane between them that is never at rest ---- */

static struct {
  struct end *a, *b; /* b is attacked; where the attacked one dials, too */
  struct lane la, lb;
  struct mem source; /* at b */
  uint32_t puts;
  char resources[4096];
} rig;

static void no_pause(struct lane *l, struct tp_raddr nowhere) {
  struct tp_src nothing = {0};
  tp_verbs.put(l->lane, &nothing, 1, nowhere, rig.puts, 0);
}

/* cond, after a step of everybody else's. */
static int beside(int cond) {
  struct tp_raddr nowhere = {0};
  rawpeer_turn();
  ck_assert_msg(!rig.la.lost && !rig.lb.lost, "the lane beside is lost: %s %s", rig.la.text, rig.lb.text);
  if (rig.la.notices == rig.puts && rig.lb.notices == rig.puts) {
    no_pause(&rig.la, nowhere);
    no_pause(&rig.lb, nowhere);
    rig.puts++;
  }
  return cond;
}

static int nothing_left(void) {
  char now[sizeof rig.resources];
  bed_resources(now, sizeof now);
  return strcmp(now, rig.resources) == 0;
}

static void rig_open(void) {
  memset(&rig, 0, sizeof rig);
  rig.a = end_open();
  rig.b = end_open();
  lanes_connect(&rig.la, rig.a, &rig.lb, rig.b, HONEST, NULL);
  mem_open(&rig.source, rig.b, WINDOW, MEM_PLAIN, 0);
  bed_resources(rig.resources, sizeof rig.resources);
  rig.b->tp->limits.stranger_ns = PATIENCE_NS;
}

/* Its lanes are given up soon. */
static void rig_hurry(void) {
  rig.b->tp->limits.probe_ns = PATIENCE_NS;
  rig.b->tp->limits.dial_ns = rig.b->tp->limits.wait_ns = rig.b->tp->limits.move_ns = CONNECTING_NS;
}

static void rig_close(void) {
  uint32_t before = rig.puts;
  UNTIL(beside(rig.puts >= before + 3)); /* it went on, and does */
  UNTIL(beside(nothing_left()));
  mem_close(&rig.source);
  lane_close(&rig.la);
  lane_close(&rig.lb);
}

/* ---- lanes that are attacked: each with a domain and a window of its own, and a raw peer ---- */

struct target {
  uint32_t number; /* its ticket, its domain */
  struct lane lane;
  struct mem mem;
  struct rawpeer *raw, *spare;
  struct lane honest; /* a peer that keeps to the rules */
};
static struct target targets[TARGETS];

static void target_open(unsigned i, const struct end *peer, int active) {
  struct target *t = &targets[i];
  memset(t, 0, sizeof *t);
  t->number = i + 1;
  mem_open(&t->mem, rig.b, WINDOW, MEM_PLAIN, t->number);
  memset(t->mem.at, FILL, WINDOW);
  struct lane_options o = {.depth = DEPTH, .domain = t->number, .window = &t->mem};
  lane_open(&t->lane, rig.b, peer, t->number, active, &o);
}

static void target_close(struct target *t) {
  if (t->raw != NULL) rawpeer_close(t->raw);
  if (t->spare != NULL) rawpeer_close(t->spare);
  if (t->honest.lane != NULL) lane_close(&t->honest);
  lane_close(&t->lane);
  mem_close(&t->mem);
}

static struct rawpeer *dial_as(uint32_t number, enum verbs_hello_kind kind, enum rawpeer_manner manner, unsigned receives) {
  unsigned char hello[VERBS_HELLO_BYTES];
  rawpeer_hello(hello, kind, number);
  return rawpeer_dial(rig.b, manner, hello, sizeof hello, receives);
}

static int count(unsigned n, int (*holds)(const struct target *t)) {
  unsigned sum = 0;
  for (unsigned i = 0; i < n; i++) sum += (unsigned)holds(&targets[i]);
  return sum == n;
}

static int peer_is_up(const struct target *t) { return t->raw->state == RAW_UP; }
static int is_connected(const struct target *t) {
  ck_assert_msg(!t->lane.lost, "%u is lost while connecting: %s", t->number, t->lane.text);
  return t->lane.connected;
}
static int spare_is_up(const struct target *t) { return t->spare->state == RAW_UP && t->spare->messages > 0; }

/* All targets connected to their raw peers. */
static void connect_targets(unsigned n, unsigned receives) {
  for (unsigned i = 0; i < n; i++) {
    target_open(i, rig.a, 0);
    targets[i].raw = dial_as(targets[i].number, VERBS_LANE, RAW_PROPER, receives);
  }
  UNTIL(beside(count(n, peer_is_up)));
  for (unsigned i = 0; i < n; i++) rawpeer_control(targets[i].raw, VERBS_PROBE, 0, 0, 0);
  UNTIL(beside(count(n, is_connected)));
}

/* Lost with these words or, where there are none, at work: a notice passes. */
static int came_out(const struct target *t, const char *text) {
  if (text == NULL) {
    ck_assert_msg(!t->lane.lost, "%u is lost: %s", t->number, t->lane.text);
    return t->lane.notices > 0;
  }
  if (!t->lane.lost) return 0;
  ck_assert_msg(strstr(t->lane.text, text) != NULL, "%u: \"%s\" does not say \"%s\"", t->number, t->lane.text, text);
  return 1;
}

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
  rig.b->tp->limits.stranger_ns = CONNECTING_NS;
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
  ck_assert_uint_eq(rig.b->tp->n_strangers, 0);
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
      UNTIL(beside(is_connected(t) && t->honest.connected));
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
  UNTIL(beside(is_connected(&targets[0]) && targets[0].honest.connected));
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

static void open_spares(unsigned n) {
  for (unsigned i = 0; i < n; i++) targets[i].spare = dial_as(targets[i].number, VERBS_SPARE, RAW_PROPER, RECEIVES);
  for (unsigned i = 0; i < n; i++) {
    UNTIL(beside(targets[i].spare->state == RAW_UP));
    rawpeer_control(targets[i].spare, VERBS_PROBE, 0, 0, 0);
  }
  UNTIL(beside(count(n, spare_is_up)));
}

START_TEST(bad_moves) {
  enum { N = ARRAY_LEN(moves) };
  rig_open();
  rig.b->tp->limits.move_ns = CONNECTING_NS;
  connect_targets(N, RECEIVES);
  for (unsigned i = 0; i < N; i++)
    for (uint32_t k = 0; k < 3; k++) put_one(&targets[i].lane, &rig.source, 0, 0, (struct tp_raddr){0}, k, k + 1);
  UNTIL(beside(count(N, three_sent)));
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

static const struct conform conform = {.ops = &tp_verbs, .begin = rawpeer_begin, .end = rawpeer_end, .advance = rawpeer_turn};

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

/* librdmacm keeps what it opened first: before descriptors are counted, and in this process, since the kernel takes requests on a device's
 * descriptor only from the one that opened it. */
static void setup(void) {
  struct tp *tp = NULL;
  struct tp_config c = {.bind_host = "", .peer_host = ""};
  ck_assert_int_eq(tp_verbs.open(&c, &tp, NULL), 0);
  tp_verbs.close(tp);
  conform_setup();
}

Suite *make_suite(void) {
  bed_devices(1);
  Suite *s = suite_create("hostile");
  TCase *t = tcase_create("hostile");
  conform_use(&conform);
  tcase_add_checked_fixture(t, setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_test(t, strange_greetings);
  tcase_add_test(t, tickets_serve_once);
  tcase_add_test(t, flood);
  tcase_add_test(t, flood_while_asleep);
  tcase_add_test(t, bad_beginnings);
  tcase_add_test(t, withdrawn);
  tcase_add_test(t, late_acknowledgement);
  tcase_add_test(t, wrong_parameters);
  tcase_add_test(t, bad_messages);
  tcase_add_test(t, bad_requests);
  tcase_add_test(t, too_many_notices);
  tcase_add_test(t, too_many_questions);
  tcase_add_test(t, stops_receiving);
  tcase_add_test(t, answers_without_receiving);
  tcase_add_test(t, bad_moves);
  tcase_add_test(t, many_spares);
  tcase_add_test(t, bad_answers);
  tcase_add_test(t, bad_answer_on_iwarp);
  suite_add_tcase(s, t);
  return s;
}
