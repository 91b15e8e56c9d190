/* The order of a run and its one event loop: who starts when, what an end means, when to stop asking politely. Starts nothing itself
 * (proc.c). */
#include "scripts/agg-run/job.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/net.h"
#include "base/util.h"

#define NS_PER_S 1000000000ull
#define READY_LIMIT_S 20
#define FLUSH_MS 100 /* a begun line is shown after a pause of this length */

static uint64_t after(double seconds) { return clock_now_ns() + (uint64_t)(seconds * (double)NS_PER_S); }

__attribute__((format(printf, 2, 3))) static void say(struct job *job, const char *fmt, ...) {
  char text[AGG_ERROR_TEXT_MAX + 64] = "agg-run: ";
  size_t head = strlen(text);
  va_list args;
  va_start(args, fmt);
  vsnprintf(text + head, sizeof(text) - head, fmt, args);
  va_end(args);
  sink_line(&job->sinks[1], text);
}

/* ---- ending ------------------------------------------------------------------------------------------------------------------ */

static void signal_all(const struct job *job, int signal) {
  for (unsigned i = 0; i < job->n_procs; i++) proc_signal(&job->procs[i], signal);
}

static unsigned running(const struct job *job, int is_server) {
  unsigned n = 0;
  for (unsigned i = 0; i < job->n_procs; i++) n += job->procs[i].pid > 0 && !job->procs[i].ended && job->procs[i].is_server == is_server;
  return n;
}

/* Tells everybody to end. The first reason counts. */
static void end_all(struct job *job, int code, int signal) {
  if (job->code == 0) job->code = code;
  if (job->phase == JOB_ENDING) return;
  job->phase = JOB_ENDING;
  job->ready_by_ns = 0;
  job->kill_at_ns = after(job->options->grace_s);
  signal_all(job, signal);
  signal_all(job, SIGCONT); /* a stopped process would not notice */
}

static void kill_all(struct job *job) {
  for (unsigned i = 0; i < job->n_procs; i++) {
    const struct proc *p = &job->procs[i];
    if (p->pid > 0 && !p->ended)
      say(job, "%s %u did not end within %g s and was killed", p->is_server ? "server" : "rank", p->index, job->options->grace_s);
  }
  job->killed = 1;
  job->kill_at_ns = 0;
  if (job->code == 0) job->code = 128 + SIGKILL; /* a server that does not drain */
  signal_all(job, SIGKILL);
}

static void on_end(struct job *job, const struct proc *p) {
  char how[128];
  proc_describe(p, how, sizeof(how));
  int code = proc_code(p);
  int early = p->is_server && (job->phase == JOB_STARTING || job->phase == JOB_RUNNING);
  if (job->phase == JOB_ENDING || (code == 0 && !early)) return;
  unsigned others = running(job, 0) + running(job, 1);
  int go_on = job->options->keep_going && job->phase == JOB_RUNNING && others > 0;
  say(job, "%s%s%s", how, early ? " while it was needed" : "", others == 0 ? "" : go_on ? "; the others go on" : "; ending the others");
  if (code == 0) code = 1;
  if (!go_on) end_all(job, code, SIGTERM);
  if (job->code == 0) job->code = code;
}

/* All workers have ended: now the servers may. */
static void drain(struct job *job) {
  job->phase = JOB_DRAINING;
  job->kill_at_ns = after(job->options->grace_s);
  for (unsigned i = 0; i < job->n_procs; i++) {
    if (job->procs[i].is_server) proc_signal(&job->procs[i], SIGTERM);
  }
}

static void on_signal(struct job *job, int signal) {
  if (job->phase == JOB_ENDING) { /* asked twice */
    kill_all(job);
    return;
  }
  say(job, "SIG%s: ending all", sigabbrev_np(signal));
  end_all(job, 128 + signal, signal);
}

static void on_signals(struct job *job) {
  struct signalfd_siginfo info;
  while (read(job->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
    if (info.ssi_signo != SIGCHLD) on_signal(job, (int)info.ssi_signo);
  }
  for (unsigned i = 0; i < job->n_procs; i++) {
    if (proc_look(&job->procs[i])) on_end(job, &job->procs[i]);
  }
  if (job->phase == JOB_RUNNING && running(job, 0) == 0) drain(job);
}

/* ---- starting ---------------------------------------------------------------------------------------------------------------- */

static void start_workers(struct job *job) {
  agg_error_t err = {0};
  job->phase = JOB_RUNNING;
  job->ready_by_ns = 0;
  for (unsigned i = job->options->servers; i < job->n_procs; i++) {
    if (proc_start_worker(job, &job->procs[i], &err) == AGG_OK) continue;
    say(job, "%s", err.text);
    end_all(job, 1, SIGTERM);
    return;
  }
}

/* Writes the servers' list when all have said where they are; 0 when some has not. */
static int join_addresses(struct job *job) {
  for (unsigned i = 0; i < job->options->servers; i++) {
    if (job->procs[i].ready_fd >= 0 || job->procs[i].address[0] == '\0') return 0;
  }
  size_t cap = job->options->servers * ADDRESS_CAP + 1, len = 0;
  job->servers = calloc(1, cap);
  if (job->servers == NULL) return 0;
  for (unsigned i = 0; i < job->options->servers; i++)
    len += (size_t)snprintf(job->servers + len, cap - len, "%s%s", i > 0 ? "," : "", job->procs[i].address);
  return 1;
}

static void on_address(struct job *job, struct proc *p) {
  int got = proc_read_address(p);
  if (got < 0 && job->phase == JOB_STARTING && proc_look(p)) {
    on_end(job, p); /* otherwise its end will be seen, or the limit for being ready passes */
  } else if (got > 0 && job->phase == JOB_STARTING && join_addresses(job)) {
    start_workers(job);
  }
}

/* A port of the loopback that nobody listens on, below the range from which the kernel takes ports of outgoing connections. */
static int choose_port(uint16_t *port, agg_error_t *err) {
  for (int i = 0; i < 100; i++) {
    uint16_t random = 0;
    struct net_addr addr, bound;
    int fd;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) break;
    *port = (uint16_t)(10000 + random % 22000);
    if (net_resolve("127.0.0.1", *port, 1, &addr, 1, err) < 1) break;
    if (net_listen(&addr, 1, &fd, &bound, err) != AGG_OK) continue;
    close(fd);
    return AGG_OK;
  }
  return err_set(err, AGG_ESYS, "found no free port from 10000 to 31999 on 127.0.0.1: give one with --port");
}

static int make_token(struct job *job, agg_error_t *err) {
  unsigned char bytes[32];
  if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) return err_sys(err, AGG_ESYS, errno, "no random numbers");
  for (size_t i = 0; i < sizeof(bytes); i++) snprintf(job->token + 2 * i, 3, "%02x", bytes[i]);
  snprintf(job->name, sizeof(job->name), "agg-run-%d", (int)getpid());
  return AGG_OK;
}

static int set_signals(struct job *job, agg_error_t *err) {
  sigset_t watched;
  sigemptyset(&watched);
  static const int SIGNALS[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  for (size_t i = 0; i < ARRAY_LEN(SIGNALS); i++) sigaddset(&watched, SIGNALS[i]);
  sigprocmask(SIG_BLOCK, &watched, &job->program_mask);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTTIN, SIG_IGN); /* in the background standard input is at its end, not a reason to stop */
  job->signal_fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  return job->signal_fd >= 0 ? AGG_OK : err_sys(err, AGG_ESYS, errno, "cannot watch signals");
}

/* Three descriptors for each process are more than some limits allow at first. */
static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static int make_procs(struct job *job, agg_error_t *err) {
  const struct options *o = job->options;
  job->n_procs = o->servers + o->ranks;
  job->procs = calloc(job->n_procs, sizeof(*job->procs));
  if (job->procs == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  for (unsigned i = 0; i < job->n_procs; i++) {
    struct proc *p = &job->procs[i];
    p->is_server = i < o->servers;
    p->index = p->is_server ? i : i - o->servers;
    p->ready_fd = p->out.fd = p->err.fd = -1;
    snprintf(p->label, sizeof(p->label), "%s%u", p->is_server ? "s" : "", p->index);
  }
  return AGG_OK;
}

static int prepare(struct job *job, int *exit_code, agg_error_t *err) {
  const struct options *o = job->options;
  int rc = launch_find(o->program[0], job->program, sizeof(job->program), exit_code, err);
  if (rc == AGG_OK && o->servers > 0) rc = launch_find_server(job->server, sizeof(job->server), exit_code, err);
  if (rc != AGG_OK) return rc;
  *exit_code = 1;
  raise_descriptor_limit();
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  job->port = o->port;
  if (o->servers == 0 && o->port == 0) rc = choose_port(&job->port, err);
  if (rc == AGG_OK) rc = make_token(job, err);
  if (rc == AGG_OK) rc = make_procs(job, err);
  if (rc == AGG_OK) rc = guard_start(&job->guard, err);
  return rc == AGG_OK ? set_signals(job, err) : rc;
}

static void start_all(struct job *job) {
  agg_error_t err = {0};
  if (job->options->timeout_s > 0) job->deadline_ns = after(job->options->timeout_s);
  if (job->options->servers == 0) {
    start_workers(job);
    return;
  }
  job->ready_by_ns = after(READY_LIMIT_S);
  for (unsigned i = 0; i < job->options->servers; i++) {
    if (proc_start_server(job, &job->procs[i], &err) == AGG_OK) continue;
    say(job, "%s", err.text);
    end_all(job, 1, SIGTERM);
    return;
  }
}

/* ---- the loop ---------------------------------------------------------------------------------------------------------------- */

/* What a descriptor in the poll set belongs to. */
enum watch_kind { WATCH_SIGNALS, WATCH_STDIN, WATCH_INPUT, WATCH_SINK, WATCH_STREAM, WATCH_READY };
struct watch {
  enum watch_kind kind;
  void *of;
};

struct watches {
  struct pollfd *fds;
  struct watch *what;
  nfds_t n;
  int held; /* some stream holds back a begun line */
};

static void watch(struct watches *w, int fd, short events, enum watch_kind kind, void *of) {
  w->fds[w->n] = (struct pollfd){.fd = fd, .events = events};
  w->what[w->n++] = (struct watch){kind, of};
}

static void watch_stream(struct watches *w, struct stream *s) {
  if (s->fd < 0) return;
  w->held |= s->len > 0;
  if (!sink_full(s->sink)) watch(w, s->fd, POLLIN, WATCH_STREAM, s);
}

static void watch_all(struct job *job, struct watches *w) {
  w->n = 0;
  w->held = 0;
  watch(w, job->signal_fd, POLLIN, WATCH_SIGNALS, NULL);
  if (job->input_fd >= 0) {
    int pending = job->input_off < job->input_len;
    watch(w, job->input_fd, pending ? POLLOUT : 0, WATCH_INPUT, NULL);
    if (!pending && job->input_open) watch(w, STDIN_FILENO, POLLIN, WATCH_STDIN, NULL);
  }
  for (int i = 0; i < 2; i++) {
    if (sink_pending(&job->sinks[i])) watch(w, job->sinks[i].fd, POLLOUT, WATCH_SINK, &job->sinks[i]);
  }
  for (unsigned i = 0; i < job->n_procs; i++) {
    struct proc *p = &job->procs[i];
    watch_stream(w, &p->out);
    watch_stream(w, &p->err);
    if (p->ready_fd >= 0 && p->pid > 0) watch(w, p->ready_fd, POLLIN, WATCH_READY, p);
  }
}

static void on_ready(struct job *job, const struct watch *what, short events) {
  switch (what->kind) {
    case WATCH_SIGNALS:
      on_signals(job);
      break;
    case WATCH_STDIN:
      if (job->input_fd >= 0) input_read(job);
      break;
    case WATCH_INPUT:
      if (events & (POLLERR | POLLNVAL)) {
        input_stop(job);
      } else {
        input_write(job);
      }
      break;
    case WATCH_SINK:
      sink_write(what->of);
      break;
    case WATCH_STREAM:
      stream_read(what->of);
      break;
    case WATCH_READY:
      on_address(job, what->of);
      break;
  }
}

static uint64_t earliest(uint64_t a, uint64_t b) { return a == 0 ? b : b == 0 || a < b ? a : b; }

static int wait_ms(const struct job *job, const struct watches *w) {
  uint64_t at = earliest(earliest(job->deadline_ns, job->ready_by_ns), earliest(job->kill_at_ns, job->give_up_ns));
  uint64_t now = clock_now_ns();
  uint64_t ms = at == 0 ? 60000 : at <= now ? 0 : MIN_OF((at - now) / 1000000 + 1, 60000);
  return (int)(w->held ? MIN_OF(ms, FLUSH_MS) : ms);
}

static void on_time(struct job *job) {
  uint64_t now = clock_now_ns();
  if (job->ready_by_ns != 0 && now >= job->ready_by_ns) {
    job->ready_by_ns = 0;
    if (job->phase == JOB_STARTING) say(job, "not all servers said within %d s where they listen", READY_LIMIT_S);
    end_all(job, 1, SIGTERM);
  }
  if (job->deadline_ns != 0 && now >= job->deadline_ns) {
    job->deadline_ns = 0;
    if (job->phase != JOB_ENDING) say(job, "the run took longer than --timeout %g s: ending it", job->options->timeout_s);
    end_all(job, 124, SIGTERM);
  }
  if (job->kill_at_ns != 0 && now >= job->kill_at_ns) kill_all(job);
}

/* Nobody reads what the workers print: as for any program that writes to a closed pipe. */
static void on_broken_output(struct job *job) {
  if (job->phase == JOB_ENDING) return;
  say(job, "cannot write standard output: %s; ending all", strerror(job->sinks[0].broken));
  end_all(job, 128 + SIGPIPE, SIGTERM);
}

static void flush_held(struct job *job) {
  for (unsigned i = 0; i < job->n_procs; i++) {
    if (job->procs[i].out.fd >= 0) stream_flush(&job->procs[i].out);
    if (job->procs[i].err.fd >= 0) stream_flush(&job->procs[i].err);
  }
}

/* 1 when all have ended and all they wrote has been passed on. What still holds a pipe then is killed, and waited for a moment. */
static int finished(struct job *job) {
  if (running(job, 0) + running(job, 1) > 0) return 0;
  if (job->give_up_ns == 0) {
    job->kill_at_ns = job->deadline_ns = 0;
    job->give_up_ns = after(job->options->grace_s);
  }
  signal_all(job, SIGKILL);
  leftover_kill(job);
  int open = sink_pending(&job->sinks[0]) || sink_pending(&job->sinks[1]);
  for (unsigned i = 0; i < job->n_procs && !open; i++) open = job->procs[i].out.fd >= 0 || job->procs[i].err.fd >= 0;
  return !open || clock_now_ns() >= job->give_up_ns;
}

static int loop(struct job *job) {
  size_t cap = 3 * (size_t)job->n_procs + 5;
  struct watches w = {.fds = calloc(cap, sizeof(*w.fds)), .what = calloc(cap, sizeof(*w.what))};
  int rc = w.fds != NULL && w.what != NULL ? AGG_OK : AGG_ENOMEM;
  while (rc == AGG_OK && !finished(job)) {
    watch_all(job, &w);
    int n = poll(w.fds, w.n, wait_ms(job, &w));
    if (n == 0) flush_held(job);
    for (nfds_t i = 0; n > 0 && i < w.n; i++) {
      if (w.fds[i].revents != 0) on_ready(job, &w.what[i], w.fds[i].revents);
    }
    if (job->sinks[0].broken) on_broken_output(job);
    on_time(job);
  }
  free(w.fds);
  free(w.what);
  return rc;
}

static void clean_up(struct job *job) {
  signal_all(job, SIGKILL);
  for (unsigned i = 0; job->procs != NULL && i < job->n_procs; i++) {
    struct proc *p = &job->procs[i];
    if (p->pid > 0) waitpid(p->pid, NULL, 0);
    stream_fini(&p->out);
    stream_fini(&p->err);
    if (p->ready_fd >= 0) close(p->ready_fd);
  }
  if (job->guard.pid > 0) guard_stop(&job->guard);
  leftover_reap(job);
  input_stop(job);
  if (job->signal_fd > 0) close(job->signal_fd);
  sink_fini(&job->sinks[0]);
  sink_fini(&job->sinks[1]);
  free(job->servers);
  free(job->procs);
}

int job_run(struct job *job, const struct options *options) {
  agg_error_t err = {0};
  job->options = options;
  job->input_fd = -1;
  job->sinks[0].fd = STDOUT_FILENO;
  job->sinks[1].fd = STDERR_FILENO;
  int code = 1;
  if (prepare(job, &code, &err) == AGG_OK) {
    start_all(job);
    int rc = loop(job);
    code = rc == AGG_OK ? job->code : 1;
    if (rc != AGG_OK) fprintf(stderr, "agg-run: out of memory\n");
  } else {
    fprintf(stderr, "agg-run: %s\n", err.text);
  }
  clean_up(job);
  return code;
}
