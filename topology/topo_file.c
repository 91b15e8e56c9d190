/* Owns the reading of text files: bounded, a line at a time, and refused where they are not text. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/topo_internal.h"

/* All of f, in a buffer that grows: its size is not asked for, since a pipe has none. */
static int read_all(FILE *f, const char *path, char **text, size_t *bytes, agg_error_t *err) {
  char *buf = NULL;
  size_t n = 0, cap = 0;
  do {
    if (n + 1 >= cap) {
      cap = cap == 0 ? 65536 : cap * 2;
      char *grown = realloc(buf, cap);
      if (grown == NULL) {
        free(buf);
        return err_set(err, AGG_ENOMEM, "%s: no memory for %zu bytes of it", path, cap);
      }
      buf = grown;
    }
    errno = 0;
    n += fread(buf + n, 1, cap - 1 - n, f);
  } while (!feof(f) && !ferror(f) && n <= TOPO_FILE_MAX);
  if (ferror(f)) {
    int why = errno;
    free(buf);
    return err_sys(err, AGG_ESYS, why, "%s: cannot be read", path);
  }
  if (n > TOPO_FILE_MAX) {
    free(buf);
    return err_set(err, AGG_ELIMIT, "%s: more than %u MiB: write hosts that are alike as one line, node[1-64]", path, TOPO_FILE_MAX >> 20);
  }
  buf[n] = '\0';
  *text = buf;
  *bytes = n;
  return AGG_OK;
}

int topo_file_read(const char *path, char **text, size_t *bytes, agg_error_t *err) {
  FILE *f = fopen(path, "re");
  if (f == NULL) return err_sys(err, AGG_ESYS, errno, "%s: cannot be opened", path);
  int rc = read_all(f, path, text, bytes, err);
  fclose(f);
  return rc;
}

void topo_lines_init(struct topo_lines *l, const char *text, size_t bytes, const char *source) {
  l->source = source;
  l->at = text;
  l->end = text + bytes;
  l->number = 0;
  l->line[0] = '\0';
}

int topo_lines_fail(const struct topo_lines *l, uint32_t line, int code, agg_error_t *err, const char *fmt, ...) {
  char text[AGG_ERROR_TEXT_MAX]; /* aside first: an argument may point into err->text */
  va_list args;
  va_start(args, fmt);
  if (vsnprintf(text, sizeof text, fmt, args) < 0) text[0] = '\0';
  va_end(args);
  return line > 0 ? err_set(err, code, "%s:%u: %s", l->source, line, text) : err_set(err, code, "%s: %s", l->source, text);
}

#define FAIL(l, ...) topo_lines_fail((l), (l)->number, AGG_EINVAL, err, __VA_ARGS__)

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* Ends the line at a # that starts it or follows a blank. */
static void cut_comment(char *s) {
  for (char *p = s; (p = strchr(p, '#')) != NULL; p++) {
    if (p == s || is_blank(p[-1])) {
      *p = '\0';
      return;
    }
  }
}

int topo_lines_next(struct topo_lines *l, agg_error_t *err) {
  if (l->at == l->end) return 0;
  l->number++;
  size_t left = (size_t)(l->end - l->at);
  const char *newline = memchr(l->at, '\n', left);
  size_t n = newline != NULL ? (size_t)(newline - l->at) : left;
  if (memchr(l->at, '\0', MIN_OF(n, TOPO_LINE_MAX)) != NULL) return FAIL(l, "a zero byte: expected a text file");
  if (n > TOPO_LINE_MAX) return FAIL(l, "the line has %zu characters: at most %u are allowed", n, TOPO_LINE_MAX);
  if (newline == NULL) return FAIL(l, "the file ends in the middle of this line: it was cut off, or end the line with a newline");
  while (n > 0 && is_blank(l->at[n - 1])) n--;
  while (n > 0 && is_blank(*l->at)) {
    l->at++;
    n--;
  }
  memcpy(l->line, l->at, n);
  l->line[n] = '\0';
  l->at = newline + 1;
  cut_comment(l->line); /* so comments may be in any language */
  for (char *p = l->line; *p != '\0'; p++) {
    if (*p == '\t') *p = ' ';
    if (*p < ' ' || *p > '~')
      return FAIL(l, "byte 0x%02x: expected plain text (letters without accents; comments start with #)", (unsigned char)*p);
  }
  for (n = strlen(l->line); n > 0 && l->line[n - 1] == ' '; n--) l->line[n - 1] = '\0';
  return 1;
}
