/*
 * Encodes and decodes control messages and checks every field of what came. Owns no connection and keeps nothing; decides nothing about
 * groups.
 */
#include "message.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

void text_clean(char *text) {
  for (unsigned char *p = (unsigned char *)text; *p; p++) {
    if (*p < 0x20 || *p == 0x7f) *p = '?';
  }
}

struct frame *message_pack(const Ctl__Frame *f) {
  size_t n = ctl__frame__get_packed_size(f);
  if (n > CHANNEL_FRAME_SETUP) return NULL;
  struct frame *out = frame_new((uint32_t)n);
  if (out != NULL) ctl__frame__pack(f, out->bytes + 4);
  return out;
}

void message_free(Ctl__Frame *f) {
  if (f != NULL) ctl__frame__free_unpacked(f, NULL);
}

void message_send(struct channel *ch, const Ctl__Frame *f) {
  struct frame *packed = message_pack(f);
  channel_send(ch, packed);
  frame_put(packed);
}

void message_send_empty(struct channel *ch, Ctl__Frame__BodyCase body) {
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Recruited recruited;
  ctl__recruited__init(&recruited);
  Ctl__Ready ready;
  ctl__ready__init(&ready);
  Ctl__Go go;
  ctl__go__init(&go);
  Ctl__Leave leave;
  ctl__leave__init(&leave);
  Ctl__End end;
  ctl__end__init(&end);
  f.body_case = body;
  if (body == CTL__FRAME__BODY_RECRUITED) f.recruited = &recruited;
  if (body == CTL__FRAME__BODY_READY) f.ready = &ready;
  if (body == CTL__FRAME__BODY_GO) f.go = &go;
  if (body == CTL__FRAME__BODY_LEAVE) f.leave = &leave;
  if (body == CTL__FRAME__BODY_END) f.end = &end;
  message_send(ch, &f);
}

void message_send_refused(struct channel *ch, int code, const char *text) {
  agg_error_t copy;
  err_set(&copy, code, "%s", text);
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Refused r;
  ctl__refused__init(&r);
  r.code = code;
  r.text = copy.text;
  f.body_case = CTL__FRAME__BODY_REFUSED;
  f.refused = &r;
  message_send(ch, &f);
}

void message_send_fault(struct channel *ch, int code, uint32_t culprit, const char *text) {
  agg_error_t copy;
  err_set(&copy, code, "%s", text);
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Fault r;
  ctl__fault__init(&r);
  r.code = code;
  r.culprit = culprit;
  r.text = copy.text;
  f.body_case = CTL__FRAME__BODY_FAULT;
  f.fault = &r;
  message_send(ch, &f);
}

void message_send_state(struct channel *ch, const Ctl__Query *query, const struct control_state *state) {
  struct control_state copy = *state;
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__State s;
  ctl__state__init(&s);
  copy.text[sizeof copy.text - 1] = '\0';
  s.priority = query->priority;
  s.op = query->op;
  s.n_posted = AGG_PRIORITY_COUNT;
  s.posted = copy.posted;
  s.waits_for = copy.waits_for;
  s.text = copy.text;
  copy.called[sizeof copy.called - 1] = '\0';
  s.called = copy.called;
  f.body_case = CTL__FRAME__BODY_STATE;
  f.state = &s;
  message_send(ch, &f);
}

/* ---- checks -------------------------------------------------------------------------------------------------------------------- */

static int bad(agg_error_t *err, const char *what) { return err_set(err, AGG_EPROTO, "it sent a message with a wrong %s", what); }

/* A text that must fit so many bytes, terminator included; cleaned in place. */
static int check_text(char *text, size_t cap, const char *what, agg_error_t *err) {
  if (strlen(text) >= cap) return bad(err, what);
  if (text != protobuf_c_empty_string) text_clean(text);
  return AGG_OK;
}

static int is_code(int32_t code) { return code <= AGG_EINVAL && code >= AGG_ECLOSED; }
static int is_seconds(double s) { return isfinite(s) && s >= 0 && s <= MESSAGE_SECONDS_MAX; }

static int check_node(const Ctl__Node *n, agg_error_t *err) {
  struct control_node *shape = NULL; /* for its field sizes */
  if (n == NULL) return bad(err, "node (missing)");
  if (check_text(n->host, sizeof shape->host, "host name", err)) return AGG_EPROTO;
  if (n->reactors == 0 || n->reactors > CONTROL_REACTORS_MAX) return bad(err, "number of reactors");
  if (n->rails == 0 || n->rails > CONTROL_RAILS_MAX) return bad(err, "number of rails");
  if (n->n_addresses > MESSAGE_ADDRESSES_MAX) return bad(err, "number of addresses");
  if (n->n_ports > CONTROL_RAILS_MAX) return bad(err, "number of ports");
  for (size_t i = 0; i < n->n_ports; i++)
    if (check_text(n->ports[i]->name, sizeof shape->ports[0].name, "name of a port", err)) return AGG_EPROTO;
  for (size_t i = 0; i < n->n_addresses; i++) {
    const Ctl__Address *a = n->addresses[i];
    if (check_text(a->transport, TP_NAME_MAX, "transport name", err)) return AGG_EPROTO;
    if (a->transport[0] == '\0' || a->reactor >= n->reactors || a->where.len > TP_ADDRESS_MAX) return bad(err, "address");
  }
  return AGG_OK;
}

static int check_join(Ctl__Join *j, agg_error_t *err) {
  if (j->group.len != CONTROL_GROUP_BYTES) return bad(err, "group");
  if (check_text(j->job, AGG_NAME_MAX, "job name", err)) return AGG_EPROTO;
  if (check_text(j->servers, CHANNEL_FRAME_FIRST, "list of servers", err) || check_text(j->plan, 256, "plan", err)) return AGG_EPROTO;
  if (!is_seconds(j->timeout_s) || !is_seconds(j->join_s)) return bad(err, "timeout");
  return check_node(j->node, err);
}

static int check_recruit(Ctl__Recruit *r, agg_error_t *err) {
  if (check_text(r->job, AGG_NAME_MAX, "job name", err)) return AGG_EPROTO;
  if (r->workers == 0 || r->workers > FOREST_MAX_NODES || r->servers == 0 || r->servers > FOREST_MAX_NODES)
    return bad(err, "number of nodes");
  if (r->server >= r->servers) return bad(err, "server number");
  return message_plan_check(r->plan, r->workers, r->servers, err);
}

static int check_setup(Ctl__Setup *s, agg_error_t *err) {
  if (s->epoch == 0 || s->epoch > UINT16_MAX) return bad(err, "epoch");
  if (s->secret.len != CONTROL_SECRET_BYTES) return bad(err, "secret");
  if (s->n_nodes == 0 || s->n_nodes > FOREST_MAX_NODES || s->workers == 0 || s->workers > s->n_nodes) return bad(err, "number of nodes");
  if (!is_seconds(s->timeout_s)) return bad(err, "timeout");
  if (check_text(s->coordinator_host, AGG_NAME_MAX, "host name", err)) return AGG_EPROTO;
  for (size_t i = 0; i < s->n_nodes; i++) {
    if (check_node(s->nodes[i], err)) return AGG_EPROTO;
  }
  return message_plan_check(s->plan, s->workers, (uint32_t)s->n_nodes - s->workers, err);
}

static int check_verdict(int32_t code, char *text, agg_error_t *err) {
  if (!is_code(code)) return bad(err, "status code");
  return check_text(text, AGG_ERROR_TEXT_MAX, "text", err);
}

static int check_late(Ctl__Late *l, agg_error_t *err) {
  if (l->priority >= AGG_PRIORITY_COUNT) return bad(err, "priority");
  if (!is_seconds(l->waited_s)) return bad(err, "time");
  if (check_text(l->what, 256, "operation", err)) return AGG_EPROTO;
  return check_text(l->text, AGG_ERROR_TEXT_MAX, "text", err);
}

static int check_state(Ctl__State *s, agg_error_t *err) {
  struct control_state *shape = NULL;
  if (s->n_posted != AGG_PRIORITY_COUNT) return bad(err, "number of priorities");
  if (check_text(s->called, sizeof shape->called, "operation", err)) return AGG_EPROTO;
  return check_text(s->text, sizeof shape->text, "text", err);
}

static int check_frame(Ctl__Frame *f, agg_error_t *err) {
  switch (f->body_case) {
    case CTL__FRAME__BODY_JOIN:
      return check_join(f->join, err);
    case CTL__FRAME__BODY_RECRUIT:
      return check_recruit(f->recruit, err);
    case CTL__FRAME__BODY_DESCRIBE:
      return check_text(f->describe->job, AGG_NAME_MAX, "job name", err);
    case CTL__FRAME__BODY_DESCRIBED:
      return check_node(f->described->node, err);
    case CTL__FRAME__BODY_REFUSED:
      return check_verdict(f->refused->code, f->refused->text, err);
    case CTL__FRAME__BODY_SETUP:
      return check_setup(f->setup, err);
    case CTL__FRAME__BODY_LATE:
      return check_late(f->late, err);
    case CTL__FRAME__BODY_FAULT:
      return check_verdict(f->fault->code, f->fault->text, err);
    case CTL__FRAME__BODY_QUERY:
      return f->query->priority < AGG_PRIORITY_COUNT ? AGG_OK : bad(err, "priority");
    case CTL__FRAME__BODY_STATE:
      return check_state(f->state, err);
    case CTL__FRAME__BODY_ABORT:
      return check_verdict(f->abort->code, f->abort->text, err);
    case CTL__FRAME__BODY_RECRUITED:
    case CTL__FRAME__BODY_READY:
    case CTL__FRAME__BODY_GO:
    case CTL__FRAME__BODY_LEAVE:
    case CTL__FRAME__BODY_LEFT:
    case CTL__FRAME__BODY_END:
      return AGG_OK;
    default:
      return err_set(err, AGG_EPROTO, "it sent a message of an unknown kind");
  }
}

int message_unpack(const unsigned char *bytes, size_t n, Ctl__Frame **f, agg_error_t *err) {
  Ctl__Frame *m = ctl__frame__unpack(NULL, n, bytes);
  if (m == NULL) return err_set(err, AGG_EPROTO, "it sent %zu bytes that are no message", n);
  int rc = check_frame(m, err);
  if (rc != AGG_OK) {
    message_free(m);
    return rc;
  }
  *f = m;
  return AGG_OK;
}

/* ---- nodes ---------------------------------------------------------------------------------------------------------------------- */

struct message_nodes {
  Ctl__Node *nodes;
  Ctl__Node **node_list;
  Ctl__Address *addresses;
  Ctl__Address **address_list;
  Ctl__Rail *ports; /* CONTROL_RAILS_MAX a node */
  Ctl__Rail **port_list;
};

void message_nodes_free(struct message_nodes *m) {
  if (m == NULL) return;
  free(m->nodes);
  free(m->node_list);
  free(m->addresses);
  free(m->address_list);
  free(m->ports);
  free(m->port_list);
  free(m);
}

Ctl__Node **message_nodes_list(struct message_nodes *m) { return m->node_list; }

static struct message_nodes *nodes_alloc(size_t n, size_t addresses) {
  struct message_nodes *m = calloc(1, sizeof *m);
  if (m == NULL) return NULL;
  m->nodes = calloc(n, sizeof *m->nodes);
  m->node_list = calloc(n, sizeof(*m->node_list));
  m->addresses = calloc(addresses + 1, sizeof *m->addresses);
  m->address_list = calloc(addresses + 1, sizeof(*m->address_list));
  m->ports = calloc(n * CONTROL_RAILS_MAX, sizeof *m->ports);
  m->port_list = calloc(n * CONTROL_RAILS_MAX, sizeof(*m->port_list));
  if (m->nodes && m->node_list && m->addresses && m->address_list && m->ports && m->port_list) return m;
  message_nodes_free(m);
  return NULL;
}

struct message_nodes *message_nodes_make(const struct control_node *nodes, uint32_t n) {
  size_t addresses = 0, at = 0;
  for (uint32_t i = 0; i < n; i++) addresses += nodes[i].n_addresses;
  struct message_nodes *m = nodes_alloc(n, addresses);
  if (m == NULL) return NULL;
  for (uint32_t i = 0; i < n; i++) {
    Ctl__Node *to = m->node_list[i] = &m->nodes[i];
    struct control_node *from = (struct control_node *)(uintptr_t)&nodes[i]; /* protobuf-c has no const fields; packing only reads */
    ctl__node__init(to);
    to->host = from->host;
    to->place = from->place;
    to->pid = from->pid;
    to->reactors = from->reactors;
    to->rails = from->rails;
    to->n_ports = from->n_ports;
    to->ports = &m->port_list[(size_t)i * CONTROL_RAILS_MAX];
    for (uint32_t k = 0; k < from->n_ports; k++) {
      Ctl__Rail *rail = to->ports[k] = &m->ports[(size_t)i * CONTROL_RAILS_MAX + k];
      ctl__rail__init(rail);
      rail->name = from->ports[k].name;
      rail->bytes_per_s = from->ports[k].bytes_per_s;
      rail->by_pcie = from->ports[k].by_pcie;
    }
    to->sum_bytes_per_s = from->sum_bytes_per_s;
    to->copy_bytes_per_s = from->copy_bytes_per_s;
    to->cores = from->cores;
    to->memory_limit = from->memory_limit;
    to->n_addresses = from->n_addresses;
    to->addresses = &m->address_list[at];
    for (uint32_t k = 0; k < from->n_addresses; k++, at++) {
      Ctl__Address *a = m->address_list[at] = &m->addresses[at];
      ctl__address__init(a);
      a->transport = from->addresses[k].transport;
      a->reactor = from->addresses[k].reactor;
      a->where.len = from->addresses[k].len;
      a->where.data = from->addresses[k].bytes;
    }
  }
  return m;
}

int control_node_copy(struct control_node *to, const struct control_node *from) {
  struct control_address *a = calloc(from->n_addresses + 1u, sizeof *a);
  if (a == NULL) return AGG_ENOMEM;
  if (from->n_addresses) memcpy(a, from->addresses, from->n_addresses * sizeof *a);
  *to = *from;
  to->addresses = a;
  return AGG_OK;
}

int message_node_take(const Ctl__Node *from, struct control_node *to) {
  struct control_address *a = calloc(from->n_addresses + 1, sizeof *a);
  if (a == NULL) return AGG_ENOMEM;
  for (size_t i = 0; i < from->n_addresses; i++) {
    const Ctl__Address *f = from->addresses[i];
    str_copy(a[i].transport, sizeof a[i].transport, f->transport);
    a[i].reactor = f->reactor;
    a[i].len = (uint32_t)f->where.len;
    if (f->where.len) memcpy(a[i].bytes, f->where.data, f->where.len);
  }
  memset(to, 0, sizeof *to);
  str_copy(to->host, sizeof to->host, from->host);
  to->place = from->place;
  to->pid = from->pid;
  to->reactors = from->reactors;
  to->rails = from->rails;
  to->n_ports = (uint32_t)from->n_ports;
  for (size_t i = 0; i < from->n_ports; i++) {
    str_copy(to->ports[i].name, sizeof to->ports[i].name, from->ports[i]->name);
    to->ports[i].bytes_per_s = from->ports[i]->bytes_per_s;
    to->ports[i].by_pcie = from->ports[i]->by_pcie != 0;
  }
  to->sum_bytes_per_s = from->sum_bytes_per_s;
  to->copy_bytes_per_s = from->copy_bytes_per_s;
  to->cores = from->cores;
  to->memory_limit = from->memory_limit;
  to->n_addresses = (uint32_t)from->n_addresses;
  to->addresses = a;
  return AGG_OK;
}

/* ---- setups --------------------------------------------------------------------------------------------------------------------- */

struct frame *message_setup_pack(const struct control_setup *s, uint32_t workers, const char *host, uint32_t pid) {
  struct control_setup copy = *s;
  agg_error_t host_copy;
  Ctl__Frame f;
  ctl__frame__init(&f);
  Ctl__Setup m;
  ctl__setup__init(&m);
  struct message_nodes *nodes = message_nodes_make(s->nodes, s->n_nodes);
  struct message_plan *plan = message_plan_make(&s->plan);
  if (nodes == NULL || plan == NULL) {
    message_nodes_free(nodes);
    message_plan_free(plan);
    return NULL;
  }
  err_set(&host_copy, AGG_EINVAL, "%s", host);
  m.comm = s->comm;
  m.epoch = s->epoch;
  m.secret.len = CONTROL_SECRET_BYTES;
  m.secret.data = copy.secret;
  m.plan = message_plan_body(plan);
  m.workers = workers;
  m.n_nodes = s->n_nodes;
  m.nodes = message_nodes_list(nodes);
  m.timeout_s = s->timeout_s;
  m.coordinator_host = host_copy.text;
  m.coordinator_pid = pid;
  f.body_case = CTL__FRAME__BODY_SETUP;
  f.setup = &m;
  struct frame *packed = message_pack(&f);
  message_nodes_free(nodes);
  message_plan_free(plan);
  return packed;
}

int message_setup_take(const Ctl__Setup *from, struct control_setup *to, agg_error_t *err) {
  struct control_setup s = {.comm = from->comm, .epoch = (uint16_t)from->epoch, .timeout_s = from->timeout_s};
  uint32_t n = (uint32_t)from->n_nodes;
  memcpy(s.secret, from->secret.data, CONTROL_SECRET_BYTES);
  int rc = message_plan_take(from->plan, &s.plan, err);
  if (rc != AGG_OK) return rc;
  s.nodes = calloc(n, sizeof *s.nodes);
  while (s.nodes != NULL && s.n_nodes < n && message_node_take(from->nodes[s.n_nodes], &s.nodes[s.n_nodes]) == AGG_OK) s.n_nodes++;
  if (s.n_nodes < n) {
    control_setup_free(&s);
    return err_set(err, AGG_ENOMEM, "out of memory for the description of %u nodes", n);
  }
  *to = s;
  return AGG_OK;
}
