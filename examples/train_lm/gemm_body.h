/* The product in tiles of 4 x 16 that stay in registers. Included once by a file for each instruction set, which compiles it with its
 * flags. */
#include <string.h>

#include "gemm.h"

#define ROWS 4
#define LANES 8
#define COLS (2 * LANES)

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef float vec_at __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias)); /* in memory, anywhere */

#define LOAD(p) (*(const vec_at *)(p)) /* no functions: a vector may have no register to be passed in */
#define STORE(p, v) (*(vec_at *)(p) = (v))

static inline void tile(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t k, int add) {
  vec acc[ROWS][2] = {0};
  for (size_t i = 0; add && i < ROWS; i++) {
    acc[i][0] = LOAD(c + i * ldc);
    acc[i][1] = LOAD(c + i * ldc + LANES);
  }
  for (size_t p = 0; p < k; p++) {
    vec left = LOAD(b + p * ldb), right = LOAD(b + p * ldb + LANES);
    for (size_t i = 0; i < ROWS; i++) {
      float x = a.data[i * a.row + p * a.col];
      acc[i][0] += x * left;
      acc[i][1] += x * right;
    }
  }
  for (size_t i = 0; i < ROWS; i++) {
    STORE(c + i * ldc, acc[i][0]);
    STORE(c + i * ldc + LANES, acc[i][1]);
  }
}

/* What is left over at the lower and right edges. */
static inline void edge(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add) {
  for (size_t i = 0; i < m; i++) {
    if (!add) memset(c + i * ldc, 0, n * sizeof *c);
    for (size_t p = 0; p < k; p++) {
      float x = a.data[i * a.row + p * a.col];
      for (size_t j = 0; j < n; j++) c[i * ldc + j] += x * b[p * ldb + j];
    }
  }
}

static inline void product(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add) {
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
