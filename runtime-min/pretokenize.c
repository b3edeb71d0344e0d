/* pretokenize.c: cuts text into the pre-tokens that byte-level BPE merges within.
 *
 * One idea: each split is a published regular expression, written out by hand as a function that
 * looks at most one character back and walks every run once, so a text takes linear time where a
 * backtracking matcher would not: \s+(?!\S) is simply the run of spaces without its last one.
 */
#include "bn_vocab.h"
#include "unicode_tables.h"

/* One character: its kind as a bit, so that classes are masks. kind 0, len 0: the end of text. */
enum {
    PRE_OTHER = 1 << BN_UNI_OTHER,
    PRE_LETTER = 1 << BN_UNI_LETTER, /* \p{L} */
    PRE_NUMBER = 1 << BN_UNI_NUMBER, /* \p{N} */
    PRE_SPACE = 1 << BN_UNI_SPACE    /* \s */
};
typedef struct pre_char {
    unsigned kind;
    size_t len;
} pre_char;

/* Last range that starts at or before the code point, then: is the code point inside? */
static unsigned pre_kind(uint32_t code)
{
    uint32_t lo = 0, hi = BN_UNI_RANGES, key = code << 2 | 3;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (bn_uni_start[mid] <= key)
            lo = mid;
        else
            hi = mid;
    }
    uint32_t start = bn_uni_start[lo];
    return code - (start >> 2) < bn_uni_length[lo] ? 1u << (start & 3) : PRE_OTHER;
}

int bn_is_space(uint32_t code)
{
    return code < BN_VOCAB_BAD && pre_kind(code) == PRE_SPACE;
}

int bn_is_word(uint32_t code)
{
    uint32_t lo = 0, hi = BN_UNI_WORDS;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (bn_uni_word[mid][0] <= code)
            lo = mid;
        else
            hi = mid;
    }
    return code - bn_uni_word[lo][0] < bn_uni_word[lo][1];
}

static pre_char pre_at(const unsigned char *s, size_t n, size_t at)
{
    pre_char c = {0, 0};
    uint32_t code;
    if (at >= n)
        return c;
    if (s[at] < 0x80) {
        c.kind = 1u << bn_uni_ascii[s[at]];
        c.len = 1;
        return c;
    }
    c.len = bn_vocab_decode(s + at, n - at, &code);
    c.kind = code >= BN_VOCAB_BAD ? PRE_OTHER : pre_kind(code);
    return c;
}

/* The end of the run of characters of one kind that starts at `at`. */
static size_t pre_run(const unsigned char *s, size_t n, size_t at, unsigned kind)
{
    for (pre_char c; (c = pre_at(s, n, at)).kind == kind;)
        at += c.len;
    return at;
}

/* 's|'t|'re|'ve|'m|'ll|'d, with `fold` in any (ASCII) case; its length or 0. */
static size_t pre_contraction(const unsigned char *s, size_t n, unsigned char fold)
{
    if (n < 2 || s[0] != '\'')
        return 0;
    unsigned char a = s[1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    unsigned char b = n > 2 ? s[2] | fold : 0;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ where a space stands at the start; with `lines` \s*[\r\n]+ before both. */
static size_t pre_spaces(const unsigned char *s, size_t n, int lines)
{
    size_t end = 0, last = 0, line = 0;
    for (pre_char c; (c = pre_at(s, n, end)).kind == PRE_SPACE;) {
        last = end;
        end += c.len;
        if (s[last] == '\r' || s[last] == '\n')
            line = end;
    }
    if (lines && line > 0)
        return line;
    return end < n && last > 0 ? last : end;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t pre_gpt2(const unsigned char *s, size_t n)
{
    size_t at = pre_contraction(s, n, 0);
    if (at)
        return at;
    at = s[0] == ' ';
    unsigned kind = pre_at(s, n, at).kind;
    if (kind & (PRE_LETTER | PRE_NUMBER | PRE_OTHER))
        return pre_run(s, n, at, kind);
    return pre_spaces(s, n, 0);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+; Qwen2 differs in one \p{N} for up to `digits`. */
static size_t pre_llama(const unsigned char *s, size_t n, int digits)
{
    size_t at = pre_contraction(s, n, 0x20);
    if (at)
        return at;
    pre_char c = pre_at(s, n, 0), d = pre_at(s, n, c.len);
    if (c.kind == PRE_LETTER)
        return pre_run(s, n, 0, PRE_LETTER);
    if (c.kind == PRE_NUMBER) {
        for (at = 0; digits > 0 && c.kind == PRE_NUMBER; digits--) {
            at += c.len;
            c = pre_at(s, n, at);
        }
        return at;
    }
    if (d.kind == PRE_LETTER && s[0] != '\r' && s[0] != '\n')
        return pre_run(s, n, c.len, PRE_LETTER);
    at = s[0] == ' ';
    if ((at ? d : c).kind == PRE_OTHER) {
        at = pre_run(s, n, at, PRE_OTHER);
        while (at < n && (s[at] == '\r' || s[at] == '\n'))
            at++;
        return at;
    }
    return pre_spaces(s, n, 1);
}

size_t bn_pretoken(uint32_t split, const unsigned char *s, size_t n)
{
    if (split == BN_VOCAB_SPLIT_GPT2)
        return pre_gpt2(s, n);
    return pre_llama(s, n, split == BN_VOCAB_SPLIT_QWEN ? 1 : 3);
}
