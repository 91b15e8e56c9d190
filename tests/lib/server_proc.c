/* Starts and awaits real processes for end-to-end tests. Ends the test (Check) when a wait takes longer than its guard. */
#include "server_proc.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

#define FLAGS_MAX 32

const char *server_binary(void) {
  static char path[1024];
  const char *dir = getenv("AGG_BIN_DIR");
  if (dir != NULL) {
    snprintf(path, sizeof path, "%s/agg-server", dir);
    return path;
  }
  char self[512];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  ck_assert_int_gt(n, 0);
  self[n] = '\0';
  char *slash = strrchr(self, '/');
  *slash = '\0';
  snprintf(path, sizeof path, "%s/../../agg-server", self);
  return path;
}

/* Waits for a child's end through its pidfd. */
static int wait_status(pid_t pid, const char *what) {
  int status, fd = pidfd_open(pid, 0);
  ck_assert_msg(fd >= 0, "pidfd_open: %s", strerror(errno));
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int rc = poll(&p, 1, PROC_GUARD_MS);
  close(fd);
  if (rc != 1) {
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    ck_abort_msg("%s has not ended within %d s", what, PROC_GUARD_MS / 1000);
  }
  ck_assert_int_eq(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* In a child: it must not outlive the test. */
static void die_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

static void exec_server(const char *const *flags, const char *ready_fd) {
  char *argv[FLAGS_MAX + 4];
  int n = 0;
  argv[n++] = strdup(server_binary());
  for (; *flags != NULL && n < FLAGS_MAX; flags++) argv[n++] = strdup(*flags);
  if (ready_fd != NULL) {
    argv[n++] = strdup("--ready-fd");
    argv[n++] = strdup(ready_fd);
  }
  argv[n] = NULL;
  execv(argv[0], argv);
  dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
  _exit(127);
}

/* Reads up to a newline or the end; the guard holds for every byte. */
static size_t read_line(int fd, char *buf, size_t cap) {
  size_t n = 0;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  while (n + 1 < cap) {
    ck_assert_msg(poll(&p, 1, PROC_GUARD_MS) == 1, "nothing to read within %d s", PROC_GUARD_MS / 1000);
    if (read(fd, buf + n, 1) != 1 || buf[n] == '\n') break;
    n++;
  }
  buf[n] = '\0';
  return n;
}

int server_start(struct server_proc *s, const char *const *flags) {
  int ready[2];
  snprintf(s->log, sizeof s->log, "/tmp/agg-server-log-XXXXXX");
  int log = mkostemp(s->log, O_CLOEXEC);
  ck_assert_int_ge(log, 0);
  ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
  s->pid = fork();
  ck_assert_int_ge(s->pid, 0);
  if (s->pid == 0) {
    char number[16];
    die_with_parent();
    int fd = dup(ready[1]); /* without close-on-exec */
    dup2(log, STDERR_FILENO);
    snprintf(number, sizeof number, "%d", fd);
    exec_server(flags, number);
  }
  close(ready[1]);
  close(log);
  size_t n = read_line(ready[0], s->address, sizeof s->address);
  close(ready[0]);
  return n > 0;
}

const char *server_log(const struct server_proc *s, char *buf, size_t cap) {
  int fd = open(s->log, O_RDONLY | O_CLOEXEC);
  ck_assert_int_ge(fd, 0);
  ssize_t n = read(fd, buf, cap - 1);
  buf[n > 0 ? n : 0] = '\0';
  close(fd);
  return buf;
}

int server_log_wait(const struct server_proc *s, const char *text) {
  static char buf[1 << 20];
  uint64_t until = clock_now_ns() + (uint64_t)PROC_GUARD_MS * 1000000u;
  while (strstr(server_log(s, buf, sizeof buf), text) == NULL) {
    if (clock_now_ns() > until) return 0;
    poll(NULL, 0, 5); /* a file cannot be polled */
  }
  return 1;
}

int server_wait(struct server_proc *s) {
  int status = wait_status(s->pid, "agg-server");
  if (status != 0 && getenv("AGG_TEST_VERBOSE") != NULL) {
    static char buf[1 << 16];
    fprintf(stderr, "%s", server_log(s, buf, sizeof buf));
  }
  unlink(s->log);
  return status;
}

int server_end(struct server_proc *s) {
  kill(s->pid, SIGTERM);
  return server_wait(s);
}

static void read_back(FILE *f, char *buf, size_t cap) {
  rewind(f);
  size_t n = fread(buf, 1, cap - 1, f);
  buf[n] = '\0';
  fclose(f);
}

int server_run_once(const char *const *flags, char *out, size_t out_cap, char *err, size_t err_cap) {
  FILE *out_file = tmpfile(), *err_file = tmpfile();
  ck_assert(out_file != NULL && err_file != NULL);
  pid_t pid = fork();
  ck_assert_int_ge(pid, 0);
  if (pid == 0) {
    die_with_parent();
    dup2(fileno(out_file), STDOUT_FILENO);
    dup2(fileno(err_file), STDERR_FILENO);
    exec_server(flags, NULL);
  }
  int status = wait_status(pid, "agg-server");
  read_back(out_file, out, out_cap);
  read_back(err_file, err, err_cap);
  return status;
}

void worker_start(struct worker_proc *w, int (*fn)(int say, void *arg), void *arg) {
  int ends[2];
  ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
  fflush(NULL);
  w->pid = fork();
  ck_assert_int_ge(w->pid, 0);
  if (w->pid == 0) {
    die_with_parent();
    close(ends[0]);
    _exit(fn(ends[1], arg));
  }
  close(ends[1]);
  w->out = ends[0];
}

const char *worker_line(struct worker_proc *w, char *buf, size_t cap) {
  read_line(w->out, buf, cap);
  return buf;
}

int worker_wait(struct worker_proc *w) {
  int status = wait_status(w->pid, "a worker");
  close(w->out);
  return status;
}

int proc_descriptors(pid_t pid) {
  char path[64];
  int n = 0;
  snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
  DIR *d = opendir(path);
  ck_assert_ptr_nonnull(d);
  while (readdir(d) != NULL) n++;
  closedir(d);
  return n - 2;
}
