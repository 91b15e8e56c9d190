/*
 * The server's settings: one table of options, read from a file ("key = value") and from flags of the same names, which win. Read once
 * at start; nothing is looked up later.
 *
 *   args_parse -> struct server_args     the command line, every value already checked: what is wrong here is a usage error
 *   config_load -> struct server_config  defaults, file, flags, then what is left to choice ("auto") from the machine
 *   config_check                         what only the system can say: do the hosts resolve, does the transport exist
 */
#ifndef AGG_SERVER_CONFIG_H
#define AGG_SERVER_CONFIG_H

#include <stdint.h>
#include <stdio.h>

#include "agg.h"
#include "machine.h"
#include "tokens.h"

#define CONFIG_HOST_MAX 256
#define CONFIG_PATH_MAX 1024
#define CONFIG_OPTIONS_MAX 32
#define CONFIG_DEFAULT_PORT 7171

struct server_config {
  char listen[CONFIG_HOST_MAX + 16]; /* "host:port" */
  char token_file[CONFIG_PATH_MAX];
  char transport[64];
  char bind[CONFIG_HOST_MAX]; /* host of the data sockets; "": chosen */
  uint32_t reactors;          /* 0 before config_load: auto */
  char pin[256];              /* as pin_parse reads it */
  uint64_t memory_limit;      /* 0 before config_load: auto */
  uint64_t job_memory_limit;  /* likewise */
  uint32_t max_jobs;
  uint32_t max_world;
  uint32_t max_connections; /* 0 before config_load: auto */
  double drain_timeout;
  uint32_t spin_us;
  char devices[256];                               /* of RDMA; "": all */
  int32_t gid_index, traffic_class, service_level; /* -1: the system's */
  uint32_t mtu, ack_timeout, retry_count;          /* 0: default */
  char topology[CONFIG_PATH_MAX];                  /* "": none */
  char cost[512];                                  /* as cost_parse reads it */
  uint32_t log_level;                              /* agg_log_level_t */
};

/* The command line. Strings are argv's. */
struct server_args {
  const char *config;                    /* --config, or NULL */
  const char *value[CONFIG_OPTIONS_MAX]; /* by index in the table; NULL: not given */
  int ready_fd;                          /* -1: not given */
  int check, version, help;
};

/* AGG_EINVAL with a line that says what to change. */
int args_parse(int argc, char **argv, struct server_args *args, agg_error_t *err);

void config_defaults(struct server_config *c);

/* Sets one option by its name. AGG_EINVAL: unknown name (the text offers the nearest), or a value that it cannot have. */
int config_set(struct server_config *c, const char *name, const char *value, agg_error_t *err);

/* Reads a file's lines into *c. AGG_EINVAL with "file:line: ...", AGG_ESYS. */
int config_read_file(struct server_config *c, const char *path, agg_error_t *err);

/* The effective configuration but for listen, which depends on the tokens (config_finish). Errors as config_read_file. */
int config_load(const struct server_args *args, const struct machine *machine, struct server_config *c, agg_error_t *err);

/* Reads the tokens: those of token_file, else env_token (AGG_TOKEN; NULL or "": none). Fails as tokens_read does. */
int config_tokens(const struct server_config *c, const char *env_token, struct tokens *tokens, agg_error_t *err);

/* Chooses listen and bind where they were left open, and checks hosts, port and transport. AGG_EINVAL, AGG_ENOTSUP. */
int config_check(struct server_config *c, int have_token, agg_error_t *err);

/* Calls line(user, "key = value") for every option in the order of the table; a file of these lines gives the same configuration. */
void config_print(const struct server_config *c, void (*line)(void *user, const char *text), void *user);

void config_usage(FILE *out);

#endif
