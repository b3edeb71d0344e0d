"""check.py: the reference against goldens that others made, and against its own.

    python3 tests/reference/check.py [--sensitivity] GOLDEN.json MODEL.gguf ...

A golden of a random model: tokens, the first 16 logits and the argmax of every position, all logits
of the last; some hold embeddings. Tolerances are in units of sd, the standard deviation of the last
logits, as shared/golden/README.md derives them. Last line "N passed, M failed". Needs numpy.

--sensitivity asks what the tolerances are worth: rounding noise must stay within them, and each
mistake that a writer of such a graph may make must land outside.
"""
import copy
import json
import sys

import numpy as np

from model import F, Model, pool, silu

F16_BOUND = 0.08  # twice what f16 keys and values were seen to do: up to 0.041


class Distance:
    """How far a model is from a golden. vector: of embeddings of length 1, the largest distance."""

    def __init__(self, golden, model, noise=None):
        logits = model.run(golden["tokens"], noise)[0]
        last, first = golden["last_logits"], golden["logits_first16_each_position"]
        sd = np.std(last)
        d = [logits[p, :16] - first[p] for p in range(len(logits) - 1)] + [logits[-1] - last]
        d = np.abs(np.concatenate(d)) / sd
        self.rms, self.largest, self.at0 = np.sqrt(np.mean(d ** 2)), d.max(), d[:16].max()
        self.wrong = self.vector = 0
        for row, best in zip(logits, golden["argmax_each_position"]):
            second, top = np.sort(row)[-2:]
            self.wrong += top - second > 0.3 * sd and int(np.argmax(row)) != best
        for e in golden.get("embeddings", []):
            n = len(e["tokens"])
            hidden = model.run(e["tokens"], None if noise is None else noise[:n])[1]
            for how in ("last", "mean", "cls"):
                off = np.linalg.norm(pool(hidden, how) - e[how])
                self.vector = max(self.vector, off)

    def within(self, bound, at0=1e-3):
        """bound: of the rms and of vectors, whose error is in units of their length."""
        return (self.rms < bound and self.vector < bound and self.largest < 0.4 and self.at0 < at0
                and self.wrong == 0)

    def __str__(self):
        return ("rms %.5f sd, largest %.5f, position 0 %.6f, vectors %.5f, %d wrong bests"
                % (self.rms, self.largest, self.at0, self.vector, self.wrong))


# ---- mistakes: name -> change of a Model ----

def swap(a, b):
    def change(m):
        for i in range(m.layers):
            x, y = "blk.%d.%s.weight" % (i, a), "blk.%d.%s.weight" % (i, b)
            m.tensors[x], m.tensors[y] = m.tensors[y], m.tensors[x]
    return change


def without(*names):
    """Norms of these names, in all layers, are passed by."""
    def change(m):
        inner = m.norm
        m.norm = lambda x, name: x if name.endswith(names) else inner(x, name)
        m.used.update(name[:-7] for name in m.tensors if name[:-7].endswith(names))
    return change


def put(**values):
    return lambda m: m.__dict__.update(values)


def graph(**values):
    return lambda m: m.graph.__dict__.update(values)


def windows(size, local_base=10000.0, is_global=lambda i: (i + 1) % 6 == 0):
    return lambda m: put(window=lambda i: (None, m.base) if is_global(i) else (size, local_base))(m)


def gelu_erf(x):
    """GELU itself; erf by the series of Abramowitz and Stegun 7.1.26, to 1.5e-7."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (
        -1.453152027 + t * 1.061405429))))
    return (0.5 * x * (1 + np.sign(x) * (1 - poly * np.exp(-z * z)))).astype(F)


def unscaled(m):
    """run() multiplies rows by sqrt(D); the head keeps its rows."""
    m.embedding = m.tensors["token_embd.weight"]
    m.tensors["token_embd.weight"] = m.embedding / F(np.sqrt(m.embedding.shape[1]))


def changed(model, change):
    m = copy.copy(model)
    m.graph, m.tensors = copy.copy(model.graph), dict(model.tensors)
    m.used = set()
    change(m)
    return m


def mistakes(m):
    found = {"epsilon 1e-6": put(eps=F(1e-6)), "RoPE of pairs": graph(halves=False),
             "RoPE base 10000": put(base=10000.0), "gate and up": swap("ffn_gate", "ffn_up"),
             "no norms of q and k": without("attn_q_norm", "attn_k_norm"),
             "norm of q for k": swap("attn_q_norm", "attn_k_norm")}
    if m.graph.gemma:
        found.update({
            "embedding not scaled": unscaled, "SiLU": graph(act=silu),
            "GELU by erf": graph(act=gelu_erf), "window + 1": windows(9), "window - 1": windows(7),
            "no window": windows(None), "one RoPE base": windows(8, m.base),
            "first layer global": windows(8, is_global=lambda i: i % 6 == 0),
            "no post_attention_norm": without("post_attention_norm"),
            "no post_ffw_norm": without("post_ffw_norm")})
    else:
        found["ReLU"] = graph(act=lambda x: np.maximum(x, 0))
    if "blk.0.attn_q_norm_in.weight" in m.tensors:
        names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        found.update({"no %s_norm_in" % n: without(n + "_norm_in") for n in names})
        found["gains of q for k"] = swap("attn_q_norm_in", "attn_k_norm_in")
    return found


def sensitivity(golden, path, bound):
    """[verdicts]: noise of 1e-7 on the embeddings, then each mistake."""
    worst, model, ok = None, Model(path), []
    for seed in range(20):
        shape = len(golden["tokens"]), model.embedding.shape[1]
        noise = 1 + 1e-7 * np.random.default_rng(seed).standard_normal(shape)
        d = Distance(golden, model, noise)
        worst = d if worst is None or d.rms > worst.rms else worst
        ok.append(d.within(bound))
    print("  %-24s %s%s" % ("noise, the worst of 20", worst, "" if all(ok) else "  FAILED"))
    half = Distance(golden, changed(model, put(keep=lambda x: x.astype(np.float16).astype(F))))
    ok.append(half.within(F16_BOUND, 0.4))
    print("  %-24s %s%s" % ("keys and values in f16", half, "" if ok[-1] else "  FAILED"))
    for name, change in mistakes(model).items() if model.graph.head_norm else ():
        d = Distance(golden, changed(model, change))
        ok.append(not d.within(bound))
        print("  %-24s %s%s" % (name, d, "" if ok[-1] else "  FAILED: within the tolerance"))
    return ok


def main(args):
    deep = args[:1] == ["--sensitivity"]
    results = []
    for golden_path, path in zip(args[deep::2], args[deep + 1::2]):
        with open(golden_path) as f:
            golden = json.load(f)
        bound = 0.06 if "synth-tiny-llama" in golden_path else 0.03
        d = Distance(golden, Model(path))
        results.append(d.within(bound))
        print("%s: %s%s" % (golden_path.split("/")[-1], d, "" if results[-1] else "  FAILED"))
        if deep:
            results += sensitivity(golden, path, bound)
    print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
    return not results or not all(results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
