/*
 * Owns nothing but the sockets' bytes: a raw peer of the TCP transport is a descriptor that the test closes. Never judges what the other
 * end does, except that what a test builds upon works.
 */
#include "rawtcp.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/tcp/internal.h"

int rawtcp_connect(const struct end *e) {
  struct net_addr addrs[TCP_ADDRS_MAX];
  ck_assert_int_gt(tcp_address_decode(e->address, e->address_len, addrs), 0);
  int s = socket(addrs[0].ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ck_assert_int_ge(s, 0);
  ck_assert_int_eq(connect(s, (struct sockaddr *)&addrs[0].ss, addrs[0].len), 0);
  return s;
}

void rawtcp_send(int s, const void *data, size_t len) {
  const char *at = data;
  while (len > 0) {
    ssize_t n = send(s, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
      turn();
      continue;
    }
    ck_assert_int_gt(n, 0);
    at += n;
    len -= (size_t)n;
  }
}

int rawtcp_ended(int s) {
  char byte;
  ssize_t n = recv(s, &byte, 1, MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN);
}

void rawtcp_hello(uint32_t ticket, unsigned char out[TCP_HELLO_BYTES]) {
  struct tcp_hello h = {.kind = TCP_HELLO, .window = {.key = 5, .off = 6}};
  ticket_of(ticket, h.ticket);
  tcp_hello_encode(&h, out);
}

int rawtcp_lane(struct lane *l, struct end *e, uint32_t ticket) {
  unsigned char hello[TCP_HELLO_BYTES], welcome[TCP_HELLO_BYTES];
  struct tcp_hello w;
  lane_open(l, e, e, ticket, 0, NULL);
  int s = rawtcp_connect(e);
  rawtcp_hello(ticket, hello);
  rawtcp_send(s, hello, sizeof hello);
  UNTIL(l->connected);
  ck_assert_uint_eq(l->window.key, 5);
  ck_assert_uint_eq(l->window.off, 6);
  ck_assert_int_eq(recv(s, welcome, sizeof welcome, MSG_WAITALL), sizeof welcome);
  ck_assert_int_eq(tcp_hello_decode(&w, welcome, TCP_WELCOME, NULL), 0);
  return s;
}

size_t rawtcp_frame(unsigned char out[TCP_FRAME_BYTES], uint32_t len, struct tp_raddr dst, uint32_t notice) {
  struct tcp_frame f = {.length = len, .notice = notice, .dst = dst};
  tcp_frame_encode(&f, out);
  return TCP_FRAME_BYTES;
}

int rawtcp_reset(int s) {
  struct linger l = {.l_onoff = 1};
  ck_assert_int_eq(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
  return close(s);
}
