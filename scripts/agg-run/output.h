/* What the workers and servers print: read from their pipes, cut into lines, each with its prefix, written without ever blocking. */
#ifndef AGG_RUN_OUTPUT_H
#define AGG_RUN_OUTPUT_H

#include <stddef.h>

#define PREFIX_CAP 24
#define LINE_HOLD (64u * 1024) /* a longer line is passed on in pieces */

struct stream;

/* Own standard output or standard error with what waits to be written to it. */
struct sink {
  int fd;
  char *data;
  size_t off, len, cap;
  int broken;                /* errno of a failed write; what comes later is dropped */
  const struct stream *open; /* whose unfinished line stands at the end, or NULL */
  int open_returned;         /* that line ended in a carriage return: its writer begins again at the left */
};

/* One pipe from a child. */
struct stream {
  int fd; /* owned; -1: at its end */
  struct sink *sink;
  char prefix[PREFIX_CAP];
  char *line; /* LINE_HOLD bytes, owned: the begun line that is held back */
  size_t len;
  int after_return; /* the last byte seen was a carriage return that has been passed on */
};

int stream_init(struct stream *s, int fd, struct sink *sink, const char *label);
void stream_fini(struct stream *s);

/* Reads once (the descriptor is non-blocking). 1: there may be more, 0: nothing now, -1: at its end, which closes it. */
int stream_read(struct stream *s);
/* Passes on a begun line that has been held back, as a prompt that waits for its answer is. */
void stream_flush(struct stream *s);

int sink_full(const struct sink *s); /* no more should be read for it */
int sink_pending(const struct sink *s);
/* Writes what can be written without blocking; to be called when poll says POLLOUT. */
void sink_write(struct sink *s);
/* agg-run's own word: a line of its own, after any unfinished one. */
void sink_line(struct sink *s, const char *text);
void sink_fini(struct sink *s);

#endif
