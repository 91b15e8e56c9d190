/*
 * Owns the AVX-512 kernels: what vector.h leaves to the instruction set. Compiled for processors that the rest of the library must not
 * assume, so nothing here may be called before usable() has said yes. (The bf16 instructions are not used: they flush denormals.)
 */
#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define VEC_BYTES 64u
#include "vector.h"

REDUCE_INLINE struct acc widen_f16(vbits v) {
  __m512i halves = (__m512i)v;
  return (struct acc){.lo = (vbits)_mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
                      .hi = (vbits)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))};
}

REDUCE_INLINE vbits narrow_f16(struct acc a) {
  __m256i lo = _mm512_cvtps_ph((__m512)a.lo, _MM_FROUND_TO_NEAREST_INT), hi = _mm512_cvtps_ph((__m512)a.hi, _MM_FROUND_TO_NEAREST_INT);
  return (vbits)_mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

REDUCE_INLINE vbits canon_f32(vbits v) {
  __m512 x = (__m512)v;
  return (vbits)_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

REDUCE_INLINE vbits canon_f64(vbits v) {
  __m512d x = (__m512d)v;
  return (vbits)_mm512_mask_blend_pd(_mm512_cmp_pd_mask(x, x, _CMP_UNORD_Q), x, _mm512_castsi512_pd(_mm512_set1_epi64(0x7ff8000000000000)));
}

REDUCE_DEFINE_ALL

static int usable(void) {
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

const struct reduce_table reduce_avx512 = {.name = "avx512", .usable = usable, .fn = {REDUCE_ENTRIES}};

#else
typedef int reduce_no_avx512_here;
#endif
