/*
 * Owns every read of a file, link or directory: below the root, bounded, never blocking (a pipe in the place of a file included), and
 * made printable. Never decides what a value means.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor/internal.h"

#define ENTRIES_MAX 16384 /* of one directory are looked at */

static const char *root_of(const struct doctor *d) {
  const char *root = d->options->root;
  return root == NULL || strcmp(root, "/") == 0 ? "" : root;
}

int tree_is_machine(const struct doctor *d) { return root_of(d)[0] == '\0'; }

int tree_is_there(const struct doctor *d) {
  struct stat st;
  return tree_is_machine(d) || (stat(root_of(d), &st) == 0 && S_ISDIR(st.st_mode));
}

static int path_of(const struct doctor *d, char *path, size_t cap, const char *fmt, va_list args) {
  size_t used = strlen(root_of(d));
  if (used >= cap) return -ENAMETOOLONG;
  memcpy(path, root_of(d), used);
  int n = vsnprintf(path + used, cap - used, fmt, args);
  return n >= 0 && (size_t)n < cap - used ? 0 : -ENAMETOOLONG;
}

int tree_path(const struct doctor *d, char *path, size_t cap, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int rc = path_of(d, path, cap, fmt, args);
  va_end(args);
  return rc;
}

int tree_exists(const struct doctor *d, const char *fmt, ...) {
  char path[PATH_MAX];
  va_list args;
  va_start(args, fmt);
  int rc = path_of(d, path, sizeof(path), fmt, args);
  va_end(args);
  return rc == 0 && access(path, F_OK) == 0;
}

static int read_file(const char *path, char *buf, size_t cap) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return -errno;
  size_t n = 0;
  ssize_t got = 0;
  while (n < cap - 1 && ((got = read(fd, buf + n, cap - 1 - n)) > 0 || (got < 0 && errno == EINTR))) n += got > 0 ? (size_t)got : 0;
  int rc = got < 0 ? -errno : (int)n;
  close(fd);
  buf[n] = '\0';
  return rc;
}

int tree_bytes(const struct doctor *d, void *buf, size_t cap, const char *fmt, ...) {
  char path[PATH_MAX];
  va_list args;
  va_start(args, fmt);
  int rc = path_of(d, path, sizeof(path), fmt, args);
  va_end(args);
  return rc != 0 ? rc : read_file(path, buf, cap);
}

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* Copies from..end without blanks around it, printable. */
static int take_line(const char *from, const char *end, char *buf, size_t cap) {
  while (from < end && is_blank(*from)) from++;
  while (end > from && is_blank(end[-1])) end--;
  size_t n = MIN_OF((size_t)(end - from), cap - 1);
  for (size_t i = 0; i < n; i++) buf[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : (from[i] == '\t' ? ' ' : '?');
  buf[n] = '\0';
  return n > 0 ? (int)n : -ENODATA;
}

static int line_at(const struct doctor *d, char *buf, size_t cap, const char *fmt, va_list args) {
  char path[PATH_MAX], text[1024];
  buf[0] = '\0';
  int rc = path_of(d, path, sizeof(path), fmt, args);
  if (rc == 0) rc = read_file(path, text, sizeof(text));
  return rc < 0 ? rc : take_line(text, text + strcspn(text, "\n"), buf, cap);
}

int tree_line(const struct doctor *d, char *buf, size_t cap, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int rc = line_at(d, buf, cap, fmt, args);
  va_end(args);
  return rc;
}

int tree_number(const struct doctor *d, int64_t *number, const char *fmt, ...) {
  char line[LINE_CAP], *end;
  va_list args;
  va_start(args, fmt);
  int rc = line_at(d, line, sizeof(line), fmt, args);
  va_end(args);
  if (rc < 0) return rc;
  errno = 0;
  long long value = strtoll(line, &end, strncmp(line, "0x", 2) == 0 ? 16 : 10);
  if (end == line || errno != 0) return -EINVAL;
  *number = value;
  return 0;
}

int tree_link(const struct doctor *d, char *buf, size_t cap, const char *fmt, ...) {
  char path[PATH_MAX], target[PATH_MAX];
  va_list args;
  buf[0] = '\0';
  va_start(args, fmt);
  int rc = path_of(d, path, sizeof(path), fmt, args);
  va_end(args);
  if (rc != 0) return rc;
  ssize_t n = readlink(path, target, sizeof(target) - 1);
  if (n < 0) return -errno;
  target[n] = '\0';
  const char *slash = strrchr(target, '/');
  const char *last = slash != NULL ? slash + 1 : target;
  return take_line(last, last + strlen(last), buf, cap);
}

static int by_name(const void *a, const void *b) { return strverscmp(a, b); }

int tree_list(const struct doctor *d, char (*names)[NAME_CAP], unsigned max, const char *fmt, ...) {
  char path[PATH_MAX];
  va_list args;
  va_start(args, fmt);
  int rc = path_of(d, path, sizeof(path), fmt, args);
  va_end(args);
  if (rc != 0) return rc;
  DIR *dir = opendir(path);
  if (dir == NULL) return -errno;
  unsigned n = 0;
  const struct dirent *entry;
  for (unsigned seen = 0; n < max && seen < ENTRIES_MAX && (entry = readdir(dir)) != NULL; seen++) {
    if (entry->d_name[0] != '.' && str_copy(names[n], NAME_CAP, entry->d_name)) n++;
  }
  closedir(dir);
  qsort(names, n, NAME_CAP, by_name);
  return (int)n;
}

int text_field(const char *text, const char *key, char *buf, size_t cap) {
  size_t len = strlen(key);
  buf[0] = '\0';
  for (const char *line = text; *line != '\0'; line += line[0] == '\n') {
    const char *end = line + strcspn(line, "\n");
    if (strncmp(line, key, len) == 0) return take_line(line + len, end, buf, cap);
    line = end;
  }
  return -ENOENT;
}

/* The next "a" or "a-b" of a list: 1, or 0 at its end or where it is not a list. */
static int next_range(const char **list, unsigned long *first, unsigned long *last) {
  char *end;
  if (**list < '0' || **list > '9') return 0;
  *first = *last = strtoul(*list, &end, 10);
  if (*end == '-' && end[1] >= '0' && end[1] <= '9') *last = strtoul(end + 1, &end, 10);
  *list = *end == ',' ? end + 1 : end;
  return 1;
}

int cpu_in_list(const char *list, unsigned cpu) {
  unsigned long first, last;
  while (next_range(&list, &first, &last)) {
    if (cpu >= first && cpu <= last) return 1;
  }
  return 0;
}

int cpu_lists_meet(const char *a, const char *b) {
  unsigned long a_first, a_last, b_first, b_last;
  while (next_range(&a, &a_first, &a_last)) {
    const char *rest = b;
    while (next_range(&rest, &b_first, &b_last)) {
      if (a_first <= b_last && b_first <= a_last) return 1;
    }
  }
  return 0;
}
