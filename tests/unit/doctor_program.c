/* agg-doctor's command line and what it prints: every argument that is refused, the table, and JSON that is JSON whatever was seen. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scripts/agg-doctor/agg_doctor.h"
#include "scripts/common/print.h"
#include "tests/lib/json.h"
#include "tests/lib/madeup.h"

Suite *make_suite(void);

#define WORDS_MAX 16

static struct args args;
static enum args_verdict verdict;
static agg_error_t err;
static char *printed;
static size_t printed_len;

static int parse(const char *line) {
  static char copy[2048];
  char *argv[WORDS_MAX] = {"agg-doctor"};
  int argc = 1;
  snprintf(copy, sizeof(copy), "%s", line);
  for (char *word = strtok(copy, " "); word != NULL && argc < WORDS_MAX - 1; word = strtok(NULL, " ")) argv[argc++] = word;
  err = (agg_error_t){0};
  return args_parse(&args, argc, argv, &verdict, &err);
}

static void expect_refused(const char *line, const char *says) {
  ck_assert_msg(parse(line) == AGG_EINVAL, "%s was taken", line);
  ck_assert_msg(strstr(err.text, says) != NULL, "%s: \"%s\" does not say \"%s\"", line, err.text, says);
}

START_TEST(arguments) {
  ck_assert_int_eq(parse(""), AGG_OK);
  ck_assert_int_eq(verdict, ARGS_RUN);
  ck_assert_str_eq(args.options.devices, "");
  ck_assert_int_eq(parse("--json --gpu --quiet --device mlx5_0:1 --device mlx5_1 --memlock 4G --root /x"), AGG_OK);
  ck_assert(args.json && args.options.gpu && args.quiet);
  ck_assert_str_eq(args.options.devices, "mlx5_0:1,mlx5_1");
  ck_assert_str_eq(args.options.root, "/x");
  ck_assert_uint_eq(args.options.memlock_need, 4ull << 30);
  ck_assert_int_eq(parse("--help --nonsense"), AGG_OK);
  ck_assert_int_eq(verdict, ARGS_HELP);
  ck_assert_int_eq(parse("--version"), AGG_OK);
  ck_assert_int_eq(verdict, ARGS_VERSION);
}
END_TEST

START_TEST(arguments_refused) {
  char long_name[1024] = "--device ";
  expect_refused("--nonsense", "--nonsense: unknown option");
  expect_refused("-x", "-x: unknown option");
  expect_refused("--device", "--device: a value is missing");
  expect_refused("--json=1", "--json=1");
  expect_refused("mlx5_0", "mlx5_0: no arguments are taken");
  expect_refused("--memlock 0", "--memlock 0");
  expect_refused("--memlock lots", "as in 4G");
  memset(long_name + 9, 'a', 600);
  expect_refused(long_name, "more than");
}
END_TEST

/* Captures what is printed; released by the next call or the end of the test. */
static FILE *begin(void) {
  free(printed);
  printed = NULL;
  FILE *to = open_memstream(&printed, &printed_len);
  ck_assert_ptr_nonnull(to);
  return to;
}

static void quoted(const char *text, const char *expected) {
  FILE *to = begin();
  print_json_string(to, text);
  fclose(to);
  ck_assert_str_eq(printed, expected);
}

START_TEST(json_strings) {
  quoted("", "\"\"");
  quoted("plain text /", "\"plain text /\"");
  quoted("a \"b\" \\ c", "\"a \\\"b\\\" \\\\ c\"");
  quoted("\n\t\001\177", "\"\\u000a\\u0009\\u0001\\u007f\"");
  quoted("\303\251\377", "\"\\u00c3\\u00a9\\u00ff\"");
}
END_TEST

static void expect_json(const struct doctor_report *report) {
  FILE *to = begin();
  json_print(to, report);
  fclose(to);
  ck_assert_msg(is_json(printed), "not JSON: %s", printed);
}

START_TEST(json_whatever_was_seen) {
  struct madeup m;
  unsigned char bytes[300];
  madeup_open(&m);
  madeup_check(&m, "", 0);
  expect_json(&m.report);
  madeup_roce_server(&m);
  for (unsigned i = 0; i < sizeof(bytes); i++) bytes[i] = (unsigned char)(i + 11);
  madeup_bytes(&m, "/sys/class/infiniband/mlx5_0/ports/1/rate", bytes, sizeof(bytes));
  madeup_file(&m, "/sys/class/infiniband/mlx5_1/ports/1/rate", "\"}]\\");
  madeup_check(&m, "", 0);
  expect_json(&m.report);
  ck_assert_ptr_nonnull(strstr(printed, "\\\"}]\\\\"));
  expect_json(&(struct doctor_report){0});
  madeup_close(&m);
}
END_TEST

static struct doctor_finding some[4] = {
    {.check = "devices", .verdict = DOCTOR_PASS, .seen = "mlx5_0:1"},
    {.check = "port", .verdict = DOCTOR_FAIL, .device = "mlx5_0:1", .seen = "1: DOWN", .todo = "ip link set eth0 up"},
    {.check = "gid", .verdict = DOCTOR_UNKNOWN, .seen = "does not apply"},
    {.check = "mtu", .verdict = DOCTOR_UNKNOWN, .seen = "does not apply"},
};
static const struct doctor_report some_report = {.findings = some, .n = 4};

START_TEST(json_exactly) {
  expect_json(&some_report);
  ck_assert_str_eq(
      printed,
      "{\"version\":\"0.1.0\",\"passed\":1,\"warnings\":0,\"failed\":1,\"unknown\":2,\"findings\":[\n"
      "{\"check\":\"devices\",\"verdict\":\"pass\",\"device\":\"\",\"seen\":\"mlx5_0:1\",\"todo\":\"\"},\n"
      "{\"check\":\"port\",\"verdict\":\"fail\",\"device\":\"mlx5_0:1\",\"seen\":\"1: DOWN\",\"todo\":\"ip link set eth0 up\"},\n"
      "{\"check\":\"gid\",\"verdict\":\"unknown\",\"device\":\"\",\"seen\":\"does not apply\",\"todo\":\"\"},\n"
      "{\"check\":\"mtu\",\"verdict\":\"unknown\",\"device\":\"\",\"seen\":\"does not apply\",\"todo\":\"\"}\n"
      "]}\n");
}
END_TEST

START_TEST(table) {
  FILE *to = begin();
  table_print(to, &some_report, 0, 80);
  fclose(to);
  ck_assert_str_eq(printed,
                   "pass     devices: mlx5_0:1\n"
                   "FAIL     port mlx5_0:1: 1: DOWN\n"
                   "           -> ip link set eth0 up\n"
                   "unknown  gid, mtu: does not apply\n"
                   "1 passed, 0 warnings, 1 failed, 2 unknown\n");
  to = begin();
  table_print(to, &some_report, 1, 80);
  fclose(to);
  ck_assert_str_eq(printed,
                   "FAIL     port mlx5_0:1: 1: DOWN\n"
                   "           -> ip link set eth0 up\n");
}
END_TEST

START_TEST(table_is_as_wide_as_asked) {
  static struct doctor_finding long_one = {.check = "gid", .verdict = DOCTOR_WARN};
  const struct doctor_report report = {.findings = &long_one, .n = 1};
  for (unsigned i = 0; i < 60; i++) snprintf(long_one.seen + i * 6, 7, "word%u ", i % 10);
  for (unsigned width = 60; width < 130; width++) {
    FILE *to = begin();
    table_print(to, &report, 1, width);
    fclose(to);
    for (const char *line = printed; *line != '\0'; line += strcspn(line, "\n") + 1) ck_assert_uint_le(strcspn(line, "\n"), width);
  }
}
END_TEST

static void teardown(void) {
  free(printed);
  printed = NULL;
}

Suite *make_suite(void) {
  const TTest *const TESTS[] = {arguments, arguments_refused,        json_strings, json_whatever_was_seen, json_exactly,
                                table,     table_is_as_wide_as_asked};
  Suite *suite = suite_create("doctor_program");
  TCase *tcase = tcase_create("program");
  tcase_add_checked_fixture(tcase, NULL, teardown);
  tcase_set_timeout(tcase, 20);
  for (unsigned i = 0; i < sizeof(TESTS) / sizeof(TESTS[0]); i++) tcase_add_test(tcase, TESTS[i]);
  suite_add_tcase(suite, tcase);
  return suite;
}
