/*
 * What a collective must give. Every rank's input is a function of (salt, rank, index), so each rank can work out the result for itself, in
 * float64 or in 64-bit integers, and compare: integers, minima and maxima exactly, float sums within the roundings that the API allows.
 */
#ifndef TESTS_LIB_EXPECT_H
#define TESTS_LIB_EXPECT_H

#include <stddef.h>
#include <stdint.h>

#include "agg.h"

#define EXPECT_TEXT_MAX 256

/* Whether this is a build with a sanitizer: the allocator is its own then, and everything takes several times as long. */
#if defined(__has_feature)
#define SANITIZED_THREADS __has_feature(thread_sanitizer)
#define SANITIZED (__has_feature(thread_sanitizer) || __has_feature(address_sanitizer))
#else
#ifdef __SANITIZE_THREAD__
#define SANITIZED_THREADS 1
#else
#define SANITIZED_THREADS 0
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED SANITIZED_THREADS
#endif
#endif

struct expect {
  agg_dtype_t dtype;
  agg_redop_t op;
  uint64_t salt;
  uint32_t ranks;
};

/* Elements first .. first + count of what `rank` gives. Floats are +-[0.5, 2); integers are any value of the type. out may be unaligned. */
void expect_input(const struct expect *e, uint32_t rank, uint64_t first, uint64_t count, void *out);

/* Whether these are elements first .. first + count of the reduction over all ranks: 1, or 0 and a text. A float sum or product may be off
 * by one rounding for each of the ranks. */
int expect_reduced(const struct expect *e, uint64_t first, uint64_t count, const void *got, char *text);
/* Whether they are what `rank` gave. */
int expect_given(const struct expect *e, uint32_t rank, uint64_t first, uint64_t count, const void *got, char *text);

/* Any bytes, by seed. As floats they are of all sizes, infinities and NaNs among them. */
void expect_noise(uint64_t seed, void *out, size_t bytes);
/* A number that differs when the bytes do (FNV-1a). */
uint64_t expect_hash(const void *bytes, size_t n);

/* ---- buffers with guards --------------------------------------------------------------------------------------------------------- */

#define EXPECT_GUARD 64

/* Fills EXPECT_GUARD bytes before and after, and checks them: 1 when untouched. */
void expect_guard_set(void *place, size_t bytes);
int expect_guard_ok(const void *place, size_t bytes);

#endif
