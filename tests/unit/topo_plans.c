/*
 * Golden plans: what agg-topo prints for recorded and written-down machines, compared as a whole. Where a change of the planner is meant,
 * TEST_RENEW=1 writes them anew: read the difference before it is committed.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/unit/topo_run.h"

Suite *make_suite(void);

#define TOPO "tests/data/topo/"
#define PLANS "tests/data/plans/"

static const struct {
  const char *name, *line;
} plans[] = {
    {"laptop", "plan --xml " TOPO "laptop.xml --workers 4 --per-host 4 --size 16M"},
    {"vm", "plan --xml " TOPO "vm.xml --workers 4 --servers 1 --nic 10G --size 16M"},
    {"two-socket", "plan --xml " TOPO "two-socket.xml --workers 8 --per-host 2 --nic 100G"},
    {"two-socket-cluster", "plan --cluster " TOPO "two-socket-cluster.topo"},
    {"dgx", "plan --xml " TOPO "dgx.xml --workers 32 --servers 4 --nic 400G --cost memory=400GB/s"},
    {"dgx-pod", "plan --cluster " TOPO "dgx-pod.topo --size 1G"},
    {"shared-switches", "plan --cluster " TOPO "shared-switches.topo --size 1G --cost memory=400GB/s,copy=100GB/s,sum=100GB/s"},
    {"unequal-rack", "plan --cluster " TOPO "unequal-rack.topo"},
    {"unequal-rack-strict", "plan --cluster " TOPO "unequal-rack.topo --strict"},
    {"fat-tree", "plan --cluster " TOPO "fat-tree.topo"},
    {"fat-tree-small", "plan --cluster " TOPO "fat-tree.topo --size 64K"},
    {"fat-tree-servers", "plan --slurm " TOPO "fat-tree.slurm.conf --uplink 400G --nic 100G --workers 24 --servers 8"},
    {"hybrid", "plan --workers 4 --servers 2 --nic 100G --size 64M"},
    {"private", "plan --workers 8 --servers 2 --nic 100G --size 64M --memory private"},
    {"large", "plan --workers 64 --servers 8 --nic 100G --size 1G"},
    {"machine-laptop", "--xml " TOPO "laptop.xml"},
    {"machine-vm", "--xml " TOPO "vm.xml"},
    {"machine-two-socket", "--xml " TOPO "two-socket.xml --per-host 2"},
    {"machine-dgx", "--cluster " TOPO "dgx-pod.topo"},
    {"machine-shared-switches", "--cluster " TOPO "shared-switches.topo"},
};

static char *read_golden(const char *path) {
  char *text = NULL;
  size_t n = 0;
  FILE *from = fopen(path, "re");
  ck_assert_msg(from != NULL, "%s is not there: TEST_RENEW=1 writes it", path);
  ck_assert_msg(getdelim(&text, &n, '\0', from) > 0, "%s is empty", path);
  fclose(from);
  return text;
}

static void write_golden(const char *path, const char *text) {
  FILE *to = fopen(path, "we");
  ck_assert_msg(to != NULL && fputs(text, to) >= 0 && fclose(to) == 0, "%s could not be written", path);
}

/* The first line in which they differ. */
static void first_difference(const char *a, const char *b, const char *path) {
  for (unsigned line = 1; *a != '\0' || *b != '\0'; line++) {
    size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
    ck_assert_msg(n == m && strncmp(a, b, n) == 0, "%s:%u: expected \"%.*s\", got \"%.*s\"", path, line, (int)m, b, (int)n, a);
    a += n + (a[n] == '\n');
    b += m + (b[m] == '\n');
  }
}

START_TEST(plans_are_as_they_were) {
  char path[128], head[512];
  const char *renew = getenv("TEST_RENEW");
  char *text = topo_run(plans[_i].line), *whole;
  (void)snprintf(path, sizeof path, PLANS "%s.golden", plans[_i].name);
  (void)snprintf(head, sizeof head, "$ agg-topo %s\n", plans[_i].line);
  size_t n = strlen(head) + strlen(text) + 1;
  whole = malloc(n);
  ck_assert_ptr_nonnull(whole);
  (void)snprintf(whole, n, "%s%s", head, text);
  if (renew != NULL && strcmp(renew, "1") == 0) write_golden(path, whole);
  char *want = read_golden(path);
  first_difference(whole, want, path);
  ck_assert_str_eq(whole, want);
  free(want);
  free(whole);
  free(text);
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("topo_plans");
  TCase *tcase = tcase_create("plans");
  tcase_set_timeout(tcase, 60);
  tcase_add_loop_test(tcase, plans_are_as_they_were, 0, (int)ARRAY_LEN(plans));
  suite_add_tcase(suite, tcase);
  return suite;
}
