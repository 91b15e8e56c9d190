/*
 * Owns the AVX2 kernels: what vector.h leaves to the instruction set. Compiled for processors that the rest of the library must not assume,
 * so nothing here may be called before usable() has said yes.
 */
#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define VEC_BYTES 32u
#include "vector.h"

REDUCE_INLINE struct acc widen_f16(vbits v) {
  __m256i halves = (__m256i)v;
  return (struct acc){.lo = (vbits)_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                      .hi = (vbits)_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
}

REDUCE_INLINE vbits narrow_f16(struct acc a) {
  __m128i lo = _mm256_cvtps_ph((__m256)a.lo, _MM_FROUND_TO_NEAREST_INT), hi = _mm256_cvtps_ph((__m256)a.hi, _MM_FROUND_TO_NEAREST_INT);
  return (vbits)_mm256_set_m128i(hi, lo);
}

REDUCE_INLINE vbits canon_f32(vbits v) {
  __m256 x = (__m256)v, canonical = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
  return (vbits)_mm256_blendv_ps(x, canonical, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

REDUCE_INLINE vbits canon_f64(vbits v) {
  __m256d x = (__m256d)v, canonical = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ff8000000000000));
  return (vbits)_mm256_blendv_pd(x, canonical, _mm256_cmp_pd(x, x, _CMP_UNORD_Q));
}

REDUCE_DEFINE_ALL

static int usable(void) {
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

const struct reduce_table reduce_avx2 = {.name = "avx2", .usable = usable, .fn = {REDUCE_ENTRIES}};

#else
typedef int reduce_no_avx2_here;
#endif
