/* escape.h: text of others where it could be taken for something else.
 *
 * Names in model files, paths, options and lines of texts are somebody else's bytes: a terminal must
 * never see their control characters, a message must not be forged by a newline in a tensor name, and
 * nothing of them may become code of a generated file. Each kind of place has one function, through
 * which all such text goes. Texts end with a NUL where no length is given.
 */
#ifndef BNC_ESCAPE_H
#define BNC_ESCAPE_H

#include "ir/ir.h"

/* Length 1..4 of the UTF-8 character at p, n >= 1 bytes; 0 where the bytes are not one. */
int utf8_char(const char *p, size_t n);
/* The same, 0 also for controls and for characters that reorder a line of text. */
int utf8_printable(const char *p, size_t n);

/* ---- text ---- */

/* A name or a message, for a terminal or a log: everything that is not printable as \t, \n, \\ or \xNN.
 * (What a model generates: bn_show of cli.h, which changes nothing but at a terminal.) */
void put_escaped(Out *o, const char *bytes, size_t n);
/* 'bytes' in quotes, escaped, cut after 80 bytes with "...": for names in messages. */
const char *quote(Session *s, const char *bytes, size_t n);
/* A string of textual IR, with its quotes, from which the lexer reads the same bytes. */
void put_tir_string(Out *o, const char *text);
/* HTML and SVG, between tags or in an attribute's quotes. (JSON: put_json_text of ir.h.) */
void put_html(Out *o, const char *text);
/* A label of Graphviz's DOT, between its quotes. */
void put_dot_label(Out *o, const char *text);

/* ---- generated code ---- */

/* Inside of a comment of C, C++, CUDA, Metal: put_escaped, and neither the end nor the beginning of
 * a comment, nor a trigraph. One line. */
void put_comment(Out *o, const char *text);
/* A string literal of C, C++ or Objective-C, with its quotes: ASCII on one line, without trigraphs. */
void put_c_string(Out *o, const char *bytes, size_t n);
/* A string of the assembler, with its quotes; put_c_string takes it from there into an asm. */
void put_asm_string(Out *o, const char *text);

/* ---- names: where a name is meant, nothing else is taken ---- */

enum { NAME_LENGTH = 64 };
bool name_char(unsigned char c); /* letters and digits of ASCII, _ . - */
/* 1 to NAME_LENGTH of these, a letter or digit first: of an architecture. */
bool name_good(const char *text);
bool identifier_char(unsigned char c);
bool identifier_good(const char *text); /* of C */

#endif
