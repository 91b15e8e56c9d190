/*
 * The sum kernels: the reference against oracles of its own kind (float64, long double, integers, decoded tables), and every other table
 * against the reference, bit for bit.
 */
#include "reduce/reduce.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "base/util.h"
#include "tests/lib/sums.h"

_Static_assert(AGG_F64 == 3 && AGG_I8 == 4, "the four float types come first");

static int is_signed(agg_dtype_t t) { return t == AGG_I8 || t == AGG_I32 || t == AGG_I64; }

/* Inside long loops: ck_assert reports to Check every time that it is passed, which costs a system call. */
#define EXPECT(condition)                                       \
  do {                                                          \
    if (!(condition)) ck_abort_msg("not true: %s", #condition); \
  } while (0)

/* ---- the reference against oracles ---- */

/* The size of what one rounding can cost at y: half a unit in the last place, denormals included. */
static double rounding(agg_dtype_t t, double y) {
  static const int digits[] = {11, 8, 24, 53}, lowest[] = {-24, -133, -149, -1074};
  int exponent = 0;
  if (y != 0) (void)frexp(y, &exponent);
  return ldexp(0.5, MAX_OF(exponent - digits[t], lowest[t]));
}

/* Tame floats. Bound: (k - 1) operations in the accumulator, each with an error of at most unit * (sum of sizes so far), one division, and
 * one rounding to the type. */
START_TEST(the_reference_sums_floats_within_the_bound) {
  agg_dtype_t t = (agg_dtype_t)(_i / AGG_REDOP_COUNT);
  agg_redop_t op = (agg_redop_t)(_i % AGG_REDOP_COUNT);
  long double unit = t == AGG_F64 ? DBL_EPSILON / 2 : FLT_EPSILON / 2;
  struct rng r = {.state = 11};
  struct sums g;
  sums_init(&g);
  for (unsigned k = 1; k <= 17; k++) {
    size_t count = 500;
    uint32_t divisor = 1 + (uint32_t)rng_below(&r, 20);
    sums_fill(&g, t, TAME, &r, k, count, 1);
    reduce_reference.fn[t][op](g.out, g.in, k, count, divisor);
    for (size_t i = 0; i < count; i++) {
      long double want = sums_value(t, sums_bits(t, g.in[0], i)), size = fabsl(want);
      for (unsigned j = 1; j < k; j++) {
        long double x = sums_value(t, sums_bits(t, g.in[j], i));
        want = op == AGG_PROD ? want * x : op == AGG_MIN ? fminl(want, x) : op == AGG_MAX ? fmaxl(want, x) : want + x;
        size = op == AGG_PROD ? fabsl(want) : size + fabsl(x);
      }
      if (op == AGG_AVG) {
        want /= divisor;
        size /= divisor;
      }
      long double bound =
          op == AGG_MIN || op == AGG_MAX ? 0 : (k + 1) * unit * size * 1.01L + (t < AGG_F32 ? (long double)rounding(t, (double)size) : 0);
      long double got = sums_value(t, sums_bits(t, g.out, i));
      if (!(fabsl(got - want) <= bound))
        ck_abort_msg("%s %s k %u: %Lg, not %Lg within %Lg", agg_dtype_name(t), agg_redop_name(op), k, got, want, bound);
    }
  }
  sums_fini(&g);
}
END_TEST

/* Integers: modular arithmetic of the type's width, written another way than the kernels. */
static uint64_t wrap(agg_dtype_t t, uint64_t bits) {
  unsigned width = (unsigned)agg_dtype_size(t) * 8;
  return width == 64 ? bits : bits & ((1ull << width) - 1);
}

static int64_t as_signed(agg_dtype_t t, uint64_t bits) {
  unsigned width = (unsigned)agg_dtype_size(t) * 8;
  uint64_t top = 1ull << (width - 1);
  return (int64_t)((bits ^ top) - top);
}

static uint64_t int_oracle(agg_dtype_t t, agg_redop_t op, const struct sums *g, unsigned k, size_t i, uint32_t divisor) {
  uint64_t acc = sums_bits(t, g->in[0], i);
  for (unsigned j = 1; j < k; j++) {
    uint64_t x = sums_bits(t, g->in[j], i);
    int less = is_signed(t) ? as_signed(t, x) < as_signed(t, acc) : x < acc;
    if (op == AGG_SUM || op == AGG_AVG) acc = wrap(t, acc + x);
    if (op == AGG_PROD) acc = wrap(t, acc * x);
    if ((op == AGG_MIN && less) || (op == AGG_MAX && !less)) acc = x;
  }
  if (op != AGG_AVG) return acc;
  if (!is_signed(t) || as_signed(t, acc) >= 0) return acc / divisor;
  return wrap(t, 0 - wrap(t, 0 - acc) / divisor); /* towards zero: by size, then the sign */
}

START_TEST(the_reference_is_exact_on_integers) {
  agg_dtype_t t = (agg_dtype_t)(_i / AGG_REDOP_COUNT);
  agg_redop_t op = (agg_redop_t)(_i % AGG_REDOP_COUNT);
  static const uint32_t divisors[] = {1, 2, 3, 7, 128, 255, 256, 65537, 0x7fffffff, 0x80000000, 0xffffffff};
  struct rng r = {.state = 12};
  struct sums g;
  sums_init(&g);
  for (unsigned k = 1; k <= 17; k++) {
    for (size_t d = 0; d < ARRAY_LEN(divisors); d++) {
      size_t count = 200;
      sums_fill(&g, t, rng_below(&r, 2) ? TAME : WILD, &r, k, count, 1);
      reduce_reference.fn[t][op](g.out, g.in, k, count, divisors[d]);
      for (size_t i = 0; i < count; i++) EXPECT(sums_bits(t, g.out, i) == int_oracle(t, op, &g, k, i, divisors[d]));
    }
  }
  sums_fini(&g);
}
END_TEST

/* All 65536 values, out and in again. */
START_TEST(every_half_survives_the_round_trip) {
  agg_dtype_t t = (agg_dtype_t)_i;
  static uint16_t in[65536], out[65536];
  for (unsigned h = 0; h < 65536; h++) in[h] = (uint16_t)h;
  const void *src[] = {in};
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    for (int op = 0; op < AGG_REDOP_COUNT; op++) {
      memset(out, 0xa5, sizeof out);
      (*table)->fn[t][op](out, src, 1, 65536, 1);
      for (unsigned h = 0; h < 65536; h++) EXPECT(out[h] == (isnan(sums_value(t, h)) ? sums_nan(t) : h));
    }
  }
}
END_TEST

/* got is the nearest half to exact, the even one of two; beyond the largest by half a step or more it is infinity. */
static void assert_nearest(agg_dtype_t t, unsigned got, double exact) {
  if (isnan(exact)) {
    EXPECT(got == sums_nan(t));
    return;
  }
  EXPECT((got >> 15) == (signbit(exact) ? 1u : 0u));
  unsigned size = got & 0x7fffu, infinity = t == AGG_F16 ? 0x7c00 : 0x7f80;
  EXPECT(size <= infinity);
  /* infinity stands one step above the largest number, for the purpose of rounding */
  double step = sums_value(t, infinity - 1) - sums_value(t, infinity - 2), x = fabs(exact);
  double here = size == infinity ? sums_value(t, infinity - 1) + step : sums_value(t, size);
  double above = size + 1 < infinity ? sums_value(t, size + 1) : sums_value(t, infinity - 1) + step;
  double below = size > 0 ? sums_value(t, size - 1) : 0;
  if (x >= here && size < infinity) EXPECT(x - here < above - x || (x - here == above - x && size % 2 == 0));
  if (x < here) EXPECT(here - x < x - below || (here - x == x - below && size % 2 == 0));
}

START_TEST(halves_round_to_the_nearest_even) {
  agg_dtype_t t = (agg_dtype_t)(_i / 2);
  agg_redop_t op = _i % 2 ? AGG_PROD : AGG_SUM; /* products reach the denormals */
  static uint16_t a[65536], b[65536], out[65536];
  struct rng r = {.state = 13};
  const void *src[] = {a, b};
  for (int round = 0; round < 8; round++) {
    for (unsigned h = 0; h < 65536; h++) {
      a[h] = (uint16_t)h;
      b[h] = (uint16_t)rng_next(&r);
      if (round % 2) b[h] = (uint16_t)(h + (unsigned)rng_below(&r, 4096)); /* close in size */
    }
    reduce_reference.fn[t][op](out, src, 2, 65536, 1);
    for (unsigned h = 0; h < 65536; h++) {
      float x = (float)sums_value(t, a[h]), y = (float)sums_value(t, b[h]); /* exact */
      assert_nearest(t, out[h], (double)(op == AGG_PROD ? x * y : x + y));
    }
  }
}
END_TEST

/* ---- rules ---- */

static uint64_t one(const struct reduce_table *table, agg_dtype_t t, agg_redop_t op, unsigned k, const uint64_t *bits, uint32_t divisor) {
  unsigned char in[8][8], out[8];
  const void *src[8];
  for (unsigned j = 0; j < k; j++) {
    memcpy(in[j], &bits[j], 8);
    src[j] = in[j];
  }
  table->fn[t][op](out, src, k, 1, divisor);
  return sums_bits(t, out, 0);
}

START_TEST(nan_zero_and_infinity_follow_the_rules) {
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    for (int i = AGG_F16; i <= AGG_F64; i++) {
      agg_dtype_t t = (agg_dtype_t)i;
      const uint64_t *v = sums_odd(t);
      const uint64_t zero = v[0], minus_zero = v[1], inf = v[8], minus_inf = v[9], nan = sums_nan(t), number = v[14];
      for (int op = 0; op < AGG_REDOP_COUNT; op++) {
        for (int n = 10; n < 14; n++) { /* any NaN, quiet or not, in any place */
          for (unsigned at = 0; at < 3; at++) {
            uint64_t in[3] = {number, number, number};
            in[at] = v[n];
            ck_assert_uint_eq(one(*table, t, (agg_redop_t)op, 3, in, 2), nan);
          }
          ck_assert_uint_eq(one(*table, t, (agg_redop_t)op, 1, &v[n], 3), nan);
        }
      }
      ck_assert_uint_eq(one(*table, t, AGG_SUM, 2, (uint64_t[]){inf, minus_inf}, 1), nan);
      ck_assert_uint_eq(one(*table, t, AGG_PROD, 2, (uint64_t[]){zero, minus_inf}, 1), nan);
      ck_assert_uint_eq(one(*table, t, AGG_SUM, 2, (uint64_t[]){inf, number}, 1), inf);
      ck_assert_uint_eq(one(*table, t, AGG_SUM, 2, (uint64_t[]){v[6], v[6]}, 1), inf); /* overflow */
      ck_assert_uint_eq(one(*table, t, AGG_MIN, 2, (uint64_t[]){zero, minus_zero}, 1), minus_zero);
      ck_assert_uint_eq(one(*table, t, AGG_MIN, 2, (uint64_t[]){minus_zero, zero}, 1), minus_zero);
      ck_assert_uint_eq(one(*table, t, AGG_MAX, 2, (uint64_t[]){zero, minus_zero}, 1), zero);
      ck_assert_uint_eq(one(*table, t, AGG_MAX, 2, (uint64_t[]){minus_zero, zero}, 1), zero);
      ck_assert_uint_eq(one(*table, t, AGG_MAX, 3, (uint64_t[]){minus_inf, number, inf}, 1), inf);
      ck_assert_uint_eq(one(*table, t, AGG_MIN, 3, (uint64_t[]){inf, number, minus_inf}, 1), minus_inf);
      ck_assert_uint_eq(one(*table, t, AGG_SUM, 2, (uint64_t[]){minus_zero, minus_zero}, 1), minus_zero);
      ck_assert_uint_eq(one(*table, t, AGG_SUM, 2, (uint64_t[]){v[2], zero}, 1), v[2]); /* a denormal stays */
    }
  }
}
END_TEST

START_TEST(halves_are_rounded_once) {
  /* 1 + 16 * 2^-9 is 1.03125 in bf16 when rounded at the end, and 1 when every partial sum is rounded */
  static uint16_t in[17] = {0x3f80};
  const void *src[17];
  uint16_t out;
  for (unsigned j = 0; j < 17; j++) {
    if (j > 0) in[j] = 0x3b00; /* 2^-9 */
    src[j] = &in[j];
  }
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    (*table)->fn[AGG_BF16][AGG_SUM](&out, src, 17, 1, 1);
    ck_assert_uint_eq(out, 0x3f84); /* 1 + 16 / 512 */
  }
}
END_TEST

START_TEST(the_order_is_that_of_the_inputs) {
  float big = 0x1p30f, small = 1, minus = -0x1p30f, out;
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    (*table)->fn[AGG_F32][AGG_SUM](&out, (const void *[]){&big, &small, &minus}, 3, 1, 1);
    ck_assert(out == 0);
    (*table)->fn[AGG_F32][AGG_SUM](&out, (const void *[]){&big, &minus, &small}, 3, 1, 1);
    ck_assert(out == 1);
  }
}
END_TEST

/* ---- tables against the reference ---- */

static const size_t counts[] = {0, 1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 255, 256, 257, 511, 1000, 1025, 2999};

static uint32_t some_divisor(struct rng *r, unsigned k) {
  switch (rng_below(r, 5)) {
    case 0:
      return k;
    case 1:
      return 1u << rng_below(r, 32);
    case 2:
      return 1;
    case 3:
      return (uint32_t)rng_next(r) | 1u;
    default:
      return 2 + (uint32_t)rng_below(r, 1000);
  }
}

/* alias: SUMS_INPUTS for none, else the input whose place dst takes (and a second input too when both). */
static void one_round(struct sums *g, const struct reduce_table *table, agg_dtype_t t, agg_redop_t op, unsigned k, size_t count,
                      unsigned alias, int both, struct rng *r) {
  uint32_t divisor = some_divisor(r, k);
  sums_fill(g, t, rng_below(r, 2) ? TAME : WILD, r, k, count, rng_below(r, 4) != 0);
  if (alias < k) {
    memcpy(g->out, g->in[alias], count * agg_dtype_size(t));
    memcpy(g->expected, g->out, count * agg_dtype_size(t));
    g->in[alias] = g->expected;
    if (both) g->in[(alias + 1) % k] = g->expected;
  }
  /* the reference first, in its own block; then the same inputs with the other block in the aliased places */
  const void *again[SUMS_INPUTS];
  for (unsigned j = 0; j < k; j++) again[j] = g->in[j] == g->expected ? g->out : g->in[j];
  reduce_reference.fn[t][op](g->expected, g->in, k, count, divisor);
  table->fn[t][op](g->out, again, k, count, divisor);
  sums_compare(g, table, t, op, k, count);
}

START_TEST(every_table_gives_the_bits_of_the_reference) {
  agg_dtype_t t = (agg_dtype_t)(_i / AGG_REDOP_COUNT);
  agg_redop_t op = (agg_redop_t)(_i % AGG_REDOP_COUNT);
  struct rng r = {.state = 21 + (uint64_t)_i};
  struct sums g;
  sums_init(&g);
  for (const struct reduce_table *const *table = reduce_tables() + 1; *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    for (unsigned k = 1; k <= 17; k++) {
      for (size_t c = 0; c < ARRAY_LEN(counts); c++) one_round(&g, *table, t, op, k, counts[c], SUMS_INPUTS, 0, &r);
    }
    for (unsigned k = 23; k <= SUMS_INPUTS; k += 8) one_round(&g, *table, t, op, k, 2999, SUMS_INPUTS, 0, &r);
  }
  sums_fini(&g);
}
END_TEST

START_TEST(the_result_may_take_the_place_of_any_input) {
  agg_dtype_t t = (agg_dtype_t)(_i / AGG_REDOP_COUNT);
  agg_redop_t op = (agg_redop_t)(_i % AGG_REDOP_COUNT);
  static const size_t few[] = {1, 65, 2051};
  struct rng r = {.state = 22 + (uint64_t)_i};
  struct sums g;
  sums_init(&g);
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    for (unsigned k = 1; k <= 17; k++) {
      for (unsigned alias = 0; alias < k; alias += k < 6 || alias == 7 ? 1 : 3)
        one_round(&g, *table, t, op, k, few[rng_below(&r, 3)], alias, (int)rng_below(&r, 2), &r);
    }
  }
  sums_fini(&g);
}
END_TEST

/* In place is the same sum: the reference itself is not trusted to be right about aliases. */
START_TEST(in_place_equals_out_of_place) {
  agg_dtype_t t = (agg_dtype_t)_i;
  struct rng r = {.state = 23};
  struct sums g;
  sums_init(&g);
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    for (unsigned k = 1; k <= 20; k++) {
      size_t count = 1 + rng_below(&r, SUMS_COUNT - 1);
      unsigned alias = (unsigned)rng_below(&r, k);
      sums_fill(&g, t, TAME, &r, k, count, 1);
      (*table)->fn[t][AGG_AVG](g.expected, g.in, k, count, 3);
      memcpy(g.out, g.in[alias], count * agg_dtype_size(t));
      g.in[alias] = g.out;
      (*table)->fn[t][AGG_AVG](g.out, g.in, k, count, 3);
      sums_compare(&g, *table, t, AGG_AVG, k, count);
    }
  }
  sums_fini(&g);
}
END_TEST

START_TEST(nothing_is_touched_for_no_elements) {
  unsigned char byte = 0x77;
  const void *src[] = {&byte, &byte};
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    for (int t = 0; t < AGG_DTYPE_COUNT; t++) {
      for (int op = 0; op < AGG_REDOP_COUNT; op++) {
        (*table)->fn[t][op](&byte, src, 2, 0, 2);
        ck_assert_uint_eq(byte, 0x77);
      }
    }
  }
}
END_TEST

/* Heap blocks that end where the elements end: the sanitizers see a read or write beyond. */
START_TEST(no_byte_beyond_the_ends_is_touched) {
  struct rng r = {.state = 24};
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    for (int i = 0; i < AGG_DTYPE_COUNT * 40; i++) {
      agg_dtype_t t = (agg_dtype_t)(i % AGG_DTYPE_COUNT);
      size_t count = 1 + rng_below(&r, 300), bytes = count * agg_dtype_size(t);
      unsigned char *in[3], *out = malloc(bytes);
      ck_assert_ptr_nonnull(out);
      for (int j = 0; j < 3; j++) {
        ck_assert_ptr_nonnull(in[j] = malloc(bytes));
        sums_make(t, TAME, &r, in[j], count);
      }
      (*table)->fn[t][rng_below(&r, AGG_REDOP_COUNT)](out, (const void *[]){in[0], in[1], in[2]}, 3, count, 3);
      for (int j = 0; j < 3; j++) free(in[j]);
      free(out);
    }
  }
}
END_TEST

#if defined(__x86_64__)
/* Flush to zero, denormals are zero, round up, division by zero and invalid unmasked: a kernel knows none of it and leaves it so. */
START_TEST(the_mode_of_the_thread_has_no_influence) {
  const unsigned strange = (0x1f80u | 0x8000u | 0x0040u | 0x4000u) & ~(0x0080u | 0x0200u);
  struct rng r = {.state = 25};
  struct sums g;
  sums_init(&g);
  for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
    if (!(*table)->usable()) continue;
    for (int t = AGG_F16; t <= AGG_F64; t++) {
      for (int op = 0; op < AGG_REDOP_COUNT; op++) {
        const uint32_t divisor = op % 2 ? 16777217u : 3u; /* 2^24 + 1 is no float32: its conversion rounds */
        sums_fill(&g, (agg_dtype_t)t, WILD, &r, 3, 1000, 1);
        reduce_reference.fn[t][op](g.expected, g.in, 3, 1000, divisor);
        unsigned before = _mm_getcsr();
        _mm_setcsr(strange);
        (*table)->fn[t][op](g.out, g.in, 3, 1000, divisor);
        unsigned after = _mm_getcsr();
        _mm_setcsr(before);
        ck_assert_uint_eq(after, strange);
        sums_compare(&g, *table, (agg_dtype_t)t, (agg_redop_t)op, 3, 1000);
      }
    }
  }
  sums_fini(&g);
}
END_TEST
#endif

/* ---- the list ---- */

START_TEST(the_tables_are_complete) {
  const struct reduce_table *const *all = reduce_tables();
  ck_assert_ptr_eq(all[0], &reduce_reference);
  ck_assert(all[0]->usable());
  const struct reduce_table *best = NULL;
  for (; *all != NULL; all++) {
    ck_assert_ptr_nonnull((*all)->name);
    if ((*all)->usable()) best = *all;
    for (int t = 0; t < AGG_DTYPE_COUNT; t++) {
      for (int op = 0; op < AGG_REDOP_COUNT; op++) ck_assert(((*all)->fn[t][op]) != NULL);
    }
  }
  ck_assert_ptr_eq(reduce_best(), best);
  ck_assert_ptr_eq(reduce_best(), reduce_best());
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("reduce");
  TCase *oracle = tcase_create("oracle"), *rules = tcase_create("rules"), *tables = tcase_create("tables");
  const int float_entries = (AGG_F64 + 1) * AGG_REDOP_COUNT, entries = AGG_DTYPE_COUNT * AGG_REDOP_COUNT;
  tcase_add_loop_test(oracle, the_reference_sums_floats_within_the_bound, 0, float_entries);
  tcase_add_loop_test(oracle, the_reference_is_exact_on_integers, float_entries, entries);
  tcase_add_loop_test(oracle, every_half_survives_the_round_trip, AGG_F16, AGG_BF16 + 1);
  tcase_add_loop_test(oracle, halves_round_to_the_nearest_even, 0, 4);
  tcase_add_test(rules, nan_zero_and_infinity_follow_the_rules);
  tcase_add_test(rules, halves_are_rounded_once);
  tcase_add_test(rules, the_order_is_that_of_the_inputs);
  tcase_add_test(rules, nothing_is_touched_for_no_elements);
  tcase_add_test(rules, no_byte_beyond_the_ends_is_touched);
#if defined(__x86_64__)
  tcase_add_test(rules, the_mode_of_the_thread_has_no_influence);
#endif
  tcase_add_test(tables, the_tables_are_complete);
  tcase_add_loop_test(tables, every_table_gives_the_bits_of_the_reference, 0, entries);
  tcase_add_loop_test(tables, the_result_may_take_the_place_of_any_input, 0, entries);
  tcase_add_loop_test(tables, in_place_equals_out_of_place, 0, AGG_DTYPE_COUNT);
  TCase *all[] = {oracle, rules, tables};
  for (size_t i = 0; i < ARRAY_LEN(all); i++) {
    tcase_set_timeout(all[i], 120);
    suite_add_tcase(s, all[i]);
  }
  return s;
}
