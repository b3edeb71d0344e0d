"""make.py: small checkpoints whose tokenizers differ in one thing each, and the texts to try them on.

    python3 tests/tokenizers/make.py FOLDER

FOLDER/NAME is a checkpoint of one layer; expected.json beside this file has the ids of every text by
others: @huggingface/tokenizers (tokenizer.json; by expected.mjs) and sentencepiece (tokenizer.model; by
expected_spm.py). Python's standard library only.
"""
import json
import os
import struct
import sys
import unicodedata

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
MARK = "\u2581"
WIDTH, FFN = 128, 128

# Runs of spaces, first, last; tabs, line ends; no-break and ideographic spaces, zero width; marks;
# half-width kana; ligatures; emoji with joiners; Hangul; long decompositions; special tokens.
TEXTS = [
    "", " ", "  ", "   ", "hello", " hello", "  hello", "hello ", "hello  ", "hello world", "hello  world",
    "hello   world", "  hello  world  ", "hello\tworld", "\thello", "hello\nworld", "\n", "\n\n hello", "hello\r\nworld",
    "\r\n", "a\u00a0b", "\u00a0a", "a\u3000b", "\u3000", "a\u200bb", "\u200b", "\ufeffa", "a\u2028b", "a\u0085b",
    "e\u0301", "\u00e9", "caf\u00e9 cafe\u0301", "a\u0301\u0323", "a\u0323\u0301", "\u0301a", "\u1e9b\u0323", "\u03d3",
    "\uff76\uff9e\uff85", "\uff21\uff22\uff11", "\ufb01ne of\ufb03ce", "\u2460\u00bd", "\ufdfa", "\u2126\u212b",
    "\ud55c\uae00", "\u1112\u1161\u11ab", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f642", "HELLO World",
    "\u0130\u00c9", "don't", "1234", "a.b,c!", MARK, MARK + "hello", "hello" + MARK + "world", "<s>hello", "hello</s>",
    "<s> hello", "<|a|>hello", "<|a|> hello", "hello<|a|>", "hello <|a|> world", "<|a|><|b|>", "<|l|>x", "x  <|l|>x",
    "x <|r|>  y", "x<|r|>\n\ny", "x \n<|lr|>\t y", "<|r|> <|l|>", "<think>hello</think>", " <think> hello", "xx<w>xx",
    "xx <w> xx", "<w>", "_<w>", "\u00e9<w>", "<n>\u0301", "a<n>b", "a <n> b", "<N>", "e\u0301<n>", "hello <|r|>",
    "a<code>b", "<code>", " <code> x", "a  <code>  b",
]
INVALID = [b"\xff", b"a\x80b", b"\xe2\x82", b"\xf0\x9f\x99", b"\xed\xa0\x80x", b"hello \xc3 world"]


def added(i, text, special=True, **flags):
    return dict({"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": not special, "special": special}, **flags)


EXTRA = [("<|a|>", {}), ("<|b|>", {}), ("<|l|>", {"lstrip": True}), ("<|r|>", {"rstrip": True}),
         ("<|lr|>", {"lstrip": True, "rstrip": True}),
         ("<think>", {"special": False, "normalized": False}),
         ("<w>", {"special": False, "single_word": True, "normalized": False}), ("<n>", {"special": False})]


def alphabet():
    plain = [b for b in range(256) if 32 < b < 127 or 160 < b != 173 and b < 256]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def chain(vocab, words):
    """Merges that make each word from left to right."""
    merges = []
    for w in words:
        for k in range(1, len(w)):
            if w[:k + 1] not in vocab:
                vocab[w[:k + 1]] = len(vocab)
                merges.append([w[:k], w[k]])
    return merges


def tokenizer(vocab, merges, extra, normalizer, pre, decoder, **model):
    n = len(vocab)
    base = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")] if "<unk>" in vocab else []
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": normalizer, "pre_tokenizer": pre,
            "added_tokens": base + [added(n + i, t, **f) for i, (t, f) in enumerate(extra)],
            "post_processor": None, "decoder": decoder,
            "model": dict({"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                           "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                           "ignore_merges": False, "vocab": vocab, "merges": merges}, **model)}


def bpe(normalizer, extra=EXTRA):
    m = alphabet()
    vocab = {m[b]: i for i, b in enumerate(range(256))}
    words = ["hello", " hello", "world", " world", "  ", "    ", "\u00e9", "e\u0301", "\uac00", "xx", " \n", "caf\u00e9"]
    merges = chain(vocab, ["".join(m[b] for b in w.encode()) for w in words])
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
    return tokenizer(vocab, merges, extra, normalizer, {"type": "Sequence", "pretokenizers": [split, level]}, level)


SPM_WORDS = [MARK + "hello", "hello", MARK + "world", "world", MARK * 2, MARK * 4, MARK + "x", "xx", "\u00e9", "caf\u00e9"]
SPM_CHARS = MARK + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?:;|/<>_\u00e9\u0301\uac00\n"


def spm(normalizer, pre, extra=EXTRA):
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for b in range(256):
        vocab["<0x%02X>" % b] = len(vocab)
    for c in SPM_CHARS:
        vocab.setdefault(c, len(vocab))
    merges = chain(vocab, SPM_WORDS)
    return tokenizer(vocab, merges, extra, normalizer, pre, None, unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def sequence(*parts):
    return {"type": "Sequence", "normalizers": [{"type": p} if isinstance(p, str) else p for p in parts]}


PREPEND = {"type": "Prepend", "prepend": MARK}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": split}


JSON = {  # name: tokenizer.json
    "bpe-plain": bpe(None),
    "bpe-nfc": bpe({"type": "NFC"}),
    "bpe-nfd": bpe({"type": "NFD"}),
    "bpe-nfkc": bpe(sequence("NFKC")),
    "bpe-nfkd": bpe(sequence("NFKD")),
    "bpe-lower": bpe(sequence("NFC", "Lowercase")),
    "bpe-strip": bpe({"type": "Strip", "strip_left": True, "strip_right": True}),
    "bpe-replace": bpe({"type": "Replace", "pattern": {"String": "hello"}, "content": "world, world"}),
    "spm-legacy": spm(sequence(PREPEND, REPLACE), None),
    "spm-replace": spm(REPLACE, None),
    "spm-nfkc": spm(sequence("NFKC", PREPEND, REPLACE), None),
    "spm-first": spm(None, metaspace("first", False)),
    "spm-first-split": spm(None, metaspace("first", True)),
    "spm-always": spm(None, metaspace("always", False)),
    "spm-always-split": spm(None, metaspace("always", True)),
    "spm-never": spm(None, metaspace("never", False)),
    "spm-nfc-first": spm({"type": "NFC"}, metaspace("first", False)),
}

# ---- tokenizer.model ----

NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, raw):
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def flag(number, on):
    return varint(number << 3) + varint(int(on))


def double_array(rules):
    """The units of a darts-clone trie over sorted (key, value)."""
    units, used = [0] * 256, [False] * 256
    used[0] = True
    bases = set()  # one node's each

    def place(node, keys, depth):
        groups = {}
        for k, v in keys:
            groups.setdefault(k[depth] if depth < len(k) else 0, []).append((k, v))
        base = 0
        while True:  # the labels' units must be free; the offset is base ^ node
            base += 1
            while base + 256 > len(units):
                units.extend([0] * 256)
                used.extend([False] * 256)
            if base not in bases and all(not used[base ^ c] for c in groups) and base ^ node < 1 << 21:
                break
        bases.add(base)
        units[node] |= (base ^ node) << 10
        for c in groups:
            used[base ^ c] = True
        for c, group in groups.items():
            if c == 0:
                units[node] |= 1 << 8
                units[base] = group[0][1] | 1 << 31
            else:
                units[base ^ c] = c
        for c, group in groups.items():
            if c:
                place(base ^ c, group, depth + 1)

    place(0, rules, 0)
    return struct.pack("<%dI" % len(units), *units)


def charsmap(rules):
    texts, at = b"", {}
    for to in rules.values():
        if to not in at:
            at[to] = len(texts)
            texts += to.encode() + b"\0"
    keys = sorted((k.encode(), at[v]) for k, v in rules.items())
    trie = double_array(keys)
    return struct.pack("<I", len(trie)) + trie + texts


def nmt_nfkc():
    """A part of SentencePiece's nmt_nfkc: what the texts need of it, by Python's own NFKC."""
    rules = {}
    for c in [*range(0xa0, 0x250), *range(0x2000, 0x2070), *range(0x2100, 0x2200), *range(0x2460, 0x2500), 0x3000,
              *range(0xfb00, 0xfb07), 0xfdfa, *range(0xff01, 0xffa0), 0x1e9b, 0x3d3]:
        text = unicodedata.normalize("NFKC", chr(c))
        if text != chr(c):
            rules[chr(c)] = text
    for base in "aeiouAEIOU":
        for mark in "\u0301\u0323\u0300":
            rules[base + mark] = unicodedata.normalize("NFKC", base + mark)
    rules["\uff76\uff9e"] = "\u30ac"
    for c in "\t\n\r\u2028\u0085\ufeff":
        rules[c] = " "
    rules["\u200b"] = ""
    return rules


def model(rules=None, prefix=True, squeeze=False, suffix=False, user=(), escape=True):
    pieces = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL)] + [(t, 0, USER) for t in user]
    pieces += [("<0x%02X>" % b, 0, BYTE) for b in range(256)]
    words, vocab = [], {}
    chain(vocab, [w[::-1] if suffix else w for w in SPM_WORDS])
    for w in vocab:
        if len(w) > 1 and w not in words and w not in user:
            words.append(w)
    pieces += [(w, -float(i), NORMAL) for i, w in enumerate(words)]
    chars = [c for c in dict.fromkeys(SPM_CHARS + "\u30ac") if c not in user]
    pieces += [(c, -float(len(words) + i), NORMAL) for i, c in enumerate(chars)]
    out = b""
    for text, score, kind in pieces:
        out += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + flag(3, kind))
    trainer = flag(3, 2) + flag(35, True) + (flag(24, True) if suffix else b"")
    spec = field(1, b"own") + (field(2, charsmap(rules)) if rules else b"")
    spec += flag(3, prefix) + flag(4, squeeze) + flag(5, escape)
    return out + field(2, trainer) + field(3, spec), len(pieces)


def model_of(t):
    """A tokenizer.model of the same vocabulary, with a character map that tokenizer.json does not have."""
    rank = {"".join(m): i for i, m in reversed(list(enumerate(t["model"]["merges"])))}
    out = b""
    for text, i in t["model"]["vocab"].items():
        kind = UNKNOWN if i == 0 else CONTROL if i < 3 else BYTE if i < 259 else NORMAL
        score = -float(rank.get(text, len(rank)))
        out += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + flag(3, kind))
    return out + field(2, flag(3, 2)) + field(3, field(2, charsmap(nmt_nfkc())) + flag(4, True))


MODEL = {  # name: tokenizer.model and its pieces
    "model-plain": model(),
    "model-noprefix": model(prefix=False),
    "model-squeeze": model(squeeze=True),
    "model-squeeze-noprefix": model(squeeze=True, prefix=False),
    "model-nmt": model(nmt_nfkc()),
    "model-nmt-squeeze": model(nmt_nfkc(), squeeze=True),
    "model-suffix": model(suffix=True),
    "model-suffix-squeeze": model(nmt_nfkc(), squeeze=True, suffix=True),
    "model-user": model(user=("<code>", "<think>", MARK * 2)),
    "model-user-nmt": model(nmt_nfkc(), squeeze=True, user=("<code>", "<think>", "\u00bd")),
}

# ---- the folder ----


def save(path, tensors):
    head, data, at = {}, [], 0
    for name, (shape, value) in tensors.items():
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        raw = (struct.pack("<ee", value, -value) * (n // 2 + 1))[:2 * n]
        head[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def checkpoint(dir, files, vocab, **config):
    os.makedirs(dir, exist_ok=True)
    c = {"architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": WIDTH, "intermediate_size": FFN,
         "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 64,
         "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "vocab_size": vocab}
    c.update(config)
    t = {"model.embed_tokens.weight": ([vocab, WIDTH], 0.5), "model.norm.weight": ([WIDTH], 1)}
    p = "model.layers.0."
    for name in ("input_layernorm", "post_attention_layernorm"):
        t[p + name + ".weight"] = ([WIDTH], 1)
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                 "mlp.up_proj", "mlp.down_proj"):
        t[p + name + ".weight"] = ([WIDTH, WIDTH], 0.125)
    save(os.path.join(dir, "model.safetensors"), t)
    files = dict({"config.json": c}, **files)
    for name, data in files.items():
        if not isinstance(data, bytes):
            data = (data if isinstance(data, str) else json.dumps(data)).encode()
        with open(os.path.join(dir, name), "wb") as f:
            f.write(data)


def size(t):
    return len(t["model"]["vocab"]) + len(t["added_tokens"]) - (3 if "<unk>" in t["model"]["vocab"] else 0)


def texts_of(name):
    """The texts of a checkpoint, as bytes: SentencePiece takes any."""
    return [t.encode() for t in TEXTS] + (INVALID if name.startswith("model-") and "nmt" in name else [])


def write_texts(path, texts):
    with open(path, "wb") as f:
        for t in texts:
            f.write(b"%d\n" % len(t) + t)


def main(dir):
    os.makedirs(dir, exist_ok=True)
    for name, t in JSON.items():
        checkpoint(os.path.join(dir, name), {"tokenizer.json": t, "tokenizer_config.json": {}}, size(t))
        write_texts(os.path.join(dir, name, "texts"), texts_of(name))
    for name, (data, n) in MODEL.items():
        checkpoint(os.path.join(dir, name), {"tokenizer.model": data}, n)
        write_texts(os.path.join(dir, name, "texts"), texts_of(name))


if __name__ == "__main__":
    main(sys.argv[1])
