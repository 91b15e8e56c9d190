/*
 * Owns the questions "is that process on this host, and can it be reached?", the watch over the lives of peer processes, and reading
 * another process's memory. Never looks at a lane's rings.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/err.h"
#include "shm.h"

static int read_boot_id(char boot[36]) {
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t n = read(fd, boot, 36);
  int e = n < 0 ? errno : EIO;
  close(fd);
  return n == 36 ? 0 : -e;
}

int shm_host_identify(struct shm_address *a, agg_error_t *err) {
  struct stat st;
  *a = (struct shm_address){.magic = SHM_MAGIC, .version = SHM_VERSION, .pid = (uint32_t)getpid()};
  int rc = read_boot_id(a->boot);
  if (rc != 0) return err_sys(err, AGG_ENOTSUP, -rc, "shm: cannot tell this host from others: /proc/sys/kernel/random/boot_id");
  if (stat("/proc/self/ns/net", &st) != 0) {
    return err_sys(err, AGG_ENOTSUP, errno, "shm: cannot tell this network namespace from others: /proc/self/ns/net");
  }
  a->netns_dev = st.st_dev;
  a->netns_ino = st.st_ino;
  return 0;
}

const struct shm_address *shm_host_parse(const void *address, size_t len, struct shm_address *copy) {
  if (address == NULL || len != sizeof *copy) return NULL;
  memcpy(copy, address, len);
  return copy->magic == SHM_MAGIC && copy->version == SHM_VERSION && copy->reserved == 0 ? copy : NULL;
}

int shm_host_reach(const struct shm_address *own, const void *address, size_t len) {
  struct shm_address a;
  pid_t pid = 0;
  int fd = -1;
  if (shm_host_parse(address, len, &a) == NULL) return 0;
  if (memcmp(a.boot, own->boot, sizeof a.boot) != 0 || a.netns_dev != own->netns_dev || a.netns_ino != own->netns_ino) return 0;
  /* Machines that were started from one snapshot have the same boot id, so knock: a full backlog is an answer too. */
  int rc = shm_sock_connect(a.name, &fd);
  if (rc == -EAGAIN) return 1;
  if (rc != 0) return 0;
  int trusted = shm_sock_trusted(fd, &pid);
  close(fd);
  return trusted;
}

/* ---- lives of peer processes ---- */

struct shm_proc *shm_proc_get(struct tp *tp, pid_t pid) {
  if (pid <= 0 || pid == getpid()) return NULL;
  for (struct shm_proc *p = tp->procs; p != NULL; p = p->next) {
    if (p->pid == pid && !p->dead) {
      p->refs++;
      return p;
    }
  }
#ifdef SYS_pidfd_open
  struct shm_proc *p = calloc(1, sizeof *p);
  if (p == NULL) return NULL;
  p->watch = (struct shm_watch){SHM_WATCH_PROC, (int)syscall(SYS_pidfd_open, pid, 0)};
  p->pid = pid;
  p->refs = 1;
  if (p->watch.fd < 0 || shm_watch_add(tp, &p->watch, EPOLLIN) != 0) goto free_proc;
  p->next = tp->procs;
  tp->procs = p;
  return p;

free_proc:
  if (p->watch.fd >= 0) close(p->watch.fd);
  free(p);
#endif
  return NULL;
}

void shm_proc_put(struct tp *tp, struct shm_proc *p) {
  if (p == NULL || --p->refs > 0) return;
  struct shm_proc **at = &tp->procs;
  while (*at != p) at = &(*at)->next;
  *at = p->next;
  shm_watch_del(tp, &p->watch);
  free(p);
}

void shm_proc_event(struct tp *tp, struct shm_proc *p) {
  p->dead = 1;
  shm_watch_del(tp, &p->watch);
  for (uint32_t i = 0; i < tp->n_lanes; i++) {
    if (tp->lanes[i]->proc == p) tp->lanes[i]->eof = 1;
  }
}

/* ---- another process's memory ---- */

int shm_read_process(pid_t pid, uint64_t at, void *to, size_t len) {
  unsigned char *p = to;
  while (len > 0) {
    struct iovec local = {p, len};
    struct iovec remote = {(void *)(uintptr_t)at, len};
    ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? -errno : -EFAULT;
    p += n;
    at += (uint64_t)n;
    len -= (size_t)n;
  }
  return 0;
}

int shm_can_read(pid_t pid, uint64_t at, uint64_t value) {
  uint64_t seen = 0;
  return pid > 0 && shm_read_process(pid, at, &seen, sizeof seen) == 0 && seen == value;
}
