/* The text form on random descriptions: what is dumped loads as the same, damaged text, and size. A seed is one description. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "tests/lib/topotext.h"
#include "topology/topo.h"
#include "topology/topo_internal.h"

Suite *make_suite(void);

#define G (1000000000ull / 8)

/* ---- round trips ------------------------------------------------------------------------------------------------------------------- */

static uint64_t random_speed(struct rng *r) {
  static const uint64_t USUAL[] = {1, 10, 25, 40, 50, 100, 200, 400, 800};
  if (rng_below(r, 5) == 0) return 0;
  return rng_below(r, 3) == 0 ? TOPO_SPEED_MIN + rng_below(r, TOPO_SPEED_MAX - TOPO_SPEED_MIN) : USUAL[rng_below(r, ARRAY_LEN(USUAL))] * G;
}

static uint64_t random_memory(struct rng *r) {
  return rng_below(r, 4) == 0 ? 0 : TOPO_MEMORY_MIN + (rng_next(r) >> (14 + rng_below(r, 40)));
}

static void random_place(struct rng *r, uint32_t n_numa, struct topo_place *p) {
  memset(p, 0, sizeof *p);
  p->pcie = random_speed(r);
  p->numa = n_numa > 0 && rng_below(r, 4) > 0 ? (uint32_t)rng_below(r, n_numa) : TOPO_NONE;
  if (rng_below(r, 4) == 0) return;
  snprintf(p->pci, sizeof p->pci, "%04x:%02x:%02x.%u", (unsigned)rng_below(r, 0x20000), (unsigned)rng_below(r, 256),
           (unsigned)rng_below(r, 32), (unsigned)rng_below(r, 8));
  if (rng_below(r, 4) == 0) return;
  size_t used = (size_t)snprintf(p->path, sizeof p->path, "pci%04x:%02x", (unsigned)rng_below(r, 0x20000), (unsigned)rng_below(r, 256));
  for (uint64_t n = rng_below(r, TOPO_BRIDGES_MAX + 1); n > 0; n--) {
    used += (size_t)snprintf(p->path + used, sizeof p->path - used, "/%04x:%02x:%02x.%u", (unsigned)rng_below(r, 0x20000),
                             (unsigned)rng_below(r, 256), (unsigned)rng_below(r, 32), (unsigned)rng_below(r, 8));
  }
}

static struct topo_numa random_numa(struct rng *r, uint32_t number, uint32_t index) {
  struct topo_numa n = {.number = number, .memory = random_memory(r)};
  uint32_t first = index * 128, cores = 1 + (uint32_t)rng_below(r, 32);
  if (rng_below(r, 6) == 0) return n;
  n.n_cores = n.n_cpus = cores;
  snprintf(n.cores, sizeof n.cores, cores > 1 ? "%u-%u" : "%u", first, first + cores - 1);
  snprintf(n.cpus, sizeof n.cpus, "%s", n.cores);
  if (rng_below(r, 2) == 0 || cores < 2) return n;
  n.n_cpus = 2 * cores + 1; /* two lists that differ, with a hole */
  snprintf(n.cpus, sizeof n.cpus, "%u-%u", first, first + 2 * cores);
  n.n_cores = 2;
  snprintf(n.cores, sizeof n.cores, "%u,%u", first, first + 2 * cores);
  return n;
}

static uint32_t random_machine(struct rng *r, struct topo *t) {
  struct topo_numa numa[4];
  struct topo_nic nics[9];
  struct topo_gpu gpus[8];
  struct topo_bridge bridges[5];
  struct topo_machine m = {.numa = numa, .nics = nics, .gpus = gpus, .bridges = bridges, .memory = random_memory(r)};
  m.n_numa = (uint32_t)rng_below(r, ARRAY_LEN(numa) + 1);
  m.n_nics = (uint32_t)rng_below(r, ARRAY_LEN(nics) + 1);
  m.n_gpus = (uint32_t)rng_below(r, ARRAY_LEN(gpus) + 1);
  for (uint32_t i = 0; i < m.n_numa; i++) numa[i] = random_numa(r, i * 3 + (uint32_t)rng_below(r, 3), i);
  for (uint32_t i = 0; i < m.n_nics; i++) {
    nics[i] = (struct topo_nic){
        .speed = random_speed(r), .link = (uint8_t)rng_below(r, TOPO_LINK_COUNT), .state = (uint8_t)rng_below(r, TOPO_STATE_COUNT)};
    nics[i].rail = rng_below(r, 3) == 0 ? TOPO_NONE : (uint32_t)rng_below(r, 9);
    uint64_t names = rng_below(r, 3);
    if (names != 0) snprintf(nics[i].rdma, sizeof nics[i].rdma, "mlx5_%u:%u", i, 1 + (unsigned)rng_below(r, 255));
    char netdev[40];
    snprintf(netdev, sizeof netdev, "eth%u.%u@x", i, (unsigned)rng_below(r, 100));
    if (names != 1) str_copy(nics[i].netdev, sizeof nics[i].netdev, netdev);
    random_place(r, m.n_numa, &nics[i].place);
  }
  for (uint32_t i = 0; i < m.n_gpus; i++) {
    gpus[i] = (struct topo_gpu){.number = i * 2};
    if (rng_below(r, 2) == 0) snprintf(gpus[i].name, sizeof gpus[i].name, "GPU-%u.x_y", i);
    random_place(r, m.n_numa, &gpus[i].place);
  }
  for (uint32_t i = 0; i < m.n_nics && m.n_bridges < ARRAY_LEN(bridges); i++) { /* some that are the last above a NIC */
    const char *last = strrchr(nics[i].place.path, '/');
    uint64_t pcie = random_speed(r);
    if (last == NULL || rng_below(r, 2) == 0) continue;
    struct topo_bridge *b = &bridges[m.n_bridges++];
    *b = (struct topo_bridge){.pcie = MAX_OF(pcie, TOPO_SPEED_MIN)};
    str_copy(b->pci, sizeof b->pci, last + 1);
  }
  uint32_t index;
  ck_assert_int_eq(topo_add_machine(t, &m, &index, NULL), AGG_OK);
  return index;
}

static void random_topo(uint64_t seed, struct topo *t) {
  struct rng r = {.state = seed};
  topo_init(t);
  uint32_t switches = 1 + (uint32_t)rng_below(&r, 6), machines = 1 + (uint32_t)rng_below(&r, 3), hosts = 1 + (uint32_t)rng_below(&r, 40);
  for (uint32_t i = 0; i < switches; i++) {
    struct topo_switch s = {.parent = i > 0 ? (uint32_t)rng_below(&r, i) : TOPO_NONE};
    snprintf(s.name, sizeof s.name, "s%u", i);
    if (i > 0) s.up = s.down = random_speed(&r);
    if (i > 0 && rng_below(&r, 3) == 0) s.down = random_speed(&r);
    ck_assert_int_eq(topo_add_switch(t, &s, NULL, NULL), AGG_OK);
  }
  uint32_t kinds[3];
  for (uint32_t i = 0; i < machines; i++) kinds[i] = random_machine(&r, t);
  uint32_t number = (uint32_t)rng_below(&r, 120);
  int width = (int)rng_below(&r, 4);
  struct topo_host h = {.machine = kinds[0]};
  for (uint32_t i = 0; i < hosts; i++) {
    if (rng_below(&r, 4) == 0) {
      h = (struct topo_host){
          .machine = kinds[rng_below(&r, machines)], .on = (uint32_t)rng_below(&r, switches), .workers = (uint32_t)rng_below(&r, 9)};
      h.servers = (uint32_t)rng_below(&r, 2);
    }
    number += rng_below(&r, 8) == 0 ? 2 : 1;
    snprintf(h.name, sizeof h.name, "rack7-node%0*u%s", width, number, seed % 2 == 0 ? ".cluster" : "");
    ck_assert_int_eq(topo_add_host(t, &h, NULL, NULL), AGG_OK);
  }
  if (rng_below(&r, 2) == 0) topo_note(t, "a note of %u = %s", number, "x [1-2] ");
}

START_TEST(what_is_dumped_loads_as_the_same) {
  for (uint64_t seed = 1; seed <= 400; seed++) {
    struct topo a, b;
    agg_error_t err = {0};
    random_topo(seed, &a);
    ck_assert_msg(topo_check(&a, &err) == AGG_OK, "seed %u: %s", (unsigned)seed, err.text);
    char *text = topotext_dump(&a);
    ck_assert_msg(topo_parse(text, strlen(text), "dump", &b, &err) == AGG_OK, "seed %u: %s", (unsigned)seed, err.text);
    char *again = topotext_dump(&b);
    for (size_t at = 0; text[at] != '\0' || again[at] != '\0'; at++) {
      ck_assert_msg(text[at] == again[at], "seed %u: \"%.200s\" came back as \"%.200s\"", (unsigned)seed, text + at, again + at);
    }
    ck_assert_uint_eq(a.n_switches, b.n_switches);
    ck_assert_uint_eq(a.n_hosts, b.n_hosts);
    for (uint32_t i = 0; i < a.n_switches; i++) {
      ck_assert_str_eq(a.switches[i].name, b.switches[i].name);
      ck_assert(a.switches[i].parent == b.switches[i].parent && a.switches[i].up == b.switches[i].up &&
                a.switches[i].down == b.switches[i].down);
    }
    uint32_t machines = b.n_machines;
    for (uint32_t i = 0; i < a.n_hosts; i++) {
      uint32_t same;
      const struct topo_host *x = &a.hosts[i], *y = &b.hosts[i];
      ck_assert_str_eq(x->name, y->name);
      ck_assert(x->on == y->on && x->workers == y->workers && x->servers == y->servers);
      ck_assert_int_eq(topo_add_machine(&b, topo_machine_of(&a, i), &same, NULL), AGG_OK); /* finds the one that is equal */
      ck_assert_msg(same == y->machine && b.n_machines == machines, "seed %u: host %s is built in another way", (unsigned)seed, x->name);
    }
    free(text);
    free(again);
    topo_fini(&a);
    topo_fini(&b);
  }
}
END_TEST

/* ---- damage ------------------------------------------------------------------------------------------------------------------------ */

static size_t mutate(struct rng *r, char *text, size_t n, size_t cap) {
  static const char *const PIECES[] = {"\n",    " ",       "=", "[1-9]",    "host ",   "switch ", "nic ",
                                       "numa ", "parent=", "#", "topo 1\n", "unknown", "-1",      "99999999999999999999",
                                       "\xff",  ","};
  size_t at = n > 0 ? rng_below(r, n) : 0, length = rng_below(r, 100);
  switch (rng_below(r, 5)) {
    case 0: /* another byte */
      if (n > 0) text[at] = (char)rng_next(r);
      return n;
    case 1: /* a part goes */
      length = MIN_OF(length, n - at);
      memmove(text + at, text + at + length, n - at - length);
      return n - length;
    case 2: /* a part comes again */
      length = MIN_OF(MIN_OF(length, n - at), cap - n);
      memmove(text + at + length, text + at, n - at);
      return n + length;
    case 3: { /* a piece comes */
      const char *piece = PIECES[rng_below(r, ARRAY_LEN(PIECES))];
      length = MIN_OF(strlen(piece), cap - n);
      memmove(text + at + length, text + at, n - at);
      memcpy(text + at, piece, length);
      return n + length;
    }
    default: /* it is cut off */
      return rng_below(r, 8) == 0 ? at : n;
  }
}

/* A valid description or one line that begins with the file's name, whatever the bytes are. */
START_TEST(damaged_text_gives_an_error_or_a_valid_description) {
  unsigned taken = 0, refused = 0;
  for (uint64_t seed = 1; seed <= 4000; seed++) {
    struct rng r = {.state = seed * 977};
    struct topo t;
    agg_error_t err = {0};
    random_topo(seed % 50 + 1, &t);
    char *text = topotext_dump(&t);
    topo_fini(&t);
    size_t n = strlen(text), cap = n + 4096;
    char *damaged = malloc(cap);
    ck_assert_ptr_nonnull(damaged);
    memcpy(damaged, text, n);
    free(text);
    for (uint64_t k = 1 + rng_below(&r, 6); k > 0; k--) n = mutate(&r, damaged, n, cap);
    char *exact = malloc(MAX_OF(n, 1u)); /* so that a byte too many is seen */
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, damaged, n);
    free(damaged);
    int rc = topo_parse(exact, n, "FILE", &t, &err);
    if (rc == AGG_OK) {
      ck_assert_msg(topo_check(&t, &err) == AGG_OK, "seed %u: %s", (unsigned)seed, err.text);
      free(topotext_dump(&t));
      topo_fini(&t);
      taken++;
    } else {
      ck_assert_msg(strncmp(err.text, "FILE:", 5) == 0 && strchr(err.text, '\n') == NULL, "seed %u: %s", (unsigned)seed, err.text);
      refused++;
    }
    free(exact);
  }
  ck_assert_uint_gt(taken, 100); /* the damage is not always the same */
  ck_assert_uint_gt(refused, 1000);
}
END_TEST

/* ---- size -------------------------------------------------------------------------------------------------------------------------- */

/* Each host is on a line of its own with a NIC of its own, and none is like another. Says how long it took and does not judge, since that
 * is the machine's mood as well. */
static void load_many(unsigned hosts) {
  struct timespec from, to;
  size_t cap = hosts * 320ul + 65536, n = 0;
  char *text = malloc(cap);
  struct topo t;
  agg_error_t err = {0};
  ck_assert_ptr_nonnull(text);
  n += (size_t)snprintf(text + n, cap - n, "topo 1\nswitch spine\nswitch rack[0-%u] parent=spine uplink=400G\n", hosts / 32 - 1);
  for (unsigned i = 0; i < hosts; i++) {
    n += (size_t)snprintf(text + n, cap - n,
                          "host node%u workers=1 switch=rack%u memory=%uM\n  numa 0 cores=0-31 memory=256G\n"
                          "  nic mlx5_0:1 speed=100G numa=0 rail=0 pci=0000:17:00.0 path=pci0000:16/0000:16:01.0\n",
                          i, i / 32, 1024 + i);
  }
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
  ck_assert_msg(topo_parse(text, n, "FILE", &t, &err) == AGG_OK, "%s", err.text);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
  ck_assert_uint_eq(t.n_hosts, hosts);
  ck_assert_uint_eq(t.n_machines, hosts);
  for (unsigned i = 0; i < hosts; i += 997) ck_assert_uint_eq(topo_find_host(&t, t.hosts[i].name), i);
  topo_fini(&t);
  free(text);
  printf("%u hosts of as many kinds: %ld us\n", hosts, (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000);
}

START_TEST(many_hosts_load) {
  load_many(1024);
  load_many(16384);
  load_many(65536);
}
END_TEST

START_TEST(a_chain_of_many_switches_is_no_trouble) {
  size_t cap = 65536 * 48, n = 0;
  char *text = malloc(cap);
  struct topo t;
  ck_assert_ptr_nonnull(text);
  n += (size_t)snprintf(text, cap, "topo 1\nswitch s0\nhost a workers=1 switch=s65535\n");
  for (unsigned i = 1; i < 65536; i++) n += (size_t)snprintf(text + n, cap - n, "switch s%u parent=s%u uplink=1G\n", i, i - 1);
  topotext_parse(text, &t);
  ck_assert_uint_eq(t.n_switches, 65536);
  topo_fini(&t);
  free(text);
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("topo_random");
  TCase *properties = tcase_create("properties");
  tcase_set_timeout(properties, 120);
  tcase_add_test(properties, what_is_dumped_loads_as_the_same);
  tcase_add_test(properties, damaged_text_gives_an_error_or_a_valid_description);
  tcase_add_test(properties, many_hosts_load);
  tcase_add_test(properties, a_chain_of_many_switches_is_no_trouble);
  suite_add_tcase(suite, properties);
  return suite;
}
