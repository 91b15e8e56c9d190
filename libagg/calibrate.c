/*
 * Measures sums and copies, best of a few short rounds, and keeps the figures. The file has a line for each kind of machine: processor, sum
 * kernel, build and cores, then the figures. What cannot be read there is measured; what cannot be written is forgotten.
 */
#include "calibrate.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "reduce/reduce.h"

#define FORMAT 1
#define KEY_MAX 256
#define FILE_MAX (64u << 10)
#define SUM_INPUTS 4u
#define SUM_BYTES (64u << 10) /* of one input: all of them fit the second-level cache */
#define COPY_BYTES (4u << 20) /* of a thread: not all threads' fit one */
#define ROUNDS 6
#define COPY_THREADS 4u
#define TURN_MS 200

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BUILD_KIND "sanitized"
#elif defined(__OPTIMIZE__)
#define BUILD_KIND "optimized"
#else
#define BUILD_KIND "debug"
#endif

/* ---- measuring ----------------------------------------------------------------------------------------------------------------------- */

static uint64_t rate(uint64_t bytes, uint64_t ns) { return ns != 0 ? (uint64_t)((double)bytes * 1e9 / (double)ns) : 0; }

static uint64_t measure_sum(void) {
  float *mem = calloc(SUM_INPUTS + 1, SUM_BYTES);
  const void *in[SUM_INPUTS];
  uint64_t best = 0;
  if (mem == NULL) return 0;
  for (unsigned i = 0; i < SUM_INPUTS; i++) in[i] = mem + (i + 1) * (SUM_BYTES / sizeof *mem);
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t from = clock_now_ns();
    for (int i = 0; i < 4; i++) reduce_best()->fn[AGG_F32][AGG_SUM](mem, in, SUM_INPUTS, SUM_BYTES / sizeof *mem, 1);
    best = MAX_OF(best, rate(4ull * SUM_INPUTS * SUM_BYTES, clock_now_ns() - from));
  }
  free(mem);
  return best;
}

static void *copy_some(void *arg) {
  char *mem = arg;
  for (int i = 0; i < 2; i++) memcpy(mem + (i == 0 ? COPY_BYTES : 0), mem + (i == 0 ? 0 : COPY_BYTES), COPY_BYTES);
  return NULL;
}

/* All threads together, from the start of the first to the end of the last. */
static uint64_t measure_copy(unsigned cores) {
  unsigned n = MAX_OF(1u, MIN_OF(cores, COPY_THREADS));
  char *mem = calloc(n, 2ull * COPY_BYTES);
  pthread_t thread[COPY_THREADS];
  uint64_t best = 0;
  if (mem == NULL) return 0;
  memset(mem, 1, n * 2ull * COPY_BYTES); /* its pages are there */
  for (int round = 0; round < ROUNDS / 2; round++) {
    unsigned started = 0;
    uint64_t from = clock_now_ns();
    while (started + 1 < n && pthread_create(&thread[started], NULL, copy_some, mem + (started + 1) * 2ull * COPY_BYTES) == 0) started++;
    (void)copy_some(mem);
    for (unsigned i = 0; i < started; i++) pthread_join(thread[i], NULL);
    best = MAX_OF(best, rate((started + 1ull) * 2 * COPY_BYTES, clock_now_ns() - from));
  }
  free(mem);
  return best;
}

/* ---- the file ------------------------------------------------------------------------------------------------------------------------ */

static unsigned own_cores(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static void make_key(char *key, size_t cap, unsigned cores) {
  char line[256], model[160] = "unknown processor";
  FILE *file = fopen("/proc/cpuinfo", "re");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, "model name", 10) != 0 || strchr(line, ':') == NULL) continue;
    line[strcspn(line, "\n")] = '\0';
    str_copy(model, sizeof model, strchr(line, ':') + 2);
    break;
  }
  if (file != NULL) fclose(file);
  snprintf(key, cap, "%d %s, %s, " BUILD_KIND ", %u cores:", FORMAT, model, reduce_best()->name, cores);
}

/* Opens it for reading and adding, made where it is missing; -1: there is no place for it. */
static int open_file(void) {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  char dir[1024], path[1100];
  int has_cache = cache != NULL && cache[0] == '/', n;
  if (!has_cache && (home == NULL || home[0] != '/')) return -1;
  n = snprintf(dir, sizeof dir, "%s%s", has_cache ? cache : home, has_cache ? "" : "/.cache");
  if (n < 0 || (size_t)n >= sizeof dir) return -1;
  (void)mkdir(dir, 0700);
  snprintf(path, sizeof path, "%s/agg", dir);
  (void)mkdir(path, 0755);
  snprintf(path, sizeof path, "%s/agg/calibration", dir);
  return open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* Others that start now wait here while the first one measures, and then read. One that is stopped holds nobody up for long. */
static void wait_turn(int fd) {
  for (int i = 0; i < TURN_MS && flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
    struct timespec ms = {.tv_nsec = 1000000};
    nanosleep(&ms, NULL);
  }
}

static int find(int fd, const char *key, struct calibration *c) {
  char *text = calloc(1, FILE_MAX + 1);
  int found = 0;
  if (text == NULL) return 0;
  ssize_t n = pread(fd, text, FILE_MAX, 0);
  for (char *line = n > 0 ? text : NULL; line != NULL && !found; line = strchr(line, '\n')) {
    line += *line == '\n';
    unsigned long long sum, copy;
    if (strncmp(line, key, strlen(key)) != 0) continue;
    found = sscanf(line + strlen(key), " sum=%llu copy=%llu", &sum, &copy) == 2;
    if (found) *c = (struct calibration){.sum_bytes_per_s = sum, .copy_bytes_per_s = copy};
  }
  free(text);
  return found;
}

static void add(int fd, const char *key, const struct calibration *c) {
  char line[KEY_MAX + 64];
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_size > (off_t)(FILE_MAX - sizeof line)) return;
  int n = snprintf(line, sizeof line, "%s sum=%llu copy=%llu\n", key, (unsigned long long)c->sum_bytes_per_s,
                   (unsigned long long)c->copy_bytes_per_s);
  ssize_t written = write(fd, line, (size_t)n);
  (void)written;
}

void calibrate(const struct log *log, struct calibration *c) {
  char key[KEY_MAX];
  unsigned cores = own_cores();
  make_key(key, sizeof key, cores);
  int fd = open_file(), known = 0;
  if (fd >= 0) {
    wait_turn(fd);
    known = find(fd, key, c);
  }
  if (!known) *c = (struct calibration){.sum_bytes_per_s = measure_sum(), .copy_bytes_per_s = measure_copy(cores)};
  if (!known && fd >= 0 && c->sum_bytes_per_s != 0 && c->copy_bytes_per_s != 0) add(fd, key, c);
  if (fd >= 0) close(fd);
  LOG_INFO(log, "calibration (%s): sums %.1f GB/s of input a thread, copies %.1f GB/s", known ? "kept" : "measured",
           (double)c->sum_bytes_per_s / 1e9, (double)c->copy_bytes_per_s / 1e9);
}
