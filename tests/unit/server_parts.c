/* The server's small parts: texts, tokens, what the machine gives, admission, and the way from reactors to the event loop. */
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agg-server/admission.h"
#include "agg-server/machine.h"
#include "agg-server/mailbox.h"
#include "agg-server/text.h"
#include "agg-server/tokens.h"
#include "base/util.h"
#include "control/control.h"

static agg_error_t err;
static char path[] = "/tmp/agg-token-XXXXXX";

static void assert_says(const char *what) { ck_assert_msg(strstr(err.text, what) != NULL, "expected \"%s\" in \"%s\"", what, err.text); }

/* ---- texts ------------------------------------------------------------------------------------------------------------------------ */

START_TEST(sizes_for_people_and_for_files) {
  static const uint64_t sizes[] = {0, 1, 1000, 1024, 1536, 1 << 20, 3000000000, 5ULL << 30, UINT64_MAX};
  static const char *const people[] = {"0 B", "1 B", "1000 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "2.8 GiB", "5.0 GiB", "16.0 EiB"};
  char buf[64];
  for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
    uint64_t back = 1;
    ck_assert_str_eq(text_size(sizes[i], buf, sizeof buf), people[i]);
    ck_assert_int_eq(parse_bytes(text_bytes_exact(sizes[i], buf, sizeof buf), UINT64_MAX, &back), 0);
    ck_assert_uint_eq(back, sizes[i]);
  }
  ck_assert_str_eq(text_bytes_exact(5ULL << 30, buf, sizeof buf), "5G");
  ck_assert_str_eq(text_bytes_exact(1536, buf, sizeof buf), "1536");
}
END_TEST

static const char *word(size_t i) {
  static const char *const words[] = {"memory-limit", "max-jobs", "pin", "a-name-that-is-longer-than-any-word-may-be-here"};
  return words[i];
}

START_TEST(only_near_names_are_offered) {
  ck_assert_str_eq(text_nearest("memory-limits", word, 4), "memory-limit");
  ck_assert_str_eq(text_nearest("MAX-jobs", word, 2), "max-jobs");
  ck_assert_str_eq(text_nearest("pni", word, 3) == NULL ? "none" : "some", "none");
  ck_assert_str_eq(text_nearest("pim", word, 3), "pin");
  ck_assert_ptr_null(text_nearest("", word, 4));
  ck_assert_ptr_null(text_nearest("zzzzzzzz", word, 4));
  char wide[200];
  memset(wide, 'm', sizeof wide - 1);
  wide[sizeof wide - 1] = '\0';
  ck_assert_ptr_null(text_nearest(wide, word, 4));
}
END_TEST

/* ---- tokens ----------------------------------------------------------------------------------------------------------------------- */

static void make_file(const void *bytes, size_t n, mode_t mode) {
  strcpy(path, "/tmp/agg-token-XXXXXX");
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
  ck_assert_int_eq(fchmod(fd, mode), 0);
  close(fd);
}

static int read_tokens(struct tokens *t, const void *bytes, size_t n, mode_t mode) {
  make_file(bytes, n, mode);
  int rc = tokens_read(t, path, &err);
  unlink(path);
  if (rc != 0) ck_assert_uint_eq(t->n, 0);
  return rc;
}

START_TEST(one_token_a_line) {
  struct tokens t;
  static const char text[] = "first\n\nsecond one\r\n\n#third";
  ck_assert_int_eq(read_tokens(&t, text, sizeof text - 1, 0600), 0);
  ck_assert_uint_eq(t.n, 3);
  ck_assert_str_eq(t.list[0], "first");
  ck_assert_str_eq(t.list[1], "second one");
  ck_assert_str_eq(t.list[2], "#third");
  ck_assert_ptr_null(t.list[3]);
  tokens_fini(&t);
  ck_assert_uint_eq(t.n, 0);
}
END_TEST

/* A server and a worker that are given the same file must find the same token in it. */
START_TEST(the_workers_token_is_the_servers_first) {
  static const char *const texts[] = {"plain", "plain\n", "dos\r\n", " spaces kept \nsecond\n"};
  for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
    struct tokens t;
    char token[CONTROL_TOKEN_MAX];
    make_file(texts[i], strlen(texts[i]), 0400);
    ck_assert_int_eq(tokens_read(&t, path, &err), 0);
    ck_assert_int_eq(control_token_read(path, token, sizeof token, &err), 0);
    ck_assert_str_eq(t.list[0], token);
    tokens_fini(&t);
    unlink(path);
  }
}
END_TEST

START_TEST(others_must_not_read_or_write_it) {
  static const mode_t modes[] = {0640, 0604, 0620, 0602, 0644, 0666, 0777};
  for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
    struct tokens t;
    ck_assert_int_eq(read_tokens(&t, "secret\n", 7, modes[i]), AGG_EAUTH);
    assert_says("chmod 600");
    ck_assert_ptr_null(strstr(err.text, "secret"));
  }
}
END_TEST

START_TEST(token_files_that_cannot_be_used) {
  struct tokens t;
  static char big[TOKENS_MAX * (CONTROL_TOKEN_MAX + 1) + 1];
  ck_assert_int_eq(read_tokens(&t, "", 0, 0600), AGG_EINVAL);
  assert_says("empty");
  ck_assert_int_eq(read_tokens(&t, "\n\r\n\n", 4, 0600), AGG_EINVAL);
  assert_says("empty");
  ck_assert_int_eq(read_tokens(&t, "a\nb\0c\n", 6, 0600), AGG_EINVAL);
  assert_says(":2: a zero byte");
  memset(big, 'x', sizeof big);
  ck_assert_int_eq(read_tokens(&t, big, CONTROL_TOKEN_MAX - 1, 0600), 0);
  tokens_fini(&t);
  ck_assert_int_eq(read_tokens(&t, big, CONTROL_TOKEN_MAX, 0600), AGG_EINVAL);
  assert_says("at most 255");
  ck_assert_int_eq(read_tokens(&t, big, sizeof big, 0600), AGG_EINVAL);
  for (size_t i = 1; i < 2 * (TOKENS_MAX + 1); i += 2) big[i] = '\n';
  ck_assert_int_eq(read_tokens(&t, big, 2 * TOKENS_MAX, 0600), 0);
  ck_assert_uint_eq(t.n, TOKENS_MAX);
  tokens_fini(&t);
  ck_assert_int_eq(read_tokens(&t, big, 2 * (TOKENS_MAX + 1), 0600), AGG_EINVAL);
  assert_says("more than 64");
  ck_assert_int_eq(tokens_read(&t, "/nonexistent/token", &err), AGG_ESYS);
  assert_says("/nonexistent/token");
  ck_assert_int_eq(tokens_read(&t, "/tmp", &err), AGG_EINVAL);
  assert_says("not a regular file");
}
END_TEST

/* A pipe in the file's place must not hold up the start. */
START_TEST(a_pipe_is_refused_at_once) {
  struct tokens t;
  char fifo[] = "/tmp/agg-fifo-XXXXXX";
  ck_assert_ptr_nonnull(mkdtemp(fifo));
  char name[64];
  snprintf(name, sizeof name, "%s/p", fifo);
  ck_assert_int_eq(mkfifo(name, 0600), 0);
  ck_assert_int_eq(tokens_read(&t, name, &err), AGG_EINVAL);
  unlink(name);
  rmdir(fifo);
}
END_TEST

START_TEST(a_token_from_the_environment) {
  struct tokens t;
  char wide[CONTROL_TOKEN_MAX + 1];
  memset(wide, 'x', sizeof wide);
  wide[CONTROL_TOKEN_MAX] = '\0';
  ck_assert_int_eq(tokens_from_text(&t, wide, &err), AGG_EINVAL);
  ck_assert_int_eq(tokens_from_text(&t, "two\nlines", &err), AGG_EINVAL);
  ck_assert_int_eq(tokens_from_text(&t, wide + 1, &err), 0);
  tokens_fini(&t);
}
END_TEST

/* ---- the machine
 * -------------------------------------------------------------------------------------------------------------------------- */

START_TEST(control_group_texts) {
  ck_assert_uint_eq(machine_quota_parse("200000 100000\n"), 2);
  ck_assert_uint_eq(machine_quota_parse("150000 100000"), 2);
  ck_assert_uint_eq(machine_quota_parse("1000 100000"), 1);
  static const char *const none[] = {"max 100000\n", "", "x", "100000", "100000 0", "0 100000", "99999999999999 1"};
  for (size_t i = 0; i < ARRAY_LEN(none); i++) ck_assert_uint_eq(machine_quota_parse(none[i]), 0);
  ck_assert_uint_eq(machine_memory_parse("1073741824\n"), 1ULL << 30);
  ck_assert_uint_eq(machine_memory_parse("max\n"), UINT64_MAX);
  ck_assert_uint_eq(machine_memory_parse(""), UINT64_MAX);
  ck_assert_uint_eq(machine_memory_parse("0"), UINT64_MAX);
}
END_TEST

START_TEST(this_machine_has_cores_and_memory) {
  struct machine m;
  machine_read(&m);
  ck_assert_uint_ge(m.n_cores, 1);
  ck_assert_uint_ge(m.usable, 1);
  ck_assert_uint_le(m.usable, m.n_cores);
  ck_assert_uint_gt(m.memory, 1 << 20);
  for (unsigned i = 1; i < m.n_cores; i++) ck_assert_int_lt(m.cores[i - 1], m.cores[i]);
}
END_TEST

/* ---- admission
 * ------------------------------------------------------------------------------------------------------------------------------ */

static const struct plan plan = {.n_forests = 1, .lanes = 2, .window = 8, .chunk_bytes = 1 << 18};

static struct admission limits(void) {
  return (struct admission){.memory_limit = 1000, .job_memory_limit = 600, .max_jobs = 3, .max_world = 8};
}
static struct admission_need need(uint64_t plane_bytes, uint32_t workers) {
  return (struct admission_need){.job = "train", .workers = workers, .plan = &plan, .plane_bytes = plane_bytes};
}

START_TEST(a_job_takes_priorities_times_lanes_planes) {
  struct admission a = limits();
  struct admission_need n = need(100, 4);
  ck_assert_uint_eq(admission_planes(&plan), 2 * AGG_PRIORITY_COUNT);
  ck_assert_int_eq(admission_take(&a, &n, &err), 0);
  ck_assert_uint_eq(a.memory, 400);
  ck_assert_uint_eq(a.jobs, 1);
  admission_give(&a, admission_bytes(&n));
  ck_assert_uint_eq(a.memory, 0);
  ck_assert_uint_eq(a.jobs, 0);
}
END_TEST

START_TEST(refusals_name_limit_need_and_flag) {
  struct admission a = limits();
  struct admission_need n = need(151, 4);
  ck_assert_int_eq(admission_take(&a, &n, &err), AGG_ELIMIT);
  assert_says("needs 604 B");
  assert_says("job-memory-limit is 600 B");
  assert_says("larger --job-memory-limit");
  n = need(150, 4);
  ck_assert_int_eq(admission_take(&a, &n, &err), 0);
  ck_assert_int_eq(admission_take(&a, &n, &err), AGG_ELIMIT);
  assert_says("400 B of memory-limit 1000 B is left");
  assert_says("larger --memory-limit");
  n = need(100, 9);
  ck_assert_int_eq(admission_take(&a, &n, &err), AGG_ELIMIT);
  assert_says("9 workers");
  assert_says("larger --max-world");
  n = need(0, 8);
  ck_assert_int_eq(admission_take(&a, &n, &err), 0);
  ck_assert_int_eq(admission_take(&a, &n, &err), 0);
  ck_assert_int_eq(admission_take(&a, &n, &err), AGG_ELIMIT);
  assert_says("max-jobs is 3");
  a.draining = 1;
  ck_assert_int_eq(admission_take(&a, &n, &err), AGG_ELIMIT);
  assert_says("draining");
  ck_assert_uint_eq(a.memory, 600); /* refusals took nothing */
  ck_assert_uint_eq(a.jobs, 3);
}
END_TEST

START_TEST(a_size_that_overflows_is_too_large) {
  struct admission a = {.memory_limit = UINT64_MAX - 1, .job_memory_limit = UINT64_MAX - 1, .max_jobs = 1, .max_world = 8};
  struct admission_need n = need(UINT64_MAX / 3, 8);
  ck_assert_uint_eq(admission_bytes(&n), UINT64_MAX);
  ck_assert_int_eq(admission_take(&a, &n, &err), AGG_ELIMIT);
  ck_assert_uint_eq(a.memory, 0);
}
END_TEST

/* The longest text there can be still ends with what to do. */
START_TEST(refusals_are_not_cut_off) {
  struct plan wide = {.lanes = UINT32_MAX, .window = UINT32_MAX, .chunk_bytes = UINT32_MAX};
  struct admission a = {.memory_limit = UINT64_MAX,
                        .job_memory_limit = UINT64_MAX,
                        .max_jobs = UINT32_MAX,
                        .max_world = UINT32_MAX,
                        .memory = UINT64_MAX - 1000};
  char name[AGG_NAME_MAX];
  memset(name, 'n', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  struct admission_need n = {.job = name, .workers = UINT32_MAX, .plan = &wide, .plane_bytes = UINT64_MAX};
  ck_assert_int_eq(admission_take(&a, &n, &err), AGG_ELIMIT);
  assert_says("AGG_LANES lower");
}
END_TEST

/* ---- the mailbox
 * ------------------------------------------------------------------------------------------------------------------------------- */

#define POSTERS 3
#define LETTERS 5
#define ROUNDS 4000

/* Each poster counts up in every letter; the loop must see every last count. */
struct letter {
  struct mail mail;
  _Atomic unsigned written[POSTERS];
  unsigned seen[POSTERS], deliveries;
};
static struct letter letters[LETTERS];
static struct mailbox box;

static void *post_all(void *arg) {
  size_t me = (size_t)(uintptr_t)arg;
  for (unsigned round = 1; round <= ROUNDS; round++) {
    for (size_t i = 0; i < LETTERS; i++) {
      atomic_store_explicit(&letters[i].written[me], round, memory_order_relaxed);
      mail_post(&box, &letters[i].mail);
    }
  }
  return NULL;
}

static void open_letter(struct mail *mail) {
  struct letter *l = CONTAINER_OF(mail, struct letter, mail);
  l->deliveries++;
  for (size_t i = 0; i < POSTERS; i++) l->seen[i] = atomic_load_explicit(&l->written[i], memory_order_relaxed);
}

static int all_seen(void) {
  for (size_t i = 0; i < LETTERS; i++) {
    for (size_t k = 0; k < POSTERS; k++) {
      if (letters[i].seen[k] != ROUNDS) return 0;
    }
  }
  return 1;
}

START_TEST(no_mail_is_lost_between_threads) {
  pthread_t thread[POSTERS];
  ck_assert_int_eq(mailbox_init(&box, &err), 0);
  for (size_t i = 0; i < POSTERS; i++) ck_assert_int_eq(pthread_create(&thread[i], NULL, post_all, (void *)(uintptr_t)i), 0);
  struct pollfd p = {.fd = box.fd, .events = POLLIN};
  while (!all_seen()) {
    ck_assert_int_eq(poll(&p, 1, 20000), 1); /* a lost wake-up ends here */
    mailbox_deliver(&box, open_letter);
  }
  for (size_t i = 0; i < POSTERS; i++) pthread_join(thread[i], NULL);
  mailbox_deliver(&box, open_letter);
  for (size_t i = 0; i < LETTERS; i++) ck_assert_int_eq(mail_queued(&letters[i].mail), 0);
  mailbox_fini(&box);
}
END_TEST

static struct letter *order[4];
static unsigned n_order;
static void note_order(struct mail *mail) { order[n_order++] = CONTAINER_OF(mail, struct letter, mail); }

START_TEST(oldest_first_and_once) {
  struct letter a = {0}, b = {0};
  ck_assert_int_eq(mailbox_init(&box, &err), 0);
  n_order = 0;
  mail_post(&box, &a.mail);
  mail_post(&box, &b.mail);
  mail_post(&box, &a.mail);
  ck_assert_int_eq(mail_queued(&a.mail), 1);
  ck_assert_uint_eq(mailbox_deliver(&box, note_order), 2);
  ck_assert_ptr_eq(order[0], &a);
  ck_assert_ptr_eq(order[1], &b);
  ck_assert_int_eq(mail_queued(&a.mail), 0);
  ck_assert_uint_eq(mailbox_deliver(&box, note_order), 0);
  mail_post(&box, &a.mail);
  ck_assert_uint_eq(mailbox_deliver(&box, note_order), 1);
  mailbox_fini(&box);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("server_parts");
  TCase *tc = tcase_create("parts");
  tcase_set_timeout(tc, 60);
  tcase_add_test(tc, sizes_for_people_and_for_files);
  tcase_add_test(tc, only_near_names_are_offered);
  tcase_add_test(tc, one_token_a_line);
  tcase_add_test(tc, the_workers_token_is_the_servers_first);
  tcase_add_test(tc, others_must_not_read_or_write_it);
  tcase_add_test(tc, token_files_that_cannot_be_used);
  tcase_add_test(tc, a_pipe_is_refused_at_once);
  tcase_add_test(tc, a_token_from_the_environment);
  tcase_add_test(tc, control_group_texts);
  tcase_add_test(tc, this_machine_has_cores_and_memory);
  tcase_add_test(tc, a_job_takes_priorities_times_lanes_planes);
  tcase_add_test(tc, refusals_name_limit_need_and_flag);
  tcase_add_test(tc, a_size_that_overflows_is_too_large);
  tcase_add_test(tc, refusals_are_not_cut_off);
  tcase_add_test(tc, no_mail_is_lost_between_threads);
  tcase_add_test(tc, oldest_first_and_once);
  suite_add_tcase(s, tc);
  return s;
}
