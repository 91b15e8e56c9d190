/* Matrix products in tiles of 4 x 16 that stay in registers. One body, compiled for the plain instruction set and, on x86, for AVX2 with
 * fused multiply-add. Never allocates. */
#include "gemm.h"

#include <string.h>

#define ROWS 4
#define LANES 8
#define COLS (2 * LANES)

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));

#define INLINE static inline __attribute__((always_inline))

INLINE void tile(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t k, int add) {
  vec acc[ROWS][2];
  for (size_t i = 0; i < ROWS; i++) {
    if (add) {
      memcpy(acc[i], c + i * ldc, sizeof acc[i]);
    } else {
      memset(acc[i], 0, sizeof acc[i]);
    }
  }
  for (size_t p = 0; p < k; p++) {
    vec row[2];
    memcpy(row, b + p * ldb, sizeof row);
    for (size_t i = 0; i < ROWS; i++) {
      float x = a.data[i * a.row + p * a.col];
      acc[i][0] += x * row[0];
      acc[i][1] += x * row[1];
    }
  }
  for (size_t i = 0; i < ROWS; i++) memcpy(c + i * ldc, acc[i], sizeof acc[i]);
}

/* What is left over at the lower and right edges. */
INLINE void edge(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add) {
  for (size_t i = 0; i < m; i++) {
    if (!add) memset(c + i * ldc, 0, n * sizeof *c);
    for (size_t p = 0; p < k; p++) {
      float x = a.data[i * a.row + p * a.col];
      for (size_t j = 0; j < n; j++) c[i * ldc + j] += x * b[p * ldb + j];
    }
  }
}

INLINE void product(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add) {
  size_t whole_m = m - m % ROWS, whole_n = n - n % COLS;
  for (size_t j = 0; j < whole_n; j += COLS) {
    for (size_t i = 0; i < whole_m; i += ROWS) {
      struct view rows = {a.data + i * a.row, a.row, a.col};
      tile(c + i * ldc + j, ldc, rows, b + j, ldb, k, add);
    }
  }
  struct view last = {a.data + whole_m * a.row, a.row, a.col};
  edge(c + whole_n, ldc, a, b + whole_n, ldb, whole_m, n - whole_n, k, add);
  edge(c + whole_m * ldc, ldc, last, b, ldb, m - whole_m, n, k, add);
}

static void gemm_plain(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add) {
  product(c, ldc, a, b, ldb, m, n, k, add);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void gemm_avx2(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m,
                                                          size_t n, size_t k, int add) {
  product(c, ldc, a, b, ldb, m, n, k, add);
}

gemm_fn gemm_best(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? gemm_avx2 : gemm_plain; }
#else
gemm_fn gemm_best(void) { return gemm_plain; }
#endif

void transpose(float *b, const float *a, size_t rows, size_t cols) {
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < cols; j++) b[j * rows + i] = a[i * cols + j];
  }
}
