/* Logging without file-scope state: a struct log is owned by the instance (or the server) and passed down. Thread-safe. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>

#include "agg.h"

struct log {
  agg_log_level_t level; /* set once */
  agg_log_fn fn;         /* NULL: one line on standard error, "agg: <level>: <line>", with the time of day where timestamps is set */
  void *user;
  int timestamps;
};

void log_init(struct log *log, agg_log_level_t level, agg_log_fn fn, void *user);
void log_line(const struct log *log, agg_log_level_t level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Nothing is formatted where the level is off; log may be NULL (nothing is logged). */
#define LOG_AT(log, lvl, ...)                                                        \
  do {                                                                               \
    if ((log) != NULL && (log)->level >= (lvl)) log_line((log), (lvl), __VA_ARGS__); \
  } while (0)
#define LOG_ERROR(log, ...) LOG_AT(log, AGG_LOG_ERROR, __VA_ARGS__)
#define LOG_WARN(log, ...) LOG_AT(log, AGG_LOG_WARN, __VA_ARGS__)
#define LOG_INFO(log, ...) LOG_AT(log, AGG_LOG_INFO, __VA_ARGS__)
#define LOG_DEBUG(log, ...) LOG_AT(log, AGG_LOG_DEBUG, __VA_ARGS__)

/* "off" ... "debug" to a level; -1 for anything else. */
int log_level_parse(const char *text);
const char *log_level_name(agg_log_level_t level);

/* A gate that lets through at most `burst` lines a `period_ns`, counting the rest, for what strangers can provoke.
 * Returns 1 when the line may be logged and then sets *suppressed to the number of lines withheld since the last one. */
struct log_gate {
  uint64_t period_ns;
  uint32_t burst;
  uint64_t window_start_ns;
  uint32_t used;
  uint64_t suppressed;
};
int log_gate_pass(struct log_gate *gate, uint64_t now_ns, uint64_t *suppressed);

#endif
