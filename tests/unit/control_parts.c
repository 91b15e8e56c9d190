/* The parts of the control plane by themselves: token files, derived keys, messages (also cut and mutilated), TLS in memory, names. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "control/message.h"
#include "control/resolve.h"
#include "control/tls.h"

#define has(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "\"%s\" lacks \"%s\"", (text), (part))

/* ---- token files
 * --------------------------------------------------------------------------------------------------------------------------- */

static char path[64];

static void write_file(const char *bytes, size_t n, mode_t mode) {
  snprintf(path, sizeof path, "/tmp/agg-token-XXXXXX");
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq((int)write(fd, bytes, n), (int)n);
  ck_assert_int_eq(fchmod(fd, mode), 0);
  close(fd);
}

static int read_file(const char *bytes, size_t n, mode_t mode, char *token, agg_error_t *err) {
  write_file(bytes, n, mode);
  int rc = control_token_read(path, token, CONTROL_TOKEN_MAX, err);
  unlink(path);
  return rc;
}

START_TEST(token_file_good) {
  char token[CONTROL_TOKEN_MAX];
  agg_error_t err;
  ck_assert_int_eq(read_file("s3cret\nsecond line\n", 19, 0600, token, &err), AGG_OK);
  ck_assert_str_eq(token, "s3cret");
  ck_assert_int_eq(read_file("no newline", 10, 0400, token, &err), AGG_OK);
  ck_assert_str_eq(token, "no newline");
  ck_assert_int_eq(read_file("dos\r\n", 5, 0600, token, &err), AGG_OK);
  ck_assert_str_eq(token, "dos");
}
END_TEST

START_TEST(token_file_that_others_can_read) {
  static const mode_t modes[] = {0644, 0640, 0604, 0660, 0602, 0620};
  char token[CONTROL_TOKEN_MAX] = "unchanged";
  agg_error_t err;
  for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
    ck_assert_int_eq(read_file("s3cret\n", 7, modes[i], token, &err), AGG_EAUTH);
    has(err.text, "chmod 600");
    has(err.text, path);
    ck_assert_ptr_null(strstr(err.text, "s3cret"));
  }
  ck_assert_str_eq(token, "unchanged");
}
END_TEST

START_TEST(token_file_bad) {
  char token[CONTROL_TOKEN_MAX], big[600], small[4];
  agg_error_t err;
  memset(big, 'x', sizeof big);
  ck_assert_int_eq(read_file("", 0, 0600, token, &err), AGG_EINVAL);
  has(err.text, "empty");
  ck_assert_int_eq(read_file("\nlater\n", 7, 0600, token, &err), AGG_EINVAL);
  ck_assert_int_eq(read_file(big, sizeof big, 0600, token, &err), AGG_EINVAL);
  has(err.text, "longer than 255");
  ck_assert_int_eq(read_file(big, 256, 0600, token, &err), AGG_EINVAL);
  ck_assert_int_eq(read_file(big, 255, 0600, token, &err), AGG_OK);
  ck_assert_int_eq(read_file("a\0b\n", 4, 0600, token, &err), AGG_EINVAL);
  has(err.text, "zero byte");
  ck_assert_int_eq(control_token_read("/nonexistent/token", token, sizeof token, &err), AGG_ESYS);
  has(err.text, "/nonexistent/token");
  ck_assert_int_eq(control_token_read("/", token, sizeof token, &err), AGG_EINVAL);
  write_file("abcd\n", 5, 0600);
  ck_assert_int_eq(control_token_read(path, small, sizeof small, &err), AGG_EINVAL);
  unlink(path);
}
END_TEST

START_TEST(derived_keys) {
  struct token_key a, b, c;
  agg_error_t err;
  char big[CONTROL_TOKEN_MAX + 1];
  ck_assert_int_eq(token_derive("one", &a, &err), AGG_OK);
  ck_assert_int_eq(token_derive("one", &b, &err), AGG_OK);
  ck_assert_int_eq(token_derive("two", &c, &err), AGG_OK);
  ck_assert_mem_eq(&a, &b, sizeof a);
  ck_assert_str_ne(a.id, c.id);
  ck_assert_mem_ne(a.key, c.key, sizeof a.key);
  ck_assert_uint_eq(strlen(a.id), TOKEN_ID_CHARS);
  memset(big, 'x', sizeof big);
  big[CONTROL_TOKEN_MAX] = '\0';
  ck_assert_int_eq(token_derive(big, &a, &err), AGG_EINVAL);
}
END_TEST

/* RFC 4231, test case 2. */
START_TEST(hmac_is_hmac) {
  static const unsigned char want[32] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
                                         0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
  unsigned char got[32];
  ck_assert_int_eq(token_hmac("Jefe", 4, "what do ya want for nothing?", 28, got), AGG_OK);
  ck_assert_mem_eq(got, want, 32);
}
END_TEST

/* ---- messages
 * ---------------------------------------------------------------------------------------------------------------------------------- */

/* Everything that a plan can have: a map of hosts and racks, two parts, a schedule, size ranges. */
static void make_plan(struct plan *p, uint32_t workers, uint32_t servers) {
  uint32_t *host = calloc(workers, sizeof *host), *rack = calloc(workers, sizeof *rack), *store = calloc(servers + 1, sizeof *store);
  double *weights = calloc(workers + servers, sizeof *weights);
  const struct forest_spec direct = {.kind = FOREST_DIRECT}, hybrid[] = {{.kind = FOREST_STAR}, {.kind = FOREST_DIRECT}};
  agg_error_t err = {0};
  for (uint32_t i = 0; i < workers; i++) host[i] = i / 2, rack[i] = i / 4;
  for (uint32_t i = 0; i < servers; i++) store[i] = i;
  for (uint32_t i = 0; i < workers + servers; i++) weights[i] = i < servers ? 3 : 1;
  *p = (struct plan){.workers = workers, .servers = servers, .lanes = 2, .window = 8, .chunk_bytes = 65536};
  ck_assert_msg(forest_map_make(workers, servers, host, rack, store, &p->map, &err) == AGG_OK, "%s", err.text);
  ck_assert_msg(forest_build(&p->forest[0], &direct, 1, workers, servers, p->map, NULL, 0, &err) == AGG_OK, "%s", err.text);
  p->n_forests = 1;
  if (servers != 0) {
    ck_assert_msg(forest_build(&p->forest[1], hybrid, 2, workers, servers, p->map, weights, 0, &err) == AGG_OK, "%s", err.text);
    p->n_forests = 2;
  }
  p->table[OP_ALLREDUCE] = (struct plan_table){.n = p->n_forests, .rule = {{0, 0}, {32768, 1}}};
  free(host), free(rack), free(store), free(weights);
}

static struct control_setup make_setup(uint32_t workers, uint32_t servers) {
  struct control_setup s = {.comm = 5, .epoch = 1, .timeout_s = 12.5, .n_nodes = workers + servers};
  make_plan(&s.plan, workers, servers);
  memset(s.secret, 0xab, sizeof s.secret);
  s.nodes = calloc(s.n_nodes, sizeof *s.nodes);
  for (uint32_t i = 0; i < s.n_nodes; i++) {
    struct control_node *n = &s.nodes[i];
    snprintf(n->host, sizeof n->host, "host%u", i);
    n->pid = i;
    n->reactors = 2;
    n->rails = 3;
    n->place = i * 0x123456789abcdefu;
    n->n_ports = 2;
    n->ports[0] = (struct control_port){.name = "mlx5_0:1", .bytes_per_s = 25000000000 + i};
    n->ports[1] = (struct control_port){.name = "mlx5_1:1", .bytes_per_s = 15750000000, .by_pcie = 1};
    n->n_addresses = 2;
    n->addresses = calloc(2, sizeof *n->addresses);
    for (uint32_t k = 0; k < 2; k++) {
      str_copy(n->addresses[k].transport, TP_NAME_MAX, k ? "tcp" : "shm");
      n->addresses[k].reactor = k;
      n->addresses[k].len = 40;
      memset(n->addresses[k].bytes, (int)i, 40);
    }
  }
  return s;
}

START_TEST(setup_there_and_back) {
  struct control_setup s = make_setup(1024, 8), t;
  struct frame *f = message_setup_pack(&s, 1024, "head", 77);
  Ctl__Frame *m;
  agg_error_t err;
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_lt(f->len, CHANNEL_FRAME_SETUP);
  ck_assert_int_eq(message_unpack(f->bytes + 4, f->len - 4, &m, &err), AGG_OK);
  ck_assert_uint_eq(m->setup->coordinator_pid, 77);
  ck_assert_str_eq(m->setup->coordinator_host, "head");
  ck_assert_int_eq(message_setup_take(m->setup, &t, &err), AGG_OK);
  ck_assert_uint_eq(t.n_nodes, s.n_nodes);
  ck_assert_mem_eq(t.secret, s.secret, sizeof s.secret);
  ck_assert_uint_eq(t.plan.n_forests, s.plan.n_forests);
  for (uint32_t i = 0; i < s.plan.n_forests; i++) {
    const struct forest *a = &s.plan.forest[i], *b = &t.plan.forest[i];
    ck_assert_uint_eq(b->trees, a->trees);
    ck_assert_uint_eq(b->period, a->period);
    for (uint32_t k = 0; k < a->period; k++) ck_assert_uint_eq(forest_tree_at(b, k), forest_tree_at(a, k));
    ck_assert_int_eq(forest_check_node(b, 17, &err), AGG_OK);
  }
  ck_assert_mem_eq(t.plan.map->worker_at, s.plan.map->worker_at, 1024 * sizeof(uint32_t));
  ck_assert_uint_eq(t.plan.map->racks, s.plan.map->racks);
  ck_assert_mem_eq(t.plan.map->server_rack, s.plan.map->server_rack, 8 * sizeof(uint32_t));
  ck_assert_uint_eq(plan_forest(&t.plan, OP_ALLREDUCE, 32767), 0);
  ck_assert_uint_eq(plan_forest(&t.plan, OP_ALLREDUCE, 32768), 1);
  ck_assert_uint_eq(t.plan.window, s.plan.window);
  ck_assert_mem_eq(t.plan.forest_window, s.plan.forest_window, sizeof s.plan.forest_window);
  for (uint32_t i = 0; i < s.n_nodes; i++) {
    ck_assert_str_eq(t.nodes[i].host, s.nodes[i].host);
    ck_assert_uint_eq(t.nodes[i].rails, 3);
    ck_assert_uint_eq(t.nodes[i].place, s.nodes[i].place);
    ck_assert_uint_eq(t.nodes[i].n_ports, 2);
    for (uint32_t k = 0; k < 2; k++) {
      ck_assert_str_eq(t.nodes[i].ports[k].name, s.nodes[i].ports[k].name);
      ck_assert_uint_eq(t.nodes[i].ports[k].bytes_per_s, s.nodes[i].ports[k].bytes_per_s);
      ck_assert_uint_eq(t.nodes[i].ports[k].by_pcie, k);
    }
    ck_assert_mem_eq(t.nodes[i].addresses, s.nodes[i].addresses, 2 * sizeof(struct control_address));
  }
  message_free(m);
  frame_put(f);
  control_setup_free(&s);
  control_setup_free(&t);
}
END_TEST

/* Every prefix and every kind of damage is either refused or gives a message that can be used. */
START_TEST(mutilated_setups) {
  struct control_setup s = make_setup(3, 1), t;
  struct frame *f = message_setup_pack(&s, 3, "head", 77);
  struct rng rng = {.state = (uint64_t)_i};
  uint32_t n = f->len - 4;
  unsigned char *copy = malloc(n);
  for (int round = 0; round < 3000; round++) {
    Ctl__Frame *m;
    agg_error_t err;
    uint32_t len = round % 2 ? n : (uint32_t)rng_below(&rng, n);
    memcpy(copy, f->bytes + 4, n);
    for (uint64_t k = rng_below(&rng, 4); k > 0; k--) copy[rng_below(&rng, n)] = (unsigned char)rng_next(&rng);
    int rc = message_unpack(copy, len, &m, &err);
    if (rc == AGG_OK) {
      if (m->body_case == CTL__FRAME__BODY_SETUP && message_setup_take(m->setup, &t, &err) == AGG_OK) {
        ck_assert_uint_le(t.n_nodes, FOREST_MAX_NODES);
        ck_assert_uint_eq(plan_nodes(&t.plan), t.n_nodes);
        for (uint32_t i = 0; i < t.n_nodes; i++) (void)plan_check(&t.plan, i, &err); /* finds no wild index */
        control_setup_free(&t);
      }
      message_free(m);
    } else {
      ck_assert_int_eq(rc, AGG_EPROTO);
    }
  }
  free(copy);
  frame_put(f);
  control_setup_free(&s);
}
END_TEST

static int unpack_of(const Ctl__Frame *f, agg_error_t *err) {
  struct frame *p = message_pack(f);
  Ctl__Frame *m = NULL;
  int rc = message_unpack(p->bytes + 4, p->len - 4, &m, err);
  message_free(m);
  frame_put(p);
  return rc;
}

/* One field damaged at a time. Returns 0 after the last. */
static int damage(Ctl__Setup *u, int i) {
  Ctl__Plan *p = u->plan;
  int n = 0;
  if (i == n++) u->epoch = 0;
  if (i == n++) u->epoch = 65536;
  if (i == n++) u->secret.len = 31;
  if (i == n++) u->workers = 4;
  if (i == n++) u->workers = 0;
  if (i == n++) u->timeout_s = -1;
  if (i == n++) u->nodes[1]->addresses[0]->reactor = 2;
  if (i == n++) u->nodes[2]->rails = 0;
  if (i == n++) u->nodes[2]->rails = CONTROL_RAILS_MAX + 1;
  if (i == n++) p->lanes = 0;
  if (i == n++) p->window = MESSAGE_WINDOW_MAX + 1;
  if (i == n++) p->chunk_bytes = 100;
  if (i == n++) p->workers = 2;
  if (i == n++) p->servers = 2;
  if (i == n++) p->n_forests = 0;
  if (i == n++) p->forests[0]->n_parts = 0;
  if (i == n++) p->forests[1]->window = p->window + 1;
  if (i == n++) p->forests[0]->parts[0]->kind = 77;
  if (i == n++) p->forests[0]->parts[0]->arity = 1000;
  if (i == n++) p->forests[1]->schedule[0] = 99;
  if (i == n++) p->tables[0]->rules[0]->from_bytes = 1;
  if (i == n++) p->tables[0]->rules[1]->from_bytes = 0;
  if (i == n++) p->tables[0]->rules[1]->forest = 2;
  if (i == n++) p->n_tables--;
  if (i == n++) p->worker_at[1] = p->worker_at[0];
  if (i == n++) p->worker_at[1] = 3;
  if (i == n++) p->n_worker_at--;
  if (i == n++) p->group_sizes[0]++;
  if (i == n++) p->n_group_sizes = 0;
  if (i == n++) p->rack_sizes[0]++;
  if (i == n++) p->server_rack[0] = 77;
  if (i == n++) p->n_server_rack = 0;
  return i < n;
}

START_TEST(setups_with_impossible_contents) {
  struct control_setup s = make_setup(3, 1), t;
  struct frame *f = message_setup_pack(&s, 3, "head", 77);
  agg_error_t err;
  for (int i = 0;; i++) {
    Ctl__Frame *m;
    ck_assert_int_eq(message_unpack(f->bytes + 4, f->len - 4, &m, &err), AGG_OK);
    Ctl__Plan whole = *m->setup->plan; /* counts that are damaged must be mended before it is freed */
    size_t parts = m->setup->plan->forests[0]->n_parts;
    int more = damage(m->setup, i);
    struct frame *p = message_pack(m);
    *m->setup->plan = whole;
    m->setup->plan->forests[0]->n_parts = parts;
    Ctl__Frame *again = NULL;
    int rc = message_unpack(p->bytes + 4, p->len - 4, &again, &err);
    if (rc == AGG_OK) rc = message_setup_take(again->setup, &t, &err);
    ck_assert_msg(rc == (more ? AGG_EPROTO : AGG_OK), "case %d: %d", i, rc);
    if (rc == AGG_OK) control_setup_free(&t);
    message_free(again);
    message_free(m);
    frame_put(p);
    if (!more) break;
  }
  frame_put(f);
  control_setup_free(&s);
}
END_TEST

START_TEST(verdicts_are_checked_and_cleaned) {
  static const int codes[] = {0, 1, -15, INT32_MIN};
  char text[AGG_ERROR_TEXT_MAX + 1];
  Ctl__Frame f = CTL__FRAME__INIT;
  Ctl__Fault t;
  agg_error_t err;
  ctl__fault__init(&t);
  f.body_case = CTL__FRAME__BODY_FAULT;
  f.fault = &t;
  for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
    t.code = codes[i];
    ck_assert_int_eq(unpack_of(&f, &err), AGG_EPROTO);
    has(err.text, "status code");
  }
  t.code = AGG_EPEER;
  memset(text, 'x', sizeof text);
  text[AGG_ERROR_TEXT_MAX] = '\0';
  t.text = text;
  ck_assert_int_eq(unpack_of(&f, &err), AGG_EPROTO);
  text[AGG_ERROR_TEXT_MAX - 1] = '\0';
  ck_assert_int_eq(unpack_of(&f, &err), AGG_OK);
  char evil[] = "one\ntwo\x1b[31m\x7f ok \xc3\xa9";
  text_clean(evil);
  ck_assert_str_eq(evil, "one?two?[31m? ok \xc3\xa9");
}
END_TEST

START_TEST(reports_are_checked) {
  Ctl__Frame f = CTL__FRAME__INIT;
  Ctl__Late l;
  Ctl__Query q;
  Ctl__State s;
  agg_error_t err;
  uint64_t posted[5] = {0};
  ctl__late__init(&l);
  ctl__query__init(&q);
  ctl__state__init(&s);
  f.body_case = CTL__FRAME__BODY_LATE;
  f.late = &l;
  ck_assert_int_eq(unpack_of(&f, &err), AGG_OK);
  l.priority = AGG_PRIORITY_COUNT;
  ck_assert_int_eq(unpack_of(&f, &err), AGG_EPROTO);
  l.priority = 0;
  l.waited_s = 1.0 / 0.0;
  ck_assert_int_eq(unpack_of(&f, &err), AGG_EPROTO);
  f.body_case = CTL__FRAME__BODY_QUERY;
  f.query = &q;
  q.priority = UINT32_MAX;
  ck_assert_int_eq(unpack_of(&f, &err), AGG_EPROTO);
  f.body_case = CTL__FRAME__BODY_STATE;
  f.state = &s;
  s.posted = posted;
  for (size_t n = 0; n < 5; n++) {
    s.n_posted = n;
    ck_assert_int_eq(unpack_of(&f, &err), n == AGG_PRIORITY_COUNT ? AGG_OK : AGG_EPROTO);
  }
}
END_TEST

START_TEST(node_names) {
  struct control_setup s = make_setup(3, 2);
  char name[CONTROL_NODE_NAME_MAX], small[8];
  ck_assert_str_eq(control_node_name(&s, 2, name, sizeof name), "rank 2 (host2, pid 2)");
  ck_assert_str_eq(control_node_name(&s, 3, name, sizeof name), "server 0 (host3, pid 3)");
  ck_assert_str_eq(control_node_name(&s, 9, name, sizeof name), "server 6");
  ck_assert_str_eq(control_node_name(&s, 2, small, sizeof small), "rank 2 ");
  control_setup_free(&s);
  control_setup_free(&s); /* emptied: no harm */
  control_setup_free(NULL);
}
END_TEST

/* ---- TLS in memory
 * -------------------------------------------------------------------------------------------------------------------------------- */

struct pair {
  struct tls *ct, *st;
  struct tls_conn c, s;
};

static void pair_open(struct pair *p, const char *client, const char *const *servers, unsigned n) {
  struct token_key key, keys[4];
  agg_error_t err;
  ck_assert_int_eq(token_derive(client, &key, &err), AGG_OK);
  for (unsigned i = 0; i < n; i++) ck_assert_int_eq(token_derive(servers[i], &keys[i], &err), AGG_OK);
  ck_assert_int_eq(tls_create(&key, 1, &p->ct, &err), AGG_OK);
  ck_assert_int_eq(tls_create(keys, n, &p->st, &err), AGG_OK);
  ck_assert_int_eq(tls_conn_open(&p->c, p->ct, 0, 0), AGG_OK);
  ck_assert_int_eq(tls_conn_open(&p->s, p->st, 1, 0), AGG_OK);
}

static void pair_close(struct pair *p) {
  tls_conn_close(&p->c);
  tls_conn_close(&p->s);
  tls_destroy(p->ct);
  tls_destroy(p->st);
}

static void carry(struct tls_conn *from, struct tls_conn *to) {
  char buf[1024];
  int n;
  while ((n = BIO_read(from->out, buf, sizeof buf)) > 0) BIO_write(to->in, buf, n);
}

static void shake(struct pair *p, int *c, int *s, agg_error_t *ce, agg_error_t *se) {
  *c = *s = 0;
  for (int i = 0; i < 6; i++) {
    if (*c == 0) *c = tls_handshake(&p->c, ce);
    carry(&p->c, &p->s);
    if (*s == 0) *s = tls_handshake(&p->s, se);
    carry(&p->s, &p->c);
  }
}

START_TEST(tls_same_token) {
  const char *tokens[] = {"zero", "one", "two"};
  struct pair p;
  int c, s;
  agg_error_t ce, se;
  char buf[16];
  pair_open(&p, "two", tokens, 3);
  shake(&p, &c, &s, &ce, &se);
  ck_assert_int_eq(c, 1);
  ck_assert_int_eq(s, 1);
  ck_assert_uint_eq(p.s.key, 2);
  ck_assert_str_eq(SSL_get_version(p.c.ssl), "TLSv1.3");
  ck_assert_str_eq(SSL_get_cipher_name(p.c.ssl), "TLS_AES_128_GCM_SHA256");
  ck_assert_int_eq(tls_write(&p.c, "hello", 5, &ce), AGG_OK);
  carry(&p.c, &p.s);
  ck_assert_int_eq(tls_read(&p.s, buf, sizeof buf, &se), 5);
  ck_assert_mem_eq(buf, "hello", 5);
  ck_assert_int_eq(tls_read(&p.s, buf, sizeof buf, &se), 0);
  tls_end(&p.c);
  carry(&p.c, &p.s);
  ck_assert_int_eq(tls_read(&p.s, buf, sizeof buf, &se), AGG_ECLOSED);
  pair_close(&p);
}
END_TEST

START_TEST(tls_other_token) {
  const char *tokens[] = {"zero", "one"};
  struct pair p;
  int c, s;
  agg_error_t ce, se;
  pair_open(&p, "two", tokens, 2);
  shake(&p, &c, &s, &ce, &se);
  ck_assert_int_eq(c, AGG_EAUTH);
  ck_assert_int_eq(s, AGG_EAUTH);
  pair_close(&p);
}
END_TEST

START_TEST(tls_broken_record) {
  const char *tokens[] = {"zero"};
  struct pair p;
  int c, s;
  agg_error_t ce, se;
  char buf[64];
  pair_open(&p, "zero", tokens, 1);
  shake(&p, &c, &s, &ce, &se);
  ck_assert_int_eq(tls_write(&p.c, "hello", 5, &ce), AGG_OK);
  int n = BIO_read(p.c.out, buf, sizeof buf);
  buf[n - 1] ^= 1;
  BIO_write(p.s.in, buf, n);
  ck_assert_int_eq(tls_read(&p.s, buf, sizeof buf, &se), AGG_EPROTO);
  pair_close(&p);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("control parts");
  TCase *t = tcase_create("parts");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, token_file_good);
  tcase_add_test(t, token_file_that_others_can_read);
  tcase_add_test(t, token_file_bad);
  tcase_add_test(t, derived_keys);
  tcase_add_test(t, hmac_is_hmac);
  tcase_add_test(t, setup_there_and_back);
  tcase_add_loop_test(t, mutilated_setups, 0, 4);
  tcase_add_test(t, setups_with_impossible_contents);
  tcase_add_test(t, verdicts_are_checked_and_cleaned);
  tcase_add_test(t, reports_are_checked);
  tcase_add_test(t, node_names);
  tcase_add_test(t, tls_same_token);
  tcase_add_test(t, tls_other_token);
  tcase_add_test(t, tls_broken_record);
  suite_add_tcase(s, t);
  return s;
}
