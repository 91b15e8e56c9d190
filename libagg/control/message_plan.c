/* Plans between their encoded form and struct plan. Every count and index from outside is checked here, or by the builders of forests. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "message.h"

struct message_plan {
  Ctl__Plan plan;
  Ctl__Forest forests[PLAN_FORESTS_MAX], *forest_list[PLAN_FORESTS_MAX];
  Ctl__Part parts[PLAN_FORESTS_MAX][FOREST_PARTS_MAX], *part_list[PLAN_FORESTS_MAX][FOREST_PARTS_MAX];
  Ctl__Table tables[OP_KIND_COUNT], *table_list[OP_KIND_COUNT];
  Ctl__Rule rules[OP_KIND_COUNT][PLAN_RULES_MAX], *rule_list[OP_KIND_COUNT][PLAN_RULES_MAX];
  float predicted[PLAN_SIZES * PLAN_FORESTS_MAX];
  uint32_t *sizes; /* of groups, then of racks, then the servers' racks */
};

/* ---- out ------------------------------------------------------------------------------------------------------------------------------
 */

static void put_forests(struct message_plan *m, const struct plan *plan) {
  for (uint32_t i = 0; i < plan->n_forests; i++) {
    const struct forest *f = &plan->forest[i];
    Ctl__Forest *to = m->forest_list[i] = &m->forests[i];
    ctl__forest__init(to);
    for (uint32_t p = 0; p < f->n_parts; p++) {
      Ctl__Part *part = m->part_list[i][p] = &m->parts[i][p];
      ctl__part__init(part);
      part->kind = f->part[p].kind;
      part->arity = f->part[p].arity;
    }
    to->n_parts = f->n_parts;
    to->parts = m->part_list[i];
    to->n_schedule = f->schedule != NULL ? f->period : 0;
    to->schedule = f->schedule;
    to->window = plan->forest_window[i];
  }
  m->plan.n_forests = plan->n_forests;
  m->plan.forests = m->forest_list;
}

static void put_tables(struct message_plan *m, const struct plan *plan) {
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) {
    const struct plan_table *t = &plan->table[kind];
    Ctl__Table *to = m->table_list[kind] = &m->tables[kind];
    ctl__table__init(to);
    for (uint32_t i = 0; i < t->n; i++) {
      Ctl__Rule *r = m->rule_list[kind][i] = &m->rules[kind][i];
      ctl__rule__init(r);
      r->from_bytes = t->rule[i].from_bytes;
      r->forest = t->rule[i].forest;
    }
    to->n_rules = t->n;
    to->rules = m->rule_list[kind];
  }
  m->plan.n_tables = OP_KIND_COUNT;
  m->plan.tables = m->table_list;
}

static void put_predicted(struct message_plan *m, const struct plan *plan) {
  for (uint32_t s = 0; s < PLAN_SIZES; s++)
    for (uint32_t f = 0; f < plan->n_forests; f++) m->predicted[s * plan->n_forests + f] = plan->predicted[s][f];
  m->plan.n_predicted = (size_t)PLAN_SIZES * plan->n_forests;
  m->plan.predicted = m->predicted;
}

static int put_map(struct message_plan *m, const struct forest_map *map) {
  if (map == NULL) return AGG_OK;
  m->sizes = calloc((size_t)map->groups + map->racks + map->servers + 1, sizeof *m->sizes);
  if (m->sizes == NULL) return AGG_ENOMEM;
  uint32_t *groups = m->sizes, *racks = groups + map->groups, *servers = racks + map->racks;
  for (uint32_t i = 0; i < map->groups; i++) groups[i] = map->group_first[i + 1] - map->group_first[i];
  for (uint32_t i = 0; i < map->racks; i++) racks[i] = map->rack_first[i + 1] - map->rack_first[i];
  for (uint32_t i = 0; i < map->servers; i++) servers[i] = map->server_rack[i] == FOREST_NONE ? 0 : map->server_rack[i] + 1;
  m->plan.n_worker_at = map->workers;
  m->plan.worker_at = map->worker_at;
  m->plan.n_group_sizes = map->groups;
  m->plan.group_sizes = groups;
  m->plan.n_rack_sizes = map->racks;
  m->plan.rack_sizes = racks;
  m->plan.n_server_rack = map->servers;
  m->plan.server_rack = servers;
  return AGG_OK;
}

struct message_plan *message_plan_make(const struct plan *plan) {
  struct message_plan *m = calloc(1, sizeof *m);
  if (m == NULL) return NULL;
  ctl__plan__init(&m->plan);
  m->plan.lanes = plan->lanes;
  m->plan.window = plan->window;
  m->plan.chunk_bytes = plan->chunk_bytes;
  m->plan.workers = plan->workers;
  m->plan.servers = plan->servers;
  put_forests(m, plan);
  put_tables(m, plan);
  put_predicted(m, plan);
  m->plan.tunable = plan->tunable;
  m->plan.bound = plan->bound;
  if (put_map(m, plan->map) == AGG_OK) return m;
  message_plan_free(m);
  return NULL;
}

Ctl__Plan *message_plan_body(struct message_plan *m) { return &m->plan; }

void message_plan_free(struct message_plan *m) {
  if (m == NULL) return;
  free(m->sizes);
  free(m);
}

/* ---- in -------------------------------------------------------------------------------------------------------------------------------
 */

static int bad(agg_error_t *err, const char *what) { return err_set(err, AGG_EPROTO, "it sent a plan with a wrong %s", what); }

static int check_tables(const Ctl__Plan *p, agg_error_t *err) {
  if (p->n_tables != OP_KIND_COUNT) return bad(err, "number of tables");
  for (size_t k = 0; k < p->n_tables; k++) {
    const Ctl__Table *t = p->tables[k];
    if (t->n_rules > PLAN_RULES_MAX) return bad(err, "number of size ranges");
    for (size_t i = 0; i < t->n_rules; i++) {
      if (t->rules[i]->forest >= p->n_forests) return bad(err, "forest in a size range");
      if (i == 0 ? t->rules[0]->from_bytes != 0 : t->rules[i]->from_bytes <= t->rules[i - 1]->from_bytes)
        return bad(err, "order of size ranges");
    }
  }
  return AGG_OK;
}

static int check_map(const Ctl__Plan *p, agg_error_t *err) {
  if (p->n_worker_at == 0) return p->n_group_sizes + p->n_rack_sizes + p->n_server_rack == 0 ? AGG_OK : bad(err, "map");
  if (p->n_worker_at != p->workers || p->n_server_rack != p->servers) return bad(err, "number of nodes in its map");
  if (p->n_group_sizes == 0 || p->n_group_sizes > p->workers) return bad(err, "number of hosts in its map");
  if (p->n_rack_sizes == 0 || p->n_rack_sizes > p->n_group_sizes) return bad(err, "number of racks in its map");
  return AGG_OK;
}

int message_plan_check(const Ctl__Plan *p, uint32_t workers, uint32_t servers, agg_error_t *err) {
  if (p == NULL || p->n_forests == 0 || p->n_forests > PLAN_FORESTS_MAX) return bad(err, "number of forests");
  if (p->workers != workers || p->servers != servers) return bad(err, "number of nodes");
  if (p->lanes == 0 || p->lanes > MESSAGE_LANES_MAX) return bad(err, "number of lanes");
  if (p->window == 0 || p->window > MESSAGE_WINDOW_MAX) return bad(err, "window");
  if (p->chunk_bytes == 0 || p->chunk_bytes > MESSAGE_CHUNK_MAX || p->chunk_bytes % 64 != 0) return bad(err, "chunk size");
  for (size_t i = 0; i < p->n_forests; i++) {
    const Ctl__Forest *f = p->forests[i];
    if (f->n_parts == 0 || f->n_parts > FOREST_PARTS_MAX) return bad(err, "number of parts");
    if (f->n_schedule > FOREST_PERIOD_MAX) return bad(err, "schedule");
    if (f->window > p->window) return bad(err, "window of a forest");
    for (size_t k = 0; k < f->n_parts; k++)
      if (f->parts[k]->kind >= FOREST_KIND_COUNT || f->parts[k]->arity > FOREST_ARITY_MAX) return bad(err, "kind of forest");
  }
  if (p->n_predicted != 0 && p->n_predicted != PLAN_SIZES * p->n_forests) return bad(err, "number of predicted times");
  for (size_t i = 0; i < p->n_predicted; i++)
    if (!isfinite(p->predicted[i]) || p->predicted[i] < 0) return bad(err, "predicted time");
  if (!isfinite(p->bound) || p->bound < 0) return bad(err, "bound");
  int rc = check_tables(p, err);
  return rc == AGG_OK ? check_map(p, err) : rc;
}

static int take_map(const Ctl__Plan *p, struct forest_map **map, agg_error_t *err) {
  if (p->n_worker_at == 0) return AGG_OK;
  uint32_t *racks = calloc(p->n_server_rack + 1, sizeof *racks);
  if (racks == NULL) return err_set(err, AGG_ENOMEM, "no memory for a plan");
  for (size_t i = 0; i < p->n_server_rack; i++) racks[i] = p->server_rack[i] == 0 ? FOREST_NONE : p->server_rack[i] - 1;
  int rc = forest_map_take(p->workers, p->servers, p->worker_at, p->group_sizes, (uint32_t)p->n_group_sizes, p->rack_sizes,
                           (uint32_t)p->n_rack_sizes, racks, map, err);
  free(racks);
  return rc;
}

int message_plan_take(const Ctl__Plan *from, struct plan *out, agg_error_t *err) {
  struct plan to = {.workers = from->workers, .servers = from->servers, .lanes = from->lanes, .window = from->window};
  to.chunk_bytes = from->chunk_bytes;
  int rc = take_map(from, &to.map, err);
  while (rc == AGG_OK && to.n_forests < from->n_forests) {
    const Ctl__Forest *f = from->forests[to.n_forests];
    struct forest_spec spec[FOREST_PARTS_MAX];
    for (size_t k = 0; k < f->n_parts; k++)
      spec[k] = (struct forest_spec){.kind = (uint8_t)f->parts[k]->kind, .arity = (uint8_t)f->parts[k]->arity};
    rc = forest_take(&to.forest[to.n_forests], spec, (uint32_t)f->n_parts, to.workers, to.servers, to.map,
                     f->n_schedule != 0 ? f->schedule : NULL, (uint32_t)f->n_schedule, err);
    to.forest_window[to.n_forests] = f->window;
    if (rc == AGG_OK) to.n_forests++;
  }
  for (size_t k = 0; k < from->n_tables; k++) {
    const Ctl__Table *t = from->tables[k];
    to.table[k].n = (uint32_t)t->n_rules;
    for (size_t i = 0; i < t->n_rules; i++)
      to.table[k].rule[i] = (struct plan_rule){.from_bytes = t->rules[i]->from_bytes, .forest = t->rules[i]->forest};
  }
  to.tunable = from->tunable && from->n_predicted != 0;
  to.bound = from->bound;
  for (size_t i = 0; i < from->n_predicted; i++) to.predicted[i / from->n_forests][i % from->n_forests] = from->predicted[i];
  if (rc != AGG_OK) {
    plan_fini(&to);
    if (rc == AGG_ENOMEM) return rc;
    (void)err_prefix(err, "it sent a plan that cannot be");
    if (err != NULL) err->code = AGG_EPROTO;
    return AGG_EPROTO;
  }
  *out = to;
  return AGG_OK;
}
