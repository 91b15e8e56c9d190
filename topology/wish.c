/* What is asked for: the text of AGG_PLAN, and whether it can be at all. Never takes something else instead. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/candidates.h"

#define NAMES "auto, star, direct, ring, tree, hybrid or hier"

static const struct {
  const char *name;
  unsigned classes;
} names[] = {{"auto", PLAN_AUTO}, {"star", PLAN_STAR},     {"direct", PLAN_DIRECT}, {"ring", PLAN_RING},
             {"tree", PLAN_TREE}, {"hybrid", PLAN_HYBRID}, {"hier", PLAN_HIER}};

const char *plan_class_name(unsigned classes) {
  for (size_t i = 0; i < ARRAY_LEN(names); i++) {
    if (names[i].classes == classes) return names[i].name;
  }
  return "?";
}

static unsigned class_of(const char *name) {
  for (size_t i = 0; i < ARRAY_LEN(names); i++) {
    if (strcmp(names[i].name, name) == 0) return names[i].classes;
  }
  return 0;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------ */

/* One range, "from-to:plan" or "from-:plan". *to: UINT64_MAX when open. */
static int parse_range(char *part, const char *whole, struct plan_range *range, uint64_t *to, agg_error_t *err) {
  char *colon = strchr(part, ':'), *dash = strchr(part, '-');
  if (colon == NULL || dash == NULL || dash > colon)
    return err_set(err, AGG_EINVAL,
                   "plan \"%.64s\": \"%.32s\" is no range: expected bytes and a plan, like 0-32K:tree or 32K-:hybrid (AGG_PLAN)", whole,
                   part);
  *colon = *dash = '\0';
  if (parse_bytes(part, UINT64_MAX - 1, &range->from_bytes) != 0)
    return err_set(err, AGG_EINVAL, "plan \"%.64s\": a range begins at \"%.32s\": expected bytes, with K, M or G (AGG_PLAN)", whole, part);
  *to = UINT64_MAX;
  if (dash[1] != '\0' && parse_bytes(dash + 1, UINT64_MAX - 1, to) != 0)
    return err_set(err, AGG_EINVAL,
                   "plan \"%.64s\": a range ends at \"%.32s\": expected bytes, with K, M or G, or nothing in the last (AGG_PLAN)", whole,
                   dash + 1);
  if (*to <= range->from_bytes)
    return err_set(err, AGG_EINVAL, "plan \"%.64s\": the range from %.24s to %.24s is empty: expected a larger end (AGG_PLAN)", whole, part,
                   dash + 1);
  range->classes = class_of(colon + 1);
  if (range->classes == 0)
    return err_set(err, AGG_EINVAL, "plan \"%.64s\": \"%.32s\" is unknown: expected " NAMES " (AGG_PLAN)", whole, colon + 1);
  return AGG_OK;
}

static int add_range(const char *text, char *part, struct plan_wish *wish, uint64_t *end, agg_error_t *err) {
  struct plan_range range;
  uint64_t to;
  if (wish->n > 0 && *end == UINT64_MAX)
    return err_set(err, AGG_EINVAL, "plan \"%.64s\": \"%.32s\" comes after a range without an end: only the last may be open (AGG_PLAN)",
                   text, part);
  if (wish->n == PLAN_RULES_MAX) return err_set(err, AGG_EINVAL, "plan \"%.64s\" has more than %u ranges (AGG_PLAN)", text, PLAN_RULES_MAX);
  int rc = parse_range(part, text, &range, &to, err);
  if (rc != AGG_OK) return rc;
  if (range.from_bytes != *end)
    return err_set(err, AGG_EINVAL, "plan \"%.64s\": a range begins at %llu bytes: expected %llu, where the one before ends (AGG_PLAN)",
                   text, (unsigned long long)range.from_bytes, (unsigned long long)*end);
  wish->range[wish->n++] = range;
  *end = to;
  return AGG_OK;
}

static int parse_ranges(const char *text, struct plan_wish *wish, agg_error_t *err) {
  uint64_t end = 0;
  for (const char *p = text;;) {
    char part[64];
    size_t n = strcspn(p, ",");
    if (n >= sizeof part) return err_set(err, AGG_EINVAL, "plan \"%.64s\": a range of %zu characters (AGG_PLAN)", text, n);
    memcpy(part, p, n);
    part[n] = '\0';
    int rc = add_range(text, part, wish, &end, err);
    if (rc != AGG_OK) return rc;
    if (p[n] == '\0') break;
    p += n + 1;
  }
  if (end != UINT64_MAX)
    return err_set(err, AGG_EINVAL, "plan \"%.64s\" ends at %llu bytes: expected a last range without an end, like %llu-:auto (AGG_PLAN)",
                   text, (unsigned long long)end, (unsigned long long)end);
  return AGG_OK;
}

int plan_wish_parse(const char *text, struct plan_wish *wish, agg_error_t *err) {
  struct plan_wish made = {.n = 1, .range = {{.classes = PLAN_AUTO}}};
  int rc = AGG_OK;
  if (text != NULL && strchr(text, ':') != NULL) {
    made.n = 0;
    rc = parse_ranges(text, &made, err);
  } else if (text != NULL && text[0] != '\0') {
    made.range[0].classes = class_of(text);
    if (made.range[0].classes == 0)
      rc = err_set(err, AGG_EINVAL,
                   "plan \"%.64s\" is unknown: expected " NAMES ", or these by size, like 0-32K:tree,32K-:hybrid (AGG_PLAN)", text);
  }
  if (rc == AGG_OK) *wish = made;
  return rc;
}

int plan_text_check(const char *text, agg_error_t *err) {
  struct plan_wish wish;
  return plan_wish_parse(text, &wish, err);
}

/* ---- what can be ------------------------------------------------------------------------------------------------------------------ */

static int check_class(unsigned classes, const struct fabric *f, const struct forest_map *map, int strict, agg_error_t *err) {
  const char *name = plan_class_name(classes);
  if (classes == PLAN_AUTO) return AGG_OK;
  if ((classes & (PLAN_STAR | PLAN_HYBRID)) && f->servers == 0)
    return err_set(err, AGG_EINVAL, "plan \"%s\" needs a server and none is given: set AGG_SERVERS, or take auto, direct, ring or tree",
                   name);
  if (strict && !(classes & (PLAN_STAR | PLAN_DIRECT | PLAN_HYBRID)))
    return err_set(
        err, AGG_EINVAL,
        "plan \"%s\" does not sum in the order of the ranks, which AGG_REPRODUCIBLE=strict wants: take auto, direct%s, or leave it out",
        name, f->servers != 0 ? ", star or hybrid" : "");
  if ((classes & (PLAN_RING | PLAN_TREE | PLAN_HYBRID | PLAN_HIER)) && f->workers == 1)
    return err_set(err, AGG_EINVAL, "plan \"%s\" needs two workers and there is one: take auto or direct%s", name,
                   f->servers != 0 ? " or star" : "");
  int hosts = map != NULL && map->groups > 1 && map->groups < map->workers,
      hstar = map != NULL && map->groups < map->workers && f->servers != 0;
  int racks = map != NULL && map->racks > 1 && f->servers != 0;
  if (classes == PLAN_HIER && !hosts && !hstar && !racks)
    return err_set(
        err, AGG_EINVAL,
        "plan \"hier\" needs several hosts with several workers each, or racks with servers, and %s: take auto, direct, ring or tree%s",
        fabric_one_host(f) ? "all are on one host"
        : map == NULL      ? "every worker is alone on its host, in one rack"
                           : "there are none",
        f->servers != 0 ? ", star or hybrid" : "");
  return AGG_OK;
}

int plan_wish_check(const struct plan_wish *wish, const struct fabric *f, const struct forest_map *map, int strict, agg_error_t *err) {
  for (uint32_t i = 0; i < wish->n; i++) {
    int rc = check_class(wish->range[i].classes, f, map, strict, err);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}
