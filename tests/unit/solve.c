/* The share solver: the closed forms that architecture and documents promise, and on made-up clusters no search finds better shares. */
#include "topology/solve.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/madefabric.h"

static struct cost links_only(void) {
  struct cost cost;
  madefabric_links_only(&cost);
  return cost;
}

static void free_of_limits(struct fabric *f, const struct cost *cost) {
  for (uint32_t i = 0; i < fabric_nodes(f); i++) f->node[i].sum_bytes_per_s = 0;
  for (uint32_t i = 0; i < f->n_links; i++) f->link[i].memory_bytes_per_s = 0;
  fabric_assume(f, cost);
}

static void near(double got, double wanted, double tolerance, const char *what, uint32_t n, uint32_t k) {
  ck_assert_msg(fabs(got - wanted) <= tolerance * wanted, "%s, n %u, k %u: %.9g, expected %.9g", what, n, k, got, wanted);
}

/* t = 2 n (n-1) M / ((n^2 + r k (n-2)) B) while r k <= n, M/B beyond. */
START_TEST(hybrid_is_the_closed_form) {
  struct cost cost = links_only();
  const double rates[] = {0.5, 1, 2, 3};
  for (uint32_t n = 3; n <= 33; n += 5) {
    for (uint32_t k = 0; k <= n; k++) {
      for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct fabric f;
        double r = rates[i], rk = r * k, share[80], seconds;
        ck_assert_int_eq(fabric_flat(&f, n, k, 1e9, NULL), AGG_OK);
        for (uint32_t s = 0; s < k; s++) f.link[f.node[n + s].host].bytes_per_s = r * 1e9;
        free_of_limits(&f, &cost);
        ck_assert_int_eq(solve_shares(&cost, &f, SOLVE_SERVERS | SOLVE_WORKERS, share, &seconds, NULL), AGG_OK);
        double wanted = rk <= n ? 2.0 * n * (n - 1) / (n * n + rk * (n - 2)) : 1;
        near(seconds * 1e9, wanted, 1e-6, "time", n, k);
        double each = 2 * r * (n - 1) / (n * n + rk * (n - 2)), sum = 0;
        for (uint32_t s = 0; s < k && rk <= n; s++) near(share[n + s], each, 1e-6, "share of a server", n, k);
        for (uint32_t s = 0; s < n + k; s++) sum += share[s];
        near(sum, 1, 1e-9, "sum", n, k);
        fabric_fini(&f);
      }
    }
  }
}
END_TEST

START_TEST(unequal_servers_get_what_their_nics_carry) {
  struct cost cost = links_only();
  struct fabric f;
  double share[11], seconds, rates[] = {1, 2, 4};
  ck_assert_int_eq(fabric_flat(&f, 8, 3, 1e9, NULL), AGG_OK);
  for (uint32_t s = 0; s < 3; s++) f.link[f.node[8 + s].host].bytes_per_s = rates[s] * 1e9;
  free_of_limits(&f, &cost);
  ck_assert_int_eq(solve_shares(&cost, &f, SOLVE_SERVERS, share, &seconds, NULL), AGG_OK);
  for (uint32_t s = 0; s < 3; s++) near(share[8 + s], rates[s] / 7, 1e-6, "share", 8, s);
  near(seconds, 8.0 / 7 / 1e9, 1e-6, "time", 8, 3);
  fabric_fini(&f);
}
END_TEST

/* Where copies of private memory are all that limits, a worker with the share s copies 2 (1 - s) + (n - 1) s over verbs, and a server
 * nothing; within a host, without servers, it puts (1 - s) + (n - 1) s and copies (1 - s). */
START_TEST(private_memory_is_the_workers_work) {
  static const struct {
    uint32_t n, k;
    int one_host;
    double worker, seconds;
  } rows[] = {{8, 2, 0, 0, 2}, {8, 0, 0, 0.125, 2.625}, {2, 1, 0, 0.5, 1.5}, {8, 0, 1, 0.125, 2.625}, {2, 0, 1, 0.5, 1.5}};
  static const uint32_t together[8] = {0};
  for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
    uint32_t n = rows[i].n, k = rows[i].k;
    struct cost cost = links_only();
    struct fabric f;
    double share[16], seconds;
    cost.copy = 1e9;
    ck_assert_int_eq(rows[i].one_host ? fabric_of_hosts(&f, n, k, together, NULL) : fabric_flat(&f, n, k, 0, NULL), AGG_OK);
    f.transport = FABRIC_VERBS;
    f.memory = FABRIC_PRIVATE;
    free_of_limits(&f, &cost);
    ck_assert_int_eq(solve_shares(&cost, &f, SOLVE_SERVERS | SOLVE_WORKERS, share, &seconds, NULL), AGG_OK);
    near(seconds * 1e9, rows[i].seconds, 1e-6, "time", n, k);
    for (uint32_t w = 0; w < n; w++) ck_assert_double_eq_tol(share[w], rows[i].worker, 1e-6);
    fabric_fini(&f);
  }
}
END_TEST

START_TEST(no_server_no_star) {
  struct cost cost = links_only();
  struct fabric f;
  double share[4];
  agg_error_t err = {0};
  ck_assert_int_eq(fabric_flat(&f, 4, 0, 1e9, NULL), AGG_OK);
  fabric_assume(&f, &cost);
  ck_assert_int_eq(solve_shares(&cost, &f, SOLVE_SERVERS, share, NULL, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "no server"));
  fabric_fini(&f);
}
END_TEST

/* ---- against a search ------------------------------------------------------------------------------------------------------------- */

/* The time of shares: from the loads of the forest's edges, weighed by hand. */
static double time_of(const struct cost *cost, const struct fabric *f, const double *share) {
  uint32_t n = f->workers, nodes = fabric_nodes(f);
  double most = 0, *w = calloc(3 * (size_t)f->n_links, sizeof *w), *v = w + f->n_links, *memory = v + f->n_links;
  for (uint32_t i = 0; i < nodes; i++) {
    for (uint32_t link = f->node[i].host; link != 0; link = f->link[link].parent) {
      w[link] += i < n;
      v[link] += share[i];
    }
    for (uint32_t j = 0; j < n; j++) memory[f->node[i].host] += j != i && f->node[j].host == f->node[i].host ? 2 * share[i] : 0;
    memory[f->node[i].host] += n * share[i];
    if (f->node[i].sum_bytes_per_s > 0) most = fmax(most, n * share[i] / f->node[i].sum_bytes_per_s);
  }
  for (uint32_t i = 1; i < f->n_links; i++) {
    const struct fabric_link *l = &f->link[i];
    if (l->bytes_per_s > 0) most = fmax(most, (w[i] * (1 - v[i]) + (n - w[i]) * v[i]) / (l->bytes_per_s * cost_efficiency(cost, f)));
    if (l->memory_bytes_per_s > 0) most = fmax(most, memory[i] / l->memory_bytes_per_s);
  }
  free(w);
  return most;
}

/* Moves ever smaller parts from one root to another for as long as it helps; from several starts. */
static double search(const struct cost *cost, const struct fabric *f, unsigned roots, struct rng *r) {
  uint32_t nodes = fabric_nodes(f);
  double share[64], best = INFINITY;
  for (int start = 0; start < 6; start++) {
    double sum = 0;
    for (uint32_t i = 0; i < nodes; i++) {
      int may = (roots & (i < f->workers ? SOLVE_WORKERS : SOLVE_SERVERS)) != 0;
      sum += share[i] = may * (0.001 + (double)rng_below(r, 1000));
    }
    for (uint32_t i = 0; i < nodes; i++) share[i] /= sum;
    double now = time_of(cost, f, share);
    for (double step = 0.25; step > 1e-5; step /= 2) {
      for (int tries = 0; tries < 60; tries++) {
        uint32_t a = (uint32_t)rng_below(r, nodes), b = (uint32_t)rng_below(r, nodes);
        double part = fmin(step, share[a]);
        if (share[a] == 0 || !(roots & (b < f->workers ? SOLVE_WORKERS : SOLVE_SERVERS))) continue;
        share[a] -= part, share[b] += part;
        double then = time_of(cost, f, share);
        if (then <= now)
          now = then;
        else
          share[a] += part, share[b] -= part;
      }
    }
    best = fmin(best, now);
  }
  return best;
}

START_TEST(no_search_finds_better) {
  struct cost cost = links_only();
  for (uint64_t i = 0; i < 20; i++) {
    uint64_t seed = (uint64_t)_i * 20 + i;
    struct rng r = {seed};
    struct fabric f;
    struct madefabric what = {.workers_max = 8, .servers_max = 4, .racks_max = 3, .shared = seed % 2 == 0, .unlimited = seed % 4 < 2};
    madefabric(&f, &r, &what, &cost);
    for (unsigned roots = 1; roots <= 3; roots++) {
      if (roots == SOLVE_SERVERS && f.servers == 0) continue;
      double share[64] = {0}, seconds, found;
      ck_assert_int_eq(solve_shares(&cost, &f, roots, share, &seconds, NULL), AGG_OK);
      double real = time_of(&cost, &f, share);
      ck_assert_msg(fabs(real - seconds) <= 1e-6 * seconds + 1e-15, "seed %llu, roots %u, %u+%u: promises %g, takes %g",
                    (unsigned long long)seed, roots, f.workers, f.servers, seconds, real);
      found = search(&cost, &f, roots, &r);
      ck_assert_msg(seconds <= found * (1 + 1e-7) + 1e-15, "seed %llu, roots %u, %u+%u: %g, but %g is possible", (unsigned long long)seed,
                    roots, f.workers, f.servers, seconds, found);
    }
    fabric_fini(&f);
  }
}
END_TEST

/* The least time is a lower bound, too: with the shares of two roots only, every split of a fine grid is tried. */
START_TEST(two_roots_are_solved_exactly) {
  struct cost cost = links_only();
  for (uint64_t seed = 0; seed < 200; seed++) {
    struct rng r = {seed};
    struct fabric f;
    struct madefabric what = {.workers_max = 9, .servers_max = 2, .racks_max = 3, .shared = seed % 2 == 0};
    madefabric(&f, &r, &what, &cost);
    if (f.servers == 2) {
      double share[64] = {0}, seconds, best = INFINITY;
      ck_assert_int_eq(solve_shares(&cost, &f, SOLVE_SERVERS, share, &seconds, NULL), AGG_OK);
      for (int x = 0; x <= 20000; x++) {
        double grid[64] = {0};
        grid[f.workers] = x / 20000.0;
        grid[f.workers + 1] = 1 - x / 20000.0;
        best = fmin(best, time_of(&cost, &f, grid));
      }
      ck_assert_msg(seconds <= best * (1 + 1e-7) && seconds >= best * (1 - 1e-3), "seed %llu: %.9g, grid %.9g", (unsigned long long)seed,
                    seconds, best);
    }
    fabric_fini(&f);
  }
}
END_TEST

/* ---- splits
 * ------------------------------------------------------------------------------------------------------------------------------ */

START_TEST(star_and_ring_end_together) {
  struct cost cost = links_only();
  struct fabric f;
  struct forest star, ring;
  struct cost_loads a = {0}, b = {0};
  double x, seconds;
  ck_assert_int_eq(fabric_flat(&f, 8, 2, 1e9, NULL), AGG_OK);
  free_of_limits(&f, &cost);
  ck_assert_int_eq(forest_init(&star, FOREST_STAR, 8, 2, NULL), AGG_OK);
  ck_assert_int_eq(forest_init(&ring, FOREST_RING, 8, 2, NULL), AGG_OK);
  ck_assert_int_eq(cost_loads_of(&cost, &f, &star, OP_ALLREDUCE, 0, &a, NULL), AGG_OK);
  ck_assert_int_eq(cost_loads_of(&cost, &f, &ring, OP_ALLREDUCE, 0, &b, NULL), AGG_OK);
  ck_assert_int_eq(solve_split(&cost, &f, &a, &b, &x, &seconds, NULL), AGG_OK);
  /* a server carries 4 x; a worker x + 7/4 (1 - x) */
  near(x, 1.75 / 4.75, 1e-6, "split", 8, 2);
  near(seconds * 1e9, 7 / 4.75, 1e-6, "time", 8, 2);
  cost_loads_fini(&a);
  cost_loads_fini(&b);
  fabric_fini(&f);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("solve");
  TCase *c = tcase_create("solve");
  tcase_set_timeout(c, 120);
  tcase_add_test(c, hybrid_is_the_closed_form);
  tcase_add_test(c, unequal_servers_get_what_their_nics_carry);
  tcase_add_test(c, private_memory_is_the_workers_work);
  tcase_add_test(c, no_server_no_star);
  tcase_add_loop_test(c, no_search_finds_better, 0, 10);
  tcase_add_test(c, two_roots_are_solved_exactly);
  tcase_add_test(c, star_and_ring_end_together);
  suite_add_tcase(s, c);
  return s;
}
