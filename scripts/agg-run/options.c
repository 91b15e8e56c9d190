/* Reads agg-run's command line and checks every value. It starts nothing and prints nothing but the help text. */
#include "scripts/agg-run/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

enum { OPT_SERVERS = 256, OPT_SERVER_ARGS, OPT_TIMEOUT, OPT_GRACE, OPT_NO_PREFIX, OPT_KEEP_GOING, OPT_PORT, OPT_HELP, OPT_VERSION };

static const struct option LONG_OPTIONS[] = {
    {"ranks", required_argument, NULL, 'n'},
    {"servers", required_argument, NULL, OPT_SERVERS},
    {"server-args", required_argument, NULL, OPT_SERVER_ARGS},
    {"env", required_argument, NULL, 'e'},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"grace", required_argument, NULL, OPT_GRACE},
    {"no-prefix", no_argument, NULL, OPT_NO_PREFIX},
    {"keep-going", no_argument, NULL, OPT_KEEP_GOING},
    {"port", required_argument, NULL, OPT_PORT},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

void options_help(void) {
  puts(
      "Usage: agg-run -n RANKS [options] PROGRAM [ARGUMENT...]\n"
      "Runs RANKS copies of PROGRAM on this host as the workers of one job.\n"
      "\n"
      "  -n, --ranks N          number of workers, 1 to 4096\n"
      "      --servers N        start N agg-servers first (found beside agg-run, else in PATH)\n"
      "      --server-args TEXT more arguments for each agg-server, split at blanks\n"
      "  -e, --env KEY=VALUE    set a variable for the workers and servers (may be repeated)\n"
      "      --port N           port of rank 0's coordinator where there are no servers; default: a free one\n"
      "      --timeout S        end the run after S seconds with code 124\n"
      "      --grace S          seconds between SIGTERM and SIGKILL when the run is ended; default 5\n"
      "      --keep-going       do not end the other ranks when one fails\n"
      "      --no-prefix        pass output through without the \"[rank] \" in front of each line\n"
      "      --help, --version\n"
      "\n"
      "Ends with the code of the rank that failed first (128 + signal number for a signal), 0 when none did.");
}

/* Appends to a NULL-terminated array of pointers. */
static int push(char ***array, unsigned *n, char *item) {
  char **grown = realloc(*array, (*n + 2) * sizeof(*grown));
  if (grown == NULL) return AGG_ENOMEM;
  grown[*n] = item;
  grown[++*n] = NULL;
  *array = grown;
  return AGG_OK;
}

/* Copies the next word of *text to word (which is large enough); returns 0 at the end, -1 for an open quote. */
static int next_word(const char **text, char *word) {
  const char *t = *text + strspn(*text, " \t\n");
  if (*t == '\0') return 0;
  char quote = '\0';
  for (; *t != '\0' && (quote != '\0' || strchr(" \t\n", *t) == NULL); t++) {
    if (quote == '\0' && (*t == '\'' || *t == '"')) {
      quote = *t;
    } else if (quote != '\0' && *t == quote) {
      quote = '\0';
    } else {
      *word++ = *t;
    }
  }
  *word = '\0';
  *text = t;
  return quote == '\0' ? 1 : -1;
}

int options_add_server_args(struct options *o, const char *text, agg_error_t *err) {
  char *word = malloc(strlen(text) + 1);
  if (word == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  const char *rest = text;
  int got, rc = AGG_OK;
  while (rc == AGG_OK && (got = next_word(&rest, word)) != 0) {
    if (got < 0) {
      rc = err_set(err, AGG_EINVAL, "--server-args %s: a quote is not closed", text);
      break;
    }
    char *copy = strdup(word);
    if (copy == NULL || push(&o->server_args, &o->n_server_args, copy) != AGG_OK) {
      free(copy);
      rc = err_set(err, AGG_ENOMEM, "out of memory");
    }
  }
  free(word);
  return rc;
}

static int take_count(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out, agg_error_t *err) {
  if (parse_u64(text, max, out) != 0 || *out < min)
    return err_set(err, AGG_EINVAL, "%s %s: expected a number from %llu to %llu", name, text, (unsigned long long)min,
                   (unsigned long long)max);
  return AGG_OK;
}

static int take_seconds(const char *name, const char *text, double *out, agg_error_t *err) {
  if (parse_double(text, 0.001, 1e7, out) != 0)
    return err_set(err, AGG_EINVAL, "%s %s: expected seconds from 0.001 to 10000000", name, text);
  return AGG_OK;
}

static int take_env(struct options *o, const char *text, agg_error_t *err) {
  const char *equals = strchr(text, '=');
  if (equals == NULL || equals == text) return err_set(err, AGG_EINVAL, "--env %s: expected KEY=VALUE", text);
  const char **grown = realloc(o->env, (o->n_env + 1) * sizeof(*grown));
  if (grown == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  o->env = grown;
  o->env[o->n_env++] = text;
  return AGG_OK;
}

/* One option that takes a value. */
static int take_value(struct options *o, int option, const char *text, agg_error_t *err) {
  uint64_t number = 0;
  int rc = AGG_OK;
  switch (option) {
    case 'n':
      if ((rc = take_count("-n", text, 1, RANKS_MAX, &number, err)) == AGG_OK) o->ranks = (uint32_t)number;
      return rc;
    case OPT_SERVERS:
      if ((rc = take_count("--servers", text, 0, SERVERS_MAX, &number, err)) == AGG_OK) o->servers = (uint32_t)number;
      return rc;
    case OPT_PORT:
      if ((rc = take_count("--port", text, 1, 65535, &number, err)) == AGG_OK) o->port = (uint16_t)number;
      return rc;
    case OPT_TIMEOUT:
      return take_seconds("--timeout", text, &o->timeout_s, err);
    case OPT_GRACE:
      return take_seconds("--grace", text, &o->grace_s, err);
    case OPT_SERVER_ARGS:
      return options_add_server_args(o, text, err);
    default:
      return take_env(o, text, err);
  }
}

int options_parse(struct options *o, int argc, char **argv, enum option_verdict *verdict, agg_error_t *err) {
  memset(o, 0, sizeof(*o));
  o->grace_s = 5;
  o->prefix = 1;
  *verdict = OPTIONS_RUN;
  opterr = 0;
  optind = 0; /* glibc: start over, so that this can be called twice */
  for (int option; (option = getopt_long(argc, argv, "+:n:e:", LONG_OPTIONS, NULL)) != -1;) {
    int rc = AGG_OK;
    switch (option) {
      case '?':
        return err_set(err, AGG_EINVAL, "unknown option %s (see agg-run --help)", argv[optind - 1]);
      case ':':
        return err_set(err, AGG_EINVAL, "%s needs a value (see agg-run --help)", argv[optind - 1]);
      case OPT_HELP:
        *verdict = OPTIONS_HELP;
        return AGG_OK;
      case OPT_VERSION:
        *verdict = OPTIONS_VERSION;
        return AGG_OK;
      case OPT_NO_PREFIX:
        o->prefix = 0;
        break;
      case OPT_KEEP_GOING:
        o->keep_going = 1;
        break;
      default:
        rc = take_value(o, option, optarg, err);
    }
    if (rc != AGG_OK) return rc;
  }
  o->program = argv + optind;
  if (o->ranks == 0) return err_set(err, AGG_EINVAL, "-n is missing: how many workers? (see agg-run --help)");
  if (o->program[0] == NULL) return err_set(err, AGG_EINVAL, "the program is missing (see agg-run --help)");
  if (o->servers > 0 && o->port > 0)
    return err_set(err, AGG_EINVAL, "--port is for rank 0's coordinator, which --servers replaces: give one of the two");
  if (o->servers == 0 && o->n_server_args > 0) return err_set(err, AGG_EINVAL, "--server-args needs --servers");
  return AGG_OK;
}

void options_fini(struct options *o) {
  for (unsigned i = 0; i < o->n_server_args; i++) free(o->server_args[i]);
  free(o->server_args);
  free(o->env);
}
