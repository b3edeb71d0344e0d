/* json.h: the JSON texts of a checkpoint, parsed by jansson.
 *
 * Numbers are all read as doubles: tokenizer_config.json holds lengths of 10^30, which no integer
 * takes. A key that stands twice, a NUL in a string and nesting beyond 2048 are errors.
 */
#ifndef BNC_JSON_H
#define BNC_JSON_H

#include <jansson.h>

#include "ir/ir.h"

/* The parsed text, freed at session_end. fail() with line and column where it is no JSON. */
json_t *json_text(Session *s, const char *path, const char *bytes, size_t size);
/* The same, for a text inside of something else: NULL, and *why says what is wrong. */
json_t *json_part(Session *s, const char *bytes, size_t size, const char **why);
/* A whole file, which must be an object; NULL where there is none. */
json_t *json_file(Session *s, const char *path);
json_t *json_file_required(Session *s, const char *path);

/* A whole number from 0 to 2^53; false for anything else, NULL included. */
bool json_whole(const json_t *v, int64_t *out);
/* The text of a string value; NULL for anything else, NULL included. */
const char *json_string_or_null(const json_t *v);
/* A member of an object, and its text; NULL where it is absent or null, or `object` is no object. */
const json_t *json_member(const json_t *object, const char *key);
const char *json_member_text(const json_t *object, const char *key);

#endif
