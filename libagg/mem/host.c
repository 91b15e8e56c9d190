/*
 * Host memory blocks backed by sealed memfds, so that a peer that was given the descriptor can map them and nobody can shrink them
 * under a reader. Touches no user memory; keeps no list.
 */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"

#define HUGE_FROM_BYTES (4u << 20) /* below this, huge pages would waste more than they gain */

int mem_block_alloc(size_t bytes, int dont_fork, struct mem_block *block, agg_error_t *err) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (bytes > SIZE_MAX - page) return err_set(err, AGG_ENOMEM, "%zu bytes cannot be had", bytes);
  struct mem_block made = {.len = round_up_u64(MAX_OF(bytes, (size_t)1), page)};
  made.fd = memfd_create("agg", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (made.fd < 0) return err_sys(err, AGG_ENOMEM, errno, "no memory file for %zu bytes", bytes);
  if (ftruncate(made.fd, (off_t)made.len) != 0 || fcntl(made.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) goto close_fd;
  made.addr = mmap(NULL, made.len, PROT_READ | PROT_WRITE, MAP_SHARED, made.fd, 0);
  if (made.addr == MAP_FAILED) goto close_fd;
  if (made.len >= HUGE_FROM_BYTES) (void)madvise(made.addr, made.len, MADV_HUGEPAGE); /* a wish: the kernel may have it switched off */
  if (dont_fork) (void)madvise(made.addr, made.len, MADV_DONTFORK);
  *block = made;
  return AGG_OK;

close_fd:
  err_sys(err, AGG_ENOMEM, errno, "no memory for %zu bytes", bytes);
  close(made.fd);
  return AGG_ENOMEM;
}

void mem_block_free(struct mem_block *block) {
  if (block->addr == NULL) return;
  munmap(block->addr, block->len);
  close(block->fd);
  *block = (struct mem_block){0};
}
