/*
 * The coordinator's recruiting of servers: parse the list, find addresses, connect (again and again until the group's deadline), ask,
 * collect the answers; and the plan, which is made when it is known who is there. The server's side is recruit.c.
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
    if (g->state == GROUP_RECRUITING && !g->seats[g->size + i].recruited) {
      (void)snprintf(text, cap, "server %u (%.120s) does not answer (stopped or overloaded?)", i, e->text);
      return;
    }
  }
  (void)snprintf(text, cap, "the servers are not ready");
}

/* ---- the plan ---------------------------------------------------------------------------------------------------------------------------
 */

static int has_shm(const struct control_node *n) {
  for (uint32_t i = 0; i < n->n_addresses; i++) {
    if (strcmp(n->addresses[i].transport, "shm") == 0) return 1;
  }
  return 0;
}

/* Ranks say their host, by name and by place: containers may share a name, machines of one image a place. A server has not spoken yet: it
 * is here when the connection to it has the same address at both ends. */
static int one_host(const struct group *g) {
  const struct control_node *first = &g->setup.nodes[0];
  for (uint32_t i = 0; i < g->size; i++) {
    const struct control_node *n = &g->setup.nodes[i];
    if (strcmp(n->host, first->host) != 0 || n->place != first->place || !has_shm(n)) return 0;
  }
  for (uint32_t i = g->size; i < g->setup.n_nodes; i++) {
    if (strcmp(first->host, g->c->host) != 0 || first->place != g->c->place || !channel_same_host(g->seats[i].session->ch)) return 0;
  }
  return 1;
}

/* The most NICs of any node. The servers have not spoken yet: the one that coordinates stands for them. */
static uint32_t most_rails(const struct group *g) {
  uint32_t rails = g->n_servers != 0 ? g->c->rails : 1;
  for (uint32_t i = 0; i < g->size; i++) rails = MAX_OF(rails, g->setup.nodes[i].rails);
  return rails;
}

int enlist_plan(struct group *g, agg_error_t *err) {
  struct plan_request r = {.plan = g->plan, .workers = g->size, .servers = g->n_servers, .one_host = one_host(g)};
  r.lanes = g->lanes;
  r.rails = most_rails(g);
  r.window = g->window;
  r.chunk_bytes = g->chunk_bytes;
  return plan_make(&r, &g->setup.plan, err);
}

/* ---- asking
 * ------------------------------------------------------------------------------------------------------------------------------ */

static void send_recruit(struct group *g, uint32_t server) {
  struct message_plan plan;
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Recruit r;
  ctl__recruit__init(&r);
  r.comm = g->setup.comm;
  r.job = g->job;
  r.server = server;
  r.workers = g->size;
  r.servers = g->n_servers;
  r.plan = message_plan_make(&plan, &g->setup.plan);
  f.body_case = CTL__FRAME__BODY_RECRUIT;
  f.recruit = &r;
  message_send(g->seats[g->size + server].session->ch, &f);
}

void enlist_ready(struct session *s) {
  struct group *g = s->group;
  agg_error_t err;
  channel_prove(s->ch, CHANNEL_FRAME_FIRST);
  enlistment_of(s)->connected = 1;
  for (uint32_t i = 0; i < g->n_servers; i++) {
    if (!g->enlist[i].connected) return;
  }
  if (enlist_plan(g, &err) != AGG_OK) {
    group_fail(g, err.code, UINT32_MAX, "%s", err.text);
    return;
  }
  group_move(g, GROUP_RECRUITING);
  for (uint32_t i = 0; i < g->n_servers; i++) send_recruit(g, i);
}

void enlist_answer(struct session *s, const Ctl__Frame *f) {
  struct group *g = s->group;
  uint32_t node = s->node, server = node - g->size;
  if (f->body_case == CTL__FRAME__BODY_REFUSED) {
    group_fail(g, f->refused->code, node, "server %u (%.120s): %s", server, g->enlist[server].text, f->refused->text);
    return;
  }
  if (f->body_case != CTL__FRAME__BODY_RECRUITED) {
    group_fail(g, AGG_EPROTO, node, "server %u (%.120s) did not answer RECRUIT", server, g->enlist[server].text);
    return;
  }
  if (message_node_take(f->recruited->node, &g->setup.nodes[node]) != AGG_OK) {
    group_fail(g, AGG_ENOMEM, UINT32_MAX, "the coordinator is out of memory");
    return;
  }
  g->seats[node].recruited = 1;
  for (uint32_t i = g->size; i < g->setup.n_nodes; i++) {
    if (!g->seats[i].recruited) return;
  }
  group_set_up(g);
}
