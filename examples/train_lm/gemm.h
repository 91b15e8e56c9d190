/* Matrix products, the only kernels that the model spends time in. */
#ifndef TRAIN_LM_GEMM_H
#define TRAIN_LM_GEMM_H

#include <stddef.h>

/* A matrix in someone else's memory: element (i, j) lies at data[i * row + j * col]. */
struct view {
  const float *data;
  size_t row, col;
};

/* C (m x n, rows of ldc) = A (m x k) times B (k x n, rows of ldb), or C += A times B when `add` is set. */
typedef void (*gemm_fn)(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add);

/* For processors with AVX2 and fused multiply-add only. */
void gemm_avx2(float *c, size_t ldc, struct view a, const float *b, size_t ldb, size_t m, size_t n, size_t k, int add);

/* The fastest that this processor runs. */
gemm_fn gemm_best(void);

/* B = A transposed; A is rows x cols. */
void transpose(float *b, const float *a, size_t rows, size_t cols);

#endif
