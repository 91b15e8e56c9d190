/*
 * Owns sockets' set-up: splitting and resolving names, listening, connecting, keepalive; and where this process is. Never reads or writes
 * payload, and never waits except in net_resolve and net_connect, whose comments say so.
 */
#include "net.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "util.h"

/* ---- names ---- */

/* Finds host and port text in `text`: 0, or -1 when it has none of the forms. *port is NULL where the text gives none. */
static int split_parts(const char *text, const char **host, size_t *host_len, const char **port) {
  const char *after;
  if (text[0] == '[') {
    const char *close = strchr(text, ']');
    if (close == NULL || close == text + 1) return -1;
    *host = text + 1;
    *host_len = (size_t)(close - *host);
    after = close + 1;
  } else {
    *host = text;
    *host_len = strcspn(text, ":");
    after = text + *host_len;
  }
  if (*after != '\0' && *after != ':') return -1;
  *port = *after == ':' ? after + 1 : NULL;
  return 0;
}

int net_split(const char *text, int default_port, char *host, size_t host_cap, uint16_t *port, agg_error_t *err) {
  const char *name, *port_text;
  size_t name_len;
  uint64_t number = (uint64_t)default_port;
  if (text == NULL || text[0] == '\0') return err_set(err, AGG_EINVAL, "empty address: expected host:port");
  if (text[0] != '[' && strchr(text, ':') != strrchr(text, ':')) {
    return err_set(err, AGG_EINVAL, "\"%s\": an IPv6 address goes in brackets, as in [::1]:4000", text);
  }
  if (split_parts(text, &name, &name_len, &port_text) != 0)
    return err_set(err, AGG_EINVAL, "\"%s\": expected host:port or [IPv6]:port", text);
  if (port_text == NULL && default_port < 0) return err_set(err, AGG_EINVAL, "\"%s\" has no port: expected host:port", text);
  if (port_text != NULL && parse_u64(port_text, UINT16_MAX, &number) != 0) {
    return err_set(err, AGG_EINVAL, "\"%s\": the port must be a number from 0 to 65535", text);
  }
  if (name_len >= host_cap) return err_set(err, AGG_EINVAL, "\"%s\": the host name is longer than %zu bytes", text, host_cap - 1);
  memcpy(host, name, name_len);
  host[name_len] = '\0';
  *port = (uint16_t)number;
  return 0;
}

static int resolve_any(uint16_t port, struct net_addr *out) {
  memset(out, 0, sizeof *out);
  int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe >= 0) {
    close(probe);
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
    memcpy(&out->ss, &any6, sizeof any6);
    out->len = sizeof any6;
  } else {
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {.s_addr = htonl(INADDR_ANY)}};
    memcpy(&out->ss, &any4, sizeof any4);
    out->len = sizeof any4;
  }
  return 1;
}

int net_resolve(const char *host, uint16_t port, int passive, struct net_addr *out, int max, agg_error_t *err) {
  assert(max > 0);
  if (host[0] == '\0' && passive) return resolve_any(port, out); /* one socket for IPv4 and IPv6 where the machine has IPv6 */
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
  struct addrinfo *list = NULL;
  char service[8];
  (void)snprintf(service, sizeof service, "%u", (unsigned)port);
  int rc = getaddrinfo(host[0] != '\0' ? host : NULL, service, &hints, &list);
  if (rc == EAI_SYSTEM) return err_sys(err, AGG_ESYS, errno, "cannot look up host \"%s\"", host);
  if (rc == EAI_MEMORY) return err_set(err, AGG_ENOMEM, "cannot look up host \"%s\": out of memory", host);
  if (rc != 0) return err_set(err, AGG_EINVAL, "unknown host \"%s\": %s", host, gai_strerror(rc));
  int n = 0;
  for (const struct addrinfo *a = list; a != NULL && n < max; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    memset(&out[n], 0, sizeof out[n]);
    memcpy(&out[n].ss, a->ai_addr, a->ai_addrlen);
    out[n].len = a->ai_addrlen;
    n++;
  }
  freeaddrinfo(list);
  if (n == 0) return err_set(err, AGG_EINVAL, "host \"%s\" has no IPv4 or IPv6 address", host);
  return n;
}

/* ---- listening ---- */

static int is_any6(const struct net_addr *addr) {
  if (addr->ss.ss_family != AF_INET6) return 0;
  struct sockaddr_in6 in6;
  memcpy(&in6, &addr->ss, sizeof in6);
  return IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr);
}

static int listen_error(const struct net_addr *addr, int errno_value, agg_error_t *err) {
  char text[80];
  net_format(addr, text, sizeof text);
  if (errno_value == EADDRINUSE) {
    return err_set(err, AGG_ESYS, "port %u is in use (%s): stop the program that has it or choose another port", (unsigned)net_port(addr),
                   text);
  }
  if (errno_value == EADDRNOTAVAIL) return err_set(err, AGG_ESYS, "cannot listen on %s: it is not an address of this host", text);
  return err_sys(err, AGG_ESYS, errno_value, "cannot listen on %s", text);
}

int net_listen(const struct net_addr *addr, int backlog, int *fd, struct net_addr *bound, agg_error_t *err) {
  int one = 1, v6only = !is_any6(addr);
  struct net_addr got = {.len = sizeof got.ss};
  int s = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (s < 0) return listen_error(addr, errno, err);
  (void)setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (addr->ss.ss_family == AF_INET6 && setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) != 0) goto fail_close;
  if (bind(s, (const struct sockaddr *)&addr->ss, addr->len) != 0) goto fail_close;
  if (listen(s, backlog) != 0) goto fail_close;
  if (getsockname(s, (struct sockaddr *)&got.ss, &got.len) != 0) goto fail_close;
  *fd = s;
  if (bound != NULL) *bound = got;
  return 0;

fail_close:;
  int why = errno;
  close(s);
  return listen_error(addr, why, err);
}

/* ---- connecting ---- */

static int connect_error(const struct net_addr *addr, int errno_value, agg_error_t *err) {
  char text[80];
  return err_sys(err, AGG_ESYS, errno_value, "cannot connect to %s", net_format(addr, text, sizeof text));
}

int net_connect_start(const struct net_addr *addr, int *fd, agg_error_t *err) {
  int s = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (s < 0) return connect_error(addr, errno, err);
  /* an interrupted non-blocking connect goes on in the background, like EINPROGRESS */
  if (connect(s, (const struct sockaddr *)&addr->ss, addr->len) != 0 && errno != EINPROGRESS && errno != EINTR) {
    int why = errno;
    close(s);
    return connect_error(addr, why, err);
  }
  *fd = s;
  return 0;
}

/* Waits until s is writable or deadline_ns: 1, 0 when the time is over, -1 with errno. */
static int wait_writable(int s, uint64_t deadline_ns) {
  for (;;) {
    uint64_t now = clock_now_ns();
    uint64_t left_ms = now < deadline_ns ? div_up_u64(deadline_ns - now, 1000000) : 0;
    struct pollfd p = {.fd = s, .events = POLLOUT};
    int rc = poll(&p, 1, (int)MIN_OF(left_ms, 1000000000u));
    if (rc > 0) return 1;
    if (rc < 0 && errno != EINTR) return -1;
    if (rc == 0 && left_ms == 0) return 0;
  }
}

/* A socket that tries a port of its own host on which nobody listens can, by simultaneous open, meet itself. */
static int met_itself(int s) {
  struct net_addr own = {.len = sizeof own.ss}, peer = {.len = sizeof peer.ss};
  if (getsockname(s, (struct sockaddr *)&own.ss, &own.len) != 0 || getpeername(s, (struct sockaddr *)&peer.ss, &peer.len) != 0) return 0;
  return own.len == peer.len && memcmp(&own.ss, &peer.ss, own.len) == 0;
}

static int connect_one(const struct net_addr *addr, uint64_t deadline_ns, int *fd, agg_error_t *err) {
  int s, why = 0;
  socklen_t len = sizeof why;
  char text[80];
  int rc = net_connect_start(addr, &s, err);
  if (rc != 0) return rc;
  int ready = wait_writable(s, deadline_ns);
  if (ready == 0) {
    rc = err_set(err, AGG_ETIMEDOUT, "cannot connect to %s: no answer in time", net_format(addr, text, sizeof text));
    goto fail_close;
  }
  if (ready < 0 || getsockopt(s, SOL_SOCKET, SO_ERROR, &why, &len) != 0) why = errno;
  if (why == 0 && met_itself(s)) why = ECONNREFUSED;
  if (why != 0) {
    rc = connect_error(addr, why, err);
    goto fail_close;
  }
  int one = 1;
  (void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  *fd = s;
  return 0;

fail_close:
  close(s);
  return rc;
}

int net_connect(const char *host, uint16_t port, int timeout_ms, int *fd, agg_error_t *err) {
  struct net_addr addrs[16];
  uint64_t deadline = clock_now_ns() + (uint64_t)MAX_OF(timeout_ms, 0) * 1000000u;
  int n = net_resolve(host, port, 0, addrs, (int)ARRAY_LEN(addrs), err);
  if (n < 0) return n;
  int rc = AGG_EINVAL;
  for (int i = 0; i < n;
       i++) { /* each address has an equal share of the time that is left, so that one silent address does not use it all */
    uint64_t now = clock_now_ns();
    uint64_t left = now < deadline ? deadline - now : 0;
    rc = connect_one(&addrs[i], now + left / (unsigned)(n - i), fd, err);
    if (rc == 0) return 0;
  }
  if (host[0] != '\0') err_prefix(err, "%s", host);
  return rc;
}

/* ---- options and views ---- */

void net_tune(int fd, int seconds) {
  int one = 1, probes = 3;
  int step = MAX_OF(seconds / probes, 1);
  unsigned limit_ms = (unsigned)MAX_OF(seconds, 1) * 1000u;
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &step, sizeof step);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &step, sizeof step);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static uint64_t mix(uint64_t h, const void *bytes, size_t n) {
  const unsigned char *at = bytes;
  for (size_t i = 0; i < n; i++) h = (h ^ at[i]) * 0x100000001b3u; /* FNV-1a */
  return h;
}

uint64_t net_place(void) {
  char boot[36];
  struct stat ns;
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, boot, sizeof boot);
  close(fd);
  if (n != (ssize_t)sizeof boot || stat("/proc/self/ns/net", &ns) != 0) return 0;
  uint64_t dev = ns.st_dev, ino = ns.st_ino, h = mix(0xcbf29ce484222325u, boot, sizeof boot);
  return MAX_OF(mix(mix(h, &dev, sizeof dev), &ino, sizeof ino), (uint64_t)1);
}

/* The IPv4 address in network order, plain or mapped into IPv6: 1, or 0 when there is none. */
static int as_ipv4(const struct net_addr *addr, struct in_addr *out) {
  if (addr->ss.ss_family == AF_INET) {
    struct sockaddr_in in4;
    memcpy(&in4, &addr->ss, sizeof in4);
    *out = in4.sin_addr;
    return 1;
  }
  if (addr->ss.ss_family == AF_INET6) {
    struct sockaddr_in6 in6;
    memcpy(&in6, &addr->ss, sizeof in6);
    if (!IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) return 0;
    memcpy(out, in6.sin6_addr.s6_addr + 12, sizeof *out);
    return 1;
  }
  return 0;
}

int net_is_loopback(const struct net_addr *addr) {
  struct in_addr v4;
  if (as_ipv4(addr, &v4)) return ntohl(v4.s_addr) >> 24 == 127;
  if (addr->ss.ss_family != AF_INET6) return 0;
  struct sockaddr_in6 in6;
  memcpy(&in6, &addr->ss, sizeof in6);
  return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
}

uint16_t net_port(const struct net_addr *addr) {
  if (addr->ss.ss_family == AF_INET) {
    struct sockaddr_in in4;
    memcpy(&in4, &addr->ss, sizeof in4);
    return ntohs(in4.sin_port);
  }
  if (addr->ss.ss_family == AF_INET6) {
    struct sockaddr_in6 in6;
    memcpy(&in6, &addr->ss, sizeof in6);
    return ntohs(in6.sin6_port);
  }
  return 0;
}

const char *net_format(const struct net_addr *addr, char *buf, size_t cap) {
  char host[INET6_ADDRSTRLEN] = "?";
  struct in_addr v4;
  if (as_ipv4(addr, &v4)) {
    (void)inet_ntop(AF_INET, &v4, host, sizeof host);
    (void)snprintf(buf, cap, "%s:%u", host, (unsigned)net_port(addr));
  } else if (addr->ss.ss_family == AF_INET6) {
    struct sockaddr_in6 in6;
    memcpy(&in6, &addr->ss, sizeof in6);
    (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
    (void)snprintf(buf, cap, "[%s]:%u", host, (unsigned)net_port(addr));
  } else {
    (void)snprintf(buf, cap, "address of family %u", (unsigned)addr->ss.ss_family);
  }
  return buf;
}
