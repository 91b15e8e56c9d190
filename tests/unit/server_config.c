/* The server's settings: flags, file, their order, what is left to the machine, and a line for everything that cannot be. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agg-server/config.h"
#include "base/log.h"
#include "base/util.h"
#include "control/control.h"
#include "topology/forest.h"

static char dir[] = "/tmp/agg-config-XXXXXX";
static char path[64];
static agg_error_t err;
static struct server_config config;
static struct server_args args;
static const struct machine machine = {.n_cores = 6, .usable = 4, .cores = {0, 1, 2, 3, 4, 5}, .files = 20000, .memory = 16ULL << 30};

static void setup(void) {
  strcpy(dir, "/tmp/agg-config-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/file", dir);
  memset(&err, 0, sizeof err);
  memset(&config, 0x5a, sizeof config);
}

static void teardown(void) {
  unlink(path);
  rmdir(dir);
}

static void write_bytes(const void *bytes, size_t n, mode_t mode) {
  FILE *f = fopen(path, "w");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
  ck_assert_int_eq(fclose(f), 0);
  ck_assert_int_eq(chmod(path, mode), 0);
}

static void write_text(const char *text) { write_bytes(text, strlen(text), 0600); }

static int parse(const char *const *words) {
  static char copy[24][256];
  char *argv[25] = {0};
  int argc = 0;
  str_copy(copy[argc], sizeof copy[argc], "agg-server");
  argv[argc] = copy[argc];
  argc++;
  for (; *words != NULL; words++, argc++) {
    ck_assert_int_lt(argc, 24);
    str_copy(copy[argc], sizeof copy[argc], *words);
    argv[argc] = copy[argc];
  }
  return args_parse(argc, argv, &args, &err);
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static int load(const char *text) {
  write_text(text);
  ck_assert_int_eq(PARSE("--config", path), 0);
  return config_load(&args, &machine, &config, &err);
}

static void assert_says(const char *what) { ck_assert_msg(strstr(err.text, what) != NULL, "expected \"%s\" in \"%s\"", what, err.text); }
static void assert_one_line(void) { ck_assert_msg(strlen(err.text) > 0 && strchr(err.text, '\n') == NULL, "\"%s\"", err.text); }

/* ---- defaults and order ------------------------------------------------------------------------------------------------------------- */

START_TEST(defaults_come_from_the_machine) {
  ck_assert_int_eq(parse((const char *const[]){NULL}), 0);
  ck_assert_int_eq(config_load(&args, &machine, &config, &err), 0);
  ck_assert_uint_eq(config.reactors, 4);
  ck_assert_uint_eq(config.memory_limit, 8ULL << 30);
  ck_assert_uint_eq(config.job_memory_limit, 8ULL << 30);
  ck_assert_uint_eq(config.max_jobs, 256);
  ck_assert_uint_eq(config.max_connections, 10000);
  ck_assert_uint_eq(config.max_world, FOREST_MAX_NODES);
  ck_assert_str_eq(config.pin, "auto");
  ck_assert_uint_eq(config.log_level, AGG_LOG_INFO);
  ck_assert_double_eq(config.drain_timeout, 30);
  ck_assert_str_eq(config.transport, "auto");
  ck_assert_int_eq(args.ready_fd, -1);
}
END_TEST

START_TEST(reactors_are_bounded_on_a_large_machine) {
  struct machine large = {.n_cores = 500, .usable = 500, .files = UINT64_MAX, .memory = (1ULL << 40) + 4097};
  ck_assert_int_eq(parse((const char *const[]){NULL}), 0);
  ck_assert_int_eq(config_load(&args, &large, &config, &err), 0);
  ck_assert_uint_eq(config.reactors, CONTROL_REACTORS_MAX);
  ck_assert_uint_eq(config.max_connections, 16384);
  ck_assert_uint_eq(config.memory_limit, 1ULL << 39);
}
END_TEST

START_TEST(every_option_is_read_from_a_file) {
  int rc = load(
      "# a server\n"
      "listen = store1:8000\n"
      "token-file=/etc/agg/token\n"
      "\ttransport =   tcp   # only that\n"
      "bind = 10.0.0.1\n"
      "reactors = 3\n"
      "pin = off\n"
      "memory-limit = 6G\n"
      "job-memory-limit = 512M\n"
      "\n"
      "max-jobs = 9\r\n"
      "max-world = 12\n"
      "max-connections = 100\n"
      "drain-timeout = 2.5\n"
      "spin-us = 0\n"
      "devices = mlx5_0:1,mlx5_1\n"
      "gid-index = 3\n"
      "traffic-class = 106\n"
      "service-level = 2\n"
      "mtu = 2048\n"
      "ack-timeout = 18\n"
      "retry-count = 7\n"
      "log-level = debug");
  ck_assert_msg(rc == 0, "%s", err.text);
  ck_assert_str_eq(config.listen, "store1:8000");
  ck_assert_str_eq(config.token_file, "/etc/agg/token");
  ck_assert_str_eq(config.transport, "tcp");
  ck_assert_str_eq(config.bind, "10.0.0.1");
  ck_assert_uint_eq(config.reactors, 3);
  ck_assert_str_eq(config.pin, "off");
  ck_assert_uint_eq(config.memory_limit, 6ULL << 30);
  ck_assert_uint_eq(config.job_memory_limit, 512ULL << 20);
  ck_assert_uint_eq(config.max_jobs, 9);
  ck_assert_uint_eq(config.max_world, 12);
  ck_assert_uint_eq(config.max_connections, 100);
  ck_assert_double_eq(config.drain_timeout, 2.5);
  ck_assert_uint_eq(config.spin_us, 0);
  ck_assert_uint_eq(config.log_level, AGG_LOG_DEBUG);
  ck_assert_str_eq(config.devices, "mlx5_0:1,mlx5_1");
  ck_assert(config.gid_index == 3 && config.traffic_class == 106 && config.service_level == 2);
  ck_assert(config.mtu == 2048 && config.ack_timeout == 18 && config.retry_count == 7);
}
END_TEST

START_TEST(flags_override_the_file) {
  write_text("reactors = 3\nmax-jobs = 9\n");
  ck_assert_int_eq(PARSE("--reactors=2", "--config", path, "--listen", "[::1]:0"), 0);
  ck_assert_int_eq(config_load(&args, &machine, &config, &err), 0);
  ck_assert_uint_eq(config.reactors, 2);
  ck_assert_uint_eq(config.max_jobs, 9);
  ck_assert_str_eq(config.listen, "[::1]:0");
}
END_TEST

START_TEST(auto_takes_a_choice_back) {
  write_text("reactors = 3\nmemory-limit = 1G\njob-memory-limit = auto\n");
  ck_assert_int_eq(PARSE("--config", path, "--reactors", "auto"), 0);
  ck_assert_int_eq(config_load(&args, &machine, &config, &err), 0);
  ck_assert_uint_eq(config.reactors, 4);
  ck_assert_uint_eq(config.job_memory_limit, 1ULL << 30);
}
END_TEST

START_TEST(listed_cores_have_a_reactor_each) {
  ck_assert_int_eq(load("pin = 1,3-4\n"), 0);
  ck_assert_uint_eq(config.reactors, 3);
  ck_assert_int_eq(load("pin = 1,3-4\nreactors = 2\n"), 0);
  ck_assert_uint_eq(config.reactors, 2);
  ck_assert_int_eq(load("pin = off\n"), 0);
  ck_assert_uint_eq(config.reactors, 4);
}
END_TEST

START_TEST(rdma_settings_are_left_open) {
  static const char open[] =
      "gid-index = auto\ntraffic-class = -1\nservice-level = auto\nmtu = auto\nack-timeout = auto\nretry-count = auto\n";
  for (int given = 0; given < 2; given++) {
    ck_assert_msg(load(given ? open : "devices =\n") == 0, "%s", err.text);
    ck_assert_str_eq(config.devices, "");
    ck_assert(config.gid_index == -1 && config.traffic_class == -1 && config.service_level == -1);
    ck_assert_uint_eq(config.mtu + config.ack_timeout + config.retry_count, 0);
  }
}
END_TEST

START_TEST(a_hash_inside_a_word_is_no_comment) {
  ck_assert_int_eq(load("token-file = /etc/a#b # c\n#listen = x:1\n   # more\n"), 0);
  ck_assert_str_eq(config.token_file, "/etc/a#b");
  ck_assert_str_eq(config.listen, "");
}
END_TEST

static void add_line(void *user, const char *text) {
  FILE *f = user;
  fprintf(f, "%s\n", text);
}

/* What --check-config prints is a file that gives the same configuration. */
START_TEST(the_printed_configuration_can_be_read_back) {
  char text[4096] = "";
  ck_assert_int_eq(
      PARSE("--memory-limit", "3000000000", "--job-memory-limit", "1M", "--drain-timeout", "0.25", "--pin", "1,4-9", "--reactors", "7",
            "--devices", "a:2,b", "--gid-index", "0", "--service-level=15", "--mtu", "256", "--ack-timeout", "1"),
      0);
  ck_assert_int_eq(config_load(&args, &machine, &config, &err), 0);
  struct server_config before = config;
  FILE *f = fmemopen(text, sizeof text, "w");
  config_print(&config, add_line, f);
  fclose(f);
  ck_assert_ptr_nonnull(strstr(text, "memory-limit = 3000000000\n"));
  ck_assert_ptr_nonnull(strstr(text, "job-memory-limit = 1M\n"));
  ck_assert_ptr_nonnull(strstr(text, "pin = 1,4-9\n"));
  ck_assert_ptr_nonnull(strstr(
      text, "devices = a:2,b\ngid-index = 0\ntraffic-class = auto\nservice-level = 15\nmtu = 256\nack-timeout = 1\nretry-count = auto\n"));
  ck_assert_int_eq(load(text), 0);
  ck_assert_mem_eq(&config, &before, sizeof config);
}
END_TEST

/* ---- the file's mistakes ------------------------------------------------------------------------------------------------------------ */

static const struct {
  const char *text, *says;
} bad_file[] = {
    {"reactors = 2\nfoo = 1\n", "file:2: unknown option 'foo'"},
    {"memory-limt = 1G\n", "did you mean memory-limit?"},
    {"memory_limit = 1G\n", "did you mean memory-limit?"},
    {"just words\n", "file:1: expected 'key = value', found 'just words'"},
    {"= 3\n", "file:1: unknown option ''"},
    {"token = secret\n", "token-file"},
    {"config = other\n", "--config"},
    {"ready-fd = 3\n", "command line"},
    {"\n\nreactors = 1\nreactors = 2\n", "file:4: reactors was set in line 3"},
    {"reactors = \n", "reactors: ''"},
    {"reactors = 0\n", "whole number from 1 to 64, or auto"},
    {"reactors = 65\n", "from 1 to 64"},
    {"reactors = -1\n", "from 1 to 64"},
    {"reactors = 2 3\n", "'2 3'"},
    {"max-jobs = auto\n", "from 1 to 65536"},
    {"max-jobs = 99999999999999999999999\n", "from 1 to 65536"},
    {"max-world = 65537\n", "from 1 to 65536"},
    {"memory-limit = 12X\n", "512M"},
    {"memory-limit = 1K\n", "1M up"},
    {"memory-limit = 0\n", "1M up"},
    {"drain-timeout = soon\n", "number of seconds"},
    {"drain-timeout = -1\n", "from 0 to 86400"},
    {"drain-timeout = nan\n", "from 0 to 86400"},
    {"log-level = loud\n", "off, error, warn, info or debug"},
    {"pin = yes\n", "file:1: pin: \"yes\": expected off, auto, or cores from 0 to 8191 as in 2,4-6"},
    {"pin =\n", "pin: '': expected off, auto, or cores"},
    {"pin = 1,1\n", "pin: \"1,1\": core 1 is given twice"},
    {"memory-limit = 1G\njob-memory-limit = 2G\n", "lower it, or raise memory-limit"},
    {"listen = a\x01z\n", "control character"},
};

START_TEST(a_bad_file_names_line_and_cure) {
  int rc = load(bad_file[_i].text);
  ck_assert_msg(rc == AGG_EINVAL, "\"%s\" was taken", bad_file[_i].text);
  assert_says(bad_file[_i].says);
  assert_one_line();
}
END_TEST

START_TEST(files_that_are_no_text) {
  static const char zero[] = "reactors = 2\0\nmax-jobs = 1\n";
  write_bytes(zero, sizeof zero - 1, 0600);
  config_defaults(&config);
  ck_assert_int_eq(config_read_file(&config, path, &err), AGG_EINVAL);
  assert_says("not a text file");

  static char wide[5000];
  memset(wide, 'x', sizeof wide);
  write_bytes(wide, sizeof wide, 0600);
  ck_assert_int_eq(config_read_file(&config, path, &err), AGG_EINVAL);
  assert_says("at most 2048");

  struct rng r = {.state = 4711};
  for (int turn = 0; turn < 200; turn++) { /* whatever it is, it ends in a text or in a configuration */
    unsigned char noise[300];
    for (size_t i = 0; i < sizeof noise; i++)
      noise[i] = turn % 2 ? (unsigned char)rng_next(&r) : (unsigned char)"=# \nabco-19\t"[rng_below(&r, 12)];
    write_bytes(noise, sizeof noise, 0600);
    err.text[0] = '\0';
    if (config_read_file(&config, path, &err) != 0) ck_assert_str_ne(err.text, "");
  }
}
END_TEST

START_TEST(a_missing_file_and_a_directory) {
  config_defaults(&config);
  ck_assert_int_eq(config_read_file(&config, "/nonexistent/agg.conf", &err), AGG_ESYS);
  assert_says("/nonexistent/agg.conf");
  assert_says("No such file");
  ck_assert_int_eq(config_read_file(&config, dir, &err), AGG_ESYS);
  assert_says("directory");
}
END_TEST

START_TEST(a_value_fits_its_field_or_is_refused) {
  char value[CONFIG_HOST_MAX + 8];
  config_defaults(&config);
  memset(value, 'h', sizeof value);
  value[CONFIG_HOST_MAX - 1] = '\0';
  ck_assert_int_eq(config_set(&config, "bind", value, &err), 0);
  ck_assert_str_eq(config.bind, value);
  value[CONFIG_HOST_MAX - 1] = 'h';
  value[CONFIG_HOST_MAX] = '\0';
  ck_assert_int_eq(config_set(&config, "bind", value, &err), AGG_EINVAL);
  assert_says("at most 255");
}
END_TEST

/* ---- the command line's mistakes -------------------------------------------------------------------------------------------------- */

static const struct {
  const char *words[3];
  const char *says;
} bad_line[] = {
    {{"--nonsense"}, "unknown option --nonsense"},
    {{"--memory-limt", "1G"}, "did you mean --memory-limit?"},
    {{"--memory-limt=1G"}, "did you mean --memory-limit?"},
    {{"--checkconfig"}, "did you mean --check-config?"},
    {{"--max", "3"}, "--max is ambiguous"},
    {{"--check-config=yes"}, "--check-config takes no value"},
    {{"--reactors"}, "--reactors needs a value"},
    {{"--reactors", "x"}, "reactors: 'x'"},
    {{"--token", "secret"}, "--token-file"},
    {{"--token=secret"}, "can be read by everyone"},
    {{"--token"}, "can be read by everyone"},
    {{"--toke", "secret"}, "ambiguous"},
    {{"--ready-fd", "one"}, "'one'"},
    {{"-x"}, "unknown option -x"},
    {{"-v", "3"}, "unknown option -v"},
    {{"start"}, "unexpected argument 'start'"},
    {{"--devices", "a:0"}, "devices: \"a:0\" has no port from 1 to 255"},
    {{"--devices", "a,,b"}, "devices: \"\" is an empty entry"},
    {{"--gid-index", "-2"}, "gid-index: '-2' is not a whole number from 0 to 255, or auto"},
    {{"--traffic-class", "256"}, "from 0 to 255, or auto"},
    {{"--service-level", "16"}, "from 0 to 15, or auto"},
    {{"--mtu", "1500"}, "mtu: '1500' is not 256, 512, 1024, 2048 or 4096, or auto"},
    {{"--mtu", "0"}, "mtu: '0'"},
    {{"--ack-timeout", "0"}, "from 1 to 31, or auto"},
    {{"--retry-count", "8"}, "from 1 to 7, or auto"},
    {{"--pin", "off", "now"}, "unexpected argument 'now'"},
};

START_TEST(a_bad_command_line_names_word_and_cure) {
  const char *words[4] = {0};
  memcpy(words, bad_line[_i].words, sizeof bad_line[_i].words);
  ck_assert_int_eq(parse(words), AGG_EINVAL);
  assert_says(bad_line[_i].says);
  assert_one_line();
  ck_assert_ptr_null(strstr(err.text, "secret'")); /* what may be a secret is not repeated */
}
END_TEST

START_TEST(commands_are_flags_of_their_own) {
  ck_assert_int_eq(PARSE("--check-config", "--config", "x", "--ready-fd", "5", "--version", "--help"), 0);
  ck_assert(args.check && args.version && args.help);
  ck_assert_int_eq(args.ready_fd, 5);
  ck_assert_str_eq(args.config, "x");
  ck_assert_int_eq(PARSE("--pin", "off"), 0); /* a second parse starts from nothing */
  ck_assert(!args.check && !args.version && !args.help && args.config == NULL);
}
END_TEST

START_TEST(the_help_names_every_option) {
  char text[8192] = "", flag[64];
  FILE *f = fmemopen(text, sizeof text, "w");
  config_usage(f);
  fclose(f);
  static const char *const names[] = {"listen",       "token-file",       "transport", "bind",          "reactors",        "pin",
                                      "memory-limit", "job-memory-limit", "max-jobs",  "max-world",     "max-connections", "drain-timeout",
                                      "spin-us",      "log-level",        "config",    "check-config",  "ready-fd",        "version",
                                      "help",         "devices",          "gid-index", "traffic-class", "service-level",   "mtu",
                                      "ack-timeout",  "retry-count"};
  for (size_t i = 0; i < ARRAY_LEN(names); i++) {
    snprintf(flag, sizeof flag, "--%s", names[i]);
    ck_assert_msg(strstr(text, flag) != NULL, "%s", flag);
  }
}
END_TEST

/* ---- what the system says ------------------------------------------------------------------------------------------------------------ */

static int check(const char *listen, const char *bind, int have_token) {
  config_defaults(&config);
  str_copy(config.listen, sizeof config.listen, listen);
  str_copy(config.bind, sizeof config.bind, bind);
  return config_check(&config, have_token, &err);
}

START_TEST(without_a_token_only_loopback) {
  ck_assert_int_eq(check("", "", 0), 0);
  ck_assert_str_eq(config.listen, "127.0.0.1:7171");
  ck_assert_str_eq(config.bind, "127.0.0.1");
  ck_assert_int_eq(check("[::1]:0", "", 0), 0);
  ck_assert_str_eq(config.bind, "::1");
  static const char *const open[] = {":7171", "0.0.0.0:1", "[::]:1", "192.0.2.1:7171"};
  for (size_t i = 0; i < ARRAY_LEN(open); i++) {
    ck_assert_int_eq(check(open[i], "", 0), AGG_EINVAL);
    assert_says("without a token only loopback");
    assert_says("token-file");
    ck_assert_int_eq(check(open[i], "", 1), 0);
  }
  ck_assert_int_eq(check("", "192.0.2.1", 0), AGG_EINVAL);
  assert_says("bind");
}
END_TEST

START_TEST(with_a_token_all_addresses) {
  ck_assert_int_eq(check("", "", 1), 0);
  ck_assert_str_eq(config.listen, ":7171");
  ck_assert_str_eq(config.bind, "");
  ck_assert_int_eq(check("127.0.0.1", "", 1), 0); /* the port has a default */
  ck_assert_str_eq(config.listen, "127.0.0.1:7171");
  ck_assert_int_eq(check("[::1]", "", 1), 0);
  ck_assert_str_eq(config.listen, "[::1]:7171");
}
END_TEST

START_TEST(hosts_and_ports_that_cannot_be) {
  static const char *const bad[] = {"nosuchhost.invalid:7171", "127.0.0.1:70000", "127.0.0.1:x", "::1:7171", "[::1"};
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
    ck_assert_msg(check(bad[i], "", 1) == AGG_EINVAL, "%s", bad[i]);
    assert_says("listen");
    assert_one_line();
  }
  ck_assert_int_eq(check("", "nosuchhost.invalid", 1), AGG_EINVAL);
  assert_says("bind");
}
END_TEST

START_TEST(a_transport_that_does_not_exist) {
  config_defaults(&config);
  str_copy(config.transport, sizeof config.transport, "carrier-pigeon");
  ck_assert_int_eq(config_check(&config, 0, &err), AGG_EINVAL);
  assert_says("carrier-pigeon");
  for (const struct tp_ops *const *t = tp_all(); *t != NULL; t++) assert_says((*t)->name);
}
END_TEST

START_TEST(tokens_come_from_the_file_else_the_environment) {
  struct tokens tokens;
  config_defaults(&config);
  ck_assert_int_eq(config_tokens(&config, NULL, &tokens, &err), 0);
  ck_assert_uint_eq(tokens.n, 0);
  ck_assert_int_eq(config_tokens(&config, "", &tokens, &err), 0);
  ck_assert_uint_eq(tokens.n, 0);
  ck_assert_int_eq(config_tokens(&config, "from env", &tokens, &err), 0);
  ck_assert_str_eq(tokens.list[0], "from env");
  tokens_fini(&tokens);
  write_text("from file\n");
  str_copy(config.token_file, sizeof config.token_file, path);
  ck_assert_int_eq(config_tokens(&config, "from env", &tokens, &err), 0);
  ck_assert_uint_eq(tokens.n, 1);
  ck_assert_str_eq(tokens.list[0], "from file");
  tokens_fini(&tokens);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("server_config");
  TCase *tc = tcase_create("config");
  tcase_add_checked_fixture(tc, setup, teardown);
  tcase_set_timeout(tc, 60);
  tcase_add_test(tc, defaults_come_from_the_machine);
  tcase_add_test(tc, reactors_are_bounded_on_a_large_machine);
  tcase_add_test(tc, every_option_is_read_from_a_file);
  tcase_add_test(tc, flags_override_the_file);
  tcase_add_test(tc, auto_takes_a_choice_back);
  tcase_add_test(tc, listed_cores_have_a_reactor_each);
  tcase_add_test(tc, rdma_settings_are_left_open);
  tcase_add_test(tc, a_hash_inside_a_word_is_no_comment);
  tcase_add_test(tc, the_printed_configuration_can_be_read_back);
  tcase_add_loop_test(tc, a_bad_file_names_line_and_cure, 0, (int)ARRAY_LEN(bad_file));
  tcase_add_test(tc, files_that_are_no_text);
  tcase_add_test(tc, a_missing_file_and_a_directory);
  tcase_add_test(tc, a_value_fits_its_field_or_is_refused);
  tcase_add_loop_test(tc, a_bad_command_line_names_word_and_cure, 0, (int)ARRAY_LEN(bad_line));
  tcase_add_test(tc, commands_are_flags_of_their_own);
  tcase_add_test(tc, the_help_names_every_option);
  tcase_add_test(tc, without_a_token_only_loopback);
  tcase_add_test(tc, with_a_token_all_addresses);
  tcase_add_test(tc, hosts_and_ports_that_cannot_be);
  tcase_add_test(tc, a_transport_that_does_not_exist);
  tcase_add_test(tc, tokens_come_from_the_file_else_the_environment);
  suite_add_tcase(s, tc);
  return s;
}
