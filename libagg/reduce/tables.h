/* What the kernel files share: the list of (type, operator) entries, and the tables that exist beside the reference. */
#ifndef REDUCE_TABLES_H
#define REDUCE_TABLES_H

#include "reduce.h"

#define REDUCE_INLINE static inline __attribute__((always_inline))

/* X(suffix, agg_dtype_t) for every type; X(type suffix, agg_dtype_t, suffix, agg_redop_t) for every operator of a type. */
#define REDUCE_TYPES(X) \
  X(f16, AGG_F16)       \
  X(bf16, AGG_BF16)     \
  X(f32, AGG_F32) X(f64, AGG_F64) X(i8, AGG_I8) X(u8, AGG_U8) X(i32, AGG_I32) X(u32, AGG_U32) X(i64, AGG_I64) X(u64, AGG_U64)
#define REDUCE_OPS(X, t, T) X(t, T, sum, AGG_SUM) X(t, T, avg, AGG_AVG) X(t, T, prod, AGG_PROD) X(t, T, min, AGG_MIN) X(t, T, max, AGG_MAX)

/* A file that has `REDUCE_INLINE void run(agg_dtype_t, agg_redop_t, dst, src, k, count, divisor)` gets one function an entry with
 * REDUCE_DEFINE_ALL, in which run's type and operator are constants, and the table's initialiser with REDUCE_ENTRIES. */
#define REDUCE_DEFINE_(t, T, op, OP)                                                                    \
  static void t##_##op(void *dst, const void *const *src, unsigned k, size_t count, uint32_t divisor) { \
    run(T, OP, dst, src, k, count, divisor);                                                            \
  }
#define REDUCE_DEFINE_TYPE_(t, T) REDUCE_OPS(REDUCE_DEFINE_, t, T)
#define REDUCE_DEFINE_ALL REDUCE_TYPES(REDUCE_DEFINE_TYPE_)
#define REDUCE_ENTRY_(t, T, op, OP) [OP] = t##_##op,
#define REDUCE_ENTRY_TYPE_(t, T) [T] = {REDUCE_OPS(REDUCE_ENTRY_, t, T)},
#define REDUCE_ENTRIES REDUCE_TYPES(REDUCE_ENTRY_TYPE_)

static inline int reduce_is_float(agg_dtype_t t) { return t == AGG_F16 || t == AGG_BF16 || t == AGG_F32 || t == AGG_F64; }

#if defined(__x86_64__)
extern const struct reduce_table reduce_avx2;
extern const struct reduce_table reduce_avx512;
#endif

#endif
