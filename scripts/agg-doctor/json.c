/* The report as one JSON object. */
#include "base/util.h"
#include "scripts/agg-doctor/agg_doctor.h"
#include "scripts/common/print.h"

static void member(FILE *to, const char *name, const char *value, const char *after) {
  fprintf(to, "\"%s\":", name);
  print_json_string(to, value);
  fputs(after, to);
}

void json_print(FILE *to, const struct doctor_report *report) {
  fprintf(to, "{\"version\":\"%d.%d.%d\",\"passed\":%u,\"warnings\":%u,\"failed\":%u,\"unknown\":%u,\"findings\":[", AGG_VERSION_MAJOR,
          AGG_VERSION_MINOR, AGG_VERSION_PATCH, doctor_count(report, DOCTOR_PASS), doctor_count(report, DOCTOR_WARN),
          doctor_count(report, DOCTOR_FAIL), doctor_count(report, DOCTOR_UNKNOWN));
  for (unsigned i = 0; i < report->n; i++) {
    const struct doctor_finding *f = &report->findings[i];
    fputs(i == 0 ? "\n{" : ",\n{", to);
    member(to, "check", f->check, ",");
    member(to, "verdict", doctor_verdict_name(f->verdict), ",");
    member(to, "device", f->device, ",");
    member(to, "seen", f->seen, ",");
    member(to, "todo", f->todo, "}");
  }
  fputs("\n]}\n", to);
}
