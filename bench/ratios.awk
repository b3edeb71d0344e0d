# ratios.awk: pairs.tsv (peer threads kind size pair ours theirs) to a table or JSON of ratios.

function list(x, n,   i, s) {
    for (i = 1; i <= n; i++) s = s sprintf("%s%.2f", (i > 1 ? (json ? "," : " ") : ""), x[i])
    return s
}
function flush_case(   inorder) {
    if (!n) return
    inorder = list(r, n)
    a = median(ours, n)
    b = median(theirs, n)
    m = median(r, n)
    if (json)
        printf "%s\n{\"peer\":\"%s\",\"threads\":%d,\"what\":\"%s\",\"size\":%d,\"ours\":%.2f,\"theirs\":%.2f,\"ratio\":%.3f,\"ratio_min\":%.3f,\"ratio_max\":%.3f,\"pairs\":[%s]}",
            (rows++ ? "," : ""), peer, threads, kind, size, a, b, m, r[1], r[n], inorder
    else
        printf "%-10s %7d %-15s %9.1f %9.1f %7.2f  (%.2f to %.2f)  %s\n", peer, threads,
            (kind == "prefill" ? "prompt of " : "decode at ") size, a, b, m, r[1], r[n], inorder
    n = 0
}
BEGIN {
    if (json) printf "{\"model\":\"%s\",\"results\":[", model
    else printf "%s, tokens/s\n%-10s %7s %-15s %9s %9s %7s  (least to most)  pair by pair\n", model,
        "peer", "threads", "what", "ours", "theirs", "ratio"
}
{
    if ($1 FS $3 FS $4 != last) flush_case()
    last = $1 FS $3 FS $4
    peer = $1; threads = $2; kind = $3; size = $4
    n++
    ours[n] = $6
    theirs[n] = $7
    r[n] = $7 > 0 ? $6 / $7 : 0
}
END { flush_case(); if (json) print "]}" }
