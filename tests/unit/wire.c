/* The data plane's header: its bytes, and what is refused. */
#include <check.h>
#include <string.h>

#include "base/util.h"
#include "wire/header.h"

#define MAX_PAYLOAD 65536u

static struct wire_header sample(void) {
  return (struct wire_header){
      .comm = 0x01020304,
      .epoch = 0x0506,
      .op = 0x0708090a,
      .chunk = 0x0b0c0d0e,
      .edge_seq = 0x0f101112,
      .flags = WIRE_IN_PLACE,
      .desc = {.count = 0x131415161718191aull, .root = 0x1b1c1d1e, .kind = OP_REDUCE, .dtype = AGG_BF16, .redop = AGG_MAX, .forest = 3},
      .payload = 0x1234,
      .result_key = 0x21222324,
      .result_off = 0x25262728292a2b2cull,
      .payload_key = 0x2d2e2f30,
      .payload_off = 0x3132333435363738ull,
  };
}

static void assert_equal(const struct wire_header *a, const struct wire_header *b) {
  ck_assert_uint_eq(a->comm, b->comm);
  ck_assert_uint_eq(a->epoch, b->epoch);
  ck_assert_uint_eq(a->op, b->op);
  ck_assert_uint_eq(a->chunk, b->chunk);
  ck_assert_uint_eq(a->edge_seq, b->edge_seq);
  ck_assert_uint_eq(a->flags, b->flags);
  ck_assert(op_desc_equal(&a->desc, &b->desc));
  ck_assert_uint_eq(a->payload, b->payload);
  ck_assert_uint_eq(a->result_key, b->result_key);
  ck_assert_uint_eq(a->result_off, b->result_off);
  ck_assert_uint_eq(a->payload_key, b->payload_key);
  ck_assert_uint_eq(a->payload_off, b->payload_off);
}

START_TEST(the_bytes_are_those_of_the_diagram) {
  static const unsigned char golden[WIRE_HEADER_BYTES] = {
      0x04, 0x03, 0x02, 0x01,                         /* comm */
      0x0a, 0x09, 0x08, 0x07,                         /* op */
      0x0e, 0x0d, 0x0c, 0x0b,                         /* chunk */
      0x12, 0x11, 0x10, 0x0f,                         /* edge_seq */
      0x1a, 0x19, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, /* count */
      0x1e, 0x1d, 0x1c, 0x1b,                         /* root */
      0x34, 0x12, 0x00, 0x00,                         /* payload */
      0x2c, 0x2b, 0x2a, 0x29, 0x28, 0x27, 0x26, 0x25, /* result_off */
      0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, /* payload_off */
      0x24, 0x23, 0x22, 0x21,                         /* result_key */
      0x30, 0x2f, 0x2e, 0x2d,                         /* payload_key */
      0x06, 0x05,                                     /* epoch */
      0x01, 0x01, 0x01, 0x04, 0x03, 0x01              /* flags, kind, dtype, redop, forest, version */
  };
  struct wire_header h = sample();
  unsigned char out[WIRE_HEADER_BYTES + 1];
  out[0] = 0x5a;
  wire_header_encode(&h, out + 1); /* nothing asks for alignment */
  ck_assert_mem_eq(out + 1, golden, sizeof golden);
  ck_assert_uint_eq(out[0], 0x5a);
}
END_TEST

START_TEST(what_was_encoded_is_decoded) {
  struct rng r = {.state = 7};
  for (int i = 0; i < 10000; i++) {
    struct wire_header h = sample(), got;
    h.comm = (uint32_t)rng_next(&r);
    h.epoch = (uint16_t)rng_next(&r);
    h.op = (uint32_t)rng_next(&r);
    h.chunk = (uint32_t)rng_next(&r);
    h.edge_seq = (uint32_t)rng_next(&r);
    h.flags = (uint8_t)rng_below(&r, 2);
    h.desc.count = rng_next(&r);
    h.desc.root = (uint32_t)rng_next(&r);
    h.desc.kind = (uint8_t)rng_below(&r, OP_KIND_COUNT);
    h.desc.dtype = (uint8_t)rng_below(&r, AGG_DTYPE_COUNT);
    h.desc.redop = (uint8_t)rng_below(&r, AGG_REDOP_COUNT);
    h.desc.forest = (uint8_t)rng_below(&r, WIRE_FORESTS_MAX);
    h.payload = (uint32_t)rng_below(&r, MAX_PAYLOAD + 1);
    h.payload_key = 1 + (uint32_t)rng_below(&r, UINT32_MAX);
    unsigned char bytes[WIRE_HEADER_BYTES];
    wire_header_encode(&h, bytes);
    ck_assert_int_eq(wire_header_decode(bytes, MAX_PAYLOAD, &got, NULL), 0);
    assert_equal(&h, &got);
  }
}
END_TEST

/* One byte of a good header is changed: what it gets, and the words of the text. */
struct bad {
  size_t at;
  unsigned char value;
  int code;
  const char *words;
};

static const struct bad bads[] = {
    {offsetof(struct wire_header_le, version), 0, AGG_EVERSION, "version 0, expected 1"},
    {offsetof(struct wire_header_le, version), 2, AGG_EVERSION, "version 2, expected 1"},
    {offsetof(struct wire_header_le, version), 255, AGG_EVERSION, "version 255"},
    {offsetof(struct wire_header_le, flags), 2, AGG_EPROTO, "flags 0x02"},
    {offsetof(struct wire_header_le, flags), 0x81, AGG_EPROTO, "flags 0x81"},
    {offsetof(struct wire_header_le, kind), OP_KIND_COUNT, AGG_EPROTO, "operation 8"},
    {offsetof(struct wire_header_le, kind), 255, AGG_EPROTO, "operation 255"},
    {offsetof(struct wire_header_le, dtype), AGG_DTYPE_COUNT, AGG_EPROTO, "data type 10"},
    {offsetof(struct wire_header_le, dtype), 255, AGG_EPROTO, "data type 255"},
    {offsetof(struct wire_header_le, redop), AGG_REDOP_COUNT, AGG_EPROTO, "sum operator 5"},
    {offsetof(struct wire_header_le, redop), 255, AGG_EPROTO, "sum operator 255"},
    {offsetof(struct wire_header_le, forest), WIRE_FORESTS_MAX, AGG_EPROTO, "forest 8"},
    {offsetof(struct wire_header_le, forest), 255, AGG_EPROTO, "forest 255"},
    {offsetof(struct wire_header_le, payload) + 3, 0x80, AGG_EPROTO, "at most 65536"},
    {offsetof(struct wire_header_le, payload) + 2, 0x01, AGG_EPROTO, "payload of 70196 bytes"},
};

START_TEST(a_bad_field_is_refused_by_name) {
  const struct bad *b = &bads[_i];
  struct wire_header h = sample(), got, before;
  unsigned char bytes[WIRE_HEADER_BYTES];
  agg_error_t err = {0};
  memset(&got, 0xa5, sizeof got);
  before = got;
  wire_header_encode(&h, bytes);
  bytes[b->at] = b->value;
  ck_assert_int_eq(wire_header_decode(bytes, MAX_PAYLOAD, &got, &err), b->code);
  ck_assert_int_eq(err.code, b->code);
  ck_assert_ptr_nonnull(strstr(err.text, b->words));
  ck_assert_mem_eq(&got, &before, sizeof got); /* outputs are set only on success */
}
END_TEST

START_TEST(a_version_is_judged_before_anything_else) {
  unsigned char bytes[WIRE_HEADER_BYTES];
  struct wire_header got;
  memset(bytes, 0xff, sizeof bytes);
  ck_assert_int_eq(wire_header_decode(bytes, 0, &got, NULL), AGG_EVERSION);
}
END_TEST

START_TEST(the_payload_may_fill_the_slot_and_no_more) {
  struct wire_header h = sample(), got;
  unsigned char bytes[WIRE_HEADER_BYTES];
  for (uint32_t flags = 0; flags <= WIRE_IN_PLACE; flags++) {
    h.flags = (uint8_t)flags;
    h.payload = 1000;
    wire_header_encode(&h, bytes);
    ck_assert_int_eq(wire_header_decode(bytes, 1000, &got, NULL), 0);
    ck_assert_int_eq(wire_header_decode(bytes, UINT32_MAX, &got, NULL), 0);
    ck_assert_int_eq(wire_header_decode(bytes, 999, &got, NULL), AGG_EPROTO);
    ck_assert_int_eq(wire_header_decode(bytes, 0, &got, NULL), AGG_EPROTO);
    h.payload = 0;
    wire_header_encode(&h, bytes);
    ck_assert_int_eq(wire_header_decode(bytes, 0, &got, NULL), 0);
  }
}
END_TEST

START_TEST(a_payload_in_place_needs_a_key) {
  struct wire_header h = sample(), got;
  unsigned char bytes[WIRE_HEADER_BYTES];
  agg_error_t err = {0};
  h.payload_key = 0;
  wire_header_encode(&h, bytes);
  ck_assert_int_eq(wire_header_decode(bytes, MAX_PAYLOAD, &got, &err), AGG_EPROTO);
  ck_assert_ptr_nonnull(strstr(err.text, "key"));
  h.flags = 0;
  wire_header_encode(&h, bytes);
  ck_assert_int_eq(wire_header_decode(bytes, MAX_PAYLOAD, &got, &err), 0);
}
END_TEST

START_TEST(garbage_never_passes_a_bound) {
  struct rng r = {.state = 1};
  int accepted = 0;
  for (int i = 0; i < 300000; i++) {
    unsigned char bytes[WIRE_HEADER_BYTES];
    struct wire_header h;
    for (size_t j = 0; j < sizeof bytes; j += 8) {
      uint64_t x = rng_next(&r);
      memcpy(bytes + j, &x, 8);
    }
    if (i % 2) { /* near misses: small enums, small payload */
      for (size_t j = offsetof(struct wire_header_le, flags); j < sizeof bytes; j++) bytes[j] &= 7;
      bytes[offsetof(struct wire_header_le, payload) + 2] = bytes[offsetof(struct wire_header_le, payload) + 3] = 0;
      bytes[offsetof(struct wire_header_le, version)] = WIRE_VERSION;
    }
    int rc = wire_header_decode(bytes, MAX_PAYLOAD, &h, NULL);
    if (rc != 0) {
      ck_assert(rc == AGG_EPROTO || rc == AGG_EVERSION);
      continue;
    }
    accepted++;
    ck_assert_uint_lt(h.desc.kind, OP_KIND_COUNT);
    ck_assert_uint_lt(h.desc.dtype, AGG_DTYPE_COUNT);
    ck_assert_uint_lt(h.desc.redop, AGG_REDOP_COUNT);
    ck_assert_uint_lt(h.desc.forest, WIRE_FORESTS_MAX);
    ck_assert_uint_eq(h.flags & ~WIRE_FLAGS_ALL, 0);
    ck_assert_uint_le(h.payload, MAX_PAYLOAD);
    ck_assert(!(h.flags & WIRE_IN_PLACE) || h.payload_key != 0);
  }
  ck_assert_int_gt(accepted, 1000);
}
END_TEST

START_TEST(an_operation_is_described_in_words) {
  static const struct {
    struct op_desc desc;
    const char *text;
  } cases[] = {
      {{.count = 1000, .kind = OP_ALLREDUCE, .dtype = AGG_F32}, "allreduce of 1000 f32, sum"},
      {{.count = 3, .kind = OP_REDUCE_SCATTER, .dtype = AGG_BF16, .redop = AGG_AVG}, "reduce_scatter of 3 bf16, avg"},
      {{.count = 5, .kind = OP_REDUCE, .dtype = AGG_U64, .redop = AGG_MIN, .root = 7}, "reduce of 5 u64, min to rank 7"},
      {{.count = 8, .kind = OP_BROADCAST, .dtype = AGG_I32, .root = 2}, "broadcast of 8 i32 from rank 2"},
      {{.count = 8, .kind = OP_SCATTER, .dtype = AGG_U8, .root = 0}, "scatter of 8 u8 from rank 0"},
      {{.count = 8, .kind = OP_GATHER, .dtype = AGG_I8, .root = 1}, "gather of 8 i8 to rank 1"},
      {{.count = UINT64_MAX, .kind = OP_ALLGATHER, .dtype = AGG_F64}, "allgather of 18446744073709551615 f64"},
      {{.kind = OP_BARRIER}, "barrier"},
      {{.count = 1, .kind = 200, .dtype = 200, .redop = 200}, "? of 1 ?"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    char buf[128], small[8];
    ck_assert_str_eq(op_desc_format(&cases[i].desc, buf, sizeof buf), cases[i].text);
    ck_assert_uint_eq(strlen(op_desc_format(&cases[i].desc, small, sizeof small)), MIN_OF(strlen(cases[i].text), sizeof small - 1));
  }
}
END_TEST

START_TEST(descriptions_differ_when_any_field_does) {
  struct op_desc a = sample().desc;
  struct op_desc other[] = {a, a, a, a, a, a};
  ck_assert(op_desc_equal(&a, &other[0]));
  other[0].count++;
  other[1].root++;
  other[2].kind++;
  other[3].dtype++;
  other[4].redop--;
  other[5].forest--;
  for (size_t i = 0; i < ARRAY_LEN(other); i++) ck_assert(!op_desc_equal(&a, &other[i]));
}
END_TEST

START_TEST(a_notice_keeps_slot_and_direction) {
  static const uint32_t slots[] = {0, 1, 4095, 0x3fffffffu};
  for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
    ck_assert_uint_eq(wire_notice_slot(wire_notice_up(slots[i])), slots[i]);
    ck_assert_uint_eq(wire_notice_slot(wire_notice_down(slots[i])), slots[i]);
    ck_assert_uint_eq(wire_notice_slot(wire_notice_down(slots[i]) | WIRE_NOTICE_MAPPED), slots[i]);
    ck_assert_uint_eq(wire_notice_up(slots[i]) & WIRE_NOTICE_DOWN, 0);
    ck_assert_uint_eq(wire_notice_down(slots[i]) & WIRE_NOTICE_DOWN, WIRE_NOTICE_DOWN);
  }
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("wire");
  TCase *t = tcase_create("header");
  tcase_add_test(t, the_bytes_are_those_of_the_diagram);
  tcase_add_test(t, what_was_encoded_is_decoded);
  tcase_add_loop_test(t, a_bad_field_is_refused_by_name, 0, (int)ARRAY_LEN(bads));
  tcase_add_test(t, a_version_is_judged_before_anything_else);
  tcase_add_test(t, the_payload_may_fill_the_slot_and_no_more);
  tcase_add_test(t, a_payload_in_place_needs_a_key);
  tcase_add_test(t, garbage_never_passes_a_bound);
  tcase_add_test(t, an_operation_is_described_in_words);
  tcase_add_test(t, descriptions_differ_when_any_field_does);
  tcase_add_test(t, a_notice_keeps_slot_and_direction);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
