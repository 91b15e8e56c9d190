/* One direction of a lane under load: puts of patterns one behind the other, as many under way as the lane's depth and the slots at its end
 * allow. */
#ifndef TESTS_STREAM_H
#define TESTS_STREAM_H

#include "tests/lib/conform.h"

#define STREAM_DEPTH 12 /* its lane is opened with it, at least */

struct stream {
  struct lane *from, *to;
  struct mem source, target;
  struct tp_raddr at; /* as it was called before the lane moved */
  uint32_t puts, total;
};

/* Takes the lane's notices and reports at these ends. The caller closes source and target. */
void stream_open(struct stream *s, struct lane *from, struct lane *to);
/* Puts what may be under way, up to `total` in all, to which the caller adds. */
void stream_step(struct stream *s);
/* All have arrived and are reported. */
int stream_done(const struct stream *s);

#endif
