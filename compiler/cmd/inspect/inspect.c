/* inspect.c: what is in a model file, for people and (--json) for scripts.
 *
 * One idea: first collect the facts of every tensor in one pass over its values, then print them;
 * the screens and the JSON show the same facts, and the same file always prints the same bytes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "checkpoint/checkpoint.h"
#include "cmd/cmd.h"
#include "cmd/inspect/inspect.h"
#include "ir/escape.h"

enum {
    FIRST_ITEMS = 4, /* of an array, where it is abbreviated */
    TEXT_SHOWN = 40, /* bytes of a text on the screen */
    ITEM_SHOWN = 12, /* bytes of a text in an array on the screen */
};

/* ---- facts ---- */

static void see_scale(Facts *f, float scale)
{
    if (f->scale_low == 0 && f->scale_high == 0)
        f->scale_low = f->scale_high = scale;
    f->scale_low = scale < f->scale_low ? scale : f->scale_low;
    f->scale_high = scale > f->scale_high ? scale : f->scale_high;
}

static void add_counts(Facts *to, const Facts *f)
{
    to->n += f->n;
    to->minus += f->minus;
    to->zero += f->zero;
    to->plus += f->plus;
    to->invalid += f->invalid;
    to->nonfinite += f->nonfinite;
    if (f->ternary && f->scale_high != 0) {
        see_scale(to, f->scale_low);
        see_scale(to, f->scale_high);
    }
}

/* Values [at, at+k) that share one scale. */
static void count_codes(const Tensor *t, int64_t at, int64_t k, Facts *f)
{
    int8_t code[CHUNK];
    int32_t minus = 0, zero = 0, plus = 0;
    tensor_codes(t, at, k, code);
    for (int64_t i = 0; i < k; i++) {
        minus += code[i] == -1;
        zero += code[i] == 0;
        plus += code[i] == 1;
    }
    f->minus += minus;
    f->zero += zero;
    f->plus += plus;
    f->invalid += k - minus - zero - plus;
    if (zero < k)
        see_scale(f, tensor_scale(t, at));
}

static void look_at_codes(const Tensor *t, Facts *f)
{
    bool blocks = fmt_info[t->fmt].tail == 0; /* each has a scale */
    int64_t step = blocks ? fmt_info[t->fmt].elems : CHUNK;
    for (int64_t at = 0; at < f->n; at += step)
        count_codes(t, at, f->n - at < step ? f->n - at : step, f);
    f->ternary = f->invalid == 0;
}

static void see_magnitude(Facts *f, float x)
{
    for (int i = 0; i < f->nmagnitude; i++)
        if (f->magnitude[i] == x)
            return;
    if (f->nmagnitude < MAGNITUDES)
        f->magnitude[f->nmagnitude] = x;
    f->nmagnitude++;
}

static void look_at_floats(const Tensor *t, Facts *f)
{
    float x[CHUNK];
    for (int64_t at = 0; at < f->n; at += CHUNK) {
        int64_t k = f->n - at < CHUNK ? f->n - at : CHUNK;
        tensor_floats(t, at, k, x);
        for (int64_t i = 0; i < k; i++) {
            f->minus += x[i] < 0;
            f->zero += x[i] == 0;
            f->plus += x[i] > 0;
            f->nonfinite += !(x[i] - x[i] == 0);
            if (x[i] != 0 && f->nmagnitude <= MAGNITUDES)
                see_magnitude(f, fabsf(x[i]));
        }
    }
    f->ternary = f->nmagnitude <= 1 && f->nonfinite == 0 && t->rows > 1;
    if (f->ternary && f->nmagnitude)
        see_scale(f, f->magnitude[0]);
}

static Group *group_of(Inspect *p, const char *type)
{
    for (int i = 0; i < p->ngroup; i++)
        if (strcmp(p->group[i].type, type) == 0)
            return &p->group[i];
    p->group = grow(p->s, p->group, (size_t)p->ngroup, sizeof *p->group);
    p->group[p->ngroup] = (Group){.type = type};
    return &p->group[p->ngroup++];
}

static void collect(Inspect *p)
{
    int64_t n = gguf_tensor_count(p->g);
    p->facts = NEW_ARRAY(p->s, Facts, n);
    for (int64_t i = 0; i < n; i++) {
        const Tensor *t = gguf_tensor_at(p->g, i);
        Facts *f = &p->facts[i];
        f->n = t->rows * t->cols;
        f->known = t->fmt != FMT_COUNT;
        bool codes = f->known && fmt_info[t->fmt].kind == KIND_TERNARY;
        if (codes)
            look_at_codes(t, f);
        else if (f->known)
            look_at_floats(t, f);
        Group *group = group_of(p, gguf_type_name(p->g, t));
        group->tensors++;
        group->bytes += (int64_t)t->size;
        add_counts(&group->sum, f);
        group->sum.known = f->known;
        group->sum.ternary = codes;
        if (p->hash)
            f->hash = XXH64(t->data, t->size, 0);
        p->parameters += f->n;
        p->ternary += codes || f->ternary ? f->n : 0;
        p->i2s += gguf_tensor_info(t)->id == fmt_info[FMT_I2_S].gguf;
        p->invalid += f->invalid;
        if (f->invalid && t->fmt != FMT_Q2_0 && t->fmt != FMT_PQ2_0 &&
            t->fmt != FMT_PQ2_0_LAST) /* their +2 */
            warn(p->s, p->g->loc,
                 "tensor %s has %lld invalid codes among %lld: the file is damaged or not %s",
                 quote(p->s, t->name, strlen(t->name)), (long long)f->invalid, (long long)f->n,
                 fmt_info[t->fmt].name);
    }
}

/* ---- reading keys ---- */

/* An integer of "{arch}.suffix"; -1 where absent. */
static int64_t arch_int(const Inspect *p, const char *suffix)
{
    int64_t n;
    return gguf_int(p->g, format(p->s, "%s.%s", p->arch, suffix), &n) ? n : -1;
}

static int64_t array_count(const Inspect *p, const char *key)
{
    const GgufValue *v = gguf_get(p->g, key);
    return v && v->is_array ? v->count : -1;
}

/* Printable, and cut where longer than `most`. */
static const char *escaped(const Inspect *p, const char *text, size_t len, size_t most)
{
    Out o = {.s = p->s};
    size_t cut = len > most ? most - 3 : len;
    while (cut < len && cut && ((unsigned char)text[cut] & 0xc0) == 0x80)
        cut--;
    put_escaped(&o, text, cut);
    const char *all = format(p->s, "%s%s", o.text ? o.text : "", cut < len ? "..." : "");
    out_free(&o);
    return all;
}

static const char *text_of(const Inspect *p, const char *key, const char *absent)
{
    const char *text;
    size_t len;
    return gguf_string(p->g, key, &text, &len) ? escaped(p, text, len, TEXT_SHOWN) : absent;
}

/* ---- the screen ---- */

/* 10721568 as "10.7 M", 512 as "512". */
static const char *brief(Session *s, int64_t n)
{
    static const char unit[] = " kMGTPE";
    int u = 0;
    double x = (double)n;
    for (; x >= 999.5; x /= 1000)
        u++;
    return u ? format(s, "%.*f %c", x < 99.95, x, unit[u]) : format(s, "%lld", (long long)n);
}

static const char *share(Session *s, int64_t part, int64_t n)
{
    return n ? format(s, "%.1f%%", 100.0 * (double)part / (double)n) : "-";
}

static void row(Inspect *p, const char *label, const char *text)
{
    put(&p->out, "  %-14s%s\n", label, text);
}

/* Appends "8 layers" and the like, with commas between, where n is known. */
static void list_count(Inspect *p, Out *o, int64_t n, const char *what)
{
    if (n >= 0)
        put(o, "%s%s %s", o->len ? ", " : "", grouped(p->s, n), what);
}

static void show_shape(Inspect *p)
{
    Out o = {.s = p->s};
    list_count(p, &o, arch_int(p, "block_count"), "layers");
    list_count(p, &o, arch_int(p, "embedding_length"), "wide");
    list_count(p, &o, arch_int(p, "attention.head_count"), "heads");
    list_count(p, &o, arch_int(p, "attention.head_count_kv"), "KV heads");
    list_count(p, &o, arch_int(p, "feed_forward_length"), "ffn");
    list_count(p, &o, arch_int(p, "context_length"), "context");
    row(p, "shape", o.len ? o.text : "unknown");
    out_free(&o);
}

static void show_tokenizer(Inspect *p)
{
    Out o = {.s = p->s};
    if (gguf_get(p->g, "tokenizer.ggml.model")) {
        put(&o, "%s, pre-tokenizer %s", text_of(p, "tokenizer.ggml.model", "?"),
            text_of(p, "tokenizer.ggml.pre", "not named"));
        list_count(p, &o, array_count(p, "tokenizer.ggml.tokens"), "tokens");
        list_count(p, &o, array_count(p, "tokenizer.ggml.merges"), "merges");
    }
    row(p, "tokenizer", o.len ? o.text : "none");
    out_free(&o);
}

static void show_summary(Inspect *p)
{
    Session *s = p->s;
    Gguf *g = p->g;
    row(p, "name", text_of(p, "general.name", "not given"));
    row(p, "architecture", text_of(p, "general.architecture", "not given"));
    row(p, "file",
        format(s, "%s bytes, GGUF v%u, alignment %llu", grouped(s, (int64_t)g->total), g->version,
               (unsigned long long)g->alignment));
    row(p, "XXH64", format(s, "%016llx", (unsigned long long)gguf_hash(g)));
    row(p, "parameters",
        p->parameters ? format(s, "%s, %s of them ternary", brief(s, p->parameters),
                               share(s, p->ternary, p->parameters))
                      : "none: the file has no tensors");
    show_shape(p);
    show_tokenizer(p);
    if (p->i2s)
        row(p, "I2_S layout",
            format(s, "%s; no flag in the file tells (--i2s-layout=x128, arm64 or row4)",
                   i2s_layout_name(p->layout)));
}

/* "0.0213", or "0.02 to 0.03" where blocks or tensors differ. */
static void put_scale(Out *o, const Facts *f)
{
    if (f->scale_low == 0 && f->scale_high == 0)
        return;
    put(o, "%.5g", (double)f->scale_low);
    if (f->scale_high != f->scale_low)
        put(o, " to %.5g", (double)f->scale_high);
}

/* The scale, or why there is none. */
static void put_verdict(Inspect *p, const Facts *f, bool matrix)
{
    Out *o = &p->out;
    if (!f->known)
        put(o, "bnc does not decode this type");
    else if (f->nonfinite)
        put(o, "%s values are not finite", grouped(p->s, f->nonfinite));
    else if (f->invalid)
        put(o, "%s invalid codes", grouped(p->s, f->invalid));
    else if (f->ternary)
        put_scale(o, f);
    else if (matrix && f->nmagnitude > MAGNITUDES)
        put(o, "not ternary");
    else if (matrix)
        put(o, "%d magnitudes", f->nmagnitude);
}

static void put_shares(Inspect *p, const Facts *f, bool signs)
{
    Session *s = p->s;
    put(&p->out, " %6s %6s %6s  ", signs ? share(s, f->minus, f->n) : "-",
        f->known ? share(s, f->zero, f->n) : "-", signs ? share(s, f->plus, f->n) : "-");
}

static void trim_line(Out *o)
{
    while (o->len && o->text[o->len - 1] == ' ')
        o->len--;
    put(o, "\n");
}

static void show_formats(Inspect *p)
{
    Session *s = p->s;
    int64_t tensors = gguf_tensor_count(p->g), bytes = 0;
    if (tensors == 0)
        return;
    put(&p->out, "\n  %-10s %8s %14s %14s %6s %6s %6s  %s\n", "format", "tensors", "parameters",
        "bytes", "-1", "0", "+1", "scale");
    for (int i = 0; i < p->ngroup; i++) {
        const Group *q = &p->group[i];
        put(&p->out, "  %-10s %8s %14s %14s", q->type, grouped(s, q->tensors), grouped(s, q->sum.n),
            grouped(s, q->bytes));
        put_shares(p, &q->sum, q->sum.ternary);
        put_verdict(p, &q->sum, false);
        trim_line(&p->out);
        bytes += q->bytes;
    }
    put(&p->out, "  %-10s %8s %14s %14s  %.2f bits a parameter\n", "all", grouped(s, tensors),
        grouped(s, p->parameters), grouped(s, bytes),
        8.0 * (double)bytes / (double)(p->parameters ? p->parameters : 1));
}

/* Says which float matrices are ternary already. */
static void show_float_matrices(Inspect *p)
{
    int64_t matrices = 0, ternary = 0;
    for (int64_t i = 0; i < gguf_tensor_count(p->g); i++) {
        const Tensor *t = gguf_tensor_at(p->g, i);
        if (t->fmt == FMT_COUNT || fmt_info[t->fmt].kind != KIND_FLOAT || t->rows == 1)
            continue;
        matrices++;
        ternary += p->facts[i].ternary;
    }
    if (matrices)
        put(&p->out, "\n  Matrices in a float format: %s, exactly ternary: %s.\n",
            grouped(p->s, matrices), grouped(p->s, ternary));
}

/* Rows first, as the IR writes shapes. */
static const char *shape_text(Session *s, const GgufTensor *x)
{
    const char *text = format(s, "%lld", (long long)x->dim[x->rank - 1]);
    for (int i = x->rank - 2; i >= 0; i--)
        text = format(s, "%s x %lld", text, (long long)x->dim[i]);
    return text;
}

static void show_tensors(Inspect *p)
{
    int width = 6;
    for (int64_t i = 0; i < gguf_tensor_count(p->g); i++) {
        int len = (int)strlen(gguf_tensor_at(p->g, i)->name);
        width = len > width && len <= 40 ? len : width;
    }
    put(&p->out, "\n  %-*s %13s  %-7s %12s %6s %6s %6s  %s\n", width, "tensor", "shape", "format",
        "bytes", "-1", "0", "+1", "scale");
    for (int64_t i = 0; i < gguf_tensor_count(p->g); i++) {
        const Tensor *t = gguf_tensor_at(p->g, i);
        const Facts *f = &p->facts[i];
        put(&p->out, "  %-*s %13s  %-7s %12s", width, t->name,
            shape_text(p->s, gguf_tensor_info(t)), gguf_type_name(p->g, t),
            grouped(p->s, (int64_t)t->size));
        put_shares(p, f, f->ternary || (f->known && fmt_info[t->fmt].kind == KIND_TERNARY));
        put_verdict(p, f, t->rows > 1);
        trim_line(&p->out);
    }
}

/* Of names and bytes in the order of names: equal for files that hold the same tensors. */
static uint64_t hash_of_tensors(const Inspect *p)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < gguf_tensor_count(p->g); i++) {
        const GgufTensor *x = p->g->tensor_by_name[i];
        sum = XXH64(x->t.name, strlen(x->t.name) + 1, sum);
        sum = XXH64(&p->facts[x - p->g->tensor].hash, sizeof(uint64_t), sum);
    }
    return sum;
}

static void show_hashes(Inspect *p)
{
    put(&p->out, "\n  XXH64\n");
    for (int64_t i = 0; i < gguf_tensor_count(p->g); i++)
        put(&p->out, "  %016llx  %s\n", (unsigned long long)p->facts[i].hash,
            gguf_tensor_at(p->g, i)->name);
    put(&p->out, "  %016llx  all tensors\n", (unsigned long long)hash_of_tensors(p));
}

/* One item as JSON, or for the screen: texts escaped and cut. */
static void put_item(Inspect *p, const GgufValue *v, int64_t i, bool json)
{
    Out *o = &p->out;
    size_t len;
    double x;
    if (v->type == GGUF_STRING) {
        const char *text = gguf_string_at(p->g, v, i, &len);
        if (json)
            put_json_text(o, text, len);
        else
            put(o, v->is_array ? "\"%s\"" : "%s",
                escaped(p, text, len, v->is_array ? ITEM_SHOWN : TEXT_SHOWN));
        return;
    }
    uint64_t bits = gguf_load(v->data + i * gguf_value_bytes[v->type], gguf_value_bytes[v->type]);
    int64_t n = (int64_t)bits;
    if (v->type == GGUF_BOOL)
        put(o, bits ? "true" : "false");
    else if (v->type == GGUF_U64)
        put(o, "%llu", (unsigned long long)bits);
    else if (gguf_int_at(v, i, &n))
        put(o, "%lld", (long long)n);
    else if (gguf_float_at(v, i, &x) && json && !isfinite(x))
        put(o, "null");
    else if (v->type == GGUF_F64)
        put(o, "%.17g", x);
    else
        put_float(o, x);
}

static void show_metadata(Inspect *p)
{
    int width = 3;
    for (int64_t i = 0; i < gguf_key_count(p->g); i++) {
        int len = (int)strlen(gguf_key_at(p->g, i)->key);
        width = len > width && len <= 48 ? len : width;
    }
    put(&p->out, "\n  %-*s %-9s %s\n", width, "key", "type", "value");
    for (int64_t i = 0; i < gguf_key_count(p->g); i++) {
        const GgufValue *v = gguf_key_at(p->g, i);
        const char *type = gguf_value_type_name[v->type];
        if (v->is_array)
            type = format(p->s, "%s[]", type);
        put(&p->out, "  %-*s %-9s ", width, v->key, type);
        if (v->is_array)
            put(&p->out, "%s: ", grouped(p->s, v->count));
        for (int64_t k = 0; k < v->count && k < FIRST_ITEMS; k++) {
            put(&p->out, k ? ", " : "");
            put_item(p, v, k, false);
        }
        put(&p->out, v->count > FIRST_ITEMS ? ", ...\n" : "\n");
    }
}

/* ---- JSON ---- */

static void put_json_float(Out *o, double x)
{
    if (isfinite(x))
        put_float(o, x);
    else
        put(o, "null");
}

/* "label": the text of the key, or null where it is absent. */
static void json_metadata_text(Inspect *p, const char *label, const char *key)
{
    const char *text;
    size_t len;
    put(&p->out, "\"%s\": ", label);
    if (gguf_string(p->g, key, &text, &len))
        put_json_text(&p->out, text, len);
    else
        put(&p->out, "null");
}

static void json_count(Inspect *p, const char *label, int64_t n)
{
    Out *o = &p->out;
    put(o, o->text[o->len - 1] == '{' ? "" : ", ");
    put(o, n < 0 ? "\"%s\": null" : "\"%s\": %lld", label, (long long)n);
}

static void json_summary(Inspect *p)
{
    Out *o = &p->out;
    put(o, "  \"file\": ");
    put_json_text(o, p->path, strlen(p->path));
    put(o, ",\n  \"bytes\": %zu,\n  \"xxh64\": \"%016llx\",\n  \"gguf_version\": %u,\n",
        p->g->total, (unsigned long long)gguf_hash(p->g), p->g->version);
    put(o, "  \"alignment\": %llu,\n  ", (unsigned long long)p->g->alignment);
    json_metadata_text(p, "name", "general.name");
    put(o, ",\n  ");
    json_metadata_text(p, "architecture", "general.architecture");
    put(o, ",\n  \"parameters\": %lld,\n", (long long)p->parameters);
    put(o, "  \"ternary_parameters\": %lld,\n", (long long)p->ternary);
    put(o, "  \"invalid_codes\": %lld,\n", (long long)p->invalid);
    put(o, "  \"i2s_layout\": ");
    put(o, p->i2s ? "\"%s\"" : "null", i2s_layout_name(p->layout));
    put(o, ",\n  \"shape\": {");
    json_count(p, "layers", arch_int(p, "block_count"));
    json_count(p, "width", arch_int(p, "embedding_length"));
    json_count(p, "heads", arch_int(p, "attention.head_count"));
    json_count(p, "kv_heads", arch_int(p, "attention.head_count_kv"));
    json_count(p, "ffn", arch_int(p, "feed_forward_length"));
    json_count(p, "context", arch_int(p, "context_length"));
    put(o, "},\n  \"tokenizer\": {");
    json_metadata_text(p, "model", "tokenizer.ggml.model");
    put(o, ", ");
    json_metadata_text(p, "pre", "tokenizer.ggml.pre");
    json_count(p, "tokens", array_count(p, "tokenizer.ggml.tokens"));
    json_count(p, "merges", array_count(p, "tokenizer.ggml.merges"));
    put(o, "},\n");
}

/* The counts that f has: signs for ternary values, zeros for all that can be decoded. */
static void json_facts(Out *o, const Facts *f, bool codes)
{
    if (!f->known) {
        put(o, ", \"decoded\": false");
        return;
    }
    put(o, ", \"decoded\": true, \"ternary\": %s, \"minus\": %lld, \"zero\": %lld, \"plus\": %lld",
        f->ternary ? "true" : "false", (long long)f->minus, (long long)f->zero, (long long)f->plus);
    put(o, codes ? ", \"invalid\": %lld" : ", \"nonfinite\": %lld",
        (long long)(codes ? f->invalid : f->nonfinite));
    if (!f->ternary || (f->scale_low == 0 && f->scale_high == 0))
        return;
    put(o, ", \"scale_min\": ");
    put_json_float(o, (double)f->scale_low);
    put(o, ", \"scale_max\": ");
    put_json_float(o, (double)f->scale_high);
}

static void json_formats(Inspect *p)
{
    put(&p->out, "  \"formats\": [");
    for (int i = 0; i < p->ngroup; i++) {
        const Group *q = &p->group[i];
        put(&p->out, "%s\n    {\"format\": \"%s\", \"tensors\": %lld", i ? "," : "", q->type,
            (long long)q->tensors);
        put(&p->out, ", \"parameters\": %lld, \"bytes\": %lld", (long long)q->sum.n,
            (long long)q->bytes);
        json_facts(&p->out, &q->sum, q->sum.ternary);
        put(&p->out, "}");
    }
    put(&p->out, "\n  ],\n");
}

static void json_tensors(Inspect *p)
{
    Out *o = &p->out;
    put(o, "  \"tensors\": [");
    for (int64_t i = 0; i < gguf_tensor_count(p->g); i++) {
        const Tensor *t = gguf_tensor_at(p->g, i);
        const GgufTensor *x = gguf_tensor_info(t);
        const Facts *f = &p->facts[i];
        put(o, "%s\n    {\"name\": ", i ? "," : "");
        put_json_text(o, t->name, strlen(t->name));
        put(o, ", \"shape\": [");
        for (int k = x->rank - 1; k >= 0; k--)
            put(o, k ? "%lld, " : "%lld]", (long long)x->dim[k]);
        put(o, ", \"format\": \"%s\", \"type_id\": %lld, \"offset\": %llu, \"bytes\": %zu",
            gguf_type_name(p->g, t), (long long)x->id, (unsigned long long)x->at, t->size);
        bool codes = f->known && fmt_info[t->fmt].kind == KIND_TERNARY;
        json_facts(o, f, codes);
        if (f->known && !codes && f->nmagnitude <= MAGNITUDES)
            put(o, ", \"magnitudes\": %d", f->nmagnitude);
        if (p->hash)
            put(o, ", \"xxh64\": \"%016llx\"", (unsigned long long)f->hash);
        put(o, "}");
    }
    put(o, "\n  ],\n");
    if (p->hash)
        put(o, "  \"tensors_xxh64\": \"%016llx\",\n", (unsigned long long)hash_of_tensors(p));
}

/* Arrays whole with --metadata, else their first items. */
static void json_metadata(Inspect *p)
{
    Out *o = &p->out;
    put(o, "  \"metadata\": {");
    for (int64_t i = 0; i < gguf_key_count(p->g); i++) {
        const GgufValue *v = gguf_key_at(p->g, i);
        int64_t n = p->metadata || v->count < FIRST_ITEMS ? v->count : FIRST_ITEMS;
        put(o, "%s\n    ", i ? "," : "");
        put_json_text(o, v->key, strlen(v->key));
        put(o, ": {\"type\": \"%s%s\", ", gguf_value_type_name[v->type], v->is_array ? "[]" : "");
        if (v->is_array)
            put(o, "\"count\": %lld, \"%s\": [", (long long)v->count,
                n < v->count ? "first" : "value");
        else
            put(o, "\"value\": ");
        for (int64_t k = 0; k < n; k++) {
            put(o, k ? ", " : "");
            put_item(p, v, k, true);
        }
        put(o, v->is_array ? "]}" : "}");
    }
    put(o, "\n  }\n");
}

/* ---- the command ---- */

static void free_text(void *arg)
{
    out_free(arg);
}

int cmd_inspect(Session *s, const Options *o)
{
    Inspect *p = NEW(s, Inspect);
    const char *arch = "";
    size_t len = 0;
    p->s = p->out.s = s;
    session_defer(s, free_text, &p->out);
    p->path = o->input;
    p->arch_path = o->arch;
    p->layout = i2s_layout_by_name(s, o->i2s_layout ? o->i2s_layout : "x128");
    p->tensors = o->tensors;
    p->metadata = o->metadata;
    p->check = o->check;
    p->hash = o->hash;
    p->json = o->as_json;
    if (inspect_is_bnw(p->path))
        return inspect_bnw(p);
    p->file = model_file(s, p->path, FMT_I2_S);
    p->g = gguf_open(s, p->file);
    gguf_i2s_layout(p->g, p->layout);
    gguf_string(p->g, "general.architecture", &arch, &len);
    p->arch = intern(s, arch, len);
    collect(p);
    if (p->check)
        inspect_check(p);
    if (p->json) {
        put(&p->out, "{\n");
        json_summary(p);
        json_formats(p);
        json_tensors(p);
        if (p->check)
            json_findings(p);
        json_metadata(p);
        put(&p->out, "}\n");
    } else {
        show_summary(p);
        show_formats(p);
        show_float_matrices(p);
        if (p->tensors)
            show_tensors(p);
        if (p->metadata)
            show_metadata(p);
        if (p->hash)
            show_hashes(p);
        if (p->check)
            show_findings(p);
    }
    file_save(s, "-", &p->out);
    return p->invalid > 0 || p->nerror > 0;
}
