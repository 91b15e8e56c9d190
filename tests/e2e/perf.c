/* agg-perf as people run it: alone and under agg-run, its table, its JSON lines, its mistakes. Figures are not looked at. */
#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/perf.h"

#define TEXT_CAP (1u << 20)

static char dir[PATH_MAX]; /* of the programs: three folders above this test */
static char *out, *errors;

static void setup(void) {
  ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
  ck_assert_int_gt(n, 0);
  dir[n] = '\0';
  for (int up = 0; up < 3; up++) *strrchr(dir, '/') = '\0';
  out = calloc(1, TEXT_CAP);
  errors = calloc(1, TEXT_CAP);
}

static void teardown(void) {
  free(out);
  free(errors);
}

/* Runs a shell line in which %R and %P stand for agg-run and agg-perf; standard error goes to a file. Returns the code. */
static int run(const char *line) {
  char command[4 * PATH_MAX], file[] = "/tmp/agg-perf-test-XXXXXX";
  int fd = mkstemp(file), n = 0;
  ck_assert_int_ge(fd, 0);
  for (const char *at = line; *at != '\0' && n < (int)sizeof(command) - PATH_MAX; at++) {
    int program = at[0] == '%' && (at[1] == 'R' || at[1] == 'P');
    n += snprintf(command + n, sizeof(command) - (size_t)n, program ? "'%s/agg-%s'" : "%.1s", program ? dir : at,
                  at[1] == 'R' ? "run" : "perf");
    at += program;
  }
  snprintf(command + n, sizeof(command) - (size_t)n, " 2>%s", file);
  FILE *pipe = popen(command, "r");
  ck_assert_ptr_nonnull(pipe);
  out[fread(out, 1, TEXT_CAP - 1, pipe)] = '\0';
  int status = pclose(pipe);
  ssize_t got = read(fd, errors, TEXT_CAP - 1);
  errors[got > 0 ? got : 0] = '\0';
  close(fd);
  unlink(file);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void expect_code(const char *line, int code) {
  int got = run(line);
  ck_assert_msg(got == code, "%s ended with %d\n%s%s", line, got, out, errors);
}

static unsigned lines(const char *text) {
  unsigned n = 0;
  for (; *text != '\0'; text++) n += *text == '\n';
  return n;
}

/* The number after "name": in a JSON line. */
static double field(const char *json, const char *name) {
  char key[64];
  snprintf(key, sizeof(key), "\"%s\":", name);
  const char *at = strstr(json, key);
  ck_assert_msg(at != NULL, "no %s in %s", name, json);
  return strtod(at + strlen(key), NULL);
}

START_TEST(alone_it_is_the_only_rank) {
  expect_code("%P --json --sizes 4K --inplace 0 -n 3", 0);
  ck_assert_uint_eq(lines(out), 1);
  ck_assert_double_eq(field(out, "ranks"), 1);
  ck_assert_double_eq(field(out, "bytes"), 4096);
  ck_assert_double_eq(field(out, "busbw_GBps"), 0);
}
END_TEST

START_TEST(json_lines_have_all_fields) {
  static const char *const FIELDS[] = {"op",   "dtype",     "bytes",  "inplace",    "ranks",      "servers",      "transport",
                                       "plan", "median_us", "p99_us", "algbw_GBps", "busbw_GBps", "cpu_s_per_GB", "wrong"};
  expect_code("%R -n 2 --timeout 60 --no-prefix %P --json --sizes 8,100000 -n 4", 0);
  ck_assert_uint_eq(lines(out), 4);
  for (char *line = strtok(out, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    ck_assert(line[0] == '{' && line[strlen(line) - 1] == '}');
    for (size_t i = 0; i < sizeof(FIELDS) / sizeof(FIELDS[0]); i++) field(line, FIELDS[i]);
    ck_assert_double_eq(field(line, "wrong"), 0);
    ck_assert_double_eq(field(line, "ranks"), 2);
    ck_assert(field(line, "p99_us") >= field(line, "median_us"));
    ck_assert_double_eq_tol(field(line, "algbw_GBps"), field(line, "bytes") / field(line, "median_us") / 1e3,
                            0.01 * field(line, "algbw_GBps") + 1e-5);
    ck_assert_double_eq_tol(field(line, "busbw_GBps"), field(line, "algbw_GBps"), 1e-6);
  }
}
END_TEST

/* Every operation, type and operator, in and out of place, with odd sizes: the whole library seen from outside. */
static void expect_all_right(const char *environment, const char *servers) {
  char line[512];
  snprintf(line, sizeof(line),
           "%s %%R -n 3 %s --timeout 100 --no-prefix %%P --json --op all --dtype all --redop all --sizes 4,10007 --root 1 -n 2 -w 1",
           environment, servers);
  expect_code(line, 0);
  unsigned reducing = 3 * AGG_DTYPE_COUNT * AGG_REDOP_COUNT, others = 4 * AGG_DTYPE_COUNT;
  unsigned cases = 0;
  for (char *json = strtok(out, "\n"); json != NULL; json = strtok(NULL, "\n")) {
    if (json[0] != '{') continue; /* a server's log */
    ck_assert_msg(field(json, "wrong") == 0, "%s", json);
    cases++;
  }
  ck_assert_uint_eq(cases, (reducing + others) * 2 * 2 + 1);
}

START_TEST(everything_is_right_over_shm) { expect_all_right("AGG_TRANSPORT=shm", ""); }
END_TEST
START_TEST(everything_is_right_over_tcp) { expect_all_right("AGG_TRANSPORT=tcp", ""); }
END_TEST
START_TEST(everything_is_right_around_a_ring) { expect_all_right("AGG_PLAN=ring", ""); }
END_TEST
START_TEST(everything_is_right_through_servers) { expect_all_right("AGG_PLAN=star", "--servers 2"); }
END_TEST

START_TEST(memory_kinds_priorities_and_outstanding) {
  for (int kind = 0; kind < 3; kind++) {
    char line[256];
    snprintf(line, sizeof(line), "%%R -n 2 --timeout 60 %%P --sizes 1K,1M -n 3 --memory %s --outstanding 5 --priority high",
             memory_name((enum perf_memory)kind));
    expect_code(line, 0);
  }
}
END_TEST

START_TEST(a_model_is_one_step) {
  expect_code("%R -n 2 --timeout 60 --no-prefix %P --json --model resnet50 --inplace 1 -n 1 -w 1", 0);
  ck_assert_uint_eq(lines(out), 1);
  ck_assert_double_eq(field(out, "bytes"), 4 * 25557032.0);
  ck_assert_double_eq(field(out, "wrong"), 0);
}
END_TEST

START_TEST(the_table_has_a_header_and_a_row_a_case) {
  expect_code("%R -n 2 --timeout 60 --no-prefix %P -b 8 -e 64 -n 3", 0);
  ck_assert_ptr_nonnull(strstr(out, "ranks 2  servers 0  plan direct"));
  ck_assert_ptr_nonnull(strstr(out, "\n# rank 0 to rank 1 ("));
  ck_assert_uint_eq(lines(out), 3 + 8);
}
END_TEST

START_TEST(mistakes_get_one_line) {
  expect_code("%P --nonsense", 2);
  ck_assert_str_eq(errors, "agg-perf: unknown option --nonsense (see agg-perf --help)\n");
  expect_code("%P --root 1", 2);
  ck_assert_str_eq(errors, "agg-perf: --root 1: there are 1 ranks, counted from 0\n");
  expect_code("AGG_SIZE=2 AGG_RANK=7 %P", 2);
  ck_assert_uint_eq(lines(errors), 1);
  expect_code("AGG_TRANSPORT=pigeon %P", 2);
  ck_assert_uint_eq(lines(errors), 1);
  expect_code("%P --help", 0);
  expect_code("%P --version", 0);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("agg-perf");
  TCase *t = tcase_create("perf");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, alone_it_is_the_only_rank);
  tcase_add_test(t, json_lines_have_all_fields);
  tcase_add_test(t, everything_is_right_over_shm);
  tcase_add_test(t, everything_is_right_over_tcp);
  tcase_add_test(t, everything_is_right_around_a_ring);
  tcase_add_test(t, everything_is_right_through_servers);
  tcase_add_test(t, memory_kinds_priorities_and_outstanding);
  tcase_add_test(t, a_model_is_one_step);
  tcase_add_test(t, the_table_has_a_header_and_a_row_a_case);
  tcase_add_test(t, mistakes_get_one_line);
  suite_add_tcase(s, t);
  return s;
}
