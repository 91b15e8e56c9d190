/* A JSON reader that accepts nothing but JSON: of it, what the programs print (ASCII; no signs before numbers, no booleans). */
#ifndef TESTS_JSON_H
#define TESTS_JSON_H

int is_json(const char *text);

#endif
