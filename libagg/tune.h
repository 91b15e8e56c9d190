/*
 * Changes of plan by measured times. Where the time of an allreduce contradicts what the planner predicted, another forest of the plan is
 * tried for operations of that size; the faster one stays.
 *
 * All ranks must change at the same operation, and they do without a word of the control plane: after TUNE_SAMPLE_OPS operations every rank
 * posts an allreduce of its own (a round), the minimum over ranks of the times that each has seen, so that the time of the rank that called
 * last counts, which waited for nobody. Every rank then holds the same numbers and decides alike, from the operation on that comes
 * TUNE_LAG after the round: a queue holds no more than that, so the round has completed wherever that operation can be called.
 *
 * Times are taken only of operations that nothing else of the communicator overlapped, of normal priority. A struct tune belongs to the
 * lock under which operations are posted, but for tune_sample.
 */
#ifndef LIBAGG_TUNE_H
#define LIBAGG_TUNE_H

#include <stdatomic.h>

#include "base/log.h"
#include "topology/plan.h"

#define TUNE_SAMPLE_OPS 256u
#define TUNE_LAG 4096u
#define TUNE_SAMPLES 7u /* of a size, in a round */
#define TUNE_VALUES (PLAN_SIZES * TUNE_SAMPLES)
#define TUNE_NONE UINT32_MAX

struct tune {
  const struct plan *plan; /* borrowed */
  const struct log *log;
  uint32_t comm, rank;
  uint8_t forest[PLAN_SIZES];                   /* in use, by size */
  uint8_t changed[PLAN_SIZES];                  /* it is not the plan's: that can change within a size */
  float measured[PLAN_SIZES][PLAN_FORESTS_MAX]; /* seconds; 0: not known */
  uint32_t taken[PLAN_SIZES];                   /* samples given out in this round */
  uint32_t from;                                /* operation from which on this round samples */
  uint32_t round;                               /* operation that carries the round */
  uint8_t pending;                              /* the round is posted and not settled */
  _Atomic uint32_t generation;                  /* of samples: late ones of an earlier round are dropped */
  _Atomic uint32_t sample[TUNE_VALUES];         /* bits of a float; infinity: not known */
  float give[TUNE_VALUES], agreed[TUNE_VALUES]; /* the round's buffers */
};

void tune_init(struct tune *t, const struct plan *plan, const struct log *log, uint32_t comm, uint32_t rank);

/* Before operation seq of the normal priority is posted: settles a round whose time has come. */
void tune_settle(struct tune *t, uint32_t seq);
/* The forest of an allreduce of so many bytes, and the place for its time in *sample (TUNE_NONE: not wanted). The same calls give the same
 * answers on every rank. */
uint32_t tune_forest(struct tune *t, uint64_t bytes, uint32_t *sample);
/* Whether a round is to be posted as operation seq: an allreduce, minimum, of TUNE_VALUES float32 from give to agreed. */
int tune_round_due(struct tune *t, uint32_t seq);

/* The time of an operation whose sample place was given out in `generation`. Any thread. */
void tune_sample(struct tune *t, uint32_t generation, uint32_t sample, double seconds);

#endif
