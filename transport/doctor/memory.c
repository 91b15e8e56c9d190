/* Checks what limits registered memory: the locked-memory limit of this process, and huge pages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/internal.h"

#define MEMLOCK_NEED (64ull << 20)
#define CAP_IPC_LOCK_BIT 14
#define TODO_MEMLOCK                                                                                                               \
  "make it unlimited: \"* - memlock unlimited\" in /etc/security/limits.d/rdma.conf (then log in anew), LimitMEMLOCK=infinity in " \
  "the systemd unit (of slurmd, too), --ulimit memlock=-1 for docker and podman; ulimit -l shows it"

/* CAP_IPC_LOCK in the first user namespace: the kernel then asks no limit. */
static int may_lock_all(const struct doctor *d) {
  char status[4096], caps[NAME_CAP], map[LINE_CAP];
  unsigned long long inside, outside, count;
  if (tree_bytes(d, status, sizeof(status), "/proc/self/status") < 0 || text_field(status, "CapEff:", caps, sizeof(caps)) <= 0) return 0;
  if ((strtoull(caps, NULL, 16) >> CAP_IPC_LOCK_BIT & 1) == 0) return 0;
  if (tree_line(d, map, sizeof(map), "/proc/self/uid_map") <= 0) return 1; /* a kernel without user namespaces */
  return sscanf(map, "%llu %llu %llu", &inside, &outside, &count) == 3 && inside == 0 && outside == 0 && count == 4294967295ull;
}

static void say_bytes(char text[DOCTOR_TEXT_MAX], uint64_t bytes) {
  if (bytes >= 1ull << 30 && bytes % (1ull << 30) == 0) {
    say(text, "%llu GiB", (unsigned long long)(bytes >> 30));
  } else if (bytes >= 1ull << 20 && bytes % (1ull << 20) == 0) {
    say(text, "%llu MiB", (unsigned long long)(bytes >> 20));
  } else {
    say(text, "%llu KiB", (unsigned long long)(bytes >> 10));
  }
}

void check_memlock(struct doctor *d, const char *check) {
  char limits[4096], line[LINE_CAP], soft[32], hard[32];
  uint64_t limit = 0, need = d->options->memlock_need != 0 ? d->options->memlock_need : MEMLOCK_NEED;
  int got = tree_bytes(d, limits, sizeof(limits), "/proc/self/limits");
  if (got < 0 || text_field(limits, "Max locked memory", line, sizeof(line)) <= 0 || sscanf(line, "%31s %31s", soft, hard) != 2) {
    say(finding(d, check, "", DOCTOR_UNKNOWN)->seen, "/proc/self/limits does not tell the limit");
    return;
  }
  int unlimited = strcmp(soft, "unlimited") == 0;
  if (!unlimited && parse_u64(soft, UINT64_MAX, &limit) != 0) {
    say(finding(d, check, "", DOCTOR_UNKNOWN)->seen, "/proc/self/limits tells no number: %s", line);
    return;
  }
  if (unlimited) {
    say(finding(d, check, "", DOCTOR_PASS)->seen, "unlimited");
    return;
  }
  int free_of_it = may_lock_all(d);
  struct doctor_finding *f = finding(d, check, "", free_of_it ? DOCTOR_PASS : limit < need ? DOCTOR_FAIL : DOCTOR_WARN);
  if (free_of_it) {
    say_bytes(f->seen, limit);
    say(f->seen, ", but not asked: this process has CAP_IPC_LOCK");
    return;
  }
  say(f->seen, "only ");
  say_bytes(f->seen, limit);
  say(f->seen, " may be locked by this process, where libagg needs ");
  say_bytes(f->seen, need);
  say(f->seen, " for its slots and, on top of that, room for every buffer that is registered");
  if (strcmp(hard, "unlimited") == 0) say(f->todo, "ulimit -l unlimited in this shell (its hard limit allows it); for good, ");
  say(f->todo, TODO_MEMLOCK);
}

static void say_pages(const struct doctor *d, char text[DOCTOR_TEXT_MAX], int64_t *total_free) {
  char names[16][NAME_CAP];
  int n = tree_list(d, names, ARRAY_LEN(names), "/sys/kernel/mm/hugepages");
  for (int i = 0; i < n; i++) {
    int64_t free_pages = 0, all = 0;
    if (tree_number(d, &free_pages, "/sys/kernel/mm/hugepages/%s/free_hugepages", names[i]) != 0) continue;
    tree_number(d, &all, "/sys/kernel/mm/hugepages/%s/nr_hugepages", names[i]);
    const char *size = strncmp(names[i], "hugepages-", 10) == 0 ? names[i] + 10 : names[i];
    say(text, "%s%lld of %lld free of %s", text[0] != '\0' ? ", " : "", (long long)free_pages, (long long)all, size);
    *total_free += free_pages;
  }
}

void check_huge_pages(struct doctor *d, const char *check) {
  char thp[NAME_CAP], pages[DOCTOR_TEXT_MAX] = "";
  int64_t total_free = 0;
  int has_thp = tree_line(d, thp, sizeof(thp), "/sys/kernel/mm/transparent_hugepage/enabled") > 0;
  say_pages(d, pages, &total_free);
  if (!has_thp && pages[0] == '\0') {
    say(finding(d, check, "", DOCTOR_UNKNOWN)->seen, "this kernel tells nothing of huge pages");
    return;
  }
  int on = has_thp && strstr(thp, "[never]") == NULL;
  struct doctor_finding *f = finding(d, check, "", on || total_free > 0 ? DOCTOR_PASS : DOCTOR_WARN);
  say(f->seen, "%s%stransparent: %s", pages, pages[0] != '\0' ? "; " : "", has_thp ? thp : "not in this kernel");
  if (f->verdict == DOCTOR_WARN)
    say(f->todo,
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, or sysctl vm.nr_hugepages=512: registering large buffers is "
        "faster and takes less of the NIC's table");
}
