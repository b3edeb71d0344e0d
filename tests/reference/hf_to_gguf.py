"""hf_to_gguf.py: a checkpoint of ../shared/golden/hf, whose matrices are ternary by groups of 128, as GGUF.

    python3 tests/reference/hf_to_gguf.py FOLDER OUT.gguf f16|q2_0|pq2_0

f16 keeps the matrices as floats, q2_0 and pq2_0 hold scale and codes of each 64 or 128 columns, which
lose nothing. Graphs: qwen3 and llama without a rotary scaling. The tokenizer is made up: the prompts are
ids. Python's standard library only.
"""
import json
import struct
import sys

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
OWN = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
TYPES = {"f32": (0, 1), "f16": (1, 1), "q2_0": (42, 64), "pq2_0": (142, 128)}


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    if isinstance(v, bool):
        return struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    if v and isinstance(v[0], int):
        return struct.pack("<IIQ", 9, 5, len(v)) + struct.pack("<%di" % len(v), *v)
    if v and isinstance(v[0], float):
        return struct.pack("<IIQ", 9, 6, len(v)) + struct.pack("<%df" % len(v), *v)
    return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(text, v))


def permute(rows, heads):
    """From pairs (i, i + half) of a head to pairs (2i, 2i + 1), as GGUF's llama has its queries and keys."""
    each, out = len(rows) // heads, []
    for h in range(heads):
        head = rows[h * each:(h + 1) * each]
        for i in range(each // 2):
            out += [head[i], head[i + each // 2]]
    return out


def coded(rows, group):
    """An f16 scale, then 2-bit codes w + 1, the first at the bottom of each byte."""
    out = []
    for row in rows:
        v = struct.unpack("<%de" % (len(row) // 2), row)
        for at in range(0, len(v), group):
            part = v[at:at + group]
            scale = max(map(abs, part))
            assert all(x in (0, scale, -scale) for x in part), "not ternary by groups"
            code = [1 + (x > 0) - (x < 0) for x in part]
            out.append(struct.pack("<e", scale) + bytes(
                code[i] | code[i + 1] << 2 | code[i + 2] << 4 | code[i + 3] << 6
                for i in range(0, group, 4)))
    return b"".join(out)


def keys_of(c, arch):
    words = ["<unk>", "<s>", "</s>"] + ["t%d" % i for i in range(c["vocab_size"] - 3)]
    head = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    return {"general.architecture": arch, "general.name": "golden " + arch,
            arch + ".context_length": c["max_position_embeddings"],
            arch + ".embedding_length": c["hidden_size"],
            arch + ".block_count": c["num_hidden_layers"],
            arch + ".feed_forward_length": c["intermediate_size"],
            arch + ".attention.head_count": c["num_attention_heads"],
            arch + ".attention.head_count_kv": c["num_key_value_heads"],
            arch + ".attention.key_length": head, arch + ".attention.value_length": head,
            arch + ".attention.layer_norm_rms_epsilon": float(c["rms_norm_eps"]),
            arch + ".rope.freq_base": float(c["rope_theta"]),
            "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": words,
            "tokenizer.ggml.scores": [0.0] * len(words),
            "tokenizer.ggml.token_type": [2, 3, 3] + [1] * (len(words) - 3),
            "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2}


def main(folder, path, kind):
    with open(folder + "/config.json") as f:
        c = json.load(f)
    with open(folder + "/model.safetensors", "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    head, data = json.loads(data[8:8 + n]), data[8 + n:]
    arch, tensors = c["model_type"], []
    assert arch in ("qwen3", "llama") and not c["rope_scaling"] and kind in TYPES
    for name, t in head.items():
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        body, own = data[begin:end], name[:-len(".weight")]
        assert t["dtype"] == "F16"
        if own in OWN:
            own = OWN[own]
        else:
            _, _, layer, own = own.split(".", 3)
            own = "blk.%s.%s" % (layer, NAMES[own])
        if len(t["shape"]) == 1:
            body = struct.pack("<%df" % t["shape"][0], *struct.unpack("<%de" % t["shape"][0], body))
            tensors.append((own, t["shape"], 0, body))
            continue
        rows = [body[i:i + 2 * t["shape"][1]] for i in range(0, len(body), 2 * t["shape"][1])]
        if arch == "llama" and own.split(".")[-1] in ("attn_q", "attn_k"):
            rows = permute(rows, c["num_attention_heads" if own[-1] == "q" else "num_key_value_heads"])
        body = b"".join(rows) if kind == "f16" else coded(rows, TYPES[kind][1])
        tensors.append((own, t["shape"][::-1], TYPES[kind][0], body))
    keys = keys_of(c, arch)
    out = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    out += b"".join(text(k) + value(v) for k, v in keys.items())
    data = b""
    for own, dims, type_id, body in tensors:
        out += text(own + ".weight") + struct.pack("<I%dQIQ" % len(dims), len(dims), *dims, type_id,
                                                   len(data))
        data += body + bytes(-len(body) % 32)
    with open(path, "wb") as f:
        f.write(out + bytes(-len(out) % 32) + data)


if __name__ == "__main__":
    main(*sys.argv[1:])
