/*
 * Shared memory between real processes: every path, sleeping and waking, death in the middle of traffic, a stopped writer behind a fence,
 * and that nothing is left behind. The child is the peer; it echoes or floods as told.
 */
#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/conform.h"
#include "transport/shm/shm.h"

static const struct conform shm = {.ops = &tp_shm};

#define BYTES (1u << 20)

/* ---- the child ---- */

/* What the child does with a lane; the bits combine. */
enum { ECHO = 1, FLOOD = 2, SLEEPY = 4, GRANDCHILD = 8 };

struct child {
  pid_t pid, grandchild;
  int sock;
  struct mem own; /* the parent's region that the child puts into */
  struct lane lane;
  struct tp_raddr peer_plain;
};

/* Told to the parent: where it may be reached. */
struct child_hello {
  unsigned char address[TP_ADDRESS_MAX];
  size_t len;
};

struct child_end {
  struct tp *tp;
  struct tp_lane *lane;
  struct tp_mr *mr;
  unsigned char *at;
  struct tp_raddr peer;
  uint32_t outstanding;
  int mode;
};

static void child_require(int ok) {
  if (!ok) _exit(3);
}

static void child_put(struct child_end *c, uint32_t bytes, uint32_t notice) {
  struct tp_src src = {c->at, bytes, c->mr};
  tp_shm.put(c->lane, &src, 1, c->peer, notice, 1);
  c->outstanding++;
}

/* Ends when the lane is lost: 0. */
static int child_turn(struct child_end *c) {
  struct tp_event ev[8];
  int n = tp_shm.poll(c->tp, ev, 8);
  for (int i = 0; i < n; i++) {
    if (ev[i].kind == TP_LOST) return 0;
    if (ev[i].kind == TP_CONNECTED) c->peer = ev[i].peer_window;
    if (ev[i].kind == TP_SENT) c->outstanding--;
    if (ev[i].kind == TP_NOTICE && (c->mode & ECHO)) child_put(c, ev[i].bytes, ev[i].notice);
  }
  if ((c->mode & FLOOD) && c->peer.key != 0 && c->outstanding < 4) child_put(c, BYTES, 7);
  if (n == 0 && (c->mode & SLEEPY) && tp_shm.arm(c->tp) == 0) {
    struct pollfd p = {.fd = tp_shm.fd(c->tp), .events = POLLIN};
    child_require(poll(&p, 1, 20000) == 1);
  }
  return 1;
}

static void child_main(int sock, int mode, enum shm_path path, int backed, const struct end *parent, uint32_t ticket) {
  struct child_end c = {.mode = mode};
  struct child_hello hello = {.len = 0};
  struct tp_config config = {.bind_host = "", .peer_host = ""};
  int fd = backed ? memfd_create("child", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;
  child_require(!backed || ftruncate(fd, BYTES) == 0);
  c.at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, backed ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
  child_require(c.at != MAP_FAILED && tp_shm.open(&config, &c.tp, NULL) == 0);
  struct tp_mem mem = {.addr = c.at, .len = BYTES, .fd = fd};
  child_require(tp_shm.mem_reg(c.tp, &mem, &c.mr, NULL) == 0);
  shm_force_path(c.tp, path);
  struct tp_lane_config lc = {.peer_address = parent->address,
                              .peer_address_len = parent->address_len,
                              .active = 1,
                              .depth = 16,
                              .window_mr = c.mr,
                              .window_ptr = c.at};
  ticket_of(ticket, lc.ticket);
  child_require(tp_shm.lane_open(c.tp, &lc, &c.lane, NULL) == 0);
  hello.len = tp_shm.address(c.tp, hello.address);
  child_require(send(sock, &hello, sizeof hello, 0) == (ssize_t)sizeof hello);
  while (child_turn(&c)) {
    pid_t grandchild = -1;
    if ((mode & GRANDCHILD) && c.peer.key != 0) {
      mode &= ~GRANDCHILD;
      grandchild = fork();
      if (grandchild == 0) {
        for (;;) pause(); /* keeps every descriptor of the child's open */
      }
      child_require(send(sock, &grandchild, sizeof grandchild, 0) == (ssize_t)sizeof grandchild);
    }
  }
  tp_shm.close(c.tp);
  _exit(0);
}

/* Starts a child and connects a lane to it. */
static void child_start(struct child *c, struct end *e, int mode, enum shm_path path, int backed) {
  int sv[2];
  struct child_hello hello;
  struct end peer = {0};
  ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
  memset(c, 0, sizeof *c);
  mem_open(&c->own, e, BYTES, backed, 0);
  c->pid = fork();
  ck_assert_int_ge(c->pid, 0);
  if (c->pid == 0) {
    close(sv[0]);
    child_main(sv[1], mode, path, backed, e, 1);
  }
  close(sv[1]);
  c->sock = sv[0];
  ck_assert_int_eq(recv(c->sock, &hello, sizeof hello, 0), (ssize_t)sizeof hello);
  memcpy(peer.address, hello.address, hello.len);
  peer.address_len = hello.len;
  struct lane_options o = {.window = &c->own};
  lane_open(&c->lane, e, &peer, 1, 0, &o);
  UNTIL(c->lane.connected || c->lane.lost);
  ck_assert_msg(!c->lane.lost, "lost: %s", c->lane.text);
  if (mode & GRANDCHILD) {
    ck_assert_int_eq(recv(c->sock, &c->grandchild, sizeof c->grandchild, 0), (ssize_t)sizeof c->grandchild);
  }
}

static void child_reap(struct child *c, int expect_signal) {
  int status = 0;
  ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
  if (expect_signal != 0) {
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == expect_signal);
  } else {
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %#x", status);
  }
  close(c->sock);
}

static void child_stop(struct child *c) {
  lane_close(&c->lane);
  child_reap(c, 0);
  mem_close(&c->own);
}

/* ---- traffic ---- */

static const enum shm_path paths[] = {SHM_PATH_AUTO, SHM_PATH_DIRECT, SHM_PATH_REGION, SHM_PATH_PRIVATE, SHM_PATH_BOUNCE};
static const size_t sizes[] = {0, 8, 88, 89, 4096, 8192, 8193, 100000, BYTES};

/* There and back on every path, with private and with shared memory, spinning and sleeping. */
START_TEST(echo) {
  struct child c;
  struct mem from;
  struct end *e = end_open();
  int backed = _i & 1, sleepy = _i >> 1 & 1;
  enum shm_path path = paths[_i / 4];
  child_start(&c, e, ECHO | (sleepy ? SLEEPY : 0), path, backed);
  mem_open(&from, e, BYTES, backed, 0);
  shm_force_path(e->tp, path);
  turn_sleeping(sleepy);
  for (uint32_t i = 0; i < 3 * ARRAY_LEN(sizes); i++) {
    size_t len = sizes[i % ARRAY_LEN(sizes)];
    pattern_fill(from.at, BYTES, i);
    memset(c.own.at, 0, BYTES);
    put_one(&c.lane, &from, 0, len, c.lane.window, i, i + 1);
    UNTIL(c.lane.notices == i + 1 && c.lane.sents == i + 1);
    ck_assert_uint_eq(c.lane.notice[i].bytes, len);
    pattern_check(c.own.at, len, i);
  }
  turn_sleeping(0);
  mem_close(&from);
  child_stop(&c);
}
END_TEST

/* ---- death ---- */

/* Everything that the process has open beside its standard streams vanishes with it: no name in /dev/shm or /tmp leads to it. */
static void leaves_nothing(pid_t pid) {
  char dir[64], path[PATH_MAX], to[PATH_MAX];
  (void)snprintf(dir, sizeof dir, "/proc/%d/fd", (int)pid);
  DIR *d = opendir(dir);
  ck_assert_ptr_nonnull(d);
  for (const struct dirent *f; (f = readdir(d)) != NULL;) {
    (void)snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
    ssize_t n = readlink(path, to, sizeof to - 1);
    if (n < 0 || atoi(f->d_name) <= STDERR_FILENO) continue;
    to[n] = 0;
    int kept = (strncmp(to, "/dev/shm/", 9) == 0 || strncmp(to, "/tmp/", 5) == 0) && strstr(to, " (deleted)") == NULL;
    ck_assert_msg(!kept, "the peer has %s open", to);
  }
  closedir(d);
}

/* Killed in the middle of traffic: lost, by name, and nothing is left in the file system. Also asleep. */
START_TEST(killed) {
  struct child c;
  struct end *e = end_open();
  child_start(&c, e, FLOOD, paths[_i / 4], _i & 1);
  UNTIL(c.lane.notices >= 20);
  leaves_nothing(c.pid);
  ck_assert_int_eq(kill(c.pid, SIGKILL), 0);
  if (_i & 2) {
    turn_sleeping(1);
    UNTIL(c.lane.lost);
    turn_sleeping(0);
  } else {
    UNTIL(c.lane.lost);
  }
  char who[32];
  (void)snprintf(who, sizeof who, "process %d", (int)c.pid);
  ck_assert_msg(strstr(c.lane.text, who) != NULL, "text: %s", c.lane.text);
  ck_assert_msg(strstr(c.lane.text, "killed") != NULL, "text: %s", c.lane.text);
  ck_assert_int_eq(tp_shm.fence(c.lane.lane), 1);
  child_reap(&c, SIGKILL);
  lane_close(&c.lane);
  mem_close(&c.own);
}
END_TEST

/* A forked child of the peer holds its sockets open: the peer's death is noticed all the same. */
START_TEST(killed_with_a_child) {
  struct child c;
  struct end *e = end_open();
  child_start(&c, e, GRANDCHILD, SHM_PATH_AUTO, 1);
  ck_assert_int_eq(kill(c.pid, SIGKILL), 0);
  turn_sleeping(1);
  UNTIL(c.lane.lost);
  turn_sleeping(0);
  ck_assert_int_eq(tp_shm.fence(c.lane.lane), 1);
  ck_assert_int_eq(kill(c.grandchild, SIGKILL), 0);
  child_reap(&c, SIGKILL);
  lane_close(&c.lane);
  mem_close(&c.own);
}
END_TEST

/* The peer closes although its child holds the socket: lost as well. */
START_TEST(closed_with_a_child) {
  struct child c;
  struct end *e = end_open();
  child_start(&c, e, GRANDCHILD, SHM_PATH_AUTO, 0);
  lane_close(&c.lane); /* the child's lane is lost by that; it closes and exits with 0 */
  child_reap(&c, 0);
  ck_assert_int_eq(kill(c.grandchild, SIGKILL), 0);
  mem_close(&c.own);
}
END_TEST

/* ---- fences ---- */

/* A writer of mapped memory that was stopped anywhere: the fence holds out until it has answered, and nothing lands behind it. */
START_TEST(stopped_writer) {
  struct child c;
  struct end *e = end_open();
  int status = 0;
  child_start(&c, e, FLOOD, SHM_PATH_DIRECT, 1);
  UNTIL(c.lane.notices >= 10);
  ck_assert_int_eq(kill(c.pid, SIGSTOP), 0);
  ck_assert_int_eq(waitpid(c.pid, &status, WUNTRACED), c.pid);
  ck_assert(WIFSTOPPED(status));
  for (int i = 0; i < 1000; i++) {
    ck_assert_int_eq(tp_shm.fence(c.lane.lane), 0);
    turn();
  }
  c.lane.lost = 1; /* no event may follow */
  ck_assert_int_eq(kill(c.pid, SIGCONT), 0);
  UNTIL(tp_shm.fence(c.lane.lane) == 1);
  memset(c.own.at, 0x22, BYTES);
  settle();
  for (size_t i = 0; i < BYTES; i++) {
    if (c.own.at[i] != 0x22) ck_abort_msg("byte %zu was written behind the fence", i);
  }
  child_reap(&c, 0); /* its lane was lost by the fence, and it went */
  lane_close(&c.lane);
  mem_close(&c.own);
}
END_TEST

/* Killed while it is stopped in a write: the fence is done when it is gone. */
START_TEST(stopped_writer_is_killed) {
  struct child c;
  struct end *e = end_open();
  int status = 0;
  child_start(&c, e, FLOOD, SHM_PATH_DIRECT, 1);
  UNTIL(c.lane.notices >= 3);
  ck_assert_int_eq(kill(c.pid, SIGSTOP), 0);
  ck_assert_int_eq(waitpid(c.pid, &status, WUNTRACED), c.pid);
  ck_assert_int_eq(tp_shm.fence(c.lane.lane), 0);
  c.lane.lost = 1;
  ck_assert_int_eq(kill(c.pid, SIGKILL), 0);
  UNTIL(tp_shm.fence(c.lane.lane) == 1);
  child_reap(&c, SIGKILL);
  lane_close(&c.lane);
  mem_close(&c.own);
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("shm_process");
  TCase *t = tcase_create("process");
  conform_use(&shm);
  tcase_add_checked_fixture(t, conform_setup, conform_teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, echo, 0, 4 * (int)ARRAY_LEN(paths));
  tcase_add_loop_test(t, killed, 0, 4 * (int)ARRAY_LEN(paths));
  tcase_add_test(t, killed_with_a_child);
  tcase_add_test(t, closed_with_a_child);
  tcase_add_loop_test(t, stopped_writer, 0, 5);
  tcase_add_test(t, stopped_writer_is_killed);
  suite_add_tcase(s, t);
  return s;
}
