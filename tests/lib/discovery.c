/*
 * Owns the folder of a test of discovery, and standard error while one runs. Never makes a machine: that is madeup.h's, and the test's.
 */
#include "discovery.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *discovery_read(const char *path, size_t *bytes) {
  FILE *f = fopen(path, "re");
  ck_assert_msg(f != NULL, "%s cannot be opened: run the tests from the root of the source tree", path);
  char *text = malloc(1 << 20);
  ck_assert_ptr_nonnull(text);
  *bytes = fread(text, 1, (1 << 20) - 1, f);
  text[*bytes] = '\0';
  fclose(f);
  return text;
}

void discover(const struct discover_options *options, struct topo *t) {
  agg_error_t err = {0};
  ck_assert_msg(discover_host(options, t, &err) == AGG_OK, "%s", err.text);
  ck_assert_msg(topo_check(t, &err) == AGG_OK, "%s", err.text);
}

int says(const struct topo *t, const char *note) {
  for (uint32_t i = 0; i < t->n_notes; i++) {
    if (strstr(t->notes[i], note) != NULL) return 1;
  }
  return 0;
}

struct madeup made;
static int saved_stderr;

void discovery_setup(void) {
  char path[96];
  madeup_open(&made);
  snprintf(path, sizeof path, "%s/stderr", made.root);
  saved_stderr = dup(STDERR_FILENO);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
  close(fd);
}

void discovery_teardown(void) {
  struct stat st;
  ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
  dup2(saved_stderr, STDERR_FILENO);
  close(saved_stderr);
  madeup_close(&made);
  ck_assert_msg(st.st_size == 0, "%d bytes were printed to standard error", (int)st.st_size);
}
