/* The parts of a plan's picture: each measures itself first (to NULL) and is then drawn at its place. */
#ifndef AGG_TOPO_PLAN_SVG_H
#define AGG_TOPO_PLAN_SVG_H

#include "scripts/agg-topo/agg_topo.h"
#include "topology/cost.h"

struct extent {
  double width, height;
};

struct loaded {
  const struct fabric *f; /* nothing in it is unknown */
  const struct topo *topo;
  const struct forest *forest;
  struct cost_loads loads; /* of the whole operation, in bytes */
  double seconds;          /* predicted */
  double efficiency;       /* part of a link that is payload */
};

struct fabric_picture; /* hosts and switches; those that are alike are one when there are many */

/* AGG_ENOMEM, AGG_ELIMIT (more levels of switches than a picture shows). */
int fabric_picture_make(const struct loaded *l, struct fabric_picture **picture, agg_error_t *err);
void fabric_picture_free(struct fabric_picture *picture); /* takes NULL */
struct extent fabric_picture_extent(const struct fabric_picture *picture);
void fabric_picture_draw(FILE *to, const struct fabric_picture *picture, double x, double y);
int fabric_picture_merged(const struct fabric_picture *picture); /* whether a box stands for several */

/* The trees, or the first of each part. AGG_ENOMEM. */
int trees_draw(FILE *to, const struct loaded *l, double x, double y, double width, double *height, agg_error_t *err);

#endif
