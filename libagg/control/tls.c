/*
 * TLS 1.3 by OpenSSL with external pre-shared keys and no certificates. Owns contexts and connection objects, turns OpenSSL's errors into
 * ours and leaves its error queue empty. Never touches a socket: bytes pass through memory BIOs, so nothing here can raise SIGPIPE.
 */
#include "tls.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/err.h"

#define TLS_SUITE "TLS_AES_128_GCM_SHA256"

struct tls {
  SSL_CTX *client, *server;
  unsigned n;
  struct token_key keys[];
};

/* A session as OpenSSL wants an external key described: one suite, so one hash. */
static SSL_SESSION *session_of(SSL *ssl, const struct token_key *key) {
  static const unsigned char suite[2] = {0x13, 0x01};
  const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite);
  SSL_SESSION *s = SSL_SESSION_new();
  if (s != NULL && cipher != NULL && SSL_SESSION_set1_master_key(s, key->key, sizeof key->key) && SSL_SESSION_set_cipher(s, cipher) &&
      SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION)) {
    return s;
  }
  SSL_SESSION_free(s);
  return NULL;
}

static int client_key(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len, SSL_SESSION **session) {
  struct tls_conn *c = SSL_get_app_data(ssl);
  const struct token_key *key = &c->tls->keys[c->key];
  (void)md; /* there is one suite, so its hash always fits */
  *session = session_of(ssl, key);
  *id = (const unsigned char *)key->id;
  *id_len = strlen(key->id);
  return *session != NULL;
}

static int server_key(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **session) {
  struct tls_conn *c = SSL_get_app_data(ssl);
  *session = NULL;
  for (unsigned i = 0; i < c->tls->n; i++) {
    if (id_len != TOKEN_ID_CHARS || CRYPTO_memcmp(id, c->tls->keys[i].id, id_len) != 0) continue;
    c->key = i;
    *session = session_of(ssl, &c->tls->keys[i]);
    return *session != NULL;
  }
  c->stranger = 1;
  return 1; /* without a key and without certificates the handshake ends with an alert */
}

static SSL_CTX *context(int server) {
  SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  if (ctx == NULL) return NULL;
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_quiet_shutdown(ctx, 0);
  if (server) {
    SSL_CTX_set_psk_find_session_callback(ctx, server_key);
  } else {
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL); /* no root is loaded: a certificate never passes */
    SSL_CTX_set_psk_use_session_callback(ctx, client_key);
  }
  if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) &&
      SSL_CTX_set_ciphersuites(ctx, TLS_SUITE) && SSL_CTX_set_num_tickets(ctx, 0) && SSL_CTX_set_max_early_data(ctx, 0)) {
    return ctx;
  }
  SSL_CTX_free(ctx);
  return NULL;
}

int tls_create(const struct token_key *keys, unsigned n, struct tls **tls, agg_error_t *err) {
  assert(n >= 1 && n <= TLS_TOKENS_MAX);
  struct tls *t = calloc(1, sizeof *t + n * sizeof t->keys[0]);
  if (t == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  t->n = n;
  memcpy(t->keys, keys, n * sizeof *keys);
  ERR_clear_error();
  t->client = context(0);
  t->server = context(1);
  if (t->client == NULL || t->server == NULL) {
    char why[160];
    ERR_error_string_n(ERR_peek_last_error(), why, sizeof why);
    ERR_clear_error();
    tls_destroy(t);
    return err_set(err, AGG_ESYS, "OpenSSL cannot set up TLS 1.3 with %s: %s", TLS_SUITE, why);
  }
  *tls = t;
  return AGG_OK;
}

void tls_destroy(struct tls *tls) {
  if (tls == NULL) return;
  SSL_CTX_free(tls->client);
  SSL_CTX_free(tls->server);
  OPENSSL_cleanse(tls->keys, tls->n * sizeof tls->keys[0]);
  free(tls);
}

int tls_conn_open(struct tls_conn *c, const struct tls *tls, int server, unsigned key) {
  memset(c, 0, sizeof *c);
  c->tls = tls;
  c->server = (uint8_t)server;
  c->key = key;
  ERR_clear_error();
  c->ssl = SSL_new(server ? tls->server : tls->client);
  c->in = BIO_new(BIO_s_mem());
  c->out = BIO_new(BIO_s_mem());
  if (c->ssl == NULL || c->in == NULL || c->out == NULL) {
    BIO_free(c->in);
    BIO_free(c->out);
    SSL_free(c->ssl);
    ERR_clear_error();
    memset(c, 0, sizeof *c);
    return AGG_ENOMEM;
  }
  BIO_set_mem_eof_return(c->in, -1);
  SSL_set_bio(c->ssl, c->in, c->out);
  SSL_set_app_data(c->ssl, c);
  if (server) {
    SSL_set_accept_state(c->ssl);
  } else {
    SSL_set_connect_state(c->ssl);
  }
  return AGG_OK;
}

void tls_conn_close(struct tls_conn *c) {
  SSL_free(c->ssl); /* takes NULL; frees the BIOs */
  ERR_clear_error();
  memset(c, 0, sizeof *c);
}

/* The peer's alert says that it does not know our key (or knows another one by that name). */
static int is_refused(int reason) {
  return reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE || reason == SSL_R_TLSV1_ALERT_DECRYPT_ERROR ||
         reason == SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER || reason == SSL_R_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY ||
         reason == SSL_R_TLSV1_ALERT_INTERNAL_ERROR;
}

static int handshake_failed(struct tls_conn *c, agg_error_t *err) {
  unsigned long e = ERR_peek_error();
  const char *why = e ? ERR_reason_error_string(e) : NULL;
  int refused = ERR_GET_LIB(e) == ERR_LIB_SSL && is_refused(ERR_GET_REASON(e));
  ERR_clear_error();
  if (c->server && c->stranger) return err_set(err, AGG_EAUTH, "its token is not known here");
  if (!c->server && refused) return err_set(err, AGG_EAUTH, "the tokens differ");
  return err_set(err, AGG_EPROTO, "no TLS 1.3 with a pre-shared key (%s)", why ? why : "unknown reason");
}

int tls_handshake(struct tls_conn *c, agg_error_t *err) {
  ERR_clear_error();
  int rc = SSL_do_handshake(c->ssl);
  if (rc == 1) {
    /* Established without the key (by a certificate) is a peer of another kind. */
    return SSL_session_reused(c->ssl) ? 1 : err_set(err, AGG_EAUTH, "the peer has not shown that it has the token");
  }
  int why = SSL_get_error(c->ssl, rc);
  if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return 0;
  return handshake_failed(c, err);
}

int tls_read(struct tls_conn *c, void *buf, int cap, agg_error_t *err) {
  ERR_clear_error();
  int n = SSL_read(c->ssl, buf, cap);
  if (n > 0) return n;
  int why = SSL_get_error(c->ssl, n);
  if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return 0;
  if (why == SSL_ERROR_ZERO_RETURN) return err_set(err, AGG_ECLOSED, "it ended the connection");
  unsigned long e = ERR_peek_error();
  int refused = !c->server && e && ERR_GET_LIB(e) == ERR_LIB_SSL && is_refused(ERR_GET_REASON(e));
  const char *text = e ? ERR_reason_error_string(e) : NULL;
  err_set(err, refused ? AGG_EAUTH : AGG_EPROTO, refused ? "the tokens differ%s" : "broken TLS record (%s)",
          refused ? ""
          : text  ? text
                  : "unknown reason");
  ERR_clear_error();
  return err ? err->code : AGG_EPROTO;
}

int tls_write(struct tls_conn *c, const void *buf, int n, agg_error_t *err) {
  ERR_clear_error();
  int done = SSL_write(c->ssl, buf, n);
  if (done == n) return AGG_OK;
  ERR_clear_error();
  return err_set(err, AGG_ESYS, "OpenSSL cannot encrypt %d bytes", n);
}

void tls_end(struct tls_conn *c) {
  ERR_clear_error();
  (void)SSL_shutdown(c->ssl);
  ERR_clear_error();
}
