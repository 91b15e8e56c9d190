/* agg-doctor: checks this machine for what makes RDMA fail. main only: read the command line, check, print, return the code. */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "scripts/agg-doctor/agg_doctor.h"

static unsigned terminal_width(void) {
  struct winsize size;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 60 ? size.ws_col : 120;
}

static int run(const struct args *args) {
  struct doctor_report report;
  agg_error_t err = {0};
  int rc = doctor_run(&args->options, &report, &err);
  if (rc != AGG_OK) {
    fprintf(stderr, "agg-doctor: %s\n", err.text);
    return EXIT_USAGE;
  }
  if (args->json) {
    json_print(stdout, &report);
  } else {
    table_print(stdout, &report, args->quiet, terminal_width());
  }
  int code = doctor_count(&report, DOCTOR_FAIL) > 0 ? EXIT_SOME_FAILED : EXIT_NONE_FAILED;
  doctor_report_free(&report);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    perror("agg-doctor: the result could not be written");
    return EXIT_USAGE;
  }
  return code;
}

int main(int argc, char **argv) {
  struct args args;
  enum args_verdict verdict;
  agg_error_t err = {0};
  if (args_parse(&args, argc, argv, &verdict, &err) != AGG_OK) {
    fprintf(stderr, "agg-doctor: %s\n", err.text);
    return EXIT_USAGE;
  }
  if (verdict == ARGS_HELP) {
    args_help();
  } else if (verdict == ARGS_VERSION) {
    printf("agg-doctor %d.%d.%d\n", AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH);
  } else {
    return run(&args);
  }
  return EXIT_NONE_FAILED;
}
