/* Owns lists of names with ranges, as Slurm and other cluster tools write them. Keeps no list: names are handed out one by one, so that who
 * takes them sets the limit. Pure. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/topo_internal.h"

#define BRACKETS_MAX 4
#define DIGITS_MAX 9 /* of a number in a range */

struct expansion {
  topo_each_fn each;
  void *user;
  agg_error_t *err;
  const char *item; /* "node[1-8]", for texts; ends at item_end */
  int item_length;
};

#define BAD(x, ...) err_set((x)->err, AGG_EINVAL, __VA_ARGS__)

/* The number at *p, up to `end`. -1: none, or too long. */
static int take_number(const char **p, const char *end, uint64_t *value, int *digits) {
  const char *start = *p;
  *value = 0;
  while (*p < end && **p >= '0' && **p <= '9') *value = *value * 10 + (uint64_t)(*(*p)++ - '0');
  *digits = (int)(*p - start);
  return *digits >= 1 && *digits <= DIGITS_MAX ? 0 : -1;
}

static int expand(const struct expansion *x, char *name, size_t used, const char *rest, const char *end, int depth);

/* One "a-b" or "a" of a bracket, with what follows the bracket. */
static int expand_numbers(const struct expansion *x, char *name, size_t used, const char *from, const char *to, const char *rest,
                          const char *end, int depth) {
  uint64_t first, last;
  int width, digits;
  const char *p = from;
  if (take_number(&p, to, &first, &width) != 0) goto bad;
  last = first;
  if (p < to && *p == '-') {
    p++;
    if (take_number(&p, to, &last, &digits) != 0) goto bad;
  }
  if (p != to) goto bad;
  if (last < first) {
    return BAD(x, "range \"%.*s\" in \"%.*s\" runs backwards: write the smaller number first", (int)(to - from), from, x->item_length,
               x->item);
  }
  if (from[0] != '0') width = 1; /* node[08-12] has two digits each; node[8-12] as many as needed */
  for (uint64_t number = first; number <= last; number++) {
    char digits_text[32];
    int n = snprintf(digits_text, sizeof digits_text, "%0*" PRIu64, width, number);
    if (used + (size_t)n >= TOPO_NAME_CAP)
      return BAD(x, "a name of \"%.*s\" has more than %d characters", x->item_length, x->item, TOPO_NAME_CAP - 1);
    memcpy(name + used, digits_text, (size_t)n);
    int rc = expand(x, name, used + (size_t)n, rest, end, depth + 1);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
bad:
  return BAD(x, "\"%.*s\" in \"%.*s\" is no range: expected numbers like [1-8], [01-16] or [1,3,5-8], of %d digits at most",
             (int)MIN_OF(to - from, 80), from, x->item_length, x->item, DIGITS_MAX);
}

/* name[0..used) is done; rest..end follows. */
static int expand(const struct expansion *x, char *name, size_t used, const char *rest, const char *end, int depth) {
  while (rest < end && *rest != '[') {
    if (*rest == ']') return BAD(x, "\"%.*s\" has a ] without its [: expected a range like node[1-8]", x->item_length, x->item);
    if (used + 1 >= TOPO_NAME_CAP)
      return BAD(x, "a name of \"%.*s\" has more than %d characters", x->item_length, x->item, TOPO_NAME_CAP - 1);
    name[used++] = *rest++;
  }
  if (rest == end) {
    name[used] = '\0';
    return x->each(x->user, name);
  }
  const char *close = memchr(rest, ']', (size_t)(end - rest));
  if (close == NULL) return BAD(x, "\"%.*s\" has a [ without its ]: expected a range like node[1-8]", x->item_length, x->item);
  if (depth == BRACKETS_MAX) return BAD(x, "\"%.*s\" has more than %d ranges", x->item_length, x->item, BRACKETS_MAX);
  for (const char *from = rest + 1;;) {
    const char *comma = memchr(from, ',', (size_t)(close - from));
    const char *to = comma != NULL ? comma : close;
    int rc = expand_numbers(x, name, used, from, to, close + 1, end, depth);
    if (rc != AGG_OK || comma == NULL) return rc;
    from = comma + 1;
  }
}

/* The end of the item that starts here: a comma outside brackets, or the end. */
static const char *item_end(const char *p) {
  int inside = 0;
  for (; *p != '\0' && (*p != ',' || inside); p++) inside = *p == '[' ? 1 : *p == ']' ? 0 : inside;
  return p;
}

int topo_names_expand(const char *pattern, topo_each_fn each, void *user, agg_error_t *err) {
  char name[TOPO_NAME_CAP];
  for (const char *item = pattern;;) {
    const char *end = item_end(item);
    struct expansion x = {.each = each, .user = user, .err = err, .item = item, .item_length = (int)MIN_OF(end - item, 100)};
    if (end == item) return BAD(&x, "\"%.100s\" has an empty name: expected names like node[1-8], with a comma between two", pattern);
    int rc = expand(&x, name, 0, item, end, 0);
    if (rc != AGG_OK || *end == '\0') return rc;
    item = end + 1;
  }
}
