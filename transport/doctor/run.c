/* Owns the order of the checks and the choice of the one reason that a failed start tells. Never prints. */
#include "doctor/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "doctor/internal.h"

struct check {
  const char *name;
  void (*run)(struct doctor *d, const char *name);
  int stops; /* its failure can be why no port can be used */
};

static const struct check CHECKS[] = {
    {"devices", check_devices, 1},
    {"modules", check_modules, 1},
    {"permissions", check_permissions, 1},
    {"port", check_port, 1},
    {"gid", check_gid, 1},
    {"mtu", check_mtu, 0},
    {"memlock", check_memlock, 1},
    {"huge-pages", check_huge_pages, 0},
    {"numa", check_numa, 0},
    {"governor", check_governor, 0},
    {"counters", check_counters, 0},
    {"flow-control", check_flow_control, 0},
    {"namespaces", check_namespaces, 0},
    {"gpudirect", check_gpudirect, 0},
    {"acs", check_acs, 0},
    {"iommu", check_iommu, 0},
};

const char *doctor_check_name(unsigned i) { return i < ARRAY_LEN(CHECKS) ? CHECKS[i].name : NULL; }

static int run_checks(const struct doctor_options *options, int only_stops, struct doctor_report *report, agg_error_t *err) {
  static const struct doctor_options ALL = {0};
  struct doctor_report made = {0};
  struct doctor *d = calloc(1, sizeof(*d));
  if (d == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  d->options = options != NULL ? options : &ALL;
  d->report = &made;
  int rc = tree_is_there(d) ? scan_devices(d, err) : err_set(err, AGG_EINVAL, "root %s: expected a directory", d->options->root);
  if (rc == AGG_OK) {
    if (!only_stops || d->n_present == 0) scan_pci(d);
    for (unsigned i = 0; i < ARRAY_LEN(CHECKS); i++) {
      if (CHECKS[i].stops || !only_stops) CHECKS[i].run(d, CHECKS[i].name);
    }
    if (d->no_memory) rc = err_set(err, AGG_ENOMEM, "out of memory");
  }
  free(d);
  if (rc != AGG_OK) {
    doctor_report_free(&made);
    return rc;
  }
  *report = made;
  return AGG_OK;
}

int doctor_run(const struct doctor_options *options, struct doctor_report *report, agg_error_t *err) {
  return run_checks(options, 0, report, err);
}

const char *doctor_why(const struct doctor_options *options, char *buf, size_t cap) {
  struct doctor_report report;
  agg_error_t err;
  if (run_checks(options, 1, &report, &err) != AGG_OK) {
    str_copy(buf, cap, err.text);
    return buf;
  }
  const struct doctor_finding *reason = NULL;
  for (unsigned i = 0; i < report.n && reason == NULL; i++) {
    if (report.findings[i].verdict == DOCTOR_FAIL) reason = &report.findings[i];
  }
  if (reason == NULL) {
    str_copy(buf, cap, "devices, permissions, ports, addresses and limits look right here; agg-doctor shows what else was seen");
  } else {
    (void)snprintf(buf, cap, "%s%s%s%s%s", reason->device, reason->device[0] != '\0' ? ": " : "", reason->seen,
                   reason->todo[0] != '\0' ? ". To do: " : "", reason->todo);
  }
  doctor_report_free(&report);
  return buf;
}

const char *doctor_why_no_rdma(char *buf, size_t cap) { return doctor_why(NULL, buf, cap); }
