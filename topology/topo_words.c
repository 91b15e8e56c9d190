/* Owns what a word of a description may be: names, PCI addresses and paths, speeds, sizes, lists of CPUs; and how each is written. Pure. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "topology/topo_internal.h"

static int is_digit(char c) { return c >= '0' && c <= '9'; }
static int is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static int is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }

int topo_name_ok(const char *name) {
  size_t n = strnlen(name, TOPO_NAME_CAP);
  if (n == 0 || n == TOPO_NAME_CAP || !(is_letter(name[0]) || is_digit(name[0]))) return 0;
  for (const char *p = name; *p != '\0'; p++) {
    if (!is_letter(*p) && !is_digit(*p) && strchr("._-", *p) == NULL) return 0;
  }
  return 1;
}

int topo_netdev_ok(const char *netdev) {
  size_t n = strnlen(netdev, TOPO_NETDEV_CAP);
  if (n == 0 || n == TOPO_NETDEV_CAP || strcmp(netdev, ".") == 0 || strcmp(netdev, "..") == 0) return 0;
  for (const char *p = netdev; *p != '\0'; p++) {
    if (*p <= ' ' || *p > '~' || strchr("/:#=", *p) != NULL) return 0;
  }
  return 1;
}

int topo_rdma_ok(const char *rdma) {
  char device[TOPO_NAME_CAP];
  uint64_t port;
  if (!str_copy(device, sizeof device, rdma)) return 0;
  char *colon = strchr(device, ':');
  if (colon == NULL || colon[1] == '0' || parse_u64(colon + 1, 255, &port) != 0) return 0;
  *colon = '\0';
  return topo_name_ok(device);
}

/* `n` hex digits at *p, or n to max; steps over them. */
static int take_hex(const char **p, int n, int max) {
  int got = 0;
  while (got < max && is_hex((*p)[got])) got++;
  *p += got;
  return got >= n;
}

static int take_char(const char **p, char c) { return **p == c ? (++*p, 1) : 0; }

static int take_address(const char **p) {
  if (!take_hex(p, 4, 8) || !take_char(p, ':') || !take_hex(p, 2, 2) || !take_char(p, ':') || !take_hex(p, 2, 2) || !take_char(p, '.'))
    return 0;
  return **p >= '0' && **p <= '7' ? (++*p, 1) : 0;
}

int topo_pci_ok(const char *pci) { return take_address(&pci) && *pci == '\0'; }

int topo_path_ok(const char *path) {
  unsigned bridges = 0;
  if (strncmp(path, "pci", 3) != 0) return 0;
  path += 3;
  if (!take_hex(&path, 4, 8) || !take_char(&path, ':') || !take_hex(&path, 2, 2)) return 0;
  while (take_char(&path, '/')) {
    if (++bridges > TOPO_BRIDGES_MAX || !take_address(&path)) return 0;
  }
  return *path == '\0';
}

int topo_path_has(const char *path, const char *bridge) {
  size_t length = strlen(bridge);
  while ((path = strchr(path, '/')) != NULL) {
    path++;
    if (strncmp(path, bridge, length) == 0 && (path[length] == '/' || path[length] == '\0')) return 1;
  }
  return 0;
}

/* ---- numbers with a unit ----------------------------------------------------------------------------------------------------------- */

/* A speed has at most 9 digits before the point and 9 behind it: in units of 10^-9 that fits 64 bits. */
int topo_speed_parse(const char *text, uint64_t *bytes_per_second) {
  uint64_t whole = 0, nano = 0, scale = 1000000000;
  const char *p = text;
  int digits = 0;
  for (; is_digit(*p); p++) {
    if (++digits > 15) return -1;
    whole = whole * 10 + (uint64_t)(*p - '0');
  }
  if (digits == 0) return -1;
  if (*p == '.') {
    if (!is_digit(*++p)) return -1;
    for (; is_digit(*p); p++) {
      if (scale == 1) return -1;
      scale /= 10;
      nano += scale * (uint64_t)(*p - '0');
    }
  }
  uint64_t unit = *p == 'K' ? 1000 : *p == 'M' ? 1000000 : *p == 'G' ? 1000000000 : *p == 'T' ? 1000000000000 : 1;
  if (unit != 1) p++;
  if (*p != '\0' && strcmp(p, "bit") != 0 && strcmp(p, "bit/s") != 0 && strcmp(p, "b/s") != 0) return -1;
  if (whole > 8 * TOPO_SPEED_MAX / unit) return -1;
  /* nano < 10^9, so its product fits 64 bits up to G; a T of it is taken in two steps. */
  uint64_t bits = whole * unit + (unit <= 1000000000 ? nano * unit / 1000000000 : nano * (unit / 1000000000));
  if (bits < 8 * TOPO_SPEED_MIN || bits > 8 * TOPO_SPEED_MAX) return -1;
  *bytes_per_second = bits / 8;
  return 0;
}

const char *topo_speed_text(uint64_t bytes_per_second, char buf[TOPO_SPEED_TEXT_CAP]) {
  static const struct {
    uint64_t bits;
    const char *unit;
  } units[] = {{1000000000000, "T"}, {1000000000, "G"}, {1000000, "M"}, {1000, "K"}, {1, "bit"}};
  uint64_t bits = bytes_per_second * 8;
  if (bytes_per_second == 0 || bytes_per_second > UINT64_MAX / 8) {
    (void)snprintf(buf, TOPO_SPEED_TEXT_CAP, "unknown");
    return buf;
  }
  /* The largest unit in which it has at most three decimals; 1T is what people call 1000G, so that is for whole ones from 10T on. */
  for (size_t i = bits >= 10 * units[0].bits ? 0 : 1; i < ARRAY_LEN(units); i++) {
    uint64_t unit = units[i].bits;
    if (bits < unit || (unit >= 1000 && bits % (unit / 1000) != 0)) continue;
    unsigned milli = (unsigned)(bits % unit * 1000 / unit);
    int n = snprintf(buf, TOPO_SPEED_TEXT_CAP, "%" PRIu64, bits / unit);
    if (milli != 0) {
      n += snprintf(buf + n, TOPO_SPEED_TEXT_CAP - (size_t)n, ".%03u", milli);
      while (buf[n - 1] == '0') n--;
    }
    (void)snprintf(buf + n, TOPO_SPEED_TEXT_CAP - (size_t)n, "%s", units[i].unit);
    break;
  }
  return buf;
}

int topo_memory_parse(const char *text, uint64_t *bytes) {
  static const char units[] = "KMGTP";
  uint64_t value = 0;
  int digits = 0, shift = 0;
  for (; is_digit(*text); text++) {
    if (++digits > 17) return -1;
    value = value * 10 + (uint64_t)(*text - '0');
  }
  if (digits == 0) return -1;
  const char *unit = *text != '\0' ? strchr(units, *text) : NULL;
  if (unit != NULL) {
    shift = 10 * (int)(unit - units + 1);
    text++;
    if (*text == 'i') text++;
  }
  if (*text == 'B') text++;
  if (*text != '\0' || value > TOPO_MEMORY_MAX >> shift) return -1;
  value <<= shift;
  if (value < TOPO_MEMORY_MIN) return -1;
  *bytes = value;
  return 0;
}

const char *topo_memory_text(uint64_t bytes, char buf[TOPO_SPEED_TEXT_CAP]) {
  static const char *const units[] = {"", "K", "M", "G", "T"};
  size_t i = 0;
  while (i + 1 < ARRAY_LEN(units) && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    i++;
  }
  (void)snprintf(buf, TOPO_SPEED_TEXT_CAP, "%" PRIu64 "%s", bytes, units[i]);
  return buf;
}

/* ---- lists of CPUs ----------------------------------------------------------------------------------------------------------------- */

static int take_cpu(const char **p, uint32_t *cpu) {
  uint32_t value = 0;
  int digits = 0;
  for (; is_digit(**p); ++*p) {
    if (++digits > 5) return 0;
    value = value * 10 + (uint32_t)(**p - '0');
  }
  *cpu = value;
  return digits > 0 && value < TOPO_CPUS_MAX;
}

/* "a" or "a-b", and the comma behind it: 1; 0 where there is none. */
static int take_cpu_range(const char **p, uint32_t *first, uint32_t *last) {
  if (!take_cpu(p, first)) return 0;
  *last = *first;
  if (take_char(p, '-') && (!take_cpu(p, last) || *last < *first)) return 0;
  return **p == '\0' || (take_char(p, ',') && **p != '\0');
}

int topo_cpus_parse(const char *list, struct topo_cpus *cpus) {
  uint32_t first, last;
  memset(cpus, 0, sizeof *cpus);
  do {
    if (!take_cpu_range(&list, &first, &last)) return -1;
    for (uint32_t cpu = first; cpu <= last; cpu++) topo_cpus_add(cpus, cpu);
  } while (*list != '\0');
  return 0;
}

int topo_cpu_next(const char *list, int after) {
  uint32_t first, last;
  int best = -1;
  while (*list != '\0' && take_cpu_range(&list, &first, &last)) {
    int candidate = MAX_OF((int)first, after + 1);
    if (candidate <= (int)last && (best < 0 || candidate < best)) best = candidate;
  }
  return best;
}

uint32_t topo_cpus_count(const struct topo_cpus *cpus) {
  uint32_t n = 0;
  for (size_t i = 0; i < ARRAY_LEN(cpus->bits); i++) n += (uint32_t)__builtin_popcountll(cpus->bits[i]);
  return n;
}

/* The first CPU from `from` on that is in the set (or, with `want` 0, is not); TOPO_CPUS_MAX: none. */
static uint32_t next_cpu(const struct topo_cpus *cpus, uint32_t from, int want) {
  while (from < TOPO_CPUS_MAX) {
    uint64_t word = (want ? cpus->bits[from / 64] : ~cpus->bits[from / 64]) >> from % 64;
    if (word != 0) return from + (uint32_t)__builtin_ctzll(word);
    from = (from / 64 + 1) * 64;
  }
  return TOPO_CPUS_MAX;
}

int topo_cpus_text(struct topo_cpus *cpus, char buf[TOPO_CPULIST_CAP]) {
  size_t used = 0;
  buf[0] = '\0';
  for (uint32_t cpu = next_cpu(cpus, 0, 1), end; cpu < TOPO_CPUS_MAX; cpu = next_cpu(cpus, end, 1)) {
    end = next_cpu(cpus, cpu, 0);
    char item[16];
    int n = snprintf(item, sizeof item, end - cpu > 1 ? "%s%u-%u" : "%s%u", used > 0 ? "," : "", cpu, end - 1);
    if (used + (size_t)n >= TOPO_CPULIST_CAP) {
      for (; cpu < TOPO_CPUS_MAX; cpu++) cpus->bits[cpu / 64] &= ~(1ull << cpu % 64);
      return -1;
    }
    memcpy(buf + used, item, (size_t)n + 1);
    used += (size_t)n;
  }
  return 0;
}

int topo_cpus_first_in(const struct topo_cpus *a, const struct topo_cpus *b, int in_b) {
  for (uint32_t i = 0; i < ARRAY_LEN(a->bits); i++) {
    uint64_t word = a->bits[i] & (in_b ? b->bits[i] : ~b->bits[i]);
    if (word != 0) return (int)(i * 64) + __builtin_ctzll(word);
  }
  return -1;
}
