/* agg-perf: opens the library from the environment, runs the cases, returns the code. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "perf/perf.h"

static int complain(const char *what, const char *text) {
  fprintf(stderr, "agg-perf: %s%s%s\n", what, *what != '\0' ? ": " : "", text);
  return 2;
}

static int run(struct perf *perf) {
  agg_error_t err = {0};
  agg_config_t config;
  agg_config_init(&config);
  if (agg_config_from_env(&config, &err) != AGG_OK) return complain("", err.text);
  if (perf->args.memory == MEMORY_MALLOC) (void)snprintf(config.memory, sizeof(config.memory), "private"); /* plan for what is measured */
  if (perf->args.root >= config.world) {
    snprintf(perf->text, sizeof(perf->text), "--root %u: there are %u ranks, counted from 0", perf->args.root, config.world);
    return complain("", perf->text);
  }
  if (agg_open(&config, &perf->agg, &err) != AGG_OK) return complain("agg_open", err.text);
  int code = 2;
  if (agg_comm_create_world(perf->agg, &perf->comm) != AGG_OK) {
    complain("joining", agg_error_text(perf->agg));
  } else {
    perf->info.size = sizeof(perf->info);
    agg_comm_get_info(perf->comm, &perf->info);
    code = cases_run(perf);
    if (code == 2) complain("", perf->text);
    if (code == 0 && (fflush(stdout) != 0 || ferror(stdout))) code = complain("", "standard output cannot be written: results are missing");
  }
  agg_comm_destroy(perf->comm);
  agg_close(perf->agg);
  return code;
}

/* Started with 0, 1 or 2 closed: no socket may get such a number, or the results would be written into it. */
static void open_standard_descriptors(void) {
  int fd;
  while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) continue;
  if (fd > STDERR_FILENO) close(fd);
}

int main(int argc, char **argv) {
  static struct perf perf;
  enum args_verdict verdict;
  open_standard_descriptors();
  if (args_parse(&perf.args, argc, argv, &verdict, perf.text, sizeof(perf.text)) != 0) return complain("", perf.text);
  if (verdict == ARGS_HELP) {
    args_help();
    return 0;
  }
  if (verdict == ARGS_VERSION) {
    uint32_t v = agg_version();
    printf("agg-perf %d.%d.%d, libagg %u.%u.%u\n", AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH, v / 10000, v / 100 % 100,
           v % 100);
    return 0;
  }
  gethostname(perf.host, sizeof(perf.host) - 1);
  perf.cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
  return run(&perf);
}
