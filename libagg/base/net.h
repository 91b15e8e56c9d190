/* Sockets: addresses, listening, connecting. All descriptors are close-on-exec and non-blocking. */
#ifndef BASE_NET_H
#define BASE_NET_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "agg.h"

struct net_addr {
  socklen_t len;
  struct sockaddr_storage ss;
};

/* Splits "host:port", "[v6]:port", ":port" or (default_port >= 0) "host". AGG_EINVAL with a text that quotes the input. */
int net_split(const char *text, int default_port, char *host, size_t host_cap, uint16_t *port, agg_error_t *err);

/* Resolves a host name, IPv4 or IPv6 literal (blocking). host "" means any address. AGG_EINVAL: unknown host. Fills up to max addresses. */
int net_resolve(const char *host, uint16_t port, int passive, struct net_addr *out, int max,
                agg_error_t *err); /* returns the number, > 0 */

/* Listens; port 0 picks one. *bound gets the address in use. AGG_ESYS says "port N is in use" where it is. */
int net_listen(const struct net_addr *addr, int backlog, int *fd, struct net_addr *bound, agg_error_t *err);

/* Starts a non-blocking connect. 0 with *fd set (connected or in progress). */
int net_connect_start(const struct net_addr *addr, int *fd, agg_error_t *err);

/* Connects within timeout_ms (blocking), trying each address of host:port; *fd comes back non-blocking with TCP_NODELAY. */
int net_connect(const char *host, uint16_t port, int timeout_ms, int *fd, agg_error_t *err);

/* Turns on keepalive and TCP_USER_TIMEOUT so that a host that is gone is noticed within about `seconds`; no delay. */
void net_tune(int fd, int seconds);

/* A number for the network namespace of this host that the process is in: the same in all its processes, another one in other namespaces
 * and on other hosts. 0: it cannot be told. */
uint64_t net_place(void);

int net_is_loopback(const struct net_addr *addr);
uint16_t net_port(const struct net_addr *addr);
/* "10.0.0.1:4000", "[::1]:4000". Returns buf. */
const char *net_format(const struct net_addr *addr, char *buf, size_t cap);

#endif
