/* The daemon: reactors, the coordinator and the jobs on one event loop. */
#ifndef AGG_SERVER_SERVER_H
#define AGG_SERVER_SERVER_H

#include "base/log.h"
#include "config.h"

struct server;

/* Starts the reactors and listens. Everything is borrowed for the server's life. AGG_ESYS: port in use, ...; AGG_EINVAL, AGG_ENOTSUP,
 * AGG_ENOMEM. */
int server_create(const struct server_config *config, const struct tokens *tokens, const struct log *log, struct server **server,
                  agg_error_t *err);

/* "host:port" in use, for a launcher. Returns buf. */
const char *server_address(const struct server *s, char *buf, size_t cap);

/* Serves until SIGTERM or SIGINT has drained it, a second one has cut that short, or drain-timeout has passed. 0, or 1 when a second
 * signal ended running jobs. The two signals must be blocked in the calling thread; here they are taken. */
int server_run(struct server *s);

/* Ends what is left and frees. Takes NULL. */
void server_destroy(struct server *s);

#endif
