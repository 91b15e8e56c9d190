/* The syntax of device lists and the ranges of the RDMA settings. Looks at no device: what is there is the transport's to say. */
#include "rdma.h"

#include <ctype.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

#define ENTRY_SHOWN 80

static int bad_entry(const char *entry, size_t len, const char *why, agg_error_t *err) {
  return err_set(err, AGG_EINVAL, "\"%.*s\" %s: expected NAME or NAME:PORT, as in mlx5_0:1,mlx5_1", (int)MIN_OF(len, (size_t)ENTRY_SHOWN),
                 entry, why);
}

static int is_name(const char *at, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!isascii((unsigned char)at[i]) || (!isalnum((unsigned char)at[i]) && strchr("_.-", at[i]) == NULL)) return 0;
  return len > 0;
}

/* 1 to 255, in at most three digits. */
static int is_port(const char *at, size_t len) {
  unsigned port = 0;
  for (size_t i = 0; i < len; i++) {
    if (at[i] < '0' || at[i] > '9' || len > 3) return 0;
    port = port * 10 + (unsigned)(at[i] - '0');
  }
  return len > 0 && port >= 1 && port <= 255;
}

static int check_entry(const char *entry, size_t len, agg_error_t *err) {
  const char *colon = memchr(entry, ':', len);
  size_t name = colon != NULL ? (size_t)(colon - entry) : len;
  if (len == 0) return bad_entry(entry, len, "is an empty entry of the device list", err);
  if (!is_name(entry, name)) return bad_entry(entry, len, "is no device name (letters, digits, _ . -)", err);
  if (name > TP_RDMA_DEVICE_NAME_MAX) return bad_entry(entry, len, "is longer than a device name can be (63 characters)", err);
  if (colon != NULL && !is_port(colon + 1, len - name - 1)) return bad_entry(entry, len, "has no port from 1 to 255 behind the colon", err);
  return AGG_OK;
}

int tp_rdma_check_devices(const char *list, agg_error_t *err) {
  if (list[0] == '\0') return AGG_OK;
  for (;;) {
    size_t len = strcspn(list, ",");
    int rc = check_entry(list, len, err);
    if (rc != AGG_OK || list[len] == '\0') return rc;
    list += len + 1;
  }
}

int tp_rdma_check_mtu(uint64_t mtu, agg_error_t *err) {
  static const uint64_t known[] = {0, 256, 512, 1024, 2048, 4096};
  for (size_t i = 0; i < ARRAY_LEN(known); i++)
    if (mtu == known[i]) return AGG_OK;
  return err_set(err, AGG_EINVAL, "%llu: expected 256, 512, 1024, 2048 or 4096 (an RDMA path's MTU, not the network interface's)",
                 (unsigned long long)mtu);
}

static int check_or_system(const char *name, int32_t value, int32_t max, agg_error_t *err) {
  if (value >= -1 && value <= max) return AGG_OK;
  return err_set(err, AGG_EINVAL, "%s: %d: expected 0 to %d, or -1 for the system's", name, value, max);
}

static int check_or_default(const char *name, uint32_t value, uint32_t max, agg_error_t *err) {
  if (value <= max) return AGG_OK;
  return err_set(err, AGG_EINVAL, "%s: %u: expected 1 to %u, or 0 for the default", name, value, max);
}

int tp_rdma_check(const struct tp_rdma *r, agg_error_t *err) {
  int rc = r->devices != NULL ? tp_rdma_check_devices(r->devices, err) : AGG_OK;
  if (rc != AGG_OK) {
    (void)err_prefix(err, "devices");
    return rc;
  }
  rc = tp_rdma_check_mtu(r->mtu, err);
  if (rc != AGG_OK) {
    (void)err_prefix(err, "mtu");
    return rc;
  }
  rc = check_or_system("gid_index", r->gid_index, TP_RDMA_GID_INDEX_MAX, err);
  if (rc == AGG_OK) rc = check_or_system("traffic_class", r->traffic_class, TP_RDMA_TRAFFIC_CLASS_MAX, err);
  if (rc == AGG_OK) rc = check_or_system("service_level", r->service_level, TP_RDMA_SERVICE_LEVEL_MAX, err);
  if (rc == AGG_OK) rc = check_or_default("ack_timeout", r->ack_timeout, TP_RDMA_ACK_TIMEOUT_MAX, err);
  if (rc == AGG_OK) rc = check_or_default("retry_count", r->retry_count, TP_RDMA_RETRY_COUNT_MAX, err);
  return rc;
}
