/* Reads the token file. The texts of its errors never quote what stands in it. */
#include "tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "control/control.h"

#define FILE_MAX ((size_t)TOKENS_MAX * (CONTROL_TOKEN_MAX + 1))

void tokens_fini(struct tokens *t) {
  for (size_t i = 0; i < t->n; i++) {
    explicit_bzero(t->list[i], strlen(t->list[i]));
    free(t->list[i]);
  }
  memset(t, 0, sizeof *t);
}

static int add(struct tokens *t, const char *token, size_t len, agg_error_t *err) {
  if (t->n == TOKENS_MAX) return err_set(err, AGG_EINVAL, "more than %d tokens", TOKENS_MAX);
  t->list[t->n] = strndup(token, len);
  if (t->list[t->n] == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  t->n++;
  return 0;
}

int tokens_from_text(struct tokens *t, const char *text, agg_error_t *err) {
  memset(t, 0, sizeof *t);
  size_t len = strlen(text);
  if (len >= CONTROL_TOKEN_MAX) {
    return err_set(err, AGG_EINVAL, "AGG_TOKEN has %zu characters: at most %d are allowed", len, CONTROL_TOKEN_MAX - 1);
  }
  if (strpbrk(text, "\r\n") != NULL) return err_set(err, AGG_EINVAL, "AGG_TOKEN spans several lines: give one line");
  return add(t, text, len, err);
}

static int check_file(int fd, const char *path, agg_error_t *err) {
  struct stat st;
  if (fstat(fd, &st) != 0) return err_sys(err, AGG_ESYS, errno, "token file %s", path);
  if (!S_ISREG(st.st_mode)) return err_set(err, AGG_EINVAL, "token file %s is not a regular file", path);
  if ((st.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) != 0) {
    return err_set(err, AGG_EAUTH, "token file %s can be read or written by others (mode %03o): chmod 600 %s", path,
                   (unsigned)(st.st_mode & 0777), path);
  }
  if (st.st_size > (off_t)FILE_MAX) {
    return err_set(err, AGG_EINVAL, "token file %s has %lld bytes: at most %zu (%d tokens) are allowed", path, (long long)st.st_size,
                   FILE_MAX, TOKENS_MAX);
  }
  return 0;
}

static int read_all(int fd, const char *path, char *buf, size_t cap, size_t *len, agg_error_t *err) {
  size_t have = 0;
  while (have < cap) {
    ssize_t n = read(fd, buf + have, cap - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_sys(err, AGG_ESYS, errno, "token file %s", path);
    if (n == 0) break;
    have += (size_t)n;
  }
  *len = have;
  return 0;
}

static int add_lines(struct tokens *t, const char *path, const char *text, size_t len, agg_error_t *err) {
  unsigned line = 0;
  for (size_t at = 0; at < len;) {
    const char *end = memchr(text + at, '\n', len - at);
    size_t n = end != NULL ? (size_t)(end - (text + at)) : len - at;
    line++;
    if (memchr(text + at, '\0', n) != NULL) return err_set(err, AGG_EINVAL, "%s:%u: a zero byte in a token", path, line);
    if (n >= CONTROL_TOKEN_MAX) {
      return err_set(err, AGG_EINVAL, "%s:%u: a token of %zu characters: at most %d are allowed", path, line, n, CONTROL_TOKEN_MAX - 1);
    }
    /* Workers take the first line without a carriage return; so it is read here. */
    size_t keep = n > 0 && text[at + n - 1] == '\r' ? n - 1 : n;
    int rc = keep > 0 ? add(t, text + at, keep, err) : 0;
    if (rc != 0) {
      err_prefix(err, "%s:%u", path, line);
      return rc;
    }
    at += n + 1;
  }
  if (t->n == 0) return err_set(err, AGG_EINVAL, "token file %s is empty: write one token a line into it", path);
  return 0;
}

int tokens_read(struct tokens *t, const char *path, agg_error_t *err) {
  char buf[FILE_MAX];
  size_t len = 0;
  memset(t, 0, sizeof *t);
  /* O_NONBLOCK: a pipe in the file's place must not hold up the start. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return err_sys(err, AGG_ESYS, errno, "token file %s", path);
  int rc = check_file(fd, path, err);
  if (rc == 0) rc = read_all(fd, path, buf, sizeof buf, &len, err);
  close(fd);
  if (rc == 0) rc = add_lines(t, path, buf, len, err);
  explicit_bzero(buf, sizeof buf);
  if (rc != 0) tokens_fini(t);
  return rc;
}
