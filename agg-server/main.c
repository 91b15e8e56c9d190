/*
 * agg-server's main: command line, log, descriptors and signals of the process, then the server. Exit status: 0 after a drain, 1 when it
 * cannot start or was cut short, 2 for a bad command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "config.h"
#include "server.h"

enum { EXIT_START = 1, EXIT_USAGE = 2 };

struct program {
  struct server_args args;
  struct server_config config;
  struct machine machine;
  struct tokens tokens;
  struct log log;
  char address[CONFIG_HOST_MAX + 32];
};

static int fail(int status, const agg_error_t *err) {
  fprintf(stderr, "agg-server: %s\n", err->text);
  return status;
}

static void to_stdout(void *user, const char *line) {
  (void)user;
  puts(line);
}

static void to_log(void *user, const char *line) { LOG_INFO((const struct log *)user, "config: %s", line); }

/* Everything that can be known before a socket is opened. */
static int prepare(struct program *p, agg_error_t *err) {
  const char *env = getenv("AGG_TOKEN");
  machine_read(&p->machine);
  int rc = config_load(&p->args, &p->machine, &p->config, err);
  if (rc == 0) rc = config_tokens(&p->config, env, &p->tokens, err);
  if (rc == 0) rc = config_check(&p->config, p->tokens.n > 0, err);
  if (rc == 0 && p->args.ready_fd >= 0 && fcntl(p->args.ready_fd, F_GETFD) < 0) {
    rc = err_set(err, AGG_EINVAL, "--ready-fd: descriptor %d is not open", p->args.ready_fd);
  }
  log_init(&p->log, (agg_log_level_t)p->config.log_level, NULL, NULL);
  p->log.timestamps = 1;
  return rc;
}

/* Raises the soft limit as far as it goes. The coordinator takes half of it for connections at most, so that lanes find some left. */
static void raise_descriptors(const struct program *p) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (p->machine.files / 2 >= p->config.max_connections) return;
  LOG_WARN(&p->log, "this process may open %llu files only: max-connections %u cannot be reached (raise ulimit -n, or LimitNOFILE=)",
           (unsigned long long)p->machine.files, p->config.max_connections);
}

/* SIGTERM and SIGINT are for the event loop alone: the threads that are started later must not take them. */
static void set_signals(void) {
  struct sigaction ignore = {.sa_handler = SIG_IGN};
  sigset_t set;
  sigaction(SIGPIPE, &ignore, NULL);
  sigaction(SIGHUP, &ignore, NULL);
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void say_ready(const struct program *p) {
  char line[CONFIG_HOST_MAX + 40];
  int n = snprintf(line, sizeof line, "%s\n", p->address);
  if (p->args.ready_fd < 0) return;
  if (write(p->args.ready_fd, line, (size_t)n) != n) LOG_WARN(&p->log, "--ready-fd %d: cannot be written", p->args.ready_fd);
  if (p->args.ready_fd > STDERR_FILENO) close(p->args.ready_fd);
}

static void log_start(const struct program *p) {
  LOG_INFO(&p->log, "agg-server %d.%d.%d starts, pid %d, %u cores", AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH, (int)getpid(),
           p->machine.n_cores);
  config_print(&p->config, to_log, (void *)(uintptr_t)&p->log);
  if (p->tokens.n == 0)
    LOG_WARN(&p->log, "no token is given: only workers on this host are served, and every user on it may join (token-file, AGG_TOKEN)");
  if (p->config.token_file[0] != '\0' && getenv("AGG_TOKEN") != NULL) LOG_WARN(&p->log, "AGG_TOKEN is ignored: token-file is given");
}

static int serve(struct program *p) {
  agg_error_t err = {0};
  struct server *server;
  set_signals();
  log_start(p);
  raise_descriptors(p);
  if (server_create(&p->config, &p->tokens, &p->log, &server, &err) != 0) return fail(EXIT_START, &err);
  server_address(server, p->address, sizeof p->address);
  LOG_INFO(&p->log, "listens on %s", p->address);
  say_ready(p);
  int cut = server_run(server);
  server_destroy(server);
  LOG_INFO(&p->log, "ended");
  return cut ? EXIT_START : EXIT_SUCCESS;
}

/* Started with 0, 1 or 2 closed: no socket may get such a number, or the log would be written into it. */
static void open_standard_descriptors(void) {
  int fd;
  while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) continue;
  if (fd > STDERR_FILENO) close(fd);
}

int main(int argc, char **argv) {
  static struct program p;
  agg_error_t err = {0};
  open_standard_descriptors();
  if (args_parse(argc, argv, &p.args, &err) != 0) return fail(EXIT_USAGE, &err);
  if (p.args.help) {
    config_usage(stdout);
    return EXIT_SUCCESS;
  }
  if (p.args.version) {
    printf("agg-server %d.%d.%d\n", AGG_VERSION_MAJOR, AGG_VERSION_MINOR, AGG_VERSION_PATCH);
    return EXIT_SUCCESS;
  }
  int status;
  if (prepare(&p, &err) != 0) {
    status = fail(EXIT_START, &err);
  } else if (p.args.check) {
    config_print(&p.config, to_stdout, NULL);
    int written = fflush(stdout) == 0 && !ferror(stdout);
    status = written ? EXIT_SUCCESS : fail(EXIT_START, (err_set(&err, AGG_ESYS, "standard output cannot be written"), &err));
  } else {
    status = serve(&p);
  }
  tokens_fini(&p.tokens);
  return status;
}
