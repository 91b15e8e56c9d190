/* Maps: made from names, taken from outside, copied; what is refused and why. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/forestry.h"

/* Every array of the map says the same thing as the others. */
static void consistent(const struct forest_map *m) {
  ck_assert_uint_eq(m->group_first[0], 0);
  ck_assert_uint_eq(m->group_first[m->groups], m->workers);
  ck_assert_uint_eq(m->rack_first[0], 0);
  ck_assert_uint_eq(m->rack_first[m->racks], m->groups);
  for (uint32_t i = 0; i < m->workers; i++) {
    ck_assert_uint_lt(m->worker_at[i], m->workers);
    ck_assert_uint_eq(m->position_of[m->worker_at[i]], i);
    ck_assert_uint_le(m->group_first[m->group_of[i]], i);
    ck_assert_uint_gt(m->group_first[m->group_of[i] + 1], i);
  }
  for (uint32_t g = 0; g < m->groups; g++) {
    ck_assert_uint_gt(m->group_first[g + 1], m->group_first[g]);
    ck_assert_uint_le(m->rack_first[m->rack_of[g]], g);
    ck_assert_uint_gt(m->rack_first[m->rack_of[g] + 1], g);
  }
  uint32_t placed = 0;
  for (uint32_t s = 0; s < m->servers; s++) {
    if (m->server_rack[s] == FOREST_NONE) continue;
    uint32_t before = 0;
    for (uint32_t other = 0; other < s; other++) before += m->server_rack[other] == m->server_rack[s];
    ck_assert_uint_eq(m->server_index[s], before);
    ck_assert_uint_eq(m->server_at[m->rack_servers[m->server_rack[s]] + before], s);
    placed++;
  }
  ck_assert_uint_eq(m->rack_servers[m->racks], placed);
}

START_TEST(hosts_and_racks_come_in_the_order_of_their_first_worker) {
  /*                         0   1   2   3   4   5   6   7 */
  const uint32_t host[] = {50, 10, 50, 99, 10, 70, 99, 50};
  const uint32_t rack[] = {8, 4, 8, 8, 4, 4, 8, 8};
  const uint32_t server_rack[] = {4, 6, 8, 4};
  struct forest_map *m = NULL;
  agg_error_t err = {0};
  ck_assert_int_eq(forest_map_make(8, 4, host, rack, server_rack, &m, &err), AGG_OK);
  consistent(m);
  const uint32_t order[] = {0, 2, 7, 3, 6, 1, 4, 5}, first[] = {0, 3, 5, 7, 8}, racks[] = {0, 2, 4};
  const uint32_t where[] = {1, FOREST_NONE, 0, 1};
  ck_assert_uint_eq(m->groups, 4);
  ck_assert_uint_eq(m->racks, 2);
  ck_assert_mem_eq(m->worker_at, order, sizeof order);
  ck_assert_mem_eq(m->group_first, first, sizeof first);
  ck_assert_mem_eq(m->rack_first, racks, sizeof racks);
  ck_assert_mem_eq(m->server_rack, where, sizeof where);
  ck_assert_uint_eq(m->server_index[3], 1);
  forest_map_free(m);
}
END_TEST

START_TEST(without_names_all_are_hosts_in_one_rack) {
  struct forest_map *m = NULL;
  ck_assert_int_eq(forest_map_make(5, 2, NULL, NULL, NULL, &m, NULL), AGG_OK);
  consistent(m);
  ck_assert_uint_eq(m->groups, 5);
  ck_assert_uint_eq(m->racks, 1);
  for (uint32_t i = 0; i < 5; i++) ck_assert_uint_eq(m->worker_at[i], i);
  for (uint32_t s = 0; s < 2; s++) ck_assert_uint_eq(m->server_at[s], s);
  forest_map_free(m);
}
END_TEST

START_TEST(random_names_make_sound_maps) {
  for (uint64_t seed = 1; seed <= 200; seed++) {
    struct rng rng = {seed};
    struct cluster c;
    cluster_random(&c, &rng, 1 + (uint32_t)rng_below(&rng, seed % 20 == 0 ? 2000 : 40), (uint32_t)rng_below(&rng, 9));
    const struct forest_map *m = c.map;
    consistent(m);
    for (uint32_t i = 1; i < m->workers; i++) {
      uint32_t a = m->worker_at[i - 1], b = m->worker_at[i], ga = m->group_of[i - 1], gb = m->group_of[i];
      ck_assert_int_eq(ga == gb, c.host_of[a] == c.host_of[b]); /* as names are distinct, groups are whole */
      ck_assert_int_eq(m->rack_of[ga] == m->rack_of[gb], c.rack_of_worker[a] == c.rack_of_worker[b]);
      if (ga == gb) ck_assert_uint_lt(a, b);
      if (ga != gb && m->rack_of[ga] == m->rack_of[gb]) /* groups of a rack by their first worker */
        ck_assert_uint_lt(m->worker_at[m->group_first[ga]], m->worker_at[m->group_first[gb]]);
      if (m->rack_of[ga] != m->rack_of[gb])
        ck_assert_uint_lt(m->worker_at[m->group_first[m->rack_first[m->rack_of[ga]]]], m->worker_at[m->group_first[gb]]);
    }
    for (uint32_t s = 0; s < m->servers; s++) {
      uint32_t rack = FOREST_NONE;
      for (uint32_t w = 0; w < m->workers; w++) {
        if (c.rack_of_worker[w] == c.rack_of_server[s]) rack = m->rack_of[m->group_of[m->position_of[w]]];
      }
      ck_assert_uint_eq(m->server_rack[s], rack);
    }
    cluster_fini(&c);
  }
}
END_TEST

START_TEST(the_largest_map_is_made) {
  uint32_t *host = calloc(FOREST_MAX_NODES, sizeof *host);
  for (uint32_t w = 0; w < FOREST_MAX_NODES; w++) host[w] = w * 2654435761u % 8191;
  struct forest_map *m = NULL;
  ck_assert_int_eq(forest_map_make(FOREST_MAX_NODES, 0, host, NULL, NULL, &m, NULL), AGG_OK);
  ck_assert_uint_eq(m->groups, 8191);
  consistent(m);
  forest_map_free(m);
  free(host);
}
END_TEST

START_TEST(impossible_names_are_refused) {
  struct forest_map *m = NULL;
  agg_error_t err = {0};
  const uint32_t host[] = {1, 2, 1}, rack[] = {1, 1, 2}, server[] = {1};
  ck_assert_int_eq(forest_map_make(3, 0, host, rack, NULL, &m, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "workers 0 and 2 are on one host but in different racks: a host is in one rack");
  ck_assert_int_eq(forest_map_make(3, 1, host, rack, NULL, &m, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "the racks of the workers are given, those of the servers are not: give both or neither");
  ck_assert_int_eq(forest_map_make(3, 1, host, NULL, server, &m, &err), AGG_EINVAL);
  ck_assert_str_eq(err.text, "the racks of the servers are given, those of the workers are not: give both or neither");
  ck_assert_int_eq(forest_map_make(0, 1, NULL, NULL, NULL, &m, &err), AGG_EINVAL);
  ck_assert_int_eq(forest_map_make(FOREST_MAX_NODES, 1, NULL, NULL, NULL, &m, &err), AGG_EINVAL);
  ck_assert_int_eq(forest_map_make(UINT32_MAX, UINT32_MAX, NULL, NULL, NULL, &m, &err), AGG_EINVAL);
  ck_assert_ptr_null(m);
}
END_TEST

/* ---- from outside --------------------------------------------------------------------------------------------------------- */

struct wire {
  uint32_t workers, servers, groups, racks, worker_at[8], group_sizes[8], rack_sizes[8], server_rack[8];
};

static const struct wire good = {
    .workers = 6,
    .servers = 2,
    .groups = 3,
    .racks = 2,
    .worker_at = {3, 0, 5, 1, 2, 4},
    .group_sizes = {3, 1, 2},
    .rack_sizes = {1, 2},
    .server_rack = {1, FOREST_NONE},
};

static int take(const struct wire *w, struct forest_map **m, agg_error_t *err) {
  return forest_map_take(w->workers, w->servers, w->worker_at, w->group_sizes, w->groups, w->rack_sizes, w->racks, w->server_rack, m, err);
}

static void refused(struct wire w, const char *text) {
  struct forest_map *m = NULL;
  agg_error_t err = {0};
  ck_assert_int_eq(take(&w, &m, &err), AGG_EPROTO);
  ck_assert_str_eq(err.text, text);
  ck_assert_ptr_null(m);
}

START_TEST(a_map_is_taken_as_it_is) {
  struct forest_map *m = NULL;
  ck_assert_int_eq(take(&good, &m, NULL), AGG_OK);
  consistent(m);
  ck_assert_mem_eq(m->worker_at, good.worker_at, 6 * sizeof(uint32_t));
  ck_assert_uint_eq(m->group_first[2], 4);
  ck_assert_uint_eq(m->rack_first[1], 1);
  ck_assert_uint_eq(m->server_rack[1], FOREST_NONE);
  forest_map_free(m);
}
END_TEST

START_TEST(hostile_maps_are_refused) {
  struct wire w;
  w = good, w.workers = 0, refused(w, "map of 0 workers and 2 servers: expected at least one worker and at most 65536 nodes");
  w = good, w.servers = UINT32_MAX,
  refused(w, "map of 6 workers and 4294967295 servers: expected at least one worker and at most 65536 nodes");
  const char *few = "map of 6 workers in %u groups in %u racks: expected at least one worker a group, one group a rack";
  const uint32_t counts[][2] = {{0, 0}, {7, 2}, {3, 4}, {3, 0}, {0, 2}, {UINT32_MAX, 2}, {3, UINT32_MAX}};
  for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
    char text[128];
    snprintf(text, sizeof text, few, counts[i][0], counts[i][1]);
    w = good, w.groups = counts[i][0], w.racks = counts[i][1], refused(w, text);
  }
  w = good, w.worker_at[2] = 6, refused(w, "map: worker 6 at position 2: there are 6 workers");
  w = good, w.worker_at[2] = UINT32_MAX, refused(w, "map: worker 4294967295 at position 2: there are 6 workers");
  w = good, w.worker_at[2] = 3, refused(w, "map: worker 3 comes twice, again at position 2");
  w = good, w.group_sizes[1] = 0, refused(w, "map: group 1 has the size 0: expected 1 to 3, what is left of 6");
  w = good, w.group_sizes[1] = UINT32_MAX, refused(w, "map: group 1 has the size 4294967295: expected 1 to 3, what is left of 6");
  w = good, w.group_sizes[2] = 1, refused(w, "map: the sizes of the groups sum to 5: expected 6");
  w = good, w.rack_sizes[1] = 3, refused(w, "map: rack 1 has the size 3: expected 1 to 2, what is left of 3");
  w = good, w.rack_sizes[1] = 1, refused(w, "map: the sizes of the racks sum to 2: expected 3");
  w = good, w.server_rack[0] = 2, refused(w, "map: server 0 is in rack 2: there are 2 racks");
}
END_TEST

START_TEST(damaged_maps_are_refused_or_sound) {
  uint32_t sound = 0;
  for (uint64_t seed = 1; seed <= 20000; seed++) {
    struct rng rng = {seed};
    struct wire w = good;
    uint32_t *words = &w.worker_at[0];
    for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
      words[rng_below(&rng, 32)] = rng_below(&rng, 4) == 0 ? (uint32_t)rng_next(&rng) : (uint32_t)rng_below(&rng, 7);
    struct forest_map *m = NULL;
    agg_error_t err = {0};
    int rc = take(&w, &m, &err);
    ck_assert_msg(rc == AGG_OK || (rc == AGG_EPROTO && err.text[0] != '\0' && m == NULL), "seed %llu", (unsigned long long)seed);
    if (rc == AGG_OK) consistent(m), sound++;
    forest_map_free(m);
  }
  ck_assert_uint_gt(sound, 0);
}
END_TEST

START_TEST(a_copy_stands_alone) {
  struct forest_map *m = NULL, *copy = NULL, *none = m;
  ck_assert_int_eq(take(&good, &m, NULL), AGG_OK);
  ck_assert_int_eq(forest_map_copy(m, &copy), AGG_OK);
  memset(m->worker_at, 0xff, 6 * sizeof(uint32_t));
  forest_map_free(m);
  consistent(copy);
  ck_assert_mem_eq(copy->worker_at, good.worker_at, 6 * sizeof(uint32_t));
  ck_assert_uint_eq(copy->server_rack[0], 1);
  forest_map_free(copy);
  ck_assert_int_eq(forest_map_copy(NULL, &none), AGG_OK);
  ck_assert_ptr_null(none);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("forest_map");
  TCase *t = tcase_create("forest_map");
  tcase_add_test(t, hosts_and_racks_come_in_the_order_of_their_first_worker);
  tcase_add_test(t, without_names_all_are_hosts_in_one_rack);
  tcase_add_test(t, random_names_make_sound_maps);
  tcase_add_test(t, the_largest_map_is_made);
  tcase_add_test(t, impossible_names_are_refused);
  tcase_add_test(t, a_map_is_taken_as_it_is);
  tcase_add_test(t, hostile_maps_are_refused);
  tcase_add_test(t, damaged_maps_are_refused_or_sound);
  tcase_add_test(t, a_copy_stands_alone);
  suite_add_tcase(s, t);
  return s;
}
