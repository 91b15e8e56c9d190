/*
 * The address blob of the tcp transport: where a peer may connect.
 *
 *   0      1         2       3          4         6
 *   +------+---------+-------+----------+---------+----------------------------------------------
 *   | 'T'  | version | count | reserved | port    | count x { family 4 or 6, 4 or 16 bytes, as on the network }
 *   |      |    1    | 1..8  |    0     | (LE)    |
 *   +------+---------+-------+----------+---------+----------------------------------------------
 */
#ifndef TCP_ADDRESS_H
#define TCP_ADDRESS_H

#include "base/net.h"
#include "transport.h"

#define TCP_ADDRS_MAX 8

/* Decides from the configuration where to listen (*listen_at, port 0) and what to tell peers (adv, up to TCP_ADDRS_MAX). AGG_EINVAL: a name
 * is unknown. Returns the number of addresses to tell, at least 1. Resolves names, so it may block. */
int tcp_address_choose(const struct tp_config *config, struct net_addr *listen_at, struct net_addr *adv, agg_error_t *err);

/* The network device with the first of these addresses that leaves the host: 1, or 0 where none does. See tp_ops.ports. */
unsigned tcp_address_port(const struct net_addr *adv, int n, struct tp_port *out, unsigned max);

/* Writes the blob into buf (TP_ADDRESS_MAX bytes); returns its length. */
size_t tcp_address_encode(const struct net_addr *addrs, int n, uint16_t port, void *buf);
/* Returns the number of addresses, or 0 when the blob is malformed. addrs holds TCP_ADDRS_MAX. */
int tcp_address_decode(const void *blob, size_t len, struct net_addr *addrs);

#endif
