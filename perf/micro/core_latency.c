/*
 * One way between two cores: two pinned threads pass a number to and fro in one cache line. Prints nanoseconds one way.
 * core_latency [core [core]], default 0 and 1. On virtual machines the host moves cores, so figures of shared memory
 * belong together only while this number is the same.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 100000u
#define TURNS 7 /* the best of them: a tick in between only makes it longer */

struct line {
  _Alignas(64) _Atomic unsigned ball;
  _Alignas(64) _Atomic int failed;
};

struct player {
  struct line *line;
  int core;
};

static int pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  return pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/* Answers every odd number with the next even one. */
static void *answer(void *arg) {
  struct player *p = arg;
  int rc = pin(p->core);
  if (rc != 0) atomic_store(&p->line->failed, rc);
  for (unsigned i = 0; i < ROUNDS * TURNS; i++) {
    while (atomic_load_explicit(&p->line->ball, memory_order_acquire) != 2 * i + 1) continue;
    atomic_store_explicit(&p->line->ball, 2 * i + 2, memory_order_release);
  }
  return NULL;
}

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double play(struct line *line) {
  double best = 1e12;
  for (unsigned turn = 0; turn < TURNS; turn++) {
    double begin = now_ns();
    for (unsigned i = turn * ROUNDS; i < (turn + 1) * ROUNDS; i++) {
      atomic_store_explicit(&line->ball, 2 * i + 1, memory_order_release);
      while (atomic_load_explicit(&line->ball, memory_order_acquire) != 2 * i + 2) continue;
    }
    double one_way = (now_ns() - begin) / (2.0 * ROUNDS);
    if (one_way < best) best = one_way;
  }
  return best;
}

int main(int argc, char **argv) {
  static struct line line;
  int here = argc > 1 ? atoi(argv[1]) : 0, there = argc > 2 ? atoi(argv[2]) : 1;
  struct player player = {&line, there};
  pthread_t thread;
  if (here < 0 || there < 0 || here >= CPU_SETSIZE || there >= CPU_SETSIZE || here == there) {
    fprintf(stderr, "core_latency: expected two different core numbers\n");
    return 2;
  }
  int rc = pin(here);
  if (rc == 0) rc = pthread_create(&thread, NULL, answer, &player);
  if (rc != 0) {
    fprintf(stderr, "core_latency: core %d: %s\n", here, strerror(rc));
    return 1;
  }
  double ns = play(&line);
  pthread_join(thread, NULL);
  if (atomic_load(&line.failed) != 0) {
    fprintf(stderr, "core_latency: core %d: %s\n", there, strerror(atomic_load(&line.failed)));
    return 1;
  }
  printf("%.0f\n", ns);
  return 0;
}
