/* The fabric as Slurm knows it: topology.conf of topology/tree. */
#ifndef TOPOLOGY_SLURM_H
#define TOPOLOGY_SLURM_H

#include "topology/topo.h"

/* Switches and the hosts on them, without roles and with nothing in them: for topo_place_on. The file has no speeds that mean something:
 * `uplink` (bytes a second, each way) is that of every switch whose LinkSpeed is not a speed with a unit ("400G"); 0: unknown, and noted.
 * Errors are one line, "FILE:LINE: ...". AGG_EINVAL, AGG_ESYS, AGG_ENOMEM, AGG_ELIMIT. *t is initialised on success only. */
int slurm_load(const char *path, uint64_t uplink, struct topo *t, agg_error_t *err);
int slurm_parse(const char *text, size_t bytes, const char *source, uint64_t uplink, struct topo *t, agg_error_t *err);

/* A fabric from either form: our text where the first word is "topo", else Slurm's file, with `uplink` as above. Our text has its own
 * speeds: AGG_EINVAL with an `uplink`. */
int topo_load_fabric(const char *path, uint64_t uplink, struct topo *t, agg_error_t *err);

#endif
