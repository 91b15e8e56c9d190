/*
 * A group of planes on the simulator: workers and servers, their lanes, the operations that they post, and the comparison of what they get
 * with the oracle (simref.h). Everything is drawn from, or given along with, one seed.
 */
#ifndef TESTS_SIMNET_H
#define TESTS_SIMNET_H

#include "libagg/plane.h"
#include "transport/sim/sim.h"

#define SIMNET_TPS_MAX 2u
#define SIMNET_COMM 7u
#define SIMNET_EPOCH 3u

struct simnet;

/* Which buffers are registered: some, drawn anew for each; every one with every transport; none. */
enum simnet_memory { SIMNET_SOME, SIMNET_ALL, SIMNET_NONE };

struct simnet_setup {
  struct sim_config sim;
  struct plan plan;
  uint32_t priorities; /* 1 or 2 */
  unsigned n_tps;
  uint32_t caps[SIMNET_TPS_MAX];
  int reduce_best; /* the machine's kernels instead of the reference */
  enum simnet_memory memory;
  uint64_t fakes; /* bit i: node i has transports and no planes; the test plays it */
  void (*fake_event)(void *user, struct simnet *net, uint32_t fake, uint32_t peer, const struct tp_event *event);
  void *fake_user;
};

/* One forest of this kind, window 4, chunks of 256 bytes, one lane, one priority, all capabilities. */
void simnet_setup_init(struct simnet_setup *setup, uint64_t seed, unsigned kind, uint32_t workers, uint32_t servers);
void simnet_plan_add(struct simnet_setup *setup, unsigned kind, uint64_t from_bytes); /* one forest more */

struct simnet_fault {
  unsigned count;
  enum plane_fault fault;
  int code;
  uint32_t peer, op;
  char text[AGG_ERROR_TEXT_MAX];
};

struct simnet_plane {
  struct simnet_node *node;
  uint32_t priority, lane;
  struct plane *plane;
  int connected;
  uint32_t next_post;              /* operations of its priority offered so far */
  struct simnet_fault fault, late; /* the first that ended it, the last that was late */
};

struct simnet_node {
  struct simnet *net;
  uint32_t number, sim;
  const struct tp_ops *ops[SIMNET_TPS_MAX];
  struct tp *tps[SIMNET_TPS_MAX];
  struct simnet_plane *planes; /* priorities x lanes */
  uint32_t n_planes;
};

/* An operation at one rank. */
struct simnet_part {
  struct plane_op op;
  struct op_desc desc; /* as this rank calls it */
  int in_place, released;
  uint64_t post_at;
  uint32_t done;
  unsigned char *mem[2]; /* with guards: input (or both, in place), output */
  uint64_t mem_bytes[2];
  unsigned char *before[2]; /* what was in them */
  struct tp_mr *mr[2][SIMNET_TPS_MAX];
};

struct simnet_op {
  struct op_desc desc;
  uint32_t priority, seq;
  struct simnet_part *parts; /* by rank */
};

/* The lane of a fake node to a peer. */
struct simnet_fake {
  struct tp_lane *lane;
  const struct tp_ops *ops;
  struct tp *tp;
  struct tp_raddr window; /* of the fake at the peer */
  int connected;
};

struct simnet {
  struct simnet_setup setup;
  struct sim_world *world;
  uint32_t n_nodes, workers;
  struct simnet_node *nodes;
  struct simnet_op **ops;
  uint32_t n_ops, cap_ops, seqs[AGG_PRIORITY_COUNT];
  struct simnet_fake *fakes; /* lanes of fake nodes: simnet_fake_at */
};

/* Makes all and steps until all lanes are connected (ones to a fake node too). Ends the test when that fails. */
struct simnet *simnet_start(const struct simnet_setup *setup);
void simnet_free(struct simnet *net); /* takes NULL */

/* Adds an operation that all ranks call alike; in_place: bit r for rank r. Its forest follows from the plan. */
struct simnet_op *simnet_op_add(struct simnet *net, const struct op_desc *desc, uint32_t priority, uint64_t in_place, uint64_t deadline);
/* Before anything was posted: this rank calls something else. Its buffers are made anew. */
void simnet_op_differs(struct simnet *net, struct simnet_op *op, uint32_t rank, const struct op_desc *desc);
/* The rank posts the operation at `at`, after its earlier ones. */
void simnet_post(struct simnet *net, struct simnet_op *op, uint32_t rank, uint64_t at);
void simnet_post_all(struct simnet *net, struct simnet_op *op, uint64_t at);

/* Steps until nothing happens any more, or `steps` events more: 1 when it came to rest. */
int simnet_run(struct simnet *net, uint64_t steps);
/* plane_stop on the node's planes, then steps until all are fenced: 1, or 0 when nothing happens any more before. */
int simnet_fence(struct simnet *net, uint32_t node);
/* Passes the virtual time plus `ahead` to all planes. */
void simnet_time(struct simnet *net, uint64_t ahead);

struct simnet_plane *simnet_plane_at(struct simnet *net, uint32_t node, uint32_t priority, uint32_t lane);
struct simnet_fake *simnet_fake_at(const struct simnet *net, uint32_t fake, uint32_t peer);
int simnet_is_fake(const struct simnet *net, uint32_t node);
int simnet_done(const struct simnet *net, const struct simnet_op *op, uint32_t rank); /* in all planes */
/* Every plane fault so far; 0 when none. */
uint32_t simnet_faults(const struct simnet *net);

/* NULL when this rank's buffers are right for a completed operation, or what is wrong. */
const char *simnet_check_part(struct simnet *net, const struct simnet_op *op, uint32_t rank, char *text, size_t cap);
/* NULL when everything has completed everywhere with the right bits, all planes are idle and no fault or violation was seen; or what is
 * wrong. */
const char *simnet_check(struct simnet *net, char *text, size_t cap);
/* Offers what has been released to the planes of the node. */
void simnet_offer(struct simnet_node *node);
void simnet_ops_free(struct simnet *net);
/* Prints the plan, why each open operation waits, and the trace. */
void simnet_print(struct simnet *net, FILE *to);

#endif
