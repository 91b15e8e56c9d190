#include "tests/lib/conform.h"
#include "transport/tps.h"
static void config(struct tp_config *c) { c->bind_host = "127.0.0.1"; }
static const struct conform conform = {.ops = &tp_tcp, .config = config};
Suite *make_suite(void) { return conform_suite(&conform); }
