/*
 * The job's token: the file it is read from, the keys derived from it, and the lane tickets derived from a group's secret. Never keeps
 * or logs a token.
 */
#include "token.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/err.h"
#include "base/util.h"

_Static_assert(TP_TICKET_BYTES == 32, "a lane ticket is one HMAC-SHA256");

int token_hmac(const void *key, size_t key_len, const void *data, size_t len, unsigned char out[32]) {
  unsigned n = 0;
  ERR_clear_error();
  if (HMAC(EVP_sha256(), key, (int)key_len, data, len, out, &n) == NULL || n != 32) {
    ERR_clear_error();
    return AGG_ESYS;
  }
  return AGG_OK;
}

int token_derive(const char *token, struct token_key *key, agg_error_t *err) {
  static const char salt[] = "agg control 1", key_info[] = "psk\x01", id_info[] = "id\x01";
  static const char digits[] = "0123456789abcdef";
  unsigned char prk[32], id[32];
  size_t len = strlen(token);
  if (len >= CONTROL_TOKEN_MAX) return err_set(err, AGG_EINVAL, "the token is longer than %d bytes", CONTROL_TOKEN_MAX - 1);
  if (token_hmac(salt, sizeof salt - 1, token, len, prk) || token_hmac(prk, sizeof prk, key_info, sizeof key_info - 1, key->key) ||
      token_hmac(prk, sizeof prk, id_info, sizeof id_info - 1, id)) {
    return err_set(err, AGG_ESYS, "OpenSSL cannot compute HMAC-SHA256");
  }
  for (unsigned i = 0; i < TOKEN_ID_CHARS / 2; i++) {
    key->id[2 * i] = digits[id[i] >> 4];
    key->id[2 * i + 1] = digits[id[i] & 15];
  }
  key->id[TOKEN_ID_CHARS] = '\0';
  OPENSSL_cleanse(prk, sizeof prk);
  return AGG_OK;
}

/* Reads up to cap bytes; returns the number or -1 with errno. */
static ssize_t read_all(int fd, char *buf, size_t cap) {
  size_t have = 0;
  while (have < cap) {
    ssize_t n = read(fd, buf + have, cap - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    have += (size_t)n;
  }
  return (ssize_t)have;
}

static int token_of_line(const char *path, char *line, size_t n, char *token, size_t cap, agg_error_t *err) {
  char *end = memchr(line, '\n', n);
  size_t len = end ? (size_t)(end - line) : n;
  if (len > 0 && line[len - 1] == '\r') len--;
  if (len == 0) return err_set(err, AGG_EINVAL, "token file %s: the first line is empty; write the job's secret into it", path);
  if (len >= CONTROL_TOKEN_MAX || len >= cap) {
    return err_set(err, AGG_EINVAL, "token file %s: the first line is longer than %d bytes", path, CONTROL_TOKEN_MAX - 1);
  }
  if (memchr(line, '\0', len)) return err_set(err, AGG_EINVAL, "token file %s: the first line holds a zero byte; write text", path);
  memcpy(token, line, len);
  token[len] = '\0';
  return AGG_OK;
}

int control_token_read(const char *path, char *token, size_t cap, agg_error_t *err) {
  char line[CONTROL_TOKEN_MAX + 2];
  struct stat st;
  int rc;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return err_sys(err, AGG_ESYS, errno, "token file %s cannot be opened", path);
  if (fstat(fd, &st) != 0) {
    rc = err_sys(err, AGG_ESYS, errno, "token file %s", path);
  } else if (!S_ISREG(st.st_mode)) {
    rc = err_set(err, AGG_EINVAL, "token file %s is not a regular file", path);
  } else if (st.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) {
    rc = err_set(err, AGG_EAUTH, "token file %s can be read or changed by others (mode %04o): chmod 600 %s", path,
                 (unsigned)(st.st_mode & 07777), path);
  } else {
    ssize_t n = read_all(fd, line, sizeof line);
    rc =
        n < 0 ? err_sys(err, AGG_ESYS, errno, "token file %s cannot be read", path) : token_of_line(path, line, (size_t)n, token, cap, err);
  }
  OPENSSL_cleanse(line, sizeof line);
  close(fd);
  return rc;
}

static size_t put_le(unsigned char *out, size_t at, uint64_t v, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) out[at + i] = (unsigned char)(v >> (8 * i));
  return at + bytes;
}

void control_lane_ticket(const struct control_setup *s, uint32_t a, uint32_t b, uint32_t priority, uint32_t lane,
                         unsigned char ticket[TP_TICKET_BYTES]) {
  unsigned char data[64];
  size_t n = 8;
  memcpy(data, "agg lane", 8);
  n = put_le(data, n, s->comm, 4);
  n = put_le(data, n, s->epoch, 2);
  n = put_le(data, n, MIN_OF(a, b), 4);
  n = put_le(data, n, MAX_OF(a, b), 4);
  n = put_le(data, n, priority, 4);
  n = put_le(data, n, lane, 4);
  /* Only an OpenSSL without SHA-256 fails here; token_derive has hashed before, so there is one. A fixed ticket must not open a lane. */
  int rc = token_hmac(s->secret, sizeof s->secret, data, n, ticket);
  assert(rc == AGG_OK);
  (void)rc;
}
