# cases.awk: of a script, given twice, its head, end and the cases that `names` (see lib.sh) asks for;
# their names where it holds --list. Status 1 where none matches.
function begins(line) { # whether a case does; words: its name, "after" and the names of others
    if (line !~ /^# ---- .* ----$/)
        return 0
    sub(/^# ---- /, "", line)
    sub(/:.*| ----$/, "", line)
    nword = split(line, words, " ")
    return 1
}
FNR == NR && begins($0) && words[1] != "end" {
    order[++n] = words[1]
    for (i = 3; i <= nword; i++)
        after[words[1]] = after[words[1]] " " words[i]
}
FNR != NR && FNR == 1 {
    count = split(names, asked, " ")
    for (i = 1; i <= count; i++)
        for (k = 1; k <= n; k++)
            if (asked[i] == "--list")
                print order[k]
            else if (order[k] ~ asked[i])
                want[order[k]] = found = 1
    if (names ~ / --list/)
        exit 0
    if (!found) {
        printf "%s: no case matches%s; there are:", FILENAME, names >"/dev/stderr"
        for (k = 1; k <= n; k++)
            printf " %s", order[k] >"/dev/stderr"
        print "" >"/dev/stderr"
        exit 1
    }
    for (k = n; k > 0; k--) # those that a case comes after stand before it
        if (order[k] in want) {
            count = split(after[order[k]], asked, " ")
            for (i = 1; i <= count; i++)
                want[asked[i]] = 1
        }
    keep = 1
}
FNR != NR && begins($0) { keep = words[1] == "end" || words[1] in want }
FNR != NR && keep
