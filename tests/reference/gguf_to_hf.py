"""gguf_to_hf.py: a GGUF file back to a Hugging Face checkpoint, to convert again and compare.

    python3 tests/reference/gguf_to_hf.py MODEL.gguf FOLDER [--scale=multiply|divide] [--masters]
            [--shards=N] [--class=NAME] [--vocab=FILE.gguf] [--tokenizer=json|spm]

The inverse of `bnc convert`, written from the other side: transformers' packing (four rows a byte,
planar), its names, llama's rows as transformers orders them. Scales are f32, so nothing is lost.
--masters writes codes times scale as F32 in place of packed weights; --vocab takes another file's
tokenizer, repeating the embedding's rows; --tokenizer=spm writes tokenizer.model besides JSON's
companions. Reads i2_s, f16 and f32. Python's standard library only.
"""
import json
import os
import struct
import sys

from gguf import Gguf

NAMES = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_sub_norm": "self_attn.attn_sub_norm",
         "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_sub_norm": "mlp.ffn_sub_norm",
         "ffn_down": "mlp.down_proj"}
OLD_NAMES = {"attn_sub_norm": "self_attn.inner_attn_ln", "ffn_sub_norm": "mlp.ffn_layernorm"}
GRAPHS = {"bitnet-b1.58": ("BitNetForCausalLM", "relu2"), "bitnet": ("BitnetForCausalLM", "silu"),
          "llama": ("LlamaForCausalLM", "silu")}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def options(words):
    return {k: v or True for k, _, v in (w[2:].partition("=") for w in words)}


# ---- weights ----

def pack(codes, rows, cols):
    """rows x cols codes to rows/4 x cols bytes; as whole numbers, of which no digit overflows."""
    part = rows // 4 * cols
    planes = [int.from_bytes(codes[i * part:(i + 1) * part], "little") << 2 * i for i in range(4)]
    return sum(planes).to_bytes(part, "little")


def unpermute(codes, heads, rows, cols):
    """GGUF's llama has the two halves of a head alternating; transformers one after the other."""
    dim, out = rows // heads, [None] * rows
    for h in range(heads):
        for j in range(dim // 2):
            for half in range(2):
                at = h * dim + 2 * j + half
                out[h * dim + half * (dim // 2) + j] = codes[at * cols:(at + 1) * cols]
    return b"".join(out)


class Checkpoint:
    def __init__(self, g, opt):
        self.g, self.opt, self.tensors = g, opt, {}
        self.arch = g.keys["general.architecture"]

    def key(self, name, absent=None):
        return self.g.keys.get(self.arch + "." + name, absent)

    def projection(self, name, t, heads):
        codes = t.codes()
        if heads:
            codes = unpermute(codes, heads, t.rows, t.cols)
        if "masters" in self.opt:
            s = struct.pack("<f", t.scale())
            value = [struct.pack("<f", -t.scale()), bytes(4), s]
            self.tensors[name] = ("F32", [t.rows, t.cols], b"".join(value[c] for c in codes))
            return
        scale = t.scale()
        if self.opt.get("scale", "multiply") == "divide":
            scale = 1 / scale
        self.tensors[name] = ("U8", [t.rows // 4, t.cols], pack(codes, t.rows, t.cols))
        self.tensors[name + "_scale"] = ("F32", [1], struct.pack("<f", scale))

    def add(self, t, vocab):
        fixed = {"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight",
                 "output_norm.weight": "model.norm.weight"}
        if t.name in fixed:
            data, rows = t.data, t.rows
            if rows > 1 and vocab != rows:
                data, rows = (data * (vocab // rows + 1))[:vocab * t.cols * 2], vocab
            self.tensors[fixed[t.name]] = (t.type.upper(), [rows, t.cols] if rows > 1 else [t.cols], data)
            return
        _, layer, own, _ = t.name.split(".")
        known = dict(NAMES, **OLD_NAMES) if self.arch == "bitnet" else NAMES
        name = "model.layers.%s.%s.weight" % (layer, known[own])
        heads = {"attn_q": self.key("attention.head_count"),
                 "attn_k": self.key("attention.head_count_kv")}.get(own, 0)
        if t.type == "i2_s":
            self.projection(name, t, heads if self.arch == "llama" else 0)
        else:
            self.tensors[name] = (t.type.upper(), [t.cols], t.data)


def write_safetensors(path, tensors):
    head, data = {"__metadata__": {"format": "pt"}}, []
    at = 0
    for name, (dtype, shape, raw) in tensors:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


# ---- tokenizers ----

def added(tokens, types):
    return [{"id": i, "content": t, "special": types[i] != USER} for i, t in enumerate(tokens)
            if types[i] in (UNKNOWN, CONTROL, USER)]


def bpe_json(keys):
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    split = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"added_tokens": added(tokens, types), "normalizer": None, "post_processor": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
            "model": {"type": "BPE", "unk_token": None, "byte_fallback": False, "ignore_merges": True,
                      "vocab": {t: i for i, t in enumerate(tokens) if types[i] == NORMAL},
                      "merges": keys["tokenizer.ggml.merges"]}}


def spm_merges(tokens, scores, types):
    """Every way to cut a token in two tokens, the best scores first: transformers' conversion."""
    known = {t for i, t in enumerate(tokens) if types[i] == NORMAL}
    best = sorted((-scores[i], i) for i, t in enumerate(tokens) if types[i] == NORMAL)
    return [[tokens[i][:k], tokens[i][k:]] for _, i in best for k in range(1, len(tokens[i]))
            if tokens[i][:k] in known and tokens[i][k:] in known]


def spm_json(keys):
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    normal = [{"type": "Prepend", "prepend": "\u2581"},
              {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]
    return {"added_tokens": added(tokens, types), "pre_tokenizer": None, "post_processor": None,
            "normalizer": {"type": "Sequence", "normalizers": normal},
            "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True,
                      "vocab": {t: i for i, t in enumerate(tokens)},
                      "merges": spm_merges(tokens, keys["tokenizer.ggml.scores"], types)}}


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, raw):
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def spm_model(keys):
    out = b""
    for text, score, kind in zip(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.scores"],
                                 keys["tokenizer.ggml.token_type"]):
        piece = field(1, text.encode()) + b"\x15" + struct.pack("<f", score)
        out += field(1, piece + (b"\x18" + varint(kind) if kind != NORMAL else b""))
    return out + field(2, b"\x18\x02") + field(3, field(1, b"identity") + b"\x20\x00")  # remove_extra_whitespaces: 0


def write_tokenizer(dir, keys, opt):
    if keys["tokenizer.ggml.model"] == "gpt2":
        files = {"tokenizer.json": json.dumps(bpe_json(keys)).encode()}
    elif opt.get("tokenizer") == "spm":
        files = {"tokenizer.model": spm_model(keys)}
    else:
        files = {"tokenizer.json": json.dumps(spm_json(keys)).encode()}
    tokens = keys["tokenizer.ggml.tokens"]
    config = {"add_bos_token": keys.get("tokenizer.ggml.add_bos_token", True),
              "model_max_length": 1000000000000000019884624838656}
    for name in ("bos", "eos"):
        config[name + "_token"] = {"content": tokens[keys["tokenizer.ggml.%s_token_id" % name]]}
    files["tokenizer_config.json"] = json.dumps(config).encode()
    for name, data in files.items():
        with open(os.path.join(dir, name), "wb") as f:
            f.write(data)


# ---- the folder ----

def config_of(c, vocab):
    name, act = GRAPHS[c.arch]
    q = {"quant_method": "bitnet", "quantization_mode": "offline"}
    if c.opt.get("scale", "multiply") == "multiply":
        q["linear_class"] = "autobitlinear"
    config = {"architectures": [c.opt.get("class", name)], "hidden_act": act, "vocab_size": vocab,
              "hidden_size": c.key("embedding_length"), "num_hidden_layers": c.key("block_count"),
              "intermediate_size": c.key("feed_forward_length"),
              "num_attention_heads": c.key("attention.head_count"),
              "num_key_value_heads": c.key("attention.head_count_kv"),
              "max_position_embeddings": c.key("context_length"),
              "rms_norm_eps": round(c.key("attention.layer_norm_rms_epsilon"), 9),
              "rope_theta": c.key("rope.freq_base"), "rope_scaling": None,
              "tie_word_embeddings": "output.weight" not in c.g.tensors}
    if c.key("attention.key_length"):
        config["head_dim"] = c.key("attention.key_length")
    if "masters" not in c.opt:
        config["quantization_config"] = q
    return config


def main(path, dir, opt):
    c = Checkpoint(Gguf(path), opt)
    keys = Gguf(opt["vocab"]).keys if "vocab" in opt else c.g.keys
    vocab = len(keys["tokenizer.ggml.tokens"])
    os.makedirs(dir, exist_ok=True)
    for t in c.g.tensors.values():
        c.add(t, vocab)
    with open(os.path.join(dir, "config.json"), "w") as f:
        json.dump(config_of(c, vocab), f, indent=1)
    write_tokenizer(dir, keys, opt)
    all, n = list(c.tensors.items()), int(opt.get("shards", 1))
    if n == 1:
        write_safetensors(os.path.join(dir, "model.safetensors"), all)
        return
    files = ["model-%05d-of-%05d.safetensors" % (i + 1, n) for i in range(n)]
    for i, file in enumerate(files):
        write_safetensors(os.path.join(dir, file), all[i::n])
    with open(os.path.join(dir, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": {k: files[i % n] for i, (k, _) in enumerate(all)}}, f)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], options(sys.argv[3:]))
