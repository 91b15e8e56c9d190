/* Plans for the cluster, explains it for the operation that was asked for, and prints both as text. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-topo/agg_topo.h"

#define WIDTH 120u

int plan_work(const struct args *args, struct planned *p, agg_error_t *err) {
  *p = (struct planned){0};
  int rc = cluster_find(args, &p->cluster, err);
  if (rc != AGG_OK) return rc;
  struct plan_request request = {.plan = args->plan,
                                 .fabric = &p->cluster.fabric,
                                 .cost = &args->cost,
                                 .lanes = args->lanes,
                                 .window = args->window,
                                 .chunk_bytes = args->chunk_bytes,
                                 .strict = args->strict};
  rc = plan_make(&request, &p->plan, err);
  if (rc == AGG_OK) rc = explain_make(&request, &p->plan, args->op, args->bytes, &p->explain, err);
  if (rc != AGG_OK) plan_drop(p);
  return rc;
}

void plan_drop(struct planned *p) {
  explain_fini(&p->explain);
  plan_fini(&p->plan);
  cluster_drop(&p->cluster);
  *p = (struct planned){0};
}

static int print_plan(FILE *to, const struct planned *p, agg_error_t *err) {
  char *text = NULL;
  int rc = explain_plan(&p->plan, &text, err);
  if (rc == AGG_OK) fprintf(to, "\nThe plan: %s", text);
  free(text);
  return rc;
}

int plan_print(FILE *to, const struct planned *p, agg_error_t *err) {
  const struct topo *t = &p->cluster.topo;
  char *text = NULL;
  int rc = explain_text(&p->explain, &text, err);
  if (rc == AGG_OK) fputs(text, to);
  free(text);
  if (rc == AGG_OK) rc = print_plan(to, p, err);
  if (rc == AGG_OK && t->n_notes > 0) putc('\n', to);
  for (uint32_t i = 0; rc == AGG_OK && i < t->n_notes; i++) {
    fputs("note: ", to);
    print_wrapped(to, t->notes[i], 6, 6, WIDTH);
  }
  return rc;
}
