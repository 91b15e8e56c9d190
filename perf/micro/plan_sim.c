/*
 * The engine at work on a described fabric, in virtual time, beside what the cost model predicts. The nodes are real (libagg/engine), the
 * network is a model: every link carries one message after the other at its rate, in the order in which their heads come to it, and the
 * head of a message goes on to the next link as soon as it is on one. A node is one thread, as a reactor is: what has arrived waits until
 * it is free, then all that follows from it is done, sums and sends, before the next is looked at. The cost constants are taken as cost.h
 * has them: a message keeps the processor at either end, hop and chunk are waited for.
 *
 *   plan_sim PLAN WORKERS SERVERS SIZE [HOSTS_A_RACK]        prints simulated and predicted milliseconds and their ratio
 *
 * PLAN as AGG_PLAN, SIZE in bytes (K, M, G). Hosts of one worker or server each at AGG_SIM_NIC bytes a second (default 12.5e9, verbs),
 * racks with uplinks of half of what their hosts have. AGG_COST as in the library.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "engine/node.h"
#include "topology/explain.h"

enum event_kind { EV_HEAD, EV_UP, EV_UP_SENT, EV_DOWN, EV_SENT, EV_FREE };

struct event {
  double at;
  uint64_t order; /* of events at one time: as they were made */
  uint8_t kind;
  uint8_t cargo, leg; /* EV_HEAD: EV_UP or EV_DOWN; which link of its way the head has come to */
  double behind;      /* EV_HEAD: when its last byte has left the link before */
  uint32_t node, lane, peer, slot, bytes, ctx;
  struct wire_header header; /* EV_UP */
};

/* Of a node: what has arrived while it was busy, oldest first. */
struct inbox {
  struct event *ring;
  uint32_t cap, head, len;
};

struct world {
  struct plan plan;
  struct fabric fabric;
  struct cost cost;
  double efficiency, hop, message;
  uint32_t nodes;
  struct node **node;   /* lane * nodes + node */
  double *cpu;          /* node -> when it is free */
  struct inbox *inbox;  /* node */
  double *up, *down;    /* link -> when it is free */
  double now, finished; /* of the last operation that was done */
  uint32_t left;        /* operations not done, over nodes and lanes */
  struct event *heap;
  size_t n, cap;
  uint64_t order, events;
};

static void die(const char *text) {
  fprintf(stderr, "plan_sim: %s\n", text);
  exit(1);
}

/* ---- the queue of events ----------------------------------------------------------------------------------------------------------- */

static int before(const struct event *a, const struct event *b) { return a->at < b->at || (a->at == b->at && a->order < b->order); }

static void push(struct world *w, struct event e) {
  if (w->n == w->cap) {
    w->cap = w->cap == 0 ? 4096 : 2 * w->cap;
    w->heap = realloc(w->heap, w->cap * sizeof *w->heap);
    if (w->heap == NULL) die("no memory");
  }
  e.order = w->order++;
  size_t i = w->n++;
  for (; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
  w->heap[i] = e;
}

static int pop(struct world *w, struct event *e) {
  if (w->n == 0) return 0;
  *e = w->heap[0];
  struct event last = w->heap[--w->n];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < w->n; i = child) {
    if (child + 1 < w->n && before(&w->heap[child + 1], &w->heap[child])) child++;
    if (!before(&w->heap[child], &last)) break;
    w->heap[i] = w->heap[child];
  }
  w->heap[i] = last;
  w->now = e->at;
  w->events++;
  return 1;
}

/* ---- the network ------------------------------------------------------------------------------------------------------------------- */

#define WAY_MAX 64

/* The links between two hosts, in order: up[i] says which way each is taken. */
static uint32_t find_way(const struct world *w, uint32_t from, uint32_t to, uint32_t *link, uint8_t *up) {
  uint32_t a = w->fabric.node[from].host, b = w->fabric.node[to].host, n = 0, falling[WAY_MAX], m = 0;
  while (a != b) {
    if (n + m + 1 >= WAY_MAX) die("the fabric is too deep");
    if (a > b) { /* parents have smaller numbers: the deeper one goes up */
      link[n] = a;
      up[n++] = 1;
      a = w->fabric.link[a].parent;
    } else {
      falling[m++] = b;
      b = w->fabric.link[b].parent;
    }
  }
  while (m > 0) {
    link[n] = falling[--m];
    up[n++] = 0;
  }
  return n;
}

/* The head of a message has come to a link of its way, or to its end. The sender's memory is free when the first link has it all. */
static void go_on(struct world *w, struct event e) {
  uint32_t link[WAY_MAX], n;
  uint8_t up[WAY_MAX];
  n = find_way(w, e.peer, e.node, link, up);
  if (e.leg == n) {
    e.kind = e.cargo;
    e.at = e.behind + w->hop;
    push(w, e);
    return;
  }
  double *free_at = up[e.leg] ? &w->up[link[e.leg]] : &w->down[link[e.leg]];
  double start = fmax(w->now, *free_at), speed = w->fabric.link[link[e.leg]].bytes_per_s * w->efficiency;
  e.behind = fmax(e.behind, start + e.bytes / speed);
  *free_at = e.behind;
  if (e.leg == 0) {
    struct event sent = {.at = e.behind, .lane = e.lane, .node = e.peer, .peer = e.node, .slot = e.cargo == EV_UP ? e.slot : e.ctx};
    sent.kind = e.cargo == EV_UP ? EV_UP_SENT : EV_SENT;
    push(w, sent);
  }
  e.leg++;
  e.at = start;
  push(w, e);
}

/* ---- the nodes --------------------------------------------------------------------------------------------------------------------- */

/* The node's processor is busy for so long more; when it is done. */
static double work(struct world *w, uint32_t node, double seconds) {
  w->cpu[node] = fmax(w->cpu[node], w->now) + seconds;
  return w->cpu[node];
}

static void act(struct world *w, uint32_t lane, uint32_t self, const struct node_action *a) {
  struct node *n = w->node[lane * w->nodes + self];
  struct event e = {.kind = EV_HEAD, .lane = lane, .node = a->peer, .peer = self, .slot = a->slot, .ctx = a->ctx};
  if (a->kind == ACT_FOLD) {
    const struct node_chunk *v = node_chunk(n, a->ctx);
    work(w, self, (double)v->inputs * v->place.bytes / w->fabric.node[self].sum_bytes_per_s);
    node_folded(n, a->ctx);
  } else if (a->kind == ACT_SEND_UP) {
    const struct node_chunk *v = node_chunk(n, a->ctx);
    e.cargo = EV_UP;
    e.header = (struct wire_header){.op = v->op, .chunk = v->chunk, .edge_seq = v->up_seq, .desc = v->desc, .result_key = 1};
    e.bytes = e.header.payload = a->with_payload ? v->place.bytes : 0;
    e.at = work(w, self, w->message);
    push(w, e);
  } else if (a->kind == ACT_SEND_DOWN) {
    e.cargo = EV_DOWN;
    e.bytes = a->with_payload ? node_chunk(n, a->ctx)->place.bytes : 0;
    e.at = work(w, self, w->message);
    push(w, e);
  } else if (a->kind == ACT_OP_DONE) {
    w->left--;
    w->finished = fmax(w->finished, fmax(w->cpu[self], w->now));
  } else {
    die(a->text != NULL ? a->text : "the engine reports a fault");
  }
}

/* What arrived at a node, with all that follows from it there. */
static void take(struct world *w, const struct event *e) {
  struct node *n = w->node[e->lane * w->nodes + e->node];
  if (e->kind == EV_UP || e->kind == EV_DOWN) work(w, e->node, w->message);
  if (e->kind == EV_UP) node_up(n, e->peer, e->slot, &e->header);
  if (e->kind == EV_UP_SENT) node_up_sent(n, e->peer, e->slot);
  if (e->kind == EV_DOWN) node_down(n, e->peer, e->slot, e->bytes);
  if (e->kind == EV_SENT) node_sent(n, e->slot);
  for (struct node_action a; node_next_action(n, &a);) act(w, e->lane, e->node, &a);
}

static void wait_for_node(struct world *w, const struct event *e) {
  struct inbox *in = &w->inbox[e->node];
  if (in->len == in->cap) {
    struct event *ring = calloc(2 * (size_t)in->cap + 8, sizeof *ring);
    if (ring == NULL) die("no memory");
    for (uint32_t i = 0; i < in->len; i++) ring[i] = in->ring[(in->head + i) % in->cap];
    free(in->ring);
    *in = (struct inbox){.ring = ring, .cap = 2 * in->cap + 8, .len = in->len};
  }
  in->ring[(in->head + in->len++) % in->cap] = *e;
  if (in->len == 1) push(w, (struct event){.at = fmax(w->cpu[e->node], w->now), .kind = EV_FREE, .node = e->node});
}

/* One of those that wait, then the next when the node is free again. */
static void node_free(struct world *w, uint32_t node) {
  struct inbox *in = &w->inbox[node];
  struct event e = in->ring[in->head];
  in->head = (in->head + 1) % in->cap;
  in->len--;
  take(w, &e);
  if (in->len > 0) push(w, (struct event){.at = fmax(w->cpu[node], w->now), .kind = EV_FREE, .node = node});
}

static void happen(struct world *w, const struct event *e) {
  if (e->kind == EV_HEAD)
    go_on(w, *e);
  else if (e->kind == EV_FREE)
    node_free(w, e->node);
  else if (w->inbox[e->node].len > 0 || w->cpu[e->node] > w->now)
    wait_for_node(w, e);
  else
    take(w, e);
}

/* One allreduce from a standing start; seconds. */
static double run(struct world *w, uint64_t bytes) {
  struct op_desc desc = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .redop = AGG_SUM, .count = bytes / 4};
  double start = w->now;
  desc.forest = (uint8_t)plan_forest(&w->plan, OP_ALLREDUCE, bytes);
  for (uint32_t i = 0; i < w->nodes; i++) w->cpu[i] = start;
  w->left = w->plan.workers * w->plan.lanes;
  for (uint32_t lane = 0; lane < w->plan.lanes; lane++)
    for (uint32_t i = 0; i < w->plan.workers; i++) {
      struct node *n = w->node[lane * w->nodes + i];
      if (node_post(n, 0, &desc, UINT64_MAX) != AGG_OK) die("the engine takes no operation");
      for (struct node_action a; node_next_action(n, &a);) act(w, lane, i, &a);
    }
  for (struct event e; pop(w, &e);) happen(w, &e);
  if (w->left != 0) die("the operation does not end");
  return w->finished - start;
}

/* ---- making it --------------------------------------------------------------------------------------------------------------------- */

static void check(int rc, const agg_error_t *err) {
  if (rc != AGG_OK) die(err->text);
}

static double nic_speed(void) {
  const char *text = getenv("AGG_SIM_NIC");
  double speed = text != NULL ? strtod(text, NULL) : 12.5e9;
  if (!(speed > 0)) die("AGG_SIM_NIC: expected bytes a second, as in 12.5e9");
  return speed;
}

static void make_fabric(struct world *w, uint32_t workers, uint32_t servers, uint32_t a_rack) {
  agg_error_t err = {0};
  uint32_t racks = a_rack == 0 ? 0 : (workers + a_rack - 1) / a_rack, link;
  check(fabric_init(&w->fabric, &err), &err);
  for (uint32_t i = 0; i < racks; i++) {
    char name[32];
    snprintf(name, sizeof name, "rack%u", i);
    check(fabric_add_link(&w->fabric, FABRIC_LINK_SWITCH, FABRIC_CORE, name, a_rack * nic_speed() / 2, &link, &err), &err);
  }
  for (uint32_t i = 0; i < workers + servers; i++) {
    char name[32];
    snprintf(name, sizeof name, i < workers ? "node%u" : "store%u", i < workers ? i : i - workers);
    uint32_t rack = racks == 0 ? FABRIC_CORE : 1 + (i < workers ? i / a_rack : (i - workers) % racks);
    check(fabric_add_link(&w->fabric, FABRIC_LINK_HOST, rack, name, nic_speed(), &link, &err), &err);
    check(fabric_add_node(&w->fabric, i >= workers, link, &err), &err);
  }
  w->fabric.transport = FABRIC_VERBS;
}

static void make_nodes(struct world *w) {
  agg_error_t err = {0};
  w->nodes = plan_nodes(&w->plan);
  w->node = calloc((size_t)w->nodes * w->plan.lanes, sizeof(*w->node));
  w->cpu = calloc(w->nodes, sizeof *w->cpu);
  w->inbox = calloc(w->nodes, sizeof *w->inbox);
  w->up = calloc(2 * (size_t)w->fabric.n_links, sizeof *w->up);
  if (w->node == NULL || w->cpu == NULL || w->inbox == NULL || w->up == NULL) die("no memory");
  w->down = w->up + w->fabric.n_links;
  for (uint32_t lane = 0; lane < w->plan.lanes; lane++)
    for (uint32_t i = 0; i < w->nodes; i++) {
      struct node_config nc = {.self = i, .plan = &w->plan, .lane = lane, .scratch = node_scratch_wanted(&w->plan, i)};
      check(node_create(&nc, &w->node[lane * w->nodes + i], &err), &err);
    }
}

static uint32_t number(const char *text) {
  uint64_t n;
  if (parse_u64(text, FOREST_MAX_NODES, &n) != 0) die("expected: plan_sim PLAN WORKERS SERVERS SIZE [HOSTS_A_RACK]");
  return (uint32_t)n;
}

static uint32_t setting(const char *name) {
  uint64_t n = 0;
  const char *text = getenv(name);
  if (text != NULL && parse_bytes(text, UINT32_MAX, &n) != 0) die(name);
  return (uint32_t)n;
}

int main(int argc, char **argv) {
  static struct world w;
  agg_error_t err = {0};
  struct explain e = {0};
  uint64_t bytes;
  if (argc < 5 || argc > 6 || parse_bytes(argv[4], 1ull << 40, &bytes) != 0)
    die("expected: plan_sim PLAN WORKERS SERVERS SIZE [HOSTS_A_RACK]");
  cost_init(&w.cost);
  check(cost_parse(&w.cost, getenv("AGG_COST"), &err), &err);
  make_fabric(&w, number(argv[2]), number(argv[3]), argc > 5 ? number(argv[5]) : 0);
  fabric_assume(&w.fabric, &w.cost);
  w.efficiency = cost_efficiency(&w.cost, &w.fabric);
  w.hop = w.cost.hop_verbs + w.cost.chunk;
  w.message = w.cost.message_verbs;
  struct plan_request r = {.plan = argv[1], .fabric = &w.fabric, .cost = &w.cost};
  r.lanes = setting("AGG_LANES"), r.window = setting("AGG_WINDOW"), r.chunk_bytes = setting("AGG_CHUNK");
  check(plan_make(&r, &w.plan, &err), &err);
  check(explain_make(&r, &w.plan, OP_ALLREDUCE, bytes, &e, &err), &err);
  make_nodes(&w);
  double seconds = run(&w, bytes), predicted = 0;
  char name[EXPLAIN_NAME_MAX] = "?";
  for (uint32_t i = 0; i < e.n_rows; i++) {
    if (!e.row[i].chosen) continue;
    predicted = e.row[i].time.seconds;
    str_copy(name, sizeof name, e.row[i].name);
  }
  printf("%-34s %4u + %3u  %4llu MiB  simulated %9.3f ms  predicted %9.3f ms  ratio %.3f  (%u lanes, window %u x %u KiB, %llu events)\n",
         name, w.plan.workers, w.plan.servers, (unsigned long long)bytes >> 20, seconds * 1e3, predicted * 1e3, seconds / predicted,
         w.plan.lanes, w.plan.window, w.plan.chunk_bytes >> 10, (unsigned long long)w.events);
  for (size_t i = 0; i < (size_t)w.nodes * w.plan.lanes; i++) node_destroy(w.node[i]);
  explain_fini(&e);
  plan_fini(&w.plan);
  fabric_fini(&w.fabric);
  for (uint32_t i = 0; i < w.nodes; i++) free(w.inbox[i].ring);
  free(w.inbox);
  free(w.node), free(w.cpu), free(w.up), free(w.heap);
  return 0;
}
