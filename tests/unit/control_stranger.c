/* What strangers can do to a coordinator: nothing that lasts longer than a few seconds, and never harm to a group that runs. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/control_rig.h"

static struct rig_server server;
static struct rig_member m[3];
static const unsigned char greeting[8] = {'A', 'G', 'G', 'C', CHANNEL_VERSION, 0, 0, 0};

/* Two ranks run while the test does its worst; afterwards they must still be told when one dies, and others can join. */
static void begin(void) {
  rig_server_start(&server, RIG_TOKEN);
  rig_group(m, 2, server.port, RIG_TOKEN, "");
}

static void unharmed(void) {
  ck_assert_int_eq(m[0].aborted + m[1].aborted, 0);
  rig_member_init(&m[2], server.port, RIG_TOKEN, 0, 1);
  memset(m[2].config.group, 3, CONTROL_GROUP_BYTES);
  rig_join(&m[2]);
  rig_joined(&m[2]);
  ck_assert_msg(m[2].ready_rc == AGG_OK, "%s", m[2].err.text);
  rig_kill(&m[1]);
  rig_wait(&m[0], &m[0].aborted, 1);
  for (int i = 0; i < 3; i++) rig_member_fini(&m[i]);
  rig_server_stop(&server);
}

START_TEST(garbage_instead_of_tls) {
  struct rng rng = {.state = (uint64_t)_i + 1};
  begin();
  for (int i = 0; i < 50; i++) {
    unsigned char bytes[600];
    size_t n = 1 + rng_below(&rng, sizeof bytes);
    for (size_t k = 0; k < n; k++) bytes[k] = (unsigned char)rng_next(&rng);
    if (i % 3 == 0) bytes[0] = 22, bytes[1 % n] = 3; /* looks like a TLS record */
    int fd = raw_connect(server.port);
    (void)send(fd, bytes, n, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    raw_wait_close(fd);
    close(fd);
  }
  unharmed();
}
END_TEST

START_TEST(another_token_gets_no_further_than_tls) {
  struct raw r;
  begin();
  ck_assert_int_eq(raw_open(&r, server.port, "guess"), AGG_EAUTH);
  raw_close(&r);
  unharmed();
}
END_TEST

/* Sends bytes after TLS (and the greeting) and waits until the coordinator has closed. Returns the code of the REFUSED that came, or 0. */
static int32_t after_tls(const void *bytes, size_t n, int greet) {
  struct raw r;
  unsigned char in[65536];
  int have = 0, got;
  int32_t code = 0;
  ck_assert_int_eq(raw_open(&r, server.port, RIG_TOKEN), 0);
  if (greet) raw_send(&r, greeting, sizeof greeting);
  raw_send(&r, bytes, n);
  shutdown(r.fd, SHUT_WR);
  while (have < (int)sizeof in && (got = raw_read(&r, in + have, (int)sizeof in - have)) > 0) have += got;
  if (have > 12) {
    Ctl__Frame *f = ctl__frame__unpack(NULL, (size_t)have - 12, in + 12);
    if (f != NULL && f->body_case == CTL__FRAME__BODY_REFUSED) code = f->refused->code;
    message_free(f);
  }
  raw_close(&r);
  return code;
}

START_TEST(garbage_after_tls) {
  struct rng rng = {.state = (uint64_t)_i + 77};
  unsigned char bytes[3000];
  begin();
  for (int i = 0; i < 40; i++) {
    size_t n = 5 + rng_below(&rng, sizeof bytes - 5);
    for (size_t k = 0; k < n; k++) bytes[k] = (unsigned char)rng_next(&rng);
    if (i % 2) { /* a frame of the right length with random contents */
      uint32_t len = (uint32_t)n - 4;
      memcpy(bytes, &len, 4);
      bytes[4] = (unsigned char)((1 + rng_below(&rng, 15)) << 3 | 2);
    }
    (void)after_tls(bytes, n, i % 4 != 0);
  }
  unharmed();
}
END_TEST

START_TEST(an_oversized_frame_is_refused_by_its_length) {
  uint32_t len = CHANNEL_FRAME_FIRST + 1;
  begin();
  (void)after_tls(&len, sizeof len, 1);
  len = UINT32_MAX;
  (void)after_tls(&len, sizeof len, 1);
  unharmed();
}
END_TEST

START_TEST(an_empty_and_a_misplaced_message) {
  uint32_t len = 0;
  Ctl__Frame f = CTL__FRAME__INIT;
  Ctl__Go go = CTL__GO__INIT;
  begin();
  ck_assert_int_eq(after_tls(&len, sizeof len, 1), AGG_EPROTO);
  f.body_case = CTL__FRAME__BODY_GO;
  f.go = &go;
  struct frame *packed = message_pack(&f);
  ck_assert_int_eq(after_tls(packed->bytes, packed->len, 1), AGG_EPROTO);
  frame_put(packed);
  unharmed();
}
END_TEST

/* JOINs that are well-formed messages with impossible contents. */
static struct frame *join_frame(uint32_t rank, uint32_t size, size_t group_len, uint32_t reactors, double timeout) {
  static unsigned char group[64];
  Ctl__Frame f = CTL__FRAME__INIT;
  Ctl__Join j;
  Ctl__Node n;
  ctl__join__init(&j);
  ctl__node__init(&n);
  j.group.len = group_len;
  j.group.data = group;
  j.rank = rank;
  j.size = size;
  j.timeout_s = timeout;
  j.join_s = 1;
  n.reactors = reactors;
  n.rails = 1;
  j.node = reactors == 99 ? NULL : &n;
  f.body_case = CTL__FRAME__BODY_JOIN;
  f.join = &j;
  return message_pack(&f);
}

static void join_gives(struct frame *f, int code) {
  ck_assert_int_eq(after_tls(f->bytes, f->len, 1), code);
  frame_put(f);
}

START_TEST(joins_with_impossible_contents) {
  begin();
  join_gives(join_frame(0, 0, 16, 1, 1), AGG_EMISMATCH);
  join_gives(join_frame(5, 5, 16, 1, 1), AGG_EMISMATCH);
  join_gives(join_frame(0, UINT32_MAX, 16, 1, 1), AGG_ELIMIT);
  join_gives(join_frame(0, FOREST_MAX_NODES, 16, 1, 1), AGG_ELIMIT); /* more than the connections here */
  join_gives(join_frame(0, 1, 15, 1, 1), AGG_EPROTO);
  join_gives(join_frame(0, 1, 17, 1, 1), AGG_EPROTO);
  join_gives(join_frame(0, 1, 16, 0, 1), AGG_EPROTO);
  join_gives(join_frame(0, 1, 16, CONTROL_REACTORS_MAX + 1, 1), AGG_EPROTO);
  join_gives(join_frame(0, 1, 16, 99, 1), AGG_EPROTO);
  join_gives(join_frame(0, 1, 16, 1, -1), AGG_EPROTO);
  join_gives(join_frame(0, 1, 16, 1, 0.0 / 0.0), AGG_EPROTO);
  ck_assert_uint_eq(server.coordinator->n_groups, 1);
  unharmed();
}
END_TEST

START_TEST(a_member_that_sends_nonsense_later_ends_only_its_group) {
  struct raw r;
  unsigned char in[4096];
  struct frame *f = join_frame(0, 2, 16, 1, 1);
  uint32_t len = 0;
  begin();
  ck_assert_int_eq(raw_open(&r, server.port, RIG_TOKEN), 0);
  raw_send(&r, greeting, sizeof greeting);
  raw_send(&r, f->bytes, f->len);
  raw_send(&r, &len, sizeof len);
  while (raw_read(&r, in, sizeof in) > 0) continue;
  raw_close(&r);
  frame_put(f);
  unharmed();
}
END_TEST

START_TEST(a_greeting_of_another_version_is_answered_with_ours) {
  struct raw r;
  unsigned char in[64], theirs[8] = {'A', 'G', 'G', 'C', 9, 1, 0, 0};
  int have = 0, got;
  begin();
  ck_assert_int_eq(raw_open(&r, server.port, RIG_TOKEN), 0);
  raw_send(&r, theirs, sizeof theirs);
  while (have < 64 && (got = raw_read(&r, in + have, 64 - have)) > 0) have += got;
  ck_assert_int_eq(have, 8);
  ck_assert_mem_eq(in, greeting, 8);
  raw_close(&r);
  unharmed();
}
END_TEST

#define SILENT 2000

START_TEST(thousands_of_silent_connections) {
  struct rlimit limit;
  static int fds[SILENT];
  int n;
  ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = MIN_OF(limit.rlim_max, (rlim_t)8192);
  ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
  server.max_connections = 64;
  begin();
  for (n = 0; n < SILENT && (rlim_t)n < limit.rlim_cur / 2; n++) {
    fds[n] = raw_connect(server.port);
    if (n % 2) (void)send(fds[n], "\x16\x03", 2, MSG_NOSIGNAL);
  }
  unharmed();
  while (n > 0) close(fds[--n]);
}
END_TEST

START_TEST(a_silent_connection_is_dropped_in_seconds) {
  begin();
  int fd = raw_connect(server.port);
  struct raw r;
  ck_assert_int_eq(raw_open(&r, server.port, RIG_TOKEN), 0); /* and one that stops after TLS */
  raw_wait_close(fd);
  raw_wait_close(r.fd);
  close(fd);
  raw_close(&r);
  unharmed();
}
END_TEST

/* No descriptor is free: accepting drops strangers or pauses, and goes on when there are some again. */
START_TEST(out_of_descriptors) {
  struct rlimit limit, tight;
  int fds[24];
  begin();
  for (int i = 0; i < 24; i++) fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
  tight = limit;
  tight.rlim_cur = (rlim_t)fds[23] + 3;
  ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(server.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int i = 0; i < 24; i++) ck_assert_int_eq(connect(fds[i], (struct sockaddr *)&a, sizeof a), 0);
  for (int i = 0; i < 12; i++) raw_wait_close(fds[i]); /* the first ones were dropped for the later ones */
  ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
  unharmed();
  for (int i = 0; i < 24; i++) close(fds[i]);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("control strangers");
  TCase *t = tcase_create("strangers");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, garbage_instead_of_tls, 0, 3);
  tcase_add_test(t, another_token_gets_no_further_than_tls);
  tcase_add_loop_test(t, garbage_after_tls, 0, 3);
  tcase_add_test(t, an_oversized_frame_is_refused_by_its_length);
  tcase_add_test(t, an_empty_and_a_misplaced_message);
  tcase_add_test(t, joins_with_impossible_contents);
  tcase_add_test(t, a_member_that_sends_nonsense_later_ends_only_its_group);
  tcase_add_test(t, a_greeting_of_another_version_is_answered_with_ours);
  tcase_add_test(t, thousands_of_silent_connections);
  tcase_add_test(t, a_silent_connection_is_dropped_in_seconds);
  tcase_add_test(t, out_of_descriptors);
  suite_add_tcase(s, t);
  return s;
}
