"""seeds.py: the seeds of the fuzz targets tokenizer_json and tokenizer_model, small vocabularies.

    python3 tests/tokenizers/seeds.py tests/fuzz/seeds
"""
import json
import os
import sys

from make import *


def small(normalizer, pre, level):
    words = [MARK + "a", "ab", MARK * 2] if not level else ["ab", "\u0120a"]
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 3, MARK: 4, "a": 5, "b": 6, "\u0120": 7}
    merges = chain(vocab, words)
    return tokenizer(vocab, merges, EXTRA[2:], normalizer, pre, None, unk_token="<unk>", byte_fallback=not level)


LEVEL = {"type": "ByteLevel", "add_prefix_space": False}
MODELS = {"rules": dict(rules={"a\u0301": "\u00e1", "\ufb01": "fi", "\u200b": "", "\t": " "}, squeeze=True),
          "user": dict(user=("<a>", MARK * 2)), "suffix": dict(suffix=True)}


def put(name, data):
    path = os.path.join(sys.argv[1], name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def small_model(rules=None, user=(), squeeze=False, suffix=False):
    out = b""
    for text, kind in [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL), *((u, USER) for u in user),
                       ("<0x0A>", BYTE), (MARK + "a", NORMAL), (MARK, NORMAL), ("a", NORMAL)]:
        out += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", -1.0) + flag(3, kind))
    spec = (field(2, charsmap(rules)) if rules else b"") + flag(3, True) + flag(4, squeeze)
    return out + field(2, flag(3, 2) + flag(24, suffix)) + field(3, spec)


for name, t in {"legacy": small(sequence(PREPEND, REPLACE), None, False),
                "first": small(None, metaspace("first", False), False),
                "split": small({"type": "Lowercase"}, metaspace("always", True), False),
                "nfkc": small(sequence("NFKC", PREPEND, REPLACE), None, False),
                "level": small({"type": "NFC"}, LEVEL, True),
                "strip": small({"type": "Strip", "strip_left": True, "strip_right": False}, LEVEL, True),
                "replace": small({"type": "Replace", "pattern": {"String": "ab"}, "content": "ba "}, LEVEL, True)}.items():
    if name == "level":
        t["added_tokens"] = t["added_tokens"][:4]
        t["tokenizer_config.json"] = {"eos_token": "<e>", "added_tokens_decoder": {"30": added(30, "<d>", False)}}
        t["generation_config.json"] = {"eos_token_id": [1, 2]}
        t["added_tokens.json"] = {"<f>": 40}
        t["chat_template.json"] = {"chat_template": [{"name": "default", "template": "x"}]}
    put("tokenizer_json/" + name, json.dumps(t, ensure_ascii=False).encode())
for name, kw in MODELS.items():
    put("tokenizer_model/" + name, small_model(**kw))
