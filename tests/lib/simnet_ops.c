/*
 * Operations of a simulated group: their buffers between guards, the numbers in them, when which rank posts them, and whether what came out
 * is right: outputs to the bit, inputs and everything around unchanged.
 */
#include <assert.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/simnet.h"
#include "tests/lib/simref.h"

#define GUARD_BYTES 64u
#define ODD_BYTES 16u /* buffers begin at any alignment */

/* ---- numbers ------------------------------------------------------------------------------------------------------------ */

static int sums(unsigned kind) { return kind == OP_ALLREDUCE || kind == OP_REDUCE || kind == OP_REDUCE_SCATTER; }

/* A float with an exponent within `span` of 1's. */
static uint64_t plain_float(struct rng *r, unsigned exp_bits, unsigned man_bits, unsigned span) {
  uint64_t bias = (1ull << (exp_bits - 1)) - 1, exp = bias - span + rng_below(r, 2 * span + 1);
  uint64_t sign = rng_next(r) & 1, man = rng_next(r) & ((1ull << man_bits) - 1);
  return sign << (exp_bits + man_bits) | exp << man_bits | man;
}

/* Sums of floats get finite numbers, so that no not-a-number of unspecified sign arises; all else gets any bits. */
static uint64_t one_number(struct rng *r, const struct op_desc *d, int wild) {
  unsigned span = d->redop == AGG_PROD ? 1 : 6;
  if (wild) return rng_next(r);
  switch (d->dtype) {
    case AGG_F16:
      return plain_float(r, 5, 10, span);
    case AGG_BF16:
      return plain_float(r, 8, 7, span);
    case AGG_F32:
      return plain_float(r, 8, 23, span);
    case AGG_F64:
      return plain_float(r, 11, 52, span);
    default:
      return rng_next(r);
  }
}

static void fill(struct rng *r, const struct op_desc *d, unsigned char *at, uint64_t bytes) {
  size_t elem = agg_dtype_size((agg_dtype_t)d->dtype);
  int wild = !sums(d->kind) || ((d->redop == AGG_MIN || d->redop == AGG_MAX) && rng_below(r, 4) == 0);
  for (uint64_t i = 0; i < bytes; i += elem) {
    uint64_t number = one_number(r, d, wild); /* little-endian machines only, as the library */
    memcpy(at + i, &number, elem);
  }
}

/* ---- buffers -------------------------------------------------------------------------------------------------------------- */

/* mem[which] of so many bytes; returns where they begin. */
static unsigned char *make_mem(struct simnet_part *part, int which, uint64_t bytes, struct rng *r) {
  uint64_t all = bytes + 2 * GUARD_BYTES + ODD_BYTES;
  unsigned char *mem = malloc(all);
  for (uint64_t i = 0; i < all; i++) mem[i] = (unsigned char)(0x5c ^ (i * 7));
  part->mem[which] = mem;
  part->mem_bytes[which] = all;
  return mem + GUARD_BYTES + rng_below(r, ODD_BYTES);
}

/* Where, in bytes, the smaller buffer of an in-place call stands in the larger one. */
static uint64_t in_place_offset(const struct op_desc *d, uint32_t rank) {
  int blocks = d->kind == OP_REDUCE_SCATTER || d->kind == OP_SCATTER || d->kind == OP_ALLGATHER || d->kind == OP_GATHER;
  return blocks ? rank * d->count * agg_dtype_size((agg_dtype_t)d->dtype) : 0;
}

static void make_buffers(struct simnet *net, struct simnet_part *part, uint32_t rank) {
  struct rng *r = sim_rng(net->world);
  const struct op_desc *d = &part->desc;
  uint64_t give = simref_send_bytes(&net->setup.plan, d, rank), get = simref_recv_bytes(&net->setup.plan, d, rank);
  unsigned char *send = NULL, *recv = NULL;
  part->in_place = part->in_place && give != 0 && get != 0;
  if (part->in_place) {
    unsigned char *large = make_mem(part, 0, MAX_OF(give, get), r);
    send = give < get ? large + in_place_offset(d, rank) : large;
    recv = get < give ? large + in_place_offset(d, rank) : large;
  } else {
    if (give != 0 || rng_below(r, 2)) send = make_mem(part, 0, give, r);
    if (get != 0 || rng_below(r, 2)) recv = make_mem(part, 1, get, r);
  }
  if (give != 0) fill(r, d, send, give);
  part->op = (struct plane_op){
      .desc = *d, .seq = part->op.seq, .deadline = part->op.deadline, .send = send, .recv = recv, .send_bytes = give, .recv_bytes = get};
  for (int i = 0; i < 2; i++) {
    if (part->mem[i] == NULL) continue;
    part->before[i] = malloc(part->mem_bytes[i]);
    memcpy(part->before[i], part->mem[i], part->mem_bytes[i]);
  }
}

/* Registered, and mappable by peers or not; or left to the plane: all, one of the two, or with one of the transports. */
static void register_buffers(struct simnet *net, struct simnet_part *part, uint32_t rank) {
  struct rng *r = sim_rng(net->world);
  struct simnet_node *node = &net->nodes[rank];
  int shared = rng_below(r, 2) == 0, some = rng_below(r, 4) == 0;
  if (net->setup.memory == SIMNET_NONE || (net->setup.memory == SIMNET_SOME && rng_below(r, 3) == 0)) return;
  for (unsigned t = 0; t < net->setup.n_tps; t++) {
    for (int i = 0; i < 2; i++) {
      agg_error_t err = {0};
      if (part->mem[i] == NULL || (net->setup.memory == SIMNET_SOME && some && rng_below(r, 2) == 0)) continue;
      struct tp_mem mem = {
          .addr = part->mem[i], .len = part->mem_bytes[i], .fd = shared ? 0 : -1}; /* the simulator asks only whether there is one */
      ck_assert_msg(node->ops[t]->mem_reg(node->tps[t], &mem, &part->mr[i][t], &err) == AGG_OK, "%s", err.text);
    }
    part->op.send_mr[t] = part->op.send != NULL ? part->mr[0][t] : NULL;
    part->op.recv_mr[t] = part->op.recv != NULL ? part->mr[part->in_place ? 0 : 1][t] : NULL;
  }
  part->op.send_shared = shared && part->op.send != NULL;
}

static void drop_buffers(struct simnet *net, struct simnet_part *part, uint32_t rank) {
  struct simnet_node *node = &net->nodes[rank];
  for (int i = 0; i < 2; i++) {
    for (unsigned t = 0; t < net->setup.n_tps; t++) {
      if (part->mr[i][t] != NULL) node->ops[t]->mem_dereg(node->tps[t], part->mr[i][t]);
      part->mr[i][t] = NULL;
    }
    free(part->mem[i]);
    free(part->before[i]);
    part->mem[i] = part->before[i] = NULL;
  }
}

/* ---- posting -------------------------------------------------------------------------------------------------------------- */

static void set_forest(const struct simnet *net, struct op_desc *d) {
  d->forest = (uint8_t)plan_forest(&net->setup.plan, d->kind, d->count * agg_dtype_size((agg_dtype_t)d->dtype));
}

struct simnet_op *simnet_op_add(struct simnet *net, const struct op_desc *desc, uint32_t priority, uint64_t in_place, uint64_t deadline) {
  if (net->n_ops == net->cap_ops) {
    net->cap_ops = net->cap_ops == 0 ? 16 : net->cap_ops * 2;
    net->ops = realloc(net->ops, net->cap_ops * sizeof(struct simnet_op *));
  }
  struct simnet_op *op = calloc(1, sizeof *op);
  net->ops[net->n_ops++] = op;
  op->desc = *desc;
  set_forest(net, &op->desc);
  op->priority = priority;
  op->seq = net->seqs[priority]++;
  op->parts = calloc(net->workers, sizeof *op->parts);
  for (uint32_t rank = 0; rank < net->workers; rank++) {
    struct simnet_part *part = &op->parts[rank];
    part->desc = op->desc;
    part->in_place = (in_place >> rank & 1) != 0;
    part->op.seq = op->seq;
    part->op.deadline = deadline;
    if (simnet_is_fake(net, rank)) continue;
    make_buffers(net, part, rank);
    register_buffers(net, part, rank);
  }
  return op;
}

void simnet_op_differs(struct simnet *net, struct simnet_op *op, uint32_t rank, const struct op_desc *desc) {
  struct simnet_part *part = &op->parts[rank];
  drop_buffers(net, part, rank);
  part->desc = *desc;
  set_forest(net, &part->desc);
  make_buffers(net, part, rank);
  register_buffers(net, part, rank);
}

void simnet_offer(struct simnet_node *node) {
  struct simnet *net = node->net;
  if (node->number >= net->workers || sim_killed(net->world, node->sim)) return;
  for (uint32_t i = 0; i < node->n_planes; i++) {
    struct simnet_plane *p = &node->planes[i];
    for (uint32_t o = 0; o < net->n_ops; o++) {
      struct simnet_op *op = net->ops[o];
      if (op->priority != p->priority || op->seq < p->next_post) continue;
      struct simnet_part *part = &op->parts[node->number];
      if (!part->released || plane_post(p->plane, &part->op) != AGG_OK) break;
      p->next_post++;
    }
  }
}

struct post {
  struct simnet_node *node;
  struct simnet_op *op;
};

static void release(void *user) {
  struct post *post = user;
  struct simnet *net = post->node->net;
  sim_note(net->world, post->node->sim, "posts op %llu of priority %llu", post->op->seq, post->op->priority, 0);
  post->op->parts[post->node->number].released = 1;
  simnet_offer(post->node);
  free(post);
}

void simnet_post(struct simnet *net, struct simnet_op *op, uint32_t rank, uint64_t at) {
  if (simnet_is_fake(net, rank)) return;
  for (uint32_t o = 0; o < net->n_ops; o++)
    if (net->ops[o]->priority == op->priority && net->ops[o]->seq < op->seq) at = MAX_OF(at, net->ops[o]->parts[rank].post_at);
  op->parts[rank].post_at = at;
  struct post *post = malloc(sizeof *post);
  *post = (struct post){.node = &net->nodes[rank], .op = op};
  sim_at(net->world, at, release, post);
}

void simnet_post_all(struct simnet *net, struct simnet_op *op, uint64_t at) {
  for (uint32_t rank = 0; rank < net->workers; rank++) simnet_post(net, op, rank, at);
}

/* Posts that never came are freed by running them: only tests that stop early have any. */
void simnet_ops_free(struct simnet *net) {
  for (uint32_t o = 0; o < net->n_ops; o++) {
    for (uint32_t rank = 0; rank < net->workers; rank++) drop_buffers(net, &net->ops[o]->parts[rank], rank);
    free(net->ops[o]->parts);
    free(net->ops[o]);
  }
  free(net->ops);
}

/* ---- checking ------------------------------------------------------------------------------------------------------------- */

int simnet_done(const struct simnet *net, const struct simnet_op *op, uint32_t rank) {
  return op->parts[rank].done == net->setup.plan.lanes;
}

/* The input of a rank as it was at the posting. */
static const unsigned char *input_before(const struct simnet_part *part) {
  const unsigned char *send = part->op.send;
  return send == NULL || part->op.send_bytes == 0 ? NULL : part->before[0] + (send - part->mem[0]);
}

static unsigned char *make_result(struct simnet *net, const struct simnet_op *op) {
  const unsigned char **inputs = calloc(net->workers, sizeof(unsigned char *));
  for (uint32_t rank = 0; rank < net->workers; rank++) inputs[rank] = input_before(&op->parts[rank]);
  uint64_t bytes = simref_blocks(&net->setup.plan, &op->desc) * op->desc.count * agg_dtype_size((agg_dtype_t)op->desc.dtype);
  unsigned char *result = malloc(bytes + 1);
  if (op->desc.kind != OP_BARRIER) simref_result(&net->setup.plan, &op->desc, inputs, result);
  free(inputs);
  return result;
}

/* The memory must be what it was, with the result in its place. */
static int check_mem(const struct simnet_part *part, int which, const unsigned char *result, uint64_t *at) {
  const unsigned char *mem = part->mem[which], *before = part->before[which];
  if (mem == NULL) return 1;
  uint64_t len = which == (part->in_place ? 0 : 1) ? part->op.recv_bytes : 0;
  uint64_t from = len != 0 ? (uint64_t)((const unsigned char *)part->op.recv - mem) : 0;
  int right = memcmp(mem, before, from) == 0 && (len == 0 || memcmp(mem + from, result, len) == 0) &&
              memcmp(mem + from + len, before + from + len, part->mem_bytes[which] - from - len) == 0;
  if (right) return 1;
  for (*at = 0; mem[*at] == (*at >= from && *at < from + len ? result[*at - from] : before[*at]);) ++*at;
  return 0;
}

static const char *check_with(const struct simnet_op *op, uint32_t rank, const unsigned char *result, char *text, size_t cap) {
  const struct simnet_part *part = &op->parts[rank];
  const unsigned char *mine = result + simref_recv_from(&op->desc, rank);
  char desc[160];
  for (int i = 0; i < 2; i++) {
    uint64_t at;
    if (check_mem(part, i, mine, &at)) continue;
    int output = i == (part->in_place ? 0 : 1);
    const unsigned char *begin = output ? part->op.recv : part->op.send;
    snprintf(text, cap, "op %u of priority %u at rank %u (%s%s): byte %lld of its %s (%llu bytes, guards before and after) is wrong",
             op->seq, op->priority, rank, op_desc_format(&op->desc, desc, sizeof desc), part->in_place ? ", in place" : "",
             (long long)((int64_t)at - (begin - part->mem[i])), output ? "output" : "input",
             (unsigned long long)(output ? part->op.recv_bytes : part->op.send_bytes));
    return text;
  }
  return NULL;
}

const char *simnet_check_part(struct simnet *net, const struct simnet_op *op, uint32_t rank, char *text, size_t cap) {
  unsigned char *result = make_result(net, op);
  const char *wrong = check_with(op, rank, result, text, cap);
  free(result);
  return wrong;
}

static const char *check_op(struct simnet *net, const struct simnet_op *op, char *text, size_t cap) {
  for (uint32_t rank = 0; rank < net->workers; rank++) {
    if (simnet_done(net, op, rank)) continue;
    snprintf(text, cap, "op %u of priority %u has not completed at rank %u", op->seq, op->priority, rank);
    return text;
  }
  unsigned char *result = make_result(net, op);
  const char *wrong = NULL;
  for (uint32_t rank = 0; rank < net->workers && wrong == NULL; rank++) wrong = check_with(op, rank, result, text, cap);
  free(result);
  return wrong;
}

const char *simnet_check(struct simnet *net, char *text, size_t cap) {
  if (sim_violation(net->world) != NULL) {
    snprintf(text, cap, "%s", sim_violation(net->world));
    return text;
  }
  for (uint32_t i = 0; i < net->n_nodes; i++)
    for (uint32_t p = 0; p < net->nodes[i].n_planes; p++) {
      const struct simnet_fault *f = &net->nodes[i].planes[p].fault;
      if (f->count == 0 && net->nodes[i].planes[p].late.count == 0) continue;
      snprintf(text, cap, "node %u: unexpected fault: %.300s%.100s", i, f->text, net->nodes[i].planes[p].late.text);
      return text;
    }
  for (uint32_t o = 0; o < net->n_ops; o++)
    if (check_op(net, net->ops[o], text, cap) != NULL) return text;
  for (uint32_t i = 0; i < net->n_nodes; i++)
    for (uint32_t p = 0; p < net->nodes[i].n_planes; p++)
      if (!plane_idle(net->nodes[i].planes[p].plane)) {
        snprintf(text, cap, "node %u is not idle at the end", i);
        return text;
      }
  return NULL;
}
