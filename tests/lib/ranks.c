/* Worker processes for tests: forked, watched, and never left behind. */
#include "ranks.h"

#include <check.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/net.h"
#include "base/util.h"

struct ranks {
  unsigned n;
  pid_t pid[RANKS_MAX];
  int status[RANKS_MAX]; /* of waitpid; valid when pid is 0 */
  struct rank_report *reports;
};

/* Below the ports that the kernel gives to connections, which could take it before rank 0 does. */
#define PORT_FIRST 12000u
#define PORTS 20000u

static uint16_t free_port(void) {
  static uint32_t tried; /* in one process each group has its own */
  struct net_addr addr, bound;
  for (uint32_t i = 0; i < PORTS; i++) {
    uint16_t port = (uint16_t)(PORT_FIRST + ((uint32_t)getpid() * 37 + tried++) % PORTS);
    int fd = -1;
    if (net_resolve("127.0.0.1", port, 1, &addr, 1, NULL) < 1) abort();
    if (net_listen(&addr, 1, &fd, &bound, NULL) != AGG_OK) continue;
    close(fd);
    return port;
  }
  abort();
}

unsigned ranks_guard_s(void) {
  const char *set = getenv("TEST_GUARD_S");
  return set != NULL ? (unsigned)strtoul(set, NULL, 10) : 40;
}

static void configure(agg_config_t *c, const struct ranks_setup *s, unsigned rank, uint16_t port) {
  agg_config_init(c);
  c->rank = c->local_rank = rank;
  c->world = s->n;
  c->timeout_s = s->timeout_s > 0 ? s->timeout_s : 20;
  c->join_timeout_s = s->join_timeout_s > 0 ? s->join_timeout_s : 20;
  c->memory_limit = s->memory_limit;
  c->lanes = s->lanes;
  c->reactors = s->reactors;
  c->log_level = AGG_LOG_OFF;
  const char *instead = getenv("TEST_TRANSPORT"); /* the jobs of tests/rdma run the same cases over verbs */
  str_copy(c->transport, sizeof c->transport, instead != NULL ? instead : s->transport != NULL ? s->transport : "auto");
  str_copy(c->plan, sizeof c->plan, s->plan != NULL ? s->plan : "auto");
  str_copy(c->token, sizeof c->token, s->token[rank] != NULL ? s->token[rank] : "test token");
  if (s->servers != NULL)
    str_copy(c->servers, sizeof c->servers, s->servers);
  else
    snprintf(c->coordinator, sizeof c->coordinator, "127.0.0.1:%u", port);
}

struct ranks *ranks_start(const struct ranks_setup *s, rank_fn fn, void *arg) {
  struct ranks *r = calloc(1, sizeof *r);
  uint16_t port = free_port();
  r->n = s->n;
  r->reports = mmap(NULL, RANKS_MAX * sizeof *r->reports, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  fflush(NULL);
  for (unsigned i = 0; i < s->n; i++) {
    r->pid[i] = fork();
    if (r->pid[i] < 0) abort();
    if (r->pid[i] != 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    agg_config_t config;
    configure(&config, s, i, port);
    int code = fn(&config, r->reports, arg);
    fflush(NULL);
    _exit(code);
  }
  return r;
}

struct rank_report *ranks_reports(struct ranks *r) {
  return r->reports;
}
pid_t ranks_pid(const struct ranks *r, unsigned rank) { return r->pid[rank]; }

static void kill_all(struct ranks *r) {
  for (unsigned i = 0; i < r->n; i++) {
    if (r->pid[i] == 0) continue;
    kill(r->pid[i], SIGKILL);
    waitpid(r->pid[i], &r->status[i], 0);
    r->pid[i] = 0;
  }
}

int ranks_wait(struct ranks *r, unsigned rank) {
  uint64_t limit = clock_now_ns() + ranks_guard_s() * 1000000000ull;
  while (r->pid[rank] != 0) {
    pid_t got = waitpid(r->pid[rank], &r->status[rank], WNOHANG);
    if (got == r->pid[rank]) {
      r->pid[rank] = 0;
    } else if (clock_now_ns() > limit) {
      fprintf(stderr, "rank %u has not ended within %u s\n", rank, ranks_guard_s());
      kill_all(r);
      return -1;
    } else {
      sched_yield();
    }
  }
  int status = r->status[rank];
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

void ranks_free(struct ranks *r) {
  kill_all(r);
  munmap(r->reports, RANKS_MAX * sizeof *r->reports);
  free(r);
}

int stage_wait(const _Atomic uint32_t *word, uint32_t value) {
  uint64_t limit = clock_now_ns() + ranks_guard_s() * 1000000000ull;
  while (atomic_load(word) < value) {
    if (clock_now_ns() > limit) return 0;
    sched_yield();
  }
  return 1;
}

void ranks_run(const struct ranks_setup *setup, rank_fn fn, void *arg) {
  struct ranks *r = ranks_start(setup, fn, arg);
  int code[RANKS_MAX];
  for (unsigned i = 0; i < setup->n; i++) code[i] = ranks_wait(r, i);
  for (unsigned i = 0; i < setup->n; i++) {
    const struct rank_report *rep = &ranks_reports(r)[i];
    ck_assert_msg(code[i] == 0, "%s over %s: rank %u: exit %d, status %d, %s", setup->plan, setup->transport, i, code[i], rep->code,
                  rep->text);
  }
  ranks_free(r);
}

const struct ranks_setup ranks_usual[RANKS_USUAL] = {{.n = 2, .plan = "direct", .transport = "shm"},
                                                     {.n = 2, .plan = "direct", .transport = "tcp"},
                                                     {.n = 3, .plan = "ring", .transport = "shm"},
                                                     {.n = 3, .plan = "ring", .transport = "tcp", .reactors = 2}};

int rank_open(const agg_config_t *config, struct rank_report *own, agg_t **agg, agg_comm_t **comm) {
  agg_error_t err = {0};
  int rc = agg_open(config, agg, &err);
  if (rc == AGG_OK) {
    rc = agg_comm_create_world(*agg, comm);
    if (rc != AGG_OK) {
      str_copy(err.text, sizeof err.text, agg_error_text(*agg));
      agg_close(*agg);
    }
  }
  own->code = rc;
  str_copy(own->text, sizeof own->text, err.text);
  return rc;
}

void rank_report_comm(struct rank_report *own, int code, const agg_comm_t *comm) {
  own->code = code;
  str_copy(own->text, sizeof own->text, agg_comm_error_text(comm));
}

int rank_sum_ones(agg_comm_t *comm) {
  int32_t x[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  agg_request_t *request = NULL;
  int rc = agg_allreduce(comm, x, x, 10, AGG_I32, AGG_SUM, NULL, &request);
  if (rc == AGG_OK) rc = agg_wait(&request, -1);
  for (int i = 0; i < 10 && rc == AGG_OK; i++) rc = x[i] == (int32_t)agg_comm_size(comm) ? AGG_OK : 1;
  return rc;
}

static void keep_line(void *user, agg_log_level_t level, const char *line) {
  struct rank_log *log = user;
  (void)level;
  pthread_mutex_lock(&log->mu);
  size_t at = strlen(log->lines);
  snprintf(log->lines + at, sizeof log->lines - at, "%s\n", line);
  pthread_mutex_unlock(&log->mu);
}

void rank_log_begin(struct rank_log *log, agg_config_t *config) {
  log->lines[0] = '\0';
  ck_assert_int_eq(pthread_mutex_init(&log->mu, NULL), 0);
  config->log_fn = keep_line;
  config->log_user = log;
}

void rank_log_end(struct rank_log *log) { pthread_mutex_destroy(&log->mu); }
