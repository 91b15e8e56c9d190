/* agg-topo: shows this machine, and how a group is planned. main only: read the command line, run, return the code. */
#include "scripts/agg-topo/agg_topo.h"
#include "topology/discover.h"

int main(int argc, char **argv) {
  struct args args;
  enum args_verdict verdict;
  agg_error_t err = {0};
  int code = EXIT_DONE;
  discover_quiet();
  if (args_parse(&args, argc, argv, &verdict, &err) != AGG_OK) {
    code = EXIT_USAGE;
  } else if (verdict == ARGS_HELP) {
    args_help();
  } else if (verdict == ARGS_VERSION) {
    printf("agg-topo %d.%d.%d\n", AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH);
  } else {
    code = run(&args, stdout, &err);
  }
  if (code == EXIT_DONE) code = written(stdout, "the output", &err);
  if (code != EXIT_DONE) fprintf(stderr, "agg-topo: %s\n", err.text);
  return code;
}
