/*
 * The group: world, nodes, planes and lanes, and the driving of them. Operations and their comparison are in simnet_ops.c. It calls the
 * planes only as a reactor would: events as they come, from one thread, with the world's clock.
 */
#include "tests/lib/simnet.h"

#include <assert.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define POLL_MAX 8
#define CONNECT_STEPS 1000000u

void simnet_setup_init(struct simnet_setup *s, uint64_t seed, unsigned kind, uint32_t workers, uint32_t servers) {
  *s = (struct simnet_setup){.priorities = 1, .n_tps = 1};
  sim_config_init(&s->sim, seed);
  s->sim.map = SIM_MAP_BACKED;
  s->caps[0] = TP_CAP_ANY_SOURCE | TP_CAP_MAP | TP_CAP_CHEAP_REG;
  s->plan = (struct plan){.workers = workers, .servers = servers, .lanes = 1, .window = 4, .chunk_bytes = 256};
  agg_error_t err = {0};
  ck_assert_msg(forest_init(&s->plan.forest[0], kind, workers, servers, &err) == AGG_OK, "%s", err.text);
  s->plan.n_forests = 1;
}

void simnet_plan_add(struct simnet_setup *s, unsigned kind, uint64_t from_bytes) {
  struct plan *p = &s->plan;
  agg_error_t err = {0};
  ck_assert(p->n_forests < PLAN_FORESTS_MAX);
  ck_assert_msg(forest_init(&p->forest[p->n_forests], kind, p->workers, p->servers, &err) == AGG_OK, "%s", err.text);
  for (unsigned op = 0; op < OP_KIND_COUNT; op++) {
    struct plan_table *t = &p->table[op];
    if (t->n == 0) t->n = 1; /* forest 0 from 0 bytes on */
    t->rule[t->n++] = (struct plan_rule){.from_bytes = from_bytes, .forest = p->n_forests};
  }
  p->n_forests++;
}

/* ---- hooks -------------------------------------------------------------------------------------------------------------- */

static void on_connected(void *user) { ((struct simnet_plane *)user)->connected = 1; }

static void on_done(void *user, struct plane_op *op) {
  struct simnet_plane *p = user;
  struct simnet_part *part = CONTAINER_OF(op, struct simnet_part, op);
  part->done++;
  sim_note(p->node->net->world, p->node->sim, "op %llu of priority %llu is done on lane %llu", op->seq, p->priority, p->lane);
}

static void on_fault(void *user, enum plane_fault fault, int code, uint32_t peer, uint32_t op, const char *text) {
  struct simnet_plane *p = user;
  struct simnet_fault *f = fault == PLANE_LATE ? &p->late : &p->fault;
  sim_note(p->node->net->world, p->node->sim, "fault %llu in op %llu, peer %lld", fault, op, peer == FOREST_NONE ? UINT64_MAX : peer);
  f->count++;
  f->fault = fault;
  f->code = code;
  f->peer = peer;
  f->op = op;
  str_copy(f->text, sizeof f->text, text);
}

static void fake_event(struct simnet *net, uint32_t fake, const struct tp_event *event) {
  uint32_t peer = (uint32_t)(uintptr_t)event->user;
  struct simnet_fake *f = simnet_fake_at(net, fake, peer);
  if (event->kind == TP_CONNECTED) {
    f->connected = 1;
    f->window = event->peer_window;
  } else if (net->setup.fake_event != NULL) {
    net->setup.fake_event(net->setup.fake_user, net, fake, peer, event);
  }
}

/* Polls in small helpings: what is left comes with the next turn, when the world says so. */
static void on_ready(void *user) {
  struct simnet_node *node = user;
  struct simnet *net = node->net;
  struct tp_event events[POLL_MAX];
  unsigned first = (unsigned)rng_below(sim_rng(net->world), net->setup.n_tps);
  for (unsigned i = 0; i < net->setup.n_tps; i++) {
    unsigned t = (first + i) % net->setup.n_tps;
    int max = 1 + (int)rng_below(sim_rng(net->world), POLL_MAX), n = node->ops[t]->poll(node->tps[t], events, max);
    for (int e = 0; e < n; e++) {
      if (simnet_is_fake(net, node->number))
        fake_event(net, node->number, &events[e]);
      else
        plane_event(plane_of_event(&events[e]), &events[e]);
    }
  }
  simnet_offer(node);
}

/* ---- making ------------------------------------------------------------------------------------------------------------- */

static void make_planes(struct simnet *net, struct simnet_node *node) {
  const struct simnet_setup *s = &net->setup;
  agg_error_t err = {0};
  node->n_planes = s->priorities * s->plan.lanes;
  node->planes = calloc(node->n_planes, sizeof *node->planes);
  for (uint32_t i = 0; i < node->n_planes; i++) {
    struct simnet_plane *p = &node->planes[i];
    p->node = node;
    p->priority = i / s->plan.lanes;
    p->lane = i % s->plan.lanes;
    struct plane_config pc = {.comm = SIMNET_COMM,
                              .epoch = SIMNET_EPOCH,
                              .self = node->number,
                              .lane = p->lane,
                              .priority = p->priority,
                              .plan = &net->setup.plan,
                              .n_tps = s->n_tps,
                              .reduce = s->reduce_best ? reduce_best() : &reduce_reference,
                              .hooks = {.user = p, .connected = on_connected, .done = on_done, .fault = on_fault}};
    for (unsigned t = 0; t < s->n_tps; t++) pc.tps[t] = (struct plane_tp){.ops = node->ops[t], .tp = node->tps[t]};
    ck_assert_msg(plane_create(&pc, &p->plane, &err) == AGG_OK, "%s", err.text);
    p->connected = plane_neighbours(p->plane) == 0;
  }
}

static void make_node(struct simnet *net, uint32_t number) {
  struct simnet_node *node = &net->nodes[number];
  agg_error_t err = {0};
  node->net = net;
  node->number = number;
  node->sim = sim_node_add(net->world, on_ready, node);
  for (unsigned t = 0; t < net->setup.n_tps; t++) {
    node->ops[t] = sim_ops(net->setup.caps[t]);
    struct tp_config tc = {.sim = net->world};
    ck_assert_msg(node->ops[t]->open(&tc, &node->tps[t], &err) == AGG_OK, "%s", err.text);
    sim_attach(node->tps[t], node->sim);
  }
  if (!simnet_is_fake(net, number)) make_planes(net, node);
}

struct wire {
  uint32_t from, to, plane;
};

static void open_wire(struct simnet *net, const struct wire *w) {
  struct simnet_node *from = &net->nodes[w->from], *to = &net->nodes[w->to];
  uint32_t low = MIN_OF(w->from, w->to), high = MAX_OF(w->from, w->to), ticket[TP_TICKET_BYTES / 4] = {1, low, high, w->plane};
  unsigned tp = (low * 7 + high) % net->setup.n_tps;
  unsigned char address[TP_ADDRESS_MAX];
  agg_error_t err = {0};
  size_t len = to->ops[tp]->address(to->tps[tp], address);
  ck_assert(from->ops[tp]->reach(from->tps[tp], address, len));
  if (!simnet_is_fake(net, w->from)) {
    ck_assert_msg(plane_connect(from->planes[w->plane].plane, w->to, tp, address, len, (unsigned char *)ticket, &err) == AGG_OK, "%s",
                  err.text);
    return;
  }
  struct tp_lane_config lc = {.peer_address = address,
                              .peer_address_len = len,
                              .active = w->from < w->to,
                              .depth = 1000,
                              .domain = SIMNET_COMM,
                              .user = (void *)(uintptr_t)w->to};
  memcpy(lc.ticket, ticket, sizeof lc.ticket);
  struct simnet_fake *f = simnet_fake_at(net, w->from, w->to);
  f->ops = from->ops[tp];
  f->tp = from->tps[tp];
  ck_assert_msg(f->ops->lane_open(f->tp, &lc, &f->lane, &err) == AGG_OK, "%s", err.text);
}

/* Both ends of all lanes, in random order. */
static void connect_all(struct simnet *net) {
  uint32_t n = 0, planes = net->setup.priorities * net->setup.plan.lanes;
  struct wire *wires = calloc((size_t)net->n_nodes * net->n_nodes * planes + 1, sizeof *wires);
  uint8_t *roles = calloc(net->n_nodes, 1);
  for (uint32_t a = 0; a < net->n_nodes; a++) {
    node_roles(&net->setup.plan, a, roles);
    for (uint32_t b = 0; b < net->n_nodes; b++)
      for (uint32_t p = 0; roles[b] != 0 && p < planes; p++) wires[n++] = (struct wire){a, b, p};
  }
  free(roles);
  for (uint32_t i = n; i > 1; i--) {
    uint32_t j = (uint32_t)rng_below(sim_rng(net->world), i);
    struct wire swapped = wires[j];
    wires[j] = wires[i - 1];
    wires[i - 1] = swapped;
  }
  for (uint32_t i = 0; i < n; i++) {
    open_wire(net, &wires[i]);
    if (rng_below(sim_rng(net->world), 4) == 0) sim_step(net->world);
  }
  free(wires);
}

static int all_connected(const struct simnet *net) {
  for (uint32_t i = 0; i < net->n_nodes; i++) {
    for (uint32_t p = 0; p < net->nodes[i].n_planes; p++)
      if (!net->nodes[i].planes[p].connected) return 0;
    for (uint32_t peer = 0; peer < net->n_nodes; peer++)
      if (simnet_fake_at(net, i, peer)->lane != NULL && !simnet_fake_at(net, i, peer)->connected) return 0;
  }
  return 1;
}

struct simnet *simnet_start(const struct simnet_setup *setup) {
  struct simnet *net = calloc(1, sizeof *net);
  net->setup = *setup;
  net->world = sim_create(&setup->sim);
  net->workers = setup->plan.workers;
  net->n_nodes = plan_nodes(&setup->plan);
  net->nodes = calloc(net->n_nodes, sizeof *net->nodes);
  net->fakes = calloc((size_t)net->n_nodes * net->n_nodes, sizeof *net->fakes);
  for (uint32_t i = 0; i < net->n_nodes; i++) make_node(net, i);
  connect_all(net);
  for (uint32_t i = 0; !all_connected(net); i++)
    if (i == CONNECT_STEPS || !sim_step(net->world)) {
      simnet_print(net, stderr);
      ck_abort_msg("seed %llu: the lanes do not connect", (unsigned long long)setup->sim.seed);
    }
  return net;
}

void simnet_free(struct simnet *net) {
  if (net == NULL) return;
  for (uint32_t i = 0; i < net->n_nodes; i++)
    for (uint32_t p = 0; p < net->nodes[i].n_planes; p++) plane_destroy(net->nodes[i].planes[p].plane);
  simnet_ops_free(net);
  for (uint32_t i = 0; i < net->n_nodes; i++) {
    for (unsigned t = 0; t < net->setup.n_tps; t++) net->nodes[i].ops[t]->close(net->nodes[i].tps[t]);
    free(net->nodes[i].planes);
  }
  sim_destroy(net->world);
  free(net->fakes);
  free(net->nodes);
  free(net);
}

/* ---- driving ------------------------------------------------------------------------------------------------------------- */

int simnet_run(struct simnet *net, uint64_t steps) {
  for (; steps != 0; steps--)
    if (!sim_step(net->world)) return 1;
  return 0;
}

int simnet_fence(struct simnet *net, uint32_t number) {
  struct simnet_node *node = &net->nodes[number];
  for (uint32_t i = 0; i < node->n_planes; i++) plane_stop(node->planes[i].plane);
  for (;;) {
    int all = 1;
    for (uint32_t i = 0; i < node->n_planes; i++) {
      int fenced = plane_fenced(node->planes[i].plane);
      ck_assert_int_eq(fenced, plane_unfenced_peer(node->planes[i].plane) == FOREST_NONE);
      all &= fenced;
    }
    if (all) return 1;
    if (!sim_step(net->world)) return 0;
  }
}

void simnet_time(struct simnet *net, uint64_t ahead) {
  for (uint32_t i = 0; i < net->n_nodes; i++)
    for (uint32_t p = 0; p < net->nodes[i].n_planes; p++)
      if (!sim_killed(net->world, net->nodes[i].sim)) plane_time(net->nodes[i].planes[p].plane, sim_now(net->world) + ahead);
}

struct simnet_plane *simnet_plane_at(struct simnet *net, uint32_t node, uint32_t priority, uint32_t lane) {
  return &net->nodes[node].planes[priority * net->setup.plan.lanes + lane];
}

struct simnet_fake *simnet_fake_at(const struct simnet *net, uint32_t fake, uint32_t peer) {
  return &net->fakes[fake * net->n_nodes + peer];
}
int simnet_is_fake(const struct simnet *net, uint32_t node) { return node < 64 && (net->setup.fakes >> node & 1) != 0; }

uint32_t simnet_faults(const struct simnet *net) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < net->n_nodes; i++)
    for (uint32_t p = 0; p < net->nodes[i].n_planes; p++) n += net->nodes[i].planes[p].fault.count + net->nodes[i].planes[p].late.count;
  return n;
}

/* ---- telling ------------------------------------------------------------------------------------------------------------- */

static void print_plane(const struct simnet_plane *p, FILE *to) {
  const struct simnet *net = p->node->net;
  char text[256];
  if (p->fault.count != 0)
    fprintf(to, "  node %u priority %u lane %u: fault %d: %s\n", p->node->number, p->priority, p->lane, (int)p->fault.fault, p->fault.text);
  if (!plane_idle(p->plane)) fprintf(to, "  node %u priority %u lane %u is not idle\n", p->node->number, p->priority, p->lane);
  for (uint32_t o = 0; o < net->n_ops && p->node->number < net->workers; o++) {
    const struct simnet_op *op = net->ops[o];
    if (op->priority != p->priority || simnet_done(net, op, p->node->number)) continue;
    plane_explain(p->plane, op->seq, text, sizeof text);
    fprintf(to, "  node %u priority %u lane %u op %u: %s\n", p->node->number, p->priority, p->lane, op->seq, text);
  }
}

void simnet_print(struct simnet *net, FILE *to) {
  const struct plan *plan = &net->setup.plan;
  char text[256];
  sim_print(net->world, to);
  char name[PLAN_TEXT_MAX];
  fprintf(to, "  %u workers, %u servers, %s\n", plan->workers, plan->servers, plan_text(plan, name, sizeof name));
  for (uint32_t i = 0; i < plan->n_forests; i++) fprintf(to, "  forest %u: %s\n", i, forest_name(&plan->forest[i], name, sizeof name));
  fprintf(to, "  %u lanes, window %u, chunks of %u bytes, %u priorities, %u transports (capabilities %u %u)\n", plan->lanes, plan->window,
          plan->chunk_bytes, net->setup.priorities, net->setup.n_tps, net->setup.caps[0], net->setup.caps[1]);
  for (uint32_t o = 0; o < net->n_ops; o++)
    fprintf(to, "  op %u of priority %u: %s\n", net->ops[o]->seq, net->ops[o]->priority,
            op_desc_format(&net->ops[o]->desc, text, sizeof text));
  for (uint32_t i = 0; i < net->n_nodes; i++)
    for (uint32_t p = 0; p < net->nodes[i].n_planes; p++) print_plane(&net->nodes[i].planes[p], to);
}
