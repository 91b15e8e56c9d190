/* A bar that is drawn over itself on a terminal; anywhere else a plain line now and then. Prints nothing on other ranks than 0. */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS 24
#define REDRAW_NS 100000000u
#define PLAIN_LINES 20

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void progress_start(struct progress *p, int shown, uint64_t steps) {
  *p = (struct progress){
      .shown = shown, .tty = shown && isatty(STDOUT_FILENO), .steps = steps, .start_ns = now_ns(), .loss = -1, .held_out = -1};
}

static void draw_bar(uint64_t step, uint64_t steps) {
  char bar[BAR_CELLS + 1];
  size_t full = (size_t)(step * BAR_CELLS / steps);
  memset(bar, '.', BAR_CELLS);
  memset(bar, '#', full);
  bar[BAR_CELLS] = '\0';
  printf("\r\x1b[K[%s] ", bar);
}

static void print_state(const struct progress *p, uint64_t step, uint64_t tokens, uint64_t waited_ns, uint64_t now) {
  double seconds = (double)(now - p->start_ns) * 1e-9, left = seconds / (double)step * (double)(p->steps - step);
  printf("step %llu/%llu  loss %.3f", (unsigned long long)step, (unsigned long long)p->steps, p->loss);
  if (p->held_out >= 0) printf(" (held out %.3f)", p->held_out);
  printf("  %.1fk tokens/s  aggregation %.0f %%  %.0f s left", (double)tokens / seconds * 1e-3, (double)waited_ns * 1e-7 / seconds, left);
}

void progress_step(struct progress *p, uint64_t step, double loss, uint64_t tokens, uint64_t waited_ns) {
  if (!p->shown) return;
  p->loss = p->loss < 0 ? loss : 0.95 * p->loss + 0.05 * loss;
  uint64_t now = now_ns();
  if (p->tty) {
    if (now - p->last_ns < REDRAW_NS && step != p->steps) return;
    draw_bar(step, p->steps);
    print_state(p, step, tokens, waited_ns, now);
  } else {
    if (step < p->next_line && step != p->steps) return;
    p->next_line = step + (p->steps + PLAIN_LINES - 1) / PLAIN_LINES;
    print_state(p, step, tokens, waited_ns, now);
    putchar('\n');
  }
  p->last_ns = now;
  fflush(stdout);
}

void progress_end(struct progress *p) {
  if (p->tty) putchar('\n');
  fflush(stdout);
}
