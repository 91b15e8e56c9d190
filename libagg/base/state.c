/*
 * Owns the one way in which a state machine moves. A move that the table does not list is a bug of our own code and aborts; nothing
 * that comes from outside may reach state_move unchecked.
 */
#include "state.h"

#include <stdio.h>
#include <stdlib.h>

const char *state_name(const struct state_table *table, unsigned state) { return state < table->count ? table->rows[state].name : "?"; }

void state_move(const struct state_table *table, uint8_t *state, unsigned next) {
  unsigned from = *state;
  if (from < table->count && next < table->count && (table->rows[from].next & STATE_TO(next)) != 0) {
    *state = (uint8_t)next;
    return;
  }
  fprintf(stderr, "agg: bug: %s: %s (%u) -> %s (%u) is not a legal move\n", table->machine, state_name(table, from), from,
          state_name(table, next), next);
  abort();
}
