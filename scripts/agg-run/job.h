/*
 * One run: the servers, then the workers, until all have ended.
 *
 *   STARTING  servers run, not all have said where they listen
 *   RUNNING   workers run
 *   DRAINING  all workers have ended well; servers were told to end
 *   ENDING    something went wrong or a signal came: everybody was told to end
 */
#ifndef AGG_RUN_JOB_H
#define AGG_RUN_JOB_H

#include <signal.h>
#include <sys/types.h>

#include "scripts/agg-run/guard.h"
#include "scripts/agg-run/launch.h"
#include "scripts/agg-run/options.h"
#include "scripts/agg-run/output.h"

#define STDIN_BUFFER (64u * 1024)
#define ADDRESS_CAP 300
#define PATH_CAP 4096

enum job_phase { JOB_STARTING, JOB_RUNNING, JOB_DRAINING, JOB_ENDING };

/* A server or a worker. */
struct proc {
  pid_t pid; /* 0: not started. A process that has ended stays unreaped to the last, so that its group's number stays its own */
  int is_server, ended;
  uint32_t index;
  char label[16]; /* "3", "s0" */
  int status;     /* once ended: as waitpid gives it */
  struct stream out, err;
  int ready_fd; /* a server's pipe for its address; -1 once it came */
  char address[ADDRESS_CAP];
  size_t address_len;
};

struct job {
  const struct options *options;
  char program[PATH_CAP], server[PATH_CAP];
  enum job_phase phase;
  struct proc *procs; /* servers, then workers */
  unsigned n_procs;
  struct sink sinks[2]; /* standard output, standard error */
  struct guard guard;
  sigset_t program_mask;
  int signal_fd;
  int code;                                                  /* what agg-run ends with */
  uint64_t deadline_ns, ready_by_ns, kill_at_ns, give_up_ns; /* 0: none */
  int killed;
  char token[65], name[64];
  char *servers; /* "host:port,..." once all are known, owned */
  uint16_t port;
  /* standard input on its way to rank 0 */
  int input_fd;   /* own end of rank 0's pipe, or -1 */
  int input_open; /* own standard input has more */
  char *input;
  size_t input_off, input_len;
};

/* Runs to the end and returns the code for exit. The job is zeroed memory. */
int job_run(struct job *job, const struct options *options);

/* proc.c ------------------------------------------------------------------------------------------------------------------- */

int proc_start_server(struct job *job, struct proc *p, agg_error_t *err);
int proc_start_worker(struct job *job, struct proc *p, agg_error_t *err);
/* Reads the address that a server says; 1 when it is complete, 0 not yet, -1 the server closed the pipe without one. */
int proc_read_address(struct proc *p);
/* Notices whether it has ended, without reaping it. Returns 1 when it has since the last call. */
int proc_look(struct proc *p);
void proc_signal(const struct proc *p, int signal);
/* "rank 3 exited with code 2", "server 0 was ended by SIGSEGV". */
void proc_describe(const struct proc *p, char *text, size_t cap);
/* 0 when it ended well, otherwise its code, 128 + signal for a signal. */
int proc_code(const struct proc *p);

/* input.c ------------------------------------------------------------------------------------------------------------------ */

void input_start(struct job *job, int fd);
void input_read(struct job *job);  /* own standard input is readable */
void input_write(struct job *job); /* rank 0's pipe is writable, or closed */
void input_stop(struct job *job);

/* leftover.c --------------------------------------------------------------------------------------------------------------- */

/* Kills what has come to agg-run as a child without being started by it: daemons of workers. */
void leftover_kill(const struct job *job);
/* The same until no child is left, at the very end: the workers have been reaped. Gives up after a second. */
void leftover_reap(const struct job *job);

#endif
