# traffic.awk: what one decode step reads, from the planned text of a model
# (bnc MODEL --print-after=plan): "weights cache_per_position", in bytes. With -v after=lm_head, or =topk,
# that function's too. Every weight that an op takes counts whole, but for the embedding, of which a
# step reads one row, and the matrix beside a screen's copy, of which it reads a few; the KV cache
# counts by position.

/^dim C = / { context = $4 }
/^weight @/ || /^state @/ {
    count = match($0, /\[[0-9]+\]/) ? substr($0, RSTART + 1, RLENGTH - 2) : 1
    match($0, /stride = [0-9]+/)
    bytes = substr($0, RSTART + 9, RLENGTH - 9) * count
    if ($1 == "state") cache += bytes
    else size[substr($2, 2)] = bytes
}
/^func / { inside = /^func @decode\(/ || (after && index($0, "func @" after "(") == 1) }
/ = screen / { sub(/@[A-Za-z_0-9]+, /, "") }
inside && /= [a-z_0-9]+ / && !/ = embed / {
    n = split($0, word, /[^A-Za-z_0-9@]+/)
    for (i = 1; i <= n; i++)
        if (word[i] ~ /^@/) read[substr(word[i], 2)] = 1
}
END {
    for (w in read) weights += size[w]
    printf "%.0f %.0f\n", weights, context ? cache / context : 0
}
