/* What the program that started this process says about it: rank, size, the run's name, where the ranks can meet. */
#ifndef LIBAGG_LAUNCHER_H
#define LIBAGG_LAUNCHER_H

#include "agg.h"

#define LAUNCHER_JOB_DEFAULT "default"

/* Writes rank, world, local_rank and job (and coordinator, where that is empty, needed and known) into *config. A job's name other than the
 * default stays the beginning of the name. AGG_EINVAL names the variable. */
int launcher_read(agg_config_t *config, agg_error_t *err);

/* The value of a variable, or NULL: an empty one counts as not set. */
const char *env_text(const char *name);

/* A whole number in [min, max], or AGG_EINVAL with name, value and what was expected. */
int env_u32(const char *name, uint32_t min, uint32_t max, uint32_t *out, agg_error_t *err);

#endif
