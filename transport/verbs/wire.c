/*
 * Owns the bytes that two ends exchange while connecting and in control messages: writes them, and checks what comes before anything of
 * it is used. Never looks at a connection.
 */
#include "wire.h"

#include <string.h>

#include "base/err.h"

static void put32(unsigned char *at, uint32_t v) {
  for (int i = 0; i < 4; i++) at[i] = (unsigned char)(v >> 8 * i);
}

static uint32_t get32(const unsigned char *at) {
  uint32_t v = 0;
  for (int i = 3; i >= 0; i--) v = v << 8 | at[i];
  return v;
}

static void put64(unsigned char *at, uint64_t v) {
  put32(at, (uint32_t)v);
  put32(at + 4, (uint32_t)(v >> 32));
}

static uint64_t get64(const unsigned char *at) { return (uint64_t)get32(at + 4) << 32 | get32(at); }

static int all_zero(const unsigned char *at, size_t n) {
  unsigned char any = 0;
  for (size_t i = 0; i < n; i++) any |= at[i];
  return any == 0;
}

/* ---- connecting ---- */

void verbs_hello_encode(const struct verbs_hello *h, unsigned char out[VERBS_HELLO_BYTES]) {
  memset(out, 0, VERBS_HELLO_BYTES);
  out[0] = 'A';
  out[1] = 'V';
  out[2] = VERBS_VERSION;
  out[3] = (unsigned char)h->kind;
  memcpy(out + 4, h->ticket, TP_TICKET_BYTES);
  put32(out + 36, h->window.key);
  put64(out + 40, h->window.off);
  out[48] = h->rail;
  out[49] = h->mtu;
  out[50] = h->imm;
}

int verbs_hello_decode(struct verbs_hello *h, const void *bytes, size_t len, agg_error_t *err) {
  const unsigned char *in = bytes;
  if (in == NULL || len < VERBS_HELLO_BYTES || in[0] != 'A' || in[1] != 'V')
    return err_set(err, AGG_EPROTO, "it is not a connection of libagg's (%zu bytes of private data)", in != NULL ? len : 0);
  if (in[2] != VERBS_VERSION)
    return err_set(err, AGG_EVERSION,
                   "it speaks version %u of the verbs transport, this end version %u: use one release of libagg everywhere", in[2],
                   VERBS_VERSION);
  if (in[3] < VERBS_LANE || in[3] > VERBS_WELCOME || in[48] >= VERBS_RAILS_MAX || in[49] < 1 || in[49] > 5 || in[50] > 1 || in[51] != 0 ||
      (in[3] == VERBS_WELCOME && !all_zero(in + 4, TP_TICKET_BYTES)))
    return err_set(err, AGG_EPROTO, "its greeting is malformed (kind %u, rail %u, mtu %u)", in[3], in[48], in[49]);
  h->kind = (enum verbs_hello_kind)in[3];
  memcpy(h->ticket, in + 4, TP_TICKET_BYTES);
  h->window = (struct tp_raddr){.key = get32(in + 36), .off = get64(in + 40)};
  h->rail = in[48];
  h->mtu = in[49];
  h->imm = in[50];
  return AGG_OK;
}

void verbs_reject_encode(enum verbs_reject reason, unsigned char out[VERBS_REJECT_BYTES]) {
  out[0] = 'A';
  out[1] = 'V';
  out[2] = VERBS_VERSION;
  out[3] = (unsigned char)reason;
}

int verbs_reject_decode(const void *bytes, size_t len) {
  const unsigned char *in = bytes;
  if (in == NULL || len < VERBS_REJECT_BYTES || in[0] != 'A' || in[1] != 'V' || in[3] < VERBS_NO_TICKET || in[3] > VERBS_MALFORMED)
    return 0;
  return in[3];
}

int verbs_ticket_equal(const unsigned char *a, const unsigned char *b) {
  unsigned char differ = 0;
  for (int i = 0; i < TP_TICKET_BYTES; i++) differ |= (unsigned char)(a[i] ^ b[i]);
  return differ == 0;
}

/* ---- control messages ---- */

void verbs_control_encode(const struct verbs_control *c, unsigned char out[VERBS_CONTROL_BYTES]) {
  memset(out, 0, VERBS_CONTROL_BYTES);
  out[0] = (unsigned char)c->type;
  out[1] = c->rail;
  put32(out + 4, c->a);
  put32(out + 8, c->b);
}

int verbs_control_decode(struct verbs_control *c, const unsigned char *in, size_t len) {
  if (len < VERBS_CONTROL_BYTES || in[0] < VERBS_PROBE || in[0] > VERBS_NOTICE) return AGG_EPROTO;
  if (in[1] >= VERBS_RAILS_MAX || !all_zero(in + 2, 2) || !all_zero(in + 12, 20)) return AGG_EPROTO;
  *c = (struct verbs_control){.type = (enum verbs_control_type)in[0], .rail = in[1], .a = get32(in + 4), .b = get32(in + 8)};
  return AGG_OK;
}

/* ---- addresses ---- */

/* Where the host part lies in the socket address. */
static size_t host_at(int family) {
  return family == AF_INET ? offsetof(struct sockaddr_in, sin_addr) : offsetof(struct sockaddr_in6, sin6_addr);
}

size_t verbs_address_encode(const struct verbs_address *rails, unsigned n, void *buf) {
  unsigned char *out = buf;
  size_t at = 4;
  out[0] = 'V';
  out[1] = VERBS_VERSION;
  out[2] = (unsigned char)n;
  out[3] = 0;
  for (unsigned i = 0; i < n; i++) {
    const struct net_addr *a = &rails[i].at;
    size_t bytes = a->ss.ss_family == AF_INET ? 4 : 16;
    uint16_t port = net_port(a);
    out[at++] = (unsigned char)((a->ss.ss_family == AF_INET ? 4 : 6) | rails[i].fabric << 4 | (rails[i].down ? 0x80 : 0));
    out[at++] = rails[i].prefix;
    out[at++] = (unsigned char)port;
    out[at++] = (unsigned char)(port >> 8);
    memcpy(out + at, (const char *)&a->ss + host_at(a->ss.ss_family), bytes);
    at += bytes;
  }
  return at;
}

static void make_addr(struct net_addr *a, int family, const unsigned char *host, uint16_t port) {
  *a = (struct net_addr){0};
  if (family == AF_INET) {
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    memcpy(&in4.sin_addr, host, 4);
    memcpy(&a->ss, &in4, a->len = sizeof in4);
  } else {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    memcpy(&in6.sin6_addr, host, 16);
    memcpy(&a->ss, &in6, a->len = sizeof in6);
  }
}

unsigned verbs_address_decode(const void *blob, size_t len, struct verbs_address *rails) {
  const unsigned char *in = blob;
  if (in == NULL || len < 4 || in[0] != 'V' || in[1] != VERBS_VERSION || in[2] < 1 || in[2] > VERBS_RAILS_MAX || in[3] != 0) return 0;
  unsigned n = in[2];
  size_t at = 4;
  for (unsigned i = 0; i < n; i++) {
    if (len - at < 4) return 0;
    unsigned family = in[at] & 0xf, fabric = in[at] >> 4 & 7;
    if ((family != 4 && family != 6) || fabric >= VERBS_FABRICS) return 0;
    size_t bytes = family == 4 ? 4 : 16;
    uint16_t port = (uint16_t)(in[at + 2] | in[at + 3] << 8);
    if (len - at < 4 + bytes || in[at + 1] > 8 * bytes || port == 0 || all_zero(in + at + 4, bytes)) return 0;
    rails[i].prefix = in[at + 1];
    rails[i].fabric = (uint8_t)fabric;
    rails[i].down = in[at] >> 7;
    make_addr(&rails[i].at, bytes == 4 ? AF_INET : AF_INET6, in + at + 4, port);
    at += 4 + bytes;
  }
  return at == len ? n : 0;
}

int verbs_may_meet(const struct verbs_address *a, const struct verbs_address *b) {
  return a->fabric == b->fabric && a->at.ss.ss_family == b->at.ss.ss_family;
}

int verbs_same_network(const struct verbs_address *own, const struct verbs_address *peer) {
  int family = own->at.ss.ss_family;
  if (family != peer->at.ss.ss_family) return 0;
  const unsigned char *a = (const unsigned char *)&own->at.ss + host_at(family), *b = (const unsigned char *)&peer->at.ss + host_at(family);
  unsigned whole = own->prefix / 8, rest = own->prefix % 8;
  if (memcmp(a, b, whole) != 0) return 0;
  return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}
