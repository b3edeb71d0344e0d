# stats.awk: what the bench scripts share; before their own program: awk -f stats.awk -f ...

# median(x, n): sorts x[1..n], so that x[1] and x[n] are the spread.
function median(x, n,   i, j, v) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && x[j - 1] > x[j]; j--) { v = x[j]; x[j] = x[j - 1]; x[j - 1] = v }
    return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2
}

# number(text, key): the number that stands behind "key": in a JSON text; "" where none does.
function number(text, key,   at) {
    at = index(text, "\"" key "\":")
    if (!at) return ""
    text = substr(text, at + length(key) + 3)
    sub(/^ */, "", text)
    sub(/[^-0-9.eE+].*/, "", text)
    return text
}
