# rows.awk: the JSON of one --bench to rows of results.tsv. Reads three files: traffic, readbw.txt
# and that JSON. A decode of n tokens after context c reads the cache of c + n/2 positions on
# average. A prompt's bytes and share are not given: its work is arithmetic.

FNR == 1 { file++ }
file == 1 { weights = $1; cache = $2 }
file == 2 { memory[$1] = $2 }
file == 3 {
    all = $0
    threads = number(all, "threads")
    while (match($0, /[{]"(tokens|context)":[0-9]+,"tps":[[][0-9.,]*/)) {
        one = substr($0, RSTART, RLENGTH)
        $0 = substr($0, RSTART + RLENGTH)
        kind = one ~ /^."tokens/ ? "prefill" : "decode"
        size = number(one, kind == "prefill" ? "tokens" : "context")
        sub(/.*[[]/, "", one)
        n = split(one, x, ",")
        for (i = 1; i <= n; i++) x[i] += 0
        m = median(x, n)
        read = kind == "decode" ? weights + cache * (size + tokens / 2) : 0
        rate = read * m / 1e9
        printf "%s\t%d\t%s\t%d\t%.2f\t%.2f\t%.2f\t%.0f\t%.2f\t%.3f\t%.0f\t%.2f\t%d\t%.0f\n", model,
            threads, kind, size, m, x[1], x[n], read, rate,
            memory[threads] ? rate / memory[threads] : 0, number(all, "peak_rss"),
            number(all, "first_token_ms"), bytes, number(all, "weight_bytes")
    }
}
