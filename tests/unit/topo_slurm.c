/* Slurm's topology.conf: what it gives, the exact line of every error, and damaged files. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "topology/slurm.h"

Suite *make_suite(void);

#define G (1000000000ull / 8)

static void expect_dump(const struct topo *t, const char *want) {
  char *text;
  ck_assert_int_eq(topo_dump(t, &text, NULL), AGG_OK);
  ck_assert_str_eq(text, want);
  free(text);
}

START_TEST(switches_and_the_places_of_hosts) {
  static const char CONF[] =
      "# a comment\n\n"
      "SwitchName=s0 Nodes=dev[0-5]\n"
      "switchname = s1 NODES = dev-[01-03],login \\\n  linkspeed=1800 # not a speed\n"
      "SwitchName=s2 Switches=s[0-1] LinkSpeed=400G\n"
      "SwitchName=s3 Switches=s2\n";
  struct topo t;
  agg_error_t err = {0};
  ck_assert_msg(slurm_parse(CONF, strlen(CONF), "FILE", 100 * G, &t, &err) == AGG_OK, "%s", err.text);
  expect_dump(&t,
              "topo 1\nnote FILE: a LinkSpeed without a unit of bit/s, like 400G, means nothing and was not used\n"
              "switch s0 parent=s2 uplink=100G\nswitch s1 parent=s2 uplink=100G\nswitch s2 parent=s3 uplink=400G\nswitch s3\n"
              "host dev[0-5] switch=s0\nhost dev-[01-03] switch=s1\nhost login switch=s1\n");
  ck_assert_int_eq(topo_check(&t, NULL), AGG_OK);
  topo_fini(&t);
}
END_TEST

START_TEST(speeds_that_it_has_not_are_unknown_and_said) {
  struct topo t;
  agg_error_t err = {0};
  ck_assert_msg(slurm_load("tests/data/topo/fat-tree.slurm.conf", 0, &t, &err) == AGG_OK, "%s", err.text);
  ck_assert_uint_eq(t.n_notes, 1);
  ck_assert_str_eq(t.notes[0], "tests/data/topo/fat-tree.slurm.conf: it has no speeds: uplinks of 3 switches are unknown");
  ck_assert_uint_eq(t.switches[topo_find_switch(&t, "rack1")].up, 0);
  ck_assert_uint_eq(t.switches[topo_find_switch(&t, "rack3")].up, 400 * G);
  topo_fini(&t);
}
END_TEST

/* Hosts from the text form, places from Slurm: the same as the text form has itself. */
START_TEST(a_cluster_is_placed_on_it) {
  struct topo t, want, fabric;
  agg_error_t err = {0};
  char *text;
  ck_assert_int_eq(topo_load("tests/data/topo/fat-tree.topo", &want, &err), AGG_OK);
  ck_assert_int_eq(topo_load("tests/data/topo/fat-tree.topo", &t, &err), AGG_OK);
  ck_assert_int_eq(slurm_load("tests/data/topo/fat-tree.slurm.conf", 400 * G, &fabric, &err), AGG_OK);
  ck_assert_msg(topo_place_on(&t, &fabric, "topology.conf", &err) == AGG_OK, "%s", err.text);
  ck_assert_int_eq(topo_dump(&t, &text, &err), AGG_OK);
  for (uint32_t i = 0; i < want.n_hosts; i++) {
    ck_assert_str_eq(t.switches[t.hosts[i].on].name, want.switches[want.hosts[i].on].name);
    ck_assert_uint_eq(t.hosts[i].machine, want.hosts[i].machine);
  }
  for (uint32_t i = 0; i < t.n_switches; i++) ck_assert_uint_eq(t.switches[i].up, strcmp(t.switches[i].name, "spine") == 0 ? 0 : 400 * G);
  free(text);
  topo_fini(&t);
  topo_fini(&want);
  topo_fini(&fabric);
}
END_TEST

static const struct {
  const char *text, *error;
} BAD[] = {
    {"", "FILE: no switch is described: expected lines like SwitchName=leaf1 Nodes=node[1-8]"},
    {"SwitchName=a\n", "FILE:1: switch a has nothing on it: expected Switches= or Nodes="},
    {"Nodes=a\n", "FILE:1: expected SwitchName= on every line"},
    {"SwitchName=a Nodes=b Speed=3\n", "FILE:1: Speed is not known: expected SwitchName, Switches, Nodes or LinkSpeed"},
    {"SwitchName=a Nodes=b Nodes=c\n", "FILE:1: Nodes is given twice: remove one of them"},
    {"SwitchName=a Nodes=\n", "FILE:1: Nodes has no value"},
    {"SwitchName=a Nodes=b Switches=c\n", "FILE:1: switch a has Switches and Nodes: Slurm allows only one of them"},
    {"SwitchName=a b\n", "FILE:1: \"b\": expected Key=value"},
    {"Include other.conf\n", "FILE:1: include is not followed: put the lines of that file here"},
    {"BlockName=b1 Nodes=a[1-8]\n",
     "FILE:1: BlockName belongs to topology/block: expected a tree of switches (SwitchName=), or describe the fabric in the text form"},
    {"SwitchName=a[1-2] Nodes=b\n", "FILE:1: SwitchName=a[1-2]: expected one name of letters, digits and . _ -"},
    {"SwitchName=a Nodes=b\nSwitchName=a Nodes=c\n", "FILE:2: switch a is there already (line 1): put all that is on it into one line"},
    {"SwitchName=a Nodes=b[1-2]\n\nSwitchName=c Nodes=b2\n", "FILE:3: node b2 is there already (line 1): a node hangs on one switch"},
    {"SwitchName=a Nodes=b[1-\n", "FILE:1: \"b[1-\" has a [ without its ]: expected a range like node[1-8]"},
    {"SwitchName=a Nodes=b[0-99999]\n", "FILE:1: more than 65536 hosts: describe only those that take part"},
    {"SwitchName=a Switches=b\nSwitchName=c Nodes=d\n", "FILE:1: there is no switch b: add a line SwitchName=b"},
    {"SwitchName=a Nodes=n\nSwitchName=b Switches=a\nSwitchName=c Switches=a\n",
     "FILE:3: switch a is below switch b already: expected a tree, so describe switches side by side as one"},
    {"SwitchName=x Nodes=n\nSwitchName=a Switches=b\nSwitchName=b Switches=a\n",
     "FILE:2: switch a is above itself (a -> b -> a): one of them must be at the top, without parent"},
    {"SwitchName=a Switches=a\n", "FILE:1: switch a is its own parent: leave parent out where a switch is at the top"},
    {"SwitchName=a Switches=b\nSwitchName=b Switches=c\nSwitchName=c Switches=a\n",
     "FILE:1: switch a is above itself (a -> c -> b -> ...): one of them must be at the top, without parent"},
    {"SwitchName=a Nodes=b \\\n", "FILE:1: the last line ends in a backslash and nothing follows: the file was cut off, or remove it"},
    {"SwitchName=a Nodes=b", "FILE:1: the file ends in the middle of this line: it was cut off, or end the line with a newline"},
    {"SwitchName=a \\\nNodes=b,\n", "FILE:1: \"b,\" has an empty name: expected names like node[1-8], with a comma between two"},
    {"\x01\n", "FILE:1: byte 0x01: expected plain text (letters without accents; comments start with #)"},
};

START_TEST(every_error_says_where_what_and_what_to_do) {
  for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
    struct topo t;
    agg_error_t err = {0};
    int rc = slurm_parse(BAD[i].text, strlen(BAD[i].text), "FILE", 0, &t, &err);
    ck_assert_msg(rc == AGG_EINVAL || rc == AGG_ELIMIT, "taken (%d): %s", rc, BAD[i].text);
    ck_assert_str_eq(err.text, BAD[i].error);
    ck_assert_int_eq(slurm_parse(BAD[i].text, strlen(BAD[i].text), "FILE", 0, &t, NULL), rc);
  }
}
END_TEST

START_TEST(an_uplink_that_cannot_be_meant) {
  struct topo t;
  agg_error_t err = {0};
  ck_assert_int_eq(slurm_parse("SwitchName=a Nodes=b\n", 21, "FILE", 1, &t, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "an uplink of 1 bytes a second cannot be meant: expected 1 Mbit/s to 100 Tbit/s");
  ck_assert_int_eq(slurm_load("tests/data/topo/none.conf", 0, &t, &err), AGG_ESYS);
  ck_assert_str_eq(err.text, "tests/data/topo/none.conf: cannot be opened: No such file or directory");
}
END_TEST

START_TEST(damaged_files_give_an_error_or_a_valid_fabric) {
  static const char CONF[] =
      "# fabric\nSwitchName=leaf1 Nodes=node[1-8]\nSwitchName=leaf2 Nodes=node[9-16],x \\\n LinkSpeed=400G\n"
      "SwitchName=spine Switches=leaf[1-2]\n";
  unsigned taken = 0;
  for (uint64_t seed = 1; seed <= 20000; seed++) {
    struct rng r = {.state = seed};
    struct topo t;
    agg_error_t err = {0};
    char text[sizeof CONF];
    size_t n = sizeof CONF - 1;
    memcpy(text, CONF, sizeof CONF);
    for (uint64_t k = 1 + rng_below(&r, 4); k > 0; k--)
      text[rng_below(&r, n)] = rng_below(&r, 2) == 0 ? (char)rng_next(&r) : CONF[rng_below(&r, n)];
    if (rng_below(&r, 10) == 0) n = rng_below(&r, n);
    if (slurm_parse(text, n, "FILE", 0, &t, &err) == AGG_OK) {
      taken++;
      ck_assert_msg(topo_check(&t, &err) == AGG_OK, "seed %u: %s", (unsigned)seed, err.text);
      topo_fini(&t);
    } else {
      ck_assert_msg(strncmp(err.text, "FILE:", 5) == 0 && strchr(err.text, '\n') == NULL, "seed %u: %s", (unsigned)seed, err.text);
    }
  }
  ck_assert_uint_gt(taken, 100);
}
END_TEST

/* Which of both forms a file has is seen by its first word. */
START_TEST(a_fabric_in_either_form) {
  struct topo t;
  agg_error_t err = {0};
  ck_assert_msg(topo_load_fabric("tests/data/topo/fat-tree.topo", 0, &t, &err) == AGG_OK, "%s", err.text);
  ck_assert_uint_eq(topo_workers(&t), 32);
  topo_fini(&t);
  ck_assert_msg(topo_load_fabric("tests/data/topo/fat-tree.slurm.conf", 100 * G, &t, &err) == AGG_OK, "%s", err.text);
  ck_assert_uint_eq(topo_workers(&t), 0);
  ck_assert_uint_eq(t.switches[topo_find_switch(&t, "rack1")].up, 100 * G);
  topo_fini(&t);
  ck_assert_int_eq(topo_load_fabric("tests/data/topo/fat-tree.topo", 100 * G, &t, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text,
                   "tests/data/topo/fat-tree.topo: a description has the speeds of its uplinks itself: write them there, uplink=400G");
  ck_assert_int_eq(topo_load_fabric("tests/data/topo/dgx.xml", 0, &t, &err), AGG_EINVAL);
  ck_assert_int_eq(topo_load_fabric("tests/data/topo/none", 0, &t, &err), AGG_ESYS);
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("topo_slurm");
  TCase *all = tcase_create("all");
  tcase_set_timeout(all, 60);
  tcase_add_test(all, switches_and_the_places_of_hosts);
  tcase_add_test(all, speeds_that_it_has_not_are_unknown_and_said);
  tcase_add_test(all, a_cluster_is_placed_on_it);
  tcase_add_test(all, every_error_says_where_what_and_what_to_do);
  tcase_add_test(all, an_uplink_that_cannot_be_meant);
  tcase_add_test(all, a_fabric_in_either_form);
  tcase_add_test(all, damaged_files_give_an_error_or_a_valid_fabric);
  suite_add_tcase(suite, all);
  return suite;
}
