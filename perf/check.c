/*
 * Inputs, and what must come out. An input is a function of (rank, element, round), so every rank can compute every other's and the
 * reference is made in doubles and 64-bit integers without any communication.
 *
 * Float inputs of sums are small positive whole numbers whose every partial sum is exactly representable in the type (bf16: up to 256 in all),
 * those of products are powers of two. So the order of the sums does not matter, the bound is zero, and one lost, doubled or stale contribution
 * changes the result. Only AVG rounds: once, relative error at most 2^-digits (the bound is twice that). Where there are more ranks than the type
 * has exact sums (more than 256 in bf16), the bound is ranks x 2^-digits relative.
 */
#include <math.h>
#include <string.h>

#include "perf/perf.h"

/* A well-mixed 64-bit number of three. */
static uint64_t mix(uint64_t rank, uint64_t element, uint64_t round) {
  uint64_t z = (element + 1) * 0x9e3779b97f4a7c15ull + (rank + 1) * 0xd1b54a32d192ed03ull + (round + 1) * 0x8cb92ba72f3d8dd7ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  return z ^ (z >> 29);
}

/* Largest float input of a sum: all partial sums stay exact. */
static uint64_t sum_limit(agg_dtype_t dtype, uint32_t ranks) {
  int digits = dtype_digits(dtype) < 24 ? dtype_digits(dtype) : 24;
  uint64_t limit = (1ull << digits) / ranks;
  return limit > 0 ? limit : 1;
}

static struct number input(const struct part *p, uint32_t rank, uint64_t element) {
  uint64_t z = mix(rank, element, p->round);
  struct number n = {0, (int64_t)z};
  if (!dtype_is_float(p->dtype)) {
    /* An average of integers divides the wrapped sum; small inputs keep both readings of "sum" the same. */
    if (op_row(p->op)->reduces && p->redop == AGG_AVG) n.i = (int64_t)(z >> 32) % (1 + 127 / (int64_t)p->ranks);
    unsigned char bytes[8];
    number_store(p->dtype, bytes, n);
    return number_load(p->dtype, bytes);
  }
  if (op_row(p->op)->reduces && p->redop == AGG_PROD) {
    n.f = ldexp(z & 64 ? -1 : 1, z % 8 == 0 ? 1 : z % 8 == 1 ? -1 : 0);
  } else if (op_row(p->op)->reduces && (p->redop == AGG_SUM || p->redop == AGG_AVG)) {
    n.f = (double)(1 + (z >> 32) % sum_limit(p->dtype, p->ranks));
  } else {
    int digits = dtype_digits(p->dtype) < 24 ? dtype_digits(p->dtype) : 24;
    n.f = (double)(1 + (z >> 32) % ((1ull << digits) - 1)) * (z & 1 ? -1 : 1);
  }
  return n;
}

/* a op b in 64 bits; unsigned types compare as such. */
static struct number combine(const struct part *p, struct number a, struct number b) {
  struct number n = a;
  int is_u64 = p->dtype == AGG_U64, b_less = is_u64 ? (uint64_t)b.i < (uint64_t)a.i : b.i < a.i;
  switch (p->redop) {
    case AGG_PROD:
      n.f = a.f * b.f;
      n.i = (int64_t)((uint64_t)a.i * (uint64_t)b.i);
      break;
    case AGG_MIN:
      n.f = fmin(a.f, b.f);
      n.i = b_less ? b.i : a.i;
      break;
    case AGG_MAX:
      n.f = fmax(a.f, b.f);
      n.i = b_less ? a.i : b.i;
      break;
    default:
      n.f = a.f + b.f;
      n.i = (int64_t)((uint64_t)a.i + (uint64_t)b.i);
      break;
  }
  return n;
}

/* What recv[i] must be, before the rounding of floats. */
static struct number expected(const struct part *p, uint64_t i) {
  switch (p->op) {
    case OP_BROADCAST:
      return input(p, p->root, i);
    case OP_SCATTER:
      return input(p, p->root, (uint64_t)p->rank * p->count + i);
    case OP_ALLGATHER:
    case OP_GATHER:
      return input(p, (uint32_t)(i / p->count), i % p->count);
    default:
      break;
  }
  uint64_t element = p->op == OP_REDUCE_SCATTER ? (uint64_t)p->rank * p->count + i : i;
  struct number sum = input(p, 0, element);
  for (uint32_t r = 1; r < p->ranks; r++) sum = combine(p, sum, input(p, r, element));
  if (p->redop == AGG_AVG) {
    sum.f /= p->ranks;
    sum.i /= (int64_t)p->ranks;
  }
  return sum;
}

size_t part_send_elems(const struct part *p) {
  if (!op_sends(p->op, p->rank, p->root)) return 0;
  return op_row(p->op)->send_blocks ? p->count * p->ranks : p->count;
}

size_t part_recv_elems(const struct part *p) {
  if (!op_receives(p->op, p->rank, p->root)) return 0;
  return op_row(p->op)->recv_blocks ? p->count * p->ranks : p->count;
}

/* Every bit differs from the right one, so that an operation that does nothing is wrong at every element. */
static void poison(const struct part *p) {
  size_t size = agg_dtype_size(p->dtype);
  unsigned char *at = p->recv;
  for (size_t i = 0; i < part_recv_elems(p); i++, at += size) {
    number_store(p->dtype, at, expected(p, i));
    for (size_t b = 0; b < size; b++) at[b] = (unsigned char)~at[b];
  }
}

void check_fill(const struct part *p) {
  size_t size = agg_dtype_size(p->dtype);
  poison(p); /* first: in place, the inputs lie in recv or recv in the inputs */
  unsigned char *at = p->send;
  for (size_t i = 0; i < part_send_elems(p); i++, at += size) number_store(p->dtype, at, input(p, p->rank, i));
}

static int is_wrong(const struct part *p, const void *at, struct number want) {
  struct number got = number_load(p->dtype, at);
  if (!dtype_is_float(p->dtype)) {
    unsigned char bytes[8];
    number_store(p->dtype, bytes, want);
    return memcmp(bytes, at, agg_dtype_size(p->dtype)) != 0;
  }
  double bound = 0;
  int sums = op_row(p->op)->reduces && (p->redop == AGG_SUM || p->redop == AGG_AVG);
  if (sums && p->redop == AGG_AVG) bound = 2 * ldexp(fabs(want.f), -dtype_digits(p->dtype));
  if (sums && p->ranks > 1ull << (dtype_digits(p->dtype) < 24 ? dtype_digits(p->dtype) : 24))
    bound = p->ranks * ldexp(fabs(want.f), -dtype_digits(p->dtype));
  return !(fabs(got.f - want.f) <= bound); /* NaN is wrong */
}

uint64_t check_count_wrong(const struct part *p) {
  size_t size = agg_dtype_size(p->dtype);
  const unsigned char *at = p->recv;
  uint64_t wrong = 0;
  for (size_t i = 0; i < part_recv_elems(p); i++, at += size) wrong += (uint64_t)is_wrong(p, at, expected(p, i));
  return wrong;
}
