# plot.awk: results.tsv as an SVG: one panel a model; a bar for each measurement, as long as its
# tokens a second (logarithmic), with a whisker from the least to the most.

function xml(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); return s }
function place(v) { return LEFT + (log(v) / log(10) - low) / (high - low) * WIDTH }
function line(x1, y1, x2, y2, colour) {
    printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour
}
function label(x, y, anchor, s) {
    printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, xml(s)
}
BEGIN { LEFT = 190; WIDTH = 520; ROW = 18; low = 99; high = -99 }
$6 > 0 {
    n++
    for (i = 1; i <= 7; i++) v[n, i] = $i
    if (log($6) / log(10) < low) low = log($6) / log(10)
    if (log($7) / log(10) > high) high = log($7) / log(10)
    if ($1 != last) panels++
    last = $1
}
END {
    low = int(low + 100) - 100
    high = int(high + 1)
    tall = 40 + n * ROW + panels * 34 + 30
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" ", LEFT + WIDTH + 90, tall
    print "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    label(LEFT, 20, "start", "tokens a second, median, least to most (" cpu ")")
    for (k = low; k <= high; k++) {
        line(place(10 ^ k), 32, place(10 ^ k), tall - 26, "#dddddd")
        label(place(10 ^ k), tall - 10, "middle", 10 ^ k)
    }
    y = 32
    for (i = 1; i <= n; i++) {
        if (v[i, 1] != shown) {
            shown = v[i, 1]
            y += 34
            label(10, y - 8, "start", shown)
        }
        label(LEFT - 8, y + 12, "end", (v[i, 3] == "prefill" ? "prompt of " : "decode at ") v[i, 4] ", " v[i, 2] (v[i, 2] > 1 ? " threads" : " thread"))
        printf "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", LEFT, y + 2,
            place(v[i, 5]) - LEFT, ROW - 5, (v[i, 3] == "prefill" ? "#8fb8de" : "#e0a458")
        line(place(v[i, 6]), y + 8, place(v[i, 7]), y + 8, "#333333")
        label(place(v[i, 7]) + 6, y + 12, "start", sprintf("%.*f", v[i, 5] < 100, v[i, 5]))
        y += ROW
    }
    print "</svg>"
}
