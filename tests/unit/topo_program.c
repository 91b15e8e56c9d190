/* agg-topo's command line, its errors, and what it prints: text, description, JSON and pictures. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "scripts/agg-topo/svg.h"
#include "tests/lib/json.h"
#include "tests/unit/topo_run.h"

Suite *make_suite(void);

#define DATA "tests/data/topo/"

static struct args args;
static enum args_verdict verdict;
static agg_error_t err;

static int parse(const char *line) {
  err = (agg_error_t){0};
  return topo_run_parse(line, &args, &verdict, &err);
}

/* ---- the command line -------------------------------------------------------------------------------------------------------------------
 */

START_TEST(arguments) {
  ck_assert_int_eq(parse(""), AGG_OK);
  ck_assert(verdict == ARGS_RUN && args.command == COMMAND_MACHINE && args.pin.mode == PIN_AUTO && args.reactors == 1);
  ck_assert_int_eq(parse("--xml a --root b --pin 2,4-6 --reactors 4 --per-host 8 --fabric c --uplink 400G --svg d"), AGG_OK);
  ck_assert(strcmp(args.xml, "a") == 0 && strcmp(args.root, "b") == 0 && strcmp(args.fabric, "c") == 0 && strcmp(args.svg, "d") == 0);
  ck_assert(args.pin.mode == PIN_LIST && args.pin.n == 4 && args.per_host == 8 && args.uplink == 50000000000ull);
  ck_assert_int_eq(parse("plan --workers 64 --servers 8 --nic 100G"), AGG_OK);
  ck_assert(args.command == COMMAND_PLAN && args.workers == 64 && args.servers == 8 && args.nic == 12500000000ull);
  ck_assert(args.bytes == 64u << 20 && args.op == OP_ALLREDUCE && args.transport == -1 && args.plan == NULL);
  ck_assert_uint_eq(args.memory, FABRIC_REGISTERED);
  ck_assert_int_eq(
      parse("plan --workers 4 --op reduce_scatter --size 1T --plan 0-32K:tree,32K-:ring --strict --chunk 256K --window 8 --lanes 4 "
            "--transport tcp --memory private --cost hop_tcp=1ms,sum=1GB/s --json"),
      AGG_OK);
  ck_assert(args.op == OP_REDUCE_SCATTER && args.bytes == SIZE_MOST && args.strict && args.json && args.transport == FABRIC_TCP);
  ck_assert_uint_eq(args.memory, FABRIC_PRIVATE);
  ck_assert(args.chunk_bytes == 256u << 10 && args.window == 8 && args.lanes == 4 && fabs(args.cost.hop_tcp - 1e-3) < 1e-12);
  ck_assert_int_eq(parse("plan --workers 4 --size 0"), AGG_OK);
  ck_assert_uint_eq(args.bytes, 0);
  ck_assert_int_eq(parse("plan --slurm a --workers 1 --cost print"), AGG_OK);
  ck_assert_int_eq(args.command, COMMAND_COST);
  ck_assert_int_eq(parse("cost --cost sum=1GB/s"), AGG_OK);
  ck_assert_int_eq(args.command, COMMAND_COST);
  ck_assert_int_eq(parse("plan --help --nonsense"), AGG_OK);
  ck_assert_int_eq(verdict, ARGS_HELP);
  ck_assert_int_eq(parse("--version"), AGG_OK);
  ck_assert_int_eq(verdict, ARGS_VERSION);
}
END_TEST

static const struct {
  const char *line, *says;
} wrong[] = {
    {"--nonsense", "--nonsense: unknown option"},
    {"-x", "-x: unknown option"},
    {"plan --workers 2 --memory auto", "--memory auto: expected registered or private"},
    {"--xml", "--xml: a value is missing"},
    {"--json=1", "--json=1"},
    {"machine", "machine: expected plan, cost or an option"},
    {"plan --workers 4 more", "more: no such argument is taken"},
    {"plan", "how many workers? Add --workers N, or --cluster FILE"},
    {"plan --workers 0", "--workers 0: expected a number from 1 to 65536"},
    {"plan --workers -1", "--workers -1"},
    {"plan --workers 65537", "--workers 65537"},
    {"plan --workers 4x", "--workers 4x"},
    {"plan --workers 4 --servers 65536", "--servers 65536: expected a number from 0 to 65535"},
    {"plan --workers 4 --size 2T", "--size 2T: expected bytes from 0 to 1T"},
    {"plan --workers 4 --size T", "--size T"},
    {"plan --workers 4 --size -1", "--size -1"},
    {"plan --workers 4 --size 1.5M", "--size 1.5M"},
    {"plan --workers 4 --op sum", "--op sum: expected one of allreduce, reduce, broadcast, "},
    {"plan --workers 4 --transport udp", "--transport udp: expected verbs or tcp"},
    {"plan --workers 4 --plan best", "--plan: plan \"best\" is unknown"},
    {"plan --workers 4 --cost sums=1", "--cost: "},
    {"plan --workers 4 --cost sum=0", "--cost: "},
    {"plan --workers 4 --lanes 17", "--lanes 17: expected a number from 1 to 16"},
    {"plan --workers 4 --window 0", "--window 0: expected a number from 1 to 1024"},
    {"plan --workers 4 --chunk 100", "--chunk 100: expected bytes from 1K to 16M, a multiple of 64"},
    {"plan --workers 4 --chunk 1025", "--chunk 1025"},
    {"plan --workers 4 --nic 100", "--nic 100: expected a speed in bit/s"},
    {"plan --workers 4 --per-host 0", "--per-host 0"},
    {"plan --workers 4 --pin off", "--pin: it means nothing for plan"},
    {"plan --workers 4 --root x", "--root x: it goes with the machine of --xml"},
    {"--workers 4", "--workers: it means nothing for a machine: did you mean agg-topo plan?"},
    {"--memory private", "--memory: it means nothing for a machine: did you mean agg-topo plan?"},
    {"cost --xml x", "--xml: it means nothing for cost"},
    {"--pin 3,3", "--pin: \"3,3\": core 3 is given twice"},
    {"--pin some", "--pin: \"some\": expected off, auto, or cores"},
    {"--reactors 65", "--reactors 65"},
    {"--xml a --cluster b", "--xml and --cluster: each says what is in the hosts"},
    {"--xml a --xml b", "--xml b: it was given before"},
    {"--xml=", "--xml: expected the name of a file"},
    {"--cluster a --root b", "--root b: a description has its own speeds"},
    {"--host a", "--host a: it is one of the hosts in --cluster FILE"},
    {"--uplink 400G", "--uplink: it is the speed of the switches in --fabric FILE"},
    {"--dump --json", "--dump and --json"},
    {"--json --svg -", "--svg -: the output is asked for as --json, too"},
};

START_TEST(arguments_refused) {
  for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
    ck_assert_msg(parse(wrong[i].line) == AGG_EINVAL, "\"%s\" was taken", wrong[i].line);
    ck_assert_msg(strstr(err.text, wrong[i].says) != NULL, "%s: \"%s\" does not say \"%s\"", wrong[i].line, err.text, wrong[i].says);
    ck_assert_msg(strchr(err.text, '\n') == NULL, "%s: more than a line", wrong[i].line);
  }
}
END_TEST

/* The command line is well, but not what it asks for. */
static const struct {
  const char *line, *says;
} impossible[] = {
    {"--xml " DATA "none.xml", "none.xml: cannot be opened"},
    {"--xml " DATA "fat-tree.topo", "fat-tree.topo"},
    {"--cluster " DATA "dgx.xml", "dgx.xml:1: "},
    {"--cluster " DATA "fat-tree.topo --host node99",
     "--host node99: " DATA "fat-tree.topo has no such host: expected one of node1, node2, node3, node4, ..."},
    {"--cluster " DATA "unequal-rack.topo", "has several machines: say which with --host, one of worker1, "},
    {"--xml " DATA "laptop.xml --fabric " DATA "fat-tree.slurm.conf", "fat-tree.slurm.conf: host laptop is on none of its switches"},
    {"--cluster " DATA "fat-tree.topo --fabric " DATA "fat-tree.topo --uplink 400G", "a description has the speeds of its uplinks itself"},
    {"--xml " DATA "laptop.xml --pin 99", "--pin: core 99 is not there"},
    {"--xml " DATA "laptop.xml --pin 1 --reactors 2", "--pin: 1 core for 2 reactors"},
    {"--xml " DATA "laptop.xml --per-host 4096 --reactors 2", "lower --per-host or --reactors"},
    {"plan --workers 4 --plan star", "plan \"star\" needs a server and none is given"},
    {"plan --workers 1 --plan ring", "plan \"ring\""},
    {"plan --workers 65536 --servers 1", "65536 workers and 1 servers are more than 65536 nodes"},
    {"plan --cluster " DATA "fat-tree.topo --workers 33",
     "--workers 33: the hosts of " DATA "fat-tree.topo have 32 together: give some of them more (workers=)"},
    {"plan --cluster " DATA "fat-tree.topo --servers 1", "--servers 1: the hosts of"},
    {"plan --cluster " DATA "fat-tree.topo --per-host 2", "--per-host: the hosts of"},
    {"plan --cluster " DATA "fat-tree.topo --nic 1G", "--nic: the speeds of all NICs are known"},
    {"plan --cluster " DATA "laptop.golden", "no host has workers: add workers=N to hosts, or say --workers N"},
    {"plan --slurm " DATA "fat-tree.slurm.conf --workers 30 --servers 3", "has 32 hosts, too few for 30 workers and 3 servers"},
    {"plan --slurm " DATA "none.conf --workers 30", "none.conf: cannot be opened"},
    {"plan --workers 3 --chunk 16M --window 1024 --lanes 16", "window"},
};

START_TEST(what_cannot_be_is_said_in_a_line) {
  for (size_t i = 0; i < ARRAY_LEN(impossible); i++) {
    char *text = NULL;
    int code = topo_run_code(impossible[i].line, &text, &err);
    free(text);
    ck_assert_msg(code == EXIT_CANNOT, "%s: ended with %d: %s", impossible[i].line, code, err.text);
    ck_assert_msg(strstr(err.text, impossible[i].says) != NULL, "%s: \"%s\" does not say \"%s\"", impossible[i].line, err.text,
                  impossible[i].says);
    ck_assert_msg(strchr(err.text, '\n') == NULL && err.code < 0, "%s: %s", impossible[i].line, err.text);
  }
}
END_TEST

/* ---- what is printed --------------------------------------------------------------------------------------------------------------------
 */

static void expect_says(const char *line, const char *says) {
  char *text = topo_run(line);
  ck_assert_msg(strstr(text, says) != NULL, "%s does not say \"%s\":\n%.2000s", line, says, text);
  free(text);
}

START_TEST(a_machine_says_what_is_pinned_where) {
  expect_says("--xml " DATA "laptop.xml", "\n  reactor 0 on core 3 (NUMA node 0, PHB to wlp0s20f3)\n");
  expect_says("--xml " DATA "laptop.xml --pin off", "Pinning (AGG_PIN=off) of 1 worker with 1 reactor:\n  not pinned: off was asked for\n");
  expect_says("--xml " DATA "laptop.xml --pin 1,2 --reactors 2", "\n  reactor 1 on core 2 ");
  expect_says("--xml " DATA "laptop.xml --pin 1 --per-host 2", "\n  a list is for one worker: --per-host 1\n");
  expect_says("--xml " DATA "dgx.xml", "\n  local rank 7, reactor 0 on core 8 (NUMA node 0, PHB to mlx5_0:1)\n");
  expect_says("--xml " DATA "dgx.xml --per-host 1 --reactors 8", "\n  reactor 7 on core 24 (NUMA node 1, PHB to mlx5_7:1)\n");
  expect_says("--cluster " DATA "fat-tree.topo --host node9", "on switch rack2 (uplink 400 Gbit/s), below switch spine\n");
}
END_TEST

START_TEST(what_is_assumed_is_said) {
  expect_says("plan --workers 2", "note: nothing is known of the NICs: they are assumed to do RDMA");
  expect_says("plan --workers 2", "note: no switch is described");
  expect_says("plan --workers 2 --nic 10G --transport tcp", "an MTU of 1500 bytes");
  expect_says("plan --xml " DATA "vm.xml --workers 2", "note: not every host has an RDMA port: over TCP");
  expect_says("plan --cluster " DATA "fat-tree.topo --workers 4", "note: only the first 4 of the 32 workers described take part");
  expect_says("plan --cluster " DATA "unequal-rack.topo --servers 0", "note: only the first 0 of the 3 servers described take part");
  expect_says("plan --slurm " DATA "fat-tree.slurm.conf --workers 30 --servers 2", "uplinks of 3 switches are unknown");
  expect_says("plan --slurm " DATA "fat-tree.slurm.conf --workers 30 --servers 2", "workers are put on its first hosts, servers on");
}
END_TEST

/* A dump is what --cluster takes, and gives the same dump and plan. */
START_TEST(a_dump_can_be_loaded) {
  static const char *const lines[] = {"plan --xml " DATA "dgx.xml --workers 16 --servers 2 --nic 400G",
                                      "plan --slurm " DATA "fat-tree.slurm.conf --uplink 400G --nic 100G --workers 20 --servers 4"};
  for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
    char line[512], name[] = "/tmp/topo-program-XXXXXX";
    (void)snprintf(line, sizeof line, "%s --dump", lines[i]);
    char *dump = topo_run(line);
    int fd = mkstemp(name);
    FILE *file = fdopen(fd, "w");
    ck_assert(file != NULL && fputs(dump, file) >= 0 && fclose(file) == 0);
    (void)snprintf(line, sizeof line, "--cluster %s --dump", name);
    char *again = topo_run(line);
    ck_assert_str_eq(again, dump);
    (void)snprintf(line, sizeof line, "plan --cluster %s", name);
    char *plan = topo_run(line), *want = topo_run(lines[i]);
    ck_assert_msg(strncmp(plan, want, strstr(want, "\nnote: ") - want) == 0, "%.1000s\n%.1000s", plan, want);
    remove(name);
    free(dump);
    free(again);
    free(plan);
    free(want);
  }
}
END_TEST

/* ---- JSON -------------------------------------------------------------------------------------------------------------------------------
 */

static const char *const shown[] = {
    "--xml " DATA "laptop.xml",
    "--xml " DATA "vm.xml",
    "--xml " DATA "two-socket.xml",
    "--xml " DATA "two-socket-v1.xml",
    "--xml " DATA "dgx.xml --reactors 2",
    "--xml " DATA "laptop.xml --per-host 4 --reactors 4",
    "--xml " DATA "dgx.xml --pin off",
    "--cluster " DATA "dgx-pod.topo",
    "--cluster " DATA "unequal-rack.topo --host server1",
    "--cluster " DATA "fat-tree.topo",
    "plan --workers 1",
    "plan --workers 4 --servers 2 --nic 100G",
    "plan --workers 64 --servers 8 --size 64M",
    "plan --workers 2000 --servers 20 --size 1T --per-host 8",
    "plan --workers 4 --op barrier --size 0",
    "plan --xml " DATA "laptop.xml --workers 4 --per-host 4",
    "plan --xml " DATA "dgx.xml --workers 32 --servers 4 --plan hier",
    "plan --cluster " DATA "dgx-pod.topo --plan tree",
    "plan --cluster " DATA "two-socket-cluster.topo",
    "--cluster " DATA "shared-switches.topo",
    "plan --cluster " DATA "unequal-rack.topo --size 1G",
    "plan --cluster " DATA "fat-tree.topo",
    "plan --cluster " DATA "fat-tree.topo --size 256K --plan tree",
    "plan --slurm " DATA "fat-tree.slurm.conf --uplink 100G --workers 24 --servers 8 --size 1G --plan hybrid",
};

START_TEST(json_is_json) {
  char line[512];
  for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
    (void)snprintf(line, sizeof line, "%s --json", shown[i]);
    char *text = topo_run(line);
    ck_assert_msg(is_json(text), "%s: not JSON: %s", line, text);
    free(text);
  }
  expect_says("plan --workers 4 --servers 2 --nic 100G --json",
              "\"op\":\"allreduce\",\"bytes\":67108864,\"memory\":\"registered\",\"workers\":4,\"servers\":2,");
  expect_says("--xml " DATA "dgx.xml --json", "\"to_gpus\":[\"PIX\",\"NODE\",\"NODE\",\"NODE\",\"SYS\",");
  expect_says("--xml " DATA "dgx.xml --json", "/0000:17:00.0\",\"pcie_bits_per_second\":504123000000,");
  expect_says("--xml " DATA "dgx.xml --json", "\"bridges\":[\n{\"pci\":\"0000:15:01.0\",\"pcie_bits_per_second\":504123000000},");
}
END_TEST

/* ---- pictures ---------------------------------------------------------------------------------------------------------------------------
 */

#define TEXTS_MAX 1024

struct box {
  double left, right, top, bottom;
};

static struct box texts[TEXTS_MAX];
static size_t n_texts;

static double attribute(const char *tag, const char *name) {
  char key[32];
  (void)snprintf(key, sizeof key, " %s=\"", name);
  const char *at = strstr(tag, key), *end = strchr(tag, '>');
  return at != NULL && at < end ? strtod(at + strlen(key), NULL) : 0;
}

/* A text takes its place on the page, and no other text's. */
static void take_text(const char *line, const char *tag, double width, double height) {
  char content[256];
  const char *from = strchr(tag, '>') + 1;
  size_t n = strcspn(from, "<");
  ck_assert_uint_lt(n, sizeof content);
  memcpy(content, from, n);
  content[n] = '\0';
  double x = attribute(tag, "x"), y = attribute(tag, "y"), size = attribute(tag, "font-size");
  double wide = svg_text_width(content, size, strncmp(from - 6, "bold\">", 6) == 0);
  const char *anchor = strstr(tag, "text-anchor=\"");
  int named = anchor != NULL && anchor < from;
  double left = named && anchor[13] == 'm' ? x - wide / 2 : named ? x - wide : x;
  struct box b = {left + 1, left + wide - 1, y - 0.72 * size, y + 0.2 * size};
  ck_assert_msg(b.left >= 0 && b.right <= width && b.top >= 0 && b.bottom <= height, "%s: \"%s\" leaves the page", line, content);
  for (size_t i = 0; i < n_texts; i++) {
    const struct box *o = &texts[i];
    ck_assert_msg(b.left >= o->right || b.right <= o->left || b.top >= o->bottom || b.bottom <= o->top, "%s: \"%s\" stands on another text",
                  line, content);
  }
  if (n_texts < TEXTS_MAX) texts[n_texts++] = b;
}

/* Tags that are closed in order, attributes in quotes, no bare '<' or '&', nothing that is no number. */
static void expect_picture(const char *line, const char *svg) {
  char open[8][16];
  unsigned depth = 0;
  n_texts = 0;
  ck_assert_msg(strncmp(svg, "<svg xmlns=", 11) == 0 && strstr(svg, "nan") == NULL && strstr(svg, "inf\"") == NULL, "%s: %.80s", line, svg);
  double width = attribute(svg, "width"), height = attribute(svg, "height");
  ck_assert(width >= 300 && width <= 1200 && height >= 100 && height <= 4000);
  for (const char *p = svg; *p != '\0';) {
    if (*p == '&')
      ck_assert(strncmp(p, "&lt;", 4) == 0 || strncmp(p, "&gt;", 4) == 0 || strncmp(p, "&amp;", 5) == 0 || strncmp(p, "&quot;", 6) == 0);
    if (*p++ != '<') continue;
    const char *end = strchr(p, '>');
    ck_assert_msg(end != NULL, "%s: a tag has no end: %.40s", line, p);
    unsigned quotes = 0;
    for (const char *q = p; q < end; q++) quotes += *q == '"';
    ck_assert_msg(quotes % 2 == 0, "%s: %.40s", line, p);
    size_t n = strcspn(p + (*p == '/'), " />\n");
    if (*p == '/') {
      ck_assert_msg(depth > 0 && strlen(open[depth - 1]) == n && strncmp(p + 1, open[depth - 1], n) == 0, "%s: closed out of order: %.40s",
                    line, p);
      depth--;
    } else if (end[-1] != '/') {
      ck_assert(depth < ARRAY_LEN(open) && n < sizeof open[0]);
      memcpy(open[depth], p, n);
      open[depth++][n] = '\0';
      if (n == 4 && strncmp(p, "text", 4) == 0) take_text(line, p, width, height);
    }
    p = end + 1;
    if (depth == 0) ck_assert_str_eq(p + strspn(p, " \n"), "");
  }
  ck_assert_uint_eq(depth, 0);
}

START_TEST(pictures_are_legible) {
  char line[512];
  for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
    (void)snprintf(line, sizeof line, "%s --svg -", shown[i]);
    char *svg = topo_run(line);
    expect_picture(line, svg);
    ck_assert_uint_gt(n_texts, 4);
    ck_assert_uint_lt(strlen(svg), 60000);
    free(svg);
  }
}
END_TEST

START_TEST(texts_are_escaped_and_cut) {
  char *text;
  size_t n;
  FILE *to = open_memstream(&text, &n);
  svg_text(to, 1, 2, 10, SVG_END, "#000", 1, "a<b>&\"c\"\001\303");
  svg_text_in(to, 1, 2, 10, SVG_START, "#000", 0, 40, "a text that is much too long for it");
  ck_assert(svg_paragraph(to, 0, 0, 10, 50, "#000", "some words in a column") > 20);
  fclose(to);
  ck_assert_ptr_nonnull(strstr(text,
                               "text-anchor=\"end\" font-weight=\"bold\">a&lt;b&gt;&amp;&quot;c&quot;?"
                               "?</text>"));
  ck_assert_ptr_nonnull(strstr(text, "<title>a text that is much too long for it</title>"));
  ck_assert_ptr_nonnull(strstr(text, "...</text>"));
  free(text);
}
END_TEST

Suite *make_suite(void) {
  const TTest *const TESTS[] = {arguments,
                                arguments_refused,
                                what_cannot_be_is_said_in_a_line,
                                a_machine_says_what_is_pinned_where,
                                what_is_assumed_is_said,
                                a_dump_can_be_loaded,
                                json_is_json,
                                pictures_are_legible,
                                texts_are_escaped_and_cut};
  Suite *suite = suite_create("topo_program");
  TCase *tcase = tcase_create("program");
  tcase_set_timeout(tcase, 60);
  for (size_t i = 0; i < ARRAY_LEN(TESTS); i++) tcase_add_test(tcase, TESTS[i]);
  suite_add_tcase(suite, tcase);
  return suite;
}
