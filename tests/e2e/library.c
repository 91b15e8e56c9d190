/*
 * The library as a guest in somebody's process: fork, dlopen, callbacks, waiting, where it runs, and what it never does (allocate on the
 * way of the data, touch signals, export other names than its own).
 */
#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/opcase.h"
#include "tests/lib/ranks.h"

/* ---- counting allocations ---------------------------------------------------------------------------------------------------------- */

#if !SANITIZED
static _Atomic uint32_t counting, allocations;

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);
#define INTERPOSE __attribute__((visibility("default")))
/* The control thread sends its heartbeats as it likes: what counts is the thread that calls, and those that move data. */
static int moves_data(void) {
  char name[16] = "";
  prctl(PR_GET_NAME, name);
  return getpid() == gettid() || strncmp(name, "agg-", 4) == 0;
}
static void count(void) {
  if (atomic_load_explicit(&counting, memory_order_relaxed) && moves_data()) atomic_fetch_add(&allocations, 1);
}
INTERPOSE void *malloc(size_t n) {
  count();
  return __libc_malloc(n);
}
INTERPOSE void *calloc(size_t n, size_t size) {
  count();
  return __libc_calloc(n, size);
}
INTERPOSE void *realloc(void *p, size_t n) {
  count();
  return __libc_realloc(p, n);
}
INTERPOSE void *aligned_alloc(size_t align, size_t n) {
  count();
  return __libc_memalign(align, n);
}
INTERPOSE void free(void *p) {
  if (p != NULL) count();
  __libc_free(p);
}
#endif

/* ---- helpers ---------------------------------------------------------------------------------------------------------------------------
 */

static agg_config_t config_of_one(void) {
  agg_config_t c;
  agg_config_init(&c);
  str_copy(c.token, sizeof c.token, "test token");
  c.log_level = AGG_LOG_OFF;
  c.timeout_s = c.join_timeout_s = 20;
  return c;
}

static void open_world(agg_t **a, agg_comm_t **comm) {
  agg_config_t c = config_of_one();
  agg_error_t err = {0};
  ck_assert_msg(agg_open(&c, a, &err) == AGG_OK, "%s", err.text);
  ck_assert_msg(agg_comm_create_world(*a, comm) == AGG_OK, "%s", agg_error_text(*a));
}

/* ---- fork
 * -------------------------------------------------------------------------------------------------------------------------------- */

/* The number of the first function that does not say AGG_EFORKED; 0 when all do. */
static int call_everything_forked(agg_t *a, agg_comm_t *comm, agg_request_t **request, void *memory) {
  agg_ticket_t t = {{0}};
  agg_comm_info_t info = {.size = sizeof info};
  agg_comm_t *made = NULL;
  agg_request_t *other = NULL;
  void *ptr = NULL;
  char buf[64] = {0};
  int n = 0;
  const int rc[] = {agg_ticket_create(a, &t),
                    agg_comm_create(a, &t, 0, 1, &made),
                    agg_comm_create_world(a, &made),
                    agg_comm_status(comm),
                    agg_comm_get_info(comm, &info),
                    agg_mem_alloc(a, 100, &ptr),
                    agg_mem_register(a, buf, sizeof buf),
                    agg_mem_deregister(a, buf),
                    agg_wait(request, 0),
                    agg_wait(request, -1),
                    agg_test(request),
                    agg_barrier(comm, NULL, &other)};
  for (size_t i = 0; i < ARRAY_LEN(rc); i++) n = n == 0 && rc[i] != AGG_EFORKED ? (int)i + 1 : n;
  for (struct op_case c = {.dtype = AGG_F32, .count = 1}; c.kind < KINDS; c.kind++)
    n = n == 0 && op_call(comm, &c, buf, buf + 32, NULL, &other) != AGG_EFORKED ? 100 + (int)c.kind : n;
  if (agg_error_text(a) == NULL || agg_comm_error_text(comm) == NULL || agg_comm_rank(comm) != 0 || *request == NULL) n = n == 0 ? 200 : n;
  agg_mem_free(a, memory); /* all of these do nothing */
  agg_comm_destroy(comm);
  agg_close(a);
  return n;
}

/* In the child of a rank. Its own instance works. */
static int child_of_a_rank(agg_t *a, agg_comm_t *comm, agg_request_t **request, void *memory) {
  agg_config_t c = config_of_one();
  agg_t *own;
  agg_comm_t *alone;
  int rc = call_everything_forked(a, comm, request, memory);
  if (rc != 0 || SANITIZED_THREADS) return rc; /* that sanitizer knows no threads in a child */
  if (agg_open(&c, &own, NULL) != AGG_OK || agg_comm_create_world(own, &alone) != AGG_OK) return 250;
  if (rank_sum_ones(alone) != 0) return 251;
  agg_close(own);
  return 0;
}

/* With its exit handlers; but a leak checker takes what belongs to the parent's other threads for lost. */
static void leave_child(int code) {
#if SANITIZED
  _exit(code);
#else
  exit(code);
#endif
}

/* Rank 0 forks while an operation is under way; it completes afterwards, and so do more. */
static int fork_in_the_middle(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_t *a;
  agg_comm_t *comm;
  agg_request_t *request = NULL;
  void *memory = NULL;
  int status = 0, rc;
  (void)arg;
  if (rank_open(config, own, &a, &comm) != AGG_OK || agg_mem_alloc(a, 4096, &memory) != AGG_OK) return 1;
  if (config->rank != 0 && !stage_wait(&all[0].stage, 1)) return 2;
  rc = agg_allreduce(comm, memory, memory, 1000, AGG_F32, AGG_SUM, NULL, &request);
  if (rc == AGG_OK && config->rank == 0) {
    pid_t pid = fork();
    if (pid == 0) leave_child(child_of_a_rank(a, comm, &request, memory));
    if (waitpid(pid, &status, 0) != pid || status != 0) return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
    atomic_store(&own->stage, 1);
  }
  if (rc == AGG_OK) rc = agg_wait(&request, -1);
  for (int i = 0; i < 100 && rc == AGG_OK; i++) rc = rank_sum_ones(comm);
  rank_report_comm(own, rc, comm);
  agg_mem_free(a, memory);
  agg_comm_destroy(comm);
  agg_close(a);
  return rc == AGG_OK ? 0 : 4;
}

START_TEST(a_forked_child_is_told_and_its_parent_goes_on) { ranks_run(&ranks_usual[_i], fork_in_the_middle, NULL); }
END_TEST

/* ---- twice in one process
 * ------------------------------------------------------------------------------------------------------------------ */

static void library_path(char *path, size_t cap) {
  char self[512];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  ck_assert_int_gt(n, 0);
  self[n] = '\0';
  *strrchr(self, '/') = '\0';
  snprintf(path, cap, "%s/../../libagg.so.0", self);
}

struct loaded {
  void *handle;
  agg_t *agg;
  agg_comm_t *comm;
};

/* Calls through a pointer of the function's own type. */
#define CALL(l, name) (*(__typeof__(&name))(uintptr_t)dlsym((l)->handle, #name))

static void load(struct loaded *l, const char *path) {
  agg_config_t c;
  agg_error_t err = {0};
  l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  ck_assert_msg(l->handle != NULL, "%s", dlerror());
  CALL(l, agg_config_init)(&c);
  str_copy(c.token, sizeof c.token, "test token");
  ck_assert_msg(CALL(l, agg_open)(&c, &l->agg, &err) == AGG_OK, "%s", err.text);
  ck_assert_msg(CALL(l, agg_comm_create_world)(l->agg, &l->comm) == AGG_OK, "%s", CALL(l, agg_error_text)(l->agg));
}

static void use_loaded(struct loaded *l) {
  double x = 2.5, y = 0;
  agg_request_t *request = NULL;
  ck_assert_int_eq(CALL(l, agg_allreduce)(l->comm, &x, &y, 1, AGG_F64, AGG_SUM, NULL, &request), AGG_OK);
  ck_assert_int_eq(CALL(l, agg_wait)(&request, -1), AGG_OK);
  ck_assert(y == x);
}

static void unload(struct loaded *l) {
  CALL(l, agg_comm_destroy)(l->comm);
  CALL(l, agg_close)(l->agg);
  ck_assert_int_eq(dlclose(l->handle), 0);
}

START_TEST(two_copies_of_the_library_live_in_one_process) {
  struct loaded l[2];
  char path[1024], command[2300], copy[] = "/tmp/libagg-copy-XXXXXX";
  int fd = mkstemp(copy);
  library_path(path, sizeof path);
  snprintf(command, sizeof command, "cp '%s' %s", path, copy);
  ck_assert_int_eq(system(command), 0);
  load(&l[0], path);
  load(&l[1], copy);
  ck_assert_ptr_ne(dlsym(l[0].handle, "agg_open"), dlsym(l[1].handle, "agg_open"));
  for (int i = 0; i < 10; i++) use_loaded(&l[i % 2]);
  unload(&l[0]);
  use_loaded(&l[1]);
  unload(&l[1]);
  unlink(copy);
  close(fd);
}
END_TEST

/* ---- callbacks
 * --------------------------------------------------------------------------------------------------------------------------------- */

struct called {
  agg_comm_t *comm;
  pthread_t poster;
  _Atomic uint32_t times;
  int status, nested, on_poster;
  char thread[32];
};

/* It may post and wait. */
static void on_complete(void *user, int status) {
  struct called *c = user;
  c->status = status;
  c->on_poster = pthread_equal(pthread_self(), c->poster);
  pthread_getname_np(pthread_self(), c->thread, sizeof c->thread);
  c->nested = status == AGG_OK ? rank_sum_ones(c->comm) : 0;
  atomic_fetch_add(&c->times, 1);
}

static int use_callbacks(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_t *a;
  agg_comm_t *comm;
  (void)arg;
  if (rank_open(config, own, &a, &comm) != AGG_OK) return 1;
  for (uint32_t i = 0; i < 50; i++) { /* with a request, and without */
    struct called c = {.comm = comm, .poster = pthread_self()};
    agg_op_options_t o = {.size = sizeof o, .callback = on_complete, .user = &c};
    agg_request_t *request = NULL;
    int rc = agg_barrier(comm, &o, i % 2 != 0 ? &request : NULL);
    if (rc == AGG_OK && i % 2 != 0) rc = agg_wait(&request, -1);
    if (rc != AGG_OK || !stage_wait(&c.times, 1)) return 2;
    snprintf(own->text, sizeof own->text, "status %d, inner status %d, on thread '%s'", c.status, c.nested, c.thread);
    if (c.status != AGG_OK || c.nested != 0) return 3;
    if (c.on_poster || strncmp(c.thread, "agg-reactor", 11) == 0) return 4;
    if (rank_sum_ones(comm) != 0 || atomic_load(&c.times) != 1) return 5;
  }
  agg_comm_destroy(comm);
  agg_close(a);
  return 0;
}

START_TEST(a_callback_runs_once_on_a_thread_that_moves_no_data) { ranks_run(&ranks_usual[_i], use_callbacks, NULL); }
END_TEST

/* ---- waiting
 * ----------------------------------------------------------------------------------------------------------------------------------- */

static int wait_in_all_ways(const agg_config_t *config, struct rank_report *all, void *arg) {
  static const double times[] = {0, 1e-9, 0.001, 0.02};
  struct rank_report *own = &all[config->rank];
  agg_t *a;
  agg_comm_t *comm;
  agg_request_t *request = NULL, *later = NULL;
  uint64_t limit = clock_now_ns() + 20 * 1000000000ull;
  int rc;
  (void)arg;
  if (rank_open(config, own, &a, &comm) != AGG_OK) return 1;
  if (config->rank == 1 && !stage_wait(&all[0].stage, 1)) return 2;
  if (agg_barrier(comm, NULL, &request) != AGG_OK || agg_barrier(comm, NULL, &later) != AGG_OK) return 3;
  for (size_t i = 0; i < ARRAY_LEN(times) && config->rank == 0; i++)
    if (agg_wait(&request, times[i]) != AGG_EINPROGRESS || agg_test(&later) != AGG_EINPROGRESS || request == NULL || later == NULL)
      return 4;
  if (config->rank == 0) atomic_store(&own->stage, 1);
  while ((rc = agg_test(&later)) == AGG_EINPROGRESS && clock_now_ns() < limit) sched_yield();
  if (rc != AGG_OK || later != NULL) return 5;
  if (agg_test(&request) != AGG_OK || request != NULL) return 6; /* it was posted earlier */
  if (agg_barrier(comm, NULL, &request) != AGG_OK || agg_wait(&request, 15) != AGG_OK) return 7;
  agg_comm_destroy(comm);
  agg_close(a);
  return 0;
}

START_TEST(waiting_gives_up_after_its_time_and_may_be_repeated) { ranks_run(&ranks_usual[_i], wait_in_all_ways, NULL); }
END_TEST

/* ---- where it runs
 * ------------------------------------------------------------------------------------------------------------------------------------ */

/* Where the reactor's own thread may run; 0: it is not there. */
static int reactor_affinity(unsigned reactor, cpu_set_t *set) {
  char want[32], name[32], path[64];
  int found = 0;
  const struct dirent *entry;
  DIR *d = opendir("/proc/self/task");
  snprintf(want, sizeof want, "agg-reactor%u\n", reactor);
  while (d != NULL && !found && (entry = readdir(d)) != NULL) {
    snprintf(path, sizeof path, "/proc/self/task/%.16s/comm", entry->d_name);
    FILE *f = fopen(path, "re");
    if (f == NULL) continue;
    found = fgets(name, sizeof name, f) != NULL && strcmp(name, want) == 0 && sched_getaffinity(atoi(entry->d_name), sizeof *set, set) == 0;
    fclose(f);
  }
  if (d != NULL) closedir(d);
  return found;
}

/* arg: AGG_PIN, in which a + stands for the last CPU that is allowed. */
static int look_where_it_runs(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_config_t c = *config;
  agg_t *a;
  agg_comm_t *comm;
  cpu_set_t before, after, is;
  struct rank_log log;
  char says[64];
  int last = -1;
  if (sched_getaffinity(0, sizeof before, &before) != 0) return 1;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET((size_t)cpu, &before)) last = cpu;
  int listed = strcmp(arg, "+") == 0;
  snprintf(c.pin, sizeof c.pin, "%d", last);
  if (!listed) str_copy(c.pin, sizeof c.pin, arg);
  c.log_level = AGG_LOG_INFO;
  rank_log_begin(&log, &c);
  if (rank_open(&c, own, &a, &comm) != AGG_OK) return 2;
  if (rank_sum_ones(comm) != AGG_OK) return 3;
  if (!reactor_affinity(0, &is)) return 4;
  if (sched_getaffinity(0, sizeof after, &after) != 0 || !CPU_EQUAL(&before, &after)) return 5; /* the program's own thread */
  agg_close(a);
  rank_log_end(&log);
  const char *lines = log.lines;
  str_copy(own->text, sizeof own->text, lines);
  snprintf(says, sizeof says, "reactor 0: on core %d", last);
  int pinned = CPU_COUNT(&is) == 1 && CPU_COUNT(&before) > 1;
  if (listed && (CPU_COUNT(&is) != 1 || !CPU_ISSET((size_t)last, &is) || strstr(lines, says) == NULL)) return 6;
  if (strcmp(arg, "off") == 0 && (!CPU_EQUAL(&is, &before) || strstr(lines, "reactors are not pinned: off was asked for") == NULL))
    return 7;
  if (strcmp(arg, "auto") == 0 && (strstr(lines, pinned ? "reactor 0: on core " : "not pinned: ") == NULL)) return 8;
  if (CPU_COUNT(&before) < 4 && strcmp(arg, "auto") == 0 && strstr(lines, " too few") == NULL) return 9;
  const char *windows = strstr(lines, "communicator 1: ");
  while (windows != NULL && strncmp(strchr(windows, ':'), ": rank ", 7) == 0) windows = strstr(windows + 1, "communicator 1: ");
  return windows != NULL && strstr(windows, "MiB of windows") != NULL && strstr(windows, "pages") != NULL ? 0 : 10;
}

START_TEST(reactors_run_where_they_should_and_nobody_else_is_moved) {
  static char pins[3][8] = {"+", "off", "auto"};
  ranks_run(&ranks_usual[0], look_where_it_runs, pins[_i]);
}
END_TEST

/* ---- what it never does
 * ------------------------------------------------------------------------------------------------------------------------------ */

#if !SANITIZED
static int sum_a_mebibyte(agg_comm_t *comm, void *buf, int times) {
  int rc = AGG_OK;
  for (int i = 0; i < times && rc == AGG_OK; i++) {
    agg_request_t *request = NULL;
    rc = agg_allreduce(comm, buf, buf, 1 << 18, AGG_F32, AGG_MAX, NULL, &request);
    if (rc == AGG_OK) rc = agg_wait(&request, -1);
  }
  return rc;
}

static int count_allocations(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  agg_t *a;
  agg_comm_t *comm;
  agg_comm_info_t info = {.size = sizeof info};
  void *ours = NULL, *theirs = calloc(1, 1 << 20);
  (void)arg;
  if (rank_open(config, own, &a, &comm) != AGG_OK || agg_mem_alloc(a, 1 << 20, &ours) != AGG_OK) return 1;
  void *const bufs[] = {ours, theirs};
  for (unsigned i = 0; i < 2; i++) {
    if (sum_a_mebibyte(comm, bufs[i], 3) != AGG_OK) return 2;
    atomic_store(&counting, 1);
    int rc = sum_a_mebibyte(comm, bufs[i], 100);
    atomic_store(&counting, 0);
    own->value[i] = atomic_load(&allocations);
    snprintf(own->text, sizeof own->text, "%u allocations in memory %u", atomic_load(&allocations), i);
    if (rc != AGG_OK || atomic_load(&allocations) != 0) return 3;
  }
  if (rank_sum_ones(comm) != AGG_OK) return 4; /* nobody leaves while others count: that is noted in memory */
  if (agg_comm_get_info(comm, &info) != AGG_OK || info.late_allocs != 0) return 5;
  agg_mem_free(a, ours);
  agg_comm_destroy(comm);
  agg_close(a);
  free(theirs);
  return 0;
}

START_TEST(the_way_of_the_data_allocates_nothing) { ranks_run(&ranks_usual[_i], count_allocations, NULL); }
END_TEST
#endif

START_TEST(signals_are_left_to_the_program) {
  struct sigaction before[65], after;
  sigset_t mask_before, mask_after;
  agg_t *a;
  agg_comm_t *comm;
  for (int s = 1; s < 65; s++)
    if (sigaction(s, NULL, &before[s]) != 0) before[s].sa_handler = SIG_ERR;
  pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
  open_world(&a, &comm);
  ck_assert_int_eq(rank_sum_ones(comm), 0);
  for (int round = 0; round < 2; round++) {
    for (int s = 1; s < 65; s++) {
      if (sigaction(s, NULL, &after) != 0) continue;
      ck_assert_msg(after.sa_handler == before[s].sa_handler && after.sa_flags == before[s].sa_flags, "signal %d was touched", s);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    ck_assert_mem_eq(&mask_before, &mask_after, 8); /* what the kernel knows of it */
    if (round == 0) agg_close(a);
  }
}
END_TEST

/* Runs a command; its output is in text. Exit status, or -1. */
static int shell(const char *command, char *text, size_t cap) {
  FILE *f = popen(command, "r");
  ck_assert_ptr_nonnull(f);
  size_t n = fread(text, 1, cap - 1, f);
  text[n] = '\0';
  int status = pclose(f);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char output[1 << 20];

START_TEST(every_exported_name_begins_with_agg) {
  char path[1024], command[1200];
  unsigned n = 0;
  if (shell("command -v nm", output, sizeof output) != 0) return;
  library_path(path, sizeof path);
  snprintf(command, sizeof command, "nm -D --defined-only '%s' 2>&1", path);
  ck_assert_int_eq(shell(command, output, sizeof output), 0);
  for (char *line = strtok(output, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    const char *name = strrchr(line, ' ') != NULL ? strrchr(line, ' ') + 1 : line;
    int version = strstr(line, " A ") != NULL; /* the version node itself, AGG_0 */
    ck_assert_msg(version || strncmp(name, "agg_", 4) == 0, "%s", line);
    n += !version;
  }
  ck_assert_uint_gt(n, 20);
}
END_TEST

/* The directory of agg.h, above the test's own place. */
static int find_header(char *dir, size_t cap) {
  ssize_t n = readlink("/proc/self/exe", dir, cap - 32);
  for (char *slash = n > 0 ? dir + n : dir; n > 0 && slash != NULL; slash = strrchr(dir, '/')) {
    strcpy(slash, "/libagg/agg.h");
    int found = access(dir, R_OK) == 0;
    slash[found ? 7 : 0] = '\0';
    if (found) return 1;
  }
  return 0;
}

START_TEST(the_header_is_good_cxx) {
  char dir[1024], command[1400];
  if (shell("command -v g++", output, sizeof output) != 0 || !find_header(dir, sizeof dir)) return;
  static const char *const standards[] = {"c++11", "c++17", "c++20"};
  for (size_t i = 0; i < ARRAY_LEN(standards); i++) {
    snprintf(command, sizeof command,
             "echo '#include <agg.h>\nint main() { agg_config_t c; agg_config_init(&c); return agg_dtype_size(AGG_F32) != 4; }' |"
             " g++ -std=%s -Wall -Wextra -Wpedantic -Werror -I'%s' -fsyntax-only -x c++ - 2>&1",
             standards[i], dir);
    ck_assert_msg(shell(command, output, sizeof output) == 0, "%s", output);
  }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("e2e/library");
  TCase *c = tcase_create("library");
  const int n = RANKS_USUAL;
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, a_forked_child_is_told_and_its_parent_goes_on, 0, n);
  tcase_add_test(c, two_copies_of_the_library_live_in_one_process);
  tcase_add_loop_test(c, a_callback_runs_once_on_a_thread_that_moves_no_data, 0, n);
  tcase_add_loop_test(c, waiting_gives_up_after_its_time_and_may_be_repeated, 0, n);
  tcase_add_loop_test(c, reactors_run_where_they_should_and_nobody_else_is_moved, 0, 3);
#if !SANITIZED
  tcase_add_loop_test(c, the_way_of_the_data_allocates_nothing, 0, n);
#endif
  tcase_add_test(c, signals_are_left_to_the_program);
  tcase_add_test(c, every_exported_name_begins_with_agg);
  tcase_add_test(c, the_header_is_good_cxx);
  suite_add_tcase(s, c);
  return s;
}
