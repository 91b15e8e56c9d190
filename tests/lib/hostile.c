/*
 * Owns the rig of the hostile tests: the honest ends, the lane beside, the targets and their peers. Never breaks a rule itself: what the
 * raw peers do wrong is the tests'.
 */
#include "hostile.h"

#include <string.h>

#include "tests/lib/bed.h"
#include "transport/tps.h"
#include "transport/verbs/internal.h"

struct hostile_rig rig;
struct target targets[TARGETS];

/* ---- two honest ends ---- */

static void no_pause(struct lane *l, struct tp_raddr nowhere) {
  struct tp_src nothing = {0};
  tp_verbs.put(l->lane, &nothing, 1, nowhere, rig.puts, 0);
}

int beside(int cond) {
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

/* To look takes long, and an end that is not asleep looks for requests at every 1,024th turn only. */
static int nothing_left(void) {
  for (int i = 0; i < 1100; i++) turn();
  bed_resources(rig.now, sizeof rig.now);
  return strcmp(rig.now, rig.resources) == 0;
}

void rig_open(void) {
  memset(&rig, 0, sizeof rig);
  rig.a = end_open();
  rig.b = end_open();
  lanes_connect(&rig.la, rig.a, &rig.lb, rig.b, HONEST, NULL);
  mem_open(&rig.source, rig.b, WINDOW, MEM_PLAIN, 0);
  bed_resources(rig.resources, sizeof rig.resources);
  rig.b->tp->limits.stranger_ns = PATIENCE_NS;
}

void rig_hurry(void) {
  rig.b->tp->limits.probe_ns = PATIENCE_NS;
  rig.b->tp->limits.dial_ns = rig.b->tp->limits.wait_ns = rig.b->tp->limits.move_ns = CONNECTING_NS;
}

void rig_close(void) {
  uint32_t before = rig.puts;
  UNTIL(beside(rig.puts >= before + 3)); /* it went on, and does */
  for (uint64_t end = clock_now_ns() + 20000000000; !beside(nothing_left());)
    if (turn() == 0 && clock_now_ns() > end) ck_abort_msg("before: %s; after 20 s: %s", rig.resources, rig.now);
  mem_close(&rig.source);
  lane_close(&rig.la);
  lane_close(&rig.lb);
}

/* ---- lanes that are attacked ---- */

void target_open(unsigned i, const struct end *peer, int active) {
  struct target *t = &targets[i];
  memset(t, 0, sizeof *t);
  t->number = i + 1;
  mem_open(&t->mem, rig.b, WINDOW, MEM_PLAIN, t->number);
  memset(t->mem.at, FILL, WINDOW);
  struct lane_options o = {.depth = DEPTH, .domain = t->number, .window = &t->mem};
  lane_open(&t->lane, rig.b, peer, t->number, active, &o);
}

void target_close(struct target *t) {
  if (t->raw != NULL) rawpeer_close(t->raw);
  if (t->spare != NULL) rawpeer_close(t->spare);
  if (t->honest.lane != NULL) lane_close(&t->honest);
  lane_close(&t->lane);
  mem_close(&t->mem);
}

struct rawpeer *dial_as(uint32_t number, enum verbs_hello_kind kind, enum rawpeer_manner manner, unsigned receives) {
  unsigned char hello[VERBS_HELLO_BYTES];
  rawpeer_hello(hello, kind, number);
  return rawpeer_dial(rig.b, manner, hello, sizeof hello, receives);
}

int all_targets(unsigned n, int (*holds)(const struct target *t)) {
  unsigned sum = 0;
  for (unsigned i = 0; i < n; i++) sum += (unsigned)holds(&targets[i]);
  return sum == n;
}

static int peer_is_up(const struct target *t) { return t->raw->state == RAW_UP; }
int target_connected(const struct target *t) {
  ck_assert_msg(!t->lane.lost, "%u is lost while connecting: %s", t->number, t->lane.text);
  return t->lane.connected;
}

void connect_targets(unsigned n, unsigned receives) {
  for (unsigned i = 0; i < n; i++) {
    target_open(i, rig.a, 0);
    targets[i].raw = dial_as(targets[i].number, VERBS_LANE, RAW_PROPER, receives);
  }
  UNTIL(beside(all_targets(n, peer_is_up)));
  for (unsigned i = 0; i < n; i++) rawpeer_control(targets[i].raw, VERBS_PROBE, 0, 0, 0);
  UNTIL(beside(all_targets(n, target_connected)));
}

int came_out(const struct target *t, const char *text) {
  if (text == NULL) {
    ck_assert_msg(!t->lane.lost, "%u is lost: %s", t->number, t->lane.text);
    return t->lane.notices > 0;
  }
  if (!t->lane.lost) return 0;
  ck_assert_msg(strstr(t->lane.text, text) != NULL, "%u: \"%s\" does not say \"%s\"", t->number, t->lane.text, text);
  return 1;
}

/* ---- the case ---- */

static const struct conform conform = {.ops = &tp_verbs, .begin = rawpeer_begin, .end = rawpeer_end, .advance = rawpeer_turn};

/* librdmacm keeps what it opened first: before descriptors are counted, and in this process, since the kernel takes requests on a device's
 * descriptor only from the one that opened it. */
static void setup(void) {
  struct tp *tp = NULL;
  struct tp_config c = {.bind_host = "", .peer_host = ""};
  ck_assert_int_eq(tp_verbs.open(&c, &tp, NULL), 0);
  tp_verbs.close(tp);
  conform_setup();
}

TCase *hostile_case(const char *name) {
  bed_devices(1);
  TCase *t = tcase_create(name);
  conform_use(&conform);
  tcase_add_checked_fixture(t, setup, conform_teardown);
  tcase_set_timeout(t, 60);
  return t;
}
