/* The control plane's test rig. Every wait ends with the event itself; RIG_GUARD_S only guards against a hang. */
#include "tests/lib/control_rig.h"

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"

static void sync_init(pthread_mutex_t *mu, pthread_cond_t *cond) {
  pthread_condattr_t attr;
  pthread_mutex_init(mu, NULL);
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(cond, &attr);
  pthread_condattr_destroy(&attr);
}

static void wait_word(pthread_mutex_t *mu, pthread_cond_t *cond, const int *word, int value) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  ts.tv_sec += (time_t)RIG_GUARD_S;
  pthread_mutex_lock(mu);
  int rc = 0;
  while (*word < value && rc == 0) rc = pthread_cond_timedwait(cond, mu, &ts);
  int got = *word;
  pthread_mutex_unlock(mu);
  ck_assert_int_ge(got, value);
}

/* ---- server
 * -------------------------------------------------------------------------------------------------------------------------------- */

static void note(struct rig_server *s, int *word) {
  pthread_mutex_lock(&s->mu);
  ++*word;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->mu);
}

static void on_describe(void *user, struct control_node *self) {
  static struct control_address address = {.transport = "tcp", .len = 3, .bytes = "srv"};
  (void)user;
  *self = (struct control_node){.host = "store1", .pid = 9, .reactors = 1, .rails = 1, .n_addresses = 1, .addresses = &address};
}

static int on_prepare(void *user, struct recruit *r, const struct recruit_request *q, void **job, agg_error_t *err) {
  struct rig_server *s = user;
  if (s->refuse) {
    snprintf(err->text, sizeof err->text, "%s", s->refuse);
    return err->code = AGG_ELIMIT;
  }
  s->request = *q;
  s->request.plan = (struct plan){0}; /* borrowed for the call only */
  s->part = r;
  *job = s;
  note(s, &s->prepared);
  return AGG_OK;
}

static int on_start(void *job, const struct control_setup *setup, agg_error_t *err) {
  struct rig_server *s = job;
  note(s, &s->started);
  if (s->start_error) {
    snprintf(err->text, sizeof err->text, "%s", s->start_error);
    return err->code = AGG_ENOMEM;
  }
  ck_assert_uint_eq(setup->n_nodes, s->request.workers + s->request.servers);
  if (!s->never_ready) recruit_ready(s->part);
  return AGG_OK;
}

static void on_go(void *job) {
  struct rig_server *s = job;
  note(s, &s->going);
}

static void on_server_query(void *job, uint32_t priority, uint32_t op, struct control_state *state) {
  (void)job, (void)priority, (void)op, (void)state;
}

static void on_end(void *job, int code, const char *text) {
  struct rig_server *s = job;
  pthread_mutex_lock(&s->mu);
  s->end_code = code;
  snprintf(s->end_text, sizeof s->end_text, "%s", text);
  pthread_mutex_unlock(&s->mu);
  note(s, &s->ended);
}

static void create_task(void *arg) {
  struct rig_server *s = arg;
  agg_error_t err = {0};
  const char *tokens[2] = {s->address[0] ? s->address : NULL, NULL}; /* the token is handed over in address */
  struct coordinator_config config = {
      .tokens = tokens, .listen = "127.0.0.1:0", .max_world = s->max_world, .max_connections = s->max_connections};
  config.recruit = s->no_hooks ? NULL : &s->hooks;
  int rc = coordinator_create(control_channels(s->control)->base, &config, &s->coordinator, &err);
  ck_assert_msg(rc == AGG_OK, "%s", err.text);
  s->port = coordinator_port(s->coordinator);
}

static void destroy_task(void *arg) {
  struct rig_server *s = arg;
  coordinator_destroy(s->coordinator);
  s->coordinator = NULL;
}

void rig_server_start(struct rig_server *s, const char *token) {
  struct control_config config = {.token = ""};
  agg_error_t err;
  sync_init(&s->mu, &s->changed);
  s->hooks = (struct recruit_hooks){
      .user = s, .describe = on_describe, .prepare = on_prepare, .start = on_start, .go = on_go, .query = on_server_query, .end = on_end};
  ck_assert_int_eq(control_start(&config, &s->control, &err), AGG_OK);
  snprintf(s->address, sizeof s->address, "%s", token);
  control_call(s->control, create_task, s);
  snprintf(s->address, sizeof s->address, "127.0.0.1:%u", s->port);
}

void rig_server_stop(struct rig_server *s) {
  control_call(s->control, destroy_task, s);
  control_stop(s->control);
  pthread_cond_destroy(&s->changed);
  pthread_mutex_destroy(&s->mu);
}

void rig_server_wait(struct rig_server *s, const int *word, int value) { wait_word(&s->mu, &s->changed, word, value); }

static void cut_task(void *arg) {
  uint16_t port = ((struct rig_server *)arg)->port;
  DIR *d = opendir("/proc/self/fd");
  struct dirent *e;
  while ((e = readdir(d)) != NULL) {
    int fd = atoi(e->d_name);
    struct net_addr a = {.len = sizeof a.ss}, b = {.len = sizeof b.ss};
    if (fd <= 2 || getsockname(fd, (struct sockaddr *)&a.ss, &a.len) || getpeername(fd, (struct sockaddr *)&b.ss, &b.len)) continue;
    if (net_port(&a) == port) shutdown(fd, SHUT_RDWR);
  }
  closedir(d);
}

void rig_cut(struct rig_server *s) { control_call(s->control, cut_task, s); }

/* ---- members
 * --------------------------------------------------------------------------------------------------------------------------------- */

static void on_aborted(void *user, int code, uint32_t culprit, const char *text) {
  struct rig_member *m = user;
  pthread_mutex_lock(&m->mu);
  m->aborted++;
  m->code = code;
  m->culprit = culprit;
  snprintf(m->text, sizeof m->text, "%s", text);
  pthread_cond_broadcast(&m->changed);
  pthread_mutex_unlock(&m->mu);
}

static void on_left(void *user, uint32_t node) {
  struct rig_member *m = user;
  pthread_mutex_lock(&m->mu);
  if (m->n_left < 16) m->left[m->n_left] = node;
  m->n_left++;
  pthread_cond_broadcast(&m->changed);
  pthread_mutex_unlock(&m->mu);
}

static void on_query(void *user, uint32_t priority, uint32_t op, struct control_state *state) {
  struct rig_member *m = user;
  (void)priority, (void)op;
  pthread_mutex_lock(&m->mu);
  m->queries++;
  pthread_cond_broadcast(&m->changed);
  while (m->block_query && !m->release) pthread_cond_wait(&m->changed, &m->mu);
  *state = m->state;
  pthread_mutex_unlock(&m->mu);
}

void rig_member_init(struct rig_member *m, uint16_t port, const char *token, uint32_t rank, uint32_t size) {
  struct control_config config = {.token = token};
  agg_error_t err;
  memset(m, 0, sizeof *m);
  sync_init(&m->mu, &m->changed);
  ck_assert_int_eq(control_start(&config, &m->control, &err), AGG_OK);
  m->address = (struct control_address){.transport = "shm", .len = 4, .bytes = "addr"};
  m->self = (struct control_node){.pid = 100 + rank, .reactors = 1, .rails = 1, .n_addresses = 1, .addresses = &m->address};
  snprintf(m->self.host, sizeof m->self.host, "node%u", rank);
  m->config =
      (struct member_config){.host = "127.0.0.1", .port = port, .job = "test", .rank = rank, .size = size, .servers = "", .plan = "auto"};
  memset(m->config.group, 7, sizeof m->config.group);
  m->config.timeout_s = 60;
  m->config.join_timeout_s = RIG_GUARD_S;
  m->config.self = &m->self;
  m->config.hooks = (struct member_hooks){.user = m, .aborted = on_aborted, .left = on_left, .query = on_query};
}

void rig_member_fini(struct rig_member *m) {
  rig_joined(m);
  member_leave(m->member);
  control_stop(m->control);
  control_setup_free(&m->setup);
  pthread_cond_destroy(&m->changed);
  pthread_mutex_destroy(&m->mu);
}

static void *join_thread(void *arg) {
  struct rig_member *m = arg;
  m->ready_rc = AGG_EINPROGRESS;
  m->rc = member_join(m->control, &m->config, &m->member, &m->setup, &m->err);
  if (m->rc == AGG_OK && !m->stop_after_join) m->ready_rc = member_ready(m->member, &m->err);
  return NULL;
}

void rig_join(struct rig_member *m) {
  m->threaded = pthread_create(&m->thread, NULL, join_thread, m) == 0;
  ck_assert_int_eq(m->threaded, 1);
}

void rig_joined(struct rig_member *m) {
  if (m->threaded) pthread_join(m->thread, NULL);
  m->threaded = 0;
}

void rig_wait(struct rig_member *m, const int *word, int value) { wait_word(&m->mu, &m->changed, word, value); }

static void kill_task(void *arg) {
  struct rig_member *m = arg;
  channel_close(m->member->channel);
  m->member->channel = NULL;
}

void rig_kill(struct rig_member *m) { control_call(m->control, kill_task, m); }

void rig_group(struct rig_member *m, uint32_t n, uint16_t port, const char *token, const char *servers) {
  for (uint32_t i = 0; i < n; i++) {
    rig_member_init(&m[i], port, token, i, n);
    m[i].config.servers = servers;
    rig_join(&m[i]);
  }
  for (uint32_t i = 0; i < n; i++) {
    rig_joined(&m[i]);
    ck_assert_msg(m[i].rc == AGG_OK && m[i].ready_rc == AGG_OK, "rank %u: %d %d %s", i, m[i].rc, m[i].ready_rc, m[i].err.text);
  }
}

/* ---- raw
 * ------------------------------------------------------------------------------------------------------------------------------------- */

int raw_connect(uint16_t port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
  return fd;
}

static void raw_flush(struct raw *r) {
  char *data;
  long n;
  while ((n = BIO_get_mem_data(r->conn.out, &data)) > 0) {
    ssize_t done = send(r->fd, data, (size_t)n, MSG_NOSIGNAL);
    if (done <= 0) return;
    while (done > 0) {
      char sink[4096];
      done -= BIO_read(r->conn.out, sink, (int)MIN_OF((size_t)done, sizeof sink));
    }
  }
}

/* Takes what comes from the socket: 1, or 0 at the end. */
static int raw_fill(struct raw *r) {
  char buf[4096];
  ssize_t n = recv(r->fd, buf, sizeof buf, 0);
  if (n <= 0) return 0;
  BIO_write(r->conn.in, buf, (int)n);
  return 1;
}

int raw_open(struct raw *r, uint16_t port, const char *token) {
  struct token_key key;
  agg_error_t err = {0};
  int rc;
  r->fd = raw_connect(port);
  ck_assert_int_eq(token_derive(token, &key, &err), AGG_OK);
  ck_assert_int_eq(tls_create(&key, 1, &r->tls, &err), AGG_OK);
  ck_assert_int_eq(tls_conn_open(&r->conn, r->tls, 0, 0), AGG_OK);
  while ((rc = tls_handshake(&r->conn, &err)) == 0) {
    raw_flush(r);
    if (!raw_fill(r)) return AGG_EPEER;
  }
  raw_flush(r);
  return rc == 1 ? 0 : rc;
}

void raw_send(struct raw *r, const void *bytes, size_t n) {
  const char *p = bytes;
  agg_error_t err;
  while (n > 0) {
    int piece = (int)MIN_OF(n, (size_t)16384);
    ck_assert_int_eq(tls_write(&r->conn, p, piece, &err), AGG_OK);
    raw_flush(r);
    p += piece;
    n -= (size_t)piece;
  }
}

int raw_read(struct raw *r, unsigned char *buf, int cap) {
  agg_error_t err;
  int n;
  while ((n = tls_read(&r->conn, buf, cap, &err)) == 0) {
    if (!raw_fill(r)) return 0;
  }
  return n;
}

void raw_close(struct raw *r) {
  tls_conn_close(&r->conn);
  tls_destroy(r->tls);
  close(r->fd);
}

void raw_wait_close(int fd) {
  char buf[4096];
  for (;;) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, (int)(RIG_GUARD_S * 1000)), 1);
    if (recv(fd, buf, sizeof buf, 0) <= 0) return;
  }
}
