/*
 * Inputs, and what must come out. An input is a function of (rank, element, round), so every rank can compute every other's and the
 * reference is made in doubles and 64-bit integers without any communication.
 *
 * Float inputs of sums are small positive whole numbers whose every partial sum is exactly representable in the type (bf16: up to 256 in
 * all), those of products are powers of two. So the order of the sums does not matter, the bound is zero, and one lost, doubled or stale
 * contribution changes the result. Only AVG rounds: once, relative error at most 2^-digits (the bound is twice that). Where there are more
 * ranks than the type has exact sums (more than 256 in bf16), the bound is ranks x 2^-digits relative.
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

enum recipe_kind { RECIPE_INTEGER, RECIPE_SMALL_INTEGER, RECIPE_SUM, RECIPE_PROD, RECIPE_ANY };

/* How the inputs of a part are made; worked out once for all its elements. */
struct recipe {
  const struct part *part;
  enum recipe_kind kind;
  uint64_t limit; /* inputs are 1 to limit; small integers 0 to limit */
  int exact;      /* all partial sums are representable */
};

static struct recipe recipe_of(const struct part *p) {
  struct recipe r = {p, RECIPE_ANY, 0, 1};
  int digits = dtype_digits(p->dtype) < 24 ? dtype_digits(p->dtype) : 24;
  int reduces = op_row(p->op)->reduces, sums = reduces && (p->redop == AGG_SUM || p->redop == AGG_AVG);
  if (!dtype_is_float(p->dtype)) {
    r.kind = reduces && p->redop == AGG_AVG ? RECIPE_SMALL_INTEGER : RECIPE_INTEGER;
    r.limit = 127 / p->ranks;
  } else if (sums) {
    r.kind = RECIPE_SUM;
    r.limit = (1ull << digits) / p->ranks;
    r.exact = r.limit > 0;
    if (!r.exact) r.limit = 1ull << (digits / 2);
  } else {
    r.kind = reduces && p->redop == AGG_PROD ? RECIPE_PROD : RECIPE_ANY;
    r.limit = (1ull << digits) - 1;
  }
  return r;
}

/* Uniform from 0 to n - 1 by the high half of z. */
static uint64_t below(uint64_t z, uint64_t n) { return (z >> 32) * n >> 32; }

static int64_t wrap_integer(agg_dtype_t dtype, uint64_t z) {
  switch (dtype) {
    case AGG_I8:
      return (int8_t)z;
    case AGG_U8:
      return (uint8_t)z;
    case AGG_I32:
      return (int32_t)z;
    case AGG_U32:
      return (uint32_t)z;
    default:
      return (int64_t)z;
  }
}

static struct number input(const struct recipe *r, uint32_t rank, uint64_t element) {
  uint64_t z = mix(rank, element, r->part->round);
  struct number n = {0, 0};
  switch (r->kind) {
    case RECIPE_INTEGER:
      n.i = wrap_integer(r->part->dtype, z);
      break;
    case RECIPE_SMALL_INTEGER: /* the sum does not wrap, so its average is what everybody takes it for */
      n.i = (int64_t)below(z, r->limit + 1);
      break;
    case RECIPE_SUM:
      n.f = (double)(1 + below(z, r->limit));
      break;
    case RECIPE_PROD:
      n.f = (z & 64 ? -1 : 1) * (z % 8 == 0 ? 2 : z % 8 == 1 ? 0.5 : 1);
      break;
    case RECIPE_ANY:
      n.f = (double)(1 + below(z, r->limit)) * (z & 1 ? -1 : 1);
      break;
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
static struct number expected(const struct recipe *r, uint64_t i) {
  const struct part *p = r->part;
  switch (p->op) {
    case OP_BROADCAST:
      return input(r, p->root, i);
    case OP_SCATTER:
      return input(r, p->root, (uint64_t)p->rank * p->count + i);
    case OP_ALLGATHER:
    case OP_GATHER:
      return input(r, (uint32_t)(i / p->count), i % p->count);
    default:
      break;
  }
  uint64_t element = p->op == OP_REDUCE_SCATTER ? (uint64_t)p->rank * p->count + i : i;
  struct number sum = input(r, 0, element);
  for (uint32_t rank = 1; rank < p->ranks; rank++) sum = combine(p, sum, input(r, rank, element));
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

/* Makes recv wrong at every element, so that an operation that does nothing is seen: not a number, or the right integer with every bit
 * turned. */
static void poison(const struct recipe *r) {
  const struct part *p = r->part;
  size_t size = agg_dtype_size(p->dtype), n = part_recv_elems(p);
  unsigned char *at = p->recv;
  if (dtype_is_float(p->dtype)) {
    if (n > 0) memset(at, 0xff, n * size);
    return;
  }
  for (size_t i = 0; i < n; i++, at += size) {
    struct number right = expected(r, i);
    right.i = ~right.i;
    number_store(p->dtype, at, right);
  }
}

void check_fill(const struct part *p) {
  struct recipe r = recipe_of(p);
  size_t size = agg_dtype_size(p->dtype), n = part_send_elems(p);
  poison(&r); /* first: in place, the inputs lie in recv or recv in the inputs */
  unsigned char *at = p->send;
  for (size_t i = 0; i < n; i++, at += size) number_store(p->dtype, at, input(&r, p->rank, i));
}

/* How far a float result may lie from the reference. */
static double bound_of(const struct recipe *r, double want) {
  const struct part *p = r->part;
  if (r->kind != RECIPE_SUM || (r->exact && p->redop != AGG_AVG)) return 0;
  return (r->exact ? 2.0 : (double)p->ranks) * ldexp(fabs(want), -dtype_digits(p->dtype));
}

uint64_t check_count_wrong(const struct part *p) {
  struct recipe r = recipe_of(p);
  size_t size = agg_dtype_size(p->dtype), n = part_recv_elems(p);
  int is_float = dtype_is_float(p->dtype);
  const unsigned char *at = p->recv;
  uint64_t wrong = 0;
  for (size_t i = 0; i < n; i++, at += size) {
    struct number want = expected(&r, i), got = number_load(p->dtype, at);
    if (is_float) {
      wrong += !(fabs(got.f - want.f) <= bound_of(&r, want.f)); /* NaN is wrong */
    } else {
      wrong += got.i != wrap_integer(p->dtype, (uint64_t)want.i);
    }
  }
  return wrong;
}
