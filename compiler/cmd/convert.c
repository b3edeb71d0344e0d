/* convert.c: `bnc convert`: checkpoint/convert.c called with its options. */
#include <sys/stat.h>

#include "checkpoint/checkpoint.h"
#include "cmd/cmd.h"

int cmd_convert(Session *s, const Options *o)
{
    ConvertOptions x = {.dir = o->input,
                        .output = o->output,
                        .title = o->name,
                        .pre = o->pre,
                        .fmt = fmt_by_name(o->type)};
    struct stat st;
    CHECK(convert_writes(x.fmt));
    if (stat(x.dir, &st) == 0 && !S_ISDIR(st.st_mode))
        fail(s, loc_file(s, x.dir),
             "is a file; convert takes the folder of a checkpoint, which "
             "holds config.json");
    checkpoint_convert(s, &x);
    return 0;
}
