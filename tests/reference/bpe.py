"""bpe.py: byte-level BPE with special tokens, written from its description and not from bnc.

    python3 tests/reference/bpe.py MODEL.gguf <TEXT     the ids of an ASCII text, BOS first

Of the pre-tokenizer `llama-bpe` it has what ASCII needs, and refuses other text. Python's standard
library only.
"""
import re
import sys

from gguf import Gguf

# llama-bpe with \p{L} as [A-Za-z] and \p{N} as [0-9]: true of ASCII.
WORD = re.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}"
                  r"| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CONTROL = 3  # tokenizer.ggml.token_type


def letter(byte):
    """The printable letter that stands for a byte, as GPT-2 has it."""
    def plain(b):
        return 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b
    return chr(byte if plain(byte) else 256 + sum(not plain(b) for b in range(byte)))


class Bpe:
    def __init__(self, file):
        keys = file.keys
        assert keys["tokenizer.ggml.model"] == "gpt2" and keys["tokenizer.ggml.pre"] == "llama-bpe"
        self.tokens = keys["tokenizer.ggml.tokens"]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(keys["tokenizer.ggml.merges"])}
        self.special = {t: i for i, (t, kind) in enumerate(
            zip(self.tokens, keys["tokenizer.ggml.token_type"])) if kind == CONTROL}
        self.bos = keys["tokenizer.ggml.bos_token_id"]
        self.ends = {keys["tokenizer.ggml.eos_token_id"], keys.get("tokenizer.ggml.eot_token_id")}
        self.letters = [letter(b) for b in range(256)]

    def word(self, text):
        parts = [self.letters[b] for b in text.encode()]
        while len(parts) > 1:
            pair = min(zip(parts, parts[1:]), key=lambda p: self.rank.get(p, len(self.rank)))
            if pair not in self.rank:
                break
            out, i = [], 0
            while i < len(parts):
                n = 2 if tuple(parts[i:i + 2]) == pair else 1
                out.append("".join(parts[i:i + n]))
                i += n
            parts = out
        return [self.ids[p] for p in parts]

    def plain(self, text):
        assert text.isascii(), "not ASCII"
        words = WORD.findall(text)
        assert "".join(words) == text
        return [i for w in words for i in self.word(w)]

    def encode(self, text, special=False):
        """BOS and the ids of text; special: texts of special tokens become these."""
        ids = [self.bos]
        pattern = "|".join(re.escape(t) for t in self.special)
        for piece in re.split("(%s)" % pattern, text) if special else [text]:
            ids += [self.special[piece]] if special and piece in self.special else self.plain(piece)
        return ids

    def decode(self, ids):
        """Text of plain tokens; special ones say nothing."""
        byte = {c: b for b, c in enumerate(self.letters)}
        return bytes(byte[c] for i in ids if self.tokens[i] not in self.special
                     for c in self.tokens[i]).decode()


if __name__ == "__main__":
    print(*Bpe(Gguf(sys.argv[1])).encode(sys.stdin.read()))
