# table.awk: results.tsv for people.

$1 != model {
    model = $1
    printf "\n%s: program %.2f MB, weights %.1f MB\n", model, $13 / 1e6, $14 / 1e6
    printf "  %-7s %-14s %10s %-21s %9s %7s %7s %9s %9s\n", "threads", "what", "tokens/s",
        "(least to most)", "MB/token", "GB/s", "of read", "peak MB", "first ms"
}
{
    what = $3 == "prefill" ? "prompt of " $4 : "decode at " $4
    spread = sprintf("(%.*f to %.*f)", $5 < 100, $6, $5 < 100, $7)
    printf "  %-7d %-14s %10.*f %-21s", $2, what, $5 < 100, $5, spread
    if ($3 == "decode") printf " %9.1f %7.1f %6.0f%%", $8 / 1e6, $9, 100 * $10
    else printf " %9s %7s %7s", "", "", ""
    printf " %9.0f %9.1f\n", $11 / 1e6, $12
}
