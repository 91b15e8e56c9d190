/*
 * Looks at an XML in a child process. hwloc trusts what it reads: an XML that is damaged in the wrong place makes it crash, loop, leak or
 * print. The child has nowhere to print to and an end to its time; what it found comes back in the text form, which is checked like any
 * other, so whatever becomes of the child, the caller gets a valid description or one line. Knows no hwloc.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/discover.h"
#include "topology/discover_internal.h"

#define CHILD_SECONDS 30          /* of processor time; a large machine takes a tenth of one */
#define CHILD_MEMORY (1ull << 30) /* more than it has from its parent */

void discover_quiet(void) { setenv("HWLOC_HIDE_ERRORS", "2", 0); }

/* ---- the child ---------------------------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const void *bytes, size_t n) {
  const char *p = bytes;
  while (n > 0) {
    ssize_t done = write(fd, p, n);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return -1;
    p += done;
    n -= (size_t)done;
  }
  return 0;
}

static void limit(int what, rlim_t most) {
  struct rlimit l;
  if (getrlimit(what, &l) != 0) return;
  l.rlim_cur = MIN_OF(l.rlim_max, most);
  (void)setrlimit(what, &l);
}

/* A number of a CPU that is damaged would have hwloc make sets of 2^32. */
static void limit_memory(void) {
  char line[SYS_LINE_CAP];
  if (sys_line("", line, sizeof line, "/proc/self/statm") <= 0) return;
  limit(RLIMIT_AS, (rlim_t)strtoull(line, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE) + CHILD_MEMORY);
}

/* Answers with a code, then the description or the text of the error. */
static int answer(int fd, const struct discover_options *options, const struct discover_xml *xml) {
  struct topo t;
  agg_error_t err = {0};
  char *text = NULL;
  int rc = discover_machine(options, xml, &t, &err);
  if (rc == AGG_OK) rc = topo_dump(&t, &text, &err);
  const char *says = rc == AGG_OK ? text : err.text;
  return write_all(fd, &rc, sizeof rc) == 0 && write_all(fd, says, strlen(says)) == 0 ? 0 : 1;
}

static int be_child(int fd, const struct discover_options *options, const struct discover_xml *xml) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0) return 1;
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, CHILD_SECONDS);
  limit_memory();
  discover_quiet();
  return answer(fd, options, xml);
}

/* ---- the parent --------------------------------------------------------------------------------------------------------------------- */

/* All that the child says, at most TOPO_FILE_MAX. -1: it cannot be read, or there is no memory. */
static int read_answer(int fd, char **buf, size_t *n) {
  size_t cap = 0;
  *buf = NULL;
  *n = 0;
  for (;;) {
    if (*n + 1 >= cap) {
      cap = MAX_OF(cap * 2, 16384u);
      char *grown = cap <= TOPO_FILE_MAX ? realloc(*buf, cap) : NULL;
      if (grown == NULL) return -1;
      *buf = grown;
    }
    ssize_t got = read(fd, *buf + *n, cap - 1 - *n);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    *n += (size_t)got;
    (*buf)[*n] = '\0';
    if (got == 0) return 0;
  }
}

/* Whether it has ended as it should. Where the program has its children reaped by others, what it said tells. */
static int has_ended_well(pid_t child) {
  int status;
  pid_t got;
  while ((got = waitpid(child, &status, 0)) < 0 && errno == EINTR) continue;
  return got < 0 ? errno == ECHILD : WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int take_answer(const char *answer, size_t n, const struct discover_xml *xml, struct topo *t, agg_error_t *err) {
  int rc;
  if (n <= sizeof rc) return err_set(err, AGG_EINVAL, DISCOVER_XML_DAMAGED, xml->path);
  memcpy(&rc, answer, sizeof rc);
  if (rc == AGG_OK) return topo_parse(answer + sizeof rc, n - sizeof rc, xml->path, t, err);
  return err_set(err, rc, "%s", answer + sizeof rc);
}

static int look_apart(const struct discover_options *options, const struct discover_xml *xml, struct topo *t, agg_error_t *err) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return err_sys(err, AGG_ESYS, errno, "%s: no pipe to the process that reads it", xml->path);
  pid_t child = fork();
  if (child == 0) _exit(be_child(fds[1], options, xml));
  int why = errno;
  close(fds[1]);
  if (child < 0) {
    close(fds[0]);
    return err_sys(err, AGG_ESYS, why, "%s: no process to read it in", xml->path);
  }
  char *text;
  size_t n;
  int got = read_answer(fds[0], &text, &n);
  close(fds[0]); /* one that still writes gets a SIGPIPE */
  int well = has_ended_well(child);
  int rc = got == 0 && well ? take_answer(text, n, xml, t, err) : err_set(err, AGG_EINVAL, DISCOVER_XML_DAMAGED, xml->path);
  free(text);
  return rc;
}

static int look_at_xml(const struct discover_options *options, struct topo *t, agg_error_t *err) {
  char *text;
  struct discover_xml xml = {.path = options->xml};
  int rc = topo_file_read(options->xml, &text, &xml.bytes, err);
  if (rc != AGG_OK) return rc;
  xml.text = text;
  if (xml.bytes == 0) {
    rc = err_set(err, AGG_EINVAL, "%s: the file is empty: expected hwloc's XML, as \"lstopo --of xml FILE\" writes it", xml.path);
  } else if (strstr(text, "<topology") == NULL || strlen(text) != xml.bytes) {
    rc = err_set(err, AGG_EINVAL, "%s: this is not hwloc's XML: expected a <topology>, as \"lstopo --of xml FILE\" writes it", xml.path);
  } else {
    rc = look_apart(options, &xml, t, err);
  }
  free(text);
  return rc;
}

int discover_host(const struct discover_options *options, struct topo *t, agg_error_t *err) {
  if (options->xml == NULL && options->root != NULL) {
    return err_set(err, AGG_EINVAL, "the tree %s belongs to an XML: give that as well, since hwloc can look only at this machine",
                   options->root);
  }
  if (options->name != NULL && !topo_name_ok(options->name)) {
    return err_set(err, AGG_EINVAL, "\"%.80s\" cannot be the name of a host: expected letters, digits and . _ -, %d at most", options->name,
                   TOPO_NAME_CAP - 1);
  }
  return options->xml != NULL ? look_at_xml(options, t, err) : discover_machine(options, NULL, t, err);
}
