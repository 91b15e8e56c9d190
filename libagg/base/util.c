/*
 * Owns the clock call and the parsing of numbers. Parsing is strict: the whole text or nothing, no white space, no sign where none makes
 * sense, no dependence on the locale.
 */
#include "util.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t clock_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int str_copy(char *dst, size_t cap, const char *src) {
  size_t n = strnlen(src, cap);
  int fits = n < cap;
  if (!fits) n = cap - 1;
  memmove(dst, src, n);
  dst[n] = '\0';
  return fits;
}

/* Reads digits up to *end. -1: none, or more than max. */
static int read_digits(const char *text, uint64_t max, uint64_t *out, const char **end) {
  uint64_t value = 0;
  const char *p = text;
  for (; *p >= '0' && *p <= '9'; p++) {
    uint64_t digit = (uint64_t)(*p - '0');
    if (digit > max || value > (max - digit) / 10) return -1;
    value = value * 10 + digit;
  }
  if (p == text) return -1;
  *out = value;
  *end = p;
  return 0;
}

int parse_u64(const char *text, uint64_t max, uint64_t *out) {
  uint64_t value;
  const char *end;
  if (text == NULL || read_digits(text, max, &value, &end) != 0 || *end != '\0') return -1;
  *out = value;
  return 0;
}

int parse_bytes(const char *text, uint64_t max, uint64_t *out) {
  uint64_t value;
  const char *end;
  if (text == NULL || read_digits(text, max, &value, &end) != 0) return -1;
  unsigned shift = 0;
  switch (*end) {
    case 'K':
    case 'k':
      shift = 10;
      break;
    case 'M':
    case 'm':
      shift = 20;
      break;
    case 'G':
    case 'g':
      shift = 30;
      break;
    default:
      break;
  }
  if (shift != 0) end++;
  if (*end != '\0' || value > max >> shift) return -1;
  *out = value << shift;
  return 0;
}

int parse_double(const char *text, double min, double max, double *out) {
  if (text == NULL || text[0] == '\0' || text[strspn(text, "0123456789.eE+-")] != '\0') return -1;
  locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* the process may have chosen a decimal comma */
  if (c_locale == (locale_t)0) return -1;
  int saved = errno;
  char *end;
  double value = strtod_l(text, &end, c_locale);
  errno = saved;
  freelocale(c_locale);
  if (*end != '\0' || !(value >= min && value <= max)) return -1;
  *out = value;
  return 0;
}
