/*
 * Owns the words for failures: what a completion status, a CM event or a refused registration means, its likely causes, and what to look
 * at. Never decides what happens next, except whom a failed completion speaks against.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

/* ---- completions ---- */

struct meaning {
  enum ibv_wc_status status;
  enum verbs_fault fault;
  const char *text;
};

static const struct meaning sending[] = {
    {IBV_WC_RETRY_EXC_ERR, FAULT_PATH,
     "no acknowledgement from the peer's NIC after all retries: its host or port is down, a cable or switch between lost too much (RoCE "
     "without PFC or ECN), or the route changed. Look at the port counters with agg-doctor on both hosts"},
    {IBV_WC_RNR_RETRY_EXC_ERR, FAULT_PEER,
     "the peer's process has not taken messages for too long (receiver not ready): it is stopped or overloaded"},
    {IBV_WC_REM_ACCESS_ERR, FAULT_PEER,
     "the peer's NIC refused the place that was written to: its memory is not registered any more, or was never ours to write"},
    {IBV_WC_REM_INV_REQ_ERR, FAULT_PEER,
     "the peer's NIC found the request invalid: a message longer than it takes, or an operation that it does not allow"},
    {IBV_WC_REM_OP_ERR, FAULT_PEER, "the peer's NIC could not carry the request out: look at its host's kernel log"},
    {IBV_WC_REM_ABORT_ERR, FAULT_PEER, "the peer's NIC gave the request up"},
    {IBV_WC_LOC_PROT_ERR, FAULT_LOCAL,
     "own memory is not registered for this NIC any more: it was unmapped or freed while an operation used it"},
    {IBV_WC_LOC_LEN_ERR, FAULT_PEER, "a message is longer than its buffer"},
    {IBV_WC_LOC_QP_OP_ERR, FAULT_LOCAL, "the queue pair took no such request"},
    {IBV_WC_LOC_ACCESS_ERR, FAULT_PEER, "the peer wrote to a place that it may not write"},
    {IBV_WC_MW_BIND_ERR, FAULT_LOCAL, "a memory window could not be bound"},
    {IBV_WC_BAD_RESP_ERR, FAULT_PATH, "the peer's NIC sent an answer that fits no request"},
    {IBV_WC_FATAL_ERR, FAULT_PATH, "the NIC failed: look at the kernel log"},
    {IBV_WC_RESP_TIMEOUT_ERR, FAULT_PATH, "the peer's NIC does not answer"},
    {IBV_WC_WR_FLUSH_ERR, FAULT_LEFT,
     "the queue pair went into error: the peer's process ended, or one end put where it may not. The other end's message may say more"},
};

/* What a receive that fails with it means instead: it is the peer's request that was not carried out here. */
static const struct meaning received[] = {
    {IBV_WC_REM_ACCESS_ERR, FAULT_PEER, "the peer wrote to a place that it may not write"},
    {IBV_WC_REM_INV_REQ_ERR, FAULT_PEER,
     "the peer made a request that is invalid: longer than its buffer, or of a kind that it may not make"},
    {IBV_WC_LOC_QP_OP_ERR, FAULT_PEER, "the peer made a request that could not be carried out: longer than its buffer, or malformed"},
};

static const struct meaning *meaning_of(enum ibv_wc_status status) {
  for (size_t i = 0; i < ARRAY_LEN(sending); i++)
    if (sending[i].status == status) return &sending[i];
  return NULL;
}

enum verbs_fault explain_fault(enum ibv_wc_status status) {
  const struct meaning *m = meaning_of(status);
  return m != NULL ? m->fault : FAULT_LOCAL;
}

const char *explain_wc(const struct ibv_wc *wc, int receiving, char *buf, size_t cap) {
  const struct meaning *m = meaning_of(wc->status);
  for (size_t i = 0; receiving && i < ARRAY_LEN(received); i++)
    if (received[i].status == wc->status) m = &received[i];
  snprintf(buf, cap, "%s (%s failed: %s, status %d, vendor %#x)",
           m != NULL ? m->text : "the NIC reports an error that this release does not know", receiving ? "a receive" : "a put",
           ibv_wc_status_str(wc->status), (int)wc->status, wc->vendor_err);
  return buf;
}

/* ---- the CM ---- */

/* By the CM there, not by a process. iWARP gives an errno. */
static void explain_rejected(int status, char *buf, size_t cap) {
  const char *what = status == VERBS_REJ_SERVICE || status < 0
                         ? "nobody listens there (rejected, reason %d): that process has ended, or is not of this job"
                     : status == VERBS_REJ_STALE
                         ? "its host has not forgotten an earlier connection with the same queue pair number (rejected, reason %d)"
                         : "its host's connection manager rejected the request (reason %d): look at both hosts' kernel logs";
  snprintf(buf, cap, what, status);
}

const char *explain_cm(enum rdma_cm_event_type event, int status, char *buf, size_t cap) {
  char sys[96] = "";
  const char *reason = status < 0 ? strerror_r(-status, sys, sizeof sys) : "";
  switch (event) {
    case RDMA_CM_EVENT_ADDR_ERROR:
      snprintf(buf, cap, "no route to the address from this port: %s. The host is down, or in another network: look at `ip route get`",
               reason);
      break;
    case RDMA_CM_EVENT_ROUTE_ERROR:
      snprintf(buf, cap, "no path to it (%s): on InfiniBand the subnet manager does not know it, on RoCE its MAC address is not found",
               reason);
      break;
    case RDMA_CM_EVENT_UNREACHABLE:
      snprintf(buf, cap,
               "its host does not answer connection requests: it is down, has no RDMA device there, or a firewall drops UDP port 4791");
      break;
    case RDMA_CM_EVENT_REJECTED:
      explain_rejected(status, buf, cap);
      break;
    case RDMA_CM_EVENT_CONNECT_ERROR:
      snprintf(buf, cap, "the connection could not be made: %s", reason[0] != '\0' ? reason : "the peer gave up");
      break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      snprintf(buf, cap, "the RDMA device was removed");
      break;
    default:
      snprintf(buf, cap, "%s (status %d)", rdma_event_str(event), status);
  }
  return buf;
}

/* EINVAL is how the kernel's CM says that a request or an answer has been withdrawn by its sender. */
int explain_cm_call(agg_error_t *err, int errno_value, const struct rail *r, const char *what) {
  if (errno_value == EINVAL) return err_set(err, AGG_EPEER, "%s: the peer gave the connection up while it was made", r->name);
  return err_sys(err, AGG_ESYS, errno_value, "%s: %s", r->name, what);
}

const char *explain_reject(int reason) {
  switch (reason) {
    case VERBS_NO_TICKET:
      return "the process there does not know this lane's ticket: it belongs to another group, or was used before";
    case VERBS_BUSY:
      return "the process there is connecting this lane already";
    case VERBS_NO_ROOM:
      return "the process there could not make a queue pair: its message says why";
    default:
      return "the process there could not read the request: use one release of libagg everywhere";
  }
}

/* ---- memory ---- */

int explain_memory(agg_error_t *err, int errno_value, size_t bytes, const struct rail *r) {
  struct rlimit limit = {0};
  char now[32] = "unlimited";
  if (errno_value != ENOMEM && errno_value != EAGAIN)
    return err_sys(err, errno_value == EPERM || errno_value == EACCES ? AGG_ESYS : AGG_ENOMEM, errno_value,
                   "%zu bytes cannot be registered with %s", bytes, r->name);
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    snprintf(now, sizeof now, "%llu KiB", (unsigned long long)limit.rlim_cur >> 10);
  if (limit.rlim_cur == RLIM_INFINITY)
    return err_set(err, AGG_ENOMEM, "%zu bytes cannot be registered with %s: the machine or the NIC has no memory left for it", bytes,
                   r->name);
  return err_set(
      err, AGG_ELIMIT,
      "%zu bytes cannot be pinned for %s: the limit of locked memory (ulimit -l) is %s, and %llu KiB more are needed at least. Raise "
      "it: `ulimit -l unlimited`, memlock in /etc/security/limits.conf, LimitMEMLOCK=infinity in the service's unit, or "
      "--ulimit memlock=-1 for a container",
      bytes, r->name, now, (unsigned long long)div_up_u64(bytes, 1024));
}

const char *explain_host(const struct sockaddr *sa, int with_port, char *buf, size_t cap) {
  char host[INET6_ADDRSTRLEN] = "?";
  unsigned port = 0;
  if (sa->sa_family == AF_INET) {
    struct sockaddr_in in4;
    memcpy(&in4, sa, sizeof in4);
    inet_ntop(AF_INET, &in4.sin_addr, host, sizeof host);
    port = ntohs(in4.sin_port);
  } else if (sa->sa_family == AF_INET6) {
    struct sockaddr_in6 in6;
    memcpy(&in6, sa, sizeof in6);
    inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
    port = ntohs(in6.sin6_port);
  }
  const char *open = sa->sa_family == AF_INET6 && with_port ? "[" : "", *close = open[0] != '\0' ? "]" : "";
  if (with_port)
    snprintf(buf, cap, "%s%s%s:%u", open, host, close, port);
  else
    snprintf(buf, cap, "%s", host);
  return buf;
}
