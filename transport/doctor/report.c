/* Owns the list of findings and the appending of text to them. Never looks at the machine. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/internal.h"

#define GROW_BY 32

struct doctor_finding *finding(struct doctor *d, const char *check, const char *device, enum doctor_verdict verdict) {
  struct doctor_report *report = d->report;
  struct doctor_finding *f = &d->spare;
  if (report->n % GROW_BY == 0) {
    struct doctor_finding *grown = realloc(report->findings, (report->n + GROW_BY) * sizeof(*grown));
    if (grown == NULL) {
      d->no_memory = 1;
    } else {
      report->findings = grown;
    }
  }
  if (!d->no_memory) f = &report->findings[report->n++];
  f->check = check;
  f->verdict = verdict;
  str_copy(f->device, sizeof(f->device), device);
  f->seen[0] = f->todo[0] = '\0';
  return f;
}

void say(char text[DOCTOR_TEXT_MAX], const char *fmt, ...) {
  size_t used = strlen(text);
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(text + used, DOCTOR_TEXT_MAX - used, fmt, args);
  va_end(args);
}

void not_applicable(struct doctor *d, const char *check, const char *why) {
  say(finding(d, check, "", DOCTOR_UNKNOWN)->seen, "does not apply: %s", why);
}

unsigned doctor_count(const struct doctor_report *report, enum doctor_verdict verdict) {
  unsigned n = 0;
  for (unsigned i = 0; i < report->n; i++) n += report->findings[i].verdict == verdict;
  return n;
}

const char *doctor_verdict_name(enum doctor_verdict verdict) {
  static const char *const NAMES[] = {"pass", "warn", "fail", "unknown"};
  return (size_t)verdict < ARRAY_LEN(NAMES) ? NAMES[verdict] : "?";
}

void doctor_report_free(struct doctor_report *report) {
  free(report->findings);
  *report = (struct doctor_report){0};
}
