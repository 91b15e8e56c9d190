/* Owns what is written into an SVG file: elements, escapes and the measure of texts. Knows nothing of machines and plans. */
#include "scripts/agg-topo/svg.h"

#include <string.h>

#include "base/util.h"

#define LINE_HEIGHT 1.35
#define LINE_MAX_BYTES 256

static void escaped(FILE *to, const char *text, size_t n) {
  for (size_t i = 0; i < n && text[i] != '\0'; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == '<') {
      fputs("&lt;", to);
    } else if (c == '>') {
      fputs("&gt;", to);
    } else if (c == '&') {
      fputs("&amp;", to);
    } else if (c == '"') {
      fputs("&quot;", to);
    } else {
      putc(c >= 0x20 && c < 0x7f ? c : '?', to);
    }
  }
}

void svg_begin(FILE *to, double width, double height, const char *title) {
  fprintf(to,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
          "font-family=\"Helvetica, Arial, 'Liberation Sans', sans-serif\">\n<title>",
          width, height, width, height);
  escaped(to, title, strlen(title));
  fprintf(to, "</title>\n<rect width=\"%.0f\" height=\"%.0f\" fill=\"#ffffff\"/>\n", width, height);
}

void svg_end(FILE *to) { fputs("</svg>\n", to); }

void svg_box(FILE *to, double x, double y, double w, double h, double radius, const char *fill, const char *stroke, double thick) {
  fprintf(to, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.0f\" fill=\"%s\" stroke=\"%s\" stroke-width=\"%.1f\"/>\n",
          x, y, w, h, radius, fill, stroke, thick);
}

void svg_dashed_box(FILE *to, double x, double y, double w, double h, const char *stroke) {
  fprintf(to,
          "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"5\" fill=\"none\" stroke=\"%s\" stroke-dasharray=\"4 3\"/>\n", x,
          y, w, h, stroke);
}

void svg_line(FILE *to, double x1, double y1, double x2, double y2, const char *stroke, double thick) {
  fprintf(to, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"%.1f\"/>\n", x1, y1, x2, y2, stroke,
          thick);
}

void svg_dashed_line(FILE *to, double x1, double y1, double x2, double y2, const char *stroke, double thick) {
  fprintf(to, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-dasharray=\"4 3\"/>\n", x1,
          y1, x2, y2, stroke, thick);
}

void svg_circle(FILE *to, double x, double y, double r, const char *fill, const char *stroke, double thick) {
  fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\" stroke=\"%s\" stroke-width=\"%.1f\"/>\n", x, y, r, fill, stroke,
          thick);
}

static void text_n(FILE *to, double x, double y, double size, enum svg_anchor anchor, const char *colour, int bold, const char *text,
                   size_t n, const char *more) {
  static const char *const anchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
  fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.1f\" fill=\"%s\"%s%s>", x, y, size, colour, anchors[anchor],
          bold ? " font-weight=\"bold\"" : "");
  escaped(to, text, n);
  fprintf(to, "%s</text>\n", more);
}

void svg_text(FILE *to, double x, double y, double size, enum svg_anchor anchor, const char *colour, int bold, const char *text) {
  text_n(to, x, y, size, anchor, colour, bold, text, strlen(text), "");
}

/* Of Helvetica, in thousandths of the size, rounded up to a few classes: other fonts of its kind are as wide. */
static double char_width(char c) {
  if (strchr("ijlI|.,:;'!", c) != NULL) return 280;
  if (strchr("ftr()[]/-\" ", c) != NULL) return 330;
  if (strchr("mwMW%@", c) != NULL) return 870;
  if (c >= 'A' && c <= 'Z') return 700;
  return 560;
}

double svg_text_width(const char *text, double size, int bold) {
  double sum = 0;
  for (; *text != '\0'; text++) sum += char_width(*text);
  return sum * size / 1000 * (bold ? 1.07 : 1);
}

void svg_text_in(FILE *to, double x, double y, double size, enum svg_anchor anchor, const char *colour, int bold, double width,
                 const char *text) {
  char cut[LINE_MAX_BYTES];
  if (svg_text_width(text, size, bold) <= width) {
    svg_text(to, x, y, size, anchor, colour, bold, text);
    return;
  }
  str_copy(cut, sizeof cut, text);
  for (size_t n = strlen(cut); n > 0 && svg_text_width(cut, size, bold) + svg_text_width("...", size, bold) > width; n--) cut[n - 1] = '\0';
  svg_tip_begin(to, text);
  text_n(to, x, y, size, anchor, colour, bold, cut, strlen(cut), "...");
  svg_tip_end(to);
}

void svg_tip_begin(FILE *to, const char *text) {
  fputs("<g><title>", to);
  escaped(to, text, strlen(text));
  fputs("</title>\n", to);
}

void svg_tip_end(FILE *to) { fputs("</g>\n", to); }

double svg_paragraph(FILE *to, double x, double y, double size, double width, const char *colour, const char *text) {
  char line[LINE_MAX_BYTES] = "";
  double height = 0;
  while (*text != '\0') {
    char word[LINE_MAX_BYTES], longer[2 * LINE_MAX_BYTES];
    size_t n = MIN_OF(strcspn(text, " "), sizeof word - 1);
    memcpy(word, text, n);
    word[n] = '\0';
    text += n;
    text += *text == ' ';
    (void)snprintf(longer, sizeof longer, "%s%s%s", line, line[0] != '\0' ? " " : "", word);
    if (line[0] != '\0' && (svg_text_width(longer, size, 0) > width || strlen(longer) >= sizeof line)) {
      if (to != NULL) svg_text(to, x, y + height, size, SVG_START, colour, 0, line);
      height += size * LINE_HEIGHT;
      str_copy(line, sizeof line, word);
    } else {
      str_copy(line, sizeof line, longer);
    }
  }
  if (to != NULL && line[0] != '\0') svg_text(to, x, y + height, size, SVG_START, colour, 0, line);
  return height + (line[0] != '\0' ? size * LINE_HEIGHT : 0);
}
