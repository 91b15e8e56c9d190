/*
 * Owns what the workers of a server's jobs do, and the test's ends of the pipes that hold them. Never starts or ends a server.
 */
#include "task.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agg.h"
#include "base/util.h"

static struct task with_defaults(struct task t) {
  if (t.job == NULL) t.job = "job";
  if (t.token == NULL) t.token = "";
  if (t.transport == NULL) t.transport = "auto";
  if (t.plan == NULL) t.plan = "star"; /* that its server has a part in */
  if (t.size == 0) t.size = 2;
  if (t.rounds == 0) t.rounds = 3;
  if (t.count == 0) t.count = 100000;
  return t;
}

/* The test's ends of the pipes that hold workers. A fork closes them: a reader that holds the writing end never sees its end. */
static int go_ends[4];

static int say_error(int say, int code, const char *text) {
  dprintf(say, "%s\n", text);
  return -code;
}

/* Allreduce of rank + 1 on every rank gives size * (size + 1) / 2 everywhere. */
static int check_round(agg_comm_t *comm, const struct task *t, float *data, const char **why) {
  float expected = (float)t->size * (float)(t->size + 1) / 2;
  agg_request_t *request = NULL;
  for (size_t i = 0; i < t->count; i++) data[i] = (float)(t->rank + 1);
  int rc = agg_allreduce(comm, data, data, t->count, AGG_F32, AGG_SUM, NULL, &request);
  if (rc == AGG_OK) rc = agg_wait(&request, -1);
  *why = agg_comm_error_text(comm);
  for (size_t i = 0; rc == AGG_OK && i < t->count; i++) {
    if (data[i] != expected) {
      *why = "a sum is wrong";
      rc = AGG_EPROTO;
    }
  }
  return rc;
}

static int rounds(int say, agg_comm_t *comm, const struct task *t) {
  float *data = malloc(t->count * sizeof *data);
  const char *why = "";
  char byte;
  int rc = AGG_OK;
  for (unsigned i = 0; rc == AGG_OK && i < t->rounds; i++) {
    rc = check_round(comm, t, data, &why);
    if (rc != AGG_OK || t->go == 0) continue;
    dprintf(say, "round\n");
    if (read(t->go, &byte, 1) != 1) break;
  }
  rc = rc == AGG_OK ? 0 : say_error(say, rc, why);
  free(data);
  return rc;
}

static int work(int say, void *arg) {
  const struct task *t = arg;
  agg_config_t config;
  agg_error_t e = {0};
  agg_t *agg;
  agg_comm_t *comm;
  for (size_t i = 0; i < ARRAY_LEN(go_ends); i++) {
    if (go_ends[i] != 0) close(go_ends[i]);
  }
  agg_config_init(&config);
  config.rank = t->rank;
  config.world = t->size;
  str_copy(config.job, sizeof config.job, t->job);
  str_copy(config.servers, sizeof config.servers, t->server->address);
  str_copy(config.transport, sizeof config.transport, t->transport);
  str_copy(config.plan, sizeof config.plan, t->plan);
  str_copy(config.token, sizeof config.token, t->token);
  int rc = agg_open(&config, &agg, &e);
  if (rc != AGG_OK) return say_error(say, rc, e.text);
  rc = agg_comm_create_world(agg, &comm);
  if (rc != AGG_OK) {
    rc = say_error(say, rc, agg_error_text(agg));
  } else {
    rc = rounds(say, comm, t);
    agg_comm_destroy(comm);
  }
  agg_close(agg);
  return rc;
}

void task_start(struct worker_proc *w, struct task model) {
  model = with_defaults(model);
  for (unsigned i = 0; i < model.size; i++) {
    model.rank = i;
    worker_start(&w[i], work, &model);
  }
}

void task_run(const struct server_proc *s, struct task model) {
  static char line[16384], log[16384];
  struct worker_proc w[8];
  model = with_defaults(model);
  model.server = s;
  ck_assert_uint_le(model.size, ARRAY_LEN(w));
  task_start(w, model);
  for (unsigned i = 0; i < model.size; i++) {
    worker_line(&w[i], line, sizeof line);
    int rc = worker_wait(&w[i]);
    if (rc != 0) fprintf(stderr, "%s", server_log(s, log, sizeof log));
    ck_assert_msg(rc == 0, "rank %u: status %d: %s", i, rc, line);
  }
}

void task_ends(struct worker_proc *w, int code, const char *says) {
  char line[1024] = "round";
  while (strcmp(line, "round") == 0) worker_line(w, line, sizeof line);
  int rc = worker_wait(w);
  ck_assert_msg(rc == -code && strstr(line, says) != NULL, "status %d (expected %d): \"%s\" (expected \"%s\")", rc, -code, line, says);
}

void task_release(int go) {
  size_t place = 0;
  while (place < ARRAY_LEN(go_ends) && go_ends[place] != go) place++;
  ck_assert_uint_lt(place, ARRAY_LEN(go_ends));
  go_ends[place] = 0;
  close(go);
}

int task_hold(struct worker_proc w[2], const struct server_proc *s, const char *job) {
  int ends[2];
  char line[64];
  size_t place = 0;
  ck_assert_int_eq(pipe(ends), 0);
  while (place < ARRAY_LEN(go_ends) && go_ends[place] != 0) place++;
  ck_assert_uint_lt(place, ARRAY_LEN(go_ends));
  go_ends[place] = ends[1];
  task_start(w, (struct task){.server = s, .job = job, .go = ends[0], .rounds = 100});
  close(ends[0]);
  for (int i = 0; i < 2; i++) ck_assert_str_eq(worker_line(&w[i], line, sizeof line), "round");
  return ends[1];
}

void task_next_round(struct worker_proc w[2], int go) {
  char line[64];
  ck_assert_int_eq(write(go, "xx", 2), 2);
  for (int i = 0; i < 2; i++) ck_assert_str_eq(worker_line(&w[i], line, sizeof line), "round");
}
