/* unicode.c: writes unicode_tables.h, the character classes that the runtime's tokenizer asks for,
 * and unicode_normal.h, the mappings of which the compiler makes the tables of a normalizer.
 *
 *     unicode FOLDER unicode_tables.h unicode_normal.h
 *
 * One idea: nothing is typed in; FOLDER holds the files of the Unicode Character Database. \p{L}
 * and \p{N} are the general categories L* and N* of UnicodeData.txt, \s is White_Space of
 * PropList.txt; \w is \p{L}, \p{M}, \p{Nd}, \p{Nl}, \p{Pc} and what PropList.txt calls
 * Other_Alphabetic or Join_Control (UTS 18). Neighbours of one class become a range:
 *
 *    31                 2 1    0            15                0
 *   +--------------------+------+          +-------------------+
 *   | first code point   |class |          | code points       |    longer ranges are cut
 *   +--------------------+------+          +-------------------+
 *     bn_uni_start[i], sorted                bn_uni_length[i]
 *
 * \w has ranges of its own, (first code point, code points) each. Mappings are one row a character:
 * the code point, what it becomes, and whether only NFKC and NFKD do so.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODES = 0x110000, LONGEST = 0xffff, MOST = 18, OTHER = 0, LETTER, NUMBER, SPACE };

static unsigned char class_of[CODES], word[CODES], combining[CODES], excluded[CODES];
static uint32_t lower_of[CODES];
static char mapping[CODES][128]; /* field 5 of UnicodeData.txt: "", "0041 0300", "<compat> 0020" */

static void die(const char *what, const char *path)
{
    fprintf(stderr, "unicode: %s %s\n", what, path);
    exit(1);
}

static FILE *open_or_die(const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);
    if (!f)
        die("cannot open (Debian: install unicode-data)", path);
    return f;
}

static void set(unsigned char *of, unsigned long lo, unsigned long hi, int kind, const char *path)
{
    if (lo > hi || hi >= CODES)
        die("bad range in", path);
    memset(of + lo, kind, hi - lo + 1);
}

/* The fields of a line that ends with a line feed, cut at the semicolons; returns their number. */
static int cut(char *line, char *field[16])
{
    int n = 0;
    line[strcspn(line, "\n")] = 0;
    for (char *p = line; n < 16;) {
        field[n++] = p;
        p += strcspn(p, ";");
        if (!*p)
            break;
        *p++ = 0;
    }
    return n;
}

/* 0041;LATIN CAPITAL LETTER A;Lu;...   A range takes two lines: <..., First> and <..., Last>. */
static void read_characters(const char *path)
{
    FILE *f = open_or_die(path, "r");
    char line[1024], *field[16];
    unsigned long code, first = 0;
    long seen = 0;
    for (; fgets(line, sizeof line, f); seen++) {
        if (cut(line, field) < 14 || (code = strtoul(field[0], NULL, 16)) >= CODES ||
            strlen(field[5]) >= sizeof mapping[0])
            die("bad line in", path);
        const char *c = field[2];
        unsigned long from = strstr(field[1], ", Last>") ? first : code;
        if (strstr(field[1], ", First>")) {
            first = code;
            continue;
        }
        if (c[0] == 'L' || c[0] == 'N')
            set(class_of, from, code, c[0] == 'L' ? LETTER : NUMBER, path);
        if (c[0] == 'L' || c[0] == 'M' || !strcmp(c, "Nd") || !strcmp(c, "Nl") || !strcmp(c, "Pc"))
            set(word, from, code, 1, path);
        combining[code] = (unsigned char)strtoul(field[3], NULL, 10);
        strcpy(mapping[code], field[5]);
        lower_of[code] = (uint32_t)strtoul(field[13], NULL, 16);
    }
    if (seen < 1000)
        die("hardly any characters in", path);
    fclose(f);
}

/* 0009..000D    ; White_Space # ...     or one code point without the dots */
static void read_property(const char *path, const char *wanted, unsigned char *of, int kind)
{
    FILE *f = open_or_die(path, "r");
    char line[1024];
    long seen = 0;
    while (fgets(line, sizeof line, f)) {
        char *semicolon = strchr(line, ';'), *dots = strstr(line, "..");
        char property[64];
        if (line[0] == '#' || !semicolon || sscanf(semicolon, "; %63[A-Za-z_]", property) != 1 ||
            strcmp(property, wanted) != 0)
            continue;
        unsigned long lo = strtoul(line, NULL, 16);
        set(of, lo, dots && dots < semicolon ? strtoul(dots + 2, NULL, 16) : lo, kind, path);
        seen++;
    }
    if (!seen)
        die("a property is missing in", path);
    fclose(f);
}

/* Walks the ranges in order: prints the field `what` of each ('s'tart, 'l'ength, or nothing) and
 * returns their number. */
static int ranges(FILE *f, int what)
{
    int count = 0;
    for (uint32_t lo = 0, hi; lo < CODES; lo = hi) {
        int kind = class_of[lo];
        for (hi = lo; hi < CODES && class_of[hi] == kind; hi++)
            if (kind != OTHER && hi - lo >= LONGEST)
                break;
        if (kind == OTHER)
            continue;
        const char *end = ++count % 8 ? " " : "\n    ";
        if (what == 's')
            fprintf(f, "0x%x,%s", (unsigned)(lo << 2 | (uint32_t)kind), end);
        else if (what == 'l')
            fprintf(f, "%u,%s", (unsigned)(hi - lo), end);
    }
    return count;
}

static void write_words(FILE *f)
{
    int count = 0;
    fprintf(f, "static const uint32_t bn_uni_word[][2] = {\n    ");
    for (uint32_t lo = 0, hi; lo < CODES; lo = hi + 1) {
        for (hi = lo; hi < CODES && word[hi]; hi++)
            ;
        if (hi > lo)
            fprintf(f, "{0x%x, %u},%s", (unsigned)lo, (unsigned)(hi - lo),
                    ++count % 6 ? " " : "\n    ");
    }
    fprintf(f, "};\nenum { BN_UNI_WORDS = %d };\n", count);
}

static void write_tables(FILE *f)
{
    fprintf(f,
            "/* unicode_tables.h: generated by tools/unicode.c, which explains it. */\n"
            "#ifndef BN_UNICODE_TABLES_H\n#define BN_UNICODE_TABLES_H\n"
            "#include <stdint.h>\n"
            "enum { BN_UNI_OTHER = %d, BN_UNI_LETTER = %d, BN_UNI_NUMBER = %d, "
            "BN_UNI_SPACE = %d, BN_UNI_RANGES = %d };\n",
            OTHER, LETTER, NUMBER, SPACE, ranges(f, 0));
    fprintf(f, "static const unsigned char bn_uni_ascii[128] = {\n    ");
    for (int i = 0; i < 128; i++)
        fprintf(f, "%d,%s", class_of[i], i % 32 == 31 ? "\n    " : " ");
    fprintf(f, "};\nstatic const uint32_t bn_uni_start[BN_UNI_RANGES] = {\n    ");
    ranges(f, 's');
    fprintf(f, "};\nstatic const uint16_t bn_uni_length[BN_UNI_RANGES] = {\n    ");
    ranges(f, 'l');
    fprintf(f, "};\n");
    write_words(f);
    fprintf(f, "#endif\n");
}

static void write_mappings(FILE *f)
{
    fprintf(f,
            "static const struct {\n    uint32_t code;\n    int compat;\n    uint32_t to[%d]; /* 0 "
            "ends them */\n} uni_mapping[] = {\n",
            MOST + 1);
    for (uint32_t c = 0; c < CODES; c++) {
        char *p = mapping[c];
        int compat = *p == '<', n = 0;
        if (!*p)
            continue;
        fprintf(f, "    {0x%x, %d, {", (unsigned)c, compat);
        for (p += compat ? strcspn(p, ">") + 1 : 0; *p; n++)
            fprintf(f, "0x%lx,%s", strtoul(p, &p, 16), *p ? " " : "");
        if (n < 1 || n > MOST)
            die("a mapping of a length that was not expected", "");
        fprintf(f, "}},\n");
    }
    fprintf(f, "};\n");
}

/* (code point, value) rows of those that have one. */
static void write_values(FILE *f, const char *name, uint32_t (*value)(uint32_t))
{
    int count = 0;
    fprintf(f, "static const uint32_t %s[][2] = {\n    ", name);
    for (uint32_t c = 0; c < CODES; c++)
        if (value(c))
            fprintf(f, "{0x%x, 0x%x},%s", (unsigned)c, (unsigned)value(c),
                    ++count % 6 ? " " : "\n    ");
    fprintf(f, "};\n");
}

static uint32_t combining_class(uint32_t c)
{
    return combining[c];
}

static uint32_t lower_case(uint32_t c)
{
    return lower_of[c];
}

/* Canonical pairs that composition must not make. */
static uint32_t is_excluded(uint32_t c)
{
    return excluded[c];
}

static void write_normal(FILE *f)
{
    fprintf(f, "/* unicode_normal.h: generated by tools/unicode.c, which explains it. */\n"
               "#ifndef UNICODE_NORMAL_H\n#define UNICODE_NORMAL_H\n#include <stdint.h>\n");
    write_mappings(f);
    write_values(f, "uni_class", combining_class);
    write_values(f, "uni_lower", lower_case);
    write_values(f, "uni_excluded", is_excluded);
    fprintf(f, "#endif\n");
}

static const char *in_folder(const char *folder, const char *file)
{
    static char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path)
        die("too long a path:", folder);
    return path;
}

static void write_file(const char *path, void (*write)(FILE *))
{
    FILE *f = open_or_die(path, "w");
    write(f);
    if (fflush(f) || ferror(f) || fclose(f))
        die("cannot write", path);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: unicode FOLDER TABLES.h", "NORMAL.h");
    read_characters(in_folder(argv[1], "UnicodeData.txt"));
    const char *list = in_folder(argv[1], "PropList.txt");
    read_property(list, "White_Space", class_of, SPACE);
    read_property(list, "Other_Alphabetic", word, 1);
    read_property(list, "Join_Control", word, 1);
    list = in_folder(argv[1], "DerivedNormalizationProps.txt");
    read_property(list, "Full_Composition_Exclusion", excluded, 1);
    write_file(argv[2], write_tables);
    write_file(argv[3], write_normal);
    return 0;
}
