/*
 * The conformance suite over real verbs: needs an RDMA device (a Soft-RoCE one will do), so it runs in the test bed's guest:
 * tests/rdma/conform.job and others.
 */
#include <infiniband/verbs.h>

#include "tests/lib/conform.h"
#include "transport/tps.h"

/* librdmacm opens its descriptors at the first use and keeps them: before the suite counts. */
static void warm_up(void) {
  struct tp_config config = {.bind_host = "", .peer_host = ""};
  struct tp *tp = NULL;
  if (tp_verbs.open(&config, &tp, NULL) == 0) tp_verbs.close(tp);
}

static struct conform conform = {.ops = &tp_verbs};

/* Its first device is iWARP. */
static int is_iwarp(void) {
  struct ibv_device **list = ibv_get_device_list(NULL);
  int iwarp = list != NULL && list[0] != NULL && list[0]->transport_type == IBV_TRANSPORT_IWARP;
  if (list != NULL) ibv_free_device_list(list);
  return iwarp;
}

Suite *make_suite(void) {
  warm_up();
  conform.by_segment = conform.slow_to_drop = is_iwarp();
  return conform_suite(&conform);
}
