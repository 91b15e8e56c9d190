/* Chunks: every element of every rank's output comes from exactly one chunk, every place lies inside its buffer, impossible counts are
 * refused. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "engine/chunk.h"

#define ROUNDS 300

static struct forest draw_forest(struct rng *r) {
  struct forest f;
  unsigned kind = (unsigned)rng_below(r, FOREST_KIND_COUNT);
  ck_assert_int_eq(forest_init(&f, kind, 1 + (uint32_t)rng_below(r, 9), 1 + (uint32_t)rng_below(r, 4), NULL), AGG_OK);
  return f;
}

static struct op_desc draw_op(struct rng *r, const struct forest *f) {
  struct op_desc d = {.kind = (uint8_t)rng_below(r, OP_KIND_COUNT), .dtype = (uint8_t)rng_below(r, AGG_DTYPE_COUNT)};
  if (d.kind == OP_REDUCE || d.kind == OP_BROADCAST || d.kind == OP_GATHER || d.kind == OP_SCATTER)
    d.root = (uint32_t)rng_below(r, f->workers);
  if (d.kind != OP_BARRIER) d.count = rng_below(r, rng_below(r, 2) ? 40 : 1500);
  return d;
}

static void draw_layout(struct rng *r, struct forest *f, struct op_layout *l, uint32_t *max_chunk) {
  *f = draw_forest(r);
  struct op_desc d = draw_op(r, f);
  *max_chunk = 64 * (1 + (uint32_t)rng_below(r, 100));
  ck_assert_int_eq(op_layout_init(l, &d, f, 1 + (uint32_t)rng_below(r, 4), *max_chunk, NULL), AGG_OK);
}

/* ---- covering ------------------------------------------------------------------------------------------------------------ */

static void check_rank(const struct op_layout *l, const struct forest *f, uint32_t rank) {
  uint64_t recv = op_recv_bytes(l, rank), send = op_send_bytes(l, rank);
  unsigned char *outputs = calloc(recv + 1, 1), *inputs = calloc(send + 1, 1);
  for (uint64_t c = 0; c < l->chunks; c++) {
    struct chunk_place p;
    chunk_place(l, f, c, &p);
    struct chunk_span s = chunk_span(l, c);
    if (p.receiver == FOREST_NONE || p.receiver == rank) {
      ck_assert_msg(s.recv_off + p.bytes <= recv || p.bytes == 0, "chunk %llu leaves the output", (unsigned long long)c);
      for (uint32_t b = 0; b < p.bytes; b++) outputs[s.recv_off + b]++;
    }
    if (p.contributor == FOREST_NONE || p.contributor == rank) {
      ck_assert_msg(s.send_off + p.bytes <= send || p.bytes == 0, "chunk %llu leaves the input", (unsigned long long)c);
      for (uint32_t b = 0; b < p.bytes; b++) inputs[s.send_off + b]++;
    }
  }
  for (uint64_t b = 0; b < recv; b++) ck_assert_uint_eq(outputs[b], 1);
  for (uint64_t b = 0; b < send; b++) ck_assert_uint_eq(inputs[b], 1);
  free(outputs);
  free(inputs);
}

START_TEST(every_byte_belongs_to_one_chunk) {
  struct rng r = {.state = 1};
  for (int i = 0; i < ROUNDS; i++) {
    struct forest f;
    struct op_layout l;
    uint32_t max_chunk;
    draw_layout(&r, &f, &l, &max_chunk);
    for (uint32_t rank = 0; rank < f.workers; rank++) check_rank(&l, &f, rank);
  }
}
END_TEST

START_TEST(a_chunk_fits_a_slot_and_names_a_tree_of_the_forest) {
  struct rng r = {.state = 2};
  for (int i = 0; i < ROUNDS; i++) {
    struct forest f;
    struct op_layout l;
    uint32_t max_chunk;
    uint64_t bytes = 0;
    draw_layout(&r, &f, &l, &max_chunk);
    for (uint64_t c = 0; c < l.chunks; c++) {
      struct chunk_place p;
      chunk_place(&l, &f, c, &p);
      ck_assert_uint_lt(p.tree, f.trees);
      ck_assert_uint_lt(p.block, l.blocks);
      ck_assert_uint_le(p.bytes, max_chunk);
      ck_assert_uint_eq(p.bytes, p.elems * agg_dtype_size((agg_dtype_t)l.desc.dtype));
      ck_assert(p.contributor == FOREST_NONE || p.contributor < f.workers);
      ck_assert(p.receiver == FOREST_NONE || p.receiver < f.workers);
      bytes += p.bytes;
    }
    ck_assert_uint_eq(bytes, l.desc.count * l.elem_bytes * l.blocks);
    ck_assert_uint_ge(l.chunks, l.blocks);
  }
}
END_TEST

/* With one receiver or one contributor the tree is rooted there, where a tree can be: the shortest way. */
START_TEST(trees_are_rooted_where_the_data_is_wanted) {
  struct forest f;
  struct op_layout l;
  struct chunk_place p;
  ck_assert_int_eq(forest_init(&f, FOREST_DIRECT, 5, 0, NULL), AGG_OK);
  static const uint8_t rooted[] = {OP_REDUCE, OP_BROADCAST, OP_GATHER, OP_SCATTER};
  for (unsigned k = 0; k < ARRAY_LEN(rooted); k++) {
    struct op_desc d = {.kind = rooted[k], .dtype = AGG_F32, .count = 100, .root = 3};
    ck_assert_int_eq(op_layout_init(&l, &d, &f, 2, 64, NULL), AGG_OK);
    for (uint64_t c = 0; c < l.chunks; c++) {
      chunk_place(&l, &f, c, &p);
      ck_assert_uint_eq(forest_root(&f, p.tree), 3);
    }
  }
  struct op_desc d = {.kind = OP_REDUCE_SCATTER, .dtype = AGG_F32, .count = 100};
  ck_assert_int_eq(op_layout_init(&l, &d, &f, 2, 64, NULL), AGG_OK);
  for (uint64_t c = 0; c < l.chunks; c++) {
    chunk_place(&l, &f, c, &p);
    ck_assert_uint_eq(forest_root(&f, p.tree), p.block);
    ck_assert_uint_eq(p.receiver, p.block);
  }
}
END_TEST

START_TEST(a_large_allreduce_uses_all_trees_and_lanes_alike) {
  static const unsigned kinds[] = {FOREST_STAR, FOREST_DIRECT, FOREST_RING};
  for (unsigned k = 0; k < ARRAY_LEN(kinds); k++)
    for (uint32_t lanes = 1; lanes <= 6; lanes++) {
      struct forest f;
      struct op_layout l;
      uint64_t bytes[8][6] = {{0}};
      ck_assert_int_eq(forest_init(&f, kinds[k], 4, kinds[k] == FOREST_STAR ? 4 : 0, NULL), AGG_OK);
      struct op_desc d = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .count = 1 << 20};
      ck_assert_int_eq(op_layout_init(&l, &d, &f, lanes, 4096, NULL), AGG_OK);
      for (uint64_t c = 0; c < l.chunks; c++) {
        struct chunk_place p;
        chunk_place(&l, &f, c, &p);
        bytes[p.tree][c % lanes] += p.bytes;
      }
      for (uint32_t t = 0; t < f.trees; t++)
        for (uint32_t lane = 0; lane < lanes; lane++) {
          uint64_t fair = d.count * 4 / f.trees / lanes;
          ck_assert_msg(bytes[t][lane] > fair * 9 / 10 && bytes[t][lane] < fair * 11 / 10, "tree %u lane %u moves %llu bytes of %llu", t,
                        lane, (unsigned long long)bytes[t][lane], (unsigned long long)fair);
        }
    }
}
END_TEST

/* Chunks shrink from the size that is allowed to half of it so that 32 go one after the other on every tree and lane. */
START_TEST(mid_sizes_are_cut_finer_so_that_links_do_not_stand_idle) {
  static const struct {
    unsigned kind;
    uint32_t max_chunk;
    uint64_t bytes;
    uint64_t chunk;
  } cases[] = {
      {FOREST_RING, 256 << 10, 64 << 20, 256 << 10},   {FOREST_RING, 256 << 10, 48 << 20, 192 << 10},
      {FOREST_RING, 256 << 10, 16 << 20, 128 << 10},   {FOREST_DIRECT, 256 << 10, 4 << 20, 128 << 10},
      {FOREST_DIRECT, 256 << 10, 1 << 20, 128 << 10},  {FOREST_DIRECT, 256 << 10, 512 << 10, 64 << 10},
      {FOREST_STAR, 256 << 10, 16 << 20, 256 << 10},   {FOREST_STAR, 256 << 10, 8 << 20, 128 << 10},
      {FOREST_DIRECT, 128 << 10, 16 << 20, 128 << 10}, {FOREST_RING, 64 << 10, 1 << 20, 64 << 10},
      {FOREST_RING, 1 << 20, 16 << 20, 512 << 10},     {FOREST_RING, 192 << 10, 16 << 20, 128 << 10},
  };
  for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
    struct forest f;
    struct op_layout l;
    ck_assert_int_eq(forest_init(&f, cases[i].kind, 4, cases[i].kind == FOREST_STAR ? 1 : 0, NULL), AGG_OK);
    struct op_desc d = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .count = cases[i].bytes / 4};
    ck_assert_int_eq(op_layout_init(&l, &d, &f, 2, cases[i].max_chunk, NULL), AGG_OK);
    ck_assert_msg(l.chunk_elems * 4 == cases[i].chunk, "case %u: chunks of %llu bytes, expected %llu", i,
                  (unsigned long long)l.chunk_elems * 4, (unsigned long long)cases[i].chunk);
  }
}
END_TEST

/* As many messages as it takes to keep every tree's root at work, however many lanes there are. */
START_TEST(a_small_allreduce_is_one_chunk_a_tree) {
  static const unsigned kinds[] = {FOREST_STAR, FOREST_DIRECT, FOREST_RING};
  for (unsigned k = 0; k < ARRAY_LEN(kinds); k++)
    for (uint32_t lanes = 1; lanes <= 6; lanes++) {
      struct forest f;
      struct op_layout l;
      unsigned seen = 0;
      ck_assert_int_eq(forest_init(&f, kinds[k], 4, kinds[k] == FOREST_STAR ? 4 : 0, NULL), AGG_OK);
      struct op_desc d = {.kind = OP_ALLREDUCE, .dtype = AGG_F32, .count = 8192};
      ck_assert_int_eq(op_layout_init(&l, &d, &f, lanes, 1u << 18, NULL), AGG_OK);
      ck_assert_uint_eq(l.chunks, f.trees);
      for (uint64_t c = 0; c < l.chunks; c++) {
        struct chunk_place p;
        chunk_place(&l, &f, c, &p);
        ck_assert_uint_eq(p.bytes, 8192);
        seen |= 1u << p.tree;
      }
      ck_assert_uint_eq(seen, 15);
    }
}
END_TEST

/* ---- edges ---------------------------------------------------------------------------------------------------------------- */

START_TEST(no_elements_are_one_empty_chunk_a_block) {
  struct forest f;
  ck_assert_int_eq(forest_init(&f, FOREST_RING, 6, 0, NULL), AGG_OK);
  for (unsigned kind = 0; kind < OP_KIND_COUNT; kind++) {
    struct op_desc d = {.kind = (uint8_t)kind, .dtype = AGG_F64, .root = 2};
    struct op_layout l;
    struct chunk_place p;
    ck_assert_int_eq(op_layout_init(&l, &d, &f, 3, 1024, NULL), AGG_OK);
    ck_assert_uint_eq(l.chunks, l.blocks);
    chunk_place(&l, &f, l.chunks - 1, &p);
    ck_assert_uint_eq(p.bytes, 0);
    for (uint32_t rank = 0; rank < 6; rank++) ck_assert_uint_eq(op_send_bytes(&l, rank) + op_recv_bytes(&l, rank), 0);
  }
}
END_TEST

START_TEST(counts_that_overflow_are_refused) {
  struct forest f;
  struct op_layout l;
  agg_error_t err = {0};
  ck_assert_int_eq(forest_init(&f, FOREST_DIRECT, 4, 0, NULL), AGG_OK);
  struct op_desc d = {.kind = OP_ALLREDUCE, .dtype = AGG_F64};
  static const uint64_t too_many[] = {UINT64_MAX, 1ull << 63, 1ull << 60, (1ull << 60) - 1};
  for (unsigned i = 0; i < ARRAY_LEN(too_many); i++) {
    d.count = too_many[i];
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(op_layout_init(&l, &d, &f, 1, 4096, &err), AGG_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "count"));
  }
  d = (struct op_desc){.kind = OP_ALLGATHER, .dtype = AGG_U8, .count = 1ull << 61}; /* four blocks of it are 2^63 */
  ck_assert_int_eq(op_layout_init(&l, &d, &f, 1, 1u << 24, &err), AGG_EINVAL);
  d = (struct op_desc){.kind = OP_ALLREDUCE, .dtype = AGG_U8, .count = 1ull << 39}; /* 2^33 chunks of 64 bytes */
  ck_assert_int_eq(op_layout_init(&l, &d, &f, 1, 64, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, "chunk"));
  d.count = 1ull << 36;
  ck_assert_int_eq(op_layout_init(&l, &d, &f, 1, 64, &err), AGG_OK);
}
END_TEST

START_TEST(beyond_4_gib_offsets_are_whole) {
  struct forest f;
  struct op_layout l;
  struct chunk_place p;
  ck_assert_int_eq(forest_init(&f, FOREST_STAR, 3, 2, NULL), AGG_OK);
  struct op_desc d = {.kind = OP_ALLGATHER, .dtype = AGG_F32, .count = 3ull << 30};
  ck_assert_int_eq(op_layout_init(&l, &d, &f, 2, 1u << 20, NULL), AGG_OK);
  chunk_place(&l, &f, l.chunks - 1, &p);
  struct chunk_span s = chunk_span(&l, l.chunks - 1);
  ck_assert_uint_eq(s.recv_off + p.bytes, 3 * d.count * 4);
  ck_assert_uint_eq(s.send_off + p.bytes, d.count * 4);
  ck_assert_uint_eq(op_recv_bytes(&l, 1), 36ull << 30);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *suite = suite_create("engine/chunk");
  TCase *tc = tcase_create("chunk");
  tcase_set_timeout(tc, 300);
  tcase_add_test(tc, every_byte_belongs_to_one_chunk);
  tcase_add_test(tc, a_chunk_fits_a_slot_and_names_a_tree_of_the_forest);
  tcase_add_test(tc, trees_are_rooted_where_the_data_is_wanted);
  tcase_add_test(tc, a_large_allreduce_uses_all_trees_and_lanes_alike);
  tcase_add_test(tc, mid_sizes_are_cut_finer_so_that_links_do_not_stand_idle);
  tcase_add_test(tc, a_small_allreduce_is_one_chunk_a_tree);
  tcase_add_test(tc, no_elements_are_one_empty_chunk_a_block);
  tcase_add_test(tc, counts_that_overflow_are_refused);
  tcase_add_test(tc, beyond_4_gib_offsets_are_whole);
  suite_add_tcase(suite, tc);
  return suite;
}
