/*
 * What the engine costs per chunk: drives the nodes of one communicator against each other with no transport and no payload, and prints the
 * time for a chunk at one node. For instruction counts:
 *
 *   valgrind --tool=callgrind --collect-atstart=no --toggle-collect=exchange build/release/engine_step star 4 10000
 *   (the total divided by the "chunk visits" that the program prints)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "engine/node.h"

#define NODES_MAX 17u

struct world {
  struct plan plan;
  uint32_t nodes;
  struct node *node[NODES_MAX];
  uint64_t visits;
  int busy;
};

static void send_up(struct world *w, uint32_t self, const struct node_action *a) {
  const struct node_chunk *v = node_chunk(w->node[self], a->ctx);
  struct wire_header h = {.op = v->op, .chunk = v->chunk, .edge_seq = v->up_seq, .desc = v->desc, .result_key = 1};
  h.payload = a->with_payload ? v->place.bytes : 0;
  node_up_sent(w->node[self], a->peer, a->slot);
  node_up(w->node[a->peer], self, a->slot, &h);
}

static void send_down(struct world *w, uint32_t self, const struct node_action *a) {
  uint32_t bytes = node_expected_result(w->node[a->peer], self, a->slot), ctx = a->ctx;
  node_down(w->node[a->peer], self, a->slot, bytes);
  node_sent(w->node[self], ctx);
}

static void drain(struct world *w, uint32_t self) {
  struct node_action a;
  while (node_next_action(w->node[self], &a)) {
    w->busy = 1;
    if (a.kind == ACT_FOLD) node_folded(w->node[self], a.ctx);
    if (a.kind == ACT_SEND_UP) send_up(w, self, &a);
    if (a.kind == ACT_SEND_DOWN) send_down(w, self, &a);
    if (a.kind > ACT_OP_DONE) {
      fprintf(stderr, "engine_step: fault %d at node %u: %s\n", (int)a.kind, self, a.text != NULL ? a.text : "");
      exit(1);
    }
  }
}

/* One operation of so many chunks, from the posts to the end. Not inlined: callgrind counts what is below it. */
__attribute__((noinline)) void exchange(struct world *w, uint32_t seq, const struct op_desc *desc);
void exchange(struct world *w, uint32_t seq, const struct op_desc *desc) {
  for (uint32_t i = 0; i < w->plan.workers; i++) node_post(w->node[i], seq, desc, UINT64_MAX);
  do {
    w->busy = 0;
    for (uint32_t i = 0; i < w->nodes; i++) drain(w, i);
  } while (w->busy);
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: engine_step star|direct|ring WORKERS CHUNKS\n");
    return 2;
  }
  struct world w = {.plan = {.n_forests = 1, .lanes = 1, .window = 8, .chunk_bytes = 65536}};
  agg_error_t err = {0};
  int kind = forest_kind_parse(argv[1]);
  uint32_t workers = (uint32_t)strtoul(argv[2], NULL, 10), chunks = (uint32_t)strtoul(argv[3], NULL, 10);
  if (kind < 0 || workers == 0 || workers >= NODES_MAX || chunks == 0) {
    fprintf(stderr, "engine_step: a plan (star, direct, ring), 1 to %u workers and a number of chunks are expected\n", NODES_MAX - 1);
    return 2;
  }
  if (forest_init(&w.plan.forest[0], (unsigned)kind, workers, kind == FOREST_STAR, &err) != AGG_OK) {
    fprintf(stderr, "engine_step: %s\n", err.text);
    return 1;
  }
  w.plan.workers = workers;
  w.plan.servers = kind == FOREST_STAR;
  w.nodes = plan_nodes(&w.plan);
  for (uint32_t i = 0; i < w.nodes; i++) {
    struct node_config nc = {.self = i, .plan = &w.plan, .scratch = node_scratch_wanted(&w.plan, i)};
    if (node_create(&nc, &w.node[i], &err) != AGG_OK) return 1;
  }
  struct op_desc desc = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .redop = AGG_SUM, .count = (uint64_t)chunks * 16384};
  exchange(&w, 0, &desc); /* warm */
  uint64_t before = clock_now_ns();
  exchange(&w, 1, &desc);
  uint64_t ns = clock_now_ns() - before;
  uint64_t visits = 0;
  for (uint32_t i = 0; i < w.nodes; i++) visits += node_chunks_done(w.node[i]);
  printf("%s of %u workers: %llu chunk visits in two operations, %.1f ns a visit in the second\n", argv[1], workers,
         (unsigned long long)visits, (double)ns / ((double)visits / 2));
  for (uint32_t i = 0; i < w.nodes; i++) node_destroy(w.node[i]);
  return 0;
}
