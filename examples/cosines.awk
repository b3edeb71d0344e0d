# Cosines of each two lines of vectors of length one, as `bnc embed` prints them.
{ for (i = 1; i <= NF; i++) v[NR, i] = $i; n = NF }
END {
    for (a = 1; a <= NR; a++)
        for (b = a + 1; b <= NR; b++) {
            sum = 0
            for (i = 1; i <= n; i++)
                sum += v[a, i] * v[b, i]
            printf "%d and %d: %.1f\n", a, b, sum
        }
}
