/* One thread that runs completion callbacks, so that user code never runs on a thread that moves data. Started at the first use. */
#ifndef LIBAGG_CALLBACK_H
#define LIBAGG_CALLBACK_H

#include "agg.h"

struct callbacks;

/* An entry that lives in the operation: nothing is allocated to queue it. */
struct callback {
  struct callback *next;
  agg_callback_fn fn;
  void *user;
  int status;
  void (*after)(struct callback *self); /* called when fn has returned; self may be freed by it */
};

int callbacks_create(struct callbacks **out, agg_error_t *err);
void callbacks_destroy(struct callbacks *c); /* runs what is queued, then ends the thread. Takes NULL */

/* Starts the thread if it does not run yet. AGG_ESYS. Before the first push, on the caller's thread. */
int callbacks_ensure(struct callbacks *c, agg_error_t *err);
void callbacks_push(struct callbacks *c, struct callback *entry); /* any thread; never blocks for long */

#endif
