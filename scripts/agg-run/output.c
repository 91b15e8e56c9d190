/* Lines, prefixes and the two outputs of agg-run. Never blocks and never loses or reorders a byte of one stream; knows no processes. */
#include "scripts/agg-run/output.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SINK_FULL (256u * 1024)
#define READ_BYTES (64u * 1024)

static void sink_put(struct sink *s, const char *data, size_t len) {
  if (s->broken) return;
  if (s->off > 0 && s->off == s->len) s->off = s->len = 0;
  if (s->len + len > s->cap) {
    if (s->off > 0) memmove(s->data, s->data + s->off, s->len - s->off);
    s->len -= s->off;
    s->off = 0;
    size_t cap = s->cap > 0 ? s->cap : 4096;
    while (s->len + len > cap) cap *= 2;
    char *grown = cap > s->cap ? realloc(s->data, cap) : s->data;
    if (grown == NULL) {
      s->broken = ENOMEM;
      return;
    }
    s->data = grown;
    s->cap = cap;
  }
  memcpy(s->data + s->len, data, len);
  s->len += len;
}

int sink_full(const struct sink *s) { return !s->broken && s->len - s->off >= SINK_FULL; }
int sink_pending(const struct sink *s) { return !s->broken && s->len > s->off; }

/* A pipe that polls writable takes PIPE_BUF bytes without blocking; the descriptor is shared with others, so it stays blocking. */
void sink_write(struct sink *s) {
  size_t len = s->len - s->off;
  ssize_t done = write(s->fd, s->data + s->off, len < PIPE_BUF ? len : PIPE_BUF);
  if (done >= 0) {
    s->off += (size_t)done;
  } else if (errno != EINTR && errno != EAGAIN) {
    s->broken = errno;
  }
}

void sink_line(struct sink *s, const char *text) {
  if (s->open != NULL) sink_put(s, "\n", 1);
  s->open = NULL;
  sink_put(s, text, strlen(text));
  sink_put(s, "\n", 1);
}

void sink_fini(struct sink *s) { free(s->data); }

int stream_init(struct stream *s, int fd, struct sink *sink, const char *label) {
  memset(s, 0, sizeof(*s));
  s->fd = fd;
  s->sink = sink;
  snprintf(s->prefix, sizeof(s->prefix), "[%s] ", label);
  s->line = malloc(LINE_HOLD);
  return s->line == NULL ? -1 : 0;
}

void stream_fini(struct stream *s) {
  if (s->line != NULL && s->fd >= 0) close(s->fd);
  free(s->line);
  s->line = NULL;
  s->fd = -1;
}

/* Hands the held bytes to the sink. How they end decides whose turn it is next: a newline frees the line, anything else keeps it open. */
static void emit(struct stream *s) {
  struct sink *sink = s->sink;
  char last = s->line[s->len - 1];
  int own = sink->open == s;
  if (sink->open != NULL && !own) sink_put(sink, "\n", 1);
  int continues = own && (!sink->open_returned || (s->after_return && s->len == 1 && last == '\n'));
  if (!continues) sink_put(sink, s->prefix, strlen(s->prefix));
  sink_put(sink, s->line, s->len);
  sink->open = last == '\n' ? NULL : s;
  sink->open_returned = last == '\r';
  s->after_return = last == '\r';
  s->len = 0;
}

static void feed(struct stream *s, const char *data, size_t len) {
  for (size_t i = 0; i < len; i++) {
    s->line[s->len++] = data[i];
    if (data[i] == '\n' || data[i] == '\r' || s->len == LINE_HOLD) emit(s);
  }
}

void stream_flush(struct stream *s) {
  if (s->len > 0) emit(s);
}

static void end_stream(struct stream *s) {
  stream_flush(s);
  if (s->sink->open == s) {
    sink_put(s->sink, "\n", 1);
    s->sink->open = NULL;
  }
  close(s->fd);
  s->fd = -1;
}

int stream_read(struct stream *s) {
  char data[READ_BYTES];
  ssize_t got = read(s->fd, data, sizeof(data));
  if (got > 0) {
    feed(s, data, (size_t)got);
    return 1;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  end_stream(s);
  return -1;
}
