/*
 * The conformance suite over real verbs: needs an RDMA device (a Soft-RoCE one will do), so it runs in the test bed's guest.
 * bed: -H 1 -t 500
 * builds: asan
 */
#include "tests/lib/conform.h"
#include "transport/tps.h"

/* librdmacm opens its descriptors at the first use and keeps them: before the suite counts. */
static void warm_up(void) {
  struct tp_config config = {.bind_host = "", .peer_host = ""};
  struct tp *tp = NULL;
  if (tp_verbs.open(&config, &tp, NULL) == 0) tp_verbs.close(tp);
}

static const struct conform conform = {.ops = &tp_verbs};

Suite *make_suite(void) {
  warm_up();
  return conform_suite(&conform);
}
