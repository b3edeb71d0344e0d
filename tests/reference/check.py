"""check.py: the reference against goldens that others made, and against its own.

    python3 tests/reference/check.py GOLDEN.json MODEL.gguf ...      pairs; "N passed, M failed" at last

A golden of random models: tokens, the first 16 logits and the argmax of every position, all logits
of the last. Tolerances in units of sd, the standard deviation of the golden's logits: those that the
README of the goldens derives. Needs numpy.
"""
import json
import sys

import numpy as np

from model import Model, pool


def differences(golden, logits):
    """(rms, largest, largest at position 0, wrong bests) of one model, in sd."""
    last = np.array(golden["last_logits"])
    sd = last.std()
    d = [logits[p, :16] - golden["logits_first16_each_position"][p] for p in range(len(logits) - 1)]
    all_d = np.concatenate(d + [logits[-1] - last]) / sd
    wrong = 0
    for p, best in enumerate(golden["argmax_each_position"]):
        top = np.sort(logits[p])
        wrong += top[-1] - top[-2] > 0.3 * sd and int(np.argmax(logits[p])) != best
    return np.sqrt(np.mean(all_d ** 2)), np.abs(all_d).max(), np.abs(all_d[:16]).max(), wrong


def check(golden_path, model_path):
    with open(golden_path) as f:
        golden = json.load(f)
    model = Model(model_path)
    rms, worst, first, wrong = differences(golden, model.run(golden["tokens"])[0])
    cosine = min((float(np.dot(pool(model.run(e["tokens"])[1], how), e[how]))
                  for e in golden.get("embeddings", []) for how in ("last", "mean", "cls")), default=1)
    bound = 0.06 if "synth-tiny-llama" in golden_path else 0.03
    good = rms < bound and worst < 0.4 and first < 1e-3 and wrong == 0 and cosine > 0.9999
    print("%s: rms %.5f sd, largest %.5f, position 0 %.6f, least cosine %.7f, %d wrong bests%s"
          % (golden_path.split("/")[-1], rms, worst, first, cosine, wrong, "" if good else "  FAILED"))
    return good


if __name__ == "__main__":
    results = [check(sys.argv[i], sys.argv[i + 1]) for i in range(1, len(sys.argv), 2)]
    print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
    sys.exit(not all(results))
