/*
 * The world: the virtual clock, the heap of events, the nodes, the trace. It decides when something happens and never what: that is in
 * lane.c. All numbers come from the world's seed, so a seed is one history.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim_internal.h"

void *sim_grow(void *ptr, size_t bytes) {
  void *grown = realloc(ptr, bytes);
  if (grown == NULL) {
    fprintf(stderr, "simulator: no memory for %zu bytes\n", bytes);
    abort();
  }
  return grown;
}

void *sim_alloc(size_t bytes) { return memset(sim_grow(NULL, bytes), 0, bytes); }

void sim_config_init(struct sim_config *config, uint64_t seed) {
  *config = (struct sim_config){
      .seed = seed,
      .latency_ns = 500,
      .jitter_ns = 2000,
      .lane_bytes_per_us = 5000,
      .nic_bytes_per_us = 10000,
      .sent_delay_ns = 3000,
      .poll_delay_ns = 300,
      .connect_ns = 100000,
      .lost_ns = 50000,
      .fence_ns = 20000,
      .map = SIM_MAP_NEVER,
  };
}

struct sim_world *sim_create(const struct sim_config *config) {
  struct sim_world *w = calloc(1, sizeof *w);
  if (w == NULL) return NULL;
  w->config = *config;
  w->rng.state = config->seed;
  return w;
}

void sim_destroy(struct sim_world *w) {
  if (w == NULL) return;
  for (size_t i = 0; i < w->heap_len; i++) {
    if (w->heap[i].kind != SIM_LAND && w->heap[i].kind != SIM_SENT) continue;
    struct sim_put *put = w->heap[i].subject;
    free(put->held);
    free(put);
  }
  for (struct sim_put *put = w->free_puts; put != NULL;) {
    struct sim_put *next = put->next;
    free(put);
    put = next;
  }
  for (uint32_t i = 0; i < w->n_tps; i++) {
    assert(w->tps[i]->closed);
    sim_tp_free(w->tps[i]);
  }
  for (uint32_t i = 0; i < w->n_nodes; i++) free(w->nodes[i]);
  free(w->tps);
  free(w->nodes);
  free(w->heap);
  free(w);
}

uint64_t sim_now(const struct sim_world *w) { return w->now; }
uint64_t sim_steps(const struct sim_world *w) { return w->steps; }
struct rng *sim_rng(struct sim_world *w) {
  return &w->rng;
}
uint64_t sim_draw(struct sim_world *w, uint64_t up_to) { return rng_below(&w->rng, up_to + 1); }

/* ---- the heap ---------------------------------------------------------------------------------------------------------- */

static int before(const struct sim_event *a, const struct sim_event *b) { return a->at != b->at ? a->at < b->at : a->seq < b->seq; }

static void heap_push(struct sim_world *w, const struct sim_event *event) {
  if (w->heap_len == w->heap_cap) {
    w->heap_cap = w->heap_cap == 0 ? 256 : w->heap_cap * 2;
    w->heap = sim_grow(w->heap, w->heap_cap * sizeof *w->heap);
  }
  size_t i = w->heap_len++;
  for (; i > 0 && before(event, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
  w->heap[i] = *event;
}

static struct sim_event heap_pop(struct sim_world *w) {
  struct sim_event top = w->heap[0], moved = w->heap[--w->heap_len];
  size_t i = 0;
  for (size_t child = 1; child < w->heap_len; child = 2 * i + 1) {
    if (child + 1 < w->heap_len && before(&w->heap[child + 1], &w->heap[child])) child++;
    if (!before(&w->heap[child], &moved)) break;
    w->heap[i] = w->heap[child];
    i = child;
  }
  w->heap[i] = moved;
  return top;
}

void sim_plan(struct sim_world *w, uint64_t at, enum sim_event_kind kind, void *subject) {
  heap_push(w, &(struct sim_event){.at = MAX_OF(at, w->now), .seq = w->seq++, .kind = kind, .subject = subject});
}

void sim_at(struct sim_world *w, uint64_t at, void (*fn)(void *user), void *user) {
  heap_push(w, &(struct sim_event){.at = MAX_OF(at, w->now), .seq = w->seq++, .kind = SIM_CALL, .fn = fn, .subject = user});
}

/* ---- nodes -------------------------------------------------------------------------------------------------------------- */

uint32_t sim_node_add(struct sim_world *w, void (*ready)(void *user), void *user) {
  struct sim_node *node = sim_alloc(sizeof *node);
  *node = (struct sim_node){.number = w->n_nodes, .ready = ready, .user = user};
  w->nodes = sim_grow(w->nodes, (w->n_nodes + 1) * sizeof(struct sim_node *));
  w->nodes[w->n_nodes] = node;
  return w->n_nodes++;
}

void sim_attach(struct tp *tp, uint32_t number) {
  assert(number < tp->world->n_nodes && tp->lanes == NULL);
  struct tp **link = &tp->node->tps;
  while (*link != tp) link = &(*link)->next_of_node;
  *link = tp->next_of_node;
  tp->node = tp->world->nodes[number];
  tp->next_of_node = tp->node->tps;
  tp->node->tps = tp;
}

void sim_wake_node(struct sim_node *node) {
  if (node->poll_planned || node->killed || node->ready == NULL) return;
  struct sim_world *w = node->tps->world;
  node->poll_planned = 1;
  uint64_t at = w->now + sim_draw(w, w->config.poll_delay_ns);
  sim_plan(w, MAX_OF(at, node->paused_until), SIM_POLL, node);
}

static void poll_node(struct sim_world *w, struct sim_node *node) {
  node->poll_planned = 0;
  if (node->killed) return;
  if (node->paused_until > w->now) {
    sim_wake_node(node);
    return;
  }
  node->ready(node->user);
  for (struct tp *tp = node->tps; tp != NULL; tp = tp->next_of_node)
    if (sim_tp_pending(tp)) sim_wake_node(node);
}

void sim_pause(struct sim_world *w, uint32_t node, uint64_t until) {
  sim_note(w, node, "does not poll until %llu", until, 0, 0);
  w->nodes[node]->paused_until = until;
}

void sim_kill(struct sim_world *w, uint32_t number) {
  struct sim_node *node = w->nodes[number];
  if (node->killed) return;
  sim_note(w, number, "is killed", 0, 0, 0);
  node->killed = 1;
  for (struct tp *tp = node->tps; tp != NULL; tp = tp->next_of_node) sim_lanes_killed(tp);
}

int sim_killed(const struct sim_world *w, uint32_t node) { return w->nodes[node]->killed; }

/* ---- steps -------------------------------------------------------------------------------------------------------------- */

int sim_step(struct sim_world *w) {
  if (w->heap_len == 0) return 0;
  struct sim_event event = heap_pop(w);
  assert(event.at >= w->now);
  w->now = event.at;
  w->steps++;
  switch (event.kind) {
    case SIM_LAND:
      sim_land(event.subject);
      break;
    case SIM_SENT:
      sim_sent(event.subject);
      break;
    case SIM_CONNECT:
      sim_connected(event.subject);
      break;
    case SIM_LOST:
      sim_lost(event.subject);
      break;
    case SIM_POLL:
      poll_node(w, event.subject);
      break;
    case SIM_CALL:
      event.fn(event.subject);
      break;
    case SIM_WAKE:
      sim_wake_node(event.subject);
      break;
  }
  return 1;
}

/* ---- trace -------------------------------------------------------------------------------------------------------------- */

static void print_line(const struct sim_trace_line *line, FILE *to) {
  fprintf(to, "  %12llu  node %-3u ", (unsigned long long)line->at, line->node);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  fprintf(to, line->text, (unsigned long long)line->a, (unsigned long long)line->b, (unsigned long long)line->c);
#pragma GCC diagnostic pop
  fputc('\n', to);
}

void sim_note(struct sim_world *w, uint32_t node, const char *text, uint64_t a, uint64_t b, uint64_t c) {
  struct sim_trace_line *line = &w->trace[w->traced++ % SIM_TRACE_LINES];
  *line = (struct sim_trace_line){.at = w->now, .node = node, .text = text, .a = a, .b = b, .c = c};
  if (w->config.live) print_line(line, stderr);
}

void sim_print(const struct sim_world *w, FILE *to) {
  fprintf(to, "simulation: seed %llu, virtual time %llu ns, %llu events\n", (unsigned long long)w->config.seed, (unsigned long long)w->now,
          (unsigned long long)w->steps);
  uint64_t first = w->traced > SIM_TRACE_LINES ? w->traced - SIM_TRACE_LINES : 0;
  if (!w->config.live)
    for (uint64_t i = first; i < w->traced; i++) print_line(&w->trace[i % SIM_TRACE_LINES], to);
  if (w->violation[0] != '\0') fprintf(to, "  contract broken: %s\n", w->violation);
}

void sim_violate(struct sim_world *w, const char *fmt, ...) {
  if (w->violation[0] != '\0') return;
  va_list args;
  va_start(args, fmt);
  vsnprintf(w->violation, sizeof w->violation, fmt, args);
  va_end(args);
}

const char *sim_violation(const struct sim_world *w) { return w->violation[0] == '\0' ? NULL : w->violation; }
