/* Binding on this machine, each read back. What this kernel forbids (a container's seccomp) is skipped by name. */
#include "topology/bind.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "mem/host.h"
#include "pages.h"
#include "pinning.h"
#include "topology/discover.h"

Suite *make_suite(void);

static agg_error_t err;

/* ---- memory -------------------------------------------------------------------------------------------------------------------------- */

/* The NUMA nodes that have memory, in *nodes; returns their number. */
static unsigned nodes_here(uint32_t nodes[TOPO_DEVICES_MAX]) {
  struct topo t;
  unsigned n = 0;
  ck_assert_msg(discover_host(&(struct discover_options){0}, &t, &err) == AGG_OK, "%s", err.text);
  const struct topo_machine *m = topo_machine_of(&t, 0);
  for (uint32_t i = 0; i < m->n_numa; i++) nodes[n++] = m->numa[i].number;
  topo_fini(&t);
  return n;
}

static int skipped(const char *what) {
  printf("skipped: %s: %s\n", what, err.text);
  return 1;
}

/* 1: bound and read back. */
static int bind_and_look(const struct bind *b, size_t bytes, uint32_t node) {
  struct mem_block block;
  unsigned char other = 1;
  ck_assert_int_eq(mem_block_alloc(bytes, 1, &block, &err), AGG_OK);
  int rc = bind_memory(b, block.addr, block.len, node, &err);
  ck_assert_msg(rc == AGG_OK || rc == AGG_ESYS, "%d", rc);
  if (rc == AGG_OK) {
    unsigned char *at = block.addr;
    for (size_t i = 0; i < block.len; i++) other = other && at[i] == 0;
    ck_assert_uint_eq(other, 1);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < block.len; i += page) {
      at[i] = 1;
      int is = bind_memory_node(b, at + i);
      ck_assert_msg(is == (int)node || is < 0, "page %zu is on node %d, not %u", i / page, is, node);
    }
  }
  mem_block_free(&block);
  return rc == AGG_OK;
}

START_TEST(memory_is_where_it_was_bound_to) {
  struct bind *b;
  uint32_t nodes[TOPO_DEVICES_MAX];
  unsigned n = nodes_here(nodes);
  ck_assert_uint_ge(n, 1);
  ck_assert_msg(bind_open(&b, &err) == AGG_OK, "%s", err.text);
  for (unsigned i = 0; i < n; i++) {
    if (!bind_and_look(b, 1 << 20, nodes[i]) && skipped("memory_is_where_it_was_bound_to")) break;
    ck_assert(bind_and_look(b, 1, nodes[i]));
    ck_assert(bind_and_look(b, (9 << 20) + 1, nodes[i]));
  }
  bind_close(b);
}
END_TEST

START_TEST(no_such_node) {
  struct bind *b;
  struct mem_block block;
  static const uint32_t none[] = {4095, TOPO_NUMBER_MAX, TOPO_NUMBER_MAX + 1, UINT32_MAX};
  ck_assert_int_eq(bind_open(&b, &err), AGG_OK);
  ck_assert_int_eq(mem_block_alloc(1 << 16, 1, &block, &err), AGG_OK);
  for (size_t i = 0; i < ARRAY_LEN(none); i++) {
    char number[16];
    snprintf(number, sizeof number, "%u", none[i]);
    ck_assert_int_eq(bind_memory(b, block.addr, block.len, none[i], &err), AGG_ESYS);
    ck_assert_msg(strstr(err.text, number) != NULL, "%s", err.text);
  }
  memset(block.addr, 1, block.len); /* it can be used all the same */
  mem_block_free(&block);
  bind_close(b);
  bind_close(NULL);
}
END_TEST

START_TEST(nodes_are_counted_without_hwloc) {
  uint32_t nodes[TOPO_DEVICES_MAX];
  struct topo_cpus online;
  ck_assert_uint_ge(discover_numa_nodes(), nodes_here(nodes)); /* hwloc leaves those out that are not allowed */
  if (discover_online(&online) == 0) ck_assert_uint_eq(topo_cpus_count(&online), (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------------------------------- */

struct other {
  pthread_barrier_t barrier;
  cpu_set_t is;
};

static void *other_main(void *arg) {
  struct other *o = arg;
  pthread_barrier_wait(&o->barrier);
  ck_assert_int_eq(sched_getaffinity(0, sizeof o->is, &o->is), 0);
  return NULL;
}

START_TEST(a_thread_is_where_it_was_bound_to_and_others_stay) {
  cpu_set_t before, after;
  ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    struct other o;
    pthread_t thread;
    if (!CPU_ISSET((size_t)cpu, &before)) continue;
    pthread_barrier_init(&o.barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, other_main, &o), 0);
    ck_assert_msg(bind_thread(thread, cpu, &err) == AGG_OK, "%s", err.text);
    pthread_barrier_wait(&o.barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&o.barrier);
    ck_assert(CPU_COUNT(&o.is) == 1 && CPU_ISSET((size_t)cpu, &o.is));
  }
  ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
  ck_assert(CPU_EQUAL(&before, &after));
}
END_TEST

START_TEST(a_core_that_is_not_there) {
  cpu_set_t before, after;
  static const int none[] = {-1, TOPO_CPUS_MAX - 1, TOPO_CPUS_MAX, INT32_MAX};
  ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
  for (size_t i = 0; i < ARRAY_LEN(none); i++) {
    ck_assert_int_eq(bind_thread(pthread_self(), none[i], &err), AGG_EINVAL);
    ck_assert_msg(strstr(err.text, "core ") == err.text, "%s", err.text);
  }
  ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
  ck_assert(CPU_EQUAL(&before, &after));
}
END_TEST

/* ---- a process's reactors ------------------------------------------------------------------------------------------------------------ */

static int first_allowed(void) {
  cpu_set_t set;
  ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
  int cpu = 0;
  while (!CPU_ISSET((size_t)cpu, &set)) cpu++;
  return cpu;
}

/* Which cores are taken is known by network namespace: in one of its own no test that runs beside this one has any. Where that is not
 * allowed, they had better not meet. */
static void alone(void) {
  if (unshare(CLONE_NEWNET) != 0) (void)!unshare(CLONE_NEWUSER | CLONE_NEWNET);
}

static void keep_line(void *user, agg_log_level_t level, const char *line) {
  (void)level;
  size_t used = strlen(user);
  snprintf((char *)user + used, 2048 - used, "%s\n", line);
}

/* Two servers on one machine: what the first has taken the second leaves alone, until the first is gone. */
START_TEST(a_core_is_taken_once) {
  char lines[2048] = "", text[PIN_TEXT_MAX];
  struct log log;
  struct pinning one, two;
  log_init(&log, AGG_LOG_INFO, keep_line, lines);
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  struct pinning_config c = {.log = &log, .setting = "auto", .server = 1, .reactors = 2, .devices = "", .transport = "auto"};
  ck_assert_msg(pinning_start(&one, &c, &err) == AGG_OK, "%s", err.text);
  ck_assert_msg(pinning_start(&two, &c, &err) == AGG_OK, "%s", err.text);
  for (unsigned i = 0; i < 2; i++)
    for (unsigned k = 0; k < 2; k++) ck_assert(pinning_core(&one, i) < 0 || pinning_core(&one, i) != pinning_core(&two, k));
  pinning_say(&two, &log);
  if (pinning_core(&one, 0) >= 0 && cores == 2) {
    ck_assert_str_eq(pin_text(&two.places[0], text), "not pinned: every core is taken by other processes' reactors");
    ck_assert_ptr_nonnull(strstr(lines, "reactors are not pinned: every core is taken"));
  }
  int had = pinning_core(&one, 0);
  pinning_stop(&one);
  pinning_stop(&two);
  ck_assert_int_eq(pinning_core(&one, 0), -1);
  ck_assert_int_eq(pinning_start(&two, &c, &err), AGG_OK);
  ck_assert_int_eq(pinning_core(&two, 0), had);
  pinning_failed(&two, 0);
  ck_assert_int_eq(pinning_core(&two, 0), -1);
  ck_assert_int_eq(pinning_node(&two, 0), -1);
  pinning_stop(&two);
  pinning_stop(&two);
}
END_TEST

START_TEST(a_list_s_cores_are_had_though_they_are_taken) {
  char lines[2048] = "", setting[16], says[64];
  struct log log;
  struct pinning one, two;
  int cpu = first_allowed();
  log_init(&log, AGG_LOG_WARN, keep_line, lines);
  snprintf(setting, sizeof setting, "%d", cpu);
  struct pinning_config c = {.log = &log, .setting = setting, .reactors = 1, .devices = "", .transport = "auto"};
  snprintf(says, sizeof says, "core %d has a reactor of another process already", cpu);
  ck_assert_int_eq(pinning_start(&one, &c, &err), AGG_OK);
  ck_assert_str_eq(lines, "");
  ck_assert_int_eq(pinning_start(&two, &c, &err), AGG_OK);
  ck_assert_msg(strstr(lines, says) == lines, "%s", lines);
  ck_assert_int_eq(pinning_core(&two, 0), cpu);
  pinning_stop(&one);
  pinning_stop(&two);
  c.setting = "8191";
  ck_assert_int_eq(pinning_start(&two, &c, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "core 8191 is not "));
  ck_assert(two.n == 0 && two.places == NULL);
  c.setting = "?";
  ck_assert_int_eq(pinning_start(&two, &c, &err), AGG_EINVAL);
}
END_TEST

/* ---- pages in words ------------------------------------------------------------------------------------------------------------------ */

#define MIB (1ull << 20)

START_TEST(pages_in_words) {
  char text[PAGES_TEXT_MAX], want[PAGES_TEXT_MAX];
  long kib = sysconf(_SC_PAGESIZE) / 1024;
  struct plane_where w = {.bytes = 64 * MIB, .huge_bytes = 64 * MIB, .node = 0};
  ck_assert_str_eq(pages_text(&w, 512, text), "64.0 MiB of windows on NUMA node 0: huge pages");
  w = (struct plane_where){.bytes = 64 * MIB, .node = 1};
  snprintf(want, sizeof want, "64.0 MiB of windows on NUMA node 1: %ld KiB pages (vm.nr_hugepages is 0)", kib);
  ck_assert_str_eq(pages_text(&w, 0, text), want);
  w.node = -1;
  snprintf(want, sizeof want, "64.0 MiB of windows: %ld KiB pages (too few of the 7 huge pages (vm.nr_hugepages) are free)", kib);
  ck_assert_str_eq(pages_text(&w, 7, text), want);
  w = (struct plane_where){.bytes = 2 * MIB, .small_bytes = 2 * MIB, .node = -1};
  snprintf(want, sizeof want, "2.0 MiB of windows: %ld KiB pages (blocks below 4 MiB)", kib);
  ck_assert_str_eq(pages_text(&w, 0, text), want);
  w = (struct plane_where){.bytes = 20 * MIB, .huge_bytes = 12 * MIB, .node = -1};
  snprintf(want, sizeof want, "20.0 MiB of windows: 12.0 MiB in huge pages, the rest in %ld KiB pages (vm.nr_hugepages is 0)", kib);
  ck_assert_str_eq(pages_text(&w, 0, text), want);
}
END_TEST

START_TEST(pages_are_summed_by_node) {
  char lines[2048] = "";
  struct log log;
  struct pages p = {0};
  log_init(&log, AGG_LOG_INFO, keep_line, lines);
  pages_say(&p, &log, "communicator 1");
  ck_assert_str_eq(lines, "");
  for (int i = 0; i < 4; i++) pages_add(&p, &(struct plane_where){.bytes = MIB, .huge_bytes = MIB, .node = i % 2});
  pages_add(&p, &(struct plane_where){.node = 5}); /* nothing */
  pages_add(&p, &(struct plane_where){.bytes = MIB, .huge_bytes = MIB, .node = -1, .why = "it was full"});
  pages_say(&p, &log, "communicator 1");
  ck_assert_str_eq(lines,
                   "communicator 1: windows are not where they should be: it was full\n"
                   "communicator 1: 2.0 MiB of windows on NUMA node 0: huge pages\n"
                   "communicator 1: 2.0 MiB of windows on NUMA node 1: huge pages\n"
                   "communicator 1: 1.0 MiB of windows: huge pages\n");
  for (int i = 0; i < 40; i++) pages_add(&p, &(struct plane_where){.bytes = MIB, .node = i});
  ck_assert_uint_eq(p.n, PAGES_NODES_MAX);
  uint64_t sum = 0;
  for (unsigned i = 0; i < p.n; i++) sum += p.on[i].bytes;
  ck_assert_uint_eq(sum, 45 * MIB);
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("unit/bind");
  TCase *c = tcase_create("bind");
  tcase_add_checked_fixture(c, alone, NULL);
  tcase_add_test(c, memory_is_where_it_was_bound_to);
  tcase_add_test(c, no_such_node);
  tcase_add_test(c, nodes_are_counted_without_hwloc);
  tcase_add_test(c, a_thread_is_where_it_was_bound_to_and_others_stay);
  tcase_add_test(c, a_core_that_is_not_there);
  tcase_add_test(c, a_core_is_taken_once);
  tcase_add_test(c, a_list_s_cores_are_had_though_they_are_taken);
  tcase_add_test(c, pages_in_words);
  tcase_add_test(c, pages_are_summed_by_node);
  suite_add_tcase(s, c);
  return s;
}
