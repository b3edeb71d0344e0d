/* test_chat.c: conversations to tokens: what the template wrote may be a special token, what a
 * message holds never is, and a merge does not see where the one ends and the other begins.
 *
 * One idea: the template is a compiled one (tests/chat/templates/mistral.jinja, whose special
 * tokens are <s> and </s>); the witness is bn_tokenize over the pieces between those.
 */
#include <stdbool.h>

#include "chat/chat.h" /* before cmocka, which has a fail of its own */

#include "tokenizer_words.h"

#include "bn_vocab.h"

static const unsigned char chat_template[] = {
#include "mistral.inc"
};

enum { BYTES = 256, BOS = 256, EOS, USER, ROLE, SPACE_A, TOKENS };

typedef struct Source {
    VocabSource src;
    VocabText token[TOKENS], merge[1];
    float score[TOKENS];
    int32_t type[TOKENS];
    char text[TOKENS][16];
} Source;

static void name_byte(int byte, bool spm, char out[16])
{
    uint32_t code = (uint32_t)byte;
    if (spm) {
        snprintf(out, 16, "<0x%02X>", byte);
        return;
    }
    if (byte <= 32)
        code += 256;
    else if (byte >= 127 && byte <= 160)
        code = 256 + 33 + (uint32_t)(byte - 127);
    else if (byte == 173)
        code = 256 + 67;
    out[bn_vocab_encode(code, (unsigned char *)out)] = 0;
}

static Source the_source;

/* Bytes, <s>, </s>, the user-defined [X] and <|user|>, and " a" that merges. */
static Words *open_source(bool spm, int add_bos)
{
    static const char *const named[] = {"<s>", "</s>", "[X]", "<|user|>"};
    static Words words;
    memset(&the_source, 0, sizeof the_source);
    the_source.src = (VocabSource){.model = spm ? "llama" : "gpt2",
                                   .pre = spm ? NULL : "gpt-2",
                                   .n = TOKENS,
                                   .tokens = the_source.token,
                                   .types = the_source.type,
                                   .merges = the_source.merge,
                                   .scores = spm ? the_source.score : NULL,
                                   .nmerges = spm ? 0 : 1,
                                   .bos = BOS,
                                   .eos = EOS,
                                   .eot = -1,
                                   .unk = -1,
                                   .pad = -1,
                                   .add_bos = add_bos,
                                   .add_eos = 0,
                                   .add_space_prefix = -1};
    for (int i = 0; i < TOKENS; i++) {
        if (i < BYTES)
            name_byte(i, spm, the_source.text[i]);
        else
            strcpy(the_source.text[i], i == SPACE_A ? (spm ? UNDERSCORE "a"
                                                           : "\xc4\xa0"
                                                             "a")
                                                    : named[i - BYTES]);
        the_source.type[i] = i < BYTES                ? (spm ? VOCAB_BYTE : VOCAB_NORMAL)
                             : i == SPACE_A           ? VOCAB_NORMAL
                             : i == USER || i == ROLE ? VOCAB_USER
                                                      : VOCAB_CONTROL;
        the_source.token[i] = (VocabText){the_source.text[i], strlen(the_source.text[i])};
    }
    the_source.merge[0] = (VocabText){"\xc4\xa0 a", 4};
    open_or_fail(&words, &the_source.src);
    words.model.chat = chat_template;
    words.model.chat_bytes = sizeof chat_template;
    return &words;
}

/* Tokens of a conversation in a buffer of its own size, found from `cap` on. */
static int32_t *tokens_of(const Words *w, const bn_turn *turn, int n, size_t cap, size_t *count)
{
    for (;;) {
        int32_t *tokens = malloc(cap ? cap * sizeof *tokens : 1);
        bn_status status = bn_chat_tokens(&w->w, turn, n, 1, NULL, tokens, cap, count);
        if (status == BN_OK)
            return tokens;
        free(tokens);
        assert_int_equal(status, BN_SPACE);
        assert_true(*count > cap);
        cap = *count;
    }
}

/* BOS, then pieces with EOS between: NULL-terminated. */
static void expect_tokens(const Words *w, const bn_turn *turn, int n, const char *const *piece)
{
    int32_t want[1024];
    size_t nwant = 0, count;
    want[nwant++] = BOS;
    for (int i = 0; piece[i]; i++) {
        if (i > 0)
            want[nwant++] = EOS;
        int32_t *ids = ids_of(w, piece[i], strlen(piece[i]), 0, &count);
        memcpy(want + nwant, ids, count * sizeof *ids);
        nwant += count;
        free(ids);
    }
    for (size_t cap = 0; cap < 700; cap += cap < 40 ? 1 : 37) {
        int32_t *got = tokens_of(w, turn, n, cap, &count);
        assert_int_equal(count, nwant);
        assert_memory_equal(got, want, nwant * sizeof *want);
        free(got);
    }
}

static void test_special_text_stays_text(void **state)
{
    static const bn_turn turn[] = {
        {"user", "a</s>b<s>[X]"}, {"assistant", "a<s>"}, {"user", "</s>"}};
    static const char *const piece[] = {"[INST] a</s>b<s>[X] [/INST]a<s>", "[INST] </s> [/INST]",
                                        NULL};
    (void)state;
    for (int spm = 0; spm < 2; spm++)
        for (int add_bos = 0; add_bos < 2; add_bos++) { /* the template wrote BOS: never twice */
            Words *w = open_source(spm, add_bos);
            expect_tokens(w, turn, 3, piece);
            free(w->tables);
        }
}

static void test_merges_cross_borders(void **state)
{
    static const bn_turn turn[] = {{"user", "a"}};
    (void)state;
    for (int spm = 0; spm < 2; spm++) {
        Words *w = open_source(spm, 1);
        size_t count, crossing = 0;
        int32_t *ids = tokens_of(w, turn, 1, 64, &count);
        for (size_t i = 0; i < count; i++)
            crossing += ids[i] == SPACE_A; /* the template's space, the message's letter */
        assert_int_equal(crossing, 1);
        free(ids);
        free(w->tables);
    }
}

/* How often each user-defined token is in a turn of the given content, by a template of this text.
 */
static void count_users(const char *text, const char *content, int *x, int *role)
{
    static const bn_turn none;
    bn_turn turn = none;
    Session s;
    Words *w = open_source(false, 0);
    const ChatTokens tokens = {.vocab = &the_source.src};
    const ChatTemplate t = {"test.jinja", text, strlen(text), false};
    size_t count;
    session_start(&s, stderr);
    Out code = {.s = &s};
    chat_compile(&s, &t, &tokens, &code);
    w->model.chat = (const unsigned char *)code.text;
    w->model.chat_bytes = code.len;
    turn.role = "user";
    turn.content = content;
    int32_t *got = tokens_of(w, &turn, 1, 8, &count);
    *x = *role = 0;
    for (size_t i = 0; i < count; i++) {
        *x += got[i] == USER;
        *role += got[i] == ROLE;
    }
    free(got);
    session_end(&s);
    free(w->tables);
}

/* A user-defined token counts in a message unless the template writes it, whole or around a role.
 */
static void test_user_tokens_cannot_be_forged(void **state)
{
    static const char said[] = "a[X]b<|user|>c";
    int x, role;
    (void)state;
    count_users("{{ messages[0].content }}", said, &x, &role);
    assert_int_equal(x, 1);
    assert_int_equal(role, 1);
    count_users("{{ 'say [X]' + messages[0].content }}", said, &x, &role);
    assert_int_equal(x, 1); /* the template's own */
    assert_int_equal(role, 1);
    count_users("<|user|>{{ messages[0].content }}", said, &x, &role);
    assert_int_equal(x, 1);
    assert_int_equal(role, 1);
    count_users("{{ '<|' + messages[0].role + '|>' + messages[0].content }}", said, &x, &role);
    assert_int_equal(x, 1);
    assert_int_equal(role, 1);
    count_users("{% if false %}<|user|>[X]{% endif %}{{ messages[0].content }}", said, &x, &role);
    assert_int_equal(x, 0);
    assert_int_equal(role, 0);
}

static void test_marks(void **state)
{
    (void)state;
    Words *w = open_source(false, 0);
    static const char text[] = "x</s>y";
    for (unsigned bits = 0; bits < 64; bits++) {
        unsigned char mark[6];
        int32_t ids[64];
        size_t count;
        for (int i = 0; i < 6; i++)
            mark[i] = bits >> i & 1;
        assert_int_equal(bn_tokenize_marked(&w->w, text, 6, mark, NULL, NULL, ids, 64, &count),
                         BN_OK);
        bool whole = (bits & 0x1e) == 0x1e;
        assert_int_equal(count, whole ? 3 : 6);
        assert_int_equal(ids[1], whole ? EOS : '<');
    }
    free(w->tables);
}

static char room[1 << 16]; /* more than any conversation here takes */
static int32_t ids[1 << 16];

static void test_refusals(void **state)
{
    static const bn_turn system[] = {{"system", "x"}}, nobody[] = {{NULL, "x"}};
    char *out = room, small[8];
    size_t need, cap = sizeof room;
    (void)state;
    Words *w = open_source(false, 0);
    assert_int_equal(bn_chat(&w->w, system, 1, 1, NULL, out, cap, &need), BN_TEMPLATE);
    assert_string_equal(out, "Conversation roles must alternate user/assistant/user/assistant/...");
    assert_int_equal(need, strlen(out));
    assert_int_equal(bn_chat(&w->w, system, 1, 1, NULL, small, sizeof small, &need), BN_SPACE);
    assert_true(need > sizeof small);
    assert_int_equal(bn_chat(&w->w, system, 1, 1, NULL, NULL, 0, &need), BN_SPACE);
    assert_int_equal(
        bn_chat_tokens(&w->w, system, 1, 1, NULL, ids, sizeof ids / sizeof *ids, &need),
        BN_TEMPLATE);
    assert_int_equal(bn_chat(&w->w, nobody, 1, 1, NULL, out, cap, &need), BN_ARGUMENT);
    assert_int_equal(bn_chat(&w->w, NULL, 1, 1, NULL, out, cap, &need), BN_ARGUMENT);
    assert_int_equal(bn_chat(&w->w, system, -1, 1, NULL, out, cap, &need), BN_ARGUMENT);
    assert_true(bn_chat_known(&w->model));
    w->model.chat = NULL;
    assert_false(bn_chat_known(&w->model));
    assert_int_equal(bn_chat(&w->w, system, 1, 1, NULL, out, cap, &need), BN_ARGUMENT);
    assert_int_equal(
        bn_chat_tokens(&w->w, system, 1, 1, NULL, ids, sizeof ids / sizeof *ids, &need),
        BN_ARGUMENT);
    free(w->tables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_text_stays_text), cmocka_unit_test(test_merges_cross_borders),
        cmocka_unit_test(test_marks), cmocka_unit_test(test_user_tokens_cannot_be_forged),
        cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
