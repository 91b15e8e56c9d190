/*
 * Owns the making, checking and mapping of a lane's shared memory. Never looks at what is in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"
#include "shm.h"

uint32_t shm_mem_ring(uint32_t depth) {
  uint32_t ring = SHM_RING_MIN;
  while (ring < depth && ring < SHM_RING_MAX) ring *= 2;
  return ring;
}

static size_t bounce_at(uint32_t ring) { return round_up_u64(SHM_RINGS_AT + 2 * (uint64_t)ring * sizeof(struct shm_entry), SHM_PAGE); }
static size_t bytes_of(uint32_t ring) { return bounce_at(ring) + 2 * (size_t)SHM_BOUNCE_BYTES; }

static int map_at(struct shm_mem *m, uint32_t ring, int fd, unsigned self) {
  size_t bytes = bytes_of(ring);
  unsigned char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return -errno;
  unsigned other = 1 - self;
  struct shm_side *sides = (void *)base;
  struct shm_entry *rings = (void *)(base + SHM_RINGS_AT);
  unsigned char *bounce = base + bounce_at(ring);
  *m = (struct shm_mem){.base = base, .bytes = bytes, .ring = ring};
  m->own = &sides[self];
  m->peer = &sides[other];
  m->out = rings + self * ring;
  m->in = rings + other * ring;
  m->bounce_out = bounce + self * (size_t)SHM_BOUNCE_BYTES;
  m->bounce_in = bounce + other * (size_t)SHM_BOUNCE_BYTES;
  return 0;
}

int shm_mem_create(struct shm_mem *m, uint32_t ring, int *fd, agg_error_t *err) {
  int rc = 0;
  int f = memfd_create("agg-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (f < 0) return err_sys(err, AGG_ESYS, errno, "shm: cannot create the memory of a lane (memfd_create)");
  if (ftruncate(f, (off_t)bytes_of(ring)) != 0 || fcntl(f, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    rc = err_sys(err, AGG_ESYS, errno, "shm: cannot size the memory of a lane to %zu bytes", bytes_of(ring));
    goto close_fd;
  }
  rc = map_at(m, ring, f, 0);
  if (rc != 0) {
    rc = err_sys(err, AGG_ENOMEM, -rc, "shm: cannot map the memory of a lane, %zu bytes", bytes_of(ring));
    goto close_fd;
  }
  *fd = f;
  return 0;

close_fd:
  close(f);
  return rc;
}

int shm_mem_accept(struct shm_mem *m, const struct shm_msg *hello, int fd, agg_error_t *err) {
  struct stat st;
  uint32_t ring = hello->ring;
  if (fd < 0) return err_set(err, AGG_EPROTO, "its hello came without the lane's memory");
  if (ring < SHM_RING_MIN || ring > SHM_RING_MAX || (ring & (ring - 1)) != 0 || hello->bounce != SHM_BOUNCE_BYTES) {
    return err_set(err, AGG_EPROTO, "it offers a ring of %u entries and %llu bounce bytes; allowed are powers of two from %u to %u, and %u",
                   ring, (unsigned long long)hello->bounce, SHM_RING_MIN, SHM_RING_MAX, SHM_BOUNCE_BYTES);
  }
  /* Without the seal the peer could shrink the file later, and the next look at it would end this process by SIGBUS. */
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
    return err_set(err, AGG_EPROTO, "the lane's memory is not a memfd sealed against shrinking");
  if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < bytes_of(ring)) {
    return err_set(err, AGG_EPROTO, "the lane's memory has %lld bytes, %zu are needed", (long long)st.st_size, bytes_of(ring));
  }
  int rc = map_at(m, ring, fd, 1);
  return rc == 0 ? 0 : err_sys(err, AGG_ENOMEM, -rc, "cannot map the lane's memory, %zu bytes", bytes_of(ring));
}

void shm_mem_unmap(struct shm_mem *m) {
  if (m->base != NULL) munmap(m->base, m->bytes);
  *m = (struct shm_mem){0};
}
