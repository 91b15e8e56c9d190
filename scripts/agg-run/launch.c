/* Finds programs and starts processes: environment, descriptors, process group, death with agg-run. It watches none of them. */
#include "scripts/agg-run/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"

/* 0: a file that may be run; EACCES: a file that may not; EISDIR; ENOENT. */
static int runnable(const char *path) {
  struct stat st;
  if (stat(path, &st) != 0) return ENOENT;
  if (S_ISDIR(st.st_mode)) return EISDIR;
  return access(path, X_OK) == 0 ? 0 : EACCES;
}

static int search_path(const char *program, char *path, size_t cap) {
  const char *dirs = getenv("PATH");
  if (dirs == NULL) dirs = "/usr/local/bin:/usr/bin:/bin";
  int best = ENOENT;
  for (const char *at = dirs;;) {
    size_t len = strcspn(at, ":");
    int n = snprintf(path, cap, "%.*s%s%s", (int)len, at, len > 0 ? "/" : "", program);
    int found = n > 0 && (size_t)n < cap ? runnable(path) : ENOENT;
    if (found == 0) return 0;
    if (found == EACCES) best = EACCES;
    if (at[len] == '\0') return best;
    at += len + 1;
  }
}

int launch_find(const char *program, char *path, size_t cap, int *exit_code, agg_error_t *err) {
  *exit_code = EXIT_NO_PROGRAM;
  int searched = strchr(program, '/') == NULL;
  int rc = ENOENT;
  if (searched && *program != '\0') {
    rc = search_path(program, path, cap);
  } else if (!searched && str_copy(path, cap, program)) {
    rc = runnable(path);
  }
  if (rc == 0) return AGG_OK;
  if (rc == ENOENT) return err_set(err, AGG_EINVAL, searched ? "no such program in PATH: %s" : "no such program: %s", program);
  *exit_code = EXIT_NOT_EXECUTABLE;
  if (rc == EISDIR) return err_set(err, AGG_EINVAL, "%s is a directory, not a program", program);
  return err_set(err, AGG_EINVAL, "%s is not executable (chmod +x would make it so)", program);
}

int launch_find_server(char *path, size_t cap, int *exit_code, agg_error_t *err) {
  char self[PATH_MAX];
  ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
  if (len > 0) {
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL) *slash = '\0';
    int n = snprintf(path, cap, "%s/agg-server", self);
    if (n > 0 && (size_t)n < cap && runnable(path) == 0) return AGG_OK;
  }
  return launch_find("agg-server", path, cap, exit_code, err);
}

static void apply_env(const struct launch *l) {
  for (unsigned i = 0; i < l->n_env; i++) {
    if (strchr(l->env[i], '=') != NULL) {
      putenv(l->env[i]);
    } else {
      unsetenv(l->env[i]);
    }
  }
  for (unsigned i = 0; i < l->n_more_env; i++) putenv((char *)(uintptr_t)l->more_env[i]);
}

static void apply_descriptors(const struct launch *l) {
  int in = l->in >= 0 ? l->in : open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(in, 0);
  if (l->out >= 0) dup2(l->out, 1);
  if (l->err >= 0) dup2(l->err, 2);
  if (l->keep >= 0) fcntl(l->keep, F_SETFD, 0);
}

/* Runs in the new process. Reports errno of a failed start through `report`. */
static _Noreturn void child_main(const struct launch *l, pid_t parent, int report) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(EXIT_NO_PROGRAM); /* agg-run ended before the line above */
  apply_env(l);
  apply_descriptors(l);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, l->mask, NULL);
  execv(l->path, l->argv);
  int failed = errno;
  ssize_t done = write(report, &failed, sizeof(failed));
  (void)done;
  _exit(EXIT_NO_PROGRAM);
}

int launch_start(const struct launch *l, struct guard *guard, pid_t *pid, agg_error_t *err) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return err_sys(err, AGG_ESYS, errno, "cannot make a pipe");
  pid_t parent = getpid(), child = fork();
  if (child == 0) child_main(l, parent, report[1]);
  int failed = child < 0 ? errno : 0;
  close(report[1]);
  if (child > 0) {
    setpgid(child, child); /* both sides: whichever comes first */
    guard_add(guard, child);
    ssize_t got;
    while ((got = read(report[0], &failed, sizeof(failed))) < 0 && errno == EINTR) continue;
    if (got != (ssize_t)sizeof(failed)) failed = 0; /* the pipe was closed by exec */
  }
  close(report[0]);
  if (failed != 0) {
    if (child > 0) waitpid(child, NULL, 0);
    return err_sys(err, AGG_ESYS, failed, "cannot run %s", l->path);
  }
  *pid = child;
  return AGG_OK;
}
