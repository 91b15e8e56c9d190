/* Puts the configuration together: defaults, the file, the flags, then the machine. Decides every text about bad settings; starts nothing.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/net.h"
#include "base/util.h"
#include "control/control.h"
#include "control/planning.h"
#include "options.h"
#include "pin.h"
#include "text.h"
#include "topology/plan.h"
#include "transport.h"

#define LINE_MAX_BYTES 2048

void config_defaults(struct server_config *c) {
  memset(c, 0, sizeof *c);
  str_copy(c->transport, sizeof c->transport, "auto");
  str_copy(c->pin, sizeof c->pin, "auto");
  c->max_jobs = 256;
  c->max_world = FOREST_MAX_NODES;
  c->drain_timeout = 30;
  c->spin_us = 20;
  c->gid_index = c->traffic_class = c->service_level = -1;
  c->log_level = AGG_LOG_INFO;
}

/* Names that the command line has and a file has not. */
static int command_line_only(const char *name) {
  static const char *const names[] = {"config", "check-config", "ready-fd", "version", "help"};
  for (size_t i = 0; i < ARRAY_LEN(names); i++) {
    if (strcmp(names[i], name) == 0) return 1;
  }
  return 0;
}

static int unknown_name(const char *name, agg_error_t *err) {
  if (command_line_only(name)) return err_set(err, AGG_EINVAL, "%s can only be given on the command line, as --%s", name, name);
  if (strcmp(name, "token") == 0) {
    return err_set(err, AGG_EINVAL, "token is not an option: write the secret into a file of mode 600 and give its path as token-file");
  }
  const char *near = text_nearest(name, option_name, option_count());
  if (near != NULL) return err_set(err, AGG_EINVAL, "unknown option '%.80s': did you mean %s?", name, near);
  return err_set(err, AGG_EINVAL, "unknown option '%.80s': agg-server --help lists them", name);
}

int config_set(struct server_config *c, const char *name, const char *value, agg_error_t *err) {
  const struct option_row *row = option_find(name);
  return row != NULL ? option_set(row, c, value, err) : unknown_name(name, err);
}

/* ---- the file ---------------------------------------------------------------------------------------------------------------- */

static char *trim(char *s) {
  while (*s == ' ' || *s == '\t') s++;
  size_t n = strlen(s);
  while (n > 0 && strchr(" \t\r", s[n - 1]) != NULL) s[--n] = '\0';
  return s;
}

/* Ends the line at a # that starts it or follows white space. */
static void cut_comment(char *s) {
  for (char *p = s; (p = strchr(p, '#')) != NULL; p++) {
    if (p == s || p[-1] == ' ' || p[-1] == '\t') {
      *p = '\0';
      return;
    }
  }
}

/* One line without its newline. seen: by index in the table, the line that has set it, or 0. */
static int read_line(struct server_config *c, char *text, unsigned number, unsigned *seen, agg_error_t *err) {
  cut_comment(text);
  char *key = trim(text);
  if (*key == '\0') return 0;
  char *equals = strchr(key, '=');
  if (equals == NULL) return err_set(err, AGG_EINVAL, "expected 'key = value', found '%.80s'", key);
  *equals = '\0';
  key = trim(key);
  const struct option_row *row = option_find(key);
  if (row == NULL) return unknown_name(key, err);
  unsigned *first = &seen[row - option_table];
  if (*first != 0) return err_set(err, AGG_EINVAL, "%s was set in line %u already: remove one of them", key, *first);
  *first = number;
  return option_set(row, c, trim(equals + 1), err);
}

static int read_lines(struct server_config *c, FILE *f, const char *path, agg_error_t *err) {
  char *line = NULL;
  size_t cap = 0;
  unsigned number = 0, seen[CONFIG_OPTIONS_MAX] = {0};
  int rc = 0;
  for (;;) {
    errno = 0;
    ssize_t n = getline(&line, &cap, f);
    if (n < 0) break;
    number++;
    if (line[n - 1] == '\n') line[--n] = '\0';
    if (n > LINE_MAX_BYTES) {
      rc = err_set(err, AGG_EINVAL, "the line has %zd characters: at most %d are allowed", n, LINE_MAX_BYTES);
    } else if (strlen(line) != (size_t)n) {
      rc = err_set(err, AGG_EINVAL, "a zero byte: this is not a text file");
    } else {
      rc = read_line(c, line, number, seen, err);
    }
    if (rc != 0) {
      err_prefix(err, "%s:%u", path, number);
      break;
    }
  }
  if (rc == 0 && ferror(f)) rc = err_sys(err, AGG_ESYS, errno, "configuration file %s", path);
  free(line);
  return rc;
}

int config_read_file(struct server_config *c, const char *path, agg_error_t *err) {
  FILE *f = fopen(path, "re");
  if (f == NULL) return err_sys(err, AGG_ESYS, errno, "configuration file %s", path);
  int rc = read_lines(c, f, path, err);
  fclose(f);
  return rc;
}

/* ---- all together -------------------------------------------------------------------------------------------------------------- */

/* Cores that are listed are meant to be used. */
static uint32_t listed_cores(const struct server_config *c) {
  struct pin_setting pin;
  return pin_parse(c->pin, &pin, NULL) == 0 && pin.mode == PIN_LIST ? pin.n : 0;
}

static void choose_from_machine(struct server_config *c, const struct machine *machine) {
  if (c->reactors == 0) c->reactors = MIN_OF(listed_cores(c), (uint32_t)CONTROL_REACTORS_MAX);
  if (c->reactors == 0) c->reactors = MIN_OF(machine->usable, (unsigned)CONTROL_REACTORS_MAX);
  if (c->max_connections == 0) c->max_connections = (uint32_t)MIN_OF(MAX_OF(machine->files / 2, 16), 16384);
  if (c->memory_limit == 0) c->memory_limit = MAX_OF(machine->memory / 2 >> 20, 1) << 20; /* whole MiB */
  if (c->job_memory_limit == 0) c->job_memory_limit = c->memory_limit;
}

int config_load(const struct server_args *args, const struct machine *machine, struct server_config *c, agg_error_t *err) {
  config_defaults(c);
  int rc = args->config != NULL ? config_read_file(c, args->config, err) : 0;
  for (size_t i = 0; rc == 0 && i < option_count(); i++) {
    if (args->value[i] != NULL) rc = option_set(&option_table[i], c, args->value[i], err);
  }
  if (rc != 0) return rc;
  choose_from_machine(c, machine);
  if (c->job_memory_limit > c->memory_limit) {
    char job[32], all[32];
    return err_set(err, AGG_EINVAL, "job-memory-limit %s is more than memory-limit %s: lower it, or raise memory-limit",
                   text_bytes_exact(c->job_memory_limit, job, sizeof job), text_bytes_exact(c->memory_limit, all, sizeof all));
  }
  return 0;
}

int config_tokens(const struct server_config *c, const char *env_token, struct tokens *tokens, agg_error_t *err) {
  memset(tokens, 0, sizeof *tokens);
  if (c->token_file[0] != '\0') return tokens_read(tokens, c->token_file, err);
  return env_token != NULL && env_token[0] != '\0' ? tokens_from_text(tokens, env_token, err) : 0;
}

static int check_transport(const struct server_config *c, agg_error_t *err) {
  char known[128] = "auto";
  if (strcmp(c->transport, "auto") == 0) return 0;
  for (const struct tp_ops *const *t = tp_all(); *t != NULL; t++) {
    if (strcmp((*t)->name, c->transport) == 0) return 0;
    size_t at = strlen(known);
    snprintf(known + at, sizeof known - at, ", %s", (*t)->name);
  }
  return err_set(err, AGG_EINVAL, "transport: '%.40s' is not one of %s", c->transport, known);
}

/* All addresses of the host are loopback ones. host "": any address, which is not. */
static int check_loopback(const char *option, const char *text, const char *host, uint16_t port, int have_token, agg_error_t *err) {
  struct net_addr addr[8];
  int n = net_resolve(host, port, 1, addr, ARRAY_LEN(addr), err);
  if (n < 0) return err_prefix(err, "%s", option);
  for (int i = 0; i < n && !have_token; i++) {
    if (host[0] != '\0' && net_is_loopback(&addr[i])) continue;
    return err_set(err, AGG_EINVAL,
                   "%s %s: without a token only loopback addresses are served: give token-file (or AGG_TOKEN in the environment), or %s",
                   option, text, strcmp(option, "listen") == 0 ? "listen on 127.0.0.1" : "bind 127.0.0.1");
  }
  return 0;
}

int config_check(struct server_config *c, int have_token, agg_error_t *err) {
  char host[CONFIG_HOST_MAX];
  uint16_t port = 0;
  if (c->listen[0] == '\0') snprintf(c->listen, sizeof c->listen, "%s:%d", have_token ? "" : "127.0.0.1", CONFIG_DEFAULT_PORT);
  if (net_split(c->listen, CONFIG_DEFAULT_PORT, host, sizeof host, &port, err) != 0) return err_prefix(err, "listen");
  int rc = check_loopback("listen", c->listen, host, port, have_token, err);
  if (rc != 0) return rc;
  snprintf(c->listen, sizeof c->listen, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, port);
  /* Data goes where control goes, unless told otherwise. */
  if (c->bind[0] == '\0') str_copy(c->bind, sizeof c->bind, host);
  if (c->bind[0] != '\0' && (rc = check_loopback("bind", c->bind, c->bind, 0, have_token, err)) != 0) return rc;
  if (c->topology[0] != '\0') {
    struct topo *topo = NULL;
    if ((rc = planning_topology_load(c->topology, &topo, err)) != 0) return err_prefix(err, "topology");
    planning_topology_free(topo);
  }
  return check_transport(c, err);
}

void config_print(const struct server_config *c, void (*line)(void *user, const char *text), void *user) {
  char value[CONFIG_PATH_MAX], text[CONFIG_PATH_MAX + 64];
  for (size_t i = 0; i < option_count(); i++) {
    const char *v = option_format(&option_table[i], c, value, sizeof value);
    snprintf(text, sizeof text, "%s =%s%s", option_table[i].name, v[0] != '\0' ? " " : "", v);
    line(user, text);
  }
}
