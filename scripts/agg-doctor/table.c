/* The table for people: a line for each finding, below those that are not well what to do. */
#include <string.h>

#include "base/util.h"
#include "scripts/agg-doctor/agg_doctor.h"
#include "scripts/common/print.h"

enum { INDENT = 9 };

static const char *const LABELS[] = {"pass", "WARN", "FAIL", "unknown"};

/* The same to say about the machine: they share a line. */
static int joins(const struct doctor_finding *a, const struct doctor_finding *b) {
  return a->verdict == b->verdict && a->device[0] == '\0' && b->device[0] == '\0' && strcmp(a->seen, b->seen) == 0 &&
         strcmp(a->todo, b->todo) == 0;
}

static int was_printed(const struct doctor_report *report, unsigned i) {
  for (unsigned j = 0; j < i; j++) {
    if (joins(&report->findings[j], &report->findings[i])) return 1;
  }
  return 0;
}

static void print_one(FILE *to, const struct doctor_report *report, unsigned i, unsigned width) {
  char line[DOCTOR_TEXT_MAX + 512];
  const struct doctor_finding *f = &report->findings[i];
  int used = snprintf(line, sizeof(line), "%s", f->check);
  for (unsigned j = i + 1; j < report->n && used < 256; j++) {
    if (joins(f, &report->findings[j])) used += snprintf(line + used, sizeof(line) - (size_t)used, ", %s", report->findings[j].check);
  }
  snprintf(line + used, sizeof(line) - (size_t)used, "%s%s: %s", f->device[0] != '\0' ? " " : "", f->device, f->seen);
  fprintf(to, "%-*s", INDENT, LABELS[f->verdict]);
  print_wrapped(to, line, INDENT, INDENT + 2, width);
  if (f->todo[0] != '\0') {
    fprintf(to, "%*s-> ", INDENT + 2, "");
    print_wrapped(to, f->todo, INDENT + 5, INDENT + 5, width);
  }
}

void table_print(FILE *to, const struct doctor_report *report, int quiet, unsigned width) {
  for (unsigned i = 0; i < report->n; i++) {
    enum doctor_verdict verdict = report->findings[i].verdict;
    if ((!quiet || verdict == DOCTOR_WARN || verdict == DOCTOR_FAIL) && !was_printed(report, i)) print_one(to, report, i, width);
  }
  if (quiet) return;
  fprintf(to, "%u passed, %u warnings, %u failed, %u unknown\n", doctor_count(report, DOCTOR_PASS), doctor_count(report, DOCTOR_WARN),
          doctor_count(report, DOCTOR_FAIL), doctor_count(report, DOCTOR_UNKNOWN));
}
