"""compare.py: bnc's ids of the texts of a checkpoint against those of others.

    python3 tests/tokenizers/compare.py NAME EXPECTED.json IDS

IDS is what ids.c printed. Prints every difference; exit status 1 where there is one.

Where @huggingface/tokenizers 0.2.0 departs from the tokenizers that it follows (Rust, whose
added_vocabulary.rs and metaspace.rs say how), OWN has the right ids. It ignores single_word and Metaspace's
split; it puts the space of the scheme "first" behind tokens found in the normalized text, too; and it strips
U+FEFF, which is no White_Space.
"""
import json
import sys

from make import JSON, MARK, texts_of

name, expected, ids = sys.argv[1:]


def vocabulary():
    t = JSON[name]
    return dict(t["model"]["vocab"], **{a["content"]: a["id"] for a in t["added_tokens"]})


def own(text, want):
    """The right ids of a text, given those of @huggingface/tokenizers."""
    v, text = vocabulary(), text.decode()
    if text in ("xx<w>xx", "_<w>", "\u00e9<w>"):  # letters and the underscore touch it: no token
        at = want.index(v["<w>"])
        tail = {"xx<w>xx": [v["xx"]]}.get(text, [])
        return want[:at] + [v["<"], v["w"], v[">"]] + tail
    if "split" in name and MARK * 2 in v:  # no token of two marks
        pieces = {v[MARK * k]: k for k in (2, 3, 4)}
        return [x for i in want for x in ([v[MARK]] * pieces[i] if i in pieces else [i])]
    if name == "spm-nfc-first" and text in ("<n>\u0301", "a<n>b"):
        return [i for k, i in enumerate(want) if not (k and i == v[MARK])]
    if name == "bpe-strip" and text == "\ufeffa":
        return list("\ufeffa".encode())
    return want


with open(expected) as f:
    want = json.load(f)[name]
with open(ids) as f:
    got = [json.loads(line) if line.endswith("]\n") else line for line in f]
texts = texts_of(name)
if name in JSON:
    want = [own(t, w) for t, w in zip(texts, want)]
bad = [i for i in range(max(len(want), len(got), len(texts)))
       if not i < len(want) == len(got) == len(texts) or want[i] != got[i]]
for i in bad:
    print(repr(texts[i:i + 1]), "expected", want[i:i + 1], "got", got[i:i + 1])
sys.exit(bool(bad))
