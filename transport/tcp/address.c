/*
 * Owns which addresses a tp listens on and tells its peers, and the blob in which they travel. Never connects to a peer: the UDP
 * socket that asks the kernel for a route sends nothing.
 */
#include "address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "sysfs.h"

#define BLOB_HEAD 6
#define BLOB_VERSION 1

/* ---- addresses ---- */

static struct net_addr make4(const void *bytes, uint16_t port) {
  struct net_addr a = {.len = sizeof(struct sockaddr_in)};
  struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  memcpy(&in4.sin_addr, bytes, sizeof in4.sin_addr);
  memcpy(&a.ss, &in4, sizeof in4);
  return a;
}

static struct net_addr make6(const void *bytes, uint16_t port) {
  struct net_addr a = {.len = sizeof(struct sockaddr_in6)};
  struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  memcpy(&in6.sin6_addr, bytes, sizeof in6.sin6_addr);
  memcpy(&a.ss, &in6, sizeof in6);
  return a;
}

/* The bytes of the host part; *n is 4 or 16. An IPv4 address mapped into IPv6 is given as IPv4. */
static void host_bytes(const struct net_addr *a, unsigned char out[16], unsigned *n) {
  if (a->ss.ss_family == AF_INET) {
    struct sockaddr_in in4;
    memcpy(&in4, &a->ss, sizeof in4);
    memcpy(out, &in4.sin_addr, 4);
    *n = 4;
    return;
  }
  struct sockaddr_in6 in6;
  memcpy(&in6, &a->ss, sizeof in6);
  int mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
  *n = mapped ? 4 : 16;
  memcpy(out, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), *n);
}

static int is_any(const struct net_addr *a) {
  unsigned char bytes[16], zero[16] = {0};
  unsigned n;
  host_bytes(a, bytes, &n);
  return memcmp(bytes, zero, n) == 0;
}

/* An address of the link only means nothing without naming the interface, which differs from host to host. */
static int is_link_local(const struct net_addr *a) {
  unsigned char b[16];
  unsigned n;
  host_bytes(a, b, &n);
  return n == 4 ? b[0] == 169 && b[1] == 254 : b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
}

/* ---- what to tell ---- */

/* The own address on the route to `peer`, with port 0: 1, or 0 when there is no route. */
static int route_source(const struct net_addr *peer, struct net_addr *own) {
  struct net_addr to = *peer, got = {.len = sizeof got.ss};
  uint16_t port = htons(9); /* some port: nothing is sent */
  size_t at = to.ss.ss_family == AF_INET ? offsetof(struct sockaddr_in, sin_port) : offsetof(struct sockaddr_in6, sin6_port);
  memcpy((char *)&to.ss + at, &port, sizeof port);
  int s = socket(to.ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), ok = 0;
  if (s < 0) return 0;
  if (connect(s, (const struct sockaddr *)&to.ss, to.len) == 0)
    ok = getsockname(s, (struct sockaddr *)&got.ss, &got.len) == 0 && !is_any(&got) && !is_link_local(&got);
  close(s);
  port = 0; /* the socket's own says nothing: whoever listens here must be given a free one */
  memcpy((char *)&got.ss + at, &port, sizeof port);
  if (ok) *own = got;
  return ok;
}

/* Every address of this host that another host may know it by. */
static int interface_addrs(struct net_addr *adv) {
  struct ifaddrs *list = NULL;
  int n = 0;
  if (getifaddrs(&list) != 0) return 0;
  for (const struct ifaddrs *i = list; i != NULL && n < TCP_ADDRS_MAX; i = i->ifa_next) {
    if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK)) continue;
    int family = i->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    struct net_addr a = {.len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)};
    memcpy(&a.ss, i->ifa_addr, a.len);
    if (!is_link_local(&a)) adv[n++] = a;
  }
  freeifaddrs(list);
  return n;
}

static int loopback_addr(struct net_addr *adv) {
  const unsigned char lo[4] = {127, 0, 0, 1};
  adv[0] = make4(lo, 0);
  return 1;
}

static int own_addrs(const char *peer_host, struct net_addr *adv, agg_error_t *err) {
  struct net_addr peers[TCP_ADDRS_MAX];
  int n = 0;
  if (peer_host != NULL && peer_host[0] != '\0') {
    int found = net_resolve(peer_host, 0, 0, peers, TCP_ADDRS_MAX, err);
    if (found < 0) return err_prefix(err, "choosing the own address towards the peer"), found;
    for (int i = 0; i < found && n == 0; i++) n = route_source(&peers[i], &adv[0]);
  }
  if (n == 0) n = interface_addrs(adv);
  return n > 0 ? n : loopback_addr(adv);
}

int tcp_address_choose(const struct tp_config *config, struct net_addr *listen_at, struct net_addr *adv, agg_error_t *err) {
  const char *bind_host = config->bind_host != NULL ? config->bind_host : "";
  int rc = net_resolve(bind_host, 0, 1, listen_at, 1, err);
  if (rc < 0) return rc;
  if (!is_any(listen_at)) {
    if (listen_at->ss.ss_family == AF_INET6 && is_link_local(listen_at)) {
      return err_set(err, AGG_EINVAL, "cannot listen on \"%s\": peers cannot use an IPv6 link-local address; give a global one", bind_host);
    }
    adv[0] = *listen_at;
    return 1;
  }
  int n = own_addrs(config->peer_host, adv, err);
  if (n < 0) return n;
  /* Told to listen nowhere in particular, and only this host will be told to come: no other host needs to reach the socket. */
  if (bind_host[0] == '\0' && n == 1 && net_is_loopback(&adv[0])) *listen_at = adv[0];
  unsigned char b[16];
  unsigned family = 0;
  host_bytes(listen_at, b, &family);
  /* The IPv4 wildcard, by name or because this machine has no IPv6, cannot be reached by IPv6. */
  if (listen_at->ss.ss_family == AF_INET) {
    int kept = 0;
    for (int i = 0; i < n; i++) {
      host_bytes(&adv[i], b, &family);
      if (family == 4) adv[kept++] = adv[i];
    }
    n = kept > 0 ? kept : loopback_addr(adv);
  }
  return n;
}

/* ---- the way out ---- */

/* The network device that has the address. */
static int device_of(const struct net_addr *a, char *name, size_t cap) {
  struct ifaddrs *list = NULL;
  unsigned char want[16], have[16];
  unsigned n = 0, m = 0;
  int found = 0;
  if (getifaddrs(&list) != 0) return 0;
  host_bytes(a, want, &n);
  for (const struct ifaddrs *i = list; i != NULL && !found; i = i->ifa_next) {
    if (i->ifa_addr == NULL || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6)) continue;
    struct net_addr b = {.len = i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)};
    memcpy(&b.ss, i->ifa_addr, b.len);
    host_bytes(&b, have, &m);
    found = m == n && memcmp(want, have, n) == 0;
    if (found) str_copy(name, cap, i->ifa_name);
  }
  freeifaddrs(list);
  return found;
}

unsigned tcp_address_port(const struct net_addr *adv, int n, struct tp_port *out, unsigned max) {
  for (int i = 0; i < n; i++) {
    char device[IF_NAMESIZE];
    if (net_is_loopback(&adv[i]) || !device_of(&adv[i], device, sizeof device)) continue;
    if (max > 0) {
      str_copy(out->name, sizeof out->name, device);
      out->bytes_per_s = sysfs_netdev_speed(device);
      out->numa = sysfs_numa("/sys/class/net/%s/device/numa_node", device);
    }
    return 1;
  }
  return 0;
}

/* ---- the blob ---- */

size_t tcp_address_encode(const struct net_addr *addrs, int n, uint16_t port, void *buf) {
  assert(n >= 1 && n <= TCP_ADDRS_MAX);
  _Static_assert(BLOB_HEAD + TCP_ADDRS_MAX * 17 <= TP_ADDRESS_MAX, "the blob fits");
  unsigned char *out = buf, *at = out + BLOB_HEAD;
  out[0] = 'T';
  out[1] = BLOB_VERSION;
  out[2] = (unsigned char)n;
  out[3] = 0;
  out[4] = (unsigned char)port;
  out[5] = (unsigned char)(port >> 8);
  for (int i = 0; i < n; i++) {
    unsigned bytes;
    host_bytes(&addrs[i], at + 1, &bytes);
    at[0] = bytes == 4 ? 4 : 6;
    at += 1 + bytes;
  }
  return (size_t)(at - out);
}

int tcp_address_decode(const void *blob, size_t len, struct net_addr *addrs) {
  const unsigned char *in = blob;
  if (len < BLOB_HEAD || len > TP_ADDRESS_MAX || in[0] != 'T' || in[1] != BLOB_VERSION || in[3] != 0) return 0;
  int count = in[2];
  uint16_t port = (uint16_t)(in[4] | in[5] << 8);
  if (count < 1 || count > TCP_ADDRS_MAX || port == 0) return 0;
  size_t at = BLOB_HEAD;
  for (int i = 0; i < count; i++) {
    if (at == len || (in[at] != 4 && in[at] != 6)) return 0;
    size_t bytes = in[at] == 4 ? 4 : 16;
    if (len - at - 1 < bytes) return 0;
    addrs[i] = bytes == 4 ? make4(in + at + 1, port) : make6(in + at + 1, port);
    if (is_any(&addrs[i])) return 0;
    at += 1 + bytes;
  }
  return at == len ? count : 0;
}
