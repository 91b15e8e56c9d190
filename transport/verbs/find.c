/*
 * Owns the choice of rails: which ports of which devices are used, and by which address peers find each. Never keeps a device open.
 *
 * Connections are made by IP address (librdmacm), so a rail needs one: an address of an interface of this host that the CM says belongs to
 * the port. That holds for InfiniBand (IPoIB), RoCE and iWARP alike.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "internal.h"

#define NAMES_MAX 300

/* One entry of the list of devices, or, where there is none, "any". */
struct wanted {
  char device[IBV_SYSFS_NAME_MAX];
  int port; /* 0: all */
  int used;
};

struct search {
  const struct tp_config *config;
  const struct tp_rdma *rdma;
  struct rdma_event_channel *channel;
  struct wanted wanted[VERBS_RAILS_MAX * 2];
  unsigned n_wanted; /* 0: every active port */
  struct ibv_device **list;
  int n_list;
  char names[NAMES_MAX];
  char skipped[NAMES_MAX];   /* why the last port was passed over */
  struct net_addr prefer[8]; /* what the own data sockets are to be bound to */
  int n_prefer;
  struct found *found;
  unsigned n_found, n_active;
};

/* ---- what is asked for ---- */

static int parse_devices(struct search *s, agg_error_t *err) {
  const char *text = s->rdma->devices != NULL ? s->rdma->devices : "";
  while (*text != '\0') {
    size_t len = strcspn(text, ","), name = strcspn(text, ",:");
    struct wanted *w = &s->wanted[s->n_wanted];
    uint64_t port = 0;
    char number[8] = "";
    if (s->n_wanted == ARRAY_LEN(s->wanted)) return err_set(err, AGG_EINVAL, "AGG_DEVICES: more than %zu entries", ARRAY_LEN(s->wanted));
    if (name < len) snprintf(number, sizeof number, "%.*s", (int)MIN_OF(len - name - 1, sizeof number - 1), text + name + 1);
    if (name == 0 || name >= sizeof w->device || len - name > sizeof number ||
        (name < len && (parse_u64(number, 255, &port) != 0 || port == 0)))
      return err_set(err, AGG_EINVAL, "AGG_DEVICES: \"%.*s\": expected DEVICE or DEVICE:PORT, as in mlx5_0:1", (int)MIN_OF(len, 64u), text);
    *w = (struct wanted){.port = (int)port};
    memcpy(w->device, text, name);
    s->n_wanted++;
    text += len + (text[len] == ',');
  }
  return AGG_OK;
}

static int list_devices(struct search *s, agg_error_t *err) {
  size_t at = 0;
  s->list = ibv_get_device_list(&s->n_list);
  if (s->list == NULL && errno != ENOSYS) return err_sys(err, AGG_ESYS, errno, "RDMA devices cannot be listed");
  for (int i = 0; i < s->n_list && at < sizeof s->names; i++)
    at += (size_t)snprintf(s->names + at, sizeof s->names - at, "%s%s", i > 0 ? ", " : "", ibv_get_device_name(s->list[i]));
  if (s->n_list > 0) return AGG_OK;
  return err_set(err, AGG_ENOTSUP, "this machine shows no RDMA device%s", s->n_wanted > 0 ? " (AGG_DEVICES names some)" : "");
}

static const struct wanted *wanted_port(struct search *s, const char *device, int port) {
  for (unsigned i = 0; i < s->n_wanted; i++) {
    struct wanted *w = &s->wanted[i];
    if (strcmp(w->device, device) != 0 || (w->port != 0 && w->port != port)) continue;
    w->used = 1;
    return w;
  }
  return NULL;
}

/* ---- addresses of ports ---- */

static uint8_t prefix_bits(const struct sockaddr *mask) {
  unsigned char bytes[16] = {0};
  unsigned bits = 0;
  if (mask == NULL) return 0;
  if (mask->sa_family == AF_INET) {
    struct sockaddr_in in4;
    memcpy(&in4, mask, sizeof in4);
    memcpy(bytes, &in4.sin_addr, 4);
  } else {
    struct sockaddr_in6 in6;
    memcpy(&in6, mask, sizeof in6);
    memcpy(bytes, &in6.sin6_addr, 16);
  }
  while (bits < 128 && (bytes[bits / 8] >> (7 - bits % 8) & 1)) bits++;
  return (uint8_t)bits;
}

static int same_host(const struct net_addr *a, const struct net_addr *b) {
  char one[64], two[64];
  return a->ss.ss_family == b->ss.ss_family && strcmp(explain_host((const struct sockaddr *)&a->ss, 0, one, sizeof one),
                                                      explain_host((const struct sockaddr *)&b->ss, 0, two, sizeof two)) == 0;
}

/* The more the better: what AGG_BIND names, then IPv4, then IPv6 that is known beyond the link. */
static int worth(const struct search *s, const struct net_addr *a) {
  for (int i = 0; i < s->n_prefer; i++)
    if (same_host(&s->prefer[i], a)) return 4;
  if (a->ss.ss_family == AF_INET) return 3;
  struct sockaddr_in6 in6;
  memcpy(&in6, &a->ss, sizeof in6);
  return IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr) ? 0 : 2; /* one of the link says nothing at another host */
}

/* Whether the CM gives this address to the port. */
static int belongs(const struct search *s, struct net_addr *a, const char *device, int port) {
  struct rdma_cm_id *id = NULL;
  if (rdma_create_id(s->channel, &id, NULL, RDMA_PS_TCP) != 0) return 0;
  int yes = rdma_bind_addr(id, (struct sockaddr *)&a->ss) == 0 && id->verbs != NULL && id->port_num == port &&
            strcmp(ibv_get_device_name(id->verbs->device), device) == 0;
  rdma_destroy_id(id);
  return yes;
}

/* The best address of the port that may be `only` (NULL: any): 1, or 0 when it has none. */
static int find_address(const struct search *s, const char *device, int port, const struct net_addr *only, struct verbs_address *out) {
  struct ifaddrs *list = NULL;
  int best = 0;
  if (getifaddrs(&list) != 0) return 0;
  for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
    if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP)) continue;
    int family = i->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    struct net_addr a = {.len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)};
    memcpy(&a.ss, i->ifa_addr, a.len);
    int value = worth(s, &a);
    if (value <= best || (only != NULL && !same_host(only, &a)) || !belongs(s, &a, device, port)) continue;
    best = value;
    *out = (struct verbs_address){.at = a, .prefix = prefix_bits(i->ifa_netmask)};
  }
  freeifaddrs(list);
  return best > 0;
}

/* ---- GIDs ---- */

static void gid_address(const struct ibv_gid_entry *e, struct net_addr *a) {
  struct in6_addr in6;
  memcpy(&in6, e->gid.raw, sizeof in6);
  *a = (struct net_addr){0};
  if (IN6_IS_ADDR_V4MAPPED(&in6)) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    memcpy(&to.sin_addr, e->gid.raw + 12, 4);
    memcpy(&a->ss, &to, a->len = sizeof to);
  } else {
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = in6};
    memcpy(&a->ss, &to, a->len = sizeof to);
  }
}

static const char *gid_type(uint32_t type) {
  return type == IBV_GID_TYPE_ROCE_V2 ? "RoCE v2" : type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1" : "InfiniBand";
}

/* One by one: the whole table is had only by who knows how many entries all ports have. */
static const char *list_gids(struct ibv_context *ctx, int port, char *buf, size_t cap) {
  struct ibv_port_attr pa = {0};
  size_t at = 0;
  str_copy(buf, cap, "none");
  if (ibv_query_port(ctx, (uint8_t)port, &pa) != 0) return buf;
  for (uint32_t i = 0; i < (uint32_t)pa.gid_tbl_len && at < cap; i++) {
    struct ibv_gid_entry e;
    struct net_addr a;
    char host[64];
    if (ibv_query_gid_ex(ctx, (uint32_t)port, i, &e, 0) != 0) continue;
    gid_address(&e, &a);
    at += (size_t)snprintf(buf + at, cap - at, "%s%u: %s %s", at > 0 ? ", " : "", i, gid_type(e.gid_type),
                           explain_host((const struct sockaddr *)&a.ss, 0, host, sizeof host));
  }
  return buf;
}

/* The GID that is asked for: on Ethernet it is an address, and the rail gets that one. */
static int check_gid(const struct search *s, struct ibv_context *ctx, const char *device, int port, int ethernet, struct net_addr *address,
                     agg_error_t *err) {
  struct ibv_gid_entry e;
  char gids[300];
  uint32_t index = (uint32_t)s->rdma->gid_index;
  if (ibv_query_gid_ex(ctx, (uint32_t)port, index, &e, 0) != 0)
    return err_set(err, AGG_EINVAL, "AGG_GID_INDEX=%u: %s port %d has no such GID; it has %s", index, device, port,
                   list_gids(ctx, port, gids, sizeof gids));
  if (ethernet && e.gid_type == IBV_GID_TYPE_ROCE_V1)
    return err_set(err, AGG_EINVAL, "AGG_GID_INDEX=%u: GID %u of %s port %d is RoCE v1, which is not routed; take one of RoCE v2: %s",
                   index, index, device, port, list_gids(ctx, port, gids, sizeof gids));
  if (ethernet) gid_address(&e, address);
  return AGG_OK;
}

/* ---- ports ---- */

/* Passed over where nothing names it; where it was named the reason is an error. */
static int refuse(struct search *s, int named, agg_error_t *err, const char *device, int port, const char *why) {
  if (named) return err_set(err, AGG_ENOTSUP, "AGG_DEVICES: %s port %d %s", device, port, why);
  snprintf(s->skipped, sizeof s->skipped, "%s port %d %s", device, port, why);
  LOG_INFO(s->config->log, "verbs: %s", s->skipped);
  return AGG_OK;
}

static int look_at_port(struct search *s, struct ibv_context *ctx, const char *device, int port, agg_error_t *err) {
  struct ibv_port_attr pa = {0};
  struct net_addr only = {0};
  struct verbs_address address;
  char why[160];
  int named = wanted_port(s, device, port) != NULL, ethernet, active;
  if (s->n_wanted > 0 && !named) return AGG_OK;
  if (ibv_query_port(ctx, (uint8_t)port, &pa) != 0) return refuse(s, named, err, device, port, "cannot be queried");
  ethernet = pa.link_layer == IBV_LINK_LAYER_ETHERNET;
  active = pa.state == IBV_PORT_ACTIVE;
  if (!active) {
    snprintf(
        why, sizeof why, "is not active but %s: %s", ibv_port_state_str(pa.state),
        pa.state == IBV_PORT_INIT && !ethernet ? "no subnet manager has configured it" : "its link is down, or its interface is not up");
    int rc = refuse(s, named, err, device, port, why);
    if (named || s->rdma->gid_index >= 0) return rc; /* a port that is down may not have its GIDs yet */
  }
  if (s->rdma->gid_index >= 0) {
    int rc = check_gid(s, ctx, device, port, ethernet, &only, err);
    if (rc != AGG_OK) return rc;
  }
  if (!find_address(s, device, port, only.len != 0 ? &only : NULL, &address))
    return !active ? AGG_OK
                   : refuse(s, named || only.len != 0, err, device, port,
                            "has no IP address that other hosts know: connections are made by address, so give its interface one");
  if (s->n_found == VERBS_RAILS_MAX) return refuse(s, named, err, device, port, "is one too many: at most 8 are used");
  address.fabric = ctx->device->transport_type == IBV_TRANSPORT_IWARP ? VERBS_IWARP : ethernet ? VERBS_ROCE : VERBS_INFINIBAND;
  address.down = !active;
  s->n_active += (unsigned)active;
  struct found *f = &s->found[s->n_found++];
  *f = (struct found){.port_num = (uint8_t)port, .sgid_index = s->rdma->gid_index, .address = address};
  str_copy(f->device, sizeof f->device, device);
  return AGG_OK;
}

static int look_at_device(struct search *s, struct ibv_device *dev, agg_error_t *err) {
  const char *name = ibv_get_device_name(dev);
  struct ibv_device_attr attr = {0};
  int named = 0, rc = AGG_OK;
  for (unsigned i = 0; i < s->n_wanted; i++) named |= strcmp(s->wanted[i].device, name) == 0;
  if (s->n_wanted > 0 && !named) return AGG_OK;
  struct ibv_context *ctx = ibv_open_device(dev);
  if (ctx == NULL || ibv_query_device(ctx, &attr) != 0) {
    char why[160];
    snprintf(why, sizeof why, "cannot be opened: %s%s", strerror(errno),
             errno == EACCES || errno == EPERM ? " (permissions of /dev/infiniband/uverbs*)" : "");
    rc = refuse(s, named, err, name, 1, why);
  }
  for (int port = 1; ctx != NULL && rc == AGG_OK && port <= attr.phys_port_cnt; port++) rc = look_at_port(s, ctx, name, port, err);
  if (ctx != NULL) ibv_close_device(ctx);
  return rc;
}

static int check_all_used(const struct search *s, agg_error_t *err) {
  for (unsigned i = 0; i < s->n_wanted; i++) {
    const struct wanted *w = &s->wanted[i];
    if (w->used) continue;
    int there = 0;
    for (int k = 0; k < s->n_list; k++) there |= strcmp(ibv_get_device_name(s->list[k]), w->device) == 0;
    if (there) return err_set(err, AGG_EINVAL, "AGG_DEVICES: %s has no port %d", w->device, w->port);
    return err_set(err, AGG_EINVAL, "AGG_DEVICES: there is no RDMA device %s here; there is %s", w->device, s->names);
  }
  return AGG_OK;
}

/* In the order of AGG_DEVICES; without it by name (2 before 10), so that all hosts of a kind number their rails alike. */
static int before(const struct search *s, const struct found *a, const struct found *b) {
  for (unsigned i = 0; i < s->n_wanted; i++) {
    const struct wanted *w = &s->wanted[i];
    int is_a = strcmp(w->device, a->device) == 0 && (w->port == 0 || w->port == a->port_num);
    int is_b = strcmp(w->device, b->device) == 0 && (w->port == 0 || w->port == b->port_num);
    if (is_a != is_b) return is_a;
  }
  int by_name = strverscmp(a->device, b->device);
  return by_name < 0 || (by_name == 0 && a->port_num < b->port_num);
}

static void sort_found(struct search *s) {
  for (unsigned i = 1; i < s->n_found; i++) {
    struct found f = s->found[i];
    unsigned at = i;
    for (; at > 0 && before(s, &f, &s->found[at - 1]); at--) s->found[at] = s->found[at - 1];
    s->found[at] = f;
  }
}

int verbs_find(const struct tp_config *config, const struct tp_rdma *rdma, struct rdma_event_channel *channel, struct found *found,
               agg_error_t *err) {
  struct search s = {.config = config, .rdma = rdma, .channel = channel, .found = found};
  int rc = parse_devices(&s, err);
  if (rc == AGG_OK) rc = list_devices(&s, err);
  if (rc == AGG_OK && config->bind_host != NULL && config->bind_host[0] != '\0') {
    s.n_prefer = net_resolve(config->bind_host, 0, 0, s.prefer, ARRAY_LEN(s.prefer), err);
    if (s.n_prefer < 0) rc = s.n_prefer;
  }
  for (int i = 0; i < s.n_list && rc == AGG_OK; i++) rc = look_at_device(&s, s.list[i], err);
  if (rc == AGG_OK) rc = check_all_used(&s, err);
  if (rc == AGG_OK && s.n_active == 0) rc = err_set(err, AGG_ENOTSUP, "no RDMA port can be used: %s", s.skipped);
  if (s.list != NULL) ibv_free_device_list(s.list);
  sort_found(&s);
  return rc == AGG_OK ? (int)s.n_found : rc;
}
