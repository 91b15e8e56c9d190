/*
 * What goes wrong between honest nodes: ranks that disagree, ranks that never call, nodes that die. Each must be told by name, nothing may
 * complete with wrong data, and after the fence no write lands any more.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/simnet.h"

#define STEPS_MAX 2000000u
#define SEEDS 60

struct shape {
  const char *name;
  unsigned kind;
  uint32_t workers, servers;
  int two_forests;
};
static const struct shape shapes[] = {
    {"star of one server", FOREST_STAR, 4, 1, 0},
    {"star of three servers", FOREST_STAR, 5, 3, 0},
    {"direct", FOREST_DIRECT, 4, 0, 0},
    {"ring", FOREST_RING, 4, 0, 0},
    {"direct, then ring", FOREST_DIRECT, 4, 0, 1},
};

static struct simnet *start(const struct shape *shape, uint64_t seed) {
  struct simnet_setup setup;
  simnet_setup_init(&setup, seed, shape->kind, shape->workers, shape->servers);
  if (shape->two_forests) simnet_plan_add(&setup, FOREST_RING, 400);
  setup.plan.lanes = 1 + seed % 2;
  if (seed % 3 == 0) setup.sim.jitter_ns = 100000;
  if (seed % 4 == 0) {
    setup.caps[0] = TP_CAP_CHEAP_REG;
    setup.sim.map = SIM_MAP_NEVER;
  }
  return simnet_start(&setup);
}

static void rest(struct simnet *net) {
  if (simnet_run(net, STEPS_MAX) && sim_violation(net->world) == NULL) return;
  simnet_print(net, stderr);
  ck_abort_msg("it does not come to rest");
}

static void refuse(struct simnet *net, const char *why) {
  simnet_print(net, stderr);
  ck_abort_msg("%s", why);
}

/* ---- mismatch ------------------------------------------------------------------------------------------------------------- */

enum difference { KIND, COUNT, FEW, DTYPE, REDOP, ROOT, DIFFERENCES };

static struct op_desc changed(struct op_desc d, enum difference what) {
  switch (what) {
    case KIND:
      d.kind = OP_ALLREDUCE, d.root = 0;
      break;
    case COUNT:
      d.count += 1;
      break;
    case FEW:
      d.count = 0;
      break;
    case DTYPE:
      d.dtype = AGG_I32;
      break;
    case REDOP:
      d.redop = AGG_MAX;
      break;
    case ROOT:
      d.root = 3;
      break;
    case DIFFERENCES:
      break;
  }
  return d;
}

static int names(const char *text, uint32_t rank) {
  char name[32];
  snprintf(name, sizeof name, "rank %u called", rank);
  return strstr(text, name) != NULL;
}

/* Every fault is a mismatch whose text has both ranks, one of them the odd one, and both calls (or one, where the other was never seen
 * here). Returns how many there were. */
static unsigned check_mismatches(struct simnet *net, const struct op_desc *common, const struct op_desc *odd, uint32_t odd_rank) {
  char want[160], got[160];
  unsigned n = 0;
  op_desc_format(common, want, sizeof want);
  op_desc_format(odd, got, sizeof got);
  for (uint32_t i = 0; i < net->n_nodes; i++)
    for (uint32_t p = 0; p < net->nodes[i].n_planes; p++) {
      const struct simnet_fault *f = &net->nodes[i].planes[p].fault;
      if (f->count == 0) continue;
      n++;
      if (f->count != 1 || f->fault != PLANE_MISMATCH || f->code != AGG_EMISMATCH || f->op != 1) refuse(net, "the fault is no mismatch");
      uint32_t named = 0;
      for (uint32_t rank = 0; rank < net->workers; rank++) named += (uint32_t)names(f->text, rank);
      int both = strstr(f->text, want) != NULL && strstr(f->text, got) != NULL;
      int one = strstr(f->text, "something else") != NULL && (strstr(f->text, want) != NULL || strstr(f->text, got) != NULL);
      if (!(both || one) || !names(f->text, odd_rank) || named != 2) refuse(net, f->text);
    }
  return n;
}

/* Two ranks that each take themselves for the root of the one tree send each other nothing, so neither can see the other's call: both say
 * whom they wait for, and the control plane, which hears both, tells the mismatch. */
static void check_two_roots(struct simnet *net, const struct shape *shape, const struct simnet_op *op, enum difference what,
                            uint32_t odd_rank) {
  const struct op_desc *odd = &op->parts[odd_rank].desc;
  if (shape->kind != FOREST_DIRECT || what != ROOT || odd->root != odd_rank) refuse(net, "nobody noticed");
  simnet_time(net, UINT64_MAX / 2);
  for (int i = 0; i < 2; i++) {
    uint32_t root = i == 0 ? op->desc.root : odd_rank, other = i == 0 ? odd_rank : op->desc.root;
    const struct simnet_fault *late = &simnet_plane_at(net, root, 0, 0)->late;
    if (late->count == 0 || (i == 0 && late->peer != other))
      refuse(net, "a root does not name the rank that takes itself for the root too");
  }
}

/* One good operation, then one of which `odd_rank` has another idea, then another good one. Returns the
 * mismatches. */
static void disagree(const struct shape *shape, uint64_t seed, enum difference what, uint32_t odd_rank) {
  struct simnet *net = start(shape, seed);
  struct op_desc good = {.count = 50, .dtype = AGG_F32, .kind = OP_ALLREDUCE},
                 d = {.count = 90, .dtype = AGG_F32, .kind = OP_REDUCE, .root = 1};
  uint64_t deadline = UINT64_MAX / 4;
  struct simnet_op *first = simnet_op_add(net, &good, 0, 0, UINT64_MAX), *op = simnet_op_add(net, &d, 0, 0, deadline);
  struct simnet_op *last = simnet_op_add(net, &good, 0, 0, UINT64_MAX);
  struct op_desc odd = changed(d, what);
  simnet_op_differs(net, op, odd_rank, &odd);
  for (uint32_t i = 0; i < net->n_ops; i++)
    for (uint32_t rank = 0; rank < net->workers; rank++)
      simnet_post(net, net->ops[i], rank, sim_now(net->world) + rng_below(sim_rng(net->world), 50000));
  rest(net);
  char text[300];
  for (uint32_t rank = 0; rank < net->workers; rank++) {
    if (simnet_done(net, op, rank)) refuse(net, "an operation completed that the ranks do not agree about");
    if (simnet_done(net, first, rank) && simnet_check_part(net, first, rank, text, sizeof text) != NULL) refuse(net, text);
    if (simnet_done(net, last, rank) && simnet_check_part(net, last, rank, text, sizeof text) != NULL) refuse(net, text);
  }
  unsigned n = check_mismatches(net, &op->parts[(odd_rank + 1) % net->workers].desc, &op->parts[odd_rank].desc, odd_rank);
  if (n == 0) check_two_roots(net, shape, op, what, odd_rank);
  simnet_free(net);
}

START_TEST(a_mismatch_is_told_with_both_calls_and_both_ranks) {
  const struct shape *shape = &shapes[_i / DIFFERENCES];
  enum difference what = _i % DIFFERENCES;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    uint32_t odd = (uint32_t)(seed % shape->workers);
    disagree(shape, seed, what, odd);
  }
}
END_TEST

/* ---- a rank that never calls -------------------------------------------------------------------------------------------------- */

START_TEST(a_rank_that_never_calls_is_waited_for_by_name) {
  const struct shape *shape = &shapes[_i];
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    struct simnet *net = start(shape, seed);
    uint32_t absent = (uint32_t)(seed % shape->workers);
    struct op_desc d = {.count = 90, .dtype = AGG_F32, .kind = OP_ALLREDUCE};
    uint64_t deadline = sim_now(net->world) + 10000000;
    struct simnet_op *op = simnet_op_add(net, &d, 0, 0, deadline);
    for (uint32_t rank = 0; rank < net->workers; rank++)
      if (rank != absent) simnet_post(net, op, rank, sim_now(net->world));
    rest(net);
    simnet_time(net, 0);
    ck_assert_uint_eq(simnet_faults(net), 0);
    simnet_time(net, deadline);
    unsigned late = 0, named = 0;
    char name[32];
    snprintf(name, sizeof name, "rank %u", absent);
    for (uint32_t rank = 0; rank < net->workers; rank++)
      for (uint32_t lane = 0; lane < net->setup.plan.lanes; lane++) {
        const struct simnet_plane *p = simnet_plane_at(net, rank, 0, lane);
        if (p->fault.count != 0 || p->late.count > 1 || (rank == absent && p->late.count != 0)) refuse(net, p->fault.text);
        if (p->late.count == 0) continue;
        late++;
        ck_assert_int_eq(p->late.code, AGG_ETIMEDOUT);
        ck_assert_uint_eq(p->late.op, op->seq);
        ck_assert_msg(p->late.peer < net->n_nodes, "%s", p->late.text);
        if (p->late.peer == absent && strstr(p->late.text, name) != NULL) named++;
        ck_assert_msg(strstr(p->late.text, "waits for") != NULL, "%s", p->late.text);
      }
    if (late < net->workers - 1) refuse(net, "a rank does not know that it waits");
    if (shape->kind != FOREST_STAR && named == 0) refuse(net, "nobody names the absent rank");
    simnet_post(net, op, absent, 0); /* late is not lost: it still completes when the rank comes */
    rest(net);
    char text[300];
    for (uint32_t rank = 0; rank < net->workers; rank++)
      if (!simnet_done(net, op, rank) || simnet_check_part(net, op, rank, text, sizeof text) != NULL)
        refuse(net, "it does not complete after all");
    simnet_free(net);
  }
}
END_TEST

/* ---- a node that dies ------------------------------------------------------------------------------------------------------------ */

struct death {
  struct simnet *net;
  uint32_t node;
};
static void die(void *user) {
  const struct death *d = user;
  sim_kill(d->net->world, d->net->nodes[d->node].sim);
}

static void post_many(struct simnet *net) {
  static const uint8_t kinds[] = {OP_ALLREDUCE, OP_BROADCAST, OP_REDUCE_SCATTER, OP_ALLGATHER, OP_REDUCE, OP_ALLREDUCE};
  for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
    struct op_desc d = {.count = 300, .dtype = AGG_F32, .kind = kinds[i]};
    struct simnet_op *op = simnet_op_add(net, &d, 0, rng_next(sim_rng(net->world)), UINT64_MAX);
    for (uint32_t rank = 0; rank < net->workers; rank++)
      simnet_post(net, op, rank, sim_now(net->world) + rng_below(sim_rng(net->world), 20000));
  }
}

/* Every fault says that it is the dead node; where work is left in a lane, somebody says so. */
static void check_losses(struct simnet *net, uint32_t dead) {
  char name[32], text[300];
  snprintf(name, sizeof name, dead < net->workers ? "rank %u" : "server %u", dead < net->workers ? dead : dead - net->workers);
  for (uint32_t lane = 0; lane < net->setup.plan.lanes; lane++) {
    unsigned told = 0, open = 0;
    for (uint32_t i = 0; i < net->n_nodes; i++) {
      const struct simnet_plane *p = simnet_plane_at(net, i, 0, lane);
      if (i == dead) continue;
      open += p->fault.count == 0 && !plane_idle(p->plane);
      told += p->fault.count;
      if (p->fault.count == 0) continue;
      if (p->fault.fault != PLANE_LOST || p->fault.peer != dead || p->fault.code != AGG_EPEER || strstr(p->fault.text, name) == NULL)
        refuse(net, p->fault.text);
      if (p->fault.count != 1) refuse(net, "told twice");
    }
    if (open != 0 && told == 0) refuse(net, "nobody says that the node is lost");
  }
  for (uint32_t o = 0; o < net->n_ops; o++)
    for (uint32_t rank = 0; rank < net->workers; rank++)
      if (rank != dead && simnet_done(net, net->ops[o], rank) && simnet_check_part(net, net->ops[o], rank, text, sizeof text) != NULL)
        refuse(net, text);
}

static void cover(struct simnet *net, uint32_t rank, int check) {
  for (uint32_t o = 0; o < net->n_ops; o++)
    for (int i = 0; i < 2; i++) {
      struct simnet_part *part = &net->ops[o]->parts[rank];
      for (uint64_t b = 0; part->mem[i] != NULL && b < part->mem_bytes[i]; b++) {
        if (check && part->mem[i][b] != 0xc7) refuse(net, "a write landed after the fence");
        part->mem[i][b] = 0xc7;
      }
    }
}

/* Survivors fence one after the other while the others still run; what they own afterwards is touched by nobody. */
static void fence_all(struct simnet *net, uint32_t dead) {
  for (uint32_t i = 0; i < net->n_nodes; i++) {
    if (i == dead) continue;
    if (!simnet_fence(net, i)) refuse(net, "the fence does not close");
    if (i < net->workers) cover(net, i, 0);
  }
  rest(net);
  for (uint32_t i = 0; i < net->workers; i++)
    if (i != dead) cover(net, i, 1);
}

START_TEST(a_lost_node_is_named_and_fenced) {
  const struct shape *shape = &shapes[_i];
  for (uint64_t seed = 1; seed <= 4 * SEEDS; seed++) {
    struct simnet *net = start(shape, seed);
    struct death d = {.net = net, .node = (uint32_t)rng_below(sim_rng(net->world), net->n_nodes)};
    post_many(net);
    sim_at(net->world, sim_now(net->world) + rng_below(sim_rng(net->world), 120000), die, &d);
    if (seed % 2 == 0) {
      rest(net);
      check_losses(net, d.node);
    } else {
      simnet_run(net, rng_below(sim_rng(net->world), 3000)); /* in the middle of anything, before the death or after */
    }
    fence_all(net, d.node);
    if (sim_violation(net->world) != NULL) refuse(net, "contract broken");
    simnet_free(net);
  }
}
END_TEST

/* Stopping needs no loss: a group may be closed at any time, at different times on different nodes. */
START_TEST(a_group_can_be_stopped_at_any_time) {
  const struct shape *shape = &shapes[_i];
  for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++) {
    struct simnet *net = start(shape, seed);
    post_many(net);
    simnet_run(net, rng_below(sim_rng(net->world), 4000));
    fence_all(net, FOREST_NONE);
    ck_assert_uint_eq(simnet_faults(net), 0);
    if (sim_violation(net->world) != NULL) refuse(net, "contract broken");
    simnet_free(net);
  }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("sim/faults");
  TCase *tc = tcase_create("faults");
  tcase_set_timeout(tc, 0);
  tcase_add_loop_test(tc, a_mismatch_is_told_with_both_calls_and_both_ranks, 0, (int)ARRAY_LEN(shapes) * DIFFERENCES);
  tcase_add_loop_test(tc, a_rank_that_never_calls_is_waited_for_by_name, 0, (int)ARRAY_LEN(shapes));
  tcase_add_loop_test(tc, a_lost_node_is_named_and_fenced, 0, (int)ARRAY_LEN(shapes));
  tcase_add_loop_test(tc, a_group_can_be_stopped_at_any_time, 0, (int)ARRAY_LEN(shapes));
  suite_add_tcase(suite, tc);
  return suite;
}
