/* Plans and their nodes, for tests of the engine by itself: events in, actions out. */
#ifndef TESTS_NODES_H
#define TESTS_NODES_H

#include "engine/node.h"

#define WINDOW 3u
#define FAR_AWAY UINT64_MAX /* a deadline */

/* One forest of this kind, chunks of 64 bytes, that window. */
struct plan plan_of(unsigned kind, uint32_t workers, uint32_t servers, uint32_t lanes);
/* The caller destroys it. */
struct node *node_of(const struct plan *plan, uint32_t self, uint32_t lane);

#endif
