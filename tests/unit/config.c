/* The configuration: defaults, every variable with good and bad values, every launcher, which of them is believed, where the ranks meet. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agg.h"
#include "base/util.h"

static void clean_environment(void) { ck_assert_int_eq(clearenv(), 0); }

static void env(const char *name, const char *value) { ck_assert_int_eq(setenv(name, value, 1), 0); }

/* "A=1 B=2" */
static void envs(const char *pairs) {
  char text[1024];
  ck_assert(str_copy(text, sizeof text, pairs));
  for (char *save, *pair = strtok_r(text, " ", &save); pair != NULL; pair = strtok_r(NULL, " ", &save)) {
    char *equals = strchr(pair, '=');
    *equals = '\0';
    env(pair, equals + 1);
  }
}

static agg_config_t read_env(void) {
  agg_config_t c;
  agg_error_t err = {0};
  agg_config_init(&c);
  ck_assert_msg(agg_config_from_env(&c, &err) == AGG_OK, "%s", err.text);
  return c;
}

static void refused(const char *words) {
  agg_config_t c, before;
  agg_error_t err = {0};
  memset(&c, 0, sizeof c);
  agg_config_init(&c);
  before = c;
  ck_assert_msg(agg_config_from_env(&c, &err) == AGG_EINVAL, "taken, expected: %s", words);
  ck_assert_int_eq(err.code, AGG_EINVAL);
  ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" in \"%s\"", words, err.text);
  ck_assert_mem_eq(&c, &before, sizeof c); /* outputs only on success */
  ck_assert_int_eq(agg_config_from_env(&c, NULL), AGG_EINVAL);
}

/* ---- defaults ---------------------------------------------------------------------------------------------------------------- */

START_TEST(defaults_are_as_documented) {
  agg_config_t c;
  agg_config_init(&c);
  ck_assert_uint_eq(c.size, sizeof c);
  ck_assert_uint_eq(c.version, AGG_VERSION);
  ck_assert_uint_eq(c.rank, 0);
  ck_assert_uint_eq(c.world, 1);
  ck_assert_str_eq(c.job, "default");
  ck_assert_str_eq(c.transport, "auto");
  ck_assert_str_eq(c.plan, "auto");
  ck_assert_str_eq(c.servers, "");
  ck_assert_str_eq(c.coordinator, "");
  ck_assert_uint_eq(c.chunk_bytes + c.window + c.lanes + c.reactors, 0);
  ck_assert_uint_eq(c.memory_limit, 0);
  ck_assert_str_eq(c.devices, "");
  ck_assert(c.gid_index == -1 && c.traffic_class == -1 && c.service_level == -1);
  ck_assert_uint_eq(c.mtu + c.ack_timeout + c.retry_count, 0);
  ck_assert(c.timeout_s == 60 && c.join_timeout_s == 60);
  ck_assert_int_eq(c.log_level, AGG_LOG_WARN);
  ck_assert(c.log_fn == NULL);
  agg_config_init(NULL);
}
END_TEST

START_TEST(an_empty_environment_changes_nothing) {
  agg_config_t c;
  agg_config_init(&c);
  c.rank = 3, c.world = 8, c.timeout_s = 5, c.window = 9;
  str_copy(c.job, sizeof c.job, "mine");
  agg_config_t before = c;
  ck_assert_int_eq(agg_config_from_env(&c, NULL), AGG_OK);
  ck_assert_mem_eq(&c, &before, sizeof c);
}
END_TEST

START_TEST(a_config_that_was_not_initialised_is_refused) {
  agg_config_t c;
  agg_error_t err;
  memset(&c, 0, sizeof c);
  ck_assert_int_eq(agg_config_from_env(&c, &err), AGG_EINVAL);
  ck_assert(strstr(err.text, "agg_config_init") != NULL);
  ck_assert_int_eq(agg_config_from_env(NULL, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "config is NULL");
}
END_TEST

/* ---- AGG_* ------------------------------------------------------------------------------------------------------------------------ */

START_TEST(every_variable_reaches_its_field) {
  envs(
      "AGG_RANK=2 AGG_SIZE=4 AGG_LOCAL_RANK=1 AGG_JOB=night AGG_SERVERS=a:1,[::1]:2,c AGG_COORDINATOR=h:70 AGG_TOKEN=s3 AGG_TOKEN_FILE=/t");
  envs(
      "AGG_BIND=10.0.0.1 AGG_TRANSPORT=tcp AGG_PLAN=ring AGG_CHUNK=64K AGG_WINDOW=8 AGG_LANES=3 AGG_REACTORS=2 AGG_SPIN_US=7 "
      "AGG_PIN=3,5-6 AGG_MEMORY=private");
  envs(
      "AGG_DEVICES=mlx5_0:1,rxe-a.b AGG_GID_INDEX=3 AGG_TRAFFIC_CLASS=106 AGG_SERVICE_LEVEL=0 AGG_MTU=1024 AGG_ACK_TIMEOUT=31 "
      "AGG_RETRY_COUNT=1");
  envs("AGG_MEMORY_LIMIT=3G AGG_TIMEOUT=0.25 AGG_JOIN_TIMEOUT=1e3 AGG_LOG=debug");
  agg_config_t c = read_env();
  ck_assert(c.rank == 2 && c.world == 4 && c.local_rank == 1);
  ck_assert_str_eq(c.job, "night");
  ck_assert_str_eq(c.servers, "a:1,[::1]:2,c");
  ck_assert_str_eq(c.coordinator, "h:70");
  ck_assert_str_eq(c.token, "s3");
  ck_assert_str_eq(c.token_file, "/t"); /* only kept: whether it can be read is asked when it is */
  ck_assert_str_eq(c.bind_host, "10.0.0.1");
  ck_assert_str_eq(c.transport, "tcp");
  ck_assert_str_eq(c.plan, "ring");
  ck_assert(c.chunk_bytes == 65536 && c.window == 8 && c.lanes == 3 && c.reactors == 2 && c.spin_us == 7);
  ck_assert_str_eq(c.pin, "3,5-6");
  ck_assert_str_eq(c.memory, "private");
  ck_assert_uint_eq(c.memory_limit, 3ull << 30);
  ck_assert_str_eq(c.devices, "mlx5_0:1,rxe-a.b");
  ck_assert(c.gid_index == 3 && c.traffic_class == 106 && c.service_level == 0);
  ck_assert(c.mtu == 1024 && c.ack_timeout == 31 && c.retry_count == 1);
  ck_assert(c.timeout_s == 0.25 && c.join_timeout_s == 1000);
  ck_assert_int_eq(c.log_level, AGG_LOG_DEBUG);
}
END_TEST

START_TEST(every_choice_is_taken) {
  const char *const good[][2] = {{"AGG_TRANSPORT", "auto"},
                                 {"AGG_TRANSPORT", "shm"},
                                 {"AGG_PLAN", "auto"},
                                 {"AGG_PLAN", "0-32K:tree,32K-:hybrid"},
                                 {"AGG_REPRODUCIBLE", "strict"},
                                 {"AGG_TUNE", "off"},
                                 {"AGG_MEMORY", "registered"},
                                 {"AGG_MEMORY", "private"},
                                 {"AGG_COST", "hop_tcp=20us"},
                                 {"AGG_PLAN", "star"},
                                 {"AGG_PLAN", "direct"},
                                 {"AGG_LOG", "off"},
                                 {"AGG_LOG", "error"},
                                 {"AGG_LOG", "warn"},
                                 {"AGG_LOG", "info"},
                                 {"AGG_CHUNK", "0"},
                                 {"AGG_CHUNK", "1K"},
                                 {"AGG_CHUNK", "16M"},
                                 {"AGG_WINDOW", "1024"},
                                 {"AGG_LANES", "16"},
                                 {"AGG_MEMORY_LIMIT", "1000"},
                                 {"AGG_TIMEOUT", "0.001"},
                                 {"AGG_DEVICES", "a"},
                                 {"AGG_DEVICES", "a:255,b:1,c"},
                                 {"AGG_GID_INDEX", "-1"},
                                 {"AGG_GID_INDEX", "255"},
                                 {"AGG_TRAFFIC_CLASS", "255"},
                                 {"AGG_SERVICE_LEVEL", "15"},
                                 {"AGG_MTU", "0"},
                                 {"AGG_MTU", "256"},
                                 {"AGG_MTU", "4096"},
                                 {"AGG_ACK_TIMEOUT", "0"},
                                 {"AGG_RETRY_COUNT", "7"}};
  for (size_t i = 0; i < ARRAY_LEN(good); i++) {
    clean_environment();
    env(good[i][0], good[i][1]);
    read_env();
  }
}
END_TEST

START_TEST(bad_values_are_refused_by_name_value_and_expectation) {
  const char *const bad[][3] = {
      {"AGG_TRANSPORT", "rdma", "AGG_TRANSPORT=rdma: expected auto, shm, verbs or tcp"},
      {"AGG_TRANSPORT", "SHM", "AGG_TRANSPORT=SHM"},
      {"AGG_PLAN", "trees", "AGG_PLAN=trees: "},
      {"AGG_PLAN", "0-32K:tree", "AGG_PLAN=0-32K:tree: "},
      {"AGG_REPRODUCIBLE", "yes", "AGG_REPRODUCIBLE=yes: expected off or strict"},
      {"AGG_TUNE", "on", "AGG_TUNE=on: expected auto or off"},
      {"AGG_MEMORY", "auto", "AGG_MEMORY=auto: expected registered or private"},
      {"AGG_COST", "hop_tcp=20", "AGG_COST: "},
      {"AGG_CHUNK", "1000", "AGG_CHUNK=1000: expected bytes from 1K to 16M"},
      {"AGG_CHUNK", "960", "multiples of 64"},
      {"AGG_CHUNK", "17M", "AGG_CHUNK=17M"},
      {"AGG_CHUNK", "big", "AGG_CHUNK=big"},
      {"AGG_WINDOW", "1025", "AGG_WINDOW=1025: expected a whole number from 0 to 1024"},
      {"AGG_WINDOW", "-1", "AGG_WINDOW=-1"},
      {"AGG_LANES", "17", "from 0 to 16"},
      {"AGG_LANES", "2 ", "AGG_LANES=2 :"},
      {"AGG_REACTORS", "9999", "AGG_REACTORS=9999: expected a whole number from 0 to"},
      {"AGG_PIN", "yes", "AGG_PIN: \"yes\": expected off, auto, or cores from 0 to 8191 as in 2,4-6"},
      {"AGG_PIN", "1,2,1", "AGG_PIN: \"1,2,1\": core 1 is given twice"},
      {"AGG_PIN", "9999", "AGG_PIN: \"9999\": expected off, auto, or cores"},
      {"AGG_SPIN_US", "0x10", "AGG_SPIN_US=0x10"},
      {"AGG_SPIN_US", "1000001", "from 0 to 1000000"},
      {"AGG_MEMORY_LIMIT", "4T", "AGG_MEMORY_LIMIT=4T: expected bytes, as in 512M or 4G"},
      {"AGG_MEMORY_LIMIT", "99999999999G", "AGG_MEMORY_LIMIT"},
      {"AGG_TIMEOUT", "0", "AGG_TIMEOUT=0: expected seconds"},
      {"AGG_TIMEOUT", "soon", "AGG_TIMEOUT=soon"},
      {"AGG_TIMEOUT", "nan", "AGG_TIMEOUT=nan"},
      {"AGG_TIMEOUT", "inf", "AGG_TIMEOUT=inf"},
      {"AGG_JOIN_TIMEOUT", "-3", "AGG_JOIN_TIMEOUT=-3"},
      {"AGG_JOIN_TIMEOUT", "1e10", "AGG_JOIN_TIMEOUT=1e10"},
      {"AGG_LOG", "loud", "AGG_LOG=loud: expected off, error, warn, info or debug"},
      {"AGG_COORDINATOR", "host", "AGG_COORDINATOR: \"host\" has no port"},
      {"AGG_COORDINATOR", "host:99999", "AGG_COORDINATOR: "},
      {"AGG_COORDINATOR", "host:0", "port 0 cannot be found by the others"},
      {"AGG_COORDINATOR", "::1:5", "brackets"},
      {"AGG_SERVERS", "a:1,,b:2", "AGG_SERVERS: "},
      {"AGG_SERVERS", "a:1,", "AGG_SERVERS: "},
      {"AGG_SERVERS", ",", "AGG_SERVERS: "},
      {"AGG_SERVERS", "a:1,b:x", "AGG_SERVERS: \"b:x\""},
      {"AGG_SERVERS", ":7171", "AGG_SERVERS: \":7171\": expected host:port"},
      {"AGG_SERVERS", "a:0", "AGG_SERVERS: "},
      {"AGG_JOB", "two\nlines", "AGG_JOB: expected a text without control characters"},
      {"AGG_SIZE", "0", "AGG_SIZE=0: expected a whole number from 1 to 65536"},
      {"AGG_SIZE", "65537", "AGG_SIZE=65537"},
      {"AGG_SIZE", "4", "AGG_RANK is not set"},
      {"AGG_RANK", "0", "AGG_SIZE is not set"},
  };
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
    clean_environment();
    env(bad[i][0], bad[i][1]);
    refused(bad[i][2]);
  }
}
END_TEST

START_TEST(bad_rdma_settings_are_refused_likewise) {
  const char *const bad[][3] = {
      {"AGG_DEVICES", ",", "AGG_DEVICES: \"\" is an empty entry of the device list: expected NAME or NAME:PORT, as in mlx5_0:1,mlx5_1"},
      {"AGG_DEVICES", "a,", "empty entry"},
      {"AGG_DEVICES", "a,,b", "empty entry"},
      {"AGG_DEVICES", "mlx5 0", "\"mlx5 0\" is no device name"},
      {"AGG_DEVICES", "a/../b", "is no device name"},
      {"AGG_DEVICES", "\xc3\xa9", "is no device name"},
      {"AGG_DEVICES", ":1", "is no device name"},
      {"AGG_DEVICES", "a:0", "\"a:0\" has no port from 1 to 255"},
      {"AGG_DEVICES", "a:256", "no port from 1 to 255"},
      {"AGG_DEVICES", "a:", "no port from 1 to 255"},
      {"AGG_DEVICES", "a:1:2", "no port from 1 to 255"},
      {"AGG_DEVICES", "a:+1", "no port from 1 to 255"},
      {"AGG_DEVICES", "a:0000000000001", "no port from 1 to 255"},
      {"AGG_DEVICES", "b,a12345678901234567890123456789012345678901234567890123456789abcd", "longer than a device name can be"},
      {"AGG_GID_INDEX", "256", "AGG_GID_INDEX=256: expected a whole number from 0 to 255, or -1"},
      {"AGG_GID_INDEX", "-2", "AGG_GID_INDEX=-2"},
      {"AGG_TRAFFIC_CLASS", "256", "from 0 to 255, or -1"},
      {"AGG_TRAFFIC_CLASS", "0x20", "AGG_TRAFFIC_CLASS=0x20"},
      {"AGG_SERVICE_LEVEL", "16", "from 0 to 15, or -1"},
      {"AGG_MTU", "1500", "AGG_MTU=1500: expected 256, 512, 1024, 2048 or 4096"},
      {"AGG_MTU", "4K", "AGG_MTU=4K"},
      {"AGG_MTU", "4294967296", "AGG_MTU=4294967296"},
      {"AGG_ACK_TIMEOUT", "32", "from 0 to 31"},
      {"AGG_RETRY_COUNT", "8", "from 0 to 7"},
      {"AGG_RETRY_COUNT", "-1", "AGG_RETRY_COUNT=-1"},
  };
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
    clean_environment();
    env(bad[i][0], bad[i][1]);
    refused(bad[i][2]);
  }
}
END_TEST

START_TEST(ranks_must_fit_the_size) {
  envs("AGG_RANK=4 AGG_SIZE=4");
  refused("AGG_RANK=4: expected less than AGG_SIZE=4");
  envs("AGG_RANK=-1");
  refused("AGG_RANK=-1");
  envs("AGG_RANK=4294967296");
  refused("AGG_RANK=4294967296");
  envs("AGG_RANK=3 AGG_LOCAL_RANK=4");
  refused("AGG_LOCAL_RANK=4: expected a whole number from 0 to 3");
}
END_TEST

START_TEST(long_texts_are_refused_and_secrets_not_repeated) {
  char text[2000];
  memset(text, 'k', sizeof text - 1), text[sizeof text - 1] = '\0';
  const char *const names[] = {"AGG_JOB", "AGG_SERVERS", "AGG_COORDINATOR", "AGG_TOKEN", "AGG_TOKEN_FILE", "AGG_BIND", "AGG_DEVICES"};
  for (size_t i = 0; i < ARRAY_LEN(names); i++) {
    clean_environment();
    env(names[i], text);
    agg_config_t c;
    agg_error_t err;
    agg_config_init(&c);
    ck_assert_int_eq(agg_config_from_env(&c, &err), AGG_EINVAL);
    ck_assert_msg(strncmp(err.text, names[i], strlen(names[i])) == 0, "%s", err.text);
    ck_assert_ptr_null(strstr(err.text, "kkkk"));
  }
  clean_environment();
  text[127] = '\0'; /* the longest name that fits */
  env("AGG_JOB", text);
  ck_assert_str_eq(read_env().job, text);
  env("AGG_TOKEN", "secret\x01");
  agg_config_t c;
  agg_error_t err;
  agg_config_init(&c);
  ck_assert_int_eq(agg_config_from_env(&c, &err), AGG_EINVAL);
  ck_assert_ptr_null(strstr(err.text, "secret"));
}
END_TEST

START_TEST(empty_variables_count_as_not_set) {
  envs("AGG_RANK= AGG_SIZE= AGG_PLAN= AGG_TIMEOUT= AGG_SERVERS= OMPI_COMM_WORLD_RANK= PMI_RANK=1 PMI_SIZE=2");
  agg_config_t c = read_env();
  ck_assert(c.rank == 1 && c.world == 2 && c.timeout_s == 60);
  ck_assert_str_eq(c.plan, "auto");
}
END_TEST

/* ---- launchers ------------------------------------------------------------------------------------------------------------------ */

#define TORCH "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 MASTER_ADDR=node0 MASTER_PORT=29500 TORCHELASTIC_RUN_ID=run7 TORCHELASTIC_RESTART_COUNT=2 "
#define OMPI                                                                                                 \
  "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=3 OMPI_COMM_WORLD_LOCAL_SIZE=4 " \
  "PMIX_NAMESPACE=2853568513 "
#define PMI "PMI_RANK=1 PMI_SIZE=6 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=6 PMI_JOBID=77.0 "
#define SLURM                                                                                                 \
  "SLURM_STEP_ID=4 SLURM_PROCID=9 SLURM_STEP_NUM_TASKS=12 SLURM_NTASKS=99 SLURM_LOCALID=9 SLURM_JOB_ID=1234 " \
  "SLURM_STEP_NUM_NODES=1 "

static void local_address(const char *coordinator) {
  unsigned port;
  ck_assert_msg(sscanf(coordinator, "127.0.0.1:%u", &port) == 1, "%s", coordinator);
  ck_assert(port >= 20000 && port < 32000);
}

START_TEST(torchrun) {
  envs(TORCH);
  agg_config_t c = read_env();
  ck_assert(c.rank == 5 && c.world == 8 && c.local_rank == 1);
  ck_assert_str_eq(c.job, "torchrun-run7-2");
  ck_assert_str_eq(c.coordinator, "node0:29501");
  env("MASTER_ADDR", "fd00::1");
  ck_assert_str_eq(read_env().coordinator, "[fd00::1]:29501");
  env("TORCHELASTIC_RESTART_COUNT", "3");
  ck_assert_str_eq(read_env().job, "torchrun-run7-3");
}
END_TEST

START_TEST(torchrun_needs_both_ranks) {
  envs("RANK=5 WORLD_SIZE=8"); /* not torchrun: something else calls a variable RANK */
  agg_config_t c = read_env();
  ck_assert(c.rank == 0 && c.world == 1);
}
END_TEST

START_TEST(bad_torchrun_values_are_named) {
  const char *const bad[][3] = {
      {"RANK", "8", "RANK=8: expected less than WORLD_SIZE=8"},
      {"RANK", "five", "RANK=five"},
      {"WORLD_SIZE", "", "WORLD_SIZE is not set"},
      {"WORLD_SIZE", "0", "WORLD_SIZE=0"},
      {"LOCAL_RANK", "x", "LOCAL_RANK=x"},
      {"MASTER_PORT", "65535", "MASTER_PORT=65535: expected a whole number from 1 to 65534"},
      {"MASTER_PORT", "", "MASTER_PORT is not set"},
      {"MASTER_PORT", "http", "MASTER_PORT=http"},
      {"TORCHELASTIC_RUN_ID", "a\tb", "TORCHELASTIC_RUN_ID"},
      {"MASTER_ADDR", "[::1", "MASTER_ADDR=[::1"},
  };
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
    clean_environment();
    envs(TORCH);
    env(bad[i][0], bad[i][1]);
    refused(bad[i][2]);
  }
  char text[400];
  memset(text, 'r', sizeof text - 1), text[sizeof text - 1] = '\0';
  clean_environment();
  envs(TORCH);
  env("TORCHELASTIC_RUN_ID", text);
  refused("too long");
  env("TORCHELASTIC_RUN_ID", "r");
  env("MASTER_ADDR", text);
  refused("MASTER_ADDR=rrr");
}
END_TEST

START_TEST(open_mpi_on_one_host) {
  envs(OMPI);
  agg_config_t c = read_env();
  ck_assert(c.rank == 3 && c.world == 4 && c.local_rank == 3);
  ck_assert_str_eq(c.job, "openmpi-2853568513");
  local_address(c.coordinator);
  env("OMPI_COMM_WORLD_RANK", "0"); /* all ranks find the same place */
  ck_assert_str_eq(read_env().coordinator, c.coordinator);
  env("PMIX_NAMESPACE", "2853568514"); /* another run another */
  ck_assert_str_ne(read_env().coordinator, c.coordinator);
}
END_TEST

START_TEST(open_mpi_names_its_job_in_one_of_two_ways) {
  envs(OMPI "PMIX_NAMESPACE= OMPI_MCA_ess_base_jobid=99");
  agg_config_t c = read_env();
  ck_assert_str_eq(c.job, "openmpi-99");
  local_address(c.coordinator);
}
END_TEST

START_TEST(pmi) {
  envs(PMI);
  agg_config_t c = read_env();
  ck_assert(c.rank == 1 && c.world == 6 && c.local_rank == 1);
  ck_assert_str_eq(c.job, "pmi-77.0");
  local_address(c.coordinator);
}
END_TEST

START_TEST(slurm_step) {
  envs(SLURM);
  agg_config_t c = read_env();
  ck_assert(c.rank == 9 && c.world == 12 && c.local_rank == 9);
  ck_assert_str_eq(c.job, "slurm-1234-4");
  local_address(c.coordinator);
  envs("SLURM_STEP_NUM_TASKS="); /* older ones */
  ck_assert_uint_eq(read_env().world, 99);
}
END_TEST

START_TEST(slurm_without_a_step_is_no_launcher) {
  envs(SLURM "SLURM_STEP_ID=");
  agg_config_t c = read_env();
  ck_assert(c.rank == 0 && c.world == 1);
  ck_assert_str_eq(c.job, "default");
}
END_TEST

START_TEST(no_meeting_place_is_made_up) {
  const char *const unknown[] = {
      OMPI "OMPI_COMM_WORLD_LOCAL_SIZE=2", /* several hosts */
      OMPI "OMPI_COMM_WORLD_LOCAL_SIZE=",  /* who knows */
      OMPI "PMIX_NAMESPACE=",              /* no name that tells this run from others */
      PMI "MPI_LOCALNRANKS=3",
      PMI "PMI_JOBID=",
      SLURM "SLURM_STEP_NUM_NODES=2",
      SLURM "SLURM_STEP_NUM_NODES=",
      TORCH "MASTER_ADDR=",
      "AGG_RANK=0 AGG_SIZE=2",
  };
  for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
    clean_environment();
    envs(unknown[i]);
    agg_config_t c = read_env();
    ck_assert_uint_gt(c.world, 1);
    ck_assert_str_eq(c.coordinator, "");
  }
}
END_TEST

START_TEST(bad_values_of_other_launchers_are_named) {
  const char *const bad[][2] = {
      {OMPI "OMPI_COMM_WORLD_SIZE=", "OMPI_COMM_WORLD_SIZE is not set"},
      {OMPI "OMPI_COMM_WORLD_RANK=4", "OMPI_COMM_WORLD_RANK=4: expected less than OMPI_COMM_WORLD_SIZE=4"},
      {OMPI "OMPI_COMM_WORLD_LOCAL_RANK=-1", "OMPI_COMM_WORLD_LOCAL_RANK=-1"},
      {PMI "PMI_SIZE=1e3", "PMI_SIZE=1e3"},
      {PMI "PMI_RANK=a", "PMI_RANK=a"},
      {SLURM "SLURM_PROCID=12", "SLURM_PROCID=12: expected less than SLURM_STEP_NUM_TASKS=12"},
      {SLURM "SLURM_STEP_NUM_TASKS= SLURM_NTASKS=", "SLURM_NTASKS is not set"},
      {SLURM "SLURM_LOCALID=?", "SLURM_LOCALID=?"},
  };
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
    clean_environment();
    envs(bad[i][0]);
    refused(bad[i][1]);
  }
}
END_TEST

/* ---- precedence --------------------------------------------------------------------------------------------------------------------- */

START_TEST(launchers_are_consulted_in_order) {
  envs(SLURM PMI OMPI TORCH "AGG_RANK=1 AGG_SIZE=2");
  agg_config_t c = read_env();
  ck_assert(c.rank == 1 && c.world == 2);
  ck_assert_str_eq(c.job, "default");
  ck_assert_str_eq(c.coordinator, ""); /* torchrun's place is not AGG_*'s */
  envs("AGG_RANK= AGG_SIZE=");
  ck_assert_uint_eq(read_env().rank, 5);
  envs("LOCAL_RANK=");
  ck_assert_uint_eq(read_env().rank, 3);
  envs("OMPI_COMM_WORLD_RANK=");
  ck_assert_uint_eq(read_env().rank, 1);
  envs("PMI_RANK=");
  ck_assert_uint_eq(read_env().rank, 9);
}
END_TEST

START_TEST(bad_values_of_a_launcher_that_is_not_asked_do_not_matter) {
  envs(TORCH "OMPI_COMM_WORLD_RANK=bad PMI_RANK=bad");
  ck_assert_uint_eq(read_env().rank, 5);
}
END_TEST

START_TEST(a_given_coordinator_wins) {
  envs(TORCH "AGG_COORDINATOR=other:9");
  ck_assert_str_eq(read_env().coordinator, "other:9");
  clean_environment();
  envs(TORCH);
  agg_config_t c;
  agg_config_init(&c);
  str_copy(c.coordinator, sizeof c.coordinator, "program:8");
  ck_assert_int_eq(agg_config_from_env(&c, NULL), AGG_OK);
  ck_assert_str_eq(c.coordinator, "program:8");
  envs("AGG_COORDINATOR=environment:7");
  ck_assert_int_eq(agg_config_from_env(&c, NULL), AGG_OK);
  ck_assert_str_eq(c.coordinator, "environment:7");
}
END_TEST

START_TEST(servers_make_a_coordinator_needless) {
  envs(TORCH "MASTER_PORT=65535 AGG_SERVERS=store:7171");
  ck_assert_str_eq(read_env().coordinator, "");
  clean_environment();
  envs(OMPI "OMPI_COMM_WORLD_LOCAL_SIZE=1 AGG_SERVERS=store");
  ck_assert_str_eq(read_env().coordinator, "");
}
END_TEST

START_TEST(one_rank_meets_nobody) {
  envs(TORCH "WORLD_SIZE=1 RANK=0 LOCAL_RANK=0 MASTER_PORT=");
  ck_assert_str_eq(read_env().coordinator, "");
}
END_TEST

START_TEST(a_given_job_begins_the_name_of_a_launched_one) {
  envs(TORCH "AGG_JOB=night");
  ck_assert_str_eq(read_env().job, "night-run7-2");
  clean_environment();
  envs(PMI "PMI_JOBID=");
  ck_assert_str_eq(read_env().job, "pmi");
  agg_config_t c;
  agg_config_init(&c);
  str_copy(c.job, sizeof c.job, "mine");
  envs("PMI_JOBID=5");
  ck_assert_int_eq(agg_config_from_env(&c, NULL), AGG_OK);
  ck_assert_str_eq(c.job, "mine-5");
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("config");
  TCase *t = tcase_create("config");
  tcase_add_checked_fixture(t, clean_environment, NULL);
  tcase_add_test(t, defaults_are_as_documented);
  tcase_add_test(t, an_empty_environment_changes_nothing);
  tcase_add_test(t, a_config_that_was_not_initialised_is_refused);
  tcase_add_test(t, every_variable_reaches_its_field);
  tcase_add_test(t, every_choice_is_taken);
  tcase_add_test(t, bad_values_are_refused_by_name_value_and_expectation);
  tcase_add_test(t, bad_rdma_settings_are_refused_likewise);
  tcase_add_test(t, ranks_must_fit_the_size);
  tcase_add_test(t, long_texts_are_refused_and_secrets_not_repeated);
  tcase_add_test(t, empty_variables_count_as_not_set);
  tcase_add_test(t, torchrun);
  tcase_add_test(t, torchrun_needs_both_ranks);
  tcase_add_test(t, bad_torchrun_values_are_named);
  tcase_add_test(t, open_mpi_on_one_host);
  tcase_add_test(t, open_mpi_names_its_job_in_one_of_two_ways);
  tcase_add_test(t, pmi);
  tcase_add_test(t, slurm_step);
  tcase_add_test(t, slurm_without_a_step_is_no_launcher);
  tcase_add_test(t, no_meeting_place_is_made_up);
  tcase_add_test(t, bad_values_of_other_launchers_are_named);
  tcase_add_test(t, launchers_are_consulted_in_order);
  tcase_add_test(t, bad_values_of_a_launcher_that_is_not_asked_do_not_matter);
  tcase_add_test(t, a_given_coordinator_wins);
  tcase_add_test(t, servers_make_a_coordinator_needless);
  tcase_add_test(t, one_rank_meets_nobody);
  tcase_add_test(t, a_given_job_begins_the_name_of_a_launched_one);
  suite_add_tcase(s, t);
  return s;
}
