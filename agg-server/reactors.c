/* Starts and stops the reactors, chooses their cores and collects their addresses. Touches no plane. */
#include "reactors.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

/* Bound to cores of their own only where there are several cores and enough of them. */
static int choose_cpu(const struct server_config *config, const struct machine *machine, unsigned index) {
  if (!config->pin || machine->n_cores < 2 || config->reactors > machine->n_cores) return -1;
  return machine->cores[index];
}

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

int reactors_start(struct reactors *rs, const struct server_config *config, const struct machine *machine, const struct log *log,
                   agg_error_t *err) {
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
  for (unsigned i = 0; i < config->reactors; i++) {
    rs->cpu[i] = choose_cpu(config, machine, i);
    struct reactor_config rc = {.log = log,
                                .index = i,
                                .transports = config->transport,
                                .bind_host = config->bind,
                                .peer_host = "",
                                .rdma = &rdma,
                                .spin_us = config->spin_us,
                                .cpu = rs->cpu[i]};
    int status = reactor_start(&rc, &rs->list[i], err);
    if (status != 0) {
      reactors_stop(rs);
      return status;
    }
    rs->n++;
    struct address_call call = {.rs = rs, .index = i};
    reactor_call(rs->list[i], add_addresses, &call);
  }
  return 0;
}

void reactors_stop(struct reactors *rs) {
  for (unsigned i = 0; i < rs->n; i++) reactor_stop(rs->list[i]);
  free(rs->addresses);
  memset(rs, 0, sizeof *rs);
}

const char *reactors_cpus(const struct reactors *rs, char *buf, size_t cap) {
  if (rs->n == 0 || rs->cpu[0] < 0) {
    str_copy(buf, cap, "not pinned");
    return buf;
  }
  size_t at = (size_t)snprintf(buf, cap, "on cores ");
  for (unsigned i = 0, end; i < rs->n && at < cap; i = end) {
    for (end = i + 1; end < rs->n && rs->cpu[end] == rs->cpu[end - 1] + 1;) end++;
    const char *comma = i > 0 ? "," : "";
    int more = end - i > 1 ? snprintf(buf + at, cap - at, "%s%d-%d", comma, rs->cpu[i], rs->cpu[end - 1])
                           : snprintf(buf + at, cap - at, "%s%d", comma, rs->cpu[i]);
    at += (size_t)more;
  }
  return buf;
}
