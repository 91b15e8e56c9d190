/*
 * Opening chunks: reserving everything a chunk will ever need at this node (its slot at the parent or the place after it, the slots
 * of its children, a scratch buffer), and making and unmaking the node. A worker opens strictly in order and only when all is there.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "node_internal.h"

/* ---- what a chunk is at this node ---------------------------------------------------------------------------------------- */

static void view_init(const struct node *n, struct node_chunk *v, const struct op_layout *l, uint32_t op, uint64_t chunk) {
  const struct forest *f = &n->plan->forest[l->desc.forest];
  v->desc = l->desc;
  v->op = op;
  v->chunk = (uint32_t)chunk;
  chunk_place(l, f, chunk, &v->place);
  v->span = chunk_span(l, chunk);
  uint32_t tree = v->place.tree, contributor = v->place.contributor, receiver = v->place.receiver;
  const struct tree_view *t = node_tree(n, v);
  v->scratch = NONE;
  v->parent = t->parent;
  v->n_children = t->n_children;
  v->own_at = t->own_at;
  int bytes = v->place.bytes != 0, worker = !n->is_server;
  v->own_input = bytes && worker && (contributor == NONE || contributor == n->self);
  v->own_output = bytes && worker && (receiver == NONE || receiver == n->self);
  v->up_payload = bytes && (contributor == NONE || forest_toward(f, tree, n->self, contributor) != NONE);
  v->down_payload = bytes && (receiver == NONE || forest_toward(f, tree, n->self, receiver) != NONE);
  uint32_t below = contributor == NONE ? v->n_children : (uint32_t)(v->up_payload && !v->own_input);
  v->inputs = bytes ? v->own_input + below : 0;
}

/* At the root the result is made for whoever receives: into the own output if there is one, else into scratch, unless it is just the own
 * input. Below the root a fold of several inputs goes to scratch: the own input must stay as it is until the result is known. */
static int view_scratch(struct node_chunk *v) {
  if (v->parent == NONE) {
    int just_own = v->inputs == 1 && v->own_input;
    v->fold = v->down_payload && !(just_own && !v->own_output);
    return v->fold && !v->own_output;
  }
  v->fold = v->inputs >= 2;
  return v->fold || (v->down_payload && !v->own_output);
}

static void child_flags(const struct node *n, const struct node_chunk *v, const struct forest *f, uint32_t child, struct child_slot *cs) {
  uint32_t tree = v->place.tree;
  int bytes = v->place.bytes != 0;
  cs->up_payload = bytes && (v->place.contributor == NONE || forest_toward(f, tree, n->self, v->place.contributor) == child);
  cs->down_payload = bytes && (v->place.receiver == NONE || forest_toward(f, tree, n->self, v->place.receiver) == child);
}

/* ---- workers ---------------------------------------------------------------------------------------------------------------- */

/* 1 when all that the chunk needs is there; a dead neighbour fails the node. */
static int can_open(struct node *n, const struct node_chunk *v, int scratch) {
  const struct tree_view *t = node_tree(n, v);
  if (n->free_ctx == NONE || (scratch && n->n_free_scratch == 0)) return 0;
  if (v->parent != NONE) {
    const struct up_edge *e = &n->ups[t->up_edge];
    if (e->dead) {
      node_fail(n, &(struct node_action){.kind = ACT_LOST, .peer = e->peer, .op = v->op});
      return 0;
    }
    const struct up_slot *s = &e->slots[e->next_seq % n->window];
    if (s->ctx != NONE && s->waiter != NONE) return 0;
    uint32_t window = plan_window(n->plan, v->desc.forest); /* narrower than the edge's: the chunk so many before must be home */
    if (window < n->window && e->slots[(e->next_seq + n->window - window) % n->window].ctx != NONE) return 0;
  }
  if (v->n_children != 0 && n->open_parents == 2 * n->window) return 0;
  for (uint32_t i = 0; i < v->n_children; i++) {
    const struct child_edge *e = &n->children[n->tree_edges[t->first_edge + i]];
    if (e->dead) {
      node_fail(n, &(struct node_action){.kind = ACT_LOST, .peer = e->peer, .op = v->op});
      return 0;
    }
    if (e->slots[e->next_seq % n->window].ctx != NONE) return 0;
  }
  return 1;
}

static void take_up_slot(struct node *n, uint32_t id) {
  struct ctx *c = &n->ctxs[id];
  c->up_edge = node_tree(n, &c->view)->up_edge;
  struct up_edge *e = &n->ups[c->up_edge];
  c->view.up_seq = e->next_seq;
  e->next_seq = edge_seq_after(n, e->next_seq, 1);
  c->view.up_slot = c->view.up_seq % n->window;
  struct up_slot *s = &e->slots[c->view.up_slot];
  if (s->ctx == NONE)
    s->ctx = id;
  else
    s->waiter = id;
}

/* Links the children's slots in fold order; returns 0 when a contribution that waits there does not fit. */
static int take_child_slots(struct node *n, uint32_t id, const struct forest *f) {
  struct ctx *c = &n->ctxs[id];
  const uint32_t *edges = &n->tree_edges[node_tree(n, &c->view)->first_edge];
  uint32_t *link = &c->first_child;
  for (uint32_t i = 0; i < c->view.n_children; i++) {
    uint32_t edge = edges[i];
    struct child_edge *e = &n->children[edge];
    uint32_t slot = e->next_seq % n->window;
    e->next_seq = edge_seq_after(n, e->next_seq, 1);
    struct child_slot *cs = &e->slots[slot];
    cs->ctx = id;
    cs->next = NONE;
    *link = child_slot_id(n, edge, slot);
    link = &cs->next;
    child_flags(n, &c->view, f, e->peer, cs);
    if (!cs->landed) {
      c->missing++;
      continue;
    }
    if (!n->is_server) n->parked--;
    if (!node_check_contribution(n, id, edge, slot)) return 0;
  }
  return 1;
}

/* Opens n->next: 0 when something that it needs is not there yet. */
static int open_next(struct node *n) {
  if (!can_open(n, &n->next, n->next_scratch)) return 0;
  uint32_t id = node_take_ctx(n);
  struct ctx *c = &n->ctxs[id];
  c->view = n->next;
  n->next_known = 0;
  n->open_parents += c->view.n_children != 0;
  if (n->next_scratch) c->view.scratch = n->free_scratch[--n->n_free_scratch];
  if (c->view.parent != NONE) take_up_slot(n, id);
  if (take_child_slots(n, id, &n->plan->forest[c->view.desc.forest])) node_advance(n, id);
  return 1;
}

void node_open_more(struct node *n) {
  while (n->open_op != n->next_op && !n->failed) {
    struct node_op *op = &n->ops[n->open_op % NODE_OPS_MAX];
    if (!op->active || op->seq != n->open_op || op->next_chunk >= op->layout.chunks) {
      n->open_op++;
      continue;
    }
    if (!n->next_known) { /* worked out once, however often it is tried */
      view_init(n, &n->next, &op->layout, op->seq, op->next_chunk);
      n->next_scratch = (uint8_t)view_scratch(&n->next);
      n->next_known = 1;
    }
    /* Opening may finish the chunk and come back here: the place is taken first, and given back when it cannot be opened. */
    op->next_chunk += op->layout.lanes;
    if (!open_next(n)) {
      op->next_chunk -= op->layout.lanes;
      return;
    }
  }
}

/* ---- servers ------------------------------------------------------------------------------------------------------------------ */

/* A server's chunks are numbered by its children's edges, which all carry the same ones. The first contribution says what the chunk is. */
static void server_open(struct node *n, uint32_t edge, uint32_t slot) {
  const struct child_slot *first = &n->children[edge].slots[slot];
  uint32_t peer = n->children[edge].peer, seq = first->expected;
  if (first->desc.forest >= n->plan->n_forests) {
    node_protocol_fault(n, peer, "it named a forest that the plan does not have");
    return;
  }
  const struct forest *f = &n->plan->forest[first->desc.forest];
  if (first->desc.root >= f->workers) {
    node_protocol_fault(n, peer, "it named a root that is not a rank");
    return;
  }
  if (first->desc.kind == OP_BARRIER && first->desc.count != 0) {
    node_protocol_fault(n, peer, "it named a barrier with elements");
    return;
  }
  struct op_layout l;
  if (op_layout_init(&l, &first->desc, f, n->plan->lanes, n->plan->chunk_bytes, NULL) != AGG_OK) {
    node_protocol_fault(n, peer, "it named an impossible number of elements");
    return;
  }
  if (first->chunk >= l.chunks || first->chunk % l.lanes != n->config.lane) {
    node_protocol_fault(n, peer, "it sent a chunk that the operation does not have on this lane");
    return;
  }
  struct node_chunk v;
  view_init(n, &v, &l, first->op, first->chunk);
  if (!node_tree(n, &v)->member) {
    node_protocol_fault(n, peer, "it sent a chunk whose tree does not reach this server");
    return;
  }
  for (uint32_t i = 0; i < v.n_children; i++) {
    const struct child_edge *e = &n->children[n->child_of[forest_child(f, v.place.tree, n->self, i)]];
    if (!e->dead) continue;
    node_fail(n, &(struct node_action){.kind = ACT_LOST, .peer = e->peer, .op = v.op});
    return;
  }
  int scratch = view_scratch(&v);
  uint32_t id = node_take_ctx(n);
  struct ctx *c = &n->ctxs[id];
  c->view = v;
  c->server_slot = slot;
  n->server_ctx[slot] = id;
  if (scratch) c->view.scratch = n->free_scratch[--n->n_free_scratch];
  const uint32_t *edges = &n->tree_edges[node_tree(n, &v)->first_edge];
  for (uint32_t i = 0; i < v.n_children; i++) n->children[edges[i]].next_seq = seq;
  n->parked -= n->server_parked[slot];
  n->server_parked[slot] = 0;
  if (v.parent != NONE) { /* its edge to the parent carries the very chunks of its children's edges, whatever their order of arrival */
    n->ups[node_tree(n, &v)->up_edge].next_seq = seq;
    take_up_slot(n, id);
  }
  if (take_child_slots(n, id, f)) node_advance(n, id);
}

void node_server_arrival(struct node *n, uint32_t edge, uint32_t slot) {
  struct child_slot *cs = &n->children[edge].slots[slot];
  if (cs->ctx != NONE) {
    uint32_t ctx = cs->ctx;
    if (!node_check_contribution(n, ctx, edge, slot)) return;
    n->ctxs[ctx].missing--;
    node_advance(n, ctx);
    return;
  }
  n->parked++;
  n->server_parked[slot]++;
  if (n->server_ctx[slot] == NONE) server_open(n, edge, slot);
}

void node_server_reopen(struct node *n, uint32_t slot) {
  for (uint32_t e = 0; n->server_parked[slot] != 0 && e < n->n_children; e++)
    if (n->children[e].slots[slot].landed) {
      server_open(n, e, slot);
      return;
    }
}

/* ---- making a node --------------------------------------------------------------------------------------------------------------- */

/* Calls note(user, peer, 1) for every parent and note(user, peer, 0) for every child of self in any tree; peers may repeat. */
static void each_edge(const struct plan *plan, uint32_t self, void (*note)(void *user, uint32_t peer, int up), void *user) {
  for (uint32_t i = 0; i < plan->n_forests; i++) {
    const struct forest *f = &plan->forest[i];
    if (self >= forest_nodes(f)) continue;
    for (uint32_t t = 0; t < f->trees; t++) {
      if (!forest_member(f, t, self)) continue;
      uint32_t parent = forest_parent(f, t, self), children = forest_n_children(f, t, self);
      if (parent != NONE) note(user, parent, 1);
      for (uint32_t c = 0; c < children; c++) note(user, forest_child(f, t, self, c), 0);
    }
  }
}

static void note_role(void *user, uint32_t peer, int up) {
  uint8_t *roles = user;
  roles[peer] |= up ? NODE_PARENT : NODE_CHILD;
}
void node_roles(const struct plan *plan, uint32_t self, uint8_t *roles) {
  memset(roles, 0, plan_nodes(plan));
  each_edge(plan, self, note_role, roles);
}

/* Every worker is the root of some tree: then the tree of a rooted operation is the one whose root wants the result. */
static int all_are_roots(const struct forest *f) {
  for (uint32_t worker = 0; worker < f->workers; worker++)
    if (forest_rooted_at(f, worker) == NONE) return 0;
  return 1;
}

/* A server makes every result in scratch. A worker folds into scratch where it is an inner node, and where it is a root of results that
 * only others want. */
uint32_t node_scratch_wanted(const struct plan *plan, uint32_t self) {
  if (self >= plan->workers) return plan->window;
  for (uint32_t i = 0; i < plan->n_forests; i++) {
    const struct forest *f = &plan->forest[i];
    int at_home = all_are_roots(f);
    for (uint32_t t = 0; t < f->trees; t++) {
      if (!forest_member(f, t, self) || forest_n_children(f, t, self) == 0) continue;
      if (!at_home || forest_parent(f, t, self) != NONE) return 2 * plan->window;
    }
  }
  return 0;
}

static void note_count(void *user, uint32_t peer, int up) {
  struct node *n = user;
  uint32_t *of = up ? n->up_of : n->child_of;
  if (of[peer] != NONE) return;
  of[peer] = up ? n->n_ups++ : n->n_children++;
}

static int allocate(struct node *n) {
  uint32_t w = n->window;
  n->ups = calloc(MAX_OF(1u, n->n_ups), sizeof *n->ups);
  n->children = calloc(MAX_OF(1u, n->n_children), sizeof *n->children);
  n->up_slots = calloc(MAX_OF(1u, (size_t)n->n_ups * w), sizeof *n->up_slots);
  n->child_slots = calloc(MAX_OF(1u, (size_t)n->n_children * w), sizeof *n->child_slots);
  /* A chunk holds or waits for a slot at its parent, or holds slots of its children; alone (one worker) it holds nothing. */
  n->n_ctxs = n->is_server ? w : MIN_OF(4096u, 2 * w * n->n_ups + w * 2 * (n->n_children != 0 || n->n_ups == 0 ? 1 : 0) + w);
  n->ctxs = calloc(n->n_ctxs, sizeof *n->ctxs);
  n->server_ctx = calloc(w, sizeof *n->server_ctx);
  n->server_parked = calloc(w, sizeof *n->server_parked);
  n->n_free_scratch = n->config.scratch;
  n->free_scratch = calloc(MAX_OF(1u, n->n_free_scratch), sizeof *n->free_scratch);
  n->queue_cap = 2 * n->n_ctxs + n->n_children * w + 2 * NODE_OPS_MAX + 8;
  n->queue = calloc(n->queue_cap, sizeof *n->queue);
  return n->ups && n->children && n->up_slots && n->child_slots && n->ctxs && n->server_ctx && n->server_parked && n->free_scratch &&
         n->queue;
}

/* What each tree is to this node, so that opening a chunk asks no forest. */
static int fill_trees(struct node *n) {
  uint32_t trees = 0, edges = 0, tree = 0, edge = 0;
  for (uint32_t i = 0; i < n->plan->n_forests; i++) {
    const struct forest *f = &n->plan->forest[i];
    n->first_tree[i] = trees;
    trees += f->trees;
    for (uint32_t t = 0; t < f->trees; t++) edges += forest_n_children(f, t, n->self);
  }
  n->trees = calloc(trees, sizeof *n->trees);
  n->tree_edges = calloc(MAX_OF(1u, edges), sizeof *n->tree_edges);
  if (n->trees == NULL || n->tree_edges == NULL) return 0;
  for (uint32_t i = 0; i < n->plan->n_forests; i++) {
    const struct forest *f = &n->plan->forest[i];
    for (uint32_t t = 0; t < f->trees; t++, tree++) {
      struct tree_view *v = &n->trees[tree];
      v->member = (uint8_t)forest_member(f, t, n->self);
      v->parent = forest_parent(f, t, n->self);
      v->up_edge = v->parent != NONE ? n->up_of[v->parent] : NONE;
      v->n_children = forest_n_children(f, t, n->self);
      v->own_at = forest_own_at(f, t, n->self);
      v->first_edge = edge;
      for (uint32_t c = 0; c < v->n_children; c++) n->tree_edges[edge++] = n->child_of[forest_child(f, t, n->self, c)];
    }
  }
  return 1;
}

static void fill(struct node *n) {
  uint32_t w = n->window;
  for (uint32_t i = 0; i < n->n_ctxs; i++) n->ctxs[i].next_free = i + 1 < n->n_ctxs ? i + 1 : NONE;
  for (uint32_t i = 0; i < n->config.scratch; i++) n->free_scratch[i] = i;
  for (uint32_t i = 0; i < w; i++) n->server_ctx[i] = NONE;
  for (uint32_t i = 0; i < n->n_ups * w; i++) n->up_slots[i] = (struct up_slot){.ctx = NONE, .waiter = NONE};
  for (uint32_t i = 0; i < n->n_children * w; i++) n->child_slots[i] = (struct child_slot){.ctx = NONE, .next = NONE, .expected = i % w};
  for (uint32_t peer = 0; peer < n->nodes; peer++) {
    if (n->up_of[peer] != NONE) n->ups[n->up_of[peer]] = (struct up_edge){.peer = peer, .slots = n->up_slots + (size_t)n->up_of[peer] * w};
    if (n->child_of[peer] != NONE)
      n->children[n->child_of[peer]] = (struct child_edge){.peer = peer, .slots = n->child_slots + (size_t)n->child_of[peer] * w};
  }
}

int node_create(const struct node_config *config, struct node **out, agg_error_t *err) {
  struct node *n = calloc(1, sizeof *n);
  if (n == NULL) goto no_memory;
  n->config = *config;
  n->plan = config->plan;
  n->self = config->self;
  n->window = n->plan->window;
  n->nodes = plan_nodes(n->plan);
  n->is_server = n->self >= n->plan->workers;
  assert(n->self < n->nodes && config->lane < n->plan->lanes && n->window > 0);
  n->up_of = malloc(n->nodes * sizeof *n->up_of);
  n->child_of = malloc(n->nodes * sizeof *n->child_of);
  if (n->up_of == NULL || n->child_of == NULL) goto free_node;
  memset(n->up_of, 0xff, n->nodes * sizeof *n->up_of);
  memset(n->child_of, 0xff, n->nodes * sizeof *n->child_of);
  each_edge(n->plan, n->self, note_count, n);
  if (!allocate(n) || !fill_trees(n)) goto free_node;
  fill(n);
  *out = n;
  return AGG_OK;

free_node:
  node_destroy(n);
no_memory:
  return err_set(err, AGG_ENOMEM, "no memory for the engine of a communicator");
}

void node_destroy(struct node *n) {
  if (n == NULL) return;
  free(n->trees);
  free(n->tree_edges);
  free(n->up_of);
  free(n->child_of);
  free(n->ups);
  free(n->children);
  free(n->up_slots);
  free(n->child_slots);
  free(n->ctxs);
  free(n->server_ctx);
  free(n->server_parked);
  free(n->free_scratch);
  free(n->queue);
  free(n);
}
