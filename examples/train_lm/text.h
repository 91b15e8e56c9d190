/* The text: read from a file or a folder, turned into symbols, cut into a part to learn from and a part that is held out. */
#ifndef TRAIN_LM_TEXT_H
#define TRAIN_LM_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
  size_t vocab;
  uint8_t byte_of[256];      /* symbol to byte */
  uint8_t *train, *held_out; /* symbols; owned */
  size_t n_train, n_held_out;
  uint64_t hash; /* of the bytes as read */
};

#define TEXT_BYTES_MIN 4096
#define TEXT_BYTES_MAX (256u << 20)

/* 0, or -1 with one line about it in why. */
int text_load(struct text *t, const char *path, char *why, size_t cap);
void text_free(struct text *t);

/* FNV-1a, 64 bits. */
uint64_t hash_bytes(const void *data, size_t bytes);

/* A batch is read by `streams` readers that start evenly spread over the part and move on by `steps` symbols each time, around its end.
 * Fills in and next (steps x count, see model.h) for readers first .. first+count-1 at their step number `step`. */
void text_batch(const uint8_t *part, size_t n, size_t streams, size_t first, size_t count, size_t steps, uint64_t step, uint8_t *in,
                uint8_t *next);

#endif
