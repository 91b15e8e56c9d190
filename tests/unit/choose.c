/* The chooser: what auto takes, what is chosen where nothing is given, which limits hold and what their texts say. */
#include "topology/choose.h"

#include <check.h>
#include <string.h>

#include "base/util.h"

#define MIB (1ull << 20)

static struct plan make(struct plan_request r) {
  struct plan p;
  agg_error_t err = {0};
  ck_assert_msg(plan_make(&r, &p, &err) == AGG_OK, "%s", err.text);
  ck_assert_uint_ge(p.n_forests, 1);
  ck_assert_uint_le(p.n_forests, PLAN_FORESTS_MAX);
  ck_assert_uint_eq(p.from_bytes[0], 0);
  for (uint32_t i = 0; i < p.n_forests; i++) {
    ck_assert(i == 0 || p.from_bytes[i] > p.from_bytes[i - 1]);
    ck_assert_uint_eq(p.forest[i].workers, r.workers);
    ck_assert_uint_eq(p.forest[i].servers, r.servers);
  }
  return p;
}

static void only(const struct plan *p, unsigned kind) {
  ck_assert_uint_eq(p->n_forests, 1);
  ck_assert_uint_eq(p->forest[0].kind, kind);
}

START_TEST(auto_takes_the_star_when_there_are_servers) {
  for (int one_host = 0; one_host < 2; one_host++) {
    struct plan p = make((struct plan_request){.plan = "auto", .workers = 4, .servers = 2, .one_host = one_host});
    only(&p, FOREST_STAR);
    ck_assert_uint_eq(plan_forest(&p, UINT64_MAX), 0);
  }
}
END_TEST

START_TEST(auto_takes_direct_on_one_host) {
  struct plan p = make((struct plan_request){.plan = "auto", .workers = 64, .one_host = 1});
  only(&p, FOREST_DIRECT);
}
END_TEST

START_TEST(auto_takes_direct_for_one_and_two_workers) {
  for (uint32_t n = 1; n <= 2; n++) {
    struct plan p = make((struct plan_request){.plan = "auto", .workers = n});
    only(&p, FOREST_DIRECT);
  }
}
END_TEST

START_TEST(auto_takes_the_ring_for_large_sizes_between_hosts) {
  const uint32_t workers[] = {3, 8, 1000, FOREST_MAX_NODES};
  for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
    uint64_t n = workers[i];
    struct plan p = make((struct plan_request){.plan = "auto", .workers = workers[i]});
    ck_assert_uint_eq(p.n_forests, 2);
    ck_assert_uint_eq(p.forest[0].kind, FOREST_DIRECT);
    ck_assert_uint_eq(p.forest[1].kind, FOREST_RING);
    ck_assert_uint_eq(p.from_bytes[1], n * 2 * MIB);
    ck_assert_uint_eq(plan_forest(&p, 0), 0);
    ck_assert_uint_eq(plan_forest(&p, n * 2 * MIB - 1), 0);
    ck_assert_uint_eq(plan_forest(&p, n * 2 * MIB), 1);
    ck_assert_uint_eq(plan_forest(&p, UINT64_MAX), 1);
  }
}
END_TEST

START_TEST(no_name_means_auto) {
  struct plan p = make((struct plan_request){.plan = NULL, .workers = 4, .servers = 1});
  only(&p, FOREST_STAR);
  p = make((struct plan_request){.plan = "", .workers = 4, .one_host = 1});
  only(&p, FOREST_DIRECT);
}
END_TEST

START_TEST(a_named_plan_is_taken_at_every_size) {
  struct plan p = make((struct plan_request){.plan = "ring", .workers = 4, .one_host = 1});
  only(&p, FOREST_RING);
  p = make((struct plan_request){.plan = "direct", .workers = 4});
  only(&p, FOREST_DIRECT);
  p = make((struct plan_request){.plan = "star", .workers = 4, .servers = 1});
  only(&p, FOREST_STAR);
  p = make((struct plan_request){.plan = "ring", .workers = 4, .servers = 2}); /* the servers stand aside */
  only(&p, FOREST_RING);
}
END_TEST

START_TEST(defaults_depend_on_host_and_servers) {
  struct plan p = make((struct plan_request){.workers = 4, .one_host = 1});
  ck_assert_uint_eq(p.chunk_bytes, 128u << 10);
  ck_assert_uint_eq(p.window, 4);
  ck_assert_uint_eq(p.lanes, 1);
  p = make((struct plan_request){.workers = 4, .servers = 1, .one_host = 1});
  ck_assert_uint_eq(p.chunk_bytes, 128u << 10);
  ck_assert_uint_eq(p.window, 4);
  ck_assert_uint_eq(p.lanes, 2);
  p = make((struct plan_request){.workers = 4, .servers = 1});
  ck_assert_uint_eq(p.chunk_bytes, 256u << 10);
  ck_assert_uint_eq(p.lanes, 2);
  p = make((struct plan_request){.workers = 2});
  ck_assert_uint_eq(p.window, 4);
  ck_assert_uint_eq(p.lanes, 2);
}
END_TEST

/* Lane n goes over NIC n mod rails: with fewer lanes than NICs some would be idle. */
START_TEST(lanes_cover_the_rails) {
  const struct {
    uint32_t rails, servers, asked, lanes;
    int one_host;
  } rows[] = {{0, 0, 0, 2, 0},   {1, 0, 0, 2, 0}, {2, 1, 0, 2, 0}, {3, 1, 0, 3, 0}, {8, 0, 0, 8, 0}, {16, 0, 0, 16, 0},
              {99, 0, 0, 16, 0}, {8, 0, 1, 1, 0}, {8, 0, 0, 1, 1}, {8, 1, 0, 2, 1}, {8, 1, 5, 5, 1}};
  for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
    struct plan p = make((struct plan_request){
        .workers = 4, .servers = rows[i].servers, .rails = rows[i].rails, .lanes = rows[i].asked, .one_host = rows[i].one_host});
    ck_assert_msg(p.lanes == rows[i].lanes, "row %zu: %u lanes", i, p.lanes);
  }
}
END_TEST

START_TEST(a_rings_window_covers_its_depth) {
  const struct { uint32_t workers, window; } rows[] = {{1, 4}, {2, 4}, {3, 6}, {8, 16}, {32, 64}, {33, 64}, {5000, 64}};
  for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
    struct plan p = make((struct plan_request){.plan = "ring", .workers = rows[i].workers, .one_host = 1});
    ck_assert_uint_eq(p.window, rows[i].window);
    if (rows[i].workers < 3) continue;
    p = make((struct plan_request){.plan = "auto", .workers = rows[i].workers}); /* direct and ring share the window: the deeper rules */
    ck_assert_uint_eq(p.window, rows[i].window);
  }
}
END_TEST

START_TEST(what_is_given_is_kept) {
  struct plan p = make((struct plan_request){.workers = 4, .lanes = 3, .window = 17, .chunk_bytes = 1088});
  ck_assert_uint_eq(p.lanes, 3);
  ck_assert_uint_eq(p.window, 17);
  ck_assert_uint_eq(p.chunk_bytes, 1088);
  p = make((struct plan_request){.workers = 4, .lanes = 16, .window = 1024, .chunk_bytes = 16u << 20});
  ck_assert_uint_eq(p.chunk_bytes, 16u << 20);
  p = make((struct plan_request){.workers = 4, .lanes = 1, .window = 1, .chunk_bytes = 1024});
  ck_assert_uint_eq(p.window, 1);
}
END_TEST

static void refuse(struct plan_request r, const char *words) {
  struct plan p = {.n_forests = 77};
  agg_error_t err = {0};
  ck_assert_int_eq(plan_make(&r, &p, &err), AGG_EINVAL);
  ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" in \"%s\"", words, err.text);
  ck_assert_uint_eq(p.n_forests, 77); /* outputs only on success */
  ck_assert_int_eq(plan_make(&r, &p, NULL), AGG_EINVAL);
}

START_TEST(bad_numbers_are_refused_by_name) {
  refuse((struct plan_request){.workers = 4, .chunk_bytes = 960}, "chunk of 960 bytes");
  refuse((struct plan_request){.workers = 4, .chunk_bytes = 1}, "AGG_CHUNK");
  refuse((struct plan_request){.workers = 4, .chunk_bytes = 4000}, "multiple of 64");
  refuse((struct plan_request){.workers = 4, .chunk_bytes = (16u << 20) + 64}, "to 16777216");
  refuse((struct plan_request){.workers = 4, .chunk_bytes = UINT32_MAX}, "chunk of 4294967295 bytes");
  refuse((struct plan_request){.workers = 4, .window = 1025}, "window of 1025 chunks: expected 1 to 1024 (AGG_WINDOW)");
  refuse((struct plan_request){.workers = 4, .lanes = 17}, "17 lanes: expected 1 to 16 (AGG_LANES)");
  refuse((struct plan_request){.workers = 0}, "at least one worker");
  refuse((struct plan_request){.workers = FOREST_MAX_NODES, .servers = 1}, "too many nodes");
  refuse((struct plan_request){.workers = UINT32_MAX}, "too many nodes");
}
END_TEST

START_TEST(bad_names_are_refused_with_the_choices) {
  refuse((struct plan_request){.plan = "tree", .workers = 4}, "plan \"tree\" is unknown: expected auto, star, direct or ring");
  refuse((struct plan_request){.plan = "Ring", .workers = 4}, "unknown");
  refuse((struct plan_request){.plan = "star", .workers = 4}, "needs a server");
  char longest[2048];
  memset(longest, 'x', sizeof longest - 1), longest[sizeof longest - 1] = '\0';
  refuse((struct plan_request){.plan = longest, .workers = 4}, "expected auto, star, direct or ring");
}
END_TEST

START_TEST(the_same_request_gives_the_same_plan) {
  struct plan_request r = {.plan = "auto", .workers = 5};
  struct plan a = make(r), b = make(r);
  ck_assert_uint_eq(a.n_forests, b.n_forests);
  ck_assert_mem_eq(a.from_bytes, b.from_bytes, sizeof a.from_bytes);
  ck_assert_uint_eq(a.window, b.window);
  ck_assert_uint_eq(a.lanes, b.lanes);
  ck_assert_uint_eq(a.chunk_bytes, b.chunk_bytes);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("choose");
  TCase *t = tcase_create("choose");
  tcase_add_test(t, auto_takes_the_star_when_there_are_servers);
  tcase_add_test(t, auto_takes_direct_on_one_host);
  tcase_add_test(t, auto_takes_direct_for_one_and_two_workers);
  tcase_add_test(t, auto_takes_the_ring_for_large_sizes_between_hosts);
  tcase_add_test(t, no_name_means_auto);
  tcase_add_test(t, a_named_plan_is_taken_at_every_size);
  tcase_add_test(t, defaults_depend_on_host_and_servers);
  tcase_add_test(t, lanes_cover_the_rails);
  tcase_add_test(t, a_rings_window_covers_its_depth);
  tcase_add_test(t, what_is_given_is_kept);
  tcase_add_test(t, bad_numbers_are_refused_by_name);
  tcase_add_test(t, bad_names_are_refused_with_the_choices);
  tcase_add_test(t, the_same_request_gives_the_same_plan);
  suite_add_tcase(s, t);
  return s;
}
