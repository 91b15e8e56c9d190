/* Starts and stops the reactors, has them pinned and collects their addresses. Touches no plane. */
#include "reactors.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

struct address_call {
  struct reactors *rs;
  unsigned index;
};

/* With the baton of the reactor held. */
static void add_addresses(void *arg) {
  struct address_call *call = arg;
  struct reactors *rs = call->rs;
  struct plane_tp tps[PLANE_TPS_MAX];
  unsigned n = reactor_tps(rs->list[call->index], tps);
  for (unsigned i = 0; i < n; i++) {
    struct control_address *a = &rs->addresses[rs->n_addresses++];
    str_copy(a->transport, sizeof a->transport, tps[i].ops->name);
    a->reactor = call->index;
    a->len = (uint32_t)tps[i].ops->address(tps[i].tp, a->bytes);
    if (call->index != 0) continue;
    size_t at = strlen(rs->transports);
    snprintf(rs->transports + at, sizeof rs->transports - at, "%s%s", i > 0 ? ", " : "", a->transport);
  }
}

int reactors_start(struct reactors *rs, const struct server_config *config, const struct log *log, agg_error_t *err) {
  memset(rs, 0, sizeof *rs);
  struct tp_rdma rdma = {.devices = config->devices,
                         .gid_index = config->gid_index,
                         .traffic_class = config->traffic_class,
                         .service_level = config->service_level,
                         .mtu = config->mtu,
                         .ack_timeout = config->ack_timeout,
                         .retry_count = config->retry_count};
  rs->addresses = calloc((size_t)config->reactors * PLANE_TPS_MAX, sizeof *rs->addresses);
  if (rs->addresses == NULL) return err_set(err, AGG_ENOMEM, "out of memory");
  struct pinning_config pin = {.log = log,
                               .setting = config->pin,
                               .server = 1,
                               .reactors = config->reactors,
                               .devices = config->devices,
                               .transport = config->transport};
  int status = pinning_start(&rs->pinning, &pin, err);
  if (status != 0) {
    reactors_stop(rs);
    return err_prefix(err, "pin");
  }
  for (unsigned i = 0; i < config->reactors; i++) {
    struct reactor_config rc = {.log = log,
                                .index = i,
                                .transports = config->transport,
                                .bind_host = config->bind,
                                .peer_host = "",
                                .rdma = &rdma,
                                .spin_us = config->spin_us,
                                .cpu = pinning_core(&rs->pinning, i)};
    status = reactor_start(&rc, &rs->list[i], err);
    if (status != 0) {
      reactors_stop(rs);
      return status;
    }
    rs->n++;
    if (reactor_cpu(rs->list[i]) != rc.cpu) pinning_failed(&rs->pinning, i);
    struct address_call call = {.rs = rs, .index = i};
    reactor_call(rs->list[i], add_addresses, &call);
  }
  pinning_say(&rs->pinning, log);
  return 0;
}

void reactors_stop(struct reactors *rs) {
  for (unsigned i = 0; i < rs->n; i++) reactor_stop(rs->list[i]);
  pinning_stop(&rs->pinning);
  free(rs->addresses);
  memset(rs, 0, sizeof *rs);
}
