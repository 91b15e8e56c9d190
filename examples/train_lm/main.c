/* train_lm: a language model trained data-parallel on a text, as an example of a program that uses libagg. Here: the order of things, and
 * what is said at the beginning and at the end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "train.h"

static void introduce(const struct group *g, const struct args *args, const struct text *text) {
  struct shape shape = {text->vocab, args->hidden, args->layers};
  struct tensors tensors;
  shape_tensors(&shape, &tensors);
  printf("text:  %s, %zu characters of %zu kinds to learn from, %zu held out\n", args->text, text->n_train, text->vocab, text->n_held_out);
  printf("model: GRU, %llu layers of %llu units, %zu weights in %zu tensors\n", (unsigned long long)args->layers,
         (unsigned long long)args->hidden, tensors.total, tensors.n);
  printf("group: %u %s, %u %s, plan %s, transport %s\n\n", g->ranks, g->ranks == 1 ? "worker" : "workers", g->info.servers,
         g->info.servers == 1 ? "server" : "servers", g->info.plan, g->info.transport);
  fflush(stdout);
}

/* Asked before the work, not after it. */
static int can_write(const struct group *g, const char *path) {
  FILE *f = fopen(path, "ae");
  if (f == NULL) return group_complain(g, "%s: cannot be written: %s", path, strerror(errno));
  fclose(f);
  return 0;
}

static int write_picture(const struct group *g, const struct args *args, const struct result *r) {
  char subtitle[512];
  snprintf(subtitle, sizeof subtitle, "%u %s, %u %s, plan %s; GRU of %llu x %llu units; %.0f s", g->ranks,
           g->ranks == 1 ? "worker" : "workers", g->info.servers, g->info.servers == 1 ? "server" : "servers", g->info.plan,
           (unsigned long long)args->layers, (unsigned long long)args->hidden, r->seconds);
  struct picture p = {.title = "A character model learns to read", .subtitle = subtitle, .train = &r->train, .held_out = &r->held_out};
  if (picture_write(&p, args->svg) != 0) return group_complain(g, "%s: cannot be written: %s", args->svg, strerror(errno));
  printf("loss curve: %s\n", args->svg);
  return 0;
}

static void conclude(const struct group *g, const struct result *r) {
  printf("%zu steps in %.1f s: held-out loss %.3f nats per character, %.1fk tokens/s, %.0f %% of the time in aggregation\n", r->train.n,
         r->seconds, r->held_out.loss[r->held_out.n - 1], (double)r->tokens / r->seconds * 1e-3, (double)g->waited_ns * 1e-7 / r->seconds);
  if (!r->same) return;
  if (g->ranks == 1) {
    printf("weights: hash %016llx on the only worker\n", (unsigned long long)r->hash);
  } else {
    printf("weights: bit-identical on all %u workers, hash %016llx\n", g->ranks, (unsigned long long)r->hash);
  }
}

static int run(struct group *g, const struct args *args, const struct text *text) {
  struct result result;
  if (g->rank == 0 && args->svg != NULL && can_write(g, args->svg) != 0) return -1;
  if (g->rank == 0) introduce(g, args, text);
  int rc = train(g, args, text, &result);
  if (rc == 0 && g->rank == 0) conclude(g, &result);
  if (rc == 0 && !result.same)
    rc = group_complain(g, "weights: NOT the same on all workers; here hash %016llx", (unsigned long long)result.hash);
  if (rc == 0 && g->rank == 0 && args->svg != NULL) rc = write_picture(g, args, &result);
  result_free(&result);
  return rc;
}

int main(int argc, char **argv) {
  struct args args;
  struct text text;
  struct group g;
  char why[512];
  int rc = args_read(&args, argc, argv);
  if (rc != 0) return rc < 0;
  if (text_load(&text, args.text, why, sizeof why) != 0) {
    fprintf(stderr, "train_lm: %s\n", why);
    return 1;
  }
  rc = group_open(&g);
  if (rc == 0) rc = run(&g, &args, &text);
  group_close(&g);
  text_free(&text);
  return rc != 0;
}
