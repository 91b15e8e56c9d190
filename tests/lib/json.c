#include "tests/lib/json.h"

#include <stdlib.h>
#include <string.h>

static const char *blank(const char *p) { return p + strspn(p, " \t\r\n"); }

static const char *json_text(const char *p) {
  if (*p++ != '"') return NULL;
  for (; *p != '"'; p++) {
    if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e) return NULL;
    if (*p != '\\') continue;
    p++;
    if (*p == 'u' && strspn(p + 1, "0123456789abcdef") >= 4)
      p += 4;
    else if (*p == '\0' || strchr("\"\\/bfnrt", *p) == NULL)
      return NULL;
  }
  return p + 1;
}

static const char *number(const char *p) {
  char *end;
  size_t len = strspn(p, "0123456789.e+-"); /* no hexadecimal, no inf */
  (void)strtod(p, &end);
  return end == p + len ? end : NULL;
}

/* What follows the value, or NULL. */
static const char *json_value(const char *p, unsigned depth) {
  char close = *p == '{' ? '}' : ']';
  if (depth > 8) return NULL;
  if (*p == '"') return json_text(p);
  if (strncmp(p, "null", 4) == 0) return p + 4;
  if (*p >= '0' && *p <= '9') return number(p);
  if (*p != '{' && *p != '[') return NULL;
  for (p = blank(p + 1); *p != close;) {
    if (close == '}') {
      if ((p = json_text(p)) == NULL) return NULL;
      p = blank(p);
      if (*p++ != ':') return NULL;
      p = blank(p);
    }
    if ((p = json_value(p, depth + 1)) == NULL) return NULL;
    p = blank(p);
    if (*p == close) break;
    if (*p != ',') return NULL;
    p = blank(p + 1);
    if (*p == close) return NULL;
  }
  return p + 1;
}

int is_json(const char *text) {
  const char *end = json_value(text, 0);
  return end != NULL && *blank(end) == '\0';
}
