/* Errors with text: agg_error_t is { code, text }. Whoever decides an error writes the text once; the rest pass the code up. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "agg.h"

/* Writes code and text into *err (which may be NULL) and returns code, so that callers can say `return err_set(...)`. */
int err_set(agg_error_t *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same, with ": <strerror(errno_value)>" appended. */
int err_sys(agg_error_t *err, int code, int errno_value, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Puts "<prefix>: " before the text that is there. Returns err->code, or 0 when err is NULL. */
int err_prefix(agg_error_t *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
