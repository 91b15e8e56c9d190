/*
 * A machine as a picture: a panel for each NUMA node with its cores and, below host bridges and PCIe switches, its devices. Devices whose
 * node is unknown have a panel of their own. First everything is laid out, then drawn.
 */
#include <string.h>

#include "base/util.h"
#include "scripts/agg-topo/agg_topo.h"
#include "scripts/agg-topo/svg.h"

#define MARGIN 24.0
#define PANEL_GAP 28.0
#define PAD 14.0
#define PAGE 1000.0 /* panels stand side by side up to this width */
#define BOX_W 150.0
#define BOX_H 52.0
#define BOX_GAP 8.0
#define COLUMN_W (BOX_W + 2 * BOX_GAP)
#define COLUMN_GAP 10.0
#define BRIDGE_H 22.0
#define WIRE 14.0
#define SWITCH_TOP 18.0 /* the label of a PCIe switch */
#define COLUMNS_A_ROW 4u
#define DEVICES_A_COLUMN 8u
#define CELLS_A_ROW 16u
#define CELLS_WITH_NUMBERS 64u

#define DEVICES (2 * TOPO_DEVICES_MAX)

struct device {
  const struct topo_place *place;
  uint32_t index; /* in nics[] or gpus[] */
  int is_gpu;
  uint32_t group;  /* the first device that hangs on the same PCIe switch */
  uint32_t column; /* of its panel */
};

struct column {
  char bridge[TOPO_PATH_CAP]; /* "pci0000:15"; "": unknown */
  uint32_t n_devices;
  double height;
};

struct panel {
  uint32_t numa; /* index; TOPO_NONE: devices whose node is unknown */
  uint32_t n_columns;
  struct column column[DEVICES];
  double height, cores_height;
};

struct drawing {
  FILE *to;
  const struct machine *m;
  const struct topo_machine *machine;
  const char *pin;
  uint32_t n_devices;
  struct device device[DEVICES];
  double panel_width;
  uint32_t across; /* panels side by side */
};

/* ---- laying out -------------------------------------------------------------------------------------------------------------------------
 */

static uint32_t panel_of(const struct drawing *d, const struct topo_place *p) { return p->numa < d->machine->n_numa ? p->numa : TOPO_NONE; }

/* The first device, up to this one, with which it shares a PCIe switch. Ports of one device share nothing that is worth a box. */
static uint32_t group_of(const struct drawing *d, uint32_t i) {
  const struct topo_place *mine = d->device[i].place;
  for (uint32_t j = 0; j < i; j++) {
    const struct topo_place *other = d->device[j].place;
    if (mine->path[0] != '\0' && other->path[0] != '\0' && topo_distance(mine, other) <= TOPO_PXB) return d->device[j].group;
  }
  return i;
}

static void add_device(struct drawing *d, const struct topo_place *place, uint32_t index, int is_gpu) {
  uint32_t i = d->n_devices++;
  d->device[i] = (struct device){.place = place, .index = index, .is_gpu = is_gpu};
  d->device[i].group = group_of(d, i);
}

static uint32_t group_size(const struct drawing *d, uint32_t group) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < d->n_devices; i++) n += d->device[i].group == group;
  return n;
}

static uint32_t find_column(struct panel *p, const struct device *dev, uint32_t n_more) {
  char bridge[TOPO_PATH_CAP];
  str_copy(bridge, sizeof bridge, dev->place->path);
  bridge[strcspn(bridge, "/")] = '\0';
  for (uint32_t c = 0; c < p->n_columns; c++) {
    if (strcmp(p->column[c].bridge, bridge) == 0 && p->column[c].n_devices + n_more <= DEVICES_A_COLUMN) return c;
  }
  struct column *c = &p->column[p->n_columns];
  *c = (struct column){.height = BRIDGE_H};
  str_copy(c->bridge, sizeof c->bridge, bridge);
  return p->n_columns++;
}

/* Rows of columns, each as high as its highest. */
static double columns_height(const struct panel *p) {
  double sum = 0, row = 0;
  for (uint32_t c = 0; c < p->n_columns; c++) {
    if (c % COLUMNS_A_ROW == 0) {
      sum += row;
      row = 0;
    }
    row = MAX_OF(row, p->column[c].height + 2 * WIRE);
  }
  return sum + row;
}

static double cell_width(uint32_t cores) { return cores <= CELLS_WITH_NUMBERS ? 23 : 13; }
static double cell_height(uint32_t cores) { return cores <= CELLS_WITH_NUMBERS ? 17 : 11; }
static uint32_t cells_a_row(const struct drawing *d, uint32_t cores) {
  return MAX_OF(1u, (uint32_t)((d->panel_width - 2 * PAD) / cell_width(cores)));
}

static void lay_out(struct drawing *d, struct panel *p, uint32_t numa) {
  p->numa = numa;
  p->n_columns = 0;
  p->cores_height = 0;
  for (uint32_t g = 0; g < d->n_devices; g++) {
    if (d->device[g].group != g || panel_of(d, d->device[g].place) != numa) continue;
    uint32_t n = group_size(d, g), at = find_column(p, &d->device[g], n);
    for (uint32_t i = g; i < d->n_devices; i++) {
      if (d->device[i].group == g) d->device[i].column = at;
    }
    p->column[at].n_devices += n;
    p->column[at].height += WIRE + n * (BOX_H + BOX_GAP) - BOX_GAP + (n > 1 ? SWITCH_TOP + BOX_GAP : 0);
  }
  if (numa != TOPO_NONE) {
    uint32_t cores = d->machine->numa[numa].n_cores;
    p->cores_height = 24 + (double)div_up_u64(cores, cells_a_row(d, cores)) * cell_height(cores);
  }
  p->height = 34 + p->cores_height + columns_height(p) + PAD;
}

static int is_used(const struct drawing *d, uint32_t numa) {
  for (uint32_t i = 0; i < d->n_devices; i++) {
    if (panel_of(d, d->device[i].place) == numa) return 1;
  }
  return 0;
}

/* All panels are as wide as the one with the most columns. */
static void find_width(struct drawing *d, struct panel *p, uint32_t panels) {
  d->panel_width = 2 * PAD + CELLS_A_ROW * cell_width(1);
  double widest = d->panel_width;
  for (uint32_t i = 0; i < panels; i++) {
    lay_out(d, p, i < d->machine->n_numa ? i : TOPO_NONE);
    widest = MAX_OF(widest, 2 * PAD + MIN_OF(p->n_columns, COLUMNS_A_ROW) * (COLUMN_W + COLUMN_GAP) - COLUMN_GAP);
  }
  d->panel_width = widest;
  d->across = MAX_OF(1u, MIN_OF(panels, (uint32_t)((PAGE - MARGIN) / (widest + PANEL_GAP))));
}

/* ---- devices ----------------------------------------------------------------------------------------------------------------------------
 */

static const char *rail_colour(uint32_t rail) {
  static const char *const colours[] = {"#00796b", "#1c5fa8", "#b35c00", "#8e3b8a", "#5a8f29", "#c2255c", "#5f6c7b", "#7a5c00"};
  return rail == TOPO_NONE ? SVG_LINE : colours[rail % ARRAY_LEN(colours)];
}

static void draw_nic(const struct drawing *d, const struct topo_nic *n, double x, double y) {
  char line[2 * WORDS_CAP + 64], speed[WORDS_CAP];
  int down = n->state == TOPO_DOWN;
  svg_box(d->to, x, y, BOX_W, BOX_H, 4, down ? SVG_PALE : SVG_NIC, down ? SVG_LINE : SVG_NIC_EDGE, 1);
  svg_box(d->to, x, y, 6, BOX_H, 2, rail_colour(n->rail), "none", 0);
  const char *ink = down ? SVG_GREY : SVG_INK;
  if (n->rdma[0] != '\0' && n->netdev[0] != '\0') {
    (void)snprintf(line, sizeof line, "%s (%s)", n->rdma, n->netdev);
  } else {
    str_copy(line, sizeof line, topo_nic_name(n));
  }
  svg_text_in(d->to, x + 12, y + 16, 12, SVG_START, ink, 1, BOX_W - 18, line);
  int n_speed = snprintf(line, sizeof line, "%s", speed_words(n->speed, speed));
  if (n->state != TOPO_STATE_UNKNOWN) n_speed += snprintf(line + n_speed, sizeof line - (size_t)n_speed, ", %s", topo_state_name(n->state));
  if (pcie_is_slower(n)) (void)snprintf(line + n_speed, sizeof line - (size_t)n_speed, ", PCIe %s", speed_words(n->place.pcie, speed));
  svg_text_in(d->to, x + 12, y + 30, 11, SVG_START, ink, 0, BOX_W - 18, line);
  int used = n->rail == TOPO_NONE ? 0 : snprintf(line, sizeof line, "rail %u, ", n->rail);
  (void)snprintf(line + used, sizeof line - (size_t)used, "%s", n->place.pci[0] != '\0' ? n->place.pci : topo_link_name(n->link));
  svg_text_in(d->to, x + 12, y + 44, 10, SVG_START, SVG_GREY, 0, BOX_W - 18, line);
}

static void draw_gpu(const struct drawing *d, const struct topo_gpu *g, double x, double y) {
  char line[32];
  svg_box(d->to, x, y, BOX_W, BOX_H, 4, SVG_GPU, SVG_GPU_EDGE, 1);
  (void)snprintf(line, sizeof line, "GPU %u", g->number);
  svg_text(d->to, x + 12, y + 16, 12, SVG_START, SVG_INK, 1, line);
  svg_text_in(d->to, x + 12, y + 30, 10, SVG_START, SVG_INK, 0, BOX_W - 18, g->name[0] != '\0' ? g->name : "name unknown");
  svg_text(d->to, x + 12, y + 44, 10, SVG_START, SVG_GREY, 0, g->place.pci);
}

/* The last bridge that all of a group have above them. */
static void common_bridge(const struct drawing *d, uint32_t group, char *buf, size_t cap) {
  str_copy(buf, cap, d->device[group].place->path);
  for (uint32_t i = group + 1; i < d->n_devices; i++) {
    if (d->device[i].group != group) continue;
    size_t n = strlen(buf);
    const char *path = d->device[i].place->path;
    while (n > 0 && (strncmp(buf, path, n) != 0 || (path[n] != '/' && path[n] != '\0'))) {
      while (n > 0 && buf[--n] != '/') continue;
      buf[n] = '\0';
    }
  }
  const char *last = strrchr(buf, '/');
  if (last != NULL) memmove(buf, last + 1, strlen(last + 1) + 1);
}

/* Functions of one device: ports of a NIC, mostly. */
static int is_one_device(const struct drawing *d, uint32_t group) {
  const char *pci = d->device[group].place->pci;
  size_t n = strcspn(pci, ".");
  for (uint32_t i = group + 1; i < d->n_devices; i++) {
    if (d->device[i].group == group && (n == 0 || strncmp(d->device[i].place->pci, pci, n + 1) != 0)) return 0;
  }
  return 1;
}

/* Returns its height. */
static double draw_group(const struct drawing *d, uint32_t group, double x, double y) {
  uint32_t n = group_size(d, group);
  double at = y, inside = n > 1 ? SWITCH_TOP : 0;
  double height = n * (BOX_H + BOX_GAP) - BOX_GAP + (n > 1 ? inside + BOX_GAP : 0);
  if (n > 1) {
    char bridge[TOPO_PATH_CAP], label[TOPO_PATH_CAP + 24];
    common_bridge(d, group, bridge, sizeof bridge);
    (void)snprintf(label, sizeof label, "%s %s", is_one_device(d, group) ? "one device below" : "PCIe switch", bridge);
    svg_dashed_box(d->to, x, y, COLUMN_W, height, SVG_GREY);
    svg_text_in(d->to, x + COLUMN_W / 2, y + 13, 10, SVG_MIDDLE, SVG_GREY, 0, COLUMN_W - 8, label);
    at += inside;
  }
  for (uint32_t i = group; i < d->n_devices; i++) {
    if (d->device[i].group != group) continue;
    if (d->device[i].is_gpu) {
      draw_gpu(d, &d->machine->gpus[d->device[i].index], x + BOX_GAP, at);
    } else {
      draw_nic(d, &d->machine->nics[d->device[i].index], x + BOX_GAP, at);
    }
    at += BOX_H + BOX_GAP;
  }
  return height;
}

static uint32_t groups_in(const struct drawing *d, const struct panel *p, uint32_t column) {
  uint32_t n = 0;
  for (uint32_t g = 0; g < d->n_devices; g++)
    n += d->device[g].group == g && d->device[g].column == column && panel_of(d, d->device[g].place) == p->numa;
  return n;
}

/* One below the bridge hangs straight down; several hang side by side on a wire at the left. */
static void draw_column(const struct drawing *d, const struct panel *p, uint32_t column, double x, double y) {
  const struct column *c = &p->column[column];
  const char *label = c->bridge[0] != '\0' ? c->bridge : "PCIe path unknown";
  int several = groups_in(d, p, column) > 1, wired = c->bridge[0] != '\0';
  double left = x - COLUMN_GAP / 2, from = y + BRIDGE_H / 2;
  svg_box(d->to, x, y, COLUMN_W, BRIDGE_H, 4, "#ffffff", SVG_LINE, 1);
  svg_text(d->to, x + COLUMN_W / 2, y + 15, 11, SVG_MIDDLE, SVG_GREY, 0, label);
  if (several && wired) svg_line(d->to, left, from, x, from, SVG_LINE, 2);
  y += BRIDGE_H;
  for (uint32_t g = 0; g < d->n_devices; g++) {
    if (d->device[g].group != g || d->device[g].column != column || panel_of(d, d->device[g].place) != p->numa) continue;
    if (!several && wired) svg_line(d->to, x + COLUMN_W / 2, y, x + COLUMN_W / 2, y + WIRE, SVG_LINE, 2);
    y += WIRE;
    double height = draw_group(d, g, x, y);
    if (several && wired) {
      svg_line(d->to, left, y + height / 2, group_size(d, g) > 1 ? x : x + BOX_GAP, y + height / 2, SVG_LINE, 2);
      svg_line(d->to, left, from, left, y + height / 2, SVG_LINE, 2);
    }
    y += height;
  }
}

static void draw_columns(const struct drawing *d, const struct panel *p, double x, double y) {
  double bus = y + WIRE / 2, row = 0, top = y;
  for (uint32_t c = 0; c < p->n_columns; c++) {
    double at = x + PAD + c % COLUMNS_A_ROW * (COLUMN_W + COLUMN_GAP), middle = at + COLUMN_W / 2;
    if (c % COLUMNS_A_ROW == 0 && c > 0) {
      top += row;
      row = 0;
      if (p->numa != TOPO_NONE) svg_line(d->to, x + PAD / 2, bus, x + PAD / 2, top + WIRE / 2, SVG_LINE, 2);
    }
    if (p->numa != TOPO_NONE) {
      double left = c % COLUMNS_A_ROW != 0 ? middle - COLUMN_W - COLUMN_GAP : p->n_columns > COLUMNS_A_ROW ? x + PAD / 2 : middle;
      svg_line(d->to, left, top + WIRE / 2, middle, top + WIRE / 2, SVG_LINE, 2);
      svg_line(d->to, middle, top + WIRE / 2, middle, top + 2 * WIRE, SVG_LINE, 2);
    }
    draw_column(d, p, c, at, top + 2 * WIRE);
    row = MAX_OF(row, p->column[c].height + 2 * WIRE);
  }
}

/* ---- cores ------------------------------------------------------------------------------------------------------------------------------
 */

static const struct pin_of *pinned_at(const struct machine *m, int core) {
  for (uint32_t i = 0; i < m->n_pins; i++) {
    if (m->pins[i].place.core == core) return &m->pins[i];
  }
  return NULL;
}

static void draw_cores(const struct drawing *d, uint32_t numa, double x, double y) {
  const struct topo_numa *node = &d->machine->numa[numa];
  uint32_t across = cells_a_row(d, node->n_cores), i = 0;
  double w = cell_width(node->n_cores), h = cell_height(node->n_cores);
  for (int core = topo_cpu_next(node->cores, -1); core >= 0; core = topo_cpu_next(node->cores, core), i++) {
    const struct pin_of *pin = pinned_at(d->m, core);
    double at_x = x + i % across * w, at_y = y + i / across * h;
    char text[96];
    if (pin != NULL) {
      (void)snprintf(text, sizeof text, "core %d: local rank %u, reactor %u", core, pin->local_rank, pin->reactor);
      svg_tip_begin(d->to, text);
    }
    svg_box(d->to, at_x, at_y, w - 2, h - 2, 2, pin != NULL ? SVG_PIN : "#ffffff", pin != NULL ? SVG_PIN : SVG_LINE, 0.8);
    (void)snprintf(text, sizeof text, "%d", core);
    if (node->n_cores <= CELLS_WITH_NUMBERS)
      svg_text(d->to, at_x + (w - 2) / 2, at_y + h - 5.5, 9, SVG_MIDDLE, pin != NULL ? "#ffffff" : SVG_GREY, 0, text);
    if (pin != NULL) svg_tip_end(d->to);
  }
}

static void draw_panel(const struct drawing *d, const struct panel *p, double x, double y) {
  char line[TOPO_CPULIST_CAP + 96], memory[WORDS_CAP];
  svg_box(d->to, x, y, d->panel_width, p->height, 8, SVG_PALE, SVG_LINE, 1.2);
  if (p->numa == TOPO_NONE) {
    svg_text_in(d->to, x + PAD, y + 22, 13, SVG_START, SVG_INK, 1, d->panel_width - 2 * PAD, "NUMA node unknown");
    draw_columns(d, p, x, y + 34);
    return;
  }
  const struct topo_numa *n = &d->machine->numa[p->numa];
  (void)snprintf(line, sizeof line, "NUMA node %u", n->number);
  svg_text(d->to, x + PAD, y + 22, 13, SVG_START, SVG_INK, 1, line);
  (void)snprintf(line, sizeof line, "memory %s", n->memory != 0 ? explain_bytes((double)n->memory, memory, WORDS_CAP) : "unknown");
  svg_text(d->to, x + d->panel_width - PAD, y + 22, 12, SVG_END, SVG_INK, 0, line);
  if (n->n_cores == 0) {
    (void)snprintf(line, sizeof line, "%s", n->n_cpus == 0 ? "no cores that may be used" : "cores unknown");
  } else {
    (void)snprintf(line, sizeof line, "%u core%s%s%s", n->n_cores, n->n_cores == 1 ? "" : "s", n->n_cpus > n->n_cores ? ", CPUs " : "",
                   n->n_cpus > n->n_cores ? n->cpus : "");
  }
  svg_text_in(d->to, x + PAD, y + 42, 11, SVG_START, SVG_GREY, 0, d->panel_width - 2 * PAD, line);
  draw_cores(d, p->numa, x + PAD, y + 50);
  draw_columns(d, p, x, y + 34 + p->cores_height);
}

/* ---- the page ---------------------------------------------------------------------------------------------------------------------------
 */

static double legend_item(FILE *to, double x, double y, const char *fill, const char *edge, const char *text) {
  svg_box(to, x, y - 10, 14, 12, 2, fill, edge, 1);
  svg_text(to, x + 20, y, 11, SVG_START, SVG_INK, 0, text);
  return x + 44 + svg_text_width(text, 11, 0);
}

static uint32_t pinned_count(const struct machine *m) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->n_pins; i++) n += m->pins[i].place.core >= 0;
  return n;
}

static void draw_legend(const struct drawing *d, double y, double width) {
  double x = MARGIN;
  char text[PIN_NOTE_MAX + 32];
  uint32_t pinned = pinned_count(d->m);
  if (d->machine->n_nics > 0) x = legend_item(d->to, x, y, SVG_NIC, SVG_NIC_EDGE, "NIC, its rail at the left");
  if (d->machine->n_gpus > 0) x = legend_item(d->to, x, y, SVG_GPU, SVG_GPU_EDGE, "GPU");
  if (pinned > 0) {
    (void)snprintf(text, sizeof text, "core with a pinned reactor (%u worker%s, AGG_PIN=%.16s)", d->m->workers,
                   d->m->workers == 1 ? "" : "s", d->pin);
    legend_item(d->to, x, y, SVG_PIN, SVG_PIN, text);
  } else {
    (void)snprintf(text, sizeof text, "no reactor is pinned: %.159s", d->m->no_pins[0] != '\0' ? d->m->no_pins : d->m->pins[0].place.note);
    svg_text_in(d->to, x, y, 11, SVG_START, SVG_INK, 0, width - MARGIN - x, text);
  }
}

static void subtitle(const struct drawing *d, char *buf, size_t cap) {
  const struct topo_machine *m = d->machine;
  uint32_t cores = 0;
  char memory[WORDS_CAP];
  for (uint32_t i = 0; i < m->n_numa; i++) cores += m->numa[i].n_cores;
  int n = cores == 0 ? snprintf(buf, cap, "cores unknown") : snprintf(buf, cap, "%u cores", cores);
  (void)snprintf(buf + n, cap - (size_t)n, ", %s of memory, %u NIC%s, %u GPU%s",
                 m->memory != 0 ? explain_bytes((double)m->memory, memory, WORDS_CAP) : "unknown amount", m->n_nics,
                 m->n_nics == 1 ? "" : "s", m->n_gpus, m->n_gpus == 1 ? "" : "s");
}

/* The wire between neighbouring panels: what SYS goes over. */
static void draw_between(const struct drawing *d, uint32_t i, double x, double y) {
  if (d->across > 1) {
    if (i % d->across != 0) svg_line(d->to, x - PANEL_GAP, y + 17, x, y + 17, SVG_LINE, 6);
  } else {
    svg_line(d->to, x + d->panel_width / 2, y - PANEL_GAP, x + d->panel_width / 2, y, SVG_LINE, 6);
  }
}

static double notes(const struct drawing *d, FILE *to, double y, double width) {
  const struct topo *t = &d->m->topo;
  double height = 0;
  for (uint32_t i = 0; i < t->n_notes; i++)
    height += svg_paragraph(to, MARGIN, y + height, 10.5, width - 2 * MARGIN, SVG_GREY, t->notes[i]) + 2;
  return height;
}

/* Draws all panels (draw) or only measures them. Returns where they end. */
static double draw_panels(struct drawing *d, struct panel *p, uint32_t panels, double y, int draw) {
  double row = 0;
  for (uint32_t i = 0; i < panels; i++) {
    lay_out(d, p, i < d->machine->n_numa ? i : TOPO_NONE);
    double x = MARGIN + i % d->across * (d->panel_width + PANEL_GAP);
    if (i % d->across == 0 && i > 0) {
      y += row + PANEL_GAP;
      row = 0;
    }
    row = MAX_OF(row, p->height);
    if (draw && i > 0 && i < d->machine->n_numa) draw_between(d, i, x, y);
    if (draw) draw_panel(d, p, x, y);
  }
  return y + row;
}

void machine_svg(FILE *to, const struct machine *m, const char *pin) {
  static struct drawing d; /* with its panel too large for a stack */
  static struct panel panel;
  char line[192];
  d = (struct drawing){.to = to, .m = m, .machine = topo_machine_of(&m->topo, m->host), .pin = pin};
  for (uint32_t i = 0; i < d.machine->n_nics; i++) add_device(&d, &d.machine->nics[i].place, i, 0);
  for (uint32_t i = 0; i < d.machine->n_gpus; i++) add_device(&d, &d.machine->gpus[i].place, i, 1);
  uint32_t panels = d.machine->n_numa + (uint32_t)is_used(&d, TOPO_NONE);
  find_width(&d, &panel, panels);
  double top = 98, width = MAX_OF(560.0, 2 * MARGIN + d.across * (d.panel_width + PANEL_GAP) - PANEL_GAP);
  double bottom = panels > 0 ? draw_panels(&d, &panel, panels, top, 0) : top;
  svg_begin(to, width, bottom + 26 + notes(&d, NULL, 0, width) + 6, m->topo.hosts[m->host].name);
  svg_text_in(to, MARGIN, 36, 20, SVG_START, SVG_INK, 1, width - 2 * MARGIN, m->topo.hosts[m->host].name);
  subtitle(&d, line, sizeof line);
  svg_text(to, MARGIN, 56, 12, SVG_START, SVG_GREY, 0, line);
  draw_legend(&d, 80, width);
  (void)draw_panels(&d, &panel, panels, top, 1);
  (void)notes(&d, to, bottom + 26, width);
  svg_end(to);
}
