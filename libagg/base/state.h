/* State tables: the legal next states of each state, and one setter. An illegal move is a bug of ours and aborts. */
#ifndef BASE_STATE_H
#define BASE_STATE_H

#include <stdint.h>

struct state_row {
  const char *name;
  uint32_t next; /* bit i set: state i may follow */
};

struct state_table {
  const char *machine; /* "chunk", "lane", ... for messages */
  const struct state_row *rows;
  unsigned count;
};

#define STATE_TO(s) (1u << (s))

/* Moves *state to next or aborts with "<machine>: <from> -> <to> is not a legal move". */
void state_move(const struct state_table *table, uint8_t *state, unsigned next);
const char *state_name(const struct state_table *table, unsigned state);

#endif
