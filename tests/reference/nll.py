"""nll.py: mean negative log-likelihood of a compiled model over a golden file's excerpts.

    python3 tests/reference/nll.py GOLDEN.json PROGRAM BOUND

Prints the golden mean and the program's (its --score), in nats a token; exit 0 where they differ by
at most BOUND.
"""
import json
import subprocess
import sys


def main(golden, program, bound):
    want, got = [], []
    for text in json.load(open(golden))["nll"]:
        ids = " ".join(map(str, text["tokens"]))
        out = subprocess.run([program, "--score"], input=ids, capture_output=True, text=True, check=True)
        nll = [float(line.split()[0]) for line in out.stdout.splitlines()][:-1]
        assert len(nll) == len(text["tokens"]) - 1
        want.append(text["mean"])
        got.append(sum(nll) / len(nll))
    a, b = sum(want) / len(want), sum(got) / len(got)
    print("golden %.5f, here %.5f, off by %.5f nats" % (a, b, b - a))
    return abs(b - a) > bound


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
