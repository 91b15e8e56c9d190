/* Descriptions when memory runs out: every allocation of reading, writing and putting together fails once, and each time there is an error
 * of its own, nothing is lost (under the address sanitizer), and what was there before is as it was. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "topology/slurm.h"
#include "topology/topo.h"

Suite *make_suite(void);

/* ---- the n-th allocation fails ----------------------------------------------------------------------------------------------------- */

static unsigned left; /* until one fails; 0: none does */

static int fails(void) { return left > 0 && --left == 0; }

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }

void *__real_calloc(size_t count, size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_calloc(size_t count, size_t n) { return fails() ? NULL : __real_calloc(count, n); }

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }

char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__wrap_strdup(const char *s) { return fails() ? NULL : __real_strdup(s); }

/* ---- what is tried ----------------------------------------------------------------------------------------------------------------- */

static const char TEXT[] =
    "topo 1\nnote one\nswitch top\nswitch rack[1-20] parent=top uplink=1G\n"
    "host n[1-20] workers=1 switch=rack1\n  numa 0 cores=0-3\n  nic eth0 speed=1G\n  gpu 0 numa=0\n"
    "host m[1-20] workers=1 switch=rack2\n  nic eth0 speed=2G\n  nic eth1\n  nic eth2\n  nic eth3\n  nic eth4\n";
static const char OTHER[] = "topo 1\nnote two\nswitch top\nswitch more parent=top uplink=1G\nhost o[1-9] workers=1 switch=more\n  gpu 7\n";
static const char CONF[] = "SwitchName=a Nodes=n[1-40]\nSwitchName=b Nodes=m[1-40]\nSwitchName=c Switches=a,b\n";

/* Tries with ever later failures until there is none. try() returns a code, and cleans up after itself. */
static void try_all(int (*try)(agg_error_t *err), unsigned at_least) {
  unsigned n = 0;
  for (int rc = AGG_ENOMEM; rc != AGG_OK;) {
    agg_error_t err = {0};
    left = ++n;
    rc = try(&err);
    int failed = left == 0;
    left = 0;
    if (rc == AGG_OK && failed) { /* a note was lost, which is allowed */
      rc = AGG_ENOMEM;
      continue;
    }
    ck_assert_msg(rc == AGG_OK || rc == AGG_ENOMEM, "allocation %u: %d %s", n, rc, err.text);
    ck_assert_msg(rc == AGG_OK || strstr(err.text, "no memory") != NULL, "allocation %u: %s", n, err.text);
    ck_assert_uint_lt(n, 1000);
  }
  ck_assert_uint_ge(n, at_least);
}

static int try_parse(agg_error_t *err) {
  struct topo t;
  int rc = topo_parse(TEXT, sizeof TEXT - 1, "FILE", &t, err);
  if (rc == AGG_OK) topo_fini(&t);
  return rc;
}

static int try_slurm(agg_error_t *err) {
  struct topo t;
  int rc = slurm_parse(CONF, sizeof CONF - 1, "FILE", 0, &t, err);
  if (rc == AGG_OK) topo_fini(&t);
  return rc;
}

/* Reads without failures. */
static struct topo whole(const char *text) {
  unsigned saved = left;
  struct topo t;
  left = 0;
  ck_assert_int_eq(topo_parse(text, strlen(text), "FILE", &t, NULL), AGG_OK);
  left = saved;
  return t;
}

static char *dump(const struct topo *t) {
  unsigned saved = left;
  char *text;
  left = 0;
  ck_assert_int_eq(topo_dump(t, &text, NULL), AGG_OK);
  left = saved;
  return text;
}

static int try_place(agg_error_t *err) {
  struct topo t = whole(TEXT), fabric;
  unsigned saved = left;
  left = 0;
  ck_assert_int_eq(slurm_parse(CONF, sizeof CONF - 1, "FILE", 0, &fabric, NULL), AGG_OK);
  left = saved;
  char *before = dump(&t);
  int rc = topo_place_on(&t, &fabric, "FILE", err);
  saved = left;
  char *after = dump(&t);
  ck_assert(rc == AGG_OK || strcmp(before, after) == 0);
  left = saved;
  free(before);
  free(after);
  topo_fini(&t);
  topo_fini(&fabric);
  return rc;
}

static int try_join(agg_error_t *err) {
  struct topo t = whole(TEXT), more = whole(OTHER);
  int rc = topo_join(&t, &more, err);
  topo_fini(&t);
  topo_fini(&more);
  return rc;
}

START_TEST(every_allocation_fails_once) {
  try_all(try_parse, 20);
  try_all(try_slurm, 15);
  try_all(try_place, 5);
  try_all(try_join, 3);
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("topo_memory");
  TCase *all = tcase_create("all");
  tcase_add_test(all, every_allocation_fails_once);
  suite_add_tcase(suite, all);
  return suite;
}
