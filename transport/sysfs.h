/* What the kernel says of network devices in /sys, for transports. Never guesses. */
#ifndef TRANSPORT_SYSFS_H
#define TRANSPORT_SYSFS_H

#include <stdint.h>

/* Bytes a second of a network device that is a piece of hardware. 0: unknown, or it is none (the speeds of veth, bridges and the like are
 * made up). */
uint64_t sysfs_netdev_speed(const char *netdev);
/* Bytes a second of an RDMA device's port. 0: unknown. */
uint64_t sysfs_port_speed(const char *device, unsigned port);
/* The NUMA node in a file; `format` has one %s for the device. -1: unknown. */
int sysfs_numa(const char *format, const char *device) __attribute__((format(printf, 1, 0)));

#endif
