/* Checks the state of ports and their MTU: what RDMA cannot start without, and what makes it slow or break in the middle. */
#include <string.h>

#include "doctor/internal.h"

#define IFF_UP_BIT 1
#define NETDEV_MTU_WANTED 4200
/* The largest headers of RoCE v2 inside the netdev's MTU: IP 40, UDP 8, base 12, extended 32, checksum 4. */
#define ROCE_HEADERS 96

static unsigned active_ports(const struct doctor *d) {
  unsigned n = 0;
  for (unsigned i = 0; i < d->n_ports; i++) n += d->ports[i].state == STATE_ACTIVE;
  return n;
}

static void todo_ethernet(const struct doctor *d, const struct port *p, struct doctor_finding *f) {
  int64_t flags;
  if (p->netdev[0] == '\0') {
    say(f->todo, "set its network device up (ip link set NAME up) and look at the cable and the switch port (ethtool NAME)");
  } else if (tree_number(d, &flags, "/sys/class/net/%s/flags", p->netdev) == 0 && (flags & IFF_UP_BIT) == 0) {
    say(f->seen, "; %s is set down", p->netdev);
    say(f->todo, "ip link set %s up", p->netdev);
  } else {
    say(f->seen, "; %s is set up", p->netdev);
    say(f->todo, "no link: look at the cable, the optics and the switch port (ethtool %s)", p->netdev);
  }
}

static void todo_infiniband(const struct port *p, struct doctor_finding *f) {
  if (p->state == STATE_INIT || p->state == STATE_ARMED) {
    say(f->seen, "; the link is up, but no subnet manager has set the port active");
    say(f->todo, "start a subnet manager on this fabric: on a managed switch, or opensm on one host; sminfo tells whether one is seen");
  } else if (strstr(p->physical_text, "Disabled") != NULL) {
    say(f->todo, "the port is switched off: ibportstate -D 0 %u enable (or mlxlink -d %s -p %u --port_state UP)", p->number,
        p->device->name, p->number);
  } else {
    say(f->todo, "no link: look at the cable and at the port of the switch (ibstat, iblinkinfo)");
  }
}

/* A port that is down does no harm where others are active, unless it was asked for. */
static void check_one(struct doctor *d, const char *check, const struct port *p) {
  int asked = d->options->devices != NULL && d->options->devices[0] != '\0';
  enum doctor_verdict verdict = p->state == STATE_ACTIVE ? DOCTOR_PASS : active_ports(d) > 0 && !asked ? DOCTOR_WARN : DOCTOR_FAIL;
  char rate[NAME_CAP];
  struct doctor_finding *f = finding(d, check, p->name, verdict);
  say(f->seen, "%s", p->state_text[0] != '\0' ? p->state_text : "no state is told");
  if (p->physical_text[0] != '\0') say(f->seen, ", physically %s", p->physical_text);
  if (tree_line(d, rate, sizeof(rate), "/sys/class/infiniband/%s/ports/%u/rate", p->device->name, p->number) > 0)
    say(f->seen, ", %s", rate);
  if (verdict == DOCTOR_PASS) return;
  if (p->kind == PORT_INFINIBAND) {
    todo_infiniband(p, f);
  } else {
    todo_ethernet(d, p, f);
  }
  if (verdict == DOCTOR_WARN) say(f->seen, "; other ports are active");
}

void check_port(struct doctor *d, const char *check) {
  if (d->n_ports == 0) not_applicable(d, check, "no RDMA device");
  for (unsigned i = 0; i < d->n_ports; i++) check_one(d, check, &d->ports[i]);
}

/* The largest of 256 ... 4096 that fits. */
static unsigned path_mtu(int64_t netdev_mtu) {
  unsigned mtu = 4096;
  while (mtu > 128 && netdev_mtu - ROCE_HEADERS < (int64_t)mtu) mtu /= 2;
  return mtu;
}

static void mtu_ethernet(struct doctor *d, const char *check, const struct port *p, unsigned active) {
  int64_t mtu;
  if (p->netdev[0] == '\0' || tree_number(d, &mtu, "/sys/class/net/%s/mtu", p->netdev) != 0) {
    say(finding(d, check, p->name, DOCTOR_UNKNOWN)->seen, "the MTU of its network device cannot be read");
    return;
  }
  unsigned path = active != 0 ? active : path_mtu(mtu);
  int small = p->kind == PORT_ROCE ? mtu < NETDEV_MTU_WANTED || path < 4096 : mtu < 9000;
  struct doctor_finding *f = finding(d, check, p->name, small ? DOCTOR_WARN : DOCTOR_PASS);
  say(f->seen, "%s has MTU %lld", p->netdev, (long long)mtu);
  if (p->kind == PORT_ROCE) say(f->seen, ", which gives RDMA packets of %u bytes%s", path, active != 0 ? "" : " at most");
  if (p->state != STATE_ACTIVE) say(f->seen, " (the port is not active)");
  if (!small) return;
  if (p->kind == PORT_ROCE && mtu >= NETDEV_MTU_WANTED) {
    say(f->todo, "the device takes no larger packets, or was made before the MTU was raised: set the link down and up");
  } else if (p->kind == PORT_ROCE) {
    say(f->todo, "ip link set %s mtu 9000 (4200 at least, for packets of 4096 bytes), on all hosts and switch ports alike", p->netdev);
  } else {
    say(f->todo, "ip link set %s mtu 9000, on all hosts and switch ports alike: fewer packets for the same bytes", p->netdev);
  }
}

static void mtu_infiniband(struct doctor *d, const char *check, const struct port *p, unsigned active) {
  if (active == 0) {
    say(finding(d, check, p->name, DOCTOR_UNKNOWN)->seen,
        "the active MTU cannot be read (ibv_devinfo tells it where the device can be opened)");
    return;
  }
  struct doctor_finding *f = finding(d, check, p->name, active < 2048 ? DOCTOR_WARN : DOCTOR_PASS);
  say(f->seen, "active MTU %u", active);
  if (active < 2048) say(f->todo, "the subnet manager sets it: raise the partition's MTU (opensm: partitions.conf, mtu=5 for 4096)");
}

void check_mtu(struct doctor *d, const char *check) {
  if (d->n_ports == 0) not_applicable(d, check, "no RDMA device");
  for (unsigned i = 0; i < d->n_ports; i++) {
    const struct port *p = &d->ports[i];
    unsigned active = tree_is_machine(d) && p->state == STATE_ACTIVE ? live_mtu(p->device->name, p->number) : 0;
    if (p->kind == PORT_INFINIBAND) {
      mtu_infiniband(d, check, p, active);
    } else {
      mtu_ethernet(d, check, p, active);
    }
  }
}
