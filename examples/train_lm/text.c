/* Reads the text and cuts it. Every rank reads the same file and picks its own readers' symbols from it. Never writes to the terminal. */
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Every tenth block is held out: from all over the text, not only its end. */
#define HOLD_OUT_EVERY 10
#define BLOCKS 60

#define RUN_MAX 4

uint64_t hash_bytes(const void *data, size_t bytes) {
  const uint8_t *p = data;
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

/* In the order of bytes: the same on all ranks, whatever their locale. */
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* The text as it grows. */
struct bytes {
  uint8_t *data;
  size_t n;
};

static int complain(char *why, size_t cap, const char *path, const char *what) {
  snprintf(why, cap, "%s: %s", path, what);
  return -1;
}

static int append(struct bytes *b, FILE *f, size_t n, const char *path, char *why, size_t cap) {
  uint8_t *more = realloc(b->data, b->n + n + 1);
  if (more == NULL) return complain(why, cap, path, "no memory for it");
  b->data = more;
  if (fread(more + b->n, 1, n, f) != n)
    return complain(why, cap, path, ferror(f) ? strerror(errno) : "it became shorter while it was read");
  b->n += n;
  return 0;
}

static int read_file(struct bytes *b, const char *path, char *why, size_t cap) {
  struct stat st;
  FILE *f = fopen(path, "rbe");
  if (f == NULL) return complain(why, cap, path, strerror(errno));
  int rc;
  if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
    rc = complain(why, cap, path, "expected a text file or a folder of them");
  } else if ((uint64_t)st.st_size > TEXT_BYTES_MAX - b->n) {
    rc = complain(why, cap, path, "too large: at most 256 MiB can be learned from");
  } else {
    rc = append(b, f, (size_t)st.st_size, path, why, cap);
  }
  fclose(f);
  return rc;
}

/* The regular files of a folder in the order of their names; links would give the same text twice. */
static int read_folder(struct bytes *b, const char *path, char *why, size_t cap) {
  struct dirent **entries;
  int n = scandir(path, &entries, NULL, by_name), rc = 0;
  if (n < 0) return complain(why, cap, path, strerror(errno));
  for (int i = 0; i < n; i++) {
    char file[PATH_MAX];
    struct stat st;
    int len = snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
    if (rc == 0 && len > 0 && (size_t)len < sizeof file && lstat(file, &st) == 0 && S_ISREG(st.st_mode)) rc = read_file(b, file, why, cap);
    free(entries[i]);
  }
  free(entries);
  return rc;
}

/* Keeps at most RUN_MAX of the same byte in a row: ruled lines and centred headings teach nothing else. */
static void squeeze(struct bytes *b) {
  size_t n = 0, run = 0;
  for (size_t i = 0; i < b->n; i++) {
    run = i > 0 && b->data[i] == b->data[i - 1] ? run + 1 : 1;
    if (run <= RUN_MAX) b->data[n++] = b->data[i];
  }
  b->n = n;
}

static int read_all(struct bytes *b, const char *path, char *why, size_t cap) {
  struct stat st;
  if (stat(path, &st) != 0) return complain(why, cap, path, strerror(errno));
  int rc = S_ISDIR(st.st_mode) ? read_folder(b, path, why, cap) : read_file(b, path, why, cap);
  if (rc != 0) return rc;
  squeeze(b);
  if (b->n >= TEXT_BYTES_MIN) return 0;
  snprintf(why, cap, "%s: %zu characters (without repetitions) are too few to learn from: at least %d", path, b->n, TEXT_BYTES_MIN);
  return -1;
}

/* Numbers the bytes that occur, in their order, and replaces each byte by its number. */
static void number_symbols(struct text *t, uint8_t *data, size_t bytes) {
  uint8_t seen[256] = {0}, symbol_of[256] = {0};
  for (size_t i = 0; i < bytes; i++) seen[data[i]] = 1;
  for (size_t b = 0; b < 256; b++) {
    if (!seen[b]) continue;
    symbol_of[b] = (uint8_t)t->vocab;
    t->byte_of[t->vocab++] = (uint8_t)b;
  }
  for (size_t i = 0; i < bytes; i++) data[i] = symbol_of[data[i]];
}

static void cut(struct text *t, const uint8_t *data, size_t bytes) {
  size_t block = bytes / BLOCKS;
  for (size_t i = 0; i < BLOCKS; i++) {
    size_t from = i * block, n = i + 1 == BLOCKS ? bytes - from : block;
    int held_out = i % HOLD_OUT_EVERY == HOLD_OUT_EVERY / 2;
    uint8_t *to = held_out ? t->held_out + t->n_held_out : t->train + t->n_train;
    memcpy(to, data + from, n);
    *(held_out ? &t->n_held_out : &t->n_train) += n;
  }
}

int text_load(struct text *t, const char *path, char *why, size_t cap) {
  struct bytes b = {0};
  *t = (struct text){0};
  int rc = read_all(&b, path, why, cap);
  if (rc == 0) {
    t->hash = hash_bytes(b.data, b.n);
    t->train = malloc(b.n);
    t->held_out = malloc(b.n);
    if (t->train == NULL || t->held_out == NULL) rc = complain(why, cap, path, "no memory for it");
  }
  if (rc == 0) {
    number_symbols(t, b.data, b.n);
    cut(t, b.data, b.n);
  } else {
    text_free(t);
  }
  free(b.data);
  return rc;
}

void text_free(struct text *t) {
  free(t->train);
  free(t->held_out);
  *t = (struct text){0};
}

void text_batch(const uint8_t *part, size_t n, size_t streams, size_t first, size_t count, size_t steps, uint64_t step, uint8_t *in,
                uint8_t *next) {
  for (size_t i = 0; i < count; i++) {
    size_t at = (size_t)(((uint64_t)(first + i) * n / streams + step * steps) % n);
    for (size_t s = 0; s < steps; s++) {
      in[s * count + i] = part[at];
      at = at + 1 == n ? 0 : at + 1;
      next[s * count + i] = part[at];
    }
  }
}
