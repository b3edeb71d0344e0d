"""rope.py TEXT BASE DIM KIND FACTOR ORIGINAL MAGNITUDE: whether the one rope_table of a module's text turns by
these frequencies. KIND: linear or yarn, as transformers' modeling_rope_utils.py has it: the bounds are whole."""
import math
import re
import sys


def main(path, base, dim, kind, factor, original, magnitude):
    base, dim, factor, original, magnitude = float(base), int(dim), float(factor), float(original), float(magnitude)
    line = next(x for x in open(path) if "rope_table" in x)
    got = [float(v) for v in re.search(r"freqs = \[(.*?)\]", line).group(1).split(",")]
    told = re.search(r"magnitude = ([0-9.e-]+)", line)
    want = [base ** (-2 * j / dim) for j in range(dim // 2)]

    def pair(turns):
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
    low, high = (max(math.floor(pair(32)), 0), min(math.ceil(pair(1)), dim - 1)) if kind == "yarn" else (0, 0)
    for j in range(dim // 2):
        slow = min(max((j - low) / (high - low or 0.001), 0), 1) if kind == "yarn" else 1
        want[j] = want[j] * (1 - slow) + want[j] / factor * slow
    far = max(abs(g / w - 1) for g, w in zip(got, want))
    off = abs((float(told.group(1)) if told else 1) - magnitude)
    print(f"{len(got)} frequencies, off by {far:.1e} at most; magnitude off by {off:.1e}")
    return len(got) != dim // 2 or far > 1e-12 or off > 1e-6


sys.exit(main(*sys.argv[1:]))
