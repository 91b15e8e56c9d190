/* The product for any processor, and the choice between it and the faster one. */
#include "gemm_body.h"

static void gemm_plain(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add) {
  product(c, ldc, a, b, ldb, m, n, k, add);
}

gemm_fn gemm_best(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return gemm_avx2;
#endif
  return gemm_plain;
}

void transpose(float *b, const float *a, size_t rows, size_t cols) {
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < cols; j++) b[j * rows + i] = a[i * cols + j];
  }
}
