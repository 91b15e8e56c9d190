/* Host memory blocks: sizes, zeroes, seals, a second mapping, and huge pages where this machine has some reserved. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem/host.h"

Suite *make_suite(void);

/* A line of /proc/meminfo in its own unit; 0 where there is none. */
static unsigned long meminfo(const char *name) {
  char line[128];
  unsigned long value = 0;
  FILE *f = fopen("/proc/meminfo", "re");
  ck_assert_ptr_nonnull(f);
  while (fgets(line, sizeof line, f) != NULL)
    if (strncmp(line, name, strlen(name)) == 0) value = strtoul(line + strlen(name) + 1, NULL, 10);
  fclose(f);
  return value;
}

static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 1 << 20, (4 << 20) - 1, 4 << 20, (9 << 20) + 1};

START_TEST(blocks_are_zeroed_whole_pages) {
  struct mem_block b;
  agg_error_t err = {0};
  ck_assert_msg(mem_block_alloc(sizes[_i], _i % 2, &b, &err) == AGG_OK, "%s", err.text);
  ck_assert_uint_ge(b.len, sizes[_i]);
  ck_assert_uint_gt(b.len, 0);
  ck_assert_uint_eq(b.len % (size_t)sysconf(_SC_PAGESIZE), 0);
  size_t used = 0;
  for (size_t i = 0; i < b.len; i++) used += ((unsigned char *)b.addr)[i] != 0;
  ck_assert_uint_eq(used, 0);
  memset(b.addr, 0x5a, b.len);
  mem_block_free(&b);
  ck_assert_ptr_null(b.addr);
  mem_block_free(&b); /* all zero is fine */
}
END_TEST

START_TEST(a_peer_maps_it_and_cannot_shrink_it) {
  struct mem_block b;
  ck_assert_int_eq(mem_block_alloc(sizes[_i], 1, &b, NULL), AGG_OK);
  unsigned char *again = mmap(NULL, b.len, PROT_READ | PROT_WRITE, MAP_SHARED, b.fd, 0);
  ck_assert_ptr_ne(again, MAP_FAILED);
  again[b.len - 1] = 7;
  ck_assert_uint_eq(((unsigned char *)b.addr)[b.len - 1], 7);
  ck_assert_int_ne(ftruncate(b.fd, 0), 0);
  ck_assert_int_eq(fcntl(b.fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW);
  munmap(again, b.len);
  mem_block_free(&b);
}
END_TEST

/* With none reserved this shows that ordinary pages are taken instead. */
START_TEST(large_ones_take_huge_pages) {
  struct mem_block b;
  struct stat st;
  unsigned long kib = meminfo("Hugepagesize:"), free_pages = meminfo("HugePages_Free:");
  size_t bytes = 8 << 20;
  int expected = kib != 0 && free_pages * kib >= bytes >> 10;
  ck_assert_int_eq(mem_block_alloc(bytes, 0, &b, NULL), AGG_OK);
  ck_assert_int_eq(fstat(b.fd, &st), 0);
  ck_assert_int_eq(b.huge, expected);
  if (b.huge) ck_assert_uint_eq((unsigned long)st.st_blksize, kib << 10);
  mem_block_free(&b);
  ck_assert_int_eq(mem_block_alloc(4096, 0, &b, NULL), AGG_OK);
  ck_assert_int_eq(b.huge, 0);
  mem_block_free(&b);
}
END_TEST

START_TEST(too_much_is_refused) {
  struct mem_block b = {0};
  agg_error_t err = {0};
  ck_assert_int_eq(mem_block_alloc(SIZE_MAX - (size_t)_i, 0, &b, &err), AGG_ENOMEM);
  ck_assert_ptr_null(b.addr);
  ck_assert_uint_gt(strlen(err.text), 10);
  ck_assert_int_eq(mem_block_alloc(SIZE_MAX / 4, 0, &b, &err), AGG_ENOMEM);
  ck_assert_ptr_null(b.addr);
}
END_TEST

Suite *make_suite(void) {
  Suite *s = suite_create("unit/host_memory");
  TCase *c = tcase_create("blocks");
  int n = (int)(sizeof sizes / sizeof sizes[0]);
  tcase_add_loop_test(c, blocks_are_zeroed_whole_pages, 0, n);
  tcase_add_loop_test(c, a_peer_maps_it_and_cannot_shrink_it, 0, n);
  tcase_add_test(c, large_ones_take_huge_pages);
  tcase_add_loop_test(c, too_much_is_refused, 0, 3);
  suite_add_tcase(s, c);
  return s;
}
