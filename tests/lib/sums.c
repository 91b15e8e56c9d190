/*
 * Owns the inputs and the two results of a sum, and what is known of values by the definition of their types: no code in common with the
 * kernels that are tested.
 */
#include "sums.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 64u
#define SUMS_ROOM (SUMS_COUNT * 8u + 2u * GUARD + 64u)

/* ---- values ---- */

static const uint64_t odd_f16[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff,
                                   0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xfe00, 0xffff, 0x3c00};
static const uint64_t odd_bf16[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x007f, 0x0080, 0x7f7f, 0xff7f,
                                    0x7f80, 0xff80, 0x7f81, 0x7fc0, 0xffc0, 0xffff, 0x3f80};
static const uint64_t odd_f32[] = {0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff,
                                   0x7f800000, 0xff800000, 0x7f800001, 0x7fc00000, 0xffc12345, 0xffffffff, 0x3f800000};
static const uint64_t odd_f64[] = {0,
                                   0x8000000000000000,
                                   1,
                                   0x8000000000000001,
                                   0x000fffffffffffff,
                                   0x0010000000000000,
                                   0x7fefffffffffffff,
                                   0xffefffffffffffff,
                                   0x7ff0000000000000,
                                   0xfff0000000000000,
                                   0x7ff0000000000001,
                                   0x7ff8000000000000,
                                   0xfff8000000012345,
                                   0xffffffffffffffff,
                                   0x3ff0000000000000};
static const uint64_t odd_int[] = {0,
                                   1,
                                   2,
                                   0x7f,
                                   0x80,
                                   0x81,
                                   0xff,
                                   0x7fffffff,
                                   0x80000000,
                                   0x80000001,
                                   0xffffffff,
                                   0x7fffffffffffffff,
                                   0x8000000000000000,
                                   0x8000000000000001,
                                   0xffffffffffffffff};

const uint64_t *sums_odd(agg_dtype_t t) {
  return t == AGG_F16 ? odd_f16 : t == AGG_BF16 ? odd_bf16 : t == AGG_F32 ? odd_f32 : t == AGG_F64 ? odd_f64 : odd_int;
}

static uint64_t tame_bits(agg_dtype_t t, struct rng *r) {
  double value = (1.0 + (double)rng_below(r, 1u << 20) * 0x1p-20) * (rng_below(r, 2) ? 1 : -1) * (rng_below(r, 2) ? 0.5 : 1);
  float f = (float)value;
  uint32_t bits;
  uint64_t bits64;
  memcpy(&bits, &f, 4);
  memcpy(&bits64, &value, 8);
  if (t == AGG_F16) return (bits >> 16 & 0x8000u) | ((bits >> 23 & 0xffu) - 112) << 10 | (bits >> 13 & 0x3ffu);
  if (t == AGG_BF16) return bits >> 16;
  if (t == AGG_F32) return bits;
  if (t == AGG_F64) return bits64;
  return rng_below(r, 7) - 3;
}

void sums_make(agg_dtype_t t, enum temper temper, struct rng *r, void *at, size_t count) {
  size_t size = agg_dtype_size(t);
  for (size_t i = 0; i < count; i++) {
    uint64_t bits = temper == TAME ? tame_bits(t, r) : rng_below(r, 3) == 0 ? sums_odd(t)[rng_below(r, 15)] : rng_next(r);
    memcpy((char *)at + i * size, &bits, size); /* little-endian machines only, as are all with a table to sums_compare */
  }
}

uint64_t sums_bits(agg_dtype_t t, const void *at, size_t i) {
  uint64_t bits = 0;
  memcpy(&bits, (const char *)at + i * agg_dtype_size(t), agg_dtype_size(t));
  return bits;
}

/* f16 and bf16 by their definition, with no code in common with the kernels. */
static double half_value(unsigned h, int exponent_bits, int fraction_bits) {
  int exponent = (int)(h >> fraction_bits) & ((1 << exponent_bits) - 1), bias = (1 << (exponent_bits - 1)) - 1;
  int fraction = (int)h & ((1 << fraction_bits) - 1);
  double value;
  if (exponent == (1 << exponent_bits) - 1) {
    value = fraction ? (double)NAN : (double)INFINITY;
  } else {
    value = exponent ? ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits) : ldexp(fraction, 1 - bias - fraction_bits);
  }
  return h & 0x8000u ? -value : value;
}

double sums_value(agg_dtype_t t, uint64_t bits) {
  float f;
  double d;
  uint32_t low = (uint32_t)bits;
  if (t == AGG_F16) return half_value((unsigned)bits, 5, 10);
  if (t == AGG_BF16) return half_value((unsigned)bits, 8, 7);
  memcpy(&f, &low, 4);
  memcpy(&d, &bits, 8);
  return t == AGG_F32 ? (double)f : d;
}

uint64_t sums_nan(agg_dtype_t t) { return t == AGG_F16 ? 0x7e00 : t == AGG_BF16 ? 0x7fc0 : t == AGG_F32 ? 0x7fc00000 : 0x7ff8000000000000; }

/* ---- buffers ---- */

void sums_init(struct sums *g) {
  for (unsigned j = 0; j < SUMS_INPUTS; j++) ck_assert_ptr_nonnull(g->src[j] = malloc(SUMS_ROOM));
  ck_assert_ptr_nonnull(g->dst = malloc(SUMS_ROOM));
  ck_assert_ptr_nonnull(g->want = malloc(SUMS_ROOM));
}

void sums_fini(struct sums *g) {
  for (unsigned j = 0; j < SUMS_INPUTS; j++) free(g->src[j]);
  free(g->dst);
  free(g->want);
}

void sums_fill(struct sums *g, agg_dtype_t t, enum temper temper, struct rng *r, unsigned k, size_t count, int odd_places) {
  for (unsigned j = 0; j < k; j++) {
    unsigned char *at = g->src[j] + GUARD + (odd_places ? rng_below(r, 64) : 0);
    sums_make(t, temper, r, at, count);
    g->in[j] = at;
  }
  size_t shift = odd_places ? rng_below(r, 64) : 0;
  memset(g->dst, 0xa5, SUMS_ROOM);
  memset(g->want, 0xa5, SUMS_ROOM);
  g->out = g->dst + GUARD + shift;
  g->expected = g->want + GUARD + shift;
}

void sums_compare(const struct sums *g, const struct reduce_table *table, agg_dtype_t t, agg_redop_t op, unsigned k, size_t count) {
  if (memcmp(g->dst, g->want, SUMS_ROOM) == 0) return;
  size_t bytes = count * agg_dtype_size(t);
  for (size_t i = 0; i < count; i++) {
    uint64_t got = sums_bits(t, g->out, i), want = sums_bits(t, g->expected, i);
    if (got == want) continue;
    char inputs[512] = "";
    for (unsigned j = 0; j < k && j < 8; j++) {
      size_t n = strlen(inputs);
      (void)snprintf(inputs + n, sizeof inputs - n, " %llx", (unsigned long long)sums_bits(t, g->in[j], i));
    }
    ck_abort_msg("%s %s %s k %u count %zu: element %zu is %llx, not %llx, of%s", table->name, agg_dtype_name(t), agg_redop_name(op), k,
                 count, i, (unsigned long long)got, (unsigned long long)want, inputs);
  }
  ck_abort_msg("%s %s %s k %u count %zu: wrote outside its %zu bytes", table->name, agg_dtype_name(t), agg_redop_name(op), k, count, bytes);
}
