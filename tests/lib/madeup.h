/* Machines made up in a temporary directory, for agg-doctor's checks: files below a root that stands for "/". */
#ifndef TESTS_MADEUP_H
#define TESTS_MADEUP_H

#include "transport/doctor/doctor.h"

struct madeup {
  char root[64];
  struct doctor_options options; /* root is set */
  struct doctor_report report;   /* of the last madeup_check */
};

void madeup_open(struct madeup *m);
void madeup_close(struct madeup *m);

/* Writes a file (folders are made), or replaces it. A newline is added. */
void madeup_file(const struct madeup *m, const char *path, const char *text);
void madeup_bytes(const struct madeup *m, const char *path, const void *bytes, size_t n);
void madeup_link(const struct madeup *m, const char *path, const char *target);
void madeup_folder(const struct madeup *m, const char *path);
/* Removes a file, or a folder with all in it. */
void madeup_remove(const struct madeup *m, const char *path);

/* What every machine has: kernel, limits (memlock unlimited), cores 0-7 allowed, huge pages. */
void madeup_base(const struct madeup *m);
/* An RDMA device with one active port: "InfiniBand" or "Ethernet". netdev and pci may be NULL. */
void madeup_device(const struct madeup *m, const char *name, const char *layer, const char *netdev, const char *pci);
void madeup_gid(const struct madeup *m, const char *device, unsigned index, const char *gid, const char *type, const char *netdev);
void madeup_pci(const struct madeup *m, const char *address, const char *vendor, const char *class_code, const char *driver);
/* A server with two RoCE NICs (mlx5_0 on eth0 and node 0, mlx5_1 on eth1 and node 1) and two sockets of 4 cores, all well. */
void madeup_roce_server(const struct madeup *m);

/* Runs all checks; the n-th finding of a check (from 0), NULL when there is none. */
const struct doctor_finding *madeup_check(struct madeup *m, const char *check, unsigned n);
/* Runs all checks, expects the n-th finding of this one to have this verdict and to say these words in seen and todo (NULL: any; todo ""
 * must be empty). */
void madeup_expect(struct madeup *m, const char *check, unsigned n, enum doctor_verdict verdict, const char *seen, const char *todo);

#endif
