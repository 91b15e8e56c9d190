/* The conformance suite over shared memory: two transports of one process. */
#include "tests/lib/conform.h"
#include "transport/tps.h"

static const struct conform conform = {.ops = &tp_shm};

Suite *make_suite(void) { return conform_suite(&conform); }
