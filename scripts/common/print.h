/* What the programs of scripts/ print alike. */
#ifndef SCRIPTS_PRINT_H
#define SCRIPTS_PRINT_H

#include <stdio.h>

/* Prints words from `column` on, broken before `width`, further lines indented, and a newline. A word that is longer than a line stays
 * whole. */
void print_wrapped(FILE *to, const char *text, unsigned column, unsigned indent, unsigned width);

/* A string in quotes, valid JSON whatever the bytes are: what is not ASCII is written as its byte's number. */
void print_json_string(FILE *to, const char *text);

#endif
