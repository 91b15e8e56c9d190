/*
 * The trees in the picture of a plan, each by itself with its root on top: all where there are few, else the first of each part. What does
 * not fit is counted: "+58".
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-topo/plan_svg.h"
#include "scripts/agg-topo/svg.h"

#define TREES_ALL 6u /* so many are all drawn */
#define TREES_MAX 8u
#define DRAWN_MAX 160u
#define UNIT_X 31.0
#define UNIT_Y 46.0
#define RADIUS 12.0
#define TITLE_H 26.0
#define GAP 24.0
#define CHAIN_MAX 6u /* a longer chain is drawn as a ring */
#define RING_MAX 36u
#define NONE UINT32_MAX

struct drawn {
  uint32_t node; /* NONE: stands for `omitted` others */
  uint32_t omitted, parent;
  double x, y;
};

struct limits {
  uint32_t leaves, children, levels; /* of each node; of each node; in all */
};

struct tree {
  const struct loaded *l;
  uint32_t tree;
  struct limits limits;
  uint32_t across; /* leaves that a page has room for */
  uint32_t n;
  int overflow;
  double cursor, width, height;
  struct drawn drawn[DRAWN_MAX];
};

/* ---- which trees ------------------------------------------------------------------------------------------------------------------------
 */

struct chosen {
  uint32_t tree, part, first, trees; /* of its part: the first, and how many */
  double share;                      /* of the tree, or of the part where it stands for that */
  int stands;
};

static double *shares(const struct forest *f) {
  double *share = calloc(f->trees, sizeof *share);
  uint32_t period = MAX_OF(f->period, 1u);
  for (uint32_t i = 0; share != NULL && i < period; i++) share[forest_tree_at(f, i)] += 1.0 / period;
  return share;
}

static uint32_t choose_trees(const struct forest *f, const double *share, struct chosen chosen[TREES_MAX]) {
  uint32_t n = 0, first = 0;
  for (uint32_t p = 0; p < f->n_parts; first += f->part[p++].trees) {
    uint32_t trees = f->part[p].trees, drawn = 0;
    double sum = 0;
    for (uint32_t t = 0; t < trees; t++) sum += share[first + t];
    for (uint32_t t = 0; t < trees; t++) {
      int stands = f->trees > TREES_ALL && f->part[p].kind != FOREST_DTREE;
      if (share[first + t] <= 0 || (stands && drawn > 0) || n == TREES_MAX) continue;
      chosen[n++] = (struct chosen){first + t, p, first, trees, stands ? sum : share[first + t], stands};
      drawn++;
    }
  }
  return n;
}

static void title_of(const struct forest *f, const struct chosen *c, char *buf, size_t cap) {
  const char *kind = forest_kind_name(f->part[c->part].kind);
  if (c->stands && c->trees > 1) {
    (void)snprintf(buf, cap, "%s: the first of %u trees, together %.3g %%", kind, c->trees, 100 * c->share);
  } else {
    (void)snprintf(buf, cap, "%s, tree %u: %.3g %%", kind, c->tree - c->first, 100 * c->share);
  }
}

/* ---- laying out -------------------------------------------------------------------------------------------------------------------------
 */

static uint32_t add(struct tree *t, uint32_t node, uint32_t omitted, uint32_t parent, double x, double y) {
  if (t->n == DRAWN_MAX) {
    t->overflow = 1;
    return DRAWN_MAX - 1;
  }
  t->drawn[t->n] = (struct drawn){node, omitted, parent, x, y};
  t->height = MAX_OF(t->height, y + RADIUS);
  return t->n++;
}

static double next_x(struct tree *t) { return UNIT_X / 2 + UNIT_X * t->cursor++; }

static uint32_t count_below(const struct tree *t, uint32_t node) {
  const struct forest *f = t->l->forest;
  uint32_t n = 1, children = forest_n_children(f, t->tree, node);
  for (uint32_t i = 0; i < children; i++) n += count_below(t, forest_child(f, t->tree, node, i));
  return n;
}

/* The node and what is below it. Depth: as the tree's, which is no chain. Returns where it is. */
static uint32_t place(struct tree *t, uint32_t node, uint32_t parent, uint32_t level) {
  const struct forest *f = t->l->forest;
  uint32_t children = forest_n_children(f, t->tree, node), leaves = 0, shown = 0, omitted = 0, first = NONE, last = NONE;
  double y = RADIUS + 2 + level * UNIT_Y;
  uint32_t self = add(t, node, 0, parent, 0, y);
  for (uint32_t i = 0; i < children && !t->overflow; i++) {
    uint32_t child = forest_child(f, t->tree, node, i);
    int leaf = forest_n_children(f, t->tree, child) == 0;
    if (level + 1 >= t->limits.levels || shown >= t->limits.children || (leaf && leaves >= t->limits.leaves)) {
      omitted += count_below(t, child);
      continue;
    }
    leaves += (uint32_t)leaf;
    shown++;
    last = place(t, child, self, level + 1);
    if (first == NONE) first = last;
  }
  if (omitted > 0) {
    last = add(t, NONE, omitted, self, next_x(t), y + UNIT_Y);
    if (first == NONE) first = last;
  }
  t->drawn[self].x = first == NONE ? next_x(t) : (t->drawn[first].x + t->drawn[last].x) / 2;
  return self;
}

static void lay_out_tree(struct tree *t) {
  static const struct limits tries[] = {{99, 99, 10}, {16, 99, 10}, {8, 99, 10}, {3, 99, 10}, {1, 99, 10}, {1, 8, 8},
                                        {1, 4, 8},    {1, 8, 4},    {1, 4, 4},   {1, 4, 3},   {1, 2, 3}};
  for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
    t->limits = tries[i];
    t->n = 0;
    t->overflow = 0;
    t->cursor = t->height = 0;
    place(t, forest_root(t->l->forest, t->tree), NONE, 0);
    if (!t->overflow && t->cursor <= t->across) break;
  }
  t->width = t->cursor * UNIT_X;
}

/* A chain around: from the root at the top to its child, and so on to the leaf, which comes before the root. */
static void lay_out_ring(struct tree *t) {
  const struct forest *f = t->l->forest;
  uint32_t n = f->part[0].workers, shown = MIN_OF(n, RING_MAX), node = forest_root(f, t->tree), parent = NONE;
  uint32_t before = n > RING_MAX ? RING_MAX / 2 : n, at = 0;
  double radius = MAX_OF(46.0, shown * (2 * RADIUS + 8) / (2 * M_PI));
  t->n = 0;
  t->overflow = 0;
  t->height = 0;
  for (uint32_t i = 0; i < n; i++) {
    int kept = i < before || i >= n - (RING_MAX - before - 1) || n <= RING_MAX, gap = n > RING_MAX && i == before;
    if (kept || gap) {
      double angle = 2 * M_PI * at++ / shown;
      parent = add(t, kept ? node : NONE, n - (RING_MAX - 1), parent, radius + RADIUS + 2 + radius * sin(angle),
                   radius + RADIUS + 2 - radius * cos(angle));
    }
    if (i + 1 < n) node = forest_child(f, t->tree, node, 0);
  }
  t->width = 2 * (radius + RADIUS + 2);
}

static void lay_out(struct tree *t, unsigned kind) {
  if (kind == FOREST_RING && t->l->forest->part[0].workers > CHAIN_MAX) {
    lay_out_ring(t);
  } else {
    lay_out_tree(t);
  }
}

/* ---- drawing ----------------------------------------------------------------------------------------------------------------------------
 */

static int same_host(const struct tree *t, uint32_t a, uint32_t b) {
  return a != NONE && b != NONE && t->l->f->node[a].host == t->l->f->node[b].host;
}

static void draw_edges(FILE *to, const struct tree *t, double x, double y) {
  for (uint32_t i = 0; i < t->n; i++) {
    const struct drawn *d = &t->drawn[i];
    if (d->parent == NONE) continue;
    const struct drawn *p = &t->drawn[d->parent];
    if (same_host(t, d->node, p->node)) {
      svg_dashed_line(to, x + d->x, y + d->y, x + p->x, y + p->y, SVG_GREY, 1.3);
    } else {
      svg_line(to, x + d->x, y + d->y, x + p->x, y + p->y, SVG_GREY, 1.6);
    }
  }
}

static void draw_node(FILE *to, const struct tree *t, const struct drawn *d, double x, double y) {
  uint32_t workers = t->l->f->workers;
  char text[16];
  double thick = d->parent == NONE ? 3 : 1.2;
  if (d->node == NONE) {
    (void)snprintf(text, sizeof text, "+%u", d->omitted);
    svg_box(to, x - 14, y - 9, 28, 18, 9, "#ffffff", SVG_LINE, 1);
  } else if (d->node >= workers) {
    (void)snprintf(text, sizeof text, "S%u", d->node - workers);
    svg_box(to, x - 13, y - 11, 26, 22, 3, SVG_SERVER, SVG_SERVER_EDGE, thick);
  } else {
    (void)snprintf(text, sizeof text, "%u", d->node);
    svg_circle(to, x, y, RADIUS, SVG_WORKER, SVG_WORKER_EDGE, thick);
  }
  svg_text(to, x, y + 3.5, strlen(text) > 4 ? 8 : 10, SVG_MIDDLE, d->node == NONE ? SVG_GREY : SVG_INK, d->parent == NONE, text);
}

static void draw_tree(FILE *to, const struct tree *t, const char *title, double x, double y, double width) {
  double at_x = x + (width - t->width) / 2, at_y = y + TITLE_H;
  svg_text_in(to, x + width / 2, y + 14, 11.5, SVG_MIDDLE, SVG_INK, 1, width, title);
  draw_edges(to, t, at_x, at_y);
  for (uint32_t i = 0; i < t->n; i++) draw_node(to, t, &t->drawn[i], at_x + t->drawn[i].x, at_y + t->drawn[i].y);
}

int trees_draw(FILE *to, const struct loaded *l, double x, double y, double width, double *height, agg_error_t *err) {
  struct chosen chosen[TREES_MAX];
  double *share = shares(l->forest), at = x, top = y, row = 0;
  struct tree *t = calloc(1, sizeof *t);
  if (share == NULL || t == NULL) {
    free(share);
    free(t);
    return err_set(err, AGG_ENOMEM, "no memory for a picture of %u trees", l->forest->trees);
  }
  uint32_t n = choose_trees(l->forest, share, chosen);
  for (uint32_t i = 0; i < n; i++) {
    char title[96];
    *t = (struct tree){.l = l, .tree = chosen[i].tree, .across = (uint32_t)(width / UNIT_X)};
    lay_out(t, l->forest->part[chosen[i].part].kind);
    title_of(l->forest, &chosen[i], title, sizeof title);
    double wide = n == 1 ? width : MAX_OF(t->width, svg_text_width(title, 11.5, 1) + 4);
    if (at > x && at + wide > x + width) {
      at = x;
      top += row + GAP;
      row = 0;
    }
    if (to != NULL) draw_tree(to, t, title, at, top, wide);
    at += wide + GAP;
    row = MAX_OF(row, t->height + TITLE_H);
  }
  *height = top + row - y;
  free(share);
  free(t);
  return AGG_OK;
}
