/* What the readers and writers of descriptions share: words, ranges, files, and the check that says which line is to blame. */
#ifndef TOPOLOGY_TOPO_INTERNAL_H
#define TOPOLOGY_TOPO_INTERNAL_H

#include "topology/cpus.h"
#include "topology/topo.h"

#define TOPO_FILE_MAX (64u << 20)
#define TOPO_LINE_MAX 65536u
#define TOPO_NOTES_MAX 64u
#define TOPO_NOTE_CAP 256

/* ---- topo_words.c: what a word of a description may be. All return 1 for yes, and 0 */

int topo_name_ok(const char *name);     /* of a host, switch or GPU: letters, digits, . _ - after a letter or digit */
int topo_netdev_ok(const char *netdev); /* fits, and has no blank, / : # = */
int topo_rdma_ok(const char *rdma);     /* "mlx5_0:1" */
int topo_pci_ok(const char *pci);       /* "0000:18:00.0" */
int topo_path_ok(const char *path);     /* "pci0000:15/0000:15:01.0", at most TOPO_BRIDGES_MAX bridges */
int topo_path_has(const char *path, const char *bridge);

/* Bytes: "512G", "64Gi", "1T", "4096K", or a number. 0, or -1: not a size, or none that can be meant. */
int topo_memory_parse(const char *text, uint64_t *bytes);
const char *topo_memory_text(uint64_t bytes, char buf[TOPO_SPEED_TEXT_CAP]);

/* ---- topo_range.c */

/* Calls each() with every name of "node[1-8,10]", "rack[1-4]node[01-16].x" or "a1,b[2-3]", in order, until it returns an error. Returns
 * that, or AGG_EINVAL with a text for what is no such list. */
typedef int (*topo_each_fn)(void *user, const char *name);
int topo_names_expand(const char *pattern, topo_each_fn each, void *user, agg_error_t *err);

/* ---- topo_file.c */

/* A whole file, malloc()ed, with a zero after it. AGG_ESYS, AGG_ELIMIT, AGG_ENOMEM; the text begins with the path. */
int topo_file_read(const char *path, char **text, size_t *bytes, agg_error_t *err);

/* Text, a line at a time. */
struct topo_lines {
  const char *source, *at, *end;
  uint32_t number; /* of the last line that was read */
  char line[TOPO_LINE_MAX + 1];
};
void topo_lines_init(struct topo_lines *l, const char *text, size_t bytes, const char *source);
/* The next line without comment and blanks around it, made of printable ASCII. 1; 0 at the end; AGG_EINVAL with a text: too long, not text,
 * or cut off before its newline. */
int topo_lines_next(struct topo_lines *l, agg_error_t *err);
/* "SOURCE:LINE: ..."; returns code. line 0: without it. */
int topo_lines_fail(const struct topo_lines *l, uint32_t line, int code, agg_error_t *err, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* ---- topo.c */

/* Room for one more of `size` bytes in a growing array; the new part is zeroed. AGG_ELIMIT is the caller's. */
int topo_grow(void *array, uint32_t count, uint32_t *cap, size_t size, agg_error_t *err);
void topo_machine_free(struct topo_machine *m);

/* ---- topo_check.c */

/* Which switch and host a failed check is about; TOPO_NONE: none. */
struct topo_fault {
  uint32_t sw, host;
};
int topo_verify(const struct topo *t, struct topo_fault *fault, agg_error_t *err);
/* Indices are in range and no switch is above itself: what other functions need in order not to run wild. */
int topo_verify_tree(const struct topo *t, struct topo_fault *fault, agg_error_t *err);

#endif
