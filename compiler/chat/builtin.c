/* builtin.c: which template a model gets: the user's, its own, or, where that is known to be
 * wrong, the right one. */
#include <string.h>

#include "bn_model.h"
#include "chat/chat.h"

/* Own templates known to be wrong: architectures, a text that only such a one has, the built-in one
 * that replaces it. */
static const struct Wrong {
    const char *arch[3], *holds, *by;
} wrongs[] = {
    /* Microsoft's converter writes another model's turns into 2B4T; the model card has these. */
    {{"bitnet-b1.58", "bitnet-25", NULL}, "BITNETAssistant", "bitnet-2b4t"},
};

static const char *builtin(Session *s, const char *name, size_t *size)
{
    return embedded_file(format(s, "chat/%s.jinja", name), size);
}

const char *chat_names(Session *s)
{
    const char *path, *list = "";
    size_t size;
    for (int i = 0; embedded_at(i, &path, &size); i++) {
        const char *end = strstr(path, ".jinja");
        if (!strncmp(path, "chat/", 5) && end)
            list = format(s, "%s%s%.*s", list, *list ? ", " : "", (int)(end - path - 5), path + 5);
    }
    return list;
}

static bool take_named(Session *s, const char *name, ChatTemplate *out)
{
    out->text = builtin(s, name, &out->size);
    out->path = format(s, "chat template %s", name);
    return out->text != NULL;
}

static const struct Wrong *known_wrong(const char *arch, const char *own)
{
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++)
        for (int k = 0; k < 3 && wrongs[i].arch[k]; k++)
            if (!strcmp(wrongs[i].arch[k], arch) && strstr(own, wrongs[i].holds))
                return &wrongs[i];
    return NULL;
}

bool chat_choose(Session *s, const char *given, const char *arch, const char *source,
                 const char *own, ChatTemplate *out)
{
    if (given) {
        if (!strcmp(given, "none"))
            return false;
        if (take_named(s, given, out))
            return true;
        if (!file_exists(given))
            fail(s, (Loc){0},
                 "there is no chat template '%s': no such file, and the built-in ones are %s; none "
                 "compiles without one",
                 given, chat_names(s));
        out->path = given;
        out->text = file_read(s, given, &out->size);
        return true;
    }
    const struct Wrong *wrong = own && arch ? known_wrong(arch, own) : NULL;
    if (wrong) {
        note(s,
             "the chat template in the model is not the one that it was trained with ('%s'); the "
             "model card's is taken, %s (--chat-template=FILE for another)",
             wrong->holds, wrong->by);
        CHECK(take_named(s, wrong->by, out));
        return true;
    }
    if (!own)
        return false;
    *out =
        (ChatTemplate){format(s, "%s (tokenizer.chat_template)", source), own, strlen(own), true};
    return true;
}
