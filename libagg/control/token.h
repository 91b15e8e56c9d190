/* What is derived from a job's token: how a connection names it without giving it away, and the key that proves it. */
#ifndef CONTROL_TOKEN_H
#define CONTROL_TOKEN_H

#include "control.h"

#define TOKEN_KEY_BYTES 32
#define TOKEN_ID_CHARS 32

struct token_key {
  char id[TOKEN_ID_CHARS + 1]; /* hex; goes over the network in plain */
  unsigned char key[TOKEN_KEY_BYTES];
};

/* token "" gives the well-known key, with which only loopback peers may be spoken to. AGG_EINVAL: too long; AGG_ESYS: OpenSSL fails. */
int token_derive(const char *token, struct token_key *key, agg_error_t *err);

/* HMAC-SHA256. 0 or AGG_ESYS. */
int token_hmac(const void *key, size_t key_len, const void *data, size_t len, unsigned char out[32]);

#endif
