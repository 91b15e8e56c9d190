/* Explaining: the candidates again, predicted under the plan's own settings, sorted, with the reason in a sentence. Chooses nothing. */
#include "topology/explain.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/candidates.h"

/* ---- words ------------------------------------------------------------------------------------------------------------------------ */

const char *explain_seconds(double s, char *buf, size_t cap) {
  if (s < 1e-3)
    snprintf(buf, cap, "%.3g us", s * 1e6);
  else if (s < 1)
    snprintf(buf, cap, "%.3g ms", s * 1e3);
  else
    snprintf(buf, cap, "%.4g s", s);
  return buf;
}

const char *explain_bytes(double bytes, char *buf, size_t cap) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  unsigned unit = 0;
  while (bytes >= 1024 && unit + 1 < ARRAY_LEN(units)) bytes /= 1024, unit++;
  snprintf(buf, cap, bytes < 10 && unit > 0 ? "%.2f %s" : "%.4g %s", bytes, units[unit]);
  return buf;
}

static const char *plural(uint32_t n) { return n == 1 ? "" : "s"; }

/* Appends to a text that grows. */
static int append(char **text, agg_error_t *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int append(char **text, agg_error_t *err, const char *fmt, ...) {
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  size_t have = *text != NULL ? strlen(*text) : 0;
  char *grown = n < 0 ? NULL : realloc(*text, have + (size_t)n + 1);
  if (grown != NULL) {
    *text = grown;
    vsnprintf(grown + have, (size_t)n + 1, fmt, again);
  }
  va_end(again);
  va_end(args);
  return grown != NULL ? AGG_OK : err_set(err, AGG_ENOMEM, "explanation: no memory");
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------- */

struct explaining {
  struct candidates all;
  const struct plan *plan;
  unsigned kind, family, classes; /* family of the plan; asked for at this size */
  uint64_t bytes;
};

static int same_forest(const struct forest *a, const struct forest *b) {
  if (a->n_parts != b->n_parts || a->trees != b->trees || (a->schedule == NULL) != (b->schedule == NULL)) return 0;
  for (uint32_t i = 0; i < a->n_parts; i++) {
    if (a->part[i].kind != b->part[i].kind || a->part[i].arity != b->part[i].arity) return 0;
  }
  if (a->schedule == NULL) return 1;
  return a->period == b->period && memcmp(a->schedule, b->schedule, a->period * sizeof *a->schedule) == 0;
}

static unsigned family_of(const struct plan *plan) {
  for (uint32_t i = 0; i < plan->n_forests; i++) {
    switch (plan->forest[i].part[0].kind) {
      case FOREST_STAR:
        return FAMILY_STAR;
      case FOREST_HSTAR:
        return FAMILY_HSTAR;
      case FOREST_RACK:
        return FAMILY_RACK;
      default:
        break;
    }
  }
  return FAMILY_NONE;
}

/* The chosen forest's edges have the slots of the plan, even where it uses fewer. */
static int fill_needs(const struct explaining *x, const struct forest *forest, struct explain_row *row, agg_error_t *err) {
  struct cost_needs needs;
  int rc = cost_needs(&forest, 1, &needs, err);
  if (rc != AGG_OK) return rc;
  uint64_t each = (uint64_t)x->all.lanes * PLAN_PRIORITIES * (row->chosen ? x->plan->window : row->window);
  for (uint32_t i = 0; i < forest_nodes(forest); i++) {
    row->connections = MAX_OF(row->connections, needs.peers[i] * x->all.lanes * PLAN_PRIORITIES);
    row->window_bytes = MAX_OF(row->window_bytes, needs.children[i] * each * (row->chunk_bytes + WIRE_HEADER_BYTES));
  }
  cost_needs_fini(&needs);
  return AGG_OK;
}

static int fill_row(const struct explaining *x, const struct forest *forest, const struct cost_profile *p, uint32_t window,
                    struct explain_row *row, agg_error_t *err) {
  row->chunk_bytes = x->plan->chunk_bytes;
  row->window = window;
  row->depth = p->depth;
  struct cost_setting s = {.lanes = x->plan->lanes, .window = window, .chunk_bytes = x->plan->chunk_bytes};
  row->time = cost_predict(p, &s, x->bytes);
  double bytes = x->kind == OP_BARRIER ? 0 : (double)x->bytes;
  row->nic_up = (uint64_t)(p->nic_up * bytes + 0.5);
  row->nic_down = (uint64_t)(p->nic_down * bytes + 0.5);
  cost_bottleneck(&x->all.f, &row->time, row->limit, sizeof row->limit);
  return fill_needs(x, forest, row, err);
}

static void leave_out(struct explain_row *row, const char *why) {
  row->left_out = 1;
  str_copy(row->limit, sizeof row->limit, why);
}

/* Of a forest of the plan. */
static uint32_t window_of(const struct explaining *x, const struct forest *forest) {
  return plan_window(x->plan, (uint32_t)(forest - x->plan->forest));
}

/* Where a candidate is in the plan; NULL: it is not. */
static const struct forest *in_plan(const struct explaining *x, const struct candidate *c) {
  for (uint32_t i = 0; i < x->plan->n_forests; i++) {
    if (same_forest(&c->forest, &x->plan->forest[i])) return &x->plan->forest[i];
  }
  return NULL;
}

/* The window that a candidate has in the plan, or would have if it were added to it. wants: what it would have alone. */
static int window_beside(const struct explaining *x, const struct candidate *c, uint32_t wants, uint32_t *window, agg_error_t *err) {
  const struct forest *forests[PLAN_FORESTS_MAX + 1], *its = in_plan(x, c);
  uint32_t n = 0, fits = 0;
  *window = its != NULL ? window_of(x, its) : wants;
  if (its != NULL || wants == 0) return AGG_OK;
  while (n < x->plan->n_forests) forests[n] = &x->plan->forest[n], n++;
  forests[n++] = &c->forest;
  int rc = window_together(&x->all, forests, n, x->plan->chunk_bytes, wants, &fits, err);
  *window = MIN_OF(wants, MAX_OF(fits, x->plan->window));
  if (candidate_gains(c)) *window = MAX_OF(*window, window_fitting(&x->all, c->children, x->plan->chunk_bytes, x->plan->window));
  return rc;
}

static int candidate_row(const struct explaining *x, const struct candidate *c, const struct forest *chosen, struct explain_row *row,
                         agg_error_t *err) {
  candidate_name(c, row->name, sizeof row->name);
  if (!c->built) {
    leave_out(row, c->why);
    return AGG_OK;
  }
  row->chosen = same_forest(&c->forest, chosen);
  uint32_t window, wants = candidate_window(&x->all, c, x->plan->chunk_bytes);
  int rc = window_beside(x, c, wants, &window, err);
  if (rc == AGG_OK) rc = fill_row(x, &c->forest, &c->profile[x->kind], MAX_OF(window, 1u), row, err);
  struct cost_setting s = {.lanes = x->plan->lanes, .window = wants, .chunk_bytes = x->plan->chunk_bytes};
  if (window < wants) row->wished = cost_predict(&c->profile[x->kind], &s, x->bytes).seconds;
  if (row->chosen) return rc;
  if (window == 0)
    leave_out(row, "its windows do not fit with the plan's chunks");
  else if (!(c->class & x->classes))
    leave_out(row, "not what AGG_PLAN asks for at this size");
  else if (c->family != FAMILY_NONE && x->family != FAMILY_NONE && c->family != x->family)
    leave_out(row, "its servers have other children than those of the plan");
  return rc;
}

static int by_time(const void *a, const void *b) {
  const struct explain_row *x = a, *y = b;
  if (x->left_out != y->left_out) return x->left_out - y->left_out;
  if (x->time.seconds != y->time.seconds) return x->time.seconds < y->time.seconds ? -1 : 1;
  if (x->chosen != y->chosen) return y->chosen - x->chosen;
  return strcmp(x->name, y->name);
}

/* The plan's own forest, when no candidate is it: predicted all the same. */
static int foreign_row(const struct explaining *x, const struct forest *forest, struct explain_row *row, agg_error_t *err) {
  struct cost_profile p;
  forest_name(forest, row->name, sizeof row->name);
  row->chosen = 1;
  int rc = cost_profile(&x->all.cost, &x->all.f, forest, x->kind, &p, err);
  return rc == AGG_OK ? fill_row(x, forest, &p, window_of(x, forest), row, err) : rc;
}

static int make_rows(const struct explaining *x, const struct forest *chosen, struct explain *e, agg_error_t *err) {
  e->row = calloc(x->all.n + 1, sizeof *e->row);
  if (e->row == NULL) return err_set(err, AGG_ENOMEM, "explanation: no memory");
  int found = 0, rc = AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < x->all.n; i++) {
    struct explain_row *row = &e->row[e->n_rows];
    rc = candidate_row(x, &x->all.c[i], chosen, row, err);
    if (row->chosen && found) continue; /* the same forest twice */
    found |= row->chosen;
    e->n_rows++;
  }
  if (rc == AGG_OK && !found) rc = foreign_row(x, chosen, &e->row[e->n_rows++], err);
  qsort(e->row, e->n_rows, sizeof *e->row, by_time);
  return rc;
}

/* ---- the reason ------------------------------------------------------------------------------------------------------------------- */

static int on_link(const struct explain_row *r) { return r->time.what == COST_LINK_UP || r->time.what == COST_LINK_DOWN; }

static int on_host(const struct explaining *x, const struct explain_row *r) { return x->all.f.link[r->time.at].kind == FABRIC_LINK_HOST; }

/* Whether bytes at NICs are the reason: b is limited by them, and a by no uplink. */
static int nic_counts(const struct explaining *x, const struct explain_row *a, const struct explain_row *b) {
  return on_link(b) && on_host(x, b) && !(on_link(a) && !on_host(x, a));
}

static const char *rest_of(const struct explain_row *r) { return r->time.turns ? "turns up and down add" : "first chunks wait"; }

/* Why a takes less time than b, in half a sentence. */
static void because(const struct explaining *x, const struct explain_row *a, const struct explain_row *b, char *buf, size_t cap) {
  uint64_t nic_a = MAX_OF(a->nic_up, a->nic_down), nic_b = MAX_OF(b->nic_up, b->nic_down);
  char one[32], two[32];
  double hops = b->time.hops - a->time.hops, load = b->time.load - a->time.load, fill = b->time.fill - a->time.fill;
  if (hops >= load && hops >= fill)
    snprintf(buf, cap, "as its way up and down takes %s, not %s", explain_seconds(a->time.hops, one, sizeof one),
             explain_seconds(b->time.hops, two, sizeof two));
  else if (b->time.what == COST_WINDOW)
    snprintf(buf, cap, "as the other waits for its window");
  else if (load >= fill && (double)nic_a < 0.99 * (double)nic_b && nic_counts(x, a, b))
    snprintf(buf, cap, "as %s pass the busiest NIC, not %s", explain_bytes((double)nic_a, one, sizeof one),
             explain_bytes((double)nic_b, two, sizeof two));
  else if (load >= fill)
    snprintf(buf, cap, "as its busiest part works for %s, the other's (%.96s) for %s", explain_seconds(a->time.load, one, sizeof one),
             b->limit, explain_seconds(b->time.load, two, sizeof two));
  else if (a->time.fill <= 0)
    snprintf(buf, cap, "as the other's %s %s", rest_of(b), explain_seconds(b->time.fill, two, sizeof two));
  else if (a->time.turns == b->time.turns)
    snprintf(buf, cap, "as its %s %s, not %s", rest_of(a), explain_seconds(a->time.fill, one, sizeof one),
             explain_seconds(b->time.fill, two, sizeof two));
  else
    snprintf(buf, cap, "as its %s %s, the other's %s %s", rest_of(a), explain_seconds(a->time.fill, one, sizeof one), rest_of(b),
             explain_seconds(b->time.fill, two, sizeof two));
}

/* To those who read them. */
static int as_fast(const struct explain_row *a, const struct explain_row *b) {
  char one[32], two[32];
  return strcmp(explain_seconds(a->time.seconds, one, sizeof one), explain_seconds(b->time.seconds, two, sizeof two)) == 0;
}

/* Of what would be faster than the chosen one if its window fitted beside the plan's. */
static void add_wished(const struct explain_row *chosen, struct explain *e) {
  char time[32];
  for (uint32_t i = 0; i < e->n_rows; i++) {
    const struct explain_row *row = &e->row[i];
    size_t n = strlen(e->reason);
    if (row->left_out || row == chosen || row->wished == 0 || row->wished >= chosen->time.seconds) continue;
    if (row->time.seconds < chosen->time.seconds) continue;
    snprintf(e->reason + n, sizeof e->reason - n, " With a window that does not fit beside the plan's %s would take %s.", row->name,
             explain_seconds(row->wished, time, sizeof time));
    return;
  }
}

static void make_reason(const struct explaining *x, struct explain *e) {
  const struct explain_row *chosen = NULL, *other = NULL;
  char one[32], two[32], why[256];
  for (uint32_t i = 0; i < e->n_rows; i++) {
    const struct explain_row *row = &e->row[i];
    if (row->chosen)
      chosen = row;
    else if (!row->left_out && other == NULL)
      other = row;
  }
  assert(chosen != NULL);
  int n = snprintf(e->reason, sizeof e->reason, "%s takes %s, limited by %s", chosen->name,
                   explain_seconds(chosen->time.seconds, one, sizeof one), chosen->limit);
  char *more = e->reason + MIN_OF((size_t)n, sizeof e->reason - 1);
  size_t room = sizeof e->reason - (size_t)(more - e->reason);
  if (other == NULL) {
    snprintf(more, room, "; %s.", x->classes == PLAN_AUTO ? "nothing else can be" : "nothing else was asked for that can be");
  } else if (as_fast(chosen, other)) {
    snprintf(more, room, "; %s is as fast: either would do.", other->name);
  } else if (other->time.seconds < chosen->time.seconds) {
    snprintf(more, room, "; %s is predicted to take %s, but %s.", other->name, explain_seconds(other->time.seconds, two, sizeof two),
             x->all.one_host ? "within one host a plan that is known to be good is left only for a much faster one"
                             : "the gain does not pay for a change at this size");
  } else {
    because(x, chosen, other, why, sizeof why);
    snprintf(more, room, "; the next, %s, takes %s: %s.", other->name, explain_seconds(other->time.seconds, two, sizeof two), why);
  }
  add_wished(chosen, e);
}

int explain_make(const struct plan_request *request, const struct plan *plan, unsigned kind, uint64_t bytes, struct explain *e,
                 agg_error_t *err) {
  assert(kind < OP_KIND_COUNT);
  struct explaining *x = calloc(1, sizeof *x); /* too large for a thread's stack */
  if (x == NULL) return err_set(err, AGG_ENOMEM, "explanation: no memory");
  struct explain made = {.kind = kind, .bytes = bytes, .memory = request->fabric->memory};
  int rc = candidates_make(&x->all, request, err);
  if (rc == AGG_OK) {
    x->plan = plan;
    x->kind = kind;
    x->bytes = bytes;
    x->family = family_of(plan);
    x->all.lanes = plan->lanes;
    for (uint32_t i = 0; i < x->all.wish.n && x->all.wish.range[i].from_bytes <= bytes; i++) x->classes = x->all.wish.range[i].classes;
    rc = make_rows(x, &plan->forest[plan_forest(plan, kind, bytes)], &made, err);
    if (rc == AGG_OK) make_reason(x, &made);
    fabric_assumptions(&x->all.f, &x->all.cost, made.assumed, sizeof made.assumed);
    candidates_fini(&x->all);
  }
  free(x);
  if (rc == AGG_OK)
    *e = made;
  else
    explain_fini(&made);
  return rc;
}

void explain_fini(struct explain *e) {
  free(e->row);
  *e = (struct explain){0};
}

/* ---- text --------------------------------------------------------------------------------------------------------------------------- */

static int row_text(const struct explain_row *r, char **text, agg_error_t *err) {
  char time[32], up[32], down[32], window[32];
  if (r->left_out && r->time.seconds == 0) return append(text, err, "  %-36s -  left out: %s\n", r->name, r->limit);
  return append(text, err, "%c %-36s %10s %10s %10s %5u %10s %6u  %s%s\n", r->chosen ? '*' : ' ', r->name,
                explain_seconds(r->time.seconds, time, sizeof time), explain_bytes((double)r->nic_up, up, sizeof up),
                explain_bytes((double)r->nic_down, down, sizeof down), r->depth,
                explain_bytes((double)r->window_bytes, window, sizeof window), r->connections, r->left_out ? "left out: " : "", r->limit);
}

int explain_text(const struct explain *e, char **text, agg_error_t *err) {
  char bytes[32];
  int rc =
      append(text, err, "%s of %s%s in %s memory\n\n  %-36s %10s %10s %10s %5s %10s %6s  %s\n", op_kind_name(e->kind),
             explain_bytes((double)e->bytes, bytes, sizeof bytes), e->kind >= OP_REDUCE_SCATTER && e->kind <= OP_SCATTER ? " a block" : "",
             fabric_memory_name(e->memory), "plan", "time", "NIC out", "NIC in", "depth", "window", "conns", "limited by");
  for (uint32_t i = 0; rc == AGG_OK && i < e->n_rows; i++) rc = row_text(&e->row[i], text, err);
  if (rc == AGG_OK) rc = append(text, err, "\n%s\n", e->reason);
  if (rc == AGG_OK && e->assumed[0] != '\0') rc = append(text, err, "%s\n", e->assumed);
  return rc;
}

static int same_table(const struct plan_table *a, const struct plan_table *b) {
  if (a->n != b->n) return 0;
  for (uint32_t i = 0; i < a->n; i++) {
    if (a->rule[i].from_bytes != b->rule[i].from_bytes || a->rule[i].forest != b->rule[i].forest) return 0;
  }
  return 1;
}

const char *explain_forest_name(const struct forest *forest, char *buf, size_t cap) {
  forest_name(forest, buf, cap);
  size_t n = strlen(buf);
  if (forest->n_parts == 1 && forest->schedule != NULL) snprintf(buf + n, cap - n, ", shares by speed");
  return buf;
}

static int table_text(const struct plan *plan, unsigned kind, char **text, agg_error_t *err) {
  const struct plan_table *t = &plan->table[kind];
  char name[96], size[32];
  int rc = AGG_OK;
  for (unsigned k = kind, first = 1; rc == AGG_OK && k < OP_KIND_COUNT; k++) {
    if (!same_table(t, &plan->table[k])) continue;
    rc = append(text, err, "%s%s", first ? "" : ", ", op_kind_name(k));
    first = 0;
  }
  if (rc == AGG_OK && t->n == 0) rc = append(text, err, "\n  %s\n", explain_forest_name(&plan->forest[0], name, sizeof name));
  for (uint32_t i = 0; rc == AGG_OK && i < t->n; i++) {
    rc = append(text, err, "%s  from %-10s %s\n", i == 0 ? "\n" : "", explain_bytes((double)t->rule[i].from_bytes, size, sizeof size),
                explain_forest_name(&plan->forest[t->rule[i].forest], name, sizeof name));
  }
  return rc;
}

int explain_plan(const struct plan *plan, char **text, agg_error_t *err) {
  char chunk[32];
  int rc = append(text, err, "%u worker%s, %u server%s; %u lane%s, window of %u chunks of %s\n", plan->workers, plural(plan->workers),
                  plan->servers, plural(plan->servers), plan->lanes, plural(plan->lanes), plan->window,
                  explain_bytes(plan->chunk_bytes, chunk, sizeof chunk));
  for (unsigned kind = 0; rc == AGG_OK && kind < OP_KIND_COUNT; kind++) {
    int seen = 0;
    for (unsigned k = 0; k < kind; k++) seen |= same_table(&plan->table[k], &plan->table[kind]);
    if (!seen) rc = table_text(plan, kind, text, err);
  }
  return rc;
}
