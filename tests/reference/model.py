"""model.py: what a model computes, written a second time from the published formulas.

    python3 tests/reference/model.py MODEL.gguf TOKEN...     the ten best logits after the last one

Shares nothing with bnc. The graphs are llama, bitnet, bitnet-b1.58, qwen3 and gemma3; all positions
of a sequence go through a layer at once, in float32. Only the integer products are exact: int8 x
ternary sums stay below 2^24, so float32 holds every partial sum whatever their order. Needs numpy.
"""
import sys

import numpy as np

from gguf import Gguf

F = np.float32


def silu(x):
    return x / (1 + np.exp(-x))


def relu2(x):
    return np.maximum(x, 0) ** 2


def gelu(x):
    """The tanh approximation, as Gemma was trained with (Hugging Face: gelu_pytorch_tanh)."""
    return F(0.5) * x * (1 + np.tanh(F(np.sqrt(2 / np.pi)) * (x + F(0.044715) * x ** 3)))


class Graph:
    """How a graph differs from the others. halves: RoPE turns (j, j + E/2), not (2j, 2j + 1)."""

    def __init__(self, act, halves=True, sub_norm=False, head_norm=False, gemma=False):
        self.act, self.halves, self.sub_norm = act, halves, sub_norm
        self.head_norm, self.gemma = head_norm, gemma


GRAPHS = {
    "llama": Graph(silu, halves=False),
    "bitnet": Graph(silu, sub_norm=True),
    "bitnet-b1.58": Graph(relu2, sub_norm=True),
    "qwen3": Graph(silu, head_norm=True),
    "gemma3": Graph(gelu, head_norm=True, gemma=True),
}


def weights(tensor):
    """float32 [rows, cols], or [cols] of a vector; of i2_s its -1, 0, 1, and the scale."""
    if tensor.type == "i2_s":
        w = np.frombuffer(tensor.codes(), np.uint8).astype(F) - 1
        return w.reshape(tensor.rows, tensor.cols), F(tensor.scale())
    w = np.frombuffer(tensor.data, {"f32": "<f4", "f16": "<f2"}[tensor.type]).astype(F)
    return w if len(tensor.dims) == 1 else w.reshape(tensor.rows, tensor.cols)


def quantize(x):
    """Each row to int8 by its largest magnitude: (whole numbers as float32, values a step)."""
    step = F(127) / np.maximum(np.abs(x).max(axis=-1, keepdims=True), F(1e-5))
    return np.clip(np.rint(x * step), -128, 127), step


class Model:
    def __init__(self, path):
        self.file = Gguf(path)
        self.arch = self.file.keys["general.architecture"]
        self.graph = GRAPHS[self.arch]
        self.tensors = {name: weights(t) for name, t in self.file.tensors.items()}
        self.used = set()
        self.embedding = self.tensors["token_embd.weight"]
        self.layers = self.key("block_count")
        self.heads = self.key("attention.head_count")
        self.groups = self.key("attention.head_count_kv", self.heads)
        self.width = self.key("attention.key_length", self.key("embedding_length") // self.heads)
        self.eps = F(self.key("attention.layer_norm_rms_epsilon"))
        self.base = self.key("rope.freq_base", 10000.0)
        assert self.key("rope.dimension_count", self.width) == self.width, "RoPE of half a head"

    def key(self, name, absent=None):
        value = self.file.keys.get(self.arch + "." + name, absent)
        assert value is not None, "no " + self.arch + "." + name
        return value

    def weight(self, name, absent=None):
        self.used.add(name)
        value = self.tensors.get(name + ".weight", absent)
        assert value is not None, "no " + name
        return value

    def norm(self, x, name):
        """RMSNorm over the last axis; where the file has no gain of this name (`_norm_in`), x."""
        self.used.add(name)
        gain = self.tensors.get(name + ".weight")
        if gain is None:
            assert name.endswith("_norm_in"), "no " + name
            return x
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * gain

    def linear(self, x, name):
        """x [T, K] by a ternary matrix [N, K], behind its own input norm where it has one."""
        w, scale = self.weight(name)
        q, step = quantize(self.norm(x, name + "_norm_in"))
        return (q @ w.T) * scale / step

    def rope(self, x, base):
        """x [T, heads, E], each pair turned by position / base^(2j/E)."""
        half = self.width // 2
        angle = np.outer(np.arange(len(x)), 1 / base ** (np.arange(half) / half))[:, None, :]
        cos, sin = np.cos(angle).astype(F), np.sin(angle).astype(F)
        if self.graph.halves:
            a, b = x[..., :half], x[..., half:]
            return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)

    def window(self, layer):
        """(how many positions back a layer sees, its RoPE base); None: all of them."""
        if self.graph.gemma and (layer + 1) % 6 != 0:
            return self.key("attention.sliding_window"), 10000.0
        return None, self.base

    def keep(self, x):
        """Keys and values as a cache gives them back."""
        return x

    def attention(self, x, layer):
        at = "blk.%d." % layer
        n, g = len(x), self.graph
        q = self.linear(x, at + "attn_q").reshape(n, self.heads, self.width)
        k = self.linear(x, at + "attn_k").reshape(n, self.groups, self.width)
        v = self.linear(x, at + "attn_v").reshape(n, self.groups, self.width)
        if g.head_norm:
            q, k = self.norm(q, at + "attn_q_norm"), self.norm(k, at + "attn_k_norm")
        window, base = self.window(layer)
        q, k, v = self.rope(q, base), self.keep(self.rope(k, base)), self.keep(v)
        back = np.arange(n)[:, None] - np.arange(n)[None, :]
        seen = (back >= 0) & (back < (window or n))
        out = np.empty((n, self.heads, self.width), F)
        for h in range(self.heads):
            group = h * self.groups // self.heads
            score = q[:, h] @ k[:, group].T / F(np.sqrt(self.width))
            score = np.where(seen, score, F(-np.inf))
            p = np.exp(score - score.max(axis=1, keepdims=True))
            out[:, h] = p / p.sum(axis=1, keepdims=True) @ v[:, group]
        out = out.reshape(n, -1)
        if g.sub_norm:
            out = self.norm(out, at + "attn_sub_norm")
        return self.linear(out, at + "attn_output")

    def feed_forward(self, x, layer):
        at = "blk.%d." % layer
        y = self.graph.act(self.linear(x, at + "ffn_gate")) * self.linear(x, at + "ffn_up")
        if self.graph.sub_norm:
            y = self.norm(y, at + "ffn_sub_norm")
        return self.linear(y, at + "ffn_down")

    def run(self, tokens, noise=None):
        """(logits [T, V], hidden states after output_norm [T, D]). noise: factors of the embeddings
        [T, D], to measure how far rounding travels."""
        gemma = self.graph.gemma
        x = self.weight("token_embd")[tokens]
        if gemma:
            x = x * F(np.sqrt(x.shape[1]))
        if noise is not None:
            x = x * noise.astype(F)
        for i in range(self.layers):
            at = "blk.%d." % i
            y = self.attention(self.norm(x, at + "attn_norm"), i)
            x = x + (self.norm(y, at + "post_attention_norm") if gemma else y)
            y = self.feed_forward(self.norm(x, at + "ffn_norm"), i)
            x = x + (self.norm(y, at + "post_ffw_norm") if gemma else y)
        hidden = self.norm(x, "output_norm")
        logits = hidden @ self.weight("output", self.embedding).T
        unknown = set(self.tensors) - {name + ".weight" for name in self.used}
        assert not unknown, "tensors that the graph does not use: %s" % sorted(unknown)
        assert logits.dtype == F and hidden.dtype == F
        return logits, hidden


def pool(hidden, how):
    """One vector of length 1 from hidden [T, D]: of the `last` token, the first (`cls`), or the
    `mean` of all."""
    x = {"last": hidden[-1], "cls": hidden[0], "mean": hidden.mean(axis=0)}[how]
    return x / np.sqrt((x * x).sum())


if __name__ == "__main__":
    last = Model(sys.argv[1]).run([int(t) for t in sys.argv[2:]])[0][-1]
    for t in np.argsort(-last)[:10]:
        print(t, last[t])
