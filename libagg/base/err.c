/*
 * Owns the wording of errors: code and text are written in one place, truncated to fit, and never leave an unterminated text.
 * Never logs and never touches errno.
 */
#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

static void set_text(agg_error_t *err, int code, const char *fmt, va_list args) {
  char text[AGG_ERROR_TEXT_MAX]; /* aside first: an argument may point into err->text */
  if (vsnprintf(text, sizeof text, fmt, args) < 0) str_copy(text, sizeof text, agg_status_text(code));
  err->code = code;
  memcpy(err->text, text, strlen(text) + 1);
}

int err_set(agg_error_t *err, int code, const char *fmt, ...) {
  if (err == NULL) return code;
  int saved = errno;
  va_list args;
  va_start(args, fmt);
  set_text(err, code, fmt, args);
  va_end(args);
  errno = saved;
  return code;
}

int err_sys(agg_error_t *err, int code, int errno_value, const char *fmt, ...) {
  if (err == NULL) return code;
  int saved = errno;
  va_list args;
  va_start(args, fmt);
  set_text(err, code, fmt, args);
  va_end(args);
  char buf[128];
  const char *why = strerror_r(errno_value, buf, sizeof buf); /* the GNU one: returns the text */
  size_t used = strlen(err->text);
  (void)snprintf(err->text + used, sizeof err->text - used, ": %s", why);
  errno = saved;
  return code;
}

int err_prefix(agg_error_t *err, const char *fmt, ...) {
  if (err == NULL) return 0;
  int saved = errno;
  char old[AGG_ERROR_TEXT_MAX];
  str_copy(old, sizeof old, err->text);
  va_list args;
  va_start(args, fmt);
  set_text(err, err->code, fmt, args);
  va_end(args);
  size_t used = strlen(err->text);
  (void)snprintf(err->text + used, sizeof err->text - used, ": %s", old);
  errno = saved;
  return err->code;
}
