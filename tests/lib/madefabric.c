/* Made-up clusters, by seed. */
#include "madefabric.h"

#include <check.h>
#include <stdio.h>

static double rate(struct rng *r) { return 1e9 * (double)(1 + rng_below(r, 8)); }

static uint32_t add_link(struct fabric *f, enum fabric_link_kind kind, uint32_t parent, double bytes_per_s) {
  agg_error_t err = {0};
  char name[32];
  uint32_t link;
  snprintf(name, sizeof name, "%s%u", kind == FABRIC_LINK_HOST ? "node" : "rack", f->n_links);
  ck_assert_msg(fabric_add_link(f, kind, parent, name, bytes_per_s, &link, &err) == AGG_OK, "%s", err.text);
  return link;
}

static uint32_t pick_host(struct fabric *f, struct rng *r, const struct madefabric *what, const uint32_t *racks, uint32_t n_racks) {
  if (what->shared && rng_below(r, 2) == 0) {
    uint32_t link = (uint32_t)rng_below(r, f->n_links);
    if (f->link[link].kind == FABRIC_LINK_HOST) return link;
  }
  return add_link(f, FABRIC_LINK_HOST, racks[rng_below(r, n_racks)], rate(r));
}

void madefabric(struct fabric *f, struct rng *r, const struct madefabric *what, const struct cost *cost) {
  agg_error_t err = {0};
  uint32_t racks[16] = {FABRIC_CORE}, n_racks = (uint32_t)rng_below(r, what->racks_max + 1);
  ck_assert_int_eq(fabric_init(f, &err), AGG_OK);
  for (uint32_t i = 0; i < n_racks; i++)
    racks[i] = add_link(f, FABRIC_LINK_SWITCH, i > 1 && rng_below(r, 4) == 0 ? racks[0] : FABRIC_CORE, (double)rng_below(r, 4) * rate(r));
  if (n_racks == 0) n_racks = 1;
  uint32_t workers = 1 + (uint32_t)rng_below(r, what->workers_max), servers = (uint32_t)rng_below(r, what->servers_max + 1);
  for (uint32_t i = 0; i < workers + servers; i++)
    ck_assert_int_eq(fabric_add_node(f, i >= workers, pick_host(f, r, what, racks, n_racks), &err), AGG_OK);
  f->transport = rng_below(r, 2) ? FABRIC_TCP : FABRIC_VERBS;
  for (uint32_t i = 0; i < workers + servers; i++) {
    f->node[i].threads = 1 + (uint32_t)rng_below(r, 2);
    if (what->unlimited)
      f->node[i].sum_bytes_per_s = 0;
    else if (rng_below(r, 2))
      f->node[i].sum_bytes_per_s = 3 * rate(r);
  }
  for (uint32_t i = 0; what->unlimited && i < f->n_links; i++) f->link[i].memory_bytes_per_s = 0;
  fabric_assume(f, cost);
  ck_assert_msg(fabric_check(f, &err) == AGG_OK, "%s", err.text);
}

void madefabric_links_only(struct cost *cost) {
  agg_error_t err = {0};
  cost_init(cost);
  const char *text =
      "hop_shm=0s,hop_verbs=0s,hop_tcp=0s,chunk=0s,message_shm=0s,message_verbs=0s,message_tcp=0s,byte_tcp=1e18,copy=1e18,"
      "header_tcp=0,header_verbs=0,frame=0";
  ck_assert_msg(cost_parse(cost, text, &err) == AGG_OK, "%s", err.text);
}
