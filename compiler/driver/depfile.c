/* depfile.c: -MD and -MF: the files that a compilation read, as a rule for make.
 *
 *     model.c: model-00001-of-00002.gguf model-00002-of-00002.gguf \
 *       my\ template.jinja
 *
 * One idea: the session keeps every path that it opens for reading (file_read, file_view), so a new
 * kind of input is listed without anybody's doing. Names are written as cc -MD writes them, which
 * make, Ninja and CMake read: a backslash before a space, a tab or #, two for one before those, $$
 * for $.
 */
#include <string.h>

#include "driver/driver.h"

static void put_make_name(Session *s, Out *out, const char *path)
{
    size_t slashes = 0;
    if (strpbrk(path, "\n\r"))
        fail(s, loc_file(s, path),
             "-MD cannot list a file with a line break in its name: rename it");
    for (const char *c = path; *c; c++) {
        bool blank = *c == ' ' || *c == '\t';
        for (; blank && slashes; slashes--)
            put(out, "\\");
        if (blank || *c == '#')
            put(out, "\\");
        if (*c == '$')
            put(out, "$");
        put_bytes(out, c, 1);
        slashes = *c == '\\' ? slashes + 1 : 0;
    }
}

OutFile *depfile_create(Session *s, const Options *o)
{
    if (!o->depfile && !o->depfile_path)
        return NULL;
    if (!o->output || !strcmp(o->output, "-"))
        fail(s, (Loc){0}, "-MD writes a rule for the file of -o: name one");
    const char *path = o->depfile_path ? name(s, o->depfile_path)
                                       : format(s, "%s.d", without_extension(s, o->output));
    if (!strcmp(path, o->output))
        fail(s, loc_file(s, path), "-o and -MD would both write it: give -MF another name");
    Out rule = {.s = s};
    put_make_name(s, &rule, o->output);
    put(&rule, ":");
    for (size_t i = 0; i < s->ninput; i++) {
        if (!strcmp(path, s->inputs[i]))
            fail(s, loc_file(s, path), "-MD would write over what it lists: give -MF another name");
        put(&rule, i ? " \\\n  " : " ");
        put_make_name(s, &rule, s->inputs[i]);
    }
    put(&rule, "\n");
    OutFile *f = file_create(s, path);
    file_write(f, rule.text, rule.len);
    out_free(&rule);
    return f;
}
