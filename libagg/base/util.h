/* Small things that every floor uses. */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define CACHE_LINE 64

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

static inline uint64_t div_up_u64(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }
static inline uint64_t round_up_u64(uint64_t a, uint64_t to) { return div_up_u64(a, to) * to; }

/* CLOCK_MONOTONIC in nanoseconds. Only floors that do I/O may call it; never the engine or the planner. */
uint64_t clock_now_ns(void);

/* One turn of a busy loop. */
static inline void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

/* splitmix64: the tests', simulator's and back-off's source of numbers; a seed is one sequence. Not for secrets. */
struct rng {
  uint64_t state;
};
static inline uint64_t rng_next(struct rng *r) {
  uint64_t z = (r->state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
/* Uniform in [0, n), n > 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n) { return rng_next(r) % n; }

/* Copies with truncation and a terminating zero; returns 1 when all of src fitted. cap > 0. */
int str_copy(char *dst, size_t cap, const char *src);

/* Whole-string decimal numbers; 0 on success, -1 otherwise (the output is left alone). Bytes accept K, M, G (1024). */
int parse_u64(const char *text, uint64_t max, uint64_t *out);
int parse_double(const char *text, double min, double max, double *out);
int parse_bytes(const char *text, uint64_t max, uint64_t *out);

#endif
