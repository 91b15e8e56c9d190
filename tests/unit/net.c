/* Addresses, listening, connecting. Loopback only; the IPv6 cases are left out on a machine without IPv6. */
#include "base/net.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

#define LONG_MS 20000

/* ---- splitting ---- */

static const struct {
  const char *text;
  int default_port;
  const char *host;
  int port;
} good[] = {
    {"host:4000", -1, "host", 4000},
    {"10.0.0.1:1", -1, "10.0.0.1", 1},
    {"[::1]:4000", -1, "::1", 4000},
    {":4000", -1, "", 4000},
    {"host", 77, "host", 77},
    {"host:5", 77, "host", 5},
    {"[fe80::1%eth0]", 77, "fe80::1%eth0", 77},
    {"a.b-c.example:65535", -1, "a.b-c.example", 65535},
    {"h:0", -1, "h", 0},
    {"h:00080", -1, "h", 80},
};

START_TEST(good_addresses_are_split) {
  char host[64];
  uint16_t port = 9;
  agg_error_t err = {0};
  ck_assert_msg(net_split(good[_i].text, good[_i].default_port, host, sizeof host, &port, &err) == 0, "%s", err.text);
  ck_assert_str_eq(host, good[_i].host);
  ck_assert_int_eq(port, good[_i].port);
}
END_TEST

static const struct {
  const char *text;
  int default_port;
  const char *words; /* in the error's text */
} bad[] = {
    {"", -1, "empty"},
    {"host", -1, "no port"},
    {"host:", -1, "port must be"},
    {"host:x", -1, "port must be"},
    {"host:65536", -1, "port must be"},
    {"host:-1", -1, "port must be"},
    {"host: 1", -1, "port must be"},
    {"host:1 ", -1, "port must be"},
    {"::1", 5, "brackets"},
    {"::1:4000", -1, "brackets"},
    {"a:b:1", -1, "brackets"},
    {"[::1", -1, "expected"},
    {"[::1]4000", -1, "expected"},
    {"[]:1", -1, "expected"},
    {"[::1]:", -1, "port must be"},
    {"[::1]", -1, "no port"},
    {"host:99999999999999999999", -1, "port must be"},
};

START_TEST(bad_addresses_are_refused_and_quoted) {
  char host[64] = "before";
  uint16_t port = 9;
  agg_error_t err = {0};
  ck_assert_int_eq(net_split(bad[_i].text, bad[_i].default_port, host, sizeof host, &port, &err), AGG_EINVAL);
  ck_assert_ptr_nonnull(strstr(err.text, bad[_i].words));
  ck_assert_ptr_nonnull(strstr(err.text, bad[_i].text));
  ck_assert_str_eq(host, "before");
  ck_assert_int_eq(port, 9);
}
END_TEST

START_TEST(a_host_must_fit) {
  char host[5] = "";
  uint16_t port;
  ck_assert_int_eq(net_split("four:1", -1, host, sizeof host, &port, NULL), 0);
  ck_assert_int_eq(net_split("fives:1", -1, host, sizeof host, &port, NULL), AGG_EINVAL);
  ck_assert_int_eq(net_split(NULL, -1, host, sizeof host, &port, NULL), AGG_EINVAL);
  ck_assert_str_eq(host, "four");
}
END_TEST

/* ---- resolving and printing ---- */

static const struct {
  const char *host;
  const char *printed;
  int loopback;
} literals[] = {
    {"127.0.0.1", "127.0.0.1:4000", 1},       {"127.8.9.10", "127.8.9.10:4000", 1},
    {"10.0.0.1", "10.0.0.1:4000", 0},         {"::1", "[::1]:4000", 1},
    {"2001:db8::1", "[2001:db8::1]:4000", 0}, {"::ffff:127.0.0.1", "127.0.0.1:4000", 1},
    {"::ffff:10.1.2.3", "10.1.2.3:4000", 0},  {"0.0.0.0", "0.0.0.0:4000", 0},
};

START_TEST(literals_are_resolved_and_printed) {
  struct net_addr addr;
  char text[80], small[6];
  ck_assert_int_eq(net_resolve(literals[_i].host, 4000, 0, &addr, 1, NULL), 1);
  ck_assert_str_eq(net_format(&addr, text, sizeof text), literals[_i].printed);
  ck_assert_uint_eq(strlen(net_format(&addr, small, sizeof small)), 5);
  ck_assert_int_eq(net_is_loopback(&addr), literals[_i].loopback);
  ck_assert_uint_eq(net_port(&addr), 4000);
}
END_TEST

START_TEST(an_unknown_host_is_named) {
  struct net_addr addr;
  agg_error_t err = {0};
  ck_assert_int_eq(net_resolve("no..such", 1, 0, &addr, 1, &err), AGG_EINVAL); /* an empty label: refused without asking anyone */
  ck_assert_ptr_nonnull(strstr(err.text, "no..such"));
}
END_TEST

START_TEST(other_families_are_harmless) {
  struct net_addr addr = {.len = sizeof addr.ss};
  char text[80];
  addr.ss.ss_family = AF_UNIX;
  ck_assert_ptr_nonnull(strstr(net_format(&addr, text, sizeof text), "family"));
  ck_assert_int_eq(net_is_loopback(&addr), 0);
  ck_assert_uint_eq(net_port(&addr), 0);
}
END_TEST

/* ---- listening and connecting ---- */

static void assert_flags(int fd) {
  ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static int listen_on(const char *host, int backlog, struct net_addr *bound) {
  struct net_addr addr;
  agg_error_t err = {0};
  int fd = -1;
  ck_assert_int_ge(net_resolve(host, 0, 1, &addr, 1, &err), 1);
  ck_assert_msg(net_listen(&addr, backlog, &fd, bound, &err) == 0, "%s", err.text);
  assert_flags(fd);
  ck_assert_uint_gt(net_port(bound), 0);
  return fd;
}

static int has_ipv6(void) {
  struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int ok = fd >= 0 && bind(fd, (struct sockaddr *)&in6, sizeof in6) == 0;
  if (fd >= 0) close(fd);
  return ok;
}

static int wait_for(int fd, short what) {
  struct pollfd p = {.fd = fd, .events = what};
  return poll(&p, 1, LONG_MS) == 1;
}

/* Connects to host:port, accepts, and sends a byte across. */
static void assert_meets(const char *host, int listener, uint16_t port) {
  agg_error_t err = {0};
  int fd = -1, one = 0;
  char byte = 'x';
  socklen_t len = sizeof one;
  ck_assert_msg(net_connect(host, port, LONG_MS, &fd, &err) == 0, "%s", err.text);
  assert_flags(fd);
  ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, &len), 0);
  ck_assert_int_ne(one, 0);
  ck_assert(wait_for(listener, POLLIN));
  int peer = accept(listener, NULL, NULL);
  ck_assert_int_ge(peer, 0);
  ck_assert_int_eq(write(fd, &byte, 1), 1);
  ck_assert(wait_for(peer, POLLIN));
  byte = 0;
  ck_assert_int_eq(read(peer, &byte, 1), 1);
  ck_assert_int_eq(byte, 'x');
  close(fd);
  close(peer);
}

START_TEST(both_ends_meet) {
  struct net_addr bound;
  int fd = listen_on("127.0.0.1", 4, &bound);
  ck_assert_int_eq(net_is_loopback(&bound), 1);
  assert_meets("127.0.0.1", fd, net_port(&bound));
  assert_meets("localhost", fd, net_port(&bound)); /* may be ::1 first, which is refused, then 127.0.0.1 */
  close(fd);
  if (!has_ipv6()) return;
  fd = listen_on("::1", 4, &bound);
  assert_meets("::1", fd, net_port(&bound));
  close(fd);
}
END_TEST

START_TEST(any_address_means_both_families) {
  struct net_addr bound;
  int fd = listen_on("", 4, &bound);
  assert_meets("127.0.0.1", fd, net_port(&bound));
  if (has_ipv6()) assert_meets("::1", fd, net_port(&bound));
  assert_meets("", fd, net_port(&bound)); /* this host */
  close(fd);
}
END_TEST

START_TEST(a_port_in_use_is_named) {
  struct net_addr bound;
  agg_error_t err = {0};
  char words[64];
  int fd = listen_on("127.0.0.1", 4, &bound), second = -7;
  ck_assert_int_eq(net_listen(&bound, 4, &second, NULL, &err), AGG_ESYS);
  (void)snprintf(words, sizeof words, "port %u is in use", (unsigned)net_port(&bound));
  ck_assert_ptr_nonnull(strstr(err.text, words));
  ck_assert_int_eq(second, -7);
  close(fd);
  ck_assert_int_eq(net_listen(&bound, 4, &second, NULL, &err), 0); /* free again */
  close(second);
}
END_TEST

START_TEST(a_strange_address_cannot_be_listened_on) {
  struct net_addr addr;
  agg_error_t err = {0};
  int fd = -7;
  ck_assert_int_eq(net_resolve("192.0.2.1", 0, 1, &addr, 1, NULL), 1); /* an address for documents: no host has it */
  ck_assert_int_eq(net_listen(&addr, 4, &fd, NULL, &err), AGG_ESYS);
  ck_assert_ptr_nonnull(strstr(err.text, "192.0.2.1"));
  ck_assert_ptr_nonnull(strstr(err.text, "not an address of this host"));
  ck_assert_int_eq(fd, -7);
}
END_TEST

/* A port on which nobody listens, kept from others by a socket that is bound and does not listen. */
START_TEST(nobody_there_is_said_at_once) {
  struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  struct net_addr held = {.len = sizeof held.ss};
  agg_error_t err = {0};
  int keep = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -7;
  ck_assert_int_eq(bind(keep, (struct sockaddr *)&in4, sizeof in4), 0);
  ck_assert_int_eq(getsockname(keep, (struct sockaddr *)&held.ss, &held.len), 0);
  ck_assert_int_eq(net_connect("127.0.0.1", net_port(&held), LONG_MS, &fd, &err), AGG_ESYS);
  ck_assert_ptr_nonnull(strstr(err.text, "refused"));
  ck_assert_ptr_nonnull(strstr(err.text, "127.0.0.1:"));
  ck_assert_int_eq(fd, -7);
  close(keep);
}
END_TEST

START_TEST(a_silent_peer_times_out) {
  struct net_addr bound;
  agg_error_t err = {0};
  int listener = listen_on("127.0.0.1", 0, &bound), fds[16], n = 0, rc = 0;
  while (n < 16 && (rc = net_connect("127.0.0.1", net_port(&bound), 50, &fds[n], &err)) == 0) n++; /* until the backlog is full */
  ck_assert_int_lt(n, 16);
  ck_assert_int_eq(rc, AGG_ETIMEDOUT);
  ck_assert_ptr_nonnull(strstr(err.text, "no answer"));
  for (int i = 0; i < n; i++) close(fds[i]);
  close(listener);
}
END_TEST

START_TEST(a_connect_can_be_started_and_finished_later) {
  struct net_addr bound;
  int listener = listen_on("127.0.0.1", 4, &bound), fd = -1, why = -1;
  socklen_t len = sizeof why;
  ck_assert_int_eq(net_connect_start(&bound, &fd, NULL), 0);
  assert_flags(fd);
  ck_assert(wait_for(fd, POLLOUT));
  ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len), 0);
  ck_assert_int_eq(why, 0);
  close(fd);
  close(listener);
}
END_TEST

START_TEST(an_impossible_connect_fails_at_the_start) {
  struct net_addr addr;
  agg_error_t err = {0};
  int fd = -7;
  ck_assert_int_eq(net_resolve("255.255.255.255", 1, 0, &addr, 1, NULL), 1);
  ck_assert_int_eq(net_connect_start(&addr, &fd, &err), AGG_ESYS);
  ck_assert_ptr_nonnull(strstr(err.text, "255.255.255.255:1"));
  ck_assert_int_eq(fd, -7);
}
END_TEST

static int option(int fd, int level, int name) {
  int value = -1;
  socklen_t len = sizeof value;
  ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
  return value;
}

START_TEST(tuning_bounds_the_silence) {
  static const int seconds[] = {0, 1, 2, 3, 10, 60};
  for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), limit = MAX_OF(seconds[i], 1);
    net_tune(fd, seconds[i]);
    ck_assert_int_ne(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    ck_assert_int_ne(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), limit * 1000);
    int idle = option(fd, IPPROTO_TCP, TCP_KEEPIDLE), step = option(fd, IPPROTO_TCP, TCP_KEEPINTVL);
    ck_assert_int_ge(idle, 1);
    ck_assert_int_ge(step, 1);
    ck_assert_int_le(idle + step, MAX_OF(limit, 2)); /* a probe goes out before the limit */
    close(fd);
  }
}
END_TEST

/* The same in every process here, another one in a network namespace of its own. */
START_TEST(a_place_is_a_namespace) {
  uint64_t here = net_place(), child = 0;
  int fds[2];
  ck_assert(here != 0 && here == net_place() && pipe2(fds, O_CLOEXEC) == 0);
  for (int apart = 0; apart < 2; apart++) {
    pid_t pid = fork();
    if (pid == 0) {
      int moved = !apart || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
      child = moved ? net_place() : 0; /* 0: not allowed here */
      _exit(write(fds[1], &child, sizeof child) == sizeof child ? 0 : 1);
    }
    ck_assert(pid > 0 && read(fds[0], &child, sizeof child) == sizeof child && waitpid(pid, NULL, 0) == pid);
    ck_assert_msg(apart ? child != here : child == here, "apart %d: %llx, here %llx", apart, (unsigned long long)child,
                  (unsigned long long)here);
  }
  close(fds[0]);
  close(fds[1]);
}
END_TEST

Suite *make_suite(void);
Suite *make_suite(void) {
  Suite *s = suite_create("net");
  TCase *t = tcase_create("net");
  tcase_add_loop_test(t, good_addresses_are_split, 0, (int)ARRAY_LEN(good));
  tcase_add_loop_test(t, bad_addresses_are_refused_and_quoted, 0, (int)ARRAY_LEN(bad));
  tcase_add_test(t, a_place_is_a_namespace);
  tcase_add_test(t, a_host_must_fit);
  tcase_add_loop_test(t, literals_are_resolved_and_printed, 0, (int)ARRAY_LEN(literals));
  tcase_add_test(t, an_unknown_host_is_named);
  tcase_add_test(t, other_families_are_harmless);
  tcase_add_test(t, both_ends_meet);
  tcase_add_test(t, any_address_means_both_families);
  tcase_add_test(t, a_port_in_use_is_named);
  tcase_add_test(t, a_strange_address_cannot_be_listened_on);
  tcase_add_test(t, nobody_there_is_said_at_once);
  tcase_add_test(t, a_silent_peer_times_out);
  tcase_add_test(t, a_connect_can_be_started_and_finished_later);
  tcase_add_test(t, an_impossible_connect_fails_at_the_start);
  tcase_add_test(t, tuning_bounds_the_silence);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
