/* Asks the kernel (affinity, physical memory, control group limits) what this process was given. Never changes any of it. */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define CPUS_MAX 8192

unsigned machine_quota_parse(const char *text) {
  unsigned long long quota, period;
  if (sscanf(text, "%llu %llu", &quota, &period) != 2 || period == 0 || quota == 0) return 0;
  uint64_t cores = div_up_u64(quota, period);
  return cores > MACHINE_CORES_MAX ? 0 : (unsigned)cores;
}

uint64_t machine_memory_parse(const char *text) {
  unsigned long long bytes;
  if (sscanf(text, "%llu", &bytes) != 1 || bytes == 0) return UINT64_MAX;
  return bytes;
}

/* A small file's text; "" when it cannot be read. */
static void read_text(const char *path, char *buf, size_t cap) {
  buf[0] = '\0';
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t n = read(fd, buf, cap - 1);
  buf[n > 0 ? n : 0] = '\0';
  close(fd);
}

/* The own group's directory below the root of the unified hierarchy: "" or "/system.slice/x.service". */
static void own_group(char *path, size_t cap) {
  char text[2048];
  read_text("/proc/self/cgroup", text, sizeof text);
  path[0] = '\0';
  for (char *save = NULL, *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
    if (strncmp(line, "0::/", 4) != 0) continue;
    str_copy(path, cap, strcmp(line, "0::/") == 0 ? "" : line + 3);
    return;
  }
}

/* Reads `file` of the own group, or of the root that a container shows as such. */
static void group_text(const char *file, char *buf, size_t cap) {
  char group[1024], path[1200];
  own_group(group, sizeof group);
  snprintf(path, sizeof path, CGROUP_ROOT "%s/%s", group, file);
  read_text(path, buf, cap);
  if (buf[0] != '\0') return;
  snprintf(path, sizeof path, CGROUP_ROOT "/%s", file);
  read_text(path, buf, cap);
}

static void read_cores(struct machine *m) {
  m->n_cores = 0;
  cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
  size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
  if (set != NULL && sched_getaffinity(0, size, set) == 0) {
    for (int cpu = 0; cpu < CPUS_MAX && m->n_cores < MACHINE_CORES_MAX; cpu++) {
      if (CPU_ISSET_S((size_t)cpu, size, set)) m->cores[m->n_cores++] = cpu;
    }
  }
  if (set != NULL) CPU_FREE(set);
  if (m->n_cores == 0) {
    m->n_cores = 1;
    m->cores[0] = 0;
  }
}

void machine_read(struct machine *m) {
  char text[128];
  read_cores(m);
  group_text("cpu.max", text, sizeof text);
  unsigned quota = machine_quota_parse(text);
  m->usable = quota > 0 && quota < m->n_cores ? quota : m->n_cores;

  struct rlimit files;
  m->files = getrlimit(RLIMIT_NOFILE, &files) == 0 ? (uint64_t)files.rlim_max : 1024;

  long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  m->memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 1ULL << 30;
  group_text("memory.max", text, sizeof text);
  uint64_t limit = machine_memory_parse(text);
  if (limit < m->memory) m->memory = limit;
}
