/* cache.c: `bnc cache`: what bnc keeps of its compilations, and how to be rid of it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/cmd.h"

static const char *when(Session *s, int64_t seconds)
{
    char text[32];
    time_t t = (time_t)seconds;
    strftime(text, sizeof text, "%Y-%m-%d %H:%M", gmtime(&t));
    return name(s, text);
}

static void put_list(Session *s, const char *cache, const CacheInfo *list, size_t n, Out *o)
{
    uint64_t all = 0, most = cache_limit(s, cache);
    put(o, "  %-16s  %10s  %-6s  %s\n", "last used (UTC)", "MB", "kind", "model, options");
    for (size_t i = 0; i < n; i++) {
        put(o, "  %-16s  %10.1f  %-6s  %s %s%s\n", when(s, list[i].used),
            (double)list[i].own_bytes / 1e6, *list[i].kind ? list[i].kind : "-",
            *list[i].model ? list[i].model : "not whole", list[i].options,
            list[i].busy ? ", in use" : "");
        all += list[i].own_bytes;
    }
    put(o, "%zu entries, %.1f MB in %s", n, (double)all / 1e6, cache);
    if (most)
        put(o, ", limit %.1f MB", (double)most / 1e6);
    put(o, "\n");
}

static void json_list(Session *s, const char *cache, const CacheInfo *list, size_t n, Out *o)
{
    put(o, "{\"folder\":");
    put_json_text(o, cache, strlen(cache));
    put(o, ",\"limit\":%" PRIu64 ",\"entries\":[", cache_limit(s, cache));
    for (size_t i = 0; i < n; i++) {
        put(o, "%s{\"key\":\"%s\",\"model\":%s,\"options\":%s,\"kind\":\"%s\"", i ? "," : "",
            list[i].key, *list[i].model ? list[i].model : "null",
            *list[i].options ? list[i].options : "null", list[i].kind);
        put(o,
            ",\"bytes\":%" PRIu64 ",\"own_bytes\":%" PRIu64 ",\"used\":%" PRId64 ",\"in_use\":%s}",
            list[i].bytes, list[i].own_bytes, list[i].used, list[i].busy ? "true" : "false");
    }
    put(o, "]}\n");
}

/* 500M, 20G or bytes; none: 0. */
static uint64_t size_of(Session *s, const char *text)
{
    static const char units[] = "KMGT";
    char *end;
    if (!strcmp(text, "none"))
        return 0;
    errno = 0;
    double n = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        n *= 1000;
    if (end == text || errno || !(n >= 1 && n < 1e18) || (*end && (!unit || end[1])))
        fail(s, (Loc){0}, "a limit is a size as 20G or 500M, or none; not '%s'", text);
    return (uint64_t)n;
}

int cmd_cache(Session *s, const Options *o)
{
    const char *what = o->nword ? o->word[0] : "list", *size = o->nword > 1 ? o->word[1] : NULL;
    const char *cache = cache_dir(s);
    Out out = {.s = s};
    CacheInfo *list;
    size_t n = cache_list(s, cache, &list), kept = 0;
    if (strcmp(what, "limit") && size)
        fail(s, (Loc){0}, "bnc cache %s takes nothing behind it", what);
    if (!strcmp(what, "list")) {
        (o->as_json ? json_list : put_list)(s, cache, list, n, &out);
        file_save(s, "-", &out);
    } else if (!strcmp(what, "clear")) {
        for (size_t i = 0; i < n; i++)
            kept += !cache_remove(&list[i]);
        note(s, "removed %zu entries%s", n - kept,
             kept ? format(s, "; %zu are in use and stay", kept) : "");
    } else if (!strcmp(what, "limit")) {
        if (!size)
            fail(s, (Loc){0}, "say how much the cache may hold: bnc cache limit 20G, or none");
        cache_set_limit(s, cache, size_of(s, size));
        cache_trim(s, cache);
    } else {
        fail(s, (Loc){0}, "bnc cache does list, clear or limit, not '%s'", what);
    }
    out_free(&out);
    return 0;
}
