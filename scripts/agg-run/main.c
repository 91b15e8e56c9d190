/* agg-run: runs the workers (and servers) of one job on this host. main only: read the command line, run, return the code. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "scripts/agg-run/job.h"

/* A closed standard descriptor would be taken by the next pipe. */
static void open_standard_descriptors(void) {
  int fd;
  while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) continue;
  if (fd > STDERR_FILENO) close(fd);
}

int main(int argc, char **argv) {
  struct options options;
  enum option_verdict verdict;
  agg_error_t err = {0};
  int code = 0;
  open_standard_descriptors();
  if (options_parse(&options, argc, argv, &verdict, &err) != AGG_OK) {
    fprintf(stderr, "agg-run: %s\n", err.text);
    code = EXIT_USAGE;
  } else if (verdict == OPTIONS_HELP) {
    options_help();
  } else if (verdict == OPTIONS_VERSION) {
    printf("agg-run %d.%d.%d\n", AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH);
  } else {
    static struct job job;
    code = job_run(&job, &options);
  }
  options_fini(&options);
  return code;
}
