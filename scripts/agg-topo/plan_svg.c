/* The picture of a plan: what was chosen and why, the fabric with its loads, the trees, and how to read them. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-topo/plan_svg.h"
#include "scripts/agg-topo/svg.h"

#define MARGIN 24.0
#define WIDTH_LEAST 760.0
#define WIDTH_MOST 1140.0
#define TOP 58.0
#define GAP 30.0

struct page {
  const struct planned *p;
  const struct loaded *l;
  const struct explain_row *row; /* the chosen one */
  struct fabric_picture *fabric;
  double width;
};

static const struct explain_row *chosen_row(const struct explain *e) {
  for (uint32_t i = 0; i < e->n_rows; i++) {
    if (e->row[i].chosen) return &e->row[i];
  }
  return NULL;
}

static void scale(struct cost_loads *loads, double bytes) {
  for (uint32_t i = 0; i < loads->n_links; i++) {
    loads->up[i] *= bytes;
    loads->down[i] *= bytes;
  }
}

/* Title and reason. Returns its height. */
static double head(FILE *to, const struct page *g) {
  const struct explain *e = &g->p->explain;
  char text[EXPLAIN_NAME_MAX + 128], words[WORDS_CAP], more[WORDS_CAP];
  double wide = g->width - 2 * MARGIN;
  if (to != NULL) {
    (void)snprintf(text, sizeof text, "%s of %s in %s memory: %s", op_kind_name(e->kind), explain_bytes((double)e->bytes, words, WORDS_CAP),
                   fabric_memory_name(e->memory), g->row->name);
    svg_text_in(to, MARGIN, 34, 18, SVG_START, SVG_INK, 1, wide, text);
    (void)snprintf(text, sizeof text, "%u workers, %u servers; predicted %s; %u lanes, window of %u chunks of %s", g->p->plan.workers,
                   g->p->plan.servers, explain_seconds(g->row->time.seconds, more, WORDS_CAP), g->p->plan.lanes, g->p->plan.window,
                   explain_bytes(g->p->plan.chunk_bytes, words, WORDS_CAP));
    svg_text_in(to, MARGIN, 54, 12, SVG_START, SVG_INK, 0, wide, text);
  }
  return TOP + svg_paragraph(to, MARGIN, TOP + 14, 11, wide, SVG_GREY, e->reason);
}

static double legend_line(FILE *to, double x, double y, const char *colour, double thick, const char *text) {
  svg_line(to, x, y - 4, x + 22, y - 4, colour, thick);
  svg_text(to, x + 28, y, 11, SVG_START, SVG_INK, 0, text);
  return x + 48 + svg_text_width(text, 11, 0);
}

static int shares_hosts(const struct fabric *f) {
  for (uint32_t i = 1; i < f->workers; i++) {
    if (f->node[i].host == f->node[i - 1].host) return 1;
  }
  return 0;
}

static void legend(FILE *to, const struct page *g, double y) {
  double x = legend_line(to, MARGIN, y, "#1c5fa8", 2.5, "link busy up to 50 % of the time");
  x = legend_line(to, x, y, "#b35c00", 4, "up to 85 %");
  x = legend_line(to, x, y, "#c92a2a", 6, "more");
  if (shares_hosts(g->l->f)) {
    svg_dashed_line(to, x, y - 4, x + 22, y - 4, SVG_GREY, 1.3);
    svg_text(to, x + 28, y, 11, SVG_START, SVG_INK, 0, "edge within a host");
  }
  y += 18;
  svg_circle(to, MARGIN + 11, y - 4, 7, SVG_WORKER, SVG_WORKER_EDGE, 1.2);
  svg_text(to, MARGIN + 28, y, 11, SVG_START, SVG_INK, 0, "worker (rank)");
  svg_box(to, MARGIN + 118, y - 11, 15, 14, 3, SVG_SERVER, SVG_SERVER_EDGE, 1.2);
  svg_text(to, MARGIN + 140, y, 11, SVG_START, SVG_INK, 0, "server");
  svg_circle(to, MARGIN + 200, y - 4, 7, "#ffffff", SVG_INK, 3);
  svg_text(to, MARGIN + 214, y, 11, SVG_START, SVG_INK, 0, "root: sums go up to it, results down");
  if (fabric_picture_merged(g->fabric))
    svg_text(to, MARGIN + 420, y, 11, SVG_START, SVG_INK, 0, "a stack stands for several hosts: the busiest's load");
}

static double small_print(FILE *to, const struct page *g, double y) {
  const struct topo *t = &g->p->cluster.topo;
  double wide = g->width - 2 * MARGIN, height = svg_paragraph(to, MARGIN, y, 10.5, wide, SVG_GREY, g->p->explain.assumed);
  for (uint32_t i = 0; i < t->n_notes; i++) height += svg_paragraph(to, MARGIN, y + height, 10.5, wide, SVG_GREY, t->notes[i]);
  return height;
}

static int draw(FILE *to, struct page *g, agg_error_t *err) {
  struct extent fabric = fabric_picture_extent(g->fabric);
  double trees;
  g->width = MIN_OF(MAX_OF(WIDTH_LEAST, fabric.width + 2 * MARGIN), WIDTH_MOST);
  double fabric_top = head(NULL, g) + 22, trees_top = fabric_top + fabric.height + GAP;
  int rc = trees_draw(NULL, g->l, MARGIN, trees_top, g->width - 2 * MARGIN, &trees, err);
  if (rc != AGG_OK) return rc;
  double legend_top = trees_top + trees + 34, end = legend_top + 42;
  svg_begin(to, g->width, end + small_print(NULL, g, end) + 4, g->p->explain.reason);
  (void)head(to, g);
  fabric_picture_draw(to, g->fabric, MARGIN + (g->width - 2 * MARGIN - fabric.width) / 2, fabric_top);
  rc = trees_draw(to, g->l, MARGIN, trees_top, g->width - 2 * MARGIN, &trees, err);
  legend(to, g, legend_top);
  (void)small_print(to, g, end);
  svg_end(to);
  return rc;
}

int plan_svg(FILE *to, const struct args *args, const struct planned *p, agg_error_t *err) {
  struct fabric known;
  struct page page = {.p = p, .row = chosen_row(&p->explain)};
  struct loaded l = {.topo = &p->cluster.topo, .forest = &p->plan.forest[plan_forest(&p->plan, args->op, args->bytes)]};
  int rc = fabric_copy(&known, &p->cluster.fabric, err);
  if (rc != AGG_OK) return rc;
  fabric_assume(&known, &args->cost);
  l.f = &known;
  l.seconds = page.row->time.seconds;
  l.efficiency = cost_efficiency(&args->cost, &known);
  page.l = &l;
  rc = cost_loads_of(&args->cost, &known, l.forest, args->op, 0, &l.loads, err);
  if (rc == AGG_OK) {
    scale(&l.loads, args->op == OP_BARRIER ? 0 : (double)args->bytes);
    rc = fabric_picture_make(&l, &page.fabric, err);
  }
  if (rc == AGG_OK) rc = draw(to, &page, err);
  fabric_picture_free(page.fabric);
  cost_loads_fini(&l.loads);
  fabric_fini(&known);
  return rc;
}
