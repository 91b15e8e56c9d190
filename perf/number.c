/* Elements of every type as doubles and 64-bit integers, with one rounding to nearest even. Speed does not matter here, being right does.
 */
#include <math.h>
#include <string.h>

#include "perf/perf.h"

int dtype_is_float(agg_dtype_t dtype) { return dtype <= AGG_F64; }

int dtype_digits(agg_dtype_t dtype) {
  static const int DIGITS[AGG_DTYPE_COUNT] = {11, 8, 24, 53, 7, 8, 31, 32, 63, 64};
  return DIGITS[dtype];
}

double half_to_double(uint16_t bits) {
  int exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
  double size;
  if (exponent == 0x1f) {
    size = fraction != 0 ? (double)NAN : (double)INFINITY;
  } else if (exponent == 0) {
    size = ldexp(fraction, -24);
  } else {
    size = ldexp(fraction + 0x400, exponent - 25);
  }
  return bits & 0x8000 ? -size : size;
}

uint16_t half_from_double(double value) {
  uint16_t sign = signbit(value) ? 0x8000 : 0;
  double size = fabs(value);
  if (isnan(value)) return sign | 0x7e00;
  if (size >= 65520) return sign | 0x7c00; /* the middle between the largest number and the next step rounds up */
  if (size < ldexp(1, -14)) return (uint16_t)(sign | (unsigned)nearbyint(ldexp(size, 24))); /* may become the smallest normal: same bits */
  int exponent;
  double fraction = frexp(size, &exponent);                   /* [0.5, 1) */
  unsigned digits = (unsigned)nearbyint(ldexp(fraction, 11)); /* [1024, 2048]: 2048 carries into the exponent by itself */
  return (uint16_t)(sign | (((unsigned)(exponent + 13) << 10) + digits));
}

double bfloat_to_double(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, sizeof(value));
  return (double)value;
}

uint16_t bfloat_from_double(double value) {
  uint16_t sign = signbit(value) ? 0x8000 : 0;
  double size = fabs(value);
  if (isnan(value)) return sign | 0x7fc0;
  if (isinf(value)) return sign | 0x7f80;
  if (size < ldexp(1, -126)) return (uint16_t)(sign | (unsigned)nearbyint(ldexp(size, 133)));
  int exponent;
  double fraction = frexp(size, &exponent);
  unsigned digits = (unsigned)nearbyint(ldexp(fraction, 8)); /* [128, 256] */
  unsigned bits = ((unsigned)(exponent + 125) << 7) + digits;
  return (uint16_t)(sign | (exponent > 128 || bits > 0x7f80 ? 0x7f80 : bits));
}

#define LOAD_INTEGER(type)     \
  do {                         \
    type v;                    \
    memcpy(&v, at, sizeof(v)); \
    n.i = (int64_t)v;          \
    n.f = (double)v;           \
  } while (0)

struct number number_load(agg_dtype_t dtype, const void *at) {
  struct number n = {0, 0};
  uint16_t bits;
  float single;
  switch (dtype) {
    case AGG_F16:
    case AGG_BF16:
      memcpy(&bits, at, sizeof(bits));
      n.f = dtype == AGG_F16 ? half_to_double(bits) : bfloat_to_double(bits);
      break;
    case AGG_F32:
      memcpy(&single, at, sizeof(single));
      n.f = (double)single;
      break;
    case AGG_F64:
      memcpy(&n.f, at, sizeof(n.f));
      break;
    case AGG_I8:
      LOAD_INTEGER(int8_t);
      break;
    case AGG_U8:
      LOAD_INTEGER(uint8_t);
      break;
    case AGG_I32:
      LOAD_INTEGER(int32_t);
      break;
    case AGG_U32:
      LOAD_INTEGER(uint32_t);
      break;
    case AGG_I64:
      LOAD_INTEGER(int64_t);
      break;
    default:
      LOAD_INTEGER(uint64_t);
      break;
  }
  return n;
}

void number_store(agg_dtype_t dtype, void *at, struct number value) {
  uint16_t bits;
  float single;
  switch (dtype) {
    case AGG_F16:
    case AGG_BF16:
      bits = dtype == AGG_F16 ? half_from_double(value.f) : bfloat_from_double(value.f);
      memcpy(at, &bits, sizeof(bits));
      break;
    case AGG_F32:
      single = (float)value.f;
      memcpy(at, &single, sizeof(single));
      break;
    case AGG_F64:
      memcpy(at, &value.f, sizeof(value.f));
      break;
    default: /* the low bytes of a two's complement number, little-endian as all machines that we build for */
      memcpy(at, &value.i, agg_dtype_size(dtype));
      break;
  }
}
