/*
 * A job: the server's part in one group. Its planes live on the reactors; everything else of it happens on the event loop's thread. The
 * planes' hooks run on whichever thread drives a reactor: they leave a mark in the job and post its mail.
 */
#ifndef AGG_SERVER_JOB_H
#define AGG_SERVER_JOB_H

#include <sys/queue.h>

#include "admission.h"
#include "control/coordinator.h"
#include "mailbox.h"
#include "reactors.h"

struct job;
struct event_base;
TAILQ_HEAD(job_list, job);

/* What all jobs of a server share; outlives them. */
struct job_env {
  const struct log *log;
  struct event_base *base;
  struct reactors *reactors;
  struct mailbox *mailbox;
  struct admission *admission;
  struct job_list jobs;
  uint32_t n_jobs;
};

void job_env_init(struct job_env *env);

/* Admits (the texts of a refusal are admission's) and makes a job in PREPARED; job_end is to follow. */
int job_prepare(struct job_env *env, struct recruit *r, const struct recruit_request *request, struct job **job, agg_error_t *err);

/* Makes the planes and opens their lanes. On failure job_end is still to follow. */
int job_start(struct job *job, const struct control_setup *setup, agg_error_t *err);

/* All members are connected: operations may come. */
void job_go(struct job *job);

/* The group is over: stops the planes, waits (in the event loop, 1 s at most) until no peer can write any more, then frees everything. */
void job_end(struct job *job, int code, const char *text);

const char *job_name(const struct job *job);
const struct job *job_next(const struct job *job); /* in env->jobs; NULL at the end */

/* Called by mailbox_deliver: passes what the planes have left to the control plane. */
void job_mail(struct mail *mail);
/* Frees jobs that are over and have no mail in the box. Call after mailbox_deliver. */
void job_sweep(struct job_env *env);

#endif
