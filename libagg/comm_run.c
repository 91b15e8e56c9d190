/*
 * A communicator at work and at its end: taking posted operations into the planes, completing them, and, when something ends the group,
 * stopping the planes, fencing their lanes and failing what is unfinished. Runs on the reactors' drivers and on the control thread.
 *
 * The end:  status is set once (comm_abort) -> every plane stops and fences (work) -> the last one fails all operations -> over
 */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "comm.h"

#define FENCE_LIMIT_NS 1000000000ull /* a peer that holds shared memory gets this long to let go */
#define FAULT_LIMIT_NS 1500000000ull /* for the coordinator to end the group after a fault was reported */
#define ASK_AFTER_NS 1000000000ull   /* an operation that waits this long makes the coordinator compare what the ranks have called */
#define LATE_LIMIT_NS 3000000000ull  /* for the coordinator to find out who is late */

/* ---- completing --------------------------------------------------------------------------------------------------------------- */

static void callback_after(struct callback *cb) { request_unref(CONTAINER_OF(cb, struct agg_request, callback)); }

/* Its time counts when nothing of the communicator overlapped it. */
static void take_time(struct agg_comm *c, const struct agg_request *r) {
  if (r->sample == TUNE_NONE || !r->alone || atomic_load(&c->posts) != r->number) return;
  tune_sample(c->tune, r->generation, r->sample, (double)(clock_now_ns() - r->posted_ns) / 1e9);
}

static void complete(struct agg_request *r, int status) {
  struct agg_comm *c = r->comm;
  struct reactor *reactor = r->reactor;
  _Atomic uint32_t *word = &r->done;
  struct callback *callback = r->callback.fn != NULL ? &r->callback : NULL;
  if (status == AGG_OK) take_time(c, r);
  r->status = status;
  atomic_fetch_add(&c->completed, 1);
  atomic_store(&c->queues[r->priority].ring[r->seq % COMM_OPS_MAX], NULL);
  if (r->internal) return; /* nobody waits for it, and it is posted again */
  atomic_fetch_add_explicit(&c->operations, 1, memory_order_relaxed);
  r->callback.status = status;
  r->callback.after = callback_after;
  atomic_store(word, 1); /* from here on a waiter may free r: only the word's address is used below */
  reactor_notify(reactor, word);
  /* Last: without a waiter the callback's reference is the only one, and r is another operation's as soon as the callback has run. */
  if (callback != NULL) callbacks_push(c->agg->callbacks, callback);
}

static void on_done(void *user, struct plane_op *op) {
  struct comm_plane *cp = user;
  cp->client.outstanding--;
  struct agg_request *r = op->user;
  if (atomic_fetch_sub(&r->planes_left, 1) == 1) complete(r, AGG_OK);
}

/* Every plane is fenced: nothing of this communicator touches user memory any more. */
static void fail_all(struct agg_comm *c) {
  int status = atomic_load(&c->status);
  pthread_mutex_lock(&c->post_lock); /* posts look at status under it: none comes after this */
  for (unsigned p = 0; p < AGG_PRIORITY_COUNT; p++) {
    for (uint32_t i = 0; i < COMM_OPS_MAX; i++) {
      struct agg_request *r = atomic_load(&c->queues[p].ring[i]);
      if (r != NULL) complete(r, status);
    }
  }
  pthread_mutex_unlock(&c->post_lock);
  atomic_store(&c->over, 1);
  reactor_notify(comm_reactor(c, 0), &c->over);
}

/* ---- ending ---------------------------------------------------------------------------------------------------------------------- */

void comm_abort(struct agg_comm *c, int code, const char *text) {
  pthread_mutex_lock(&c->error_lock);
  int first = atomic_load(&c->status) == AGG_OK;
  if (first) {
    err_set(&c->error, code, "%s", text);
    atomic_store(&c->status, code);
  }
  pthread_mutex_unlock(&c->error_lock);
  if (!first) return;
  if (code != AGG_ECLOSED) LOG_WARN(&c->agg->log, "communicator %u ended: %s", c->setup.comm, text);
  atomic_fetch_add(&c->progress, 1);
  reactor_notify(c->agg->reactors[0], &c->progress); /* plane 0 lives there; it may not have been made yet */
  for (unsigned i = 0; i < c->agg->n_reactors; i++) reactor_kick(c->agg->reactors[i]);
}

static void say_unfenced(struct agg_comm *c, const struct plane *plane) {
  uint32_t peer = plane_unfenced_peer(plane);
  char name[CONTROL_NODE_NAME_MAX];
  if (peer == FOREST_NONE) return;
  control_node_name(&c->setup, peer, name, sizeof name);
  LOG_WARN(&c->agg->log, "communicator %u: %s has not let go of shared memory: it may still write into buffers of unfinished operations",
           c->setup.comm, name);
}

/* With the baton, on every turn after the status was set. */
static int end_plane(struct comm_plane *cp) {
  struct agg_comm *c = cp->comm;
  if (cp->over) return 0;
  if (!cp->stopped) {
    plane_stop(cp->plane);
    cp->stopped = 1;
    cp->fence_by_ns = clock_now_ns() + FENCE_LIMIT_NS;
  }
  if (!plane_idle(cp->plane) && !plane_fenced(cp->plane)) { /* an idle plane has given nobody a place to write to */
    if (clock_now_ns() < cp->fence_by_ns) return 0;
    say_unfenced(c, cp->plane);
  }
  cp->over = 1;
  if (atomic_fetch_add(&c->planes_over, 1) + 1 == c->n_planes) fail_all(c);
  return 1;
}

/* ---- the reactors' client ----------------------------------------------------------------------------------------------------------- */

static int client_work(void *user) {
  struct comm_plane *cp = user;
  struct agg_comm *c = cp->comm;
  struct comm_queue *q = &c->queues[cp->priority];
  if (atomic_load_explicit(&c->status, memory_order_acquire) != AGG_OK) return end_plane(cp);
  uint32_t posted = atomic_load_explicit(&q->posted, memory_order_acquire);
  int did = 0;
  while (cp->taken != posted) {
    struct agg_request *r = atomic_load_explicit(&q->ring[cp->taken % COMM_OPS_MAX], memory_order_relaxed);
    cp->client.outstanding++; /* the operation may be done within the call */
    int rc = plane_post(cp->plane, &r->ops[cp->lane]);
    if (rc == AGG_ELIMIT || rc == AGG_ECLOSED) { /* full: again after the next done; stopped: the end is under way */
      cp->client.outstanding--;
      break;
    }
    cp->taken++;
    did = 1;
    if (rc != AGG_OK) {
      comm_abort(c, rc, "an operation's memory could not be registered with a transport");
      break;
    }
  }
  return did;
}

/* What was called, while it has not completed, and when; 0 where it has. Requests are given back to the pool under post_lock only, so that
 * one that is still in the ring can be read, also when another reactor completes it. */
static uint64_t describe_call(struct agg_comm *c, uint32_t priority, uint32_t op, char *text, size_t cap) {
  pthread_mutex_lock(&c->post_lock);
  const struct agg_request *r = atomic_load(&c->queues[priority].ring[op % COMM_OPS_MAX]);
  int found = r != NULL && r->seq == op;
  uint64_t posted_ns = found ? r->posted_ns : 0;
  if (found) op_desc_format(&r->ops[0].desc, text, cap);
  pthread_mutex_unlock(&c->post_lock);
  return posted_ns;
}

/* The first operation of the queue that has waited for a while: ranks that each believe to be the root send nothing to one another, so only
 * the coordinator can see that they disagree. */
static void ask_about_oldest(struct comm_plane *cp, uint64_t now_ns) {
  struct agg_comm *c = cp->comm;
  const struct comm_queue *q = &c->queues[cp->priority];
  if (cp->lane != 0 || !atomic_load(&c->running)) return;
  while (cp->oldest != cp->taken && atomic_load(&q->ring[cp->oldest % COMM_OPS_MAX]) == NULL) cp->oldest++;
  if (cp->oldest == cp->taken || (cp->asked && cp->asked_op == cp->oldest)) return;
  char what[128] = "";
  uint64_t posted_ns = describe_call(c, cp->priority, cp->oldest, what, sizeof what);
  if (posted_ns == 0 || now_ns < posted_ns + ASK_AFTER_NS) return;
  cp->asked = 1;
  cp->asked_op = cp->oldest;
  member_ask(c->member, cp->priority, cp->oldest, what, (double)(now_ns - posted_ns) / 1e9);
}

static void client_time(void *user, uint64_t now_ns) {
  struct comm_plane *cp = user;
  struct agg_comm *c = cp->comm;
  if (atomic_load(&c->status) != AGG_OK) {
    end_plane(cp);
    return;
  }
  plane_time(cp->plane, now_ns);
  ask_about_oldest(cp, now_ns);
  agg_error_t due = {0};
  pthread_mutex_lock(&c->error_lock);
  if (c->fallback.due_ns != 0 && now_ns >= c->fallback.due_ns) due = c->fallback.error;
  pthread_mutex_unlock(&c->error_lock);
  if (due.code != 0) comm_abort(c, due.code, due.text);
}

void comm_client_init(struct comm_plane *cp) {
  cp->client = (struct reactor_client){.work = client_work, .time = client_time, .user = cp, .urgent = cp->priority == AGG_PRIORITY_HIGH};
}

/* ---- the planes' hooks ----------------------------------------------------------------------------------------------------------------
 */

static void on_up(void *user, uint32_t peer, const char *name, const char *transport, const char *over) {
  struct comm_plane *cp = user;
  ways_up(cp->comm->ways, peer, name, transport, over);
}

static void on_connected(void *user) {
  struct comm_plane *cp = user;
  struct agg_comm *c = cp->comm;
  atomic_fetch_add(&c->connected, 1);
  atomic_fetch_add(&c->progress, 1);
  reactor_notify(comm_reactor(c, 0), &c->progress);
}

static void set_fallback(struct agg_comm *c, uint64_t due_ns, int code, const char *text) {
  pthread_mutex_lock(&c->error_lock);
  if (c->fallback.due_ns == 0 || due_ns < c->fallback.due_ns) {
    c->fallback.due_ns = due_ns;
    err_set(&c->fallback.error, code, "%s", text);
  }
  pthread_mutex_unlock(&c->error_lock);
}

static void report_late(struct comm_plane *cp, uint32_t op, const char *text) {
  struct agg_comm *c = cp->comm;
  char what[128], full[AGG_ERROR_TEXT_MAX];
  uint64_t posted_ns = describe_call(c, cp->priority, op, what, sizeof what);
  if (posted_ns == 0) return;
  const char *reason = strchr(text, ':'); /* without "operation N" */
  text = reason != NULL ? reason + 2 : text;
  uint64_t now = clock_now_ns();
  double waited = (double)(now - posted_ns) / 1e9;
  snprintf(full, sizeof full, "operation %u (%s) timed out after %.1f s: %.256s", op, what, waited, text);
  set_fallback(c, now + LATE_LIMIT_NS, AGG_ETIMEDOUT, full);
  member_report_late(c->member, cp->priority, op, what, waited, text);
}

static void on_fault(void *user, enum plane_fault fault, int code, uint32_t peer, uint32_t op, const char *text) {
  struct comm_plane *cp = user;
  struct agg_comm *c = cp->comm;
  char left[AGG_ERROR_TEXT_MAX], name[CONTROL_NODE_NAME_MAX];
  if (fault == PLANE_LATE) {
    report_late(cp, op, text);
    return;
  }
  pthread_mutex_lock(&c->error_lock);
  int gone = fault == PLANE_LOST && peer < c->size && c->left[peer];
  pthread_mutex_unlock(&c->error_lock);
  if (gone) {
    snprintf(left, sizeof left, "operation %u needs %s, which has left the communicator (agg_comm_destroy)", op,
             control_node_name(&c->setup, peer, name, sizeof name));
    text = left;
  }
  if (!atomic_load(&c->running)) { /* creation fails with it and tells the others */
    comm_abort(c, code, text);
    return;
  }
  set_fallback(c, clock_now_ns() + FAULT_LIMIT_NS, code, text);
  member_report_fault(c->member, code, peer, text);
}

void comm_plane_hooks(struct comm_plane *cp, struct plane_hooks *hooks) {
  *hooks = (struct plane_hooks){.user = cp, .up = on_up, .connected = on_connected, .done = on_done, .fault = on_fault};
}

/* ---- the member's hooks (control thread) --------------------------------------------------------------------------------------------- */

static void on_aborted(void *user, int code, uint32_t culprit, const char *text) {
  (void)culprit;
  comm_abort(user, code, text);
}

static void on_left(void *user, uint32_t node) {
  struct agg_comm *c = user;
  pthread_mutex_lock(&c->error_lock);
  if (node < c->size && c->left != NULL) c->left[node] = 1;
  pthread_mutex_unlock(&c->error_lock);
}

struct explain_call {
  struct comm_plane *cp;
  uint32_t op;
  struct control_state *state;
};

static void explain_on_reactor(void *arg) {
  struct explain_call *call = arg;
  call->state->waits_for = plane_explain(call->cp->plane, call->op, call->state->text, sizeof call->state->text);
}

static void on_query(void *user, uint32_t priority, uint32_t op, struct control_state *state) {
  struct agg_comm *c = user;
  for (unsigned p = 0; p < AGG_PRIORITY_COUNT; p++) state->posted[p] = atomic_load(&c->queues[p].posted);
  state->waits_for = UINT32_MAX;
  if (priority >= AGG_PRIORITY_COUNT || !atomic_load(&c->running) || atomic_load(&c->status) != AGG_OK) return;
  (void)describe_call(c, priority, op, state->called, sizeof state->called);
  struct comm_plane *cp = &c->planes[priority * c->setup.plan.lanes];
  struct explain_call call = {.cp = cp, .op = op, .state = state};
  reactor_call(c->agg->reactors[cp->reactor], explain_on_reactor, &call);
}

void comm_member_hooks(struct agg_comm *c, struct member_hooks *hooks) {
  *hooks = (struct member_hooks){.user = c, .aborted = on_aborted, .left = on_left, .query = on_query};
}
