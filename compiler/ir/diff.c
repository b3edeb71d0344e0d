/* diff.c: the lines in which two texts differ, by E. Myers' greedy algorithm ("An O(ND) Difference
 * Algorithm and Its Variations", 1986): with d edits, furthest[k] is how far into a one gets on the
 * diagonal k = x - y; the d for which a corner is reached is the least. */
#include <string.h>

#include "ir/ir.h"

typedef struct Lines {
    const char **line;
    int n;
} Lines;

typedef struct Edit { /* a run of equal lines (op ' '), of lines of a ('-') or of b ('+') */
    char op;
    int from, n;
} Edit;

static Lines split(Session *s, const char *text)
{
    Lines l = {NULL, 0};
    while (*text) {
        size_t len = strcspn(text, "\n");
        l.line = grow(s, l.line, (size_t)l.n, sizeof *l.line);
        l.line[l.n++] = intern(s, text, len);
        text += len + (text[len] == '\n');
    }
    return l;
}

/* Runs of edits from the last to the first, out of what each d could reach; trace[d][d + k]. */
static int backtrack(int **trace, int d, int x, int y, Edit *out)
{
    int n = 0;
    for (; d > 0; d--) {
        const int *before = trace[d - 1] + (d - 1);
        int k = x - y;
        bool down = k == -d || (k != d && before[k - 1] < before[k + 1]);
        int px = before[down ? k + 1 : k - 1], py = px - (down ? k + 1 : k - 1);
        int ex = down ? px : px + 1, equal = x - ex;
        if (equal)
            out[n++] = (Edit){' ', ex, equal};
        out[n++] = down ? (Edit){'+', py, 1} : (Edit){'-', px, 1};
        x = px;
        y = py;
    }
    if (x)
        out[n++] = (Edit){' ', 0, x};
    return n;
}

static int shortest(Session *s, const Lines *a, const Lines *b, Edit **edits)
{
    int most = a->n + b->n;
    int **trace = NEW_ARRAY(s, int *, most + 1);
    for (int d = 0; d <= most; d++) {
        int *now = NEW_ARRAY(s, int, 2 * d + 1) + d;
        const int *before = d ? trace[d - 1] + (d - 1) : NULL;
        trace[d] = now - d;
        for (int k = -d; k <= d; k += 2) {
            bool down = d && (k == -d || (k != d && before[k - 1] < before[k + 1]));
            int x = !d ? 0 : down ? before[k + 1] : before[k - 1] + 1, y = x - k;
            while (x < a->n && y < b->n && x >= 0 && y >= 0 && a->line[x] == b->line[y])
                x++, y++;
            now[k] = x;
            if (x >= a->n && y >= b->n) {
                *edits = NEW_ARRAY(s, Edit, 2 * d + 2);
                return backtrack(trace, d, a->n, b->n, *edits);
            }
        }
    }
    die("no way from one text to the other");
}

static void put_line(Out *o, char op, const char *line, bool colour)
{
    const char *on = op == '-' ? "\033[31m" : op == '+' ? "\033[32m" : "";
    bool paint = colour && *on;
    put(o, "%s%c%s%s%s\n", paint ? on : "", op, *line ? " " : "", line, paint ? "\033[0m" : "");
}

void text_diff(const char *a, const char *b, int around, bool colour, Out *o)
{
    Session *s = o->s;
    Lines x = split(s, a), y = split(s, b);
    Edit *edit = NULL;
    int n = shortest(s, &x, &y, &edit), line = 0;
    if (n == 1 && edit[0].op == ' ')
        return;
    for (int i = n - 1; i >= 0; i--) {
        const Edit *e = &edit[i];
        bool first = i == n - 1, last = i == 0;
        int head = first ? 0 : around, tail = last ? 0 : around;
        if (e->op != ' ') {
            put_line(o, e->op, e->op == '-' ? x.line[e->from] : y.line[e->from], colour);
            line += e->op == '+';
            continue;
        }
        for (int j = 0; j < e->n; j++, line++) {
            if (j < head || j >= e->n - tail)
                put_line(o, ' ', y.line[line], colour);
            else if (j == head && !last)
                put(o, "@@ line %d\n", line + (e->n - tail - head) + 1);
        }
    }
}
