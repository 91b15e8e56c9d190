/* Small texts for people: sizes, and the known name that an unknown one probably meant. */
#ifndef AGG_SERVER_TEXT_H
#define AGG_SERVER_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* "512 B", "1.5 MiB": to be read. Returns buf. */
const char *text_size(uint64_t bytes, char *buf, size_t cap);

/* "4G", "1536M", "1000": exact, and parse_bytes reads it back. Returns buf. */
const char *text_bytes_exact(uint64_t bytes, char *buf, size_t cap);

/* The nearest of the names to `word` when it is near enough to be a slip of the finger (at most a third of its letters differ), else NULL.
 */
const char *text_nearest(const char *word, const char *(*name)(size_t index), size_t count);

#endif
