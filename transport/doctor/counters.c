/*
 * Checks the error counters of ports, by what they tell of: the wire, loss, peers that do not answer, receivers that are not ready, refused
 * accesses. They count since the driver was loaded, so they warn and never fail.
 */
#include <stdio.h>
#include <string.h>

#include "doctor/internal.h"

#define GROUP_MAX 16

struct group {
  const char *names[GROUP_MAX]; /* NULL after the last */
  const char *meaning, *todo;
};

static const struct group GROUPS[] = {
    {{"link_downed", "link_error_recovery"},
     "the link went down or had to recover",
     "nothing where somebody set it down, or the machine at its other end was started again; else look at cable, optics and the switch "
     "port"},
    {{"symbol_error", "port_rcv_errors", "local_link_integrity_errors", "excessive_buffer_overrun_errors",
      "port_rcv_remote_physical_errors", "rx_icrc_encapsulated"},
     "frames arrived damaged",
     "clean or change cable and optics, look at the switch port; look again after some minutes: only numbers that grow matter"},
    {{"out_of_sequence", "packet_seq_err", "implied_nak_seq_err", "rcvd_seq_err", "out_of_seq_request", "roce_adp_retrans",
      "roce_slow_restart", "roce_slow_restart_trans", "port_xmit_discards", "port_rcv_switch_relay_errors", "seq_err_naks_rcvd",
      "to_retransmits", "tcpRetransSegs"},
     "packets were lost or came out of order, and were sent again",
     "on RoCE set up PFC or ECN on NICs and switches (see flow-control), on InfiniBand look for congestion and bad links; look again after "
     "some minutes"},
    {{"local_ack_timeout_err", "req_transport_retries_exceeded", "retry_exceeded_err", "completer_retry_err", "max_retry_exceeded",
      "roce_adp_retrans_to"},
     "a peer did not acknowledge in time",
     "peers that ended while connected do this; else look for loss, a wrong MTU between the hosts, or a firewall that drops UDP port 4791 "
     "(RoCE v2)"},
    {{"rnr_nak_retry_err", "out_of_buffer", "rcvd_rnr_err", "send_rnr_err", "retry_rnr_exceeded_err", "rnr_naks_rcvd"},
     "a message came to a receiver that had posted no receive request",
     "not by libagg, whose receivers are always ready: look at the other programs on this port"},
    {{"req_remote_access_errors", "resp_remote_access_errors", "req_remote_invalid_request", "resp_local_length_error",
      "remote_access_err"},
     "memory was addressed that was not registered, or not any more",
     "programs that end in the middle of a transfer do this; when it grows in a steady job, report it with the job's log"},
};

static const char *const FOLDERS[] = {"counters", "hw_counters"};

/* The largest value of the counter of this name among its folders; 0: none, or zero. *there is raised when it exists. */
static int64_t read_counter(const struct doctor *d, const struct port *p, const char *name, unsigned *there) {
  int64_t value, largest = 0;
  for (unsigned i = 0; i < ARRAY_LEN(FOLDERS); i++) {
    if (tree_number(d, &value, "/sys/class/infiniband/%s/ports/%u/%s/%s", p->device->name, p->number, FOLDERS[i], name) != 0) continue;
    ++*there;
    if (value > largest) largest = value;
  }
  return largest;
}

static unsigned check_group(struct doctor *d, const char *check, const struct port *p, const struct group *group, unsigned *there) {
  struct doctor_finding *f = NULL;
  for (unsigned i = 0; i < GROUP_MAX && group->names[i] != NULL; i++) {
    int64_t value = read_counter(d, p, group->names[i], there);
    if (value <= 0) continue;
    int first = f == NULL;
    if (first) f = finding(d, check, p->name, DOCTOR_WARN);
    say(f->seen, "%s%s %lld", first ? "" : ", ", group->names[i], (long long)value);
  }
  if (f == NULL) return 0;
  say(f->seen, " since the driver was loaded: %s", group->meaning);
  say(f->todo, "%s", group->todo);
  return 1;
}

void check_counters(struct doctor *d, const char *check) {
  if (d->n_ports == 0) not_applicable(d, check, "no RDMA device");
  for (unsigned i = 0; i < d->n_ports; i++) {
    unsigned there = 0, bad = 0;
    for (unsigned g = 0; g < ARRAY_LEN(GROUPS); g++) bad += check_group(d, check, &d->ports[i], &GROUPS[g], &there);
    if (bad > 0) continue;
    struct doctor_finding *f = finding(d, check, d->ports[i].name, there > 0 ? DOCTOR_PASS : DOCTOR_UNKNOWN);
    say(f->seen, there > 0 ? "%u error counters, all zero" : "the driver has no error counters that are known here", there);
  }
}

/* PFC and ECN are settings of NIC and switches that only their own tools show; what the NIC has counted is a hint. */
static void check_roce(struct doctor *d, const char *check, const struct port *p) {
  static const char *const HINTS[] = {"np_ecn_marked_roce_packets", "np_cnp_sent", "rp_cnp_handled", "rp_cnp_ignored",
                                      "rx_ecn_marked_pkts",         "tx_cnp_pkts"};
  const char *netdev = p->netdev[0] != '\0' ? p->netdev : "NAME";
  unsigned there = 0, said = 0;
  if (tree_exists(d, "/sys/class/infiniband/%s/parent", p->device->name)) {
    say(finding(d, check, p->name, DOCTOR_UNKNOWN)->seen, "does not apply: a software device (%s) has no priorities of its own", netdev);
    return;
  }
  struct doctor_finding *f = finding(d, check, p->name, DOCTOR_UNKNOWN);
  say(f->seen,
      "RoCE loses packets where neither PFC nor ECN is set up; both are settings of NIC and switches that cannot be seen from here");
  for (unsigned i = 0; i < ARRAY_LEN(HINTS); i++) {
    int64_t value = read_counter(d, p, HINTS[i], &there);
    if (value > 0) say(f->seen, "%s%s %lld", said++ == 0 ? "; signs of ECN at work: " : ", ", HINTS[i], (long long)value);
  }
  say(f->todo,
      "dcb pfc show dev %s, mlnx_qos -i %s, ethtool -S %s | grep -i pause; give RDMA's traffic class a lossless "
      "priority or ECN on every switch",
      netdev, netdev, netdev);
}

void check_flow_control(struct doctor *d, const char *check) {
  unsigned said = 0;
  for (unsigned i = 0; i < d->n_ports; i++) {
    if (d->ports[i].kind == PORT_ROCE) {
      check_roce(d, check, &d->ports[i]);
      said++;
    }
  }
  if (said == 0) not_applicable(d, check, d->n_ports == 0 ? "no RDMA device" : "no RoCE port: InfiniBand has credits, iWARP has TCP");
}
