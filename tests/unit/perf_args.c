/* agg-perf's command line: what is taken, and a line that says what to change for what is not; the models' tables. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "perf/perf.h"

#define WORDS_MAX 32

static struct perf_args args;
static enum args_verdict verdict;
static char text[256];

/* Splits at blanks and parses. */
static int parse(const char *line) {
  static char copy[512];
  char *argv[WORDS_MAX] = {"agg-perf"};
  int argc = 1;
  snprintf(copy, sizeof(copy), "%s", line);
  for (char *word = strtok(copy, " "); word != NULL && argc < WORDS_MAX - 1; word = strtok(NULL, " ")) argv[argc++] = word;
  text[0] = '\0';
  return args_parse(&args, argc, argv, &verdict, text, sizeof(text));
}

static void expect_refused(const char *line, const char *says) {
  ck_assert_msg(parse(line) == -1, "%s was taken", line);
  ck_assert_msg(strstr(text, says) != NULL, "%s: \"%s\" does not say \"%s\"", line, text, says);
  ck_assert_msg(strchr(text, '\n') == NULL, "%s: more than one line", line);
}

START_TEST(defaults) {
  ck_assert_int_eq(parse(""), 0);
  ck_assert_int_eq(verdict, ARGS_RUN);
  ck_assert_uint_eq(args.ops, 1u << OP_ALLREDUCE);
  ck_assert_uint_eq(args.dtypes, 1u << AGG_F32);
  ck_assert_uint_eq(args.redops, 1u << AGG_SUM);
  ck_assert_int_eq(args.inplace, 3);
  ck_assert_int_eq(args.check, 1);
  ck_assert_int_eq(args.memory, MEMORY_AGG);
  ck_assert_uint_eq(args.outstanding, 1);
  ck_assert_uint_eq(args.sizes[0], 8);
  ck_assert_uint_eq(args.sizes[args.n_sizes - 1], 64ull << 20);
}
END_TEST

START_TEST(sizes_by_factor) {
  ck_assert_int_eq(parse("-b 8 -e 256M -f 2"), 0);
  ck_assert_uint_eq(args.n_sizes, 26);
  ck_assert_uint_eq(args.sizes[25], 256ull << 20);
  ck_assert_int_eq(parse("-b 1K -e 1M -f 4"), 0);
  ck_assert_uint_eq(args.n_sizes, 6);
  ck_assert_int_eq(parse("-b 100 -e 250"), 0);
  ck_assert_uint_eq(args.n_sizes, 2);
  ck_assert_int_eq(parse("-b 1G"), 0);
  ck_assert_uint_eq(args.n_sizes, 1);
}
END_TEST

START_TEST(sizes_by_step_and_by_list) {
  ck_assert_int_eq(parse("-b 1K -e 4K -i 1K"), 0);
  ck_assert_uint_eq(args.n_sizes, 4);
  ck_assert_uint_eq(args.sizes[3], 4096);
  ck_assert_int_eq(parse("--sizes 0,8,3M"), 0);
  ck_assert_uint_eq(args.n_sizes, 3);
  ck_assert_uint_eq(args.sizes[0], 0);
  ck_assert_uint_eq(args.sizes[2], 3ull << 20);
}
END_TEST

START_TEST(lists) {
  ck_assert_int_eq(parse("--op all --dtype all --redop all --inplace 1"), 0);
  ck_assert_uint_eq(args.ops, (1u << OP_COUNT) - 1);
  ck_assert_uint_eq(args.dtypes, (1u << AGG_DTYPE_COUNT) - 1);
  ck_assert_uint_eq(args.redops, (1u << AGG_REDOP_COUNT) - 1);
  ck_assert_int_eq(args.inplace, 2);
  ck_assert_int_eq(parse("--op reduce,barrier --dtype bf16,f16 --redop min --inplace 0"), 0);
  ck_assert_uint_eq(args.ops, 1u << OP_REDUCE | 1u << OP_BARRIER);
  ck_assert_uint_eq(args.dtypes, 1u << AGG_BF16 | 1u << AGG_F16);
  ck_assert_uint_eq(args.redops, 1u << AGG_MIN);
  ck_assert_int_eq(args.inplace, 1);
}
END_TEST

START_TEST(other_options) {
  ck_assert_int_eq(parse("-w 0 -n 7 --memory register --priority high --outstanding 16 --check 0 --json --root 3"), 0);
  ck_assert_uint_eq(args.warmup, 0);
  ck_assert_uint_eq(args.iterations, 7);
  ck_assert_int_eq(args.memory, MEMORY_REGISTER);
  ck_assert_int_eq(args.priority, AGG_PRIORITY_HIGH);
  ck_assert_uint_eq(args.outstanding, 16);
  ck_assert_int_eq(args.check, 0);
  ck_assert_int_eq(args.json, 1);
  ck_assert_uint_eq(args.root, 3);
  ck_assert_int_eq(parse("--help"), 0);
  ck_assert_int_eq(verdict, ARGS_HELP);
  ck_assert_int_eq(parse("--version"), 0);
  ck_assert_int_eq(verdict, ARGS_VERSION);
}
END_TEST

START_TEST(refusals_say_what_to_change) {
  static const char *const LINES[][2] = {
      {"--nonsense", "unknown option --nonsense"},
      {"-x", "unknown option -x"},
      {"-b", "-b needs a value"},
      {"-b 0", "-b 0"},
      {"-b 8Q", "-b 8Q"},
      {"-b -8", "-b -8"},
      {"-b 99999999999999999999", "expected bytes"},
      {"-e 2000G", "-e 2000G"},
      {"-b 16M -e 8M", "is larger than"},
      {"-f 1", "-f 1"},
      {"-f 2 -i 8", "exclude"},
      {"-b 1 -e 1M -i 1", "more than 256 sizes"},
      {"--sizes 8 -b 8", "--sizes replaces"},
      {"--sizes 8,,9", "--sizes"},
      {"--sizes 8,", "--sizes"},
      {"--op allreduc", "'allreduc' is unknown"},
      {"--op allreduce,", "'' is unknown"},
      {"--dtype f32,f31", "'f31' is unknown"},
      {"--redop median", "'median' is unknown"},
      {"--inplace 2", "expected 0, 1 or both"},
      {"--root x", "--root x"},
      {"-n 0", "-n 0"},
      {"-w 1000001", "-w 1000001"},
      {"--memory gpu", "expected agg, malloc or register"},
      {"--priority low", "expected normal, high"},
      {"--outstanding 0", "--outstanding 0"},
      {"--outstanding 1025", "--outstanding 1025"},
      {"--check 2", "--check 2"},
      {"--model gpt", "expected resnet50 or bert-large"},
      {"--model resnet50 --op reduce", "allreduce only"},
      {"--model resnet50 --outstanding 2", "leave --outstanding out"},
      {"--model resnet50 -b 8", "its own sizes"},
      {"extra", "unexpected argument extra"},
  };
  for (size_t i = 0; i < sizeof(LINES) / sizeof(LINES[0]); i++) expect_refused(LINES[i][0], LINES[i][1]);
}
END_TEST

START_TEST(models_have_the_published_sizes) {
  const struct model *resnet = model_find("resnet50"), *bert = model_find("bert-large");
  ck_assert_uint_eq(model_tensors(resnet), 161);
  ck_assert_uint_eq(model_elements(resnet), 25557032);
  ck_assert_uint_eq(model_tensors(bert), 391);
  ck_assert_uint_eq(model_elements(bert), 335141888);
  ck_assert_uint_eq(model_count(resnet, 0), 9408);
  ck_assert_uint_eq(model_count(resnet, 160), 1000);
  ck_assert_uint_eq(model_count(bert, 0), 30522 * 1024);
  ck_assert_uint_eq(model_count(bert, 390), 1024);
  ck_assert_ptr_null(model_find("resnet5"));
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("perf_args");
  TCase *t = tcase_create("arguments");
  tcase_add_test(t, defaults);
  tcase_add_test(t, sizes_by_factor);
  tcase_add_test(t, sizes_by_step_and_by_list);
  tcase_add_test(t, lists);
  tcase_add_test(t, other_options);
  tcase_add_test(t, refusals_say_what_to_change);
  tcase_add_test(t, models_have_the_published_sizes);
  suite_add_tcase(s, t);
  return s;
}
