/* What the parts of agg-doctor share. */
#ifndef AGG_DOCTOR_H
#define AGG_DOCTOR_H

#include <stdio.h>

#include "transport/doctor/doctor.h"

enum { EXIT_NONE_FAILED = 0, EXIT_SOME_FAILED = 1, EXIT_USAGE = 2 };

enum args_verdict { ARGS_RUN, ARGS_HELP, ARGS_VERSION };

struct args {
  struct doctor_options options;
  int json;
  int quiet;         /* of the table: only what failed or warns */
  char devices[512]; /* of --device; options.devices points here */
};

/* Reads the command line. AGG_EINVAL with a text that names the argument. */
int args_parse(struct args *args, int argc, char **argv, enum args_verdict *verdict, agg_error_t *err);
void args_help(void);

/* The table for people, `width` columns wide (at least 60), and the one JSON object. */
void table_print(FILE *to, const struct doctor_report *report, int quiet, unsigned width);
void json_print(FILE *to, const struct doctor_report *report);

#endif
