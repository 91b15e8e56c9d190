/* A job's life on the event loop: admission, states, hand-over to and from the control plane, the log's story of it. Touches no plane
 * itself. */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/state.h"
#include "base/util.h"
#include "job_internal.h"
#include "text.h"

#define FENCE_LIMIT_NS 1000000000ULL
#define FENCE_TICK_US 2000

static const struct state_row job_rows[] = {
    [JOB_PREPARED] = {"prepared", STATE_TO(JOB_CONNECTING) | STATE_TO(JOB_FENCING)},
    [JOB_CONNECTING] = {"connecting", STATE_TO(JOB_READY) | STATE_TO(JOB_FENCING)},
    [JOB_READY] = {"ready", STATE_TO(JOB_RUNNING) | STATE_TO(JOB_FENCING)},
    [JOB_RUNNING] = {"running", STATE_TO(JOB_FENCING)},
    [JOB_FENCING] = {"fencing", STATE_TO(JOB_GONE)},
    [JOB_GONE] = {"gone", 0},
};
static const struct state_table job_states = {"job", job_rows, ARRAY_LEN(job_rows)};

void job_env_init(struct job_env *env) { TAILQ_INIT(&env->jobs); }

const char *job_name(const struct job *job) { return job->name; }
const struct job *job_next(const struct job *job) { return TAILQ_NEXT(job, link); }

static void job_free(struct job *job) {
  if (job->fence_timer != NULL) event_free(job->fence_timer);
  ways_destroy(job->ways);
  free(job->planes);
  plan_fini(&job->plan);
  free(job);
}

/* ---- in ---------------------------------------------------------------------------------------------------------------------------- */

static void fence_tick(evutil_socket_t fd, short what, void *arg);

static struct job *job_new(struct job_env *env, const struct recruit_request *request, uint64_t memory) {
  struct job *job = calloc(1, sizeof *job);
  if (job == NULL) return NULL;
  job->env = env;
  job->comm = request->comm;
  job->workers = request->workers;
  job->servers = request->servers;
  job->self = request->workers + request->server;
  job->memory = memory;
  job->n_planes = admission_planes(&request->plan);
  job->prepared_ns = clock_now_ns();
  str_copy(job->name, sizeof job->name, request->job);
  job->planes = calloc(job->n_planes, sizeof *job->planes);
  /* Made now, so that ending a job needs no memory. */
  job->fence_timer = event_new(env->base, -1, EV_PERSIST, fence_tick, job);
  if (job->planes == NULL || job->fence_timer == NULL || plan_copy(&job->plan, &request->plan) != AGG_OK) {
    job_free(job);
    return NULL;
  }
  return job;
}

static void log_start(const struct job *job) {
  char memory[32], chunk[32], plan[PLAN_TEXT_MAX];
  LOG_INFO(job->env->log,
           "job %s (comm %u): starts; %u workers, %u servers, plan %s, %u priorities x %u lanes, window %u x %s, %s of slots", job->name,
           job->comm, job->workers, job->servers, plan_text(&job->plan, plan, sizeof plan), (unsigned)AGG_PRIORITY_COUNT, job->plan.lanes,
           job->plan.window, text_size(job->plan.chunk_bytes, chunk, sizeof chunk), text_size(job->memory, memory, sizeof memory));
}

/* Of one plane. All reactors have the same transports. */
static uint64_t plane_bytes(const struct job_env *env, const struct plan *plan, uint32_t self) {
  struct plane_tp tps[PLANE_TPS_MAX];
  unsigned n = reactor_tps(env->reactors->list[0], tps);
  return plane_memory(plan, self, tps, n);
}

int job_prepare(struct job_env *env, struct recruit *r, const struct recruit_request *request, struct job **out, agg_error_t *err) {
  struct admission_need need = {.job = request->job,
                                .workers = request->workers,
                                .plan = &request->plan,
                                .plane_bytes = plane_bytes(env, &request->plan, request->workers + request->server)};
  int rc = admission_take(env->admission, &need, err);
  if (rc != 0) {
    LOG_WARN(env->log, "job %s (comm %u): refused: %s", request->job, request->comm, err->text);
    return rc;
  }
  struct job *job = job_new(env, request, admission_bytes(&need));
  if (job == NULL) {
    admission_give(env->admission, admission_bytes(&need));
    return err_set(err, AGG_ENOMEM, "the server has no memory for another job");
  }
  job->recruit = r;
  TAILQ_INSERT_TAIL(&env->jobs, job, link);
  env->n_jobs++;
  log_start(job);
  *out = job;
  return 0;
}

/* What the group was set up with must be what was admitted. */
static int check_setup(const struct job *job, const struct control_setup *setup, agg_error_t *err) {
  uint64_t bytes = plane_bytes(job->env, &setup->plan, job->self);
  if (setup->comm == job->comm && setup->n_nodes == job->workers + job->servers && setup->plan.lanes == job->plan.lanes &&
      setup->plan.n_forests > 0 && setup->plan.workers == job->workers && bytes <= job->memory / job->n_planes) {
    return 0;
  }
  return err_set(
      err, AGG_EPROTO,
      "the group was set up otherwise than this server was asked for (comm %u, %u nodes, %u lanes; asked: comm %u, %u nodes, %u lanes)",
      setup->comm, setup->n_nodes, setup->plan.lanes, job->comm, job->workers + job->servers, job->plan.lanes);
}

int job_start(struct job *job, const struct control_setup *setup, agg_error_t *err) {
  int rc = check_setup(job, setup, err);
  struct plan plan;
  if (rc == 0) rc = plan_check(&setup->plan, job->self, err);
  if (rc != 0) return rc;
  if (plan_copy(&plan, &setup->plan) != AGG_OK) return err_set(err, AGG_ENOMEM, "the server has no memory for the plan of another job");
  plan_fini(&job->plan);
  job->plan = plan;
  state_move(&job_states, &job->state, JOB_CONNECTING);
  return job_planes_open(job, setup, err);
}

void job_go(struct job *job) {
  char ways[64] = "";
  struct plane_tp tps[PLANE_TPS_MAX];
  unsigned n = reactor_tps(job->env->reactors->list[0], tps);
  for (unsigned i = 0; i < n; i++) {
    size_t at = strlen(ways);
    if (job->lanes_by_tp[i] == 0) continue;
    snprintf(ways + at, sizeof ways - at, "%s%u over %s", at > 0 ? ", " : "", job->lanes_by_tp[i], tps[i].ops->name);
  }
  state_move(&job_states, &job->state, JOB_RUNNING);
  job->go_ns = clock_now_ns();
  LOG_INFO(job->env->log, "job %s (comm %u): runs; connections: %s, after %.0f ms", job->name, job->comm, ways[0] != '\0' ? ways : "none",
           (double)(job->go_ns - job->prepared_ns) / 1e6);
}

/* ---- what the planes have left ------------------------------------------------------------------------------------------------------- */

static int all_connected(const struct job *job) {
  for (uint32_t i = 0; i < job->n_planes; i++) {
    if (!atomic_load_explicit(&job->planes[i].connected, memory_order_acquire)) return 0;
  }
  return 1;
}

static const struct job_plane *first_fault(const struct job *job) {
  for (uint32_t i = 0; i < job->n_planes; i++) {
    if (atomic_load_explicit(&job->planes[i].faulted, memory_order_acquire)) return &job->planes[i];
  }
  return NULL;
}

void job_mail(struct mail *mail) {
  struct job *job = CONTAINER_OF(mail, struct job, mail);
  if (job->recruit == NULL || job->reported) return;
  const struct job_plane *fault = first_fault(job);
  if (fault != NULL) {
    job->reported = 1;
    recruit_fault(job->recruit, fault->code, fault->culprit, fault->text); /* may call job_end */
  } else if (job->state == JOB_CONNECTING && all_connected(job)) {
    state_move(&job_states, &job->state, JOB_READY);
    recruit_ready(job->recruit); /* may call job_go or job_end */
  }
}

/* ---- out --------------------------------------------------------------------------------------------------------------------------------
 */

/* No more than ends with the planes; the memory is given back here. The job itself goes with job_sweep. */
static void finish(struct job *job) {
  event_del(job->fence_timer);
  job_planes_close(job);
  admission_give(job->env->admission, job->memory);
  state_move(&job_states, &job->state, JOB_GONE);
  event_active(job->fence_timer, EV_TIMEOUT, 0); /* sweep from the loop, never below a caller that still holds the job */
}

static void fence_tick(evutil_socket_t fd, short what, void *arg) {
  struct job *job = arg;
  struct job_env *env = job->env;
  (void)fd;
  (void)what;
  if (job->state == JOB_FENCING) {
    int fenced = job_planes_fenced(job);
    if (!fenced && clock_now_ns() < job->fence_deadline_ns) return;
    if (!fenced) {
      uint32_t peer = job_planes_unfenced_peer(job);
      LOG_WARN(env->log, "job %s (comm %u): %s %u has not let go of its connection within 1 s; it is cut", job->name, job->comm,
               peer < job->workers ? "rank" : "server", peer < job->workers ? peer : peer - job->workers);
    }
    finish(job);
    return;
  }
  job_sweep(env);
}

/* The rate is of what was summed: results that the fold writes into mapped memory are never put. */
static void log_end(const struct job *job, int code, const char *text) {
  char summed[32], put[32], rate[32];
  double seconds = job->go_ns != 0 ? (double)(clock_now_ns() - job->go_ns) / 1e9 : 0;
  double per_s = seconds > 0 ? (double)job->stats.fold_bytes / seconds : 0;
  agg_log_level_t level = code == AGG_OK ? AGG_LOG_INFO : AGG_LOG_WARN;
  LOG_AT(job->env->log, level, "job %s (comm %u): %s%s; %u workers, %.1f s, %llu chunks, %s summed (%s/s), %s put", job->name, job->comm,
         code == AGG_OK ? "ended" : "aborted: ", code == AGG_OK ? "" : text, job->workers, seconds, (unsigned long long)job->stats.chunks,
         text_size(job->stats.fold_bytes, summed, sizeof summed), text_size((uint64_t)per_s, rate, sizeof rate),
         text_size(job->stats.put_bytes, put, sizeof put));
}

void job_end(struct job *job, int code, const char *text) {
  static const struct timeval tick = {.tv_usec = FENCE_TICK_US};
  job->recruit = NULL;
  state_move(&job_states, &job->state, JOB_FENCING);
  job_planes_stop(job);
  log_end(job, code, text != NULL && text[0] != '\0' ? text : agg_status_text(code));
  job->fence_deadline_ns = clock_now_ns() + FENCE_LIMIT_NS;
  event_add(job->fence_timer, &tick);
  event_active(job->fence_timer, EV_TIMEOUT, 0); /* most lanes are fenced at the first question */
}

void job_sweep(struct job_env *env) {
  struct job *next;
  for (struct job *job = TAILQ_FIRST(&env->jobs); job != NULL; job = next) {
    next = TAILQ_NEXT(job, link);
    if (job->state != JOB_GONE || mail_queued(&job->mail)) continue;
    TAILQ_REMOVE(&env->jobs, job, link);
    env->n_jobs--;
    job_free(job);
  }
}
