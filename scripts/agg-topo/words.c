/* How speeds are written, for all of agg-topo's output; sizes and times are as topology/explain.h has them. */
#include "scripts/agg-topo/agg_topo.h"

const char *speed_words(uint64_t bytes_per_s, char buf[WORDS_CAP]) {
  double bits = 8.0 * (double)bytes_per_s;
  if (bytes_per_s == 0) {
    (void)snprintf(buf, WORDS_CAP, "speed unknown");
  } else {
    (void)snprintf(buf, WORDS_CAP, bits >= 1e9 ? "%.4g Gbit/s" : "%.4g Mbit/s", bits >= 1e9 ? bits / 1e9 : bits / 1e6);
  }
  return buf;
}
