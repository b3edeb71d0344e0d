/* chat.c: `bnc chat`: a conversation with a model at a terminal, or line by line through a pipe.
 *
 * One idea: the history is the conversation, a list of turns; for each answer all of it is written
 * anew by the model's template and cut into tokens, and what of those the KV cache already holds,
 * the common prefix, is not computed again. So commands that change the history need not care what
 * the model has seen.
 */
#include <errno.h>
#include <histedit.h>
#include <jansson.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "cli.h"
#include "cmd/cmd.h"
#include "driver/inproc.h"
#include "ir/escape.h"

#define CHAT_COMMANDS(C)                                                                           \
    C("/reset", "", "forget the conversation, keep the system text", chat_reset)                   \
    C("/system", "TEXT", "set the system text (without TEXT: none) and reset", chat_system)        \
    C("/save", "FILE", "write the conversation as JSON", chat_save)                                \
    C("/load", "FILE", "go on with a saved one", chat_load)                                        \
    C("/stats", "", "tokens and times of the last answer", chat_stats)                             \
    C("/help", "", "this list", chat_help)                                                         \
    C("/quit", "", "leave (or Ctrl-D)", chat_quit)

typedef struct Turn {
    char *role, *content; /* of malloc */
} Turn;

typedef struct Chat {
    Session *s;
    int most; /* tokens of an answer; 0: as many as fit */
    bn_sampling how;
    const char *stop[BN_STOPS];
    int nstop;
    bn_chat_options more; /* what the template may see besides the turns */
    json_t *variables;
    struct tm now;
    InProc *l;
    Turn *turn; /* of malloc */
    int nturn;
    int32_t *seen, *next; /* tokens in the KV cache; those of the prompt, [room] */
    int nseen, end;       /* end: the template's end of a turn, -1: none */
    size_t room;
    bool terminal, dropped, leave;
    int reused, prompt, written; /* the last answer */
    double prompt_s, answer_s;
    EditLine *edit;
    History *lines;
    bool continued; /* the next line goes on with a message */
    bool begun;     /* a line was read */
    bool cancelled; /* Ctrl-C dropped the last one */
} Chat;

/* Ctrl-C: the answer that is being written ends at its next token. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What the user should know, not part of the conversation. */
PRINTF_LIKE(2, 3)
static void say(const Chat *c, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    (void)c;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fflush(stdout);
    (void)bn_show(stderr, text, strlen(text));
    fputc('\n', stderr);
}

/* ---- the conversation ---- */

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        die("no memory for a message");
    return copy;
}

static void turn_add(Chat *c, const char *role, const char *content)
{
    Turn *t = realloc(c->turn, ((size_t)c->nturn + 1) * sizeof *t);
    if (!t)
        die("no memory for %d turns", c->nturn + 1);
    c->turn = t;
    c->turn[c->nturn++] = (Turn){copy_text(role), copy_text(content)};
}

static void turn_drop(Chat *c, int i)
{
    free(c->turn[i].role);
    free(c->turn[i].content);
    memmove(c->turn + i, c->turn + i + 1, (size_t)(--c->nturn - i) * sizeof *c->turn);
}

/* 1 where the conversation begins with a system text. */
static int has_system(const Chat *c)
{
    return c->nturn > 0 && !strcmp(c->turn[0].role, "system");
}

static void turns_clear(Chat *c, int keep)
{
    while (c->nturn > keep)
        turn_drop(c, c->nturn - 1);
    c->dropped = false;
}

static void chat_end(void *arg)
{
    Chat *c = arg;
    turns_clear(c, 0);
    free(c->turn);
    free(c->next);
    json_decref(c->variables);
    if (c->edit)
        el_end(c->edit);
    if (c->lines)
        history_end(c->lines);
}

/* ---- from turns to tokens ---- */

/* What bn_chat says, text or reason, for the caller to free. */
static char *write_text(const Chat *c, const bn_turn *turn, int n, int begin, bn_status *status)
{
    size_t cap = 4096, need;
    for (;; cap = need) {
        char *text = malloc(cap);
        if (!text)
            die("no memory for %zu bytes of text", cap);
        *text = 0;
        *status = bn_chat(&c->l->weights, turn, n, begin, &c->more, text, cap, &need);
        if (*status != BN_SPACE)
            return text;
        free(text);
    }
}

/* The whole conversation and the start of an answer in c->next; how many, or -1 after a message. */
static int write_prompt(Chat *c)
{
    bn_turn *turn = calloc((size_t)c->nturn + 1, sizeof *turn);
    size_t n = 0;
    bn_status status;
    if (!turn)
        die("no memory for %d turns", c->nturn);
    for (int i = 0; i < c->nturn; i++)
        turn[i] = (bn_turn){c->turn[i].role, c->turn[i].content};
    while ((status = bn_chat_tokens(&c->l->weights, turn, c->nturn, 1, &c->more, c->next, c->room,
                                    &n)) == BN_SPACE) {
        c->next = realloc(c->next, n * sizeof *c->next);
        c->room = n;
        if (!c->next)
            die("no memory for %zu tokens", n);
    }
    if (status == BN_TEMPLATE) {
        char *reason = write_text(c, turn, c->nturn, 1, &status);
        Out shown = {.s = c->s}; /* a stranger's words */
        put_escaped(&shown, reason, strlen(reason));
        say(c, "the chat template refuses: %s", shown.len ? shown.text : "(without a reason)");
        out_free(&shown);
        free(reason);
    } else if (status != BN_OK) {
        say(c, "cannot write the prompt: %s", bn_status_text(status));
    }
    free(turn);
    return status == BN_OK && n <= INT32_MAX ? (int)n : -1;
}

/* Drops the oldest turns, up to the question that shall be answered, until there is room for an
 * answer. -1: there is none. */
static int fit_prompt(Chat *c)
{
    int context = c->l->info->context, reserve = context / 4 < 256 ? context / 4 : 256, n;
    while ((n = write_prompt(c)) > context - reserve && c->nturn > has_system(c) + 1) {
        turn_drop(c, has_system(c));
        while (c->nturn > has_system(c) + 1 && strcmp(c->turn[has_system(c)].role, "user") != 0)
            turn_drop(c, has_system(c));
        if (!c->dropped)
            say(c,
                "(the conversation outgrew the context of %d tokens: its oldest turns are "
                "forgotten from now on)",
                context);
        c->dropped = true;
    }
    if (n >= context) {
        say(c,
            "this message of %d tokens does not fit into the context of %d; compile with a larger "
            "--ctx",
            n, context);
        return -1;
    }
    return n;
}

/* The special token that the template puts behind an answer; -1: none. It is what follows a text that
 * occurs nowhere else. */
static int template_end(Chat *c)
{
    static const char mark[] = "\x01"
                               "bnc\x02";
    const bn_turn turn[] = {{"user", "a"}, {"assistant", mark}};
    size_t ntoken = 0;
    bn_status status;
    char *made = write_text(c, turn, 2, 0, &status);
    const char *text = name(c->s, made);
    free(made);
    if (status != BN_OK)
        return -1;
    const char *tail = strstr(text, mark);
    for (const char *again = tail; again; again = strstr(again + 1, mark))
        tail = again;
    if (!tail)
        return -1;
    tail += sizeof mark - 1;
    size_t len = strlen(tail), room = bn_token_room(&c->l->weights, len), bytes;
    int32_t *token = NEW_ARRAY(c->s, int32_t, room);
    if (bn_tokenize(&c->l->weights, tail, len, BN_PARSE_SPECIAL, token, room, &ntoken) != BN_OK ||
        ntoken == 0)
        return -1;
    (void)bn_piece(&c->l->weights, token[0], &bytes);
    return bytes == 0 ? token[0] : -1;
}

/* ---- answers ---- */

/* Evaluates tokens behind c->seen, a batch at a time; false after Ctrl-C. */
static bool eval(Chat *c, const int32_t *token, int n)
{
    int batch = c->l->info->batch;
    for (int at = 0, part; at < n && !interrupted; at += part) {
        part = n - at < batch ? n - at : batch;
        inproc_eval(c->l, token + at, part);
        memmove(c->seen + c->nseen, token + at, (size_t)part * sizeof *token);
        c->nseen += part;
    }
    return !interrupted;
}

/* Brings the KV cache to the n tokens of c->next, from the first that differs on. */
static bool read_prompt(Chat *c, int n)
{
    int same = 0;
    while (same < n - 1 && same < c->nseen && c->seen[same] == c->next[same])
        same++;
    inproc_rewind(c->l, same);
    c->nseen = c->reused = same;
    c->prompt = n;
    return eval(c, c->next + same, n - same);
}

static bool ends(const Chat *c, int32_t token)
{
    return bn_ends(c->l->model, token) || token == c->end;
}

static int print_part(void *answer, const char *text, size_t n)
{
    put_bytes(answer, text, n);
    (void)bn_show(stdout, text, n);
    fflush(stdout);
    return 0;
}

static void write_answer(Chat *c, Out *answer)
{
    bn_text text;
    bn_stop stop;
    size_t bytes;
    bn_text_start(&text, &c->l->weights);
    CHECK(bn_stop_start(&stop, c->stop, c->nstop) == BN_OK); /* add_stop has seen each */
    text.started = 1; /* what the prompt ended with stands before it: no space is dropped */
    for (c->written = 0; !interrupted && (!c->most || c->written < c->most); c->written++) {
        int32_t token = bn_sample(c->l->state, &c->how);
        if (ends(c, token))
            break;
        (void)bn_piece(&c->l->weights, token, &bytes);
        char *part = malloc(BN_TEXT_ROOM(bytes));
        if (!part)
            die("no memory for the text of a token");
        bool ended =
            bn_stop_text(&stop, part, bn_detokenize(&text, token, part), print_part, answer);
        free(part);
        if (ended)
            break;
        if (c->nseen == c->l->info->context) {
            say(c, "\n(the context is full)");
            break;
        }
        if (!eval(c, &token, 1))
            break;
    }
    char rest[BN_TEXT_ROOM(4)];
    if (stop.found < 0 &&
        !bn_stop_text(&stop, rest, bn_text_finish(&text, rest), print_part, answer))
        (void)bn_stop_finish(&stop, print_part, answer);
}

static void ask(Chat *c, const char *question)
{
    Out answer = {.s = c->s};
    turn_add(c, "user", question);
    int n = fit_prompt(c);
    if (n < 0) {
        turn_drop(c, c->nturn - 1);
        return;
    }
    double start = seconds_now();
    interrupted = 0;
    bool whole = read_prompt(c, n);
    c->prompt_s = seconds_now() - start;
    c->written = 0;
    if (whole)
        write_answer(c, &answer);
    c->answer_s = seconds_now() - start - c->prompt_s;
    putchar('\n');
    fflush(stdout);
    if (interrupted)
        say(c, "(stopped)");
    interrupted = 0;
    turn_add(c, "assistant", answer.len ? answer.text : "");
    out_free(&answer);
}

/* ---- commands ---- */

static void chat_reset(Chat *c, const char *text)
{
    (void)text;
    turns_clear(c, has_system(c));
}

static void chat_system(Chat *c, const char *text)
{
    turns_clear(c, 0);
    if (*text)
        turn_add(c, "system", text);
}

static void chat_save(Chat *c, const char *path)
{
    json_t *list = json_array();
    for (int i = 0; list && i < c->nturn; i++)
        if (json_array_append_new(list, json_pack("{s:s, s:s}", "role", c->turn[i].role, "content",
                                                  c->turn[i].content)))
            say(c, "turn %d is no UTF-8 and is not saved", i + 1);
    errno = 0;
    if (!*path)
        say(c, "say where: /save FILE");
    else if (!list || json_dump_file(list, path, JSON_INDENT(1)))
        say(c, "%s: cannot be written: %s", path, errno ? strerror(errno) : "not enough memory");
    else
        say(c, "%d turns saved", c->nturn);
    json_decref(list);
}

static bool is_conversation(const json_t *list)
{
    size_t i;
    const json_t *turn;
    json_array_foreach(list, i,
                       turn) if (!json_string_value(json_object_get(turn, "role")) ||
                                 !json_string_value(json_object_get(turn, "content"))) return false;
    return json_is_array(list);
}

static void chat_load(Chat *c, const char *path)
{
    json_error_t why;
    json_t *list = *path ? json_load_file(path, 0, &why) : NULL;
    if (!*path) {
        say(c, "say from where: /load FILE");
    } else if (!list) {
        say(c, "%s:%d: %s", path, why.line, why.text);
    } else if (!is_conversation(list)) {
        say(c, "%s: expected a list of {\"role\": ..., \"content\": ...}", path);
    } else {
        turns_clear(c, 0);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *turn = json_array_get(list, i);
            turn_add(c, json_string_value(json_object_get(turn, "role")),
                     json_string_value(json_object_get(turn, "content")));
        }
        say(c, "%d turns loaded", c->nturn);
    }
    json_decref(list);
}

static void chat_stats(Chat *c, const char *text)
{
    (void)text;
    int fresh = c->prompt - c->reused;
    say(c, "%d turns; %d of %d tokens of context; last prompt %d tokens, %d of them reused",
        c->nturn, c->nseen, c->l->info->context, c->prompt, c->reused);
    if (c->prompt_s > 0 && c->answer_s > 0 && c->written > 0)
        say(c, "read %d tokens at %.0f a second, wrote %d at %.1f", fresh, fresh / c->prompt_s,
            c->written, c->written / c->answer_s);
}

static void chat_quit(Chat *c, const char *text)
{
    (void)text;
    c->leave = true;
}

static void chat_help(Chat *c, const char *text);
static const struct {
    const char *name, *argument, *what;
    void (*run)(Chat *c, const char *text);
} commands[] = {
#define CHAT_ROW(name, argument, what, run) {name, argument, what, run},
    CHAT_COMMANDS(CHAT_ROW)
#undef CHAT_ROW
};
enum { NCOMMAND = sizeof commands / sizeof *commands };

static void chat_help(Chat *c, const char *text)
{
    (void)text;
    for (int i = 0; i < NCOMMAND; i++)
        say(c, "  %-8s %-5s %s", commands[i].name, commands[i].argument, commands[i].what);
    say(c, "Anything else is said to the model; Ctrl-C stops its answer. A message of several "
           "lines is");
    say(c, "pasted, stands between \"\"\" and \"\"\", or has a backslash at the end of all lines "
           "but the last.");
}

static void obey(Chat *c, const char *line)
{
    size_t len = strcspn(line, " \t\n");
    const char *rest = line + len + strspn(line + len, " \t");
    for (int i = 0; i < NCOMMAND; i++)
        if (strlen(commands[i].name) == len && !memcmp(commands[i].name, line, len)) {
            commands[i].run(c, rest);
            return;
        }
    say(c, "there is no command '%.*s'; /help lists them", (int)(len < 40 ? len : 40), line);
}

/* ---- lines ---- */

static char *prompt_text(EditLine *e)
{
    static char fresh[] = "> ", more[] = "... ";
    Chat *c;
    el_get(e, EL_CLIENTDATA, &c);
    return c->continued ? more : fresh;
}

/* What a terminal sends between ESC [200~ and ESC [201~ was pasted: it becomes part of the line,
 * ends of lines and all. */
static unsigned char paste(EditLine *e, int key)
{
    static const wchar_t end[] = L"\033[201~";
    const size_t nend = wcslen(end);
    wchar_t *text = NULL, ch;
    size_t n = 0, cap = 0;
    (void)key;
    while (el_wgetc(e, &ch) == 1) {
        if (n + 2 > cap && !(text = realloc(text, (cap = 2 * cap + 256) * sizeof *text)))
            die("no memory for a pasted text");
        if (ch)
            text[n++] = ch == L'\r' ? L'\n' : ch; /* terminals send CR for LF */
        if (n >= nend && !wmemcmp(text + n - nend, end, nend)) {
            n -= nend;
            break;
        }
    }
    if (text) {
        text[n] = 0;
        if (n && el_winsertstr(e, text) != 0)
            die("no memory for a pasted text");
    }
    free(text);
    return CC_REFRESH;
}

/* Where the locale is not UTF-8 (LANG=C), libedit drops every key beyond ASCII. */
static void use_utf8(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

static void start_editing(Chat *c)
{
    HistEvent event;
    use_utf8();
    c->lines = history_init();
    c->edit = el_init("bnc", stdin, stdout, stderr);
    if (!c->lines || !c->edit)
        die("no memory for the line editor");
    history(c->lines, &event, H_SETSIZE, 500);
    el_set(c->edit, EL_CLIENTDATA, c);
    el_set(c->edit, EL_PROMPT, prompt_text);
    el_set(c->edit, EL_EDITOR, "emacs");
    el_set(c->edit, EL_HIST, history, c->lines);
    el_set(c->edit, EL_ADDFN, "bnc-paste", "insert a pasted text", paste);
    el_set(c->edit, EL_BIND, "\\e[200~", "bnc-paste", NULL);
    el_source(c->edit, NULL);
}

/* Whether the terminal shall mark what is pasted: only while a line is read. */
static void mark_pastes(bool on)
{
    const char *term = getenv("TERM");
    if (!term || !*term || !strcmp(term, "dumb"))
        return;
    fputs(on ? "\033[?2004h" : "\033[?2004l", stdout);
    fflush(stdout);
}

static bool edit_line(Chat *c, char **line, size_t *cap)
{
    HistEvent event;
    int n = 0;
    mark_pastes(true);
    const char *text = el_gets(c->edit, &n);
    mark_pastes(false);
    free(*line);
    if (!text || n <= 0) {
        c->cancelled = interrupted; /* Ctrl-C drops the line */
        interrupted = 0;
        clearerr(stdin);
        *line = copy_text("");
        *cap = 1;
        if (c->cancelled)
            say(c, "\n(/quit or Ctrl-D leaves)");
        return c->cancelled;
    }
    *line = copy_text(text);
    *cap = strlen(*line) + 1;
    if (*cap > 1 && (*line)[*cap - 2] == '\n')
        (*line)[*cap - 2] = 0;
    if (**line)
        history(c->lines, &event, H_ENTER, *line);
    return true;
}

/* What no text of a message holds: the byte order mark that files and pipes of some systems begin
 * with, and zero bytes. Returns the bytes that are left. */
static size_t drop_marks(Chat *c, char *line, size_t got)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t n = 0, from = !c->begun && got >= 3 && !memcmp(line, mark, 3) ? 3 : 0;
    c->begun = true;
    if (memchr(line, 0, got))
        say(c, "(zero bytes of the input are left out)");
    for (size_t i = from; i < got; i++)
        if (line[i])
            line[n++] = line[i];
    line[n] = 0;
    return n;
}

/* The next line without its end, LF or CR LF, in *line (of malloc, reused); false at the end of input.
 * What was pasted holds ends of lines. */
static bool read_line(Chat *c, char **line, size_t *cap)
{
    c->cancelled = false;
    if (c->terminal)
        return edit_line(c, line, cap);
    ssize_t got = getline(line, cap, stdin);
    size_t n = got < 0 ? 0 : drop_marks(c, *line, (size_t)got);
    if (n && (*line)[n - 1] == '\n')
        (*line)[--n] = 0;
    if (n && (*line)[n - 1] == '\r')
        (*line)[--n] = 0;
    return got >= 0;
}

/* Adds a line of a message between quotes; true where it ends the message. */
static bool put_quoted(Out *message, const char *line, bool opens, bool *begun)
{
    size_t len = strlen(line), end = len;
    while (end && strchr(" \t", line[end - 1]))
        end--;
    bool ends = end >= 3 && !memcmp(line + end - 3, "\"\"\"", 3);
    len = ends ? end - 3 : len;
    if (len || !(ends || opens)) {
        if (*begun)
            put_bytes(message, "\n", 1);
        put_bytes(message, line, len);
        *begun = true;
    }
    return ends;
}

/* Adds a line; true where it ends the message: it has no backslash, or pairs of them, at its end. */
static bool put_continued(Out *message, const char *line)
{
    size_t len = strlen(line), backslashes = 0;
    while (backslashes < len && line[len - 1 - backslashes] == '\\')
        backslashes++;
    if (backslashes % 2 == 0) {
        put_bytes(message, line, len);
        return true;
    }
    put_bytes(message, line, len - 1);
    put_bytes(message, "\n", 1);
    return false;
}

/* The next message: a line, lines that backslashes join, or all between """ and """ (*quoted: such a
 * one is never a command). Empty after Ctrl-C; false at the end of input. */
static bool read_message(Chat *c, char **line, size_t *cap, Out *message, bool *quoted)
{
    bool ended = false, begun = false;
    *quoted = c->continued = false;
    while (!ended && read_line(c, line, cap) && !c->cancelled) {
        const char *text = *line + strspn(*line, " \t");
        bool opens = !c->continued && !strncmp(text, "\"\"\"", 3);
        *quoted |= opens;
        ended = *quoted ? put_quoted(message, opens ? text + 3 : *line, opens, &begun)
                        : put_continued(message, *line);
        c->continued = !ended;
    }
    if (!ended && c->continued && !c->cancelled)
        say(c, *quoted ? "(the input ends without \"\"\"; the message is taken as it is)"
                       : "(the input ends after a backslash; the message is taken as it is)");
    if (c->cancelled) {
        out_free(message);
        return true;
    }
    return ended || c->continued;
}

static void converse(Chat *c)
{
    char *line = NULL;
    size_t cap = 0;
    Out message = {.s = c->s};
    bool quoted;
    while (!c->leave && read_message(c, &line, &cap, &message, &quoted)) {
        const char *text = message.len ? message.text : "";
        if (*text == '/' && !quoted)
            obey(c, text);
        else if (text[strspn(text, " \t\r\n")])
            ask(c, text);
        out_free(&message);
    }
    out_free(&message);
    free(line);
    if (c->terminal && !c->leave)
        putchar('\n');
}

/* ---- the command ---- */

static void add_stop(Chat *c, const char *text)
{
    bn_stop stop;
    if (c->nstop == BN_STOPS || bn_stop_start(&stop, &text, 1) != BN_OK)
        fail(c->s, (Loc){0},
             "--stop wants 1 to %d bytes that begin with a character, at most %d times, not '%s'",
             BN_STOP_BYTES, BN_STOPS, text);
    c->stop[c->nstop++] = text;
}

/* --chat-var name=value: a JSON value, or what is none as a text. */
static void add_variable(Chat *c, const char *text)
{
    const char *value = strchr(text, '=');
    if (!value || value == text)
        fail(c->s, (Loc){0}, "--chat-var wants name=value, as in enable_thinking=false; not '%s'",
             text);
    json_t *v = json_loads(value + 1, JSON_DECODE_ANY, NULL);
    if (!v)
        v = json_string(value + 1);
    if (!c->variables)
        c->variables = json_object();
    if (!v || json_object_set_new(c->variables, intern(c->s, text, (size_t)(value - text)), v))
        fail(c->s, (Loc){0}, "--chat-var: '%s' is no UTF-8", text);
    char *all = json_dumps(c->variables, JSON_COMPACT);
    if (!all)
        die("no memory for --chat-var");
    c->more.variables = name(c->s, all);
    free(all);
}

static const char *read_tools(Chat *c, const char *path)
{
    json_error_t e;
    size_t size;
    const char *text = file_read(c->s, path, &size);
    json_t *list = json_loadb(text, size, 0, &e);
    bool good = json_is_array(list);
    json_decref(list);
    if (!good)
        fail(c->s, loc_file(c->s, path), "expected a JSON list of tools%s%s", list ? "" : ": ",
             list ? "" : e.text);
    return text;
}

/* The time for strftime_now: when the conversation began, or SOURCE_DATE_EPOCH. */
static void set_time(Chat *c)
{
    const char *given = getenv("SOURCE_DATE_EPOCH");
    char *end = NULL;
    time_t t = given && *given ? (time_t)strtoll(given, &end, 10) : time(NULL);
    if (end && *end)
        fail(c->s, (Loc){0}, "SOURCE_DATE_EPOCH is seconds, not '%s'", given);
    c->more.now = (end ? gmtime_r(&t, &c->now) : localtime_r(&t, &c->now)) ? &c->now : NULL;
}

static _Noreturn void no_template(Session *s, const char *input)
{
    fail(s, loc_file(s, input),
         "there is no chat template in this model; name one: --chat-template=FILE, or a built-in "
         "one "
         "(bnc help chat)");
}

/* Before the model is compiled, which takes longer and says less. */
static void check_template(Session *s, const Options *o)
{
    const Target *target;
    const Module *m = load_input(s, o, &target);
    if (m->vocab && !compile_chat(s, m, o->chat, true).bytes)
        no_template(s, o->input);
}

int cmd_chat(Session *s, const Options *o)
{
    Chat *c = NEW(s, Chat);
    struct sigaction act = {.sa_handler = on_interrupt}, before;
    c->s = s;
    c->most = (int)o->answer;
    c->how = (bn_sampling){.temperature = (float)o->program.temperature,
                           .top_k = (int32_t)o->program.top_k,
                           .top_p = (float)o->program.top_p,
                           .min_p = (float)o->program.min_p,
                           .repeat_penalty = (float)o->program.repeat_penalty,
                           .seed = o->program.seed};
    for (int i = 0; i < o->program.stop.n; i++)
        add_stop(c, o->program.stop.of[i]);
    session_defer(s, chat_end, c);
    for (int i = 0; i < o->chat_vars.n; i++)
        add_variable(c, o->chat_vars.of[i]);
    if (o->tools)
        c->more.tools = read_tools(c, o->tools);
    set_time(c);
    check_template(s, o);
    c->l = inproc_open(s, o, o->input, (int)o->threads);
    if (!bn_chat_known(c->l->model))
        no_template(s, o->input);
    c->seen = NEW_ARRAY(s, int32_t, c->l->info->context + 1);
    c->end = template_end(c);
    c->terminal = isatty(STDIN_FILENO);
    if (c->terminal)
        start_editing(c);
    if (o->load)
        chat_load(c, o->load);
    if (o->system)
        chat_system(c, o->system);
    if (c->terminal)
        say(c, "%s, context %d; /help lists the commands", c->l->info->name, c->l->info->context);
    sigaction(SIGINT, &act, &before);
    converse(c);
    sigaction(SIGINT, &before, NULL);
    return 0;
}
