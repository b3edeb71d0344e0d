/* figures.c: what tables show better as a picture: SVG whose colours are those of page.css. */
#include <math.h>
#include <string.h>

#include "ir/escape.h"
#include "report/report.h"

static double most_of(const Table *t, const char *key)
{
    double most = 0;
    for (size_t i = 0; i < t->nrow; i++)
        most = cell_number(t, i, key) > most ? cell_number(t, i, key) : most;
    return most;
}

static void open_svg(Out *o, double width, double height, const char *label)
{
    put(o, "<div class=\"scroll\"><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", width,
        height);
    put_html(o, label);
    put(o, "\">\n");
}

static void close_svg(Out *o)
{
    put(o, "</svg></div>\n");
}

/* A rectangle, described for pointers and readers. */
static void put_bar(Out *o, const char *class, double x, double y, double w, double h,
                    const char *title)
{
    put(o, "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>", class,
        x, y, w > 0.5 ? w : 0.5, h);
    put_html(o, title);
    put(o, "</title></rect>\n");
}

static void put_label(Out *o, double x, double y, const char *anchor, const char *text)
{
    put(o, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    put_html(o, text);
    put(o, "</text>\n");
}

/* ---- passes, one after another ---- */

void draw_passes(const Table *t, Out *o)
{
    double sum = 0, row = 14, left = 70, wide = 540, at = 0;
    for (size_t i = 0; i < t->nrow; i++)
        sum += cell_number(t, i, "wall_ms");
    open_svg(o, left + wide + 70, row * (double)t->nrow + 4, "When each pass ran, and how long");
    for (size_t i = 0; i < t->nrow && sum > 0; i++) {
        double ms = cell_number(t, i, "wall_ms"), y = row * (double)i + 2;
        const char *text = format(t->s, "%.2f ms", ms);
        put_label(o, left - 6, y + 9, "end", cell_text(t, i, "pass"));
        put_bar(o, "odd life", left + wide * at / sum, y, wide * ms / sum, row - 3,
                format(t->s, "%s: %s", cell_text(t, i, "pass"), text));
        at += ms;
        put_label(o, left + wide * at / sum + 4, y + 9, "start", text);
    }
    close_svg(o);
}

/* ---- bytes of each layer, stacked ---- */

void draw_layers(const Table *t, Out *o)
{
    static const char *const keys[] = {"ternary", "floats", "cache"};
    double most = 0, row = 14, left = 60, wide = 640;
    for (size_t i = 0; i < t->nrow; i++) {
        double sum = 0;
        for (int k = 0; k < 3; k++)
            sum += cell_number(t, i, keys[k]);
        most = sum > most ? sum : most;
    }
    open_svg(o, left + wide + 10, row * (double)t->nrow + 4, "Bytes of each layer by kind");
    for (size_t i = 0; i < t->nrow && most > 0; i++) {
        double x = left, y = row * (double)i + 2;
        put_label(o, left - 6, y + 10, "end", cell_text(t, i, "layer"));
        for (int k = 0; k < 3; k++) {
            double bytes = cell_number(t, i, keys[k]), w = wide * bytes / most;
            if (bytes > 0)
                put_bar(o, keys[k], x, y, w, row - 3,
                        format(t->s, "layer %s, %s: %.0f bytes", cell_text(t, i, "layer"), keys[k],
                               bytes));
            x += w;
        }
    }
    close_svg(o);
}

/* ---- the memory plan: time to the right, offsets downward ---- */

void draw_plan(const Table *t, const char *func, Out *o)
{
    static const char *const spaces[] = {"shared", "own"};
    double last = 1, wide = 680, high = 200;
    for (size_t i = 0; i < t->nrow; i++)
        if (!strcmp(cell_text(t, i, "function"), func))
            last = fmax(last, cell_number(t, i, "to") + 1);
    for (int r = 0; r < 2; r++) {
        double end = 0;
        for (size_t i = 0; i < t->nrow; i++)
            if (!strcmp(cell_text(t, i, "function"), func) &&
                !strcmp(cell_text(t, i, "space"), spaces[r]))
                end = fmax(end, cell_number(t, i, "offset") + cell_number(t, i, "bytes"));
        if (end <= 0)
            continue;
        put(o, "<h4>@%s, %s memory: %.0f bytes</h4>\n", func, r ? "each thread's own" : "shared",
            end);
        open_svg(o, wide + 4, high + 4,
                 format(t->s,
                        "Lifetimes of values of %s in %s memory: ops to the right, bytes down",
                        func, spaces[r]));
        put(o, "<rect class=\"frame\" x=\"1\" y=\"1\" width=\"%.0f\" height=\"%.0f\"/>\n", wide + 2,
            high + 2);
        for (size_t i = 0; i < t->nrow; i++) {
            double from = cell_number(t, i, "from"), to = cell_number(t, i, "to") + 1;
            double at = cell_number(t, i, "offset"), bytes = cell_number(t, i, "bytes");
            if (strcmp(cell_text(t, i, "function"), func) ||
                strcmp(cell_text(t, i, "space"), spaces[r]))
                continue;
            put_bar(o, i % 2 ? "life odd" : "life", 2 + wide * from / last, 2 + high * at / end,
                    wide * (to - from) / last, fmax(high * bytes / end, 1),
                    format(t->s, "%%%s: %.0f bytes at %.0f, ops %.0f to %.0f",
                           cell_text(t, i, "value"), bytes, at, from, to - 1));
        }
        close_svg(o);
    }
}

/* ---- roofline: MACs per byte to the right, MACs per second upward ---- */

typedef struct Axis {
    double low, high, from, to; /* powers of ten; where they lie */
} Axis;

static double on(const Axis *a, double v)
{
    return a->from + (a->to - a->from) * (log10(v) - a->low) / (a->high - a->low);
}

static void grow_axis(Axis *a, double v, int first)
{
    a->low = first ? floor(log10(v)) : fmin(a->low, floor(log10(v)));
    a->high = first ? a->low + 1 : fmax(a->high, ceil(log10(v)));
}

void draw_roof(const Table *t, double rate, Out *o)
{
    Axis x = {0, 0, 56, 660}, y = {0, 0, 250, 12};
    int points = 0;
    for (size_t i = 0; i < t->nrow; i++) {
        double macs = cell_number(t, i, "macs"), us = cell_number(t, i, "measured_us");
        if (!(macs > 0 && us > 0))
            continue;
        grow_axis(&x, macs / cell_number(t, i, "bytes"), points == 0);
        grow_axis(&y, macs / us * 1e-3, points++ == 0);
    }
    if (!points || !(rate > 0))
        return;
    open_svg(o, 680, 290, "Roofline: multiply-adds a second over multiply-adds a byte");
    put(o, "<rect class=\"frame\" x=\"56\" y=\"12\" width=\"604\" height=\"238\"/>\n");
    for (double p = x.low; p <= x.high; p++)
        put_label(o, on(&x, pow(10, p)), 266, "middle", format(t->s, "%g", pow(10, p)));
    for (double p = y.low; p <= y.high; p++)
        put_label(o, 50, on(&y, pow(10, p)) + 4, "end", format(t->s, "%g", pow(10, p)));
    put_label(o, 358, 284, "middle", "multiply-adds a byte");
    put_label(o, 60, 26, "start", "G multiply-adds/s; the line: what memory allows");
    double a = fmax(x.low, y.low - log10(rate)), b = fmin(x.high, y.high - log10(rate));
    if (a < b)
        put(o, "<line class=\"roof\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            on(&x, pow(10, a)), on(&y, pow(10, a) * rate), on(&x, pow(10, b)),
            on(&y, pow(10, b) * rate));
    for (size_t i = 0; i < t->nrow; i++) {
        double macs = cell_number(t, i, "macs"), us = cell_number(t, i, "measured_us");
        if (!(macs > 0 && us > 0))
            continue;
        put(o, "<circle class=\"point\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"><title>",
            on(&x, macs / cell_number(t, i, "bytes")), on(&y, macs / us * 1e-3));
        put_html(o, format(t->s, "%s: %.1f G multiply-adds/s, %.1f µs of %.1f",
                           cell_text(t, i, "op"), macs / us * 1e-3, us, most_of(t, "measured_us")));
        put(o, "</title></circle>\n");
    }
    close_svg(o);
}
