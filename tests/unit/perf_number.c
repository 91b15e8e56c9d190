/* agg-perf's own conversions: its f16 and bf16 are the oracle for the library's, so they are checked by their definitions. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "perf/perf.h"

/* The value of each of the 65536 bit patterns, by the definition of the format. */
static double by_definition(uint16_t bits, int exponent_bits, int fraction_bits) {
  int bias = (1 << (exponent_bits - 1)) - 1;
  int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
  double fraction = (bits & ((1 << fraction_bits) - 1)) / (double)(1 << fraction_bits);
  double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return fraction > 0 ? (double)NAN : sign * (double)INFINITY;
  if (exponent == 0) return sign * fraction * pow(2, 1 - bias);
  return sign * (1 + fraction) * pow(2, exponent - bias);
}

START_TEST(every_half_has_its_value_and_comes_back) {
  for (uint32_t bits = 0; bits < 65536; bits++) {
    double value = half_to_double((uint16_t)bits), want = by_definition((uint16_t)bits, 5, 10);
    if (isnan(want)) {
      ck_assert(isnan(value) && isnan(half_to_double(half_from_double(value))));
    } else {
      ck_assert_double_eq(value, want);
      ck_assert_uint_eq(half_from_double(value), bits);
    }
  }
}
END_TEST

START_TEST(every_bfloat_has_its_value_and_comes_back) {
  for (uint32_t bits = 0; bits < 65536; bits++) {
    double value = bfloat_to_double((uint16_t)bits), want = by_definition((uint16_t)bits, 8, 7);
    if (isnan(want)) {
      ck_assert(isnan(value) && isnan(bfloat_to_double(bfloat_from_double(value))));
    } else {
      ck_assert_double_eq(value, want);
      ck_assert_uint_eq(bfloat_from_double(value), bits);
    }
  }
}
END_TEST

/* Between two neighbours: below the middle down, above it up, the middle to the even one. */
static void check_rounding(double (*load)(uint16_t), uint16_t (*store)(double), uint32_t below_infinity) {
  for (uint32_t bits = 0; bits + 1 < below_infinity; bits++) {
    double low = load((uint16_t)bits), high = load((uint16_t)(bits + 1)), middle = low + (high - low) / 2;
    uint32_t even = bits & 1 ? bits + 1 : bits;
    ck_assert_uint_eq(store(middle), even);
    ck_assert_uint_eq(store(nextafter(middle, low)), bits);
    ck_assert_uint_eq(store(nextafter(middle, high)), bits + 1);
    ck_assert_uint_eq(store(-middle), even | 0x8000);
  }
}

START_TEST(halves_round_to_nearest_even) {
  check_rounding(half_to_double, half_from_double, 0x7c00);
  ck_assert_uint_eq(half_from_double(65519.999), 0x7bff);
  ck_assert_uint_eq(half_from_double(65520), 0x7c00);
  ck_assert_uint_eq(half_from_double(1e300), 0x7c00);
  ck_assert_uint_eq(half_from_double(-1e300), 0xfc00);
  ck_assert_uint_eq(half_from_double((double)INFINITY), 0x7c00);
}
END_TEST

START_TEST(bfloats_round_to_nearest_even) {
  check_rounding(bfloat_to_double, bfloat_from_double, 0x7f80);
  ck_assert_uint_eq(bfloat_from_double(1e300), 0x7f80);
  ck_assert_uint_eq(bfloat_from_double(-1e300), 0xff80);
  ck_assert_uint_eq(bfloat_from_double(ldexp(255.4, 120)), 0x7f7f);
  ck_assert_uint_eq(bfloat_from_double(ldexp(255.5, 120)), 0x7f80);
}
END_TEST

START_TEST(every_type_comes_back) {
  for (int d = 0; d < AGG_DTYPE_COUNT; d++) {
    unsigned char bytes[8];
    struct number in = {100, 100}, out;
    number_store((agg_dtype_t)d, bytes, in);
    out = number_load((agg_dtype_t)d, bytes);
    ck_assert_double_eq(out.f, 100);
    if (!dtype_is_float((agg_dtype_t)d)) ck_assert_int_eq(out.i, 100);
  }
}
END_TEST

START_TEST(integers_wrap) {
  unsigned char bytes[8];
  number_store(AGG_I8, bytes, (struct number){0, 200});
  ck_assert_int_eq(number_load(AGG_I8, bytes).i, -56);
  number_store(AGG_U8, bytes, (struct number){0, 257});
  ck_assert_int_eq(number_load(AGG_U8, bytes).i, 1);
  number_store(AGG_U32, bytes, (struct number){0, -1});
  ck_assert_int_eq(number_load(AGG_U32, bytes).i, 0xffffffffll);
  number_store(AGG_U64, bytes, (struct number){0, -1});
  ck_assert_double_eq(number_load(AGG_U64, bytes).f, 18446744073709551615.0);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("perf_number");
  TCase *t = tcase_create("numbers");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, every_half_has_its_value_and_comes_back);
  tcase_add_test(t, every_bfloat_has_its_value_and_comes_back);
  tcase_add_test(t, halves_round_to_nearest_even);
  tcase_add_test(t, bfloats_round_to_nearest_even);
  tcase_add_test(t, every_type_comes_back);
  tcase_add_test(t, integers_wrap);
  suite_add_tcase(s, t);
  return s;
}
