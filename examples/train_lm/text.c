/* Reads the text and cuts it. Every rank reads the same file and picks its own readers' symbols from it. Never writes to the terminal. */
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Every tenth block is held out: from all over the text, not only its end. */
#define HOLD_OUT_EVERY 10
#define BLOCKS 60

uint64_t hash_bytes(const void *data, size_t bytes) {
  const uint8_t *p = data;
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

static int read_all(FILE *f, const char *path, size_t bytes, uint8_t **out, char *why, size_t cap) {
  uint8_t *data = malloc(bytes);
  if (data == NULL) {
    snprintf(why, cap, "%s: no memory for its %zu bytes", path, bytes);
    return -1;
  }
  if (fread(data, 1, bytes, f) != bytes) {
    snprintf(why, cap, "%s: cannot be read: %s", path, ferror(f) ? strerror(errno) : "it became shorter");
    free(data);
    return -1;
  }
  *out = data;
  return 0;
}

static int read_file(const char *path, uint8_t **data, size_t *bytes, char *why, size_t cap) {
  struct stat st;
  FILE *f = fopen(path, "rbe");
  if (f == NULL) {
    snprintf(why, cap, "%s: cannot be opened: %s", path, strerror(errno));
    return -1;
  }
  int rc = -1;
  if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
    snprintf(why, cap, "%s: expected a text file", path);
  } else if (st.st_size < TEXT_BYTES_MIN) {
    snprintf(why, cap, "%s: %lld bytes are too few to learn from: at least %d", path, (long long)st.st_size, TEXT_BYTES_MIN);
  } else if (st.st_size > TEXT_BYTES_MAX) {
    snprintf(why, cap, "%s: %lld bytes are too many: at most %u", path, (long long)st.st_size, TEXT_BYTES_MAX);
  } else {
    *bytes = (size_t)st.st_size;
    rc = read_all(f, path, *bytes, data, why, cap);
  }
  fclose(f);
  return rc;
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
  uint8_t *data;
  size_t bytes;
  *t = (struct text){0};
  if (read_file(path, &data, &bytes, why, cap) != 0) return -1;
  t->hash = hash_bytes(data, bytes);
  t->train = malloc(bytes);
  t->held_out = malloc(bytes);
  if (t->train == NULL || t->held_out == NULL) {
    snprintf(why, cap, "%s: no memory for its %zu bytes", path, bytes);
    free(data);
    text_free(t);
    return -1;
  }
  number_symbols(t, data, bytes);
  cut(t, data, bytes);
  free(data);
  return 0;
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
