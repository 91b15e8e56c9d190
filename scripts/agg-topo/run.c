/* Does what the command line asks for: looks, plans, prints in the form that is wanted. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "scripts/agg-topo/agg_topo.h"

int written(FILE *to, const char *name, agg_error_t *err) {
  if (fflush(to) == 0 && !ferror(to)) return EXIT_DONE;
  err_sys(err, AGG_ESYS, errno, "%s: could not be written", name);
  return EXIT_USAGE;
}

static int only_svg(const struct args *args) { return args->svg != NULL && strcmp(args->svg, "-") == 0; }

/* What a picture is drawn of. */
struct shown {
  const struct args *args;
  const struct machine *machine; /* or */
  const struct planned *planned;
};

static int draw(FILE *to, const struct shown *s, agg_error_t *err) {
  if (s->planned != NULL) return plan_svg(to, s->args, s->planned, err) == AGG_OK ? EXIT_DONE : EXIT_CANNOT;
  machine_svg(to, s->machine, s->args->pin_text);
  return EXIT_DONE;
}

/* The picture, if one is asked for, into its file; only a whole one is left there. */
static int print_svg(FILE *out, const struct shown *s, agg_error_t *err) {
  const char *name = s->args->svg;
  if (name == NULL) return EXIT_DONE;
  if (only_svg(s->args)) return draw(out, s, err);
  FILE *to = fopen(name, "we");
  if (to == NULL) {
    err_sys(err, AGG_ESYS, errno, "--svg %s: cannot be opened", name);
    return EXIT_USAGE;
  }
  int code = draw(to, s, err);
  if (code == EXIT_DONE) code = written(to, name, err);
  if (fclose(to) != 0 && code == EXIT_DONE) {
    err_sys(err, AGG_ESYS, errno, "%s: could not be written", name);
    code = EXIT_USAGE;
  }
  if (code == EXIT_CANNOT) (void)remove(name);
  return code;
}

static int dump(FILE *out, const struct topo *t, agg_error_t *err) {
  char *text;
  if (topo_dump(t, &text, err) != AGG_OK) return EXIT_CANNOT;
  fputs(text, out);
  free(text);
  return EXIT_DONE;
}

static int run_machine(const struct args *args, FILE *out, agg_error_t *err) {
  struct machine m;
  if (machine_look(args, &m, err) != AGG_OK) return EXIT_CANNOT;
  int code = print_svg(out, &(struct shown){.args = args, .machine = &m}, err);
  if (code == EXIT_DONE && args->dump) {
    code = dump(out, &m.topo, err);
  } else if (code == EXIT_DONE && args->json) {
    machine_json(out, &m, args->pin_text);
  } else if (code == EXIT_DONE && !only_svg(args)) {
    machine_print(out, &m, args->pin_text);
  }
  machine_fini(&m);
  return code;
}

static int run_plan(const struct args *args, FILE *out, agg_error_t *err) {
  struct planned p;
  if (plan_work(args, &p, err) != AGG_OK) return EXIT_CANNOT;
  int code = print_svg(out, &(struct shown){.args = args, .planned = &p}, err);
  if (code == EXIT_DONE && args->dump) {
    code = dump(out, &p.cluster.topo, err);
  } else if (code == EXIT_DONE && args->json) {
    plan_json(out, &p);
  } else if (code == EXIT_DONE && !only_svg(args)) {
    code = plan_print(out, &p, err) == AGG_OK ? EXIT_DONE : EXIT_CANNOT;
  }
  plan_drop(&p);
  return code;
}

static int run_cost(const struct args *args, FILE *out, agg_error_t *err) {
  size_t n = cost_print(&args->cost, 0, NULL, 0);
  char *text = malloc(n + 1);
  if (text == NULL) {
    err_set(err, AGG_ENOMEM, "no memory for the constants");
    return EXIT_CANNOT;
  }
  cost_print(&args->cost, 0, text, n + 1);
  fputs(text, out);
  free(text);
  return EXIT_DONE;
}

int run(const struct args *args, FILE *out, agg_error_t *err) {
  if (args->command == COMMAND_PLAN) return run_plan(args, out, err);
  return args->command == COMMAND_COST ? run_cost(args, out, err) : run_machine(args, out, err);
}
