/*
 * The fabric in the picture of a plan: switches as bars, hosts as boxes, between them their links with what passes each way. Where there
 * are more hosts than a page has room for, those that are alike become one box, then those that are nearly so; it shows the busiest.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-topo/plan_svg.h"
#include "scripts/agg-topo/svg.h"

#define LEAVES_MAX 7u
#define LEVELS_MAX 8u
#define LEAF_W 150.0
#define LINK_H 58.0
#define BAR_H 38.0
#define HOST_H 44.0
#define NONE UINT32_MAX

/* What may be taken together: nothing; hosts that are alike; switches that are alike; what has the same shape; what has the same roles. */
enum { KEEP_ALL, ALIKE_HOSTS, ALIKE_SWITCHES, SAME_SHAPE, SAME_ROLES, LOOSENESS_COUNT };

/* A link with what hangs on it, and those that it stands for. Its index is the link's. */
struct box {
  uint32_t count, last;       /* how many; the last of them */
  uint32_t first_child, next; /* NONE */
  uint32_t n_children;
  uint32_t workers, servers; /* below each of them */
  uint32_t rank, server;     /* the first on a host */
  int even;                  /* all it stands for have as many workers and servers */
  double up, down;           /* bytes through the busiest's link */
  double rate, share;        /* busy for this part of the time */
  uint32_t leaves, levels;
};

struct fabric_picture {
  const struct loaded *l;
  struct box *box; /* by link */
  int looseness;
};

/* ---- gathering --------------------------------------------------------------------------------------------------------------------------
 */

static void fill_box(struct fabric_picture *p, uint32_t link) {
  const struct loaded *l = p->l;
  struct box *b = &p->box[link];
  *b = (struct box){.count = 1, .last = link, .first_child = NONE, .next = NONE, .rank = NONE, .server = NONE, .even = 1};
  b->up = l->loads.up[link];
  b->down = l->loads.down[link];
  b->rate = l->f->link[link].bytes_per_s;
  if (b->rate > 0 && l->seconds > 0) b->share = MAX_OF(b->up, b->down) / (b->rate * l->efficiency) / l->seconds;
}

static void fill_nodes(struct fabric_picture *p) {
  const struct fabric *f = p->l->f;
  for (uint32_t i = 0; i < fabric_nodes(f); i++) {
    struct box *b = &p->box[f->node[i].host];
    if (i < f->workers) {
      if (b->workers++ == 0) b->rank = i;
    } else if (b->servers++ == 0) {
      b->server = i - f->workers;
    }
  }
}

static int near(double a, double b) { return fabs(a - b) <= 0.02 * MAX_OF(fabs(a), fabs(b)); }

static int same_roles(const struct box *a, const struct box *b) {
  return (a->workers != 0) == (b->workers != 0) && (a->servers != 0) == (b->servers != 0);
}

static int is_alike(const struct fabric_picture *p, uint32_t x, uint32_t y) {
  const struct box *a = &p->box[x], *b = &p->box[y];
  int host = p->l->f->link[x].kind == FABRIC_LINK_HOST;
  if (p->l->f->link[x].kind != p->l->f->link[y].kind || a->levels != b->levels || !same_roles(a, b)) return 0;
  if (p->looseness < (host ? ALIKE_HOSTS : ALIKE_SWITCHES)) return 0;
  if (p->looseness == SAME_ROLES || (host && p->looseness == SAME_SHAPE)) return 1;
  if (p->looseness <= ALIKE_SWITCHES &&
      (a->workers != b->workers || a->servers != b->servers || !near(a->rate, b->rate) || !near(a->up, b->up) || !near(a->down, b->down)))
    return 0;
  if (a->n_children != b->n_children) return 0;
  uint32_t i = a->first_child, j = b->first_child; /* no deeper than LEVELS_MAX */
  for (; i != NONE && j != NONE; i = p->box[i].next, j = p->box[j].next) {
    if (!is_alike(p, i, j) || (p->looseness < SAME_SHAPE && p->box[i].count != p->box[j].count)) return 0;
  }
  return 1;
}

/* `link`, which comes before all that `into` stands for, becomes part of it; the busier of both is what is shown. */
static void take_in(struct fabric_picture *p, uint32_t into, uint32_t link) {
  struct box *a = &p->box[into], *b = &p->box[link];
  struct box merged = b->share >= a->share ? *b : *a;
  merged.count = a->count + b->count;
  merged.last = a->last;
  merged.rank = b->rank;
  merged.server = b->server;
  merged.even = a->even && b->even && a->workers == b->workers && a->servers == b->servers;
  merged.next = a->next;
  *b = merged; /* the first of them has the name */
}

/* Hangs the box on its parent's list, at the front, or into one that is alike. 0: there are too many. */
static int hang(struct fabric_picture *p, uint32_t link) {
  struct box *parent = &p->box[p->l->f->link[link].parent], *b = &p->box[link];
  parent->workers += b->workers;
  parent->servers += b->servers;
  parent->levels = MAX_OF(parent->levels, b->levels + 1);
  for (uint32_t *at = &parent->first_child; *at != NONE; at = &p->box[*at].next) {
    if (!is_alike(p, *at, link)) continue;
    take_in(p, *at, link);
    *at = link;
    return 1;
  }
  b->next = parent->first_child;
  parent->first_child = link;
  return ++parent->n_children <= LEAVES_MAX;
}

/* Links from the last to the first: all below one have been hung on it when its turn comes. */
static int gather(struct fabric_picture *p) {
  const struct fabric *f = p->l->f;
  for (uint32_t i = 0; i < f->n_links; i++) fill_box(p, i);
  fill_nodes(p);
  for (uint32_t i = f->n_links; i-- > 1;) {
    struct box *b = &p->box[i];
    for (uint32_t c = b->first_child; c != NONE; c = p->box[c].next) b->leaves += p->box[c].leaves;
    if (b->first_child == NONE) b->leaves = 1;
    if (b->levels >= LEVELS_MAX) {
      p->box[0].levels = b->levels + 1;
      return 0;
    }
    if (!hang(p, i)) return 0;
  }
  struct box *core = &p->box[FABRIC_CORE];
  for (uint32_t c = core->first_child; c != NONE; c = p->box[c].next) core->leaves += p->box[c].leaves;
  return core->leaves <= LEAVES_MAX;
}

int fabric_picture_make(const struct loaded *l, struct fabric_picture **picture, agg_error_t *err) {
  struct fabric_picture *p = calloc(1, sizeof *p);
  struct box *box = calloc(l->f->n_links, sizeof *box);
  if (p == NULL || box == NULL) {
    free(p);
    free(box);
    return err_set(err, AGG_ENOMEM, "no memory for a picture of %u links", l->f->n_links);
  }
  p->l = l;
  p->box = box;
  int done = 0;
  for (; !done && p->looseness < LOOSENESS_COUNT && box[FABRIC_CORE].levels <= LEVELS_MAX; p->looseness += !done) done = gather(p);
  if (!done) {
    fabric_picture_free(p);
    return err_set(err, AGG_ELIMIT, "--svg: the switches have more than %u levels or kinds: a picture cannot show them", LEVELS_MAX);
  }
  *picture = p;
  return AGG_OK;
}

void fabric_picture_free(struct fabric_picture *p) {
  if (p == NULL) return;
  free(p->box);
  free(p);
}

/* ---- drawing ----------------------------------------------------------------------------------------------------------------------------
 */

struct extent fabric_picture_extent(const struct fabric_picture *p) {
  const struct box *core = &p->box[FABRIC_CORE];
  return (struct extent){core->leaves * LEAF_W, BAR_H + (core->levels - 1) * (BAR_H + LINK_H) + LINK_H + HOST_H};
}

int fabric_picture_merged(const struct fabric_picture *p) {
  for (uint32_t i = 1; i < p->l->f->n_links; i++) {
    if (p->box[i].count > 1) return 1;
  }
  return 0;
}

static const char *load_colour(double share) { return share > 0.85 ? "#c92a2a" : share > 0.5 ? "#b35c00" : "#1c5fa8"; }

/* One way: its line, and beside it what passes and how much of the time the line is busy. */
static void draw_way(FILE *to, double x, double y, const struct fabric_picture *p, const struct box *b, int up) {
  double bytes = up ? b->up : b->down, share = 0, side = up ? -4 : 4;
  char text[WORDS_CAP + 8], words[WORDS_CAP];
  enum svg_anchor anchor = up ? SVG_END : SVG_START;
  if (b->rate > 0 && p->l->seconds > 0) share = bytes / (b->rate * p->l->efficiency) / p->l->seconds;
  svg_line(to, x + side, y, x + side, y + LINK_H, load_colour(share), 1.5 + 4.5 * MIN_OF(share, 1.0));
  (void)snprintf(text, sizeof text, "%s %s", up ? "out" : "in", explain_bytes(bytes, words, WORDS_CAP));
  svg_text(to, x + 2.4 * side, y + LINK_H / 2 - 3, 10.5, anchor, SVG_INK, 0, text);
  (void)snprintf(text, sizeof text, "%.0f %%", 100 * share);
  svg_text(to, x + 2.4 * side, y + LINK_H / 2 + 11, 10.5, anchor, load_colour(share), 1, text);
}

static void box_name(const struct fabric_picture *p, uint32_t link, char *buf, size_t cap) {
  const struct box *b = &p->box[link];
  const struct fabric_link *l = p->l->f->link;
  if (b->count == 1) {
    str_copy(buf, cap, l[link].name);
  } else {
    (void)snprintf(buf, cap, "%s%s%s", l[link].name, b->count == 2 ? ", " : " ... ", l[b->last].name);
  }
}

static int say(char *buf, size_t cap, const char *what, uint32_t first, uint32_t n) {
  if (n == 0) return snprintf(buf, cap, "%s", "");
  return n == 1 ? snprintf(buf, cap, "%s %u", what, first) : snprintf(buf, cap, "%ss %u-%u", what, first, first + n - 1);
}

static void roles(const struct box *b, char *buf, size_t cap) {
  if (b->count == 1) {
    int n = say(buf, cap, "rank", b->rank, b->workers);
    if (b->workers > 0 && b->servers > 0) n += snprintf(buf + n, cap - (size_t)n, ", ");
    say(buf + n, cap - (size_t)n, "server", b->server, b->servers);
  } else if (!b->even) {
    (void)snprintf(buf, cap, "%u hosts", b->count);
  } else {
    int n = snprintf(buf, cap, "%u hosts, ", b->count);
    if (b->workers > 0) n += snprintf(buf + n, cap - (size_t)n, "%u rank%s", b->workers, b->workers == 1 ? "" : "s");
    if (b->servers > 0)
      n += snprintf(buf + n, cap - (size_t)n, "%s%u server%s", b->workers > 0 ? " + " : "", b->servers, b->servers == 1 ? "" : "s");
    (void)snprintf(buf + n, cap - (size_t)n, " each");
  }
}

static void draw_host(FILE *to, const struct fabric_picture *p, uint32_t link, double x, double y) {
  const struct box *b = &p->box[link];
  char name[2 * FABRIC_NAME_MAX + 8], text[96];
  const char *fill = b->workers > 0 ? SVG_WORKER : SVG_SERVER, *edge = b->servers > 0 ? SVG_SERVER_EDGE : SVG_WORKER_EDGE;
  for (uint32_t i = MIN_OF(b->count, 3u); i-- > 0;) /* a stack, where it stands for several */
    svg_box(to, x + 8 + 3 * i, y + 3 * i, LEAF_W - 22, HOST_H - 6, 5, fill, edge, 1.2);
  box_name(p, link, name, sizeof name);
  roles(b, text, sizeof text);
  svg_text_in(to, x + 8 + (LEAF_W - 22) / 2, y + 16, 12, SVG_MIDDLE, SVG_INK, 1, LEAF_W - 28, name);
  svg_text_in(to, x + 8 + (LEAF_W - 22) / 2, y + 31, 10.5, SVG_MIDDLE, SVG_INK, 0, LEAF_W - 28, text);
}

static const char *core_name(const struct loaded *l) {
  for (uint32_t i = 0; i < l->topo->n_switches; i++) {
    if (l->topo->switches[i].parent == TOPO_NONE) return l->topo->switches[i].name;
  }
  return "network";
}

static void draw_switch(FILE *to, const struct fabric_picture *p, uint32_t link, double x, double y) {
  const struct box *b = &p->box[link];
  char name[2 * FABRIC_NAME_MAX + 8], uplink[WORDS_CAP + 32], speed[WORDS_CAP];
  double wide = b->leaves * LEAF_W, middle = x + wide / 2;
  svg_box(to, x + 6, y, wide - 12, BAR_H, 5, "#e4e7eb", SVG_GREY, 1.2);
  if (link == FABRIC_CORE) {
    svg_text_in(to, middle, y + 23, 12, SVG_MIDDLE, SVG_INK, 1, wide - 24, core_name(p->l));
    return;
  }
  box_name(p, link, name, sizeof name);
  (void)snprintf(uplink, sizeof uplink, "uplink%s %s", b->count > 1 ? "s" : "",
                 b->rate > 0 ? speed_words((uint64_t)b->rate, speed) : "without limit");
  svg_text_in(to, middle, y + 16, 12, SVG_MIDDLE, SVG_INK, 1, wide - 24, name);
  svg_text_in(to, middle, y + 31, 10.5, SVG_MIDDLE, SVG_INK, 0, wide - 24, uplink);
}

/* Hosts stand at the bottom whatever their level. */
static void draw_below(FILE *to, const struct fabric_picture *p, uint32_t link, double x, double y, double floor) {
  draw_switch(to, p, link, x, y);
  for (uint32_t c = p->box[link].first_child; c != NONE; c = p->box[c].next) {
    const struct box *b = &p->box[c];
    double wide = b->leaves * LEAF_W, middle = x + wide / 2;
    draw_way(to, middle, y + BAR_H, p, b, 1);
    draw_way(to, middle, y + BAR_H, p, b, 0);
    if (b->first_child != NONE) {
      draw_below(to, p, c, x, y + BAR_H + LINK_H, floor);
    } else {
      double end = y + BAR_H + LINK_H;
      if (floor > end) svg_line(to, middle, end, middle, floor, SVG_LINE, 2);
      draw_host(to, p, c, x, floor);
    }
    x += wide;
  }
}

void fabric_picture_draw(FILE *to, const struct fabric_picture *p, double x, double y) {
  draw_below(to, p, FABRIC_CORE, x, y, y + fabric_picture_extent(p).height - HOST_H);
}
