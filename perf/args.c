/* Reads agg-perf's command line and checks every value. Knows nothing of ranks: a root beyond them is found out when there are some. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/perf.h"

#define BYTES_LIMIT (1ull << 40)

enum {
  OPT_OP = 256,
  OPT_DTYPE,
  OPT_REDOP,
  OPT_INPLACE,
  OPT_ROOT,
  OPT_MEMORY,
  OPT_PRIORITY,
  OPT_OUTSTANDING,
  OPT_SIZES,
  OPT_MODEL,
  OPT_EXPLAIN,
  OPT_JSON,
  OPT_CHECK,
  OPT_HELP,
  OPT_VERSION
};

static const struct option LONG_OPTIONS[] = {
    {"begin", required_argument, NULL, 'b'},
    {"end", required_argument, NULL, 'e'},
    {"factor", required_argument, NULL, 'f'},
    {"step", required_argument, NULL, 'i'},
    {"sizes", required_argument, NULL, OPT_SIZES},
    {"op", required_argument, NULL, OPT_OP},
    {"dtype", required_argument, NULL, OPT_DTYPE},
    {"redop", required_argument, NULL, OPT_REDOP},
    {"inplace", required_argument, NULL, OPT_INPLACE},
    {"root", required_argument, NULL, OPT_ROOT},
    {"warmup", required_argument, NULL, 'w'},
    {"iterations", required_argument, NULL, 'n'},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"priority", required_argument, NULL, OPT_PRIORITY},
    {"outstanding", required_argument, NULL, OPT_OUTSTANDING},
    {"model", required_argument, NULL, OPT_MODEL},
    {"explain", no_argument, NULL, OPT_EXPLAIN},
    {"json", no_argument, NULL, OPT_JSON},
    {"check", required_argument, NULL, OPT_CHECK},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

void args_help(void) {
  puts(
      "Usage: agg-run -n RANKS agg-perf [options]\n"
      "Measures collective operations and checks their results.\n"
      "\n"
      "  -b, --begin BYTES      smallest size (8); bytes take K, M, G\n"
      "  -e, --end BYTES        largest size (64M)\n"
      "  -f, --factor N         next size = size x N (2)\n"
      "  -i, --step BYTES       next size = size + BYTES, instead of -f\n"
      "      --sizes LIST       these sizes, instead of -b -e -f -i\n"
      "      --op LIST|all      allreduce, reduce, broadcast, reduce_scatter, allgather, gather, scatter, barrier (allreduce)\n"
      "      --dtype LIST|all   f16, bf16, f32, f64, i8, u8, i32, u32, i64, u64 (f32)\n"
      "      --redop LIST|all   sum, avg, prod, min, max (sum)\n"
      "      --inplace 0|1|both out of place, in place or both (both)\n"
      "      --root RANK        root of reduce, broadcast, gather and scatter (0)\n"
      "  -w, --warmup N         operations before the clock starts (5)\n"
      "  -n, --iterations N     timed operations (chosen by the time they take)\n"
      "      --memory KIND      agg (agg_mem_alloc), malloc or register (malloc and agg_mem_register) (agg)\n"
      "      --priority P       normal or high (normal)\n"
      "      --outstanding K    post K operations, then wait for all of them (1)\n"
      "      --model NAME       the gradients of resnet50 or bert-large: post all, wait for all, time a step\n"
      "      --check 0|1        check every element of the first and last timed operation (1)\n"
      "      --explain          beside each allreduce: what was predicted, the bound by the NICs, and over what it went\n"
      "      --json             one JSON object a line instead of the table\n"
      "      --help, --version\n"
      "\n"
      "Ends with 0, 1 when a result was wrong, 2 when something failed. See agg-perf(1) for what is measured and how.");
}

struct out {
  char *text;
  size_t cap;
};

__attribute__((format(printf, 2, 3))) static int fail(struct out *out, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(out->text, out->cap, fmt, args);
  va_end(args);
  return -1;
}

static int take_number(struct out *out, const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *value) {
  char *end = NULL;
  errno = 0;
  unsigned long long n = strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || n < min || n > max)
    return fail(out, "%s %s: expected a number from %llu to %llu", name, text, (unsigned long long)min, (unsigned long long)max);
  *value = n;
  return 0;
}

static int take_bytes(struct out *out, const char *name, const char *text, uint64_t min, uint64_t *value) {
  char *end = NULL;
  errno = 0;
  unsigned long long n = strtoull(text, &end, 10);
  int shift = *end == 'K' || *end == 'k' ? 10 : *end == 'M' || *end == 'm' ? 20 : *end == 'G' || *end == 'g' ? 30 : 0;
  if (shift > 0) end++;
  if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || n > BYTES_LIMIT >> shift || (n << shift) < min)
    return fail(out, "%s %s: expected bytes such as 8, 64K or 256M, from %llu to 1024G", name, text, (unsigned long long)min);
  *value = n << shift;
  return 0;
}

static const char *op_name(int i) { return op_row((enum perf_op)i)->name; }
static const char *dtype_name(int i) { return agg_dtype_name((agg_dtype_t)i); }
static const char *redop_name(int i) { return agg_redop_name((agg_redop_t)i); }

/* "a,b" or "all" as a set of bits. */
static int take_set(struct out *out, const char *name, const char *text, int count, const char *(*name_of)(int), uint32_t *set) {
  uint32_t bits = 0;
  if (strcmp(text, "all") == 0) {
    *set = (1u << count) - 1;
    return 0;
  }
  for (const char *at = text;;) {
    size_t len = strcspn(at, ",");
    int i = 0;
    while (i < count && (strlen(name_of(i)) != len || strncmp(name_of(i), at, len) != 0)) i++;
    if (i == count) return fail(out, "%s %s: '%.*s' is unknown (see agg-perf --help)", name, text, (int)len, at);
    bits |= 1u << i;
    if (at[len] == '\0') break;
    at += len + 1;
  }
  *set = bits;
  return 0;
}

static int take_sizes(struct out *out, struct perf_args *args, const char *text) {
  char word[32];
  args->n_sizes = 0;
  for (const char *at = text;;) {
    size_t len = strcspn(at, ",");
    if (args->n_sizes == SIZES_MAX) return fail(out, "--sizes: more than %d sizes", SIZES_MAX);
    snprintf(word, sizeof(word), "%.*s", (int)(len < sizeof(word) ? len : sizeof(word) - 1), at);
    if (take_bytes(out, "--sizes", word, 0, &args->sizes[args->n_sizes]) != 0) return -1;
    args->n_sizes++;
    if (at[len] == '\0') return 0;
    at += len + 1;
  }
}

/* What -b, -e, -f and -i gave; 0: not given. */
struct range {
  uint64_t begin, end, factor, step;
};

static int make_sizes(struct out *out, struct perf_args *args, const struct range *r) {
  if (args->n_sizes > 0) {
    if (r->begin || r->end || r->factor || r->step) return fail(out, "--sizes replaces -b, -e, -f and -i: give one or the others");
    return 0;
  }
  if (r->factor && r->step) return fail(out, "-f and -i exclude each other");
  uint64_t size = r->begin ? r->begin : 8,
           end = r->end               ? r->end
                 : size > 64ull << 20 ? size
                                      : 64ull << 20,
           factor = r->factor ? r->factor : 2;
  if (size > end) return fail(out, "-b %llu is larger than -e %llu", (unsigned long long)size, (unsigned long long)end);
  for (; size <= end; size = r->step ? size + r->step : size * factor) {
    if (args->n_sizes == SIZES_MAX) return fail(out, "more than %d sizes from -b to -e: take a larger -f or -i", SIZES_MAX);
    args->sizes[args->n_sizes++] = size;
  }
  return 0;
}

static int take_word(struct out *out, const char *name, const char *text, const char *const *words, int count, int *value) {
  for (int i = 0; i < count; i++) {
    if (strcmp(text, words[i]) == 0) {
      *value = i;
      return 0;
    }
  }
  return fail(out, "%s %s: expected %s, %s%s%s", name, text, words[0], words[1], count > 2 ? " or " : "", count > 2 ? words[2] : "");
}

static int take_inplace(struct out *out, struct perf_args *args, const char *text) {
  static const char *const WORDS[] = {"0", "1", "both"};
  int word = 0;
  if (take_word(out, "--inplace", text, WORDS, 3, &word) != 0) return -1;
  args->inplace = word + 1;
  return 0;
}

static int take_memory(struct out *out, struct perf_args *args, const char *text) {
  static const char *const WORDS[] = {"agg", "malloc", "register"};
  int word = 0;
  if (take_word(out, "--memory", text, WORDS, 3, &word) != 0) return -1;
  args->memory = (enum perf_memory)word;
  return 0;
}

static int take_priority(struct out *out, struct perf_args *args, const char *text) {
  static const char *const WORDS[] = {"normal", "high"};
  int word = 0;
  if (take_word(out, "--priority", text, WORDS, 2, &word) != 0) return -1;
  args->priority = (agg_priority_t)word;
  return 0;
}

static int take_model(struct out *out, struct perf_args *args, const char *text) {
  args->model = model_find(text);
  return args->model != NULL ? 0 : fail(out, "--model %s: expected %s", text, model_names());
}

/* A number into a field of 32 bits. */
static int take_u32(struct out *out, const char *name, const char *text, uint64_t min, uint64_t max, uint32_t *field) {
  uint64_t number = 0;
  if (take_number(out, name, text, min, max, &number) != 0) return -1;
  *field = (uint32_t)number;
  return 0;
}

static int take_option(struct out *out, struct perf_args *args, struct range *range, int option, const char *text) {
  uint32_t flag = 0;
  switch (option) {
    case 'b':
      return take_bytes(out, "-b", text, 1, &range->begin);
    case 'e':
      return take_bytes(out, "-e", text, 1, &range->end);
    case 'f':
      return take_number(out, "-f", text, 2, 1u << 20, &range->factor);
    case 'i':
      return take_bytes(out, "-i", text, 1, &range->step);
    case 'w':
      return take_u32(out, "-w", text, 0, 1000000, &args->warmup);
    case 'n':
      return take_u32(out, "-n", text, 1, 10000000, &args->iterations);
    case OPT_SIZES:
      return take_sizes(out, args, text);
    case OPT_OP:
      return take_set(out, "--op", text, OP_COUNT, op_name, &args->ops);
    case OPT_DTYPE:
      return take_set(out, "--dtype", text, AGG_DTYPE_COUNT, dtype_name, &args->dtypes);
    case OPT_REDOP:
      return take_set(out, "--redop", text, AGG_REDOP_COUNT, redop_name, &args->redops);
    case OPT_INPLACE:
      return take_inplace(out, args, text);
    case OPT_ROOT:
      return take_u32(out, "--root", text, 0, UINT32_MAX, &args->root);
    case OPT_MEMORY:
      return take_memory(out, args, text);
    case OPT_PRIORITY:
      return take_priority(out, args, text);
    case OPT_OUTSTANDING:
      return take_u32(out, "--outstanding", text, 1, OUTSTANDING_MAX, &args->outstanding);
    case OPT_MODEL:
      return take_model(out, args, text);
    case OPT_CHECK:
      if (take_u32(out, "--check", text, 0, 1, &flag) != 0) return -1;
      args->check = (int)flag;
      return 0;
    case OPT_EXPLAIN:
      args->explain = 1;
      return 0;
    default:
      args->json = 1;
      return 0;
  }
}

static int check_model(struct out *out, const struct perf_args *args, const struct range *r) {
  if (args->model == NULL) return 0;
  if (args->ops != 1u << OP_ALLREDUCE) return fail(out, "--model is measured with allreduce only");
  if (args->outstanding > 1) return fail(out, "--model posts all its gradients at once: leave --outstanding out");
  if (args->n_sizes > 0 || r->begin || r->end || r->factor || r->step)
    return fail(out, "--model brings its own sizes: leave -b, -e, -f, -i, --sizes out");
  return 0;
}

int args_parse(struct perf_args *args, int argc, char **argv, enum args_verdict *verdict, char *text, size_t cap) {
  struct out out = {text, cap};
  struct range range = {0};
  memset(args, 0, sizeof(*args));
  args->ops = 1u << OP_ALLREDUCE;
  args->dtypes = 1u << AGG_F32;
  args->redops = 1u << AGG_SUM;
  args->inplace = 3;
  args->warmup = 5;
  args->outstanding = 1;
  args->check = 1;
  *verdict = ARGS_RUN;
  opterr = 0;
  optind = 0;
  for (int option; (option = getopt_long(argc, argv, "+:b:e:f:i:w:n:", LONG_OPTIONS, NULL)) != -1;) {
    if (option == '?') return fail(&out, "unknown option %s (see agg-perf --help)", argv[optind - 1]);
    if (option == ':') return fail(&out, "%s needs a value (see agg-perf --help)", argv[optind - 1]);
    if (option == OPT_HELP || option == OPT_VERSION) {
      *verdict = option == OPT_HELP ? ARGS_HELP : ARGS_VERSION;
      return 0;
    }
    if (take_option(&out, args, &range, option, optarg) != 0) return -1;
  }
  if (optind < argc) return fail(&out, "unexpected argument %s (see agg-perf --help)", argv[optind]);
  if (check_model(&out, args, &range) != 0) return -1;
  return args->model != NULL ? 0 : make_sizes(&out, args, &range);
}
