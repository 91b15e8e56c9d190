/* Bad arguments: each is refused at once with a code and a text that names it, nothing of it is sent, and what follows works. */
#include <check.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/opcase.h"
#include "tests/lib/ranks.h"

static agg_config_t config_of_one(void) {
  agg_config_t c;
  agg_config_init(&c);
  str_copy(c.token, sizeof c.token, "test token");
  str_copy(c.transport, sizeof c.transport, "shm");
  c.log_level = AGG_LOG_OFF;
  c.timeout_s = c.join_timeout_s = 20;
  return c;
}

static agg_t *open_one(void) {
  agg_config_t c = config_of_one();
  agg_error_t err;
  agg_t *a = NULL;
  ck_assert_msg(agg_open(&c, &a, &err) == AGG_OK, "%s", err.text);
  return a;
}

/* The text begins with the name and a colon. */
static int names(const char *text, const char *name) {
  size_t n = strlen(name);
  return strncmp(text, name, n) == 0 && text[n] == ':';
}

#define ASSERT_REFUSED(call, text, name)                                                                 \
  do {                                                                                                   \
    int rc_ = (call);                                                                                    \
    ck_assert_msg(rc_ == AGG_EINVAL && names((text), (name)), "%s gave %d, \"%s\"", #call, rc_, (text)); \
  } while (0)

/* ---- configuration ----------------------------------------------------------------------------------------------------------------- */

#define REFUSE_CONFIG(spoil, name)                                                                                                \
  do {                                                                                                                            \
    agg_config_t c = config_of_one();                                                                                             \
    agg_error_t e = {0};                                                                                                          \
    agg_t *a = NULL;                                                                                                              \
    spoil;                                                                                                                        \
    int rc_ = agg_open(&c, &a, &e);                                                                                               \
    ck_assert_msg(rc_ == AGG_EINVAL && e.code == rc_ && names(e.text, name) && a == NULL, "%s: %d, \"%s\"", #spoil, rc_, e.text); \
  } while (0)

START_TEST(a_bad_configuration_is_refused_by_the_fields_name) {
  REFUSE_CONFIG(c.size--, "config");
  REFUSE_CONFIG(c.size = 0, "config");
  REFUSE_CONFIG(c.version += 10000, "config");
  REFUSE_CONFIG(c.world = 0, "rank");
  REFUSE_CONFIG(c.rank = 1, "rank");
  REFUSE_CONFIG(c.reactors = 1000, "reactors");
  REFUSE_CONFIG(c.timeout_s = 0, "timeout_s");
  REFUSE_CONFIG(c.timeout_s = -1, "timeout_s");
  REFUSE_CONFIG(c.timeout_s = NAN, "timeout_s");
  REFUSE_CONFIG(c.timeout_s = INFINITY, "timeout_s");
  REFUSE_CONFIG(c.join_timeout_s = NAN, "join_timeout_s");
  REFUSE_CONFIG(c.join_timeout_s = 1e300, "join_timeout_s");
  REFUSE_CONFIG(strcpy(c.plan, "trees"), "plan");
  REFUSE_CONFIG(strcpy(c.plan, "0-32K:tree"), "plan");
  REFUSE_CONFIG(strcpy(c.reproducible, "yes"), "reproducible");
  REFUSE_CONFIG(strcpy(c.tune, "no"), "tune");
  REFUSE_CONFIG(strcpy(c.memory, "auto"), "memory");
  REFUSE_CONFIG(memset(c.memory, 'x', sizeof c.memory), "memory");
  REFUSE_CONFIG(strcpy(c.cost, "hop_tcp=20"), "cost");
  REFUSE_CONFIG(memset(c.job, 'x', sizeof c.job), "job");
  REFUSE_CONFIG(memset(c.servers, 'x', sizeof c.servers), "servers");
  REFUSE_CONFIG(memset(c.token, 'x', sizeof c.token), "token");
  REFUSE_CONFIG(memset(c.transport, 'x', sizeof c.transport), "transport");
  REFUSE_CONFIG(memset(c.devices, 'x', sizeof c.devices), "devices");
  REFUSE_CONFIG(strcpy(c.devices, "mlx5_0:1,"), "devices");
  REFUSE_CONFIG(c.gid_index = 256, "gid_index");
  REFUSE_CONFIG(c.gid_index = -2, "gid_index");
  REFUSE_CONFIG(c.traffic_class = 256, "traffic_class");
  REFUSE_CONFIG(c.service_level = 16, "service_level");
  REFUSE_CONFIG(c.mtu = 1500, "mtu");
  REFUSE_CONFIG(c.ack_timeout = 32, "ack_timeout");
  REFUSE_CONFIG(c.retry_count = 8, "retry_count");
  REFUSE_CONFIG(memset(c.pin, '1', sizeof c.pin), "pin");
  REFUSE_CONFIG(strcpy(c.pin, "on"), "pin");
  REFUSE_CONFIG(strcpy(c.pin, "8191"), "pin"); /* no machine here has it */
  REFUSE_CONFIG((strcpy(c.pin, "0"), c.reactors = 2), "pin");
}
END_TEST

START_TEST(an_unknown_transport_is_refused_with_what_there_is) {
  agg_config_t c = config_of_one();
  agg_error_t e = {0};
  agg_t *a = NULL;
  strcpy(c.transport, "carrier pigeon");
  ck_assert_int_eq(agg_open(&c, &a, &e), AGG_EINVAL);
  ck_assert_msg(strstr(e.text, "transport") != NULL && strstr(e.text, "carrier pigeon") != NULL && strstr(e.text, "tcp") != NULL, "%s",
                e.text);
  ck_assert_int_eq(agg_open(&c, &a, NULL), AGG_EINVAL); /* nobody wants to know */
  ck_assert_int_eq(agg_open(&c, NULL, &e), AGG_EINVAL);
  ck_assert_msg(names(e.text, "agg"), "%s", e.text);
}
END_TEST

/* Where the machine has it, it is taken; otherwise that is an error with its words, and no other transport is. */
START_TEST(a_transport_that_is_asked_for_and_not_there) {
  agg_config_t c = config_of_one();
  agg_error_t e = {0};
  agg_t *a = NULL;
  strcpy(c.transport, "verbs");
  int rc = agg_open(&c, &a, &e);
  if (rc == AGG_OK) {
    agg_close(a);
    return;
  }
  ck_assert_msg(rc == AGG_ENOTSUP || rc == AGG_EINVAL, "%d: %s", rc, e.text);
  ck_assert_msg(strncmp(e.text, "transport ", 10) == 0 && strstr(e.text, "verbs") != NULL && strlen(e.text) > 30, "%s", e.text);
  ck_assert_ptr_null(a);
}
END_TEST

/* What the coordinator decides is refused when the communicator is made. */
#define REFUSE_WORLD(spoil, word)                                                                                              \
  do {                                                                                                                         \
    agg_config_t c = config_of_one();                                                                                          \
    agg_t *a = NULL;                                                                                                           \
    agg_comm_t *comm = NULL;                                                                                                   \
    spoil;                                                                                                                     \
    ck_assert_int_eq(agg_open(&c, &a, NULL), AGG_OK);                                                                          \
    int rc_ = agg_comm_create_world(a, &comm);                                                                                 \
    ck_assert_msg(rc_ == AGG_EINVAL && strstr(agg_error_text(a), word) != NULL && comm == NULL, "%s: %d, \"%s\"", #spoil, rc_, \
                  agg_error_text(a));                                                                                          \
    agg_close(a);                                                                                                              \
  } while (0)

START_TEST(a_plan_that_cannot_be_is_refused) {
  REFUSE_WORLD(strcpy(c.plan, "star"), "AGG_SERVERS");
  REFUSE_WORLD(c.window = 100000, "AGG_WINDOW");
  REFUSE_WORLD(c.lanes = 1000, "AGG_LANES");
  REFUSE_WORLD(c.chunk_bytes = 1000, "AGG_CHUNK");
  REFUSE_WORLD(c.world = 2, "AGG_COORDINATOR");
  REFUSE_WORLD(strcpy(c.coordinator, "127.0.0.1:xyz"), "xyz");
}
END_TEST

/* ---- handles --------------------------------------------------------------------------------------------------------------------------
 */

START_TEST(no_function_minds_null) {
  agg_t *a = open_one();
  agg_ticket_t ticket;
  agg_comm_t *comm = NULL;
  agg_comm_info_t info = {.size = sizeof info};
  agg_request_t *request = NULL;
  void *ptr = NULL;
  agg_config_init(NULL);
  ck_assert_int_eq(agg_config_from_env(NULL, NULL), AGG_EINVAL);
  ck_assert_int_eq(agg_ticket_create(NULL, &ticket), AGG_EINVAL);
  ASSERT_REFUSED(agg_ticket_create(a, NULL), agg_error_text(a), "ticket");
  ck_assert_int_eq(agg_ticket_create(a, &ticket), AGG_OK);
  ck_assert_int_eq(agg_comm_create(NULL, &ticket, 0, 1, &comm), AGG_EINVAL);
  ASSERT_REFUSED(agg_comm_create(a, NULL, 0, 1, &comm), agg_error_text(a), "ticket");
  ASSERT_REFUSED(agg_comm_create(a, &ticket, 0, 1, NULL), agg_error_text(a), "comm");
  ck_assert_int_eq(agg_comm_create_world(NULL, &comm), AGG_EINVAL);
  ASSERT_REFUSED(agg_comm_create_world(a, NULL), agg_error_text(a), "comm");
  ck_assert_int_eq(agg_comm_status(NULL), AGG_EINVAL);
  ck_assert_uint_eq(agg_comm_rank(NULL), 0);
  ck_assert_uint_eq(agg_comm_size(NULL), 0);
  ck_assert_int_eq(agg_comm_get_info(NULL, &info), AGG_EINVAL);
  ck_assert_ptr_nonnull(agg_error_text(NULL));
  ck_assert_ptr_nonnull(agg_comm_error_text(NULL));
  ck_assert_int_eq(agg_mem_alloc(NULL, 1, &ptr), AGG_EINVAL);
  ck_assert_int_eq(agg_mem_register(NULL, &info, sizeof info), AGG_EINVAL);
  ck_assert_int_eq(agg_mem_deregister(NULL, &info), AGG_EINVAL);
  ck_assert_int_eq(agg_barrier(NULL, NULL, &request), AGG_EINVAL);
  for (struct op_case c = {.dtype = AGG_F32, .count = 1}; c.kind < KINDS; c.kind++)
    ck_assert_int_eq(op_call(NULL, &c, &info, &ticket, NULL, &request), AGG_EINVAL);
  ck_assert_int_eq(agg_wait(NULL, -1), AGG_EINVAL);
  ck_assert_int_eq(agg_wait(&request, -1), AGG_EINVAL);
  ck_assert_int_eq(agg_test(NULL), AGG_EINVAL);
  ck_assert_int_eq(agg_test(&request), AGG_EINVAL);
  agg_mem_free(NULL, &info);
  agg_mem_free(a, NULL);
  agg_comm_destroy(NULL);
  agg_close(NULL);
  agg_close(a);
}
END_TEST

START_TEST(tickets_and_ranks_that_make_no_sense_are_refused) {
  agg_t *a = open_one();
  agg_ticket_t good, bad;
  agg_comm_t *comm = NULL;
  ck_assert_int_eq(agg_ticket_create(a, &good), AGG_OK);
  ASSERT_REFUSED(agg_comm_create(a, &good, 0, 0, &comm), agg_error_text(a), "rank");
  ASSERT_REFUSED(agg_comm_create(a, &good, 1, 1, &comm), agg_error_text(a), "rank");
  ASSERT_REFUSED(agg_comm_create(a, &good, UINT32_MAX, 3, &comm), agg_error_text(a), "rank");
  for (unsigned fill = 0; fill < 256; fill += 51) {
    memset(&bad, (int)fill, sizeof bad);
    ASSERT_REFUSED(agg_comm_create(a, &bad, 0, 1, &comm), agg_error_text(a), "ticket");
  }
  for (unsigned i = 0; i < 4; i++) {
    bad = good;
    bad.bytes[i] ^= 0x20;
    ASSERT_REFUSED(agg_comm_create(a, &bad, 0, 1, &comm), agg_error_text(a), "ticket");
  }
  bad = good;
  bad.bytes[AGG_TICKET_BYTES - 1] = 'x'; /* no end */
  ASSERT_REFUSED(agg_comm_create(a, &bad, 0, 1, &comm), agg_error_text(a), "ticket");
  int rc = agg_comm_create(a, &good, 0, UINT32_MAX, &comm); /* more ranks than anybody admits */
  ck_assert_msg(rc == AGG_ELIMIT || rc == AGG_EINVAL || rc == AGG_ENOMEM, "%d: %s", rc, agg_error_text(a));
  ck_assert_ptr_null(comm);
  ck_assert_msg(agg_comm_create(a, &good, 0, 1, &comm) == AGG_OK, "%s", agg_error_text(a)); /* none of it has used it up */
  agg_close(a);
}
END_TEST

START_TEST(info_of_another_size_is_refused) {
  agg_t *a = open_one();
  agg_comm_t *comm = NULL;
  agg_comm_info_t info = {.size = sizeof info - 1, .rank = 77};
  ck_assert_int_eq(agg_comm_create_world(a, &comm), AGG_OK);
  ck_assert_int_eq(agg_comm_get_info(comm, &info), AGG_EINVAL);
  ck_assert_int_eq(agg_comm_get_info(comm, NULL), AGG_EINVAL);
  ck_assert_uint_eq(info.rank, 77);
  agg_close(a);
}
END_TEST

/* ---- memory
 * ------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(memory_that_is_not_ours_is_left_alone) {
  agg_t *a = open_one();
  static char theirs[8192];
  void *ours = NULL, *two = NULL;
  ASSERT_REFUSED(agg_mem_alloc(a, 10, NULL), agg_error_text(a), "ptr");
  ck_assert_int_eq(agg_mem_alloc(a, SIZE_MAX, &ours), AGG_ENOMEM);
  ck_assert_int_eq(agg_mem_alloc(a, SIZE_MAX / 2, &ours), AGG_ENOMEM);
  ck_assert_ptr_null(ours);
  ck_assert_int_eq(agg_mem_alloc(a, 0, &ours), AGG_OK); /* something that can be freed */
  ck_assert_ptr_nonnull(ours);
  agg_mem_free(a, ours);
  ck_assert_int_eq(agg_mem_alloc(a, 10000, &ours), AGG_OK);
  ck_assert_uint_eq((uintptr_t)ours % 64, 0);
  for (unsigned i = 0; i < 10000; i++) ck_assert_int_eq(((char *)ours)[i], 0);
  agg_mem_free(a, theirs);
  agg_mem_free(a, (char *)ours + 64);
  memset(ours, 1, 10000); /* still there */
  ck_assert_int_eq(agg_mem_register(a, theirs, sizeof theirs), AGG_OK);
  agg_mem_free(a, theirs);
  ASSERT_REFUSED(agg_mem_deregister(a, ours), agg_error_text(a), "ptr");
  ASSERT_REFUSED(agg_mem_deregister(a, NULL), agg_error_text(a), "ptr");
  ASSERT_REFUSED(agg_mem_deregister(a, theirs + 1), agg_error_text(a), "ptr");
  ck_assert_int_eq(agg_mem_deregister(a, theirs), AGG_OK);
  ASSERT_REFUSED(agg_mem_deregister(a, theirs), agg_error_text(a), "ptr");
  agg_mem_free(a, ours);
  agg_mem_free(a, ours); /* again */
  ck_assert_int_eq(agg_mem_alloc(a, 1, &two), AGG_OK);
  agg_close(a); /* frees it */
}
END_TEST

START_TEST(registered_ranges_may_touch_but_not_overlap) {
  agg_t *a = open_one();
  static char m[4096];
  void *ours = NULL;
  ASSERT_REFUSED(agg_mem_register(a, NULL, 10), agg_error_text(a), "ptr");
  ASSERT_REFUSED(agg_mem_register(a, m, 0), agg_error_text(a), "bytes");
  ASSERT_REFUSED(agg_mem_register(a, m, SIZE_MAX), agg_error_text(a), "bytes");
  ck_assert_int_eq(agg_mem_register(a, m + 1000, 1000), AGG_OK);
  static const struct {
    unsigned from, bytes;
  } bad[] = {{1000, 1000}, {999, 2}, {1999, 1}, {1200, 10}, {0, 4096}, {1000, 1}, {500, 600}, {1500, 2000}};
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) ASSERT_REFUSED(agg_mem_register(a, m + bad[i].from, bad[i].bytes), agg_error_text(a), "ptr");
  ck_assert_int_eq(agg_mem_register(a, m, 1000), AGG_OK);
  ck_assert_int_eq(agg_mem_register(a, m + 2000, 2096), AGG_OK);
  ck_assert_int_eq(agg_mem_deregister(a, m + 1000), AGG_OK);
  ck_assert_int_eq(agg_mem_register(a, m + 1200, 10), AGG_OK);
  ck_assert_int_eq(agg_mem_alloc(a, 4096, &ours), AGG_OK);
  ASSERT_REFUSED(agg_mem_register(a, (char *)ours + 5, 5), agg_error_text(a), "ptr");
  agg_close(a);
}
END_TEST

/* ---- operations
 * ------------------------------------------------------------------------------------------------------------------------------ */

struct caller {
  agg_comm_t *comm;
  struct rank_report *own;
  uint32_t rank, n;
  unsigned refused;
};

/* Says so in the report and gives 1 when the call was not refused as it should be. */
static int expect_refusal(struct caller *k, int rc, const char *name, const char *what, enum kind kind) {
  const char *text = agg_comm_error_text(k->comm);
  k->refused++;
  if (rc == AGG_EINVAL && names(text, name)) return 0;
  snprintf(k->own->text, sizeof k->own->text, "%s, %s: status %d, text \"%.300s\"", kind < KINDS ? kind_name(kind) : "barrier", what, rc,
           text);
  return 1;
}

#define TRY(name, c, send, recv, o, req)                                                                                                  \
  do {                                                                                                                                    \
    if (expect_refusal(k, op_call(k->comm, &(c), (send), (recv), (o), (req)), (name), #c " " #send " " #recv " " #o, (c).kind)) return 1; \
  } while (0)

/* This rank is the root of what has one, so that it both sends and receives. */
static struct op_case good_case(const struct caller *k, enum kind kind) {
  return (struct op_case){.kind = kind, .dtype = AGG_F32, .op = AGG_SUM, .count = 100, .root = k->rank};
}

static float a_buf[1000], b_buf[1000];

static int refuse_values(struct caller *k, enum kind kind) {
  agg_request_t *request = NULL;
  const struct op_case good = good_case(k, kind);
  TRY("send", good, NULL, b_buf, NULL, &request);
  TRY("recv", good, a_buf, NULL, NULL, &request);
  static const int dtypes[] = {AGG_DTYPE_COUNT, -1, 1 << 30, 256};
  for (size_t i = 0; i < ARRAY_LEN(dtypes); i++) {
    struct op_case bad_dtype = good;
    bad_dtype.dtype = (agg_dtype_t)dtypes[i];
    TRY("dtype", bad_dtype, a_buf, b_buf, NULL, &request);
  }
  static const int ops[] = {AGG_REDOP_COUNT, -1, 256};
  for (size_t i = 0; i < ARRAY_LEN(ops) && kind_reduces(kind); i++) {
    struct op_case bad_op = good;
    bad_op.op = (agg_redop_t)ops[i];
    TRY("op", bad_op, a_buf, b_buf, NULL, &request);
  }
  const uint32_t roots[] = {k->n, UINT32_MAX, 256};
  for (size_t i = 0; i < ARRAY_LEN(roots) && kind_has_root(kind); i++) {
    struct op_case bad_root = good;
    bad_root.root = roots[i];
    TRY("root", bad_root, a_buf, b_buf, NULL, &request);
  }
  static const uint64_t counts[] = {UINT64_MAX, UINT64_MAX / 4, UINT64_MAX / 4 + 2, (1ull << 62) + 25, (1ull << 61) + 25, 1ull << 63};
  for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
    struct op_case bad_count = good;
    bad_count.count = counts[i];
    TRY("count", bad_count, a_buf, b_buf, NULL, &request);
  }
  return 0;
}

/* Bytes between send and recv, against the one distance that is in place. */
static int refuse_overlap(struct caller *k, enum kind kind) {
  agg_request_t *request = NULL;
  const struct op_case good = good_case(k, kind);
  uint64_t sends = 4 * op_given(&good, k->rank, k->n), recvs = 4 * op_gotten(&good, k->rank, k->n);
  ptrdiff_t in_place = sends > recvs ? (ptrdiff_t)(k->rank * recvs) : -(ptrdiff_t)(sends < recvs ? k->rank * sends : 0);
  char *middle = (char *)a_buf + 2000;
  for (ptrdiff_t d = -(ptrdiff_t)recvs + 1; d < (ptrdiff_t)sends; d++) {
    if (d == in_place) continue;
    TRY("recv", good, middle, middle + d, NULL, &request);
  }
  return 0;
}

static int call_with(struct caller *k, enum kind kind, const agg_op_options_t *o, agg_request_t **request) {
  const struct op_case good = good_case(k, kind);
  return kind < KINDS ? op_call(k->comm, &good, a_buf, b_buf, o, request) : agg_barrier(k->comm, o, request);
}

static int refuse_options(struct caller *k, enum kind kind) {
  agg_request_t *request = NULL;
  const agg_op_options_t none = {.size = sizeof none};
  static const double times[] = {-1, -1e-9, NAN, INFINITY, -INFINITY};
  static const int priorities[] = {AGG_PRIORITY_COUNT, -1, 256};
  agg_op_options_t o = none;
  if (expect_refusal(k, call_with(k, kind, NULL, NULL), "request", "no request and no callback", kind)) return 1;
  if (expect_refusal(k, call_with(k, kind, &none, NULL), "request", "no request and no callback in options", kind)) return 1;
  for (o.size = 0; o.size < 2 * sizeof o; o.size++)
    if (o.size != sizeof o && expect_refusal(k, call_with(k, kind, &o, &request), "options", "size", kind)) return 1;
  o = none;
  for (size_t i = 0; i < ARRAY_LEN(times); i++) {
    o.timeout_s = times[i];
    if (expect_refusal(k, call_with(k, kind, &o, &request), "options", "timeout", kind)) return 1;
  }
  o = none;
  for (size_t i = 0; i < ARRAY_LEN(priorities); i++) {
    o.priority = (agg_priority_t)priorities[i];
    if (expect_refusal(k, call_with(k, kind, &o, &request), "options", "priority", kind)) return 1;
  }
  return request == NULL ? 0 : 1;
}

/* All ranks are refused, a different number of times each; then they agree on an operation, and it is their first. */
static int refuse_everything(const agg_config_t *config, struct rank_report *all, void *arg) {
  struct rank_report *own = &all[config->rank];
  struct caller k = {.own = own, .rank = config->rank, .n = config->world};
  agg_t *agg;
  agg_request_t *request = NULL;
  agg_comm_info_t info = {.size = sizeof info};
  int64_t one = 1;
  (void)arg;
  if (rank_open(config, own, &agg, &k.comm) != AGG_OK) return 1;
  for (enum kind kind = ALLREDUCE; kind < KINDS; kind++)
    if (refuse_values(&k, kind) || refuse_overlap(&k, kind)) return 2;
  for (enum kind kind = ALLREDUCE; kind <= KINDS; kind++)
    if (refuse_options(&k, kind)) return 3;
  int rc = agg_comm_status(k.comm);
  if (rc == AGG_OK) rc = agg_comm_get_info(k.comm, &info);
  if (rc == AGG_OK) rc = agg_allreduce(k.comm, &one, &one, 1, AGG_I64, AGG_SUM, NULL, &request);
  if (rc == AGG_OK) rc = agg_wait(&request, NAN); /* refused, or done already */
  if (rc == AGG_EINVAL && request != NULL) rc = agg_wait(&request, -1);
  rank_report_comm(own, rc, k.comm);
  own->value[0] = k.refused;
  agg_comm_destroy(k.comm);
  agg_close(agg);
  if (info.operations != 0 || info.chunks != 0) return 5;
  return rc == AGG_OK && one == config->world ? 0 : 6;
}

START_TEST(bad_arguments_are_refused_by_name_and_nothing_is_sent) {
  struct ranks_setup setup = {.n = 1 + (unsigned)_i, .plan = "direct"};
  struct ranks *r = ranks_start(&setup, refuse_everything, NULL);
  for (unsigned i = 0; i < setup.n; i++) {
    int code = ranks_wait(r, i);
    ck_assert_msg(code == 0, "rank %u: exit %d: %s", i, code, ranks_reports(r)[i].text);
    ck_assert_uint_gt(ranks_reports(r)[i].value[0], 500);
  }
  ranks_free(r);
}
END_TEST

/* ---- too much of the good
 * ------------------------------------------------------------------------------------------------------------------------ */

/* Rank 1 calls nothing until rank 0 has been refused, so that nothing can complete before. */
static int post_too_many(const agg_config_t *config, struct rank_report *all, void *arg) {
  enum { MANY = 100000 };
  struct rank_report *own = &all[config->rank];
  static agg_request_t *requests[MANY];
  agg_t *agg;
  agg_comm_t *comm;
  uint32_t n = 0, rc = 0;
  (void)arg;
  if (rank_open(config, own, &agg, &comm) != AGG_OK) return 1;
  if (config->rank == 1 && !stage_wait(&all[0].stage, 1)) return 2;
  uint32_t want = config->rank == 1 ? (uint32_t)all[0].value[0] : MANY;
  for (int code = AGG_OK; n < want; n++) {
    code = agg_barrier(comm, NULL, &requests[n]);
    if (code == AGG_ELIMIT && config->rank == 1) { /* its own earlier ones are being waited for */
      n--;
      sched_yield();
    } else if (code != AGG_OK) {
      rank_report_comm(own, code, comm);
      break;
    }
  }
  own->value[0] = n;
  if (config->rank == 0) atomic_store(&own->stage, 1);
  for (uint32_t i = 0; i < n; i++) rc |= (uint32_t)agg_wait(&requests[i], -1);
  agg_comm_destroy(comm);
  agg_close(agg);
  return rc == 0 ? 0 : 3;
}

START_TEST(too_many_outstanding_operations_are_refused_and_the_others_complete) {
  struct ranks_setup setup = {.n = 2, .plan = "direct"};
  struct ranks *r = ranks_start(&setup, post_too_many, NULL);
  for (unsigned i = 0; i < setup.n; i++) ck_assert_int_eq(ranks_wait(r, i), 0);
  const struct rank_report *rep = ranks_reports(r);
  ck_assert_int_eq(rep->code, AGG_ELIMIT);
  ck_assert_msg(strstr(rep->text, "outstanding") != NULL, "%s", rep->text);
  ck_assert_uint_ge(rep->value[0], 400);
  ranks_free(r);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("e2e/arguments");
  TCase *c = tcase_create("arguments");
  tcase_set_timeout(c, 60);
  tcase_add_test(c, a_bad_configuration_is_refused_by_the_fields_name);
  tcase_add_test(c, an_unknown_transport_is_refused_with_what_there_is);
  tcase_add_test(c, a_transport_that_is_asked_for_and_not_there);
  tcase_add_test(c, a_plan_that_cannot_be_is_refused);
  tcase_add_test(c, no_function_minds_null);
  tcase_add_test(c, tickets_and_ranks_that_make_no_sense_are_refused);
  tcase_add_test(c, info_of_another_size_is_refused);
  tcase_add_test(c, memory_that_is_not_ours_is_left_alone);
  tcase_add_test(c, registered_ranges_may_touch_but_not_overlap);
  tcase_add_loop_test(c, bad_arguments_are_refused_by_name_and_nothing_is_sent, 0, 3);
  tcase_add_test(c, too_many_outstanding_operations_are_refused_and_the_others_complete);
  suite_add_tcase(s, c);
  return s;
}
