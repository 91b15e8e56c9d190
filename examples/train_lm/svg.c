/* Draws the loss curve: axes with round numbers, the loss of every step, its running mean, and the held-out text's. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "curve.h"

#define WIDTH 840.0
#define HEIGHT 500.0
#define LEFT 76.0
#define RIGHT 24.0
#define TOP 78.0
#define BOTTOM 64.0
#define TICKS 10

#define COLOR_TRAIN "#1f6fb4"
#define COLOR_HELD_OUT "#d1492e"

int curve_add(struct curve *c, double step, double loss) {
  if (c->n == c->cap) {
    size_t cap = c->cap == 0 ? 256 : 2 * c->cap;
    double *steps = realloc(c->step, cap * sizeof *steps);
    if (steps == NULL) return -1;
    c->step = steps;
    double *losses = realloc(c->loss, cap * sizeof *losses);
    if (losses == NULL) return -1;
    c->loss = losses;
    c->cap = cap;
  }
  c->step[c->n] = step;
  c->loss[c->n++] = loss;
  return 0;
}

void curve_free(struct curve *c) {
  free(c->step);
  free(c->loss);
  *c = (struct curve){0};
}

/* ---- axes -------------------------------------------------------------------------------------------------------------------- */

struct axis {
  double low, high, tick;
};

/* Widens [low, high] to round numbers, about TICKS of them. */
static struct axis round_axis(double low, double high) {
  double raw = (high > low ? high - low : 1.0) / TICKS, magnitude = pow(10.0, floor(log10(raw)));
  double tick = raw <= magnitude ? magnitude : raw <= 2 * magnitude ? 2 * magnitude : raw <= 5 * magnitude ? 5 * magnitude : 10 * magnitude;
  struct axis a = {.low = floor(low / tick) * tick, .high = ceil(high / tick) * tick, .tick = tick};
  if (a.high <= a.low) a.high = a.low + tick;
  return a;
}

struct frame {
  FILE *f;
  struct axis x, y;
};

static double place_x(const struct frame *g, double v) { return LEFT + (v - g->x.low) / (g->x.high - g->x.low) * (WIDTH - LEFT - RIGHT); }
static double place_y(const struct frame *g, double v) {
  return HEIGHT - BOTTOM - (v - g->y.low) / (g->y.high - g->y.low) * (HEIGHT - TOP - BOTTOM);
}

static void widen(const struct curve *c, double *low, double *high) {
  for (size_t i = 0; i < c->n; i++) {
    *low = fmin(*low, c->loss[i]);
    *high = fmax(*high, c->loss[i]);
  }
}

static struct frame make_frame(FILE *f, const struct picture *p) {
  double low = INFINITY, high = -INFINITY, last = 1.0;
  widen(p->train, &low, &high);
  widen(p->held_out, &low, &high);
  if (!isfinite(low) || !isfinite(high)) low = 0.0, high = 1.0;
  if (p->train->n != 0) last = p->train->step[p->train->n - 1];
  struct frame g = {.f = f, .x = round_axis(0.0, last), .y = round_axis(low, high)};
  g.x.high = fmax(last, g.x.tick); /* the curve ends at the right edge */
  return g;
}

static void draw_axes(const struct frame *g) {
  double x0 = LEFT, x1 = WIDTH - RIGHT, y0 = HEIGHT - BOTTOM;
  fprintf(g->f, "<g stroke=\"#e3e6ea\" stroke-width=\"1\">\n");
  for (double v = g->y.low; v <= g->y.high + g->y.tick / 2; v += g->y.tick) {
    fprintf(g->f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x0, place_y(g, v), x1, place_y(g, v));
  }
  fprintf(g->f, "</g>\n<g fill=\"#4a5058\" font-size=\"13\" text-anchor=\"end\">\n");
  int decimals = g->y.tick < 0.1 ? 2 : g->y.tick < 1.0 ? 1 : 0;
  for (double v = g->y.low; v <= g->y.high + g->y.tick / 2; v += g->y.tick) {
    fprintf(g->f, "<text x=\"%.1f\" y=\"%.1f\">%.*f</text>\n", x0 - 10, place_y(g, v) + 4.5, decimals, v);
  }
  fprintf(g->f, "</g>\n<g fill=\"#4a5058\" font-size=\"13\" text-anchor=\"middle\">\n");
  for (double v = g->x.low; v <= g->x.high + g->x.tick * 1e-6; v += g->x.tick) {
    fprintf(g->f, "<text x=\"%.1f\" y=\"%.1f\">%.0f</text>\n", place_x(g, v), y0 + 22, v);
  }
  fprintf(g->f, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"14\">optimizer step</text>\n", (x0 + x1) / 2, HEIGHT - 16);
  fprintf(g->f, "<text transform=\"translate(22 %.1f) rotate(-90)\" font-size=\"14\">loss (nats per character)</text>\n</g>\n",
          (TOP + y0) / 2);
  fprintf(g->f, "<path d=\"M%.1f %.1fV%.1fH%.1f\" fill=\"none\" stroke=\"#4a5058\"/>\n", x0, TOP, y0, x1);
}

/* ---- curves -------------------------------------------------------------------------------------------------------------------- */

/* Each point is the mean of those at most `around` steps away; 0 draws the points themselves. */
static void draw_line(const struct frame *g, const struct curve *c, size_t around, const char *style) {
  if (c->n == 0) return;
  fprintf(g->f, "<polyline fill=\"none\" %s points=\"", style);
  for (size_t i = 0; i < c->n; i++) {
    size_t reach = i < around ? i : around;
    if (c->n - 1 - i < reach) reach = c->n - 1 - i;
    double sum = 0.0;
    for (size_t j = i - reach; j <= i + reach; j++) sum += c->loss[j];
    fprintf(g->f, "%.1f,%.1f ", place_x(g, c->step[i]), place_y(g, sum / (double)(2 * reach + 1)));
  }
  fprintf(g->f, "\"/>\n");
}

static void draw_points(const struct frame *g, const struct curve *c, const char *color) {
  for (size_t i = 0; i < c->n; i++) {
    fprintf(g->f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", place_x(g, c->step[i]), place_y(g, c->loss[i]), color);
  }
}

static void draw_legend(const struct frame *g) {
  double x = WIDTH - RIGHT - 232, y = TOP + 10;
  fprintf(g->f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"222\" height=\"76\" rx=\"4\" fill=\"#ffffff\" stroke=\"#ccd1d7\"/>\n", x, y);
  fprintf(g->f, "<g stroke-width=\"2.5\">\n");
  fprintf(g->f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-opacity=\"0.3\" stroke-width=\"1.2\"/>\n",
          x + 12, y + 18, x + 42, y + 18, COLOR_TRAIN);
  fprintf(g->f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x + 12, y + 40, x + 42, y + 40, COLOR_TRAIN);
  fprintf(g->f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x + 12, y + 62, x + 42, y + 62, COLOR_HELD_OUT);
  fprintf(g->f, "</g>\n<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", x + 27, y + 62, COLOR_HELD_OUT);
  fprintf(g->f, "<g fill=\"#20252b\" font-size=\"13\">\n<text x=\"%.1f\" y=\"%.1f\">training, each step</text>\n", x + 52, y + 22.5);
  fprintf(g->f, "<text x=\"%.1f\" y=\"%.1f\">training, running mean</text>\n", x + 52, y + 44.5);
  fprintf(g->f, "<text x=\"%.1f\" y=\"%.1f\">text that was held out</text>\n</g>\n", x + 52, y + 66.5);
}

static void put_escaped(FILE *f, const char *text) {
  for (; *text != '\0'; text++) {
    switch (*text) {
      case '<':
        fputs("&lt;", f);
        break;
      case '&':
        fputs("&amp;", f);
        break;
      default:
        if ((unsigned char)*text >= ' ') fputc(*text, f);
    }
  }
}

static void draw(FILE *f, const struct picture *p) {
  struct frame g = make_frame(f, p);
  fprintf(
      f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" font-family=\"sans-serif\">\n",
      WIDTH, HEIGHT, WIDTH, HEIGHT);
  fprintf(f, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n<text x=\"%.0f\" y=\"34\" font-size=\"19\" fill=\"#20252b\">",
          LEFT);
  put_escaped(f, p->title);
  fprintf(f, "</text>\n<text x=\"%.0f\" y=\"58\" font-size=\"13\" fill=\"#4a5058\">", LEFT);
  put_escaped(f, p->subtitle);
  fprintf(f, "</text>\n");
  draw_axes(&g);
  draw_line(&g, p->train, 0, "stroke=\"" COLOR_TRAIN "\" stroke-opacity=\"0.3\" stroke-width=\"1.2\"");
  draw_line(&g, p->train, p->train->n / 80 + 1, "stroke=\"" COLOR_TRAIN "\" stroke-width=\"2.5\" stroke-linejoin=\"round\"");
  draw_line(&g, p->held_out, 0, "stroke=\"" COLOR_HELD_OUT "\" stroke-width=\"2\"");
  draw_points(&g, p->held_out, COLOR_HELD_OUT);
  draw_legend(&g);
  fprintf(f, "</svg>\n");
}

int picture_write(const struct picture *p, const char *path) {
  FILE *f = fopen(path, "we");
  if (f == NULL) return -1;
  draw(f, p);
  int failed = ferror(f), saved = errno;
  if (fclose(f) != 0) return -1;
  errno = saved;
  return failed ? -1 : 0;
}
