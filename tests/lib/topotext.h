/* Descriptions in their text form, where a test knows that they are right. */
#ifndef TESTS_TOPOTEXT_H
#define TESTS_TOPOTEXT_H

#include "topology/topo.h"

/* The source is called FILE. *t is to be freed with topo_fini. */
void topotext_parse(const char *text, struct topo *t);
char *topotext_dump(const struct topo *t); /* to be freed */

#endif
