/* The product for x86 processors with AVX2 and fused multiply-add; the Makefile gives this file their flags. */
#include "gemm_body.h"

void gemm_avx2(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add) {
  product(c, ldc, a, b, ldb, m, n, k, add);
}
