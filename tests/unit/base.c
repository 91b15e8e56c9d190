/* Errors, log, state tables, numbers, names. */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/state.h"
#include "base/util.h"

/* ---- errors ---- */

START_TEST(err_set_writes_and_returns) {
  agg_error_t err;
  errno = 77;
  ck_assert_int_eq(err_set(&err, AGG_EPEER, "rank %d of %s", 3, "job"), AGG_EPEER);
  ck_assert_int_eq(err.code, AGG_EPEER);
  ck_assert_str_eq(err.text, "rank 3 of job");
  ck_assert_int_eq(errno, 77);
  ck_assert_int_eq(err_set(NULL, AGG_EINVAL, "nobody reads this"), AGG_EINVAL);
}
END_TEST

START_TEST(err_sys_appends_the_reason) {
  agg_error_t err;
  ck_assert_int_eq(err_sys(&err, AGG_ESYS, ENOENT, "cannot open %s", "x"), AGG_ESYS);
  ck_assert_str_eq(err.text, "cannot open x: No such file or directory");
  ck_assert_int_eq(err_sys(&err, AGG_ESYS, 99999, "odd"), AGG_ESYS);
  ck_assert_ptr_nonnull(strstr(err.text, "odd: "));
  ck_assert_int_eq(err_sys(NULL, AGG_ENOMEM, ENOMEM, "x"), AGG_ENOMEM);
}
END_TEST

START_TEST(err_prefix_goes_before) {
  agg_error_t err;
  err_set(&err, AGG_EINVAL, "no port");
  ck_assert_int_eq(err_prefix(&err, "server %d", 2), AGG_EINVAL);
  ck_assert_str_eq(err.text, "server 2: no port");
  ck_assert_int_eq(err_prefix(NULL, "x"), 0);
}
END_TEST

START_TEST(long_errors_are_cut_and_terminated) {
  agg_error_t err;
  char big[4 * AGG_ERROR_TEXT_MAX];
  memset(big, 'a', sizeof big);
  big[sizeof big - 1] = '\0';
  for (int way = 0; way < 3; way++) {
    memset(&err, 0xff, sizeof err);
    if (way == 0) err_set(&err, AGG_EINVAL, "%s", big);
    if (way == 1) err_sys(&err, AGG_EINVAL, EINVAL, "%s", big);
    if (way == 2) {
      err_set(&err, AGG_EINVAL, "%s", big);
      err_prefix(&err, "%s", big);
    }
    ck_assert_int_eq(err.code, AGG_EINVAL);
    ck_assert_uint_eq(strlen(err.text), AGG_ERROR_TEXT_MAX - 1);
  }
}
END_TEST

START_TEST(an_error_may_quote_itself) {
  agg_error_t err;
  err_set(&err, AGG_EPEER, "inner");
  err_set(&err, AGG_ECLOSED, "outer (%s)", err.text);
  ck_assert_str_eq(err.text, "outer (inner)");
  err_prefix(&err, "[%s]", err.text);
  ck_assert_str_eq(err.text, "[outer (inner)]: outer (inner)");
}
END_TEST

/* ---- log ---- */

struct seen {
  int lines;
  agg_log_level_t level;
  char text[4096];
};

static void remember(void *user, agg_log_level_t level, const char *line) {
  struct seen *seen = user;
  seen->lines++;
  seen->level = level;
  str_copy(seen->text, sizeof seen->text, line);
}

START_TEST(a_line_goes_to_the_function) {
  struct seen seen = {0};
  struct log log;
  log_init(&log, AGG_LOG_INFO, remember, &seen);
  errno = 12;
  LOG_WARN(&log, "rank %d", 4);
  ck_assert_int_eq(errno, 12);
  ck_assert_int_eq(seen.lines, 1);
  ck_assert_int_eq(seen.level, AGG_LOG_WARN);
  ck_assert_str_eq(seen.text, "rank 4");
}
END_TEST

static int formatted(int *calls) { return ++*calls; }

START_TEST(levels_that_are_off_are_not_formatted) {
  struct seen seen = {0};
  struct log log, *none = NULL;
  int calls = 0;
  log_init(&log, AGG_LOG_WARN, remember, &seen);
  LOG_INFO(&log, "%d", formatted(&calls));
  LOG_DEBUG(&log, "%d", formatted(&calls));
  LOG_ERROR(none, "%d", formatted(&calls));
  log_line(&log, AGG_LOG_INFO, "called directly");
  log_line(&log, AGG_LOG_OFF, "off is not a level to log at");
  log_line(NULL, AGG_LOG_ERROR, "nowhere");
  ck_assert_int_eq(seen.lines, 0);
  ck_assert_int_eq(calls, 0);
  LOG_ERROR(&log, "%d", formatted(&calls));
  LOG_WARN(&log, "%d", formatted(&calls));
  ck_assert_int_eq(seen.lines, 2);
  log_init(&log, AGG_LOG_OFF, remember, &seen);
  LOG_ERROR(&log, "%d", formatted(&calls));
  ck_assert_int_eq(seen.lines, 2);
}
END_TEST

START_TEST(a_stranger_cannot_forge_a_line) {
  struct seen seen = {0};
  struct log log;
  log_init(&log, AGG_LOG_WARN, remember, &seen);
  LOG_WARN(&log, "name \"%s\"", "x\nagg: error: forged\r\x1b[31m\x7f\ttab");
  ck_assert_str_eq(seen.text, "name \"x?agg: error: forged??[31m? tab\"");
  LOG_WARN(&log, "%s",
           "Gr\xc3\xbc\xc3\x9f"
           "e");
  ck_assert_str_eq(seen.text,
                   "Gr\xc3\xbc\xc3\x9f"
                   "e");
}
END_TEST

START_TEST(a_long_line_is_cut) {
  struct seen seen = {0};
  struct log log;
  char big[8192];
  memset(big, 'b', sizeof big);
  big[sizeof big - 1] = '\0';
  log_init(&log, AGG_LOG_WARN, remember, &seen);
  LOG_WARN(&log, "%s", big);
  size_t n = strlen(seen.text);
  ck_assert_uint_lt(n, 4096);
  ck_assert_str_eq(seen.text + n - 4, "b...");
}
END_TEST

/* Standard error becomes a socket that keeps the bounds of writes: one message is one write(2). */
static int catch_stderr(void) {
  int pair[2];
  ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  ck_assert_int_ge(dup2(pair[1], STDERR_FILENO), 0);
  close(pair[1]);
  return pair[0];
}

START_TEST(a_line_is_one_write) {
  struct log log;
  char got[4096], big[8192];
  int fd = catch_stderr();
  log_init(&log, AGG_LOG_DEBUG, NULL, NULL);
  LOG_ERROR(&log, "disk %s", "full");
  ssize_t n = read(fd, got, sizeof got - 1);
  ck_assert_int_gt(n, 0);
  got[n] = '\0';
  ck_assert_str_eq(got, "agg: error: disk full\n");
  memset(big, 'b', sizeof big);
  big[sizeof big - 1] = '\0';
  log.timestamps = 1;
  LOG_DEBUG(&log, "%s", big);
  n = read(fd, got, sizeof got - 1);
  ck_assert_int_gt(n, 2000);
  got[n] = '\0';
  int year, month, day, hour, minute, second, ms, used = 0;
  ck_assert_int_eq(sscanf(got, "%4d-%2d-%2d %2d:%2d:%2d.%3d agg: debug: %n", &year, &month, &day, &hour, &minute, &second, &ms, &used), 7);
  ck_assert_int_eq(got[used], 'b');
  ck_assert_int_eq(got[n - 1], '\n');
}
END_TEST

#define LOG_THREADS 4
#define LOG_LINES 500

static void *log_many(void *user) {
  const struct log *log = user;
  for (int i = 0; i < LOG_LINES; i++) LOG_INFO(log, "line %d of some length, so that it could be torn", i);
  return NULL;
}

START_TEST(threads_do_not_tear_lines) {
  struct log log;
  pthread_t threads[LOG_THREADS];
  int fd = catch_stderr();
  log_init(&log, AGG_LOG_INFO, NULL, NULL);
  for (int i = 0; i < LOG_THREADS; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, log_many, &log), 0);
  for (int i = 0; i < LOG_THREADS * LOG_LINES; i++) {
    char got[256];
    int number = -1, used = 0;
    ssize_t n = read(fd, got, sizeof got - 1);
    ck_assert_int_gt(n, 0);
    got[n] = '\0';
    (void)sscanf(got, "agg: info: line %d of some length, so that it could be torn%n", &number, &used);
    ck_assert_int_eq(used, (int)n - 1);
    ck_assert(number >= 0 && number < LOG_LINES);
  }
  for (int i = 0; i < LOG_THREADS; i++) pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(a_closed_standard_error_is_survived) {
  struct log log;
  log_init(&log, AGG_LOG_INFO, NULL, NULL);
  int keep = dup(STDERR_FILENO);
  close(STDERR_FILENO);
  errno = 5;
  LOG_ERROR(&log, "nobody hears this");
  ck_assert_int_eq(errno, 5);
  dup2(keep, STDERR_FILENO);
  close(keep);
}
END_TEST

START_TEST(levels_have_names) {
  static const char *const bad[] = {"", "Error", "warning", " info", "debug ", "5"};
  for (int i = AGG_LOG_OFF; i <= AGG_LOG_DEBUG; i++) ck_assert_int_eq(log_level_parse(log_level_name((agg_log_level_t)i)), i);
  ck_assert_str_eq(log_level_name(AGG_LOG_WARN), "warn");
  ck_assert_str_eq(log_level_name((agg_log_level_t)9), "?");
  ck_assert_int_eq(log_level_parse(NULL), -1);
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) ck_assert_int_eq(log_level_parse(bad[i]), -1);
}
END_TEST

START_TEST(the_gate_withholds_and_counts) {
  struct log_gate gate = {.period_ns = 1000, .burst = 2};
  uint64_t missed = 99;
  ck_assert_int_eq(log_gate_pass(&gate, 5000, &missed), 1);
  ck_assert_uint_eq(missed, 0);
  ck_assert_int_eq(log_gate_pass(&gate, 5001, &missed), 1);
  missed = 99;
  for (int i = 0; i < 7; i++) ck_assert_int_eq(log_gate_pass(&gate, 5999, &missed), 0);
  ck_assert_uint_eq(missed, 99);
  ck_assert_int_eq(log_gate_pass(&gate, 6000, &missed), 1);
  ck_assert_uint_eq(missed, 7);
  ck_assert_int_eq(log_gate_pass(&gate, 6001, &missed), 1);
  ck_assert_uint_eq(missed, 0);
  ck_assert_int_eq(log_gate_pass(&gate, 6002, &missed), 0);
}
END_TEST

/* ---- state tables ---- */

enum { ST_IDLE, ST_OPEN, ST_DONE };
static const struct state_row rows[] = {
    [ST_IDLE] = {"idle", STATE_TO(ST_OPEN)},
    [ST_OPEN] = {"open", STATE_TO(ST_OPEN) | STATE_TO(ST_DONE)},
    [ST_DONE] = {"done", 0},
};
static const struct state_table machine = {"door", rows, ARRAY_LEN(rows)};

START_TEST(legal_moves_are_made) {
  uint8_t state = ST_IDLE;
  state_move(&machine, &state, ST_OPEN);
  state_move(&machine, &state, ST_OPEN);
  state_move(&machine, &state, ST_DONE);
  ck_assert_uint_eq(state, ST_DONE);
  ck_assert_str_eq(state_name(&machine, ST_OPEN), "open");
  ck_assert_str_eq(state_name(&machine, 3), "?");
}
END_TEST

static const struct {
  uint8_t from;
  unsigned to;
} illegal[] = {{ST_IDLE, ST_DONE},     {ST_DONE, ST_IDLE}, {ST_DONE, ST_DONE}, {ST_IDLE, 3},
               {ST_OPEN, 4000000000u}, {3, ST_IDLE},       {255, ST_OPEN}};

START_TEST(an_illegal_move_aborts) {
  uint8_t state = illegal[_i].from;
  state_move(&machine, &state, illegal[_i].to);
}
END_TEST

START_TEST(an_illegal_move_says_which) {
  int fd = catch_stderr();
  pid_t pid = fork();
  ck_assert_int_ge(pid, 0);
  if (pid == 0) {
    uint8_t state = ST_IDLE;
    state_move(&machine, &state, ST_DONE);
  }
  char got[256];
  ssize_t n = read(fd, got, sizeof got - 1);
  ck_assert_int_gt(n, 0);
  got[n] = '\0';
  ck_assert_ptr_nonnull(strstr(got, "door: idle (0) -> done (2) is not a legal move"));
}
END_TEST

/* ---- numbers ---- */

START_TEST(whole_numbers) {
  static const struct {
    const char *text;
    uint64_t max;
    int ok;
    uint64_t value;
  } cases[] = {
      {"0", 0, 1, 0},
      {"007", 9, 1, 7},
      {"10", 10, 1, 10},
      {"11", 10, 0, 0},
      {"18446744073709551615", UINT64_MAX, 1, UINT64_MAX},
      {"18446744073709551616", UINT64_MAX, 0, 0},
      {"99999999999999999999999", UINT64_MAX, 0, 0},
      {"", 9, 0, 0},
      {" 1", 9, 0, 0},
      {"1 ", 9, 0, 0},
      {"+1", 9, 0, 0},
      {"-1", UINT64_MAX, 0, 0},
      {"0x1", 9, 0, 0},
      {"1.0", 9, 0, 0},
      {"5", 3, 0, 0},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    uint64_t got = 4711;
    ck_assert_int_eq(parse_u64(cases[i].text, cases[i].max, &got), cases[i].ok ? 0 : -1);
    ck_assert_uint_eq(got, cases[i].ok ? cases[i].value : 4711);
  }
  uint64_t got = 4711;
  ck_assert_int_eq(parse_u64(NULL, 9, &got), -1);
}
END_TEST

START_TEST(byte_numbers) {
  static const struct {
    const char *text;
    uint64_t max;
    int ok;
    uint64_t value;
  } cases[] = {
      {"4096", UINT64_MAX, 1, 4096},
      {"64K", UINT64_MAX, 1, 65536},
      {"64k", UINT64_MAX, 1, 65536},
      {"3M", UINT64_MAX, 1, 3u << 20},
      {"2G", UINT64_MAX, 1, 2147483648u},
      {"0G", 0, 1, 0},
      {"1K", 1023, 0, 0},
      {"1K", 1024, 1, 1024},
      {"17179869183G", UINT64_MAX, 1, 17179869183ull << 30},
      {"17179869184G", UINT64_MAX, 0, 0},
      {"K", UINT64_MAX, 0, 0},
      {"", UINT64_MAX, 0, 0},
      {"1KB", UINT64_MAX, 0, 0},
      {"1 K", UINT64_MAX, 0, 0},
      {"1T", UINT64_MAX, 0, 0},
      {"-1K", UINT64_MAX, 0, 0},
      {"1.5M", UINT64_MAX, 0, 0},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    uint64_t got = 4711;
    ck_assert_int_eq(parse_bytes(cases[i].text, cases[i].max, &got), cases[i].ok ? 0 : -1);
    ck_assert_uint_eq(got, cases[i].ok ? cases[i].value : 4711);
  }
  uint64_t got;
  ck_assert_int_eq(parse_bytes(NULL, 9, &got), -1);
}
END_TEST

START_TEST(fractions) {
  static const struct {
    const char *text;
    int ok;
    double value;
  } cases[] = {
      {"60", 1, 60}, {"0.25", 1, 0.25}, {".5", 1, 0.5},  {"1e2", 1, 100}, {"-1", 1, -1}, {"+3", 1, 3},   {"101", 0, 0}, {"-1.5", 0, 0},
      {"", 0, 0},    {" 1", 0, 0},      {"1 ", 0, 0},    {"nan", 0, 0},   {"inf", 0, 0}, {"0x10", 0, 0}, {"1,5", 0, 0}, {"1e999", 0, 0},
      {"1e", 0, 0},  {"e1", 0, 0},      {"1.2.3", 0, 0}, {"--1", 0, 0},   {".", 0, 0},   {"12s", 0, 0},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    double got = 4711;
    ck_assert_int_eq(parse_double(cases[i].text, -1, 100, &got), cases[i].ok ? 0 : -1);
    ck_assert(got == (cases[i].ok ? cases[i].value : 4711));
  }
  double got = 0;
  ck_assert_int_eq(parse_double(NULL, 0, 1, &got), -1);
}
END_TEST

START_TEST(copying_cuts_and_terminates) {
  char buf[4] = "xyz";
  ck_assert_int_eq(str_copy(buf, sizeof buf, "abc"), 1);
  ck_assert_str_eq(buf, "abc");
  ck_assert_int_eq(str_copy(buf, sizeof buf, "abcd"), 0);
  ck_assert_str_eq(buf, "abc");
  ck_assert_int_eq(str_copy(buf, 1, ""), 1);
  ck_assert_int_eq(str_copy(buf, 1, "a"), 0);
  ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(the_clock_does_not_go_back) {
  uint64_t last = clock_now_ns();
  ck_assert_uint_gt(last, 0);
  for (int i = 0; i < 10000; i++) {
    uint64_t now = clock_now_ns();
    ck_assert_uint_ge(now, last);
    last = now;
  }
}
END_TEST

START_TEST(rounding_up) {
  ck_assert_uint_eq(div_up_u64(0, 8), 0);
  ck_assert_uint_eq(div_up_u64(9, 8), 2);
  ck_assert_uint_eq(div_up_u64(UINT64_MAX, 2), (UINT64_MAX >> 1) + 1);
  ck_assert_uint_eq(round_up_u64(65, 64), 128);
  ck_assert_uint_eq(round_up_u64(64, 64), 64);
}
END_TEST

/* ---- names ---- */

START_TEST(statuses_have_texts) {
#define ASSERT_TEXT(name, value, text) ck_assert_str_eq(agg_status_text(value), text);
  AGG_STATUS_MAP(ASSERT_TEXT)
#undef ASSERT_TEXT
  ck_assert_str_eq(agg_status_text(1), "unknown status");
  ck_assert_str_eq(agg_status_text(-1000), "unknown status");
  ck_assert_uint_eq(agg_version(), AGG_VERSION);
}
END_TEST

START_TEST(types_and_operators_have_names) {
  static const char *const types[] = {"f16", "bf16", "f32", "f64", "i8", "u8", "i32", "u32", "i64", "u64"};
  static const size_t sizes[] = {2, 2, 4, 8, 1, 1, 4, 4, 8, 8};
  static const char *const ops[] = {"sum", "avg", "prod", "min", "max"};
  ck_assert_uint_eq(ARRAY_LEN(types), AGG_DTYPE_COUNT);
  ck_assert_uint_eq(ARRAY_LEN(ops), AGG_REDOP_COUNT);
  for (int i = 0; i < AGG_DTYPE_COUNT; i++) {
    ck_assert_str_eq(agg_dtype_name((agg_dtype_t)i), types[i]);
    ck_assert_uint_eq(agg_dtype_size((agg_dtype_t)i), sizes[i]);
  }
  for (int i = 0; i < AGG_REDOP_COUNT; i++) ck_assert_str_eq(agg_redop_name((agg_redop_t)i), ops[i]);
  static const int bad[] = {-1, 10, 1000};
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
    ck_assert_str_eq(agg_dtype_name((agg_dtype_t)bad[i]), "?");
    ck_assert_uint_eq(agg_dtype_size((agg_dtype_t)bad[i]), 0);
    ck_assert_str_eq(agg_redop_name((agg_redop_t)bad[i]), "?");
  }
}
END_TEST

static void add_case(Suite *s, const char *name, const TTest *const *tests, size_t n) {
  TCase *t = tcase_create(name);
  for (size_t i = 0; i < n; i++) tcase_add_test(t, tests[i]);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
}

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("base");
  const TTest *const errors[] = {err_set_writes_and_returns, err_sys_appends_the_reason, err_prefix_goes_before,
                                 long_errors_are_cut_and_terminated, an_error_may_quote_itself};
  const TTest *const logs[] = {a_line_goes_to_the_function,
                               levels_that_are_off_are_not_formatted,
                               a_stranger_cannot_forge_a_line,
                               a_long_line_is_cut,
                               a_line_is_one_write,
                               threads_do_not_tear_lines,
                               a_closed_standard_error_is_survived,
                               levels_have_names,
                               the_gate_withholds_and_counts};
  const TTest *const numbers[] = {whole_numbers, byte_numbers, fractions, copying_cuts_and_terminates, the_clock_does_not_go_back,
                                  rounding_up};
  const TTest *const names[] = {statuses_have_texts, types_and_operators_have_names};
  add_case(s, "errors", errors, ARRAY_LEN(errors));
  add_case(s, "log", logs, ARRAY_LEN(logs));
  add_case(s, "numbers", numbers, ARRAY_LEN(numbers));
  add_case(s, "names", names, ARRAY_LEN(names));
  TCase *states = tcase_create("state");
  tcase_add_test(states, legal_moves_are_made);
  tcase_add_test(states, an_illegal_move_says_which);
  tcase_add_loop_test_raise_signal(states, an_illegal_move_aborts, SIGABRT, 0, (int)ARRAY_LEN(illegal));
  suite_add_tcase(s, states);
  return s;
}
