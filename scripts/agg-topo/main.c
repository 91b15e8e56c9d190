/* agg-topo: shows this machine, and how a group is planned. main only: read the command line, look, print, return the code. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "scripts/agg-topo/agg_topo.h"
#include "topology/discover.h"

static int written(FILE *to, const char *name) {
  if (fflush(to) == 0 && !ferror(to)) return 1;
  fprintf(stderr, "agg-topo: %s: could not be written: %s\n", name, strerror(errno));
  return 0;
}

static int failed(const agg_error_t *err) {
  fprintf(stderr, "agg-topo: %s\n", err->text);
  return EXIT_CANNOT;
}

/* The file of --svg; standard output for "-". */
static FILE *open_svg(const char *name) {
  FILE *to = strcmp(name, "-") == 0 ? stdout : fopen(name, "we");
  if (to == NULL) fprintf(stderr, "agg-topo: --svg %s: cannot be opened: %s\n", name, strerror(errno));
  return to;
}

static int close_svg(FILE *to, const char *name) {
  int ok = written(to, name);
  if (to != stdout && fclose(to) != 0 && ok) {
    fprintf(stderr, "agg-topo: %s: could not be written: %s\n", name, strerror(errno));
    ok = 0;
  }
  return ok ? EXIT_DONE : EXIT_USAGE;
}

static int dump(const struct topo *t) {
  agg_error_t err = {0};
  char *text;
  if (topo_dump(t, &text, &err) != AGG_OK) return failed(&err);
  fputs(text, stdout);
  free(text);
  return EXIT_DONE;
}

static int only_svg(const struct args *args) { return args->svg != NULL && strcmp(args->svg, "-") == 0; }

static int print_machine(const struct args *args, const struct machine *m) {
  if (args->svg != NULL) {
    FILE *to = open_svg(args->svg);
    if (to == NULL) return EXIT_USAGE;
    machine_svg(to, m, args->pin_text);
    int code = close_svg(to, args->svg);
    if (code != EXIT_DONE || only_svg(args)) return code;
  }
  if (args->dump) return dump(&m->topo);
  if (args->json) {
    machine_json(stdout, m, args->pin_text);
  } else {
    machine_print(stdout, m, args->pin_text);
  }
  return EXIT_DONE;
}

static int run_machine(const struct args *args) {
  struct machine m;
  agg_error_t err = {0};
  if (machine_look(args, &m, &err) != AGG_OK) return failed(&err);
  int code = print_machine(args, &m);
  machine_fini(&m);
  return code;
}

static int print_planned(const struct args *args, const struct planned *p) {
  agg_error_t err = {0};
  if (args->svg != NULL) {
    FILE *to = open_svg(args->svg);
    if (to == NULL) return EXIT_USAGE;
    int rc = plan_svg(to, args, p, &err), code = close_svg(to, args->svg);
    if (rc != AGG_OK) return failed(&err);
    if (code != EXIT_DONE || only_svg(args)) return code;
  }
  if (args->dump) return dump(&p->cluster.topo);
  if (args->json) {
    plan_json(stdout, p);
    return EXIT_DONE;
  }
  return plan_print(stdout, p, &err) == AGG_OK ? EXIT_DONE : failed(&err);
}

static int run_plan(const struct args *args) {
  struct planned p;
  agg_error_t err = {0};
  if (plan_work(args, &p, &err) != AGG_OK) return failed(&err);
  int code = print_planned(args, &p);
  plan_drop(&p);
  return code;
}

static int run_cost(const struct args *args) {
  size_t n = cost_print(&args->cost, 0, NULL, 0);
  char *text = malloc(n + 1);
  if (text == NULL) return failed(&(agg_error_t){.code = AGG_ENOMEM, .text = "no memory"});
  cost_print(&args->cost, 0, text, n + 1);
  fputs(text, stdout);
  free(text);
  return EXIT_DONE;
}

int main(int argc, char **argv) {
  struct args args;
  enum args_verdict verdict;
  agg_error_t err = {0};
  int code = EXIT_DONE;
  discover_quiet();
  if (args_parse(&args, argc, argv, &verdict, &err) != AGG_OK) {
    fprintf(stderr, "agg-topo: %s\n", err.text);
    return EXIT_USAGE;
  }
  if (verdict == ARGS_HELP) {
    args_help();
  } else if (verdict == ARGS_VERSION) {
    printf("agg-topo %d.%d.%d\n", AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH);
  } else {
    code = args.command == COMMAND_PLAN ? run_plan(&args) : args.command == COMMAND_COST ? run_cost(&args) : run_machine(&args);
  }
  return written(stdout, "the output") ? code : EXIT_USAGE;
}
