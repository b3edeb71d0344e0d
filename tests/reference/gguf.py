"""gguf.py: a reader of GGUF files that shares nothing with bnc's.

    python3 tests/reference/gguf.py show FILE               keys and tensors, one a line
    python3 tests/reference/gguf.py same A B [TOLERANCE]    exit 0 where B holds A's model

`same` compares what makes a model: its sizes and tokenizer (every key but general.name and what only
one of the two has), the bytes of float tensors, the codes of ternary ones, and their scales within
the relative TOLERANCE (0). It prints what it compared. Python's standard library only.
"""
import struct
import sys

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# id: name, values a block, bytes a block, bytes after the tensor
TYPES = {0: ("f32", 1, 4, 0), 1: ("f16", 1, 2, 0), 30: ("bf16", 1, 2, 0), 34: ("tq1_0", 256, 54, 0),
         35: ("tq2_0", 256, 66, 0), 36: ("i2_s", 128, 32, 32)}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert self.at + n <= len(self.data), "the file ends early"
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self):
        return self.take(self.number("Q")).decode("utf-8", "surrogateescape")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.number(SCALARS[kind])
        kind, n = self.number("I"), self.number("Q")
        if kind in SCALARS:
            code = "<%d%s" % (n, SCALARS[kind])
            return list(struct.unpack(code, self.take(struct.calcsize(code))))
        return [self.value(kind) for _ in range(n)]


class Tensor:
    def __init__(self, name, dims, kind, data):
        self.name, self.dims, self.type, self.data = name, dims, TYPES[kind][0], data
        self.cols = dims[0]
        self.rows = 1
        for n in dims[1:]:
            self.rows *= n

    def codes(self):
        """One byte a value: 0, 1, 2 for -1, 0, +1, row after row. Of i2_s only."""
        packed = self.data[:self.rows * self.cols // 4]
        planes = [packed.translate(bytes(b >> shift & 3 for b in range(256))) for shift in (6, 4, 2, 0)]
        return b"".join(p[i:i + 32] for i in range(0, len(packed), 32) for p in planes)

    def scale(self):
        at = self.rows * self.cols // 4
        return struct.unpack("<f", self.data[at:at + 4])[0]


class Gguf:
    """keys: name -> value; tensors: name -> Tensor."""

    def __init__(self, path):
        with open(path, "rb") as f:
            r = Reader(f.read())
        assert r.take(4) == b"GGUF" and r.number("I") == 3, "not GGUF 3"
        ntensor, nkey = r.number("Q"), r.number("Q")
        self.keys, self.tensors, heads = {}, {}, []
        for _ in range(nkey):
            name = r.string()
            assert name not in self.keys, "key twice: " + name
            self.keys[name] = r.value(r.number("I"))
        for _ in range(ntensor):
            name, rank = r.string(), r.number("I")
            dims = [r.number("Q") for _ in range(rank)]
            heads.append((name, dims, r.number("I"), r.number("Q")))
        align = self.keys.get("general.alignment", 32)
        base = (r.at + align - 1) // align * align
        for name, dims, kind, at in heads:
            _, elems, size, tail = TYPES[kind]
            count = 1
            for n in dims:
                count *= n
            assert count % elems == 0 and at % align == 0, name
            r.at = base + at
            self.tensors[name] = Tensor(name, dims, kind, r.take(count // elems * size + tail))


def show(path):
    g = Gguf(path)
    for k, v in g.keys.items():
        print(k, "%d items" % len(v) if isinstance(v, list) else repr(v)[:60])
    for t in g.tensors.values():
        print(t.name, t.type, t.dims)


def same(a, b, tolerance):
    """What keeps b from being a's model: a list of sentences."""
    bad, worst, codes = [], 0.0, 0
    for k in a.keys.keys() & b.keys.keys() - {"general.name"}:
        if a.keys[k] != b.keys[k]:
            bad.append("key %s differs: %.60r, %.60r" % (k, a.keys[k], b.keys[k]))
    if a.tensors.keys() != b.tensors.keys():
        bad.append("tensors differ: %s" % sorted(a.tensors.keys() ^ b.tensors.keys()))
    for name in sorted(a.tensors.keys() & b.tensors.keys()):
        x, y = a.tensors[name], b.tensors[name]
        if (x.type, x.dims) != (y.type, y.dims):
            bad.append("%s: %s %s, %s %s" % (name, x.type, x.dims, y.type, y.dims))
        elif x.type != "i2_s":
            if x.data != y.data and tolerance == 0:
                bad.append("%s: other bytes" % name)
        else:
            codes += x.rows * x.cols
            wrong = 0 if x.codes() == y.codes() else sum(p != q for p, q in zip(x.codes(), y.codes()))
            worst = max(worst, abs(y.scale() / x.scale() - 1))
            if wrong:
                bad.append("%s: %d of %d codes differ" % (name, wrong, x.rows * x.cols))
    if worst > tolerance:
        bad.append("a scale is off by %.3g of itself" % worst)
    print("%d keys, %d tensors, %d codes, scales within %.2g"
          % (len(a.keys.keys() & b.keys.keys()), len(b.tensors), codes, worst))
    return bad


if __name__ == "__main__":
    if sys.argv[1] == "show":
        show(sys.argv[2])
    else:
        faults = same(Gguf(sys.argv[2]), Gguf(sys.argv[3]), float((sys.argv[4:] + [0])[0]))
        print("\n".join(faults[:10]) or "same")
        sys.exit(bool(faults))
