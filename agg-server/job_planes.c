/* What a job does with its planes: make, connect, stop, fence and unmake them, each under the baton of their reactor. Decides nothing about
 * the job. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "job_internal.h"
#include "pages.h"

/* Lanes opened in one go: others' planes on the reactor wait for no longer than that. */
#define CONNECT_BATCH 32

/* ---- hooks: on the thread that drives the reactor ------------------------------------------------------------------------------- */

static void on_up(void *user, uint32_t peer, const char *name, const char *transport, const char *over) {
  struct job_plane *jp = user;
  ways_up(jp->job->ways, peer, name, transport, over);
}

static void on_connected(void *user) {
  struct job_plane *jp = user;
  atomic_store_explicit(&jp->connected, 1, memory_order_release);
  mail_post(jp->job->env->mailbox, &jp->job->mail);
}

static void on_fault(void *user, enum plane_fault fault, int code, uint32_t peer, uint32_t op, const char *text) {
  struct job_plane *jp = user;
  (void)op;
  /* A server posts no operation, so none is late; and the first fault is the one that counts. */
  if (fault == PLANE_LATE || atomic_load_explicit(&jp->faulted, memory_order_relaxed)) return;
  jp->code = code;
  jp->culprit = peer;
  str_copy(jp->text, sizeof jp->text, text);
  /* Release: code, culprit and text before the mark; pairs with the acquire in job.c. */
  atomic_store_explicit(&jp->faulted, 1, memory_order_release);
  mail_post(jp->job->env->mailbox, &jp->job->mail);
}

static void on_done(void *user, struct plane_op *op) {
  (void)user;
  (void)op;
}

/* ---- opening -------------------------------------------------------------------------------------------------------------------- */

struct open_call {
  struct job_plane *jp;
  const struct control_setup *setup;
  uint32_t next; /* neighbour to go on with */
  int rc;
  agg_error_t *err;
};

static void create(void *arg) {
  struct open_call *call = arg;
  struct job_plane *jp = call->jp;
  struct job *job = jp->job;
  struct plane_config config = {.log = job->env->log,
                                .comm = job->comm,
                                .epoch = call->setup->epoch,
                                .self = job->self,
                                .lane = jp->lane,
                                .priority = jp->priority,
                                .plan = &job->plan,
                                .reduce = reduce_best(),
                                .hooks = {.user = jp, .up = on_up, .connected = on_connected, .done = on_done, .fault = on_fault}};
  const struct pinning *pinning = &job->env->reactors->pinning;
  config.bind = pinning->bind;
  config.node = pinning_node(pinning, jp->reactor_index);
  config.n_tps = reactor_tps(jp->reactor, config.tps);
  call->rc = plane_create(&config, &jp->plane, call->err);
  if (call->rc != 0) return;
  char name[CONTROL_NODE_NAME_MAX];
  for (uint32_t i = 0; call->rc == 0 && i < call->setup->n_nodes; i++) {
    call->rc = plane_name(jp->plane, i, control_node_name(call->setup, i, name, sizeof name));
  }
  if (call->rc != 0) {
    err_set(call->err, call->rc, "no memory for the names of %u nodes", call->setup->n_nodes);
  } else if (plane_neighbours(jp->plane) == 0) {
    on_connected(jp);
  }
}

static int connect_one(struct open_call *call, uint32_t peer, const struct way_here *here) {
  struct job_plane *jp = call->jp;
  struct job *job = jp->job;
  const struct control_node *node = &call->setup->nodes[peer];
  unsigned reactor = reactors_of_plane(jp->priority, jp->lane, job->plan.lanes, node->reactors);
  unsigned char ticket[TP_TICKET_BYTES];
  char name[CONTROL_NODE_NAME_MAX];
  struct way way;
  int rc = way_choose(here, node, reactor, control_node_name(call->setup, peer, name, sizeof name), &way, call->err);
  if (rc != 0) return rc;
  if (jp == job->planes) { /* what goes for the first lane goes for all */
    char why[WAY_TEXT_MAX];
    ways_chosen(job->ways, peer, way_why(here, node, reactor, &way, why, sizeof why));
  }
  control_lane_ticket(call->setup, job->self, peer, jp->priority, jp->lane, ticket);
  rc = plane_connect(jp->plane, peer, way.tp, way.address->bytes, way.address->len, ticket, call->err);
  if (rc != 0) {
    err_prefix(call->err, "connection to %s over %s", name, way.address->transport);
    return rc;
  }
  job->lanes_by_tp[way.tp]++;
  return 0;
}

static void connect_some(void *arg) {
  struct open_call *call = arg;
  struct way_here here;
  unsigned opened = 0;
  way_here_init(&here, call->jp->reactor);
  for (; call->rc == 0 && call->next < call->setup->n_nodes && opened < CONNECT_BATCH; call->next++) {
    if (!plane_is_neighbour(call->jp->plane, call->next)) continue;
    call->rc = connect_one(call, call->next, &here);
    opened++;
  }
}

struct where_call {
  const struct job_plane *jp;
  struct pages *pages;
};

static void where(void *arg) {
  struct where_call *call = arg;
  struct plane_where w;
  plane_get_where(call->jp->plane, &w);
  pages_add(call->pages, &w);
}

static void say_pages(const struct job *job, const char *prefix) {
  struct pages pages = {0};
  for (uint32_t i = 0; i < job->n_planes; i++) {
    struct where_call call = {.jp = &job->planes[i], .pages = &pages};
    reactor_call(job->planes[i].reactor, where, &call);
  }
  pages_say(&pages, job->env->log, prefix);
}

int job_planes_open(struct job *job, const struct control_setup *setup, agg_error_t *err) {
  struct reactors *rs = job->env->reactors;
  char prefix[AGG_NAME_MAX + 32];
  snprintf(prefix, sizeof prefix, "job %s (comm %u)", job->name, job->comm);
  job->ways = ways_create(job->env->log, prefix, setup->n_nodes);
  if (job->ways == NULL) return err_set(err, AGG_ENOMEM, "the server has no memory for another job");
  for (uint32_t i = 0; i < job->n_planes; i++) {
    struct job_plane *jp = &job->planes[i];
    jp->job = job;
    jp->priority = i / job->plan.lanes;
    jp->lane = i % job->plan.lanes;
    jp->reactor_index = reactors_of_plane(jp->priority, jp->lane, job->plan.lanes, rs->n);
    jp->reactor = rs->list[jp->reactor_index];
    struct open_call call = {.jp = jp, .setup = setup, .err = err};
    reactor_call(jp->reactor, create, &call);
    while (call.rc == 0 && call.next < setup->n_nodes) reactor_call(jp->reactor, connect_some, &call);
    if (call.rc != 0) return call.rc;
  }
  say_pages(job, prefix);
  return 0;
}

/* ---- closing --------------------------------------------------------------------------------------------------------------------- */

static void stop(void *arg) {
  struct job_plane *jp = arg;
  struct plane_stats s, *sum = &jp->job->stats;
  plane_stop(jp->plane);
  plane_get_stats(jp->plane, &s);
  sum->chunks += s.chunks;
  sum->puts += s.puts;
  sum->put_bytes += s.put_bytes;
  sum->folds += s.folds;
  sum->fold_bytes += s.fold_bytes;
}

void job_planes_stop(struct job *job) {
  for (uint32_t i = 0; i < job->n_planes; i++) {
    if (job->planes[i].plane != NULL) reactor_call(job->planes[i].reactor, stop, &job->planes[i]);
  }
}

static void ask_fenced(void *arg) {
  struct job_plane *jp = arg;
  jp->fenced = plane_fenced(jp->plane);
}

int job_planes_fenced(struct job *job) {
  int all = 1;
  for (uint32_t i = 0; i < job->n_planes; i++) {
    struct job_plane *jp = &job->planes[i];
    if (jp->plane == NULL || jp->fenced) continue;
    reactor_call(jp->reactor, ask_fenced, jp);
    all &= jp->fenced;
  }
  return all;
}

struct peer_call {
  const struct job_plane *jp;
  uint32_t peer;
};

static void ask_peer(void *arg) {
  struct peer_call *call = arg;
  call->peer = plane_unfenced_peer(call->jp->plane);
}

uint32_t job_planes_unfenced_peer(struct job *job) {
  struct peer_call call = {.peer = FOREST_NONE};
  for (uint32_t i = 0; i < job->n_planes && call.peer == FOREST_NONE; i++) {
    if (job->planes[i].plane == NULL || job->planes[i].fenced) continue;
    call.jp = &job->planes[i];
    reactor_call(call.jp->reactor, ask_peer, &call);
  }
  return call.peer;
}

static void destroy(void *arg) {
  struct job_plane *jp = arg;
  plane_destroy(jp->plane);
  jp->plane = NULL;
}

void job_planes_close(struct job *job) {
  for (uint32_t i = 0; i < job->n_planes; i++) {
    if (job->planes[i].plane != NULL) reactor_call(job->planes[i].reactor, destroy, &job->planes[i]);
  }
}
