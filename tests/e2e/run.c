/*
 * agg-run with real processes: what it hands to the workers, how it ends them, what it says and what it returns. The workers are shell
 * scripts; the servers are a shell script too, put beside a link to agg-run under the name agg-server, so nothing of the library is needed.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

#define TEXT_CAP (4u << 20)

static char dir[PATH_MAX], program[PATH_MAX];
static char *out, *errors; /* what agg-run wrote in the last run */

/* build/.../tests/e2e/run -> build/.../agg-run, copied to a folder of its own with a server made of a script. */
static void setup(void) {
  char self[PATH_MAX], binary[PATH_MAX + 32], command[2 * PATH_MAX + 64];
  ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
  ck_assert_int_gt(n, 0);
  self[n] = '\0';
  for (int up = 0; up < 3; up++) *strrchr(self, '/') = '\0';
  snprintf(binary, sizeof(binary), "%s/agg-run", self);
  snprintf(dir, sizeof(dir), "/tmp/agg-run-test-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(program, sizeof(program), "%.4000s/agg-run", dir);
  snprintf(command, sizeof(command), "cp '%s' '%s'", binary, program);
  ck_assert_int_eq(system(command), 0);
  out = calloc(1, TEXT_CAP);
  errors = calloc(1, TEXT_CAP);
}

static void teardown(void) {
  char command[PATH_MAX + 16];
  snprintf(command, sizeof(command), "rm -rf '%s'", dir);
  ck_assert_int_eq(system(command), 0);
  free(out);
  free(errors);
}

/* A script in the test's folder; mode 0755 to be runnable. */
static const char *script(const char *name, const char *body, mode_t mode) {
  static char path[PATH_MAX + 64];
  snprintf(path, sizeof(path), "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  ck_assert_ptr_nonnull(f);
  fprintf(f, "#!/bin/sh\n%s\n", body);
  fclose(f);
  chmod(path, mode);
  return path;
}

/* One agg-run that is under way. */
struct session {
  pid_t pid;
  int in, out, err;
};

static struct session start(char *const *argv) {
  int in[2], o[2], e[2];
  ck_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(o, O_CLOEXEC) == 0 && pipe2(e, O_CLOEXEC) == 0);
  pid_t pid = fork();
  ck_assert_int_ge(pid, 0);
  if (pid == 0) {
    dup2(in[0], 0);
    dup2(o[1], 1);
    dup2(e[1], 2);
    execv(program, argv);
    _exit(99);
  }
  close(in[0]);
  close(o[1]);
  close(e[1]);
  return (struct session){pid, in[1], o[0], e[0]};
}

/* Reads both outputs until `until` has been seen in standard output (or both are at their end, for NULL). */
static void collect(struct session *s, const char *until) {
  while (s->out >= 0 || s->err >= 0) {
    if (until != NULL && strstr(out, until) != NULL) return;
    struct pollfd fds[2] = {{s->out, POLLIN, 0}, {s->err, POLLIN, 0}};
    ck_assert_msg(poll(fds, 2, 20000) > 0, "nothing came within 20 s; standard error so far: %s", errors);
    for (int i = 0; i < 2; i++) {
      if (fds[i].revents == 0) continue;
      char *text = i == 0 ? out : errors;
      size_t len = strlen(text);
      ssize_t got = read(fds[i].fd, text + len, TEXT_CAP - 1 - len);
      if (got > 0) text[len + (size_t)got] = '\0';
      if (got > 0) continue;
      close(fds[i].fd);
      *(i == 0 ? &s->out : &s->err) = -1;
    }
  }
}

/* The code that a shell would see. */
static int finish(struct session *s) {
  int status = 0;
  if (s->in >= 0) close(s->in);
  collect(s, NULL);
  ck_assert_int_eq(waitpid(s->pid, &status, 0), s->pid);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_with(const char *input, char *const *argv) {
  out[0] = errors[0] = '\0';
  struct session s = start(argv);
  if (input != NULL) ck_assert_int_eq(write(s.in, input, strlen(input)), (ssize_t)strlen(input));
  return finish(&s);
}
#define RUN(...) run_with(NULL, (char *[]){"agg-run", __VA_ARGS__, NULL})
#define START(...) start((char *[]){"agg-run", __VA_ARGS__, NULL})

static void expect(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) != NULL, "\"%s\" does not hold \"%s\"", text, part);
}
static void expect_not(const char *text, const char *part) { ck_assert_msg(strstr(text, part) == NULL, "\"%s\" holds \"%s\"", text, part); }

static unsigned lines(const char *text) {
  unsigned n = 0;
  for (; *text != '\0'; text++) n += *text == '\n';
  return n;
}

/* Waits until no process has pid any more, or it is a zombie that nobody has reaped. */
static void expect_gone(int pid) {
  char path[64], state = '?';
  for (int turn = 0; turn < 2000; turn++) {
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) return;
    int got = fscanf(f, "%*d (%*[^)]) %c", &state);
    fclose(f);
    if (got != 1 || state == 'Z' || state == 'X') return;
    poll(NULL, 0, 10);
  }
  ck_abort_msg("process %d still runs (state %c)", pid, state);
}

/* ---- what the workers get ------------------------------------------------------------------------------------------------------ */

START_TEST(workers_get_rank_size_and_a_common_place) {
  setenv("AGG_SERVERS", "stale:1", 1);
  ck_assert_int_eq(
      RUN("-n", "3", "sh", "-c", "echo $AGG_RANK of $AGG_SIZE local $AGG_LOCAL_RANK at $AGG_COORDINATOR job $AGG_JOB ${AGG_SERVERS-none}"),
      0);
  unsetenv("AGG_SERVERS");
  expect(out, "[0] 0 of 3 local 0 at 127.0.0.1:");
  expect(out, "[1] 1 of 3 local 1 at 127.0.0.1:");
  expect(out, "[2] 2 of 3 local 2 at 127.0.0.1:");
  expect(out, " job agg-run-");
  expect(out, " none\n");
  ck_assert_uint_eq(lines(out), 3);
  ck_assert_str_eq(errors, "");
}
END_TEST

START_TEST(the_token_is_common_random_and_long) {
  char first[80];
  ck_assert_int_eq(RUN("-n", "2", "--no-prefix", "sh", "-c", "echo $AGG_TOKEN"), 0);
  ck_assert_uint_eq(strlen(out), 2 * 65);
  ck_assert_int_eq(memcmp(out, out + 65, 65), 0);
  memcpy(first, out, 65);
  ck_assert_int_eq(RUN("-n", "1", "--no-prefix", "sh", "-c", "echo $AGG_TOKEN"), 0);
  ck_assert_int_ne(memcmp(out, first, 64), 0);
}
END_TEST

START_TEST(given_variables_and_port_count) {
  ck_assert_int_eq(RUN("-n", "1", "--env", "AGG_PLAN=ring", "-e", "AGG_JOB=mine", "--port", "4567", "sh", "-c",
                       "echo $AGG_PLAN $AGG_JOB $AGG_COORDINATOR"),
                   0);
  ck_assert_str_eq(out, "[0] ring mine 127.0.0.1:4567\n");
}
END_TEST

START_TEST(rank_0_reads_standard_input) {
  ck_assert_int_eq(run_with("line one\nline two", (char *[]){"agg-run", "-n", "2", "cat", NULL}), 0);
  ck_assert_str_eq(out, "[0] line one\n[0] line two\n");
}
END_TEST

START_TEST(input_that_nobody_reads_does_not_matter) {
  char *big = malloc(60001); /* fits the pipe, so that the test does not block either */
  memset(big, 'x', 60000);
  big[60000] = '\0';
  ck_assert_int_eq(run_with(big, (char *[]){"agg-run", "-n", "2", "true", NULL}), 0);
  free(big);
}
END_TEST

/* ---- output ---------------------------------------------------------------------------------------------------------------------- */

START_TEST(outputs_stay_apart) {
  ck_assert_int_eq(RUN("-n", "1", "sh", "-c", "echo good; echo bad >&2"), 0);
  ck_assert_str_eq(out, "[0] good\n");
  ck_assert_str_eq(errors, "[0] bad\n");
}
END_TEST

START_TEST(a_last_line_without_newline_is_not_lost) {
  ck_assert_int_eq(RUN("-n", "1", "printf", "a\\nb"), 0);
  ck_assert_str_eq(out, "[0] a\n[0] b\n");
}
END_TEST

START_TEST(a_line_of_a_megabyte_is_not_lost) {
  ck_assert_int_eq(RUN("-n", "1", "sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo"), 0);
  ck_assert_uint_eq(strlen(out), 4 + 1000000 + 1);
  ck_assert_uint_eq(strspn(out + 4, "x"), 1000000);
}
END_TEST

START_TEST(many_lines_of_many_ranks_come_whole) {
  ck_assert_int_eq(RUN("-n", "4", "sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo rank-$AGG_RANK-line-$i; i=$((i+1)); done"), 0);
  ck_assert_uint_eq(lines(out), 8000);
  unsigned next[4] = {0};
  for (char *line = strtok(out, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    unsigned label, rank, number;
    ck_assert_msg(sscanf(line, "[%u] rank-%u-line-%u", &label, &rank, &number) == 3, "%s", line);
    ck_assert_uint_eq(label, rank);
    ck_assert_uint_eq(number, next[rank]++);
  }
}
END_TEST

START_TEST(a_prompt_is_shown_before_its_newline) {
  out[0] = errors[0] = '\0';
  struct session s = START("-n", "1", "sh", "-c", "printf 'name? '; read name; echo hello $name");
  collect(&s, "[0] name? ");
  ck_assert_int_eq(write(s.in, "you\n", 4), 4);
  ck_assert_int_eq(finish(&s), 0);
  ck_assert_str_eq(out, "[0] name? hello you\n");
}
END_TEST

START_TEST(a_reader_that_goes_away_ends_the_run) {
  out[0] = errors[0] = '\0';
  struct session s = START("-n", "1", "yes");
  collect(&s, "[0] y");
  close(s.out);
  s.out = -1;
  ck_assert_int_eq(finish(&s), 128 + SIGPIPE);
  expect(errors, "cannot write standard output");
}
END_TEST

/* ---- ends ------------------------------------------------------------------------------------------------------------------------ */

START_TEST(the_code_of_the_failed_rank_is_returned) {
  ck_assert_int_eq(RUN("-n", "3", "sh", "-c", "[ $AGG_RANK = 1 ] && exit 7; exec sleep 1000"), 7);
  expect(errors, "agg-run: rank 1 exited with code 7; ending the others\n");
  ck_assert_uint_eq(lines(errors), 1);
}
END_TEST

START_TEST(a_signal_is_named) {
  ck_assert_int_eq(RUN("-n", "2", "sh", "-c", "ulimit -c 0; [ $AGG_RANK = 0 ] && kill -SEGV $$; exec sleep 1000"), 128 + SIGSEGV);
  expect(errors, "rank 0 was ended by SIGSEGV");
}
END_TEST

START_TEST(the_last_rank_may_fail_too) {
  ck_assert_int_eq(RUN("-n", "1", "sh", "-c", "exit 3"), 3);
  ck_assert_str_eq(errors, "agg-run: rank 0 exited with code 3\n");
}
END_TEST

START_TEST(who_ignores_sigterm_is_killed) {
  setenv("UP", dir, 1);
  ck_assert_int_eq(RUN("-n", "2", "--grace", "0.2", "sh", "-c",
                       "if [ $AGG_RANK = 1 ]; then until [ -e \"$UP/up\" ]; do :; done; exit 4; fi\n"
                       "trap '' TERM; : > \"$UP/up\"; while :; do sleep 1000; done"),
                   4);
  expect(errors, "rank 0 did not end within 0.2 s and was killed");
}
END_TEST

START_TEST(keep_going_lets_the_others_finish) {
  ck_assert_int_eq(RUN("-n", "2", "--keep-going", "sh", "-c", "if [ $AGG_RANK = 0 ]; then exit 5; fi; head -c 1 /dev/null; echo done"), 5);
  expect(out, "[1] done\n");
}
END_TEST

START_TEST(the_timeout_ends_the_run) {
  ck_assert_int_eq(RUN("-n", "2", "--timeout", "0.2", "sleep", "1000"), 124);
  expect(errors, "longer than --timeout 0.2 s");
}
END_TEST

START_TEST(sigterm_is_passed_on) {
  out[0] = errors[0] = '\0';
  struct session s = START("-n", "2", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 1000 & wait; done");
  collect(&s, "[0] ready");
  collect(&s, "[1] ready");
  kill(s.pid, SIGTERM);
  ck_assert_int_eq(finish(&s), 128 + SIGTERM);
  expect(out, "[0] bye");
  expect(out, "[1] bye");
  expect(errors, "SIGTERM: ending all");
}
END_TEST

START_TEST(sigint_is_passed_on) {
  out[0] = errors[0] = '\0';
  struct session s = START("-n", "1", "sh", "-c", "trap 'echo int; exit 1' INT; echo ready; while :; do sleep 1000 & wait; done");
  collect(&s, "[0] ready");
  kill(s.pid, SIGINT);
  ck_assert_int_eq(finish(&s), 128 + SIGINT);
  expect(out, "[0] int");
}
END_TEST

START_TEST(what_workers_start_ends_with_them) {
  ck_assert_int_eq(RUN("-n", "1", "sh", "-c", "sleep 1000 & echo $!; exit 0"), 0);
  expect_gone(atoi(out + 4));
  ck_assert_int_eq(RUN("-n", "1", "sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000 >&- 2>&-' & exit 0"), 0); /* a daemon */
  if (strlen(out) > 4) expect_gone(atoi(out + 4));
}
END_TEST

START_TEST(nothing_stays_when_agg_run_is_killed) {
  int child = 0, grandchild = 0;
  out[0] = errors[0] = '\0';
  struct session s = START("-n", "1", "sh", "-c", "sleep 1000 & echo $$ $!; wait");
  collect(&s, "\n");
  ck_assert_int_eq(sscanf(out, "[0] %d %d", &child, &grandchild), 2);
  kill(s.pid, SIGKILL);
  ck_assert_int_eq(finish(&s), 128 + SIGKILL);
  expect_gone(child);
  expect_gone(grandchild);
}
END_TEST

/* ---- mistakes -------------------------------------------------------------------------------------------------------------------- */

START_TEST(mistakes_get_one_line) {
  ck_assert_int_eq(RUN("-n", "2", "./no-such-program"), 127);
  ck_assert_str_eq(errors, "agg-run: no such program: ./no-such-program\n");
  ck_assert_int_eq(RUN("-n", "2", "no-such-program-in-path"), 127);
  ck_assert_str_eq(errors, "agg-run: no such program in PATH: no-such-program-in-path\n");
  ck_assert_int_eq(RUN("-n", "2", (char *)(uintptr_t)script("plain", "", 0644)), 126);
  expect(errors, "is not executable");
  ck_assert_int_eq(RUN("-n", "2", "/tmp"), 126);
  expect(errors, "is a directory");
  ck_assert_int_eq(RUN("-n", "0", "true"), 2);
  expect(errors, "agg-run: -n 0: expected a number");
  ck_assert_int_eq(RUN("--wrong", "true"), 2);
  ck_assert_str_eq(errors, "agg-run: unknown option --wrong (see agg-run --help)\n");
  ck_assert_int_eq(RUN("-n", "2"), 2);
  ck_assert_uint_eq(lines(errors), 1);
}
END_TEST

START_TEST(help_and_version) {
  ck_assert_int_eq(RUN("--help"), 0);
  expect(out, "Usage: agg-run -n RANKS");
  ck_assert_int_eq(RUN("--version"), 0);
  expect(out, "agg-run ");
}
END_TEST

/* ---- servers --------------------------------------------------------------------------------------------------------------------- */

/* Says an address on the descriptor it was given, as agg-server does. `body` follows. */
#define SERVER(body)                                                                                                               \
  "while [ $# -gt 0 ]; do case $1 in --listen) listen=$2; shift;; --ready-fd) fd=$2; shift;; *) more=\"$more $1\";; esac; shift; " \
  "done\n" body

START_TEST(workers_learn_the_servers_addresses) {
  script("agg-server",
         SERVER("echo start $listen$more; eval \"echo 127.0.0.1:$((7000 + fd % 10 * 0)) >&$fd\"; trap 'echo drained; exit 0' TERM\n"
                "while :; do sleep 1000 & wait; done"),
         0755);
  ck_assert_int_eq(
      RUN("-n", "2", "--servers", "2", "--server-args", "--flag 'x y'", "sh", "-c", "echo $AGG_SERVERS ${AGG_COORDINATOR-none}"), 0);
  expect(out, "[s0] start 127.0.0.1:0 --log-level warn --flag x y\n");
  expect(out, "[s1] start 127.0.0.1:0 --log-level warn --flag x y\n");
  expect(out, "[0] 127.0.0.1:7000,127.0.0.1:7000 none\n");
  expect(out, "[1] 127.0.0.1:7000,127.0.0.1:7000 none\n");
  expect(out, "[s0] drained\n");
  expect(out, "[s1] drained\n");
}
END_TEST

START_TEST(a_server_that_cannot_start_is_reported) {
  script("agg-server", "echo 'port in use' >&2; exit 9", 0755);
  ck_assert_int_eq(RUN("-n", "2", "--servers", "1", "sh", "-c", "echo never"), 9);
  expect(errors, "[s0] port in use\n");
  expect(errors, "server 0 exited with code 9 while it was needed");
  expect_not(out, "never");
}
END_TEST

START_TEST(a_server_that_ends_early_ends_the_run) {
  setenv("UP", dir, 1);
  script("agg-server", SERVER("eval \"echo 127.0.0.1:7000 >&$fd\"; until [ -e \"$UP/up\" ]; do :; done; exit 0"), 0755);
  ck_assert_int_eq(RUN("-n", "2", "--servers", "1", "sh", "-c", ": > \"$UP/up\"; exec sleep 1000"), 1);
  expect(errors, "server 0 exited with code 0 while it was needed; ending the others");
}
END_TEST

START_TEST(a_server_that_fails_to_drain_is_reported) {
  script("agg-server", SERVER("eval \"echo 127.0.0.1:7000 >&$fd\"; trap 'exit 11' TERM; while :; do sleep 1000 & wait; done"), 0755);
  ck_assert_int_eq(RUN("-n", "1", "--servers", "1", "true"), 11);
  expect(errors, "server 0 exited with code 11");
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("agg-run");
  TCase *t = tcase_create("run");
  tcase_set_timeout(t, 60);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, workers_get_rank_size_and_a_common_place);
  tcase_add_test(t, the_token_is_common_random_and_long);
  tcase_add_test(t, given_variables_and_port_count);
  tcase_add_test(t, rank_0_reads_standard_input);
  tcase_add_test(t, input_that_nobody_reads_does_not_matter);
  tcase_add_test(t, outputs_stay_apart);
  tcase_add_test(t, a_last_line_without_newline_is_not_lost);
  tcase_add_test(t, a_line_of_a_megabyte_is_not_lost);
  tcase_add_test(t, many_lines_of_many_ranks_come_whole);
  tcase_add_test(t, a_prompt_is_shown_before_its_newline);
  tcase_add_test(t, a_reader_that_goes_away_ends_the_run);
  tcase_add_test(t, the_code_of_the_failed_rank_is_returned);
  tcase_add_test(t, a_signal_is_named);
  tcase_add_test(t, the_last_rank_may_fail_too);
  tcase_add_test(t, who_ignores_sigterm_is_killed);
  tcase_add_test(t, keep_going_lets_the_others_finish);
  tcase_add_test(t, the_timeout_ends_the_run);
  tcase_add_test(t, sigterm_is_passed_on);
  tcase_add_test(t, sigint_is_passed_on);
  tcase_add_test(t, what_workers_start_ends_with_them);
  tcase_add_test(t, nothing_stays_when_agg_run_is_killed);
  tcase_add_test(t, mistakes_get_one_line);
  tcase_add_test(t, help_and_version);
  tcase_add_test(t, workers_learn_the_servers_addresses);
  tcase_add_test(t, a_server_that_cannot_start_is_reported);
  tcase_add_test(t, a_server_that_ends_early_ends_the_run);
  tcase_add_test(t, a_server_that_fails_to_drain_is_reported);
  suite_add_tcase(s, t);
  return s;
}
