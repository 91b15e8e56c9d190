/*
 * How long planning takes, and how much memory: a plan for so many workers and servers, with hosts and racks of so many.
 *
 *   plan_time [WORKERS [SERVERS [WORKERS_A_HOST [HOSTS_A_RACK]]]]      prints the plan, the seconds and the peak of memory
 *
 * SIZE=bytes in the environment also explains an allreduce of that size.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/util.h"
#include "topology/explain.h"

static void fail(const agg_error_t *err) {
  fprintf(stderr, "plan_time: %s\n", err->text);
  exit(1);
}

static uint32_t number(int argc, char **argv, int at, uint32_t otherwise) {
  uint64_t value = otherwise;
  if (at < argc && parse_u64(argv[at], FOREST_MAX_NODES, &value) != 0) {
    fprintf(stderr, "plan_time: \"%s\": expected a number up to %u\n", argv[at], FOREST_MAX_NODES);
    exit(2);
  }
  return (uint32_t)value;
}

/* Racks of hosts at 12.5 GB/s, uplinks 2:1; servers on hosts of their own, dealt over the racks. */
static void make_fabric(struct fabric *f, uint32_t workers, uint32_t servers, uint32_t a_host, uint32_t a_rack) {
  agg_error_t err = {0};
  uint32_t hosts = (workers + a_host - 1) / a_host, racks = (hosts + a_rack - 1) / a_rack, link = 0;
  if (fabric_init(f, &err) != AGG_OK) fail(&err);
  for (uint32_t i = 0; i < racks; i++) {
    char name[32];
    snprintf(name, sizeof name, "rack%u", i);
    if (fabric_add_link(f, FABRIC_LINK_SWITCH, FABRIC_CORE, name, a_rack * 12.5e9 / 2, &link, &err) != AGG_OK) fail(&err);
  }
  for (uint32_t i = 0; i < workers + servers; i++) {
    char name[32];
    uint32_t rack = i < workers ? i / a_host / a_rack : (i - workers) % racks;
    snprintf(name, sizeof name, i < workers ? "node%u" : "store%u", i < workers ? i / a_host : i - workers);
    if (i >= workers || i % a_host == 0) {
      if (fabric_add_link(f, FABRIC_LINK_HOST, 1 + rack, name, 12.5e9, &link, &err) != AGG_OK) fail(&err);
    }
    if (fabric_add_node(f, i >= workers, link, &err) != AGG_OK) fail(&err);
  }
  f->transport = FABRIC_VERBS;
}

int main(int argc, char **argv) {
  uint32_t workers = number(argc, argv, 1, 1024), servers = number(argc, argv, 2, 64);
  uint32_t a_host = MAX_OF(1u, number(argc, argv, 3, 8)), a_rack = MAX_OF(1u, number(argc, argv, 4, 16));
  struct fabric f;
  struct plan plan;
  agg_error_t err = {0};
  make_fabric(&f, workers, servers, a_host, a_rack);
  struct plan_request r = {.plan = getenv("AGG_PLAN"), .fabric = &f};
  uint64_t start = clock_now_ns();
  if (plan_make(&r, &plan, &err) != AGG_OK) fail(&err);
  double seconds = (double)(clock_now_ns() - start) * 1e-9;
  char *text = NULL;
  if (explain_plan(&plan, &text, &err) != AGG_OK) fail(&err);
  uint64_t bytes;
  if (getenv("SIZE") != NULL && parse_bytes(getenv("SIZE"), UINT64_MAX, &bytes) == 0) {
    struct explain e;
    if (explain_make(&r, &plan, OP_ALLREDUCE, bytes, &e, &err) != AGG_OK || explain_text(&e, &text, &err) != AGG_OK) fail(&err);
    explain_fini(&e);
  }
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("%s\nplanned in %.3f s, peak memory %.1f MiB\n", text, seconds, (double)usage.ru_maxrss / 1024);
  free(text);
  plan_fini(&plan);
  fabric_fini(&f);
  return 0;
}
