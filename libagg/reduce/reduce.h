/*
 * The sums: one fused pass over k inputs in the order given. A kernel per instruction set, all bit-identical to the
 * plain C reference, which is the oracle of the tests.
 *
 *   dst[i] = finish(((src[0][i] op src[1][i]) op src[2][i]) ... op src[k-1][i])
 *
 * f16 and bf16 accumulate in float32, f32 in float32, f64 in float64; one rounding (to nearest even) at the end. Integers wrap.
 * AVG is SUM followed by a division by `divisor` before the rounding (floats: IEEE division in the accumulator's type;
 * integers: towards zero). MIN and MAX: NaN if any input is NaN, and -0 < +0.
 *
 * Every NaN that is written, by any operator and even for one input, is the canonical quiet one of its type (0x7e00, 0x7fc0, 0x7fc00000,
 * 0x7ff8000000000000): what hardware makes of NaN payloads differs. The thread's floating-point mode (flush to zero, rounding) has no
 * influence and is left as it was.
 */
#ifndef REDUCE_REDUCE_H
#define REDUCE_REDUCE_H

#include "agg.h"

/* dst may be the same place as any one or more of the sources (exactly), never partly overlapping. 1 <= k. count may be 0.
 * No alignment beyond 1 byte is required. divisor >= 1; it divides only for AGG_AVG. */
typedef void (*reduce_fn)(void *dst, const void *const *src, unsigned k, size_t count, uint32_t divisor);

struct reduce_table {
  const char *name; /* "reference", "avx2", "avx512" */
  int (*usable)(void);
  reduce_fn fn[AGG_DTYPE_COUNT][AGG_REDOP_COUNT];
};

extern const struct reduce_table reduce_reference; /* always built */

/* All tables compiled in, best last, NULL-terminated; the first is the reference. */
const struct reduce_table *const *reduce_tables(void);

/* The best table that this processor can run. Pure: depends on the processor only. */
const struct reduce_table *reduce_best(void);

#endif
