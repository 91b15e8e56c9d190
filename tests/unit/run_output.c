/* agg-run's lines: prefixes, unfinished lines, long lines, two writers at once, and not one byte lost. */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "scripts/agg-run/output.h"

/* Two streams into one sink. The sink's bytes are looked at before they are written. */
struct rig {
  struct sink sink;
  struct stream a, b;
  int to_a, to_b;
};

static int open_stream(struct stream *s, struct sink *sink, const char *label) {
  int fds[2];
  ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  fcntl(fds[1], F_SETPIPE_SZ, 1 << 20);
  ck_assert_int_eq(stream_init(s, fds[0], sink, label), 0);
  return fds[1];
}

static void rig_init(struct rig *r) {
  memset(r, 0, sizeof(*r));
  r->sink.fd = -1;
  r->to_a = open_stream(&r->a, &r->sink, "0");
  r->to_b = open_stream(&r->b, &r->sink, "s1");
}

static void rig_fini(struct rig *r) {
  stream_fini(&r->a);
  stream_fini(&r->b);
  sink_fini(&r->sink);
  close(r->to_b);
}

static void say(int fd, struct stream *s, const char *text) {
  ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  while (stream_read(s) > 0) continue;
}

static void expect(const struct rig *r, const char *text) {
  size_t len = r->sink.len - r->sink.off;
  ck_assert_msg(len == strlen(text) && (len == 0 || memcmp(r->sink.data + r->sink.off, text, len) == 0), "got \"%.*s\", expected \"%s\"",
                (int)len, r->sink.data + r->sink.off, text);
}

START_TEST(every_line_has_its_prefix) {
  struct rig r;
  rig_init(&r);
  say(r.to_a, &r.a, "one\n\ntwo\n");
  say(r.to_b, &r.b, "three\n");
  expect(&r, "[0] one\n[0] \n[0] two\n[s1] three\n");
  close(r.to_a);
  rig_fini(&r);
}
END_TEST

START_TEST(a_line_in_pieces_is_one_line) {
  struct rig r;
  rig_init(&r);
  say(r.to_a, &r.a, "be");
  say(r.to_b, &r.b, "other\n");
  say(r.to_a, &r.a, "gun\n");
  expect(&r, "[s1] other\n[0] begun\n");
  close(r.to_a);
  rig_fini(&r);
}
END_TEST

START_TEST(the_last_line_may_lack_its_newline) {
  struct rig r;
  rig_init(&r);
  say(r.to_a, &r.a, "end");
  close(r.to_a);
  ck_assert_int_eq(stream_read(&r.a), -1);
  ck_assert_int_eq(r.a.fd, -1);
  expect(&r, "[0] end\n");
  rig_fini(&r);
}
END_TEST

START_TEST(a_prompt_is_shown_and_broken_by_others_only) {
  struct rig r;
  rig_init(&r);
  say(r.to_a, &r.a, "name? ");
  expect(&r, "");
  stream_flush(&r.a);
  stream_flush(&r.a);
  expect(&r, "[0] name? ");
  say(r.to_a, &r.a, "more\n");
  say(r.to_a, &r.a, "again? ");
  stream_flush(&r.a);
  say(r.to_b, &r.b, "x\n");
  say(r.to_a, &r.a, "tail\n");
  expect(&r, "[0] name? more\n[0] again? \n[s1] x\n[0] tail\n");
  close(r.to_a);
  rig_fini(&r);
}
END_TEST

START_TEST(progress_bars_keep_their_prefix) {
  struct rig r;
  rig_init(&r);
  say(r.to_a, &r.a, "10%\r20%\r");
  say(r.to_a, &r.a, "30%\r\n");
  expect(&r, "[0] 10%\r[0] 20%\r[0] 30%\r\n");
  close(r.to_a);
  rig_fini(&r);
}
END_TEST

START_TEST(own_messages_stand_on_their_own_line) {
  struct rig r;
  rig_init(&r);
  say(r.to_a, &r.a, "half");
  stream_flush(&r.a);
  sink_line(&r.sink, "agg-run: note");
  expect(&r, "[0] half\nagg-run: note\n");
  close(r.to_a);
  rig_fini(&r);
}
END_TEST

START_TEST(no_byte_of_a_very_long_line_is_lost) {
  struct rig r;
  size_t len = 5 * LINE_HOLD + 17;
  char *line = malloc(len + 1);
  rig_init(&r);
  for (size_t i = 0; i < len; i++) line[i] = (char)('a' + i % 26);
  line[len] = '\0';
  say(r.to_a, &r.a, line);
  say(r.to_a, &r.a, "\n");
  ck_assert_uint_eq(r.sink.len - r.sink.off, strlen("[0] ") + len + 1);
  ck_assert_int_eq(memcmp(r.sink.data + r.sink.off + 4, line, len), 0);
  ck_assert(sink_full(&r.sink));
  free(line);
  close(r.to_a);
  rig_fini(&r);
}
END_TEST

/* Two writers with random pieces; taken apart again by prefix, each has every byte of its own in order. */
START_TEST(random_pieces_come_out_whole) {
  struct rig r;
  struct rng rng = {7};
  char sent[2][4096] = {{0}}, got[2][4096] = {{0}};
  rig_init(&r);
  for (int turn = 0; turn < 200; turn++) {
    int who = (int)rng_below(&rng, 2);
    char piece[16] = {0};
    size_t n = 1 + rng_below(&rng, 12);
    for (size_t i = 0; i < n; i++) piece[i] = rng_below(&rng, 5) == 0 ? '\n' : (char)('a' + rng_below(&rng, 26));
    strncat(sent[who], piece, sizeof(sent[who]) - strlen(sent[who]) - 1);
    say(who ? r.to_b : r.to_a, who ? &r.b : &r.a, piece);
  }
  say(r.to_a, &r.a, "\n");
  say(r.to_b, &r.b, "\n");
  for (char *at = r.sink.data + r.sink.off, *end = r.sink.data + r.sink.len; at < end;) {
    int who = memcmp(at, "[s1] ", 5) == 0;
    at += who ? 5 : 4;
    size_t len = (size_t)((char *)memchr(at, '\n', (size_t)(end - at)) + 1 - at);
    strncat(got[who], at, len);
    at += len;
  }
  for (int who = 0; who < 2; who++) {
    size_t len = strlen(sent[who]);
    ck_assert_int_eq(strncmp(got[who], sent[who], len), 0);
    ck_assert_str_eq(got[who] + len, "\n");
  }
  close(r.to_a);
  rig_fini(&r);
}
END_TEST

START_TEST(a_closed_output_is_noticed) {
  struct rig r;
  rig_init(&r);
  say(r.to_a, &r.a, "x\n");
  ck_assert(sink_pending(&r.sink));
  sink_write(&r.sink); /* its descriptor is -1 */
  ck_assert_int_ne(r.sink.broken, 0);
  ck_assert(!sink_pending(&r.sink));
  say(r.to_a, &r.a, "y\n");
  close(r.to_a);
  rig_fini(&r);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("run_output");
  TCase *t = tcase_create("lines");
  tcase_add_test(t, every_line_has_its_prefix);
  tcase_add_test(t, a_line_in_pieces_is_one_line);
  tcase_add_test(t, the_last_line_may_lack_its_newline);
  tcase_add_test(t, a_prompt_is_shown_and_broken_by_others_only);
  tcase_add_test(t, progress_bars_keep_their_prefix);
  tcase_add_test(t, own_messages_stand_on_their_own_line);
  tcase_add_test(t, no_byte_of_a_very_long_line_is_lost);
  tcase_add_test(t, random_pieces_come_out_whole);
  tcase_add_test(t, a_closed_output_is_noticed);
  suite_add_tcase(s, t);
  return s;
}
