/* One server or worker: how it is started, what it was told, how it ended. The order of things is job.c's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-run/job.h"

#define ENV_CAP 400

/* Variables of other launchers and of an outer run, which would mislead the workers. */
static char *const CLEARED[] = {"AGG_TOKEN_FILE", "AGG_SERVERS", "AGG_COORDINATOR"};

static void close_if(int fd) {
  if (fd >= 0) close(fd);
}

/* Makes the pipes for both outputs; ours go into the streams, the program's ends into ends[]. */
static int open_outputs(struct job *job, struct proc *p, int ends[2], agg_error_t *err) {
  struct stream *streams[2] = {&p->out, &p->err};
  ends[0] = ends[1] = -1;
  if (!job->options->prefix) return AGG_OK;
  for (int i = 0; i < 2; i++) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return err_sys(err, AGG_ESYS, errno, "cannot make a pipe");
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    ends[i] = fds[1];
    if (stream_init(streams[i], fds[0], &job->sinks[i], p->label) != 0) return err_set(err, AGG_ENOMEM, "out of memory");
  }
  return AGG_OK;
}

static int start(struct job *job, struct proc *p, struct launch *l, agg_error_t *err) {
  int ends[2];
  int rc = open_outputs(job, p, ends, err);
  if (rc == AGG_OK) {
    l->out = ends[0];
    l->err = ends[1];
    l->mask = &job->program_mask;
    l->more_env = job->options->env;
    l->n_more_env = job->options->n_env;
    rc = launch_start(l, &job->guard, &p->pid, err);
  }
  close_if(ends[0]);
  close_if(ends[1]);
  return rc;
}

int proc_start_server(struct job *job, struct proc *p, agg_error_t *err) {
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) return err_sys(err, AGG_ESYS, errno, "cannot make a pipe");
  fcntl(ready[0], F_SETFL, O_NONBLOCK);
  p->ready_fd = ready[0];

  char number[16], token[ENV_CAP];
  snprintf(number, sizeof(number), "%d", ready[1]);
  snprintf(token, sizeof(token), "AGG_TOKEN=%s", job->token);
  unsigned more = job->options->n_server_args;
  char **argv = calloc(more + 8, sizeof(*argv));
  int rc = argv == NULL ? err_set(err, AGG_ENOMEM, "out of memory") : AGG_OK;
  if (rc == AGG_OK) {
    char *fixed[] = {"agg-server", "--listen", "127.0.0.1:0", "--ready-fd", number, "--log-level", "warn"}; /* --server-args can raise it */
    memcpy(argv, fixed, sizeof(fixed));
    for (unsigned i = 0; i < more; i++) argv[ARRAY_LEN(fixed) + i] = job->options->server_args[i];
    struct launch l = {.path = job->server, .argv = argv, .env = {token, CLEARED[0]}, .n_env = 2, .in = -1, .keep = ready[1]};
    rc = start(job, p, &l, err);
  }
  free(argv);
  close(ready[1]);
  return rc;
}

/* Rank 0 gets a pipe that standard input is passed into. */
static int open_input(struct job *job, struct proc *p, int *program_end, agg_error_t *err) {
  *program_end = -1;
  if (p->index != 0) return AGG_OK;
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return err_sys(err, AGG_ESYS, errno, "cannot make a pipe");
  *program_end = fds[0];
  input_start(job, fds[1]);
  return AGG_OK;
}

int proc_start_worker(struct job *job, struct proc *p, agg_error_t *err) {
  char meet[ENV_CAP + SERVERS_MAX * ADDRESS_CAP], rank[ENV_CAP], size[ENV_CAP], local[ENV_CAP], name[ENV_CAP], token[ENV_CAP];
  snprintf(rank, sizeof(rank), "AGG_RANK=%u", p->index);
  snprintf(local, sizeof(local), "AGG_LOCAL_RANK=%u", p->index);
  snprintf(size, sizeof(size), "AGG_SIZE=%u", job->options->ranks);
  snprintf(name, sizeof(name), "AGG_JOB=%s", job->name);
  snprintf(token, sizeof(token), "AGG_TOKEN=%s", job->token);
  if (job->servers != NULL) {
    snprintf(meet, sizeof(meet), "AGG_SERVERS=%s", job->servers);
  } else {
    snprintf(meet, sizeof(meet), "AGG_COORDINATOR=127.0.0.1:%u", job->port);
  }
  struct launch l = {.path = job->program,
                     .argv = job->options->program,
                     .env = {CLEARED[0], CLEARED[1], CLEARED[2], rank, local, size, name, token, meet},
                     .n_env = 9,
                     .keep = -1};
  int rc = open_input(job, p, &l.in, err);
  if (rc == AGG_OK) rc = start(job, p, &l, err);
  close_if(l.in);
  return rc;
}

int proc_read_address(struct proc *p) {
  ssize_t got = read(p->ready_fd, p->address + p->address_len, sizeof(p->address) - 1 - p->address_len);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (got > 0) {
    p->address_len += (size_t)got;
    p->address[p->address_len] = '\0';
    char *newline = strchr(p->address, '\n');
    if (newline == NULL && p->address_len < sizeof(p->address) - 1) return 0;
    if (newline != NULL) *newline = '\0';
    got = newline != NULL && newline != p->address;
  }
  close(p->ready_fd);
  p->ready_fd = -1;
  if (got > 0) return 1;
  p->address[0] = '\0';
  return -1;
}

int proc_look(struct proc *p) {
  siginfo_t info = {0};
  if (p->pid <= 0 || p->ended) return 0;
  if (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != p->pid) return 0;
  p->ended = 1;
  int how = info.si_status;
  p->status = info.si_code == CLD_EXITED ? (how & 0xff) << 8 : how | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0);
  return 1;
}

void proc_signal(const struct proc *p, int signal) {
  if (p->pid > 0) kill(-p->pid, signal);
}

void proc_describe(const struct proc *p, char *text, size_t cap) {
  const char *what = p->is_server ? "server" : "rank";
  if (WIFSIGNALED(p->status)) {
    const char *name = sigabbrev_np(WTERMSIG(p->status));
    const char *core = WCOREDUMP(p->status) ? " (core dumped)" : "";
    if (name != NULL) {
      snprintf(text, cap, "%s %u was ended by SIG%s%s", what, p->index, name, core);
    } else {
      snprintf(text, cap, "%s %u was ended by signal %d%s", what, p->index, WTERMSIG(p->status), core);
    }
  } else {
    snprintf(text, cap, "%s %u exited with code %d", what, p->index, WEXITSTATUS(p->status));
  }
}

int proc_code(const struct proc *p) { return WIFSIGNALED(p->status) ? 128 + WTERMSIG(p->status) : WEXITSTATUS(p->status); }
