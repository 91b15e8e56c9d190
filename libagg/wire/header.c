/*
 * Owns the data plane's header: its encoding, and the checks that stand between a peer's bytes and everything that indexes by them.
 * What a header means for the operation at hand (count, chunk, root, slot) is the engine's to check.
 */
#include "header.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

static const char *const kind_names[OP_KIND_COUNT] = {
    [OP_ALLREDUCE] = "allreduce", [OP_REDUCE] = "reduce", [OP_BROADCAST] = "broadcast", [OP_REDUCE_SCATTER] = "reduce_scatter",
    [OP_ALLGATHER] = "allgather", [OP_GATHER] = "gather", [OP_SCATTER] = "scatter",     [OP_BARRIER] = "barrier",
};

void wire_header_encode(const struct wire_header *h, void *out64) {
  struct wire_header_le w = {
      .comm = htole32(h->comm),
      .op = htole32(h->op),
      .chunk = htole32(h->chunk),
      .edge_seq = htole32(h->edge_seq),
      .count = htole64(h->desc.count),
      .root = htole32(h->desc.root),
      .payload = htole32(h->payload),
      .result_off = htole64(h->result_off),
      .payload_off = htole64(h->payload_off),
      .result_key = htole32(h->result_key),
      .payload_key = htole32(h->payload_key),
      .epoch = htole16(h->epoch),
      .flags = h->flags,
      .kind = h->desc.kind,
      .dtype = h->desc.dtype,
      .redop = h->desc.redop,
      .forest = h->desc.forest,
      .version = WIRE_VERSION,
  };
  memcpy(out64, &w, sizeof w);
}

static int check(const struct wire_header_le *w, uint32_t payload, uint32_t max_payload, agg_error_t *err) {
  if (w->version != WIRE_VERSION) {
    return err_set(err, AGG_EVERSION, "data header of version %u, expected %u", (unsigned)w->version, WIRE_VERSION);
  }
  if ((w->flags & ~WIRE_FLAGS_ALL) != 0) return err_set(err, AGG_EPROTO, "data header with unknown flags 0x%02x", (unsigned)w->flags);
  if (w->kind >= OP_KIND_COUNT) return err_set(err, AGG_EPROTO, "data header with unknown operation %u", (unsigned)w->kind);
  if (w->dtype >= AGG_DTYPE_COUNT) return err_set(err, AGG_EPROTO, "data header with unknown data type %u", (unsigned)w->dtype);
  if (w->redop >= AGG_REDOP_COUNT) return err_set(err, AGG_EPROTO, "data header with unknown sum operator %u", (unsigned)w->redop);
  if (w->forest >= WIRE_FORESTS_MAX) {
    return err_set(err, AGG_EPROTO, "data header with forest %u, expected less than %u", (unsigned)w->forest, WIRE_FORESTS_MAX);
  }
  if (payload > max_payload) {
    return err_set(err, AGG_EPROTO, "data header with a payload of %u bytes, at most %u fit a slot", (unsigned)payload,
                   (unsigned)max_payload);
  }
  if ((w->flags & WIRE_IN_PLACE) != 0 && w->payload_key == 0) {
    return err_set(err, AGG_EPROTO, "data header with a payload in place, but no key that says where");
  }
  return 0;
}

int wire_header_decode(const void *in64, uint32_t max_payload, struct wire_header *h, agg_error_t *err) {
  struct wire_header_le w; /* a copy: the peer may still be able to write where the header stands */
  memcpy(&w, in64, sizeof w);
  int rc = check(&w, le32toh(w.payload), max_payload, err);
  if (rc != 0) return rc;
  *h = (struct wire_header){
      .comm = le32toh(w.comm),
      .epoch = le16toh(w.epoch),
      .op = le32toh(w.op),
      .chunk = le32toh(w.chunk),
      .edge_seq = le32toh(w.edge_seq),
      .flags = w.flags,
      .desc =
          {
              .count = le64toh(w.count),
              .root = le32toh(w.root),
              .kind = w.kind,
              .dtype = w.dtype,
              .redop = w.redop,
              .forest = w.forest,
          },
      .payload = le32toh(w.payload),
      .result_key = le32toh(w.result_key),
      .result_off = le64toh(w.result_off),
      .payload_key = le32toh(w.payload_key),
      .payload_off = le64toh(w.payload_off),
  };
  return 0;
}

const char *op_kind_name(unsigned kind) { return kind < OP_KIND_COUNT ? kind_names[kind] : "?"; }

static int has_redop(unsigned kind) { return kind == OP_ALLREDUCE || kind == OP_REDUCE || kind == OP_REDUCE_SCATTER; }

const char *op_desc_format(const struct op_desc *desc, char *buf, size_t cap) {
  char root[32] = "";
  const char *name = op_kind_name(desc->kind);
  if (desc->kind == OP_BARRIER) {
    (void)snprintf(buf, cap, "%s", name);
    return buf;
  }
  if (desc->kind == OP_REDUCE || desc->kind == OP_GATHER) (void)snprintf(root, sizeof root, " to rank %u", (unsigned)desc->root);
  if (desc->kind == OP_BROADCAST || desc->kind == OP_SCATTER) (void)snprintf(root, sizeof root, " from rank %u", (unsigned)desc->root);
  (void)snprintf(buf, cap, "%s of %llu %s%s%s%s", name, (unsigned long long)desc->count, agg_dtype_name((agg_dtype_t)desc->dtype),
                 has_redop(desc->kind) ? ", " : "", has_redop(desc->kind) ? agg_redop_name((agg_redop_t)desc->redop) : "", root);
  return buf;
}

int op_desc_equal(const struct op_desc *a, const struct op_desc *b) {
  return a->count == b->count && a->root == b->root && a->kind == b->kind && a->dtype == b->dtype && a->redop == b->redop &&
         a->forest == b->forest;
}
