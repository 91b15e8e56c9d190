/*
 * Owns the meaning of a sum: plain C, one element at a time, conversions in integer arithmetic. The oracle of the tests for every other
 * table, and the kernel of machines that have none. Never faster than it is clear.
 */
#include <math.h>
#include <string.h>

#include "fpenv.h"
#include "tables.h"

/* ---- conversions ---- */

static inline float f32_of_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint32_t bits_of_f32(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

static inline float f32_of_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 0x1fu, fraction = h & 0x3ffu;
  if (exponent == 0) return f32_of_bits(sign | bits_of_f32((float)fraction * 0x1p-24f));
  if (exponent == 31) return f32_of_bits(sign | 0x7f800000u | fraction << 13);
  return f32_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* f is not NaN. */
static inline uint16_t f16_of_f32(float f) {
  uint32_t bits = bits_of_f32(f), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
  if (size >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 and more */
  if (size >= 0x38800000u) { /* normal; a carry out of the fraction goes into the exponent, up to infinity */
    uint32_t r = size - 0x38000000u;
    r += 0xfffu + ((r >> 13) & 1u);
    return (uint16_t)(sign | r >> 13);
  }
  if (size <= 0x33000000u) return (uint16_t)sign; /* half of the smallest denormal, or less */
  uint32_t shift = 126u - (size >> 23), full = (size & 0x7fffffu) | 0x800000u;
  uint32_t r = full >> shift, rest = full & ((1u << shift) - 1u), half = 1u << (shift - 1);
  if (rest > half || (rest == half && (r & 1u))) r++;
  return (uint16_t)(sign | r);
}

static inline float f32_of_bf16(uint16_t b) { return f32_of_bits((uint32_t)b << 16); }

/* f is not NaN. */
static inline uint16_t bf16_of_f32(float f) {
  uint32_t bits = bits_of_f32(f);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* ---- one element ---- */

/* What is accumulated in: the member that the type selects. */
union acc {
  float f32;
  double f64;
  int64_t i64;  /* signed types, sign-extended */
  uint64_t u64; /* unsigned types, zero-extended */
};

REDUCE_INLINE union acc load(agg_dtype_t t, const void *base, size_t i) {
  const unsigned char *p = base;
  union acc a = {.u64 = 0};
  switch (t) {
#define LOAD_AS(T, c, member, convert)               \
  case T: {                                          \
    c value;                                         \
    memcpy(&value, p + i * sizeof(c), sizeof value); \
    a.member = convert(value);                       \
    break;                                           \
  }
    LOAD_AS(AGG_F16, uint16_t, f32, f32_of_f16)
    LOAD_AS(AGG_BF16, uint16_t, f32, f32_of_bf16)
    LOAD_AS(AGG_F32, float, f32, )
    LOAD_AS(AGG_F64, double, f64, )
    LOAD_AS(AGG_I8, int8_t, i64, )
    LOAD_AS(AGG_U8, uint8_t, u64, )
    LOAD_AS(AGG_I32, int32_t, i64, )
    LOAD_AS(AGG_U32, uint32_t, u64, )
    LOAD_AS(AGG_I64, int64_t, i64, )
    LOAD_AS(AGG_U64, uint64_t, u64, )
#undef LOAD_AS
    case AGG_DTYPE_COUNT:
      break;
  }
  return a;
}

/* Wraps to the type's width, so that what follows (a division, a comparison) sees the type's value. */
REDUCE_INLINE union acc narrow(agg_dtype_t t, uint64_t bits) {
  union acc a = {.u64 = bits};
  if (t == AGG_I8) a.i64 = (int8_t)(uint8_t)bits;
  if (t == AGG_U8) a.u64 = (uint8_t)bits;
  if (t == AGG_I32) a.i64 = (int32_t)(uint32_t)bits;
  if (t == AGG_U32) a.u64 = (uint32_t)bits;
  return a;
}

/* MIN and MAX of floats, for either width. */
#define FLOAT_MIN(a, b) (isnan(a) ? (a) : isnan(b) ? (b) : (a) == (b) ? (signbit(a) ? (a) : (b)) : (a) < (b) ? (a) : (b))
#define FLOAT_MAX(a, b) (isnan(a) ? (a) : isnan(b) ? (b) : (a) == (b) ? (signbit(a) ? (b) : (a)) : (a) < (b) ? (b) : (a))

REDUCE_INLINE float combine_f32(agg_redop_t op, float a, float b) {
  return op == AGG_PROD ? a * b : op == AGG_MIN ? FLOAT_MIN(a, b) : op == AGG_MAX ? FLOAT_MAX(a, b) : a + b;
}

REDUCE_INLINE double combine_f64(agg_redop_t op, double a, double b) {
  return op == AGG_PROD ? a * b : op == AGG_MIN ? FLOAT_MIN(a, b) : op == AGG_MAX ? FLOAT_MAX(a, b) : a + b;
}

REDUCE_INLINE int is_signed(agg_dtype_t t) { return t == AGG_I8 || t == AGG_I32 || t == AGG_I64; }

REDUCE_INLINE union acc combine(agg_dtype_t t, agg_redop_t op, union acc a, union acc b) {
  if (t == AGG_F64) return (union acc){.f64 = combine_f64(op, a.f64, b.f64)};
  if (reduce_is_float(t)) return (union acc){.f32 = combine_f32(op, a.f32, b.f32)};
  int less = is_signed(t) ? a.i64 < b.i64 : a.u64 < b.u64;
  if (op == AGG_MIN) return less ? a : b;
  if (op == AGG_MAX) return less ? b : a;
  return narrow(t, op == AGG_PROD ? a.u64 * b.u64 : a.u64 + b.u64);
}

REDUCE_INLINE union acc divide(agg_dtype_t t, union acc a, uint32_t divisor) {
  if (t == AGG_F64) return (union acc){.f64 = a.f64 / (double)divisor};
  if (reduce_is_float(t)) return (union acc){.f32 = a.f32 / (float)divisor};
  if (is_signed(t)) return (union acc){.i64 = a.i64 / (int64_t)divisor};
  return (union acc){.u64 = a.u64 / divisor};
}

REDUCE_INLINE void store(agg_dtype_t t, void *base, size_t i, union acc a) {
  unsigned char *p = base;
  uint64_t bits = a.u64;
  size_t size = agg_dtype_size(t);
  if (t == AGG_F16) bits = isnan(a.f32) ? 0x7e00u : f16_of_f32(a.f32);
  if (t == AGG_BF16) bits = isnan(a.f32) ? 0x7fc0u : bf16_of_f32(a.f32);
  if (t == AGG_F32) bits = isnan(a.f32) ? 0x7fc00000u : bits_of_f32(a.f32);
  if (t == AGG_F64) bits = isnan(a.f64) ? 0x7ff8000000000000u : a.u64;
  uint8_t b1 = (uint8_t)bits;
  uint16_t b2 = (uint16_t)bits;
  uint32_t b4 = (uint32_t)bits;
  memcpy(p + i * size, size == 1 ? (void *)&b1 : size == 2 ? (void *)&b2 : size == 4 ? (void *)&b4 : (void *)&bits, size);
}

/* ---- the table ---- */

REDUCE_INLINE void run(agg_dtype_t t, agg_redop_t op, void *dst, const void *const *src, unsigned k, size_t count, uint32_t divisor) {
  fpenv_state_t env = fpenv_enter();
  FPENV_PIN(divisor);
  for (size_t i = 0; i < count; i++) {
    union acc a = load(t, src[0], i);
    for (unsigned j = 1; j < k; j++) a = combine(t, op, a, load(t, src[j], i));
    if (op == AGG_AVG) a = divide(t, a, divisor);
    store(t, dst, i, a);
  }
  fpenv_leave(env);
}

REDUCE_DEFINE_ALL

static int usable(void) { return 1; }

const struct reduce_table reduce_reference = {.name = "reference", .usable = usable, .fn = {REDUCE_ENTRIES}};
