/* Owns every read of sysfs: below a root, bounded, never blocking, and made printable. Never decides what a value means. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "topology/discover.h"
#include "topology/discover_internal.h"

#define ENTRIES_MAX 16384u /* of one directory */

static int path_of(char path[PATH_MAX], const char *root, const char *fmt, va_list args) {
  size_t used = strlen(root);
  if (used >= PATH_MAX) return -ENAMETOOLONG;
  memcpy(path, root, used);
  int n = vsnprintf(path + used, PATH_MAX - used, fmt, args);
  return n >= 0 && (size_t)n < PATH_MAX - used ? 0 : -ENAMETOOLONG;
}

#define PATH_FROM(rc, path, root, fmt)    \
  do {                                    \
    va_list args_;                        \
    va_start(args_, fmt);                 \
    rc = path_of(path, root, fmt, args_); \
    va_end(args_);                        \
  } while (0)

int sys_exists(const char *root, const char *fmt, ...) {
  char path[PATH_MAX];
  int rc;
  PATH_FROM(rc, path, root, fmt);
  return rc == 0 && access(path, F_OK) == 0;
}

static int read_start(const char *path, char *buf, size_t cap) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return -errno;
  ssize_t got;
  do got = read(fd, buf, cap - 1);
  while (got < 0 && errno == EINTR);
  int rc = got < 0 ? -errno : (int)got;
  close(fd);
  buf[rc > 0 ? rc : 0] = '\0';
  return rc;
}

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static int take_line(char *text, char *buf, size_t cap) {
  text[strcspn(text, "\n")] = '\0';
  while (is_blank(*text)) text++;
  size_t n = strlen(text);
  while (n > 0 && is_blank(text[n - 1])) n--;
  n = MIN_OF(n, cap - 1);
  for (size_t i = 0; i < n; i++) buf[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
  buf[n] = '\0';
  return n > 0 ? (int)n : -ENODATA;
}

static int line_at(const char *path, char *buf, size_t cap) {
  char text[1024];
  buf[0] = '\0';
  int rc = read_start(path, text, sizeof text);
  return rc < 0 ? rc : take_line(text, buf, cap);
}

int sys_line(const char *root, char *buf, size_t cap, const char *fmt, ...) {
  char path[PATH_MAX];
  int rc;
  buf[0] = '\0';
  PATH_FROM(rc, path, root, fmt);
  return rc != 0 ? rc : line_at(path, buf, cap);
}

int sys_number(const char *root, int64_t *number, const char *fmt, ...) {
  char path[PATH_MAX], line[SYS_LINE_CAP], *end;
  int rc;
  PATH_FROM(rc, path, root, fmt);
  if (rc == 0) rc = line_at(path, line, sizeof line);
  if (rc < 0) return rc;
  errno = 0;
  long long value = strtoll(line, &end, 10);
  if (end == line || *end != '\0' || errno != 0) return -EINVAL;
  *number = value;
  return 0;
}

static int link_at(const char *path, char *buf, size_t cap, int last) {
  char target[PATH_MAX];
  ssize_t n = readlink(path, target, sizeof target - 1);
  if (n < 0) return -errno;
  target[n] = '\0';
  char *slash = last ? strrchr(target, '/') : NULL;
  return take_line(slash != NULL ? slash + 1 : target, buf, cap);
}

int sys_link(const char *root, char *buf, size_t cap, const char *fmt, ...) {
  char path[PATH_MAX];
  int rc;
  buf[0] = '\0';
  PATH_FROM(rc, path, root, fmt);
  return rc != 0 ? rc : link_at(path, buf, cap, 0);
}

int sys_link_last(const char *root, char *buf, size_t cap, const char *fmt, ...) {
  char path[PATH_MAX];
  int rc;
  buf[0] = '\0';
  PATH_FROM(rc, path, root, fmt);
  return rc != 0 ? rc : link_at(path, buf, cap, 1);
}

static int by_name(const void *a, const void *b) { return strverscmp(a, b); }

int sys_list(const char *root, struct sys_names *names, agg_error_t *err, const char *fmt, ...) {
  char path[PATH_MAX];
  int rc;
  *names = (struct sys_names){0};
  PATH_FROM(rc, path, root, fmt);
  DIR *dir = rc == 0 ? opendir(path) : NULL;
  if (dir == NULL) return AGG_OK;
  const struct dirent *entry;
  rc = AGG_OK;
  while (rc == AGG_OK && names->n < ENTRIES_MAX && (entry = readdir(dir)) != NULL) {
    if (entry->d_name[0] == '.' || strlen(entry->d_name) >= SYS_NAME_CAP) continue;
    rc = topo_grow(&names->names, names->n, &names->cap, sizeof *names->names, err);
    if (rc == AGG_OK) str_copy(names->names[names->n++], SYS_NAME_CAP, entry->d_name);
  }
  closedir(dir);
  if (rc != AGG_OK) {
    free(names->names);
    *names = (struct sys_names){0};
  } else if (names->n > 0) {
    qsort(names->names, names->n, SYS_NAME_CAP, by_name);
  }
  return rc;
}

/* ---- lists of the kernel's ----------------------------------------------------------------------------------------------------------- */

static int read_list(struct topo_cpus *set, const char *path) {
  char line[TOPO_CPULIST_CAP];
  return sys_line("", line, sizeof line, "%s", path) > 0 ? topo_cpus_parse(line, set) : -1;
}

unsigned discover_numa_nodes(void) {
  struct topo_cpus nodes;
  return read_list(&nodes, "/sys/devices/system/node/has_memory") == 0 ? topo_cpus_count(&nodes) : 1;
}

int discover_online(struct topo_cpus *online) { return read_list(online, "/sys/devices/system/cpu/online"); }
