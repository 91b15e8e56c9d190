/*
 * A peer that lies. One worker of the group is played by the test: it sends its parent headers and notices of every wrong kind. The plane
 * must name it (or lose it), never crash, never read or write where it may not; the honest ranks' memory stays as it was.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/simnet.h"

#define STEPS_MAX 1000000u
#define FAKE 1u
#define CHUNK 256u
#define WINDOW 4u
#define STRIDE 384u /* of a slot: header and chunk on cache lines, and one line more */
#define COUNT 40u   /* f32: one chunk */

/* What the fake sends: bytes to a slot with a notice. */
struct message {
  struct wire_header h;
  uint32_t payload_sent; /* bytes behind the header */
  uint32_t header_sent;  /* 64, or less */
  uint64_t dst_off;      /* added to the slot's place */
  uint32_t notice;
  int times;
};

struct attack {
  const char *name;
  void (*change)(struct message *m);
  int honest;  /* nothing wrong with it: the operation completes */
  int lost_ok; /* losing the lane is an answer too */
};

static void good(struct message *m) { (void)m; }
static void other_comm(struct message *m) { m->h.comm++; }
static void other_epoch(struct message *m) { m->h.epoch--; }
static void later_op(struct message *m) { m->h.op += 5; }
static void earlier_op(struct message *m) { m->h.op--; }
static void other_chunk(struct message *m) { m->h.chunk = 3; }
static void huge_chunk(struct message *m) { m->h.chunk = UINT32_MAX; }
static void later_seq(struct message *m) { m->h.edge_seq += WINDOW; }
static void other_seq(struct message *m) { m->h.edge_seq = UINT32_MAX; }
static void bad_dtype(struct message *m) { m->h.desc.dtype = 255; }
static void other_dtype(struct message *m) { m->h.desc.dtype = AGG_I32; }
static void bad_redop(struct message *m) { m->h.desc.redop = 255; }
static void bad_kind(struct message *m) { m->h.desc.kind = 255; }
static void other_kind(struct message *m) { m->h.desc.kind = OP_BROADCAST; }
static void barrier_with_count(struct message *m) { m->h.desc.kind = OP_BARRIER; }
static void bad_forest(struct message *m) { m->h.desc.forest = 255; }
static void other_forest(struct message *m) { m->h.desc.forest = 2; }
static void huge_root(struct message *m) { m->h.desc.root = UINT32_MAX; }
static void huge_count(struct message *m) { m->h.desc.count = UINT64_MAX; }
static void large_count(struct message *m) { m->h.desc.count = 1ull << 58; }
static void many_chunks(struct message *m) { m->h.desc.count = 1ull << 39; }
static void long_payload(struct message *m) { m->h.payload = m->payload_sent = CHUNK; }
static void longer_than_said(struct message *m) { m->payload_sent += 4; }
static void shorter_than_said(struct message *m) { m->payload_sent -= 4; }
static void longest_said(struct message *m) { m->h.payload = UINT32_MAX; }
static void short_payload(struct message *m) { m->h.payload = m->payload_sent = 4; }
static void no_payload(struct message *m) { m->h.payload = m->payload_sent = 0; }
static void half_header(struct message *m) { m->header_sent = 32, m->payload_sent = 0; }
static void no_bytes(struct message *m) { m->header_sent = 0, m->payload_sent = 0; }
static void in_place_nowhere(struct message *m) { m->h.flags = WIRE_IN_PLACE, m->payload_sent = 0; }
static void in_place_garbage(struct message *m) {
  m->h.flags = WIRE_IN_PLACE, m->payload_sent = 0, m->h.payload_key = 0xdeadbeef, m->h.payload_off = UINT64_MAX - 8;
}
static void in_place_outside(struct message *m) {
  m->h.flags = WIRE_IN_PLACE, m->payload_sent = 0, m->h.payload_key = m->h.result_key, m->h.payload_off = 4000;
}
static void unknown_flags(struct message *m) { m->h.flags = 0x80; }
static void no_result_place(struct message *m) { m->h.result_key = 0; }
static void garbage_result_key(struct message *m) { m->h.result_key = 0xdeadbeef; }
static void result_outside(struct message *m) { m->h.result_off = UINT64_MAX - 8; }
static void twice(struct message *m) { m->times = 2; }
static void many_times(struct message *m) { m->times = 60; }
static void slot_beyond(struct message *m) { m->notice = wire_notice_up(WINDOW); }
static void slot_far_beyond(struct message *m) { m->notice = 0x3fffffff; }
static void slot_of_another(struct message *m) { m->notice = wire_notice_up(2); }
static void mapped_up(struct message *m) { m->notice = WIRE_NOTICE_MAPPED | 1; }
static void down_never_asked(struct message *m) { m->notice = wire_notice_down(0), m->header_sent = m->payload_sent = 0; }
static void down_mapped(struct message *m) { m->notice = wire_notice_down(0) | WIRE_NOTICE_MAPPED, m->header_sent = m->payload_sent = 0; }
static void down_beyond(struct message *m) { m->notice = wire_notice_down(WINDOW + 7); }
static void into_anothers_slot(struct message *m) { m->dst_off = 1ull << 40; }

static const struct attack attacks[] = {
    {"nothing wrong", good, 1, 0},
    {"another communicator", other_comm, 0, 0},
    {"another epoch", other_epoch, 0, 0},
    {"a later operation", later_op, 0, 0},
    {"an earlier operation", earlier_op, 0, 0},
    {"another chunk", other_chunk, 0, 0},
    {"a huge chunk", huge_chunk, 0, 0},
    {"a later sequence", later_seq, 0, 0},
    {"another sequence", other_seq, 0, 0},
    {"dtype 255", bad_dtype, 0, 0},
    {"another dtype", other_dtype, 0, 0},
    {"redop 255", bad_redop, 0, 0},
    {"kind 255", bad_kind, 0, 0},
    {"another kind", other_kind, 0, 0},
    {"a barrier with a count", barrier_with_count, 0, 0},
    {"forest 255", bad_forest, 0, 0},
    {"another forest", other_forest, 0, 0},
    {"a huge root", huge_root, 0, 0},
    {"a huge count", huge_count, 0, 0},
    {"a large count", large_count, 0, 0},
    {"many chunks", many_chunks, 0, 0},
    {"a long payload", long_payload, 0, 0},
    {"longer than said", longer_than_said, 0, 0},
    {"shorter than said", shorter_than_said, 0, 0},
    {"the longest said", longest_said, 0, 0},
    {"a short payload", short_payload, 0, 0},
    {"no payload", no_payload, 0, 0},
    {"half a header", half_header, 0, 0},
    {"no bytes", no_bytes, 0, 0},
    {"in place, nowhere", in_place_nowhere, 0, 0},
    {"in place, garbage", in_place_garbage, 0, 0},
    {"in place, outside", in_place_outside, 0, 0},
    {"unknown flags", unknown_flags, 0, 0},
    {"no place for the result", no_result_place, 0, 0},
    {"a garbage key for the result", garbage_result_key, 0, 1},
    {"the result outside", result_outside, 0, 1},
    {"twice", twice, 0, 0},
    {"many times", many_times, 0, 0},
    {"a slot beyond", slot_beyond, 0, 0},
    {"a slot far beyond", slot_far_beyond, 0, 0},
    {"the slot of another", slot_of_another, 0, 0},
    {"a contribution called mapped", mapped_up, 0, 0},
    {"a result never asked for", down_never_asked, 0, 0},
    {"a mapped result never asked for", down_mapped, 0, 0},
    {"a result beyond", down_beyond, 0, 0},
    {"into another's slot", into_anothers_slot, 0, 1},
};

struct scene {
  struct simnet *net;
  uint32_t victim;
  unsigned char *memory; /* the fake's, registered: results may go there */
  struct tp_mr *mr;
  struct simnet_op *op;
  int answered;
};

static void on_fake_event(void *user, struct simnet *net, uint32_t fake, uint32_t peer, const struct tp_event *event) {
  struct scene *s = user;
  (void)net, (void)fake;
  if (event->kind == TP_NOTICE && peer == s->victim && (event->notice & WIRE_NOTICE_DOWN)) s->answered++;
}

/* Variants of a group: where the victim is a server or a worker, with mapped memory and without. */
static void set_stage(struct scene *s, int variant, uint64_t seed) {
  struct simnet_setup setup;
  int star = variant & 1, map = variant & 2;
  simnet_setup_init(&setup, seed, star ? FOREST_STAR : FOREST_DIRECT, 3, star ? 1 : 0);
  setup.fakes = 1u << FAKE;
  setup.fake_event = on_fake_event;
  setup.fake_user = s;
  if (!map) {
    setup.caps[0] = TP_CAP_ANY_SOURCE | TP_CAP_CHEAP_REG;
    setup.sim.map = SIM_MAP_NEVER;
  }
  if (seed % 3 == 0) setup.caps[0] &= TP_CAP_MAP; /* as with RDMA: memory that is not registered passes through the planes' own */
  *s = (struct scene){.victim = star ? 3 : 0};
  s->net = simnet_start(&setup);
  s->memory = calloc(1, 4096);
  struct simnet_fake *f = simnet_fake_at(s->net, FAKE, s->victim);
  struct tp_mem mem = {.addr = s->memory, .len = 4096, .fd = 0, .domain = SIMNET_COMM};
  agg_error_t err = {0};
  ck_assert_msg(f->ops->mem_reg(f->tp, &mem, &s->mr, &err) == AGG_OK, "%s", err.text);
  struct op_desc first = {.kind = OP_REDUCE, .count = COUNT, .dtype = AGG_F32}; /* to rank 0: a single chunk, no result for the fake */
  if (variant & 4) first = (struct op_desc){.kind = OP_ALLREDUCE, .count = COUNT, .dtype = AGG_F32};
  s->op = simnet_op_add(s->net, &first, 0, 0, UINT64_MAX);
}

static void strike_down(struct scene *s) {
  if (s->memory == NULL) return;
  simnet_free(s->net);
  free(s->memory);
  s->memory = NULL;
}

static void fake_put(struct scene *s, const struct message *m) {
  struct simnet_fake *f = simnet_fake_at(s->net, FAKE, s->victim);
  unsigned char header[WIRE_HEADER_BYTES];
  wire_header_encode(&m->h, header);
  struct tp_src src[2] = {{.base = header, .len = m->header_sent}, {.base = s->memory, .len = m->payload_sent, .mr = s->mr}};
  struct tp_raddr dst = {.key = f->window.key, .off = f->window.off + (uint64_t)(m->h.edge_seq % WINDOW) * STRIDE + m->dst_off};
  f->ops->put(f->lane, src, 2, dst, m->notice, 0);
}

static void send_message(struct scene *s, void (*change)(struct message *m)) {
  struct simnet_fake *f = simnet_fake_at(s->net, FAKE, s->victim);
  struct tp_raddr result = f->ops->raddr(f->lane, s->mr, s->memory + 2048);
  struct message m = {.h = {.comm = SIMNET_COMM,
                            .epoch = SIMNET_EPOCH,
                            .desc = s->op->desc,
                            .payload = COUNT * 4,
                            .result_key = result.key,
                            .result_off = result.off},
                      .payload_sent = COUNT * 4,
                      .header_sent = WIRE_HEADER_BYTES,
                      .times = 1};
  change(&m);
  for (int i = 0; i < m.times; i++) fake_put(s, &m);
}

static void refuse(struct scene *s, const char *name, const char *why) {
  simnet_print(s->net, stderr);
  ck_abort_msg("%s: %s", name, why);
}

/* The victim names the fake, nobody completes, and no honest rank's memory was touched. */
static void check_answer(struct scene *s, const struct attack *a) {
  const struct simnet_fault *f = &simnet_plane_at(s->net, s->victim, 0, 0)->fault;
  if (sim_violation(s->net->world) != NULL) refuse(s, a->name, "contract broken");
  if (a->honest) {
    if (simnet_faults(s->net) != 0 || !simnet_done(s->net, s->op, 0) || !simnet_done(s->net, s->op, 2) || s->answered != 1)
      refuse(s, a->name, "the operation did not complete");
    return;
  }
  if (f->count == 0) refuse(s, a->name, "nobody noticed");
  int named = f->peer == FAKE || (f->fault == PLANE_MISMATCH && strstr(f->text, "rank 1") != NULL);
  int kind = f->fault == PLANE_PROTOCOL || f->fault == PLANE_MISMATCH || (a->lost_ok && f->fault == PLANE_LOST);
  if (f->count != 1 || !named || !kind || strstr(f->text, "rank 1") == NULL) refuse(s, a->name, f->text);
  for (uint32_t rank = 0; rank < 3; rank += 2) {
    const struct simnet_part *p = &s->op->parts[rank];
    if (memcmp(p->mem[0], p->before[0], p->mem_bytes[0]) != 0) refuse(s, a->name, "an input was changed");
  }
  if (!simnet_fence(s->net, s->victim)) refuse(s, a->name, "the fence does not close");
}

/* Before the honest ranks have posted, between, and after: seeds draw the order. */
START_TEST(a_lie_is_told_of_by_name) {
  const struct attack *a = &attacks[_i];
  for (int variant = 0; variant < 8; variant++)
    for (uint64_t seed = 1; seed <= 12; seed++) {
      struct scene s;
      set_stage(&s, variant, seed);
      int result_asked = s.op->desc.kind == OP_ALLREDUCE;
      int idle = !result_asked && (a->change == no_result_place || a->change == garbage_result_key || a->change == result_outside);
      uint64_t now = sim_now(s.net->world), order = seed % 3;
      if (order == 0) send_message(&s, a->change);
      simnet_post(s.net, s.op, 0, now + rng_below(sim_rng(s.net->world), 20000));
      simnet_post(s.net, s.op, 2, now + rng_below(sim_rng(s.net->world), 20000));
      if (order == 1) simnet_run(s.net, rng_below(sim_rng(s.net->world), 8));
      if (order == 2) simnet_run(s.net, STEPS_MAX);
      if (order != 0) send_message(&s, a->change);
      if (!simnet_run(s.net, STEPS_MAX)) refuse(&s, a->name, "it does not come to rest");
      if (!idle) check_answer(&s, a); /* where no result goes down, its place is not looked at */
      strike_down(&s);
    }
}
END_TEST

/* ---- noise ----------------------------------------------------------------------------------------------------------------------- */

/* Headers that are right but for a few random bytes, or all random, any notice, any length, any number of them. */
static void noise(struct scene *s, struct rng *r) {
  struct simnet_fake *f = simnet_fake_at(s->net, FAKE, s->victim);
  struct tp_raddr result = f->ops->raddr(f->lane, s->mr, s->memory + 2048);
  struct wire_header h = {.comm = SIMNET_COMM,
                          .epoch = SIMNET_EPOCH,
                          .desc = s->op->desc,
                          .payload = COUNT * 4,
                          .result_key = result.key,
                          .result_off = result.off};
  uint32_t slot = (uint32_t)rng_below(r, WINDOW);
  h.edge_seq = slot;
  unsigned char header[WIRE_HEADER_BYTES];
  wire_header_encode(&h, header);
  int all = rng_below(r, 4) == 0;
  for (uint64_t i = 0, n = all ? sizeof header : rng_below(r, 5); i < n; i++)
    header[all ? i : rng_below(r, sizeof header)] = (unsigned char)(rng_below(r, 2) ? rng_next(r) : rng_below(r, 10));
  struct tp_src src[2] = {{.base = header, .len = rng_below(r, 6) ? sizeof header : rng_below(r, 65)},
                          {.base = s->memory, .len = rng_below(r, 6) ? COUNT * 4 : rng_below(r, STRIDE - 64), .mr = s->mr}};
  uint32_t notice = rng_below(r, 6) ? slot : (uint32_t)(rng_next(r) >> rng_below(r, 32));
  f->ops->put(f->lane, src, 2, (struct tp_raddr){.key = f->window.key, .off = f->window.off + slot * STRIDE}, notice, 0);
}

START_TEST(noise_breaks_nothing) {
  for (uint64_t seed = 1; seed <= 4000; seed++) {
    struct scene s;
    struct rng r = {.state = seed};
    set_stage(&s, (int)(seed % 8), seed);
    simnet_post(s.net, s.op, 0, sim_now(s.net->world) + rng_below(&r, 10000));
    simnet_post(s.net, s.op, 2, sim_now(s.net->world) + rng_below(&r, 10000));
    for (uint64_t i = 0, n = 1 + rng_below(&r, 8); i < n; i++) {
      noise(&s, &r);
      simnet_run(s.net, rng_below(&r, 12));
    }
    if (!simnet_run(s.net, STEPS_MAX)) refuse(&s, "noise", "it does not come to rest");
    for (uint32_t node = 0; node < s.net->n_nodes; node++)
      if (node != FAKE && !simnet_fence(s.net, node)) refuse(&s, "noise", "the fence does not close");
    strike_down(&s);
  }
}
END_TEST

/* ---- a whole group of liars ---------------------------------------------------------------------------------------------------------- */

/* All workers of a job may be played by one adversary: they agree on nonsense, and the server, which serves others too, must stand it. */
START_TEST(a_server_stands_workers_that_agree_on_nonsense) {
  static void (*const nonsense[])(struct message *) = {barrier_with_count, huge_root,  huge_count, many_chunks,
                                                       other_forest,       huge_chunk, bad_forest};
  for (unsigned i = 0; i < ARRAY_LEN(nonsense); i++)
    for (uint64_t seed = 1; seed <= 4; seed++) {
      struct simnet_setup setup;
      simnet_setup_init(&setup, seed, FOREST_STAR, 3, 1);
      setup.fakes = 7;
      struct simnet *net = simnet_start(&setup);
      unsigned char *memory = calloc(1, 4096);
      for (uint32_t rank = 0; rank < 3; rank++) {
        struct simnet_fake *f = simnet_fake_at(net, rank, 3);
        struct tp_mem mem = {.addr = memory, .len = 4096, .fd = 0, .domain = SIMNET_COMM};
        struct tp_mr *mr;
        ck_assert_int_eq(f->ops->mem_reg(f->tp, &mem, &mr, NULL), AGG_OK);
        struct tp_raddr result = f->ops->raddr(f->lane, mr, memory + 2048);
        struct message m = {.h = {.comm = SIMNET_COMM,
                                  .epoch = SIMNET_EPOCH,
                                  .desc = {.kind = OP_REDUCE, .count = COUNT, .dtype = AGG_F32},
                                  .payload = COUNT * 4,
                                  .result_key = result.key,
                                  .result_off = result.off}};
        unsigned char header[WIRE_HEADER_BYTES];
        nonsense[i](&m);
        wire_header_encode(&m.h, header);
        struct tp_src src[2] = {{.base = header, .len = sizeof header}, {.base = memory, .len = COUNT * 4, .mr = mr}};
        f->ops->put(f->lane, src, 2, f->window, wire_notice_up(0), 0);
      }
      ck_assert(simnet_run(net, STEPS_MAX));
      const struct simnet_fault *fault = &simnet_plane_at(net, 3, 0, 0)->fault;
      ck_assert_msg(fault->count == 1 && fault->fault == PLANE_PROTOCOL && fault->peer < 3, "nonsense %u: %s", i, fault->text);
      ck_assert(simnet_fence(net, 3));
      simnet_free(net);
      free(memory);
    }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("sim/hostile");
  TCase *tc = tcase_create("hostile");
  tcase_set_timeout(tc, 0);
  tcase_add_loop_test(tc, a_lie_is_told_of_by_name, 0, (int)ARRAY_LEN(attacks));
  tcase_add_test(tc, noise_breaks_nothing);
  tcase_add_test(tc, a_server_stands_workers_that_agree_on_nonsense);
  suite_add_tcase(suite, tc);
  return suite;
}
