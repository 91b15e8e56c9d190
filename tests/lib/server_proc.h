/* Real processes for end-to-end tests: an agg-server, and workers that are forks of the test. Every wait is for an event, with 30 s as
 * failure guard. */
#ifndef TESTS_SERVER_PROC_H
#define TESTS_SERVER_PROC_H

#include <stddef.h>
#include <sys/types.h>

#define PROC_GUARD_MS 30000

/* The server binary: $AGG_BIN_DIR/agg-server, else ../../agg-server beside the test's own binary. */
const char *server_binary(void);

struct server_proc {
  pid_t pid;
  char address[128]; /* "host:port", as --ready-fd says */
  char log[64];      /* file with what it wrote to standard error */
};

/* Starts agg-server with these flags (NULL-terminated) and --ready-fd, and waits until it listens. 0 when it ended instead: see
 * server_wait. */
int server_start(struct server_proc *s, const char *const *flags);
#define SERVER_START(s, ...) server_start((s), (const char *const[]){__VA_ARGS__, NULL})
/* The whole log so far. Returns buf. */
const char *server_log(const struct server_proc *s, char *buf, size_t cap);
/* Waits until the log holds text: 1, or 0 when the guard passed. */
int server_log_wait(const struct server_proc *s, const char *text);
/* Waits for its end, removes the log file: exit status, or 128 + signal. */
int server_wait(struct server_proc *s);
/* SIGTERM, then server_wait. */
int server_end(struct server_proc *s);

/* Runs the binary to its end: exit status, or 128 + signal. */
int server_run_once(const char *const *flags, char *out, size_t out_cap, char *err, size_t err_cap);

/* A worker: a fork of the test with one end of a pipe for what it has to say. */
struct worker_proc {
  pid_t pid;
  int out; /* what it says is read here */
};

/* fn runs in the child, which exits with its result. */
void worker_start(struct worker_proc *w, int (*fn)(int say, void *arg), void *arg);
/* The next line that the worker says, without the newline; "" at its end. Returns buf. */
const char *worker_line(struct worker_proc *w, char *buf, size_t cap);
/* Waits for its end: exit status, or 128 + signal. */
int worker_wait(struct worker_proc *w);

/* Number of open descriptors of a process. */
int proc_descriptors(pid_t pid);

#endif
