/* The secrets that a server accepts. Wiped when they are dropped. */
#ifndef AGG_SERVER_TOKENS_H
#define AGG_SERVER_TOKENS_H

#include <stddef.h>

#include "agg.h"

#define TOKENS_MAX 64

struct tokens {
  size_t n;
  char *list[TOKENS_MAX + 1]; /* owned, NULL-terminated */
};

/* Reads a file of one token a line; empty lines are skipped. AGG_EAUTH when group or others can read it (the text says chmod 600),
 * AGG_EINVAL when it holds none, too many, or one that is too long; AGG_ESYS when it cannot be read. On failure t is empty. */
int tokens_read(struct tokens *t, const char *path, agg_error_t *err);

/* One token, from the environment. AGG_EINVAL when it is too long or spans lines. */
int tokens_from_text(struct tokens *t, const char *text, agg_error_t *err);

void tokens_fini(struct tokens *t);

#endif
