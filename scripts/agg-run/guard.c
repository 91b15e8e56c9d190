/*
 * PR_SET_PDEATHSIG ends the workers themselves when agg-run is killed with SIGKILL, but not what they have started (a shell's program, a
 * data loader). The guard closes that gap: it waits for the end of a pipe that only agg-run holds, then kills the groups. It runs nothing
 * else.
 */
#include "scripts/agg-run/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "scripts/agg-run/options.h"

#define GROUPS_MAX (RANKS_MAX + SERVERS_MAX)

/* Runs in the guard's process. A group number comes in whole: four bytes to a pipe are never torn. */
static _Noreturn void guard_main(int fd) {
  static pid_t groups[GROUPS_MAX];
  unsigned n = 0;
  pid_t group;
  for (;;) {
    ssize_t got = read(fd, &group, sizeof(group));
    if (got < 0 && errno == EINTR) continue;
    if (got != (ssize_t)sizeof(group)) break;
    if (n < GROUPS_MAX && group > 1) groups[n++] = group;
  }
  for (unsigned i = 0; i < n; i++) kill(-groups[i], SIGKILL);
  _exit(0);
}

int guard_start(struct guard *g, agg_error_t *err) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return err_sys(err, AGG_ESYS, errno, "cannot make a pipe");
  g->pid = fork();
  if (g->pid < 0) {
    int saved = errno;
    close(fds[0]);
    close(fds[1]);
    return err_sys(err, AGG_ESYS, saved, "cannot start a process");
  }
  if (g->pid == 0) {
    close(fds[1]);
    setsid(); /* a signal to agg-run's group must not end its guard too */
    prctl(PR_SET_NAME, "agg-run guard");
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2; fd++) dup2(null, fd);
    guard_main(fds[0]);
  }
  close(fds[0]);
  g->fd = fds[1];
  return AGG_OK;
}

void guard_add(struct guard *g, pid_t group) {
  ssize_t done = write(g->fd, &group, sizeof(group));
  (void)done; /* a guard that is gone leaves PR_SET_PDEATHSIG */
}

void guard_stop(struct guard *g) {
  kill(g->pid, SIGKILL);
  while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR) continue;
  close(g->fd);
}
