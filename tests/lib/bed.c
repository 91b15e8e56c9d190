/*
 * Owns the devices of tests on real verbs: makes them with ip and rdma, takes links down and up. Never opens a device for more than a look
 * at its port.
 */
#include "bed.h"

#include <infiniband/verbs.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

#define ARGS_MAX 24
#define WAIT_NS 20000000000u

static unsigned made;

/* Not by Check's means: devices are also made before the first test begins. */
static void __attribute__((format(printf, 1, 2))) give_up(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vfprintf(stderr, fmt, args);
  va_end(args);
  fputc('\n', stderr);
  exit(EXIT_FAILURE);
}

void bed_one_process(void) { setenv("CK_FORK", "no", 0); }

int bed_run(const char *line) {
  char copy[256], *argv[ARGS_MAX + 1], *rest = NULL;
  int n = 0, status = -1;
  pid_t pid;
  if (!str_copy(copy, sizeof copy, line)) return -1;
  for (char *word = strtok_r(copy, " ", &rest); word != NULL && n < ARGS_MAX; word = strtok_r(NULL, " ", &rest)) argv[n++] = word;
  argv[n] = NULL;
  if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0) return -1;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

static void must(const char *line) {
  if (bed_run(line) != 0) give_up("failed: %s (it needs root in a guest: scripts/testbed/run)", line);
}

/* 1 active, 0 not, -1 there is no such device. */
static int port_active(unsigned k) {
  char name[16];
  int n = 0, active = -1;
  snprintf(name, sizeof name, "rxe%u", k);
  struct ibv_device **list = ibv_get_device_list(&n);
  for (int i = 0; i < n; i++) {
    struct ibv_port_attr attr;
    if (strcmp(ibv_get_device_name(list[i]), name) != 0) continue;
    struct ibv_context *ctx = ibv_open_device(list[i]);
    if (ctx == NULL) continue;
    if (ibv_query_port(ctx, 1, &attr) == 0) active = attr.state == IBV_PORT_ACTIVE;
    ibv_close_device(ctx);
  }
  if (list != NULL) ibv_free_device_list(list);
  return active;
}

static void await_port(unsigned k, int active) {
  uint64_t end = clock_now_ns() + WAIT_NS;
  while (port_active(k) != active) {
    if (clock_now_ns() > end) give_up("the port of rxe%u does not become %s", k, active ? "active" : "down");
  }
}

/* One end of a pair of interfaces; the other end is the cable. A queue in front of it swallows what is sent while the cable is out: where
 * sending fails instead, Soft-RoCE puts queue pairs into error, the CM's for good, and no hardware does that. */
static void device_make(unsigned k) {
  static const char *const steps[] = {"ip link set lo up",
                                      "ip link add d%u mtu 9000 type veth peer name cable%u mtu 9000",
                                      "ip link set cable%u up",
                                      "ip addr add 10.0.%u.1/24 dev d%u",
                                      "ip link set d%u up",
                                      "tc qdisc add dev d%u root pfifo",
                                      "rdma link add rxe%u type rxe netdev d%u"};
  char line[128];
  for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
    snprintf(line, sizeof line, steps[i], k, k);
    must(line);
  }
}

void bed_devices(unsigned n) {
  if (n > BED_DEVICES) give_up("%u devices are too many", n);
  for (unsigned k = 0; k < n; k++) {
    if (port_active(k) < 0) device_make(k);
    await_port(k, 1);
  }
  made = n;
}

void bed_link(unsigned k, int up) {
  char line[64];
  snprintf(line, sizeof line, "ip link set cable%u %s", k, up ? "up" : "down");
  must(line);
  await_port(k, up);
}

void bed_links_up(void) {
  for (unsigned k = 0; k < made; k++)
    if (!port_active(k)) bed_link(k, 1);
}

void bed_resources(char *buf, size_t cap) {
  FILE *out = popen("rdma resource", "r");
  if (out == NULL) give_up("failed: rdma resource");
  size_t n = fread(buf, 1, cap - 1, out);
  buf[n] = '\0';
  if (pclose(out) != 0 || n == 0) give_up("failed: rdma resource");
}
