"""make_arch.py: small random models of the graphs that no shared model has, and what they compute.

    python3 tests/reference/make_arch.py OUTDIR        tests/arch-models holds what this writes

Four models NAME-i2_s.gguf with NAME.json for each: qwen3 (an output matrix of its own), gemma3, and
both with the gains of the BitNet embedding models, called *-norm-in. The same bytes on every run:
random numbers come from a generator of our own, results are rounded to 5 decimals. (The models on
every machine; the results where numpy adds in the same order.) Needs numpy.

A weight's magnitude and a gain are drawn apart for each tensor, so that two tensors that a reader
confuses give other logits.
"""
import json
import os
import struct
import sys

import numpy as np

from model import Model, pool

D, E, HEADS, VOCAB, CONTEXT, WINDOW = 128, 64, 4, 320, 64, 8
BOS, EOS = VOCAB - 2, VOCAB - 1
EPS = 0.005  # published models have 1e-6, which a reader could get wrong and no logit would tell
# Layers, KV heads, feed-forward. Seven layers of gemma3: 0 to 4 and 6 are local, 5 is global.
SHAPES = {"qwen3": (3, 2, 256), "gemma3": (7, 1, 128)}
# Chosen: no value at position 0 (always BOS) lies near a half where it becomes int8, few elsewhere,
# so that the order of somebody's additions changes nothing (tests/arch-models/README.md).
SEEDS = {"qwen3": 102, "qwen3-norm-in": 316, "gemma3": 121, "gemma3-norm-in": 2068}
NORM_IN = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
TEXTS = ("the king and the queen", "once there was a forest", "he said nothing")
STORY = """once upon a time there was a king who lived in the forest and the queen was with him
and he said that there was nothing in the house but the three daughters went on and on"""


class Random:
    """splitmix64: whole numbers of 64 bits; the k-th is a function of the seed and k alone."""

    def __init__(self, seed):
        self.at = np.uint64(seed) << np.uint64(32)

    def bits(self, n):
        with np.errstate(over="ignore"):
            z = (self.at + np.arange(1, n + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            self.at += np.uint64(n)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def uniform(self, low, high, n):
        return low + (high - low) * (self.bits(n) >> np.uint64(11)).astype(np.float64) / 2 ** 53

    def whole(self, below, n):
        return (self.bits(n) >> np.uint64(32)).astype(np.int64) * below >> 32


# ---- the tokenizer: byte-level BPE, learnt from STORY ----

def byte_letters():
    """The printable letter of each byte, as GPT-2 has it."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    other = [b for b in range(256) if b not in plain]
    return {b: chr(b) if b in plain else chr(256 + other.index(b)) for b in range(256)}


LETTERS = byte_letters()


def words(text):
    """A word takes the space before it along. Enough for lower-case words and single spaces."""
    split = text.split()
    return [split[0]] + [" " + w for w in split[1:]]


def merge(parts, pair):
    out = []
    for p in parts:
        if out and out[-1] is not None and (out[-1], p) == pair:
            out[-1] += p
        else:
            out.append(p)
    return out


def spell(word):
    return [LETTERS[b] for b in word.encode()]


def learn(n):
    """The n most frequent pairs, one after the other; of equals the first in order."""
    corpus, merges = [spell(w) for w in words(STORY)], []
    for _ in range(n):
        count = {}
        for parts in corpus:
            for pair in zip(parts, parts[1:]):
                count[pair] = count.get(pair, 0) + 1
        pair = min(count, key=lambda p: (-count[p], p))
        merges.append(pair)
        corpus = [merge(parts, pair) for parts in corpus]
    return merges


MERGES = learn(VOCAB - 256 - 2)
TOKENS = [LETTERS[b] for b in range(256)] + [a + b for a, b in MERGES] + ["<|begin|>", "<|end|>"]


def encode(text):
    ids = [BOS]
    for word in words(text):
        parts = spell(word)
        for pair in MERGES:
            parts = merge(parts, pair)
        ids += [TOKENS.index(p) for p in parts]
    return ids


# ---- the file ----

def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def value(v):
    if isinstance(v, bool):
        return struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    kind = 8 if isinstance(v[0], str) else 5
    body = b"".join(text(s) for s in v) if kind == 8 else struct.pack("<%di" % len(v), *v)
    return struct.pack("<IIQ", 9, kind, len(v)) + body


def write_gguf(path, keys, tensors):
    """tensors: (name, dims, GGUF type, bytes). Data begins at multiples of 32."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    head += b"".join(text(k) + value(v) for k, v in keys.items())
    data = b""
    for name, dims, kind, body in tensors:
        head += text(name) + struct.pack("<I%dQIQ" % len(dims), len(dims), *dims, kind, len(data))
        data += body + bytes(-len(body) % 32)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32) + data)


def pack_i2_s(codes, scale):
    """Value j of 128 goes into byte j % 32 of 32, at bit 6 - 2 (j / 32); the f32 scale and 28 zeros
    behind all."""
    plane = codes.reshape(-1, 4, 32).astype(np.uint8)
    packed = plane[:, 0] << 6 | plane[:, 1] << 4 | plane[:, 2] << 2 | plane[:, 3]
    return packed.tobytes() + struct.pack("<f", scale) + bytes(28)


def make_model(path, title, seed):
    arch, norm_in = title.split("-")[0], title.endswith("-norm-in")
    layers, groups, ff = SHAPES[arch]
    r, tensors = Random(seed), []

    def gain(name, n, kind="<f4", low=0.5, high=1.5):
        tensors.append((name + ".weight", [n], 0 if kind == "<f4" else 1,
                        r.uniform(low, high, n).astype(kind).tobytes()))

    def matrix(name, cols, sd):  # triangular: as good as a normal distribution here
        x = (r.uniform(-1, 1, VOCAB * cols) + r.uniform(-1, 1, VOCAB * cols)) * sd * 1.5 ** 0.5
        tensors.append((name + ".weight", [cols, VOCAB], 1, x.astype("<f2").tobytes()))

    def ternary(name, cols, rows):
        """A third zeros; outputs about as large as inputs."""
        scale = float(r.uniform(0.7, 1.3, 1)[0]) / (cols * 2 / 3) ** 0.5
        tensors.append((name + ".weight", [cols, rows], 36,
                        pack_i2_s(r.whole(3, rows * cols), scale)))
        if norm_in:
            gain(name + "_norm_in", cols, "<f2")

    matrix("token_embd", D, 0.3 if arch == "qwen3" else 0.1)
    if arch == "qwen3" and not norm_in:
        matrix("output", D, 0.2)
    for i in range(layers):
        at = "blk.%d." % i
        gain(at + "attn_norm", D)
        ternary(at + "attn_q", D, HEADS * E)
        ternary(at + "attn_k", D, groups * E)
        ternary(at + "attn_v", D, groups * E)
        gain(at + "attn_q_norm", E, low=0.6, high=1.8)
        gain(at + "attn_k_norm", E, low=0.6, high=1.8)
        ternary(at + "attn_output", HEADS * E, D)
        if arch == "gemma3":
            gain(at + "post_attention_norm", D)
        gain(at + "ffn_norm", D)
        ternary(at + "ffn_gate", D, ff)
        ternary(at + "ffn_up", D, ff)
        ternary(at + "ffn_down", ff, D)
        if arch == "gemma3":
            gain(at + "post_ffw_norm", D)
    gain("output_norm", D)

    keys = {"general.architecture": arch, "general.name": "random " + title}
    own = {"context_length": CONTEXT, "embedding_length": D, "block_count": layers,
           "feed_forward_length": ff, "attention.head_count": HEADS,
           "attention.head_count_kv": groups, "attention.key_length": E,
           "attention.value_length": E, "attention.layer_norm_rms_epsilon": EPS,
           "rope.freq_base": 1e6}
    if arch == "gemma3":
        own["attention.sliding_window"] = WINDOW
    if norm_in:
        own["pooling_type"] = 3
    keys.update({arch + "." + k: v for k, v in own.items()})
    keys.update({
        "general.file_type": 40, "general.quantization_version": 2,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": TOKENS, "tokenizer.ggml.token_type": [1] * (VOCAB - 2) + [3, 3],
        "tokenizer.ggml.merges": [a + " " + b for a, b in MERGES],
        "tokenizer.ggml.bos_token_id": BOS, "tokenizer.ggml.eos_token_id": EOS,
        "tokenizer.ggml.add_bos_token": True})
    write_gguf(path, keys, tensors)


# ---- what it computes ----

def rounded(x, digits):
    return [round(float(v), digits) for v in x]


def write_golden(path, model_path, tokens):
    m = Model(model_path)
    logits, _ = m.run(tokens)
    golden = {
        "cfg": {"arch": m.arch, "d": D, "l": m.layers, "h": m.heads, "kv": m.groups, "e": m.width,
                "f": m.key("feed_forward_length"), "v": VOCAB, "theta": m.base},
        "tokens": tokens,
        "logits_first16_each_position": [rounded(x[:16], 5) for x in logits],
        "argmax_each_position": [int(np.argmax(x)) for x in logits],
        "last_logits": rounded(logits[-1], 5),
        "embeddings": []}
    for sentence in TEXTS:
        ids = encode(sentence)
        hidden = m.run(ids)[1]
        golden["embeddings"].append({"text": sentence, "tokens": ids, **{
            how: rounded(pool(hidden, how), 6) for how in ("last", "mean", "cls")}})
    with open(path, "w") as f:
        json.dump(golden, f)
        f.write("\n")


def main(out):
    os.makedirs(out, exist_ok=True)
    for name, seed in SEEDS.items():
        golden = os.path.join(out, name + ".json")
        model = os.path.join(out, name + "-i2_s.gguf")
        make_model(model, name, seed)
        tokens = [BOS] + Random(1000 + seed).whole(VOCAB - 2, 23).tolist()
        write_golden(golden, model, tokens)


if __name__ == "__main__":
    main(sys.argv[1])
