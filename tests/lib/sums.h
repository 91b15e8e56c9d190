/* For tests of the sum kernels: values of every type, common and odd, and blocks of them with guards around the results. */
#ifndef TESTS_SUMS_H
#define TESTS_SUMS_H

#include "base/util.h"
#include "reduce/reduce.h"

#define SUMS_INPUTS 40u
#define SUMS_COUNT 3000u /* elements */

/* ---- values ---- */

/* TAME: about 1 in size, of either sign. WILD: any bits, and often a value at which rules change (NaN, infinity, zeros, denormals, ends).
 */
enum temper { TAME, WILD };

/* 15 values of the type at which rules change. */
const uint64_t *sums_odd(agg_dtype_t t);
void sums_make(agg_dtype_t t, enum temper temper, struct rng *r, void *at, size_t count);
uint64_t sums_bits(agg_dtype_t t, const void *at, size_t i); /* of element i */
double sums_value(agg_dtype_t t, uint64_t bits);             /* what they stand for, of the float types */
uint64_t sums_nan(agg_dtype_t t);                            /* the one NaN that results have */

/* ---- buffers ---- */

struct sums {
  unsigned char *src[SUMS_INPUTS], *dst, *want; /* blocks */
  const void *in[SUMS_INPUTS];                  /* where the elements begin */
  unsigned char *out, *expected;
};

void sums_init(struct sums *g);
void sums_fini(struct sums *g);
/* Everything anew: k inputs of count elements, each at an offset of its own when the places are to be odd. */
void sums_fill(struct sums *g, agg_dtype_t t, enum temper temper, struct rng *r, unsigned k, size_t count, int odd_places);
/* out is what was expected, and nothing around it was written. */
void sums_compare(const struct sums *g, const struct reduce_table *table, agg_dtype_t t, agg_redop_t op, unsigned k, size_t count);

#endif
