/* Owns the questions that only libibverbs answers: can it open the device, and what is the port's active MTU. Keeps nothing open. */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>

#include "doctor/internal.h"

/* -ENODEV: libibverbs does not list it. */
static int open_device(const char *name, struct ibv_context **context) {
  int n = 0, rc = -ENODEV;
  struct ibv_device **list = ibv_get_device_list(&n);
  if (list == NULL) return errno != 0 ? -errno : -ENODEV;
  for (int i = 0; i < n; i++) {
    if (strcmp(ibv_get_device_name(list[i]), name) != 0) continue;
    errno = 0;
    *context = ibv_open_device(list[i]);
    rc = *context != NULL ? 0 : (errno != 0 ? -errno : -EIO);
    break;
  }
  ibv_free_device_list(list);
  return rc;
}

int live_open(const char *device, char *why, size_t cap) {
  struct ibv_context *context;
  int rc = open_device(device, &context);
  why[0] = '\0';
  if (rc == 0) {
    ibv_close_device(context);
  } else if (rc == -ENODEV) {
    str_copy(why, cap, "the kernel has it, but libibverbs does not list it");
  } else {
    char buf[128];
    (void)snprintf(why, cap, "libibverbs cannot open it: %s", strerror_r(-rc, buf, sizeof(buf)));
  }
  return rc;
}

unsigned live_mtu(const char *device, unsigned port) {
  struct ibv_context *context;
  struct ibv_port_attr attr;
  unsigned mtu = 0;
  if (open_device(device, &context) != 0) return 0;
  if (ibv_query_port(context, (uint8_t)port, &attr) == 0 && attr.active_mtu >= IBV_MTU_256 && attr.active_mtu <= IBV_MTU_4096)
    mtu = 128u << attr.active_mtu;
  ibv_close_device(context);
  return mtu;
}
