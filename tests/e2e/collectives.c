/*
 * The collectives between real processes: every operation, type and sum operator, over both transports and every plan, from every kind of
 * memory, against the reference of tests/lib/expect.h. One group of processes runs many cases.
 */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/opcase.h"
#include "tests/lib/ranks.h"
#include "tests/lib/server_proc.h"

#define BIG (SANITIZED ? 20011u : 100003u)
#define HUGE_COUNT (SANITIZED ? 1u << 20 : 16u << 20)

enum memory { FROM_MALLOC, FROM_AGG, REGISTERED, MEMORIES };

static void start_server(struct server_proc *s) {
  setenv("AGG_TOKEN", "test token", 1);
  ck_assert(SERVER_START(s, "--listen", "127.0.0.1:0"));
}

/* Runs the group to its end: everyone must return 0. Returns it for its reports. */
static struct ranks *run(const struct ranks_setup *s, rank_fn fn, void *arg) {
  struct ranks *r = ranks_start(s, fn, arg);
  int code[RANKS_MAX];
  for (unsigned i = 0; i < s->n; i++) code[i] = ranks_wait(r, i);
  for (unsigned i = 0; i < s->n; i++)
    ck_assert_msg(code[i] == 0, "%s over %s, %u ranks, rank %u: exit %d, %s", s->plan, s->transport, s->n, i, code[i],
                  ranks_reports(r)[i].text);
  return r;
}

/* ---- a rank at work ----------------------------------------------------------------------------------------------------------------- */

struct rig {
  agg_t *agg;
  agg_comm_t *comm;
  uint32_t rank, n;
  struct rank_report *own;
  size_t arena;
  char *mem[MEMORIES][2]; /* for sending, for receiving */
  unsigned turn;          /* cases so far; the same on all ranks */
};

static int wrong(const struct rig *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(const struct rig *g, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(g->own->text, sizeof g->own->text, format, args);
  va_end(args);
  return 1;
}

static int rig_open(struct rig *g, const agg_config_t *config, struct rank_report *all, size_t arena) {
  *g = (struct rig){.rank = config->rank, .n = config->world, .own = &all[config->rank], .arena = arena};
  if (rank_open(config, g->own, &g->agg, &g->comm) != AGG_OK) return 1;
  for (unsigned i = 0; i < 2; i++) {
    void *ptr = NULL;
    g->mem[FROM_MALLOC][i] = malloc(arena);
    g->mem[REGISTERED][i] = malloc(arena);
    if (agg_mem_alloc(g->agg, arena, &ptr) != AGG_OK || agg_mem_register(g->agg, g->mem[REGISTERED][i], arena) != AGG_OK)
      return wrong(g, "memory: %s", agg_error_text(g->agg));
    g->mem[FROM_AGG][i] = ptr;
  }
  return 0;
}

static void rig_close(struct rig *g) {
  agg_comm_destroy(g->comm);
  for (unsigned i = 0; i < 2; i++) {
    agg_mem_free(g->agg, g->mem[FROM_AGG][i]);
    (void)agg_mem_deregister(g->agg, g->mem[REGISTERED][i]);
    free(g->mem[FROM_MALLOC][i]);
    free(g->mem[REGISTERED][i]);
  }
  agg_close(g->agg);
}

static int await(struct rig *g, int rc, agg_request_t **request) {
  if (rc == AGG_OK) rc = agg_wait(request, -1);
  return rc == AGG_OK ? 0 : wrong(g, "%s: %s", agg_status_text(rc), agg_comm_error_text(g->comm));
}

/* ---- one case ---------------------------------------------------------------------------------------------------------------------------
 */

/* Where send and recv lie: apart, or sharing the larger of the two as the operation allows; aligned or not; in each kind of memory by
 * turns. */
struct places {
  char *send, *recv, *base;
  size_t sends, recvs, base_bytes;
};

static struct places choose_places(const struct rig *g, const struct op_case *c) {
  size_t elem = agg_dtype_size(c->dtype), mine = g->rank * c->count * elem;
  size_t shift = EXPECT_GUARD + (g->turn / 3 % 2 != 0 ? (g->turn + g->rank) % 8 : 0);
  struct places p = {.sends = op_given(c, g->rank, g->n) * elem, .recvs = op_gotten(c, g->rank, g->n) * elem};
  char *from = g->mem[(g->turn + g->rank) % MEMORIES][0] + shift, *to = g->mem[(g->turn / 2 + g->rank) % MEMORIES][1] + shift;
  p.base = from;
  p.base_bytes = MAX_OF(p.sends, p.recvs);
  p.send = from + (c->in_place && p.recvs > p.sends && p.sends != 0 ? mine : 0);
  p.recv = c->in_place ? from + (p.sends > p.recvs ? mine : 0) : to;
  if (c->in_place && c->kind == BROADCAST) p.send = p.recv = from;
  return p;
}

static int guards_ok(const struct op_case *c, const struct places *p) {
  if (c->in_place) return expect_guard_ok(p->base, p->base_bytes);
  return expect_guard_ok(p->send, p->sends) && expect_guard_ok(p->recv, p->recvs);
}

static int run_case(struct rig *g, const struct op_case *c) {
  struct expect e = {.dtype = c->dtype, .op = c->op, .salt = g->turn, .ranks = g->n};
  struct places p = choose_places(g, c);
  agg_request_t *request = NULL;
  char text[EXPECT_TEXT_MAX] = "";
  if (c->in_place) {
    expect_guard_set(p.base, p.base_bytes);
  } else {
    expect_guard_set(p.send, p.sends);
    expect_guard_set(p.recv, p.recvs);
  }
  expect_input(&e, g->rank, 0, op_given(c, g->rank, g->n), p.send);
  int no_memory = c->count == 0 && g->turn % 2 != 0;
  int rc = op_call(g->comm, c, p.sends == 0 && no_memory ? NULL : p.send, p.recvs == 0 && no_memory ? NULL : p.recv, NULL, &request);
  int bad = await(g, rc, &request);
  if (!bad && !op_result_ok(c, &e, g->rank, p.recv, text)) bad = 1;
  if (!bad && (!c->in_place || p.recvs == 0) && !expect_given(&e, g->rank, 0, op_given(c, g->rank, g->n), p.send, text)) bad = 2;
  if (!bad && !guards_ok(c, &p)) bad = 3;
  if (bad) {
    char why[AGG_ERROR_TEXT_MAX];
    str_copy(why, sizeof why, text[0] != '\0' ? text : g->own->text);
    return wrong(g, "case %u: %s of %llu %s %s, root %u, %s: %s%.300s", g->turn, kind_name(c->kind), (unsigned long long)c->count,
                 agg_dtype_name(c->dtype), agg_redop_name(c->op), c->root, c->in_place ? "in place" : "out of place",
                 bad == 3   ? "bytes outside the buffers were changed"
                 : bad == 2 ? "the input was changed: "
                            : "",
                 bad == 3 ? "" : why);
  }
  g->turn++;
  return 0;
}

/* ---- everything that there is
 * ------------------------------------------------------------------------------------------------------------- */

/* Small counts for every combination (with a sanitizer for every fourth); the large one for every sixth. Each group of processes has
 * others. */
static int run_counts(struct rig *g, struct op_case *c, unsigned phase) {
  static const uint64_t counts[] = {0, 1, 3, 1000, BIG};
  for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
    c->count = counts[i];
    for (c->in_place = 0; c->in_place < 2; c->in_place++) {
      unsigned mix = (unsigned)c->kind + c->dtype + c->op + (unsigned)c->in_place;
      c->root = g->turn % g->n;
      if (SANITIZED && mix % 4 != phase % 4) continue;
      if (c->count == BIG && mix % 6 != phase % 6) continue;
      if (run_case(g, c)) return 1;
    }
  }
  return 0;
}

/* Everyone must have come before anyone goes on. */
static int check_barrier(struct rig *g, struct rank_report *all) {
  for (uint32_t round = 1; round <= 20; round++) {
    agg_request_t *request = NULL;
    atomic_store(&g->own->stage, round);
    if (await(g, agg_barrier(g->comm, NULL, &request), &request)) return 1;
    for (uint32_t r = 0; r < g->n; r++)
      if (atomic_load(&all[r].stage) < round) return wrong(g, "barrier %u let rank %u go before rank %u came", round, g->rank, r);
  }
  return 0;
}

static int sweep(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rig g;
  unsigned phase = *(const unsigned *)arg;
  if (rig_open(&g, config, all, 2 * EXPECT_GUARD + 64 + (size_t)config->world * BIG * 8)) return 1;
  for (struct op_case c = {.kind = ALLREDUCE}; c.kind < KINDS; c.kind++) {
    for (c.dtype = AGG_F16; c.dtype < AGG_DTYPE_COUNT; c.dtype++) {
      for (c.op = AGG_SUM; c.op < (kind_reduces(c.kind) ? AGG_REDOP_COUNT : AGG_AVG); c.op++)
        if (run_counts(&g, &c, phase)) return 1;
    }
  }
  if (check_barrier(&g, all)) return 1;
  rig_close(&g);
  return 0;
}

static const char *const transports[] = {"shm", "tcp"};

START_TEST(every_operation_is_right_between_workers) {
  static const char *const plans[] = {"direct", "ring", "tree"};
  unsigned phase = (unsigned)_i;
  struct ranks_setup setup = {.n = 2 + (unsigned)_i / 6, .plan = plans[_i % 3], .transport = transports[_i / 3 % 2]};
  ranks_free(run(&setup, sweep, &phase));
}
END_TEST

START_TEST(every_operation_is_right_through_servers) {
  struct server_proc s[2];
  char both[300];
  unsigned phase = (unsigned)_i, servers = 1 + (unsigned)_i / 2 % 2;
  for (unsigned i = 0; i < servers; i++) start_server(&s[i]);
  snprintf(both, sizeof both, "%s%s%s", s[0].address, servers == 2 ? "," : "", servers == 2 ? s[1].address : "");
  struct ranks_setup setup = {
      .n = 2 + (unsigned)_i % 3, .plan = _i < 4 ? "star" : "hybrid", .transport = transports[_i % 2], .servers = both};
  ranks_free(run(&setup, sweep, &phase));
  for (unsigned i = 0; i < servers; i++) ck_assert_int_eq(server_end(&s[i]), 0);
}
END_TEST

/* ---- the same bits
 * ------------------------------------------------------------------------------------------------------------------------ */

/* Half of it any bits at all, half of it of one size, so that the order of the additions shows. */
static void fill_rough(struct rig *g, agg_dtype_t dtype, char *to, uint64_t count) {
  struct expect e = {.dtype = dtype, .salt = 77, .ranks = g->n};
  uint64_t half = count / 2;
  expect_noise(1000 + g->rank, to, half * agg_dtype_size(dtype));
  expect_input(&e, g->rank, 0, count - half, to + half * agg_dtype_size(dtype));
}

/* value[type]: of the results that all ranks have; value[3 + type]: of this rank's own. */
static int hash_results(const agg_config_t *config, struct rank_report *all, void *arg) {
  static const agg_dtype_t types[] = {AGG_F32, AGG_BF16, AGG_F16};
  struct rig g;
  (void)arg;
  if (rig_open(&g, config, all, (size_t)config->world * BIG * 4)) return 1;
  for (unsigned t = 0; t < ARRAY_LEN(types); t++) {
    for (agg_redop_t op = AGG_SUM; op < AGG_REDOP_COUNT; op++) {
      struct op_case cases[] = {
          {ALLREDUCE, types[t], op, BIG, 0, 0}, {REDUCE_SCATTER, types[t], op, BIG, 0, 0}, {REDUCE, types[t], op, BIG, 1, 0}};
      for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        agg_request_t *request = NULL;
        char *send = g.mem[(t + op + i + g.rank) % MEMORIES][0], *recv = g.mem[(t + op) % MEMORIES][1];
        fill_rough(&g, types[t], send, op_given(&cases[i], g.rank, g.n));
        if (await(&g, op_call(g.comm, &cases[i], send, recv, NULL, &request), &request)) return 1;
        uint64_t *value = &g.own->value[i == 0 ? t : 3 + t];
        *value = *value * 31 + expect_hash(recv, op_gotten(&cases[i], g.rank, g.n) * agg_dtype_size(types[t]));
      }
    }
  }
  rig_close(&g);
  return 0;
}

static void compare_hashes(struct ranks *r, struct ranks *base, unsigned n, const char *what) {
  for (unsigned i = 0; i < n; i++) {
    const struct rank_report *got = &ranks_reports(r)[i], *want = &ranks_reports(base)[i];
    for (unsigned v = 0; v < 6; v++)
      ck_assert_msg(got->value[v] == want->value[v], "%s: rank %u has other bits than direct over shm (%u)", what, i, v);
    for (unsigned v = 0; v < 3; v++)
      ck_assert_msg(got->value[v] == ranks_reports(r)[0].value[v], "%s: ranks 0 and %u differ (%u)", what, i, v);
  }
}

START_TEST(results_are_the_same_bits_on_every_way) {
  struct server_proc s[2];
  char both[300];
  unsigned n = 2 + (unsigned)_i;
  for (unsigned i = 0; i < 2; i++) start_server(&s[i]);
  snprintf(both, sizeof both, "%s,%s", s[0].address, s[1].address);
  struct ranks_setup base_setup = {.n = n, .plan = "direct", .transport = "shm"};
  struct ranks *base = run(&base_setup, hash_results, NULL);
  struct ranks_setup others[] = {
      {.plan = "direct", .transport = "shm", .lanes = 3},
      {.plan = "direct", .transport = "tcp", .lanes = 1, .reactors = 2},
      {.plan = "direct", .transport = "tcp", .lanes = 3, .reactors = 2},
      {.plan = "star", .transport = "shm", .lanes = 1, .servers = s[0].address},
      {.plan = "star", .transport = "tcp", .lanes = 3, .servers = s[1].address},
      {.plan = "star", .transport = "shm", .lanes = 3, .reactors = 2, .servers = both},
      {.plan = "star", .transport = "tcp", .lanes = 1, .servers = both},
  };
  for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
    char what[64];
    snprintf(what, sizeof what, "setup %u (%s over %s)", i, others[i].plan, others[i].transport);
    others[i].n = n;
    struct ranks *r = run(&others[i], hash_results, NULL);
    compare_hashes(r, base, n, what);
    ranks_free(r);
  }
  ranks_free(base);
  for (unsigned i = 0; i < 2; i++) ck_assert_int_eq(server_end(&s[i]), 0);
}
END_TEST

/* ---- many at once
 * ------------------------------------------------------------------------------------------------------------------------- */

#define POSTED 400u
#define POSTED_MAX_COUNT 2000u

static struct op_case nth_posted(unsigned i) {
  static const enum kind kinds[] = {ALLREDUCE, BROADCAST, ALLREDUCE, REDUCE_SCATTER, ALLGATHER, SCATTER};
  return (struct op_case){.kind = kinds[i % 6], .dtype = i % 2 != 0 ? AGG_I64 : AGG_F32, .count = i * 37 % POSTED_MAX_COUNT, .root = i % 2};
}

static int post_many(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rig g;
  agg_request_t *requests[POSTED] = {NULL};
  char text[EXPECT_TEXT_MAX];
  size_t one = (size_t)config->world * POSTED_MAX_COUNT * 8;
  (void)arg;
  if (rig_open(&g, config, all, POSTED * one)) return 1;
  for (unsigned i = 0; i < POSTED; i++) {
    struct op_case c = nth_posted(i);
    struct expect e = {.dtype = c.dtype, .salt = i, .ranks = g.n};
    char *send = g.mem[i % MEMORIES][0] + i * one, *recv = g.mem[i / 2 % MEMORIES][1] + i * one;
    expect_input(&e, g.rank, 0, op_given(&c, g.rank, g.n), send);
    int rc = op_call(g.comm, &c, send, recv, NULL, &requests[i]);
    if (rc != AGG_OK) return wrong(&g, "operation %u cannot be posted: %s", i, agg_comm_error_text(g.comm));
  }
  for (unsigned k = 0; k < POSTED; k++) {
    unsigned i = g.rank % 2 != 0 ? POSTED - 1 - k : k; /* in any order */
    struct op_case c = nth_posted(i);
    struct expect e = {.dtype = c.dtype, .salt = i, .ranks = g.n};
    if (await(&g, AGG_OK, &requests[i])) return 1;
    if (!op_result_ok(&c, &e, g.rank, g.mem[i / 2 % MEMORIES][1] + i * one, text)) return wrong(&g, "operation %u: %.250s", i, text);
  }
  rig_close(&g);
  return 0;
}

START_TEST(four_hundred_operations_may_be_outstanding) {
  struct server_proc s;
  start_server(&s);
  const struct ranks_setup setups[] = {{.n = 3, .plan = "direct", .transport = "shm"},
                                       {.n = 2, .plan = "direct", .transport = "tcp", .lanes = 3},
                                       {.n = 4, .plan = "ring", .transport = "shm"},
                                       {.n = 3, .plan = "ring", .transport = "tcp"},
                                       {.n = 3, .plan = "star", .transport = "shm", .servers = s.address},
                                       {.n = 3, .plan = "star", .transport = "tcp", .servers = s.address}};
  for (unsigned i = 0; i < ARRAY_LEN(setups); i++) ranks_free(run(&setups[i], post_many, NULL));
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* ---- several communicators
 * ------------------------------------------------------------------------------------------------------------------ */

/* The first ticket goes by pipe, the second by shared memory. */
struct ticket_ways {
  int read_fd, write_fd;
};

static int send_tickets(struct rig *g, const struct ticket_ways *ways) {
  agg_ticket_t t;
  for (unsigned i = 0; i < 2; i++) {
    if (agg_ticket_create(g->agg, &t) != AGG_OK) return wrong(g, "ticket: %s", agg_error_text(g->agg));
    for (uint32_t r = 0; i == 0 && r < g->n; r++)
      if (write(ways->write_fd, &t, sizeof t) != sizeof t) return wrong(g, "the pipe is broken");
    if (i == 1) memcpy(g->own->text, &t, sizeof t);
  }
  atomic_store(&g->own->stage, 1);
  return 0;
}

/* Half as many ranks in the second group, in the opposite order. */
static int join_groups(struct rig *g, struct rank_report *all, const struct ticket_ways *ways, agg_comm_t **whole, agg_comm_t **part) {
  agg_ticket_t t;
  if (g->rank == 0 && send_tickets(g, ways)) return 1;
  if (!stage_wait(&all[0].stage, 1) || read(ways->read_fd, &t, sizeof t) != sizeof t) return wrong(g, "no ticket");
  if (agg_comm_create(g->agg, &t, g->n - 1 - g->rank, g->n, whole) != AGG_OK) return wrong(g, "first group: %s", agg_error_text(g->agg));
  memcpy(&t, all[0].text, sizeof t);
  if (g->rank < 2 && agg_comm_create(g->agg, &t, 1 - g->rank, 2, part) != AGG_OK)
    return wrong(g, "second group: %s", agg_error_text(g->agg));
  return 0;
}

static int use_comm(struct rig *g, agg_comm_t *comm, int64_t *values, agg_request_t **request) {
  values[0] = agg_comm_rank(comm) + 1;
  for (unsigned i = 1; i < 1000; i++) values[i] = values[0] * i;
  int rc = agg_allreduce(comm, values, values, 1000, AGG_I64, AGG_SUM, NULL, request);
  return rc == AGG_OK ? 0 : wrong(g, "posting: %s", agg_comm_error_text(comm));
}

static int check_comm(struct rig *g, const agg_comm_t *comm, const int64_t *values, agg_request_t **request) {
  int64_t sum = (int64_t)agg_comm_size(comm) * (agg_comm_size(comm) + 1) / 2;
  int rc = agg_wait(request, -1);
  if (rc != AGG_OK) return wrong(g, "waiting: %s", agg_comm_error_text(comm));
  for (unsigned i = 1; i < 1000; i++)
    if (values[i] != sum * i) return wrong(g, "element %u is %lld", i, (long long)values[i]);
  return 0;
}

/* Each rank begins with another communicator, and waits last for the one that it posted on first. */
static int several_communicators(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rig g;
  static int64_t values[3][1000];
  agg_comm_t *comms[3] = {NULL};
  if (rig_open(&g, config, all, 4096)) return 1;
  comms[0] = g.comm;
  if (join_groups(&g, all, arg, &comms[1], &comms[2])) return 1;
  for (unsigned round = 0; round < 50; round++) {
    agg_request_t *requests[3] = {NULL};
    for (unsigned k = 0; k < 3; k++) {
      unsigned i = (k + g.rank) % 3;
      if (comms[i] != NULL && use_comm(&g, comms[i], values[i], &requests[i])) return 1;
    }
    for (unsigned k = 3; k-- > 0;) {
      unsigned i = (k + g.rank) % 3;
      if (comms[i] != NULL && check_comm(&g, comms[i], values[i], &requests[i])) return 1;
    }
  }
  agg_comm_destroy(comms[1]);
  agg_comm_destroy(comms[2]);
  /* The first communicator is none the worse for it. And nobody takes his coordinator away from a group that is still in use. */
  agg_request_t *request = NULL;
  if (await(&g, agg_barrier(g.comm, NULL, &request), &request)) return 1;
  rig_close(&g);
  return 0;
}

START_TEST(several_communicators_work_at_once) {
  struct server_proc s;
  int ends[2];
  start_server(&s);
  const struct ranks_setup setups[] = {{.n = 3, .plan = "direct", .transport = "shm"},
                                       {.n = 4, .plan = "ring", .transport = "tcp", .reactors = 2},
                                       {.n = 3, .plan = "star", .transport = "tcp", .servers = s.address}};
  ck_assert_int_eq(pipe(ends), 0);
  struct ticket_ways ways = {ends[0], ends[1]};
  for (unsigned i = 0; i < ARRAY_LEN(setups); i++) ranks_free(run(&setups[i], several_communicators, &ways));
  close(ends[0]);
  close(ends[1]);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* ---- priorities
 * ------------------------------------------------------------------------------------------------------------------------------- */

/* Rank 1 calls the normal operation only after everyone has seen the high one complete. */
static int overtake(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rig g;
  const agg_op_options_t high = {.size = sizeof high, .priority = AGG_PRIORITY_HIGH};
  const struct op_case slow = {ALLREDUCE, AGG_F32, AGG_SUM, 1000000, 0, 1}, quick = {ALLREDUCE, AGG_I32, AGG_SUM, 5000, 0, 0};
  struct expect es = {AGG_F32, AGG_SUM, 1, config->world}, eq = {AGG_I32, AGG_SUM, 2, config->world};
  agg_request_t *normal = NULL, *urgent = NULL;
  char text[EXPECT_TEXT_MAX];
  (void)arg;
  if (rig_open(&g, config, all, 4000000)) return 1;
  char *big = g.mem[FROM_AGG][0], *send = g.mem[FROM_MALLOC][0], *recv = g.mem[FROM_MALLOC][1];
  expect_input(&es, g.rank, 0, slow.count, big);
  expect_input(&eq, g.rank, 0, quick.count, send);
  if (g.rank != 1 && op_call(g.comm, &slow, big, big, NULL, &normal) != AGG_OK) return wrong(&g, "normal: %s", agg_comm_error_text(g.comm));
  if (await(&g, op_call(g.comm, &quick, send, recv, &high, &urgent), &urgent)) return 1;
  if (!op_result_ok(&quick, &eq, g.rank, recv, text)) return wrong(&g, "high: %.250s", text);
  if (g.rank != 1 && agg_test(&normal) != AGG_EINPROGRESS) return wrong(&g, "the normal operation completed without rank 1");
  atomic_store(&g.own->stage, 1);
  for (uint32_t r = 0; g.rank == 1 && r < g.n; r++)
    if (!stage_wait(&all[r].stage, 1)) return wrong(&g, "rank %u did not get its urgent result", r);
  if (await(&g, g.rank == 1 ? op_call(g.comm, &slow, big, big, NULL, &normal) : AGG_OK, &normal)) return 1;
  if (!op_result_ok(&slow, &es, g.rank, big, text)) return wrong(&g, "normal: %.250s", text);
  rig_close(&g);
  return 0;
}

START_TEST(a_high_operation_overtakes_one_that_is_held_up) {
  struct server_proc s;
  start_server(&s);
  const struct ranks_setup setups[] = {{.n = 3, .plan = "direct", .transport = "shm"},
                                       {.n = 3, .plan = "direct", .transport = "tcp", .reactors = 2},
                                       {.n = 3, .plan = "ring", .transport = "shm"},
                                       {.n = 3, .plan = "ring", .transport = "tcp"},
                                       {.n = 3, .plan = "star", .transport = "shm", .servers = s.address},
                                       {.n = 3, .plan = "star", .transport = "tcp", .servers = s.address}};
  for (unsigned i = 0; i < ARRAY_LEN(setups); i++) ranks_free(run(&setups[i], overtake, NULL));
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* ---- large
 * ------------------------------------------------------------------------------------------------------------------------------------ */

static int sum_64_mib(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rig g;
  const struct op_case c = {ALLREDUCE, AGG_F32, AGG_SUM, HUGE_COUNT, 0, 1};
  const enum memory from = *(const enum memory *)arg;
  struct expect e = {AGG_F32, AGG_SUM, 5, config->world};
  agg_request_t *request = NULL;
  char text[EXPECT_TEXT_MAX];
  if (rig_open(&g, config, all, 2 * EXPECT_GUARD + (4 * HUGE_COUNT))) return 1;
  char *buf = g.mem[from][0] + EXPECT_GUARD;
  expect_guard_set(buf, 4 * HUGE_COUNT);
  expect_input(&e, g.rank, 0, c.count, buf);
  if (await(&g, op_call(g.comm, &c, buf, buf, NULL, &request), &request)) return 1;
  if (!op_result_ok(&c, &e, g.rank, buf, text)) return wrong(&g, "%.250s", text);
  if (!expect_guard_ok(buf, 4 * HUGE_COUNT)) return wrong(&g, "bytes outside the buffer were changed");
  rig_close(&g);
  return 0;
}

START_TEST(sixty_four_mebibytes_are_summed) {
  struct server_proc s;
  start_server(&s);
  const struct ranks_setup setups[] = {{.n = 2, .plan = "direct", .transport = "shm"},
                                       {.n = 2, .plan = "star", .transport = "tcp", .servers = s.address}};
  for (unsigned i = 0; i < ARRAY_LEN(setups); i++) {
    enum memory from = (enum memory)(i + 1) % MEMORIES;
    ranks_free(run(&setups[i], sum_64_mib, &from));
  }
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("e2e/collectives");
  TCase *c = tcase_create("collectives");
  tcase_set_timeout(c, 300);
  tcase_add_loop_test(c, every_operation_is_right_between_workers, 0, 18);
  tcase_add_loop_test(c, every_operation_is_right_through_servers, 0, 6);
  tcase_add_loop_test(c, results_are_the_same_bits_on_every_way, 0, 3);
  tcase_add_test(c, four_hundred_operations_may_be_outstanding);
  tcase_add_test(c, several_communicators_work_at_once);
  tcase_add_test(c, a_high_operation_overtakes_one_that_is_held_up);
  tcase_add_test(c, sixty_four_mebibytes_are_summed);
  suite_add_tcase(s, c);
  return s;
}
