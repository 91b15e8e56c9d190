/*
 * Host memory blocks backed by sealed memfds, so that a peer that was given the descriptor can map them and nobody can shrink them
 * under a reader. Large ones are of huge pages where the system has some reserved. Touches no user memory; keeps no list.
 */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"

/* Makes and maps a file of `bytes`, rounded up to its pages; 0, or errno. kind: MFD_HUGETLB or 0. */
static int make(size_t bytes, unsigned kind, struct mem_block *made) {
  struct stat st;
  made->fd = memfd_create("agg", MFD_CLOEXEC | MFD_ALLOW_SEALING | kind);
  if (made->fd < 0) return errno;
  if (fstat(made->fd, &st) != 0) goto close_fd;
  made->len = round_up_u64(bytes, MAX_OF((size_t)st.st_blksize, (size_t)sysconf(_SC_PAGESIZE)));
  if (ftruncate(made->fd, (off_t)made->len) != 0 || fcntl(made->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) goto close_fd;
  made->addr = mmap(NULL, made->len, PROT_READ | PROT_WRITE, MAP_SHARED, made->fd, 0);
  if (made->addr != MAP_FAILED) return 0;

close_fd:;
  int why = errno;
  close(made->fd);
  return why;
}

int mem_block_alloc(size_t bytes, int dont_fork, struct mem_block *block, agg_error_t *err) {
  struct mem_block made = {0};
  int why = ENOMEM;
  if (bytes == 0) bytes = 1;
  if (bytes > SIZE_MAX / 2) return err_set(err, AGG_ENOMEM, "%zu bytes cannot be had", bytes);
  if (bytes >= MEM_HUGE_FROM_BYTES) why = make(bytes, MFD_HUGETLB, &made); /* reserved when mapped, so none is missing at its first use */
  made.huge = why == 0;
  if (why != 0) why = make(bytes, 0, &made);
  if (why != 0) return err_sys(err, AGG_ENOMEM, why, "no memory for %zu bytes", bytes);
  if (!made.huge && made.len >= MEM_HUGE_FROM_BYTES)
    (void)madvise(made.addr, made.len, MADV_HUGEPAGE); /* the kernel may have it switched off */
  if (dont_fork) (void)madvise(made.addr, made.len, MADV_DONTFORK);
  *block = made;
  return AGG_OK;
}

void mem_block_free(struct mem_block *block) {
  if (block->addr == NULL) return;
  munmap(block->addr, block->len);
  close(block->fd);
  *block = (struct mem_block){0};
}
