/*
 * The kernel as seen by any instruction set: included once by a file that defines VEC_BYTES (32 or 64), `widen_f16` and `narrow_f16`, and
 * the selects below. It steps through all inputs VEC_BYTES at a time; an accumulator is one vector, or two where 16-bit floats widen to
 * float32. Type and operator are constants in every instance of run(), so that each switch below folds to one line.
 */
#ifndef REDUCE_VECTOR_H
#define REDUCE_VECTOR_H

#include <string.h>

#include "fpenv.h"
#include "tables.h"

#define UNROLL 4u /* vectors of one input taken together */
#define STEP_BYTES (UNROLL * VEC_BYTES)
#define GROUP 8u                     /* inputs read side by side */
#define BLOCK_BYTES (8 * STEP_BYTES) /* of one input, while partial results stand in `part`, which must stay in the first cache */

#define VECTOR_OF(c) c __attribute__((vector_size(VEC_BYTES)))
typedef VECTOR_OF(long long) vbits;
typedef VECTOR_OF(float) vf32;
typedef VECTOR_OF(double) vf64;
typedef VECTOR_OF(int8_t) vi8;
typedef VECTOR_OF(uint8_t) vu8;
typedef VECTOR_OF(int32_t) vi32;
typedef VECTOR_OF(uint32_t) vu32;
typedef VECTOR_OF(int64_t) vi64;
typedef VECTOR_OF(uint64_t) vu64;

struct acc {
  vbits lo, hi; /* hi: f16 and bf16 only */
};

/* The including file's part. */
REDUCE_INLINE struct acc widen_f16(vbits v);
REDUCE_INLINE vbits narrow_f16(struct acc a);
REDUCE_INLINE vbits canon_f32(vbits v); /* NaN lanes become the canonical NaN */
REDUCE_INLINE vbits canon_f64(vbits v);

REDUCE_INLINE int is_wide(agg_dtype_t t) { return t == AGG_F16 || t == AGG_BF16; }

REDUCE_INLINE vbits load_bits(const void *p) {
  vbits v;
  memcpy(&v, p, sizeof v);
  return v;
}

/* bf16 widens without moving lanes: the even elements of a vector go to lo, the odd ones to hi. */
REDUCE_INLINE struct acc load(agg_dtype_t t, const void *p) {
  vbits v = load_bits(p);
  if (t == AGG_F16) return widen_f16(v);
  if (t == AGG_BF16) return (struct acc){.lo = (vbits)((vu32)v << 16), .hi = (vbits)((vu32)v & 0xffff0000u)};
  return (struct acc){.lo = v, .hi = v};
}

/* ---- operators ---- */

REDUCE_INLINE vbits pick(vbits mask, vbits yes, vbits no) { return (yes & mask) | (no & ~mask); }

/* For equal floats the sign decides: OR gives -0 of a pair of zeros, AND gives +0; other equal pairs are equal bits. A NaN on either side
 * stays one (all bits set), whatever it is compared with next. */
#define FLOAT_MINMAX(V, op, a, b)                                               \
  do {                                                                          \
    vbits less_ = (vbits)((V)(a) < (V)(b)), same_ = (vbits)((V)(a) == (V)(b));  \
    vbits nan_ = (vbits)((V)(a) != (V)(a)) | (vbits)((V)(b) != (V)(b));         \
    vbits r_ = (op) == AGG_MIN ? pick(less_, a, b) : pick(less_, b, a);         \
    return pick(same_, (op) == AGG_MIN ? ((a) | (b)) : ((a) & (b)), r_) | nan_; \
  } while (0)

#define INT_COMBINE(V, U, op, a, b)                                   \
  do {                                                                \
    if ((op) == AGG_PROD) return (vbits)((U)(a) * (U)(b));            \
    if ((op) == AGG_MIN) return pick((vbits)((V)(a) < (V)(b)), a, b); \
    if ((op) == AGG_MAX) return pick((vbits)((V)(a) < (V)(b)), b, a); \
    return (vbits)((U)(a) + (U)(b));                                  \
  } while (0)

REDUCE_INLINE vbits combine_f32(agg_redop_t op, vbits a, vbits b) {
  if (op == AGG_PROD) return (vbits)((vf32)a * (vf32)b);
  if (op == AGG_MIN || op == AGG_MAX) FLOAT_MINMAX(vf32, op, a, b);
  return (vbits)((vf32)a + (vf32)b);
}

REDUCE_INLINE vbits combine_f64(agg_redop_t op, vbits a, vbits b) {
  if (op == AGG_PROD) return (vbits)((vf64)a * (vf64)b);
  if (op == AGG_MIN || op == AGG_MAX) FLOAT_MINMAX(vf64, op, a, b);
  return (vbits)((vf64)a + (vf64)b);
}

REDUCE_INLINE vbits combine_bits(agg_dtype_t t, agg_redop_t op, vbits a, vbits b) {
  switch (t) {
    case AGG_F64:
      return combine_f64(op, a, b);
    case AGG_I8:
      INT_COMBINE(vi8, vu8, op, a, b);
    case AGG_U8:
      INT_COMBINE(vu8, vu8, op, a, b);
    case AGG_I32:
      INT_COMBINE(vi32, vu32, op, a, b);
    case AGG_U32:
      INT_COMBINE(vu32, vu32, op, a, b);
    case AGG_I64:
      INT_COMBINE(vi64, vu64, op, a, b);
    case AGG_U64:
      INT_COMBINE(vu64, vu64, op, a, b);
    default:
      return combine_f32(op, a, b);
  }
}

REDUCE_INLINE struct acc combine(agg_dtype_t t, agg_redop_t op, struct acc a, struct acc b) {
  a.lo = combine_bits(t, op, a.lo, b.lo);
  if (is_wide(t)) a.hi = combine_bits(t, op, a.hi, b.hi);
  return a;
}

/* ---- finish ---- */

/* How AVG divides. A power of two divides exactly as its inverse multiplies, in the same rounding, and several times faster. */
enum scale { SCALE_NONE, SCALE_DIVIDE, SCALE_INVERSE };

/* Quotients of integers of up to 32 bits are exact in float64 before they are cut to integers. */
#define DIVIDE_LANES(c, wide, v, divisor)                                                                                \
  do {                                                                                                                   \
    c lane_[VEC_BYTES / sizeof(c)];                                                                                      \
    memcpy(lane_, &(v), sizeof lane_);                                                                                   \
    for (unsigned i_ = 0; i_ < sizeof lane_ / sizeof lane_[0]; i_++) lane_[i_] = (c)((wide)lane_[i_] / (wide)(divisor)); \
    return load_bits(lane_);                                                                                             \
  } while (0)

REDUCE_INLINE vbits scale_f32(enum scale s, vbits v, uint32_t divisor) {
  float by = s == SCALE_INVERSE ? 1.0f / (float)divisor : (float)divisor;
  return s == SCALE_INVERSE ? (vbits)((vf32)v * by) : (vbits)((vf32)v / by);
}

REDUCE_INLINE vbits scale_f64(enum scale s, vbits v, uint32_t divisor) {
  double by = s == SCALE_INVERSE ? 1.0 / (double)divisor : (double)divisor;
  return s == SCALE_INVERSE ? (vbits)((vf64)v * by) : (vbits)((vf64)v / by);
}

REDUCE_INLINE vbits scale_bits(agg_dtype_t t, enum scale s, vbits v, uint32_t divisor) {
  switch (t) {
    case AGG_F64:
      return scale_f64(s, v, divisor);
    case AGG_I8:
      DIVIDE_LANES(int8_t, double, v, divisor);
    case AGG_U8:
      DIVIDE_LANES(uint8_t, double, v, divisor);
    case AGG_I32:
      DIVIDE_LANES(int32_t, double, v, divisor);
    case AGG_U32:
      DIVIDE_LANES(uint32_t, double, v, divisor);
    case AGG_I64:
      DIVIDE_LANES(int64_t, int64_t, v, divisor);
    case AGG_U64:
      DIVIDE_LANES(uint64_t, uint64_t, v, divisor);
    default:
      return scale_f32(s, v, divisor);
  }
}

/* float32 in each lane, rounded to bf16 in its upper half; the lower half is rubbish. No NaN but the canonical one comes in. */
REDUCE_INLINE vu32 round_bf16(vbits v) { return (vu32)v + 0x7fffu + (((vu32)v >> 16) & 1u); }

REDUCE_INLINE void finish(agg_dtype_t t, enum scale s, struct acc a, uint32_t divisor, void *p) {
  if (s != SCALE_NONE) a.lo = scale_bits(t, s, a.lo, divisor);
  if (s != SCALE_NONE && is_wide(t)) a.hi = scale_bits(t, s, a.hi, divisor);
  if (reduce_is_float(t)) a.lo = t == AGG_F64 ? canon_f64(a.lo) : canon_f32(a.lo);
  if (is_wide(t)) a.hi = canon_f32(a.hi);
  if (t == AGG_F16) a.lo = narrow_f16(a);
  if (t == AGG_BF16) a.lo = (vbits)((round_bf16(a.lo) >> 16) | (round_bf16(a.hi) & 0xffff0000u));
  memcpy(p, &a.lo, sizeof a.lo);
}

/* ---- loops ---- */

/* A pass folds m <= GROUP inputs. With `more` the result stays in part[], else it goes to dst. With `prior`, part[] holds the fold of the
 * inputs before src[0]. */
struct pass {
  agg_dtype_t t;
  agg_redop_t op;
  enum scale scale;
  uint32_t divisor;
  unsigned m;
  int prior, more;
};

/* UNROLL vectors of each input from byte `at`; part[from..] is their place. */
REDUCE_INLINE void step(struct pass p, void *dst, const void *const *src, size_t at, struct acc *part, size_t from) {
  struct acc a[UNROLL];
  for (unsigned u = 0; u < UNROLL; u++) a[u] = load(p.t, (const char *)src[0] + at + u * VEC_BYTES);
  if (p.prior) {
    for (unsigned u = 0; u < UNROLL; u++) a[u] = combine(p.t, p.op, part[from + u], a[u]);
  }
  for (unsigned j = 1; j < p.m; j++) {
    const char *in = (const char *)src[j] + at;
    for (unsigned u = 0; u < UNROLL; u++) a[u] = combine(p.t, p.op, a[u], load(p.t, in + u * VEC_BYTES));
  }
  if (p.more) {
    for (unsigned u = 0; u < UNROLL; u++) part[from + u] = a[u];
  } else {
    for (unsigned u = 0; u < UNROLL; u++) finish(p.t, p.scale, a[u], p.divisor, (char *)dst + at + u * VEC_BYTES);
  }
}

/* bytes is a multiple of STEP_BYTES, and at most BLOCK_BYTES where part[] is used. */
REDUCE_INLINE void pass(struct pass p, void *dst, const void *const *src, size_t at, size_t bytes, struct acc *part) {
  for (size_t done = 0; done < bytes; done += STEP_BYTES) step(p, dst, src, at + done, part, done / VEC_BYTES);
}

/* The numbers of inputs that matter most have loops of their own for the sums of floats: 1 when this was such a number. */
REDUCE_INLINE int fold_special(struct pass p, void *dst, const void *const *src, unsigned k, size_t bytes, struct acc *part) {
  if (!reduce_is_float(p.t) || p.t == AGG_F64 || (p.op != AGG_SUM && p.op != AGG_AVG)) return 0;
  switch (k) {
#define SPECIAL_CASE(number)           \
  case number:                         \
    p.m = number;                      \
    pass(p, dst, src, 0, bytes, part); \
    return 1;
    SPECIAL_CASE(2)
    SPECIAL_CASE(3)
    SPECIAL_CASE(4)
    SPECIAL_CASE(5)
    SPECIAL_CASE(8)
#undef SPECIAL_CASE
    default:
      return 0;
  }
}

/* Any number of inputs. More than GROUP streams at once are more than the processor follows: then block by block, GROUP inputs at a time.
 */
REDUCE_INLINE void fold_general(struct pass p, void *dst, const void *const *src, unsigned k, size_t bytes, struct acc *part) {
  size_t block = k > GROUP ? BLOCK_BYTES : bytes;
  for (size_t at = 0; at < bytes; at += block) {
    size_t n = bytes - at < block ? bytes - at : block;
    for (unsigned j = 0; j < k; j += GROUP) {
      p.prior = j > 0;
      p.more = k - j > GROUP;
      p.m = p.more ? GROUP : k - j;
      pass(p, dst, src + j, at, n, part);
    }
  }
}

/* n <= VEC_BYTES bytes; what is missing to a vector reads as 0. */
REDUCE_INLINE struct acc load_part(agg_dtype_t t, const char *p, size_t n) {
  unsigned char room[VEC_BYTES] = {0};
  if (n == VEC_BYTES) return load(t, p);
  memcpy(room, p, n);
  return load(t, room);
}

/* The last bytes, less than a step, through the same arithmetic: nothing is read or written beyond the ends. */
REDUCE_INLINE void fold_rest(struct pass p, void *dst, const void *const *src, unsigned k, size_t at, size_t bytes) {
  unsigned char room[VEC_BYTES];
  for (; at < bytes; at += VEC_BYTES) {
    size_t n = bytes - at < VEC_BYTES ? bytes - at : VEC_BYTES;
    struct acc a = load_part(p.t, (const char *)src[0] + at, n);
    for (unsigned j = 1; j < k; j++) a = combine(p.t, p.op, a, load_part(p.t, (const char *)src[j] + at, n));
    finish(p.t, p.scale, a, p.divisor, room);
    memcpy((char *)dst + at, room, n);
  }
}

REDUCE_INLINE void fold(struct pass p, void *dst, const void *const *src, unsigned k, size_t count) {
  struct acc part[BLOCK_BYTES / VEC_BYTES];
  size_t bytes = count * agg_dtype_size(p.t), whole = bytes / STEP_BYTES * STEP_BYTES;
  if (whole > 0 && !fold_special(p, dst, src, k, whole, part)) fold_general(p, dst, src, k, whole, part);
  fold_rest(p, dst, src, k, whole, bytes);
}

REDUCE_INLINE void run(agg_dtype_t t, agg_redop_t op, void *dst, const void *const *src, unsigned k, size_t count, uint32_t divisor) {
  fpenv_state_t env = fpenv_enter();
  FPENV_PIN(divisor);
  struct pass p = {.t = t, .op = op, .divisor = divisor, .scale = SCALE_NONE};
  if (op == AGG_AVG && reduce_is_float(t) && (divisor & (divisor - 1)) == 0) {
    p.scale = SCALE_INVERSE;
    fold(p, dst, src, k, count);
  } else {
    if (op == AGG_AVG) p.scale = SCALE_DIVIDE;
    fold(p, dst, src, k, count);
  }
  fpenv_leave(env);
}

#endif
