/* Puts planes' memory into words; of the system it asks only how many huge pages are reserved. */
#include "pages.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "mem/host.h"

void pages_add(struct pages *pages, const struct plane_where *where) {
  unsigned i = 0;
  if (where->bytes == 0) return;
  if (pages->why[0] == '\0') str_copy(pages->why, sizeof pages->why, where->why);
  while (i < pages->n && pages->on[i].node != where->node) i++;
  if (i == pages->n && i < PAGES_NODES_MAX) pages->on[pages->n++] = (struct plane_where){.node = where->node};
  struct plane_where *on = &pages->on[MIN_OF(i, PAGES_NODES_MAX - 1u)];
  on->bytes += where->bytes;
  on->huge_bytes += where->huge_bytes;
  on->small_bytes += where->small_bytes;
}

/* 0 where the kernel has none, or does not say. */
static uint64_t reserved_huge_pages(void) {
  char line[32] = "";
  uint64_t pages = 0;
  FILE *f = fopen("/proc/sys/vm/nr_hugepages", "re");
  if (f == NULL) return 0;
  if (fgets(line, sizeof line, f) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    (void)parse_u64(line, UINT64_MAX, &pages);
  }
  fclose(f);
  return pages;
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

const char *pages_text(const struct plane_where *w, uint64_t reserved, char buf[PAGES_TEXT_MAX]) {
  char node[32] = "", parts[96], why[96];
  long kib = sysconf(_SC_PAGESIZE) / 1024;
  if (w->node >= 0) (void)snprintf(node, sizeof node, " on NUMA node %d", w->node);
  if (w->huge_bytes >= w->bytes) {
    (void)snprintf(buf, PAGES_TEXT_MAX, "%.1f MiB of windows%s: huge pages", mib(w->bytes), node);
    return buf;
  }
  if (w->huge_bytes + w->small_bytes >= w->bytes) {
    (void)snprintf(why, sizeof why, "blocks below %u MiB", MEM_HUGE_FROM_BYTES >> 20);
  } else if (reserved == 0) {
    (void)snprintf(why, sizeof why, "vm.nr_hugepages is 0");
  } else {
    (void)snprintf(why, sizeof why, "too few of the %" PRIu64 " huge pages (vm.nr_hugepages) are free", reserved);
  }
  if (w->huge_bytes > 0) {
    (void)snprintf(parts, sizeof parts, "%.1f MiB in huge pages, the rest in %ld KiB pages", mib(w->huge_bytes), kib);
  } else {
    (void)snprintf(parts, sizeof parts, "%ld KiB pages", kib);
  }
  (void)snprintf(buf, PAGES_TEXT_MAX, "%.1f MiB of windows%s: %s (%s)", mib(w->bytes), node, parts, why);
  return buf;
}

void pages_say(const struct pages *pages, const struct log *log, const char *prefix) {
  char text[PAGES_TEXT_MAX];
  if (pages->why[0] != '\0') LOG_WARN(log, "%s: windows are not where they should be: %s", prefix, pages->why);
  if (log->level < AGG_LOG_INFO) return;
  uint64_t reserved = reserved_huge_pages();
  for (unsigned i = 0; i < pages->n; i++) LOG_INFO(log, "%s: %s", prefix, pages_text(&pages->on[i], reserved, text));
}
