/*
 * How long does a put over shared memory take between two processes? Ping-pong of 8 bytes with both ends spinning, then puts of 64 KiB
 * and 1 MiB on each path, and waking a peer that sleeps. Two processes, one lane.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "transport/shm/shm.h"

#define BUF (4u << 20)
#define DEPTH 16u

struct end {
  struct tp *tp;
  struct tp_lane *lane;
  struct tp_mr *shared_mr, *private_mr;
  unsigned char *shared, *private;
  struct tp_raddr peer; /* the peer's shared region; its private one has the next key */
  struct tp_raddr peer_private;
  int sleeps;
  uint32_t notices, wanted, sent, posted;
};

static void die(const char *what) {
  fprintf(stderr, "shm_pingpong: %s\n", what);
  _exit(1);
}

static void step(struct end *e) {
  struct tp_event ev[16];
  int n = tp_shm.poll(e->tp, ev, 16);
  for (int i = 0; i < n; i++) {
    if (ev[i].kind == TP_CONNECTED) e->peer = ev[i].peer_window;
    if (ev[i].kind == TP_NOTICE) e->notices++;
    if (ev[i].kind == TP_SENT) e->sent++;
    if (ev[i].kind == TP_LOST) die(ev[i].text);
  }
  if (n == 0 && e->sleeps && tp_shm.arm(e->tp) == 0) {
    struct pollfd p = {.fd = tp_shm.fd(e->tp), .events = POLLIN};
    (void)poll(&p, 1, 1000);
  } else if (n == 0) {
    cpu_relax();
  }
}

static void send_bytes(struct end *e, const void *base, struct tp_mr *mr, size_t len, struct tp_raddr dst) {
  struct tp_src src = {base, len, mr};
  tp_shm.put(e->lane, &src, 1, dst, 1, 1);
  e->posted++;
}

/* For n more notices than were waited for so far. */
static void wait_notices(struct end *e, uint32_t n) {
  e->wanted += n;
  while (e->notices < e->wanted) step(e);
}

static void meet(struct end *e, int sock, int active) {
  agg_error_t err = {0};
  struct tp_config config = {.bind_host = "", .peer_host = ""};
  unsigned char own[TP_ADDRESS_MAX], other[TP_ADDRESS_MAX];
  if (tp_shm.open(&config, &e->tp, &err) != 0) die(err.text);
  size_t len = tp_shm.address(e->tp, own);
  if (send(sock, own, len, 0) != (ssize_t)len || recv(sock, other, len, MSG_WAITALL) != (ssize_t)len) die("no address");
  int fd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, BUF) != 0) die("no memfd");
  e->shared = mmap(NULL, BUF, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  e->private = mmap(NULL, BUF, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(e->shared, 1, BUF);
  memset(e->private, 1, BUF);
  struct tp_mem shared = {.addr = e->shared, .len = BUF, .fd = fd};
  struct tp_mem private = {.addr = e->private, .len = BUF, .fd = -1};
  if (tp_shm.mem_reg(e->tp, &shared, &e->shared_mr, &err) != 0) die(err.text);
  if (tp_shm.mem_reg(e->tp, &private, &e->private_mr, &err) != 0) die(err.text);
  struct tp_lane_config lc = {.peer_address = other,
                              .peer_address_len = len,
                              .ticket = {7},
                              .active = active,
                              .depth = DEPTH,
                              .window_mr = e->shared_mr,
                              .window_ptr = e->shared};
  if (tp_shm.lane_open(e->tp, &lc, &e->lane, &err) != 0) die(err.text);
  while (e->peer.key == 0) step(e);
  e->peer_private = (struct tp_raddr){e->private_mr->key, 0}; /* both ends register in the same order */
  send_bytes(e, NULL, NULL, 0, e->peer);
  wait_notices(e, 1);
}

static void pingpong(struct end *e, int first, const char *what, uint32_t rounds, size_t len) {
  uint64_t t0 = clock_now_ns();
  for (uint32_t i = 0; i < rounds; i++) {
    if (first) send_bytes(e, e->private, NULL, len, e->peer);
    wait_notices(e, 1);
    if (!first) send_bytes(e, e->private, NULL, len, e->peer);
  }
  double ns = (double)(clock_now_ns() - t0) / rounds;
  if (first) printf("%-34s %7zu B %9.0f ns a round trip\n", what, len, ns);
}

/* One end puts, the other answers after the last byte. */
static void stream(struct end *e, int first, enum shm_path path, const char *what, uint32_t rounds, size_t len) {
  int mapped = path == SHM_PATH_DIRECT;
  const void *src = path == SHM_PATH_REGION ? e->shared : e->private;
  struct tp_mr *mr = path == SHM_PATH_REGION ? e->shared_mr : NULL;
  while (e->sent < e->posted) step(e);
  uint32_t sent = e->sent;
  shm_force_path(e->tp, first ? path : SHM_PATH_AUTO);
  uint64_t t0 = clock_now_ns();
  if (first) {
    for (uint32_t i = 0; i < rounds; i++) {
      while (i - (e->sent - sent) >= DEPTH) step(e);
      send_bytes(e, src, mr, len, mapped ? e->peer : e->peer_private);
    }
    wait_notices(e, 1);
    double s = (double)(clock_now_ns() - t0) / 1e9;
    printf("%-34s %7zu B %9.2f GB/s\n", what, len, (double)rounds * (double)len / s / 1e9);
  } else {
    wait_notices(e, rounds);
    send_bytes(e, NULL, NULL, 0, e->peer);
  }
}

static void run(int sock, int first) {
  struct end e = {0};
  meet(&e, sock, first);
  pingpong(&e, first, "spinning, 8 bytes", 2000, 8);
  pingpong(&e, first, "spinning, 8 bytes", 300000, 8);
  pingpong(&e, first, "spinning, header and 8 bytes", 300000, 72);
  pingpong(&e, first, "spinning, into place", 100000, 512);
  for (size_t len = 64u << 10; len <= 1u << 20; len *= 16) {
    uint32_t rounds = (uint32_t)((2048u << 20) / len);
    stream(&e, first, SHM_PATH_DIRECT, "direct (into mapped memory)", rounds, len);
    stream(&e, first, SHM_PATH_REGION, "region (out of mapped memory)", rounds, len);
    stream(&e, first, SHM_PATH_PRIVATE, "private (process_vm_readv)", rounds, len);
    stream(&e, first, SHM_PATH_BOUNCE, "bounce (through the lane)", rounds, len);
  }
  for (size_t len = 1u << 10; len <= 32u << 10; len *= 2) {
    stream(&e, first, SHM_PATH_PRIVATE, "private", 20000, len);
    stream(&e, first, SHM_PATH_BOUNCE, "bounce", 20000, len);
  }
  shm_force_path(e.tp, SHM_PATH_AUTO);
  e.sleeps = 1;
  pingpong(&e, first, "sleeping and waking, 8 bytes", 50000, 8);
  char c = 0;
  if (write(sock, &c, 1) != 1 || read(sock, &c, 1) != 1) die("no goodbye");
  tp_shm.close(e.tp);
}

int main(void) {
  int sv[2], status = 0;
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) != 0) die("socketpair");
  setvbuf(stdout, NULL, _IOLBF, 0);
  pid_t child = fork();
  if (child == 0) {
    run(sv[1], 0);
    _exit(0);
  }
  run(sv[0], 1);
  (void)waitpid(child, &status, 0);
  return status != 0;
}
