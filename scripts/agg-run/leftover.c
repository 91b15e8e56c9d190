/* Daemons: agg-run is the subreaper of all that it starts, so what leaves its group and loses its parent becomes a child of agg-run. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scripts/agg-run/job.h"

static int is_known(const struct job *job, pid_t pid) {
  if (pid == job->guard.pid) return 1;
  for (unsigned i = 0; i < job->n_procs; i++) {
    if (job->procs[i].pid == pid) return 1;
  }
  return 0;
}

void leftover_kill(const struct job *job) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
  FILE *file = fopen(path, "re");
  if (file == NULL) return; /* a kernel without the list: groups and PR_SET_PDEATHSIG remain */
  for (int pid; fscanf(file, "%d", &pid) == 1;) {
    if (!is_known(job, pid)) kill(pid, SIGKILL);
  }
  fclose(file);
}

void leftover_reap(const struct job *job) {
  for (int turn = 0; turn < 200; turn++) {
    leftover_kill(job);
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) continue;
    if (pid < 0) return; /* no children */
    poll(NULL, 0, 5);
  }
}
