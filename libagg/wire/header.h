/*
 * The data plane's only header: 64 bytes, little-endian, in front of the payload in a slot, on the way up. On the way down there is
 * none: the notice says the slot. See docs/wire.md for the box diagram. Everything that comes from outside is checked here.
 */
#ifndef WIRE_HEADER_H
#define WIRE_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "agg.h"

#define WIRE_VERSION 1u
#define WIRE_HEADER_BYTES 64u
#define WIRE_FORESTS_MAX 8u /* op_desc.forest is less; the planner offers no more */

enum op_kind {
  OP_ALLREDUCE = 0,
  OP_REDUCE,
  OP_BROADCAST,
  OP_REDUCE_SCATTER,
  OP_ALLGATHER,
  OP_GATHER,
  OP_SCATTER,
  OP_BARRIER,
  OP_KIND_COUNT
};

enum wire_flags {
  WIRE_IN_PLACE = 1 /* the payload is not in the slot: it is read at `payload_at` in the child's memory */
};
#define WIRE_FLAGS_ALL 1u

/* What one rank asked for: equal on all ranks, or it is a mismatch. */
struct op_desc {
  uint64_t count; /* elements, as the caller gave it */
  uint32_t root;  /* 0 where the operation has none */
  uint8_t kind, dtype, redop, forest;
};

struct wire_header {
  uint32_t comm; /* communicator within the job */
  uint16_t epoch;
  uint32_t op;       /* sequence number of the operation in its priority, from 0, wraps */
  uint32_t chunk;    /* within the operation */
  uint32_t edge_seq; /* of this edge; slot = edge_seq mod window; begins again at (floor((2^32 - 1) / window) - 1) * window */
  uint8_t flags;
  struct op_desc desc;
  uint32_t payload; /* bytes that follow, or stand at payload_at */
  uint32_t result_key;
  uint64_t result_off; /* where the result is to be put (key 0: nowhere, no payload comes down) */
  uint32_t payload_key;
  uint64_t payload_off; /* WIRE_IN_PLACE */
};

/* The encoded form; every field at its natural alignment. */
struct wire_header_le {
  uint32_t comm;
  uint32_t op;
  uint32_t chunk;
  uint32_t edge_seq;
  uint64_t count;
  uint32_t root;
  uint32_t payload;
  uint64_t result_off;
  uint64_t payload_off;
  uint32_t result_key;
  uint32_t payload_key;
  uint16_t epoch;
  uint8_t flags;
  uint8_t kind;
  uint8_t dtype;
  uint8_t redop;
  uint8_t forest;
  uint8_t version;
};
_Static_assert(sizeof(struct wire_header_le) == WIRE_HEADER_BYTES, "the header is 64 bytes");
_Static_assert(offsetof(struct wire_header_le, count) == 16, "layout");
_Static_assert(offsetof(struct wire_header_le, epoch) == 56, "layout");

void wire_header_encode(const struct wire_header *h, void *out64);

/* Decodes and bounds every enum and length: 0, or AGG_EPROTO / AGG_EVERSION with a text. max_payload: what fits a slot. */
int wire_header_decode(const void *in64, uint32_t max_payload, struct wire_header *h, agg_error_t *err);

/* Notices: 30 bits of slot, the top bit says the direction, the next that the result was written through mapped memory (no bytes in the
 * put). */
#define WIRE_NOTICE_DOWN 0x80000000u
#define WIRE_NOTICE_MAPPED 0x40000000u
static inline uint32_t wire_notice_up(uint32_t slot) { return slot; }
static inline uint32_t wire_notice_down(uint32_t slot) { return slot | WIRE_NOTICE_DOWN; }
static inline uint32_t wire_notice_slot(uint32_t notice) { return notice & ~(WIRE_NOTICE_DOWN | WIRE_NOTICE_MAPPED); }

const char *op_kind_name(unsigned kind);

/* "allreduce of 1000 f32, sum"; "broadcast of 8 i32 from rank 2". Returns buf. */
const char *op_desc_format(const struct op_desc *desc, char *buf, size_t cap);
int op_desc_equal(const struct op_desc *a, const struct op_desc *b);

#endif
