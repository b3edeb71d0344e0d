"""absmean.py: bf16 masters rounded to ternary, to compare a converted file with.

    python3 tests/reference/absmean.py FOLDER MODEL.gguf

w = clamp(round(w / mean|w|)) over each projection of FOLDER/model.safetensors, in doubles; the codes
of MODEL.gguf must be these and its scales mean|w|. For graphs whose rows are not permuted.
"""
import json
import struct
import sys

from gguf import Gguf
from gguf_to_hf import NAMES


def main(dir, path):
    with open(dir + "/model.safetensors", "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head, data = json.loads(f.read(n)), f.read()
    value = {b: struct.unpack("<f", b"\0\0" + b)[0] for b in
             (struct.pack("<H", i) for i in range(1 << 16))}
    bad = count = 0
    for t in Gguf(path).tensors.values():
        if t.type != "i2_s":
            continue
        _, layer, own, _ = t.name.split(".")
        begin, end = head["model.layers.%s.%s.weight" % (layer, NAMES[own])]["data_offsets"]
        w = [value[data[i:i + 2]] for i in range(begin, end, 2)]
        mean = sum(map(abs, w)) / len(w)
        code = {x: max(-1, min(1, round(x / mean))) + 1 for x in set(w)}
        bad += bytes(code[x] for x in w) != t.codes() or abs(t.scale() / mean - 1) > 1e-6
        count += len(w)
    print("%d codes, %d tensors differ" % (count, bad))
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
