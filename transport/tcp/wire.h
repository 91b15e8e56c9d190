/*
 * What a lane says over TCP, byte by byte. All numbers are little-endian.
 *
 * The first 64 bytes of a connection, from the active end (kind 1) and, once its ticket was recognised, from the passive end (kind 2):
 *
 *   0        4       6       8                     40       44         48              56            64
 *   +--------+-------+-------+---------------------+--------+----------+---------------+-------------+
 *   | magic  |version| kind  | ticket (32 bytes)   | window | reserved | window offset | reserved    |
 *   | "AGGT" |   1   | 1 | 2 | zero in kind 2      | key    |    0     |               |     0       |
 *   +--------+-------+-------+---------------------+--------+----------+---------------+-------------+
 *
 * Then frames, both ways; each is followed by `length` bytes of payload for place (key, offset):
 *
 *   0        4        8        12         16                24
 *   +--------+--------+--------+----------+-----------------+
 *   | length | notice |  key   | reserved |     offset      |
 *   |        |        |0: none |    0     |                 |
 *   +--------+--------+--------+----------+-----------------+
 */
#ifndef TCP_WIRE_H
#define TCP_WIRE_H

#include "transport.h"

#define TCP_HELLO_BYTES 64
#define TCP_FRAME_BYTES 24
#define TCP_VERSION 1

enum tcp_hello_kind { TCP_HELLO = 1, TCP_WELCOME = 2 };

struct tcp_hello {
  enum tcp_hello_kind kind;
  unsigned char ticket[TP_TICKET_BYTES];
  struct tp_raddr window;
};

struct tcp_frame {
  uint32_t length, notice;
  struct tp_raddr dst;
};

void tcp_hello_encode(const struct tcp_hello *h, unsigned char out[TCP_HELLO_BYTES]);
/* 0, or AGG_EPROTO / AGG_EVERSION with what was expected and what came. */
int tcp_hello_decode(struct tcp_hello *h, const unsigned char in[TCP_HELLO_BYTES], enum tcp_hello_kind expected, agg_error_t *err);

void tcp_frame_encode(const struct tcp_frame *f, unsigned char out[TCP_FRAME_BYTES]);
int tcp_frame_decode(struct tcp_frame *f, const unsigned char in[TCP_FRAME_BYTES]); /* 0, or AGG_EPROTO: reserved bytes are not zero */

/* In a time that does not depend on the contents. */
int tcp_ticket_equal(const unsigned char *a, const unsigned char *b);

#endif
