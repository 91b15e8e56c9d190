/*
 * Peers of the TCP transport that are made of sockets alone, and say what a test tells them to say. They know what is said
 * (transport/tcp/internal.h) and keep to none of it by themselves.
 */
#ifndef TESTS_RAWTCP_H
#define TESTS_RAWTCP_H

#include "tests/lib/conform.h"
#include "transport/tcp/internal.h"

/* Connects to the first address of an end. */
int rawtcp_connect(const struct end *e);
/* All of it, with turns of the ends where the socket is full. */
void rawtcp_send(int s, const void *data, size_t len);
/* 1 when the other side has closed (or reset) the connection. */
int rawtcp_ended(int s);
/* Closes it with a reset. */
int rawtcp_reset(int s);
/* Plays the active end of lane `ticket` until it is welcomed. */
int rawtcp_lane(struct lane *l, struct end *e, uint32_t ticket);

/* What the active end of a lane says first, and what stands before the bytes of a put; its length. */
void rawtcp_hello(uint32_t ticket, unsigned char out[TCP_HELLO_BYTES]);
size_t rawtcp_frame(unsigned char out[TCP_FRAME_BYTES], uint32_t len, struct tp_raddr dst, uint32_t notice);

#endif
