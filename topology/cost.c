/* The constants of the cost model: defaults, overrides from a text, and the text again. Owns no state. */
#include "topology/cost.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

struct constant {
  const char *name;
  uint8_t unit;
  size_t at;
  double value;
  const char *what;
};

static const struct constant constants[] = {
#define COST_ROW(name, unit, value, what) {#name, COST_##unit, offsetof(struct cost, name), value, what},
    COST_CONSTANTS(COST_ROW)
#undef COST_ROW
};

static double *value_of(struct cost *cost, const struct constant *c) { return (double *)(void *)((char *)cost + c->at); }
static double value_in(const struct cost *cost, const struct constant *c) {
  double value;
  memcpy(&value, (const char *)cost + c->at, sizeof value);
  return value;
}

void cost_init(struct cost *cost) {
  for (size_t i = 0; i < ARRAY_LEN(constants); i++) *value_of(cost, &constants[i]) = constants[i].value;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------ */

struct suffix {
  const char *text;
  double factor;
};

static const struct suffix suffixes[][9] = {
    [COST_TIME] = {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}},
    [COST_RATE] = {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"B/s", 1}, {"KB/s", 1e3}, {"MB/s", 1e6}, {"GB/s", 1e9}},
    [COST_BYTES] = {{"", 1}, {"K", 1024}, {"M", 1048576}, {"G", 1073741824}},
    [COST_NUMBER] = {{"", 1}},
};
static const char *const wanted[] = {
    [COST_TIME] = "a time with its unit, like 20us (s, ms, us, ns)",
    [COST_RATE] = "bytes a second, like 10GB/s (K, M, G of 1000)",
    [COST_BYTES] = "bytes, like 512M (K, M, G of 1024)",
    [COST_NUMBER] = "a number",
};

/* What a constant may be: nothing may be negative, and what is divided by not zero. */
static int value_ok(const struct constant *c, double value) {
  if (c->unit == COST_RATE) return value >= 1 && value <= 1e18;
  if (c->unit == COST_TIME) return value >= 0 && value <= 100;
  if (c->unit == COST_BYTES) return value >= 1 && value <= 1e18;
  if (strncmp(c->name, "mtu", 3) == 0) return value >= 128 && value <= 1048576;
  if (strcmp(c->name, "margin") == 0) return value >= 0 && value <= 10;
  return value >= 0 && value <= 1e18;
}

static int read_value(const struct constant *c, const char *text, double *out) {
  size_t digits = strspn(text, "0123456789.");
  if (digits > 0 && (text[digits] == 'e' || text[digits] == 'E')) { /* 4e9, 1e-6s */
    size_t sign = digits + 1 + (text[digits + 1] == '-' || text[digits + 1] == '+');
    size_t more = strspn(text + sign, "0123456789");
    if (more > 0) digits = sign + more;
  }
  char number[64];
  if (digits == 0 || digits >= sizeof number) return -1;
  memcpy(number, text, digits);
  number[digits] = '\0';
  double value;
  if (parse_double(number, 0, 1e30, &value) != 0) return -1;
  for (size_t i = 0; i < ARRAY_LEN(suffixes[0]) && suffixes[c->unit][i].text != NULL; i++) {
    if (strcmp(text + digits, suffixes[c->unit][i].text) != 0) continue;
    value *= suffixes[c->unit][i].factor;
    if (!value_ok(c, value)) return -1;
    *out = value;
    return 0;
  }
  return -1;
}

static int parse_part(struct cost *cost, char *part, agg_error_t *err) {
  char *equals = strchr(part, '=');
  if (equals == NULL) return err_set(err, AGG_EINVAL, "cost constant \"%.40s\": expected name=value, like hop_tcp=20us", part);
  *equals = '\0';
  for (size_t i = 0; i < ARRAY_LEN(constants); i++) {
    const struct constant *c = &constants[i];
    if (strcmp(part, c->name) != 0) continue;
    if (read_value(c, equals + 1, value_of(cost, c)) == 0) return AGG_OK;
    return err_set(err, AGG_EINVAL, "cost constant %s is \"%.40s\": expected %s", c->name, equals + 1, wanted[c->unit]);
  }
  char names[320] = "";
  for (size_t i = 0, at = 0; i < ARRAY_LEN(constants) && at < sizeof names; i++)
    at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i == 0 ? "" : ", ", constants[i].name);
  return err_set(err, AGG_EINVAL, "cost constant \"%.40s\" is unknown: expected one of %s", part, names);
}

int cost_parse(struct cost *cost, const char *text, agg_error_t *err) {
  struct cost made = *cost;
  for (const char *p = text; p != NULL && *p != '\0';) {
    char part[128];
    size_t n = strcspn(p, ",");
    if (n >= sizeof part) return err_set(err, AGG_EINVAL, "cost constant \"%.40s...\" is too long: expected name=value", p);
    memcpy(part, p, n);
    part[n] = '\0';
    int rc = parse_part(&made, part, err);
    if (rc != AGG_OK) return rc;
    p += n + (p[n] == ',');
  }
  *cost = made;
  return AGG_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------ */

/* 15 digits: what is read back is the same number. */
static void format_value(const struct constant *c, double v, char *buf, size_t cap) {
  if (c->unit == COST_TIME)
    snprintf(buf, cap, "%.15gus", v * 1e6);
  else if (c->unit == COST_RATE)
    snprintf(buf, cap, "%.15gGB/s", v * 1e-9);
  else if (c->unit == COST_BYTES && fmod(v, 1048576) == 0)
    snprintf(buf, cap, "%.15gM", v / 1048576);
  else
    snprintf(buf, cap, "%.15g", v);
}

size_t cost_print(const struct cost *cost, int compact, char *buf, size_t cap) {
  size_t at = 0;
  if (cap > 0) buf[0] = '\0';
  for (size_t i = 0; i < ARRAY_LEN(constants); i++) {
    const struct constant *c = &constants[i];
    char value[40];
    format_value(c, value_in(cost, c), value, sizeof value);
    size_t room = at < cap ? cap - at : 0;
    char *to = room > 0 ? buf + at : NULL;
    int n = compact ? snprintf(to, room, "%s%s=%s", i == 0 ? "" : ",", c->name, value)
                    : snprintf(to, room, "%-14s %-12s %s\n", c->name, value, c->what);
    at += (size_t)MAX_OF(n, 0);
  }
  return at;
}

double cost_efficiency(const struct cost *cost, const struct fabric *f) {
  double mtu = f->mtu != 0 ? f->mtu : f->transport == FABRIC_VERBS ? cost->mtu_verbs : cost->mtu;
  if (f->transport == FABRIC_VERBS) return mtu / (mtu + cost->header_verbs + cost->frame);
  return MAX_OF(mtu - cost->header_tcp, 1) / (mtu + cost->frame);
}
