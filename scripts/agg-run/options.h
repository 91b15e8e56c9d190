/* The command line of agg-run as one struct. */
#ifndef AGG_RUN_OPTIONS_H
#define AGG_RUN_OPTIONS_H

#include "agg.h"

#define RANKS_MAX 4096u
#define SERVERS_MAX 256u

enum option_verdict { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION };

struct options {
  uint32_t ranks, servers;
  uint16_t port;    /* 0: a free one is chosen */
  double timeout_s; /* 0: none */
  double grace_s;   /* between SIGTERM and SIGKILL */
  int prefix, keep_going;
  char **server_args; /* owned, words of --server-args, NULL-terminated */
  unsigned n_server_args;
  const char **env; /* owned array of borrowed "K=V" */
  unsigned n_env;
  char **program; /* borrowed from argv: the program and its arguments, NULL-terminated */
};

/* AGG_EINVAL with a one-line text. *verdict says what to do on success. What *o holds is freed with options_fini in every case. */
int options_parse(struct options *o, int argc, char **argv, enum option_verdict *verdict, agg_error_t *err);
void options_fini(struct options *o);

/* Splits like a shell: blanks separate, '...' and "..." hold together, nothing is expanded. Appends to o->server_args. */
int options_add_server_args(struct options *o, const char *text, agg_error_t *err);

void options_help(void);

#endif
