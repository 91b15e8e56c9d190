/*
 * One question: how fast does each kernel table fold k inputs, beside memcpy in the same run? Prints GB/s of output (and of all bytes
 * moved) for each table, type, number of inputs and size. Usage: sum_bw [dtype [op]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "reduce/reduce.h"

#define MAX_K 32u
#define MAX_BYTES (16u << 20)
#define RUN_NS 20000000.0
#define RUNS 5

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* not wall time: others may share the core */
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct work {
  reduce_fn fn; /* NULL: memcpy */
  void *dst;
  const void *src[MAX_K];
  unsigned k;
  size_t count, bytes;
};

static void once(const struct work *w) {
  if (w->fn != NULL) {
    w->fn(w->dst, w->src, w->k, w->count, w->k);
  } else {
    memcpy(w->dst, w->src[0], w->bytes);
  }
  __asm__ volatile("" ::"r"(w->dst) : "memory");
}

/* GB/s of output: the best of a few runs, each long enough for the clock. */
static double rate(const struct work *w) {
  double best = 0;
  for (int run = 0; run < RUNS; run++) {
    double start = now_ns(), took;
    size_t rounds = 0;
    do {
      for (int i = 0; i < 4; i++) once(w);
      rounds += 4;
      took = now_ns() - start;
    } while (took < RUN_NS);
    double got = (double)w->bytes * (double)rounds / took;
    if (got > best) best = got;
  }
  return best;
}

static void *make_buffer(size_t bytes, unsigned char fill) {
  void *p = aligned_alloc(4096, bytes);
  if (p == NULL) {
    fprintf(stderr, "sum_bw: cannot allocate %zu bytes\n", bytes);
    exit(1);
  }
  memset(p, fill, bytes);
  return p;
}

static void one_type(struct work *w, agg_dtype_t t, agg_redop_t op) {
  static const unsigned ks[] = {2, 3, 4, 5, 8, 16, 32};
  static const size_t sizes[] = {8u << 10, 64u << 10, 256u << 10, MAX_BYTES};
  for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
    for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
      w->k = ks[i];
      w->bytes = sizes[j];
      w->count = w->bytes / agg_dtype_size(t);
      w->fn = NULL;
      printf("%-5s %-4s k %2u %9zu B  memcpy %6.1f", agg_dtype_name(t), agg_redop_name(op), w->k, w->bytes, rate(w));
      for (const struct reduce_table *const *table = reduce_tables(); *table != NULL; table++) {
        if (!(*table)->usable()) continue;
        w->fn = (*table)->fn[t][op];
        double got = rate(w);
        printf("  %s %6.1f (%.1f)", (*table)->name, got, got * (w->k + 1));
      }
      printf("\n");
      (void)fflush(stdout);
    }
  }
}

int main(int argc, char **argv) {
  struct work w = {.dst = make_buffer(MAX_BYTES, 0)};
  for (unsigned i = 0; i < MAX_K; i++) w.src[i] = make_buffer(MAX_BYTES + 4096, 0x3c);
  printf("GB/s of output; in brackets all bytes read and written; best of %d runs\n", RUNS);
  int matched = 0;
  for (int t = 0; t < AGG_DTYPE_COUNT; t++) {
    for (int op = 0; op < AGG_REDOP_COUNT; op++) {
      if (argc > 1 ? strcmp(argv[1], agg_dtype_name((agg_dtype_t)t)) != 0 : t != AGG_F32 && t != AGG_BF16 && t != AGG_F16) continue;
      if (argc > 2 ? strcmp(argv[2], agg_redop_name((agg_redop_t)op)) != 0 : op != AGG_SUM) continue;
      one_type(&w, (agg_dtype_t)t, (agg_redop_t)op);
      matched = 1;
    }
  }
  if (!matched) fprintf(stderr, "usage: sum_bw [dtype [op]], for example: sum_bw bf16 avg\n");
  return matched ? 0 : 2;
}
