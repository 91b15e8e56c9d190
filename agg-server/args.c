/* The command line: flags named like the options, and those that only a command line has. Prints nothing but the help it is asked for. */
#include <getopt.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "config.h"
#include "options.h"
#include "text.h"

enum { FLAG_CONFIG = 1000, FLAG_CHECK, FLAG_READY_FD, FLAG_VERSION, FLAG_HELP, FLAG_TOKEN };

static const struct option extra[] = {
    {"config", required_argument, NULL, FLAG_CONFIG},
    {"check-config", no_argument, NULL, FLAG_CHECK},
    {"ready-fd", required_argument, NULL, FLAG_READY_FD},
    {"version", no_argument, NULL, FLAG_VERSION},
    {"help", no_argument, NULL, FLAG_HELP},
};

#define FLAGS_MAX (CONFIG_OPTIONS_MAX + ARRAY_LEN(extra) + 2)

/* The options' flags return 1 + their index in the table; 0 ends the list. */
static void list_flags(struct option *flags) {
  size_t n = 0;
  for (; n < option_count(); n++) flags[n] = (struct option){option_name(n), required_argument, NULL, (int)n + 1};
  for (size_t i = 0; i < ARRAY_LEN(extra); i++) flags[n++] = extra[i];
  /* Known only to be refused: as an abbreviation of --token-file it would be taken, and a secret for a path. */
  flags[n++] = (struct option){"token", optional_argument, NULL, FLAG_TOKEN};
  flags[n] = (struct option){NULL, 0, NULL, 0};
}

static const char *flag_name(size_t index) { return index < option_count() ? option_name(index) : extra[index - option_count()].name; }

/* What getopt_long calls '?': an unknown flag, an ambiguous one, or a value where none belongs. */
static int bad_flag(const char *word, agg_error_t *err) {
  char name[64];
  size_t dashes = strspn(word, "-");
  str_copy(name, sizeof name, word + dashes);
  name[strcspn(name, "=")] = '\0';
  size_t count = option_count() + ARRAY_LEN(extra);
  for (size_t i = 0; i < count && dashes == 2 && name[0] != '\0'; i++) {
    if (strcmp(flag_name(i), name) == 0) return err_set(err, AGG_EINVAL, "--%s takes no value", name);
    if (strncmp(flag_name(i), name, strlen(name)) == 0)
      return err_set(err, AGG_EINVAL, "--%s is ambiguous: write the option in full", name);
  }
  const char *near = text_nearest(name, flag_name, count);
  if (near != NULL) return err_set(err, AGG_EINVAL, "unknown option %.80s: did you mean --%s?", word, near);
  return err_set(err, AGG_EINVAL, "unknown option %.80s: agg-server --help lists them", word);
}

static int take_extra(struct server_args *args, int flag, const char *value, agg_error_t *err) {
  uint64_t fd;
  switch (flag) {
    case FLAG_CONFIG:
      args->config = value;
      return 0;
    case FLAG_READY_FD:
      if (parse_u64(value, 1 << 20, &fd) != 0)
        return err_set(err, AGG_EINVAL, "--ready-fd: '%.40s' is not the number of an open descriptor", value);
      args->ready_fd = (int)fd;
      return 0;
    case FLAG_TOKEN:
      return err_set(err, AGG_EINVAL,
                     "a secret on the command line can be read by everyone: use --token-file, or AGG_TOKEN in the environment");
    case FLAG_CHECK:
      args->check = 1;
      return 0;
    case FLAG_VERSION:
      args->version = 1;
      return 0;
    default:
      args->help = 1;
      return 0;
  }
}

/* Checks the value now, so that a bad flag is a usage error even where the file is bad too. */
static int take_option(struct server_args *args, size_t index, const char *value, agg_error_t *err) {
  struct server_config scratch;
  config_defaults(&scratch);
  args->value[index] = value;
  return option_set(&option_table[index], &scratch, value, err);
}

int args_parse(int argc, char **argv, struct server_args *args, agg_error_t *err) {
  struct option flags[FLAGS_MAX];
  list_flags(flags);
  memset(args, 0, sizeof *args);
  args->ready_fd = -1;
  optind = 0; /* glibc: start over */
  opterr = 0;
  for (int flag; (flag = getopt_long(argc, argv, ":", flags, NULL)) != -1;) {
    int rc;
    if (flag == ':') {
      rc = err_set(err, AGG_EINVAL, "%.80s needs a value", argv[optind - 1]);
    } else if (flag == '?') {
      /* A bad short option leaves optind at its word or after it; the text that matters is the same. */
      rc = bad_flag(optind > 1 && argv[optind - 1][0] == '-' ? argv[optind - 1] : argv[optind], err);
    } else if (flag >= FLAG_CONFIG) {
      rc = take_extra(args, flag, optarg, err);
    } else {
      rc = take_option(args, (size_t)flag - 1, optarg, err);
    }
    if (rc != 0) return rc;
  }
  if (optind < argc) return err_set(err, AGG_EINVAL, "unexpected argument '%.80s': options start with --", argv[optind]);
  return 0;
}

void config_usage(FILE *out) {
  char flag[64];
  fputs("usage: agg-server [options]\nSums the gradients of training jobs for workers that link libagg.\n\n", out);
  for (size_t i = 0; i < option_count(); i++) {
    snprintf(flag, sizeof flag, "--%s %s", option_table[i].name, option_table[i].arg);
    fprintf(out, "  %-28s %s\n", flag, option_table[i].help);
  }
  fputs(
      "\n  --config FILE                the same options as lines \"key = value\"; flags override them\n"
      "  --check-config               check everything, print the effective configuration, exit with 0 or 1\n"
      "  --ready-fd N                 write \"host:port\\n\" to descriptor N once connections are accepted\n"
      "  --version                    print the version\n"
      "  --help                       print this text\n"
      "\nThe secret may also stand in the environment as AGG_TOKEN. SIGTERM drains and ends. See agg-server(8).\n",
      out);
}
