/* Writing SVG: shapes and text with what a viewer needs in the file itself. Lengths are pixels. Texts are escaped; they are ASCII. */
#ifndef AGG_TOPO_SVG_H
#define AGG_TOPO_SVG_H

#include <stdio.h>

enum svg_anchor { SVG_START, SVG_MIDDLE, SVG_END };

/* Colours that are legible on white. */
#define SVG_INK "#1f2933"
#define SVG_GREY "#5f6c7b"
#define SVG_LINE "#9aa5b1"
#define SVG_PALE "#f5f7fa"
#define SVG_NIC "#e0f2f1"
#define SVG_NIC_EDGE "#00796b"
#define SVG_GPU "#e8f5e0"
#define SVG_GPU_EDGE "#5a8f29"
#define SVG_PIN "#d9480f"
#define SVG_WORKER "#dbe9f9"
#define SVG_WORKER_EDGE "#1c5fa8"
#define SVG_SERVER "#ffe8cc"
#define SVG_SERVER_EDGE "#b35c00"

void svg_begin(FILE *to, double width, double height, const char *title);
void svg_end(FILE *to);
void svg_box(FILE *to, double x, double y, double w, double h, double radius, const char *fill, const char *stroke, double thick);
void svg_dashed_box(FILE *to, double x, double y, double w, double h, const char *stroke);
void svg_line(FILE *to, double x1, double y1, double x2, double y2, const char *stroke, double thick);
void svg_dashed_line(FILE *to, double x1, double y1, double x2, double y2, const char *stroke, double thick);
void svg_circle(FILE *to, double x, double y, double r, const char *fill, const char *stroke, double thick);
/* On the baseline y. bold: 0 or 1. */
void svg_text(FILE *to, double x, double y, double size, enum svg_anchor anchor, const char *colour, int bold, const char *text);
/* The same, cut so that it fits into `width` (three dots at its end); all of it is in a tip. */
void svg_text_in(FILE *to, double x, double y, double size, enum svg_anchor anchor, const char *colour, int bold, double width,
                 const char *text);
/* Shown where the pointer rests on what is between. */
void svg_tip_begin(FILE *to, const char *text);
void svg_tip_end(FILE *to);

/* About how wide the text comes out. */
double svg_text_width(const char *text, double size, int bold);
/* Lines of text below each other, broken before `width`. Returns the height; to NULL: writes nothing. */
double svg_paragraph(FILE *to, double x, double y, double size, double width, const char *colour, const char *text);

#endif
