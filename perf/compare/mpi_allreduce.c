/*
 * MPI_Allreduce of float32 sums, in place, measured as agg-perf measures: barrier, clock, operation, clock; the time of an iteration is the
 * largest over the ranks; median and 99th percentile; every element checked in the first and last iteration. Buffers are page-aligned
 * malloc, touched. Prints agg-perf's JSON fields. Arguments: [-w WARMUP] [-n ITERATIONS] and sizes in bytes. The number of iterations
 * follows agg-perf's rule unless it is given.
 */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define WARMUP 5
#define AUTO_SECONDS 0.4
#define AUTO_MIN 10
#define AUTO_MAX 4000

static int rank, ranks;
static int warmup = WARMUP, iterations; /* 0 iterations: as many as fit AUTO_SECONDS */

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_s(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* Small whole numbers: sums are exact. */
static float input(int of_rank, size_t i, int round) { return (float)(1 + (i * 31 + (size_t)of_rank * 17 + (size_t)round * 7) % 1021); }

static void fill(float *data, size_t count, int round) {
  for (size_t i = 0; i < count; i++) data[i] = input(rank, i, round);
}

static unsigned long long count_wrong(const float *data, size_t count, int round) {
  unsigned long long wrong = 0;
  for (size_t i = 0; i < count; i++) {
    double want = 0;
    for (int r = 0; r < ranks; r++) want += (double)input(r, i, round);
    wrong += !((double)data[i] == want);
  }
  return wrong;
}

static double timed(float *data, size_t count) {
  MPI_Barrier(MPI_COMM_WORLD);
  double begin = now_s();
  MPI_Allreduce(MPI_IN_PLACE, data, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  return now_s() - begin;
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static int warm_up(float *data, size_t count) {
  double each = 0;
  fill(data, count, -1);
  for (int i = 0; i < warmup || (i == 0 && iterations == 0); i++) each = timed(data, count);
  if (iterations > 0) return iterations;
  MPI_Allreduce(MPI_IN_PLACE, &each, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  double wanted = AUTO_SECONDS / (each > 1e-7 ? each : 1e-7);
  return wanted < AUTO_MIN ? AUTO_MIN : wanted > AUTO_MAX ? AUTO_MAX : (int)wanted;
}

static void report(double *times, int n, size_t bytes, double cpu, unsigned long long wrong) {
  char version[MPI_MAX_LIBRARY_VERSION_STRING];
  int len;
  MPI_Get_library_version(version, &len);
  version[strcspn(version, ",\"\n")] = '\0';
  const char *transport = getenv("COMPARE_TRANSPORT");
  qsort(times, (size_t)n, sizeof(*times), compare_doubles);
  double median = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
  double algbw = (double)bytes / median * 1e-9;
  printf("{\"peer\":\"%s\",\"op\":\"allreduce\",\"dtype\":\"f32\",\"redop\":\"sum\",\"bytes\":%zu,\"count\":%zu,\"inplace\":1,", version,
         bytes, bytes / sizeof(float));
  printf("\"ranks\":%d,\"servers\":0,\"transport\":\"%s\",\"plan\":\"mpi\",\"memory\":\"malloc\",\"iterations\":%d,", ranks,
         transport != NULL ? transport : "default", n);
  printf("\"median_us\":%.3f,\"p99_us\":%.3f,\"min_us\":%.3f,\"algbw_GBps\":%.6f,\"busbw_GBps\":%.6f,", median * 1e6,
         times[(size_t)ceil(0.99 * n) - 1] * 1e6, times[0] * 1e6, algbw, algbw * 2 * (ranks - 1) / ranks);
  printf("\"cpu_s_per_GB\":%.4f,\"wrong\":%llu,\"checked\":1}\n", cpu / ((double)bytes * 1e-9 * n), wrong);
  fflush(stdout);
}

static int measure(size_t bytes) {
  size_t count = bytes / sizeof(float);
  void *memory = NULL;
  if (count == 0 || posix_memalign(&memory, 4096, bytes) != 0) return 1;
  float *data = memory;
  memset(data, 0, bytes);
  int n = warm_up(data, count);
  double *times = calloc((size_t)n, sizeof(*times)), cpu = 0;
  unsigned long long wrong = 0;
  if (times == NULL) return 1;
  for (int i = 0; i < n; i++) {
    int checked = i == 0 || i + 1 == n;
    if (checked) {
      fill(data, count, i);
      MPI_Barrier(MPI_COMM_WORLD);
    }
    double before = cpu_s();
    times[i] = timed(data, count);
    cpu += cpu_s() - before;
    if (checked) wrong += count_wrong(data, count, i);
  }
  MPI_Allreduce(MPI_IN_PLACE, times, n, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  MPI_Allreduce(MPI_IN_PLACE, &cpu, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
  if (rank == 0) report(times, n, bytes, cpu, wrong);
  free(times);
  free(data);
  return wrong > 0;
}

int main(int argc, char **argv) {
  int rc = 0, option;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  while ((option = getopt(argc, argv, "w:n:")) != -1) {
    if (option == 'w') warmup = atoi(optarg);
    if (option == 'n') iterations = atoi(optarg);
    if (option == '?') rc = 2;
  }
  for (int i = optind; i < argc && rc == 0; i++) rc = measure(strtoull(argv[i], NULL, 10));
  MPI_Finalize();
  return rc;
}
