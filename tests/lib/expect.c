/* The reference for tests of collectives: inputs by hash, results in float64 and 64-bit integers. Shares no code with the library's
 * kernels. */
#include "expect.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define GUARD_BYTE 0xa5

/* ---- values -----------------------------------------------------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static uint64_t bits_at(const struct expect *e, uint32_t rank, uint64_t i) {
  return mix(e->salt * 0x9e3779b97f4a7c15u + ((uint64_t)rank << 48) + i);
}

static int is_float(agg_dtype_t t) { return t <= AGG_F64; }
static int is_signed(agg_dtype_t t) { return t == AGG_I8 || t == AGG_I32 || t == AGG_I64; }

/* Bits of the significand that each type stores, the hidden one not counted. */
static int precision(agg_dtype_t t) { return t == AGG_F16 ? 10 : t == AGG_BF16 ? 7 : t == AGG_F32 ? 23 : 52; }

/* +-[0.5, 2), exact in the type. */
static double float_at(const struct expect *e, uint32_t rank, uint64_t i) {
  uint64_t b = bits_at(e, rank, i);
  int p = precision(e->dtype);
  double fraction = (double)(b >> (64 - p)) / (double)(1ull << p);
  double v = (1 + fraction) * (b & 1 ? 0.5 : 1);
  return b & 2 ? -v : v;
}

static uint64_t narrow(agg_dtype_t t, uint64_t b) {
  switch (agg_dtype_size(t)) {
    case 1:
      return t == AGG_I8 ? (uint64_t)(int64_t)(int8_t)(uint8_t)b : (uint8_t)b;
    case 4:
      return t == AGG_I32 ? (uint64_t)(int64_t)(int32_t)(uint32_t)b : (uint32_t)b;
    default:
      return b;
  }
}

static uint64_t int_at(const struct expect *e, uint32_t rank, uint64_t i) { return narrow(e->dtype, bits_at(e, rank, i) >> 8); }

/* ---- memory <-> values -------------------------------------------------------------------------------------------------------------- */

static double f64_of_f16(uint16_t h) {
  int exponent = (h >> 10) & 31;
  double m = h & 1023, v;
  if (exponent == 31)
    v = m != 0 ? NAN : INFINITY;
  else
    v = exponent == 0 ? ldexp(m, -24) : ldexp(m + 1024, exponent - 25);
  return h & 0x8000 ? -v : v;
}

/* Of a normal number that the type holds exactly. */
static uint16_t f16_of_f64(double v) {
  int exponent;
  double m = frexp(fabs(v), &exponent); /* [0.5, 1) */
  unsigned bits = (unsigned)(exponent + 14) << 10 | ((unsigned)(m * 2048) & 1023);
  return (uint16_t)(bits | (v < 0 ? 0x8000u : 0));
}

static double load_float(agg_dtype_t t, const unsigned char *p) {
  uint16_t h;
  uint32_t w;
  float f;
  double d;
  if (t == AGG_F64) return memcpy(&d, p, 8), d;
  if (t == AGG_F32) return memcpy(&f, p, 4), (double)f;
  memcpy(&h, p, 2);
  if (t == AGG_F16) return f64_of_f16(h);
  w = (uint32_t)h << 16;
  return memcpy(&f, &w, 4), (double)f;
}

static void store_float(agg_dtype_t t, unsigned char *p, double v) {
  float f = (float)v;
  uint32_t w;
  uint16_t h;
  memcpy(&w, &f, 4);
  h = t == AGG_F16 ? f16_of_f64(v) : (uint16_t)(w >> 16);
  if (t == AGG_F64)
    memcpy(p, &v, 8);
  else if (t == AGG_F32)
    memcpy(p, &f, 4);
  else
    memcpy(p, &h, 2);
}

/* Little-endian, as all machines are that this runs on. */
static uint64_t load_int(agg_dtype_t t, const unsigned char *p) {
  uint64_t b = 0;
  memcpy(&b, p, agg_dtype_size(t));
  return narrow(t, b);
}

/* ---- the reference ------------------------------------------------------------------------------------------------------------------ */

struct float_result {
  double value, bound;
};

static struct float_result reduce_floats(const struct expect *e, uint64_t i) {
  double v = float_at(e, 0, i), size = fabs(v);
  for (uint32_t r = 1; r < e->ranks; r++) {
    double x = float_at(e, r, i);
    size = e->op == AGG_PROD ? size * fabs(x) : size + fabs(x);
    v = e->op == AGG_PROD ? v * x : e->op == AGG_MIN ? fmin(v, x) : e->op == AGG_MAX ? fmax(v, x) : v + x;
  }
  if (e->op == AGG_MIN || e->op == AGG_MAX) return (struct float_result){v, 0};
  if (e->op == AGG_AVG) {
    v /= e->ranks;
    size /= e->ranks;
  }
  /* One rounding to the type a hop and one at the division, each at most half a unit of what has been summed, and as many in the
   * accumulator. */
  double unit = ldexp(1, -precision(e->dtype) - 1), acc = ldexp(1, e->dtype == AGG_F64 ? -53 : -24);
  double tiny = e->dtype == AGG_F16 ? ldexp(1, -24) : 0; /* results below its normal numbers are rounded to this */
  return (struct float_result){v, size * (e->ranks + 1) * (unit + acc) * 1.01 + tiny};
}

static int before(agg_dtype_t t, uint64_t a, uint64_t b) { return is_signed(t) ? (int64_t)a < (int64_t)b : a < b; }

static uint64_t reduce_ints(const struct expect *e, uint64_t i) {
  uint64_t v = int_at(e, 0, i);
  for (uint32_t r = 1; r < e->ranks; r++) {
    uint64_t x = int_at(e, r, i);
    if (e->op == AGG_MIN || e->op == AGG_MAX)
      v = before(e->dtype, x, v) == (e->op == AGG_MIN) ? x : v;
    else
      v = narrow(e->dtype, e->op == AGG_PROD ? v * x : v + x);
  }
  if (e->op != AGG_AVG) return v;
  return is_signed(e->dtype) ? (uint64_t)((int64_t)v / (int64_t)e->ranks) : v / e->ranks;
}

static int say(const struct expect *e, uint64_t i, double got, double want, double bound, char *text) {
  snprintf(text, EXPECT_TEXT_MAX, "element %" PRIu64 " of %s %s over %u ranks is %.17g, expected %.17g +- %.3g", i, agg_redop_name(e->op),
           agg_dtype_name(e->dtype), e->ranks, got, want, bound);
  return 0;
}

void expect_input(const struct expect *e, uint32_t rank, uint64_t first, uint64_t count, void *out) {
  unsigned char *p = out;
  size_t size = agg_dtype_size(e->dtype);
  for (uint64_t i = 0; i < count; i++, p += size) {
    uint64_t b = is_float(e->dtype) ? 0 : int_at(e, rank, first + i);
    if (is_float(e->dtype))
      store_float(e->dtype, p, float_at(e, rank, first + i));
    else
      memcpy(p, &b, size);
  }
}

int expect_reduced(const struct expect *e, uint64_t first, uint64_t count, const void *got, char *text) {
  const unsigned char *p = got;
  size_t size = agg_dtype_size(e->dtype);
  for (uint64_t i = first; i < first + count; i++, p += size) {
    if (is_float(e->dtype)) {
      struct float_result want = reduce_floats(e, i);
      double v = load_float(e->dtype, p);
      if (!(fabs(v - want.value) <= want.bound)) return say(e, i, v, want.value, want.bound, text);
    } else if (load_int(e->dtype, p) != reduce_ints(e, i)) {
      return say(e, i, (double)load_int(e->dtype, p), (double)reduce_ints(e, i), 0, text);
    }
  }
  return 1;
}

int expect_given(const struct expect *e, uint32_t rank, uint64_t first, uint64_t count, const void *got, char *text) {
  const unsigned char *p = got;
  size_t size = agg_dtype_size(e->dtype);
  for (uint64_t i = 0; i < count; i++, p += size) {
    unsigned char want[8];
    expect_input(e, rank, first + i, 1, want);
    if (memcmp(p, want, size) == 0) continue;
    snprintf(text, EXPECT_TEXT_MAX, "element %" PRIu64 " is not the one of rank %u (%s)", first + i, rank, agg_dtype_name(e->dtype));
    return 0;
  }
  return 1;
}

void expect_noise(uint64_t seed, void *out, size_t bytes) {
  unsigned char *p = out;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t b = mix(seed * 0x9e3779b97f4a7c15u + i);
    memcpy(p + i, &b, bytes - i < 8 ? bytes - i : 8);
  }
}

uint64_t expect_hash(const void *bytes, size_t n) {
  const unsigned char *p = bytes;
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

/* ---- guards ------------------------------------------------------------------------------------------------------------------------- */

void expect_guard_set(void *place, size_t bytes) {
  unsigned char *p = place;
  memset(p - EXPECT_GUARD, GUARD_BYTE, EXPECT_GUARD);
  memset(p + bytes, GUARD_BYTE, EXPECT_GUARD);
}

int expect_guard_ok(const void *place, size_t bytes) {
  const unsigned char *p = place;
  for (int i = 0; i < EXPECT_GUARD; i++)
    if (p[-EXPECT_GUARD + i] != GUARD_BYTE || p[bytes + (size_t)i] != GUARD_BYTE) return 0;
  return 1;
}
