/* graph.c: a function as a graph, drawn by Graphviz where it is installed. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ir/escape.h"
#include "report/report.h"

/* ---- DOT ---- */

typedef struct Graph {
    Out *o;
    Out edges; /* behind all nodes: inside of a cluster they would draw its neighbours into it */
    const Func *f;
    int next;  /* number of the next node */
    int *node; /* by Value.id: the node that gives it */
} Graph;

/* The class of a node; page.css gives the classes their colours. */
static const char *class_of(const Op *op)
{
    if (op_info[op->code].split == SPLIT_ROWS || op->code == OP_LINEAR)
        return "product";
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight && op->in[i]->weight->is_state)
            return "state";
    return op->code == OP_BARRIER ? "barrier" : "other";
}

static void put_node(Graph *g, const Op *op)
{
    put(g->o, "n%d [class=\"%s\" label=\"%s", g->next, class_of(op), op_info[op->code].name);
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight) {
            put(g->o, "\\n@");
            put_dot_label(g->o, op->in[i]->weight->name);
        }
    if (op->nout) {
        put(g->o, "\\n");
        type_print(op->out[0]->type, g->o);
    }
    put(g->o, "\"]\n");
}

/* From what gives operand i, once where it gives two. */
static void put_edge(Graph *g, const Op *op, int i)
{
    int from = op->in[i]->weight ? -1 : g->node[op->in[i]->id];
    for (int k = 0; k < i; k++)
        if (!op->in[k]->weight && g->node[op->in[k]->id] == from)
            return;
    if (from >= 0)
        put(&g->edges, "n%d -> n%d\n", from, g->next);
}

static void put_block(Graph *g, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next) {
        if (op->code == OP_BARRIER)
            continue;
        if (op->code == OP_LAYERS) {
            put(g->o, "subgraph cluster_%d { label=\"layers %lld to %lld\"\n", g->next,
                (long long)attr_int(op, "first", 0),
                (long long)(attr_int(op, "first", 0) + attr_int(op, "count", 1) - 1));
            for (int i = 0; i < op->nin; i++)
                g->node[op->body->arg[i]->id] = g->node[op->in[i]->id];
            put_block(g, op->body);
            put(g->o, "}\n");
            for (int i = 0; i < op->nout; i++)
                g->node[op->out[i]->id] = g->node[op->body->last->in[i]->id];
            continue;
        }
        if (op->code == OP_YIELD)
            continue;
        put_node(g, op);
        for (int i = 0; i < op->nin; i++)
            put_edge(g, op, i);
        for (int i = 0; i < op->nout; i++)
            g->node[op->out[i]->id] = g->next;
        g->next++;
    }
}

void graph_dot(const Func *f, Out *o)
{
    Graph g = {o, {.s = f->module->s}, f, 0, NEW_ARRAY(f->module->s, int, f->nvalue + 1)};
    for (int i = 0; i < f->nvalue; i++)
        g.node[i] = -1;
    put(o,
        "digraph g {\nrankdir=TB; bgcolor=transparent; nodesep=0.2; ranksep=0.25\n"
        "node [shape=box fontname=\"sans-serif\" fontsize=10 margin=\"0.08,0.04\" style=filled]\n"
        "graph [fontname=\"sans-serif\" fontsize=10]\n");
    put_block(&g, f->body);
    put_bytes(o, g.edges.text, g.edges.len);
    put(o, "}\n");
    out_free(&g.edges);
}

/* ---- Graphviz ---- */

/* Whether it ended well within some seconds; else it is killed. */
static bool ended_well(pid_t pid)
{
    const struct timespec nap = {0, 10000000};
    siginfo_t done = {0};
    for (int i = 0; i < 2000 && done.si_pid != pid; i++) {
        if (waitid(P_PID, (id_t)pid, &done, WEXITED | WNOHANG | WNOWAIT) != 0 && errno != EINTR)
            break;
        if (done.si_pid != pid)
            nanosleep(&nap, NULL);
    }
    if (done.si_pid != pid)
        kill(pid, SIGKILL);
    int status = child_wait(pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const char *graph_draw(Session *s, const char *dir, const char *dot)
{
    const char *in = format(s, "%s/graph.dot", dir), *out = format(s, "%s/graph.svg", dir);
    char *const words[] = {"dot", "-Tsvg", "-o", (char *)(uintptr_t)out, (char *)(uintptr_t)in,
                           NULL};
    Out text = {.s = s};
    size_t size;
    put(&text, "%s", dot);
    file_save(s, in, &text);
    out_free(&text);
    unlink(out);
    pid_t pid = child_start(s, words, &(ChildOptions){.quiet = true, .tmpdir = dir});
    if (pid < 0 || !ended_well(pid) || !file_exists(out))
        return NULL;
    const char *svg = strstr(file_read(s, out, &size), "<svg");
    return svg;
}
