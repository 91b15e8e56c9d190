/*
 * Owns the public constants' names and sizes: status texts, data types, sum operators, version. Pure.
 */
#include "agg.h"
#include "util.h"

const char *agg_status_text(int status) {
  switch (status) {
#define STATUS_CASE(name, value, text) \
  case value:                          \
    return text;
    AGG_STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    default:
      return "unknown status";
  }
}

uint32_t agg_version(void) { return AGG_VERSION; }

static const struct {
  const char *name;
  uint8_t size;
} dtypes[AGG_DTYPE_COUNT] = {
    [AGG_F16] = {"f16", 2}, [AGG_BF16] = {"bf16", 2}, [AGG_F32] = {"f32", 4}, [AGG_F64] = {"f64", 8}, [AGG_I8] = {"i8", 1},
    [AGG_U8] = {"u8", 1},   [AGG_I32] = {"i32", 4},   [AGG_U32] = {"u32", 4}, [AGG_I64] = {"i64", 8}, [AGG_U64] = {"u64", 8},
};

static const char *const redops[AGG_REDOP_COUNT] = {
    [AGG_SUM] = "sum", [AGG_AVG] = "avg", [AGG_PROD] = "prod", [AGG_MIN] = "min", [AGG_MAX] = "max",
};

size_t agg_dtype_size(agg_dtype_t dtype) { return (unsigned)dtype < AGG_DTYPE_COUNT ? dtypes[dtype].size : 0; }

const char *agg_dtype_name(agg_dtype_t dtype) { return (unsigned)dtype < AGG_DTYPE_COUNT ? dtypes[dtype].name : "?"; }

const char *agg_redop_name(agg_redop_t op) { return (unsigned)op < AGG_REDOP_COUNT ? redops[op] : "?"; }
