/* Finding programs and starting processes. */
#ifndef AGG_RUN_LAUNCH_H
#define AGG_RUN_LAUNCH_H

#include <signal.h>
#include <sys/types.h>

#include "scripts/agg-run/guard.h"

enum { EXIT_USAGE = 2, EXIT_NOT_EXECUTABLE = 126, EXIT_NO_PROGRAM = 127 };

/* Writes the path that `program` stands for, by the shell's rules. On failure *exit_code is what a shell would end with. */
int launch_find(const char *program, char *path, size_t cap, int *exit_code, agg_error_t *err);

/* agg-server beside the running agg-run, else in PATH. */
int launch_find_server(char *path, size_t cap, int *exit_code, agg_error_t *err);

#define LAUNCH_ENV_MAX 16

/* All borrowed. Descriptors stay the caller's; -1 for in means /dev/null, for out and err the caller's own. */
struct launch {
  const char *path;
  char *const *argv;
  char *env[LAUNCH_ENV_MAX]; /* "K=V" sets, "K" removes */
  unsigned n_env;
  const char *const *more_env; /* "K=V", applied last */
  unsigned n_more_env;
  int in, out, err;
  int keep;             /* one more descriptor that the program gets under the same number, or -1 */
  const sigset_t *mask; /* signal mask for the program */
};

/* Starts it as the leader of a process group of its own that ends with agg-run. AGG_ESYS: it could not be started (the text says why). */
int launch_start(const struct launch *l, struct guard *guard, pid_t *pid, agg_error_t *err);

#endif
