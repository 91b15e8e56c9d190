/* Reads the command line: options with their limits, and a line for each that cannot be. */
#include "args.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

#define TEXT_DEFAULT "/usr/share/common-licenses"

static const struct option options[] = {
    {"text", required_argument, NULL, 't'},   {"steps", required_argument, NULL, 'n'}, {"batch", required_argument, NULL, 'b'},
    {"svg", required_argument, NULL, 'o'},    {"seed", required_argument, NULL, 's'},  {"hidden", required_argument, NULL, 'H'},
    {"layers", required_argument, NULL, 'L'}, {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
};

static int help(void) {
  printf(
      "usage: train_lm [options]        (start it with agg-run -n 4 for several workers)\n"
      "\n"
      "Trains a character-level language model on a text; the workers average their gradients with libagg.\n"
      "\n"
      "  --text PATH    a text file, or a folder of them (" TEXT_DEFAULT
      ")\n"
      "  --steps N      optimizer steps (2000)\n"
      "  --batch N      sequences in a step, of all workers together (32)\n"
      "  --svg FILE     write the loss curve there\n"
      "  --seed N       of the first weights and of the sample (1)\n"
      "  --hidden N     units in a layer (128)\n"
      "  --layers N     layers (2)\n");
  return 1;
}

static int wrong(const char *option, const char *value, uint64_t low, uint64_t high) {
  fprintf(stderr, "train_lm: --%s %s: expected a whole number from %llu to %llu\n", option, value, (unsigned long long)low,
          (unsigned long long)high);
  return -1;
}

static int number(const char *option, const char *value, uint64_t low, uint64_t high, uint64_t *out) {
  char *end;
  errno = 0;
  unsigned long long v = strtoull(value, &end, 10);
  if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || v < low || v > high) return wrong(option, value, low, high);
  *out = v;
  return 0;
}

static int take(struct args *args, int option, const char *value) {
  switch (option) {
    case 't':
      args->text = value;
      return 0;
    case 'o':
      args->svg = value;
      return 0;
    case 'n':
      return number("steps", value, 1, 1000000, &args->steps);
    case 'b':
      return number("batch", value, 1, 65536, &args->batch);
    case 's':
      return number("seed", value, 0, UINT64_MAX, &args->seed);
    case 'H':
      return number("hidden", value, 8, 2048, &args->hidden);
    case 'L':
      return number("layers", value, 1, MODEL_LAYERS_MAX, &args->layers);
    case 'h':
      return help();
    default:
      return -1;
  }
}

int args_read(struct args *args, int argc, char **argv) {
  *args = (struct args){.text = TEXT_DEFAULT, .steps = 2000, .batch = 32, .seed = 1, .hidden = 128, .layers = 2};
  int option, rc = 0;
  opterr = 0; /* one line for an error, and it is ours */
  while (rc == 0 && (option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
    if (option == ':') fprintf(stderr, "train_lm: %s: a value is missing; see train_lm --help\n", argv[optind - 1]);
    if (option == '?') fprintf(stderr, "train_lm: %s: unknown option; see train_lm --help\n", argv[optind - 1]);
    rc = take(args, option, optarg);
  }
  if (rc == 0 && optind < argc) {
    fprintf(stderr, "train_lm: %s: unexpected; see train_lm --help\n", argv[optind]);
    return -1;
  }
  return rc;
}
