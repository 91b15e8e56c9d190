/* The table of options: name, kind, bounds, help. Internal to the configuration. */
#ifndef AGG_SERVER_OPTIONS_H
#define AGG_SERVER_OPTIONS_H

#include "config.h"

enum option_kind {
  OPTION_TEXT,
  OPTION_COUNT,
  OPTION_BYTES,
  OPTION_SECONDS,
  OPTION_PIN,
  OPTION_LEVEL,
  OPTION_DEVICES,
  OPTION_MTU,
  OPTION_SYSTEM,
  OPTION_COST
};

struct option_row {
  const char *name;
  const char *arg; /* how the help names the value */
  const char *help;
  enum option_kind kind;
  int zero_is_auto; /* "auto" is accepted and stored as 0 (OPTION_SYSTEM: as -1) */
  size_t offset;    /* in struct server_config */
  size_t cap;       /* OPTION_TEXT: bytes of the field */
  double min, max;  /* the others, where they are numbers */
};

extern const struct option_row option_table[];
size_t option_count(void);
const struct option_row *option_find(const char *name); /* NULL: unknown */
const char *option_name(size_t index);

/* Parses value into the row's field of *c. AGG_EINVAL: "reactors: '0x' is not ...". */
int option_set(const struct option_row *row, struct server_config *c, const char *value, agg_error_t *err);
/* The value as option_set would read it. Returns buf. */
const char *option_format(const struct option_row *row, const struct server_config *c, char *buf, size_t cap);

#endif
