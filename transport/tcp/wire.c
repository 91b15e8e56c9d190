/*
 * Owns the bytes of the lane protocol: encoding, decoding and the checks that need no state. Never reads or writes a socket, and
 * never says whether a place may be written (mem.c does).
 */
#include "wire.h"

#include <string.h>

#include "base/err.h"

static const unsigned char magic[4] = {'A', 'G', 'G', 'T'};

static void put_le(unsigned char *out, uint64_t v, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) out[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t get_le(const unsigned char *in, unsigned bytes) {
  uint64_t v = 0;
  for (unsigned i = 0; i < bytes; i++) v |= (uint64_t)in[i] << (8 * i);
  return v;
}

void tcp_hello_encode(const struct tcp_hello *h, unsigned char out[TCP_HELLO_BYTES]) {
  memset(out, 0, TCP_HELLO_BYTES);
  memcpy(out, magic, sizeof magic);
  put_le(out + 4, TCP_VERSION, 2);
  put_le(out + 6, (unsigned)h->kind, 2);
  if (h->kind == TCP_HELLO) memcpy(out + 8, h->ticket, TP_TICKET_BYTES);
  put_le(out + 40, h->window.key, 4);
  put_le(out + 48, h->window.off, 8);
}

int tcp_hello_decode(struct tcp_hello *h, const unsigned char in[TCP_HELLO_BYTES], enum tcp_hello_kind expected, agg_error_t *err) {
  if (memcmp(in, magic, sizeof magic) != 0) {
    return err_set(err, AGG_EPROTO, "expected the greeting of a lane (AGGT), got %02x %02x %02x %02x: not a libagg peer", in[0], in[1],
                   in[2], in[3]);
  }
  unsigned version = (unsigned)get_le(in + 4, 2), kind = (unsigned)get_le(in + 6, 2);
  if (version != TCP_VERSION) {
    return err_set(err, AGG_EVERSION, "the peer speaks version %u of the lane protocol, this end version %d", version, TCP_VERSION);
  }
  if (kind != (unsigned)expected) return err_set(err, AGG_EPROTO, "expected a greeting of kind %d, got kind %u", (int)expected, kind);
  if (get_le(in + 44, 4) != 0 || get_le(in + 56, 8) != 0) return err_set(err, AGG_EPROTO, "reserved bytes of the greeting are not zero");
  h->kind = expected;
  memcpy(h->ticket, in + 8, TP_TICKET_BYTES);
  h->window.key = (uint32_t)get_le(in + 40, 4);
  h->window.off = get_le(in + 48, 8);
  return 0;
}

void tcp_frame_encode(const struct tcp_frame *f, unsigned char out[TCP_FRAME_BYTES]) {
  put_le(out, f->length, 4);
  put_le(out + 4, f->notice, 4);
  put_le(out + 8, f->dst.key, 4);
  put_le(out + 12, 0, 4);
  put_le(out + 16, f->dst.off, 8);
}

int tcp_frame_decode(struct tcp_frame *f, const unsigned char in[TCP_FRAME_BYTES]) {
  if (get_le(in + 12, 4) != 0) return AGG_EPROTO;
  f->length = (uint32_t)get_le(in, 4);
  f->notice = (uint32_t)get_le(in + 4, 4);
  f->dst.key = (uint32_t)get_le(in + 8, 4);
  f->dst.off = get_le(in + 16, 8);
  return 0;
}

int tcp_ticket_equal(const unsigned char *a, const unsigned char *b) {
  unsigned diff = 0;
  for (size_t i = 0; i < TP_TICKET_BYTES; i++) diff |= (unsigned)(a[i] ^ b[i]);
  return diff == 0;
}
