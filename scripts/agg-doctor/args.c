/* Reads agg-doctor's command line and checks every value. It prints nothing but the help text. */
#include <getopt.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-doctor/agg_doctor.h"

static const struct option LONG_OPTIONS[] = {
    {"json", no_argument, NULL, 'j'},  {"device", required_argument, NULL, 'd'},  {"gpu", no_argument, NULL, 'g'},
    {"quiet", no_argument, NULL, 'q'}, {"memlock", required_argument, NULL, 'm'}, {"root", required_argument, NULL, 'r'},
    {"help", no_argument, NULL, 'h'},  {"version", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0},
};

void args_help(void) {
  puts(
      "Usage: agg-doctor [options]\n"
      "Checks this machine for what makes RDMA and GPUDirect fail: what was seen, and what to do about it.\n"
      "\n"
      "      --device NAME[:PORT][,...]  only these devices or ports (may be repeated); they must be there and active\n"
      "      --gpu                       GPUDirect is wanted: it fails where the GPU's memory cannot be reached\n"
      "      --memlock BYTES             memory that must be lockable; K, M and G are powers of 1024; default 64M\n"
      "      --quiet                     only what failed or warns\n"
      "      --json                      one JSON object instead of the table\n"
      "      --root DIR                  look at a copy of a machine's /sys, /proc and /dev below DIR\n"
      "      --help, --version\n"
      "\n"
      "Ends with 0 when nothing failed (warnings and unknowns do not count), 1 when something did, 2 when it could not be used so.");
}

static int add_device(struct args *args, const char *text, agg_error_t *err) {
  size_t used = strlen(args->devices);
  if (text[0] == '\0') return err_set(err, AGG_EINVAL, "--device: expected a name like mlx5_0 or mlx5_0:1");
  if (used + strlen(text) + 2 > sizeof(args->devices))
    return err_set(err, AGG_EINVAL, "--device: more than %zu characters", sizeof(args->devices) - 2);
  if (used > 0) args->devices[used++] = ',';
  str_copy(args->devices + used, sizeof(args->devices) - used, text);
  return AGG_OK;
}

static int take(struct args *args, int option, const char *value, agg_error_t *err) {
  switch (option) {
    case 'j':
      args->json = 1;
      return AGG_OK;
    case 'g':
      args->options.gpu = 1;
      return AGG_OK;
    case 'q':
      args->quiet = 1;
      return AGG_OK;
    case 'r':
      args->options.root = value;
      return AGG_OK;
    case 'd':
      return add_device(args, value, err);
    default:
      if (parse_bytes(value, 1ull << 60, &args->options.memlock_need) != 0 || args->options.memlock_need == 0)
        return err_set(err, AGG_EINVAL, "--memlock %s: expected bytes, as in 4G", value);
      return AGG_OK;
  }
}

int args_parse(struct args *args, int argc, char **argv, enum args_verdict *verdict, agg_error_t *err) {
  int option;
  memset(args, 0, sizeof(*args));
  args->options.devices = args->devices;
  *verdict = ARGS_RUN;
  opterr = 0;
  optind = 0; /* a parse from the start, also when it is not the first */
  while ((option = getopt_long(argc, argv, ":", LONG_OPTIONS, NULL)) != -1) {
    if (option == '?' || option == ':')
      return err_set(err, AGG_EINVAL, "%s: %s (see --help)", argv[optind - 1], option == ':' ? "a value is missing" : "unknown option");
    if (option == 'h' || option == 'v') {
      *verdict = option == 'h' ? ARGS_HELP : ARGS_VERSION;
      return AGG_OK;
    }
    int rc = take(args, option, optarg, err);
    if (rc != AGG_OK) return rc;
  }
  if (optind < argc) return err_set(err, AGG_EINVAL, "%s: no arguments are taken (see --help)", argv[optind]);
  return AGG_OK;
}
