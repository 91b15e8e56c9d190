/*
 * Owns how a log line looks and how it leaves: one write(2) for a whole line, so that lines of several threads and processes do not mix.
 * Keeps no state outside struct log, and never fails: a line that cannot be written is dropped.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define LINE_MAX_BYTES 2048

static const char *const level_names[] = {"off", "error", "warn", "info", "debug"};

const char *log_level_name(agg_log_level_t level) { return (unsigned)level < ARRAY_LEN(level_names) ? level_names[level] : "?"; }

int log_level_parse(const char *text) {
  if (text == NULL) return -1;
  for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
    if (strcmp(text, level_names[i]) == 0) return (int)i;
  }
  return -1;
}

void log_init(struct log *log, agg_log_level_t level, agg_log_fn fn, void *user) {
  *log = (struct log){.level = level, .fn = fn, .user = user};
}

/* What a peer or a user named may stand in a line: it must not be able to begin a line of its own or to steer a terminal. */
static void make_printable(char *text) {
  for (; *text != '\0'; text++) {
    unsigned char c = (unsigned char)*text;
    if (c < 0x20 || c == 0x7f) *text = c == '\t' ? ' ' : '?';
  }
}

/* "2024-05-31 12:00:00.123 " in local time. Returns the length, which is 0 when the clock cannot be read. */
static size_t put_time(char *out, size_t cap) {
  struct timespec now;
  struct tm tm;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0 || localtime_r(&now.tv_sec, &tm) == NULL) return 0;
  size_t n = strftime(out, cap, "%Y-%m-%d %H:%M:%S", &tm);
  int more = snprintf(out + n, cap - n, ".%03d ", (int)(now.tv_nsec / 1000000));
  return more > 0 && (size_t)more < cap - n ? n + (size_t)more : 0;
}

static void write_line(const struct log *log, agg_log_level_t level, const char *text) {
  char out[LINE_MAX_BYTES + 96];
  size_t n = log->timestamps ? put_time(out, 64) : 0;
  int more = snprintf(out + n, sizeof out - n, "agg: %s: %s\n", log_level_name(level), text);
  if (more < 0) return;
  n += (size_t)more;
  ssize_t rc;
  do {
    rc = write(STDERR_FILENO, out, n);
  } while (rc < 0 && errno == EINTR);
}

void log_line(const struct log *log, agg_log_level_t level, const char *fmt, ...) {
  if (log == NULL || level <= AGG_LOG_OFF || level > log->level) return;
  int saved = errno;
  char text[LINE_MAX_BYTES];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n >= 0) {
    if ((size_t)n >= sizeof text) memcpy(text + sizeof text - 4, "...", 4);
    make_printable(text);
    if (log->fn != NULL) {
      log->fn(log->user, level, text);
    } else {
      write_line(log, level, text);
    }
  }
  errno = saved;
}

int log_gate_pass(struct log_gate *gate, uint64_t now_ns, uint64_t *suppressed) {
  if (now_ns - gate->window_start_ns >= gate->period_ns) {
    gate->window_start_ns = now_ns;
    gate->used = 0;
  }
  if (gate->used >= gate->burst) {
    gate->suppressed++;
    return 0;
  }
  gate->used++;
  *suppressed = gate->suppressed;
  gate->suppressed = 0;
  return 1;
}
