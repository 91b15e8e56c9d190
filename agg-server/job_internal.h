/* Insides of a job, shared by job.c (its life on the event loop) and job_planes.c (what is done on the reactors). */
#ifndef AGG_SERVER_JOB_INTERNAL_H
#define AGG_SERVER_JOB_INTERNAL_H

#include "job.h"
#include "way.h"

struct event;

/*
 *   PREPARED --start--> CONNECTING --all planes--> READY --go--> RUNNING
 *       |                   |                        |              |
 *       +-------------------+------- job_end --------+--------------+--> FENCING --> GONE
 *
 * Waiting states: PREPARED (for the rest of the group), CONNECTING (for lanes), READY (for the other members), RUNNING (for the end),
 * FENCING (for peers to let go), GONE (for its last mail).
 */
enum job_state { JOB_PREPARED, JOB_CONNECTING, JOB_READY, JOB_RUNNING, JOB_FENCING, JOB_GONE };

/* One plane. The hooks write the marks below the line; the event loop reads them after the mail came. */
struct job_plane {
  struct job *job;
  struct reactor *reactor;
  struct plane *plane; /* touched with the reactor's baton only */
  uint32_t priority, lane;
  unsigned reactor_index;
  int fenced; /* event loop */
  /* ---- */
  _Atomic int connected;
  _Atomic int faulted; /* 1: the three below are written and will not change */
  int code;
  uint32_t culprit;
  char text[AGG_ERROR_TEXT_MAX];
};

struct job {
  TAILQ_ENTRY(job) link;
  struct job_env *env;
  struct recruit *recruit; /* NULL once the group is over */
  struct mail mail;
  uint8_t state;
  uint8_t reported; /* a fault was passed on */
  char name[AGG_NAME_MAX];
  uint32_t comm, self, workers, servers;
  struct plan plan;
  uint64_t memory; /* admitted */
  uint32_t n_planes;
  struct job_plane *planes;
  struct ways *ways;
  struct event *fence_timer;
  uint64_t fence_deadline_ns;
  uint64_t prepared_ns, go_ns;
  struct plane_stats stats;            /* summed when the planes stop */
  uint32_t lanes_by_tp[PLANE_TPS_MAX]; /* lanes opened over each of the reactor's transports */
};

/* job_planes.c; the event loop's thread. Each takes the batons it needs, for a bounded piece of work at a time. */
int job_planes_open(struct job *job, const struct control_setup *setup, agg_error_t *err);
/* Stops all planes and sums their figures into job->stats. */
void job_planes_stop(struct job *job);
/* 1 when every plane is fenced; marks those that are. */
int job_planes_fenced(struct job *job);
/* A neighbour that has not let go yet, or FOREST_NONE. */
uint32_t job_planes_unfenced_peer(struct job *job);
void job_planes_close(struct job *job);

#endif
