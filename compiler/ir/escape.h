/* escape.h: bytes of hostile inputs made printable (implemented in out.c).
 *
 * Names in model files and lines of texts are somebody else's bytes: a terminal must never see
 * their control characters, and a message must not be forged by a newline in a tensor name.
 */
#ifndef BNC_ESCAPE_H
#define BNC_ESCAPE_H

#include "ir/ir.h"

/* Length 1..4 of the UTF-8 character at p, n >= 1 bytes; 0 where the bytes are not one. */
int utf8_char(const char *p, size_t n);
/* The same, 0 also for controls and for characters that reorder a line of text. */
int utf8_printable(const char *p, size_t n);
/* Appends bytes with everything else as \t, \n, \\ or \xNN. */
void put_escaped(Out *o, const char *bytes, size_t n);
/* 'bytes' in quotes, escaped, cut after 80 bytes with "...": for names in messages. */
const char *quote(Session *s, const char *bytes, size_t n);

#endif
