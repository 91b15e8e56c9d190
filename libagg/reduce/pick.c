/*
 * Owns the list of kernel tables and the choice among them. The choice depends on the processor only: no environment, no measurement,
 * nothing remembered.
 */
#include "tables.h"

static const struct reduce_table *const all[] = {
    &reduce_reference,
#if defined(__x86_64__)
    &reduce_avx2,
    &reduce_avx512,
#endif
    NULL,
};

const struct reduce_table *const *reduce_tables(void) { return all; }

const struct reduce_table *reduce_best(void) {
  const struct reduce_table *best = all[0];
  for (const struct reduce_table *const *t = all; *t != NULL; t++) {
    if ((*t)->usable()) best = *t;
  }
  return best;
}
