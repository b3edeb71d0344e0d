/* cli_options.h: the options of a compiled model's command line: one list for cli.c and for bnc, whose
 * `bnc run` takes them too, and `bnc chat` those of sampling, S. --help stands behind them in both.
 *
 * O(ID, field, letter, name, KIND, least, most, initial, VALUE, what)
 *   field    what bnc calls the value, of a KIND of compiler/driver/options.h
 *   letter   of the short form, or 0
 *   least, most, initial   of a number; initial: where it is not given
 *   VALUE    what stands for the value in a help text; NULL: a flag
 */
#ifndef BN_CLI_OPTIONS_H
#define BN_CLI_OPTIONS_H

enum { CLI_BENCH_TIMES = 64 }; /* repetitions of --bench, at most */

/* clang-format off */
#define CLI_OPTIONS(O, S)                                                                          \
    O(PROMPT,        prompt,         'p', "prompt",            TEXT,    0, 0,               0,    "TEXT", \
      "what to continue; - reads standard input")                                                  \
    O(TOKENS,        tokens,         'n', "tokens",            NUMBER,  0, INT32_MAX,       128,  "N", \
      "how many tokens to write (128)")                                                            \
    S(TEMPERATURE,   temperature,    0,   "temp",              REAL,    0, 1e6,             0.8,  "F", \
      "temperature, 0 for the likeliest (0.8)")                                                    \
    S(TOP_K,         top_k,          0,   "top-k",             NUMBER,  0, INT32_MAX,       40,   "N", \
      "choose among the N likeliest, 0: all (40)")                                                 \
    S(TOP_P,         top_p,          0,   "top-p",             REAL,    0, 1,               0.95, "F", \
      "choose among those of mass F, 0: all (0.95)")                                               \
    S(MIN_P,         min_p,          0,   "min-p",             REAL,    0, 1,               0,    "F", \
      "drop those below F of the likeliest (0)")                                                   \
    S(PENALTY,       repeat_penalty, 0,   "repeat-penalty",    REAL,    0, 1e6,             0,    "F", \
      "against recent tokens, such as 1.1 (0: none)")                                              \
    S(SEED,          seed,           0,   "seed",              SEED,    0, 0,               1,    "N", \
      "the same seed writes the same text (1)")                                                    \
    S(STOP,          stop,           0,   "stop",              TEXTS,   0, 0,               0,    "TEXT", \
      "end before this text; may be given again")                                                  \
    O(THREADS,       threads,        't', "threads",           NUMBER,  1, BN_MAX_THREADS,  0,    "N", \
      "threads (usable processors, at most 8)")                                                    \
    O(WEIGHTS,       weights,        'w', "weights",           FILE,    0, 0,               0,    "FILE", \
      "the .bnw (the one the model was built with)")                                               \
    O(COPY,          copy,           0,   "copy",              FLAG,    0, 0,               0,    NULL, \
      "read the weights into memory, map no file")                                                 \
    O(SPECIAL,       special,        0,   "special",           FLAG,    0, 0,               0,    NULL, \
      "read special tokens such as <s> in the prompt")                                             \
    O(IDS,           ids,            0,   "ids",               FILE,    0, 0,               0,    "FILE", \
      "token ids instead of a prompt; - reads stdin")                                              \
    O(STATS,         stats,          0,   "stats",             FLAG,    0, 0,               0,    NULL, \
      "print times to standard error")                                                             \
    O(SCORE,         score,          0,   "score",             FLAG,    0, 0,               0,    NULL, \
      "ids (from stdin): a line 'nll argmax' for each")                                            \
    O(LOGITS,        logits,         0,   "logits",            FLAG,    0, 0,               0,    NULL, \
      "--ids or the prompt: a line of logits for each")                                            \
    O(BENCH,         bench,          0,   "bench",             NUMBER,  1, INT32_MAX,       0,    "N", \
      "time prompts and N written tokens: JSON")                                                   \
    O(BENCH_PREFILL, bench_prefill,  0,   "bench-prefill",     NUMBERS, 1, INT32_MAX,       0,    "N,N", \
      "lengths of the prompts to time (64)")                                                       \
    O(BENCH_CONTEXT, bench_context,  0,   "bench-context",     NUMBERS, 1, INT32_MAX,       0,    "N,N", \
      "tokens that stand before the written ones (64)")                                            \
    O(BENCH_REPEAT,  bench_repeat,   0,   "bench-repeat",      NUMBER,  1, CLI_BENCH_TIMES, 1,    "N", \
      "how often each (1)")                                                                        \
    O(INFO,          info,           0,   "info",              FLAG,    0, 0,               0,    NULL, \
      "what the model says of itself: JSON")
/* clang-format on */

#endif
