/* The setting, and the choice of cores on recorded machines: near the rail, allowed, taken by none, some left free, and why not. */
#include "pin.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "topology/discover.h"

Suite *make_suite(void);

#define DATA "tests/data/topo/"

static struct topo topo;
static struct pin_request r;
static struct pin_place places[PIN_REACTORS_MAX];
static agg_error_t err;

static void look(const char *file) {
  int rc =
      strstr(file, ".xml") != NULL ? discover_host(&(struct discover_options){.xml = file}, &topo, &err) : topo_load(file, &topo, &err);
  ck_assert_msg(rc == AGG_OK, "%s (run the tests from the root of the source tree)", err.text);
}

static void allow(const char *list) { ck_assert_int_eq(topo_cpus_parse(list, &r.allowed), 0); }
static void take(const char *list) { ck_assert_int_eq(topo_cpus_parse(list, &r.taken), 0); }
static void set(const char *text) { ck_assert_msg(pin_parse(text, &r.setting, &err) == AGG_OK, "%s", err.text); }

/* A worker with one reactor, alone on the machine of that file, all of whose CPUs are allowed. */
static void on(const char *file) {
  look(file);
  r = (struct pin_request){.setting = {.mode = PIN_AUTO}, .reactors = 1, .devices = "", .transport = "auto"};
  r.machine = topo_machine_of(&topo, 0);
  r.nodes = r.machine->n_numa;
  for (uint32_t i = 0; i < r.nodes; i++) {
    const struct topo_numa *node = &r.machine->numa[i];
    const char *list = node->cpus[0] != '\0' ? node->cpus : node->cores;
    for (int cpu = topo_cpu_next(list, -1); cpu >= 0; cpu = topo_cpu_next(list, cpu)) topo_cpus_add(&r.online, (uint32_t)cpu);
  }
  r.allowed = r.online;
}

static void choose(void) { ck_assert_msg(pin_choose(&r, places, &err) == AGG_OK, "%s", err.text); }

static void expect(unsigned reactor, const char *text) {
  char buf[PIN_TEXT_MAX];
  ck_assert_str_eq(pin_text(&places[reactor], buf), text);
}

/* One file, one expectation for reactor 0. */
static void expect_on(const char *file, const char *text) {
  on(file);
  choose();
  expect(0, text);
  topo_fini(&topo);
}

/* ---- the setting --------------------------------------------------------------------------------------------------------------------- */

START_TEST(words_and_lists_are_read) {
  struct pin_setting s;
  ck_assert_int_eq(pin_parse("off", &s, &err), AGG_OK);
  ck_assert_int_eq(s.mode, PIN_OFF);
  ck_assert_int_eq(pin_parse("auto", &s, &err), AGG_OK);
  ck_assert_int_eq(s.mode, PIN_AUTO);
  ck_assert_int_eq(pin_parse("", &s, &err), AGG_OK);
  ck_assert_int_eq(s.mode, PIN_AUTO);
  ck_assert_int_eq(pin_parse("2,4-6", &s, &err), AGG_OK);
  ck_assert(s.mode == PIN_LIST && s.n == 4 && s.core[0] == 2 && s.core[1] == 4 && s.core[2] == 5 && s.core[3] == 6);
  ck_assert_int_eq(pin_parse("8191,0", &s, &err), AGG_OK);
  ck_assert(s.n == 2 && s.core[0] == 8191 && s.core[1] == 0);
  ck_assert_int_eq(pin_parse("0-63", &s, &err), AGG_OK);
  ck_assert_uint_eq(s.n, PIN_REACTORS_MAX);
  ck_assert_int_eq(pin_check("7", &err), AGG_OK);
}
END_TEST

static const struct {
  const char *text, *says;
} bad[] = {
    {"on", "\"on\": expected off, auto, or cores from 0 to 8191 as in 2,4-6"},
    {"Auto", "expected off, auto, or cores"},
    {"1,", "\"1,\": expected off, auto, or cores"},
    {",1", "expected off, auto, or cores"},
    {"1,,2", "expected off, auto, or cores"},
    {"1-", "expected off, auto, or cores"},
    {"-1", "expected off, auto, or cores"},
    {"1-2-3", "expected off, auto, or cores"},
    {"1 2", "expected off, auto, or cores"},
    {" 1", "expected off, auto, or cores"},
    {"0x1", "expected off, auto, or cores"},
    {"8192", "cores from 0 to 8191"},
    {"99999999999999999999", "cores from 0 to 8191"},
    {"6-4", "\"6-4\": 6-4 runs backwards"},
    {"1,2,1", "core 1 is given twice"},
    {"2-5,4", "core 4 is given twice"},
    {"0-64", "more than 64 cores"},
    {"0-8191", "more than 64 cores"},
};

START_TEST(what_is_no_setting_is_refused) {
  struct pin_setting s = {.mode = PIN_OFF, .n = 77};
  ck_assert_int_eq(pin_parse(bad[_i].text, &s, &err), AGG_EINVAL);
  ck_assert_msg(strstr(err.text, bad[_i].says) != NULL, "\"%s\" instead of \"%s\"", err.text, bad[_i].says);
  ck_assert(s.mode == PIN_OFF && s.n == 77);
  ck_assert_int_eq(pin_check(bad[_i].text, NULL), AGG_EINVAL);
}
END_TEST

START_TEST(noise_ends_in_a_setting_or_a_text) {
  struct rng rng = {.state = 99};
  for (int turn = 0; turn < 20000; turn++) {
    char text[16];
    struct pin_setting s;
    size_t n = rng_below(&rng, sizeof text);
    for (size_t i = 0; i < n; i++) text[i] = "0123456789,--x"[rng_below(&rng, 14)];
    text[n] = '\0';
    err.text[0] = '\0';
    if (pin_parse(text, &s, &err) != AGG_OK) {
      ck_assert_str_ne(err.text, "");
      continue;
    }
    for (unsigned i = 0; s.mode == PIN_LIST && i < s.n; i++) {
      ck_assert_uint_lt(s.core[i], TOPO_CPUS_MAX);
      for (unsigned k = 0; k < i; k++) ck_assert_uint_ne(s.core[i], s.core[k]);
    }
  }
}
END_TEST

/* ---- auto, in a worker --------------------------------------------------------------------------------------------------------------- */

START_TEST(recorded_machines) {
  expect_on(DATA "laptop.xml", "on core 3 (NUMA node 0, PHB to wlp0s20f3)");
  expect_on(DATA "vm.xml", "on core 3 (NUMA node 0; the only one; which NIC is used is unknown)");
  expect_on(DATA "two-socket.xml", "on core 7 (NUMA node 0, PHB to mlx5_0:1)");
  expect_on(DATA "two-socket-v1.xml", "on core 7 (NUMA node 0, PHB to mlx5_0:1)");
  expect_on(DATA "dgx.xml", "on core 15 (NUMA node 0, PHB to mlx5_0:1)");
  expect_on(DATA "dgx-pod.topo", "on core 15 (NUMA node 0, PHB to mlx5_0:1)");
  expect_on(DATA "fat-tree.topo", "on core 31 (NUMA node 0, PHB to mlx5_0:1)");
}
END_TEST

START_TEST(each_reactor_is_near_its_rail) {
  on(DATA "two-socket.xml");
  r.reactors = 3;
  choose();
  expect(0, "on core 7 (NUMA node 0, PHB to mlx5_0:1)");
  expect(1, "on core 14 (NUMA node 1, PHB to mlx5_1:1)");
  expect(2, "on core 5 (NUMA node 0, PHB to mlx5_0:1)");
  r.local_rank = 1;
  choose();
  expect(0, "on core 4 (NUMA node 0, PHB to mlx5_0:1)");
  expect(1, "on core 11 (NUMA node 1, PHB to mlx5_1:1)");
  expect(2, "on core 2 (NUMA node 0, PHB to mlx5_0:1)");
  topo_fini(&topo);
}
END_TEST

START_TEST(rails_are_those_of_the_devices_setting) {
  on(DATA "dgx.xml");
  r.devices = "mlx5_6";
  choose();
  expect(0, "on core 31 (NUMA node 1, PHB to mlx5_6:1)");
  r.devices = "mlx5_7:1,mlx5_0:1,mlx5_7";
  r.reactors = 3;
  choose();
  expect(0, "on core 31 (NUMA node 1, PHB to mlx5_7:1)");
  expect(1, "on core 14 (NUMA node 0, PHB to mlx5_0:1)");
  expect(2, "on core 29 (NUMA node 1, PHB to mlx5_7:1)");
  r.devices = "mlx5"; /* a beginning is no name: the transport will say so */
  r.reactors = 1;
  choose();
  expect(0, "on core 15 (NUMA node 0; which NIC is used is unknown: the node with the most cores)");
  r.devices = "mlx5_6:2";
  choose();
  expect(0, "on core 15 (NUMA node 0; which NIC is used is unknown: the node with the most cores)");
  topo_fini(&topo);
}
END_TEST

START_TEST(sockets_take_the_only_way_or_none_is_known) {
  on(DATA "two-socket.xml");
  r.transport = "tcp";
  choose();
  expect(0, "on core 7 (NUMA node 0; which NIC is used is unknown: the node with the most cores)");
  r.transport = "shm";
  choose();
  expect(0, "on core 7 (NUMA node 0; which NIC is used is unknown: the node with the most cores)");
  topo_fini(&topo);
  on(DATA "laptop.xml");
  r.transport = "tcp";
  choose();
  expect(0, "on core 3 (NUMA node 0, PHB to wlp0s20f3)");
  r.transport = "verbs";
  choose();
  expect(0, "on core 3 (NUMA node 0; the only one; which NIC is used is unknown)");
  topo_fini(&topo);
}
END_TEST

START_TEST(a_nic_without_a_node) {
  struct topo_machine changed;
  struct topo_nic nics[8];
  on(DATA "two-socket.xml");
  changed = *r.machine;
  memcpy(nics, r.machine->nics, r.machine->n_nics * sizeof nics[0]);
  nics[0].place.numa = TOPO_NONE;
  changed.nics = nics;
  r.machine = &changed;
  allow("0-2,8-15");
  r.online = r.allowed;
  choose();
  expect(0, "on core 15 (NUMA node 1; the node of mlx5_0:1 is unknown: the one with the most cores)");
  topo_fini(&topo);
}
END_TEST

START_TEST(only_allowed_cores) {
  on(DATA "two-socket.xml");
  allow("2-5,18-19"); /* a container: 4 cores of node 0 */
  choose();
  expect(0, "on core 5 (NUMA node 0, PHB to mlx5_0:1)");
  allow("8-13"); /* none near mlx5_0 */
  choose();
  expect(0, "on core 13 (NUMA node 1, SYS to mlx5_0:1)");
  topo_fini(&topo);
}
END_TEST

START_TEST(few_cores_are_left_alone) {
  on(DATA "two-socket.xml");
  allow("3");
  choose();
  expect(0, "not pinned: 1 core is too few");
  ck_assert(!pin_needs_machine(&r));
  allow("0-2");
  choose();
  expect(0, "not pinned: 3 cores are too few");
  ck_assert(!pin_needs_machine(&r));
  allow("0-1,16-17"); /* two cores with two threads each */
  ck_assert(pin_needs_machine(&r));
  choose();
  expect(0, "not pinned: 2 cores are too few");
  allow("0,1,8,9"); /* 4 in all, 2 here: one for the reactor, one left */
  choose();
  expect(0, "on core 1 (NUMA node 0, PHB to mlx5_0:1)");
  allow("0,8,9,10");
  r.online = r.allowed;
  choose();
  expect(0, "not pinned: the 1 core of NUMA node 0 is too few for local rank 0 with 1 reactor, if each process is to have one left");
  topo_fini(&topo);
}
END_TEST

START_TEST(every_process_keeps_a_core) {
  on(DATA "two-socket.xml"); /* 8 cores in node 0 */
  for (r.local_rank = 0; r.local_rank < 4; r.local_rank++) {
    choose();
    ck_assert_int_eq(places[0].core, 7 - (int)r.local_rank);
  }
  choose();
  expect(0, "not pinned: the 8 cores of NUMA node 0 are too few for local rank 4 with 1 reactor, if each process is to have one left");
  r.local_rank = UINT32_MAX;
  choose();
  ck_assert_int_eq(places[0].core, -1);
  r.local_rank = 1;
  r.reactors = 3; /* (3 + 1) x 2 = 8: just enough */
  r.devices = "mlx5_0";
  choose();
  for (unsigned i = 0; i < 3; i++) ck_assert_int_eq(places[i].core, 4 - (int)i);
  r.reactors = 4;
  choose();
  for (unsigned i = 0; i < 4; i++) ck_assert_int_eq(places[i].core, i < 2 ? 3 - (int)i : -1);
  topo_fini(&topo);
}
END_TEST

START_TEST(a_launcher_s_cpus_are_taken_without_the_local_rank) {
  on(DATA "dgx.xml");
  r.local_rank = 6;
  allow("8-11,40-43");
  choose();
  expect(0, "on core 11 (NUMA node 0, PHB to mlx5_0:1)");
  take("11"); /* it gave them to two */
  choose();
  expect(0, "on core 10 (NUMA node 0, PHB to mlx5_0:1)");
  take("10-11");
  choose();
  expect(0, "not pinned: the cores of NUMA node 0 that could be had are taken by other processes' reactors");
  topo_fini(&topo);
}
END_TEST

START_TEST(taken_cores_are_passed_over) {
  on(DATA "two-socket.xml");
  take("7,5");
  r.reactors = 2;
  r.devices = "mlx5_0";
  choose();
  ck_assert_int_eq(places[0].core, 6);
  ck_assert_int_eq(places[1].core, 4);
  topo_fini(&topo);
}
END_TEST

START_TEST(off_is_off) {
  on(DATA "dgx.xml");
  set("off");
  r.reactors = 2;
  ck_assert(!pin_needs_machine(&r));
  choose();
  expect(0, "not pinned: off was asked for");
  expect(1, "not pinned: off was asked for");
  ck_assert_uint_eq(places[0].numa, TOPO_NONE);
  topo_fini(&topo);
}
END_TEST

START_TEST(a_machine_that_cannot_be_looked_at) {
  r = (struct pin_request){.setting = {.mode = PIN_AUTO}, .reactors = 1, .nodes = 1};
  allow("0-7");
  choose();
  expect(0, "not pinned: what is in this machine cannot be found out");
  r.server = 1;
  choose();
  expect(0, "not pinned: what is in this machine cannot be found out");
}
END_TEST

/* Whatever is allowed and taken: no core twice over all processes of a host, all allowed, none taken, one left to each process. */
START_TEST(processes_never_meet) {
  struct rng rng = {.state = 7 + (uint64_t)_i};
  static const char *const files[] = {DATA "laptop.xml", DATA "vm.xml", DATA "two-socket.xml", DATA "dgx.xml"};
  on(files[_i]);
  struct topo_cpus all = r.online;
  for (int turn = 0; turn < 400; turn++) {
    struct topo_cpus used = {{0}};
    unsigned processes = 1 + (unsigned)rng_below(&rng, 10), pinned = 0;
    r.reactors = 1 + (unsigned)rng_below(&rng, 4);
    r.allowed = r.taken = (struct topo_cpus){{0}};
    for (uint32_t cpu = 0; cpu < 64; cpu++) {
      if (topo_cpus_has(&all, cpu) && rng_below(&rng, 8) != 0) topo_cpus_add(&r.allowed, cpu);
      if (rng_below(&rng, 8) == 0) topo_cpus_add(&r.taken, cpu);
    }
    r.online = rng_below(&rng, 2) ? r.allowed : all;
    struct topo_cpus foreign = r.taken;
    for (r.local_rank = 0; r.local_rank < processes; r.local_rank++) {
      choose();
      for (unsigned i = 0; i < r.reactors; i++) {
        if (places[i].core < 0) continue;
        uint32_t core = (uint32_t)places[i].core;
        ck_assert(topo_cpus_has(&r.allowed, core) && !topo_cpus_has(&foreign, core) && !topo_cpus_has(&used, core));
        topo_cpus_add(&used, core);
        topo_cpus_add(&r.taken, core);
        pinned++;
      }
    }
    ck_assert_uint_lt(pinned, topo_cpus_count(&r.allowed));
  }
  topo_fini(&topo);
}
END_TEST

/* ---- auto, in a server --------------------------------------------------------------------------------------------------------------- */

START_TEST(a_server_has_a_core_for_each_reactor) {
  struct topo_cpus used = {{0}};
  on(DATA "two-socket.xml");
  r.server = 1;
  r.reactors = 4;
  choose();
  expect(0, "on core 0 (NUMA node 0, PHB to mlx5_0:1)");
  expect(1, "on core 8 (NUMA node 1, PHB to mlx5_1:1)");
  expect(2, "on core 1 (NUMA node 0, PHB to mlx5_0:1)");
  expect(3, "on core 9 (NUMA node 1, PHB to mlx5_1:1)");
  r.reactors = 32; /* all threads: cores first */
  choose();
  for (unsigned i = 0; i < 32; i++) {
    ck_assert_int_eq(places[i].core >= 16, i >= 16);
    ck_assert(!topo_cpus_has(&used, (uint32_t)places[i].core));
    ck_assert_uint_eq(places[i].numa, i % 2); /* both nodes have 16 threads, and each reactor is near its rail */
    topo_cpus_add(&used, (uint32_t)places[i].core);
  }
  r.reactors = 33;
  choose();
  expect(32, "not pinned: 32 cores are too few for 33 reactors");
  topo_fini(&topo);
}
END_TEST

START_TEST(a_small_server) {
  on(DATA "vm.xml");
  r.server = 1;
  allow("0");
  choose();
  expect(0, "not pinned: 1 core is too few for 1 reactor");
  ck_assert(!pin_needs_machine(&r));
  allow("1,3");
  r.reactors = 2;
  ck_assert(pin_needs_machine(&r));
  choose();
  expect(0, "on core 1 (NUMA node 0; the only one; which NIC is used is unknown)");
  expect(1, "on core 3 (NUMA node 0; the only one; which NIC is used is unknown)");
  take("3");
  choose();
  ck_assert_int_eq(places[0].core, 1);
  expect(1, "not pinned: every core is taken by other processes' reactors");
  topo_fini(&topo);
}
END_TEST

/* ---- a list -------------------------------------------------------------------------------------------------------------------------- */

START_TEST(listed_cores_in_the_order_of_the_reactors) {
  on(DATA "two-socket.xml");
  set("20,0,9");
  r.reactors = 3;
  ck_assert(pin_needs_machine(&r));
  choose();
  expect(0, "on core 20 (NUMA node 0, PHB to mlx5_0:1)"); /* a second thread */
  expect(1, "on core 0 (NUMA node 0, SYS to mlx5_1:1)");
  expect(2, "on core 9 (NUMA node 1, SYS to mlx5_0:1)");
  r.reactors = 1;
  take("20"); /* the user's word */
  choose();
  ck_assert_int_eq(places[0].core, 20);
  topo_fini(&topo);
}
END_TEST

START_TEST(a_list_needs_no_machine_on_one_node) {
  r = (struct pin_request){.reactors = 1, .nodes = 1};
  set("1");
  allow("0-1");
  r.online = r.allowed;
  ck_assert(!pin_needs_machine(&r));
  choose();
  expect(0, "on core 1");
  r.nodes = 2;
  ck_assert(pin_needs_machine(&r));
  choose(); /* and could not be looked at */
  expect(0, "on core 1");
  ck_assert_uint_eq(places[0].numa, TOPO_NONE);
}
END_TEST

static void expect_refused(const char *list, unsigned reactors, const char *text) {
  set(list);
  r.reactors = reactors;
  ck_assert_int_eq(pin_choose(&r, places, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, text);
}

START_TEST(a_list_that_cannot_be) {
  r = (struct pin_request){.nodes = 1};
  allow("0-3,8");
  ck_assert_int_eq(topo_cpus_parse("0-15", &r.online), 0);
  expect_refused("2,5", 1, "core 5 is not allowed here: this process may run on 0-3,8 (taskset, numactl, cpuset, launcher)");
  expect_refused("2,16", 1, "core 16 is not there: this machine has 0-15");
  expect_refused("2", 2, "1 core for 2 reactors: give each its own, or say auto");
  expect_refused("0-3,8", 6, "5 cores for 6 reactors: give each its own, or say auto");
  r.online = (struct topo_cpus){{0}}; /* unknown */
  expect_refused("16", 1, "core 16 is not allowed here: this process may run on 0-3,8 (taskset, numactl, cpuset, launcher)");
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("unit/pin");
  TCase *c = tcase_create("pin");
  tcase_add_test(c, words_and_lists_are_read);
  tcase_add_loop_test(c, what_is_no_setting_is_refused, 0, (int)ARRAY_LEN(bad));
  tcase_add_test(c, noise_ends_in_a_setting_or_a_text);
  tcase_add_test(c, recorded_machines);
  tcase_add_test(c, each_reactor_is_near_its_rail);
  tcase_add_test(c, rails_are_those_of_the_devices_setting);
  tcase_add_test(c, sockets_take_the_only_way_or_none_is_known);
  tcase_add_test(c, a_nic_without_a_node);
  tcase_add_test(c, only_allowed_cores);
  tcase_add_test(c, few_cores_are_left_alone);
  tcase_add_test(c, every_process_keeps_a_core);
  tcase_add_test(c, a_launcher_s_cpus_are_taken_without_the_local_rank);
  tcase_add_test(c, taken_cores_are_passed_over);
  tcase_add_test(c, off_is_off);
  tcase_add_test(c, a_machine_that_cannot_be_looked_at);
  tcase_add_loop_test(c, processes_never_meet, 0, 4);
  tcase_add_test(c, a_server_has_a_core_for_each_reactor);
  tcase_add_test(c, a_small_server);
  tcase_add_test(c, listed_cores_in_the_order_of_the_reactors);
  tcase_add_test(c, a_list_needs_no_machine_on_one_node);
  tcase_add_test(c, a_list_that_cannot_be);
  suite_add_tcase(s, c);
  return s;
}
