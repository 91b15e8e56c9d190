/* Owns the reading and the check of GID tables: what addresses a port has, and whether RoCE v2 can be routed by one. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/internal.h"

#define GIDS_MAX 1024
#define EMPTY_MAX 32 /* a table is filled from its start, with few holes */

/* "fe80:0000:...": 1 when it is a GID and not zero. */
static int parse_gid(const char *text, struct in6_addr *gid) {
  static const struct in6_addr zero;
  return inet_pton(AF_INET6, text, gid) == 1 && memcmp(gid, &zero, sizeof(zero)) != 0;
}

static void count_gid(struct gid_summary *gids, const struct in6_addr *gid, const char *type) {
  gids->n++;
  if (strstr(type, "v2") == NULL) {
    gids->v1++;
  } else if (IN6_IS_ADDR_LINKLOCAL(gid)) {
    gids->v2_local++;
  } else {
    gids->v2_routable++;
  }
}

static void list_gid(struct gid_summary *gids, unsigned index, const struct in6_addr *gid, const char *type, const char *netdev) {
  char address[INET6_ADDRSTRLEN];
  if (strlen(gids->list) > DOCTOR_TEXT_MAX / 2) return; /* leaves room for what is said around it */
  if (IN6_IS_ADDR_V4MAPPED(gid)) {
    inet_ntop(AF_INET, &gid->s6_addr[12], address, sizeof(address));
  } else {
    inet_ntop(AF_INET6, gid, address, sizeof(address));
  }
  say(gids->list, "%s%u: %s%s%s%s%s", gids->list[0] != '\0' ? "; " : "", index, type, type[0] != '\0' ? " " : "", address,
      netdev[0] != '\0' ? " " : "", netdev);
}

void gid_read(const struct doctor *d, const struct port *p, struct gid_summary *gids) {
  char text[NAME_CAP], type[NAME_CAP], netdev[NAME_CAP];
  struct in6_addr gid;
  unsigned listed = 0;
  *gids = (struct gid_summary){0};
  for (unsigned i = 0, empty = 0; i < GIDS_MAX && empty < EMPTY_MAX; i++, empty++) {
    const char *name = p->device->name;
    if (tree_line(d, text, sizeof(text), "/sys/class/infiniband/%s/ports/%u/gids/%u", name, p->number, i) <= 0) continue;
    if (!parse_gid(text, &gid)) continue;
    tree_line(d, type, sizeof(type), "/sys/class/infiniband/%s/ports/%u/gid_attrs/types/%u", name, p->number, i);
    tree_line(d, netdev, sizeof(netdev), "/sys/class/infiniband/%s/ports/%u/gid_attrs/ndevs/%u", name, p->number, i);
    if (p->kind != PORT_ROCE) type[0] = '\0';
    count_gid(gids, &gid, type);
    size_t before = strlen(gids->list);
    list_gid(gids, i, &gid, type, netdev);
    listed += strlen(gids->list) > before;
    empty = 0;
  }
  if (listed < gids->n) say(gids->list, "; and %u more", gids->n - listed);
}

static void check_roce(struct doctor *d, const char *check, const struct port *p, const struct gid_summary *gids) {
  const char *netdev = p->netdev[0] != '\0' ? p->netdev : "its network device";
  if (gids->v2_routable > 0) {
    say(finding(d, check, p->name, DOCTOR_PASS)->seen, "RoCE v2 with an IP address: %s", gids->list);
  } else if (gids->v2_local > 0) {
    struct doctor_finding *f = finding(d, check, p->name, DOCTOR_FAIL);
    say(f->seen, "RoCE v2, but only with link-local addresses: %s", gids->list);
    say(f->todo, "give %s an IP address (ip addr add 192.0.2.1/24 dev %s, with your own): RDMA connections are made to IP addresses",
        netdev, netdev);
  } else {
    struct doctor_finding *f = finding(d, check, p->name, DOCTOR_FAIL);
    say(f->seen, gids->n > 0 ? "no RoCE v2, only v1: %s" : "the port has no GID%s", gids->list);
    say(f->todo,
        gids->n > 0 ? "let the driver offer RoCE v2 for %s (ConnectX-3: mlx4_core roce_mode=2; older firmware: update it)"
                    : "give %s an IP address and set it up: a RoCE port has the addresses of its network device",
        netdev);
  }
}

/* As far as procfs tells: an IPv4 route over it or an IPv6 address that is not link-local. -1: it does not tell. */
static int has_address(const struct doctor *d, const char *netdev) {
  enum { TEXT_CAP = 32768 };
  char name[NAME_CAP], scope[8];
  char *text = malloc(TEXT_CAP);
  if (text == NULL) return -1;
  int found = 0, v4 = tree_bytes(d, text, TEXT_CAP, "/proc/net/route");
  for (const char *line = text; v4 > 0 && !found && line != NULL; line = strchr(line, '\n')) {
    line += *line == '\n';
    found = sscanf(line, "%63s", name) == 1 && strcmp(name, netdev) == 0;
  }
  int v6 = found ? 0 : tree_bytes(d, text, TEXT_CAP, "/proc/net/if_inet6");
  for (const char *line = text; v6 > 0 && !found && line != NULL; line = strchr(line, '\n')) {
    line += *line == '\n';
    found = sscanf(line, "%*s %*s %*s %7s %*s %63s", scope, name) == 2 && strcmp(name, netdev) == 0 && strcmp(scope, "20") != 0;
  }
  free(text);
  return found ? 1 : v4 < 0 && v6 < 0 ? -1 : 0;
}

/* InfiniBand and iWARP: connections are made to the IP address of a network device. */
static void check_address(struct doctor *d, const char *check, const struct port *p, const char *list) {
  int addressed = p->netdev[0] != '\0' ? has_address(d, p->netdev) : 0;
  struct doctor_finding *f = finding(d, check, p->name, addressed > 0 ? DOCTOR_PASS : addressed < 0 ? DOCTOR_UNKNOWN : DOCTOR_FAIL);
  if (list[0] != '\0') say(f->seen, "%s; ", list);
  if (p->netdev[0] == '\0') {
    say(f->seen, "no network device over it is here, and so no IP address to connect to");
    if (p->kind == PORT_INFINIBAND)
      say(f->todo, "modprobe ib_ipoib, then give its interface (ib0, ibp59s0 or the like) an IP address; in a container, pass it in");
  } else if (addressed < 0) {
    say(f->seen, "whether %s has an IP address cannot be read", p->netdev);
  } else {
    say(f->seen, "%s has %s", p->netdev, addressed ? "an IP address" : "no IP address, and RDMA connections are made to IP addresses");
    if (!addressed) say(f->todo, "ip link set %s up; ip addr add 192.0.2.1/24 dev %s (with an address of your own)", p->netdev, p->netdev);
  }
}

void check_gid(struct doctor *d, const char *check) {
  struct gid_summary gids;
  if (d->n_ports == 0) not_applicable(d, check, "no RDMA device");
  for (unsigned i = 0; i < d->n_ports; i++) {
    const struct port *p = &d->ports[i];
    gid_read(d, p, &gids);
    if (p->state != STATE_ACTIVE && p->kind == PORT_ROCE && gids.v2_routable == 0) {
      say(finding(d, check, p->name, DOCTOR_UNKNOWN)->seen, "the port is not active: it gets its addresses when it is");
    } else if (p->kind == PORT_ROCE) {
      check_roce(d, check, p, &gids);
    } else if (p->kind == PORT_IWARP || gids.n > 0) {
      check_address(d, check, p, p->kind == PORT_IWARP ? "" : gids.list);
    } else {
      struct doctor_finding *f = finding(d, check, p->name, DOCTOR_FAIL);
      say(f->seen, "the port has no GID");
      say(f->todo, "reload the driver; look at: dmesg | grep -i %s", p->device->name);
    }
  }
}
