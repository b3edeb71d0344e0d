/* convert.c: `bnc convert`: its options, and checkpoint/convert.c called with them. */
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/checkpoint.h"
#include "cmd/cmd.h"

static const char *value_of(const char *arg, const char *option)
{
    size_t n = strlen(option);
    return strncmp(arg, option, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

static Fmt type_by_name(Session *s, const char *text)
{
    Fmt fmt = fmt_by_name(text);
    if (fmt == FMT_COUNT || !convert_writes(fmt))
        fail(s, (Loc){0}, "--type is i2_s, tq1_0, tq2_0 or f16, not '%s'", text);
    return fmt;
}

static void read_arguments(Session *s, ConvertOptions *x, int argc, char **argv)
{
    const char *value;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if ((value = value_of(arg, "--type")))
            x->fmt = type_by_name(s, value);
        else if ((value = value_of(arg, "--name")))
            x->title = value;
        else if ((value = value_of(arg, "--pre")))
            x->pre = value;
        else if (strcmp(arg, "-o") == 0 && i + 1 < argc)
            x->output = argv[++i];
        else if (strcmp(arg, "--quiet") == 0)
            s->quiet = true;
        else if (*arg == '-')
            fail(s, (Loc){0},
                 "unknown option '%s' of bnc convert; `bnc help convert` lists them", arg);
        else if (x->dir)
            fail(s, (Loc){0}, "a second input '%s'; one checkpoint at a time", arg);
        else
            x->dir = arg;
    }
    if (!x->dir || !x->output)
        fail(s, (Loc){0}, "no %s given: bnc convert FOLDER -o model.gguf (`bnc help convert`)",
             x->dir ? "output file" : "checkpoint");
}

int cmd_convert(Session *s, int argc, char **argv)
{
    ConvertOptions x = {.fmt = FMT_I2_S};
    struct stat st;
    read_arguments(s, &x, argc, argv);
    if (stat(x.dir, &st) == 0 && !S_ISDIR(st.st_mode))
        fail(s, loc_file(s, x.dir),
             "is a file; convert takes the folder of a checkpoint, which "
             "holds config.json");
    checkpoint_convert(s, &x);
    return 0;
}
