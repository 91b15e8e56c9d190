/* Texts for people. Pure functions; nothing here reads the configuration or does I/O. */
#include "text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

const char *text_size(uint64_t bytes, char *buf, size_t cap) {
  static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  unsigned u = 0;
  double value = (double)bytes;
  while (value >= 1024 && u + 1 < ARRAY_LEN(unit)) {
    value /= 1024;
    u++;
  }
  snprintf(buf, cap, u == 0 ? "%.0f %s" : "%.1f %s", value, unit[u]);
  return buf;
}

const char *text_bytes_exact(uint64_t bytes, char *buf, size_t cap) {
  static const char unit[] = "KMG";
  unsigned u = 0;
  while (u < 3 && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    u++;
  }
  if (u == 0) {
    snprintf(buf, cap, "%llu", (unsigned long long)bytes);
  } else {
    snprintf(buf, cap, "%llu%c", (unsigned long long)bytes, unit[u - 1]);
  }
  return buf;
}

#define WORD_MAX 40

/* Levenshtein's distance of two words shorter than WORD_MAX, one row at a time. Case does not matter. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len) {
  size_t row[WORD_MAX + 1];
  for (size_t j = 0; j <= b_len; j++) row[j] = j;
  for (size_t i = 1; i <= a_len; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_len; j++) {
      size_t change = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
      diagonal = row[j];
      row[j] = MIN_OF(change, 1 + MIN_OF(row[j], row[j - 1]));
    }
  }
  return row[b_len];
}

const char *text_nearest(const char *word, const char *(*name)(size_t index), size_t count) {
  size_t len = strlen(word);
  if (len == 0 || len >= WORD_MAX) return NULL;
  const char *best = NULL;
  size_t best_distance = len / 3 + 1;
  for (size_t i = 0; i < count; i++) {
    size_t name_len = strlen(name(i));
    if (name_len >= WORD_MAX) continue;
    size_t d = distance(word, len, name(i), name_len);
    if (d < best_distance) {
      best_distance = d;
      best = name(i);
    }
  }
  return best;
}
