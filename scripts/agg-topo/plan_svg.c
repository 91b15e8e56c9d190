#include "scripts/agg-topo/agg_topo.h"
int plan_svg(FILE *to, const struct args *args, const struct planned *p, agg_error_t *err) {
  (void)to;
  (void)args;
  (void)p;
  (void)err;
  return 0;
}
