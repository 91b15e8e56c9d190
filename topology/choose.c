/*
 * The chooser: which candidates at which sizes.
 *
 * Every candidate that breaks no limit is predicted on a grid of sizes, for every kind of operation. Of all ways along the grid the one
 * with the least sum of logarithms of times is taken, where a change costs the logarithm of 1 + margin: so candidates that are nearly equal
 * do not alternate. This is done for each family of candidates that go together at the servers, and for smaller chunks where some
 * candidate's windows fit with these only; the best sum wins. Where the way changes, the size at which both are equally fast is found by
 * halving.
 */
#include "topology/choose.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/candidates.h"

#define GRID_LEAST 256u
#define GRID_MOST (1ull << 30)
#define GRID_MAX (2 + 23 + PLAN_RULES_MAX)
#define NONE UINT32_MAX
#define ONE_HOST_TRUST 4.0
#define BLOCKS_MOST 4e9

/* A choice: for each kind and size of the grid a candidate. */
struct choice {
  uint32_t chunk_bytes, window;
  uint8_t family;
  double score;
  uint32_t pick[OP_KIND_COUNT][GRID_MAX];
};

struct chooser {
  struct candidates all;
  uint32_t n_sizes;
  uint64_t size[GRID_MAX];
  unsigned classes[GRID_MAX]; /* asked for from this size on */
  /* under the setting at hand */
  uint32_t chunk_bytes, window_most;
  uint32_t window[CANDIDATES_MAX]; /* 0: does not fit */
  uint8_t usable[CANDIDATES_MAX];
  double logs[CANDIDATES_MAX][OP_KIND_COUNT][GRID_MAX];
};

/* Allreduce is what training waits for. */
static const double weight[OP_KIND_COUNT] = {
    [OP_ALLREDUCE] = 8, [OP_REDUCE] = 0.5, [OP_BROADCAST] = 0.5, [OP_REDUCE_SCATTER] = 1,
    [OP_ALLGATHER] = 1, [OP_GATHER] = 0.1, [OP_SCATTER] = 0.1,   [OP_BARRIER] = 0.1,
};

/* ---- the grid --------------------------------------------------------------------------------------------------------------------- */

static void add_size(struct chooser *ch, uint64_t size) {
  uint32_t at = ch->n_sizes;
  while (at > 0 && ch->size[at - 1] > size) at--;
  if (at > 0 && ch->size[at - 1] == size) return;
  assert(ch->n_sizes < GRID_MAX);
  memmove(&ch->size[at + 1], &ch->size[at], (ch->n_sizes - at) * sizeof ch->size[0]);
  ch->size[at] = size;
  ch->n_sizes++;
}

static void make_grid(struct chooser *ch) {
  const struct plan_wish *w = &ch->all.wish;
  add_size(ch, 0);
  for (uint64_t size = GRID_LEAST; size <= GRID_MOST; size *= 2) add_size(ch, size);
  for (uint32_t i = 0; i < w->n; i++) add_size(ch, w->range[i].from_bytes);
  for (uint32_t g = 0, range = 0; g < ch->n_sizes; g++) {
    while (range + 1 < w->n && w->range[range + 1].from_bytes <= ch->size[g]) range++;
    ch->classes[g] = w->range[range].classes;
  }
}

static struct cost_setting setting_of(const struct chooser *ch, uint32_t c) {
  return (struct cost_setting){.lanes = ch->all.lanes, .window = ch->window[c], .chunk_bytes = ch->chunk_bytes};
}

static double seconds(const struct chooser *ch, uint32_t c, unsigned kind, uint64_t bytes) {
  struct cost_setting s = setting_of(ch, c);
  return cost_predict(&ch->all.c[c].profile[kind], &s, bytes).seconds;
}

/* Within one host the constants say less than the machine's caches do: what is known to be good there, the star where there are servers and
 * direct where there are none, is left only for what is predicted to be much faster. */
static double handicap(const struct chooser *ch, const struct candidate *k) {
  unsigned usual = ch->all.f.servers != 0 ? PLAN_STAR : PLAN_DIRECT;
  return ch->all.one_host && k->class != usual ? log(ONE_HOST_TRUST) : 0;
}

/* Blocks so large that a rank would hold more than BLOCKS_MOST of them do not come up. */
static double matters(const struct chooser *ch, const struct cost_profile *p, uint32_t g) {
  return (double)p->blocks * (double)ch->size[g] <= BLOCKS_MOST ? 1 : 0.02;
}

/* The window that a candidate has where others of the plan want `least`: its own, but a ring takes that too. 0: it does not fit. */
static uint32_t window_of(const struct chooser *ch, const struct candidate *k, uint32_t least, uint32_t most) {
  uint32_t own = k->built ? candidate_window(&ch->all, k, ch->chunk_bytes) : 0;
  if (own != 0 && own < least && candidate_gains(k)) own = window_fitting(&ch->all, k->children, ch->chunk_bytes, least);
  return MIN_OF(own, most);
}

/* Windows and times of all candidates with this chunk and windows from `window_least` to `window_most`, as far as they fit. */
static void set_chunk(struct chooser *ch, uint32_t chunk_bytes, uint32_t window_least, uint32_t window_most) {
  ch->chunk_bytes = chunk_bytes;
  ch->window_most = window_most;
  for (uint32_t c = 0; c < ch->all.n; c++) {
    const struct candidate *k = &ch->all.c[c];
    ch->window[c] = window_of(ch, k, window_least, window_most);
    ch->usable[c] = ch->window[c] != 0;
    for (unsigned kind = 0; ch->usable[c] && kind < OP_KIND_COUNT; kind++) {
      for (uint32_t g = 0; g < ch->n_sizes; g++) {
        double t = log(seconds(ch, c, kind, ch->size[g]) + 1e-9) + handicap(ch, k);
        ch->logs[c][kind][g] = t * matters(ch, &k->profile[kind], g);
      }
    }
  }
}

/* ---- the best way along the grid ---------------------------------------------------------------------------------------------------- */

static int goes(const struct chooser *ch, uint32_t c, uint32_t g, uint8_t family) {
  const struct candidate *k = &ch->all.c[c];
  return ch->usable[c] && (k->class & ch->classes[g]) && (k->family == FAMILY_NONE || k->family == family);
}

/* One kind. Returns the sum, infinite where some size has no candidate. */
static double best_way(const struct chooser *ch, unsigned kind, uint8_t family, double change, uint32_t *pick) {
  static const double far = INFINITY;
  double cost[2][CANDIDATES_MAX] = {{0}};
  uint8_t from[GRID_MAX][CANDIDATES_MAX];
  uint32_t n = ch->all.n, best = 0;
  for (uint32_t g = 0; g < ch->n_sizes; g++) {
    double *now = cost[g % 2], *before = cost[(g + 1) % 2];
    uint32_t cheapest = best; /* of those before */
    best = 0;
    for (uint32_t c = 0; c < n; c++) {
      double stay = g == 0 ? 0 : before[c], move = g == 0 ? 0 : before[cheapest] + change;
      from[g][c] = (uint8_t)(stay <= move ? c : cheapest);
      now[c] = goes(ch, c, g, family) ? MIN_OF(stay, move) + ch->logs[c][kind][g] : far;
      if (now[c] < now[best]) best = c;
    }
  }
  double sum = cost[(ch->n_sizes - 1) % 2][best];
  for (uint32_t g = ch->n_sizes; g-- > 0; best = from[g][best]) pick[g] = best;
  return sum;
}

static uint32_t changes(const struct chooser *ch, const uint32_t *pick) {
  uint32_t n = 0;
  for (uint32_t g = 1; g < ch->n_sizes; g++) n += pick[g] != pick[g - 1];
  return n;
}

/* All kinds; changes cost more where there would be too many. */
static double best_ways(const struct chooser *ch, uint8_t family, struct choice *choice) {
  double score = 0;
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) {
    double change = log1p(ch->all.cost.margin), sum;
    do {
      sum = best_way(ch, kind, family, change, choice->pick[kind]);
      if (isinf(sum)) return sum;
      change = 2 * change + 1e-6;
    } while (changes(ch, choice->pick[kind]) >= PLAN_RULES_MAX);
    score += weight[kind] * sum;
  }
  return score;
}

static uint32_t used_forests(const struct chooser *ch, const struct choice *choice, uint8_t *used) {
  uint32_t n = 0;
  memset(used, 0, CANDIDATES_MAX);
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) {
    for (uint32_t g = 0; g < ch->n_sizes; g++) used[choice->pick[kind][g]] = 1;
  }
  for (uint32_t c = 0; c < ch->all.n; c++) n += used[c];
  return n;
}

/* The used candidate without which the sum grows least; NONE: none can be missed. */
static uint32_t least_useful(struct chooser *ch, uint8_t family, const uint8_t *used) {
  struct choice without;
  double least = INFINITY;
  uint32_t found = NONE;
  for (uint32_t c = 0; c < ch->all.n; c++) {
    if (!used[c]) continue;
    ch->usable[c] = 0;
    double score = best_ways(ch, family, &without);
    ch->usable[c] = 1;
    if (score >= least) continue;
    least = score;
    found = c;
  }
  return found;
}

/* What the used candidates together leave: the largest window that fits (0: none), which of them needs most, and the widest window wanted.
 */
struct fit {
  uint32_t window, widest, greediest;
};

static int fit_together(const struct chooser *ch, const uint8_t *used, struct fit *fit, agg_error_t *err) {
  const struct forest *forests[CANDIDATES_MAX];
  uint32_t n = 0;
  *fit = (struct fit){.greediest = NONE};
  for (uint32_t c = 0; c < ch->all.n; c++) {
    if (!used[c]) continue;
    forests[n++] = &ch->all.c[c].forest;
    fit->widest = MAX_OF(fit->widest, ch->window[c]);
    if (fit->greediest == NONE || ch->all.c[c].children > ch->all.c[fit->greediest].children) fit->greediest = c;
  }
  int rc = window_together(&ch->all, forests, n, ch->chunk_bytes, fit->widest, &fit->window, err);
  if (rc != AGG_OK) return rc;
  if (ch->all.request->window != 0 && fit->window != ch->all.request->window) fit->window = 0;
  return AGG_OK;
}

/* The best ways of a family with at most so many forests, by leaving out the least useful. */
static uint32_t best_few(struct chooser *ch, uint8_t family, struct choice *choice, uint8_t *used) {
  for (;;) {
    choice->score = best_ways(ch, family, choice);
    if (isinf(choice->score)) return 0;
    uint32_t n = used_forests(ch, choice, used), least = n > PLAN_FORESTS_MAX ? least_useful(ch, family, used) : NONE;
    if (least == NONE) {
      if (n > PLAN_FORESTS_MAX) choice->score = INFINITY; /* every one is needed somewhere */
      return n;
    }
    ch->usable[least] = 0;
  }
}

/* The same with smaller windows for all, as small as it takes. Leaves `ch` set to the last of them. */
static int choose_narrow(struct chooser *ch, uint8_t family, uint32_t window, const uint8_t *dropped, struct choice *choice,
                         agg_error_t *err) {
  uint8_t used[CANDIDATES_MAX];
  while (window != 0) {
    struct fit fit;
    set_chunk(ch, ch->chunk_bytes, 0, window);
    for (uint32_t c = 0; c < ch->all.n; c++) ch->usable[c] &= !dropped[c];
    if (best_few(ch, family, choice, used) == 0 || isinf(choice->score)) return AGG_OK;
    int rc = fit_together(ch, used, &fit, err);
    if (rc != AGG_OK) return rc;
    choice->window = fit.widest;
    if (fit.window >= fit.widest) return AGG_OK;
    window = fit.window;
  }
  choice->score = INFINITY;
  return AGG_OK;
}

/* The plan's window is the widest that one of its forests wants, and with it a ring may be better than was thought: once more with it. */
static int choose_again(struct chooser *ch, uint8_t family, const uint8_t *dropped, struct choice *choice, agg_error_t *err) {
  uint8_t used[CANDIDATES_MAX];
  struct choice again = *choice;
  struct fit fit;
  set_chunk(ch, choice->chunk_bytes, choice->window, choice->window);
  for (uint32_t c = 0; c < ch->all.n; c++) ch->usable[c] &= !dropped[c];
  if (best_few(ch, family, &again, used) == 0 || isinf(again.score)) return AGG_OK;
  int rc = fit_together(ch, used, &fit, err);
  again.window = fit.widest;
  if (rc == AGG_OK && fit.window >= fit.widest) *choice = again;
  return rc;
}

/*
 * The best of a family with one chunk size. Where the windows do not fit together, there are two ways out, and the better is taken: smaller
 * windows for all, or no more of the candidate that needs most. score: infinite where nothing can be.
 */
static int choose_family(struct chooser *ch, uint8_t family, uint32_t chunk_bytes, struct choice *best, agg_error_t *err) {
  uint8_t dropped[CANDIDATES_MAX] = {0}, used[CANDIDATES_MAX];
  best->score = INFINITY;
  for (;;) {
    struct choice choice = {.family = family, .chunk_bytes = chunk_bytes}, narrow = choice;
    struct fit fit;
    set_chunk(ch, chunk_bytes, 0, PLAN_WINDOW_MAX);
    for (uint32_t c = 0; c < ch->all.n; c++) ch->usable[c] &= !dropped[c];
    if (best_few(ch, family, &choice, used) == 0 || choice.score >= best->score) return AGG_OK;
    int rc = fit_together(ch, used, &fit, err);
    if (rc != AGG_OK) return rc;
    choice.window = fit.widest;
    if (fit.window >= fit.widest) {
      *best = choice;
      return choose_again(ch, family, dropped, best, err);
    }
    narrow.score = INFINITY;
    rc = choose_narrow(ch, family, fit.window, dropped, &narrow, err);
    if (rc != AGG_OK) return rc;
    if (narrow.score < best->score) {
      *best = narrow;
      rc = choose_again(ch, family, dropped, best, err);
      if (rc != AGG_OK) return rc;
    }
    dropped[fit.greediest] = 1;
  }
}

/* ---- settings ----------------------------------------------------------------------------------------------------------------------- */

static uint32_t fitting_count(const struct chooser *ch, uint32_t chunk_bytes) {
  uint32_t n = 0;
  for (uint32_t c = 0; c < ch->all.n; c++) n += ch->all.c[c].built && candidate_window(&ch->all, &ch->all.c[c], chunk_bytes) != 0;
  return n;
}

static uint32_t built_count(const struct chooser *ch) {
  uint32_t n = 0;
  for (uint32_t c = 0; c < ch->all.n; c++) n += ch->all.c[c].built;
  return n;
}

/* Every family with every chunk that lets more candidates fit than a larger one. */
static int choose(struct chooser *ch, struct choice *best, agg_error_t *err) {
  uint32_t fitted = 0, chunk = ch->all.chunk_bytes;
  best->score = INFINITY;
  for (;;) {
    uint32_t fits = fitting_count(ch, chunk);
    for (uint8_t family = FAMILY_STAR; fits > fitted && family < FAMILY_COUNT; family++) {
      struct choice choice;
      int rc = choose_family(ch, family, chunk, &choice, err);
      if (rc != AGG_OK) return rc;
      if (choice.score < best->score) *best = choice;
    }
    fitted = MAX_OF(fitted, fits);
    if (fitted == built_count(ch) || ch->all.request->chunk_bytes != 0 || chunk / 2 < CHUNK_LEAST) return AGG_OK;
    chunk /= 2;
  }
}

/* ---- the plan ----------------------------------------------------------------------------------------------------------------------- */

/* The size from which on b is to follow a: between two sizes of the grid where they are equally fast, rounded to few digits. */
static uint64_t crossing(const struct chooser *ch, unsigned kind, uint32_t a, uint32_t b, uint64_t lo, uint64_t most) {
  uint64_t hi = most;
  while (hi - lo > 1) {
    uint64_t mid = lo + (hi - lo) / 2;
    if (seconds(ch, b, kind, mid) <= seconds(ch, a, kind, mid))
      hi = mid;
    else
      lo = mid;
  }
  uint64_t unit = 1;
  while (hi / unit >= 32) unit *= 2;
  return MIN_OF(round_up_u64(hi, unit), most);
}

static void make_table(const struct chooser *ch, const struct choice *choice, unsigned kind, const uint32_t *forest_of,
                       struct plan_table *table) {
  const uint32_t *pick = choice->pick[kind];
  for (uint32_t g = 0; g < ch->n_sizes; g++) {
    if (g > 0 && pick[g] == pick[g - 1]) continue;
    int bound = g == 0 || !goes(ch, pick[g], g - 1, choice->family) || !goes(ch, pick[g - 1], g, choice->family);
    uint64_t from = bound ? ch->size[g] : crossing(ch, kind, pick[g - 1], pick[g], ch->size[g - 1], ch->size[g]);
    if (table->n > 0) from = MAX_OF(from, table->rule[table->n - 1].from_bytes + 1);
    table->rule[table->n++] = (struct plan_rule){.from_bytes = from, .forest = forest_of[pick[g]]};
  }
}

/* What several hosts have under way to one port meets in its queue, so between hosts a forest takes no wider window than it wants itself,
 * though another of the plan may want one. */
static uint32_t own_window(const struct chooser *ch, uint32_t c) {
  return ch->all.one_host || candidate_gains(&ch->all.c[c]) ? 0 : ch->window[c];
}

/* Hands the chosen forests to the plan. */
static void make_plan(struct chooser *ch, const struct choice *choice, struct plan *plan) {
  uint8_t used[CANDIDATES_MAX];
  uint32_t forest_of[CANDIDATES_MAX] = {0};
  used_forests(ch, choice, used);
  set_chunk(ch, choice->chunk_bytes, choice->window, choice->window);
  *plan = (struct plan){.workers = ch->all.f.workers, .servers = ch->all.f.servers};
  plan->lanes = ch->all.lanes;
  plan->window = choice->window;
  plan->chunk_bytes = choice->chunk_bytes;
  for (uint32_t c = 0; c < ch->all.n; c++) {
    if (!used[c]) continue;
    forest_of[c] = plan->n_forests;
    plan->forest_window[plan->n_forests] = own_window(ch, c);
    plan->forest[plan->n_forests++] = ch->all.c[c].forest;
  }
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) make_table(ch, choice, kind, forest_of, &plan->table[kind]);
  for (uint32_t c = 0; c < ch->all.n; c++) {
    if (used[c]) ch->all.c[c].built = 0;
  }
  plan->map = ch->all.map;
  ch->all.map = NULL;
}

/* Nothing can be: the reason of the first candidate that was asked for. */
static const char *cure(const struct candidate *c) {
  switch ((enum limited)c->limited) {
    case LIMITED_MEMORY:
      return ": raise AGG_MEMORY_LIMIT there (a server: --memory-limit), or lower AGG_CHUNK, AGG_WINDOW or AGG_LANES";
    case LIMITED_CONNECTIONS:
      return ": raise it (AGG_COST=connections=N), or take ring or tree (AGG_PLAN)";
    default:
      return "";
  }
}

static int nothing(const struct chooser *ch, agg_error_t *err) {
  char name[96];
  for (uint32_t g = 0; g < ch->n_sizes; g++) {
    const struct candidate *first = NULL;
    int some = 0;
    for (uint32_t c = 0; c < ch->all.n; c++) {
      const struct candidate *k = &ch->all.c[c];
      if (!(k->class & ch->classes[g])) continue;
      some |= k->built;
      if (first == NULL && k->why[0] != '\0') first = k;
    }
    if (!some && first != NULL)
      return err_set(err, first->limited ? AGG_ELIMIT : AGG_EINVAL, "plan \"%s\" cannot be from %llu bytes on: %s: %s%s",
                     plan_class_name(ch->classes[g]), (unsigned long long)ch->size[g], candidate_name(first, name, sizeof name), first->why,
                     cure(first));
  }
  return err_set(
      err, AGG_EINVAL,
      "no plan fits the limits: the windows of %u chunks of up to %u bytes on %u lanes need more memory than the nodes may hold, or "
      "the ranges of AGG_PLAN ask for shapes that cannot share a server: take smaller ones, or auto",
      ch->all.request->window, ch->all.chunk_bytes, ch->all.lanes);
}

int plan_make(const struct plan_request *request, struct plan *plan, agg_error_t *err) {
  struct chooser *ch = calloc(1, sizeof *ch); /* too large for a thread's stack */
  struct choice best;
  if (ch == NULL) return err_set(err, AGG_ENOMEM, "planner: no memory");
  int rc = candidates_make(&ch->all, request, err);
  if (rc == AGG_OK) {
    make_grid(ch);
    rc = choose(ch, &best, err);
    if (rc == AGG_OK && isinf(best.score)) rc = nothing(ch, err);
    if (rc == AGG_OK) make_plan(ch, &best, plan);
    candidates_fini(&ch->all);
  }
  free(ch);
  return rc;
}
