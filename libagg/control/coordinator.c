/*
 * The coordinator's door: listening, accepting, limits on strangers, and who an authenticated connection belongs to (a group's member, or
 * a group that recruits this server). Knows nothing of what groups do.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/err.h"
#include "base/net.h"
#include "base/util.h"
#include "coord.h"

#define CONNECTIONS_DEFAULT 4096u
#define ACCEPTS_PER_TURN 64
#define ACCEPT_PAUSE_US 100000
#define REFUSAL_LINES 5 /* a second */

/* ---- sessions ---------------------------------------------------------------------------------------------------------------------- */

static void session_free(struct session *s) {
  TAILQ_REMOVE(&s->c->sessions, s, link);
  free(s);
}

void session_end(struct session *s) {
  if (s->ch != NULL) channel_finish(s->ch, NULL, NULL);
  session_free(s);
}

void session_drop(struct session *s) {
  channel_close(s->ch);
  session_free(s);
}

void coordinator_log_refusal(struct coordinator *c, const char *peer, const char *text) {
  uint64_t hidden = 0;
  if (!log_gate_pass(&c->gate, clock_now_ns(), &hidden)) return;
  if (hidden) LOG_WARN(c->log, "control: %llu more refusals were not logged", (unsigned long long)hidden);
  LOG_WARN(c->log, "control: refused %s: %s", peer, text);
}

void session_refuse(struct session *s, int code, const char *text) {
  coordinator_log_refusal(s->c, s->peer, text);
  message_send_refused(s->ch, code, text);
  session_end(s);
}

/* The first message says who it is. */
static void first_message(struct session *s, const Ctl__Frame *f) {
  if (f->body_case == CTL__FRAME__BODY_JOIN) {
    group_join(s, f->join);
  } else if (f->body_case == CTL__FRAME__BODY_RECRUIT) {
    recruit_open(s, f->recruit);
  } else if (f->body_case == CTL__FRAME__BODY_DESCRIBE) {
    recruit_describe(s);
  } else {
    session_refuse(s, AGG_EPROTO, "the first message must be JOIN, DESCRIBE or RECRUIT");
  }
}

static void session_lost(struct session *s, int code, const char *text) {
  int quiet = channel_quiet(s->ch);
  s->ch = NULL;
  if (s->group != NULL) {
    group_lost(s, code, text);
  } else if (s->recruit != NULL) {
    recruit_lost(s, code, text);
  } else {
    if (code != AGG_EPEER || !quiet) coordinator_log_refusal(s->c, s->peer, text);
    session_free(s);
  }
}

static void on_ready(void *user) {
  struct session *s = user;
  if (s->outgoing) enlist_ready(s);
}

static void on_frame(void *user, const unsigned char *bytes, size_t n) {
  struct session *s = user;
  Ctl__Frame *f;
  agg_error_t err;
  if (message_unpack(bytes, n, &f, &err) != AGG_OK) {
    if (s->group == NULL && s->recruit == NULL) {
      session_refuse(s, err.code, err.text);
    } else {
      channel_drop(s->ch, err.code, err.text);
    }
    return;
  }
  if (s->group != NULL) {
    group_message(s, f);
  } else if (s->recruit != NULL) {
    recruit_message(s, f);
  } else {
    first_message(s, f);
  }
  message_free(f);
}

static void on_closed(void *user, int code, const char *text) { session_lost(user, code, text); }

struct session *session_open(struct coordinator *c, int fd, unsigned key, int outgoing, const char *peer, agg_error_t *err) {
  struct channel_config config = {
      .tls = c->tls, .key = key, .server = !outgoing, .fd = fd, .deadline_s = CHANNEL_HELLO_S, .frame_max = CHANNEL_FRAME_FIRST};
  struct session *s = calloc(1, sizeof *s);
  if (s == NULL) {
    close(fd);
    err_set(err, AGG_ENOMEM, "out of memory for a connection");
    return NULL;
  }
  s->c = c;
  s->outgoing = (uint8_t)outgoing;
  str_copy(s->peer, sizeof s->peer, peer);
  config.hooks = (struct channel_hooks){.user = s, .ready = on_ready, .frame = on_frame, .closed = on_closed};
  if (channel_open(&c->set, &config, &s->ch, err) != AGG_OK) {
    free(s);
    return NULL;
  }
  TAILQ_INSERT_TAIL(&c->sessions, s, link);
  return s;
}

/* ---- accepting ---------------------------------------------------------------------------------------------------------------------- */

/* Makes room for one more: the oldest stranger goes. 0 when there is none. */
static int drop_oldest(struct coordinator *c) {
  struct channel *oldest = channel_oldest_stranger(&c->set);
  struct session *s = oldest ? channel_user(oldest) : NULL;
  if (oldest == NULL || (s != NULL && s->outgoing)) return 0;
  if (s == NULL) {
    channel_close(oldest); /* it lingers after a refusal */
    return 1;
  }
  coordinator_log_refusal(c, s->peer, "dropped before it said anything: too many connections");
  session_drop(s);
  return 1;
}

static void pause_accepting(struct coordinator *c, int errno_value) {
  struct timeval tv = {.tv_usec = ACCEPT_PAUSE_US};
  char text[128];
  (void)snprintf(text, sizeof text, "accepting pauses for %d ms: %s (raise ulimit -n)", ACCEPT_PAUSE_US / 1000, strerror(errno_value));
  coordinator_log_refusal(c, "connections", text);
  for (uint32_t i = 0; i < c->n_listeners; i++) event_del(c->listener[i]);
  event_add(c->resume, &tv);
}

static void on_resume(evutil_socket_t fd, short what, void *arg) {
  struct coordinator *c = arg;
  (void)fd, (void)what;
  for (uint32_t i = 0; i < c->n_listeners; i++) event_add(c->listener[i], NULL);
}

static void admit(struct coordinator *c, int fd, const struct net_addr *peer) {
  char name[80];
  agg_error_t err;
  net_format(peer, name, sizeof name);
  if (!c->has_token && !net_is_loopback(peer)) {
    coordinator_log_refusal(c, name, "no token is set, so only loopback addresses are served: set AGG_TOKEN or AGG_TOKEN_FILE");
    close(fd);
  } else if (c->set.count >= c->max_connections && !drop_oldest(c)) {
    coordinator_log_refusal(c, name, "all connections are in use by members");
    close(fd);
  } else if (session_open(c, fd, 0, 0, name, &err) == NULL) {
    coordinator_log_refusal(c, name, err.text);
  }
}

static void on_accept(evutil_socket_t fd, short what, void *arg) {
  struct coordinator *c = arg;
  (void)what;
  for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
    struct net_addr peer = {.len = sizeof peer.ss};
    int s = accept4(fd, (struct sockaddr *)&peer.ss, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (s >= 0) {
      admit(c, s, &peer);
      continue;
    }
    int e = errno;
    if (e == EINTR || e == ECONNABORTED || e == EPROTO) continue;
    if (e == EAGAIN || e == EWOULDBLOCK) return;
    if ((e == EMFILE || e == ENFILE || e == ENOBUFS || e == ENOMEM) && drop_oldest(c)) continue;
    pause_accepting(c, e);
    return;
  }
}

/* ---- life -----------------------------------------------------------------------------------------------------------------------------
 */

static int add_listener(struct coordinator *c, const struct net_addr *addr, agg_error_t *err) {
  struct net_addr bound;
  int fd;
  int rc = net_listen(addr, 1024, &fd, &bound, err);
  if (rc != AGG_OK) return rc;
  struct event *e = event_new(c->base, fd, EV_READ | EV_PERSIST, on_accept, c);
  if (e == NULL || event_add(e, NULL) != 0) {
    if (e) event_free(e);
    close(fd);
    return err_set(err, AGG_ENOMEM, "out of memory");
  }
  c->port = net_port(&bound);
  c->listen_fd[c->n_listeners] = fd;
  c->listener[c->n_listeners++] = e;
  return AGG_OK;
}

static void set_port(struct net_addr *a, uint16_t port) {
  if (a->ss.ss_family == AF_INET) ((struct sockaddr_in *)&a->ss)->sin_port = htons(port);
  if (a->ss.ss_family == AF_INET6) ((struct sockaddr_in6 *)&a->ss)->sin6_port = htons(port);
}

/* Listens on every address of the host: the first must work, others (another family on the same port) may be covered already. */
static int listen_on(struct coordinator *c, const char *text, agg_error_t *err) {
  char host[256];
  uint16_t port;
  struct net_addr addrs[COORD_LISTENERS_MAX];
  int rc = net_split(text, -1, host, sizeof host, &port, err);
  if (rc != AGG_OK) return rc;
  if (host[0] == '\0' && !c->has_token) str_copy(host, sizeof host, "localhost");
  int n = net_resolve(host, port, 1, addrs, COORD_LISTENERS_MAX, err);
  if (n < 0) return n;
  for (int i = 0; i < n; i++) {
    if (!c->has_token && !net_is_loopback(&addrs[i])) {
      return err_set(err, AGG_EINVAL,
                     "%s is not a loopback address and no token is set: set AGG_TOKEN or AGG_TOKEN_FILE, or listen on 127.0.0.1", text);
    }
  }
  agg_error_t first = {0};
  for (int i = 0; i < n; i++) {
    agg_error_t e;
    if (port == 0 && c->n_listeners > 0) set_port(&addrs[i], c->port);
    if (add_listener(c, &addrs[i], &e) != AGG_OK && first.code == 0) first = e;
  }
  return c->n_listeners > 0 ? AGG_OK : err_set(err, first.code, "%s", first.text);
}

static int make_tls(struct coordinator *c, const char *const *tokens, agg_error_t *err) {
  struct token_key keys[TLS_TOKENS_MAX];
  unsigned n = 0;
  int rc = AGG_OK;
  for (; tokens != NULL && tokens[n] != NULL && rc == AGG_OK; n++) {
    if (n == TLS_TOKENS_MAX) return err_set(err, AGG_ELIMIT, "more than %d tokens", TLS_TOKENS_MAX);
    if (tokens[n][0] == '\0') return err_set(err, AGG_EINVAL, "a token is empty");
    rc = token_derive(tokens[n], &keys[n], err);
  }
  c->has_token = n > 0;
  if (n == 0) rc = token_derive("", &keys[n++], err);
  if (rc == AGG_OK) rc = tls_create(keys, n, &c->tls, err);
  explicit_bzero(keys, sizeof keys);
  return rc;
}

/* Half of the descriptors that the process may open are the most that connections take. */
static uint32_t connection_limit(uint32_t wanted) {
  struct rlimit r;
  uint32_t most = wanted ? wanted : CONNECTIONS_DEFAULT;
  if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == RLIM_INFINITY) return most;
  return (uint32_t)MIN_OF((rlim_t)most, MAX_OF(r.rlim_cur / 2, (rlim_t)1));
}

static struct coordinator *coordinator_new(struct event_base *base, const struct coordinator_config *config) {
  struct coordinator *c = calloc(1, sizeof *c);
  if (c == NULL) return NULL;
  c->base = base;
  c->log = config->log;
  c->recruit = config->recruit;
  c->topo = config->topo;
  c->topo_name = config->topo_name != NULL ? config->topo_name : "the description of the fabric";
  cost_init(&c->cost);
  if (config->cost != NULL) c->cost = *config->cost;
  c->max_connections = connection_limit(config->max_connections);
  c->max_world = config->max_world ? MIN_OF(config->max_world, FOREST_MAX_NODES) : FOREST_MAX_NODES;
  c->gate = (struct log_gate){.period_ns = 1000000000u, .burst = REFUSAL_LINES};
  c->next_comm = 1;
  TAILQ_INIT(&c->sessions);
  TAILQ_INIT(&c->groups);
  TAILQ_INIT(&c->tombs);
  channel_set_init(&c->set, base);
  if (gethostname(c->host, sizeof c->host - 1) != 0) c->host[0] = '\0';
  return c;
}

int coordinator_create(struct event_base *base, const struct coordinator_config *config, struct coordinator **out, agg_error_t *err) {
  struct coordinator *c = coordinator_new(base, config);
  if (c == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  int rc = make_tls(c, config->tokens, err);
  if (rc == AGG_OK) rc = resolver_create(base, &c->resolver, err);
  if (rc == AGG_OK && (c->resume = event_new(base, -1, 0, on_resume, c)) == NULL) rc = err_set(err, AGG_ENOMEM, "out of memory");
  if (rc == AGG_OK) rc = listen_on(c, config->listen, err);
  if (rc != AGG_OK) {
    coordinator_destroy(c);
    return rc;
  }
  LOG_INFO(c->log, "control: listening on port %u, at most %u connections, %s", c->port, c->max_connections,
           c->has_token ? "token required" : "no token: loopback only");
  *out = c;
  return AGG_OK;
}

static void fail_groups(struct coordinator *c, int also_running, const char *text) {
  struct group *g, *next;
  for (g = TAILQ_FIRST(&c->groups); g != NULL; g = next) {
    next = TAILQ_NEXT(g, link);
    if (also_running || g->state != GROUP_RUNNING) group_fail(g, AGG_EPEER, UINT32_MAX, "%s", text);
  }
}

void coordinator_destroy(struct coordinator *c) {
  struct session *s, *next;
  if (c == NULL) return;
  c->closing = 1;
  for (uint32_t i = 0; i < c->n_listeners; i++) {
    event_free(c->listener[i]);
    close(c->listen_fd[i]);
  }
  fail_groups(c, 1, "the coordinating process is ending (shut down before this group had left)");
  for (s = TAILQ_FIRST(&c->sessions); s != NULL; s = next) {
    next = TAILQ_NEXT(s, link);
    if (s->recruit != NULL) {
      channel_close(s->ch);
      s->ch = NULL;
      recruit_lost(s, AGG_ECLOSED, "this server is shutting down");
    } else {
      session_drop(s);
    }
  }
  channel_set_fini(&c->set);
  tombs_free(c);
  resolver_destroy(c->resolver);
  if (c->resume) event_free(c->resume);
  tls_destroy(c->tls);
  free(c);
}

uint16_t coordinator_port(const struct coordinator *c) { return c->port; }
void coordinator_drain(struct coordinator *c) { c->draining = 1; }
uint32_t coordinator_groups(const struct coordinator *c) { return c->n_groups + c->n_recruits; }

void coordinator_close_early(struct coordinator *c) {
  c->draining = 1;
  fail_groups(c, 0, "the coordinating process is closing");
}

int coordinator_busy(const struct coordinator *c) { return c->n_groups > 0 || !TAILQ_EMPTY(&c->set.known); }
