/* TLS 1.3 with an external pre-shared key per token: contexts, and one connection as bytes in, bytes out. No sockets, no threads. */
#ifndef CONTROL_TLS_H
#define CONTROL_TLS_H

#include <openssl/ssl.h>

#include "token.h"

#define TLS_TOKENS_MAX 64

struct tls; /* the keys of a process (or a server's listener) and their contexts; immutable, so any thread may use it */

/* keys: n >= 1. Owned by the caller (copied). AGG_ESYS: OpenSSL fails; AGG_ENOMEM. */
int tls_create(const struct token_key *keys, unsigned n, struct tls **tls, agg_error_t *err);
void tls_destroy(struct tls *tls); /* takes NULL; all its connections must be gone */

/* One connection. Encrypted bytes go through the two memory BIOs: what came from the socket is written to `in`, what is to be sent is read
 * from `out`. */
struct tls_conn {
  const struct tls *tls;
  SSL *ssl;
  BIO *in, *out; /* the SSL's */
  unsigned key;  /* client: the key to use; server: the key that the peer has, once established */
  uint8_t server;
  uint8_t stranger; /* server: the peer named a key that is not known here */
};

int tls_conn_open(struct tls_conn *c, const struct tls *tls, int server, unsigned key); /* AGG_ENOMEM */
void tls_conn_close(struct tls_conn *c);

/* 1: established; 0: needs more bytes; negative: failed, text in err (AGG_EAUTH: the tokens differ; AGG_EPROTO: not our TLS). */
int tls_handshake(struct tls_conn *c, agg_error_t *err);
/* Plain bytes: the number read, 0: needs more, negative: AGG_ECLOSED (the peer has said that it ends) or AGG_EPROTO. */
int tls_read(struct tls_conn *c, void *buf, int cap, agg_error_t *err);
/* Encrypts all n bytes (at most 16384) into `out`. */
int tls_write(struct tls_conn *c, const void *buf, int n, agg_error_t *err);
/* Tells the peer that nothing follows. */
void tls_end(struct tls_conn *c);

#endif
