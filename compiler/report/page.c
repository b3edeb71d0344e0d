/* page.c: a report as one HTML page that needs nothing else, and as JSON. */
#include <math.h>
#include <string.h>

#include "ir/escape.h"
#include "report/report.h"

/* ---- JSON ---- */

static void put_number(Out *o, double v)
{
    if (isfinite(v))
        put(o, "%.12g", v);
    else
        put(o, "null");
}

static void json_table(const Table *t, Out *o)
{
    put(o, "\"%s\": [", t->id);
    for (size_t i = 0; i < t->nrow; i++)
        for (int k = 0; k < t->ncolumn; k++) {
            const Cell *c = &t->cell[i * (size_t)t->ncolumn + (size_t)k];
            put(o, "%s\"%s\": ", k ? ", " : i ? ",\n  {" : "\n  {", t->column[k].key);
            if (t->column[k].format)
                put_number(o, c->number);
            else
                put_json_text(o, c->text, strlen(c->text));
            put(o, k + 1 < t->ncolumn ? "" : "}");
        }
    put(o, "]");
}

void put_report_json(const ReportPage *p, Out *o)
{
    put(o, "{");
    for (int i = 0; i < NTABLE; i++) {
        put(o, i ? ",\n" : "");
        json_table(&p->table[i], o);
    }
    put(o, "}\n");
}

/* ---- HTML ---- */

/* As the column says; whole numbers with a comma between thousands. */
static void put_shown(const Table *t, int column, double v, Out *o)
{
    const char *text = format(t->s, t->column[column].format, v);
    size_t len = strlen(text);
    bool whole = !strcmp(t->column[column].format, "%.0f");
    for (size_t i = 0; i < len; i++)
        put(o, "%s%c", whole && i && (len - i) % 3 == 0 && text[i - 1] != '-' ? "," : "", text[i]);
}

static void put_table(const Table *t, Out *o)
{
    put(o,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"%s\">\n"
        "<table id=\"table-%s\"><caption>%s</caption>\n<thead><tr>",
        t->title, t->id, t->title);
    for (int k = 0; k < t->ncolumn; k++)
        put(o, "<th scope=\"col\"%s>%s</th>", t->column[k].format ? " class=\"n\"" : "",
            t->column[k].title);
    put(o, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < t->nrow; i++) {
        put(o, "<tr>");
        for (int k = 0; k < t->ncolumn; k++) {
            const Cell *c = &t->cell[i * (size_t)t->ncolumn + (size_t)k];
            if (!t->column[k].format) {
                put(o, k ? "<td>" : "<th scope=\"row\">");
                put_html(o, c->text);
                put(o, k ? "</td>" : "</th>");
                continue;
            }
            put(o, "<td class=\"n\" data-v=\"");
            put_number(o, c->number);
            put(o, "\">");
            if (isfinite(c->number))
                put_shown(t, k, c->number, o);
            put(o, "</td>");
        }
        put(o, "</tr>\n");
    }
    put(o, "</tbody></table></div>\n");
}

static void open_section(Out *o, const char *id, const char *title)
{
    put(o, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">%s</h2>\n", id, id, title);
}

static void put_graph(const ReportPage *p, int which, Out *o)
{
    static const char *const titles[] = {"Before the passes: @forward", "After them: @decode"};
    put(o, "<details open><summary>%s</summary>\n", titles[which]);
    if (p->drawing[which])
        put(o,
            "<div class=\"scroll graph\" tabindex=\"0\" role=\"region\" "
            "aria-label=\"%s\">%s</div>\n",
            titles[which], p->drawing[which]);
    put(o,
        "<details%s><summary>As text</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" "
        "aria-label=\"%s, text\"><pre>",
        p->drawing[which] ? "" : " open", titles[which]);
    put_html(o, p->text[which]);
    put(o, "</pre></div></details></details>\n");
}

static void put_plan(const ReportPage *p, Out *o)
{
    open_section(o, "s-plan", "Memory plan");
    put(o,
        "<p>Each rectangle is a value: ops run to the right, its bytes lie downward. Values whose "
        "lifetimes do not overlap share memory; nothing is allocated after the start.</p>\n");
    for (const Func *f = p->m->funcs; f; f = f->next)
        if (f->form == FORM_DECODE || f->form == FORM_PREFILL)
            draw_plan(&p->table[PLAN], f->name, o);
    put(o, "<details><summary>All values</summary>\n");
    put_table(&p->table[PLAN], o);
    put(o, "</details></section>\n");
}

static void put_head(const ReportPage *p, Out *o)
{
    static const char *const links[][2] = {{"s-summary", "Model"}, {"s-graph", "Graph"},
                                           {"s-passes", "Passes"}, {"s-weights", "Weights"},
                                           {"s-roof", "Time"},     {"s-kernels", "Kernels"},
                                           {"s-plan", "Memory"}};
    size_t size;
    const char *style = embedded_file("report/page.css", &size);
    CHECK(style);
    put(o, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    put_html(o, p->m->title);
    put(o, ": what bnc made of it</title>\n<style>\n");
    put_bytes(o, style, size);
    put(o, "</style></head>\n<body>\n<a class=\"skip\" href=\"#s-summary\">To the contents</a>\n"
           "<header><h1>");
    put_html(o, p->m->title);
    put(o, "</h1>\n<nav aria-label=\"Parts\">");
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        put(o, "<a href=\"#%s\">%s</a> ", links[i][0], links[i][1]);
    put(o, "</nav></header>\n<main>\n");
}

/* The JSON inside a script may not hold what ends one. */
static void put_data(const ReportPage *p, Out *o)
{
    Out json = {.s = p->s};
    put_report_json(p, &json);
    put(o, "<script type=\"application/json\" id=\"data\">\n");
    for (size_t i = 0; i < json.len; i++)
        if (json.text[i] == '<')
            put(o, "\\u003c");
        else
            put_bytes(o, json.text + i, 1);
    put(o, "</script>\n");
    out_free(&json);
}

void put_page(const ReportPage *p, Out *o)
{
    const Table *t = p->table;
    put_head(p, o);
    open_section(o, "s-summary", "The model");
    put_table(&t[SUMMARY], o);
    put(o, "</section>\n");
    open_section(o, "s-graph", "The graph");
    put(o, "<div class=\"two\">\n");
    for (int i = 0; i < 2; i++)
        put_graph(p, i, o);
    put(o, "</div></section>\n");
    open_section(o, "s-passes", "What the passes did");
    put(o, "<p>%s</p>\n", t[PASSES].note);
    if (p->measured)
        draw_passes(&t[PASSES], o);
    put_table(&t[PASSES], o);
    if (t[REMARKS].nrow)
        put_table(&t[REMARKS], o);
    put(o, "</section>\n");
    open_section(o, "s-weights", "Weights");
    put_table(&t[FORMATS], o);
    put(o, "<p class=\"key\"><span class=\"ternary\"></span>ternary <span "
           "class=\"floats\"></span>floats "
           "<span class=\"cache\"></span>KV cache</p>\n");
    draw_layers(&t[LAYERS], o);
    put(o, "<details><summary>In numbers</summary>\n");
    put_table(&t[LAYERS], o);
    put(o, "</details></section>\n");
    open_section(o, "s-roof", "One decode step");
    put(o, "<p>%s</p>\n", t[ROOF].note);
    draw_roof(&t[ROOF], p->read_rate, o);
    put_table(&t[ROOF], o);
    put(o, "</section>\n");
    open_section(o, "s-kernels", "Kernels");
    put(o, "<p>Of the rows of the kernel table that fit an op, the last wins. @score has those of "
           "@prefill.</p>\n");
    put_table(&t[KERNELS], o);
    put(o, "</section>\n");
    put_plan(p, o);
    put(o, "</main>\n<footer>bnc " BN_VERSION "; the same numbers: bnc report --json</footer>\n");
    put_data(p, o);
    put(o, "</body></html>\n");
}
