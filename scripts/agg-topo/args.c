/* Reads agg-topo's command line and checks every value. It prints nothing but the help text. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-topo/agg_topo.h"

#define FOR_MACHINE 1u
#define FOR_PLAN 2u
#define FOR_COST 4u
#define FOR_ALL 7u

enum option_id {
  OPTION_XML = 256,
  OPTION_ROOT,
  OPTION_CLUSTER,
  OPTION_HOST,
  OPTION_FABRIC,
  OPTION_UPLINK,
  OPTION_NIC,
  OPTION_PER_HOST,
  OPTION_REACTORS,
  OPTION_PIN,
  OPTION_WORKERS,
  OPTION_SERVERS,
  OPTION_OP,
  OPTION_SIZE,
  OPTION_TRANSPORT,
  OPTION_MEMORY,
  OPTION_PLAN,
  OPTION_COST,
  OPTION_LANES,
  OPTION_WINDOW,
  OPTION_CHUNK,
  OPTION_STRICT,
  OPTION_DUMP,
  OPTION_JSON,
  OPTION_SVG,
  OPTION_HELP,
  OPTION_VERSION
};

static const struct option LONG_OPTIONS[] = {
    {"xml", required_argument, NULL, OPTION_XML},
    {"root", required_argument, NULL, OPTION_ROOT},
    {"cluster", required_argument, NULL, OPTION_CLUSTER},
    {"host", required_argument, NULL, OPTION_HOST},
    {"fabric", required_argument, NULL, OPTION_FABRIC},
    {"slurm", required_argument, NULL, OPTION_FABRIC},
    {"uplink", required_argument, NULL, OPTION_UPLINK},
    {"nic", required_argument, NULL, OPTION_NIC},
    {"per-host", required_argument, NULL, OPTION_PER_HOST},
    {"reactors", required_argument, NULL, OPTION_REACTORS},
    {"pin", required_argument, NULL, OPTION_PIN},
    {"workers", required_argument, NULL, OPTION_WORKERS},
    {"servers", required_argument, NULL, OPTION_SERVERS},
    {"op", required_argument, NULL, OPTION_OP},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"transport", required_argument, NULL, OPTION_TRANSPORT},
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"plan", required_argument, NULL, OPTION_PLAN},
    {"cost", required_argument, NULL, OPTION_COST},
    {"lanes", required_argument, NULL, OPTION_LANES},
    {"window", required_argument, NULL, OPTION_WINDOW},
    {"chunk", required_argument, NULL, OPTION_CHUNK},
    {"strict", no_argument, NULL, OPTION_STRICT},
    {"dump", no_argument, NULL, OPTION_DUMP},
    {"json", no_argument, NULL, OPTION_JSON},
    {"svg", required_argument, NULL, OPTION_SVG},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

/* For which commands an option has a meaning: one that would do nothing is refused. */
static unsigned meaning_of(int option) {
  switch (option) {
    case OPTION_HOST:
    case OPTION_REACTORS:
    case OPTION_PIN:
      return FOR_MACHINE;
    case OPTION_WORKERS:
    case OPTION_SERVERS:
    case OPTION_OP:
    case OPTION_SIZE:
    case OPTION_TRANSPORT:
    case OPTION_MEMORY:
    case OPTION_PLAN:
    case OPTION_LANES:
    case OPTION_WINDOW:
    case OPTION_CHUNK:
    case OPTION_STRICT:
    case OPTION_NIC:
      return FOR_PLAN;
    case OPTION_COST:
      return FOR_PLAN | FOR_COST;
    case OPTION_HELP:
    case OPTION_VERSION:
      return FOR_ALL;
    default:
      return FOR_MACHINE | FOR_PLAN;
  }
}

void args_help(void) {
  puts(
      "Usage: agg-topo [options]                  this machine: cores, memory, NICs, GPUs, distances, what is pinned where\n"
      "       agg-topo plan --workers N [options] how a group of this size is planned, and why\n"
      "       agg-topo cost [--cost LIST]         the constants of the planner\n"
      "\n"
      "What is looked at (without any: this machine; for a plan: hosts that are alike, on one switch)\n"
      "      --xml FILE         a machine as lstopo wrote it (lstopo --of xml FILE)\n"
      "      --root DIR         a copy of that machine's /sys, for the speeds and states of its NICs\n"
      "      --cluster FILE     a description of hosts and switches (docs/topology.md); --host NAME: which machine of it to show\n"
      "      --fabric FILE      the switches from this description or topology.conf of Slurm (--slurm is the same)\n"
      "      --uplink SPEED     of every switch in topology.conf, in bit/s: 400G\n"
      "      --per-host N       workers on a host; default: as many as it has GPUs, or 1\n"
      "\n"
      "A machine\n"
      "      --pin off|auto|2,4-6   where reactors go (AGG_PIN); default auto\n"
      "      --reactors N       of each worker (AGG_REACTORS); default 1\n"
      "\n"
      "A plan\n"
      "      --workers N, --servers K   default: what --cluster says; servers 0\n"
      "      --size BYTES       of the operation (of a block, where it has several): 0 to 1T; default 64M\n"
      "      --op KIND          allreduce, reduce, broadcast, reduce_scatter, allgather, gather, scatter, barrier; default allreduce\n"
      "      --nic SPEED        of every NIC whose speed is not known, in bit/s: 100G\n"
      "      --transport verbs|tcp      default: verbs where every host has an RDMA port, or nothing is known of the NICs\n"
      "      --memory registered|private   what the operations are on (AGG_MEMORY); default registered\n"
      "      --plan WHAT        auto, star, direct, ring, tree, hybrid, hier, or by size: 0-32K:tree,32K-:hybrid (AGG_PLAN)\n"
      "      --strict           the same bits whatever is chosen (AGG_REPRODUCIBLE=strict)\n"
      "      --chunk BYTES, --window N, --lanes N   as AGG_CHUNK, AGG_WINDOW, AGG_LANES; default: chosen\n"
      "      --cost LIST        constants of the planner: hop_tcp=20us,sum=12GB/s (AGG_COST); print: lists them all\n"
      "\n"
      "What is printed\n"
      "      --dump             the description instead, to be edited and given to --cluster\n"
      "      --svg FILE         a picture, too: the machine, or the fabric with its loads and the trees; - is the output\n"
      "      --json             one JSON object instead of the text\n"
      "      --help, --version\n"
      "\n"
      "Ends with 0 when it was printed, 1 when a description is wrong or the plan cannot be, 2 when it could not be used so.");
}

/* ---- values ---------------------------------------------------------------------------------------------------------------------------
 */

static int take_number(const char *name, const char *text, uint32_t least, uint32_t most, uint32_t *to, agg_error_t *err) {
  uint64_t value;
  if (parse_u64(text, most, &value) != 0 || value < least)
    return err_set(err, AGG_EINVAL, "--%s %.64s: expected a number from %u to %u", name, text, least, most);
  *to = (uint32_t)value;
  return AGG_OK;
}

static int take_speed(const char *name, const char *text, uint64_t *to, agg_error_t *err) {
  if (topo_speed_parse(text, to) != 0)
    return err_set(err, AGG_EINVAL, "--%s %.64s: expected a speed in bit/s from 1M to 100T, as in 100G or 2.5G", name, text);
  return AGG_OK;
}

/* As parse_bytes, and T. */
static int take_size(const char *text, uint64_t *to, agg_error_t *err) {
  char copy[32];
  uint64_t value;
  size_t n = strlen(text);
  if (n > 1 && n < sizeof copy && (text[n - 1] == 'T' || text[n - 1] == 't')) {
    str_copy(copy, sizeof copy, text);
    copy[n - 1] = '\0';
    if (parse_u64(copy, SIZE_MOST >> 40, &value) == 0) {
      *to = value << 40;
      return AGG_OK;
    }
  }
  if (parse_bytes(text, SIZE_MOST, &value) != 0)
    return err_set(err, AGG_EINVAL, "--size %.64s: expected bytes from 0 to 1T, as in 64M; K, M, G and T are powers of 1024", text);
  *to = value;
  return AGG_OK;
}

static int take_chunk(const char *text, uint32_t *to, agg_error_t *err) {
  uint64_t value;
  if (parse_bytes(text, PLAN_CHUNK_MAX, &value) != 0 || value < PLAN_CHUNK_MIN || value % PLAN_CHUNK_UNIT != 0)
    return err_set(err, AGG_EINVAL, "--chunk %.64s: expected bytes from 1K to 16M, a multiple of %u, as in 256K", text, PLAN_CHUNK_UNIT);
  *to = (uint32_t)value;
  return AGG_OK;
}

static int take_op(const char *text, unsigned *to, agg_error_t *err) {
  char names[160] = "";
  size_t used = 0;
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) {
    if (strcmp(text, op_kind_name(kind)) == 0) {
      *to = kind;
      return AGG_OK;
    }
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", kind == 0 ? "" : ", ", op_kind_name(kind));
  }
  return err_set(err, AGG_EINVAL, "--op %.64s: expected one of %s", text, names);
}

static int take_transport(const char *text, int *to, agg_error_t *err) {
  if (strcmp(text, "verbs") != 0 && strcmp(text, "tcp") != 0)
    return err_set(err, AGG_EINVAL, "--transport %.64s: expected verbs or tcp", text);
  *to = text[0] == 'v' ? FABRIC_VERBS : FABRIC_TCP;
  return AGG_OK;
}

static int take_memory(const char *text, uint8_t *to, agg_error_t *err) {
  for (uint8_t kind = FABRIC_REGISTERED; kind <= FABRIC_PRIVATE; kind++) {
    if (strcmp(text, fabric_memory_name(kind)) == 0) return *to = kind, AGG_OK;
  }
  return err_set(err, AGG_EINVAL, "--memory %.64s: expected registered or private", text);
}

static int take_pin(const char *text, struct args *args, agg_error_t *err) {
  int rc = pin_parse(text, &args->pin, err);
  args->pin_text = text[0] != '\0' ? text : "auto";
  if (rc != AGG_OK) err_prefix(err, "--pin");
  return rc;
}

static int take_plan(const char *text, struct args *args, agg_error_t *err) {
  args->plan = text;
  int rc = plan_text_check(text, err);
  if (rc != AGG_OK) err_prefix(err, "--plan");
  return rc;
}

static int take_cost(const char *text, struct args *args, agg_error_t *err) {
  if (strcmp(text, "print") == 0) {
    args->command = COMMAND_COST;
    return AGG_OK;
  }
  int rc = cost_parse(&args->cost, text, err);
  if (rc != AGG_OK) err_prefix(err, "--cost");
  return rc;
}

static int take_file(const char *name, const char *value, const char **to, agg_error_t *err) {
  if (value[0] == '\0') return err_set(err, AGG_EINVAL, "--%s: expected the name of a file, and it is empty", name);
  if (*to != NULL) return err_set(err, AGG_EINVAL, "--%s %.200s: it was given before: name one", name, value);
  *to = value;
  return AGG_OK;
}

static int take_source(struct args *args, int option, const char *name, const char *value, agg_error_t *err) {
  switch (option) {
    case OPTION_XML:
      return take_file(name, value, &args->xml, err);
    case OPTION_ROOT:
      return take_file(name, value, &args->root, err);
    case OPTION_CLUSTER:
      return take_file(name, value, &args->cluster, err);
    case OPTION_FABRIC:
      return take_file(name, value, &args->fabric, err);
    case OPTION_SVG:
      return take_file(name, value, &args->svg, err);
    case OPTION_HOST:
      args->host = value;
      return AGG_OK;
    case OPTION_UPLINK:
      return take_speed(name, value, &args->uplink, err);
    case OPTION_NIC:
      return take_speed(name, value, &args->nic, err);
    case OPTION_PER_HOST:
      return take_number(name, value, 1, 4096, &args->per_host, err);
    case OPTION_REACTORS:
      return take_number(name, value, 1, PIN_REACTORS_MAX, &args->reactors, err);
    default:
      return take_pin(value, args, err);
  }
}

static int take(struct args *args, int option, const char *name, const char *value, agg_error_t *err) {
  switch (option) {
    case OPTION_WORKERS:
      return take_number(name, value, 1, FOREST_MAX_NODES, &args->workers, err);
    case OPTION_SERVERS:
      return take_number(name, value, 0, FOREST_MAX_NODES - 1, &args->servers, err);
    case OPTION_OP:
      return take_op(value, &args->op, err);
    case OPTION_SIZE:
      return take_size(value, &args->bytes, err);
    case OPTION_TRANSPORT:
      return take_transport(value, &args->transport, err);
    case OPTION_MEMORY:
      return take_memory(value, &args->memory, err);
    case OPTION_PLAN:
      return take_plan(value, args, err);
    case OPTION_COST:
      return take_cost(value, args, err);
    case OPTION_LANES:
      return take_number(name, value, 1, PLAN_LANES_MAX, &args->lanes, err);
    case OPTION_WINDOW:
      return take_number(name, value, 1, PLAN_WINDOW_MAX, &args->window, err);
    case OPTION_CHUNK:
      return take_chunk(value, &args->chunk_bytes, err);
    case OPTION_STRICT:
      args->strict = 1;
      return AGG_OK;
    case OPTION_DUMP:
      args->dump = 1;
      return AGG_OK;
    case OPTION_JSON:
      args->json = 1;
      return AGG_OK;
    default:
      return take_source(args, option, name, value, err);
  }
}

/* ---- all together ---------------------------------------------------------------------------------------------------------------------
 */

/* What does not go together, or would do nothing. */
static int check_together(const struct args *args, agg_error_t *err) {
  if (args->xml != NULL && args->cluster != NULL)
    return err_set(err, AGG_EINVAL, "--xml and --cluster: each says what is in the hosts: give one of them");
  if (args->root != NULL && args->cluster != NULL)
    return err_set(err, AGG_EINVAL, "--root %.200s: a description has its own speeds: leave out --root or --cluster", args->root);
  if (args->root != NULL && args->command == COMMAND_PLAN && args->xml == NULL)
    return err_set(err, AGG_EINVAL, "--root %.200s: it goes with the machine of --xml: give that, too", args->root);
  if (args->host != NULL && args->cluster == NULL)
    return err_set(err, AGG_EINVAL, "--host %.64s: it is one of the hosts in --cluster FILE: give that, too", args->host);
  if (args->uplink != 0 && args->fabric == NULL)
    return err_set(err, AGG_EINVAL, "--uplink: it is the speed of the switches in --fabric FILE: give that, too");
  if (args->dump && args->json) return err_set(err, AGG_EINVAL, "--dump and --json: two forms of output: ask for one of them");
  if (args->svg != NULL && strcmp(args->svg, "-") == 0 && (args->dump || args->json))
    return err_set(err, AGG_EINVAL, "--svg -: the output is asked for as %s, too: name a file for the picture",
                   args->dump ? "--dump" : "--json");
  if (args->command == COMMAND_PLAN && args->cluster == NULL && args->workers == GIVEN_NONE)
    return err_set(err, AGG_EINVAL, "plan: how many workers? Add --workers N, or --cluster FILE with hosts that have some (see --help)");
  return AGG_OK;
}

static int take_command(struct args *args, int *argc, char ***argv, agg_error_t *err) {
  const char *word = *argc > 1 ? (*argv)[1] : "";
  if (word[0] == '-' || *argc < 2) return AGG_OK;
  if (strcmp(word, "plan") == 0) {
    args->command = COMMAND_PLAN;
  } else if (strcmp(word, "cost") == 0) {
    args->command = COMMAND_COST;
  } else {
    return err_set(err, AGG_EINVAL, "%.64s: expected plan, cost or an option (see --help)", word);
  }
  --*argc;
  ++*argv;
  return AGG_OK;
}

int args_parse(struct args *args, int argc, char **argv, enum args_verdict *verdict, agg_error_t *err) {
  static const char *const command_names[] = {"a machine", "plan", "cost"};
  int option, at = 0;
  *args = (struct args){.reactors = 1, .workers = GIVEN_NONE, .servers = GIVEN_NONE, .op = OP_ALLREDUCE, .bytes = 64u << 20};
  args->transport = -1;
  args->pin_text = "auto";
  args->pin.mode = PIN_AUTO;
  cost_init(&args->cost);
  *verdict = ARGS_RUN;
  int rc = take_command(args, &argc, &argv, err);
  if (rc != AGG_OK) return rc;
  enum command command = args->command;
  opterr = 0;
  optind = 0; /* a parse from the start, also when it is not the first */
  while ((option = getopt_long(argc, argv, ":", LONG_OPTIONS, &at)) != -1) {
    if (option == '?' || option == ':')
      return err_set(err, AGG_EINVAL, "%.64s: %s (see --help)", argv[optind - 1], option == ':' ? "a value is missing" : "unknown option");
    if (option == OPTION_HELP || option == OPTION_VERSION) {
      *verdict = option == OPTION_HELP ? ARGS_HELP : ARGS_VERSION;
      return AGG_OK;
    }
    if (!(meaning_of(option) & 1u << command))
      return err_set(err, AGG_EINVAL, "--%s: it means nothing for %s%s (see --help)", LONG_OPTIONS[at].name, command_names[command],
                     command == COMMAND_MACHINE ? ": did you mean agg-topo plan?" : "");
    rc = take(args, option, LONG_OPTIONS[at].name, optarg, err);
    if (rc != AGG_OK) return rc;
  }
  if (optind < argc) return err_set(err, AGG_EINVAL, "%.64s: no such argument is taken (see --help)", argv[optind]);
  return check_together(args, err);
}
