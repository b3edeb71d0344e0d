/* test_tokenizer.c: the tokenizer, from VocabSource to tokens and back to text.
 *
 * One idea: two witnesses. A naive merger that works on strings and knows nothing of tables, heaps
 * or ids, and properties that hold for any text (round trips, room). Vocabularies are made here;
 * test_tokenizer_golden.c takes real ones.
 */
#include "tokenizer_words.h"

/* ---- sources made here ---- */

enum { MOST = 600 };
typedef struct Source {
    VocabSource src;
    VocabText token[MOST], merge[MOST];
    float score[MOST];
    int32_t type[MOST];
    char text[MOST * 64];
    size_t used;
} Source;

static VocabText keep(Source *s, const char *text, size_t len)
{
    char *at = s->text + s->used;
    assert_true(s->used + len + 1 <= sizeof s->text);
    memcpy(at, text, len);
    at[len] = 0;
    s->used += len + 1;
    return (VocabText){at, len};
}

static int32_t add_token(Source *s, const char *text, int type, float score)
{
    int32_t id = (int32_t)s->src.n++;
    assert_true(id < MOST);
    s->token[id] = keep(s, text, strlen(text));
    s->type[id] = type;
    s->score[id] = score;
    return id;
}

static void add_merge(Source *s, const char *left, const char *right)
{
    char both[128];
    int n = snprintf(both, sizeof both, "%s %s", left, right);
    assert_true(s->src.nmerges < MOST);
    s->merge[s->src.nmerges++] = keep(s, both, (size_t)n);
}

/* The GPT-2 letter of a byte, written in another way than in vocab.c. */
static void letter(int byte, char out[5])
{
    uint32_t code = (uint32_t)byte;
    if (byte <= 32)
        code = 256 + (uint32_t)byte;
    else if (byte >= 127 && byte <= 160)
        code = 256 + 33 + (uint32_t)(byte - 127);
    else if (byte == 173)
        code = 256 + 67;
    out[bn_vocab_encode(code, (unsigned char *)out)] = 0;
}

/* Byte tokens 0..255 and nothing else. */
static Source *new_source(const char *model, const char *pre)
{
    Source *s = calloc(1, sizeof *s);
    s->src = (VocabSource){.model = model,
                           .pre = pre,
                           .tokens = s->token,
                           .merges = s->merge,
                           .types = s->type,
                           .bos = -1,
                           .eos = -1,
                           .eot = -1,
                           .unk = -1,
                           .pad = -1,
                           .add_bos = -1,
                           .add_eos = -1,
                           .add_space_prefix = -1};
    int spm = strcmp(model, "llama") == 0;
    if (spm)
        s->src.scores = s->score;
    for (int c = 0; c < 256; c++) {
        char text[16];
        if (spm)
            snprintf(text, sizeof text, "<0x%02X>", c);
        else
            letter(c, text);
        add_token(s, text, spm ? VOCAB_BYTE : VOCAB_NORMAL, 0);
    }
    return s;
}

/* ---- the naive merger: strings, linear searches, quadratic time ---- */

typedef struct Row {
    char text[64][64];
    int n;
} Row;

static int find_token(const Source *s, const char *text)
{
    for (int i = 0; i < s->src.n; i++)
        if ((s->type[i] == VOCAB_NORMAL || s->type[i] == VOCAB_USER) &&
            strcmp(s->token[i].ptr, text) == 0)
            return i;
    return -1;
}

/* Lower is better; 1e9: never. */
static double naive_rank(const Source *s, const char *left, const char *right)
{
    char both[130];
    if (s->src.scores) {
        snprintf(both, sizeof both, "%s%s", left, right);
        int id = find_token(s, both);
        return id < 0 ? 1e9 : -(double)s->score[id];
    }
    snprintf(both, sizeof both, "%s %s", left, right);
    for (int i = 0; i < s->src.nmerges; i++)
        if (strcmp(s->merge[i].ptr, both) == 0)
            return i;
    return 1e9;
}

static void naive_merge(const Source *s, Row *row)
{
    for (;;) {
        double best = 1e9;
        int at = -1;
        for (int i = 0; i + 1 < row->n; i++) {
            double rank = naive_rank(s, row->text[i], row->text[i + 1]);
            if (rank < best) {
                best = rank;
                at = i;
            }
        }
        if (at < 0)
            return;
        char both[130];
        snprintf(both, sizeof both, "%s%s", row->text[at], row->text[at + 1]);
        memcpy(row->text[at], both, sizeof row->text[at]);
        memmove(row->text[at + 1], row->text[at + 2],
                sizeof *row->text * (size_t)(row->n - at - 2));
        row->n--;
    }
}

static size_t naive_emit(const Source *s, const Row *row, int32_t *out)
{
    size_t n = 0;
    for (int i = 0; i < row->n; i++) {
        int id = find_token(s, row->text[i]);
        if (id >= 0) {
            out[n++] = id;
            continue;
        }
        for (const char *p = row->text[i]; *p;) {
            uint32_t code;
            char one[5] = {0};
            size_t len = bn_vocab_decode((const unsigned char *)p, strlen(p), &code);
            memcpy(one, p, len);
            for (size_t k = 0; s->src.scores && k < len; k++)
                out[n++] = (unsigned char)p[k];
            if (!s->src.scores)
                out[n++] = find_token(s, one);
            p += len;
        }
    }
    return n;
}

static size_t naive_bpe(const Source *s, uint32_t split, int whole, const char *text, int32_t *out)
{
    size_t n = 0, len = strlen(text);
    for (size_t step; len > 0; text += step, len -= step) {
        Row row = {.n = 0};
        char all[64] = "";
        step = bn_pretoken(split, (const unsigned char *)text, len);
        for (size_t i = 0; i < step; i++) {
            letter((unsigned char)text[i], row.text[row.n]);
            strcat(all, row.text[row.n++]);
        }
        int id = whole ? find_token(s, all) : -1;
        if (id >= 0) {
            out[n++] = id;
            continue;
        }
        naive_merge(s, &row);
        n += naive_emit(s, &row, out + n);
    }
    return n;
}

static size_t naive_spm(const Source *s, const char *text, int32_t *out)
{
    Row row = {.n = 0};
    if (!*text)
        return 0;
    strcpy(row.text[row.n++], UNDERSCORE);
    while (*text) {
        uint32_t code;
        size_t len = bn_vocab_decode((const unsigned char *)text, strlen(text), &code);
        memcpy(row.text[row.n], text, len);
        if (code == ' ')
            strcpy(row.text[row.n], UNDERSCORE);
        row.n++;
        text += len;
    }
    naive_merge(s, &row);
    return naive_emit(s, &row, out);
}

/* ---- random vocabularies and texts ---- */

static uint32_t seed = 1;
static int rnd(int n)
{
    seed = seed * 1664525 + 1013904223;
    return (int)((seed >> 8) % (uint32_t)n);
}

static void random_text(char *out, int chars, const char *const *unit, int units)
{
    for (*out = 0; chars > 0; chars--)
        strcat(out, unit[rnd(units)]);
}

/* Merges of symbols made before, some of them twice, some results no token; words without merges.
 */
static Source *random_bpe(const char *pre)
{
    static const char *const unit[] = {"a", "b", "\xc4\xa0", "c", "\xc3\x83", "\xc2\xa9"};
    Source *s = new_source("gpt2", pre);
    char made[60][40];
    int n = 0;
    for (; n < 6; n++)
        strcpy(made[n], unit[n]);
    while (n < 60) {
        const char *left = made[rnd(n)], *right = made[rnd(n)];
        if (strlen(left) + strlen(right) >= 12)
            continue;
        add_merge(s, left, right);
        char joined[40];
        snprintf(joined, sizeof joined, "%s%s", left, right);
        memcpy(made[n], joined, sizeof joined);
        if (rnd(4))
            add_token(s, made[n], VOCAB_NORMAL, 0);
        n++;
    }
    for (int i = 0; i < 5; i++) {
        random_text(made[0], 3, unit, 6);
        add_token(s, made[0], VOCAB_NORMAL, 0);
    }
    return s;
}

static Source *random_spm(int inner_spaces)
{
    static const char *const unit[] = {"a", "b", "\xc3\xa9", "c", UNDERSCORE};
    Source *s = new_source("llama", NULL);
    char text[64];
    for (int i = 0; i < 80; i++) {
        *text = 0;
        if (!inner_spaces && rnd(3) == 0)
            strcpy(text, rnd(4) ? UNDERSCORE : UNDERSCORE UNDERSCORE);
        random_text(text + strlen(text), 1 + rnd(4), unit, inner_spaces ? 5 : 4);
        add_token(s, text, rnd(8) ? VOCAB_NORMAL : VOCAB_CONTROL, (float)-rnd(12));
    }
    return s;
}

static void test_naive(void **state)
{
    static const char *const unit[] = {"a", "b", " ",    "c",  "\xc3\xa9",
                                       "a", "b", "\xff", "\n", "\xc3"};
    (void)state;
    for (int round = 0; round < 120; round++) {
        static const char *const pre[] = {"gpt-2", "llama-bpe"};
        int spm = round % 4 >= 2, which = round % 2;
        Source *s = spm ? random_spm(which) : random_bpe(pre[which]);
        Words t;
        open_or_fail(&t, &s->src);
        const bn_vocab *v = bn_vocab_of(&t.w);
        for (int i = 0; i < 60; i++) {
            char text[256];
            int32_t want[512];
            int chars = rnd(40);
            random_text(text, chars, unit, rnd(2) ? 5 : 10);
            size_t n = spm ? naive_spm(s, text, want) : naive_bpe(s, v->split, which, text, want);
            expect(&t, text, 0, want, n);
        }
        free(t.tables);
        free(s);
    }
}

/* ---- pre-tokenizers ---- */

static void test_splits(void **state)
{
    static const struct {
        uint32_t split;
        const char *text; /* | where a pre-token ends */
    } row[] = {
        {BN_VOCAB_SPLIT_GPT2, "I|'m| sure|'|RE| you|'ll| go"},
        {BN_VOCAB_SPLIT_GPT2, "a|  | b| 123456|\n\n|\n|x|  "},
        {BN_VOCAB_SPLIT_GPT2, " ?!\xff\xfe| \xc3\xa9t\xc3\xa9|\xff"},
        {BN_VOCAB_SPLIT_LLAMA, "I|'m| sure|'RE| you|'Ve|-go|  | on"},
        {BN_VOCAB_SPLIT_LLAMA, "123|456|7| |8|.x| ...\n\n| \n \n|  | y"},
        {BN_VOCAB_SPLIT_LLAMA, "\n|a|\t\t|\tb| \n|  "},
        {BN_VOCAB_SPLIT_LLAMA,
         "\xe2\x80\xa8\xe2\x80\xa8|\xe2\x80\xa8x|\xd9\xa1\xd9\xa2\xd9\xa3|\xd9\xa4"},
        {BN_VOCAB_SPLIT_LLAMA, "''|l|'ll|lx|'|1"},
        {BN_VOCAB_SPLIT_QWEN, "I|'M| sure|1|2|3|4| |8|.x| ...\n\n|  | y"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(row); i++) {
        char plain[128], got[256];
        size_t n = 0, at = 0, out = 0;
        for (const char *p = row[i].text; *p; p++)
            if (*p != '|')
                plain[n++] = *p;
        while (at < n) {
            size_t step = bn_pretoken(row[i].split, (unsigned char *)plain + at, n - at);
            assert_true(step >= 1 && step <= n - at);
            memcpy(got + out, plain + at, step);
            out += step;
            at += step;
            got[out++] = '|';
        }
        got[out - 1] = 0;
        assert_string_equal(got, row[i].text);
    }
}

/* ---- specials, BOS, room, streaming ---- */

static void test_special(void **state)
{
    (void)state;
    Source *s = new_source("gpt2", "llama-bpe");
    int32_t end = add_token(s, "<e>", VOCAB_CONTROL, 0),
            ends = add_token(s, "<e><e>", VOCAB_CONTROL, 0);
    int32_t user = add_token(s, "<u v>", VOCAB_USER, 0),
            word = add_token(s, "word", VOCAB_CONTROL, 0);
    add_token(s, "<e>", VOCAB_USER, 0); /* hidden by the control token of the same text */
    add_token(s, "", VOCAB_NORMAL, 0);
    add_token(s, "\xc4\xa0x", VOCAB_USER, 0); /* plain text, not " x" */
    add_merge(s, "\xc4\xa0", "x");
    add_merge(s, "w", "o");
    add_merge(s, "r", "d");
    add_merge(s, "wo", "rd");
    s->src.bos = end;
    Words t;
    open_or_fail(&t, &s->src);
    EXPECT(&t, "a<e>b", BN_PARSE_SPECIAL, 'a', end, 'b');
    EXPECT(&t, "<e><e><e>", BN_PARSE_SPECIAL, ends, end);
    EXPECT(&t, "<e<u v><", 0, '<', 'e', user, '<');
    EXPECT(&t, "<u v", BN_PARSE_SPECIAL, '<', 'u', ' ', 'v');
    EXPECT(&t, "word", 0, 'w', 'o', 'r', 'd'); /* plain text forges no control token */
    EXPECT(&t, "word", BN_PARSE_SPECIAL, word);
    EXPECT(&t, " x\xc4\xa0x", 0, ' ', 'x', word + 3);
    EXPECT(&t, "a", BN_ADD_SPECIAL, end, 'a');
    size_t n;
    for (int32_t id = -1; id <= end; id += end + 1) {
        bn_piece(&t.w, id, &n);
        assert_int_equal(n, 0);
    }
    bn_piece(&t.w, user, &n);
    assert_int_equal(n, 5);
    free(t.tables);
    free(s);
}

static void test_spm_special(void **state)
{
    (void)state;
    Source *s = new_source("llama", NULL);
    int32_t bos = add_token(s, "<s>", VOCAB_CONTROL, 0),
            eos = add_token(s, "</s>", VOCAB_CONTROL, 0);
    int32_t a = add_token(s, "a", VOCAB_NORMAL, -2),
            sa = add_token(s, UNDERSCORE "a", VOCAB_NORMAL, -1);
    int32_t space = add_token(s, UNDERSCORE, VOCAB_NORMAL, -3);
    s->src.bos = bos;
    s->src.eos = eos;
    s->src.add_eos = 1;
    Words t;
    open_or_fail(&t, &s->src);
    EXPECT(&t, "aa", BN_ADD_SPECIAL, bos, sa, a, eos);
    EXPECT(&t, "", BN_ADD_SPECIAL, bos, eos);
    EXPECT(&t, "a<s>a</s> a", BN_PARSE_SPECIAL, sa, bos, sa, eos, space, sa);
    EXPECT(&t, "\xc3\xa9 \x01", 0, space, 0xc3, 0xa9, space, 1);
    char out[64];
    const int32_t ids[] = {bos, sa, sa, 0xc3, 0xa9, a};
    assert_int_equal(print_ids(&t, ids, COUNT(ids), out), 6);
    assert_memory_equal(out,
                        "a a\xc3\xa9"
                        "a",
                        6);
    free(t.tables);
    s->src.add_space_prefix = s->src.add_bos = s->src.add_eos = 0;
    open_or_fail(&t, &s->src);
    EXPECT(&t, "a a", BN_ADD_SPECIAL, a, sa);
    assert_int_equal(print_ids(&t, (const int32_t[]){sa}, 1, out), 2);
    free(t.tables);
    free(s);
}

static void test_bos_rules(void **state)
{
    static const struct {
        const char *model, *pre;
        int bos, add_bos, want;
    } row[] = {
        {"gpt2", "llama-bpe", 1, -1, 1}, {"gpt2", NULL, 1, -1, 1},
        {"gpt2", "", 1, 0, 0},           {"gpt2", "gpt-2", 1, -1, 0},
        {"gpt2", "gpt2", 1, 1, 1},       {"gpt2", "falcon3", 0, -1, 0},
        {"llama", "default", 1, -1, 1},  {"llama", "default", 1, 0, 0},
        {"llama", NULL, 0, 1, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(row); i++) {
        Source *s = new_source(row[i].model, row[i].pre);
        int32_t bos = add_token(s, "<s>", VOCAB_CONTROL, 0),
                turn = add_token(s, "<|eot_id|>", VOCAB_CONTROL, 0);
        s->src.bos = row[i].bos ? bos : -1;
        s->src.add_bos = row[i].add_bos;
        Words t;
        open_or_fail(&t, &s->src);
        int32_t ids[16];
        size_t count;
        assert_int_equal(bn_tokenize(&t.w, "", 0, BN_ADD_SPECIAL, ids, 16, &count), BN_OK);
        assert_int_equal(count, row[i].want);
        assert_int_equal(bn_vocab_of(&t.w)->eot, turn);
        int assumed = strcmp(row[i].model, "gpt2") == 0 && (!row[i].pre || !*row[i].pre);
        assert_int_equal(strstr(t.message, "assuming llama-bpe") != NULL, assumed);
        free(t.tables);
        free(s);
    }
}

/* Every capacity gives BN_SPACE and nothing, or the right tokens; nothing beyond is touched. */
static void test_room(void **state)
{
    static const char *const text[] = {"",           "a", "aab c", "  \n x", "\xf0\x9f\x98\x80!",
                                       "<s>a<s>\xff"};
    (void)state;
    for (int round = 0; round < 8; round++)
        for (size_t i = 0; i < COUNT(text); i++) {
            Source *s = round % 2 ? random_spm(round % 4 == 1) : random_bpe("llama-bpe");
            s->src.bos = add_token(s, "<s>", VOCAB_CONTROL, 0);
            Words t;
            open_or_fail(&t, &s->src);
            size_t len = strlen(text[i]), n, count;
            int32_t *want = ids_of(&t, text[i], len, 3, &n);
            for (size_t cap = 0; cap <= BN_TOKEN_ROOM(len); cap++) {
                int32_t *ids = cap ? malloc(cap * sizeof *ids) : NULL;
                bn_status status = bn_tokenize(&t.w, text[i], len, 3, ids, cap, &count);
                assert_true(status == BN_OK || (status == BN_SPACE && count == 0));
                assert_int_equal(count, status == BN_OK ? n : 0);
                assert_true(status == BN_OK || cap < BN_TOKEN_ROOM(len));
                if (count)
                    assert_memory_equal(ids, want, n * sizeof *ids);
                free(ids);
            }
            free(want);
            free(t.tables);
            free(s);
        }
}

static void test_streaming(void **state)
{
    static const struct {
        const char *bytes, *text;
    } row[] = {
        {"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xc3x\x80", "\xef\xbf\xbdx\xef\xbf\xbd"},
        {"\xe2\x82\xf0\x9f\x98", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe0\x80\xed\xa0\xf4\x90\xc0", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                                         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf5\xff\xc3\xc3\xa9", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(row); i++) {
        size_t len = strlen(row[i].bytes);
        for (size_t lo = 0; lo <= len; lo++)
            for (size_t hi = lo; hi <= len; hi++) { /* three tokens, cut at every pair of places */
                Source *s = new_source("gpt2", "gpt-2");
                const size_t end[] = {lo, hi, len};
                int32_t ids[3];
                char out[64];
                for (size_t k = 0, at = 0; k < 3; k++) {
                    char token[64] = "";
                    for (; at < end[k]; at++)
                        letter((unsigned char)row[i].bytes[at], token + strlen(token));
                    ids[k] = add_token(s, token, VOCAB_NORMAL, 0);
                }
                Words t;
                open_or_fail(&t, &s->src);
                size_t n = print_ids(&t, ids, 3, out);
                assert_int_equal(n, strlen(row[i].text));
                assert_memory_equal(out, row[i].text, n);
                free(t.tables);
                free(s);
            }
    }
}

/* Any bytes come back from byte-level BPE. */
static void test_round_trip(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        Source *s = random_bpe(round % 2 ? "gpt-2" : "llama-bpe");
        Words t;
        open_or_fail(&t, &s->src);
        char text[300];
        size_t len = (size_t)rnd(300), count;
        for (size_t i = 0; i < len; i++)
            text[i] = (char)(rnd(3) ? rnd(256) : "ab c\n'"[rnd(6)]);
        int32_t *ids = ids_of(&t, text, len, 0, &count);
        expect_pieces(&t, ids, count, text, len);
        free(ids);
        free(t.tables);
        free(s);
    }
}

/* ---- sources and tables that are wrong ---- */

static void expect_error(VocabSource *src, const char *message)
{
    Words t;
    assert_false(open_words(&t, src));
    assert_string_equal(t.message, message);
}

static void test_errors(void **state)
{
    static const char many[5000] = {0};
    (void)state;
    Source *s = new_source("gpt2", "llama-bpe"), was;
    add_merge(s, "a", "b");
    was = *s;
#define BROKEN(change, text)                                                                       \
    do {                                                                                           \
        *s = was;                                                                                  \
        change;                                                                                    \
        expect_error(&s->src, text);                                                               \
    } while (0)
    BROKEN(s->src.model = "bert", "tokenizer \"bert\" is not supported; known: gpt2 (byte-level "
                                  "BPE), llama (SentencePiece)");
    BROKEN(s->src.model = NULL, "the file names no tokenizer (tokenizer.ggml.model); known: gpt2, "
                                "llama");
    BROKEN(s->src.pre = "x\x1b[1m",
           "pre-tokenizer \"x?[1m\" is not supported, and another one would "
           "give wrong tokens; known: llama-bpe, llama3, llama-v3, "
           "falcon3, falcon_e, qwen2, hunyuan, gpt-2, gpt2");
    BROKEN(s->src.n = 0, "a vocabulary of 0 tokens; possible are 1 to 16777215");
    BROKEN(s->src.n = INT64_MAX, "a vocabulary of 9223372036854775807 tokens; possible are 1 to "
                                 "16777215");
    BROKEN(s->src.n = 65, "no token stands for byte 0x41 (\"A\"), and there is no unknown token: "
                          "some texts could not be written");
    BROKEN(s->src.nmerges = -1, "-1 merges; at most 33554432 are possible");
    BROKEN(s->src.eos = 256, "EOS is token 256, but the vocabulary has 256");
    BROKEN(s->src.bos = INT64_MIN, "BOS is token -9223372036854775808, but the vocabulary has 256");
    BROKEN(s->type[7] = 9, "token 7 has type 9; known are 1 (normal) to 6 (byte)");
    BROKEN((s->token[7] = (VocabText){many, 5000}), "token 7 is 5000 bytes long; at most 4096 are "
                                                    "possible");
    BROKEN((s->token[7] = (VocabText){many, SIZE_MAX}), "token 7 is 18446744073709551615 bytes "
                                                        "long; at most 4096 are possible");
    BROKEN(s->merge[0].len = 2, "merge 0 is 2 bytes long; possible are 3 to 8193");
    BROKEN((s->merge[0] = (VocabText){"abc", 3}),
           "merge 0 is not two symbols with a space between");
    BROKEN((s->merge[0] = (VocabText){"ab ", 3}),
           "merge 0 is not two symbols with a space between");
    BROKEN(s->src.model = "llama", "a SentencePiece vocabulary needs scores "
                                   "(tokenizer.ggml.scores)");
    free(s);
    s = new_source("llama", NULL);
    was = *s;
    BROKEN(s->score[3] = (float)(0.0 * strtod("inf", NULL)),
           "the score of token 3 is not a number");
    BROKEN(s->src.n = 10, "no token stands for byte 0x0A (<0x0A>), and there is no unknown token: "
                          "some texts could not be written");
    BROKEN((s->token[3] = (VocabText){"<0xZZ>", 6}), "token 3 is a byte by type, but its text is "
                                                     "not like <0x41>");
#undef BROKEN
    free(s);
}

/* Unknown tokens stand in where bytes have none; equal texts: the first; types may be missing. */
static void test_odd_sources(void **state)
{
    (void)state;
    Source *s = new_source("gpt2", "gpt-2");
    int32_t unk = add_token(s, "<unk>", VOCAB_UNKNOWN, 0);
    add_token(s, "ab", VOCAB_NORMAL, 0);
    int32_t abc = add_token(s, "abc", VOCAB_NORMAL, 0);
    add_token(s, "abc", VOCAB_NORMAL, 0);
    add_merge(s, "a", "b");
    add_merge(s, "ab", "c");
    add_merge(s, "a", "b");
    add_merge(s, "nowhere", "c");
    s->type['z'] = VOCAB_UNUSED;
    s->src.unk = unk;
    Words t, again;
    open_or_fail(&t, &s->src);
    open_or_fail(&again, &s->src);
    assert_int_equal(t.w.size, again.w.size);
    assert_memory_equal(t.tables, again.tables, t.w.size);
    EXPECT(&t, "abcz", 0, abc, unk);
    free(t.tables);
    free(again.tables);
    s->src.types = NULL;
    open_or_fail(&t, &s->src);
    EXPECT(&t, "abcz<unk>", BN_PARSE_SPECIAL, abc, 'z', unk);
    free(t.tables);
    free(s);
}

/* Each word of the header and some of the tables, overwritten: an answer, not a crash. */
static void test_damage(void **state)
{
    static const uint32_t value[] = {0,          1,           63,          64,
                                     0x7fffffff, 0x80000000u, 0xffffffc0u, 0xffffffffu};
    (void)state;
    for (int spm = 0; spm < 2; spm++) {
        Source *s = spm ? random_spm(0) : random_bpe("llama-bpe");
        s->src.bos = add_token(s, "<s>", VOCAB_CONTROL, 0);
        add_token(s, "<u>", VOCAB_USER, 0);
        Words t;
        open_or_fail(&t, &s->src);
        size_t stride = t.w.size / 1500 + 1;
        for (size_t at = 0; at < t.w.size; at += at < 128 ? 4 : 4 * stride)
            for (size_t k = 0; k < COUNT(value); k++) {
                uint8_t was[4];
                static const char text[] = "<u><s>ab cab \xc3\xa9<u>";
                memcpy(was, t.tables + at, 4);
                memcpy(t.tables + at, value + k, 4);
                if (bn_vocab_check(&t.w) == BN_OK) {
                    int32_t ids[BN_TOKEN_ROOM(sizeof text)];
                    size_t count, n;
                    bn_tokenize(&t.w, text, sizeof text, 3, ids, COUNT(ids), &count);
                    for (int32_t id = -1; id < 400; id++)
                        bn_piece(&t.w, id, &n);
                }
                memcpy(t.tables + at, was, 4);
            }
        t.w.size--;
        assert_int_equal(bn_vocab_check(&t.w), BN_FORMAT);
        t.model.vocab_size = 0;
        int32_t id;
        size_t n;
        assert_int_equal(bn_vocab_check(&t.w), BN_OK);
        assert_int_equal(bn_tokenize(&t.w, "a", 1, 0, &id, 1, &n), BN_TOKENIZER);
        bn_piece(&t.w, 0, &n);
        assert_int_equal(n, 0);
        free(t.tables);
        free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_naive),     cmocka_unit_test(test_splits),
        cmocka_unit_test(test_special),   cmocka_unit_test(test_spm_special),
        cmocka_unit_test(test_bos_rules), cmocka_unit_test(test_room),
        cmocka_unit_test(test_streaming), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_errors),    cmocka_unit_test(test_odd_sources),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
