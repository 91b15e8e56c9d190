/*
 * Owns the calls on unix sockets: abstract names, messages of one fixed shape, at most one descriptor attached. Never blocks, never raises
 * SIGPIPE, and knows no lane.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm.h"

#define BACKLOG 1024 /* the kernel's net.core.somaxconn bounds it further */

/* An abstract name: a zero byte first, no file anywhere. */
static socklen_t address_of(const char name[SHM_NAME_BYTES], struct sockaddr_un *a) {
  *a = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(a->sun_path + 1, name, SHM_NAME_BYTES);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + SHM_NAME_BYTES);
}

static int new_socket(void) { return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

int shm_sock_listen(char name[SHM_NAME_BYTES], int *fd) {
  unsigned char bits[16];
  char text[SHM_NAME_BYTES + 1] = "agg-";
  if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits) return -EIO;
  for (unsigned i = 0; i < sizeof bits; i++) (void)snprintf(text + 4 + 2 * i, 3, "%02x", bits[i]);
  memcpy(name, text, SHM_NAME_BYTES);
  struct sockaddr_un a;
  socklen_t len = address_of(name, &a);
  int s = new_socket();
  if (s < 0) return -errno;
  if (bind(s, (struct sockaddr *)&a, len) != 0 || listen(s, BACKLOG) != 0) {
    int e = errno;
    close(s);
    return -e;
  }
  *fd = s;
  return 0;
}

int shm_sock_connect(const char name[SHM_NAME_BYTES], int *fd) {
  struct sockaddr_un a;
  socklen_t len = address_of(name, &a);
  int s = new_socket();
  if (s < 0) return -errno;
  if (connect(s, (struct sockaddr *)&a, len) != 0) {
    int e = errno;
    close(s);
    return -e;
  }
  *fd = s;
  return 0;
}

int shm_sock_accept(int listener, int *fd) {
  int s = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (s < 0) return -errno;
  *fd = s;
  return 0;
}

int shm_sock_trusted(int fd, pid_t *pid) {
  struct ucred c;
  socklen_t len = sizeof c;
  uid_t own = geteuid();
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) != 0 || len != sizeof c) return 0;
  *pid = c.pid;
  return c.uid == own || c.uid == 0 || own == 0;
}

int shm_sock_send(int fd, struct shm_msg *msg, enum shm_msg_type type, int pass_fd) {
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct iovec iov = {msg, sizeof *msg};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
  msg->magic = SHM_MAGIC;
  msg->version = SHM_VERSION;
  msg->type = (uint16_t)type;
  if (pass_fd >= 0) {
    memset(control, 0, sizeof control);
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
  }
  ssize_t n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n == (ssize_t)sizeof *msg) return 0;
  return n < 0 ? -errno : -EPROTO;
}

void shm_sock_bell(int fd) {
  struct shm_msg msg = {.magic = SHM_MAGIC, .version = SHM_VERSION, .type = SHM_MSG_BELL};
  /* No room means that the other end has not read for long: it is readable, so it wakes anyway. Gone: its end of file tells. */
  ssize_t n = send(fd, &msg, SHM_BELL_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)n;
}

/* The descriptor that came along, or -1; there is room for one, the kernel closes others. */
static int passed_fd(struct msghdr *m) {
  int fd = -1;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(sizeof(int))) continue;
    if (fd >= 0) close(fd);
    memcpy(&fd, CMSG_DATA(c), sizeof(int));
  }
  return fd;
}

static int well_formed(const struct shm_msg *msg, size_t n, int flags) {
  if (n < SHM_BELL_BYTES || (flags & MSG_TRUNC) || msg->magic != SHM_MAGIC || msg->version != SHM_VERSION) return 0;
  return msg->type == SHM_MSG_BELL ? n == SHM_BELL_BYTES : n == sizeof *msg;
}

int shm_sock_recv(int fd, struct shm_msg *msg, int *passed) {
  /* CMSG_SPACE rounds up to 8 bytes, which is room for two descriptors: CMSG_LEN is room for one. */
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct iovec iov = {msg, sizeof *msg};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_LEN(sizeof(int))};
  memset(msg, 0, sizeof *msg);
  ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
  *passed = passed_fd(&m);
  if (n > 0 && well_formed(msg, (size_t)n, m.msg_flags)) return 1;
  if (*passed >= 0) close(*passed);
  *passed = -1;
  return n == 0 ? -1 : -2;
}
