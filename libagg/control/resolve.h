/* Host names to addresses without blocking the event loop: numbers at once, names on a helper thread that is started with the first one. */
#ifndef CONTROL_RESOLVE_H
#define CONTROL_RESOLVE_H

#include "base/net.h"

#define RESOLVE_ADDRS_MAX 4

struct event_base;
struct resolver;
struct resolve; /* one question */

/* From the event loop. n > 0 addresses, or negative with err. The question is freed after the call. */
typedef void (*resolve_fn)(void *user, int n, const struct net_addr *addrs, const agg_error_t *err);

int resolver_create(struct event_base *base, struct resolver **r, agg_error_t *err);
void resolver_destroy(struct resolver *r); /* takes NULL; waits for the name service when it is being asked */

/* AGG_ENOMEM, AGG_ESYS. fn is never called from inside. */
int resolve_start(struct resolver *r, const char *host, uint16_t port, resolve_fn fn, void *user, struct resolve **q, agg_error_t *err);
void resolve_cancel(struct resolve *q); /* fn is not called any more. Takes NULL */

#endif
