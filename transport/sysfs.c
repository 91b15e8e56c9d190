/* Reads small files of /sys. Never writes, and never fails: what cannot be read is unknown. */
#include "sysfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEGABIT 125000u /* bytes */

static int read_line(const char *path, char *buf, size_t cap) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, buf, cap - 1);
  close(fd);
  buf[n > 0 ? n : 0] = '\0';
  return n > 0;
}

uint64_t sysfs_netdev_speed(const char *netdev) {
  char path[128], text[64];
  snprintf(path, sizeof path, "/sys/class/net/%s/device", netdev);
  if (access(path, F_OK) != 0) return 0;
  snprintf(path, sizeof path, "/sys/class/net/%s/speed", netdev);
  long mbit = read_line(path, text, sizeof text) ? strtol(text, NULL, 10) : -1;
  return mbit > 0 ? (uint64_t)mbit * MEGABIT : 0;
}

/* "100 Gb/sec (4X EDR)": what the line carries after its coding. */
uint64_t sysfs_port_speed(const char *device, unsigned port) {
  char path[192], text[64], *end;
  snprintf(path, sizeof path, "/sys/class/infiniband/%s/ports/%u/rate", device, port);
  if (!read_line(path, text, sizeof text)) return 0;
  double gbit = strtod(text, &end);
  return end != text && gbit > 0 && gbit < 1e6 ? (uint64_t)(gbit * 1000 * MEGABIT) : 0;
}

int sysfs_numa(const char *format, const char *device) {
  char path[192], text[64];
  snprintf(path, sizeof path, format, device);
  return read_line(path, text, sizeof text) ? (int)strtol(text, NULL, 10) : -1;
}
