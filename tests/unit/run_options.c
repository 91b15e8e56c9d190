/* agg-run's command line. */
#include <check.h>
#include <string.h>

#include "scripts/agg-run/options.h"

static struct options options;
static enum option_verdict verdict;
static agg_error_t err;

/* The options point into their arguments, so those are kept. */
static int parse(char **words) {
  static char *argv[32];
  int argc = 0;
  for (; words[argc] != NULL; argc++) argv[argc] = words[argc];
  argv[argc] = NULL;
  memset(&err, 0, sizeof(err));
  return options_parse(&options, argc, argv, &verdict, &err);
}
#define PARSE(...) parse((char *[]){"agg-run", __VA_ARGS__, NULL})

START_TEST(program_and_its_arguments_are_left_alone) {
  ck_assert_int_eq(PARSE("-n", "4", "--servers", "2", "./prog", "-n", "7", "--help"), AGG_OK);
  ck_assert_int_eq(verdict, OPTIONS_RUN);
  ck_assert_uint_eq(options.ranks, 4);
  ck_assert_uint_eq(options.servers, 2);
  ck_assert_str_eq(options.program[0], "./prog");
  ck_assert_str_eq(options.program[3], "--help");
  ck_assert_ptr_null(options.program[4]);
  ck_assert_int_eq(options.prefix, 1);
  ck_assert_double_eq(options.grace_s, 5);
  options_fini(&options);
}
END_TEST

START_TEST(all_options) {
  ck_assert_int_eq(PARSE("--ranks=3", "--env", "A=b", "-e", "C=", "--timeout", "2.5", "--grace", "0.5", "--no-prefix", "--keep-going",
                         "--port", "4000", "--", "x"),
                   AGG_OK);
  ck_assert_uint_eq(options.ranks, 3);
  ck_assert_uint_eq(options.n_env, 2);
  ck_assert_str_eq(options.env[1], "C=");
  ck_assert_double_eq(options.timeout_s, 2.5);
  ck_assert_double_eq(options.grace_s, 0.5);
  ck_assert_int_eq(options.prefix, 0);
  ck_assert_int_eq(options.keep_going, 1);
  ck_assert_uint_eq(options.port, 4000);
  options_fini(&options);
}
END_TEST

START_TEST(server_arguments_are_split_like_a_shell) {
  ck_assert_int_eq(PARSE("-n", "1", "--servers", "1", "--server-args", "  --reactors 2 --x='a b' \"c 'd\"  ", "--server-args", "e", "p"),
                   AGG_OK);
  ck_assert_uint_eq(options.n_server_args, 5);
  ck_assert_str_eq(options.server_args[0], "--reactors");
  ck_assert_str_eq(options.server_args[1], "2");
  ck_assert_str_eq(options.server_args[2], "--x=a b");
  ck_assert_str_eq(options.server_args[3], "c 'd");
  ck_assert_str_eq(options.server_args[4], "e");
  ck_assert_ptr_null(options.server_args[5]);
  options_fini(&options);
}
END_TEST

static void expect_refused(int rc, const char *says) {
  ck_assert_int_eq(rc, AGG_EINVAL);
  ck_assert_msg(strstr(err.text, says) != NULL, "\"%s\" does not say \"%s\"", err.text, says);
  ck_assert_ptr_null(strchr(err.text, '\n'));
  options_fini(&options);
}

START_TEST(refusals_say_what_to_change) {
  expect_refused(PARSE("true"), "-n is missing");
  expect_refused(PARSE("-n", "2"), "the program is missing");
  expect_refused(PARSE("-n", "0", "x"), "-n 0: expected a number from 1 to 4096");
  expect_refused(PARSE("-n", "4097", "x"), "-n 4097");
  expect_refused(PARSE("-n", "-1", "x"), "-n -1");
  expect_refused(PARSE("-n", "two", "x"), "-n two");
  expect_refused(PARSE("-n"), "-n needs a value");
  expect_refused(PARSE("--frobnicate", "x"), "unknown option --frobnicate");
  expect_refused(PARSE("-n", "2", "--port", "70000", "x"), "--port 70000");
  expect_refused(PARSE("-n", "2", "--port", "0", "x"), "--port 0");
  expect_refused(PARSE("-n", "2", "--timeout", "0", "x"), "--timeout 0");
  expect_refused(PARSE("-n", "2", "--timeout", "nan", "x"), "--timeout nan");
  expect_refused(PARSE("-n", "2", "--grace", "-1", "x"), "--grace -1");
  expect_refused(PARSE("-n", "2", "--env", "novalue", "x"), "expected KEY=VALUE");
  expect_refused(PARSE("-n", "2", "--env", "=x", "x"), "expected KEY=VALUE");
  expect_refused(PARSE("-n", "2", "--servers", "257", "x"), "--servers 257");
  expect_refused(PARSE("-n", "2", "--servers", "1", "--port", "5000", "x"), "give one of the two");
  expect_refused(PARSE("-n", "2", "--server-args", "a", "x"), "needs --servers");
  expect_refused(PARSE("-n", "2", "--servers", "1", "--server-args", "'a", "x"), "a quote is not closed");
}
END_TEST

START_TEST(help_and_version_need_nothing_else) {
  ck_assert_int_eq(PARSE("--help"), AGG_OK);
  ck_assert_int_eq(verdict, OPTIONS_HELP);
  options_fini(&options);
  ck_assert_int_eq(PARSE("-n", "3", "--version"), AGG_OK);
  ck_assert_int_eq(verdict, OPTIONS_VERSION);
  options_fini(&options);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("run_options");
  TCase *t = tcase_create("options");
  tcase_add_test(t, program_and_its_arguments_are_left_alone);
  tcase_add_test(t, all_options);
  tcase_add_test(t, server_arguments_are_split_like_a_shell);
  tcase_add_test(t, refusals_say_what_to_change);
  tcase_add_test(t, help_and_version_need_nothing_else);
  suite_add_tcase(s, t);
  return s;
}
