/*
 * Whole groups of nodes that exchange their actions in random order: every operation completes at every node, nobody exceeds a window, and
 * all are idle afterwards. No transport and no payload.
 */
#include <check.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/nodes.h"

#define NODES_MAX 12u
#define EVENTS_MAX 40000u

enum event_kind { EV_UP, EV_DOWN, EV_UP_SENT, EV_SENT, EV_FOLDED, EV_POST };
struct event {
  enum event_kind kind;
  uint32_t to, from, slot, bytes;
  struct wire_header h;
};

/* A network that delivers any outstanding event next, but keeps the order of messages from one node to another. */
struct group {
  struct plan plan;
  struct node *nodes[NODES_MAX];
  uint32_t n_nodes, done[NODES_MAX], up[NODES_MAX][NODES_MAX], posted[NODES_MAX];
  const struct op_desc *ops;
  uint32_t n_ops;
  struct event events[EVENTS_MAX];
  uint32_t n_events;
  struct rng rng;
};

static void add_event(struct group *g, struct event e) {
  ck_assert_uint_lt(g->n_events, EVENTS_MAX);
  g->events[g->n_events++] = e;
}

static void carry_out(struct group *g, uint32_t self) {
  struct node_action a;
  while (node_next_action(g->nodes[self], &a)) {
    const struct node_chunk *v = a.kind <= ACT_SEND_DOWN ? node_chunk(g->nodes[self], a.ctx) : NULL;
    switch (a.kind) {
      case ACT_SEND_UP: {
        struct wire_header h = {.op = v->op, .chunk = v->chunk, .edge_seq = v->up_seq, .desc = v->desc};
        h.payload = a.with_payload ? v->place.bytes : 0;
        h.result_key = v->down_payload;
        ck_assert_uint_le(++g->up[self][a.peer], g->plan.window);
        add_event(g, (struct event){.kind = EV_UP, .to = a.peer, .from = self, .slot = a.slot, .h = h});
        add_event(g, (struct event){.kind = EV_UP_SENT, .to = self, .from = a.peer, .slot = a.slot});
        break;
      }
      case ACT_SEND_DOWN:
        add_event(
            g, (struct event){.kind = EV_DOWN, .to = a.peer, .from = self, .slot = a.slot, .bytes = a.with_payload ? v->place.bytes : 0});
        add_event(g, (struct event){.kind = EV_SENT, .to = self, .from = self, .slot = a.ctx});
        break;
      case ACT_FOLD:
        add_event(g, (struct event){.kind = EV_FOLDED, .to = self, .from = self, .slot = a.ctx});
        break;
      case ACT_OP_DONE:
        g->done[self]++;
        break;
      default:
        ck_abort_msg("node %u: action %d in peace", self, (int)a.kind);
    }
  }
}

static int same_lane(const struct event *a, const struct event *b) {
  return a->kind <= EV_DOWN && b->kind <= EV_DOWN && a->to == b->to && a->from == b->from;
}

static int next_event(struct group *g, struct event *e) {
  if (g->n_events == 0) return 0;
  uint32_t i = (uint32_t)rng_below(&g->rng, g->n_events), first = 0;
  while (first < i && !same_lane(&g->events[first], &g->events[i])) first++;
  *e = g->events[first];
  memmove(&g->events[first], &g->events[first + 1], (--g->n_events - first) * sizeof *e);
  return 1;
}

static void happen(struct group *g, const struct event *e) {
  struct node *n = g->nodes[e->to];
  switch (e->kind) {
    case EV_UP:
      node_up(n, e->from, e->slot, &e->h);
      break;
    case EV_DOWN:
      ck_assert_uint_eq(e->bytes, node_expected_result(n, e->from, e->slot));
      g->up[e->to][e->from]--;
      node_down(n, e->from, e->slot, e->bytes);
      break;
    case EV_UP_SENT:
      node_up_sent(n, e->from, e->slot);
      break;
    case EV_SENT:
      node_sent(n, e->slot);
      break;
    case EV_FOLDED:
      node_folded(n, e->slot);
      break;
    case EV_POST:
      ck_assert_int_eq(node_post(n, g->posted[e->to], &g->ops[g->posted[e->to]], FAR_AWAY), AGG_OK);
      g->posted[e->to]++;
      break;
  }
}

static void run_group(uint64_t seed) {
  static struct group g; /* large; one test at a time */
  struct op_desc ops[10];
  memset(&g, 0, sizeof g);
  g.rng.state = seed;
  unsigned kind = (unsigned)rng_below(&g.rng, FOREST_KIND_COUNT);
  uint32_t workers = 1 + (uint32_t)rng_below(&g.rng, 8), servers = 1 + (uint32_t)rng_below(&g.rng, 3);
  g.plan = plan_of(kind, workers, servers, 1);
  g.plan.window = 1 + (uint32_t)rng_below(&g.rng, 5);
  g.n_nodes = workers + servers;
  g.ops = ops;
  g.n_ops = 1 + (uint32_t)rng_below(&g.rng, ARRAY_LEN(ops));
  for (uint32_t o = 0; o < g.n_ops; o++) {
    ops[o] = (struct op_desc){.kind = (uint8_t)rng_below(&g.rng, OP_KIND_COUNT), .dtype = AGG_F32, .count = rng_below(&g.rng, 120)};
    if (ops[o].kind == OP_BARRIER) ops[o].count = 0;
    if (ops[o].kind == OP_REDUCE || ops[o].kind == OP_BROADCAST || ops[o].kind == OP_GATHER || ops[o].kind == OP_SCATTER)
      ops[o].root = (uint32_t)rng_below(&g.rng, workers);
  }
  for (uint32_t i = 0; i < g.n_nodes; i++) g.nodes[i] = node_of(&g.plan, i, 0);
  for (uint32_t i = 0; i < workers; i++)
    for (uint32_t o = 0; o < g.n_ops; o++) add_event(&g, (struct event){.kind = EV_POST, .to = i, .from = i});
  for (struct event e; next_event(&g, &e);) {
    happen(&g, &e);
    carry_out(&g, e.to);
  }
  for (uint32_t i = 0; i < g.n_nodes; i++) {
    ck_assert_msg(node_idle(g.nodes[i]), "seed %llu: node %u is not idle", (unsigned long long)seed, i);
    if (i < workers)
      ck_assert_msg(g.done[i] == g.n_ops, "seed %llu: node %u completed %u of %u", (unsigned long long)seed, i, g.done[i], g.n_ops);
    node_destroy(g.nodes[i]);
  }
}

START_TEST(groups_complete_whatever_the_order_of_events) {
  for (uint64_t seed = 1; seed <= 1500; seed++) run_group(seed);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("engine/node_groups");
  TCase *tc = tcase_create("groups");
  tcase_set_timeout(tc, 300);
  tcase_add_test(tc, groups_complete_whatever_the_order_of_events);
  suite_add_tcase(suite, tc);
  return suite;
}
