/* agg-topo without its main: a command line in, what it would print out. Its tests run at the repository's root. */
#ifndef TESTS_TOPO_RUN_H
#define TESTS_TOPO_RUN_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "scripts/agg-topo/agg_topo.h"

#define TOPO_WORDS_MAX 40

/* Words are separated by single spaces. What *args points to lives until the next call. */
static inline int topo_run_parse(const char *line, struct args *args, enum args_verdict *verdict, agg_error_t *err) {
  static char copy[2048];
  static char program[] = "agg-topo";
  char *argv[TOPO_WORDS_MAX] = {program};
  int argc = 1;
  ck_assert_int_lt(snprintf(copy, sizeof copy, "%s", line), sizeof copy);
  for (char *word = strtok(copy, " "); word != NULL && argc < TOPO_WORDS_MAX - 1; word = strtok(NULL, " ")) argv[argc++] = word;
  return args_parse(args, argc, argv, verdict, err);
}

/* The exit code. *text: what it printed; the caller frees. */
static inline int topo_run_code(const char *line, char **text, agg_error_t *err) {
  struct args args;
  enum args_verdict verdict;
  size_t n;
  *err = (agg_error_t){0};
  ck_assert_msg(topo_run_parse(line, &args, &verdict, err) == AGG_OK, "%s: %s", line, err->text);
  FILE *out = open_memstream(text, &n);
  ck_assert_ptr_nonnull(out);
  int code = run(&args, out, err);
  fclose(out);
  return code;
}

/* The caller frees. */
static inline char *topo_run(const char *line) {
  char *text;
  agg_error_t err;
  int code = topo_run_code(line, &text, &err);
  ck_assert_msg(code == EXIT_DONE, "%s: %s", line, err.text);
  return text;
}

#endif
