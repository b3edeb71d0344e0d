/* report.h: what `bnc report` shows, for the page and for --json.
 *
 * One idea: a report is tables. The page prints them and draws some of them, the JSON holds the
 * same cells; so a number on the page is a number of the JSON.
 */
#ifndef BNC_REPORT_H
#define BNC_REPORT_H

#include "driver/profile.h"
#include "ir/ir.h"
#include "passes/passes.h"

/* ---- tables.c ---- */

typedef struct Column {
    const char *key, *title;
    const char *format; /* of numbers on the page; NULL: the column holds texts */
} Column;
typedef struct Cell {
    const char *text; /* NULL: a number, none where it is NAN */
    double number;
} Cell;
typedef struct Table {
    Session *s;
    const char *id, *title, *note; /* note: a sentence below the title */
    const Column *column;
    int ncolumn;
    Cell *cell; /* [nrow x ncolumn] */
    size_t nrow;
} Table;

/* A row of cells: const char * for texts, double for numbers, in the order of the columns. */
void table_add(Table *t, ...);
const char *cell_text(const Table *t, size_t row, const char *key);
double cell_number(const Table *t, size_t row, const char *key);

enum { SUMMARY, PASSES, FORMATS, LAYERS, KERNELS, ROOF, PLAN, REMARKS, NTABLE };
typedef struct ReportPage {
    Session *s;
    const Module *m; /* after the passes */
    const Target *target;
    Table table[NTABLE];
    /* The graph before and after the passes: its text and how Graphviz draws it; NULL: there is no
     * Graphviz. */
    const char *text[2], *drawing[2];
    bool measured;
    double read_rate; /* GB/s; 0: not measured */
} ReportPage;

/* Fills all tables but ROOF's measured part. `r` has the passes' times; they are left out, as all that
 * differs from run to run, where measured is false. */
void report_tables(ReportPage *p, const Report *r);
/* Bytes, MACs and the bound of each op of one decode step at position `at`; with what a
 * profiled run measured where there is one (NULL: none). */
void report_roof(ReportPage *p, int at, const Profile *measured);

/* ---- graph.c ---- */

/* A function as DOT, and DOT as SVG by Graphviz; NULL where there is none, or it fails. */
void graph_dot(const Func *f, Out *o);
const char *graph_draw(Session *s, const char *dir, const char *dot);

/* ---- figures.c: SVG ---- */

void draw_passes(const Table *t, Out *o);
void draw_layers(const Table *t, Out *o);
void draw_plan(const Table *t, const char *func, Out *o);
void draw_roof(const Table *t, double rate, Out *o);

/* ---- page.c ---- */

void put_page(const ReportPage *p, Out *o);
void put_report_json(const ReportPage *p, Out *o);

#endif
