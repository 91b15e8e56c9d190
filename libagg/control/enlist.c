/*
 * The coordinator's recruiting of servers: parse the list, find addresses, connect (again and again until the group's deadline), ask what
 * they are, have the plan made (planning.c), recruit, collect the answers. The server's side is recruit.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/err.h"
#include "base/util.h"
#include "coord.h"

#define RETRY_US 100000

/* ---- the list ---------------------------------------------------------------------------------------------------------------------------
 */

static int parse_one(struct enlistment *e, const char *item, size_t len, agg_error_t *err) {
  if (len >= sizeof e->text) return err_set(err, AGG_EINVAL, "a server's address is longer than %zu characters", sizeof e->text - 1);
  memcpy(e->text, item, len);
  e->text[len] = '\0';
  int rc = net_split(e->text, CONTROL_SERVER_PORT, e->host, sizeof e->host, &e->port, err);
  if (rc == AGG_OK && (e->host[0] == '\0' || e->port == 0))
    rc = err_set(err, AGG_EINVAL, "server \"%s\": expected host:port (AGG_SERVERS)", e->text);
  return rc;
}

static int check_twice(const struct group *g, uint32_t n, agg_error_t *err) {
  for (uint32_t i = 0; i < n; i++) {
    if (strcmp(g->enlist[i].text, g->enlist[n].text) == 0)
      return err_set(err, AGG_EINVAL, "server %s is given twice (AGG_SERVERS)", g->enlist[n].text);
  }
  return AGG_OK;
}

int enlist_parse(struct group *g, const char *servers, agg_error_t *err) {
  uint32_t n = servers[0] != '\0';
  for (const char *p = servers; *p; p++) n += *p == ',';
  if (n == 0) return AGG_OK;
  if (n > g->c->max_connections || g->size + n > FOREST_MAX_NODES) {
    return err_set(err, AGG_ELIMIT, "%u servers: this coordinator takes at most %u", n, g->c->max_connections);
  }
  g->enlist = calloc(n, sizeof *g->enlist);
  if (g->enlist == NULL) return err_set(err, AGG_ENOMEM, "the coordinator is out of memory");
  for (uint32_t i = 0; i < n; i++) {
    size_t len = strcspn(servers, ",");
    g->enlist[i].group = g;
    int rc = parse_one(&g->enlist[i], servers, len, err);
    if (rc == AGG_OK) rc = check_twice(g, i, err);
    if (rc != AGG_OK) return rc;
    servers += len + 1;
  }
  g->n_servers = n;
  return AGG_OK;
}

void enlist_free(struct group *g) {
  for (uint32_t i = 0; i < g->n_servers; i++) resolve_cancel(g->enlist[i].question);
  free(g->enlist);
}

static struct enlistment *enlistment_of(const struct session *s) { return &s->group->enlist[s->node - s->group->size]; }

/* ---- connecting -------------------------------------------------------------------------------------------------------------------------
 */

static void retry_later(struct enlistment *e, const char *why) {
  struct timeval tv = {.tv_usec = RETRY_US};
  str_copy(e->last, sizeof e->last, why);
  e->retry = 1;
  event_add(e->group->retry, &tv);
}

static void connect_server(struct enlistment *e) {
  struct group *g = e->group;
  agg_error_t err;
  int fd;
  const struct net_addr *addr = &e->addrs[e->next_addr++ % e->n_addrs];
  if (net_connect_start(addr, &fd, &err) != AGG_OK) {
    retry_later(e, err.text);
    return;
  }
  struct session *s = session_open(g->c, fd, g->key, 1, e->text, &err);
  if (s == NULL) {
    retry_later(e, err.text);
    return;
  }
  s->group = g;
  s->node = g->size + (uint32_t)(e - g->enlist);
  g->seats[s->node].session = s;
}

static void on_addresses(void *user, int n, const struct net_addr *addrs, const agg_error_t *err) {
  struct enlistment *e = user;
  e->question = NULL;
  if (n <= 0) {
    retry_later(e, err->text);
    return;
  }
  for (int i = 0; i < n && !e->group->c->has_token; i++) {
    if (net_is_loopback(&addrs[i])) continue;
    group_fail(e->group, AGG_EAUTH, UINT32_MAX,
               "server %s is not on this machine's loopback and no token is set: set AGG_TOKEN or AGG_TOKEN_FILE everywhere", e->text);
    return;
  }
  memcpy(e->addrs, addrs, (size_t)n * sizeof *addrs);
  e->n_addrs = n;
  connect_server(e);
}

static void ask_address(struct enlistment *e) {
  agg_error_t err;
  if (e->n_addrs > 0) {
    connect_server(e);
  } else if (resolve_start(e->group->c->resolver, e->host, e->port, on_addresses, e, &e->question, &err) != AGG_OK) {
    retry_later(e, err.text);
  }
}

static void on_retry(evutil_socket_t fd, short what, void *arg) {
  struct group *g = arg;
  (void)fd, (void)what;
  for (uint32_t i = 0; i < g->n_servers; i++) {
    if (!g->enlist[i].retry) continue;
    g->enlist[i].retry = 0;
    ask_address(&g->enlist[i]);
  }
}

void enlist_start(struct group *g) {
  g->retry = event_new(g->c->base, -1, 0, on_retry, g);
  if (g->retry == NULL) {
    group_fail(g, AGG_ENOMEM, UINT32_MAX, "the coordinator is out of memory");
    return;
  }
  for (uint32_t i = 0; i < g->n_servers; i++) ask_address(&g->enlist[i]);
}

int enlist_lost(struct session *s, int code, const char *text) {
  struct enlistment *e = enlistment_of(s);
  struct group *g = s->group;
  if (e->connected) return 0;
  g->seats[s->node].session = NULL;
  if (code == AGG_EAUTH) {
    session_drop(s);
    group_fail(g, AGG_EAUTH, g->size + (uint32_t)(e - g->enlist),
               "server %s does not know this job's token: check its token file against AGG_TOKEN or AGG_TOKEN_FILE here", e->text);
    return 1;
  }
  session_drop(s);
  retry_later(e, text);
  return 1;
}

/* What the deadline's text says of servers that are missing. */
void enlist_missing(const struct group *g, char *text, size_t cap) {
  for (uint32_t i = 0; i < g->n_servers; i++) {
    const struct enlistment *e = &g->enlist[i];
    if (g->state == GROUP_CONNECTING && !e->connected) {
      (void)snprintf(text, cap, "server %u (%.120s) cannot be reached: %s", i, e->text, e->last[0] ? e->last : "no answer");
      return;
    }
    const struct seat *seat = &g->seats[g->size + i];
    if ((g->state == GROUP_ASKING && !seat->described) || (g->state == GROUP_RECRUITING && !seat->recruited)) {
      (void)snprintf(text, cap, "server %u (%.120s) does not answer (stopped or overloaded?)", i, e->text);
      return;
    }
  }
  (void)snprintf(text, cap, "the servers are not ready");
}

/* ---- asking, planning, recruiting -------------------------------------------------------------------------------------------------- */

static void send_describe(struct group *g, uint32_t server) {
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Describe d;
  ctl__describe__init(&d);
  d.comm = g->setup.comm;
  d.job = g->job;
  f.body_case = CTL__FRAME__BODY_DESCRIBE;
  f.describe = &d;
  message_send(g->seats[g->size + server].session->ch, &f);
}

static void send_recruit(struct group *g, uint32_t server, struct message_plan *plan) {
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Recruit r;
  ctl__recruit__init(&r);
  r.comm = g->setup.comm;
  r.job = g->job;
  r.server = server;
  r.workers = g->size;
  r.servers = g->n_servers;
  r.plan = message_plan_body(plan);
  f.body_case = CTL__FRAME__BODY_RECRUIT;
  f.recruit = &r;
  message_send(g->seats[g->size + server].session->ch, &f);
}

void enlist_ready(struct session *s) {
  struct group *g = s->group;
  channel_prove(s->ch, CHANNEL_FRAME_FIRST);
  enlistment_of(s)->connected = 1;
  for (uint32_t i = 0; i < g->n_servers; i++) {
    if (!g->enlist[i].connected) return;
  }
  group_move(g, GROUP_ASKING);
  for (uint32_t i = 0; i < g->n_servers; i++) send_describe(g, i);
}

/* 1 when the server refused or said something else, which has failed the group. */
static int refused(struct group *g, uint32_t server, const Ctl__Frame *f, Ctl__Frame__BodyCase wanted, const char *question) {
  if (f->body_case == wanted) return 0;
  if (f->body_case == CTL__FRAME__BODY_REFUSED)
    group_fail(g, f->refused->code, g->size + server, "server %u (%.120s): %s", server, g->enlist[server].text, f->refused->text);
  else
    group_fail(g, AGG_EPROTO, g->size + server, "server %u (%.120s) did not answer %s", server, g->enlist[server].text, question);
  return 1;
}

static void recruit_all(struct group *g) {
  agg_error_t err;
  if (planning_make(g, &err) != AGG_OK) {
    group_fail(g, err.code, UINT32_MAX, "%s", err.text);
    return;
  }
  struct message_plan *plan = message_plan_make(&g->setup.plan);
  if (plan == NULL) {
    group_fail(g, AGG_ENOMEM, UINT32_MAX, "the coordinator is out of memory for the plan of %u nodes", g->setup.n_nodes);
    return;
  }
  group_move(g, GROUP_RECRUITING);
  for (uint32_t i = 0; i < g->n_servers; i++) send_recruit(g, i, plan);
  message_plan_free(plan);
}

void enlist_described(struct session *s, const Ctl__Frame *f) {
  struct group *g = s->group;
  uint32_t node = s->node;
  if (refused(g, node - g->size, f, CTL__FRAME__BODY_DESCRIBED, "DESCRIBE")) return;
  if (message_node_take(f->described->node, &g->setup.nodes[node]) != AGG_OK) {
    group_fail(g, AGG_ENOMEM, UINT32_MAX, "the coordinator is out of memory");
    return;
  }
  g->seats[node].described = 1;
  for (uint32_t i = g->size; i < g->setup.n_nodes; i++) {
    if (!g->seats[i].described) return;
  }
  recruit_all(g);
}

void enlist_answer(struct session *s, const Ctl__Frame *f) {
  struct group *g = s->group;
  if (refused(g, s->node - g->size, f, CTL__FRAME__BODY_RECRUITED, "RECRUIT")) return;
  g->seats[s->node].recruited = 1;
  for (uint32_t i = g->size; i < g->setup.n_nodes; i++) {
    if (!g->seats[i].recruited) return;
  }
  group_set_up(g);
}
