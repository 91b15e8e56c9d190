/*
 * What two ends of a lane say besides puts: in the private data of a connection request and its answer (librdmacm), and in short SENDs on
 * the queue pair. All numbers are little-endian; reserved bytes are zero.
 *
 * Request and answer, 52 bytes (56 is what InfiniBand has for us):
 *
 *   0     2         3       4                     36       40              48     49    50    51        52
 *   +-----+---------+-------+---------------------+--------+---------------+------+-----+-----+---------+
 *   | "AV"| version | kind  | ticket (32 bytes)   | window | window offset | rail | mtu | imm | reserved|
 *   |     |    1    |       | zero in an answer   | key    |               |      |     |     |         |
 *   +-----+---------+-------+---------------------+--------+---------------+------+-----+-----+---------+
 *
 * A rejection carries "AV", version and a reason. A control message is 32 bytes (a probe: up to the path MTU, its tail is ignored):
 *
 *   0      1       2          4       8       12         32
 *   +------+-------+----------+-------+-------+----------+
 *   | type | rail  | reserved |   a   |   b   | reserved |
 *   +------+-------+----------+-------+-------+----------+
 *
 * A place (struct tp_raddr) on this transport: key is the rkey, off the virtual address with the owner's rail in its top byte.
 */
#ifndef VERBS_WIRE_H
#define VERBS_WIRE_H

#include "base/net.h"
#include "transport.h"

#define VERBS_VERSION 1
#define VERBS_HELLO_BYTES 52
#define VERBS_REJECT_BYTES 4
#define VERBS_CONTROL_BYTES 32
#define VERBS_RAILS_MAX 8

enum verbs_hello_kind {
  VERBS_LANE = 1,   /* the first connection of a lane */
  VERBS_SPARE = 2,  /* another connection for a lane that is there: it moves to it */
  VERBS_WELCOME = 3 /* the answer */
};

struct verbs_hello {
  enum verbs_hello_kind kind;
  unsigned char ticket[TP_TICKET_BYTES];
  struct tp_raddr window;
  uint8_t rail; /* the sender's */
  uint8_t mtu;  /* enum ibv_mtu: the most that the sender's port and settings allow */
  uint8_t imm;  /* 1: it takes notices as immediate data, 0: as messages (iWARP) */
};

enum verbs_reject { VERBS_NO_TICKET = 1, VERBS_BUSY = 2, VERBS_NO_ROOM = 3, VERBS_MALFORMED = 4 };

enum verbs_control_type {
  VERBS_PROBE = 1,  /* the first message of a connection, in both directions */
  VERBS_RESUME = 2, /* a: notices received on this lane so far, modulo 2^32. The lane goes on behind them, on this connection */
  VERBS_ASK = 3,    /* rail, a: a key of the receiver's that the sender holds from another rail. What is it called on this connection's? */
  VERBS_ANSWER = 4, /* rail, a: as asked; b: the key here, 0: there is no such region any more */
  VERBS_NOTICE = 5  /* a: notice, b: bytes. Where there is no immediate data; follows the WRITE */
};

struct verbs_control {
  enum verbs_control_type type;
  uint8_t rail;
  uint32_t a, b;
};

void verbs_hello_encode(const struct verbs_hello *h, unsigned char out[VERBS_HELLO_BYTES]);
/* 0, or AGG_EPROTO / AGG_EVERSION with what was expected and what came. len may be more: the CM pads. */
int verbs_hello_decode(struct verbs_hello *h, const void *in, size_t len, agg_error_t *err);
void verbs_reject_encode(enum verbs_reject reason, unsigned char out[VERBS_REJECT_BYTES]);
/* The reason, or 0 when the peer's kernel rejected, or another program. */
int verbs_reject_decode(const void *in, size_t len);
void verbs_control_encode(const struct verbs_control *c, unsigned char out[VERBS_CONTROL_BYTES]);
/* 0, or AGG_EPROTO: too short, an unknown type, or reserved bytes that are not zero. */
int verbs_control_decode(struct verbs_control *c, const unsigned char *in, size_t len);
/* In a time that does not depend on the contents. */
int verbs_ticket_equal(const unsigned char *a, const unsigned char *b);

/* ---- the address blob: where a tp listens, a rail each ----
 *
 *   0      1         2       3
 *   +------+---------+-------+----------+------------------------------------------------------------------------
 *   | 'V'  | version | count | reserved | count x { fabric and family, prefix bits, port (LE 16), 4 or 16 address bytes }
 *   +------+---------+-------+----------+------------------------------------------------------------------------
 *
 * Family, 4 or 6, in the lower half of the byte; enum verbs_fabric in the three bits above; the highest bit: the port was down at the
 * start.
 */
enum verbs_fabric { VERBS_ROCE, VERBS_INFINIBAND, VERBS_IWARP, VERBS_FABRICS };

struct verbs_address {
  struct net_addr at; /* with the port */
  uint8_t prefix;     /* bits of the network part */
  uint8_t fabric;     /* enum verbs_fabric */
  uint8_t down;       /* when the process started: of no use before the port comes up */
};
size_t verbs_address_encode(const struct verbs_address *rails, unsigned n, void *buf);
/* The number of rails, or 0 when the blob is malformed. rails holds VERBS_RAILS_MAX. */
unsigned verbs_address_decode(const void *blob, size_t len, struct verbs_address *rails);
/* Whether a connection between the two can be: fabrics of one kind, addresses of one family. The same seen from either end. */
int verbs_may_meet(const struct verbs_address *a, const struct verbs_address *b);
/* Whether the peer's address lies in the network of the own one. */
int verbs_same_network(const struct verbs_address *own, const struct verbs_address *peer);

#endif
