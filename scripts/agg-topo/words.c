/* How sizes, times and speeds are written, for all of agg-topo's output. */
#include <string.h>

#include "base/util.h"
#include "scripts/agg-topo/agg_topo.h"

const char *bytes_words(double bytes, char buf[WORDS_CAP]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  unsigned unit = 0;
  while (bytes >= 1023.5 && unit + 1 < ARRAY_LEN(units)) {
    bytes /= 1024;
    unit++;
  }
  (void)snprintf(buf, WORDS_CAP, bytes >= 1000 ? "%.0f %s" : "%.3g %s", bytes, units[unit]);
  return buf;
}

const char *seconds_words(double seconds, char buf[WORDS_CAP]) {
  if (seconds < 1e-3) {
    (void)snprintf(buf, WORDS_CAP, "%.3g us", seconds * 1e6);
  } else if (seconds < 1) {
    (void)snprintf(buf, WORDS_CAP, "%.3g ms", seconds * 1e3);
  } else {
    (void)snprintf(buf, WORDS_CAP, "%.4g s", seconds);
  }
  return buf;
}

const char *speed_words(uint64_t bytes_per_s, char buf[WORDS_CAP]) {
  double bits = 8.0 * (double)bytes_per_s;
  if (bytes_per_s == 0) {
    (void)snprintf(buf, WORDS_CAP, "speed unknown");
  } else {
    (void)snprintf(buf, WORDS_CAP, bits >= 1e9 ? "%.4g Gbit/s" : "%.4g Mbit/s", bits >= 1e9 ? bits / 1e9 : bits / 1e6);
  }
  return buf;
}

void wrap_words(FILE *to, const char *text, unsigned column, unsigned indent, unsigned width) {
  int first = 1;
  while (*text != '\0') {
    unsigned n = (unsigned)strcspn(text, " ");
    if (!first && column + 1 + n > width) {
      fprintf(to, "\n%*s", (int)indent, "");
      column = indent;
      first = 1;
    }
    fprintf(to, "%s%.*s", first ? "" : " ", (int)n, text);
    column += n + !first;
    first = 0;
    text += n;
    text += *text == ' ';
  }
  putc('\n', to);
}

void json_string(FILE *to, const char *text) {
  putc('"', to);
  for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
    if (*p == '"' || *p == '\\') {
      fprintf(to, "\\%c", *p);
    } else if (*p < 0x20 || *p >= 0x7f) {
      fprintf(to, "\\u%04x", *p);
    } else {
      putc(*p, to);
    }
  }
  putc('"', to);
}
