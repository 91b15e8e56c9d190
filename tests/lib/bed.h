/*
 * Devices for tests on real verbs, which run as root in a guest kernel (scripts/testbed/run): Soft-RoCE on interfaces of this
 * namespace, so that both ends can live in one process. Fails the test where it cannot.
 */
#ifndef TESTS_BED_H
#define TESTS_BED_H

#include <stddef.h>

#define BED_DEVICES 2

/* Makes sure that there are `n` devices: interface dK with address 10.0.K.1 and MTU 9000, rxe device rxeK. */
void bed_devices(unsigned n);
/* Puts the cable in (up) or takes it out, and waits until the port's state says so. */
void bed_link(unsigned k, int up);
/* All links up: before a test, since the one before may have ended in the middle. */
void bed_links_up(void);
/* All tests in this process, unless CK_FORK says otherwise: the leak checker takes a quarter of a second a process in a guest, and it finds
 * the same at the end of one. Check's time limits do not hold then: the tests' own do, and the guest's. Called before the first test. */
void bed_one_process(void);
/* Runs a program of the PATH and waits for it; its exit status. `line` is split at spaces. */
int bed_run(const char *line);
/* What `rdma resource` counts on each device: pd, cq, qp, ... */
void bed_resources(char *buf, size_t cap);

#endif
