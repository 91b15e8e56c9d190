/* Checks of struct tp_rdma, for whoever reads settings: the library's environment and the server's options. Needs no device and no verbs.
 */
#ifndef TRANSPORT_RDMA_H
#define TRANSPORT_RDMA_H

#include "transport.h"

#define TP_RDMA_GID_INDEX_MAX 255
#define TP_RDMA_TRAFFIC_CLASS_MAX 255
#define TP_RDMA_SERVICE_LEVEL_MAX 15
#define TP_RDMA_ACK_TIMEOUT_MAX 31u
#define TP_RDMA_RETRY_COUNT_MAX 7u
#define TP_RDMA_DEVICE_NAME_MAX 63u /* as the kernel's: 64 bytes with the terminating zero */

/* A list "NAME[:PORT],...": AGG_OK, or AGG_EINVAL with a text that quotes the entry and says what was expected. "" is the empty list. */
int tp_rdma_check_devices(const char *list, agg_error_t *err);
/* AGG_OK, or AGG_EINVAL with "5000: expected 256, 512, ...". 0: not set. */
int tp_rdma_check_mtu(uint64_t mtu, agg_error_t *err);
/* All of it; the text begins with the field's name. */
int tp_rdma_check(const struct tp_rdma *rdma, agg_error_t *err);

#endif
