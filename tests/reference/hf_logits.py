"""hf_logits.py FOLDER ROW LOGITS...: all logits of a compiled model against FOLDER/golden.json.

LOGITS: files of `--ids=... --logits`, a line a position; their names end in the prompt's number. ROW: the arithmetic,
which the tolerances of the goldens' README follow: float32, float32-kv16, int8, bitnet, bitnet-kv16.
With --ids=FILE in place of ROW and LOGITS: FILE.N become the ids of prompt N. Exits 1 where a bound is passed."""
import json
import math
import sys


def bounds(gold, row):
    """rms, max (in sd), mean NLL (in nats), margin over which the argmax must be the same (in sd)."""
    fixed = {"float32": (3e-5, 5e-4, 2e-5, 1e-3), "float32-kv16": (6e-3, 0.08, 3e-3, 0.16),
             "bitnet": (0.05, 0.4, 0.02, 0.4), "bitnet-kv16": (0.08, 0.6, 0.05, 0.6)}
    if row in fixed:
        return fixed[row]
    noise = next(v for k, v in gold["noise"].items() if "a scale a token" in k)
    return 2 * noise["rms"], 2.5 * noise["max"], 0.15, 2 * noise["max"]


def nll(rows, tokens):
    total = 0.0
    for x, t in zip(rows, tokens[1:]):
        most = max(x)
        total += math.log(sum(math.exp(v - most) for v in x)) + most - x[t]
    return total / (len(tokens) - 1)


def main():
    folder, row = sys.argv[1:3]
    gold = json.load(open(folder + "/golden.json"))
    if row.startswith("--ids="):
        for i, prompt in enumerate(gold["prompts"]):
            print(*prompt["tokens"], file=open(f"{row[6:]}.{i}", "w"))
        return 0
    rms, most, nats, margin = bounds(gold, row)
    sd, squares, n, far, off, flips = gold["logit_sd"], 0.0, 0, 0.0, 0.0, 0
    for path in sys.argv[3:]:
        prompt = gold["prompts"][int(path.rsplit(".", 1)[1])]
        rows = [[float(v) for v in line.split()] for line in open(path)]
        assert len(rows) == len(prompt["tokens"]), path
        pairs = list(zip(rows[-1], prompt["last_logits"]))
        for x, head in zip(rows, prompt["head_logits"]):
            pairs += zip(x, head)
        for x, y in pairs:
            d = abs(x - y) / sd
            squares, n, far = squares + d * d, n + 1, max(far, d)
        for x, best, lead in zip(rows, prompt["argmax"], prompt["margin"]):
            flips += max(range(len(x)), key=x.__getitem__) != best and lead / sd > margin
        off = max(off, abs(nll(rows, prompt["tokens"]) - prompt["nll"]))
        if row == "bitnet":  # no rounding to int8 has had a neighbour to flip yet
            first = max(abs(x - y) / sd for x, y in zip(rows[0], prompt["head_logits"][0]))
            far = math.inf if first > 1e-4 else far
    got = math.sqrt(squares / n)
    ok = got <= rms and far <= most and off <= nats and not flips
    print(f"{'ok' if ok else 'OFF'}: {row}: rms {got:.2e} of {rms:.1e}, max {far:.2e} of {most:.1e}, "
          f"NLL {off:.1e} of {nats:.1e}, {flips} best tokens differ")
    return 0 if ok else 1


sys.exit(main())
