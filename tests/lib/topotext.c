#include "tests/lib/topotext.h"

#include <check.h>
#include <string.h>

void topotext_parse(const char *text, struct topo *t) {
  agg_error_t err = {0};
  ck_assert_msg(topo_parse(text, strlen(text), "FILE", t, &err) == AGG_OK, "%s\nin\n%s", err.text, text);
}

char *topotext_dump(const struct topo *t) {
  char *text = NULL;
  agg_error_t err = {0};
  ck_assert_msg(topo_dump(t, &text, &err) == AGG_OK, "%s", err.text);
  return text;
}
