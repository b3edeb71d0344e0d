/* json.c: jansson behind json.h: every value belongs to the session. */
#include "frontend/json.h"

#include <math.h>

static void release(void *arg)
{
    json_decref(arg);
}

static json_t *parse(Session *s, const char *bytes, size_t size, json_error_t *e)
{
    json_t *v = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, e);
    if (v)
        session_defer(s, release, v);
    return v;
}

json_t *json_text(Session *s, const char *path, const char *bytes, size_t size)
{
    json_error_t e;
    json_t *v = parse(s, bytes, size, &e);
    if (v)
        return v;
    const char *instead = file_placeholder(bytes, size);
    if (instead)
        fail(s, loc_file(s, path), "not the JSON that it should be; it looks like %s", instead);
    Text *text = NEW(s, Text);
    *text = (Text){name(s, path), bytes, size};
    fail(s, (Loc){text, e.line, e.column > 0 ? e.column : 1}, "not the JSON that it should be: %s",
         e.text);
}

json_t *json_part(Session *s, const char *bytes, size_t size, const char **why)
{
    json_error_t e;
    json_t *v = parse(s, bytes, size, &e);
    *why = v ? NULL : format(s, "%s (at byte %d of it)", e.text, e.position);
    return v;
}

json_t *json_file_required(Session *s, const char *path)
{
    size_t size;
    const char *bytes = file_read(s, path, &size);
    json_t *v = json_text(s, path, bytes, size);
    if (!json_is_object(v))
        fail(s, loc_file(s, path), "holds a value that is no object; expected {...}");
    return v;
}

json_t *json_file(Session *s, const char *path)
{
    return file_exists(path) ? json_file_required(s, path) : NULL;
}

bool json_whole(const json_t *v, int64_t *out)
{
    double d = json_is_real(v) ? json_real_value(v) : -1;
    if (!(d >= 0 && d <= 0x1p53) || d != floor(d))
        return false;
    *out = (int64_t)d;
    return true;
}

const char *json_string_or_null(const json_t *v)
{
    return v && json_is_string(v) ? json_string_value(v) : NULL;
}

const json_t *json_member(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return v && !json_is_null(v) ? v : NULL;
}

const char *json_member_text(const json_t *object, const char *key)
{
    return json_string_or_null(json_member(object, key));
}
