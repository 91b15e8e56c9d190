/* Lines for people and strings for machines. */
#include "scripts/common/print.h"

#include <string.h>

void print_wrapped(FILE *to, const char *text, unsigned column, unsigned indent, unsigned width) {
  int first = 1;
  while (*text != '\0') {
    unsigned n = (unsigned)strcspn(text, " ");
    if (!first && column + 1 + n > width) {
      fprintf(to, "\n%*s", (int)indent, "");
      column = indent;
      first = 1;
    }
    fprintf(to, "%s%.*s", first ? "" : " ", (int)n, text);
    column += n + !first;
    first = 0;
    text += n;
    text += *text == ' ';
  }
  putc('\n', to);
}

void print_json_string(FILE *to, const char *text) {
  putc('"', to);
  for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
    if (*p == '"' || *p == '\\') {
      fprintf(to, "\\%c", *p);
    } else if (*p < 0x20 || *p >= 0x7f) {
      fprintf(to, "\\u%04x", *p);
    } else {
      putc(*p, to);
    }
  }
  putc('"', to);
}
