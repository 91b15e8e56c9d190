/* agg-server as a process: its command line, its start and end, strangers at its door, and jobs that run through it. */
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agg.h"
#include "base/net.h"
#include "base/util.h"
#include "tests/lib/server_proc.h"
#include "tests/lib/task.h"

static char out[16384], err[16384], dir[] = "/tmp/agg-e2e-XXXXXX", path[64];

static void setup(void) {
  static const char *const clean[] = {"AGG_TOKEN", "AGG_TOKEN_FILE", "AGG_SERVERS",   "AGG_COORDINATOR", "AGG_RANK",
                                      "AGG_SIZE",  "AGG_JOB",        "AGG_TRANSPORT", "AGG_PLAN",        "AGG_LOG"};
  for (size_t i = 0; i < ARRAY_LEN(clean); i++) unsetenv(clean[i]);
  strcpy(dir, "/tmp/agg-e2e-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/file", dir);
}

static void teardown(void) {
  unlink(path);
  rmdir(dir);
}

static void write_file(const char *text, mode_t mode) {
  FILE *f = fopen(path, "w");
  ck_assert_ptr_nonnull(f);
  fputs(text, f);
  fclose(f);
  ck_assert_int_eq(chmod(path, mode), 0);
}

#define RUN(...) server_run_once((const char *const[]){__VA_ARGS__, NULL}, out, sizeof out, err, sizeof err)

/* Exactly one line, with this in it. */
static void assert_line(const char *text, const char *what) {
  ck_assert_msg(strstr(text, what) != NULL, "expected \"%s\" in \"%s\"", what, text);
  char *newline = strchr(text, '\n');
  ck_assert_msg(newline != NULL && newline[1] == '\0', "expected one line: \"%s\"", text);
}

/* ---- the command line --------------------------------------------------------------------------------------------------------------- */

START_TEST(check_config_prints_what_is_in_effect) {
  write_file("# all of it\nlisten = 127.0.0.1:0\nreactors = 3\nmemory-limit = 2G\n", 0644);
  ck_assert_int_eq(RUN("--check-config", "--config", path, "--reactors", "2"), 0);
  ck_assert_str_eq(err, "");
  static const char *const lines[] = {"listen = 127.0.0.1:0\n", "reactors = 2\n", "memory-limit = 2G\n", "job-memory-limit = 2G\n",
                                      "bind = 127.0.0.1\n",     "token-file =\n", "drain-timeout = 30\n"};
  for (size_t i = 0; i < ARRAY_LEN(lines); i++) ck_assert_msg(strstr(out, lines[i]) != NULL, "%s in %s", lines[i], out);
}
END_TEST

START_TEST(the_example_configuration_is_good) {
  const char *binary = server_binary();
  char conf[1200];
  snprintf(conf, sizeof conf, "docs/agg-server.conf");
  if (access(conf, R_OK) != 0) { /* started from elsewhere: build/NAME/agg-server lies below the sources */
    str_copy(conf, sizeof conf, binary);
    char *slash = strrchr(conf, '/');
    snprintf(slash, sizeof conf - (size_t)(slash - conf), "/../../docs/agg-server.conf");
  }
  if (access(conf, R_OK) != 0) return; /* installed without its sources */
  ck_assert_int_eq(RUN("--check-config", "--config", conf), 0);
  char bare[sizeof out];
  strcpy(bare, out);
  ck_assert_int_eq(RUN("--check-config"), 0);
  ck_assert_str_eq(bare, out); /* all its lines show defaults */
}
END_TEST

START_TEST(check_config_refuses_in_one_line) {
  write_file("reactors = 3\nfoo = bar\n", 0644);
  ck_assert_int_eq(RUN("--check-config", "--config", path), 1);
  assert_line(err, ":2: unknown option 'foo'");
  ck_assert_str_eq(out, "");
  ck_assert_int_eq(RUN("--check-config", "--config", "/nonexistent/conf"), 1);
  assert_line(err, "/nonexistent/conf");
  ck_assert_int_eq(RUN("--check-config", "--listen", "nosuchhost.invalid:1"), 1);
  assert_line(err, "nosuchhost.invalid");
  ck_assert_int_eq(RUN("--check-config", "--listen", ":7171"), 1);
  assert_line(err, "token-file");
  ck_assert_int_eq(RUN("--check-config", "--token-file", "/nonexistent/token"), 1);
  assert_line(err, "/nonexistent/token");
  write_file("secret\n", 0644);
  ck_assert_int_eq(RUN("--check-config", "--token-file", path), 1);
  assert_line(err, "chmod 600");
  write_file("secret\nother\n", 0600);
  ck_assert_int_eq(RUN("--check-config", "--token-file", path), 0);
  ck_assert_ptr_nonnull(strstr(out, "listen = :7171\n"));
  ck_assert_ptr_null(strstr(out, "secret"));
}
END_TEST

START_TEST(a_wrong_command_line_exits_with_2) {
  ck_assert_int_eq(RUN("--nonsense"), 2);
  assert_line(err, "unknown option --nonsense");
  ck_assert_int_eq(RUN("--memory-limt", "1G"), 2);
  assert_line(err, "did you mean --memory-limit?");
  ck_assert_int_eq(RUN("--reactors", "many"), 2);
  assert_line(err, "reactors: 'many'");
  ck_assert_int_eq(RUN("--token", "secret"), 2);
  assert_line(err, "--token-file");
  ck_assert_int_eq(RUN("serve"), 2);
  assert_line(err, "unexpected argument 'serve'");
}
END_TEST

START_TEST(version_and_help) {
  ck_assert_int_eq(RUN("--version"), 0);
  assert_line(out, "agg-server 0.");
  ck_assert_int_eq(RUN("--help"), 0);
  ck_assert_ptr_nonnull(strstr(out, "--job-memory-limit BYTES"));
  ck_assert_str_eq(err, "");
}
END_TEST

/* ---- start and end --------------------------------------------------------------------------------------------------------------------
 */

START_TEST(a_port_in_use_is_named) {
  struct server_proc s;
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0"), 1);
  ck_assert_int_eq(RUN("--listen", s.address, "--log-level", "off"), 1);
  assert_line(err, "is in use");
  assert_line(err, strrchr(s.address, ':') + 1);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

START_TEST(what_cannot_start_says_why) {
  ck_assert_int_eq(RUN("--config", "/nonexistent/conf"), 1);
  assert_line(err, "No such file");
  ck_assert_int_eq(RUN("--listen", "127.0.0.1:0", "--ready-fd", "77"), 1);
  assert_line(err, "descriptor 77");
  write_file("secret\n", 0640);
  ck_assert_int_eq(RUN("--token-file", path), 1);
  assert_line(err, "chmod 600");
  ck_assert_int_eq(RUN("--listen", "192.0.2.1:0", "--token-file", path), 1);
  write_file("secret\n", 0600);
  ck_assert_int_eq(RUN("--listen", "192.0.2.1:0", "--token-file", path, "--log-level", "off"), 1);
  assert_line(err, "192.0.2.1");
}
END_TEST

static const int end_signals[] = {SIGTERM, SIGINT};

START_TEST(a_signal_ends_an_idle_server_with_0) {
  struct server_proc s;
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0"), 1);
  ck_assert_ptr_nonnull(strstr(s.address, "127.0.0.1:"));
  kill(s.pid, SIGHUP);
  kill(s.pid, SIGPIPE);
  kill(s.pid, end_signals[_i]);
  ck_assert_int_eq(server_wait(&s), 0);
}
END_TEST

START_TEST(the_start_is_in_the_log) {
  struct server_proc s;
  ck_assert_int_eq(SERVER_START(&s, "--listen", "localhost:0", "--reactors", "1"), 1);
  ck_assert_ptr_nonnull(strstr(s.address, "localhost:"));
  server_log(&s, out, sizeof out);
  static const char *const texts[] = {
      "agg-server 0.1.0 starts", "config: memory-limit = ", "no token is given", "1 reactors", "transports ", "listens on localhost:"};
  for (size_t i = 0; i < ARRAY_LEN(texts); i++) ck_assert_msg(strstr(out, texts[i]) != NULL, "%s in %s", texts[i], out);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* ---- workers ----------------------------------------------------------------------------------------------------------------------------
 */

static const char *const transports[] = {"auto", "shm", "tcp"};

START_TEST(a_job_runs_through_it) {
  struct server_proc s;
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0", "--reactors", "2", "--pin", _i == 1 ? "auto" : "off"), 1);
  task_run(&s, (struct task){.job = "first", .size = 4, .transport = transports[_i]});
  task_run(&s, (struct task){.job = "second", .size = 3, .count = 1, .transport = transports[_i], .plan = "auto"});
  ck_assert(server_log_wait(&s, "job second (comm 2): ended"));
  server_log(&s, out, sizeof out);
  ck_assert_ptr_nonnull(strstr(out, "job first (comm 1): starts; 4 workers"));
  ck_assert_ptr_nonnull(strstr(out, "job first (comm 1): runs"));
  ck_assert_ptr_nonnull(strstr(out, "job first (comm 1): ended; 4 workers"));
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

START_TEST(its_reactors_are_where_the_list_says) {
  struct server_proc s;
  char list[16], says[64];
  cpu_set_t set;
  int cpu = 0;
  ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
  while (!CPU_ISSET((size_t)cpu, &set)) cpu++;
  snprintf(list, sizeof list, "%d", cpu);
  snprintf(says, sizeof says, "reactor 0: on core %d", cpu);
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0", "--pin", list), 1);
  task_run(&s, (struct task){.size = 2});
  ck_assert(server_log_wait(&s, "(comm 1): ended"));
  server_log(&s, out, sizeof out);
  ck_assert_msg(strstr(out, says) != NULL && strstr(out, "1 reactors; transports") != NULL, "%s", out);
  ck_assert_msg(strstr(out, "(comm 1): ") != NULL && strstr(out, "MiB of windows") != NULL, "%s", out);
  ck_assert_int_eq(server_end(&s), 0);
  ck_assert_int_eq(RUN("--listen", "127.0.0.1:0", "--log-level", "error", "--pin", "8191"), 1);
  assert_line(err, "pin: core 8191 is not there: this machine has ");
  ck_assert_int_eq(RUN("--listen", "127.0.0.1:0", "--log-level", "error", "--pin", list, "--reactors", "2"), 1);
  assert_line(err, "pin: 1 core for 2 reactors: give each its own, or say auto");
}
END_TEST

START_TEST(a_server_of_one_transport_serves_by_it) {
  struct server_proc s;
  ck_assert_int_eq(SERVER_START(&s, "--listen", "[::1]:0", "--transport", "tcp"), 1);
  task_run(&s, (struct task){.size = 2});
  ck_assert(server_log_wait(&s, "over tcp"));
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

START_TEST(jobs_leave_nothing_behind) {
  struct server_proc s;
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0"), 1);
  task_run(&s, (struct task){.job = "warm"});
  ck_assert(server_log_wait(&s, "(comm 1): ended"));
  int before = 0, now = 0;
  uint64_t until = clock_now_ns() + (uint64_t)PROC_GUARD_MS * 1000000u;
  for (unsigned i = 2; i < 8; i++) {
    char text[64];
    task_run(&s, (struct task){.job = "again"});
    snprintf(text, sizeof text, "(comm %u): ended", i);
    ck_assert(server_log_wait(&s, text));
    if (i == 2) before = proc_descriptors(s.pid);
  }
  while ((now = proc_descriptors(s.pid)) > before && clock_now_ns() < until) poll(NULL, 0, 5);
  ck_assert_int_le(now, before);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

START_TEST(every_token_of_the_file_opens) {
  struct server_proc s;
  struct worker_proc w[2];
  write_file("first token\nsecond token\n", 0600);
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0", "--token-file", path), 1);
  task_run(&s, (struct task){.token = "first token"});
  task_run(&s, (struct task){.token = "second token"});
  task_start(w, (struct task){.server = &s, .token = "third token"});
  task_ends(&w[0], AGG_EAUTH, "token");
  task_ends(&w[1], AGG_EAUTH, "token");
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* ---- limits
 * ------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(a_job_beyond_the_limits_is_refused_with_the_flag_to_raise) {
  struct server_proc s;
  struct worker_proc w[2];
  static const char *const flags[][3] = {{"--job-memory-limit", "1M", "--job-memory-limit"}, {"--max-world", "1", "max-world"}};
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0", flags[_i][0], flags[_i][1]), 1);
  task_start(w, (struct task){.server = &s});
  task_ends(&w[0], AGG_ELIMIT, flags[_i][2]);
  task_ends(&w[1], AGG_ELIMIT, flags[_i][2]);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

START_TEST(one_job_too_many_waits_for_none) {
  struct server_proc s;
  struct worker_proc held[2], w[2];
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0", "--max-jobs", "1"), 1);
  int go = task_hold(held, &s, "held");
  task_start(w, (struct task){.server = &s, .job = "other"});
  task_ends(&w[0], AGG_ELIMIT, "max-jobs");
  task_ends(&w[1], AGG_ELIMIT, "max-jobs");
  task_next_round(held, go);
  kill(held[0].pid, SIGKILL);
  kill(held[1].pid, SIGKILL);
  worker_wait(&held[0]);
  worker_wait(&held[1]);
  task_release(go);
  ck_assert(server_log_wait(&s, "job held (comm 1): aborted"));
  task_run(&s, (struct task){.job = "third"}); /* its place is free again */
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

/* ---- losses
 * --------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(a_killed_worker_ends_its_job_and_no_other) {
  struct server_proc s;
  struct worker_proc a[2], b[2];
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0"), 1);
  int go_a = task_hold(a, &s, "a"), go_b = task_hold(b, &s, "b");
  uint64_t killed = clock_now_ns();
  kill(a[1].pid, SIGKILL);
  ck_assert_int_eq(worker_wait(&a[1]), 128 + SIGKILL); /* or it would take the byte that is the other's */
  ck_assert_int_eq(write(go_a, "x", 1), 1);
  task_ends(&a[0], AGG_EPEER, "rank 1");
  ck_assert_msg(clock_now_ns() - killed < 3000000000u, "the survivor was told late");
  task_next_round(b, go_b);
  task_release(go_b); /* ends b in good order */
  ck_assert_int_eq(worker_wait(&b[0]), 0);
  ck_assert_int_eq(worker_wait(&b[1]), 0);
  task_release(go_a);
  ck_assert(server_log_wait(&s, "job a (comm 1): aborted"));
  ck_assert(server_log_wait(&s, "job b (comm 2): ended"));
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

START_TEST(a_killed_server_is_named_to_its_workers) {
  struct server_proc s;
  struct worker_proc w[2];
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0"), 1);
  int go = task_hold(w, &s, "orphaned");
  uint64_t killed = clock_now_ns();
  kill(s.pid, SIGKILL);
  ck_assert_int_eq(write(go, "xx", 2), 2);
  task_ends(&w[0], AGG_EPEER, "server");
  task_ends(&w[1], AGG_EPEER, "server");
  ck_assert_msg(clock_now_ns() - killed < 3000000000u, "the workers were told late");
  task_release(go);
  ck_assert_int_eq(server_wait(&s), 128 + SIGKILL);
}
END_TEST

/* ---- draining
 * ---------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(a_drain_lets_jobs_finish_and_takes_no_new_ones) {
  struct server_proc s;
  struct worker_proc held[2], w[2];
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0"), 1);
  int go = task_hold(held, &s, "held");
  kill(s.pid, SIGTERM);
  ck_assert(server_log_wait(&s, "draining"));
  task_start(w, (struct task){.server = &s, .job = "late"});
  task_ends(&w[0], AGG_ELIMIT, "drain");
  task_ends(&w[1], AGG_ELIMIT, "drain");
  task_next_round(held, go);
  task_next_round(held, go);
  task_release(go);
  ck_assert_int_eq(worker_wait(&held[0]), 0);
  ck_assert_int_eq(worker_wait(&held[1]), 0);
  ck_assert_int_eq(server_wait(&s), 0);
}
END_TEST

START_TEST(a_drain_ends_at_its_timeout) {
  struct server_proc s;
  struct worker_proc held[2];
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0", "--drain-timeout", "0.1"), 1);
  int go = task_hold(held, &s, "held");
  kill(s.pid, SIGTERM);
  ck_assert(server_log_wait(&s, "drain-timeout passed: job held"));
  ck_assert_int_eq(server_wait(&s), 0);
  ck_assert_int_eq(write(go, "xx", 2), 2);
  task_ends(&held[0], AGG_EPEER, "");
  task_ends(&held[1], AGG_EPEER, "");
  task_release(go);
}
END_TEST

START_TEST(a_second_signal_ends_at_once_with_1) {
  struct server_proc s;
  struct worker_proc held[2];
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0"), 1);
  int go = task_hold(held, &s, "held");
  kill(s.pid, SIGTERM);
  ck_assert(server_log_wait(&s, "draining"));
  kill(s.pid, SIGINT);
  ck_assert_int_eq(server_wait(&s), 1);
  ck_assert_int_eq(write(go, "xx", 2), 2);
  task_ends(&held[0], AGG_EPEER, "");
  task_ends(&held[1], AGG_EPEER, "");
  task_release(go);
}
END_TEST

/* ---- strangers
 * ------------------------------------------------------------------------------------------------------------------------------------ */

#define SILENT 2000
#define GARBAGE 200

static int connect_to(const char *address) {
  char host[128];
  uint16_t port;
  int fd = -1;
  agg_error_t e = {0};
  ck_assert_int_eq(net_split(address, -1, host, sizeof host, &port, &e), 0);
  ck_assert_msg(net_connect(host, port, PROC_GUARD_MS, &fd, &e) == 0, "%s", e.text);
  return fd;
}

START_TEST(strangers_do_not_keep_workers_out) {
  static int fds[SILENT + GARBAGE];
  struct server_proc s;
  struct worker_proc held[2];
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 2 * (SILENT + GARBAGE)) return; /* this machine does not allow as many */
  ck_assert_int_eq(SERVER_START(&s, "--listen", "127.0.0.1:0", "--max-connections", "1000"), 1);
  int go = task_hold(held, &s, "held");
  struct rng r = {.state = 99};
  for (int i = 0; i < SILENT + GARBAGE; i++) {
    unsigned char noise[512];
    fds[i] = connect_to(s.address);
    if (i % 11 != 0) continue;
    for (size_t k = 0; k < sizeof noise; k++) noise[k] = (unsigned char)rng_next(&r);
    if (i % 22 == 0) memcpy(noise, "\x16\x03\x01\x02\x00", 5); /* begins as TLS does */
    (void)!send(fds[i], noise, sizeof noise, MSG_NOSIGNAL);
  }
  task_run(&s, (struct task){.job = "newcomer"}); /* while all of them hang on */
  task_next_round(held, go);
  task_release(go);
  ck_assert_int_eq(worker_wait(&held[0]), 0);
  ck_assert_int_eq(worker_wait(&held[1]), 0);
  ck_assert_int_lt(proc_descriptors(s.pid), 1000 + 200);
  server_log(&s, out, sizeof out);
  ck_assert_ptr_nonnull(strstr(out, "refused"));
  for (int i = 0; i < SILENT + GARBAGE; i++) close(fds[i]);
  ck_assert_int_eq(server_end(&s), 0);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("server");
  TCase *tc = tcase_create("process");
  tcase_add_checked_fixture(tc, setup, teardown);
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, check_config_prints_what_is_in_effect);
  tcase_add_test(tc, the_example_configuration_is_good);
  tcase_add_test(tc, check_config_refuses_in_one_line);
  tcase_add_test(tc, a_wrong_command_line_exits_with_2);
  tcase_add_test(tc, version_and_help);
  tcase_add_test(tc, a_port_in_use_is_named);
  tcase_add_test(tc, what_cannot_start_says_why);
  tcase_add_loop_test(tc, a_signal_ends_an_idle_server_with_0, 0, (int)ARRAY_LEN(end_signals));
  tcase_add_test(tc, the_start_is_in_the_log);
  tcase_add_loop_test(tc, a_job_runs_through_it, 0, (int)ARRAY_LEN(transports));
  tcase_add_test(tc, its_reactors_are_where_the_list_says);
  tcase_add_test(tc, a_server_of_one_transport_serves_by_it);
  tcase_add_test(tc, jobs_leave_nothing_behind);
  tcase_add_test(tc, every_token_of_the_file_opens);
  tcase_add_loop_test(tc, a_job_beyond_the_limits_is_refused_with_the_flag_to_raise, 0, 2);
  tcase_add_test(tc, one_job_too_many_waits_for_none);
  tcase_add_test(tc, a_killed_worker_ends_its_job_and_no_other);
  tcase_add_test(tc, a_killed_server_is_named_to_its_workers);
  tcase_add_test(tc, a_drain_lets_jobs_finish_and_takes_no_new_ones);
  tcase_add_test(tc, a_drain_ends_at_its_timeout);
  tcase_add_test(tc, a_second_signal_ends_at_once_with_1);
  tcase_add_test(tc, strangers_do_not_keep_workers_out);
  suite_add_tcase(s, tc);
  return s;
}
